"""What every route needs: who asks and whether they may, and the rooms of the server behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

from einthoven.serve import access, made
from einthoven.serve.access import Scope, Who
from einthoven.serve.helpers import Helpers
from einthoven.serve.jobs import Jobs
from einthoven.serve.library import Library
from einthoven.serve.store import Store

Name = Annotated[str, Field(min_length=1, max_length=100)]
BIGGEST = 2**63 - 1  # number that the catalogue can be asked for


class Refused(BaseModel):
    """Why not: in words, or field by field where what was sent is not of the form that is described."""

    detail: str | list[dict[str, Any]]


REFUSALS: dict[int | str, dict[str, Any]] = {"4XX": {"model": Refused, "description": "Refused, with the reason"}}


def gives(*media: str, code: int = 200) -> dict[str, Any]:
    """Of a route that answers with a file: what the description of the API says of it."""
    content = {one: {"schema": {"type": "object"}} if one == "application/json" else {} for one in media}
    return {"response_class": Response, "responses": {code: {"content": content}}}


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


def store_of(request: Request) -> Store:
    made: Store = request.app.state.store
    return made


def library_of(request: Request) -> Library:
    made: Library = request.app.state.library
    return made


def jobs_of(request: Request) -> Jobs:
    made: Jobs = request.app.state.jobs
    return made


async def answer(
    request: Request, ecg: str, name: str, /, *, media: str | None = None, headers: Any = None, **args: Any
) -> Response:
    """What is made of an ECG (serve/made.py): as it is kept, else by a helper, while this process goes on with others. Raises
    EcgError."""
    kind = made.KINDS[name]
    data = await run_in_threadpool(made.kept, library_of(request), ecg, name)
    if data is None:
        data = await by_helper(request, ecg, name, **args)
    head = dict(headers or {})
    if kind.packed:
        head["Vary"] = "Accept-Encoding"
        if "gzip" in request.headers.get("accept-encoding", ""):
            head["Content-Encoding"] = "gzip"
        else:
            data = await run_in_threadpool(made.opened, data)
    return Response(data, media_type=media or kind.media, headers=head)


async def by_helper(request: Request, ecg: str, name: str, /, **args: Any) -> bytes:
    """The same by a helper, whatever is kept; compressed where it is `Kind.packed`."""
    helpers: Helpers = request.app.state.helpers

    def ask() -> Any:
        return helpers.ask(library_of(request).row(ecg), name, args)

    # shielded: others may wait for the same answer
    return await asyncio.shield(asyncio.wrap_future(await run_in_threadpool(ask)))
