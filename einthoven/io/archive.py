"""ZIP of ECGs, and the search of folders, patterns and archives for ECGs."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from einthoven.io.files import Archive, DiskFile, File, open_file
from einthoven.io.format import Format, Options
from einthoven.record import EcgError, Record

# Files that accompany ECGs in the wild and are none, so that a walk need not open them.
_NEVER = frozenset(
    ".md .rst .html .htm .py .ipynb .json .yaml .yml .toml .png .jpg .jpeg .gif .bmp .tif .tiff .webp .heic .pdf .svg .doc "
    ".docx .xls .xlsx .ppt .pptx .log .sh .m .c .h .gz .bz2 .xz .7z .rar .tar .onnx .safetensors .pt .pkl .exe .dll .so".split()
)
_WFDB_SIGNAL = frozenset(".dat .mat .xyz .bin .wav".split())


def matches(file: File) -> bool:
    """A ZIP that is neither NPZ nor an Office document."""
    if not file.head(4).startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return False
    try:
        names = Archive(file).names
    except EcgError:
        return True  # broken: the reader says how
    return "[Content_Types].xml" not in names and not (names and all(n.endswith(".npy") for n in names))


def read(file: File, options: Options) -> Record:
    """The first ECG of the archive; a warning says how many more there are."""
    from einthoven.io import read as read_one

    inputs = list(members(Archive(file)))
    if not inputs:
        raise EcgError("no ECG in this ZIP", path=file.path)
    record = read_one(inputs[0], fs=options.fs, unit=options.unit)
    return record.warn(f"first of {len(inputs)} files in this ZIP") if len(inputs) > 1 else record


def read_all(file: File, options: Options) -> Iterator[Record]:
    """Every ECG of the archive, one after another. Raises EcgError at the first that is broken."""
    from einthoven.io import read_all as read_each

    found = False
    for inner in members(Archive(file)):
        found = True
        yield from read_each(inner, fs=options.fs, unit=options.unit)
    if not found:
        raise EcgError("no ECG in this ZIP", path=file.path)


ZIP = Format("zip", "ZIP of ECG files", (".zip",), matches, read, read_all)


def members(archive: Archive) -> Iterator[File]:
    """The ECGs of an archive in the order of their names; companions are left out, and archives inside archives refused."""
    keep = select(archive.names, archive.open, ())
    nested = [n for n in keep if n.lower().endswith(".zip")]
    if nested:
        raise EcgError("a ZIP inside a ZIP is not opened", path=archive.file.path, where=f"entry {nested[0]}")
    return (archive.open(name) for name in keep)


def find_inputs(paths: Iterable[str | os.PathLike[str]], *, also: Collection[str] = ()) -> list[str]:
    """Paths, folders, glob patterns and ZIPs -> one entry per ECG file, in a deterministic order, each once.

    Entries can be given to `read`: plain paths, or `a.zip!inside.hea` for an entry of an archive. In folders and archives,
    companions are left out (the .dat of a .hea, segments of a multi-segment record, annotations, README, tables of labels);
    what is broken but carries an ECG's extension stays in, so that its fault is reported. A path that names a file is taken
    as it is.

    Args:
        also: extensions that count as inputs beside the signal formats (".png", ".pdf", ...).
    """
    out: dict[str, None] = {}
    for path in paths:
        text = os.path.expanduser(os.fspath(path))
        if os.path.isdir(text):
            for name in _walk(text, also):
                out.update(dict.fromkeys(_expand(os.path.join(text, name))))
        elif not os.path.exists(text) and glob.has_magic(text):
            hits = sorted(glob.glob(text, recursive=True))
            if not hits:
                raise EcgError("no file matches this pattern", path=text)
            folders = [h for h in hits if os.path.isdir(h)]
            files = [h for h in hits if not os.path.isdir(h)]
            for name in select(files, DiskFile, also):
                out.update(dict.fromkeys(_expand(name)))
            if folders:
                out.update(dict.fromkeys(find_inputs(folders, also=also)))
        else:
            out.update(dict.fromkeys(_expand(text)))
    return list(out)


def _expand(path: str) -> list[str]:
    """A ZIP becomes its entries; anything else stays."""
    if not path.lower().endswith(".zip"):
        return [path]
    try:
        file = open_file(path)
        return [f.path for f in members(Archive(file))] if matches(file) else [path]
    except EcgError:
        return [path]


def _walk(folder: str, also: Collection[str]) -> list[str]:
    names: list[str] = []
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        kept = select(sorted(files), _opener(here), also)
        names.extend(os.path.relpath(os.path.join(here, n), folder) for n in kept)
    return sorted(names, key=lambda n: PurePosixPath(n).parts)


def _opener(folder: str) -> Callable[[str], File]:
    return lambda name: DiskFile(os.path.join(folder, name))


def select(names: Sequence[str], opened: Callable[[str], File], also: Collection[str]) -> list[str]:
    """Of the files of one folder or archive, those that are ECGs of their own."""
    from einthoven.io.table import FORMATS, sniff

    known = {e for f in FORMATS.values() if f.name not in ("csv",) for e in f.extensions} - {".txt", ".dat"}
    stems: set[str] = set()  # records with a header
    parts: set[str] = set()  # segments of multi-segment records
    for name in names:
        if name.lower().endswith(".hea"):
            stems.add(name[:-4])
            parts.update(_segments(name, opened))
    out: list[str] = []
    for name in sorted(names):
        base = name.replace("\\", "/").rpartition("/")[2]
        stem, dot, ext = name.rpartition(".")
        ext = (dot + ext).lower()
        if base.startswith(".") or base.startswith("__MACOSX"):
            continue
        if ext in also:
            out.append(name)
        elif ext == ".hea":
            if name[:-4] not in parts:
                out.append(name)
        elif ext == ".ann" and stem + ".ecg" in names:
            continue  # the beats of an ISHNE recording
        elif ext in _NEVER or (stem in stems and (ext in _WFDB_SIGNAL or ext not in known)):
            continue
        elif ext in known:
            out.append(name)
        else:
            try:
                sniff(opened(name))
            except EcgError:
                continue
            out.append(name)
    return out


def _segments(name: str, opened: Callable[[str], File]) -> set[str]:
    """Names (with the header's folder) of the segments that a multi-segment header lists."""
    try:
        text = opened(name).head(1 << 20).decode("ascii", "replace")
    except EcgError:
        return set()
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not lines or "/" not in lines[0].split()[0]:
        return set()
    folder = str(Path(name).parent.as_posix())
    prefix = "" if folder == "." else folder + "/"
    return {prefix + line.split()[0] for line in lines[1:] if not line.startswith("~")}
