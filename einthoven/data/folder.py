"""The user's own ECGs: a folder of files in any format that is read here, and a CSV that labels them.

    file_name,label[,label2,...][,patient][,ICD-10][,target columns]

One file may have several labels: in one cell parted by | or ;, in several columns (label, label2, ...), or in several rows.
Cells are parted by comma, semicolon or tab. The column `ICD-10` is ExChanGeAI's: its codes become codes of the record
("icd10:I21.0"). Columns named in `--target` are numbers to predict. A file of the folder without a label, and a label without a
file, are named and counted. File names may lack their extension or their folder, where that leaves no doubt.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path

from einthoven.data.entry import Choice, Dataset, Entry, Fault, Listing
from einthoven.data.rows import header, number, plain, rows, sex
from einthoven.record import EcgError

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
    for name in absent:
        yield Fault(name, f"named in {table.name}, but there is no such ECG in the folder")
    for name, several in doubtful.items():
        yield Fault(name, f"named in {table.name}, and several files fit: {', '.join(several[:4])}")
    taken = set(found.values())
    for file in files:
        if file not in taken:
            yield Fault(file, f"has no label in {table.name}: left out", serious=False)


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


FOLDER = Dataset(
    "folder",
    "your own folder",
    matches,
    entries,
    notes="files in any format beside a labels.csv (file_name,label[,patient][,ICD-10][,...])",
)
