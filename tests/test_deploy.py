"""Deployment: what the files under deploy/ start is on offer, and a data directory survives copies and newer versions."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner

from einthoven.cli import app

pytest.importorskip("fastapi")

from serve_door import Door

from einthoven.serve.catalogue import CATALOGUE, MIGRATIONS
from einthoven.serve.store import Store

ROOT = Path(__file__).resolve().parent.parent
# As the first released catalogue was written: one ECG (simulated) with a label, a tag, its interpretation, and a token.
OLD = Path(__file__).with_name("serve_data_1.zip")
TOKEN = {"Authorization": "Bearer ecg_of_old"}


def started() -> list[list[str]]:
    """The words behind `einthoven` of every file that starts it."""
    unit = (ROOT / "deploy/einthoven.service").read_text()
    image = (ROOT / "deploy/Containerfile").read_text()
    compose = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())["services"]["einthoven"]
    entry = json.loads(re.search(r"^ENTRYPOINT (.*)$", image, re.M)[1])[1:]  # type: ignore[index]
    more = [re.sub(r"\$\{(\w+).*\}", r"\1", word) for word in compose["command"]]
    commands = [shlex.split(re.search(r"^ExecStart=(.*)$", unit, re.M)[1])[1:], [*entry, *more]]  # type: ignore[index]
    for path in ("deploy/einthoven.service", "deploy/compose.yaml", "docs/deploy.md"):
        commands += [shlex.split(line) for line in re.findall(r"einthoven (token \"[^\n`]*)", (ROOT / path).read_text())]
    return commands


def test_whatever_is_started_is_on_offer() -> None:
    found = started()
    assert {words[0] for words in found} == {"serve", "token"} and len(found) >= 6
    for words in found:
        command = get_command(app).commands[words[0]]  # type: ignore[attr-defined]
        with command.make_context(words[0], words[1:], resilient_parsing=False) as context:
            assert context.params["data_dir"] is not None or words[0] == "token"


def unpacked(folder: Path) -> Path:
    with zipfile.ZipFile(OLD) as old:
        old.extractall(folder)
    return folder


def told(data: Path) -> tuple[dict[str, Any], bytes]:
    """The only ECG of a data directory, and its signal as it is sent."""
    door = Door(data, welcome=False)
    with door.client as client:
        listed = client.get("/api/ecgs", headers=TOKEN).json()
        assert listed["total"] == 1
        one = client.get(f"/api/ecgs/{listed['ecgs'][0]['id']}", headers=TOKEN)
        signal = client.get(f"/api/ecgs/{listed['ecgs'][0]['id']}/signal", headers=TOKEN)
        assert one.status_code == signal.status_code == 200
        return one.json(), signal.content


def test_a_directory_of_the_first_version_opens_and_keeps_all(tmp_path: Path) -> None:
    data = unpacked(tmp_path / "old")
    one, signal = told(data)
    assert one["name"] == "ecg.npz" and one["labels"] == ["LBBB"] and one["tags"] == ["study A"] and one["sex"] == "male"
    assert one["duration"] == 10 and len(signal) > 12 * 1000 * 2
    with Door(data, welcome=False).client as client:
        report = client.get(f"/api/ecgs/{one['id']}/report", headers=TOKEN).json()
        assert "clbbb" in [finding["name"] for finding in report["findings"]]
        changed = client.patch(f"/api/ecgs/{one['id']}", headers={**TOKEN, "X-Einthoven": "1"}, json={"labels": ["other"]})
        assert changed.json()["labels"] == ["other"]
    store = Store(data)
    assert store.db.execute("PRAGMA user_version").fetchone()[0] == len(MIGRATIONS)
    store.close()


def test_a_copy_is_a_backup(tmp_path: Path) -> None:
    data = unpacked(tmp_path / "data")
    before = told(data)
    shutil.copytree(data, tmp_path / "backup")
    shutil.rmtree(data)
    assert told(tmp_path / "backup") == before
    for path in (tmp_path / "backup" / "files").glob("*/*"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.parent.name + path.name


def test_a_token_by_command_signs_in(tmp_path: Path) -> None:
    data = unpacked(tmp_path / "data")
    run = CliRunner()
    made = run.invoke(app, ["token", "Dr Example", "--scope", "write", "--data-dir", str(data)])
    assert made.exit_code == 0
    door = Door(data, welcome=False)
    with door.client as client:
        client.headers["X-Einthoven"] = "1"
        assert client.post("/api/login", json={"token": made.stdout.strip()}).status_code == 204
        me = client.get("/api/me").json()
        assert me["user"] == "Dr Example" and me["scope"] == "write"
        assert client.get("/api/audit").status_code == 403
    assert made.stdout.strip().encode() not in (data / CATALOGUE).read_bytes()
    assert run.invoke(app, ["token", "x", "--scope", "all", "--data-dir", str(data)]).exit_code == 2
    gone = run.invoke(app, ["token", "x", "--data-dir", str(tmp_path / "nowhere")])
    assert gone.exit_code == 1 and "no data directory" in gone.stderr
