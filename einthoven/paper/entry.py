"""A file that may be a recording or paper: as the recording (`record_of`), or as the picture that it is (`picture_of`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from einthoven.record import EcgError, Record

if TYPE_CHECKING:
    from einthoven.paper.reading import Hints

_SURE = 0.5  # a lead whose confidence is below this is told
_PAPER = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"%PDF", b"BM", b"II*\0", b"MM\0*")
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pdf")  # extensions, where folders are searched
_PAGES = 20  # of a PDF that are looked at


def is_paper(path: str | Path) -> bool:
    """A picture or a PDF, by its first bytes; what cannot be opened is the reader's to tell."""
    try:
        with open(path, "rb") as file:
            head = file.read(16)
    except (OSError, ValueError):
        return False
    return head.startswith(_PAPER) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def record_of(path: str | Path, *, fs: float | None = None, unit: str | None = None, hints: Hints | None = None) -> Record:
    """The ECG in a file of any format, or on a picture or PDF of paper (then its warnings say so; `hints`: what is known of the
    page). Raises EcgError."""
    from einthoven.io import read

    if not is_paper(path):
        return read(path, fs=fs, unit=unit)
    from einthoven.paper.reading import read_paper

    record, reading, _ = read_paper(path, hints)
    if record is None:
        raise EcgError(f"cannot be read: {reading.why}", path=path)
    return record


def digitised(source: NDArray[np.uint8]) -> Record:
    """The ECG on a picture, RGB (H, W, 3); its warnings say that it was read off paper, and what of it is not sure. Raises
    EcgError."""
    from einthoven.paper.digitise import digitize

    found = digitize(source)
    unsure = [f"{name} ({share:.0%})" for name, share in found.confidence.items() if share < _SURE]
    told = [f"not sure of {', '.join(unsure)}: look at the trace over the print (einthoven digitize)"] if unsure else []
    return found.record.warn("digitised from paper", *told)


def picture_of(path: str | Path, page: int | None = None) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """A picture, or the page of a PDF that holds an ECG, as RGB (H, W, 3), upright; and what has to be said of it.

    page: of a PDF, 0 is the first, where it is known.

    Raises EcgError for what is neither, and for sizes out of bounds.
    """
    from einthoven.io.files import DiskFile
    from einthoven.paper.digitise.picture import read_image

    data = bytes(DiskFile(path).data)
    if data[:1024].find(b"%PDF") < 0:
        return read_image(data, str(path)), ()
    from einthoven.paper.digitise.drawn import read_drawing
    from einthoven.paper.digitise.pdf import Pdf

    with Pdf(data, str(path)) as pdf:
        if page is not None:
            return pdf.image(page), ()
        scans = []
        for k in range(min(pdf.pages, _PAGES)) if pdf.pages > 1 else ():
            try:
                drawing = pdf.drawing(k)
                scans += [k] if drawing.images else []
                read_drawing(drawing, speed=None, gain=None, path=str(path))
            except EcgError:
                continue
            return pdf.image(k), (f"page {k + 1} of {pdf.pages}",)
        chosen = scans[0] if scans else 0
        return pdf.image(chosen), (f"page {chosen + 1} of {pdf.pages}",) if pdf.pages > 1 else ()
