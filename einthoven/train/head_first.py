"""The head before the rest: a fresh head is put where logistic regression on the network's frozen features puts it.

A network that is trained all at once with a fresh head first moves its layers towards what a head of noise asks for, and with
few ECGs there is no time to come back (Kumar A et al. Fine-tuning can distort pretrained features and underperform
out-of-distribution. ICLR 2022: linear probing, then fine-tuning). The features are made once, so this costs one pass.

N records, D features, K outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from einthoven.models.network import Network
from einthoven.record import EcgError
from einthoven.train.loop import Examples

Rows = NDArray[np.int64]
PENALTIES = (30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03)  # of the squared weights, beside a record's mean loss


def head_first(
    net: Network, examples: Examples, train: Rows, validation: Rows, accelerator: Accelerator, *, batch: int,
    penalties: Sequence[float] = PENALTIES,
) -> tuple[float, float]:  # fmt: skip
    """Sets `net.head` (nn.Linear, K sigmoids; NaN in y is not asked for) and returns the penalty that has the lowest loss on
    `validation`, and that loss. Raises EcgError for a head that is no linear layer."""
    if not isinstance(getattr(net, "head", None), nn.Linear):
        raise EcgError(f"the head of {type(net).__name__} is no linear layer")
    bare = net.to(accelerator.device)
    x, held = (_features(bare, examples, rows, accelerator, batch) for rows in (train, validation))
    mean, std = x.mean(0), x.std(0).clamp_min(1e-6)
    y, known = (torch.from_numpy(examples.y[rows]).to(x) for rows in (train, validation))
    best: tuple[float, float, Tensor, Tensor] | None = None
    for penalty in penalties:
        weight, bias = _regression((x - mean) / std, y, penalty)
        loss = float(_loss((held - mean) / std @ weight.T + bias, known))
        if best is None or loss < best[1]:
            best = penalty, loss, weight, bias
    assert best is not None
    penalty, loss, weight, bias = best
    with torch.no_grad():  # the scale of the features goes into the weights
        net.head.weight.copy_(weight / std)
        net.head.bias.copy_(bias - (weight / std) @ mean)
    return penalty, loss


@torch.no_grad()  # type: ignore[untyped-decorator]
def _features(net: Network, examples: Examples, rows: Rows, accelerator: Accelerator, batch: int) -> Tensor:
    """(N, D) what the head sees."""
    net.eval()
    made = []
    with accelerator.autocast():
        for first in range(0, len(rows), batch):
            x = torch.from_numpy(examples.inputs(rows[first : first + batch])).to(accelerator.device)
            made.append(net.backbone(x).head_input.float())
    return torch.cat(made)


def _regression(x: Tensor, y: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """(K, D) weights and (K,) biases of least loss + penalty / 2 |weights|^2, which is convex: there is one answer."""
    weight = torch.zeros(y.shape[1], x.shape[1], device=x.device, requires_grad=True)
    bias = torch.zeros(y.shape[1], device=x.device, requires_grad=True)
    solver = torch.optim.LBFGS([weight, bias], max_iter=200, tolerance_grad=1e-6, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        solver.zero_grad()
        loss = _loss(x @ weight.T + bias, y) * y.shape[1] + penalty / 2 * weight.square().sum()
        loss.backward()
        return loss

    solver.step(closure)
    return weight.detach(), bias.detach()


def _loss(logits: Tensor, y: Tensor) -> Tensor:
    known = torch.isfinite(y)
    return functional.binary_cross_entropy_with_logits(logits[known], y[known])
