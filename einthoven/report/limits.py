"""Normal limits of adults for the measurements that have them, each with its source; marks, never a diagnosis."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from einthoven.record import Patient
from einthoven.report.words import figure

ADULT_YEARS = 16  # below, the limits depend on age in years or days (Rijnbeek et al., Eur Heart J 2001) and none are marked


@dataclass(frozen=True)
class Limit:
    """`low` and `high` (inclusive, infinite where there is none) and where they come from."""

    low: float
    high: float
    source: str

    def mark(self, value: float) -> str:
        """ "low", "high" or "" (within the limits, or not measured)."""
        return "low" if value < self.low else "high" if value > self.high else ""

    def __str__(self) -> str:
        if math.isinf(self.low):
            return f"≤ {figure(self.high)}"
        if math.isinf(self.high):
            return f"≥ {figure(self.low)}"
        return f"{figure(self.low)} to {figure(self.high)}".replace("-", "−")


_QT = "AHA/ACCF/HRS 2009 part IV (Rautaharju)"
_LIMITS: Mapping[str, Limit] = {
    "rate_bpm": Limit(60, 100, "AHA/ACC/HRS 2018 bradycardia, 2015 SVT guidelines"),
    "pr_ms": Limit(120, 200, "AHA/ACCF/HRS 2007 part II (Mason)"),
    "p_ms": Limit(-math.inf, 120, "AHA/ACCF/HRS 2009 part V (Hancock)"),
    "qrs_ms": Limit(-math.inf, 110, "AHA/ACCF/HRS 2009 part III (Surawicz)"),
    "qrs_axis_deg": Limit(-30, 90, "AHA/ACCF/HRS 2009 part III (Surawicz)"),
}


def limit(name: str, patient: Patient) -> Limit | None:
    """The limit of a measurement for this patient; None where there is none (or the patient is a child).

    QTc (Bazett, Fridericia, Framingham, Hodges): above 390 and below 450 ms in men, 460 ms in women. Where the sex is not
    known the wider limit is taken.
    """
    if patient.age is not None and patient.age < ADULT_YEARS:
        return None
    if name.startswith("qtc_"):
        return Limit(391, 449 if patient.sex == "male" else 459, _QT)
    return _LIMITS.get(name)
