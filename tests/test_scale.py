"""Shards: the same bytes from any backend, after any stop, and whatever a record does to its process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from einthoven import scale
from einthoven.batch import Line
from einthoven.data.workers import on, ordered
from einthoven.record import EcgError


def length(path: str) -> Line:
    """The work: how long a name is; one that says so is bad, one kills its process, one is slow."""
    if "bad" in path:
        raise EcgError("is bad", path=path)
    if "killer" in path:
        os.kill(os.getpid(), signal.SIGKILL)
    if "slow" in path:
        time.sleep(0.02)
    return {"length": len(path)}


def write(listing: Path, names: list[str]) -> list[str]:
    listing.write_text("".join(f"{n}\n" for n in names), encoding="utf-8")
    return names


def expected(name: str) -> Line:
    if "bad" in name:
        return {"path": name, "ok": False, "error": f"{name}: is bad", "what": "is bad", "where": None}
    return {"path": name, "ok": True, "length": len(name)}


def files(out: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in out.glob("shard-*")}


def names(count: int, kind: str = "") -> list[str]:
    return [f"r{i:04d}{'bad' if i % 7 == 3 else kind}{'ä' * (i % 3)}.hea" for i in range(count)]


@pytest.mark.parametrize(("count", "size"), [(1, 1), (10, 10), (10, 3), (23, 5), (23, 100)])
def test_every_line_once_and_in_order(tmp_path: Path, count: int, size: int) -> None:
    listed = write(tmp_path / "list.txt", names(count))
    tally = scale.run(length, tmp_path / "list.txt", tmp_path / "out", shard=size, jobs=1)
    assert list(scale.results(tmp_path / "out")) == [expected(n) for n in listed]
    bad = sum("bad" in n for n in listed)
    assert (tally.done, tally.failed, tally.earlier, tally.shards) == (count - bad, bad, 0, -(-count // size))


def test_processes_give_the_same_bytes_as_one(tmp_path: Path) -> None:
    write(tmp_path / "list.txt", names(40))
    scale.run(length, tmp_path / "list.txt", tmp_path / "one", shard=6, jobs=1)
    scale.run(length, tmp_path / "list.txt", tmp_path / "two", shard=6, jobs=2)
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_a_record_that_kills_its_process_is_named_and_costs_no_other(tmp_path: Path) -> None:
    listed = names(12)
    listed[5] = "killer.hea"
    write(tmp_path / "list.txt", listed)
    tally = scale.run(length, tmp_path / "list.txt", tmp_path / "out", shard=4, jobs=2)
    got = list(scale.results(tmp_path / "out"))
    assert [x["path"] for x in got] == listed
    assert "killed" in got[5]["error"]
    assert [x for i, x in enumerate(got) if i != 5] == [expected(n) for i, n in enumerate(listed) if i != 5]
    assert tally.failed == 1 + sum("bad" in n for n in listed)


def test_goes_on_after_kill_9_with_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "list.txt", names(200, "slow"))
    scale.run(length, tmp_path / "list.txt", tmp_path / "whole", shard=20, jobs=2)
    code = (
        "from pathlib import Path; from einthoven import scale; from test_scale import length;"
        f"scale.run(length, Path({str(tmp_path / 'list.txt')!r}), Path({str(tmp_path / 'out')!r}), shard=20, jobs=1)"
    )
    run = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)})
    while len(list((tmp_path / "out").glob("shard-*.gz"))) < 2:  # killed in the middle of the third shard or so
        assert run.poll() is None
        time.sleep(0.01)
    run.kill()
    run.wait()
    there = len(files(tmp_path / "out"))
    tally = scale.run(length, tmp_path / "list.txt", tmp_path / "out", shard=20, jobs=2)
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    assert 0 < tally.earlier < 200
    assert there < 10


def test_a_folder_takes_one_listing_only(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", names(4))
    write(tmp_path / "b.txt", names(5))
    scale.run(length, tmp_path / "a.txt", tmp_path / "out", shard=2, jobs=1)
    with pytest.raises(EcgError, match="another listing"):
        scale.run(length, tmp_path / "b.txt", tmp_path / "out", shard=2, jobs=1)
    with pytest.raises(EcgError, match="another listing"):
        scale.run(length, tmp_path / "a.txt", tmp_path / "out", shard=3, jobs=1)
    again = scale.run(length, tmp_path / "a.txt", tmp_path / "out", shard=2, jobs=1)
    assert (again.done, again.failed, again.earlier) == (0, 0, 4)


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    with pytest.raises(EcgError, match="cannot be read"):
        scale.run(length, tmp_path / "none.txt", tmp_path / "out")
    (tmp_path / "empty.txt").write_text("\n\n")
    with pytest.raises(EcgError, match="names no input"):
        scale.run(length, tmp_path / "empty.txt", tmp_path / "out")
    with pytest.raises(EcgError, match="no backend spark"):
        scale.run(length, tmp_path / "empty.txt", tmp_path / "out", backend="spark")


def doubled(x: int) -> int:
    """Another work: a number that kills its process, and one that is refused."""
    if x == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    if x == 99:
        raise EcgError("no such number", path="99")
    return 2 * x


def test_a_backend_has_a_name() -> None:
    with pytest.raises(EcgError, match="no backend spark"), on("spark"):
        pass


def test_ray_gives_the_same(tmp_path: Path) -> None:
    """One cluster for all of it: shards, ordered work, an index."""
    ray = pytest.importorskip("ray", reason="Ray is not installed (extra [scale])")
    from einthoven.data.datasets.table import recognise
    from einthoven.data.index import Index, Origin, build
    from einthoven.io import write as write_ecg
    from einthoven.synth import simulate

    listed = names(30)
    listed[8] = "killer.hea"
    write(tmp_path / "list.txt", listed)
    scale.run(length, tmp_path / "list.txt", tmp_path / "here", shard=5, jobs=2)
    ecgs = tmp_path / "ecgs"
    ecgs.mkdir()
    for i in range(5):
        write_ecg(simulate(rate=60 + i, seed=i, duration=3).record, ecgs / f"{i}.npz")
    (ecgs / "labels.csv").write_text("file_name,label\n" + "".join(f"{i}.npz,{'ab'[i % 2]}\n" for i in range(5)))
    source = Origin(ecgs, recognise(ecgs))
    build([source], tmp_path / "index-here", jobs=1)
    try:
        tally = scale.run(length, tmp_path / "list.txt", tmp_path / "ray", shard=5, backend="ray", jobs=2)
        again = scale.run(length, tmp_path / "list.txt", tmp_path / "ray", shard=5, backend="ray", jobs=2)
        with on("ray"):
            numbers = list(ordered(doubled, iter(range(20)), jobs=2, killed=lambda x: -x, chunk=3))
            with pytest.raises(EcgError, match="no such number"):
                list(ordered(doubled, [98, 99], jobs=2, killed=lambda x: -x))
            build([source], tmp_path / "index-ray", jobs=2)
    finally:
        ray.shutdown()
    assert files(tmp_path / "ray") == files(tmp_path / "here")
    assert tally.done + tally.failed == 30
    assert (again.done, again.earlier) == (0, 30)
    assert numbers == [-7 if x == 7 else 2 * x for x in range(20)]
    one, two = Index.open(tmp_path / "index-here"), Index.open(tmp_path / "index-ray")
    assert repr(one.table.to_pylist()) == repr(two.table.to_pylist()) and (one.signals == two.signals).all()
