"""What is seen of one ECG: its signal, its report, its beats, and files of it."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request, Response

from einthoven.serve import access, library
from einthoven.serve.routes.door import Read, library_of

router = APIRouter()


@router.get("/ecgs/{ecg}/signal")
def signal(
    ecg: str,
    me: Read,
    request: Request,
    start: Annotated[float, Query(ge=0, le=1e7, allow_inf_nan=False)] = 0.0,
    end: Annotated[float | None, Query(gt=0, le=1e7, allow_inf_nan=False)] = None,
    most: Annotated[int | None, Query(ge=10, le=100_000)] = None,
) -> Response:
    """A stretch of the signal as numbers of two bytes behind a header (einthoven.serve.library.samples)."""
    made = library.samples(library_of(request).record(ecg), start, end, most)
    return Response(made, media_type="application/octet-stream")


@router.get("/ecgs/{ecg}/report")
def report(ecg: str, me: Read, request: Request) -> dict[str, Any]:
    """Measurements, findings with their evidence, models' opinions: `einthoven interpret --json`."""
    from einthoven.report import to_json

    return to_json(library_of(request).report(ecg))


@router.get("/ecgs/{ecg}/report.{kind}")
def report_file(ecg: str, kind: str, me: Read, request: Request) -> Response:
    """The same as a page (html), a document (pdf), for a record system (fhir) or plain text (txt)."""
    from einthoven.report import to_fhir, to_html, to_pdf, to_text

    if kind not in ("html", "pdf", "fhir", "txt"):
        raise HTTPException(404, "a report is html, pdf, fhir or txt")
    made = library_of(request).report(ecg)
    if kind == "html":
        return Response(to_html(made), media_type="text/html", headers={"Content-Security-Policy": access.REPORT_POLICY})
    if kind == "pdf":
        return Response(to_pdf(made), media_type="application/pdf")
    if kind == "fhir":
        return Response(json.dumps(to_fhir(made), ensure_ascii=False), media_type="application/fhir+json")
    return Response(to_text(made), media_type="text/plain; charset=utf-8")


@router.get("/ecgs/{ecg}/beats")
def beats(ecg: str, me: Read, request: Request) -> dict[str, Any]:
    """P, QRS and T of every beat and lead, s: `einthoven delineate`."""
    from einthoven.report.asjson import beats_json

    made = library_of(request).report(ecg)
    return beats_json(made.beats) if made.beats is not None else {}


@router.get("/ecgs/{ecg}/picture")
def picture(ecg: str, me: Read, request: Request) -> Response:
    """The photo or scan that an ECG on paper came as."""
    shelf = library_of(request)
    row = shelf.row(ecg)
    if row["kind"] != "paper":
        raise HTTPException(404, "this ECG came as a recording")
    from einthoven.paper.entry import picture_of
    from einthoven.paper.reading import PHOTO_PX, bounded, jpeg_bytes

    rgb, _ = picture_of(shelf.path(row))
    return Response(jpeg_bytes(bounded(rgb, PHOTO_PX)), media_type="image/jpeg")
