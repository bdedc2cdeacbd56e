"""A sine's power stands at its frequency, all power is the variance, gaps are left out."""

import numpy as np
import pytest

from einthoven.record import Record
from einthoven.signal.spectrum import spectrum


def test_a_sine_stands_at_its_frequency_with_its_power() -> None:
    t = np.arange(5000) / 500
    signal = np.stack([0.2 * np.sin(2 * np.pi * 50 * t), np.full(5000, 1.0), np.sin(2 * np.pi * 8 * t)]).astype(np.float32)
    signal[2, 2500] = np.nan
    made = spectrum(Record(signal, 500.0, ("I", "II", "V1")))
    step = made.hz[1]
    assert made.power.shape == (3, 1001) and step == 0.25 and made.hz[-1] == 250
    assert made.hz[made.power[0].argmax()] == 50 and made.power[0].sum() * step == pytest.approx(200**2 / 2, rel=1e-3)
    assert made.power[1].max() == pytest.approx(0)  # the mean is taken out
    assert made.hz[made.power[2].argmax()] == 8 and made.power[2].sum() * step == pytest.approx(1000**2 / 2, rel=1e-3)


def test_all_power_is_the_variance_of_noise_and_a_lead_without_a_whole_stretch_has_none() -> None:
    rng = np.random.default_rng(1)
    signal = rng.normal(0, 0.1, (2, 20_000)).astype(np.float32)
    signal[1, ::100] = np.nan
    made = spectrum(Record(signal, 500.0, ("I", "II")))
    assert made.power[0].sum() * made.hz[1] == pytest.approx(100**2, rel=0.03)
    assert np.isnan(made.power[1]).all()
