"""The simulator is the test bench of everything, so here it is measured by rules that share no code with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from einthoven.beats.fiducials import Beats
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


@pytest.mark.parametrize("pair", [("rbbb", "lafb"), ("rbbb", "lpfb"), ("ivcd", "lafb")])
def test_two_blocks_together_are_both_to_be_seen(pair: tuple[str, str]) -> None:
    for seed in SEEDS:
        s = Seen(simulate(*pair, seed=seed, fs=1000))
        left = -90 <= s.axis() <= -45 if "lafb" in pair else 90 <= s.axis() <= 180
        assert left and s.ms(QRS_ON, QRS_OFF) >= 120
        assert pair[0] != "rbbb" or CRITERIA["rbbb"](s)


@pytest.mark.parametrize("seed", SEEDS)
def test_requested_intervals_axis_and_rate_are_the_truth(seed: int) -> None:
    asked = {"p_ms": 98.0, "pr_ms": 164.0, "qrs_ms": 92.0, "qt_ms": 392.0}
    sim = simulate(rate=66, seed=seed, hrv=0.0, axis_deg=-12.0, **asked)
    assert {k: sim.truth[k] for k in asked} == pytest.approx(asked, abs=1e-6)
    assert sim.truth["rate_bpm"] == pytest.approx(66, abs=1e-6)
    assert sim.truth["axis_deg"] == pytest.approx(-12, abs=1e-6)
    assert Seen(sim).axis() == pytest.approx(-12, abs=2.5)
    gap = (sim.beats.overall[1:-1, QRS_OFF] - sim.beats.overall[1:-1, QRS_ON]) * 1000
    assert gap == pytest.approx(92, abs=1e-6)


@pytest.mark.parametrize("qtc", [340.0, 410.0, 520.0])
def test_requested_qtc_is_that_of_fridericia(qtc: float) -> None:
    truth = simulate(rate=58, hrv=0.0, qtc_ms=qtc, seed=3).truth
    assert truth["qtc_ms"] == pytest.approx(qtc, abs=0.01)
    assert truth["qt_ms"] == pytest.approx(qtc * (60 / 58) ** (1 / 3), abs=0.01)


@pytest.mark.parametrize("seed", SEEDS)
def test_truth_is_what_a_ruler_finds_on_the_noiseless_signal(seed: int) -> None:
    """First and last sample more than 20 uV off the isoelectric PQ level, as Hampton would measure it; U waves are left out."""
    sim = simulate(rate=60, seed=seed, fs=1000, hrv=0.0)
    s = Seen(sim)
    away = np.abs(s.mv).max(axis=0) > 0.02
    on, peak = s.sample(QRS_ON), s.sample(R_PEAK)
    found = peak - np.flatnonzero(~away[:peak][::-1])[0]
    assert abs(found - on) <= 2
    p_on, p_peak = s.sample(P_ON), s.sample(P_PEAK)
    assert abs(p_peak - np.flatnonzero(~(np.abs(s.mv).max(axis=0) > 0.01)[:p_peak][::-1])[0] - p_on) <= 4
    # J: from here on nothing moves as fast as a QRS does; T end: 5 % of the T wave is left in the lead where it is largest
    speed = np.abs(np.diff(s.mv, axis=1)).max(axis=0)
    fast = np.flatnonzero(speed[on : on + 200] > 0.004)[-1] + on
    assert abs(fast - s.sample(QRS_OFF)) <= 6
    t_peak, lead = s.sample(T_PEAK), int(np.abs(s.mv[:, s.sample(T_PEAK)]).argmax())
    t = np.abs(s.mv[lead, t_peak:])
    assert abs(t_peak + np.flatnonzero(t < 0.05 * t[0])[0] - s.lead_at[lead, T_OFF] * 1000) <= 3
    assert abs(s.lead_at[lead, T_OFF] - s.at[T_OFF]) < 0.03


@pytest.mark.parametrize(
    "labels", [(), ("atrial_fibrillation",), ("pvc",), ("ventricular_pacing",), ("lbbb",), ("rbbb", "lafb")]
)
def test_r_times_are_local_maxima_of_the_vector_magnitude(labels: tuple[str, ...]) -> None:
    for seed in SEEDS:
        sim = simulate(*labels, seed=seed, fs=1000)
        independent = sim.clean[[0, 1, 6, 7, 8, 9, 10, 11]].astype(float)
        size = np.sqrt((independent**2).sum(axis=0))
        for on, r, off in sim.beats.overall[:, [QRS_ON, R_PEAK, QRS_OFF]]:
            if np.isfinite(on + off):
                a, b = round((on + 0.005) * 1000), round(off * 1000)
                assert abs(a + size[a:b].argmax() - r * 1000) <= 4


@pytest.mark.parametrize("seed", SEEDS)
def test_peaks_in_each_lead_are_its_largest_deflections(seed: int) -> None:
    sim = simulate(seed=seed, fs=1000, rate=60)
    s = Seen(sim)
    for j in range(12):
        on, r, off = s.lead_at[j, [QRS_ON, R_PEAK, QRS_OFF]] * 1000
        if np.isnan(r):  # nothing above 50 uV
            assert np.abs(s.qrs(STANDARD_LEADS[j])).max() < 0.06
            continue
        w = np.abs(s.mv[j, round(on) : round(off)])
        assert abs(round(on) + w.argmax() - r) <= 2 or w.max() - w[round(r) - round(on)] < 0.03


@pytest.mark.parametrize("name", CONDITIONS)
def test_truth_is_in_order_and_in_the_record(name: str) -> None:
    sim = simulate(name, seed=5)
    beats = sim.beats
    for table in (beats.times.reshape(-1, 9), beats.overall):
        known = table[np.isfinite(table).all(axis=1)]
        assert (np.diff(known[:, [P_ON, P_PEAK, P_OFF, QRS_ON, R_PEAK, QRS_OFF]]) > -1e-9).all()
        assert (np.diff(known[:, [T_ON, T_PEAK, T_OFF]]) > 0).all()
        assert ((table[np.isfinite(table)] >= 0) & (table[np.isfinite(table)] < sim.record.duration)).all()
    # no lead begins before or ends after all leads together
    with np.errstate(invalid="ignore"):
        late = np.nan_to_num(beats.times[:, :, [P_ON, QRS_ON]] - beats.overall[:, None, [P_ON, QRS_ON]])
        early = np.nan_to_num(beats.overall[:, None, [P_OFF, QRS_OFF, T_OFF]] - beats.times[:, :, [P_OFF, QRS_OFF, T_OFF]])
    assert late.min() > -1e-9 and early.min() > -1e-9
    assert (np.diff(beats.r) > 0).all() and np.isfinite(beats.r).all()
    assert len(beats.kinds) == len(beats) and beats.lone_p.shape == (len(beats.lone_p_overall), 12, 3)


@pytest.mark.parametrize("name", [n for n, c in CONDITIONS.items() if c.group in ("rhythm", "av", "ectopy")])
def test_no_wave_begins_before_the_last_has_ended_at_any_rate(name: str) -> None:
    fast = (240,) if name in ("svt", "ventricular_tachycardia", "atrial_fibrillation", "sinus_tachycardia") else ()
    for rate in (30, 55, 110, 160, *fast):
        if (name, rate < 60) in (("sinus_bradycardia", False), ("sinus_tachycardia", True)):
            continue
        for seed in range(2):
            at = simulate(name, rate=rate, seed=seed).beats.overall
            whole = at[np.isfinite(at).all(axis=1)]
            assert (np.diff(whole, axis=1) > -1e-9).all()
            with np.errstate(invalid="ignore"):
                assert not (at[:-1, T_OFF] > at[1:, QRS_ON]).any() and not (at[:-1, QRS_OFF] > at[1:, P_ON]).any()


def test_a_p_wave_below_20_uv_is_not_in_the_truth() -> None:
    hidden = shown = 0
    for seed in range(40):
        s = Seen(simulate(*(["hyperkalaemia"] * (seed % 2)), seed=seed, fs=1000, rate=60))  # there P is flat
        for j in range(12):
            top = np.abs(s.mv[j, s.sample(P_ON) : s.sample(P_OFF)]).max()
            if np.isnan(s.lead_at[j, P_PEAK]):
                hidden += 1
                assert top < 0.030  # the foot of the QRS is in the zero
            else:
                shown += 1
                assert top > 0.012
    assert hidden > 20 and shown > 250


@pytest.mark.parametrize("name", [n for n in CONDITIONS if not n.startswith("swap")])
def test_einthovens_law_holds_with_and_without_noise(name: str) -> None:
    for noise in (None, 5.0):
        assert max(einthoven_residual(simulate(name, noise=noise, seed=2).record).values()) < 2e-6


@pytest.mark.parametrize("db", [20.0, 10.0, 0.0])
def test_ten_db_are_ten_db(db: float) -> None:
    sim = simulate("pvc", noise=db, seed=11)
    clean, rest = sim.clean.astype(float), sim.record.signal.astype(float) - sim.clean
    ratio = sum(np.var(w) for w in clean) / sum(np.var(w) for w in rest)
    assert 10 * np.log10(ratio) == pytest.approx(db, abs=0.01)
    assert sim.truth["snr_db"] == pytest.approx(db, abs=0.01)


def test_noise_is_where_and_as_much_as_asked() -> None:
    fs, each = 1000.0, {"mains": 0.05, "wander": 0.2, "muscle": 0.05}
    band = {"mains": (49, 51), "wander": (0.0, 0.8), "muscle": (14, 151)}
    for kind, much in each.items():
        sim = simulate(noise=Noise(**{kind: much}), fs=fs, duration=40, seed=4)
        noise = sim.record.signal.astype(float) - sim.clean
        power = np.abs(np.fft.rfft(noise - noise.mean(axis=1, keepdims=True), axis=1)) ** 2
        f = np.fft.rfftfreq(noise.shape[1], 1 / fs)
        low, high = band[kind]
        assert power[:, (f >= low) & (f <= high)].sum() > 0.95 * power.sum()
        # a chest lead is an electrode against the mean of three others: sqrt(4/3) of one electrode's noise
        assert 0.5 * much < noise[6:].std() < 2.2 * much


def test_a_lost_lead_is_flat_and_shows_nothing() -> None:
    sim = simulate(noise=Noise(muscle=0.02, lost=("V3",)), seed=1)
    assert np.ptp(sim.record.lead("V3")) == 0 and np.isnan(sim.beats.lead("V3")).all()
    assert np.ptp(sim.record.lead("V4")) > 0 and np.isfinite(sim.beats.lead("V4")[2]).any()
    with pytest.raises(ValueError, match="V9"):
        Noise(lost=("V9",))


def test_the_truth_of_swapped_leads_is_swapped_too() -> None:
    true, swapped = (simulate(*labels, seed=9).beats for labels in ((), ("swap_ra_la",)))
    for a, b in (("I", "I"), ("II", "III"), ("aVR", "aVL"), ("aVF", "aVF"), ("V2", "V2")):
        assert np.allclose(swapped.lead(a), true.lead(b), equal_nan=True)
    assert np.allclose(swapped.overall, true.overall, equal_nan=True)


def test_the_seed_decides_everything() -> None:
    a, b, c = (simulate("atrial_fibrillation", "lvh", noise=10, seed=s) for s in (3, 3, 4))
    assert np.array_equal(a.record.signal, b.record.signal) and repr(a.truth) == repr(b.truth)
    assert np.array_equal(a.beats.times, b.beats.times, equal_nan=True)
    assert not np.array_equal(a.record.signal, c.record.signal)
    x, y = (random_simulation(np.random.default_rng(8)) for _ in range(2))
    assert x.labels == y.labels and np.array_equal(x.record.signal, y.record.signal)


def test_the_sampling_rate_changes_neither_heart_nor_truth() -> None:
    fine, coarse = (simulate("pvc", seed=6, fs=fs) for fs in (1000, 250))
    assert np.array_equal(fine.beats.times, coarse.beats.times, equal_nan=True)
    assert np.allclose(fine.clean[:, ::4], coarse.clean, atol=1e-6)


@pytest.mark.parametrize("rate", [30, 45, 70, 100, 140, 180, 200, 220])
def test_rates_from_30_to_220(rate: float) -> None:
    for labels in ((), ("atrial_fibrillation",)):
        sim = simulate(*labels, rate=rate, duration=30, seed=rate)
        assert sim.truth["rate_bpm"] == pytest.approx(rate, rel=0.03 if not labels else 0.15)
        assert len(sim.beats) == pytest.approx(rate / 2, rel=0.05 if not labels else 0.15, abs=1)


def test_the_record_is_an_ordinary_one() -> None:
    sim = simulate("lbbb", age=61, sex="female", duration=7.5, fs=250, seed=1)
    record = sim.record
    assert record.leads == STANDARD_LEADS and record.signal.shape == (12, 1875) and record.signal.dtype == np.float32
    assert (record.patient.age, record.patient.sex, record.source.format, record.warnings) == (61, "female", "synth", ())
    assert record.statements == tuple(CONDITIONS[n].meaning for n in sim.labels) and sim.labels == ("sinus_rhythm", "lbbb")
    assert np.array_equal(record.signal, sim.clean) and np.isfinite(record.signal).all()


@pytest.mark.parametrize(
    ("labels", "options", "why"),
    [
        (("lbbb", "rbbb"), {}, "one ventricle"),
        (("atrial_fibrillation", "av_block_1"), {}, "cannot be together: an AV block"),
        (("lvh", "low_voltage"), {}, "cannot be together"),
        (("ventricular_pacing", "stemi_anterior"), {}, "bundle branches"),
        (("sinus_bradycardia",), {"rate": 90}, "cannot be at 90"),
        (("angina",), {}, "no condition 'angina'"),
        (("pvc", "pvc"), {}, "repeat"),
        (("pvc",), {"duration": 1.0}, "too short"),
        ((), {"rate": 2}, "rate must be"),
        ((), {"duration": -1}, "duration must be"),
        ((), {"qt": 400}, "no override qt"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(labels: tuple[str, ...], options: dict[str, float], why: str) -> None:
    with pytest.raises(EcgError, match=why):
        simulate(*labels, **options)  # type: ignore[arg-type]


def test_random_patients_are_plausible() -> None:
    rng = np.random.default_rng(0)
    seen: set[str] = set()
    for _ in range(250):
        sim = random_simulation(rng, duration=6)
        seen |= set(sim.labels)
        assert np.isfinite(sim.record.signal).all() and np.abs(sim.clean).max() < 6
        assert len(sim.beats) >= 1 and set(sim.beats.kinds) <= {"N", "S", "V", "/"}
    assert len(seen) > 45


def test_statement_codes_are_those_of_ptb_xl(shared_data: object) -> None:
    from pathlib import Path

    table = Path(str(shared_data)) / "ptbxl" / "scp_statements.csv"
    known = {line.split(",")[0] for line in table.read_text().splitlines()[1:]}
    assert {c.scp for c in CONDITIONS.values() if c.scp} <= known
