"""Readers' reports held against our measurements and rules: how many claims are supported, and those that are not.

    python bench/grounding.py INDEX [--folds 1-8] [--most 25] [--show]

English reports of the index alone. It says how often rules and readers agree, claim by claim, not who is right.
"""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np

from einthoven import interpret
from einthoven.data.index import Index
from einthoven.data.instruct.facts import language_of, tidy
from einthoven.grounding import ground


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index")
    parser.add_argument("--folds", default="1-8")
    parser.add_argument("--most", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", action="store_true")
    args = parser.parse_args()
    index = Index.open(args.index)
    first, _, last = args.folds.partition("-")
    texts = [tidy(t or "") for t in index.column("text")]
    inside = (index.column("fold") >= int(first)) & (index.column("fold") <= int(last or first))
    rows = [i for i, t in enumerate(texts) if inside[i] and len(t) > 30 and language_of(t) == "en"]
    chosen = np.random.default_rng(args.seed).permutation(rows)[: args.most]
    counts: Counter[str] = Counter()
    for i in chosen.tolist():
        report = interpret(index.record(i), model=None)
        told = ground(texts[i], report.measurements, report.findings, report.quality)
        counts.update(told.counts)
        if args.show and told.flagged:
            print(index.column("record")[i])
            print("\n".join(line for line in told.to_text().split("\n") if "supported:" not in line or "unsupported" in line))
    print(f"{len(chosen)} reports, {sum(counts.values())} claims: " + ", ".join(f"{n} {v}" for v, n in counts.items()))


if __name__ == "__main__":
    main()
