"""What is trainable, and how much: full, head, partial, LoRA, adapters.

`Tuning` says what is asked for and needs no torch; the rest is imported when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from einthoven.tune.tuning import Tuning

if TYPE_CHECKING:
    from einthoven.tune.cache import head_inputs
    from einthoven.tune.saved import open_adapter, save_adapter, tuning_of
    from einthoven.tune.trainable import Trainable, adapter_state, apply, check_gradients, load_adapter, merge

__all__ = [
    "Trainable",
    "Tuning",
    "adapter_state",
    "apply",
    "check_gradients",
    "head_inputs",
    "load_adapter",
    "merge",
    "open_adapter",
    "save_adapter",
    "tuning_of",
]

_WHERE = {"head_inputs": "cache", "open_adapter": "saved", "save_adapter": "saved", "tuning_of": "saved"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(import_module(f"einthoven.tune.{_WHERE.get(name, 'trainable')}"), name)
