"""The rows of traces on a sheet of ink: where their base lines lie, and the curve of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from einthoven.paper.digitise.follow import INK, Runs
from einthoven.paper.digitise.lattice import SCALE, Field
from einthoven.paper.page import Floats
from einthoven.record import EcgError

Mask = NDArray[np.uint8]

_TRACE_MM = 7.0  # a connected piece of ink as wide as this is a trace (or a line that is drawn), not a letter
_LETTERS_MM = 5.0


@dataclass(frozen=True)
class Row:
    """A row's curve on the sheet: `y` (W,) pixels for each column, NaN where there is no ink; `baseline` pixels.

    ink: the share of its columns between its ends where ink was found. pen: half the line's width, reach: how far from
    its base line it may go, pixels.
    """

    y: Floats
    baseline: float
    ink: float
    pen: float
    reach: float

    @property
    def ends(self) -> tuple[int, int]:
        at = np.flatnonzero(np.isfinite(self.y))
        return int(at[0]), int(at[-1])


def small_parts(ink: Field) -> tuple[Mask, NDArray[np.int32]]:
    """What is too small to be trace: mask (H, W), and boxes of the parts that may be letters (N, 4): x, y, width, height."""
    import cv2

    mask = (ink > INK).astype(np.uint8)
    _, label, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    wide, high = stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT]
    small = (np.maximum(wide, high) < _LETTERS_MM * SCALE) & (wide < _TRACE_MM * SCALE)
    small[0] = True
    parts = stats[small & (stats[:, cv2.CC_STAT_AREA] >= 6)][1:, :4]
    return small[label].astype(np.uint8), parts.astype(np.int32)


def find_rows(runs: Runs, shape: tuple[int, ...]) -> list[Row]:
    """The rows from the top. Raises EcgError where there are none."""
    column = np.repeat(np.arange(len(runs.first) - 1), np.diff(runs.first))
    flat = (runs.bottom - runs.top < 1.3 * SCALE) & (runs.tiny == 0)
    levels = _levels(0.5 * (runs.top + runs.bottom)[flat], column[flat], shape)
    rows = []
    gaps = np.diff([-np.inf, *levels, np.inf])
    for k, level in enumerate(levels):
        reach = float(np.clip(1.6 * min(max(gaps[k], gaps[k + 1]), 60 * SCALE), 12 * SCALE, 60 * SCALE))
        y, pen = runs.trace(level, reach, 0, shape[1])
        good = np.isfinite(y)
        if good.sum() >= 25 * SCALE:
            ends = np.flatnonzero(good)
            share = float(good[ends[0] : ends[-1] + 1].mean())
            rows.append(Row(bridged(y), level, share, pen, reach))
    rows = _apart(rows)
    if not rows:
        raise EcgError("no traces were found on this paper")
    return rows


def _levels(y: Floats, column: NDArray[np.int64], shape: tuple[int, ...]) -> list[float]:
    """Base lines: heights at which much of the flat ink lies, in many parts of the sheet's width."""
    from scipy.ndimage import gaussian_filter1d
    from scipy.signal import find_peaks

    h, w = shape
    if not len(y):
        return []
    bands = max(round(w / (20 * SCALE)), 1)
    table = np.zeros((bands, h))
    np.add.at(table, (np.minimum(column * bands // w, bands - 1), np.clip(y.astype(int), 0, h - 1)), 1.0)
    table = gaussian_filter1d(table, 1.2 * SCALE, axis=1)
    # A band counts up to what a flat line gives it, so that a dense block of text is no row.
    table = np.minimum(table, 0.25 * (w / bands) / (1.2 * SCALE * 2.5))
    profile = table.mean(axis=0)
    if profile.max() <= 0:
        return []
    peaks, found = find_peaks(profile, height=0.22 * profile.max(), distance=5 * SCALE, prominence=0.12 * profile.max())
    return [float(p) for p in peaks]


def bridged(y: Floats) -> Floats:
    """The curve with its short gaps filled straight: columns without ink in a faint stroke are not its end."""
    longest = round(0.6 * SCALE)
    good = np.isfinite(y)
    at = np.flatnonzero(good)
    if len(at) < 2:
        return y
    out = y.copy()
    gap = np.diff(at)
    for k in np.flatnonzero((gap > 1) & (gap <= longest + 1)):
        a, b = at[k], at[k + 1]
        out[a : b + 1] = np.linspace(y[a], y[b], b - a + 1)
    return out


def _apart(rows: list[Row]) -> list[Row]:
    """Without those that are another row's ink over again, and those that are far shorter than the rest."""
    longest = max((np.isfinite(r.y).sum() for r in rows), default=0)
    kept: list[Row] = []
    for row in sorted(rows, key=lambda r: -np.isfinite(r.y).sum()):
        good = np.isfinite(row.y)
        if good.sum() < 0.3 * longest:
            continue
        twin = any(
            np.nanmean(np.abs(row.y - other.y) < 0.5 * SCALE) > 0.5 for other in kept if (good & np.isfinite(other.y)).any()
        )
        if not twin:
            kept.append(row)
    return sorted(kept, key=lambda r: r.baseline)
