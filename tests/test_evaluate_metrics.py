"""Every metric is scikit-learn's, ties and unknown labels included; intervals resample patients."""

from __future__ import annotations

import json
from functools import partial
from itertools import product

import numpy as np
import pytest
import sklearn.metrics as sk
from numpy.typing import NDArray

from einthoven.evaluate import Resamples, bootstrap, evaluate, interval, metrics
from einthoven.record import EcgError

Floats = NDArray[np.float64]


def planted(n: int = 300, k: int = 4, *, ties: bool = False, seed: int = 0) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    truth = (rng.random((n, k)) < np.linspace(0.1, 0.6, k)).astype(float)
    score = 1 / (1 + np.exp(-(rng.normal(size=(n, k)) + truth - 0.5)))
    return truth, np.round(score, 1) if ties else score


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("unknown", [0.0, 0.3])
def test_areas_are_scikit_learns(ties: bool, unknown: float) -> None:
    truth, score = planted(ties=ties)
    truth[np.random.default_rng(1).random(truth.shape) < unknown] = np.nan
    found = metrics.areas(truth, score)
    for k in range(truth.shape[1]):
        there = ~np.isnan(truth[:, k])
        y, s = truth[there, k], score[there, k]
        precision, recall, _ = sk.precision_recall_curve(y, s)
        assert found.auroc[k] == pytest.approx(sk.roc_auc_score(y, s), abs=1e-12)
        assert found.average_precision[k] == pytest.approx(sk.average_precision_score(y, s), abs=1e-12)
        assert found.auprc_trapezoid[k] == pytest.approx(sk.auc(recall, precision), abs=1e-12)


def test_weights_are_repeated_records() -> None:
    truth, score = planted(80, ties=True)
    times = np.random.default_rng(3).integers(0, 4, (5, 80))
    found = metrics.areas(truth, score, times)
    hamming = metrics.hamming(truth, score >= 0.5, times)
    for r, weight in enumerate(times):
        again = np.repeat(np.arange(80), weight)
        alone = metrics.areas(truth[again], score[again])
        for name in alone._fields:
            np.testing.assert_allclose(getattr(found, name)[r], getattr(alone, name), atol=1e-12)
        assert hamming[r] == pytest.approx(metrics.hamming(truth[again], score[again] >= 0.5))


def test_what_follows_from_counting_is_scikit_learns() -> None:
    truth, score = planted(ties=True)
    score[:, 0] = 0.0  # never predicted: precision 0, as scikit-learn's default has it
    predicted = metrics.decide(score)
    counts = metrics.count(truth, predicted)
    precision, recall, f1, support = sk.precision_recall_fscore_support(truth, predicted, zero_division=0)
    np.testing.assert_allclose(metrics.precision(counts), precision)
    np.testing.assert_allclose(metrics.recall(counts), recall)
    np.testing.assert_allclose(metrics.f1(counts), f1)
    np.testing.assert_array_equal(counts.positives, support)
    assert metrics.macro(metrics.f1(counts)) == pytest.approx(sk.f1_score(truth, predicted, average="macro", zero_division=0))
    weighted = metrics.weighted(metrics.f1(counts), counts.positives)
    assert weighted == pytest.approx(sk.f1_score(truth, predicted, average="weighted", zero_division=0))
    assert metrics.f1(metrics.micro(counts))[0] == pytest.approx(sk.f1_score(truth, predicted, average="micro"))
    assert metrics.exact_match(truth, predicted) == pytest.approx(sk.accuracy_score(truth, predicted))
    assert metrics.hamming(truth, predicted) == pytest.approx(sk.hamming_loss(truth, predicted))
    for k in range(truth.shape[1]):
        assert metrics.label_accuracy(counts)[k] == pytest.approx(sk.accuracy_score(truth[:, k], predicted[:, k]))
        assert metrics.specificity(counts)[k] == pytest.approx(sk.recall_score(1 - truth[:, k], ~predicted[:, k]))


def test_one_label_a_record_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    which = rng.integers(0, 3, 200)
    score = rng.dirichlet(np.ones(3), 200) + 0.3 * np.eye(3)[which]
    score /= score.sum(1, keepdims=True)
    found = evaluate(np.eye(3)[which], score, ["A", "B", "C"], "single", draws=500)
    guess = score.argmax(1)
    for ours, theirs in {
        "accuracy": sk.accuracy_score(which, guess),
        "macro_f1": sk.f1_score(which, guess, average="macro"),
        "weighted_f1": sk.f1_score(which, guess, average="weighted"),
        "macro_recall": sk.balanced_accuracy_score(which, guess),
        "macro_auroc": sk.roc_auc_score(which, score, multi_class="ovr"),
        "weighted_auroc": sk.roc_auc_score(which, score, multi_class="ovr", average="weighted"),
    }.items():
        assert found.figure(ours).value == pytest.approx(theirs, abs=1e-12), ours
    np.testing.assert_array_equal(found.confusion, sk.confusion_matrix(which, guess))


def test_regression_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(400, 30, (150, 2))
    guess = truth + rng.normal(2, 20, (150, 2))
    truth[:10, 1] = np.nan
    found = metrics.errors(truth, guess)
    for k, there in enumerate([slice(None), slice(10, None)]):
        y, p = truth[there, k], guess[there, k]
        assert found.mae[k] == pytest.approx(sk.mean_absolute_error(y, p))
        assert found.rmse[k] == pytest.approx(sk.root_mean_squared_error(y, p))
        assert found.r2[k] == pytest.approx(sk.r2_score(y, p))
        assert found.pearson[k] == pytest.approx(np.corrcoef(y, p)[0, 1])
        assert found.bias[k] == pytest.approx((p - y).mean())
    flat = metrics.errors(np.full((5, 1), 7.0), np.arange(5.0)[:, None])
    assert np.isnan(flat.r2[0]) and np.isnan(flat.pearson[0])
    text = evaluate(truth, guess, ["QTc", "RR"], "regression", draws=500).text()
    assert "mae" in text and "QTc" in text


def test_a_label_without_positives_has_no_figure_and_is_left_out_of_means() -> None:
    truth, score = planted()
    truth[:, 1] = 0
    found = metrics.areas(truth, score)
    assert np.isnan(found.auroc[1]) and np.isnan(found.average_precision[1])
    others = [0, 2, 3]
    assert metrics.macro(found.auroc) == pytest.approx(sk.roc_auc_score(truth[:, others], score[:, others], average="macro"))
    assert np.isnan(metrics.f1(metrics.count(truth, score >= 0.5))[1])


def test_unknown_labels_count_neither_way() -> None:
    truth, score = (
        np.array([[1.0, np.nan], [0, 1], [np.nan, np.nan], [1, 0]]),
        np.array([[0.9, 0.9], [0.2, 0.1], [1, 1], [0.8, 0.9]]),
    )
    assert metrics.exact_match(truth, score >= 0.5) == pytest.approx(1 / 3)  # rows 0 right, 1 and 3 wrong, 2 nothing known
    assert metrics.hamming(truth, score >= 0.5) == pytest.approx(2 / 5)


def test_the_bootstrap_draws_patients() -> None:
    patients = ["a", "a", "b", "c", "c", "c"]
    resamples = Resamples.of(patients, 6, 500, seed=1)
    weights = np.concatenate(list(resamples.weights()))
    assert weights.shape == (500, 6) and resamples.count == 3
    assert (weights[:, 0] == weights[:, 1]).all() and (weights[:, 3] == weights[:, 5]).all()
    np.testing.assert_array_equal(weights[:, [0, 2, 3]].sum(1), 3)
    small = np.concatenate(list(resamples.weights(megabytes=0)))
    np.testing.assert_array_equal(weights, small)  # the draws do not depend on how much memory there is
    np.testing.assert_array_equal(weights, np.concatenate(list(Resamples.of(patients, 6, 500, seed=1).weights())))


def test_the_interval_of_a_mean_is_the_known_one() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=1000)
    low, high, missing = interval(Resamples.of(None, 1000, 2000).apply(lambda w: (w @ x) / w.sum(1)))
    half = 1.96 * x.std() / np.sqrt(1000)
    assert (float(low), float(high)) == pytest.approx((x.mean() - half, x.mean() + half), abs=0.006)
    # Every patient four times: the interval stays, though there are four times the records.
    repeated = Resamples.of(np.repeat(np.arange(1000), 4), 4000, 2000)
    wide = interval(repeated.apply(lambda w: (w @ np.repeat(x, 4)) / w.sum(1)))
    assert wide[1] - wide[0] == pytest.approx(2 * half, abs=0.006)
    assert missing == 0


def test_draws_without_positives_are_counted() -> None:
    truth = np.zeros((50, 1))
    truth[0] = 1
    found = evaluate(truth, np.linspace(1, 0, 50)[:, None], ["rare"], draws=1000).figure("auroc", "rare")
    assert found.value == 1 and 300 < found.undefined < 430  # (1 - 1/50)^50 = 0.364
    assert any("rare has 1 positives" in w for w in evaluate(truth, truth, ["rare"], draws=500).warnings)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    # Mann-Whitney with a known area: normal scores one standard deviation apart have AUROC Phi(1 / sqrt 2) = 0.760.
    rng = np.random.default_rng(0)
    inside = 0
    for seed in range(60):
        truth = np.repeat([1.0, 0], [60, 140])[:, None]
        score = rng.normal(size=(200, 1)) + truth
        low, high, _ = interval(Resamples.of(None, 200, 500, seed).apply(partial(metrics.auroc, truth, score)))
        inside += bool(low[0] <= 0.7602 <= high[0])
    assert 52 <= inside <= 60


def test_an_evaluation_is_plain_and_repeatable() -> None:
    truth, score = planted()
    patients = np.repeat(np.arange(150), 2)
    a, b = (evaluate(truth, score, list("ABCD"), "multilabel", patients, draws=500, seed=3) for _ in range(2))
    assert a == b and json.loads(json.dumps(a.to_dict(), allow_nan=False))["patients"] == 150
    auroc = a.figure("macro_auroc")
    assert auroc.low < auroc.value < auroc.high
    assert "macro_auroc" in a.text() and "150 patients" in a.text()
    assert a != evaluate(truth, score, list("ABCD"), "multilabel", patients, draws=500, seed=4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"names": ["A"]}, "4 labels in the arrays, 1 names"),
        ({"patients": ["a"]}, "1 patients named for 300 records"),
        ({"probability": np.full((300, 4), np.nan)}, "no numbers"),
        ({"probability": np.full((300, 4), -3.0)}, "logits"),
        ({"probability": np.zeros((300, 3))}, "shape"),
        ({"truth": np.full((300, 4), 2.0)}, "other than 0, 1 and NaN"),
        ({"draws": 100}, "too few"),
        ({"task": "single"}, "exactly one label"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, object], words: str) -> None:
    truth, score = planted()
    given: dict[str, object] = {"truth": truth, "probability": score, "names": list("ABCD")}
    with pytest.raises(EcgError, match=words):
        evaluate(**(given | change))  # type: ignore[arg-type]


def test_auroc_is_the_share_of_pairs() -> None:
    truth, score = np.array([1.0, 0, 1, 0, 0]), np.array([0.7, 0.7, 0.4, 0.1, 0.4])
    pairs = [(a > b) + (a == b) / 2 for a, b in product(score[truth == 1], score[truth == 0])]
    assert metrics.auroc(truth, score)[0] == pytest.approx(np.mean(pairs))
    assert bootstrap.LEAST == 500
