"""Stores: what is pushed is pulled bit for bit, from a folder, a web server, a real WebDAV server and a Hub; a server that dies
half-way, lies or is written to by two at once leaves nothing corrupt anywhere."""

from __future__ import annotations

import http.server
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from exchange_bundles import bundle, manifest, network

from einthoven.exchange.bundle import Bundle
from einthoven.exchange.stores import open_store
from einthoven.exchange.stores.folder import FolderStore
from einthoven.exchange.stores.http import HttpStore
from einthoven.exchange.stores.hub import HubStore, read_layout, write_layout
from einthoven.exchange.stores.store import INDEX, Store, sha256_of
from einthoven.exchange.stores.webdav import WebDavStore
from einthoven.record import EcgError

USER, PASSWORD = "reader", "s3cret-of-nobody"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder of our own, and no keyring of whoever runs the tests."""
    for name in ("EINTHOVEN_WEBDAV_USER", "EINTHOVEN_WEBDAV_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    monkeypatch.setenv("EINTHOVEN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def made(tmp_path: Path) -> Bundle:
    """600 kB, so that it is cut in its middle and not between two packets."""
    return bundle(tmp_path / "made", weights_safetensors=bytes(range(256)) * 2400)


# ---- a web server that misbehaves when told -----------------------------------------------------------------------------


class Server:
    """Serves a folder with ETags and ranges. `cut` how many bytes of a body go out before the connection dies, request by
    request (none left: all of it); `seen` the requests; `etag` and `ranges` may be turned off; `change` is called first."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.cut, self.seen = folder, list[int | None](), list[tuple[str, str, dict[str, str]]]()
        self.etag: Callable[[Path], str] = lambda path: f'"{sha256_of(path)[:20]}"'
        self.ranges = True
        self.status: dict[str, list[int]] = {}
        self.change: Callable[[str], None] = lambda name: None

    def answer(self, ask: http.server.BaseHTTPRequestHandler) -> None:
        name = ask.path.lstrip("/")
        headers = {k.lower(): v for k, v in ask.headers.items()}
        self.seen.append(("GET", name, headers))
        self.change(name)
        path = self.folder / name
        if self.status.get(name):
            ask.send_error(self.status[name].pop(0))
            return
        if not path.is_file():
            ask.send_error(404)
            return
        data, etag = path.read_bytes(), self.etag(path)
        if etag and headers.get("if-none-match") == etag:
            ask.send_response(304)
            ask.end_headers()
            return
        start = 0
        if self.ranges and "range" in headers and headers.get("if-range") == etag:
            start = int(headers["range"].removeprefix("bytes=").rstrip("-"))
        ask.send_response(206 if start else 200)
        if start:
            ask.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if etag:
            ask.send_header("ETag", etag)
        ask.send_header("Content-Length", str(len(data) - start))
        ask.end_headers()
        cut = self.cut.pop(0) if self.cut and name != INDEX else None
        ask.wfile.write(data[start:] if cut is None else data[start : start + cut])
        ask.close_connection = True


@contextmanager
def served(server: Server, certificate: Path | None = None) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.answer(self)

        def log_message(self, *words: Any) -> None:
            pass

    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        listener.socket = context.wrap_socket(listener.socket, server_side=True)
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http{'s' if certificate else ''}://127.0.0.1:{listener.server_address[1]}"
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()


@pytest.fixture
def web(tmp_path: Path, made: Bundle) -> Iterator[tuple[Server, HttpStore]]:
    FolderStore(tmp_path / "www").publish(made)
    server = Server(tmp_path / "www")
    with served(server) as address:
        yield server, HttpStore(address, pause_s=0.001)


# ---- there and back -----------------------------------------------------------------------------------------------------


def same(found: Bundle, made: Bundle) -> None:
    assert found.digest == made.digest
    assert Bundle.open(found.path).digest == made.digest  # every hash, on the disk
    assert {n: found.read(n) for n in found.manifest.files} == {n: made.read(n) for n in made.manifest.files}


def there_and_back(store: Store, made: Bundle, tmp_path: Path) -> None:
    item = store.publish(made)
    assert store.list() == (item,) and item.name == "mean-of-leads" and item.labels == ("NORM", "MI", "other")
    same(store.fetch("mean-of-leads", tmp_path / "pulled"), made)
    # A new version replaces the old one, in the store and where it was pulled to.
    newer = bundle(tmp_path / "newer", manifest(version="2"))
    store.publish(newer)
    assert [one.version for one in store.list()] == ["2"]
    same(store.fetch("mean-of-leads", tmp_path / "pulled"), newer)
    other = bundle(tmp_path / "other", manifest(name="another"))
    store.publish(other)
    assert [one.name for one in store.list()] == ["another", "mean-of-leads"]
    with pytest.raises(EcgError, match=r"no model 'x' \(there are: another, mean-of-leads\)"):
        store.fetch("x", tmp_path / "x")


def test_folder(made: Bundle, tmp_path: Path) -> None:
    there_and_back(FolderStore(tmp_path / "store"), made, tmp_path)
    assert not [p for p in (tmp_path / "store").iterdir() if p.name.startswith(".")]


def test_web_server(web: tuple[Server, HttpStore], made: Bundle, tmp_path: Path) -> None:
    _, store = web
    same(store.fetch("mean-of-leads", tmp_path / "pulled"), made)
    with pytest.raises(EcgError, match="read only"):
        store.publish(made)


def test_an_unchanged_index_does_not_travel_again(web: tuple[Server, HttpStore], made: Bundle) -> None:
    server, store = web
    first = store.list()
    again = HttpStore(store.address)  # another run of the program
    assert again.list() == first
    etag = server.etag(server.folder / INDEX)
    assert [h.get("if-none-match") for _, name, h in server.seen if name == INDEX] == [None, etag]


# ---- a server that dies half-way ----------------------------------------------------------------------------------------


def test_a_download_that_dies_goes_on_where_it_was(web: tuple[Server, HttpStore], made: Bundle, tmp_path: Path) -> None:
    server, store = web
    server.cut = [200_000, 0, 150_000]
    same(store.fetch("mean-of-leads", tmp_path / "pulled"), made)
    asked = [h.get("range") for _, name, h in server.seen if name != INDEX]
    assert asked == [None, "bytes=200000-", "bytes=200000-", "bytes=350000-"]


def test_a_download_goes_on_after_the_program_ended(web: tuple[Server, HttpStore], made: Bundle, tmp_path: Path) -> None:
    server, store = web
    server.cut = [200_000] + [0] * 20
    with pytest.raises(EcgError, match="the connection fails"):
        store.fetch("mean-of-leads", tmp_path / "pulled")
    assert not (tmp_path / "pulled").exists()
    server.cut, server.seen = [], []
    same(HttpStore(store.address).fetch("mean-of-leads", tmp_path / "pulled"), made)
    assert [h.get("range") for _, name, h in server.seen if name != INDEX] == ["bytes=200000-"]


@pytest.mark.parametrize("kind", ["weak etag", "no etag", "no ranges"])
def test_without_a_promise_of_the_same_bytes_it_starts_anew(
    kind: str, web: tuple[Server, HttpStore], made: Bundle, tmp_path: Path
) -> None:
    server, store = web
    server.cut = [200_000]
    if kind == "no ranges":
        server.ranges = False
    else:
        server.etag = lambda path: 'W/"1"' if kind == "weak etag" else ""
    same(store.fetch("mean-of-leads", tmp_path / "pulled"), made)


def test_a_file_that_changes_under_the_same_etag_is_noticed(
    web: tuple[Server, HttpStore], made: Bundle, tmp_path: Path
) -> None:
    # Half of one file and half of another: the hash tells, and it is fetched once more from the beginning.
    server, store = web
    zipped = next(server.folder.glob("*.zip"))
    good = zipped.read_bytes()
    server.etag = lambda path: '"always"'
    zipped.write_bytes(b"\0" * len(good))
    server.cut = [200_000]

    def mend(name: str) -> None:
        if len([1 for _, n, _ in server.seen if n == zipped.name]) == 2:
            zipped.write_bytes(good)

    server.change = mend
    same(store.fetch("mean-of-leads", tmp_path / "pulled"), made)


def test_a_busy_server_is_asked_again_and_a_refusal_is_not(web: tuple[Server, HttpStore], made: Bundle, tmp_path: Path) -> None:
    server, store = web
    server.status = {INDEX: [503, 429]}
    same(store.fetch("mean-of-leads", tmp_path / "pulled"), made)
    server.status, server.seen = {INDEX: [401]}, []
    with pytest.raises(EcgError, match=r"401 .*wants a user and a password"):
        store.list()
    assert len(server.seen) == 1


def test_what_is_not_what_the_index_says_is_refused(web: tuple[Server, HttpStore], tmp_path: Path) -> None:
    server, store = web
    zipped = next(server.folder.glob("*.zip"))
    data = bytearray(zipped.read_bytes())
    data[len(data) // 2] ^= 1
    zipped.write_bytes(data)
    with pytest.raises(EcgError, match="not what the index says: its SHA-256 is"):
        store.fetch("mean-of-leads", tmp_path / "pulled")
    zipped.write_bytes(data + b"x" * 100_000)
    with pytest.raises(EcgError, match="longer than"):
        store.fetch("mean-of-leads", tmp_path / "pulled")
    assert not (tmp_path / "pulled").exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"file": "../../etc/passwd"}, "no plain name"),
        ({"name": "another"}, "another Bundle than the index says"),
        ({"digest": "0" * 64}, "another Bundle than the index says"),
        ({"bytes": 1 << 50}, "more than one Bundle may have"),
        ({"sha256": "abc"}, "not an index"),
        ({"surprise": 1}, "not an index"),
    ],
)
def test_an_index_that_lies_is_refused(change: dict[str, Any], told: str, made: Bundle, tmp_path: Path) -> None:
    FolderStore(tmp_path / "store").publish(made)
    index = tmp_path / "store" / INDEX
    words = json.loads(index.read_text())
    words["bundles"][0].update(change)
    index.write_text(json.dumps(words))
    with pytest.raises(EcgError, match=told):
        FolderStore(tmp_path / "store").fetch(words["bundles"][0]["name"], tmp_path / "pulled")
    assert not (tmp_path / "pulled").exists()


# ---- addresses ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("http://example.org/models", "not encrypted"),
        ("dav://example.org/models", "not encrypted"),
        ("https://me:pw@example.org/models", "does not belong into an address"),
        ("davs://me@example.org/models", "does not belong into an address"),
        ("ftp://example.org", "no kind of store"),
        ("hf://only-owner", "hf://owner/name"),
    ],
)
def test_addresses_that_are_refused(address: str, told: str) -> None:
    with pytest.raises(EcgError, match=told) as fault:
        open_store(address)
    assert "pw" not in str(fault.value)


def test_addresses_choose_the_store(tmp_path: Path) -> None:
    kinds = {str(tmp_path): FolderStore, f"file://{tmp_path}": FolderStore, "https://e.org/m": HttpStore}
    kinds |= {"davs://e.org/m": WebDavStore, "hf://o/n@main": HubStore}
    assert {address: type(open_store(address)) for address in kinds} == kinds
    assert open_store("davs://e.org/m/").url == "https://e.org/m"  # type: ignore[attr-defined]


# ---- WebDAV, on a real server -------------------------------------------------------------------------------------------


class Fault:
    """Middleware around wsgidav: method by method, what goes wrong at its next requests (`plan`). `seen` the methods and paths,
    `watch` is called before each."""

    def __init__(self, app: Any) -> None:
        self.app, self.seen, self.plan = app, list[str](), dict[str, list[str]]()
        self.ranges: list[str] = []
        self.watch: Callable[[], None] = lambda: None

    def __call__(self, environ: dict[str, Any], start: Any) -> Any:
        method = environ["REQUEST_METHOD"]
        self.watch()
        self.ranges += [environ.get("HTTP_RANGE", "")] if method == "GET" else []
        self.seen.append(f"{method} {environ['PATH_INFO']}")
        step = self.plan[method].pop(0) if self.plan.get(method) else ""
        if step == "half" and method == "PUT":  # half of the body arrives and is kept; then the server is gone
            body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
            import io

            half = body[: len(body) // 2]
            environ |= {"wsgi.input": io.BytesIO(half), "CONTENT_LENGTH": str(len(half))}
            list(self.app(environ, lambda *_: lambda _: None))
            raise ConnectionAbortedError("planted")
        if step == "silent":  # it is done, but the answer is lost
            list(self.app(environ, lambda *_: lambda _: None))
            raise ConnectionAbortedError("planted")
        if step == "cut":  # of the answer, 100 kB come through
            return self.cut(environ, start)
        return self.app(environ, start)

    def cut(self, environ: dict[str, Any], start: Any) -> Iterator[bytes]:
        left = 100_000
        for block in self.app(environ, start):
            yield block[:left]
            left -= len(block[:left])
            if left <= 0:
                raise ConnectionAbortedError("planted")


@pytest.fixture
def dav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Fault, WebDavStore, Path]]:
    wsgidav_app = pytest.importorskip("wsgidav.wsgidav_app")
    wsgi = pytest.importorskip("cheroot.wsgi")
    pytest.importorskip("webdav4")
    root = tmp_path / "dav"
    root.mkdir()
    app = Fault(
        wsgidav_app.WsgiDAVApp(
            {
                "provider_mapping": {"/": str(root)},
                "simple_dc": {"user_mapping": {"*": {USER: {"password": PASSWORD}}}},
                "http_authenticator": {"accept_basic": True, "accept_digest": False, "default_to_digest": False},
                "logging": {"enable": False},
                "verbose": 0,
            }
        )
    )
    server = wsgi.Server(("127.0.0.1", 0), app, numthreads=4)
    server.error_log = lambda *words, **more: None  # the planted faults are no news
    server.shutdown_timeout = 1
    server.prepare()
    thread = threading.Thread(target=server.serve)
    thread.start()
    monkeypatch.setenv("EINTHOVEN_WEBDAV_USER", USER)
    monkeypatch.setenv("EINTHOVEN_WEBDAV_PASSWORD", PASSWORD)
    try:
        yield app, WebDavStore(f"dav://127.0.0.1:{server.bind_addr[1]}/models", pause_s=0.001), root / "models"
    finally:
        server.stop()
        thread.join()


def test_webdav(dav: tuple[Fault, WebDavStore, Path], made: Bundle, tmp_path: Path) -> None:
    _, store, root = dav
    there_and_back(store, made, tmp_path)
    assert not [p for p in root.iterdir() if p.name.startswith(".")]
    # What WebDAV wrote, a folder reads, and the other way round.
    assert FolderStore(root).list() == store.list()


def test_webdav_upload_that_dies_is_never_seen(dav: tuple[Fault, WebDavStore, Path], made: Bundle, tmp_path: Path) -> None:
    app, store, root = dav
    app.plan = {"PUT": ["half", "half", "", "half", ""], "MOVE": ["silent", "silent"]}
    faults: list[EcgError | ValueError] = []

    def watch() -> None:
        """Between any two requests, what stands under a name of its own is whole."""
        for path in root.glob("[!.]*"):
            try:
                Bundle.open(path) if path.suffix == ".zip" else json.loads(path.read_text())
            except (EcgError, ValueError) as fault:
                faults.append(fault)

    app.watch = watch
    item = store.publish(made)
    same(store.fetch(item.name, tmp_path / "pulled"), made)
    assert not faults and not any(app.plan.values())  # every planted fault has happened
    assert sum(line.startswith("PUT") for line in app.seen) == 5
    assert {p.name for p in root.iterdir()} == {INDEX, item.file}


def test_webdav_server_that_stays_dead(dav: tuple[Fault, WebDavStore, Path], made: Bundle, tmp_path: Path) -> None:
    app, store, root = dav
    store.publish(made)
    before = {p.name: p.read_bytes() for p in root.iterdir()}
    newer = bundle(tmp_path / "newer", manifest(version="2"), weights_safetensors=b"1" * 500_000)
    app.plan = {"PUT": ["half"] * 50}
    with pytest.raises(EcgError, match="cannot be reached"):
        store.publish(newer)
    # The index and all that it names are as they were.
    assert {n: (root / n).read_bytes() for n in before} == before
    same(store.fetch("mean-of-leads", tmp_path / "pulled"), made)
    app.plan = {}
    store.publish(newer)
    same(store.fetch("mean-of-leads", tmp_path / "pulled"), newer)


def test_webdav_download_that_dies_is_resumed(dav: tuple[Fault, WebDavStore, Path], made: Bundle, tmp_path: Path) -> None:
    app, store, _ = dav
    item = store.publish(made)
    app.plan = {"GET": ["", "cut", "cut", "cut"]}  # the first GET is the index
    app.seen.clear()
    same(store.fetch("mean-of-leads", tmp_path / "pulled"), made)
    assert app.seen.count(f"GET /models/{item.file}") == 4
    starts = [int(words.removeprefix("bytes=").rstrip("-") or 0) for words in app.ranges[-4:]]
    assert starts == sorted(set(starts)) and starts[0] == 0  # each goes on where the one before ended


def test_webdav_two_publish_at_once(dav: tuple[Fault, WebDavStore, Path], made: Bundle, tmp_path: Path) -> None:
    _, store, root = dav
    store.publish(made)
    other = bundle(tmp_path / "other", manifest(name="another"))
    read, first = store._index, [True]

    def late() -> tuple[bytes | None, str]:
        """The index as it was before somebody else published."""
        found = read()
        if first.pop() if first else False:
            FolderStore(root).publish(other)
        return found

    store._index = late  # type: ignore[method-assign]
    store.publish(bundle(tmp_path / "newer", manifest(version="2")))
    assert [(i.name, i.version) for i in store.list()] == [("another", "1"), ("mean-of-leads", "2")]


def test_webdav_wants_its_password_and_keeps_it_to_itself(
    dav: tuple[Fault, WebDavStore, Path], made: Bundle, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, store, root = dav
    store.publish(made)
    store.fetch("mean-of-leads", tmp_path / "pulled")
    for folder in (home, tmp_path / "pulled", root):
        for path in folder.rglob("*"):
            assert not path.is_file() or PASSWORD.encode() not in path.read_bytes()
    monkeypatch.delenv("EINTHOVEN_WEBDAV_PASSWORD")
    with pytest.raises(EcgError, match="401") as fault:
        WebDavStore(store.address).list()
    assert PASSWORD not in str(fault.value)


def test_webdav_password_from_the_keyring(
    dav: tuple[Fault, WebDavStore, Path], made: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyring = pytest.importorskip("keyring")
    _, store, _ = dav
    store.publish(made)
    monkeypatch.delenv("EINTHOVEN_WEBDAV_PASSWORD")
    monkeypatch.delenv("EINTHOVEN_WEBDAV_USER")
    asked = []

    def credential(service: str, user: str | None) -> SimpleNamespace:
        asked.append((service, user))
        return SimpleNamespace(username=USER, password=PASSWORD)

    monkeypatch.setattr(keyring, "get_credential", credential)
    assert [i.name for i in WebDavStore(store.address).list()] == ["mean-of-leads"]
    assert asked == [("einthoven 127.0.0.1", None)]


def self_signed(folder: Path) -> Path:
    """Key and certificate for 127.0.0.1 that nobody has signed but itself."""
    import datetime
    import ipaddress

    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + datetime.timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / "server.pem"
    path.write_bytes(key.private_bytes(*plain) + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.mark.parametrize("scheme", ["https", "davs"])
def test_a_server_with_a_certificate_of_its_own_making_is_not_believed(
    scheme: str, made: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("webdav4")
    FolderStore(tmp_path / "www").publish(made)
    certificate = self_signed(tmp_path)
    monkeypatch.setenv("EINTHOVEN_WEBDAV_USER", USER)
    monkeypatch.setenv("EINTHOVEN_WEBDAV_PASSWORD", PASSWORD)
    server = Server(tmp_path / "www")
    with served(server, certificate) as address:
        store = open_store(scheme + address.removeprefix("https"))
        assert isinstance(store, HttpStore)
        store.pause_s = 0.001
        with pytest.raises(EcgError, match="CERTIFICATE_VERIFY_FAILED"):
            store.list()
        assert not server.seen  # no request, and no password, went over
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))  # who trusts it says so
        assert [i.name for i in open_store(store.address).list()] == ["mean-of-leads"]


# ---- the Hub ------------------------------------------------------------------------------------------------------------


def test_hub_layout(made: Bundle, tmp_path: Path) -> None:
    folder = write_layout(made, tmp_path / "repo")
    said = (folder / "README.md").read_text(encoding="utf-8")
    assert said.startswith("---\nlicense: apache-2.0\nlibrary_name: einthoven\n") and "# mean-of-leads 1" in said
    (folder / ".gitattributes").write_text("*.onnx filter=lfs\n")  # the Hub's own
    same(read_layout(folder, tmp_path / "pulled"), made)
    (folder / "model.onnx").write_bytes(network(gain=2))
    with pytest.raises(EcgError, match=r"model\.onnx: was changed"):
        read_layout(folder, tmp_path / "other")


class FakeHub:
    """What of huggingface_hub is used, on a folder: the Hub itself cannot be asked in a test."""

    def __init__(self, root: Path) -> None:
        self.root, self.commits = root, list[dict[str, Any]]()

    def HfApi(self) -> FakeHub:
        return self

    def create_repo(self, repository: str, exist_ok: bool) -> None:
        (self.root / repository).mkdir(parents=True, exist_ok=exist_ok)

    def upload_folder(self, *, repo_id: str, folder_path: Path, delete_patterns: list[str], **more: Any) -> None:
        for old in (self.root / repo_id).iterdir() if delete_patterns == ["*"] else ():
            old.unlink()
        for path in folder_path.iterdir():
            (self.root / repo_id / path.name).write_bytes(path.read_bytes())
        self.commits.append(more)

    def hf_hub_download(self, repository: str, name: str, *, revision: str | None, local_dir: Path) -> str:
        source = self.root / repository / name
        if not source.is_file():
            raise OSError(f"404: {name}")
        (local_dir / name).write_bytes(source.read_bytes())
        return str(local_dir / name)

    def model_info(self, repository: str, *, revision: str | None, files_metadata: bool) -> SimpleNamespace:
        found = (self.root / repository).iterdir()
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=p.name, size=p.stat().st_size) for p in found])


def test_hub(made: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = FakeHub(tmp_path / "hub")
    monkeypatch.setattr("einthoven.exchange.stores.hub._hub", lambda address: hub)
    store = open_store("hf://clinic/ecg")
    with pytest.raises(EcgError, match="404"):
        store.list()
    item = store.publish(made)
    assert store.list() == (item,) and len(hub.commits) == 1
    same(store.fetch("mean-of-leads", tmp_path / "pulled"), made)
    newer = bundle(tmp_path / "newer", manifest(version="2"))
    store.publish(newer)
    assert not (hub.root / "clinic/ecg/weights.safetensors").exists()  # the old version's files are gone
    same(store.fetch("mean-of-leads", tmp_path / "pulled"), newer)
    (hub.root / "clinic/ecg/model.onnx").write_bytes(b"x" * 10_000_000)
    with pytest.raises(EcgError, match="10000000 bytes, the manifest says"):
        store.fetch("mean-of-leads", tmp_path / "pulled")
    same(Bundle.open(tmp_path / "pulled"), newer)  # what was there stays


def test_what_huggingface_hub_is_called_with_exists() -> None:
    hub = pytest.importorskip("huggingface_hub")
    import inspect

    for function, names in (
        (hub.hf_hub_download, {"repo_id", "filename", "revision", "local_dir"}),
        (hub.HfApi.create_repo, {"repo_id", "exist_ok"}),
        (hub.HfApi.upload_folder, {"repo_id", "folder_path", "revision", "commit_message", "delete_patterns"}),
        (hub.HfApi.model_info, {"repo_id", "revision", "files_metadata"}),
    ):
        assert names <= set(inspect.signature(function).parameters)
