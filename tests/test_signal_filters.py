"""Filters against the analytic gain of a Butterworth, baseline removal against scipy and against planted wander."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import CubicSpline
from scipy.ndimage import median_filter

from einthoven.record import EcgError, Record
from einthoven.signal.baseline import moving_median, odd_window, pq_knots, remove_baseline_median, remove_baseline_spline
from einthoven.signal.filters import bandpass, bandpass_signal, highpass, lowpass, notch, notch_signal


def record(x: np.ndarray, fs: float = 500.0) -> Record:
    x = np.atleast_2d(x).astype(np.float32)
    return Record(x, fs, tuple("ABCDEF"[: len(x)]))


def sine(hz: float, fs: float = 500.0, seconds: float = 60.0) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(round(seconds * fs)) / fs)


def amplitude(x: np.ndarray, hz: float, fs: float = 500.0) -> complex:
    """Of the sine at `hz` in the middle of x, its phase relative to sin."""
    n = len(x)
    part = slice(n // 4, n // 4 + int(round(hz * (n // 2) / fs) / hz * fs))
    t = np.arange(n)[part] / fs
    return 2j * np.mean(x[part] * np.exp(-2j * np.pi * hz * t))


def warped(hz: float, fs: float) -> float:
    return np.tan(np.pi * hz / fs)


@pytest.mark.parametrize("hz", [0.25, 0.5, 1.0, 5.0, 20.0, 40.0, 60.0, 150.0])
def test_gain_is_the_squared_butterworth_and_phase_is_zero(hz: float) -> None:
    for name, got, gain in (
        ("high", highpass(record(sine(hz)), 0.5, order=2), 1 / (1 + (warped(0.5, 500) / warped(hz, 500)) ** 4)),
        ("low", lowpass(record(sine(hz)), 40, order=4), 1 / (1 + (warped(hz, 500) / warped(40, 500)) ** 8)),
        (
            "band",
            bandpass(record(sine(hz)), 0.5, 40, order=3),
            1
            / (
                1
                + (
                    (warped(hz, 500) ** 2 - warped(0.5, 500) * warped(40, 500))
                    / (warped(hz, 500) * (warped(40, 500) - warped(0.5, 500)))
                )
                ** 6
            ),
        ),
    ):
        found = amplitude(got.signal[0].astype(float), hz)
        assert found.real == pytest.approx(gain, abs=2e-3), name
        assert abs(found.imag) < 2e-3, name


def test_the_corner_is_at_minus_six_db() -> None:
    assert amplitude(lowpass(record(sine(40)), 40).signal[0].astype(float), 40).real == pytest.approx(0.5, abs=1e-3)


def test_an_impulse_answers_the_same_to_both_sides() -> None:
    x = np.zeros(5001)
    x[2500] = 1
    for got in (bandpass(record(x), 0.5, 40), notch(record(x), 50), lowpass(record(x), 150), highpass(record(x), 0.5)):
        y = got.signal[0]
        assert y == pytest.approx(y[::-1], abs=1e-5)


def test_notch_takes_mains_and_leaves_its_neighbours() -> None:
    for mains in (50.0, 60.0):
        assert np.abs(notch(record(sine(mains)), mains).signal).max() < 0.02
        assert amplitude(notch(record(sine(mains - 10)), mains).signal[0].astype(float), mains - 10).real == pytest.approx(
            1, abs=0.02
        )


def test_edges_do_not_ring() -> None:
    ramp = np.linspace(3, 5, 5000)
    assert lowpass(record(ramp), 40).signal[0] == pytest.approx(ramp, abs=1e-4)
    assert np.abs(highpass(record(np.full(5000, 9.0)), 0.05).signal).max() < 1e-3
    assert notch(record(ramp), 50).signal[0] == pytest.approx(ramp, abs=1e-3)


def test_every_recorded_stretch_is_filtered_by_itself() -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((3, 3000)).astype(np.float32)
    holed = x.copy()
    holed[1, 1000:1500] = np.nan
    got = bandpass_signal(holed, 500, 0.5, 40)
    assert got[[0, 2]] == pytest.approx(bandpass_signal(x[[0, 2]], 500, 0.5, 40), abs=1e-6)
    assert (np.isnan(got) == np.isnan(holed)).all()
    assert got[1, :1000] == pytest.approx(bandpass_signal(x[1:2, :1000], 500, 0.5, 40)[0], abs=1e-6)
    assert got[1, 1500:] == pytest.approx(bandpass_signal(x[1:2, 1500:], 500, 0.5, 40)[0], abs=1e-6)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 7, 30])
def test_short_and_missing_records_are_no_trouble(n: int) -> None:
    for value in (0.0, 1.0, np.nan, np.inf):
        x = np.full((2, n), value, np.float32)
        for got in (bandpass_signal(x, 500, 0.05, 150), notch_signal(x, 500, 50), moving_median(x, 500)):
            assert got.shape == x.shape and (np.isnan(got) == ~np.isfinite(x)).all()


@pytest.mark.parametrize("low, high", [(0.5, 250), (0.5, 300), (40, 0.5), (5, 5), (-1, 40), (0, 40)])
def test_impossible_corners_are_refused(low: float, high: float) -> None:
    with pytest.raises(EcgError):
        bandpass(record(np.zeros(100)), low, high)


def test_impossible_orders_and_notches_are_refused() -> None:
    with pytest.raises(EcgError):
        bandpass(record(np.zeros(100)), 1, 40, order=0)
    with pytest.raises(EcgError):
        notch(record(np.zeros(100), 100), 50)


def test_the_moving_median_is_scipys() -> None:
    x = np.random.default_rng(2).standard_normal((4, 2000)).cumsum(1).astype(np.float32)
    assert odd_window(0.2, 100) == 21 and odd_window(2.0, 100) == 201 and odd_window(0.2, 500) == 101
    for mode in ("reflect", "nearest"):
        assert np.array_equal(moving_median(x, 500, 0.2, mode), median_filter(x, (1, 101), mode=mode))
    twice = median_filter(median_filter(x, (1, 101)), (1, 301))
    assert np.array_equal(remove_baseline_median(record(x)).signal, x - twice)


def test_a_median_window_must_be_positive() -> None:
    with pytest.raises(EcgError):
        moving_median(np.zeros((1, 10), np.float32), 500, 0.0)


def test_the_spline_through_pq_removes_what_a_spline_describes() -> None:
    fs, r = 500.0, np.arange(0.5, 10, 0.8)
    t = np.arange(5000) / fs
    knots = np.round(pq_knots(r) * fs) / fs
    levels = np.random.default_rng(3).standard_normal(knots.size)
    wander = CubicSpline(knots, levels, bc_type="natural")(np.clip(t, knots[0], knots[-1]))
    beats = sum(np.exp(-(((t - at) / 0.012) ** 2)) for at in r)  # nothing of it within 20 ms of a knot
    got = remove_baseline_spline(record(beats + wander), knots, width_s=0.0)
    assert got.signal[0] == pytest.approx(beats, abs=2e-5)


def test_the_spline_with_few_knots_gaps_and_none() -> None:
    x = np.linspace(0, 1, 1000)
    assert remove_baseline_spline(record(x), [1.0], width_s=0.0).signal[0] == pytest.approx(x - x[500], abs=1e-6)
    inside = remove_baseline_spline(record(x), [0.5, 1.5], width_s=0.0).signal[0][250:751]
    assert inside == pytest.approx(np.zeros(501), abs=1e-6)
    holed = x.copy()
    holed[400:450] = np.nan
    assert (np.isnan(remove_baseline_spline(record(holed), [0.5, 1.2, 1.7]).signal[0]) == np.isnan(holed)).all()
    with pytest.raises(EcgError):
        remove_baseline_spline(record(x), [-1.0, 99.0, float("nan")])
