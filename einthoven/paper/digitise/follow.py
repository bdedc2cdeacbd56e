"""Follows a row's trace over a sheet: the best path through the ink's runs, then its place between pixels.

A column of pixels cuts ink into runs. A path takes one run in each column (or skips some); it likes to go on where it touches,
and to stay near its base line, so that it passes through other leads' strokes and comes home. Then the path is
sharpened: the stroke that it would leave is compared with the ink's edges, and moved until both agree, which gives the true
height of peaks that are narrower than the pen.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from einthoven.paper.digitise.lattice import SCALE, Field
from einthoven.paper.page import Floats

Ints = NDArray[np.int32]

INK = 0.42  # more than this is ink


@njit(cache=True)  # type: ignore[untyped-decorator]
def runs_of(ink: Field, low: float, small: NDArray[np.uint8]) -> tuple[Ints, Floats, Floats, NDArray[np.uint8]]:
    """The runs of ink in each column: first run of each column (W + 1,), upper and lower edges between pixels (N,), and
    whether the run is part of something small (N,)."""
    h, w = ink.shape
    first = np.zeros(w + 1, np.int32)
    count = 0
    for x in range(w):
        inside = False
        for y in range(h):
            dark = ink[y, x] > low
            if dark and not inside:
                count += 1
            inside = dark
        first[x + 1] = count
    top, bottom = np.empty(count), np.empty(count)
    tiny = np.zeros(count, np.uint8)
    k = 0
    for x in range(w):
        inside = False
        for y in range(h):
            dark = ink[y, x] > low
            if dark and not inside:
                # The edge is where the ink, straight between pixel centres, crosses the level.
                above = ink[y - 1, x] if y > 0 else 0.0
                top[k] = y - (ink[y, x] - low) / max(ink[y, x] - above, 1e-6)
                tiny[k] = small[y, x]
            if inside and not dark:
                bottom[k] = y - 1 + (ink[y - 1, x] - low) / max(ink[y - 1, x] - ink[y, x], 1e-6)
                k += 1
            inside = dark
        if inside:
            bottom[k] = h - 1.0
            k += 1
    return first, top, bottom, tiny


@njit(cache=True)  # type: ignore[untyped-decorator]
def follow(
    first: Ints,
    top: Floats,
    bottom: Floats,
    tiny: NDArray[np.uint8],
    baseline: float,
    left: int,
    right: int,
    reach: float,
    longest_gap: int,
    scale: float,
) -> Ints:
    """The run of each column (W,) that a row's path takes, -1 where it takes none."""
    columns = len(first) - 1
    n = len(top)
    score = np.full(n, -1e9)
    back = np.full(n, -1, np.int32)
    column_of = np.empty(n, np.int32)
    for x in range(columns):
        for k in range(first[x], first[x + 1]):
            column_of[k] = x
    best, last = -1e9, -1
    for x in range(left, right):
        for k in range(first[x], first[x + 1]):
            middle = 0.5 * (top[k] + bottom[k])
            near = max(0.0, max(top[k] - baseline, baseline - bottom[k]))
            if near > reach:
                continue
            away = abs(middle - baseline) if bottom[k] - top[k] < 12 * scale else near
            own = 1.0 - 0.02 * min(away, 40 * scale) / scale - (0.9 if tiny[k] else 0.0)
            top_score, from_ = own - 0.05 * near, -1
            for back_x in range(x - 1, max(x - 1 - longest_gap, left - 1), -1):
                skipped = x - 1 - back_x
                # Nothing further back can be better than a perfect neighbour.
                for j in range(first[back_x], first[back_x + 1]):
                    if score[j] <= -1e8:
                        continue
                    gap = max(0.0, max(top[k] - bottom[j], top[j] - bottom[k]) - 1.0)
                    step = abs(middle - 0.5 * (top[j] + bottom[j]))
                    cost = 0.25 * gap + 0.3 * skipped + 0.004 * step
                    if skipped > 2:
                        cost += 1.0
                    value = score[j] - cost + own
                    if value > top_score:
                        top_score, from_ = value, j
                if skipped > 3 and from_ >= 0 and column_of[from_] >= x - 2:
                    break
            score[k] = top_score
            back[k] = from_
            if top_score > best:
                best, last = top_score, k
    path = np.full(columns, -1, np.int32)
    while last >= 0:
        path[column_of[last]] = last
        last = back[last]
    return path


@njit(cache=True)  # type: ignore[untyped-decorator]
def sharpen(top: Floats, bottom: Floats, radius: float, rounds: int) -> Floats:
    """The curve (W,), one height a column, whose stroke of this radius has its edges where the ink has them.

    top, bottom: (W,) edges of the ink, NaN where there is none. Begins in the middle between them, then moves by what
    the stroke's own edges lack.
    """
    w = len(top)
    y = 0.5 * (top + bottom)
    wide = int(np.ceil(radius)) + 1
    for _ in range(rounds):
        step = np.zeros(w)
        for i in range(w):
            if not np.isfinite(y[i]):
                continue
            high, low = y[i] - radius, y[i] + radius
            for side in (-1, 1):
                for k in range(1, 2 * wide + 1):
                    # Half pixels along the curve, straight between columns.
                    d = 0.5 * k
                    if d >= radius:
                        break
                    a = i + side * (k // 2)
                    b = a + side * (k % 2)
                    if min(a, b) < 0 or max(a, b) >= w or not (np.isfinite(y[a]) and np.isfinite(y[b])):
                        break
                    at = 0.5 * (y[a] + y[b])
                    bow = np.sqrt(radius * radius - d * d)
                    high, low = min(high, at - bow), max(low, at + bow)
            move = 0.5 * ((top[i] - high) + (bottom[i] - low))
            step[i] = 0.6 * min(max(move, -12.0), 12.0)
        for i in range(w):
            if np.isfinite(y[i]):
                # The curve stays inside its ink.
                y[i] = min(max(y[i] + step[i], min(top[i] + 0.5 * radius, bottom[i])), max(bottom[i] - 0.5 * radius, top[i]))
    return y


def pen_radius(top: Floats, bottom: Floats) -> float:
    """Half the pen's width, pixels: of the ink's runs where the trace is flat, that is, of the lower half of their heights."""
    height = (bottom - top)[np.isfinite(top)]
    if not len(height):
        return 0.15 * SCALE
    return float(np.clip(np.percentile(height, 25) / 2, 0.5, 0.6 * SCALE))
