"""Images of records: the trace lies where the page says, a millivolt is as tall in all, shards are what `draw` gives."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from data_examples import ptbxl

from einthoven.data import Choice, Index, load
from einthoven.record import STANDARD_LEADS, EcgError, Record
from einthoven.represent import images as room
from einthoven.represent.images import FORMS, ImageForm, by_form, draw, fingerprint, images, scaled
from einthoven.signal.presets import apply

EIGHT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return load(ptbxl(tmp_path / "set").path, choice=Choice(rate=500))


def waves(seconds: float = 10.0, amplitude: float = 0.8) -> Record:
    """Each lead a sine of its own pitch, 1 to 4 Hz."""
    time = np.arange(int(seconds * 500)) / 500
    signal = [amplitude * np.sin(2 * np.pi * (1 + k / 4) * time) for k in range(12)]
    return Record(np.array(signal, np.float32), 500.0, STANDARD_LEADS)


@pytest.mark.parametrize("name", ["heartbeit", "heartbeit-448", "heartbeit-columns", "heartbeit-112x224"])
def test_a_plot_is_the_preset_s_signal(name: str) -> None:
    form, record = by_form(name), waves()
    image, page = draw(form, record)
    assert image.shape == form.size == page.shape and image.dtype == np.uint8
    assert [s.lead for s in page.strips] == list(EIGHT)
    signal = apply("heartbeit", record)
    for row, strip in zip(signal, page.strips, strict=True):
        x, y = page.to_pixel(strip, np.arange(250, 2250) / 500, row[250:2250])
        inside = (x > 1) & (x < form.size[1] - 2) & (y > 1) & (y < form.size[0] - 2)
        column, line = np.round(x[inside]).astype(int), np.round(y[inside]).astype(int)
        near = np.min([image[np.clip(line + d, 0, form.size[0] - 1), column] for d in (-1, 0, 1)], axis=0)
        assert (near < 200).mean() > 0.99, strip.lead
    assert 0.01 < (image < 128).mean() < 0.3


def test_the_paper_s_form_is_8_rows_of_5_seconds() -> None:
    _, page = draw("heartbeit", waves())
    first, second = page.strips[:2]
    x, y = page.to_pixel(first, [0.0, 5.0], [0.0, 1.0])
    assert x[1] - x[0] == pytest.approx(224) and y[0] - y[1] == pytest.approx(10)
    assert page.to_pixel(second, 0.0, 0.0)[1] - y[0] == pytest.approx(28)


@pytest.mark.parametrize("name", FORMS)
def test_a_millivolt_is_as_tall_in_every_record(name: str) -> None:
    """No picture is stretched to its own extremes."""
    pages = [draw(name, waves(amplitude=a))[1] for a in (0.2, 1.0)]
    lines = [page.to_pixel(page.strips[0], 0.0, [0.0, 1.0])[1] for page in pages]
    assert np.allclose(*lines)


def test_pages_come_at_any_size() -> None:
    for name, size in (("page", (448, 448)), ("page-224", (224, 224)), ("page-448x896", (448, 896))):
        image, page = draw(name, waves())
        assert image.shape == (*size, 3) and page.shape == size
        assert {s.lead for s in page.strips} == set(STANDARD_LEADS)


def test_what_was_not_recorded_is_white() -> None:
    record = waves(amplitude=0.2)
    signal = record.signal.copy()
    signal[1] = np.nan
    image, _ = draw("heartbeit", dataclasses.replace(record, signal=signal))
    assert (image[32:52] == 255).all() and (image[4:24] < 128).any() and (image[60:80] < 128).any()


def test_scaled_is_what_numpy_says() -> None:
    form = dataclasses.replace(by_form("page"), mean=room.IMAGENET[0], std=room.IMAGENET[1])
    pictures = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), np.uint8)
    out = scaled(form, pictures)
    assert out.shape == (2, 3, 4, 5) and out.dtype == np.float32
    wanted = (pictures[1, 2, 3] / 255 - np.array(form.mean)) / np.array(form.std)
    assert out[1, :, 2, 3] == pytest.approx(wanted, abs=1e-6)
    grey = scaled(by_form("heartbeit"), np.array([[[0, 255]]], np.uint8))
    assert grey.shape == (1, 3, 1, 2) and grey[0, :, 0].tolist() == [[-1.0, 1.0]] * 3


def test_a_form_is_written_and_read() -> None:
    for name in (*FORMS, "heartbeit-448", "page-64x32"):
        form = by_form(name)
        assert ImageForm.from_dict(json.loads(json.dumps(form.to_dict()))) == form
    assert by_form("heartbeit-448").at(224) == by_form("heartbeit").at(448).at(224)
    with pytest.raises(EcgError, match="there are: heartbeit"):
        by_form("drawing")
    with pytest.raises(EcgError, match="8 to 8192"):
        by_form("page-4")
    with pytest.raises(EcgError, match="colourful"):
        ImageForm.from_dict({"name": "a", "colourful": True})
    changed = by_form("heartbeit").to_dict()
    changed["preset"]["steps"] = changed["preset"]["steps"][:-1]
    with pytest.raises(EcgError, match="not what it was"):
        ImageForm.from_dict(changed)


def test_of_an_index(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "SHARD", 2)
    seen = images(index, "heartbeit", [2, 0, 1], tmp_path / "a")
    assert seen.shape == (3, 224, 224) and len(seen.shards) == 2
    for place, row in enumerate((2, 0, 1)):
        assert np.array_equal(seen[place], draw("heartbeit", index.record(row))[0])
    assert np.array_equal(seen[1:], seen[[1, 2]]) and np.array_equal(seen[np.array([True, False, True])], seen[[0, 2]])
    assert np.array_equal(seen[-1], seen[2])
    with pytest.raises(IndexError):
        seen[3]
    before = [p.stat().st_mtime_ns for p in seen.shards]
    seen.shards[1].unlink()  # cut off between two shards
    again = images(index, "heartbeit", [2, 0, 1], tmp_path / "a", jobs=2)
    assert again.shards[0].stat().st_mtime_ns == before[0] and np.array_equal(
        again[:], seen.__class__(again.shards, 3, seen.form)[:]
    )
    assert np.array_equal(again[2], draw("heartbeit", index.record(1))[0])


def test_the_shards_know_what_they_depend_on(index: Index) -> None:
    rows, form = np.arange(3), by_form("heartbeit")
    base = fingerprint(index, form, rows)
    assert fingerprint(index, dataclasses.replace(form, citation="other words"), rows) == base
    others = (
        fingerprint(index, form.at(448), rows),
        fingerprint(index, dataclasses.replace(form, gain=9.0), rows),
        fingerprint(index, form, rows[::-1]),
    )
    assert len({base, *others}) == 4


def test_what_cannot_be_drawn_is_named(index: Index, tmp_path: Path) -> None:
    form = dataclasses.replace(by_form("page"), name="cut", preset="heartbeit", layout="1x1:aVR")  # the preset has no aVR
    with pytest.raises(EcgError, match="of 3 records cannot be drawn as cut"):
        images(index, form, [0, 1, 2], tmp_path)
    failed: dict[int, str] = {}
    seen = images(index, form, [2, 1], tmp_path, failed=failed)
    assert set(failed) == {1, 2} and (seen[:] == 255).all()
