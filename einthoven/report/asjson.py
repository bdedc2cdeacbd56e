"""A Report as JSON: plain values, versioned; docs/report-schema.md explains it, report.schema.json checks it.

NaN is null. Times are seconds from the start of the record, potentials millivolts, and every other name says its unit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from einthoven.beats.fiducials import FIDUCIALS, Beats
from einthoven.beats.measurements import Measurements
from einthoven.findings import Finding
from einthoven.interpretation import Report
from einthoven.opinion import Opinion, Row, together
from einthoven.paper.reading import Reading
from einthoven.record import Record
from einthoven.report.limits import limit
from einthoven.report.words import RESEARCH_ONLY
from einthoven.signal.quality import Quality

if TYPE_CHECKING:
    from einthoven.told import Told

SCHEMA = "einthoven.report/1"


def to_json(report: Report) -> dict[str, Any]:
    """The whole report as plain values for json.dumps(allow_nan=False)."""
    record = report.record
    return {
        "schema": SCHEMA,
        "software": report.software,
        "created": report.created or None,
        "disclaimer": RESEARCH_ONLY,
        "source": {"path": record.source.path, "format": record.source.format, "version": record.source.version},
        "record": record_json(record),
        "quality": quality_json(report.quality),
        "conclusion": report.conclusion,
        "findings": [finding_json(f) for f in report.findings],
        "opinion": None if report.opinion is None else opinion_json(report.opinion),
        "opinions": [{"sees": one.sees, **opinion_json(one)} for one in report.opinions],
        "agreement": [row_json(row) for row in together(report.opinions)],
        "paper": None if report.paper is None else paper_json(report.paper),
        "told": None if report.told is None else told_json(report.told),
        **measurements_json(report.measurements, record),
        "beats": beats_json(report.beats),
        "warnings": list(report.warnings),
    }


def record_json(record: Record) -> dict[str, Any]:
    """Leads, length, patient, device, and what the recorder itself measured and said; not the signal."""
    patient = {k: v for k, v in asdict(record.patient).items() if k != "extra"}
    simulated = list(record.statements) if record.source.format == "synth" else []
    return {
        **({"simulated": simulated} if simulated else {}),
        "leads": list(record.leads),
        "derived_leads": list(record.derived),
        "fs_hz": record.fs,
        "duration_s": record.duration,
        "start": record.start.isoformat() if record.start else None,
        "patient": {**{k: _plain(v) for k, v in patient.items()}, "extra": dict(record.patient.extra)},
        "device": {k: _plain(v) for k, v in asdict(record.device).items()},
        "machine": {
            "measurements": {k: number(v) for k, v in record.machine.items()},
            "statements": [] if simulated else list(record.statements),
            "codes": list(record.codes),
        },
    }


def quality_json(quality: Quality) -> dict[str, Any]:
    """Score, readability and flags of the record and of each lead."""
    leads = {
        name: {
            "score": number(q.score),
            "usable": q.usable,
            "flags": list(q.flags),
            "noise_uv": number(q.noise_uv),
            "mains_uv": number(q.mains_uv),
            "wander_uv": number(q.wander_uv),
        }
        for name, q in quality.leads.items()
    }
    return {"score": number(quality.score), "readable": quality.readable, "flags": list(quality.flags), "leads": leads}


def finding_json(finding: Finding) -> dict[str, Any]:
    """A finding with its evidence and codes."""
    evidence = [
        {
            "measurement": e.measurement,
            "value": number(e.value),
            "unit": e.unit,
            "threshold": e.threshold,
            "leads": list(e.leads),
            "beats": [int(b) for b in e.beats],
        }
        for e in finding.evidence
    ]
    return {
        "name": finding.name,
        "text": finding.text,
        "group": finding.group,
        "confidence": finding.confidence,
        "severity": finding.severity,
        "scp": finding.scp,
        "snomed": finding.snomed,
        "probability": None if finding.probability is None else number(finding.probability),
        "calibrated": finding.calibrated,
        "source": finding.source,
        "evidence": evidence,
    }


def opinion_json(opinion: Opinion) -> dict[str, Any]:
    """A model's opinion beside the rules: probabilities, what the rules say of the same, and where the two disagree."""
    labels = [
        {
            "name": one.name,
            "text": one.text,
            "probability": number(one.probability),
            "threshold": number(one.threshold),
            "present": one.present,
            "rules": one.rules or None,
            "scp": one.scp,
            "snomed": one.snomed,
        }
        for one in opinion.labels
    ]
    return {
        "model": opinion.model,
        "calibrated": opinion.calibrated,
        "scores": opinion.scores or None,
        "labels": labels,
        "disagreements": list(opinion.disagreements),
        "warnings": list(opinion.warnings),
    }


def told_json(told: Told) -> dict[str, Any]:
    """A language model's report: what it was asked, what it said, and what each sentence rests on."""
    return {"model": told.model, "question": told.question, "text": told.text, **told.grounded.to_dict()}


def row_json(row: Row) -> dict[str, Any]:
    """One statement and what each voice says of it: `models` in the order of `opinions`, null where one has no word on it."""
    decided = [None if one is None or one.threshold != one.threshold else one.present for one in row.models]
    return {
        "name": row.name,
        "text": row.text,
        "rules": row.rules or None,
        "models": decided,
        "verdict": row.verdict or None,
    }


def paper_json(reading: Reading) -> dict[str, Any]:
    """How the ECG was read off its paper; the pictures are in the HTML and PDF."""
    outline = None if reading.outline is None else (reading.outline / reading.scale).round(1).tolist()
    return {
        "why_not": reading.why or None,
        "means": reading.means or None,
        "layout": reading.layout or None,
        "speed_mm_s": number(reading.speed),
        "gain_mm_mv": number(reading.gain),
        "basis": dict(reading.basis),
        "outline_px": outline,
        "confidence": {lead: number(share) for lead, share in reading.confidence.items()},
        "missing_leads": list(reading.missing),
        "warnings": list(reading.warnings),
    }


def measurements_json(measurements: Measurements, record: Record | None = None) -> dict[str, Any]:
    """`measurements` and `leads`: every quantity with unit, definition and beats (and limits, where the record is given)."""
    out: dict[str, Any] = {}
    for name, q in measurements.quantities.items():
        out[name] = {
            "value": number(q.value),
            "unit": q.unit,
            "definition": q.definition,
            "beats": [int(b) for b in q.beats],
            "why_not": q.why or None,
        }
        bounds = limit(name, record.patient) if record is not None else None
        if bounds:
            low, high = (None if math.isinf(v) else v for v in (bounds.low, bounds.high))
            out[name]["limits"] = {"low": low, "high": high, "source": bounds.source, "mark": bounds.mark(q.value) or None}
    leads = {lead: {f.name: _plain(getattr(m, f.name)) for f in fields(m)} for lead, m in measurements.leads.items()}
    return {"measurements": out, "leads": leads}


def beats_json(beats: Beats) -> dict[str, Any]:
    """Fiducials in seconds: over all leads and of each lead, columns as in `fiducials`; lone P waves (onset, peak, offset)."""
    return {
        "fiducials": list(FIDUCIALS),
        "kinds": list(beats.kinds),
        "overall": _table(beats.overall),
        "leads": {lead: _table(beats.times[:, j]) for j, lead in enumerate(beats.leads)},
        "lone_p": _table(beats.lone_p_overall),
    }


def number(value: float) -> float | int | None:
    """A JSON number with six significant digits at most; None for NaN and infinities."""
    value = float(value)
    if not math.isfinite(value):
        return None
    return int(value) if value == int(value) and abs(value) < 1e15 else float(f"{value:.6g}")


def _table(values: NDArray[np.float64]) -> list[list[float | int | None]]:
    """Seconds to a tenth of a millisecond."""
    return [[None if v != v else round(v, 4) for v in row] for row in np.asarray(values, np.float64).tolist()]


def _plain(value: Any) -> Any:
    if isinstance(value, bool | str) or value is None:
        return value
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    return number(value)
