"""Columns or rows of numbers as text: CSV, TSV, semicolons, blanks; header or none; time column or none; decimal comma.

Nothing of this is standard, so whatever had to be assumed is a warning, and a sampling rate is never assumed.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from einthoven.io.files import File, decode, replacing
from einthoven.io.finish import check_fs, check_samples, distinct, is_ecg, millivolts
from einthoven.io.format import Format, Options
from einthoven.record import STANDARD_LEADS, EcgError, Patient, Record

_HEAD = 1 << 18  # bytes looked at to understand the layout
_PREFACE = 200  # lines before the numbers at most
_NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?|[+-]?(nan|inf|NaN|NAN|NA|null|None)|-|")
_CLOCK = re.compile(r"(\d{4}-\d\d-\d\d[T ])?(\d{1,2}):(\d\d):(\d\d(?:[.,]\d+)?)")
_TIME = re.compile(r"(t|time|timestamps?|zeit|seconds?|secs?|s|ms|msec|elapsed.*|time.*)$", re.IGNORECASE)
_INDEX = re.compile(r"(|#|n|nr|no|id|idx|index|sample\w*|unnamed.*|row)$", re.IGNORECASE)
_RATE = re.compile(
    r"(?:\bfs\b|sampl\w*[\s_-]*(?:rate|freq\w*)|samplerate|frequency|\bsfreq\b)\D{0,16}?(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)\s*(k?hz)?",
    re.IGNORECASE,
)
_UNIT = re.compile(r"\bunits?\b\s*[:=]?\s*([a-zµμ]+)", re.IGNORECASE)
_BRACKET = re.compile(r"[\(\[]([^()\[\]]{1,40})[\)\]]|[_\s/](mV|uV|µV|nV|ms|s)$")
EIGHT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")


@dataclass
class _Layout:
    """How the text is laid out: `first` line of numbers, `names` of columns, delimiter ("" for blanks), decimal comma."""

    first: int
    width: int
    delimiter: str
    comma: bool
    names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    labelled: bool = False  # each line begins with a lead's name
    loose: bool = False  # each line ends with a delimiter
    clock: bool = False  # each line begins with a time of day
    preface: list[str] = field(default_factory=list)


def matches(file: File) -> bool:
    """Text that has, within the first lines, a block of lines of equally many numbers."""
    return _layout(_lines(file.head(_HEAD), whole=file.size <= _HEAD)) is not None


def read(file: File, options: Options) -> Record:
    """A table of numbers with leads in columns or in rows. Raises EcgError where the sampling rate is not known."""
    text = file.text()
    lines = text.splitlines()
    layout = _layout(_lines(file.head(_HEAD), whole=file.size <= _HEAD))
    if layout is None:
        raise EcgError("no columns of numbers", path=file.path)
    check_samples(layout.width, len(lines), file)
    table, labels, stamps = _numbers(lines[layout.first :], layout, file)  # (R, C)
    warnings: list[str] = []
    names, units = list(layout.names), list(layout.units)
    fs = _said_rate(layout.preface)
    if stamps:
        fs = fs or _clock_rate(stamps)
        names, units = names[1:], units[1:]
    elif not labels:
        table, names, units, found = _take_time(table, names, units, warnings)
        fs = fs or found
    if fs is None:
        fs = options.fs
    elif options.fs and abs(options.fs - fs) > 1e-3 * fs:
        warnings.append(f"the file says {fs:g} Hz; --fs {options.fs:g} is not used")
    if fs is None:
        raise EcgError("no sampling rate in this file: pass --fs (Hz)", path=file.path)
    if labels:
        names, units = labels, [_unit_of(n) for n in labels]
    elif names:
        table = table.T
    else:
        rows, columns = table.shape
        if min(rows, columns) > 32 or (rows == columns and rows > 1):
            raise EcgError(f"{rows} x {columns} numbers without names: leads cannot be told from samples", path=file.path)
        table = table.T if columns <= rows else table
        names, told = unnamed(len(table))
        warnings.append(told)
        units = [""] * len(names)
    signal = _scaled(table, names, units, layout, options, warnings, file)
    said = _said(layout.preface)
    return Record(
        signal=signal,
        fs=check_fs(fs, file),
        leads=distinct(names),
        start=said.start,
        patient=said.patient,
        statements=said.statements,
        codes=said.codes,
        warnings=tuple(warnings),
        resolution_uv=(0.0,) * len(names),
    )


def unnamed(count: int) -> tuple[list[str], str]:
    """Names for leads that came without, and the warning that says so."""
    names = list(STANDARD_LEADS) if count == 12 else list(EIGHT) if count == 8 else [f"ECG {i + 1}" for i in range(count)]
    names = ["ECG"] if count == 1 else names
    return names, f"lead names are not given: called {', '.join(names)} in the order of the file"


# -- layout ---


def _lines(head: bytes, *, whole: bool) -> list[str]:
    """The lines of a file's beginning, without the last one where it is cut."""
    if b"\0" in head and head[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        return []
    lines = decode(head).splitlines()
    return lines if whole or len(lines) < 2 else lines[:-1]


def _layout(lines: Sequence[str]) -> _Layout | None:
    if not lines or lines[0].lstrip()[:1] in ("<", "{"):
        return None
    preface: list[str] = []
    for i, line in enumerate(lines[: _PREFACE + 1]):
        found = None if _is_comment(line) else _start(lines, i)
        if found is None:
            preface.append(line[:4096])
            continue
        found.preface = preface
        above = next((_split(p, found.delimiter) for p in reversed(preface) if p.strip() and not _is_comment(p)), [])
        if found.loose and not (len(above) == found.width and above[-1]):
            found.width -= 1  # every line ends with a delimiter
        else:
            found.loose = False
        _header(found, [p for p in preface if p.strip() and not _is_comment(p)], preface)
        return found
    return None


def _is_comment(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith(("#", "%", "//", '"#'))


def _start(lines: Sequence[str], i: int) -> _Layout | None:
    """A block of numbers from line i on: at least three lines alike, or one very long, or two long ones."""
    block = [line for line in lines[i : i + 12] if line.strip()]
    for delimiter in (";", "\t", "|", ",", ""):
        split = [_split(line, delimiter) for line in block]
        width = len(split[0])
        if width == 1 and delimiter:
            continue
        alike = next((n for n, words in enumerate(split) if len(words) != width), len(split))
        if (alike < min(3, len(split)) and width < 100) or (len(split) < 3 and width < 50):
            continue
        if width == 1 and alike < 10:
            continue
        words = [w for row in split[:alike] for w in row[1:]]
        ahead = [row[0] for row in split[:alike]]
        numeric = all(_NUMBER.fullmatch(w) for w in ahead)
        clock = all(_CLOCK.fullmatch(w) for w in ahead)
        named = not numeric and not clock and width >= 20 and all(w and not w[0].isdigit() for w in ahead)
        if not (numeric or clock or named) or not all(_NUMBER.fullmatch(w) for w in words):
            continue
        if not all(any(c.isdigit() for w in row for c in w) for row in split[:alike]):
            continue
        comma = delimiter != "," and any("," in w for w in words + ahead)
        loose = bool(delimiter) and width > 2 and not any(row[-1] for row in split[:alike])
        return _Layout(first=i, width=width, delimiter=delimiter, comma=comma, labelled=named, loose=loose, clock=clock)
    return None


def _split(line: str, delimiter: str) -> list[str]:
    return [w.strip().strip('"') for w in line.split(delimiter)] if delimiter else line.split()


def _header(layout: _Layout, candidates: Sequence[str], preface: Sequence[str]) -> None:
    """Column names from the last line above the numbers that has as many words, units from a line of units below it."""
    rows = [_split(line, layout.delimiter) for line in candidates[-3:]]
    rows = [words[:-1] if layout.loose and words and not words[-1] else words for words in rows]
    if not candidates and preface and layout.width > 1:  # names in a comment: "# I II III"
        rows = [_split(preface[-1].lstrip('#%/ "'), layout.delimiter)]
        if sum(is_ecg(w) for w in rows[0]) < 0.5 * len(rows[0]):
            rows = []
    units: tuple[str, ...] = ()
    for words in reversed(rows):
        if len(words) == layout.width - 1 and layout.width > 1:
            words = ["", *words]  # an unnamed index column, as R and pandas write it
        if len(words) != layout.width or all(_NUMBER.fullmatch(w) for w in words):
            continue
        if not units and sum(millivolts(w) is not None for w in words) >= 0.5 * len(words):
            units = tuple(words)
            continue
        layout.names = tuple(words)
        layout.units = units or tuple(_unit_of(w) for w in words)
        return


def _unit_of(name: str) -> str:
    found = _BRACKET.search(name[:256])
    return (found[1] or found[2] or "").strip() if found else ""


# -- numbers ---


def _numbers(lines: list[str], layout: _Layout, file: File) -> tuple[NDArray[np.float64], list[str], list[str]]:
    """The block of numbers (R, C), the names at its left (if any), the times of day at its left (if any)."""
    while lines and not lines[-1].strip():
        lines.pop()
    if not (layout.labelled or layout.clock or layout.loose):
        body = "\n".join(line for line in lines if line.strip())
        try:
            table = np.loadtxt(
                io.StringIO(body.replace(",", ".") if layout.comma else body),
                delimiter=layout.delimiter or None,
                comments=None,
                ndmin=2,
                quotechar='"',
            )
            return table, [], []
        except ValueError:
            pass  # empty fields, a remark at the end: told apart below, line by line
    if len(lines) * layout.width > 30_000_000:
        raise EcgError(f"{len(lines):,} lines of {layout.width} words with gaps are too many", path=file.path)
    ahead: list[str] = []
    rows: list[list[float]] = []
    for n, line in enumerate(lines):
        if _is_comment(line):
            continue
        words = _split(line, layout.delimiter)
        if layout.loose and not words[-1]:
            words.pop()
        where = f"line {layout.first + n + 1}"
        if layout.labelled or layout.clock:
            ahead.append(words[0])
            words = words[1:]
        width = layout.width - (1 if layout.labelled or layout.clock else 0)
        if len(words) > width or (len(words) < width and n < len(lines) - 1):
            raise EcgError(f"{len(words)} numbers, {width} expected", path=file.path, where=where)
        if len(words) < width:
            raise EcgError(f"truncated: the last line has {len(words)} of {width} numbers", path=file.path, where=where)
        rows.append([_number(w, layout.comma, file, where) for w in words])
    table = np.array(rows, np.float64).reshape(len(rows), -1)
    return table, ahead if layout.labelled else [], ahead if layout.clock else []


def _number(word: str, comma: bool, file: File, where: str) -> float:
    if word in ("", "-", "NA", "null", "None"):
        return math.nan
    try:
        return float(word.replace(",", ".") if comma else word)
    except ValueError:
        raise EcgError(f"{word[:40]!r} is no number", path=file.path, where=where) from None


def _scaled(
    table: NDArray[np.float64],
    names: Sequence[str],
    units: Sequence[str],
    layout: _Layout,
    options: Options,
    warnings: list[str],
    file: File,
) -> NDArray[np.float32]:
    """(L, T) in mV, by the unit of each column, of the file, or of the user."""
    general = options.unit or next((m[1] for line in layout.preface if (m := _UNIT.search(line)) and millivolts(m[1])), "")
    if general and millivolts(general) is None:
        raise EcgError(f"unit {general[:40]!r} is no voltage (mV, uV, nV or V)", path=file.path)
    factors, silent = [], False
    for unit in units:
        factor = millivolts(unit) if unit and not options.unit else None
        if factor is None:
            factor = millivolts(general) if general else 1.0
            silent = silent or not general
        factors.append(factor or 1.0)
    if silent:
        warnings.append("unit not given in the file: taken as mV (--unit says otherwise)")
    with np.errstate(over="ignore"):
        return np.ascontiguousarray((table * np.array(factors)[:, None]).astype(np.float32))


# -- time ---


def _take_time(
    table: NDArray[np.float64], names: list[str], units: list[str], warnings: list[str]
) -> tuple[NDArray[np.float64], list[str], list[str], float | None]:
    """The table without its time or index column, and the sampling rate that column gives."""
    if table.shape[1] < 2 or table.shape[0] < 3:
        return table, names, units, None
    column = table[:, 0]
    steps = np.diff(column)
    even = bool(np.isfinite(column).all()) and float(steps.min()) > 0
    step = float(np.median(steps)) if even else 0.0
    regular = even and float(np.abs(steps - step).max()) <= 0.51 * step
    name = re.sub(r"[\(\[].*", "", names[0]).strip() if names else ""
    is_time = bool(names) and bool(_TIME.match(name))
    is_index = bool(names) and bool(_INDEX.match(name))
    if (names and not (is_time or is_index)) or (not names and not regular):
        return table, names, units, None
    rest, names_left, units_left = table[:, 1:], names[1:], units[1:]
    if not even:
        warnings.append(f"first column {name or '1'} does not rise steadily and is left out")
        return rest, names_left, units_left, None
    span = float(column[-1] - column[0])
    if span <= 0 or is_index or (not is_time and step == 1):
        return rest, names_left, units_left, None
    unit = (units[0] if units else "").lower() or ("ms" if name.lower() in ("ms", "msec") else "")
    scale = {"ms": 1000.0, "msec": 1000.0, "us": 1e6, "µs": 1e6, "s": 1.0, "sec": 1.0, "seconds": 1.0}.get(unit)
    if scale is None:
        if step == 1:
            warnings.append("the time column counts in steps of 1 without a unit and is left out")
            return rest, names_left, units_left, None
        scale = 1.0 if step < 0.5 else 1000.0
        warnings.append(f"unit of the time column is not given: taken as {'s' if scale == 1 else 'ms'}")
    if not regular:
        warnings.append("the time column has gaps or jumps; samples are taken as evenly spaced at its most frequent step")
        return rest, names_left, units_left, _neat(scale / step)
    return rest, names_left, units_left, _neat(scale * (len(column) - 1) / span)


def _neat(rate: float) -> float:
    """The whole number near by, where rounding of the times explains the difference."""
    return float(round(rate)) if rate >= 1 and abs(rate - round(rate)) < 2e-4 * rate else rate


def _clock_rate(stamps: Sequence[str]) -> float | None:
    first, last = (_seconds(w) for w in (stamps[0], stamps[-1]))
    span = last - first
    if span <= 0 and "-" not in stamps[0]:
        span += 86_400  # past midnight
    return _neat((len(stamps) - 1) / span) if span > 0 else None


def _seconds(word: str) -> float:
    found = _CLOCK.fullmatch(word)
    if not found:
        raise EcgError(f"{word[:40]!r} is no time of day")
    try:
        day = datetime.fromisoformat(found[1].strip(" T")).toordinal() if found[1] else 0
    except ValueError:
        raise EcgError(f"{word[:40]!r} is no date") from None
    return day * 86_400 + int(found[2]) * 3600 + int(found[3]) * 60 + float(found[4].replace(",", "."))


def _said_rate(preface: Sequence[str]) -> float | None:
    for line in preface:
        found = _RATE.search(line)
        if found:
            rate = float(found[1]) * (1000 if (found[2] or "").lower() == "khz" else 1)
            return rate if rate > 0 else None
    return None


# -- what the comments say ---


@dataclass
class _Said:
    start: datetime | None = None
    patient: Patient = field(default_factory=Patient)
    statements: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()


def _said(preface: Sequence[str]) -> _Said:
    fields: dict[str, list[str]] = {}
    for line in preface:
        found = re.match(r"\s*[#%/]+\s*(start|age|sex|id|name|birth_date|height_cm|weight_kg|codes|statement)\s*:\s*(.+)", line)
        if found:
            fields.setdefault(found[1], []).append(found[2].strip())
    one = {k: v[0] for k, v in fields.items()}
    start = None
    if "start" in one:
        try:
            start = datetime.fromisoformat(one["start"])
        except ValueError:
            start = None
    sex = {"m": "male", "male": "male", "f": "female", "female": "female"}.get(one.get("sex", "").lower())
    patient = Patient(
        id=one.get("id"),
        name=one.get("name"),
        age=_plain(one.get("age")),
        sex=sex,
        birth_date=one.get("birth_date"),
        height_cm=_plain(one.get("height_cm")),
        weight_kg=_plain(one.get("weight_kg")),
    )
    codes = tuple(c for c in one.get("codes", "").split(",") if c)
    return _Said(start, patient, tuple(fields.get("statement", ())), codes)


def _plain(word: str | None) -> float | None:
    try:
        value = float(word) if word else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


# -- writer ---


def write(record: Record, path: Path) -> list[Path]:
    """Comment lines with what is known, one header line, a time column in s, one column per lead in mV; NaN is empty.

    Nine digits: every float32 reads back as itself.
    """
    mark = "\t" if path.suffix.lower() == ".tsv" else ","
    lines = [f"# {line}" for line in _facts(record)]
    lines.append(mark.join(["time (s)", *(f"{lead} (mV)" for lead in record.leads)]))
    times = np.arange(record.signal.shape[1]) / record.fs
    for time, column in zip(times.tolist(), record.signal.T.tolist(), strict=True):
        lines.append(mark.join([f"{time:.9g}", *("" if math.isnan(v) else f"{v:.9g}" for v in column)]))
    with replacing(path) as draft:
        draft.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [path]


def _facts(record: Record) -> list[str]:
    patient = record.patient
    out = [f"fs={record.fs!r}", "unit: mV"]
    if record.start:
        out.append(f"start: {record.start.isoformat()}")
    for key in ("id", "name", "age", "sex", "birth_date", "height_cm", "weight_kg"):
        value = getattr(patient, key)
        if value is not None:
            out.append(f"{key}: {value}")
    if record.codes:
        out.append(f"codes: {','.join(record.codes)}")
    out += [f"statement: {s}" for s in record.statements]
    return [" ".join(line.split()) for line in out]


CSV = Format("csv", "CSV, TSV, text columns", (".csv", ".tsv", ".txt"), matches, read, write=write)
