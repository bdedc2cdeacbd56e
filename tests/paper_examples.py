"""An ECG whose every figure is known, for the tests of paper and report."""

from __future__ import annotations

import numpy as np

from einthoven.record import STANDARD_LEADS, Record


def record_of(leads: tuple[str, ...] = STANDARD_LEADS, seconds: float = 10.0, fs: float = 500.0) -> Record:
    """A beat a second, another height in each lead."""
    t = np.arange(round(seconds * fs)) / fs
    beat = np.exp(-(((t % 1.0) - 0.5) ** 2) / (2 * 0.012**2)) + 0.2 * np.exp(-(((t % 1.0) - 0.8) ** 2) / (2 * 0.04**2))
    heights = np.linspace(-1.2, 1.8, len(leads))
    return Record((heights[:, None] * beat).astype(np.float32), fs, leads)
