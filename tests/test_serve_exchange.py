"""A model goes from one server to another through a real WebDAV server, over http, with its password."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

from serve_door import Door, put
from serve_page import CHROMIUM, chromium, served

from einthoven.exchange.bundle import Bundle
from einthoven.exchange.shelf import find
from einthoven.serve.store import Store
from einthoven.synth import simulate

USER, PASSWORD = "ward", "a password of the test"


@pytest.fixture
def dav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """(address of a collection that is not there yet, where wsgidav keeps it)."""
    wsgidav_app = pytest.importorskip("wsgidav.wsgidav_app")
    wsgi = pytest.importorskip("cheroot.wsgi")
    pytest.importorskip("webdav4")
    root = tmp_path / "dav"
    root.mkdir()
    app = wsgidav_app.WsgiDAVApp(
        {
            "provider_mapping": {"/": str(root)},
            "simple_dc": {"user_mapping": {"*": {USER: {"password": PASSWORD}}}},
            "http_authenticator": {"accept_basic": True, "accept_digest": False, "default_to_digest": False},
            "logging": {"enable": False},
            "verbose": 0,
        }
    )
    server = wsgi.Server(("127.0.0.1", 0), app, numthreads=4)
    server.shutdown_timeout = 1
    server.prepare()
    thread = threading.Thread(target=server.serve)
    thread.start()
    monkeypatch.setenv("EINTHOVEN_WEBDAV_USER", USER)
    monkeypatch.setenv("EINTHOVEN_WEBDAV_PASSWORD", PASSWORD)
    try:
        yield f"dav://127.0.0.1:{server.bind_addr[1]}/models", root / "models"
    finally:
        server.stop()
        thread.join()


def test_a_model_is_published_to_webdav_and_pulled_on_another_server(
    dav: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, kept = dav
    one, two = Door(tmp_path / "one", stores=(address,)), Door(tmp_path / "two", stores=(address,))
    with one.client, two.client:
        here, there = one.sign_in(), two.sign_in()
        shutil.copytree(find("einthoven-12"), one.app.state.store.folder / "models" / "ours")
        assert here.get("/api/stores").json() == there.get("/api/stores").json() == [address]
        assert there.get("/api/stores/0/models").json() == []
        item = here.post("/api/models/ours/publish", json={"store": 0}).json()
        assert kept.is_dir() and not list(kept.glob("*.part"))  # drafts are gone
        name = item["name"]
        assert [(m["name"], m["digest"]) for m in there.get("/api/stores/0/models").json()] == [(name, item["digest"])]
        pulled = there.post(f"/api/stores/0/models/{name}/pull").json()
        assert pulled["digest"] == item["digest"]
        place = two.app.state.store.folder / "models" / name
        assert Bundle.open(place).digest == Bundle.open(find("einthoven-12")).digest
        assert there.post(f"/api/models/{name}/verify").json() == {"ok": True}

        record = simulate("lbbb", rate=70, seed=3).record
        said = [
            client.post(f"/api/ecgs/{put(client, record, tmp_path)}/predict", params={"model": model}).json()["labels"]
            for client, model in ((here, "ours"), (there, name))
        ]
        assert said[0] == said[1]
        for folder in (tmp_path / "one", tmp_path / "two", kept):
            assert not any(PASSWORD.encode() in path.read_bytes() for path in folder.rglob("*") if path.is_file())

        monkeypatch.delenv("EINTHOVEN_WEBDAV_PASSWORD")
        refused = there.get("/api/stores/0/models")
        assert refused.status_code == 400 and "401" in refused.json()["detail"] and PASSWORD not in refused.text


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_the_same_by_clicks(dav: tuple[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("playwright")
    address, kept = dav
    for name in ("one", "two"):
        Store(tmp_path / name).close()
    shutil.copytree(find("einthoven-12"), tmp_path / "one" / "models" / "ours")
    screen = "role=navigation[name='Screens'] >> role=button[name='Models']"
    with served(tmp_path / "one", "--store", address) as link, chromium(link) as page:
        page.click(screen)
        page.click("button:has-text('show')")
        page.click("button:has-text('publish ours')")
        page.wait_for_selector("text=ours is published")
    assert kept.is_dir()
    with served(tmp_path / "two", "--store", address) as link, chromium(link) as page:
        page.click(screen)
        page.click("button:has-text('show')")
        page.click("p:has-text('einthoven-12') >> button:has-text('fetch')")
        page.wait_for_selector("text=einthoven-12 is here, every file as its maker left it")
    fetched = tmp_path / "two" / "models" / "einthoven-12"
    assert Bundle.open(fetched).digest == Bundle.open(find("einthoven-12")).digest
