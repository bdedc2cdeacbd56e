"""The door: the app, what its commands share, and how failures are told.

Results go to stdout or the named file, everything else to stderr. Exit codes: 0 done; 1 an input cannot be used, be it an
ECG, a dataset, a listing, a Bundle (each is named, the rest done); 2 wrong use: an option, a name or a recipe that is not on
offer, a place that is taken.
"""

from __future__ import annotations

import gc
import importlib
import json
import math
import os
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from einthoven import __version__

if TYPE_CHECKING:
    from einthoven.record import EcgError


def _hertz(fs: float | None) -> float | None:
    if fs is not None and not (math.isfinite(fs) and fs > 0):
        raise typer.BadParameter(f"a rate in Hz is above 0, not {fs:g}")
    return fs


def _voltage(unit: str | None) -> str | None:
    if unit is None:
        return None
    from einthoven.io.finish import millivolts

    if millivolts(unit) is None:
        raise typer.BadParameter(f"{unit[:40]!r} is no voltage (mV, uV, nV or V)")
    return unit


app = typer.Typer(
    name="einthoven",
    help="Reads any 12-lead ECG, measures it and interprets it. Research use only, not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_DRAWN = ".overlay.png"  # what `digitize` draws for the eye is no input

Files = Annotated[
    list[str], typer.Argument(metavar="FILE...", help="ECG files, folders or ZIPs; any format.", show_default=False)
]
Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE...", help="ECG files of any format, photos, scans and PDFs of paper; folders, ZIPs.", show_default=False
    ),
]
One = Annotated[str, typer.Argument(metavar="FILE", help="An ECG file; any format.", show_default=False)]
Rate = Annotated[
    float | None,
    typer.Option("--fs", help="Sampling rate in Hz, for files that do not say.", show_default=False, callback=_hertz),
]
Unit = Annotated[
    str | None,
    typer.Option("--unit", help="Unit (mV, uV), for files that do not say.", show_default=False, callback=_voltage),
]
Layout = Annotated[
    str | None, typer.Option("--layout", help="Of paper: 3x4+1, 12x1, 6x2, ..., where it is known.", show_default=False)
]
Speed = Annotated[float | None, typer.Option("--speed", help="Of paper: mm/s, where it is known.", show_default=False)]
Gain = Annotated[float | None, typer.Option("--gain", help="Of paper: mm/mV, where it is known.", show_default=False)]
Corners = Annotated[
    str | None,
    typer.Option(
        "--corners",
        help="Of paper: the sheet's corners in the picture, pixels, from the upper left clockwise: X,Y,X,Y,X,Y,X,Y.",
        show_default=False,
    ),
]
PdfPage = Annotated[int | None, typer.Option("--page", help="Of a PDF: the page, 1 is the first.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="JSON to stdout, one line an ECG.")]
Jobs = Annotated[int, typer.Option("--jobs", "-j", help="Processes; 0 takes every core.", show_default=False)]


def main() -> None:
    """The entry point: a disk that cannot be written, a folder that is a file, become one line on stderr and exit code 1."""
    gc.set_threshold(100_000, 50, 50)  # loading makes hundreds of thousands of objects, and nothing to be collected
    try:
        with _only(sys.argv[1:2]):
            app()
    except BrokenPipeError:  # `einthoven info ... | head`: the reader has gone, which is no fault of anybody
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as fault:
        if fault.filename is None:  # not about a file that was named: a fault of the program
            raise
        tell(f"error: {fault.filename}: {fault.strerror}")
        sys.exit(1)


@contextmanager
def _only(name: list[str]) -> Iterator[None]:
    """Leaves no other command than the one that was asked for: to make all of them takes longer than to load numpy."""
    every = app.registered_commands, app.registered_groups
    one = [c for c in every[0] if [c.name or (c.callback.__name__ if c.callback else "")] == name]
    if one:
        app.registered_commands, app.registered_groups = one, []
    try:
        yield
    finally:
        app.registered_commands, app.registered_groups = every


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if version:
        typer.echo(f"einthoven {__version__}")
        raise typer.Exit


def find(files: list[str], also: Collection[str] = ()) -> tuple[list[str], int]:
    """The inputs named, folders and ZIPs expanded (there, files of these extensions `also` count); what is not there is told,
    and gives exit code 1."""
    from einthoven.io import find_inputs
    from einthoven.record import EcgError

    found: list[str] = []
    failed = 0
    for name in files:
        try:
            inside = [str(path) for path in find_inputs([name], also=also)]
            inside = [path for path in inside if path == name or not path.endswith(_DRAWN)]
            if not inside:
                raise EcgError("no ECG in it", path=name)
            found += inside
        except EcgError as fault:
            tell(f"error: {fault}")
            failed = 1
    return found, failed


def ahead(*modules: str) -> None:
    """Loads modules in a thread beside, as far as the command leaves it time: what a command needs at its end."""

    def load() -> None:
        for name in modules:
            importlib.import_module(name)

    threading.Thread(target=load).start()


def run_each(
    files: list[str], work: Callable[[str], None], *, as_json: bool = False, expand: bool = True, paper: bool = False
) -> int:
    """Calls work on every input (with `paper` the pictures and PDFs of a folder, too); each that fails is named, and the rest
    is done. -> how many failed."""
    from einthoven.record import EcgError, WrongUse

    also: Collection[str] = ()
    if paper:
        from einthoven.paper.entry import PICTURES

        also = PICTURES
    paths, failed = find(files, also) if expand else (files, 0)
    for path in paths:
        try:
            work(path)
        except WrongUse as fault:  # the next input would fare no better
            stop(fault)
        except EcgError as fault:
            failed += 1
            if as_json:
                print_json({"path": path, "ok": False, "error": str(fault), "what": fault.what, "where": fault.where})
            tell(f"error: {fault if fault.path or not path else fault.at(path)}")
    if failed and len(paths) > 1:
        tell(f"{failed} of {len(paths)} inputs failed")
    return failed


def each(
    files: list[str], work: Callable[[str], None], *, as_json: bool = False, expand: bool = True, paper: bool = False
) -> None:
    raise typer.Exit(1 if run_each(files, work, as_json=as_json, expand=expand, paper=paper) else 0)


def corners_of(text: str | None) -> list[tuple[float, float]] | None:
    """--corners as four points (x, y)."""
    if text is None:
        return None
    try:
        values = [float(v) for v in text.replace(";", ",").split(",")]
    except ValueError:
        values = []
    if len(values) != 8:
        raise typer.BadParameter("eight numbers are needed: X,Y,X,Y,X,Y,X,Y", param_hint="--corners")
    return list(zip(values[::2], values[1::2], strict=True))


def hints_of(
    layout: str | None, speed: float | None, gain: float | None, corners: str | None, page: int | None
) -> dict[str, Any]:
    """What the options say of a page, under the names that `interpret` and `digitize` have for it."""
    return {
        "layout": layout,
        "speed": speed,
        "gain": gain,
        "corners": corners_of(corners),
        "page": None if page is None else page - 1,
    }


def code(fault: EcgError) -> int:
    """The exit code: 2 where the command asks for what is not on offer, 1 where an input is at fault."""
    from einthoven.record import WrongUse

    return 2 if isinstance(fault, WrongUse) else 1


def stop(fault: EcgError) -> NoReturn:
    tell(f"error: {fault}")
    raise typer.Exit(code(fault)) from None


@contextmanager
def asked() -> Iterator[None]:
    """Around what only looks at options: an EcgError in it is wrong use, exit code 2."""
    from einthoven.record import EcgError, WrongUse

    try:
        yield
    except EcgError as fault:
        stop(WrongUse(fault.what, path=fault.path, where=fault.where))


@contextmanager
def faults() -> Iterator[None]:
    """EcgError becomes one line on stderr and its exit code."""
    from einthoven.record import EcgError

    try:
        yield
    except EcgError as fault:
        stop(fault)


def is_a_file(path: Path) -> Path:
    """The path, if a file is there. Raises EcgError in the words that readers of ECGs have for it."""
    from einthoven.record import EcgError

    if path.is_dir():
        raise EcgError("is a folder", path=path)
    if not path.exists():
        raise EcgError("no such file", path=path)
    return path


def tell(words: str) -> None:
    typer.echo(words, err=True)


def dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def print_json(value: Any) -> None:
    typer.echo(dumps(value))
