"""The routes under /api: what the command line and Python do, under the same names. Every route but the login says what scope
it needs; test_serve_api.py reads the OpenAPI and fails on one that answers without.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, Form, HTTPException, Query, Request, Response, UploadFile
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from einthoven import __version__
from einthoven.record import EcgError, WrongUse
from einthoven.serve import access, library
from einthoven.serve.access import Scope, Who
from einthoven.serve.jobs import Jobs, model_path, models
from einthoven.serve.library import Library
from einthoven.serve.store import Store

router = APIRouter(prefix="/api")
_FILES = 5000  # of one upload
_LONGEST_LABELS = 20 << 20  # bytes of a labels.csv

Name = Annotated[str, Field(min_length=1, max_length=100)]


def need(scope: Scope) -> Callable[[Request], Who]:
    """Who asks, if they may."""

    def check(request: Request) -> Who:
        store: Store = request.app.state.store
        head = request.headers.get("authorization", "")
        kind, _, token = head.partition(" ")
        if kind.lower() == "bearer":
            found = access.who(store, token.strip(), session=False)
        else:
            found = access.who(store, request.cookies.get(access.COOKIE), session=True)
        if found is None:
            raise HTTPException(401, "sign in, or send a token", headers={"WWW-Authenticate": "Bearer"})
        if not found.may(scope):
            raise HTTPException(403, f"this token may {found.scope}, not {scope}")
        return found

    return check


Read = Annotated[Who, Depends(need("read"))]
Write = Annotated[Who, Depends(need("write"))]
Run = Annotated[Who, Depends(need("run"))]
Admin = Annotated[Who, Depends(need("admin"))]


def _store(request: Request) -> Store:
    made: Store = request.app.state.store
    return made


def _library(request: Request) -> Library:
    made: Library = request.app.state.library
    return made


def _jobs(request: Request) -> Jobs:
    made: Jobs = request.app.state.jobs
    return made


# ---- who ----------------------------------------------------------------------------------------------------------------


class Login(BaseModel):
    token: str = Field(max_length=200)


@router.post("/login", status_code=204)
def login(body: Login, request: Request, response: Response) -> None:
    """Signs a browser in by a token: it gets a cookie."""
    from einthoven.serve.app import sign_in

    store = _store(request)
    found = access.who(store, body.token, session=False)
    if found is None:
        raise HTTPException(401, "no such token, or it is over")
    sign_in(response, store, found.user, found.scope, request.app.state.settings)
    store.note(found.user, "login")


@router.post("/logout", status_code=204)
def logout(me: Read, request: Request, response: Response) -> None:
    """Ends this session or token."""
    access.end(_store(request), me.token)
    response.delete_cookie(access.COOKIE, path="/")


@router.get("/me")
def me(me: Read, request: Request) -> dict[str, Any]:
    """Who I am, what I may, and how this server handles patients' data."""
    anonymous = request.app.state.settings.anonymous
    return {"user": me.user, "scope": me.scope, "version": __version__, "anonymize": anonymous}


class NewToken(BaseModel):
    name: Name
    scope: Scope = "read"
    user: Name | None = None
    days: float = Field(default=90, gt=0, le=366)


@router.get("/tokens")
def tokens(me: Admin, request: Request) -> list[dict[str, Any]]:
    """All tokens and sessions; of none is more kept than its hash."""
    keys = "id, user, name, scope, session, created, expires"
    return _store(request).rows(f"SELECT {keys} FROM token ORDER BY created")


@router.post("/tokens", status_code=201)
def add_token(body: NewToken, me: Admin, request: Request) -> dict[str, Any]:
    """A token for a program or a colleague; it is told this once."""
    store = _store(request)
    token, row = access.new_token(store, body.user or me.user, body.scope, name=body.name, lasts=max(body.days * 86400, 60))
    store.note(me.user, "token", f"{body.scope} for {body.user or me.user}: {body.name}")
    return {"id": row, "token": token}


@router.delete("/tokens/{token}", status_code=204)
def end_token(token: str, me: Admin, request: Request) -> None:
    """Ends a token or session."""
    if not access.end(_store(request), token):
        raise HTTPException(404, "no such token")
    _store(request).note(me.user, "token ended", token)


@router.get("/audit")
def audit(me: Admin, request: Request, most: Annotated[int, Query(ge=1, le=1000)] = 200) -> list[dict[str, Any]]:
    """The latest lines of the audit log."""
    return _store(request).rows("SELECT * FROM audit ORDER BY at DESC LIMIT ?", (most,))


# ---- ECGs ---------------------------------------------------------------------------------------------------------------


@router.post("/ecgs")
async def upload(
    me: Write,
    request: Request,
    files: Annotated[list[UploadFile], File(max_length=_FILES)],
    anonymize: Annotated[bool | None, Form()] = None,
) -> list[dict[str, Any]]:
    """ECGs of any vendor, folders, ZIPs, photos, PDFs: what became of each. Of a recording nothing that identifies the
    patient is kept, unless `anonymize` is false."""
    anonymous = request.app.state.settings.anonymous if anonymize is None else anonymize
    store, shelf = _store(request), _library(request)
    folder = Path(await run_in_threadpool(tempfile.mkdtemp, dir=store.folder / "incoming"))
    try:
        total = 0
        for number, file in enumerate(files):
            place = _inside(folder, file.filename or f"file-{number}")
            with place.open("wb") as out:
                while piece := await file.read(1 << 20):
                    total += len(piece)
                    if total > request.app.state.settings.upload:
                        raise HTTPException(413, "more than this server takes in one upload")
                    await run_in_threadpool(out.write, piece)
        arrived = await run_in_threadpool(lambda: list(shelf.take(folder, me.user, anonymous=anonymous)))
    finally:
        await run_in_threadpool(shutil.rmtree, folder, True)
    store.note(me.user, "upload", f"{sum(a.id is not None for a in arrived)} of {len(arrived)}")
    return [
        {"name": a.name, "id": a.id, "error": a.error, "known": a.known, "warnings": a.warnings, "removed": a.removed}
        for a in arrived
    ]


def _inside(folder: Path, name: str) -> Path:
    """Where an uploaded file goes: its folders are kept (WFDB, DICOM trees), nothing leaves `folder`."""
    parts = [p for p in PurePosixPath(name.replace("\\", "/")).parts if p not in ("/", "..", ".") and "\0" not in p]
    kept = [part[:120] for part in parts[-6:]] or ["file"]
    place = folder.joinpath(*kept)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.is_dir() or not place.resolve().is_relative_to(folder.resolve()):
            raise HTTPException(400, f"no file can be called {name[:100]!r}")
    except OSError as fault:
        raise HTTPException(400, f"no file can be called {name[:100]!r}") from fault
    return place


@router.get("/ecgs")
def ecgs(
    me: Read,
    request: Request,
    search: Annotated[str, Query(max_length=200)] = "",
    tag: Annotated[str, Query(max_length=100)] = "",
    label: Annotated[str, Query(max_length=100)] = "",
    most: Annotated[int, Query(ge=1, le=1000)] = 100,
    skip: Annotated[int, Query(ge=0, le=10**9)] = 0,
) -> dict[str, Any]:
    """The library, latest first: `ecgs` of `total`."""
    where, values = ["1"], list[Any]()
    if search:
        where.append("(name LIKE ? ESCAPE '\\' OR patient LIKE ? ESCAPE '\\' OR format LIKE ? ESCAPE '\\')")
        pattern = "%" + search.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        values += [pattern] * 3
    for table, wanted in (("tag", tag), ("label", label)):
        if wanted:
            where.append(f"id IN (SELECT ecg FROM {table} WHERE name = ?)")
            values.append(wanted)
    clause = " AND ".join(where)
    store, shelf = _store(request), _library(request)
    total = store.row(f"SELECT COUNT(*) AS n FROM ecg WHERE {clause}", values)
    rows = store.rows(f"SELECT * FROM ecg WHERE {clause} ORDER BY added DESC, id LIMIT ? OFFSET ?", (*values, most, skip))
    return {"total": total["n"] if total else 0, "ecgs": [shelf.told(row) for row in rows]}


@router.get("/ecgs/{ecg}")
def one(ecg: str, me: Read, request: Request) -> dict[str, Any]:
    """What is known of one ECG."""
    shelf = _library(request)
    return shelf.told(shelf.row(ecg))


class Change(BaseModel):
    name: Name | None = None
    tags: list[Name] | None = Field(default=None, max_length=100)
    labels: list[Name] | None = Field(default=None, max_length=100)


@router.patch("/ecgs/{ecg}")
def change(ecg: str, body: Change, me: Write, request: Request) -> dict[str, Any]:
    """Its name, tags or labels: those that are sent replace those that were."""
    store, shelf = _store(request), _library(request)
    shelf.row(ecg)
    with store.change() as db:
        if body.name is not None:
            db.execute("UPDATE ecg SET name = ? WHERE id = ?", (body.name, ecg))
        for table, names in (("tag", body.tags), ("label", body.labels)):
            if names is not None:
                db.execute(f"DELETE FROM {table} WHERE ecg = ?", (ecg,))
                db.executemany(f"INSERT OR IGNORE INTO {table} VALUES (?, ?)", [(ecg, name) for name in names])
    return shelf.told(shelf.row(ecg))


@router.delete("/ecgs/{ecg}", status_code=204)
def delete(ecg: str, me: Write, request: Request) -> None:
    """Deletes an ECG and all that was made of it, for good."""
    _library(request).delete(ecg)
    _store(request).note(me.user, "delete", ecg)


@router.post("/labels")
async def label_many(me: Write, request: Request, file: UploadFile) -> dict[str, Any]:
    """A labels.csv (`file_name,label[,label2,...]`) for ECGs of the library, by their names: it replaces their labels."""
    data = await file.read(_LONGEST_LABELS + 1)
    if len(data) > _LONGEST_LABELS:
        raise HTTPException(413, "more than 20 MB of labels")
    from einthoven.io.files import decode

    def put() -> dict[str, Any]:
        store = _store(request)
        names = {row["name"]: row["id"] for row in store.rows("SELECT id, name FROM ecg")}
        made, faults = library.labels_csv(decode(data), names)
        with store.change() as db:
            for ecg, labels in made.items():
                db.execute("DELETE FROM label WHERE ecg = ?", (ecg,))
                db.executemany("INSERT OR IGNORE INTO label VALUES (?, ?)", [(ecg, name) for name in labels])
        return {"labelled": len(made), "faults": faults}

    return await run_in_threadpool(put)


@router.get("/labels")
def labels(me: Read, request: Request) -> list[dict[str, Any]]:
    """Every label, and how many ECGs carry it."""
    return _store(request).rows("SELECT name, COUNT(*) AS ecgs FROM label GROUP BY name ORDER BY ecgs DESC, name")


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
    made = library.samples(_library(request).record(ecg), start, end, most)
    return Response(made, media_type="application/octet-stream")


@router.get("/ecgs/{ecg}/report")
def report(ecg: str, me: Read, request: Request) -> dict[str, Any]:
    """Measurements, findings with their evidence, models' opinions: `einthoven interpret --json`."""
    from einthoven.report import to_json

    return to_json(_library(request).report(ecg))


@router.get("/ecgs/{ecg}/report.{kind}")
def report_file(ecg: str, kind: str, me: Read, request: Request) -> Response:
    """The same as a page (html), a document (pdf), for a record system (fhir) or plain text (txt)."""
    from einthoven.report import to_fhir, to_html, to_pdf, to_text

    if kind not in ("html", "pdf", "fhir", "txt"):
        raise HTTPException(404, "a report is html, pdf, fhir or txt")
    made = _library(request).report(ecg)
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

    made = _library(request).report(ecg)
    return beats_json(made.beats) if made.beats is not None else {}


@router.get("/ecgs/{ecg}/picture")
def picture(ecg: str, me: Read, request: Request) -> Response:
    """The photo or scan that an ECG on paper came as."""
    shelf = _library(request)
    row = shelf.row(ecg)
    if row["kind"] != "paper":
        raise HTTPException(404, "this ECG came as a recording")
    from einthoven.paper.entry import picture_of
    from einthoven.paper.reading import PHOTO_PX, bounded, jpeg_bytes

    rgb, _ = picture_of(shelf.path(row))
    return Response(jpeg_bytes(bounded(rgb, PHOTO_PX)), media_type="image/jpeg")


# ---- models -------------------------------------------------------------------------------------------------------------


@router.get("/models")
def all_models(me: Read, request: Request) -> list[dict[str, Any]]:
    """What can predict: those that ship, were pulled, or were trained here."""
    from einthoven.exchange.bundle import Bundle

    store = _store(request)
    made: list[dict[str, Any]] = []
    for name, path in models(store).items():
        try:
            said = Bundle.open(path, verify=False).manifest
        except EcgError as fault:
            made.append({"name": name, "error": fault.what})
            continue
        here = path.parent == store.folder / "models"
        made.append(
            {
                "name": name, "version": said.version, "task": said.task, "labels": said.names, "summary": said.summary,
                "sees": [one.kind for one in said.inputs], "trained_here": here, "licence": said.licence,
            }
        )  # fmt: skip
    return made


@router.get("/models/{name}")
def one_model(name: str, me: Read, request: Request) -> dict[str, Any]:
    """A model's manifest: how good it is and on whom, what it was trained on, what it takes."""
    from einthoven.exchange.bundle import Bundle

    told: dict[str, Any] = Bundle.open(model_path(_store(request), name), verify=False).manifest.model_dump(mode="json")
    return told


@router.post("/models/{name}/verify")
def verify(name: str, me: Read, request: Request) -> dict[str, Any]:
    """Whether every file of it is as its maker left it (SHA-256)."""
    from einthoven.exchange.bundle import Bundle

    try:
        Bundle.open(model_path(_store(request), name), verify=True)
    except EcgError as fault:
        if fault.what.startswith("no model"):
            raise
        return {"ok": False, "why": fault.what}
    return {"ok": True}


@router.get("/models/{name}/report")
def model_report(name: str, me: Read, request: Request) -> Response:
    """The report of its training, where it has one."""
    from einthoven.exchange.bundle import Bundle

    bundle = Bundle.open(model_path(_store(request), name), verify=False)
    if "report.html" not in bundle:
        raise HTTPException(404, "no such report: this model came without one")
    return Response(
        bundle.read("report.html"), media_type="text/html", headers={"Content-Security-Policy": access.REPORT_POLICY}
    )


# ---- the exchange: stores that whoever runs the server has named ----------------------------------------------------------


@router.get("/stores")
def stores(me: Read, request: Request) -> list[str]:
    """Addresses of the model exchanges, without secrets; a store is asked for by its place in this list."""
    return [_open(request, number).address for number in range(len(request.app.state.settings.stores))]


def _open(request: Request, number: int) -> Any:
    from einthoven.exchange.stores import open_store

    addresses = request.app.state.settings.stores
    if not 0 <= number < len(addresses):
        raise HTTPException(404, "no such store")
    return open_store(addresses[number])


@router.get("/stores/{store}/models")
def offered(store: int, me: Read, request: Request) -> list[dict[str, Any]]:
    """What an exchange offers."""
    return [item.model_dump(mode="json") for item in _open(request, store).list()]


@router.post("/stores/{store}/models/{name}/pull")
def pull(store: int, name: str, me: Run, request: Request) -> dict[str, Any]:
    """Fetches a model, verified file by file, whole or not at all; one of that name that is here is replaced."""
    from einthoven.exchange.manifest import plain_name

    try:
        place = _store(request).folder / "models" / plain_name(name)
    except ValueError as fault:
        raise WrongUse(str(fault)) from None
    bundle = _open(request, store).fetch(name, place)
    _store(request).note(me.user, "pull", name)
    return {"name": bundle.manifest.name, "version": bundle.manifest.version, "digest": bundle.digest}


class Publish(BaseModel):
    store: int = Field(ge=0)


@router.post("/models/{name}/publish")
def publish(name: str, body: Publish, me: Run, request: Request) -> dict[str, Any]:
    """Puts a model into an exchange. The model goes, with its card and figures; no ECG goes with it."""
    from einthoven.exchange.bundle import Bundle

    item = _open(request, body.store).publish(Bundle.open(model_path(_store(request), name)))
    _store(request).note(me.user, "publish", name)
    told: dict[str, Any] = item.model_dump(mode="json")
    return told


@router.post("/ecgs/{ecg}/predict")
def predict(
    ecg: str, me: Read, request: Request, model: Annotated[str, Query(max_length=200)] = "einthoven-12"
) -> dict[str, Any]:
    """Calibrated probabilities of a model's labels: `einthoven predict`."""
    from einthoven.exchange.predict import loaded

    shelf = _library(request)
    predictor = loaded(str(model_path(_store(request), model)))
    row = shelf.row(ecg)
    image = predictor.manifest.image
    if row["kind"] == "paper" and image is not None and image.pictures == "look":
        made = predictor.predict_file(shelf.path(row))
    else:
        made = predictor.predict(shelf.record(ecg))
    return {"model": predictor.manifest.name, "labels": made.labels, "present": made.present, "warnings": made.warnings}


# ---- jobs ---------------------------------------------------------------------------------------------------------------


class NewJob(BaseModel):
    kind: Name
    args: dict[str, Any] = Field(default_factory=dict)


@router.post("/jobs", status_code=201)
def add_job(body: NewJob, me: Run, request: Request) -> dict[str, Any]:
    """Puts work on the queue. finetune: {"name", "ecgs": [ids], "weights" or "model", "method", "task", "epochs", "seed"}."""
    jobs = _jobs(request)
    job = jobs.add(body.kind, me.user, body.args)
    _store(request).note(me.user, f"job {body.kind}", job)
    return jobs.told(jobs.row(job))


@router.get("/jobs")
def all_jobs(me: Read, request: Request) -> list[dict[str, Any]]:
    """The latest jobs."""
    return [Jobs.told(row) for row in _store(request).rows("SELECT * FROM job ORDER BY created DESC LIMIT 200")]


@router.get("/jobs/{job}")
def one_job(job: str, me: Read, request: Request) -> dict[str, Any]:
    """State, and the result once it is there."""
    jobs = _jobs(request)
    return jobs.told(jobs.row(job))


@router.post("/jobs/{job}/cancel", status_code=204)
def cancel(job: str, me: Run, request: Request) -> None:
    """Ends a job that waits or runs."""
    _jobs(request).cancel(job)
    _store(request).note(me.user, "cancel", job)


@router.get("/jobs/{job}/events")
async def events(job: str, me: Read, request: Request, after: Annotated[int, Query(ge=0)] = 0) -> StreamingResponse:
    """What the job says, as server-sent events, from the beginning or behind `after` (or Last-Event-ID); ends with the job."""
    jobs = _jobs(request)
    await run_in_threadpool(jobs.row, job)
    last = request.headers.get("last-event-id", "")
    first = int(last) if last.isdigit() and len(last) < 12 else after

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
