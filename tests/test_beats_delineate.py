"""Delineation: beats that are known exactly are found where they are, in any number of leads, at any rate and length."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from einthoven.beats.delineate import _network, compress, delineate, over_leads, prepare
from einthoven.beats.fiducials import FIDUCIALS, P_ON, P_PEAK, QRS_OFF, QRS_ON, R_PEAK, T_OFF, Beats
from einthoven.record import STANDARD_LEADS, Record
from einthoven.synth import Simulation, simulate

SINUS = simulate("sinus_rhythm", rate=72, noise=25.0, seed=11)


def found(beats: Beats, truth: Beats, within: float = 0.075) -> float:
    """Share of beats on both sides that have a partner, but for those that the ends of the record cut."""
    sides = (beats.r, truth.r), (truth.r, beats.r)
    inner = [[r for r in a if 0.15 < r < truth.duration - 0.15] for a, _ in sides]
    hits = [sum(bool(np.min(np.abs(b - r), initial=np.inf) <= within) for r in a) for a, (_, b) in zip(inner, sides)]
    return sum(hits) / max(1, sum(map(len, inner)))


@pytest.mark.parametrize(
    ("label", "rate"),
    [
        ("sinus_bradycardia", 32),
        ("sinus_rhythm", 75),
        ("sinus_tachycardia", 150),
        ("svt", 215),
        ("atrial_fibrillation", 110),
        ("pvc", 70),
        ("bigeminy", 80),
        ("ventricular_pacing", 65),
    ],
)
@pytest.mark.parametrize("noise", [None, 10.0])
def test_every_beat_of_the_simulator(label: str, rate: float, noise: float | None) -> None:
    made = simulate(label, rate=rate, noise=noise, seed=21)
    assert found(delineate(made.record), made.beats) == 1.0


def test_fiducials_of_a_normal_beat() -> None:
    """Within what human readers differ by from each other (CSE: 10 to 30 ms), and their habit of beginning early."""
    beats = delineate(SINUS.record)
    pairs = [(b, t) for b in beats.overall for t in SINUS.beats.overall if abs(b[R_PEAK] - t[R_PEAK]) < 0.05]
    assert len(pairs) == len(SINUS.beats)
    off = np.nanmedian(np.array([b - t for b, t in pairs]), axis=0)
    limits = dict(zip(FIDUCIALS, [0.02, 0.02, 0.02, 0.02, 0.01, 0.015, 0.03, 0.02, 0.03]))
    assert {n: v for n, v, limit in zip(FIDUCIALS, off, limits.values()) if not abs(v) < limit} == {}


def test_no_p_wave_in_fibrillation_and_one_before_each_sinus_beat() -> None:
    fibrillating = delineate(simulate("atrial_fibrillation", rate=80, noise=20.0, seed=5).record)
    assert np.isfinite(fibrillating.overall[:, P_PEAK]).sum() + len(fibrillating.lone_p) <= 1
    sinus = delineate(SINUS.record)
    inner = sinus.overall[:, QRS_ON] > 0.3
    assert np.isfinite(sinus.overall[inner, P_ON]).all() and not len(sinus.lone_p)


def test_lone_p_waves_are_blocked_ones() -> None:
    """2:1 and Wenckebach block: what is called a lone P wave is one. (Not every blocked one is seen.)"""
    hits = 0
    for label, rate, seed in (("av_block_2_to_1", 75, 3), ("av_block_mobitz_1", 60, 4), ("av_block_2_to_1", 60, 5)):
        made = simulate(label, rate=rate, seed=seed)
        beats = delineate(made.record)
        assert found(beats, made.beats) == 1.0
        blocked = made.beats.lone_p_overall[:, 1]
        near = [bool(np.min(np.abs(blocked - p), initial=9.0) < 0.06) for p in beats.lone_p_overall[:, 1]]
        assert all(near)
        hits += sum(near)
    assert hits >= 4


@pytest.mark.parametrize(
    "leads", [("II",), ("I", "V5"), ("I", "II", "V2"), STANDARD_LEADS[:6], ("I", "II", *STANDARD_LEADS[6:])]
)
def test_reduced_leads(leads: tuple[str, ...]) -> None:
    beats = delineate(SINUS.record.pick(leads))
    assert beats.leads == leads and beats.times.shape == (len(beats), len(leads), 9)
    assert found(beats, SINUS.beats) == 1.0


@pytest.mark.parametrize("fs", [100.0, 128.0, 240.0, 257.0, 360.0, 1000.0])
def test_the_sampling_rate_moves_nothing(fs: float) -> None:
    """The same heart at another rate: the same times, to a few ms."""
    other = simulate("sinus_rhythm", rate=72, noise=None, fs=fs, seed=11)
    base = simulate("sinus_rhythm", rate=72, noise=None, seed=11)
    a, b = delineate(other.record), delineate(base.record)
    assert len(a) == len(b)
    assert np.nanmax(np.abs(np.nanmedian(a.overall - b.overall, axis=0))) < (0.012 if fs <= 128 else 0.006)


def test_a_shift_in_time_shifts_the_fiducials() -> None:
    record = SINUS.record
    whole, later = delineate(record), delineate(record.crop(1.0, 10.0))
    for beat in later.overall[1:-1]:
        gap = whole.overall[np.argmin(np.abs(whole.r - beat[R_PEAK] - 1.0))] - beat - 1.0
        assert np.nanmax(np.abs(gap)) < 0.012


def test_gain_and_order_of_leads_do_not_matter() -> None:
    record = SINUS.record
    base = delineate(record)
    double = delineate(replace(record, signal=record.signal * np.float32(2.0)))
    turned = delineate(record.pick(record.leads[::-1]))
    assert len(double) == len(base) and np.nanmedian(np.abs(double.overall - base.overall)) < 0.004
    assert np.allclose(turned.times[:, ::-1], base.times, atol=2e-3, equal_nan=True)


def test_long_records_are_stitched_without_seam() -> None:
    """Two minutes in windows: every beat once."""
    made = simulate("sinus_rhythm", rate=80, duration=120.0, noise=20.0, seed=8)
    beats = delineate(made.record)
    assert found(beats, made.beats) == 1.0 and len(beats) == len(made.beats)
    assert (np.diff(beats.r) > 0.5).all()


def test_leads_that_are_missing_are_nan_and_the_others_go_on() -> None:
    signal = SINUS.record.signal.copy()
    signal[3] = np.nan
    signal[7] = 0.0
    signal[8, 1000:1200] = np.nan
    beats = delineate(replace(SINUS.record, signal=signal))
    assert found(beats, SINUS.beats) == 1.0
    assert np.isnan(beats.times[:, [3, 7]]).all() and np.isfinite(beats.times[:, [0, 8], R_PEAK]).all()


NOTHING = {
    "flat": np.zeros((12, 5000)),
    "not recorded": np.full((12, 5000), np.nan),
    "empty": np.zeros((12, 0)),
    "one sample": np.ones((12, 1)),
    "a fifth of a second": np.random.default_rng(0).normal(size=(12, 100)),
    "no lead": np.zeros((0, 5000)),
    "a ramp": np.tile(np.linspace(-5, 5, 5000), (12, 1)),
    "mains": np.tile(0.5 * np.sin(2 * np.pi * 50 * np.arange(5000) / 500), (12, 1)),
}


@pytest.mark.parametrize("name", NOTHING)
def test_no_beat_where_there_is_none(name: str) -> None:
    signal = NOTHING[name].astype(np.float32)
    beats = delineate(Record(signal, 500.0, STANDARD_LEADS[: len(signal)]))
    assert len(beats) == 0 and beats.times.shape == (0, len(signal), 9)


@pytest.mark.parametrize("scale", [0.02, 0.3, 3.0, 1e4])
def test_noise_raises_nothing(scale: float) -> None:
    signal = np.random.default_rng(1).normal(0, scale, (12, 5000)).astype(np.float32)
    beats = delineate(Record(signal, 500.0, STANDARD_LEADS))
    assert len(beats) <= 4


@pytest.mark.parametrize(
    "made", [SINUS, simulate("pvc", rate=70, noise=15.0, seed=4), simulate("sinus_tachycardia", rate=140, seed=4)]
)
def test_fiducials_are_in_order_and_inside(made: Simulation) -> None:
    beats = delineate(made.record)
    for rows in (beats.overall, beats.times.reshape(-1, 9)):
        for row in rows:
            assert (np.diff(row[np.isfinite(row)]) >= 0).all()
    assert ((beats.confidence > 0.3) & (beats.confidence <= 1)).all()
    known = beats.times[np.isfinite(beats.times)]
    assert (known >= 0).all() and (known <= made.record.duration).all()


def test_bundle_branch_block_is_wide_and_a_normal_qrs_is_not() -> None:
    for label, low, high in (("lbbb", 0.120, 0.200), ("rbbb", 0.115, 0.200), (None, 0.070, 0.115)):
        made = simulate(*([label] if label else []), rate=70, noise=25.0, seed=6)
        row = delineate(made.record).overall
        assert low <= np.nanmedian(row[:, QRS_OFF] - row[:, QRS_ON]) <= high, label


def test_overall_bounds_pass_over_one_odd_lead() -> None:
    marks = np.tile([100.0, 120.0, 140.0], (12, 1))
    marks[0] = [50.0, 120.0, 400.0]
    assert over_leads(marks, 121.0).tolist() == [100.0, 121.0, 140.0]
    assert over_leads(marks[:2], 121.0).tolist() == [50.0, 121.0, 400.0]
    assert np.isnan(over_leads(np.full((3, 3), np.nan), 1.0)[[0, 2]]).all()


def test_onnx_is_the_network_that_was_trained() -> None:
    torch = pytest.importorskip("torch")
    load_file = pytest.importorskip("safetensors.torch").load_file
    from importlib.resources import files

    from einthoven.models.delineator import Delineator

    model = Delineator().eval()
    model.load_state_dict(load_file(str(files("einthoven.beats") / "delineator.safetensors")))
    x = np.random.default_rng(0).normal(0, 1, (5, 640)).astype(np.float32)
    with torch.no_grad():
        out = model(torch.from_numpy(x)[None])
    for name, got in zip(("lead_waves", "lead_marks", "record_waves", "record_marks"), _network(x)):
        assert np.allclose(out[name][0].numpy(), got, atol=1e-3), name


def test_the_manifest_is_of_these_weights() -> None:
    import hashlib
    import json
    from importlib.resources import files

    room = files("einthoven.beats")
    sums = json.loads((room / "delineator.json").read_text())["sha256"]
    assert {n: hashlib.sha256((room / n).read_bytes()).hexdigest() for n in sums} == sums


def test_prepare_keeps_mv_and_time() -> None:
    x, usable, fs = prepare(SINUS.record.signal, 500.0)
    assert fs == 250.0 and x.shape == (12, 2500) and usable.tolist() == list(range(12))
    assert abs(np.ptp(x[1]) / np.ptp(SINUS.record.signal[1]) - 1) < 0.15
    assert compress(np.zeros((1, 2), np.float32)).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("name", ["1", "8"])
def test_ludb_as_its_readers_saw_it(shared_data: Path, name: str) -> None:
    """A sinus rhythm and an atrial fibrillation of the training set: annotated R found, no P in fibrillation."""
    import wfdb

    path = shared_data / "ludb" / "data" / name
    rec = wfdb.rdrecord(str(path))
    beats = delineate(Record(rec.p_signal.T.astype(np.float32), float(rec.fs), tuple(rec.sig_name)))
    ann = wfdb.rdann(str(path), "ii")
    r = np.array([s for s, w in zip(ann.sample, ann.symbol) if w == "N"]) / ann.fs
    p = sum(w == "p" for w in ann.symbol)
    assert all(np.min(np.abs(beats.r - t)) < 0.075 for t in r)
    inside = (beats.r >= r[0] - 0.1) & (beats.r <= r[-1] + 0.1)
    assert abs(int(np.isfinite(beats.overall[inside, P_PEAK]).sum()) - p) <= 1
    assert (beats.overall[:, T_OFF] > beats.overall[:, QRS_ON])[np.isfinite(beats.overall[:, T_OFF])].all()


def test_a_pacing_spike_is_no_r_peak() -> None:
    made = simulate("ventricular_pacing", rate=70, seed=4)
    beats = delineate(made.record)
    spikes = np.asarray(made.truth["spikes_s"])
    assert len(beats) >= 9
    for row in beats.times[:, :, R_PEAK]:
        for peak in row[np.isfinite(row)]:
            assert np.abs(spikes - peak).min() > 0.02
