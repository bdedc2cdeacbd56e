"""Downloads against a server on this machine that breaks off, lies, and remembers what it was asked."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from einthoven.data import get as room
from einthoven.data.get import ORIGINS, get
from einthoven.record import EcgError


@dataclass
class Site:
    """Files by path; `cut` paths break off after so many bytes, once; `asked` is what was asked for, with its Range."""

    files: dict[str, bytes]
    cut: dict[str, int] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    address: str = ""

    def sums(self) -> None:
        """The list of checksums as PhysioNet publishes it."""
        lines = (f"{hashlib.sha256(b).hexdigest()} {n}\n" for n, b in self.files.items() if n != "SHA256SUMS.txt")
        self.files["SHA256SUMS.txt"] = "".join(lines).encode()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    rng = np.random.default_rng(0)
    s = Site({"RECORDS": b"a/1\n", "a/1.dat": rng.bytes(300_000), "a/1.hea": b"1 12 100 1000\n", "b c/2.dat": rng.bytes(5000)})
    s.sums()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            from urllib.parse import unquote

            name = unquote(self.path.lstrip("/"))
            s.asked.append((name, self.headers.get("Range")))
            if name in s.moved:
                self.send_response(302)
                self.send_header("Location", s.moved[name])
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if name not in s.files:
                self.send_error(404)
                return
            body = s.files[name]
            etag = f'"{hashlib.md5(body).hexdigest()}"'
            start, asked = 0, self.headers.get("Range")
            if s.ranges and asked and self.headers.get("If-Range") in (None, etag):
                start = int(asked.removeprefix("bytes=").rstrip("-"))
                if start >= len(body):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(body)}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            else:
                self.send_response(200)
            self.send_header("ETag", etag)
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            end = s.cut.pop(name, len(body))
            self.wfile.write(body[start:end])
            if end < len(body):
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    s.address = f"http://127.0.0.1:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    monkeypatch.setattr(room.time, "sleep", lambda _: None)
    yield s
    server.shutdown()
    server.server_close()


def there(out: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file() and not p.name.startswith(".")
    }


def published(site: Site) -> dict[str, bytes]:
    return {n: b for n, b in site.files.items() if n != "SHA256SUMS.txt"}


def test_everything_arrives_and_is_not_fetched_twice(site: Site, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    got = get("ptbxl", tmp_path, address=site.address, on_file=lambda _, done, of: told.append((done, of)))
    assert there(tmp_path) == published(site)
    assert (got.fetched, got.present, dict(got.failed)) == (4, 0, {})
    assert got.bytes == sum(map(len, published(site).values()))
    assert sorted(told) == [(1, 4), (2, 4), (3, 4), (4, 4)]
    site.asked.clear()
    again = get("ptbxl", tmp_path, address=site.address)
    assert (again.fetched, again.present) == (0, 4)
    assert [name for name, _ in site.asked] == ["SHA256SUMS.txt"]


def test_a_connection_that_dies_is_gone_on_with(site: Site, tmp_path: Path) -> None:
    site.cut["a/1.dat"] = 100_000
    get("ptbxl", tmp_path, address=site.address)
    assert there(tmp_path) == published(site)
    ranges = [r for n, r in site.asked if n == "a/1.dat"]
    assert ranges == [None, "bytes=100000-"]


def test_a_download_that_was_killed_goes_on_where_it_was(site: Site, tmp_path: Path) -> None:
    site.cut["a/1.dat"] = 100_000
    first = get("ptbxl", tmp_path, address=site.address, retries=1)
    assert list(first.failed) == ["a/1.dat"]
    assert (tmp_path / "a/1.dat.part").stat().st_size == 100_000
    assert not (tmp_path / "a/1.dat").exists()
    site.asked.clear()
    second = get("ptbxl", tmp_path, address=site.address, retries=1)
    assert second.bytes == 200_000
    assert ("a/1.dat", "bytes=100000-") in site.asked
    assert there(tmp_path) == published(site)


def test_a_file_that_changed_meanwhile_is_fetched_anew(site: Site, tmp_path: Path) -> None:
    site.cut["a/1.dat"] = 100_000
    get("ptbxl", tmp_path, address=site.address, retries=1)
    site.files["a/1.dat"] = np.random.default_rng(1).bytes(200_000)
    site.sums()
    get("ptbxl", tmp_path, address=site.address)
    assert there(tmp_path) == published(site)


def test_a_server_without_ranges_starts_over(site: Site, tmp_path: Path) -> None:
    site.ranges = False
    site.cut["a/1.dat"] = 100_000
    get("ptbxl", tmp_path, address=site.address)
    assert there(tmp_path) == published(site)


def test_wrong_bytes_are_never_kept(site: Site, tmp_path: Path) -> None:
    site.files["a/1.hea"] = b"1 12 100 9999\n"  # not what SHA256SUMS.txt promises
    got = get("ptbxl", tmp_path, address=site.address, retries=2)
    assert list(got.failed) == ["a/1.hea"]
    assert "sha256" in got.failed["a/1.hea"]
    assert "a/1.hea" not in there(tmp_path)
    assert got.fetched == 3


def test_a_file_damaged_later_is_found_and_mended(site: Site, tmp_path: Path) -> None:
    get("ptbxl", tmp_path, address=site.address)
    (tmp_path / "a/1.hea").write_bytes(b"damaged")
    got = get("ptbxl", tmp_path, address=site.address)
    assert (got.fetched, got.present) == (1, 3)
    assert there(tmp_path) == published(site)


def test_only_what_is_asked_for(site: Site, tmp_path: Path) -> None:
    get("ptbxl", tmp_path, address=site.address, only=["a/*"])
    assert set(there(tmp_path)) == {"a/1.dat", "a/1.hea"}
    with pytest.raises(EcgError, match="no file matches"):
        get("ptbxl", tmp_path, address=site.address, only=["nothing*"])


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "a/../../outside", "a\\..\\outside", "C:outside"])
def test_a_list_cannot_leave_the_folder(site: Site, tmp_path: Path, name: str) -> None:
    site.files["SHA256SUMS.txt"] += f"{'0' * 64} {name}\n".encode()
    with pytest.raises(EcgError, match="leaves the folder"):
        get("ptbxl", tmp_path / "out", address=site.address)
    assert there(tmp_path) == {}


def test_plain_http_elsewhere_is_refused(site: Site, tmp_path: Path) -> None:
    with pytest.raises(EcgError, match="not https"):
        get("ptbxl", tmp_path, address="http://example.org/ptb-xl/")
    site.moved["a/1.hea"] = "http://example.org/1.hea"
    got = get("ptbxl", tmp_path, address=site.address)
    assert "not https" in got.failed["a/1.hea"]


def test_redirects_on_the_way_are_followed(site: Site, tmp_path: Path) -> None:
    site.files["elsewhere"] = site.files["a/1.hea"]
    site.moved["a/1.hea"] = site.address + "elsewhere"
    get("ptbxl", tmp_path, address=site.address, only=["a/1.hea"])
    assert there(tmp_path) == {"a/1.hea": b"1 12 100 1000\n"}


def test_zenodo(site: Site, tmp_path: Path) -> None:
    body = b"exam_id,age\n1,60\n"
    site.files["exams.csv"] = body
    listed = {
        "key": "exams.csv",
        "checksum": f"md5:{hashlib.md5(body).hexdigest()}",
        "links": {"self": site.address + "exams.csv"},
    }
    site.files["record"] = json.dumps({"files": [listed]}).encode()
    get("code15", tmp_path, address=site.address + "record")
    assert there(tmp_path) == {"exams.csv": body}


def test_figshare(site: Site, tmp_path: Path) -> None:
    body = b"ECG_ID,AHA_Code\n"
    site.files["f/7"] = body
    file = {"name": "metadata.csv", "download_url": site.address + "f/7", "computed_md5": hashlib.md5(body).hexdigest()}
    site.files["article"] = json.dumps({"files": [file]}).encode()
    site.files["collection"] = json.dumps([{"url": site.address + "article"}]).encode()
    get("sph", tmp_path, address=site.address + "collection")
    assert there(tmp_path) == {"metadata.csv": body}


def test_what_cannot_be_fetched_says_so(site: Site, tmp_path: Path) -> None:
    with pytest.raises(EcgError, match="no data set"):
        get("ptb-xxl", tmp_path)
    with pytest.raises(EcgError, match="by hand"):
        get("yang", tmp_path)
    with pytest.raises(EcgError, match="404"):
        get("ptbxl", tmp_path, address=site.address + "nowhere/")
    site.files["SHA256SUMS.txt"] = b"<html>a page of a proxy</html>"
    with pytest.raises(EcgError, match="not as expected"):
        get("ptbxl", tmp_path, address=site.address)


def test_official_addresses_are_https() -> None:
    assert all(o.address.startswith("https://") and o.licence for o in ORIGINS.values())


def test_the_command(site: Site, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from einthoven.cli import app

    arguments = ["data", "get", "ptbxl", "-o", str(tmp_path), "--address", site.address]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0 and "4 files fetched" in done.stderr and there(tmp_path) == published(site)
    assert "4 there already" in CliRunner().invoke(app, arguments).stderr
    site.files["a/1.hea"] = b"changed\n"
    assert CliRunner().invoke(app, [*arguments, "--recheck"]).exit_code == 0  # what is there is still what was promised
    assert CliRunner().invoke(app, ["data", "get", "nothing", "-o", str(tmp_path)]).exit_code == 2
