"""Resampling against sines that are known at every instant."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einthoven.record import EcgError, MedianBeat, Record
from einthoven.signal.resample import resample, resample_signal

RATES = (100, 128, 250, 257, 360, 400, 500, 977, 1000, 2000)


def sine(hz: float, fs: float, seconds: float = 10, phase: float = 0.4) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(round(seconds * fs)) / fs + phase)[None].astype(np.float32)


@pytest.mark.parametrize("fs_in", RATES)
@pytest.mark.parametrize("fs_out", RATES)
def test_a_band_limited_sine_stays_that_sine(fs_in: int, fs_out: int) -> None:
    top = 0.39 * min(fs_in, fs_out)
    for hz in (1.0, 0.5 * top, top):
        got = resample_signal(sine(hz, fs_in), fs_in, fs_out)
        truth = sine(hz, fs_out, got.shape[1] / fs_out)
        edge = round(0.3 * fs_out)
        assert got.shape[1] == -(-10 * fs_in * fs_out // fs_in)
        assert np.abs(got - truth)[0, edge:-edge].max() < 1e-3


def test_what_the_new_rate_cannot_carry_is_gone() -> None:
    for hz in (55.0, 70.0, 120.0, 249.0):
        assert np.abs(resample_signal(sine(hz, 500), 500, 100)[0, 30:-30]).max() < 2e-3


def test_a_record_keeps_its_duration_its_zero_and_its_median_beat() -> None:
    impulse = np.zeros((1, 5000), np.float32)
    impulse[0, 2500] = 1
    median = MedianBeat(np.ones((1, 600), np.float32), 500.0, ("II",))
    record = Record(impulse, 500.0, ("II",), median=median)
    for fs in (100, 250, 257, 1000):
        other = resample(record, fs)
        assert other.fs == fs and other.median is median
        assert other.duration == pytest.approx(10, abs=1 / fs)
        assert abs(int(np.argmax(other.signal)) / fs - 5.0) <= 0.5 / fs


def test_there_and_back_is_where_it_started() -> None:
    rng = np.random.default_rng(0)
    spectrum = np.fft.rfft(rng.standard_normal((3, 5000)), axis=1)
    spectrum[:, 350:] = 0  # below 35 Hz
    smooth = np.fft.irfft(spectrum, 5000, axis=1).astype(np.float32)
    for fs in (100, 257, 360, 977):
        back = resample_signal(resample_signal(smooth, 500, fs), fs, 500)[:, :5000]
        assert np.abs(back - smooth)[:, 200:-200].max() < 1e-3 * np.abs(smooth).max()


def test_gaps_stay_where_they_were_and_nowhere_else() -> None:
    x = np.tile(sine(3, 500), (3, 1))
    x[0, 1000:2000] = np.nan
    x[1] = np.nan
    for fs in (100, 250, 360, 1000):
        got = resample_signal(x, 500, fs)
        t = np.arange(got.shape[1]) / fs
        assert np.isnan(got[1]).all() and not np.isnan(got[2]).any()
        away = np.minimum(np.abs(t - 2.0), np.abs(t - 4.0)) > 1 / min(fs, 500)
        assert (np.isnan(got[0]) == ((t > 2) & (t < 4)))[away].all()
        clear = ~np.isnan(got[0]) & (np.minimum(np.abs(t - 2.0), np.abs(t - 4.0)) > 0.3) & (t > 0.3) & (t < 9.7)
        assert np.abs(got[0] - sine(3, fs, got.shape[1] / fs)[0])[clear].max() < 1e-3


def test_a_constant_stays_a_constant() -> None:
    for fs in (100, 257, 977):
        assert resample_signal(np.full((2, 500), 7.0, np.float32), 500, fs) == pytest.approx(7.0, abs=1e-3)


def test_odd_rates_that_no_fraction_of_the_table_holds() -> None:
    got = resample_signal(sine(5, 499.99), 499.99, 257.123)
    assert np.abs(got - sine(5, 257.123, got.shape[1] / 257.123))[0, 100:-100].max() < 1e-3


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 40), st.sampled_from(RATES), st.sampled_from(RATES), st.booleans())
def test_short_records_never_fail(n: int, fs_in: int, fs_out: int, missing: bool) -> None:
    got = resample_signal(np.full((2, n), np.nan if missing else 1.0, np.float32), fs_in, fs_out)
    assert got.shape == (2, -(-n * fs_out // fs_in)) and got.dtype == np.float32
    assert np.isnan(got).all() if missing else got == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("fs", [0.0, -1.0, float("nan"), float("inf"), 1e9, 1e-9])
def test_impossible_rates_are_refused(fs: float) -> None:
    with pytest.raises(EcgError):
        resample_signal(np.zeros((1, 10), np.float32), 500, fs)
