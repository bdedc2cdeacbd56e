"""A server in a process of its own, and what the tests do on its page in Debian's Chromium."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
PX = 96 / 25.4  # of a millimetre


@contextmanager
def served(data: Path, *more: str) -> Iterator[str]:
    """A server on a free port, started with `more` words; the link that signs in."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["-m", "einthoven", "serve", "--data-dir", str(data), "--no-browser", "--port", str(port), *more]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    server = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True, env=env)
    try:
        assert server.stdout is not None
        told = server.stdout.readline().strip()
        assert told.startswith(f"http://127.0.0.1:{port}/login?ticket=")
        last = time.monotonic() + 60
        while time.monotonic() < last:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield told
    finally:
        server.terminate()
        server.wait(20)


@contextmanager
def chromium(link: str, **size: int) -> Iterator[Any]:
    """A page that is signed in; at the end it must have said no error."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1500, "height": 900, **size})
        faults: list[str] = []
        page.on("pageerror", lambda fault: faults.append(str(fault)))
        page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
        page.on("dialog", lambda dialog: dialog.accept())
        page.set_default_timeout(100_000)
        page.goto(link)
        page.wait_for_selector("[data-testid=conclusion]")
        yield page
        assert faults == []
        browser.close()


def until(page: Any, holds: Callable[[], bool]) -> None:
    """Waits; the page's own policy forbids what Playwright would evaluate there."""
    last = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < last
        page.wait_for_timeout(100)


def drag(page: Any, a: tuple[float, float], b: tuple[float, float]) -> None:
    """From a to b, millimetres of the paper at 1:1."""
    box = page.locator("[data-testid=ecg]").bounding_box()
    page.mouse.move(box["x"] + a[0] * PX, box["y"] + a[1] * PX)
    page.mouse.down()
    page.mouse.move(box["x"] + b[0] * PX, box["y"] + b[1] * PX)
    page.mouse.up()


def open_ecg(page: Any, name: str) -> None:
    page.click(f".list button:has-text('{name}')")
    page.wait_for_selector(f"article h2:has-text('{name}')")
    page.wait_for_selector("[data-testid=conclusion]")


def view(page: Any, name: str) -> None:
    page.click(f"role=tablist[name='Views'] >> role=tab[name='{name}']")


def part(page: Any, name: str) -> None:
    page.click(f"role=tablist[name='Interpretation'] >> role=tab[name='{name}']")
