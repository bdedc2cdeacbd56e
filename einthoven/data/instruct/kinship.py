"""Which statements may hold although they are not stated, so that nobody is taught a wrong "no".

A reader who writes "sinus bradycardia" does not write "sinus rhythm", and who writes "inverted T waves" has not denied a
T-wave abnormality. A "no" is only asked for where neither the statement, nor a relative of it, nor a finding of our rules
speaks for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from einthoven.data.instruct.facts import Facts
from einthoven.data.labels import DIAGNOSTIC, FORM, RHYTHM
from einthoven.statements import BY_SCP, STATEMENTS

_STATED = tuple(s for s in STATEMENTS.values() if s.scp)
_INFARCTIONS = frozenset(s.name for s in _STATED if s.group == "infarction")
_ISCHAEMIA = frozenset(s.name for s in _STATED if s.name.startswith("ischaemia"))
_ST = frozenset(
    {"st_depression", "st_elevation", "nonspecific_st", "digitalis_effect", "electrolyte_or_drug", "aneurysm", "lvh"}
) | frozenset(s.name for s in _STATED if s.name.startswith(("st_elevation", "st_injury")))
_T = frozenset(
    {"nondiagnostic_t", "nonspecific_t", "low_t", "t_inversion", "t_abnormal", "nonspecific_st", "electrolyte_or_drug"}
)
_QRS = frozenset(
    {"abnormal_qrs", "clbbb", "crbbb", "ivcd", "ilbbb", "irbbb", "lafb", "lpfb", "preexcitation", "paced", "q_waves", "pvc"}
)

# Of each statement: those which, where they are stated, forbid to deny it.
_FAMILIES: tuple[frozenset[str], ...] = (
    _ISCHAEMIA | _ST | _T,
    _INFARCTIONS | {"abnormal_qrs", "aneurysm"},
    frozenset({"first_degree_av_block", "prolonged_pr", "second_degree_av_block", "complete_av_block"}),
    frozenset({"lvh", "lvh_voltage", "high_voltage"}),
    frozenset({"crbbb", "irbbb"}),
    frozenset({"clbbb", "ilbbb", "ivcd"}),
    frozenset({"crbbb", "ivcd"}),
    frozenset({"psvt", "supraventricular_tachycardia", "supraventricular_arrhythmia"}),
    frozenset({"atrial_fibrillation", "atrial_flutter", "supraventricular_arrhythmia"}),
    frozenset({"pac", "premature_complexes", "bigeminy", "trigeminy", "supraventricular_arrhythmia"}),
    frozenset({"pvc", "premature_complexes", "bigeminy", "trigeminy"}),
    frozenset({"sinus_rhythm", "sinus_bradycardia", "sinus_tachycardia", "sinus_arrhythmia"}),
)
_ONE_WAY: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "abnormal_qrs": _QRS | _INFARCTIONS,
        "q_waves": _INFARCTIONS | {"abnormal_qrs"},
        "long_qt": frozenset({"clbbb", "crbbb", "paced", "electrolyte_or_drug"}),
        "t_abnormal": _T | _ISCHAEMIA | {"lvh", "clbbb", "crbbb", "paced", "digitalis_effect"},
        "low_voltage": frozenset(),
    }
)
# The underlying rhythms: of one ECG at most one is told, the special one where two are stated.
BASIC = (
    "sinus_rhythm", "sinus_bradycardia", "sinus_tachycardia", "sinus_arrhythmia", "atrial_fibrillation", "atrial_flutter",
    "supraventricular_tachycardia", "psvt", "paced",
)  # fmt: skip
SINUS = BASIC[:4]
WITHIN = ("pac", "pvc", "premature_complexes", "bigeminy", "trigeminy")
PARTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "rhythm": tuple(BY_SCP[c] for c in RHYTHM),
        "form": tuple(BY_SCP[c] for c in FORM),
        "diagnostic": tuple(BY_SCP[c] for c in DIAGNOSTIC),
    }
)


@lru_cache
def relatives(name: str) -> frozenset[str]:
    """Statements which, where they are stated, do not let this one be denied."""
    out = set(_ONE_WAY.get(name, frozenset()))
    for family in _FAMILIES:
        if name in family:
            out |= family
    return frozenset(out - {name})


def denied(f: Facts, name: str) -> bool:
    """Whether a careful reader says "no" to this statement."""
    if name not in f.denied or name in f.found or relatives(name) & f.stated.keys():
        return False
    if name == "sinus_rhythm":  # another rhythm has to be there
        return basic(f) in BASIC[4:]
    if name == "normal_ecg":
        return bool(f.superclasses) and "NORM" not in (f.superclasses or ())
    return True


def basic(f: Facts) -> str | None:
    """The underlying rhythm that is stated; None where there is none, or where two contradict each other."""
    there = [name for name in BASIC if name in f.stated]
    if len(there) > 1 and "sinus_rhythm" in there:
        there.remove("sinus_rhythm") if all(name in SINUS for name in there) else None
    if len(there) == 2 and "sinus_arrhythmia" in there and all(name in SINUS for name in there):
        there.remove("sinus_arrhythmia")  # said beside: "sinus bradycardia with sinus arrhythmia"
    return there[0] if len(there) == 1 else None


def known(f: Facts, part: str) -> bool:
    """Whether all statements of a part are either stated or not: then their list is complete."""
    return all(name in f.stated or name in f.denied for name in PARTS[part])
