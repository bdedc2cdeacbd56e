"""The model a run begins with: built by the recipe's design, tokenizers learned, encoders given weights and taught by
labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from einthoven.data import labels_of
from einthoven.models.language.build import Design, build, resolved
from einthoven.models.language.elm import Elm
from einthoven.models.language.speaker import Speaker
from einthoven.models.language.view import Figures, FromTable, View
from einthoven.record import EcgError
from einthoven.represent.symbols import ALPHABETS, learn
from einthoven.train.instruct.material import Material
from einthoven.train.instruct.recipe import InstructRecipe

Log = Callable[[str], None]


def start(recipe: InstructRecipe, material: Material, work: Path, log: Log) -> tuple[Speaker, Design]:
    """The model, and its design as it can be built again. Tokenizers are kept in `work`, so that a run that was cut off goes
    on with the same."""
    if recipe.weights:
        from einthoven.exchange import shelf
        from einthoven.exchange.language import open_language

        model, design = open_language(shelf.find(recipe.weights), base=recipe.model, merge=True)
        log(f"going on from {recipe.weights}")
        return model.requires_grad_(True), design
    design = recipe.design
    design = replace(design, views=tuple(_symbols(view, k, material, work, log) for k, view in enumerate(design.views)))
    own = design.model is None or recipe.init == "tiny-random"
    dtype = torch.bfloat16 if recipe.precision == "bf16" and recipe.method != "full" and _gpu(recipe) else None
    model = build(design, init=recipe.init, texts=material.texts() if own else (), seed=recipe.seed, dtype=dtype, folder=work)
    design = resolved(design, recipe.init)
    if isinstance(model, Elm):
        for view, words in zip(model.views, design.views):
            if words.get("weights"):
                load_encoder(view, str(words["weights"]))
    return model, design


def _gpu(recipe: InstructRecipe) -> bool:
    return recipe.device != "cpu" and torch.cuda.is_available()


def _symbols(view: Mapping[str, Any], k: int, material: Material, work: Path, log: Log) -> dict[str, Any]:
    """A view of symbols whose tokenizer is an alphabet's name: it is learned from the training ECGs here."""
    words = dict(view)
    if words.get("represent") != "symbols" or str(words.get("tokenizer", "einthoven")) not in ALPHABETS:
        return words
    alphabet, merges = str(words.get("tokenizer", "einthoven")), int(words.pop("merges", 1000))
    path = work / f"symbols-{k}.json"
    if not path.is_file():
        names = set(material.records("train"))
        index = material.indices[0]
        rows = [row for row, name in enumerate(index.column("record")) if name in names][:2000]
        log(f"learning {merges:,} merges of alphabet {alphabet} from {len(rows):,} training ECGs")
        learn(index, alphabet, merges, rows).save(path)
    return {**words, "tokenizer": path.name}


def load_encoder(view: View, path: str) -> None:
    """Weights of a Bundle, or a .safetensors of the same network (`models convert`, a pre-training), into a view's encoder; the
    head is left out. Raises EcgError where they do not fit."""
    from safetensors.torch import load, load_file

    from einthoven.exchange import shelf
    from einthoven.models import convert

    if not isinstance(getattr(view, "encoder", None), FromTable):
        raise EcgError("weights are of encoders of the table of models", path=path, where="recipe: views")
    place = Path(path)
    if place.suffix == ".safetensors":
        state = convert.contents(place)[0] if convert.is_converted(place) else load_file(place)
    else:
        state = load(shelf.load(path).read("weights.safetensors"))
    net = view.encoder.net
    state = {k: v for k, v in net.fitted(state).items() if not k.startswith("head.")}
    own = net.state_dict()
    wrong = [k for k in own if not k.startswith("head.") and (k not in state or state[k].shape != own[k].shape)]
    if wrong:
        raise EcgError(f"these are no weights of this encoder: {wrong[0]} is missing or of another shape", path=path)
    net.load_state_dict({k: v for k, v in state.items() if k in own}, strict=False)


# ---- encoders by labels -------------------------------------------------------------------------------------------------


def teach_encoders(model: Elm, material: Material, stores: Mapping[str, Any], recipe: InstructRecipe, log: Log) -> None:
    """Fits what is measured by training ECGs (`Figures.fit`), and teaches encoders the statements of the training ECGs for
    `encoder_epochs`, so that the connector begins with vectors that say something. Chosen by the last epoch, on training folds
    alone; the validation's area under the curve is told."""
    names = [r for r in material.records("train") if r in stores]
    for v, view in enumerate(model.views):
        own = isinstance(getattr(view, "encoder", None), FromTable) and not recipe.views[v].get("weights")
        if (own and hasattr(view.encoder.net, "look")) or isinstance(getattr(view, "encoder", None), Figures):
            view.encoder.fit(np.stack([stores[r][r][v] for r in names]))
    if not recipe.encoder_epochs:
        return
    truth, labels = _truth(material, recipe.encoder_level)
    for v, view in enumerate(model.views):
        if hasattr(view, "encoder") and any(True for _ in view.encoder.parameters()):
            figure = _teach(view, v, material, stores, truth, recipe)
            log(f"encoder of view {v} taught {len(labels)} labels ({recipe.encoder_level}): validation AUROC {figure:.3f}")


def _truth(material: Material, level: str) -> tuple[dict[str, NDArray[np.float32]], tuple[str, ...]]:
    """Labels by record, NaN unknown; the label names are those of the first index (what is not in another is unknown there)."""
    found: dict[str, NDArray[np.float32]] = {}
    names: tuple[str, ...] = ()
    for index in material.indices:
        known = labels_of(index, level)
        names = names or known.names
        at = [known.names.index(n) if n in known.names else -1 for n in names]
        matrix = np.where(np.array(at) >= 0, known.matrix[:, at], np.float32("nan"))
        found |= dict(zip(index.column("record"), matrix.astype(np.float32), strict=True))
    return found, names


def _teach(
    view: View,
    v: int,
    material: Material,
    stores: Mapping[str, Any],
    truth: Mapping[str, NDArray[np.float32]],
    recipe: InstructRecipe,
) -> float:
    torch.manual_seed(recipe.seed + 3)
    train = [r for r in material.records("train") if r in stores and r in truth]
    held = [r for r in material.records("validation") if r in stores and r in truth]
    head = nn.Linear(view.encoder.width, len(next(iter(truth.values()))))
    net = nn.ModuleList([view.encoder, head])
    view.encoder.requires_grad_(True)
    optimizer = torch.optim.AdamW(net.parameters(), lr=recipe.encoder_rate, weight_decay=0.05)
    size = 64
    steps = recipe.encoder_epochs * -(-len(train) // size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.encoder_rate, total_steps=steps, pct_start=0.2)
    rng = np.random.default_rng([recipe.seed, 13])
    for _ in range(recipe.encoder_epochs):
        net.train()
        order = rng.permutation(len(train))
        for begin in range(0, len(order), size):
            some = [train[k] for k in order[begin : begin + size]]
            logits = _said(view, head, some, v, stores)
            y = torch.from_numpy(np.stack([truth[r] for r in some]))
            loss = F.binary_cross_entropy_with_logits(logits, y.nan_to_num(), weight=(~y.isnan()).float())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    net.eval()
    if view.frozen:
        view.encoder.requires_grad_(False)
    if not held:
        return float("nan")
    from einthoven.evaluate.metrics import auroc

    with torch.no_grad():
        scores = torch.cat([_said(view, head, held[b : b + size], v, stores) for b in range(0, len(held), size)]).numpy()
    target = np.stack([truth[r] for r in held])
    each = []
    for k in range(target.shape[1]):
        known = np.isfinite(target[:, k])
        if 0 < target[known, k].sum() < known.sum():
            each.append(float(auroc(target[known, k : k + 1], scores[known, k : k + 1])[0]))
    return float(np.mean(each)) if each else float("nan")


def _said(view: View, head: nn.Linear, records: list[str], v: int, stores: Mapping[str, Any]) -> torch.Tensor:
    logits: torch.Tensor = head(view.encoder(view.tensor([stores[r][r][v] for r in records])).mean(1))
    return logits
