"""The rows of traces on a sheet of ink: where their base lines lie, and the curve of each."""

from __future__ import annotations

from collections.abc import Sequence
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
_BEHIND_MM = 20.0  # a row begins nearer than this to its pulse's end
_ASTRAY_MM = 4.0  # a row that lies further than this from the base line it was looked for at, has another


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


@dataclass(frozen=True)
class Pulse:
    """A calibration pulse: columns where its flat top begins and ends, its height and its foot, pixels."""

    start: int
    stop: int
    height: float
    foot: float


@dataclass(frozen=True)
class Parts:
    """The connected pieces of an ink image: `small` (H, W), what is too small to be trace; `letters` (N, 4), boxes (x, y,
    width, height) of what may be letters; `pulses`, calibration pulses that stand alone."""

    small: Mask
    letters: NDArray[np.int32]
    pulses: tuple[Pulse, ...]


def take_parts(ink: Field) -> Parts:
    """Sorts the connected pieces of ink; pulses that stand alone are taken out of the ink, for they are nobody's trace."""
    import cv2

    mask = (ink > INK).astype(np.uint8)
    _, label, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    wide, high = stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT]
    small = (np.maximum(wide, high) < _LETTERS_MM * SCALE) & (wide < _TRACE_MM * SCALE)
    small[0] = True
    letters = stats[small & (stats[:, cv2.CC_STAT_AREA] >= 6)][1:, :4]
    shaped = (wide > 2.5 * SCALE) & (wide < 13 * SCALE) & (high > 2.2 * SCALE) & (high < 45 * SCALE)
    shaped[0] = False
    found = [(k, pulse) for k in np.flatnonzero(shaped) if (pulse := _pulse(mask, label, int(k), stats[k])) is not None]
    pulses = []
    at = np.array([(p.start, p.height) for _, p in found]).reshape(-1, 2)
    column = (np.abs(at[:, None] - at[None]) < (3 * SCALE, 0.6 * SCALE)).all(axis=2).sum(axis=1).tolist()
    if column and max(column) > 2:  # a recorder's pulses stand over each other: one by itself is a letter
        found = [one for one, n in zip(found, column, strict=True) if n > 1]
    for k, pulse in found:
        alike = [p for _, p in found if abs(p.start - pulse.start) < 3 * SCALE and abs(p.height - pulse.height) < 0.6 * SCALE]
        if len(alike) == max(len([p for _, p in found if abs(p.start - pulse.start) < 3 * SCALE]), 1) or len(alike) > 1:
            pulses.append(pulse)
            x, y, w, h = stats[k, :4]
            box = ink[y : y + h, x : x + w]
            box[label[y : y + h, x : x + w] == k] = 0
    return Parts(small.astype(np.uint8)[label], letters.astype(np.int32), tuple(pulses))


def _pulse(mask: Mask, label: NDArray[np.int32], k: int, stat: NDArray[np.int32]) -> Pulse | None:
    """A piece as a pulse: two upright strokes of its whole height, a flat top between them, and nothing else above the feet."""
    x, y, w, h = (int(v) for v in stat[:4])
    piece = label[y : y + h, x : x + w] == k
    filled = piece.sum(axis=0)
    upright = np.flatnonzero(filled > 0.8 * h)
    if not len(upright):
        return None
    left, right = int(upright[0]), int(upright[-1])
    inner = piece[:, left + 1 : right]
    gap = np.flatnonzero(np.diff(upright) > 1.2 * SCALE)
    if right - left < 1.5 * SCALE or len(gap) != 1:
        return None
    between = filled[upright[gap[0]] + 2 : upright[gap[0] + 1] - 1]
    pen = float(np.median(between))
    top = float(np.median(inner.argmax(axis=0)))
    if pen > 1.2 * SCALE or top > 0.6 * SCALE or (np.abs(between - pen) > 0.3 * SCALE + 1).mean() > 0.1:
        return None
    height = h - pen
    feet = np.concatenate([filled[: max(left - 1, 0)], filled[right + 2 :]])
    if len(feet) and feet.max() > 0.35 * h:
        return None
    return Pulse(x + left + 1, x + right - 1, height, y + h - 0.5 - pen / 2)


def find_rows(
    runs: Runs, shape: tuple[int, ...], on_grid: NDArray[np.bool_], clear: Floats, pulses: Sequence[Pulse]
) -> list[Row]:
    """The rows from the top; `on_grid` (h, w) says for every 5 mm of the sheet whether it is millimetre paper, `clear` (h,) how
    clear that is down the sheet, 0 to 1.

    Raises EcgError where there are none.
    """
    column = np.repeat(np.arange(len(runs.first) - 1), np.diff(runs.first))
    flat = (runs.bottom - runs.top < 1.3 * SCALE) & (runs.tiny == 0)
    levels = _levels(0.5 * (runs.top + runs.bottom)[flat], column[flat], shape)
    # A title is no row, nor are its letters pulses: rows stand where the sheet is millimetre paper over most of its width.
    share = on_grid.mean(axis=1)
    paper = (share > 0.6 * share.max()) | (clear > 0.5)

    def printed(y: float) -> bool:
        return bool(paper[min(max(round(y / SCALE / 5), 0), len(paper) - 1)])

    levels = [level for level in levels if printed(level)]
    # Where a pulse stands there is a row, however it wanders.
    levels += [p.foot for p in pulses if printed(p.foot) and all(abs(p.foot - level) > 3 * SCALE for level in levels)]
    levels.sort()
    rows = []
    gaps = np.diff([-np.inf, *levels, np.inf])
    for k, level in enumerate(levels):
        reach = float(np.clip(1.6 * min(max(gaps[k], gaps[k + 1]), 60 * SCALE), 12 * SCALE, 60 * SCALE))
        y, pen, _ = runs.trace(level, reach, 0, shape[1])
        own = level_of(y)
        if abs(own - level) > _ASTRAY_MM * SCALE:
            # A line of the grid or the paper's edge was taken for a base line, and the trace beside it was found all the same:
            # it would be drawn to that line again and again.
            level = own
            y, pen, _ = runs.trace(level, reach, 0, shape[1])
        good = np.isfinite(y)
        if good.sum() >= 25 * SCALE:
            ends = np.flatnonzero(good)
            i, j = (
                np.clip((v / SCALE / 5).round().astype(int), 0, n - 1)
                for v, n in zip((y[ends], ends), on_grid.shape, strict=True)
            )
            if on_grid[i, j].mean() < 0.35:
                continue  # words, the edge of a desk
            share = float(good[ends[0] : ends[-1] + 1].mean())
            rows.append(Row(bridged(y), level, share, pen, reach))
    rows = _with_pulses(_apart(rows), pulses)
    if not rows:
        raise EcgError("no traces were found on this paper")
    return rows


def _levels(y: Floats, column: NDArray[np.int64], shape: tuple[int, ...]) -> list[float]:
    """Base lines: heights at which much of the flat ink lies, in many parts of the sheet's width."""
    import cv2

    h, w = shape[:2]
    if not len(y):
        return []
    bands = max(round(w / (20 * SCALE)), 1)
    place = np.minimum(column * bands // w, bands - 1) * h + np.clip(y.astype(int), 0, h - 1)
    table = np.bincount(place, minlength=bands * h).reshape(bands, h).astype(np.float64)
    wide = 2 * round(4 * 1.2 * SCALE) + 1
    table = cv2.GaussianBlur(table, (wide, 1), 1.2 * SCALE, sigmaY=1, borderType=cv2.BORDER_REFLECT)
    # A band counts up to what a flat line gives it, so that a dense block of text is no row.
    table = np.minimum(table, 0.25 * (w / bands) / (1.2 * SCALE * 2.5))
    profile = table.mean(axis=0)
    if profile.max() <= 0:
        return []
    return [float(p) for p in peaks_of(profile, 0.22 * profile.max(), 5 * SCALE, 0.12 * profile.max())]


def peaks_of(y: Floats, height: float, distance: int, prominence: float) -> list[int]:
    """Where y (N,) has a maximum of this height, no higher one nearer than `distance`, that stands out by `prominence`: as
    scipy.signal.find_peaks, whose loading takes longer than reading a photo's rows."""
    change = np.flatnonzero(np.diff(y, prepend=np.nan, append=np.nan) != 0)  # where runs of equal values begin; NaN is one, too
    level = y[change[:-1]]
    top = np.flatnonzero((level[1:-1] > level[:-2]) & (level[1:-1] > level[2:])) + 1
    peaks = (change[top] + change[top + 1] - 1) // 2
    peaks = peaks[y[peaks] >= height]
    keep = np.ones(len(peaks), bool)
    for k in np.argsort(y[peaks], kind="stable")[::-1]:
        if keep[k]:
            keep[(np.abs(peaks - peaks[k]) < distance) & (np.arange(len(peaks)) != k)] = False
    out = []
    for p in peaks[keep]:
        left, right = y[: p + 1], y[p:]
        left = left[p - np.argmax(left[::-1] > y[p]) + 1 :] if (left > y[p]).any() else left
        right = right[: np.argmax(right > y[p])] if (right > y[p]).any() else right
        if y[p] - max(left.min(), right.min()) >= prominence:
            out.append(int(p))
    return out


def level_of(y: Floats) -> float:
    """Where a curve lies most of the time, pixels."""
    s = np.sort(y[np.isfinite(y)])
    if not len(s):
        return 0.0
    n = np.searchsorted(s, s + 0.5 * SCALE, side="right") - np.arange(len(s))
    i = int(np.argmax(n))
    return float(np.median(s[i : i + max(int(n[i]), 1)]))


def bridged(y: Floats, longest_mm: float = 0.6) -> Floats:
    """The curve with its short gaps filled straight: columns without ink in a faint stroke are not its end."""
    longest = round(longest_mm * SCALE)
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


def _with_pulses(rows: list[Row], pulses: Sequence[Pulse]) -> list[Row]:
    """Of rows of which nearly all have a pulse, without a line of words or of the grid, which begins far behind their pulses,
    and without what lies over or under all that have one and goes on beyond them: the edge of the paper."""
    feet = [p.foot for p in pulses]
    have = [any(abs(foot - row.baseline) < 6 * SCALE for foot in feet) for row in rows]
    if len(feet) < 3 or sum(have) < 0.75 * len(rows):
        return rows
    # A row whose pulse touches its neighbour's has none that is known; it does not begin and end elsewhere, as an edge does.
    left = min(p.start for p in pulses) - 8 * SCALE
    right = float(np.median([row.ends[1] for row, there in zip(rows, have, strict=True) if there])) + 8 * SCALE
    first, last = have.index(True), len(have) - 1 - have[::-1].index(True)
    behind = max(p.stop for p in pulses) + _BEHIND_MM * SCALE
    return [
        r
        for k, (r, there) in enumerate(zip(rows, have, strict=True))
        if there or (r.ends[0] < behind and (first <= k <= last or r.ends[0] > left or r.ends[1] < right))
    ]


def _apart(rows: list[Row]) -> list[Row]:
    """Without those that are another row's ink over again, and those that are far shorter than the rest."""
    longest = max((np.isfinite(r.y).sum() for r in rows), default=0)
    swing = [float(np.subtract(*np.nanpercentile(r.y, (97.5, 2.5)))) for r in rows]
    # A line of the grid's border or of a form is straight but for what crosses it, the heart is not.
    rows = [r for r, s in zip(rows, swing, strict=True) if s > 0.2 * SCALE or max(swing) < 0.5 * SCALE]
    kept: list[Row] = []
    for row in sorted(rows, key=lambda r: -np.isfinite(r.y).sum()):
        good = np.isfinite(row.y)
        if good.sum() < 0.3 * longest:
            continue
        twin = any(
            np.mean(np.abs(row.y - other.y)[good & np.isfinite(other.y)] < 0.5 * SCALE) > 0.3
            for other in kept
            if (good & np.isfinite(other.y)).any()
        )
        if not twin:
            kept.append(row)
    return sorted(kept, key=lambda r: r.baseline)
