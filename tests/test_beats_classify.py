"""Beat classes against the simulator's truth, and against what PTB-XL's readers said of a record."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from einthoven.beats.classify import classify
from einthoven.beats.fiducials import Beats
from einthoven.beats.spikes import pacing_spikes
from einthoven.record import Record
from einthoven.synth import Simulation, simulate

ECTOPY = ("pvc", "pvc_couplet", "bigeminy", "trigeminy", "pac")


def told(made: Simulation) -> tuple[str, ...]:
    """The kinds that `classify` gives when it is told none."""
    return classify(made.record, replace(made.beats, kinds=("N",) * len(made.beats))).kinds


def score(cases: list[Simulation]) -> tuple[dict[str, float], dict[str, float]]:
    """Sensitivity and positive predictive value per class."""
    pairs = Counter((t, p) for made in cases for t, p in zip(made.beats.kinds, told(made), strict=True))
    se, ppv = {}, {}
    for kind in "NSV/":
        hit = pairs[kind, kind]
        if of := sum(n for (t, _), n in pairs.items() if t == kind):
            se[kind] = hit / of
        if of := sum(n for (_, p), n in pairs.items() if p == kind):
            ppv[kind] = hit / of
    return se, ppv


@pytest.mark.parametrize("fs", [500.0, 100.0])
@pytest.mark.parametrize("noise", [None, 10.0])
def test_ectopic_beats(fs: float, noise: float | None) -> None:
    se, ppv = score([simulate(name, seed=seed, fs=fs, noise=noise) for name in ECTOPY for seed in range(6)])
    assert se["V"] > 0.95, se
    assert ppv["V"] > 0.97, ppv
    assert se["S"] > 0.85, se
    assert ppv["S"] > 0.85, ppv
    assert se["N"] > 0.98, se


@pytest.mark.parametrize(
    "labels",
    [
        ("sinus_rhythm", "lbbb"),
        ("sinus_tachycardia", "rbbb"),
        ("atrial_fibrillation", "lbbb"),
        ("sinus_arrhythmia",),
        ("atrial_fibrillation",),
        ("av_block_mobitz_1",),
        ("sinus_pause",),
        ("wpw",),
        ("svt",),
    ],
)
def test_what_is_one_rhythm_stays_one_class(labels: tuple[str, ...]) -> None:
    """A wide dominant beat is no ventricular beat, an irregular rhythm no row of premature ones."""
    kinds = Counter(k for seed in range(6) for k in told(simulate(*labels, seed=seed, noise=15.0)))
    assert kinds["N"] / kinds.total() > 0.96, kinds


@pytest.mark.parametrize("labels", [("pvc", "lbbb"), ("pvc", "rbbb"), ("bigeminy", "lbbb")])
def test_ventricular_beats_beside_a_bundle_branch_block(labels: tuple[str, ...]) -> None:
    se, ppv = score([simulate(*labels, seed=seed) for seed in range(8)])
    assert se["V"] > 0.85, se
    assert ppv["V"] > 0.95, ppv


def test_ventricular_rhythms() -> None:
    names = ("ventricular_tachycardia", "idioventricular_rhythm")
    se, _ = score([simulate(name, seed=seed) for name in names for seed in range(12)])
    assert se["V"] > 0.75, se


@pytest.mark.parametrize(("fs", "least"), [(500.0, 0.93), (100.0, 0.65)])
def test_paced_beats_and_their_spikes(fs: float, least: float) -> None:
    cases = [simulate(n, seed=seed, fs=fs) for n in ("ventricular_pacing", "dual_pacing") for seed in range(8)]
    hits = [np.abs(pacing_spikes(c.record)[:, None] - np.array(c.truth["spikes_s"])).min(0) < 0.02 for c in cases]
    assert np.concatenate(hits).mean() > least
    se, ppv = score(cases)
    assert se["/"] > 0.9, se
    assert ppv["/"] > 0.97, ppv


@pytest.mark.parametrize("fs", [500.0, 100.0])
def test_no_spikes_where_nothing_paces(fs: float) -> None:
    names = ("sinus_rhythm", "sinus_tachycardia", "lafb", "rvh", "lvh", "wpw", "pvc", "atrial_fibrillation")
    cases = [simulate(n, seed=seed, fs=fs, noise=noise) for n in names for seed in range(3) for noise in (None, 10.0)]
    assert sum(len(pacing_spikes(c.record)) > 0 for c in cases) <= 1


def test_classes_do_not_depend_on_which_leads_there_are() -> None:
    made = simulate("pvc", seed=3, rate=80)
    whole = told(made)
    for leads in (("I", "II"), ("II",), ("I", "II", "V1", "V5")):
        rows = [made.beats.leads.index(n) for n in leads]
        few = replace(made.beats, leads=leads, times=made.beats.times[:, rows], lone_p=made.beats.lone_p[:, rows])
        assert classify(made.record.pick(leads), few).kinds == whole
    lost = made.record.signal.copy()
    lost[5:9] = np.nan
    assert classify(replace(made.record, signal=lost), made.beats).kinds == whole


def test_no_beats_no_classes() -> None:
    made = simulate(seed=1)
    none = Beats(made.beats.leads, made.beats.times[:0], made.beats.overall[:0], (), 10.0)
    assert classify(made.record, none).kinds == ()
    one = Beats(made.beats.leads, made.beats.times[:1], made.beats.overall[:1], ("V",), 10.0)
    assert classify(made.record, one).kinds == ("N",)


def ptbxl(folder: Path) -> list[tuple[str, Record]]:
    """(statements, record) at 100 Hz: all that are paced, the first with PVCs, the first with neither."""
    from einthoven.io import read

    with open(folder / "ptbxl" / "ptbxl_database.csv", newline="") as f:
        rows = list(csv.DictReader(f))
    paced = [r for r in rows if "'PACE'" in r["scp_codes"]]
    ectopic = [r for r in rows if "'PVC'" in r["scp_codes"] and "'PACE'" not in r["scp_codes"]]
    others = [r for r in rows if "'PVC'" not in r["scp_codes"] and "'PACE'" not in r["scp_codes"]]
    chosen = others[:45] + paced + ectopic[:20]
    return [(r["scp_codes"], read(folder / "ptbxl" / (r["filename_lr"] + ".hea"))) for r in chosen]


def test_agrees_with_the_readers_of_ptbxl(shared_data: Path) -> None:
    """Qualitative: most records that were said to have PVCs or a pacemaker show one, few others do."""
    from einthoven.beats.delineate import delineate

    found: dict[tuple[str, bool], list[bool]] = {}
    for codes, record in ptbxl(shared_data):
        kinds = classify(record, delineate(record)).kinds
        for name, kind, least in (("PVC", "V", 1), ("PACE", "/", 2)):
            if name == "PVC" and "'PACE'" in codes:
                continue
            found.setdefault((name, f"'{name}'" in codes), []).append(kinds.count(kind) >= least)
    assert np.mean(found["PVC", True]) > 0.85
    assert np.mean(found["PVC", False]) < 0.06
    assert np.mean(found["PACE", True]) > 0.6
    assert np.mean(found["PACE", False]) < 0.01
