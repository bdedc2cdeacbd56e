"""A cubic through points, by itself: scipy.interpolate does the same, and takes longer to load than a photo's trace to read."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def cubic(x: Floats, y: Floats, at: Floats) -> Floats:
    """The cubic spline through (x, y) (N,), x rising, at other places (M,): twice differentiable, and one cubic over the first
    two and the last two pieces ("not a knot", as scipy's CubicSpline). N >= 4; beyond the ends the last piece goes on."""
    n = len(x)
    dx = np.diff(x)
    rise = np.diff(y) / dx
    # Slopes at the points: a tridiagonal system (de Boor, A Practical Guide to Splines, chapter IV).
    low, mid, high, slope = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n)
    d = x[2] - x[0]
    mid[0], high[0] = dx[1], d
    slope[0] = ((dx[0] + 2 * d) * dx[1] * rise[0] + dx[0] ** 2 * rise[1]) / d
    for i in range(1, n - 1):
        low[i], mid[i], high[i] = dx[i], 2 * (dx[i - 1] + dx[i]), dx[i - 1]
        slope[i] = 3 * (dx[i] * rise[i - 1] + dx[i - 1] * rise[i])
    d = x[n - 1] - x[n - 3]
    mid[n - 1], low[n - 1] = dx[n - 3], d
    slope[n - 1] = (dx[n - 2] ** 2 * rise[n - 3] + (2 * d + dx[n - 2]) * dx[n - 3] * rise[n - 2]) / d
    for i in range(1, n):
        share = low[i] / mid[i - 1]
        mid[i] -= share * high[i - 1]
        slope[i] -= share * slope[i - 1]
    slope[n - 1] /= mid[n - 1]
    for i in range(n - 2, -1, -1):
        slope[i] = (slope[i] - high[i] * slope[i + 1]) / mid[i]
    out = np.empty(len(at))
    for k in range(len(at)):
        i = min(max(np.searchsorted(x, at[k], side="right") - 1, 0), n - 2)
        t, h = at[k] - x[i], dx[i]
        bend = (slope[i] + slope[i + 1] - 2 * rise[i]) / h
        out[k] = y[i] + t * (slope[i] + t * ((rise[i] - slope[i]) / h - bend + t * bend / h))
    return out
