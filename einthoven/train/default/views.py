"""Every record measured in every view: (V, N, F), over all cores, kept on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from einthoven.data.index import Index
from einthoven.data.workers import ordered
from einthoven.io.files import replacing
from einthoven.record import EcgError, Record
from einthoven.represent.features import NAMES, VERSION, features
from einthoven.train.default.recipe import View

Floats = NDArray[np.float32]


def measured(index: Index, views: Sequence[View], folder: Path, *, seed: int = 0, jobs: int = 0) -> Floats:
    """(V, N, F) float32, NaN where a figure cannot be measured. What `folder` has already is not measured again.

    Raises:
        EcgError: a record that cannot be measured at all; it is named.
    """
    key = json.dumps([VERSION, NAMES, [asdict(v) for v in views], seed, index.column("record"), index.column("hash")])
    path = folder / f"views-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npy"
    if path.exists():
        return np.asarray(np.load(path, allow_pickle=False), np.float32)
    work = partial(_measured, views=tuple(views), seed=seed)
    out = np.empty((len(views), len(index), len(NAMES)), np.float32)
    for i, found in enumerate(ordered(work, _records(index), jobs=jobs, killed=_killed)):
        if isinstance(found, str):
            raise EcgError(found)
        out[:, i] = found
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(path) as draft, draft.open("wb") as file:
        np.save(file, out, allow_pickle=False)
    return out


def _records(index: Index) -> Iterator[Record]:
    for i in range(len(index)):
        yield index.record(i)


def _measured(record: Record, *, views: tuple[View, ...], seed: int) -> Floats | str:
    try:
        return np.stack([features(seen(record, view, seed)) for view in views])
    except EcgError as fault:
        return str(fault)


def _killed(record: Record) -> str:
    return f"{record!r}: its process was killed while it was measured (out of memory?)"


def seen(record: Record, view: View, seed: int) -> Record:
    """`record` in this view. What is drawn follows from the signal and the seed, not from the order of the records."""
    if view.start > 0 or view.stop is not None:
        record = record.crop(view.start, record.duration if view.stop is None else min(view.stop, record.duration))
    if not view.gain and not view.noise_mv:
        return record
    digest = hashlib.sha256(np.ascontiguousarray(record.signal).tobytes()).digest()
    rng = np.random.default_rng([seed, int.from_bytes(digest[:8], "little")])
    signal: NDArray[Any] = record.signal * np.exp(rng.normal(0, view.gain))
    signal = signal + rng.normal(0, view.noise_mv, signal.shape)
    return replace(record, signal=signal.astype(np.float32))


def forgetful(views: Floats, share: float, seed: int) -> Floats:
    """The views, all but the first without age and sex in `share` of the records: most files do not say them."""
    out = views.copy()
    columns = [NAMES.index("age"), NAMES.index("male")]
    blank = np.random.default_rng([seed, 1]).random(out.shape[:2]) < share
    blank[0] = False
    for column in columns:
        out[..., column][blank] = np.nan
    return out


def medians(views: Floats) -> Floats:
    """(F,) what stands for a figure that could not be measured: its median over all records and views, 0 without any."""
    rows = views.reshape(-1, views.shape[-1])
    known = np.isfinite(rows).any(0)
    out = np.zeros(rows.shape[1], np.float32)
    out[known] = np.nanmedian(rows[:, known], axis=0)
    return out
