"""Who may come in: signing in and out, tokens, the audit log."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request, Response
from pydantic import BaseModel, Field

from einthoven import __version__
from einthoven.serve import access
from einthoven.serve.access import Scope
from einthoven.serve.routes.door import Admin, Name, Read, store_of

router = APIRouter()


class Login(BaseModel):
    token: str = Field(max_length=200)


@router.post("/login", status_code=204)
def login(body: Login, request: Request, response: Response) -> None:
    """Signs a browser in by a token: it gets a cookie."""
    from einthoven.serve.app import sign_in

    store = store_of(request)
    found = access.who(store, body.token, session=False)
    if found is None:
        raise HTTPException(401, "no such token, or it is over")
    sign_in(response, store, found.user, found.scope, request.app.state.settings)
    store.note(found.user, "login")


@router.post("/logout", status_code=204)
def logout(me: Read, request: Request, response: Response) -> None:
    """Ends this session or token."""
    access.end(store_of(request), me.token)
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
    return store_of(request).rows(f"SELECT {keys} FROM token ORDER BY created")


@router.post("/tokens", status_code=201)
def add_token(body: NewToken, me: Admin, request: Request) -> dict[str, Any]:
    """A token for a program or a colleague; it is told this once."""
    store = store_of(request)
    token, row = access.new_token(store, body.user or me.user, body.scope, name=body.name, lasts=max(body.days * 86400, 60))
    store.note(me.user, "token", f"{body.scope} for {body.user or me.user}: {body.name}")
    return {"id": row, "token": token}


@router.delete("/tokens/{token}", status_code=204)
def end_token(token: str, me: Admin, request: Request) -> None:
    """Ends a token or session."""
    if not access.end(store_of(request), token):
        raise HTTPException(404, "no such token")
    store_of(request).note(me.user, "token ended", token)


@router.get("/audit")
def audit(me: Admin, request: Request, most: Annotated[int, Query(ge=1, le=1000)] = 200) -> list[dict[str, Any]]:
    """The latest lines of the audit log."""
    return store_of(request).rows("SELECT * FROM audit ORDER BY at DESC LIMIT ?", (most,))
