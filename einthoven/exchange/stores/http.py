"""A web server as a store, read only: index.json and the ZIPs it names, over TLS.

A download that is cut off goes on where it was (Range, guarded by the ETag with If-Range, RFC 9110), now or when the command
is given again: what has come lies in the user's folder under the SHA-256 that it is going to have. The index is asked for with
the ETag of the one that is known, so that nothing travels when nothing changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from einthoven.exchange import shelf
from einthoven.exchange.bundle import Bundle
from einthoven.exchange.stores.store import INDEX, MAX_INDEX, IndexedStore, Item, sha256_of, without_secrets
from einthoven.io.files import replacing
from einthoven.record import EcgError

if TYPE_CHECKING:
    import httpx

TRIES = 6  # in a row without a byte
PAUSE_S = 0.25  # before the second try, then twice as long each time
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Again(Exception):
    """What may go better the next time: a connection that died, a server that is busy."""


class HttpStore(IndexedStore):
    """The folder of a web server that has an index.json."""

    def __init__(self, address: str, *, pause_s: float = PAUSE_S) -> None:
        self.address = without_secrets(address).rstrip("/")
        self.url = secure(self.address)
        self.pause_s = pause_s
        self._client: httpx.Client | None = None

    @property
    def client(self) -> httpx.Client:
        if self._client is None:
            self._client = self._connect()
        return self._client

    def _connect(self) -> httpx.Client:
        import httpx

        # Redirects are not followed: they could lead away from https, or take a password elsewhere.
        return httpx.Client(timeout=30.0, headers={"User-Agent": "einthoven"})

    def _index(self) -> tuple[bytes | None, str]:
        kept = shelf.home() / "cache" / "index" / f"{hashlib.sha256(self.url.encode()).hexdigest()}.json"
        known = _cached(kept)
        headers = {"If-None-Match": known["etag"]} if known else {}

        def ask() -> tuple[bytes | None, str]:
            with self._get(INDEX, headers) as answer:
                if answer.status_code == 304 and known:
                    return known["body"].encode(), known["etag"]
                if answer.status_code == 404:
                    return None, ""
                self._must(answer, INDEX, 200)
                data = b""
                for block in answer.iter_bytes():
                    data += block
                    if len(data) > MAX_INDEX:
                        raise EcgError(f"its {INDEX} has more than {MAX_INDEX:,} bytes", path=self.address)
                return data, answer.headers.get("etag", "")

        data, etag = self._patiently(ask)
        if data is not None and etag and not (known and known["etag"] == etag):
            with contextlib.suppress(UnicodeDecodeError):  # not an index: told by whoever parses it
                kept.parent.mkdir(parents=True, exist_ok=True)
                with replacing(kept) as draft:
                    draft.write_text(json.dumps({"etag": etag, "body": data.decode()}), encoding="utf-8")
        return data, etag or ("" if data is None else hashlib.sha256(data).hexdigest())

    def _download(self, item: Item, target: Path) -> None:
        part = shelf.home() / "cache" / "parts" / f"{item.sha256}.part"
        part.parent.mkdir(parents=True, exist_ok=True)
        note = part.with_suffix(".etag")
        for fresh in (False, True):
            if fresh:  # it came wrong, perhaps put together from pieces of two files: once more, from the beginning
                part.unlink(missing_ok=True)
                note.unlink(missing_ok=True)
            self._fill(item, part, note)
            if sha256_of(part) == item.sha256:
                break
        shutil.move(part, target)
        note.unlink(missing_ok=True)

    def _fill(self, item: Item, part: Path, note: Path) -> None:
        """Fetches what is missing of `part`."""
        import httpx

        fails = 0
        while True:
            have = part.stat().st_size if part.exists() else 0
            if have > item.bytes:
                part.unlink()
                have = 0
            if have == item.bytes and part.exists():
                return
            etag = note.read_text(encoding="utf-8") if have and note.exists() else ""
            try:
                self._piece(item, part, note, have if etag else 0, etag)
            except (Again, httpx.TransportError) as fault:
                # As long as something comes, there is no reason to give up.
                fails = 0 if part.exists() and part.stat().st_size > have else fails + 1
                if fails >= TRIES:
                    raise EcgError(
                        f"{item.file}: the connection fails: {fault or type(fault).__name__}", path=self.address
                    ) from None
                time.sleep(self.pause_s * 2**fails)

    def _piece(self, item: Item, part: Path, note: Path, have: int, etag: str) -> None:
        # identity: hashes and ranges are those of the file, not of a packed form of it
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-", "If-Range": etag} if have else {})
        with self._get(item.file, headers) as answer:
            self._must(answer, item.file, 200, 206)
            if answer.status_code == 206 and not answer.headers.get("content-range", "").startswith(f"bytes {have}-"):
                note.unlink(missing_ok=True)  # not the range that was asked for: from the beginning, without one
                raise Again("the server answers with another range")
            if answer.status_code == 200:
                have = 0
                said = answer.headers.get("etag", "")
                if said and not said.startswith("W/"):  # a weak ETag does not promise the same bytes
                    note.write_text(said, encoding="utf-8")
                else:
                    note.unlink(missing_ok=True)
            with part.open("r+b" if have else "wb") as out:
                out.seek(have)
                for block in answer.iter_raw():
                    have += len(block)
                    if have > item.bytes:
                        raise EcgError(f"{item.file} is longer than the {item.bytes:,} bytes of the index", path=self.address)
                    out.write(block)
                    out.flush()
            if have < item.bytes:
                raise Again(f"{have:,} of {item.bytes:,} bytes came")

    def _upload(self, source: Path, name: str) -> None:
        raise EcgError("a web server is read only: publish to a folder, davs:// or hf://", path=self.address)

    def _replace_index(self, data: bytes, mark: str) -> bool:
        raise EcgError("a web server is read only", path=self.address)

    def publish(self, bundle: Bundle) -> Item:
        raise EcgError("a web server is read only: publish to a folder, davs:// or hf://", path=self.address)

    # ---- one request ----------------------------------------------------------------------------------------------------

    def _get(self, name: str, headers: Mapping[str, str]) -> Any:
        return self.client.stream("GET", f"{self.url}/{name}", headers=dict(headers))

    def _must(self, answer: httpx.Response, name: str, *good: int) -> None:
        status = answer.status_code
        if status in good:
            return
        if status in (408, 425, 429) or (status >= 500 and status != 501):
            raise Again(f"the server answers {status} {answer.reason_phrase}")
        why = {401: "wants a user and a password", 403: "does not allow it", 404: "has no such file"}.get(status, "")
        if answer.has_redirect_location:
            why = f"redirects to {answer.headers.get('location', '')[:200]}; if that is right, give that address"
        told = f"{name}: the server answers {status} {answer.reason_phrase}" + (f" ({why})" if why else "")
        raise EcgError(told, path=self.address)

    def _patiently(self, ask: Any) -> Any:
        """`ask()`, again where the connection dies."""
        import httpx

        for attempt in range(TRIES):
            try:
                return ask()
            except (Again, httpx.TransportError) as fault:
                if attempt + 1 == TRIES:
                    told = f"cannot be reached: {fault or type(fault).__name__}"
                    raise EcgError(told, path=self.address) from None
                time.sleep(self.pause_s * 2**attempt)


def secure(address: str, *, plain: str = "http") -> str:
    """The address, where it is encrypted or on this machine itself. Raises EcgError otherwise."""
    where = urlsplit(address)
    if not where.hostname:
        raise EcgError("an address without a server", path=address)
    if where.scheme == plain and where.hostname not in _LOOPBACK:
        raise EcgError(f"refused: {plain}:// is not encrypted", path=address)
    return address


def _cached(path: Path) -> dict[str, str] | None:
    try:
        words = json.loads(path.read_text(encoding="utf-8"))
        return {"etag": str(words["etag"]), "body": str(words["body"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None  # none yet, or one that somebody broke: the server has it


def blocks(path: Path, size: int = 1 << 18) -> Iterator[bytes]:
    """A file piece by piece."""
    with path.open("rb") as file:
        while block := file.read(size):
            yield block
