"""Commands on paper: digitize."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from einthoven.cli.door import AsJson, app, asked, each, print_json, tell


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
    speed: Annotated[float | None, typer.Option(help="Paper speed in mm/s, where it is known.", show_default=False)] = None,
    gain: Annotated[float | None, typer.Option(help="Gain in mm/mV, where it is known.", show_default=False)] = None,
    layout: Annotated[str | None, typer.Option(help="3x4+1, 12x1, 6x2, ..., where it is known.", show_default=False)] = None,
    corners: Annotated[
        str | None,
        typer.Option(help="The sheet's corners in pixels, from the upper left clockwise: X,Y,X,Y,X,Y,X,Y.", show_default=False),
    ] = None,
    page: Annotated[int | None, typer.Option(help="Page of a PDF, 1 is the first.", show_default=False)] = None,
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

    places = _corners(corners)
    with asked():
        writer(output)  # now, and not after the reading
        if layout is not None:
            parse_layout(layout)

    def work(path: str) -> None:
        found = digitized(
            path, fs=fs, speed=speed, gain=gain, layout=layout, corners=places, page=None if page is None else page - 1
        )
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


def _corners(text: str | None) -> list[tuple[float, float]] | None:
    if text is None:
        return None
    try:
        values = [float(v) for v in text.replace(";", ",").split(",")]
    except ValueError:
        values = []
    if len(values) != 8:
        raise typer.BadParameter("eight numbers are needed: X,Y,X,Y,X,Y,X,Y", param_hint="--corners")
    return list(zip(values[::2], values[1::2], strict=True))
