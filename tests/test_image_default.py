"""The default image model: where leads run, targets are the figures, and the whole recipe runs to a Bundle."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from data_examples import put, table  # noqa: E402

from einthoven.record import STANDARD_LEADS, EcgError  # noqa: E402
from einthoven.represent.features import FIGURES, NAMES  # noqa: E402
from einthoven.synth import simulate  # noqa: E402
from einthoven.train.image_default.recipe import Pool, Recipe, Teacher, Training  # noqa: E402

RECIPE = Path(__file__).resolve().parent.parent / "recipes" / "image-default.yaml"
TINY: dict[str, Any] = {"widths": [4, 8, 8, 8], "heads": 2, "look": 8, "width": 16, "focus": 2, "depth": 1, "blocks": [1, 1]}


def ptbxl(folder: Path) -> Path:
    """Eight records in PTB-XL's layout: folds 1 and 2 to train on, 8 and 9, in each a normal one and one with all the rest."""
    rows: list[dict[str, object]] = []
    ill = "{'IMI': 100.0, 'NDT': 100.0, 'CLBBB': 100.0, 'LVH': 100.0, 'SR': 0.0}"
    plan = [(fold, codes, c) for fold in (1, 2, 8, 9) for codes, c in (("{'NORM': 100.0, 'SR': 0.0}", ()), (ill, ("lbbb",)))]
    for k, (fold, codes, conditions) in enumerate(plan):
        made = simulate(*conditions, fs=100.0, seed=k).record
        lr = f"records100/00000/{k + 1:05d}_lr"
        put(folder / f"{lr}.hea", np.round(made.signal * 1000).astype(np.int16), 100.0)
        rows.append(
            {"ecg_id": k + 1, "patient_id": f"{k}.0", "age": "50", "sex": 0, "site": "0.0", "device": "CS-12", "report": ""}
            | {"scp_codes": codes, "strat_fold": fold, "filename_lr": lr, "filename_hr": lr}
        )
    table(folder / "ptbxl_database.csv", rows)
    (folder / "scp_statements.csv").write_text(",description,diagnostic\n", encoding="utf-8")
    return folder


def tiny() -> Recipe:
    return Recipe(
        name="tiny",
        train_folds=(1, 2),
        min_positives=2,
        model=TINY,
        pool=Pool(("clean", "photo"), width=64, height=64, views=1, simulations=2, simulated_views=1, pictures=6),
        teacher=Teacher(parts=2),
        training=Training(steps=3, batch=4, warm=1),
        judged_views=1,
    )


def test_a_lead_map_lies_on_the_ink() -> None:
    from einthoven.paper.dataset import Plan, picture
    from einthoven.train.image_default.pool import CELL, lead_maps

    record = simulate(fs=100.0, seed=3).record
    made = picture(record, Plan("photo", "standard", seed=5, size=(448, 352)), 0)
    maps = lead_maps(made.truth, record, (448, 352))
    assert maps.shape == (12, 352 // CELL, 448 // CELL)
    assert np.abs(maps.astype(int).sum((1, 2)) - 255).max() < 20  # each lead is printed, and all of it lies in the picture
    for lead in ("I", "V6"):
        strip = next(s for s in made.truth.page.strips if s.lead == lead)
        x, y = made.truth.to_pixel(
            strip, strip.start + 1.0, float(record.signal[record.leads.index(lead), round((strip.start + 1.0) * 100)])
        )
        assert maps[STANDARD_LEADS.index(lead), int(y) // CELL, int(x) // CELL] > 0


def test_targets_are_the_figures() -> None:
    from einthoven.train.image_default.targets import LEAD_NAMES, PAGE_NAMES, targets

    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, len(NAMES))).astype(np.float32)
    x[3, NAMES.index("V2.r_mv")] = np.nan
    x[:, NAMES.index("rule.paced")] = 0.0
    made = targets(x, np.arange(40))
    figure = made.lead[:, STANDARD_LEADS.index("V2"), LEAD_NAMES.index("r_mv")]
    assert np.isnan(figure[3]) and np.isfinite(np.delete(figure, 3)).all()
    known = np.delete(np.arange(50), 3)
    assert np.corrcoef(figure[known], x[known, NAMES.index("V2.r_mv")])[0, 1] > 0.99
    assert np.isnan(made.page[:, PAGE_NAMES.index("rule.paced")]).all()  # it never varies
    assert "age" not in PAGE_NAMES and 12 * len(LEAD_NAMES) + len(PAGE_NAMES) + 2 == len(FIGURES)
    np.testing.assert_allclose(np.sinh(2 * made.beat.reshape(50, -1)) * 0.1, x[:, len(FIGURES) :], rtol=1e-4, atol=1e-5)


def test_a_simulation_tells_what_is_true_of_it(tmp_path: Path) -> None:
    from einthoven.data.load import load
    from einthoven.train.image_default.material import _planted
    from einthoven.train.image_default.pool import Ecgs

    ecgs = Ecgs(load(ptbxl(tmp_path), jobs=1), 3, 0)
    made = ecgs.simulation(9)
    figures, _ = _planted(9, ecgs=ecgs)
    np.testing.assert_array_equal(ecgs[9].signal, made.record.signal)
    assert figures[NAMES.index("qrs_ms")] == pytest.approx(made.truth["qrs_ms"])
    assert figures[NAMES.index("aVF.st_j_mv")] == pytest.approx(made.truth["j_mv"]["aVF"])
    assert np.isnan(figures[NAMES.index("quality")])


def test_the_recipe_runs_to_a_bundle(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("onnxscript")
    import yaml

    from einthoven.exchange.predict import Predictor
    from einthoven.paper.render import draw, prepare
    from einthoven.train.image_default.run import run

    data, out = ptbxl(tmp_path / "ptbxl"), tmp_path / "out"
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(plain(dataclasses.asdict(tiny()))), encoding="utf-8")
    assert Recipe.read(recipe) == tiny()
    run(recipe, data, out, test=True, looks=1, jobs=1, workers=1)
    predictor = Predictor.load(out / "tiny")
    record = simulate(fs=100.0, seed=11).record
    page = prepare(record, dpi=60.0)
    told = predictor.predict_picture(draw(record, page).rgb()).labels
    assert tuple(told)[:5] == ("NORM", "MI", "STTC", "CD", "HYP") and all(0 <= p <= 1 for p in told.values())
    assert {one.role for one in predictor.manifest.metrics} == {"test", "validation"}
    weights = next(out.glob("learned-*")) / "weights-3.pt"
    before = torch.load(weights, weights_only=True)
    weights.unlink()  # cut off at the end: goes on at the last checkpoint, and ends the same
    run(recipe, data, out, test=False, looks=1, jobs=1, workers=1)
    after = torch.load(weights, weights_only=True)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_run_may_be_made_longer_before_its_rate_falls(tmp_path: Path) -> None:
    from einthoven.train.checkpoint import write
    from einthoven.train.image_default.learn import _before, falls_at, rate_at

    words = Training(steps=100, warm=10, fall=0.3)
    assert falls_at(words) == 70 and rate_at(70, words) == words.rate > rate_at(71, words)
    assert rate_at(99, words) == pytest.approx(words.rate / 30)
    write(tmp_path / "level.pt", {"step": 70, "steps": 100})
    ended = {"step": 100, "steps": 100}
    assert _before(tmp_path, ended, words) is ended
    assert _before(tmp_path, ended, dataclasses.replace(words, steps=200))["step"] == 70
    with pytest.raises(EcgError, match="falls before"):
        _before(tmp_path, ended, dataclasses.replace(words, steps=50))


def plain(x: Any) -> Any:
    if isinstance(x, dict):
        return {k: plain(v) for k, v in x.items()}
    return [plain(v) for v in x] if isinstance(x, list | tuple) else x


def test_the_recipe_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    assert Recipe.read(RECIPE).train_folds == (1, 2, 3, 4, 5, 6, 7)
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("training: {steps: 3, epochs: 4}\n")
    with pytest.raises(EcgError, match=r"training\.epochs"):
        Recipe.read(wrong)
    with pytest.raises(EcgError, match="multiples of 32"):
        Recipe(pool=Pool(width=450))
    with pytest.raises(EcgError, match="not two of these"):
        Recipe(validation_folds=(7,))
