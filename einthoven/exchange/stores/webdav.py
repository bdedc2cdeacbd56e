"""WebDAV as a store: Nextcloud, ownCloud, Apache, `wsgidav`.

Reading is http.py's. A file is uploaded under a temporary name, its size is compared, then it is moved to its own name (MOVE is
atomic): a server or a client that dies half-way leaves a file that nobody looks at. User and password come from
EINTHOVEN_WEBDAV_USER and EINTHOVEN_WEBDAV_PASSWORD, or from the keyring (service "einthoven SERVER", as set by
`keyring set "einthoven cloud.example.org" USER`); they are never written to a file.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from einthoven.exchange.bundle import Bundle
from einthoven.exchange.stores.http import PAUSE_S, Again, HttpStore, blocks, secure
from einthoven.exchange.stores.store import INDEX, IndexedStore, Item, without_secrets
from einthoven.record import EcgError

if TYPE_CHECKING:
    import httpx
    from webdav4.client import Client


class WebDavStore(HttpStore):
    """The collection at davs://server/path (dav:// only on this machine). It is made when something is published."""

    def __init__(self, address: str, *, pause_s: float = PAUSE_S) -> None:
        self.address = without_secrets(address).rstrip("/")
        self.url = "http" + secure(self.address, plain="dav").removeprefix("dav")  # davs -> https
        self.pause_s = pause_s
        self._client: httpx.Client | None = None
        self._dav: Client | None = None

    @property
    def dav(self) -> Client:
        if self._dav is None:
            try:
                from webdav4.client import Client
            except ImportError as fault:
                raise EcgError(
                    f"WebDAV needs webdav4: pip install 'einthoven[exchange]' ({fault})", path=self.address
                ) from fault
            headers = {"User-Agent": "einthoven"}
            # verify: the certificate is always looked at. No retries of its own: `_patiently` knows when.
            self._dav = Client(
                self.url, auth=_credentials(self.address), retry=False, timeout=60.0, verify=True, headers=headers
            )
        return self._dav

    def _connect(self) -> httpx.Client:
        client: httpx.Client = self.dav.http
        return client

    def publish(self, bundle: Bundle) -> Item:
        self._collection()
        return IndexedStore.publish(self, bundle)

    def _upload(self, source: Path, name: str) -> None:
        size = source.stat().st_size
        if self._size(name) == size:
            return  # a name holds its content's hash: it is there already
        self._put(name, lambda: blocks(source), size)

    def _replace_index(self, data: bytes, mark: str) -> bool:
        # Compared, then moved: between the two somebody could write; `publish` reads the index back and tries again.
        if self._index()[1] != mark:
            return False
        self._put(INDEX, lambda: data, len(data))
        return True

    def _put(self, name: str, content: Callable[[], Any], size: int) -> None:
        draft = f".{name}.{secrets.token_hex(6)}.part"

        def once() -> None:
            # A length that is said, not chunks: several servers take no chunked upload.
            answer = self.client.put(f"{self.url}/{draft}", content=content(), headers={"Content-Length": str(size)})
            self._must(answer, name, 200, 201, 204)
            came = self._size(draft)
            if came != size:
                raise Again(f"{came} of {size:,} bytes arrived")

        def move() -> None:
            headers = {"Destination": f"{self.url}/{name}", "Overwrite": "T"}
            answer = self.client.request("MOVE", f"{self.url}/{draft}", headers=headers)
            if answer.status_code == 404 and self._size(name) == size:
                return  # the answer to the move before was lost
            self._must(answer, name, 201, 204)

        try:
            self._patiently(once)
            self._patiently(move)
        except BaseException:
            self._forget(draft)
            raise

    def _size(self, name: str) -> int | None:
        """Bytes of a file, None where there is none."""
        from webdav4.client import HTTPError, ResourceNotFound

        def ask() -> int | None:
            try:
                size: int | None = self.dav.content_length(name)
                return size
            except ResourceNotFound:
                return None
            except HTTPError as fault:
                self._must(fault.response, name)
                raise

        found: int | None = self._patiently(ask)
        return found

    def _collection(self) -> None:
        """Makes the collection where there is none; the one above it has to be there."""

        def make() -> None:
            answer = self.client.request("MKCOL", f"{self.url}/")
            # 405: it is there (RFC 4918, 9.3.1). Some servers answer 301 or 403 to that.
            if answer.status_code not in (405, 301, 403):
                self._must(answer, "the folder", 200, 201)

        self._patiently(make)

    def _forget(self, draft: str) -> None:
        """Removes what was left of a failed upload, if the server still listens; nobody looks at it if not."""
        import httpx

        try:
            self.client.delete(f"{self.url}/{draft}")
        except httpx.HTTPError:
            return


def _credentials(address: str) -> tuple[str, str] | None:
    user, password = os.environ.get("EINTHOVEN_WEBDAV_USER"), os.environ.get("EINTHOVEN_WEBDAV_PASSWORD")
    if user and password is not None:
        return user, password
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError:
        return None
    try:
        found = keyring.get_credential(f"einthoven {urlsplit(address).hostname}", user)
    except KeyringError:
        return None  # a machine without a keyring: the server says whether it wants a password
    return None if found is None else (found.username, found.password)
