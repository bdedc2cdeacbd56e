"""Pacing spikes in the signal as it was recorded.

A stimulus lasts 0.2 to 2 ms. A recorder with 150 Hz bandwidth turns it into a hump of a few milliseconds (AHA/ACCF/HRS 2007
part I), at 100 Hz it fills one sample. Three things tell it from a narrow R wave at any rate: the signal is nearly flat on one
side of it; what it sets off comes after it, and is steep; and all spikes of a record look alike in all leads.

Letters: L leads, T samples, S spikes.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from einthoven.beats.fiducials import Times
from einthoven.record import Record

_HALF_S = 0.006  # half of what a recorded spike may last
_LEAST_MV = 0.08  # RMS over leads
_REFRACTORY_S = 0.03
_REPLY_S = (0.07, 0.30)  # after a spike, what it captured is still under way here ...
_REPLY = 0.30  # ... and at least this steep, in parts of what is the steepest in a second
_ALIKE, _AT_LEAST = 0.75, 3  # cosine between the leads' heights of two spikes, and how many must be alike


def pacing_spikes(record: Record) -> Times:
    """(S,) times in s of what looks like pacing spikes, all leads together. Fewer than three that are alike count for
    nothing."""
    x = record.signal
    x = x[np.isfinite(x).all(1)]
    k, total = max(1, round(_HALF_S * record.fs)), x.shape[1]
    if not len(x) or total < 6 * k + 1 or record.duration < 1:
        return np.empty(0)
    height, usual, before, after, slope = _over_leads(np.ascontiguousarray(x), k, max(1, round(0.01 * record.fs)))
    least = max(_LEAST_MV, 6 * float(np.median(usual)))
    sharp = (height > least) & (height > 2.5 * np.minimum(before, after)) & (height > 0.6 * np.maximum(before, after))
    at = _apart(np.flatnonzero(sharp), height, _REFRACTORY_S * record.fs)
    if len(at) < _AT_LEAST:
        return np.empty(0)

    heights = x[:, at] - (x[:, at - k] + x[:, at + k]) / 2  # (L, S)
    size = np.sqrt((heights**2).sum(0))
    alike = (heights.T @ heights / np.outer(size, size) > _ALIKE) & (
        np.maximum.outer(size, size) < 2 * np.minimum.outer(size, size)
    )
    second = round(record.fs)
    steepest = float(np.median(slope[: total // second * second].reshape(-1, second).max(1)))
    a, b = (round(s * record.fs) for s in _REPLY_S)
    reply = np.array([slope[i + a : i + b].max(initial=0.0) for i in at.tolist()])
    alone = height[at] > 2.5 * np.maximum(before[at], after[at])  # flat on both sides, as no R wave is: large unipolar spikes
    return np.asarray(at[(alike.sum(1) >= _AT_LEAST) & (alone | (reply > _REPLY * steepest))] / record.fs)


def _apart(candidates: NDArray[np.intp], height: NDArray[np.floating], gap: float) -> NDArray[np.intp]:
    """The highest of candidates that lie closer than `gap`, in order of time."""
    kept: list[int] = []
    for i in candidates[np.argsort(-height[candidates])].tolist():
        if all(abs(i - j) > gap for j in kept):
            kept.append(i)
    return np.sort(np.array(kept, np.intp))


@njit(cache=True, nogil=True)
def _over_leads(x, k, q):  # type: ignore[no-untyped-def]
    """(T,) each, root mean squares over leads of x (L, T): the height of x above its neighbours `k` samples to either side,
    where it is a tip, and anywhere; how far the signal goes on before and behind; its slope over `q` samples to either side."""
    leads, total = x.shape
    tip, bend, before, after, slope = np.zeros(total), np.zeros(total), np.zeros(total), np.zeros(total), np.zeros(total)
    for l in range(leads):
        y = x[l]
        for t in range(3 * k, total - 3 * k):
            d = y[t] - (y[t - k] + y[t + k]) / 2
            rise, fall = y[t] - y[t - 2 * k], y[t] - y[t + 2 * k]
            bend[t] += d * d
            if rise * fall > 0 and min(abs(rise), abs(fall)) > 0.3 * abs(d):  # no step, no bend
                tip[t] += d * d
            before[t] += (y[t - k] - y[t - 3 * k]) ** 2
            after[t] += (y[t + k] - y[t + 3 * k]) ** 2
        for t in range(q, total - q):
            slope[t] += (y[t + q] - y[t - q]) ** 2
    for t in range(total):
        tip[t], bend[t], slope[t] = np.sqrt(tip[t] / leads), np.sqrt(bend[t] / leads), np.sqrt(slope[t] / leads)
        before[t], after[t] = np.sqrt(before[t] / leads), np.sqrt(after[t] / leads)
    return tip, bend, before, after, slope
