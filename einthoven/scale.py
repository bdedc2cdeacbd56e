"""Millions of inputs: the same work as `batch`, in shards, on this machine's cores or on a cluster through Ray Data.

    listing (text, a path a line) --shards--> tasks --> OUT/shard-000000.jsonl.gz, shard-000001.jsonl.gz, ... + summary.json

A shard is a stretch of the listing, and one file of results in the listing's order. It is written under another name and
renamed when it is complete, so the files that are there say what is done: the same command goes on after any stop, with
either backend, and ends with the same bytes. The listing is read by byte offsets and never held; a task holds one record.
A record that kills its process is named on the third attempt, and its shard goes on behind it.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from einthoven.batch import Line, Work, guarded
from einthoven.data.workers import BACKENDS, start_ray
from einthoven.io.files import replacing
from einthoven.processes import ONE_THREAD, spawned
from einthoven.record import EcgError, WrongUse

_ATTEMPTS = 2  # a record whose process dies this often is given up
_SUMMARY = "summary.json"


@dataclass(frozen=True)
class Shard:
    """One stretch of the listing: `offset` in bytes, `count` lines."""

    number: int
    offset: int
    count: int

    def file(self, out: Path) -> Path:
        return out / f"shard-{self.number:06d}.jsonl.gz"


@dataclass(frozen=True)
class Tally:
    """How a run went. `earlier`: records of shards that an earlier run had finished (not counted as done or failed here)."""

    done: int
    failed: int
    earlier: int
    shards: int
    seconds: float


def run(
    work: Work,
    listing: Path,
    out: Path,
    *,
    shard: int = 1000,
    backend: str = "local",
    jobs: int = 0,
    address: str | None = None,
    on_shard: Callable[[int, int], None] | None = None,
) -> Tally:
    """Works through every line of `listing` into shards of results in `out`; what is there already is kept.

    Args:
        work: path -> result line; picklable, and the same for every run into `out`.
        shard: lines a shard. backend: "local" (processes here) or "ray" (Ray Data, on the cluster at `address`, or
            on this machine when there is none). jobs: processes at once; 0 takes every core.
        on_shard: called with (records done, records in all) as shards are finished.

    Raises:
        EcgError: a listing that cannot be read, another listing or shard size than the folder was begun with, no such backend,
            or Ray not installed.
    """
    begun = time.perf_counter()
    if backend not in BACKENDS:
        raise WrongUse(f"no backend {backend} (there are: {', '.join(BACKENDS)})")
    shards, digest = _shards(listing, shard)
    out.mkdir(parents=True, exist_ok=True)
    _same_run(out, {"listing_sha256": digest, "shard": shard})
    todo = [s for s in shards if not s.file(out).exists()]
    total, earlier = sum(s.count for s in shards), sum(s.count for s in shards) - sum(s.count for s in todo)
    done = failed = 0
    start = _ray if backend == "ray" else _local
    for good, bad in start(work, listing, out, todo, jobs or os.cpu_count() or 1, address):
        done, failed = done + good, failed + bad
        if on_shard:
            on_shard(earlier + done + failed, total)
    tally = Tally(done, failed, earlier, len(shards), time.perf_counter() - begun)
    with replacing(out / _SUMMARY) as draft:
        draft.write_text(json.dumps({"listing_sha256": digest, "shard": shard, **asdict(tally)}, indent=1), encoding="utf-8")
    return tally


def results(out: Path) -> Iterator[Line]:
    """All result lines of a folder, in the listing's order, one at a time."""
    for file in sorted(out.glob("shard-*.jsonl.gz")):
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)


# ---- the listing --------------------------------------------------------------------------------------------------------


def _shards(listing: Path, size: int) -> tuple[list[Shard], str]:
    """The stretches of the listing and its SHA-256, in one pass that holds one line at a time."""
    if size < 1:
        raise WrongUse(f"a shard of {size} lines: 1 or more")
    found: list[Shard] = []
    digest = hashlib.sha256()
    try:
        with listing.open("rb") as file:
            start = at = count = 0
            for raw in file:
                digest.update(raw)
                at += len(raw)
                count += bool(raw.strip())
                if count == size:
                    found.append(Shard(len(found), start, count))
                    start, count = at, 0
            if count:
                found.append(Shard(len(found), start, count))
    except OSError as fault:
        raise EcgError(f"cannot be read: {fault.strerror}", path=listing) from fault
    if not found:
        raise EcgError("names no input", path=listing)
    return found, digest.hexdigest()


def _paths(listing: Path, shard: Shard) -> Iterator[str]:
    with listing.open("rb") as file:
        file.seek(shard.offset)
        lines = (raw.strip() for raw in file)
        for raw in islice((x for x in lines if x), shard.count):
            yield os.fsdecode(raw)


def _same_run(out: Path, run: Mapping[str, Any]) -> None:
    """Shards of two different listings must not meet in one folder."""
    mark = out / "run.json"
    if mark.exists():
        if json.loads(mark.read_text(encoding="utf-8")) != run:
            raise WrongUse("was begun with another listing or shard size: take another folder", path=out)
        return
    with replacing(mark) as draft:
        draft.write_text(json.dumps(run), encoding="utf-8")


# ---- one shard ----------------------------------------------------------------------------------------------------------


def work_shard(work: Work, listing: Path, out: Path, shard: Shard) -> tuple[int, int]:
    """One task: every line of one shard. -> (done, failed).

    What a killed process had done stands in `.part`, the record it was at in `.at`: the next attempt goes on from there.
    """
    target = shard.file(out)
    if target.exists():  # by an attempt whose answer was lost
        with gzip.open(target, "rt", encoding="utf-8") as lines_done:
            went = [bool(json.loads(text)["ok"]) for text in lines_done]
        return sum(went), len(went) - sum(went)
    part, mark = target.with_suffix(".part"), target.with_suffix(".at")
    lines = _kept(part)
    at, tries = _marked(mark)
    with part.open("a", encoding="utf-8") as file:
        for i, path in enumerate(_paths(listing, shard)):
            if i < len(lines):
                continue
            tries = tries + 1 if i == at else 1
            if tries > _ATTEMPTS:
                told = "its process was killed while it was worked on (out of memory?)"
                line: Line = {"path": path, "ok": False, "error": f"{path}: {told}", "what": told, "where": None}
            else:
                mark.write_text(f"{i} {tries}", encoding="ascii")
                line = guarded(work, path)
                line.pop("seconds", None)  # the same input gives the same bytes
            file.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")
            file.flush()
            lines.append(bool(line["ok"]))
            at = -1
    with (
        replacing(target) as draft,
        draft.open("wb") as raw,
        gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed,  # no time stamp: the same bytes
        part.open("rb") as done,
    ):
        packed.writelines(done)
    part.unlink()
    mark.unlink(missing_ok=True)
    return sum(lines), len(lines) - sum(lines)


def _kept(part: Path) -> list[bool]:
    """Whether each record that an earlier attempt finished went well; a line that was cut short is removed."""
    went: list[bool] = []
    if not part.exists():
        return went
    kept = 0
    with part.open("rb+") as file:
        for raw in file:
            if not raw.endswith(b"\n"):
                break
            went.append(bool(json.loads(raw)["ok"]))
            kept += len(raw)
        file.truncate(kept)
    return went


def _marked(mark: Path) -> tuple[int, int]:
    try:
        at, tries = mark.read_text(encoding="ascii").split()
        return int(at), int(tries)
    except (OSError, ValueError):  # none, or one that was being written
        return -1, 0


# ---- backends: shards to do -> (done, failed) of each as it is finished -------------------------------------------------


def _local(
    work: Work, listing: Path, out: Path, todo: Sequence[Shard], jobs: int, address: str | None
) -> Iterator[tuple[int, int]]:
    if jobs <= 1:
        yield from (work_shard(work, listing, out, shard) for shard in todo)
        return
    left = list(todo)
    while left:
        pool = spawned(jobs)
        waiting: dict[Future[tuple[int, int]], Shard] = {}
        ahead = iter(tuple(left))
        try:
            while True:
                for shard in islice(ahead, 2 * jobs - len(waiting)):
                    waiting[pool.submit(work_shard, work, listing, out, shard)] = shard
                if not waiting:
                    return
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    yield future.result()
                    left.remove(waiting.pop(future))
        except BrokenProcessPool:
            continue  # the marks say which record it was; what is left is begun again
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _ray(
    work: Work, listing: Path, out: Path, todo: Sequence[Shard], jobs: int, address: str | None
) -> Iterator[tuple[int, int]]:
    if not todo:
        return
    start_ray(jobs, address)
    import ray
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    # Paths that a worker on another node resolves as we do; the folder must be shared storage there.
    listing, out = listing.resolve(), out.resolve()

    def task(row: dict[str, Any]) -> dict[str, Any]:
        os.environ.update(ONE_THREAD)
        done, failed = work_shard(work, listing, out, Shard(int(row["number"]), int(row["offset"]), int(row["count"])))
        return {"number": row["number"], "done": done, "failed": failed}

    left = {shard.number: shard for shard in todo}
    while left:
        rows = [asdict(shard) for shard in left.values()]
        data = ray.data.from_items(rows, override_num_blocks=len(rows)).map(task, num_cpus=1)
        try:
            for row in data.iter_rows():
                del left[int(row["number"])]
                yield int(row["done"]), int(row["failed"])
        except ray.exceptions.WorkerCrashedError:
            # Ray has given a task up whose process died again and again. The marks say at which record: what is left is
            # begun again. A shard that was finished but not told of is not done twice, work_shard finds its file.
            continue
