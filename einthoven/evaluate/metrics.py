"""Metrics as functions of arrays. Each takes the records' weights, so that one formula gives the figure and its bootstrap.

N records, K labels, R sets of weights. Truth is (N, K) with 1, 0 and NaN: a NaN is a label that nobody knows, and it is left
out of that label's figures, never counted as absent. `weights` (R, N) says how often each record counts in each of R
resamples, and every result then begins with an axis of R; without weights each record counts once and the axis is not there.

A label without a positive (for areas: also without a negative) has no figure: it is NaN, and means over labels leave it out.
A label that has positives but is never predicted has precision 0. Where every label has positives all this is scikit-learn's
default, which the tests compare with.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from einthoven.record import EcgError

Floats = NDArray[np.float64]
Task = Literal["multilabel", "single", "regression"]


def checked(truth: ArrayLike, score: ArrayLike) -> tuple[Floats, Floats]:
    """Both as float64 (N, K). Raises EcgError for shapes that differ, truth that is not 0, 1 or NaN, scores that are not
    numbers."""
    y, s = same_shape(truth, score)
    if not np.isin(y[~np.isnan(y)], (0.0, 1.0)).all():
        raise EcgError("truth has values other than 0, 1 and NaN (unknown)")
    return y, s


def same_shape(truth: ArrayLike, value: ArrayLike) -> tuple[Floats, Floats]:
    """Both as float64 (N, K); one label may come as (N,). Raises EcgError where shapes differ or `value` has no number."""
    y, s = (np.asarray(a, np.float64) for a in (truth, value))
    y, s = (a[:, None] if a.ndim == 1 else a for a in (y, s))
    if y.shape != s.shape or y.ndim != 2:
        raise EcgError(f"truth has shape {y.shape}, predictions {s.shape}: both must be (records, labels)")
    if not np.isfinite(s).all():
        bad = np.flatnonzero(~np.isfinite(s).all(1))
        raise EcgError(f"{len(bad)} records have predictions that are no numbers", where=f"rows {bad[:5].tolist()}")
    return y, s


def _weighted(weights: ArrayLike | None, records: int) -> Floats:
    """(R, N); (1, N) of ones where there are none."""
    if weights is None:
        return np.ones((1, records))
    w = np.atleast_2d(np.asarray(weights, np.float64))
    if w.shape[1] != records:
        raise EcgError(f"weights for {w.shape[1]} records, but {records} records")
    return w


def _front(values: Floats, weights: ArrayLike | None) -> Floats:
    """Without the axis of R where no weights, or one set as (N,), were given."""
    return values if weights is not None and np.ndim(weights) == 2 else values[0]


# -- areas under curves -------------------------------------------------------------------------------------------------------


class Areas(NamedTuple):
    """Each (K,) or (R, K). `auroc`; `average_precision`, the step sum (scikit-learn's average_precision_score);
    `auprc_trapezoid`, trapezoids under the precision-recall curve from (0, 1), which interpolates where the curve cannot be
    reached (Davis & Goadrich, ICML 2006), but is what HeartBEiT's paper prints."""

    auroc: Floats
    average_precision: Floats
    auprc_trapezoid: Floats


def areas(truth: ArrayLike, score: ArrayLike, weights: ArrayLike | None = None) -> Areas:
    """The areas of each label; ties share their rank. NaN where a label has no positives or no negatives (precision-recall:
    no positives)."""
    y, s = checked(truth, score)
    w = _weighted(weights, len(y))
    found = np.full((3, len(w), y.shape[1]), np.nan)
    for k in range(y.shape[1]):
        known = np.flatnonzero(~np.isnan(y[:, k]))
        order = known[np.argsort(-s[known, k], kind="stable")]
        ranked = s[order, k]
        ends = np.append(ranked[1:] != ranked[:-1], True)[: len(order)]
        found[:, :, k] = _areas(y[order, k], ends, order, np.ascontiguousarray(w)).T
    return Areas(*(_front(area, weights) for area in found))


def auroc(truth: ArrayLike, score: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """(K,) or (R, K): the share of (positive, negative) pairs in the right order, ties half."""
    return areas(truth, score, weights).auroc


def average_precision(truth: ArrayLike, score: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    return areas(truth, score, weights).average_precision


def auprc_trapezoid(truth: ArrayLike, score: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    return areas(truth, score, weights).auprc_trapezoid


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _areas(truth: Floats, ends: NDArray[np.bool_], order: NDArray[np.intp], weights: Floats) -> Floats:
    """truth (n,) by falling score, `ends` where a run of equal scores ends, `order` (n,) the records, weights (R, N) -> (R,
    3)."""
    out = np.full((weights.shape[0], 3), np.nan)
    for r in range(weights.shape[0]):
        tp = fp = new_tp = new_fp = pairs = steps = trapezoids = 0.0
        before = 1.0
        for i in range(len(order)):
            w = weights[r, order[i]]
            if truth[i] == 1.0:
                new_tp += w
            else:
                new_fp += w
            if ends[i] and new_tp + new_fp > 0:
                pairs += new_fp * (tp + new_tp / 2)
                tp += new_tp
                fp += new_fp
                precision = tp / (tp + fp)
                steps += new_tp * precision
                trapezoids += new_tp * (before + precision) / 2
                before = precision
                new_tp = new_fp = 0.0
        if tp > 0:
            out[r, 1] = steps / tp
            out[r, 2] = trapezoids / tp
            if fp > 0:
                out[r, 0] = pairs / (tp * fp)
    return out


# -- what follows from counting -----------------------------------------------------------------------------------------------


class Counts(NamedTuple):
    """Records of each kind, each (K,) or (R, K)."""

    tp: Floats
    fp: Floats
    fn: Floats
    tn: Floats

    @property
    def positives(self) -> Floats:
        return self.tp + self.fn

    @property
    def negatives(self) -> Floats:
        return self.fp + self.tn


def decide(score: ArrayLike, thresholds: ArrayLike | float = 0.5) -> NDArray[np.bool_]:
    """(N, K): where the score reaches the label's threshold."""
    return np.asarray(np.asarray(score, np.float64) >= np.asarray(thresholds, np.float64))


def choose(score: ArrayLike) -> NDArray[np.bool_]:
    """(N, K) one-hot: the label with the highest score (the first of equals), for tasks with one label a record."""
    s = np.asarray(score, np.float64)
    return np.asarray(np.arange(s.shape[1]) == s.argmax(1)[:, None])


def count(truth: ArrayLike, predicted: ArrayLike, weights: ArrayLike | None = None) -> Counts:
    y, p = checked(truth, predicted)
    w = _weighted(weights, len(y))
    known, positive, p = ~np.isnan(y), y == 1, p == 1
    cells = (positive & p, known & ~positive & p, positive & ~p, known & ~positive & ~p)
    return Counts(*(_front(w @ cell.astype(np.float64), weights) for cell in cells))


def _share(part: Floats, whole: Floats) -> Floats:
    """NaN where there is nothing to divide by."""
    return np.asarray(np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=np.asarray(whole) > 0))


def sensitivity(counts: Counts) -> Floats:
    return _share(counts.tp, counts.positives)


recall = sensitivity


def specificity(counts: Counts) -> Floats:
    return _share(counts.tn, counts.negatives)


def precision(counts: Counts) -> Floats:
    """0 for a label that has positives and is never predicted; NaN without positives."""
    found = np.nan_to_num(_share(counts.tp, counts.tp + counts.fp))
    return np.where(counts.positives > 0, found, np.nan)


def f1(counts: Counts) -> Floats:
    found = _share(2 * counts.tp, 2 * counts.tp + counts.fp + counts.fn)
    return np.where(counts.positives > 0, found, np.nan)


def label_accuracy(counts: Counts) -> Floats:
    """The share of records on which one label is right."""
    return _share(counts.tp + counts.tn, counts.positives + counts.negatives)


def macro(values: Floats) -> Floats:
    """(..., K) -> (...): the mean over the labels that have a figure; NaN where none has."""
    there = ~np.isnan(values)
    return _share(np.where(there, values, 0).sum(-1), there.sum(-1).astype(np.float64))


def weighted(values: Floats, positives: Floats) -> Floats:
    """(..., K) -> (...): the mean weighted by each label's positives, over the labels that have a figure."""
    there = ~np.isnan(values)
    return _share(np.where(there, values * positives, 0).sum(-1), np.where(there, positives, 0).sum(-1))


def micro(counts: Counts) -> Counts:
    """All labels in one pot: (..., K) -> (..., 1)."""
    return Counts(*(cell.sum(-1, keepdims=True) for cell in counts))


def exact_match(truth: ArrayLike, predicted: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """(,) or (R,): the share of records on which every known label is right; records of which nothing is known are left out.
    With one label a record this is the accuracy."""
    y, p = checked(truth, predicted)
    w = _weighted(weights, len(y))
    known = ~np.isnan(y)
    right = ((y == p) | ~known).all(1)
    judged = known.any(1)
    return _front(_share(w @ (right & judged), w @ judged.astype(np.float64)), weights)


def hamming(truth: ArrayLike, predicted: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """(,) or (R,): the share of known labels that are wrong."""
    c = count(truth, predicted, weights)
    return _share((c.fp + c.fn).sum(-1), (c.positives + c.negatives).sum(-1))


def confusion(truth: ArrayLike, score: ArrayLike) -> NDArray[np.int64]:
    """(K, K) records, a row a true label, a column the label with the highest score; one label a record."""
    y, s = checked(truth, score)
    rows = (y == 1).sum(1) == 1
    table = np.zeros((y.shape[1], y.shape[1]), np.int64)
    np.add.at(table, (y[rows].argmax(1), s[rows].argmax(1)), 1)
    return table


# -- regression ---------------------------------------------------------------------------------------------------------------


class Errors(NamedTuple):
    """Each (K,) or (R, K), in the unit of the value, except r2 and pearson, which have none."""

    mae: Floats
    rmse: Floats
    bias: Floats
    r2: Floats
    pearson: Floats


def errors(truth: ArrayLike, predicted: ArrayLike, weights: ArrayLike | None = None) -> Errors:
    """Of each value; NaN truth left out. r2 and pearson are NaN where the truth does not vary."""
    y, p = same_shape(truth, predicted)
    w = _weighted(weights, len(y))
    known = ~np.isnan(y)
    y, p = np.where(known, y, 0), np.where(known, p, 0)
    n = w @ known.astype(np.float64)

    def mean(values: Floats) -> Floats:
        return _share(w @ np.where(known, values, 0), n)

    # Moments about the whole sample's mean, so that a large offset (QTc about 400 ms) costs no digits.
    with np.errstate(invalid="ignore"):
        y0, p0 = y - y.sum(0) / np.maximum(known.sum(0), 1), p - p.sum(0) / np.maximum(known.sum(0), 1)
    squares = mean((p - y) ** 2)
    var_y, var_p = mean(y0**2) - mean(y0) ** 2, mean(p0**2) - mean(p0) ** 2
    tiny = 1e-12 * np.maximum(mean(y0**2), 1e-300)
    var_y = np.where(var_y > tiny, var_y, 0)
    together = mean(y0 * p0) - mean(y0) * mean(p0)
    found = (
        mean(np.abs(p - y)),
        np.sqrt(squares),
        mean(p - y),
        1 - _share(squares, var_y),
        _share(together, np.sqrt(var_y * np.maximum(var_p, 0))),
    )
    return Errors(*(_front(value, weights) for value in found))
