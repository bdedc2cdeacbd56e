"""`Format`: what a file format is to this package. The table of all of them is table.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from einthoven.io.files import File
from einthoven.record import Record


@dataclass(frozen=True)
class Options:
    """What a user adds where the file is silent: `fs` in Hz, `unit` of the numbers ("mV", "uV", ...)."""

    fs: float | None = None
    unit: str | None = None


@dataclass(frozen=True)
class Format:
    """One row of the table.

    Args:
        name: how the command line and `Source.format` call it.
        title: how people call it.
        extensions: usual ones, small letters with the dot; they choose a writer and order folder walks, never a reader.
        matches: whether these bytes are of this format. Looks at content; cheap; raises nothing but EcgError.
        read: the (first or main) ECG of the file, in mV, with the file's own lead labels: `finish` does the rest.
            Raises EcgError and nothing else.
        read_all: every ECG of the file, where one file can hold several.
        write: writes a record to this path and returns the files it made.
    """

    name: str
    title: str
    extensions: tuple[str, ...]
    matches: Callable[[File], bool]
    read: Callable[[File, Options], Record]
    read_all: Callable[[File, Options], Iterator[Record]] | None = None
    write: Callable[[Record, Path], list[Path]] | None = None
