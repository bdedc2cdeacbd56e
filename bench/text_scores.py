"""BLEU-4, ROUGE and METEOR of ours beside sacrebleu's, rouge-score's and NLTK's, on sentences of ECG reports.

    pip install sacrebleu rouge-score nltk
    python bench/text_scores.py [--write tests/text_scores.json]

Each sentence of tests/report_pairs.py is scored against the next. sacrebleu gets our tokens (its own rules split 0.12 mV
otherwise) and our smoothing (its "floor" of 0.1, which is NLTK's method 1); where an answer has fewer than four tokens, it says
0 and NLTK, as we, a little: those are left out. NLTK's METEOR gets our stems and no synonyms (WordNet is a download). Prints
the largest differences and the time of both; the tests hold ours to the figures that are written (every third pair).
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

from einthoven.evaluate.text import bleu, meteor, rouge, stem, tokens

ROOT = Path(__file__).resolve().parent.parent


def texts() -> list[str]:
    sys.path.insert(0, str(ROOT / "tests"))
    import report_pairs as pairs

    return [text for table in (pairs.PAIRS, pairs.BLIND, pairs.BLIND_2) for text, *_ in table]


def ours(candidate: str, reference: str) -> list[float]:
    said, there = tokens(candidate), tokens(reference)
    return [100 * bleu([said], [[there]]), *rouge(candidate, reference), meteor(said, there)]


def theirs(pairs: list[tuple[str, str]]) -> list[list[float]]:
    from nltk.translate.meteor_score import single_meteor_score
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu.metrics import BLEU

    kinds = ("rouge1", "rouge2", "rougeL")
    scorer, made = RougeScorer(kinds), []
    alike = BLEU(tokenize="none", smooth_method="floor", smooth_value=0.1)
    logging.getLogger("sacrebleu").setLevel(logging.ERROR)  # it would rather score short texts by fewer orders
    for candidate, reference in pairs:
        said, there = tokens(candidate), tokens(reference)
        overlap = scorer.score(reference, candidate)
        met = single_meteor_score(
            there, said, stemmer=SimpleNamespace(stem=stem), wordnet=SimpleNamespace(synsets=lambda word: [])
        )
        made.append(
            [alike.sentence_score(" ".join(said), [" ".join(there)]).score, *(overlap[kind].fmeasure for kind in kinds), met]
        )
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path)
    args = parser.parse_args()
    sentences = texts()
    pairs = [pair for pair in pairwise(sentences) if len(tokens(pair[0])) >= 4]
    begun = time.process_time()
    mine = [ours(*pair) for pair in pairs]
    between = time.process_time()
    other = theirs(pairs)
    took = between - begun, time.process_time() - between
    for k, name in enumerate(("BLEU-4", "ROUGE-1", "ROUGE-2", "ROUGE-L", "METEOR")):
        far = [abs(a[k] - b[k]) for a, b in zip(mine, other, strict=True)]
        worst = far.index(max(far))
        print(f"{name}: {len(pairs)} pairs, largest difference {max(far):.2g} ({mine[worst][k]:.4f}, {other[worst][k]:.4f})")
    print(f"{1000 * took[0] / len(pairs):.2f} ms a pair, theirs {1000 * took[1] / len(pairs):.2f} (with their loading)")
    if args.write:
        said = {name: version(name) for name in ("sacrebleu", "rouge-score", "nltk")}
        rows = [[*pair, *(round(value, 6) for value in row)] for pair, row in zip(pairs[::3], other[::3], strict=True)]
        lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
        args.write.write_text(f'{{"versions": {json.dumps(said)}, "pairs": [\n{lines}\n]}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
