"""Measurements in words: what is measured, its place among the adult limits, the signal's faults, what the rules say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from einthoven.represent.features import examined
from einthoven.represent.words import FIGURES, words
from einthoven.synth import Noise, simulate


def test_figures_their_limits_and_the_rules() -> None:
    record = simulate("lbbb", rate=72, seed=11, fs=100.0).record
    measured = examined(record).measurements
    plain, told = words(record).split("; "), words(record, limits=True, findings=True).split("; ")
    assert plain[0] == f"rate {measured['rate_bpm']:.0f} /min" and told[0] == plain[0] + " normal"
    assert (
        len(plain) == len(FIGURES) and told[6] == f"QRS {measured['qrs_ms']:.0f} ms high" and told[7] == plain[7]
    )  # QT has none
    assert told[1].endswith("ms normal") and "clbbb (definite)" in told[-1] and told[-1].startswith("rules: ")
    fast = words(simulate(rate=125, seed=3, fs=100.0).record, limits=True).split("; ")
    assert fast[0].endswith("/min high") and fast[1].endswith("ms low")


def test_a_noisy_lead_is_named_and_a_clean_record_is_said_to_be() -> None:
    clean = simulate(rate=70, seed=5, fs=100.0).record
    assert words(clean, quality=True).split("; ")[-3:] == ["noise none", "drift none", "mains none"]
    signal = clean.signal.copy()
    k = clean.leads.index("V3")
    signal[k] += 0.05 * np.random.default_rng(0).standard_normal(signal.shape[1])
    noisy = words(replace(clean, signal=signal), quality=True).split("; ")[-3]
    lead = examined(replace(clean, signal=signal)).quality.leads["V3"]
    assert noisy == f"noise V3 {lead.noise_uv:.0f}" and lead.noise_uv > 10


@pytest.mark.parametrize("limits", [False, True])
def test_what_cannot_be_measured_is_said_to_be_unknown(limits: bool) -> None:
    record = simulate("atrial_fibrillation", rate=80, seed=2, fs=100.0, noise=Noise(muscle=0.01)).record
    told = dict(part.split(" ", 1) for part in words(record, limits=limits).split("; ") if part.startswith("PR "))
    assert told == {"PR": "? ms"}
