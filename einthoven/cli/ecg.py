"""Commands on ECGs: info, convert, measure, delineate, render, interpret, demo."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from einthoven.cli.door import (
    AsJson,
    Corners,
    Files,
    Gain,
    Jobs,
    Layout,
    One,
    PdfPage,
    Rate,
    Sources,
    Speed,
    Unit,
    ahead,
    app,
    asked,
    dumps,
    each,
    find,
    hints_of,
    print_json,
    run_each,
    stop,
    tell,
)

# What `einthoven demo` simulates where no file is given: an emergency that the page has to show well.
DEMO_LABELS = ("stemi_inferior", "pvc")


@app.command()
def info(files: Files, json: AsJson = False, fs: Rate = None, unit: Unit = None) -> None:
    """Say what is in ECG files: leads, rate, patient, device, the machine's own measurements, warnings."""
    from einthoven.io import read_all
    from einthoven.io.describe import describe, describe_text

    def work(path: str) -> None:
        for record in read_all(path, fs=fs, unit=unit):
            print_json({"ok": True, **describe(record)}) if json else typer.echo(describe_text(record) + "\n")

    each(files, work, as_json=json)


@app.command()
def convert(
    source: Annotated[str, typer.Argument(metavar="IN", help="An ECG file; any format.", show_default=False)],
    target: Annotated[str, typer.Argument(metavar="OUT", help="The extension chooses the format.", show_default=False)],
    format: Annotated[str | None, typer.Option("--format", help="Write this format, whatever the extension.")] = None,
    anonymize: Annotated[bool, typer.Option("--anonymize", help="Strip the patient, and list what was removed.")] = False,
    fs: Rate = None,
    unit: Unit = None,
) -> None:
    """Write an ECG in another format: WFDB, DICOM, HL7 aECG, EDF+, CSV, NPZ, Parquet."""
    from einthoven.io import anonymize as strip
    from einthoven.io import read, write

    def work(path: str) -> None:
        record = read(path, fs=fs, unit=unit)
        if anonymize:
            record, removed = strip(record)
            tell("removed: " + (", ".join(removed) or "nothing, the file names nobody"))
        for made in write(record, target, format):
            typer.echo(made)

    each([source], work, expand=False)


@app.command()
def measure(
    files: Sources,
    json: AsJson = False,
    layout: Layout = None,
    speed: Speed = None,
    gain: Gain = None,
    corners: Corners = None,
    page: PdfPage = None,
    fs: Rate = None,
    unit: Unit = None,
) -> None:
    """Measure ECGs: rate, PR, QRS, QT, QTc, axes, and amplitudes of every lead. Paper is digitised first."""
    from einthoven.beats.classify import classify
    from einthoven.beats.delineate import delineate
    from einthoven.beats.measure import measure as measured
    from einthoven.paper.entry import record_of
    from einthoven.paper.reading import Hints
    from einthoven.report import measurements_json, measurements_text

    hints = Hints(**hints_of(layout, speed, gain, corners, page))

    def work(path: str) -> None:
        record = record_of(path, fs=fs, unit=unit, hints=hints).ecg()
        figures = measured(record, classify(record, delineate(record)))
        if json:
            print_json({"path": path, "ok": True, **measurements_json(figures)})
        else:
            typer.echo(f"{path}\n{measurements_text(figures)}\n")

    each(files, work, as_json=json, paper=True)


@app.command()
def delineate(
    files: Files,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON file; stdout when not given.")] = None,
    fs: Rate = None,
    unit: Unit = None,
) -> None:
    """Find P, QRS and T in every lead: onset, peak and offset in seconds, as JSON by record and lead."""
    from einthoven.beats.delineate import delineate as delineated
    from einthoven.io import read

    found: dict[str, Any] = {}

    def work(path: str) -> None:
        # The record's own name is the key; two files of one name (a/1.hea, b/1.hea) are told apart by their paths.
        name = Path(path.split("!")[-1]).stem
        found[path if name in found else name] = delineated(read(path, fs=fs, unit=unit).ecg()).as_prediction()

    failed = run_each(files, work)
    text = dumps(found)
    if output:
        from einthoven.io.files import replacing

        with replacing(output) as draft:
            draft.write_text(text, encoding="utf-8")
    else:
        typer.echo(text)
    raise typer.Exit(1 if failed else 0)


@app.command()
def render(
    file: One,
    output: Annotated[Path, typer.Option("--output", "-o", help="PNG, SVG or PDF.")] = Path("ecg.png"),
    layout: Annotated[str, typer.Option(help="12x1, 6x2, 3x4, 3x4+1, 3x4+3, 1x1:II, or auto by the leads there are.")] = "auto",
    speed: Annotated[float, typer.Option(help="Paper speed, mm/s.")] = 25.0,
    gain: Annotated[float, typer.Option(help="Gain, mm/mV.")] = 10.0,
    dpi: Annotated[int, typer.Option(help="Resolution of a PNG.")] = 200,
    cabrera: Annotated[
        bool, typer.Option("--cabrera", help="Limb leads in Cabrera's order (aVL, I, -aVR, II, aVF, III).")
    ] = False,
    fiducials: Annotated[bool, typer.Option("--fiducials", help="Mark P, QRS and T.")] = False,
    start: Annotated[float, typer.Option(help="Where in the record the page begins, s.")] = 0.0,
    palette: Annotated[str, typer.Option(help="Colours of the paper: pink, blue, green, grey, bw.")] = "pink",
    distort: Annotated[
        str | None,
        typer.Option(help="As a picture of the page: scan, photo, screen, fax, old-paper, ecginstruct.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of --distort: the same seed gives the same picture.")] = 0,
    truth: Annotated[
        Path | None, typer.Option(help="JSON of where everything lies in the picture.", show_default=False)
    ] = None,
    fs: Rate = None,
    unit: Unit = None,
) -> None:
    """Draw an ECG on millimetre paper, true to the millimetre."""
    from einthoven.io import read
    from einthoven.paper.page import parse_layout
    from einthoven.paper.palette import PALETTES
    from einthoven.paper.save import FORMATS, save_page

    if layout != "auto":
        with asked():
            parse_layout(layout)
    if palette not in PALETTES:
        raise typer.BadParameter(f"{palette!r} is none of {', '.join(PALETTES)}", param_hint="--palette")
    for name, value in (("speed", speed), ("gain", gain), ("dpi", float(dpi))):
        if not (math.isfinite(value) and value > 0):
            raise typer.BadParameter(f"is above 0, not {value:g}", param_hint=f"--{name}")
    if distort is not None:
        from einthoven.paper.distort.presets import PRESETS

        if distort not in PRESETS:
            raise typer.BadParameter(f"{distort!r} is none of {', '.join(PRESETS)}", param_hint="--distort")
    elif output.suffix.lower() not in FORMATS:
        raise typer.BadParameter(f"a page is written as {', '.join(FORMATS)}, not as {output.name}", param_hint="--output")

    def work(path: str) -> None:
        record = read(path, fs=fs, unit=unit)
        beats = None
        if fiducials:
            from einthoven.beats.delineate import delineate as delineated

            beats = delineated(record)
        order = "cabrera" if cabrera else "standard"
        options: dict[str, Any] = {"layout": layout, "speed": speed, "gain": gain, "dpi": dpi, "order": order, "start": start}
        options |= {"fiducials": beats, "palette": palette}
        if distort or truth:
            from einthoven.paper.distort.save import save_picture

            save_picture(record, output, preset=distort or "clean", seed=seed, truth=truth, **options)
        else:
            save_page(record, output, **options)
        typer.echo(output)

    each([file], work, expand=False)


@app.command()
def interpret(
    files: Sources,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="report.html, .pdf, .json or .txt for one ECG; a folder for many.", show_default=False
        ),
    ] = None,
    format: Annotated[
        str | None, typer.Option("--format", help="text, json, html, pdf or fhir; for many: one of each a record.")
    ] = None,
    json: AsJson = False,
    jobs: Jobs = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a batch that was stopped or killed.")] = False,
    model: Annotated[
        str, typer.Option("--model", "-m", help="Whose opinion stands beside the rules: a name, a Bundle's path, or none.")
    ] = "default",
    image_model: Annotated[
        str,
        typer.Option(
            "--image-model",
            help="The same of a model that looks at the picture; default: the one that ships, on pictures only.",
        ),
    ] = "default",
    language: Annotated[
        str | None,
        typer.Option(
            "--language",
            help="A language model (name or Bundle) that writes a report, each sentence held against the rest.",
            show_default=False,
        ),
    ] = None,
    layout: Layout = None,
    speed: Speed = None,
    gain: Gain = None,
    corners: Corners = None,
    page: PdfPage = None,
    fs: Rate = None,
    unit: Unit = None,
) -> None:
    """Interpret ECGs: findings, each with the evidence it rests on. One file gives a report, many give a table of results.

    A photo, a scan or a PDF of paper is digitised first; where it cannot be read, its report says why, and the exit code is 1.

    A batch writes OUT/results.jsonl (one line a record, as it is done) and OUT/summary.csv.
    """
    if format and format not in ("text", "json", "html", "pdf", "fhir"):
        raise typer.BadParameter(f"{format!r} is none of text, json, html, pdf, fhir", param_hint="--format")
    hints = hints_of(layout, speed, gain, corners, page)
    choice: dict[str, Any] = {
        "model": None if model == "none" else model,
        "image_model": None if image_model == "none" else image_model,
        "language": language,
        "fs": fs,
        "unit": unit,
    }
    many = len(files) > 1 or Path(files[0]).is_dir() or (output is not None and (output.is_dir() or not output.suffix))
    if many and output:
        from einthoven.paper.entry import PICTURES

        paths, failed = find(files, PICTURES)
        raise typer.Exit(
            _interpret_batch(paths, output, format=format, jobs=jobs, resume=resume, asked={**choice, "hints": hints}) or failed
        )

    from einthoven.interpretation import interpret as interpreted

    unread = []
    html = output is not None and (format == "html" or (format is None and output.suffix.lower() in (".html", ".htm")))
    ahead("einthoven.report.html" if html else "einthoven.report.plain", "einthoven.report.files")

    def work(path: str) -> None:
        report = interpreted(path, **choice, **hints, looks=html)
        from einthoven.report import save, to_fhir, to_json, to_text

        if report.unread:
            unread.append(path)
            tell(f"error: {path}: cannot be read: {report.unread}")
        if output:
            save(report, output, format)
            typer.echo(output)
        elif json or format == "json":
            told = {"error": f"{path}: cannot be read: {report.unread}"} if report.unread else {}
            print_json({"path": path, "ok": not report.unread, **told, **to_json(report)})
        elif format == "fhir":
            print_json(to_fhir(report))
        elif format in ("html", "pdf"):
            raise typer.BadParameter(f"say where the {format} goes: -o report.{format}", param_hint="--format")
        else:
            typer.echo(to_text(report))

    failed = run_each(files, work, as_json=json, paper=True)
    raise typer.Exit(1 if failed or unread else 0)


@app.command()
def demo(
    file: Annotated[
        str | None,
        typer.Argument(metavar="[FILE]", help="Your own ECG, or a photo of one; a simulated one when not given."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Where the report goes.")] = Path("out/demo"),
    platform: Annotated[
        str,
        typer.Option(help="Also the platform on this ECG: `once`, its page is opened and ended again; `stay`, it stays open."),
    ] = "no",
    layout: Layout = None,
    speed: Speed = None,
    gain: Gain = None,
    corners: Corners = None,
    page: PdfPage = None,
    fs: Rate = None,
    unit: Unit = None,
) -> None:
    """The main job on one ECG, start to end: read, measure, interpret, and write the report and the page."""
    from einthoven.interpretation import interpret as interpreted
    from einthoven.paper.save import save_page
    from einthoven.record import EcgError
    from einthoven.report import save, to_text

    hints = hints_of(layout, speed, gain, corners, page)
    if platform not in ("no", "once", "stay"):
        tell(f"error: --platform is no, once or stay, not {platform!r}")
        raise typer.Exit(2)

    def work(path: str) -> None:
        if path:
            report = interpreted(path, fs=fs, unit=unit, **hints, looks=True)
        else:
            from einthoven.synth import Noise, simulate

            record = simulate(*DEMO_LABELS, rate=72, noise=Noise(wander=0.05, muscle=0.01), age=61, sex="male", seed=7).record
            report = interpreted(record)
        out.mkdir(parents=True, exist_ok=True)
        typer.echo(to_text(report) + "\n")
        for name in ("report.html", "report.pdf", "report.json"):
            save(report, out / name)
            typer.echo(out / name)
        if report.unread:
            raise EcgError(f"cannot be read: {report.unread}", path=path)
        save_page(report.record, out / "page.png", measurements=report.measurements)
        typer.echo(out / "page.png")
        if platform != "no":
            from einthoven.serve import demo as shown

            shown.put(out / "platform", report, path)
            typer.echo(f"{shown.opened(out / 'platform')}  (einthoven serve --data-dir {out / 'platform'})")

    each([file or ""], work, expand=False)
    if platform == "stay":
        from einthoven.serve.app import serve
        from einthoven.serve.demo import free_port

        serve(out / "platform", port=free_port(), ready=lambda link: typer.echo(f"{link}\nCtrl-C ends it."))


def _interpret_batch(
    paths: list[str],
    out: Path,
    *,
    format: str | None,
    jobs: int,
    resume: bool,
    asked: dict[str, Any],
) -> int:
    """A batch into a folder; `asked` are the arguments of summary.interpreted. -> the exit code."""
    from functools import partial

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from einthoven import batch
    from einthoven.record import EcgError
    from einthoven.report.summary import interpreted, write_summary

    work = partial(interpreted, out=str(out) if format else None, format=format, **asked)
    console = Console(stderr=True)
    columns = (TextColumn("interpreting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=len(paths))

        def on_line(line: batch.Line) -> None:
            bar.advance(task)
            if not line["ok"]:
                bar.console.print(f"failed: {line['error']}", markup=False, highlight=False)

        try:
            tally = batch.run(
                work, paths, out / "results.jsonl", jobs=jobs or os.cpu_count() or 1, resume=resume, on_line=on_line
            )
        except EcgError as fault:
            stop(fault)
    failed = write_summary(out / "results.jsonl", out / "summary.csv")
    speed = f"{tally.seconds:.1f} s, {tally.done / tally.seconds if tally.seconds else 0.0:.1f} records/s"
    tell(f"{tally.done} done, {tally.failed} failed, {tally.earlier} from an earlier run; {speed}")
    typer.echo(out / "results.jsonl")
    typer.echo(out / "summary.csv")
    return 1 if failed else 0
