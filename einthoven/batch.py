"""Many ECGs in, one result line each out: all cores, failed records named, and what was done survives a kill.

The results file is JSON Lines, appended to and flushed record by record. After a kill -9 at worst its last line is cut
short; `resume` drops that line and goes on with the records that have none.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from einthoven.processes import spawned
from einthoven.record import EcgError, WrongUse

Line = dict[str, Any]
Work = Callable[[str], Line]


@dataclass
class Tally:
    """How a batch went: records done now, failed now, and taken over from an earlier run."""

    done: int = 0
    failed: int = 0
    earlier: int = 0
    seconds: float = 0.0


def guarded(work: Work, path: str) -> Line:
    """One result line for one input, whatever happens: a bad file and a fault of ours are both named, never raised."""
    begun = time.perf_counter()
    try:
        line = work(path)
        ok: Line = {"path": path, "ok": True, "seconds": round(time.perf_counter() - begun, 4)}
        return {**ok, **line}
    except EcgError as fault:
        return {"path": path, "ok": False, "error": str(fault), "what": fault.what, "where": fault.where}
    except Exception as fault:  # one record must not cost the others theirs; the line says that the fault is ours
        told = f"internal error, please report it: {type(fault).__name__}: {fault}"
        return {"path": path, "ok": False, "error": told, "traceback": traceback.format_exc(limit=-6)}


def results(work: Work, paths: Iterable[str], *, jobs: int) -> Iterator[Line]:
    """Result lines as they are done, over `jobs` processes; a record that kills its process is named, too."""
    if jobs <= 1:
        yield from (guarded(work, path) for path in paths)
        return
    todo = iter(paths)
    while True:
        orphans: list[str] = []
        pool = spawned(jobs)
        waiting: dict[Future[Line], str] = {}
        try:
            for path in todo:
                orphans = [path]  # until the pool has taken it
                waiting[pool.submit(guarded, work, path)] = path
                orphans = []
                # A short queue: the index of a million files must not become a million futures.
                while len(waiting) >= 4 * jobs:
                    yield from _collect(waiting)
            while waiting:
                yield from _collect(waiting)
        except BrokenProcessPool:
            orphans += waiting.values()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        if not orphans:
            return
        # Somebody among the orphans killed a worker. Alone in a process of its own, each shows whether it was the one.
        for path in orphans:
            try:
                with spawned(1) as alone:
                    yield alone.submit(guarded, work, path).result()
            except BrokenProcessPool:
                told = "its process was killed while it was worked on (out of memory?)"
                yield {"path": path, "ok": False, "error": f"{path}: {told}", "what": told, "where": None}


def _collect(waiting: dict[Future[Line], str]) -> Iterator[Line]:
    done, _ = wait(waiting, return_when=FIRST_COMPLETED)
    for future in done:
        line = future.result()  # BrokenProcessPool surfaces here, while the future still stands among the waiting
        del waiting[future]
        yield line


def finished(path: Path) -> dict[str, Line]:
    """The result lines of an earlier run by input path; a last line that was cut short is removed from the file."""
    lines: dict[str, Line] = {}
    kept = 0
    with path.open("rb+") as file:
        for raw in file:
            if not raw.endswith(b"\n"):
                break
            try:
                line = json.loads(raw)
                lines[line["path"]] = line
            except (ValueError, KeyError, TypeError):
                raise EcgError("not a results file of einthoven", path=path, where=f"line {len(lines) + 1}") from None
            kept += len(raw)
        file.truncate(kept)
    return lines


def run(
    work: Work,
    paths: Sequence[str],
    out: Path,
    *,
    jobs: int,
    resume: bool = False,
    on_line: Callable[[Line], None] | None = None,
) -> Tally:
    """Works through `paths` into the JSON Lines file `out`, one line an input.

    Raises EcgError when `out` exists and `resume` is not said: results are never overwritten in silence.
    """
    tally, begun = Tally(), time.perf_counter()
    known: Mapping[str, Line] = {}
    if out.exists():
        if not resume:
            raise WrongUse("has results already: --resume goes on with them, another folder starts anew", path=out)
        known = finished(out)
    todo = [path for path in paths if path not in known]
    tally.earlier = len(paths) - len(todo)
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a", encoding="utf-8") as file:
        for line in results(work, todo, jobs=min(jobs, max(len(todo), 1))):
            file.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")
            file.flush()
            tally.done += bool(line["ok"])
            tally.failed += not line["ok"]
            if on_line:
                on_line(line)
    tally.seconds = time.perf_counter() - begun
    return tally
