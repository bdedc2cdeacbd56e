"""The summary statement, and the conclusion in two or three sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from einthoven.findings.finding import Evidence, Finding
from einthoven.findings.rule import POSSIBLE, UNDETERMINED, Case
from einthoven.statements import STATEMENTS

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
    """Normal, borderline or abnormal, from what was found; nothing where the rhythm or the signal could not be judged."""
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
    """The findings as a reader would dictate them: rhythm and rate, what is abnormal, what could not be judged; closed by the
    summary.
    """
    said = [f for f in findings if f.confidence != UNDETERMINED]
    rhythm = [f for f in said if f.group in ("rhythm", "pacing")]
    rest = [
        f for f in said if f.group not in ("rhythm", "pacing", "summary") and f.name not in ("axis_normal", *_implied(said))
    ]
    sentences = []
    if rhythm:
        rate = next((e.value for f in rhythm for e in f.evidence if e.measurement == "rate_bpm"), None)
        words = ", ".join(_lower(f.text, i) for i, f in enumerate(rhythm) if f.name not in _implied(said))
        sentences.append(words + (f" at {rate:.0f}/min" if rate is not None else ""))
    axis = next((f for f in said if f.group == "axis"), None)
    strong = [f for f in rest if f.confidence != POSSIBLE and f is not axis]
    weak = [f for f in rest if f.confidence == POSSIBLE and f is not axis]
    if axis and axis in rest:
        strong.insert(0, axis)
    if strong:
        sentences.append(", ".join(_lower(f.text, i) for i, f in enumerate(strong)))
    if weak:
        sentences.append("Possible " + ", ".join(_lower(f.text, 1) for f in weak))
    hidden = [f for f in findings if f.confidence == UNDETERMINED]
    if hidden:
        what = dict.fromkeys(_lower(STATEMENTS[f.name].text, 1) for f in hidden)
        sentences.append("Not to be judged here: " + ", ".join(what))
    top = next((f for f in said if f.group == "summary"), None)
    if top:
        sentences.append(top.text)
    return ". ".join(sentences) + "." if sentences else "No statement can be made."


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


def _lower(text: str, place: int) -> str:
    """A statement in the middle of a sentence: small initial unless it begins with an acronym."""
    return text if place == 0 or text[1:2].isupper() or text[1:2] == "-" else text[0].lower() + text[1:]
