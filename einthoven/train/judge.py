"""A finished model on labelled ECGs that it has not seen: every figure with its interval. Needs no torch.

N records, K labels.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from einthoven.data import Index, labels_of, load
from einthoven.data.labels import LEVELS, classes
from einthoven.data.workers import ordered
from einthoven.evaluate import Evaluation, evaluate
from einthoven.exchange import shelf
from einthoven.exchange.bundle import Bundle
from einthoven.exchange.manifest import Manifest
from einthoven.exchange.predict import Predictor
from einthoven.io.files import replacing
from einthoven.record import EcgError, Record

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


def evaluate_bundle(
    model: str | Path | None,
    data: str | Path,
    labels: str | Path | None = None,
    *,
    level: str | None = None,
    out: Path | None = None,
    draws: int = 1000,
    jobs: int = 0,
    tell: Callable[[str], None] = print,
) -> Evaluation:
    """Judges a Bundle on labelled ECGs, by the thresholds and the calibration that it brings.

    Args:
        model: a Bundle's path or a model's name; None: the default model.
        data, labels: as for `einthoven.data.load`.
        level: which labels; None: those that the model was trained on, or whose names fit.
        out: folder for evaluation.json, predictions.csv and, where matplotlib is installed, the pictures.

    Records of folds that the model was trained on, or chosen with, are left out. Raises EcgError where nothing can be judged.
    """
    path = shelf.find(model)
    manifest = Bundle.open(path).manifest
    if manifest.task == "language":
        raise EcgError("answers in words: it is judged by its answers (--samples), not by labels", path=path)
    index = load(data, labels, jobs=jobs)
    for fault in index.about.get("failed", ()):
        tell(f"left out: {fault['name']}: {fault['why']}")
    truth, told = wanted(index, manifest, level or level_of(manifest, index, own=labels is not None))
    rows, more = unseen(index, manifest, np.flatnonzero(np.isfinite(truth).any(1)))
    for words in (*told, *more):
        tell(f"warning: {words}")
    if not len(rows):
        raise EcgError("no record is left that has a label of the model and that it has not seen", path=data)
    tell(f"{manifest.name} on {len(rows):,} records of {data}")
    probability, faults = probabilities(index, rows, path, len(manifest.names), jobs)
    for name, why in faults.items():
        tell(f"left out: {why if name in why else f'{name}: {why}'}")
    good = np.isfinite(probability).all(1)
    if not good.any():
        raise EcgError(f"the model takes none of the records ({next(iter(faults.values()))})", path=data)
    rows, probability = rows[good], probability[good]
    people = index.column("patient")
    limits = manifest.thresholds.values if manifest.thresholds else {}
    found = evaluate(
        truth[rows], probability, manifest.names, manifest.task, [people[i] for i in rows],
        thresholds=[limits.get(n, 0.5) for n in manifest.names] if limits and manifest.task == "multilabel" else None,
        thresholds_from=manifest.thresholds.rule if manifest.thresholds else "", draws=draws,
    )  # fmt: skip
    if out is not None:
        write(out, found, index, rows, truth[rows], probability, manifest, tell)
    return found


def level_of(manifest: Manifest, index: Index, *, own: bool) -> str:
    """The level whose words are the model's labels. Raises EcgError where there is none."""
    if manifest.task == "regression":
        return "target"
    there = {label for row in index.column("labels") if row for label in row}
    if own or there & set(manifest.names):
        return "own"
    level = next((n for n in LEVELS if n not in ("own", "target") and set(manifest.names) <= set(classes(n))), None)
    if level is None:
        raise EcgError(f"the labels of the data are not the model's ({', '.join(manifest.names[:8])}): which --level are they?")
    return level


def wanted(index: Index, manifest: Manifest, level: str) -> tuple[F32, list[str]]:
    """(the truth (N, K) in the order of the model's labels, NaN unknown; what has to be said of it)."""
    if level == "target":
        return labels_of(index, level, names=manifest.names).matrix, []
    known = labels_of(index, level, task="multilabel")
    truth = np.full((len(index), len(manifest.names)), np.nan, np.float32)
    for k, name in enumerate(manifest.names):
        if name in known.names:
            truth[:, k] = known.matrix[:, known.names.index(name)]
    lacking = [n for n in manifest.names if n not in known.names]
    strange = [n for n in known.names if n not in manifest.names and level == "own"]
    told = [f"no record has the label {', '.join(lacking)}"] if lacking else []
    if len(lacking) == len(manifest.names):
        raise EcgError(
            f"the data has none of the model's labels ({', '.join(manifest.names[:8])}), but {', '.join(strange[:8])}"
        )
    if manifest.task == "single":
        truth[:, [manifest.names.index(n) for n in lacking]] = 0
        others = known.matrix[:, [known.names.index(n) for n in strange]].sum(1) if strange else np.zeros(len(index))
        outside = (np.nan_to_num(truth).sum(1) != 1) | (np.nan_to_num(others) > 0)
        lost = int((outside & np.isfinite(truth).any(1)).sum())
        truth[outside] = np.nan
        told += [f"{lost} records have not exactly one of the model's labels: left out"] if lost else []
    elif strange:
        told.append(f"labels that the model does not know: {', '.join(strange[:8])}")
    return truth, told


def unseen(index: Index, manifest: Manifest, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[str]]:
    """The rows without those of folds that the model has seen; and what has to be said where that cannot be known."""
    sets, folds = index.column("dataset"), np.asarray(index.column("fold"))
    told: list[str] = []
    keep = np.ones(len(index), bool)
    for seen in manifest.training.data:
        same = np.array([name == seen.name for name in sets])
        if not same[rows].any():
            continue
        if not seen.folds:
            told.append(
                f"the model has seen records of {seen.name} ({seen.role}): perhaps these, or others of the same patients"
            )
            continue
        out = same & np.isin(folds, seen.folds)
        if out[rows].any():
            told.append(f"{int(out[rows].sum()):,} records of {seen.name} left out: folds {seen.folds} were its {seen.role}")
        keep &= ~out
    return rows[keep[rows]], list(dict.fromkeys(told))


def probabilities(
    index: Index, rows: Sequence[int] | NDArray[np.int64], path: Path, labels: int, jobs: int
) -> tuple[F64, dict[str, str]]:
    """((n, K) calibrated, NaN for what failed; record -> why it failed) of the chosen rows."""
    out = np.full((len(rows), labels), np.nan)
    faults: dict[str, str] = {}
    records: Iterator[Record] = (index.record(int(i)) for i in rows)
    results = ordered(partial(_predict, path=str(path)), records, jobs=jobs if len(rows) > 64 else 1, killed=_killed)
    names = index.column("record")
    for i, made in enumerate(results):
        if isinstance(made, str):
            faults[names[rows[i]]] = made
        else:
            out[i] = made
    return out, faults


def _predict(record: Record, *, path: str) -> list[float] | str:
    try:
        return list(_predictor(path).predict(record).labels.values())
    except EcgError as fault:
        return str(fault)


def _killed(record: Record) -> list[float] | str:
    return "its process was killed (out of memory?)"


@lru_cache(maxsize=1)
def _predictor(path: str) -> Predictor:
    return Predictor.load(path)


def write(
    out: Path, found: Evaluation, index: Index, rows: NDArray[np.int64], truth: F32, probability: F64, manifest: Manifest,
    tell: Callable[[str], None],
) -> None:  # fmt: skip
    """evaluation.json, predictions.csv, and the pictures where matplotlib is there to draw them."""
    out.mkdir(parents=True, exist_ok=True)
    with replacing(out / "evaluation.json") as draft:
        draft.write_text(json.dumps(found.to_dict(), indent=1, ensure_ascii=False), encoding="utf-8")
    names, records, people = manifest.names, index.column("record"), index.column("patient")
    with replacing(out / "predictions.csv") as draft, draft.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        word = "value" if manifest.task == "regression" else "probability"
        table.writerow(["record", "patient", *(f"label:{n}" for n in names), *(f"{word}:{n}" for n in names)])
        for i, row in enumerate(rows):
            known = ["" if np.isnan(v) else f"{v:g}" for v in truth[i]]
            table.writerow([records[row], people[row], *known, *(f"{p:.6g}" for p in probability[i])])
    try:
        pictures = _pictures(found, truth, probability, manifest)
    except ImportError as fault:
        tell(f"no pictures without matplotlib: pip install 'einthoven[train]' ({fault})")
        return
    for name, picture in pictures.items():
        with replacing(out / name) as draft:
            draft.write_bytes(picture)


def _pictures(found: Evaluation, truth: F32, probability: F64, manifest: Manifest) -> Mapping[str, bytes]:
    from einthoven.train import curves

    names = manifest.names
    if manifest.task == "regression":
        return {"values.png": curves.values(truth, probability, names)}
    kept = np.isfinite(truth).all(1) if manifest.task == "single" else np.ones(len(truth), bool)
    limits = manifest.thresholds.values if manifest.thresholds else {}
    present = probability >= np.array([limits.get(n, 0.5) for n in names])
    return {
        "confusion.png": curves.confusion(np.array(found.confusion), names)
        if manifest.task == "single"
        else curves.confusions(truth, present, names),
        "roc_pr.png": curves.roc_pr(truth[kept], probability[kept], names),
        "calibration.png": curves.reliability(truth[kept], probability[kept], names),
    }
