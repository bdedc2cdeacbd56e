"""kill -9 in the middle of uploads and of a training: what was acknowledged is there and whole, what was not is not shown, and
the training goes on."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
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


def test_a_training_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    """Killed after an epoch that was told: the next server ends it, each epoch is heard once, and the model predicts."""
    pytest.importorskip("torch")
    epochs = 300
    server, client = start(tmp_path / "data")
    try:
        ids = []
        for i in range(24):
            path = tmp_path / f"{i}.npz"
            write(simulate(rate=60 if i % 2 else 115, seed=i, duration=5.0, fs=100.0).record, path)
            (arrival,) = client.post("/api/ecgs", files={"files": (path.name, path.read_bytes())}).json()
            client.patch(f"/api/ecgs/{arrival['id']}", json={"labels": ["slow" if i % 2 else "fast"]})
            ids.append(arrival["id"])
        args = {"name": "slow-or-fast", "ecgs": ids, "epochs": epochs, "batch": 8, "patience": 0, "learning_rate": 0.003}
        job = client.post("/api/jobs", json={"kind": "finetune", "args": args}).json()["id"]
        for line in listen(client, job):
            if '"epoch":2' in line.replace(" ", ""):  # the checkpoint of an epoch is written after its word
                break
        assert client.get(f"/api/jobs/{job}").json()["state"] == "running"
    finally:
        os.kill(server.pid, signal.SIGKILL)
        server.wait()

    server, client = start(tmp_path / "data")
    try:
        heard = list(listen(client, job))
        told = client.get(f"/api/jobs/{job}").json()
        assert told["state"] == "done", told
        said = [json.loads(line[6:]) for line in heard if line.startswith("data: ")]
        assert {"state": "queued", "why": "the server was restarted"} in said
        assert any("going on from the last checkpoint" in one.get("line", "") for one in said)
        assert [one["metrics"]["epoch"] for one in said if "metrics" in one] == list(range(1, epochs + 1))
        made = client.get("/api/models/slow-or-fast").json()
        assert made["name"] == "slow-or-fast"
        share = client.post(f"/api/ecgs/{ids[0]}/predict", params={"model": "slow-or-fast"}).json()["labels"]
        assert set(share) == {"fast", "slow"} and sum(share.values()) == pytest.approx(1)
    finally:
        server.terminate()
        server.wait(20)


def listen(client: httpx.Client, job: str) -> Iterator[str]:
    """What a job says, line by line, from the beginning until it is over."""
    with client.stream("GET", f"/api/jobs/{job}/events", timeout=400) as answer:
        yield from answer.iter_lines()
