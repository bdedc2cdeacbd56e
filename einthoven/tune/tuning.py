"""`Tuning`: what of a model is to be trained. No torch here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from einthoven.record import WrongUse

METHODS = ("full", "head", "partial", "lora", "adapter")
KINDS = ("houlsby", "pfeiffer")


@dataclass(frozen=True)
class Tuning:
    """What is trained. The head always is, since new labels bring a new one; `method` says what else:

    - `full`: everything.
    - `head`: nothing.
    - `partial`: the parameters in whose name `pattern`, a regular expression, is found (`re.search`).
    - `lora`: a low-rank update of frozen weights, W + s B A with A (rank, in) and B (out, rank), B = 0 at the start, on the
      modules whose whole name `targets` matches (default: the model's row in models/table.py). s = alpha / rank, or
      alpha / sqrt(rank) with `rslora`. A fused qkv Linear is one Linear: its q, k and v share one A.
      `dropout` acts on what enters A (in adapters: on what enters up). Hu et al. 2021; rsLoRA: Kalajdzievski 2023.
    - `adapter`: x + up(GELU(down(x))) of width `bottleneck`, up = 0 at the start. `pfeiffer`: one behind every block (in a
      transformer, behind the feed-forward part before its residual; Pfeiffer 2021); `houlsby`: another behind attention
      (Houlsby 2019). A model without attention gets the same from both.

    Raises EcgError for values that make no sense.
    """

    method: str = "full"
    pattern: str = ""
    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    targets: str = ""
    rslora: bool = False
    kind: str = "pfeiffer"
    bottleneck: int = 64

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise WrongUse(f"no tuning method {self.method} (there are: {', '.join(METHODS)})")
        if self.kind not in KINDS:
            raise WrongUse(f"no kind of adapter {self.kind} (there are: {', '.join(KINDS)})")
        if self.method == "partial" and not self.pattern:
            raise WrongUse("partial tuning needs a pattern, a regular expression over names of parameters")
        if self.rank < 1 or self.bottleneck < 1 or not self.alpha > 0 or not 0 <= self.dropout < 1:
            raise WrongUse("tuning: rank and bottleneck are at least 1, alpha is above 0, dropout in [0, 1)")
        for name in ("pattern", "targets"):
            try:
                re.compile(getattr(self, name))
            except re.error as fault:
                raise WrongUse(f"tuning: {name} is no regular expression: {fault}") from fault

    @property
    def scale(self) -> float:
        """s, by which B A is multiplied."""
        return self.alpha / (self.rank**0.5 if self.rslora else self.rank)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Tuning:
        """Raises EcgError for a key that there is not."""
        unknown = set(values) - {f.name for f in fields(cls)}
        if unknown:
            raise WrongUse(f"tuning has no {', '.join(sorted(unknown))}")
        return cls(**values)
