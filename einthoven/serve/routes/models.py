"""Models: those that are here, what they say of an ECG, and the exchanges that whoever runs the server has named."""

from __future__ import annotations

import secrets
import tempfile
import zipfile
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Form, HTTPException, Query, Request, Response, UploadFile
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

from einthoven.record import EcgError, WrongUse
from einthoven.serve import access
from einthoven.serve.jobs import model_path, models, upload_place
from einthoven.serve.routes.door import Read, Run, answer, gives, jobs_of, store_of

router = APIRouter()


@router.get("/models")
def all_models(me: Read, request: Request) -> list[dict[str, Any]]:
    """What can predict: those that ship, were pulled, or were trained here."""
    from einthoven.exchange.bundle import Bundle

    store = store_of(request)
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
                "sees": [one.kind for one in said.inputs], "onnx": "model.onnx" in said.files, "trained_here": here,
                "licence": said.licence,
            }
        )  # fmt: skip
    return made


@router.post("/models", status_code=201)
async def add_model(
    me: Run,
    request: Request,
    file: UploadFile,
    name: Annotated[str, Form(max_length=100)] = "",
    labels: Annotated[str, Form(max_length=20_000)] = "",
    task: Annotated[str, Form(max_length=20)] = "",
    preset: Annotated[str, Form(max_length=100)] = "",
    licence: Annotated[str, Form(max_length=200)] = "",
) -> dict[str, Any]:
    """A model from a file: a Bundle as a ZIP is here at once, verified; a foreign ONNX file becomes a job that reads it,
    proves it against onnxruntime and makes a Bundle of it (`einthoven models import`; `labels` parted by commas where the file
    has none)."""
    store = store_of(request)
    token = secrets.token_hex(12)
    place = upload_place(store, token)
    try:
        with place.open("xb") as out:
            while piece := await file.read(1 << 20):
                await run_in_threadpool(out.write, piece)
        if zipfile.is_zipfile(place):
            return await run_in_threadpool(_take_bundle, request, place, me.user)
        args: dict[str, Any] = {"name": name, "file": token, "task": task, "preset": preset, "licence": licence}
        args["labels"] = [one.strip() for one in labels.split(",") if one.strip()]
        return await run_in_threadpool(_read_foreign, request, args, me.user)
    except BaseException:
        place.unlink(missing_ok=True)
        raise


def _read_foreign(request: Request, args: dict[str, Any], user: str) -> dict[str, Any]:
    jobs = jobs_of(request)
    job = jobs.add("import", user, args)
    store_of(request).note(user, "job import", job)
    return jobs.told(jobs.row(job))


def _take_bundle(request: Request, place: Path, user: str) -> dict[str, Any]:
    from einthoven.exchange.bundle import Bundle
    from einthoven.exchange.manifest import plain_name

    try:
        bundle = Bundle.open(place)
        name = plain_name(bundle.manifest.name)
    except ValueError as fault:
        raise WrongUse(str(fault)) from None
    except EcgError as fault:
        raise EcgError(fault.what, where=fault.where) from None  # without the place it was put in
    target = store_of(request).folder / "models" / name
    if target.exists():
        raise WrongUse(f"there is a model {name} already")
    bundle.copy(target)
    place.unlink()
    store_of(request).note(user, "model added", name)
    return {"model": name}


@router.get("/models/{name}")
def one_model(name: str, me: Read, request: Request) -> dict[str, Any]:
    """A model's manifest: how good it is and on whom, what it was trained on, what it takes."""
    from einthoven.exchange.bundle import Bundle

    told: dict[str, Any] = Bundle.open(model_path(store_of(request), name), verify=False).manifest.model_dump(mode="json")
    return told


@router.get("/architectures")
def architectures(me: Read) -> list[dict[str, Any]]:
    """Models without weights that can be trained from scratch: what they see, how large they are, whose design they follow."""
    from einthoven.models.table import MODELS

    return [
        {"name": one.name, "sees": one.kind, "parameters": one.parameters, "citation": one.citation} for one in MODELS.values()
    ]


@router.get("/models/{name}/bundle", **gives("application/zip"))
def model_bundle(name: str, me: Read, request: Request) -> Response:
    """The whole model as one file: the Bundle as a ZIP, which `einthoven predict --model` takes, too."""
    from einthoven.exchange.bundle import Bundle

    with tempfile.TemporaryDirectory() as folder:
        made = Bundle.open(model_path(store_of(request), name)).copy(Path(folder) / "model.zip")
        data = Path(made.path).read_bytes()
    head = {"Content-Disposition": f'attachment; filename="{name}.zip"'}
    return Response(data, media_type="application/zip", headers=head)


@router.get("/models/{name}/onnx", **gives("application/octet-stream"))
def model_onnx(name: str, me: Read, request: Request) -> Response:
    """Its network alone, as ONNX."""
    from einthoven.exchange.bundle import Bundle

    bundle = Bundle.open(model_path(store_of(request), name))
    if "model.onnx" not in bundle:
        raise HTTPException(404, "no such network: this model is more than one, take the whole")
    head = {"Content-Disposition": f'attachment; filename="{name}.onnx"'}
    return Response(bundle.read("model.onnx"), media_type="application/octet-stream", headers=head)


@router.post("/models/{name}/verify")
def verify(name: str, me: Read, request: Request) -> dict[str, Any]:
    """Whether every file of it is as its maker left it (SHA-256)."""
    from einthoven.exchange.bundle import Bundle

    try:
        Bundle.open(model_path(store_of(request), name), verify=True)
    except EcgError as fault:
        if fault.what.startswith("no model"):
            raise
        return {"ok": False, "why": fault.what}
    return {"ok": True}


@router.get("/models/{name}/report", **gives("text/html"))
def model_report(name: str, me: Read, request: Request) -> Response:
    """The report of its training, where it has one."""
    from einthoven.exchange.bundle import Bundle

    bundle = Bundle.open(model_path(store_of(request), name), verify=False)
    if "report.html" not in bundle:
        raise HTTPException(404, "no such report: this model came without one")
    return Response(
        bundle.read("report.html"), media_type="text/html", headers={"Content-Security-Policy": access.REPORT_POLICY}
    )


@router.post("/ecgs/{ecg}/predict", **gives("application/json"))
async def predict(
    ecg: str, me: Read, request: Request, model: Annotated[str, Query(max_length=200)] = "einthoven-12"
) -> Response:
    """Calibrated probabilities of a model's labels: `einthoven predict`."""
    path = await run_in_threadpool(model_path, store_of(request), model)
    return await answer(request, ecg, "predict", model=str(path))


@router.get("/ecgs/{ecg}/explain", **gives("application/octet-stream"))
async def explain(
    ecg: str,
    me: Read,
    request: Request,
    model: Annotated[str, Query(max_length=200)] = "einthoven-12",
    label: Annotated[str | None, Query(max_length=200)] = None,
    method: Annotated[str, Query(max_length=40)] = "occlusion",
    start: Annotated[float, Query(ge=0, le=1e7, allow_inf_nan=False)] = 0.0,
) -> Response:
    """Which waves of which leads speak for a label (None: the likeliest), as numbers behind a header (einthoven.serve.sight):
    `einthoven explain`. Methods but occlusion need torch."""
    path = await run_in_threadpool(model_path, store_of(request), model)
    return await answer(request, ecg, "explain", model=str(path), label=label, method=method, start=start)


# ---- the exchange ----


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
        place = store_of(request).folder / "models" / plain_name(name)
    except ValueError as fault:
        raise WrongUse(str(fault)) from None
    bundle = _open(request, store).fetch(name, place)
    store_of(request).note(me.user, "pull", name)
    return {"name": bundle.manifest.name, "version": bundle.manifest.version, "digest": bundle.digest}


class Publish(BaseModel):
    store: int = Field(ge=0)


@router.post("/models/{name}/publish")
def publish(name: str, body: Publish, me: Run, request: Request) -> dict[str, Any]:
    """Puts a model into an exchange. The model goes, with its card and figures; no ECG goes with it."""
    from einthoven.exchange.bundle import Bundle

    item = _open(request, body.store).publish(Bundle.open(model_path(store_of(request), name)))
    store_of(request).note(me.user, "publish", name)
    told: dict[str, Any] = item.model_dump(mode="json")
    return told
