"""Atrial activity between and under the ventricular complexes: fibrillatory and flutter waves.

QRS-T is cancelled beat by beat with the median beat of its own kind (average beat subtraction: Slocum et al., Am J Cardiol
1985; 55: 1151; Bollmann et al., Europace 2006; 8: 911), what is left is looked at as a spectrum.
"""

from __future__ import annotations

import numpy as np

from einthoven.beats.fiducials import QRS_ON, T_OFF, Beats
from einthoven.beats.median import cut_beats, median_of
from einthoven.record import Record

LEADS = ("V1", "II", "III", "aVF")  # where f waves are largest
LOW_HZ, HIGH_HZ = 3.0, 12.0
_FS = 100.0  # the rate of the residual
_LONGEST_S = 60.0


def f_waves(record: Record, beats: Beats) -> tuple[float, float, str]:
    """(dominant frequency in 3..12 Hz, its share of the power in 1..20 Hz, the lead it was found in); NaN, NaN, "" where it cannot be told.

    The share is that of the dominant frequency +- 0.75 Hz and of its first harmonic. Of V1 and the inferior leads the one
    with the largest share speaks.
    """
    names = [n for n in LEADS if n in record.leads and np.isfinite(record.lead(n)).all()]
    stop = min(record.duration, _LONGEST_S)
    if not names or stop < 4.0 or len(beats) < 3:
        return float("nan"), float("nan"), ""
    step = max(1, int(record.fs // _FS))
    raw = np.stack([record.lead(n) for n in names])[:, : int(stop * record.fs)]
    x = raw[:, : raw.shape[1] // step * step].reshape(len(names), -1, step).mean(2)
    fs = record.fs / step
    cancelled = _without_ventricles(x.astype(np.float32), fs, beats)

    n = cancelled.shape[1]
    size = min(n, round(4.0 * fs))
    hop = max(1, size // 2)
    window = np.hanning(size)
    starts = range(0, n - size + 1, hop)
    parts = np.stack([cancelled[:, s : s + size] for s in starts])  # (W, L, size)
    parts = (parts - parts.mean(-1, keepdims=True)) * window
    power = (np.abs(np.fft.rfft(parts, 4 * size)) ** 2).mean(0)  # (L, F)
    hz = np.fft.rfftfreq(4 * size, 1 / fs)
    band = np.flatnonzero((hz >= LOW_HZ) & (hz <= HIGH_HZ))
    total = power[:, (hz >= 1) & (hz <= 20)].sum(1)
    best, share, where = float("nan"), -1.0, ""
    for l, name in enumerate(names):
        if total[l] <= 0:
            continue
        k = band[int(power[l, band].argmax())]
        near = (np.abs(hz - hz[k]) <= 0.75) | (np.abs(hz - 2 * hz[k]) <= 0.75)
        part = float(power[l, near & (hz >= 1) & (hz <= 20)].sum() / total[l])
        if part > share:
            best, share, where = float(hz[k]), part, name
    return (best, share, where) if where else (float("nan"), float("nan"), "")


def _without_ventricles(x: np.ndarray, fs: float, beats: Beats) -> np.ndarray:
    """(L, T) x less the median QRS-T of each kind of beat, from 30 ms before QRS to the end of T, the ends tapered."""
    left = x.astype(np.float64)
    left -= left.mean(1, keepdims=True)
    span = beats.overall - beats.r[:, None]
    for kind in sorted(set(beats.kinds)):
        chosen = np.flatnonzero((np.array(beats.kinds) == kind) & np.isfinite(beats.r) & (beats.r < x.shape[1] / fs))
        if not len(chosen):
            continue
        on, off = (
            np.nanmedian(span[chosen, QRS_ON]),
            np.nanmedian(np.append(span[chosen, T_OFF], 0.32 if len(chosen) < 2 else np.nan)),
        )
        on, off = (on if np.isfinite(on) else -0.05), (off if np.isfinite(off) else 0.35)
        starts = (beats.r[chosen] + on - 0.03) * fs
        n = max(round((off - on + 0.06) * fs), 4)
        cut = cut_beats(x, np.round(starts), n)
        edge = max(1, round(0.03 * fs))
        cut -= cut[:, :, :edge].mean(-1, keepdims=True)
        middle = median_of(cut)
        fade = np.ones(n)
        fade[:edge] = np.linspace(0, 1, edge)
        fade[-edge:] = np.linspace(1, 0, edge)
        middle = np.nan_to_num(middle) * fade
        for s in np.round(starts).astype(int):
            a, b = max(s, 0), min(s + n, left.shape[1])
            left[:, a:b] -= middle[:, a - s : b - s]
    return left
