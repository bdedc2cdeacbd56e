"""Presets: what commonly goes wrong together: a tuple of steps, each with its chance and a range of strengths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """A distortion by name, how often it is there, and how strong it then is (drawn evenly from a range)."""

    name: str
    chance: float = 1.0
    low: float = 1.0
    high: float = 1.0


CLEAN: tuple[Step, ...] = ()

# A phone's picture of a sheet on a desk, or in a hand.
PHOTO = (
    Step("curl", 0.8, 0.2, 1.0),
    Step("folds", 0.3, 0.3, 1.0),
    Step("wrinkles", 0.35, 0.3, 1.0),
    Step("skew", 0.5, 0.1, 0.5),
    Step("perspective", 0.9, 0.2, 1.2),
    Step("rotation", 1.0, 0.2, 1.2),
    Step("lens", 0.6, 0.3, 1.0),
    Step("camera", 1.0, 1.0, 1.0),
    Step("relief", 1.0, 0.7, 1.2),
    Step("uneven", 1.0, 0.3, 1.2),
    Step("shadow", 0.6, 0.3, 1.0),
    Step("white_balance", 1.0, 0.4, 1.2),
    Step("glare", 0.12, 0.3, 1.0),
    Step("defocus", 0.8, 0.3, 1.2),
    Step("motion", 0.2, 0.3, 1.0),
    Step("contrast", 1.0, 0.2, 1.2),
    Step("noise", 0.9, 0.3, 1.2),
    Step("low_resolution", 0.3, 0.4, 1.2),
    Step("jpeg", 1.0, 0.3, 1.5),
)

PRESETS: Mapping[str, tuple[Step, ...]] = {"clean": CLEAN, "photo": PHOTO}
