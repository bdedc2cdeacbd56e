"""The words on a sheet: who, when, by what machine, what was measured, what it means, and at what scale it is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from einthoven.beats.measurements import Measurements
from einthoven.paper.page import Page, Text
from einthoven.paper.pdf import text_width
from einthoven.record import Record

NOT_A_DEVICE = "Research use only. Not a medical device."

_SIZE, _LEAD = 3.0, 4.1  # letters and line spacing, mm
_WIDER = 1.08  # the letters of the PNG run wider than Helvetica, by which lines are fitted


def fit(text: str, size: float, width: float) -> str:
    """The text, shortened with an ellipsis to `width`."""
    width /= _WIDER
    if text_width(text, size) <= width:
        return text
    while text and text_width(text + "…", size) > width:
        text = text[:-1]
    return text.rstrip() + "…"


def wrap(text: str, size: float, width: float) -> list[str]:
    """The text in lines no wider than `width`, broken between words (a word too long for a line is broken)."""
    width /= _WIDER
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if text_width(longer, size) <= width:
            lines[-1] = longer
            continue
        while text_width(word, size) > width and len(word) > 1:
            cut = len(word)
            while cut > 1 and text_width(word[:cut], size) > width:
                cut -= 1
            lines.append(word[:cut])
            word = word[cut:]
        lines.append(word)
    return [line for line in lines if line]


@dataclass(frozen=True)
class Headline:
    """What a header says besides the record: measured values as (name, value) pairs, and conclusions, each a sentence."""

    values: tuple[tuple[str, str], ...] = ()
    conclusions: tuple[str, ...] = ()
    measured_by: str = ""  # who measured, where that is not this package


def headline(record: Record, measurements: Measurements | None = None, conclusions: Sequence[str] = ()) -> Headline:
    """The values of a header: this package's measurements where given, else the machine's own, and then it says so."""
    if measurements is not None:
        get: Mapping[str, float] = {n: measurements[n] for n in measurements}
        by = ""
    else:
        get, by = record.machine, "measured by the recorder" if record.machine else ""
    if measurements is None and not conclusions:
        conclusions = record.statements

    def figure(*names: str, unit: str = "") -> str:
        value = next((get[n] for n in names if n in get and get[n] == get[n]), None)
        return "–" if value is None else f"{value:.0f} {unit}".strip()

    values: list[tuple[str, str]] = []
    if get:
        both = "qtc_fridericia_ms" in get
        qtc = (
            f"{figure('qtc_bazett_ms', 'qtc_ms')} / {figure('qtc_fridericia_ms')}"
            if both
            else figure("qtc_bazett_ms", "qtc_ms")
        )
        values = [
            ("Rate", figure("rate_bpm", unit="/min")),
            ("PR", figure("pr_ms", unit="ms")),
            ("QRS", figure("qrs_ms", unit="ms")),
            ("QT", figure("qt_ms", unit="ms")),
            ("QTc B / F" if both else "QTc", f"{qtc} ms"),
        ]
        axes = [figure(f"{wave}_axis_deg") for wave in ("p", "qrs", "t")]
        if any(axis != "–" for axis in axes):
            values.append(("P-QRS-T", f"{' / '.join(axes)} °"))
    return Headline(tuple(values), tuple(conclusions), by)


def patient_lines(record: Record) -> list[str]:
    """Name, id, birth date, age and sex, date and time, as far as the file has them; the file's name where it names nobody."""
    p = record.patient
    file = PurePath((record.source.path or "").replace("\\", "/").split("!")[-1]).name
    who = [t for t in (p.shown_name, f"ID {p.id}" if p.id else "") if t] or [file]
    born = f"born {p.birth_date}" if p.birth_date else ""
    facts = ", ".join(t for t in (born, "" if p.age is None else f"{p.age:g} years", p.sex or "") if t)
    return [t for t in (*who, facts, record.start.strftime("%Y-%m-%d %H:%M:%S") if record.start else "") if t]


def device_line(record: Record) -> str:
    """Maker and model of the recorder, institution and file format, as far as they are known."""
    d = record.device
    maker = " ".join(t for t in (d.manufacturer, d.model) if t)
    return " · ".join(t for t in (maker, d.institution, record.source.format) if t)


def filter_line(record: Record) -> str:
    """The filters that the recorder had applied, or "" where the file does not say."""
    d = record.device
    low, high = d.highpass_hz, d.lowpass_hz
    band = f"{low:g}–{high:g} Hz" if low is not None and high is not None else ""
    band = band or (f"≥ {low:g} Hz" if low is not None else f"≤ {high:g} Hz" if high is not None else "")
    return "  ".join(t for t in (band, f"notch {d.notch_hz:g} Hz" if d.notch_hz else "") if t)


def write_header(
    page: Page,
    record: Record,
    measurements: Measurements | None = None,
    conclusions: Sequence[str] = (),
    *,
    header: bool = True,
    software: str = "Einthoven",
) -> Page:
    """The page with its footer, and its header in three columns: who and when, what was measured, what it means."""
    texts = _footer(page, record, software)
    if header:
        head = headline(record, measurements, conclusions)
        left, right, top = page.grid.left, page.grid.right, page.grid.top
        y0 = top - 25.0
        wide = right - left
        room = max(int((top - y0) / _LEAD), 1)
        x_values = left + 0.30 * wide
        x_words = x_values + (58.0 if head.values else 0.0)

        who = patient_lines(record)
        for i, line in enumerate(who[:room]):
            big = i == 0 and bool(record.patient.name)
            texts.append(Text(left, y0 + i * _LEAD, _SIZE, fit(line, _SIZE, x_values - left - 4), bold=big))
        device = device_line(record)
        if device and len(who) < room:
            texts.append(Text(left, y0 + (room - 1) * _LEAD, 2.5, fit(device, 2.5, x_values - left - 4)))

        for i, (name, value) in enumerate(head.values):
            texts.append(Text(x_values, y0 + i * _LEAD, _SIZE, name))
            texts.append(Text(x_values + 18, y0 + i * _LEAD, _SIZE, value, bold=True))
        for i, line in enumerate(wrap(head.measured_by, 2.2, 17.0)):
            texts.append(Text(x_values + 39, y0 + i * 3.2, 2.2, line))

        lines = [line for words in head.conclusions for line in wrap(words, _SIZE, right - x_words)]
        if len(lines) > room:
            lines = [*lines[: room - 1], "… more in the report"]
        texts += [Text(x_words, y0 + i * _LEAD, _SIZE, line) for i, line in enumerate(lines)]
    return replace(page, texts=page.texts + tuple(texts))


def _footer(page: Page, record: Record, software: str) -> list[Text]:
    y, size = page.grid.bottom + 4.6, 2.6
    scale = f"{page.speed:g} mm/s   {page.gain:g} mm/mV"
    texts = [Text(page.grid.left, y, size, scale, bold=True)]
    last = " · ".join(t for t in (NOT_A_DEVICE, software) if t)
    start = page.grid.left + text_width(scale, size, True) * _WIDER + 4
    room = page.grid.right - text_width(last, size) * _WIDER - 3 - start
    notes = "   ".join(t for t in (filter_line(record), *page.notes) if t)
    texts.append(Text(start, y, size, fit(notes, size, room)))
    texts.append(Text(page.grid.right, y, size, last, anchor="end"))
    return [t for t in texts if t.text]
