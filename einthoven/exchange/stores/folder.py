"""A folder as a store: a network drive, a USB stick, what a web server serves."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from einthoven.exchange.stores.store import INDEX, MAX_INDEX, IndexedStore, Item
from einthoven.io.files import replacing
from einthoven.record import EcgError


class FolderStore(IndexedStore):
    """The folder `path`; it is made when something is published."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.address = str(path)

    def _index(self) -> tuple[bytes | None, str]:
        if not self.path.is_dir():
            raise EcgError("no such folder", path=self.path)
        try:
            with (self.path / INDEX).open("rb") as file:
                data = file.read(MAX_INDEX + 1)
        except FileNotFoundError:
            return None, ""
        except OSError as fault:
            raise EcgError(f"cannot be read: {fault.strerror or fault}", path=self.path / INDEX) from None
        return data, hashlib.sha256(data).hexdigest()

    def _download(self, item: Item, target: Path) -> None:
        try:
            shutil.copyfile(self.path / item.file, target)
        except OSError as fault:
            raise EcgError(f"cannot be read: {fault.strerror or fault}", path=self.path / item.file) from None

    def _upload(self, source: Path, name: str) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise EcgError(f"cannot be made: {fault.strerror or fault}", path=self.path) from None
        with replacing(self.path / name) as draft:
            shutil.copyfile(source, draft)

    def _replace_index(self, data: bytes, mark: str) -> bool:
        if self._index()[1] != mark:
            return False
        with replacing(self.path / INDEX) as draft:
            draft.write_bytes(data)
        return True
