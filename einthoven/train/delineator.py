"""Trains the delineator on LUDB, cross-validates it by record, and writes the weights that `einthoven.beats` ships.

    python -m einthoven.train.delineator --folds 5 --fold 0 --out runs/delineate    the weights of one fold
    python -m einthoven.train.delineator --score --out runs/delineate                all folds read what they had not seen
    python -m einthoven.train.delineator --out runs/delineate                        all records; then --export ships it

recipes/delineate.yaml holds the commands, their cost and the figures they gave.

Letters: B records, L leads, T samples at 250 Hz, W waves.
"""

from __future__ import annotations

import argparse
import ast
import copy
import csv
import hashlib
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from einthoven.beats.delineate import F32, F64, FS, STRIDE, assemble, compress, decode, past_spikes, prepare
from einthoven.beats.fiducials import R_PEAK, Beats
from einthoven.models.delineator import MARKS, Delineator
from einthoven.record import STANDARD_LEADS, Record

LATE_ONSET_S, UNMARKED_S, UNKNOWN_S = 0.020, 0.300, 0.150  # as in tools/delineation_score.py, rules 3a-3c
KIND = {"p": 1, "N": 2, "t": 3}
# Width of a fiducial's target, samples at 250 Hz: about half of what human readers differ by.
SIGMA = np.array([1.4, 1.2, 1.4, 1.0, 1.0, 1.2, 3.0, 1.5, 2.5])
NONE_OR_P = 4  # a class of targets
ROUGH = 3  # samples at 125 Hz either side of a rough bound of which nothing is learned
EDGE = 4  # samples by which the annotated span is extended, so that its first and last mark are whole


@dataclass(frozen=True)
class Case:
    """An annotated ECG at 250 Hz.

    x: (L, T) mV, as `prepare` gives it.
    waves: (W, 5) lead, kind, onset, peak, offset in samples, NaN where there is no marker. Row L is the record as a whole.
    spans: (L + 1, 2) the first and the last annotated sample of each lead and of the record.
    unknown: (K, 3) lead, start, stop of what was not to be judged.
    no_p: nothing is known but that there is no P wave (atrial fibrillation); `waves` is empty then.
    rough: simulated. Bounds are not where readers would put them, so of the segments only the insides are learned, of the
        fiducials only the R peak of the record.
    conducted: (K, 2) in samples: nothing is known but that in each of these stretches, in front of a QRS, there is a P wave.
    hidden_p: it has P waves that a reader would not see (in T waves, dissociated): nothing is learned of where P is or is not.
    """

    name: str
    x: F32
    waves: F64
    spans: F64
    unknown: F64
    no_p: bool = False
    rough: bool = False
    hidden_p: bool = False
    conducted: F64 | None = None


def data_folder() -> Path:
    """Where the ECGs lie: EINTHOVEN_DATA, or ../shared/data from the project's root."""
    return Path(os.environ.get("EINTHOVEN_DATA") or Path(__file__).parents[2].parent / "shared" / "data")


def read_ludb(name: str) -> Record:
    """One record of LUDB, leads named as in Record."""
    import wfdb

    rec = wfdb.rdrecord(str(data_folder() / "ludb" / "data" / name))
    leads = tuple(next(s for s in STANDARD_LEADS if s.lower() == n.lower()) for n in rec.sig_name)
    return Record(rec.p_signal.T.astype(np.float32), float(rec.fs), leads)


def read_waves(
    name: str, lead: str
) -> tuple[list[tuple[int, float, float, float]], list[tuple[float, float]], tuple[float, float]]:
    """The annotation of one lead: waves (kind, onset, peak, offset), unknown (start, stop), span; seconds.

    The irregular brackets of the database are read as tools/delineation_score.py reads them.
    """
    import wfdb

    ann = wfdb.rdann(str(data_folder() / "ludb" / "data" / name), lead.lower())
    symbol, t = list(ann.symbol), [float(s) / ann.fs for s in ann.sample]
    used = [s in KIND for s in symbol]
    waves = []
    for k, s in enumerate(symbol):
        if s not in KIND:
            continue
        on = off = math.nan
        if k > 0 and symbol[k - 1] == "(" and not used[k - 1]:
            on, used[k - 1] = t[k - 1], True
        if k + 1 < len(symbol) and symbol[k + 1] == ")":
            off, used[k + 1] = t[k + 1], True
        elif math.isnan(on) and symbol[k + 1 : k + 3] == ["(", ")"] and t[k + 1] - t[k] <= LATE_ONSET_S:
            on, off = t[k + 1], t[k + 2]
            used[k + 1] = used[k + 2] = True
        waves.append((KIND[s], on, t[k], off))
    pairs = zip(range(len(symbol) - 1), range(1, len(symbol)))
    unknown = [(t[a], t[b]) for a, b in pairs if symbol[a] + symbol[b] == "()" and not used[a] and not used[b]]
    return waves, unknown, (t[0], t[-1])


def ludb_names() -> list[str]:
    return sorted((p.stem for p in (data_folder() / "ludb" / "data").glob("*.hea")), key=int)


def ludb_cases() -> list[Case]:
    """All annotated records, cached in memory only (4 s)."""
    cases = []
    for name in ludb_names():
        record = read_ludb(name)
        x, usable, fs = prepare(record.signal, record.fs)
        assert len(usable) == 12 and fs == FS
        rows, unknown, spans = [], [], []
        for j, lead in enumerate(record.leads):
            waves, gaps, span = read_waves(name, lead)
            rows += [(j, kind, on * fs, peak * fs, off * fs) for kind, on, peak, off in waves]
            unknown += [(j, a * fs, b * fs) for a, b in gaps]
            spans.append((span[0] * fs, span[1] * fs))
        spans.append(tuple(np.median(spans, axis=0)))
        waves_ = np.array(rows)
        cases.append(Case(name, x, np.concatenate([waves_, agreed(waves_)]), np.array(spans), np.array(unknown).reshape(-1, 3)))
    return cases


def agreed(waves: F64, leads: int = 12) -> F64:
    """(W, 5) waves of all leads -> those of the record, as rows of lead `leads`: medians of what half of the leads have."""
    out = []
    for kind in (1, 2, 3):
        rows = waves[waves[:, 1] == kind]
        middle = np.nanmean(rows[:, 2:], axis=1)
        order = np.argsort(middle)
        for group in np.split(order, np.flatnonzero(np.diff(middle[order]) > 0.08 * FS) + 1):
            if len(set(rows[group, 0])) >= leads / 2:
                middle_of = [np.median(v[np.isfinite(v)]) if np.isfinite(v).any() else np.nan for v in rows[group, 2:].T]
                out.append([leads, kind, *middle_of])
    return np.array(out).reshape(-1, 5)


def fibrillating_cases() -> list[Case]:
    """PTB-XL, folds 1-8, labelled atrial fibrillation (nothing else of rhythm): no P wave, whatever else there is."""
    import wfdb

    root = data_folder() / "ptbxl"
    cases = []
    with open(root / "ptbxl_database.csv", newline="") as f:
        for row in csv.DictReader(f):
            codes = ast.literal_eval(row["scp_codes"])
            if int(row["strat_fold"]) <= 8 and "AFIB" in codes and not {"PACE", "AFLT", "SR"} & set(codes):
                path = root / row["filename_hr"]
                rec = wfdb.rdrecord(str(path if path.with_suffix(".dat").exists() else root / row["filename_lr"]))
                x, _, _ = prepare(rec.p_signal.T.astype(np.float32), float(rec.fs))
                if len(x) == 12:
                    spans = np.tile([0.0, x.shape[1]], (13, 1))
                    cases.append(Case(row["ecg_id"], x, np.empty((0, 5)), spans, np.empty((0, 3)), no_p=True))
    return cases


# What a PTB-XL statement of sinus rhythm must not stand beside for every beat to have a P wave in front, and what LUDB has too
# little of to learn P waves in its company.
_SINUS, _NOT_SINUS = (
    {"SR", "STACH", "SBRAD", "SARRH"},
    {"AFIB", "AFLT", "PACE", "PVC", "PAC", "BIGU", "TRIGU", "SVTAC", "PSVT", "SVARR"},
)
_NOT_SINUS |= {"2AVB", "3AVB", "WPW"}
_SELDOM = {"1AVB", "CLBBB", "CRBBB", "IVCD", "ILBBB", "STACH", "LPR"}


def sinus_cases(count: int, seed: int) -> list[Case]:
    """PTB-XL, folds 1-8, labelled sinus rhythm: a P wave within 400 ms in front of each QRS that the shipped weights find.

    All that have a statement of _SELDOM, and as many of the others as make `count`.
    """
    import wfdb

    from einthoven.beats.delineate import delineate

    root = data_folder() / "ptbxl"
    with open(root / "ptbxl_database.csv", newline="") as f:
        rows = [(row, set(ast.literal_eval(row["scp_codes"]))) for row in csv.DictReader(f) if int(row["strat_fold"]) <= 8]
    rows = [(row, codes) for row, codes in rows if codes & _SINUS and not codes & _NOT_SINUS]
    np.random.default_rng([2026, seed]).shuffle(rows)
    rows.sort(key=lambda r: not r[1] & _SELDOM)
    cases = []
    for row, _ in rows[:count]:
        rec = wfdb.rdrecord(str(root / row["filename_lr"]))
        record = Record(rec.p_signal.T.astype(np.float32), float(rec.fs), STANDARD_LEADS)
        x, usable, fs = prepare(record.signal, record.fs)
        r = delineate(record).r * fs
        if len(usable) == 12 and len(r) > 3:
            # Not further back than the middle of the interval in fast rhythms, so that a T wave is no answer.
            back = np.minimum(0.40 * fs, 0.6 * np.diff(r, prepend=-np.inf))
            windows = np.column_stack([r - back, r - 0.06 * fs])
            nowhere = np.full((13, 2), -1e9)
            cases.append(Case(row["ecg_id"], x, np.empty((0, 5)), nowhere, np.empty((0, 3)), conducted=windows))
    return cases


def synthetic_cases(count: int, seed: int) -> list[Case]:
    """Simulated ECGs: half as patients come, half of the rates and rhythms that LUDB lacks."""
    from einthoven.synth import random_simulation, simulate
    from einthoven.synth.conditions import CONDITIONS, compatible

    rng = np.random.default_rng([2026, seed])
    rare = {
        "sinus_tachycardia": (105, 220), "sinus_bradycardia": (25, 50), "atrial_fibrillation": (35, 210), "svt": (130, 250),
        "atrial_flutter": (40, 200), "ventricular_tachycardia": (110, 240), "pvc": (45, 120), "pvc_couplet": (45, 110),
        "bigeminy": (45, 110), "pac": (45, 120), "blocked_pac": (45, 95),
        "ventricular_pacing": (45, 130), "dual_pacing": (45, 130),
        "atrial_pacing": (45, 110), "av_block_3": (50, 120), "av_block_2_to_1": (50, 130), "av_block_mobitz_1": (45, 110),
        "idioventricular_rhythm": (25, 100), "junctional_rhythm": (30, 75), "sinus_pause": (45, 90),
    }  # fmt: skip
    shapes = [n for n, c in CONDITIONS.items() if c.group in ("ventricle", "size", "acute", "scar")]
    cases = []
    for k in range(count):
        if k % 2:
            made = random_simulation(rng)
        else:
            name = list(rare)[k // 2 % len(rare)]
            labels: tuple[str, ...] = (name, str(rng.choice(shapes)))
            noise = [None, 20.0, 10.0, 5.0][int(rng.integers(4))]
            rate = float(rng.uniform(*rare[name]))
            labels = labels if compatible(labels) and rng.random() < 0.5 else (name,)
            made = simulate(*labels, rate=rate, noise=noise, seed=int(rng.integers(2**31)))
        x, usable, fs = prepare(made.record.signal, made.record.fs)
        if len(usable) < 12:
            continue
        odd = {CONDITIONS[n].group for n in made.labels} & {"av", "ectopy"} or any(
            "pac" in n or "pause" in n for n in made.labels
        )
        cases.append(known(str(k), x, made.beats, fs, hidden_p=bool(odd)))
    return cases


def known(name: str, x: F32, beats: Beats, fs: float, *, hidden_p: bool) -> Case:
    """A case of which every wave is known, as the simulator knows it."""
    parts = [(kind, beats.times[:, :, 3 * kind - 3 : 3 * kind]) for kind in (1, 2, 3)] + [(1, beats.lone_p)]
    rows = [
        (j, kind, *(three * fs))
        for kind, part in parts
        for beat in part
        for j, three in enumerate(beat)
        if np.isfinite(three[1])
    ]
    waves = np.array(rows, dtype=float).reshape(-1, 5)
    # What came before the first beat or was cut off by the ends is in no beat, so nothing is judged there.
    span = (np.nanmin(waves[:, 2:]), np.nanmax(waves[:, 2:])) if len(waves) else (0.0, 0.0)
    together = agreed(waves)
    for row in together[together[:, 1] == 2]:
        r = beats.r * fs
        row[3] = r[np.argmin(np.abs(r - row[3]))]
    return Case(
        name, x, np.concatenate([waves, together]), np.tile(span, (13, 1)), np.empty((0, 3)), rough=True, hidden_p=hidden_p
    )


# Augmentation: what the recorder, the patient and the clinic may change about the same heart.


def vary(case: Case, leads: int, length: int, rng: np.random.Generator) -> tuple[F32, Case]:
    """A random stretch of `length` samples of `leads` random leads at another rate, gain and noise.

    Returns:
        (leads, length) compressed mV, and the case's waves, spans and unknown stretches moved to its samples and leads.
    """
    source = warp(case, length, rng)
    pick = rng.permutation(12)[:leads]
    x = _cubic(case.x[pick], source)
    x *= np.exp(rng.normal(0, 0.35) + rng.normal(0, 0.15, (leads, 1))).astype(np.float32)
    if rng.random() < 0.5:
        x *= np.where(rng.random((leads, 1)) < 0.1, -1, 1).astype(np.float32)
    quiet = disturb(x, rng)

    samples = np.arange(length, dtype=float)
    new_lead = np.full(13, -1)
    new_lead[pick] = np.arange(leads)
    new_lead[12] = leads

    def move(rows: F64, first: int) -> F64:
        rows = rows[new_lead[rows[:, 0].astype(int)] >= 0].copy()
        rows[:, 0] = new_lead[rows[:, 0].astype(int)]
        rows[:, first:] = _to_new(rows[:, first:], source, samples)
        return rows

    windows = None if case.conducted is None else _to_new(case.conducted, source, samples)
    spans = _to_new(case.spans[[*pick, 12]], source, samples)
    spans[:leads][quiet] = -1e9  # nothing can be learned of a lead that was taken away
    return compress(x), Case(
        case.name, x, move(case.waves, 2), spans, move(case.unknown, 1), case.no_p, case.rough, case.hidden_p, windows
    )


def _to_new(t: F64, source: F64, samples: F64) -> F64:
    """Times in the old samples -> in the new; beyond the ends they go on at the rate of the ends."""
    out = np.interp(t, source, samples)
    out = np.where(t < source[0], (t - source[0]) / (source[1] - source[0]), out)
    return np.where(t > source[-1], samples[-1] + (t - source[-1]) / (source[-1] - source[-2]), out)


def warp(case: Case, length: int, rng: np.random.Generator) -> F64:
    """(length,) the position in the old samples of each new one: the whole stretched, and diastole shortened or lengthened."""
    n = case.x.shape[1]
    pace = float(np.clip(np.exp(rng.normal(0, 0.15)), 0.65, 1.6)) if rng.random() < 0.6 else 1.0
    squeeze = math.exp(rng.uniform(-1.4, 0.3)) if rng.random() < 0.45 else 1.0
    old, new = [0.0], [0.0]
    for a, b in diastoles(case) if squeeze != 1 else []:
        keep = max(squeeze * math.exp(rng.normal(0, 0.05)), 6 / (b - a)) if b - a > 12 else 1.0
        new += [new[-1] + a - old[-1], new[-1] + a - old[-1] + (b - a) * keep]
        old += [a, b]
    new.append(new[-1] + n - 1 - old[-1])
    old.append(n - 1.0)
    total = new[-1] * pace
    if total < length - 1:
        old, new, total = [0.0, n - 1.0], [0.0, n - 1.0], (n - 1) * max(pace, (length - 1) / (n - 1))
        pace = total / (n - 1)
    free = max(total - (length - 1), 0.0)
    start = rng.uniform(0, free) if pace != 1 or squeeze != 1 else float(rng.integers(0, int(free) + 1))
    at: F64 = np.interp(start + np.arange(length), np.array(new) * pace, np.array(old))
    return at


def diastoles(case: Case) -> list[tuple[float, float]]:
    """Where no lead has a wave, in samples: from the end of T to the next onset."""
    rows = case.waves[np.isfinite(case.waves[:, 2]) & np.isfinite(case.waves[:, 4])]
    order = np.argsort(rows[:, 2])
    gaps, end, ended_by = [], math.inf, 0.0
    for _, kind, on, _, off in rows[order]:
        if on > end and ended_by == 3:
            gaps.append((end, on))
        if not math.isfinite(end) or off > end:
            end, ended_by = off, kind
    return gaps


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _cubic(x: F32, at: F64) -> F32:
    """(L, N) at positions (T,) -> (L, T), Catmull-Rom."""
    l, n = x.shape
    out = np.empty((l, at.shape[0]), np.float32)
    for k in range(at.shape[0]):
        i = min(max(int(at[k]), 0), n - 1)
        f = at[k] - i
        i0, i2, i3 = max(i - 1, 0), min(i + 1, n - 1), min(i + 2, n - 1)
        a, c, d = -0.5 * f + f * f - 0.5 * f**3, 0.5 * f + 2 * f * f - 1.5 * f**3, -0.5 * f * f + 0.5 * f**3
        b = 1.0 - 2.5 * f * f + 1.5 * f**3
        for j in range(l):
            out[j, k] = a * x[j, i0] + b * x[j, i] + c * x[j, i2] + d * x[j, i3]
    return out


def disturb(x: F32, rng: np.random.Generator) -> NDArray[np.intp]:
    """Adds noise to (L, T) mV in place. Returns the leads that were taken away altogether."""
    l, t = x.shape
    time_s = np.arange(t, dtype=np.float32) / np.float32(FS)
    if rng.random() < 0.15:  # recorders with a 40 Hz filter, files at 100 Hz
        x[:, 1:-1] = 0.25 * x[:, :-2] + 0.5 * x[:, 1:-1] + 0.25 * x[:, 2:]
    if rng.random() < 0.6:  # muscle and amplifier
        noise = rng.standard_normal((l, t), np.float32)
        if rng.random() < 0.5:
            noise[:, 1:] = 0.6 * (noise[:, 1:] + noise[:, :-1])
        level = math.exp(rng.uniform(math.log(0.003), math.log(0.08))) * np.exp(rng.normal(0, 0.5, (l, 1)))
        x += noise * level.astype(np.float32)
    if rng.random() < 0.15:  # mains
        hum = np.sin(2 * np.pi * rng.choice([50, 60]) * time_s + rng.uniform(0, 6.28)).astype(np.float32)
        x += hum * rng.uniform(0, 0.1, (l, 1)).astype(np.float32)
    if rng.random() < 0.35:  # breath and movement, what the high-pass leaves of them
        for _ in range(2):
            sway = np.sin(2 * np.pi * rng.uniform(0.25, 1.2) * time_s + rng.uniform(0, 6.28)).astype(np.float32)
            x += sway * (rng.exponential(0.08, (l, 1)) * rng.choice([-1, 1], (l, 1))).astype(np.float32)
    if rng.random() < 0.05:  # an electrode knocked
        at, j = rng.integers(0, t), rng.integers(0, l)
        x[j, at:] += np.float32(rng.normal(0, 1.0)) * np.exp(-(time_s[: t - at]) / 0.3).astype(np.float32)
    gone = np.empty(0, np.intp)
    if l >= 3 and rng.random() < 0.06:  # an electrode off
        gone = rng.permutation(l)[: rng.integers(1, max(2, l // 4))]
        x[gone] = rng.standard_normal((len(gone), t), np.float32) * np.float32(math.exp(rng.uniform(-7, -0.5)))
    return gone


@dataclass(frozen=True)
class Target:
    """What the network should say of one varied case; rows 0..L-1 the leads, row L the record.

    waves (L+1, T/2) class, -1 where not known; marks (L+1, 9, T) likelihoods that sum to 1 per fiducial; judged (L+1, 9, T)
    where they count; no_p and conducted as in Case, conducted at T/2 and inside.
    """

    waves: NDArray[np.int64]
    marks: F32
    judged: NDArray[np.bool_]
    no_p: bool
    conducted: NDArray[np.intp]


def target(case: Case, leads: int, length: int) -> Target:
    """The target of a varied case."""
    waves = np.full((leads + 1, length // 2), -1, np.int64)
    marks = np.zeros((leads + 1, MARKS, length), np.float32)
    judged = np.zeros((leads + 1, MARKS, length), np.bool_)
    conducted = np.empty((0, 2), np.intp)
    if case.conducted is not None:
        inside = (case.conducted[:, 0] >= 0) & (case.conducted[:, 1] < length)
        conducted = (case.conducted[inside] / 2).astype(np.intp)
    elif case.no_p:
        judged[:, :3] = case.spans[:, :1, None] > -1e8
    else:
        _render(case.waves, case.spans, case.unknown, SIGMA, waves, marks, judged)
    if case.rough:
        change = np.diff(waves, axis=1) != 0
        for shift in range(-ROUGH, ROUGH):
            row, at = np.nonzero(change)
            waves[row, np.clip(at + 1 + shift, 0, length // 2 - 1)] = -1
        judged[:-1] = False
        judged[-1, np.arange(MARKS) != R_PEAK] = False
    if case.hidden_p:
        waves[(waves == 0) | (waves == 1)] = NONE_OR_P
    return Target(waves, marks, judged, case.no_p, conducted)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _render(waves: F64, spans: F64, unknown: F64, sigma: F64, classes: Any, marks: F32, judged: Any) -> None:
    l_count, half = classes.shape
    length = 2 * half
    for l in range(l_count):
        for i in range(max(0, int(spans[l, 0]) - EDGE), min(length, int(spans[l, 1]) + EDGE + 1)):
            judged[l, :, i] = True
            classes[l, i // 2] = 0
    margin = UNMARKED_S * FS
    for w in range(waves.shape[0]):
        l, kind = int(waves[w, 0]), int(waves[w, 1])
        if spans[l, 1] < -1e8:
            continue
        on, peak, off = waves[w, 2], waves[w, 3], waves[w, 4]
        a, b = on, off
        unsure = False
        if not on == on:
            a, unsure = peak - margin, True
        if not off == off:
            b, unsure = peak + margin, True
        for i in range(max(0, int(np.ceil((a - 0.5) / 2))), min(half, int(np.ceil((b - 0.5) / 2)))):
            if unsure:
                if classes[l, i] == 0:
                    classes[l, i] = -1
            else:
                classes[l, i] = kind
        for k in range(3):
            f = 3 * (kind - 1) + k
            c = waves[w, 2 + k]
            if c == c:
                s = sigma[f]
                for i in range(max(0, int(c - 4 * s)), min(length, int(c + 4 * s) + 2)):
                    marks[l, f, i] += np.exp(-0.5 * ((i - c) / s) ** 2) / (s * 2.5066)
            else:
                for i in range(max(0, int(a)), min(length, int(b) + 1)):
                    judged[l, f, i] = False
    for u in range(unknown.shape[0]):
        l = int(unknown[u, 0])
        a, b = unknown[u, 1] - UNKNOWN_S * FS, unknown[u, 2] + UNKNOWN_S * FS
        for i in range(max(0, int(a)), min(length, int(b) + 1)):
            judged[l, :, i] = False
            classes[l, i // 2] = -1


def losses(out: dict[str, Tensor], targets: Sequence[Target]) -> dict[str, Tensor]:
    """Cross entropy of segments and of fiducials, for the leads and for the record."""
    classes = torch.from_numpy(np.stack([t.waves for t in targets]))
    marks = torch.from_numpy(np.stack([t.marks for t in targets]))
    judged = torch.from_numpy(np.stack([t.judged for t in targets]))
    no_p = torch.tensor([t.no_p for t in targets])
    found: dict[str, Tensor] = {}
    for who, leads in (("lead", slice(0, -1)), ("record", slice(-1, None))):
        waves, said = out[f"{who}_waves"].float(), out[f"{who}_marks"].float()
        if who == "record":
            waves, said = waves.unsqueeze(2), said.unsqueeze(2)
        of_class = torch.log_softmax(waves, 1)
        cross = F.nll_loss(
            of_class, classes[:, leads].masked_fill(classes[:, leads] == NONE_OR_P, -1), ignore_index=-1, reduction="sum"
        )
        either = classes[:, leads] == NONE_OR_P
        if either.any():
            cross = cross - (of_class[:, :2].logsumexp(1) * either).sum()
        found[f"{who}_waves"] = cross / (classes[:, leads] >= 0).sum().clamp(min=1)
        truth, seen = marks[:, leads].transpose(1, 2), judged[:, leads].transpose(1, 2)
        truth = truth * seen
        entropy = (F.softplus(said) * seen).sum() - (truth * said).sum()  # binary cross entropy from logits
        found[f"{who}_marks"] = entropy / truth.sum().clamp(min=1)
        if no_p.any():
            of_p = of_class[no_p][:, 1].exp()
            found[f"{who}_no_p"] = -torch.log1p(-of_p.clamp(max=0.9999)).mean()
        if any(len(t.conducted) for t in targets):
            # A P wave lasts: its probability over 72 ms, where that is greatest (learning from bags, Dietterich 1997).
            lasting = F.avg_pool1d(of_class[:, 1].exp().mean(1, keepdim=True), 9, 1, 4).squeeze(1)
            best = [lasting[b, i:j].max() for b, t in enumerate(targets) for i, j in t.conducted if j > i + 4]
            if best:
                found[f"{who}_has_p"] = -torch.stack(best).clamp(min=1e-4).log().mean()
    return found


OUTPUTS = ("lead_waves", "lead_marks", "record_waves", "record_marks")
WEIGHT = {
    "lead_waves": 1.0,
    "record_waves": 1.0,
    "lead_marks": 0.4,
    "record_marks": 0.05,
    "lead_no_p": 0.1,
    "record_no_p": 0.1,
} | {
    "lead_has_p": 0.1,
    "record_has_p": 0.1,
}


# Leads and samples of a batch, and how often; the large ones few, so that they can be compiled.
SHAPES = ((12, 2496, 0.45), (8, 1248, 0.25), (6, 1248, 0.05), (3, 1872, 0.1), (2, 1248, 0.05), (1, 1872, 0.05), (1, 2496, 0.05))
COMPILED = {(12, 2496), (8, 1248)}


def train(
    cases: Sequence[Case],
    weak: Sequence[Case],
    made: Sequence[Case],
    sinus: Sequence[Case],
    *,
    start: Path | None,
    steps: int,
    batch: int,
    lr: float,
    seed: int,
    log: Path,
    quick: bool,
) -> Delineator:
    """AdamW, one cycle, moving average of the weights. Returns the average, ready to use.

    Seven or eight in ten cases are annotated ECGs, one in ten simulated (`made`), one `weak`, one `sinus`. `quick` compiles.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = Delineator().to(memory_format=torch.channels_last)
    if start:
        model.load_state_dict(torch.load(start, weights_only=True))
    average: Delineator = copy.deepcopy(model)
    slow = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": slow, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, steps, pct_start=0.15, div_factor=10, final_div_factor=100)
    compiled = torch.compile(model, dynamic=False) if quick else model
    queue: list[int] = []
    mean: dict[str, float] = {}
    began = time.time()
    for step in range(steps):
        leads, length, _ = SHAPES[rng.choice(len(SHAPES), p=[s[2] for s in SHAPES])]
        xs, targets = [], []
        for _ in range(batch):
            kind = rng.random()
            if weak and kind < 0.08:
                case = weak[int(rng.integers(len(weak)))]
            elif made and kind < 0.20:
                case = made[int(rng.integers(len(made)))]
            elif sinus and kind < 0.32:
                case = sinus[int(rng.integers(len(sinus)))]
            else:
                queue = queue or list(rng.permutation(len(cases)))
                case = cases[queue.pop()]
            x, varied = vary(case, leads, length, rng)
            xs.append(x)
            targets.append(target(varied, leads, length))
        with torch.autocast("cpu", torch.bfloat16):
            out = (compiled if (leads, length) in COMPILED else model)(torch.from_numpy(np.stack(xs)))
        found = losses(out, targets)
        loss = sum((WEIGHT[k] * v for k, v in found.items()), torch.zeros(()))
        if not torch.isfinite(loss):
            raise FloatingPointError(f"loss {loss} at step {step}")
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimizer.step()
        schedule.step()
        blend(average, model, min(0.998, (step + 1) / (step + 10)))
        for k, v in found.items():
            mean[k] = 0.98 * mean.get(k, v.item()) + 0.02 * v.item()
        if step % 100 == 99:
            torch.save(average.state_dict(), log.with_suffix(".part.pt"))
            words = " ".join(f"{k} {v:.4f}" for k, v in mean.items())
            with open(log, "a") as f:
                f.write(f"step {step + 1} {time.time() - began:.0f} s {words}\n")
    average.eval()
    return average


@torch.no_grad()  # type: ignore[untyped-decorator]
def blend(average: Delineator, model: Delineator, keep: float) -> None:
    """average = keep * average + (1 - keep) * model, statistics of the normalisation included."""
    for a, b in zip(average.state_dict().values(), model.state_dict().values()):
        if a.dtype.is_floating_point:
            a.lerp_(b, 1 - keep)


@torch.no_grad()  # type: ignore[untyped-decorator]
def say(model: Delineator, x: F32) -> tuple[F32, ...]:
    """The network's four logits of (L, T) compressed mV, as onnxruntime gives them."""
    padded = np.pad(x, ((0, 0), (0, -x.shape[1] % STRIDE)), mode="edge")
    out = model(torch.from_numpy(padded)[None])
    return tuple(out[k][0].float().numpy() for k in OUTPUTS)


def predict(model: Delineator, record: Record) -> Beats:
    """As einthoven.beats.delineate, with these weights."""
    x, usable, fs = prepare(record.signal, record.fs)
    read = compress(x)
    beats = assemble(record, usable, fs, *decode(read, *say(model, read)))
    return past_spikes(beats, record, x, usable, fs)


def fold_of(names: Sequence[str], folds: int) -> NDArray[np.intp]:
    """The fold of each record: shuffled once, the same for everyone."""
    order = np.random.default_rng(2026).permutation(len(names))
    fold = np.empty(len(names), np.intp)
    fold[order] = np.arange(len(names)) % folds
    return fold


def score(out: Path, folds: int, *, bootstrap: int = 1000) -> dict[str, Any]:
    """Each record as the network of its fold, which has not seen it, reads it; scored by ../shared/tools/delineation_score.py.

    Predictions in out/predictions.json, figures in out/score.json: also R peaks within 75 ms, and the false P peaks of the
    records in atrial fibrillation or flutter.
    """
    names = ludb_names()
    beats: dict[str, Beats] = {}
    for k in range(folds):
        model = Delineator().eval()
        model.load_state_dict(torch.load(out / f"fold{k}.pt", weights_only=True))
        held = [name for name, f in zip(names, fold_of(names, folds)) if f == k]
        beats |= {name: predict(model, read_ludb(name)) for name in held}
    said = {name: b.as_prediction() for name, b in beats.items()}
    (out / "predictions.json").write_text(json.dumps(said))
    tool = data_folder().parent / "tools" / "delineation_score.py"

    def run(records: Sequence[str], *more: str) -> dict[str, Any]:
        command = [sys.executable, str(tool), "--ludb", str(data_folder() / "ludb" / "data")]
        command += ["--pred", str(out / "predictions.json"), "--records", ",".join(records)]
        print(
            subprocess.run(
                [*command, "--json", str(out / "part.json"), *more], check=True, text=True, capture_output=True
            ).stdout
        )
        found: dict[str, Any] = json.loads((out / "part.json").read_text())
        return found

    with open(data_folder() / "ludb" / "ludb.csv", newline="") as f:
        rhythm = {row["ID"].strip(): row["Rhythms"] for row in csv.DictReader(f)}
    without_p = [name for name in said if "fibrillation" in rhythm[name] or "flutter" in rhythm[name]]
    figures = run(names, "--bootstrap", str(bootstrap))
    figures["r_peak_75_ms"] = run(names, "--tolerance-ms", "75")["fiducials"]["r_peak"]
    figures["r_of_record_75_ms"] = found_r(beats, 0.075)
    figures["false_p_without_p"] = run(without_p)["fiducials"]["p_peak"]["fp"]
    (out / "score.json").write_text(json.dumps(figures, indent=1))
    return figures


def manifest(o: argparse.Namespace, figures: dict[str, Any]) -> dict[str, Any]:
    """What a user of the weights should know of them."""
    kept = (
        "macro_f1_6",
        "macro_f1_6_ci95",
        "macro_f1_9",
        "macro_f1_9_ci95",
        "macro_f1_cse",
        "macro_f1_cse_ci95",
        "r_peak_75_ms",
        "r_of_record_75_ms",
        "false_p_without_p",
    )
    return {
        "name": "delineator",
        "reads": "P, QRS, T onset, peak, offset; (1, L, T) arcsinh(5 mV) at 250 Hz, 0.5 Hz high-pass, T a multiple of 16",
        "data": [
            "LUDB 1.0.1, 140 of 200 records, all 12 leads (ODC-BY 1.0; Kalyakulina et al. 2020, doi 10.13026/eegm-h675)",
            "PTB-XL, folds 1-8: fibrillation has no P wave, sinus rhythm has (CC BY 4.0; Wagner et al. 2020)",
            "einthoven.synth, 600 simulated ECGs: segments and R peaks",
        ],
        "licence": "Apache-2.0",
        "command": "recipes/delineate.yaml",
        "cross-validated on LUDB": {k: figures[k] for k in kept if k in figures} | {"folds": o.folds, "by": "record"},
    }


def found_r(beats: dict[str, Beats], within: float) -> float:
    """F1 of `Beats.r` against each beat's R, the median of its leads' annotations, inside the annotated span."""
    hits = truths = guesses = 0
    for case in ludb_cases():
        truth = case.waves[(case.waves[:, 0] == 12) & (case.waves[:, 1] == 2), 3] / FS
        first, last = case.spans[12] / FS
        r = beats[case.name].r
        inside = r[(r >= first - within) & (r <= last + within)]
        hits += sum(bool(np.min(np.abs(inside - t), initial=np.inf) <= within) for t in truth)
        truths += len(truth)
        guesses += len(inside)
    return 2 * hits / (truths + guesses)


class Plain(torch.nn.Module):  # type: ignore[misc]
    """The network as onnxruntime sees it: (1, L, T) in, four logits out."""

    def __init__(self, model: Delineator) -> None:
        super().__init__()
        self.model = model

    def forward(self, signal: Tensor) -> tuple[Tensor, ...]:
        out = self.model(signal)
        return tuple(out[k] for k in OUTPUTS)


def export(weights: Path, room: Path, manifest: dict[str, Any]) -> None:
    """Writes delineator.onnx, delineator.safetensors and delineator.json (the manifest, with their sha256) into `room`."""
    from safetensors.torch import save_file

    model = Delineator().eval().requires_grad_(False)
    state = torch.load(weights, weights_only=True)
    model.load_state_dict(state)
    save_file({k: v.contiguous() for k, v in state.items()}, room / "delineator.safetensors")
    some = {1: "leads", 2: "samples"}
    torch.onnx.export(
        Plain(model),
        (torch.zeros(1, 12, 2496),),
        str(room / "delineator.onnx"),
        dynamo=False,
        opset_version=17,
        input_names=["signal"],
        output_names=list(OUTPUTS),
        dynamic_axes={"signal": some, "lead_waves": {2: "leads", 3: "half"}, "lead_marks": {2: "leads", 3: "samples"}}
        | {"record_waves": {2: "half"}, "record_marks": {2: "samples"}},
    )
    files = ("delineator.onnx", "delineator.safetensors")
    sums = {name: hashlib.sha256((room / name).read_bytes()).hexdigest() for name in files}
    (room / "delineator.json").write_text(json.dumps(manifest | {"sha256": sums}, indent=1) + "\n")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Trains the delineator (see the head of this file).")
    parser.add_argument("--out", type=Path, required=True, help="folder of weights, predictions and logs")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--fold", type=int, help="train without this fold and predict it")
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="go on from these weights, with PTB-XL's sinus rhythms")
    parser.add_argument("--synthetic", type=int, default=600, help="simulated ECGs")
    parser.add_argument("--compile", action="store_true", help="torch.compile: twice as fast after minutes of compiling")
    parser.add_argument("--score", action="store_true", help="score the folds that are there")
    parser.add_argument("--export", action="store_true", help="ship final.pt with the figures of score.json")
    o = parser.parse_args(argv)
    if o.score:
        score(o.out, o.folds)
        return
    if o.export:
        figures = o.out / "score.json"
        export(
            o.out / "final.pt",
            Path(__file__).parents[1] / "beats",
            manifest(o, json.loads(figures.read_text()) if figures.exists() else {}),
        )
        return
    o.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    cases = ludb_cases()
    fold = fold_of([c.name for c in cases], o.folds)
    chosen = [c for c, k in zip(cases, fold) if k != o.fold]
    tag = f"fold{o.fold}" if o.fold is not None else "final"
    model = train(
        chosen,
        fibrillating_cases(),
        synthetic_cases(o.synthetic, o.seed),
        sinus_cases(400, o.seed) if o.start else [],
        start=o.start,
        steps=o.steps,
        batch=o.batch,
        lr=o.lr,
        seed=o.seed,
        log=o.out / f"{tag}.log",
        quick=o.compile,
    )
    torch.save(model.state_dict(), o.out / f"{tag}.pt")


if __name__ == "__main__":
    main()
