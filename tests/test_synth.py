"""The simulator is the test bench of everything, so here it is measured by rules that share no code with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from einthoven.beats.fiducials import FIDUCIALS, Beats
from einthoven.record import STANDARD_LEADS, EcgError, einthoven_residual
from einthoven.synth import CONDITIONS, Noise, Simulation, random_simulation, simulate

Floats = NDArray[np.float64]
P_ON, P_PEAK, P_OFF, QRS_ON, R_PEAK, QRS_OFF, T_ON, T_PEAK, T_OFF = range(9)
LIMB, CHEST = STANDARD_LEADS[:6], STANDARD_LEADS[6:]
SEEDS = range(8)


class Seen:
    """One beat of a noiseless ECG as a reader with calipers sees it, zero at the QRS onset."""

    def __init__(self, sim: Simulation, kind: str = "N", seed: int = 0) -> None:
        self.sim, self.fs, self.seed = sim, sim.record.fs, seed
        whole = [i for i, k in enumerate(sim.beats.kinds) if k == kind and np.isfinite(sim.beats.overall[i, 3:]).all()]
        assert whole, f"no whole beat of kind {kind}"
        self.at = sim.beats.overall[whole[len(whole) // 2]]
        self.lead_at = sim.beats.times[whole[len(whole) // 2]]
        zero = sim.clean[:, self.sample(QRS_ON) - 2].astype(float)
        self.mv = sim.clean.astype(float) - zero[:, None]

    def sample(self, fiducial: int, plus: float = 0.0) -> int:
        return round((self.at[fiducial] + plus) * self.fs)

    def qrs(self, lead: str) -> Floats:
        return self.mv[STANDARD_LEADS.index(lead), self.sample(QRS_ON) : self.sample(QRS_OFF) + 1]

    def r(self, lead: str) -> float:
        return max(float(self.qrs(lead).max()), 0.0)

    def s(self, lead: str) -> float:
        """Depth of the deepest negative deflection after the R."""
        w = self.qrs(lead)
        return max(float(-w[w.argmax() :].min()), 0.0)

    def depth(self, lead: str) -> float:
        return max(float(-self.qrs(lead).min()), 0.0)

    def signs(self, lead: str, least: float = 0.05) -> str:
        """The deflections of the QRS in their order, "-+-" for qRs, those below `least` mV left out."""
        out = ""
        w = self.qrs(lead)
        start = 0
        for edge in [*np.flatnonzero(np.diff(np.sign(w))).tolist(), len(w) - 1]:
            piece = w[start : edge + 1]
            start = edge + 1
            if edge == len(w) - 1 and np.abs(piece).argmax() == len(piece) - 1:
                break  # on its way to a J point that is not at zero
            if len(piece) and np.abs(piece).max() >= least:
                sign = "+" if piece[np.abs(piece).argmax()] > 0 else "-"
                out += "" if out.endswith(sign) else sign
        return out

    def q_ms(self, lead: str) -> float:
        """Duration of a negative deflection the QRS begins with."""
        w = self.qrs(lead)
        up = np.flatnonzero(w > 0.02)
        return (up[0] if len(up) else len(w)) / self.fs * 1000

    def st(self, lead: str, ms: float = 40) -> float:
        """mV `ms` after the J point against the QRS onset."""
        return float(self.mv[STANDARD_LEADS.index(lead), self.sample(QRS_OFF, ms / 1000)])

    def t(self, lead: str) -> float:
        """The T wave's extreme."""
        a, b = self.sample(QRS_OFF, 0.08), self.sample(T_OFF)
        w = self.mv[STANDARD_LEADS.index(lead), a:b]
        return float(w[np.abs(w).argmax()])

    def p(self, lead: str) -> Floats:
        return self.mv[STANDARD_LEADS.index(lead), self.sample(P_ON) : self.sample(P_OFF) + 1]

    def ms(self, a: int, b: int) -> float:
        return float((self.at[b] - self.at[a]) * 1000)

    def axis(self) -> float:
        i, avf = self.qrs("I").sum(), self.qrs("aVF").sum() * 2 / np.sqrt(3)
        return float(np.rad2deg(np.arctan2(avf, i)))


def pr(beats: Beats) -> Floats:
    return (beats.overall[:, QRS_ON] - beats.overall[:, P_ON]) * 1000


def all_conducted(s: Seen) -> bool:
    gap = pr(s.sim.beats)
    inside = gap[1:-1]
    return bool(np.isfinite(inside).all() and np.ptp(inside) < 1e-6 and not _blocked(s.sim))


def _blocked(sim: Simulation) -> int:
    """Lone P waves but for one at the record's end, whose QRS comes too late."""
    return int((sim.beats.lone_p_overall[:, 1] < sim.beats.duration - 0.4).sum())


def rr_cv(s: Seen) -> float:
    return float(s.sim.beats.rr.std() / s.sim.beats.rr.mean())


def between_beats(sim: Simulation, lead: str) -> list[Floats]:
    """The stretches from the end of T to the next QRS."""
    w = sim.clean[STANDARD_LEADS.index(lead)].astype(float)
    ends, starts = sim.beats.overall[:-1, T_OFF], sim.beats.overall[1:, QRS_ON]
    return [w[round(a * sim.record.fs) : round(b * sim.record.fs)] for a, b in zip(ends, starts, strict=True) if b - a > 0.45]


def oscillation_hz(sim: Simulation, lead: str) -> float:
    """The frequency with most power between the beats."""
    power = np.zeros(4096)
    f = np.fft.fftfreq(8192, 1 / sim.record.fs)[:4096]
    for w in between_beats(sim, lead):
        power += (
            np.abs(
                np.fft.fft((w - np.poly1d(np.polyfit(np.arange(len(w)), w, 1))(np.arange(len(w)))) * np.hanning(len(w)), 8192)
            )[:4096]
            ** 2
        )
    return float(f[power.argmax()])


def slow(s: Seen) -> Simulation:
    """The same heart at 50 bpm for 20 s: room between the beats."""
    return simulate(*s.sim.labels, rate=50, duration=20, seed=s.seed, fs=s.fs)


def elevated(s: Seen, leads: Sequence[str], least: float = 0.1) -> bool:
    return sum(s.st(n) >= least for n in leads) >= 2


def depressed(s: Seen, leads: Sequence[str], least: float = 0.05) -> bool:
    return sum(s.st(n) <= -least for n in leads) >= 2


def sinus(s: Seen) -> bool:
    return all_conducted(s) and 100 <= s.ms(P_ON, QRS_ON) <= 200 and s.p("II").max() > 0.05 and -s.p("aVR").min() > 0.04


def premature(s: Seen, kind: str, wide: bool) -> bool:
    b = s.sim.beats
    rows = [i for i, k in enumerate(b.kinds) if k == kind and 0 < i < len(b) - 1]
    usual = np.median(b.rr)
    good = [b.rr[i - 1] < 0.86 * usual for i in rows if b.kinds[i - 1] == "N"]
    widths = [(b.overall[i, QRS_OFF] - b.overall[i, QRS_ON]) >= 0.12 for i in rows]
    return bool(rows) and all(good) and (all(widths) if wide else not any(widths))


def compensatory(s: Seen) -> bool:
    """A single PVC leaves the sinus clock alone: two sinus intervals from the beat before to the beat after."""
    b = s.sim.beats
    rows = [i for i, k in enumerate(b.kinds) if k == "V" and 0 < i < len(b) - 1]
    usual = 60 / CONDITIONS[s.sim.labels[-1]].rates[1]
    return all(abs(b.r[i + 1] - b.r[i - 1] - 2 * usual) < 0.16 * usual for i in rows)


def paced(s: Seen, kind: str, chambers: int) -> bool:
    """Each QRS has its spikes before it, and the spike is the fastest thing in the record."""
    spikes = np.array(s.sim.truth["spikes_s"])
    beats = s.sim.beats
    before = [int(((spikes < t) & (spikes > t - 0.32)).sum()) for t in beats.overall[1:, QRS_ON] + 0.001]
    steep = np.abs(np.diff(s.sim.clean.astype(float), axis=1)).max(axis=0)
    at = np.round(spikes * s.fs).astype(int)
    at = at[(at > 2) & (at < len(steep) - 4)]
    found = all(steep[i - 2 : i + 4].max() > 0.08 for i in at)
    return set(beats.kinds) == {kind} and all(n == chambers for n in before) and found and rr_cv(s) < 1e-6


def low(s: Seen) -> bool:
    return all(np.ptp(np.append(s.qrs(n), 0)) < 0.5 for n in LIMB) and all(np.ptp(np.append(s.qrs(n), 0)) < 1.0 for n in CHEST)


def notched(s: Seen, lead: str) -> bool:
    """Broad: above half its height for a third of a wide QRS."""
    w = s.qrs(lead)
    return float((w > 0.5 * w.max()).sum()) / s.fs * 1000 > 40


def swap(*moves: tuple[str, str, float]) -> Callable[[Seen], bool]:
    """Lead `a` of the swapped ECG equals `sign` times lead `b` of the true one, for each move; the rest are as they were."""

    def holds(s: Seen) -> bool:
        true = simulate(seed=s.seed, fs=s.fs)
        told = {a: (b, sign) for a, b, sign in moves}
        return all(
            np.allclose(
                s.sim.clean[i], (told.get(n, (n, 1))[1]) * true.clean[STANDARD_LEADS.index(told.get(n, (n, 1))[0])], atol=1e-5
            )
            for i, n in enumerate(STANDARD_LEADS)
        )

    return holds


def crossed(a: str, b: str) -> Callable[[Seen], bool]:
    return swap((a, b, 1), (b, a, 1))


CRITERIA: dict[str, Callable[[Seen], bool]] = {
    "sinus_rhythm": lambda s: sinus(s) and 60 <= s.sim.truth["rate_bpm"] <= 100 and 70 <= s.ms(QRS_ON, QRS_OFF) <= 110,
    "sinus_bradycardia": lambda s: sinus(s) and s.sim.truth["rate_bpm"] < 60,
    "sinus_tachycardia": lambda s: sinus(s) and s.sim.truth["rate_bpm"] > 100,
    "sinus_arrhythmia": lambda s: sinus(s) and np.ptp(s.sim.beats.rr) > 0.12,
    "sinus_pause": lambda s: sinus(s) and s.sim.beats.rr.max() > 2.0,
    "atrial_fibrillation": lambda s: bool(
        rr_cv(s) > 0.1
        and np.isnan(s.sim.beats.times[:, :, :3]).all()
        and not len(s.sim.beats.lone_p)
        and 3.9 <= oscillation_hz(slow(s), "V1") <= 9
    ),
    "atrial_flutter": lambda s: bool(
        rr_cv(s) < 0.01 and 240 <= s.sim.truth["atrial_rate_bpm"] <= 350 and np.isnan(s.sim.beats.times[:, :, :3]).all()
    ),
    "svt": lambda s: (
        s.sim.truth["rate_bpm"] >= 150
        and s.ms(QRS_ON, QRS_OFF) < 120
        and bool(np.isnan(pr(s.sim.beats)).all())
        and rr_cv(s) < 0.02
    ),
    "ventricular_tachycardia": lambda s: (
        set(s.sim.beats.kinds) == {"V"} and s.sim.truth["rate_bpm"] >= 100 and s.ms(QRS_ON, QRS_OFF) >= 120
    ),
    "junctional_rhythm": lambda s: (
        s.sim.truth["rate_bpm"] <= 65 and s.ms(QRS_ON, QRS_OFF) < 120 and bool(np.isnan(pr(s.sim.beats)).all())
    ),
    "idioventricular_rhythm": lambda s: (
        set(s.sim.beats.kinds) == {"V"} and s.sim.truth["rate_bpm"] < 100 and s.ms(QRS_ON, QRS_OFF) >= 120
    ),
    "atrial_pacing": lambda s: paced(s, "N", 1) and s.ms(QRS_ON, QRS_OFF) < 120,
    "ventricular_pacing": lambda s: paced(s, "/", 1) and s.ms(QRS_ON, QRS_OFF) >= 120 and bool(np.isnan(pr(s.sim.beats)).all()),
    "dual_pacing": lambda s: paced(s, "/", 2) and s.ms(QRS_ON, QRS_OFF) >= 120 and bool(np.isfinite(pr(s.sim.beats)[1:]).all()),
    "av_block_1": lambda s: all_conducted(s) and s.ms(P_ON, QRS_ON) > 200,
    "av_block_mobitz_1": lambda s: wenckebach(s.sim.beats),
    "av_block_mobitz_2": lambda s: (
        _blocked(s.sim) >= 1 and bool(np.nanmax(pr(s.sim.beats)) - np.nanmin(pr(s.sim.beats)) < 1e-6)
    ),
    "av_block_2_to_1": lambda s: (
        abs(_blocked(s.sim) - len(s.sim.beats)) <= 1 and bool(np.nanmax(pr(s.sim.beats)) - np.nanmin(pr(s.sim.beats)) < 1e-6)
    ),
    "av_block_3": lambda s: (
        bool(np.isnan(pr(s.sim.beats)).all())
        and s.sim.truth["atrial_rate_bpm"] > 1.1 * s.sim.truth["rate_bpm"]
        and rr_cv(s) < 0.03
    ),
    "pac": lambda s: premature(s, "S", wide=False),
    "blocked_pac": lambda s: (
        _blocked(s.sim) >= 1 and set(s.sim.beats.kinds) == {"N"} and s.sim.beats.rr.max() > 1.2 * np.median(s.sim.beats.rr)
    ),
    "pvc": lambda s: premature(s, "V", wide=True) and compensatory(s),
    "pvc_couplet": lambda s: premature(s, "V", wide=True) and "VV" in "".join(s.sim.beats.kinds),
    "bigeminy": lambda s: "NVNVNV" in "".join(s.sim.beats.kinds) and "VV" not in "".join(s.sim.beats.kinds) and compensatory(s),
    "trigeminy": lambda s: "NNVNNV" in "".join(s.sim.beats.kinds) and compensatory(s),
    "lbbb": lambda s: (
        s.ms(QRS_ON, QRS_OFF) >= 120
        and all(notched(s, n) and not s.signs(n).startswith("-") for n in ("I", "V6"))
        and s.signs("V1") in ("-", "+-")
        and s.r("V1") < 0.3 * s.depth("V1")
        and s.t("V1") > 0 > s.t("V6")
        and s.t("I") < 0
        and s.st("V1") > 0 > s.st("V6")
    ),
    "rbbb": lambda s: (
        s.ms(QRS_ON, QRS_OFF) >= 120
        and s.signs("V1", 0.03) in ("+-+", "-+", "+")
        and s.qrs("V1").argmax() > 0.5 * len(s.qrs("V1"))
        and all(s.signs(n, 0.03).endswith("-") and tail_ms(s, n) >= 40 for n in ("I", "V6"))
        and s.t("V1") < 0
    ),
    "irbbb": lambda s: 100 <= s.ms(QRS_ON, QRS_OFF) < 120 and s.signs("V1", 0.03) == "+-+" and s.signs("V6").endswith("-"),
    "ivcd": lambda s: s.ms(QRS_ON, QRS_OFF) >= 120 and s.signs("V1").startswith("+-") and s.s("V1") > s.r("V1"),
    "wpw": lambda s: s.ms(P_ON, QRS_ON) < 120 and s.ms(QRS_ON, QRS_OFF) >= 110 and slow_start(s),
    "lafb": lambda s: (
        -90 <= s.axis() <= -45
        and s.ms(QRS_ON, QRS_OFF) < 120
        and s.signs("aVL", 0.03).startswith("-+")
        and all(s.signs(n, 0.03).startswith("+-") for n in ("II", "III", "aVF"))
    ),
    "lpfb": lambda s: (
        90 <= s.axis() <= 180
        and s.ms(QRS_ON, QRS_OFF) < 120
        and all(s.signs(n, 0.03).startswith("+-") for n in ("I", "aVL"))
        and all(s.signs(n, 0.03).startswith("-+") for n in ("III", "aVF"))
    ),
    "lvh": lambda s: s.depth("V1") + max(s.r("V5"), s.r("V6")) >= 3.5,
    "rvh": lambda s: s.r("V1") > s.s("V1") and s.r("V1") >= 0.7 and s.axis() >= 90,
    "low_voltage": low,
    "left_atrial_enlargement": lambda s: (
        s.ms(P_ON, P_OFF) >= 120 and s.p("V1").min() <= -0.1 + 0.0 and (s.p("V1") < -0.02).sum() / s.fs >= 0.04
    ),
    "right_atrial_enlargement": lambda s: s.p("II").max() > 0.25,
    "stemi_anterior": lambda s: elevated(s, ("V2", "V3"), 0.2) and elevated(s, ("V3", "V4"), 0.1),
    "stemi_inferior": lambda s: elevated(s, ("II", "III", "aVF")) and s.st("aVL") <= -0.05 and s.st("III") > s.st("II"),
    "stemi_lateral": lambda s: elevated(s, ("I", "aVL", "V5", "V6")) and s.st("III") <= -0.05,
    "stemi_posterior": lambda s: depressed(s, ("V1", "V2", "V3")) and s.t("V2") > 0,
    "ischaemia_anterior": lambda s: depressed(s, ("V2", "V3", "V4")) and s.t("V3") < -0.1,
    "ischaemia_inferior": lambda s: depressed(s, ("II", "III", "aVF")) and s.t("aVF") < -0.1,
    "ischaemia_lateral": lambda s: depressed(s, ("I", "aVL", "V5", "V6")) and s.t("V5") < -0.1,
    "pericarditis": lambda s: sum(s.st(n) > 0.05 for n in STANDARD_LEADS) >= 7 and s.st("aVR") < 0,
    "old_mi_anterior": lambda s: all(s.q_ms(n) >= 40 and s.depth(n) >= 0.1 for n in ("V2", "V3")),
    "old_mi_inferior": lambda s: all(s.q_ms(n) >= 40 and s.depth(n) >= 0.1 for n in ("II", "III", "aVF")),
    "old_mi_lateral": lambda s: all(s.q_ms(n) >= 40 and s.depth(n) >= 0.1 for n in ("I", "aVL", "V5", "V6")),
    "long_qt": lambda s: s.sim.truth["qtc_ms"] >= 470,
    "short_qt": lambda s: s.sim.truth["qtc_ms"] <= 340,
    "hyperkalaemia": lambda s: (
        max(s.t(n) for n in CHEST) >= 0.8 and s.ms(QRS_ON, QRS_OFF) >= 120 and s.ms(T_ON, T_OFF) < 0.62 * s.ms(QRS_OFF, T_OFF)
    ),
    "hypokalaemia": lambda s: abs(s.t("V3")) < 0.3 and s.st("V5", 80) < -0.04 and u_wave(s, "V3") > 0.05,
    "digitalis": lambda s: s.st("V5", 80) < -0.05 and s.sim.truth["qtc_ms"] < 390,
    "swap_ra_la": swap(("I", "I", -1), ("II", "III", 1), ("III", "II", 1), ("aVR", "aVL", 1), ("aVL", "aVR", 1)),
    "swap_ra_ll": swap(("I", "III", -1), ("II", "II", -1), ("III", "I", -1), ("aVR", "aVF", 1), ("aVF", "aVR", 1)),
    "swap_la_ll": swap(("I", "II", 1), ("II", "I", 1), ("III", "III", -1), ("aVL", "aVF", 1), ("aVF", "aVL", 1)),
    "swap_v1_v2": crossed("V1", "V2"),
    "swap_v1_v3": crossed("V1", "V3"),
    "swap_v2_v3": crossed("V2", "V3"),
    "swap_v3_v4": crossed("V3", "V4"),
    "swap_v4_v5": crossed("V4", "V5"),
    "swap_v5_v6": crossed("V5", "V6"),
}


def wenckebach(beats: Beats) -> bool:
    """PR grows from beat to beat until a P wave is blocked, and is shortest after it."""
    gap, pauses, dropped = pr(beats), 0, beats.lone_p_overall[:, 1]
    for i in range(1, len(beats)):
        if not (np.isfinite(gap[i - 1]) and np.isfinite(gap[i])):
            continue
        if ((dropped > beats.r[i - 1]) & (dropped < beats.r[i])).any():
            pauses += 1
            if not gap[i] < gap[i - 1]:
                return False
        elif not gap[i] > gap[i - 1]:
            return False
    return pauses >= 1


def tail_ms(s: Seen, lead: str) -> float:
    """Duration of the negative deflection a QRS ends with."""
    w = s.qrs(lead)
    up = np.flatnonzero(w > 0.02)
    return (len(w) - 1 - up[-1]) / s.fs * 1000


def slow_start(s: Seen) -> bool:
    """A delta wave: 30 ms after its onset the QRS has made less than a third of its way in the lead of the largest R."""
    lead = max(STANDARD_LEADS, key=s.r)
    w = s.qrs(lead)
    return float(w[round(0.03 * s.fs)]) < 0.34 * w.max()


def u_wave(s: Seen, lead: str) -> float:
    w = s.mv[STANDARD_LEADS.index(lead), s.sample(T_OFF) : s.sample(T_OFF, 0.16)]
    return float(w.max())


def test_every_condition_has_a_criterion() -> None:
    assert set(CRITERIA) == set(CONDITIONS)


@pytest.mark.parametrize("name", CONDITIONS)
def test_each_condition_fulfils_its_criterion_on_the_noiseless_signal(name: str) -> None:
    for seed in SEEDS:
        sim = simulate(name, seed=seed, fs=1000)
        kind = "N" if "N" in sim.beats.kinds else sim.beats.kinds[0]
        assert CRITERIA[name](Seen(sim, kind, seed)), f"seed {seed}"
