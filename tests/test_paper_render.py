"""What is drawn is where the Page says: traces, pulses, grid; and a PNG is the array."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest
from paper_examples import record_of

from einthoven.beats.fiducials import Beats
from einthoven.paper.page import Page
from einthoven.paper.palette import PALETTES, rgb
from einthoven.paper.raster import Indexed
from einthoven.paper.render import draw, png_bytes, prepare, render, render_png
from einthoven.paper.save import save_page
from einthoven.paper.trace import trace
from einthoven.record import EcgError, Patient, Record


def darkness(image: np.ndarray) -> np.ndarray:
    """(H, W) how much ink, 0..1, on white paper without grid."""
    return 1 - image.astype(float).mean(axis=2) / 255


def decoded(png: bytes) -> np.ndarray:
    """(H, W, 3) RGB."""
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


@pytest.mark.parametrize("dpi", [100, 200, 300])
@pytest.mark.parametrize("fs", [100.0, 250.0, 500.0, 1000.0])
def test_a_traces_centre_is_where_the_page_says(dpi: int, fs: float) -> None:
    t = np.arange(round(10 * fs)) / fs
    record = Record((0.8 * np.sin(2 * np.pi * 1.1 * t) + 0.1 * t / 10)[None].astype(np.float32), fs, ("II",))
    image, page = render(record, layout="1x1:II", palette="plain", header=False, dpi=dpi)
    strip = page.strips[0]
    ink = darkness(image)
    x0, x1 = (float(v) for v in page.to_pixel(strip, [0.5, 9.5], 0.0)[0])
    columns = np.arange(int(x0) + 1, int(x1))
    label = page.texts[0]
    k = page.px_per_mm
    columns = columns[(columns < (label.x - 1) * k) | (columns > (label.x + 6) * k)]
    top, bottom = round(page.grid.top * k), round(page.grid.bottom * k)
    band = ink[top:bottom, columns]
    centre = (band * np.arange(top, bottom)[:, None]).sum(axis=0) / band.sum(axis=0)
    seconds = page.from_pixel(strip, columns, 0.0)[0]
    expected = page.to_pixel(strip, seconds, np.interp(seconds, t, record.signal[0]))[1]
    assert np.abs(centre - expected).max() < 0.5
    assert abs((centre - expected).mean()) < 0.05


@pytest.mark.parametrize("gain", [5.0, 10.0, 20.0])
@pytest.mark.parametrize("speed", [25.0, 50.0])
def test_the_calibration_pulse_is_one_millivolt(gain: float, speed: float) -> None:
    page = prepare(record_of(), gain=gain, speed=speed)
    for pulse in page.pulses:
        xs, ys = np.array(pulse).T
        assert (ys.max() - ys.min()) * page.px_per_mm == pytest.approx(gain * page.dpi / 25.4, rel=1e-3)
        assert xs[3] - xs[2] == pytest.approx(5.0)
    image = draw(record_of(), page, palette="plain").rgb()
    ink = darkness(image)
    xs, ys = np.array(page.pulses[0]).T * page.px_per_mm - 0.5
    middle = round((xs[2] + xs[3]) / 2)
    a, b = round(ys.min()) - 4, round(ys.min()) + 5
    roof = (ink[a:b, middle] * np.arange(a, b)).sum() / ink[a:b, middle].sum()
    left = round(xs[0]) + 2
    a, b = round(ys.max()) - 4, round(ys.max()) + 5
    floor = (ink[a:b, left] * np.arange(a, b)).sum() / ink[a:b, left].sum()
    assert floor - roof == pytest.approx(gain * page.dpi / 25.4, abs=0.3)


@pytest.mark.parametrize("dpi", [150, 200, 300])
def test_grid_lines_are_at_the_pixel_next_to_their_place(dpi: int) -> None:
    record = Record(np.full((1, 1000), np.nan, np.float32), 100, ("I",))
    page = prepare(record, dpi=dpi)
    index = draw(record, page).index
    k = page.px_per_mm
    # Along the lower and the left edge of the paper no ink lies on the grid.
    row, column = round((page.grid.bottom - 0.5) * k - 0.5), round((page.grid.left + 0.5) * k - 0.5)
    for line, first, length in (
        (index[row], page.grid.left, page.grid.width),
        (index[:, column], page.grid.top, page.grid.height),
    ):
        for mm in range(round(length) + 1):
            exact = (first + mm) * k - 0.5
            kind = 2 if mm % 5 == 0 else 1
            near = np.arange(int(exact) - 2, int(exact) + 4)
            hit = near[line[near] == kind]
            assert len(hit) and abs(hit.mean() - exact) <= 0.5 + 1e-9


def test_png_is_the_image_with_its_resolution() -> None:
    record = record_of()
    png, page = render_png(record, dpi=200)
    image, same = render(record, dpi=200)
    assert page == same and np.array_equal(decoded(png), image)
    at = png.index(b"pHYs")
    across, down, unit = struct.unpack(">IIB", png[at + 4 : at + 13])
    assert unit == 1 and across == down and across * 0.0254 == pytest.approx(200, rel=1e-3)
    assert png[24] == 4  # sixteen colours: four bits a pixel


@pytest.mark.parametrize("width", [7, 8])
def test_png_of_any_array(width: int) -> None:
    rng = np.random.default_rng(0)
    colour, grey = rng.integers(0, 256, (5, width, 3), np.uint8), rng.integers(0, 256, (5, width), np.uint8)
    few = Indexed(rng.integers(0, 16, (5, width)).astype(np.uint8), rng.integers(0, 256, (16, 3)).astype(np.uint8))
    many = Indexed(rng.integers(0, 61, (5, width)).astype(np.uint8), rng.integers(0, 256, (61, 3)).astype(np.uint8))
    assert np.array_equal(decoded(png_bytes(colour)), colour)
    assert np.array_equal(decoded(png_bytes(grey))[..., 0], grey)
    for image in (few, many):
        assert np.array_equal(decoded(png_bytes(image)), image.rgb())


@pytest.mark.parametrize("palette", PALETTES)
def test_palettes_have_their_paper_lines_and_ink(palette: str) -> None:
    image, _ = render(record_of(), palette=palette, dpi=100)
    seen = {tuple(c) for c in np.unique(image.reshape(-1, 3), axis=0).tolist()}
    assert {rgb(c) for c in PALETTES[palette]} <= seen


def test_fiducials_shade_their_waves() -> None:
    record = record_of(("II",))
    times = np.full((1, 1, 9), np.nan)
    times[0, 0, 3:6] = 4.45, 4.5, 4.55
    beats = Beats(("II",), times, times[:, 0], ("N",), 10.0)
    plain, page = render(record)
    shaded, _ = render(record, fiducials=beats)
    changed = np.flatnonzero((plain != shaded).any(axis=(0, 2)))
    x0, x1 = page.to_pixel("II", [4.45, 4.55], 0.0)[0]
    assert abs(changed.min() - x0) <= 1 and abs(changed.max() - x1) <= 1


def test_gaps_are_not_drawn() -> None:
    record = record_of(("II",))
    signal = record.signal.copy()
    signal[:, 2000:3000] = np.nan
    record = Record(signal, record.fs, record.leads)
    page = prepare(record, header=False)
    pieces = trace(record, page, page.strips[0])
    assert len(pieces) == 2
    ink = draw(record, page, palette="plain").index == 15
    x0, x1 = page.to_pixel("II", [4.02, 5.98], 0.0)[0]
    assert not ink[100:-100, round(float(x0)) : round(float(x1))].any()


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6, -1e30])
def test_any_signal_can_be_drawn(value: float) -> None:
    signal = np.zeros((12, 5000), np.float32)
    signal[:, ::7] = value
    record = Record(signal, 500, record_of().leads)
    image, page = render(record, dpi=100)
    assert image.shape == (*page.shape, 3)
    assert render(Record(signal[:, :1], 500, record.leads), dpi=50)[0].ndim == 3
    assert render(Record(signal[:, :0], 500, record.leads), dpi=50)[0].ndim == 3


def test_interpolation_keeps_the_samples_and_a_sine() -> None:
    fs = 100.0
    t = np.arange(1000) / fs
    record = Record(np.sin(2 * np.pi * 13 * t)[None].astype(np.float32), fs, ("II",))
    page = prepare(record)
    ((x, y),) = trace(record, page, page.strips[0])
    seconds, mv = page.from_mm(page.strips[0], x, y)
    step = round((len(x) - 1) / 999)
    assert step > 1 and np.allclose(mv[::step], record.signal[0], atol=1e-6)
    inside = (seconds > 0.2) & (seconds < 9.7)
    assert np.abs(mv[inside] - np.sin(2 * np.pi * 13 * seconds[inside])).max() < 0.002


def test_names_in_any_script_are_drawn() -> None:
    record = record_of()
    for name in ("Müller, Zoë", "Иванов", "李", "\x00\n\t", "a" * 500, "(\\)%<&>"):
        named = Record(record.signal, record.fs, record.leads, patient=Patient(name=name))
        assert render(named, dpi=60)[0].ndim == 3


def test_save_page_by_suffix(tmp_path: object) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path))
    starts = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF-1.4"}
    for suffix, start in starts.items():
        page = save_page(record_of(), folder / f"ecg{suffix}")
        assert isinstance(page, Page) and (folder / f"ecg{suffix}").read_bytes().startswith(start)
    assert sorted(p.name for p in folder.iterdir()) == ["ecg.pdf", "ecg.png", "ecg.svg"]
    with pytest.raises(EcgError, match="a page is written as"):
        save_page(record_of(), folder / "ecg.gif")
    with pytest.raises(EcgError, match="palette"):
        save_page(record_of(), folder / "ecg.png", palette="mauve")
