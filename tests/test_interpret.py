"""The one path from a file to a Report, on simulated ECGs whose truth is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import einthoven as ecg
from einthoven.record import EcgError, Record
from einthoven.synth import simulate


def test_a_simulated_infarct_is_found_with_its_evidence() -> None:
    report = ecg.interpret(simulate("stemi_inferior", rate=72, age=61, sex="male", seed=7).record)
    assert report.measurements["rate_bpm"] == pytest.approx(72, abs=1)
    found = {f.name: f for f in report.findings}
    elevated = next(f for f in report.findings if "inferior" in f.text.lower() and "elevation" in f.text.lower())
    leads = {lead for e in elevated.evidence for lead in e.leads}
    assert {"II", "III", "aVF"} <= leads and elevated.source
    assert "NORM" not in found and report.conclusion and report.software.startswith("Einthoven ")


def test_every_finding_has_evidence_and_a_source() -> None:
    for labels in ((), ("lbbb",), ("atrial_fibrillation",), ("av_block_3",), ("ventricular_pacing",)):
        report = ecg.interpret(simulate(*labels, seed=3).record)
        assert report.findings
        for finding in report.findings:
            assert finding.evidence and finding.source, f"{labels}: {finding.name}"


@pytest.mark.parametrize("leads", [("II",), ("I", "II"), ("I", "II", "V2"), ("I", "II", "III", "aVR", "aVL", "aVF")])
def test_reduced_leads_are_first_class(leads: tuple[str, ...]) -> None:
    record = simulate(rate=64, seed=5).record.pick(leads)
    report = ecg.interpret(record)
    assert report.measurements["rate_bpm"] == pytest.approx(64, abs=1)
    assert report.measurements["qrs_ms"] == pytest.approx(simulate(rate=64, seed=5).truth["qrs_ms"], abs=30)
    if len(leads) == 1:
        assert np.isnan(report.measurements["qrs_axis_deg"]) and report.measurements.quantities["qrs_axis_deg"].why


@pytest.mark.parametrize("fill", [0.0, np.nan])
def test_an_empty_strip_gives_a_report_that_says_so(fill: float) -> None:
    record = Record(np.full((12, 5000), fill, np.float32), 500.0, ecg.record.STANDARD_LEADS)
    report = ecg.interpret(record)
    assert len(report.beats) == 0 and report.median is None and report.quality.readable == "unreadable"
    assert not any(f.name == "NORM" or f.severity == "normal" for f in report.findings)


def test_a_recorder_that_disagrees_is_named() -> None:
    record = simulate(rate=70, seed=1).record
    told = replace(record, machine={"rate_bpm": 14.0, "qrs_ms": 90.0})
    assert any("sampling rate" in words for words in ecg.interpret(told).warnings)
    agreed = replace(record, machine={"rate_bpm": 71.0, "qrs_ms": 95.0})
    assert not any("recorder" in words for words in ecg.interpret(agreed).warnings)


def test_no_ecg_is_one_error(tmp_path: object) -> None:
    with pytest.raises(EcgError, match="nowhere"):
        ecg.interpret("nowhere.xml")


def test_a_name_is_shown_without_its_carets() -> None:
    assert ecg.Patient(name="Doe^John^^Dr").shown_name == "Doe, John, Dr"
    assert ecg.Patient(name="Clark").shown_name == "Clark" and ecg.Patient().shown_name == ""


def test_the_models_opinion_is_what_predict_says() -> None:
    """At 100 Hz the features are taken over from the report, at 500 Hz they are not: either way as `einthoven predict`."""
    from einthoven.exchange.predict import Predictor
    from einthoven.signal.resample import resample

    fast = simulate("lbbb", rate=70, seed=4, age=60, sex="female").record
    for record in (fast, resample(fast, 100.0)):
        opinion = ecg.interpret(record).opinion
        assert opinion is not None and opinion.calibrated and opinion.model.startswith("einthoven-12 ")
        alone = Predictor.load().predict(record).labels
        assert {one.name: one.probability for one in opinion.labels} == pytest.approx(dict(alone), abs=1e-6)


def test_a_photo_of_paper_is_interpreted_as_the_file_is(tmp_path: Path) -> None:
    """From a phone's picture of the printed page: the same conclusion, the same intervals to within what paper resolves."""
    import cv2

    from einthoven.paper.distort import distort
    from einthoven.paper.render import render

    record = simulate("lbbb", rate=72, seed=11).record
    image, page = render(record, layout="3x4+1")
    picture, _ = distort(image, page, "photo", seed=5)
    cv2.imwrite(str(tmp_path / "photo.jpg"), picture[:, :, ::-1])
    file, photo = ecg.interpret(record, model=None), ecg.interpret(tmp_path / "photo.jpg", model=None)
    assert any("digitised from paper" in words for words in photo.warnings)
    assert photo.measurements["rate_bpm"] == pytest.approx(file.measurements["rate_bpm"], abs=2)
    assert photo.measurements["qrs_ms"] == pytest.approx(file.measurements["qrs_ms"], abs=20)
    assert {"clbbb"} <= {f.name for f in file.findings} & {f.name for f in photo.findings}


def test_a_short_strip_is_told_beside_the_models_opinion() -> None:
    record = simulate(rate=90, seed=5).record
    short, whole = ecg.interpret(record.crop(0, 3)).opinion, ecg.interpret(record).opinion
    assert short is not None and whole is not None
    assert any("3 s are little" in words for words in short.warnings)
    assert not any("little" in words for words in whole.warnings)
