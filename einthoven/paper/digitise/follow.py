"""Follows a row's trace over a sheet: the best path through the ink's runs, then its place between pixels.

A column of pixels cuts ink into runs. A path takes one run in each column (or skips some); it likes to go on where it touches,
and to stay near its base line, so that it passes through other leads' strokes and comes home. Then the path is
sharpened: the stroke that it would leave is compared with the ink's edges, and moved until both agree, which gives the true
height of peaks that are narrower than the pen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from einthoven.paper.digitise.lattice import SCALE, Field
from einthoven.paper.page import Floats

Ints = NDArray[np.int32]

INK = 0.5  # more than this is ink
DROPPED = 2  # in Runs.tiny: a run that is no trace at all


@dataclass(frozen=True)
class Runs:
    """The runs of ink in each column of a sheet: the number of each column's first (W + 1,), and for all runs their upper and
    lower edges (N,) and whether they belong to something small (N,), or are DROPPED."""

    first: Ints
    top: Floats
    bottom: Floats
    tiny: NDArray[np.uint8]

    def trace(
        self,
        baseline: float,
        reach: float,
        left: int,
        right: int,
        pen: float | None = None,
        shared: tuple[bool, bool] = (False, False),
        others: Floats | None = None,
    ) -> tuple[Floats, float, float]:
        """The curve (right - left,) of the trace with this base line from column `left` to before `right`, NaN where there is
        no ink, half its pen's width, and by how much its edges miss the ink's; all in pixels. `reach`: how far it may go from
        its base line. `shared`: whether another trace is drawn up to its left and right end.
        `others`: base lines of other rows,
        which this trace may cross and does not follow."""
        y, pen, misfit, _ = self.traced(baseline, reach, left, right, pen, shared, others)
        return y, pen, misfit

    def traced(
        self,
        baseline: float,
        reach: float,
        left: int,
        right: int,
        pen: float | None = None,
        shared: tuple[bool, bool] = (False, False),
        others: Floats | None = None,
    ) -> tuple[Floats, float, float, Ints]:
        """As `trace`, and the run that the curve takes in each column (right - left,), -1 where it takes none."""
        levels = np.zeros(0) if others is None else others
        runs = (self.first, self.top, self.bottom, self.tiny)
        path = follow(*runs, baseline, levels, left, right, reach, 10 * SCALE, float(SCALE))[left:right]
        on = path >= 0
        upper, lower = np.full(len(path), np.nan), np.full(len(path), np.nan)
        upper[on], lower[on] = self.top[path[on]], self.bottom[path[on]]
        if pen is None:
            pen = pen_radius(upper, lower)
        ends = [int(np.ceil(pen)) if side else 0 for side in shared]
        y, misfit = sharpen(upper, lower, pen, 25, ends[0], ends[1])
        return y, pen, misfit, path


def find_runs(ink: Field, small: NDArray[np.uint8]) -> Runs:
    """The runs of an ink image (H, W); `small` (H, W) marks what is too small to be a trace."""
    import cv2

    return Runs(*runs_of(cv2.transpose(ink), INK, small))  # a column's pixels beside each other, for memory's sake


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def runs_of(ink: Field, low: float, small: NDArray[np.uint8]) -> tuple[Ints, Floats, Floats, NDArray[np.uint8]]:
    """The runs of ink in each column of a sheet that lies on its side, (W, H): first run of each column (W + 1,), upper and
    lower edges between pixels (N,), and whether the run is part of something `small` (H, W) (N,)."""
    w, h = ink.shape
    first = np.zeros(w + 1, np.int32)
    count = 0
    for x in range(w):
        inside = False
        for y in range(h):
            dark = ink[x, y] > low
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
            dark = ink[x, y] > low
            if dark and not inside:
                # The edge is where the ink, straight between pixel centres, crosses the level.
                above = ink[x, y - 1] if y > 0 else 0.0
                top[k] = y - (ink[x, y] - low) / max(ink[x, y] - above, 1e-6)
                tiny[k] = small[y, x]
            if inside and not dark:
                bottom[k] = y - 1 + (ink[x, y - 1] - low) / max(ink[x, y - 1] - ink[x, y], 1e-6)
                k += 1
            inside = dark
        if inside:
            bottom[k] = h - 1.0
            k += 1
    return first, top, bottom, tiny


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def follow(
    first: Ints,
    top: Floats,
    bottom: Floats,
    tiny: NDArray[np.uint8],
    baseline: float,
    others: Floats,
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
            if tiny[k] == 2:
                continue
            middle = 0.5 * (top[k] + bottom[k])
            near = max(0.0, max(top[k] - baseline, baseline - bottom[k]))
            if near > reach:
                continue
            away = abs(middle - baseline) if bottom[k] - top[k] < 12 * scale else near
            high = bottom[k] - top[k]
            own = 1.0 - 0.02 * min(away, 40 * scale) / scale - (0.9 if tiny[k] else 0.0)
            for other in others:
                if high < 1.5 * scale and abs(middle - other) < 1.5 * scale < abs(baseline - other) - 2 * scale:
                    own -= 0.7
            # Beside a stroke, what is left of a grid line is no trace.
            own += 0.01 * min(high, 3 * scale) - (0.5 if high < 0.15 * scale else 0.0)
            top_score, from_ = own - 0.05 * near, -1
            touches = False
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
                    touches = touches or (skipped < 2 and gap < 0.5 * scale)
                    if value > top_score:
                        top_score, from_ = value, j
                # What it touches it goes on from. A strip looks further back where it touches nothing; a row that is looked for
                # does not, or words would become one.
                if skipped > 3 and (touches or (len(others) == 0 and from_ >= 0 and column_of[from_] >= x - 2)):
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


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def sharpen(top: Floats, bottom: Floats, radius: float, rounds: int, left: int, right: int) -> tuple[Floats, float]:
    """The curve (W,), one height a column, whose stroke of this radius has its edges where the ink has them; and by how many
    pixels these edges miss the ink's, on the mean.

    top, bottom: (W,) edges of the ink, NaN where there is none. Begins in the middle between them, at tips a radius from the
    edge. What a stroke's edge lacks is then given to the part of the curve that makes that edge (SIRT, as in tomography:
    Gilbert 1972), over and over. left, right: so many columns at the ends hold a neighbour's ink as well; the curve goes
    on straight there, inside the ink.
    """
    w = len(top)
    y = 0.5 * (top + bottom)
    middle = y.copy()
    for i in range(w):
        if np.isfinite(middle[i]) and bottom[i] - top[i] > 3 * radius:
            highest = lowest = True
            for j in range(max(i - 2, 0), min(i + 3, w)):
                highest = highest and not middle[j] < middle[i]
                lowest = lowest and not middle[j] > middle[i]
            if highest:
                y[i] = top[i] + radius
            elif lowest:
                y[i] = bottom[i] - radius
    points = 6  # along the pen to each side
    total, weight = np.zeros(w), np.zeros(w)
    misfit, count = 0.0, 1e-9
    for _ in range(rounds):
        misfit, count = 0.0, 1e-9
        total[:] = 0.0
        weight[:] = 0.0
        for i in range(w):
            if not np.isfinite(y[i]):
                continue
            high, high_a, high_b, high_f = y[i] - radius, i, i, 0.0
            low, low_a, low_b, low_f = y[i] + radius, i, i, 0.0
            for side in (-1, 1):
                for k in range(1, points + 1):
                    d = radius * k / points
                    whole = int(d)
                    f = d - whole
                    a = i + side * whole
                    b = a + side
                    if min(a, b) < 0 or max(a, b) >= w or not (np.isfinite(y[a]) and np.isfinite(y[b])):
                        break
                    at = y[a] * (1 - f) + y[b] * f
                    bow = np.sqrt(max(radius * radius - d * d, 0.0))
                    if at - bow < high:
                        high, high_a, high_b, high_f = at - bow, a, b, f
                    if at + bow > low:
                        low, low_a, low_b, low_f = at + bow, a, b, f
            up = min(max(top[i] - high, -20.0), 20.0)
            down = min(max(bottom[i] - low, -20.0), 20.0)
            misfit += min(abs(up), 3.0) + min(abs(down), 3.0)
            count += 2
            if i < left or i >= w - right:
                up, down = max(up, 0.0), min(down, 0.0)
            total[high_a] += up * (1 - high_f)
            weight[high_a] += 1 - high_f
            total[high_b] += up * high_f
            weight[high_b] += high_f
            total[low_a] += down * (1 - low_f)
            weight[low_a] += 1 - low_f
            total[low_b] += down * low_f
            weight[low_b] += low_f
        for i in range(w):
            if np.isfinite(y[i]) and weight[i] > 0:
                # The curve stays inside its ink.
                y[i] += 0.8 * total[i] / max(weight[i], 1.0)
                y[i] = min(max(y[i], top[i]), bottom[i])
        for k in range(left):
            i = left - 1 - k
            if i + 2 < w and np.isfinite(y[i]) and np.isfinite(y[i + 2]):
                y[i] = min(max(2 * y[i + 1] - y[i + 2], top[i]), bottom[i])
        for i in range(w - right, w):
            if i >= 2 and np.isfinite(y[i]) and np.isfinite(y[i - 2]):
                y[i] = min(max(2 * y[i - 1] - y[i - 2], top[i]), bottom[i])
        for i in range(2, w - 2):
            # What no edge depends on (the tip between two flanks) goes on as its neighbours do, in a cubic.
            if weight[i] < 0.4 and np.isfinite(y[i]):
                at = (4 * (y[i - 1] + y[i + 1]) - y[i - 2] - y[i + 2]) / 6
                if np.isfinite(at):
                    y[i] = min(max(at, top[i]), bottom[i])
    return y, misfit / count


def pen_radius(top: Floats, bottom: Floats) -> float:
    """Half the pen's width, pixels: the radius whose strokes' edges fit the ink's best."""
    height = (bottom - top)[np.isfinite(top)]
    if not len(height):
        return 0.15 * SCALE
    # Where the trace is flat, its height is the pen's; a noisy trace is nowhere flat, and looks thicker.
    thin = float(np.clip(np.percentile(height, 10) / 2, 0.5, 0.6 * SCALE))
    tried = thin * np.array([0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3])
    misfits = [sharpen(top, bottom, float(r), 8, 0, 0)[1] for r in tried]
    return float(np.clip(tried[int(np.argmin(misfits))], 0.45, 0.6 * SCALE))
