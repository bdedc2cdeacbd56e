"""How the limits of einthoven.signal.quality were found, and what they detect.

    python bench/quality.py          # detection and false alarms on fold 9 (PTB-XL subset), with intervals
    python bench/quality.py --fit    # refits the constants on folds 1-8 and prints them
    python bench/quality.py --eye    # against leads that were looked at (bench/quality_by_eye.csv)
    python bench/quality.py --simulated    # from which noise on measurements leave their tolerance

The truth for noise, wander and electrode faults is PTB-XL's own columns (static_noise, burst_noise, baseline_drift), which
name leads but are not complete; reversals, gains and rates are planted on records that are taken to be right.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

import einthoven
from einthoven.beats.measurements import LeadMeasurements
from einthoven.record import STANDARD_LEADS, EcgError, Record
from einthoven.signal import quality as q

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("EINTHOVEN_DATA") or ROOT.parent / "shared" / "data")

Rows = list[dict[str, str]]
_UPPER = [n.upper() for n in STANDARD_LEADS]
_SWAPS = {"RA-LA": (-1, 0, -1, 1), "RA-LL": (1, -1, 0, -1), "LA-LL": (0, 1, 1, 0)}


def leads_named(words: str) -> set[str] | None:
    """The leads of a PTB-XL signal remark such as ", I-AVR," or "v5-6,"; empty for no remark, None where it names no lead."""
    words = re.sub(r"MITTEL|STARK|LEICHT|[ ?]", "", words.upper()).replace(".", ",").replace("V1V6", "V1,V6")
    if "ALLE" in words:
        return set(STANDARD_LEADS)
    words = re.sub(r"(?<=\d)([,-])(?=\d)", r"\1V", words)
    found: set[str] = set()
    for part in words.split(","):
        ends = part.split("-")
        if all(e in _UPPER for e in ends):
            found |= set(STANDARD_LEADS[_UPPER.index(ends[0]) : _UPPER.index(ends[-1]) + 1])
    return found if found or not words.strip(",1") else None


def swapped(record: Record, pair: str) -> Record:
    """The record as two exchanged limb electrodes would have given it."""
    a, b, c, d = _SWAPS[pair]
    one, two = record.lead("I"), record.lead("II")
    I, II = a * one + b * two, c * one + d * two
    limbs = [I, II, II - I, -(I + II) / 2, I - II / 2, II - I / 2]
    return replace(record, signal=np.concatenate([np.stack(limbs), record.signal[6:]]).astype(np.float32))


def interval(hits: int, of: int) -> str:
    """hits / of with its 95 % Wilson interval, in percent."""
    if not of:
        return "-"
    z, p = 1.96, hits / of
    middle, half = (p + z * z / 2 / of) / (1 + z * z / of), z * np.sqrt(p * (1 - p) / of + z * z / 4 / of**2) / (1 + z * z / of)
    return f"{100 * p:5.1f} [{100 * (middle - half):.1f}, {100 * (middle + half):.1f}] ({hits}/{of})"


def read_all(rate: int) -> tuple[Rows, list[Record]]:
    folder = DATA / "ptbxl"
    column = "filename_lr" if rate == 100 else "filename_hr"
    with open(folder / "ptbxl_database.csv", newline="", encoding="utf-8") as file:
        rows = [r for r in csv.DictReader(file) if (folder / f"{r[column]}.hea").exists()]
    return rows, [einthoven.read(folder / f"{r[column]}.hea") for r in rows]


def spectrum_of(record: Record) -> q._Spectrum:
    return q._spectrum(record.signal, record.fs)


def report(rate: int) -> None:
    rows, records = read_all(rate)
    test = [(r, x) for r, x in zip(rows, records, strict=True) if r["strat_fold"] == "9"]
    found = [q.assess(x) for _, x in test]
    print(f"\nPTB-XL subset, fold 9, {rate} Hz: {len(test)} records; per cent [95 % Wilson interval] (count)")
    print(f"readable: { {k: sum(f.readable == k for f in found) for k in ('good', 'limited', 'unreadable')} }")
    for column, flags in (
        ("baseline_drift", {"baseline", "steps"}),
        ("static_noise", {"noisy", "mains"}),
        ("burst_noise", {"noisy", "mains"}),
    ):
        truth = [leads_named(r[column]) for r, _ in test]
        pairs = [
            (n in t, bool(flags & set(f.leads[n].flags)))
            for t, f in zip(truth, found, strict=True)
            if t is not None
            for n in STANDARD_LEADS
        ]
        said = [any(flags & set(lead.flags) for lead in f.leads.values()) for f in found]
        real = [bool(r[column].strip()) for r, _ in test]
        print(
            f"{column:15s} leads: found {interval(sum(a and b for a, b in pairs), sum(a for a, _ in pairs))}, "
            f"flagged without remark {interval(sum(b and not a for a, b in pairs), sum(not a for a, _ in pairs))}"
        )
        print(
            f"{'':15s} records: found {interval(sum(a and b for a, b in zip(real, said, strict=True)), sum(real))}, "
            f"flagged without remark {interval(sum(b and not a for a, b in zip(real, said, strict=True)), real.count(False))}"
        )
    for flag in ("flat", "saturated", "gain", "spikes", "steps"):
        share = sum(flag in lead.flags for f in found for lead in f.leads.values())
        print(f"{flag:15s} leads flagged {interval(share, 12 * len(found))}")

    faults: list[tuple[str, str, Callable[[Record], Record]]] = [
        *((f"limb-lead reversal {p}", f"limb-lead reversal {p}", lambda x, p=p: swapped(x, p)) for p in _SWAPS),  # type: ignore[misc]
        *(
            (f"gain x {k:g}", "wrong gain", lambda x, k=k: replace(x, signal=(k * x.signal).astype(np.float32)))  # type: ignore[misc]
            for k in (0.001, 0.1, 0.2, 5, 10, 1000)
        ),
        *(
            (f"rate x {k:g}", "sampling rate", lambda x, k=k: replace(x, fs=k * x.fs))  # type: ignore[misc]
            for k in (0.2, 0.25, 0.4, 0.5, 2, 2.5, 4, 5)
        ),
    ]
    print("planted faults: found; false on the records as they are (rates below 80 Hz have a flag of their own, counted too)")
    for words, flag, plant in faults:
        hits = sum(any(flag in f for f in q.assess(plant(x)).flags) for _, x in test)
        false = sum(any(flag in g for g in f.flags) for f in found)
        print(f"  {words:26s} {interval(hits, len(test))}   {interval(false, len(test))}")


def elsewhere() -> None:
    """False alarms on databases that nothing was fitted to: LUDB and the PhysioNet Challenges' sets without PTB-XL."""
    for words, paths in (
        ("LUDB", sorted((DATA / "ludb" / "data").glob("*.hea"))),
        ("Challenge A, E, JS, Q, S", [p for p in sorted((DATA / "challenge").rglob("*.hea")) if not p.name.startswith("HR")]),
    ):
        records, refused = [], 0
        for path in paths:
            try:
                records.append(einthoven.read(path))
            except EcgError:
                refused += 1
        found = [q.assess(x) for x in records]
        print(f"\n{words}: {len(records)} records, {refused} not readable as files")
        print(f"readable: { {k: sum(f.readable == k for f in found) for k in ('good', 'limited', 'unreadable')} }")
        for flag in sorted({g for f in found for g in f.flags}):
            print(f"  {flag:26s} {interval(sum(flag in f.flags for f in found), len(found))}")
        for flag in sorted({g for f in found for lead in f.leads.values() for g in lead.flags}):
            share = sum(flag in lead.flags for f in found for lead in f.leads.values())
            print(f"  {flag:26s} {interval(share, sum(len(f.leads) for f in found))} of the leads")
        for pair in ("RA-LA", "RA-LL"):
            whole = [x for x in records if x.leads == STANDARD_LEADS]
            hits = sum(f"limb-lead reversal {pair}" in q.assess(swapped(x, pair)).flags for x in whole)
            print(f"  planted {pair} found        {interval(hits, len(whole))}")


def eye() -> None:
    """Against leads that were judged by eye, on paper at 25 mm/s and 10 mm/mV, without knowing what `assess` says of them.

    usable: QRS can be seen beat by beat and the level of ST be told within a millimetre, in half of the ten seconds at least.
    noisy: noise or hum of a small square (0.1 mV from peak to peak) or more, throughout or in a burst.
    drawn: out of which heap, by the verdict of the earlier limits: unusable, flat, low (score below 0.15), flag, plain; or hard
    (noise over 2 % of the swing, mains over 40 uV, a burst over 50 uV). Records of folds 1-8, LUDB and the Challenges; a record
    is in one half only. The limits were set on the half "develop"; shares within a heap hold, shares over all do not.
    """
    with open(ROOT / "bench" / "quality_by_eye.csv", newline="", encoding="utf-8") as file:
        rows = [r for r in csv.DictReader(file) if (DATA / r["record"]).exists()]
    known = {p: q.assess(einthoven.read(DATA / p).ecg()) for p in sorted({r["record"] for r in rows})}
    for half in ("develop", "test"):
        part = [(r, known[r["record"]].leads[r["lead"]]) for r in rows if r["half"] == half]
        count = len({r["record"] for r, _ in part})
        print(f"\nby eye, {half}: {len(part)} leads of {count} records; per cent [95 % Wilson interval]")
        for words, truth, said in (
            ("not usable", lambda r: r["usable"] == "0", lambda x: not x.usable),
            ("noisy", lambda r: r["noisy"] == "1", lambda x: bool({"noisy", "mains"} & set(x.flags))),
        ):
            yes = [said(x) for r, x in part if truth(r)]
            no = [said(x) for r, x in part if not truth(r)]
            print(f"  {words:12s} found {interval(sum(yes), len(yes))}, said of others {interval(sum(no), len(no))}")
        for r, x in part:
            if (r["usable"] == "1") != x.usable:
                seen = "usable" if r["usable"] == "1" else "not usable"
                print(f"    {r['record']} {r['lead']}: {seen} by eye, not so here ({', '.join(x.flags) or 'no flag'})")


def simulated() -> None:
    """Muscle noise and hum on simulated ECGs: the share of leads in which a figure leaves its tolerance, by what was measured.

    Tolerances: ST at J + 80 ms, T, Q 0.05 mV; R to S 10 % or 0.05 mV, against the same ECG without noise.
    """
    from einthoven.beats.classify import classify
    from einthoven.beats.delineate import delineate
    from einthoven.beats.measure import measure
    from einthoven.synth import Noise, simulate

    labels = ("sinus_rhythm", "rbbb", "lbbb", "stemi_inferior", "lvh")
    seeds = range(1000, 1025)

    def measured(record: Record) -> Mapping[str, LeadMeasurements]:
        return measure(record, classify(record, delineate(record))).leads

    truth = {s: measured(simulate(labels[s % len(labels)], seed=s).record) for s in seeds}
    for kind, figure, levels, edges in (
        (
            "muscle",
            "noise_uv",
            (0.005, 0.01, 0.02, 0.03, 0.045, 0.065, 0.1, 0.15, 0.25),
            (0, 4, 8, 12, 16, 20, 30, 40, 50, 65, 80, 100, 130, 170),
        ),
        ("mains", "mains_uv", (0.02, 0.05, 0.1, 0.2, 0.4), (0, 25, 50, 75, 100, 150, 200, 300, 500)),
        ("wander", "wander_uv", (0.1, 0.2, 0.4, 0.8, 1.6), (0, 100, 200, 300, 500, 800, 1200, 2000)),
    ):
        rows = []
        for level in levels:
            for s in seeds:
                record = simulate(labels[s % len(labels)], seed=s, noise=Noise(**{kind: level})).record
                quality, found = q.assess(record), measured(record)
                for name, x in found.items():
                    y, lead = truth[s][name], quality.leads[name]
                    tall = max(0.05, 0.1 * y.qrs_peak_to_peak_mv)
                    gaps = (
                        abs(x.st_j80_mv - y.st_j80_mv) / 0.05,
                        abs(x.t_mv - y.t_mv) / 0.05,
                        abs(x.q_mv - y.q_mv) / 0.05,
                        abs(x.qrs_peak_to_peak_mv - y.qrs_peak_to_peak_mv) / tall,
                    )
                    flagged = bool({"noisy", "mains", "baseline", "steps"} & set(lead.flags))
                    out = [not gap <= 1 for gap in gaps]  # NaN, not to be measured, is out too
                    rows.append((getattr(lead, figure), *out, flagged, not lead.usable))
        table = np.array(rows, float)
        print(f"\n{kind}: {figure}, leads; per cent beyond tolerance of ST, T, Q, R to S; flagged, not usable")
        for a, b in pairwise(edges):
            part = table[(table[:, 0] >= a) & (table[:, 0] < b)]
            if len(part) >= 20:
                print(f"  {a:4d}-{b:<4d} {len(part):5d} " + " ".join(f"{100 * v:4.0f}" for v in part[:, 1:].mean(0)))


def fit() -> None:
    """Folds 1-8: predictions of I and II from the chest leads, weights and limits of reversal and rate."""
    rows, records = read_all(100)
    train = [x for r, x in zip(rows, records, strict=True) if r["strat_fold"] != "9"]
    spectra = [spectrum_of(x) for x in train]
    chest = []
    for low, high in q._REVERSAL_BANDS:
        total = np.zeros((8, 8))
        for s in spectra:
            bins = s.bins[[STANDARD_LEADS.index(n) for n in q._EIGHT]][:, (s.f >= low) & (s.f < high)].astype(np.complex128)
            c = (bins @ bins.conj().T).real
            total += c / max(np.trace(c), 1e-12)
        ridge = 1e-3 * np.trace(total[2:, 2:]) / 6 * np.eye(6)
        chest.append(np.linalg.solve(total[2:, 2:] + ridge, total[2:, :2]).T.round(3))
    print("_FROM_CHEST", [c.tolist() for c in chest])
    q._FROM_CHEST = (chest[0], chest[1])
    for pair in q._INTERCHANGE:
        plain = np.array([q.gains_by_undoing(s, STANDARD_LEADS)[pair] for s in spectra])
        planted = np.array([q.gains_by_undoing(spectrum_of(swapped(x, pair)), STANDARD_LEADS)[pair] for x in train])
        weights = discriminant(plain, planted)
        limit = float(np.quantile(plain @ weights, 0.998))
        print(pair, weights.round(2).tolist(), "limit", round(limit, 2), "found", np.mean(planted @ weights > limit).round(4))
    dead = np.array([list(q.dead_leads(s, STANDARD_LEADS).values()) for s in spectra])
    print("limb leads without voltage, lowest shares of power:", np.sort(dead, axis=0)[:4].round(5).tolist())
    swing = np.sort([float(np.median(np.ptp(q._windows(x.signal, 5), axis=2))) for x in train])
    print("median swing of the leads, mV: lowest", swing[:4].round(3), "highest", swing[-4:].round(2))
    figures = [q.pace_figures(s, list(range(12))) for s in spectra]
    log = np.log([f for f in figures if f is not None])
    mean, inverse = log.mean(0), np.linalg.inv(np.cov(log.T))
    along = inverse @ np.array([1.0, -1.0])
    along /= np.sqrt(along @ np.cov(log.T) @ along)
    print("_RATE_MEAN", mean.round(3).tolist(), "_RATE_WEIGHTS", along.round(3).tolist())
    remarks(*read_all(500))
    print("rate error, extremes:", np.quantile((log - mean) @ along, [0, 0.001, 0.999, 1]).round(2))


def remarks(rows: Rows, records: list[Record]) -> None:
    """What leads with and without a remark measure, folds 1-8."""
    train = [(r, q._figures(x.signal, np.isfinite(x.signal), x.fs, spectrum_of(x))) for r, x in zip(rows, records, strict=True)]
    for figure, column in (
        ("noise", "static_noise"),
        ("burst", "burst_noise"),
        ("wander", "baseline_drift"),
        ("step", "baseline_drift"),
    ):
        with_remark, without = [], []
        for row, figures in train:
            named = leads_named(row[column])
            if row["strat_fold"] != "9" and named is not None:
                for name, value in zip(STANDARD_LEADS, figures[figure], strict=True):
                    (with_remark if name in named else without).append(1000 * float(value))
        low, high = np.quantile(without, [0.9, 0.95, 0.98, 0.99]), np.quantile(with_remark, [0.25, 0.5, 0.75])
        print(f"{figure}, uV: without {column} 90, 95, 98, 99 % {low.round(1)}; with it, quartiles {high.round(1)}")


def discriminant(plain: NDArray[np.float64], planted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logistic regression without an intercept: undoing a fault gains what the fault cost."""
    x = np.concatenate([plain, planted])
    y = np.concatenate([-np.ones(len(plain)), np.ones(len(planted))])

    def loss(w: NDArray[np.float64]) -> float:
        return float(np.logaddexp(0, -y * (x @ w)).sum() + 0.5 * w @ w)

    return np.asarray(minimize(loss, np.zeros(x.shape[1])).x)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fit", action="store_true", help="refit the constants on folds 1-8")
    parser.add_argument("--eye", action="store_true", help="against leads judged by eye")
    parser.add_argument("--simulated", action="store_true", help="from which noise on measurements leave their tolerance")
    arguments = parser.parse_args()
    if arguments.fit:
        fit()
    elif arguments.eye:
        eye()
    elif arguments.simulated:
        simulated()
    else:
        report(100)
        report(500)
        elsewhere()


if __name__ == "__main__":
    main()
