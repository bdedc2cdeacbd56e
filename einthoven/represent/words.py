"""Measurements of an ECG in words, as text for a language model: "rate 72 /min; RR 833 ms; PR 160 ms; QRS 92 ms; ..."

What cannot be measured is said to be so and is never left out in silence: a model must be able to say that it cannot be
determined.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from einthoven.beats.measurements import Measurements
from einthoven.record import STANDARD_LEADS, Record
from einthoven.represent.features import examined

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


def words(record: Record, *, leads: bool = False, findings: bool = False) -> str:
    """One line of measurements. `leads`: then R, S, ST and T of each lead in mV; `findings`: then what the rules say."""
    found = examined(record)
    measured = found.measurements
    parts = [*_global(measured), *(_lead(measured, name) for name in STANDARD_LEADS if leads and name in found.record)]
    if findings:
        parts.append("rules: " + (", ".join(f"{one.name} ({one.confidence})" for one in found.findings) or "nothing"))
    return "; ".join(parts)


def _global(measured: Measurements) -> Iterator[str]:
    for name, (said, unit, decimals) in FIGURES.items():
        yield f"{said} {_number(measured[name], decimals)}{' ' + unit if unit else ''}"


def _lead(measured: Measurements, name: str) -> str:
    lead = measured.leads.get(name)
    if lead is None:
        return f"{name} not measured"
    figures = {"R": lead.r_mv, "S": lead.s_mv, "ST": lead.st_j60_mv, "T": lead.t_mv}
    return f"{name} " + " ".join(f"{said} {_number(value, 2)}" for said, value in figures.items())


def _number(value: float, decimals: int) -> str:
    return "?" if not np.isfinite(value) else f"{value:.{decimals}f}".replace("-0.00", "0.00")
