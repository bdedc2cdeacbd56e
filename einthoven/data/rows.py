"""Rows of the CSV files of datasets: separators guessed among , ; tab, byte-order marks, cells as words or numbers."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path

from einthoven.record import EcgError

csv.field_size_limit(1 << 24)  # a cell may hold a whole report


def rows(path: Path, *, needs: tuple[str, ...] = (), separators: str = ",") -> Iterator[dict[str, str]]:
    """Each row as {column: cell}, cells stripped; short rows get empty cells.

    Args:
        needs: columns that must be there.
        separators: which may part the cells; the one that is most frequent in the header line counts.

    Raises:
        EcgError: no such file, no header, or a column that is needed and not there.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            head = file.readline()
            mark = max(separators, key=head.count)
            file.seek(0)
            reader = csv.reader(file, delimiter=mark)
            names = [n.strip() for n in next(reader, [])]
            lacking = [n for n in needs if n not in names]
            if lacking or not names:
                raise EcgError(
                    f"lacks the column {', '.join(lacking) or 'names'} (there are: {', '.join(names)[:300]})", path=path
                )
            for cells in reader:
                if any(cells):
                    yield {n: cells[i].strip() if i < len(cells) else "" for i, n in enumerate(names)}
    except OSError as fault:
        raise EcgError(f"cannot be read: {fault.strerror or fault}", path=path) from None
    except csv.Error as fault:
        raise EcgError(f"not a CSV file: {fault}", path=path) from None


def header(path: Path, separators: str = ",;\t") -> tuple[str, ...]:
    """The column names of a CSV file, () where it cannot be read."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            head = file.readline(1 << 20)
    except OSError:
        return ()
    mark = max(separators, key=head.count)
    try:
        return tuple(n.strip() for n in next(csv.reader([head], delimiter=mark), []))
    except csv.Error:
        return ()


def number(word: str | None, low: float = -math.inf, high: float = math.inf) -> float:
    """A cell as a number, NaN where it is none or lies outside."""
    try:
        value = float(word) if word else math.nan
    except ValueError:
        return math.nan
    return value if low <= value <= high else math.nan


def plain(word: str | None) -> str | None:
    """An identifier as text, "15709" for "15709.0"; None for an empty cell."""
    if not word or word.lower() in ("nan", "none", "null", "na", "n/a"):
        return None
    return word[:-2] if word.endswith(".0") and word[:-2].lstrip("-").isdigit() else word


def sex(word: str | None) -> str | None:
    """ "male" or "female" from the usual words; None for anything else."""
    return {"m": "male", "male": "male", "f": "female", "w": "female", "female": "female"}.get((word or "").strip().lower())


def below(root: Path, name: str) -> Path:
    """The file that a table names, below `root`. Raises EcgError for a name that leads out of it."""
    parts = name.replace("\\", "/").split("/")
    if not name or name.startswith("/") or ".." in parts or ":" in name or "\0" in name:
        raise EcgError(f"names a file outside its folder: {name[:80]!r}", path=root)
    return root.joinpath(*parts)
