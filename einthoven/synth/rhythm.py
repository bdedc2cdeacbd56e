"""When the atria and the ventricles are activated: rhythms, AV conduction, ectopy, pacing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from einthoven.record import EcgError
from einthoven.synth.conditions import CONDITIONS, rhythm_of
from einthoven.synth.heart import ECTOPIC_P, ESCAPE, PACED, PVC, PVC_OTHER, Heart
from einthoven.synth.waves import Floats

BEFORE = 3.0  # s simulated before the record begins, so that no beat is special for being first


@dataclass
class Beat:
    """A ventricular activation: QRS onset in s, form, class, the P wave before it (index into `atria`, or None), and the
    pacing spikes that belong to it (s after its onset, chamber "a" or "v")."""

    at: float
    form: int = 0
    kind: str = "N"
    p: int | None = None
    spikes: tuple[tuple[float, str], ...] = ()


@dataclass
class Rhythm:
    """What happens when. atria: (onset in s, form). fibrillation, flutter_hz: the atrial activity without P."""

    atria: list[tuple[float, int]] = field(default_factory=list)
    beats: list[Beat] = field(default_factory=list)
    fibrillation: bool = False
    flutter_hz: float = 0.0

    @property
    def spikes(self) -> list[tuple[float, str]]:
        """(s, chamber) of every pacing spike."""
        return [(b.at + after, chamber) for b in self.beats for after, chamber in b.spikes]


def draw_rhythm(
    labels: Sequence[str], rate: float, duration: float, heart: Heart, hrv: float | None, rng: np.random.Generator
) -> Rhythm:
    """The events of a record of `duration` s at `rate` bpm (the atrial rate in AV block)."""
    on, name = set(labels), rhythm_of(tuple(labels))
    mean = 60.0 / rate
    n = int(np.ceil((duration + 2 * BEFORE) / mean)) + 4
    start = -BEFORE - rng.uniform() * mean
    out = Rhythm()
    if name in (
        "atrial_fibrillation",
        "atrial_flutter",
        "svt",
        "junctional_rhythm",
        "ventricular_tachycardia",
        "idioventricular_rhythm",
    ):
        rr = _rr(n, mean, _default(hrv, _SPREAD[name]), rng)
        if name == "atrial_fibrillation":
            out.fibrillation = True
            spread = _default(hrv, float(rng.uniform(0.18, 0.29)))
            z = rng.standard_normal(n)
            rr = np.maximum(mean * np.exp(spread * (z - z.mean()) / z.std()), min(0.27, 0.8 * mean))
            rr *= mean / rr.mean()
        if name == "atrial_flutter":
            out.flutter_hz = rate * int(np.clip(round(290 / rate), 1, 8)) / 60
            rr = np.full(n, mean)
        form, kind = (ESCAPE if name == "idioventricular_rhythm" else PVC, "V") if name in _VENTRICULAR else (0, "N")
        out.beats = [Beat(float(t), form, kind) for t in start + np.cumsum(rr)]
    elif "pacing" in name:
        _pace(out, name, start + np.cumsum(np.full(n, mean)), heart)
    else:
        spread = _default(hrv, 0.11 if name == "sinus_arrhythmia" else 0.028 * min(1.0, mean / 0.6))
        rr = _rr(n, mean, spread, rng, breathing=0.95 if name == "sinus_arrhythmia" else 0.6)
        p = start + np.cumsum(rr)
        if name == "sinus_pause":
            first = rng.uniform(0.25, 0.5) * duration
            k = int(np.searchsorted(p, first))
            p[k:] += rng.uniform(2.2, 3.4) - (p[k] - p[k - 1])
        _conduct(out, p, on, heart, rng)
    _ectopy(out, on, mean, duration, heart, rng)
    return out


_SPREAD = {
    "atrial_fibrillation": 0.2,
    "atrial_flutter": 0.0,
    "svt": 0.004,
    "junctional_rhythm": 0.012,
    "ventricular_tachycardia": 0.012,
    "idioventricular_rhythm": 0.02,
}
_VENTRICULAR = ("ventricular_tachycardia", "idioventricular_rhythm")


def _default(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value


def _rr(n: int, mean: float, spread: float, rng: np.random.Generator, breathing: float = 0.6) -> Floats:
    """(n,) RR intervals in s with this mean and this coefficient of variation: respiratory and 0.1 Hz oscillation (Task
    Force of the ESC and NASPE, Circulation 1996;93:1043) and a slow random part."""
    t = np.arange(n) * mean
    slow = np.convolve(rng.standard_normal(n + 7), np.ones(8) / np.sqrt(8), "valid")
    x = (
        np.sqrt(2 * breathing) * np.sin(2 * np.pi * rng.uniform(0.17, 0.30) * t + rng.uniform(0, 6.28))
        + np.sqrt(1.2 * (1 - breathing)) * np.sin(2 * np.pi * 0.1 * t + rng.uniform(0, 6.28))
        + np.sqrt(0.4 * (1 - breathing)) * slow
    )
    out: Floats = mean * (1 + spread * np.clip(x - x.mean(), -2.5, 2.5))
    return out


def _conduct(out: Rhythm, p: Floats, on: set[str], heart: Heart, rng: np.random.Generator) -> None:
    """Sinus P waves through the AV node."""
    pr = heart.pr_ms / 1000
    out.atria = [(float(t), 0) for t in p]
    if "av_block_3" in on:
        # what is read from the shape of the QRS needs one that comes through the bundle branches
        shaped = any(CONDITIONS[n].group in ("ventricle", "fascicle", "size", "acute", "scar", "repolarisation") for n in on)
        narrow = shaped or rng.random() < 0.5
        mean = max(60 / rng.uniform(*((40, 52) if narrow else (28, 40))), 1.4 * float(np.diff(p).mean()))
        n = int((p[-1] - p[0]) / mean) + 1
        form, kind = (0, "N") if narrow else (ESCAPE, "V")
        out.beats = [Beat(float(t), form, kind) for t in p[0] + rng.uniform() * mean + np.cumsum(_rr(n, mean, 0.01, rng))]
        return
    cycle, place = 0, 0
    step = min(0.075, 0.12 * float(np.diff(p).mean()))
    for k, t in enumerate(p):
        if "av_block_mobitz_1" in on:
            if place == 0:
                cycle = int(rng.integers(3, 6))
            blocked = place == cycle - 1
            # increments that grow smaller, so that RR shortens before the pause
            delay = pr + step * (2 - 2 * 0.5**place) if not blocked else 0
            place = 0 if blocked else place + 1
        elif "av_block_mobitz_2" in on:
            if place == 0:
                cycle = int(rng.integers(3, 5))
            blocked, delay = place == cycle - 1, pr
            place = 0 if blocked else place + 1
        elif "av_block_2_to_1" in on:
            blocked, delay = k % 2 == 1, pr
        else:
            blocked, delay = False, pr
        if not blocked:
            out.beats.append(Beat(float(t + delay), 0, "N", k))


def _pace(out: Rhythm, name: str, at: Floats, heart: Heart) -> None:
    """Spikes and what they capture: 25 ms from atrial spike to P, 12 ms from ventricular spike to QRS."""
    pr = heart.pr_ms / 1000
    for t in at:
        if name == "ventricular_pacing":
            out.beats.append(Beat(float(t + 0.012), PACED, "/", None, ((-0.012, "v"),)))
            continue
        out.atria.append((float(t + 0.025), 0))
        atrial = (-0.025 - pr, "a")
        if name == "dual_pacing":
            out.beats.append(Beat(float(t + 0.025 + pr), PACED, "/", len(out.atria) - 1, (atrial, (-0.012, "v"))))
        else:
            out.beats.append(Beat(float(t + 0.025 + pr), 0, "N", len(out.atria) - 1, (atrial,)))


def _ectopy(out: Rhythm, on: set[str], mean: float, duration: float, heart: Heart, rng: np.random.Generator) -> None:
    """Premature beats put between the others; `out.beats` and `out.atria` are changed."""
    wanted = on & {"pac", "blocked_pac", "pvc", "pvc_couplet", "bigeminy", "trigeminy"}
    if not wanted:
        return
    name = wanted.pop()
    beats = out.beats
    inside = [k for k, b in enumerate(beats[:-3]) if 0.3 < b.at < duration - 2.6 * mean]
    if not inside:
        raise EcgError(f"{duration:g} s at {60 / mean:.0f} bpm is too short to show {name}")
    if name in ("bigeminy", "trigeminy"):
        every = 2 if name == "bigeminy" else 3
        picked = list(range(int(rng.integers(every)), len(beats) - 3, every))
    else:
        many = 1 if name == "pvc_couplet" else int(rng.integers(1, max(2, len(inside) // 5) + 1))
        picked = []
        for k in rng.permutation(inside):
            if len(picked) < many and all(abs(int(k) - j) >= 4 for j in picked):
                picked.append(int(k))
    if name in ("pac", "blocked_pac"):
        _early_atrial(out, sorted(picked), name == "blocked_pac", mean, heart, rng)
        return
    # Coupling: late enough for the T wave before it, early enough to be premature.
    fusion = rng.uniform(0.56, 0.68)
    form = PVC
    for k in sorted(picked, reverse=True):
        here, later = beats[k], beats[k + 1 :]
        if not later:
            continue
        other = PVC_OTHER if name == "pvc" and rng.random() < 0.2 else form
        early = here.at + max(fusion * mean * rng.uniform(0.98, 1.02), min(0.36, 0.8 * mean))
        new = [Beat(early, other, "V")]
        if name == "pvc_couplet":
            new.append(Beat(early + max(0.62 * mean, 0.36), form, "V"))
        if here.spikes:
            # a demand pacemaker senses the beat and starts its interval anew
            wait = new[-1].at + mean - later[0].at
            beats[k + 1 :] = new + [replace(b, at=b.at + wait) for b in later]
            continue
        # the sinus beats that meet refractory ventricles are lost, and their P waves are hidden: the pause is compensatory
        clear = new[-1].at + 0.55 * mean
        kept = [b for b in later if b.at >= clear]
        lost = {b.p for b in later if b.at < clear and b.p is not None}
        if lost:
            out.atria = [(t, f) if i not in lost else (np.nan, f) for i, (t, f) in enumerate(out.atria)]
        beats[k + 1 :] = new + kept


def _early_atrial(out: Rhythm, picked: list[int], blocked: bool, mean: float, heart: Heart, rng: np.random.Generator) -> None:
    """Premature P waves; the sinus node is reset, so the pause is less than compensatory."""
    shift = 0.0
    atria: list[tuple[float, int]] = []
    beats: list[Beat] = []
    for k, b in enumerate(out.beats):
        t = out.atria[b.p][0] if b.p is not None else b.at
        atria.append((t + shift, 0))
        beats.append(Beat(b.at + shift, b.form, b.kind, len(atria) - 1))
        if k in picked and k + 1 < len(out.beats):
            early = atria[-1][0] + (rng.uniform(0.42, 0.50) if blocked else rng.uniform(0.60, 0.74)) * mean
            atria.append((early, ECTOPIC_P))
            if not blocked:
                beats.append(Beat(early + heart.pr_ms / 1000 + rng.uniform(0.0, 0.03), 0, "S", len(atria) - 1))
            following = out.beats[k + 1]
            planned = out.atria[following.p][0] if following.p is not None else following.at
            shift = early + mean * rng.uniform(1.02, 1.12) - planned
    out.atria, out.beats = atria, beats
