"""One contract for every reader in FORMATS. A format without an example in io_examples.py fails the suite."""

from __future__ import annotations

import math
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from io_examples import EXAMPLES, OPTIONS, REFUSED, SHARED, truth

from einthoven.io import FORMATS, find_inputs, read, read_all, sniff
from einthoven.io.files import DiskFile
from einthoven.record import STANDARD_LEADS, EcgError, Record, canonical_order

MADE = [(name, make) for name, makers in EXAMPLES.items() for make in makers]
IDS = [f"{name}-{i}" for i, (name, _) in enumerate(MADE)]


def shared_files(shared: Path, patterns: list[str]) -> Iterator[Path]:
    for pattern in patterns:
        found = sorted(p for p in shared.glob(pattern) if p.is_file())
        assert found, f"nothing at {pattern}"
        yield from found[:12]


def check(record: Record, format: str) -> None:
    """What every Record from a file promises."""
    assert record.signal.dtype == np.float32 and record.signal.ndim == 2 and record.signal.flags.c_contiguous
    assert not np.isinf(record.signal).any()
    assert record.signal.shape[0] == len(record.leads) > 0 and record.signal.shape[1] > 0
    assert record.leads == canonical_order(record.leads)
    assert not {n.upper() for n in STANDARD_LEADS} - set(STANDARD_LEADS) & set(record.leads), record.leads
    assert 1 <= record.fs <= 200_000 and math.isfinite(record.fs)
    assert record.resolution_uv is not None and len(record.resolution_uv) == len(record.leads)
    assert all(math.isfinite(v) and v >= 0 for v in record.resolution_uv)
    assert record.source.format == format and record.source.path
    assert set(record.derived) <= set(record.leads)
    assert not record.derived or any("derived" in w for w in record.warnings)
    assert all(isinstance(w, str) and w for w in (*record.warnings, *record.statements, *record.codes))
    assert record.patient.sex in (None, "male", "female")
    assert record.patient.age is None or 0 <= record.patient.age <= 150


def test_every_format_has_an_example() -> None:
    assert not set(FORMATS) - set(EXAMPLES) - set(SHARED), "add an example to tests/io_examples.py"
    assert all(FORMATS[name].write is None or EXAMPLES.get(name) for name in FORMATS), "a writer makes its own example"


@pytest.mark.parametrize(("name", "make"), MADE, ids=IDS)
def test_made_examples_are_read_as_the_truth(name: str, make, tmp_path: Path) -> None:
    path = make(tmp_path)
    options = OPTIONS.get(path.name, {})
    assert sniff(path) == name
    assert next(f.name for f in FORMATS.values() if f.matches(DiskFile(path))) == name
    record = read(path, **options)
    check(record, "wfdb" if name == "zip" else name)
    expected = truth()
    assert record.fs == expected.fs
    for lead in set(record.leads) - set(record.derived):
        step = record.resolution_uv[record.leads.index(lead)] / 1000
        if step < 0.004:  # a median of a medium that rounds has its own truth
            assert np.nanmax(np.abs(record.lead(lead) - expected.lead(lead))) <= max(0.51 * step, 1e-6) + 1e-3 * (step > 0.001)
    assert not any("contradict" in w or "amplitude" in w for w in record.warnings)


@pytest.mark.parametrize(("name", "make"), MADE, ids=IDS)
def test_bytes_and_archives_are_read_alike(name: str, make, tmp_path: Path) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    path = make(folder)
    options = OPTIONS.get(path.name, {})
    record = read(path, **options)
    files = [p for p in folder.rglob("*") if p.is_file()]
    if len(files) == 1:
        again = read(path.read_bytes(), **options)
        assert np.array_equal(again.signal, record.signal, equal_nan=True) and again.leads == record.leads
    if name in ("zip", "npy"):  # a ZIP of .npy is an NPZ
        return
    bundle = tmp_path / "bundle.zip"
    with zipfile.ZipFile(bundle, "w", zipfile.ZIP_DEFLATED) as out:
        for p in files:
            out.write(p, f"a/{p.name}")
    if len(files) == len([p for p in files if p.stem == path.stem]):
        for again in (read(bundle, **options), read(f"{bundle}!a/{path.name}", **options)):
            assert np.array_equal(again.signal, record.signal, equal_nan=True) and again.leads == record.leads
            assert again.source.path == f"{bundle}!a/{path.name}" and again.source.format == name
        if path.suffix != ".bin":
            assert find_inputs([bundle]) == [f"{bundle}!a/{path.name}"] and find_inputs([folder]) == [str(path)]


@pytest.mark.parametrize(("name", "make"), MADE, ids=IDS)
def test_truncated_files_give_an_error_or_a_record(name: str, make, tmp_path: Path) -> None:
    path = make(tmp_path)
    options = OPTIONS.get(path.name, {})
    companions = [p for p in tmp_path.iterdir() if p.is_file()]
    for victim in companions:
        data = victim.read_bytes()
        for part in (
            0,
            1,
            7,
            8,
            20,
            100,
            127,
            130,
            300,
            521,
            len(data) // 3,
            len(data) // 2,
            len(data) - 100,
            len(data) - 3,
            len(data) - 1,
        ):
            victim.write_bytes(data[: max(part, 0)])
            try:
                for record in read_all(path, **options):
                    assert record.signal.dtype == np.float32
            except EcgError as error:
                assert str(tmp_path) in str(error) and error.what
        victim.write_bytes(data)


@pytest.mark.parametrize("name", SHARED)
def test_shared_files_keep_the_contract(name: str, shared_data: Path) -> None:
    for path in shared_files(shared_data, SHARED[name]):
        assert sniff(path) == name
        check(read(path, **OPTIONS.get(path.name, {})), name)


def test_what_is_no_ecg_is_refused_clearly(shared_data: Path) -> None:
    for path in shared_files(shared_data, REFUSED):
        with pytest.raises(EcgError) as caught:
            read(path)
        assert caught.value.path and len(caught.value.what) > 8


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "empty"),
        (b"\xff\xd8\xff\xe0" + bytes(100), "JPEG"),
        (b"%PDF-1.7", "PDF"),
        (b"\0" * 5000, "zero bytes"),
        (b"<?xml version='1.0'?><foo xmlns='x'/>", "<foo>"),
        (b"Dear colleague,\nthank you for the patient.\n" * 20, "text"),
        (b'{"a": 1}', "JSON"),
        (bytes(range(256)) * 40, "unknown kind"),
        (b"PK\x03\x04" + bytes(60), "ZIP"),
    ],
)
def test_what_it_looks_like_is_said(data: bytes, told: str) -> None:
    with pytest.raises(EcgError, match=told):
        read(data)


def test_a_companion_outside_the_folder_is_refused(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    path = EXAMPLES["wfdb"][0](inside)
    secret = shutil.move(path.with_suffix(".dat"), tmp_path / "secret.dat")
    for name in ("../secret.dat", str(secret), "a/../../secret.dat", "..\\secret.dat", "~/../secret.dat"):
        path.write_text("record 1 250 100\n" + f"{name} 16 1000/mV 16 0 0 0 0 I\n")
        with pytest.raises(EcgError, match=r"outside|cannot be|no such"):
            read(path)
    (inside / "link.dat").symlink_to(secret)
    path.write_text("record 1 250 100\nlink.dat 16 1000/mV 16 0 0 0 0 I\n")
    with pytest.raises(EcgError, match="outside"):
        read(path)


def test_archives_are_bounded(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("a.edf", b"0       " + b" " * (64 << 20))
    with pytest.raises(EcgError, match="bomb"):
        read(bomb)
    nested = tmp_path / "nested.zip"
    with zipfile.ZipFile(nested, "w") as out:
        out.write(bomb, "inner.zip")
    with pytest.raises(EcgError, match="inside a ZIP"):
        read(nested)
    slip = tmp_path / "slip.zip"
    with zipfile.ZipFile(slip, "w") as out:
        out.writestr("../a.csv", "# fs=250\n" + "1,2\n" * 100)
    with pytest.raises(EcgError, match="no ECG"):
        read(slip)


def test_a_record_is_found_by_its_stem_and_by_its_signal_file(tmp_path: Path) -> None:
    path = EXAMPLES["wfdb"][0](tmp_path)
    for name in (path, path.with_suffix(""), path.with_suffix(".dat")):
        assert np.array_equal(read(name).signal, truth().signal)


def test_what_a_file_does_not_say_has_to_be_said(tmp_path: Path) -> None:
    path = EXAMPLES["npy"][0](tmp_path)
    with pytest.raises(EcgError, match="--fs"):
        read(path)
    assert any("unit not given" in w for w in read(path, fs=250).warnings)
    edf = EXAMPLES["edf"][0](tmp_path)
    assert any("--fs" in w for w in read(edf, fs=100).warnings)
