"""`Store`: a place that has Bundles. Most keep them as ZIPs beside an index.json that names each with its SHA-256."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, field_validator

from einthoven.exchange.bundle import Bundle
from einthoven.exchange.manifest import Part, Task, plain_name
from einthoven.record import EcgError, WrongUse

INDEX = "index.json"
MAX_INDEX = 16 << 20  # bytes
MAX_BUNDLE = 8 << 30  # bytes of one that is fetched
_TRIES = 5  # to change an index that others change, too


class Item(Part):
    """One Bundle of a store: `file` the ZIP beside the index, its size and SHA-256; `digest` that of the manifest in it."""

    name: str
    version: str = "1"
    file: str
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    summary: str = ""
    task: Task
    labels: tuple[str, ...]
    licence: str
    created: str = ""

    @field_validator("name", "version", "file")
    @classmethod
    def _is_name(cls, name: str) -> str:
        return plain_name(name)


class Listing(Part):
    """index.json."""

    schema_version: Literal[1] = 1
    bundles: tuple[Item, ...] = ()

    def to_json(self) -> bytes:
        return (json.dumps(self.model_dump(mode="json"), ensure_ascii=False, indent=1) + "\n").encode()


class Store(ABC):
    """A place that has Bundles. `address` as the user gave it, without secrets."""

    address: str

    @abstractmethod
    def list(self) -> tuple[Item, ...]:
        """What there is, by name. Raises EcgError where the place cannot be reached or its index is none."""

    @abstractmethod
    def fetch(self, name: str, target: Path) -> Bundle:
        """Puts the Bundle `name` into the folder `target`, verified, whole or not at all; one that is there is replaced.

        Raises EcgError: no such Bundle, the connection stays dead, or what came is not what the index promised.
        """

    @abstractmethod
    def publish(self, bundle: Bundle) -> Item:
        """Adds a Bundle; one of the same name is replaced in the index. Raises EcgError where that is not possible."""

    def item(self, name: str) -> Item:
        """The Bundle of this name. Raises EcgError, which lists them, where there is none."""
        items = {item.name: item for item in self.list()}
        if name not in items:
            raise WrongUse(f"no model {name[:80]!r} (there are: {', '.join(items) or 'none'})", path=self.address)
        return items[name]


class IndexedStore(Store):
    """A Store of ZIPs and an index.json. What a place has to do for it: give and take files, whole or not at all."""

    @abstractmethod
    def _index(self) -> tuple[bytes | None, str]:
        """index.json (None: there is none yet), and a mark that changes when it does."""

    @abstractmethod
    def _download(self, item: Item, target: Path) -> None:
        """Puts the ZIP of `item` to `target`; its hash is checked by whoever called."""

    @abstractmethod
    def _upload(self, source: Path, name: str) -> None:
        """Puts `source` beside the index as `name`, under which nobody ever sees half of it."""

    @abstractmethod
    def _replace_index(self, data: bytes, mark: str) -> bool:
        """Puts a new index in place of the one that had `mark`. False: somebody else was faster."""

    def list(self) -> tuple[Item, ...]:
        return self._listing()[0].bundles

    def fetch(self, name: str, target: Path) -> Bundle:
        item = self.item(name)
        if item.bytes > MAX_BUNDLE:
            raise EcgError(f"{item.bytes:,} bytes are more than one Bundle may have ({MAX_BUNDLE:,})", path=self.address)
        with tempfile.TemporaryDirectory() as folder:
            packed = Path(folder) / "bundle.zip"
            self._download(item, packed)
            check(packed, item, self.address)
            bundle = Bundle.open(packed)
            if bundle.manifest.name != item.name or bundle.digest != item.digest:
                raise EcgError(f"{item.file} is another Bundle than the index says", path=self.address)
            return bundle.copy(target, overwrite=True)

    def publish(self, bundle: Bundle) -> Item:
        with tempfile.TemporaryDirectory() as folder:
            packed = bundle.copy(Path(folder) / "bundle.zip").path
            item = described(bundle, packed)
            self._upload(packed, item.file)
        for _ in range(_TRIES):
            listing, mark = self._listing()
            others = tuple(other for other in listing.bundles if other.name != item.name)
            bundles = tuple(sorted((*others, item), key=lambda one: one.name))
            if self._replace_index(Listing(bundles=bundles).to_json(), mark) and item in self.list():
                return item
        raise EcgError(
            f"the index changes faster than it can be written; {item.file} is uploaded, try again", path=self.address
        )

    def _listing(self) -> tuple[Listing, str]:
        data, mark = self._index()
        return (Listing() if data is None else parse(data, self.address)), mark


def described(bundle: Bundle, packed: Path) -> Item:
    """What an index says of a Bundle and its ZIP. The file's name holds its hash: another content is another file."""
    said = bundle.manifest
    sha256 = sha256_of(packed)
    return Item(
        name=said.name,
        version=said.version,
        file=f"{said.name[:50]}-{sha256[:16]}.zip",
        bytes=packed.stat().st_size,
        sha256=sha256,
        digest=bundle.digest,
        summary=said.summary[:500],
        task=said.task,
        labels=said.names[:500],
        licence=said.licence,
        created=said.created,
    )


def parse(data: bytes, address: str) -> Listing:
    """An index.json. Raises EcgError that names what is wrong."""
    if len(data) > MAX_INDEX:
        raise EcgError(f"its {INDEX} has more than {MAX_INDEX:,} bytes", path=address)
    try:
        listing = Listing.model_validate_json(data)
    except ValidationError as fault:
        first = fault.errors(include_url=False, include_input=False)[0]
        raise EcgError(
            f"not an index of Bundles: {first['msg']}", path=address, where=".".join(map(str, first["loc"]))
        ) from None
    names = [item.name for item in listing.bundles]
    if len(set(names)) != len(names):
        raise EcgError("its index names a Bundle twice", path=address)
    return listing


def check(path: Path, item: Item, address: str) -> None:
    """Raises EcgError where the file is not the one that the index promises."""
    size = path.stat().st_size
    found = sha256_of(path) if size == item.bytes else ""
    if found != item.sha256:
        told = f"its SHA-256 is {found}, the index says {item.sha256}" if found else f"{size:,} bytes instead of {item.bytes:,}"
        raise EcgError(f"{item.file} is not what the index says: {told}", path=address)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def without_secrets(address: str) -> str:
    """The address, which must not have a password in it: it would stay in the shell's history and in every message."""
    if re.match(r"[a-z]+://[^/]*@", address):
        raise EcgError(
            "a user or a password does not belong into an address: set EINTHOVEN_WEBDAV_USER and EINTHOVEN_WEBDAV_PASSWORD, "
            "or store them in the keyring",
            path=re.sub(r"//[^/]*@", "//", address),
        )
    return address
