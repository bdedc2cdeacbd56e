"""Bottleneck adapters: x + up(GELU(down(x))) behind a module, its up projection zero at the start.

`down` and `up` are Linear where features stand last, (B, N, D), and 1x1 convolutions where channels stand second, (B, C, T) or
(B, C, h, w).
2 d b + b + d parameters each, d wide with bottleneck b.
Houlsby et al. 2019 (arXiv 1902.00751); Pfeiffer et al. 2021 (arXiv 2005.00247).

An adapter is a child named `adapter` of the module it stands behind, and runs as its forward hook, so that no name of the
model changes. They cannot be folded into weights: a merged or exported model keeps them.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn

from einthoven.record import EcgError
from einthoven.tune.tuning import Tuning


class Adapter(nn.Module):  # type: ignore[misc]
    """(B, ..., D) or, with `channels`, (B, D, ...) -> the same."""

    def __init__(self, width: int, bottleneck: int, channels: bool, dropout: float, device: torch.device) -> None:
        super().__init__()
        self.down: nn.Module
        self.up: nn.Module
        if channels:
            self.down = nn.Conv1d(width, bottleneck, 1, device=device)
            self.up = nn.Conv1d(bottleneck, width, 1, device=device)
        else:
            self.down = nn.Linear(width, bottleneck, device=device)
            self.up = nn.Linear(bottleneck, width, device=device)
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(2) if x.ndim > 3 and isinstance(self.down, nn.Conv1d) else x  # of an image: place by place
        inside = nn.functional.gelu(self.down(flat.to(self.down.weight.dtype)))
        return x + self.up(self.dropout(inside)).to(x.dtype).reshape(x.shape)


def through_adapter(module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
    """The forward hook."""
    adapted: Tensor = module.adapter(output)
    return adapted


def add_adapters(model: nn.Module, head: nn.Module, places: str, tuning: Tuning, probe: Tensor) -> list[str]:
    """Puts an adapter behind every module that `places` matches. -> their names.

    Args:
        probe: an input that the model takes, a signal (B, L, T) say; one pass of it tells the widths.

    Raises EcgError where a module's output is not one tensor of two or three axes (an image's: four) with channels or features
    that can be told apart.
    """
    in_head = set(head.modules())
    chosen = {n: m for n, m in model.named_modules() if n and m not in in_head and re.fullmatch(places, n)}
    device = next(model.parameters()).device
    for name, (width, channels) in widths(model, chosen, probe).items():
        module = chosen[name]
        module.adapter = Adapter(width, tuning.bottleneck, channels, tuning.dropout, device)
        if not isinstance(module, nn.Sequential):  # a Sequential runs its children, the new one last
            module.register_forward_hook(through_adapter)
    return list(chosen)


@torch.no_grad()  # type: ignore[untyped-decorator]
def widths(model: nn.Module, chosen: dict[str, nn.Module], probe: Tensor) -> dict[str, tuple[int, bool]]:
    """How wide what leaves each module is, and whether its channels stand second (else last)."""
    shapes: dict[nn.Module, torch.Size] = {}
    order: list[nn.Module] = []  # leaves with a weight as they ran

    def note(module: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            shapes[module] = output.shape
            if isinstance(getattr(module, "weight", None), Tensor):
                order.append(module)

    was_training = {module: module.training for module in model.modules()}
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    hooks = [module.register_forward_hook(note) for module in model.modules()]
    try:
        with torch.random.fork_rng(devices=[]):
            model.train()  # in evaluation a mixture of experts runs only some
            model(probe)
    finally:
        for buffer, old in buffers:
            buffer.copy_(old)
        for hook in hooks:
            hook.remove()
        for module, training in was_training.items():
            module.training = training
    return {name: width_of(name, module, shapes, order) for name, module in chosen.items()}


def width_of(name: str, module: nn.Module, shapes: dict[nn.Module, torch.Size], order: list[nn.Module]) -> tuple[int, bool]:
    """The last weight that ran inside tells: channels stand second behind a convolution, features last behind a Linear, unless
    the number of its outputs is the size of the other axis (a squeeze-and-excitation of Linear in a convolutional block)."""
    shape, inside = shapes.get(module), set(module.modules())
    leaf = next((leaf for leaf in reversed(order) if leaf in inside), None)
    if shape is None or leaf is None or len(shape) not in (2, 3, 4):
        fault = f"its output is {list(shape)}" if shape is not None and leaf else "nothing with a weight runs in it"
        raise EcgError(f"no adapter can stand here: {fault}", where=name)
    if len(shape) == 2:  # features alone, without places
        return int(shape[1]), False
    outputs = leaf.out_channels if isinstance(leaf, nn.ConvTranspose1d) else leaf.weight.shape[0]
    if (shape[1] == outputs) != (shape[-1] == outputs):
        channels = bool(shape[1] == outputs)
    elif len(shape) == 4:  # an image's, however its convolutions are written
        channels = True
    else:
        channels = not isinstance(leaf, nn.Linear | nn.LayerNorm | nn.RMSNorm | nn.Embedding)
    return int(shape[1 if channels else -1]), channels


def adapters(model: nn.Module) -> list[tuple[str, Adapter]]:
    return [(name, module) for name, module in model.named_modules() if isinstance(module, Adapter)]
