"""A PostgreSQL server of the tests' own, where one is installed."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TOOLS = next(
    (
        path.parent
        for path in (
            *sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True),
            Path(shutil.which("initdb") or ""),
        )
        if path.is_file()
    ),
    None,
)


def user() -> str | None:
    """PostgreSQL refuses to run as root."""
    if os.geteuid():
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        return "nobody"


@contextmanager
def postgres() -> Iterator[str]:
    """The address of a server's first database, through a socket in a folder of its own: no port, no password."""
    assert TOOLS is not None
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # short: the path of a socket holds 107 letters
    who = user()
    try:
        if who:
            shutil.chown(folder, who)
            folder.chmod(0o755)
        data = folder / "data"

        def run(tool: str, *words: str) -> None:
            done = subprocess.run(
                [str(TOOLS / tool), *words], user=who, cwd=folder, capture_output=True, text=True, timeout=120
            )
            assert done.returncode == 0, done.stdout + done.stderr

        run("initdb", "-D", str(data), "-U", "tests", "-A", "trust", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8")
        options = f"-c listen_addresses='' -c unix_socket_directories='{folder}' -c fsync=off -c max_connections=60"
        run("pg_ctl", "-D", str(data), "-o", options, "-l", str(folder / "log"), "-w", "start")
        try:
            yield f"postgresql://tests@/postgres?host={folder}"
        finally:
            run("pg_ctl", "-D", str(data), "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
