"""A language model that is finished, asked about ECGs that it has not seen: its answers beside every control."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from einthoven.data import Index, load
from einthoven.data.instruct.make import make
from einthoven.data.instruct.sample import Sample
from einthoven.evaluate.language import Examination, ecgs_of, examine, ranking_of
from einthoven.exchange import shelf
from einthoven.exchange.bundle import Bundle
from einthoven.exchange.language import open_language
from einthoven.models.language.answer import Answers
from einthoven.record import EcgError, WrongUse
from einthoven.train.instruct.material import MADE, drawn_fold, read_of
from einthoven.train.judge import unseen

RANKED = ("superclass", "statement")


def examine_bundle(
    model: str | Path,
    data: str | Path,
    samples: Sequence[str] = (MADE,),
    *,
    base: str | None = None,
    folds: Sequence[int] | None = None,
    counted: Sequence[int] | None = None,
    most: int | None = None,
    rank: str | None = None,
    new_tokens: int = 128,
    out: Path | None = None,
    draws: int = 1000,
    seed: int = 0,
    jobs: int = 1,
    tell: Callable[[str], None] = print,
) -> Examination:
    """A Bundle's answers to questions about ECGs, marked, with the controls and the signal gain.

    Args:
        model: a Bundle of task "language", by name or path. base: where the weights lie that it was made for.
        data: as for `einthoven.data.load`. samples: files of samples, folders of public sets, and "made" (by templates).
        folds: of the ECGs that are asked about; None: all but those that the model was trained on or chosen with.
        counted: folds whose answers the control "majority" counts; None: those that the model was trained on.
        most: samples at most, drawn by `seed`. rank: also order ECGs by the likelihood of each "superclass" or "statement".
        out: a folder for scores.json, answers.jsonl, table.md and table.html.

    Raises:
        EcgError: no such Bundle, another task, nothing left to ask.
    """
    if rank is not None and rank not in RANKED:
        raise WrongUse(f"no ranking by {rank} (there are: {', '.join(RANKED)})")
    path = shelf.find(model)
    manifest = Bundle.open(path).manifest
    speaker, _ = open_language(path, base=base)
    with TemporaryDirectory() as work:
        index = load(data, folder=Path(work) / "index", jobs=jobs)
        fold = _folds(index)
        rows, told = unseen(index, manifest, np.arange(len(index)))
        for words in told:
            tell(f"warning: {words}")
        if folds is not None:
            rows = rows[np.isin(fold[rows], folds)]
        if counted is None:
            counted = [f for seen in manifest.training.data if seen.role == "training" for f in seen.folds]
        names = index.column("record")
        asked, before = {names[int(k)] for k in rows}, {n for n, f in zip(names, fold, strict=True) if f in counted}
        every = _samples(index, samples, asked | before, seed, jobs, tell)
        test = [s for s in every if s.records and all(r in asked for r in s.records)]
        if not test:
            raise EcgError("no question is left about an ECG that the model has not seen", path=data)
        if most is not None and most < len(test):
            test = [test[k] for k in np.sort(np.random.default_rng([seed, 14]).permutation(len(test))[:most])]
        train = [s for s in every if s.records and all(r in before for r in s.records)]
        answers = Answers(speaker, manifest.name, most=new_tokens)
        tell(
            f"{manifest.name}: {len(test):,} questions about {len({r for s in test for r in s.records}):,} ECGs, with controls"
        )
        found = examine(answers, test, ecgs_of(index), train=train, draws=draws, seed=seed)
        if rank is not None:
            more, _ = ranking_of(answers, index, [int(k) for k in rows], rank, draws=draws, seed=seed)
            found = replace(found, rows=(*found.rows, *more))
    if out is not None:
        found.save(str(out))
    return found


def _folds(index: Index) -> np.ndarray:
    """Each record's fold; where the set has none, one of ten by its patient."""
    columns = zip(index.column("fold"), index.column("patient"), strict=True)
    return np.array([int(f) if f >= 0 else drawn_fold(patient) for f, patient in columns])


def _samples(
    index: Index, samples: Sequence[str], wanted: set[str], seed: int, jobs: int, tell: Callable[[str], None]
) -> list[Sample]:
    """What the files say, and what templates make of the wanted ECGs alone."""
    out: list[Sample] = []
    for path in samples:
        if path == MADE:
            rows = [k for k, name in enumerate(index.column("record")) if name in wanted]
            tell(f"making samples of {len(rows):,} ECGs")
            out += make(index.select(np.array(rows)), per_record=10, seed=seed, jobs=jobs)
        else:
            out += read_of(path, index, tell)
    return out
