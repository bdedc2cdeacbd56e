"""A strip's trace as polylines in millimetres: what PNG, SVG and PDF all draw."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

from einthoven.paper.page import Floats, Page, Strip
from einthoven.record import Record

_REACH = 8  # samples to each side that the interpolating kernel sees
_FAR = 1e4  # mm: what is further off the paper is drawn as if it were there, so that no format meets a number it cannot hold


def trace(record: Record, page: Page, strip: Strip, points_per_mm: float = 8.0) -> list[tuple[Floats, Floats]]:
    """The strip's polylines, each (x, y) mm, one for every stretch without NaN.

    The samples themselves are always on the line. Where they lie wider apart than 1 / points_per_mm, points between them
    are interpolated by a Kaiser-windowed sinc, which is what a band-limited recorder draws.
    """
    signal = record.lead(strip.lead)
    first = max(math.ceil(strip.start * record.fs - 1e-6), 0)
    last = min(math.floor(strip.stop * record.fs + 1e-6), len(signal) - 1)
    if last < first:
        return []
    factor = min(max(math.ceil(points_per_mm * page.speed / record.fs - 0.5), 1), 32)
    a, b = max(first - _REACH, 0), min(last + _REACH + 1, len(signal))
    dense = _densify(signal[a:b].astype(np.float64), first - a, last - a, _kernel(factor)) if factor > 1 else None
    mv = signal[first : last + 1].astype(np.float64) if dense is None else dense
    x, y = page.to_mm(strip, first / record.fs + np.arange(len(mv)) / (record.fs * factor), mv)
    y = np.clip(y, -_FAR, _FAR)
    good = np.isfinite(y)
    if good.all():
        return [(x, y)]
    edges = np.flatnonzero(np.diff(np.concatenate([[False], good, [False]]).astype(np.int8)))
    return [(x[i:j], y[i:j]) for i, j in edges.reshape(-1, 2)]


@lru_cache(16)
def _kernel(factor: int) -> Floats:
    """(factor, 2 * _REACH) weights of the samples around each of `factor` points between two samples."""
    offsets = np.arange(factor)[:, None] / factor - np.arange(1 - _REACH, _REACH + 1)[None, :]
    window = np.i0(8.0 * np.sqrt(np.clip(1 - (offsets / _REACH) ** 2, 0, None))) / np.i0(8.0)
    weights = np.sinc(offsets) * window
    return np.ascontiguousarray(weights / weights.sum(axis=1, keepdims=True))


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _densify(x: NDArray[np.float64], first: int, last: int, kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    """`factor` points per sample from x[first] to x[last]; the line is straight where a neighbour is NaN or beyond the end.

    x: (T,). Returns ((last - first) * factor + 1,).
    """
    factor, taps = kernel.shape
    reach = taps // 2
    out = np.empty((last - first) * factor + 1)
    for i in range(first, last + 1):
        at = (i - first) * factor
        out[at] = x[i]
        if i == last:
            break
        whole = True
        for k in range(1 - reach, reach + 1):
            j = min(max(i + k, 0), len(x) - 1)
            if not np.isfinite(x[j]):
                whole = False
        for p in range(1, factor):
            if whole:
                total = 0.0
                for k in range(taps):
                    j = min(max(i + 1 - reach + k, 0), len(x) - 1)
                    total += kernel[p, k] * x[j]
                out[at + p] = total
            else:
                out[at + p] = x[i] + (x[i + 1] - x[i]) * p / factor
    return out
