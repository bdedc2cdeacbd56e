"""The Index: what is stored, what is clipped, what fails, what a kill leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from data_examples import beat, put, table

from einthoven.data import Index, Origin, build, is_index, load
from einthoven.data.datasets.table import recognise
from einthoven.data.index import LARGEST, MISSING, hashed, microvolts, millivolts
from einthoven.data.workers import ordered
from einthoven.io import write
from einthoven.record import STANDARD_LEADS, EcgError, Record


def ward(folder: Path, count: int = 6) -> Path:
    """A folder of `count` labelled ECGs."""
    for i in range(count):
        put(folder / f"{i}.hea", beat(i))
    lines: list[dict[str, object]] = [
        {"file_name": f"{i}.hea", "label": "AF" if i % 2 else "SR", "patient": f"p{i}"} for i in range(count)
    ]
    table(folder / "labels.csv", lines)
    return folder


def origin(folder: Path) -> Origin:
    return Origin(folder, recognise(folder))


def told(index: Index) -> str:
    """All that the table says (as text: NaN equals NaN there)."""
    return repr(index.table.to_pylist())


def test_microvolts_and_back_to_the_last_bit() -> None:
    exact = np.array([[0.0, 1.234, -32.767, np.nan, 32.767]], np.float32)
    stored, clipped = microvolts(exact)
    assert stored.tolist() == [[0, 1234, -LARGEST, MISSING, LARGEST]] and clipped == 0
    back = millivolts(stored)
    assert np.isnan(back[0, 3]) and np.nanmax(np.abs(back - exact)) < 1e-6


def test_clipping_is_counted_and_told(tmp_path: Path) -> None:
    folder = ward(tmp_path / "ward", 2)
    loud = (beat(1) / 1000).astype(np.float32)
    loud[0, :3] = (40.0, -50.0, np.inf)
    write(Record(loud, 500.0, STANDARD_LEADS), folder / "1.csv")
    (folder / "1.hea").unlink(), (folder / "1.dat").unlink()
    table(folder / "labels.csv", [{"file_name": "0.hea", "label": "a"}, {"file_name": "1.csv", "label": "b"}])
    index = load(folder)
    assert index.column("clipped").tolist() == [0, 2] and index.about["clipped"] == 2
    assert any("clipped" in w for w in index.column("warnings")[1])
    assert index.digital(1)[0, :3].tolist() == [LARGEST, -LARGEST, MISSING]


def test_hash_is_of_the_signal_whatever_the_order_of_leads() -> None:
    digital = beat(3)
    turned = digital[::-1]
    assert hashed(digital, STANDARD_LEADS) == hashed(turned, STANDARD_LEADS[::-1]) != ""
    other = digital.copy()
    other[5, 17] += 1
    assert hashed(other, STANDARD_LEADS) != hashed(digital, STANDARD_LEADS)
    assert hashed(np.zeros((12, 100), np.int16), STANDARD_LEADS) == ""


def test_select_shares_signals_and_keeps_rows(tmp_path: Path) -> None:
    index = load(ward(tmp_path / "ward"))
    part = index.select([4, 1])
    assert part.column("record") == ["ward:4.hea", "ward:1.hea"] and part.signals is index.signals
    assert np.array_equal(part.digital(0), beat(4)) and np.array_equal(part.digital(1), beat(1))
    assert part.record(1).patient.id == "ward:p1" and part.record(1).source.path == "ward:1.hea"
    assert index.select(np.array(index.column("record")) == "ward:4.hea").column("record") == ["ward:4.hea"], "a mask will do"
    with pytest.raises(EcgError, match="no column nonsense"):
        index.column("nonsense")


def test_what_cannot_be_read_is_named_and_costs_nothing_else(tmp_path: Path) -> None:
    folder = ward(tmp_path / "ward")
    (folder / "2.dat").write_bytes(b"\0" * 10)
    index = build([origin(folder)], tmp_path / "index")
    assert len(index) == 5
    (fault,) = index.about["failed"]
    assert fault["name"] == "ward:2.hea" and "2.dat" in fault["why"]
    assert json.loads((tmp_path / "index" / "index.json").read_text())["failed"] == index.about["failed"]


def test_over_processes_it_is_the_same(tmp_path: Path) -> None:
    folder = ward(tmp_path / "ward", 40)
    one, two = build([origin(folder)], tmp_path / "one"), build([origin(folder)], tmp_path / "two", jobs=2)
    assert told(one) == told(two) and np.array_equal(one.signals, two.signals)


def test_an_index_is_never_overwritten_in_silence(tmp_path: Path) -> None:
    folder = ward(tmp_path / "ward")
    build([origin(folder)], tmp_path / "index")
    with pytest.raises(EcgError, match="there is an index already"):
        build([origin(folder)], tmp_path / "index")
    put(folder / "0.hea", beat(99))
    again = build([origin(folder)], tmp_path / "index", overwrite=True)
    assert np.array_equal(again.digital(0), beat(99))
    assert sorted(p.name for p in (tmp_path / "index").iterdir()) == ["index.json", "records.parquet", "signals.i16"]
    (tmp_path / "taken").mkdir()
    with pytest.raises(EcgError, match="is no index"):
        build([origin(folder)], tmp_path / "taken")


def test_a_kept_index_is_taken_and_never_that_of_something_else(tmp_path: Path) -> None:
    one, other = ward(tmp_path / "one"), ward(tmp_path / "other")
    first = load(one, folder=tmp_path / "kept")
    before = (tmp_path / "kept" / "records.parquet").stat().st_mtime_ns
    assert told(load(one, folder=tmp_path / "kept")) == told(first)
    assert (tmp_path / "kept" / "records.parquet").stat().st_mtime_ns == before
    with pytest.raises(EcgError, match="something else"):
        load(other, folder=tmp_path / "kept")
    assert told(load(tmp_path / "kept")) == told(first)


def test_a_damaged_index_is_refused(tmp_path: Path) -> None:
    index = build([origin(ward(tmp_path / "ward"))], tmp_path / "index")
    size = 2 * len(index.signals)
    os.truncate(tmp_path / "index" / "signals.i16", size - 2)
    with pytest.raises(EcgError, match=r"signals\.i16 holds"):
        Index.open(tmp_path / "index")
    with pytest.raises(EcgError, match="no index"):
        Index.open(tmp_path)
    (tmp_path / "index" / "records.parquet").write_bytes(b"PAR1 and nothing else PAR1")
    with pytest.raises(EcgError, match="cannot be read"):
        Index.open(tmp_path / "index")


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    folder = ward(tmp_path / "ward", 2)
    for name in ("0.dat", "1.dat"):
        (folder / name).write_bytes(b"")
    with pytest.raises(EcgError, match="no record could be read"):
        load(folder)


_KILLED = """
import os, sys, time
from pathlib import Path
from einthoven.data import Origin, build
from einthoven.data.datasets.table import recognise
folder, out = Path(sys.argv[1]), Path(sys.argv[2])
def slow(done, failed):
    if done >= 3:
        print("three", flush=True)
        time.sleep(60)
build([Origin(folder, recognise(folder))], out, on_record=slow)
"""


def test_killed_in_the_middle_it_goes_on(tmp_path: Path) -> None:
    folder, out = ward(tmp_path / "ward", 8), tmp_path / "index"
    run = subprocess.Popen([sys.executable, "-c", _KILLED, str(folder), str(out)], stdout=subprocess.PIPE)
    assert run.stdout is not None and run.stdout.readline() == b"three\n"
    run.send_signal(signal.SIGKILL)
    run.wait()
    run.stdout.close()
    assert not is_index(out)
    # What a kill may leave: half a row, and samples without a row.
    draft = tmp_path / ".index.draft"
    with (draft / "rows.jsonl").open("ab") as rows, (draft / "signals.i16").open("ab") as signals:
        rows.write(b'{"record": "ward:3.h')
        signals.write(b"\1\2\3\4")
    seen: list[int] = []
    index = build([origin(folder)], out, on_record=lambda done, failed: seen.append(done))
    assert seen[0] == 4, "the three that were done are not read again"
    assert told(index) == told(build([origin(folder)], tmp_path / "whole"))
    assert all(np.array_equal(index.digital(i), beat(i)) for i in range(8))


def test_a_draft_of_another_plan_is_begun_anew(tmp_path: Path) -> None:
    folder, out = ward(tmp_path / "ward"), tmp_path / "index"
    draft = tmp_path / ".index.draft"
    draft.mkdir()
    (draft / "plan.json").write_text("of something else")
    (draft / "rows.jsonl").write_text("{}\n")
    assert len(build([origin(folder)], out)) == 6


def twice(value: int) -> int:
    if value == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * value


def test_workers_keep_order_and_name_what_kills_them() -> None:
    def run(work: Callable[[int], int], jobs: int) -> list[int]:
        return list(ordered(work, range(4), jobs=jobs, killed=lambda value: -value, chunk=1))

    assert run(twice, 2) == [0, -1, 4, 6]
    assert run(abs, 1) == list(range(4))


def test_record_of_an_index_reads_like_the_file(tmp_path: Path) -> None:
    from einthoven.io import read

    folder = ward(tmp_path / "ward", 1)
    index = load(folder)
    ours, theirs = index.record(0), read(folder / "0.hea")
    assert np.array_equal(ours.signal, theirs.signal) and ours.leads == theirs.leads and ours.fs == theirs.fs
    assert ours.duration == theirs.duration
