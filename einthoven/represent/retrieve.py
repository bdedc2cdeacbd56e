"""Nearest ECGs of an Index, for a prompt: what was said of those that look alike.

    shelf = Shelf.of(index, rows=train_rows, jobs=0)                 # by measured features; or by a model's embedding
    hits = shelf.nearest(record, k=3)                                # never of the same patient
    prompt = in_words(hits)

Published retrieval for ECG-language models (ECG-Bench) does not exclude the asked patient's own records, so it finds the very
report that is to be written; here records of the same patient, copies and the same signal are left out always. Distance:
Euclidean over features brought to a median of 0 and a spread of 1 by the shelf's own records, each clipped to +-3; what could
not be measured counts as usual (0).

N records, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from einthoven.data.index import Index, hashed, microvolts
from einthoven.data.splits import groups
from einthoven.data.workers import ordered
from einthoven.record import EcgError, Record

Matrix = NDArray[np.float32]
_CLIP = 3.0


@dataclass(frozen=True)
class Hit:
    """A record found: its name, patient, distance (0 is the same), report and stated codes."""

    record: str
    patient: str
    distance: float
    text: str
    codes: tuple[str, ...]


@dataclass(frozen=True)
class Shelf:
    """Records that may be found: `index`, `rows` of it, their features (N, F) standardised, and how (`centre`, `scale`).

    embed: what makes the same F numbers of a Record; `chosen`: the columns of them that count.
    """

    index: Index
    rows: NDArray[np.int64]
    matrix: Matrix
    centre: Matrix
    scale: Matrix
    embed: Callable[[Record], NDArray[np.float32]] | None = None

    @classmethod
    def of(
        cls,
        index: Index,
        rows: Sequence[int] | NDArray[np.int64] | None = None,
        *,
        embed: Callable[[Record], NDArray[np.float32]] | None = None,
        matrix: ArrayLike | None = None,
        jobs: int = 1,
    ) -> Shelf:
        """A shelf of these rows (all, by default).

        Args:
            embed: a record's features, (F,); by default the measured figures of represent/features.py. It is called in `jobs`
                processes, so it has to be a function that can be sent there.
            matrix: the features (N, F) of the rows, where they are at hand: a model's embeddings, say.

        Raises:
            EcgError: shapes that do not fit, or no record with any feature.
        """
        chosen = np.arange(len(index)) if rows is None else np.asarray(rows, np.int64)
        if matrix is None:
            embed = embed or measured
            work = partial(_embedded, embed=embed)
            found = ordered(work, (index.record(int(i)) for i in chosen), jobs=jobs, killed=_lost, chunk=8)
            made = [row for row in found]
            width = max((len(row) for row in made), default=0)
            raw = np.stack([row if len(row) == width else np.full(width, np.nan, np.float32) for row in made])
        else:
            raw = np.asarray(matrix, np.float32)
        if raw.ndim != 2 or len(raw) != len(chosen):
            raise EcgError(f"features {raw.shape} for {len(chosen)} records")
        there = np.isfinite(raw).any(axis=1)
        if not there.any():
            raise EcgError("no record has a feature to be found by", path=index.folder)
        with np.errstate(all="ignore"):
            kept = np.where(np.isfinite(raw), raw, np.nan)[there]
            low, centre, high = np.nanpercentile(kept, [16, 50, 84], axis=0)
            scale = (high - low) / 2
            scale = np.where(scale > 0, scale, np.nanstd(kept, axis=0))
        usable = np.isfinite(scale) & (scale > 0)
        centre, scale = np.where(usable, centre, 0.0).astype(np.float32), np.where(usable, scale, np.inf).astype(np.float32)
        return cls(index, chosen[there], _standard(raw[there], centre, scale), centre, scale, embed)

    def __len__(self) -> int:
        return len(self.rows)

    def nearest(self, asked: Record | NDArray[np.float32], k: int = 3, *, patient: str | None = None) -> list[Hit]:
        """The k nearest, nearest first, none of the asked patient's.

        Args:
            asked: a record, or features (F,) made by the same means.
            patient: whose records are left out, as the Index names patients ("ptbxl:15709"); by default the record's own
                `patient.id`. Records of the same signal are left out always.

        Raises:
            EcgError: k below 1, features of another size, or a record where the shelf has no way to embed one.
        """
        if k < 1:
            raise EcgError(f"{k} neighbours: at least one")
        barred: set[str] = {patient} if patient else set()
        signals: set[str] = set()
        if isinstance(asked, Record):
            if self.embed is None:
                raise EcgError("this shelf has no way to embed a record: give its features")
            if asked.patient.id and not patient:
                barred.add(asked.patient.id)
            signals.add(hashed(microvolts(asked.signal)[0], asked.leads))
            asked = self.embed(asked)
        vector = np.asarray(asked, np.float32)
        if vector.shape != self.centre.shape:
            raise EcgError(f"{vector.shape} features asked for, {self.centre.shape} on the shelf")
        return self._hits(_standard(vector[None], self.centre, self.scale)[0], k, barred, signals - {""})

    def nearest_of_row(self, row: int, vector: NDArray[np.float32], k: int = 3) -> list[Hit]:
        """The k nearest of a row of the same index with these features; its patient, its copies and its signal left out."""
        group = groups(self.index)
        others = np.flatnonzero(group[self.rows] != group[row])
        return self._closest(_standard(vector[None], self.centre, self.scale)[0], k, others)

    def _hits(self, vector: Matrix, k: int, barred: Collection[str], signals: Collection[str]) -> list[Hit]:
        patients, hashes = self.index.column("patient"), self.index.column("hash")
        keep = np.array(
            [i for i, r in enumerate(self.rows) if patients[r] not in barred and hashes[r] not in signals], np.int64
        )
        return self._closest(vector, k, keep)

    def _closest(self, vector: Matrix, k: int, among: NDArray[np.int64]) -> list[Hit]:
        far = np.linalg.norm(self.matrix[among] - vector, axis=1) / np.sqrt(max(len(vector), 1))
        order = among[np.argsort(far, kind="stable")[:k]]
        table = self.index.table.select(["record", "patient", "text", "codes"])
        out = []
        for i in order:
            about = table.slice(int(self.rows[i]), 1).to_pylist()[0]
            gap = float(np.linalg.norm(self.matrix[i] - vector) / np.sqrt(max(len(vector), 1)))
            out.append(Hit(about["record"], about["patient"], gap, about["text"] or "", tuple(about["codes"])))
        return out


def measured(record: Record) -> NDArray[np.float32]:
    """The measured figures of a record, (F,): those of represent/features.py without age, sex and the beat's samples."""
    from einthoven.represent.features import FIGURES, features

    return np.asarray(features(record)[2 : len(FIGURES)], np.float32)


def _embedded(record: Record, embed: Callable[[Record], NDArray[np.float32]]) -> NDArray[np.float32]:
    try:
        return np.asarray(embed(record), np.float32)
    except EcgError:
        return np.zeros(0, np.float32)


def _lost(record: Record) -> NDArray[np.float32]:
    return np.zeros(0, np.float32)


def _standard(raw: Matrix, centre: Matrix, scale: Matrix) -> Matrix:
    with np.errstate(invalid="ignore"):
        z = (raw - centre) / scale
    return np.asarray(np.clip(np.nan_to_num(z, nan=0.0, posinf=_CLIP, neginf=-_CLIP), -_CLIP, _CLIP), np.float32)


def in_words(hits: Sequence[Hit], *, content: str = "report", longest: int = 1000) -> str:
    """Hits as a paragraph for a prompt: their reports, or what is stated of them. "" where none of them has any.

    Raises EcgError for another content.
    """
    if content not in ("report", "statements"):
        raise EcgError(f"no content {content!r} (there are: report, statements)")
    lines = [f"{k}. {words[:longest]}" for k, words in enumerate(_words(hits, content), 1)]
    if not lines:
        return ""
    return "Reports of other patients' ECGs that look alike (this ECG may differ):\n" + "\n".join(lines)


def _words(hits: Sequence[Hit], content: str) -> Iterator[str]:
    from einthoven.data.labels import meanings
    from einthoven.statements import STATEMENTS

    for hit in hits:
        if content == "report" and hit.text:
            yield " ".join(hit.text.split())
        elif hit.codes:
            names = dict.fromkeys(n for code in hit.codes for n in meanings(code)[:1])
            said = "; ".join(STATEMENTS[n].text for n in names)
            if said:
                yield said


def with_neighbours(question: str, hits: Sequence[Hit], *, content: str = "report") -> str:
    """A question with the hits in front of it; the question alone where there are none."""
    told = in_words(hits, content=content)
    return f"{told}\n\n{question}" if told else question
