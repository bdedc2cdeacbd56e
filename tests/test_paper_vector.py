"""SVG and PDF read back: their paths are the signal, at the millimetres the Page says."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
import zlib

import numpy as np
import pytest
from paper_examples import record_of

from einthoven.paper.page import lay_out
from einthoven.paper.pdf import PdfPage, text_width, winansi, write_pdf
from einthoven.paper.render import prepare
from einthoven.paper.vector import simplify, to_pdf, to_svg
from einthoven.record import Patient, Record

SVG = "{http://www.w3.org/2000/svg}"


def svg_paths(svg: str) -> dict[int, list[np.ndarray]]:
    """Strip -> its polylines (N, 2) in mm."""
    out: dict[int, list[np.ndarray]] = {}
    for path in ET.fromstring(svg).iter(f"{SVG}path"):
        if path.get("class") == "trace":
            pieces = []
            for part in path.get("d", "").split("M")[1:]:
                numbers = np.array(re.findall(r"-?\d+", part), float).reshape(-1, 2)
                pieces.append(np.cumsum(numbers, axis=0) / 100)
            out[int(path.get("data-strip", "-1"))] = pieces
    return out


def pdf_streams(data: bytes) -> list[str]:
    """The content streams, found by the offsets of the cross-reference table."""
    start = int(data[data.rindex(b"startxref") + 9 :].split()[0])
    lines = data[start:].split(b"\n")
    assert lines[0] == b"xref"
    count = int(lines[1].split()[1])
    out = []
    for i, line in enumerate(lines[3 : 2 + count], 1):
        at = int(line[:10])
        assert data[at:].startswith(b"%d 0 obj" % i)
        found = re.match(rb"\d+ 0 obj\n<< /Length (\d+) /Filter /FlateDecode >>\nstream\n", data[at : at + 200])
        if found:
            body = data[at + found.end() : at + found.end() + int(found[1])]
            out.append(zlib.decompress(body).decode("latin-1"))
    return out


def pdf_lines(stream: str, height: float) -> list[tuple[float, np.ndarray]]:
    """(width, points (N, 2)) of every polyline, in mm from the upper left corner."""
    out = []
    width = 0.0
    for line in stream.split("\n"):
        if found := re.search(r"([\d.]+) w ", line):
            width = float(found[1]) * 25.4 / 72
        if re.match(r"-?[\d.]+ -?[\d.]+ m ", line):
            points = np.array(re.findall(r"(-?[\d.]+) (-?[\d.]+) [ml]", line), float) * 25.4 / 72
            out.append((width, np.column_stack([points[:, 0], height - points[:, 1]])))
    return out


def test_svg_is_sized_in_millimetres_and_its_paths_are_the_signal() -> None:
    record = record_of()
    page = prepare(record, layout="3x4+1")
    svg = to_svg(record, page)
    root = ET.fromstring(svg)
    assert root.get("width") == "279.4mm" and root.get("height") == "215.9mm" and root.get("viewBox") == "0 0 279.4 215.9"
    paths = svg_paths(svg)
    assert set(paths) == set(range(len(page.strips)))
    for i, strip in enumerate(page.strips):
        (piece,) = paths[i]
        seconds, _ = page.from_mm(strip, piece[:, 0], piece[:, 1])
        samples = np.arange(record.signal.shape[1]) / record.fs
        inside = (samples >= strip.start) & (samples <= strip.stop)
        # Every sample lies within 0.02 mm of the path: 0.01 of simplification, 0.005 of rounding and a flank's slope.
        x, y = page.to_mm(strip, samples[inside], record.lead(strip.lead)[inside])
        assert seconds[0] == pytest.approx(strip.start, abs=1e-3)
        assert distance(piece, np.column_stack([x, y])).max() < 0.02


def distance(line: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(N,) from each point to the polyline."""
    a, d = line[:-1], np.diff(line, axis=0)
    length = np.maximum((d**2).sum(axis=1), 1e-12)
    gap = points[:, None] - a[None]
    t = np.clip((gap * d).sum(axis=2) / length, 0, 1)
    return np.sqrt(((gap - t[..., None] * d) ** 2).sum(axis=2)).min(axis=1)


def test_pdf_paths_are_the_page() -> None:
    record = record_of(fs=250)
    page = prepare(record, size="a4")
    (stream,) = pdf_streams(to_pdf(record, page, tolerance=0))
    lines = pdf_lines(stream, page.size[1])
    traces = [points for width, points in lines if width == pytest.approx(0.32, abs=1e-3) and len(points) > 100]
    assert len(traces) == len(page.strips)
    for strip, points in zip(page.strips, traces, strict=True):
        samples = np.arange(record.signal.shape[1]) / record.fs
        inside = (samples >= strip.start) & (samples <= strip.stop)
        x, y = page.to_mm(strip, samples[inside], record.lead(strip.lead)[inside])
        assert np.abs(points - np.column_stack([x, y])).max() < 0.001
    grid = [points for width, points in lines if width == pytest.approx(0.1, abs=1e-3)]
    assert len(grid) == round(page.grid.width) + round(page.grid.height) + 2
    upright = sorted(p[0, 0] for p in grid if p[0, 0] == p[1, 0])
    assert np.allclose(np.diff(upright), 1.0, atol=1e-3)
    assert b"/MediaBox [0 0 841.89 595.276]" in to_pdf(record, page)


def test_the_same_page_gives_the_same_bytes() -> None:
    record = record_of()
    page = lay_out(record)
    assert to_pdf(record, page) == to_pdf(record, page) and to_svg(record, page) == to_svg(record, page)


def test_hostile_names_stay_words() -> None:
    name = "</text><script>alert(1)</script> (\\) Tj ET"
    record = record_of()
    record = Record(record.signal, record.fs, record.leads, patient=Patient(name=name, id='"><img src=x>'))
    page = prepare(record)
    root = ET.fromstring(to_svg(record, page))
    assert not list(root.iter("script")) and not list(root.iter(f"{SVG}script"))
    assert any(t.text and t.text.startswith("</text><script>") for t in root.iter(f"{SVG}text"))
    (stream,) = pdf_streams(to_pdf(record, page))
    assert r"\(\\\) Tj ET" in stream


def test_text_in_pdf() -> None:
    assert winansi("Zoë 5 µV ≥ 3 °") == "Zoë 5 µV >= 3 °".encode("cp1252")
    assert winansi("č李\n") == b"c?"
    assert text_width("II", 10) == pytest.approx(5.56) and text_width("ä", 1) == text_width("a", 1)
    sheet = PdfPage(100, 50)
    sheet.text(90, 10, 3, "end", anchor="end")
    (stream,) = pdf_streams(write_pdf([sheet]))
    x = float(re.search(r"Tf ([\d.]+) ", stream)[1])  # type: ignore[index]
    assert x * 25.4 / 72 == pytest.approx(90 - text_width("end", 3), abs=1e-3)


def test_absurd_amplitudes_stay_numbers() -> None:
    record = record_of(("I", "II"))
    signal = record.signal.copy()
    signal[0, ::100], signal[1, 50] = 1e30, -np.inf
    record = Record(signal, record.fs, record.leads)
    page = prepare(record)
    for pieces in svg_paths(to_svg(record, page)).values():
        assert all(np.abs(piece).max() <= 1e4 for piece in pieces)
    assert "e+" not in pdf_streams(to_pdf(record, page))[0]


def test_simplify_keeps_to_its_tolerance() -> None:
    x = np.linspace(0, 250, 5000)
    y = 5 * np.sin(x) + np.random.default_rng(1).normal(0, 0.01, len(x))
    for tolerance in (0.01, 0.05, 0.5):
        sx, sy = simplify(x, y, tolerance)
        assert len(sx) < len(x) and (sx[0], sx[-1]) == (x[0], x[-1])
        assert distance(np.column_stack([sx, sy]), np.column_stack([x, y])[::7]).max() <= tolerance + 1e-9
