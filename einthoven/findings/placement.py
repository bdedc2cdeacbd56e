"""Signal quality and electrodes in the wrong place: Kligfield 2007 (AHA/ACCF/HRS recommendations, part I)."""

from __future__ import annotations

from collections.abc import Iterator

from einthoven.findings.finding import Evidence
from einthoven.findings.rule import DEFINITE, POSSIBLE, PROBABLE, Case, Met, Rule, net, unusable

KLIGFIELD = "Kligfield 2007, AHA/ACCF/HRS recommendations I (technology)"
BATCHVAROV = "Batchvarov 2007, Europace 9:1081 (lead misplacement)"


def quality(case: Case) -> Iterator[Met]:
    """What signal.quality says of the record."""
    q = case.quality
    bad = tuple(n for n in q.leads if n in unusable(q))
    if q.readable == "unreadable":
        yield Met((Evidence("quality of the record", round(q.score, 2), "of 1", "readable", bad),), name="unreadable")
    elif bad:
        what = ", ".join(sorted({f for n in bad for f in q.leads[n].flags}))
        yield Met((Evidence("leads that cannot be used", float(len(bad)), "", "0", bad),), detail=what)


def limb_lead_reversal(case: Case) -> Iterator[Met]:
    """RA-LA: P, QRS and T all inverted in I while V5, V6 are upright, aVR upright. RA-RL: II flat. Or what signal.quality
    noticed.
    """
    i, v6 = case.lead("I"), case.lead("V6")
    ii, iii = case.lead("II"), case.lead("III")
    flag = next((f for f in case.quality.flags if "limb" in f and "revers" in f), None)
    noticed = (Evidence("quality flag", 1.0, "", flag),) if flag else ()
    if i.p_mv <= -0.03 and net(i) < 0 and i.t_mv < -0.02 and net(v6) > 0.2 and v6.p_mv > 0:
        facts = (case.of("p_mv", "I", "< 0"), _net_of(case, "I", "< 0 while V6 is upright"), case.of("t_mv", "I", "< 0"))
        sure = PROBABLE if noticed or net(i) < -0.1 else POSSIBLE
        yield Met((*facts, *noticed), sure, detail="right and left arm")
        return
    for lead, x, electrodes in (("II", ii, "right arm and right leg"), ("III", iii, "left arm and right leg")):
        if x.qrs_peak_to_peak_mv < 0.08 and case.lead("I").qrs_peak_to_peak_mv > 0.4:
            yield Met(
                (Evidence("QRS peak to peak", round(x.qrs_peak_to_peak_mv, 3), "mV", "< 0.08", (lead,)),),
                PROBABLE,
                detail=electrodes,
            )
            return
    if noticed:
        yield Met(noticed, POSSIBLE, detail=flag or "")


def _net_of(case: Case, lead: str, threshold: str) -> Evidence:
    return Evidence("net QRS", round(net(case.lead(lead)), 2), "mV", threshold, (lead,))


def leads_contradict(case: Case) -> Met | None:
    """III, aVR, aVL or aVF is not what I and II say of it by more than 0.1 mV and a tenth of the QRS."""
    gap = case.contradiction_mv
    return Met((Evidence("largest gap in Einthoven's law", round(gap, 3), "mV", "<= 0.1 and <= 10 % of QRS"),)) if gap else None


def dextrocardia(case: Case) -> Met | None:
    """I inverted like in arm reversal, but R falls from V1 to V6 and V6 is negative."""
    i, v6, v1 = case.lead("I"), case.lead("V6"), case.lead("V1")
    if i.p_mv <= -0.03 and net(i) < -0.1 and net(v6) < 0 and v6.qrs_peak_to_peak_mv < 0.6 * v1.qrs_peak_to_peak_mv:
        return Met((case.of("p_mv", "I", "< 0"), case.of("r_mv", "V6", "falls from V1 to V6")), POSSIBLE)
    return None


def precordial_misplacement(case: Case) -> Met | None:
    """R that collapses in one chest lead and returns in the next."""
    r = {n: max(case.lead(n).r_mv, case.lead(n).r2_mv) for n in ("V1", "V2", "V3", "V4", "V5", "V6")}
    names = list(r)
    for a, b, c in zip(names, names[1:], names[2:], strict=False):
        if r[a] >= 0.5 and r[c] >= 0.5 and r[b] < 0.3 * min(r[a], r[c]):
            return Met((case.of("r_mv", b, f"< 35 % of R in {a} and {c}"),), POSSIBLE, detail=f"{b} and a neighbour")
    flag = next((f for f in case.quality.flags if "V" in f and ("revers" in f or "swap" in f or "order" in f)), None)
    return Met((Evidence("quality flag", 1.0, "", flag),), POSSIBLE, detail=flag) if flag else None


_VENTRICULAR = {"ventricular_paced": "", "atrial_fibrillation": "", "ventricular_tachycardia": "", "wide_qrs_tachycardia": ""}

RULES = (
    Rule("poor_quality", KLIGFIELD, quality, also=("unreadable",)),
    Rule("leads_contradict", KLIGFIELD, leads_contradict),
    Rule("limb_lead_reversal", BATCHVAROV, limb_lead_reversal, unless={"ventricular_paced": ""}),
    Rule("dextrocardia", BATCHVAROV, dextrocardia, unless={**_VENTRICULAR, "limb_lead_reversal": ""}),
    Rule("precordial_misplacement", BATCHVAROV, precordial_misplacement),
)

__all__ = ["DEFINITE", "RULES"]
