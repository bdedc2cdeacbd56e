"""How a report names and writes what it holds: names of measurements, figures, lines about patient and device."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from einthoven.beats.measurements import Quantity
from einthoven.findings import Evidence, Finding
from einthoven.interpretation import Report
from einthoven.opinion import Likelihood, Opinion, Row, together
from einthoven.paper.page import Page
from einthoven.paper.reading import Reading
from einthoven.paper.render import prepare
from einthoven.record import Record
from einthoven.statements import STATEMENTS, SUPERCLASSES

if TYPE_CHECKING:
    from einthoven.grounding import Claim
    from einthoven.told import Told

RESEARCH_ONLY = "Research use only. Not a medical device. To be verified by a physician."

# The measurements a reader sees first, in this order.
MAIN: Mapping[str, str] = {
    "rate_bpm": "Heart rate",
    "pr_ms": "PR interval",
    "p_ms": "P duration",
    "qrs_ms": "QRS duration",
    "qt_ms": "QT interval",
    "qtc_fridericia_ms": "QTc (Fridericia)",
    "qtc_bazett_ms": "QTc (Bazett)",
    "p_axis_deg": "P axis",
    "qrs_axis_deg": "QRS axis",
    "t_axis_deg": "T axis",
}
# All others.
MORE: Mapping[str, str] = {
    "qtc_framingham_ms": "QTc (Framingham)",
    "qtc_hodges_ms": "QTc (Hodges)",
    "jt_ms": "JT interval",
    "rr_ms": "RR, mean",
    "rr_min_ms": "RR, shortest",
    "rr_max_ms": "RR, longest",
    "rr_sd_ms": "RR, SD (SDNN)",
    "rr_rmssd_ms": "RR, RMSSD",
    "rr_irregularity": "RR irregularity",
    "atrial_rate_bpm": "Atrial rate",
    "p_fraction": "QRS with P wave",
    "p_per_qrs": "P waves per QRS",
    "pr_sd_ms": "PR, SD",
    "qrs_t_angle_deg": "QRS-T angle",
    "spikes": "Pacing spikes",
    "n_beats": "Beats",
    "n_ventricular": "Ventricular beats",
    "n_supraventricular": "Premature supraventricular beats",
    "n_paced": "Paced beats",
}
# What else evidence may name: amplitudes and durations of single leads (LeadMeasurements), the atria.
OF_LEADS: Mapping[str, str] = {
    "p_mv": "P", "p_ms": "P duration", "p_initial_mv": "P, first part", "p_terminal_mv": "P, last part",
    "p_terminal_force_mvms": "P terminal force", "q_mv": "Q", "q_ms": "Q duration", "r_mv": "R", "r_ms": "R duration",
    "s_mv": "S", "s_ms": "S duration", "r2_mv": "R'", "r2_ms": "R' duration", "s2_mv": "S'", "qrs_ms": "QRS duration",
    "r_peak_time_ms": "R peak time", "delta_mv": "Delta wave", "delta_ms": "Delta wave duration", "st_j_mv": "ST at J",
    "st_j60_mv": "ST at J+60 ms", "st_j80_mv": "ST at J+80 ms", "st_slope_mv_s": "ST slope", "t_mv": "T",
    "t_negative_mv": "T, negative part", "t_symmetry": "T symmetry", "u_mv": "U", "noise_uv": "Noise",
    "f_wave_hz": "Dominant atrial frequency", "f_wave_power": "Its share of power",
}  # fmt: skip
# What a recorder's own measurement is compared with.
MACHINE: Mapping[str, str] = {"qtc_bazett_ms": "qtc_ms"}
UNITS: Mapping[str, str] = {"deg": "°", "/min": "/min"}
GROUPS: Mapping[str, str] = {
    "summary": "Summary",
    "rhythm": "Rhythm",
    "pacing": "Pacing",
    "conduction": "Conduction",
    "axis": "Axis",
    "hypertrophy": "Chambers",
    "infarction": "Infarction",
    "st-t": "ST-T",
    "quality": "Quality",
}


# A reader wants the superclasses, what is likely, and what is disputed; the other labels of a long list are in the JSON.
_FEW, _LIKELY = 8, 0.1


def rows_shown(opinions: Sequence[Opinion]) -> list[Row]:
    """What rules and models say, as far as a page shows it: all of a short list, else what is likely, large or disputed."""
    rows = together(opinions)
    if len(rows) <= _FEW:
        return list(rows)
    return [
        row
        for row in rows
        if row.name in SUPERCLASSES
        or row.verdict == "disagree"
        or any(one.present or one.probability >= _LIKELY for one in row.models if one is not None)
    ]


def voices(opinions: Sequence[Opinion]) -> list[str]:
    """What the models are called on a page: "Model" where there is one, else by what they look at."""
    if len(opinions) == 1 and opinions[0].sees == "signal":
        return ["Model"]
    names = ["Signal model" if one.sees == "signal" else "Image model" for one in opinions]
    again = {name for name in names if names.count(name) > 1}
    return [f"{name} {one.model}" if name in again else name for name, one in zip(names, opinions, strict=True)]


def likelihood(one: Likelihood, opinion: Opinion) -> str:
    """A probability in per cent, or a regression's value with its unit."""
    if one.name in opinion.units:
        return f"{one.probability:.4g} {opinion.units[one.name]}"
    return (
        f"{100 * one.probability:.0f} %"
        if 0.01 <= one.probability <= 0.99
        else ("< 1 %" if one.probability < 0.5 else "> 99 %")
    )


def model_words(one: Likelihood | None, opinion: Opinion) -> str:
    """A model's word on one statement: "yes, 97 %", "no, 3 %"; the figure alone where it has no threshold."""
    if one is None:
        return "–"
    figure_ = likelihood(one, opinion)
    return figure_ if one.threshold != one.threshold else f"{'yes' if one.present else 'no'}, {figure_}"


RULES: Mapping[str, str] = {"present": "yes", "possible": "possible", "absent": "no", "": "–"}


def verdict(row: Row) -> str:
    """Whether the voices agree, and how many say yes where they do not."""
    said = row.said
    if row.verdict == "disagree":
        return f"disagree, {sum(said)} of {len(said)} yes" if len(said) > 2 else "disagree"
    return {"agree": "all agree" if len(said) > 2 else "agree", "": ""}[row.verdict]


def agreement(opinions: Sequence[Opinion]) -> str:
    """In one sentence: on how many statements the voices agree, and on which they do not."""
    rows = [row for row in together(opinions) if row.verdict]
    differ = [row.text for row in rows if row.verdict == "disagree"]
    if not rows:
        return ""
    names = ["rules", *(v.lower() for v in voices(opinions))]
    who = f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
    who = who[:1].upper() + who[1:]
    if not differ:
        return f"{who} agree on all {len(rows)} statements."
    return (
        f"{who} agree on {len(rows) - len(differ)} of {len(rows)} statements. "
        f"Look at the trace where they disagree: {', '.join(_lower(t) for t in differ)}."
    )


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


def rules_words(one: Likelihood) -> str:
    """What the rules say of the same, for a note."""
    told = {"present": "rules: yes", "possible": "rules: possible", "absent": "rules: no", "": ""}[one.rules]
    return f"{told}, disagree" if one.disputed else told


_LOOKED = {
    "picture": ", which looks at the picture itself, not at the traces",
    "drawing": ", which looks at a drawing of the signal",
}


def model_notes(opinions: Sequence[Opinion]) -> list[str]:
    """Under the table: of each model which it is, how good it is, and what has to be said of it."""
    out: list[str] = []
    for name, one in zip(voices(opinions), opinions, strict=True):
        out += one.warnings
        sure = "calibrated" if one.calibrated else "not calibrated"
        out.append(f"{name}: {one.model}{_LOOKED.get(one.sees, '')}; its probabilities are {sure}. {one.scores}".strip())
    return out


# ---- paper ----------------------------------------------------------------------------------------------------------------

_BASIS = {"given": "as you said", "read": "read", "assumed": "the usual, not read"}


def page_words(reading: Reading) -> list[tuple[str, str]]:
    """(name, value) of what is known of the page, and how it is known."""
    if not reading.means:
        return []
    told = {name: _BASIS.get(how, how) for name, how in reading.basis.items()}
    if reading.basis.get("layout") == "assumed":
        told["layout"] = "lead names hardly read, the usual order"
    by = {"image": "by the ink in the picture", "vectors": "by the lines drawn in the PDF"}
    return [
        ("Traces", by.get(reading.means, reading.means)),
        ("Layout", f"{reading.layout} ({told.get('layout', '')})"),
        ("Paper speed", f"{reading.speed:g} mm/s ({told.get('speed', '')})"),
        ("Gain", f"{reading.gain:g} mm/mV ({told.get('gain', '')})"),
    ]


_MISREAD = 0.5  # below this the limb leads contradict each other, or the print was hardly told from its paper


def doubts(reading: Reading) -> list[str]:
    """What a reader has to know before the findings: what was taken for granted, and which leads are not sure."""
    out = []
    low = [lead for lead, share in reading.confidence.items() if share < _MISREAD]
    if low:
        out.append(f"Probably misread or misnamed: {', '.join(low)}. Do not rely on the findings before you have compared.")
    if reading.basis.get("layout") == "assumed":
        out.append(
            f"The lead names could hardly be read: the usual order of {reading.layout} was taken. Check them on the page."
        )
    if reading.unsure:
        out.append(f"Not sure of {reading.unsure_words}: compare the traces with the print.")
    if reading.missing:
        out.append(f"Not read from the paper: {', '.join(reading.missing)}.")
    taken = {name for name in ("speed", "gain") if reading.basis.get(name) == "assumed"}
    if "speed" in taken:
        out.append(f"Rate and intervals assume the usual {reading.speed:g} mm/s: the paper speed was not read from the page.")
    if "gain" in taken:
        out.append(f"Amplitudes assume the usual {reading.gain:g} mm/mV: no calibration was read from the page.")
    return out


def flags_of_leads(report: Report) -> list[tuple[str, str]]:
    """(lead, what is wrong with it). That a lead of paper lasts a column of its page is no fault, and the page shows it."""
    out = []
    for lead, q in report.quality.leads.items():
        flags = [flag for flag in q.flags if not (report.paper and flag == "missing" and lead in report.paper.confidence)]
        out += [(lead, ", ".join(flags))] if flags else []
    return out


def sheet_of(report: Report, **options: Any) -> Page:
    """The record's page: what came from paper as it stood there, as far as its layout is one of the usual."""
    reading = report.paper
    if reading is not None and reading.rhythm and reading.layout in ("3x4+1", "3x4+2", "3x4+3", "6x2+1", "6x2+2"):
        options |= {"layout": reading.layout, "rhythm": reading.rhythm}
    return prepare(report.record, **options)


def again(path: str | None) -> str:
    """How to give what was not found."""
    file = Path(path.replace("\\", "/")).name if path else "photo.jpg"
    if not re.fullmatch(r"[\w.+-]+", file):  # what a shell would take apart, or a hostile name
        file = "photo.jpg"
    return f"einthoven interpret {file} --layout 3x4+1 --speed 25 --gain 10 --corners X,Y,X,Y,X,Y,X,Y"


UNCONFIRMED = (
    "No trace could be read, so no rule and no measurement confirms this. The model learned, and was calibrated, from pictures "
    "that show a whole ECG; it says something of any picture."
)
ADVICE = (
    "Lay the sheet flat and photograph it whole, from straight above, in even light without flash or shadow.",
    "The millimetre grid must be sharp: come closer, or scan at 200 dpi or more.",
    "Where the picture shows more than the sheet, give the sheet's corners; where its layout is rare, say it.",
)


def title(name: str) -> str:
    """A measurement's name for the reader."""
    return MAIN.get(name) or MORE.get(name) or OF_LEADS.get(name) or name.replace("_", " ")


def evidence_words(evidence: Sequence[Evidence]) -> list[tuple[str, str, str]]:
    """Evidence as rows (what was measured or found, its value, what it was held against).

    The same measurement of several leads against the same threshold is one row.
    """
    rows: list[tuple[str, str, str]] = []
    groups: dict[tuple[str, str, str, int], list[Evidence]] = {}
    for i, e in enumerate(evidence):
        groups.setdefault((e.measurement, e.unit, e.threshold, -1 if len(e.leads) == 1 else i), []).append(e)
    for alike in groups.values():
        e = alike[0]
        held = e.threshold.replace(">=", "≥").replace("<=", "≤")
        if e.measurement in STATEMENTS:  # a summary rests on other findings
            rows.append((STATEMENTS[e.measurement].text, "", held))
        elif len(alike) > 1:
            values = ", ".join(f"{x.leads[0]} {figure(x.value, x.unit)}" for x in alike)
            rows.append((title(e.measurement), f"{values} {unit(e.unit)}".strip(), held))
        else:
            where = f" in {', '.join(e.leads)}" if e.leads else ""
            rows.append((title(e.measurement) + where, f"{figure(e.value, e.unit)} {unit(e.unit)}".strip(), held))
    return rows


def evidence_lines(evidence: Sequence[Evidence]) -> list[str]:
    """The rows of evidence_words, each in one line."""
    return [
        " ".join(t for t in (what, value, f"({held})" if held else "") if t) for what, value, held in evidence_words(evidence)
    ]


# Of a language model's report: whose verdicts stand beside its sentences, and which of them a reader should look at.
HELD = (
    "Written by a model that can say what is not so. Each sentence is held against the measurements and findings of this "
    "report, which err, too."
)
FLAGGED = ("contradicted", "unsupported")


def told_title(told: Told) -> str:
    return f"What the language model {told.model} writes"


def told_rows(told: Told) -> list[tuple[str, str, list[str]]]:
    """(verdict, sentence, what its claims rest on); the verdict "" of a sentence that claims nothing."""
    rows: list[tuple[str, str, list[str]]] = []
    rows += [("", f"No report should be given: {told.grounded.abstain}.", [])] if told.grounded.abstain else []
    rows += [("", "(nothing)", [])] if not told.grounded.sentences else []
    for sentence in told.grounded.sentences:
        verdict_ = "" if sentence.verdict == "no claim" else sentence.verdict
        rows.append((verdict_, sentence.text, [_claim_words(claim) for claim in sentence.claims]))
    return rows


def _claim_words(claim: Claim) -> str:
    name = STATEMENTS[claim.name].text if claim.name in STATEMENTS else title(claim.name)
    value = f" {figure(claim.value, claim.unit)} {unit(claim.unit)}".rstrip() if claim.value == claim.value else ""
    place = f" in {', '.join(claim.leads)}" if claim.leads else ""
    proof = "; ".join(evidence_lines(claim.evidence))
    if claim.kind == "figure" and claim.evidence:  # the figure's name stands there already
        proof = "measured " + "; ".join(
            f"{figure(e.value, e.unit)} {unit(e.unit)}".strip() + f" ({e.threshold})" for e in claim.evidence
        )
    why = f" ({claim.why})" if claim.why else ""
    return f"{claim.verdict}: {'' if claim.asserted else 'not '}{name}{value}{place}{f': {proof}' if proof else ''}{why}"


def sureness(finding: Finding) -> str:
    """ " (probable)" and its like, to follow a finding's text; "" where it is definite or the text says it."""
    told = finding.confidence == "definite" or finding.text.lower().startswith(finding.confidence)
    return "" if told else f" ({finding.confidence})"


def figure(value: float, unit: str = "") -> str:
    """A number as a report prints it: mV to 0.01, ms, degrees and rates whole, else three digits; "–" for NaN."""
    if value != value:
        return "–"
    if unit == "mV":
        return f"{value:.2f}"
    if unit in ("ms", "deg", "/min", "uV") or value == int(value) or abs(value) >= 20:
        return f"{value:.0f}".replace("-0", "0") if abs(value) < 0.5 else f"{value:.0f}"
    return f"{value:.3g}"


def quantity(q: Quantity) -> str:
    """A measured value with its unit; "–" where it was not measured."""
    return f"{figure(q.value, q.unit)} {unit(q.unit)}".strip() if q else "–"


def worth_saying(name: str, q: Quantity) -> bool:
    """Whether a reader who did not ask wants it: what was measured, and of the counts of odd beats those that are not 0."""
    return bool(q) and not (q.value == 0 and name in ("spikes", "n_ventricular", "n_supraventricular", "n_paced"))


def unit(text: str) -> str:
    """A unit as a report prints it."""
    return UNITS.get(text, text)


def whose_words(record: Record) -> str:
    """The heading over a record's own statements: a simulated ECG has no recorder, its statements are what was asked for."""
    return "What was simulated" if record.source.format == "synth" else "What the recorder said"


def machine_value(record: Record, name: str) -> float:
    """What the recorder itself measured under this name; NaN where the file does not say."""
    return record.machine.get(name, record.machine.get(MACHINE.get(name, ""), float("nan")))


def conclusions(report: Report) -> tuple[str, ...]:
    """The conclusion as sentences for the head of a page."""
    return tuple(t if t.endswith((".", "!", "?")) else f"{t}." for t in report.conclusion.split(". ") if t.strip())


def patient_words(record: Record) -> str:
    """Name, id, age, sex on one line, as far as the file has them."""
    p = record.patient
    age = "" if p.age is None else f"{p.age:g} years"
    born = f"born {p.birth_date}" if p.birth_date else ""
    return ", ".join(t for t in (p.shown_name, f"ID {p.id}" if p.id else "", born, age, p.sex or "") if t)


def provenance(report: Report) -> tuple[tuple[str, str], ...]:
    """Where the ECG came from and what made the report: (name, value) pairs, only what is known."""
    r, d = report.record, report.record.device
    band = ", ".join(
        t
        for t in (
            f"high-pass {d.highpass_hz:g} Hz" if d.highpass_hz is not None else "",
            f"low-pass {d.lowpass_hz:g} Hz" if d.lowpass_hz is not None else "",
            f"notch {d.notch_hz:g} Hz" if d.notch_hz is not None else "",
        )
        if t
    )
    version = f" {r.source.version}" if r.source.version else ""
    pairs = (
        ("File", r.source.path or ""),
        ("Format", f"{r.source.format}{version}" if r.source.format else ""),
        ("Recorded", r.start.isoformat(sep=" ", timespec="seconds") if r.start else ""),
        ("Signal", f"{len(r.leads)} leads, {r.duration:g} s at {r.fs:g} Hz" if r.leads else ""),
        ("Derived leads", ", ".join(r.derived)),
        ("Device", " ".join(t for t in (d.manufacturer, d.model, d.serial and f"serial {d.serial}", d.software) if t)),
        ("Institution", d.institution or ""),
        ("Filters of the recorder", band),
        ("Report", " ".join(t for t in (report.software, report.created) if t)),
    )
    return tuple((name, value) for name, value in pairs if value)
