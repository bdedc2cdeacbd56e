"""Axis, atria, ventricular hypertrophy and voltage: Hancock 2009 (AHA/ACCF/HRS recommendations, part V) and Surawicz 2009
(axis).
"""

from __future__ import annotations

from collections.abc import Iterator

from einthoven.findings.finding import Evidence
from einthoven.findings.rule import DEFINITE, POSSIBLE, PROBABLE, UNDETERMINED, Case, Met, Rule, net
from einthoven.record import LIMB_LEADS, PRECORDIAL_LEADS

HANCOCK = "Hancock 2009, AHA/ACCF/HRS recommendations V (chamber hypertrophy)"
SURAWICZ = "Surawicz 2009, AHA/ACCF/HRS recommendations III (axis)"
CRITERIA = (
    f"{HANCOCK}; Sokolow & Lyon 1949; Casale 1985 (Cornell); Molloy 1992 (Cornell product); Lewis 1914; "
    "Peguero 2017; Romhilt & Estes 1968"
)


# Axis -----------------------------------------------------------------------------------------------------------------


def axis(case: Case) -> Iterator[Met]:
    """Adult frontal QRS axis: -30 to 90 normal, left of it -30 to -90, right of it 90 to 180, north-west beyond;
    indeterminate without one.
    """
    a = case.value("qrs_axis_deg")
    if a != a or sum(n in case.leads for n in LIMB_LEADS) < 2:
        why = case.m.quantities["qrs_axis_deg"].why or "needs two limb leads"
        yield Met((Evidence("qrs_axis_deg", a, "deg", why),), UNDETERMINED, name="axis_normal")
        return
    if case.lead("I").qrs_peak_to_peak_mv > 0 and max(abs(net(case.lead(n))) for n in ("I", "II", "aVF")) < 0.08:
        yield Met((case.fact("qrs_axis_deg", "no lead with a net deflection"),), name="axis_indeterminate")
    elif -30 <= a <= 90:
        yield Met((case.fact("qrs_axis_deg", "-30 .. 90"),), name="axis_normal")
    elif -90 <= a < -30:
        yield Met((case.fact("qrs_axis_deg", "-90 .. -30"),), name="axis_left", detail="marked" if a <= -45 else "")
    elif 90 < a <= 180:
        yield Met((case.fact("qrs_axis_deg", "90 .. 180"),), name="axis_right", detail="marked" if a > 120 else "")
    else:
        yield Met((case.fact("qrs_axis_deg", "-180 .. -90"),), name="axis_extreme")


# Atria ----------------------------------------------------------------------------------------------------------------


def left_atrium(case: Case) -> Met | None:
    """P terminal force in V1 >= 4 mV ms (0.04 mm s; Morris 1964) with P >= 125 ms, or a force of three times that alone.

    Hancock's 120 ms hold for P in one lead; over twelve leads together one normal P in four is as long.
    """
    force, p = case.lead("V1").p_terminal_force_mvms, case.value("p_ms")
    if not (force >= 4 and p >= 125) and not force >= 12:
        return None
    facts = [case.of("p_terminal_force_mvms", "V1", ">= 4")] + ([case.fact("p_ms", ">= 125")] if p >= 125 else [])
    return Met(tuple(facts), PROBABLE if force >= 5 and p >= 130 else POSSIBLE)


def right_atrium(case: Case) -> Met | None:
    """P above 0.25 mV in II, or its first part above 0.15 mV in V1."""
    ii, v1 = case.lead("II"), case.lead("V1")
    facts = []
    if ii.p_mv > 0.25:
        facts.append(case.of("p_mv", "II", "> 0.25"))
    if v1.p_initial_mv > 0.15:
        facts.append(case.of("p_initial_mv", "V1", "> 0.15"))
    return Met(tuple(facts), PROBABLE if ii.p_mv > 0.25 else POSSIBLE) if facts else None


# Left ventricle -------------------------------------------------------------------------------------------------------


def _s(case: Case, lead: str) -> float:
    """Depth of the deepest negative deflection of a lead, mV, positive."""
    x = case.lead(lead)
    return -min(x.q_mv if x.qs else 0.0, x.s_mv, x.s2_mv)


def _r(case: Case, lead: str) -> float:
    x = case.lead(lead)
    return max(x.r_mv, x.r2_mv)


def voltages(case: Case) -> list[tuple[Evidence, bool]]:
    """Each voltage criterion of left ventricular hypertrophy: its figure, and whether it is met."""
    female = case.sex == "female"
    qrs = case.value("qrs_ms")
    cornell = _r(case, "aVL") + _s(case, "V3")
    deepest = max((_s(case, n) for n in case.leads if n != "aVR"), default=float("nan"))
    rows = (
        ("Sokolow-Lyon S V1 + R V5 or V6", _s(case, "V1") + max(_r(case, "V5"), _r(case, "V6")), 3.5, "mV", ("V1", "V5", "V6")),
        ("R aVL", _r(case, "aVL"), 1.1, "mV", ("aVL",)),
        ("Cornell R aVL + S V3", cornell, 2.0 if female else 2.8, "mV", ("aVL", "V3")),
        ("Cornell product", (cornell + (0.6 if female else 0.0)) * qrs, 244, "mV ms", ("aVL", "V3")),
        (
            "Lewis (R I + S III) - (R III + S I)",
            _r(case, "I") + _s(case, "III") - _r(case, "III") - _s(case, "I"),
            1.7,
            "mV",
            ("I", "III"),
        ),
        ("Peguero-Lo Presti deepest S + S V4", deepest + _s(case, "V4"), 2.3 if female else 2.8, "mV", ("V4",)),
    )
    return [
        (Evidence(name, round(v, 2), unit, f">= {limit:g}", leads), bool(v >= limit)) for name, v, limit, unit, leads in rows
    ]


def strained(case: Case) -> tuple[Evidence, ...]:
    """Lateral leads with a tall R whose ST sags and whose T is inverted (strain).

    Where ST is lifted in III and aVF, what sags in I and aVL is its mirror image (Wagner 2009) and no strain.
    """
    mirrored = all(case.lead(n).st_j_mv >= 0.1 for n in ("III", "aVF"))
    leads = [n for n in (("V5", "V6") if mirrored else ("I", "aVL", "V5", "V6")) if net(case.lead(n)) > 0]
    hit = [n for n in leads if case.lead(n).st_j60_mv <= -0.05 and case.lead(n).t_mv < -0.05]
    return tuple(case.of("st_j60_mv", n, "<= -0.05, T inverted") for n in hit)


def romhilt_estes(case: Case) -> tuple[int, tuple[str, ...]]:
    """Points of Romhilt & Estes 1968: voltage 3, strain 3 (without digitalis), P terminal force 3, left axis 2, QRS >= 90 ms
    1, R peak >= 50 ms 1.
    """
    limb_r = max((_r(case, n) for n in LIMB_LEADS), default=0.0)
    limb_s = max((_s(case, n) for n in LIMB_LEADS if n != "aVR"), default=0.0)
    voltage = limb_r >= 2 or limb_s >= 2 or max(_s(case, "V1"), _s(case, "V2")) >= 3 or max(_r(case, "V5"), _r(case, "V6")) >= 3
    with_p = not case.has("atrial_fibrillation", "atrial_flutter")
    late = max(case.lead("V5").r_peak_time_ms, case.lead("V6").r_peak_time_ms) >= 50
    parts = (
        (3, "voltage", voltage),
        (3, "ST-T against QRS", len(strained(case)) >= 1),
        (3, "left atrium", case.lead("V1").p_terminal_force_mvms >= 4 and with_p),
        (2, "left axis", case.value("qrs_axis_deg") <= -30),
        (1, "QRS >= 90 ms", case.value("qrs_ms") >= 90),
        (1, "R peak V5, V6 >= 50 ms", late),
    )
    met = [(points, what) for points, what, yes in parts if yes]
    return sum(p for p, _ in met), tuple(w for _, w in met)


def lvh_voltage(case: Case) -> Met | None:
    """Sokolow-Lyon or R aVL, or all of Cornell voltage, Cornell product and Peguero-Lo Presti; the others met are told besides.

    Cornell's, Lewis's and Peguero's criteria alone are each met by more than one in twenty of those whom nobody calls
    hypertrophic
    (docs/accuracy.md): they support a finding here and do not make one.
    """
    rows = voltages(case)
    met = [e for e, yes in rows if yes]
    (_, sokolow), (_, avl), (_, cornell), (_, product), _, (_, peguero) = rows
    if not (sokolow or avl or (cornell and product and peguero)):
        return None
    return Met(tuple(met), POSSIBLE if (case.age or 40) < 35 or len(met) == 1 else PROBABLE)


def lvh(case: Case) -> Met | None:
    """Sokolow-Lyon voltage, from 35 years on or with strain; strain with Sokolow-Lyon above 2.5 mV; Romhilt-Estes 6 with
    voltage near it.
    """
    rows = voltages(case)
    met = [e for e, yes in rows if yes]
    sokolow, high = rows[0]
    strain = strained(case)
    points, parts = romhilt_estes(case)
    score = Evidence("Romhilt-Estes", float(points), "points", ">= 5 definite, 4 probable: " + ", ".join(parts))
    grown = (case.age or 40) >= 35
    if high and strain:
        return Met((*met, score, *strain[:2]), DEFINITE if points >= 5 else PROBABLE)
    if high and grown:
        return Met((*met, score), PROBABLE if points >= 4 else POSSIBLE)
    if strain and grown and sokolow.value > 2.5:
        return Met((*(met or [sokolow]), score, *strain[:2]), PROBABLE if sokolow.value > 3 else POSSIBLE)
    if points >= 6 and len(met) >= 2 and sokolow.value > 2.5:
        return Met((*met, score), POSSIBLE)
    return None


def lv_strain(case: Case) -> Met | None:
    """The ST-T part of hypertrophy: ST sags and T is inverted in lateral leads with tall R."""
    hit = strained(case)
    return Met(hit, PROBABLE) if hit and case.has("lvh") else None


# Right ventricle, voltage ---------------------------------------------------------------------------------------------


def rvh(case: Case) -> Met | None:
    """Tall R in V1 (R/S > 1), deep S in V5, V6 (R/S < 1), Sokolow-Lyon right R V1 + S V5/6 > 1.05 mV, with a right axis."""
    v1, axis_deg = case.lead("V1"), case.value("qrs_axis_deg")
    r1, s1 = _r(case, "V1"), _s(case, "V1")
    r6, s6, s5 = _r(case, "V6"), _s(case, "V6"), _s(case, "V5")
    facts = []
    if r1 >= 0.7 and r1 > s1:
        facts.append(case.of("r_mv", "V1", ">= 0.7, R/S > 1"))
    if s6 > r6 and s6 >= 0.3:
        facts.append(case.of("s_mv", "V6", "R/S < 1"))
    if r1 + max(s5, s6) > 1.05 and r1 > s1:
        facts.append(Evidence("R V1 + S V5 or V6", round(r1 + max(s5, s6), 2), "mV", "> 1.05", ("V1", "V5", "V6")))
    right = 90 < axis_deg <= 180
    if v1.r_mv != v1.r_mv or not facts or not (right or len(facts) == 3):
        return None
    if right:
        facts.append(case.fact("qrs_axis_deg", "> 90"))
    return Met(tuple(facts), PROBABLE if right and len(facts) >= 3 else POSSIBLE)


def low_voltage(case: Case) -> Met | None:
    """QRS peak to peak below 0.5 mV in every limb lead, or below 1.0 mV in every chest lead."""
    for leads, limit in ((LIMB_LEADS, 0.5), (PRECORDIAL_LEADS, 1.0)):
        sizes = [case.lead(n).qrs_peak_to_peak_mv for n in leads]
        if all(v < limit for v in sizes):
            return Met((Evidence("largest QRS peak to peak", round(max(sizes), 2), "mV", f"< {limit:g}", leads),))
    return None


_WIDE = {
    "clbbb": "left bundle branch block changes the voltages",
    "ventricular_paced": "the ventricles are paced",
    "preexcitation": "pre-excitation changes the voltages",
    "wide_qrs_tachycardia": "the QRS is not conducted normally",
    "ventricular_tachycardia": "the QRS is not conducted normally",
    "idioventricular_rhythm": "the QRS is not conducted normally",
}
_REVERSED = {
    "limb_lead_reversal": "the limb leads seem to be reversed",
    "leads_contradict": "the limb leads contradict each other",
}
_NO_P = {
    "atrial_fibrillation": "",
    "atrial_flutter": "",
    "ventricular_paced": "",
    "ectopic_atrial_rhythm": "",
    "limb_lead_reversal": "",
}

RULES = (
    Rule(
        "axis_normal",
        SURAWICZ,
        axis,
        unless={**_REVERSED, "ventricular_paced": "the ventricles are paced"},
        also=("axis_left", "axis_right", "axis_extreme", "axis_indeterminate"),
    ),
    Rule("lae", f"{HANCOCK}; Morris 1964", left_atrium, unless=_NO_P, leads=("V1",)),
    Rule("rae", HANCOCK, right_atrium, unless=_NO_P, leads=("II",)),
    Rule("lvh", CRITERIA, lvh, unless={**_WIDE, **_REVERSED}, leads=("I", "aVL", "V1", "V3", "V5"), say=True),
    Rule("lvh_voltage", CRITERIA, lvh_voltage, unless={**{k: "" for k in _WIDE}, **_REVERSED}, leads=("V1", "V5")),
    Rule("lv_strain", HANCOCK, lv_strain, unless={k: "" for k in _WIDE}),
    Rule(
        "rvh",
        HANCOCK,
        rvh,
        unless={**_WIDE, **_REVERSED, "crbbb": "right bundle branch block makes the R in V1"},
        leads=("V1", "V6"),
        say=True,
    ),
    Rule("low_voltage", HANCOCK, low_voltage, unless=_REVERSED, leads=LIMB_LEADS),
)
