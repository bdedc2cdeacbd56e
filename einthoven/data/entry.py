"""`Entry`: what a dataset says of one ECG and where its signal lies. `Fault`: what it lists and does not have. `Dataset`: a row
of the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from einthoven.record import Record


@dataclass(frozen=True)
class Entry:
    """One ECG of a dataset, before its signal is read.

    `record` and `patient` are unique within the dataset and get its name in front of them in an Index ("ptbxl:1"); `patient` is
    None where the dataset does not say who it was: then every record counts as a patient of its own. `dataset` is the name of
    the origin (which may be finer than the reader's: the Challenge's folders hold seven sets). `path` is what
    `einthoven.io.read` takes, or what the reader's own `read` makes of it together with `part` (a row of an array file).

    `codes` are statements with the name of their vocabulary ("scp:NORM", "snomed:426783006", "icd10:I21.0", "aha:22");
    `likelihoods` 0 to 100 beside them, NaN where nobody said. `labels` are the user's own, None where there are none to be had
    (which is not the same as none of them being true). `targets` numbers to predict. `same_as` names the record of another set
    that this one is a copy of ("ptbxl:1"). `codes_from` says how far the codes can be trusted, where the set tells.
    """

    record: str
    path: str
    dataset: str
    patient: str | None = None
    part: int = -1
    age: float = float("nan")
    sex: str | None = None
    fold: int = -1
    device: str | None = None
    site: str | None = None
    codes: tuple[str, ...] = ()
    likelihoods: tuple[float, ...] = ()
    codes_from: str | None = None
    labels: tuple[str, ...] | None = None
    text: str | None = None
    targets: tuple[tuple[str, float], ...] = ()
    same_as: str | None = None


@dataclass(frozen=True)
class Fault:
    """Something listed that is not there or cannot be used: its name, why, and how many records it stands for.

    `serious` ones make the command end with 1; the others are told (a part of a dataset that was never downloaded).
    """

    name: str
    why: str
    count: int = 1
    serious: bool = True


@dataclass(frozen=True)
class Choice:
    """What the user may choose when a dataset is listed.

    `rate` Hz where a set comes in several; `labels` the CSV of an own folder; `patient` and `targets` columns of it; `fs` and
    `unit` for signal files that do not say; `extra` a file that belongs to the set but not to its folder (MIMIC-IV-ECG's ICD-10
    codes, the PTB-XL folder beside the Challenge).
    """

    rate: int | None = None
    labels: str | None = None
    patient: str | None = None
    targets: tuple[str, ...] = ()
    fs: float | None = None
    unit: str | None = None
    extra: str | None = None


DEFAULT = Choice()
Listing = Iterator[Entry | Fault]


def read_file(entry: Entry, choice: Choice) -> Record:
    """The signal of an entry that is an ECG file of its own, in any format; as it was meant (`Record.ecg`)."""
    from einthoven.io import read

    return read(entry.path, fs=choice.fs, unit=choice.unit).ecg()


def finished(record: Record, entry: Entry, name: str) -> Record:
    """A record that a dataset's own reader made, with what every reader of files gets: derived leads, doubts as warnings."""
    from einthoven.io.files import MemoryFile
    from einthoven.io.finish import finish

    return finish(record, MemoryFile(b"", entry.path), name)


@dataclass(frozen=True)
class Dataset:
    """A public set in its official layout, or the shape of a user's own.

    `matches(path)` recognises it by what lies there, `entries(path, choice)` lists it, `read(entry, choice)` gets one signal.
    `records`, `patients`, `gigabytes` are what the official set holds (0 unknown), `address` its official page.
    """

    name: str
    title: str
    matches: Callable[[Path], bool]
    entries: Callable[[Path, Choice], Listing]
    read: Callable[[Entry, Choice], Record] = field(default=read_file)
    licence: str = ""
    citation: str = ""
    address: str = ""
    records: int = 0
    patients: int = 0
    gigabytes: float = 0.0
    notes: str = ""
