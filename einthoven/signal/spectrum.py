"""How the power of each lead is spread over frequency: Welch's mean of windowed periodograms.

Welch P. IEEE Trans Audio Electroacoust 1967; 15: 70. L leads, F frequencies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from einthoven.record import Record

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Spectrum:
    """`hz` (F,), and `power` (L, F) in microvolts squared per Hz, rows by `leads`; NaN for a lead of which no stretch is whole.
    The sum of a row times the step of `hz` is the lead's variance."""

    leads: tuple[str, ...]
    hz: Floats
    power: Floats


def spectrum(record: Record, seconds: float = 4.0) -> Spectrum:
    """One-sided power spectral density of each lead, from Hann windows of `seconds` (or the record, where it is shorter) that
    overlap by half, the mean of each taken out; windows with gaps are left out."""
    size = max(min(round(seconds * record.fs), record.signal.shape[1]), 1)
    window = np.hanning(size + 1)[:-1] if size > 1 else np.ones(1)
    scale = 2.0 / (record.fs * float((window**2).sum()))
    hz: Floats = np.fft.rfftfreq(size, 1 / record.fs).astype(np.float64)
    total = np.zeros((len(record.leads), len(hz)))
    count = np.zeros(len(record.leads), np.int64)
    for first in range(0, record.signal.shape[1] - size + 1, max(size // 2, 1)):
        part = record.signal[:, first : first + size].astype(np.float64) * 1000
        whole = np.isfinite(part).all(1)
        part = part[whole] - part[whole].mean(1, keepdims=True)
        total[whole] += np.abs(np.fft.rfft(part * window, axis=1)) ** 2 * scale
        count += whole
    total[:, 0] /= 2  # no negative partner
    if size % 2 == 0:
        total[:, -1] /= 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return Spectrum(record.leads, hz, np.where(count[:, None] > 0, total / count[:, None], np.nan))
