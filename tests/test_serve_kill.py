"""kill -9 in the middle of uploads: what was acknowledged is there and whole, what was not is not shown."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from einthoven.io import write
from einthoven.synth import simulate

pytest.importorskip("fastapi")


def start(data: Path) -> tuple[subprocess.Popen[str], httpx.Client]:
    """A server on a free port, and a client that is signed in."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["-m", "einthoven", "serve", "--data-dir", str(data), "--no-browser", "--port", str(port)]
    server = subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert server.stdout is not None
    link = server.stdout.readline().strip()
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"X-Einthoven": "1"}, timeout=60)
    until = time.monotonic() + 60
    while True:
        try:
            client.get(re.sub(r"^http://[^/]+", "", link))
            return server, client
        except httpx.TransportError:
            assert time.monotonic() < until
            time.sleep(0.1)


def test_nothing_that_was_acknowledged_is_lost(tmp_path: Path) -> None:
    files = []
    for i in range(20):
        path = tmp_path / f"{i}.npz"
        write(simulate(rate=60 + i, seed=i).record, path)
        files.append(path)
    server, client = start(tmp_path / "data")
    told: dict[str, str] = {}

    def send(path: Path) -> None:
        try:
            (arrival,) = client.post("/api/ecgs", files={"files": (path.name, path.read_bytes())}).json()
            told[path.name] = arrival["id"]
        except httpx.TransportError:
            pass  # the server is gone

    senders = [threading.Thread(target=send, args=(path,)) for path in files]
    for sender in senders:
        sender.start()
    while len(told) < 5:
        time.sleep(0.005)
    os.kill(server.pid, signal.SIGKILL)
    for sender in senders:
        sender.join()
    server.wait()

    server, client = start(tmp_path / "data")
    try:
        shown = {one["name"]: one["id"] for one in client.get("/api/ecgs", params={"most": 1000}).json()["ecgs"]}
        assert len(told) >= 5 and told.items() <= shown.items()
        for ecg in shown.values():  # whole, those of which the word was lost on the way, too
            assert client.get(f"/api/ecgs/{ecg}/signal").status_code == 200
        kept = list((tmp_path / "data" / "files").glob("*/*"))
        assert len(kept) == len(shown) and not list((tmp_path / "data" / "incoming").iterdir())
    finally:
        server.terminate()
        server.wait(20)
