"""Where Bundles are handed on: one small interface (`Store`: list, fetch, publish), one file per kind of place.

folder      a path, a network drive                     /srv/models, file:///srv/models
http        read only, any web server                   https://example.org/models
webdav      Nextcloud and the like, read and write      davs://cloud.example.org/remote.php/dav/files/me/models
hub         a repository of the Hugging Face Hub        hf://owner/name
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from einthoven.exchange.stores.store import Item, Store
from einthoven.record import WrongUse

__all__ = ["Item", "Store", "open_store"]


def open_store(address: str | os.PathLike[str]) -> Store:
    """The store at an address; nothing is asked of it yet. Raises EcgError for an address that names none."""
    text = os.fspath(address)
    scheme = urlsplit(text).scheme if "://" in text else ""
    if scheme in ("", "file"):
        from einthoven.exchange.stores.folder import FolderStore

        return FolderStore(Path(urlsplit(text).path if scheme else text))
    if scheme in ("https", "http"):
        from einthoven.exchange.stores.http import HttpStore

        return HttpStore(text)
    if scheme in ("davs", "dav"):
        from einthoven.exchange.stores.webdav import WebDavStore

        return WebDavStore(text)
    if scheme == "hf":
        from einthoven.exchange.stores.hub import HubStore

        return HubStore(text)
    raise WrongUse("no kind of store has this address (a folder, https://, davs:// or hf://)", path=text)
