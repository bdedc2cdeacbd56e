"""The learning rate over a run, as pure functions of the step: nothing to save, nothing to restore."""

from __future__ import annotations

import math

from einthoven.record import EcgError


def rate_factor(
    kind: str, step: int, steps: int, epoch: int, *, gamma: float = 0.9, warmup: float = 0.05, initial: float = 1 / 25
) -> float:
    """What the peak learning rate is multiplied by at `step` of `steps` (from 0), in `epoch` (from 0).

    "exponential": gamma ** epoch (ExChanGeAI: 0.9). "onecycle": from `initial` up over the first 30 % and down to
    `initial` / 10,000, both along a cosine (Smith and Topin 2018, with torch's numbers). "cosine": a linear rise over `warmup`,
    then a cosine to 0.
    """
    if kind == "constant":
        return 1.0
    if kind == "exponential":
        return gamma**epoch
    if kind == "onecycle":
        start, peak_at, end = initial, 0.3 * steps - 1, initial / 10_000
        if step <= peak_at:
            return _cosine(start, 1.0, step / peak_at if peak_at > 0 else 1.0)
        return _cosine(1.0, end, (step - peak_at) / max(steps - 1 - peak_at, 1e-9))
    if kind == "cosine":
        rise = warmup * steps
        if step < rise:
            return (step + 1) / (math.floor(rise) + 1)
        return _cosine(1.0, 0.0, (step - rise) / max(steps - rise, 1e-9))
    raise EcgError(f"no schedule {kind} (there are: exponential, onecycle, cosine, constant)")


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(max(share, 0.0), 1.0))) / 2
