"""Does 0.8 mean eight in ten? Measured by ECE, Brier score and the reliability table, mended by temperature, Platt or isotonic.

A `Calibration` is fitted on validation records and turns a model's logits into probabilities; it stands in a Bundle's
manifest as plain numbers, so that whoever runs the model with no torch and no scikit-learn gets the same probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from einthoven.evaluate.metrics import Floats, _front, _share, _weighted, checked
from einthoven.record import EcgError

Kind = Literal["none", "temperature", "platt", "isotonic"]
Binning = Literal["width", "mass"]
BINS = 15  # as in Guo et al., ICML 2017
LEAST = 10  # a label with fewer positives (or negatives) than this on validation is left as it is


# -- measured -----------------------------------------------------------------------------------------------------------------


def _bin_of(probability: Floats, known: NDArray[np.bool_], bins: int, binning: Binning) -> NDArray[np.intp]:
    """(n,) the bin of each probability of one label. Bounds of "mass" bins are quantiles of the known records."""
    if binning == "width":
        return np.clip((probability * bins).astype(np.intp), 0, bins - 1)
    inner = np.quantile(probability[known], np.arange(1, bins) / bins) if known.any() else np.linspace(0, 1, bins + 1)[1:-1]
    return np.searchsorted(np.unique(inner), probability, side="right").astype(np.intp)


def ece(
    truth: ArrayLike, probability: ArrayLike, weights: ArrayLike | None = None, *, bins: int = BINS, binning: Binning = "width"
) -> Floats:
    """(K,) or (R, K): expected calibration error of each label, sum over bins of share x |observed rate - mean probability|.

    This is the binary form, a label at a time, over the whole range 0...1 of its probability (not only of the label chosen).
    binning "width": `bins` of equal width, a probability on a border belongs to the upper one; "mass": of equally many records.
    A weighted figure keeps the bins of the whole sample. It is biased upwards in small samples: each bin's noise counts as
    error, which `ece_debiased` takes out.
    """
    y, p = checked(truth, probability)
    w = _weighted(weights, len(y))
    found = np.full((len(w), y.shape[1]), np.nan)
    for k in range(y.shape[1]):
        known = ~np.isnan(y[:, k])
        inside = (_bin_of(p[:, k], known, bins, binning)[:, None] == np.arange(bins)) & known[:, None]
        gap = w @ (inside * (np.where(known, y[:, k], 0) - p[:, k])[:, None])
        found[:, k] = _share(np.abs(gap).sum(1), w @ known.astype(np.float64))
    return _front(found, weights)


def ece_debiased(truth: ArrayLike, probability: ArrayLike, weights: ArrayLike | None = None, *, bins: int = BINS) -> Floats:
    """(K,) or (R, K): `ece` in bins of equal width, less the part that is the bins' noise: what more records would leave of it.

    Kumar A et al. Verified uncertainty calibration. NeurIPS 2019, as in its code (for the absolute error): the gap of a bin is
    taken as normal around what was observed, with the variance of a mean of n answers, and the ECE as too high by as much as
    such gaps would on average make it. It still errs upwards where little is wrong (LOG.md, 2026-11-28: of 242 records that are
    perfectly calibrated ECE says 0.063, this 0.039), so it does not flatter. Under weights n is Kish's effective number, so
    that the noise which a bootstrap adds is taken out, too. May fall below 0.
    """
    from scipy.special import ndtr

    y, p = checked(truth, probability)
    w = _weighted(weights, len(y))
    found = np.full((len(w), y.shape[1]), np.nan)
    for k in range(y.shape[1]):
        known = ~np.isnan(y[:, k])
        inside = ((_bin_of(p[:, k], known, bins, "width")[:, None] == np.arange(bins)) & known[:, None]).astype(np.float64)
        answers = np.where(known, y[:, k], 0)[:, None]
        count = w @ inside  # (R, bins)
        observed = _share(w @ (inside * answers), count)
        gap = observed - _share(w @ (inside * p[:, k][:, None]), count)
        spread = np.sqrt(observed * (1 - observed) * _share(w**2 @ inside, count**2))
        with np.errstate(divide="ignore", invalid="ignore"):
            z = np.where(spread > 0, gap / spread, np.inf)
        noisy = spread * math.sqrt(2 / math.pi) * np.exp(-(z**2) / 2) + np.abs(gap) * (1 - 2 * ndtr(-np.abs(z)))
        found[:, k] = _share(np.nansum(count * (2 * np.abs(gap) - noisy), 1), w @ known.astype(np.float64))
    return _front(found, weights)


def brier(truth: ArrayLike, probability: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """(K,) or (R, K): the mean squared distance of probability and truth, a label at a time."""
    y, p = checked(truth, probability)
    w = _weighted(weights, len(y))
    known = ~np.isnan(y)
    return _front(_share(w @ np.where(known, (p - np.where(known, y, 0)) ** 2, 0), w @ known.astype(np.float64)), weights)


def top_label(truth: ArrayLike, probability: ArrayLike) -> tuple[Floats, Floats]:
    """(N, 1) whether the label with the highest probability is right, and (N, 1) that probability: what ECE means in Guo et
    al."""
    y, p = checked(truth, probability)
    best = p.argmax(1)
    rows = np.arange(len(p))
    return y[rows, best][:, None], p[rows, best][:, None]


@dataclass(frozen=True)
class Bin:
    low: float
    high: float
    records: int
    mean_probability: float
    observed: float


def reliability(truth: ArrayLike, probability: ArrayLike, *, bins: int = BINS, binning: Binning = "width") -> tuple[Bin, ...]:
    """The table behind the ECE of one label ((N,) each): bins that hold records, in order. Bounds of "mass" bins are the
    lowest and highest probability inside."""
    y, p = (a[:, 0] for a in checked(truth, probability))
    known = ~np.isnan(y)
    which = _bin_of(p, known, bins, binning)
    rows = []
    for b in np.unique(which[known]):
        inside = known & (which == b)
        bounds = (b / bins, (b + 1) / bins) if binning == "width" else (p[inside].min(), p[inside].max())
        rows.append(
            Bin(float(bounds[0]), float(bounds[1]), int(inside.sum()), float(p[inside].mean()), float(y[inside].mean()))
        )
    return tuple(rows)


# -- mended -------------------------------------------------------------------------------------------------------------------


def activate(logits: ArrayLike, task: str) -> Floats:
    """Sigmoid for "multilabel", softmax for "single", nothing for "regression"."""
    z = np.asarray(logits, np.float64)
    if task == "single":
        e = np.exp(z - z.max(-1, keepdims=True))
        return np.asarray(e / e.sum(-1, keepdims=True))
    return expit(z) if task == "multilabel" else z


def expit(z: Floats) -> Floats:
    """1 / (1 + exp(-z)), as scipy.special's: what applies a calibration needs no scipy, which takes long to load."""
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-z)))


@dataclass(frozen=True)
class Calibration:
    """Logits to probabilities. `parameters`, a kind's own:

    none         nothing
    temperature  {"temperature": t}: logits / t before the activation. Keeps which label is first;
                 with sigmoids also every ranking
    platt        {"slope": [K], "intercept": [K]}: sigmoid(slope x logit + intercept) a label; slopes are positive
    isotonic     {"x": [K lists], "y": [K lists]}: a rising line through the points a label, level beyond its ends; an empty
                 list is the plain activation

    With sigmoids each is monotone, so that AUROC stays (isotonic can make ties). With softmax, platt and isotonic act on the
    log odds of each label against the rest and the results are scaled to sum to 1, as scikit-learn does it. `unfitted`:
    labels with too few validation records of a kind, left as they were.
    """

    kind: Kind = "none"
    task: str = "multilabel"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    unfitted: tuple[int, ...] = ()

    def apply(self, logits: ArrayLike) -> Floats:
        """(N, K) or (K,) logits -> probabilities of the same shape. Raises EcgError where it was fitted for another K."""
        z = np.asarray(logits, np.float64)
        fitted = len(next(iter(self.parameters.values()))) if self.kind in ("platt", "isotonic") else z.shape[-1]
        if fitted != z.shape[-1]:
            raise EcgError(f"calibration of {fitted} labels, but {z.shape[-1]} logits")
        if self.kind == "none" or self.task == "regression":
            return activate(z, self.task)
        if self.kind == "temperature":
            return activate(z / self.parameters["temperature"], self.task)
        odds = z if self.task == "multilabel" else _odds(activate(z, self.task))
        if self.kind == "platt":
            found = expit(odds * np.asarray(self.parameters["slope"]) + np.asarray(self.parameters["intercept"]))
        else:
            found = expit(odds)
            for k, (x, y) in enumerate(zip(self.parameters["x"], self.parameters["y"], strict=True)):
                if len(x):
                    found[..., k] = np.interp(odds[..., k], x, y)
        if self.task == "single":
            found = found / np.maximum(found.sum(-1, keepdims=True), 1e-12)
        return found

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "task": self.task, "parameters": dict(self.parameters), "unfitted": list(self.unfitted)}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Calibration:
        """Raises EcgError where it is no calibration: another kind, a number missing, not finite, or points that do not
        rise."""
        kind, parameters = given.get("kind", "none"), given.get("parameters", {})
        if kind not in get_args(Kind):
            raise EcgError(f"calibration of unknown kind {kind!r}")
        try:
            if kind == "temperature":
                made: dict[str, Any] = {"temperature": _finite(parameters["temperature"])}
                good = made["temperature"] > 0
            elif kind == "platt":
                made = {name: [_finite(v) for v in parameters[name]] for name in ("slope", "intercept")}
                good = len(made["slope"]) == len(made["intercept"]) and min(made["slope"], default=1) > 0
            elif kind == "isotonic":
                made = {name: [[_finite(v) for v in points] for points in parameters[name]] for name in ("x", "y")}
                good = [len(x) for x in made["x"]] == [len(y) for y in made["y"]]
                good = good and all(b >= a for axis in made.values() for points in axis for a, b in pairwise(points))
            else:
                made, good = {}, True
            unfitted = tuple(int(k) for k in given.get("unfitted", ()))
        except (KeyError, TypeError, ValueError) as fault:
            raise EcgError(f"calibration of kind {kind} cannot be read ({fault!r})") from fault
        if not good:
            raise EcgError(f"calibration of kind {kind} has parameters that are none")
        return cls(kind, str(given.get("task", "multilabel")), made, unfitted)


def _finite(value: Any) -> float:
    number = float(value)
    if not np.isfinite(number):
        raise ValueError(f"{value} is not finite")
    return number


def _odds(probability: Floats) -> Floats:
    p = np.clip(probability, 1e-12, 1 - 1e-12)
    return np.asarray(np.log(p / (1 - p)))


def fit(kind: Kind, truth: ArrayLike, logits: ArrayLike, task: str = "multilabel") -> Calibration:
    """The calibration of `kind` on validation records: truth (N, K) with NaN for unknown, logits (N, K).

    Temperature: one for all labels, by likelihood (Guo et al., ICML 2017). Platt: a line a label, by likelihood against
    targets drawn in from 0 and 1 by the label's counts (Platt 1999). Isotonic: pool adjacent violators, kept 1 / (n + 2)
    away from 0 and 1. Raises EcgError where there is nothing to fit on.
    """
    if kind not in get_args(Kind):
        raise EcgError(f"calibration of unknown kind {kind!r} (there are: {', '.join(get_args(Kind))})")
    if kind == "none" or task == "regression":
        return Calibration("none", task)
    y, z = checked(truth, logits)
    known = ~np.isnan(y)
    if not known.any():
        raise EcgError("no known label to calibrate on")
    if kind == "temperature":
        return Calibration(kind, task, {"temperature": _temperature(y, z, known, task)})
    odds = z if task == "multilabel" else _odds(activate(z, task))
    there = [k for k in range(y.shape[1]) if min((y[:, k] == 1).sum(), (y[:, k] == 0).sum()) >= LEAST]
    unfitted = tuple(k for k in range(y.shape[1]) if k not in there)
    if kind == "platt":
        lines = [_line(y[known[:, k], k], odds[known[:, k], k]) if k in there else (1.0, 0.0) for k in range(y.shape[1])]
        return Calibration(kind, task, {"slope": [a for a, _ in lines], "intercept": [b for _, b in lines]}, unfitted)
    points = [_steps(y[known[:, k], k], odds[known[:, k], k]) if k in there else ([], []) for k in range(y.shape[1])]
    return Calibration(kind, task, {"x": [x for x, _ in points], "y": [v for _, v in points]}, unfitted)


def _temperature(y: Floats, z: Floats, known: NDArray[np.bool_], task: str) -> float:
    from scipy.optimize import minimize_scalar
    from scipy.special import log_expit, log_softmax

    if task == "single":
        rows = known.all(1)
        if not rows.any():
            raise EcgError("no record with a known label to calibrate on")
        y, z = y[rows], z[rows]

    def loss(log_t: float) -> float:
        s = z / np.exp(log_t)
        if task == "single":
            return float(-(y * log_softmax(s, axis=1)).sum(1).mean())
        return float(-np.where(y == 1, log_expit(s), log_expit(-s))[known].mean())

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.02), np.log(50)), method="bounded", options={"xatol": 1e-6}).x))


def _line(y: Floats, z: Floats) -> tuple[float, float]:
    """Platt's slope (kept positive, as exp) and intercept of one label."""
    from scipy.optimize import minimize
    from scipy.special import log_expit

    n1, n0 = (y == 1).sum(), (y == 0).sum()
    target = np.where(y == 1, (n1 + 1) / (n1 + 2), 1 / (n0 + 2))

    def loss(at: Floats) -> tuple[float, Floats]:
        slope = np.exp(at[0])
        s = slope * z + at[1]
        value = -(target * log_expit(s) + (1 - target) * log_expit(-s)).mean()
        error = expit(s) - target
        return float(value), np.array([(error * z).mean() * slope, error.mean()])

    best = minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B", bounds=((-7.0, 7.0), (None, None)))
    return float(np.exp(best.x[0])), float(best.x[1])


def _steps(y: Floats, z: Floats) -> tuple[list[float], list[float]]:
    """The ends of each level step of isotonic regression; equal logits are one point."""
    from scipy.optimize import isotonic_regression

    x, where, n = np.unique(z, return_inverse=True, return_counts=True)
    level = isotonic_regression(np.bincount(where, y) / n, weights=n).x
    level = np.clip(level, 1 / (len(y) + 2), 1 - 1 / (len(y) + 2))
    edge = np.ones(len(x), bool)
    edge[1:-1] = (level[1:-1] != level[:-2]) | (level[1:-1] != level[2:])
    return x[edge].tolist(), level[edge].tolist()


def names_of(unfitted: Sequence[int], names: Sequence[str]) -> list[str]:
    return [names[k] for k in unfitted]
