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
from einthoven.beats.median import MedianBeats, median_beats
from einthoven.beats.spikes import pacing_spikes
from einthoven.record import PRECORDIAL_LEADS, Record

Flags = NDArray[np.bool_]

_SHAPE_FS = 125.0  # Hz; shapes are compared at this rate or the next one a whole step below the record's
# The window around R, before and after, and how far R may have been set differently, s; the same for P.
_QRS_SPAN, _P_SPAN = (0.10, 0.14, 0.04), (0.06, 0.06, 0.024)
_ALIKE, _ALIKE_CUT = (
    0.90,
    0.60,
)  # correlation from which on two beats have one shape; the same for a beat at the edge of the record
_CANDIDATES, _CHUNK = 40, 256  # shapes that are tried, beats that are compared at a time
# RR below this share of what was expected is premature: after another P wave than usual; after the usual one; where there
# are no P waves.
_EARLY, _EARLY_AS_EVER, _EARLY_NO_P = 0.88, 0.74, 0.84
_WIDE_S, _BROAD_S = 0.110, 0.130
_NARROW_PACED_S = 0.105  # even with both ventricles paced QRS is broader than this


@dataclass(frozen=True)
class _Sight:
    """What a beat is judged by. All (B,) but `dominant`, the number of the dominant shape.

    shape: number of its shape. alike: correlation with the dominant one. width: QRS in s (of its shape, where others share it).
    premature: earlier than was to be expected. pr: s, NaN without P. early_p: PP before it over the RR expected.
    """

    shape: NDArray[np.intp]
    dominant: int
    alike: Times
    width: Times
    premature: Flags
    early_p: Times
    pr: Times
    fibrillating: bool


def classify(record: Record, beats: Beats) -> Beats:
    """The same beats with their `kinds` told anew. A beat without a time (R is NaN) is left as normal."""
    timed = np.isfinite(beats.r)
    if not timed.all():
        some = replace(beats, times=beats.times[timed], overall=beats.overall[timed], kinds=(NORMAL,) * int(timed.sum()))
        told = iter(classify(record, some).kinds)
        return replace(beats, kinds=tuple(next(told) if known else NORMAL for known in timed))
    if not len(beats):
        return beats
    seen = _look(record, beats)
    paced = _paced(beats, seen, pacing_spikes(record))
    own = VENTRICULAR if _ventricular_rhythm(record, beats, seen) else NORMAL
    kinds = []
    for b in range(len(beats)):
        if paced[b]:
            kinds.append(PACED)
        elif seen.shape[b] == seen.dominant:
            kinds.append(SUPRAVENTRICULAR if seen.premature[b] and own == NORMAL else own)
        else:
            kinds.append(_of_other_shape(seen, b, own))
    return replace(beats, kinds=tuple(kinds))


def _of_other_shape(seen: _Sight, b: int, own: str) -> str:
    """The kind of a beat that does not look like the dominant ones, which are of kind `own`."""
    usual = float(np.nanmedian(seen.width[seen.shape == seen.dominant]))
    if own == VENTRICULAR:
        return NORMAL if seen.width[b] < usual - 0.02 else VENTRICULAR
    # another shape that is broad; where the dominant one is broad itself, it need not be broader
    wide = seen.width[b] >= max(_WIDE_S, min(usual + 0.012, 0.120)) or (seen.width[b] >= _WIDE_S and seen.alike[b] < 0.5)
    if not wide:
        return SUPRAVENTRICULAR if seen.premature[b] else NORMAL
    conducted = 0.11 <= seen.pr[b] <= 0.32
    if not conducted:
        # a short PR on time is pre-excitation that comes and goes
        return NORMAL if seen.pr[b] >= 0.06 and not seen.premature[b] and seen.alike[b] > 0.6 else VENTRICULAR
    if not seen.premature[b]:
        return NORMAL  # a bundle branch that blocks now and then
    return SUPRAVENTRICULAR if seen.early_p[b] < _EARLY else VENTRICULAR  # aberrant only if its P came early as well


# -- looking -----------------------------------------------------------------------------------------------------------------


def _look(record: Record, beats: Beats) -> _Sight:
    width = beats.overall[:, QRS_OFF] - beats.overall[:, QRS_ON]
    pr = beats.overall[:, QRS_ON] - beats.overall[:, P_ON]
    pr = np.where((pr > 0) & (pr < 0.45), pr, np.nan)
    whole = (beats.r > _QRS_SPAN[0]) & (beats.r < record.duration - _QRS_SPAN[1])
    shape = _shapes(_likeness(record, beats.r), whole)
    expected = _expected(beats.rr, shape, beats)
    rr = np.append(np.nan, beats.rr)
    early = rr / expected
    # in a rhythm that speeds up no beat is early: it must come early after the one before it as well
    step = rr / np.append(np.nan, rr[:-1])
    early = np.where(np.isfinite(step), np.maximum(early, 0.97 * np.minimum(step, 1.0)), early)

    dominant, best = 0, -1.0
    widths = width.copy()
    for k in range(shape.max() + 1):
        of = shape == k
        typical = np.nanmedian(width[of]) if np.isfinite(width[of]).any() else 0.12
        if of.sum() > 1:
            widths[of] = typical
        rushed = np.mean(early[of] < _EARLY)
        score = of.sum() * (1 + np.isfinite(pr[of]).mean()) * (1 - 0.5 * rushed) * 0.11 / max(typical, 0.06)
        if score > best:
            dominant, best = k, score
    of = shape == dominant
    alike = _against(record, beats.r, of, _QRS_SPAN)
    inner = beats.rr[of[1:] & of[:-1]]
    steps = np.abs(np.diff(inner)) / inner.mean() if len(inner) > 2 else np.zeros(1)
    fibrillating = bool(np.isfinite(pr[of]).mean() < 0.5 and steps.mean() > 0.07)

    # How early is early depends on the P wave: a sinus P stands before the beats of a sinus arrhythmia, another one (or none
    # that can be seen, in the T wave before it) before a premature beat.
    has_p = np.isfinite(beats.overall[:, P_PEAK])
    limit = np.full(len(beats), _EARLY_AS_EVER)
    if (of & has_p).sum() >= 3 and has_p[of].mean() >= 0.6:
        sinus = np.where(has_p, _against(record, beats.overall[:, P_PEAK], of & has_p, _P_SPAN), 0.0)
        sinus = sinus / max(float(np.median(sinus[of & has_p])), 0.3)
        limit = np.where(sinus < 0.75, _EARLY, _EARLY_AS_EVER)
    elif not fibrillating:
        limit[:] = _EARLY_NO_P
    premature = early < limit
    if fibrillating:
        premature[:] = False
    early_p = np.append(np.nan, np.diff(beats.overall[:, P_PEAK])) / expected
    return _Sight(shape, dominant, alike, widths, premature, early_p, pr, fibrillating)


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


def _windows(record: Record, r: Times, span: tuple[float, float, float] = _QRS_SPAN) -> tuple[NDArray[np.float32], int]:
    """(B, L, W + 2 lags) windows around `r` at about _SHAPE_FS, and the number of lags to either side; `span` as _QRS_SPAN."""
    before, after, far = span
    step = max(1, int(record.fs // _SHAPE_FS))
    fs = record.fs / step
    x = record.signal[np.isfinite(record.signal).mean(1) > 0.5]
    x = np.nan_to_num(x[:, : x.shape[1] // step * step]).reshape(len(x), -1, step).mean(2)
    reach = max(1, round(far * fs))
    a, b = round(before * fs), round(after * fs)
    at = np.floor(r * fs).astype(int)[:, None] + np.arange(-a - reach, b + reach + 1)
    at = np.clip(at, 0, max(x.shape[1] - 1, 0))
    return np.ascontiguousarray(x[:, at].transpose(1, 0, 2)), reach


def _correlate(windows: NDArray[np.float32], reach: int, templates: NDArray[np.float32]) -> Times:
    """(B, C) best correlation over lags of windows (B, L, W + 2 reach) with templates (C, L, W); less where the sizes
    differ."""
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


def _against(record: Record, at: Times, members: Flags, span: tuple[float, float, float]) -> Times:
    """(B,) correlation of the windows around `at` with the median of those of `members`; NaN times are NaN."""
    out = np.full(len(at), np.nan)
    told = np.isfinite(at)
    windows, reach = _windows(record, at[told], span)
    if windows.shape[1] == 0 or not len(windows):
        return np.where(told, 1.0, np.nan)
    template = np.median(windows[members[told]][:, :, reach:-reach], axis=0)
    out[told] = _correlate(windows, reach, template[None])[:, 0]
    return out


def _shapes(like: Times, whole: Flags) -> NDArray[np.intp]:
    """(B,) number of each beat's shape: greedily the candidate that most of the beats left look like. Each beat gets one.

    A beat that the record cuts (not `whole`) goes to the shape that it resembles most, if it does at all.
    """
    shape = np.full(len(like), -1)
    k = 0
    while (shape < 0).any():
        free = shape < 0
        close = (like > np.where(whole, _ALIKE, _ALIKE_CUT)[:, None]) & free[:, None]
        c = int((close & whole[:, None]).sum(0).argmax())
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
    near: Flags = np.asarray(((gap > -0.09) & (gap < 0.04)).any(1))
    if near.sum() < 3 and not near.all():  # artefacts
        return np.zeros(len(beats), bool)
    near &= ~(seen.width < _NARROW_PACED_S)  # what a ventricle is paced to is broad; an unknown width may be
    most = [k for k in np.unique(seen.shape) if near[seen.shape == k].mean() >= 0.6]
    return near | np.isin(seen.shape, most)


def _ventricular_rhythm(record: Record, beats: Beats, seen: _Sight) -> bool:
    """Whether the dominant shape itself is ventricular: broad, regular, no P wave that belongs to it, and not the shape of a
    block."""
    of = seen.shape == seen.dominant
    width = float(np.nanmedian(seen.width[of])) if np.isfinite(seen.width[of]).any() else 0.0
    if width < _BROAD_S or seen.fibrillating:
        return False
    pr = seen.pr[of]
    have = np.isfinite(pr)
    inner = beats.rr[of[1:] & of[:-1]]
    regular = len(inner) > 1 and float(np.std(inner) / np.mean(inner)) < 0.06
    dissociated = regular and have.sum() > 2 and len(beats.lone_p_overall) >= 2 and float(np.std(pr[have])) > 0.04
    if have.mean() >= 0.25 and not dissociated:
        return False
    signs = _ventricular_signs(median_beats(record, beats, of), width)
    return signs >= 2 or (dissociated and signs >= 1)


def _ventricular_signs(median: MedianBeats, width: float) -> int:
    """How many of the signs of ventricular origin a broad QRS shows.

    QRS >= 160 ms and an axis that no bundle branch block alone gives (Wellens et al., Am J Med 1978; 64: 27), no RS complex
    in any chest lead (Brugada et al., Circulation 1991; 83: 1649), a dominant R in aVR (Vereckei et al., Heart Rhythm 2008;
    5: 89), 50 ms or more to the first peak in II (Pava et al., Heart Rhythm 2010; 7: 922).
    """
    signs = int(width >= 0.160)
    a, b = (round(float(t) * median.fs) if np.isfinite(t) else 0 for t in median.overall[[QRS_ON, QRS_OFF]])
    qrs = {n: median.signal[l, a : b + 1] for l, n in enumerate(median.leads)}
    qrs = {n: y for n, y in qrs.items() if len(y) > 3 and np.isfinite(y).all() and np.ptp(y) > 0.05}
    if {"I", "aVF"} <= qrs.keys():
        axis = np.degrees(np.arctan2(qrs["aVF"].mean() * 2 / np.sqrt(3), qrs["I"].mean()))
        signs += int(not -60 <= axis <= 90) + int(axis < -100 or axis > 150)
    if set(PRECORDIAL_LEADS) <= qrs.keys():
        signs += int(not any(_has_rs(qrs[n]) for n in PRECORDIAL_LEADS))
    if "aVR" in qrs:
        signs += int(qrs["aVR"].max() > 0.6 * np.ptp(qrs["aVR"]))
    if "II" in qrs:
        y = np.abs(qrs["II"])
        tops = np.flatnonzero((y[1:-1] >= y[:-2]) & (y[1:-1] > y[2:]) & (y[1:-1] >= 0.2 * y.max())) + 1
        signs += int(len(tops) > 0 and tops[0] / median.fs >= 0.050)
    return signs


def _has_rs(qrs: NDArray[np.floating]) -> bool:
    """Whether an R wave is followed by an S wave."""
    top = int(qrs.argmax())
    return bool(qrs[top] > 0.05 and qrs[top:].min() < -0.05)
