"""What the experiments on language models share: ECGs and samples made once, a trial from a recipe to figures with controls."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from einthoven.data import Index
from einthoven.data.instruct.make import make
from einthoven.data.instruct.readers import read_set
from einthoven.data.instruct.sample import Sample, read, write
from einthoven.evaluate.language import CONTROLS, ecgs_of, examine, ranking_of
from einthoven.exchange.language import open_language
from einthoven.models.language.answer import Answers
from einthoven.record import EcgError
from einthoven.train.instruct.material import _fewer, fold_of
from einthoven.train.instruct.recipe import InstructRecipe
from einthoven.train.instruct.run import Before, instruct
from einthoven.train.reproduce.material import data_of

Log = Callable[[str], None]
SIZES = ("smoke", "tiny", "full")


@dataclass(frozen=True)
class Ground:
    """The ECGs of an experiment and its samples by set ("made", "ecg-qa"), with the folds to train, choose and test by."""

    index: Index
    files: Mapping[str, Path]
    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]

    def samples(self, name: str, folds: Sequence[int]) -> list[Sample]:
        return [s for s in read(self.files[name]) if fold_of(s) in folds]


def ground(
    data: str | None, out: Path, *, ecgs: int | None, per_record: float, seed: int, jobs: int, questions: str | None = None,
    log: Log = lambda words: None,
) -> Ground:  # fmt: skip
    """Prepared once for all trials, and kept in `out`. The last fold that is there tests, the one before it chooses."""
    out.mkdir(parents=True, exist_ok=True)
    index = data_of(data, out / "all", jobs)
    if ecgs is not None and ecgs < len(index):
        index = _fewer(index, ecgs, seed)
    folds = sorted(set(np.asarray(index.column("fold")).tolist()) - {-1})
    if len(folds) < 3:
        raise EcgError(f"the experiment needs a dataset with folds, as PTB-XL has them (folds here: {folds or 'none'})")
    files = {"made": out / "made.jsonl"}
    if not files["made"].exists():
        log(f"making samples of {len(index):,} ECGs")
        made = make(index, per_record=per_record, seed=seed, jobs=jobs)
        write(files["made"], [s for s in made if s.language == "en"])
    if questions:
        files["ecg-qa"] = out / "ecg-qa.jsonl"
        if not files["ecg-qa"].exists():
            write(files["ecg-qa"], _with_folds(read_set(questions, index=index).samples, index))
    return Ground(index, files, tuple(folds[:-2]), (folds[-2],), (folds[-1],))


def spread(samples: Sequence[Sample], most: int, seed: int) -> list[Sample]:
    """At most so many, drawn by the seed, every patient in turn: controls need more than one."""
    order = np.random.default_rng([seed, 23]).permutation(len(samples))
    count: dict[str, int] = {}
    rank = np.zeros(len(samples), np.int64)
    for k in order.tolist():
        whose = samples[k].group or samples[k].id
        rank[k] = count[whose] = count.get(whose, -1) + 1
    place = np.argsort(order)
    return [samples[k] for k in np.sort(np.lexsort((place, rank))[:most])]


def _with_folds(samples: Sequence[Sample], index: Index) -> list[Sample]:
    """Single-ECG questions about ECGs that are here, each in its ECG's fold."""
    fold = dict(zip(index.column("record"), np.asarray(index.column("fold")).tolist(), strict=True))
    kept = [s for s in samples if len(s.records) == 1 and s.records[0] in fold]
    if not kept:
        raise EcgError("none of these questions is about an ECG that is here")
    return [replace(s, fold=fold[s.records[0]]) for s in kept]


def trained(recipe: InstructRecipe, ground: Ground, sets: Sequence[str], folder: Path, log: Log) -> Path:
    """The Bundle of a trial; `folder` is emptied when it is opened."""
    index = folder.parent / "index"
    if not index.exists():
        _keep(ground.index, index)
    wanted = recipe.with_(
        data=str(index), samples=[str(ground.files[name]) for name in sets], judge=False, train_folds=list(ground.train),
        validation_folds=list(ground.validation), test_folds=list(ground.test),
    )  # fmt: skip
    return instruct(wanted, folder, quiet=True)


def _keep(index: Index, folder: Path) -> None:
    """A selection of an Index as one of its own: the table, and a link to all signals."""
    import json
    import os

    import pyarrow.parquet as pq

    draft = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    pq.write_table(index.table, draft / "records.parquet")
    if index.folder is None:
        np.asarray(index.signals, "<i2").tofile(draft / "signals.i16")
    else:
        os.link(index.folder / "signals.i16", draft / "signals.i16")
    (draft / "index.json").write_text(json.dumps(dict(index.about)), encoding="utf-8")
    os.replace(draft, folder)


def figures(
    bundle: Path, ground: Ground, samples: Sequence[Sample], train: Sequence[Sample], *, most: int, ranked: int, seed: int,
    base: str | None = None, before: bool = False, controls: Sequence[str] = CONTROLS,
) -> dict[str, Any]:  # fmt: skip
    """{"group: figure": {"value", "low", "high", "n", "controls", "before", "gain"}} of test samples, and "ranking: macro
    AUROC"."""
    model, _ = open_language(bundle, base=base)
    answers = Answers(model, "model", most=most)
    ecgs = ecgs_of(ground.index)
    found = examine(
        answers, samples, ecgs, train=train, controls=controls, before=Before(answers) if before else None, draws=500, seed=seed
    )
    rows = list(found.rows)
    if ranked:
        at = np.flatnonzero(np.isin(ground.index.column("fold"), ground.test))
        rows_of = np.sort(np.random.default_rng([seed, 21]).permutation(at)[:ranked]).tolist()
        rows += ranking_of(answers, ground.index, rows_of, draws=500, seed=seed)[0][:1]
        if before:
            earlier, _ = ranking_of(Before(answers), ground.index, rows_of, draws=500, seed=seed, controls=())
            rows += [replace(earlier[0], group="ranking before")]
    return {f"{row.group}: {row.figure}": _row(row) for row in rows}


def _row(row: Any) -> dict[str, Any]:
    controls = {name: _finite(value) for name, value in row.controls.items()}
    words = {name: _finite(getattr(row, name)) for name in ("value", "low", "high", "gain", "gain_low", "gain_high")}
    return {**words, "n": row.n, "best": row.best, "before": controls.pop("before", None), "controls": controls}


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def interval(found: Mapping[str, Any], name: str) -> tuple[Any, Any, Any] | None:
    """(value, low, high) of a figure for a Sheet; None where it was not measured."""
    one = found.get(name)
    return None if one is None or one["value"] is None else (one["value"], one["low"], one["high"])


def gain(found: Mapping[str, Any], name: str) -> tuple[Any, Any, Any] | None:
    one = found.get(name)
    return None if one is None or one.get("gain") is None else (one["gain"], one["gain_low"], one["gain_high"])
