"""A PDF's vectors give back the record that was drawn, to the width of its rounding."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from einthoven.paper.digitise import digitize
from einthoven.paper.digitise.snr import snr_db
from einthoven.paper.page import Page
from einthoven.paper.pdf import PdfPage, write_pdf
from einthoven.paper.render import prepare
from einthoven.paper.trace import trace
from einthoven.paper.vector import to_pdf
from einthoven.record import EcgError, Record
from einthoven.synth import simulate

RECORD = simulate(rate=72, seed=4, noise=20.0).record


def same_strips(found: Page, truth: Page, tolerance: float) -> None:
    assert (found.speed, found.gain) == (truth.speed, truth.gain)
    key = {(s.lead, s.rhythm): s for s in found.strips}
    assert set(key) == {(s.lead, s.rhythm) for s in truth.strips}
    for strip in truth.strips:
        twin = key[strip.lead, strip.rhythm]
        assert twin.sign == strip.sign
        gaps = (twin.x - strip.x, twin.baseline - strip.baseline, (twin.start - strip.start) * truth.speed)
        assert np.abs(gaps).max() < tolerance, strip.lead


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"layout": "12x1"},
        {"layout": "6x2", "palette": "plain"},
        {"layout": "3x4+3", "order": "cabrera", "palette": "bw"},
        {"speed": 50, "gain": 20, "layout": "3x4"},
        {"gain": 5, "size": "a4", "header": False},
        {"layout": "1x1:II"},
    ],
    ids=str,
)
def test_vectors_are_exact(options: dict[str, Any]) -> None:
    palette = options.get("palette", "pink")
    page = prepare(RECORD, **{k: v for k, v in options.items() if k != "palette"})
    found = digitize(to_pdf(RECORD, page, palette=palette, tolerance=0.0005))
    assert found.means == "vectors"
    same_strips(found.page, page, 0.002)
    got = snr_db(RECORD.pick(tuple(dict.fromkeys(s.lead for s in page.strips))), found.record)
    assert min(got.values()) > 45
    assert found.image.shape[2] == 3 and abs(found.image.shape[1] - page.shape[1]) <= 1


def test_what_was_not_printed_is_not_a_number() -> None:
    found = digitize(to_pdf(RECORD, prepare(RECORD, layout="3x4")))
    seconds = np.isfinite(found.record.lead("V1")).nonzero()[0] / found.record.fs
    assert (seconds.min(), seconds.max()) == (5.0, 7.5)


def drawn(record: Record, page: Page, scale: float, cut: bool) -> bytes:
    """A row as one path over all its columns, or as a stroke for every segment; on a sheet scaled as by a print dialogue."""
    sheet = PdfPage(page.size[0] * scale, page.size[1] * scale)
    g = page.grid
    xs = [((g.left + k) * scale,) * 2 for k in range(round(g.width) + 1)]
    ys = [((g.top + k) * scale,) * 2 for k in range(round(g.height) + 1)]
    sheet.lines([(x, (g.top * scale, g.bottom * scale)) for x in xs], 0.1, (250, 200, 200))
    sheet.lines([((g.left * scale, g.right * scale), y) for y in ys], 0.1, (250, 200, 200))
    rows: dict[float, list[Any]] = {}
    for strip in page.strips:
        rows.setdefault(strip.baseline, []).extend(trace(record, page, strip))
    for row in rows.values():
        x, y = (np.concatenate(part) * scale for part in zip(*row, strict=True))
        if cut:
            for k in range(len(x) - 1):
                sheet.lines([(x[k : k + 2], y[k : k + 2])], 0.3, (0, 0, 0))
        else:
            sheet.lines([(x, y)], 0.3, (0, 0, 0))
    for t in page.texts:
        sheet.text(t.x * scale, t.y * scale, t.size * scale, t.text)
    return write_pdf([sheet])


@pytest.mark.parametrize(("scale", "cut"), [(1.0, True), (0.94, False), (1.31, True)])
def test_pages_of_other_writers(scale: float, cut: bool) -> None:
    page = prepare(RECORD, layout="3x4+1")
    found = digitize(drawn(RECORD, page, scale, cut))
    assert min(snr_db(RECORD, found.record).values()) > 30  # the jump at a column's border takes a sample or two
    assert found.page.layout == "3x4+1"
    assert (scale == 1.0) != any("true size" in w for w in found.warnings)


def test_an_ecg_on_the_second_page(tmp_path: Path) -> None:
    cover, sheet = PdfPage(200, 100), PdfPage(*(page := prepare(RECORD)).size)
    cover.text(10, 10, 4, "Letter")
    from einthoven.paper.vector import paint

    paint(sheet, RECORD, page)
    path = tmp_path / "two.pdf"
    path.write_bytes(write_pdf([cover, sheet]))
    assert len(digitize(path).record.leads) == 12
    with pytest.raises(EcgError, match="no page 3"):
        digitize(path, page=2)


@pytest.mark.parametrize("data", [b"%PDF-1.4 rubbish", b"%PDF", write_pdf([PdfPage(100, 100)])])
def test_refused_with_a_reason(data: bytes) -> None:
    with pytest.raises(EcgError):
        digitize(data)


def test_broken_files_are_refused_or_read() -> None:
    whole = to_pdf(RECORD, prepare(RECORD))
    rng = np.random.default_rng(0)
    for _ in range(30):
        data = bytearray(whole)
        for at in rng.integers(0, len(data), 20):
            data[at] = rng.integers(256)
        try:
            assert digitize(bytes(data[: rng.integers(1, len(data))])).record.leads
        except EcgError as fault:
            assert fault.what


@pytest.mark.parametrize("options", [{"fs": 0}, {"fs": float("nan")}, {"speed": -25}, {"gain": float("inf")}])
def test_wrong_use_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(EcgError, match="must be"):
        digitize(b"%PDF", **options)  # type: ignore[arg-type]


def test_snr_of_what_is_known() -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(size=RECORD.signal.shape) * RECORD.signal.std(axis=1, keepdims=True) / 10
    spoilt = replace(RECORD, signal=(RECORD.signal + noise + 0.3).astype(np.float32))  # an offset costs nothing
    assert np.allclose(list(snr_db(RECORD, spoilt).values()), 20, atol=0.3)
    late = replace(RECORD, signal=np.roll(RECORD.signal, 7, axis=1))
    late.signal[:, :7] = np.nan
    assert min(snr_db(RECORD, late).values()) > 90
