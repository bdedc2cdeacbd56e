"""Forests and boosted trees on the figures, as plain arrays: the same numbers here, in scikit-learn and in ONNX.

G nodes, K labels, N records, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from einthoven.train.default.recipe import Boosting, ExtraTrees

LEAVES = 750  # of one tree of a forest, at most: a forest on the whole of PTB-XL is no larger than one on a part of it

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Trees:
    """Many trees, each adding to one output: node after node, tree after tree, the root of each tree first.

    tree, node: which tree, and the node's number in it. feature: what is asked, `<= threshold` goes to `yes`, else `no`
    (numbers in the same tree); a leaf has feature -1 and adds `value` to output `target`. base (K,): what is added to.
    """

    tree: Ints
    node: Ints
    feature: Ints
    threshold: Floats
    yes: Ints
    no: Ints
    value: Floats
    target: Ints
    base: Floats

    def __call__(self, x: Floats) -> Floats:
        """(N, F) -> (N, K), walked level by level; onnxruntime does the same faster."""
        roots = np.flatnonzero(self.node == 0)
        first = np.repeat(roots, np.diff(np.append(roots, len(self.node))))  # of each node's tree
        out = np.tile(self.base.astype(np.float64), (len(x), 1))
        for root in roots:
            at = np.full(len(x), root)
            while (inner := self.feature[at] >= 0).any():
                rows = at[inner]
                left = x[inner, self.feature[rows]] <= self.threshold[rows]
                at[inner] = first[rows] + np.where(left, self.yes[rows], self.no[rows])
            out[:, self.target[root]] += self.value[at]
        return out.astype(np.float32)


def extra_trees(x: Floats, truth: Floats, how: ExtraTrees, seed: int, jobs: int = 1) -> Trees:
    """One forest for each column of truth (N, K), unknown (NaN) left out; the sum is the probability."""
    from sklearn.ensemble import ExtraTreesClassifier

    found = []
    leaf_of = max(how.leaf, len(x) // LEAVES)
    for k in range(truth.shape[1]):
        known = np.isfinite(truth[:, k])
        forest = ExtraTreesClassifier(
            how.trees, min_samples_leaf=leaf_of, max_features=how.share, random_state=seed * 1000 + k, n_jobs=jobs
        ).fit(x[known], truth[known, k])
        for one in forest.estimators_:
            t = one.tree_
            leaf = t.children_left < 0
            positive = t.value[:, 0, 1] / t.value[:, 0].sum(1) / how.trees
            found.append((np.where(leaf, -1, t.feature), t.threshold, t.children_left, t.children_right, positive, k))
    return _joined(found, np.zeros(truth.shape[1]))


def boosted(x: Floats, truth: Floats, how: Boosting, seed: int, bags: Sequence[int]) -> Trees:
    """bags[k] ensembles for column k of truth (N, K), unknown (NaN) left out; the sum is the mean of their logits."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    found, base = [], np.zeros(truth.shape[1])
    for k, many in enumerate(bags):
        known = np.isfinite(truth[:, k])
        for bag in range(many):
            model = HistGradientBoostingClassifier(
                max_iter=how.rounds,
                learning_rate=how.rate,
                max_leaf_nodes=how.leaves,
                min_samples_leaf=how.leaf,
                l2_regularization=how.l2,
                max_features=how.share,
                early_stopping=False,
                random_state=(seed * 1000 + k) * 100 + bag,
            ).fit(x[known], truth[known, k])
            # scikit-learn shows these nowhere else; the test compares the sum with its own decision_function
            base[k] += float(np.ravel(model._baseline_prediction)[0]) / many
            for (one,) in model._predictors:
                n = one.nodes
                leaf = n["is_leaf"].astype(bool)
                yes, no = n["left"].astype(np.int64), n["right"].astype(np.int64)
                found.append((np.where(leaf, -1, n["feature_idx"]), n["num_threshold"], yes, no, n["value"] / many, k))
    return _joined(found, base)


def _joined(found: Sequence[tuple[Any, ...]], base: NDArray[np.float64]) -> Trees:
    sizes = [len(f[0]) for f in found]
    feature = np.concatenate([f[0] for f in found]).astype(np.int64)
    inner = feature >= 0
    wide = np.where(inner, np.concatenate([f[1] for f in found]), 0.0)
    threshold = wide.astype(np.float32)
    # A figure is float32: what is <= the wide threshold is <= the largest float32 that does not pass it.
    over = threshold.astype(np.float64) > wide
    threshold[over] = np.nextafter(threshold[over], np.float32(-np.inf))
    zero = np.zeros((), np.int64)
    return Trees(
        tree=np.repeat(np.arange(len(found)), sizes),
        node=np.concatenate([np.arange(s) for s in sizes]),
        feature=feature,
        threshold=threshold,
        yes=np.where(inner, np.concatenate([f[2] for f in found]), zero),
        no=np.where(inner, np.concatenate([f[3] for f in found]), zero),
        value=np.where(inner, 0.0, np.concatenate([f[4] for f in found])).astype(np.float32),
        target=np.repeat([f[5] for f in found], sizes),
        base=base.astype(np.float32),
    )
