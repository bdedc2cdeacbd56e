"""CardX's pre-training: each term is what numpy says, what is unknown teaches nothing, the loss falls, and a run cut off ends
with the weights of one that was not."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

from einthoven.beats.align import align  # noqa: E402
from einthoven.io import write  # noqa: E402
from einthoven.models.convert import contents, load, pretrained  # noqa: E402
from einthoven.models.table import build  # noqa: E402
from einthoven.record import EcgError  # noqa: E402
from einthoven.signal.presets import prepared  # noqa: E402
from einthoven.synth import CONDITIONS, simulate  # noqa: E402
from einthoven.train import pretrain_cardx  # noqa: E402
from einthoven.train.pretrain_cardx import (  # noqa: E402
    FIGURES,
    STATE,
    SUMMARY,
    TERMS,
    Batch,
    Example,
    Feed,
    Indexed,
    PretrainRecipe,
    Shelf,
    Source,
    Synth,
    mmd,
    picture,
    pretrain,
    stack,
    terms,
)

torch.set_num_threads(1)

TINY = {"width": 2, "embedding": 16}


class Made(Source):
    """Twelve leads of one sine whose pitch is the label, its picture the same at half the height; 250 samples."""

    def __init__(self, train: int = 16, held: int = 6) -> None:
        self.train, self.held, self.datasets, self.features, self.spread = train, held, ("a", "b"), ("slow",), 0.5

    def example(self, epoch: int, place: int) -> Example:
        rng = np.random.default_rng([epoch, place])
        slow = place % 2
        wave = np.sin(np.arange(250) / (20 if slow else 5) + rng.uniform(0, 6)) * rng.uniform(0.8, 1.2, (12, 1))
        wave = wave.astype(np.float32)
        aligned = wave / 2
        aligned[:, 240:] = np.nan
        return Example(wave, aligned, 400.0 + 40 * slow, slow, np.array([slow], np.float32))

    def kept(self, place: int) -> Example:
        return self.example(10_000, place)


def recipe(**changes: object) -> PretrainRecipe:
    words = {"model": TINY, "batch": 8, "epochs": 3, "device": "cpu", "checkpoint_every": 1, **changes}
    return PretrainRecipe.from_dict(words)


def rows(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / FIGURES).read_text().splitlines()]


# ---- the terms -----------------------------------------------------------------------------------------------------------


def test_mmd_is_its_definition() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(0.3, 1.2, (7, 5)), rng.normal(0, 1, (9, 5))

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.mean([np.exp(-((a - b) ** 2).sum() / (w * 2 * 5)) for w in (0.25, 0.5, 1, 2, 4)]))

    xx = np.mean([kernel(x[i], x[j]) for i in range(7) for j in range(7) if i != j])
    yy = np.mean([kernel(y[i], y[j]) for i in range(9) for j in range(9) if i != j])
    xy = np.mean([kernel(a, b) for a in x for b in y])
    assert float(mmd(torch.tensor(x), torch.tensor(y))) == pytest.approx(xx + yy - 2 * xy, abs=1e-12)


def test_mmd_knows_the_same_from_another() -> None:
    torch.manual_seed(0)
    same = torch.stack([mmd(torch.randn(64, 8), torch.randn(64, 8)) for _ in range(50)])
    assert abs(float(same.mean())) < 3 * float(same.std()) / 50**0.5 + 1e-3  # unbiased
    assert float(mmd(torch.randn(64, 8) + 1, torch.randn(64, 8))) > 10 * float(same.std())
    assert float(mmd(torch.randn(64, 8) * 0.1, torch.randn(64, 8))) > 10 * float(same.std())


def planted() -> tuple[dict[str, torch.Tensor], Batch]:
    rng = np.random.default_rng(1)
    said = {
        "aligned": torch.tensor(rng.normal(size=(3, 2, 4)), dtype=torch.float32),
        "qtc": torch.tensor(rng.normal(size=3), dtype=torch.float32),
        "dataset": torch.tensor(rng.normal(size=(3, 2)), dtype=torch.float32),
        "features": torch.tensor(rng.normal(size=(3, 2)), dtype=torch.float32),
    }
    aligned = torch.tensor(rng.normal(size=(3, 2, 4)), dtype=torch.float32)
    aligned[0, :, 3] = math.nan
    features = torch.tensor([[1.0, 0.0], [math.nan, math.nan], [0.0, math.nan]])
    batch = Batch(torch.zeros(3, 2, 4), aligned, torch.tensor([430.0, math.nan, 380.0]), torch.tensor([1, -1, 0]), features)
    return said, batch


def test_terms_are_what_numpy_says() -> None:
    said, batch = planted()
    aux = {"balance_loss": torch.tensor(1.25), "entropy_loss": torch.tensor(0.5)}
    embedding, prior = torch.randn(3, 4), torch.randn(3, 4)
    found = {k: float(v) for k, v in terms(embedding, said, aux, batch, prior, 0.2).items()}
    assert tuple(found) == TERMS
    drawn = (said["aligned"] - batch.aligned).numpy().ravel()
    assert found["reconstruction"] == pytest.approx(np.nanmean(drawn**2) / 0.04, rel=1e-5)
    assert found["mmd"] == pytest.approx(float(mmd(embedding, prior)))
    qtc = said["qtc"].numpy()
    assert found["qtc"] == pytest.approx(((qtc[0] - 0.25) ** 2 + (qtc[2] + 1.0) ** 2) / 2, rel=1e-5)
    of = said["dataset"].numpy().astype(float)
    softmax = np.exp(of) / np.exp(of).sum(1, keepdims=True)
    assert found["dataset"] == pytest.approx(-(np.log(softmax[0, 1]) + np.log(softmax[2, 0])) / 2, rel=1e-5)
    p = 1 / (1 + np.exp(-said["features"].numpy().astype(float)))
    wanted = -(np.log(p[0, 0]) + np.log(1 - p[0, 1]) + np.log(1 - p[2, 0])) / 3
    assert found["features"] == pytest.approx(wanted, rel=1e-5)
    assert (found["balance"], found["entropy"]) == (1.25, 0.5)


def test_what_is_unknown_teaches_nothing() -> None:
    said, batch = planted()
    for value in said.values():
        value.requires_grad_(True)
    aux = {"balance_loss": torch.zeros(()), "entropy_loss": torch.zeros(())}
    sum(terms(torch.randn(3, 4), said, aux, batch, torch.randn(3, 4), 1.0).values()).backward()
    assert not said["aligned"].grad[0, :, 3].any() and said["aligned"].grad[0, :, 2].all()
    assert [bool(g) for g in said["qtc"].grad] == [True, False, True]
    assert said["features"].grad.bool().tolist() == [[True, True], [False, False], [True, False]]
    assert said["dataset"].grad.any(1).tolist() == [True, False, True]
    nothing = batch._replace(qtc=torch.full((3,), math.nan), aligned=torch.full((3, 2, 4), math.nan))
    found = terms(torch.randn(3, 4), said, aux, nothing, torch.randn(3, 4), 1.0)
    assert not found["qtc"].any() and not found["reconstruction"].any()


# ---- examples ------------------------------------------------------------------------------------------------------------


def test_an_example_is_the_ecg_and_its_aligned_picture() -> None:
    made = simulate("sinus_rhythm", rate=80, seed=3)
    signal, drawn = picture(made.record, made.beats, "cardx")
    seen = prepared("cardx", made.record)
    np.testing.assert_array_equal(signal, seen.signal)
    np.testing.assert_array_equal(drawn, align(seen, made.beats, bpm=60, seconds=10).signal)
    peaks = np.abs(drawn).sum(0)[1::100]  # R stands at 10 ms and then every second
    assert (peaks > 5 * np.abs(drawn).sum(0).mean()).all()


def test_synth_makes_new_ecgs_every_epoch() -> None:
    source = Synth(recipe(records=10))
    assert (source.train, source.held, source.features) == (10, 2, tuple(CONDITIONS))
    first, again, later, held = source.example(0, 1), source.example(0, 1), source.example(1, 1), source.kept(1)
    np.testing.assert_array_equal(first.signal, again.signal)
    assert not np.array_equal(first.signal, later.signal) and not np.array_equal(first.signal, held.signal)
    assert first.signal.shape == first.aligned.shape == (12, 1000) and set(first.features) <= {0.0, 1.0}
    assert first.features.sum() >= 1 and source.spread > 0.02


def test_processes_share_a_batch() -> None:
    whole = Feed(Made(), 2, 8)
    parts = [Feed(Made(), 2, 8, rank, 2) for rank in (0, 1)]
    assert len(whole) == len(parts[0]) == 2
    for n in range(2):
        both = [part[n] for part in parts]
        torch.testing.assert_close(torch.cat([b.signal for b in both]), whole[n].signal)
    held = Feed(Made(held=9), -1, 4)
    assert [len(held[n].qtc) for n in range(len(held))] == [4, 4, 4]  # the last one filled up


def index_of(folder: Path) -> object:
    """Ten simulated ECGs as an Index: patients in pairs, two datasets, codes, one official fold 9, one copy of another set."""
    import pyarrow as pa

    from einthoven.data import load

    folder.mkdir()
    with open(folder / "labels.csv", "w", encoding="utf-8") as file:
        print("file_name,label", file=file)
        for i in range(10):
            write(simulate("sinus_rhythm", rate=60 + 3 * i, seed=i).record, folder / f"r{i}.hea")
            print(f"r{i}.hea,a", file=file)
    index = load(folder)
    columns = {
        "dataset": pa.array(["one"] * 5 + ["two"] * 5),
        "codes": pa.array([["scp:A"], ["scp:A", "scp:B"], [], ["scp:B"], ["scp:A"]] * 2, pa.list_(pa.string())),
        "fold": pa.array([9, *[-1] * 9], pa.int32()),
        "same_as": pa.array([None, "ptb-xl:1", *[None] * 8], pa.string()),
    }
    table = index.table
    for name, column in columns.items():
        table = table.set_column(table.column_names.index(name), name, column)
    return dataclasses.replace(index, table=table)


def test_an_index_is_prepared_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = index_of(tmp_path / "ecgs")
    small = recipe(jobs=1, validation=0.4, prevalent=0.3)
    source = Indexed([index], small, tmp_path / "prepared")
    used = {row for _, row in source.rows} | {row for _, row in source.rows_kept}
    assert used == set(range(2, 10)) and source.left_out == 2  # neither fold 9 nor the copy
    assert not set(source.rows) & set(source.rows_kept)
    assert source.datasets == ("one", "two") and set(source.features) == {"scp:A", "scp:B"}
    for place, (_, row) in enumerate(source.rows_kept):
        kept = source.kept(place)
        codes = index.column("codes")[row]
        np.testing.assert_array_equal(kept.features, [float(f in codes) for f in source.features] if codes else [math.nan] * 2)
        assert source.datasets[kept.dataset] == index.column("dataset")[row]
        np.testing.assert_allclose(kept.signal, prepared("cardx", index.record(row)).signal, atol=2e-3)
        assert (
            np.isfinite(kept.qtc) and abs(kept.qtc - simulate("sinus_rhythm", rate=60 + 3 * row, seed=row).truth["qtc_ms"]) < 60
        )
    places = [source.example(0, i).qtc for i in range(source.train)]
    assert sorted(places) == sorted(source.example(1, i).qtc for i in range(source.train))  # each once an epoch

    def again(_: object) -> None:
        raise AssertionError("prepared twice")

    monkeypatch.setattr(pretrain_cardx, "_prepare", again)
    twice = Indexed([index], small, tmp_path / "prepared")
    np.testing.assert_array_equal(twice.kept(0).aligned, source.kept(0).aligned)
    with pytest.raises(EcgError, match="other records"):
        Shelf(tmp_path / "prepared" / "0", index.select([1, 2]), "cardx", 1)


# ---- the run -------------------------------------------------------------------------------------------------------------


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    weights = pretrain(recipe(epochs=8, learning_rate=5e-3), tmp_path / "run", source=Made())
    told = rows(tmp_path / "run")
    judged = [row["validation"] for row in told if "validation" in row]
    assert len(judged) == 8 and len(told) == 8 * 3
    for term in ("loss", "reconstruction", "features"):
        assert judged[-1][term] < 0.8 * judged[0][term], term
    for row in told:
        row = row.get("validation", row)
        weighted = sum(getattr(recipe(), name) * row[name] for name in TERMS)
        assert row["loss"] == pytest.approx(weighted, rel=1e-4)
    # what is handed on: an encoder without head
    model = build("cardx", samples=250, outputs=2, **TINY)
    assert set(load(weights, model)) == {"head.weight", "head.bias"}
    assert model.eval()(torch.randn(2, 12, 250)).logits.shape == (2, 2)
    assert float(model.temperature) == pytest.approx(0.5)
    state = torch.load(tmp_path / "run" / STATE, weights_only=True)["net"]
    same = {k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.") and "head" not in k}
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in same.items())
    about = json.loads((tmp_path / "run" / SUMMARY).read_text())
    assert about["trained_on"] == 16 and about["datasets"] == ["a", "b"] and about["validation"] == judged[-1]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrain(recipe(epochs=2), tmp_path_factory.mktemp("run") / "whole", source=Made())


@pytest.mark.parametrize("stop", [1, 3, 4])
def test_a_run_cut_off_ends_as_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: Path, stop: int
) -> None:
    """Cut off in the first epoch, in the second, and between its last step and its checkpoint."""
    from safetensors.torch import load_file

    whole = load_file(undisturbed)
    tell = pretrain_cardx._tell

    def killed(path: Path, row: dict[str, object]) -> None:
        tell(path, row)
        if row["step"] == stop:
            raise KeyboardInterrupt

    monkeypatch.setattr(pretrain_cardx, "_tell", killed)
    with pytest.raises(KeyboardInterrupt):
        pretrain(recipe(epochs=2), tmp_path / "cut", source=Made())
    monkeypatch.setattr(pretrain_cardx, "_tell", tell)
    cut = load_file(pretrain(recipe(epochs=2), tmp_path / "cut", source=Made()))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    one, other = (
        [{k: v for k, v in row.items() if k != "seconds"} for row in rows(f)] for f in (undisturbed.parent, tmp_path / "cut")
    )
    assert one == other


def test_another_recipe_is_refused(tmp_path: Path) -> None:
    pretrain(recipe(epochs=1), tmp_path, source=Made(train=8))
    with pytest.raises(EcgError, match=r"learning_rate: 0.001 -> 0.01"):
        pretrain(recipe(epochs=1, learning_rate=0.01), tmp_path, source=Made(train=8))


def test_on_synth_from_a_file(tmp_path: Path) -> None:
    words = "objective: cardx\ndata: synth\nrecords: 4\nbatch: 2\nepochs: 1\nmodel: {width: 1, embedding: 8}\ndevice: cpu\n"
    (tmp_path / "r.yaml").write_text(words)
    weights = pretrain(PretrainRecipe.read(tmp_path / "r.yaml"), tmp_path / "run")
    assert weights.is_file() and all(math.isfinite(row["loss"]) for row in rows(tmp_path / "run") if "loss" in row)
    kept, (state, name, _) = pretrained(weights, outputs=3).state_dict(), contents(weights)
    assert name == "cardx" and all(torch.equal(kept[k], v) for k, v in state.items() if k in kept and "head" not in k)
    with pytest.raises(EcgError, match="leads of a cardx"):
        pretrained(weights, leads=("II",))


def test_the_command(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from einthoven.cli import app

    run = CliRunner().invoke
    (tmp_path / "r.yaml").write_text("objective: cardx\nrecords: 4\nbatch: 2\nmodel: {width: 1, embedding: 8}\ndevice: cpu\n")
    asked = ["pretrain", str(tmp_path / "r.yaml"), "-o", str(tmp_path / "run")]
    done = run(app, [*asked, "--set", "epochs=1", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert Path(told["weights"]).is_file() and told["objective"] == "cardx" and told["recipe"]["epochs"] == 1
    for wrong, why in (
        (["--set", "colour=red"], "has no colour"),
        (["--set", "colour"], "wants NAME=VALUE"),
        (["--objective", "mae"], "there are cardx, ecg-fm"),
    ):
        done = run(app, [*asked, *wrong])
        assert done.exit_code == 2 and why in done.stderr
    changed = run(app, [*asked, "--set", "epochs=1", "--set", "clip=1"])
    assert changed.exit_code == 1 and "begun with another recipe" in changed.stderr
    (tmp_path / "r.yaml").write_text("records: 4\n")
    assert run(app, asked).exit_code == 2


def test_the_shipped_recipe_is_one() -> None:
    shipped = PretrainRecipe.read(Path(__file__).resolve().parent.parent / "recipes" / "pretrain-cardx.yaml")
    assert (shipped.learning_rate, shipped.clip, shipped.gamma, shipped.batch, shipped.epochs) == (1e-3, 2.0, 0.98, 768, 200)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ({"learnig_rate": 1}, "has no learnig_rate"),
        ({"batch": 1}, "batch is at least 2"),
        ({"data": ["synth", "x"]}, "data is synth, or"),
        ({"mmd": -1}, "mmd is not negative"),
        ({"precision": "fp16"}, "recipe: precision"),
        ({"epochs": "many"}, "recipe: epochs"),
    ],
)
def test_a_wrong_recipe_is_told(words: dict[str, object], why: str) -> None:
    with pytest.raises(EcgError, match=why):
        PretrainRecipe.from_dict(words)


def test_stacked() -> None:
    batch = stack([Made().example(0, i) for i in range(3)])
    assert batch.signal.shape == (3, 12, 250) and batch.dataset.tolist() == [0, 1, 0] and batch.qtc.tolist() == [400, 440, 400]
