"""Amplitudes and durations of every wave in every lead, read off the median beat.

Levels: QRS, ST, T and U against the level just before QRS (AHA/ACCF/HRS 2009 part VI: the PR segment, or the TP segment
where it cannot be used); P against the line from its onset to its end, which a T wave below it cannot tilt (CSE working
party 1985). A deflection counts as a wave of QRS from 20 uV and 6 ms on (CSE working party, Eur Heart J 1985; 6: 815-825).

Letters: L leads, T samples.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from einthoven.beats.fiducials import P_OFF, P_ON, QRS_OFF, QRS_ON, T_OFF, T_ON, T_PEAK, Times
from einthoven.beats.measurements import LeadMeasurements
from einthoven.beats.median import MedianBeats

SMALLEST_MV, SHORTEST_S = 0.020, 0.006
_U_SMALLEST_MV = 0.05
Floats = NDArray[np.float64]

# What _qrs returns for each lead.
_Q, _QD, _R, _RD, _S, _SD, _R2, _R2D, _S2, _QS, _PEAK, _NOTCHES, _DELTA, _DELTAD = range(14)


def lead_measurements(median: MedianBeats, *, p: bool, t: bool) -> dict[str, LeadMeasurements]:
    """Every lead of the median beat, measured. `p`, `t`: whether the beats have a P wave and a T wave at all."""
    x, fs, at = median.signal.astype(np.float64), median.fs, median.overall
    if not median or not np.isfinite(at[[QRS_ON, QRS_OFF]]).all():
        return {n: LeadMeasurements() for n in median.leads}
    noise = median.noise_uv / 1000 / np.sqrt(len(median.beats))
    own = np.where(np.isfinite(median.times), median.times, at)  # (L, 9)
    on, off = at[QRS_ON], at[QRS_OFF]
    a = np.clip(np.maximum(own[:, QRS_ON], on) * fs, 0, x.shape[1] - 1)
    b = np.clip(np.minimum(own[:, QRS_OFF], off) * fs, 0, x.shape[1] - 1)
    qrs = np.asarray(_qrs(x, a, b, on * fs, off * fs, np.maximum(SMALLEST_MV, 2 * np.nan_to_num(noise)), fs))
    # at J itself QRS may still be falling: its level is that of the 8 ms that follow
    st = np.stack([_level_at(x, off + s, fs) for s in (0.004, 0.060, 0.080)], 1)  # (L, 3)
    ps = _p_wave(x, own, at, fs) if p and np.isfinite(at[[P_ON, P_OFF]]).all() else np.zeros((len(x), 5))
    ts = _t_wave(x, own, at, fs) if t and np.isfinite(at[T_OFF]) else np.tile([0.0, 0.0, np.nan, 0.0], (len(x), 1))
    alive = np.isfinite(x[:, int(on * fs) : int(off * fs) + 1]).all(1) & (np.ptp(np.nan_to_num(x), axis=1) > 1e-3)

    out: dict[str, LeadMeasurements] = {}
    for l, name in enumerate(median.leads):
        if not alive[l]:
            out[name] = LeadMeasurements()
            continue
        w, (j, j60, j80) = qrs[l].tolist(), st[l].tolist()
        out[name] = LeadMeasurements(
            p_mv=float(ps[l, 0]),
            p_ms=float(ps[l, 4]),
            p_initial_mv=float(ps[l, 1]),
            p_terminal_mv=float(ps[l, 2]),
            p_terminal_force_mvms=float(ps[l, 3]),
            q_mv=w[_Q],
            q_ms=w[_QD],
            r_mv=w[_R],
            r_ms=w[_RD],
            s_mv=w[_S],
            s_ms=w[_SD],
            r2_mv=w[_R2],
            r2_ms=w[_R2D],
            s2_mv=w[_S2],
            qs=bool(w[_QS]),
            qrs_ms=float(own[l, QRS_OFF] - own[l, QRS_ON]) * 1000,
            r_peak_time_ms=w[_PEAK],
            notches=int(w[_NOTCHES]),
            delta_mv=w[_DELTA],
            delta_ms=w[_DELTAD],
            st_j_mv=j,
            st_j60_mv=j60,
            st_j80_mv=j80,
            st_slope_mv_s=(j80 - j) / 0.080,
            t_mv=float(ts[l, 0]),
            t_negative_mv=float(ts[l, 1]),
            t_symmetry=float(ts[l, 2]),
            u_mv=float(ts[l, 3]),
            noise_uv=float(median.noise_uv[l]),
        )
    return out


def _level_at(x: Floats, time: float, fs: float) -> Floats:
    """(L,) mean over the 8 ms around `time`; NaN outside."""
    k = round(time * fs)
    part = x[:, max(k - round(0.004 * fs), 0) : k + round(0.004 * fs) + 1]
    return np.asarray(part.mean(1)) if part.shape[1] else np.full(len(x), np.nan)


# -- QRS ---------------------------------------------------------------------------------------------------------------------


@njit(cache=True, nogil=True)
def _qrs(x, begin, end, on, off, least, fs):  # type: ignore[no-untyped-def]
    """(L, 14): the waves of QRS between samples `begin` and `end` of each lead; `on` and `off` over all leads.

    The complex falls into stretches of one sign. A stretch that is too low or too short is no wave. The last one is none
    either if it only
    runs into the ST level: its extremum must lie inside, and stand out from the J point.
    """
    leads = x.shape[0]
    out = np.zeros((leads, 14))
    shortest = 0.006 * fs
    signs = np.zeros(64)
    peaks = np.zeros(64)
    tops = np.zeros(64, np.int64)
    froms = np.zeros(64)
    tos = np.zeros(64)
    for l in range(leads):
        a, b = int(np.floor(begin[l])), int(np.ceil(end[l]))
        b = min(b, x.shape[1] - 1)
        y = x[l]
        n = 0
        i = a
        while i <= b and n < 63:
            if y[i] != y[i]:
                break
            sign = 1.0 if y[i] > 0 else -1.0
            k, top = i, i
            while k + 1 <= b and (y[k + 1] > 0) == (y[i] > 0):
                k += 1
                if sign * y[k] > sign * y[top]:
                    top = k
            first, last = float(i), float(k)
            if i > a:  # the crossings lie between samples
                first = i - y[i] / (y[i] - y[i - 1])
            if k < b:
                last = k + y[k] / (y[k] - y[k + 1])
            good = abs(y[top]) >= least[l] and last - first >= shortest
            if good and k == b and (top >= b - 1 or abs(y[top]) - abs(y[b]) < least[l] / 2):
                # it only leads to the ST level - unless nothing came before
                good = n == 0 and top < b - 1
            if good:
                if n and signs[n - 1] == sign:  # something too small lay between: one wave
                    if sign * y[top] > sign * peaks[n - 1]:
                        peaks[n - 1], tops[n - 1] = y[top], top
                    tos[n - 1] = last
                else:
                    signs[n], peaks[n], tops[n], froms[n], tos[n] = sign, y[top], top, first, last
                    n += 1
            i = k + 1
        # names
        w, r_top = 0, -1
        if n and signs[0] < 0:
            out[l, 0], out[l, 1] = peaks[0], (tos[0] - froms[0]) / fs * 1000
            out[l, 9] = 1.0 if n == 1 else 0.0
            w = 1
        for slot in range(4):  # R, S, R', S'
            if w < n:
                column = (2, 4, 6, 8)[slot]
                out[l, column] = peaks[w]
                if slot < 3:
                    out[l, column + 1] = (tos[w] - froms[w]) / fs * 1000
                if slot == 0 or (slot == 2 and peaks[w] > 0):
                    r_top = tops[w]
                w += 1
        if r_top >= 0:
            out[l, 10] = (_summit(y, r_top) - on) / fs * 1000
        # notches: further extrema within a wave
        count = 0
        for k in range(n):
            count += (
                _humps(
                    y,
                    int(np.ceil(froms[k])),
                    int(np.floor(tos[k])),
                    signs[k],
                    max(1.25 * least[l] if least[l] <= 0.02 else 2 * least[l], 0.03 * abs(peaks[k])),
                )
                - 1
            )
        out[l, 11] = max(count, 0)
        out[l, 12], out[l, 13] = _delta(y, on, off, least[l], fs)
        # peaks between the samples
        w = 0
        if n and signs[0] < 0:
            out[l, 0] = _height(y, tops[0])
            w = 1
        for slot in range(4):
            if w < n:
                out[l, (2, 4, 6, 8)[slot]] = _height(y, tops[w])
                w += 1
    return out


@njit(cache=True, nogil=True)
def _summit(y, k):  # type: ignore[no-untyped-def]
    """Place of the extremum near sample k, by a parabola."""
    if k < 1 or k > len(y) - 2:
        return float(k)
    bend = y[k - 1] - 2 * y[k] + y[k + 1]
    return k + 0.5 * (y[k - 1] - y[k + 1]) / bend if abs(bend) > 1e-9 else float(k)


@njit(cache=True, nogil=True)
def _height(y, k):  # type: ignore[no-untyped-def]
    """Height of the extremum near sample k, by a parabola."""
    if k < 1 or k > len(y) - 2:
        return y[k]
    bend = y[k - 1] - 2 * y[k] + y[k + 1]
    return y[k] - (y[k - 1] - y[k + 1]) ** 2 / (8 * bend) if abs(bend) > 1e-9 else y[k]


@njit(cache=True, nogil=True)
def _humps(y, a, b, sign, least):  # type: ignore[no-untyped-def]
    """Number of extrema of sign*y in a..b that stand out from what lies between them by `least`."""
    count, rising = 0, True
    low, high = sign * y[a], sign * y[a]
    for i in range(a, b + 1):
        v = sign * y[i]
        if rising:
            if v > high:
                high = v
            elif v < high - least:
                count += 1
                rising, low = False, v
        else:
            if v < low:
                low = v
            elif v > low + least:
                rising, high = True, v
    if rising and count == 0:
        count = 1
    return count


@njit(cache=True, nogil=True)
def _delta(y, on, off, least, fs):  # type: ignore[no-untyped-def]
    """Amplitude (mV) and duration (ms) of a slurred beginning: from where the lead leaves the baseline to where its slope first
    reaches half of the steepest.

    0, 0 unless it lasts at least 24 ms and carries 5 to 60 % of the deflection that it leads to.
    """
    a, b = max(round(on), 1), min(round(off), len(y) - 2)
    if b - a < 6:
        return 0.0, 0.0
    top = a
    for i in range(a, b + 1):
        if abs(y[i]) > abs(y[top]):
            top = i
    leaves = max(least, 0.03 * abs(y[top]))
    start = top
    while start > a and abs(y[start - 1]) >= leaves:
        start -= 1
    step = max(1, round(0.004 * fs))
    steepest = 0.0
    for i in range(start, top - step + 1):
        steepest = max(steepest, abs(y[i + step] - y[i]))
    kink = start
    while kink < top - step and abs(y[kink + step] - y[kink]) < 0.5 * steepest:
        kink += 1
    height, lasts = y[kink] - y[start], (kink - start) / fs * 1000
    share = abs(height) / max(abs(y[top]), 1e-9)
    if lasts < 24 or abs(height) < 0.05 or share < 0.05 or share > 0.6 or height * y[top] < 0:
        return 0.0, 0.0
    return height, lasts


# -- P, T, U -----------------------------------------------------------------------------------------------------------------


def _p_wave(x: Floats, own: Times, at: Times, fs: float) -> Floats:
    """(L, 5): largest signed deflection, positive part, terminal negative part, its force (mV ms), duration (ms)."""
    a, b = max(round(at[P_ON] * fs), 0), round(at[P_OFF] * fs)
    if b - a < 4 or b >= x.shape[1]:
        return np.full((len(x), 5), np.nan)
    k = max(1, round(0.006 * fs))
    left, right = x[:, max(a - k, 0) : a + 1].mean(1), x[:, b : b + k + 1].mean(1)
    way = np.linspace(0, 1, b - a + 1)
    y = x[:, a : b + 1] - left[:, None] - (right - left)[:, None] * way  # (L, T) against the line
    high, low = y.max(1), y.min(1)
    top = y.argmax(1)
    y_after = np.where(np.arange(y.shape[1]) > top[:, None], y, 0.0)
    all_negative = high < SMALLEST_MV / 2
    y_after[all_negative] = y[all_negative]
    terminal = np.minimum(y_after.min(1), 0.0)
    bottom = y_after.argmin(1)
    positive = y >= 0
    lasts = np.zeros(len(x))
    for l in np.flatnonzero(terminal < -SMALLEST_MV / 2):
        before = np.flatnonzero(positive[l, : bottom[l]])
        after = np.flatnonzero(positive[l, bottom[l] :])
        last = bottom[l] + after[0] if len(after) else y.shape[1] - 1
        lasts[l] = (last - (before[-1] if len(before) else 0)) / fs * 1000
    terminal = np.where(lasts > 0, terminal, 0.0)
    lead_ms = (own[:, P_OFF] - own[:, P_ON]) * 1000
    signed = np.where(high >= -low, high, low)
    return np.stack([signed, np.maximum(high, 0.0), terminal, -terminal * lasts, lead_ms], 1)


def _t_wave(x: Floats, own: Times, at: Times, fs: float) -> Floats:
    """(L, 4): largest signed deflection, negative part of a biphasic T, symmetry, U wave."""
    out = np.zeros((len(x), 4))
    n = x.shape[1]
    for l in range(len(x)):
        on = own[l, T_ON] if np.isfinite(own[l, T_ON]) else at[QRS_OFF] + 0.04
        a, b = max(round(on * fs), 0), min(round(own[l, T_OFF] * fs), n - 1)
        if b - a < 4 or not np.isfinite(x[l, a : b + 1]).all():
            out[l] = np.nan
            continue
        y = x[l, a : b + 1]
        top, bottom = int(y.argmax()), int(y.argmin())
        high, low = max(_height(y, top), 0.0), min(_height(y, bottom), 0.0)
        first = high >= -low
        out[l, 0] = high if first else low
        # biphasic: the smaller part must be an extremum of its own, not the ST level the wave starts from
        inner = 0 < bottom < len(y) - 1
        out[l, 1] = low if (inner or not first) and low < -SMALLEST_MV else 0.0
        k = own[l, T_PEAK] if np.isfinite(own[l, T_PEAK]) else (a + (top if first else bottom)) / fs
        out[l, 2] = (k - on) / (own[l, T_OFF] - k) if own[l, T_OFF] > k > on else np.nan
        out[l, 3] = _u_wave(x[l], at[T_OFF], fs)
    return out


def _u_wave(x: Floats, t_off: float, fs: float) -> float:
    """Height of a hump in the 0.2 s behind T above the line between its ends, 0 below 50 uV."""
    a, b = round((t_off + 0.01) * fs), min(round((t_off + 0.22) * fs), len(x) - 1)
    y = x[a : b + 1]
    y = y[np.isfinite(y)]
    if len(y) < 0.08 * fs:
        return 0.0
    y = y - np.linspace(y[:3].mean(), y[-3:].mean(), len(y))
    k = int(np.abs(y).argmax())
    return float(y[k]) if abs(y[k]) >= _U_SMALLEST_MV else 0.0
