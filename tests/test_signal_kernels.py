"""scipy.signal's results by our own loops."""

import numpy as np
import pytest
from scipy import signal

from einthoven.beats.delineate import _highpass
from einthoven.signal.kernels import forward_backward, lowpass_taps, polyphase


@pytest.mark.parametrize(("half", "cutoff", "beta"), [(20, 1 / 2, 5.0), (480, 0.9 / 20, 8.0), (7, 0.3, 8.0)])
def test_taps_are_firwin_s(half: int, cutoff: float, beta: float) -> None:
    wanted = signal.firwin(2 * half + 1, cutoff, window=("kaiser", beta))
    np.testing.assert_allclose(lowpass_taps(half, cutoff, beta), wanted, rtol=1e-11, atol=1e-16)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize(("up", "down"), [(1, 2), (2, 5), (5, 2), (250, 257), (250, 360), (10, 4), (7, 1)])
@pytest.mark.parametrize("n", [2, 11, 700])
def test_polyphase_is_resample_poly(up: int, down: int, n: int, kind: type) -> None:
    x = np.random.default_rng(n).normal(size=(3, n)).astype(kind)
    taps = lowpass_taps(10 * max(up, down), 1 / max(up, down), 5.0).astype(kind)
    for ours, theirs in (("level", "edge"), ("odd", "antireflect")):
        wanted = signal.resample_poly(x, up, down, axis=1, window=taps, padtype=theirs)
        made = polyphase(x, taps, up, down, ours)  # type: ignore[arg-type]
        assert made.shape == wanted.shape and made.dtype == wanted.dtype
        np.testing.assert_allclose(made, wanted, rtol=0, atol=1e-5 if kind is np.float32 else 1e-13)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("pad", [0, 9, 250])
def test_forward_backward_is_sosfiltfilt(pad: int, kind: type) -> None:
    x = np.random.default_rng(pad).normal(size=(3, 400)).astype(kind)
    kept = x.copy()
    for order, band, name in ((2, 0.5, "highpass"), (4, [0.5, 40], "bandpass"), (3, 100, "lowpass")):
        sos = signal.butter(order, band, name, fs=250, output="sos")
        wanted = signal.sosfiltfilt(sos, x, axis=1, padlen=pad)
        np.testing.assert_allclose(forward_backward(sos, x, pad), wanted, rtol=0, atol=1e-9)
    assert np.array_equal(x, kept)


def test_the_delineator_s_highpass_is_butterworth_s() -> None:
    np.testing.assert_allclose(_highpass(), signal.butter(2, 0.5, "highpass", fs=250, output="sos"), rtol=0, atol=1e-14)
