"""Where Bundles are on this machine: those that ship with the package, those that were pulled, and anything by its path."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from einthoven.record import EcgError, WrongUse

if TYPE_CHECKING:
    from einthoven.exchange.bundle import Bundle  # pydantic's models come with it: whoever only looks for a path goes without

DEFAULT = "einthoven-12"  # what `einthoven predict` and `interpret` use where no model is named
SHIPPED = Path(__file__).resolve().parent.parent / "models" / "bundles"


def home() -> Path:
    """The user's folder of data: EINTHOVEN_HOME, or what the platform has for it (~/.local/share/einthoven)."""
    if named := os.environ.get("EINTHOVEN_HOME"):
        return Path(named).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / "einthoven"


def pulled() -> Path:
    """The folder of the models that were pulled."""
    return home() / "models"


def shelved() -> Iterator[tuple[str, Path]]:
    """(name, path) of every Bundle that is shipped or was pulled. A pulled one goes before a shipped one of the same name."""
    seen = set()
    for folder in (pulled(), SHIPPED):
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if (path / "manifest.json").is_file() and not path.name.startswith(".") and path.name not in seen:
                seen.add(path.name)
                yield path.name, path


def find(name: str | os.PathLike[str] | None = None) -> Path:
    """The Bundle of this name or path; None: the default one. Raises EcgError that says which there are.

    A path has a separator in it, ends in .zip, or is there; anything else is looked for among those pulled and shipped.
    """
    text = os.fspath(name) if name is not None else DEFAULT
    by_name = dict(shelved())
    if text in by_name:
        return by_name[text]
    if name is not None and os.path.exists(text):
        return Path(text)
    if os.sep in text or text.endswith(".zip"):
        raise EcgError("no such Bundle", path=text)
    have = ", ".join(by_name) or "none"
    raise WrongUse(f"no model {text!r} (shipped or pulled: {have}); `einthoven models pull STORE NAME` gets one")


def place(name: str) -> Path:
    """Where a pulled Bundle of this name goes."""
    from einthoven.exchange.manifest import plain_name

    try:
        return pulled() / plain_name(name)
    except ValueError as fault:
        raise WrongUse(str(fault)) from None


def load(name: str | os.PathLike[str] | None = None, *, verify: bool = True) -> Bundle:
    """`find`, opened."""
    from einthoven.exchange.bundle import Bundle

    return Bundle.open(find(name), verify=verify)
