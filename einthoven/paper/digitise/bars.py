"""Upright lines that recorders print between columns of leads, found by what they are and taken out of the ink.

A bar is straight, upright, of one thickness, and blunt: its ends stand free, while a beat's stroke comes from a trace and goes
on in one. And it is not alone: bars of one height stand in other columns, or of one height in other rows; or it is taller than
any beat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from einthoven.paper.digitise.lattice import SCALE, Field

Mask = NDArray[np.uint8]

_LEVEL = 0.5  # more than this is ink
_LEAST_MM = 5.5  # a shorter stroke may be a letter's, or what is left of a square's side
_WIDEST_MM = 1.0
_TALL_MM = 14.0  # from here on the same line in two columns is no beat
_LONE_MM = 45.0  # and from here on no beat at all
_STEEP = 0.012  # how far from upright: 0.7 degrees are left of a badly rectified photo
_SIDE = round(1.1 * SCALE)  # pixels beside an end that are free of ink
_END = round(1.2 * SCALE)


@dataclass(frozen=True)
class Bar:
    """A straight line from (x, top) to (x + lean, bottom), pixels, `half` its width to each side; `free`: of its two ends, how
    many stand free."""

    x: float
    lean: float
    top: int
    bottom: int
    half: float
    free: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def middle(self) -> float:
        return self.x + self.lean / 2


def find_bars(ink: Field) -> list[Bar]:
    """The bars on a sheet of ink (H, W)."""
    strokes = _strokes(ink)
    out = []
    for bar in strokes:
        # A name printed beside one end leaves the other; then the same line must stand in other rows and in other columns, or
        # be taller than any beat.
        if bar.free == 1 and (bar.height > _LONE_MM * SCALE or _in_rows_and_columns(bar, strokes)):
            out.append(bar)
        if bar.free < 2:
            continue
        others = [b for b in strokes if b is not bar and b.free >= 1]
        # Blunt at both ends and of one height, a line is there again: in another column, or in another row of its own column.
        aside = any(
            abs(b.top - bar.top) < SCALE and abs(b.bottom - bar.bottom) < SCALE and abs(b.middle - bar.middle) > 15 * SCALE
            for b in others
        )
        above = any(
            abs(b.height - bar.height) < 0.6 * SCALE
            and abs(b.middle - bar.middle) < 0.8 * SCALE
            and abs(b.top - bar.top) > bar.height
            and b.free == 2
            for b in others
        )
        if above or (aside and bar.height > _TALL_MM * SCALE) or bar.height > _LONE_MM * SCALE:
            out.append(bar)
    return out + _hidden(ink, out)


def _hidden(ink: Field, bars: Sequence[Bar]) -> list[Bar]:
    """Bars on which beats fall, so that their edges are not seen: ink is all along where others stand."""
    out: list[Bar] = []
    h, w = ink.shape
    for bar in bars:
        if bar.height < 2 * _TALL_MM * SCALE:
            continue
        y = np.arange(max(bar.top + 2, 0), min(bar.bottom - 1, h))
        lean = np.round(bar.lean * ((y - bar.top) / bar.height - 0.5)).astype(int)
        x = np.arange(round(abs(bar.lean)) + 1, w - round(abs(bar.lean)) - 1)
        covered = (ink[y[:, None], x[None] + lean[:, None]] > _LEVEL).mean(axis=0) > 0.96
        for a, b in _groups(covered):
            middle = float(x[0] + (a + b - 1) / 2)
            if b - a <= 1.5 * _WIDEST_MM * SCALE and all(abs(middle - o.middle) > 2 * SCALE for o in (*bars, *out)):
                out.append(Bar(middle - bar.lean / 2, bar.lean, bar.top, bar.bottom, (b - a) / 2, 0))
    return out


def _in_rows_and_columns(bar: Bar, strokes: Sequence[Bar]) -> bool:
    alike = [b for b in strokes if b is not bar and b.free and abs(b.height - bar.height) < 0.5 * SCALE]
    above = [b for b in alike if abs(b.middle - bar.middle) < 1.5 * SCALE and abs(b.top - bar.top) > bar.height]
    aside = [b for b in alike if abs(b.top - bar.top) < SCALE and abs(b.middle - bar.middle) > 30 * SCALE]
    return bool(above and aside)


def columns_of(bars: Sequence[Bar]) -> list[float]:
    """Where bars stand, from the left: those of one column (within 2 mm) as one."""
    out: list[list[float]] = []
    for x in sorted(b.middle for b in bars):
        if out and x - out[-1][-1] < 2 * SCALE:
            out[-1].append(x)
        else:
            out.append([x])
    return [float(np.mean(v)) for v in out]


def take_bars(ink: Field, bars: Sequence[Bar]) -> None:
    """Takes the bars out of the ink. Where there is ink to both sides at one height, a trace went on under the bar."""
    h, w = ink.shape
    for bar in bars:
        y = np.arange(max(bar.top - 2, 0), min(bar.bottom + 3, h))
        middle = bar.x + bar.lean * (y - bar.top) / max(bar.height, 1)
        left = np.floor(middle - bar.half - 1.0).astype(int)
        right = np.ceil(middle + bar.half + 1.0).astype(int)
        under = np.minimum(ink[y, np.clip(left - 1, 0, w - 1)], ink[y, np.clip(right + 1, 0, w - 1)])
        for step in range(int((right - left).max()) + 1):
            x = left + step
            inside = (x <= right) & (x >= 0) & (x < w)
            ink[y[inside], x[inside]] = np.minimum(ink[y[inside], x[inside]], under[inside])


def _strokes(ink: Field) -> list[Bar]:
    """Everything on the sheet that is straight, upright, and of one thickness."""
    import cv2

    mask = (ink > _LEVEL).astype(np.uint8)
    whole = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((5, 1), np.uint8))
    tall = cv2.morphologyEx(whole, cv2.MORPH_OPEN, np.ones((round(_LEAST_MM * SCALE), 1), np.uint8))
    _, label, stats, _ = cv2.connectedComponentsWithStats(tall, connectivity=8)
    out = []
    for k in range(1, len(stats)):
        x, y, w, h = (int(v) for v in stats[k, :4])
        if w > 8 * SCALE:
            continue
        piece = label[y : y + h, x : x + w] == k
        # Several strokes may touch each other: each that is as tall as most of the piece is looked at by itself.
        filled = piece.sum(axis=0)
        peaks = _groups(filled > max(0.6 * filled.max(), _LEAST_MM * SCALE - 1))
        for a, b in peaks:
            bar = _straight(whole, x + int(a + np.argmax(filled[a:b])), y, y + h)
            if bar is not None:
                out.append(bar)
    return out


def _groups(on: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Where runs of True begin and end, (N, 2)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], on, [False]]).astype(np.int8)))
    return edges.reshape(-1, 2)


def _straight(mask: Mask, x: int, top: int, bottom: int) -> Bar | None:
    """The stroke through column x between two rows, where it is straight, upright and of one thickness."""
    w = mask.shape[1]
    reach = round(1.5 * SCALE)
    if x - reach < 0 or x + reach >= w:
        return None
    rows = mask[top:bottom, x - reach : x + reach + 1].astype(bool)
    on = rows[:, reach - 1 : reach + 2].any(axis=1)
    if on.mean() < 0.9:
        return None
    # The run that holds the middle column or one beside it, row by row.
    start = np.where(rows[:, reach], reach, np.where(rows[:, reach - 1], reach - 1, reach + 1))
    at = np.arange(2 * reach + 1)
    left = np.where(~rows & (at[None] < start[:, None]), at[None], -1).max(axis=1) + 1
    right = np.where(~rows & (at[None] > start[:, None]), at[None], 2 * reach + 1).min(axis=1) - 1
    wide = (right - left + 1)[on]
    middle = (0.5 * (left + right))[on]
    y = np.arange(bottom - top)[on]
    usual = float(np.median(wide))
    if usual > _WIDEST_MM * SCALE:
        return None
    even = np.abs(wide - usual) <= 1.0
    if even.mean() < 0.6:
        return None
    slope, first = np.polyfit(y[even], middle[even], 1)
    gap = np.abs(middle[even] - (first + slope * y[even]))
    # What rectification leaves of a bend shows in a line over several rows.
    most = 0.8 if bottom - top < _LONE_MM * SCALE else 1.3
    if abs(slope) > _STEEP or (gap > most).mean() > 0.08:
        return None
    bar = Bar(x - reach + float(first), float(slope) * (bottom - top), top, bottom - 1, usual / 2, 0)
    return Bar(bar.x, bar.lean, bar.top, bar.bottom, bar.half, _free(mask, bar))


def _free(mask: Mask, bar: Bar) -> int:
    """How many of a bar's two ends have nothing beside or beyond them."""
    h, w = mask.shape
    free = 0
    for y, x, out in ((bar.top, bar.x, -1), (bar.bottom, bar.x + bar.lean, 1)):
        low, high = (y - SCALE // 2, y + _END) if out < 0 else (y - _END, y + SCALE // 2)
        low, high = max(low, 0), min(high + 1, h)
        a, b = round(x - bar.half), round(x + bar.half)
        beside = np.concatenate(
            [mask[low:high, max(a - _SIDE, 0) : max(a - 1, 0)], mask[low:high, min(b + 2, w) : min(b + 2 + _SIDE, w)]], axis=1
        )
        beyond = mask[max(y - SCALE, 0) : y - 1, a : b + 1] if out < 0 else mask[y + 2 : y + SCALE, a : b + 1]
        free += bool(beside.sum() <= 2 and beyond.sum() <= 1)
    return free
