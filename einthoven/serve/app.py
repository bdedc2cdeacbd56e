"""The server put together: what stands before every route, the page, and how it is started."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles

from einthoven import __version__
from einthoven.record import EcgError, WrongUse
from einthoven.serve import access
from einthoven.serve.derived import MOST as DERIVED
from einthoven.serve.helpers import Helpers, quick_helpers
from einthoven.serve.jobs import Jobs
from einthoven.serve.library import Library
from einthoven.serve.routes import router
from einthoven.serve.store import Store
from einthoven.serve.talk import Speakers

STATIC = Path(__file__).parent / "static"
_SAFE = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True)
class Settings:
    """data: the data directory. hosts: names (with port) that a request may be addressed to; what else a browser resolves to
    this machine is refused (DNS rebinding). anonymous: whether uploads lose what identifies a patient unless the user says
    otherwise. secure: the page is reached by https. upload: bytes of one upload at most. welcome: a new data directory begins
    with simulated ECGs. calls: of one token or session in a minute, of an
    address ten times as many. stores: addresses of model exchanges: whoever runs the server
    says which, no user does. helpers: processes that measure and draw (serve/helpers.py); 0: this one does. derived: bytes of
    results that are kept at most. database: the catalogue's address in PostgreSQL; None: an SQLite file in `data`."""

    data: Path
    hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "[::1]")
    anonymous: bool = True
    secure: bool = False
    upload: int = 2 << 30
    welcome: bool = True
    stores: tuple[str, ...] = ()
    calls: int = 1200
    helpers: int = 0
    derived: int = DERIVED
    database: str | None = None


def create_app(settings: Settings, *, work: bool = True) -> FastAPI:
    """The whole server. work: whether its queue is worked on. Raises EcgError where the data directory cannot be used."""
    store = Store(settings.data, settings.database)
    library = Library(store, settings.derived)
    jobs = Jobs(store, library)
    helpers = Helpers(library, settings.helpers)

    @contextlib.asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        if work:
            store.sweep()
            library.sweep()
            jobs.start()
            if settings.welcome and store.row("SELECT 1 FROM audit LIMIT 1") is None:
                library.welcome("local")  # meanwhile the page loads
        yield
        library.welcomed()  # or its thread would write into a catalogue that is closed
        helpers.stop()
        jobs.stop()
        store.close()

    app = FastAPI(
        title="Einthoven",
        version=__version__,
        description="Reads any 12-lead ECG, measures it, interprets it, and fine-tunes the model that interprets it. "
        "Research use only, not a medical device.",
        openapi_url="/api/openapi.json",
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
        lifespan=life,
    )
    app.state.settings, app.state.store, app.state.library, app.state.jobs = settings, store, library, jobs
    app.state.helpers, app.state.tickets, app.state.speakers = helpers, access.Tickets(), Speakers()
    # Several people may come from one address (a ward behind a gateway, a proxy); one of them must not use up what all have.
    all_calls, calls, tries = access.Rate(10 * settings.calls, 60.0), access.Rate(settings.calls, 60.0), access.Rate(20, 60.0)

    @app.middleware("http")
    async def door(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        address = request.client.host if request.client else ""
        if not allowed(request.headers.get("host", ""), settings.hosts):
            return _refused(421, "this server does not answer to that host name")
        if not (all_calls.allows(address) and calls.allows(access.credential(request.headers, request.cookies) or address)):
            return _refused(429, "too many requests: wait a minute")
        if request.url.path in ("/login", "/api/login") and not tries.allows(address):
            return _refused(429, "too many tries: wait a minute")
        length = request.headers.get("content-length")
        if length is not None and (not length.isdecimal() or int(length) > settings.upload):
            return _refused(413, f"more than {settings.upload:,} bytes")
        if request.method not in _SAFE and access.COOKIE in request.cookies and access.HEADER not in request.headers:
            return _refused(403, f"a change asked for by a browser needs the header {access.HEADER}")
        origin = request.headers.get("origin")
        if origin is not None and not allowed(origin.partition("://")[2], settings.hosts):
            return _refused(403, "asked by a page of another site")
        response = await call_next(request)
        response.headers.setdefault("Content-Security-Policy", access.POLICY)
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
        response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        if request.url.path.startswith("/api/"):
            response.headers.setdefault("Cache-Control", "no-store")
        if settings.secure:
            response.headers["Strict-Transport-Security"] = "max-age=31536000"
        return response

    @app.exception_handler(EcgError)
    async def told(request: Request, fault: EcgError) -> JSONResponse:
        missing = fault.what.startswith("no such")
        return _Told({"detail": str(fault)}, 404 if missing else 422 if isinstance(fault, WrongUse) else 400)

    @app.exception_handler(RequestValidationError)
    async def misshapen(request: Request, fault: RequestValidationError) -> JSONResponse:
        # what was sent is not sent back: it may be a secret, or a number or text that JSON does not have
        return _Told({"detail": [{key: one[key] for key in ("type", "loc", "msg")} for one in fault.errors()]}, 422)

    @app.get("/login", include_in_schema=False)
    def login(ticket: str, request: Request) -> Response:
        """The link that is good once."""
        if not app.state.tickets.take(ticket):
            return _refused(403, "this link was used or is too old: `einthoven serve` prints a new one")
        response = RedirectResponse("/", 303)
        sign_in(response, store, "local", "admin", settings)
        store.note("local", "login", request.client.host if request.client else "")
        return response

    app.include_router(router)
    app.mount("/", StaticFiles(directory=STATIC, html=True), name="page")
    return app


def sign_in(response: Response, store: Store, user: str, scope: access.Scope, settings: Settings) -> None:
    token, _ = access.new_token(store, user, scope, name="browser", lasts=access.SESSION_S, session=True)
    response.set_cookie(
        access.COOKIE, token, max_age=int(access.SESSION_S), httponly=True, samesite="strict", secure=settings.secure, path="/"
    )


def allowed(host: str, hosts: Sequence[str]) -> bool:
    """Whether a Host (or an Origin's) is one that this server answers to, whatever its port."""
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host.rpartition("]")[2] else host
    return name.lower() in hosts


class _Told(JSONResponse):
    """Words that may quote what was sent, half a surrogate pair too, for which UTF-8 has no bytes: ASCII, the rest escaped."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content).encode("ascii")


def _refused(code: int, why: str) -> JSONResponse:
    response = JSONResponse({"detail": why}, code)
    response.headers["Content-Security-Policy"] = access.POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def serve(
    data: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8010,
    names: Sequence[str] = (),
    anonymous: bool = True,
    certificate: Path | None = None,
    key: Path | None = None,
    behind_proxy: bool = False,
    proxies: str = "127.0.0.1",
    stores: Sequence[str] = (),
    database: str | None = None,
    ready: Callable[[str], Any] = print,
) -> None:
    """Runs the server until it is stopped.

    Args:
        proxies: addresses of proxies, by commas, that are believed about who asked them (*: all that get here).
        database: the catalogue's address in PostgreSQL.
        ready: gets the link that signs a browser in, once.

    Raises WrongUse for an address that others can reach without TLS (`certificate` and `key`, or a proxy that adds it).
    """
    import uvicorn

    local = _is_loopback(host)
    if not local and certificate is None and not behind_proxy:
        raise WrongUse(
            f"{host} can be reached by others: give --certificate and --key, or say --behind-proxy where a proxy adds TLS. "
            "Without them passwords and patients' data would travel in the open"
        )
    if (certificate is None) != (key is None):
        raise WrongUse("a certificate and its key come together")
    if not local and not names:
        raise WrongUse("say by what name the server is reached: --name ecg.example.org")
    secure = certificate is not None or behind_proxy
    known = ("127.0.0.1", "localhost", "[::1]") if local else ()
    settings = Settings(
        data, (*known, *(name.lower() for name in names)), anonymous, secure, stores=tuple(stores), helpers=quick_helpers(),
        database=database,
    )  # fmt: skip
    for address in stores:
        from einthoven.exchange.stores import open_store  # here: without a store nobody needs it at the start

        open_store(address)  # nothing is asked of it yet: only whether this is an address
    app = create_app(settings)
    shown = names[0] if names else f"{'[::1]' if host == '::1' else host}:{port}"
    ready(f"{'https' if secure else 'http'}://{shown}/login?ticket={app.state.tickets.new()}")
    uvicorn.run(
        app, host=host, port=port, log_level="warning", access_log=False, server_header=False,
        ssl_certfile=certificate, ssl_keyfile=key, proxy_headers=behind_proxy,
        forwarded_allow_ips=proxies, timeout_graceful_shutdown=5,
    )  # fmt: skip


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def forget(folder: Path) -> None:
    """A data directory, for good."""
    shutil.rmtree(folder)
