"""From labels to the waves of one heart: how activation and recovery look in each lead for each condition.

QRS complexes are sums of heart vectors in the order in which the ventricles are activated (septum, free wall, base;
Durrer et al., Circulation 1970;41:899), in Frank's axes in mV; ST-T changes of a territory are given in the leads in
which they are defined. Criteria: Surawicz et al., AHA/ACCF/HRS recommendations III (conduction), Circulation
2009;119:e235; Rautaharju et al., IV (ST, T, QT), e241; Hancock et al., V (hypertrophy), e251; Wagner et al., VI
(ischaemia), e262; Thygesen et al., Fourth Universal Definition of MI, 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from einthoven.record import STANDARD_LEADS, EcgError
from einthoven.synth.conditions import rhythm_of
from einthoven.synth.waves import DOWER, INDEPENDENT, TWELVE, Floats, Part, Wave, build, humps, part

ECTOPIC_P, PVC, ESCAPE, PACED, PVC_OTHER = 1, 1, 2, 3, 4  # forms beside the heart's own, which is 0


@dataclass(frozen=True)
class Heart:
    """The waves and times of one heart. p: sinus, ectopic. qrs and t: own, PVC, ventricular escape, paced, second PVC;
    `qrs_ms` of each."""

    p: tuple[Wave, ...]
    qrs: tuple[Wave, ...]
    t: tuple[Wave, ...]
    p_ms: float
    pr_ms: float
    qrs_ms: tuple[float, ...]
    qtc_ms: float
    qt_ms: float | None
    axis_deg: float
    p_axis_deg: float
    t_axis_deg: float


WIDE = ("ventricular_tachycardia", "idioventricular_rhythm", "ventricular_pacing", "dual_pacing")
_NEEDED: dict[int, set[str]] = {
    PVC: {"pvc", "pvc_couplet", "bigeminy", "trigeminy", "ventricular_tachycardia"},
    ESCAPE: {"idioventricular_rhythm", "av_block_3"},
    PACED: {"ventricular_pacing", "dual_pacing"},
    PVC_OTHER: {"pvc"},
}

# Heart vectors: (on, peak, off, (left, feet, back)) in the QRS's own time.
Loop = tuple[tuple[float, float, float, tuple[float, float, float]], ...]

NATIVE: Loop = (
    (0.00, 0.19, 0.40, (-0.13, -0.02, -0.25)),
    (0.10, 0.35, 0.58, (0.32, 0.22, -0.27)),
    (0.16, 0.45, 0.74, (1.00, 0.76, 0.60)),
    (0.46, 0.68, 1.00, (-0.20, -0.12, 0.58)),
)
LBBB: Loop = (
    (0.00, 0.14, 0.34, (0.12, 0.12, -0.06)),
    (0.04, 0.33, 0.60, (0.72, 0.42, 0.55)),
    (0.24, 0.50, 0.78, (0.30, 0.16, 0.55)),
    (0.38, 0.66, 1.00, (0.72, 0.14, 0.50)),
)
RBBB: Loop = (
    (0.00, 0.13, 0.27, (-0.14, -0.02, -0.34)),
    (0.06, 0.23, 0.39, (0.30, 0.22, -0.18)),
    (0.09, 0.30, 0.51, (1.15, 0.70, 0.30)),
    (0.28, 0.44, 0.62, (0.05, -0.10, 0.22)),
    (0.38, 0.66, 1.00, (-0.46, 0.06, -0.60)),
)
LAFB: Loop = (
    (0.00, 0.17, 0.38, (-0.18, 0.34, -0.16)),
    (0.12, 0.42, 0.72, (0.95, -0.55, 0.30)),
    (0.30, 0.60, 0.92, (0.30, -0.55, 0.30)),
    (0.50, 0.76, 1.00, (-0.18, -0.14, 0.32)),
)
LPFB: Loop = (
    (0.00, 0.18, 0.40, (0.26, -0.34, -0.20)),
    (0.12, 0.45, 0.78, (-0.10, 1.15, 0.20)),
    (0.10, 0.36, 0.60, (0.40, 0.10, -0.10)),
    (0.44, 0.70, 1.00, (-0.50, 0.25, 0.30)),
)
IVCD: Loop = (
    (0.00, 0.18, 0.38, (-0.10, -0.02, -0.26)),
    (0.10, 0.34, 0.58, (0.75, 0.52, 0.15)),
    (0.36, 0.55, 0.76, (0.55, 0.40, 0.42)),
    (0.50, 0.76, 1.00, (-0.12, -0.16, 0.45)),
)
RVH: Loop = (
    (0.00, 0.20, 0.42, (-0.10, 0.02, -0.22)),
    (0.12, 0.36, 0.62, (0.42, 0.50, 0.05)),
    (0.18, 0.48, 0.80, (-0.72, 0.70, -0.72)),
    (0.48, 0.72, 1.00, (-0.40, -0.10, 0.20)),
)
# Directions in which ectopic activation runs: from the right outflow tract, right apex, left lateral wall, left inferior wall.
ORIGINS: tuple[tuple[float, float, float], ...] = (
    (0.25, 1.25, 0.75),
    (0.70, -1.0, 0.75),
    (-0.85, 0.55, -0.75),
    (-0.35, -1.05, -0.75),
)

# Territories: ST elevation in the eight independent leads, mV (I, II, V1..V6); reciprocal changes come with the signs.
ST_ELEVATION: dict[str, tuple[float, ...]] = {
    "stemi_anterior": (0.06, -0.06, 0.16, 0.34, 0.40, 0.32, 0.16, 0.05),
    "stemi_inferior": (-0.08, 0.19, -0.02, -0.08, -0.06, -0.02, 0.03, 0.06),
    "stemi_lateral": (0.17, -0.01, -0.06, -0.06, -0.03, 0.05, 0.18, 0.19),
    "stemi_posterior": (0.00, 0.03, -0.10, -0.18, -0.16, -0.06, 0.01, 0.03),
    "ischaemia_anterior": (-0.01, -0.01, -0.03, -0.13, -0.17, -0.16, -0.09, -0.03),
    "ischaemia_inferior": (0.02, -0.12, 0.00, 0.00, 0.00, 0.00, -0.01, -0.03),
    "ischaemia_lateral": (-0.12, -0.05, 0.02, 0.00, -0.04, -0.10, -0.15, -0.13),
    "pericarditis": (0.10, 0.15, 0.02, 0.14, 0.17, 0.17, 0.15, 0.12),
    "hypokalaemia": (-0.04, -0.06, 0.00, -0.06, -0.07, -0.07, -0.06, -0.05),
    "digitalis": (-0.07, -0.08, 0.01, 0.00, -0.04, -0.09, -0.11, -0.09),
}
# What is added to the T wave with it, mV, and by how much the T wave's own height is multiplied first.
T_CHANGE: dict[str, tuple[float, tuple[float, ...]]] = {
    "stemi_anterior": (0.9, (0.02, 0.00, 0.10, 0.30, 0.35, 0.25, 0.10, 0.00)),
    "stemi_inferior": (0.9, (-0.06, 0.18, -0.02, -0.10, -0.06, 0.00, 0.00, 0.00)),
    "stemi_lateral": (0.9, (0.14, -0.02, -0.05, -0.05, 0.00, 0.05, 0.18, 0.18)),
    "stemi_posterior": (0.7, (0.00, 0.04, 0.20, 0.30, 0.25, 0.08, 0.00, 0.00)),
    "ischaemia_anterior": (0.5, (-0.01, 0.00, -0.08, -0.38, -0.52, -0.46, -0.28, -0.10)),
    "ischaemia_inferior": (0.6, (0.05, -0.36, 0.00, 0.02, 0.02, 0.00, -0.02, -0.05)),
    "ischaemia_lateral": (0.6, (-0.24, -0.08, 0.03, 0.03, -0.06, -0.24, -0.36, -0.30)),
    "pericarditis": (0.9, (0, 0, 0, 0, 0, 0, 0, 0)),
    "hypokalaemia": (0.28, (0, 0, 0, 0, 0, 0, 0, 0)),
    "digitalis": (0.45, (0, 0, 0, 0, 0, 0, 0, 0)),
}
# Leads (of the eight) whose first 40 ms an old infarction turns negative.
SCAR: dict[str, tuple[str, ...]] = {
    "old_mi_anterior": ("V1", "V2", "V3", "V4"),
    "old_mi_inferior": ("II",),
    "old_mi_lateral": ("I", "V5", "V6"),
}
# The leads a reader looks at for it, in which Q of >= 40 ms is warranted.
SCAR_LEADS: dict[str, tuple[str, ...]] = {
    "old_mi_anterior": ("V1", "V2", "V3"),
    "old_mi_inferior": ("II", "III", "aVF"),
    "old_mi_lateral": ("I", "aVL", "V5", "V6"),
}

OVERRIDES = ("pr_ms", "p_ms", "qrs_ms", "qt_ms", "qtc_ms", "axis_deg", "hrv", "amplitude")


def draw_heart(labels: Sequence[str], rng: np.random.Generator, leads: Floats, sex: str, overrides: dict[str, float]) -> Heart:
    """A heart with these conditions; what varies between people is drawn. `leads` (12, 8) as in `waves.build`."""
    unknown = [n for n in overrides if n not in OVERRIDES]
    if unknown:
        raise EcgError(f"no override {', '.join(unknown)} (there are {', '.join(OVERRIDES)})")
    on = set(labels)
    man = sex == "male"
    # the heart lies a little differently in each chest, and the electrodes a little differently on it; the limb leads of
    # the Dower torso are larger than those of the ECGs of PTB-XL
    field = _turned(DOWER, rng.normal(0, 11), rng.normal(0, 6)) * (1 + 0.05 * rng.standard_normal((8, 3)))
    field *= np.exp(rng.normal(0, 0.13, 8) * np.r_[0, 0, np.ones(6)] + np.log(np.r_[[0.84] * 2, [1.0] * 6]))[:, None]
    gain = overrides.get("amplitude", float(np.clip(np.exp(rng.normal(0.05 if man else -0.05, 0.2)), 0.62, 1.55)))

    qrs_ms = overrides.get("qrs_ms", _qrs_ms(on, man, rng))
    loop = next((table for n, table in _LOOPS if n in on), NATIVE)
    own = _activation(loop, field, rng, gain)
    own, t_mv = _native(own, on, field, gain, man, qrs_ms, rng)
    target = overrides.get("axis_deg", _axis(on, rng))
    if target is not None:
        if "rbbb" in on and "axis_deg" not in overrides:
            own = (
                _to_axis(own[:-1], target) + own[-1:]
            )  # the axis is the left ventricle's; the late vector stays where it points
        else:
            own = _to_axis(own, target)
        if not on & {"lbbb", "wpw"}:
            # T follows QRS halfway: the frontal angle between them is below 45 degrees in most hearts
            t_axis = float(np.clip(0.45 * target + 24 + rng.normal(0, 8), 12, 72))
            t_mv = _to_axis([part(0, 0.5, 1, t_mv)], t_axis)[0].mv
    own = _meet(own, on, man, qrs_ms, rng)
    qrs_mv = _net(own)
    scale = 1.0 if "low_voltage" not in on else 0.45
    repol = _recovery(on, scale * t_mv, qrs_mv, qrs_ms, field, rng, gain, man)

    qrs, t, widths = [build("qrs", own, leads)], [build("t", repol, leads)], [qrs_ms]
    for form in (PVC, ESCAPE, PACED, PVC_OTHER):
        if not on & _NEEDED[form]:
            qrs, t, widths = qrs + qrs[:1], t + t[:1], widths + widths[:1]
            continue
        origin = ORIGINS[1 if form == PACED else int(rng.integers(4))]
        ectopic = _activation(_ectopic_loop(origin, rng), field, rng, gain * (1.0 if form == PACED else rng.uniform(0.9, 1.25)))
        qrs.append(build("qrs", ectopic, leads))
        t.append(build("t", _secondary(_net(ectopic), rng, 0.5), leads))
        widths.append(float(rng.uniform(150, 175) if form == PACED else rng.uniform(130, 165)))
    if "qrs_ms" in overrides and rhythm_of(tuple(labels)) in WIDE:
        widths[1:] = [qrs_ms] * 4
    p_parts, ectopic_p = _atria(on, field, rng)
    return Heart(
        p=(build("p", p_parts, leads), build("p", ectopic_p, leads)),
        qrs=tuple(qrs),
        t=tuple(t),
        p_ms=overrides.get("p_ms", _p_ms(on, rng)),
        pr_ms=overrides.get("pr_ms", _pr_ms(on, rng)),
        qrs_ms=tuple(widths),
        qtc_ms=overrides.get("qtc_ms", _qtc_ms(on, man, rng)),
        qt_ms=overrides.get("qt_ms"),
        axis_deg=axis(_net(own)),
        p_axis_deg=axis(_net(p_parts)),
        t_axis_deg=axis(_net([p for p in repol if p.role == ""])),
    )


_LOOPS = (("lbbb", LBBB), ("rbbb", RBBB), ("lafb", LAFB), ("lpfb", LPFB), ("ivcd", IVCD), ("rvh", RVH))


def _qrs_ms(on: set[str], man: bool, rng: np.random.Generator) -> float:
    if "lbbb" in on:
        return float(rng.uniform(128, 165))
    if "rbbb" in on:
        return float(rng.uniform(124, 155))
    if "ivcd" in on or "hyperkalaemia" in on:
        return float(rng.uniform(122, 150))
    if "wpw" in on:
        return float(rng.uniform(114, 140))
    if "irbbb" in on or "lafb" in on or "lpfb" in on or "lvh" in on:
        return float(rng.uniform(100, 112))
    return float(np.clip(rng.normal(95 if man else 88, 7), 74, 108))


def _pr_ms(on: set[str], rng: np.random.Generator) -> float:
    if "av_block_1" in on:
        return float(rng.uniform(215, 300))
    if "wpw" in on:
        return float(rng.uniform(88, 114))
    if "hyperkalaemia" in on:
        return float(rng.uniform(190, 230))
    if "sinus_tachycardia" in on:
        return float(np.clip(rng.normal(138, 10), 118, 160))
    return float(np.clip(rng.normal(158, 16), 124, 196))


def _p_ms(on: set[str], rng: np.random.Generator) -> float:
    if "wpw" in on:
        return float(rng.uniform(76, 86))
    if "left_atrial_enlargement" in on:
        return float(rng.uniform(122, 136))
    return float(np.clip(rng.normal(102, 8), 82, 116))


def _qtc_ms(on: set[str], man: bool, rng: np.random.Generator) -> float:
    """Fridericia."""
    if "long_qt" in on:
        return float(rng.uniform(485, 580))
    if "short_qt" in on:
        return float(rng.uniform(300, 330))
    if "hypokalaemia" in on:
        return float(rng.uniform(430, 460))
    if "digitalis" in on:
        return float(rng.uniform(350, 380))
    wide = 28.0 if on & {"lbbb", "rbbb", "ivcd", "wpw"} else 0.0
    return float(np.clip(rng.normal(404 if man else 414, 14), 370, 442) + wide)


def _axis(on: set[str], rng: np.random.Generator) -> float | None:
    """The frontal QRS axis that is asked of the native beat, degrees; None leaves it as the vectors give it."""
    if "lafb" in on:
        return float(rng.uniform(-54, -46) if "rbbb" in on else rng.uniform(-75, -48))
    if "lpfb" in on:
        return float(rng.uniform(98, 125))
    if "rvh" in on:
        return float(rng.uniform(112, 140))
    if "lbbb" in on:
        return float(rng.uniform(-25, 50))
    if on & set(SCAR) or "low_voltage" in on:
        return None
    if "lvh" in on or "rbbb" in on:
        return float(rng.uniform(-20, 40))
    return float(np.clip(rng.normal(48, 24), -18, 86))


def _turned(field: Floats, yaw: float, pitch: float) -> Floats:
    """A lead field for a heart turned about the axis from head to feet (`yaw`) and about that from left to right, degrees."""
    a, b = np.deg2rad(yaw), np.deg2rad(pitch)
    about_y = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    out: Floats = field @ about_y @ about_x
    return out


def _activation(loop: Loop, field: Floats, rng: np.random.Generator, gain: float) -> list[Part]:
    """The parts of a QRS, each vector and time a little different from one heart to the next."""
    out = []
    for on, peak, off, vector in loop:
        v = np.array(vector)
        v = gain * (v * np.exp(rng.normal(0, 0.08)) + 0.06 * np.linalg.norm(v) * rng.standard_normal(3))
        shift = rng.normal(0, 0.012)
        out.append(
            part(
                max(on + (shift if on else 0), 0),
                peak + shift,
                min(off + (shift if off < 1 else 0), 1),
                field @ v,
                power=rng.uniform(1.8, 2.6),
            )
        )
    return out


def _squeezed(p: Part, start: float, end: float) -> Part:
    """The part in a stretch of its own time."""
    on, top, hold, off = (start + (end - start) * x for x in (p.on, p.top, p.hold, p.off))
    return replace(p, on=on, top=top, hold=hold, off=off)


def _ectopic_loop(way: tuple[float, float, float], rng: np.random.Generator) -> Loop:
    """Slow activation from one place through muscle: two overlapping, blunt vectors."""
    v = np.array(way)
    a, b, c = (v * s + rng.normal(0, 0.12, 3) for s in (0.35, 0.9, 0.55))
    return ((0.0, 0.22, 0.50, _xyz(a)), (0.06, 0.42, 0.80, _xyz(b)), (0.34, 0.66, 1.0, _xyz(c)))


def _xyz(v: Floats) -> tuple[float, float, float]:
    return float(v[0]), float(v[1]), float(v[2])


def _area(p: Part) -> float:
    """Area under a part's hump in its own time."""
    x = np.linspace(p.on, p.off, 101)
    y = humps(x[None], np.array([[[p.on], [p.top], [p.hold], [p.off]]]), np.array([[p.power]]))[0]
    return float(np.trapezoid(y, x))


def _net(parts: Sequence[Part]) -> Floats:
    """(8,) net area of a wave in the independent leads (mV times own time)."""
    out: Floats = np.sum([_area(p) * p.mv for p in parts], axis=0)
    return out


def axis(mv: Floats) -> float:
    """Frontal axis in degrees of (8,) net areas: atan2 of 2/sqrt(3) aVF and I."""
    return float(np.rad2deg(np.arctan2((mv[1] - mv[0] / 2) * 2 / np.sqrt(3), mv[0])))


def _to_axis(parts: Sequence[Part], target: float) -> list[Part]:
    """The parts turned in the frontal plane of an equilateral triangle until the net axis is `target`; chest leads stay."""
    turn = np.deg2rad(target - axis(_net(parts)))
    out = []
    for p in parts:
        x, y = p.mv[0], (p.mv[1] - p.mv[0] / 2) * 2 / np.sqrt(3)
        x, y = x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)
        mv = p.mv.copy()
        mv[:2] = x, y * np.sqrt(3) / 2 + x / 2
        out.append(replace(p, mv=mv))
    return out


def _shape(parts: Sequence[Part], samples: int = 240) -> Floats:
    """(12, samples) mV of a wave over its own time 0..1."""
    own = np.linspace(0, 1, samples)
    times = np.array([[p.on, p.top, p.hold, p.off] for p in parts])
    each = humps(own[None], times[:, :, None], np.array([p.power for p in parts])[:, None])
    out: Floats = TWELVE @ np.stack([p.mv for p in parts]).T @ each
    return out


def _native(
    parts: list[Part], on: set[str], field: Floats, gain: float, man: bool, qrs_ms: float, rng: np.random.Generator
) -> tuple[list[Part], Floats]:
    """Conditions that add to the activation; and (8,) mV of the primary T wave."""
    t_gain = gain * np.exp(rng.normal(0.0 if man else -0.15, 0.2))
    t_mv = t_gain * (field @ (np.array([0.29, 0.24, -0.15]) + rng.normal(0, 0.025, 3)))
    if "irbbb" in on:
        terminal = np.array([-0.30, 0.0, -0.42]) * gain
        parts = parts[:-1] + [replace(parts[-1], mv=0.4 * parts[-1].mv, off=0.85), part(0.56, 0.78, 1.0, field @ terminal)]
    if "rbbb" in on:
        # the terminal forces point away from I and V6 in every such heart
        late = replace(parts[-1], mv=np.minimum(parts[-1].mv, np.array([-0.22, 9, 9, 9, 9, 9, 9, -0.26]) * gain))
        first = next((table for name, table in (("lafb", LAFB), ("lpfb", LPFB)) if name in on), None)
        if first is not None:
            # the left bundle's half of the QRS is that of the fascicular block
            parts = [_squeezed(p, 0.0, 0.55) for p in _activation(first, field, rng, gain)] + [late]
        else:
            parts = parts[:-1] + [late]
    if "wpw" in on:
        # delta wave: slow early muscle activation from the pathway, before and under a later native QRS
        way = [(0.42, 0.22, 0.12), (0.36, 0.30, -0.42), (0.34, -0.20, -0.30), (0.30, -0.26, 0.20)][int(rng.integers(4))]
        delta = part(0.0, 0.42, 0.74, field @ (0.74 * gain * np.array(way)), power=2.0)
        parts = [delta, *(_squeezed(p, 0.32, 1.0) for p in parts[1:])]
    if "lvh" in on:
        boost = np.array([0.55, 0.10, 0.55]) * gain
        parts = parts + [part(0.14, 0.47, 0.80, field @ boost)]
    if rng.random() < 0.35 and not on & {"lbbb", "wpw"}:
        # a slur or notch, as most hearts have somewhere
        where = rng.uniform(0.3, 0.7)
        parts = [part(where - 0.11, where, where + 0.11, field @ rng.normal(0, 0.07, 3)), *parts]
    return parts, t_mv


def _meet(parts: list[Part], on: set[str], man: bool, qrs_ms: float, rng: np.random.Generator) -> list[Part]:
    """Amplitudes moved, where needed, until the criterion of the label holds."""
    if "low_voltage" in on:
        wave = _shape(parts)
        span = np.ptp(np.concatenate([wave, np.zeros((12, 1))], axis=1), axis=1)
        limb, chest = rng.uniform(0.30, 0.46) / span[:6].max(), rng.uniform(0.60, 0.92) / span[6:].max()
        parts = [replace(p, mv=p.mv * np.r_[[limb] * 2, [chest] * 6]) for p in parts]
    if "lbbb" in on:
        # the septum is activated from the right: no q in I, V5, V6
        least = np.array([0.03, -9, -9, -9, -9, -9, 0.03, 0.03])
        parts = [replace(p, mv=np.maximum(p.mv, least)) for p in parts]
    if "lvh" in on:
        want = rng.uniform(3.8, 5.2)
        wave = _shape(parts)
        have = -wave[6].min() + wave[10:12].max()
        parts = [replace(p, mv=p.mv * np.r_[[max(1.0, np.sqrt(want / have))] * 2, [max(1.0, want / have)] * 6]) for p in parts]
    if "rvh" in on:
        wave = _shape(parts)
        boost = max(1.0, rng.uniform(0.8, 1.3) / wave[6].max())
        parts = [replace(p, mv=p.mv * np.r_[[1.0] * 2, [boost], [1.0] * 5]) for p in parts]
    for name, leads in SCAR.items():
        if name in on:
            parts = _scarred(parts, name, leads, qrs_ms, rng)
    return parts


def _scarred(parts: list[Part], name: str, leads: tuple[str, ...], qrs_ms: float, rng: np.random.Generator) -> list[Part]:
    """Activation without the dead muscle: the first 40 ms and more turn away from it in `leads`."""
    at = np.array([lead in leads for lead in INDEPENDENT])
    keep = rng.uniform(0.35, 0.6)
    # what points away from the scar stays, what points to it is weaker, and the first forces are gone
    early = [replace(p, mv=np.where(at & (p.mv > 0), p.mv * (0.0 if p.top < 0.4 else keep), p.mv)) for p in parts]
    depth = rng.uniform(0.16, 0.30)
    until = max(0.60, 52 / qrs_ms)
    looked_at = [STANDARD_LEADS.index(n) for n in SCAR_LEADS[name]]
    if name == "old_mi_anterior":
        early = [replace(p, mv=np.where(at & (p.mv > 0), 0.3 * p.mv, p.mv)) for p in early]
    for _ in range(24):
        out = early + [part(0.0, 0.5 * until, until, np.where(at, -depth, 0.0), power=1.5)]
        wave = _shape(out)[looked_at]
        first_up = np.array(
            [(np.flatnonzero(w > 0.0)[:1].tolist() or [len(w)])[0] for w in np.where(np.abs(wave) < 0.015, -1e-9, wave)]
        )
        if (first_up / wave.shape[1] * qrs_ms >= 43).all() and (wave.min(axis=1) < -0.12).all():
            return out
        depth *= 1.12
        early = [replace(p, mv=np.where(at & (p.mv > 0), 0.93 * p.mv, p.mv)) for p in early]
        if name == "old_mi_inferior":  # III = II - I turns with I's early forces too
            early = [replace(p, mv=p.mv * np.r_[[0.97 if p.mv[0] < 0 else 1.0], [1.0] * 7]) for p in early]
        if name == "old_mi_lateral":  # aVL = I - II/2 turns with II's early forces too
            early = [replace(p, mv=p.mv * np.r_[[1.0], [0.95 if p.mv[1] < 0 else 1.0], [1.0] * 6]) for p in early]
    return out


def _recovery(
    on: set[str], t_mv: Floats, qrs_mv: Floats, qrs_ms: float, field: Floats, rng: np.random.Generator, gain: float, man: bool
) -> list[Part]:
    """The parts of the native ST-T in its own time: 0 is the J point, 1 about the end of T."""
    if on & {"lbbb", "wpw"}:
        return _secondary(qrs_mv, rng, 0.52 if "lbbb" in on else 0.3)
    start, top = rng.uniform(0.06, 0.18), rng.uniform(0.66, 0.73)
    slope = np.array([0.0, 0.01, 0.01, 0.05, 0.05, 0.03, 0.01, 0.0]) * (1.0 if man else 0.4) * rng.uniform(0.3, 1.3)
    sagging = 0.0
    for name, st in ST_ELEVATION.items():
        if name in on:
            severity = rng.uniform(0.9, 1.6)
            slope = 0.4 * slope * (np.array(st) >= 0) + severity * np.array(st)
            share, change = T_CHANGE[name]
            t_mv = share * t_mv + severity * np.array(change)
            sagging = 1.0 if name == "digitalis" else 0.0
    for name, leads in SCAR.items():
        if name in on and rng.random() < 0.5:
            t_mv = np.where(np.isin(INDEPENDENT, leads), -0.7 * np.abs(t_mv), t_mv)
    if "hyperkalaemia" in on:
        start, top = 0.42, rng.uniform(0.68, 0.72)
        t_mv = np.sign(t_mv) * np.maximum(np.abs(t_mv) * rng.uniform(1.9, 2.6), [0.2, 0.5, 0.1, 0.6, 0.9, 0.9, 0.6, 0.4])
    if "rbbb" in on:
        t_mv = t_mv * 0.8 + np.array([0.04, 0.0, -0.28, -0.18, -0.03, 0.0, 0.0, 0.02]) * gain
        t_mv[2] = min(t_mv[2], -0.07 * gain)
        slope = slope * 0.5 + np.array([0.01, 0, -0.03, -0.03, 0, 0, 0, 0])
    if "lvh" in on and rng.random() < 0.6:
        slope = slope * 0.5 + np.array([-0.07, -0.03, 0.10, 0.12, 0.06, -0.04, -0.11, -0.10])
        t_mv = t_mv * np.array([0.2, 0.4, 0.8, 1.0, 0.9, 0.3, 0.1, 0.1]) + np.array(
            [-0.18, -0.05, 0.10, 0.12, 0.08, -0.08, -0.30, -0.26]
        )
    if "rvh" in on:
        slope = slope * 0.3 + np.array([0.01, -0.04, -0.07, -0.08, -0.05, 0, 0, 0])
        t_mv = t_mv * np.array([1, 0.6, 0.1, 0.1, 0.5, 0.8, 1, 1]) + np.array([0.02, -0.08, -0.22, -0.26, -0.14, 0, 0, 0])
    other = t_mv * (1 + 0.08 * rng.standard_normal(8))
    parts = [
        part(start, top - 0.02, 0.985, 0.4 * t_mv, power=2.3),
        part(start + 0.16, top, 0.97, 0.4 * t_mv),
        part(start + 0.10, top + 0.03, 1.0, 0.25 * other),
    ]
    if np.abs(slope).max() > 0.004:
        peak = 0.30 if sagging else 0.03
        parts.append(
            part(
                -0.10 if not sagging else -0.05,
                peak,
                0.92 if "hypokalaemia" not in on else 0.72,
                slope,
                power=1.6,
                hold=0.36,
                role="st",
            )
        )
    if "hypokalaemia" in on:
        parts.append(part(0.92, 1.13, 1.42, field @ np.array([0.12, 0.08, -0.09]) * rng.uniform(0.9, 1.3), role="u"))
    elif "hyperkalaemia" not in on and rng.random() < 0.3:
        parts.append(part(1.03, 1.13, 1.30, 0.07 * t_mv * np.array([0.3, 0.5, 0.5, 1, 1, 0.8, 0.5, 0.3]), role="u"))
    return parts


def _secondary(qrs_mv: Floats, rng: np.random.Generator, much: float) -> list[Part]:
    """ST and T against the QRS, as after any abnormal activation; `qrs_mv` (8,) its net area."""
    t = -much * rng.uniform(0.85, 1.15) * qrs_mv * 1.5
    st = -0.30 * much * qrs_mv
    return [
        part(0.10, 0.58, 0.985, 0.6 * t),
        part(0.14, 0.63, 1.0, 0.4 * t * (1 + 0.1 * rng.standard_normal(8))),
        part(-0.16, 0.02, 0.86, st, power=1.6, hold=0.30, role="st"),
    ]


def _atria(on: set[str], field: Floats, rng: np.random.Generator) -> tuple[list[Part], list[Part]]:
    """The sinus P wave (right atrium, then left) and one from an ectopic focus."""
    gain = float(np.clip(np.exp(rng.normal(0.05, 0.25)), 0.78, 1.6))
    right = gain * np.array([0.045, 0.085, -0.045]) * np.exp(rng.normal(0, 0.15))
    left = gain * np.array([0.090, 0.050, 0.050]) * np.exp(rng.normal(0, 0.15))
    split = 0.0
    if "left_atrial_enlargement" in on:
        left, split = np.array([0.085, 0.055, 0.10]) * rng.uniform(1.15, 1.4), 0.05
    if "right_atrial_enlargement" in on:
        right = np.array([0.03, 0.25, -0.10]) * rng.uniform(1.25, 1.55)
    if "hyperkalaemia" in on:
        right, left = 0.4 * right, 0.4 * left
    turn = rng.normal(0, 0.007, 3)
    sinus = [
        part(0.0, 0.36 - split, 0.78, field @ (right + turn)),
        part(0.22 + split, 0.63 + split, 1.0, field @ (left + turn)),
    ]
    way = np.array([(0.02, -0.13, 0.02), (-0.07, 0.07, -0.05), (0.05, 0.13, 0.06)][int(rng.integers(3))])
    focus = [part(0.0, 0.40, 0.82, field @ (0.5 * way + rng.normal(0, 0.01, 3))), part(0.2, 0.58, 1.0, field @ (0.6 * way))]
    return sinus, focus
