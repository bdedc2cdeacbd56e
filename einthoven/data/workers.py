"""Work spread over processes, its results in the order of its inputs; what kills its process is named and costs nobody else.

The processes are this machine's, or, inside `with on("ray", address):`, the workers of a Ray cluster.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import islice
from typing import Any, TypeVar

from einthoven.processes import ONE_THREAD, spawned
from einthoven.record import EcgError, WrongUse

BACKENDS = ("local", "ray")

In = TypeVar("In")
Out = TypeVar("Out")


_chosen: ContextVar[tuple[str, str | None]] = ContextVar("backend", default=("local", None))


@contextmanager
def on(backend: str, address: str | None = None) -> Iterator[None]:
    """Inside, `ordered` works on this backend: "local", or "ray" (the cluster at `address`; None: on this machine alone).

    Raises EcgError: no such backend.
    """
    if backend not in BACKENDS:
        raise WrongUse(f"no backend {backend} (there are: {', '.join(BACKENDS)})")
    before = _chosen.set((backend, address))
    try:
        yield
    finally:
        _chosen.reset(before)


def start_ray(jobs: int, address: str | None) -> Any:
    """The ray module, connected: to the cluster at `address`, else to one of `jobs` processes on this machine.

    Raises EcgError where Ray is not installed.
    """
    try:
        import ray
    except ImportError as fault:
        raise EcgError("Ray is not installed: pip install 'einthoven[scale]'") from fault
    if not ray.is_initialized():
        # On this machine alone the workers import what we import; a cluster has its own installation.
        here: dict[str, Any] = {
            "num_cpus": jobs,
            "include_dashboard": False,
            "runtime_env": {"env_vars": {"PYTHONPATH": os.pathsep.join(sys.path), **ONE_THREAD}},
        }
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **({} if address else here))
    return ray


def processes(jobs: int) -> int:
    """How many processes `jobs` asks for: 0 means every core."""
    return jobs if jobs > 0 else (os.cpu_count() or 1)


def ordered(
    work: Callable[[In], Out], items: Iterable[In], *, jobs: int, killed: Callable[[In], Out], chunk: int = 16
) -> Iterator[Out]:
    """`work` of each item, in order, over `jobs` processes (1: in this one, 0: as many as there are cores).

    The queue is short, so that a listing of millions never lies in memory. Where an item kills its process (out of memory, a
    fault in a library), the items of its chunk are tried again one by one, and its result is `killed(item)`. What `work` raises
    is raised.
    """
    jobs = processes(jobs)
    backend, address = _chosen.get()
    if backend == "ray":
        yield from _on_ray(work, items, jobs, killed, chunk, address)
        return
    if jobs == 1:
        yield from map(work, items)
        return
    todo = iter(items)
    redo: deque[list[In]] = deque()
    while True:
        waiting: deque[tuple[Future[list[Out]], list[In]]] = deque()
        pool = spawned(jobs)
        try:
            while True:
                while len(waiting) < 3 * jobs:
                    batch = redo.popleft() if redo else list(islice(todo, chunk))
                    if not batch:
                        break
                    redo.appendleft(batch)  # until the pool has taken it
                    future = pool.submit(_each, work, batch)
                    waiting.append((future, redo.popleft()))
                if not waiting:
                    return
                yield from waiting[0][0].result()
                waiting.popleft()
        except BrokenProcessPool:
            redo.extendleft(batch for _, batch in reversed(waiting))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        for item in redo.popleft():  # the guilty one is most often in the oldest chunk; each shows it alone
            try:
                with spawned(1) as alone:
                    yield alone.submit(work, item).result()
            except BrokenProcessPool:
                yield killed(item)


def _on_ray(
    work: Callable[[In], Out], items: Iterable[In], jobs: int, killed: Callable[[In], Out], chunk: int, address: str | None
) -> Iterator[Out]:
    ray = start_ray(jobs, address)
    task = ray.remote(max_retries=0)(_each)
    lost = (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError, ray.exceptions.OutOfMemoryError)
    slots = max(int(ray.cluster_resources().get("CPU", jobs)), 1)
    todo = iter(items)
    waiting: deque[tuple[Any, list[In]]] = deque()
    while True:
        while len(waiting) < 3 * slots and (batch := list(islice(todo, chunk))):
            waiting.append((task.remote(work, batch), batch))
        if not waiting:
            return
        answer, batch = waiting.popleft()
        try:
            found = ray.get(answer)
        except lost:
            found = [_alone(ray, task, work, item, lost, killed) for item in batch]
        yield from found


def _alone(
    ray: Any, task: Any, work: Callable[[In], Out], item: In, lost: tuple[type[Exception], ...], killed: Callable[[In], Out]
) -> Out:
    """An item of a chunk whose process died: each shows alone whether it was the one."""
    try:
        found: list[Out] = ray.get(task.remote(work, [item]))
    except lost:
        return killed(item)
    return found[0]


def _each(work: Callable[[In], Out], batch: list[In]) -> list[Out]:
    return [work(item) for item in batch]
