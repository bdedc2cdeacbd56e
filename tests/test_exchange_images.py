"""Bundles of images: a recording is drawn, a photo is looked at; the network's answer is known, so both are equalities."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exchange_bundles import bundle, labels, made
from paper_examples import record_of
from typer.testing import CliRunner

from einthoven.cli import app
from einthoven.exchange import card
from einthoven.exchange.bundle import Bundle
from einthoven.exchange.manifest import Manifest
from einthoven.exchange.predict import Predictor
from einthoven.io import write
from einthoven.paper.dataset import Plan, picture
from einthoven.paper.distort.run import shoot
from einthoven.paper.render import draw as draw_page
from einthoven.paper.render import prepare, render
from einthoven.paper.save import save_page
from einthoven.record import STANDARD_LEADS, EcgError, Record
from einthoven.represent.images import by_form, draw, from_picture, scaled

FORM = by_form("photo-224")


def manifest(form: dict[str, Any] | None = None, **more: Any) -> Manifest:
    return made(
        name="mean-of-colours",
        task="multilabel",
        labels=labels(("red", "green", "blue")),
        activation="sigmoid",
        inputs=[{"kind": "image", "form": form or FORM.to_dict(), **more}],
        architecture={"model": "onnx"},
        licence="Apache-2.0",
    )


def network(size: tuple[int, int] = FORM.size) -> bytes:
    """ONNX whose logits are the mean of each colour."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    x = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, *size])
    nodes = [helper.make_node("ReduceMean", ["image", "axes"], ["mean"], keepdims=0)]
    nodes += [helper.make_node("Identity", ["mean"], [name]) for name in ("logits", "embedding")]
    outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 3]) for n in ("logits", "embedding")]
    graph = helper.make_graph(nodes, "mean", [x], outputs, [numpy_helper.from_array(np.array([2, 3]), "axes")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def predictor(folder: Path, form: dict[str, Any] | None = None, **more: Any) -> Predictor:
    said = manifest(form, **more)
    assert said.image is not None
    return Predictor(bundle(folder / "b", said, model_onnx=network(said.image.as_form().size)))


def means(*pictures: np.ndarray[Any, Any], form: Any = FORM) -> Any:
    return scaled(form, np.stack(pictures)).mean((2, 3))


# ---- what a picture becomes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(448, 448), (320, 256), (224, 500)])
@pytest.mark.parametrize("dpi", [82, 150, 200])
def test_a_picture_is_framed_as_pictures_for_training_are(size: tuple[int, int], dpi: int) -> None:
    record = record_of()
    page = prepare(record, dpi=dpi)
    drawn = draw_page(record, page).rgb()
    form = by_form(f"photo-{size[1]}x{size[0]}")
    seen = from_picture(form, drawn)
    wanted = shoot(drawn.copy(), page, "clean", size=size)[0].image
    assert seen.shape == (size[1], size[0], 3)
    assert np.array_equal(seen, wanted)


def test_a_record_is_drawn_as_the_clean_picture_of_a_set_is() -> None:
    record = record_of()
    for side in (448, 224):
        wanted = picture(record, Plan("clean", "standard", size=(side, side)), 0)
        seen, page = draw(f"photo-{side}", record)
        assert np.array_equal(seen, wanted.image) and page.shape == (side, side)
        for mine, theirs in zip(page.strips, wanted.truth.page.strips, strict=True):  # and every trace is where it is there
            seconds, mv = np.array([mine.start, mine.stop]), np.array([0.0, 0.5])
            x, y = wanted.truth.warp.forward(*wanted.truth.page.to_mm(theirs, seconds, mv))
            assert np.allclose(page.to_pixel(mine, seconds, mv), (x, y), atol=1e-6)


def test_the_picture_of_a_record_is_its_signal_s_alone() -> None:
    record = record_of()
    named = dataclasses.replace(record, statements=("acute inferior infarction",), machine={"rate_bpm": 70.0})
    assert np.array_equal(draw(FORM, named)[0], draw(FORM, record)[0])


def test_pictures_of_any_shape() -> None:
    assert np.array_equal(from_picture(FORM, np.full((224, 224, 3), 9, np.uint8)), np.full((224, 224, 3), 9))
    tall = from_picture(FORM, np.zeros((2240, 1120, 3), np.uint8))
    assert (tall[:, 57:167] == 0).all() and (tall[:, :55] == 255).all() and (tall[:, 169:] == 255).all()
    grey = from_picture("heartbeit", np.tile(np.array([255, 0, 0], np.uint8), (300, 300, 1)))
    assert grey.shape == (224, 224) and (grey == 76).all()  # 0.299 * 255
    huge = np.full((9000, 9000, 3), 200, np.uint8)
    assert (from_picture(FORM, huge) == 200).all()
    for wrong in (np.zeros((100, 3000, 3), np.uint8), np.zeros((300, 300, 3), np.float32), np.zeros((300, 300, 2), np.uint8)):
        with pytest.raises(EcgError):
            from_picture(FORM, wrong)


# ---- prediction ---------------------------------------------------------------------------------------------------------


def test_a_record_is_drawn_and_a_photo_is_looked_at(tmp_path: Path) -> None:
    model, record = predictor(tmp_path), record_of()
    made = model.predict(record)
    np.testing.assert_allclose(made.logits, means(draw(FORM, record)[0])[0], atol=1e-4)
    assert made.windows == 1 and not made.warnings
    photo = np.random.default_rng(0).integers(0, 255, (500, 700, 3), np.uint8)
    np.testing.assert_allclose(model.predict_picture(photo).logits, means(from_picture(FORM, photo))[0], atol=1e-4)
    # A clean page at the resolution that `draw` takes itself is the same picture.
    page = render(Record(record.signal, record.fs, record.leads), dpi=77)[0]
    np.testing.assert_allclose(model.predict_picture(page).logits, made.logits, atol=1e-5)


@pytest.mark.parametrize(("over", "count"), [("first", 1), ("mean", 3), ("max", 3)])
def test_long_recordings(over: str, count: int, tmp_path: Path) -> None:
    model, record = predictor(tmp_path, windows={"over": over}), record_of(seconds=28)
    made = model.predict(record)
    pages = means(*(draw(FORM, part)[0] for part in (record.crop(0, 10), record.crop(10, 20), record.crop(18, 28))))[:count]
    p = 1 / (1 + np.exp(-pages))
    assert made.windows == count
    assert list(made.labels.values()) == pytest.approx((p.max(0) if over == "max" else p.mean(0)).tolist(), abs=1e-5)
    assert any("28 s" in words for words in made.warnings)


def test_the_contract_of_a_drawn_input(tmp_path: Path) -> None:
    nine = record_of(STANDARD_LEADS[:9])
    with pytest.raises(EcgError, match="V4, V5, V6 not recorded"):
        predictor(tmp_path).predict(nine)
    made = predictor(tmp_path / "x", missing_leads="blank").predict(nine)
    assert any("empty paper" in words for words in made.warnings)
    with pytest.raises(EcgError, match="too short: the model reads 10 s"):
        predictor(tmp_path / "y").predict(record_of(seconds=3))
    with pytest.raises(EcgError, match=r"takes image .*224, 224.*, its manifest gives images of \(3, 448, 448\)"):
        Predictor(bundle(tmp_path / "z", manifest(by_form("photo").to_dict()), model_onnx=network()))


def test_a_form_that_is_no_paper_reads_the_traces_off(tmp_path: Path) -> None:
    record = record_of()
    page = render(record, dpi=150, layout="12x1")[0]
    plot = by_form("heartbeit")
    model = predictor(tmp_path, plot.to_dict(), pictures="digitise", windows={"over": "first"})
    made = model.predict_picture(page)
    assert any("digitised from paper" in words for words in made.warnings)
    drawn = means(draw(plot, record)[0], form=plot)[0]
    np.testing.assert_allclose(made.logits, drawn, atol=0.005)  # nearly the same traces
    assert abs(means(from_picture(plot, page), form=plot)[0] - drawn).max() > 0.01  # and not the page itself
    with pytest.raises(EcgError, match="the print shows too little of each lead"):
        model.predict_picture(render(record, dpi=150)[0])  # 2.5 s of each


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".pdf", ".csv"])
def test_the_command_takes_recordings_and_paper(suffix: str, tmp_path: Path) -> None:
    from einthoven.paper.entry import picture_of

    model, record, file = predictor(tmp_path), record_of(), tmp_path / f"ecg{suffix}"
    if suffix == ".csv":
        write(record, file)
    elif suffix == ".jpg":
        from einthoven.paper.dataset import encoded

        file.write_bytes(encoded(render(record)[0], "jpg", 90))
    else:
        save_page(record, file)
    done = CliRunner().invoke(app, ["predict", "--model", str(tmp_path / "b"), "--json", str(file)])
    assert done.exit_code == 0, done.output
    (line,) = json.loads(done.stdout)
    wanted = model.predict(record) if suffix == ".csv" else model.predict_picture(picture_of(file)[0])
    assert line["labels"] == pytest.approx(dict(wanted.labels), abs=1e-4 if suffix == ".csv" else 1e-6)
    assert not any("digitised" in words for words in line["warnings"])


def test_a_folder_of_photos(tmp_path: Path) -> None:
    predictor(tmp_path)
    (tmp_path / "photos").mkdir()
    for k in range(2):
        save_page(record_of(), tmp_path / "photos" / f"{k}.png")
    done = CliRunner().invoke(app, ["predict", "--model", str(tmp_path / "b"), "--json", str(tmp_path / "photos")])
    assert done.exit_code == 0, done.output
    assert [Path(line["file"]).name for line in json.loads(done.stdout)] == ["0.png", "1.png"]


# ---- the manifest -------------------------------------------------------------------------------------------------------


def test_a_manifest_goes_to_disk_and_back(tmp_path: Path) -> None:
    said = bundle(tmp_path / "b", manifest(pictures="digitise"), model_onnx=network()).manifest
    again = Bundle.open(tmp_path / "b").manifest
    assert again == said and again.image is not None and again.image.as_form() == FORM
    assert again.signal is None and "224 x 224 pixels in colour" in card.text(again)
    done = CliRunner().invoke(app, ["models", "verify", str(tmp_path / "b")])
    assert done.exit_code == 0 and "runs" in done.output


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("kind", "painting", "kind"),
        ("size", [224], "size"),
        ("size", [224, 9000], "8 to 8192"),
        ("layout", "3x4 or so", "layout"),
        ("palette", "mauve", "palette"),
        ("paper", "napkin", "paper"),
        ("gain", 0, "positive"),
        ("std", [0, 1, 1], "positive"),
        ("mean", [1, 1], "mean"),
        ("preset", "nothing", "no preset nothing"),
        ("frame", "gold", "frame"),
        ("colour", "blueish", "colour"),
    ],
)
def test_a_form_that_was_tampered_with_is_refused(name: str, value: Any, told: str) -> None:
    with pytest.raises(EcgError, match=told):
        manifest({**FORM.to_dict(), name: value})


def test_the_signal_s_preset_in_a_form_must_be_what_it_was() -> None:
    words = by_form("heartbeit").to_dict()
    words["preset"]["steps"] = words["preset"]["steps"][:-1]
    with pytest.raises(EcgError, match="not what it was"):
        manifest(words)


def test_an_image_is_the_only_input() -> None:
    words = manifest().model_dump(mode="json")
    words["inputs"].append({"kind": "features", "names": ["a"], "version": "1"})
    with pytest.raises(EcgError, match="only input"):
        made(**words)
