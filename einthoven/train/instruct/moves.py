"""What of a language model trains: LoRA on its linear layers, all of it, its connectors, or parts of Llama 3.2 Vision.

The paper's words for its partial tuning, "projection layer and cross-attention layers", allow two readings; both are here:
`projector+attention` (the attention modules of those layers: 3.4 % of 11B) and `projector+layers` (whole layers: 16.7 %).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from einthoven.models.language.elm import Elm
from einthoven.models.language.look import SymbolLook
from einthoven.models.language.speaker import Speaker
from einthoven.record import EcgError
from einthoven.train.instruct.recipe import InstructRecipe
from einthoven.tune.lora import adapted, add_lora, is_transposed
from einthoven.tune.trainable import Part, Trainable, added_to
from einthoven.tune.tuning import Tuning

_PROJECTOR = r"lm\.model\.multi_modal_projector\."
_ATTENTION = r"lm\.model\.language_model\.layers\.\d+\.cross_attn[._]"  # with the layers' gates


def tuning_of(recipe: InstructRecipe) -> Tuning:
    """LoRA's numbers, as tune/ and peft have them."""
    return Tuning("lora", rank=recipe.rank, alpha=recipe.alpha, dropout=recipe.dropout, targets=recipe.targets or "")


def apply(model: Speaker, recipe: InstructRecipe) -> Trainable:
    """Makes trainable what the recipe asks for, and adds LoRA, in place. Raises EcgError where nothing of that is there."""
    if adapted(model):
        raise EcgError("this model carries LoRA already: merge it, or build it anew")
    model.requires_grad_(recipe.method == "full")
    left_out: list[str] = []
    if recipe.method == "lora":
        left_out = lora(model.lm, tuning_of(recipe))
    elif recipe.method.startswith("projector+"):
        _partial(model, recipe.method)
    if isinstance(model, Elm):
        _own(model, recipe)
    if recipe.gates:
        found = [p for name, p in model.named_parameters() if re.search(r"cross_attn_(attn|mlp)_gate$|gate_(attn|ffn)$", name)]
        if not found:
            raise EcgError(f"{recipe.family} has no gates to train", where="recipe: gates")
        for parameter in found:
            parameter.requires_grad_(True)
    if not any(p.requires_grad for p in model.parameters()):
        raise EcgError(f"method {recipe.method} trains nothing of {recipe.family}")
    model.still = frozenset(_still(model))
    model.train(model.training)
    return Trainable(recipe.method, tuple(_parts(model)), tuple(left_out))


def lora(lm: Any, tuning: Tuning) -> list[str]:
    """LoRA on every linear layer of a model of transformers but its head (embeddings are no linear layers, the convolution
    that cuts a picture into patches is none), or on those whose name `tuning.targets` matches. -> what was named and cannot
    carry it, and why."""
    head = lm.get_output_embeddings()
    every = [name for name, module in lm.named_modules() if type(module) is nn.Linear or is_transposed(module)]
    targets = tuning.targets or "|".join(map(re.escape, every))
    names, left_out = add_lora(lm, head, targets, tuning)
    if not names:
        raise EcgError(f"LoRA has nothing to adapt: {'; '.join(left_out[:3]) or f'no module is named {tuning.targets}'}")
    return left_out


def _partial(model: Speaker, method: str) -> None:
    layers = cross_layers(model)
    if not layers:
        raise EcgError("this model has no cross-attention layers")
    whole = "|".join(rf"lm\.model\.language_model\.layers\.{k}\." for k in layers)
    pattern = re.compile(f"{_PROJECTOR}|{_ATTENTION if method == 'projector+attention' else whole}")
    for name, parameter in model.named_parameters():
        if pattern.match(name):
            parameter.requires_grad_(True)


def cross_layers(model: Speaker) -> list[int]:
    return list(getattr(model.lm.config.get_text_config(), "cross_attention_layers", None) or [])


def _own(model: Elm, recipe: InstructRecipe) -> None:
    """Connectors always train; encoders unless they are frozen; rows of symbols as the recipe says."""
    model.gain.requires_grad_(True)
    model.missing.requires_grad_(sum(view.tokens != 0 for view in model.views) > 1)
    for view in model.views:
        view.requires_grad_(True)
        if isinstance(view.look, SymbolLook):
            view.rows.requires_grad_(recipe.rows)
        elif view.frozen:
            view.encoder.requires_grad_(False)
    for name, parameter in model.views.named_parameters():
        if name.endswith("net.head.weight") or name.endswith("net.head.bias"):
            parameter.requires_grad_(False)


def _still(model: Speaker) -> Iterator[str]:
    """Norms that keep statistics and have no parameter that trains."""
    for name, module in model.named_modules():
        if isinstance(module, _NormBase) and not any(p.requires_grad for p in module.parameters()):
            yield name


def _parts(model: nn.Module) -> Iterator[Part]:
    """The language model, its vision tower and projector, views, and what was added; each parameter once."""
    count: dict[str, list[int]] = {}
    for name, parameter in model.named_parameters():
        part = added_to(name)[1] or _part(name)
        both = count.setdefault(part, [0, 0])
        both[0] += parameter.numel()
        both[1] += parameter.numel() if parameter.requires_grad else 0
    order = sorted(count, key=lambda part: part == "LoRA")
    return (Part(part, *count[part]) for part in order)


def _part(name: str) -> str:
    if not name.startswith("lm."):
        return name.partition(".")[0]
    for word, what in (("vision_", "vision"), ("visual.", "vision"), ("multi_modal_projector", "projector")):
        if word in name:
            return what
    return "language model"


def trainable_state(model: nn.Module) -> dict[str, Tensor]:
    """All that training changes: parameters that train, and statistics of norms that move. On the CPU."""
    state = {name: p for name, p in model.named_parameters() if p.requires_grad}
    still: frozenset[str] = getattr(model, "still", frozenset())
    for name, module in model.named_modules():
        if isinstance(module, _NormBase) and name not in still and any(p.requires_grad for p in module.parameters()):
            state |= {f"{name}.{key}": buffer for key, buffer in module.named_buffers(recurse=False)}
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}


def put_state(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Back what `trainable_state` gave. Raises EcgError where names or shapes differ."""
    places = dict(model.named_parameters()) | dict(model.named_buffers())
    if strange := sorted(set(state) - set(places)):
        raise EcgError(f"these weights have {strange[0]}, which this model has not")
    for name, tensor in state.items():
        if tensor.shape != places[name].shape:
            raise EcgError(f"these weights are {list(tensor.shape)}, the model {list(places[name].shape)}", where=name)
        places[name].data.copy_(tensor)


def check_gradients(model: nn.Module) -> tuple[str, ...]:
    """After the first backward pass: is there a gradient wherever there should be one? -> modules whose gradients are all zero.

    B of LoRA is zero at the start, so that A's gradient is; all of them at once may not be. Raises EcgError where something
    that was to be trained got no gradient at all, or one that is not finite.
    """
    from einthoven.tune.trainable import gradients, some

    none, wild, size = gradients(model)
    if wild:
        raise EcgError(f"the gradient is not finite in {some(wild)}")
    if none and not size:
        raise EcgError(f"no gradient reaches {some(none)}: it was to be trained and would not be")
    added = [largest for (_, kind), largest in size.items() if kind == "LoRA"]
    if added and not any(added):
        raise EcgError("every gradient of LoRA is exactly zero: what it changes does not reach the loss")
    return tuple(module for (module, _), largest in size.items() if not largest) + tuple(none)
