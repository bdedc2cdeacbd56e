"""What kind each beat is: normal, premature supraventricular, ventricular, paced (the letters of ANSI/AAMI EC57).

Beats are first sorted by shape, all leads together; the shape that most beats share (and that has P waves, is narrow, is not
premature) is the dominant one, however wide it is: a bundle branch block is not a row of ventricular beats. What differs from
it is told apart by width, by the P wave before it and by when it comes (Minnesota code 8-1; AHA/ACCF/HRS 2007 part II).

Letters: B beats, C candidates for a shape, L leads, W samples of a window.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from einthoven.beats.fiducials import NORMAL, P_ON, P_PEAK, PACED, QRS_OFF, QRS_ON, SUPRAVENTRICULAR, VENTRICULAR, Beats, Times
from einthoven.beats.spikes import pacing_spikes
from einthoven.record import Record

Flags = NDArray[np.bool_]

_SHAPE_FS = 125.0  # Hz; shapes are compared at this rate or the next one a whole step below the record's
_BEFORE_S, _AFTER_S, _REACH_S = 0.10, 0.14, 0.04  # the window of a shape around R, and how far R may have been set differently
_ALIKE = 0.90  # correlation from which on two beats have one shape
_CANDIDATES, _CHUNK = 40, 256  # shapes that are tried, beats that are compared at a time
_EARLY = 0.87  # RR below this share of what was expected is premature
_WIDE_S, _BROAD_S = 0.110, 0.130


@dataclass(frozen=True)
class _Sight:
    """What a beat is judged by. All (B,) but `dominant` (the index of the dominant shape) and `fibrillating`.

    shape: number of the shape (-1 like no other). alike: correlation with the dominant shape. width: QRS in s (of its shape, where it has one).
    early: RR before it over the RR expected there. pr: s, NaN without P. early_p: PP before it over the PP expected.
    """

    shape: NDArray[np.intp]
    dominant: int
    alike: Times
    width: Times
    early: Times
    early_p: Times
    pr: Times
    fibrillating: bool


def classify(record: Record, beats: Beats) -> Beats:
    """The same beats with their `kinds` told anew."""
    if not len(beats):
        return beats
    spikes = pacing_spikes(record)
    seen = _look(record, beats)
    paced = _paced(beats, seen, spikes)
    if _ventricular_rhythm(beats, seen):
        of_dominant = VENTRICULAR
    else:
        of_dominant = NORMAL
    kinds = []
    for b in range(len(beats)):
        if paced[b]:
            kinds.append(PACED)
        elif seen.shape[b] == seen.dominant:
            premature = seen.early[b] < _EARLY and not seen.fibrillating and of_dominant == NORMAL
            kinds.append(SUPRAVENTRICULAR if premature else of_dominant)
        else:
            kinds.append(_of_other_shape(seen, b, of_dominant))
    return replace(beats, kinds=tuple(kinds))


def _of_other_shape(seen: _Sight, b: int, of_dominant: str) -> str:
    """The kind of a beat that does not look like the dominant one."""
    usual = float(np.nanmedian(seen.width[seen.shape == seen.dominant]))
    premature = seen.early[b] < _EARLY and not seen.fibrillating
    wide = seen.width[b] >= max(_WIDE_S, usual + 0.012) or (seen.width[b] >= _WIDE_S and seen.alike[b] < 0.5)
    if of_dominant == VENTRICULAR:
        return NORMAL if seen.width[b] < usual - 0.02 else VENTRICULAR
    if not wide:
        return SUPRAVENTRICULAR if premature else NORMAL
    conducted = 0.11 <= seen.pr[b] <= 0.32
    if not conducted:
        # a short PR on time is pre-excitation that comes and goes
        return NORMAL if seen.pr[b] >= 0.06 and not premature and seen.alike[b] > 0.6 else VENTRICULAR
    if not premature:
        return NORMAL  # a bundle branch that blocks now and then
    return SUPRAVENTRICULAR if seen.early_p[b] < _EARLY else VENTRICULAR  # aberrant only if its P came early as well


# -- looking -----------------------------------------------------------------------------------------------------------------


def _look(record: Record, beats: Beats) -> _Sight:
    width = beats.overall[:, QRS_OFF] - beats.overall[:, QRS_ON]
    pr = beats.overall[:, QRS_ON] - beats.overall[:, P_ON]
    pr = np.where((pr > 0) & (pr < 0.45), pr, np.nan)
    like = _likeness(record, beats.r)  # (B, C), C columns for beats `candidates`
    shape = _shapes(like)
    usual_rr = _expected(beats.rr, shape, beats)
    early = np.append(np.nan, beats.rr) / usual_rr
    rr = np.append(np.nan, beats.rr)
    before = np.append(np.nan, rr[:-1])
    # in a rhythm that speeds up slowly no beat is early: it must come early after the one before it as well
    early = np.where(np.isfinite(before), np.maximum(early, np.minimum(rr / before, 1.0) * 0.97), early)

    dominant, best = 0, -1.0
    for k in range(shape.max() + 1):
        of = shape == k
        typical = np.nanmedian(width[of]) if np.isfinite(width[of]).any() else 0.12
        rushed = np.nanmean(early[of] < _EARLY) if np.isfinite(early[of]).any() else 0.0
        score = of.sum() * (1 + np.isfinite(pr[of]).mean()) * (1 - 0.5 * rushed) * 0.11 / max(typical, 0.06)
        if score > best:
            dominant, best = k, score
    of = shape == dominant
    widths = width.copy()
    for k in range(shape.max() + 1):
        mine = shape == k
        if mine.sum() > 1 and np.isfinite(width[mine]).any():
            widths[mine] = np.nanmedian(width[mine])
    centre = int(np.flatnonzero(of)[0])
    alike = _against(record, beats.r, beats.r[of]) if len(of) > 1 else np.ones(len(beats))
    del centre
    pp = np.append(np.nan, np.diff(beats.overall[:, P_PEAK]))
    early_p = pp / usual_rr
    inner = beats.rr[of[1:] & of[:-1]]
    steps = np.abs(np.diff(inner)) / np.mean(inner) if len(inner) > 2 else np.zeros(1)
    fibrillating = bool(np.isfinite(pr[of]).mean() < 0.5 and np.median(steps) > 0.06)
    return _Sight(shape, dominant, alike, widths, early, early_p, pr, fibrillating)


def _expected(rr: Times, shape: NDArray[np.intp], beats: Beats) -> Times:
    """(B,) RR that was to be expected before each beat: the median of the nearest dozen between beats of the commonest shape.

    Intervals with a P wave that was not conducted are pauses, and left out where there are others.
    """
    count = len(beats)
    if count < 2:
        return np.full(count, np.nan)
    common = shape == np.bincount(shape[shape >= 0]).argmax() if (shape >= 0).any() else np.ones(count, bool)
    usable = common[1:] & common[:-1]
    if len(beats.lone_p_overall):
        lone = beats.lone_p_overall[:, 1]
        pause = np.array([((lone > a) & (lone < b)).any() for a, b in zip(beats.r[:-1], beats.r[1:], strict=True)])
        usable = usable & ~pause if (usable & ~pause).sum() >= 2 else usable
    if usable.sum() < 2:
        usable = np.isfinite(rr)
    if not usable.any():
        return np.full(count, np.nan)
    where = np.flatnonzero(usable) + 1  # the beat that ends the interval
    held = rr[where - 1]
    if len(held) <= 12:
        return np.full(count, float(np.median(held)))
    first = np.clip(np.searchsorted(where, np.arange(count)) - 6, 0, len(held) - 12)
    return np.asarray(np.median(held[first[:, None] + np.arange(12)], axis=1))


def _windows(record: Record, r: Times) -> tuple[NDArray[np.float32], int]:
    """(B, L, W + 2 lags) windows around R at about _SHAPE_FS, and the number of lags to either side."""
    step = max(1, int(record.fs // _SHAPE_FS))
    fs = record.fs / step
    x = record.signal[np.isfinite(record.signal).mean(1) > 0.5]
    x = np.nan_to_num(x[:, : x.shape[1] // step * step]).reshape(len(x), -1, step).mean(2)
    reach = max(1, round(_REACH_S * fs))
    a, b = round(_BEFORE_S * fs), round(_AFTER_S * fs)
    at = np.floor(r * fs).astype(int)[:, None] + np.arange(-a - reach, b + reach + 1)
    at = np.clip(at, 0, max(x.shape[1] - 1, 0))
    return np.ascontiguousarray(x[:, at].transpose(1, 0, 2)), reach


def _correlate(windows: NDArray[np.float32], reach: int, templates: NDArray[np.float32]) -> Times:
    """(B, C) best correlation over lags of windows (B, L, W + 2 reach) with templates (C, L, W); less where the sizes differ."""
    count, n = len(windows), templates.shape[2]
    flat = templates - templates.mean(2, keepdims=True)
    size = np.sqrt(np.einsum("clw,clw->c", flat, flat)) + 1e-9
    flat = flat.reshape(len(templates), -1).T  # (L W, C)
    best = np.full((count, len(templates)), -1.0)
    for a in range(0, count, _CHUNK):
        for lag in range(2 * reach + 1):
            x = windows[a : a + _CHUNK, :, lag : lag + n]
            x = x - x.mean(2, keepdims=True)
            norm = np.sqrt(np.einsum("blw,blw->b", x, x)) + 1e-9
            ratio = norm[:, None] / size
            fit = (x.reshape(len(x), -1) @ flat) / (norm[:, None] * size) * np.where((ratio < 0.55) | (ratio > 1.8), 0.8, 1.0)
            best[a : a + _CHUNK] = np.maximum(best[a : a + _CHUNK], fit)
    return best


def _likeness(record: Record, r: Times) -> Times:
    """(B, C) correlation of each beat with up to _CANDIDATES beats taken evenly from the record."""
    windows, reach = _windows(record, r)
    if windows.shape[1] == 0:
        return np.ones((len(r), 1))
    chosen = np.unique(np.linspace(0, len(r) - 1, min(len(r), _CANDIDATES)).astype(int))
    return _correlate(windows, reach, windows[chosen, :, reach:-reach])


def _against(record: Record, r: Times, members: Times) -> Times:
    """(B,) correlation with the median of the windows at `members`."""
    windows, reach = _windows(record, r)
    if windows.shape[1] == 0:
        return np.ones(len(r))
    of = np.isin(r, members)
    template = np.median(windows[of][:, :, reach:-reach], axis=0)
    return _correlate(windows, reach, template[None])[:, 0]


def _shapes(like: Times) -> NDArray[np.intp]:
    """(B,) number of each beat's shape: greedily the candidate that most of the beats left look like. Each beat gets one."""
    shape = np.full(len(like), -1)
    k = 0
    while (shape < 0).any():
        free = shape < 0
        close = (like > _ALIKE) & free[:, None]
        c = int(close.sum(0).argmax())
        if not close[:, c].any():  # like no candidate: a shape of its own
            shape[np.flatnonzero(free)[0]] = k
        else:
            shape[close[:, c]] = k
        k += 1
    return shape


# -- whole rhythms -----------------------------------------------------------------------------------------------------------


def _paced(beats: Beats, seen: _Sight, spikes: Times) -> Flags:
    """(B,) whether a spike stands right before QRS; a shape of which most beats have one is paced altogether."""
    if not len(spikes):
        return np.zeros(len(beats), bool)
    on = np.where(np.isfinite(beats.overall[:, QRS_ON]), beats.overall[:, QRS_ON], beats.r - 0.06)
    gap = spikes[None] - on[:, None]
    near = ((gap > -0.09) & (gap < 0.04)).any(1)
    out = np.zeros(len(beats), bool)
    for k in np.unique(seen.shape):
        mine = seen.shape == k
        if near[mine].mean() >= 0.5 and (near.sum() >= 3 or near.all()):
            out |= mine
    return out


def _ventricular_rhythm(beats: Beats, seen: _Sight) -> bool:
    """Whether the dominant shape itself is ventricular: broad, no P wave that belongs to it, regular."""
    of = seen.shape == seen.dominant
    width = float(np.nanmedian(seen.width[of])) if np.isfinite(seen.width[of]).any() else 0.0
    if width < _BROAD_S or seen.fibrillating:
        return False
    pr = seen.pr[of]
    have = np.isfinite(pr)
    dissociated = have.sum() > 2 and len(beats.lone_p_overall) >= 2 and float(np.std(pr[have])) > 0.04
    return bool(have.mean() < 0.25 or dissociated)
