"""From paper to signal: `digitize` reads an image or a PDF of an ECG into a Record and its Page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from einthoven.paper.digitise.digitised import Digitised, Trace, assemble, confidence_of
from einthoven.record import EcgError

__all__ = ["Digitised", "Trace", "digitize"]

Source = str | Path | bytes | NDArray[np.uint8]


def digitize(
    source: Source,
    *,
    fs: float = 500.0,
    speed: float | None = None,
    gain: float | None = None,
    layout: str | None = None,
    corners: Sequence[tuple[float, float]] | None = None,
    page: int | None = None,
) -> Digitised:
    """Reads an ECG off its paper.

    source: a path or the bytes of an image (PNG, JPEG, BMP, TIFF, WebP) or PDF, or an RGB array (H, W, 3) uint8.
    fs: sampling rate of the record, Hz. speed (mm/s), gain (mm/mV): where the caller knows them.
    layout: "3x4+1", "12x1", "6x2:I,II,...", where the caller knows it (images only; a PDF of vectors says it itself).
    corners: the four corners of the paper in the image (x, y pixels, from the upper left clockwise), where the caller
    has marked them.
    page: of a PDF, 0 is the first; where it is not given, the first that holds an ECG.
    Raises EcgError, with the reason, for what cannot be read.
    """
    if not (np.isfinite(fs) and 50 <= fs <= 10_000):
        raise EcgError(f"sampling rate must be 50 to 10000 Hz, not {fs}")
    for name, value in (("speed", speed), ("gain", gain)):
        if value is not None and not (np.isfinite(value) and 1 <= value <= 1000):
            raise EcgError(f"{name} must be 1 to 1000, not {value}")
    path = str(source) if isinstance(source, str | Path) else None
    data = _bytes(source)
    if isinstance(data, bytes) and data[:1024].find(b"%PDF") >= 0:
        return _from_pdf(data, path, fs, speed, gain, layout, corners, page)
    from einthoven.paper.digitise.picture import check_image, read_image

    image = read_image(data, path) if isinstance(data, bytes) else check_image(data, path)
    return _from_image(image, path, fs, speed, gain, layout, corners)


def _bytes(source: Source) -> bytes | NDArray[np.uint8]:
    from einthoven.io.files import DiskFile

    if isinstance(source, str | Path):
        return bytes(DiskFile(source).data)
    return source


def _from_pdf(
    data: bytes,
    path: str | None,
    fs: float,
    speed: float | None,
    gain: float | None,
    layout: str | None,
    corners: Sequence[tuple[float, float]] | None,
    number: int | None,
) -> Digitised:
    from einthoven.paper.digitise.drawn import read_drawing
    from einthoven.paper.digitise.pdf import Pdf

    with Pdf(data, path) as pdf:
        faults: list[EcgError] = []
        scans: list[int] = []
        for k in range(min(pdf.pages, 20)) if number is None else [number]:
            try:
                drawing = pdf.drawing(k)
                if drawing.images:
                    scans.append(k)
                page, traces, warnings = read_drawing(drawing, speed=speed, gain=gain, path=path)
            except EcgError as fault:
                faults.append(fault)
                continue
            record = assemble(page, traces, fs, path, warnings)
            confidence, more = confidence_of(record, traces)
            image = pdf.image(k, page.dpi)
            told = (*warnings, *more)
            return Digitised(record.warn(*more), page, tuple(traces), image, None, confidence, told, "vectors")
        for k in scans:  # no vectors, but pictures: a scan that was wrapped
            try:
                return _from_image(pdf.image(k), path, fs, speed, gain, layout, corners)
            except EcgError as fault:
                faults.append(fault)
        raise faults[0] if len(faults) == 1 else EcgError(f"none of the {pdf.pages} pages holds an ECG", path=path)


def _from_image(
    image: NDArray[np.uint8],
    path: str | None,
    fs: float,
    speed: float | None,
    gain: float | None,
    layout: str | None,
    corners: Sequence[tuple[float, float]] | None,
) -> Digitised:
    from einthoven.paper.digitise.scan import read_scan

    marked = None if corners is None else np.array(corners, np.float64).reshape(-1, 2)
    if marked is not None and marked.shape != (4, 2):
        raise EcgError(f"four corners are needed, not {len(marked)}", path=path)
    try:
        scan = read_scan(image, layout=layout, speed=speed, gain=gain, corners=marked)
    except EcgError as fault:
        raise (fault.at(path) if path else fault) from None
    record = assemble(scan.page, scan.traces, fs, path, scan.warnings)
    confidence, more = confidence_of(record, scan.traces)
    told = (*scan.warnings, *more)
    return Digitised(record.warn(*more), scan.page, tuple(scan.traces), scan.sheet, scan.homography, confidence, told, "image")
