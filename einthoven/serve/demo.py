"""The platform shown on one ECG: a data directory that holds it, and whether its page opens."""

from __future__ import annotations

import http.cookiejar
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from einthoven.record import EcgError
from einthoven.serve.access import HEADER
from einthoven.serve.library import Library
from einthoven.serve.store import Store

if TYPE_CHECKING:
    from einthoven.interpretation import Report

PORT = 8010
_WAIT_S = 60.0


def put(data: Path, report: Report, path: str) -> None:
    """The ECG of a report into a data directory, which is made where there is none. path: of the picture, if it came on paper.
    Raises EcgError."""
    store = Store(data)
    try:
        library = Library(store)
        if report.paper is None:
            library.take_record(report.record, Path(path).name or "Simulated", "local", True)
        else:
            with tempfile.TemporaryDirectory() as folder:
                shutil.copy(path, folder)
                list(library.take(Path(folder), "local"))
        store.note("local", "demo")  # so that no simulated ECGs are added to it
    finally:
        store.close()


def opened(data: Path) -> str:
    """Starts the platform on this data directory, opens its page and the signal of its ECG as a browser does, and ends it. ->
    the page's address. Raises EcgError where something of it does not answer."""
    port = free_port()
    words = ["-m", "einthoven", "serve", "--data-dir", str(data), "--no-browser", "--port", str(port)]
    server = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None and server.stderr is not None
        link = server.stdout.readline().strip()
        if not link:
            raise EcgError(f"the platform does not start: {server.stderr.read().strip()[-300:]}")
        address = link.partition("/login")[0]
        ask = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
        ask.addheaders = [(HEADER, "1")]
        page = _first(lambda: bytes(ask.open(link, timeout=_WAIT_S).read()))
        listed = json.loads(ask.open(f"{address}/api/ecgs", timeout=_WAIT_S).read())["ecgs"]
        if b"<html" not in page or not listed:
            raise EcgError("the platform shows no ECG")
        if listed[0]["kind"] == "recording":
            ask.open(f"{address}/api/ecgs/{listed[0]['id']}/signal", timeout=_WAIT_S).read()
    except OSError as fault:
        raise EcgError(f"the platform does not answer: {fault}") from None
    finally:
        server.terminate()
        server.wait(_WAIT_S)
    return f"{address}/"


def free_port() -> int:
    """The platform's usual port, or any that is free."""
    for port in (PORT, 0):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise EcgError("no port is free")


def _first(ask: Callable[[], bytes]) -> bytes:
    """What `ask` gives as soon as the server listens."""
    until = time.monotonic() + _WAIT_S
    while True:
        try:
            return ask()
        except urllib.error.HTTPError:
            raise
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
