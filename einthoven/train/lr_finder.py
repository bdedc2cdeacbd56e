"""The learning-rate finder: a short run with rising rates, after which the network is exactly what it was before.

As ExChanGeAI does it: AdamW, rates that rise linearly over about 200 steps, batches of a 200th of the records and at least 4,
the loss smoothed exponentially (a new one counts 0.05), an end at 5 times the best; the answer is the rate at which the
smoothed loss falls steepest. Three things are not as there: theirs runs over training and validation records, ours over
training records alone; theirs takes the slope from one step to the next, which on few records is the noise of a batch (mostly
the first, at the lowest rate), ours over a tenth of the steps; and where the loss never falls theirs answers with the
highest rate, ours with the lowest, and says so.

Smith, Cyclical learning rates for training neural networks, WACV 2017.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

STEPS, SMOOTH, DIVERGED = 200, 0.05, 5.0
REACH = 20  # the slope at a step is that between the steps a 20th of all before and behind it


@dataclass(frozen=True)
class Found:
    """`rate`, the answer; `rates` tried, smoothed `losses` at them; `fell` whether the loss fell at all."""

    rate: float
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    fell: bool


def find_rate(
    net: nn.Module,
    loss_of: Callable[[int], Tensor],
    *,
    low: float = 1e-4,
    high: float = 1e-2,
    steps: int = STEPS,
    weight_decay: float = 0.01,
) -> Found:
    """A learning rate for `net`.

    Args:
        loss_of: step -> mean loss of that step's batch, with its graph.
        low, high: the first and the last rate.
    """
    parameters = [p for p in net.parameters() if p.requires_grad]
    rates: list[float] = []
    losses: list[float] = []
    with unchanged(net):
        optimizer = torch.optim.AdamW(parameters, lr=low, weight_decay=weight_decay)
        for step in range(steps):
            rate = low + (high - low) * step / max(steps - 1, 1)
            for group in optimizer.param_groups:
                group["lr"] = rate * group.get("share", 1.0)
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(step)
            now = float(loss.detach())
            smooth = now if not losses else SMOOTH * now + (1 - SMOOTH) * losses[-1]
            if not math.isfinite(smooth) or (losses and smooth > DIVERGED * min(losses)):
                break
            rates.append(rate)
            losses.append(smooth)
            loss.backward()
            optimizer.step()
    if len(losses) < 2:
        return Found(low, tuple(rates), tuple(losses), False)
    reach = max(1, min(steps // REACH, (len(losses) - 1) // 2))
    slope = np.array(losses[2 * reach :]) - np.array(losses[: -2 * reach])
    steepest = int(np.argmin(slope)) if len(slope) else 0
    fell = bool(len(slope) and slope[steepest] < 0)
    return Found(rates[steepest + reach] if fell else low, tuple(rates), tuple(losses), fell)


@contextmanager
def unchanged(net: nn.Module) -> Iterator[None]:
    """Whatever happens inside: parameters, buffers (also those that are not saved), modes and random states are put back."""
    kept = {name: t.detach().clone() for name, t in (*net.named_parameters(), *net.named_buffers())}
    modes = [(module, module.training) for module in net.modules()]
    devices = sorted({t.device.index or 0 for t in kept.values() if t.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            with torch.no_grad():
                for name, t in (*net.named_parameters(), *net.named_buffers()):
                    t.copy_(kept[name])
            for parameter in net.parameters():
                parameter.grad = None
            for module, mode in modes:
                module.training = mode
