"""How a report names and writes what it holds: names of measurements, figures, lines about patient and device."""

from __future__ import annotations

from collections.abc import Mapping

from einthoven.beats.measurements import Quantity
from einthoven.findings import Evidence, Finding
from einthoven.interpretation import Report
from einthoven.opinion import Likelihood, Opinion
from einthoven.record import Record
from einthoven.statements import STATEMENTS, SUPERCLASSES

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


def opinion_shown(opinion: Opinion) -> list[Likelihood]:
    """The labels of an opinion that a page shows: all of a short list; of a long one what is likely, large or disputed."""
    if len(opinion.labels) <= _FEW:
        return list(opinion.labels)
    return [
        one for one in opinion.labels if one.name in SUPERCLASSES or one.present or one.disputed or one.probability >= _LIKELY
    ]


def likelihood(one: Likelihood, opinion: Opinion) -> str:
    """A probability in per cent, or a regression's value with its unit."""
    if one.name in opinion.units:
        return f"{one.probability:.4g} {opinion.units[one.name]}"
    return (
        f"{100 * one.probability:.0f} %"
        if 0.01 <= one.probability <= 0.99
        else ("< 1 %" if one.probability < 0.5 else "> 99 %")
    )


def rules_words(one: Likelihood) -> str:
    """What the rules say of the same, for a page."""
    told = {"present": "rules: yes", "possible": "rules: possible", "absent": "rules: no", "": ""}[one.rules]
    return f"{told}, disagree" if one.disputed else told


def title(name: str) -> str:
    """A measurement's name for the reader."""
    return MAIN.get(name) or MORE.get(name) or OF_LEADS.get(name) or name.replace("_", " ")


def evidence_words(finding: Finding) -> list[tuple[str, str, str]]:
    """A finding's evidence as rows (what was measured or found, its value, what it was held against).

    The same measurement of several leads against the same threshold is one row.
    """
    rows: list[tuple[str, str, str]] = []
    groups: dict[tuple[str, str, str, int], list[Evidence]] = {}
    for i, e in enumerate(finding.evidence):
        groups.setdefault((e.measurement, e.unit, e.threshold, -1 if len(e.leads) == 1 else i), []).append(e)
    for evidence in groups.values():
        e = evidence[0]
        held = e.threshold.replace(">=", "≥").replace("<=", "≤")
        if e.measurement in STATEMENTS:  # a summary rests on other findings
            rows.append((STATEMENTS[e.measurement].text, "", held))
        elif len(evidence) > 1:
            values = ", ".join(f"{x.leads[0]} {figure(x.value, x.unit)}" for x in evidence)
            rows.append((title(e.measurement), f"{values} {unit(e.unit)}".strip(), held))
        else:
            where = f" in {', '.join(e.leads)}" if e.leads else ""
            rows.append((title(e.measurement) + where, f"{figure(e.value, e.unit)} {unit(e.unit)}".strip(), held))
    return rows


def evidence_lines(finding: Finding) -> list[str]:
    """The rows of evidence_words, each in one line."""
    return [
        " ".join(t for t in (what, value, f"({held})" if held else "") if t) for what, value, held in evidence_words(finding)
    ]


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
        ("Signal", f"{len(r.leads)} leads, {r.duration:g} s at {r.fs:g} Hz"),
        ("Derived leads", ", ".join(r.derived)),
        ("Device", " ".join(t for t in (d.manufacturer, d.model, d.serial and f"serial {d.serial}", d.software) if t)),
        ("Institution", d.institution or ""),
        ("Filters of the recorder", band),
        ("Report", " ".join(t for t in (report.software, report.created) if t)),
    )
    return tuple((name, value) for name, value in pairs if value)
