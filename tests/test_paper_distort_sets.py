"""Sets of pictures: the same bytes by any way, whole shards or none, the truth beside each, the answer not in its header."""

from __future__ import annotations

import json
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from einthoven.cli import app
from einthoven.data.index import Index
from einthoven.io import write
from einthoven.paper.dataset import PLANS, ImageSet, Plan, picture, write_shard
from einthoven.paper.distort import PRESETS, Truth
from einthoven.paper.distort.truth import STRIP
from einthoven.record import EcgError, Record
from tests.paper_examples import record_of

SMALL = Plan("photo", size=(160, 160), dpi=60, extras=("mask", "lines"))


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five ECGs of a user's own, indexed."""
    folder = tmp_path_factory.mktemp("own")
    for k in range(5):
        record = record_of()
        write(Record(record.signal * (1 + 0.1 * k), record.fs, record.leads), str(folder / f"ecg{k}.csv"))
    rows = "".join(f"ecg{k}.csv,A\n" for k in range(5))
    (folder / "labels.csv").write_text("file_name,label\n" + rows, encoding="utf-8")
    target = tmp_path_factory.mktemp("index") / "index"
    runner = CliRunner().invoke(app, ["data", "index", str(folder), "-o", str(target)])
    assert runner.exit_code == 0, runner.output
    return target


def shard(folder: Path, plan: Plan = SMALL, numbers: range = range(4)) -> bytes:
    target = folder / "images-000000.tar"
    assert write_shard(target, plan, numbers, lambda n: (f"r{n}", record_of())) == []
    return target.read_bytes()


def test_the_same_plan_gives_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert shard(tmp_path / "a") == shard(tmp_path / "b")
    assert shard(tmp_path / "b", replace(SMALL, seed=1)) != shard(tmp_path / "a")


def test_a_picture_is_the_same_alone() -> None:
    """Picture 3 does not know of pictures 0 to 2."""
    a, b = picture(record_of(), SMALL, 3), picture(record_of(), SMALL, 3)
    assert np.array_equal(a.image, b.image) and a.truth == b.truth and a.look == b.look
    assert not np.array_equal(picture(record_of(), SMALL, 4).image, a.image)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("fit", ["pad", "stretch"])
def test_every_preset_in_any_size(preset: str, fit: str) -> None:
    made = picture(record_of(), Plan(preset, size=(320, 256), fit=fit, dpi=80), 1)
    assert made.image.shape == (256, 320, 3) and made.truth.shape == (256, 320)


def test_a_stored_picture_is_the_one_that_was_made(tmp_path: Path) -> None:
    """What was JPEG on its way is stored as that very file, so nothing is lost twice."""
    shard(tmp_path)
    (tmp_path / "plan.json").write_text(json.dumps({"plan": SMALL.to_dict()}))
    found = ImageSet.open(tmp_path)
    assert len(found) == 4
    for k, sample in enumerate(found):
        made = picture(record_of(), SMALL, k)
        assert made.scene.file  # the preset photo ends with JPEG
        assert np.array_equal(sample.image, made.image) and sample.truth == made.truth
        assert sample.about["record"] == f"r{k}" and sample.about["number"] == k
        assert sample.mask is not None and np.array_equal(sample.mask, made.truth.mask(record_of()))
        lines = made.truth.traces(record_of(), 4.0)
        assert sample.lines is not None and len(sample.lines) == sum(map(len, lines))
        np.testing.assert_allclose(sample.lines["0.0"], lines[0][0], atol=1e-3)
        assert (sample.mask >= STRIP).any()


def test_png_keeps_every_byte(tmp_path: Path) -> None:
    plan = replace(SMALL, format="png", extras=())
    shard(tmp_path, plan, range(1))
    (tmp_path / "plan.json").write_text(json.dumps({"plan": plan.to_dict()}))
    assert np.array_equal(ImageSet.open(tmp_path)[0].image, picture(record_of(), plan, 0).image)


def test_one_that_fails_is_named_and_costs_nobody_else(tmp_path: Path) -> None:
    def record(number: int) -> tuple[str, Record]:
        if number == 1:
            raise EcgError("no such record")
        return f"r{number}", record_of()

    failed = write_shard(tmp_path / "images-000000.tar", SMALL, range(3), record)
    assert [f["number"] for f in failed] == [1] and "no such record" in failed[0]["error"]
    with tarfile.open(tmp_path / "images-000000.tar") as tar:
        assert {name.split(".")[0] for name in tar.getnames()} == {"000000000", "000000002"}


def test_half_of_ecginstruct_is_clean() -> None:
    plan = replace(PLANS["ecginstruct"], dpi=40, size=(64, 64))
    record = record_of()
    clean = [picture(record, plan, k).preset == "clean" for k in range(60)]
    assert 18 <= sum(clean) <= 42


def test_the_answer_is_not_in_the_header() -> None:
    """A report's words would tell a model what it is to find; they are printed where asked for only."""
    record = replace(record_of(), statements=("acute inferior infarction",))
    look = Plan("clean", "standard", dpi=60)
    said = [" ".join(t.text for t in picture(record, replace(look, words=w), 0).truth.page.texts) for w in (False, True)]
    assert "infarction" not in said[0] and "infarction" in said[1]


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"preset": "sepia"}, "no preset sepia"),
        ({"look": "own"}, "no look own"),
        ({"format": "gif"}, "jpg or png"),
        ({"size": (8, 8)}, "32 or more"),
        ({"clean": 2}, "0 to 1"),
        ({"extras": ("depth",)}, "not depth"),
        ({"fit": "crop"}, "pad or stretch"),
    ],
)
def test_plans_that_cannot_be(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(EcgError, match=words):
        Plan(**wrong)  # type: ignore[arg-type]


def test_images_command_goes_on_and_refuses_another_plan(index: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    line = ["images", str(index), "-o", str(out), "-n", "7", "--shard", "3", "--size", "96x96", "--dpi", "40", "-j", "1"]
    first = CliRunner().invoke(app, line)
    assert first.exit_code == 0, first.output
    tars = sorted(out.glob("images-*.tar"))
    before = [tar.read_bytes() for tar in tars]
    assert len(tars) == 3 and len(ImageSet.open(out)) == 7
    # Each record comes before any comes twice.
    names = [s.about["record"] for s in ImageSet.open(out)]
    assert len(set(names[:5])) == 5 == len(Index.open(index)) and names[5:] == names[:2]
    # One shard lost: it alone is made again, and is the same.
    tars[1].unlink()
    (out / "shard-000001.jsonl.gz").unlink()
    assert CliRunner().invoke(app, line).exit_code == 0
    assert [tar.read_bytes() for tar in tars] == before
    other = CliRunner().invoke(app, [*line, "--seed", "5"])
    assert other.exit_code == 2 and "another plan" in other.output
    assert CliRunner().invoke(app, [*line[:2], "-o", str(tmp_path / "b"), "--size", "big"]).exit_code == 2


def test_render_distorts_with_its_truth(tmp_path: Path) -> None:
    record = record_of()
    source, picture_file, truth_file = tmp_path / "ecg.csv", tmp_path / "a.png", tmp_path / "a.json"
    write(record, str(source))
    line = ["render", str(source), "-o", str(picture_file), "--dpi", "60", "--distort", "photo", "--seed", "3"]
    done = CliRunner().invoke(app, [*line, "--truth", str(truth_file)])
    assert done.exit_code == 0, done.output
    first = picture_file.read_bytes()
    said = json.loads(truth_file.read_text())
    truth = Truth.from_dict(said)
    assert [lead["label"] for lead in said["leads"]] == [strip.label for strip in truth.page.strips]
    assert np.allclose(said["corners"], truth.sheet, atol=0.01)
    assert CliRunner().invoke(app, line).exit_code == 0 and picture_file.read_bytes() == first
    assert CliRunner().invoke(app, [*line[:-4], "--distort", "sepia"]).exit_code == 2
