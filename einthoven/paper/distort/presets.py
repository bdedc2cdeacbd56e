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
    Step("faded", 0.35, 0.2, 1.0),
    Step("handwriting", 0.2, 0.3, 1.0),
    Step("stamp", 0.05),
    Step("highlighter", 0.05, 0.3, 1.0),
    Step("curl", 0.8, 0.2, 1.0),
    Step("folds", 0.3, 0.3, 1.0),
    Step("wrinkles", 0.35, 0.3, 1.0),
    Step("skew", 0.5, 0.1, 0.5),
    Step("perspective", 0.9, 0.2, 1.2),
    Step("rotation", 1.0, 0.2, 1.2),
    Step("lens", 0.6, 0.3, 1.0),
    Step("camera", 1.0, 1.0, 1.0),
    Step("yellowing", 0.3, 0.1, 0.6),
    Step("stains", 0.04, 0.2, 0.8),
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

# A flatbed or sheet-fed scanner: nearly straight, in colour or grey.
SCAN = (
    Step("faded", 0.2, 0.2, 0.8),
    Step("handwriting", 0.15, 0.3, 1.0),
    Step("stamp", 0.06),
    Step("highlighter", 0.05, 0.3, 1.0),
    Step("folds", 0.1, 0.1, 0.4),
    Step("skew", 0.4, 0.1, 0.4),
    Step("rotation", 1.0, 0.05, 0.6),
    Step("bezel", 0.15),
    Step("yellowing", 0.2, 0.1, 0.5),
    Step("relief", 1.0, 0.5, 0.8),
    Step("scanner", 0.8, 0.3, 1.0),
    Step("defocus", 0.8, 0.3, 1.0),
    Step("contrast", 0.8, 0.1, 0.7),
    Step("noise", 0.8, 0.2, 0.8),
    Step("grey", 0.25),
    Step("low_resolution", 0.15, 0.4, 1.0),
    Step("jpeg", 0.9, 0.2, 1.2),
)

# A screen, photographed: flat, cold light, moire, mirrored lamps.
SCREEN = (
    Step("perspective", 0.9, 0.2, 1.3),
    Step("rotation", 1.0, 0.1, 1.0),
    Step("lens", 0.7, 0.3, 1.2),
    Step("camera"),
    Step("bezel", 0.8),
    Step("uneven", 1.0, 0.3, 1.2),
    Step("white_balance", 1.0, 0.4, 1.2),
    Step("moire", 1.0, 0.3, 1.2),
    Step("glare", 0.5, 0.3, 1.3),
    Step("defocus", 0.9, 0.4, 1.4),
    Step("motion", 0.15, 0.3, 0.8),
    Step("contrast", 1.0, 0.2, 1.2),
    Step("noise", 0.9, 0.3, 1.2),
    Step("low_resolution", 0.2, 0.4, 1.0),
    Step("jpeg", 1.0, 0.3, 1.5),
)

# Faxed, or copied and scanned.
FAX = (
    Step("faded", 0.3, 0.2, 1.0),
    Step("handwriting", 0.2, 0.3, 1.0),
    Step("stamp", 0.15),
    Step("skew", 0.8, 0.1, 0.8),
    Step("rotation", 1.0, 0.1, 0.7),
    Step("uneven", 0.4, 0.2, 0.6),
    Step("defocus", 0.6, 0.3, 1.0),
    Step("noise", 0.6, 0.3, 1.0),
    Step("grey"),
    Step("photocopy", 0.7, 0.2, 1.0),
    Step("fax", 0.75, 0.4, 1.2),
    Step("jpeg", 0.3, 0.2, 1.0),
)

# Twenty years in a folder, then scanned or photographed.
OLD_PAPER = (
    Step("faded", 0.9, 0.3, 1.3),
    Step("handwriting", 0.5, 0.3, 1.2),
    Step("stamp", 0.3),
    Step("highlighter", 0.15, 0.3, 1.0),
    Step("curl", 0.5, 0.1, 0.6),
    Step("folds", 0.8, 0.4, 1.2),
    Step("wrinkles", 0.8, 0.5, 1.5),
    Step("skew", 0.5, 0.1, 0.5),
    Step("perspective", 0.4, 0.1, 0.6),
    Step("rotation", 1.0, 0.1, 1.0),
    Step("camera", 0.5),
    Step("yellowing", 1.0, 0.4, 1.5),
    Step("stains", 0.6, 0.3, 1.2),
    Step("relief", 1.0, 0.7, 1.2),
    Step("uneven", 0.7, 0.2, 0.9),
    Step("defocus", 0.8, 0.3, 1.1),
    Step("contrast", 1.0, 0.2, 1.0),
    Step("noise", 0.9, 0.3, 1.0),
    Step("jpeg", 1.0, 0.3, 1.3),
)

# The augmentations that ECGInstruct names (Liu et al. 2024; Llama 3.2 paper, section IV-A): creases and wrinkles,
# rotation, yellowed paper, pixel noise, resolution, place and shape of the page. Which layout, grid and header a page
# has, and that half of the images are clean, is `dataset.ECGINSTRUCT`.
ECGINSTRUCT = (
    Step("folds", 0.3, 0.2, 1.0),
    Step("wrinkles", 0.5, 0.4, 1.5),
    Step("skew", 0.4, 0.3, 1.2),
    Step("rotation", 0.6, 0.2, 2.5),
    Step("crop", 0.2, 0.1, 0.5),
    Step("yellowing", 0.5, 0.2, 1.2),
    Step("relief", 1.0, 0.7, 1.2),
    Step("noise", 0.6, 0.5, 3.0),
    Step("salt_and_pepper", 0.3, 0.3, 3.0),
    Step("low_resolution", 0.4, 0.3, 1.5),
)

PRESETS: Mapping[str, tuple[Step, ...]] = {
    "clean": CLEAN,
    "scan": SCAN,
    "photo": PHOTO,
    "screen": SCREEN,
    "fax": FAX,
    "old-paper": OLD_PAPER,
    "ecginstruct": ECGINSTRUCT,
}
