"""Pacing spikes in the signal as it was recorded.

A stimulus lasts 0.2 to 2 ms. A recorder with 150 Hz bandwidth turns it into a hump of a few milliseconds (AHA/ACCF/HRS 2007 part I), at
100 Hz it fills one sample. What tells it from a narrow R wave at any rate is that the signal is flat on at least one side of it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from einthoven.beats.fiducials import Times
from einthoven.record import Record

_LEAST_MV = 0.10  # RMS over leads
_REFRACTORY_S = 0.03


def pacing_spikes(record: Record) -> Times:
    """(S,) times in s of what looks like pacing spikes, all leads together."""
    x = record.signal
    k = max(1, round(0.006 * record.fs))
    if x.shape[1] < 12 * k + 1:
        return np.empty(0)
    alive = np.isfinite(x).all(1)
    if not alive.any():
        return np.empty(0)
    x = x[alive]
    height = _over_leads(x[:, 3 * k : -3 * k] - (x[:, 2 * k : -4 * k] + x[:, 4 * k : -2 * k]) / 2)
    before = _over_leads(x[:, 2 * k : -4 * k] - x[:, : -6 * k])
    after = _over_leads(x[:, 4 * k : -2 * k] - x[:, 6 * k :])
    usual = float(np.median(height))
    sharp = (
        (height > max(_LEAST_MV, 8 * usual))
        & (height > 2.5 * np.minimum(before, after))
        & (height > 0.6 * np.maximum(before, after))
    )
    candidates = np.flatnonzero(sharp)
    found: list[int] = []
    for i in candidates[np.argsort(-height[candidates])].tolist():
        if all(abs(i - j) > _REFRACTORY_S * record.fs for j in found):
            found.append(i)
    return (np.sort(np.array(found, float)) + 3 * k) / record.fs


def _over_leads(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """(T,) root mean square over leads of (L, T)."""
    return np.asarray(np.sqrt(np.einsum("lt,lt->t", x, x) / len(x)))
