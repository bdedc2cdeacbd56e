"""`evaluate`: every figure of a model on a set of patients, each with its interval, its counts, and what it is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from einthoven.evaluate import calibration as calibrate
from einthoven.evaluate import metrics
from einthoven.evaluate.bootstrap import Resamples, interval
from einthoven.evaluate.metrics import Floats, Task
from einthoven.record import EcgError

Measured = tuple[dict[str, Floats], dict[str, Floats]]  # figures over all labels (R,), and of each (R, K)
FEW = 20  # positives (or negatives) below which a label's figures say little
SHOWN = ("auroc", "average_precision", "f1", "sensitivity", "specificity", "precision", "ece", "brier")


@dataclass(frozen=True)
class Figure:
    """A value with its 95 % interval; `undefined` draws of the bootstrap had no value (a label without positives in them)."""

    value: float
    low: float
    high: float
    undefined: int = 0

    def __str__(self) -> str:
        return "-" if np.isnan(self.value) else f"{self.value:.3f} ({_bound(self.low)} - {_bound(self.high)})"


def _bound(value: float) -> str:
    return "?" if np.isnan(value) else f"{value:.3f}"


@dataclass(frozen=True)
class Evaluation:
    """How good, on whom, and how sure. `overall` and `labels` (by label) hold figures by name; `confusion` (K x K, rows
    true) only with one label a record; `reliability` the bins of each label behind its ECE."""

    task: Task
    names: tuple[str, ...]
    records: int
    patients: int
    positives: Mapping[str, int]
    unknown: Mapping[str, int]
    overall: Mapping[str, Figure]
    labels: Mapping[str, Mapping[str, Figure]]
    thresholds: Mapping[str, float] = field(default_factory=dict)
    thresholds_from: str = ""
    confusion: tuple[tuple[int, ...], ...] = ()
    reliability: Mapping[str, tuple[calibrate.Bin, ...]] = field(default_factory=dict)
    draws: int = 0
    seed: int = 0
    warnings: tuple[str, ...] = ()

    def figure(self, name: str, label: str | None = None) -> Figure:
        """Raises EcgError, which lists them, where there is none of that name."""
        figures = self.overall if label is None else self.labels.get(label, {})
        if name not in figures:
            raise EcgError(f"no figure {name}" + (f" of {label}" if label else "") + f" (there are: {', '.join(figures)})")
        return figures[name]

    def to_dict(self) -> dict[str, Any]:
        """Plain types for JSON; what has no value is None."""
        plain = _plain(asdict(self))
        assert isinstance(plain, dict)
        return plain

    def text(self) -> str:
        """A table for people."""
        whom = f"{self.records} records of {self.patients} patients"
        lines = [f"{whom}; 95 % intervals by {self.draws} draws of patients", ""]
        width = max(map(len, self.overall), default=0)
        lines += [f"{name:<{width}}  {figure}" for name, figure in self.overall.items()]
        shown = [n for n in SHOWN if any(n in f for f in self.labels.values())] or sorted(
            {n for f in self.labels.values() for n in f}
        )
        if len(self.names) > 1 or not self.overall:
            lines += ["", *_table(("label", "positives", *shown), [self._row(name, shown) for name in self.names])]
        if self.thresholds_from:
            at = ", ".join(f"{name} {value:.3f}" for name, value in self.thresholds.items())
            lines += ["", f"thresholds ({self.thresholds_from}): {at}"]
        if self.confusion:
            rows = [(name, *map(str, row)) for name, row in zip(self.names, self.confusion, strict=True)]
            lines += ["", *_table(("true \\ predicted", *self.names), rows)]
        return "\n".join([*lines, *(f"warning: {w}" for w in self.warnings)])

    def _row(self, label: str, shown: Sequence[str]) -> tuple[str, ...]:
        figures = self.labels[label]
        return (label, str(self.positives.get(label, "")), *(str(figures.get(n, "-")) for n in shown))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[j]) for row in (head, *rows)) for j in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value


def evaluate(
    truth: ArrayLike,
    probability: ArrayLike,
    names: Sequence[str],
    task: Task = "multilabel",
    patients: Sequence[Any] | NDArray[Any] | None = None,
    *,
    thresholds: ArrayLike | None = None,
    thresholds_from: str = "",
    draws: int = 1000,
    seed: int = 0,
    bins: int = calibrate.BINS,
) -> Evaluation:
    """Every figure of `task` with its interval.

    truth (N, K): 1, 0, NaN for unknown (regression: the values); probability (N, K): after calibration (regression: the
    predictions); patients (N,): who each record is of, so that intervals know of repeated ECGs (without it every record is
    its own patient, which is said). thresholds (K,) must come from validation records; `thresholds_from` says how; without
    them 0.5. With task "single" the label with the highest probability is the prediction, and a row without exactly one
    known label is left out. Raises EcgError for arrays that do not fit together.
    """
    y, p = metrics.same_shape(truth, probability) if task == "regression" else metrics.checked(truth, probability)
    if y.shape[1] != len(names):
        raise EcgError(f"{y.shape[1]} labels in the arrays, {len(names)} names")
    if len(set(names)) != len(names):
        raise EcgError("two labels have the same name")
    if task != "regression" and len(p) and (p.min() < 0 or p.max() > 1):
        raise EcgError("probabilities lie between 0 and 1 (are these logits?)")
    kept = np.ones(len(y), bool) if task != "single" else ~np.isnan(y).any(1)
    if task == "single" and (y[kept].sum(1) != 1).any():
        raise EcgError(f"{int((y[kept].sum(1) != 1).sum())} records have not exactly one label, though the task says so")
    unknown = np.isnan(y).sum(0)
    warnings = [] if patients is not None else ["no patients given: every record counts as a patient of its own"]
    if not kept.all():
        warnings.append(f"{int((~kept).sum())} records without a known label are left out")
    if patients is not None and len(patients) != len(y):
        raise EcgError(f"{len(patients)} patients named for {len(y)} records")
    who = None if patients is None else np.asarray([str(q) for q in patients])[kept]
    y, p = y[kept], p[kept]
    if not len(y):
        raise EcgError("no record to evaluate on")
    resamples = Resamples.of(who, len(y), draws, seed)

    limits = np.full(len(names), 0.5) if thresholds is None else np.asarray(thresholds, np.float64)
    if limits.shape != (len(names),):
        raise EcgError(f"{len(names)} labels, but thresholds of shape {limits.shape}")
    measure = Regression(y, p) if task == "regression" else Classification(y, p, task, limits, bins)
    value = measure(np.ones((1, len(y))))
    drawn = [measure(weights) for weights in resamples.weights()]
    overall: dict[str, Figure] = {}
    for name, at in value[0].items():
        low, high, missing = interval(np.concatenate([block[0][name] for block in drawn]))
        overall[name] = Figure(float(at[0]), float(low), float(high), int(missing))
    labels: dict[str, dict[str, Figure]] = {name: {} for name in names}
    for name, at in value[1].items():
        low, high, missing = interval(np.concatenate([block[1][name] for block in drawn]))
        for k, label in enumerate(names):
            labels[label][name] = Figure(float(at[0, k]), float(low[k]), float(high[k]), int(missing[k]))

    positives = {} if task == "regression" else {n: int((y[:, k] == 1).sum()) for k, n in enumerate(names)}
    for k, name in enumerate(names if task != "regression" else ()):
        least = min(positives[name], int((y[:, k] == 0).sum()))
        if least < FEW:
            kind = "positives" if least == positives[name] else "negatives"
            warnings.append(f"{name} has {least} {kind}: its figures say little")
    plain = task == "multilabel"
    return Evaluation(
        task=task,
        names=tuple(names),
        records=len(y),
        patients=resamples.count,
        positives=positives,
        unknown={n: int(unknown[k]) for k, n in enumerate(names)},
        overall=overall,
        labels=labels,
        thresholds={n: float(limits[k]) for k, n in enumerate(names)} if plain else {},
        thresholds_from=(thresholds_from or ("0.5, not chosen" if thresholds is None else "given")) if plain else "",
        confusion=tuple(map(tuple, metrics.confusion(y, p).tolist())) if task == "single" else (),
        reliability={}
        if task == "regression"
        else {n: calibrate.reliability(y[:, k], p[:, k], bins=bins) for k, n in enumerate(names)},
        draws=draws,
        seed=seed,
        warnings=tuple(warnings),
    )


class Classification:
    """Figures by name for weights (R, N): (R,) overall, and (R, K) by label."""

    def __init__(self, y: Floats, p: Floats, task: Task, thresholds: Floats, bins: int = calibrate.BINS) -> None:
        self.y, self.p, self.task, self.bins = y, p, task, bins
        self.predicted = metrics.choose(p) if task == "single" else metrics.decide(p, thresholds)
        self.top = calibrate.top_label(y, p) if task == "single" else None

    def __call__(self, weights: Floats) -> Measured:
        counts = metrics.count(self.y, self.predicted, weights)
        area = metrics.areas(self.y, self.p, weights)
        exact = metrics.exact_match(self.y, self.predicted, weights)
        one = {
            "auroc": area.auroc,
            "average_precision": area.average_precision,
            "auprc_trapezoid": area.auprc_trapezoid,
            "accuracy": metrics.label_accuracy(counts),
            "precision": metrics.precision(counts),
            "recall": metrics.recall(counts),
            "f1": metrics.f1(counts),
            "sensitivity": metrics.sensitivity(counts),
            "specificity": metrics.specificity(counts),
            "ece": calibrate.ece(self.y, self.p, weights, bins=self.bins),
            "ece_debiased": calibrate.ece_debiased(self.y, self.p, weights, bins=self.bins),
            "brier": calibrate.brier(self.y, self.p, weights),
        }
        found: dict[str, Floats] = {"accuracy": exact} if self.task == "single" else {}
        for name in ("auroc", "average_precision", "auprc_trapezoid", "f1", "precision", "recall", "specificity"):
            found[f"macro_{name}"] = metrics.macro(one[name])
        for name in ("auroc", "average_precision", "f1", "precision", "recall"):
            found[f"weighted_{name}"] = metrics.weighted(one[name], counts.positives)
        if self.task == "multilabel":
            found["micro_f1"] = metrics.f1(metrics.micro(counts))[:, 0]
            found["exact_match"] = exact
            found["hamming"] = metrics.hamming(self.y, self.predicted, weights)
        for name in ("ece", "ece_debiased", "brier"):
            found[f"mean_{name}"] = metrics.macro(one[name])
        if self.top is not None:
            found["top_label_ece"] = calibrate.ece(*self.top, weights, bins=self.bins)[:, 0]
        return found, one


class Regression:
    def __init__(self, y: Floats, p: Floats) -> None:
        self.y, self.p = y, p

    def __call__(self, weights: Floats) -> Measured:
        one = metrics.errors(self.y, self.p, weights)._asdict()
        return {f"mean_{name}": metrics.macro(value) for name, value in one.items()}, one
