"""`apply` makes exactly what a `Tuning` asks for trainable, and `Trainable` says what that is before the first step.

Frozen is frozen: a BatchNorm whose own parameters do not train keeps its statistics, too (it stays in evaluation mode when the
model is put into training mode), and with the head alone the whole backbone does, so that its output can be computed once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from einthoven.record import EcgError
from einthoven.represent.features import NAMES
from einthoven.tune.adapter import adapters, add_adapters
from einthoven.tune.lora import adapted, add_lora, merge_lora
from einthoven.tune.tuning import Tuning

if TYPE_CHECKING:
    from einthoven.models.network import Network
    from einthoven.models.table import Model


@dataclass(frozen=True)
class Part:
    """A piece of the model: how many parameters it has, and how many of them train."""

    name: str
    parameters: int
    trainable: int


@dataclass(frozen=True)
class Trainable:
    """What trains. `parts`: the model's children, and what tuning added ("LoRA", "adapters") apart from them; `left_out`: what
    was asked for and cannot be done, and why."""

    method: str
    parts: tuple[Part, ...]
    left_out: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        return sum(part.parameters for part in self.parts)

    @property
    def trainable(self) -> int:
        return sum(part.trainable for part in self.parts)

    @property
    def share(self) -> float:
        """Trainable of all, in [0, 1]; what was added counts in both."""
        return self.trainable / self.parameters

    def text(self) -> str:
        """A table for eyes."""
        rows = [("part", "parameters", "trainable", "share")]
        for part in (*self.parts, Part(f"all ({self.method})", self.parameters, self.trainable)):
            share = 100 * part.trainable / part.parameters if part.parameters else 0.0
            rows.append((part.name, f"{part.parameters:,}", f"{part.trainable:,}", f"{share:.2f} %"))
        wide = [max(len(row[i]) for row in rows) for i in range(4)]
        lines = ["  ".join([row[0].ljust(wide[0]), *(cell.rjust(w) for cell, w in zip(row[1:], wide[1:]))]) for row in rows]
        return "\n".join([*lines, *(f"left out: {reason}" for reason in self.left_out)])

    def to_dict(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "parts": [{"name": p.name, "parameters": p.parameters, "trainable": p.trainable} for p in self.parts],
            "parameters": self.parameters,
            "trainable": self.trainable,
            "left_out": list(self.left_out),
        }


def apply(model: Network, tuning: Tuning, row: Model | None = None) -> Trainable:
    """Freezes and unfreezes parameters of `model`, and adds LoRA or adapters to it, in place.

    Args:
        model: with the head it will be trained with; not tuned before (merge it first).
        row: of the table of models; says where LoRA and adapters go. None: LoRA on every Linear and dense Conv1d.

    Raises EcgError where nothing beside the head matches what was asked for.
    """
    if adapted(model) or adapters(model):
        raise EcgError("this model carries LoRA or adapters already: merge it, or build it anew")
    model.still = frozenset()
    model.requires_grad_(tuning.method == "full")
    left_out: list[str] = []
    if tuning.method == "partial":
        found = [p for name, p in model.named_parameters() if re.search(tuning.pattern, name)]
        if not found:
            raise EcgError(f"no parameter's name holds {tuning.pattern}")
        for parameter in found:
            parameter.requires_grad_(True)
    elif tuning.method == "lora":
        targets = tuning.targets or (row.adaptable if row else ".*")
        names, left_out = add_lora(model, model.head, targets, tuning)
        if not names:
            raise EcgError(f"LoRA has nothing to adapt: {'; '.join(left_out) or f'no module is named {targets}'}")
    elif tuning.method == "adapter":
        _add_adapters(model, tuning, row)
    model.head.requires_grad_(True)
    model.still = frozenset(_still(model, tuning))
    model.train(model.training)
    return Trainable(tuning.method, tuple(_parts(model)), tuple(left_out))


def _add_adapters(model: Network, tuning: Tuning, row: Model | None) -> None:
    places = [p for p in ((row.blocks, row.attention) if row else ()) if p]
    if not row or not row.blocks:
        raise EcgError("it is not known where adapters go in this model (blocks of its row in the table of models): use LoRA")
    if tuning.kind == "pfeiffer":
        places = [row.blocks]
    first = next(p for p in model.parameters() if p.is_floating_point())
    config = model.config
    if getattr(row, "kind", "signal") == "image":
        size = config["size"]
        shape: tuple[int, ...] = (config["channels"], *((size, size) if isinstance(size, int) else size))
    elif getattr(row, "kind", "signal") == "features":
        shape = (len(NAMES),)
    else:
        shape = (config["leads"], config.get("samples") or row.tiny_samples)
    probe = torch.zeros(2, *shape, device=first.device, dtype=first.dtype)
    if not add_adapters(model, model.head, "|".join(f"(?:{p})" for p in places), tuning, probe):
        raise EcgError(f"adapters have no place: no module is named {' or '.join(places)}")


def _still(model: Network, tuning: Tuning) -> Iterator[str]:
    """Modules that stay in evaluation mode: with the head alone all that is not head; else every norm that keeps statistics
    and has no parameter that trains."""
    head = set(model.head.modules())
    for name, module in model.named_modules():
        if module in head or tuning.method == "full":
            continue
        frozen_norm = isinstance(module, _NormBase) and not any(p.requires_grad for p in module.parameters())
        if tuning.method == "head" or frozen_norm:
            yield name


def _parts(model: nn.Module) -> Iterator[Part]:
    """Children of the model, its own parameters, and what was added; each parameter once."""
    count: dict[str, list[int]] = {}
    for name, parameter in model.named_parameters():
        part = added_to(name)[1] or name.partition(".")[0]
        both = count.setdefault(part, [0, 0])
        both[0] += parameter.numel()
        both[1] += parameter.numel() if parameter.requires_grad else 0
    order = sorted(count, key=lambda part: ("LoRA", "adapters").index(part) if part in ("LoRA", "adapters") else -1)
    return (Part(part, *count[part]) for part in order)


def added_to(name: str) -> tuple[str, str]:
    """Of a parameter's name: the module it belongs to, and "LoRA" or "adapters" where tuning added it, else ""."""
    parts = name.split(".")
    for word, what in (("lora_A", "LoRA"), ("lora_B", "LoRA"), ("adapter", "adapters")):
        if word in parts[:-1]:
            return ".".join(parts[: parts.index(word)]), what
    return name.rpartition(".")[0], ""


def check_gradients(model: nn.Module) -> tuple[str, ...]:
    """To be called once after the first backward pass: does all that was to be trained get a gradient?

    B of LoRA, and `up` of an adapter, are zero at the start, so that the gradient of A and `down` is exactly zero then; that
    is no fault, and neither is an exact zero elsewhere as long as not all are (a branch behind a scale that starts at zero,
    as in XResNet). No gradient at all is one: the parameter does not belong to what was computed.

    Returns: names of the modules whose gradients are all exactly zero (for the log; usually none).
    Raises EcgError where a trainable parameter has no gradient, or a gradient is not finite, or where the head's, or all of
    what was added, are exactly zero.
    """
    none, wild, size = gradients(model)
    if none:
        raise EcgError(f"no gradient reaches {some(none)}: it was to be trained and would not be")
    if wild:
        raise EcgError(f"the gradient is not finite in {some(wild)}")
    if not size:
        raise EcgError("nothing is trainable")
    for what, of in (("LoRA", "LoRA"), ("adapters", "the adapters")):
        added = [largest for (_, kind), largest in size.items() if kind == what]
        if added and not any(added):
            raise EcgError(f"every gradient of {of} is exactly zero: what they change does not reach the loss")
    if not any(largest for (_, kind), largest in size.items() if not kind):
        raise EcgError("every gradient of the head is exactly zero")
    return tuple(module for (module, _), largest in size.items() if not largest)


def gradients(model: nn.Module) -> tuple[list[str], list[str], dict[tuple[str, str], float]]:
    """Of what is trainable, after a backward pass: parameters without a gradient, those whose gradient is not finite, and the
    largest gradient of each (module, what was added to it)."""
    none, wild, size = [], [], dict[tuple[str, str], float]()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if parameter.grad is None:
            none.append(name)
            continue
        largest = float(parameter.grad.abs().max()) if parameter.numel() else 0.0
        if not largest < float("inf"):
            wild.append(name)
        group = added_to(name)
        size[group] = max(size.get(group, 0.0), largest)
    return none, wild, size


def some(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def merge(model: Network) -> Network:
    """Folds LoRA into the weights (float32) and removes it; everything is trainable again. Adapters stay: they are no weights
    of what they stand behind. -> the same model."""
    merge_lora(model)
    model.still = frozenset()
    model.requires_grad_(True)
    return model.train(model.training)


def adapter_state(model: Network) -> dict[str, Tensor]:
    """All that training changes: trainable parameters, and the statistics of the norms that are not frozen. On the CPU."""
    state = {name: p for name, p in model.named_parameters() if p.requires_grad}
    for name, module in model.named_modules():
        if isinstance(module, _NormBase) and name not in model.still:
            state |= {f"{name}.{key}" if name else key: buffer for key, buffer in module.named_buffers(recurse=False)}
    return {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}


@torch.no_grad()  # type: ignore[untyped-decorator]
def load_adapter(model: Network, state: Mapping[str, Tensor]) -> None:
    """Puts what `adapter_state` gave into a model that was tuned (`apply`) in the same way.

    Raises EcgError where names or shapes differ.
    """
    wanted = adapter_state(model)
    missing, unknown = sorted(set(wanted) - set(state)), sorted(set(state) - set(wanted))
    if missing or unknown:
        faults = [f"lacks {some(missing)}"] if missing else []
        faults += [f"has {some(unknown)}, which this model has not"] if unknown else []
        raise EcgError(f"the adapter {' and '.join(faults)}")
    places = dict(model.named_parameters()) | dict(model.named_buffers())
    for name, tensor in state.items():
        if tensor.shape != places[name].shape:
            raise EcgError(f"the adapter is {list(tensor.shape)}, the model {list(places[name].shape)}", where=name)
        places[name].copy_(tensor)
