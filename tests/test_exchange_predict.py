"""Prediction: a network whose answer is known, the contract of its input, and the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exchange_bundles import FS, LEADS, SECONDS, bundle, manifest, network, preset, record
from typer.testing import CliRunner

from einthoven.cli import app
from einthoven.evaluate.calibration import Calibration
from einthoven.exchange import shelf
from einthoven.exchange.manifest import Manifest
from einthoven.exchange.predict import Predictor
from einthoven.io import write
from einthoven.record import EcgError, Record
from einthoven.signal.presets import apply

LEVELS = {"I": 0.3, "II": -0.2, "V1": 1.0}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EINTHOVEN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def predictor(tmp_path: Path, said: Manifest | None = None, **files: bytes) -> Predictor:
    return Predictor(bundle(tmp_path / "b", said, **files))


def signal(**more: Any) -> list[dict[str, Any]]:
    return [{"kind": "signal", "preset": preset().to_dict(), **more}]


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-np.asarray(x, float)))


# ---- what comes out -----------------------------------------------------------------------------------------------------


def test_the_network_sees_millivolts_by_lead_name(tmp_path: Path) -> None:
    # The record has its leads in another order, at another rate; the flat line's mean is the line.
    made = predictor(tmp_path).predict(record(dict(reversed(LEVELS.items()))))
    np.testing.assert_allclose(made.logits, [0.3, -0.2, 1.0], atol=1e-5)
    assert made.labels == pytest.approx(dict(zip(("NORM", "MI", "other"), sigmoid([0.3, -0.2, 1.0]))), abs=2e-6)
    assert made.warnings == () and made.windows == 1 and made.present == ()


def test_thresholds_say_what_is_present(tmp_path: Path) -> None:
    said = manifest(thresholds={"values": {"NORM": 0.57, "MI": 0.5}, "chosen_on": "fold 8"})
    assert predictor(tmp_path, said).predict(record(LEVELS)).present == ("NORM",)  # sigmoid(0.3) = 0.574; "other" has none


@pytest.mark.parametrize(
    ("task", "activation", "want"),
    [
        ("single", "softmax", np.exp([0.3, -0.2, 1.0]) / np.exp([0.3, -0.2, 1.0]).sum()),
        ("regression", "identity", [0.3, -0.2, 1.0]),
    ],
)
def test_tasks(task: str, activation: str, want: Any, tmp_path: Path) -> None:
    made = predictor(tmp_path, manifest(task=task, activation=activation)).predict(record(LEVELS))
    assert list(made.labels.values()) == pytest.approx(list(want), abs=2e-6)
    assert made.present == (("other",) if task == "single" else ())


@pytest.mark.parametrize(
    "calibration",
    [
        Calibration("temperature", "multilabel", {"temperature": 2.5}),
        Calibration("platt", "multilabel", {"slope": [1.5, 0.5, 2.0], "intercept": [-0.3, 0.1, 0.0]}),
        Calibration("isotonic", "multilabel", {"x": [[-1, 1], [-1, 1], []], "y": [[0.1, 0.6], [0.2, 0.3], []]}),
    ],
)
def test_calibration_is_the_one_that_was_fitted(calibration: Calibration, tmp_path: Path) -> None:
    said = manifest(calibration={"words": calibration.to_dict(), "fitted_on": "fold 8"})
    made = predictor(tmp_path, said).predict(record(LEVELS))
    assert list(made.labels.values()) == pytest.approx(list(calibration.apply([[0.3, -0.2, 1.0]])[0]), abs=2e-6)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"kind": "astrology"}, "unknown kind"),
        ({"kind": "platt", "task": "multilabel", "parameters": {"slope": [1.0], "intercept": [0.0]}}, "for 3 labels"),
        ({"kind": "temperature", "task": "single", "parameters": {"temperature": 1.0}}, "for task single"),
    ],
)
def test_a_calibration_that_does_not_fit_is_refused(words: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(EcgError, match=told):
        predictor(tmp_path, manifest(calibration={"words": words}))


def test_features_are_measured_and_given_by_name(tmp_path: Path) -> None:
    from einthoven.represent.features import NAMES, VERSION, features
    from einthoven.synth import simulate

    ecg = simulate(rate=70, duration=10, seed=3).record
    names = ["rate_bpm", "age"]
    inputs = [*signal(), {"kind": "features", "names": names, "version": str(VERSION)}]
    said = manifest("a", "b", "c", "d", "e", task="regression", activation="identity", inputs=inputs)
    ecg = replace(ecg, patient=replace(ecg.patient, age=51.0))
    made = Predictor(bundle(tmp_path / "b", said, model_onnx=network(features=2))).predict(ecg)
    want = features(ecg)[[NAMES.index(name) for name in names]]
    assert (made.labels["d"], made.labels["e"]) == pytest.approx(tuple(want), rel=1e-5) and want[1] == 51
    for change in ({"version": "0"}, {"names": ["rate_bpm", "shoe_size"]}):
        other = manifest("a", "b", "c", "d", "e", inputs=[inputs[0], inputs[1] | change])
        with pytest.raises(EcgError, match="made for version"):
            Predictor(bundle(tmp_path / f"c{len(change)}{change}"[:12], other, model_onnx=network(features=2)))


def test_a_network_that_is_not_as_the_manifest_says_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EcgError, match=r"takes signal, its manifest says ecg"):
        predictor(tmp_path, manifest(inputs=signal(name="ecg")))
    with pytest.raises(EcgError, match=r"logits .* for 1 inputs and 2 labels"):
        Predictor(bundle(tmp_path / "c", manifest("a", "b"))).predict(record(LEVELS))
    with pytest.raises(EcgError, match="no finite numbers"):
        Predictor(bundle(tmp_path / "d", model_onnx=network(gain=float("inf")))).predict(record(LEVELS))


# ---- the contract of the input ------------------------------------------------------------------------------------------


def test_a_missing_lead_is_refused_and_named(tmp_path: Path) -> None:
    made = predictor(tmp_path)
    with pytest.raises(EcgError, match=r"needs leads that are not there: V1 not recorded"):
        made.predict(record({"I": 0.3, "II": 0.1}))
    absent = record(LEVELS)
    absent.signal[2] = np.nan  # there by name, never recorded: as missing as any
    with pytest.raises(EcgError, match="V1 not recorded"):
        made.predict(absent)


def test_a_missing_lead_is_zero_only_where_the_manifest_says_so_and_is_told(tmp_path: Path) -> None:
    made = predictor(tmp_path, manifest(inputs=signal(missing_leads="zero"))).predict(record({"I": 0.3, "II": 0.1}))
    np.testing.assert_allclose(made.logits, [0.3, 0.1, 0.0], atol=1e-5)
    assert "V1 not recorded" in made.warnings[0]
    with pytest.raises(EcgError, match="none of the model's leads"):
        predictor(tmp_path / "x", manifest(inputs=signal(missing_leads="zero"))).predict(record({"V6": 1.0}))


def test_limb_leads_that_follow_from_others_are_derived(tmp_path: Path) -> None:
    made = predictor(tmp_path).predict(record({"I": 0.3, "III": -0.5, "V1": 1.0}))  # II = I + III
    np.testing.assert_allclose(made.logits, [0.3, -0.2, 1.0], atol=1e-5)
    assert any("derived" in words for words in made.warnings)


def steps(*levels: float, seconds: float = SECONDS) -> Record:
    """Levels one after the other, each `seconds` long, in all leads, at 100 Hz."""
    row = np.repeat(np.float32(levels), round(seconds * FS))
    return Record(np.stack([row] * len(LEADS)), FS, LEADS)


@pytest.mark.parametrize(
    ("windows", "levels", "want", "count"),
    [
        ({}, (0.0, 1.0, 2.0), np.mean([sigmoid(0), sigmoid(1), sigmoid(2)]), 3),
        ({"over": "max"}, (0.0, 2.0, 1.0), sigmoid(2), 3),
        ({"over": "first"}, (0.5, 2.0), sigmoid(0.5), 1),
        ({"stride_s": SECONDS / 2}, (0.0, 1.0), np.mean([sigmoid(0), sigmoid(0.5), sigmoid(1)]), 3),
    ],
)
def test_longer_recordings_are_read_in_windows(windows: Any, levels: Any, want: float, count: int, tmp_path: Path) -> None:
    made = predictor(tmp_path, manifest(inputs=signal(windows=windows))).predict(steps(*levels))
    assert made.labels["NORM"] == pytest.approx(float(want), abs=1e-5)
    assert made.windows == count and f"{SECONDS * len(levels):g} s" in made.warnings[0]


def test_the_end_of_a_recording_is_read_too_unless_it_is_little(tmp_path: Path) -> None:
    made = predictor(tmp_path)
    long = steps(0.0, 1.0)
    assert made.predict(long.crop(0, 7)).windows == 2  # 0-4 and 3-7
    assert made.predict(long.crop(0, 5)).windows == 1  # the last second is left
    assert made.predict(long.crop(0, 7)).labels["NORM"] == pytest.approx(float(np.mean([0.5, sigmoid(0.75)])), abs=1e-5)


def test_shorter_recordings_are_filled_with_a_warning_or_refused(tmp_path: Path) -> None:
    made = predictor(tmp_path)
    short = made.predict(steps(1.0, seconds=3))
    np.testing.assert_allclose(short.logits, 0.75, atol=1e-5)  # three seconds of one, one of zero
    assert "3 s, the model reads 4 s" in short.warnings[0]
    assert made.predict(steps(1.0, seconds=3.97)).warnings == ()  # nobody would call that short
    with pytest.raises(EcgError, match="too short: the model reads 4 s and takes no less than 2 s"):
        made.predict(steps(1.0, seconds=1))
    own = manifest(inputs=signal(shortest_s=3.5))
    with pytest.raises(EcgError, match=r"no less than 3\.5 s"):
        predictor(tmp_path / "x", own).predict(steps(1.0, seconds=3))


def test_gaps_are_told_and_windows_without_a_lead_are_left_out(tmp_path: Path) -> None:
    made = predictor(tmp_path)
    broken = steps(0.0, 1.0, 2.0)
    broken.signal[0, 450:] = np.nan  # lead I from 4.5 s on: the second and third windows have less than half of it
    found = made.predict(broken)
    assert found.windows == 1 and "2 of 3 windows left out" in " ".join(found.warnings)
    some = steps(1.0)
    some.signal[1, :100] = np.nan
    told = made.predict(some)
    np.testing.assert_allclose(told.logits, [1, 0.75, 1], atol=1e-5)
    assert "gaps in the recording" in told.warnings[0]
    some.signal[1, :350] = np.nan
    with pytest.raises(EcgError, match="no stretch of 4 s"):
        made.predict(some)


def test_onnx_gets_what_the_preset_makes(tmp_path: Path) -> None:
    made = predictor(tmp_path)
    rng = np.random.default_rng(5)
    noisy = Record(rng.standard_normal((3, 2000), dtype=np.float32), 500.0, LEADS)
    inputs, _ = made.inputs(noisy)
    np.testing.assert_array_equal(inputs["signal"][0], apply(preset(), noisy))


# ---- where models are ---------------------------------------------------------------------------------------------------


def test_models_are_found_by_name_or_path(tmp_path: Path, home: Path) -> None:
    bundle(shelf.place("mine"), manifest(name="mine"))
    assert shelf.find("mine") == home / "models" / "mine"
    assert "mine" in dict(shelf.shelved())
    other = bundle(tmp_path / "other.zip").path
    assert shelf.find(str(other)) == other
    with pytest.raises(EcgError, match="no model 'nothing'"):
        shelf.find("nothing")
    with pytest.raises(EcgError, match="no plain name"):
        shelf.place("../up")


# ---- the command line ---------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three ECGs and a file that is none."""
    made = tmp_path / "ecgs"
    made.mkdir()
    for i in range(3):
        write(record({"I": 0.1 * i, "II": 0.0, "V1": -0.1}), made / f"{i}.npz")
    (made / "broken.hea").write_text("nonsense")
    return made


def run(*words: str | Path) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_json_is_a_list_with_one_entry_a_file(tmp_path: Path, folder: Path) -> None:
    path = bundle(tmp_path / "b").path
    out = run("predict", folder, "--model", path, "--json")
    entries = json.loads(out.stdout)
    assert out.exit_code == 1 and "broken.hea" in out.stderr
    assert [Path(e["file"]).name for e in entries] == ["0.npz", "1.npz", "2.npz", "broken.hea"]
    assert [set(e) for e in entries[:3]] == [{"file", "model", "labels", "warnings"}] * 3
    assert (
        entries[2]["labels"]["NORM"] == pytest.approx(float(sigmoid(0.2)), abs=1e-4) and entries[2]["model"] == "mean-of-leads"
    )
    assert entries[3]["labels"] == {} and "broken.hea" in entries[3]["error"]
    text = run("predict", folder / "2.npz", "--model", path)
    assert text.exit_code == 0 and "55.0 %" in text.stdout and "research use only" in text.stdout


def test_an_unknown_model_is_wrong_use(folder: Path) -> None:
    out = run("predict", folder, "--model", "nobody-has-this")
    assert out.exit_code == 2 and "no model 'nobody-has-this'" in out.stderr and not out.stdout


def test_a_batch_goes_on_where_it_was_and_not_with_another_model(tmp_path: Path, folder: Path) -> None:
    path, lines = bundle(tmp_path / "b").path, tmp_path / "out.jsonl"
    one = run("predict", folder, "--model", path, "-o", lines, "-j", "1")
    assert one.exit_code == 1 and "3 done, 1 failed" in one.stderr
    whole = lines.read_text()
    lines.write_text("".join(whole.splitlines(keepends=True)[:2]) + '{"path": "half a li')  # as a kill -9 leaves it
    again = run("predict", folder, "--model", path, "-o", lines, "-j", "1", "--resume")
    assert "2 from an earlier run" in again.stderr

    def plain(text: str) -> list[Any]:
        return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in text.splitlines()]

    assert plain(lines.read_text()) == plain(whole)
    other = bundle(tmp_path / "c", manifest(name="other")).path
    mixed = run("predict", folder, "--model", other, "-o", lines, "-j", "1", "--resume")
    assert mixed.exit_code == 2 and "has predictions of mean-of-leads; this model is other" in mixed.stderr
    assert run("predict", folder, "--model", path, "-o", lines, "-j", "1").exit_code == 2  # nothing is overwritten in silence


def test_models_list_show_verify_export_push_pull(tmp_path: Path, home: Path) -> None:
    made = bundle(tmp_path / "b", manifest(summary="Means."), train_onnx=network())
    shown = run("models", "show", made.path)
    assert shown.exit_code == 0 and "# mean-of-leads 1" in shown.stdout
    assert json.loads(run("models", "show", made.path, "--json").stdout)["summary"] == "Means."
    assert "runs; manifest " + made.digest in run("models", "verify", made.path).stdout

    pushed = run("models", "push", made.path, tmp_path / "store")
    assert pushed.exit_code == 0 and json.loads(pushed.stdout)["digest"] == made.digest
    assert "mean-of-leads" in run("models", "list", "--store", tmp_path / "store").stdout
    pulled = run("models", "pull", tmp_path / "store", "mean-of-leads")
    assert pulled.stdout.strip() == str(home / "models" / "mean-of-leads")
    assert "mean-of-leads" in run("models", "list").stdout
    listed = json.loads(run("models", "list", "--json").stdout)
    assert [t["name"] for t in listed["trained"] if not t["shipped"]] == ["mean-of-leads"] and listed["architectures"]
    assert run("predict", "--model", "mean-of-leads", "nothing.hea").exit_code == 1

    onnx = pytest.importorskip("onnx")
    for more, name in (((), "x.onnx"), (("--trainable",), "t.onnx")):
        assert run("models", "export", "mean-of-leads", "-o", tmp_path / name, *more).exit_code == 0
        keys = {p.key: p.value for p in onnx.load(str(tmp_path / name)).metadata_props}
        assert keys["target_keys"] == "['NORM', 'MI', 'other']" and keys["sampling_rate"] == "100"
    assert run("models", "export", "mean-of-leads", "-o", tmp_path / "x.onnx").exit_code == 2  # exists
    assert run("models", "export", "mean-of-leads", "-o", tmp_path / "p.zip").exit_code == 0
    data = bytearray((home / "models" / "mean-of-leads" / "train.onnx").read_bytes())
    data[50] ^= 1
    (home / "models" / "mean-of-leads" / "train.onnx").write_bytes(data)
    bad = run("models", "verify", "mean-of-leads")
    assert bad.exit_code == 1 and "train.onnx: was changed" in bad.stderr
    (home / "models" / "mean-of-leads" / "train.onnx").unlink()
    bundle(shelf.place("whole"), manifest(name="whole"))
    listed = run("models", "list")  # one that is broken does not hide the others
    assert "whole" in listed.stdout and "train.onnx: the manifest names it" in listed.stderr
    assert run("models", "verify", tmp_path / "p.zip").exit_code == 0


def test_prediction_and_stores_need_no_torch(tmp_path: Path, folder: Path) -> None:
    path = bundle(tmp_path / "b").path
    code = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "onnx", "sklearn", "accelerate", "safetensors", "matplotlib", "transformers"):
            raise ModuleNotFoundError(f"No module named {name}", name=name)

sys.meta_path.insert(0, Missing())
from einthoven.cli import app
for words in sys.argv[1:]:
    code = app(words.split("|"), standalone_mode=False)
    assert not code, (words, code)
"""
    commands = [
        f"predict|{folder / '1.npz'}|-m|{path}|--json",
        "models|list",
        f"models|verify|{path}",
        f"models|push|{path}|{tmp_path / 's'}",
        f"models|pull|{tmp_path / 's'}|mean-of-leads",
    ]
    ended = subprocess.run([sys.executable, "-c", code, *commands], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-2000:]
