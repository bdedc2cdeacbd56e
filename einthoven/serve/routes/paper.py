"""An ECG that came on paper: the photo, the rectified page with what was read off it, and what a user knows of it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

from einthoven.serve.routes.door import Read, Write, answer, gives, library_of
from einthoven.serve.store import Row

router = APIRouter()
Pixels = Annotated[float, Field(ge=-1e5, le=1e5, allow_inf_nan=False)]


class Known(BaseModel):
    """What a user knows of a page; null is to be found. layout: "3x4+1", ...; speed in mm/s; gain in mm/mV; corners of the
    sheet in the picture, x and y in its pixels, from the upper left clockwise; page of a PDF, from 0."""

    layout: str | None = Field(default=None, min_length=1, max_length=200)
    speed: float | None = Field(default=None, ge=1, le=1000, allow_inf_nan=False)
    gain: float | None = Field(default=None, ge=1, le=1000, allow_inf_nan=False)
    corners: list[tuple[Pixels, Pixels]] | None = Field(default=None, min_length=4, max_length=4)
    page: int | None = Field(default=None, ge=0, le=1000)


def _paper(request: Request, ecg: str) -> Row:
    row = library_of(request).row(ecg)
    if row["kind"] != "paper":
        raise HTTPException(404, "this ECG came as a recording")
    return row


@router.get("/ecgs/{ecg}/picture", **gives("image/jpeg"))
async def picture(ecg: str, me: Read, request: Request) -> Response:
    """The photo or scan that an ECG on paper came as."""
    await run_in_threadpool(_paper, request, ecg)
    return await answer(request, ecg, "picture")


@router.get("/ecgs/{ecg}/sheet", **gives("image/jpeg"))
async def sheet(ecg: str, me: Read, request: Request) -> Response:
    """The page set straight, with the traces that were read over the print and how sure each is."""
    await run_in_threadpool(_paper, request, ecg)
    return await answer(request, ecg, "sheet")


@router.get("/ecgs/{ecg}/paper", **gives("application/json"))
async def paper(ecg: str, me: Read, request: Request) -> Response:
    """How it was read: layout, speed, gain and whether each was given, read or assumed; the sheet's outline in the picture and
    the picture's size, in pixels; how sure each lead is; and what a user said of it (`known`)."""
    await run_in_threadpool(_paper, request, ecg)
    return await answer(request, ecg, "paper")


@router.put("/ecgs/{ecg}/paper", **gives("application/json"))
async def read_again(ecg: str, body: Known, me: Write, request: Request) -> Response:
    """Reads the page again with what a user knows of it; all null: as it was found."""

    def hint() -> None:
        _paper(request, ecg)
        shelf = library_of(request)
        shelf.hint(ecg, body.model_dump(exclude_none=True))
        shelf.store.note(me.user, "paper read again", ecg)

    await run_in_threadpool(hint)
    return await answer(request, ecg, "paper")
