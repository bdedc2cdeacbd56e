"""A Report as PDF, A4 landscape: the trace at true size, then findings, measurements and median beats."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from einthoven.beats.fiducials import Beats
from einthoven.findings import Finding
from einthoven.interpretation import Report
from einthoven.opinion import together
from einthoven.paper.header import fit, wrap
from einthoven.paper.page import A4, Floats, Page
from einthoven.paper.pdf import PdfPage, text_width, write_pdf
from einthoven.paper.reading import SURE, Image, Reading, jpeg_bytes
from einthoven.paper.vector import paint
from einthoven.record import Record
from einthoven.report.limits import limit
from einthoven.report.median import median_page
from einthoven.report.sheet import Sheet
from einthoven.report.words import (
    ADVICE,
    FLAGGED,
    GROUPS,
    HELD,
    MAIN,
    MORE,
    RESEARCH_ONLY,
    RULES,
    UNCONFIRMED,
    again,
    agreement,
    conclusions,
    doubts,
    evidence_lines,
    figure,
    flags_of_leads,
    machine_value,
    model_notes,
    model_words,
    page_words,
    patient_words,
    provenance,
    quantity,
    rows_shown,
    sheet_of,
    sureness,
    title,
    told_rows,
    told_title,
    verdict,
    voices,
    whose_words,
    worth_saying,
)

_INK, _SOFT, _RULE, _RED = (20, 22, 28), (95, 100, 108), (205, 208, 213), (164, 0, 15)
_COLOURS = {"critical": (164, 0, 15), "abnormal": (160, 72, 0), "minor": (70, 76, 86), "normal": (22, 101, 52)}
_LEFT, _RIGHT, _TOP, _BOTTOM = 14.0, 283.0, 16.0, 198.0
_MIDDLE = 165.0  # where the right column begins
_BODY, _SMALL, _LEADING = 2.9, 2.4, 4.0


def to_pdf(report: Report) -> bytes:
    """The report's pages as a PDF file: the trace, then as many pages as findings and measurements need (mostly one); of paper
    first the page that was read, with the traces over it."""
    record = report.record
    sheets = []
    if report.paper is not None:
        sheets.append(_paper(report, report.paper))
    if not report.unread:
        page = sheet_of(
            report, size=A4, measurements=report.measurements, conclusions=conclusions(report), software=report.software
        )
        first = Sheet(*A4)
        paint(first, record, page)
        sheets += [first, *_Writer(report).write()]
    for i, sheet in enumerate(sheets, 1):
        if i == 1 + (report.paper is not None) and not report.unread:
            continue  # the trace's page says it in its own margin
        foot = f"{report.software} · {RESEARCH_ONLY}"
        sheet.text(_LEFT, 205, _SMALL, foot, colour=_SOFT)
        sheet.text(_RIGHT, 205, _SMALL, f"{i} / {len(sheets)}", anchor="end", colour=_SOFT)
    return write_pdf(sheets, title="ECG report", producer=report.software)


def _headed(report: Report) -> PdfPage:
    """An empty page with the report's head."""
    sheet = Sheet(*A4)
    record = report.record
    started = record.start.strftime("%Y-%m-%d %H:%M") if record.start else ""
    head = "   ".join(t for t in (patient_words(record), started) if t)
    sheet.text(_LEFT, _TOP - 3, 3.6, "ECG report", bold=True, colour=_INK)
    sheet.text(_RIGHT, _TOP - 3, _BODY, fit(head, _BODY, 200), anchor="end", colour=_INK)
    sheet.lines([((_LEFT, _RIGHT), (_TOP, _TOP))], 0.3, _INK)
    return sheet


def _paper(report: Report, reading: Reading) -> PdfPage:
    """The page as it was read, the photo small beside what is known of it; or why it cannot be read, with the photo large."""
    sheet = _headed(report)
    y = _TOP + 8.0
    for line in wrap(report.conclusion, 3.6, (_RIGHT - _LEFT) / 1.06):
        sheet.text(_LEFT, y, 3.6, line, bold=True, colour=_RED if report.unread else _INK)
        y += 5
    file = f"File: {report.record.source.path}" if report.record.source.path else ""
    told = ["No measurement and no finding is given.", file, "What helps:", *ADVICE] if report.unread else doubts(reading)
    for words in told:
        for line in wrap(words, _BODY, _RIGHT - _LEFT):
            sheet.text(_LEFT, y, _BODY, line, colour=_INK if report.unread else _COLOURS["abnormal"])
            y += _LEADING
    y += 1
    if reading.sheet is None:
        edge = _MIDDLE if report.opinions else _RIGHT
        if reading.photo is not None:
            _placed(sheet, reading.photo, _LEFT, y, edge, _BOTTOM)
        for block in _Writer(report).opinions(_RIGHT - edge - 6) if report.opinions else ():
            block.paint(sheet, edge + 6, y)
            y += block.height
        sheet.text(_LEFT, _BOTTOM + 3, _SMALL, again(report.record.source.path), colour=_SOFT)
        return sheet
    edge = _RIGHT - 64
    right, low = _placed(sheet, reading.sheet, _LEFT, y, edge, _BOTTOM - 4)
    told_ = "The page set straight, with the traces that were read drawn over the print. All that follows rests on them."
    sheet.text(_LEFT, low + 4, _SMALL, fit(told_, _SMALL, edge - _LEFT), colour=_SOFT)
    left = right + 4
    if reading.photo is not None:
        _, low = _placed(sheet, reading.photo, left, y, _RIGHT, y + 60, reading.outline)
        sheet.text(
            left, low + 3.5, _SMALL, fit("As it came in, what was set straight framed.", _SMALL, _RIGHT - left), colour=_SOFT
        )
        y = low + 7
    for name, value in page_words(reading):
        for line in wrap(f"{name}: {value}", _SMALL, _RIGHT - left):
            y += 3.4
            sheet.text(left, y, _SMALL, line, colour=_INK)
    y += 6
    sheet.text(left, y, _BODY, "How sure each lead is", bold=True, colour=_INK)
    shares = [(lead, f"{share:.0%}", share < SURE) for lead, share in reading.confidence.items()]
    shares += [(lead, "not read", True) for lead in reading.missing]
    half = -(-len(shares) // 2)
    for k, (lead, words, unsure) in enumerate(shares):
        x, at = left + (_RIGHT - left) / 2 * (k // half), y + 4.2 * (k % half + 1)
        text = f"{words}, not sure" if unsure and words.endswith("%") else words
        sheet.text(x, at, _BODY, lead, colour=_INK)
        sheet.text(x + 9, at, _BODY, text, bold=unsure, colour=_COLOURS["abnormal"] if unsure else _INK)
    return sheet


def _placed(
    sheet: PdfPage, image: Image, left: float, top: float, right: float, bottom: float, outline: Floats | None = None
) -> tuple[float, float]:
    """Paints a picture as large as it goes into the upper left of a rectangle; returns where it ends on the right and below."""
    height, width = image.shape[:2]
    scale = min((right - left) / width, (bottom - top) / height)
    right, bottom = left + scale * width, top + scale * height
    sheet.picture(jpeg_bytes(image), (height, width), left, top, right, bottom)
    if outline is not None:
        sheet.clip(left, top, right, bottom)
        xs, ys = (np.append(side, side[0]) * scale + start for side, start in zip(outline.T, (left, top), strict=True))
        sheet.lines([(xs, ys)], 0.5, (10, 88, 255))
        sheet.unclip()
    return right, bottom


class _Writer:
    """Two columns that flow over pages: findings on the left, measurements on the right; then median beats and provenance."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.sheets: list[PdfPage] = []

    def write(self) -> list[PdfPage]:
        self._sheet()
        left = self._flow(0, _TOP + 7, _LEFT, _MIDDLE - 8, self._findings)
        right = self._flow(0, _TOP + 7, _MIDDLE, _RIGHT, self._measurements)
        median = self.report.median
        if median is None:
            self._flow(*right, _MIDDLE, _RIGHT, self._rest)
            return self.sheets
        drawn = median_page(median, _RIGHT - _LEFT + 10, 25.0)
        wide, n, below = drawn[1].grid, len(median.beats), max(left, right)
        if not _fits(below, wide.height):
            # Many findings: the median beats smaller, at 25 mm/s, below the measurements, where that spares a page.
            small = median_page(median, _RIGHT - _MIDDLE + 10, 22.0, 25.0)
            if _fits(right, small[1].grid.height) and small[1].grid.width <= _RIGHT - _MIDDLE + 1:
                self._median(right, _MIDDLE, n, small)
                self._flow(*left, _LEFT, _MIDDLE - 8, self._rest)
                return self.sheets
        # Quality and provenance stand beside the median beats, else in what room the measurements leave, else below.
        if _LEFT + wide.width + 45 < _RIGHT:
            self._flow(*self._median(below, _LEFT, n, drawn), _LEFT + wide.width + 5, _RIGHT, self._rest)
        elif right < left and right[1] + sum(b.height for b in self._rest(_RIGHT - _MIDDLE)) <= left[1]:
            self._flow(*right, _MIDDLE, _RIGHT, self._rest)
            self._median(below, _LEFT, n, drawn)
        else:
            number, y = self._median(below, _LEFT, n, drawn)
            self._flow(number, y + wide.height + 6, _LEFT, _RIGHT, self._rest)
        return self.sheets

    def _sheet(self) -> PdfPage:
        self.sheets.append(_headed(self.report))
        return self.sheets[-1]

    def _flow(
        self, number: int, y: float, left: float, right: float, blocks: Callable[[float], list[_Block]]
    ) -> tuple[int, float]:
        """Blocks one below the other from page `number` (after the trace) at `y`. Returns where the next thing may begin."""
        for block in blocks(right - left):
            if y + block.height > _BOTTOM and y > _TOP + 10:
                number, y = number + 1, _TOP + 7
            while len(self.sheets) <= number:
                self._sheet()
            block.paint(self.sheets[number], left, y)
            y += block.height
        return number, y

    def _findings(self, width: float) -> list[_Block]:
        blocks = [_heading("Findings and their evidence")]
        if not self.report.findings:
            blocks.append(_Block().line(0, _BODY, "No statement can be made."))
        for f in self.report.findings:
            block = _Block()
            colour = _COLOURS.get(f.severity, _INK) if f.confidence != "cannot be determined" else _SOFT
            codes = _codes(f)
            for line in wrap(f.text + sureness(f), _BODY, (width - text_width(codes, _SMALL) - 4) / 1.06):
                block.line(0, _BODY, line, bold=True, colour=colour)
            block.aside(width, _SMALL, codes)
            for line in wrap("; ".join(evidence_lines(f.evidence)), _BODY, width - 4):
                block.line(4, _BODY, line)
            for line in wrap(f.source, _SMALL, width - 4):
                block.line(4, _SMALL, line, colour=_SOFT, leading=3.3)
            block.height += 1.6
            blocks.append(block)
        return _kept(blocks[:2]) + blocks[2:]

    def _measurements(self, width: float) -> list[_Block]:
        report = self.report
        own = {n: machine_value(report.record, n) for n in (*MAIN, *MORE)}
        compared = any(v == v for v in own.values())
        at_value, at_limit, at_own = 0.56 * width, 0.8 * width, width
        head = _Block()
        head.line(0, _SMALL, "", colour=_SOFT)
        head.more(at_value, _SMALL, "measured", anchor="end", colour=_SOFT)
        head.more(at_limit, _SMALL, "adult limits", anchor="end", colour=_SOFT)
        if compared:
            head.more(at_own, _SMALL, "recorder", anchor="end", colour=_SOFT)
        blocks = [_heading("Measurements"), head]
        for name in MAIN:
            q = report.measurements.quantities.get(name)
            if q is None:
                continue
            bounds = limit(name, report.record.patient)
            mark = bounds.mark(q.value) if bounds else ""
            block = _Block().line(0, _BODY, title(name))
            value = f"{quantity(q)} {mark}".strip()
            block.more(at_value, _BODY, value, bold=bool(mark), anchor="end", colour=_RED if mark else _INK)
            if bounds and q:
                block.more(at_limit, _BODY, str(bounds), anchor="end", colour=_SOFT)
            if own[name] == own[name]:
                block.more(at_own, _BODY, figure(own[name]), anchor="end")
            if not q and q.why:
                block.more(at_value + 3, _SMALL, fit(q.why, _SMALL, width - at_value - 3), colour=_SOFT)
            blocks.append(block)
        found = report.measurements.quantities
        others = [f"{title(n)} {quantity(found[n])}" for n in MORE if n in found and worth_saying(n, found[n])]
        small = _gap()
        for line in wrap(" · ".join(others), _SMALL, width):
            small.line(0, _SMALL, line, leading=3.3, colour=_SOFT)
        blocks.append(small)
        blocks += self.opinions(width)
        blocks += self.told(width)
        if report.record.statements:
            said = [_Block().line(0, _BODY, line) for s in report.record.statements for line in wrap(s, _BODY, width)]
            blocks += _kept([_gap(), _heading(whose_words(report.record)), *said])
        return blocks

    def opinions(self, width: float) -> list[_Block]:
        opinions = self.report.opinions
        if not opinions:
            return []
        ruled = any(row.rules for row in together(opinions))
        title_ = "What rules and models say" if ruled else f"What the {' and the '.join(voices(opinions)).lower()} says"
        blocks = [_gap(), _heading(title_)]
        said = _Block()
        for line in wrap(agreement(opinions) if ruled else UNCONFIRMED, _BODY, width):
            said.line(0, _BODY, line)
        blocks.append(said)
        rows = rows_shown(opinions)
        rules, last = 0.36 * width, width - 26  # mm: where the columns begin
        step = min((last - rules - 13) / len(opinions), 30)
        at = [rules + 13 + step * i for i in range(len(opinions))]
        if rows:
            head = _Block().line(rules, _SMALL, "Rules" if ruled else "", colour=_SOFT)
            for x, name in zip(at, voices(opinions), strict=True):
                head.more(x, _SMALL, fit(name, _SMALL, step - 2), colour=_SOFT)
            head.more(last, _SMALL, "Together" if ruled else "", colour=_SOFT)
            blocks.append(head)
        for row in rows:
            block = _Block().line(0, _BODY, fit(row.text, _BODY, rules - 2))
            block.more(rules, _BODY, RULES[row.rules] if ruled else "")
            for x, one, each in zip(at, row.models, opinions, strict=True):
                block.more(x, _BODY, model_words(one, each), bold=one is not None and one.present)
            told = verdict(row)
            block.more(last, _SMALL, fit(told, _SMALL, width - last), colour=_RED if row.verdict == "disagree" else _SOFT)
            blocks.append(block)
        small = _Block()
        for note in model_notes(opinions):
            for line in wrap(note, _SMALL, width):
                small.line(0, _SMALL, line, leading=3.3, colour=_SOFT)
        return [_joined(blocks + [small])] if sum(b.height for b in blocks) < 110 else _kept([*blocks, small])

    def told(self, width: float) -> list[_Block]:
        """A language model's report: its sentences, each with its verdict and, where a reader should look, why."""
        told = self.report.told
        if told is None:
            return []
        first, small = _Block(), _gap()
        for line in wrap(HELD, _SMALL, width):
            first.line(0, _SMALL, line, leading=3.3, colour=_SOFT)
        blocks = [_gap(), _heading(told_title(told)), first]
        for verdict_, words, proofs in told_rows(told):
            block, flagged = _Block(), verdict_ in FLAGGED
            for line in wrap(words, _BODY, width):
                block.line(0, _BODY, line)
            told_why = [proof for proof in proofs if proof.startswith(FLAGGED)]
            for line in wrap("; ".join(told_why) if flagged else verdict_, _SMALL, width - 3):
                block.line(3, _SMALL, line, leading=3.3, colour=_RED if flagged else _SOFT)
            blocks.append(block)
        return _kept([*blocks, small])

    def _median(self, at: tuple[int, float], left: float, n: int, drawn: tuple[Record, Page, Beats]) -> tuple[int, float]:
        """Paints the median of n beats; returns the page and y where it begins."""
        (number, y), (record, page, beats) = at, drawn
        if not _fits(at, page.grid.height):
            number, y = number + 1, _TOP + 7
        while len(self.sheets) <= number:
            self._sheet()
        sheet = self.sheets[number]
        told = (
            f"Median of {n} beats, {page.speed:g} mm/s, {page.gain:g} mm/mV. "
            "P blue, QRS yellow, T green; ticks at J and J+60 ms."
        )
        sheet.text(left, y + 3, _SMALL, fit(told, _SMALL, _RIGHT - left), colour=_SOFT)
        sheet.shift(left - page.grid.left, y + 4 - page.grid.top)
        paint(sheet, record, page, fiducials=beats)
        sheet.unclip()
        return number, y

    def _rest(self, width: float) -> list[_Block]:
        report = self.report
        q = report.quality
        lines = [f"Signal: {q.readable} (score {q.score:.2f} of 1)" + (f"; {', '.join(q.flags)}" if q.flags else "")]
        flagged = [f"{lead}: {flags}" for lead, flags in flags_of_leads(report)]
        lines = [" · ".join((*lines, *flagged))]
        lines += report.warnings
        blocks = [_gap(), _heading("Quality and provenance")]
        for text in (*lines, " · ".join(f"{name}: {value}" for name, value in provenance(report))):
            for line in wrap(text, _SMALL, width):
                blocks.append(_Block().line(0, _SMALL, line, leading=3.3))
        return _kept(blocks)


# x, y, size, text, bold, anchor, colour
Part = tuple[float, float, float, str, bool, str, tuple[int, int, int]]


def _fits(at: tuple[int, float], height: float) -> bool:
    """Whether median beats of this height fit on the page that `at` names."""
    return at[1] + height + 4 <= _BOTTOM + 2


class _Block:
    """Lines of text that stay together; heights grow as they are added."""

    def __init__(self) -> None:
        self.height = 0.0
        self.parts: list[Part] = []

    def line(
        self,
        x: float,
        size: float,
        text: str,
        *,
        bold: bool = False,
        colour: tuple[int, int, int] = _INK,
        leading: float = _LEADING,
    ) -> _Block:
        self.parts.append((x, self.height + leading * 0.75, size, text, bold, "start", colour))
        self.height += leading
        return self

    def more(
        self,
        x: float,
        size: float,
        text: str,
        *,
        bold: bool = False,
        anchor: str = "start",
        colour: tuple[int, int, int] = _INK,
    ) -> None:
        """More text on the line last begun."""
        self.parts.append((x, self.parts[-1][1], size, text, bold, anchor, colour))

    def aside(self, x: float, size: float, text: str) -> None:
        """Text that ends at x on the block's first line."""
        self.parts.append((x, self.parts[0][1], size, text, False, "end", _SOFT))

    def paint(self, sheet: PdfPage, left: float, top: float) -> None:
        for x, y, size, text, bold, anchor, colour in self.parts:
            if text:
                sheet.text(left + x, top + y, size, text, bold=bold, anchor=anchor, colour=colour)


def _heading(text: str) -> _Block:
    return _Block().line(0, 3.3, text, bold=True, leading=6.0)


def _joined(blocks: list[_Block]) -> _Block:
    """The same as one block, which no page's end divides."""
    whole = _Block()
    for block in blocks:
        whole.parts += [(p[0], whole.height + p[1], *p[2:]) for p in block.parts]
        whole.height += block.height
    return whole


def _kept(blocks: list[_Block]) -> list[_Block]:
    """The same, the heading in one block with the first lines, so that no page ends with a heading."""
    return [_joined(blocks[:4]), *blocks[4:]]


def _gap() -> _Block:
    block = _Block()
    block.height = 2.5
    return block


def _codes(f: Finding) -> str:
    codes = (GROUPS.get(f.group, f.group), f"SCP {f.scp}" if f.scp else "", f"SNOMED {f.snomed}" if f.snomed else "")
    text = " · ".join(t for t in codes if t)
    return text if text_width(text, _SMALL) < 60 else f.scp or ""
