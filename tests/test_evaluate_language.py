"""Models that answer in words: marks, controls that take the ECG away, and the signal gain of models whose worth is known."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from einthoven.data.instruct.sample import Sample, Turn
from einthoven.data.labels import Labels
from einthoven.evaluate.language import (
    CONTROLS,
    Majority,
    answers_of,
    consistency,
    controlled,
    examine,
    group_of,
    mark,
    ranking,
    rows_of,
)
from einthoven.evaluate.language_table import markdown
from einthoven.record import EcgError, Record, Source

STD = ("NORM", "MI", "STTC", "CD", "HYP")


def sample(
    i: int,
    question: str,
    answer: str,
    kind: str = "verify",
    options: Sequence[str] = ("yes", "no"),
    evidence: Sequence[dict] = (),
    by: str = "template v-0",
) -> Sample:
    answers = tuple(a for a in answer.split("; ") if a in options)
    turns = (Turn("user", f"<ecg>\n{question}"), Turn("assistant", answer))
    return Sample(
        f"s{i}", (f"r{i}",), "test", kind, "feature", turns, tuple(options), answers, tuple(evidence),
        made={"by": by, "from": "measurements"}, group=f"p{i // 2}",
    )  # fmt: skip


def ecg(name: str) -> Record:
    """Its first sample says whether it is the ECG of a "yes": 1 mV, for records of even number."""
    level = 1.0 if int(name[1:]) % 2 == 0 else -1.0
    signal = np.full((2, 50), level, np.float32)
    signal[1] = np.linspace(-1, 1, 50)
    return Record(signal, 100.0, ("I", "II"), source=Source(name), statements=("words of the file",))


QUESTIONS = [sample(i, "Is it up?", "yes" if i % 2 == 0 else "no") for i in range(40)]


class Seeing:
    """A model that looks."""

    name = "seeing"
    settings: ClassVar = {"temperature": 0}

    def answer(self, prompts: Sequence[Sample], ecgs: Sequence[Sequence[Record]]) -> list[str]:
        return ["yes" if rs and rs[0].signal[0, 0] > 0 else "no" for rs in ecgs]

    def log_likelihood(self, prompts, ecgs, candidates):  # type: ignore[no-untyped-def]
        return [[float(rs[0].signal[0, 0]) if rs else 0.0 for _ in words] for rs, words in zip(ecgs, candidates, strict=True)]


class Blind(Seeing):
    """One that does not."""

    name = "blind"

    def answer(self, prompts: Sequence[Sample], ecgs: Sequence[Sequence[Record]]) -> list[str]:
        return ["yes"] * len(prompts)


# -- marks


@pytest.mark.parametrize(
    ("made", "answer", "figures"),
    [
        (sample(1, "Is it AF?", "yes"), "Yes, it is.", {"accuracy": 1, "unread": 0}),
        (sample(1, "Is it AF?", "yes"), "I do not know", {"accuracy": 0, "unread": 1}),
        (sample(1, "Which?", "MI; CD", "closed", STD), "CD; MI", {"accuracy": 1, "unread": 0}),
        (sample(1, "Which?", "NORM", "closed", STD), "ABNORMAL", {"accuracy": 0, "unread": 1}),
        (sample(1, "Which?", "NORM", "closed", STD), "NORM; MI", {"accuracy": 0, "unread": 0}),
        (sample(1, "Which?\nA. AF\nB. VT", "VT", "choice", ("AF", "VT")), "B", {"accuracy": 1}),
        (sample(1, "Which?\nA. AF\nB. VT", "VT", "choice", ("AF", "VT")), "It is VT.", {"accuracy": 1}),
        (sample(1, "Which: AF or VT?", "VT", "choice", ("AF", "VT", "none")), "VT", {"accuracy": 1}),
    ],
)  # fmt: skip
def test_closed_answers(made: Sample, answer: str, figures: dict[str, float]) -> None:
    got = mark(made, answer).figures
    assert {name: got[name] for name in figures} == figures


CODE15 = ("NORM", "ABNORMAL", "1dAVb", "RBBB", "LBBB", "SB", "ST", "AF")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("Answer: AF, RBBB", {"AF", "RBBB"}),
        ("The ECG shows atrial fibrillation; no left bundle branch block.", {"AF"}),
        ("ABNORMAL", {"ABNORMAL"}),
        ("There are ST-T changes", None),  # ST is sinus tachycardia here
        ("First-degree AV block with sinus bradycardia", {"1dAVb", "SB"}),
        ("I cannot say", None),
    ],
)
def test_labels_of_ecgbench_and_what_else_they_are_called(answer: str, said: set[str] | None) -> None:
    got = mark(sample(1, "Which?", "AF; RBBB", "closed", CODE15), answer)
    assert got.said == (None if said is None else frozenset(said)) and got.figures["unread"] == (said is None)


PR = [{"name": "pr_ms", "value": 164.0, "unit": "ms"}]


@pytest.mark.parametrize(
    ("answer", "right", "unread"),
    [
        ("The PR interval is 170 ms.", 1, 0),
        ("220 ms", 0, 0),
        ("It cannot be determined.", 0, 0),
        ("long", 0, 1),
    ],
)
def test_figures_by_tolerance(answer: str, right: int, unread: int) -> None:
    got = mark(sample(1, "What is the PR interval?", "The PR interval is 164 ms.", "open", (), PR), answer).figures
    assert (got["figure right"], got["unread"]) == (right, unread)


def test_what_cannot_be_determined_has_to_be_said() -> None:
    made = sample(1, "PR?", "The PR interval cannot be determined: no P waves.", "open", (), [{"name": "pr_ms", "value": None}])
    assert mark(made, "That can not be measured").figures["figure right"] == 1
    assert mark(made, "The PR interval is 160 ms.").figures["figure right"] == 0
    axis = [{"name": "qrs_axis_deg", "value": 178.0}]
    assert mark(sample(1, "Axis?", "178 degrees", "open", (), axis), "-178 degrees").figures["figure right"] == 1


def test_reports_by_statements_and_figures() -> None:
    proof = [
        {"name": "sinus_rhythm", "stated": True},
        {"name": "crbbb", "stated": True},
        {"name": "rate_bpm", "value": 72.0},
        *PR,
    ]
    made = sample(
        1, "Report.", "Sinus rhythm at 72 beats per minute. PR 164 ms. Complete right bundle branch block.", "report", (), proof
    )
    full = mark(made, made.answer).figures
    assert full["report F1"] == 1 and full["figures right"] == 1 and full["ROUGE-L"] == 1
    half = mark(made, "Sinus rhythm at 110 beats per minute. PR 160 ms. No right bundle branch block.").figures
    assert half["report F1"] == pytest.approx(2 / 3) and half["figures right"] == 0.5
    short = sample(1, "Report.", "Atrial fibrillation. The PR interval cannot be determined.", "report", ())
    assert mark(short, "Atrial fibrillation.").figures["report F1"] == 1
    assert mark(made, "").figures["report F1"] == 0 and mark(made, "").figures["figures right"] == 0


def test_groups() -> None:
    assert group_of(QUESTIONS[0]) == "verify: v"
    assert group_of(sample(1, "?", "yes", by="a model")) == "verify"
    qa = sample(1, "?", "yes")
    object.__setattr__(qa, "made", {"by": "ecg-qa template 1", "from": "dataset", "question_type": "single-verify"})
    assert group_of(qa) == "test: single-verify"


# -- controls


def test_controls_take_the_ecg_away() -> None:
    shown = [[ecg(s.records[0])] for s in QUESTIONS]
    zeros = controlled("zeros", QUESTIONS, shown)[1]
    assert all(not r.signal.any() and r.statements == () and r.leads == ("I", "II") for rs in zeros for r in rs)
    noise = controlled("noise", QUESTIONS, shown, seed=1)[1]
    assert noise[0][0].signal[1].std() == pytest.approx(shown[0][0].signal[1].std(), rel=0.3)
    assert not noise[0][0].signal[0].any()  # a lead that did not move is no louder than it was
    others = controlled("another patient", QUESTIONS, shown, seed=1)[1]
    for s, rs in zip(QUESTIONS, others, strict=True):
        assert f"p{int(str(rs[0].source.path)[1:]) // 2}" != s.group
    assert sorted(str(rs[0].source.path) for rs in others) == sorted(s.records[0] for s in QUESTIONS)
    texts, none = controlled("text only", QUESTIONS, shown)
    assert texts[0].question == "Is it up?" and texts[0].records == () and none == [[]] * 40
    with pytest.raises(EcgError, match="no control"):
        controlled("silence", QUESTIONS, shown)
    with pytest.raises(EcgError, match="more than half"):
        controlled("another patient", QUESTIONS[:2], shown[:2])


def test_text_alone_of_two_ecgs() -> None:
    turns = (Turn("user", "First ECG: <ecg>\nSecond ECG: <ecg>\nWhich?"), Turn("assistant", "x"))
    two = Sample("c", ("a", "b"), "t", "compare", "feature", turns, made={"by": "m", "from": "dataset"})
    assert controlled("text only", [two], [[]])[0][0].question == "Which?"


def test_majority_has_never_seen_an_ecg() -> None:
    m = Majority.of([*QUESTIONS[:3], sample(9, "Is it new?", "no", by="template w-0")])
    assert m.answer(QUESTIONS[:1]) == ["yes"] and m.answer([sample(1, "Another?", "no")]) == ["yes"]
    assert m.answer([sample(1, "?", "no", "closed", STD, by="template z-0")]) == [""]
    (scores,) = m.log_likelihood(QUESTIONS[:1], [[]], [["yes", "no"]])
    assert scores[0] > scores[1] and sum(math.exp(x) for x in scores) == pytest.approx(1)


# -- scores


def test_a_model_that_looks_earns_its_score_and_one_that_does_not_earns_nothing(tmp_path: Path) -> None:
    told = examine(Seeing(), QUESTIONS, ecg, train=QUESTIONS, draws=500)
    row = told.row("verify: v", "accuracy")
    assert row.value == 1 and set(row.controls) == set(CONTROLS) and row.controls["zeros"] == 0.5
    assert row.gain == 1 - max(row.controls.values()) and row.earned
    blind = examine(Blind(), QUESTIONS, ecg, train=QUESTIONS, draws=500, before=Seeing())
    row = blind.row("all closed questions", "accuracy")
    assert row.value == 0.5 and row.gain == 0 and not row.earned and row.controls["before"] == 1
    told.save(str(tmp_path / "scores"))
    saved = json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert saved["settings"]["generation"] == {"temperature": 0} and saved["scores"][0]["earned"]
    lines = (tmp_path / "scores" / "answers.jsonl").read_text().splitlines()
    assert (
        json.loads(lines[0])["answers"]["model"] == "yes" and json.loads(lines[0])["prompt"][0]["content"] == "<ecg>\nIs it up?"
    )
    assert "| verify: v | accuracy | 40 | 1.000 (1.000 to 1.000) |" in (tmp_path / "scores" / "table.md").read_text()
    assert (tmp_path / "scores" / "table.html").read_text().startswith("<!doctype html>")
    with pytest.raises(EcgError, match="is there already"):
        told.save(str(tmp_path / "scores"))
    assert "Left out: majority" in markdown(examine(Blind(), QUESTIONS, ecg, draws=500))


def test_several_labels_at_once() -> None:
    many = [sample(i, "Which?", "MI; CD" if i % 2 else "NORM", "closed", STD) for i in range(20)]
    rows = {
        r.figure: r
        for r in rows_of(many, {"": [s.answer for s in many], "zeros": ["NORM"] * 20}, 500)
        if r.group == "closed: v"
    }
    assert rows["macro F1"].value == 1 and rows["Hamming loss"].value == 0
    assert rows["Hamming loss"].controls["zeros"] == pytest.approx(0.5 * 3 / 5)
    assert rows["Hamming loss"].gain == pytest.approx(0.3) and rows["macro F1"].gain > 0


def test_batches_and_wrong_models() -> None:
    assert answers_of(Seeing(), QUESTIONS, ecg, batch=7) == [s.answer for s in QUESTIONS]
    assert answers_of(Seeing(), QUESTIONS, ecg, "another patient", batch=7) != [s.answer for s in QUESTIONS]

    class Mute(Seeing):
        def answer(self, prompts: Sequence[Sample], ecgs: Sequence[Sequence[Record]]) -> list[str]:
            return []

    with pytest.raises(EcgError, match="0 answers to 16"):
        answers_of(Mute(), QUESTIONS, ecg)


def test_ranking_by_likelihood() -> None:
    records = [f"r{i}" for i in range(40)]
    matrix = np.array([[i % 2 == 0, i % 3 == 0] for i in range(40)], np.float32)
    labels = Labels(("UP", "THREE"), matrix, "multilabel")
    rows, scores = ranking(
        Seeing(), records, [f"p{i}" for i in range(40)], labels, ecg, "What?", {"UP": "up", "THREE": "three"}, draws=500
    )
    by = {r.figure: r for r in rows}
    assert by["AUROC UP"].value == 1 and by["AUROC UP"].controls["zeros"] == 0.5 and by["AUROC UP"].earned
    assert by["macro AUROC"].value == pytest.approx((1 + by["AUROC THREE"].value) / 2) and scores[""].shape == (40, 2)
    with pytest.raises(EcgError, match="no words for THREE"):
        ranking(Seeing(), records, records, labels, ecg, "What?", {"UP": "up"})


def test_ranking_by_yes_and_no() -> None:
    """A question a label: the score is the likelihood of yes less that of no."""

    class Sure(Seeing):
        def log_likelihood(self, prompts, ecgs, candidates):  # type: ignore[no-untyped-def]
            assert all(words == ["yes", "no"] for words in candidates)
            up = [float(rs[0].signal[0, 0]) if rs else 0.0 for rs in ecgs]
            return [[u if "high" in s.question else -u, 0.0] for s, u in zip(prompts, up, strict=True)]

    records = [f"r{i}" for i in range(40)]
    labels = Labels(("UP", "DOWN"), np.array([[i % 2 == 0, i % 2 == 1] for i in range(40)], np.float32), "multilabel")
    words = {"UP": "high", "DOWN": "low"}
    rows, scores = ranking(Sure(), records, records, labels, ecg, "Is it {}?", words, verify=True, draws=500)
    assert {r.figure: r.value for r in rows} == {"macro AUROC": 1, "AUROC UP": 1, "AUROC DOWN": 1}
    assert scores[""].shape == (40, 2) and rows[0].controls["text only"] == 0.5


def test_a_model_agrees_with_itself() -> None:
    a = [s.answer for s in QUESTIONS]
    (same,) = consistency(QUESTIONS, a, a, draws=500)
    assert same.agreement == 1 and 0.2 < same.chance < 0.8
    (other,) = consistency(QUESTIONS, a, ["perhaps"] * 40, draws=500)
    assert other.agreement == 0
    free = [sample(i, "Rhythm?", "Sinus rhythm", "open", ()) for i in range(4)]
    (part,) = consistency(free, ["Sinus rhythm. LBBB."] * 4, ["Sinus rhythm."] * 4, draws=500)
    assert part.agreement == pytest.approx(2 / 3)
