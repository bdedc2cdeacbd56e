"""Sentences held against an ECG of which everything is known."""

from __future__ import annotations

import json
import math

import pytest

import einthoven as ecg
from einthoven.beats.measurements import LeadMeasurements, Measurements, Quantity
from einthoven.findings.finding import Evidence, Finding
from einthoven.grounding import Grounded, ground, sentences_of
from einthoven.signal.quality import Quality
from einthoven.statements import STATEMENTS, leads_in, mentioned

VALUES = {
    "rate_bpm": 72,
    "pr_ms": 164,
    "qrs_ms": 148,
    "qt_ms": 400,
    "qtc_fridericia_ms": 425,
    "qrs_axis_deg": 40,
    "n_beats": 12,
}
UNITS = {"rate_bpm": "/min", "qrs_axis_deg": "deg", "n_beats": ""}


def measured(**changed: float) -> Measurements:
    values = {**VALUES, "qtc_bazett_ms": 438.0, "qtc_framingham_ms": 424.0, "qtc_hodges_ms": 421.0, **changed}
    quantities = {
        n: Quantity(float(v), UNITS.get(n, "ms"), "", (0, 1, 2, 4), "no P waves" if v != v else "") for n, v in values.items()
    }
    leads = {
        "II": LeadMeasurements(st_j_mv=0.2, st_j60_mv=0.2, t_mv=0.3, q_ms=0.0, r_mv=1.2),
        "III": LeadMeasurements(st_j_mv=0.15, st_j60_mv=0.2, t_mv=0.2, q_ms=35.0, r_mv=0.6),
        "aVL": LeadMeasurements(st_j_mv=-0.1, st_j60_mv=-0.12, t_mv=-0.2, q_ms=0.0, r_mv=0.4),
        "V5": LeadMeasurements(st_j_mv=0.0, st_j60_mv=0.0, t_mv=0.3, q_ms=0.0, r_mv=1.8),
    }
    return Measurements(quantities, leads)


def finding(name: str, confidence: str = "definite", *evidence: Evidence) -> Finding:
    s = STATEMENTS[name]
    return Finding(name, s.text, s.group, confidence, evidence or (Evidence("rate_bpm", 72.0, "/min", beats=(0, 1)),))


FOUND = [
    finding("sinus_rhythm"),
    finding("crbbb", "definite", Evidence("qrs_ms", 148.0, "ms", ">= 120")),
    finding("lae", "possible"),
    finding("st_elevation_inferior"),
    finding("abnormal_ecg"),
    finding("lvh", "cannot be determined", Evidence("leads that are missing or cannot be used", 1.0, "", "needed", ("V1",))),
]


def told(text: str, **changed: float) -> Grounded:
    return ground(text, measured(**changed), FOUND)


def verdict(text: str, **changed: float) -> list[tuple[str, str]]:
    return [(c.name, c.verdict) for s in told(text, **changed).sentences for c in s.claims]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Sinus rhythm.", [("sinus_rhythm", "supported")]),
        ("RBBB.", [("crbbb", "supported")]),
        ("Left bundle branch block.", [("clbbb", "contradicted")]),  # there is another one
        ("No left bundle branch block.", [("clbbb", "supported")]),
        ("No right bundle branch block.", [("crbbb", "contradicted")]),
        ("Atrial fibrillation.", [("atrial_fibrillation", "contradicted")]),
        ("Sinus bradycardia.", [("sinus_bradycardia", "contradicted")]),
        ("No sinus tachycardia.", [("sinus_tachycardia", "supported")]),
        ("First-degree AV block.", [("first_degree_av_block", "contradicted")]),
        ("Possible left atrial enlargement.", [("lae", "supported")]),
        ("Left ventricular hypertrophy.", [("lvh", "cannot be checked")]),
        ("No left ventricular hypertrophy.", [("lvh", "cannot be checked")]),
        ("Brugada pattern.", [("brugada", "unsupported")]),
        ("No Brugada pattern.", [("brugada", "supported")]),
        ("Septal hypertrophy.", [("septal_hypertrophy", "cannot be checked")]),
        ("Normal ECG.", [("normal_ecg", "contradicted")]),
        ("Otherwise normal ECG.", [("normal_ecg", "cannot be checked")]),
        ("Left atrial enlargement cannot be entirely excluded.", [("lae", "supported")]),
        ("Normal QRS axis.", [("axis_normal", "supported")]),
        ("Left axis deviation.", [("axis_left", "contradicted")]),
        ("ST elevation.", [("st_elevation", "supported")]),
        ("Prolonged QTc.", [("long_qt", "contradicted")]),
        ("The tracing was recorded at rest.", []),
    ],
)
def test_statements(text: str, expected: list[tuple[str, str]]) -> None:
    assert verdict(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Rate 74/min.", "supported"),
        ("Heart rate of 110 bpm.", "contradicted"),
        ("PR interval 170 ms.", "supported"),
        ("QRS duration is 96 ms.", "contradicted"),
        ("QTc 430 ms.", "supported"),
        ("QTc (Bazett) 520 ms.", "contradicted"),
        ("QRS axis 45°.", "supported"),
        ("R wave of 17 mm in V5.", "supported"),
        ("R wave 0.9 mV in V5.", "contradicted"),
        ("T waves of 3 mm in V5.", "supported"),
        ("R wave of 5 mm in V2.", "cannot be checked"),
    ],
)
def test_figures(text: str, expected: str) -> None:
    (claim,) = told(text).sentences[0].claims
    assert claim.verdict == expected and claim.kind == "figure" and claim.value == claim.value
    if expected != "cannot be checked":
        assert claim.evidence[0].leads == claim.leads or claim.evidence[0].beats == (0, 1, 2, 4)


def test_waves_in_leads_that_are_named() -> None:
    (up, down) = told("ST elevation in II and III with reciprocal ST depression in aVL.").sentences[0].claims
    assert (up.name, up.verdict, up.leads) == ("st_elevation_inferior", "supported", ("II", "III"))
    assert (down.name, down.verdict, down.leads) == ("st_depression", "supported", ("aVL",))
    assert [e.leads for e in up.evidence] == [("II",), ("III",)] and up.evidence[0].value == 0.2
    (claim,) = told("T wave inversion in aVL and V5.").sentences[0].claims
    assert claim.verdict == "unsupported" and claim.why == "in aVL alone"
    (claim,) = told("In V5 there is ST elevation.").sentences[0].claims
    assert claim.verdict == "contradicted" and claim.why == "in none of these leads"
    (claim,) = told("Q waves in V6.").sentences[0].claims
    assert claim.verdict == "cannot be checked"


def test_what_could_not_be_measured_may_be_left_open() -> None:
    open_ = told("The PR interval cannot be determined.", pr_ms=math.nan).sentences[0].claims
    assert [(c.kind, c.name, c.verdict, c.why) for c in open_] == [("abstention", "pr_ms", "supported", "no P waves")]
    assert told("The PR interval cannot be determined.").sentences[0].verdict == "unsupported"
    assert verdict("PR 160 ms.", pr_ms=math.nan) == [("pr_ms", "cannot be checked")]
    assert verdict("First-degree AV block.", pr_ms=math.nan) == [("first_degree_av_block", "cannot be checked")]
    assert verdict("The rhythm cannot be determined.") == [("undetermined_rhythm", "unsupported")]


def test_what_the_rules_cannot_judge_may_be_left_open() -> None:
    for text in ("LVH cannot be assessed.", "Not to be judged (for want of leads): left ventricular hypertrophy."):
        (claim,) = told(text).sentences[0].claims
        assert (claim.kind, claim.name, claim.verdict) == ("abstention", "lvh", "supported")
    assert verdict("RBBB cannot be assessed.") == [("crbbb", "unsupported")]


def test_a_report_in_sentences() -> None:
    got = told("Sinus rhythm at 72/min. PR 164 ms, QRS 90 ms. Old infarct not excluded; LBBB. Thank you.")
    assert [s.verdict for s in got.sentences] == ["supported", "contradicted", "no claim", "contradicted", "no claim"]
    assert [s.text for s in got.flagged] == ["PR 164 ms, QRS 90 ms.", "LBBB."]
    assert got.counts == {"contradicted": 2, "unsupported": 0, "cannot be checked": 0, "supported": 3}
    assert got.supported == pytest.approx(3 / 5)
    plain = json.loads(json.dumps(got.to_dict(), allow_nan=False))
    assert plain["sentences"][1]["claims"][1]["evidence"][0] == {
        "measurement": "qrs_ms", "value": 148.0, "unit": "ms", "threshold": "within 20 ms of what is said", "leads": [],
        "beats": [0, 1, 2, 4],
    }  # fmt: skip
    words = got.to_text()
    assert "[contradicted] PR 164 ms, QRS 90 ms." in words and "beats 1-3, 5" in words


def test_no_report_of_what_cannot_be_read() -> None:
    got = ground("Sinus rhythm.", measured(), FOUND, Quality(0.1, "unreadable"))
    assert got.abstain == "the signal cannot be read" and got.sentences[0].verdict == "cannot be checked"
    assert got.to_text().startswith("No report should be given: the signal cannot be read.")
    nothing = ground("Sinus rhythm.", Measurements({}), ())
    assert nothing.abstain == "no beats were found" and math.isnan(nothing.supported)
    assert ground("", measured(), FOUND).sentences == ()


def test_our_own_conclusion_is_supported_by_our_own_report() -> None:
    for label in ("sinus_rhythm", "lbbb", "rbbb"):
        report = ecg.interpret(ecg.simulate(label, rate=70, seed=2).record, model=None)
        got = ground(report.conclusion, report.measurements, report.findings, report.quality)
        assert got.counts["contradicted"] == 0 and got.counts["supported"] > 0, got.to_text()
        wrong = ground("Atrial fibrillation at 150/min.", report.measurements, report.findings, report.quality)
        assert {c.verdict for c in wrong.sentences[0].claims} == {"contradicted"}


def test_what_is_mentioned_and_where() -> None:
    assert mentioned("AF, no LBBB. LVH is unlikely.") == [("atrial_fibrillation", True), ("clbbb", False), ("lvh", False)]
    assert leads_in("leads II, III and aVF, V2-V4") == ("II", "III", "aVF", "V2", "V3", "V4")
    assert (
        leads_in("I see nothing") == ()
        and leads_in("in lead I") == ("I",)
        and leads_in("I and aVL; aVR") == ("I", "aVR", "aVL")
    )
    assert leads_in("st segments are depressed in v4,5,6") == ("V4", "V5", "V6")
    assert sentences_of("sinus rhythm. t waves low in v5,6. approx. 3 mm i.e. much") == [
        "sinus rhythm.", "t waves low in v5,6.", "approx. 3 mm i.e. much",
    ]  # fmt: skip
    assert sentences_of("PR 0.16 s. QRS wide; no block.\nEnd") == ["PR 0.16 s.", "QRS wide;", "no block.", "End"]
