"""The default model: its members as arrays equal the libraries that made them, its graph equals its members, and what ships
says of planted ECGs and of fold 9 what its card claims."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from einthoven.record import EcgError
from einthoven.represent.features import FIGURES, NAMES
from einthoven.synth import simulate

A = len(FIGURES)
RECIPE = Path(__file__).resolve().parent.parent / "recipes" / "default.yaml"


def material(n: int = 160, views: int = 2, labels: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features in which the first figures decide the labels, some unknown."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(1, n, len(NAMES))) + 0.1 * rng.normal(size=(views, n, len(NAMES)))
    truth = (x[0, :, 2 : 2 + labels] > 0).astype(np.float32)
    x[:, rng.random(n) < 0.1, 5] = np.nan
    x[..., A:] = np.where(rng.random(x[..., A:].shape) < 0.05, np.nan, x[..., A:])
    truth[rng.random(truth.shape) < 0.05] = np.nan
    return x.astype(np.float32), truth


def test_forest_is_sklearns() -> None:
    pytest.importorskip("sklearn")
    from sklearn.ensemble import ExtraTreesClassifier

    from einthoven.train.default.recipe import ExtraTrees
    from einthoven.train.default.trees import extra_trees

    x = np.random.default_rng(1).normal(size=(200, 12)).astype(np.float32)
    y = (x[:, :2] > 0.2).astype(np.float32)
    ours = extra_trees(x, y, ExtraTrees(trees=9, leaf=3, share=0.5), seed=4)(x)
    for k in range(2):
        forest = ExtraTreesClassifier(9, min_samples_leaf=3, max_features=0.5, random_state=4000 + k).fit(x, y[:, k])
        np.testing.assert_allclose(ours[:, k], forest.predict_proba(x)[:, 1], atol=1e-6)


def test_boosting_is_sklearns() -> None:
    pytest.importorskip("sklearn")
    from sklearn.ensemble import HistGradientBoostingClassifier

    from einthoven.train.default.recipe import Boosting
    from einthoven.train.default.trees import boosted

    x = np.random.default_rng(2).normal(size=(300, 12)).astype(np.float32)
    y = (x[:, :1] + x[:, 1:2] ** 2 > 0.7).astype(np.float32)
    how = Boosting(rounds=12, leaves=5, leaf=7, share=0.5)
    models = [
        HistGradientBoostingClassifier(
            max_iter=12,
            learning_rate=how.rate,
            max_leaf_nodes=5,
            min_samples_leaf=7,
            l2_regularization=how.l2,
            max_features=0.5,
            early_stopping=False,
            random_state=bag,
        ).fit(x, y[:, 0])
        for bag in range(2)
    ]
    expected = np.mean([m.decision_function(x) for m in models], axis=0)
    np.testing.assert_allclose(boosted(x, y, how, seed=0, bags=[2])(x)[:, 0], expected, atol=1e-5)


def test_a_threshold_lets_the_same_float32_pass() -> None:
    from einthoven.train.default.trees import _joined

    wide = np.nextafter(np.float64(np.float32(0.1)), -np.inf)  # just below a float32: that one must not pass
    one = (np.array([0, -1, -1]), np.array([wide, 0, 0]), np.array([1, 0, 0]), np.array([2, 0, 0]), np.array([0, 1.0, 2.0]), 0)
    trees = _joined([one], np.zeros(1))
    assert trees(np.array([[np.float32(0.1)]], np.float32))[0, 0] == 2.0
    assert trees(np.array([[np.nextafter(np.float32(0.1), np.float32(0))]], np.float32))[0, 0] == 1.0


def test_ranks_are_normal_and_the_usual_is_zero() -> None:
    torch = pytest.importorskip("torch")
    from einthoven.models.measured.beat_figures import Ranks, knots

    rng = np.random.default_rng(3)
    x = np.exp(rng.normal(size=(1, 4000, A))).astype(np.float32)
    x[..., 1] = np.where(rng.random((1, 4000)) < 0.9, 0, x[..., 1])  # nearly always the same
    x[..., 2] = np.nan
    y = Ranks(knots(x))(torch.tensor(x[0])).numpy()
    assert abs(y[:, 0].mean()) < 0.05 and y[:, 0].std() == pytest.approx(1, abs=0.15)
    assert np.all(y[x[0, :, 1] == 0, 1] == 0) and np.all(y[:, 2] == 0)
    order = np.argsort(x[0, :, 0])
    assert (np.diff(y[order, 0]) >= 0).all()


def test_the_graph_is_its_members() -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnx")
    from einthoven.exchange.predict import session
    from einthoven.train.default.graph import build
    from einthoven.train.default.members import blend, fit, logits, names
    from einthoven.train.default.recipe import Boosting, ExtraTrees, Network, Recipe

    torch.set_num_threads(1)
    recipe = Recipe(
        extra_trees=ExtraTrees(trees=4, leaf=5),
        boosting=Boosting(bags=2, rounds=5, leaf=10),
        network=Network(seeds=2, epochs=3, batch=32),
    )
    views, truth = material()
    members = {name: fit(name, views, truth, 2, recipe) for name in names(recipe)}
    features = views[1, :40]
    told = {name: logits(name, member, features) for name, member in members.items()}
    assert told["extra_trees"].shape == (40, 2) and told["boosted"].shape == (40, 3)
    graph = session(build(members, 2).SerializeToString())
    for rows in (slice(0, 1), slice(0, 40)):
        found, embedding = graph.run(["logits", "embedding"], {"features": features[rows]})
        np.testing.assert_allclose(found, blend({n: t[rows] for n, t in told.items()}, 2), atol=2e-4)
        assert embedding.shape == (len(found), 256)
    fewer = session(build(members, 2, [0, 2]).SerializeToString()).run(["logits"], {"features": features})[0]
    np.testing.assert_array_equal(fewer, found[:, [0, 2]])
    again = fit("network1", views, truth, 2, recipe)
    assert all(np.array_equal(again[key], members["network1"][key]) for key in again)


def test_planted_conditions_count_as_readers_file_them() -> None:
    from einthoven.statements import SUPERCLASSES
    from einthoven.train.default.simulated import superclasses

    def told(*labels: str) -> set[str]:
        return {name for name, one in zip(SUPERCLASSES, superclasses(labels), strict=True) if one == 1}

    assert told("sinus_tachycardia") == told("sinus_rhythm", "swap_ra_la") == {"NORM"}
    assert told("atrial_fibrillation") == set()
    assert told("sinus_rhythm", "old_mi_inferior") == {"MI"} and told("sinus_rhythm", "digitalis") == {"STTC"}
    assert told("sinus_rhythm", "lbbb") == {"CD"} and told("atrial_fibrillation", "lvh") == {"HYP"}
    assert np.isnan(superclasses(("ventricular_pacing",))).all()


def test_networks_begin_with_simulations() -> None:
    torch = pytest.importorskip("torch")
    from einthoven.train.default.network import train
    from einthoven.train.default.recipe import Network

    torch.set_num_threads(1)
    views, truth = material()
    how = Network(epochs=3, batch=32, first_epochs=3)
    first = (views[0, :64], np.where(np.arange(64)[:, None] % 2, truth[:64, :2], np.nan))
    plain, warm, again = (train(views, truth, 2, how, 0, start) for start in (None, first, first))
    assert not torch.equal(plain.head.weight, warm.head.weight) and torch.equal(warm.head.weight, again.head.weight)
    assert torch.equal(plain.ranks.start, warm.ranks.start)  # ranks are those of real ECGs


def test_parts_are_whole_folds() -> None:
    from einthoven.train.default.members import grouped

    folds = np.array([1, 2, 3, 4, 9, 1, 8])
    part = grouped(folds, (1, 2, 3, 4, 5, 6, 7, 8), 4)
    assert part.tolist() == [0, 0, 1, 1, -1, 0, 3]


def test_the_recipe_is_the_one_that_shipped_and_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    from dataclasses import asdict

    from einthoven.exchange.predict import Predictor
    from einthoven.train.default.recipe import Recipe

    recipe = Recipe.read(RECIPE)
    kept = Predictor.load(recipe.name).manifest.training.recipe
    assert kept == _plain(asdict(recipe))
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("network: {epoch: 3}\n")
    with pytest.raises(EcgError, match=r"epoch"):
        Recipe.read(wrong)


def _plain(words: object) -> object:
    if isinstance(words, dict):
        return {k: _plain(v) for k, v in words.items()}
    return [_plain(v) for v in words] if isinstance(words, list | tuple) else words


def test_a_view_is_the_same_whatever_comes_before_it() -> None:
    pytest.importorskip("torch")
    from einthoven.train.default.recipe import View
    from einthoven.train.default.views import seen

    record = simulate("sinus_rhythm", fs=100.0, seed=5).record
    view = View(gain=0.1, noise_mv=0.02)
    assert np.array_equal(seen(record, view, 0).signal, seen(record, view, 0).signal)
    assert not np.array_equal(seen(record, view, 0).signal, seen(record, view, 1).signal)
    assert seen(record, View(start=3.0, stop=10.0), 0).duration == pytest.approx(7.0)


def test_what_ships_knows_planted_ecgs() -> None:
    from einthoven.exchange.predict import Predictor

    model = Predictor.load("einthoven-12")
    normal = model.predict(simulate("sinus_rhythm", rate=70, age=40, fs=500.0, noise=25, seed=8).record).labels
    block = model.predict(simulate("lbbb", rate=70, age=70, fs=500.0, noise=25, seed=8).record).labels
    fibrillation = model.predict(simulate("atrial_fibrillation", rate=95, fs=500.0, noise=25, seed=8).record).labels
    assert normal["NORM"] > 0.5 > max(normal[n] for n in ("MI", "CD", "HYP"))
    assert block["CD"] > 0.8 and block["NORM"] < 0.1 and block["CLBBB"] > normal["CLBBB"]
    assert fibrillation["AFIB"] > 0.5 > normal["AFIB"]
    assert list(normal)[:5] == ["NORM", "MI", "STTC", "CD", "HYP"]


def test_the_card_tells_the_truth_of_fold_9(shared_data: Path) -> None:
    from einthoven.data.labels import labels_of
    from einthoven.data.load import load
    from einthoven.evaluate.calibration import ece
    from einthoven.evaluate.metrics import auroc
    from einthoven.exchange.predict import Predictor

    model = Predictor.load("einthoven-12")
    index = load(shared_data / "ptbxl")
    rows = np.flatnonzero(index.column("fold") == 9)[::2]  # half of them: an exact part of what the card counts
    truth = labels_of(index, "superclass").matrix[rows]
    found = np.array([list(model.predict(index.record(int(i))).labels.values())[:5] for i in rows])
    claimed = {f.name: f for f in model.manifest.metrics[0].figures if f.label is None}["macro_auroc"]
    assert claimed.low is not None and claimed.low - 0.02 < auroc(truth, found).mean()
    assert ece(truth.reshape(-1, 1), found.reshape(-1, 1))[0] <= 0.05
    assert claimed.value >= 0.940


def test_age_and_sex_are_not_needed() -> None:
    from einthoven.exchange.predict import Predictor
    from einthoven.record import Patient

    model = Predictor.load("einthoven-12")
    record = simulate("lvh", age=60, sex="male", fs=100.0, seed=2).record
    told = model.predict(replace(record, patient=Patient())).labels
    assert all(0 <= p <= 1 for p in told.values())
