"""A Report as plain text: for terminals, logs and systems that take nothing else."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from einthoven.beats.measurements import Measurements
from einthoven.interpretation import Report
from einthoven.opinion import Opinion, together
from einthoven.record import Patient
from einthoven.report.limits import limit
from einthoven.report.words import (
    ADVICE,
    HELD,
    MAIN,
    MORE,
    RESEARCH_ONLY,
    RULES,
    UNCONFIRMED,
    again,
    agreement,
    doubts,
    evidence_lines,
    figure,
    machine_value,
    model_notes,
    model_words,
    page_words,
    patient_words,
    provenance,
    rows_shown,
    sureness,
    title,
    told_rows,
    told_title,
    unit,
    verdict,
    voices,
    whose_words,
    worth_saying,
)

if TYPE_CHECKING:
    from einthoven.told import Told

_WIDE = 100


def to_text(report: Report) -> str:
    """Conclusion, findings with their evidence, measurements, the recorder's own words, quality and warnings."""
    record = report.record
    started = record.start.strftime("%Y-%m-%d %H:%M") if record.start else ""
    parts = ["  ".join(t for t in ("ECG", patient_words(record), started) if t), ""]
    parts += [*_wrap(report.conclusion), ""]
    for f in report.findings:
        parts += _wrap(f"{f.text}{sureness(f)}", "  - ", "    ")
        parts += [line for words in evidence_lines(f.evidence) for line in _wrap(words, "      ", "      ")]
    if report.unread:
        parts += paper_lines(report)
        if report.opinions:
            parts += [*opinion_lines(report.opinions), *_wrap(UNCONFIRMED, "  ! ", "    ")]
        return "\n".join([*parts, "", *(f"{name}: {value}" for name, value in provenance(report)), RESEARCH_ONLY])
    parts += paper_lines(report) + opinion_lines(report.opinions) + told_lines(report.told)
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


def paper_lines(report: Report) -> list[str]:
    """How the ECG was read off its paper, or why it was not; nothing for a digital file."""
    reading = report.paper
    if reading is None:
        return []
    again_ = f"  {again(report.record.source.path)}"
    if reading.why:
        parts = ["What helps:", *(line for words in ADVICE for line in _wrap(words, "  - ", "    "))]
        return [*parts, again_, *(line for words in reading.warnings for line in _wrap(words, "  ! ", "    "))]
    parts = ["", "From the paper:", *(f"  {name + ':':<13} {value}" for name, value in page_words(reading))]
    sure = ", ".join(f"{lead} {share:.0%}" for lead, share in reading.confidence.items())
    parts += _wrap(f"Confidence:   {sure}", "  ", "                ")
    parts += [line for words in doubts(reading) for line in _wrap(words, "  ! ", "    ")]
    return [*parts, "  To say what you know:", f"  {again_}"]


def opinion_lines(opinions: Sequence[Opinion]) -> list[str]:
    """What models say beside the rules, statement by statement; nothing where none was asked."""
    if not opinions:
        return []
    names = voices(opinions)
    wide = [max(len(name), 13) for name in names]
    ruled = any(row.rules for row in together(opinions))
    parts = ["", "What rules and models say:" if ruled else f"What the {' and the '.join(names).lower()} says:"]
    rows = rows_shown(opinions)
    if rows:
        heads = "".join(f"{name:<{w + 2}}" for name, w in zip(names, wide, strict=True))
        parts.append(f"  {'':<36}{'Rules' if ruled else '':<10}{heads}".rstrip())
    for row in rows:
        told = [model_words(one, each) for one, each in zip(row.models, opinions, strict=True)]
        cells = "".join(f"{words:<{w + 2}}" for words, w in zip(told, wide, strict=True))
        parts.append(f"  {row.text[:35]:<36}{RULES[row.rules] if ruled else '':<10}{cells}{verdict(row)}".rstrip())
    parts += _wrap(agreement(opinions), "  ", "  ") if agreement(opinions) else []
    return parts + [line for words in model_notes(opinions) for line in _wrap(words, "  ", "    ")]


def told_lines(told: Told | None) -> list[str]:
    """What a language model wrote, sentence by sentence, with what each rests on; nothing where none was asked."""
    if told is None:
        return []
    parts = ["", f"{told_title(told)}:", *_wrap(HELD, "  ", "  ")]
    for verdict_, words, proofs in told_rows(told):
        parts += _wrap(f"[{verdict_}] {words}" if verdict_ else words, "  - ", "    ")
        parts += [line for proof in proofs for line in _wrap(proof, "      ", "      ")]
    return parts


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
