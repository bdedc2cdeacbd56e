"""T waves and QT: Rautaharju 2009 (AHA/ACCF/HRS recommendations, part IV)."""

from __future__ import annotations

from einthoven.findings.finding import Evidence
from einthoven.findings.rule import (
    CONTIGUOUS,
    DEFINITE,
    POSSIBLE,
    PROBABLE,
    REVERSED,
    SECONDARY,
    Case,
    Met,
    Rule,
    contiguous,
    net,
)

RAUTAHARJU = "Rautaharju 2009, AHA/ACCF/HRS recommendations IV (ST, T, U waves, QT)"
BOGOSSIAN = f"{RAUTAHARJU}; Bogossian 2014 (QT in wide QRS: QT - 48.5 % of QRS)"
LEVINE = "Surawicz & Knilans, Chou's Electrocardiography (hyperkalaemia, digitalis)"
WILDE = "Wilde 2002, Brugada consensus, Circulation 106:2514"

# Leads where T is upright in health (V1 and III, aVL, aVR may not be).
_UPRIGHT = ("I", "II", "aVF", "V3", "V4", "V5", "V6")
_LATERAL = ("I", "II", "V3", "V4", "V5", "V6")


def inverted(case: Case) -> dict[str, Evidence]:
    """T inverted by 0.1 mV or more in leads with an upright QRS (V3, V4 whatever the QRS), with a contiguous neighbour."""
    hits = {
        n: case.of("t_mv", n, "<= -0.1")
        for n in (*_UPRIGHT, "aVL", "V2", "III")
        if (x := case.lead(n)).t_mv <= -0.1 and (net(x) > 0 or n in ("V3", "V4"))
    }
    kept = contiguous(hits, (*CONTIGUOUS, ("II", "III")))
    return {n: hits[n] for n in kept if n not in ("III", "V2") or len(kept) > 2}


def t_inversion(case: Case) -> Met | None:
    """In two contiguous leads; deep from 0.5 mV, giant from 1 mV."""
    hits = inverted(case)
    if not hits:
        return None
    deepest = min(case.lead(n).t_mv for n in hits)
    return Met(
        tuple(hits.values()),
        DEFINITE if deepest <= -0.3 else PROBABLE if deepest <= -0.15 else POSSIBLE,
        detail="deep" if deepest <= -0.5 else "",
    )


def low_t(case: Case) -> Met | None:
    """T flat (-0.1 to 0.1 mV) or below a tenth of R, in two contiguous of I, II, V3 to V6 with R of 0.3 mV or more."""
    hits = {
        n: case.of("t_mv", n, "< 0.1 or < 10 % of R")
        for n in _LATERAL
        if (x := case.lead(n)).r_mv >= 0.3 and -0.1 < x.t_mv < max(0.1, 0.1 * x.r_mv)
    }
    kept = contiguous(hits, (("I", "II"), ("V3", "V4", "V5", "V6")))
    return Met(tuple(hits[n] for n in kept), POSSIBLE) if kept else None


def tall_t(case: Case) -> Met | None:
    """T of 1 mV or more in two contiguous chest leads (0.6 in women), narrow and symmetric."""
    limit = 0.8 if case.sex == "female" else 1.0
    hits = [n for n in ("V2", "V3", "V4", "V5") if case.lead(n).t_mv >= limit and 0.75 <= case.lead(n).t_symmetry <= 1.33]
    kept = contiguous(hits, CONTIGUOUS)
    return Met(tuple(case.of("t_mv", n, f">= {limit:g}, symmetric") for n in kept), POSSIBLE) if kept else None


def nonspecific(case: Case) -> Met | None:
    """T low, flat or slightly inverted (above -0.1 mV) in two leads, and nothing that explains it."""
    hits = sorted((case.lead(n).t_mv, n) for n in _LATERAL if -0.1 < case.lead(n).t_mv < 0.12)
    if len(hits) < 2:
        return None
    sure = PROBABLE if hits[1][0] < 0.1 else POSSIBLE
    return Met(tuple(case.of("t_mv", n, "-0.1 .. 0.12") for _, n in hits[:4]), sure)


def nonspecific_st(case: Case) -> Met | None:
    """ST low by 0.03 to 0.05 mV at J + 60 ms in two contiguous leads with an upright QRS."""
    hits = [n for n in _UPRIGHT if -0.05 < case.lead(n).st_j60_mv <= -0.03 and net(case.lead(n)) > 0.3]
    kept = contiguous(hits, CONTIGUOUS)
    return Met(tuple(case.of("st_j60_mv", n, "-0.05 .. -0.03") for n in kept), POSSIBLE) if kept else None


# Which leads name which territory of ischaemia, in the order of preference (PTB-XL's ISC.. codes).
def ischaemia(case: Case) -> Met | None:
    """ST depression of 0.1 mV, or ST depression with T inversion in the same territory; the SCP codes of PTB-XL by lead."""
    st = {e.leads[0] for e in (case.found["st_depression"].evidence if case.has("st_depression") else ())}
    t = {e.leads[0] for e in (case.found["t_inversion"].evidence if case.has("t_inversion") else ())}
    both = st & t | {n for n in st if case.lead(n).st_j60_mv <= -0.1} | {n for n in t if case.lead(n).t_mv <= -0.3}
    if len(both) < 2:
        return None
    inferior, lateral = both & {"II", "III", "aVF"}, both & {"I", "aVL", "V5", "V6"}
    anterior, septal = both & {"V3", "V4"}, both & {"V1", "V2"}
    place = (
        "inferolateral"
        if len(inferior) >= 2 and len(lateral) >= 2
        else "anterolateral"
        if anterior and lateral
        else "anteroseptal"
        if septal and anterior
        else "inferior"
        if len(inferior) >= 2
        else "lateral"
        if len(lateral) >= 2
        else "anterior"
        if anterior
        else ""
    )
    facts = tuple(
        e for n in ("st_depression", "t_inversion") if case.has(n) for e in case.found[n].evidence if e.leads[0] in both
    )
    return Met(facts, PROBABLE if len(both) >= 3 else POSSIBLE, f"ischaemia_{place}" if place else "ischaemia")


# QT -------------------------------------------------------------------------------------------------------------------


def qtc(case: Case) -> tuple[str, float, Evidence] | None:
    """QTc in ms: Bazett between 60 and 90/min, else Fridericia (Bazett over-corrects fast and under-corrects slow rates); in
    wide QRS the part
    of QRS above normal is taken off first (Bogossian 2014)."""
    rate, qrs = case.value("rate_bpm"), case.value("qrs_ms")
    name = "qtc_bazett_ms" if 60 <= rate <= 90 else "qtc_fridericia_ms"
    value = case.value(name)
    if value != value:
        return None
    if qrs >= 120 and case.value("qt_ms") > 0:
        value = (case.value("qt_ms") - 0.485 * qrs) * value / case.value("qt_ms")
        return name, value, Evidence(f"{name} without the widening of QRS (QT - 48.5 % of QRS)", round(value, 1), "ms")
    return name, value, case.fact(name)


def long_qt(case: Case) -> Met | None:
    """QTc of 460 ms or more in women, 450 ms in men."""
    got = qtc(case)
    limit = 450 if case.sex == "male" else 460
    if got is None or not got[1] >= limit:
        return None
    e = got[2]
    sure = DEFINITE if got[1] >= 500 else PROBABLE if got[1] >= limit + 20 else POSSIBLE
    return Met(
        (Evidence(e.measurement, e.value, e.unit, f">= {limit}", e.leads, e.beats), case.fact("qt_ms"), case.fact("rate_bpm")),
        sure,
        detail=f"QTc {got[1]:.0f} ms",
    )


def short_qt(case: Case) -> Met | None:
    """QTc of 340 ms or less (390 ms is the lower limit of normal; 340 is where it means something)."""
    got = qtc(case)
    if got is None or not got[1] <= 340 or not 50 <= case.value("rate_bpm") <= 100:
        return None
    e = got[2]
    return Met(
        (Evidence(e.measurement, e.value, e.unit, "<= 340", e.leads, e.beats), case.fact("rate_bpm")),
        PROBABLE,
        detail=f"QTc {got[1]:.0f} ms",
    )


def brugada(case: Case) -> Met | None:
    """Type 1: J >= 0.2 mV in V1 or V2, ST coved (falling) into an inverted T."""
    for n in ("V1", "V2"):
        x = case.lead(n)
        if (
            x.st_j_mv >= 0.2
            and x.st_slope_mv_s < -0.5
            and x.st_j_mv > x.st_j60_mv > x.st_j80_mv
            and x.t_mv < -0.05
            and x.r2_mv >= 0
        ):
            return Met(
                (case.of("st_j_mv", n, ">= 0.2"), case.of("st_slope_mv_s", n, "falling"), case.of("t_mv", n, "inverted")),
                POSSIBLE,
            )
    return None


def digitalis(case: Case) -> Met | None:
    """Sagging ST depression in several leads with a short QT."""
    hits = [
        n for n in ("I", "II", "aVF", "V4", "V5", "V6") if case.lead(n).st_j80_mv <= -0.05 and case.lead(n).st_slope_mv_s < -0.1
    ]
    if len(hits) < 3 or not case.value("qtc_fridericia_ms") < 390:
        return None
    return Met(
        (*(case.of("st_j80_mv", n, "<= -0.05, sagging") for n in hits[:3]), case.fact("qtc_fridericia_ms", "< 390")), POSSIBLE
    )


_QUIET = {k: "" for k in SECONDARY}
_PLACES = ("anterolateral", "anteroseptal", "anterior", "lateral", "inferior", "inferolateral")

RULES = (
    Rule("t_inversion", RAUTAHARJU, t_inversion, unless={**SECONDARY, **REVERSED}),
    Rule("low_t", RAUTAHARJU, low_t, unless={**_QUIET, **REVERSED}),
    Rule("tall_t", LEVINE, tall_t, unless=_QUIET),
    Rule(
        "ischaemia",
        RAUTAHARJU,
        ischaemia,
        unless={**_QUIET, **REVERSED, "stemi": ""},
        also=tuple(f"ischaemia_{p}" for p in _PLACES),
    ),
    Rule("nonspecific_st", RAUTAHARJU, nonspecific_st, unless={**_QUIET, **REVERSED, "st_depression": "", "lvh": ""}),
    Rule(
        "nondiagnostic_t",
        RAUTAHARJU,
        nonspecific,
        unless={
            **_QUIET,
            **REVERSED,
            "t_inversion": "",
            "lvh": "",
            **{f"ischaemia_{p}": "" for p in _PLACES},
            "ischaemia": "",
        },
    ),
    Rule("long_qt", BOGOSSIAN, long_qt, unless={"ventricular_paced": "the ventricles are paced", "atrial_flutter": ""}),
    Rule("short_qt", BOGOSSIAN, short_qt, unless={"ventricular_paced": ""}),
    Rule("brugada", WILDE, brugada, unless={**_QUIET, "crbbb": ""}, leads=("V1", "V2")),
    Rule("digitalis_effect", LEVINE, digitalis, unless=_QUIET),
)

__all__ = ["RULES"]
