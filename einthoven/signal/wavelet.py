"""Wavelet denoising as ECG-Bench does it, with the discrete wavelet transform it needs (Daubechies 6, symmetric ends).

The transform equals PyWavelets' `wavedec(x, "db6", mode="symmetric")`, which is the oracle in the tests and no dependency.
k rows, n samples.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]

# Low-pass of the synthesis, Daubechies, Ten Lectures on Wavelets (1992), table 6.1, N = 6; sums to sqrt(2).
DB6 = np.array(
    [
        *(0.11154074335008017, 0.4946238903983854, 0.7511339080215775, 0.3152503517092432, -0.22626469396516913),
        *(-0.12976686756709563, 0.09750160558707936, 0.02752286553001629, -0.031582039318031156),
        *(0.0005538422009938016, 0.004777257511010651, -0.00107730108499558),
    ]
)
_HIGH = DB6[::-1] * np.tile([1.0, -1.0], DB6.size // 2)  # the synthesis high-pass of the pair


def denoise(x: Rows, levels: int = 4) -> Rows:
    """`x` (k, n) with every detail band soft-thresholded at median(|coarsest detail|) / 0.6745; the approximation is kept.

    ECG-Bench's rule: the noise estimate itself is the threshold (no sqrt(2 ln n)), and the coarsest band gives it for all.
    Coefficients below 1e-10 become 0.
    """
    details: list[Rows] = []
    approximation = x
    for _ in range(levels):
        approximation, detail = analyse(approximation)
        details.append(detail)
    if not details:
        return x
    threshold = np.median(np.abs(details[-1]), axis=1, keepdims=True) / 0.6745
    for detail in reversed(details):
        soft = np.sign(detail) * np.maximum(np.abs(detail) - threshold, 0)
        soft[np.abs(soft) < 1e-10] = 0
        approximation = synthesise(approximation[:, : detail.shape[1]], soft)
    return approximation[:, : x.shape[1]]


def analyse(x: Rows) -> tuple[Rows, Rows]:
    """One level: (k, n) -> approximation and detail, each (k, (n + 11) // 2)."""
    taps = DB6.size
    wide = np.pad(x, ((0, 0), (taps - 1, taps - 1)), mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(wide, taps, axis=1)[:, 1::2]
    return windows @ DB6, windows @ _HIGH


def synthesise(approximation: Rows, detail: Rows) -> Rows:
    """The inverse of `analyse`: two (k, m) -> (k, 2 m - 10)."""
    rows, m = approximation.shape
    taps = DB6.size
    out = np.zeros((rows, 2 * m + taps - 2))
    for i in range(taps):
        out[:, i : i + 2 * m : 2] += DB6[i] * approximation + _HIGH[i] * detail
    return out[:, taps - 2 : 2 * m]
