"""What is seen of one ECG: its signal and views of it, its report, its fiducials and what was corrected, and files of it."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

from einthoven.serve import access, corrections, files, sight
from einthoven.serve.library import is_long
from einthoven.serve.routes.door import Read, Write, answer, by_helper, gives, library_of, store_of

router = APIRouter()


@router.get("/ecgs/{ecg}/signal", **gives("application/octet-stream"))
async def signal(
    ecg: str,
    me: Read,
    request: Request,
    start: Annotated[float, Query(ge=0, le=1e7, allow_inf_nan=False)] = 0.0,
    end: Annotated[float | None, Query(gt=0, le=1e7, allow_inf_nan=False)] = None,
    most: Annotated[int | None, Query(ge=10, le=100_000)] = None,
) -> Response:
    """A stretch of the signal as numbers of two bytes behind a header (einthoven.serve.sight)."""
    shelf = library_of(request)

    def cut(again: bool) -> bytes | None:
        row = shelf.row(ecg)
        if not is_long(row):
            return sight.samples(shelf.record(ecg), start, end, most) if row["kind"] != "paper" or again else None
        held = shelf.unpacked(row)
        if held is not None:
            return sight.samples(held, start, end, most)
        return sight.samples(shelf.record(ecg), start, end, most) if again else None  # it cannot be kept: the disk is full

    data = await run_in_threadpool(cut, False)
    if data is None:
        row = await run_in_threadpool(shelf.row, ecg)
        if row["kind"] == "paper":
            return await answer(request, ecg, "signal", start=start, end=end, most=most)
        await by_helper(request, ecg, "unpack")
        data = await run_in_threadpool(cut, True)
    return Response(data, media_type="application/octet-stream")


@router.get("/ecgs/{ecg}/report", **gives("application/json"))
async def report(ecg: str, me: Read, request: Request) -> Response:
    """Measurements, findings with their evidence, models' opinions: `einthoven interpret --json`."""
    return await answer(request, ecg, "report")


@router.get("/ecgs/{ecg}/report.{kind}", **gives("text/html", "application/pdf", "application/fhir+json", "text/plain"))
async def report_file(ecg: str, kind: Literal["html", "pdf", "fhir", "txt"], me: Read, request: Request) -> Response:
    """The same as a page (html), a document (pdf), for a record system (fhir) or plain text (txt)."""
    media = {"html": "text/html", "pdf": "application/pdf", "fhir": "application/fhir+json", "txt": "text/plain; charset=utf-8"}
    head = {"Content-Security-Policy": access.REPORT_POLICY} if kind == "html" else {}
    return await answer(request, ecg, "report-file", media=media[kind], headers=head, kind=kind)


@router.get("/ecgs/{ecg}/beats", **gives("application/json"))
async def beats(ecg: str, me: Read, request: Request) -> Response:
    """P, QRS and T of every beat and lead, s: `einthoven delineate`."""
    return await answer(request, ecg, "beats")


@router.get("/ecgs/{ecg}/views/{view}", **gives("application/octet-stream"))
async def view(ecg: str, view: Literal["median", "overlay", "aligned"], me: Read, request: Request) -> Response:
    """The median beat, all beats over each other, or the signal aligned by its R peaks (Rlign), as numbers behind a header
    (einthoven.serve.sight)."""
    return await answer(request, ecg, view)


@router.get("/ecgs/{ecg}/spectrum", **gives("application/json"))
async def spectrum(ecg: str, me: Read, request: Request) -> Response:
    """The power of each lead over frequency, microvolts squared per Hz, up to 150 Hz; null for a lead with gaps throughout."""
    return await answer(request, ecg, "spectrum")


# ---- fiducials, corrected by hand ----


class Moved(BaseModel):
    """Where a fiducial belongs. beat: its number (from 0) in what /beats tells. to: s; null: the wave is not there (of QRS: no
    beat). name "beat": one that was missed, its R at `to`; its P and T are put there after it. lead: null means over all
    leads. every: the same for every beat of its kind."""

    beat: int = Field(default=0, ge=0, le=10**7)
    name: Literal["beat", "p_on", "p_peak", "p_off", "qrs_on", "r_peak", "qrs_off", "t_on", "t_peak", "t_off"]
    to: float | None = Field(default=None, ge=0, le=1e7, allow_inf_nan=False)
    lead: str | None = Field(default=None, max_length=20)
    every: bool = False


@router.get("/ecgs/{ecg}/fiducials", **gives("application/json"))
async def corrected(ecg: str, me: Read, request: Request) -> Response:
    """The corrections of this ECG, what could not be applied of them, and what the measurements were without them."""
    return await answer(request, ecg, "fiducials")


@router.post("/ecgs/{ecg}/fiducials", status_code=201, **gives("application/json", code=201))
async def correct(ecg: str, body: Moved, me: Write, request: Request) -> Response:
    """Puts a fiducial where it belongs; measurements and findings rest on it from now on, and say so."""
    await by_helper(request, ecg, "correct", user=me.user, **body.model_dump())
    await run_in_threadpool(store_of(request).note, me.user, "correction", f"{ecg} {body.name}")
    made = await answer(request, ecg, "fiducials")
    made.status_code = 201
    return made


@router.delete("/ecgs/{ecg}/fiducials", **gives("application/json"))
async def undo(ecg: str, me: Write, request: Request, every: bool = False) -> Response:
    """Takes the last correction back, or all of them."""

    def back() -> None:
        shelf = library_of(request)
        shelf.row(ecg)
        if corrections.undo(shelf.store, ecg, every=every):
            shelf.store.note(me.user, "correction undone", ecg)

    await run_in_threadpool(back)
    return await answer(request, ecg, "fiducials")


# ---- files ----


@router.get("/ecgs/{ecg}/file.{kind}", **gives(*sorted({files.media_type(kind) for kind in files.KINDS})))
async def file(
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
    name = (await run_in_threadpool(library_of(request).row, ecg))["name"]
    return await answer(
        request, ecg, "file", media=files.media_type(kind), headers=files.headers(name, kind),
        kind=kind, layout=layout, speed=speed, gain=gain, start=start, what=what,
    )  # fmt: skip
