"""A server in memory, for the tests of the platform."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from fastapi.testclient import TestClient

from einthoven.io import write
from einthoven.record import Record
from einthoven.serve import access
from einthoven.serve.app import Settings, create_app


class Door:
    """A server in memory, and someone signed in at it."""

    def __init__(self, folder: Path, *, work: bool = False, **settings: Any) -> None:
        self.app = create_app(Settings(folder, **settings), work=work)
        self.client = TestClient(self.app, base_url="http://127.0.0.1:8010")

    def sign_in(self) -> TestClient:
        ticket = self.app.state.tickets.new()
        assert self.client.get(f"/login?ticket={ticket}", follow_redirects=False).status_code == 303
        self.client.headers[access.HEADER] = "1"
        return self.client

    def token(self, scope: access.Scope, **more: Any) -> dict[str, str]:
        made, _ = access.new_token(self.app.state.store, "a program", scope, **more)
        return {"Authorization": f"Bearer {made}"}


def put(client: TestClient, record: Record, folder: Path, name: str = "a") -> str:
    """Uploads a record; its id."""
    write(record, folder / f"{name}.npz")
    (told,) = client.post("/api/ecgs", files={"files": (f"{name}.npz", (folder / f"{name}.npz").read_bytes())}).json()
    return str(told["id"])


def unpacked(raw: bytes) -> tuple[dict[str, Any], np.ndarray]:
    """(header, rows in mV) of what einthoven.serve.sight packs."""
    (length,) = struct.unpack_from("<I", raw)
    head = json.loads(raw[4 : 4 + length])
    numbers = np.frombuffer(raw[4 + length :], "<i2").reshape(head["rows"], -1).astype(np.float64)
    numbers[numbers == -32768] = np.nan
    return head, numbers * head.get("step_mv", head.get("step"))
