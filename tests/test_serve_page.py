"""The page in Debian's Chromium, as a newcomer meets it. Skips where there is no Chromium."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from serve_page import CHROMIUM, drag, served, until

from einthoven.io import write
from einthoven.synth import simulate

pytest.importorskip("fastapi")
playwright = pytest.importorskip("playwright.sync_api")

STATIC = Path(__file__).parents[1] / "einthoven" / "serve" / "static"


def test_the_page_is_built_and_loads_nothing_from_elsewhere() -> None:
    import gzip
    import re

    page = (STATIC / "index.html").read_text()
    named = re.findall(r'(?:src|href)="(\./[^"]+)"', page)
    assert len(named) == 2 and all((STATIC / name).is_file() for name in named)
    assert sum(len(gzip.compress((STATIC / name).read_bytes())) for name in named) < 200_000
    for name in named:
        found = set(re.findall(r"https?://[\w.]+", (STATIC / name).read_text())) - {"http://www.w3.org"}
        assert found <= {"https://svelte.dev"}, found  # the framework's own words in its error messages


@pytest.fixture
def link(tmp_path: Path) -> Iterator[str]:
    """A server on a free port, and the link that signs in."""
    with served(tmp_path / "data") as told:
        yield told


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_newcomer_s_way(link: str, tmp_path: Path) -> None:
    """First start shows ECGs; calipers are exact; a finding lights its leads; a file is read, and one that is none is told;
    labels are put on and stay."""
    write(simulate("lbbb", rate=75, seed=5).record, tmp_path / "mine.npz")
    (tmp_path / "none.xml").write_text("<nothing/>")
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1500, "height": 900})
        faults: list[str] = []
        page.on("pageerror", lambda fault: faults.append(str(fault)))
        page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
        page.set_default_timeout(120_000)
        page.goto(link)
        page.wait_for_selector("[data-testid=conclusion]")
        assert page.locator(".list li").count() == 3 and "ticket" not in page.url

        page.click("text=1:1")
        drag(page, (40, 10), (60, 5))
        made = page.evaluate("window.einthoven.caliper")
        assert made["ms"] == pytest.approx(800, abs=0.5) and made["mv"] == pytest.approx(0.5, abs=0.005)
        assert page.inner_text("[data-testid=caliper]") == "800 ms · 75/min · +0.50 mV"
        page.select_option("label:has-text('Speed') select", "50")
        until(page, lambda: page.evaluate("window.einthoven.plan.speed") == 50)
        assert page.evaluate("window.einthoven.caliper.ms") == pytest.approx(400, abs=0.5)

        page.set_input_files("[data-testid=files]", [str(tmp_path / "mine.npz"), str(tmp_path / "none.xml")])
        page.wait_for_selector(".arrivals .fault")
        until(page, lambda: page.inner_text("article h2") == "mine.npz")
        page.wait_for_selector("[data-testid=conclusion]:has-text('bundle branch')")
        page.click("role=tab[name='Labels & files']")
        page.fill("[aria-label='Add a label']", "LBBB")
        page.press("[aria-label='Add a label']", "Enter")
        page.wait_for_selector(".labels span:has-text('LBBB')")
        page.reload()
        page.click("role=button[name='Fine-tune']")
        page.wait_for_selector("text=1 labelled ECGs")
        assert faults == []
        browser.close()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_fine_tuning_by_a_click(link: str, tmp_path: Path) -> None:
    """Files, a labels.csv, a name, Start: the new model predicts on the open ECG, and its report opens."""
    pytest.importorskip("torch")
    rows = ["file_name,label"]
    for i in range(24):
        write(simulate(rate=60 if i % 2 else 115, seed=i, duration=5.0, fs=100.0).record, tmp_path / f"rate-{i}.npz")
        rows.append(f"rate-{i}.npz,{'slow' if i % 2 else 'fast'}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1500, "height": 1200})
        page.set_default_timeout(100_000)
        page.goto(link)
        page.set_input_files("[data-testid=files]", [str(path) for path in sorted(tmp_path.glob("*.npz"))])
        page.wait_for_selector("text=24 of 24 read")
        page.click("role=button[name='Fine-tune']")
        page.set_input_files("[data-testid=labels]", str(tmp_path / "labels.csv"))
        page.wait_for_selector("text=24 labelled ECGs: fast 12, slow 12")
        page.fill("[data-testid=name]", "slow-or-fast")
        page.click("role=button[name='Start']")
        page.wait_for_selector("[data-testid=finder]")
        page.wait_for_selector(".job .done")
        assert page.locator(".curve polyline.validation").count() == 2  # its loss, and its AUROC
        page.frame_locator("iframe").locator("text=slow-or-fast").first.wait_for()
        page.click("role=button[name='Use it on an ECG']")
        page.wait_for_selector("[data-testid=conclusion]")
        for name in ("slow-or-fast", "einthoven-12"):
            page.check(f"label:has-text('{name}') input")
        page.click("role=button[name='Predict']")
        until(page, lambda: page.locator("[data-testid=own] thead th").count() == 3)
        page.wait_for_selector("[data-testid=own] tr:has-text('fast')")
        page.click("role=button[name='Fine-tune']")
        with page.context.expect_page() as opened:
            page.click("role=link[name='how good it is']")
        opened.value.wait_for_load_state()
        assert "slow-or-fast" in opened.value.content()
        browser.close()
