"""`Beats`: where every wave of every beat begins, peaks and ends, in every lead and in all leads together."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.float64]

# The nine fiducials of a beat, in the order of time; the last axis of every array of fiducials here.
FIDUCIALS = ("p_on", "p_peak", "p_off", "qrs_on", "r_peak", "qrs_off", "t_on", "t_peak", "t_off")
P_ON, P_PEAK, P_OFF, QRS_ON, R_PEAK, QRS_OFF, T_ON, T_PEAK, T_OFF = range(9)

# Beat classes (AAMI EC57 letters): normal (any supraventricular beat in its place), premature supraventricular,
# ventricular, paced.
NORMAL, SUPRAVENTRICULAR, VENTRICULAR, PACED = "N", "S", "V", "/"


@dataclass(frozen=True)
class Beats:
    """Fiducials in seconds from the start of the record; NaN where a wave is absent or cannot be seen.

    B beats in order of time, L leads, P lone P waves.

    leads: names of the L leads that were delineated.
    times: (B, L, 9) per lead, last axis as in FIDUCIALS. Here r_peak is the lead's own largest QRS deflection.
    overall: (B, 9) over all leads: earliest onset, latest offset that the leads agree on (CSE working party 1985); r_peak is
        the beat's time for RR intervals.
    kinds: (B,) beat classes, "N", "S", "V" or "/".
    lone_p: (P, L, 3) onset, peak, offset per lead of P waves that no QRS follows (blocked or dissociated);
    lone_p_overall: (P, 3) the same over all leads.
    duration: length of the record in s.
    confidence: (B,) 0..1, how sure the delineator is of the beat.
    """

    leads: tuple[str, ...]
    times: Times
    overall: Times
    kinds: tuple[str, ...]
    duration: float
    lone_p: Times = field(default_factory=lambda: np.empty((0, 0, 3)))
    lone_p_overall: Times = field(default_factory=lambda: np.empty((0, 3)))
    confidence: Times = field(default_factory=lambda: np.empty(0))

    def __post_init__(self) -> None:
        b, l = len(self.kinds), len(self.leads)
        if self.times.shape != (b, l, 9) or self.overall.shape != (b, 9):
            raise ValueError(f"{b} beats, {l} leads, but times {self.times.shape}, overall {self.overall.shape}")

    def __len__(self) -> int:
        return len(self.kinds)

    @property
    def r(self) -> Times:
        """(B,) R times in s, all leads together."""
        return self.overall[:, R_PEAK]

    @property
    def rr(self) -> Times:
        """(B-1,) RR intervals in s."""
        return np.diff(self.r)

    def lead(self, name: str) -> Times:
        """(B, 9) the fiducials of one lead."""
        return self.times[:, self.leads.index(name)]

    def as_prediction(self) -> dict[str, list[dict[str, float | None]]]:
        """Per lead a list of beats as ../shared/tools/delineation_score.py reads them (seconds or null)."""
        out: dict[str, list[dict[str, float | None]]] = {}
        for j, name in enumerate(self.leads):
            rows = [dict(zip(FIDUCIALS, row)) for row in self.times[:, j].tolist()]
            rows += [dict(zip(FIDUCIALS[:3], row)) for row in self.lone_p[:, j].tolist()] if len(self.lone_p) else []
            out[name.lower()] = [{k: None if v != v else v for k, v in row.items()} for row in rows]
        return out
