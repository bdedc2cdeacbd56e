"""Every way to look at an ECG, driven in Debian's Chromium: with the mouse, with the keyboard, at a phone's width."""

import csv
import io
import shutil
import zipfile
from pathlib import Path

import pytest

import einthoven as ecg
from einthoven.io import write
from einthoven.synth import simulate

pytest.importorskip("fastapi")
pytest.importorskip("playwright.sync_api")

from serve_page import CHROMIUM, PX, chromium, open_ecg, part, served, until, view

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
R, T_OFF = 4, 8  # of the nine fiducials


def test_fiducials_are_dragged_nudged_taken_away_and_brought_back(tmp_path: Path) -> None:
    """The line that is dragged is where it was left, the figures follow and say so, undo brings all back; by keyboard, too."""
    with served(tmp_path / "data") as link, chromium(link, width=1900) as page:
        open_ecg(page, "normal")
        part(page, "Measurements")
        page.click("text=1:1")
        before = page.inner_text("[data-testid=qt_ms] td >> nth=0")
        page.check("[data-testid=correct]")
        plan = page.evaluate("window.einthoven.plan")
        beats = page.evaluate("window.einthoven.beats")
        strip = plan["strips"][-1]  # lead II over all the time
        beat, t = next((k, row[T_OFF]) for k, row in enumerate(beats) if row[T_OFF] is not None and row[T_OFF] > 2)
        box = page.locator("[data-testid=ecg]").bounding_box()
        x, y = box["x"] + (strip["x"] + (t - strip["t0"]) * plan["speed"]) * PX, box["y"] + strip["y"] * PX
        page.mouse.move(x, y)
        page.mouse.down()
        assert page.evaluate("window.einthoven.chosen") == {"beat": beat, "name": "t_off"}
        page.mouse.move(x + 1.0 * PX, y)  # a millimetre, 40 ms
        page.mouse.up()
        page.wait_for_selector("[data-testid=byhand]")
        until(page, lambda: page.evaluate("window.einthoven.beats")[beat][T_OFF] != t)
        assert page.evaluate("window.einthoven.beats")[beat][T_OFF] == pytest.approx(t + 0.04, abs=0.012)  # a pixel is 10 ms

        page.select_option("[data-testid=beat]", index=beat + 1)
        page.select_option("[data-testid=fiducial]", "t_off")
        page.check("[data-testid=every]")
        page.focus(".sheet")
        for _ in range(3):
            page.keyboard.press("Shift+ArrowRight")
        page.keyboard.press("Enter")
        page.wait_for_selector("text=2 corrected by hand")
        page.wait_for_selector("[data-testid=qt_ms] small")
        told = page.inner_text("[data-testid=qt_ms] td >> nth=0")
        assert f"found: {before.split()[0]}" in told and int(told.split()[0]) >= int(before.split()[0]) + 29

        page.select_option("[data-testid=fiducial]", "r_peak")
        page.uncheck("[data-testid=every]")
        page.click("text=This is no beat")
        until(page, lambda: len(page.evaluate("window.einthoven.beats")) == len(beats) - 1)
        page.click("[data-testid=add]")  # it is one: put back where its R is seen, a little beside it
        page.mouse.click(box["x"] + (strip["x"] + (beats[beat][R] + 0.02 - strip["t0"]) * plan["speed"]) * PX, y)
        until(page, lambda: len(page.evaluate("window.einthoven.beats")) == len(beats))
        assert page.evaluate("window.einthoven.beats")[beat][R] == pytest.approx(beats[beat][R], abs=0.012)
        until(page, lambda: page.evaluate("window.einthoven.chosen") == {"beat": beat, "name": "t_off"})
        page.click("role=button[name='Undo']")
        until(page, lambda: len(page.evaluate("window.einthoven.beats")) == len(beats) - 1)
        page.click("role=button[name='Undo']")
        until(page, lambda: len(page.evaluate("window.einthoven.beats")) == len(beats))
        page.reload()  # they are the server's, not the page's
        open_ecg(page, "normal")
        page.wait_for_selector("text=Rests on 2 fiducials corrected by hand")
        page.check("[data-testid=correct]")
        page.click("text=Undo all")
        page.wait_for_selector("[data-testid=byhand]", state="detached")
        part(page, "Measurements")
        assert page.inner_text("[data-testid=qt_ms] td >> nth=0") == before


def test_every_view_and_file_of_an_ecg(tmp_path: Path) -> None:
    with served(tmp_path / "data") as link, chromium(link) as page:
        open_ecg(page, "left bundle")
        page.click("text=1:1")
        box = page.locator("[data-testid=ecg]").bounding_box()
        plan = page.evaluate("window.einthoven.plan")
        strip = plan["strips"][0]
        page.mouse.move(box["x"] + (strip["x"] + 25) * PX, box["y"] + (strip["y"] - 5) * PX)
        assert page.inner_text("[data-testid=readout]").split() == ["I", "1.000", "s", "+0.50", "mV"]

        page.select_option("label:has-text('Layout') select", "6x2")
        page.click("text=Save as")
        for words, begin in (("PNG, as shown", b"\x89PNG"), ("CSV, the recording", b""), ("WFDB, the recording", b"PK")):
            with page.expect_download() as download:
                page.click(f"text={words}")
            data = Path(download.value.path()).read_bytes()
            assert data.startswith(begin) and download.value.suggested_filename
        zipfile.ZipFile(io.BytesIO(data)).extractall(tmp_path / "wfdb")
        back = ecg.read(next((tmp_path / "wfdb").glob("*.hea")))
        assert back.signal.shape == (12, 5000)

        part(page, "Measurements")
        page.click("text=Lead by lead")
        assert "µV" in page.inner_text("aside details tr:has-text('V6')")
        view(page, "Beats")
        page.wait_for_selector("[data-testid=beats]:has-text('12 beats; the median beat is of 12')")
        view(page, "Aligned")
        until(page, lambda: page.evaluate("window.einthoven.shown") == 5000)
        view(page, "Spectrum")
        page.select_option("[data-testid=spectrum-lead]", "V2")
        page.wait_for_selector("text=Most power of V2 at")
        view(page, "Compare")
        page.select_option("[data-testid=other]", label="Simulated: normal")
        page.wait_for_selector(".pair canvas >> nth=1")
        page.wait_for_selector("[data-testid=differences] tr:has-text('QRS'):has-text('-')")
        page.check("[data-testid=over]")
        page.wait_for_selector("[data-testid=panels]")

        view(page, "Trace")
        part(page, "Models")
        page.click("button.why >> nth=0")
        page.wait_for_selector("[data-testid=heat]")
        page.wait_for_selector("[data-testid=shares]:has-text('%')")
        assert page.evaluate("window.einthoven.heat")


def test_where_model_and_rules_disagree_is_said(tmp_path: Path) -> None:
    record = simulate("stemi_inferior", rate=72, seed=7).record
    (told,) = (one for one in ecg.interpret(record).opinions if one.sees == "signal")
    assert told.disagreements  # of a simulated infarct; where not, take another
    write(record, tmp_path / "a.npz")
    with served(tmp_path / "data") as link, chromium(link) as page:
        page.set_input_files("[data-testid=files]", str(tmp_path / "a.npz"))
        until(page, lambda: page.inner_text("article h2") == "a.npz")
        page.wait_for_selector("[data-testid=conclusion]")
        part(page, "Models")
        page.wait_for_selector("[data-testid=disagreements]")
        assert page.locator("[data-testid=disagreements] li").all_inner_texts() == list(told.disagreements)


def test_many_are_predicted_and_a_model_is_saved_and_added(tmp_path: Path) -> None:
    with served(tmp_path / "data") as link, chromium(link) as page:
        part(page, "Models")
        page.check("label:has-text('einthoven-12') input")
        page.click("role=button[name='All 3 as a table']")
        with page.expect_download() as download:
            page.click("text=table (CSV)")
        rows = list(csv.DictReader(Path(download.value.path()).read_text().splitlines()))
        assert {row["file_name"] for row in rows} >= {"Simulated: normal"} and all(0 <= float(row["NORM"]) <= 1 for row in rows)

        page.click("role=navigation[name='Screens'] >> role=button[name='Models']")
        page.click(".models li:has-text('einthoven-paper-1') >> text=verify")
        page.wait_for_selector("text=every file as its maker left it")
        with page.expect_download() as download:
            page.click(".models li:has-text('einthoven-paper-1') >> role=link[name='save']")
        download.value.save_as(tmp_path / "model.zip")
        page.click("text=Add a model from a file")
        page.set_input_files("[data-testid=model-file]", str(tmp_path / "model.zip"))
        page.wait_for_selector("text=einthoven-paper-1 is here, every file as its maker left it")
        page.wait_for_selector(".models li:has-text('einthoven-paper-1'):has-text('in this data directory')")


def test_a_photo_is_read_again_with_its_corners_and_speed(tmp_path: Path) -> None:
    import cv2

    from einthoven.paper import render

    image, _ = render.render(simulate("lbbb", rate=70, seed=3).record, layout="3x4+1", dpi=150)
    cv2.imwrite(str(tmp_path / "page.png"), image[..., ::-1])
    with served(tmp_path / "data") as link, chromium(link) as page:
        page.set_input_files("[data-testid=files]", str(tmp_path / "page.png"))
        page.wait_for_selector("text=1 of 1 read")
        until(page, lambda: page.inner_text("article h2") == "page.png")
        page.wait_for_selector("[data-testid=conclusion]:has-text('70/min')")
        view(page, "Paper")
        page.wait_for_selector("[data-testid=sheet]")
        assert "(read)" in page.inner_text("[data-testid=basis]")
        corner = page.locator("[data-testid=corner-0]")
        corner.focus()
        was = corner.get_attribute("aria-label")
        page.keyboard.press("ArrowRight")
        assert corner.get_attribute("aria-label") != was and page.is_checked("label:has-text('these corners') input")
        page.uncheck("label:has-text('these corners') input")
        page.fill("[data-testid=layout]", "3x4+1")
        page.select_option("[data-testid=speed]", "50")
        page.click("text=Read again")
        page.wait_for_selector("[data-testid=basis]:has-text('50.0 mm/s (given)')")
        part(page, "Measurements")
        rate = "[data-testid=rate_bpm] td >> nth=0"
        until(page, lambda: page.inner_text(rate) in ("138 /min", "139 /min", "140 /min", "141 /min", "142 /min"))
        page.click("text=As found")
        until(page, lambda: page.inner_text(rate) in ("69 /min", "70 /min", "71 /min"))


def test_a_talk_and_what_is_thought_of_it(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from serve_language import learned_by_heart

    bundle = learned_by_heart(tmp_path, "Left bundle branch block. The rate is 200 /min.")
    with served(tmp_path / "data") as link:
        shutil.copytree(bundle, tmp_path / "data" / "models" / "parrot")
        with chromium(link) as page:
            open_ecg(page, "left bundle")
            part(page, "Chat")
            page.fill("[aria-label='Ask about this ECG']", "What does this ECG show?")
            page.press("[aria-label='Ask about this ECG']", "Enter")
            page.wait_for_selector(".sentence.supported:has-text('Left bundle branch block')")
            page.wait_for_selector(".sentence.contradicted:has-text('200')")
            page.click("role=button[name='Bad']")
            page.wait_for_selector("[aria-pressed=true]:has-text('Bad')")
            page.click("role=button[name='Say it better']")
            page.fill("[aria-label='A better answer']", "Left bundle branch block, 75 /min.")
            page.click("role=button[name='Keep']")
            page.wait_for_selector("text=Better: Left bundle branch block, 75 /min.")
            with page.expect_download() as download:
                page.click("text=What was preferred")
            assert set(zipfile.ZipFile(download.value.path()).namelist()) >= {"preferences.jsonl"}
            page.reload()
            open_ecg(page, "left bundle")
            part(page, "Chat")
            page.wait_for_selector("text=Better: Left bundle branch block, 75 /min.")


def test_names_labels_and_answers_are_words_on_every_screen(tmp_path: Path) -> None:
    """What users call things is never markup, wherever it is shown."""
    evil = "<img src=x onerror=document.title=1>"
    write(simulate("lbbb", rate=75, seed=5).record, tmp_path / "a.npz")
    with served(tmp_path / "data") as link, chromium(link) as page:
        sent = {"name": f"{evil}.npz", "mimeType": "application/octet-stream", "buffer": (tmp_path / "a.npz").read_bytes()}
        page.set_input_files("[data-testid=files]", [sent])
        until(page, lambda: page.inner_text("article h2") == f"{evil}.npz")
        part(page, "Labels & files")
        page.fill("[aria-label='Add a label']", evil)
        page.press("[aria-label='Add a label']", "Enter")
        page.wait_for_selector(f".labels span:has-text('{evil}')")
        for name in ("Beats", "Spectrum", "Compare", "Trace"):
            view(page, name)
            page.wait_for_timeout(300)
        for screen in ("Fine-tune", "Models", "Settings", "Help", "ECGs"):
            page.click(f"role=navigation[name='Screens'] >> role=button[name='{screen}']")
            page.wait_for_timeout(300)
            if screen == "Fine-tune":
                page.wait_for_selector(f"text={evil} 1")
        assert page.locator("img").count() == 0 and page.title() == "Einthoven"


def test_settings_the_tour_and_a_phone(tmp_path: Path) -> None:
    """A token is told once; colours change and stay; the tour goes to its end by keyboard; nothing is wider than a phone."""
    with served(tmp_path / "data") as link, chromium(link, width=390, height=844) as page:
        wide = "document.documentElement.scrollWidth"
        for screen in ("Fine-tune", "Models", "Settings", "Help", "ECGs"):
            page.click(f"role=navigation[name='Screens'] >> role=button[name='{screen}']")
            page.wait_for_timeout(200)
            assert page.evaluate(wide) <= 390, screen
        for name in ("Beats", "Aligned", "Spectrum", "Compare", "Trace"):
            view(page, name)
            page.wait_for_timeout(400)
            assert page.evaluate(wide) <= 390, name
        page.check("[data-testid=correct]")
        page.select_option("[data-testid=fiducial]", "qrs_on")
        page.click("[aria-label='2 ms earlier']")
        page.click("text=Put it there")
        page.wait_for_selector("[data-testid=byhand]")
        assert page.evaluate(wide) <= 390

        page.click("role=navigation[name='Screens'] >> role=button[name='Settings']")
        page.select_option("[data-testid=theme]", "dark")
        page.fill("[data-testid=token-name]", "nightly")
        page.click("text=Make a token")
        assert page.inner_text("[data-testid=token]").startswith("ecg_")
        page.reload()
        assert page.get_attribute("html", "data-theme") == "dark" and page.locator("[data-testid=token]").count() == 0
        page.click("role=navigation[name='Screens'] >> role=button[name='Help']")
        page.click("[data-testid=start-tour]")
        steps = 0
        while page.locator("[data-testid=tour]").count():
            page.wait_for_selector("[data-next]:focus")
            steps += 1
            page.keyboard.press("Enter")
            page.wait_for_timeout(250)
        assert steps == 8
