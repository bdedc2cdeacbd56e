"""Commands on paper: digitize."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from einthoven.cli.door import AsJson, Corners, Gain, Layout, PdfPage, Speed, app, asked, each, hints_of, print_json, tell


@app.command()
def digitize(
    source: Annotated[str, typer.Argument(metavar="IMAGE|PDF", help="A scan, photo or PDF of an ECG.", show_default=False)],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The ECG; the extension chooses the format.", show_default=False)
    ],
    overlay: Annotated[
        Path | None,
        typer.Option(help="PNG of the traces over the print; beside the output if not given.", show_default=False),
    ] = None,
    speed: Speed = None,
    gain: Gain = None,
    layout: Layout = None,
    corners: Corners = None,
    page: PdfPage = None,
    fs: Annotated[float, typer.Option("--fs", help="Sampling rate to give the ECG, Hz.")] = 500.0,
    json: AsJson = False,
) -> None:
    """Read an ECG off its paper: PDF, scan or photo to signals, with a picture of the traces over the print."""
    from einthoven.io import write, writer
    from einthoven.io.files import replacing
    from einthoven.paper.digitise import digitize as digitized
    from einthoven.paper.digitise.overlay import overlay as drawn
    from einthoven.paper.page import parse_layout
    from einthoven.paper.render import png_bytes

    hints = hints_of(layout, speed, gain, corners, page)
    with asked():
        writer(output)  # now, and not after the reading
        if layout is not None:
            parse_layout(layout)

    def work(path: str) -> None:
        found = digitized(path, fs=fs, **hints)
        made = [str(p) for p in write(found.record, output)]
        picture = overlay or output.with_name(output.stem + ".overlay.png")
        with replacing(picture) as draft:
            draft.write_bytes(png_bytes(drawn(found), found.page.dpi))
        for words in found.warnings:
            tell(f"warning: {words}")
        if json:
            print_json(
                {
                    "path": path,
                    "ok": True,
                    "means": found.means,
                    "files": [*made, str(picture)],
                    "layout": found.page.layout,
                    "speed_mm_s": found.page.speed,
                    "gain_mm_mv": found.page.gain,
                    "confidence": dict(found.confidence),
                    "warnings": list(found.warnings),
                }
            )
        else:
            sure = "  ".join(f"{lead} {value:.2f}" for lead, value in found.confidence.items())
            tell(f"{found.page.layout}, {found.page.speed:g} mm/s, {found.page.gain:g} mm/mV, by {found.means}; {sure}")
            for name in [*made, str(picture)]:
                typer.echo(name)

    each([source], work, as_json=json, expand=False)
