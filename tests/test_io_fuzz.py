"""The short form of `python tests/fuzz.py`: damaged files of every format give a Record or an EcgError, nothing else."""

from __future__ import annotations

from fuzz import run

from einthoven.io import FORMATS


def test_damaged_files_give_a_record_or_an_error() -> None:
    assert run(inputs=1500, seconds=0, base=7, formats=list(FORMATS), out=None, quiet=True) == {}
