"""Q waves, ST elevation and ST depression: Fourth Universal Definition of Myocardial Infarction (Thygesen 2018) and Wagner
2009 (part VI).
"""

from __future__ import annotations

from collections.abc import Iterator

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

UDMI = "Fourth Universal Definition of Myocardial Infarction (Thygesen 2018)"
MINNESOTA = "Minnesota code 1-2, 1-3 (Prineas 2010)"
WAGNER = "Wagner 2009, AHA/ACCF/HRS recommendations VI (ischaemia and infarction)"
SGARBOSSA = "Sgarbossa 1996; Smith 2012, Ann Emerg Med 60:766 (modified: ST/S <= -0.25)"
MACFARLANE = "Macfarlane 2015, early repolarisation consensus, JACC 66:470"

# Which leads look at which wall. The first pattern that is covered names the infarct (PTB-XL's SCP codes).
INFERIOR, LATERAL, SEPTAL = ("II", "III", "aVF"), ("I", "aVL", "V5", "V6"), ("V1", "V2")


# Q waves --------------------------------------------------------------------------------------------------------------


def is_q(case: Case, lead: str) -> Evidence | None:
    """Pathological Q (Thygesen 2018, table 3): V2, V3 any Q > 20 ms or QS; elsewhere >= 30 ms and >= 0.1 mV deep, or QS. V1
    counts only as QS, with V2.
    """
    x = case.lead(lead)
    if x.qs and abs(x.q_mv) >= 0.1:
        return case.of("q_mv", lead, "QS")
    if lead in ("V2", "V3") and x.q_ms > 20 and x.q_mv <= -0.05:
        return case.of("q_ms", lead, "> 20 in V2, V3")
    if lead not in ("V1", "V2", "V3", "aVR") and x.q_ms >= 30 and x.q_mv <= -0.1:
        return case.of("q_ms", lead, ">= 30 and >= 0.1 mV deep")
    return None


def q_leads(case: Case) -> dict[str, Evidence]:
    """The leads with a pathological Q that have a contiguous neighbour with one."""
    hits = {
        n: e for n in ("I", "II", "III", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6") if (e := is_q(case, n)) is not None
    }
    # III may be QS by position alone, and V1 is QS in health: neither makes a pair with a lead of its own kind only.
    kept = contiguous([n for n in hits], (*CONTIGUOUS, ("II", "III")))
    if set(kept) & set(INFERIOR) == {"III"}:
        kept = tuple(n for n in kept if n != "III")
    if set(kept) == {"V1"}:
        kept = ()
    return {n: hits[n] for n in kept}


def minnesota_inferior(case: Case) -> tuple[Evidence, ...]:
    """Q that Minnesota counts as lesser (1-2, 1-3): Q/R >= 1/5 and >= 20 ms in II, or Q/R >= 1/4 in aVF with Q >= 30 ms in
    III.
    """
    ii, iii, avf = case.lead("II"), case.lead("III"), case.lead("aVF")
    if ii.q_ms >= 20 and -ii.q_mv >= 0.2 * max(ii.r_mv, 0.05) and iii.q_mv < -0.05:
        return (case.of("q_mv", "II", ">= 1/5 of R, >= 20 ms"), case.of("q_mv", "III"))
    if iii.q_ms >= 30 and iii.q_mv <= -0.1 and avf.q_ms >= 20 and -avf.q_mv >= 0.25 * max(avf.r_mv, 0.05):
        return (case.of("q_mv", "aVF", ">= 1/4 of R, >= 20 ms"), case.of("q_ms", "III", ">= 30"))
    return ()


def low_r(case: Case) -> tuple[Evidence, ...]:
    """R of 0.2 mV or less in V2 and V3 (Minnesota 1-2-8), where neither hypertrophy nor a right axis accounts for it."""
    small = all(case.lead(n).r_mv <= 0.2 and net(case.lead(n)) < 0 for n in ("V2", "V3"))
    if not small or case.has("lvh", "rvh", "dextrocardia") or case.value("qrs_axis_deg") > 100:
        return ()
    return tuple(case.of("r_mv", n, "<= 0.2") for n in ("V2", "V3"))


def q_waves(case: Case) -> Met | None:
    """Pathological Q in two contiguous leads (Thygesen 2018), or a lesser inferior Q of the Minnesota code."""
    hits = q_leads(case)
    if hits:
        return Met(tuple(hits.values()), DEFINITE if len(hits) >= 3 else PROBABLE)
    lesser = minnesota_inferior(case)
    return Met(lesser, POSSIBLE) if lesser else None


def infarct(case: Case) -> Iterator[Met]:
    """The wall that the Q waves point to."""
    hits = q_leads(case)
    inferior = [n for n in INFERIOR if n in hits]
    chest = [n for n in ("V1", "V2", "V3", "V4", "V5", "V6") if n in hits]
    lateral = [n for n in LATERAL if n in hits]
    septal, anterior = [n for n in chest if n in ("V1", "V2", "V3")], [n for n in chest if n in ("V3", "V4")]
    sure = PROBABLE if len(hits) >= 3 else POSSIBLE

    if len(inferior) >= 2:
        evidence = tuple(hits[n] for n in (*inferior, *lateral))
        side, back = len(lateral) >= 2, _tall_r(case) is not None
        yield Met(
            evidence,
            sure,
            {
                (0, 0): "mi_inferior",
                (1, 0): "mi_inferolateral",
                (0, 1): "mi_inferoposterior",
                (1, 1): "mi_inferoposterolateral",
            }[side, back],
        )
    elif lesser := minnesota_inferior(case):
        yield Met(lesser, POSSIBLE, "mi_inferior")
    if len(septal) >= 2 or anterior:
        evidence = tuple(hits[n] for n in dict.fromkeys((*chest, *lateral)))
        if anterior and len(lateral) >= 2:
            yield Met(evidence, sure, "mi_anterolateral")
        elif "V1" in septal or "V2" in septal:
            yield Met(evidence, sure, "mi_anteroseptal")
        else:
            yield Met(evidence, sure, "mi_anterior")
    elif lost := low_r(case):
        yield Met(lost, POSSIBLE, "mi_anteroseptal")
    elif len(lateral) >= 2 and len(inferior) < 2:
        yield Met(tuple(hits[n] for n in lateral), sure, "mi_lateral")


def _tall_r(case: Case) -> Evidence | None:
    """R in V1 or V2 of 40 ms or more with R/S >= 1 and an upright T (Thygesen 2018: the mirror of a posterior Q)."""
    for n in ("V1", "V2"):
        x = case.lead(n)
        if x.r_ms >= 40 and x.r_mv >= -x.s_mv and x.t_mv > 0.1 and x.r_mv > 0.2 and n == "V1":
            return case.of("r_ms", n, ">= 40, R/S >= 1, T upright")
    return None


def posterior(case: Case) -> Met | None:
    """A tall broad R in V1 with an upright T and no conduction defect."""
    r = _tall_r(case)
    return Met((r,), POSSIBLE) if r and -30 <= case.value("qrs_axis_deg") <= 90 else None


def poor_r_progression(case: Case) -> Met | None:
    """R in V3 of 0.3 mV or less, and no higher in V3 than in V2 or still below 0.3 in V4 (Zema 1979); without Q waves there."""
    r2, r3, r4 = (case.lead(n).r_mv for n in ("V2", "V3", "V4"))
    if r3 <= 0.3 and net(case.lead("V3")) < 0 and (r3 <= r2 or r4 <= 0.3):
        return Met((case.of("r_mv", "V3", "<= 0.3"), case.of("r_mv", "V4")), PROBABLE if r3 <= 0.2 else POSSIBLE)
    return None


# ST elevation ---------------------------------------------------------------------------------------------------------


def st_limit(lead: str, age: float | None, sex: str | None) -> float:
    """J-point elevation in mV that counts (Thygesen 2018): V2, V3 0.15 in women, 0.25 in men under 40, 0.2 in men from 40;
    elsewhere 0.1.

    Where age or sex is unknown, the higher limit that could apply.
    """
    if lead not in ("V2", "V3"):
        return 0.1
    if sex == "female":
        return 0.15
    return 0.2 if age is not None and age >= 40 else 0.25


def elevated(case: Case) -> dict[str, Evidence]:
    """Leads with ST elevation at J to the limit for age and sex, and a contiguous neighbour with it."""
    hits = {
        n: case.of("st_j_mv", n, f">= {st_limit(n, case.age, case.sex):g}")
        for n, x in case.leads.items()
        if n != "aVR" and x.st_j_mv >= st_limit(n, case.age, case.sex)
    }
    kept = contiguous(hits, (*CONTIGUOUS, ("II", "III")))
    return {n: hits[n] for n in kept}


def st_elevation(case: Case) -> Iterator[Met]:
    """By territory. Reciprocal depression or a large rise makes it surer; a concave rise on a tall R is early repolarisation,
    told apart below.
    """
    hits = elevated(case)
    if not hits or case.has("early_repolarisation", "pericarditis"):
        return
    inferior = [n for n in INFERIOR if n in hits]
    lateral = [n for n in LATERAL if n in hits]
    septal = [n for n in ("V1", "V2", "V3") if n in hits]
    anterior = [n for n in ("V3", "V4") if n in hits]
    down = [n for n, x in case.leads.items() if n != "aVR" and x.st_j_mv <= -0.05 and net(x) > -0.2]
    largest = max(case.lead(n).st_j_mv for n in hits)
    sure = DEFINITE if down and largest >= 0.2 else PROBABLE if down or largest >= 0.3 else POSSIBLE
    # Hypertrophy and delayed left ventricles lift ST in V1 to V3 by themselves.
    chest = POSSIBLE if case.has("lvh") or (case.value("qrs_ms") >= 120 and not case.has("crbbb")) else sure
    facts = tuple(hits.values()) + tuple(case.of("st_j_mv", n, "<= -0.05: reciprocal") for n in down[:2])
    if len(inferior) >= 2:
        yield Met(facts, sure, "st_elevation_inferolateral" if len(lateral) >= 2 else "st_elevation_inferior")
    if anterior or len(septal) >= 2:
        wall = (
            "anterolateral"
            if len(lateral) >= 2 and len(inferior) < 2
            else "anteroseptal"
            if septal and not set(anterior) - {"V3"}
            else "anterior"
        )
        yield Met(facts, chest, f"st_elevation_{wall}")
    elif len(lateral) >= 2 and len(inferior) < 2:
        yield Met(facts, sure, "st_elevation_lateral")


def stemi(case: Case) -> Met | None:
    """ST elevation to the limits with reciprocal depression: the pattern of an acute coronary occlusion until shown
    otherwise.
    """
    sure = [f for n, f in case.found.items() if n.startswith("st_elevation_") and f.confidence == DEFINITE]
    return Met(sure[0].evidence, PROBABLE, detail="pattern of acute coronary occlusion") if sure else None


def early_repolarisation(case: Case) -> Met | None:
    """J >= 0.1 mV in two contiguous inferior or lateral leads, end of QRS notched or slurred or ST rising concavely into a
    tall T, no depression.
    """
    hits = elevated(case) or {}
    leads = contiguous(
        [n for n, x in case.leads.items() if x.st_j_mv >= 0.1 and n in (*INFERIOR, *LATERAL, "V4")],
        (*CONTIGUOUS, ("II", "III")),
    )
    if not leads or case.value("qrs_ms") >= 120 or any(n in hits and case.lead(n).st_j_mv > 0.35 for n in hits):
        return None
    concave = [
        n
        for n in leads
        if case.lead(n).st_slope_mv_s >= 0 and case.lead(n).t_mv >= 0.2 and net(case.lead(n)) > 0.3 and case.lead(n).q_mv > -0.2
    ]
    down = [n for n, x in case.leads.items() if n not in ("aVR", "V1") and x.st_j_mv <= -0.05]
    if len(concave) < 2 or len(concave) < len(leads) - 1 or down:
        return None
    return Met(
        tuple(case.of("st_j_mv", n, ">= 0.1, concave, T tall") for n in concave),
        POSSIBLE if (case.age or 50) >= 50 else PROBABLE,
    )


def pericarditis(case: Case) -> Met | None:
    """ST elevation in most leads of limb and chest, depression only in aVR (and V1)."""
    up = [n for n, x in case.leads.items() if x.st_j_mv >= 0.08 and n not in ("aVR", "V1")]
    down = [n for n, x in case.leads.items() if x.st_j_mv <= -0.05]
    if (
        len(up) < 6
        or not {"II"} <= set(up)
        or not {"V5", "V6"} & set(up)
        or not {"I", "aVL"} & set(up)
        or set(down) - {"aVR", "V1"}
        or "aVR" not in down
    ):
        return None
    if max(case.lead(n).st_j_mv for n in up) > 0.5:
        return None
    return Met(
        (
            Evidence("leads with ST elevation", float(len(up)), "", ">= 6, depression only in aVR, V1", tuple(up)),
            case.of("st_j_mv", "aVR", "<= -0.05"),
        ),
        POSSIBLE,
    )


def sgarbossa(case: Case) -> Met | None:
    """In left bundle branch block or pacing: concordant elevation >= 0.1 mV, concordant depression >= 0.1 mV in V1 to V3, or
    ST/S <= -0.25.
    """
    if not case.has("clbbb", "ventricular_paced"):
        return None
    facts = []
    for n, x in case.leads.items():
        size = net(x)
        if n != "aVR" and size > 0.2 and x.st_j_mv >= 0.1:
            facts.append(case.of("st_j_mv", n, ">= 0.1 concordant"))
        if n in ("V1", "V2", "V3") and size < 0 and x.st_j_mv <= -0.1:
            facts.append(case.of("st_j_mv", n, "<= -0.1 concordant"))
        deep = min(x.s_mv, x.q_mv if x.qs else 0.0)
        if size < 0 and x.st_j_mv >= 0.1 and deep < -0.2 and x.st_j_mv / deep <= -0.25:
            facts.append(Evidence("ST/S", round(x.st_j_mv / deep, 2), "", "<= -0.25", (n,)))
    return Met(tuple(facts), PROBABLE if len(facts) >= 2 else POSSIBLE) if facts else None


# ST depression --------------------------------------------------------------------------------------------------------


def depressed(case: Case) -> dict[str, Evidence]:
    """Leads with ST depression of 0.05 mV or more that has not risen by J + 60 ms, and a contiguous neighbour with it."""
    hits = {
        n: case.of("st_j60_mv", n, "<= -0.05")
        for n, x in case.leads.items()
        if n != "aVR" and x.st_j60_mv <= -0.05 and x.st_j_mv <= 0
    }
    kept = contiguous(hits, (*CONTIGUOUS, ("II", "III"), ("I", "II"), ("V6", "I")))
    return {n: hits[n] for n in dict.fromkeys(kept)}


def st_depression(case: Case) -> Met | None:
    """In two contiguous leads."""
    hits = depressed(case)
    if not hits:
        return None
    return Met(tuple(hits.values()), DEFINITE if min(case.lead(n).st_j60_mv for n in hits) <= -0.1 else PROBABLE)


_SCALED = {"leads_contradict": "the limb leads contradict each other"}
_ALL_LEADS = ("I", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")

RULES = (
    Rule("q_waves", UDMI, q_waves, unless={**SECONDARY, **REVERSED}, leads=_ALL_LEADS, say=True),
    Rule(
        "mi_inferior",
        f"{UDMI}; {WAGNER}; {MINNESOTA}",
        infarct,
        unless={**{k: "" for k in SECONDARY}, **{k: "" for k in REVERSED}},
        also=(
            "mi_inferolateral",
            "mi_inferoposterior",
            "mi_inferoposterolateral",
            "mi_anteroseptal",
            "mi_anterior",
            "mi_anterolateral",
            "mi_lateral",
        ),
    ),
    Rule(
        "mi_posterior",
        f"{UDMI}; {WAGNER}; {MINNESOTA}",
        posterior,
        unless={
            **{k: "" for k in SECONDARY},
            "crbbb": "",
            "irbbb": "",
            "rvh": "",
            "mi_inferoposterior": "",
            "mi_inferoposterolateral": "",
        },
        leads=("V1",),
    ),
    Rule(
        "poor_r_progression",
        WAGNER,
        poor_r_progression,
        unless={**{k: "" for k in SECONDARY}, "mi_anteroseptal": "", "mi_anterior": "", "mi_anterolateral": ""},
        leads=("V2", "V3", "V4"),
    ),
    Rule("ste_mi_equivalent_lbbb", SGARBOSSA, sgarbossa, leads=("V1", "V2", "V3")),
    Rule("pericarditis", WAGNER, pericarditis, unless={**{k: "" for k in SECONDARY}, **REVERSED}, leads=_ALL_LEADS),
    Rule("early_repolarisation", MACFARLANE, early_repolarisation, unless={**{k: "" for k in SECONDARY}, "pericarditis": ""}),
    Rule(
        "st_elevation_anterior",
        UDMI,
        st_elevation,
        unless={**SECONDARY, **REVERSED, **_SCALED},
        leads=_ALL_LEADS,
        say=True,
        also=(
            "st_elevation_anteroseptal",
            "st_elevation_anterolateral",
            "st_elevation_lateral",
            "st_elevation_inferior",
            "st_elevation_inferolateral",
        ),
    ),
    Rule("stemi", UDMI, stemi, unless={k: "" for k in (*SECONDARY, "lvh")}),
    Rule("st_depression", UDMI, st_depression, unless={**SECONDARY, **REVERSED, **_SCALED}, leads=("I", "aVF")),
)
