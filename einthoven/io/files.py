"""`File`: the bytes of one input and of its companions, the same from a folder, a ZIP or memory, and never from outside it.

Every input is untrusted: names that a header gives are confined to the folder (or archive) the header lies in, with
symbolic links resolved; sizes are bounded before anything is allocated; archives are bounded in entries, expanded size
and ratio.
"""

from __future__ import annotations

import errno
import io
import mmap
import os
import posixpath
import stat
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import IO

from einthoven.record import EcgError

MAX_BYTES = 2 << 30  # one file on disk
MAX_DECODED = 1 << 30  # bytes of decoded float32 samples of one record
MAX_ENTRIES = 20_000  # of an archive
MAX_EXPANDED = 1 << 30  # all entries of an archive together
MAX_RATIO = 200  # expanded / stored, where the entry is over 16 MB: text of an ECG packs 5 to 20 times
MAPPED = 32 << 20  # files above this are memory-mapped, not read

# O_NONBLOCK: a named pipe must not make us wait for ever.
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)

Bytes = bytes | mmap.mmap


class File(ABC):
    """One input: `name` (base name), `path` (what to call it before a user), `size` in bytes.

    `data` is the whole content (bytes, or a memory map where it is large), `head(n)` its beginning,
    `sibling(name)` a companion in the same folder tree or archive.
    """

    name: str
    path: str
    size: int

    @property
    @abstractmethod
    def data(self) -> Bytes:
        """The whole content."""

    def head(self, count: int = 4096) -> bytes:
        """The first `count` bytes, fewer where the file is shorter."""
        return bytes(self.data[:count])

    def sibling(self, name: str) -> File:
        """The companion that this file names, relative to itself. Raises EcgError where it is missing or outside the root."""
        raise EcgError(f"needs its companion file {name}, which cannot be found from memory", path=self.path)

    def has(self, name: str) -> bool:
        """Whether `sibling(name)` would find a file."""
        try:
            self.sibling(name)
        except EcgError:
            return False
        return True

    @property
    def local(self) -> Path | None:
        """The path on disk, None inside an archive or in memory. For libraries that only read by path."""
        return None

    @property
    def stem(self) -> str:
        return self.name.rpartition(".")[0] or self.name

    @property
    def suffix(self) -> str:
        """The extension in small letters with its dot, '' where there is none."""
        return ("." + self.name.rpartition(".")[2].lower()) if "." in self.name else ""

    def text(self, *, limit: int = 256 << 20) -> str:
        """The content as text: the byte-order mark decides, else UTF-8, else ISO-8859-1."""
        if self.size > limit:
            raise EcgError(f"{self.size:,} bytes are too many for a text file (at most {limit:,})", path=self.path)
        return decode(bytes(self.data))


def decode(data: bytes) -> str:
    """Text from bytes: byte-order mark, else UTF-8, else ISO-8859-1 (which always succeeds)."""
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if data.startswith(mark):
            return data.decode(encoding, errors="replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("iso-8859-1")


class DiskFile(File):
    """A file in a folder. `root` is the folder that its companions must not leave."""

    def __init__(self, path: str | Path, root: str | None = None, *, shown: str | None = None, flags: int = 0) -> None:
        self._real = os.fspath(path)
        self.path = shown or self._real
        self.name = os.path.basename(self._real)
        self._folder = os.path.dirname(self._real) or "."
        self._root = root or self._folder
        try:
            handle = os.open(self._real, _READ | flags)
        except (OSError, ValueError) as error:
            raise EcgError(_why(error), path=self.path) from None
        try:
            about = os.fstat(handle)
            if not stat.S_ISREG(about.st_mode):
                raise EcgError("is a folder" if stat.S_ISDIR(about.st_mode) else "not a regular file", path=self.path)
            self.size = about.st_size
            if self.size > MAX_BYTES:
                raise EcgError(f"{self.size:,} bytes are more than one ECG file may have ({MAX_BYTES:,})", path=self.path)
            # Small files are read in the same breath: one open per file is what makes 8,000 records a second possible.
            self._small = _read_all(handle, self.size) if self.size <= MAPPED else None
        finally:
            os.close(handle)

    @cached_property
    def _mapped(self) -> Bytes:
        with open(self._real, "rb") as handle:
            return mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)

    @property
    def data(self) -> Bytes:
        return self._small if self._small is not None else self._mapped

    @property
    def local(self) -> Path:
        return Path(self._real)

    def sibling(self, name: str) -> File:
        inside = _clean(name, self.path)
        target = os.path.join(self._folder, inside)
        shown = os.path.join(os.path.dirname(self.path), inside)
        # A plain name that is no symbolic link cannot leave the folder; everything else is resolved and compared.
        if "/" not in inside and _NOFOLLOW:
            try:
                return DiskFile(target, self._root, shown=shown, flags=_NOFOLLOW)
            except EcgError as error:
                if not os.path.islink(target):
                    raise EcgError(f"its companion {name} cannot be read: {error.what}", path=self.path) from None
        if "/" in inside or os.path.islink(target):
            root = os.path.realpath(self._root)
            if not os.path.realpath(target).startswith(root.rstrip(os.sep) + os.sep):
                raise EcgError(f"its companion {name} lies outside its folder", path=self.path)
        try:
            return DiskFile(target, self._root, shown=shown)
        except EcgError as error:
            raise EcgError(f"its companion {name} cannot be read: {error.what}", path=self.path) from None


class MemoryFile(File):
    """Bytes without a folder."""

    def __init__(self, data: bytes, name: str = "memory") -> None:
        self.name, self.path, self.size = os.path.basename(name) or "memory", name, len(data)
        self._data = data
        if self.size > MAX_BYTES:
            raise EcgError(f"{self.size:,} bytes are more than one ECG file may have ({MAX_BYTES:,})", path=self.path)

    @property
    def data(self) -> Bytes:
        return self._data


class Archive:
    """A ZIP, bounded: entries, expanded size, ratio; no encryption, no nested archives, no names that leave it."""

    def __init__(self, file: File) -> None:
        self.file = file
        try:
            self._zip = zipfile.ZipFile(_seekable(file))
            infos = self._zip.infolist()
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError, RuntimeError) as error:
            raise EcgError(f"broken ZIP: {error}", path=file.path) from None
        if len(infos) > MAX_ENTRIES:
            raise EcgError(f"ZIP of {len(infos):,} entries (at most {MAX_ENTRIES:,})", path=file.path)
        if sum(i.file_size for i in infos) > MAX_EXPANDED:
            raise EcgError(f"ZIP that expands to more than {MAX_EXPANDED:,} bytes", path=file.path)
        files = [i for i in infos if not i.filename.endswith("/")]  # ZipInfo.is_dir fails on an entry without a name
        self._infos = {i.filename: i for i in files if _harmless(i.filename)}
        self.refused = tuple(i.filename for i in files if not _harmless(i.filename))

    @property
    def names(self) -> tuple[str, ...]:
        """The entries, sorted; those that would leave the archive are in `refused` instead."""
        return tuple(sorted(self._infos))

    def open(self, name: str) -> File:
        """One entry. Raises EcgError where there is none, or where it is encrypted, too large, or packed too densely."""
        if name not in self._infos:
            raise EcgError(f"no entry {name}", path=self.file.path)
        return ZipMember(self, name)

    def read(self, name: str) -> bytes:
        info, where = self._infos[name], f"entry {name}"
        if info.flag_bits & 1:
            raise EcgError("encrypted", path=self.file.path, where=where)
        if info.file_size > 16 << 20 and info.file_size > MAX_RATIO * max(info.compress_size, 1):
            raise EcgError(f"expands more than {MAX_RATIO} times: a ZIP bomb", path=self.file.path, where=where)
        try:
            with self._zip.open(info) as stream:
                data: bytes = stream.read(info.file_size + 1)
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
            raise EcgError(f"broken ZIP entry: {error}", path=self.file.path, where=where) from None
        except Exception as error:  # lzma and bz2 bring exceptions of their own that share no base
            if type(error).__module__.split(".")[0] not in ("lzma", "_lzma", "bz2", "_bz2", "zipfile", "struct"):
                raise
            raise EcgError(f"broken ZIP entry: {error}", path=self.file.path, where=where) from None
        if len(data) > info.file_size:
            raise EcgError("longer than the ZIP says", path=self.file.path, where=where)
        return data

    def __iter__(self) -> Iterator[File]:
        return (self.open(name) for name in self.names)


class ZipMember(File):
    """An entry of an archive; its companions are entries of the same archive."""

    def __init__(self, archive: Archive, name: str) -> None:
        self._archive, self._entry = archive, name
        self.name = posixpath.basename(name)
        self.path = f"{archive.file.path}!{name}"
        self.size = archive._infos[name].file_size

    @cached_property
    def _data(self) -> bytes:
        return self._archive.read(self._entry)

    @property
    def data(self) -> Bytes:
        return self._data

    def sibling(self, name: str) -> File:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(self._entry), _clean(name, self.path)))
        if target not in self._archive._infos:
            raise EcgError(f"its companion {name} is not in the archive", path=self.path)
        return ZipMember(self._archive, target)


def open_file(source: str | os.PathLike[str] | bytes | bytearray | memoryview | File | object, name: str | None = None) -> File:
    """A File from a path (`a.zip!b.xml` for an entry of an archive), bytes, or an open binary file.

    A path without an extension that names no file stands for the WFDB record of that name.
    """
    if isinstance(source, File):
        return source
    if isinstance(source, bytes | bytearray | memoryview):
        return MemoryFile(bytes(source), name or "memory")
    if isinstance(source, str | os.PathLike):
        return _open_path(os.fspath(source))
    read = getattr(source, "read", None)
    if read is None:
        raise TypeError(f"an ECG is read from a path, bytes or a binary file, not from {type(source).__name__}")
    data = read(MAX_BYTES + 1)
    if isinstance(data, str):
        raise TypeError("open the file in binary mode")
    given = getattr(source, "name", None)
    return MemoryFile(data, name or (given if isinstance(given, str) else "memory"))


def _open_path(path: str | bytes) -> File:
    path = os.fsdecode(path)
    try:
        return DiskFile(path)
    except EcgError:
        outer, mark, inner = path.partition("!")
        if mark and os.path.isfile(outer):
            return Archive(DiskFile(outer)).open(inner)
        if os.path.isfile(path + ".hea"):
            return DiskFile(path + ".hea")
        raise


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside `path` to write to; renamed to `path` when the block ends well, removed when it does not."""
    target = Path(path)
    draft = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        yield draft
        os.replace(draft, target)
    except OSError as error:
        raise EcgError(f"cannot be written: {error.strerror or error}", path=target) from None
    finally:
        draft.unlink(missing_ok=True)


def _read_all(handle: int, size: int) -> bytes:
    data = os.read(handle, size) if size else b""
    while len(data) < size:
        more = os.read(handle, size - len(data))
        if not more:
            break
        data += more
    return data


def _seekable(file: File) -> IO[bytes]:
    return open(file.local, "rb") if file.local else io.BytesIO(bytes(file.data))


def _clean(name: str, path: str) -> str:
    """A companion's name with only forward steps in it."""
    if not name or "\0" in name or "\\" in name or ":" in name or posixpath.isabs(name):
        raise EcgError(f"names a companion that cannot be a file beside it: {name[:80]!r}", path=path)
    clean = posixpath.normpath(name)
    if clean in (".", "..") or clean.startswith("../"):
        raise EcgError(f"its companion {name[:80]!r} lies outside its folder", path=path)
    return clean


def _harmless(name: str) -> bool:
    try:
        return len(name) < 512 and _clean(name, "") == name
    except EcgError:
        return False


def _why(error: OSError | ValueError) -> str:
    code = getattr(error, "errno", None)
    told = {errno.ENOENT: "no such file", errno.ENOTDIR: "no such file", errno.EACCES: "no permission to read it"}
    return told.get(code or 0, f"cannot be opened: {getattr(error, 'strerror', None) or error}")
