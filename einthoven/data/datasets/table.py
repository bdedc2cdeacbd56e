"""The table of all datasets, in the order in which a folder is asked what it is. A row here, and the contract test asks for its
example.
"""

from __future__ import annotations

from pathlib import Path

from einthoven.data import folder, segments
from einthoven.data.datasets import challenge, code15, ludb, mimic, ptbxl, sph, yang
from einthoven.data.entry import DEFAULT, Choice, Dataset
from einthoven.data.index import is_index
from einthoven.record import EcgError, WrongUse

DATASETS: dict[str, Dataset] = {
    row.name: row
    for row in (
        ptbxl.PTBXL,
        mimic.MIMIC,
        code15.CODE15,
        sph.SPH,
        ludb.LUDB,
        challenge.CHALLENGE,
        yang.YANG,
        # What a user brings: last, because anything may be a folder of ECGs.
        segments.SEGMENTS,
        folder.FOLDER,
    )
}


def recognise(path: Path, choice: Choice = DEFAULT) -> Dataset:
    """The dataset that lies at this path, by its content. A CSV of labels, where one is given, makes a folder of files the
    user's own, and gives a public set the user's labels.

    Raises:
        EcgError: nothing is there, or nothing that is known; the words say what was looked for.
    """
    if not path.exists():
        raise EcgError("no such file or folder", path=path)
    if is_index(path):
        raise EcgError("is an index already", path=path)
    if choice.labels is not None:
        own = (segments.SEGMENTS, folder.FOLDER)
        public = next((row for row in DATASETS.values() if row not in own and row.matches(path)), None)
        return folder.FOLDER if public is None else folder.labelled(public)
    for row in DATASETS.values():
        if row.matches(path):
            return row
    known = ", ".join(row.title for row in DATASETS.values())
    raise EcgError(f"no dataset is recognised here (known: {known}); a folder of your own ECGs needs a labels.csv", path=path)


def by_name(name: str) -> Dataset:
    """The dataset called `name`. Raises EcgError, which lists them, where there is none."""
    if name not in DATASETS:
        raise WrongUse(f"no dataset {name} (there are: {', '.join(DATASETS)})")
    return DATASETS[name]
