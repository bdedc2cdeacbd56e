"""Overlap of texts: the published examples of the tools that papers use."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from einthoven.evaluate.text import bleu, meteor, rouge, stem, token_f1, tokens

# NLTK's documentation of bleu_score and meteor_score.
HYP = "It is a guide to action which ensures that the military always obeys the commands of the party".split()
REFS = [
    "It is a guide to action that ensures that the military will forever heed Party commands".split(),
    "It is the guiding principle which guarantees the military forces always being under the command of the Party".split(),
    "It is the practical guide for the army always to heed the directions of the party".split(),
]
HYP_2 = "he read the book because he was interested in world history".split()
REF_2 = "he was interested in world history because he read the book".split()


def test_bleu_is_nltks() -> None:
    assert bleu([HYP], [REFS], smooth=False) == pytest.approx(0.50456668)
    assert bleu([HYP, HYP_2], [REFS, [REF_2]], smooth=False) == pytest.approx(0.5920, abs=1e-4)
    assert bleu([HYP], [[HYP]]) == 1 and bleu([["x"]], [[HYP]]) == 0 and math.isnan(bleu([], []))


def test_bleu_clips_what_is_repeated() -> None:
    """Papineni et al. 2002: "the" seven times has a unigram precision of 2/7."""
    from einthoven.evaluate.text import bleu_counts

    counts = bleu_counts(["the"] * 7, ["the cat is on the mat".split(), "there is a cat on the mat".split()])
    assert counts[0] / counts[4] == pytest.approx(2 / 7)


def test_rouge_is_rouge_scores() -> None:
    """The example of the rouge-score package: 0.75 and 0.667, 0.625 and 0.556."""
    one, two, longest = rouge("The quick brown dog jumps on the log.", "The quick brown fox jumps over the lazy dog")
    assert one == pytest.approx(2 * 0.75 * 6 / 9 / (0.75 + 6 / 9)) and longest == pytest.approx(
        2 * 0.625 * 5 / 9 / (0.625 + 5 / 9)
    )
    assert two == pytest.approx(2 * 2 / (7 + 8))
    assert rouge("", "a") == (0, 0, 0) and rouge("a b c", "a b c") == (1, 1, 1)


def test_meteor_is_nltks() -> None:
    assert max(meteor(HYP, ref) for ref in REFS) == pytest.approx(0.6944, abs=5e-5)
    assert meteor(["this", "is", "a", "cat"], ["non", "matching", "hypothesis"]) == 0
    assert meteor("T waves inverted".split(), "T wave inversion".split()) > meteor("x y z".split(), "T wave inversion".split())


KEPT = json.loads((Path(__file__).parent / "text_scores.json").read_text(encoding="utf-8"))["pairs"]


@pytest.mark.parametrize(("candidate", "reference", "score", "one", "two", "longest", "met"), KEPT)
def test_figures_are_those_of_sacrebleu_rouge_score_and_nltk(
    candidate: str, reference: str, score: float, one: float, two: float, longest: float, met: float
) -> None:
    """Written by bench/text_scores.py, which ran them beside ours."""
    said, there = tokens(candidate), tokens(reference)
    assert 100 * bleu([said], [[there]]) == pytest.approx(score, abs=1e-5)
    assert rouge(candidate, reference) == pytest.approx((one, two, longest), abs=1e-5)
    assert meteor(said, there) == pytest.approx(met, abs=1e-5)


@pytest.mark.parametrize(
    ("word", "root"),
    [("waves", "wave"), ("caresses", "caress"), ("plastered", "plaster"), ("motoring", "motor"), ("sing", "sing"),
     ("conflated", "conflate"), ("hopping", "hop"), ("falling", "fall"), ("agreed", "agree"), ("sinus", "sinus")],
)  # fmt: skip
def test_stems_are_porters_first_step(word: str, root: str) -> None:
    assert stem(word) == root


def test_token_f1_is_squads() -> None:
    assert token_f1("The PR interval is 164 ms.", "PR interval: 164 ms") == pytest.approx(2 * 4 / (5 + 4))
    assert token_f1("", "") == 1 and token_f1("a", "yes") == 0


def test_figures_stay_whole() -> None:
    assert tokens("QTc 0.41 s, V1-V3.") == ["qtc", "0.41", "s", ",", "v1", "-", "v3", "."]
