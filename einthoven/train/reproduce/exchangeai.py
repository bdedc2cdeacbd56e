"""ExChanGeAI's tables 1, S2, S3 and S4: five models, three tasks, fine-tuned on one fold of PTB-XL and tested elsewhere.

Bickmann L et al., ExChanGeAI: tasks are superclasses (MI, CD, STTC, HYP; one label a record), anterior against inferior
infarcts, and bundle branch blocks (complete left, complete and incomplete right). The paper trains XceptionTime and
InceptionTime anew on fold 9, all layers, and the heads of CardX, DSAIL SNU (se-resnet here) and ECG-FM, which come
pre-trained; one XceptionTime on folds 1-8 is its baseline. Two unlike things are compared that way, so here every model is
trained both ways, head and all layers, from the same pre-trained start. Revascularization (EDMS, not public) is left out.

K classes.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from einthoven.data import Index, Labels, by_patient, labels_of
from einthoven.data.labels import exchangeai as table3
from einthoven.evaluate import Figure, evaluate, robustness
from einthoven.evaluate.calibration import activate
from einthoven.models.table import by_name
from einthoven.record import EcgError
from einthoven.signal.presets import by_name as preset_by_name
from einthoven.train.recipe import Recipe
from einthoven.train.reproduce.material import Folds, apart, arrays, data_of, folds_of
from einthoven.train.reproduce.sheet import Kept, Sheet, paragraphs
from einthoven.train.reproduce.trial import given, pretrained, run

F32 = NDArray[np.float32]
Rows = NDArray[np.int64]
Log = Callable[[str], None]

MODELS = ("xception-time", "inception-time", "cardx", "se-resnet", "ecg-fm")
LEAST = 10  # records of a test set; fewer say nothing
SUPERCLASSES = ("NORM", "MI", "STTC", "CD", "HYP")


@dataclass(frozen=True)
class Task:
    """`table3` the task's name in data/labels.py, for sets with hospital diagnoses alone; `merged` which classes are one there
    (table S5: ICD-10 knows no incomplete block)."""

    name: str
    title: str
    level: str
    names: tuple[str, ...]
    table3: str
    merged: Mapping[str, str] = field(default_factory=dict)


_ONE_BLOCK = {"CLBBB": "LBBB", "CRBBB": "RBBB", "IRBBB": "RBBB"}
_TASKS = (
    Task("superclasses", "Superclasses", "superclass", ("MI", "CD", "STTC", "HYP"), "superclass"),
    Task("infarcts", "Myocardial infarcts", "subclass", ("AMI", "IMI"), "infarct"),
    Task("blocks", "Bundle branch blocks", "subclass", ("CLBBB", "CRBBB", "IRBBB"), "bundle", _ONE_BLOCK),
)
TASKS: Mapping[str, Task] = MappingProxyType({task.name: task for task in _TASKS})

# The paper's figures: (weighted F1, macro F1) by (task, dataset), a column a model in this order. Tables 1, S2, S3, S4.
_PRINTED = ("xception-time baseline", "xception-time", "inception-time", "cardx", "se-resnet", "ecg-fm")
_WEIGHTED: Mapping[tuple[str, str], tuple[float, ...]] = {
    ("superclasses", "ptbxl"): (0.792, 0.686, 0.651, 0.520, 0.536, 0.690),
    ("superclasses", "yang"): (0.335, 0.647, 0.064, 0.644, 0.585, 0.173),
    ("superclasses", "mimic"): (0.371, 0.374, 0.358, 0.208, 0.323, 0.355),
    ("infarcts", "ptbxl"): (0.938, 0.853, 0.902, 0.730, 0.685, 0.685),
    ("infarcts", "mimic"): (0.753, 0.734, 0.726, 0.502, 0.336, 0.403),
    ("blocks", "ptbxl"): (0.911, 0.912, 0.891, 0.746, 0.832, 0.790),
    ("blocks", "yang"): (0.730, 0.101, 0.792, 0.610, 0.496, 0.617),
    ("blocks", "mimic"): (0.825, 0.820, 0.819, 0.571, 0.333, 0.087),
}
_MACRO: Mapping[tuple[str, str], tuple[float, ...]] = {
    ("superclasses", "ptbxl"): (0.768, 0.662, 0.617, 0.401, 0.502, 0.555),
    ("superclasses", "yang"): (0.112, 0.430, 0.021, 0.171, 0.242, 0.070),
    ("superclasses", "mimic"): (0.278, 0.280, 0.269, 0.117, 0.243, 0.136),
    ("infarcts", "ptbxl"): (0.930, 0.827, 0.888, 0.691, 0.649, 0.645),
    ("infarcts", "mimic"): (0.753, 0.734, 0.726, 0.499, 0.336, 0.410),
    ("blocks", "ptbxl"): (0.876, 0.875, 0.853, 0.656, 0.765, 0.721),
    ("blocks", "yang"): (0.548, 0.282, 0.648, 0.276, 0.404, 0.306),
    ("blocks", "mimic"): (0.825, 0.820, 0.819, 0.439, 0.333, 0.166),
}

NOTES = paragraphs("""
    Every figure has a 95 % interval (bootstrap over patients); the paper prints none. Weighted F1 weights each class by its
    records; the macro mean leaves out classes that a test set has no record of.

    The paper's figure stands beside the trial that is nearest to what it did: XceptionTime and InceptionTime anew, all layers;
    the others head only; the baseline on the folds of pre-training. The other trials have no counterpart there: it compares the
    heads of some models with all layers of others.

    Its folds differ in size from task to task (table S1: fold 9 has 722, 181 and 67 records), since each keeps only records
    with one of its classes; a gap between tasks is in part one of sample size. Here a record of the superclass task has that
    superclass and no other, and a record of the other tasks exactly one of their classes; the paper does not say its rule.

    Its split of fold 9 into training and validation is by record, ours by patient. Its learning-rate finder sees validation
    records, too; ours does not. Its code wants a better loss and a better F1 for a new best epoch; here the loss decides.

    "FLOPS" in its table 1 are multiply-accumulates: 460M and 14G are the MACs of InceptionTime and ECG-FM. For XceptionTime its
    text says 256 M and its table 246 M.

    Its "finetuned parameters" 1,026, 266 and 1,538 are heads of two outputs (512 x 2 + 2, 133 x 2, 768 x 2 + 2), though the
    superclasses are four and the blocks three; the column "trained parameters" here is what really trains.

    Its aggregates come out of its own rows (tests/test_evaluate_judgement.py): all 24 of table 1, and mean, IQR and CV of table
    S4; the six medians of S4 are those of its rows without the first. A low IQR or CV says that scores differ little between
    test sets, also where all are low.
""")


@dataclass(frozen=True)
class Size:
    """How much is trained: `epochs` on the fold to fine-tune, `scratch_epochs` of the baseline on the folds of pre-training,
    `start_epochs` of what stands in for published weights. `tiny`: the models of the tests; `seconds` of each ECG, from its
    start, None for all; `reduced`: models whose own size is out of reach of a few CPU cores, with what they are built with
    instead; `records` at most in each part."""

    name: str
    words: str
    epochs: int
    start_epochs: int
    scratch_epochs: int
    batch: int
    rate: float | None = None
    seconds: float | None = None
    tiny: bool = False
    reduced: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    records: int | None = None


REDUCED_ECG_FM = {"width": 96, "depth": 3, "heads": 4, "hidden": 384, "channels": 48, "kernel": 32, "groups": 4}
_SHORT = (
    "2.5 s of an ECG, batch 16, a rate of 1e-3, 8 epochs (few steps on a small fold; --epochs 50 costs minutes more), 2 of "
    "pre-training; ECG-FM reduced to 3 layers of width 96"
)
_SIZES = (
    Size(
        "smoke", "models of the tests, 2.5 s of an ECG, one epoch: shows that all of it runs",
        epochs=1, start_epochs=1, scratch_epochs=1, batch=16, rate=3e-3, seconds=2.5, tiny=True, records=64,
    ),
    Size("short", _SHORT, 8, 2, 8, 16, rate=1e-3, seconds=2.5, reduced={"ecg-fm": REDUCED_ECG_FM}),
    Size("paper", "as in the paper: 50 epochs, batch 8, AdamW, the rate found, x 0.9 an epoch", 50, 50, 50, 8),
)  # fmt: skip
SIZES: Mapping[str, Size] = MappingProxyType({size.name: size for size in _SIZES})


@dataclass(frozen=True)
class Settings:
    """`data` a dataset with folds (PTB-XL), None: simulated; `tests` others to test on; `weights` by model, what to start
    from (a Bundle or .safetensors); `share` of the fine-tuning fold's patients."""

    data: str | None = None
    tests: tuple[str, ...] = ()
    size: str = "short"
    models: tuple[str, ...] = MODELS
    tasks: tuple[str, ...] = tuple(TASKS)
    weights: Mapping[str, str] = field(default_factory=dict)
    share: float = 1.0
    epochs: int | None = None
    device: str = "auto"
    seed: int = 0
    jobs: int = 1

    def __post_init__(self) -> None:
        for name, there in (("size", SIZES), ("tasks", TASKS), ("models", MODELS)):
            given_ = getattr(self, name)
            wrong = [n for n in ((given_,) if isinstance(given_, str) else given_) if n not in there]
            if wrong:
                raise EcgError(f"no {name} {', '.join(wrong)} (there are: {', '.join(there)})")
        strange = [n for n in self.weights if n not in self.models]
        if strange:
            raise EcgError(f"weights are given for {', '.join(strange)}, which is not trained here")
        if not 0 < self.share <= 1:
            raise EcgError(f"a share of the fold lies above 0 and is at most 1, not {self.share}")


@dataclass(frozen=True)
class Way:
    """How a model is trained: `method` what of it, `start` from what ("fresh", "pre-trained here", "given"), on which rows."""

    model: str
    method: str
    start: str
    on: str
    printed: str = ""  # the paper's column that did the same

    @property
    def key(self) -> str:
        return f"{self.model}/{self.method}/{self.start}/{self.on}"


def ways(settings: Settings) -> list[Way]:
    made = []
    for model in settings.models:
        start = "given" if model in settings.weights else "pre-trained here"
        anew = model in ("xception-time", "inception-time")
        made += [Way(model, "head", start, "tune", "" if anew else model), Way(model, "full", start, "tune")]
        if anew:
            made.append(Way(model, "full", "fresh", "tune", model))
        if model == "xception-time":
            made.append(Way(model, "full", "fresh", "scratch", "xception-time baseline"))
    return made


def labels_for(index: Index, task: Task) -> Labels:
    """One class a record: exactly one of the task's; among superclasses, no other superclass beside it."""
    found = labels_of(index, task.level, names=task.names, task="single")
    if task.level != "superclass":
        return found
    every = np.nan_to_num(labels_of(index, task.level).matrix).sum(1)
    matrix = found.matrix.copy()
    matrix[every != 1] = np.nan
    return Labels(found.names, matrix, "single")


def labels_by_icd(index: Index, task: Task) -> Labels | None:
    """The same from ICD-10 codes, where a set has no codes of readers (MIMIC-IV-ECG: the machine's words do not count, as in
    the paper); None where it has."""
    codes: list[list[str]] = index.column("codes")
    kinds = {code.partition(":")[0] for row in codes for code in row}
    if "icd10" not in kinds or kinds & {"scp", "snomed", "aha"}:
        return None
    found = table3(index, task.table3)
    matrix = found.matrix.copy()
    matrix[[not any(code.startswith("icd10:") for code in row) for row in codes]] = np.nan
    return Labels(found.names, matrix, "single")


@dataclass(frozen=True)
class TestSet:
    """`rows` of the index with `truth` (n, K'), one-hot; `names` of its classes, `merge` (K, K') which of the task's make
    each."""

    name: str
    index: Index
    rows: Rows
    truth: F32
    names: tuple[str, ...]
    merge: F32

    __test__ = False


def test_set(name: str, index: Index, rows: Rows, task: Task, most: int | None = None) -> TestSet | None:
    """None where fewer than `LEAST` records of it have a class of the task; at most so many records."""
    by_icd = labels_by_icd(index, task)
    if by_icd is not None:
        # Classes that hospital codes have no word for stay: a model that says them is wrong (the paper's rule, section 4.6).
        names, matrix = by_icd.names, by_icd.matrix
        at = [names.index(task.merged.get(name, name)) for name in task.names]
    else:
        try:
            found = labels_for(index, task)
        except EcgError:  # no record has a code of this level
            return None
        names, matrix, at = task.names, found.matrix, list(range(len(task.names)))
    rows = _few(rows[np.isfinite(matrix[rows]).all(1)], matrix, most)
    if len(rows) < LEAST:
        return None
    merge = np.zeros((len(task.names), len(names)), np.float32)
    merge[np.arange(len(at)), at] = 1
    return TestSet(name, index, rows, matrix[rows], names, merge)


def reproduce(settings: Settings, out: Path, *, fresh: bool = False, log: Log = print) -> Sheet:
    """All trials, one after the other; each that is done is kept, and the same call after a kill goes on. Writes
    exchangeai.md, .csv, .json and .png into `out`. Raises EcgError for data without folds, and settings that are not those
    of `out`."""
    started = time.perf_counter()
    size = SIZES[settings.size]
    if settings.epochs:
        size = replace(size, epochs=settings.epochs, scratch_epochs=settings.epochs)
    kept = Kept(out, {"exchangeai": asdict(settings)}, fresh=fresh)
    index = data_of(settings.data, out / "data", settings.jobs)
    folds = folds_of(index)
    others = []
    for i, path in enumerate(settings.tests):
        other = data_of(path, out / f"test-{i}", settings.jobs)
        others.append((_named(other, path), other, apart(other, index, log)))
    log(folds.words)
    rows: list[dict[str, Any]] = []
    sheet: Sheet | None = None
    for name in settings.tasks:
        task = TASKS[name]
        labels = labels_for(index, task)
        if not _learnable(index, labels, folds, task, log):
            continue
        own = index.column("dataset")[int(folds.test[0])] if len(folds.test) else ""
        tests = [
            made
            for made in (
                test_set(f"{own} fold {int(np.asarray(index.column('fold'))[folds.test[0]])}", index, folds.test, task),
                *(test_set(title, other, keep, task, size.records) for title, other, keep in others),
            )
            if made is not None
        ]
        for way in ways(settings):
            result = kept.get(
                f"{name}/{way.key}",
                lambda way=way, task=task, labels=labels, tests=tests: _trial(  # type: ignore[misc]
                    way, task, labels, tests, index, folds, settings, size, out, log
                ),
            )
            rows += [{**_about(way, task, result), **figures} for figures in result["tests"]]
        sheet = _sheet(rows, index, folds, others, settings, size, time.perf_counter() - started)
        sheet.write(out, "exchangeai")  # after each task, so that a run that is stopped leaves what it has
        _draw(rows, out / "exchangeai.png")
    if sheet is None:
        raise EcgError("no task can be learned from these data", path=settings.data)
    return sheet


def _sheet(
    rows: Sequence[Mapping[str, Any]], index: Index, folds: Folds, others: Sequence[tuple[str, Index, Rows]],
    settings: Settings, size: Size, seconds: float,
) -> Sheet:  # fmt: skip
    about = {
        "data": f"{_data_words(settings)} ({len(index)} records)",
        "folds": folds.words,
        "also tested on": ", ".join(f"{title} ({len(keep)} records)" for title, _, keep in others) or "nothing else",
        "size": f"{size.name}: {size.words}" + (f"; {settings.epochs} epochs" if settings.epochs else ""),
        "start": _starts(settings, size),
    }
    return Sheet(
        "ExChanGeAI, tables 1, S2-S4: the paper's figures and ours", COLUMNS, tuple(rows), about, NOTES, _aggregates(rows),
        {**asdict(settings), "seconds": round(seconds)},
    )  # fmt: skip


COLUMNS = (
    *("task", "tested on", "model", "trained", "start", "trained on", "parameters", "trained parameters", "records trained on"),
    *("records tested", "weighted F1", "paper weighted F1", "macro F1", "paper macro F1", "seconds"),
)


def _named(index: Index, path: str) -> str:
    sets = sorted(set(index.column("dataset")))
    return sets[0] if len(sets) == 1 else f"{Path(path).name} ({len(sets)} sets)"


def _data_words(settings: Settings) -> str:
    return Path(settings.data).name if settings.data else "simulated ECGs (einthoven.synth): nothing here is about patients"


def _starts(settings: Settings, size: Size) -> str:
    words = [f"{m}: {Path(p).name}" for m, p in settings.weights.items()]
    rest = [m for m in settings.models if m not in settings.weights]
    if rest:
        words.append(
            f"{', '.join(rest)}: no published weights were given, so each is pre-trained here, with labels, on the five "
            f"superclasses of the folds of pre-training ({size.start_epochs} epochs)"
        )
    return "; ".join(words)


def _learnable(index: Index, labels: Labels, folds: Folds, task: Task, log: Log) -> bool:
    """Whether every class has at least two patients in the fine-tuning fold: one to train on, one to choose with."""
    people = np.asarray(index.column("patient"))
    few = [n for k, n in enumerate(labels.names) if len(set(people[folds.tune[labels.matrix[folds.tune, k] == 1]])) < 2]
    if few:
        log(f"{task.title}: left out, {', '.join(few)} has fewer than two patients in the fold to fine-tune on")
    return not few


def _recipe(way: Way, settings: Settings, size: Size, weights: Path | str | None) -> Recipe:
    words = {
        "data": settings.data or "", "model": way.model, "options": _options(way.model, size), "method": way.method,
        "weights": str(weights) if weights else None, "optimizer": "adamw", "learning_rate": size.rate,
        "schedule": "exponential", "gamma": 0.9, "patience": 10, "batch": size.batch,
        "epochs": size.scratch_epochs if way.on == "scratch" else size.epochs,
        "class_weights": "exchangeai", "device": settings.device, "seed": settings.seed,
    }  # fmt: skip
    return Recipe.from_dict(words)


def _options(model: str, size: Size) -> dict[str, Any]:
    row = by_name(model)
    return {k: v for k, v in (row.tiny if size.tiny else size.reduced.get(model, {})).items() if k != "samples"}


def _samples(model: str, size: Size) -> int | None:
    preset = preset_by_name(by_name(model).preset)
    return round(size.seconds * preset.fs) if size.seconds and preset.fs else None


def _trial(
    way: Way, task: Task, labels: Labels, tests: Sequence[TestSet], index: Index, folds: Folds, settings: Settings,
    size: Size, out: Path, log: Log,
) -> dict[str, Any]:  # fmt: skip
    """One way of training on one task -> its figures on every test set, in plain values."""
    weights: Path | str | None = None
    if way.start == "given":
        weights = settings.weights[way.model]
    elif way.start == "pre-trained here":
        weights = _start(way.model, index, folds, settings, size, out, log)
    preset, samples = preset_by_name(by_name(way.model).preset), _samples(way.model, size)
    pool = folds.tune if way.on == "tune" else folds.scratch
    pool = _few(pool[np.isfinite(labels.matrix[pool]).all(1)], labels.matrix, size.records)
    x, rows = arrays(index, pool, preset, out / "inputs", samples, settings.jobs)
    # 80/20 as in the paper, but by patient; then the share that was asked for.
    split = by_patient(index, (0.8 * settings.share, 0.2, 0.0), labels=labels, rows=rows, seed=settings.seed)
    train, validation = (np.flatnonzero(np.isin(rows, part)).astype(np.int64) for part in (split.train, split.validation))
    signals, truth = [x], [labels.matrix[rows]]
    asked: dict[str, tuple[TestSet, Rows, Rows]] = {}  # the set, which of its rows could be prepared, where they stand
    for test in tests:
        xt, there = arrays(test.index, test.rows, preset, out / "inputs", samples, settings.jobs)
        if len(there):
            start = sum(map(len, signals))
            asked[test.name] = (test, np.flatnonzero(np.isin(test.rows, there)), np.arange(start, start + len(xt)))
            signals.append(xt)
            truth.append(np.full((len(xt), len(labels.names)), np.nan, np.float32))  # training never sees a test label
    log(f"{task.title}: {way.key}: {len(train)} records to train on, {len(validation)} to choose with")
    known = Labels(labels.names, np.concatenate(truth), "single")
    data = given(index, known, np.concatenate(signals), preset, train, validation)
    work = out / "work" / re.sub(r"\W+", "-", f"{task.name}-{way.key}")
    places = {name: place for name, (_, _, place) in asked.items()}
    made = run(_recipe(way, settings, size, weights), data, places, work, lambda words: None)
    results = []
    for name, (test, kept, _) in asked.items():
        probability = activate(made.logits[name], "single") @ test.merge
        people = np.asarray(test.index.column("patient"))[test.rows[kept]]
        found = evaluate(test.truth[kept], probability, test.names, "single", people, draws=500, seed=settings.seed)
        weighted, macro = found.figure("weighted_f1"), found.figure("macro_f1")
        printed = _printed(way, task, test.index.column("dataset")[int(test.rows[0])])
        results.append(
            {
                "tested on": name, "records tested": found.records,
                "weighted F1": _bounds(weighted), "macro F1": _bounds(macro),
                "paper weighted F1": printed[0], "paper macro F1": printed[1],
            }
        )  # fmt: skip
        log(f"  {name}: weighted F1 {weighted}, macro F1 {macro}")
    return {
        "parameters": made.parameters, "trained": made.trained, "records": len(train), "epochs": made.epochs, "best": made.best,
        "rate": made.rate, "seconds": made.seconds, "tests": results,
    }  # fmt: skip


def _bounds(figure: Figure) -> list[float | None]:
    return [v if np.isfinite(v) else None for v in (figure.value, figure.low, figure.high)]


def _printed(way: Way, task: Task, dataset: str) -> tuple[float | None, float | None]:
    """The paper's weighted and macro F1 of the same model, trained in the same way, on this dataset."""
    if not way.printed or (task.name, dataset) not in _WEIGHTED:
        return None, None
    at = _PRINTED.index(way.printed)
    return _WEIGHTED[task.name, dataset][at], _MACRO[task.name, dataset][at]


def _few(rows: Rows, matrix: F32, most: int | None) -> Rows:
    """At most so many rows, the classes taken in turn."""
    if most is None or len(rows) <= most:
        return rows
    which = np.nan_to_num(matrix[rows]).argmax(1)
    turn = np.zeros(len(rows), np.int64)
    for k in np.unique(which):
        turn[which == k] = np.arange((which == k).sum())
    return np.sort(rows[np.argsort(turn, kind="stable")[:most]])


def _start(model: str, index: Index, folds: Folds, settings: Settings, size: Size, out: Path, log: Log) -> Path:
    """Weights of `model` trained on the five superclasses of the folds of pre-training; made once."""
    path = out / "starts" / f"{model}.safetensors"
    if path.exists():
        return path
    labels = labels_of(index, "superclass", names=SUPERCLASSES)
    there = [n for k, n in enumerate(SUPERCLASSES) if (labels.matrix[folds.scratch, k] == 1).any()]
    labels = labels.only(there)
    pool = folds.scratch[np.isfinite(labels.matrix[folds.scratch]).any(1)]
    pool = pool if size.records is None else pool[: 2 * size.records]
    preset = preset_by_name(by_name(model).preset)
    x, rows = arrays(index, pool, preset, out / "inputs", _samples(model, size), settings.jobs)
    split = by_patient(index, (0.9, 0.1, 0.0), labels=labels, rows=rows, seed=settings.seed)
    train, validation = (np.flatnonzero(np.isin(rows, part)).astype(np.int64) for part in (split.train, split.validation))
    log(f"pre-training {model} on {len(train)} records: {', '.join(labels.names)}")
    recipe = _recipe(Way(model, "full", "fresh", "scratch"), settings, replace(size, scratch_epochs=size.start_epochs), None)
    recipe = recipe.with_(class_weights="none", batch=max(size.batch, 32))
    data = given(index, labels.select(rows), x, preset, train, validation)
    pretrained(recipe, data, path, out / "work" / f"start-{model}", log)
    return path


def _about(way: Way, task: Task, result: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "task": task.title,
        "model": way.model,
        "trained": {"head": "head", "full": "all layers"}[way.method],
        "start": way.start,
        "trained on": {"tune": "fold to fine-tune", "scratch": "folds of pre-training"}[way.on],
        "parameters": result["parameters"],
        "trained parameters": result["trained"],
        "records trained on": result["records"],
        "seconds": round(result["seconds"], 1),
    }


def _aggregates(rows: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    """Mean, median, IQR and CV of the weighted F1 of each way of training, as in the lower rows of table 1."""
    keys = ("model", "trained", "start", "trained on")
    made = []
    for key in dict.fromkeys(tuple(r[k] for k in keys) for r in rows):
        scores = [r["weighted F1"][0] for r in rows if tuple(r[k] for k in keys) == key]
        if len(scores) < 2:
            return ()
        found = robustness(scores)
        made.append({**dict(zip(keys, key)), "scores": found.scores, "mean": found.mean, "median": found.median, "IQR":
                     found.iqr, "CV": found.cv})  # fmt: skip
    return tuple(made)


def _draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """One panel a task and test set: our weighted F1 with its interval, and the paper's beside it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = list(dict.fromkeys((r["task"], r["tested on"]) for r in rows))
    names = list(dict.fromkeys(_label(r) for r in rows))
    figure = Figure(figsize=(2.6 + 2.5 * len(panels), 1.2 + 0.3 * len(names)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, panel in zip(axes, panels, strict=True):
        for row in rows:
            if (row["task"], row["tested on"]) != panel:
                continue
            at = len(names) - 1 - names.index(_label(row))
            value, low, high = row["weighted F1"]
            colour = "#1f5a99" if row["trained"] == "head" else "#b2452f"
            if low is not None and high is not None:
                axis.plot([low, high], [at, at], color=colour, lw=1.5)
            axis.plot(value, at, "o", color=colour, ms=5)
            if row["paper weighted F1"] is not None:
                axis.plot(row["paper weighted F1"], at, "D", mfc="none", mec="black", ms=6)
        axis.set_title(f"{panel[0]}\n{panel[1]}", fontsize=9)
        axis.set_xlim(0, 1)
        axis.set_ylim(-0.6, len(names) - 0.4)
        axis.grid(axis="x", color="#dddddd", lw=0.6)
        axis.set_xlabel("weighted F1", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.tick_params(axis="y", length=0)
        axis.spines[["top", "right", "left"]].set_visible(False)
    axes[0].set_yticks(range(len(names)), names[::-1], fontsize=8)
    handles = [
        axes[0].plot([], [], "o-", color="#1f5a99", label="ours, head")[0],
        axes[0].plot([], [], "o-", color="#b2452f", label="ours, all layers")[0],
        axes[0].plot([], [], "D", mfc="none", mec="black", label="the paper, on its own data")[0],
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    figure.savefig(path, dpi=120)


def _label(row: Mapping[str, Any]) -> str:
    where = " (baseline folds)" if row["trained on"] == "folds of pre-training" else ""
    return f"{row['model']}, {row['trained']}, {row['start']}{where}"
