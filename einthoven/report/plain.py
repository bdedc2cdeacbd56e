"""A Report as plain text: for terminals, logs and systems that take nothing else."""

from __future__ import annotations

import textwrap

from einthoven.beats.measurements import Measurements
from einthoven.interpretation import Report
from einthoven.opinion import Opinion
from einthoven.record import Patient
from einthoven.report.limits import limit
from einthoven.report.words import (
    MAIN,
    MORE,
    RESEARCH_ONLY,
    evidence_lines,
    figure,
    likelihood,
    machine_value,
    opinion_shown,
    patient_words,
    provenance,
    rules_words,
    sureness,
    title,
    unit,
    whose_words,
    worth_saying,
)

_WIDE = 100


def to_text(report: Report) -> str:
    """Conclusion, findings with their evidence, measurements, the recorder's own words, quality and warnings."""
    record = report.record
    started = record.start.strftime("%Y-%m-%d %H:%M") if record.start else ""
    parts = ["  ".join(t for t in ("ECG", patient_words(record), started) if t), ""]
    parts += [*_wrap(report.conclusion), ""]
    for f in report.findings:
        parts += _wrap(f"{f.text}{sureness(f)}", "  - ", "    ")
        parts += [line for words in evidence_lines(f) for line in _wrap(words, "      ", "      ")]
    parts += opinion_lines(report.opinion)
    parts += ["", measurements_text(report.measurements, record.patient)]
    own = {n: machine_value(record, n) for n in MAIN}
    told = [f"{title(n)} {figure(v)}" for n, v in own.items() if v == v]
    if told or record.statements:
        parts += ["", f"{whose_words(record)}:"]
        parts += _wrap(", ".join(told), "  ", "  ") if told else []
        parts += [line for s in record.statements for line in _wrap(s, "  ", "    ")]
    flags = ", ".join(report.quality.flags)
    parts += ["", f"Signal: {report.quality.readable}" + (f" ({flags})" if flags else "")]
    parts += [line for w in report.warnings for line in _wrap(w, "  ! ", "    ")]
    parts += ["", *(f"{name}: {value}" for name, value in provenance(report)), RESEARCH_ONLY]
    return "\n".join(parts)


def opinion_lines(opinion: Opinion | None) -> list[str]:
    """What the model says beside the rules; nothing where none was asked."""
    if opinion is None:
        return []
    parts = ["", *_wrap(f"The model's opinion ({opinion.model}):")]
    for one in opinion_shown(opinion):
        mark = "*" if one.present else " "
        parts.append(f"  {mark} {one.text:<36}{likelihood(one, opinion):>7}   {rules_words(one)}".rstrip())
    parts += [line for words in opinion.disagreements for line in _wrap(words, "  ? ", "    ")]
    parts += [line for words in opinion.warnings for line in _wrap(words, "  ! ", "    ")]
    return parts + (_wrap(f"* reaches its threshold. {opinion.scores}".rstrip(), "  ", "  ") if opinion.labels else [])


def measurements_text(measurements: Measurements, patient: Patient | None = None) -> str:
    """The measurements, one a line, those outside the adult limits marked."""
    patient = patient or Patient()
    lines = []
    for name in (*MAIN, *MORE):
        q = measurements.quantities.get(name)
        if q is None or not (name in MAIN or worth_saying(name, q)):
            continue
        bounds = limit(name, patient)
        mark = bounds.mark(q.value) if bounds else ""
        note = f"{mark}, normal {bounds}" if mark else q.why
        lines.append(f"  {title(name):<32}{figure(q.value, q.unit):>7} {unit(q.unit):<5} {note}".rstrip())
    return "\n".join(lines)


def _wrap(text: str, first: str = "", rest: str = "") -> list[str]:
    return textwrap.wrap(text, _WIDE, initial_indent=first, subsequent_indent=rest) or [first.rstrip()]
