"""Attention rollout: which tokens reach the output through all layers of attention. Needs torch.

Abnar S, Zuidema W. Quantifying attention flow in transformers. ACL 2020: per layer the mean over heads, half of it replaced by
the identity for the residual, multiplied up through the layers. That knows no label. With a label, each layer's attention is
weighted by its gradient first, and what is negative left out (Chefer H et al. Generic attention-model explainability. ICCV
2021).

H heads, N tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from einthoven.explain.fullgrad import attention_weights
from einthoven.record import EcgError


class _Attentions(TorchFunctionMode):  # type: ignore[misc]
    """Notes the weights (H, N, N) of every self-attention of the forward pass, which runs written out."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Tensor] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name, how = getattr(func, "__name__", ""), dict(kwargs or {})
        if name == "scaled_dot_product_attention":
            q, k, v, *more = args
            mask = more[0] if more else how.get("attn_mask")
            weights = attention_weights(q, k, mask, bool(how.get("is_causal")), how.get("scale"))
            self.found.append(weights)
            return weights @ v
        out = func(*args, **how)
        if name == "softmax" and isinstance(out, Tensor) and out.ndim == 4 and out.shape[-1] == out.shape[-2]:
            self.found.append(out)
        return out


def rollout(net: nn.Module, x: Tensor, score: Callable[[Tensor], Tensor] | None = None, *, first: int = 0) -> Tensor:
    """How much of each token of x (1, ...) reaches the output, (N,), sums to 1.

    Args:
        score: of a label (then weighted by gradients); None: attention alone.
        first: tokens in front that are no places of the input (a class token); where there are any, the output is read from the
            first one, else from the mean over all.

    Raises EcgError for a model without self-attention.
    """
    with torch.enable_grad(), _Attentions() as seen:
        out = net(x.detach().clone().requires_grad_(True))
    layers = [a for a in seen.found if a.shape[0] == 1 and a.shape[-1] == a.shape[-2]]
    if not layers or len({a.shape[-1] for a in layers}) > 1:
        raise EcgError("attention rollout needs a transformer, whose layers all see the same tokens; take another method")
    if score is not None:
        slopes = torch.autograd.grad(score(out.logits).sum(), layers, allow_unused=True)
        layers = [a * (torch.zeros_like(a) if s is None else s).clamp(min=0) for a, s in zip(layers, slopes, strict=True)]
    n = layers[0].shape[-1]
    flow = torch.eye(n, dtype=torch.float64)
    for layer in layers:
        mean = layer.detach()[0].mean(0).double()
        if score is None:
            mixed = 0.5 * mean + 0.5 * torch.eye(n, dtype=torch.float64)
            flow = (mixed / mixed.sum(-1, keepdim=True)) @ flow
        else:
            flow = flow + mean @ flow
    if score is not None:
        flow = flow - torch.eye(n, dtype=torch.float64)  # what the residual alone carries says nothing of the label
    reached: Tensor = flow[0, first:] if first else flow.mean(0)
    total = float(reached.sum())
    return reached / total if total > 0 else reached
