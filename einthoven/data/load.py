"""`load`: an Index from whatever the user points at."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from einthoven.data.datasets.table import recognise
from einthoven.data.entry import DEFAULT, Choice, Dataset
from einthoven.data.folder import relabelled
from einthoven.data.index import Index, Origin, build, described, in_memory, is_index
from einthoven.record import EcgError


def load(
    path: str | os.PathLike[str],
    labels: str | os.PathLike[str] | None = None,
    *,
    folder: str | os.PathLike[str] | None = None,
    choice: Choice = DEFAULT,
    jobs: int = 1,
) -> Index:
    """An Index folder, an official dataset's folder, or a folder of one's own with a CSV of labels, as an Index.

    Args:
        labels: a CSV of labels (see folder.py); `labels.csv` in a folder is found without being named. A public set or an index
            under own labels keeps its patients and folds, and of its records only those that are labelled.
        folder: where the index is kept. It is taken as it is when it is there already, and built otherwise. Without one the
            index lives in a temporary folder until the program ends.
        choice: rate, columns and more (see Choice).
        jobs: processes to read with; 0 takes every core.

    Raises:
        EcgError: nothing known lies there, or nothing of it could be read. Records that fail are named in
            `index.about["failed"]`.
    """
    place = Path(path)
    if is_index(place):
        return Index.open(place) if labels is None else relabelled(Index.open(place), Path(labels), choice)[0]
    if labels is not None:
        choice = replace(choice, labels=str(labels))
    origins = [Origin(place, recognise(place, choice), choice)]
    if folder is not None and is_index(Path(folder)):
        kept = Index.open(folder)
        if kept.about.get("sources") != described(origins):
            told = f"holds an index of something else than {place}, or of other labels: choose another folder"
            raise EcgError(told, path=Path(folder))
        return kept
    return in_memory(origins, jobs=jobs) if folder is None else build(origins, folder, jobs=jobs)


def together(paths: Sequence[Path], datasets: Sequence[Dataset], choice: Choice = DEFAULT) -> list[Origin]:
    """Sources of one index. Where PTB-XL is among them, the Challenge's copies of its records learn their patients from it."""
    ptbxl = next((p for p, d in zip(paths, datasets, strict=True) if d.name == "ptbxl"), None)
    out = []
    for path, dataset in zip(paths, datasets, strict=True):
        own = replace(choice, extra=str(ptbxl)) if dataset.name == "challenge" and ptbxl and not choice.extra else choice
        out.append(Origin(path, dataset, own))
    return out
