"""ECGs to reproduce on: a dataset that is there, or the simulator's where none is, said plainly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from einthoven.data import Choice, Index, Origin, build, is_index, load
from einthoven.data.entry import DEFAULT, Dataset, Entry, Listing
from einthoven.data.splits import check_between
from einthoven.record import EcgError, Record
from einthoven.represent.signals import inputs
from einthoven.signal.presets import Preset

F32 = NDArray[np.float32]
Rows = NDArray[np.int64]

# (conditions, SCP statements): every class of the tasks, and normal ECGs.
_MADE: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    ((), ("NORM",)),
    (("old_mi_anterior",), ("AMI",)),
    (("old_mi_inferior",), ("IMI",)),
    (("lbbb",), ("CLBBB",)),
    (("rbbb",), ("CRBBB",)),
    (("irbbb",), ("IRBBB",)),
    (("lvh",), ("LVH",)),
    (("ischaemia_lateral",), ("ISCLA",)),
)


def simulated(name: str = "synth", records: int = 240, first: int = 0) -> Dataset:
    """A dataset of the simulator: eight kinds in turn, ten folds, seeds from `first` on."""

    def listed(path: Path, choice: Choice) -> Listing:
        for i in range(records):
            codes = tuple(f"scp:{c}" for c in _MADE[i % len(_MADE)][1])
            fold = 1 + (i // len(_MADE)) % 10
            person = str(first + i)
            yield Entry(person, "synth", name, patient=person, part=first + i, fold=fold, codes=codes)

    return Dataset(name, "simulated ECGs", lambda path: False, listed, _simulate)


def _simulate(entry: Entry, choice: Choice) -> Record:
    from einthoven.synth import simulate

    conditions, _ = _MADE[entry.part % len(_MADE)]
    return simulate(*conditions, fs=choice.fs or 100.0, noise=20.0, seed=entry.part).record


def simulated_index(folder: Path, dataset: Dataset) -> Index:
    """The Index of simulated ECGs, 100 Hz, kept in `folder`."""
    return Index.open(folder) if is_index(folder) else build([Origin(Path("."), dataset, Choice(fs=100.0))], folder, jobs=1)


def data_of(path: str | None, folder: Path, jobs: int, choice: Choice = DEFAULT) -> Index:
    """The Index of `path` (kept in `folder`), or simulated ECGs with the tasks' labels in ten folds."""
    return load(path, folder=folder, jobs=jobs, choice=choice) if path else simulated_index(folder, simulated())


def apart(test: Index, train: Index, log: Callable[[str], None]) -> Rows:
    """Rows of `test` that are not, under another name, in `train`: what is there is left out, and told."""
    hashes, records = set(train.column("hash")) - {""}, set(train.column("record"))
    people = {p for p, known in zip(train.column("patient"), train.column("patient_known"), strict=True) if known}
    columns = (test.column(n) for n in ("hash", "record", "same_as", "patient"))
    own = [
        h not in hashes and r not in records and s not in records and p not in people
        for h, r, s, p in zip(*columns, strict=True)
    ]
    rows = np.flatnonzero(own).astype(np.int64)
    if len(rows) < len(test):
        log(f"{len(test) - len(rows)} of {len(test)} test records are in the training data, too: left out")
    check_between(train, test.select(rows))
    return rows


@dataclass(frozen=True)
class Folds:
    """Rows of an Index by what the experiment does with them. PTB-XL: 1-8, 9 and 10; where the last folds are not there, the
    last two that are take their places."""

    scratch: Rows
    tune: Rows
    test: Rows
    words: str


def folds_of(index: Index) -> Folds:
    folds = np.asarray(index.column("fold"))
    there = sorted(set(folds.tolist()) - {-1})
    if len(there) < 3:
        raise EcgError(f"the experiment needs a dataset with folds, as PTB-XL has them (folds here: {there or 'none'})")
    first, tune, test = there[:-2], there[-2], there[-1]
    words = f"folds {first[0]}-{first[-1]} to train from scratch and to pre-train, {tune} to fine-tune, {test} to test"
    if (tune, test) != (9, 10):
        words += f"; the paper: 1-8, 9, 10 (fold 10 is not here, so each part moves down by {10 - test})"
    scratch, tuned, tested = (np.flatnonzero(np.isin(folds, part)).astype(np.int64) for part in (first, [tune], [test]))
    return Folds(scratch, tuned, tested, words)


def arrays(
    index: Index, rows: Sequence[int] | Rows, preset: Preset, folder: Path, samples: int | None, jobs: int
) -> tuple[F32, Rows]:
    """Inputs (n, L, T) of those rows that the preset can prepare, cut to the first `samples`, and these rows."""
    wanted = np.asarray(rows, np.int64)
    failed: dict[int, str] = {}
    x = inputs(index, preset, wanted, folder, jobs=jobs, failed=failed)
    good = ~np.isin(wanted, list(failed))
    kept: F32 = np.ascontiguousarray(x[good][..., :samples])
    return kept, wanted[good]
