"""Instruction data by templates: right answers, balance, evidence, and "cannot be determined" where a figure is not there."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from einthoven.data import Index
from einthoven.data.datasets.table import by_name
from einthoven.data.index import Origin, build
from einthoven.data.instruct.facts import Facts, Figure, doubtful, facts, language_of, recased, tidy, translations
from einthoven.data.instruct.kinship import PARTS, basic, denied
from einthoven.data.instruct.make import from_facts, make
from einthoven.data.instruct.reports import absent, report, rhythm
from einthoven.data.instruct.sample import KINDS, Sample
from einthoven.data.instruct.wording import axis_class, place
from einthoven.evaluate.answers import chosen, letter
from einthoven.evaluate.reports import score_report
from einthoven.io import write
from einthoven.record import EcgError
from einthoven.statements import parse_statement
from einthoven.synth import simulate

ALL = frozenset(name for part in PARTS.values() for name in part)
UNITS = {"rate_bpm": "/min", "qrs_axis_deg": "deg"}


def known(
    number: int,
    stated: dict[str, float],
    superclasses: set[str],
    text: str = "",
    group: str = "",
    fold: int = 1,
    **figures: float,
) -> Facts:
    usual = {
        "rate_bpm": 72,
        "pr_ms": 160,
        "p_ms": 100,
        "qrs_ms": 92,
        "qt_ms": 390,
        "qtc_fridericia_ms": 410,
        "qrs_axis_deg": 40,
    }
    values = usual | figures
    return Facts(
        record=f"ptbxl:{number}",
        group=group or f"ptbxl:p{number}",
        source="ptbxl",
        fold=fold,
        sex="male",
        stated=stated,
        denied=ALL - stated.keys(),
        superclasses=frozenset(superclasses),
        figures={n: Figure(v, UNITS.get(n, "ms"), "" if v == v else "no end of T", (0, 1)) for n, v in values.items()},
        text=text,
        language=language_of(text),
    )


NORMAL = {"normal_ecg": 100.0, "sinus_rhythm": 0.0}
AF = {"atrial_fibrillation": 0.0, "clbbb": 100.0}
MANY = [
    *(known(i, NORMAL, {"NORM"}, "sinusrhythmus normales ekg", rate_bpm=62 + i) for i in range(12)),
    *(known(20 + i, AF, {"CD"}, "Atrial fibrillation. LBBB.", rate_bpm=110 + i, qrs_ms=150, pr_ms=math.nan) for i in range(6)),
    *(
        known(30 + i, {"sinus_bradycardia": 0.0, "first_degree_av_block": 100.0}, {"CD"}, rate_bpm=48, pr_ms=240)
        for i in range(5)
    ),
    *(known(40 + i, {"sinus_tachycardia": 0.0, "mi_inferior": 50.0}, {"MI"}, rate_bpm=118) for i in range(4)),
    *(known(50 + i, {"sinus_rhythm": 0.0, "mi_inferior": 100.0, "pvc": 0.0}, {"MI"}, qt_ms=math.nan) for i in range(4)),
    *(
        known(60 + i, NORMAL if i else AF, {"NORM"} if i else {"CD"}, group="ptbxl:twice", qrs_ms=92 if i else 150)
        for i in range(2)
    ),
    *(known(70 + i, {"sinus_arrhythmia": 0.0, "normal_ecg": 100.0}, {"NORM"}) for i in range(3)),
]
SAMPLES = from_facts(MANY, per_record=14, seed=3)


def family(s: Sample) -> str:
    return s.id.rpartition("/")[2].rpartition("-")[0]


def test_the_same_seed_gives_the_same_samples() -> None:
    assert from_facts(MANY, per_record=14, seed=3) == SAMPLES
    assert from_facts(MANY, per_record=14, seed=4) != SAMPLES
    assert len({s.id for s in SAMPLES}) == len(SAMPLES)
    assert {s.kind for s in SAMPLES} == set(KINDS)


def test_answers_are_read_as_they_are_meant() -> None:
    """What a model is taught to say is what the scorer takes for right."""
    for s in SAMPLES:
        if s.kind in ("closed", "verify", "query", "compare"):
            assert chosen(s.answer, s.options) == frozenset(s.answers), s
        elif s.kind == "choice" and "\nA. " in s.question:
            assert s.options["ABCD".index(str(letter(s.answer, 4)))] == s.answers[0]
        elif s.kind == "choice":
            assert chosen(s.answer, s.options) == frozenset(s.answers), s


def test_words_alone_are_right_as_often_as_chance() -> None:
    answers: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for s in SAMPLES:
        if s.kind == "verify":
            answers[family(s), s.question.replace("Options: yes, no.", "")][s.answer] += 1
    for (kind, question), counts in answers.items():
        assert len(set(counts.values())) == 1 and len(counts) == (3 if kind == "unsure" else 2), (question, counts)


def test_a_wrong_no_is_not_taught() -> None:
    brady = MANY[18]
    assert basic(brady) == "sinus_bradycardia" and not denied(brady, "sinus_rhythm")
    assert not denied(brady, "prolonged_pr") and denied(brady, "clbbb")
    for s in SAMPLES:
        if s.kind == "verify" and s.answer == "no":
            f = next(f for f in MANY if f.record == s.records[0])
            assert s.made["statement"] not in f.stated
    found = known(1, NORMAL, {"NORM"})
    assert not denied(Facts(**{**vars(found), "found": {"lvh": ({"name": "r_mv"},)}}), "lvh")


def test_what_is_not_there_cannot_be_determined() -> None:
    asked = [s for s in SAMPLES if "cannot be determined" in s.answer]
    assert {family(s) for s in asked} >= {"value", "range", "unanswerable", "talk"}
    af = [s for s in asked if family(s) == "value" and "PR interval" in s.question]
    assert af and all("no P waves in atrial fibrillation" in s.answer for s in af)
    for s in asked:
        if family(s) in ("value", "range"):
            assert s.evidence[0]["value"] is None or s.evidence[0]["name"] in ("pr_ms", "p_ms")


def test_sinus_rhythm_has_p_waves() -> None:
    """That our delineator found none is no reason to teach that there are none."""
    f = known(1, NORMAL, {"NORM"}, pr_ms=math.nan)
    assert absent(f, "pr_ms") is None and absent(known(2, AF, {"CD"}), "pr_ms") == "there are no P waves in atrial fibrillation"
    assert absent(known(3, NORMAL, {"NORM"}, qt_ms=math.nan), "qt_ms") == "the end of the T wave cannot be made out"


@pytest.mark.parametrize(
    ("stated", "figures", "name"),
    [
        ({"sinus_bradycardia": 0.0}, {"rate_bpm": 84}, "rate_bpm"),
        ({"first_degree_av_block": 100.0}, {"pr_ms": 150}, "pr_ms"),
        ({"sinus_rhythm": 0.0}, {"pr_ms": 260}, "pr_ms"),
        ({"clbbb": 100.0}, {"qrs_ms": 90}, "qrs_ms"),
        ({"sinus_rhythm": 0.0}, {"qrs_ms": 160}, "qrs_ms"),
        ({"lafb": 100.0}, {"qrs_axis_deg": 60}, "qrs_axis_deg"),
        ({"atrial_flutter": 0.0}, {}, "qt_ms"),
        ({"long_qt": 100.0}, {"qtc_fridericia_ms": 400}, "qtc_fridericia_ms"),
    ],
)
def test_word_against_figure(stated: dict[str, float], figures: dict[str, float], name: str) -> None:
    assert name in doubtful(known(1, stated, set(), **figures)) and name not in doubtful(known(1, NORMAL, {"NORM"}))


def test_a_report_says_what_is_stated() -> None:
    f = known(1, {"sinus_rhythm": 0.0, "pvc": 0.0, "crbbb": 100.0, "mi_inferior": 35.0}, {"CD", "MI"}, qrs_ms=148)
    told = report(f)
    assert told is not None and told[0] == (
        "Sinus rhythm at 72 beats per minute with premature ventricular complexes. Normal QRS axis (40°). "
        "PR 160 ms, QRS 148 ms, QTc 410 ms. Complete right bundle branch block. Possible inferior myocardial infarction. "
        "Abnormal ECG."
    )
    assert score_report(told[0], {*f.stated, "axis_normal", "abnormal_ecg"}).f1 == 1
    plain = report(known(2, NORMAL, {"NORM"}), figures=False)
    assert plain is not None and plain[0] == "Sinus rhythm at 72 beats per minute. Normal ECG."
    long = report(known(3, NORMAL | {"prolonged_pr": 0.0}, {"NORM"}, pr_ms=220), figures=False)
    assert long is not None and long[0].endswith("Prolonged PR interval. Otherwise normal ECG.")
    said = rhythm(known(4, {"sinus_bradycardia": 0.0, "sinus_arrhythmia": 0.0}, set(), rate_bpm=50))
    assert said is not None and said[0] == "Sinus bradycardia at 50 beats per minute with sinus arrhythmia."
    assert basic(known(5, {"sinus_rhythm": 0.0, "atrial_fibrillation": 0.0}, set())) is None


def test_every_statement_comes_back_out_of_its_report() -> None:
    for name in ALL - {"bigeminy", "trigeminy", "premature_complexes"}:
        told = report(known(1, {name: 100.0}, set()), figures=False)
        if told is not None and name not in ("sinus_rhythm", "normal_ecg"):
            assert name in parse_statement(told[0]), (name, told[0])


def test_evidence_and_origin() -> None:
    for s in SAMPLES:
        assert s.made["by"].startswith("template ") and s.made["from"] in ("statements", "measurements", "report")
        if s.made["from"] == "measurements" and family(s) != "unanswerable":
            assert s.evidence and all("value" in e for e in s.evidence)
    value = next(s for s in SAMPLES if family(s) == "value" and s.kind == "open" and s.evidence[0]["value"])
    assert value.evidence[0]["unit"] in ("ms", "/min", "deg") and value.evidence[0]["beats"] == [0, 1]


def test_comparisons_are_of_two_ecgs() -> None:
    two = [s for s in SAMPLES if s.kind == "compare"]
    assert two and all(len(s.records) == 2 and s.made["pair"] in ("one patient", "two patients") for s in two)
    assert all(s.made["pair"] == "one patient" for s in two if "statement" in s.made)


def test_limits_and_what_lies_near_them() -> None:
    assert [place("pr_ms", v, None) for v in (100, 118, 160, 205, 230)] == ["below", None, "within", None, "above"]
    assert place("qtc_fridericia_ms", 455, "female") is None and place("qtc_fridericia_ms", 465, "male") == "above"
    assert place("qtc_fridericia_ms", 465, None) is None and place("qt_ms", 400, None) is None
    assert [axis_class(a) for a in (40, -60, 120, -120, 179)] == [
        "axis_normal",
        "axis_left",
        "axis_right",
        "axis_extreme",
        "axis_right",
    ]
    assert axis_class(-33, 5) is None and axis_class(268, 0) == "axis_extreme"


def test_words_of_readers() -> None:
    assert tidy("sinusrhythmus p-verÄnderung   Edit: NORM 100 von RB") == "sinusrhythmus p-veränderung"
    assert [language_of(t) for t in ("sinus rhythm. normal ecg.", "sinusrhythmus normales ekg", "sinusrytm normalt ekg")] == [
        "en",
        "de",
        "sv",
    ]
    assert recased("sinus rhythm. q waves in ii, avf and v4,5.", "en") == "Sinus rhythm. Q waves in II, aVF and V4,5."
    assert recased("p mitrale i avledning", "sv") == "P mitrale i avledning"


def test_a_translation_is_kept_beside_and_never_invented() -> None:
    german = known(1, NORMAL, {"NORM"}, "sinusrhythmus normales ekg")
    given = Facts(**{**vars(german), "text_en": "sinus rhythm, normal ecg"})
    own = [
        s
        for seed in range(8)
        for s in from_facts([given], kinds=["report"], per_record=4, seed=seed)
        if family(s) == "own-report"
    ]
    english = [s for s in own if s.language == "en"]
    assert english and {s.answer for s in english} == {"Sinus rhythm, normal ECG"}
    assert all(s.made["original"] == "sinusrhythmus normales ekg" for s in english)
    without = [s for seed in range(8) for s in from_facts([german], kinds=["report"], per_record=4, seed=seed)]
    assert all(s.language == "de" for s in without if family(s) == "own-report")


def test_wrong_use() -> None:
    with pytest.raises(EcgError, match="no kind essay"):
        from_facts(MANY, kinds=["essay"])
    with pytest.raises(EcgError, match="nothing is known"):
        from_facts([Facts("a:1", "a:1", "a")])
    assert {s.kind for s in from_facts(MANY, kinds=["verify"], per_record=4)} == {"verify"}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """Five simulated ECGs in PTB-XL's layout."""
    import csv

    folder = tmp_path_factory.mktemp("ptbxl")
    with (folder / "ptbxl_database.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow("ecg_id patient_id age sex report scp_codes strat_fold filename_lr filename_hr report_en".split())
        for i, (condition, codes, rate) in enumerate(
            (("sinus_rhythm", "{'NORM': 100.0, 'SR': 0.0}", 70), ("sinus_rhythm", "{'NORM': 100.0, 'SR': 0.0}", 75),
             ("lbbb", "{'CLBBB': 100.0, 'SR': 0.0}", 66), ("atrial_fibrillation", "{'AFIB': 0.0}", 90)), 1,
        ):  # fmt: skip
            (folder / "records100").mkdir(exist_ok=True)
            write(simulate(condition, rate=rate, seed=i, fs=100).record, folder / f"records100/{i}.hea", "wfdb")
            text = ("sinusrhythmus normales ekg", "sinus rhythm") if i < 3 else ("", "")
            out.writerow([i, f"{i}.0", 60, 0, text[0], codes, i, f"records100/{i}", "", text[1]])
    return build([Origin(folder, by_name("ptbxl"))], folder / "index")


def test_from_an_index(index: Index) -> None:
    gathered = list(facts(index, translations={"ptbxl:1": "sinus rhythm"}))
    assert [f.record for f in gathered] == ["ptbxl:1", "ptbxl:2", "ptbxl:3", "ptbxl:4"] and gathered[2].fold == 3
    assert gathered[0].stated == {"normal_ecg": 100.0, "sinus_rhythm": 0.0} and gathered[0].superclasses == {"NORM"}
    assert gathered[0].figures["rate_bpm"].value == pytest.approx(70, abs=2) and "clbbb" in gathered[0].denied
    assert gathered[2].figures["qrs_ms"].value > 110 and gathered[0].text_en == "sinus rhythm" and gathered[1].text_en == ""
    assert gathered[0].language == "de" and gathered[3].superclasses is None
    assert make(index, [0, 2], per_record=6) == make(index, [0, 2], per_record=6)


def test_translations_come_from_a_table(index: Index, tmp_path: Path) -> None:
    table = str(Path(str(index.folder)).parent / "ptbxl_database.csv")
    assert translations(table) == {"ptbxl:1": "sinus rhythm", "ptbxl:2": "sinus rhythm"}
    (tmp_path / "x.csv").write_text("record,english\n")
    with pytest.raises(EcgError, match="report_en"):
        translations(str(tmp_path / "x.csv"))
