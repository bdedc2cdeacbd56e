"""Measurements against what the simulator knows to be true."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from einthoven.beats.fiducials import P_OFF, P_ON, QRS_OFF, QRS_ON, T_OFF, Beats
from einthoven.beats.measure import DEFINITIONS, measure
from einthoven.beats.measurements import LeadMeasurements, Measurements
from einthoven.record import PRECORDIAL_LEADS, STANDARD_LEADS, Record
from einthoven.synth import Simulation, simulate

CASES = [
    (),
    ("lbbb",),
    ("rbbb",),
    ("lafb",),
    ("lvh",),
    ("wpw",),
    ("av_block_1",),
    ("pvc",),
    ("atrial_fibrillation",),
    ("low_voltage",),
]


def both(*labels: str, **settings: object) -> tuple[Simulation, Measurements]:
    made = simulate(*labels, **settings)  # type: ignore[arg-type]
    return made, measure(made.record, made.beats)


def turn(a: float, b: float) -> float:
    """Degrees from b to a, within 180."""
    return abs((a - b + 180) % 360 - 180)


@pytest.mark.parametrize("labels", CASES)
def test_intervals_are_those_of_the_truth(labels: tuple[str, ...]) -> None:
    for seed in range(3):
        made, m = both(*labels, seed=seed, noise=15.0)
        for name in ("p_ms", "pr_ms", "qrs_ms", "rate_bpm"):
            assert m[name] == pytest.approx(made.truth[name], abs=0.01, nan_ok=True), name
        assert m["qt_ms"] == pytest.approx(made.truth["qt_ms"], abs=6 if "atrial_fibrillation" in labels else 2)


@pytest.mark.parametrize("labels", [c for c in CASES if c not in (("lvh",),)])
def test_axes_are_those_of_the_truth(labels: tuple[str, ...]) -> None:
    for seed in range(4):
        made, m = both(*labels, seed=seed)
        limit = 8 if "atrial_fibrillation" in labels else 5  # f waves ride on everything
        assert turn(m["qrs_axis_deg"], made.truth["axis_deg"]) < limit
        assert turn(m["t_axis_deg"], made.truth["t_axis_deg"]) < limit
        if np.isfinite(m["p_axis_deg"]):
            assert turn(m["p_axis_deg"], made.truth["p_axis_deg"]) < 5


@pytest.mark.parametrize("labels", CASES)
@pytest.mark.parametrize("noise", [None, 20.0])
def test_amplitudes_are_those_of_the_signal_without_noise(labels: tuple[str, ...], noise: float | None) -> None:
    """QRS extremes and J level of every lead, against the clean signal of the record at each dominant beat."""
    made, m = both(*labels, seed=5, noise=noise, hrv=0.0) if "pvc" not in labels else both(*labels, seed=5, noise=noise)
    fs, off = made.record.fs, 0.0 if noise is None else 0.015
    off += 0.06 * ("atrial_fibrillation" in labels)  # f waves ride on everything
    dominant = [b for b, kind in enumerate(made.beats.kinds) if kind == "N"][1:-1]
    for l, name in enumerate(STANDARD_LEADS):
        high, low, j = [], [], []
        for b in dominant:
            on, end = (round(made.beats.overall[b, k] * fs) for k in (QRS_ON, QRS_OFF))
            level = float(made.clean[l, on - 10 : on - 2].mean())
            high.append(max(float(made.clean[l, on : end + 1].max()) - level, 0))
            low.append(min(float(made.clean[l, on : end + 1].min()) - level, 0))
            j.append(float(made.clean[l, end : end + 5].mean()) - level)
        lead = m.leads[name]
        small = 0.030  # a deflection below 20 uV is no wave, nor is what only runs into the ST segment
        for got, want, sign in (
            (max(lead.r_mv, lead.r2_mv), float(np.median(high)), 1),
            (min(lead.q_mv, lead.s_mv, lead.s2_mv), float(np.median(low)), -1),
        ):
            if got == 0:
                assert sign * want < max(sign * float(np.median(j)), 0) + small + off, name
            else:
                assert got == pytest.approx(want, abs=max(0.03, 0.03 * abs(want)) + off), name
        assert lead.st_j_mv == pytest.approx(np.median(j), abs=0.012 + off), name


def test_corrected_qt_by_hand() -> None:
    """QT 400 ms at 75 bpm: the four formulas worked out on paper."""
    _, m = both(seed=2, rate=75, qt_ms=400.0, hrv=0.0)
    assert m["rr_ms"] == pytest.approx(800, abs=0.5)
    assert m["qt_ms"] == pytest.approx(400, abs=1)
    assert m["qtc_bazett_ms"] == pytest.approx(447.2, abs=1.5)
    assert m["qtc_fridericia_ms"] == pytest.approx(430.9, abs=1.5)
    assert m["qtc_framingham_ms"] == pytest.approx(430.8, abs=1.5)
    assert m["qtc_hodges_ms"] == pytest.approx(426.25, abs=1.5)
    assert m["jt_ms"] == pytest.approx(m["qt_ms"] - m["qrs_ms"])


def test_every_quantity_says_what_it_is() -> None:
    named = Measurements.__doc__ or ""
    for labels in ((), ("atrial_fibrillation",), ("ventricular_tachycardia",)):
        _, m = both(*labels, seed=1)
        assert list(m) == list(DEFINITIONS)
        for name, quantity in m.quantities.items():
            assert name.removesuffix("_ms").removesuffix("_bpm") in named, name
            assert quantity.definition
            assert bool(quantity) != bool(quantity.why), (name, quantity)


def test_no_beats_gives_no_figures() -> None:
    made = simulate(seed=1)
    none = Beats(made.beats.leads, made.beats.times[:0], made.beats.overall[:0], (), 10.0)
    m = measure(made.record, none)
    assert m["n_beats"] == 0
    told = {n for n, q in m.quantities.items() if q}
    assert told == {"n_beats", "n_ventricular", "n_supraventricular", "n_paced", "spikes"}
    assert all(q.why for n, q in m.quantities.items() if n not in told)
    assert all(np.isnan(lead.r_mv) for lead in m.leads.values())
    assert "no beats found" in m.warnings


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_beats(count: int) -> None:
    made = simulate(seed=1)
    b = made.beats
    m = measure(
        made.record, replace(b, times=b.times[1 : 1 + count], overall=b.overall[1 : 1 + count], kinds=b.kinds[1 : 1 + count])
    )
    assert m["qrs_ms"] == pytest.approx(made.truth["qrs_ms"], abs=0.01)
    assert np.isnan(m["rate_bpm"]) == (count < 2)
    assert np.isnan(m["rr_rmssd_ms"]) == (count < 3)
    assert m.leads["II"].r_mv > 0.1


@pytest.mark.parametrize(
    ("leads", "axis"),
    [(("I", "II"), True), (("II", "aVF"), True), (("II",), False), (("V1", "V5"), False), (("I", "II", "V2"), True)],
)
def test_reduced_leads(leads: tuple[str, ...], axis: bool) -> None:
    made = simulate(seed=4)
    rows = [STANDARD_LEADS.index(n) for n in leads]
    few = replace(made.beats, leads=leads, times=made.beats.times[:, rows], lone_p=made.beats.lone_p[:, rows])
    m = measure(made.record.pick(leads), few)
    assert m["qrs_ms"] == pytest.approx(made.truth["qrs_ms"], abs=0.01)
    assert set(m.leads) == set(leads)
    if axis:
        assert turn(m["qrs_axis_deg"], made.truth["axis_deg"]) < 5
    else:
        assert np.isnan(m["qrs_axis_deg"])
        assert "limb leads" in m.quantities["qrs_axis_deg"].why


def test_lost_leads_are_left_out() -> None:
    made = simulate(seed=4)
    whole = measure(made.record, made.beats)
    lost = made.record.signal.copy()
    lost[1] = np.nan
    lost[7] = 0.0
    m = measure(replace(made.record, signal=lost), made.beats)
    for name in ("II", "V2"):
        assert np.isnan(m.leads[name].r_mv)
    assert m.leads["V5"].r_mv == pytest.approx(whole.leads["V5"].r_mv, abs=0.01)
    assert turn(m["qrs_axis_deg"], made.truth["axis_deg"]) < 5  # from I and aVF, or any two that are left
    assert m.warnings == ("not measured: II, V2",)


@pytest.mark.parametrize("fs", [100.0, 250.0, 1000.0])
def test_the_sampling_rate_hardly_matters(fs: float) -> None:
    _, m = both(seed=6, fs=fs)
    _, fine = both(seed=6, fs=500.0)
    for name in ("pr_ms", "qrs_ms", "qt_ms"):
        assert m[name] == pytest.approx(fine[name], abs=0.5)
    for name in ("qrs_axis_deg", "t_axis_deg", "p_axis_deg"):
        assert turn(m[name], fine[name]) < 4
    for lead in STANDARD_LEADS:
        assert m.leads[lead].r_mv == pytest.approx(fine.leads[lead].r_mv, abs=0.03)


def test_rhythm_figures() -> None:
    _, regular = both(seed=1, hrv=0.0)
    assert regular["rr_irregularity"] < 0.01
    assert regular["p_fraction"] == 1
    assert regular["atrial_rate_bpm"] == pytest.approx(regular["rate_bpm"], abs=1)
    _, wild = both("atrial_fibrillation", seed=1)
    assert wild["rr_irregularity"] > 0.1
    assert wild["p_fraction"] == 0
    assert np.isnan(wild["pr_ms"])
    assert "P waves before 0%" in wild.quantities["pr_ms"].why
    # the pause after a premature beat is no irregularity of the rhythm that it interrupts
    _, ectopic = both("pvc", seed=2, hrv=0.01)
    assert ectopic["n_ventricular"] >= 1
    assert ectopic["rr_irregularity"] < 0.03
    _, blocked = both("av_block_2_to_1", seed=1)
    assert blocked["p_per_qrs"] == pytest.approx(2, abs=0.2)
    assert blocked["atrial_rate_bpm"] == pytest.approx(2 * blocked["rate_bpm"], rel=0.03)


@pytest.mark.parametrize("noise", [None, 10.0])
def test_flutter_and_fibrillation_waves(noise: float | None) -> None:
    for seed in range(4):
        _, flutter = both("atrial_flutter", seed=seed, rate=75, noise=noise)
        assert flutter["f_wave_hz"] == pytest.approx(5.0, abs=0.2) or flutter["f_wave_hz"] == pytest.approx(3.75, abs=0.2)
        assert flutter["f_wave_power"] > 0.6
        _, fibrillation = both("atrial_fibrillation", seed=seed, rate=80, noise=noise)
        assert 4 < fibrillation["f_wave_hz"] < 9
        assert fibrillation["f_wave_power"] > 0.5
        _, sinus = both("sinus_arrhythmia", seed=seed, noise=noise)
        assert sinus["f_wave_power"] < 0.4


def test_delta_waves() -> None:
    def leads_with(m: Measurements) -> int:
        return sum(lead.delta_ms > 0 for lead in m.leads.values())

    for seed in range(5):
        assert leads_with(both("wpw", seed=seed)[1]) >= 5
        for labels in ((), ("lbbb",), ("rbbb",), ("lvh",)):
            assert leads_with(both(*labels, seed=seed)[1]) <= 1


# -- waves that are drawn by hand --------------------------------------------------------------------------------------------


def drawn(points: list[tuple[float, float]], p: list[tuple[float, float]] | None = None) -> LeadMeasurements:
    """Lead V1 of ten beats whose QRS runs straight through `points` (ms, mV), and whose P runs through `p`."""
    fs, r = 1000.0, np.arange(0.5, 9.6, 0.9)
    t = np.arange(10000) / fs
    x = np.zeros(len(t))
    for at in r:
        for shape, start in ((points, at), (p or [], at - 0.2)):
            if shape:
                ms, mv = np.array(shape).T
                x += np.interp(t, start + ms / 1000, mv, left=0, right=0)
        x += 0.3 * np.exp(-0.5 * ((t - at - 0.35) / 0.035) ** 2)
    overall = np.full((len(r), 9), np.nan)
    overall[:, QRS_ON], overall[:, 4], overall[:, QRS_OFF] = r, r + 0.04, r + points[-1][0] / 1000
    overall[:, 6], overall[:, 7], overall[:, T_OFF] = r + 0.25, r + 0.35, r + 0.45
    if p:
        overall[:, P_ON], overall[:, 1], overall[:, P_OFF] = r - 0.2, r - 0.15, r - 0.2 + p[-1][0] / 1000
    beats = Beats(("V1",), overall[:, None].copy(), overall, ("N",) * len(r), 10.0)
    return measure(Record(x[None].astype(np.float32), fs, ("V1",)), beats).leads["V1"]


def test_the_names_of_the_waves() -> None:
    qrs = drawn([(0, 0), (10, -0.2), (20, 0), (40, 1.0), (60, 0), (70, -0.5), (90, 0)])
    assert (qrs.q_mv, qrs.r_mv, qrs.s_mv) == pytest.approx((-0.2, 1.0, -0.5), abs=0.01)
    assert (qrs.q_ms, qrs.r_ms, qrs.s_ms) == pytest.approx((20, 40, 30), abs=1.5)
    assert (qrs.r2_mv, qrs.s2_mv, qrs.qs, qrs.notches) == (0, 0, False, 0)
    assert qrs.r_peak_time_ms == pytest.approx(40, abs=1.5)

    rsr = drawn([(0, 0), (15, 0.3), (25, 0), (45, -0.8), (65, 0), (90, 0.7), (120, 0)])
    assert (rsr.q_mv, rsr.r_mv, rsr.s_mv, rsr.r2_mv) == pytest.approx((0, 0.3, -0.8, 0.7), abs=0.01)
    assert rsr.r_peak_time_ms == pytest.approx(90, abs=1.5)
    assert rsr.r2_ms == pytest.approx(55, abs=1.5)

    qs = drawn([(0, 0), (50, -1.2), (100, 0)])
    assert qs.qs
    assert (qs.q_mv, qs.q_ms, qs.r_mv, qs.s_mv) == pytest.approx((-1.2, 100, 0, 0), abs=1.5)

    notched = drawn([(0, 0), (30, 0.8), (50, 0.5), (70, 0.9), (100, 0)])
    assert (notched.r_mv, notched.s_mv, notched.notches) == pytest.approx((0.9, 0, 1), abs=0.01)


def test_what_runs_into_the_st_segment_is_no_wave() -> None:
    """A QRS that ends on a depressed ST level has no S wave for that."""
    down = [(0, 0), (30, 1.0), (60, -0.15), (80, -0.15)]
    qrs = drawn(down)
    assert (qrs.r_mv, qrs.s_mv) == pytest.approx((1.0, 0), abs=0.01)


def test_the_terminal_force_of_p() -> None:
    """Morris: 0.1 mV x 40 ms = 4 mV ms."""
    lead = drawn([(0, 0), (30, 0.5), (60, 0)], p=[(0, 0), (30, 0.12), (60, 0), (61, -0.1), (99, -0.1), (100, 0)])
    assert (lead.p_initial_mv, lead.p_terminal_mv) == pytest.approx((0.12, -0.1), abs=0.01)
    assert lead.p_terminal_force_mvms == pytest.approx(4.0, abs=0.4)
    assert lead.p_ms == pytest.approx(100)


# -- real records: only that figures are sane --------------------------------------------------------------------------------


def test_real_records_give_sane_figures(shared_data: Path) -> None:
    from einthoven.io import read

    folder = shared_data / "ptbxl" / "records500"
    told = 0
    for path in sorted(folder.rglob("*.hea"))[:15]:
        m = measure(read(path))
        assert 30 < m["rate_bpm"] < 200
        assert 50 < m["qrs_ms"] < 220
        assert 250 < m["qt_ms"] < 600
        assert set(PRECORDIAL_LEADS) < set(m.leads)
        told += bool(m.quantities["pr_ms"])
    assert told >= 10
