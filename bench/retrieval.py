"""What the nearest ECG says of an ECG, with and without its patient's other records, and against one drawn at random.

    python bench/retrieval.py INDEX [--folds 1-8] [--k 1] [--most 500]

For each asked record: does its nearest neighbour have the same superclasses, and how far do its stated codes agree (F1)? "not
excluded" leaves in the patient's other records and copies (never the record itself), as published retrieval does.
"""

from __future__ import annotations

import argparse

import numpy as np

from einthoven.data.index import Index
from einthoven.data.labels import labels_of
from einthoven.data.splits import groups
from einthoven.evaluate.bootstrap import Resamples, interval
from einthoven.represent.retrieve import Shelf


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index")
    parser.add_argument("--folds", default="1-8")
    parser.add_argument("--k", type=int, default=1)
    parser.add_argument("--most", type=int, default=10_000)
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    index = Index.open(args.index)
    first, _, last = args.folds.partition("-")
    folds = np.asarray(index.column("fold"))
    upper, stated = labels_of(index, "superclass"), labels_of(index, "statement")
    known = (upper.matrix == 1).any(axis=1) & (folds >= int(first)) & (folds <= int(last or first))
    rows = np.flatnonzero(known)[: args.most]
    shelf = Shelf.of(index, rows, jobs=args.jobs)
    rows, whose = shelf.rows, groups(index)[shelf.rows]
    rng = np.random.default_rng(0)
    same: dict[str, list[float]] = {"excluded": [], "not excluded": [], "random": []}
    alike: dict[str, list[float]] = {name: [] for name in same}
    for i, row in enumerate(rows):
        far = np.linalg.norm(shelf.matrix - shelf.matrix[i], axis=1)
        others = {"not excluded": np.delete(np.arange(len(rows)), i), "excluded": np.flatnonzero(whose != whose[i])}
        near = {name: among[np.argsort(far[among], kind="stable")[: args.k]] for name, among in others.items()}
        near["random"] = rng.choice(others["excluded"], args.k, replace=False)
        for name, hits in near.items():
            same[name].append(float(np.mean([(upper.matrix[rows[j]] == upper.matrix[row]).all() for j in hits])))
            alike[name].append(float(np.mean([_f1(stated.matrix[rows[j]], stated.matrix[row]) for j in hits])))
    draw = Resamples.of(whose.tolist(), len(rows))
    print(f"{len(rows)} records of {len(set(whose.tolist()))} patients, folds {args.folds}, k = {args.k}")
    print(f"of these, {sum(int((whose == g).sum() > 1) for g in whose)} records have another one of their patient")
    for name in same:
        for what, values in (("same superclasses", same[name]), ("F1 of the statements", alike[name])):
            v = np.array(values)
            low, high, _ = interval(draw.apply(lambda w, v=v: (w @ v) / w.sum(1)))
            print(f"{name:<14}{what:<24}{v.mean():.3f} ({low:.3f} to {high:.3f})")


def _f1(a: np.ndarray, b: np.ndarray) -> float:
    one, two = a == 1, b == 1
    return float(2 * (one & two).sum() / max(one.sum() + two.sum(), 1))


if __name__ == "__main__":
    main()
