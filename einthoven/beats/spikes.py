"""Pacing spikes in the signal as it was recorded.

A stimulus lasts 0.2 to 2 ms. A recorder with 150 Hz bandwidth turns it into a hump of a few milliseconds (AHA/ACCF/HRS 2007
part I), at 100 Hz it fills one sample. Three things tell it from a narrow R wave at any rate: the signal is nearly flat on one
side of it; what it sets off comes after it, and is steep; and all spikes of a record look alike in all leads.

Letters: L leads, T samples, S spikes.
"""

from __future__ import annotations

import numpy as np
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
    """(S,) times in s of what looks like pacing spikes, all leads together. Fewer than three that are alike count for nothing."""
    x = record.signal
    x = x[np.isfinite(x).all(1)]
    k, total = max(1, round(_HALF_S * record.fs)), x.shape[1]
    if not len(x) or total < 6 * k + 1 or record.duration < 1:
        return np.empty(0)
    mid = x[:, 3 * k : -3 * k]
    tip = mid - (x[:, 2 * k : -4 * k] + x[:, 4 * k : -2 * k]) / 2  # (L, T - 6 k)
    usual = float(np.median(_over_leads(tip)))
    rise, fall = mid - x[:, k : -5 * k], mid - x[:, 5 * k : -k]
    tip = np.where(
        (np.abs(rise) > 0.3 * np.abs(tip)) & (np.abs(fall) > 0.3 * np.abs(tip)) & (rise * fall > 0), tip, 0
    )  # no step, no bend
    height = _over_leads(tip)
    before = _over_leads(x[:, 2 * k : -4 * k] - x[:, : -6 * k])
    after = _over_leads(x[:, 4 * k : -2 * k] - x[:, 6 * k :])
    least = max(_LEAST_MV, 8 * usual)
    sharp = (height > least) & (height > 2.5 * np.minimum(before, after)) & (height > 0.6 * np.maximum(before, after))
    at = _apart(np.flatnonzero(sharp), height, _REFRACTORY_S * record.fs)
    if len(at) < _AT_LEAST:
        return np.empty(0)

    heights = tip[:, at]  # (L, S)
    size = np.sqrt((heights**2).sum(0))
    alike = (heights.T @ heights / np.outer(size, size) > _ALIKE) & (
        np.maximum.outer(size, size) < 2 * np.minimum.outer(size, size)
    )
    at = at + 3 * k
    q = max(1, round(0.01 * record.fs))
    slope = np.pad(_over_leads(x[:, 2 * q :] - x[:, : -2 * q]), q)  # (T,)
    second = round(record.fs)
    steepest = float(np.median(slope[: total // second * second].reshape(-1, second).max(1)))
    a, b = (round(s * record.fs) for s in _REPLY_S)
    reply = np.array([slope[i + a : i + b].max(initial=0.0) for i in at.tolist()])
    return np.asarray(at[(alike.sum(1) >= _AT_LEAST) & (reply > _REPLY * steepest)] / record.fs)


def _apart(candidates: NDArray[np.intp], height: NDArray[np.floating], gap: float) -> NDArray[np.intp]:
    """The highest of candidates that lie closer than `gap`, in order of time."""
    kept: list[int] = []
    for i in candidates[np.argsort(-height[candidates])].tolist():
        if all(abs(i - j) > gap for j in kept):
            kept.append(i)
    return np.sort(np.array(kept, np.intp))


def _over_leads(x: NDArray[np.floating]) -> NDArray[np.floating]:
    """(T,) root mean square over leads of (L, T)."""
    return np.asarray(np.sqrt(np.einsum("lt,lt->t", x, x) / len(x)))
