"""A report of an ECG in English sentences, from what its set states and what is measured; and parts of it as answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from einthoven.data.instruct.facts import WITHOUT_P, Facts, doubtful, evidence
from einthoven.data.instruct.kinship import BASIC, PARTS, WITHIN, basic
from einthoven.data.instruct.wording import axis_class, label, listed, place, said
from einthoven.statements import STATEMENTS

Evidence = list[Mapping[str, Any]]
_ORDER = ("conduction", "hypertrophy", "infarction", "st-t")
_STATES = {"below": "short", "within": "normal", "above": "prolonged", None: "borderline"}
# What another statement says already.
_IMPLIED: Mapping[str, tuple[str, ...]] = {
    "prolonged_pr": ("first_degree_av_block",),
    "lvh_voltage": ("lvh",),
    "t_abnormal": ("t_inversion", "low_t"),
    "abnormal_qrs": ("clbbb", "crbbb", "ivcd", "irbbb", "ilbbb", "lafb", "preexcitation"),
    "premature_complexes": ("pac", "pvc"),
}


def of_statement(f: Facts, name: str) -> Evidence:
    """What a statement rests on: the set's word, and the figures by which our rules find the same."""
    likelihood = f.stated.get(name)
    word: dict[str, Any] = {"name": name, "stated": name in f.stated}
    if likelihood is not None and likelihood == likelihood and likelihood > 0:
        word["likelihood"] = likelihood
    return [word, *f.found.get(name, ())]


def of_figure(f: Facts, name: str) -> Evidence:
    q = f.figures[name]
    return [evidence(name, q.value, q.unit, beats=q.beats)]


def usable(f: Facts, name: str) -> bool:
    """Whether a figure is there and nothing speaks against it."""
    return absent(f, name) == "" and name in f.figures and name not in doubtful(f)


def absent(f: Facts, name: str) -> str | None:
    """Why a figure cannot be determined, for the reader; "" where it can; None where that itself cannot be said."""
    q = f.figures.get(name)
    if q is None:
        return None
    if name in ("pr_ms", "p_ms", "p_axis_deg"):
        for rhythm in WITHOUT_P:
            if f.certain(rhythm):
                return f"there are no P waves in {said(rhythm)}"
        if "paced" in f.stated:
            return None
    if q:
        return ""
    if name in ("pr_ms", "p_ms", "p_axis_deg"):
        # Sinus rhythm has P waves: that they were not found is our fault, not the ECG's.
        return None if any(s.startswith("sinus") for s in f.stated) or not f.stated else "no P waves can be made out"
    return {
        "no end of T": "the end of the T wave cannot be made out",
        "no QT interval": "the QT interval cannot be measured",
    }.get(q.why, q.why or None)


def rhythm(f: Facts, *, rate: bool = True) -> tuple[str, Evidence] | None:
    """ "Sinus rhythm at 72 beats per minute with premature ventricular complexes."; None where no rhythm is stated."""
    base = basic(f)
    if base is None:
        return None
    proof = of_statement(f, base)
    words = ("Possible " if f.uncertain(base) else "") + (label(base) if f.uncertain(base) else _capital(label(base)))
    if rate and usable(f, "rate_bpm"):
        words += f" at {f.figures['rate_bpm'].value:.0f} beats per minute"
        proof += of_figure(f, "rate_bpm")
    beside = [name for name in WITHIN if name in f.stated and not _implied(f, name)]
    if base != "sinus_arrhythmia" and "sinus_arrhythmia" in f.stated:
        beside.append("sinus_arrhythmia")
    for name in beside:
        proof += of_statement(f, name)
    return words + (f" with {listed([said(n) for n in beside])}" if beside else "") + ".", proof


def report(f: Facts, *, figures: bool = True) -> tuple[str, Evidence] | None:
    """The whole report; None where too little is known of the ECG for one (no statement at all).

    figures: with a line of intervals and axis.
    """
    if not f.stated:
        return None
    sentences: list[str] = []
    proof: Evidence = []
    first = rhythm(f)
    if first is not None:
        sentences.append(first[0])
        proof += first[1]
    elif usable(f, "rate_bpm"):
        sentences.append(f"Heart rate {f.figures['rate_bpm'].value:.0f} beats per minute.")
        proof += of_figure(f, "rate_bpm")
    if first is None and (
        lone := [n for n in PARTS["rhythm"] + WITHIN[:3] if n in f.stated and n not in BASIC and not _implied(f, n)]
    ):
        sentences.append(_capital(listed([said(n) for n in lone])) + ".")
        proof += [p for n in lone for p in of_statement(f, n)]
    if figures:
        line, rests = _figures(f)
        sentences += line
        proof += rests
    for group in _ORDER:
        names = [
            n for n in f.stated if STATEMENTS[n].group == group and n not in WITHIN and not _implied(f, n) and n != "normal_ecg"
        ]
        firm = [label(n) for n in names if f.certain(n) or f.stated[n] >= 80]
        weak = [label(n) for n in names if label(n) not in firm]
        if firm:
            sentences.append(_capital(listed(firm)) + ".")
        if weak:
            sentences.append(f"Possible {listed(weak)}.")
        for name in names:
            proof += of_statement(f, name)
    if f.superclasses is not None:
        if "normal_ecg" in f.stated and f.superclasses == {"NORM"}:
            # A normal ECG with a long PR interval is otherwise normal.
            beside = [n for n in f.stated if n not in ("sinus_rhythm", "normal_ecg", "sinus_arrhythmia")]
            sentences.append("Otherwise normal ECG." if beside or any("deviation" in s for s in sentences) else "Normal ECG.")
            proof += of_statement(f, "normal_ecg")
        elif f.superclasses and "NORM" not in f.superclasses:
            sentences.append("Abnormal ECG.")
    return (" ".join(sentences), proof) if sentences else None


def _figures(f: Facts) -> tuple[list[str], Evidence]:
    """The axis as a sentence, and the intervals in one."""
    out: list[str] = []
    proof: Evidence = []
    if usable(f, "qrs_axis_deg"):
        degrees = f.figures["qrs_axis_deg"].value
        name = axis_class(degrees, 5)
        if name is not None:
            out.append(f"{STATEMENTS[name].text} ({degrees:.0f}°).")
            proof += of_figure(f, "qrs_axis_deg")
    parts = []
    for name, words in (("pr_ms", "PR"), ("qrs_ms", "QRS"), ("qtc_fridericia_ms", "QTc")):
        if usable(f, name):
            parts.append(f"{words} {f.figures[name].value:.0f} ms")
            proof += of_figure(f, name)
    if parts:
        out.append(", ".join(parts) + ".")
    if absent(f, "pr_ms"):
        out.append("The PR interval cannot be determined.")
    return out, proof


def intervals(f: Facts) -> tuple[str, Evidence] | None:
    """PR, QRS and QTc in a sentence that says of each whether it is normal."""
    words, proof = [], []
    for name, short in (("pr_ms", "PR interval"), ("qrs_ms", "QRS duration"), ("qtc_fridericia_ms", "QTc interval")):
        if usable(f, name):
            value = f.figures[name].value
            state = _STATES[place(name, value, f.sex)]
            words.append(f"the {short} is {value:.0f} ms ({state})")
            proof += of_figure(f, name)
        elif why := absent(f, name):
            words.append(f"the {short} cannot be determined, since {why}")
    return (_capital("; ".join(words)) + ".", proof) if words else None


def conclusion(f: Facts) -> tuple[str, Evidence] | None:
    """What is abnormal, without rhythm and figures."""
    whole = report(f, figures=False)
    if whole is None:
        return None
    start = rhythm(f)
    text = whole[0]
    if start is not None and text.startswith(start[0]):
        text = text[len(start[0]) :].strip()
    return (text, whole[1]) if text else None


def _implied(f: Facts, name: str) -> bool:
    return any(other in f.stated for other in _IMPLIED.get(name, ()))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
