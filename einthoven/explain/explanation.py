"""`Explanation`: what of an ECG speaks for a model's label, as (lead, time), and summed up by lead and wave.

L leads, T samples, W waves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from einthoven.explain.waves import WAVES
from einthoven.paper.page import Page

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Shares:
    """The evidence on a label, by lead and wave.

    share: (L, W) the evidence of each, its sign kept: positive for, negative against the label; their magnitudes sum to 1 (0
    where there is none). time: (L, W) how much of the ECG each takes, sums to 1: what a map that knows nothing would give.
    leads: of the rows; the one row of a method that cannot tell leads apart is "all".
    """

    leads: tuple[str, ...]
    share: Doubles
    time: Doubles
    waves: tuple[str, ...] = WAVES

    @property
    def against(self) -> float:
        """The part of all evidence that speaks against, 0..1."""
        return float(-self.share[self.share < 0].sum())

    def largest(self, count: int = 3, sign: int = 1) -> list[tuple[str, str, float]]:
        """(lead, wave, magnitude) of the largest that speak for (sign 1) or against (-1)."""
        signed = sign * self.share
        rows, columns = np.unravel_index(np.argsort(-signed, axis=None)[:count], signed.shape)
        found = [(self.leads[i], self.waves[j], float(signed[i, j])) for i, j in zip(rows.tolist(), columns.tolist())]
        return [one for one in found if one[2] > 0]

    def text(self) -> str:
        """The table for eyes, in per cent."""
        wide = max(max(map(len, self.leads)), 8)
        lines = ["".join([" " * wide, *(f"{name:>9}" for name in self.waves), f"{'sum':>9}"])]

        def row(name: str, values: Doubles) -> str:
            return "".join([f"{name:{wide}}", *(f"{100 * v:9.1f}" for v in values), f"{100 * values.sum():9.1f}"])

        lines += [row(name, values) for name, values in zip(self.leads, self.share, strict=True)]
        if len(self.leads) > 1:
            lines.append(row("sum", self.share.sum(0)))
        lines.append(row("of time", self.time.sum(0)))
        return "\n".join(lines)


@dataclass(frozen=True)
class Explanation:
    """What speaks for (positive) and against (negative) `label` in one ECG, by one method.

    values: (L, T) evidence of each sample at `fs` Hz from `start` s of the record on, rows by `leads`; in the unit of the
        score where the method divides it up (integrated gradients, occlusion), without one where it does not.
    heat: (L, T) -1..1, what is drawn.
    score: what is explained: the label's logit (in a task of exclusive classes its log-odds; in a regression the value).
    probability: calibrated, of the whole recording, as `einthoven predict` says it (in a regression the value).
    per_lead: whether the method can tell leads apart; where not, all rows are the same.
    signed: whether the method knows "against".
    facts: figures that say how far to trust it (gap of completeness, steps, ...), by name.
    """

    method: str
    model: str
    label: str
    leads: tuple[str, ...]
    fs: float
    start: float
    values: Doubles
    heat: Doubles
    score: float
    probability: float
    shares: Shares
    text: str = ""
    per_lead: bool = True
    signed: bool = True
    warnings: tuple[str, ...] = ()
    facts: Mapping[str, float] = field(default_factory=dict)

    @property
    def stop(self) -> float:
        """Where the explained stretch ends, s of the record."""
        return float(self.start + self.values.shape[1] / self.fs)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "method": self.method,
            "model": self.model,
            "label": self.label,
            "text": self.text,
            "score": self.score,
            "probability": self.probability,
            "leads": list(self.leads),
            "fs": self.fs,
            "start_s": self.start,
            "per_lead": self.per_lead,
            "signed": self.signed,
            "evidence": [[float(f"{v:.5g}") for v in row] for row in self.values.tolist()],
            "shares": {
                "leads": list(self.shares.leads),
                "waves": list(self.shares.waves),
                "share": np.round(self.shares.share, 5).tolist(),
                "time": np.round(self.shares.time, 5).tolist(),
                "against": round(self.shares.against, 5),
            },
            "facts": dict(self.facts),
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True)
class Pictured:
    """What an image model saw: `picture` (H, W) grey or (H, W, 3) RGB uint8, its `page`, and the evidence over it (H, W)."""

    picture: NDArray[np.uint8]
    page: Page
    values: Doubles


def shares(values: Doubles, where: NDArray[np.uint8], leads: tuple[str, ...], *, per_lead: bool = True) -> Shares:
    """Sums a map (L, T) by lead and wave; `where` (L, T) as `waves.regions` gives it."""
    made = np.stack([(np.nan_to_num(values) * (where == w)).sum(1) for w in range(len(WAVES))], 1)
    time = np.stack([(where == w).sum(1) for w in range(len(WAVES))], 1) / max(where.size, 1)
    if not per_lead:
        made, time, leads = made.sum(0, keepdims=True), time.sum(0, keepdims=True), ("all",)
    total = float(np.abs(made).sum())
    return Shares(leads, made / total if total > 0 else made, time)


def heat_of(values: Doubles, fs: float, *, blur_s: float = 0.02) -> Doubles:
    """A map (L, T) as it is drawn: single samples blurred together, and the strongest hundredth in full colour."""
    from scipy.ndimage import gaussian_filter1d

    smooth = gaussian_filter1d(np.nan_to_num(np.asarray(values, np.float64)), blur_s * fs, axis=1)
    top = float(np.quantile(np.abs(smooth), 0.99)) if smooth.size else 0.0
    top = top or float(np.abs(smooth).max(initial=0.0))
    made: Doubles = np.clip(smooth / top, -1, 1) if top > 0 else smooth
    return made
