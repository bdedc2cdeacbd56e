"""Rhythm, ectopy and pacing.

AV = Surawicz 2009 where conduction is meant; rhythm definitions follow the ACC/AHA/HRS key data elements for
electrophysiology (Buxton 2006)
and Mason 2007 (AHA/ACC/HRS recommendations, part II: the statement list), part I (Kligfield 2007) for what is measured.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from einthoven.beats.fiducials import P_ON, PACED, QRS_ON, SUPRAVENTRICULAR, VENTRICULAR
from einthoven.findings.finding import Evidence
from einthoven.findings.rule import DEFINITE, POSSIBLE, PROBABLE, Case, Met, Rule

MASON = "Mason 2007, AHA/ACC/HRS recommendations II (statement list); Buxton 2006, ACC/AHA/HRS electrophysiology definitions"
KUSUMOTO = "Kusumoto 2018, ACC/AHA/HRS guideline on bradycardia and conduction delay"
HINDRICKS = "Hindricks 2020, ESC guideline on atrial fibrillation; Mason 2007, AHA/ACC/HRS recommendations II"
PAGE = "Page 2015, ACC/AHA/HRS guideline on supraventricular tachycardia"
ALKHATIB = "Al-Khatib 2017, AHA/ACC/HRS guideline on ventricular arrhythmias"

# Below 50/min since Kusumoto 2018 (60 before; a rate of 50 to 59 is said beside sinus rhythm).
BRADYCARDIA_BPM, TACHYCARDIA_BPM = 50, 100
# A sinus P wave points down and to the left: upright in I and II.
SINUS_P_AXIS = (-30.0, 105.0)

# What is not sinus rhythm, whatever P waves may be seen.
_OTHER = (
    "atrial_fibrillation",
    "atrial_flutter",
    "complete_av_block",
    "supraventricular_tachycardia",
    "ventricular_tachycardia",
    "wide_qrs_tachycardia",
    "junctional_rhythm",
    "junctional_escape",
    "accelerated_junctional",
    "idioventricular_rhythm",
    "accelerated_idioventricular",
    "ventricular_paced",
    "undetermined_rhythm",
    "ectopic_atrial_rhythm",
)


# Pacing ---------------------------------------------------------------------------------------------------------------


def paced(case: Case) -> Iterator[Met]:
    """Most beats are classified as paced (a spike before them); atrial where the spike stands before P, ventricular before
    QRS.
    """
    n, spikes = len(case.beats), case.value("spikes")
    if n >= 3 and case.value("n_paced") < 2 and 0.7 * n <= spikes <= 1.3 * n and case.value("p_fraction") >= 0.5:
        facts = [case.fact("spikes", "0.7 .. 1.3 per beat, none before QRS: more is noise")]
        yield Met(tuple(facts))
        yield Met(tuple(facts), PROBABLE, name="atrial_paced")
        return
    if not n or not case.value("n_paced") >= max(2, 0.3 * n):
        return
    facts = [case.fact("n_paced", ">= 2 and >= 30 % of beats")] + ([case.fact("spikes")] if spikes == spikes else [])
    yield Met(tuple(facts))
    if case.value("qrs_ms") >= 120:
        yield Met((*facts, case.fact("qrs_ms", ">= 120")), name="ventricular_paced")


# AF, flutter ----------------------------------------------------------------------------------------------------------


def atrial_fibrillation(case: Case) -> Met | None:
    """Irregularly irregular RR without P waves that belong to the QRS.

    The limits (folds 1-8 of the PTB-XL subset): successive RR differ by 5 % of their mean and at most every fifth QRS has a
    P wave before it. Either atrial waves above 3.2 Hz are left when QRS and T are taken away, or half of all RR differ from the
    next one
    by 8 %: a few premature beats in a sinus rhythm whose P waves are hidden do neither.
    """
    irregular, p, hz = case.value("rr_irregularity"), case.value("p_fraction"), case.value("f_wave_hz")
    if len(case.beats) < 5 or case.value("n_ventricular") > 0.7 * len(case.beats):
        return None
    usual = typical_change(case)
    if not (irregular >= 0.05 and p <= 0.2 and (not hz < 3.2 or usual >= 0.08)):
        return None
    facts = (
        case.fact("rr_irregularity", ">= 0.05"),
        case.fact("p_fraction", "<= 0.2"),
        Evidence("median change from RR to RR over mean RR", round(usual, 3), "", ">= 0.08 or f waves"),
        *([case.fact("f_wave_hz", ">= 3.2")] if hz == hz else []),
        case.fact("rate_bpm"),
    )
    return Met(facts, DEFINITE if irregular >= 0.1 and usual >= 0.06 and p <= 0.1 else PROBABLE)


def typical_change(case: Case) -> float:
    """Median |difference of successive RR| over mean RR, intervals that touch a ventricular or paced beat left out; 0 with
    too few.
    """
    rr, kinds = case.beats.rr, case.beats.kinds
    own = np.array(
        [kinds[i] not in (VENTRICULAR, PACED) and kinds[i + 1] not in (VENTRICULAR, PACED) for i in range(len(rr))], bool
    )
    changes = np.abs(np.diff(rr))[own[1:] & own[:-1]]
    return float(np.median(changes) / np.mean(rr[own])) if len(changes) >= 3 else 0.0


def atrial_flutter(case: Case) -> Met | None:
    """Regular atrial waves at 240 to 340/min (3.8 to 5.8 Hz) that stand out of the rest."""
    hz, power = case.value("f_wave_hz"), case.value("f_wave_power")
    if len(case.beats) < 3 or not 3.7 <= hz <= 5.9 or not power >= 0.5 or not case.value("p_fraction") <= 0.6:
        return None
    regular = case.value("rr_irregularity") < 0.05
    if not regular and not power >= 0.68:
        return None
    facts = (case.fact("f_wave_hz", "3.7 .. 5.9"), case.fact("f_wave_power", ">= 0.5"), case.fact("p_fraction", "<= 0.6"))
    return Met((*facts, case.fact("rate_bpm")), PROBABLE)


# Blocked P waves ------------------------------------------------------------------------------------------------------


def _atrial(case: Case) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times of all P onsets (s, sorted), PR of each beat (ms, NaN without P), and of each beat the number of lone P since the
    last beat.
    """
    b = case.beats
    pr = (b.overall[:, QRS_ON] - b.overall[:, P_ON]) * 1000
    lone = b.lone_p_overall[:, 0] if len(b.lone_p_overall) else np.empty(0)
    lone = np.sort(lone[np.isfinite(lone)])
    ps = np.sort(np.concatenate([b.overall[:, P_ON][np.isfinite(b.overall[:, P_ON])], lone]))
    before = np.searchsorted(lone, b.r)
    return ps, pr, np.diff(before, prepend=0)


def _steady(ps: np.ndarray) -> bool:
    """Whether the P waves march on at one rate: most PP intervals within 15 % of their median (Kusumoto 2018: regular PP
    tells block from PAC).
    """
    pp = np.diff(ps)
    return len(pp) >= 3 and float(np.mean(np.abs(pp / np.median(pp) - 1) < 0.15)) >= 0.75


def complete_av_block(case: Case) -> Met | None:
    """More P than QRS, both regular, no relation between them: PR varies beat by beat at a steady ventricular rate."""
    if len(case.beats) < 3:
        return None
    ps, pr, lone = _atrial(case)
    seen = pr[np.isfinite(pr)]
    rr = case.beats.rr
    if lone.sum() < 2 or not _steady(ps) or len(rr) < 2 or float(np.std(rr) / np.mean(rr)) > 0.1:
        return None
    atrial, ventricular = 60 / float(np.median(np.diff(ps))), case.value("rate_bpm")
    if not (ventricular <= 65 and atrial > 1.15 * ventricular) or (len(seen) >= 2 and float(np.ptp(seen)) < 80):
        return None
    spread = float(np.ptp(seen)) if len(seen) >= 2 else float("nan")
    return Met(
        (
            Evidence("atrial rate", round(atrial, 1), "/min", "> ventricular rate"),
            case.fact("rate_bpm", "<= 65"),
            Evidence("range of PR", round(spread, 1), "ms", ">= 80"),
            Evidence("P waves without QRS", float(lone.sum()), "", ">= 2"),
        ),
        DEFINITE if lone.sum() >= 4 else PROBABLE,
    )


def blocked_pac(case: Case) -> Met | None:
    """A P wave that no QRS follows and that comes early for the P waves around it: a premature one that is not conducted."""
    if len(case.beats) < 3 or not len(case.beats.lone_p_overall):
        return None
    ps, _, lone = _atrial(case)
    if len(ps) < 5 or lone.sum() > 0.4 * len(case.beats):
        return None
    pp = np.diff(ps)
    usual = float(np.median(pp))
    alone = np.isin(ps[1:-1], case.beats.lone_p_overall[:, 0])
    early = alone & (pp[:-1] < 0.87 * usual) & (pp[1:] > 0.95 * usual)
    if not early.any() or not case.value("p_fraction") >= 0.7:
        return None
    return Met(
        (Evidence("early P waves without QRS", float(early.sum()), "", f"PP < 87 % of {usual * 1000:.0f} ms"),),
        PROBABLE,
        detail="not conducted",
    )


def second_degree_av_block(case: Case) -> Iterator[Met]:
    """A P wave in its place that no QRS follows: PR that grows before it (Mobitz I), stays (Mobitz II), every second one
    (2:1).
    """
    if len(case.beats) < 3:
        return
    ps, pr, lone = _atrial(case)
    inner = lone[1:]
    if not _steady(ps) or not inner.any() or inner.max() > 1 or blocked_pac(case):
        return
    blocked = Evidence(
        "P waves without QRS", float(inner.sum()), "", ">= 1", beats=tuple(int(i) + 1 for i in np.flatnonzero(inner))
    )
    if inner.mean() >= 0.8:
        yield Met((blocked, case.fact("p_per_qrs", "about 2")), name="av_block_2_1")
        return
    growth = [pr[i] - pr[i + 1] for i in np.flatnonzero(inner) if np.isfinite(pr[i]) and np.isfinite(pr[i + 1])]
    if not growth:
        return
    shortening = Evidence("PR before minus PR after the blocked P", round(float(np.median(growth)), 1), "ms", ">= 30: Mobitz I")
    if np.median(growth) >= 30:
        yield Met((blocked, shortening), name="mobitz_1")
    elif np.ptp(pr[np.isfinite(pr)]) <= 60:
        yield Met((blocked, shortening), PROBABLE, name="mobitz_2")


# Tachycardias and rhythms without sinus P -----------------------------------------------------------------------------


def supraventricular_tachycardia(case: Case) -> Met | None:
    """Regular narrow QRS at 125/min or more without sinus P waves before them: re-entry, atrial tachycardia or flutter with
    2:1 conduction.
    """
    rate = case.value("rate_bpm")
    if (
        not rate >= 125
        or not case.value("qrs_ms") < 120
        or not case.value("rr_irregularity") < 0.06
        or not case.value("p_fraction") < 0.5
    ):
        return None
    facts = (case.fact("rate_bpm", ">= 125"), case.fact("qrs_ms", "< 120"), case.fact("p_fraction", "< 0.5"))
    return Met(
        facts, PROBABLE if rate >= 140 else POSSIBLE, detail="flutter with 2:1 conduction not excluded" if rate <= 175 else ""
    )


def ventricular_tachycardia(case: Case) -> Iterator[Met]:
    """Three or more ventricular beats in a row faster than 100/min; a wide regular tachycardia without P waves is named as
    such.
    """
    run = longest_run(case.beats.kinds, VENTRICULAR)
    if len(run) >= 3:
        rate = 60 / float(np.mean(np.diff(case.beats.r[run])))
        beats = Evidence("ventricular beats in a row", float(len(run)), "", ">= 3", beats=tuple(run))
        if rate >= 100:
            yield Met(
                (beats, Evidence("rate of the run", round(rate, 1), "/min", ">= 100")),
                DEFINITE if len(run) < 0.9 * len(case.beats) else PROBABLE,
            )
            return
    if (
        case.value("rate_bpm") >= 120
        and case.value("qrs_ms") >= 130
        and case.value("p_fraction") < 0.3
        and case.value("rr_irregularity") < 0.06
    ):
        facts = (case.fact("rate_bpm", ">= 120"), case.fact("qrs_ms", ">= 130"), case.fact("p_fraction", "< 0.3"))
        yield Met(facts, PROBABLE, name="wide_qrs_tachycardia")


def longest_run(kinds: tuple[str, ...], kind: str) -> list[int]:
    """Indices of the longest unbroken run of one kind of beat."""
    best: list[int] = []
    run: list[int] = []
    for i, k in enumerate(kinds):
        run = [*run, i] if k == kind else []
        best = run if len(run) > len(best) else best
    return best


def escape(case: Case) -> Iterator[Met]:
    """Regular QRS without P waves before them: narrow is junctional (escape 40 to 60/min), wide and slow is ventricular."""
    rate, qrs = case.value("rate_bpm"), case.value("qrs_ms")
    if len(case.beats) < 3 or not case.value("p_fraction") < 0.2 or not case.value("rr_irregularity") < 0.06 or not rate < 130:
        return
    facts = (
        case.fact("rate_bpm"),
        case.fact("p_fraction", "< 0.2"),
        case.fact("qrs_ms"),
        case.fact("rr_irregularity", "< 0.06"),
    )
    if qrs >= 120:
        if rate < 50:
            yield Met(facts, PROBABLE, name="idioventricular_rhythm")
        elif rate <= 110 and case.value("n_ventricular") >= 3:
            yield Met(facts, PROBABLE, name="accelerated_idioventricular")
    elif rate < 60:
        yield Met(facts, PROBABLE, name="junctional_escape")
    elif rate <= 100:
        yield Met(facts, POSSIBLE, name="accelerated_junctional")


def ectopic_atrial_rhythm(case: Case) -> Met | None:
    """P waves before the QRS whose axis does not come from the sinus node (inverted in II, III, aVF)."""
    axis = case.value("p_axis_deg")
    if not case.value("p_fraction") >= 0.7 or not (axis <= -45 or axis >= 120):
        return None
    p_ii = case.lead("II").p_mv
    if not p_ii <= -0.05:
        return None
    return Met(
        (case.fact("p_axis_deg", "<= -45 or >= 120"), case.of("p_mv", "II", "<= -0.05"), case.fact("p_fraction", ">= 0.7")),
        PROBABLE,
    )


# Sinus rhythm ---------------------------------------------------------------------------------------------------------


def sinus(case: Case) -> Iterator[Met]:
    """A P wave with a sinus axis before most QRS, and what the rate makes of it."""
    if case.has(*_OTHER):
        return
    if not case.value("p_fraction") >= 0.5:
        yield from _hidden_p(case)
        return
    rate, axis = case.value("rate_bpm"), case.value("p_axis_deg")
    facts = [case.fact("p_fraction", ">= 0.5"), case.fact("rate_bpm")]
    if axis == axis:
        facts.append(case.fact("p_axis_deg", f"{SINUS_P_AXIS[0]:g} .. {SINUS_P_AXIS[1]:g}"))
    sure = DEFINITE if case.value("p_fraction") >= 0.8 and not (axis < SINUS_P_AXIS[0] or axis > SINUS_P_AXIS[1]) else PROBABLE
    slow, fast = rate < BRADYCARDIA_BPM, rate >= TACHYCARDIA_BPM + 0.5  # a rate that is told as 100 is not above 100
    if slow:
        facts[1] = case.fact("rate_bpm", f"< {BRADYCARDIA_BPM}")
        yield Met(tuple(facts), sure, name="sinus_bradycardia")
    elif fast:
        facts[1] = case.fact("rate_bpm", f"> {TACHYCARDIA_BPM}")
        yield Met(tuple(facts), sure, name="sinus_tachycardia")
    else:
        yield Met(tuple(facts), sure, name="sinus_rhythm", detail="slow, below 60/min" if rate < 59.5 else "")


def _hidden_p(case: Case) -> Iterator[Met]:
    """Regular at 101 to 124/min (from 125 flutter with 2:1 conduction looks the same) without P waves to be seen: most often
    sinus tachycardia whose P waves lie in T; only
    possible.
    """
    if TACHYCARDIA_BPM + 0.5 <= case.value("rate_bpm") < 125 and case.value("rr_irregularity") < 0.05 and len(case.beats) >= 5:
        facts = (case.fact("rate_bpm", "101 .. 124"), case.fact("rr_irregularity", "< 0.05"), case.fact("p_fraction"))
        yield Met(facts, POSSIBLE, name="sinus_tachycardia", detail="P waves not seen, perhaps within T")


def sinus_arrhythmia(case: Case) -> Met | None:
    """Sinus rhythm whose longest and shortest RR differ by more than 120 ms and by more than 10 % (normal beats only),
    changing gradually.
    """
    rr = case.nn_ms
    if not case.has("sinus_rhythm", "sinus_bradycardia", "sinus_tachycardia") or len(rr) < 4:
        return None
    span = float(np.ptp(rr))
    mean = float(np.mean(rr))
    if span <= 120 or span / mean < 0.25 or float(np.max(np.abs(np.diff(rr)))) > 0.8 * mean:
        return None
    return Met(
        (Evidence("longest minus shortest RR", round(span, 1), "ms", "> 120 and >= 25 % of the mean"), case.fact("rr_sd_ms"))
    )


def pause(case: Case) -> Met | None:
    """An RR interval of 2 s or more."""
    return (
        Met((case.fact("rr_max_ms", ">= 2000"),)) if case.value("rr_max_ms") >= 2000 and case.value("rate_bpm") >= 35 else None
    )


def undetermined_rhythm(case: Case) -> Met | None:
    """Nothing of the above, or no beats to say it of."""
    if case.has(*_OTHER, "sinus_rhythm", "sinus_bradycardia", "sinus_tachycardia", "paced"):
        return None
    if len(case.beats) < 3:
        return Met((Evidence("beats", float(len(case.beats)), "", ">= 3 to judge a rhythm"),))
    return Met((case.fact("p_fraction"), case.fact("rr_irregularity"), case.fact("rate_bpm")))


# Ectopy ---------------------------------------------------------------------------------------------------------------


def _ectopic(case: Case, kind: str, quantity: str) -> Met | None:
    where = tuple(i for i, k in enumerate(case.beats.kinds) if k == kind)
    if not where or len(where) > 0.7 * len(case.beats):
        return None
    return Met((Evidence(quantity, float(len(where)), "", ">= 1", beats=where),))


def pvc(case: Case) -> Met | None:
    """Premature, wide, different: as classified beat by beat."""
    return _ectopic(case, VENTRICULAR, "n_ventricular")


def pac(case: Case) -> Met | None:
    """Premature with a narrow QRS like the others."""
    return _ectopic(case, SUPRAVENTRICULAR, "n_supraventricular")


def allorhythmia(case: Case) -> Iterator[Met]:
    """Bigeminy: every second beat ectopic, three times in a row; trigeminy: every third."""
    kinds = case.beats.kinds
    for kind, two, three in (
        (VENTRICULAR, "ventricular_bigeminy", "ventricular_trigeminy"),
        (SUPRAVENTRICULAR, "atrial_bigeminy", "trigeminy"),
    ):
        for period, name in ((2, two), (3, three)):
            marks = "".join("x" if k == kind else "." for k in kinds)
            pattern = ("." * (period - 1) + "x") * 3
            at = marks.find(pattern)
            if at >= 0 and marks.count("x") >= len(marks) / period - 1.5:
                beats = tuple(i for i, k in enumerate(kinds) if k == kind)
                yield Met(
                    (
                        Evidence(
                            "ectopic beats in the pattern", float(len(beats)), "", f"every {period}. beat, 3 times", beats=beats
                        ),
                    ),
                    name=name,
                )
                return


_AF = {"atrial_fibrillation": ""}
_SLOW_PACED = {"ventricular_paced": "", "paced": ""}

RULES = (
    Rule("paced", MASON, paced, also=("ventricular_paced", "atrial_paced")),
    Rule("ventricular_tachycardia", ALKHATIB, ventricular_tachycardia, unless=_SLOW_PACED, also=("wide_qrs_tachycardia",)),
    Rule("complete_av_block", KUSUMOTO, complete_av_block, unless=_SLOW_PACED),
    Rule("atrial_flutter", PAGE, atrial_flutter, unless={**_SLOW_PACED, "complete_av_block": ""}),
    Rule(
        "atrial_fibrillation",
        HINDRICKS,
        atrial_fibrillation,
        unless={"atrial_flutter": "", "ventricular_tachycardia": "", "paced": ""},
    ),
    Rule(
        "second_degree_av_block",
        KUSUMOTO,
        second_degree_av_block,
        unless={**_SLOW_PACED, **_AF, "atrial_flutter": "", "complete_av_block": ""},
        also=("mobitz_1", "mobitz_2", "av_block_2_1"),
    ),
    Rule(
        "supraventricular_tachycardia",
        PAGE,
        supraventricular_tachycardia,
        unless={**_AF, **_SLOW_PACED, "atrial_flutter": "", "ventricular_tachycardia": ""},
    ),
    Rule(
        "junctional_escape",
        KUSUMOTO,
        escape,
        unless={
            **_AF,
            **_SLOW_PACED,
            "atrial_flutter": "",
            "complete_av_block": "",
            "ventricular_tachycardia": "",
            "wide_qrs_tachycardia": "",
        },
        also=("accelerated_junctional", "idioventricular_rhythm", "accelerated_idioventricular"),
    ),
    Rule(
        "ectopic_atrial_rhythm",
        MASON,
        ectopic_atrial_rhythm,
        unless={**_AF, **_SLOW_PACED, "atrial_flutter": ""},
        leads=("II",),
    ),
    Rule("sinus_rhythm", MASON, sinus, also=("sinus_bradycardia", "sinus_tachycardia")),
    Rule("sinus_arrhythmia", MASON, sinus_arrhythmia, unless={"mobitz_1": "", "mobitz_2": ""}),
    Rule("pvc", MASON, pvc, unless={"ventricular_paced": "", "ventricular_tachycardia": ""}),
    Rule("pac", MASON, pac, unless={**_AF, "atrial_flutter": "", "ventricular_paced": ""}),
    Rule("pac", MASON, blocked_pac, unless={**_AF, **_SLOW_PACED, "atrial_flutter": "", "complete_av_block": ""}),
    Rule(
        "ventricular_bigeminy",
        MASON,
        allorhythmia,
        unless=_SLOW_PACED,
        also=("atrial_bigeminy", "ventricular_trigeminy", "trigeminy"),
    ),
    Rule("pause", KUSUMOTO, pause),
    Rule("undetermined_rhythm", MASON, undetermined_rhythm),
)
