"""One network, one input, one method: the map of evidence over the input's places. Needs torch.

L leads, T samples, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from einthoven.explain import fullgrad, gradients
from einthoven.explain.explanation import Doubles, heat_of
from einthoven.explain.rollout import rollout
from einthoven.record import EcgError


@dataclass(frozen=True)
class Evidence:
    """`values` (L, T) or (H, W). `per_lead`, `signed`, `facts`, `warnings` as in Explanation. `even`: the values are a share of
    something that is everywhere, and only what is above the mean says anything."""

    values: Doubles
    per_lead: bool = True
    signed: bool = True
    facts: dict[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    even: bool = False

    def heat(self, fs: float) -> Doubles:
        """Of a signal (L, T), as it is drawn: heat_of; where the method is `even`, what is above the mean, in full colour from
        twice the mean on."""
        return np.minimum(self.over_mean(), 1.0) if self.even else heat_of(self.values, fs)

    def over_mean(self) -> Doubles:
        """What is above the mean, in means."""
        made: Doubles = np.clip(self.values / max(float(self.values.mean()), 1e-12) - 1, 0, None)
        return made


def evidence(net: nn.Module, x: Tensor, score: Callable[[Tensor], Tensor], method: str) -> Evidence:
    """x (1, L, T) or (1, 3, H, W). Raises EcgError where the method cannot be applied to this network."""
    if method not in _HOW:
        raise EcgError(f"no method {method} by a network's gradients (there are: {', '.join(_HOW)})")
    return _HOW[method](net, x, score)


def _gradient(net: nn.Module, x: Tensor, score: gradients.Score) -> Evidence:
    return Evidence(_places(gradients.gradient(net, x, score)))


def _gradient_x_input(net: nn.Module, x: Tensor, score: gradients.Score) -> Evidence:
    return Evidence(_places(gradients.gradient_x_input(net, x, score)))


def _smoothgrad(net: nn.Module, x: Tensor, score: gradients.Score) -> Evidence:
    return Evidence(_places(gradients.smoothgrad(net, x, score)))


def _integrated(net: nn.Module, x: Tensor, score: gradients.Score) -> Evidence:
    """From the flat line; of an image from the picture all of one colour, its paper's (the most frequent one)."""
    baseline = None
    if x.ndim == 4:
        baseline = torch.stack([channel.flatten().mode().values for channel in x[0]]).view(1, -1, 1, 1).expand_as(x)
    made = gradients.integrated_gradients(net, x, score, baseline=baseline)
    facts = {"difference to nothing": made.difference, "gap": made.gap, "steps": float(made.steps)}
    told = f"integrated gradients miss {made.gap:.1%} of the score: the model is not smooth from nothing to this ECG"
    return Evidence(_places(made.values), facts=facts, warnings=(told,) if made.gap > 0.01 else ())


def _fullgrad(net: nn.Module, x: Tensor, score: gradients.Score) -> Evidence:
    parts = fullgrad.fullgrad(net, x, score)
    own = float(parts.input.double().sum())
    return Evidence(fullgrad.place_map(parts).numpy(), facts={"of the input": own, "of biases": parts.total - own})


def _gradcam(net: nn.Module, x: Tensor, score: gradients.Score) -> Evidence:
    return Evidence(_enlarged(gradients.gradcam(net, x, score), x), per_lead=x.ndim == 4, signed=False)


def _rollout(net: nn.Module, x: Tensor, score: gradients.Score) -> Evidence:
    with torch.no_grad():
        shown = net(x).maps
    positions = tuple(shown[-1].shape[2:])
    seen = rollout(net, x, score)
    extra = len(seen) - torch.Size(positions).numel()
    if extra > 0:
        seen = rollout(net, x, score, first=extra)
    told: tuple[str, ...] = ()
    if extra < 0 or type(net).__name__ == "CardX":
        told = ("attention is only in a part of this model; the rest of it is not in this map",)
    small = seen.reshape(positions) if extra >= 0 else seen
    return Evidence(_enlarged(small, x), per_lead=x.ndim == 4, signed=False, warnings=told, even=True)


_HOW: dict[str, Callable[[nn.Module, Tensor, gradients.Score], Evidence]] = {
    "integrated-gradients": _integrated,
    "gradient": _gradient,
    "gradient-x-input": _gradient_x_input,
    "smoothgrad": _smoothgrad,
    "fullgrad": _fullgrad,
    "gradcam": _gradcam,
    "rollout": _rollout,
}


def _places(values: Tensor) -> Doubles:
    """(1, L, T) -> (L, T); (1, 3, H, W) -> (H, W), channels summed."""
    made: Doubles = (values[0] if values.ndim == 3 else values[0].sum(0)).double().numpy()
    return made


def _enlarged(values: Tensor, x: Tensor) -> Doubles:
    """Positions (n,) or (h, w) -> the input's places, straight lines between their middles; of a signal all leads alike."""
    small = values.double()
    if x.ndim == 3:
        row = functional.interpolate(small.view(1, 1, -1), size=x.shape[2], mode="linear")[0, 0]
        made: Doubles = row.expand(x.shape[1], -1).numpy().copy()
        return made
    large: Doubles = functional.interpolate(small[None, None], size=tuple(x.shape[2:]), mode="bilinear")[0, 0].numpy()
    return large
