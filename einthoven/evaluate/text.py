"""How far two texts overlap: BLEU-4, ROUGE-1, -2 and -L, METEOR, token F1. Small and without a download.

They say how alike the words are, not whether a report is right (evaluate/reports.py asks that). Definitions are those of the
tools that papers use, and their published examples are the tests: BLEU as NLTK's corpus_bleu (Papineni et al. 2002), with its
smoothing method 1 (Chen & Cherry 2014) where a precision is 0; ROUGE as rouge-score without stemming (Lin 2004); METEOR as
NLTK's (alpha 0.9, beta 3, gamma 0.5; Lavie & Agarwal 2007), matching equal words, then equal stems (plurals, -ed, -ing),
without WordNet: it lies a little below NLTK's where synonyms are used. Token F1 as SQuAD's.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_TOKEN = re.compile(r"\d+(?:[.,]\d+)*|\w+|[^\w\s]")
_WORD = re.compile(r"[a-z0-9]+")
LONGEST = 2000  # tokens of a text that are looked at: the longest common subsequence is quadratic


def tokens(text: str) -> list[str]:
    """Words, figures and signs, in lower case."""
    return _TOKEN.findall(text.lower())[:LONGEST]


def words(text: str) -> list[str]:
    """Letters and digits alone, in lower case (rouge-score's default)."""
    return _WORD.findall(text.lower())[:LONGEST]


# -- BLEU
# --------------------------------------------------------------------------------------------------------------------


def bleu_counts(candidate: Sequence[str], references: Sequence[Sequence[str]], order: int = 4) -> NDArray[np.float64]:
    """What BLEU adds up over texts, (2 order + 2,): clipped matches of 1..order, n-grams of 1..order, length, length of the
    nearest reference."""
    matches, totals = [], []
    for n in range(1, order + 1):
        said = _grams(candidate, n)
        most: Counter[tuple[str, ...]] = Counter()
        for reference in references:
            most |= _grams(reference, n)
        matches.append(sum(min(count, most[gram]) for gram, count in said.items()))
        totals.append(max(sum(said.values()), 1))
    near = min((abs(len(r) - len(candidate)), len(r)) for r in references)[1] if references else 0
    return np.array([*matches, *totals, len(candidate), near], np.float64)


def bleu_of(sums: NDArray[np.float64], *, smooth: bool = True) -> NDArray[np.float64]:
    """BLEU of summed counts, (..., 2 order + 2) -> (...)."""
    order = (sums.shape[-1] - 2) // 2
    hits, all_ = sums[..., :order], sums[..., order : 2 * order]
    length, near = sums[..., -2], sums[..., -1]
    with np.errstate(divide="ignore", invalid="ignore"):
        small = np.where(hits > 0, hits, 0.1 if smooth else 0.0)
        log = np.log(small / np.maximum(all_, 1e-12)).mean(-1)
        short = np.where(length < near, np.exp(1 - near / np.maximum(length, 1e-12)), 1.0)
        return np.asarray(np.where((length > 0) & (hits[..., 0] > 0), short * np.exp(log), 0.0))


def bleu(candidates: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]], *, smooth: bool = True) -> float:
    """Corpus BLEU-4 of token lists against one or more references each; NaN of none."""
    if not candidates:
        return math.nan
    counts = np.stack([bleu_counts(c, r) for c, r in zip(candidates, references, strict=True)])
    return float(bleu_of(counts.sum(0), smooth=smooth))


def _grams(text: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(text[i : i + n]) for i in range(len(text) - n + 1))


# -- ROUGE
# --------------------------------------------------------------------------------------------------------------------


def rouge(candidate: str, reference: str) -> tuple[float, float, float]:
    """F1 of ROUGE-1, ROUGE-2, ROUGE-L."""
    a, b = words(candidate), words(reference)
    return (*(_f1(_overlap(a, b, n), len(a) - n + 1, len(b) - n + 1) for n in (1, 2)), _f1(_common(a, b), len(a), len(b)))  # type: ignore[return-value]


def _overlap(a: Sequence[str], b: Sequence[str], n: int) -> int:
    return sum((_grams(a, n) & _grams(b, n)).values())


def _common(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for x in a:
        before = 0
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], before + 1 if x == y else max(row[j], row[j - 1])
    return row[-1]


def _f1(hits: int, said: int, there: int) -> float:
    return 2 * hits / (said + there) if hits and said > 0 and there > 0 else 0.0


# -- METEOR
# --------------------------------------------------------------------------------------------------------------------


def meteor(candidate: Sequence[str], reference: Sequence[str]) -> float:
    """METEOR of two token lists."""
    left, right = list(enumerate(candidate)), list(enumerate(reference))
    pairs: list[tuple[int, int]] = []
    for form in (str.lower, stem):
        # From the end, as NLTK matches: which of two equal words is taken decides the number of chunks.
        for i in range(len(left) - 1, -1, -1):
            for j in range(len(right) - 1, -1, -1):
                if form(left[i][1]) == form(right[j][1]):
                    pairs.append((left[i][0], right[j][0]))
                    del left[i], right[j]
                    break
    if not pairs:
        return 0.0
    pairs.sort()
    hits = len(pairs)
    precision, recall = hits / len(candidate), hits / len(reference)
    mean = precision * recall / (0.9 * precision + 0.1 * recall)
    chunks = 1 + sum(b != (a[0] + 1, a[1] + 1) for a, b in pairwise(pairs))
    return mean * (1 - 0.5 * (chunks / hits) ** 3)


def stem(word: str) -> str:
    """A word without its plural, -ed or -ing (Porter 1980, step 1)."""
    w = word.lower()
    if w.endswith("sses") or (w.endswith("ies") and len(w) > 4):
        w = w[:-2]
    elif w.endswith("s") and not w.endswith(("ss", "us", "is")) and len(w) > 3:
        w = w[:-1]
    if w.endswith("eed"):
        return w[:-1] if len(w) > 4 else w
    for end in ("ed", "ing"):
        root = w[: -len(end)]
        if w.endswith(end) and re.search(r"[aeiouy]", root):
            if root.endswith(("at", "bl", "iz")):
                return root + "e"
            if len(root) > 2 and root[-1] == root[-2] and root[-1] not in "lsz":
                return root[:-1]
            return root
    return w[:-1] + "i" if w.endswith("y") and re.search(r"[aeiou]", w[:-1]) else w


# -- token F1
# --------------------------------------------------------------------------------------------------------------------


def plain(text: str) -> list[str]:
    """Lower case, without signs and articles: how SQuAD compares answers."""
    return [w for w in re.sub(r"[^\w\s]", "", text.lower()).split() if w not in ("a", "an", "the")][:LONGEST]


def token_f1(candidate: str, reference: str) -> float:
    a, b = plain(candidate), plain(reference)
    if not a or not b:
        return float(a == b)
    return _f1(sum((Counter(a) & Counter(b)).values()), len(a), len(b))
