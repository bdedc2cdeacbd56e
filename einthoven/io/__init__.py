"""Every ECG file format in, one `Record` out, chosen by content; and the way back.

    record = read("patient.xml")          # any format
    write(record, "patient.hea")          # the extension chooses, or format=
    for name in find_inputs(["folder/"]): ...

One file per format family, one table (`FORMATS`), one contract test over it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from einthoven.io.anonymize import anonymize
from einthoven.io.archive import find_inputs
from einthoven.io.files import File, open_file
from einthoven.io.finish import finish, lead_name
from einthoven.io.format import Format, Options
from einthoven.io.table import FORMATS
from einthoven.io.table import sniff as _sniff
from einthoven.record import EcgError, Record, WrongUse

__all__ = [
    "FORMATS",
    "File",
    "Format",
    "Options",
    "anonymize",
    "find_inputs",
    "lead_name",
    "read",
    "read_all",
    "sniff",
    "write",
]

Input = str | os.PathLike[str] | bytes | BinaryIO | File


def sniff(source: Input) -> str:
    """The name of the format of this file, by content. Raises EcgError that says what it looks like where no format fits."""
    return _sniff(open_file(source)).name


def read(source: Input, *, fs: float | None = None, unit: str | None = None, format: str | None = None) -> Record:
    """An ECG from a path (also `a.zip!b.hea`, or a WFDB record's name without extension), bytes or a binary file.

    The content decides the format. The Record has float32 mV, standard lead names in the standard order, derived limb
    leads marked, and a warning for each doubt. Where the file holds several ECGs this is the first (see `read_all`).

    Args:
        fs: sampling rate in Hz for files that do not say it (CSV, NPY); a file that says otherwise wins, with a warning.
        unit: unit of the numbers ("mV", "uV") for files that do not say it.
        format: name in FORMATS to insist on, instead of looking.

    Raises:
        EcgError: whatever is wrong with the input: file, what, and where in it.
    """
    file = open_file(source)
    row = _row(file, format)
    try:
        record = row.read(file, Options(fs, unit)) if fs or unit else row.read(file, _PLAIN)
        if record.source.format is not None:  # an archive: its entry is finished already
            return record
        return _said(finish(record, file, row.name), fs)
    except EcgError as error:  # many a fault is found by code that does not know the file
        raise error.at(file.path) from error.__cause__


def read_all(source: Input, *, fs: float | None = None, unit: str | None = None, format: str | None = None) -> Iterator[Record]:
    """Every ECG of the file, where one file can hold several (ZIP, DICOM groups, arrays of many records)."""
    file = open_file(source)
    row = _row(file, format)
    options = Options(fs, unit)
    try:
        for record in row.read_all(file, options) if row.read_all else (row.read(file, options),):
            yield record if record.source.format is not None else _said(finish(record, file, row.name), fs)
    except EcgError as error:
        raise error.at(file.path) from error.__cause__


def write(record: Record, path: str | os.PathLike[str], format: str | None = None) -> list[Path]:
    """Writes the record; the extension (or `format`) chooses how. Returns the files made (WFDB makes two).

    Files are written under a temporary name and renamed, so that a killed job leaves none half written.
    """
    row = writer(path, format)
    target = Path(path)
    if not target.parent.is_dir():
        raise EcgError("the folder to write to does not exist", path=target)
    assert row.write is not None  # `writer` takes no other
    return row.write(record, target)


def writer(path: str | os.PathLike[str], format: str | None = None) -> Format:
    """The format that `write` would choose. Raises WrongUse where there is none: to be asked before long work."""
    target = Path(path)
    if format is None:
        rows = [f for f in FORMATS.values() if f.write and target.suffix.lower() in f.extensions]
    else:
        rows = [FORMATS[format]] if format in FORMATS and FORMATS[format].write else []
    if not rows or rows[0].write is None:
        able = ", ".join(f"{f.name} ({f.extensions[0]})" for f in FORMATS.values() if f.write)
        raise WrongUse(
            f"no writer for {format or target.suffix or 'a name without extension'!r}; there are: {able}", path=target
        )
    return rows[0]


_PLAIN = Options()


def _row(file: File, format: str | None) -> Format:
    if format is None:
        return _sniff(file)
    if format not in FORMATS:
        raise WrongUse(f"no format {format!r}; there are: {', '.join(FORMATS)}", path=file.path)
    return FORMATS[format]


def _said(record: Record, fs: float | None) -> Record:
    if fs is not None and abs(record.fs - fs) > 1e-6 * fs:
        return record.warn(f"the file says {record.fs:g} Hz; --fs {fs:g} is not used")
    return record
