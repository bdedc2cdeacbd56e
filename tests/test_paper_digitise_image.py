"""Images of paper give back the record and the page that were drawn: floors well below what the bench measures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from einthoven.cli import app
from einthoven.io import read
from einthoven.paper.digitise import digitize
from einthoven.paper.digitise.follow import sharpen
from einthoven.paper.digitise.lattice import SCALE, find_lattice
from einthoven.paper.digitise.picture import read_image
from einthoven.paper.digitise.snr import snr_db
from einthoven.paper.distort import Step, distort
from einthoven.paper.page import Page
from einthoven.paper.pdf import PdfPage, write_pdf
from einthoven.paper.render import png_bytes, render
from einthoven.record import EcgError, Record
from einthoven.synth import simulate

RECORD = simulate(rate=80, seed=4, noise=30.0).record


def mean_snr(record: Record, found: Record) -> float:
    values = np.array(list(snr_db(record, found).values()))
    assert np.isfinite(values).all(), "a lead was not found"
    return float(values.mean())


def same_page(found: Page, truth: Page) -> None:
    """Leads, layout and scale are the same, and every strip lies where it was drawn, to half a millimetre."""
    assert (found.layout, found.speed, found.gain) == (truth.layout, truth.speed, truth.gain)
    mine = {(s.lead, s.sign, s.rhythm): s for s in found.strips}
    assert set(mine) == {(s.lead, s.sign, s.rhythm) for s in truth.strips}
    for s in truth.strips:
        t = mine[s.lead, s.sign, s.rhythm]
        assert np.abs([t.x - s.x, t.baseline - s.baseline, (t.start - s.start) * 25, (t.stop - s.stop) * 25]).max() < 0.5
    assert np.abs(np.subtract(found.size, truth.size)).max() < 0.6


@pytest.mark.parametrize(
    "options", [{}, {"layout": "6x2", "palette": "blue"}, {"layout": "3x4", "size": "a4", "gain": 5}, {"dpi": 130}], ids=str
)
def test_a_clean_page(options: dict[str, Any]) -> None:
    image, page = render(RECORD, **options)
    found = digitize(image)
    same_page(found.page, page)
    assert mean_snr(RECORD, found.record) > 18
    assert found.means == "image" and found.homography is not None
    assert min(found.confidence.values()) > 0.5


@pytest.mark.parametrize(("preset", "seed", "floor"), [("scan", 1, 14.0), ("photo", 3, 11.0)])
def test_a_distorted_page(preset: str, seed: int, floor: float) -> None:
    image, page = render(RECORD)
    picture, _ = distort(image, page, preset, seed=seed)
    found = digitize(picture)
    assert found.page.layout == page.layout
    assert mean_snr(RECORD, found.record) > floor


@pytest.mark.parametrize(("palette", "layout", "seed"), [("red", "6x2", 3), ("pink", "3x4+1", 7), ("blue", "3x4", 2)])
def test_a_fax_with_a_grid_as_black_as_ink_or_hardly_any(palette: str, layout: str, seed: int) -> None:
    """The picture is as high as the page (98 lines an inch, too), and every strip lies where it was drawn."""
    image, page = render(RECORD, palette=palette, layout=layout)
    picture, truth = distort(image, page, [Step("grey"), Step("fax", 1.0, 1.2, 1.2)], seed=seed)
    assert picture.shape == image.shape and [name for name, _ in truth.steps] == ["grey", "fax"]
    found = digitize(picture)
    same_page(found.page, page)
    assert mean_snr(RECORD, found.record) > 14


def test_a_faint_grid_under_black_ink() -> None:
    """Copied until of the grid only pale 5 mm lines are left: the millimetre is what it was."""
    image, page = render(RECORD, palette="bw", layout="3x4")
    grey = image.astype(np.int16).mean(axis=2)
    pale = np.where(grey < 90, 0, np.where(grey < 160, 225, 255)).astype(np.uint8)
    found = digitize(np.repeat(pale[:, :, None], 3, axis=2))
    same_page(found.page, page)


def test_a_rhythm_strip_is_named_by_what_it_repeats() -> None:
    image, _ = render(RECORD, rhythm=["V5"], layout="3x4+1")
    assert [s.lead for s in digitize(image).page.strips if s.rhythm] == ["V5"]


def test_nothing_is_told_where_nothing_was_printed() -> None:
    image, _ = render(RECORD, layout="3x4")
    seconds = np.flatnonzero(np.isfinite(digitize(image).record.lead("V1"))) / 500
    assert abs(seconds[0] - 5.0) < 0.02 and abs(seconds[-1] - 7.5) < 0.02


def test_what_the_caller_knows_is_taken() -> None:
    image, page = render(RECORD, layout="3x4", gain=10, speed=25)
    found = digitize(image, speed=50, gain=20, layout="3x4")
    assert (found.page.speed, found.page.gain) == (50, 20)
    assert np.nanmax(found.record.signal) == pytest.approx(np.nanmax(digitize(image).record.signal) / 2, rel=0.03)
    assert found.record.duration == pytest.approx(5.0, abs=0.05)
    with pytest.raises(EcgError, match="rows"):
        digitize(image, layout="12x1")
    # Corners: the sheet on a larger desk.
    desk = np.full((image.shape[0] + 300, image.shape[1] + 400, 3), 60, np.uint8)
    desk[100:-200, 150:-250] = image
    h, w = image.shape[:2]
    corners = [(150, 100), (150 + w, 100), (150 + w, 100 + h), (150, 100 + h)]
    assert mean_snr(RECORD.pick(page_leads(page)), digitize(desk, corners=corners).record) > 15
    with pytest.raises(EcgError, match="corners"):
        digitize(desk, corners=[(0, 0), (1, 0), (1, 1), (0, 1)])


def page_leads(page: Page) -> tuple[str, ...]:
    return tuple(dict.fromkeys(s.lead for s in page.strips))


@pytest.mark.parametrize("angle", [-7.0, 3.0])
def test_the_lattice_of_a_turned_sheet(angle: float) -> None:
    """The map that is found takes the grid's crossings to where the turned image has them."""
    image, page = render(RECORD)
    h, w = image.shape[:2]
    turn = cv2.getRotationMatrix2D((w / 2, h / 2), angle, 1.0)
    lattice = find_lattice(cv2.warpAffine(image, turn, (w, h), borderValue=(255, 255, 255)))
    g = page.grid
    x, y = np.meshgrid(np.arange(g.left + 20, g.right - 20, 5), np.arange(g.top + 20, g.bottom - 20, 5))
    pixels = np.stack([x.ravel() * page.px_per_mm - 0.5, y.ravel() * page.px_per_mm - 0.5, np.ones(x.size)])
    seen = turn @ pixels
    mm = np.linalg.inv(lattice.homography) @ np.vstack([seen, np.ones(x.size)])
    phase = (mm[:2] / mm[2] - np.array(lattice.origin)[:, None] + 2.5) % 5 - 2.5
    assert np.abs(phase).max() < 0.25  # mm


def test_a_pen_thicker_than_a_peak_is_seen_through() -> None:
    """A peak two columns wide, drawn by a pen of radius 1.6 pixels: edges of the exact stroke give the curve back."""
    fine = np.arange(0, 60, 0.01)
    curve = 50 - 30 * np.exp(-0.5 * ((fine - 30.2) / 1.3) ** 2)
    radius = 1.6
    top, bottom = np.empty(60), np.empty(60)
    for i in range(60):
        near = np.abs(fine - i) <= radius
        bow = np.sqrt(radius**2 - (fine[near] - i) ** 2)
        top[i], bottom[i] = (curve[near] - bow).min(), (curve[near] + bow).max()
    y, misfit = sharpen(top, bottom, radius, 40, 0, 0)
    truth = curve[::100]
    middle = 0.5 * (top + bottom)
    assert np.sqrt(np.mean((y - truth) ** 2)) < 0.35 * np.sqrt(np.mean((middle - truth) ** 2))
    assert abs(y.min() - truth.min()) < 1.0 and misfit < 0.5


def test_a_scan_within_a_pdf(tmp_path: Path) -> None:
    image, _ = render(RECORD, layout="3x4", dpi=150)
    h, w = image.shape[:2]
    _, jpeg = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    data = jpeg.tobytes()
    page = write_pdf([PdfPage(279.4, 215.9)])
    # The page's empty content becomes one picture.
    picture = b"8 0 obj\n<< /Type /XObject /Subtype /Image /Width %d /Height %d /ColorSpace /DeviceRGB" % (w, h)
    picture += b" /BitsPerComponent 8 /Filter /DCTDecode /Length %d >>\nstream\n%s\nendstream\nendobj\n" % (len(data), data)
    content = b"q 792 0 0 612 0 0 cm /Im Do Q"
    body = page[: page.index(b"\nxref\n") + 1]
    body = body.replace(b"/Font <<", b"/XObject << /Im 8 0 R >> /Font <<")
    start = body.index(b"<< /Length")
    stop = body.index(b"endobj", start)
    body = body[:start] + b"<< /Length %d >>\nstream\n%s\nendstream\n" % (len(content), content) + body[stop:] + picture
    found = digitize(body + b"trailer\n<< /Size 9 /Root 1 0 R >>\n%%EOF\n")
    assert found.means == "image" and len(found.record.leads) == 12


def blank() -> np.ndarray:
    return np.full((600, 800, 3), 255, np.uint8)


def test_refused_with_a_reason() -> None:
    rng = np.random.default_rng(0)
    grid = blank()
    grid[::40] = grid[:, ::40] = (240, 150, 150)
    grid[::8] = grid[:, ::8] = (248, 210, 210)
    for image in (blank(), rng.integers(0, 255, (600, 800, 3)).astype(np.uint8), grid, blank()[:50]):
        with pytest.raises(EcgError) as fault:
            digitize(image)
        assert fault.value.what
    for data in (b"", b"no image", b"\x89PNG\r\n\x1a\n" + bytes(30), b"\xff\xd8\xff\xe0", png_bytes(blank())[:200], b"II*\0"):
        with pytest.raises(EcgError):
            digitize(data)
    with pytest.raises(EcgError, match="uint8"):
        digitize(np.zeros((600, 800)))  # type: ignore[arg-type]
    huge = bytearray(png_bytes(blank()))
    huge[16:24] = (100_000).to_bytes(4, "big") * 2
    with pytest.raises(EcgError, match="pixels"):
        digitize(bytes(huge))


def test_files_are_upright_and_white_where_they_are_transparent() -> None:
    image = np.random.default_rng(1).integers(0, 255, (300, 400, 3)).astype(np.uint8)
    assert np.array_equal(read_image(png_bytes(image)), image)
    _, png = cv2.imencode(".png", np.dstack([image[:, :, ::-1], np.zeros((300, 400), np.uint8)]))
    assert (read_image(png.tobytes()) == 255).all()
    for suffix in (".jpg", ".bmp", ".tiff", ".webp"):
        assert read_image(cv2.imencode(suffix, image)[1].tobytes()).shape == (300, 400, 3)
    _, jpeg = cv2.imencode(".jpg", image)
    exif = bytes.fromhex("ffe10022457869660000") + b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    turned = jpeg.tobytes()[:2] + exif + jpeg.tobytes()[2:]
    assert read_image(turned).shape == (400, 300, 3)  # orientation 6


def test_the_command(tmp_path: Path) -> None:
    image, page = render(RECORD, layout="3x4")
    (tmp_path / "page.png").write_bytes(png_bytes(image, page.dpi))
    out = tmp_path / "page.csv"
    ran = CliRunner().invoke(app, ["digitize", str(tmp_path / "page.png"), "-o", str(out), "--json"])
    assert ran.exit_code == 0, ran.output
    assert len(read(out).leads) == 12
    picture = cv2.imread(str(tmp_path / "page.overlay.png"))
    assert picture.shape[1] == pytest.approx(page.size[0] * SCALE, abs=4)
    (tmp_path / "no.png").write_bytes(b"rubbish")
    assert CliRunner().invoke(app, ["digitize", str(tmp_path / "no.png"), "-o", str(out)]).exit_code == 1


def test_real_paper(shared_data: Path) -> None:
    """One clean scan, one cropped one, one creased photo, one low grab: twelve leads, and the layout that a reader sees."""
    for name, layout in (
        ("ecg00001.png", "3x4+1"),
        ("ecg00015.png", "3x4"),
        ("ecg00043.jpg", "3x4+1"),
        ("ecg00053.png", "3x4+3"),
    ):
        found = digitize(shared_data / "images" / "paper" / name)
        assert found.page.layout == layout, name
        assert len(found.record.leads) == 12, name
