"""What the tests share: where the real ECGs lie, and a skip that says so where they are missing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def data_folder() -> Path:
    """../shared/data from the project's root, or what EINTHOVEN_DATA names."""
    return Path(os.environ.get("EINTHOVEN_DATA") or ROOT.parent / "shared" / "data")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    folder = data_folder()
    if not folder.is_dir():
        pytest.skip(f"real ECGs are not at {folder} (set EINTHOVEN_DATA)")
    return folder
