"""How often the findings agree with cardiologists' labels: writes docs/accuracy.md.

    python bench/accuracy.py [--cache FILE.jsonl] [--out docs/accuracy.md] [--processes 2]

Measures every record of ../shared/data/{ptbxl,ludb,challenge} (EINTHOVEN_DATA names another place) with the whole chain
that `interpret` uses,
then scores the findings. Measuring and scoring are apart: with --cache the measurements are kept as JSON lines, and a
second run only
scores. Thresholds were chosen on folds 1-8 of the PTB-XL subset; fold 9, LUDB and the Challenge records were only looked at.
"""

from __future__ import annotations

import argparse
import ast
import csv
import json
import math
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import numpy as np

from einthoven.beats.fiducials import Beats
from einthoven.beats.measurements import LeadMeasurements, Measurements, Quantity
from einthoven.findings import Finding, find
from einthoven.record import EcgError, Patient, Record
from einthoven.signal.quality import LeadQuality, Quality
from einthoven.statements import BY_SCP, STATEMENTS, parse_statement

ROOT = Path(__file__).resolve().parent.parent
BOOTSTRAPS, LEAST = 1000, 20
# Einthoven 1913, Goldberger 1942: what I and II say of the other limb leads.
LAW = {"III": (-1, 1), "aVR": (-0.5, -0.5), "aVL": (1, -0.5), "aVF": (-0.5, 1)}
SEEN = (
    "The delineator was trained on LUDB's wave annotations: its signals are not new to it, its diagnoses are. Every lead of "
    "LUDB is scaled to 1 mV from peak to peak, so the limb leads contradict Einthoven's law; voltage, ST and axis are reported "
    "as not to be judged and not scored. Its readers say bradycardia below 60 and tachycardia from about 90/min."
)
FEW = (
    "No rule was tuned on them. Few, and labelled by other rules (bradycardia below 60/min): a check that nothing breaks, not "
    "a rate. The Chapman records here were not drawn at random: most have premature complexes."
)
# Einthoven 1913, Goldberger 1942: what I and II say of the other limb leads.
LAW = {"III": (-1, 1), "aVR": (-0.5, -0.5), "aVL": (1, -0.5), "aVF": (-0.5, 1)}


# Measuring ---------------------------------------------------------------------------------------------------------------


def measured(path: str) -> dict[str, Any]:
    """One record through the chain, as plain JSON: what the rules look at, or what went wrong."""
    from einthoven.beats.classify import classify
    from einthoven.beats.delineate import delineate
    from einthoven.beats.measure import measure
    from einthoven.io import read
    from einthoven.signal.quality import assess

    start = time.perf_counter()
    try:
        record = read(path).ecg()
    except EcgError as error:
        return {"path": path, "error": str(error)}
    quality = assess(record)
    beats = classify(record, delineate(record))
    m = measure(record, beats)
    return {
        "path": path,
        "ms": (time.perf_counter() - start) * 1000,
        "age": record.patient.age,
        "sex": record.patient.sex,
        "leads": list(record.leads),
        "fs": record.fs,
        "worst": worst(record),
        "codes": list(record.codes),
        "kinds": "".join(beats.kinds),
        "overall": beats.overall.round(4).tolist(),
        "lone_p": beats.lone_p_overall.round(4).tolist(),
        "duration": beats.duration,
        "quantities": {k: [q.value, q.unit, list(q.beats)] for k, q in m.quantities.items()},
        "measured": {k: asdict(x) for k, x in m.leads.items()},
        "quality": asdict(quality) | {"leads": {k: asdict(x) for k, x in quality.leads.items()}},
    }


def worst(record: Record) -> list[float]:
    """One sample of each lead (mV), where the limb leads fit Einthoven's law least: all the signal `findings_of` needs."""
    at = 0
    if "I" in record and "II" in record:
        pair = record.pick(("I", "II")).signal
        gaps = [np.abs(np.array(w, np.float32) @ pair - record.lead(n)) for n, w in LAW.items() if n in record]
        at = int(np.nan_to_num(np.max(gaps, axis=0)).argmax()) if gaps else 0
    return [float(v) for v in np.nan_to_num(record.signal[:, at]).round(4)]


def findings_of(row: dict[str, Any]) -> tuple[Finding, ...]:
    """The findings from what `measured` kept."""
    overall = np.array(row["overall"], float).reshape(-1, 9)
    beats = Beats(
        (),
        np.empty((len(overall), 0, 9)),
        overall,
        tuple(row["kinds"]),
        row["duration"],
        lone_p_overall=np.array(row["lone_p"], float).reshape(-1, 3),
    )
    m = Measurements(
        {k: Quantity(v, unit, "", tuple(b)) for k, (v, unit, b) in row["quantities"].items()},
        {k: LeadMeasurements(**x) for k, x in row["measured"].items()},
    )
    q = row["quality"]
    quality = Quality(q["score"], q["readable"], {k: LeadQuality(**x) for k, x in q["leads"].items()}, tuple(q["flags"]))
    record = Record(
        np.array(row["worst"], np.float32)[:, None],
        row["fs"],
        tuple(row["leads"]),
        patient=Patient(age=row["age"], sex=row["sex"]),
    )
    return find(record, beats, m, quality)


def measure_all(paths: Sequence[str], base: Path, cache: Path | None, processes: int) -> dict[str, dict[str, Any]]:
    """Rows by path relative to `base`; those in the cache are not measured again."""
    have: dict[str, dict[str, Any]] = {}
    if cache and cache.exists():
        have = {row["path"]: row for row in map(json.loads, cache.read_text().splitlines())}
    todo = [str(base / p) for p in paths if p not in have]
    start = time.perf_counter()
    with Pool(processes) as pool:
        for i, row in enumerate(pool.imap_unordered(measured, todo, chunksize=8), 1):
            row["path"] = str(Path(row["path"]).relative_to(base))
            have[row["path"]] = row
            if cache:
                with cache.open("a") as f:
                    f.write(json.dumps(row) + "\n")
            if i % 200 == 0 or i == len(todo):
                print(f"measured {i} of {len(todo)}, {i / (time.perf_counter() - start):.0f} records/s", flush=True)
    return have


# Labels ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Labelled:
    """One record: its findings by name, what the label says, whose patient it is. `exact`: labels are right at statement
    level.
    """

    path: str
    patient: str
    found: dict[str, str]
    labels: frozenset[str]
    fold: int = 0
    exact: bool = True
    rhythm: bool = True


@dataclass(frozen=True)
class Target:
    """What is compared: a label (or several) with the statements that mean it.

    rows: "all" where the label is right for every row (diagnostic subclasses of one statement), "exact" where only for rows
        that are right at statement level, "rhythm" where only for rows with any rhythm statement (a row with none does not
        deny one), "report" where the reader's own words (parse_statement of the report) are the label.
    """

    title: str
    labels: tuple[str, ...]
    names: tuple[str, ...]
    rows: str = "all"


def _t(scp: str, *names: str, rows: str = "all", title: str = "") -> Target:
    return Target(title or f"{scp}: {STATEMENTS[BY_SCP[scp]].text}", (scp,), names or (BY_SCP[scp],), rows)


_INFERIOR = ("IMI", "ILMI", "IPMI", "IPLMI")
_ANTERIOR = ("AMI", "ASMI", "ALMI")
_ISCHAEMIA = tuple(n for n in STATEMENTS if n.startswith("ischaemia"))

PTBXL = (
    _t("NORM"),
    _t("SR", rows="rhythm"),
    _t("SBRAD", rows="rhythm"),
    _t("STACH", rows="rhythm"),
    _t("SARRH", rows="rhythm"),
    _t("AFIB", rows="rhythm"),
    _t("PVC", "pvc", "ventricular_bigeminy", "ventricular_trigeminy", rows="exact"),
    _t("PAC", "pac", "atrial_bigeminy", rows="exact"),
    _t("CRBBB"),
    _t("CLBBB"),
    _t("IRBBB"),
    _t("IVCD"),
    _t("LAFB", rows="exact"),
    _t("1AVB", rows="exact"),
    _t("LPR", rows="exact"),
    _t("LVH"),
    _t("VCLVH", rows="exact"),
    _t("LAO/LAE"),
    _t("LVOLT", rows="exact"),
    _t("QWAVE", rows="exact"),
    Target("IMI, ILMI, IPMI, IPLMI: inferior infarction of any extent", _INFERIOR, tuple(BY_SCP[c] for c in _INFERIOR)),
    Target("AMI, ASMI, ALMI: anterior infarction of any extent", _ANTERIOR, tuple(BY_SCP[c] for c in _ANTERIOR)),
    _t("IMI", rows="exact"),
    _t("ASMI", rows="exact"),
    _t("AMI", "mi_anterior", rows="exact"),
    _t("STD_", rows="exact"),
    _t("NST_", rows="exact"),
    _t("INVT", rows="exact"),
    _t("LOWT", rows="exact"),
    _t("NDT", "nondiagnostic_t", "nonspecific_t", rows="exact"),
    _t("NT_", "nondiagnostic_t", "low_t", rows="exact"),
    _t("ISC_", *_ISCHAEMIA, title="ISC_: ST-T changes that may be ischaemic, any territory (the label: non-specific)"),
    _t("ISCAL", "ischaemia_anterolateral", rows="exact"),
    _t("DIG", rows="exact"),
    *(
        Target(f"superclass {c}", (c,), tuple(n for n, s in STATEMENTS.items() if s.superclass == c))
        for c in ("MI", "STTC", "CD", "HYP")
    ),
)  # fmt: skip

# PTB-XL's codes and the words of the same reader's report do not always agree: "ventrikuläre Extrasystolen" without PVC,
# "right bundle branch block" coded as the incomplete one. Here the label is the code or the words, where there is a report.
_BY_WORDS = {
    "atrial_fibrillation": ("AFIB",),
    "sinus_bradycardia": ("SBRAD",),
    "sinus_tachycardia": ("STACH",),
    "pvc": ("PVC",),
    "pac": ("PAC",),
    "crbbb": ("CRBBB",),
    "clbbb": ("CLBBB",),
    "irbbb": ("IRBBB",),
    "first_degree_av_block": ("1AVB", "LPR", "report prolonged_pr"),
}
WORDS = tuple(
    Target(f"{STATEMENTS[n].text}, by code or words", (*codes, f"report {n}"), (n,), "report") for n, codes in _BY_WORDS.items()
)

LUDB = (
    Target("Sinus rhythm", ("Sinus rhythm",), ("sinus_rhythm",)),
    Target("Sinus bradycardia", ("Sinus bradycardia",), ("sinus_bradycardia",)),
    Target("Sinus tachycardia", ("Sinus tachycardia",), ("sinus_tachycardia",)),
    Target("Sinus arrhythmia", ("Sinus arrhythmia", "Irregular sinus rhythm"), ("sinus_arrhythmia",)),
    Target("Atrial fibrillation", ("Atrial fibrillation",), ("atrial_fibrillation",)),
    Target("Atrial flutter", ("Atrial flutter, typical",), ("atrial_flutter",)),
    Target("Pacemaker", ("paced",), ("paced", "ventricular_paced", "atrial_paced")),
    Target("I degree AV block", ("I degree av block",), ("first_degree_av_block",)),
    Target("III degree AV block", ("Iii degree av-block",), ("complete_av_block",)),
    Target("Incomplete RBBB", ("Incomplete right bundle branch block",), ("irbbb",)),
    Target("Complete LBBB", ("Complete left bundle branch block",), ("clbbb",)),
    Target("Complete RBBB", ("Complete right bundle branch block",), ("crbbb",)),
    Target("Left anterior fascicular block", ("Left anterior hemiblock",), ("lafb",)),
    Target("Ventricular ectopy", ("Ventricular extrasystole",), ("pvc", "ventricular_bigeminy")),
    Target("Atrial ectopy", ("Atrial extrasystole",), ("pac", "atrial_bigeminy")),
)

CHALLENGE = (
    Target("Sinus rhythm 426783006", ("426783006",), ("sinus_rhythm",), "rhythm"),
    Target("Sinus tachycardia 427084000", ("427084000",), ("sinus_tachycardia",), "rhythm"),
    Target("Sinus bradycardia 426177001", ("426177001",), ("sinus_bradycardia",), "rhythm"),
    Target("Atrial fibrillation 164889003", ("164889003",), ("atrial_fibrillation",), "rhythm"),
    Target("Atrial flutter 164890007", ("164890007",), ("atrial_flutter",), "rhythm"),
    Target("Premature atrial complex 284470004", ("284470004", "63593006"), ("pac", "atrial_bigeminy")),
    Target("Premature ventricular complex 427172004", ("427172004", "17338001", "164884008"), ("pvc", "ventricular_bigeminy")),
    Target("First-degree AV block 270492004", ("270492004",), ("first_degree_av_block",)),
    Target("RBBB 59118001, 713427006", ("59118001", "713427006"), ("crbbb",)),
    Target("LBBB 164909002, 733534002", ("164909002", "733534002"), ("clbbb",)),
    Target("T wave abnormal or inverted", ("164934002", "59931005"), ("t_inversion", "low_t", "nondiagnostic_t", *_ISCHAEMIA)),
    Target("ST depression 429622005", ("429622005",), ("st_depression",)),
    Target("LVH 164873001", ("164873001",), ("lvh",)),
)


def ptbxl(data: Path) -> list[dict[str, str]]:
    with (data / "ptbxl" / "ptbxl_database.csv").open() as f:
        return list(csv.DictReader(f))


def ptbxl_labelled(rows: Iterable[dict[str, str]], measured_rows: dict[str, dict[str, Any]], column: str) -> Iterator[Labelled]:
    for row in rows:
        got = measured_rows.get(f"ptbxl/{row[column]}.hea") if row[column] else None
        if got is None or "error" in got:
            continue
        labels = set(ast.literal_eval(row["scp_codes"])) | {c for c in ("MI", "STTC", "CD", "HYP") if row[f"label_{c}"] == "1"}
        if row["label_NORM"] == "1":
            labels.add("NORM")
        # The WFDB headers do not say age and sex; the table does (0 male, 1 female; 300 years stands for 90 and more).
        got = got | {"age": float(row["age"]) if row["age"] else None, "sex": {"0": "male", "1": "female"}.get(row["sex"])}
        found = {f.name: f.confidence for f in findings_of(got)}
        exact = not row["scp_codes_source"].startswith("reconstructed")
        rhythm = bool(labels & RHYTHMS)
        labels |= {f"report {n}" for n in parse_statement(row["report"])} | ({"report"} if row["report"] else set())
        yield Labelled(got["path"], row["patient_id"], found, frozenset(labels), int(row["strat_fold"]), exact, rhythm)


def ludb_labelled(data: Path, measured_rows: dict[str, dict[str, Any]]) -> Iterator[Labelled]:
    with (data / "ludb" / "ludb.csv").open() as f:
        for row in csv.DictReader(f):
            got = measured_rows.get(f"ludb/data/{row['ID'].strip()}.hea")
            if got is None or "error" in got:
                continue
            said = [
                s.strip() for k, v in row.items() if k not in ("ID", "Sex", "Age") for s in (v or "").split("\n") if s.strip()
            ]
            labels = (
                set(said)
                | {s.split(",")[0] for s in said if "extrasystole" in s}
                | {s.split(":")[0] for s in said if "extrasystole" in s}
            )
            if row["Cardiac pacing"].strip():
                labels.add("paced")
            yield Labelled(got["path"], row["ID"].strip(), {f.name: f.confidence for f in findings_of(got)}, frozenset(labels))


def challenge_labelled(measured_rows: dict[str, dict[str, Any]]) -> Iterator[Labelled]:
    """The records with SNOMED codes; HR is PTB-XL again and left out."""
    for path, got in measured_rows.items():
        codes = frozenset(c for c in got.get("codes", ()) if c.isdigit())
        if path.startswith("challenge/") and "/HR/" not in path and codes:
            found = {f.name: f.confidence for f in findings_of(got)}
            yield Labelled(path, path, found, codes, rhythm=bool(codes & RHYTHM_CODES))


# Scoring -----------------------------------------------------------------------------------------------------------------

RHYTHMS = frozenset({"SR", "AFIB", "STACH", "SARRH", "SBRAD", "PACE", "SVARR", "BIGU", "AFLT", "SVTAC", "PSVT", "TRIGU"})
# 426627000 is bradycardia of any kind; premature beats say nothing of the rhythm they come in.
ECTOPY_CODES = {
    STATEMENTS[n].snomed for n in ("pac", "pvc", "ventricular_bigeminy", "atrial_bigeminy", "ventricular_trigeminy")
}
RHYTHM_CODES = {s.snomed for s in STATEMENTS.values() if s.group == "rhythm"} - ECTOPY_CODES - {None} | {"426627000"}
MADE = ("definite", "probable", "possible")


def _holds(r: Labelled, target: Target) -> bool:
    return {"all": True, "exact": r.exact, "rhythm": r.rhythm, "report": "report" in r.labels}[target.rows]


def counts(records: Sequence[Labelled], target: Target) -> np.ndarray:
    """(N, 4) of true positive, false positive, false negative, true negative, one 1 per row; rows the label does not hold for
    are 0.
    """
    out = np.zeros((len(records), 4), int)
    for i, r in enumerate(records):
        if not _holds(r, target):
            continue
        label = any(c in r.labels for c in target.labels)
        found = any(r.found.get(n) in MADE for n in target.names)
        out[i, (0 if found else 2) if label else (1 if found else 3)] = 1
    return out


def rates(c: np.ndarray) -> np.ndarray:
    """(..., 4) counts -> (..., 4) sensitivity, specificity, positive predictive value, F1; NaN where there is nothing to
    divide by.
    """
    tp, fp, fn, tn = np.moveaxis(c.astype(float), -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.stack([tp / (tp + fn), tn / (tn + fp), tp / (tp + fp), 2 * tp / (2 * tp + fp + fn)], -1)


def intervals(records: Sequence[Labelled], c: np.ndarray, seed: int = 0) -> np.ndarray:
    """(2, 4) 2.5 and 97.5 % of the rates over BOOTSTRAPS draws of patients with replacement."""
    patients, index = np.unique([r.patient for r in records], return_inverse=True)
    per = np.zeros((len(patients), 4), int)
    np.add.at(per, index, c)
    draws = np.random.default_rng(seed).multinomial(len(patients), np.full(len(patients), 1 / len(patients)), BOOTSTRAPS)
    drawn = rates(draws @ per)
    drawn[:, np.isnan(drawn).all(0)] = 0  # a rate that no draw has; `table` prints none either
    return np.asarray(np.nanpercentile(drawn, [2.5, 97.5], axis=0))


def table(records: Sequence[Labelled], targets: Sequence[Target], least: int = LEAST, with_intervals: bool = True) -> list[str]:
    """Markdown rows: positives, then each rate with its interval."""
    lines = ["| statement | positives / records | sensitivity | specificity | PPV | F1 |", "|---|---|---|---|---|---|"]
    for t in targets:
        c = counts(records, t)
        total = c.sum(0)
        positives, n = int(total[0] + total[2]), int(total.sum())
        if positives < least:
            continue
        values = rates(total)
        bounds = intervals(records, c) if with_intervals else None
        cells = [
            "-" if math.isnan(v) else f"{v:.3f}" + (f" ({bounds[0, k]:.2f}-{bounds[1, k]:.2f})" if bounds is not None else "")
            for k, v in enumerate(values)
        ]
        lines.append(f"| {t.title} | {positives} / {n} | " + " | ".join(cells) + " |")
    return lines


def by_confidence(records: Sequence[Labelled], targets: Sequence[Target]) -> list[str]:
    """How often a finding agrees with the label, by its confidence class, over all statements that are compared."""
    agree: Counter[tuple[str, bool]] = Counter()
    for t in targets:
        if t.title.startswith("superclass"):
            continue
        for r in records:
            if not _holds(r, t):
                continue
            for n in t.names:
                if r.found.get(n) in MADE:
                    agree[r.found[n], any(c in r.labels for c in t.labels)] += 1
    lines = ["| confidence | findings | of them with the label |", "|---|---|---|"]
    for c in MADE:
        yes, no = agree[c, True], agree[c, False]
        lines.append(f"| {c} | {yes + no} | {yes / max(yes + no, 1):.3f} |")
    return lines


# Report ------------------------------------------------------------------------------------------------------------------


def report(data: Path, measured_rows: dict[str, dict[str, Any]]) -> str:
    rows = ptbxl(data)
    low = list(ptbxl_labelled(rows, measured_rows, "filename_lr"))
    high = list(ptbxl_labelled(rows, measured_rows, "filename_hr"))
    train, held = [r for r in low if r.fold <= 8], [r for r in low if r.fold == 9]
    ludb, challenge = list(ludb_labelled(data, measured_rows)), list(challenge_labelled(measured_rows))
    errors = sorted(f"{p}: {row['error']}" for p, row in measured_rows.items() if "error" in row)
    bars = [t for t in PTBXL if t.labels[0] in ("AFIB", "CRBBB", "CLBBB", "SBRAD", "STACH")]
    sections = (
        (
            "The bars of issue 2, folds 1-9",
            "AF F1 >= 0.90, complete bundle branch blocks >= 0.85, sinus brady- and tachycardia >= 0.90.",
            low,
            bars,
            1,
        ),
        ("The bars of issue 2, fold 9 alone", "Not tuned on, but seen (above); few positives.", held, bars, 1),
        ("PTB-XL subset, folds 1-8", "100 Hz. Where the thresholds were chosen.", train, PTBXL, LEAST),
        (
            "PTB-XL subset, fold 9",
            "100 Hz. Not tuned on, but seen (above). From 5 positives; the intervals say how little that is.",
            held,
            PTBXL,
            5,
        ),
        ("PTB-XL subset, folds 1-9", "100 Hz.", low, PTBXL, LEAST),
        ("PTB-XL subset, folds 1-9, labels by code or words", "100 Hz. Records with a report.", low, WORDS, LEAST),
        ("PTB-XL subset, folds 1-9 at 500 Hz", f"The {len(high)} records that are there at 500 Hz.", high, PTBXL, LEAST),
        ("LUDB", f"{len(ludb)} records. No rule was tuned on it. {SEEN}", ludb, LUDB, 2),
        (
            "PhysioNet Challenge",
            f"{len(challenge)} records with SNOMED CT codes (CPSC, Georgia, PTB, Chapman-Shaoxing-Ningbo). {FEW}",
            challenge,
            CHALLENGE,
            2,
        ),
    )
    parts = [(ROOT / "bench" / "accuracy_preface.md").read_text().replace("{date}", date.today().isoformat()).rstrip()]
    for title, words, records, targets, least in sections:
        parts += [f"\n## {title}\n\n{words}\n", *table(records, targets, least)]
    parts += [
        "\n## What the confidence classes are worth\n\nPTB-XL subset, folds 1-9, 100 Hz, all statements together.\n",
        *by_confidence(low, PTBXL),
    ]
    if errors:
        parts += ["\n## Records that could not be read\n", *(f"- {e}" for e in errors)]
    return "\n".join(parts) + "\n"


def paths(data: Path) -> list[str]:
    rows = ptbxl(data)
    listed = [f"ptbxl/{r[c]}.hea" for c in ("filename_lr", "filename_hr") for r in rows if r[c]]
    listed += [
        str(p.relative_to(data)) for folder in ("ludb/data", "challenge") for p in sorted((data / folder).rglob("*.hea"))
    ]
    return [p for p in listed if (data / p).exists()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, help="JSON lines file to keep measurements in (outside the repository)")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "accuracy.md")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("EINTHOVEN_DATA") or ROOT.parent / "shared" / "data"))
    a = parser.parse_args()
    rows = measure_all(paths(a.data), a.data, a.cache, a.processes)
    text = report(a.data, rows)
    a.out.parent.mkdir(parents=True, exist_ok=True)
    # the last section is another command's: bench/default_model.py
    _, head, model = (a.out.read_text() if a.out.exists() else "").partition("## The default ")
    a.out.write_text(f"{text.rstrip()}\n\n{head}{model}" if head else text)
    print(text[text.index("## The bars") : text.index("## PTB-XL subset")])
    print(f"wrote {a.out}")


if __name__ == "__main__":
    main()
