"""The table of what can be simulated, and which of it can be together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from einthoven.record import EcgError


@dataclass(frozen=True)
class Condition:
    """`meaning` in one line; `scp` the SCP-ECG statement code of PTB-XL ("" where it has none); `group` says what
    excludes what: of "rhythm", "av", "ventricle", "fascicle", "size" and "acute" an ECG has at most one each. `rates`
    the heart rates (bpm) it is drawn with, the middle one where none is asked for."""

    meaning: str
    scp: str
    group: str
    rates: tuple[float, float, float] = (50, 70, 100)


CONDITIONS: Mapping[str, Condition] = MappingProxyType(
    {
        "sinus_rhythm": Condition("sinus rhythm", "SR", "rhythm", (60, 70, 100)),
        "sinus_bradycardia": Condition("sinus rhythm below 60/min", "SBRAD", "rhythm", (35, 48, 59)),
        "sinus_tachycardia": Condition("sinus rhythm above 100/min", "STACH", "rhythm", (101, 120, 180)),
        "sinus_arrhythmia": Condition("sinus rhythm that varies with respiration", "SARRH", "rhythm", (50, 65, 85)),
        "sinus_pause": Condition("sinus rhythm with a pause of more than 2 s", "", "rhythm", (50, 65, 80)),
        "atrial_fibrillation": Condition("atrial fibrillation", "AFIB", "rhythm", (50, 90, 160)),
        "atrial_flutter": Condition("atrial flutter", "AFLT", "rhythm", (60, 100, 160)),
        "svt": Condition("supraventricular tachycardia without visible P waves", "PSVT", "rhythm", (150, 180, 220)),
        "ventricular_tachycardia": Condition("monomorphic ventricular tachycardia", "", "rhythm", (120, 165, 220)),
        "junctional_rhythm": Condition("junctional rhythm, no P wave before the QRS", "", "rhythm", (38, 50, 65)),
        "idioventricular_rhythm": Condition(
            "ventricular escape or accelerated idioventricular rhythm", "", "rhythm", (30, 42, 90)
        ),
        "atrial_pacing": Condition("atrial pacing, own QRS", "PACE", "rhythm", (60, 65, 90)),
        "ventricular_pacing": Condition("right ventricular pacing", "PACE", "rhythm", (60, 65, 90)),
        "dual_pacing": Condition("atrial and right ventricular pacing", "PACE", "rhythm", (60, 65, 90)),
        "av_block_1": Condition("first degree AV block: PR above 200 ms", "1AVB", "av", (45, 65, 90)),
        "av_block_mobitz_1": Condition("second degree AV block, Wenckebach", "2AVB", "av", (50, 75, 95)),
        "av_block_mobitz_2": Condition("second degree AV block, Mobitz II", "2AVB", "av", (50, 75, 95)),
        "av_block_2_to_1": Condition("second degree AV block, 2:1", "2AVB", "av", (60, 80, 100)),
        "av_block_3": Condition("third degree AV block with a junctional or ventricular escape", "3AVB", "av", (60, 80, 105)),
        "pac": Condition("premature atrial complexes", "PAC", "ectopy", (50, 70, 110)),
        "blocked_pac": Condition("premature atrial complexes that are not conducted", "PAC", "ectopy", (50, 65, 90)),
        "pvc": Condition("premature ventricular complexes", "PVC", "ectopy", (50, 70, 110)),
        "pvc_couplet": Condition("a couplet of premature ventricular complexes", "PVC", "ectopy", (50, 70, 90)),
        "bigeminy": Condition("ventricular bigeminy", "BIGU", "ectopy", (55, 75, 100)),
        "trigeminy": Condition("ventricular trigeminy", "TRIGU", "ectopy", (55, 75, 100)),
        "lbbb": Condition("complete left bundle branch block", "CLBBB", "ventricle"),
        "rbbb": Condition("complete right bundle branch block", "CRBBB", "ventricle"),
        "irbbb": Condition("incomplete right bundle branch block", "IRBBB", "ventricle"),
        "ivcd": Condition("non-specific intraventricular conduction delay", "IVCD", "ventricle"),
        "wpw": Condition("ventricular pre-excitation: short PR and delta wave", "WPW", "ventricle"),
        "lafb": Condition("left anterior fascicular block", "LAFB", "fascicle"),
        "lpfb": Condition("left posterior fascicular block", "LPFB", "fascicle"),
        "lvh": Condition("left ventricular hypertrophy (voltage, with strain in some)", "LVH", "size"),
        "rvh": Condition("right ventricular hypertrophy", "RVH", "size"),
        "low_voltage": Condition("low QRS voltage: limb leads below 0.5 mV, chest leads below 1 mV", "LVOLT", "size"),
        "left_atrial_enlargement": Condition("left atrial overload", "LAO/LAE", "atrium"),
        "right_atrial_enlargement": Condition("right atrial overload", "RAO/RAE", "atrium"),
        "stemi_anterior": Condition("acute anterior infarction with ST elevation", "AMI", "acute"),
        "stemi_inferior": Condition("acute inferior infarction with ST elevation", "IMI", "acute"),
        "stemi_lateral": Condition("acute lateral infarction with ST elevation", "LMI", "acute"),
        "stemi_posterior": Condition("acute posterior infarction: ST depression V1-V3", "PMI", "acute"),
        "ischaemia_anterior": Condition("ST depression and T inversion, anterior", "ISCAN", "acute"),
        "ischaemia_inferior": Condition("ST depression and T inversion, inferior", "ISCIN", "acute"),
        "ischaemia_lateral": Condition("ST depression and T inversion, lateral", "ISCLA", "acute"),
        "pericarditis": Condition("diffuse ST elevation without reciprocal depression but in aVR", "STE_", "acute"),
        "old_mi_anterior": Condition("old anterior infarction: Q or QS in V1-V4", "AMI", "scar"),
        "old_mi_inferior": Condition("old inferior infarction: Q in II, III, aVF", "IMI", "scar"),
        "old_mi_lateral": Condition("old lateral infarction: Q in I, aVL, V5, V6", "LMI", "scar"),
        "long_qt": Condition("long QT interval", "LNGQT", "repolarisation"),
        "short_qt": Condition("short QT interval", "", "repolarisation"),
        "hyperkalaemia": Condition("hyperkalaemia: narrow tall T, wide QRS, flat P", "EL", "acute"),
        "hypokalaemia": Condition("hypokalaemia: flat T, ST depression, U wave", "EL", "acute"),
        "digitalis": Condition("digitalis effect: sagging ST depression, short QT", "DIG", "acute"),
        "swap_ra_la": Condition("arm electrodes exchanged", "", "cable"),
        "swap_ra_ll": Condition("right arm and left leg electrodes exchanged", "", "cable"),
        "swap_la_ll": Condition("left arm and left leg electrodes exchanged", "", "cable"),
        "swap_v1_v2": Condition("electrodes V1 and V2 exchanged", "", "cable"),
        "swap_v1_v3": Condition("electrodes V1 and V3 exchanged", "", "cable"),
        "swap_v2_v3": Condition("electrodes V2 and V3 exchanged", "", "cable"),
        "swap_v3_v4": Condition("electrodes V3 and V4 exchanged", "", "cable"),
        "swap_v4_v5": Condition("electrodes V4 and V5 exchanged", "", "cable"),
        "swap_v5_v6": Condition("electrodes V5 and V6 exchanged", "", "cable"),
    }
)

# One of each of these groups at most.
_SINGLE = ("rhythm", "av", "ectopy", "ventricle", "fascicle", "size", "acute", "scar", "repolarisation", "cable")

_SINUS = ("sinus_rhythm", "sinus_bradycardia", "sinus_tachycardia", "sinus_arrhythmia")
_WIDE = ("ventricular_tachycardia", "idioventricular_rhythm", "ventricular_pacing", "dual_pacing")
_NO_P = ("atrial_fibrillation", "atrial_flutter", "svt", "junctional_rhythm", *_WIDE[:3])
_VENTRICULAR = ("pvc", "pvc_couplet", "bigeminy", "trigeminy")

# (these, exclude those, because).
_EXCLUDE: tuple[tuple[tuple[str, ...], tuple[str, ...], str], ...] = (
    (
        ("av_block_1", "av_block_mobitz_1", "av_block_mobitz_2", "av_block_2_to_1", "av_block_3"),
        (*_NO_P, "atrial_pacing", "dual_pacing", "sinus_pause", "sinus_tachycardia"),
        "an AV block is judged from sinus P waves at an ordinary rate",
    ),
    (
        ("av_block_mobitz_1", "av_block_mobitz_2", "av_block_2_to_1", "av_block_3"),
        ("pac", "blocked_pac", *_VENTRICULAR),
        "ectopy is simulated with 1:1 conduction",
    ),
    (
        ("pac", "blocked_pac", *_VENTRICULAR),
        (
            "atrial_flutter",
            "svt",
            "ventricular_tachycardia",
            "junctional_rhythm",
            "idioventricular_rhythm",
            "sinus_pause",
            "dual_pacing",
        ),
        "ectopy is simulated on sinus rhythm, atrial fibrillation and single chamber pacing",
    ),
    (
        ("pac", "blocked_pac"),
        ("atrial_fibrillation", "ventricular_pacing", "atrial_pacing"),
        "there is no sinus P wave to be premature to",
    ),
    (
        _WIDE,
        tuple(n for n, c in CONDITIONS.items() if c.group in ("ventricle", "fascicle", "size", "acute", "scar")),
        "the QRS does not come through the bundle branches, so nothing can be read from its shape",
    ),
    (("left_atrial_enlargement", "right_atrial_enlargement"), _NO_P, "there is no sinus P wave"),
    (
        ("lbbb", "wpw"),
        tuple(n for n, c in CONDITIONS.items() if c.group in ("fascicle", "size", "acute", "scar")),
        "it hides what the other label is read from",
    ),
    (
        ("wpw",),
        ("av_block_1", "av_block_mobitz_1", "av_block_mobitz_2", "av_block_2_to_1", "av_block_3", *_NO_P),
        "the PR is short by definition",
    ),
    (
        ("long_qt", "short_qt", "hypokalaemia", "digitalis"),
        ("svt", *_WIDE),
        "its QT cannot be told from that of the rhythm",
    ),
    (_VENTRICULAR, ("atrial_pacing",), "a pacemaker that senses only the atrium is not simulated with them"),
    (("left_atrial_enlargement", "right_atrial_enlargement"), ("wpw", "av_block_3"), "the P wave runs into the QRS"),
    (("lpfb",), ("irbbb", "ivcd"), "the late vectors of both would mix"),
    (("old_mi_anterior",), ("stemi_posterior",), "the R waves in V1-V3 would be asked to grow and to vanish"),
    (("rvh",), ("rbbb", "irbbb", "lafb", "lpfb", "ivcd"), "a tall R in V1 and a right axis would have two causes"),
    (("lvh",), ("rbbb", "irbbb", "ivcd", "lpfb"), "voltage criteria do not hold in it"),
    (("low_voltage",), ("rbbb", "irbbb", "ivcd", "lafb", "lpfb"), "the deflections of the block would be too small to be seen"),
    (
        ("old_mi_anterior", "old_mi_inferior", "old_mi_lateral"),
        ("lafb", "lpfb", "lvh", "rvh", "rbbb", "irbbb", "ivcd", "low_voltage", "hyperkalaemia"),
        "Q waves and block would change each other's criteria",
    ),
    (
        tuple(n for n, c in CONDITIONS.items() if c.group == "acute"),
        ("lvh", "rvh", "rbbb", "irbbb", "ivcd", "low_voltage"),
        "secondary ST-T changes would mix with the primary ones",
    ),
    (
        ("hyperkalaemia",),
        ("lafb", "lpfb", "left_atrial_enlargement", "right_atrial_enlargement"),
        "hyperkalaemia reshapes P and QRS",
    ),
    (("digitalis", "hypokalaemia", "hyperkalaemia"), ("long_qt", "short_qt"), "it sets the QT interval itself"),
    (
        ("sinus_arrhythmia",),
        ("av_block_mobitz_1", "av_block_3", *_VENTRICULAR, "pac", "blocked_pac"),
        "the RR intervals would have two causes",
    ),
)


def rhythm_of(labels: tuple[str, ...]) -> str:
    """The one rhythm among the labels; sinus rhythm where none is named."""
    return next((n for n in labels if CONDITIONS[n].group == "rhythm"), "sinus_rhythm")


def check(labels: tuple[str, ...]) -> None:
    """Raises EcgError where a label is unknown or two cannot be together, and says why."""
    for name in labels:
        if name not in CONDITIONS:
            raise EcgError(f"no condition {name!r}; einthoven.synth.CONDITIONS lists what can be simulated")
    if len(set(labels)) != len(labels):
        raise EcgError(f"labels repeat: {', '.join(labels)}")
    for group in _SINGLE:
        same = [n for n in labels if CONDITIONS[n].group == group]
        if len(same) > 1:
            raise EcgError(f"{same[0]} and {same[1]} cannot be together: an ECG is simulated with one {group} condition")
    for these, those, because in _EXCLUDE:
        a, b = [n for n in labels if n in these], [n for n in labels if n in those]
        if a and b:
            raise EcgError(f"{a[0]} and {b[0]} cannot be together: {because}")


def compatible(labels: tuple[str, ...]) -> bool:
    """Whether `check` lets them pass."""
    try:
        check(labels)
    except EcgError:
        return False
    return True
