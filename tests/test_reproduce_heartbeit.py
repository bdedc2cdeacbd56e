"""HeartBEiT's tables from end to end at the size of tests; STEMI, parts and what the pre-training is worth on planted truth."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch")

from test_reproduce import planted  # noqa: E402

from einthoven.cli import app  # noqa: E402
from einthoven.data import Labels  # noqa: E402
from einthoven.evaluate.metrics import areas, macro  # noqa: E402
from einthoven.models.image.beit import BEiT, waves  # noqa: E402
from einthoven.record import EcgError  # noqa: E402
from einthoven.represent.images import by_form, scaled  # noqa: E402
from einthoven.train.reproduce import heartbeit as room  # noqa: E402

torch.set_num_threads(1)


def test_from_end_to_end(tmp_path: Path) -> None:
    words = ["reproduce", "heartbeit", "--smoke", "-j", "1", "-o", str(tmp_path), "--json"]
    words += ["--fractions", "0.1,1", "--models", "heartbeit;beit, not pre-trained;efficientnet"]
    ran = CliRunner().invoke(app, words)
    assert ran.exit_code == 0, ran.output
    told = json.loads((tmp_path / "heartbeit.json").read_text())
    rows = [r for r in told["rows"] if r["outcome"] == "superclasses, mean"]
    assert [(r["share"], r["model"]) for r in rows] == [
        (share, model) for share in ("10%", "100%") for model in ("heartbeit", "beit, not pre-trained", "efficientnet")
    ]
    for row in told["rows"]:
        value, low, high = row["AUROC"]
        assert 0 <= low <= value <= high <= 1
        assert row["best epoch on test: AUROC"] >= value - 1e-9  # one epoch: it is that one
    worth = told["What the pre-training is worth"]
    assert [(w["share"], w["draws"]) for w in worth] == [("10%", 2), ("100%", 1)]
    assert worth[1]["pre-trained"] == pytest.approx(rows[3]["AUROC"][0])
    assert worth[1]["difference"] == pytest.approx(rows[3]["AUROC"][0] - rows[4]["AUROC"][0])
    assert "simulated" in told["about"]["data"] and "no record is one" in told["about"]["STEMI"]
    for name in ("heartbeit.png", "heartbeit-saliency.png"):
        assert (tmp_path / name).stat().st_size > 5000
    assert not list((tmp_path / "work").iterdir())
    # What was pre-trained has never seen a test picture, and once more nothing is trained.
    summary = json.loads((tmp_path / "pretraining" / "pretrain.json").read_text())
    assert summary["trained_on"] + summary["judged_by"] == 240 - 24
    again = CliRunner().invoke(app, words)
    assert again.exit_code == 0 and "0 of 8 trials" in again.output
    assert json.loads((tmp_path / "heartbeit.json").read_text())["rows"] == told["rows"]


def test_sharper_pictures_in_tiles_keep_the_pre_trained_positions(tmp_path: Path) -> None:
    words = ["reproduce", "heartbeit", "--smoke", "-j", "1", "--models", "heartbeit", "--fractions", "1", "--json"]
    for name, form, tiles, positions in (("tiles", "heartbeit-64", "2x2", 16), ("whole", "heartbeit-64", "1x1", 64)):
        more = (
            [] if name == "tiles" else ["--weights", f"heartbeit={tmp_path / 'tiles' / 'pretraining' / 'weights.safetensors'}"]
        )
        ran = CliRunner().invoke(app, [*words, *more, "--form", form, "--tiles", tiles, "-o", str(tmp_path / name)])
        assert ran.exit_code == 0, ran.output
        assert "64 x 64" in json.loads(ran.stdout)["about"]["pictures"]
        from safetensors.torch import load_file

        state = load_file(next((tmp_path / name / "models").iterdir()))
        assert state["head.weight"].shape[1] == (64 if name == "tiles" else 16)  # four tiles' vectors side by side
        side = int(positions**0.5)
        assert state["layers.0.bias.table"].shape[0] == (2 * side - 1) ** 2 + 3
    assert CliRunner().invoke(app, [*words, "--tiles", "two"]).exit_code == 2
    assert CliRunner().invoke(app, [*words, "--patch", "16"]).exit_code == 2


def test_patches_may_grow_with_the_picture_and_the_head_may_see_rows(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    words = ["reproduce", "heartbeit", "--smoke", "-j", "1", "--models", room.FRESH, "--fractions", "1", "--json"]
    ran = CliRunner().invoke(
        app, [*words, "--form", "heartbeit-64", "--patch", "16x32", "--pool", "rows", "-o", str(tmp_path / "out")]
    )
    assert ran.exit_code == 0, ran.output
    pictures = json.loads(ran.stdout)["about"]["pictures"]
    assert "64 x 64" in pictures and "16 x 32" in pictures and "each row" in pictures
    state = load_file(next((tmp_path / "out" / "models").iterdir()))
    assert state["patch.weight"].shape[2:] == (16, 32) and state["head.weight"].shape[1] == 4 * 16


def test_epoch_0_is_the_head_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    y = (np.arange(48) % 2)[:, None].astype(np.float32)
    x = rng.integers(0, 256, (48, 32, 32), dtype=np.uint8)
    x[::2, :8] //= 4
    paths = []
    for name, array in (("x", x), ("y", y)):
        paths.append(str(tmp_path / f"{name}.npy"))
        np.save(paths[-1], array)
    rows = [tuple(range(i, i + 16)) for i in (0, 16, 32)]
    task, work = room.Task("together", ("MI",)), str(tmp_path / "work")
    job = room.Job(room.FRESH, task, 1.0, 1, "smoke", "heartbeit-32", (1, 1), 1, 1.0, "cpu", 0, None, *paths, *rows, work, None)
    first = replace(room.SIZES["smoke"], tuning={room.FRESH: {"head_first": True}})
    assert room.trial(job)["best"] == 1
    monkeypatch.setattr(room, "SIZES", {"smoke": first})
    found = room.trial(job)  # a rate of 1 ruins the network, and the head that came first stays
    assert found["best"] == 0
    logits, truth = np.array(found["logits"])[:, 0], y[32:, 0]
    assert logits[truth == 1].mean() > logits[truth == 0].mean() + 1


def test_stemi_is_an_acute_infarct_or_an_injury(tmp_path: Path) -> None:
    codes = [("scp:NORM",), ("scp:IMI",), ("scp:IMI",), ("scp:INJAS",), ("scp:NORM",), ("scp:STE_",), ("scp:AMI",)]
    index = planted(tmp_path / "index", codes, "ptbxl")
    records = index.column("record")
    assert room.stemi(index, None).tolist() == [False, False, False, True, False, False, False]
    (tmp_path / "set").mkdir()
    stages = ["", "Stadium I", "Stadium III", "", "Stadium I", "", "Stadium I-II"]
    lines = [f"{r.removeprefix('ptbxl:')},{s}," for r, s in zip(records, stages, strict=True)]
    (tmp_path / "set" / "ptbxl_database.csv").write_text(
        "\n".join(["ecg_id,infarction_stadium1,infarction_stadium2", *lines]) + "\n"
    )
    # The stage counts with a statement of infarction only.
    assert room.stemi(index, str(tmp_path / "set")).tolist() == [False, True, False, True, False, False, True]
    labels = room.labelled(index, str(tmp_path / "set"))
    assert labels.names[-1] == "STEMI" and labels.matrix[:, -1].tolist()[:4] == [0, 1, 0, 1]


def test_what_it_is_worth_is_the_mean_over_draws() -> None:
    rng = np.random.default_rng(0)
    truth = (rng.random((60, 2)) < 0.4).astype(np.float64)
    scores = {
        (arm, d): truth * (arm == "heartbeit") + rng.normal(0, 1, truth.shape)
        for arm in ("heartbeit", room.FRESH)
        for d in (0, 1)
    }
    task = room.Task("together", ("MI", "CD"))
    results = {}
    for (arm, draw), score in scores.items():
        job = room.Job(
            arm, task, 0.1, draw, "smoke", "heartbeit-32", (1, 1), 1, 1e-3, "cpu", 0, None, "", "", (1, 2), (), (), "", None
        )
        results[job.key] = (job, {"logits": score.tolist()})
    labels = Labels(("MI", "CD"), truth.astype(np.float32), "multilabel")
    settings = room.Settings(size="smoke", fractions=(0.1,))
    (row,) = room._worth(settings, labels, truth, np.arange(60), results)
    means = {arm: np.mean([macro(areas(truth, scores[arm, d]).auroc) for d in (0, 1)]) for arm in ("heartbeit", room.FRESH)}
    assert row["pre-trained"] == pytest.approx(means["heartbeit"]) and row["draws"] == 2
    assert row["difference"] == pytest.approx(means["heartbeit"] - means[room.FRESH])
    assert row["95 % from"] > 0 and row["p"] < 0.01


def test_pictures_are_scaled_as_the_form_says() -> None:
    x = np.random.default_rng(0).integers(0, 256, (5, 32, 32), dtype=np.uint8)
    form = by_form("heartbeit-32")
    made = room.pictures(form, x, np.zeros((5, 1), np.float32))
    np.testing.assert_array_equal(made.inputs(np.array([3, 1])), scaled(form, x[[3, 1]]))


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": "large"},
        {"arms": ("bert",)},
        {"fractions": (0.3,)},
        {"weights": {room.FRESH: "x"}},
        {"workers": 0},
        {"form": "poster"},
        {"tiles": (0, 1)},
    ],
)
def test_settings_that_make_no_run_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(EcgError):
        room.Settings(**wrong)  # type: ignore[arg-type]


def test_waves_tell_rows_and_columns_apart() -> None:
    made = waves((3, 5), 16)
    assert made.shape == (15, 16) and len(torch.unique(made, dim=0)) == 15
    at = made.reshape(3, 5, 16)
    torch.testing.assert_close(at[1, :, :8], at[1, :1, :8].expand(5, 8))  # the first half says the row
    torch.testing.assert_close(
        at[2, 3, 8:], torch.cat([f(3.0 * 10_000.0 ** -(torch.arange(4) / 4)) for f in (torch.sin, torch.cos)])
    )
    model = BEiT(size=32, patch=8, width=16, depth=1, heads=2, positions="waves")
    torch.testing.assert_close(model.positions.detach()[1:], waves((4, 4), 16))
    with pytest.raises(EcgError, match="multiple of 4"):
        waves((2, 2), 6)
