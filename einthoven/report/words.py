"""How a report names and writes what it holds: names of measurements, figures, lines about patient and device."""

from __future__ import annotations

from collections.abc import Mapping

from einthoven.findings import Evidence
from einthoven.interpret import Report
from einthoven.record import Record

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
    "f_wave_hz": "Atrial fibrillatory frequency",
    "f_wave_power": "Its share of power",
    "spikes": "Pacing spikes",
    "n_beats": "Beats",
    "n_ventricular": "Ventricular beats",
    "n_supraventricular": "Premature supraventricular beats",
    "n_paced": "Paced beats",
}
# Amplitudes and durations of single leads (LeadMeasurements), for evidence and the table of leads.
OF_LEADS: Mapping[str, str] = {
    "p_mv": "P", "p_ms": "P duration", "p_initial_mv": "P, first part", "p_terminal_mv": "P, last part",
    "p_terminal_force_mvms": "P terminal force", "q_mv": "Q", "q_ms": "Q duration", "r_mv": "R", "r_ms": "R duration",
    "s_mv": "S", "s_ms": "S duration", "r2_mv": "R'", "r2_ms": "R' duration", "s2_mv": "S'", "qrs_ms": "QRS duration",
    "r_peak_time_ms": "R peak time", "delta_mv": "Delta wave", "delta_ms": "Delta wave duration", "st_j_mv": "ST at J",
    "st_j60_mv": "ST at J+60 ms", "st_j80_mv": "ST at J+80 ms", "st_slope_mv_s": "ST slope", "t_mv": "T",
    "t_negative_mv": "T, negative part", "t_symmetry": "T symmetry", "u_mv": "U", "noise_uv": "Noise",
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


def title(name: str) -> str:
    """A measurement's name for the reader."""
    return MAIN.get(name) or MORE.get(name) or OF_LEADS.get(name) or name.replace("_", " ")


def evidence_words(evidence: Evidence) -> tuple[str, str, str]:
    """(what was measured, its value, what it was held against) of one piece of evidence."""
    where = f" in {', '.join(evidence.leads)}" if evidence.leads else ""
    value = f"{figure(evidence.value)} {unit(evidence.unit)}".strip()
    signs = evidence.threshold.replace(">=", "≥").replace("<=", "≤")
    return title(evidence.measurement) + where, value, signs


def figure(value: float) -> str:
    """A number as a report prints it: whole from 20 up, else three digits; "–" where it was not measured."""
    if value != value:
        return "–"
    if value == int(value) or abs(value) >= 20:
        return f"{value:.0f}".replace("-0", "0") if abs(value) < 0.5 else f"{value:.0f}"
    return f"{value:.3g}"


def unit(text: str) -> str:
    """A unit as a report prints it."""
    return UNITS.get(text, text)


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
    return ", ".join(t for t in (p.name or "", f"ID {p.id}" if p.id else "", born, age, p.sex or "") if t)


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
