"""Twelve-lead ECGs made from heart vectors, with the exact truth of every fiducial, interval, axis and label.

    sim = simulate("atrial_fibrillation", "rbbb", rate=95, noise=10, seed=7)   # 10 dB
    sim.record, sim.beats, sim.labels, sim.truth["qrs_ms"]

`CONDITIONS` is the table of labels. What a wave's onset and end are, is said in `waves.Sight`; how each condition
looks, in `heart`; when beats come, in `rhythm`. Everything follows from the seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from einthoven.beats.fiducials import Beats
from einthoven.record import STANDARD_LEADS, EcgError, Patient, Record, Signal, Source
from einthoven.synth.conditions import CONDITIONS, Condition, check, compatible, rhythm_of
from einthoven.synth.heart import Heart, draw_heart
from einthoven.synth.noise import Noise, draw_mixture, make_noise
from einthoven.synth.rhythm import Rhythm, draw_rhythm
from einthoven.synth.waves import TWELVE, Floats, Laid, build, dipole, part, render, swapped

__all__ = ["CONDITIONS", "Condition", "Noise", "Simulation", "random_simulation", "simulate"]


@dataclass(frozen=True)
class Simulation:
    """A made ECG and all that is true of it.

    record: as if read from a file. clean: (12, T) float32 mV, the same without noise.
    beats: the truth of all beats whose R lies in the record; fiducials outside it are NaN. A P wave at the very end
        whose QRS comes after the record counts as a lone P; a T wave at the very beginning whose QRS came before it is
        in the signal but in no beat.
    labels: names in CONDITIONS, the rhythm always among them.
    truth: rate_bpm, p_ms, pr_ms, qrs_ms, qt_ms (medians over the native beats of the record; NaN where there are none),
        qtc_ms (Fridericia), axis_deg, p_axis_deg, t_axis_deg (from net areas, before any exchange of cables), j_mv,
        q_mv, r_mv, s_mv (per lead: the native beat's height at the J point, and its QRS's first negative, largest
        positive and last negative deflection), spikes_s, atrial_rate_bpm, snr_db.
    """

    record: Record
    clean: Signal
    beats: Beats
    labels: tuple[str, ...]
    truth: Mapping[str, Any]


def simulate(
    *labels: str,
    rate: float | None = None,
    duration: float = 10.0,
    fs: float = 500.0,
    age: float | None = None,
    sex: str | None = None,
    noise: Noise | float | None = None,
    seed: int = 0,
    **overrides: float,
) -> Simulation:
    """An ECG of `duration` s at `fs` Hz with these conditions.

    Args:
        labels: names in CONDITIONS; sinus rhythm where no rhythm is named.
        rate: ventricular rate, bpm (atrial rate in AV block); None takes what is usual in the condition.
        noise: None, amounts, or the ratio of signal to noise in dB of a drawn mixture of all kinds. The ratio is that
            of the mean powers about each lead's mean, all leads together.
        overrides: pr_ms, p_ms, qrs_ms, qt_ms, qtc_ms (Fridericia), axis_deg, hrv (coefficient of variation of RR),
            amplitude (1 is average).

    Raises EcgError where labels are unknown or cannot be together.
    """
    check(labels)
    if not any(CONDITIONS[n].group == "rhythm" for n in labels):
        # an AV block's rate is the atria's, so that 2:1 of 80 is still sinus rhythm at 80
        slow, fast = rate is not None and rate < 60, rate is not None and rate > 100
        named = ("sinus_bradycardia" if slow else "sinus_tachycardia" if fast else "sinus_rhythm", *labels)
        labels = named if compatible(named) else ("sinus_rhythm", *labels)
    if not (duration > 0 and fs >= 50):
        raise EcgError(f"duration must be positive and fs at least 50 Hz, not {duration} s and {fs} Hz")
    rate = rates_of(labels)[1] if rate is None else float(rate)
    if not 15 <= rate <= 300:
        raise EcgError(f"rate must be within 15 and 300 bpm, not {rate}")
    if ("sinus_bradycardia" in labels and rate >= 60) or ("sinus_tachycardia" in labels and rate <= 100):
        raise EcgError(f"{rhythm_of(labels)} cannot be at {rate} bpm: {CONDITIONS[rhythm_of(labels)].meaning}")
    anatomy, timing, dirt = (np.random.default_rng([seed, k]) for k in range(3))
    sex = ("male", "female")[int(anatomy.integers(2))] if sex is None else sex
    age = float(anatomy.integers(22, 88)) if age is None else age
    leads = _cabling(labels)
    heart = draw_heart(labels, anatomy, leads, sex, overrides)
    if "pr_ms" not in overrides:
        heart = replace(heart, pr_ms=max(min(heart.pr_ms, 0.36 * 60000 / rate), heart.p_ms + 8))
    rhythm = draw_rhythm(labels, rate, duration, heart, overrides.get("hrv"), timing)
    samples = round(duration * fs)
    p, qrs, t = _lay(rhythm, heart, timing)
    independent = render([p, qrs, t, *_spikes(rhythm, fs, leads, timing)], samples, fs)
    if rhythm.fibrillation or rhythm.flutter_hz:
        independent += _atrial_activity(rhythm, samples, fs, timing)
    clean = leads @ independent
    beats = _truth(rhythm, p, qrs, t, duration)
    made, added = _dirty(clean, noise, fs, dirt)
    main = min((b.form for b in rhythm.beats if b.kind == "N"), default=rhythm.beats[0].form)
    truth = _summary(heart, main, beats, leads, added, clean) | {
        "spikes_s": tuple(s for s, _ in rhythm.spikes if 0 <= s < duration),
        "atrial_rate_bpm": _atrial_rate(rhythm),
    }
    lost = noise.lost if isinstance(noise, Noise) else ()
    if lost:
        beats = _without(beats, lost)
    record = Record(
        signal=made.astype(np.float32),
        fs=float(fs),
        leads=STANDARD_LEADS,
        patient=Patient(id=f"synth-{seed}", age=age, sex=sex),
        statements=tuple(CONDITIONS[n].meaning for n in labels),
        source=Source(format="synth"),
    )
    return Simulation(record, clean.astype(np.float32), beats, labels, truth)


def rates_of(labels: Sequence[str]) -> tuple[float, float, float]:
    """Lowest, usual and highest rate (bpm) that a record with these labels is drawn with: the range that its rhythm and
    the rest share."""
    low, usual, high = CONDITIONS[rhythm_of(tuple(labels))].rates
    for name in labels:
        if CONDITIONS[name].group in ("av", "ectopy"):
            a, middle, b = CONDITIONS[name].rates
            if max(a, low) < min(b, high):
                low, high = max(a, low), min(b, high)
                usual = min(max(middle, low), high)
    return low, usual, high


def random_simulation(
    rng: np.random.Generator, *, duration: float = 10.0, fs: float = 500.0, noise: Noise | float | str | None = "mixed"
) -> Simulation:
    """A plausible patient with plausible labels and noise, for training. `noise` "mixed" draws it; anything else is as
    in `simulate`."""
    labels = _draw_labels(rng)
    rate = float(rng.triangular(*rates_of(labels)))
    mixture = (
        noise if not isinstance(noise, str) else draw_mixture(rng, float(rng.choice([0.3, 1.0, 2.5], p=[0.4, 0.45, 0.15])))
    )
    if noise == "mixed" and isinstance(mixture, Noise) and rng.random() < 0.04:
        mixture = replace(mixture, lost=(STANDARD_LEADS[int(rng.integers(6, 12))],))
    return simulate(*labels, rate=rate, duration=duration, fs=fs, noise=mixture, seed=int(rng.integers(2**31)))


# How often a label of each group is drawn; within a group all are alike but for what _LIKELY says.
_CHANCE = {
    "av": 0.10,
    "ectopy": 0.20,
    "ventricle": 0.22,
    "fascicle": 0.10,
    "size": 0.14,
    "atrium": 0.08,
    "acute": 0.20,
    "scar": 0.10,
    "repolarisation": 0.06,
    "cable": 0.04,
}
_LIKELY = {
    "sinus_rhythm": 14.0,
    "sinus_bradycardia": 3.0,
    "sinus_tachycardia": 3.0,
    "sinus_arrhythmia": 2.0,
    "atrial_fibrillation": 5.0,
    "atrial_flutter": 2.0,
}


def _draw_labels(rng: np.random.Generator) -> tuple[str, ...]:
    groups: dict[str, list[str]] = {}
    for name, condition in CONDITIONS.items():
        groups.setdefault(condition.group, []).append(name)
    weights = np.array([_LIKELY.get(n, 1.0) for n in groups["rhythm"]])
    labels: tuple[str, ...] = (str(rng.choice(groups["rhythm"], p=weights / weights.sum())),)
    for group in rng.permutation(sorted(_CHANCE)):
        if rng.random() < _CHANCE[group]:
            grown = labels + (str(rng.choice(groups[group])),)
            labels = grown if compatible(grown) else labels
    return labels


def _cabling(labels: Sequence[str]) -> Floats:
    """(12, 8) recorded leads from the independent ones."""
    for name in labels:
        if name.startswith("swap_"):
            a, b = name[5:].upper().split("_")
            out: Floats = swapped(f"{a}-{b}") @ TWELVE
            return out
    return TWELVE


def _lay(rhythm: Rhythm, heart: Heart, rng: np.random.Generator) -> tuple[Laid, Laid, Laid]:
    """P, QRS and T waves on the time axis: one P per entry of `atria`, one QRS and one T per beat."""
    at = np.array([b.at for b in rhythm.beats])
    form = np.array([b.form for b in rhythm.beats], np.intp)
    following = np.append(np.diff(at), np.inf)
    before = np.append(np.inf, np.diff(at))
    usual = np.median(np.diff(at)) if len(at) > 1 else 1.0
    width = np.array(heart.qrs_ms)[form] / 1000
    width = np.where(form > 0, np.minimum(width, np.maximum(0.12, 0.5 * usual)), width)  # 240/min leave no room for more
    # QT follows the rate with a delay: mostly the mean RR, a little the last one
    rr = 0.75 * usual + 0.25 * np.clip(before, 0.5 * usual, 1.6 * usual)
    qt = np.full(len(at), heart.qt_ms / 1000) if heart.qt_ms else heart.qtc_ms / 1000 * np.cbrt(rr)
    qt = np.where(form > 0, qt + 0.6 * np.maximum(width - heart.qrs_ms[0] / 1000, 0), qt)
    if not heart.qt_ms:
        # in tachycardia Fridericia's formula leaves no diastole; there QT follows RR in a straight line
        qt = np.minimum(qt, np.minimum(0.94 * following, np.where(form > 0, 1.0, 0.07 + 0.62 * usual)))
    qt = np.maximum(qt, width + 0.09)
    start = np.array([t for t, _ in rhythm.atria])
    shape = np.array([f for _, f in rhythm.atria], np.intp)
    # Respiration moves heart and electrodes: every beat's height swings a little, and not alike in all leads.
    swing, pace, phase = rng.normal(0, 0.03, 8), rng.uniform(0.18, 0.32), rng.uniform(0, 6.28)

    def gain(when: Floats, extra: float) -> Floats:
        breath = np.sin(2 * np.pi * pace * when + phase)[:, None] * swing
        out: Floats = (1 + breath) * (1 + extra * rng.standard_normal((len(when), 1)))
        return out

    keep = np.isfinite(start)
    p_ms = np.full(len(start), heart.p_ms / 1000)
    p = Laid(np.where(keep, start, -99.0), p_ms, gain(np.where(keep, start, 0), 0.03), shape, heart.p)
    return p, Laid(at, width, gain(at, 0.01), form, heart.qrs), Laid(at + width, qt - width, gain(at, 0.02), form, heart.t)


def _spikes(rhythm: Rhythm, fs: float, leads: Floats, rng: np.random.Generator) -> list[Laid]:
    """Pacing spikes, 2 ms wide or two samples where sampling is slower."""
    if not rhythm.spikes:
        return []
    at = np.array([s for s, _ in rhythm.spikes])
    which = np.array([int(chamber == "v") for _, chamber in rhythm.spikes], np.intp)
    wide = max(0.002, 2.0 / fs)
    much = rng.uniform(0.5, 1.5)
    both = [part(0.0, 0.4, 1.0, much * dipole(*v), power=0.7) for v in ((0.25, 0.35, -0.1), (0.5, -0.9, 0.3))]
    waves = tuple(build("qrs", [p], leads) for p in both)
    return [Laid(at, np.full(len(at), wide), np.ones((len(at), 8)), which, waves)]


def _atrial_activity(rhythm: Rhythm, samples: int, fs: float, rng: np.random.Generator) -> Floats:
    """(8, T) mV: fibrillatory waves of 4-9 Hz, largest in V1 and the inferior leads, or the saw-tooth of common
    flutter, negative in the inferior leads and positive in V1 (Bollmann et al., Europace 2006;8:911; Saoudi et al., Eur
    Heart J 2001;22:1162)."""
    t = np.arange(samples) / fs
    if rhythm.flutter_hz:
        phase = -2 * np.pi * (rhythm.flutter_hz * t + rng.uniform())
        saw: Floats = np.sum([np.sin(k * phase - 0.25 * k) / k * 0.8**k for k in range(1, 6)], axis=0)
        much = rng.uniform(0.10, 0.20) * np.array([0.05, -1.0, 0.75, 0.35, 0.1, -0.1, -0.25, -0.3])
        out: Floats = much[:, None] * saw
        return out
    where = np.array([[0.25, 0.7, 1.0, 0.6, 0.35, 0.2, 0.15, 0.15], [0.3, -0.3, 0.4, 0.4, 0.3, 0.3, 0.3, 0.3]])
    waves = []
    middle = rng.uniform(4.9, 7.6)
    for _ in where:
        f = np.clip(middle + rng.normal(0, 0.4), 4.6, 7.8)
        phase = 2 * np.pi * f * t + rng.uniform(0, 6)
        phase += 0.9 * np.sin(2 * np.pi * rng.uniform(0.3, 0.9) * t + rng.uniform(0, 6))
        phase += 0.4 * np.sin(2 * np.pi * rng.uniform(1, 1.7) * t)
        swell = 1 + 0.4 * np.sin(2 * np.pi * rng.uniform(0.1, 0.6) * t + rng.uniform(0, 6))
        waves.append(swell * (np.sin(phase) + 0.3 * np.sin(2 * phase + 0.7)))
    fib: Floats = rng.uniform(0.03, 0.09) * (where.T @ np.stack(waves))
    return fib


def _truth(rhythm: Rhythm, p: Laid, qrs: Laid, t: Laid, duration: float) -> Beats:
    """What of each wave can be seen, for the beats whose R lies in the record."""
    p_lead, p_all = p.truth() if len(p.start) else (np.empty((0, 12, 3)), np.empty((0, 3)))
    q_lead, q_all = qrs.truth()
    t_lead, t_all = t.truth()
    kept = [i for i in range(len(rhythm.beats)) if 0 <= q_all[i, 1] < duration]
    times, overall = np.full((len(kept), 12, 9), np.nan), np.full((len(kept), 9), np.nan)
    for row, i in enumerate(kept):
        link = rhythm.beats[i].p
        if link is not None and p.start[link] > -90:
            times[row, :, :3], overall[row, :3] = p_lead[link], p_all[link]
        times[row, :, 3:6], overall[row, 3:6] = q_lead[i], q_all[i]
        times[row, :, 6:], overall[row, 6:] = t_lead[i], t_all[i]
    r_of = overall[:, 4].copy()
    for a in (times, overall):
        a[(a < 0) | (a >= duration)] = np.nan
    followed = {rhythm.beats[i].p for i in kept}
    lone = [
        k for k in range(len(p_all)) if k not in followed and 0 <= p_all[k, 1] < duration and not _hidden(p_all[k, 1], q_all)
    ]
    lone_lead, lone_all = p_lead[lone], p_all[lone]
    for a in (lone_lead, lone_all):
        a[(a < 0) | (a >= duration)] = np.nan
    overall[:, 4] = r_of
    return Beats(
        leads=STANDARD_LEADS,
        times=times,
        overall=overall,
        kinds=tuple(rhythm.beats[i].kind for i in kept),
        duration=duration,
        lone_p=lone_lead.reshape(-1, 12, 3),
        lone_p_overall=lone_all.reshape(-1, 3),
        confidence=np.ones(len(kept)),
    )


def _atrial_rate(rhythm: Rhythm) -> float:
    """P waves or flutter waves per minute; NaN in fibrillation and where the atria are silent."""
    if rhythm.flutter_hz:
        return 60 * rhythm.flutter_hz
    at = np.array([t for t, _ in rhythm.atria if np.isfinite(t)])
    return float(60 / np.median(np.diff(at))) if len(at) > 2 else float("nan")


def _hidden(at: float, qrs: Floats) -> bool:
    """Whether a P wave's peak lies in a QRS complex."""
    return bool(((qrs[:, 0] - 0.02 < at) & (at < qrs[:, 2] + 0.02)).any())


def _dirty(clean: Floats, noise: Noise | float | None, fs: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Signal with noise, and the noise alone, (12, T) each."""
    if noise is None:
        return clean, np.zeros_like(clean)
    mixture = noise if isinstance(noise, Noise) else draw_mixture(rng)
    added = make_noise(mixture, clean.shape[1], fs, rng)
    if not isinstance(noise, Noise):
        power = np.var(clean, axis=1).mean() / max(float(np.var(added, axis=1).mean()), 1e-30)
        added = added * np.sqrt(power / 10 ** (noise / 10))
    out = clean + added
    for name in mixture.lost:
        out[STANDARD_LEADS.index(name)] = 0.0
    return out, added


def _without(beats: Beats, lost: Sequence[str]) -> Beats:
    """The same beats where nothing is seen in lost leads."""
    rows = [STANDARD_LEADS.index(n) for n in lost]
    times, lone = beats.times.copy(), beats.lone_p.copy()
    times[:, rows] = np.nan
    lone[:, rows] = np.nan
    return replace(beats, times=times, lone_p=lone)


def _summary(heart: Heart, main: int, beats: Beats, leads: Floats, added: Floats, clean: Floats) -> dict[str, Any]:
    """The measurements that are true of the record; `main` is the form of the beats that count."""
    native = np.array([k == "N" for k in beats.kinds], bool)
    rows = beats.overall[native if native.any() else slice(None)]

    def median(a: int, b: int) -> float:
        gap = (rows[:, b] - rows[:, a]) * 1000
        return float(np.nanmedian(gap)) if np.isfinite(gap).any() else float("nan")

    rr = float(np.mean(beats.rr)) if len(beats) > 1 else float("nan")
    qt = median(3, 8)
    wave = leads @ heart.qrs[main].at(np.linspace(heart.qrs[main].begin, heart.qrs[main].end, 300))
    at_j = leads @ heart.t[main].at(np.zeros(1))[:, 0]
    r_at = wave.argmax(axis=1)
    noise_power = float(np.var(added, axis=1).mean())
    return {
        "rate_bpm": 60 / rr,
        "rr_ms": rr * 1000,
        "p_ms": median(0, 2),
        "pr_ms": median(0, 3),
        "qrs_ms": median(3, 5),
        "qt_ms": qt,
        "qtc_ms": qt / np.cbrt(rr),
        "axis_deg": heart.axis_deg,
        "p_axis_deg": heart.p_axis_deg,
        "t_axis_deg": heart.t_axis_deg,
        "j_mv": dict(zip(STANDARD_LEADS, at_j.tolist(), strict=True)),
        "q_mv": {n: float(min(w[: r + 1].min(), 0.0)) for n, w, r in zip(STANDARD_LEADS, wave, r_at, strict=True)},
        "r_mv": {n: float(max(w.max(), 0.0)) for n, w in zip(STANDARD_LEADS, wave, strict=True)},
        "s_mv": {n: float(min(w[r:].min(), 0.0)) for n, w, r in zip(STANDARD_LEADS, wave, r_at, strict=True)},
        "snr_db": float("inf") if noise_power == 0 else float(10 * np.log10(np.var(clean, axis=1).mean() / noise_power)),
    }
