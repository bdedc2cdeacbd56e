"""The server: what comes in goes out as it was, nobody gets in who may not, jobs end in what they were asked for."""

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")

from fastapi.testclient import TestClient
from serve_door import Door, put

import einthoven as ecg
from einthoven.io import write
from einthoven.record import EcgError, Patient, WrongUse
from einthoven.report import to_json
from einthoven.serve import access
from einthoven.serve.app import allowed, serve
from einthoven.serve.catalogue import CATALOGUE, MIGRATIONS
from einthoven.serve.library import labels_csv
from einthoven.serve.sight import extremes, samples
from einthoven.serve.store import Store
from einthoven.synth import simulate

NAME = "Erika <script>alert(1)</script> Mustermann"


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    made = Door(tmp_path / "data")
    with made.client:
        yield made


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """One ECG as WFDB, and a file that is none."""
    record = simulate("lbbb", rate=70, age=61, sex="male", seed=3).record
    here = tmp_path / "files"
    here.mkdir()
    write(record, here / "a.hea")
    (here / "no.xml").write_text("<nothing/>")
    return here


def upload(client: TestClient, paths: list[Path], **data: str) -> list[dict[str, Any]]:
    sent = [("files", (path.name, path.read_bytes())) for path in paths]
    answer = client.post("/api/ecgs", files=sent, data=data)
    assert answer.status_code == 200, answer.text
    told: list[dict[str, Any]] = answer.json()
    return told


# ---- in and out ---------------------------------------------------------------------------------------------------------


def test_an_ecg_goes_in_and_comes_out_as_it_was(door: Door, files: Path) -> None:
    client = door.sign_in()
    told = upload(client, sorted(files.iterdir()))
    assert [(one["name"], one["id"] is not None) for one in told] == [("a.hea", True), ("no.xml", False)]
    assert str(files) not in told[1]["error"] and "no.xml" in told[1]["error"]
    mine = told[0]["id"]
    again = upload(client, [files / "a.hea", files / "a.dat"])
    assert again[0]["id"] == mine and again[0]["known"]

    record = ecg.read(files / "a.hea")
    raw = client.get(f"/api/ecgs/{mine}/signal").content
    (length,) = struct.unpack_from("<I", raw)
    head = json.loads(raw[4 : 4 + length])
    numbers = np.frombuffer(raw[4 + length :], "<i2").reshape(len(head["leads"]), -1)
    assert tuple(head["leads"]) == record.leads and head["fs"] == record.fs and head["samples"] == record.signal.shape[1]
    assert np.abs(numbers * head["step_mv"] - record.signal).max() <= 0.5 * head["step_mv"] + 1e-6

    page = client.get("/api/ecgs", params={"search": "a.h"}).json()
    assert page["total"] == 1 and page["ecgs"][0]["leads"] == list(record.leads)
    assert client.get("/api/ecgs", params={"search": "%"}).json()["total"] == 0  # a wildcard is a letter here
    report = client.get(f"/api/ecgs/{mine}/report").json()
    alone = to_json(ecg.interpret(record))
    assert report["findings"] == alone["findings"] and report["measurements"] == alone["measurements"]
    for kind, begin in (("html", b"<!doctype html"), ("pdf", b"%PDF"), ("fhir", b"{"), ("txt", b"")):
        answer = client.get(f"/api/ecgs/{mine}/report.{kind}")
        assert answer.status_code == 200 and answer.content[:15].lower().startswith(begin.lower())
    assert "sandbox" in client.get(f"/api/ecgs/{mine}/report.html").headers["content-security-policy"]
    told_by = client.post(f"/api/ecgs/{mine}/predict").json()
    assert told_by["labels"] == pytest.approx(ecg_predict(record), abs=1e-6)

    assert client.delete(f"/api/ecgs/{mine}").status_code == 204
    assert client.get(f"/api/ecgs/{mine}").status_code == 404
    assert not list((door.app.state.store.folder / "files").glob("*/*"))  # for good


def ecg_predict(record: Any) -> dict[str, float]:
    from einthoven.exchange.predict import loaded

    return loaded(None).predict(record).labels


def test_what_identifies_a_patient_is_not_kept_unless_asked_for(tmp_path: Path) -> None:
    from dataclasses import replace

    record = replace(simulate(rate=70, seed=3).record, patient=Patient("4711", NAME, 61, "male"))
    write(record, tmp_path / "named.npz")
    door = Door(tmp_path / "data")
    with door.client:
        client = door.sign_in()
        told = upload(client, [tmp_path / "named.npz"])
        assert {"patient name", "patient id"} <= set(told[0]["removed"])
        door.app.state.store.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        held = b"".join(p.read_bytes() for p in (tmp_path / "data").rglob("*") if p.is_file())
        assert b"Mustermann" not in held and b"4711" not in held
        named = upload(client, [tmp_path / "named.npz"], anonymize="false")
        assert named[0]["removed"] == [] and client.get(f"/api/ecgs/{named[0]['id']}").json()["patient"] == "4711"
        html = client.get(f"/api/ecgs/{named[0]['id']}/report.html").text
        assert "<script>" not in html and "Mustermann" in html


def test_tags_labels_and_a_table_of_labels(door: Door, files: Path, tmp_path: Path) -> None:
    client = door.sign_in()
    mine = upload(client, [files / "a.hea", files / "a.dat"])[0]["id"]
    changed = client.patch(f"/api/ecgs/{mine}", json={"tags": ["ward 3", "ward 3"], "labels": ["LBBB"]}).json()
    assert changed["tags"] == ["ward 3"] and changed["labels"] == ["LBBB"]
    assert client.get("/api/ecgs", params={"tag": "ward 3"}).json()["total"] == 1
    table = b"file_name,label,label2\na,CD,MI\nb.hea,CD,\n"
    told = client.post("/api/labels", files={"file": ("labels.csv", table)}).json()
    assert told["labelled"] == 1 and len(told["faults"]) == 1 and "b.hea" in told["faults"][0]
    assert client.get("/api/labels").json() == [{"name": "CD", "ecgs": 1}, {"name": "MI", "ecgs": 1}]
    with pytest.raises(EcgError, match="begins with file_name"):
        labels_csv("a,b\n1,2\n", {})


def test_a_long_signal_is_told_by_its_extremes() -> None:
    signal = np.zeros((2, 1000), np.float32)
    signal[0, 123], signal[1, 777] = 2.0, -1.5
    signal[1, :100] = np.nan
    made = extremes(signal, 10)
    assert made.shape == (2, 20)
    assert made[0, 3] == 2.0 and made[1, 14] == -1.5 and np.isnan(made[1, :2]).all() and not np.isnan(made[1, 2:]).any()
    record = simulate(rate=70, seed=1).record
    raw = samples(record, 1.0, 9.0, 100)
    (length,) = struct.unpack_from("<I", raw)
    head = json.loads(raw[4 : 4 + length])
    assert head["pairs"] and head["samples"] == 200 and (head["start"], head["end"]) == (1.0, 9.0)
    with pytest.raises(EcgError, match="a stretch lies within"):
        samples(record, 11.0, 12.0)


# ---- who gets in --------------------------------------------------------------------------------------------------------


def routes(app: Any) -> list[tuple[str, str]]:
    return [(method.upper(), path) for path, ways in app.openapi()["paths"].items() for method in ways]


def test_no_route_answers_without_signing_in_but_the_login(door: Door) -> None:
    told = routes(door.app)
    assert len(told) >= 42
    for method, path in told:
        place = (
            path.replace("{kind}", "html")
            .replace("{ecg}", "a")
            .replace("{name}", "a")
            .replace("{job}", "a")
            .replace("{token}", "a")
            .replace("{answer}", "1")
            .replace("{view}", "median")
        )
        answer = door.client.request(method, place, json={} if method in ("POST", "PATCH", "PUT") else None)
        if path == "/api/login":
            assert answer.status_code in (401, 422)
        else:
            assert answer.status_code == 401, (method, path, answer.status_code)


def test_scopes_hold(door: Door) -> None:
    wanted = {"GET /api/ecgs": "read", "PATCH /api/ecgs/a": "write", "POST /api/jobs": "run", "GET /api/tokens": "admin"}
    for scope in access.SCOPES:
        key = door.token(scope)
        for what, least in wanted.items():
            method, path = what.split()
            answer = door.client.request(method, path, headers=key, json={} if method != "GET" else None)
            allowed_ = access.SCOPES.index(scope) >= access.SCOPES.index(least)  # type: ignore[arg-type]
            assert (answer.status_code == 403) == (not allowed_), (scope, what, answer.status_code)


def test_tokens_end_and_sessions_are_no_tokens(door: Door) -> None:
    store = door.app.state.store
    key = door.token("read", lasts=60.0)
    assert door.client.get("/api/me", headers=key).json()["scope"] == "read"
    store.db.execute("UPDATE token SET expires = ?", (time.time() - 1,))
    assert door.client.get("/api/me", headers=key).status_code == 401
    client = door.sign_in()
    session = client.cookies[access.COOKIE]
    assert (
        TestClient(door.app, base_url="http://127.0.0.1")
        .get("/api/me", headers={"Authorization": f"Bearer {session}"})
        .status_code
        == 401
    )
    told = client.post("/api/tokens", json={"name": "nightly", "scope": "write", "days": 1}).json()
    assert client.get("/api/tokens").text.count(told["token"]) == 0  # only its hash is kept
    assert (client.delete(f"/api/tokens/{told['id']}").status_code, client.delete(f"/api/tokens/{told['id']}").status_code) == (
        204,
        404,
    )
    assert client.post("/api/logout").status_code == 204 and client.get("/api/me").status_code == 401
    assert [row["action"] for row in store.rows("SELECT action FROM audit ORDER BY at")] == ["login", "token", "token ended"]


def test_a_link_signs_in_once(door: Door) -> None:
    ticket = door.app.state.tickets.new()
    first = door.client.get(f"/login?ticket={ticket}", follow_redirects=False)
    cookie = first.headers["set-cookie"].lower()
    assert first.status_code == 303 and "httponly" in cookie and "samesite=strict" in cookie
    assert door.client.get(f"/login?ticket={ticket}", follow_redirects=False).status_code == 403


def test_other_sites_pages_and_other_names_stay_out(door: Door) -> None:
    client = door.sign_in()
    assert client.get("/api/me", headers={"host": "evil.example"}).status_code == 421  # DNS rebinding
    assert client.get("/api/me", headers={"origin": "http://evil.example"}).status_code == 403
    del client.headers[access.HEADER]
    assert client.post("/api/logout").status_code == 403  # a form of another site cannot set the header
    assert client.get("/api/me").headers["content-security-policy"] == access.POLICY
    assert "'unsafe" not in access.POLICY and "http" not in access.POLICY
    assert (
        allowed("[::1]:8010", ("[::1]",))
        and allowed("localhost", ("localhost",))
        and not allowed("localhost.evil:1", ("localhost",))
    )


def test_paths_of_uploads_stay_inside(door: Door, files: Path, tmp_path: Path) -> None:
    client = door.sign_in()
    evil = [("files", ("../../../../evil.txt", b"x")), ("files", ("/etc/evil.txt", b"x")), ("files", ("..\\evil.txt", b"x"))]
    assert client.post("/api/ecgs", files=evil).status_code == 200
    assert not list(tmp_path.rglob("evil.txt")) and not Path("/etc/evil.txt").exists()
    assert not list((door.app.state.store.folder / "incoming").iterdir())


def test_what_is_too_much_is_refused(tmp_path: Path) -> None:
    door = Door(tmp_path / "data", upload=2000, calls=8)
    with door.client:
        client = door.sign_in()
        assert client.post("/api/ecgs", files={"files": ("big.dat", b"\0" * 5000)}).status_code == 413
        codes = [client.get("/api/me").status_code for _ in range(10)]
        assert codes[:6] == [200] * 6 and codes[-1] == 429


def test_an_address_that_others_reach_needs_tls() -> None:
    with pytest.raises(WrongUse, match="travel in the open"):
        serve(Path("x"), host="0.0.0.0")
    with pytest.raises(WrongUse, match="by what name"):
        serve(Path("x"), host="192.168.1.5", behind_proxy=True)


# ---- the data directory -------------------------------------------------------------------------------------------------


def test_a_directory_of_a_newer_version_or_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.doc").write_text("")
    with pytest.raises(WrongUse, match="no data directory"):
        Store(tmp_path / "other")
    store = Store(tmp_path / "data")
    store.db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    store.close()
    with pytest.raises(EcgError, match="newer Einthoven"):
        Store(tmp_path / "data")


def test_drafts_and_files_without_a_row_are_swept_and_nothing_else(tmp_path: Path) -> None:
    store = Store(tmp_path / "data")
    kept, _ = store.put(b"kept")
    store.db.execute("INSERT INTO file VALUES (?, 4, 0)", (kept,))
    lost, _ = store.put(b"written, then the power went")
    (store.folder / "incoming" / "x.part").write_bytes(b"half")
    (store.folder / "incoming" / "upload").mkdir()
    (store.folder / "incoming" / "upload" / "name.xml").write_bytes(b"with a name in it")
    assert store.sweep() == 3 and not list((store.folder / "incoming").iterdir())
    assert store.path_of(kept).read_bytes() == b"kept" and not store.path_of(lost).exists()
    assert (store.folder / CATALOGUE).exists()


# ---- jobs ---------------------------------------------------------------------------------------------------------------


def test_fine_tuning_from_labels_to_a_model_that_predicts(tmp_path: Path) -> None:
    """Two rates are told apart by the head of the default model's networks; events are heard from any number on."""
    pytest.importorskip("torch")
    door = Door(tmp_path / "data", work=True)
    with door.client:
        client = door.sign_in()
        here = tmp_path / "files"
        here.mkdir()
        for i in range(24):
            write(simulate(rate=60 if i % 2 else 115, seed=i, duration=5.0, fs=100.0).record, here / f"{i}.npz")
        told = upload(client, sorted(here.iterdir()))
        ids = [one["id"] for one in told]
        assert all(ids)
        wrong = client.post("/api/jobs", json={"kind": "finetune", "args": {"name": "slow-or-fast", "ecgs": ids[:3]}})
        assert wrong.status_code == 422 and "ten labelled ECGs" in wrong.json()["detail"]
        for one in told:
            label = "slow" if int(Path(one["name"]).stem) % 2 else "fast"
            client.patch(f"/api/ecgs/{one['id']}", json={"labels": [label]})
        args = {"name": "slow-or-fast", "ecgs": ids, "epochs": 3, "batch": 8, "gamma": 0.95}
        for key, value in (("batch", 2.5), ("gamma", 0), ("learning_rate", True), ("layer_decay", 0.5)):
            assert client.post("/api/jobs", json={"kind": "finetune", "args": args | {key: value}}).status_code == 422
        job = client.post("/api/jobs", json={"kind": "finetune", "args": args}).json()
        until = time.monotonic() + 300
        while (state := client.get(f"/api/jobs/{job['id']}").json())["state"] in ("queued", "running"):
            assert time.monotonic() < until, client.get(f"/api/jobs/{job['id']}/events").text[-2000:]
            time.sleep(0.3)
        assert state["state"] == "done", state
        heard = client.get(f"/api/jobs/{job['id']}/events").text
        numbers = [int(line[4:]) for line in heard.splitlines() if line.startswith("id: ")]
        assert (
            numbers == list(range(1, len(numbers) + 1))
            and heard.count('"metrics"') == 3
            and '"finder"' in heard
            and '"state": "done"' in heard
        )
        later = client.get(f"/api/jobs/{job['id']}/events", headers={"last-event-id": str(numbers[-2])}).text
        assert later.count("id: ") == 1
        named = {one["name"]: one for one in client.get("/api/models").json()}
        assert named["slow-or-fast"]["trained_here"] and named["slow-or-fast"]["labels"] == ["fast", "slow"]
        assert client.post("/api/models/slow-or-fast/verify").json() == {"ok": True}
        assert client.get("/api/models/slow-or-fast/report").status_code == 200
        said = client.post(f"/api/ecgs/{ids[0]}/predict", params={"model": "slow-or-fast"}).json()
        assert set(said["labels"]) == {"fast", "slow"} and sum(said["labels"].values()) == pytest.approx(1)


def test_many_are_predicted_into_a_table(tmp_path: Path) -> None:
    """Each as `predict` says it, one that cannot be is told, and no name is a formula."""
    import csv
    import io

    from einthoven.paper import render

    door = Door(tmp_path / "data", work=True, welcome=False)
    with door.client:
        client = door.sign_in()
        record = simulate("lbbb", rate=70, seed=3).record
        mine = put(client, record, tmp_path)
        short = put(client, record.pick(["I", "II"]), tmp_path, "short")
        client.patch(f"/api/ecgs/{mine}", json={"name": "=1+1", "labels": ["LBBB"]})
        assert client.post("/api/jobs", json={"kind": "predict", "args": {"ecgs": [], "model": "x"}}).status_code == 422
        page, _ = render.render_png(record, dpi=120, header=False)
        (paper,) = client.post("/api/ecgs", files={"files": ("page.png", page)}).json()
        args = {"ecgs": [mine, short, paper["id"]], "model": "einthoven-12"}
        job = client.post("/api/jobs", json={"kind": "predict", "args": args}).json()
        until = time.monotonic() + 120
        while (state := client.get(f"/api/jobs/{job['id']}").json())["state"] in ("queued", "running"):
            assert time.monotonic() < until
            time.sleep(0.2)
        assert state["state"] == "done" and state["result"]["done"] + state["result"]["failed"] == 3, state
        rows = list(csv.DictReader(io.StringIO(client.get(f"/api/jobs/{job['id']}/table").text)))
        assert rows[0]["file_name"] == "'=1+1" and rows[0]["id"] == mine and rows[0]["own_labels"] == "LBBB"
        for name, share in ecg_predict(record).items():
            assert float(rows[0][name]) == pytest.approx(share, abs=1e-4)
        assert rows[1]["id"] == short and (rows[1]["error"] or rows[1]["NORM"]) and str(tmp_path) not in rows[1]["error"]
        assert rows[2]["file_name"] == "page.png" and float(rows[2]["CD"]) > 0.5 and "paper" in rows[2]["warnings"]


def test_models_come_as_files(tmp_path: Path) -> None:
    """A Bundle's ZIP is here at once, whole or not at all; a foreign ONNX file is read by a job, and predicts."""
    pytest.importorskip("torch")
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(size=(3, 12)).astype(np.float32), "b": np.zeros(3, np.float32)}
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[2], keepdims=0),
        helper.make_node("Gemm", ["m", "w", "b"], ["y"], transB=1),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 12, 1000])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    for key, value in {"target_keys": "['NORM', 'MI', 'STTC']", "standardizer": "None", "sampling_rate": "100"}.items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, str(tmp_path / "m.onnx"))
    door = Door(tmp_path / "data", work=True, welcome=False)
    with door.client:
        client = door.sign_in()

        def send(data: bytes, **form: str) -> Any:
            return client.post("/api/models", files={"file": ("a file", data)}, data=form)

        bundle = client.get("/api/models/einthoven-paper-1/bundle").content
        middle = len(bundle) // 2
        assert send(bundle[:middle] + bytes([bundle[middle] ^ 1]) + bundle[middle + 1 :]).status_code == 400
        assert not list((door.app.state.store.folder / "models").iterdir())
        assert send(bundle).json() == {"model": "einthoven-paper-1"}
        assert send(bundle).status_code == 422  # is here
        job = send((tmp_path / "m.onnx").read_bytes(), name="foreign").json()
        bad = send(b"not a network", name="bad").json()
        assert send(b"x", name="../up").status_code == 422
        until = time.monotonic() + 200
        while client.get(f"/api/jobs/{bad['id']}").json()["state"] in ("queued", "running"):
            assert time.monotonic() < until
            time.sleep(0.3)
        done = client.get(f"/api/jobs/{job['id']}").json()
        assert done["result"] == {"model": "foreign"}, done["error"]
        assert client.get(f"/api/jobs/{bad['id']}").json()["state"] == "failed"
        mine = put(client, simulate(rate=70, seed=3).record, tmp_path)
        said = client.post(f"/api/ecgs/{mine}/predict", params={"model": "foreign"}).json()["labels"]
        assert set(said) == {"NORM", "MI", "STTC"} and sum(said.values()) == pytest.approx(1)
        fake = {"name": "x", "file": "../../etc/passwd"}
        assert client.post("/api/jobs", json={"kind": "import", "args": fake}).status_code == 404
        assert not list((door.app.state.store.folder / "jobs").glob("*.onnx"))  # nothing lies about


def test_a_model_is_published_and_pulled_on_another_server(tmp_path: Path) -> None:
    """Through an exchange: the same digest on both sides; what was tampered with is told; only named stores are asked."""
    import shutil

    from einthoven.exchange.shelf import find

    (tmp_path / "exchange").mkdir()
    one = Door(tmp_path / "one", stores=(str(tmp_path / "exchange"),))
    two = Door(tmp_path / "two", stores=(str(tmp_path / "exchange"),))
    with one.client, two.client:
        here, there = one.sign_in(), two.sign_in()
        own = one.app.state.store.folder / "models" / "mine"
        shutil.copytree(find("einthoven-paper-1"), own)
        item = here.post("/api/models/einthoven-paper-1/publish", json={"store": 0}).json()
        assert [m["name"] for m in there.get("/api/stores/0/models").json()] == ["einthoven-paper-1"]
        pulled = there.post("/api/stores/0/models/einthoven-paper-1/pull").json()
        assert pulled["digest"] == item["digest"]
        assert {m["name"]: m for m in there.get("/api/models").json()}["einthoven-paper-1"]["trained_here"]
        assert here.post("/api/models/einthoven-paper-1/publish", json={"store": 1}).status_code == 404
        assert there.post("/api/stores/0/models/..%2Fx/pull").status_code in (404, 405, 422)
        assert there.post("/api/stores/0/models/nothing/pull").status_code == 422
        with (own / "card.md").open("a") as file:
            file.write("better than it is")
        assert here.post("/api/models/mine/verify").json()["ok"] is False
        assert here.post("/api/models/mine/publish", json={"store": 0}).status_code == 400


def test_a_job_of_a_killed_server_is_taken_up_and_a_cancelled_one_is_not(tmp_path: Path) -> None:
    from einthoven.serve.jobs import Jobs
    from einthoven.serve.library import Library

    store = Store(tmp_path / "data")
    jobs = Jobs(store, Library(store))
    for job, state in (("a", "running"), ("b", "cancelled"), ("c", "done")):
        store.db.execute(
            "INSERT INTO job (id, kind, owner, state, args, created) VALUES (?, 'none', 'me', ?, '{}', 0)", (job, state)
        )
    jobs._stop.set()  # takes up, works on nothing
    jobs.start()
    assert {row["id"]: row["state"] for row in store.rows("SELECT id, state FROM job")} == {
        "a": "queued",
        "b": "cancelled",
        "c": "done",
    }
    assert jobs.events("a")[0][1] == {"state": "queued", "why": "the server was restarted"}
    jobs.cancel("a")
    jobs.cancel("c")
    assert {row["id"]: row["state"] for row in store.rows("SELECT id, state FROM job")} == {
        "a": "cancelled",
        "b": "cancelled",
        "c": "done",
    }
