"""Zero-phase Butterworth filters and the mains notch.

Every filter runs forward and backward (no delay, no change of shape by phase), so its gain is the square of one
Butterworth pass: -6 dB at the corner, and `order` is the order of one pass. Each recorded stretch is filtered by itself.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from einthoven.record import EcgError, Record
from einthoven.signal.stretches import Samples, over_stretches


def bandpass(record: Record, low: float, high: float, order: int = 4) -> Record:
    """Keeps `low`..`high` Hz. `order` is that of each slope (scipy's `butter(order, [low, high], "bandpass")`)."""
    return replace(record, signal=bandpass_signal(record.signal, record.fs, low, high, order))


def highpass(record: Record, low: float, order: int = 2) -> Record:
    """Keeps what is above `low` Hz."""
    return replace(record, signal=bandpass_signal(record.signal, record.fs, low, None, order))


def lowpass(record: Record, high: float, order: int = 4) -> Record:
    """Keeps what is below `high` Hz."""
    return replace(record, signal=bandpass_signal(record.signal, record.fs, None, high, order))


def notch(record: Record, hz: float, q: float = 30.0) -> Record:
    """Removes mains interference at `hz` (50 or 60) with a second-order notch of quality `q` (width hz / q)."""
    return replace(record, signal=notch_signal(record.signal, record.fs, hz, q))


def bandpass_signal(
    signal: NDArray[np.floating], fs: float, low: float | None, high: float | None, order: int = 4
) -> NDArray[np.float32]:
    """`signal` (L, T) at `fs` Hz filtered to `low`..`high` Hz; None leaves that side open.

    Raises:
        EcgError: a corner is not between 0 and fs / 2, or the corners are the wrong way round.
    """
    corners = [f for f in (low, high) if f is not None]
    if not corners:
        return np.asarray(signal, np.float32).copy()
    if not all(0 < f < fs / 2 for f in corners) or corners != sorted(set(corners)):
        raise EcgError(f"no filter from {low} to {high} Hz at a sampling rate of {fs:g} Hz")
    kind = "bandpass" if len(corners) == 2 else "highpass" if high is None else "lowpass"
    sos = _butterworth(order, tuple(corners), kind, fs)
    # A filter needs about a period of its lowest corner to settle, so that much is continued at each end.
    return _forward_backward(signal, sos, pad=round(fs / corners[0]) + 6 * order)


def notch_signal(signal: NDArray[np.floating], fs: float, hz: float, q: float = 30.0) -> NDArray[np.float32]:
    """`signal` (L, T) at `fs` Hz without `hz`. Raises EcgError where `hz` is not below fs / 2."""
    if not 0 < hz < fs / 2 or not q > 0:
        raise EcgError(f"no notch at {hz} Hz, q {q}, at a sampling rate of {fs:g} Hz")
    # The notch rings for q / (pi hz) seconds; three of these settle it. At the ends no continuation keeps the phase of the
    # mains, so its steady part is subtracted first.
    steady = over_stretches(signal, lambda block: block - _sine(block, fs, hz))
    return _forward_backward(steady, _notch(hz, q, fs), pad=round(fs * 3 * q / (np.pi * hz)))


def _forward_backward(signal: NDArray[np.floating], sos: Samples, pad: int) -> NDArray[np.float32]:
    from scipy.signal import sosfiltfilt

    def filtered(block: Samples) -> Samples:
        out: Samples = sosfiltfilt(sos, block, axis=-1, padtype="odd", padlen=min(pad, block.shape[-1] - 1))
        return out

    return over_stretches(signal, filtered)


def _sine(block: Samples, fs: float, hz: float) -> Samples:
    """The sine at `hz` that fits each row of (k, n) best beside a straight line; 0 where there are less than ten periods."""
    n = block.shape[1]
    if n < 10 * fs / hz:
        return np.zeros_like(block)
    t = np.arange(n) / fs
    columns = np.stack([np.cos(2 * np.pi * hz * t), np.sin(2 * np.pi * hz * t), np.ones(n), t - t[-1] / 2])
    fitted = np.linalg.solve(columns @ columns.T, columns @ block.T)  # (4, k)
    out: Samples = fitted[:2].T @ columns[:2]
    return out


@lru_cache(maxsize=128)
def _butterworth(order: int, corners: tuple[float, ...], kind: str, fs: float) -> Samples:
    if not 1 <= order <= 20:
        raise EcgError(f"the order of a filter lies between 1 and 20, not {order}")
    from scipy.signal import butter

    sos: Samples = butter(order, corners if len(corners) == 2 else corners[0], kind, fs=fs, output="sos")
    return sos


@lru_cache(maxsize=32)
def _notch(hz: float, q: float, fs: float) -> Samples:
    from scipy.signal import iirnotch, tf2sos

    sos: Samples = tf2sos(*iirnotch(hz, q, fs=fs))
    return sos
