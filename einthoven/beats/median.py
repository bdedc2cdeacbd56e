"""The median beat: the dominant beats of a record, aligned to a fraction of a sample, all leads together.

One beat that stands for all is what intervals and amplitudes of a 10 s ECG are best measured on: noise falls with the root of
the number of beats, ectopic beats do not enter (AHA/ACCF/HRS 2007 part I, Kligfield et al., "representative complex").

Letters: L leads, B beats, T samples.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numba import njit
from numpy.typing import NDArray

from einthoven.beats.fiducials import NORMAL, P_ON, QRS_ON, R_PEAK, T_OFF, Beats, Times
from einthoven.record import MedianBeat, Record, Signal

_HALF_TAPS = 8  # of the interpolating kernel, in samples of the record
_MIN_FS = 500.0


@dataclass(frozen=True)
class MedianBeats(MedianBeat):
    """The median beat of the dominant class, and what it was made of.

    signal: (L, T) float32 mV at `fs` >= 500 Hz, rows named by `leads`; the level just before QRS is 0. NaN where no beat tells.
    overall: (9,) fiducials over all leads, times: (L, 9) per lead, seconds from the start of `signal` (medians over the beats).
    beats: indices into Beats of the beats that entered; r: (B,) their aligned R times in the record, s.
    noise_uv: (L,) RMS over beats and time of beat minus median beat, microvolts. kind: the class of the beats.
    """

    overall: Times = field(default_factory=lambda: np.full(9, np.nan))
    times: Times = field(default_factory=lambda: np.empty((0, 9)))
    beats: tuple[int, ...] = ()
    r: Times = field(default_factory=lambda: np.empty(0))
    noise_uv: Times = field(default_factory=lambda: np.empty(0))
    kind: str = NORMAL

    def __bool__(self) -> bool:
        return len(self.beats) > 0


def dominant(beats: Beats) -> tuple[str, NDArray[np.intp]]:
    """The kind of most beats (normal where they tie) and the indices of its beats."""
    kinds = np.array(beats.kinds, dtype="U1")
    names = sorted(set(beats.kinds), key=lambda k: (-int((kinds == k).sum()), k != NORMAL))
    kind = names[0] if names else NORMAL
    return kind, np.flatnonzero((kinds == kind) & np.isfinite(beats.r))


def median_beats(record: Record, beats: Beats, chosen: NDArray[np.bool_] | None = None) -> MedianBeats:
    """The median beat of the dominant beats of `record`, or of those `chosen` (B,).

    Beats are cut with a band-limited interpolator at the rate's smallest multiple of at least 500 Hz, shifted against each
    other until all leads together fit the median best, and freed of wander by the line through the levels before each QRS.
    With no beat at all the result is empty (and false).
    """
    kind, which = dominant(beats)
    if chosen is not None:
        which = np.flatnonzero(chosen & np.isfinite(beats.r))
    rows = [beats.leads.index(n) if n in beats.leads else -1 for n in record.leads]
    up = max(1, int(np.ceil(_MIN_FS / record.fs - 1e-9)))
    fs = record.fs * up
    if not len(which):
        nothing = np.full((len(record.leads), 9), np.nan)
        return MedianBeats(
            np.empty((len(rows), 0), np.float32),
            fs,
            record.leads,
            nothing[0] if rows else np.full(9, np.nan),
            nothing,
            kind=kind,
        )
    signal = np.ascontiguousarray(record.signal)
    marks = beats.overall[which]  # (B, 9)
    r = _aligned(signal, record.fs, marks[:, R_PEAK], up)
    span = median_of((marks - marks[:, R_PEAK:][:, :1])[:, None])[0]  # (9,) s after R
    before, after = _window(span, beats.rr)

    starts = (r - before) * record.fs
    n = round((before + after) * fs)
    cut = cut_beats(signal, starts, n, up)  # (B, L, T)
    _flatten(cut, starts / record.fs, fs, _onsets(marks, r), signal, record.fs)
    _blank_neighbours(cut, r, before, fs, beats.r)
    keep = _typical(cut, before, fs)
    middle = median_of(cut[keep])

    at = before + span  # (9,) fiducials inside the median
    times = np.full((len(rows), 9), np.nan)
    known = [i for i, j in enumerate(rows) if j >= 0]
    per_lead = beats.times[which][keep][:, [rows[i] for i in known]] - r[keep][:, None, None]
    times[known] = median_of(per_lead) + before
    zero = round(float(at[QRS_ON] if np.isfinite(at[QRS_ON]) else before - 0.05) * fs)
    middle -= _level(middle, zero, fs)[:, None]
    left = cut[keep] - middle
    noise = _rms(left) * 1000
    return MedianBeats(middle, fs, record.leads, at, times, tuple(int(i) for i in which[keep]), r[keep], noise, kind)


# -- cutting -----------------------------------------------------------------------------------------------------------------


def cut_beats(signal: Signal, starts: Times, n: int, up: int = 1) -> Signal:
    """(B, L, n): `n` samples from each of `starts` (in samples of `signal` (L, T), fractions allowed), `up` of them per sample.

    Windowed-sinc interpolation (Lanczos, 16 taps); a start at a whole sample copies. NaN outside the signal.
    """
    return np.asarray(
        _cut(np.ascontiguousarray(signal, np.float32), np.asarray(starts, np.float64), n, _kernels(starts, up), up)
    )


def _kernels(starts: Times, up: int) -> NDArray[np.float32]:
    """(B, up, 2 * _HALF_TAPS) weights for each beat and each of the `up` places between two samples."""
    phase = (np.asarray(starts)[:, None] % 1.0 + np.arange(up) / up) % 1.0
    away = np.arange(-_HALF_TAPS + 1, _HALF_TAPS + 1) - phase[..., None]
    weights = np.sinc(away) * np.sinc(away / _HALF_TAPS)
    return np.asarray(weights / weights.sum(-1, keepdims=True), np.float32)


@njit(cache=True, fastmath={"contract", "reassoc", "nsz"})
def _cut(signal, starts, n, kernels, up):  # type: ignore[no-untyped-def]
    leads, total = signal.shape
    out = np.full((len(starts), leads, n), np.nan, np.float32)
    taps = kernels.shape[2]
    half = taps // 2
    for b in range(len(starts)):
        whole = int(np.floor(starts[b]))
        frac = starts[b] - whole
        for q in range(up):
            first = whole + int(np.floor(frac + q / up + 1e-12))
            for j in range(q, n, up):
                i = first + j // up
                if i < 0 or i > total - 1:
                    continue
                for l in range(leads):
                    s = np.float32(0)
                    if i >= half - 1 and i + half < total:
                        for k in range(taps):
                            s += kernels[b, q, k] * signal[l, i - half + 1 + k]
                    else:
                        for k in range(taps):
                            s += kernels[b, q, k] * signal[l, min(max(i - half + 1 + k, 0), total - 1)]
                    out[b, l, j] = s
    return out


def median_of(cut: NDArray[np.floating]) -> NDArray[np.floating]:
    """(L, T) median of (B, L, T) over B, NaN left out; NaN where there is nothing."""
    return np.asarray(_median_of(np.ascontiguousarray(cut)))


@njit(cache=True, nogil=True)
def _median_of(cut):  # type: ignore[no-untyped-def]
    count, leads, n = cut.shape
    out = np.empty((leads, n), cut.dtype)
    held = np.empty((n, count), cut.dtype)
    many = np.empty(n, np.int64)
    for l in range(leads):
        many[:] = 0
        for b in range(count):
            for t in range(n):
                v = cut[b, l, t]
                if v == v:
                    k = many[t]
                    many[t] += 1
                    if count <= 48:  # insertion keeps the few values sorted as they come
                        while k > 0 and held[t, k - 1] > v:
                            held[t, k] = held[t, k - 1]
                            k -= 1
                    held[t, k] = v
        for t in range(n):
            m = many[t]
            if m == 0:
                out[l, t] = np.nan
                continue
            if count > 48:
                held[t, :m] = np.sort(held[t, :m])
            out[l, t] = held[t, m // 2] if m % 2 else (held[t, m // 2 - 1] + held[t, m // 2]) / 2
    return out


# -- aligning ----------------------------------------------------------------------------------------------------------------


def _aligned(signal: Signal, fs: float, r: Times, up: int) -> Times:
    """R times moved so that the QRS of all leads together lie on each other; their median does not move."""
    r = r.copy()
    if len(r) < 2:
        return r
    half, reach = 0.07, 0.024
    for _ in range(2):
        wide = cut_beats(signal, (r - half - reach) * fs, round(2 * (half + reach) * fs * up), up)
        margin = round(reach * fs * up)
        middle = median_of(wide)[:, margin:-margin]
        # the mean of each lead is no part of the fit: wander must not move a beat
        shift = _best_shift(wide, middle, margin) / (fs * up)
        r += shift - np.median(shift)
    return r


@njit(cache=True, nogil=True)
def _best_shift(wide, middle, margin):  # type: ignore[no-untyped-def]
    """(B,) shift in samples, by least squares of lead-wise mean-free windows, the minimum refined by a parabola."""
    count, leads, _ = wide.shape
    n = middle.shape[1]
    out = np.zeros(count)
    for b in range(count):
        cost = np.zeros(2 * margin + 1)
        for l in range(leads):
            for lag in range(2 * margin + 1):
                s, ss, m = 0.0, 0.0, 0
                for t in range(n):
                    d = wide[b, l, lag + t] - middle[l, t]
                    if d == d:
                        s += d
                        ss += d * d
                        m += 1
                if m:
                    cost[lag] += ss - s * s / m
        k = int(np.argmin(cost))
        out[b] = k - margin
        if 0 < k < 2 * margin:
            bend = cost[k - 1] - 2 * cost[k] + cost[k + 1]
            if bend > 0:
                out[b] += 0.5 * (cost[k - 1] - cost[k + 1]) / bend
    return out


def _window(span: Times, rr: Times) -> tuple[float, float]:
    """Seconds before and after R that the median beat covers: from before P to behind a possible U wave."""
    p_on, t_off = span[P_ON], span[T_OFF]
    before = min(max(0.08 - p_on, 0.3), 0.5) if np.isfinite(p_on) else 0.3
    after = min(max(t_off + 0.16, 0.45), 0.8) if np.isfinite(t_off) else 0.6
    usual = float(np.median(rr[np.isfinite(rr)])) if np.isfinite(rr).any() else 1.0
    return min(before, max(usual - 0.06, 0.15)), min(after, max(usual - 0.06, 0.2))


# -- baseline ----------------------------------------------------------------------------------------------------------------


def _onsets(marks: Times, r: Times) -> Times:
    """(B,) s: where each QRS begins, 50 ms before R where that is not known."""
    return np.where(np.isfinite(marks[:, QRS_ON]), marks[:, QRS_ON], r - 0.05)


def _level(signal: NDArray[np.floating], onset: int, fs: float) -> NDArray[np.floating]:
    """(..., ) mean over the 16 ms that end 4 ms before sample `onset` of the last axis."""
    a, b = max(onset - round(0.020 * fs), 0), max(onset - round(0.004 * fs), 1)
    part = signal[..., a:b]
    good = np.isfinite(part)
    level = np.where(good, part, 0).sum(-1) / np.maximum(good.sum(-1), 1)
    return np.asarray(level, signal.dtype)


def _flatten(cut: Signal, starts: Times, fs: float, onsets: Times, signal: Signal, rate: float) -> None:
    """Takes from each beat (in place) the line through the levels before its own QRS and before its neighbours'."""
    total = signal.shape[1]
    first = np.clip(np.round((onsets - 0.020) * rate).astype(int), 0, max(total - 1, 0))
    width = max(1, round(0.016 * rate))
    picked = signal[:, np.minimum(first[:, None] + np.arange(width), total - 1)]  # (L, B, width)
    good = np.isfinite(picked)
    levels = (np.where(good, picked, 0).sum(-1) / np.maximum(good.sum(-1), 1)).T  # (B, L)
    knots = onsets - 0.012
    t = starts[:, None] + np.arange(cut.shape[2]) / fs  # (B, T)
    for b in range(len(cut)):
        here = levels[b][:, None]
        base = np.broadcast_to(here, cut[b].shape).copy()
        for other in (b - 1, b + 1):
            if 0 <= other < len(cut) and 0.2 < abs(knots[other] - knots[b]) < 2.5:
                side = (t[b] < knots[b]) if other < b else (t[b] >= knots[b])
                way = (t[b, side] - knots[b]) / (knots[other] - knots[b])
                base[:, side] = here + np.minimum(way, 1.0) * (levels[other][:, None] - here)
        cut[b] -= base


def _blank_neighbours(cut: Signal, r: Times, before: float, fs: float, all_r: Times) -> None:
    """NaN (in place) from 60 ms before the next QRS on and up to 80 ms after the one before: they are other beats."""
    all_r = np.sort(all_r[np.isfinite(all_r)])
    for b, own in enumerate(r):
        later, earlier = all_r[all_r > own + 0.12], all_r[all_r < own - 0.12]
        if len(later):
            cut[b, :, max(int((later[0] - 0.06 - own + before) * fs), 0) :] = np.nan
        if len(earlier):
            cut[b, :, : max(int((earlier[-1] + 0.08 - own + before) * fs), 0)] = np.nan


def _typical(cut: Signal, before: float, fs: float) -> NDArray[np.bool_]:
    """(B,) beats without an artefact: QRS-T residual against the median not far above the others'. At least half stay."""
    if len(cut) < 4:
        return np.ones(len(cut), bool)
    a, b = round(max(before - 0.1, 0) * fs), round((before + 0.3) * fs)
    part = np.ascontiguousarray(cut[:, :, a:b:4])
    left = part - median_of(part)
    good = np.isfinite(left)
    power = np.where(good, left, 0).astype(np.float64).__pow__(2).sum((1, 2)) / np.maximum(good.sum((1, 2)), 1)
    keep = power <= max(9 * float(np.median(power)), 1e-5)
    return keep if keep.sum() * 2 >= len(cut) else np.ones(len(cut), bool)


def _rms(left: NDArray[np.floating]) -> Times:
    """(L,) root mean square of (B, L, T) over beats and time about each beat's own mean, NaN left out."""
    good = np.isfinite(left)
    left = np.where(good, left, 0)
    seen = good.sum(2)  # (B, L)
    square = np.einsum("blt,blt->bl", left, left) - left.sum(2) ** 2 / np.maximum(seen, 1)
    total = seen.sum(0)
    return np.where(total > 0, np.sqrt(np.maximum(square.sum(0), 0) / np.maximum(total, 1)), np.nan)
