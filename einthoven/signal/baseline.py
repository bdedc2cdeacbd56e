"""Baseline wander removed where a filter would bend the ST segment: moving median, cubic spline through the PQ segments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from einthoven.record import EcgError, Record
from einthoven.signal.stretches import Samples, over_stretches, stretches

# The usual pair of windows: 200 ms removes P waves and QRS complexes, 600 ms the T waves of what is left; what remains is
# baseline (de Chazal, O'Dwyer & Reilly, IEEE TBME 51:1196, 2004).
DE_CHAZAL_S = (0.2, 0.6)


def remove_baseline_median(record: Record, window_s: float | Sequence[float] = DE_CHAZAL_S, mode: str = "reflect") -> Record:
    """Subtracts the moving median. Several windows (s) are applied one after the other, each to the median before it.

    A single short window (CardX: 0.2 s) lowers P and T waves together with the wander: use it only for a model
    that was trained so.
    """
    baseline = moving_median(record.signal, record.fs, window_s, mode)
    return replace(record, signal=record.signal - baseline)


def moving_median(
    signal: NDArray[np.floating], fs: float, window_s: float | Sequence[float] = DE_CHAZAL_S, mode: str = "reflect"
) -> NDArray[np.float32]:
    """The moving median of `signal` (L, T) over windows of `odd_window(seconds, fs)` samples, stretch by stretch.

    `mode` continues the ends as scipy.ndimage does ("reflect", "nearest", "mirror").
    """
    windows = [window_s] if isinstance(window_s, int | float) else list(window_s)
    if not windows or not all(w > 0 for w in windows):
        raise EcgError(f"a window of {window_s} s has no median")

    from scipy.ndimage import median_filter

    def filtered(block: Samples) -> Samples:
        for window in windows:
            # One row at a time: scipy has a fast path (a sorted list that slides) for one dimension only.
            size = odd_window(window, fs)
            block = np.stack([median_filter(row, size, mode=mode) for row in block])
        return block

    return over_stretches(signal, filtered)


def odd_window(seconds: float, fs: float) -> int:
    """The odd number of samples nearest above `seconds`, so that the window has a middle: 0.2 s at 100 Hz is 21."""
    return 2 * int(seconds * fs / 2 + 1e-9) + 1


def remove_baseline_spline(record: Record, knots_s: Sequence[float] | NDArray[np.floating], width_s: float = 0.02) -> Record:
    """Subtracts a cubic spline through the isoelectric points at `knots_s` (s; the PQ segment before each QRS onset).

    The level of a knot is the mean over `width_s` around it. Before the first and after the last knot the baseline is held
    level; one knot gives a constant, two a straight line (Meyer & Keiser, Comput Biomed Res 10:459, 1977).

    Raises:
        EcgError: no knot lies inside the record.
    """
    n = record.signal.shape[1]
    half = max(round(width_s * record.fs / 2), 0)
    at = np.unique(np.round(np.asarray(knots_s, np.float64) * record.fs))
    at = at[np.isfinite(at) & (at >= 0) & (at < n)].astype(np.intp)
    if not at.size:
        raise EcgError("no knot for the baseline lies inside the record", path=record.source.path)
    out = record.signal.copy()
    for row in out:
        for a, b in stretches(np.isfinite(row)):
            here = at[(at >= a) & (at < b)]
            if here.size:
                levels = np.array([row[max(i - half, a) : min(i + half + 1, b)].mean(dtype=np.float64) for i in here])
                row[a:b] -= _through(here, levels, np.arange(a, b)).astype(np.float32)
    return replace(record, signal=out)


def pq_knots(r_times_s: Sequence[float] | NDArray[np.floating], before_s: float = 0.08) -> NDArray[np.float64]:
    """Where the PQ segment lies when only R peaks (s) are known: `before_s` ahead of each. Delineated QRS onsets are better."""
    times = np.asarray(r_times_s, np.float64)
    return times[np.isfinite(times)] - before_s


def _through(at: NDArray[np.intp], levels: Samples, samples: NDArray[np.intp]) -> Samples:
    inside = np.clip(samples, at[0], at[-1])
    if at.size < 3:
        return np.interp(inside, at, levels)
    from scipy.interpolate import CubicSpline

    spline: Samples = CubicSpline(at, levels, bc_type="natural")(inside)
    return spline
