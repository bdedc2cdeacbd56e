"""`Bundle`: a model that can be handed on. A folder, or a ZIP of one, without subfolders:

    manifest.json          what it is, and the SHA-256 of every other file
    model.onnx             for prediction; of a model that answers in words language.json in its place
    weights.safetensors    for training on, with the architecture's name and configuration in the manifest
    train.onnx, adapter.safetensors, card.md, ...

Who opens one may trust its files to be those that the manifest names, and nothing else: a file too many, too few, too long
or changed is refused, with the file's name and both hashes. That says nothing about who wrote the manifest: a store's index
and the address it came from do.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

from einthoven.exchange.manifest import Entry, Manifest
from einthoven.io.files import replacing
from einthoven.record import EcgError, WrongUse

MANIFEST = "manifest.json"
MAX_MANIFEST = 4 << 20  # bytes
MAX_FILE = 8 << 30  # a 2-billion-parameter model in float32
MAX_FILES = 64

# What may be in a Bundle. No code, no pickle, no archive in an archive.
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}\.(onnx|safetensors|md|json|yaml|csv|jsonl|html|png|svg|pdf|txt)")
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Bundle:
    """An opened, verified Bundle. `path` its folder or ZIP; `digest` the SHA-256 of its manifest, and so of all of it."""

    path: Path
    manifest: Manifest
    digest: str

    @staticmethod
    def open(path: str | os.PathLike[str], *, verify: bool = True) -> Bundle:
        """A Bundle from a folder or ZIP, every file of it verified against its manifest.

        verify=False skips the hashes (not the listing); `read` checks what it reads in any case.

        Raises:
            EcgError: no Bundle, or not the one that its manifest describes: which file, and how.
        """
        path = Path(path)
        with _opened(path) as files:
            if MANIFEST not in files.sizes:
                raise EcgError(f"not a Bundle: no {MANIFEST} in it", path=path)
            if files.sizes[MANIFEST] > MAX_MANIFEST:
                raise EcgError(f"more than {MAX_MANIFEST:,} bytes", path=path, where=MANIFEST)
            with files.open(MANIFEST) as stream:
                text = stream.read(MAX_MANIFEST + 1)
            manifest = Manifest.from_json(text, path / MANIFEST)
            _check_listing(files.sizes, manifest, path)
            for name, entry in manifest.files.items() if verify else ():
                with files.open(name) as stream:
                    _check_hash(stream, entry, path, name)
        return Bundle(path, manifest, hashlib.sha256(text).hexdigest())

    def __contains__(self, name: str) -> bool:
        return name in self.manifest.files

    def read(self, name: str) -> bytes:
        """The bytes of one file. They are verified as read: what was changed after `open` is refused, too."""
        if name not in self.manifest.files:
            raise EcgError(f"this Bundle has no {name} (it has: {', '.join(self.manifest.files)})", path=self.path)
        entry = self.manifest.files[name]
        with _opened(self.path) as files, files.open(name) as stream:
            data = stream.read(entry.bytes + 1)
        if len(data) != entry.bytes or hashlib.sha256(data).hexdigest() != entry.sha256:
            raise EcgError("was changed since the Bundle was opened", path=self.path, where=name)
        return data

    @cached_property
    def size(self) -> int:
        """Bytes of all files but the manifest."""
        return sum(entry.bytes for entry in self.manifest.files.values())

    def copy(self, target: str | os.PathLike[str], *, overwrite: bool = False) -> Bundle:
        """The same Bundle, bit for bit, as the folder or (a name that ends in .zip) the ZIP `target`; verified on the way."""
        target = Path(target)
        with _opened(self.path) as files, _drafted(target, overwrite) as draft:
            for name in (MANIFEST, *self.manifest.files):
                with files.open(name) as stream, draft.create(name) as out:
                    shutil.copyfileobj(stream, out, _CHUNK)
            draft.done()
            copied = Bundle.open(draft.path)
            if copied.digest != self.digest:
                raise EcgError("was changed while it was copied", path=self.path)
        return Bundle(target, copied.manifest, copied.digest)


def write_bundle(
    target: str | os.PathLike[str],
    manifest: Manifest,
    files: Mapping[str, bytes | str | Path],
    *,
    overwrite: bool = False,
) -> Bundle:
    """Writes a Bundle as the folder or (a name that ends in .zip) the ZIP `target`, whole or not at all.

    Args:
        manifest: its `files` are filled in here.
        files: by name in the Bundle: bytes, text, or the path of a file to copy.
        overwrite: replaces a Bundle that is there already; nothing else is ever replaced.

    Raises:
        EcgError: a name that may not be in a Bundle, no model in it, `target` exists, or the disk is full.
    """
    target = Path(target)
    if body(manifest) not in files:
        raise EcgError(f"a Bundle needs a {body(manifest)}", path=target)
    for name in files:
        if name == MANIFEST or not _FILE.fullmatch(name):
            raise EcgError(f"{name[:80]!r} may not be in a Bundle", path=target)
    with _drafted(target, overwrite) as draft:
        entries = {}
        for name, content in sorted(files.items()):
            with draft.create(name) as out:
                entries[name] = _write(out, content)
        with draft.create(MANIFEST) as out:
            _write(out, manifest.model_copy(update={"files": entries}).to_json())
        draft.done()
        made = Bundle.open(draft.path)  # whoever can write one that cannot be opened learns it here
    return Bundle(target, made.manifest, made.digest)


def body(manifest: Manifest) -> str:
    """The file without which a Bundle of this kind is none."""
    return "language.json" if manifest.task == "language" else "model.onnx"


# ---- reading: one view of a folder and of a ZIP -------------------------------------------------------------------------


@dataclass(frozen=True)
class _Files:
    """The files of a Bundle that is being opened: sizes by name as the file system (or the ZIP) says, and the way to them."""

    path: Path
    sizes: Mapping[str, int]
    archive: zipfile.ZipFile | None = None

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        try:
            if self.archive is None:
                # A file that was exchanged for a link after it was listed is not followed.
                flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
                with os.fdopen(os.open(self.path / name, flags), "rb") as stream:
                    yield stream
            else:
                with self.archive.open(name) as stream:
                    yield stream
        except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError, zlib.error) as fault:
            raise EcgError(f"cannot be read: {fault}", path=self.path, where=name) from None


@contextmanager
def _opened(path: Path) -> Iterator[_Files]:
    if path.is_dir():
        yield _Files(path, _listed_folder(path))
        return
    if not path.exists():
        raise EcgError("no such Bundle", path=path)
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as fault:
        raise EcgError(f"neither a folder nor a ZIP: {fault}", path=path) from None
    with archive:
        yield _Files(path, _listed_zip(archive, path), archive)


def _listed_folder(path: Path) -> dict[str, int]:
    sizes = {}
    with os.scandir(path) as entries:
        for entry in entries:
            check_name(entry.name, path)
            about = entry.stat(follow_symlinks=False)
            if not stat.S_ISREG(about.st_mode):
                kind = "a symbolic link" if stat.S_ISLNK(about.st_mode) else "not a regular file"
                raise EcgError(f"is {kind}: a Bundle holds files alone", path=path, where=entry.name)
            sizes[entry.name] = about.st_size
            if len(sizes) > MAX_FILES:
                raise EcgError(f"more than {MAX_FILES} files", path=path)
    return sizes


def _listed_zip(archive: zipfile.ZipFile, path: Path) -> dict[str, int]:
    sizes: dict[str, int] = {}
    infos = archive.infolist()
    if len(infos) > MAX_FILES:
        raise EcgError(f"more than {MAX_FILES} files", path=path)
    for info in infos:
        name = info.filename
        check_name(name, path)
        if stat.S_ISLNK(info.external_attr >> 16):
            raise EcgError("is a symbolic link: a Bundle holds files alone", path=path, where=name)
        if info.flag_bits & 1:
            raise EcgError("is encrypted", path=path, where=name)
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise EcgError("is packed in a way that is not read (stored or deflated alone)", path=path, where=name)
        if name in sizes:
            raise EcgError("is in the ZIP twice", path=path, where=name)
        sizes[name] = info.file_size
    return sizes


def check_name(name: str, path: str | Path) -> None:
    """Raises EcgError for folders, `..`, drive letters, and kinds of files that a Bundle has no use for."""
    if not _FILE.fullmatch(name):
        raise EcgError("may not be in a Bundle (plain file names alone; no code, folders or links)", path=path, where=name)


def _check_listing(sizes: Mapping[str, int], manifest: Manifest, path: Path) -> None:
    for name in manifest.files:
        check_name(name, path)
        if name == MANIFEST:
            raise EcgError("the manifest cannot list itself", path=path)
        if name not in sizes:
            raise EcgError("the manifest names it, but it is not there", path=path, where=name)
        if manifest.files[name].bytes > MAX_FILE:
            raise EcgError(f"more than {MAX_FILE:,} bytes", path=path, where=name)
        # Before a byte is unpacked: a ZIP bomb is a size that the manifest does not know of.
        if sizes[name] != manifest.files[name].bytes:
            told = f"{sizes[name]:,} bytes instead of the {manifest.files[name].bytes:,} that the manifest says"
            raise EcgError(told, path=path, where=name)
    if strange := sorted(set(sizes) - set(manifest.files) - {MANIFEST}):
        raise EcgError("is not in the manifest", path=path, where=strange[0])
    if body(manifest) not in manifest.files:
        raise EcgError(f"a Bundle needs a {body(manifest)}", path=path)


def _check_hash(stream: IO[bytes], entry: Entry, path: Path, name: str) -> None:
    digest, seen = hashlib.sha256(), 0
    while chunk := stream.read(min(_CHUNK, entry.bytes + 1 - seen)):
        digest.update(chunk)
        seen += len(chunk)
        if seen > entry.bytes:
            break
    if seen != entry.bytes or digest.hexdigest() != entry.sha256:
        told = f"was changed: its SHA-256 is {digest.hexdigest()}, the manifest says {entry.sha256}"
        raise EcgError(told, path=path, where=name)


# ---- writing: a draft beside the target, renamed when it is whole -------------------------------------------------------


class _Draft:
    """A Bundle that is being written, at `path`."""

    def __init__(self, path: Path, *, zipped: bool) -> None:
        self.path = path
        if not zipped:
            path.mkdir()
        # Stored, not packed: weights do not shrink, and what is not packed cannot be a bomb.
        self.archive = zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) if zipped else None

    @contextmanager
    def create(self, name: str) -> Iterator[IO[bytes]]:
        if self.archive is None:
            with (self.path / name).open("xb") as out:
                yield out
                out.flush()
                os.fsync(out.fileno())
        else:
            # The date is fixed, so that the same Bundle is the same ZIP.
            with self.archive.open(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), "w", force_zip64=True) as out:
                yield out

    def done(self) -> None:
        if self.archive is not None:
            self.archive.close()


@contextmanager
def _drafted(target: Path, overwrite: bool) -> Iterator[_Draft]:
    zipped = target.suffix.lower() == ".zip"
    if os.path.lexists(target):
        if not overwrite:
            raise WrongUse("exists already", path=target)
        Bundle.open(target, verify=False)  # only a Bundle makes room for a Bundle
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if zipped:
            with replacing(target) as path:
                draft = _Draft(path, zipped=True)
                try:
                    yield draft
                finally:
                    draft.done()
            return
        path = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
        try:
            yield _Draft(path, zipped=False)
            if os.path.lexists(target):
                old = path.with_suffix(".old")
                os.rename(target, old)
                os.rename(path, target)
                shutil.rmtree(old)
            else:
                os.rename(path, target)
        finally:
            shutil.rmtree(path, ignore_errors=True)
    except OSError as fault:
        raise EcgError(f"cannot be written: {fault.strerror or fault}", path=target) from None


def _write(out: IO[bytes], content: bytes | str | Path) -> Entry:
    digest, size = hashlib.sha256(), 0
    for chunk in _chunks(content):
        out.write(chunk)
        digest.update(chunk)
        size += len(chunk)
    return Entry(sha256=digest.hexdigest(), bytes=size)


def _chunks(content: bytes | str | Path) -> Iterator[bytes]:
    if isinstance(content, Path):
        with content.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                yield chunk
    else:
        yield content.encode() if isinstance(content, str) else content
