"""A picture of an ECG's page into a file, with its truth beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from einthoven.io.files import replacing
from einthoven.paper.distort.run import distort
from einthoven.paper.distort.truth import Truth
from einthoven.record import EcgError, Record

FORMATS = (".png", ".jpg", ".jpeg")


def save_picture(
    record: Record,
    path: str | Path,
    *,
    preset: str = "photo",
    seed: int = 0,
    truth: str | Path | None = None,
    **options: Any,
) -> Truth:
    """Draws a record on paper, distorts it into `path` (.png, .jpg) and returns the truth, which is written to `truth` as JSON.

    Options as in `render`. The JSON has, beside what `Truth.from_dict` needs, for readers without this package: `corners` of
    the sheet, its `homography` (mm to pixels, the best fit where the sheet is bent), `leads` (label, start and stop in s,
    corners of the box, polylines), all in pixels. Raises EcgError as `render` and `distort` do, and for another suffix.
    """
    from einthoven.paper.render import png_bytes, render

    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise EcgError(f"a picture is written as {', '.join(FORMATS)}, not {suffix or 'without a suffix'}", path=path)
    page_image, page = render(record, **options)
    image, known = distort(page_image, page, preset, seed=seed)
    if suffix == ".png":
        data = png_bytes(image, page.dpi)
    else:
        import cv2

        data = bytes(cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1])
    with replacing(path) as draft:
        draft.write_bytes(data)
    if truth is not None:
        with replacing(truth) as draft:
            draft.write_text(json.dumps(described(known, record), allow_nan=False), encoding="utf-8")
    return known


def described(truth: Truth, record: Record) -> dict[str, Any]:
    """The truth in plain pixels, rounded to a hundredth, beside the maps themselves."""
    leads = [
        {
            "label": strip.label,
            "start": strip.start,
            "stop": strip.stop,
            "rhythm": strip.rhythm,
            "box": truth.corners(strip.box).round(2).tolist(),
            "lines": [points.round(2).tolist() for points in lines],
        }
        for strip, lines in zip(truth.page.strips, truth.traces(record, 4.0), strict=True)
    ]
    return {
        "shape": list(truth.shape),
        "corners": truth.sheet.round(2).tolist(),
        "homography": truth.warp.homography.tolist(),
        "leads": leads,
        **truth.to_dict(),
    }
