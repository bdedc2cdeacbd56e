"""Jobs: long work, asked for, listened to, ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field, field_validator

from einthoven.serve import tables
from einthoven.serve.jobs import Jobs
from einthoven.serve.routes.door import BIGGEST, Name, Read, Run, gives, jobs_of, store_of
from einthoven.serve.store import to_json

router = APIRouter()


class NewJob(BaseModel):
    kind: Name
    args: dict[str, Any] = Field(default_factory=dict)

    @field_validator("args")
    @classmethod
    def _can_be_kept(cls, args: dict[str, Any]) -> dict[str, Any]:
        try:
            to_json(args).encode()
        except (ValueError, RecursionError):  # NaN, half a surrogate pair, a thousand lists in each other
            raise ValueError("numbers that are none, text that is no Unicode, or too deep") from None
        return args


@router.post("/jobs", status_code=201)
def add_job(body: NewJob, me: Run, request: Request) -> dict[str, Any]:
    """Puts work on the queue. finetune: {"name", "ecgs": [ids], "weights" or "model", "method", "task", "epochs", "seed",
    "batch", "patience", "learning_rate" (null: found), "gamma", "finder_high"}. predict: {"ecgs": [ids], "model"}."""
    jobs = jobs_of(request)
    job = jobs.add(body.kind, me.user, body.args)
    store_of(request).note(me.user, f"job {body.kind}", job)
    return jobs.told(jobs.row(job))


@router.get("/jobs")
def all_jobs(me: Read, request: Request) -> list[dict[str, Any]]:
    """The latest jobs."""
    return [Jobs.told(row) for row in store_of(request).rows("SELECT * FROM job ORDER BY created DESC LIMIT 200")]


@router.get("/jobs/{job}")
def one_job(job: str, me: Read, request: Request) -> dict[str, Any]:
    """State, and the result once it is there."""
    jobs = jobs_of(request)
    return jobs.told(jobs.row(job))


@router.get("/jobs/{job}/table", **gives("text/csv"))
def table(job: str, me: Read, request: Request) -> Response:
    """What a job of predictions found, as CSV: a row an ECG, a column a label."""
    jobs = jobs_of(request)
    row = jobs.told(jobs.row(job))
    place = jobs.store.folder / "jobs" / row["id"] / tables.TABLE
    if row["state"] != "done" or not place.exists():
        raise HTTPException(404, "no such table: the job is of another kind, or not done")
    head = {"Content-Disposition": 'attachment; filename="predictions.csv"'}
    return Response(place.read_bytes(), media_type="text/csv; charset=utf-8", headers=head)


@router.post("/jobs/{job}/cancel", status_code=204)
def cancel(job: str, me: Run, request: Request) -> None:
    """Ends a job that waits or runs."""
    jobs_of(request).cancel(job)
    store_of(request).note(me.user, "cancel", job)


@router.get("/jobs/{job}/events", **gives("text/event-stream"))
async def events(job: str, me: Read, request: Request, after: Annotated[int, Query(ge=0, le=BIGGEST)] = 0) -> StreamingResponse:
    """What the job says, as server-sent events, from the beginning or behind `after` (or Last-Event-ID); ends with the job."""
    jobs = jobs_of(request)
    await run_in_threadpool(jobs.row, job)
    last = request.headers.get("last-event-id", "")
    first = int(last) if last.isdecimal() and len(last) < 12 else after

    async def said() -> AsyncIterator[str]:
        at, quiet = first, 0.0
        while not await request.is_disconnected():
            over = (await run_in_threadpool(jobs.row, job))["state"] in ("done", "failed", "cancelled")
            new = await run_in_threadpool(jobs.events, job, at)
            for at, event in new:
                yield f"id: {at}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n"
            if not new and over:
                return
            if not new:
                await asyncio.sleep(0.2)
                quiet += 0.2
                if quiet >= 15:
                    quiet = 0.0
                    yield ": still there\n\n"

    return StreamingResponse(said(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})
