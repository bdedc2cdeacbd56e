"""From a folder of ECGs and a table of labels to a model that can be handed on, with a page that says how good it is.

    data -> labels -> split by patient -> inputs by a preset -> model -> what of it moves -> learning rate -> the loop
         -> calibration and thresholds on validation patients -> figures on test patients -> pictures, report, Bundle

`finetune` reads downwards in that order. Test patients are looked at once, at the end. The same call after a kill goes on
where it was cut off.

N records, L leads, T samples, K outputs.
"""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs
from numpy.typing import NDArray
from torch import nn

from einthoven import __version__, tune
from einthoven.data import Choice, Index, Labels, Split, by_patient, check_leaks, fraction, is_index, labels_of, load, official
from einthoven.evaluate import Calibration, Evaluation, choose_thresholds, evaluate, metrics
from einthoven.evaluate import calibration as calibrate
from einthoven.exchange import card
from einthoven.exchange.bundle import Bundle, write_bundle
from einthoven.exchange.manifest import RESEARCH_ONLY, Manifest, finite, labels, manifest
from einthoven.exchange.onnx_out import export
from einthoven.exchange.predict import Predictor
from einthoven.io.files import replacing
from einthoven.models.network import Network
from einthoven.record import EcgError
from einthoven.represent.features import Figures
from einthoven.signal.presets import Preset, Step
from einthoven.train import checkpoint
from einthoven.train.checkpoint import Progress
from einthoven.train.loop import Examples, fit, learning_rate, predict
from einthoven.train.losses import Objective, class_weights
from einthoven.train.lr_finder import Found
from einthoven.train.recipe import Recipe
from einthoven.train.seen import Seen, examples_of, input_of, moments, seen_of
from einthoven.train.start import FOREIGN, model_words, new_model, row_of, tuning_of

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Rows = NDArray[np.int64]

RECIPE, BUNDLE, WORK, FAILED = "recipe.yaml", "bundle", "work", "failed.txt"
FEW = 10  # positives in training below which a class is warned of
FIGURE = {"single": "auroc", "multilabel": "auroc", "regression": "mae"}  # of the validation, after each epoch


@dataclass(frozen=True)
class Prepared:
    """The data of a run. `train`, `validation`, `test` are rows of `examples`; `rows` (N,) are those of the index.

    `seen` is what a user of the model must do to an ECG; `truth` (N, K) as the labels are, where `examples.y` may be
    standardised: truth = y * scale + offset. `warnings` what the report has to say.
    """

    index: Index
    labels: Labels
    rows: Rows
    train: Rows
    validation: Rows
    test: Rows
    examples: Examples
    seen: Seen
    truth: F32
    offset: F32
    scale: F32
    split: str
    failed: Mapping[str, str]
    warnings: tuple[str, ...]

    @property
    def patients(self) -> list[str]:
        """(N,) whose ECG each row is."""
        names = self.index.column("patient")
        return [names[row] for row in self.rows]


@dataclass(frozen=True)
class Judged:
    """What a trained model is worth: `probability` (n, K) of the test rows, calibrated (values, in a regression), `raw` the
    same without calibration; thresholds and calibration from validation rows."""

    evaluation: Evaluation
    probability: F64
    raw: F64
    truth: F32
    present: NDArray[np.bool_]
    thresholds: F64
    calibration: Calibration
    rule: str


class Log:
    """Says what happens on stderr and in a file, from the main process alone."""

    def __init__(self, path: Path, *, main: bool, quiet: bool) -> None:
        self.path, self.main, self.quiet = path, main, quiet

    def __call__(self, words: str) -> None:
        if not self.main:
            return
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now():%Y-%m-%d %H:%M:%S}  {words}\n")
        if not self.quiet:
            print(words, file=sys.stderr, flush=True)


def finetune(recipe: Recipe, out: str | os.PathLike[str], *, fresh: bool = False, quiet: bool = False) -> Path:
    """Runs `recipe`; everything it makes goes into the folder `out`. -> the path of the Bundle.

    Where `out` holds a run of the same recipe that was cut off, it goes on; where that run was finished, nothing is done.

    Args:
        fresh: throw away what is in `out` of an earlier run.
        quiet: nothing on stderr.

    Raises:
        EcgError: data that cannot be learned from (a class without a positive in training, a patient on two sides), a recipe
            that is not the one in `out`, a loss that is not finite, a part without a gradient.
    """
    out = Path(out)
    accelerator = new_accelerator(recipe)
    if accelerator.is_main_process:
        _open_folder(recipe, out, fresh)
    accelerator.wait_for_everyone()
    bundle = out / BUNDLE
    log = Log(out / "log.txt", main=accelerator.is_main_process, quiet=quiet)
    if (bundle / "manifest.json").exists():
        log(f"{out}: this run is finished (--fresh runs it once more)")
        return bundle
    work = out / WORK
    log(f"einthoven {__version__}, {RESEARCH_ONLY}")
    if not recipe.data:
        raise EcgError("a recipe needs data: a folder of ECGs, an Index, or a public set's folder (--data)")
    seen_of(recipe, row_of(recipe))  # a misspelt name is told before hours of reading, not after

    with accelerator.main_process_first():  # who comes second finds everything made
        data = prepare(recipe, work, log)
    model, row = new_model(recipe, data.examples.shape, len(data.labels.names))
    if not recipe.weights:
        model.look(data.examples.inputs(data.train))
    tuning = tuning_of(recipe)
    trainable = tune.apply(model, tuning, None if row is FOREIGN else row)
    log(f"\n{model_words(recipe)}\n{trainable.text()}\n")

    net, examples = trained_part(model, data, recipe, work, accelerator, log)
    objective = Objective(data.labels.task, class_weights(examples.y[data.train], data.labels.task, recipe.class_weights))
    if recipe.class_weights != "none" and data.labels.task != "regression":
        log("class weights: " + ", ".join(f"{n} {w:.3g}" for n, w in zip(data.labels.names, objective.weights)))
    found = _rate(net, examples, data, objective, recipe, accelerator, work, log)
    done = _loop(net, examples, data, objective, recipe, accelerator, out, found.rate, log)

    # What is judged and written is the model in float32, without the bf16 that accelerate put around its forward
    accelerator.unwrap_model(net, keep_fp32_wrapper=False)
    held, tested = (predict(net, examples, rows, accelerator, 2 * recipe.batch) for rows in (data.validation, data.test))
    if accelerator.is_main_process:
        judged = judge(held, tested, data, recipe)
        log(f"\nTest patients, epoch {done.best_epoch + 1}:\n{judged.evaluation.text()}\n")
        finish(model.cpu().eval(), trainable, data, judged, done, found, recipe, out, log)
        shutil.rmtree(work, ignore_errors=True)
        log(f"report: {out / 'report.html'}\nmodel:  {bundle}")
    accelerator.wait_for_everyone()
    return bundle


def new_accelerator(recipe: Recipe) -> Accelerator:
    """accelerate as the launcher set it up (torchrun, accelerate launch, DeepSpeed, FSDP), on the recipe's device."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        AcceleratorState._reset_state(reset_partial_state=True)  # it would keep the last run's choices otherwise
    if recipe.device == "cuda" and not torch.cuda.is_available():
        raise EcgError("there is no GPU here that torch can use (device: cuda)")
    # A mixture of experts leaves some without a gradient in a step.
    spare = DistributedDataParallelKwargs(find_unused_parameters=recipe.model.replace("_", "-") == "cardx")
    return Accelerator(
        cpu=recipe.device == "cpu" or not torch.cuda.is_available(),
        mixed_precision="bf16" if recipe.precision == "bf16" else "no",
        gradient_accumulation_steps=recipe.accumulate,
        kwargs_handlers=[spare],
    )


def _open_folder(recipe: Recipe, out: Path, fresh: bool) -> None:
    """`out` made ready: the recipe in it, nothing of another run. A run that stopped before its first checkpoint (a label
    that was misspelt) is nothing to protect, and makes room for the next recipe."""
    saved = out / RECIPE
    if out.exists() and not out.is_dir():
        raise EcgError("is a file: choose another place for the run", path=out)
    if out.exists() and not saved.exists() and any(out.iterdir()):
        raise EcgError("is not empty and holds no run: choose another folder", path=out)
    begun = (out / BUNDLE).exists() or _trained(out / WORK)
    if saved.exists() and (fresh or (not begun and recipe.differences(Recipe.read(saved)))):
        for name in (*OUTPUTS, BUNDLE, WORK):
            place = out / name
            shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
    elif saved.exists():
        changed = recipe.differences(Recipe.read(saved))
        if changed:
            raise EcgError(f"holds a run of another recipe ({'; '.join(changed)}): choose another -o, or --fresh", path=out)
    (out / WORK).mkdir(parents=True, exist_ok=True)
    with replacing(saved) as draft:
        draft.write_text(recipe.text(), encoding="utf-8")


def _trained(work: Path) -> bool:
    return any((work / name).exists() for name in (checkpoint.STATE, checkpoint.SHARDED))


# ---- the data -----------------------------------------------------------------------------------------------------------


def prepare(recipe: Recipe, work: Path, log: Callable[[str], None]) -> Prepared:
    """Data, labels, split and inputs of a run; kept in `work`, where the next call finds them.

    Raises EcgError where nothing can be learned: no labels, a class without a positive in training, a part without patients.
    """
    index, known = _labelled(recipe, work, log)
    warnings: list[str] = []
    known, dropped = _frequent(known, recipe)
    if recipe.method != "full" and not recipe.weights:
        warnings.append(
            f"method {recipe.method} without weights: what does not train stays as it was drawn at random; give --weights, "
            "or take --method full"
        )
    if dropped:
        warnings.append(f"left out, fewer than {recipe.minimum} positives: {', '.join(dropped)}")
    split, how = split_of(index, known, recipe)
    check_leaks(index, split)
    rows = np.sort(np.concatenate([split.train, split.validation, split.test]))
    seen = seen_of(recipe, row_of(recipe))
    slower = int(np.sum(index.column("fs") < (seen.fs or 0))) if isinstance(seen, Preset) else 0
    if isinstance(seen, Preset) and slower:
        warnings.append(
            f"{slower:,} records have fewer samples a second than the {seen.fs:g} that the model reads (see `rate`)"
        )
    faults: dict[int, str] = {}
    truth = known.matrix[rows].astype(np.float32)
    jobs = recipe.jobs or os.cpu_count() or 1
    examples = examples_of(index, seen, rows, truth, work, jobs=jobs, failed=faults)
    names = index.column("record")
    failed = {names[i]: why for i, why in faults.items()} | {f["name"]: f["why"] for f in index.about.get("failed", [])}
    for name, why in failed.items():
        log(f"left out: {why if name in why else f'{name}: {why}'}")
    good = ~np.isin(rows, list(faults))
    at = {int(r): i for i, r in enumerate(rows)}
    train, validation, test = (
        np.array([at[int(r)] for r in part if good[at[int(r)]]], np.int64)
        for part in (split.train, split.validation, split.test)
    )
    for name, part in (("training", train), ("validation", validation), ("test", test)):
        if not len(part):
            raise EcgError(f"no record is left for {name}: more patients are needed", path=recipe.data)
    warnings += _check_classes(known, truth, train, validation, test)
    offset, scale = (
        _standard(truth[train])
        if known.task == "regression"
        else (np.zeros(truth.shape[1], np.float32), np.ones(truth.shape[1], np.float32))
    )
    examples = replace(examples, y=((truth - offset) / scale).astype(np.float32))
    if recipe.normalise == "global" and isinstance(seen, Preset):
        mean, std = moments(examples.x, train)
        examples = replace(examples, mean=mean, std=std)
        seen = replace(seen, steps=(*seen.steps, Step("standardize", {"mean": mean, "std": std})), unit="z")
        log(f"global z-score of the training patients: mean {mean:.5f} mV, standard deviation {std:.5f} mV")
    for words in warnings:
        log(f"warning: {words}")
    data = Prepared(
        index, known, rows, train, validation, test, examples, seen, truth, offset, scale, how, failed, tuple(warnings)
    )
    log(_data_words(data))
    return data


def _labelled(recipe: Recipe, work: Path, log: Callable[[str], None]) -> tuple[Index, Labels]:
    numbers = recipe.level == "target" or recipe.task == "regression"
    targets = tuple(n for n in recipe.names or () if n != "age") if numbers and recipe.labels else ()
    choice = Choice(rate=recipe.rate, targets=targets)
    log(f"reading {recipe.data}")
    try:
        index = load(recipe.data, recipe.labels, folder=work / "index", choice=choice, jobs=recipe.jobs)
    except EcgError as fault:
        if not is_index(work / "index"):
            raise
        if _trained(work):
            raise EcgError("its labels are others than when the run began: --fresh begins anew", path=recipe.data) from fault
        log("the labels are others than when they were read: reading again")
        shutil.rmtree(work)
        work.mkdir()
        index = load(recipe.data, recipe.labels, folder=work / "index", choice=choice, jobs=recipe.jobs)
    task = recipe.task if not numbers else "regression"
    return index, labels_of(index, "target" if numbers else recipe.level, names=recipe.names, task=task)


def _frequent(known: Labels, recipe: Recipe) -> tuple[Labels, list[str]]:
    """The labels without those that have fewer positives than `minimum`, and the names of these."""
    if recipe.minimum < 2:
        return known, []
    rare = [n for n, count in zip(known.names, known.positives) if count < recipe.minimum]
    if not rare:
        return known, []
    kept = [n for n in known.names if n not in rare]
    if len(kept) < (2 if known.task == "single" else 1):
        raise EcgError(f"fewer than two labels have {recipe.minimum} positives", path=recipe.data)
    matrix = known.only(kept).matrix
    if known.task == "single":  # a record of a class that is left out belongs to none
        matrix = np.where((np.nan_to_num(matrix).sum(1) == 1)[:, None], matrix, np.float32("nan"))
    return Labels(tuple(kept), matrix, known.task), rare


def split_of(index: Index, known: Labels, recipe: Recipe) -> tuple[Split, str]:
    """Training, validation and test records that are labelled, and in words how they were parted.

    Official folds: the last is for the test, the one before it for validation (PTB-XL: 10, 9, and 1 to 8).
    """
    folds = np.asarray(index.column("fold"))
    there = sorted(set(folds[known.known].tolist()) - {-1})
    complete = len(there) >= 3 and bool((folds[known.known] >= 0).all())
    if recipe.split == "official" and not complete:
        raise EcgError(f"there are no official folds for all records (folds: {there}): split by patient", path=recipe.data)
    if complete and recipe.split != "patient":
        split = official(index, train=there[:-2], validation=there[-2:-1], test=there[-1:])
        how = f"official folds: training {_ranges(there[:-2])}, validation {there[-2]}, test {there[-1]}"
    else:
        sizes = (1 - recipe.validation - recipe.test, recipe.validation, recipe.test)
        split = by_patient(index, sizes, labels=known, rows=known.known, seed=recipe.seed)
        how = f"by patient, at random, stratified by label (seed {recipe.seed}): {', '.join(f'{100 * s:.0f} %' for s in sizes)}"
        if not any(index.column("patient_known")):
            how += "; the data does not say whose ECG is whose, so each record counts as a patient"
    train, validation, test = (np.intersect1d(p, known.known) for p in (split.train, split.validation, split.test))
    if recipe.fraction < 1:
        train = fraction(index, train, recipe.fraction, labels=known, seed=recipe.seed)
        how += f"; {100 * recipe.fraction:g} % of the training patients"
    return Split(train, validation, test), how


def _check_classes(known: Labels, truth: F32, train: Rows, validation: Rows, test: Rows) -> list[str]:
    """Warnings of classes with few records. Raises EcgError for one that cannot be learned."""
    if known.task == "regression":
        lacking = [n for k, n in enumerate(known.names) if np.isfinite(truth[train, k]).sum() < 2]
        if lacking:
            raise EcgError(f"fewer than two training records have a value of {', '.join(lacking)}")
        return []
    warnings = []
    for k, name in enumerate(known.names):
        positives, negatives = (int((truth[train, k] == value).sum()) for value in (1, 0))
        if not positives or not negatives:
            raise EcgError(
                f"{name} has no {'positive' if not positives else 'negative'} in training: it cannot be learned; leave it out "
                "(names, or minimum: 2 and more), or bring more patients"
            )
        if positives < FEW:
            warnings.append(f"{name} has {positives} positives in training: it will hardly be learned")
        for part, rows in (("validation", validation), ("test", test)):
            if not (truth[rows, k] == 1).any():
                warnings.append(f"{name} has no positive in {part}: nothing can be said of it there")
    return warnings


def _standard(truth: F32) -> tuple[F32, F32]:
    """Mean and standard deviation (1 where nothing varies) of each value (K,), of what is known."""
    mean, std = np.nanmean(truth, 0, dtype=np.float64), np.nanstd(truth, 0, dtype=np.float64)
    return np.asarray(mean, np.float32), np.where(std > 1e-9, std, 1.0).astype(np.float32)


def trained_part(
    model: Network, data: Prepared, recipe: Recipe, work: Path, accelerator: Accelerator, log: Callable[[str], None]
) -> tuple[nn.Module, Examples]:
    """What the loop works on: the model and its signals; with the head alone, the head and what the backbone gives it, computed
    once (augmentation changes the signals in each epoch, so it wants the whole model)."""
    augmented = recipe.mixup or recipe.crop or recipe.lead_dropout or recipe.noise
    if recipe.method != "head" or augmented:
        return model, data.examples
    model.to(accelerator.device)
    cache = work / "head_inputs.npy"
    if accelerator.is_main_process and not cache.exists():
        log(f"the backbone is frozen: computing its output once for {len(data.rows)} records")
        with accelerator.autocast():
            made = tune.head_inputs(model, cast(F32, _Standardised(data.examples)), batch=2 * recipe.batch)
        with replacing(cache) as draft:
            with draft.open("wb") as file:
                np.save(file, made)
    accelerator.wait_for_everyone()
    return model.head, Examples(np.load(cache, mmap_mode="r", allow_pickle=False), data.examples.y)


class _Standardised:
    """What the network sees of an Examples, read a slice at a time like an array."""

    def __init__(self, examples: Examples) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples.x)

    def __getitem__(self, rows: slice) -> F32:
        return self.examples.inputs(rows)


# ---- training -----------------------------------------------------------------------------------------------------------


def _rate(
    net: nn.Module, examples: Examples, data: Prepared, objective: Objective, recipe: Recipe, accelerator: Accelerator,
    work: Path, log: Callable[[str], None],
) -> Found:  # fmt: skip
    """The recipe's learning rate, or the finder's; a run that goes on takes what it found before."""
    if recipe.learning_rate is not None:
        return Found(recipe.learning_rate, (), (), True)
    kept = work / "rate.json"
    if kept.exists():
        words = json.loads(kept.read_text(encoding="utf-8"))
        return Found(words["rate"], tuple(words["rates"]), tuple(words["losses"]), words["fell"])
    log("looking for a learning rate, on training records")
    found = learning_rate(net, examples, data.train, objective, recipe, accelerator)
    if accelerator.is_main_process:
        with replacing(kept) as draft:
            draft.write_text(json.dumps(asdict(found)), encoding="utf-8")
    if found.fell:
        log(f"learning rate {found.rate:.2g}: there the smoothed loss falls steepest")
    else:
        log(f"warning: the loss falls at no rate that was tried: the lowest, {found.rate:.2g}, is taken")
    accelerator.wait_for_everyone()
    return found


def _loop(
    net: nn.Module, examples: Examples, data: Prepared, objective: Objective, recipe: Recipe, accelerator: Accelerator,
    out: Path, rate: float, log: Log,
) -> Progress:  # fmt: skip
    """`fit`, with its progress on stderr and its history in metrics.jsonl."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    bar = Bar(
        TextColumn("epoch {task.fields[epoch]}"), BarColumn(), MofNCompleteColumn(), TextColumn("loss {task.fields[loss]:.4f}"),
        TimeRemainingColumn(), console=console, transient=True, disable=log.quiet or not log.main or not console.is_terminal,
    )  # fmt: skip
    history: list[dict[str, Any]] = []
    task = bar.add_task("", epoch=1, loss=0.0)

    def tick(epoch: int, step: int, steps: int, loss: float) -> None:
        bar.update(task, completed=step, total=steps, epoch=epoch + 1, loss=loss)

    def report(row: dict[str, Any], best: int) -> None:
        history.append(row)
        if accelerator.is_main_process:  # for whoever watches; at the end it is written whole
            with (out / "metrics.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        figures = "  ".join(f"{k} {v:.4f}" for k, v in row.items() if k in ("train_loss", "validation_loss", *FIGURES))
        log(f"epoch {row['epoch']:>3}  {figures}  rate {row['learning_rate']:.2g}  {row['records_per_s']:.0f} records/s"
            + ("  *" if best == row["epoch"] - 1 else ""))  # fmt: skip

    def write(rows: list[dict[str, Any]]) -> None:
        """The whole history: of a run that was killed between a checkpoint and its row, the last row is lacking."""
        if accelerator.is_main_process:
            with replacing(out / "metrics.jsonl") as draft:
                draft.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    if accelerator.is_main_process and (out / WORK / checkpoint.STATE).exists():
        log("going on from the last checkpoint")
    with bar, _memory_told():
        done = fit(
            net, examples, data.train, data.validation, objective, recipe, accelerator, out / WORK,
            rate=rate, after_first_backward=_check_gradients(net, log), measure=_measure(data), report=report,
            resumed=write, tick=tick,
        )  # fmt: skip
    write(done.history)
    waited = len(done.history) - 1 - done.best_epoch
    why = f"no better for {waited} epochs" if len(done.history) < recipe.epochs else "all epochs done"
    log(f"{why}: epoch {done.best_epoch + 1} is kept, validation loss {done.best:.4f}")
    return done


@contextmanager
def _memory_told() -> Iterator[None]:
    """A GPU that is too small is told in words that help."""
    try:
        yield
    except torch.OutOfMemoryError as fault:
        raise EcgError(
            "the GPU's memory is too small for this: a smaller batch, accumulate: 2 and more, precision: bf16, or method: lora"
        ) from fault


FIGURES = ("auroc", "accuracy", "mae", "r2")


def _check_gradients(net: nn.Module, log: Callable[[str], None]) -> Callable[[nn.Module], None]:
    def check(bare: nn.Module) -> None:
        idle = tune.check_gradients(bare)
        if idle:
            log(f"gradients that are exactly zero at the first step: {', '.join(idle[:8])}")

    return check


def _measure(data: Prepared) -> Callable[[F32], dict[str, float]]:
    """Logits of the validation rows -> figures for the history."""
    truth, task = data.truth[data.validation], data.labels.task

    def measure(logits: F32) -> dict[str, float]:
        if task == "regression":
            found = metrics.errors(truth, logits * data.scale + data.offset)
            figures = {"mae": float(metrics.macro(found.mae)), "r2": float(metrics.macro(found.r2))}
        else:
            figures = {"auroc": float(metrics.macro(metrics.areas(truth, logits).auroc))}
            if task == "single":
                figures["accuracy"] = float(metrics.exact_match(truth, metrics.choose(logits)))
        return {name: value for name, value in figures.items() if math.isfinite(value)}

    return measure


# ---- the judgement ------------------------------------------------------------------------------------------------------


def judge(held: F32, tested: F32, data: Prepared, recipe: Recipe) -> Judged:
    """Calibration and thresholds from the validation rows' logits `held`, then every figure on the test rows' `tested`."""
    task = cast(metrics.Task, data.labels.task)
    truth_held, truth = data.truth[data.validation], data.truth[data.test]
    people = data.patients
    patients = [people[i] for i in data.test]
    whom = f"{len(data.validation)} validation records"
    if task == "regression":
        made = tested.astype(np.float64) * data.scale + data.offset
        found = evaluate(truth, made, data.labels.names, task, patients, draws=recipe.bootstrap, seed=recipe.seed)
        nothing = np.zeros(made.shape, bool)
        return Judged(found, made, made, truth, nothing, np.zeros(0), Calibration("none", task), "")
    calibration = calibrate.fit(recipe.calibration, truth_held, held, task)
    probability, raw = calibration.apply(tested), calibrate.activate(tested, task)
    thresholds = choose_thresholds(truth_held, calibration.apply(held), "f1")
    rule = f"the highest F1 on {whom}" if task == "multilabel" else "the most probable class"
    found = evaluate(
        truth, probability, data.labels.names, task, patients,
        thresholds=thresholds if task == "multilabel" else None, thresholds_from=rule, draws=recipe.bootstrap, seed=recipe.seed,
    )  # fmt: skip
    present = metrics.decide(probability, thresholds) if task == "multilabel" else metrics.choose(probability)
    return Judged(found, probability, raw, truth, present, thresholds, calibration, rule)


# ---- what is left behind ------------------------------------------------------------------------------------------------

OUTPUTS = (
    *("metrics.jsonl", "curves.png", "finder.png", "confusion.png", "roc_pr.png", "calibration.png", "values.png"),
    *("predictions.csv", "evaluation.json", "report.html", "log.txt", FAILED, RECIPE),
)


def finish(
    model: Network, trainable: tune.Trainable, data: Prepared, judged: Judged, done: Progress, found: Found,
    recipe: Recipe, out: Path, log: Callable[[str], None],
) -> Bundle:  # fmt: skip
    """Writes pictures, tables, the report and last of all the Bundle, whose being there means that the run is finished."""
    from einthoven.train import curves
    from einthoven.train.report import to_html

    names, task = data.labels.names, data.labels.task
    pictures = {"curves.png": curves.learning(done.history, done.best_epoch + 1, FIGURE[task])}
    if found.rates:
        pictures["finder.png"] = curves.finder(found.rates, found.losses, found.rate)
    if task == "regression":
        pictures["values.png"] = curves.values(judged.truth, judged.probability, names)
    else:
        pictures["confusion.png"] = (
            curves.confusion(np.array(judged.evaluation.confusion), names)
            if task == "single"
            else curves.confusions(judged.truth, judged.present, names)
        )
        pictures["roc_pr.png"] = curves.roc_pr(judged.truth, judged.probability, names)
        pictures["calibration.png"] = curves.reliability(judged.truth, judged.probability, names, judged.raw)
    for name, picture in pictures.items():
        curves.write(out / name, picture)
    write_predictions(out / "predictions.csv", data, judged)
    if data.failed:
        with replacing(out / FAILED) as draft:
            draft.write_text("".join(f"{name}: {why}\n" for name, why in data.failed.items()), encoding="utf-8")
    with replacing(out / "evaluation.json") as draft:
        draft.write_text(json.dumps(judged.evaluation.to_dict(), indent=1, ensure_ascii=False), encoding="utf-8")

    tuning = tuning_of(recipe)
    adapter = tune.adapter_state(model) if recipe.method in ("lora", "adapter") else None
    if recipe.method == "lora":
        tune.merge(model)
    if task == "regression":
        fold_into_head(model, data.offset, data.scale, data.examples.shape)
    model.requires_grad_(True).eval()
    described = describe(model, trainable, data, judged, tuning, recipe, out)
    html = to_html(described, data, judged, done, trainable, recipe, found.rate, pictures)
    with replacing(out / "report.html") as draft:
        draft.write_text(html, encoding="utf-8")
    log("writing the Bundle, and proving that onnxruntime computes the same")
    onnx = out / WORK / "model.onnx"
    shape = data.examples.shape
    if isinstance(data.seen, Preset):
        export(model, onnx, shape[1], shape[0], manifest=described)
    elif isinstance(data.seen, Figures):
        export(model, onnx, features=shape[0], manifest=described)
    else:
        export(model, onnx, image=(shape[1], shape[2]), manifest=described)
    files: dict[str, bytes | str | Path] = {
        "model.onnx": onnx,
        "weights.safetensors": _safetensors(model.state_dict()),
        "card.md": card.text(described),
        "report.html": html,
        "recipe.yaml": shared_recipe(recipe).text(),
        "metrics.jsonl": out / "metrics.jsonl",
    }
    if adapter is not None:
        files["adapter.safetensors"] = _safetensors(adapter)
    # Written beside, proven, then renamed: that the Bundle is there means that all is done.
    draft_folder = out / WORK / "bundle"
    shutil.rmtree(draft_folder, ignore_errors=True)
    made = write_bundle(draft_folder, described, files)
    _prove(made, data, judged)
    os.replace(draft_folder, out / BUNDLE)
    return Bundle.open(out / BUNDLE)


def _prove(bundle: Bundle, data: Prepared, judged: Judged) -> None:
    """The Bundle gives, through onnxruntime, what was evaluated: on the first test records."""
    rows = data.test[:16]
    predictor = Predictor(bundle)
    name = bundle.manifest.inputs[0].name
    made = predictor.probabilities(predictor.run({name: data.examples.inputs(rows)})[0])
    wanted = judged.probability[: len(rows)]
    gap = float(np.abs(made - wanted).max() / max(float(np.abs(wanted).max()), 1.0))
    allowed = 1e-3
    if not gap <= allowed:
        raise EcgError(f"the Bundle's answers differ by {gap:.2g} from those that were evaluated", path=bundle.path)


def fold_into_head(model: Network, offset: F32, scale: F32, shape: tuple[int, ...]) -> None:
    """Makes the outputs values in their own unit: y = z * scale + offset goes into the head's last layer.

    shape: of an input.
    """
    last = [m for m in model.head.modules() if isinstance(m, nn.Linear | nn.Conv1d)]
    with torch.no_grad():
        probe = torch.zeros(1, *model.backbone(torch.zeros(1, *shape)).head_input.shape[1:])
        before = model.head(probe).numpy()
        if last and last[-1].bias is not None:
            factor = torch.as_tensor(scale)
            last[-1].weight.mul_(factor.reshape(-1, *[1] * (last[-1].weight.ndim - 1)))
            last[-1].bias.mul_(factor).add_(torch.as_tensor(offset))
        after = model.head(probe).numpy()
    if not np.allclose(after, before * scale + offset, rtol=1e-4, atol=1e-4 * float(np.abs(scale).max())):
        raise EcgError(f"{type(model).__name__} cannot be a regression: its head does not end in a linear layer")


def _safetensors(state: Mapping[str, torch.Tensor]) -> bytes:
    from safetensors.torch import save

    return bytes(save({name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.items()}))


def write_predictions(path: Path, data: Prepared, judged: Judged) -> None:
    """A row a test record: whose it is, the labels (empty: unknown), the probabilities, what the model calls present."""
    names, records, people = data.labels.names, data.index.column("record"), data.patients
    regression = data.labels.task == "regression"
    word = "value" if regression else "probability"
    with replacing(path) as draft, draft.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        extra = [] if regression else ["present"]
        table.writerow(["record", "patient", *(f"label:{n}" for n in names), *(f"{word}:{n}" for n in names), *extra])
        for i, row in enumerate(data.test):
            truth = ["" if math.isnan(v) else f"{v:g}" for v in judged.truth[i]]
            said = [] if regression else ["|".join(n for n, p in zip(names, judged.present[i]) if p)]
            made = [f"{p:.6g}" for p in judged.probability[i]]
            table.writerow([records[data.rows[row]], people[row], *truth, *made, *said])


def describe(
    model: Network,
    trainable: tune.Trainable,
    data: Prepared,
    judged: Judged,
    tuning: tune.Tuning,
    recipe: Recipe,
    out: Path,
) -> Manifest:
    """The Bundle's manifest."""
    task, names = data.labels.task, data.labels.names
    activation = {"single": "softmax", "multilabel": "sigmoid", "regression": "identity"}[task]
    whom = "validation patients of the same data"
    figures = [_figure(n, f) for n, f in judged.evaluation.overall.items()]
    figures += [
        _figure(n, f, label, judged.evaluation.positives.get(label))
        for label, found in judged.evaluation.labels.items()
        for n, f in found.items()
    ]
    return manifest(
        name=recipe.name or _plain(f"{row_of(recipe).name}-{out.resolve().name}"),
        summary=f"{model_words(recipe)}, for {', '.join(names[:8])}{' and more' if len(names) > 8 else ''}",
        created=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        task=task,
        labels=[label.model_dump() for label in labels(names)],
        activation=activation,
        inputs=[input_of(data.seen, data.index, data.rows[data.train], recipe)],
        thresholds=None
        if task != "multilabel"
        else {"values": dict(zip(names, judged.thresholds.tolist())), "chosen_on": whom, "rule": judged.rule},
        calibration=None if task == "regression" else {"words": judged.calibration.to_dict(), "fitted_on": whom},
        training={
            "data": _training_data(data),
            "recipe": shared_recipe(recipe).to_dict(),
            "command": "einthoven finetune recipe.yaml",
            "seed": recipe.seed,
            "software": {"einthoven": __version__, "torch": str(torch.__version__)},
        },
        metrics=[
            {
                "data": ", ".join(sorted(set(_datasets(data)))),
                "role": "test",
                "folds": _folds(data, data.test),
                "records": judged.evaluation.records,
                "patients": judged.evaluation.patients,
                "figures": [f for f in figures if f is not None],
                "notes": "; ".join((data.split, *data.warnings, *judged.evaluation.warnings)),
                "command": "einthoven finetune recipe.yaml",
            }
        ],
        architecture={
            "model": row_of(recipe).name,
            "config": dict(model.config),
            "tuning": tuning.to_dict(),
            "parameters": sum(p.numel() for p in model.parameters()),
            "base": Path(recipe.weights).name if recipe.weights else "fresh weights",
        },
        licence=recipe.licence,
        citation=row_of(recipe).citation,
    )


def _figure(name: str, figure: Any, label: str | None = None, positives: int | None = None) -> dict[str, Any] | None:
    if not math.isfinite(figure.value):
        return None
    low, high = finite(figure.low), finite(figure.high)
    return {"name": name, "value": figure.value, "low": low, "high": high, "label": label, "positives": positives}


def _training_data(data: Prepared) -> list[dict[str, Any]]:
    """Every set that was trained on or chosen with: records, patients, folds."""
    sets, people = _datasets(data), data.patients
    made = []
    for role, rows in (("training", data.train), ("validation", data.validation)):
        for name in sorted({sets[i] for i in rows}):
            mine = np.array([i for i in rows if sets[i] == name])
            made.append(
                {
                    "name": name,
                    "role": role,
                    "records": len(mine),
                    "patients": len({people[i] for i in mine}),
                    "folds": _folds(data, mine),
                }
            )
    return made


def _datasets(data: Prepared) -> list[str]:
    names = data.index.column("dataset")
    return [names[row] for row in data.rows]


def _folds(data: Prepared, rows: Rows) -> list[int]:
    return sorted({int(f) for f in np.asarray(data.index.column("fold"))[data.rows[rows]] if f >= 0})


def shared_recipe(recipe: Recipe) -> Recipe:
    """The recipe as it may leave the house: paths without their folders."""
    return recipe.with_(
        data=Path(recipe.data).name,
        labels=recipe.labels and Path(recipe.labels).name,
        weights=recipe.weights and Path(recipe.weights).name,
    )


def _data_words(data: Prepared) -> str:
    """How many records and patients in each part, and how often each label."""
    people = data.patients
    lines = [f"split: {data.split}"]
    for name, rows in (("training", data.train), ("validation", data.validation), ("test", data.test)):
        lines.append(f"{name:<10}  {len(rows):>7,} records  {len({people[i] for i in rows}):>7,} patients")
    for k, label in enumerate(data.labels.names):
        if data.labels.task == "regression":
            known = data.truth[data.train, k]
            lines.append(f"{label}: training mean {np.nanmean(known):.4g}, standard deviation {np.nanstd(known):.4g}")
        else:
            counts = [int((data.truth[rows, k] == 1).sum()) for rows in (data.train, data.validation, data.test)]
            lines.append(f"{label}: {counts[0]} / {counts[1]} / {counts[2]} records")
    return "\n".join(lines)


def _ranges(folds: list[int]) -> str:
    return (
        f"{folds[0]}-{folds[-1]}"
        if folds == list(range(folds[0], folds[-1] + 1)) and len(folds) > 1
        else ", ".join(map(str, folds))
    )


def _plain(name: str) -> str:
    made = "".join(c if (c.isalnum() and c.isascii()) or c in "._-" else "-" for c in name)
    return made.strip(".-_")[:80] or "model"


__all__ = ["Judged", "Prepared", "Recipe", "finetune", "judge", "prepare"]
