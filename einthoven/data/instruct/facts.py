"""`Facts`: all that a question about one ECG may ask, gathered once: what its set states, what is measured, what it was called.

What is stated is the truth about statements (a reader's word), what is measured the truth about figures. Where the two cannot
both be right ("sinus bradycardia" at 84/min), the figure is asked of nobody (`doubtful`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np

from einthoven.beats.measurements import LeadMeasurements
from einthoven.data.index import Index
from einthoven.data.labels import labels_of
from einthoven.data.workers import ordered
from einthoven.record import EcgError, Record, derive_limb_leads
from einthoven.statements import BY_SCP, STATEMENTS, parse_statement


@dataclass(frozen=True)
class Figure:
    """One figure: NaN where it cannot be measured, and then `why`. `beats` are those it rests on."""

    value: float
    unit: str
    why: str = ""
    beats: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return math.isfinite(self.value)


@dataclass(frozen=True)
class Facts:
    """What is known of one ECG.

    stated: names of statements.py with the likelihood that the set gives (0 to 100; NaN where it gives none). denied: names
        that its set knows and does not state. superclasses: of PTB-XL, None where they are unknown.
    figures: of `Measurements`, by name. leads: of each lead its `LeadMeasurements`, finite values only.
    found: what our rules find, with the evidence of each. flags: of each lead what is wrong with its signal.
    text: the report that came with the record, in `language`; text_en: its translation, where somebody gave one.
    """

    record: str
    group: str
    source: str
    fold: int | None = None
    age: float | None = None
    sex: str | None = None
    stated: Mapping[str, float] = field(default_factory=dict)
    denied: frozenset[str] = frozenset()
    superclasses: frozenset[str] | None = None
    figures: Mapping[str, Figure] = field(default_factory=dict)
    leads: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    found: Mapping[str, tuple[Mapping[str, Any], ...]] = field(default_factory=dict)
    flags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    text: str = ""
    language: str = "en"
    text_en: str = ""

    def certain(self, name: str) -> bool:
        """Stated, and not with a doubt of its own. Form and rhythm have likelihood 0 in PTB-XL: nobody gave one."""
        likelihood = self.stated.get(name, -1.0)
        return likelihood in (0.0, 100.0) or math.isnan(likelihood)

    def uncertain(self, name: str) -> bool:
        return name in self.stated and not self.certain(name)


def facts(
    index: Index, rows: Sequence[int] | None = None, *, jobs: int = 1, translations: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Facts]:
    """The facts of each row, in order. What could not be measured is simply not there.

    Args:
        jobs: processes; 0 takes every core.
        translations: English reports by record, of those whose report is in another language.
    """
    chosen = list(range(len(index))) if rows is None else list(rows)
    stated, denied, superclasses = _stated(index)
    about = index.table.select(["record", "patient", "dataset", "fold", "age", "sex", "text"]).to_pylist()
    measured = ordered(_measured, (index.record(i) for i in chosen), jobs=jobs, killed=partial(_nothing), chunk=8)
    for i, seen in zip(chosen, measured, strict=True):
        row = about[i]
        text = tidy(row["text"] or "")
        said, not_said = stated[i], denied[i]
        if not said and not not_said and text:
            said = {name: math.nan for name in parse_statement(text)}
        yield Facts(
            record=row["record"],
            group=row["patient"],
            source=row["dataset"],
            fold=row["fold"] if row["fold"] >= 0 else None,
            age=None if row["age"] is None or math.isnan(row["age"]) else row["age"],
            sex=row["sex"],
            stated=said,
            denied=not_said - said.keys(),
            superclasses=superclasses[i],
            text=text,
            language=language_of(text),
            text_en=translations.get(row["record"], ""),
            **seen,
        )


def _stated(index: Index) -> tuple[list[dict[str, float]], list[frozenset[str]], list[frozenset[str] | None]]:
    """Of each row: statements with likelihoods, statements that are denied, superclasses."""
    nothing: list[frozenset[str]] = [frozenset()] * len(index)
    try:
        labels = labels_of(index, "statement")
    except EcgError:  # no codes at all: the report's words must do
        return [{} for _ in nothing], nothing, [None] * len(index)
    names = [BY_SCP[scp] for scp in labels.names]
    sure: list[dict[str, float]] = []
    for codes, likelihoods in zip(index.column("codes"), index.column("likelihoods"), strict=True):
        sure.append({BY_SCP.get(c.partition(":")[2], ""): x for c, x in zip(codes, likelihoods, strict=True)})
    stated = [
        {names[k]: float(sure[i].get(names[k], math.nan)) for k in np.flatnonzero(row == 1)}
        for i, row in enumerate(labels.matrix)
    ]
    for i, codes in enumerate(index.column("codes")):  # what the 71 statements of PTB-XL have no word for (axes, pauses)
        for code in codes:
            kind, _, name = code.partition(":")
            if kind == "statement" and name in STATEMENTS and not STATEMENTS[name].scp:
                stated[i].setdefault(name, math.nan)
    denied = [frozenset(names[k] for k in np.flatnonzero(row == 0)) for row in labels.matrix]
    try:
        upper = labels_of(index, "superclass")
    except EcgError:
        return stated, denied, [None] * len(index)
    # A record that has no diagnostic statement at all is of no superclass, which is not the same as of none of them.
    known = [np.isfinite(row).all() and (row == 1).any() for row in upper.matrix]
    return (
        stated,
        denied,
        [
            frozenset(n for n, v in zip(upper.names, row, strict=True) if v == 1) if k else None
            for row, k in zip(upper.matrix, known, strict=True)
        ],
    )


def _nothing(record: Record) -> dict[str, Any]:
    return {}


def _measured(record: Record) -> dict[str, Any]:
    """The figures, findings and flags of one record; nothing where it cannot be measured at all."""
    from einthoven.beats.classify import classify
    from einthoven.beats.delineate import delineate
    from einthoven.beats.measure import measure
    from einthoven.beats.median import median_beats
    from einthoven.findings import find
    from einthoven.signal.quality import assess

    try:
        record = derive_limb_leads(record.ecg())
        quality = assess(record)
        beats = classify(record, delineate(record))
        median = median_beats(record, beats)
        m = measure(record, beats, median)
        found = find(record, beats, m, quality)
    except EcgError:
        return {}
    poor = {name for name, lead in quality.leads.items() if not lead.usable}
    return {
        "figures": {name: Figure(float(q.value), q.unit, q.why, q.beats) for name, q in m.quantities.items()},
        "leads": {name: _finite(lead) for name, lead in m.leads.items() if name not in poor},
        "found": {
            f.name: tuple(evidence(e.measurement, e.value, e.unit, e.leads, e.beats) for e in f.evidence)
            for f in found
            if f.confidence in ("definite", "probable")
        },
        "flags": {name: lead.flags for name, lead in quality.leads.items()},
    }


def _finite(lead: LeadMeasurements) -> dict[str, float]:
    values = {f.name: float(getattr(lead, f.name)) for f in fields(lead)}
    return {name: round(value, 4) for name, value in values.items() if math.isfinite(value)}


def evidence(
    name: str, value: float | None = None, unit: str = "", leads: Sequence[str] = (), beats: Sequence[int] = ()
) -> dict[str, Any]:
    """A piece of evidence as a sample carries it: only what is known of it."""
    out: dict[str, Any] = {"name": name}
    if value is not None:
        out["value"] = None if not math.isfinite(value) else round(float(value), 4)
    if unit:
        out["unit"] = unit
    if leads:
        out["leads"] = list(leads)
    if beats:
        out["beats"] = [int(b) for b in beats]
    return out


# -- where word and figure contradict each other
# --------------------------------------------------------------------------------------------------------------------

WITHOUT_P = ("atrial_fibrillation", "atrial_flutter")
_WIDE = ("clbbb", "crbbb", "ivcd", "paced", "ventricular_paced", "preexcitation")


def doubtful(f: Facts) -> frozenset[str]:
    """Figures that are not to be asked for, because what the set states says otherwise, or what is stated says nothing of it.

    The limits lie a measurement's error beyond the definitions: 5/min, 10 ms of QRS, 15 ms of PR, 20 ms of QTc.
    """

    def value(name: str) -> float:
        return f.figures[name].value if name in f.figures else math.nan

    out: set[str] = set()
    known = bool(f.stated or f.denied)
    rate, pr, qrs, qtc = (value(n) for n in ("rate_bpm", "pr_ms", "qrs_ms", "qtc_fridericia_ms"))
    if ("sinus_bradycardia" in f.stated and rate > 65) or ("sinus_tachycardia" in f.stated and rate < 95):
        out |= {"rate_bpm", "rr_ms", "qtc_fridericia_ms", "qtc_bazett_ms"}
    if {"first_degree_av_block", "prolonged_pr"} & f.stated.keys():
        if pr < 185:
            out.add("pr_ms")
    elif known and pr > 215:
        out.add("pr_ms")
    if {"clbbb", "crbbb"} & f.stated.keys():
        if qrs < 110:
            out.add("qrs_ms")
    elif known and qrs > 130 and not set(_WIDE) & f.stated.keys():
        out |= {"qrs_ms", "qt_ms"}
    if "long_qt" in f.stated:
        if qtc < 440:
            out |= {"qtc_fridericia_ms", "qtc_bazett_ms", "qt_ms"}
    elif known and qtc > 490 and not set(_WIDE) & f.stated.keys():
        out |= {"qtc_fridericia_ms", "qtc_bazett_ms", "qt_ms"}
    if "atrial_flutter" in f.stated:  # flutter waves hide the end of T
        out |= {"qt_ms", "qtc_fridericia_ms", "qtc_bazett_ms"}
    axis = value("qrs_axis_deg")
    if ("lafb" in f.stated and axis > -30) or ("lpfb" in f.stated and axis < 80):
        out.add("qrs_axis_deg")
    said = parse_statement(f.text) if f.text and f.language == "en" else []
    if ("axis_left" in said and axis > 0) or ("axis_right" in said and axis < 80) or ("axis_normal" in said and axis < -40):
        out.add("qrs_axis_deg")
    return frozenset(out)


# -- reports as they came
# --------------------------------------------------------------------------------------------------------------------

# Words that only one of the languages has.
_GERMAN = re.compile(
    r"\b(?:sinusrhythmus|normales?|lagetyp|linkstyp|rechtstyp|nicht|und|hypertrophie|infarkt|unspezifisch\w*|sonst|ueberdreht\w*"
    r"|schenkelblock|vorhof\w*|kammer\w*|veränderung\w*|möglich|bei|mit|rhythmus|abnorm\w*|sinusbradykardie|sinustachykardie"
    r"|schrittmacher|verdacht|intraventrikul\w+|extrasystole\w*|arrhythmie)\b"
)
_SWEDISH = re.compile(
    r"\b(?:sinusrytm|normalt|eljest|el-axel|vänster\w*|höger\w*|förmaks\w*|kammar\w*|bör|övervägas|avvikande|förlopp|och|sinusbradykardi"
    r"|sinustakykardi|skänkelblock|förändring\w*|sänkning|pacemakerrytm)\b"
)
_NOTES = re.compile(r"\s*(?:edit:.*|(?:un)?confirmed\s+(?:report|analysis).*|4\.46\s*)$", re.IGNORECASE | re.DOTALL)


def tidy(text: str) -> str:
    """A report as it was meant: PTB-XL's export has capital umlauts in small words, and notes about the codes at its end."""
    text = text.replace("Ä", "ä").replace("Ö", "ö").replace("Ü", "ü").replace("Å", "å")
    text = _NOTES.sub("", text)
    return re.sub(r"\s+", " ", text).strip(" ,;")


_SIGNS = {w.lower(): w for w in "PR PQ QRS QT QTc ST ECG EKG LVH RVH LV RV AV LBBB RBBB VES SVES II III aVR aVL aVF".split()}
_SIGNS |= {f"v{i}": f"V{i}" for i in range(1, 7)} | {w: w.upper() for w in "pqrstu"}


def recased(text: str, language: str) -> str:
    """A report that was written in small letters, with the field's signs as they are written, and sentences that begin
    large."""
    signs = _SIGNS | ({"i": "I"} if language == "en" else {})
    text = re.sub(r"(?<![\w])[A-Za-z]+\d?(?![\w])", lambda m: signs.get(m.group(), m.group()), text)
    return re.sub(r"(^|[.!?]\s+)([a-zäöüå])", lambda m: m.group(1) + m.group(2).upper(), text)


def language_of(text: str) -> str:
    """ "de", "sv" or "en", by words that only German or Swedish reports have."""
    low = text.lower()
    german, swedish = len(_GERMAN.findall(low)), len(_SWEDISH.findall(low))
    return "en" if not german and not swedish else "de" if german >= swedish else "sv"


def translations(path: str) -> dict[str, str]:
    """English reports by record, from a CSV with a column `record` (as in the Index) or `ecg_id` (PTB-XL) and `report_en`.

    Raises EcgError where a column is missing.
    """
    from pathlib import Path

    from einthoven.data.rows import header, plain, rows

    place = Path(path)
    names = header(place)
    key = "record" if "record" in names else "ecg_id"
    out = {}
    for row in rows(place, needs=(key, "report_en"), separators=",;\t"):
        name = plain(row[key])
        if name and row["report_en"]:
            out[name if key == "record" else f"ptbxl:{name}"] = row["report_en"]
    return out
