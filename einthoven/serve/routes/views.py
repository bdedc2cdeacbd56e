"""What is seen of one ECG: its signal and views of it, its report, its fiducials and what was corrected, and files of it."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from einthoven.beats.correct import Correction
from einthoven.beats.correct import corrected as put_on
from einthoven.serve import access, corrections, files, sight
from einthoven.serve.routes.door import Read, Write, gives, library_of

router = APIRouter()


@router.get("/ecgs/{ecg}/signal", **gives("application/octet-stream"))
def signal(
    ecg: str,
    me: Read,
    request: Request,
    start: Annotated[float, Query(ge=0, le=1e7, allow_inf_nan=False)] = 0.0,
    end: Annotated[float | None, Query(gt=0, le=1e7, allow_inf_nan=False)] = None,
    most: Annotated[int | None, Query(ge=10, le=100_000)] = None,
) -> Response:
    """A stretch of the signal as numbers of two bytes behind a header (einthoven.serve.sight)."""
    made = sight.samples(library_of(request).record(ecg), start, end, most)
    return Response(made, media_type="application/octet-stream")


@router.get("/ecgs/{ecg}/report")
def report(ecg: str, me: Read, request: Request) -> dict[str, Any]:
    """Measurements, findings with their evidence, models' opinions: `einthoven interpret --json`."""
    from einthoven.report import to_json

    return to_json(library_of(request).report(ecg))


@router.get("/ecgs/{ecg}/report.{kind}", **gives("text/html", "application/pdf", "application/fhir+json", "text/plain"))
def report_file(ecg: str, kind: Literal["html", "pdf", "fhir", "txt"], me: Read, request: Request) -> Response:
    """The same as a page (html), a document (pdf), for a record system (fhir) or plain text (txt)."""
    from einthoven.report import to_fhir, to_html, to_pdf, to_text

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


@router.get("/ecgs/{ecg}/views/{view}", **gives("application/octet-stream"))
def view(ecg: str, view: Literal["median", "overlay", "aligned"], me: Read, request: Request) -> Response:
    """The median beat, all beats over each other, or the signal aligned by its R peaks (Rlign), as numbers behind a header
    (einthoven.serve.sight)."""
    return Response(sight.VIEWS[view](library_of(request).report(ecg)), media_type="application/octet-stream")


@router.get("/ecgs/{ecg}/spectrum")
def spectrum(ecg: str, me: Read, request: Request) -> dict[str, Any]:
    """The power of each lead over frequency, microvolts squared per Hz, up to 150 Hz; null for a lead with gaps throughout."""
    from einthoven.report.asjson import number
    from einthoven.signal.spectrum import spectrum

    made = spectrum(library_of(request).record(ecg))
    shown = made.hz <= 150
    power = {lead: [number(v) for v in row[shown]] if row[0] == row[0] else None for lead, row in zip(made.leads, made.power)}
    return {"hz": [number(v) for v in made.hz[shown]], "power_uv2_hz": power}


# ---- fiducials, corrected by hand ----


class Moved(BaseModel):
    """Where a fiducial belongs. beat: its number (from 0) in what /beats tells. to: s; null: the wave is not there (of QRS: no
    beat). lead: null means over all leads. every: the same for every beat of its kind."""

    beat: int = Field(ge=0, le=10**7)
    name: Literal["p_on", "p_peak", "p_off", "qrs_on", "r_peak", "qrs_off", "t_on", "t_peak", "t_off"]
    to: float | None = Field(default=None, ge=0, le=1e7, allow_inf_nan=False)
    lead: str | None = Field(default=None, max_length=20)
    every: bool = False


@router.get("/ecgs/{ecg}/fiducials")
def corrected(ecg: str, me: Read, request: Request) -> dict[str, Any]:
    """The corrections of this ECG, what could not be applied of them, and what the measurements were without them."""
    shelf = library_of(request)
    shelf.row(ecg)
    rows = corrections.listed(shelf.store, ecg)
    if not rows:
        return {"corrections": [], "left_out": [], "automatic": {}}
    from einthoven.report.asjson import number

    found, made = shelf.report(ecg, automatic=True), shelf.report(ecg)
    was = {name: number(found.measurements[name]) for name in found.measurements}
    now = {name: number(made.measurements[name]) for name in made.measurements}
    left = put_on(found.beats, corrections.of(rows)).told
    return {"corrections": rows, "left_out": list(left), "automatic": {k: was[k] for k in was if was[k] != now.get(k)}}


@router.post("/ecgs/{ecg}/fiducials", status_code=201)
def correct(ecg: str, body: Moved, me: Write, request: Request) -> dict[str, Any]:
    """Puts a fiducial where it belongs; measurements and findings rest on it from now on, and say so."""
    shelf = library_of(request)
    found = shelf.report(ecg, automatic=True)
    one = Correction(body.name, 0.0, body.to, body.lead, body.every)
    corrections.add(shelf.store, ecg, me.user, found, body.beat, one)
    shelf.forget(ecg, corrected=True)
    shelf.store.note(me.user, "correction", f"{ecg} {body.name}")
    return corrected(ecg, me, request)


@router.delete("/ecgs/{ecg}/fiducials")
def undo(ecg: str, me: Write, request: Request, every: bool = False) -> dict[str, Any]:
    """Takes the last correction back, or all of them."""
    shelf = library_of(request)
    shelf.row(ecg)
    if corrections.undo(shelf.store, ecg, every=every):
        shelf.forget(ecg, corrected=True)
        shelf.store.note(me.user, "correction undone", ecg)
    return corrected(ecg, me, request)


# ---- files ----


@router.get("/ecgs/{ecg}/file.{kind}", **gives(*sorted({files.media_type(kind) for kind in files.KINDS})))
def file(
    ecg: str,
    kind: Literal["png", "svg", "pdf", "csv", "wfdb", "npz", "edf", "dcm", "xml"],
    me: Read,
    request: Request,
    layout: Annotated[str, Query(max_length=100)] = "auto",
    speed: Annotated[float, Query(ge=1, le=1000, allow_inf_nan=False)] = 25.0,
    gain: Annotated[float, Query(ge=1, le=1000, allow_inf_nan=False)] = 10.0,
    start: Annotated[float, Query(ge=0, le=1e7, allow_inf_nan=False)] = 0.0,
    what: Literal["recording", "median", "aligned"] = "recording",
) -> Response:
    """The ECG as a file: a page of millimetre paper (png, svg, pdf: `einthoven render`), or the recording (csv, wfdb as a ZIP
    of header and signal, npz, edf, dcm, xml: HL7 aECG; `einthoven convert`).
    what: the median beat, or the signal with its R peaks on a grid of 60 a minute, in place of the recording."""
    shelf = library_of(request)
    name = shelf.row(ecg)["name"]
    if kind in files.PAGES:
        data = files.page(shelf.report(ecg), kind, layout=layout, speed=speed, gain=gain, start=start)
    elif what == "recording":
        data = files.recording(shelf.record(ecg), kind, name)
    else:
        data = files.recording(sight.RECORDS[what](shelf.report(ecg)), kind, f"{name}-{what}")
    return Response(data, media_type=files.media_type(kind), headers=files.headers(name, kind))
