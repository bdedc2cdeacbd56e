"""Beat alignment after Rlign: a record is warped so that its R peaks fall on a fixed grid, and any two records can be
compared sample by sample.

Plagwitz L et al. The Rlign algorithm for enhanced electrocardiogram analysis through R-peak alignment. arXiv:2407.15555,
2024. Written from the description; what differs from it is said where it does. Both published variants are here ("1.1" and
"1.2", there called hrc), and the plain "linear" one. Rate, R peaks and beats come from all leads (theirs: one lead of one
detector), too few beats, none, or an irregular rhythm are told in `status`, NaN stays NaN, and the median beat is of all beats.

The warp is one continuous map of time, piecewise linear, so that nothing is to be mended where pieces meet; the signal is
read off it with a band-limited interpolator, which leaves it untouched where the map moves by whole samples.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numba import njit

from einthoven.beats.fiducials import Beats, Times
from einthoven.beats.median import median_of
from einthoven.record import EcgError, MedianBeat, Record, Signal

OK, FEW, NONE, IRREGULAR = "ok", "too few beats", "no beats", "irregular rhythm"
VARIANTS = ("1.2", "1.1", "linear")
_OFFSET_S = 0.01  # of the first R on the grid
_QRS_BEFORE_S, _QRS_AFTER_S = 0.035, 0.055  # what variant 1.2 copies without stretching
_IRREGULAR = 0.15  # coefficient of variation of RR above which waves can no longer be taken to lie at fixed shares of RR
_MAX_BEATS = 100_000


@dataclass(frozen=True)
class Aligned:
    """A record on the grid.

    signal: (L, T) float32 mV at `fs`, NaN where the record has no beats left to fill it; rows named by `leads`.
    r: (K,) s, the R times of the grid; `filled` of them, from the first on, carry a beat.
    status: "ok", "too few beats" (the end is NaN), "irregular rhythm" (aligned, but P and T are smeared), "no beats" (all NaN).
    beats: (B, L, N) every beat of the record stretched to the grid's RR, from a third of RR before R on.
    """

    signal: Signal
    fs: float
    r: Times
    status: str
    leads: tuple[str, ...]
    filled: int = 0
    beats: Signal = field(default_factory=lambda: np.empty((0, 0, 0), np.float32))

    def median_beat(self) -> MedianBeat:
        """The median of all beats, from a third of the grid's RR before R to two thirds after it. Raises EcgError without
        beats."""
        if not len(self.beats):
            raise EcgError("no median beat: no beat lies between two others")
        return MedianBeat(np.asarray(median_of(self.beats), np.float32), self.fs, self.leads)


def align(
    record: Record, beats: Beats, *, bpm: float = 60.0, seconds: float = 10.0, variant: str = "1.2", fs: float | None = None
) -> Aligned:
    """Puts `record` on the grid of a heart rate.

    Args:
        bpm, seconds: rate and length of the grid. R stands at 0.01 s and then every int(fs 60 / bpm) samples.
        variant: "linear" stretches each RR evenly; "1.1" and "1.2" stretch R to T end, T end to P onset and P onset to R
            each by their own measure, taken from the rate; "1.2" leaves QRS unstretched.
        fs: rate of the result, that of the record by default.
    Raises:
        EcgError: a grid that holds no RR, or a variant that is none.
    """
    if variant not in VARIANTS:
        raise EcgError(f"no variant {variant!r} of Rlign; there are {', '.join(VARIANTS)}")
    rate = record.fs if fs is None else float(fs)
    total, step = round(seconds * rate), int(rate * 60 / bpm) if bpm > 0 else 0
    if step < 8 or total < step:
        raise EcgError(f"a grid of {seconds:g} s at {bpm:g} bpm and {rate:g} Hz holds no RR interval")
    grid = np.arange(int(_OFFSET_S * rate), total, step)  # (K,) samples
    r = np.sort(beats.r[np.isfinite(beats.r)])[:_MAX_BEATS]
    empty = np.full((len(record.leads), total), np.nan, np.float32)
    if len(r) < 2:
        return Aligned(empty, rate, grid / rate, NONE if not len(r) else FEW, record.leads)

    rr = np.diff(r)
    own = _knots(rr, 60 / float(rr.mean()), variant)  # (B-1, M) s after R
    to = _knots(np.array([step / rate]), bpm, variant)[0]  # (M,)
    if (np.diff(to) <= 0).any() or (np.diff(own, axis=1) <= 0).any():
        raise EcgError(f"variant {variant} cannot divide RR at {bpm:g} bpm and {60 / rr.min():.0f} bpm: the pieces overlap")

    # the grid: as many RR as both have, the piece before the first R and the beat after the last one as far as they go
    k = min(len(grid), len(r))
    places = [grid[:1] / rate + to[-2] - to[-1]]
    sources = [r[:1] - (own[0, -1] - own[0, -2])]
    for i in range(min(k, len(rr))):
        places.append(grid[i] / rate + to[:-1])
        sources.append(r[i] + own[i, :-1])
    i = min(k, len(rr))
    if k > len(rr):  # the last R: the record may go on behind it, at the last RR's measure
        places.append(grid[i] / rate + to)
        sources.append(r[i] + own[-1])
    else:
        places.append((grid[i - 1] + step)[None] / rate)
        sources.append(r[i][None])
    t = np.arange(total) / rate
    place, source = np.concatenate(places), np.concatenate(sources)
    at = np.interp(t, place, source, left=np.nan, right=np.nan)
    early = t < place[0]
    at[early] = source[0] - (place[0] - t[early])
    signal = _read(np.ascontiguousarray(record.signal), at * record.fs)

    cut = _stretch(record, r, own, to, rate, step)
    if k < len(grid):
        status = FEW
    else:
        status = IRREGULAR if len(rr) > 2 and rr.std() / rr.mean() > _IRREGULAR else OK
    return Aligned(signal, rate, grid / rate, status, record.leads, k, cut)


def _knots(rr: Times, bpm: float, variant: str) -> Times:
    """(B, M) s after R where pieces of each RR begin, 0 first and RR last."""
    zero, whole = np.zeros(len(rr)), rr
    if variant == "linear":
        return np.stack([zero, whole], 1)
    if variant == "1.1":
        t_end, p_on = np.clip(bpm / 280 + 0.14, 0, 0.5), np.clip(-bpm / 330 + 0.96, 0.6, 1)
        return np.stack([zero, t_end * rr, p_on * rr, whole], 1)
    # QT after Malik (mean of men's and women's), PR after Carruthers, both less or plus the half of QRS before R
    s = 60 / bpm
    t_end = np.clip((0.23 + 0.17 * s - _QRS_BEFORE_S) / s, 0, 0.5)
    p_on = np.clip(1 - (0.1767 - 0.000351 * bpm + _QRS_BEFORE_S) / s, 0.6, 1)
    before, after = _QRS_BEFORE_S, _QRS_AFTER_S
    # a short RR between longer ones: its QRS keeps its length, the pieces shrink towards each other
    tight = np.minimum(1.0, np.minimum(t_end * rr / (after + 0.02), (1 - p_on) * rr / (before + 0.02)))
    return np.stack([zero, after * tight, t_end * rr, p_on * rr, rr - before * tight, whole], 1)


def _stretch(record: Record, r: Times, own: Times, to: Times, rate: float, step: int) -> Signal:
    """(B, L, N) all beats with an RR on both sides, from step/3 samples before R on, N = step."""
    before = step // 3
    back, ahead = np.arange(-before, 0), np.arange(0, step - before)
    out = []
    for i in range(1, len(own)):
        left = r[i] + np.interp(back / rate, to - to[-1], own[i - 1] - own[i - 1, -1])
        right = r[i] + np.interp(ahead / rate, to, own[i])
        out.append(np.concatenate([left, right]))
    if not out:
        return np.empty((0, len(record.leads), step), np.float32)
    cut = _read(np.ascontiguousarray(record.signal), np.concatenate(out) * record.fs)
    return np.ascontiguousarray(cut.reshape(len(record.leads), len(out), step).transpose(1, 0, 2))


@njit(cache=True, nogil=True)
def _read(signal, at):  # type: ignore[no-untyped-def]
    """(L, T) signal at these fractional samples: 12-tap Lanczos kernel, exact at whole samples; NaN outside."""
    leads, total = signal.shape
    out = np.full((leads, len(at)), np.nan, np.float32)
    half = 6
    w = np.zeros(2 * half)
    for t in range(len(at)):
        p = at[t]
        if not (p >= -0.5) or p > total - 0.5:
            continue
        i = int(np.floor(p))
        f = p - i
        if f < 1e-6 or f > 1 - 1e-6:
            i = min(max(round(p), 0), total - 1)
            for l in range(leads):
                out[l, t] = signal[l, i]
            continue
        s = 0.0
        sine = np.sin(np.pi * f)
        for k in range(2 * half):
            d = f - (k - half + 1)
            sign = 1.0 if (k - half + 1) % 2 == 0 else -1.0
            w[k] = sign * sine / (np.pi * d) * np.sin(np.pi * d / half) / (np.pi * d / half)
            s += w[k]
        for l in range(leads):
            v = 0.0
            for k in range(2 * half):
                v += w[k] * signal[l, min(max(i - half + 1 + k, 0), total - 1)]
            out[l, t] = v / s
    return out
