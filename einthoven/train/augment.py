"""What training records go through: mixing, shifting, losing leads, noise. L leads, T samples, B batch, K outputs.

What happens to a record is a function of the seed, the epoch and the record alone, not of the process, the worker or the
moment at which it is drawn: a run that was cut off goes on exactly as it would have, on any number of processes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Augment:
    """As in Recipe: `mixup` alpha, `crop` and `lead_dropout` shares, `noise` in standard deviations of the record."""

    mixup: float = 0.0
    crop: float = 0.0
    lead_dropout: float = 0.0
    noise: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.mixup or self.crop or self.lead_dropout or self.noise)

    def record(self, x: F32, rng: np.random.Generator) -> F32:
        """(L, T) -> (L, T), shifted, leads lost, noise added; what is moved in is zero."""
        out = np.array(x, np.float32)
        if self.crop:
            reach = int(self.crop * x.shape[-1])
            shift = int(rng.integers(-reach, reach + 1))
            out = np.roll(out, shift, axis=-1)
            if shift > 0:
                out[..., :shift] = 0
            elif shift < 0:
                out[..., shift:] = 0
        if self.noise:
            out += rng.standard_normal(out.shape, np.float32) * np.float32(self.noise * rng.random() * out.std())
        if self.lead_dropout:
            lost = rng.random(len(out)) < self.lead_dropout
            lost[rng.integers(len(out))] = False  # an ECG without any lead teaches nothing
            out[lost] = 0
        return out

    def share(self, rng: np.random.Generator) -> float:
        """How much of the first of two mixed records remains, at least a half (Zhang et al. 2018, mixup)."""
        share = float(rng.beta(self.mixup, self.mixup))
        return max(share, 1 - share)
