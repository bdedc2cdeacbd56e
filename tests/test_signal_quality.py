"""Every flag is raised by planting just that fault on a clean ECG, and none by the clean ECG."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import einthoven
from einthoven.record import STANDARD_LEADS, Record
from einthoven.signal.quality import Quality, assess
from einthoven.synth import Noise, simulate

EYE = Path(__file__).parents[1] / "bench" / "quality_by_eye.csv"
T = np.arange(5000) / 500
RNG = np.random.default_rng(0)


def clean(seed: int = 1, **numbers: float) -> Record:
    """A made ECG with the 2 uV of noise that every amplifier has."""
    record = simulate(seed=seed, **numbers).record
    hiss = np.random.default_rng(seed).normal(0, 0.002, record.signal.shape)
    return replace(record, signal=(record.signal + hiss).astype(np.float32))


def planted(fault: Callable[[np.ndarray], np.ndarray], lead: str = "V3", seed: int = 1) -> Quality:
    record = clean(seed)
    signal = record.signal.copy()
    i = record.leads.index(lead)
    signal[i] = fault(signal[i])
    return assess(replace(record, signal=signal))


def tremor(x: np.ndarray) -> np.ndarray:
    return x + RNG.normal(0, 0.04, x.size)


def burst(x: np.ndarray) -> np.ndarray:
    return x + np.where((T > 4) & (T < 6), RNG.normal(0, 0.08, x.size), 0)


def rails(x: np.ndarray) -> np.ndarray:
    return np.where((T > 3) & (T < 4), 5.0, x)


def gap(x: np.ndarray) -> np.ndarray:
    return np.where(T < 3, np.nan, x)


def spikes(x: np.ndarray) -> np.ndarray:
    return x + 3.0 * (np.arange(x.size) % 53 == 0)


FAULTS: list[tuple[str, Callable[[np.ndarray], np.ndarray]]] = [
    ("missing", gap),
    ("flat", lambda x: 0 * x + 0.3),
    ("flat", lambda x: np.where((T > 5) & (T < 7), x[2500], x)),
    ("saturated", rails),
    ("saturated", lambda x: np.clip(3 * x, -0.6, 0.6)),
    ("noisy", tremor),
    ("noisy", burst),
    ("mains", lambda x: x + 0.1 * np.sin(2 * np.pi * 50 * T)),
    ("mains", lambda x: x + 0.1 * np.sin(2 * np.pi * 60 * T + 1)),
    ("baseline", lambda x: x + 0.6 * np.sin(2 * np.pi * 0.25 * T)),
    ("steps", lambda x: x + 1.0 * (T > 5.3)),
    ("spikes", spikes),
    ("gain", lambda x: 0.04 * x),
    ("gain", lambda x: 30 * x),
]


@pytest.mark.parametrize("flag, fault", FAULTS, ids=[f"{i}-{f}" for i, (f, _) in enumerate(FAULTS)])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_planted_fault_is_named_in_its_lead_and_in_no_other(
    flag: str, fault: Callable[[np.ndarray], np.ndarray], seed: int
) -> None:
    found = planted(fault, seed=seed)
    assert flag in found.leads["V3"].flags
    assert all(not q.flags for name, q in found.leads.items() if name != "V3")
    assert found.leads["V3"].score < planted(lambda x: x, seed=seed).leads["V3"].score or flag == "missing"


def lost(x: np.ndarray) -> np.ndarray:
    return np.where(T < 6, RNG.normal(0, 0.5, x.size), x)


# What a reader still reads in a lead, and what he does not: half of the time decides, and wander never.
BORNE: list[Callable[[np.ndarray], np.ndarray]] = [
    lambda x: x + RNG.normal(0, 0.02, x.size),
    lambda x: np.where(T < 4, RNG.normal(0, 0.5, x.size), x),
    lambda x: x + 1.5 * np.sin(2 * np.pi * 0.25 * T) + 1.0 * (T > 5.3) + RNG.normal(0, 0.012, x.size),
    lambda x: np.where(T > 9.8, 5.0, x),
]
NOT_BORNE: list[Callable[[np.ndarray], np.ndarray]] = [
    lambda x: x + RNG.normal(0, 0.1, x.size),
    lambda x: x + 0.2 * np.sin(2 * np.pi * 50 * T),
    lost,
    lambda x: np.clip(3 * x, -0.6, 0.6),
    lambda x: np.where(T < 6, 0.2, x),
    lambda x: 0 * x,
]


@pytest.mark.parametrize("fault, usable", [(f, True) for f in BORNE] + [(f, False) for f in NOT_BORNE])
def test_a_lead_is_usable_while_half_of_it_can_be_read(fault: Callable[[np.ndarray], np.ndarray], usable: bool) -> None:
    found = planted(fault)
    assert found.leads["V3"].flags and found.leads["V3"].usable == usable
    assert found.readable == ("good" if usable else "limited")


def test_leads_judged_by_eye(shared_data) -> None:  # type: ignore[no-untyped-def]
    """bench/quality_by_eye.csv: of the leads that could be read, none but one is refused; of those that could not, most are."""
    with open(EYE, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    known = {path: assess(einthoven.read(shared_data / path).ecg()) for path in {r["record"] for r in rows}}
    said = [(r["usable"] == "1", known[r["record"]].leads[r["lead"]].usable) for r in rows]
    assert sum(not here for eye, here in said if eye) <= 1
    assert sum(here for eye, here in said if not eye) <= 4  # of 15
    # its chest leads wander, one rides off the paper for a second, aVL drowns in tremor
    assert [n for n, q in known["challenge/JS/JS20019.hea"].leads.items() if not q.usable] == ["aVL"]


@pytest.mark.parametrize("seed", range(8))
def test_a_clean_ecg_has_no_flag(seed: int) -> None:
    found = assess(clean(seed, rate=50 + 12 * seed))
    assert found.readable == "good" and not found.flags
    assert not any(q.flags for q in found.leads.values())
    assert found.score > 0.75


@pytest.mark.parametrize("label", ["atrial_fibrillation", "rbbb", "lbbb", "pvc", "ventricular_pacing", "stemi_inferior", "lvh"])
def test_an_ill_heart_is_not_a_bad_recording(label: str) -> None:
    for seed in range(4):
        sim = simulate(label, seed=seed)
        record = replace(
            sim.record, signal=(sim.record.signal + np.random.default_rng(seed).normal(0, 0.002, (12, 5000))).astype(np.float32)
        )
        found = assess(record)
        assert found.readable != "unreadable" and not found.flags, (seed, found.flags)


def test_amounts_are_right() -> None:
    found = planted(lambda x: x + 0.05 * np.sin(2 * np.pi * 50 * T) + 0.3 * np.sin(2 * np.pi * 0.2 * T)).leads["V3"]
    assert found.mains_uv == pytest.approx(50, rel=0.05)
    assert found.wander_uv == pytest.approx(300 / np.sqrt(2), rel=0.25)
    noise = planted(lambda x: x + RNG.normal(0, 0.02, x.size)).leads["V3"].noise_uv
    assert noise == pytest.approx(20 * np.sqrt(225 / 250), rel=0.2)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("pair", ["RA-LA", "RA-LL", "RA-RL", "LA-RL"])
def test_interchanged_limb_electrodes(pair: str, seed: int) -> None:
    record = clean(seed)
    one, two = record.lead("I"), record.lead("II")
    # potentials up to a constant: RA = 0, LA = I, LL = II; the right leg has that of the left leg to one per cent
    la, ll, rl = one, two, 0.99 * two
    ra = np.zeros_like(one)
    ra, la, ll = {"RA-LA": (la, ra, ll), "RA-LL": (ll, la, ra), "RA-RL": (rl, la, ll), "LA-RL": (ra, rl, ll)}[pair]
    limbs = [la - ra, ll - ra, ll - la, ra - (la + ll) / 2, la - (ra + ll) / 2, ll - (ra + la) / 2]
    found = assess(replace(record, signal=np.concatenate([limbs, record.signal[6:]]).astype(np.float32)))
    assert f"limb-lead reversal {pair}" in found.flags
    assert found.readable != "good"


def test_reversal_is_not_judged_without_the_chest_leads() -> None:
    record = clean()
    turned = replace(record.pick(("I", "II")), signal=-record.pick(("I", "II")).signal)
    assert not any("reversal" in f for f in assess(turned).flags)


@pytest.mark.parametrize("times", [0.001, 0.1, 10, 1000])
def test_a_wrong_gain_of_the_whole_record(times: float) -> None:
    for seed in range(5):
        record = clean(seed)
        assert "wrong gain" in assess(replace(record, signal=(times * record.signal).astype(np.float32))).flags


@pytest.mark.parametrize("times", [0.2, 4, 5])
def test_a_wrong_sampling_rate(times: float) -> None:
    found = ["wrong sampling rate" in assess(replace(clean(seed), fs=500 * times)).flags for seed in range(10)]
    assert np.mean(found) >= 0.8
    assert "low sampling rate" in assess(replace(clean(), fs=50.0)).flags


def test_long_records_are_judged_in_windows() -> None:
    record = clean()
    hour = replace(record, signal=np.tile(record.signal, (1, 60)))
    found = assess(hour)
    assert found.readable == "good" and not any(q.flags for q in found.leads.values())
    bad = hour.signal.copy()
    bad[7, bad.shape[1] // 2 :] = 0
    found = assess(replace(hour, signal=bad))
    assert found.leads["V2"].flags == ("flat",) and found.readable == "limited"


def test_readable_goes_from_good_to_unreadable() -> None:
    record = clean()
    states = []
    for lost in (0, 3, 12):
        signal = record.signal.copy()
        signal[:lost] = 0
        states.append(assess(replace(record, signal=signal)).readable)
    assert states == ["good", "limited", "unreadable"]


@pytest.mark.parametrize("fs", [1.0, 50.0, 100.0, 257.0, 500.0, 1000.0])
@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5, 20, 99, 1000])
def test_nothing_makes_it_raise(n: int, fs: float) -> None:
    with np.errstate(divide="raise", over="raise", invalid="raise"):
        for signal in (np.zeros((12, n)), np.full((12, n), np.nan), np.full((12, n), np.inf), RNG.normal(0, 1, (12, n))):
            found = assess(Record(signal.astype(np.float32), fs, STANDARD_LEADS))
            assert set(found.leads) == set(STANDARD_LEADS) and 0 <= found.score <= 1
        assert assess(Record(np.zeros((1, n), np.float32), fs, ("II",))).readable == "unreadable"
        assert assess(Record(np.zeros((0, n), np.float32), fs, ())).readable == "unreadable"


def test_fold_9_of_ptb_xl_is_rarely_accused(shared_data) -> None:  # type: ignore[no-untyped-def]
    """The figures with intervals: bench/quality.py. Here only that they did not get worse."""
    with open(shared_data / "ptbxl" / "ptbxl_database.csv", newline="", encoding="utf-8") as file:
        rows = [r for r in csv.DictReader(file) if r["strat_fold"] == "9"][:120]
    found = [assess(einthoven.read(shared_data / "ptbxl" / f"{r['filename_lr']}.hea")) for r in rows]
    assert sum(bool(f.flags) for f in found) <= 2
    assert not any(f.readable == "unreadable" for f in found)
    assert np.mean([bool(q.flags) for f in found for q in f.leads.values()]) < 0.12


def test_leads_printed_one_after_another_are_judged_over_their_own_stretch() -> None:
    """Three rows by four columns, as on paper: each column is what a record of that column alone would be."""
    record = simulate(rate=70, noise=Noise(muscle=0.02), seed=2).record
    columns = (("I", "II", "III"), ("aVR", "aVL", "aVF"), ("V1", "V2", "V3"), ("V4", "V5", "V6"))
    signal = np.full_like(record.signal, np.nan)
    for k, leads in enumerate(columns):
        rows = [record.leads.index(name) for name in leads]
        signal[rows, 1250 * k : 1250 * (k + 1)] = record.signal[rows, 1250 * k : 1250 * (k + 1)]
    printed = assess(replace(record, signal=signal))
    for k, leads in enumerate(columns):
        alone = assess(record.pick(leads).crop(2.5 * k, 2.5 * (k + 1)))
        for name in leads:
            assert printed.leads[name] == replace(alone.leads[name], flags=("missing", *alone.leads[name].flags))
    assert printed.readable != "unreadable"
