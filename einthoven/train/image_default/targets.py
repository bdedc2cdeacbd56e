"""Measured figures as a network's targets: those of a lead by lead, those of the whole ECG, and the median beat.

Letters: N ECGs, L leads, P figures of a lead, G figures of the whole, T samples of the beat.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from einthoven.record import STANDARD_LEADS
from einthoven.represent.features import BEAT_LEADS, BEAT_SAMPLES, FIGURES, NAMES

Floats = NDArray[np.float32]

_FAR = 4.0  # deviations: farther off is as far off
_OF_PATIENT = ("age", "male")
LEAD_NAMES = tuple(n.split(".", 1)[1] for n in FIGURES if n.startswith("I."))
PAGE_NAMES = tuple(n for n in FIGURES if n.split(".", 1)[0] not in STANDARD_LEADS and n not in _OF_PATIENT)
_LEAD_PLACES = np.array([[NAMES.index(f"{lead}.{n}") for n in LEAD_NAMES] for lead in STANDARD_LEADS])
_PAGE_PLACES = np.array([NAMES.index(n) for n in PAGE_NAMES])
BEAT_ROWS = tuple(STANDARD_LEADS.index(lead) for lead in BEAT_LEADS)
_BEAT_UNIT_MV = 0.1


@dataclass(frozen=True)
class Targets:
    """lead (N, L, P), page (N, G) by their spread in training ECGs, beat (N, 8, T) as arcsinh(mV / 0.1) / 2; NaN: unknown."""

    lead: Floats
    page: Floats
    beat: Floats


def targets(features: Floats, train: NDArray[np.intp]) -> Targets:
    """Of features (N, F); scaled by the median and spread of the rows `train`."""
    lead, page = features[:, _LEAD_PLACES], features[:, _PAGE_PLACES]
    beat = features[:, len(FIGURES) :].reshape(len(features), len(BEAT_LEADS), BEAT_SAMPLES)
    return Targets(_scaled(lead, train), _scaled(page, train), np.asarray(np.arcsinh(beat / _BEAT_UNIT_MV) / 2, np.float32))


def _scaled(x: Floats, train: NDArray[np.intp]) -> Floats:
    """A figure that never varies among training ECGs is unknown: nothing can be learned from it."""
    flat = x.reshape(len(x), -1)
    out = np.full(flat.shape, np.nan, np.float32)
    for k in range(flat.shape[1]):
        known = flat[train, k][np.isfinite(flat[train, k])]
        if len(known) < 2 or np.ptp(known) < 1e-9:
            continue
        low, middle, high = np.quantile(known, [0.16, 0.5, 0.84])
        spread = max((high - low) / 2, 0.3 * float(known.std()))
        out[:, k] = np.clip((flat[:, k] - middle) / spread, -_FAR, _FAR)
    return out.reshape(x.shape)
