"""Findings: what the measurements mean by the criteria of the societies, each with the evidence it rests on.

`RULES` is the whole table, in the order it is worked through: what an earlier rule found may hide a later one
(`Rule.unless`), because in left bundle branch block, pacing and pre-excitation voltage, Q waves and ST-T no longer mean
what they do otherwise.
"""

from __future__ import annotations

from einthoven.beats.fiducials import Beats
from einthoven.beats.measurements import Measurements
from einthoven.findings import chambers, conduction, infarction, placement, repolarisation, rhythm
from einthoven.findings.conclusion import MISSING, conclude, summary
from einthoven.findings.finding import Evidence, Finding
from einthoven.findings.rule import POSSIBLE, UNDETERMINED, Case, Rule
from einthoven.record import Record
from einthoven.signal.quality import Quality
from einthoven.statements import STATEMENTS

__all__ = ["RULES", "Evidence", "Finding", "Rule", "conclude", "find"]

RULES: tuple[Rule, ...] = (
    *placement.RULES[:2],
    *rhythm.RULES,
    *placement.RULES[2:],
    *conduction.RULES,
    *chambers.RULES,
    *infarction.RULES,
    *repolarisation.RULES,
)

_SEVERITY = ("critical", "abnormal", "minor", "normal")
_CONFIDENCE = ("definite", "probable", "possible", UNDETERMINED)
_ORDER = ("quality", "rhythm", "pacing", "conduction", "infarction", "hypertrophy", "st-t", "axis", "summary")


def find(record: Record, beats: Beats, measurements: Measurements, quality: Quality) -> tuple[Finding, ...]:
    """All findings of one ECG, most important first: the summary, then rhythm, then by severity.

    A statement that cannot be judged (no such leads, an unreadable signal, a conduction disturbance that hides it) is there
    with confidence "cannot be determined" and the reason as evidence.
    """
    case = Case(record, beats, measurements, quality)
    for rule in RULES:
        if case.has("unreadable") and rule.name != "undetermined_rhythm":
            continue
        missing = tuple(n for n in rule.leads if n not in case.leads)
        if missing and len(beats):
            if rule.say:
                reason = Evidence(MISSING, float(len(missing)), "", "needed", missing)
                _keep(case, rule, rule.name, UNDETERMINED, (reason,), "")
            continue
        for met in rule.mets(case):
            name = met.name or rule.name
            # What is itself only possible does not forbid another statement; it may only make it superfluous (no reason given).
            hidden = {
                n: why
                for n, why in rule.unless.items()
                if n != name and case.has(n) and not (why and case.found[n].confidence == POSSIBLE)
            }
            if not hidden:
                _keep(case, rule, name, met.confidence, met.evidence, met.detail)
            elif all(hidden.values()):
                cause, why = next(iter(hidden.items()))
                _keep(case, rule, name, UNDETERMINED, (*met.evidence, Evidence(cause, 1.0, "", why)), why)
    for f in summary(case):
        case.found[f.name] = f
    return tuple(sorted(case.found.values(), key=_importance))


def _keep(case: Case, rule: Rule, name: str, confidence: str, evidence: tuple[Evidence, ...], detail: str) -> None:
    s = STATEMENTS[name]
    text = s.text if not detail else f"{s.text} ({detail})"
    if confidence == UNDETERMINED:
        text = f"Cannot be determined: {text[0].lower() if text[1:2].islower() else text[0]}{text[1:]}"
    severity = "minor" if confidence == UNDETERMINED else s.severity
    if severity == "critical" and confidence == POSSIBLE:
        severity = "abnormal"
    if name not in case.found or case.found[name].confidence == UNDETERMINED:
        case.found[name] = Finding(name, text, s.group, confidence, evidence, rule.source, s.scp, s.snomed, severity=severity)


def _importance(f: Finding) -> tuple[int, int, int, int]:
    first = 0 if f.group == "summary" else 1 if f.group in ("rhythm", "pacing") and f.confidence != UNDETERMINED else 2
    return (
        first if f.severity != "critical" else min(first, 1),
        _SEVERITY.index(f.severity),
        _CONFIDENCE.index(f.confidence),
        _ORDER.index(f.group),
    )
