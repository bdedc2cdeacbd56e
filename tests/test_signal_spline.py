"""The cubic through points, against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

from einthoven.signal.spline import cubic


@pytest.mark.parametrize("count", [4, 5, 60])
def test_the_spline_is_that_of_scipy(count: int) -> None:
    rng = np.random.default_rng(count)
    x, y = np.cumsum(rng.uniform(0.5, 1.5, count)), rng.normal(size=count)
    at = np.linspace(x[0] - 0.2, x[-1] + 0.2, 333)
    np.testing.assert_allclose(cubic(x, y, at), CubicSpline(x, y)(at), atol=1e-12)
