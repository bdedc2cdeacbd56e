"""Public data sets from their official addresses: resumed, verified, safe to stop at any time.

Every file is written beside its final name as `NAME.part` and renamed once its checksum, as published by the data set itself,
agrees. A download that was stopped goes on where it was (HTTP Range, guarded by the ETag); files that were verified before are
not fetched again. Published lists are untrusted like any input: names stay inside the folder, sizes are bounded, an
address that leaves https is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import islice
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from einthoven.io.files import replacing
from einthoven.record import EcgError, WrongUse

if TYPE_CHECKING:
    import httpx

_LONGEST_LIST = 512 << 20  # bytes of a list of files; MIMIC-IV-ECG's, the longest here, has about 200 MB
_LONGEST_FILE = 64 << 30
_VERIFIED = ".verified.jsonl"  # what was verified here, by name, size and time of change
_LOCAL = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Origin:
    """Where a data set is published. `kind` says how its list of files and checksums is read: "physionet" (SHA256SUMS.txt
    beside the files), "zenodo" (record number), "figshare" (collection number), "by-hand" (its terms or its site allow no
    download by a program: `address` is where a person gets it)."""

    name: str
    kind: str
    address: str
    title: str
    licence: str


ORIGINS: Mapping[str, Origin] = MappingProxyType(
    {
        o.name: o
        for o in (
            Origin("ptbxl", "physionet", "https://physionet.org/files/ptb-xl/1.0.3/", "PTB-XL 1.0.3", "CC BY 4.0"),
            Origin(
                "challenge2021",
                "physionet",
                "https://physionet.org/files/challenge-2021/1.0.3/",
                "PhysioNet/CinC Challenge 2021 training sets 1.0.3",
                "CC BY 4.0",
            ),
            Origin(
                "challenge2020",
                "physionet",
                "https://physionet.org/files/challenge-2020/1.0.2/",
                "PhysioNet/CinC Challenge 2020 training sets 1.0.2",
                "CC BY 4.0",
            ),
            Origin(
                "mimic-iv-ecg", "physionet", "https://physionet.org/files/mimic-iv-ecg/1.0/", "MIMIC-IV-ECG 1.0", "ODbL 1.0"
            ),
            Origin("ludb", "physionet", "https://physionet.org/files/ludb/1.0.1/", "LUDB 1.0.1", "ODC-BY 1.0"),
            Origin(
                "chapman-ningbo",
                "physionet",
                "https://physionet.org/files/ecg-arrhythmia/1.0.0/",
                "Chapman-Shaoxing and Ningbo arrhythmia database 1.0.0",
                "CC BY 4.0",
            ),
            Origin("code15", "zenodo", "https://zenodo.org/api/records/4916206", "CODE-15% 1.0.0", "CC BY 4.0"),
            Origin(
                "sph",
                "figshare",
                "https://api.figshare.com/v2/collections/5779802/articles?page_size=100",
                "SPH, Shandong Provincial Hospital",
                "CC BY 4.0",
            ),
            Origin(
                "yang",
                "by-hand",
                "https://www.scidb.cn/en/detail?dataSetId=58c4a92d5a01414390a78160d335380d",
                "Yang et al., offline test set of multi-label ECG classification",
                "as its page says",
            ),
        )
    }
)


@dataclass(frozen=True, slots=True)
class Remote:
    """One published file: its name inside the set, where it is, its checksum ("sha256" or "md5", hex digits)."""

    name: str
    url: str
    algorithm: str
    digest: str


@dataclass(frozen=True)
class Fetched:
    """What a download did: files fetched now, bytes of them, files that were there already, and what failed, by name."""

    fetched: int
    bytes: int
    present: int
    failed: Mapping[str, str]


def get(
    name: str,
    out: Path,
    *,
    only: Sequence[str] = (),
    address: str | None = None,
    connections: int = 8,
    retries: int = 5,
    recheck: bool = False,
    on_file: Callable[[str, int, int], None] | None = None,
) -> Fetched:
    """Fetches the data set `name` (a key of ORIGINS) into the folder `out`, or what of it is not there yet.

    Args:
        only: patterns (`records100/*`, `*.csv`): files that match none are left out.
        address: another address with the same layout (a mirror, a hospital's proxy).
        connections: files fetched at once. retries: attempts a file, with growing pauses.
        recheck: hash the files that are there again, even if they were verified before.
        on_file: called after each file with its name, how many are done, and how many there are.

    A file that fails is named in the result, and the rest is fetched.

    Raises:
        EcgError: no such data set, one that only a person may fetch, or a list of files that cannot be had or read.
    """
    if name not in ORIGINS:
        raise WrongUse(f"no data set {name} to fetch (there are: {', '.join(ORIGINS)})")
    origin = ORIGINS[name]
    if origin.kind == "by-hand" and not address:
        raise WrongUse(f"{origin.title} cannot be fetched by a program: get it by hand", path=origin.address)
    import httpx

    out.mkdir(parents=True, exist_ok=True)
    limits = httpx.Limits(max_connections=connections)
    with httpx.Client(timeout=60, limits=limits, headers={"User-Agent": "einthoven"}) as client:
        files = [f for f in _listed(client, origin, address or origin.address) if _wanted(f.name, only)]
        if not files:
            raise EcgError(f"{origin.title}: no file matches {', '.join(only)}" if only else f"{origin.title}: an empty list")
        known = {} if recheck else _known(out)
        todo = [f for f in files if not _is_there(out, f, known)]
        failed: dict[str, str] = {}
        total = done = 0
        with ThreadPoolExecutor(connections) as pool, (out / _VERIFIED).open("a", encoding="utf-8") as book:
            left = iter(todo)
            waiting = {pool.submit(_fetch, client, f, out, retries): f for f in islice(left, 4 * connections)}
            while waiting:
                for finished in wait(waiting, return_when=FIRST_COMPLETED).done:
                    file = waiting.pop(finished)
                    done += 1
                    try:
                        total += finished.result()
                        book.write(json.dumps(_entry(out, file)) + "\n")
                        book.flush()
                    except EcgError as fault:
                        failed[file.name] = fault.what
                    if on_file:
                        on_file(file.name, done + len(files) - len(todo), len(files))
                    # a window, since a set may have a million files
                    waiting |= {pool.submit(_fetch, client, f, out, retries): f for f in islice(left, 1)}
    return Fetched(len(todo) - len(failed), total, len(files) - len(todo), MappingProxyType(failed))


# ---- lists of files -----------------------------------------------------------------------------------------------------


def _listed(client: httpx.Client, origin: Origin, address: str) -> list[Remote]:
    """The published list of files, names checked."""
    try:
        files = list({"physionet": _physionet, "zenodo": _zenodo, "figshare": _figshare}[origin.kind](client, address))
    except (KeyError, TypeError, ValueError, AttributeError) as fault:
        raise EcgError(f"{origin.title}: its list of files is not as expected ({fault!r})", path=address) from fault
    for file in files:
        parts = PurePosixPath(file.name).parts
        if (
            not parts
            or file.name.startswith("/")
            or ".." in parts
            or "\\" in file.name
            or ":" in file.name
            or "\0" in file.name
        ):
            raise EcgError(f"{origin.title}: its list names {file.name!r}, which leaves the folder", path=address)
    return files


def _physionet(client: httpx.Client, address: str) -> Iterator[Remote]:
    base = address.rstrip("/") + "/"
    for line in _text(client, base + "SHA256SUMS.txt").splitlines():
        if line.strip():
            digest, name = line.split(maxsplit=1)
            if not re.fullmatch("[0-9a-fA-F]{64}", digest):
                raise ValueError(f"{digest!r} is no SHA-256")
            name = name.lstrip("*")
            yield Remote(name, base + quote(name), "sha256", digest.lower())


def _zenodo(client: httpx.Client, address: str) -> Iterator[Remote]:
    for file in json.loads(_text(client, address))["files"]:
        algorithm, _, digest = file["checksum"].partition(":")
        yield Remote(file["key"], file["links"]["self"], algorithm, digest.lower())


def _figshare(client: httpx.Client, address: str) -> Iterator[Remote]:
    for article in json.loads(_text(client, address)):
        for file in json.loads(_text(client, article["url"]))["files"]:
            digest = file.get("computed_md5") or file["supplied_md5"]
            yield Remote(file["name"], file["download_url"], "md5", digest.lower())


def _text(client: httpx.Client, url: str) -> str:
    import httpx

    content = bytearray()
    try:
        with _open(client, url, {}) as answer:
            if answer.status_code != 200:
                raise EcgError(f"the server answers {answer.status_code} {answer.reason_phrase}", path=url)
            for block in answer.iter_bytes():
                content += block
                if len(content) > _LONGEST_LIST:
                    raise EcgError("the list of files has no end", path=url)
    except httpx.HTTPError as fault:
        raise EcgError(f"cannot be reached ({fault or type(fault).__name__})", path=url) from fault
    return content.decode("utf-8")


def _wanted(name: str, only: Sequence[str]) -> bool:
    return not only or any(fnmatch(name, pattern) for pattern in only)


# ---- what is there ------------------------------------------------------------------------------------------------------


def _known(out: Path) -> dict[str, dict[str, Any]]:
    known: dict[str, dict[str, Any]] = {}
    if (out / _VERIFIED).exists():
        for line in (out / _VERIFIED).read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
                known[entry["name"]] = entry
            except (ValueError, KeyError, TypeError):
                continue  # a line that a killed run left half-written: its file is simply verified again
    return known


def _entry(out: Path, file: Remote) -> dict[str, Any]:
    stat = (out / file.name).stat()
    return {"name": file.name, "size": stat.st_size, "changed": stat.st_mtime_ns, "digest": file.digest}


def _is_there(out: Path, file: Remote, known: Mapping[str, dict[str, Any]]) -> bool:
    path = out / file.name
    if not path.is_file():
        return False
    if known.get(file.name) == _entry(out, file):
        return True
    with path.open("rb") as f:
        right = hashlib.file_digest(f, file.algorithm).hexdigest() == file.digest
    if right:
        with (out / _VERIFIED).open("a", encoding="utf-8") as book:
            book.write(json.dumps(_entry(out, file)) + "\n")
    return right


# ---- fetching -----------------------------------------------------------------------------------------------------------


def _fetch(client: httpx.Client, file: Remote, out: Path, retries: int) -> int:
    """One file to its place; -> bytes that travelled. Raises EcgError after the last attempt."""
    import httpx

    path = out / file.name
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    travelled, said = 0, ""
    for attempt in range(retries):
        if attempt:
            time.sleep(min(0.25 * 2**attempt, 30))
        try:
            travelled += _go_on(client, file.url, part)
        except httpx.HTTPError as fault:  # a connection that dies: the part stays, the next attempt goes on from it
            said = f"the connection failed ({fault or type(fault).__name__})"
            continue
        except _Refused as fault:
            said = str(fault)
            if fault.final:
                break
            continue
        with part.open("rb") as f:
            digest = hashlib.file_digest(f, file.algorithm).hexdigest()
        if digest == file.digest:
            os.replace(part, path)
            _etag(part).unlink(missing_ok=True)
            return travelled
        said = f"its {file.algorithm} is {digest}, published is {file.digest}"
        part.unlink()
        _etag(part).unlink(missing_ok=True)
    raise EcgError(said, path=file.url)


class _Refused(Exception):
    """The server answers, but not with the file. `final`: asking again is no use."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"the server answers {status} {reason}")
        self.final = 400 <= status < 500 and status not in (408, 416, 425, 429)


def _go_on(client: httpx.Client, url: str, part: Path) -> int:
    """Fetches what is missing of `part`; -> bytes that travelled."""
    have = part.stat().st_size if part.exists() else 0
    etag = _etag(part).read_text(encoding="utf-8") if _etag(part).exists() else ""
    headers = {"Range": f"bytes={have}-", "If-Range": etag} if have and etag else {}
    with _open(client, url, headers) as answer:
        if answer.status_code == 416:  # the part is as long as the file, or longer: its checksum decides
            answer.read()
            if answer.headers.get("content-range", "").endswith(f"/{have}"):
                return 0
            part.unlink()
            raise _Refused(416, "range not satisfiable")
        if answer.status_code not in (200, 206):
            raise _Refused(answer.status_code, answer.reason_phrase)
        if answer.status_code == 200:
            have = 0
            said = answer.headers.get("etag", "")
            if said and not said.startswith("W/"):  # a weak ETag does not promise the same bytes (RFC 9110, 13.1.5)
                with replacing(_etag(part)) as draft:
                    draft.write_text(said, encoding="utf-8")
            else:
                _etag(part).unlink(missing_ok=True)
        travelled = 0
        with part.open("ab" if have else "wb") as f:
            for block in answer.iter_raw():  # as it comes: what has come is kept when the connection dies
                f.write(block)
                travelled += len(block)
                if have + travelled > _LONGEST_FILE:
                    raise EcgError(f"longer than {_LONGEST_FILE >> 30} GiB", path=url)
    return travelled


def _etag(part: Path) -> Path:
    return part.with_name(part.name + ".etag")


def _open(client: httpx.Client, url: str, headers: dict[str, str]) -> Any:
    """A streamed GET that follows redirects, but only along https (or on this machine itself)."""
    from contextlib import contextmanager

    @contextmanager
    def opened() -> Iterator[httpx.Response]:
        at = url
        for _ in range(6):
            where = urlsplit(at)
            if where.scheme != "https" and where.hostname not in _LOCAL:
                raise EcgError(f"refused: {at} is not https", path=url)
            # identity: the checksum and the byte ranges are of the file, not of a compressed form of it
            with client.stream("GET", at, headers={"Accept-Encoding": "identity", **headers}) as answer:
                if answer.has_redirect_location and answer.next_request is not None:
                    at = str(answer.next_request.url)
                    continue
                yield answer
                return
        raise EcgError("too many redirects", path=url)

    return opened()
