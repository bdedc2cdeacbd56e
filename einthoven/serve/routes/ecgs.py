"""The library: ECGs in, found, labelled, deleted."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, HTTPException, Query, Request, UploadFile
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

from einthoven.serve import library
from einthoven.serve.routes.door import Name, Read, Write, library_of, store_of

router = APIRouter()
_FILES = 5000  # of one upload
_LONGEST_LABELS = 20 << 20  # bytes of a labels.csv


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
    store, shelf = store_of(request), library_of(request)
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
    if not arrived:  # beside others, a file of a kind that nothing reads is passed over; alone, it is not without a word
        arrived = [library.Arrival(file.filename or "", error="is of no kind that can be read") for file in files]

    def told() -> None:
        store.note(me.user, "upload", f"{sum(a.id is not None for a in arrived)} of {len(arrived)}")
        for one in arrived:
            if one.id is not None and not one.known:
                request.app.state.helpers.ahead(shelf.row(one.id))

    await run_in_threadpool(told)
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
    where, values = ["1 = 1"], list[Any]()
    if search:
        where.append("(name LIKE ? ESCAPE '\\' OR patient LIKE ? ESCAPE '\\' OR format LIKE ? ESCAPE '\\')")
        pattern = "%" + search.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        values += [pattern] * 3
    for table, wanted in (("tag", tag), ("label", label)):
        if wanted:
            where.append(f"id IN (SELECT ecg FROM {table} WHERE name = ?)")
            values.append(wanted)
    clause = " AND ".join(where)
    store, shelf = store_of(request), library_of(request)
    shelf.welcomed()
    total = store.row(f"SELECT COUNT(*) AS n FROM ecg WHERE {clause}", values)
    rows = store.rows(f"SELECT * FROM ecg WHERE {clause} ORDER BY added DESC, id LIMIT ? OFFSET ?", (*values, most, skip))
    return {"total": total["n"] if total else 0, "ecgs": shelf.told_all(rows)}


@router.get("/ecgs/{ecg}")
def one(ecg: str, me: Read, request: Request) -> dict[str, Any]:
    """What is known of one ECG."""
    shelf = library_of(request)
    return shelf.told(shelf.row(ecg))


class Change(BaseModel):
    name: Name | None = None
    tags: list[Name] | None = Field(default=None, max_length=100)
    labels: list[Name] | None = Field(default=None, max_length=100)


@router.patch("/ecgs/{ecg}")
def change(ecg: str, body: Change, me: Write, request: Request) -> dict[str, Any]:
    """Its name, tags or labels: those that are sent replace those that were."""
    store, shelf = store_of(request), library_of(request)
    shelf.row(ecg)
    with store.change() as db:
        if body.name is not None:
            db.execute("UPDATE ecg SET name = ? WHERE id = ?", (body.name, ecg))
        for table, names in (("tag", body.tags), ("label", body.labels)):
            if names is not None:
                db.execute(f"DELETE FROM {table} WHERE ecg = ?", (ecg,))
                db.executemany(f"INSERT INTO {table} VALUES (?, ?) ON CONFLICT DO NOTHING", [(ecg, name) for name in names])
    return shelf.told(shelf.row(ecg))


@router.delete("/ecgs/{ecg}", status_code=204)
def delete(ecg: str, me: Write, request: Request) -> None:
    """Deletes an ECG and all that was made of it, for good."""
    library_of(request).delete(ecg)
    request.app.state.helpers.forget(ecg)
    store_of(request).note(me.user, "delete", ecg)


@router.post("/labels")
async def label_many(me: Write, request: Request, file: UploadFile) -> dict[str, Any]:
    """A labels.csv (`file_name,label[,label2,...]`) for ECGs of the library, by their names: it replaces their labels."""
    data = await file.read(_LONGEST_LABELS + 1)
    if len(data) > _LONGEST_LABELS:
        raise HTTPException(413, "more than 20 MB of labels")
    from einthoven.io.files import decode

    def put() -> dict[str, Any]:
        store = store_of(request)
        names = {row["name"]: row["id"] for row in store.rows("SELECT id, name FROM ecg")}
        made, faults = library.labels_csv(decode(data), names)
        with store.change() as db:
            for ecg, labels in made.items():
                db.execute("DELETE FROM label WHERE ecg = ?", (ecg,))
                db.executemany("INSERT INTO label VALUES (?, ?) ON CONFLICT DO NOTHING", [(ecg, name) for name in labels])
        return {"labelled": len(made), "faults": faults}

    return await run_in_threadpool(put)


@router.get("/labels")
def labels(me: Read, request: Request) -> list[dict[str, Any]]:
    """Every label, and how many ECGs carry it."""
    return store_of(request).rows("SELECT name, COUNT(*) AS ecgs FROM label GROUP BY name ORDER BY ecgs DESC, name")
