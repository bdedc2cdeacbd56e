"""What is seen of an ECG through the server is what the package says of it; corrections move what they say and are undone."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")

from serve_door import Door, put, unpacked

import einthoven as ecg
from einthoven.beats.align import align
from einthoven.beats.fiducials import FIDUCIALS, R_PEAK
from einthoven.serve.catalogue import MIGRATIONS
from einthoven.serve.store import Store
from einthoven.synth import simulate


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    made = Door(tmp_path / "data")
    with made.client:
        yield made


def test_views_are_those_of_the_report(door: Door, tmp_path: Path) -> None:
    client = door.sign_in()
    record = simulate(rate=70, seed=3).record
    mine = put(client, record, tmp_path)
    report = ecg.interpret(record, model=None)
    assert report.median
    head, rows = unpacked(client.get(f"/api/ecgs/{mine}/views/median").content)
    assert tuple(head["leads"]) == report.median.leads and head["beats"] == len(report.median.beats)
    assert np.nanmax(np.abs(rows - report.median.signal)) <= head["step_mv"] and head["step_mv"] < 2e-4
    assert dict(zip(head["fiducials"], head["at"]))["qrs_on"] == pytest.approx(report.median.overall[3], abs=1e-4)

    head, rows = unpacked(client.get(f"/api/ecgs/{mine}/views/overlay").content)
    cut = rows.reshape(len(head["leads"]), len(head["beats"]), -1)
    assert cut.shape[1] == len(report.beats) == head["of"] and head["fs"] >= 250
    at = round(head["before"] * head["fs"])
    j = head["leads"].index("V2")
    assert np.nanargmax(np.abs(cut[j]), axis=1).tolist() == pytest.approx([at] * len(report.beats), abs=0.03 * head["fs"])

    head, rows = unpacked(client.get(f"/api/ecgs/{mine}/views/aligned").content)
    made = align(report.record, report.beats)
    assert head["status"] == made.status and head["r"] == pytest.approx(made.r.tolist(), abs=1e-4)
    assert np.nanmax(np.abs(rows - made.signal)) <= 0.001 and np.array_equal(np.isnan(rows), np.isnan(made.signal))

    told = client.get(f"/api/ecgs/{mine}/spectrum").json()
    assert told["hz"][0] == 0 and told["hz"][-1] <= 150 and set(told["power_uv2_hz"]) == set(record.leads)
    assert client.get(f"/api/ecgs/{mine}/views/other").status_code == 422


def test_the_open_ecg_is_taken_away_in_every_format(door: Door, tmp_path: Path) -> None:
    client = door.sign_in()
    record = simulate(rate=70, seed=3).record
    mine = put(client, record, tmp_path, "Ünal, ward 3")
    begins = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}
    for kind, begin in begins.items():
        answer = client.get(f"/api/ecgs/{mine}/file.{kind}", params={"layout": "6x2", "speed": 50, "gain": 20})
        assert answer.status_code == 200 and answer.content.startswith(begin)
    assert "50 mm/s" in client.get(f"/api/ecgs/{mine}/file.svg", params={"speed": 50}).text
    assert client.get(f"/api/ecgs/{mine}/file.svg", params={"layout": "nine"}).status_code == 400
    for kind, rough in (("csv", 1e-3), ("npz", 1e-6), ("edf", 2e-2), ("dcm", 5e-3), ("xml", 5e-3), ("wfdb", 5e-3)):
        answer = client.get(f"/api/ecgs/{mine}/file.{kind}")
        assert answer.status_code == 200, answer.text
        assert (
            answer.headers["content-disposition"].startswith('attachment; filename="')
            and answer.headers["content-disposition"].isascii()
        )
        if kind == "wfdb":
            zipfile.ZipFile(io.BytesIO(answer.content)).extractall(tmp_path / "wfdb")
            back = ecg.read(next((tmp_path / "wfdb").glob("*.hea")))
        else:
            back = ecg.read(answer.content, fs=record.fs)
        assert back.leads == record.leads and np.nanmax(np.abs(back.signal - record.signal)) < rough, kind


def test_what_is_made_of_an_ecg_is_taken_away_too(door: Door, tmp_path: Path) -> None:
    client = door.sign_in()
    mine = put(client, simulate(rate=70, seed=3).record, tmp_path)
    report = door.app.state.library.report(mine)
    made = align(report.record, report.beats)
    for what, signal in (("median", report.median.signal), ("aligned", made.signal)):
        back = ecg.read(client.get(f"/api/ecgs/{mine}/file.npz", params={"what": what}).content)
        assert np.array_equal(back.signal, signal, equal_nan=True)
    bundle = client.get("/api/models/einthoven-paper-1/bundle")
    (tmp_path / "paper.zip").write_bytes(bundle.content)
    from einthoven.exchange.bundle import Bundle
    from einthoven.exchange.shelf import find

    assert Bundle.open(tmp_path / "paper.zip").digest == Bundle.open(find("einthoven-paper-1")).digest
    onnx = [m["onnx"] for m in client.get("/api/models").json() if m["name"] == "einthoven-paper-1"]
    assert client.get("/api/models/einthoven-paper-1/onnx").status_code == (200 if onnx == [True] else 404)
    assert {"inception-time", "xception-time"} <= {one["name"] for one in client.get("/api/architectures").json()}
    assert client.get("/api/models/..%2Fx/bundle").status_code in (404, 422)


def test_fiducials_are_corrected_by_hand_and_corrections_undone(door: Door, tmp_path: Path) -> None:
    client = door.sign_in()
    mine = put(client, simulate(rate=70, seed=3).record, tmp_path)
    place = f"/api/ecgs/{mine}/fiducials"
    before = client.get(f"/api/ecgs/{mine}/report").json()
    beats = client.get(f"/api/ecgs/{mine}/beats").json()
    assert client.get(place).json() == {"corrections": [], "left_out": [], "automatic": {}}

    k = FIDUCIALS.index("t_off")
    to = round(beats["overall"][4][k] + 0.04, 4)
    told = client.post(place, json={"beat": 4, "name": "t_off", "to": to, "every": True}).json()
    assert told["corrections"][0] | {"name": "t_off", "user": "local", "every": True} == told["corrections"][0]
    was = before["measurements"]["qt_ms"]["value"]
    assert told["automatic"]["qt_ms"] == was and "pr_ms" not in told["automatic"]
    after = client.get(f"/api/ecgs/{mine}/report").json()
    assert after["measurements"]["qt_ms"]["value"] == pytest.approx(was + 40, abs=0.2)
    assert "corrected by hand (1 correction by local)" in after["warnings"][0]
    assert after["opinions"][0]["labels"][0]["probability"] == before["opinions"][0]["labels"][0]["probability"]
    assert "corrected by hand" in client.get(f"/api/ecgs/{mine}/report.txt").text
    assert client.get(f"/api/ecgs/{mine}/beats").json()["overall"][4][k] == to

    n = len(beats["overall"])
    assert client.post(place, json={"beat": 2, "name": "r_peak"}).status_code == 201  # a beat that is none
    assert len(client.get(f"/api/ecgs/{mine}/beats").json()["overall"]) == n - 1
    r = beats["overall"][4][R_PEAK]
    moved = client.post(place, json={"beat": 3, "name": "r_peak", "to": r + 0.004})  # is number 4 of those that were found
    assert moved.json()["corrections"][-1]["r"] == pytest.approx(r, abs=1e-3)
    wrong = client.post(place, json={"beat": 4, "name": "t_off", "to": 0.01})
    assert wrong.status_code == 422 and "not before" in wrong.json()["detail"]
    assert client.post(place, json={"beat": 400, "name": "t_off", "to": 1}).status_code == 422
    assert client.post(place, json={"beat": 0, "name": "t_off", "to": 1}, headers=door.token("read")).status_code == 403

    assert client.post(place, json={"name": "beat", "to": r}).status_code == 422  # there is one
    added = client.post(place, json={"name": "beat", "to": beats["overall"][2][R_PEAK]}).json()["corrections"]
    assert added[-1]["name"] == "beat" and len(client.get(f"/api/ecgs/{mine}/beats").json()["overall"]) == n
    t = client.post(place, json={"beat": 2, "name": "t_off", "to": beats["overall"][2][k]}).json()["corrections"]
    assert t[-1]["r"] == beats["overall"][2][R_PEAK]
    assert client.get(f"/api/ecgs/{mine}/beats").json()["overall"][2][k] == beats["overall"][2][k]
    client.delete(place)
    client.delete(place)

    assert len(client.delete(place).json()["corrections"]) == 2
    assert client.delete(place, params={"every": True}).json()["corrections"] == []
    again = client.get(f"/api/ecgs/{mine}/report").json()
    assert again["measurements"] == before["measurements"] and again["findings"] == before["findings"]
    assert again["warnings"] == before["warnings"]
    client.post(place, json={"beat": 4, "name": "t_off", "to": to})
    assert client.delete(f"/api/ecgs/{mine}").status_code == 204
    assert door.app.state.store.rows("SELECT * FROM correction") == []  # with the ECG, for good


def test_corrections_outlive_the_server(tmp_path: Path) -> None:
    first = Door(tmp_path / "data")
    with first.client:
        client = first.sign_in()
        mine = put(client, simulate(rate=70, seed=3).record, tmp_path)
        beats = client.get(f"/api/ecgs/{mine}/beats").json()
        client.post(f"/api/ecgs/{mine}/fiducials", json={"beat": 0, "name": "p_on"})
    second = Door(tmp_path / "data")
    with second.client:
        client = second.sign_in()
        now: dict[str, Any] = client.get(f"/api/ecgs/{mine}/beats").json()
        assert now["overall"][0][:3] == [None] * 3 and now["overall"][1] == beats["overall"][1]


def test_a_directory_of_the_first_version_opens_with_what_it_holds(tmp_path: Path) -> None:
    import sqlite3

    (tmp_path / "data").mkdir()
    db = sqlite3.connect(tmp_path / "data" / "catalogue.sqlite")
    db.executescript(f"{MIGRATIONS[0]}; PRAGMA user_version = 1; INSERT INTO file VALUES ('ab', 1, 0)")
    row = ("e", "ab", "old.xml", "recording", "muse", None, 61, "male", None, 500, 10, "[]", "{}", 0, "me")
    db.execute(f"INSERT INTO ecg VALUES ({', '.join('?' * len(row))})", row)
    db.commit()
    db.close()
    store = Store(tmp_path / "data")
    assert store.row("SELECT name FROM ecg") == {"name": "old.xml"} and store.rows("SELECT * FROM correction") == []
    assert store.row("PRAGMA user_version") == {"user_version": len(MIGRATIONS)}
