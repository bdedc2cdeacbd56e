"""The door: the app, what its commands share, and how failures are told.

Results go to stdout or the named file, everything else to stderr. Exit codes: 0 done; 1 an input cannot be used, be it an
ECG, a dataset, a listing, a Bundle (each is named, the rest done); 2 wrong use: an option, a name or a recipe that is not on
offer, a place that is taken.
"""

from __future__ import annotations

import json
import math
import os
import sys
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
    from einthoven.io.finish import millivolts

    if unit is not None and millivolts(unit) is None:
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

Files = Annotated[
    list[str], typer.Argument(metavar="FILE...", help="ECG files, folders or ZIPs; any format.", show_default=False)
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
AsJson = Annotated[bool, typer.Option("--json", help="JSON to stdout, one line an ECG.")]
Jobs = Annotated[int, typer.Option("--jobs", "-j", help="Processes; 0 takes every core.", show_default=False)]


def main() -> None:
    """The entry point: a disk that cannot be written, a folder that is a file, become one line on stderr and exit code 1."""
    try:
        app()
    except BrokenPipeError:  # `einthoven info ... | head`: the reader has gone, which is no fault of anybody
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as fault:
        if fault.filename is None:  # not about a file that was named: a fault of the program
            raise
        tell(f"error: {fault.filename}: {fault.strerror}")
        sys.exit(1)


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
            if not inside:
                raise EcgError("no ECG in it", path=name)
            found += inside
        except EcgError as fault:
            tell(f"error: {fault}")
            failed = 1
    return found, failed


def run_each(files: list[str], work: Callable[[str], None], *, as_json: bool = False, expand: bool = True) -> int:
    """Calls work on every input; each that fails is named, and the rest is done. -> how many failed."""
    from einthoven.record import EcgError, WrongUse

    paths, failed = find(files) if expand else (files, 0)
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


def each(files: list[str], work: Callable[[str], None], *, as_json: bool = False, expand: bool = True) -> None:
    raise typer.Exit(1 if run_each(files, work, as_json=as_json, expand=expand) else 0)


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
