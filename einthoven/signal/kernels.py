"""Change of rate by a ratio, and biquads run forward and backward: what scipy.signal does, by itself. To load that (with the
half of scipy that it brings along) takes longer than to measure an ECG. The same sums in the same order, to the last bits.

L leads, N samples, S sections.
"""

from __future__ import annotations

from math import gcd
from typing import Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

Doubles = NDArray[np.float64]


def lowpass_taps(half: int, cutoff: float, beta: float) -> Doubles:
    """(2 half + 1,): a sinc under a Kaiser window, sum 1; cutoff as a share of the Nyquist frequency (scipy's firwin)."""
    m = np.arange(-half, half + 1)
    taps: Doubles = cutoff * np.sinc(cutoff * m) * np.kaiser(2 * half + 1, beta)
    taps /= taps.sum()
    return taps


def polyphase(
    x: NDArray[np.floating], taps: NDArray[np.floating], up: int, down: int, ends: Literal["level", "odd"]
) -> Doubles:
    """x (L, N) at `up` / `down` times its rate, (L, ceil(N up / down)), of x's type or the taps', whichever is finer.

    taps: an odd number, at `up` times x's rate, sum 1. ends: how x goes on beyond its ends: "level" as the last sample, "odd"
    as itself turned about it (scipy's "edge" and "antireflect").
    """
    up, down = up // gcd(up, down), down // gcd(up, down)
    n, half = x.shape[1], len(taps) // 2
    pad = half // up + 1
    if ends == "level" or n < 2:
        longer = np.pad(x, ((0, 0), (pad, pad)), "edge")
    else:
        longer = np.pad(x, ((0, 0), (pad, pad)), "reflect", reflect_type="odd")
    # The taps that meet x's samples when the output's lies k / up samples behind one: latest first, as x is walked forward.
    length = -(-len(taps) // up)
    padded = np.zeros(length * up, taps.dtype)
    padded[: len(taps)] = taps * up
    phases = np.ascontiguousarray(padded.reshape(length, up).T[:, ::-1])
    kind = np.result_type(x, taps)
    out = np.zeros((-(-n * up // down), len(x)), kind)
    _polyphase(np.ascontiguousarray(longer.T, kind), phases.astype(kind), up, down, half + pad * up, out)
    return np.ascontiguousarray(out.T)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _polyphase(x: Doubles, phases: Doubles, up: int, down: int, offset: int, out: Doubles) -> None:
    """x (N, L) with its ends, phases (up, P): out (M, L), zeros. Leads are innermost: a processor adds several at once."""
    length = phases.shape[1]
    for i in range(out.shape[0]):
        at = i * down + offset
        taps, seen, total = phases[at % up], x[at // up - length + 1 : at // up + 1], out[i]
        for k in range(length):
            tap, row = taps[k], seen[k]
            for j in range(len(total)):
                total[j] += row[j] * tap


def forward_backward(sos: Doubles, x: NDArray[np.floating], pad: int) -> Doubles:
    """x (L, N) through sections (S, 6) forward, then backward: no delay. `pad` samples, fewer than N, are put before and
    behind, x turned about its ends; each pass begins as if its first value had always been (scipy's sosfiltfilt)."""
    longer = np.pad(x, ((0, 0), (pad, pad)), "reflect", reflect_type="odd") if pad else x
    out = np.ascontiguousarray(longer, np.float64)
    if out is x:
        out = out.copy()
    _through(np.ascontiguousarray(sos, np.float64), _settled(sos), out)
    return out[:, pad : out.shape[1] - pad]


def _settled(sos: Doubles) -> Doubles:
    """(S, 2): what each section holds when 1 has come in for ever (scipy's sosfilt_zi)."""
    held = np.empty((len(sos), 2))
    scale = 1.0
    for i, (b0, b1, b2, _, a1, a2) in enumerate(sos):
        first, second = b1 - a1 * b0, b2 - a2 * b0
        held[i, 0] = (first + second) / (1 + a1 + a2)
        held[i, 1] = second - a2 * held[i, 0]
        held[i] *= scale
        scale *= (b0 + b1 + b2) / (1 + a1 + a2)
    return held


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _through(sos: Doubles, held: Doubles, x: Doubles) -> None:
    """Each row of x (L, N) forward and backward, in place. Transposed direct form II, a_0 = 1."""
    n = x.shape[1]
    z = np.empty(held.shape)
    for row in x:
        for step in (1, -1):
            start = 0 if step == 1 else n - 1
            for s in range(len(sos)):
                z[s, 0], z[s, 1] = held[s, 0] * row[start], held[s, 1] * row[start]
            for i in range(n):
                value = row[start + step * i]
                for s in range(len(sos)):
                    y = sos[s, 0] * value + z[s, 0]
                    z[s, 0] = sos[s, 1] * value - sos[s, 4] * y + z[s, 1]
                    z[s, 1] = sos[s, 2] * value - sos[s, 5] * y
                    value = y
                row[start + step * i] = value
