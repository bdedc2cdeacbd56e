"""Records of an Index as a model sees them: (N, L, T) float32 by a preset, over all cores, kept on disk where a folder is
given.

N records, L leads, T samples.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from einthoven.data.index import Index, millivolts
from einthoven.data.workers import ordered
from einthoven.io.files import replacing
from einthoven.record import EcgError, Record, Signal, Source
from einthoven.signal.presets import Preset, apply, by_name

_Task = tuple[str, NDArray[np.int16], float, tuple[str, ...]]  # record, signal, fs, leads
_Result = tuple[str, Signal | str]  # record, prepared or why not


def inputs(
    index: Index,
    preset: Preset | str,
    rows: Sequence[int] | NDArray[np.integer[Any]] | None = None,
    folder: str | os.PathLike[str] | None = None,
    *,
    jobs: int = 1,
    fill: float | None = 0.0,
    failed: dict[int, str] | None = None,
) -> NDArray[np.float32]:
    """The chosen rows as the preset wants them: (N, L, T) float32, in the order of `rows`.

    Args:
        rows: which rows, all when not given.
        folder: where to keep the result; the next call with the same records, preset and fill takes it from there,
            memory-mapped.
        jobs: processes; 0 takes every core.
        fill: what stands where nothing was recorded and the preset left it so (a whole lead, say). None leaves NaN. Whoever
            predicts with a model must fill as its training did.
        failed: a dictionary that takes up row -> reason for what could not be prepared; such rows are all NaN. Without it they
            are an error.

    Raises:
        EcgError: the preset leaves records of different lengths, or records cannot be prepared: they are named.
    """
    preset = by_name(preset) if isinstance(preset, str) else preset
    chosen = np.arange(len(index)) if rows is None else np.asarray(rows, np.int64)
    if folder is None:
        out, faults = _compute(index, preset, chosen, fill, jobs, None)
    else:
        out, faults = _kept(index, preset, chosen, fill, jobs, Path(folder))
    if faults and failed is None:
        told = "; ".join(list(faults.values())[:5]) + (f"; and {len(faults) - 5} more" if len(faults) > 5 else "")
        raise EcgError(f"{len(faults)} of {len(chosen)} records cannot be prepared by {preset.name}: {told}", path=index.folder)
    if failed is not None:
        failed.update({int(chosen[i]): why for i, why in faults.items()})
    return out


def fingerprint(index: Index, preset: Preset, rows: NDArray[np.int64], fill: float | None) -> str:
    """A hash of all that the prepared arrays depend on: the preset's steps, the signals, their rates and leads, and their
    order.
    """
    digest = hashlib.blake2b(digest_size=12)
    steps = {k: v for k, v in preset.to_dict().items() if k not in ("citation", "notes")}
    digest.update(json.dumps([1, steps, fill], sort_keys=True).encode())
    part = index.select(rows)
    columns = (part.column(n) for n in ("record", "hash", "fs", "samples", "leads"))
    for record, signal, fs, samples, leads in zip(*columns, strict=True):
        digest.update(f"{signal or record} {fs:g} {samples} {','.join(leads)}\n".encode())
    return digest.hexdigest()


def _kept(
    index: Index, preset: Preset, rows: NDArray[np.int64], fill: float | None, jobs: int, folder: Path
) -> tuple[NDArray[np.float32], dict[int, str]]:
    """From the folder, or computed into it. The .json is written last: without it the .npy is not whole."""
    name = f"{preset.name}-{fingerprint(index, preset, rows, fill)}"
    array, about = folder / f"{name}.npy", folder / f"{name}.json"
    if not about.is_file() or not array.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(array) as draft:
            _, faults = _compute(index, preset, rows, fill, jobs, draft)
        with replacing(about) as draft:
            draft.write_text(json.dumps({"preset": preset.to_dict(), "failed": faults}, indent=1), encoding="utf-8")
    stored: NDArray[np.float32] = np.load(array, mmap_mode="r", allow_pickle=False)
    faults = {int(i): why for i, why in json.loads(about.read_text(encoding="utf-8"))["failed"].items()}
    return stored, faults


def _compute(
    index: Index, preset: Preset, rows: NDArray[np.int64], fill: float | None, jobs: int, path: Path | None
) -> tuple[NDArray[np.float32], dict[int, str]]:
    """Prepares all rows, into memory or into the .npy file `path`; the first record that can be prepared gives the shape."""
    out: NDArray[np.float32] | None = None
    faults: dict[int, str] = {}
    work = partial(_prepare, preset=preset, fill=fill)
    for i, (record, result) in enumerate(ordered(work, _tasks(index, rows), jobs=jobs, killed=_killed)):
        if not isinstance(result, str) and out is None:
            out = _allocate(path, (len(rows), *result.shape))
            out[:i] = np.nan
        if not isinstance(result, str) and out is not None and result.shape != out.shape[1:]:
            shapes = f"{result.shape} where the first is {out.shape[1:]}"
            raise EcgError(
                f"{record} becomes {shapes}: {preset.name} does not bring records to one length and one set of leads"
            )
        if isinstance(result, str):
            faults[i] = result
        if out is not None:
            out[i] = np.nan if isinstance(result, str) else result
    if out is None:
        told = next(iter(faults.values()), "no rows")
        raise EcgError(f"nothing can be prepared by {preset.name}: {told}", path=index.folder)
    if isinstance(out, np.memmap):
        out.flush()
    return out, faults


def _allocate(path: Path | None, shape: tuple[int, ...]) -> NDArray[np.float32]:
    if path is None:
        return np.empty(shape, np.float32)
    with path.open("wb") as file:  # the draft's name does not end in .npy, which open_memmap does not ask for
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        start = file.tell()
        file.truncate(start + 4 * int(np.prod(shape)))
    return np.memmap(path, "<f4", "r+", start, shape)


def _tasks(index: Index, rows: NDArray[np.int64]) -> Iterator[_Task]:
    names, fs, leads = index.column("record"), index.column("fs"), index.column("leads")
    for i in rows.tolist():
        yield names[i], np.array(index.digital(i)), float(fs[i]), tuple(leads[i])


def _prepare(task: _Task, *, preset: Preset, fill: float | None) -> _Result:
    name, stored, fs, leads = task
    try:
        signal = apply(preset, Record(millivolts(stored), fs, leads, source=Source(name, "index")))
    except EcgError as fault:
        return name, str(fault if fault.path else fault.at(name))
    if fill is not None:
        signal = np.where(np.isnan(signal), np.float32(fill), signal)
    return name, signal.astype(np.float32)


def _killed(task: _Task) -> _Result:
    return task[0], f"{task[0]}: its process was killed while it was prepared (out of memory?)"
