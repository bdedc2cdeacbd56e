"""A model beside the rules: what it says reaches every report, and disagreement is what it is."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import einthoven as ecg
from einthoven.exchange.bundle import write_bundle
from einthoven.exchange.manifest import labels, manifest
from einthoven.findings import Finding
from einthoven.opinion import Likelihood, _said
from einthoven.record import EcgError
from einthoven.report import to_fhir, to_html, to_json, to_text
from einthoven.signal.presets import by_name
from einthoven.statements import STATEMENTS
from einthoven.synth import simulate

SAID = {"NORM": 0.02, "CD": 0.97, "MI": 0.88, "STTC": 0.03, "HYP": 0.3, "CLBBB": 0.05}


@pytest.fixture(scope="module")
def constant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Bundle whose model says SAID of every ECG."""
    onnx = pytest.importorskip("onnx")
    folder = tmp_path_factory.mktemp("model")
    logits = np.array([[math.log(p / (1 - p)) for p in SAID.values()]], np.float32)
    nodes = [
        onnx.helper.make_node("ReduceMean", ["signal"], ["mean"], axes=[1, 2], keepdims=0),
        onnx.helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        onnx.helper.make_node("Reshape", ["nothing", "column"], ["rows"]),
        onnx.helper.make_node("Add", ["rows", "said"], ["logits"]),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "constant",
        [onnx.helper.make_tensor_value_info("signal", onnx.TensorProto.FLOAT, ["batch", 12, 1000])],
        [onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["batch", len(SAID)])],
        [
            onnx.numpy_helper.from_array(np.float32(0), "zero"),
            onnx.numpy_helper.from_array(np.array([-1, 1]), "column"),
            onnx.numpy_helper.from_array(logits, "said"),
        ],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    about = manifest(
        name="constant",
        task="multilabel",
        labels=labels(SAID),
        activation="sigmoid",
        inputs=({"name": "signal", "kind": "signal", "preset": by_name("exchangeai").to_dict()},),
        thresholds={"values": dict.fromkeys(SAID, 0.5), "chosen_on": "nothing"},
        metrics=(
            {"data": "a test", "records": 7, "figures": ({"name": "macro_auroc", "value": 0.5, "low": 0.4, "high": 0.6},)},
        ),
        architecture={"model": "constant"},
        licence="Apache-2.0",
    )
    return write_bundle(folder / "constant", about, {"model.onnx": model.SerializeToString()}).path


def test_what_rules_and_model_say_of_the_same(constant: Path) -> None:
    report = ecg.interpret(simulate("lbbb", rate=70, seed=3).record, model=constant)
    assert report.opinion is not None
    said = {one.name: one for one in report.opinion.labels}
    assert {n: one.probability for n, one in said.items()} == pytest.approx(SAID, abs=1e-5)
    assert [one.name for one in report.opinion.labels][:2] == ["CD", "MI"]
    assert said["CD"].rules == "present" and said["CD"].present and not said["CD"].disputed
    assert said["CLBBB"].rules == "present" and not said["CLBBB"].present and said["CLBBB"].disputed
    assert said["MI"].rules in ("absent", "possible")
    assert said["NORM"].rules == "absent" and not said["NORM"].disputed
    assert report.opinion.scores == "macro AUROC 0.500 (0.400-0.600) on 7 ECGs of a test"
    assert any(
        "left bundle branch block" in words.lower() and "does not reach its threshold (5%, threshold 50%)" in words
        for words in report.opinion.disagreements
    )


@pytest.mark.parametrize(
    ("probability", "rules", "disputed"),
    [
        (0.9, "absent", True),
        (0.9, "possible", False),
        (0.9, "present", False),
        (0.9, "", False),
        (0.1, "present", True),
        (0.1, "absent", False),
        (0.5, "absent", True),  # the threshold itself counts as reached
    ],
)
def test_disagreement(probability: float, rules: str, disputed: bool) -> None:
    assert Likelihood("X", "x", probability, 0.5, rules).disputed is disputed
    assert not Likelihood("X", "x", probability, rules=rules).disputed  # no threshold: the model means nothing yet


def test_forms_of_a_superclass_are_no_denial() -> None:
    """PTB-XL files STEMI, ST elevation and T inversion under no superclass; the rules do not say "no" to MI beside them."""

    def said(name: str, *found: str) -> str:
        findings = [Finding(n, n, STATEMENTS[n].group, "definite") for n in (*found, "sinus_rhythm")]
        return _said(name, name, findings)

    assert said("MI", "stemi") == "present"
    assert said("MI", "q_waves") == said("STTC", "st_elevation_inferior") == said("STTC", "t_inversion") == "possible"
    assert said("MI") == said("STTC") == said("HYP", "st_depression") == "absent"


def test_every_form_of_the_report_says_it(constant: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    from test_report_formats import schema

    report = ecg.interpret(simulate("lbbb", rate=70, seed=3).record, model=constant)
    made = to_json(report)
    jsonschema.validate(made, schema())
    assert made["opinion"]["model"] == "constant 1"
    assert len(made["opinion"]["disagreements"]) == len(report.opinion.disagreements) > 0  # type: ignore[union-attr]
    text, page = to_text(report), to_html(report)
    assert "88 %" in text and "88 %" in page and "disagree" in text and "disagree" in page
    seen = [r for r in to_fhir(report)["contained"] if r["id"].startswith("model-")]
    assert len(seen) == len(SAID) and seen[0]["valueQuantity"]["value"] == 97


def test_a_model_that_cannot_be_applied_says_so(constant: Path) -> None:
    report = ecg.interpret(simulate(rate=70, seed=3).record.pick(("I", "II")), model=constant)
    assert report.opinion is not None and report.opinion.labels == ()
    assert "V1" in report.opinion.warnings[0]
    assert "cannot be applied" in to_text(report) and "cannot be applied" in to_html(report)


def test_no_model_asked_and_no_such_model() -> None:
    record = simulate(rate=70, seed=3).record
    assert ecg.interpret(record, model=None).opinion is None
    with pytest.raises(EcgError, match="no model"):
        ecg.interpret(record, model="nobody-has-it")
