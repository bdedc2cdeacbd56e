"""The network that a fine-tuning run begins with: fresh, or with the weights that its recipe names, and a new head.

K outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from einthoven import tune
from einthoven.exchange.bundle import Bundle
from einthoven.exchange.shelf import shelved
from einthoven.models.network import Network
from einthoven.models.table import Model, build, by_name
from einthoven.record import EcgError
from einthoven.represent.features import VERSION
from einthoven.train.recipe import Recipe

if TYPE_CHECKING:
    from einthoven.models.signal.model import SignalModel


def new_model(recipe: Recipe, shape: tuple[int, ...], outputs: int) -> tuple[Network, Model]:
    """The recipe's model with a new head, and fresh weights or those that it starts from; with its row of the table.

    shape: of one input, (leads, samples) or (3, height, width).
    """
    row = row_of(recipe)
    torch.manual_seed(recipe.seed)
    if row is FOREIGN:
        return _foreign(recipe, shape[0], shape[1], outputs), row
    own: dict[str, Any] = {"outputs": outputs}
    if row.kind == "image":
        own |= {"channels": shape[0], "size": list(shape[1:])}
        options = {**recipe.options, **own}
    elif row.kind == "features":
        options = {**recipe.options, **own}
    else:
        options = {"leads": shape[0], **own, **recipe.options}
        if "samples" in arguments(row):
            options.setdefault("samples", shape[1])
    if not recipe.weights:
        return build(row.name, **options), row
    if row.kind == "image" and _published(Path(recipe.weights)):
        from einthoven.models.image.published import pretrained

        model = pretrained(recipe.weights, row.name, **options)
    else:
        config, state = _weights(recipe, row.name)
        model = build(row.name, **{**options, **config, **own})
        _put(model, state, recipe, row.name)
    torch.manual_seed(recipe.seed)
    model.new_head(outputs)
    return model, row


def _put(model: Network, state: dict[str, torch.Tensor], recipe: Recipe, name: str) -> None:
    """Gives the model the file's weights; a head of other labels is left out, an image's positions are fitted to its size."""
    state = model.fitted(state)
    fresh = model.state_dict()
    head = {k for k in state if k.startswith("head.") and (k not in fresh or fresh[k].shape != state[k].shape)}
    taken = {k: v for k, v in state.items() if k not in head}
    lacking = [k for k in fresh if k not in taken and not k.startswith("head.")]
    strange = [k for k in taken if k not in fresh or fresh[k].shape != taken[k].shape]
    if lacking or strange:
        told = f"lacks {', '.join(lacking[:3])}" if lacking else f"has {', '.join(strange[:3])}, which does not fit"
        raise EcgError(f"these are no weights of {name} as it is built here: the file {told}", path=recipe.weights)
    model.load_state_dict({**fresh, **taken})


def _published(path: Path) -> bool:
    """Weights of an image model in the layout of others: neither a Bundle nor a file that `models convert` or a pre-training of
    ours wrote, nor a plain state in our names."""
    from safetensors import safe_open

    from einthoven.models import convert

    if path.is_dir():
        return not (path / "manifest.json").exists()
    if path.suffix != ".safetensors":
        return path.suffix in (".pt", ".pth")
    if convert.is_converted(path):
        return False
    with safe_open(path, "pt") as file:
        names = list(file.keys())
    # By more than the head: timm calls its own so, too.
    return not any(name.startswith(("layers.0.attention.qkv.", "body.")) for name in names)


def settled(words: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's words, with the weights found: the name of a model that is shipped or was pulled becomes its path, and where
    no model is named, it is that of the weights. Raises EcgError for what is not there, and for what cannot be trained."""
    weights = words.get("weights")
    if not isinstance(weights, str):
        return dict(words)
    by_shelf = dict(shelved())
    path = Path(weights)
    if not path.exists() and weights not in by_shelf:
        have = ", ".join(by_shelf) or "none"
        raise EcgError(f"no such weights: neither a file nor a model that is shipped or was pulled ({have})", path=weights)
    path = path if path.exists() else by_shelf[weights]
    made = {**words, "weights": str(path)}
    if path.suffix in (".safetensors", ".onnx") or not (path.suffix == ".zip" or (path / "manifest.json").is_file()):
        return made
    architecture = Bundle.open(path, verify=False).manifest.architecture
    name = MEASURED if "members" in architecture.config else architecture.model
    return made if "model" in words else {**made, "model": name}


MEASURED = "beat-figures"  # what a default model's networks are by themselves, without its trees
FOREIGN = Model("onnx", "", "exchangeai", "a foreign ONNX file", 0)  # no row of the table: its architecture is in the file


def row_of(recipe: Recipe) -> Model:
    """The model's row of the table; FOREIGN where `weights` is an ONNX file, or a Bundle that was made of one."""
    name = recipe.model.replace("_", "-")
    if name == FOREIGN.name or Path(recipe.weights or "").suffix == ".onnx":
        return FOREIGN
    return by_name(name)


def _foreign(recipe: Recipe, leads: int, samples: int, outputs: int) -> SignalModel:
    """The model in a foreign ONNX file, proven against onnxruntime, or in a Bundle that was made of one; with a new head."""
    from einthoven.exchange.onnx_graph import OnnxModel
    from einthoven.exchange.onnx_in import open_onnx

    if not recipe.weights:
        raise EcgError("model onnx needs the file: --weights model.onnx")
    if Path(recipe.weights).suffix == ".onnx":
        model: SignalModel = open_onnx(recipe.weights, leads=leads, samples=samples).model
    else:
        config, state = _weights(recipe, FOREIGN.name)
        model = OnnxModel(**config)
        model.load_state_dict(state)
    torch.manual_seed(recipe.seed)
    model.new_head(outputs)
    return model


def arguments(row: Model) -> set[str]:
    """Names of what the model's constructor takes."""
    from importlib import import_module
    from inspect import signature

    module, _, cls = row.where.partition(":")
    return set(signature(getattr(import_module(f"einthoven.models.{module}"), cls)).parameters)


def _weights(recipe: Recipe, name: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """(the constructor's arguments, the state) that `recipe.weights` holds: a Bundle, or a .safetensors file."""
    from safetensors import SafetensorError
    from safetensors.torch import load as read_state

    path = Path(str(recipe.weights))
    try:
        if path.suffix == ".safetensors":
            return _plain_weights(path, name)
        bundle = Bundle.open(path)
        if name == MEASURED and "members" in bundle.manifest.architecture.config:
            return _networks(bundle)
        if bundle.manifest.architecture.model != name:
            raise EcgError(f"is a {bundle.manifest.architecture.model}, the recipe wants {name}", path=path)
        tuned = bundle.manifest.architecture.tuning or {}
        if tuned.get("method") == "adapter":
            raise EcgError("carries bottleneck adapters: start from what it was made from", path=path)
        return dict(bundle.manifest.architecture.config), read_state(bundle.read("weights.safetensors"))
    except (OSError, SafetensorError) as fault:
        raise EcgError(f"no weights: {fault}", path=path) from fault


def _networks(bundle: Bundle) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """(arguments of BeatFigures, weights by the default model's names): the networks among its members."""
    from safetensors.torch import load as read_state

    wanted = str(VERSION)
    if bundle.manifest.features is None or bundle.manifest.features.version != wanted:
        raise EcgError(f"sees other features than those that are measured here (version {wanted})", path=bundle.path)
    state = {k: v for k, v in read_state(bundle.read("weights.safetensors")).items() if k.startswith("network")}
    found = {key.partition(".")[0] for key in state}
    if not found:
        raise EcgError("has no network among its members to begin with", path=bundle.path)
    return {"members": len(found)}, state


def _plain_weights(path: Path, name: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """A .safetensors: what `models convert` or a pre-training wrote says what it holds; any other is as the recipe says."""
    from safetensors.torch import load_file

    from einthoven.models import convert

    if not convert.is_converted(path):
        return {}, load_file(path)
    state, model, config = convert.contents(path)
    if model != name:
        raise EcgError(f"holds {model}, the recipe wants {name}", path=path)
    return config, state


def tuning_of(recipe: Recipe) -> tune.Tuning:
    """What of the model moves; what the recipe leaves open is tune's default."""
    names = ("pattern", "rank", "alpha", "dropout", "targets", "kind", "bottleneck")
    given = {n: getattr(recipe, n) for n in names if getattr(recipe, n) is not None}
    return tune.Tuning(method=recipe.method, **given)


def model_words(recipe: Recipe) -> str:
    """The model and what of it was trained, in words."""
    what = {
        "full": "all of it trained",
        "head": "head only",
        "partial": f"trained where {recipe.pattern} is in the name",
        "lora": "LoRA",
        "adapter": f"bottleneck adapters ({recipe.kind or 'pfeiffer'})",
    }[recipe.method]
    start = f"from {Path(recipe.weights).name}" if recipe.weights else "from fresh weights"
    return f"{row_of(recipe).name}, {what}, {start}"
