"""LoRA on Linear, Conv1d and Conv2d: a frozen weight W becomes W + s B A, and can be folded back into W.

    y = W x + s B(A(dropout(x)))    A starts as a Linear does, B at zero: the first output is the base model's

An adapted module *is* still a Linear or a convolution, under its old name, with its old weight: nobody who reads its `weight`
or `out_channels` notices, and names in a state dict stay. A convolution's A has the kernel, stride, dilation and padding of the
base, its B is 1x1, so that B A is again a kernel of the base's shape. GPT-2's layers keep a Linear's weight transposed
(transformers' "Conv1D"): their B A is transposed, too. In a convolution of g groups A and B are grouped alike
(exact, B A of each group), which needs a rank divisible by g.

Hu et al. LoRA: low-rank adaptation of large language models. arXiv 2106.09685.
Layout of the saved file: peft's (tune/saved.py).
"""

from __future__ import annotations

import math
import re

import torch
from torch import Tensor, nn

from einthoven.tune.tuning import Tuning

Part = tuple[str, nn.Module]


class Lora(nn.Module):  # type: ignore[misc]
    """What both kinds share. Never made by itself."""

    weight: nn.Parameter
    lora_A: nn.Linear | nn.Conv1d | nn.Conv2d
    lora_B: nn.Linear | nn.Conv1d | nn.Conv2d
    groups: int
    scale: float

    def update(self, x: Tensor) -> Tensor:
        """x -> s B(A(dropout(x))), computed in the precision of A."""
        return self.scale * self.lora_B(self.lora_A(self.lora_dropout(x.to(self.lora_A.weight.dtype))))

    def delta(self) -> Tensor:
        """s B A in the shape of `weight`, float32."""
        a, b, g = self.lora_A.weight.float(), self.lora_B.weight.float(), getattr(self, "groups", 1)
        product = torch.bmm(b.reshape(g, b.shape[0] // g, -1), a.reshape(g, a.shape[0] // g, -1))
        return self.scale * product.reshape(self.weight.shape)

    def start(self, tuning: Tuning) -> None:
        self.scale = tuning.scale
        self.lora_dropout = nn.Dropout(tuning.dropout)
        nn.init.kaiming_uniform_(self.lora_A.weight, a=math.sqrt(5))
        nn.init.zeros_(self.lora_B.weight)


class LoraLinear(Lora, nn.Linear):  # type: ignore[misc]
    def __init__(self, base: nn.Linear, tuning: Tuning) -> None:
        nn.Linear.__init__(self, base.in_features, base.out_features, base.bias is not None, device="meta")
        self.weight, self.bias = base.weight, base.bias
        device = base.weight.device
        self.lora_A = nn.Linear(base.in_features, tuning.rank, bias=False, device=device)
        self.lora_B = nn.Linear(tuning.rank, base.out_features, bias=False, device=device)
        self.start(tuning)

    def forward(self, x: Tensor) -> Tensor:
        y = nn.Linear.forward(self, x)
        return y + self.update(x).to(y.dtype)


class LoraTransposed(Lora):
    """y = x W + b with W (in, out), as transformers' Conv1D is, which is no convolution."""

    def __init__(self, base: nn.Module, tuning: Tuning) -> None:
        nn.Module.__init__(self)
        self.weight, self.bias = base.weight, base.bias
        self.nx, self.nf = base.weight.shape
        device = base.weight.device
        self.lora_A = nn.Linear(self.nx, tuning.rank, bias=False, device=device)
        self.lora_B = nn.Linear(tuning.rank, self.nf, bias=False, device=device)
        self.start(tuning)

    def forward(self, x: Tensor) -> Tensor:
        y = x @ self.weight + self.bias
        return y + self.update(x).to(y.dtype)

    def delta(self) -> Tensor:
        return self.scale * (self.lora_B.weight.float() @ self.lora_A.weight.float()).T


class LoraConv1d(Lora, nn.Conv1d):  # type: ignore[misc]
    def __init__(self, base: nn.Conv1d, tuning: Tuning) -> None:
        _convolve(self, nn.Conv1d, base, tuning)

    def forward(self, x: Tensor) -> Tensor:
        y = nn.Conv1d.forward(self, x)
        return y + self.update(x).to(y.dtype)


class LoraConv2d(Lora, nn.Conv2d):  # type: ignore[misc]
    def __init__(self, base: nn.Conv2d, tuning: Tuning) -> None:
        _convolve(self, nn.Conv2d, base, tuning)

    def forward(self, x: Tensor) -> Tensor:
        y = nn.Conv2d.forward(self, x)
        return y + self.update(x).to(y.dtype)


def _convolve(
    self: LoraConv1d | LoraConv2d, kind: type[nn.Conv1d | nn.Conv2d], base: nn.Conv1d | nn.Conv2d, tuning: Tuning
) -> None:
    """The constructor of both."""
    how = (base.kernel_size, base.stride, base.padding, base.dilation, base.groups)
    c, d, r, mode = base.in_channels, base.out_channels, tuning.rank, base.padding_mode
    kind.__init__(self, c, d, *how, base.bias is not None, mode, device="meta")
    self.weight, self.bias = base.weight, base.bias
    device = base.weight.device
    self.lora_A = kind(c, r, *how, False, mode, device=device)
    self.lora_B = kind(r, d, 1, groups=base.groups, bias=False, device=device)
    self.start(tuning)


_ADAPTED: dict[type[nn.Module], type[LoraLinear | LoraConv1d | LoraConv2d | LoraTransposed]] = {
    nn.Linear: LoraLinear,
    nn.Conv1d: LoraConv1d,
    nn.Conv2d: LoraConv2d,
}


def is_transposed(module: nn.Module) -> bool:
    """Is it transformers' Conv1D? Told by its name, so that transformers is not imported for it."""
    return type(module).__name__ == "Conv1D" and type(module).__module__ == "transformers.pytorch_utils"


def adapter_of(module: nn.Module) -> type[LoraLinear | LoraConv1d | LoraConv2d | LoraTransposed] | None:
    """The class that adapts such a module; None where there is none."""
    return LoraTransposed if is_transposed(module) else _ADAPTED.get(type(module))


def why_not(module: nn.Module, parent: nn.Module, rank: int) -> str:
    """Why a module that carries a weight cannot be adapted exactly; empty if it can."""
    if isinstance(parent, nn.MultiheadAttention):
        return "nn.MultiheadAttention reads its weight without calling it"
    if adapter_of(module) is None:
        return f"LoRA is for Linear, Conv1d and Conv2d, not {type(module).__name__}"
    if hasattr(module, "parametrizations"):
        return "its weight is computed (weight norm)"
    groups = getattr(module, "groups", 1)
    if rank % groups:
        return f"{groups} groups do not divide rank {rank}"
    return ""


def add_lora(model: nn.Module, head: nn.Module, targets: str, tuning: Tuning) -> tuple[list[str], list[str]]:
    """Replaces the modules that `targets` names by adapted ones. -> their names; what it named but was left out, and why."""
    in_head = set(head.modules())
    chosen = [
        (name, module)
        for name, module in model.named_modules(remove_duplicate=False)
        if name and module not in in_head and re.fullmatch(targets, name) and carries_weight(module)
    ]
    names, left_out, made = [], [], {}
    for name, module in chosen:
        place, _, last = name.rpartition(".")
        parent = model.get_submodule(place)
        reason = why_not(module, parent, tuning.rank)
        if reason:
            left_out.append(f"{name}: {reason}")
            continue
        if module not in made:  # one module under two names stays one
            kind = adapter_of(module)
            assert kind is not None  # why_not has looked
            made[module] = kind(module, tuning)
            made[module].train(module.training)
            names.append(name)
        setattr(parent, last, made[module])
    if names and any(isinstance(module, nn.TransformerEncoderLayer) for module in model.modules()):
        torch.backends.mha.set_fastpath_enabled(False)  # the fused path reads weights only, and would drop B A in silence
    return names, left_out


def carries_weight(module: nn.Module) -> bool:
    """Of its own, of two dimensions or more: norms and containers do not."""
    weight = getattr(module, "weight", None)
    return isinstance(weight, Tensor) and weight.ndim >= 2 and not isinstance(module, nn.Embedding)


def adapted(model: nn.Module) -> list[tuple[str, Lora]]:
    return [(name, module) for name, module in model.named_modules() if isinstance(module, Lora)]


@torch.no_grad()  # type: ignore[untyped-decorator]
def merge_lora(model: nn.Module) -> None:
    """Folds every s B A into its weight (sum in float32) and puts plain modules back."""
    made: dict[nn.Module, nn.Module] = {}
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if not isinstance(module, Lora):
            continue
        if module not in made:
            module.weight.copy_(module.weight.float() + module.delta())
            made[module] = plain(module)
        place, _, last = name.rpartition(".")
        setattr(model.get_submodule(place), last, made[module])


def plain(module: Lora) -> nn.Module:
    """The base module, with the weight as it now is."""
    bias = module.bias is not None
    base: nn.Module
    if isinstance(module, LoraTransposed):
        from transformers.pytorch_utils import Conv1D

        base = Conv1D(module.nf, module.nx)
    elif isinstance(module, LoraLinear):
        base = nn.Linear(module.in_features, module.out_features, bias, device="meta")
    else:
        how = (module.kernel_size, module.stride, module.padding, module.dilation, module.groups)
        kind = nn.Conv1d if isinstance(module, LoraConv1d) else nn.Conv2d
        base = kind(module.in_channels, module.out_channels, *how, bias, module.padding_mode, device="meta")
    base.weight, base.bias = module.weight, module.bias
    return base.train(module.training)
