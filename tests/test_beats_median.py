"""The median beat: equal beats give that beat, to a fraction of a sample, whatever wander and noise lie over them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from einthoven.beats.fiducials import P_ON, QRS_OFF, QRS_ON, R_PEAK, T_OFF, Beats
from einthoven.beats.median import cut_beats, median_beats, median_of
from einthoven.record import Record

LEADS = ("I", "II", "V2")
SIZES = np.array([0.7, 1.0, -0.6])
PLACES = {P_ON: -0.2, QRS_ON: -0.05, R_PEAK: 0.0, QRS_OFF: 0.05, T_OFF: 0.4}


def wave(t: np.ndarray) -> np.ndarray:
    """mV at t s from R: P, QRS and T."""
    bells = ((-0.15, 0.02, 0.12), (0.0, 0.010, 1.0), (0.024, 0.008, -0.3), (0.27, 0.04, 0.25))
    return sum(h * np.exp(-0.5 * ((t - at) / w) ** 2) for at, w, h in bells)


def made(fs: float, rr: float = 0.8137, duration: float = 10.0) -> tuple[Record, Beats]:
    r = np.arange(0.3171, duration, rr)
    t = np.arange(round(duration * fs)) / fs
    x = sum(wave(t - at) for at in r)
    overall = np.full((len(r), 9), np.nan)
    for k, shift in PLACES.items():
        overall[:, k] = r + shift
    beats = Beats(LEADS, np.repeat(overall[:, None], 3, 1), overall, ("N",) * len(r), duration)
    return Record((SIZES[:, None] * x).astype(np.float32), fs, LEADS), beats


def truth(median: object) -> np.ndarray:
    at = median.overall[R_PEAK]  # type: ignore[attr-defined]
    return SIZES[:, None] * wave(np.arange(median.signal.shape[1]) / median.fs - at)  # type: ignore[attr-defined]


@pytest.mark.parametrize("fs", [100.0, 250.0, 360.0, 500.0, 1000.0])
def test_equal_beats_give_that_beat(fs: float) -> None:
    record, beats = made(fs)
    median = median_beats(record, beats)
    assert median.fs >= 500
    assert median.fs % fs == 0
    # at 100 Hz a bell of 8 ms reaches beyond what can be sampled
    np.testing.assert_allclose(median.signal, truth(median), atol=0.05 if fs == 100 else 2e-3)


def test_beats_are_aligned_to_a_fraction_of_a_sample() -> None:
    record, beats = made(500.0)
    moved = beats.overall.copy()
    off = np.random.default_rng(1).uniform(-0.008, 0.008, len(beats))
    moved[:, R_PEAK] += off
    median = median_beats(record, replace(beats, overall=moved))
    found = median.r - beats.r[list(median.beats)]
    assert np.ptp(found) < 2e-4  # s; a sample is 2e-3
    assert np.ptp(off) > 0.01


def test_wander_and_noise_hardly_move_it() -> None:
    record, beats = made(500.0, duration=20.0)
    rng = np.random.default_rng(2)
    t = np.arange(record.signal.shape[1]) / 500
    wander = 0.5 * np.sin(2 * np.pi * 0.23 * t)
    noise = rng.normal(0, 0.03, record.signal.shape)
    dirty = replace(record, signal=(record.signal + wander + noise).astype(np.float32))
    median = median_beats(dirty, beats)
    gap = median.signal - truth(median)
    assert np.sqrt((gap**2).mean()) < 0.03 / 2
    noisy = replace(record, signal=(record.signal + noise).astype(np.float32))
    assert median_beats(noisy, beats).noise_uv == pytest.approx(30, rel=0.1)


def test_a_lead_that_is_missing_stays_missing() -> None:
    record, beats = made(500.0)
    record.signal[1] = np.nan
    median = median_beats(record, beats)
    assert np.isnan(median.signal[1]).all()
    np.testing.assert_allclose(median.signal[[0, 2]], truth(median)[[0, 2]], atol=2e-3)


def test_only_the_dominant_beats_enter() -> None:
    record, beats = made(500.0)
    t = np.arange(record.signal.shape[1]) / 500
    other = replace(record, signal=(record.signal + 2 * np.exp(-0.5 * ((t - beats.r[4]) / 0.05) ** 2)).astype(np.float32))
    kinds = tuple("V" if i == 4 else "N" for i in range(len(beats)))
    median = median_beats(other, replace(beats, kinds=kinds))
    assert 4 not in median.beats
    np.testing.assert_allclose(median.signal, truth(median), atol=5e-3)


def test_no_beats_no_median() -> None:
    record, beats = made(500.0)
    none = Beats(LEADS, beats.times[:0], beats.overall[:0], (), 10.0)
    assert not median_beats(record, none)


def test_the_median_skips_what_is_missing() -> None:
    rng = np.random.default_rng(3)
    for count in (1, 2, 7, 48, 49, 200):
        x = rng.normal(size=(count, 2, 30)).astype(np.float32)
        x[rng.random(x.shape) < 0.2] = np.nan
        x[:, 0, 0] = np.nan
        want = np.where(np.isfinite(x).any(0), np.nanmedian(np.where(np.isfinite(x).any(0), x, 0), 0), np.nan)
        np.testing.assert_allclose(median_of(x), want, rtol=1e-6)


def test_cutting_at_whole_samples_copies() -> None:
    x = np.random.default_rng(4).normal(size=(2, 300)).astype(np.float32)
    cut = cut_beats(x, np.array([20.0, 100.0]), 50)
    np.testing.assert_allclose(cut[1], x[:, 100:150], atol=1e-6)
    assert np.isnan(cut_beats(x, np.array([-10.0]), 20)[0, :, :10]).all()
