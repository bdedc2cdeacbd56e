"""The house plan holds: imports only point up the list of rooms, and the door opens fast."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from einthoven.io import write
from einthoven.synth import simulate

PACKAGE = Path(__file__).resolve().parent.parent / "einthoven"

# Each room may import itself and the rooms before it (docs/architecture.md).
ROOMS = (
    "record", "processes", "statements", "io", "signal", "beats", "synth", "findings", "paper", "data", "represent", "models",
    "tune", "evaluate", "exchange", "train", "explain", "opinion", "grounding", "told", "interpretation", "report", "batch",
    "scale", "serve", "cli",
)  # fmt: skip
# A model's architecture is needed by the room that runs it only for training; the base never imports torch at its top.
HEAVY = (
    "torch",
    "onnxruntime",
    "cv2",
    "transformers",
    "pyarrow",
    "h5py",
    "pydicom",
    "wfdb",
    "numba",
    "pandas",
    "accelerate",
    "peft",
    "sklearn",
    "onnx",
    "ray",
    "matplotlib",
)


def room_of(path: Path) -> str | None:
    """The room a file stands in; None for the package's own front (`__init__`, `__main__`)."""
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return None if first.startswith("__") else first


def imported_rooms(path: Path) -> set[str]:
    """Rooms that a file imports from, at any depth of its code."""
    found = set()
    package = ("einthoven", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) + "." if node.level else ""
            module = base + (node.module or "")
            names = [f"{module.rstrip('.')}.{alias.name}" for alias in node.names] + [module]
        for name in names:
            parts = name.split(".")
            if parts[0] == "einthoven" and len(parts) > 1 and parts[1] in ROOMS:
                found.add(parts[1])
    return found


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_up(path: Path) -> None:
    room = room_of(path)
    if room is None:
        return
    assert room in ROOMS, f"{room} is no room of the house plan: put it on the list, or the line elsewhere"
    below = {other for other in imported_rooms(path) if ROOMS.index(other) > ROOMS.index(room)}
    assert not below, f"{path.relative_to(PACKAGE)} imports from {', '.join(sorted(below))}, which stand below {room}"


def test_the_import_reader_sees_what_it_should(tmp_path: Path) -> None:
    # The guard itself, on a planted fault: record importing from beats.
    assert imported_rooms(PACKAGE / "interpretation.py") >= {"record", "beats", "findings", "signal"}


def test_import_and_help_load_nothing_heavy() -> None:
    code = "import sys, einthoven, einthoven.cli; print(*sorted(set(sys.modules) & set(sys.argv[1:])))"
    out = subprocess.run([sys.executable, "-c", code, *HEAVY, "scipy"], capture_output=True, text=True, check=True)
    assert out.stdout.split() == []


def test_an_interpretation_loads_neither_torch_nor_the_slow_parts_of_scipy(tmp_path: Path) -> None:
    ecg = simulate(rate=70, seed=1).record
    write(ecg, tmp_path / "ecg.npz")
    code = (
        "import sys; from einthoven.interpretation import interpret; from einthoven.report import save; "
        "save(interpret(sys.argv[1]), sys.argv[2]); print(*sorted(set(sys.modules) & set(sys.argv[3:])))"
    )
    slow = ("torch", "matplotlib", "pandas", "scipy.signal", "scipy.stats", "scipy.optimize", "scipy.interpolate")
    asked = [sys.executable, "-c", code, str(tmp_path / "ecg.npz"), str(tmp_path / "report.html"), *slow]
    assert subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split() == []
