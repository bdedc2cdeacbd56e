"""Change of sampling rate that keeps the time base: sample 0 stays at t = 0, and what the new rate cannot carry is removed."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from einthoven.record import EcgError, Record
from einthoven.signal.stretches import fill_gaps

# The anti-alias filter: a Kaiser window of 80 dB (beta 8), 24 samples of the slower rate to each side, half-way down at
# 0.9 of the lower Nyquist frequency. Flat to 1e-4 up to 0.79 of it, below -80 dB from 1.01 of it on.
_BETA, _HALF_LENGTH, _CUTOFF = 8.0, 24, 0.9
# Rates are taken as fractions with at most this denominator: exact for every rate a file can state in whole or 1/1000 Hz.
_FINEST = 1000
_LARGEST = 20_000
_FARTHEST = 1000


def resample(record: Record, fs: float) -> Record:
    """The record at `fs` Hz. The median beat, which has a rate of its own, stays as it is.

    Raises:
        EcgError: `fs` is not a positive number, or no practical filter exists for the ratio of the rates.
    """
    if fs == record.fs:
        return record
    return replace(record, signal=resample_signal(record.signal, record.fs, fs), fs=float(fs))


def resample_signal(signal: NDArray[np.floating], fs_in: float, fs_out: float) -> NDArray[np.float32]:
    """`signal` (L, T) at `fs_in` Hz -> (L, ceil(T * fs_out / fs_in)) at `fs_out` Hz, float32.

    Polyphase filtering at the exact rational ratio (100, 250, 257, 360, 400, 500, 977, 1000 Hz: no rounding of the time
    base). The ends are continued point-symmetrically. A new sample is NaN where the nearest old one is.
    """
    if not all(np.isfinite(f) and f > 0 for f in (fs_in, fs_out)):
        raise EcgError(f"cannot resample from {fs_in} Hz to {fs_out} Hz")
    if not 1 / _FARTHEST <= fs_out / fs_in <= _FARTHEST:
        raise EcgError(f"cannot resample from {fs_in} Hz to {fs_out} Hz: more than {_FARTHEST} times apart")
    up, down = _ratio(fs_in, fs_out)
    n = signal.shape[1]
    n_out = -(-n * up // down)
    if up == down or n == 0:
        return np.asarray(signal[:, :n_out], np.float32).copy()
    filled, valid = fill_gaps(signal)
    if n == 1:
        return np.repeat(np.where(valid, filled, np.nan), n_out, axis=1).astype(np.float32)
    from einthoven.signal.kernels import polyphase  # numba comes with it

    out: NDArray[np.float32] = polyphase(filled, _taps(max(up, down)), up, down, "odd").astype(np.float32)
    if not valid.all():
        nearest = np.minimum((np.arange(n_out) * (2 * down) + up) // (2 * up), n - 1)
        out[~valid[:, nearest]] = np.nan
    return out


def _ratio(fs_in: float, fs_out: float) -> tuple[int, int]:
    """fs_out / fs_in as whole numbers (up, down); exact unless they would exceed _LARGEST."""
    wanted, present = (Fraction(f).limit_denominator(_FINEST) if f > 1 else Fraction(f) for f in (fs_out, fs_in))
    ratio = wanted / present
    if max(ratio.as_integer_ratio()) > _LARGEST:  # then right to 1e-8: a tenth of a sample in a day at 500 Hz
        ratio = 1 / (1 / ratio).limit_denominator(_LARGEST) if ratio > 1 else ratio.limit_denominator(_LARGEST)
    return ratio.as_integer_ratio()


@lru_cache(maxsize=32)
def _taps(slow: int) -> NDArray[np.float64]:
    """Taps (2 * 24 * slow + 1,) at the rate both rates divide."""
    from einthoven.signal.kernels import lowpass_taps

    taps = lowpass_taps(_HALF_LENGTH * slow, _CUTOFF / slow, _BETA)
    taps.flags.writeable = False
    return taps
