"""What an Index holds, in figures: patients, ages, rates, labels with their counts, and what to beware of."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from einthoven.data.index import Index
from einthoven.data.labels import labels_of, placed
from einthoven.data.splits import groups
from einthoven.record import EcgError

FEW = 30  # positives below which no figure of a class is worth much: 3 of 10 in a fold of five


def summary(index: Index) -> dict[str, Any]:
    """Plain JSON values: records, patients, datasets, ages, sexes, rates, lengths, leads, folds, labels by level, warnings."""
    ages = np.asarray(index.column("age"))
    known = ages[np.isfinite(ages)]
    fs, samples = np.asarray(index.column("fs")), np.asarray(index.column("samples"))
    patients = index.column("patient")
    labels = _labels(index)
    return {
        "records": len(index),
        "patients": len(set(patients)),
        "patients_known": int(np.sum(index.column("patient_known"))),
        "groups": len(np.unique(groups(index))),
        "datasets": dict(Counter(index.column("dataset")).most_common()),
        "age": {"known": len(known), "quartiles": [round(float(q), 1) for q in np.quantile(known, [0.25, 0.5, 0.75])]}
        if len(known)
        else {"known": 0, "quartiles": []},
        "sex": {str(k or "unknown"): n for k, n in Counter(index.column("sex")).most_common()},
        "fs": {f"{k:g}": n for k, n in Counter(fs.tolist()).most_common()},
        "seconds": {f"{k:g}": n for k, n in Counter(np.round(samples / fs, 2).tolist()).most_common(8)},
        "leads": {",".join(k): n for k, n in Counter(map(tuple, index.column("leads"))).most_common(8)},
        "folds": {str(k): n for k, n in sorted(Counter(np.asarray(index.column("fold")).tolist()).items()) if k >= 0},
        "labels": labels,
        "targets": {name: int(np.isfinite(index.column(f"target:{name}")).sum()) for name in index.targets},
        "doubts": dict(Counter(_kind(w) for words in index.column("warnings") for w in words).most_common(12)),
        "failed": index.about.get("failed", []),
        "absent": index.about.get("absent", []),
        "warnings": _warnings(index, labels),
    }


def _labels(index: Index) -> dict[str, dict[str, Any]]:
    """Level -> names with their counts, for the levels that the records have labels at."""
    out: dict[str, dict[str, Any]] = {}
    for level in ("own", "superclass", "subclass", "diagnostic", "form", "rhythm"):
        try:
            labels = labels_of(index, level)
        except EcgError:
            continue
        counts = {n: int(c) for n, c in zip(labels.names, labels.positives, strict=True) if c}
        if counts:
            known = dict(zip(labels.names, np.isfinite(labels.matrix).sum(axis=0).tolist(), strict=True))
            shares = {n: round(c / known[n], 4) for n, c in counts.items()}
            out[level] = {"task": labels.task, "known": len(labels.known), "positives": counts, "shares": shares}
    return out


def _warnings(index: Index, labels: dict[str, dict[str, Any]]) -> list[str]:
    out = []
    for level, about in labels.items():
        few = [f"{n} ({c})" for n, c in about["positives"].items() if c < FEW]
        if few and level in ("own", "superclass"):
            out.append(f"few records of {', '.join(few)}: below {FEW} positives no figure of a class is worth much")
    unknown = len(index) - int(np.sum(index.column("patient_known")))
    if unknown:
        out.append(f"the patient of {unknown} records is not known: each counts as a patient of its own")
    who, most = Counter(index.column("patient")).most_common(1)[0] if len(index) else ("", 0)
    if most > max(10, len(index) / 5):
        out.append(f"{most} records are of one patient ({who}): is that so, or does the id stand for everybody?")
    patients = len(set(index.column("patient")))
    together = len(np.unique(groups(index)))
    if together < patients:
        out.append(f"patients who share a signal or a copy with another: {patients - together} (splits keep them together)")
    clipped = int(np.sum(np.asarray(index.column("clipped")) > 0))
    if clipped:
        out.append(f"{clipped} records were clipped at 32.767 mV: their unit or gain is probably wrong")
    if len(set(np.asarray(index.column("fs")).tolist())) > 1:
        out.append("records have different sampling rates: take a preset that resamples")
    codes = Counter(c for row in index.column("codes") for c in row if not c.startswith("icd10:"))
    strange = [(c, n) for c, n in codes.most_common() if not placed(c)]
    if strange:
        shown = ", ".join(f"{c} ({n})" for c, n in strange[:8]) + (", ..." if len(strange) > 8 else "")
        out.append(f"{len(strange)} codes mean nothing at any level here: {shown}")
    failed = sum(f["count"] for f in index.about.get("failed", []))
    if failed:
        out.append(f"{failed} records could not be read or did not fit; `failed` in index.json names them")
    return out


def _kind(warning: str) -> str:
    """A warning without its figures, so that like ones are counted together."""
    return warning.split(":")[0].split("(")[0].strip()[:80]


def text(index: Index) -> str:
    """`summary` for eyes."""
    s = summary(index)
    quartiles = s["age"]["quartiles"]
    lines = [
        f"{s['records']:,} records of {s['patients']:,} patients"
        + ("" if s["patients_known"] else " (patients are not known)"),
        "datasets   " + _counts(s["datasets"]),
        "age        "
        + (f"{quartiles[1]:g} years (quartiles {quartiles[0]:g} to {quartiles[2]:g})" if quartiles else "unknown"),
        "sex        " + _counts(s["sex"]),
        "rate       " + _counts(s["fs"], " Hz"),
        "length     " + _counts(s["seconds"], " s"),
        "leads      " + "; ".join(f"{k.replace(',', ' ')}: {n:,}" for k, n in s["leads"].items()),
    ]
    if s["folds"]:
        lines.append("folds      " + _counts(s["folds"]))
    for level, about in s["labels"].items():
        shown = sorted(about["positives"].items(), key=lambda item: -item[1])
        lines.append(f"\n{level} ({about['task']}, {about['known']:,} records labelled)")
        lines += [f"  {name:<24}{count:>8,}{100 * about['shares'][name]:>8.1f} %" for name, count in shown[:30]]
        if len(shown) > 30:
            lines.append(f"  ... and {len(shown) - 30} more")
    for name, count in s["targets"].items():
        lines.append(f"\ntarget {name}: {count:,} records")
    if s["doubts"]:
        lines.append("\nsaid while reading")
        lines += [f"  {count:>8,}  {words}" for words, count in s["doubts"].items()]
    if s["warnings"]:
        lines.append("\nbeware")
        lines += [f"  {w}" for w in s["warnings"]]
    return "\n".join(lines)


def _counts(counts: dict[str, int], unit: str = "") -> str:
    return ", ".join(f"{k}{unit}: {n:,}" for k, n in counts.items())


def known_sets() -> list[dict[str, Any]]:
    """The datasets of the table as plain values: name, title, licence, citation, size, official address."""
    from einthoven.data.datasets.table import DATASETS

    keep = ("name", "title", "records", "patients", "gigabytes", "licence", "address", "citation", "notes")
    return [{k: getattr(row, k) for k in keep} for row in DATASETS.values()]
