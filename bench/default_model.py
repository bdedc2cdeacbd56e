"""How good the default model is: writes the section "The default model" of docs/accuracy.md.

    python bench/default_model.py --data ../shared/data/ptbxl [--baselines runs/baselines.npz] [--model einthoven-12]

Reads the files of fold 9 through the Bundle as `einthoven predict` does, compares with the baselines of
bench/default_baselines.py on the same records, and measures the time. Out-of-fold figures are taken from the manifest. Nothing
is chosen here.
"""

from __future__ import annotations

import argparse
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import einthoven as ecg
from einthoven.data.labels import labels_of
from einthoven.data.load import load
from einthoven.evaluate.compare import compare
from einthoven.evaluate.evaluation import Evaluation, evaluate
from einthoven.exchange.manifest import Scores
from einthoven.exchange.predict import Predictor
from einthoven.record import Patient
from einthoven.train.default.run import calibrated_to

ROOT = Path(__file__).resolve().parent.parent
HEAD = "## The default model"
DRAWS = 1000
Case = tuple[str, float | None, str | None]  # path, age, sex

_model: Predictor | None = None


def start(name: str) -> None:
    global _model
    _model = Predictor.load(name)
    _model.predict(ecg.simulate("sinus_rhythm", fs=100.0).record)  # what is compiled at the first ECG is compiled now


def answer(case: Case) -> tuple[list[float], float]:
    """One file to probabilities, and how long it took, s."""
    if _model is None:
        raise RuntimeError("start(name) first")
    path, age, sex = case
    begin = time.perf_counter()
    record = ecg.read(path)
    told = _model.predict(replace(record, patient=Patient(age=age, sex=sex))).labels
    return list(told.values()), time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="einthoven-12")
    parser.add_argument("--baselines", type=Path)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "accuracy.md")
    options = parser.parse_args()
    manifest = Predictor.load(options.model).manifest
    folds = tuple(sorted({f for one in manifest.metrics if one.role == "test" for f in one.folds}))
    index = load(options.data)
    index = index.select(np.flatnonzero(np.isin(index.column("fold"), folds)))
    patients = np.array(index.column("patient"))
    cases: list[Case] = [
        (path, None if np.isnan(age) else age, sex)
        for path, age, sex in zip(index.column("path"), index.column("age"), index.column("sex"), strict=True)
    ]
    start(options.model)
    before = time.process_time()
    known, seconds = _answers(cases)
    cpu = (time.process_time() - before) / len(cases)
    unknown, _ = _answers([(path, None, None) for path, _, _ in cases])
    rate = _throughput(options.model, cases)
    superclass, statement = labels_of(index, "superclass"), labels_of(index, "statement")
    five = superclass.names
    rest = tuple(n for n in manifest.names if n not in five)
    column = {n: k for k, n in enumerate(manifest.names)}
    limits = manifest.thresholds.values if manifest.thresholds else {}

    def judge(found: NDArray[np.float64], names: tuple[str, ...], truth: NDArray[np.float32]) -> Evaluation:
        at = [limits.get(n, 0.5) for n in names]
        where = manifest.thresholds.chosen_on if manifest.thresholds else ""
        chosen = [column[n] for n in names]
        return evaluate(
            truth, found[:, chosen], names, "multilabel", patients, thresholds=at, thresholds_from=where, draws=DRAWS
        )

    truth = superclass.matrix
    others = statement.matrix[:, [statement.names.index(n) for n in rest]]
    first, without, second = judge(known, five, truth), judge(unknown, five, truth), judge(known, rest, others)
    fold = ", ".join(map(str, folds))
    pooled, mean, floor = calibrated_to(truth, known)
    errors = (
        f"ECE (15 bins) **{pooled:.3f}** over all pairs of record and superclass; in the mean by superclass {mean:.3f}, where "
        f"a perfectly calibrated model would show {floor:.3f} on {first.records} records: each bin's noise counts as error. "
        "Less that noise (Kumar et al., NeurIPS 2019, `evaluate.calibration.ece_debiased`) "
        f"**{first.figure('mean_ece_debiased')}** in the mean by superclass."
    )
    lines = [
        HEAD,
        "",
        f"`{manifest.name}`; written by `python bench/default_model.py`, trained by `recipes/default.yaml` on the PTB-XL "
        f"subset (CC BY 4.0, Wagner et al. 2020, doi 10.13026/kfzx-aw45), {_records(manifest.metrics, 'validation')}. "
        f"Intervals: 95 %, {DRAWS} draws of patients. Part of PTB-XL's oldest slice, so no PTB-XL "
        "benchmark figure. Research use only.",
        "",
        f"**Fold {fold}** ({first.records} records of {first.patients} patients), {_notes(manifest.metrics)}.",
        "",
        *_table(first, "superclass"),
        "",
        f"Macro AUROC **{first.figure('macro_auroc')}**; without age and sex {without.figure('macro_auroc')}. {errors}",
        "",
    ]
    if options.baselines:
        lines += [*_compared(options.baselines, index.column("record"), truth, known[:, : len(five)], five, patients), ""]
    validation = [one for one in manifest.metrics if one.role == "validation"]
    if validation:
        lines += [
            f"**Out of fold**, folds {', '.join(map(str, validation[0].folds))} ({validation[0].records} records), by which "
            "everything was chosen:",
            "",
            *_kept(validation[0]),
            "",
        ]
    lines += [
        f"**Statements** on fold {fold}. Many are one reader's word, and few have enough positives here to say much; the "
        "column to the right has the larger out-of-fold counts.",
        "",
        *_statements(second, validation[1] if len(validation) > 1 else None),
        "",
        f"**Time** (one run, file to probabilities, one thread): median {np.median(seconds) * 1000:.0f} ms a record warm, 95 % "
        f"below {np.quantile(seconds, 0.95) * 1000:.0f} ms, {cpu * 1000:.0f} ms of CPU each; "
        f"{rate:.0f} records/s over two processes, at a load average of {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores.",
        "",
    ]
    text = options.out.read_text() if options.out.exists() else ""
    before, _, rest = text.partition(f"{HEAD}\n")
    after = rest[rest.find("\n## ") :] if "\n## " in rest else "\n"
    options.out.write_text(before.rstrip() + "\n\n" + "\n".join(lines).rstrip() + "\n" + after)
    print("\n".join(lines))


def _answers(cases: list[Case]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    found = [answer(case) for case in cases]
    return np.array([p for p, _ in found]), np.array([s for _, s in found])


def _throughput(model: str, cases: list[Case]) -> float:
    """Records a second over two processes of one thread each."""
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with ProcessPoolExecutor(2, get_context("spawn"), initializer=start, initargs=(model,)) as pool:
        list(pool.map(answer, cases[:64], chunksize=8))  # both are awake now
        begin = time.perf_counter()
        list(pool.map(answer, cases, chunksize=8))
        return len(cases) / (time.perf_counter() - begin)


def _table(told: Evaluation, what: str) -> list[str]:
    lines = [
        f"| {what} | positives | AUROC | average precision | sensitivity | specificity | ECE |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in told.names:
        figures = (str(told.figure(f, name)) for f in ("auroc", "average_precision", "sensitivity", "specificity", "ece"))
        lines.append(f"| {name} | {told.positives[name]} | " + " | ".join(figures) + " |")
    return lines


def _kept(scores: Scores) -> list[str]:
    """Superclasses of a manifest's scores, as a table; the macro figures under it."""
    figures = {(f.label, f.name): f for f in scores.figures}
    labels = list(dict.fromkeys(f.label for f in scores.figures if f.label))
    lines = ["| superclass | positives | AUROC | ECE |", "|---|---|---|---|"]
    for name in labels:
        area, error = figures[name, "auroc"], figures[name, "ece"]
        lines.append(f"| {name} | {area.positives} | {_text(area)} | {_text(error)} |")
    return [*lines, "", f"Macro AUROC **{_text(figures[None, 'macro_auroc'])}**, mean ECE {_text(figures[None, 'mean_ece'])}."]


def _text(figure: object) -> str:
    value, low, high = (getattr(figure, key) for key in ("value", "low", "high"))
    return f"{value:.3f}" + (f" ({low:.3f} - {high:.3f})" if low is not None and high is not None else "")


def _statements(told: Evaluation, validation: Scores | None) -> list[str]:
    area = {f.label: f for f in validation.figures if f.name == "auroc"} if validation else {}
    lines = ["| statement | positives | AUROC | out of fold: positives | AUROC |", "|---|---|---|---|---|"]
    for name in told.names:
        there = area.get(name)
        right = f"{there.positives} | {_text(there)}" if there else "- | -"
        lines.append(f"| {name} | {told.positives[name]} | {told.figure('auroc', name)} | {right} |")
    return lines


def _compared(
    path: Path,
    records: list[str],
    truth: NDArray[np.float32],
    ours: NDArray[np.float64],
    names: tuple[str, ...],
    patients: NDArray[np.str_],
) -> list[str]:
    """Macro AUROC of each baseline beside ours, on the same records, with the paired bootstrap."""
    lines = [
        "| against (`bench/default_baselines.py`) | its macro AUROC | ours minus its, paired bootstrap over patients | p |",
        "|---|---|---|---|",
    ]
    with np.load(path, allow_pickle=False) as kept:
        row = {name: i for i, name in enumerate(kept["record"].tolist())}
        order = [row[name] for name in records]
        for name in sorted(set(kept.files) - {"record"}):
            found = compare(truth, ours, kept[name][order], names, patients, draws=DRAWS)[0]
            lines.append(
                f"| {name} | {found.b:.3f} | {found.difference:+.3f} ({found.low:+.3f} - {found.high:+.3f}) | {found.p:.3f} |"
            )
    lines += ["", "The baselines' epoch and ridge were chosen on this very fold, which favours them; ours was not."]
    return lines


def _records(metrics: tuple[Scores, ...], role: str) -> str:
    one = next((m for m in metrics if m.role == role), None)
    return f"{one.records} records of {one.patients} patients" if one else "see its card"


def _notes(metrics: tuple[Scores, ...]) -> str:
    return next((m.notes.split(";")[0] for m in metrics if m.role == "test"), "")


if __name__ == "__main__":
    main()
