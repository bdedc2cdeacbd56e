"""What was recorded and what was not: filters must not carry NaN from a gap into the samples beside it.

T samples, k rows that share their gaps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float64]


def stretches(valid: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """The runs of True in (T,) as half-open intervals [start, stop)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], valid, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def rows_by_gaps(valid: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.bool_]]]:
    """Rows of (L, T) that miss the same samples, together with that mask (T,): what a filter can do in one call."""
    if valid.all():
        yield np.arange(valid.shape[0]), np.ones(valid.shape[1], bool)
        return
    masks, which = np.unique(valid, axis=0, return_inverse=True)
    for i, mask in enumerate(masks):
        yield np.flatnonzero(which.ravel() == i), mask


def over_stretches(signal: NDArray[np.floating], transform: Callable[[Samples], Samples]) -> NDArray[np.float32]:
    """`transform` (k, n) -> (k, n), applied to every recorded stretch of `signal` (L, T) on its own; NaN stays where it was.

    Infinite samples count as not recorded.
    """
    valid = np.isfinite(signal)
    out = np.full(signal.shape, np.nan, np.float32)
    for rows, mask in rows_by_gaps(valid):
        for a, b in stretches(mask):
            out[rows, a:b] = transform(signal[rows, a:b].astype(np.float64))
    return out


def fill_gaps(signal: NDArray[np.floating]) -> tuple[Samples, NDArray[np.bool_]]:
    """`signal` (L, T) as float64 with every gap bridged by a straight line (held level at the ends; 0 in a row that has
    nothing), and the mask (L, T) of what was recorded, so that the gaps can be put back."""
    valid = np.isfinite(signal)
    filled = signal.astype(np.float64)
    if valid.all():
        return filled, valid
    time = np.arange(signal.shape[1])
    for row, mask in zip(filled, valid, strict=True):
        if not mask.any():
            row[:] = 0
        elif not mask.all():
            row[~mask] = np.interp(time[~mask], time[mask], row[mask])
    return filled, valid
