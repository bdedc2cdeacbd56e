"""How large a model is and what it costs: parameters and multiply-accumulates (MACs).

What ECG papers print as "FLOPS" are MACs: one multiplication and one addition are one MAC and two FLOPs. Counted are
convolutions, linear layers and matrix products (attention's, too); what works sample by sample (normalisation, activation,
pooling) is not, as is the custom.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

if TYPE_CHECKING:
    from einthoven.models.signal.cardx import CardX


def parameters(model: nn.Module, *, trainable: bool = False) -> int:
    """How many numbers are learned; shared ones once. `trainable`: only those that the optimiser may move."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable)


def macs(model: nn.Module, *inputs: Tensor) -> int:
    """Multiply-accumulates of one forward in eval. Give one ECG, (1, L, T), for the cost of one."""
    was = model.training
    # torch counts no fused attention on a CPU: the plain kernel is matrix products, which it does.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as flops:
        model.eval()(*inputs)
    model.train(was)
    return int(flops.get_total_flops()) // 2


def largest_macs(model: CardX, signal: Tensor) -> int:
    """MACs of CardX for one ECG (1, L, T) that its router sends to the dearest experts: the paper's "largest activation"."""
    experts = sorted(macs(expert, signal) for expert in model.experts)
    rest = macs(model.router, signal) + sum(p.numel() for n, p in model.head.named_parameters() if n.endswith("weight"))
    return int(rest + sum(experts[-model.chosen :]))
