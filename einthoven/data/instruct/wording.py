"""How questions and answers are worded: names of statements inside a sentence, figures with normal ranges, several wordings
of each question.

A wording never gives its answer away: questions that are asked in pairs (yes and no) use one wording for both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from einthoven.statements import STATEMENTS

CANNOT = "cannot be determined"

# Statements whose text is a sentence for a report, as they are said inside one.
_SAID: Mapping[str, str] = MappingProxyType(
    {
        "normal_ecg": "a normal ECG",
        "lvh_voltage": "voltage criteria for left ventricular hypertrophy",
        "preexcitation": "ventricular pre-excitation (WPW pattern)",
        "ivcd": "a non-specific intraventricular conduction delay",
        "first_degree_av_block": "a first-degree AV block",
        "prolonged_pr": "a prolonged PR interval",
        "long_qt": "a prolonged QTc interval",
        "abnormal_qrs": "an abnormal QRS complex",
        "pac": "premature atrial complexes",
        "pvc": "premature ventricular complexes",
        "paced": "a pacemaker rhythm",
        "t_abnormal": "a T-wave abnormality",
        "nonspecific_st": "non-specific ST changes",
        "digitalis_effect": "ST-T changes of digitalis type",
        "electrolyte_or_drug": "changes of an electrolyte disturbance or drug effect",
        "aneurysm": "ST-T changes compatible with a ventricular aneurysm",
    }
)
SUPERCLASS_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "NORM": "normal ECG",
        "MI": "myocardial infarction",
        "STTC": "ST/T change",
        "CD": "conduction disturbance",
        "HYP": "hypertrophy",
    }
)


def said(name: str) -> str:
    """A statement inside a sentence: "left bundle branch block" for clbbb."""
    if name in _SAID:
        return _SAID[name]
    text = STATEMENTS[name].text
    small = text if text[1:2].isupper() or text[1:2] in ("-", " ") or text.startswith("Brugada") else text[0].lower() + text[1:]
    return small


def label(name: str) -> str:
    """A statement as an option: without an article."""
    words = said(name)
    for article in ("a ", "an "):
        if words.startswith(article):
            return words[len(article) :]
    return words


def listed(words: list[str]) -> str:
    """ "a, b and c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


@dataclass(frozen=True)
class Quantity:
    """A figure that questions are about. low, high: the normal range; NaN-free where it is asked about as "normal range".
    margin: nearer than this to a limit nobody can say on which side a value lies. step: between the options of a choice.
    unit: as it is said.
    """

    name: str
    words: str
    unit: str
    low: float | None
    high: float | None
    margin: float
    step: float
    more: str = "longer"  # of two, which has the ... one
    least: float = 0.0  # what is offered as an answer lies between these
    most: float = 0.0


# Limits: AHA/ACCF/HRS recommendations 2007 (II) and 2009 (III-V); PR and rate by common usage. QTc's depends on sex: see
# `range_of`.
QUANTITIES: Mapping[str, Quantity] = MappingProxyType(
    {
        q.name: q
        for q in (
            Quantity("rate_bpm", "heart rate", "beats per minute", 60, 100, 3, 14, "higher", 30, 220),
            Quantity("pr_ms", "PR interval", "ms", 120, 200, 10, 30, "longer", 80, 400),
            Quantity("qrs_ms", "QRS duration", "ms", None, 110, 6, 24, "longer", 60, 220),
            Quantity("qt_ms", "QT interval", "ms", None, None, 0, 45, "longer", 250, 650),
            Quantity("qtc_fridericia_ms", "QTc interval (Fridericia)", "ms", 350, 450, 12, 40, "longer", 300, 650),
            Quantity("p_ms", "P wave duration", "ms", None, 120, 8, 24, "longer", 50, 200),
            Quantity("qrs_axis_deg", "QRS axis", "degrees", -30, 90, 8, 45, "more rightward"),
        )
    }
)


def range_of(name: str, sex: str | None) -> tuple[float | None, float | None]:
    """Lowest and highest normal value. QTc: up to 450 ms in men, 460 ms in women (AHA/ACCF/HRS 2009 IV); where the sex is not
    known, what lies between counts as not to be said."""
    q = QUANTITIES[name]
    if name == "qtc_fridericia_ms" and sex == "female":
        return q.low, 460.0
    return q.low, q.high


def place(name: str, value: float, sex: str | None) -> str | None:
    """ "below", "within" or "above" the normal range; None where the value lies too near to a limit, or has no range."""
    low, high = range_of(name, sex)
    margin = QUANTITIES[name].margin
    if low is None and high is None:
        return None
    if any(limit is not None and abs(value - limit) < margin for limit in (low, high)):
        return None
    if name == "qtc_fridericia_ms" and sex is None and 450 <= value <= 460 + margin:
        return None
    if low is not None and value < low:
        return "below"
    return "above" if high is not None and value > high else "within"


def axis_class(degrees: float, margin: float = 0.0) -> str | None:
    """Name of the axis' statement; None within `margin` of a limit (-90, -30, 90, 180 degrees)."""
    a = (degrees + 180) % 360 - 180
    if any(abs((a - limit + 180) % 360 - 180) < margin for limit in (-90, -30, 90, 180)):
        return None
    if -30 <= a <= 90:
        return "axis_normal"
    return "axis_left" if -90 <= a < -30 else "axis_right" if 90 < a <= 180 else "axis_extreme"


def figure(name: str, value: float) -> str:
    """A figure as it is answered: "164 ms"."""
    return f"{value:.0f} {QUANTITIES[name].unit}"


VERIFY = (
    "Does this ECG show {}?",
    "Does this ECG show symptoms of {}?",
    "Is there evidence of {} on this ECG?",
    "Would you report {} on this ECG?",
    "Are there signs of {} in this recording?",
    "Is there {}?",
    "Do you see {} here?",
    "Any {}?",
    "Could this be {}?",
)
# Of a normal ECG there are no signs.
VERIFY_NORMAL = (
    "Is this a normal ECG?",
    "Would you report this ECG as normal?",
    "Is this ECG within normal limits?",
    "Is it normal?",
)
CHOOSE = (
    "Which does this ECG show: {} or {}?",
    "Does this ECG show {} or {}?",
    "Which of the two is present on this ECG, {} or {}?",
)
QUERY: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "rhythm": (
            "What rhythm-related findings does this ECG show?",
            "Name everything that concerns the rhythm of this ECG.",
            "Which rhythm findings are there?",
        ),
        "form": (
            "What form-related findings does this ECG show?",
            "Which findings of form (waves, amplitudes, intervals) does this ECG have?",
        ),
        "diagnostic": (
            "What diagnostic findings does this ECG show?",
            "List the diagnostic statements of this ECG.",
            "What is your diagnosis?",
            "What are the diagnoses?",
        ),
    }
)
SUPERCLASSES_ASKED = (
    "Which diagnostic classes apply to this ECG? Choose all that apply from NORM (normal ECG), MI (myocardial infarction), "
    "STTC (ST/T change), CD (conduction disturbance), HYP (hypertrophy).",
    "Classify this ECG. The labels are NORM, MI, STTC, CD and HYP; several may hold.",
)
RHYTHM_OPEN = (
    "What is the rhythm?",
    "Describe the rhythm of this ECG.",
    "Which rhythm do you see?",
    "Rhythm?",
    "What is the rhythm of this ECG?",
)
RHYTHM_FILL = ("Complete the sentence: The underlying rhythm is ____.", "Fill in the blank: This ECG shows ____ (rhythm).")
VALUE = (
    "What is the {}?",
    "Measure the {}.",
    "How large is the {} on this ECG?",
    "Give the {}.",
    "Tell me the {}.",
    "How about the {}?",
)
VALUE_FILL = ("Fill in the blank: The {} is ____ {}.", "Complete: {} = ____ {}.")
NORMAL_RANGE = (
    "Is the {} below, within or above the normal range?",
    "Does the {} fall below, within, or above the normal range?",
)
VALUE_CHOICE = ("Which value is nearest to the {}?", "Which of these is the {}?")
REPORT = (
    "Write a report of this ECG.",
    "Please interpret this ECG.",
    "Give a clinical report of this ECG.",
    "What does this ECG show? Answer as a report.",
    "Write a short report.",
    "Report, please.",
    "Interpret this ECG.",
    "What do you see?",
)
REPORT_OF: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "en": ("What did the reader write about this ECG?", "Give the reader's short report of this ECG."),
        "de": ("Bitte befunden Sie dieses EKG.", "Schreiben Sie einen kurzen Befund zu diesem EKG."),
        "sv": ("Skriv ett kort utlåtande om detta EKG.",),
    }
)
TRANSLATE = ("Translate this ECG report into English: {}", "What does this ECG report say in English? {}")
# What no 12-lead ECG says, and why.
UNANSWERABLE = (
    ("What is the patient's blood pressure?", "an ECG does not measure blood pressure"),
    ("What is the left ventricular ejection fraction?", "an ECG does not measure ejection fraction"),
    ("What is the serum potassium?", "an ECG does not measure potassium; it shows at most its effects"),
    ("Which coronary artery is narrowed, and by how much?", "that takes an angiogram"),
    ("Is this finding new?", "there is no earlier ECG to compare with"),
    ("How long has the patient had this rhythm?", "a single ECG does not show the past"),
    ("Does the patient have chest pain?", "an ECG does not tell symptoms"),
    ("What is the oxygen saturation?", "an ECG does not measure oxygen saturation"),
    ("What is the potassium level?", "an ECG does not measure potassium; it shows at most its effects"),
    ("How high is the blood pressure?", "an ECG does not measure blood pressure"),
    ("What is the ejection fraction?", "an ECG does not measure ejection fraction"),
    ("What is the troponin level?", "an ECG does not measure troponin"),
    ("What is the haemoglobin?", "an ECG does not measure haemoglobin"),
    ("Which artery is blocked?", "that takes an angiogram"),
    ("How severe is the stenosis of the aortic valve?", "that takes an echocardiogram"),
    ("Since when has this been so?", "a single ECG does not show the past"),
    ("Was it like this a year ago?", "there is no earlier ECG to compare with"),
    ("Is the patient short of breath?", "an ECG does not tell symptoms"),
    ("Which drugs does the patient take?", "an ECG does not tell drugs; it shows at most their effects"),
    ("Will the patient survive?", "an ECG does not tell the future"),
)
