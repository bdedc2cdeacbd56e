"""A Report as one HTML page that needs nothing else: no script, no font, no picture from elsewhere. Prints on A4.

The trace is an inline SVG from the same Page as the PNG and the PDF. Every word that came from a file is escaped.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from einthoven.beats.measurements import LeadMeasurements, Measurements
from einthoven.findings import Finding
from einthoven.interpretation import Report
from einthoven.opinion import Likelihood, Opinion, together
from einthoven.paper.page import Page
from einthoven.paper.reading import SURE, Image, Reading, jpeg_bytes
from einthoven.paper.vector import to_svg
from einthoven.report.limits import ADULT_YEARS, limit
from einthoven.report.median import median_page
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
    doubts,
    evidence_words,
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

if TYPE_CHECKING:
    from einthoven.told import Told

TOLERANCE_MM = 0.02  # of the traces: a fifteenth of the pen
SHEET = (279.4, 139.0)  # of the trace, mm: 10 s at 25 mm/s, and A4 landscape holds it

# Columns of the table of leads: (heading, LeadMeasurements field).
_LEAD_COLUMNS = (
    ("P", "p_mv"), ("Q", "q_mv"), ("Q ms", "q_ms"), ("R", "r_mv"), ("S", "s_mv"), ("R'", "r2_mv"), ("S'", "s2_mv"),
    ("QRS ms", "qrs_ms"), ("R peak ms", "r_peak_time_ms"), ("ST J", "st_j_mv"), ("J+60", "st_j60_mv"), ("J+80", "st_j80_mv"),
    ("T", "t_mv"), ("T neg.", "t_negative_mv"), ("Noise µV", "noise_uv"),
)  # fmt: skip

_STYLE = """
:root{color-scheme:light dark;--ink:#1b1d22;--soft:#5c626c;--line:#d9dce1;--card:#fff;--back:#f4f5f7;--critical:#a4000f;
--abnormal:#b45309;--minor:#5b6472;--normal:#1f7a3d;--mark:#b42318;--markback:#fdecea}
@media (prefers-color-scheme:dark){:root{--ink:#e8eaed;--soft:#a5acb8;--line:#3b4049;--card:#1f2227;--back:#15171a;
--critical:#ff7b84;--abnormal:#f5a95b;--minor:#aab2bf;--normal:#6fcf8e;--mark:#ff9a90;--markback:#43201d}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--ink);
font:15px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,Helvetica,Arial,sans-serif}
main{max-width:1180px;margin:0 auto;padding:20px}
header{display:flex;flex-wrap:wrap;gap:4px 24px;align-items:baseline;margin-bottom:12px}
h1{font-size:1.35rem;margin:0}h2{font-size:1.02rem;margin:0 0 8px}
.who{font-weight:600}.soft,header time{color:var(--soft)}
section,figure{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:14px 18px;margin:0 0 14px}
figure{padding:8px}figure svg{display:block;width:100%;height:auto;border-radius:4px}
figcaption{color:var(--soft);font-size:.85rem;padding:6px 4px 0}
.conclusion p{font-size:1.12rem;margin:0 0 10px}
.chips{list-style:none;display:flex;flex-wrap:wrap;gap:6px;margin:0;padding:0}
.chips li{border:1px solid currentColor;border-radius:999px;padding:1px 11px;font-size:.9rem;font-weight:600}
.critical{color:var(--critical)}.abnormal{color:var(--abnormal)}.minor{color:var(--minor)}.normal{color:var(--normal)}
.undetermined{color:var(--soft)}
.columns{display:grid;grid-template-columns:minmax(0,1.1fr) minmax(0,1fr);gap:14px;align-items:start}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:4px 8px 4px 0;vertical-align:top;border-bottom:1px solid var(--line)}
tr:last-child>*{border-bottom:0}thead th{color:var(--soft);font-weight:600;font-size:.84rem}
tbody th{font-weight:500}td.n,th.n{text-align:right;padding-right:10px;white-space:nowrap}
td.out{color:var(--mark);background:var(--markback);font-weight:700}
.finding>th{font-weight:650}.evidence{margin:0;padding:0;list-style:none;font-size:.92rem}
.source{color:var(--soft);font-size:.82rem;font-weight:400}
.opinion td.bar{white-space:nowrap;min-width:84px}.bar span{display:block;height:4px;margin:0 0 1px;border-radius:4px;
background:linear-gradient(90deg,#3b6fb5 var(--p),var(--line) var(--p))}.opinion td.means{font-weight:700}
.opinion td,.opinion th{padding-right:10px;vertical-align:bottom}.disputed{color:var(--abnormal);font-weight:600}
.told p{margin:0 0 8px}.told .plain>li{margin:0 0 6px}.told .evidence{color:var(--soft)}
.model p{margin:6px 0 0}.model>p:first-of-type{margin:0 0 8px}
.doubts{list-style:none;margin:12px 0 0;padding:8px 12px;border-left:4px solid var(--abnormal);background:var(--markback);
font-size:.94rem}.unread{border-left:4px solid var(--critical)}h3{font-size:.92rem;margin:12px 0 6px}
.paper figure{border:0;padding:0;margin:0 0 12px}.paper>.photo{max-width:720px}
.paper img,.photo svg{display:block;width:100%;height:auto;border-radius:4px}
.beside{display:grid;grid-template-columns:minmax(0,1fr) minmax(0,1.1fr);gap:18px;align-items:start}
.leadlist{list-style:none;display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:2px 12px;margin:0;
padding:0;
font-variant-numeric:tabular-nums;font-size:.92rem}.unsure{color:var(--abnormal);font-weight:600}
code{font-size:.84rem;overflow-wrap:anywhere}.unread .source{font-size:.9rem}
.scroll{overflow-x:auto}.leads td,.leads th{padding:2px 6px 2px 0;font-size:.84rem}
details{margin-top:6px}summary{cursor:pointer;color:var(--soft)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:3px 16px;margin:0}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
ul.plain{margin:0;padding-left:18px}ul.more{list-style:none;padding:6px 0 0;columns:2;font-size:.88rem}
ul.more li{display:flex;justify-content:space-between;gap:8px;padding-right:14px;break-inside:avoid}
footer{color:var(--soft);font-size:.85rem;text-align:center;padding:6px 0 16px}
@media (max-width:800px){.columns,.beside{grid-template-columns:minmax(0,1fr)}main{padding:10px}section{padding:12px}
.wide{overflow-x:auto}.trace svg,.sheet img{min-width:860px}dl{grid-template-columns:1fr}dd{margin-bottom:4px}}
@page{size:A4 landscape;margin:8mm}
@media print{:root{color-scheme:light;--ink:#000;--soft:#444;--line:#bbb;--card:#fff;--back:#fff;--critical:#a4000f;
--abnormal:#8a3c00;--minor:#444;--normal:#14532d;--mark:#a4000f;--markback:#fff}
body{font-size:9.5pt;print-color-adjust:exact;-webkit-print-color-adjust:exact}main{max-width:none;padding:0}
section,figure{border:0;padding:0;margin:0 0 4mm;break-inside:avoid}section.findings,section.measured{break-inside:auto}
tr{break-inside:avoid}h2,thead{break-after:avoid}.columns{grid-template-columns:minmax(0,1.25fr) minmax(0,1fr)}
figure svg{width:var(--wide);max-width:none}.wide{overflow:visible}.trace svg,.sheet img{min-width:0}
.photo svg{width:100%}.sheet img{max-height:108mm;width:auto;max-width:100%}
section.paper:has(.beside){display:grid;grid-template-columns:fit-content(186mm) minmax(0,1fr);gap:0 5mm;break-inside:auto}
.paper h2{grid-column:1/-1}.beside{grid-template-columns:minmax(0,1fr);gap:2mm}.beside .photo svg{max-height:38mm}
.paper details{display:none}.leadlist{grid-template-columns:1fr 1fr 1fr;gap:0 2mm}.paper figure{margin:0 0 2mm}
dl{grid-template-columns:max-content 1fr}dd{margin:0}footer{padding:0}
details::details-content{content-visibility:visible;block-size:auto}summary{display:none}}
"""


def to_html(report: Report) -> str:
    """The report as one self-contained page."""
    record = report.record
    who = patient_words(record) or "Patient not named"
    time = f'<time datetime="{record.start.isoformat()}">{record.start:%Y-%m-%d %H:%M}</time>' if record.start else ""
    head = (
        f'<header><h1>ECG report</h1><span class="who">{escape(who)}</span>{time}'
        f'<span class="soft">{escape(RESEARCH_ONLY)}</span></header>'
    )
    foot = f"<footer>{escape(report.software)} · {escape(RESEARCH_ONLY)}</footer>"
    if report.unread:
        body = [head, _unread(report), _photo_alone(report.paper), _opinions(report.opinions), _provenance(report), foot]
    else:
        body = [
            head,
            _conclusion(report),
            _paper(report),
            _trace(report),
            '<div class="columns">',
            f"<div>{_findings(report.findings)}</div>",
            f"<div>{_measurements(report)}{_opinions(report.opinions)}{_told(report.told)}{_machine(report)}</div>",
            "</div>",
            _median(report),
            _leads(report.measurements),
            _quality(report),
            _provenance(report),
            foot,
        ]
    pictures = " img-src data:;" if report.paper is not None else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none';{pictures} style-src 'unsafe-inline'\">\n"
        f'<meta name="generator" content="{escape(report.software)}">\n<title>ECG report</title>\n<style>{_STYLE}</style>\n'
        "</head>\n<body>\n<main>\n" + "\n".join(part for part in body if part) + "\n</main>\n</body>\n</html>\n"
    )


def _conclusion(report: Report) -> str:
    chips = [f for f in report.findings if f.group != "summary" and f.confidence != "cannot be determined"]
    items = "".join(f'<li class="{_severity(f)}">{escape(f.text)}{_sure(f)}</li>' for f in chips)
    shown = f'<ul class="chips">{items}</ul>' if items else ""
    told = "".join(f"<li>{escape(words)}</li>" for words in doubts(report.paper)) if report.paper else ""
    warned = f'<ul class="doubts" aria-label="Before you rely on it">{told}</ul>' if told else ""
    return f'<section class="conclusion" aria-label="Conclusion"><p>{escape(report.conclusion)}</p>{shown}{warned}</section>'


def _paper(report: Report) -> str:
    """The traces over the rectified page, the photo beside it, and how far each lead can be trusted."""
    reading = report.paper
    if reading is None or reading.sheet is None:
        return ""
    told = "The page set straight, with the traces that were read drawn over the print. All below rests on them."
    sheet = (
        f'<figure class="sheet"><div class="wide">{_picture(reading.sheet, told)}</div><figcaption>{told}</figcaption></figure>'
    )
    photo = _photo(reading, "As it came in; the frame is what was set straight.") if reading.photo is not None else ""
    pairs = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in page_words(reading))
    leads = "".join(
        f'<li class="{"unsure" if share < SURE else "sure"}"><b>{escape(lead)}</b> {share:.0%}'
        f"{' not sure' if share < SURE else ''}</li>"
        for lead, share in reading.confidence.items()
    )
    lost = "".join(f'<li class="unsure"><b>{escape(lead)}</b> not read</li>' for lead in reading.missing)
    how = (
        "<details><summary>The traces do not lie on the print, or the layout is another?</summary>"
        f"<p>Say what you know and read it again:</p><code>{escape(again(report.record.source.path))}</code></details>"
    )
    return (
        f'<section class="paper"><h2>From the paper</h2>{sheet}<div class="beside">{photo}<div><dl>{pairs}</dl>'
        f'<h3>How sure each lead is</h3><ul class="leadlist">{leads}{lost}</ul>{how}</div></div></section>'
    )


def _unread(report: Report) -> str:
    advice = "".join(f"<li>{escape(words)}</li>" for words in ADVICE)
    warned = "".join(f'<p class="source">{escape(words)}</p>' for words in report.warnings)
    return (
        f'<section class="conclusion unread" aria-label="Conclusion"><p><strong>{escape(report.conclusion)}</strong></p>'
        f'<p>No measurement and no finding is given.</p>{warned}<h2>What helps</h2><ul class="plain">{advice}</ul>'
        f"<p><code>{escape(again(report.record.source.path))}</code></p></section>"
    )


def _photo_alone(reading: Reading | None) -> str:
    if reading is None or reading.photo is None:
        return ""
    return f'<section class="paper"><h2>The picture</h2>{_photo(reading, "As it came in.")}</section>'


def _photo(reading: Reading, told: str) -> str:
    """The photo with the outline of what was set straight."""
    if reading.photo is None:
        return ""
    height, width = reading.photo.shape[:2]
    frame = ""
    if reading.outline is not None:
        points = " ".join(f"{x:.0f},{y:.0f}" for x, y in reading.outline)
        frame = f'<polygon points="{points}" fill="none" stroke="#0a58ff" stroke-width="{max(width, height) / 250:.1f}"/>'
    return (
        f'<figure class="photo"><svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(told)}">'
        f'<image href="{_data(reading.photo, 78)}" width="{width}" height="{height}"/>{frame}</svg>'
        f"<figcaption>{escape(told)}</figcaption></figure>"
    )


def _picture(image: Image, told: str) -> str:
    height, width = image.shape[:2]
    return f'<img src="{_data(image, 80)}" width="{width}" height="{height}" alt="{escape(told)}">'


def _data(image: Image, quality: int) -> str:
    return f"data:image/jpeg;base64,{b64encode(jpeg_bytes(image, quality)).decode()}"


def _trace(report: Report) -> str:
    page = sheet_of(report, header=False, software="", size=SHEET)
    svg = to_svg(report.record, page, tolerance=TOLERANCE_MM, inline=True)
    drawn = ("the traces that were read, drawn anew",) if report.paper else ()
    notes = "; ".join((*drawn, f"{page.speed:g} mm/s, {page.gain:g} mm/mV, true to size in print", *page.notes))
    return _figure("trace", svg, page, notes[:1].upper() + notes[1:])


def _figure(name: str, svg: str, page: Page, caption: str) -> str:
    """A page as a figure: as wide as its place on a screen, its true width in print."""
    told = f"<figcaption>{escape(caption)}</figcaption>"
    return f'<figure class="{name}" style="--wide:{page.size[0]:g}mm"><div class="wide">{svg}</div>{told}</figure>'


def _findings(findings: Sequence[Finding]) -> str:
    if not findings:
        return '<section class="findings"><h2>Findings</h2><p>No statement can be made.</p></section>'
    rows = []
    for f in findings:
        evidence = "".join(
            f"<li>{escape(what)} <strong>{escape(value)}</strong>{f' ({escape(held)})' if held else ''}</li>"
            for what, value, held in evidence_words(f.evidence)
        )
        source = f'<div class="source">{escape(f.source)}</div>' if f.source else ""
        codes = ", ".join(t for t in (f"SCP {f.scp}" if f.scp else "", f"SNOMED CT {f.snomed}" if f.snomed else "") if t)
        group = escape(GROUPS.get(f.group, f.group))
        rows.append(
            f'<tr class="finding"><th scope="row" class="{_severity(f)}">{escape(f.text)}'
            f'<div class="source">{group}{_sure(f)}{f" · {escape(codes)}" if codes else ""}</div></th>'
            f'<td><ul class="evidence">{evidence}</ul>{source}</td></tr>'
        )
    return (
        '<section class="findings"><h2>Findings and their evidence</h2><table><thead><tr><th scope="col">Finding</th>'
        f'<th scope="col">Evidence (limit)</th></tr></thead><tbody>{"".join(rows)}</tbody></table></section>'
    )


def _measurements(report: Report) -> str:
    record = report.record
    own = {n: machine_value(record, n) for n in MAIN}
    compared = any(v == v for v in own.values())

    rows = ""
    for name in MAIN:
        q = report.measurements.quantities.get(name)
        if q is None:
            continue
        bounds = limit(name, record.patient)
        mark = bounds.mark(q.value) if bounds else ""
        value = quantity(q)
        arrow = {"high": " ▲", "low": " ▼", "": ""}[mark]
        spoken = f' aria-label="{escape(value)}, {mark}"' if mark else ""
        why = f'<div class="source">{escape(q.why)}</div>' if q.why else ""
        machine = f'<td class="n">{figure(own[name]) if own[name] == own[name] else ""}</td>' if compared else ""
        rows += (
            f'<tr><th scope="row" title="{escape(q.definition)}">{escape(title(name))}{why}</th>'
            f'<td class="n{" out" if mark else ""}"{spoken}>{escape(value)}{arrow}</td>'
            f'<td class="n soft">{bounds if bounds else ""}</td>{machine}</tr>'
        )
    head = '<th scope="col"></th><th scope="col" class="n">Measured</th><th scope="col" class="n">Adult limits</th>'
    head += '<th scope="col" class="n">Recorder</th>' if compared else ""
    child = record.patient.age is not None and record.patient.age < ADULT_YEARS
    note = f'<p class="source">Limits are not marked under {ADULT_YEARS} years.</p>' if child else ""
    found = report.measurements.quantities
    more = "".join(
        f'<li title="{escape(found[n].definition)}">{escape(title(n))} <strong>{escape(quantity(found[n]))}</strong></li>'
        for n in MORE
        if n in found and worth_saying(n, found[n])
    )
    folded = f'<details><summary>More measurements</summary><ul class="plain more">{more}</ul></details>' if more else ""
    return (
        f'<section class="measured"><h2>Measurements</h2><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table>{note}{folded}</section>"
    )


def _opinions(opinions: Sequence[Opinion]) -> str:
    """Rules and models side by side, statement by statement."""
    if not opinions:
        return ""
    ruled, rows = any(row.rules for row in together(opinions)), ""
    for row in rows_shown(opinions):
        cells = "".join(_voice(one, each) for one, each in zip(row.models, opinions, strict=True))
        told = verdict(row)
        rows += (
            f'<tr><th scope="row">{escape(row.text)}</th>{f"<td>{RULES[row.rules]}</td>" if ruled else ""}{cells}'
            + (f'<td class="{"disputed" if row.verdict == "disagree" else "soft"}">{escape(told)}</td>' if ruled else "")
            + "</tr>"
        )
    names = ("", "Rules", *voices(opinions), "Together") if ruled else ("", *voices(opinions))
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    table = (
        f'<div class="scroll"><table class="opinion"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
        if rows
        else ""
    )
    said = agreement(opinions)
    notes = "".join(f'<p class="source">{escape(words)}</p>' for words in model_notes(opinions))
    notes += "".join(_looked(each) for each in opinions if each.looked is not None)
    title_ = "What rules and models say" if ruled else f"What the {' and the '.join(voices(opinions)).lower()} says"
    caution = "" if ruled else f'<p class="doubts">{escape(UNCONFIRMED)}</p>'
    return (
        f'<section class="model"><h2>{escape(title_)}</h2>{f"<p>{escape(said)}</p>" if said else ""}{caution}{table}{notes}'
        '<p class="source">Yes: a finding of the rules; a model that reaches its threshold, which is each statement\'s own.</p>'
        "</section>"
    )


def _told(told: Told | None) -> str:
    """A language model's report, sentence by sentence, with what each rests on."""
    if told is None:
        return ""
    items = ""
    for verdict_, words, proofs in told_rows(told):
        mark = f' <span class="{"disputed" if verdict_ in FLAGGED else "soft"}">{escape(verdict_)}</span>' if verdict_ else ""
        rests = "".join(f"<li>{escape(proof)}</li>" for proof in proofs)
        items += f"<li>{escape(words)}{mark}{f'<ul class=evidence>{rests}</ul>' if rests else ''}</li>"
    return (
        f'<section class="told"><h2>{escape(told_title(told))}</h2><p class="source">{escape(HELD)}</p>'
        f'<ul class="plain">{items}</ul></section>'
    )


def _looked(opinion: Opinion) -> str:
    seen = opinion.looked
    if seen is None:
        return ""
    told = (
        f"What {opinion.model} looked at for “{seen.text}” ({seen.probability:.0%}): orange parts speak for it, blue ones "
        "against; each is what the score loses when the part is painted over."
    )
    return f'<figure class="photo">{_picture(seen.overlay(), told)}<figcaption>{escape(told)}</figcaption></figure>'


def _voice(one: Likelihood | None, opinion: Opinion) -> str:
    if one is None:
        return '<td class="soft">–</td>'
    return (
        f'<td class="bar{" means" if one.present else ""}"><span style="--p:{_percent(one, opinion)}"></span>'
        f"{escape(model_words(one, opinion))}</td>"
    )


def _percent(one: Likelihood, opinion: Opinion) -> str:
    return "0%" if one.name in opinion.units else f"{100 * min(max(one.probability, 0.0), 1.0):.0f}%"


def _machine(report: Report) -> str:
    if not report.record.statements:
        return ""
    items = "".join(f"<li>{escape(s)}</li>" for s in report.record.statements)
    return f'<section><h2>{whose_words(report.record)}</h2><ul class="plain">{items}</ul></section>'


def _median(report: Report) -> str:
    median = report.median
    if median is None:
        return ""
    record, page, beats = median_page(median)
    svg = to_svg(record, page, fiducials=beats, tolerance=TOLERANCE_MM, inline=True)
    told = (
        f"Median of {len(median.beats)} beats, {page.speed:g} mm/s, {page.gain:g} mm/mV. "
        "P blue, QRS yellow, T green; ticks at J and J+60 ms."
    )
    return _figure("median", svg, page, told)


def _leads(measurements: Measurements) -> str:
    if not measurements.leads:
        return ""
    head = "".join(f'<th scope="col" class="n">{escape(name)}</th>' for name, _ in _LEAD_COLUMNS)
    rows = "".join(
        f'<tr><th scope="row">{escape(lead)}{" (QS)" if m.qs else ""}</th>'
        + "".join(f'<td class="n">{_cell(m, field)}</td>' for _, field in _LEAD_COLUMNS)
        + "</tr>"
        for lead, m in measurements.leads.items()
    )
    return (
        '<section class="leads"><h2>Leads</h2><details><summary>Amplitudes (mV) and durations of every lead</summary>'
        f'<div class="scroll"><table><thead><tr><th scope="col">Lead</th>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
        "</details></section>"
    )


def _cell(m: LeadMeasurements, field: str) -> str:
    value = float(getattr(m, field))
    if value != value:
        return "–"
    return f"{value:.2f}".replace("-0.00", "0.00") if field.endswith("_mv") else f"{value:.0f}"


def _quality(report: Report) -> str:
    q = report.quality
    words = {"good": "can be read", "limited": "can be read with limits", "unreadable": "cannot be read"}
    lines = [f"The signal {words.get(q.readable, q.readable)} (score {q.score:.2f} of 1)."]
    lines += [f"Record: {', '.join(q.flags)}"] if q.flags else []
    lines += [f"{lead}: {flags}" for lead, flags in flags_of_leads(report)]
    items = "".join(f"<li>{escape(line)}</li>" for line in (*lines, *report.warnings))
    return f'<section><h2>Quality and warnings</h2><ul class="plain">{items}</ul></section>'


def _provenance(report: Report) -> str:
    pairs = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in provenance(report))
    return f"<section><h2>Where this comes from</h2><dl>{pairs}</dl></section>"


def _severity(finding: Finding) -> str:
    known = finding.severity in ("normal", "minor", "abnormal", "critical")
    return "undetermined" if finding.confidence == "cannot be determined" or not known else finding.severity


def _sure(finding: Finding) -> str:
    return escape(sureness(finding))
