"""An ECG's page into a file: PNG, SVG or PDF by the suffix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from einthoven.beats.fiducials import Beats
from einthoven.io.files import replacing
from einthoven.paper.page import Page
from einthoven.record import EcgError, Record

FORMATS = (".png", ".svg", ".pdf")


def save_page(
    record: Record, path: str | Path, *, palette: str = "pink", fiducials: Beats | None = None, **options: Any
) -> Page:
    """Draws a record on paper into `path` (.png, .svg or .pdf) and returns the Page; options as in `render`.

    Raises EcgError for another suffix, and for what `render` refuses. The file appears whole or not at all.
    """
    from einthoven.paper import render, vector

    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise EcgError(f"a page is written as {', '.join(FORMATS)}, not {suffix or 'without a suffix'}", path=path)
    page = render.prepare(record, **options)
    if suffix == ".png":
        data = render.png_bytes(render.draw(record, page, palette=palette, fiducials=fiducials), page.dpi)
    elif suffix == ".svg":
        data = vector.to_svg(record, page, palette=palette, fiducials=fiducials).encode()
    else:
        data = vector.to_pdf(record, page, palette=palette, fiducials=fiducials)
    with replacing(path) as draft:
        draft.write_bytes(data)
    return page
