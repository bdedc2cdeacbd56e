"""The summary statement, and the conclusion in two or three sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from einthoven.findings.finding import Evidence, Finding
from einthoven.findings.rule import POSSIBLE, UNDETERMINED, Case
from einthoven.statements import STATEMENTS

# How evidence names leads that a rule needs and the record has not.
MISSING = "leads that are missing or cannot be used"

SOURCE = "Mason 2007, AHA/ACC/HRS recommendations II (statement list)"

# Said for their own sake; they do not make an ECG abnormal.
_HARMLESS = (
    "sinus_rhythm",
    "sinus_arrhythmia",
    "axis_normal",
    "sinus_bradycardia",
    "sinus_tachycardia",
    "early_repolarisation",
)
_DOUBTFUL_ALONE = (
    "lvh_voltage",
    "lae",
    "rae",
    "low_t",
    "nondiagnostic_t",
    "nonspecific_st",
    "irbbb",
    "ivcd",
    "poor_r_progression",
    "short_pr",
    "axis_left",
    "axis_right",
    "precordial_misplacement",
    "pac",
    "pvc",
    "prolonged_pr",
    "low_voltage",
    "long_qt",
    "tall_t",
)


def summary(case: Case) -> Iterator[Finding]:
    """Normal, borderline or abnormal, from what was found; nothing where rhythm, signal or leads do not allow to say so."""
    made = [f for f in case.found.values() if f.confidence != UNDETERMINED]
    if case.has("unreadable") or (case.has("undetermined_rhythm") and len(case.beats) < 3):
        return
    counted = [f for f in made if f.name not in _HARMLESS and f.group != "quality"]
    grave = [f for f in counted if not (f.confidence == POSSIBLE or f.name in _DOUBTFUL_ALONE)]
    doubtful = [f for f in counted if f.confidence != POSSIBLE]
    # One minor sign that is only possible does not take the word normal from an ECG.
    normal = (
        not grave and not doubtful and len({f.group for f in counted}) <= 1 and all(f.name in _DOUBTFUL_ALONE for f in counted)
    )
    name = "abnormal_ecg" if grave else "normal_ecg" if normal else "borderline_ecg"
    basis = grave or doubtful or counted
    unseen = any(e.measurement == MISSING for f in case.found.values() if f.confidence == UNDETERMINED for e in f.evidence)
    if unseen and not grave:
        return  # what could not be looked at is not normal
    s = STATEMENTS[name]
    evidence = tuple(Evidence(f.name, 1.0, "", f.confidence) for f in basis) or (
        Evidence("abnormal findings", 0.0, "", "none"),
    )
    yield Finding(
        name,
        s.text,
        "summary",
        "definite" if grave or not counted else "probable",
        evidence,
        SOURCE,
        s.scp,
        s.snomed,
        severity=s.severity,
    )


def conclude(findings: Sequence[Finding]) -> str:
    """The findings as a reader would dictate them: rhythm and rate, what is abnormal, what could not be judged, the summary."""
    said = [f for f in findings if f.confidence != UNDETERMINED]
    implied = _implied(said)
    said = [f for f in said if f.name not in implied]
    sentences = [_rhythm([f for f in said if f.group in ("rhythm", "pacing")])]
    rest = [f for f in said if f.group not in ("rhythm", "pacing", "summary", "quality") and f.name != "axis_normal"]
    rest.sort(key=lambda f: f.group != "axis")
    sentences.append(_listed([f for f in rest if f.confidence != POSSIBLE]))
    weak = _listed([f for f in rest if f.confidence == POSSIBLE])
    sentences.append(f"Possibly {_small(weak)}" if weak else "")
    causes: dict[str, list[str]] = {}
    for f in findings:
        if f.confidence == UNDETERMINED:
            causes.setdefault(_cause(f), []).append(_small(STATEMENTS[f.name].text))
    sentences += [f"Not to be judged ({why}): {', '.join(dict.fromkeys(what))}" for why, what in causes.items()]
    sentences.append(_listed([f for f in said if f.group == "quality"]))
    ending = next((f for f in said if f.group == "summary"), None)
    # "Possibly prolonged QTc interval. Normal ECG." would contradict itself.
    sentences.append(
        "Otherwise normal ECG" if rest and ending and ending.name == "normal_ecg" else ending.text if ending else ""
    )
    return ". ".join(s for s in sentences if s) + "." if any(sentences) else "No statement can be made."


# Said after the rhythm they occur in.
_WITHIN = (
    "pac",
    "pvc",
    "ventricular_bigeminy",
    "atrial_bigeminy",
    "ventricular_trigeminy",
    "trigeminy",
    "sinus_arrhythmia",
    "pause",
)


def _rhythm(found: Sequence[Finding]) -> str:
    rate = next((e.value for f in found for e in f.evidence if e.measurement == "rate_bpm"), None)
    base = _listed([f for f in found if f.name not in _WITHIN])
    within = [f for f in found if f.name in _WITHIN]
    if base and rate is not None:
        base += f" at {rate:.0f}/min"
    if not base:
        return _listed(within)
    return base + (f" with {_small(_listed(within))}" if within else "")


def _listed(found: Sequence[Finding]) -> str:
    return ", ".join(f.text if i == 0 else _small(f.text) for i, f in enumerate(found))


def _cause(f: Finding) -> str:
    """Why a finding could not be judged: what its last piece of evidence says."""
    last = f.evidence[-1]
    return "for want of leads" if last.measurement == MISSING else last.threshold or last.measurement


def _implied(said: Sequence[Finding]) -> set[str]:
    """Statements that another one already says."""
    names = {f.name for f in said}
    infarcts = tuple(n for n in names if n.startswith("mi_"))
    territories = tuple(n for n in names if n.startswith("ischaemia"))
    by = {
        "prolonged_pr": ("first_degree_av_block", "trifascicular_block"),
        "lvh_voltage": ("lvh",),
        "q_waves": infarcts,
        "axis_left": ("lafb",),
        "axis_right": ("lpfb", "rvh"),
        "low_t": ("nondiagnostic_t",),
        "paced": ("ventricular_paced", "atrial_paced"),
        "st_depression": territories,
        "pvc": ("ventricular_bigeminy", "ventricular_trigeminy"),
        "pac": ("atrial_bigeminy",),
    }
    return {n for n, others in by.items() if n in names and names & set(others)}


def _small(text: str) -> str:
    """A statement in the middle of a sentence: small initial unless it begins with an acronym or a name."""
    return (
        text if text[1:2].isupper() or text[1:2] in ("-", " ", "") or text.startswith("Brugada") else text[0].lower() + text[1:]
    )
