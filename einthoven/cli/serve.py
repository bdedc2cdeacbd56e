"""einthoven serve: the platform in a browser, for people who do not program."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from einthoven.cli.door import app, stop, tell


@app.command()
def serve(
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", help="Where ECGs, models and jobs are kept; else your folder of data.", show_default=False),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen at; 127.0.0.1 is this machine alone.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen at.")] = 8010,
    name: Annotated[
        list[str] | None,
        typer.Option("--name", help="A name that others reach the server by; repeatable."),
    ] = None,
    certificate: Annotated[Path | None, typer.Option(help="TLS certificate (PEM).", show_default=False)] = None,
    key: Annotated[Path | None, typer.Option(help="Its key (PEM).", show_default=False)] = None,
    behind_proxy: Annotated[bool, typer.Option("--behind-proxy", help="A proxy on this machine adds TLS.")] = False,
    store: Annotated[
        list[str] | None, typer.Option("--store", help="A model exchange that users may pull from and publish to; repeatable.")
    ] = None,
    keep_names: Annotated[
        bool, typer.Option("--keep-names", help="Do not remove what identifies patients from what is uploaded.")
    ] = False,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page.")] = True,
) -> None:
    """Open Einthoven in the browser: drop ECGs and photos, read them as on paper, fine-tune on labels of your own.

    Nothing leaves this machine. The link that is printed signs one browser in, once.
    """
    from einthoven.exchange.shelf import home
    from einthoven.record import EcgError

    try:
        from einthoven.serve.app import serve as run
    except ImportError as fault:
        tell(f"error: the platform needs more packages: pip install 'einthoven[serve]' ({fault})")
        raise typer.Exit(2) from None

    def ready(link: str) -> None:
        typer.echo(link)
        tell("Ctrl-C ends it. Research use only, not a medical device.")
        if browser:
            import threading
            import webbrowser

            threading.Timer(0.8, webbrowser.open, (link,)).start()

    try:
        run(
            data_dir or home() / "serve", host=host, port=port, names=name or (), anonymous=not keep_names,
            certificate=certificate, key=key, behind_proxy=behind_proxy, stores=store or (), ready=ready,
        )  # fmt: skip
    except EcgError as fault:
        stop(fault)
