"""Measurements of an ECG in words, as text for a language model: "rate 72 /min; RR 833 ms; PR 160 ms; QRS 92 ms; ..."

What cannot be measured is said to be so and is never left out in silence: a model must be able to say that it cannot be
determined.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from einthoven.beats.measurements import Measurements
from einthoven.data.instruct.wording import QUANTITIES, range_of
from einthoven.record import STANDARD_LEADS, Record
from einthoven.represent.features import examined
from einthoven.signal.quality import Quality

_RR_MS = (600.0, 1000.0)  # of 100 and 60 a minute
# name -> (words, unit, decimals)
FIGURES = {
    "rate_bpm": ("rate", "/min", 0),
    "rr_ms": ("RR", "ms", 0),
    "rr_sd_ms": ("RR sd", "ms", 0),
    "p_per_qrs": ("P per QRS", "", 1),
    "p_ms": ("P", "ms", 0),
    "pr_ms": ("PR", "ms", 0),
    "qrs_ms": ("QRS", "ms", 0),
    "qt_ms": ("QT", "ms", 0),
    "qtc_fridericia_ms": ("QTc", "ms", 0),
    "qrs_axis_deg": ("axis", "deg", 0),
}


def words(record: Record, *, leads: bool = False, findings: bool = False, limits: bool = False, quality: bool = False) -> str:
    """One line of measurements. `leads`: then R, S, ST and T of each lead in mV; `findings`: then what the rules say; `limits`:
    figures that have adult limits say whether they are low, normal or high; `quality`: then the leads with noise (uV), drift
    (tens of uV) and mains (uV) worth saying."""
    found = examined(record)
    measured = found.measurements
    parts = [
        *_global(measured, found.record.patient.sex if limits else None, limits),
        *(_lead(measured, name) for name in STANDARD_LEADS if leads and name in found.record),
    ]
    if quality:
        parts += _quality(found.quality)
    if findings:
        parts.append("rules: " + (", ".join(f"{one.name} ({one.confidence})" for one in found.findings) or "nothing"))
    return "; ".join(parts)


def _global(measured: Measurements, sex: str | None, limits: bool) -> Iterator[str]:
    for name, (said, unit, decimals) in FIGURES.items():
        place = f" {_place(name, measured[name], sex)}".rstrip() if limits else ""
        yield f"{said} {_number(measured[name], decimals)}{' ' + unit if unit else ''}{place}"


def _place(name: str, value: float, sex: str | None) -> str:
    """Within the adult limits or not; "" where there are none, or nothing was measured."""
    low, high = _RR_MS if name == "rr_ms" else range_of(name, sex) if name in QUANTITIES else (None, None)
    if (low is None and high is None) or not np.isfinite(value):
        return ""
    return "low" if low is not None and value < low else "high" if high is not None and value > high else "normal"


# What is said of a lead's signal: (words, figure, uV from which it is worth saying, uV of one).
_SIGNAL = (("noise", "noise_uv", 3.0, 1.0), ("drift", "wander_uv", 80.0, 10.0), ("mains", "mains_uv", 3.0, 1.0))


def _quality(quality: Quality) -> Iterator[str]:
    for said, figure, least, unit in _SIGNAL:
        values = {name: getattr(lead, figure) for name, lead in quality.leads.items()}
        told = [f"{name} {values[name] / unit:.0f}" for name in STANDARD_LEADS if values.get(name, 0.0) >= least]
        yield f"{said} {' '.join(told) or 'none'}"


def _lead(measured: Measurements, name: str) -> str:
    lead = measured.leads.get(name)
    if lead is None:
        return f"{name} not measured"
    figures = {"R": lead.r_mv, "S": lead.s_mv, "ST": lead.st_j60_mv, "T": lead.t_mv}
    return f"{name} " + " ".join(f"{said} {_number(value, 2)}" for said, value in figures.items())


def _number(value: float, decimals: int) -> str:
    return "?" if not np.isfinite(value) else f"{value:.{decimals}f}".replace("-0.00", "0.00")
