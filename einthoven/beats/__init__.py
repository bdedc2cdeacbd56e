"""Beats: where they are (delineate), what kind they are (classify), one that stands for all (median, align), their figures
(measure).

The functions are imported when they are first asked for, so that `import einthoven` stays light.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from einthoven.beats.align import align
    from einthoven.beats.classify import classify
    from einthoven.beats.delineate import delineate
    from einthoven.beats.fiducials import Beats
    from einthoven.beats.measure import measure
    from einthoven.beats.measurements import Measurements
    from einthoven.beats.median import median_beats

__all__ = ["Beats", "Measurements", "align", "classify", "delineate", "measure", "median_beats"]

_HOMES = {"Beats": "fiducials", "Measurements": "measurements", "median_beats": "median"}


class _Room(ModuleType):
    """This package. `beats.measure` is the function, whether or not somebody has imported the file of that name before."""


def _door(name: str) -> property:
    def get(_: ModuleType) -> Any:
        return getattr(import_module(f"{__name__}.{_HOMES.get(name, name)}"), name)

    def keep(_: ModuleType, submodule: ModuleType) -> None:  # what the import of einthoven.beats.<name> would put in its place
        return None

    return property(get, keep)


for _name in __all__:
    setattr(_Room, _name, _door(_name))
sys.modules[__name__].__class__ = _Room
