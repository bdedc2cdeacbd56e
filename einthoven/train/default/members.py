"""The members of the default model: fitted alone, kept as arrays by name, put together by the mean of their logits.

N records, V views, F features, K labels, S superclasses (the first S labels).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from einthoven.represent.features import FIGURES
from einthoven.train.default.recipe import Recipe
from einthoven.train.default.trees import Trees, boosted, extra_trees
from einthoven.train.default.views import forgetful, medians

Floats = NDArray[np.float32]
Arrays = dict[str, NDArray[Any]]

A = len(FIGURES)
NEVER = 0.002  # a forest's probability is kept this far from 0 and 1


def names(recipe: Recipe) -> tuple[str, ...]:
    return ("extra_trees", "boosted", *(f"network{i}" for i in range(recipe.network.seeds)))


def fit(
    name: str,
    views: Floats,
    truth: Floats,
    superclasses: int,
    recipe: Recipe,
    first: tuple[Floats, Floats] | None = None,
) -> Arrays:
    """One member from the features of N records in V views (V, N, F) and truth (N, K), NaN where unknown.

    `first`: simulated ECGs that networks begin with (simulated.py). Everything that a member needs to be applied is among its
    arrays: the stand-ins for unknown figures, the quantiles of its ranks.
    """
    views = forgetful(views, recipe.forget_patient, recipe.seed)
    if name.startswith("network"):
        from einthoven.train.default.network import train

        seed = recipe.seed * 100 + int(name.removeprefix("network"))
        net = train(views, truth, superclasses, recipe.network, seed, first)
        return {key: value.numpy() for key, value in net.state_dict().items()}
    fill = medians(views)[:A]
    x = views[..., :A].reshape(-1, A)
    x = np.where(np.isnan(x), fill, x)
    y = np.tile(truth, (len(views), 1))
    if name == "extra_trees":
        trees = extra_trees(x, y[:, :superclasses], recipe.extra_trees, recipe.seed)
    else:
        bags = [recipe.boosting.bags if k < superclasses else 1 for k in range(truth.shape[1])]
        trees = boosted(x, y, recipe.boosting, recipe.seed, bags)
    return {**asdict(trees), "fill": fill}


def logits(name: str, member: Mapping[str, NDArray[Any]], features: Floats) -> Floats:
    """features (N, F) -> logits (N, K), of extra_trees (N, S)."""
    if name.startswith("network"):
        import torch

        with torch.inference_mode():
            out: Floats = network(member)(torch.tensor(features))[0].numpy()
        return out
    x = features[:, :A]
    told = as_trees(member)(np.where(np.isnan(x), member["fill"], x).astype(np.float32))
    if name == "boosted":
        return told
    p = np.clip(told, NEVER, 1 - NEVER)
    return np.asarray(np.log(p) - np.log1p(-p), np.float32)


def as_trees(member: Mapping[str, NDArray[Any]]) -> Trees:
    return Trees(**{key: value for key, value in member.items() if key != "fill"})


def network(member: Mapping[str, NDArray[Any]]) -> Any:
    """The network of a member's arrays, in evaluation mode."""
    import torch

    from einthoven.train.default.network import KNOTS, BeatFigures

    net = BeatFigures(len(member["head.bias"]), np.zeros((KNOTS, A), np.float32))
    net.load_state_dict({key: torch.tensor(value) for key, value in member.items()})
    return net.eval()


def blend(parts: Mapping[str, Floats], superclasses: int) -> Floats:
    """The mean over the families (forest, boosting, networks); the forest speaks of the superclasses alone. (N, K)."""
    nets = np.mean([value for name, value in parts.items() if name.startswith("network")], axis=0)
    out = (parts["boosted"] + nets) / 2
    out[:, :superclasses] = (parts["extra_trees"] + parts["boosted"][:, :superclasses] + nets[:, :superclasses]) / 3
    return np.asarray(out, np.float32)


def grouped(folds: NDArray[Any], kept: Sequence[int], parts: int) -> NDArray[np.int64]:
    """(N,) which of `parts` parts a record belongs to: whole folds, and so whole patients; -1: none."""
    out = np.full(len(folds), -1, np.int64)
    for i, fold in enumerate(kept):
        out[folds == fold] = i * parts // len(kept)
    return out
