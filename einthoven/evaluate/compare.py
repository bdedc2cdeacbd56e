"""Is one model better than another on the same patients? DeLong's test for AUROC, the paired bootstrap over patients for
anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from einthoven.evaluate import metrics
from einthoven.evaluate.bootstrap import Resamples, interval
from einthoven.evaluate.metrics import Floats, checked
from einthoven.record import EcgError

# truth (N, K), score (N, K), weights (R, N) -> (R,)
Metric = Callable[[Floats, Floats, Floats], Floats]


@dataclass(frozen=True)
class Difference:
    """`a` and `b` the two models' figures, `difference` = a - b with its 95 % interval, `p` two-sided against no difference."""

    metric: str
    a: float
    b: float
    difference: float
    low: float
    high: float
    p: float
    method: str
    undefined: int = 0

    def to_dict(self) -> dict[str, Any]:
        return {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in asdict(self).items()}

    def __str__(self) -> str:
        return (
            f"{self.metric}: {self.a:.3f} against {self.b:.3f}, difference {self.difference:+.3f} "
            f"({self.low:+.3f} - {self.high:+.3f}), p = {self.p:.3g} ({self.method})"
        )


def components(truth: ArrayLike, score: ArrayLike) -> tuple[Floats, Floats]:
    """DeLong's structural components of one label: for each positive (m,) the share of negatives below it, for each negative
    (n,) the share of positives above it, ties half. By midranks: Sun & Xu, IEEE Signal Process Lett 2014."""
    from scipy.stats import rankdata  # scipy.stats takes long to load, and reports compare nothing

    y, s = np.asarray(truth, np.float64), np.asarray(score, np.float64)
    positive, negative = s[y == 1], s[y == 0]
    m, n = len(positive), len(negative)
    both = rankdata(np.concatenate([positive, negative]))
    return (both[:m] - rankdata(positive)) / n, 1 - (both[m:] - rankdata(negative)) / m


def delong(truth: ArrayLike, a: ArrayLike, b: ArrayLike, patients: Sequence[Any] | NDArray[Any] | None = None) -> Difference:
    """The AUROCs of two models of the same records compared: DeLong, DeLong & Clarke-Pearson, Biometrics 1988.

    truth, a, b (N,); NaN truth is left out. Records of the same patient are not independent: with `patients` (N,) the
    variance is that of clustered data (Obuchowski, Biometrics 1997), which is DeLong's where every patient has one record.
    Raises EcgError where there are fewer than two positives or negatives (patients with such).
    """
    from scipy.stats import norm

    y = np.asarray(truth, np.float64)
    if y.ndim != 1:
        raise EcgError(f"DeLong's test takes one label, but truth has shape {y.shape}")
    checked(y, a), checked(y, b)
    known = ~np.isnan(y)
    y, scores = y[known], [np.asarray(s, np.float64)[known] for s in (a, b)]
    who = (
        np.arange(len(y))
        if patients is None
        else np.unique(np.asarray([str(p) for p in patients])[known], return_inverse=True)[1]
    )
    m, n = int((y == 1).sum()), int((y == 0).sum())
    with_positive, with_negative = len(np.unique(who[y == 1])), len(np.unique(who[y == 0]))
    if min(with_positive, with_negative) < 2:
        raise EcgError(f"{with_positive} patients with the label and {with_negative} without: DeLong's test needs two of each")
    # (clusters, 2): summed over a patient's records, less what is expected of as many records.
    v10, v01 = np.zeros((who.max() + 1, 2)), np.zeros((who.max() + 1, 2))
    area = np.zeros(2)
    for j, score in enumerate(scores):
        above, below = components(y, score)
        area[j] = above.mean()
        np.add.at(v10[:, j], who[y == 1], above - area[j])
        np.add.at(v01[:, j], who[y == 0], below - area[j])
    clusters = len(np.unique(who))
    s10 = v10.T @ v10 * with_positive / ((with_positive - 1) * m)
    s01 = v01.T @ v01 * with_negative / ((with_negative - 1) * n)
    s11 = v10.T @ v01 * clusters / (clusters - 1)
    covariance = s10 / m + s01 / n + (s11 + s11.T) / (m * n)
    contrast = np.array([1.0, -1.0])
    difference, error = float(area @ contrast), float(np.sqrt(max(contrast @ covariance @ contrast, 0)))
    p = float(2 * norm.sf(abs(difference) / error)) if error > 0 else (1.0 if difference == 0 else 0.0)
    half = float(norm.ppf(0.975)) * error
    method = "DeLong" if patients is None else "DeLong, clustered by patient"
    return Difference("auroc", float(area[0]), float(area[1]), difference, difference - half, difference + half, p, method)


def paired_bootstrap(
    truth: ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    metric: Metric,
    name: str,
    patients: Sequence[Any] | NDArray[Any] | None = None,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> Difference:
    """Any metric of two models compared on the same draws of patients; p is twice the smaller share of draws on one side of 0
    (draws on 0 count on both), with one draw added to each so that it is never 0."""
    y, first = checked(truth, a)
    second = checked(truth, b)[1]
    resamples = Resamples.of(patients, len(y), draws, seed)
    one = np.ones((1, len(y)))
    value, other = (float(metric(y, s, one)[0]) for s in (first, second))
    drawn = resamples.apply(lambda w: metric(y, first, w) - metric(y, second, w))
    low, high, missing = interval(drawn)
    there = drawn[~np.isnan(drawn)]
    side = min(int((there <= 0).sum()), int((there >= 0).sum()))
    p = min(1.0, 2 * (side + 1) / (len(there) + 1)) if len(there) else np.nan
    return Difference(
        name, value, other, value - other, float(low), float(high), p, f"paired bootstrap, {draws} draws", int(missing)
    )


def macro_auroc(truth: Floats, score: Floats, weights: Floats) -> Floats:
    return metrics.macro(metrics.auroc(truth, score, weights))


def macro_average_precision(truth: Floats, score: Floats, weights: Floats) -> Floats:
    return metrics.macro(metrics.average_precision(truth, score, weights))


def macro_f1(thresholds: ArrayLike | None = None) -> Metric:
    """The macro F1 at fixed thresholds (K,); with None the label with the highest score is the prediction."""

    def metric(truth: Floats, score: Floats, weights: Floats) -> Floats:
        predicted = metrics.choose(score) if thresholds is None else metrics.decide(score, thresholds)
        return metrics.macro(metrics.f1(metrics.count(truth, predicted, weights)))

    return metric


def compare(
    truth: ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    names: Sequence[str],
    patients: Sequence[Any] | NDArray[Any] | None = None,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> tuple[Difference, ...]:
    """Two models on the same records, (N, K) each: macro AUROC and macro average precision by the paired bootstrap, then the
    AUROC of each label by DeLong's test (labels with fewer than two positives or negatives are left out)."""
    y, first = checked(truth, a)
    second = checked(truth, b)[1]
    if y.shape[1] != len(names):
        raise EcgError(f"{y.shape[1]} labels in the arrays, {len(names)} names")
    overall: list[tuple[str, Metric]] = [("macro_auroc", macro_auroc), ("macro_average_precision", macro_average_precision)]
    found = [paired_bootstrap(y, first, second, m, name, patients, draws=draws, seed=seed) for name, m in overall]
    for k, name in enumerate(names):
        try:
            test = delong(y[:, k], first[:, k], second[:, k], patients)
        except EcgError:  # too few of one kind: nothing to test, and the counts stand in the Evaluation
            continue
        found.append(Difference(**{**asdict(test), "metric": f"auroc of {name}"}))
    return tuple(found)
