"""Processes that make what takes longer than a read may (serve/made.py), so that measuring one ECG holds up nobody who reads
another: a helper has a memory and an interpreter of its own, and a crash costs its answer alone.

Two lanes, each with its own helpers and its own queue: quick (an ECG of some seconds: tenths of a second) and slow (paper,
long recordings, explanations: seconds). What somebody waits for goes before what is made ahead of its being asked for. A
helper starts when it is first needed and ends when it has had nothing to do for a while, or has grown too large.

Between server and helper: 4 bytes length (little endian), JSON; of an answer, behind it as many bytes as it says.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

from einthoven.record import EcgError, WrongUse
from einthoven.serve import made
from einthoven.serve.catalogue import DATABASE
from einthoven.serve.library import Library
from einthoven.serve.store import Row, Store, to_json

_IDLE_S = 600.0  # after which a helper without work ends
_GROWN = 1 << 30  # bytes: a helper that took more is replaced (torch, a day's recording)
_AHEAD = 2000  # results that wait to be made ahead; more are made when they are asked for
_NICE = 5  # steps behind the server: whoever only reads is not held up


def quick_helpers() -> int:
    """How many of the quick lane: half the cores, four at most."""
    return max(1, min(4, (os.cpu_count() or 2) // 2))


@dataclass(order=True)
class _Task:
    order: tuple[int, int]  # (0 asked for, 1 ahead; number)
    asked: dict[str, Any] = field(compare=False)
    answer: Future[bytes] = field(compare=False)


class Helpers:
    """The helpers of a Library.

    Args:
        quick: processes of the quick lane; 0: all is made in this process, by threads (tests, and nothing else).
    """

    def __init__(self, library: Library, quick: int) -> None:
        self._library = library
        self._quick, self._slow = _Lane(library, "quick", quick), _Lane(library, "slow", min(quick, 1))
        self._asked: dict[tuple[str, str, str], Future[bytes]] = {}
        self._lock = threading.Lock()

    def ask(self, row: Row, name: str, args: Mapping[str, Any] | None = None) -> Future[bytes]:
        """What `made.make` gives. Two who ask for a result that is kept wait for one answer."""
        return self._put(row, name, args or {}, ahead=False)

    def ahead(self, row: Row) -> None:
        """Makes what is asked for first of an ECG that has just come in; not of a long recording, which takes minutes."""
        if not made.is_slow(row, "report") and self._quick.waiting < _AHEAD:
            self._put(row, "report", {}, ahead=True)

    def forget(self, ecg: str) -> None:
        """An ECG that was deleted leaves the helpers' memories, too."""
        for lane in (self._quick, self._slow):
            lane.forget(ecg)

    def stop(self) -> None:
        for lane in (self._quick, self._slow):
            lane.stop()

    def _put(self, row: Row, name: str, args: Mapping[str, Any], *, ahead: bool) -> Future[bytes]:
        asked = {"ecg": row["id"], "name": name, "args": dict(args)}
        lane = self._slow if made.is_slow(row, name) else self._quick
        if not made.KINDS[name].keep or ahead:
            return lane.put(asked, ahead=ahead)
        key = (row["id"], name, made.mark_of(self._library, row))
        with self._lock:
            if (there := self._asked.get(key)) is not None:
                return there
            answer = self._asked[key] = lane.put(asked, ahead=False)
        answer.add_done_callback(lambda _: self._drop(key))
        return answer

    def _drop(self, key: tuple[str, str, str]) -> None:
        with self._lock:
            self._asked.pop(key, None)


class _Lane:
    """A queue, and threads that work on it, each with a helper of its own."""

    def __init__(self, library: Library, name: str, processes: int) -> None:
        self._library, self._name = library, name
        self._separate, self._most = processes > 0, max(processes, 1)
        self._queue: list[_Task] = []
        self._number = count()
        self._news = threading.Condition()
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._gone: dict[threading.Thread, list[str]] = {}  # ECGs that a thread's helper is to forget
        self._over = False
        self._helpers: set[_Helper] = set()

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def put(self, asked: dict[str, Any], *, ahead: bool) -> Future[bytes]:
        task = _Task((int(ahead), next(self._number)), asked, Future())
        with self._news:
            if self._over:
                task.answer.set_exception(EcgError("the server ends"))
                return task.answer
            heapq.heappush(self._queue, task)
            if self._idle < len(self._queue) and len(self._threads) < self._most:
                thread = threading.Thread(target=self._work, name=f"helper {self._name}", daemon=True)
                self._threads.add(thread)
                thread.start()
            self._news.notify()
        return task.answer

    def forget(self, ecg: str) -> None:
        with self._news:
            for gone in self._gone.values():
                gone.append(ecg)
            self._news.notify_all()

    def stop(self) -> None:
        with self._news:
            self._over = True
            for task in self._queue:
                task.answer.set_exception(EcgError("the server ends"))
            self._queue.clear()
            self._news.notify_all()
            threads = list(self._threads)
            for helper in self._helpers:
                helper.kill()
        for thread in threads:
            thread.join(timeout=10)

    def _next(self, me: threading.Thread) -> _Task | str | None:
        """A task, an ECG to forget, or None: it is over, or there was nothing for long."""
        until = time.monotonic() + _IDLE_S
        with self._news:
            while True:
                if self._gone[me]:
                    return self._gone[me].pop()
                if self._over:
                    return None
                if self._queue:
                    return heapq.heappop(self._queue)
                if (left := until - time.monotonic()) <= 0:
                    self._threads.discard(me)  # within the lock: whoever puts a task starts another thread
                    return None
                self._idle += 1
                self._news.wait(left)
                self._idle -= 1

    def _start(self, old: _Helper | None) -> _Helper:
        with self._news:
            if self._over:
                raise EcgError("the server ends")
            made_ = _Helper(self._library.store, self._library.derived.most)
            if old is not None:
                self._helpers.discard(old)
            self._helpers.add(made_)
        return made_

    def _work(self) -> None:
        me = threading.current_thread()
        with self._news:
            self._gone[me] = []
        helper: _Helper | None = None
        try:
            while (task := self._next(me)) is not None:
                if isinstance(task, str):
                    if helper is not None:
                        helper.forget(task)
                    elif not self._separate:
                        self._library.forget(task)
                    continue
                if not task.answer.set_running_or_notify_cancel():
                    continue
                try:
                    if not self._separate:
                        task.answer.set_result(made.make(self._library, **task.asked))
                        continue
                    if helper is None or not helper.alive:
                        helper = self._start(helper)
                    task.answer.set_result(helper.make(task.asked))
                except BaseException as fault:
                    task.answer.set_exception(fault)
        finally:
            with self._news:
                self._threads.discard(me)
                del self._gone[me]
                if helper is not None:
                    self._helpers.discard(helper)
            if helper is not None:
                helper.end()


class _Helper:
    """One process."""

    def __init__(self, store: Store, most: int) -> None:
        database = {DATABASE: store.database} if store.database else {}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "einthoven.serve.helpers", str(store.folder), str(most)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"), **database},
        )  # fmt: skip
        with contextlib.suppress(OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, self._process.pid, _NICE)
        self.alive = True

    def make(self, asked: dict[str, Any]) -> bytes:
        """Raises what `made.make` raises; EcgError where the process ends without an answer."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            _send(self._process.stdin, asked)
            head = _received(self._process.stdout)
            if head is None:
                raise OSError("no answer")
            data = self._process.stdout.read(head["size"])
        except OSError:
            self.end()
            raise EcgError("the process that worked on this ended: perhaps it needs more memory than there is") from None
        if head["grown"]:
            self.end()
        if head["fault"] is None:
            return data
        words = head["fault"]
        if head["kind"] == "other":
            raise RuntimeError(words["what"])
        raise (WrongUse if head["kind"] == "WrongUse" else EcgError)(**words)

    def forget(self, ecg: str) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            _send(self._process.stdin, {"forget": ecg})

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> None:
        self.alive = False
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._process.kill()
        self._process.wait()


def _send(pipe: BinaryIO | Any, told: Mapping[str, Any], data: bytes = b"") -> None:
    words = to_json(dict(told)).encode()
    pipe.write(struct.pack("<I", len(words)) + words + data)
    pipe.flush()


def _received(pipe: BinaryIO | Any) -> dict[str, Any] | None:
    """None at the end of the pipe."""
    head = pipe.read(4)
    if len(head) < 4:
        return None
    words: dict[str, Any] = json.loads(pipe.read(struct.unpack("<I", head)[0]))
    return words


def main() -> None:
    """A helper: answers what is asked at its standard input until that ends, which is when the server does."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library says is no answer
    library = Library(Store(sys.argv[1], os.environ.get(DATABASE)), int(sys.argv[2]))
    while (asked := _received(sys.stdin.buffer)) is not None:
        if "forget" in asked:
            library.forget(asked["forget"])
            continue
        data, kind, fault = b"", "", None
        try:
            data = made.make(library, **asked)
        except EcgError as found:
            kind = type(found).__name__
            fault = {"what": found.what, "path": found.path, "where": found.where}
        except Exception as found:
            kind, fault = "other", {"what": f"{type(found).__name__}: {found}"}
        _send(out, {"size": len(data), "kind": kind, "fault": fault, "grown": _taken() > _GROWN}, data)


def _taken() -> int:
    """Bytes that this process has held at most."""
    try:  # Linux counts what the process was before it became this one, the server, into what getrusage says
        words = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return 1024 * int(words.split("VmHWM:")[1].split()[0])
    except (OSError, IndexError, ValueError):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
