"""The Hugging Face Hub as a store: a repository is one Bundle, its files as they are, with the card as README.md.

    hf://owner/name, or hf://owner/name@revision

Needs huggingface_hub, which brings transfer, resume, cache and its own credentials (HF_TOKEN, or `hf auth login`). What it
downloads is verified against the manifest like everything else. `write_layout` and `read_layout` need neither: a folder in this
layout can be pushed with git.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from einthoven.exchange import card
from einthoven.exchange.bundle import MANIFEST, MAX_MANIFEST, Bundle, check_name
from einthoven.exchange.manifest import Manifest
from einthoven.exchange.stores.store import MAX_BUNDLE, Item, Store, sha256_of
from einthoven.record import EcgError, WrongUse

README = "README.md"
_ADDRESS = re.compile(r"hf://([A-Za-z0-9._-]+/[A-Za-z0-9._-]+)(?:@([A-Za-z0-9._/-]+))?")


class HubStore(Store):
    """One repository of the Hub."""

    def __init__(self, address: str) -> None:
        found = _ADDRESS.fullmatch(address.rstrip("/"))
        if not found:
            raise WrongUse("a repository of the Hub is hf://owner/name or hf://owner/name@revision", path=address)
        self.address = address
        self.repository, self.revision = found[1], found[2]

    def list(self) -> tuple[Item, ...]:
        with tempfile.TemporaryDirectory() as folder:
            path = self._file(_hub(self.address), MANIFEST, Path(folder))
            return (_item(_manifest(path), path),)

    def fetch(self, name: str, target: Path) -> Bundle:
        hub = _hub(self.address)
        with tempfile.TemporaryDirectory() as folder:
            manifest = _manifest(self._file(hub, MANIFEST, Path(folder)))
            if manifest.name != name:
                raise WrongUse(f"no model {name[:80]!r} (there is: {manifest.name})", path=self.address)
            if (size := sum(entry.bytes for entry in manifest.files.values())) > MAX_BUNDLE:
                raise EcgError(f"{size:,} bytes are more than one Bundle may have ({MAX_BUNDLE:,})", path=self.address)
            sizes = self._sizes(hub)
            for file, entry in manifest.files.items():
                check_name(file, self.address)
                if sizes.get(file) != entry.bytes:  # before it is downloaded
                    raise EcgError(f"{sizes.get(file)} bytes, the manifest says {entry.bytes}", path=self.address, where=file)
                self._file(hub, file, Path(folder))
            return read_layout(Path(folder), target)

    def publish(self, bundle: Bundle) -> Item:
        hub = _hub(self.address)
        with tempfile.TemporaryDirectory() as folder:
            layout = write_layout(bundle, Path(folder) / "repository")
            try:
                hub.HfApi().create_repo(self.repository, exist_ok=True)
                # One commit: nobody sees half of it. Files of an earlier Bundle go in the same commit.
                hub.HfApi().upload_folder(
                    repo_id=self.repository,
                    folder_path=layout,
                    revision=self.revision,
                    commit_message=f"{bundle.manifest.name} {bundle.manifest.version}",
                    delete_patterns=["*"],
                )
            except (OSError, ValueError) as fault:  # HfHubHTTPError is an OSError; no token, no right, no network
                raise EcgError(f"the Hub does not take it: {fault}", path=self.address) from None
            return _item(bundle.manifest, layout / MANIFEST)

    def _file(self, hub: Any, name: str, folder: Path) -> Path:
        try:
            return Path(hub.hf_hub_download(self.repository, name, revision=self.revision, local_dir=folder))
        except (OSError, ValueError) as fault:
            raise EcgError(f"cannot be fetched: {fault}", path=self.address, where=name) from None

    def _sizes(self, hub: Any) -> dict[str, int]:
        try:
            about = hub.HfApi().model_info(self.repository, revision=self.revision, files_metadata=True)
        except (OSError, ValueError) as fault:
            raise EcgError(f"cannot be reached: {fault}", path=self.address) from None
        return {one.rfilename: int(one.size or 0) for one in about.siblings or ()}


def write_layout(bundle: Bundle, folder: Path) -> Path:
    """The Bundle as a folder in the layout of a Hub repository: its files, and the card with front matter as README.md."""
    bundle.copy(folder)
    (folder / README).write_text(card.readme(bundle.manifest), encoding="utf-8")
    return folder


def read_layout(folder: Path, target: Path) -> Bundle:
    """The Bundle in a folder of that layout, copied to `target`, verified; whatever else a repository has is left behind."""
    manifest = _manifest(folder / MANIFEST)
    with tempfile.TemporaryDirectory() as inner:
        for name in (MANIFEST, *manifest.files):
            check_name(name, folder)
            source = folder / name
            if source.is_symlink() or not source.is_file():
                raise EcgError("the manifest names it, but it is not there", path=folder, where=name)
            shutil.copyfile(source, Path(inner) / name)
        return Bundle.open(inner).copy(target, overwrite=True)


def _manifest(path: Path) -> Manifest:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_MANIFEST + 1)
    except OSError as fault:
        raise EcgError(f"cannot be read: {fault.strerror or fault}", path=path) from None
    if len(text) > MAX_MANIFEST:
        raise EcgError(f"more than {MAX_MANIFEST:,} bytes", path=path)
    return Manifest.from_json(text, path)


def _item(manifest: Manifest, path: Path) -> Item:
    """What an index would say. There is no ZIP: the manifest is the file, and stands for all the others."""
    digest = sha256_of(path)
    return Item(
        name=manifest.name,
        version=manifest.version,
        file=MANIFEST,
        bytes=sum(entry.bytes for entry in manifest.files.values()),
        sha256=digest,
        digest=digest,
        summary=manifest.summary[:500],
        task=manifest.task,
        labels=manifest.names[:500],
        licence=manifest.licence,
        created=manifest.created,
    )


def _hub(address: str) -> Any:
    try:
        import huggingface_hub
    except ImportError as fault:
        raise EcgError(f"the Hub needs huggingface_hub: pip install 'einthoven[exchange]' ({fault})", path=address) from fault
    return huggingface_hub
