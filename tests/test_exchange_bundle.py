"""Manifest and Bundle: what was written comes back, what was changed is refused with its reason."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from exchange_bundles import manifest, network

from einthoven.exchange import card
from einthoven.exchange.bundle import MANIFEST, Bundle, write_bundle
from einthoven.exchange.manifest import SCHEMA_FILE, Manifest, schema, scores
from einthoven.record import EcgError

DATA = {"model.onnx": network(), "weights.safetensors": bytes(range(256)) * 50, "card.md": "# Karte\n"}


def full() -> Manifest:
    """A manifest with every part of it."""
    figure = {"value": 0.93, "low": 0.91, "high": 0.95}
    evaluation = {
        "records": 2000,
        "patients": 1900,
        "positives": {"NORM": 900, "MI": 12, "other": 3},
        "overall": {"macro_auroc": figure, "mean_ece": {"value": 0.03, "low": 0.02, "high": 0.04}},
        "labels": {
            "NORM": {"auroc": figure},
            "MI": {"auroc": {"value": None, "low": None, "high": None}},
            "other": {"auroc": figure},
        },
        "warnings": ["MI has 12 positives: its figures say little"],
    }
    return manifest(
        version="2.1",
        summary="Five superclasses.",
        created="2026-11-20",
        thresholds={"values": {"NORM": 0.4, "MI": 0.2}, "chosen_on": "fold 8", "rule": "f1"},
        calibration={"words": {"kind": "temperature", "parameters": {"temperature": 2.0}}, "fitted_on": "fold 8"},
        training={
            "data": [{"name": "PTB-XL", "records": 17000, "patients": 15000, "folds": [1, 2], "licence": "CC BY 4.0"}],
            "command": "einthoven finetune r.yaml",
            "seed": 7,
        },
        metrics=[scores(evaluation, data="PTB-XL", folds=[9], command="bench")],
        architecture={"model": "inception-time", "config": {"leads": 12}, "tuning": {"method": "lora"}, "parameters": 457605},
    )


# ---- the manifest -------------------------------------------------------------------------------------------------------


def test_a_manifest_comes_back_as_it_was_and_fits_the_published_schema() -> None:
    said = full()
    assert Manifest.from_json(said.to_json()) == said
    jsonschema.Draft202012Validator(json.loads(SCHEMA_FILE.read_text())).validate(json.loads(said.to_json()))


def test_the_published_schema_is_current() -> None:
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema(), "run: python -m einthoven.exchange.manifest"


def test_figures_without_a_value_are_left_out_and_counts_kept() -> None:
    (one,) = full().metrics
    assert {(f.name, f.label, f.positives) for f in one.figures} == {
        ("macro_auroc", None, None),
        ("mean_ece", None, None),
        ("auroc", "NORM", 900),
        ("auroc", "other", 3),
    }
    assert "MI has 12 positives" in one.notes


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"thresholds": {"values": {"AFIB": 0.5}, "chosen_on": "x"}}, "thresholds for labels that there are not: AFIB"),
        ({"thresholds": {"values": {"MI": 1.5}, "chosen_on": "x"}}, "thresholds.values.MI"),
        ({"treshold": {}}, "treshold: not a manifest: Extra inputs"),
        ({"activation": "softmax"}, "task multilabel goes with activation sigmoid"),
        ({"labels": [{"name": "A"}, {"name": "A"}]}, "label names repeat"),
        ({"name": "../../etc"}, "no plain name"),
        ({"use": "clinical use"}, "use"),
        ({"schema_version": 2}, "schema_version"),
        ({"inputs": [{"kind": "signal", "preset": {"name": "x"}}]}, "not a preset"),
        ({"inputs": [{"kind": "image"}]}, "inputs.0"),
    ],
)
def test_a_wrong_manifest_is_refused_with_its_part(change: dict[str, Any], told: str) -> None:
    words = json.loads(manifest().to_json()) | change
    with pytest.raises(EcgError) as fault:
        Manifest.from_json(json.dumps(words), "m.json")
    assert told in str(fault.value) and fault.value.path == "m.json"


def test_the_card_says_what_the_manifest_says() -> None:
    said = card.text(full())
    for words in (
        "Research use only, not a medical device",
        "macro_auroc: 0.930 (0.910-0.950)",
        "2,000 ECGs of 1,900 patients",
        "temperature, fitted on fold 8",
        "PTB-XL, folds 1, 2 (training): 17,000 ECGs of 15,000 patients; CC BY 4.0",
        "It was not tested on data from another source",
        "Fewer than 20 ECGs in a test carried other",
        "by the rule f1",
    ):
        assert words in said
    assert "Nobody has measured it" in card.text(manifest()) and "was not calibrated" in card.text(manifest())
    hostile = card.text(manifest("a|b", "<script>x</script>"))
    assert "<script>" not in hostile and "a\\|b" in hostile


# ---- the Bundle: there and back -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["b", "b.zip"])
def test_what_was_written_comes_back(name: str, tmp_path: Path) -> None:
    made = write_bundle(tmp_path / name, full(), DATA)
    found = Bundle.open(tmp_path / name)
    assert found == made
    assert {n: found.read(n) for n in found.manifest.files} == {
        n: d if isinstance(d, bytes) else d.encode() for n, d in DATA.items()
    }
    assert found.manifest.model_copy(update={"files": {}}) == full()
    assert list(tmp_path.iterdir()) == [tmp_path / name]  # no drafts left


def test_folder_and_zip_are_the_same_bundle(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "b", full(), DATA)
    packed = folder.copy(tmp_path / "b.zip")
    again = packed.copy(tmp_path / "c")
    assert (
        folder.digest == packed.digest == again.digest == hashlib.sha256((tmp_path / "c" / MANIFEST).read_bytes()).hexdigest()
    )
    assert again.copy(tmp_path / "d.zip").path.read_bytes() == (tmp_path / "b.zip").read_bytes()  # the same ZIP, bit for bit


def test_only_a_bundle_is_overwritten_and_only_when_told(tmp_path: Path) -> None:
    write_bundle(tmp_path / "b", manifest(), DATA)
    with pytest.raises(EcgError, match="exists already"):
        write_bundle(tmp_path / "b", full(), DATA)
    assert write_bundle(tmp_path / "b", full(), DATA, overwrite=True).manifest.version == "2.1"
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("x")
    with pytest.raises(EcgError):
        write_bundle(tmp_path / "precious", full(), DATA, overwrite=True)
    assert (tmp_path / "precious" / "thesis.txt").exists()


@pytest.mark.parametrize("name", ["../x.md", "a/b.md", ".hidden.md", "code.py", "model.pt", "manifest.json", "x" * 90 + ".md"])
def test_what_may_not_be_in_a_bundle_is_not_written(name: str, tmp_path: Path) -> None:
    with pytest.raises(EcgError, match="may not be in a Bundle"):
        write_bundle(tmp_path / "b", manifest(), {**DATA, name: b"x"})
    assert not list(tmp_path.iterdir())


def test_a_killed_write_leaves_nothing_under_the_name(tmp_path: Path) -> None:
    # The process ends in the middle of the second file.
    code = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from einthoven.exchange import bundle
from exchange_bundles import manifest, network
chunks = bundle._chunks
def dying(content):
    for chunk in chunks(content):
        if chunk == b"last":
            os._exit(9)
        yield chunk
bundle._chunks = dying
bundle.write_bundle(Path(sys.argv[1]), manifest(), {"model.onnx": network(), "weights.safetensors": b"last"})
"""
    for name in ("b", "b.zip"):
        ended = subprocess.run([sys.executable, "-c", code, str(tmp_path / name), str(Path(__file__).parent)])
        assert ended.returncode == 9
        assert not (tmp_path / name).exists()
        write_bundle(tmp_path / name, manifest(), DATA)  # and the next one is not in its way


# ---- the Bundle: tampered with ------------------------------------------------------------------------------------------

Tamper = Callable[[Path], None]


def edited(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    words = json.loads((path / MANIFEST).read_text())
    change(words)
    (path / MANIFEST).write_text(json.dumps(words))


def flip(path: Path) -> None:
    data = bytearray((path / "weights.safetensors").read_bytes())
    data[1234] ^= 1
    (path / "weights.safetensors").write_bytes(data)


def link(path: Path) -> None:
    (path / "card.md").unlink()
    (path / "card.md").symlink_to("/etc/hostname")


def folder(path: Path) -> None:
    (path / "card.md").unlink()
    (path / "card.md").mkdir()


def pipe(path: Path) -> None:
    (path / "card.md").unlink()
    os.mkfifo(path / "card.md")


def climb(path: Path) -> None:
    edited(path, lambda m: m["files"].update({"../../secret.md": m["files"]["card.md"]}))


def huge(path: Path) -> None:
    edited(path, lambda m: m["files"]["card.md"].update(bytes=1 << 60))


def no_model(path: Path) -> None:
    (path / "model.onnx").unlink()
    edited(path, lambda m: m["files"].pop("model.onnx"))


TAMPERED: dict[str, tuple[Tamper, str]] = {
    "changed": (flip, "weights.safetensors: was changed: its SHA-256 is"),
    "longer": (
        lambda p: (p / "card.md").write_text("# Karte\nmore"),
        "card.md: 12 bytes instead of the 8 that the manifest says",
    ),
    "absent": (lambda p: (p / "card.md").unlink(), "card.md: the manifest names it, but it is not there"),
    "unlisted": (lambda p: (p / "other.md").write_text("x"), "other.md: is not in the manifest"),
    "code": (lambda p: (p / "run.py").write_text("x"), "run.py: may not be in a Bundle"),
    "link": (link, "card.md: is a symbolic link"),
    "folder": (folder, "card.md: is not a regular file"),
    "pipe": (pipe, "card.md: is not a regular file"),
    "climb": (climb, "../../secret.md: may not be in a Bundle"),
    "huge": (huge, "card.md: more than"),
    "no model": (no_model, "needs a model.onnx"),
    "no manifest": (lambda p: (p / MANIFEST).unlink(), "not a Bundle: no manifest.json"),
    "no json": (lambda p: (p / MANIFEST).write_text("{"), "not a manifest: Invalid JSON"),
    "hash": (lambda p: edited(p, lambda m: m["files"]["card.md"].update(sha256="0" * 64)), "the manifest says " + "0" * 64),
}


@pytest.mark.parametrize("kind", TAMPERED)
def test_a_tampered_bundle_is_refused_with_its_reason(kind: str, tmp_path: Path) -> None:
    tamper, told = TAMPERED[kind]
    path = write_bundle(tmp_path / "b", full(), DATA).path
    tamper(path)
    with pytest.raises(EcgError) as fault:
        Bundle.open(path)
    assert told in str(fault.value) and str(fault.value).startswith(str(path))


def test_both_hashes_are_named(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b", full(), DATA)
    flip(bundle.path)
    found = hashlib.sha256((bundle.path / "weights.safetensors").read_bytes()).hexdigest()
    wanted = bundle.manifest.files["weights.safetensors"].sha256
    with pytest.raises(EcgError, match=f"{found}, the manifest says {wanted}"):
        Bundle.open(bundle.path)


def test_what_changes_after_it_was_opened_is_refused_too(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b", full(), DATA)
    flip(bundle.path)
    with pytest.raises(EcgError, match="was changed since"):
        bundle.read("weights.safetensors")
    with pytest.raises(EcgError, match=r"has no train\.onnx"):
        bundle.read("train.onnx")
    with pytest.raises(EcgError, match="SHA-256"):
        bundle.copy(tmp_path / "c")
    assert not (tmp_path / "c").exists()


def rezipped(
    source: Path, target: Path, change: Callable[[zipfile.ZipFile], None], *, leave: str = "", pack: bool = False
) -> Path:
    with (
        zipfile.ZipFile(source) as old,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED if pack else zipfile.ZIP_STORED) as new,
    ):
        for name in old.namelist():
            if name != leave:
                new.writestr(name, old.read(name))
        change(new)
    return target


def linked(archive: zipfile.ZipFile) -> None:
    info = zipfile.ZipInfo("card.md")
    info.external_attr = 0o120777 << 16
    archive.writestr(info, "/etc/passwd")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("change", "leave", "told"),
    [
        (linked, "card.md", "card.md: is a symbolic link"),
        (lambda z: z.writestr("../x.md", "x"), "", "../x.md: may not be in a Bundle"),
        (lambda z: z.writestr("/x.md", "x"), "", "/x.md: may not be in a Bundle"),
        (lambda z: z.writestr("card.md", "# Karte\n"), "", "card.md: is in the ZIP twice"),
        (lambda z: z.writestr("card.md", "0" * 50_000_000), "card.md", "50,000,000 bytes instead of the 8"),
        (lambda z: z.writestr("bomb.md", "0" * 50_000_000), "", "bomb.md: is not in the manifest"),
        (lambda z: [z.writestr(f"{i}.md", "") for i in range(70)] and None, "", "more than 64 files"),
        (lambda z: z.writestr("card.md", "# KARTE\n"), "card.md", "card.md: was changed"),
    ],
)
def test_a_tampered_zip_is_refused_before_it_is_unpacked(change: Any, leave: str, told: str, tmp_path: Path) -> None:
    good = write_bundle(tmp_path / "b.zip", full(), DATA).path
    bad = rezipped(good, tmp_path / "c.zip", change, leave=leave, pack=True)
    with pytest.raises(EcgError) as fault:
        Bundle.open(bad)
    assert told in str(fault.value)


def test_a_zip_that_lies_about_a_size_is_refused(tmp_path: Path) -> None:
    # The directory says 8 bytes as the manifest does, the packed data are 10 MB of zeros.
    good = write_bundle(tmp_path / "b.zip", full(), DATA).path
    bad = rezipped(good, tmp_path / "c.zip", lambda z: z.writestr("card.md", "\0" * 10_000_000), leave="card.md", pack=True)
    data = bad.read_bytes()
    bad.write_bytes(data.replace((10_000_000).to_bytes(4, "little"), (8).to_bytes(4, "little")))
    with pytest.raises(EcgError, match=r"card\.md"):
        Bundle.open(bad)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"not a zip at all" * 100])
def test_what_is_no_bundle_is_said_to_be_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(EcgError, match="neither a folder nor a ZIP"):
        Bundle.open(tmp_path / "x.zip")
    with pytest.raises(EcgError, match="no such Bundle"):
        Bundle.open(tmp_path / "nothing")


@pytest.mark.parametrize("pack", [False, True])
def test_whatever_is_done_to_a_zip_it_opens_or_is_refused(pack: bool, tmp_path: Path) -> None:
    good = write_bundle(tmp_path / "b.zip", manifest(), {"model.onnx": b"network" * 20, "card.md": "# Karte\n"})
    zipped = rezipped(good.path, tmp_path / "p.zip", lambda z: None, pack=pack)
    data, rng = zipped.read_bytes(), random.Random(11)
    for _ in range(400):
        bad = bytearray(data)
        for _ in range(rng.choice((1, 1, 2, 8))):
            bad[rng.randrange(len(bad))] = rng.randrange(256)
        (tmp_path / "c.zip").write_bytes(bad[: rng.randrange(len(bad))] if rng.random() < 0.2 else bad)
        try:
            found = Bundle.open(tmp_path / "c.zip")
        except EcgError:
            continue
        assert found.manifest.files == good.manifest.files  # what it holds is what was written
