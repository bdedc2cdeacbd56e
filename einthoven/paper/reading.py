"""What a photo, a scan or a PDF of an ECG on paper gave, in a form that a report can show: `Reading`.

    record, reading, picture = read_paper("photo.jpg", Hints(layout="3x4+1"))

A picture in which no ECG can be read is an answer, too: `reading.why` says why, and `record` is None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from einthoven.paper.entry import picture_of
from einthoven.paper.page import Floats
from einthoven.record import STANDARD_LEADS, EcgError, Record, Source, WrongUse, canonical_order

if TYPE_CHECKING:
    from einthoven.paper.digitise.digitised import Digitised

Image = NDArray[np.uint8]

SURE = 0.5  # a lead whose confidence is below this is told: it is more likely misread than not
PHOTO_PX, SHEET_PX = 1400, 2300  # longest sides of the pictures that a report carries


@dataclass(frozen=True)
class Hints:
    """What the user knows of a page: `layout` ("3x4+1"), `speed` mm/s, `gain` mm/mV, `corners` of the sheet in the picture
    (x, y pixels, from the upper left clockwise), `page` of a PDF, 0 is the first. None: it is to be found."""

    layout: str | None = None
    speed: float | None = None
    gain: float | None = None
    corners: Sequence[tuple[float, float]] | None = None
    page: int | None = None


@dataclass(frozen=True)
class Reading:
    """An ECG on paper, as far as it was read.

    photo: as it came in, upright, (H, W, 3) uint8 RGB of at most PHOTO_PX a side; None where `sheet` shows the same (a PDF).
    sheet: the rectified page with the traces drawn over the print, of at most SHEET_PX a side; None where nothing was read.
    outline: (4, 2), the rectified page's corners in pixels of `photo`; None without a photo. scale: pixels of `photo` to one
    of the input.
    means: "image", "vectors" or "". layout, speed (mm/s), gain (mm/mV): of the page; speed and gain NaN where nothing was read.
    rhythm: leads of the rhythm strips.
    basis: of "layout", "speed" and "gain": "given" by the user, "read" from the paper, or "assumed".
    confidence: by lead, 0..1. missing: standard leads that the page should show and that could not be read.
    why: why it cannot be read; "" where it could. grid: whether there is millimetre paper in the picture at all.
    warnings: what a careful reader should know.
    """

    photo: Image | None = None
    sheet: Image | None = None
    outline: Floats | None = None
    scale: float = 1.0
    means: str = ""
    layout: str = ""
    rhythm: tuple[str, ...] = ()
    speed: float = float("nan")
    gain: float = float("nan")
    basis: Mapping[str, str] = field(default_factory=dict)
    confidence: Mapping[str, float] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    why: str = ""
    grid: bool = True
    warnings: tuple[str, ...] = ()

    @property
    def unsure(self) -> tuple[str, ...]:
        """The leads that were read, but of which one cannot be sure."""
        return tuple(lead for lead, share in self.confidence.items() if share < SURE)

    @property
    def unsure_words(self) -> str:
        """The leads in doubt with their confidence; all of them in one phrase."""
        shares = [self.confidence[lead] for lead in self.unsure]
        if len(shares) > 3 and len(shares) == len(self.confidence):
            low, high = f"{min(shares):.0%}", f"{max(shares):.0%}"
            return f"any lead ({low} sure)" if low == high else f"any lead ({low} to {high} sure)"
        return ", ".join(f"{lead} ({self.confidence[lead]:.0%})" for lead in self.unsure)


_NO_GRID = "no millimetre grid"  # what the digitiser says of a picture without (paper/digitise/lattice.py)


def read_paper(
    path: str | Path, hints: Hints | None = None, *, seen: Callable[[Image], None] | None = None
) -> tuple[Record | None, Reading, Image]:
    """(the ECG, what the report shows of its paper, the whole picture) of an image or PDF file.

    seen: called with the whole picture before anything is read off it, so that more can be done with it meanwhile.
    Where the picture holds no ECG that can be read, the first is None and `Reading.why` says why.

    Raises:
        EcgError: the file is no picture and no PDF, or is broken, or what was hinted at is no layout, speed, ...
    """
    hints = hints or Hints()
    checked(hints)
    from einthoven.paper.digitise import digitize
    from einthoven.paper.digitise.digitised import DIGITISED

    picture, told = picture_of(path) if hints.page is None else picture_of(path, hints.page)
    if seen is not None:
        seen(picture)
    drawn = _is_pdf(path)
    photo = bounded(picture, PHOTO_PX)
    scale = photo.shape[1] / picture.shape[1]
    try:
        found = digitize(
            str(path) if drawn else picture,
            layout=hints.layout,
            speed=hints.speed,
            gain=hints.gain,
            corners=hints.corners,
            page=hints.page if drawn else None,
        )
    except EcgError as fault:
        return None, Reading(photo, scale=scale, why=fault.what, grid=_NO_GRID not in fault.what, warnings=told), picture
    reading = _reading(found, photo, scale, hints)
    told = (*told, *reading.warnings)
    record = replace(found.record, source=Source(str(path), DIGITISED))
    more = [f"not sure of {reading.unsure_words}: compare the traces with the print"] if reading.unsure else []
    if reading.missing:
        more.append(f"not read from the paper: {', '.join(reading.missing)}")
    return record.warn("digitised from paper", *told, *more), replace(reading, warnings=told), picture


def _reading(found: Digitised, photo: Image, scale: float, hints: Hints) -> Reading:
    from einthoven.paper.digitise.overlay import overlay

    sheet, outline = bounded(overlay(found), SHEET_PX), None
    if found.homography is not None:
        height, width = found.image.shape[:2]
        corners = np.array([[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1]], np.float64)
        at = corners @ np.linalg.inv(found.homography).T
        outline = at[:, :2] / at[:, 2:] * scale
    shown = {s.lead for s in found.page.strips}
    # A page of twelve places that shows eleven leads has lost one; a page of six was made for six.
    wanted = STANDARD_LEADS if len(shown) > 6 else ()
    return Reading(
        photo=photo if found.means == "image" else None,
        sheet=sheet,
        outline=outline,
        scale=scale,
        means=found.means,
        layout=found.page.layout,
        rhythm=tuple(s.lead for s in found.page.strips if s.rhythm),
        speed=found.page.speed,
        gain=found.page.gain,
        basis={name: _basis(name, hints, found.warnings) for name in ("layout", "speed", "gain")},
        confidence={lead: found.confidence[lead] for lead in canonical_order(tuple(found.confidence))},
        missing=tuple(lead for lead in wanted if lead not in found.record),
        warnings=tuple(found.warnings),
    )


# What the digitiser says where it had to take the usual (paper/digitise/sheet.py, drawn.py).
_TAKEN = {"layout": " order ", "speed": "mm/s was taken", "gain": "mm/mV was taken"}


def _basis(name: str, hints: Hints, warnings: Sequence[str]) -> str:
    if getattr(hints, name) is not None:
        return "given"
    return "assumed" if any(_TAKEN[name] in words for words in warnings) else "read"


def checked(hints: Hints) -> None:
    """Raises WrongUse for hints that fit no page: they are the user's to mend, and no fault of the picture."""
    from einthoven.paper.page import parse_layout

    if hints.layout is not None:
        try:
            parse_layout(hints.layout)
        except EcgError as fault:
            raise WrongUse(fault.what) from None
    for name, value in (("speed", hints.speed), ("gain", hints.gain)):
        if value is not None and not (np.isfinite(value) and 1 <= value <= 1000):
            raise WrongUse(f"{name} must be 1 to 1000, not {value}")
    if hints.corners is not None and np.shape(hints.corners) != (4, 2):
        raise WrongUse(f"four corners (x, y) are needed, not {len(hints.corners)}")


def _is_pdf(path: str | Path) -> bool:
    with open(path, "rb") as file:
        return b"%PDF" in file.read(1024)


def bounded(image: Image, longest: int) -> Image:
    """The image, averaged down so that no side has more than `longest` pixels."""
    import cv2

    share = longest / max(image.shape[:2])
    if share >= 1:
        return image
    size = max(round(image.shape[1] * share), 1), max(round(image.shape[0] * share), 1)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def jpeg_bytes(image: Image, quality: int = 82) -> bytes:
    """An RGB image (H, W, 3) as a JPEG file."""
    import cv2

    return bytes(cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])[1])
