"""Every form of a report says the same, keeps to its schema, and takes nothing from outside."""

from __future__ import annotations

import importlib.resources
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from paper_examples import record_of
from test_paper_vector import pdf_streams

from einthoven.beats.fiducials import Beats
from einthoven.beats.measure import measure
from einthoven.beats.measurements import Measurements, Quantity
from einthoven.beats.median import median_beats
from einthoven.findings import Evidence, Finding, conclude, find
from einthoven.grounding import ground
from einthoven.interpretation import Report
from einthoven.record import Device, EcgError, Patient, Record, Source
from einthoven.report import measurements_json, measurements_text, save, to_fhir, to_html, to_json, to_pdf, to_text
from einthoven.report.limits import limit
from einthoven.report.sheet import Sheet
from einthoven.report.summary import line_of
from einthoven.report.words import evidence_words, figure
from einthoven.signal.quality import assess
from einthoven.synth import CONDITIONS, simulate
from einthoven.told import Told

HOSTILE = "<script>alert('x')</script>\"&lt;' onload=1"


def beats_of(record: Record) -> Beats:
    """The truth of record_of: an R peak half a second into each second, T 0.3 s later, no P."""
    n = int(record.duration)
    row = np.array([np.nan, np.nan, np.nan, 0.46, 0.5, 0.54, 0.7, 0.8, 0.9])
    overall = row + np.arange(n)[:, None]
    times = np.repeat(overall[:, None], len(record.leads), axis=1)
    return Beats(record.leads, times, overall, ("N",) * n, record.duration)


def report_of(record: Record) -> Report:
    beats = beats_of(record)
    figures, quality = measure(record, beats), assess(record)
    findings = find(record, beats, figures, quality)
    return Report(
        record=record,
        beats=beats,
        measurements=figures,
        quality=quality,
        findings=findings,
        conclusion=conclude(findings),
        median=median_beats(record, beats) if len(beats) else None,
        warnings=(*record.warnings, *figures.warnings),
        created="2026-11-20T12:00:00+00:00",
    )


@pytest.fixture(scope="module")
def record() -> Record:
    return replace(
        record_of(),
        start=datetime(2020, 2, 3, 4, 5, 6),
        patient=Patient(id="P-1", name="Müller, Zoë", age=63, sex="female", birth_date="1957-01-30"),
        device=Device("Maker", "Model", highpass_hz=0.05, lowpass_hz=150),
        machine={"rate_bpm": 61.0, "qtc_ms": 415.0, "odd": float("nan")},
        statements=("Sinus rhythm",),
        source=Source("folder/ecg.xml", "HL7 aECG", "v3"),
        warnings=("lead III was derived",),
    )


@pytest.fixture(scope="module")
def report(record: Record) -> Report:
    return report_of(record)


def schema() -> dict[str, object]:
    text = importlib.resources.files("einthoven.report").joinpath("report.schema.json").read_text(encoding="utf-8")
    out: dict[str, object] = json.loads(text)
    return out


def reduced(leads: tuple[str, ...]) -> Report:
    return report_of(record_of(leads))


def nothing() -> Report:
    """A record in which nothing can be found."""
    return report_of(Record(np.full((12, 300), np.nan, np.float32), 500, record_of().leads))


@pytest.mark.parametrize(
    "make", [lambda: reduced(("II",)), lambda: reduced(("I", "II", "V2")), nothing], ids=["1", "3", "none"]
)
def test_reports_of_few_leads_or_none_keep_to_every_form(make: object, tmp_path: Path) -> None:
    made = make()  # type: ignore[operator]
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(json.loads(json.dumps(to_json(made), allow_nan=False)), schema())
    for suffix in (".html", ".pdf", ".txt", ".json", ".fhir.json"):
        save(made, tmp_path / f"r{suffix}")
        assert (tmp_path / f"r{suffix}").stat().st_size > 200


def test_json_keeps_to_its_schema(report: Report) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    values = json.loads(json.dumps(to_json(report), allow_nan=False))
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(values, schema())
    assert values["record"]["machine"]["measurements"] == {"rate_bpm": 61, "qtc_ms": 415, "odd": None}
    assert values["measurements"]["pr_ms"]["value"] is None and values["measurements"]["pr_ms"]["why_not"]
    assert values["measurements"]["rate_bpm"]["value"] == pytest.approx(60, abs=0.1)
    assert values["measurements"]["rate_bpm"]["limits"] | {"source": ""} == {"low": 60, "high": 100, "source": "", "mark": None}
    assert len(values["beats"]["overall"]) == 10 and values["beats"]["overall"][0][4] == 0.5
    assert values["source"] == {"path": "folder/ecg.xml", "format": "HL7 aECG", "version": "v3"}


def test_measurements_alone(report: Report) -> None:
    values = measurements_json(report.measurements)
    assert values["measurements"].keys() == report.measurements.quantities.keys() and "V6" in values["leads"]
    text = measurements_text(report.measurements)
    assert re.search(r"Heart rate +60 /min", text) and re.search(r"PR interval +–", text)


def test_text_says_conclusion_evidence_and_limits_of_use(report: Report) -> None:
    text = to_text(report)
    for words in (
        "Müller, Zoë",
        "Research use only",
        "lead III was derived",
        "Heart rate",
        "What the recorder said",
        "folder/ecg.xml",
    ):
        assert words in text
    assert report.findings[0].text in text and max(len(line) for line in text.splitlines()) <= 110


class Outside(HTMLParser):
    """Collects what a page would fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href", "action", "data")]
        self.handlers += [k for k, _ in attrs if k.startswith("on")]


def test_html_needs_and_runs_nothing(report: Report) -> None:
    html = to_html(report)
    found = Outside()
    found.feed(html)
    assert not {"script", "link", "img", "iframe", "object", "embed", "form", "base"} & set(found.tags)
    assert found.links == [] and found.handlers == []
    outside = [u for u in re.findall(r"https?://[^\s\"'<>]+", html) if u != "http://www.w3.org/2000/svg"]
    assert outside == [] and "@import" not in html and not re.search(r"url\((?!#)", html)
    assert len(html) < 600_000 and html.count("<svg") == 2
    for words in (report.findings[0].text, "Heart rate", "Research use only", "What the recorder said", "lead III was derived"):
        assert words in html


def test_a_simulated_ecg_has_no_recorder_that_says_anything() -> None:
    made = report_of(simulate("rbbb", seed=3).record)
    words, said = to_json(made)["record"], CONDITIONS["rbbb"].meaning
    assert said in words["simulated"] and words["machine"]["statements"] == []
    for text in (to_html(made), to_text(made)):
        assert "What was simulated" in text and said in text and "recorder said" not in text


def test_html_escapes_what_the_file_says(record: Record) -> None:
    bad = replace(
        record,
        patient=Patient(id=HOSTILE, name=HOSTILE),
        device=Device(HOSTILE, HOSTILE, institution=HOSTILE),
        statements=(HOSTILE,),
        source=Source(HOSTILE, HOSTILE),
        warnings=(HOSTILE,),
        leads=(HOSTILE, *record.leads[1:]),
    )
    made = report_of(bad)
    evil = Finding(
        "x", HOSTILE, HOSTILE, severity=HOSTILE, source=HOSTILE, evidence=(Evidence(HOSTILE, 1.0, HOSTILE, HOSTILE),)
    )
    made = replace(made, findings=(evil,), conclusion=HOSTILE, software=HOSTILE, created=HOSTILE)
    found = Outside()
    html = to_html(made)
    found.feed(html)
    assert "script" not in found.tags and found.handlers == [] and "<script" not in html
    to_pdf(made), to_text(made), to_fhir(made)


def test_pdf_has_the_trace_and_the_findings(report: Report) -> None:
    streams = pdf_streams(to_pdf(report))
    assert len(streams) >= 2
    assert "(V6) Tj" in streams[0] and "(25 mm/s   10 mm/mV) Tj" in streams[0]
    rest = "".join(streams[1:])
    assert "(Findings and their evidence) Tj" in rest and "(Heart rate) Tj" in rest and "(QRS duration) Tj" in rest
    assert f"({report.findings[0].text})" in rest


def test_a_long_report_flows_over_pages(report: Report) -> None:
    many = replace(report, findings=report.findings * 12)
    streams = pdf_streams(to_pdf(many))
    assert len(streams) >= 3
    assert sum(s.count(f"({report.findings[0].text})") for s in streams[1:]) == 12
    for stream in streams:
        for x, y in re.findall(r"Tf (-?[\d.]+) (-?[\d.]+) Td", stream):
            assert 0 <= float(x) <= 842 and -120 <= float(y) <= 596


def test_fhir_has_what_r4_requires(report: Report) -> None:
    fhir = json.loads(json.dumps(to_fhir(report), allow_nan=False))
    assert fhir["resourceType"] == "DiagnosticReport" and fhir["status"] == "preliminary"
    assert fhir["code"]["coding"][0] | {"display": ""} == {"system": "http://loinc.org", "code": "11524-6", "display": ""}
    assert fhir["effectiveDateTime"] == "2020-02-03" and fhir["issued"] == "2026-11-20T12:00:00+00:00"
    inside = {r["id"]: r for r in fhir["contained"]}
    assert len(inside) == len(fhir["contained"]) and all(re.fullmatch(r"[A-Za-z0-9\-.]{1,64}", i) for i in inside)
    assert inside["patient"] == {
        "resourceType": "Patient",
        "id": "patient",
        "identifier": [{"value": "P-1"}],
        "name": [{"text": "Müller, Zoë"}],
        "gender": "female",
        "birthDate": "1957-01-30",
    }
    # Every contained resource is referred to, and every reference is contained.
    referred = set(re.findall(r'"reference": "#([^"]+)"', json.dumps(fhir)))
    assert referred == set(inside)
    for observation in (r for r in inside.values() if r["resourceType"] == "Observation"):
        assert observation["status"] == "preliminary" and observation["code"]["coding"]
        values = [k for k in observation if k.startswith("value") or k == "dataAbsentReason"]
        assert len(values) == 1
    rate = inside["rate-bpm"]
    assert rate["code"]["coding"][0]["code"] == "8867-4"
    assert rate["valueQuantity"] == {"value": 60, "unit": "/min", "system": "http://unitsofmeasure.org", "code": "/min"}
    assert rate["interpretation"][0]["coding"][0]["code"] == "N"
    assert "valueQuantity" not in inside["pr-ms"] and inside["pr-ms"]["dataAbsentReason"]["text"]
    assert {inside[n]["code"]["coding"][0]["code"] for n in ("qtc-bazett-ms", "qtc-fridericia-ms")} == {"8636-3"}


def test_fhir_says_only_what_the_file_says(record: Record) -> None:
    bare = to_fhir(report_of(record_of()))
    assert "subject" not in bare and "effectiveDateTime" not in bare
    assert not any(r["resourceType"] == "Patient" for r in bare["contained"])
    zoned = to_fhir(report_of(replace(record, start=datetime(2020, 2, 3, 4, 5, 6, tzinfo=UTC))))
    assert zoned["effectiveDateTime"] == "2020-02-03T04:05:06+00:00"
    odd = to_fhir(report_of(replace(record, patient=Patient(birth_date="30.1.57"))))
    assert "birthDate" not in json.dumps(odd)


def test_undetermined_findings_are_no_findings_in_fhir(report: Report) -> None:
    unsure = Finding("q_waves", "Pathological Q waves", "infarction", "cannot be determined", snomed="164917005")
    fhir = to_fhir(replace(report, findings=(unsure,)))
    (found,) = (r for r in fhir["contained"] if r["id"] == "finding-1")
    assert "valueCodeableConcept" not in found and "dataAbsentReason" in found and "conclusionCode" not in fhir


def test_limits_know_sex_and_age() -> None:
    man, woman, child = Patient(sex="male", age=50), Patient(sex="female", age=50), Patient(age=7)
    for value, marks in (
        (449, ("", "")),
        (450, ("high", "")),
        (459, ("high", "")),
        (460, ("high", "high")),
        (390, ("low", "low")),
    ):
        for patient, mark in zip((man, woman), marks, strict=True):
            bounds = limit("qtc_fridericia_ms", patient)
            assert bounds is not None and bounds.mark(value) == mark
    assert limit("rate_bpm", child) is None and limit("t_axis_deg", man) is None
    rate = limit("rate_bpm", Patient())
    assert rate is not None and rate.mark(float("nan")) == "" and str(rate) == "60 to 100"


def test_evidence_of_several_leads_is_one_row() -> None:
    leads = (("V1", 0.21), ("V2", 0.30))
    finding = Finding("x", "X", "st-t", evidence=tuple(Evidence("st_j_mv", v, "mV", ">= 0.2", (lead,)) for lead, v in leads))
    assert evidence_words(finding.evidence) == [("ST at J", "V1 0.21, V2 0.30 mV", "≥ 0.2")]
    together = Finding("x", "X", "st-t", evidence=(Evidence("qrs_ms", 131.4, "ms", ">= 120"), Evidence("rate_bpm", 61, "/min")))
    assert evidence_words(together.evidence) == [("QRS duration", "131 ms", "≥ 120"), ("Heart rate", "61 /min", "")]


def test_a_language_models_report_stands_in_every_form_with_what_it_rests_on(report: Report, tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    wrote = "Heart rate 61/min. QRS 150 ms. See you soon <script>."
    figures = (
        replace(report.measurements.quantities["rate_bpm"], value=61.0),
        replace(report.measurements.quantities["qrs_ms"], value=80.0),
    )
    known = Measurements({**report.measurements.quantities, "rate_bpm": figures[0], "qrs_ms": figures[1]}, {})
    told = Told("writer", "Write.", wrote, ground(wrote, known, report.findings, report.quality))
    made = replace(report, told=told)
    verdicts = [s["verdict"] for s in to_json(made)["told"]["sentences"]]
    assert verdicts == ["supported", "contradicted", "no claim"]
    jsonschema.validate(json.loads(json.dumps(to_json(made), allow_nan=False)), schema())
    right, wrong = "supported: Heart rate 61 /min: measured 61 /min", "contradicted: QRS duration 150 ms: measured 80 ms"
    words = " ".join(to_text(made).split())
    assert "What the language model writer writes:" in words and right in words and wrong in words
    page = to_html(made)
    assert right in page and wrong in page and "<script>" not in page.split("</style>")[1]
    save(made, tmp_path / "r.pdf")
    drawn = " ".join(pdf_streams((tmp_path / "r.pdf").read_bytes()))
    assert (
        "See you soon <script>." in drawn and wrong in drawn and right not in drawn
    )  # on paper the doubtful ones have reasons
    line = line_of(made)["told"]
    assert line["flagged"] == ["QRS 150 ms."] and line["claims"]["supported"] == 1
    assert to_json(report)["told"] is None and "language model" not in to_text(report)


def test_figures() -> None:
    figures = {(float("nan"), "ms"): "–", (131.4, "ms"): "131", (-0.2, "deg"): "0", (0.1249, "mV"): "0.12", (3.0, ""): "3"}
    assert {k: figure(*k) for k in figures} == figures


def test_save_refuses_what_it_cannot_write(report: Report, tmp_path: Path) -> None:
    with pytest.raises(EcgError, match="a report is written as"):
        save(report, tmp_path / "report.docx")
    with pytest.raises(EcgError, match="a report is written as"):
        save(report, tmp_path / "report.json", "docx")
    with pytest.raises(EcgError, match="cannot be written"):
        save(report, tmp_path / "missing" / "report.json")
    save(report, tmp_path / "report.out", "fhir")
    assert json.loads((tmp_path / "report.out").read_text())["resourceType"] == "DiagnosticReport"
    assert [p.name for p in tmp_path.iterdir()] == ["report.out"]


def test_unknown_quantities_do_not_break_a_report(report: Report) -> None:
    more = {**report.measurements.quantities, "new_ms": Quantity(12.0, "ms", "something new")}
    made = replace(report, measurements=Measurements(more, report.measurements.leads))
    assert to_json(made)["measurements"]["new_ms"]["value"] == 12
    to_html(made), to_pdf(made), to_text(made)


def test_pdf_writes_names_in_their_own_script() -> None:
    """Where the standard fonts lack a letter, the line is a stencil of the renderer's own fonts: ink where they have it."""
    plain, drawn = Sheet(100, 50), Sheet(100, 50)
    for words in ("Müller, Zoë ≥ 1", "Why?", "דן"):
        plain.text(10, 20, 4, words)
    assert all(" Tj " in line and "BI" not in line for line in plain.operators)
    drawn.text(90, 20, 4, "Пётр 山田", anchor="end")
    (operator,) = drawn.operators
    wide, high = (int(re.search(rf"/{k} (\d+)", operator)[1]) for k in "WH")  # type: ignore[index]
    rows = bytes.fromhex(re.search(r"ID\n([0-9a-f]+)>", operator)[1])  # type: ignore[index]
    ink = np.unpackbits(np.frombuffer(rows, np.uint8).reshape(high, -1), axis=1)[:, :wide] == 0
    columns = np.flatnonzero(ink.any(0))
    scale, _, _, _, left, bottom = map(float, re.search(r"rg ([-\d. ]+) cm", operator)[1].split())  # type: ignore[index]
    mm = 25.4 / 72
    assert 88 < left * mm + (columns[-1] + 1) / wide * scale * mm <= 90.1  # it ends where it should
    base = 50 - bottom * mm - (high - 1 - np.flatnonzero(ink.any(1))[-1]) * scale / wide * mm
    assert 20 <= base < 21.5  # the letters stand on the base line, their tails below
    assert len(set(np.diff(columns))) > 1  # there are gaps between letters
