"""Atrial activity between and under the ventricular complexes: fibrillatory and flutter waves.

Where RR is irregular, QRS-T is cancelled beat by beat with the median beat of its own kind (average beat subtraction: Slocum et
al., Am J Cardiol 1985; 55: 1151; Bollmann et al., Europace 2006; 8: 911) and the spectrum of what is left is taken. Where RR is
regular that would cancel flutter waves too, which then keep their place in the beat; there only what lies between T and QRS is
looked at, with the periodogram for signals with gaps (Lomb, Astrophys Space Sci 1976; 39: 447).

Letters: L leads, T samples, F frequencies, B beats.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from einthoven.beats.fiducials import QRS_ON, T_OFF, Beats
from einthoven.beats.median import cut_beats, median_of
from einthoven.record import Record

Floats = NDArray[np.float64]

LEADS = ("V1", "II", "III", "aVF")  # where f waves are largest
LOW_HZ, HIGH_HZ = 3.0, 12.0
_FS = 100.0  # the rate that is enough for them
_WINDOW_S = 4.0
_LONGEST_S = 60.0
_IRREGULAR = 0.06  # mean step of RR over mean RR
_LEAST = 0.15  # share of a window that must lie between T and QRS
_SHORTEST_S, _BEND_S = (
    0.12,
    0.35,
)  # a gap between T and QRS that is looked at; the length on which its baseline may bend once more


def f_waves(record: Record, beats: Beats) -> tuple[float, float, str, str]:
    """Dominant frequency in 3..12 Hz; its share of the power, 0..1; the lead it was found in; or NaN, NaN, "" and why.

    The share is, where RR is irregular, that of the frequency +- 0.75 Hz and of its first harmonic in 1..20 Hz, else what a
    sinusoid of that frequency explains of the signal between T and QRS (where P waves count). The lead with the largest
    share speaks.
    """
    names = [n for n in LEADS if n in record.leads and np.isfinite(record.lead(n)).all()]
    stop = min(record.duration, _LONGEST_S)
    if not names or stop < _WINDOW_S or len(beats) < 3:
        return np.nan, np.nan, "", "needs V1 or an inferior lead, 4 s and three beats"
    step = max(1, int(record.fs // _FS))
    raw = np.stack([record.lead(n) for n in names])[:, : int(stop * record.fs)]
    x = raw[:, : raw.shape[1] // step * step].reshape(len(names), -1, step).mean(2)
    fs = record.fs / step
    rr = beats.rr
    irregular = len(rr) > 1 and float(np.abs(np.diff(rr)).mean() / rr.mean()) > _IRREGULAR
    hz, share = _after_cancelling(x, fs, beats) if irregular else _between_beats(x, fs, beats)
    if not np.isfinite(share).any():
        return np.nan, np.nan, "", "no time between T and the next QRS"
    l, k = np.unravel_index(int(np.nanargmax(share)), share.shape)
    return float(hz[k]), float(share[l, k]), names[int(l)], ""


# -- irregular rhythms: cancel the ventricles --------------------------------------------------------------------------------


def _after_cancelling(x: NDArray[np.float32], fs: float, beats: Beats) -> tuple[Floats, Floats]:
    """(F,) Hz and (L, F) share of the power in 1..20 Hz, NaN at all but each lead's highest peak."""
    left = _without_ventricles(x, fs, beats)
    size = min(left.shape[1], round(_WINDOW_S * fs))
    starts = range(0, left.shape[1] - size + 1, size // 2)
    parts = np.stack([left[:, s : s + size] for s in starts])  # (windows, L, size)
    parts = (parts - parts.mean(-1, keepdims=True)) * np.hanning(size)
    power = (np.abs(np.fft.rfft(parts, 4 * size)) ** 2).mean(0)  # (L, F)
    hz: Floats = np.fft.rfftfreq(4 * size, 1 / fs).astype(np.float64)
    whole = (hz >= 1) & (hz <= 20)
    band = np.flatnonzero((hz >= LOW_HZ) & (hz <= HIGH_HZ))
    share: Floats = np.full((len(x), len(hz)), np.nan)
    for l in range(len(x)):
        k = band[int(power[l, band].argmax())]
        near = ((np.abs(hz - hz[k]) <= 0.75) | (np.abs(hz - 2 * hz[k]) <= 0.75)) & whole
        share[l, k] = power[l, near].sum() / max(float(power[l, whole].sum()), 1e-12)
    return hz, share


def _without_ventricles(x: NDArray[np.float32], fs: float, beats: Beats) -> Floats:
    """(L, T) x less the median QRS-T of each kind of beat, from 30 ms before QRS to the end of T, the ends tapered."""
    left = x.astype(np.float64)
    left -= left.mean(1, keepdims=True)
    span = beats.overall - beats.r[:, None]
    kinds = np.array(beats.kinds, dtype="U1")
    for kind in np.unique(kinds):
        chosen = np.flatnonzero((kinds == kind) & np.isfinite(beats.r) & (beats.r < x.shape[1] / fs))
        if not len(chosen):
            continue
        on, off = (float(v) for v in median_of(span[chosen][:, None])[0, [QRS_ON, T_OFF]])
        on, off = (on if np.isfinite(on) else -0.05), (off if np.isfinite(off) else 0.35)
        starts = np.round((beats.r[chosen] + on - 0.03) * fs)
        n = max(round((off - on + 0.06) * fs), 4)
        edge = max(1, round(0.03 * fs))
        cut = cut_beats(x, starts, n)
        cut -= cut[:, :, :edge].mean(-1, keepdims=True)
        fade = np.minimum(1, np.minimum(np.arange(n), np.arange(n)[::-1]) / edge)
        middle = np.nan_to_num(median_of(cut)) * fade
        for s in starts.astype(int):
            a, b = max(s, 0), min(s + n, left.shape[1])
            left[:, a:b] -= middle[:, a - s : b - s]
    return left


# -- regular rhythms: look between the beats ---------------------------------------------------------------------------------


def _between_beats(x: NDArray[np.float32], fs: float, beats: Beats) -> tuple[Floats, Floats]:
    """(F,) Hz and (L, F) share of the variance between T and QRS that a sinusoid explains; NaN without such time."""
    total = x.shape[1]
    t = np.arange(total) / fs
    free = np.ones(total, bool)
    on = np.where(np.isfinite(beats.overall[:, QRS_ON]), beats.overall[:, QRS_ON] - 0.02, beats.r - 0.06)
    off = np.where(np.isfinite(beats.overall[:, T_OFF]), beats.overall[:, T_OFF], beats.r + 0.35)
    for a, b in zip(on, off, strict=True):
        free[(t >= a) & (t <= b)] = False
    seen, clean = np.zeros(total), np.zeros(x.shape)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], free.astype(int), [0]])))
    for a, b in zip(edges[::2], edges[1::2], strict=True):
        if b - a >= _SHORTEST_S * fs:
            bends = min(3, int((b - a) / fs / _BEND_S))
            base = np.polynomial.legendre.legvander(np.linspace(-1, 1, b - a), bends)
            clean[:, a:b] = x[:, a:b] - (base @ (np.linalg.pinv(base) @ x[:, a:b].T)).T
            seen[a:b] = 1
    size = round(_WINDOW_S * fs)
    padded = 8 * size
    hz: Floats = np.fft.rfftfreq(padded, 1 / fs).astype(np.float64)
    band = np.flatnonzero((hz >= LOW_HZ) & (hz <= HIGH_HZ))
    explained, whole = np.zeros((len(x), len(band))), np.zeros((len(x), 1))
    for s in range(0, total - size + 1, size // 2):
        weight = seen[s : s + size] * np.hanning(size)
        if seen[s : s + size].mean() >= _LEAST:
            explained += _explained(clean[:, s : s + size], weight, band, padded)
            whole[:, 0] += (clean[:, s : s + size] ** 2 * weight).sum(1)
    share: Floats = np.where(whole > 1e-9, explained / np.maximum(whole, 1e-9), np.nan)
    return hz[band], share


def _explained(y: Floats, weight: Floats, band: NDArray[np.intp], padded: int) -> Floats:
    """(L, F) weighted sum of squares of y (L, T) that the sinusoids of these bins of a transform of length `padded` explain."""
    double = np.fft.fft(weight, padded)[2 * band % padded]  # sum of w exp(-2 i w t): what cos and sin have in common
    cc, ss, cs = (weight.sum() + double.real) / 2, (weight.sum() - double.real) / 2, -double.imag / 2
    of = np.fft.rfft(y * weight, padded)[:, band]
    yc, ys = of.real, -of.imag
    return np.asarray((yc**2 * ss + ys**2 * cc - 2 * yc * ys * cs) / np.maximum(cc * ss - cs**2, 1e-9 * weight.sum() ** 2))
