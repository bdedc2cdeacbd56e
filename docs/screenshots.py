"""Every screen of the platform as a picture, at desktop and phone width, into docs/screens/: `make screenshots`.

A server of its own on a new data directory, simulated ECGs, Debian's Chromium. Nothing of it is a real patient's.

    python docs/screenshots.py [--only NAME...] [--out DIR]
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests")]

SIZES = {"desktop": (1280, 860), "phone": (390, 844)}
TALLEST = 2400  # pixels of a phone's page
COLOURS = 128  # of a picture: a screen has few, and the files stay small
SENTENCES = "Left bundle branch block. The QRS duration is 150 ms. The rate is 110 /min."


def material(folder: Path, data: Path) -> None:
    """ECGs to upload, a photo of one, labels, and a language model that has learned its answer by heart."""
    import cv2
    from serve_language import learned_by_heart

    from einthoven.io import write
    from einthoven.paper import render
    from einthoven.paper.distort.run import distort
    from einthoven.synth import Noise, simulate

    noise = Noise(wander=0.05, muscle=0.01, mains=0.01)
    rows = ["file_name,label"]
    for i in range(24):
        write(simulate(rate=62 + i if i % 2 else 108 + i, seed=i, duration=5.0, fs=100.0).record, folder / f"ward-{i:02}.npz")
        rows.append(f"ward-{i:02}.npz,{'slow' if i % 2 else 'fast'}")
    (folder / "labels.csv").write_text("\n".join(rows))
    record = simulate("stemi_inferior", rate=82, seed=4, noise=noise).record
    image, page = render.render(record, layout="3x4+1", dpi=150)
    photo, _ = distort(image, page, "photo", seed=3)
    cv2.imwrite(str(folder / "photo of a page.jpg"), photo[..., ::-1])
    shutil.copytree(learned_by_heart(folder, SENTENCES, steps=250), data / "models" / "parrot")


def serve(data: Path) -> tuple[subprocess.Popen[str], str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["-m", "einthoven", "serve", "--data-dir", str(data), "--no-browser", "--port", str(port)]
    server = subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.PIPE, text=True, cwd=HERE.parent, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert server.stdout is not None
    link = server.stdout.readline().strip()
    until = time.monotonic() + 120
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return server, link
        time.sleep(0.1)
    raise SystemExit("the server did not start")


# ---- the screens: each brings the page to where its picture is taken ----


def _open(page: Any, name: str) -> None:
    page.click("role=navigation >> text=ECGs")
    page.click(f".list button:has-text('{name}')")
    page.wait_for_selector(f"article h2:has-text('{name}')")
    page.wait_for_selector("[data-testid=conclusion]")


def _view(page: Any, view: str) -> None:
    page.click(f"role=tablist[name='Views'] >> role=tab[name='{view}']")


def _part(page: Any, part: str) -> None:
    page.click(f"role=tablist[name='Interpretation'] >> role=tab[name='{part}']")


def trace(page: Any) -> None:
    _open(page, "left bundle")
    _view(page, "Trace")
    _part(page, "Findings")
    page.focus(".findings li >> nth=0")


def correct(page: Any) -> None:
    _open(page, "normal")
    _view(page, "Trace")
    page.check("[data-testid=correct]")
    page.select_option("[data-testid=beat]", "2")
    page.select_option("[data-testid=fiducial]", "t_off")
    page.check("[data-testid=every]")
    for _ in range(8):
        page.click("[aria-label='2 ms later']")
    page.click("text=Put it there")
    page.wait_for_selector("[data-testid=byhand]")
    _part(page, "Measurements")
    page.wait_for_selector("[data-testid=qt_ms] small")


def after_correct(page: Any) -> None:
    page.click("text=Undo all")
    page.wait_for_selector("[data-testid=byhand]", state="detached")
    page.uncheck("[data-testid=correct]")


def beats(page: Any) -> None:
    _open(page, "left bundle")
    _view(page, "Beats")
    page.wait_for_selector("[data-testid=beats]")


def aligned(page: Any) -> None:
    _open(page, "left bundle")
    _view(page, "Aligned")


def spectrum(page: Any) -> None:
    _open(page, "left bundle")
    _view(page, "Spectrum")
    page.wait_for_selector("[data-testid=spectrum-lead] option", state="attached")


def compare(page: Any) -> None:
    _open(page, "left bundle")
    _view(page, "Compare")
    page.select_option("[data-testid=other]", label="Simulated: normal")
    page.check("[data-testid=over]")
    page.wait_for_selector("[data-testid=differences]")


def paper(page: Any) -> None:
    _open(page, "photo of a page")
    _view(page, "Paper")
    page.wait_for_selector("[data-testid=sheet]")


def why(page: Any) -> None:
    _open(page, "left bundle")
    _view(page, "Trace")
    _part(page, "Models")
    page.check("label:has-text('einthoven-12') input")
    page.click("aside >> text=Predict")
    page.click("button.why >> nth=0")
    page.wait_for_selector("[data-testid=shares]")


def chat(page: Any) -> None:
    _open(page, "left bundle")
    _view(page, "Trace")
    _part(page, "Chat")
    page.wait_for_timeout(1000)  # what was said before comes back
    if not page.locator("[data-testid=said]").count():
        page.fill("[aria-label='Ask about this ECG']", "What does this ECG show?")
        page.press("[aria-label='Ask about this ECG']", "Enter")
    page.wait_for_selector("[data-testid=said]")
    page.focus(".sentence >> nth=0")


def tune(page: Any) -> None:
    page.click("role=navigation >> text=Fine-tune")
    if not page.locator(".job").count():
        page.set_input_files("[data-testid=labels]", str(_folder / "labels.csv"))
        page.wait_for_selector("text=24 labelled ECGs")
        page.fill("[data-testid=name]", "slow-or-fast")
        page.click("text=Start")
    page.wait_for_selector(".job .done")
    page.wait_for_selector(".curve polyline.validation")
    report = page.frame_locator("iframe")
    report.locator("h1").first.wait_for()


def models(page: Any) -> None:
    page.click("role=navigation >> text=Models")
    page.check("[aria-label='Compare einthoven-12']")
    page.wait_for_selector("[data-testid=figures] td")


def settings(page: Any) -> None:
    page.click("role=navigation >> text=Settings")
    page.wait_for_selector("text=What was done")


def help_(page: Any) -> None:
    page.click("role=navigation >> text=Help")


def tour(page: Any) -> None:
    page.click("role=navigation >> text=Help")
    page.click("[data-testid=start-tour]")
    for _ in range(2):
        page.click("[data-next]")
        page.wait_for_timeout(300)
    page.wait_for_selector("[data-testid=conclusion]")


def after_tour(page: Any) -> None:
    page.keyboard.press("Escape")


Go = Callable[[Any], None]
SCREENS: dict[str, tuple[Go, Go | None]] = {
    "trace": (trace, None), "correct": (correct, after_correct), "beats": (beats, None), "aligned": (aligned, None),
    "spectrum": (spectrum, None), "compare": (compare, None), "paper": (paper, None), "why": (why, None), "chat": (chat, None),
    "tune": (tune, None), "models": (models, None), "settings": (settings, None), "help": (help_, None),
    "tour": (tour, after_tour),
}  # fmt: skip
_folder = Path()


def quantised(png: bytes, path: Path) -> None:
    """The picture in few colours: a fifth of the size, and nothing is lost that an eye misses."""
    import io

    from PIL import Image

    Image.open(io.BytesIO(png)).convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
        path, optimize=True
    )


def main() -> None:
    global _folder
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--only", nargs="*", default=list(SCREENS))
    asked.add_argument("--size", nargs="*", default=list(SIZES))
    asked.add_argument("--out", type=Path, default=HERE / "screens")
    args = asked.parse_args()
    from playwright.sync_api import sync_playwright
    from serve_page import CHROMIUM

    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        _folder, data = Path(place) / "files", Path(place) / "data"
        _folder.mkdir()
        server, link = serve(data)
        try:
            material(_folder, data)
            with sync_playwright() as play:
                browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
                page = browser.new_page()
                page.set_default_timeout(90_000)
                page.on("dialog", lambda dialog: dialog.accept())
                page.goto(link)
                page.wait_for_selector("[data-testid=conclusion]")
                page.set_input_files("[data-testid=files]", [str(p) for p in sorted(_folder.glob("*.[nj]p[zg]"))])
                page.wait_for_selector("text=25 of 25 read")
                page.reload()
                for size in args.size:
                    page.set_viewport_size(dict(zip(("width", "height"), SIZES[size])))
                    page.reload()
                    page.wait_for_selector("header [role=navigation]")
                    for name in args.only:
                        go, after = SCREENS[name]
                        go(page)
                        page.mouse.move(2, 2)
                        page.wait_for_timeout(700)
                        if size == "phone":  # all of it at once: Chromium paints no frame that is out of sight
                            high = page.evaluate("document.documentElement.scrollHeight")
                            page.set_viewport_size({"width": SIZES[size][0], "height": min(high, TALLEST)})
                            page.wait_for_timeout(700)
                        quantised(page.screenshot(), args.out / f"{name}-{size}.png")
                        page.set_viewport_size(dict(zip(("width", "height"), SIZES[size])))
                        print(f"{name}-{size}", flush=True)
                        if after is not None:
                            after(page)
                browser.close()
        finally:
            server.terminate()
            server.wait(20)


if __name__ == "__main__":
    main()
