"""Fiducials corrected by hand: `corrected` puts a reader's corrections on delineated beats.

A correction names its beat by the R time that the delineator gave it, not by a number, so that it holds for the same beat
when a later version finds one beat more or less. Corrections are applied in their order; each is of one beat, or of every
beat of its kind (then by the same shift: a T end that is 20 ms late in one beat is 20 ms late in all).

A beat that the delineator missed is added by its R (`ADDED`): its QRS is as wide about R as that of the other beats, and it has
no P and no T until somebody puts them there. Nothing is measured where nobody has looked.

B beats, L leads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from einthoven.beats.fiducials import FIDUCIALS, QRS_OFF, QRS_ON, R_PEAK, Beats, Times
from einthoven.record import WrongUse

ADDED = "beat"  # the name of a correction that adds one
_APART_S = 0.2  # between the R of two beats, at least: no ventricle is activated twice within its refractory period
_HALF_S = 0.045  # of a QRS before and behind R, where no other beat tells
_SAME_S = 0.06  # a beat whose R lies within this of the one that was corrected is that beat
_ONSETS, _OFFSETS = ("p_on", "qrs_on", "t_on"), ("p_off", "qrs_off", "t_off")


@dataclass(frozen=True)
class Correction:
    """One fiducial that a reader puts elsewhere.

    name: of FIDUCIALS, or ADDED. r: s, the R time over all leads of the beat, as delineated (of one that was
    added: where it was put). to: s from the start of the record; None:
    the wave is not there (all of P or T goes; of QRS: the beat is none). lead: None means over all leads, which intervals rest
    on; a lead's own boundaries then stay inside. every: the same for every beat of this one's kind.
    """

    name: str
    r: float
    to: float | None
    lead: str | None = None
    every: bool = False


@dataclass(frozen=True)
class Corrected:
    """`beats`; `kept` (B,) which of the delineated beats they are, -1 for one that was added; `homes` (B,) the R by which a
    correction names each; `told`: corrections that could not be applied, or not to all beats, and why."""

    beats: Beats
    kept: NDArray[np.intp]
    homes: Times
    told: tuple[str, ...]


def corrected(beats: Beats, corrections: Iterable[Correction]) -> Corrected:
    """Beats with these corrections. One that no longer fits (no such beat, out of order) is left out and told."""
    corrections = list(corrections)
    made, home, origin = _with_room(beats, corrections)
    there = origin >= 0
    told: list[str] = []
    for number, one in enumerate(corrections):
        try:
            left = _apply(made, home, there, one, _room(origin, number))
        except WrongUse as fault:
            told.append(f"a correction was left out: {fault.what}")
            continue
        if left:
            those = "one beat" if left == 1 else f"{left} beats"
            told.append(f"{_said(one)}: left as it was in {those}, where it would leave the order of the waves")
    kept = np.flatnonzero(there)
    final = replace(
        made,
        times=made.times[kept],
        overall=made.overall[kept],
        kinds=tuple(made.kinds[k] for k in kept),
        confidence=made.confidence[kept] if len(made.confidence) else made.confidence,
    )
    return Corrected(final, np.maximum(origin[kept], -1), home[kept], tuple(told))


def check(beats: Beats, one: Correction, before: Iterable[Correction] = ()) -> None:
    """Raises WrongUse, with the reason, for a correction that cannot be made after those before it."""
    corrections = [*before, one]
    made, home, origin = _with_room(beats, corrections)
    there = origin >= 0
    for number, other in enumerate(corrections):
        try:
            _apply(made, home, there, other, _room(origin, number))
        except WrongUse:
            if other is one:
                raise


def _with_room(beats: Beats, corrections: Sequence[Correction]) -> tuple[Beats, Times, NDArray[np.intp]]:
    """(copies of the beats and, in order of time, of those that corrections add; the R by which each is named; which of the
    delineated beats it is, or -2 - n: it is added by correction number n)."""
    added = [(n, one.to) for n, one in enumerate(corrections) if one.name == ADDED and one.to is not None and 0 <= one.to]
    order = np.argsort(np.concatenate([beats.r, [to for _, to in added]]), kind="stable")
    origin = np.concatenate([np.arange(len(beats)), [-2 - n for n, _ in added]]).astype(np.intp)[order]
    times = np.full((len(added), len(beats.leads), 9), np.nan)
    overall = np.full((len(added), 9), np.nan)
    for row, every, (_, to) in zip(overall, times, added, strict=True):
        row[[QRS_ON, R_PEAK, QRS_OFF]] = _about(beats.overall) + to
        for lead, mine in enumerate(every):
            mine[[QRS_ON, R_PEAK, QRS_OFF]] = np.clip(_about(beats.times[:, lead], beats.r) + to, row[QRS_ON], row[QRS_OFF])
    kinds = [*beats.kinds, *[max(sorted(set(beats.kinds)), key=beats.kinds.count, default="N")] * len(added)]
    sure = np.concatenate([beats.confidence, np.ones(len(added))])[order] if len(beats.confidence) else beats.confidence
    made = replace(
        beats, times=np.concatenate([beats.times, times])[order], overall=np.concatenate([beats.overall, overall])[order],
        kinds=tuple(kinds[k] for k in order), confidence=sure,
    )  # fmt: skip
    return made, made.r.copy(), origin


def _about(rows: Times, r: Times | None = None) -> Times:
    """Where QRS begins, peaks and ends about R, s: the median of the beats (B, 9)."""
    offsets = rows[:, [QRS_ON, R_PEAK, QRS_OFF]] - (rows[:, R_PEAK] if r is None else r)[:, None]
    known = np.isfinite(offsets).all(1)
    return np.median(offsets[known], axis=0) if known.any() else np.array([-_HALF_S, 0.0, _HALF_S])


def _room(origin: NDArray[np.intp], number: int) -> int | None:
    """The place of the beat that correction `number` adds."""
    found = np.flatnonzero(origin == -2 - number)
    return int(found[0]) if len(found) else None


def _add(made: Beats, there: NDArray[np.bool_], one: Correction, place: int | None) -> None:
    if one.to is None or one.lead is not None or one.every:
        raise WrongUse("a beat is added by the time of its R, one at a time, and in all leads")
    if place is None or not np.isfinite(one.to) or one.to > made.duration:
        raise WrongUse(f"{one.to:g} s lies outside the recording of {made.duration:g} s")
    near = made.r[there & (np.abs(made.r - one.to) < _APART_S)]
    if len(near):
        raise WrongUse(f"there is a beat already at {near[0]:.2f} s")
    there[place] = True


def _apply(made: Beats, home: Times, there: NDArray[np.bool_], one: Correction, place: int | None) -> int:
    """Applies one correction in place; of how many beats it was left out. place: of the beat that it adds. Raises WrongUse
    where its own beat cannot have it."""
    if one.name == ADDED:
        _add(made, there, one, place)
        return 0
    if one.name not in FIDUCIALS:
        raise WrongUse(f"no fiducial {one.name!r:.40} (there are: {', '.join(FIDUCIALS)})")
    if one.lead is not None and one.lead not in made.leads:
        raise WrongUse(f"no lead {one.lead!r:.40} was delineated (there are: {', '.join(made.leads)})")
    k = FIDUCIALS.index(one.name)
    beat = _beat(home, there, one.r)
    same = [b for b in np.flatnonzero(there).tolist() if made.kinds[b] == made.kinds[beat] and b != beat] if one.every else []
    if one.to is None:
        _remove(made, there, k, one, [beat, *same])
        return 0
    if not (np.isfinite(one.to) and 0 <= one.to <= made.duration):
        raise WrongUse(f"{one.to:g} s lies outside the recording of {made.duration:g} s")
    row = _row(made, beat, one.lead)
    shift, own = one.to - row[k], one.to - made.overall[beat, R_PEAK]
    places = [one.to] + [
        float(_row(made, b, one.lead)[k] + shift) if np.isfinite([shift, _row(made, b, one.lead)[k]]).all()
        else float(made.overall[b, R_PEAK] + own)
        for b in same
    ]  # fmt: skip
    left = 0
    for b, at in zip([beat, *same], places, strict=True):
        why = _why_not(made, there, b, k, one.lead, at)
        if why and b == beat:
            raise WrongUse(f"{_said(one)}: {why}")
        if why:
            left += 1
            continue
        _row(made, b, one.lead)[k] = at
        if one.lead is None:
            leads = made.times[b, :, k]
            if one.name in _ONSETS:
                leads[leads < at] = at
            elif one.name in _OFFSETS:
                leads[leads > at] = at
    return left


def _beat(home: Times, there: NDArray[np.bool_], r: float) -> int:
    gaps = np.where(there, np.abs(home - r), np.inf)
    if not len(gaps) or not np.nanmin(gaps) <= _SAME_S:
        raise WrongUse(f"there is no beat at {r:.2f} s")
    return int(np.nanargmin(gaps))


def _row(made: Beats, beat: int, lead: str | None) -> Times:
    """(9,) a view."""
    row: Times = made.overall[beat] if lead is None else made.times[beat, made.leads.index(lead)]
    return row


def _remove(made: Beats, there: NDArray[np.bool_], k: int, one: Correction, beats: list[int]) -> None:
    if QRS_ON <= k <= QRS_OFF:
        if one.every or one.lead is not None:
            raise WrongUse("a QRS is taken away beat by beat, and in all leads: without it the beat is none")
        there[beats[0]] = False
        return
    wave = slice(k // 3 * 3, k // 3 * 3 + 3)
    for b in beats:
        if one.lead is None:
            made.overall[b, wave] = np.nan
            made.times[b, :, wave] = np.nan
        else:
            _row(made, b, one.lead)[wave] = np.nan


def _why_not(made: Beats, there: NDArray[np.bool_], beat: int, k: int, lead: str | None, at: float) -> str:
    """Why a fiducial cannot stand there; "" where it can: between the fiducials beside it, and the R of the beats beside."""
    row = _row(made, beat, lead)
    before = [(row[j], FIDUCIALS[j]) for j in range(k) if np.isfinite(row[j])]
    after = [(row[j], FIDUCIALS[j]) for j in range(k + 1, 9) if np.isfinite(row[j])]
    others = np.flatnonzero(there)
    place = int(np.flatnonzero(others == beat)[0])
    if place > 0:
        before.append((made.overall[others[place - 1], R_PEAK], "the R before"))
    if place + 1 < len(others):
        after.append((made.overall[others[place + 1], R_PEAK], "the R behind"))
    if not 0 <= at <= made.duration:
        return "outside the recording"
    for limit, name in before:
        if at <= limit:
            return f"not before {name} ({limit:.3f} s)"
    for limit, name in after:
        if at >= limit:
            return f"not behind {name} ({limit:.3f} s)"
    return ""


def _said(one: Correction) -> str:
    place = "" if one.lead is None else f" in {one.lead}"
    wave, what = one.name.upper().split("_") if one.name != "r_peak" else ("R", "PEAK")
    words = {"ON": "onset", "PEAK": "peak", "OFF": "end"}[what]
    return f"{wave} {words}{place} of the beat at {one.r:.2f} s"
