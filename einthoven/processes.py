"""Processes that work beside this one: one thread each, and none that outlives its parent."""

from __future__ import annotations

import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import wait

# One thread a process: the cores are shared out among records, not fought over inside one.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}


def spawned(jobs: int) -> ProcessPoolExecutor:
    """A pool of `jobs` fresh processes (spawn: threads of torch and onnxruntime do not survive a fork)."""
    os.environ.update({k: v for k, v in ONE_THREAD.items() if k not in os.environ})
    return ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), initializer=end_with_parent)


def end_with_parent() -> None:
    """A worker whose parent was killed ends, too: without this it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:

        def watch(sentinel: int) -> None:
            wait([sentinel])
            os._exit(1)

        threading.Thread(target=watch, args=(parent.sentinel,), daemon=True).start()
