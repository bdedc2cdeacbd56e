"""How near a digitised ECG comes to the truth: SNR as in the PhysioNet Challenge 2024, each lead aligned best."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from einthoven.paper.page import Floats
from einthoven.record import Record
from einthoven.signal.resample import resample

BEST = 100.0  # dB: better than this is not told apart


def snr_db(truth: Record, found: Record, *, most_shift: float = 0.2) -> Mapping[str, float]:
    """SNR in dB of each lead of `truth`: 10 log10(sum x^2 / sum (x - found)^2), over what was found of it.

    Each lead is moved by up to `most_shift` s (to a tenth of a sample) and by its mean difference first; x is without its own
    mean, so that an offset is no signal. A lead that was not found, or less than half of what it should show, has NaN.
    """
    if abs(truth.fs - found.fs) > 1e-9:
        truth = resample(truth, found.fs)
    return {
        lead: _best(truth.lead(lead).astype(np.float64), found.lead(lead).astype(np.float64), round(most_shift * found.fs))
        if lead in found
        else float("nan")
        for lead in truth.leads
    }


def _best(x: Floats, y: Floats, reach: int) -> float:
    """The best over whole samples, then over fractions of one: a sheet does not say where within a sample its time began."""
    n = max(len(x), len(y)) + 2 * reach
    a, b = np.full(n, np.nan), np.full(n, np.nan)
    a[reach : reach + len(x)], b[reach : reach + len(y)] = x, y
    best, at = -np.inf, 0
    for shift in range(-reach, reach + 1):
        found = _snr(a, np.roll(b, shift))
        if found > best:
            best, at = found, shift
    if not np.isfinite(best):
        return float("nan")
    whole, dense = np.arange(n, dtype=np.float64), np.flatnonzero(np.isfinite(a))
    first, last = dense[0], dense[-1]
    if np.isfinite(a[first : last + 1]).all():
        from scipy.interpolate import CubicSpline

        curve = CubicSpline(whole[first : last + 1], a[first : last + 1], extrapolate=False)
        near = np.roll(b, at)
        best = max([best, *(_snr(curve(whole + f), near) for f in np.arange(-0.9, 1.0, 0.1))])
    return float(best)


def _snr(a: Floats, b: Floats) -> float:
    both = np.isfinite(a) & np.isfinite(b)
    # A shift that leaves little in common is not a better fit.
    if both.sum() < max(50, 0.9 * np.isfinite(b).sum() - 1):
        return -np.inf
    p, q = a[both] - a[both].mean(), b[both] - b[both].mean()
    power, error = float(p @ p), float((p - q) @ (p - q))
    return float(10 * np.log10(power / max(error, 1e-10 * power))) if power > 0 else -np.inf
