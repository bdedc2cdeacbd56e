"""einthoven serve: the platform in a browser, for people who do not program."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from einthoven.cli.door import app, stop, tell

DATABASE = "EINTHOVEN_DATABASE"  # as in serve/catalogue.py, which is not imported for a page of help

DataDir = Annotated[Path | None, typer.Option("--data-dir", help="The server's; else your folder of data.", show_default=False)]
Database = Annotated[
    str | None,
    typer.Option(
        envvar=DATABASE, show_envvar=True, show_default=False,
        help="PostgreSQL in place of a file for the catalogue: postgresql://user@host/name. With a password, say it by the "
        "environment: who lists processes reads what is said here.",
    ),
]  # fmt: skip


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
    behind_proxy: Annotated[bool, typer.Option("--behind-proxy", help="A proxy adds TLS.")] = False,
    proxy: Annotated[
        str,
        typer.Option(help="Where that proxy asks from, by commas: who asked it is believed (* where nobody else gets here)."),
    ] = "127.0.0.1",
    store: Annotated[
        list[str] | None, typer.Option("--store", help="A model exchange that users may pull from and publish to; repeatable.")
    ] = None,
    keep_names: Annotated[
        bool, typer.Option("--keep-names", help="Do not remove what identifies patients from what is uploaded.")
    ] = False,
    database: Database = None,
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
            certificate=certificate, key=key, behind_proxy=behind_proxy, proxies=proxy, stores=store or (),
            database=database, ready=ready,
        )  # fmt: skip
    except EcgError as fault:
        stop(fault)


@app.command()
def token(
    user: Annotated[str, typer.Argument(metavar="USER", help="Whose it is: what this user does is noted under this name.")],
    scope: Annotated[
        str, typer.Option(help="read, write (ECGs and labels), run (trainings) or admin; each may what those before it may.")
    ] = "read",
    days: Annotated[float, typer.Option(min=1, max=366, help="How long it is good.")] = 90.0,
    data_dir: DataDir = None,
    database: Database = None,
) -> None:
    """Make a token by which someone signs in at `einthoven serve`, or a program asks it. It is shown once, kept by nobody."""
    from einthoven.exchange.shelf import home
    from einthoven.record import EcgError, WrongUse
    from einthoven.serve.access import SCOPES, new_token
    from einthoven.serve.store import Store, is_data

    place = data_dir or home() / "serve"
    try:
        if scope not in SCOPES:
            raise WrongUse(f"no scope {scope!r} (there are: {', '.join(SCOPES)})")
        if not is_data(place):
            raise EcgError("is no data directory: `einthoven serve --data-dir` makes one", path=place)
        store = Store(place, database)
        made, _ = new_token(store, user[:100], scope, name="by command", lasts=days * 86400.0)
        store.note("local", "token", f"{user[:100]}: {scope}")
        store.close()
    except EcgError as fault:
        stop(fault)
    typer.echo(made)


@app.command("move-catalogue")
def move_catalogue(
    database: Annotated[
        str | None,
        typer.Argument(
            metavar="[postgresql://user@host/name]", envvar=DATABASE, show_default=False, help="Where to; an empty one."
        ),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Move the catalogue of a data directory from its SQLite file to PostgreSQL, while no server runs. The old file stays."""
    from einthoven.exchange.shelf import home
    from einthoven.record import EcgError, WrongUse
    from einthoven.serve.catalogue import move

    try:
        if not database:
            raise WrongUse(f"say where to: postgresql://user@host/name, or {DATABASE} in the environment")
        counts = move((data_dir or home() / "serve").expanduser().resolve(), database)
    except EcgError as fault:
        stop(fault)
    tell(", ".join(f"{count:,} of {table}" for table, count in counts.items() if count) or "an empty catalogue")
    typer.echo(f"moved; from now on: einthoven serve --database, or {DATABASE} in the environment")
