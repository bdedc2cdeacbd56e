"""Measured features: named, in order, equal to what was measured, and of no opinion about leads, rates and lengths."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from einthoven.record import EcgError, Patient, Record
from einthoven.represent.features import BEAT, BEAT_FS, BEAT_LEADS, BEAT_SAMPLES, BEFORE_S, FIGURES, NAMES, doubts, features
from einthoven.synth import simulate

AT = {name: i for i, name in enumerate(NAMES)}


@pytest.fixture(scope="module")
def record() -> Record:
    return simulate("lvh", rate=72, age=61, sex="female", noise=25, seed=3).record


@pytest.fixture(scope="module")
def vector(record: Record) -> np.ndarray:
    return features(record)


def test_names_are_unique_and_in_order(vector: np.ndarray) -> None:
    assert len(set(NAMES)) == len(NAMES) == len(vector)
    assert NAMES[: len(FIGURES)] == FIGURES and NAMES[len(FIGURES) :] == BEAT
    assert len(BEAT) == len(BEAT_LEADS) * BEAT_SAMPLES
    assert vector.dtype == np.float32


def test_figures_are_those_of_the_measurement(record: Record, vector: np.ndarray) -> None:
    import einthoven as ecg
    from einthoven.signal.resample import resample

    report = ecg.interpret(resample(record, 100.0))
    for name in ("rate_bpm", "qrs_ms", "qt_ms", "pr_ms", "qrs_axis_deg"):
        assert vector[AT[name]] == pytest.approx(report.measurements[name], rel=1e-6)
    assert vector[AT["V5.r_mv"]] == pytest.approx(report.measurements.leads["V5"].r_mv, rel=1e-6)
    sokolow = -report.measurements.leads["V1"].s_mv + max(report.measurements.leads[n].r_mv for n in ("V5", "V6"))
    assert vector[AT["sokolow_lyon_mv"]] == pytest.approx(sokolow, rel=1e-4)
    assert vector[AT["rule.sinus_rhythm"]] > 0
    assert vector[AT["age"]] == 61 and vector[AT["male"]] == 0


def test_the_planted_truth(vector: np.ndarray) -> None:
    truth = simulate("lvh", rate=72, age=61, sex="female", noise=25, seed=3).truth
    assert vector[AT["rate_bpm"]] == pytest.approx(truth["rate_bpm"], abs=1)
    assert vector[AT["qrs_ms"]] == pytest.approx(truth["qrs_ms"], abs=16)


def test_r_stands_where_the_beat_says(vector: np.ndarray) -> None:
    beat = vector[len(FIGURES) :].reshape(len(BEAT_LEADS), BEAT_SAMPLES)
    height = np.nansum(np.abs(beat), axis=0)
    assert abs(int(height.argmax()) - BEFORE_S * BEAT_FS) <= 3


def test_the_sampling_rate_is_no_feature(record: Record, vector: np.ndarray) -> None:
    """500 Hz and the same ECG at 250 Hz: both are brought to 100 Hz and measure alike."""
    from einthoven.signal.resample import resample

    other = features(resample(record, 250.0))
    for name in ("rate_bpm", "qt_ms", "sokolow_lyon_mv", "V5.r_mv", "n_beats_in_10_s"):
        assert other[AT[name]] == pytest.approx(vector[AT[name]], rel=0.05)


def test_what_is_not_there_is_not_a_number(record: Record) -> None:
    silent = features(replace(record, patient=Patient()))
    assert np.isnan(silent[[AT["age"], AT["male"]]]).all()
    limbs = features(record.pick(("I", "II")))
    assert np.isnan(limbs[AT["V1.r_mv"]]) and np.isnan(limbs[AT["qrs_t_spatial_deg"]])
    assert limbs[AT["III.r_mv"]] == limbs[AT["III.r_mv"]]
    flat = features(Record(np.zeros((12, 1000), np.float32), 100.0, record.leads))
    assert flat.shape == (len(NAMES),) and np.isnan(flat[AT["rate_bpm"]]) and flat[AT["n_beats_in_10_s"]] == 0


def test_who_sees_no_beat_does_not_answer(record: Record, vector: np.ndarray) -> None:
    assert doubts(vector) == []
    with pytest.raises(EcgError, match="no beats"):
        doubts(features(Record(np.zeros((12, 1000), np.float32), 100.0, record.leads)))
    lost = record.signal.copy()
    lost[record.leads.index("V3")] = np.nan
    assert "V3" in doubts(features(replace(record, signal=lost)))[0]
