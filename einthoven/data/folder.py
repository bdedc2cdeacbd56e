"""The user's own ECGs: a folder of files in any format that is read here, and a CSV that labels them.

    file_name,label[,label2,...][,patient][,ICD-10][,target columns]

One file may have several labels: in one cell parted by | or ;, in several columns (label, label2, ...), or in several rows.
Cells are parted by comma, semicolon or tab. The column `ICD-10` is ExChanGeAI's: its codes become codes of the record
("icd10:I21.0"). Where no column says who the patient is, the file's own patient id does (as a hash). Columns named in
`--target` are numbers to predict. A file of the folder without a label, and a label without a file, are named and counted. With
`--labels` a public set, or an index, gets the user's labels too: then it keeps its patients and folds, and records may be
called by their names there (PTB-XL's 1, 00001_lr). File names may lack their extension or their folder, where that leaves no
doubt.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from einthoven.data.entry import DEFAULT, Choice, Dataset, Entry, Fault, Listing
from einthoven.data.rows import header, number, plain, rows, sex
from einthoven.record import EcgError

if TYPE_CHECKING:
    from einthoven.data.index import Index

FILE_COLUMNS = ("file_name", "filename", "file", "path", "record", "name")
PATIENT_COLUMNS = ("patient", "patient_id", "subject", "subject_id", "patientid", "person")
ICD_COLUMNS = ("icd-10", "icd10", "icd_10", "icd")
_LABEL = re.compile(r"label[\s_]?\d*|class|diagnosis|diagnose|labels")
_NAMES = ("labels.csv", "labels.tsv", "label.csv")
_SEPARATORS = ",;\t"


@dataclass
class _Said:
    """What all rows of one file say together."""

    labels: dict[str, None] = field(default_factory=dict)
    codes: dict[str, None] = field(default_factory=dict)
    patient: str | None = None
    age: float = math.nan
    sex: str | None = None
    fold: int = -1
    targets: dict[str, float] = field(default_factory=dict)


def matches(path: Path) -> bool:
    """A folder with a labels.csv, or a single labels.csv beside its files."""
    if path.is_file():
        return path.suffix.lower() in (".csv", ".tsv") and _labels_files(header(path, _SEPARATORS))
    return any((path / n).is_file() and _labels_files(header(path / n, _SEPARATORS)) for n in _NAMES)


def _labels_files(names: tuple[str, ...]) -> bool:
    """Whether a table of these columns names files and says something of them."""
    low = [n.lower() for n in names]
    says = any(_LABEL.fullmatch(n) or n in ICD_COLUMNS or n.startswith("target:") for n in low)
    return says and file_column(names) is not None


def file_column(names: tuple[str, ...]) -> str | None:
    """The column that names the files, by the usual names."""
    low = {n.lower(): n for n in names}
    return next((low[n] for n in FILE_COLUMNS if n in low), None)


def entries(path: Path, choice: Choice) -> Listing:
    """The labelled files in the order of the table; then what does not fit together, by name."""
    from einthoven.io import find_inputs

    table, folder = _table(path, choice)
    said = read_labels(table, choice)
    files = find_inputs([folder])
    files = [f for f in files if Path(f).resolve() != table.resolve()]
    found, absent, doubtful = match(said, files, folder)
    for name, file in found.items():
        about = said[name]
        yield Entry(
            record=_inside(file, folder),
            path=file,
            dataset=_dataset(folder),
            patient=about.patient,
            age=about.age,
            sex=about.sex,
            fold=about.fold,
            codes=tuple(about.codes),
            likelihoods=(math.nan,) * len(about.codes),
            labels=tuple(about.labels),
            targets=tuple(about.targets.items()),
        )
    yield from _misfits(table, absent, doubtful)
    taken = set(found.values())
    for file in files:
        if file not in taken:
            yield Fault(file, f"has no label in {table.name}: left out", serious=False)


def _misfits(table: Path, absent: list[str], doubtful: dict[str, list[str]]) -> Iterator[Fault]:
    for name in absent:
        yield Fault(name, f"named in {table.name}, but there is no such ECG")
    for name, several in doubtful.items():
        yield Fault(name, f"named in {table.name}, and several files fit: {', '.join(several[:4])}")


def read_labels(table: Path, choice: Choice) -> dict[str, _Said]:
    """The CSV of labels -> what it says of each file name. Raises EcgError where it is no table of labels."""
    names = header(table, _SEPARATORS)
    file = file_column(names)
    if file is None:
        raise EcgError(f"no column file_name (there are: {', '.join(names)[:200] or 'none'})", path=table)
    low = {n.lower(): n for n in names}
    patient = choice.patient or next((low[n] for n in PATIENT_COLUMNS if n in low), None)
    icd = [low[n] for n in ICD_COLUMNS if n in low]
    targets = tuple(choice.targets) or tuple(n for n in names if n.lower().startswith("target:"))
    for wanted in (*targets, *([patient] if patient else [])):
        if wanted not in names:
            raise EcgError(f"no column {wanted} (there are: {', '.join(names)[:200]})", path=table)
    labels = [n for n in names if _LABEL.fullmatch(n.lower()) and n not in targets]
    if not labels and not targets and not icd:
        raise EcgError(f"no column label (there are: {', '.join(names)[:200]})", path=table)
    out: dict[str, _Said] = {}
    for line, row in enumerate(rows(table, separators=_SEPARATORS), 2):
        name = row[file]
        if not name:
            raise EcgError("no file name", path=table, where=f"line {line}")
        about = out.setdefault(name.replace("\\", "/"), _Said())
        for column in labels:
            about.labels.update(dict.fromkeys(w.strip() for w in re.split(r"[|;]", row[column]) if w.strip()))
        for column in icd:
            about.codes.update(dict.fromkeys(f"icd10:{c}" for c in re.split(r"[\s|+;,]+", row[column].upper()) if c))
        for column in targets:
            value = number(row[column])
            if row[column] and math.isnan(value):
                raise EcgError(f"{column} is no number: {row[column][:40]!r}", path=table, where=f"line {line}")
            about.targets[column.removeprefix("target:")] = value
        if patient:
            who = plain(row[patient])
            if who and about.patient and who != about.patient:
                raise EcgError(f"{name} belongs to two patients: {about.patient}, {who}", path=table, where=f"line {line}")
            about.patient = about.patient or who
        about.age = number(row[low["age"]], 0, 130) if "age" in low else about.age
        about.sex = sex(row[low["sex"]]) if "sex" in low else about.sex
        about.fold = int(number(row[low["fold"]])) if "fold" in low and row[low["fold"]].isdigit() else about.fold
    return out


def match(said: dict[str, _Said], files: list[str], folder: Path) -> tuple[dict[str, str], list[str], dict[str, list[str]]]:
    """Names of the table -> (their files, names without a file, names that fit several files).

    A name is a path below the folder, or the end of one, with or without extension; an absolute path is itself. A WFDB record's
    signal file stands for its header. The best fit counts: the whole path before an end of it, with the extension before
    without.
    """
    ends: dict[str, list[str]] = {}
    for file in files:
        parts = _inside(file, folder).split("/")
        for k in range(len(parts)):
            ends.setdefault("/".join(parts[k:]), []).append(file)
            ends.setdefault("/".join([*parts[k:-1], parts[-1].rpartition(".")[0]]), []).append(file)
    found: dict[str, str] = {}
    absent: list[str] = []
    doubtful: dict[str, list[str]] = {}
    for name in said:
        inside = _inside(name, folder.absolute()) if Path(name).is_absolute() else name.removeprefix("./")
        stem = inside.rpartition(".")[0] if inside.lower().endswith((".dat", ".mat", ".hea")) else inside
        hits = ends.get(inside) or ends.get(stem) or []
        whole = [f for f in hits if _inside(f, folder) == inside] or [f for f in hits if _bare(f, folder) in (inside, stem)]
        hits = whole or hits
        if len(hits) == 1:
            found[name] = hits[0]
        elif hits:
            doubtful[name] = hits
        else:
            absent.append(name)
    return found, absent, doubtful


def _bare(file: str, folder: Path) -> str:
    """A file's path below the folder without its extension."""
    return _inside(file, folder).rpartition(".")[0]


def _inside(file: str, folder: Path) -> str:
    """A file's path below the folder, with forward strokes; an entry of an archive is named by the archive's entry."""
    name = file.partition("!")[2] if "!" in file else file.removeprefix(str(folder)).lstrip("/\\")
    return name.replace("\\", "/")


def _dataset(folder: Path) -> str:
    return re.sub(r"[^\w.-]+", "-", folder.resolve().name) or "own"


def _table(path: Path, choice: Choice) -> tuple[Path, Path]:
    """(the CSV of labels, the folder of ECGs)."""
    if choice.labels is not None:
        given = Path(choice.labels)
        beside = path / choice.labels
        table = given if given.is_file() or not beside.is_file() else beside
        if not table.is_file():
            raise EcgError("no such CSV of labels", path=given)
        return table, path
    if path.is_file():
        return path, path.parent
    return next(path / n for n in _NAMES if (path / n).is_file()), path


def labelled(base: Dataset) -> Dataset:
    """A public set under the user's own labels: its records, patients and folds, and of those only what the table names."""
    return replace(base, name=f"{base.name}+labels", entries=partial(_relabelled, base=base))


def _relabelled(path: Path, choice: Choice, *, base: Dataset) -> Listing:
    table, _ = _table(path, choice)
    said = read_labels(table, choice)
    faults: list[Fault] = []
    listed: list[Entry] = []
    for entry in base.entries(path, choice):
        faults.append(entry) if isinstance(entry, Fault) else listed.append(entry)
    found, absent, doubtful = fit(said, [(e.dataset, e.record, e.path, e.part) for e in listed], path)
    for name, k in found.items():
        about, entry = said[name], listed[k]
        yield replace(
            entry,
            patient=about.patient or entry.patient,
            age=entry.age if math.isnan(about.age) else about.age,
            sex=about.sex or entry.sex,
            fold=about.fold if about.fold >= 0 else entry.fold,
            codes=(*entry.codes, *about.codes),
            likelihoods=(*entry.likelihoods, *(math.nan for _ in about.codes)),
            labels=tuple(about.labels),
            targets=tuple(about.targets.items()),
        )
    yield from _misfits(table, absent, doubtful)
    if len(listed) > len(found):
        yield Fault(base.title, f"not named in {table.name}: left out", len(listed) - len(found), serious=False)
    yield from (replace(f, serious=False) for f in faults)


def fit(
    said: dict[str, _Said], records: list[tuple[str, str, str, int]], folder: Path
) -> tuple[dict[str, int], list[str], dict[str, list[str]]]:
    """Names of the table -> (places in `records`, names without a record, names that fit several).

    A record is (dataset, its name there, path, row of an array file). A name is the record's name, alone or as "dataset:name",
    or a file's as in `match`.
    """
    by_name: dict[str, list[int]] = {}
    by_path: dict[str, int] = {}
    for k, (dataset, record, path, part) in enumerate(records):
        for key in (record, f"{dataset}:{record}"):
            by_name.setdefault(key, []).append(k)
        if part < 0:
            by_path[path] = k
    found: dict[str, int] = {}
    doubtful: dict[str, list[str]] = {}
    rest: dict[str, _Said] = {}
    for name, about in said.items():
        hits = by_name.get(name, [])
        if len(hits) == 1:
            found[name] = hits[0]
        elif hits:
            doubtful[name] = [":".join(records[k][:2]) for k in hits]
        else:
            rest[name] = about
    files, absent, more = match(rest, list(by_path), folder)
    found.update({name: by_path[file] for name, file in files.items()})
    return found, absent, {**doubtful, **more}


def relabelled(index: Index, labels: str | Path, choice: Choice = DEFAULT) -> tuple[Index, list[Fault]]:
    """The records of an index that the table names, with its labels and targets; and what does not fit together.

    Raises:
        EcgError: the table names no record of the index.
    """
    import pyarrow as pa

    from einthoven.data.index import COLUMNS, TARGET, Index, _arrow

    table = Path(labels)
    said = read_labels(table, choice)
    parted = [name.partition(":") for name in index.column("record")]
    records = [(d, name, path, -1) for (d, _, name), path in zip(parted, index.column("path"), strict=True)]
    found, absent, doubtful = fit(said, records, index.folder or Path())
    faults = list(_misfits(table, absent, doubtful))
    if not found:
        raise EcgError(f"names no record of the index ({', '.join(list(said)[:3])}, ...)", path=table)
    rows = sorted((k, name) for name, k in found.items())
    part = index.select([k for k, _ in rows])
    about = [said[name] for _, name in rows]
    kept = part.table.drop_columns([n for n in part.table.column_names if n.startswith(TARGET)])
    column = kept.schema.get_field_index("labels")
    stated = pa.array([list(a.labels) for a in about], _arrow(COLUMNS["labels"]))
    kept = kept.set_column(column, "labels", stated)
    for target in dict.fromkeys(t for a in about for t in a.targets):
        values = [a.targets.get(target, math.nan) for a in about]
        kept = kept.append_column(TARGET + target, pa.array(values, pa.float64()))
    told = {**index.about, "failed": [asdict(f) for f in faults]}
    return Index(kept, index.signals, index.folder, told), faults


FOLDER = Dataset(
    "folder",
    "your own folder",
    matches,
    entries,
    notes="files in any format beside a labels.csv (file_name,label[,patient][,ICD-10][,...])",
)
