"""What is kept is what would be computed; it goes with its ECG, and with whatever it followed from; helpers say the same as the
server would; a long recording is read where it is asked for."""

import gzip
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")

from serve_door import Door, put, unpacked

import einthoven as ecg
from einthoven.record import EcgError, Record
from einthoven.report import to_json
from einthoven.serve import made, sight
from einthoven.serve.derived import Derived
from einthoven.serve.store import Store
from einthoven.serve.unpacked import BLOCK, open_, write
from einthoven.synth import simulate

RECORD = simulate("lbbb", rate=70, seed=3).record


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    made_ = Door(tmp_path / "data")
    with made_.client:
        yield made_


def kept(door: Door) -> list[str]:
    """Names of all that is kept, without their marks."""
    return sorted(path.name.partition(".")[0] for path in door.app.state.library.derived.folder.glob("*/*/[!.]*"))


def timeless(told: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in told.items() if key != "created"}


def until(holds: Any) -> None:
    last = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < last
        time.sleep(0.02)


def test_what_is_kept_is_what_is_computed(door: Door, tmp_path: Path) -> None:
    client = door.sign_in()
    mine = put(client, RECORD, tmp_path)
    first = {name: client.get(f"/api/ecgs/{mine}/{name}").content for name in ("report", "beats", "fiducials", "spectrum")}
    first["overlay"] = client.get(f"/api/ecgs/{mine}/views/overlay").content
    assert kept(door) == ["beats", "fiducials", "overlay", "report", "spectrum"]
    library = door.app.state.library
    library.forget(mine)
    library._read = None  # whoever computes again fails
    for name in ("report", "beats", "fiducials", "spectrum"):
        assert client.get(f"/api/ecgs/{mine}/{name}").content == first[name]
        plain = client.get(f"/api/ecgs/{mine}/{name}", headers={"Accept-Encoding": "identity"})
        assert plain.content == first[name] and "content-encoding" not in plain.headers
    assert client.get(f"/api/ecgs/{mine}/views/overlay").content == first["overlay"]
    del library._read
    library.derived.drop(mine)
    again = client.get(f"/api/ecgs/{mine}/report").json()
    assert timeless(again) == timeless(client.get(f"/api/ecgs/{mine}/report").json())
    alone = to_json(ecg.interpret(RECORD))
    assert again["findings"] == alone["findings"] and again["beats"] == alone["beats"]


def test_a_helper_says_what_the_server_would(tmp_path: Path) -> None:
    told = []
    for helpers in (0, 1):
        door = Door(tmp_path / f"data{helpers}", helpers=helpers)
        with door.client as client:
            door.sign_in()
            mine = put(client, RECORD, tmp_path, "a")
            until(lambda: "report" in kept(door))  # made ahead, because it came in  # noqa: B023
            one = [timeless(client.get(f"/api/ecgs/{mine}/report").json()), client.get(f"/api/ecgs/{mine}/beats").json()]
            one += [client.get(f"/api/ecgs/{mine}/views/{view}").content for view in sight.VIEWS]
            one.append(client.post(f"/api/ecgs/{mine}/predict").json())
            one.append([client.get(f"/api/ecgs/{mine}/file.csv").content, client.get(f"/api/ecgs/{mine}/file.svg").status_code])
            place = f"/api/ecgs/{mine}/fiducials"
            one.append(client.post(place, json={"beat": 400, "name": "t_off", "to": 1}).json())  # a fault is told alike
            one.append(client.post(place, json={"beat": 0, "name": "p_on"}).status_code)
            one.append(client.get(f"/api/ecgs/{mine}/file.svg", params={"layout": "nine"}).json())
            told.append(one)
    assert told[0] == told[1]


def test_a_helper_that_dies_costs_its_answer_and_no_other(tmp_path: Path) -> None:
    door = Door(tmp_path / "data", helpers=1)
    with door.client as client:
        door.sign_in()
        mine = put(client, RECORD, tmp_path)
        client.get(f"/api/ecgs/{mine}/report")
        (helper,) = door.app.state.helpers._quick._helpers
        os.kill(helper._process.pid, signal.SIGKILL)
        answer = client.get(f"/api/ecgs/{mine}/views/median")
        assert answer.status_code == 400 and "ended" in answer.json()["detail"]
        assert client.get(f"/api/ecgs/{mine}/views/median").status_code == 200


def test_whatever_a_result_follows_from_makes_another_one(door: Door, tmp_path: Path) -> None:
    client = door.sign_in()
    mine = put(client, RECORD, tmp_path)
    before, place = client.get(f"/api/ecgs/{mine}/report").content, f"/api/ecgs/{mine}/fiducials"
    told = client.get(f"/api/ecgs/{mine}/beats").json()
    client.post(place, json={"beat": 0, "name": "p_on"})
    after = client.get(f"/api/ecgs/{mine}/report").json()
    assert after["beats"]["overall"][0][0] is None and "corrected by hand" in after["warnings"][0]
    assert client.get(f"/api/ecgs/{mine}/beats").json()["overall"][0][0] is None
    assert kept(door).count("report") == 1  # the one that is no longer true is gone
    client.delete(place)
    assert client.get(f"/api/ecgs/{mine}/beats").json() == told
    assert timeless(client.get(f"/api/ecgs/{mine}/report").json()) == timeless(_json(before))
    client.patch(f"/api/ecgs/{mine}", json={"name": "another"})
    assert client.get(f"/api/ecgs/{mine}/report").json()["source"]["path"] == "another"
    store, library = door.app.state.store, door.app.state.library
    mark = made.mark_of(library, library.row(mine))
    store.db.execute("UPDATE ecg SET about = '{}' WHERE id = ?", (mine,))
    assert made.mark_of(library, library.row(mine)) != mark


def _json(raw: bytes) -> dict[str, Any]:
    import json

    return dict(json.loads(raw))


def test_what_is_deleted_leaves_no_result(door: Door, tmp_path: Path) -> None:
    client = door.sign_in()
    mine = put(client, RECORD, tmp_path)
    client.get(f"/api/ecgs/{mine}/report")
    library = door.app.state.library
    assert kept(door)
    client.delete(f"/api/ecgs/{mine}")
    assert not list(library.derived.folder.glob("*/*"))
    library.derived.keep(mine, "report", "0", lambda path: path.write_bytes(b"1"), 1, lambda: library.is_there(mine))
    assert not list(library.derived.folder.glob("*/*"))  # of one that was deleted while it was made
    (library.derived.folder / "ab" / "ab12").mkdir(parents=True)
    assert library.sweep() == 1 and not list(library.derived.folder.glob("*/*"))


def test_results_are_bounded_and_the_latest_asked_for_stay(tmp_path: Path) -> None:
    held = Derived(tmp_path / "derived", most=10_000)
    for k in range(4):
        held.keep(f"ab{k}", "report", "0", lambda path: path.write_bytes(bytes(4000)), 4000, lambda: True)
        if (place := held.path(f"ab{k}", "report", "0")) is not None:
            os.utime(place, (1000 + k, 1000 + k))
        held.read("ab0", "report", "0")  # counts as use
    assert [held.read(f"ab{k}", "report", "0") is not None for k in range(4)] == [True, False, False, True]
    held.keep("ab9", "report", "0", lambda path: path.write_bytes(bytes(9000)), 9000, lambda: True)
    assert held.read("ab9", "report", "0") is None  # larger than half of the bound


def long_record(seconds: float, fs: float) -> Record:
    """Noise, with gaps."""
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(3, int(seconds * fs))).astype(np.float32)
    rows[0, 100:5000] = np.nan
    rows[2] = np.nan
    rows[1, rng.integers(0, rows.shape[1], 3000)] = np.nan
    return Record(rows, fs, ("II", "V1", "V5"))


def test_a_mapped_recording_says_what_the_record_says(tmp_path: Path) -> None:
    record = long_record(400.0, 100.0)
    write(record, tmp_path / "long")
    mapped = open_(tmp_path / "long")
    assert np.array_equal(mapped.signal, record.signal, equal_nan=True) and mapped.leads == record.leads
    rng = np.random.default_rng(1)
    asked = [(0.0, None, None), (0.0, None, 2000), (399.0, 400.0, 10), (0.0, None, 10), (0.005, 0.6, 10), (0.64, 1.28, 10)]
    asked += [
        (float(a), float(a + s), int(n))
        for a, s, n in zip(rng.uniform(0, 300, 60), rng.uniform(0.2, 99, 60), rng.integers(10, 4000, 60))
    ]
    for start, end, most in asked:
        assert sight.samples(mapped, start, end, most) == sight.samples(record, start, end, most), (start, end, most)
    for parts in (1, 7, record.signal.shape[1] // BLOCK, record.signal.shape[1] // 3):
        assert np.array_equal(
            mapped.extremes(0, record.signal.shape[1], parts), sight.extremes(record.signal, parts), equal_nan=True
        )
    (tmp_path / "long").write_bytes(b"\4\0\0\0nope")
    with pytest.raises(EcgError, match="damaged"):
        open_(tmp_path / "long")


def test_a_long_recording_is_unpacked_once_and_goes_with_its_ecg(door: Door, tmp_path: Path) -> None:
    client, record = door.sign_in(), long_record(90.0, 100.0)
    mine = put(client, record, tmp_path)
    assert kept(door) == ["signal"]
    library = door.app.state.library
    want = sight.samples(record, 60.0, 70.0)
    assert client.get(f"/api/ecgs/{mine}/signal?start=60&end=70").content == want
    library.derived.drop(mine)  # as in a directory of an older version
    assert client.get(f"/api/ecgs/{mine}/signal?start=60&end=70").content == want and kept(door) == ["signal"]
    library.derived.most = 0  # it cannot be kept
    library.derived.drop(mine)
    assert client.get(f"/api/ecgs/{mine}/signal?start=60&end=70").content == want and kept(door) == []
    head, _ = unpacked(client.get(f"/api/ecgs/{mine}/signal?most=20").content)
    assert head["pairs"] and head["samples"] == 40
    client.delete(f"/api/ecgs/{mine}")
    assert not list(library.derived.folder.glob("*/*"))


def test_connections_end_with_their_threads(tmp_path: Path) -> None:
    store = Store(tmp_path / "data")
    for _ in range(20):
        thread = threading.Thread(target=store.rows, args=("SELECT 1",))
        thread.start()
        thread.join()
    assert len(store.catalogue._all) == 1
    store.close()


def test_a_snapshot_is_of_one_moment(tmp_path: Path) -> None:
    store = Store(tmp_path / "data")
    with store.snapshot():
        assert store.rows("SELECT * FROM audit") == []
        other = threading.Thread(target=store.note, args=("somebody", "writes"))
        other.start()
        other.join()
        assert store.rows("SELECT * FROM audit") == []
    assert len(store.rows("SELECT * FROM audit")) == 1
    store.close()


def test_many_from_one_address_have_their_own_measure(tmp_path: Path) -> None:
    door = Door(tmp_path / "data", calls=3)
    with door.client as client:
        keys = [door.token("read") for _ in range(3)]
        codes = [[client.get("/api/me", headers=key).status_code for _ in range(4)] for key in keys]
        assert codes == [[200, 200, 200, 429]] * 3
        codes = [client.get("/api/me", headers={"Authorization": f"Bearer {k}"}).status_code for k in range(40)]
        assert set(codes[:18]) == {401} and codes[-1] == 429  # made-up ones use up the address


def test_what_is_shut_is_opened() -> None:
    assert made.opened(gzip.compress(b"{}", mtime=0)) == b"{}"
