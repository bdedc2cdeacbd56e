"""A Report as HL7 FHIR R4: a DiagnosticReport with its patient, software, measurements and findings contained.

Everything is "preliminary": no physician has verified it. Nothing is stated that the file does not say: no subject without a
patient, a date without a time where the recorder's time zone is not known (FHIR wants one), a data-absent reason for what
could not be measured. Codes: LOINC for measurements, SNOMED CT for findings, UCUM for units.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from einthoven.beats.measurements import Quantity
from einthoven.findings import Finding
from einthoven.interpretation import Report
from einthoven.opinion import Likelihood, Opinion
from einthoven.record import Record
from einthoven.report.asjson import number
from einthoven.report.limits import limit
from einthoven.report.words import RESEARCH_ONLY, evidence_lines, rows_shown, rules_words, title

Resource = dict[str, Any]

LOINC, SNOMED, UCUM = "http://loinc.org", "http://snomed.info/sct", "http://unitsofmeasure.org"
_TERMS = "http://terminology.hl7.org/CodeSystem"

# Measurement -> (LOINC code, its display, UCUM code). QTc has one LOINC code; which formula it is stands in `method`.
_CODES: Mapping[str, tuple[str, str, str]] = {
    "rate_bpm": ("8867-4", "Heart rate", "/min"),
    "pr_ms": ("8625-6", "P-R Interval", "ms"),
    "qrs_ms": ("8633-0", "QRS duration", "ms"),
    "qt_ms": ("8634-8", "Q-T interval", "ms"),
    "qtc_fridericia_ms": ("8636-3", "Q-T interval corrected", "ms"),
    "qtc_bazett_ms": ("8636-3", "Q-T interval corrected", "ms"),
    "p_axis_deg": ("8626-4", "P wave axis", "deg"),
    "qrs_axis_deg": ("8632-2", "QRS axis", "deg"),
    "t_axis_deg": ("8638-9", "T wave axis", "deg"),
}
_INTERPRETATION = {"low": ("L", "Low"), "high": ("H", "High"), "": ("N", "Normal")}


def to_fhir(report: Report) -> Resource:
    """The report as a DiagnosticReport (a dict for json.dumps)."""
    record = report.record
    patient = _patient(record)
    shared: Resource = {
        "status": "preliminary",
        "category": [_concept(f"{_TERMS}/observation-category", "procedure", "Procedure")],
    }
    if patient:
        shared["subject"] = {"reference": "#patient"}
    when = _when(record)
    if when:
        shared["effectiveDateTime"] = when
    shared["device"] = {"reference": "#software"}

    observations = [
        {"resourceType": "Observation", "id": name.replace("_", "-"), **shared, **_measured(report, name, q)}
        for name in _CODES
        if (q := report.measurements.quantities.get(name)) is not None
    ]
    observations += [
        {"resourceType": "Observation", "id": f"finding-{i}", **shared, **_found(f)} for i, f in enumerate(report.findings, 1)
    ]
    observations += [
        {"resourceType": "Observation", "id": f"{of}-{i}", **shared, **_likely(one, opinion)}
        for of, opinion in _numbered(report.opinions)
        for i, one in enumerate(_shown(opinion, report.opinions), 1)
    ]
    software: Resource = {
        "resourceType": "Device",
        "id": "software",
        "deviceName": [{"name": report.software, "type": "model-name"}],
        "note": [{"text": RESEARCH_ONLY}],
    }
    sure = [f for f in report.findings if f.confidence != "cannot be determined" and f.snomed]
    out: Resource = {
        "resourceType": "DiagnosticReport",
        "contained": [*([patient] if patient else []), software, *observations],
        "status": "preliminary",
        "category": [_concept(f"{_TERMS}/v2-0074", "EC", "Electrocardiac (e.g., EKG, EEC, Holter)")],
        "code": _concept(LOINC, "11524-6", "EKG study"),
        "result": [{"reference": f"#{o['id']}"} for o in observations],
        "conclusion": f"{report.conclusion} {RESEARCH_ONLY}",
    }
    if patient:
        out["subject"] = {"reference": "#patient"}
    if when:
        out["effectiveDateTime"] = when
    if _INSTANT.fullmatch(report.created):
        out["issued"] = report.created
    if sure:
        out["conclusionCode"] = [_concept(SNOMED, code, text) for code, text in {f.snomed or "": f.text for f in sure}.items()]
    return out


_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_DATE = re.compile(r"\d{4}(-\d\d(-\d\d)?)?")


def _measured(report: Report, name: str, q: Quantity) -> Resource:
    code, display, ucum = _CODES[name]
    out: Resource = {"code": {**_concept(LOINC, code, display), "text": title(name)}}
    if name.startswith("qtc_"):
        out["method"] = {"text": q.definition}
    if number(q.value) is None:
        out["dataAbsentReason"] = {
            **_concept(f"{_TERMS}/data-absent-reason", "unknown", "Unknown"),
            "text": q.why or "not measured",
        }
        return out
    out["valueQuantity"] = {"value": number(round(q.value, 1)), "unit": ucum, "system": UCUM, "code": ucum}
    bounds = limit(name, report.record.patient)
    if bounds:
        code, display = _INTERPRETATION[bounds.mark(q.value)]
        out["interpretation"] = [_concept(f"{_TERMS}/v3-ObservationInterpretation", code, display)]
        ends = {"low": number(bounds.low), "high": number(bounds.high)}
        quantities = {k: {"value": v, "unit": ucum, "system": UCUM, "code": ucum} for k, v in ends.items() if v is not None}
        out["referenceRange"] = [{**quantities, "text": bounds.source}]
    return out


def _found(finding: Finding) -> Resource:
    out: Resource = {"code": {**_concept(LOINC, "18844-1", "EKG impression"), "text": "ECG finding"}}
    said: Resource = {"text": finding.text}
    if finding.snomed:
        said["coding"] = [{"system": SNOMED, "code": finding.snomed}]
    if finding.confidence == "cannot be determined":
        unknown = _concept(f"{_TERMS}/data-absent-reason", "unknown", "Unknown")
        out["dataAbsentReason"] = {**unknown, "text": f"{finding.text}: cannot be determined"}
    else:
        out["valueCodeableConcept"] = said
    notes = [
        f"Confidence: {finding.confidence}.",
        *evidence_lines(finding.evidence),
        *([f"Source: {finding.source}"] if finding.source else []),
    ]
    out["note"] = [{"text": text} for text in notes]
    return out


def _numbered(opinions: Sequence[Opinion]) -> list[tuple[str, Opinion]]:
    """(the ids' beginning, the opinion): "model" of the first model of signals, "image-model" of the first of images, ..."""
    seen: dict[str, int] = {}
    out = []
    for one in opinions:
        of = "model" if one.sees == "signal" else "image-model"
        seen[of] = seen.get(of, 0) + 1
        out.append((of if seen[of] == 1 else f"{of}{seen[of]}", one))
    return out


def _shown(opinion: Opinion, opinions: Sequence[Opinion]) -> list[Likelihood]:
    names = {row.name for row in rows_shown(opinions)}
    return [one for one in opinion.labels if one.name in names]


def _likely(one: Likelihood, opinion: Opinion) -> Resource:
    """A model's probability: an observation of its own, never a finding."""
    said: Resource = {"text": one.text}
    if one.snomed:
        said["coding"] = [{"system": SNOMED, "code": one.snomed}]
    unit = {"value": number(round(100 * one.probability, 1)), "unit": "%", "system": UCUM, "code": "%"}
    if one.name in opinion.units:
        unit = {"value": number(one.probability), "unit": opinion.units[one.name]}
    notes = [
        f"Probability by the model {opinion.model}{' of the picture' if opinion.sees == 'picture' else ''}.",
        *([rules_words(one)] if one.rules else []),
    ]
    return {"code": said, "valueQuantity": unit, "note": [{"text": text} for text in notes]}


def _patient(record: Record) -> Resource | None:
    """Only what the file says; None where it says nothing."""
    p = record.patient
    out: Resource = {}
    if p.id:
        out["identifier"] = [{"value": p.id}]
    if p.name:
        out["name"] = [{"text": p.name}]
    if p.sex in ("male", "female"):
        out["gender"] = p.sex
    if p.birth_date and _DATE.fullmatch(p.birth_date):
        out["birthDate"] = p.birth_date
    return {"resourceType": "Patient", "id": "patient", **out} if out else None


def _when(record: Record) -> str | None:
    """The recording's time; only its date where the time zone is not known, since FHIR allows no time without one."""
    if record.start is None:
        return None
    if record.start.tzinfo is None:
        return record.start.date().isoformat()
    return record.start.isoformat(timespec="seconds")


def _concept(system: str, code: str, display: str) -> Resource:
    return {"coding": [{"system": system, "code": code, "display": display}]}
