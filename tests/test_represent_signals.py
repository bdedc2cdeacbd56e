"""Inputs: what `apply` gives record by record, in the order of the rows, the same over processes and from the cache."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data_examples import beat, ptbxl, put

from einthoven.data import Choice, Index, load
from einthoven.record import EcgError
from einthoven.represent.signals import fingerprint, inputs
from einthoven.signal.presets import Preset, Step, apply, by_name


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return load(ptbxl(tmp_path / "set").path, choice=Choice(rate=500))


def test_inputs_are_the_preset_of_each_record(index: Index) -> None:
    out = inputs(index, "cardx", [2, 0])
    assert out.shape == (2, 12, 1000) and out.dtype == np.float32
    for row, record in zip(out, (index.record(2), index.record(0)), strict=True):
        assert np.array_equal(row, apply("cardx", record))
    assert np.array_equal(inputs(index, by_name("cardx"))[2], out[0])


def test_over_processes_and_from_the_cache(index: Index, tmp_path: Path) -> None:
    plain = inputs(index, "ecg-fm")
    kept = inputs(index, "ecg-fm", folder=tmp_path / "cache", jobs=2)
    assert np.array_equal(plain, kept) and isinstance(kept, np.memmap)
    (array,) = (tmp_path / "cache").glob("*.npy")
    before = array.stat().st_mtime_ns
    assert np.array_equal(inputs(index, "ecg-fm", folder=tmp_path / "cache"), plain)
    assert array.stat().st_mtime_ns == before, "taken from the folder, not computed again"
    assert np.array_equal(np.load(array), plain), "a plain .npy"


def test_the_cache_knows_what_it_depends_on(index: Index) -> None:
    rows = np.arange(3)
    preset = by_name("cardx")
    base = fingerprint(index, preset, rows, 0.0)
    assert fingerprint(index, replace(preset, notes="other words"), rows, 0.0) == base
    others = (
        fingerprint(index, replace(preset, steps=preset.steps[:-1]), rows, 0.0),
        fingerprint(index, preset, rows[::-1], 0.0),
        fingerprint(index, preset, rows[:2], 0.0),
        fingerprint(index, preset, rows, None),
    )
    assert len({base, *others}) == 5


def test_a_half_written_cache_is_not_taken(index: Index, tmp_path: Path) -> None:
    plain = np.array(inputs(index, "cardx", folder=tmp_path))
    (about,) = tmp_path.glob("*.json")
    (array,) = tmp_path.glob("*.npy")
    about.unlink()
    array.write_bytes(array.read_bytes()[:1000])
    assert np.array_equal(inputs(index, "cardx", folder=tmp_path), plain)


def partly(tmp_path: Path) -> Index:
    """Two whole records and one of a single lead between them."""
    folder = tmp_path / "ward"
    put(folder / "0.hea", beat(0))
    put(folder / "1.hea", beat(1), leads=("V1",))
    put(folder / "2.hea", beat(2))
    (folder / "labels.csv").write_text("file_name,label\n0,a\n1,a\n2,b\n", encoding="utf-8")
    return load(folder)


def test_what_cannot_be_prepared_is_named(tmp_path: Path) -> None:
    index = partly(tmp_path)
    with pytest.raises(EcgError, match=r"1 of 3 records cannot be prepared by cardx: .*ward:1.hea.*no lead I"):
        inputs(index, "cardx")
    for folder in (None, tmp_path / "cache", tmp_path / "cache"):
        failed: dict[int, str] = {}
        out = inputs(index, "cardx", [2, 1, 0], folder=folder, failed=failed)
        assert list(failed) == [1] and "ward:1.hea" in failed[1]
        assert np.isnan(out[1]).all() and not np.isnan(out[[0, 2]]).any()
    with pytest.raises(EcgError, match="nothing can be prepared"):
        inputs(index, "cardx", [1], failed={})


def test_what_was_not_recorded_is_filled_where_asked(tmp_path: Path) -> None:
    folder = tmp_path / "ward"
    whole = beat(0)
    whole[3, 50:90] = -32768  # WFDB's own mark of a missing sample
    put(folder / "0.hea", whole)
    (folder / "labels.csv").write_text("file_name,label\n0,a\n", encoding="utf-8")
    index = load(folder)
    index.digital(0)
    preset = Preset("plain", (Step("fit", {"length": 200, "fill": 0.0}),))
    gap = np.isnan(index.record(0).signal)
    assert np.array_equal(np.isnan(inputs(index, preset, fill=None)[0]), gap)
    filled = inputs(index, preset)
    assert not np.isnan(filled).any() and (filled[0][gap] == 0).all()


def test_records_of_many_lengths_need_a_preset_that_fits_them(tmp_path: Path) -> None:
    folder = tmp_path / "ward"
    put(folder / "0.hea", beat(0, 200))
    put(folder / "1.hea", beat(1, 300))
    (folder / "labels.csv").write_text("file_name,label\n0,a\n1,b\n", encoding="utf-8")
    index = load(folder)
    with pytest.raises(EcgError, match="one length"):
        inputs(index, "none")
    assert inputs(index, Preset("fit", (Step("fit", {"length": 250, "fill": 0.0}),))).shape == (2, 12, 250)
