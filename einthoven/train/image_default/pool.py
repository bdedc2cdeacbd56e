"""Pictures in shards on disk: what a network sees again and again is drawn once.

    OUT/pool-<hash>/000000.jpgs  the JPEG files of a shard, one after another
    OUT/pool-<hash>/000000.npz   where each of them ends; ecg, preset, leads (n, 12, h, w) uint8. Written last

An ECG is told by its number: real ones come first (rows of an Index), then simulated ones. `leads` says where the trace of each
lead runs, in cells of 16 pixels: how many of 255 parts of that lead's ink lie in a cell.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from einthoven.data.index import Index
from einthoven.data.workers import ordered
from einthoven.io.files import replacing
from einthoven.paper.dataset import Plan, decoded, picture
from einthoven.paper.distort import Truth
from einthoven.record import STANDARD_LEADS, EcgError, Record

if TYPE_CHECKING:
    from einthoven.synth import Simulation

Bytes = NDArray[np.uint8]

SHARD = 128
CELL = 16
_SIM_FS = 100.0  # as train/default/simulated.py draws them


@dataclass(frozen=True)
class Ecgs:
    """The real ECGs of an Index, and after them `simulations` of einthoven.synth, by number."""

    index: Index
    simulations: int
    seed: int

    def __len__(self) -> int:
        return len(self.index) + self.simulations

    def __getitem__(self, number: int) -> Record:
        if number < len(self.index):
            return self.index.record(number)
        return self.simulation(number).record

    def simulation(self, number: int) -> Simulation:
        from einthoven.synth import random_simulation

        rng = np.random.default_rng([self.seed, number - len(self.index)])
        return random_simulation(rng, fs=_SIM_FS)


@dataclass(frozen=True)
class Pictures:
    """Of one shard: jpeg files (bytes on disk and where each ends), the ECG (n,) and preset (n,) of each, where leads stand
    (n, 12, h, w) uint8."""

    jpegs: Bytes
    ends: NDArray[np.int64]
    ecg: NDArray[np.int64]
    preset: NDArray[Any]
    leads: Bytes

    def __len__(self) -> int:
        return len(self.ends)

    def images(self, rows: Sequence[int] | NDArray[Any]) -> Bytes:
        """(len(rows), H, W, 3) uint8."""
        starts = np.concatenate([[0], self.ends[:-1]])
        return np.stack([decoded(self.jpegs[starts[i] : self.ends[i]].tobytes()) for i in rows])


@dataclass(frozen=True)
class Pool:
    """What is to be drawn: picture n is of ECG `ecg[n]`. `plan` says how, `folder` where to."""

    plan: Plan
    ecgs: Ecgs
    ecg: NDArray[np.int64]
    folder: Path

    @property
    def shards(self) -> int:
        return -(-len(self.ecg) // SHARD)

    def path(self, shard: int) -> Path:
        return self.folder / f"{shard:06d}.npz"

    def drawn(self, jobs: int = 1) -> Iterator[int]:
        """Draws what is not there yet; yields each shard's number when it is, in order."""
        self.folder.mkdir(parents=True, exist_ok=True)
        missing = [s for s in range(self.shards) if not self.path(s).exists()]
        tasks = ((n, int(self.ecg[n]), self.ecgs[int(self.ecg[n])]) for s in missing for n in self._numbers(s))
        made = ordered(partial(_draw, plan=self.plan), tasks, jobs=jobs, killed=_killed)
        for shard in range(self.shards):
            if not self.path(shard).exists():
                self._write(shard, [next(made) for _ in self._numbers(shard)])
            yield shard

    def read(self, shard: int) -> Pictures:
        with np.load(self.path(shard), allow_pickle=False) as kept:
            jpegs = np.memmap(self.path(shard).with_suffix(".jpgs"), np.uint8, "r")
            return Pictures(jpegs, kept["ends"], kept["ecg"], kept["preset"], kept["leads"])

    def _numbers(self, shard: int) -> range:
        return range(shard * SHARD, min((shard + 1) * SHARD, len(self.ecg)))

    def _write(self, shard: int, made: Sequence[tuple[int, bytes, str, Bytes] | str]) -> None:
        rows = []
        for one in made:
            if isinstance(one, str):
                raise EcgError(one)
            rows.append(one)
        with replacing(self.path(shard).with_suffix(".jpgs")) as draft:
            draft.write_bytes(b"".join(r[1] for r in rows))
        with replacing(self.path(shard)) as draft, draft.open("wb") as file:
            np.savez(
                file,
                ends=np.cumsum([len(r[1]) for r in rows]),
                ecg=np.array([r[0] for r in rows]),
                preset=np.array([r[2] for r in rows]),
                leads=np.stack([r[3] for r in rows]),
            )


def pool(
    ecgs: Ecgs,
    numbers: Sequence[int] | NDArray[Any],
    presets: Sequence[str],
    look: str,
    size: tuple[int, int],
    seed: int,
    out: Path,
) -> Pool:
    """The pool of these ECGs' pictures (an ECG as often as its number stands there), below `out`. size: (width, height)."""
    plan = Plan(preset=",".join(presets), look=look, seed=seed, size=size, fit="pad")
    ecg = np.asarray(numbers, np.int64)
    key = json.dumps(
        [1, SHARD, plan.to_dict(), ecgs.simulations, ecgs.seed, ecgs.index.column("record"), ecgs.index.column("hash")]
    )
    digest = hashlib.sha256(key.encode() + ecg.tobytes()).hexdigest()[:16]
    return Pool(plan, ecgs, ecg, out / f"pool-{digest}")


def _draw(task: tuple[int, int, Record], *, plan: Plan) -> tuple[int, bytes, str, Bytes] | str:
    number, ecg, record = task
    try:
        made = picture(record, plan, number)
    except EcgError as fault:
        return str(fault)
    assert plan.size is not None
    return ecg, made.encoded(plan), made.preset, lead_maps(made.truth, record, plan.size)


def _killed(task: tuple[int, int, Record]) -> str:
    return f"{task[2]!r}: its process was killed while it was drawn (out of memory?)"


@lru_cache(1)
def _rows() -> dict[str, int]:
    return {lead: k for k, lead in enumerate(STANDARD_LEADS)}


def lead_maps(truth: Truth, record: Record, size: tuple[int, int]) -> Bytes:
    """(12, h, w) uint8, cells of 16 pixels: how a lead's trace is spread over them, in 255 parts; 0 where it is not shown."""
    w, h = size[0] // CELL, size[1] // CELL
    counts = np.zeros((len(STANDARD_LEADS), h, w))
    for strip, stretches in zip(truth.page.strips, truth.traces(record, 1.0), strict=True):
        row = _rows().get(strip.lead)
        if row is None:
            continue
        for points in stretches:
            x, y = np.floor(points / CELL).astype(np.int64).T
            inside = (x >= 0) & (x < w) & (y >= 0) & (y < h)
            np.add.at(counts[row], (y[inside], x[inside]), 1)
    share = counts / np.maximum(counts.sum((1, 2), keepdims=True), 1)
    out: Bytes = np.round(255 * share).astype(np.uint8)
    return out


def many(real: NDArray[Any], views: int, ecgs: Ecgs, simulated_views: int, seed: int) -> NDArray[np.int64]:
    """The numbers of a training pool: the `real` ECGs `views` times, simulated ones `simulated_views` times, mixed."""
    first = len(ecgs.index)
    simulations = np.arange(first, first + ecgs.simulations)
    numbers = np.concatenate([np.tile(real, views), np.tile(simulations, simulated_views)])
    return np.asarray(np.random.default_rng([seed, 7]).permutation(numbers), np.int64)
