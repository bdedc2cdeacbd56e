"""Calibration, thresholds, comparisons, selective prediction, robustness, subgroups: against planted truth and brute force."""

from __future__ import annotations

import json
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit, softmax
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import brier_score_loss, roc_auc_score

from einthoven.evaluate import (
    age_bands,
    choose_thresholds,
    compare,
    delong,
    paired_bootstrap,
    risk_coverage,
    robustness,
    subgroups,
)
from einthoven.evaluate import calibration as calibrate
from einthoven.evaluate.calibration import Calibration, Kind, brier, ece, ece_debiased, fit, reliability
from einthoven.evaluate.compare import macro_auroc, macro_f1
from einthoven.evaluate.metrics import auroc, choose, count, decide, f1
from einthoven.evaluate.selective import confidence, mistakes
from einthoven.evaluate.subgroups import table
from einthoven.record import EcgError

Floats = NDArray[np.float64]


def honest(n: int, k: int = 3, seed: int = 0) -> tuple[Floats, Floats]:
    """Logits whose sigmoid is the true probability, and truth drawn from it."""
    rng = np.random.default_rng(seed)
    z = rng.normal(-0.5, 1.5, (n, k))
    return (rng.random((n, k)) < expit(z)).astype(float), z


# -- calibration --------------------------------------------------------------------------------------------------------------


def test_ece_and_brier_by_hand() -> None:
    truth, p = np.array([0.0, 1, 1, 1]), np.array([0.1, 0.15, 0.9, 0.95])
    # Two bins of width a half: (1/2 - 0.125) and (1 - 0.925), half of the records each.
    assert ece(truth, p, bins=2)[0] == pytest.approx(0.5 * 0.375 + 0.5 * 0.075)
    assert ece(truth, p, bins=2, binning="mass")[0] == pytest.approx(0.5 * 0.375 + 0.5 * 0.075)
    assert brier(truth, p)[0] == pytest.approx(brier_score_loss(truth, p))
    bins = reliability(truth, p, bins=2)
    assert [(b.records, b.observed) for b in bins] == [(2, 0.5), (2, 1.0)]
    assert sum(b.records * abs(b.observed - b.mean_probability) for b in bins) / 4 == pytest.approx(ece(truth, p, bins=2)[0])
    unknown = np.append(truth, np.nan)
    assert ece(unknown, np.append(p, 0.5), bins=2)[0] == pytest.approx(ece(truth, p, bins=2)[0])


def test_debiased_ece_is_what_kumar_samples() -> None:
    """Their code draws the observed rates again (normal, variance of a mean) and takes out what the draws show too much."""
    rng = np.random.default_rng(3)
    p = rng.random(300)
    truth = (rng.random(300) < p**1.3).astype(float)
    rows = reliability(truth, p)
    n, observed, mean = (np.array([getattr(b, name) for b in rows]) for name in ("records", "observed", "mean_probability"))
    drawn = rng.normal(observed, np.sqrt(observed * (1 - observed) / n), (200_000, len(n)))
    plain = ece(truth, p)[0]
    too_much = (np.abs(drawn - mean) @ n / n.sum()).mean() - plain
    assert ece_debiased(truth, p)[0] == pytest.approx(plain - too_much, abs=1e-4)
    assert ece_debiased(np.append(truth, np.nan), np.append(p, 0.5))[0] == pytest.approx(ece_debiased(truth, p)[0])


def test_debiased_ece_of_a_small_sample_lies_nearer_the_truth() -> None:
    honest, wrong = [], []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        p = expit(rng.normal(0, 2, 250))
        for found, true in ((honest, p), (wrong, expit(2 * np.log(p / (1 - p))))):
            truth = (rng.random(250) < true).astype(float)
            found.append([ece(truth, p)[0], ece_debiased(truth, p)[0], np.abs(true - p).mean()])
    plain, debiased, true = np.mean(honest, 0)
    assert true == 0 and 0 < debiased < 0.7 * plain  # it does not flatter: what is left is above the truth
    plain, debiased, true = np.mean(wrong, 0)
    assert true - 0.01 < debiased < plain and abs(debiased - true) < abs(plain - true)


def test_debiased_ece_takes_out_what_resampling_adds() -> None:
    """Of draws with replacement plain ECE rises, since they add noise of their own; debiased, it stays."""
    rng = np.random.default_rng(5)
    p = expit(rng.normal(0, 2, 400))
    truth = (rng.random(400) < expit(np.log(p / (1 - p)) + 0.7)).astype(float)
    weights = rng.multinomial(400, np.full(400, 1 / 400), 500).astype(float)
    assert ece(truth, p, weights).mean() > ece(truth, p)[0] + 0.01
    assert ece_debiased(truth, p, weights).mean() == pytest.approx(ece_debiased(truth, p)[0], abs=0.01)


def test_ece_of_an_honest_model_is_small_and_of_a_boaster_is_not() -> None:
    truth, z = honest(20000)
    assert (ece(truth, expit(z)) < 0.02).all()
    assert (ece(truth, expit(3 * z)) > 0.1).all()


def test_temperature_finds_the_planted_one() -> None:
    truth, z = honest(20000)
    assert fit("temperature", truth, 2.5 * z).parameters["temperature"] == pytest.approx(2.5, rel=0.04)
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20000, 4))
    which = (rng.random((20000, 1)) > softmax(logits, axis=1).cumsum(1)).sum(1)
    found = fit("temperature", np.eye(4)[which], 0.4 * logits, "single")
    assert found.parameters["temperature"] == pytest.approx(0.4, rel=0.04)
    np.testing.assert_array_equal(choose(found.apply(0.4 * logits)), choose(logits))


def test_platt_finds_the_planted_line() -> None:
    truth, z = honest(20000)
    found = fit("platt", truth, z * [2, 0.5, 1] + [1, -1, 0])
    np.testing.assert_allclose(found.parameters["slope"], [0.5, 2, 1], rtol=0.06)
    np.testing.assert_allclose(found.parameters["intercept"], [-0.5, 2, 0], atol=0.1)


def test_isotonic_is_scikit_learns() -> None:
    truth, z = honest(500)
    z = np.round(z, 1)  # ties
    truth[:50, 0] = np.nan
    found, fresh = fit("isotonic", truth, z), np.random.default_rng(1).normal(size=(200, 3)) * 3
    for k in range(3):
        there = ~np.isnan(truth[:, k])
        low = 1 / (there.sum() + 2)
        theirs = IsotonicRegression(out_of_bounds="clip").fit(z[there, k], truth[there, k]).predict(fresh[:, k])
        # Ours stays away from 0 and 1 before it interpolates, theirs does not: equal to within that margin.
        np.testing.assert_allclose(found.apply(fresh)[:, k], np.clip(theirs, low, 1 - low), atol=low + 1e-12)


@pytest.mark.parametrize("kind", ["none", "temperature", "platt", "isotonic"])
@pytest.mark.parametrize("task", ["multilabel", "single"])
def test_calibration_mends_keeps_ranks_and_survives_json(kind: Kind, task: str) -> None:
    truth, z = honest(4000, 3)
    if task == "single":
        rng = np.random.default_rng(0)
        truth = np.eye(3)[(rng.random((4000, 1)) > softmax(z, axis=1).cumsum(1)).sum(1)]
    boast = z * 3
    found = fit(kind, truth[:2000], boast[:2000], task)
    p = found.apply(boast)
    assert np.isfinite(p).all() and p.min() >= 0 and p.max() <= 1
    again = Calibration.from_dict(json.loads(json.dumps(found.to_dict())))
    np.testing.assert_array_equal(again.apply(boast), p)
    np.testing.assert_allclose(again.apply(boast[7]), p[7])  # one record at a time, as `predict` does
    if kind != "none":
        before = ece(truth[2000:], calibrate.activate(boast, task)[2000:])
        assert (ece(truth[2000:], p[2000:]) < 0.05).all() and (before > 0.08).all()
    if task == "single":
        np.testing.assert_allclose(p.sum(1), 1)
    else:
        gap = np.abs(auroc(truth, p) - auroc(truth, boast))
        assert (gap < (0.005 if kind == "isotonic" else 1e-12)).all()


def test_a_rare_label_is_left_as_it_is() -> None:
    truth, z = honest(200, 2)
    truth[:, 1] = 0
    kinds: tuple[Kind, ...] = ("platt", "isotonic")
    for kind in kinds:
        found = fit(kind, truth, z)
        assert found.unfitted == (1,)
        np.testing.assert_allclose(found.apply(z)[:, 1], expit(z[:, 1]))


def test_a_calibration_of_other_labels_is_refused() -> None:
    truth, z = honest(200, 2)
    with pytest.raises(EcgError, match="of 2 labels, but 3 logits"):
        fit("platt", truth, z).apply(np.zeros((4, 3)))


@pytest.mark.parametrize(
    "bad",
    [
        {"kind": "magic"},
        {"kind": "temperature", "parameters": {}},
        {"kind": "temperature", "parameters": {"temperature": -1}},
        {"kind": "temperature", "parameters": {"temperature": float("nan")}},
        {"kind": "platt", "parameters": {"slope": [1, 2], "intercept": [0]}},
        {"kind": "isotonic", "parameters": {"x": [[0, 1]], "y": [[1, 0]]}},
        {"kind": "isotonic", "parameters": {"x": [[0, 1]], "y": [[0.1]]}},
    ],
)
def test_a_broken_calibration_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(EcgError, match="calibration"):
        Calibration.from_dict(bad)


# -- thresholds ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ties", [False, True])
def test_thresholds_are_the_best_there_are(ties: bool) -> None:
    truth, z = honest(150)
    p = np.round(expit(z), 1) if ties else expit(z)
    truth[:20, 0] = np.nan
    candidates = np.unique(np.concatenate([p.ravel() - 1e-9, p.ravel() + 1e-9]))
    table = [count(truth, decide(p, t)) for t in candidates]
    best_f1 = np.max([f1(c) for c in table], axis=0)
    best_youden = np.max([c.tp / c.positives - c.fp / c.negatives for c in table], axis=0)
    np.testing.assert_allclose(f1(count(truth, decide(p, choose_thresholds(truth, p, "f1")))), best_f1)
    at = count(truth, decide(p, choose_thresholds(truth, p, "youden")))
    np.testing.assert_allclose(at.tp / at.positives - at.fp / at.negatives, best_youden)
    chosen = choose_thresholds(truth, p, "sensitivity:0.9")
    at = count(truth, decide(p, chosen))
    assert (at.tp / at.positives >= 0.9).all()
    for k in range(3):  # and no higher one would do
        higher = np.unique(p[p[:, k] >= chosen[k], k])[0] + 1e-9
        above = count(truth[:, k], decide(p[:, k], higher))
        assert above.tp / above.positives < 0.9
    assert choose_thresholds(np.zeros((5, 1)), np.zeros((5, 1)))[0] == 0.5
    with pytest.raises(EcgError, match="no rule"):
        choose_thresholds(truth, p, "best")


# -- comparison ---------------------------------------------------------------------------------------------------------------


def brute_delong(y: Floats, a: Floats, b: Floats) -> tuple[float, float]:
    """Difference of the areas and its variance, straight from DeLong et al.'s definitions, pair by pair."""
    x, z = np.flatnonzero(y == 1), np.flatnonzero(y == 0)
    psi = [np.array([[(s[i] > s[j]) + (s[i] == s[j]) / 2 for j in z] for i in x]) for s in (a, b)]
    areas = [p.mean() for p in psi]
    s10 = np.cov([p.mean(1) for p in psi])
    s01 = np.cov([p.mean(0) for p in psi])
    contrast = np.array([1, -1])
    return areas[0] - areas[1], float(contrast @ (s10 / len(x) + s01 / len(z)) @ contrast)


@pytest.mark.parametrize("ties", [False, True])
def test_delong_is_its_definition(ties: bool) -> None:
    rng = np.random.default_rng(0)
    y = (rng.random(120) < 0.3).astype(float)
    a, b = rng.normal(size=120) + y, rng.normal(size=120) + 0.5 * y
    if ties:
        a, b = np.round(a), np.round(b)
    found = delong(y, a, b)
    difference, variance = brute_delong(y, a, b)
    assert found.difference == pytest.approx(difference)
    assert (found.high - found.low) / 2 / 1.959964 == pytest.approx(np.sqrt(variance), rel=1e-6)
    assert found.a == pytest.approx(roc_auc_score(y, a))
    alone = delong(y, a, b, np.arange(120))  # one record a patient: clustered is plain
    assert alone.p == pytest.approx(found.p, rel=1e-9)
    assert delong(y, a, a).p == 1


def test_delong_clustered_does_not_take_copies_for_patients() -> None:
    rng = np.random.default_rng(0)
    y = (rng.random(150) < 0.4).astype(float)
    a, b = rng.normal(size=150) + y, rng.normal(size=150) + y
    once = delong(y, a, b)
    y3, a3, b3 = (np.repeat(v, 3) for v in (y, a, b))
    thrice = delong(y3, a3, b3, np.repeat(np.arange(150), 3))
    assert thrice.high - thrice.low == pytest.approx(once.high - once.low, rel=1e-9)
    naive = delong(y3, a3, b3)
    assert naive.high - naive.low < 0.62 * (once.high - once.low)


def test_tests_of_equal_models_find_nothing_too_often() -> None:
    rng = np.random.default_rng(1)
    p_delong, p_bootstrap = [], []
    for seed in range(100):
        y = np.repeat([1.0, 0], [50, 100])
        a, b = expit(rng.normal(size=(2, 150)) + y)
        p_delong.append(delong(y, a, b).p)
        p_bootstrap.append(paired_bootstrap(y, a, b, macro_auroc, "auroc", draws=500, seed=seed).p)
    assert sum(p < 0.05 for p in p_delong) <= 12 and sum(p < 0.05 for p in p_bootstrap) <= 12
    assert np.corrcoef(p_delong, p_bootstrap)[0, 1] > 0.95


def test_compare_finds_the_better_model() -> None:
    truth, z = honest(600)
    worse = expit(z + np.random.default_rng(2).normal(size=z.shape) * 3)
    rows = compare(truth, expit(z), worse, ["A", "B", "C"], np.arange(600) // 2, draws=500)
    assert [r.metric for r in rows] == ["macro_auroc", "macro_average_precision", "auroc of A", "auroc of B", "auroc of C"]
    assert all(r.difference > 0 and r.low > 0 and r.p < 0.05 for r in rows)
    assert all(r.low < r.difference < r.high for r in rows)
    at_half = paired_bootstrap(truth, expit(z), worse, macro_f1(np.full(3, 0.5)), "macro_f1", draws=500)
    assert at_half.difference > 0
    assert "DeLong" in str(rows[2])


# -- selective prediction -----------------------------------------------------------------------------------------------------


def test_risk_coverage_by_hand() -> None:
    found = risk_coverage([0, 1, 0, 1], [0.9, 0.8, 0.7, 0.6])
    np.testing.assert_allclose(found.risk, [0, 1 / 2, 1 / 3, 1 / 2])
    assert found.aurc == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    assert found.excess == pytest.approx(found.aurc - (0 + 0 + 1 / 3 + 1 / 2) / 4)
    assert found.at(0.75) == pytest.approx(1 / 3) and found.answerable(0.34) == 0.75 and found.answerable(-1) == 0


def test_ties_in_confidence_have_no_order() -> None:
    error, certain = np.array([1.0, 0, 1, 0]), np.full(4, 0.5)
    np.testing.assert_allclose(risk_coverage(error, certain).risk, 0.5)
    np.testing.assert_allclose(risk_coverage(error[::-1], certain).risk, 0.5)


def test_a_certain_model_is_right_where_it_answers() -> None:
    truth, z = honest(5000)
    truth[0] = np.nan
    error = mistakes(truth, decide(expit(z)))
    assert np.isnan(error[0])
    found = risk_coverage(error, confidence(expit(z)))
    assert found.at(0.3) < 0.7 * found.at(1.0)
    assert found.at(1.0) == pytest.approx(np.nanmean(error))


# -- robustness ---------------------------------------------------------------------------------------------------------------

# ExChanGeAI, tables 1 and S4: nine scores a model, rows in the paper's order, and its mean, median, IQR, CV.
WEIGHTED = {
    "XceptionTime baseline": ([0.335, 0.371, 0.432, 0.753, 0.566, 0.730, 0.825, 0.739, 0.750], (0.611, 0.730, 0.318, 0.308)),
    "XceptionTime": ([0.647, 0.374, 0.387, 0.734, 0.484, 0.101, 0.820, 0.827, 0.688], (0.562, 0.647, 0.347, 0.433)),
    "InceptionTime": ([0.064, 0.358, 0.379, 0.726, 0.584, 0.792, 0.819, 0.732, 0.645], (0.567, 0.645, 0.353, 0.443)),
    "CardX": ([0.644, 0.208, 0.263, 0.502, 0.625, 0.610, 0.571, 0.826, 0.614], (0.540, 0.610, 0.123, 0.358)),
    "DSAIL SNU": ([0.585, 0.323, 0.331, 0.336, 0.343, 0.496, 0.333, 0.622, 0.635], (0.445, 0.343, 0.252, 0.310)),
    "ECG-FM": ([0.173, 0.355, 0.216, 0.403, 0.532, 0.617, 0.087, 0.248, 0.603], (0.359, 0.355, 0.316, 0.538)),
}
MACRO = {
    "XceptionTime baseline": ([0.112, 0.278, 0.293, 0.753, 0.546, 0.548, 0.825, 0.741, 0.750], (0.538, 0.645, 0.457, 0.475)),
    "XceptionTime": ([0.430, 0.280, 0.266, 0.734, 0.469, 0.282, 0.820, 0.821, 0.688], (0.532, 0.579, 0.452, 0.442)),
    "InceptionTime": ([0.021, 0.269, 0.379, 0.726, 0.570, 0.648, 0.819, 0.733, 0.546], (0.523, 0.609, 0.347, 0.491)),
    "CardX": ([0.171, 0.117, 0.143, 0.499, 0.630, 0.276, 0.439, 0.820, 0.614], (0.412, 0.469, 0.443, 0.606)),
    "DSAIL SNU": ([0.242, 0.243, 0.219, 0.336, 0.352, 0.404, 0.333, 0.630, 0.635], (0.377, 0.344, 0.161, 0.416)),
    "ECG-FM": ([0.070, 0.136, 0.108, 0.410, 0.495, 0.306, 0.166, 0.302, 0.603], (0.288, 0.304, 0.274, 0.643)),
}


@pytest.mark.parametrize("model", WEIGHTED)
def test_the_aggregates_of_table_1_come_out(model: str) -> None:
    scores, printed = WEIGHTED[model]
    found = robustness(scores)
    for ours, theirs in zip((found.mean, found.median, found.iqr, found.cv), printed, strict=True):
        assert abs(ours - theirs) < 0.00051, (ours, theirs)


@pytest.mark.parametrize("model", MACRO)
def test_of_table_s4_all_but_the_medians_come_out(model: str) -> None:
    scores, (mean, median, iqr, cv) = MACRO[model]
    found = robustness(scores)
    assert abs(found.mean - mean) < 0.00051 and abs(found.iqr - iqr) < 0.00051 and abs(found.cv - cv) < 0.00051
    assert abs(found.median - median) > 0.0015  # the printed medians are not those of the nine printed rows ...
    assert abs(np.median(scores[1:]) - median) < 0.00051  # ... but of the last eight


def test_robustness_needs_two() -> None:
    assert robustness([0.5, np.nan, 0.7]).scores == 2
    with pytest.raises(EcgError, match="at least two"):
        robustness([0.5])


# -- subgroups ----------------------------------------------------------------------------------------------------------------


def test_age_bands() -> None:
    assert age_bands([3, 18, 39.5, 60, 75, 90, np.nan]) == ["< 18", "18-39", "18-39", "60-74", ">= 75", ">= 75", None]


def test_a_planted_gap_is_found_and_small_groups_are_told() -> None:
    truth, z = honest(1500)
    sex: list[str | None] = ["female" if i % 2 else "male" for i in range(1500)]
    z[1::2] = np.random.default_rng(5).normal(size=(750, 3))  # the model knows nothing of women
    site: list[str | None] = ["A"] * 1490 + [None] * 10
    found = {(g.grouping, g.value): g for g in subgroups(truth, expit(z), list("ABC"), {"sex": sex, "site": site}, draws=500)}
    women, men, few = found["sex", "female"], found["sex", "male"], found["site", "unknown"]
    assert women.gaps["macro_auroc"].high < -0.2 and men.gaps["macro_auroc"].low > 0.2
    assert women.figures["macro_auroc"].low < 0.5 < women.figures["macro_auroc"].high
    assert men.figures["macro_auroc"].value == pytest.approx(float(auroc(truth[::2], expit(z[::2])).mean()))
    assert any("10 patients" in w for w in few.warnings) and not women.warnings
    assert "sex female: 750 records" in table(list(found.values()))


def test_every_brute_pair_of_bootstrap_metrics_is_finite_or_counted() -> None:
    truth, z = honest(60, 2)
    truth[:, 1] = 0
    truth[0, 1] = 1
    for metric, draws in product((macro_auroc, macro_f1(None)), (500,)):
        found = paired_bootstrap(truth, expit(z), expit(-z), metric, "x", draws=draws)
        assert np.isfinite([found.difference, found.low, found.high, found.p]).all()
