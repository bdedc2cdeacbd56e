"""What the words on an ECG's sheet say that matters for reading it: lead names, paper speed, gain."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

SPEEDS = (12.5, 25.0, 50.0, 100.0)
GAINS = (2.5, 5.0, 10.0, 20.0, 40.0)

_NAMES = "I II III aVR aVL aVF V1 V2 V3 V4 V5 V6 V7 V8 V9 V3R V4R X Y Z"
_LEADS = {name.lower(): name for name in _NAMES.split()} | {f"c{k}": f"V{k}" for k in range(1, 7)}
_SPEED = re.compile(r"(\d+(?:[.,]\d+)?)\s*mm\s*/?\s*s", re.IGNORECASE)
_GAIN = re.compile(r"(\d+(?:[.,]\d+)?)\s*mm\s*/?\s*mV", re.IGNORECASE)


@dataclass(frozen=True)
class Name:
    """A lead's name on the sheet: where its base line begins (mm), its length, how surely it is that name (0..1)."""

    lead: str
    sign: int
    x: float
    y: float
    width: float
    sure: float = 1.0


def lead_of(text: str) -> tuple[str, int] | None:
    """ "aVR" -> ("aVR", 1), "-aVR" -> ("aVR", -1), anything else None."""
    plain = text.strip().strip(":.").replace("−", "-")
    sign = -1 if plain.startswith("-") else 1
    lead = _LEADS.get(plain.lstrip("-").lower())
    # Small letters are words of a sentence ("i", "x"), not leads.
    if lead is None or (len(plain) <= 2 and plain.islower()):
        return None
    return lead, sign


def speed_and_gain(text: Iterable[str]) -> tuple[float | None, float | None]:
    """The paper speed (mm/s) and gain (mm/mV) that the words of a sheet give, None where they give none or two."""
    line = " ".join(text)
    return _only(_SPEED.findall(line), SPEEDS), _only(_GAIN.findall(line), GAINS)


def _only(found: Sequence[str], known: Sequence[float]) -> float | None:
    values = {float(v.replace(",", ".")) for v in found} & set(known)
    return values.pop() if len(values) == 1 else None


Slot = tuple[float, float]  # where a strip begins, mm, and its base line


def match(slots: Sequence[Slot], names: Sequence[Name], left: float = 14.0, right: float = 36.0) -> list[Name | None]:
    """For each strip its name: the assignment of least distance, names all standing about as far from their base lines.

    A recorder prints its names all above the base line or all below, near the strip's beginning. So the offset is tried, and
    the one is kept that names most strips best.
    """
    if not slots or not names:
        return [None] * len(slots)
    from scipy.optimize import linear_sum_assignment

    x, y = np.array(slots, np.float64).T
    dx = np.array([n.x for n in names])[None] - x[:, None]
    dy = np.array([n.y for n in names])[None] - y[:, None]
    sure = np.array([n.sure for n in names])[None]
    possible = (dx > -left) & (dx < right) & (np.abs(dy) < 25)
    best: list[Name | None] = [None] * len(slots)
    least = np.inf
    for offset in np.arange(-12.0, 12.5, 1.0):
        # What is worse than no name costs as much as none.
        cost = np.where(possible, np.minimum(0.15 * np.abs(dx) + np.abs(dy - offset) + 10 * (1 - sure), 20.0), 20.0)
        rows, columns = linear_sum_assignment(cost)
        total = float(cost[rows, columns].sum()) + 0.02 * abs(offset)
        if total < least:
            least = total
            best = [None] * len(slots)
            for i, j in zip(rows, columns, strict=True):
                if cost[i, j] < 20.0:
                    best[i] = names[j]
    return best
