"""Waves with compact support, the lead field that projects them, and what of a wave can be seen in each lead.

Letters: K parts of a wave, W waves laid on the time axis, T samples. "Independent leads" are I, II, V1..V6; the other
four limb leads follow from I and II, so Einthoven's law holds exactly whatever the waves are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

INDEPENDENT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")

# Leads from the heart vector in Frank's axes (X to the left, Y to the feet, Z to the back), rows as in INDEPENDENT.
# Dower GE, Machado HB, Osborne JA. On deriving the electrocardiogram from vectorcardiographic leads. Clin Cardiol 1980;3:87.
DOWER: Floats = np.array(
    [
        [0.632, -0.235, 0.059],
        [0.235, 1.066, -0.132],
        [-0.515, 0.157, -0.917],
        [0.044, 0.164, -1.387],
        [0.882, 0.098, -1.277],
        [1.213, 0.127, -0.601],
        [1.125, 0.127, -0.086],
        [0.831, 0.076, 0.230],
    ]
)

# The twelve standard leads (I, II, III, aVR, aVL, aVF, V1..V6) from the eight independent ones.
TWELVE: Floats = np.zeros((12, 8))
TWELVE[:6, :2] = np.array([[1, 0], [0, 1], [-1, 1], [-0.5, -0.5], [1, -0.5], [-0.5, 1]])
TWELVE[6:, 2:] = np.eye(6)

GRID = 400  # points on which a wave is looked at to find its fiducials; crossings and peaks are interpolated between them


@dataclass(frozen=True)
class Sight:
    """When a wave counts as seen: it begins and ends where it crosses max(`floor`, `share` of its own peak) mV, and a
    lead in which it stays below `least` mV shows nothing of it. No `least` is below the 20 uV of the smallest wave of the
    CSE working party (Eur Heart J 1985;6:815)."""

    floor: float
    share: float
    least: float


SIGHT = {"p": Sight(0.008, 0.05, 0.020), "qrs": Sight(0.020, 0.02, 0.050), "t": Sight(0.010, 0.05, 0.025)}


@dataclass(frozen=True)
class Part:
    """One smooth hump of a wave in the wave's own time: it rises from `on`, holds from `top` to `hold`, and is gone at `off`.

    Flanks are sin**`power`. `mv` (8,) its height in the independent leads. `role` is "" for the wave itself, "st" for
    what bridges QRS and T, "u" for a U wave: both are drawn, neither moves the T wave's onset, and a U wave does not
    move its end.
    """

    on: float
    top: float
    hold: float
    off: float
    power: float
    mv: Floats
    role: str = ""


def part(
    on: float, peak: float, off: float, mv: Floats, *, power: float = 2.0, hold: float | None = None, role: str = ""
) -> Part:
    """A hump with its peak at `peak`, or a plateau from `peak` to `hold`."""
    return Part(on, peak, peak if hold is None else hold, off, power, mv, role)


def dipole(x: float, y: float, z: float) -> Floats:
    """(8,) mV in the independent leads of a heart vector (mV; left, feet, back)."""
    out: Floats = DOWER @ np.array([x, y, z])
    return out


@dataclass(frozen=True)
class Wave:
    """A P wave, a QRS complex or an ST-T, in its own time, with its truth.

    times (K, 4) and power (K,): the parts' flanks; mv (K, 8) their heights.
    begin, end: the own time that is laid on the requested onset and end.
    seen (12, 3): onset, peak, end per lead in own time, NaN where the lead shows nothing; seen_overall (3,) over all leads.
    """

    times: Floats
    power: Floats
    mv: Floats
    begin: float
    end: float
    seen: Floats
    seen_overall: Floats

    def at(self, own: Floats) -> Floats:
        """(8, len(own)) mV at these own times."""
        out: Floats = self.mv.T @ humps(own[None, :], self.times[:, :, None], self.power[:, None])
        return out


def humps(x: Floats, times: Floats, power: Floats) -> Floats:
    """Heights 0..1 of parts at x; `times` (K, 4, ...) broadcasts against x."""
    on, top, hold, off = (times[:, i] for i in range(4))
    rise = (x - on) / np.maximum(top - on, 1e-9)
    fall = (off - x) / np.maximum(off - hold, 1e-9)
    out: Floats = np.sin(np.clip(np.minimum(rise, fall), 0, 1) * (np.pi / 2)) ** power
    return out


def build(kind: str, parts: Sequence[Part], leads: Floats) -> Wave:
    """A Wave from its parts. `kind` "p", "qrs" or "t" chooses the Sight; `leads` (12, 8) is TWELVE, or what a swapped
    cable makes of it.

    The own time of an ST-T runs from the J point (0); that of P and QRS from where they are first seen.
    """
    sight = SIGHT[kind]
    times = np.array([[p.on, p.top, p.hold, p.off] for p in parts])
    power = np.array([p.power for p in parts])
    mv = np.stack([p.mv for p in parts])
    own = np.linspace(times[:, 0].min(), times[:, 3].max(), GRID)
    each = humps(own[None, :], times[:, :, None], power[:, None])
    main = np.array([p.role == "" for p in parts])
    wave = mv[main].T @ each[main]  # (8, GRID)
    ending = wave
    if kind == "t":
        bridged = np.array([p.role != "u" for p in parts])
        reach = (own >= times[main, 0].min()) & (own <= times[main, 3].max())
        ending = np.where(reach, mv[bridged].T @ each[bridged], 0.0)
    seen = _seen(leads @ wave, leads @ ending, own, sight)
    strength = np.sqrt((wave**2).mean(axis=0))
    if np.isfinite(seen).any():
        peak = _summit(own, strength[None], strength[None].argmax(axis=1))[0]
        overall = np.array([np.nanmin(seen[:, 0]), peak, np.nanmax(seen[:, 2])])
        begin, end = (0.0 if kind == "t" else float(overall[0])), float(overall[2])
    else:
        overall = np.full(3, np.nan)
        begin, end = (0.0 if kind == "t" else float(own[0])), float(own[-1])
    return Wave(times, power, mv, begin, end, seen, overall)


def _seen(wave: Floats, ending: Floats, own: Floats, sight: Sight) -> Floats:
    """(12, 3) own times of onset, peak and end of waves (12, GRID) under a Sight.

    `ending` is the wave with the ST segment it rises from: what is seen peaks and ends there, but begins with the wave.
    """
    height, height_end = np.abs(wave), np.abs(ending)
    level = np.maximum(sight.floor, sight.share * height.max(axis=1))
    first = (height >= level[:, None]).argmax(axis=1)
    top = height.argmax(axis=1)
    if ending is not wave:
        top = _nearest_summit(wave, ending, top, first)
    rows = np.arange(len(wave))
    level_end = np.maximum(sight.floor, sight.share * height_end[rows, top])
    last = len(own) - 1 - (height_end[:, ::-1] >= level_end[:, None]).argmax(axis=1)
    out = np.stack(
        [
            _crossing(own, height, first, -1, level),
            _summit(own, height_end, top),
            _crossing(own, height_end, last, 1, level_end),
        ],
        axis=1,
    )
    # a wave that ST cancels, so that it does not rise from it in order, is not seen as one
    unseen = (np.minimum(height.max(axis=1), height_end[rows, top]) < sight.least) | ~(np.diff(out, axis=1) > 0).all(axis=1)
    out[unseen] = np.nan
    return out


def _nearest_summit(wave: Floats, ending: Floats, top: NDArray[np.intp], first: NDArray[np.intp]) -> NDArray[np.intp]:
    """(12,) the maximum of `ending`, in the direction of `wave`, that is nearest to the top of `wave`; that top where
    there is none."""
    rows = np.arange(len(wave))
    up = ending * np.sign(wave[rows, top])[:, None]
    out = top.copy()
    for j in rows:
        inner = up[j, 1:-1]
        at = np.flatnonzero((inner > up[j, :-2]) & (inner >= up[j, 2:])) + 1
        at = at[at > first[j]]
        if len(at):
            out[j] = at[np.abs(at - top[j]).argmin()]
    return out


def _crossing(own: Floats, height: Floats, i: NDArray[np.intp], step: int, level: Floats) -> Floats:
    """(12,) own times at which `height` crosses `level` between i and its neighbour outside the wave."""
    rows, k = np.arange(len(height)), np.clip(i + step, 0, len(own) - 1)
    here, there = height[rows, i], height[rows, k]
    gap = np.where(here > there, here - there, np.inf)
    out: Floats = own[i] + (own[k] - own[i]) * np.clip((here - level) / gap, 0, 1)
    return out


def _summit(own: Floats, height: Floats, i: NDArray[np.intp]) -> Floats:
    """(12,) own times of the top of the parabola through i and its neighbours."""
    rows, i = np.arange(len(height)), np.clip(i, 1, len(own) - 2)
    a, b, c = height[rows, i - 1], height[rows, i], height[rows, i + 1]
    bend = a - 2 * b + c
    out: Floats = own[i] + np.clip(np.where(bend < 0, 0.5 * (a - c) / np.where(bend < 0, bend, -1), 0), -1, 1) * (
        own[1] - own[0]
    )
    return out


@dataclass(frozen=True)
class Laid:
    """Waves on the time axis: wave `which[i]` begins at `start[i]` s, lasts `span[i]` s, times `gain[i]` (8,) in the
    independent leads."""

    start: Floats
    span: Floats
    gain: Floats
    which: NDArray[np.intp]
    waves: tuple[Wave, ...]

    def truth(self) -> tuple[Floats, Floats]:
        """(W, 12, 3) and (W, 3): onset, peak and end in s, per lead and overall."""
        seen = np.stack([w.seen for w in self.waves])[self.which]
        overall = np.stack([w.seen_overall for w in self.waves])[self.which]
        begin, scale = self._scale()
        return (
            self.start[:, None, None] + (seen - begin[:, None, None]) * scale[:, None, None],
            self.start[:, None] + (overall - begin[:, None]) * scale[:, None],
        )

    def _scale(self) -> tuple[Floats, Floats]:
        begin = np.array([w.begin for w in self.waves])[self.which]
        length = np.array([w.end - w.begin for w in self.waves])[self.which]
        return begin, self.span / length


def render(laid: Sequence[Laid], samples: int, fs: float) -> Floats:
    """(8, T) mV: the sum of all waves, each evaluated only where it is not zero."""
    times, power, mv = [], [], []
    for some in laid:
        if not len(some.start):
            continue
        begin, scale = some._scale()
        for k, wave in enumerate(some.waves):
            i = np.flatnonzero(some.which == k)
            if len(i):
                at = some.start[i, None, None] + (wave.times[None] - begin[i, None, None]) * scale[i, None, None]
                times.append(at.reshape(-1, 4))
                power.append(np.tile(wave.power, len(i)))
                mv.append((some.gain[i, None, :] * wave.mv[None]).reshape(-1, 8))
    out = np.zeros((8, samples))
    if not times:
        return out
    t, p, m = np.concatenate(times), np.concatenate(power), np.concatenate(mv)
    first = np.clip(np.ceil(t[:, 0] * fs), 0, samples).astype(np.intp)
    count = np.clip(np.floor(t[:, 3] * fs) + 1, 0, samples).astype(np.intp) - first
    keep = count > 0
    t, p, m, first, count = t[keep], p[keep], m[keep], first[keep], count[keep]
    owner = np.repeat(np.arange(len(t)), count)
    index = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count) + first[owner]
    height = humps(index / fs, t[owner], p[owner])
    for lead in range(8):
        out[lead] = np.bincount(index, weights=height * m[owner, lead], minlength=samples)
    return out


@lru_cache
def swapped(name: str) -> Floats:
    """(12, 12) what the recorded twelve leads are of the true ones when two cables are exchanged: "RA-LA", "RA-LL",
    "LA-LL", "V1-V2", ..."""
    electrodes = ("RA", "LA", "LL", "V1", "V2", "V3", "V4", "V5", "V6")
    a, b = name.split("-")
    order = list(range(9))
    order[electrodes.index(a)], order[electrodes.index(b)] = electrodes.index(b), electrodes.index(a)
    wired = ELECTRODES[:, order]
    out: Floats = wired @ np.linalg.pinv(ELECTRODES)
    return out.round(12)


# The twelve leads from the potentials of RA, LA, LL, V1..V6; the chest leads are taken against Wilson's central terminal.
ELECTRODES: Floats = np.zeros((12, 9))
ELECTRODES[:6, :3] = np.array([[-1, 1, 0], [-1, 0, 1], [0, -1, 1], [1, -0.5, -0.5], [-0.5, 1, -0.5], [-0.5, -0.5, 1]])
ELECTRODES[6:, :3] = -1 / 3
ELECTRODES[6:, 3:] = np.eye(6)
