"""ECGs as symbols: each sample a step of a fixed ladder of millivolts, frequent runs of steps one token. ECG-Byte, mended.

    tokenizer = learn(index, by_alphabet("einthoven"), merges=4000)
    tokens = tokenizer.encode(record)              Tokens: ids (N,) int32
    record = tokenizer.decode(tokens)              each sample in the middle of its step
    tokenizer.save("symbols.json"); Tokenizer.load("symbols.json")

The alphabets (Han W et al. ECG-Byte: A tokenizer for end-to-end generative electrocardiogram language modeling. MLHC 2025):

- "einthoven": steps of 0.05 mV from -5 to 5 mV, the same in every ECG, so that a token is a voltage. What lies beyond is the
  outermost step, and is counted (`Tokens.clipped`). Each lead begins with a mark that names it, and no token reaches over it;
  samples that were not recorded are a symbol of their own. Decoding is right to half a step, 0.025 mV.
- "ecg-byte" and "ecg-byte-record": as published, for comparison: 26 letters between the 1st and 99th percentile of the training
  ECGs (less and plus 0.5 mV), or between each record's own extremes; twelve leads end to end, merges over their borders.

Ties between equally frequent pairs go to the lowest pair, so that the same ECGs give the same tokenizer; the file is JSON with
a hash of what it holds.

L leads, T samples, N tokens, M merges.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from einthoven.data.index import Index
from einthoven.io.files import replacing
from einthoven.record import STANDARD_LEADS, EcgError, Record, Source, canonical_order
from einthoven.represent import bpe
from einthoven.signal.presets import by_name, prepared
from einthoven.signal.resample import resample

Ids = NDArray[np.int32]
FORMAT = 1
_LETTER = 97  # ECG-Byte's symbols are the bytes a to z, its merges begin behind all bytes
_BYTES = 256
_LARGEST = 64 * 2**20  # bytes of a tokenizer's file


@dataclass(frozen=True)
class Alphabet:
    """How samples become symbols.

    scale: "fixed", steps of `width` mV from `low` mV on; "percentile", `low` and `width` are of the training ECGs and come
    with learning; "record", of each record's own extremes. levels: how many steps. marks: leads begin with a mark, and what
    was not recorded has a symbol. middle: a step is decoded as its middle; False, as published, as q / (levels - 1).
    preset prepares the signal (signal/presets.py), which is then brought to `fs` Hz.
    """

    name: str
    scale: Literal["fixed", "percentile", "record"] = "fixed"
    fs: float = 250.0
    low: float = -5.0
    width: float = 0.05
    levels: int = 200
    marks: bool = True
    middle: bool = True
    preset: str = "none"

    def check(self) -> None:
        """Raises EcgError for figures that make no alphabet."""
        if self.scale not in ("fixed", "percentile", "record"):
            raise EcgError(f"alphabet {self.name}: a scale is fixed, percentile or record, not {self.scale}")
        if not (2 <= self.levels <= 4096 and 0 < self.width < 100 and np.isfinite(self.low) and 20 <= self.fs <= 10_000):
            raise EcgError(f"alphabet {self.name}: 2 to 4096 levels, a width in mV above 0, 20 to 10000 Hz")
        if not self.marks and self.levels > _BYTES - _LETTER:
            raise EcgError(f"alphabet {self.name}: ECG-Byte's letters are bytes, {self.levels} levels are too many")
        if by_name(self.preset).unit != "mV" and self.scale != "record":
            raise EcgError(f"alphabet {self.name}: preset {self.preset} leaves no millivolts, of which its steps are")

    @property
    def missing(self) -> int:
        """The symbol of a sample that was not recorded."""
        return self.levels

    @property
    def base(self) -> int:
        """How many symbols there are."""
        return self.levels + self.marks

    @property
    def first(self) -> int:
        """The id of the first merge: behind the symbols and the leads' marks, or, as published, behind all bytes."""
        return self.base + len(STANDARD_LEADS) if self.marks else _BYTES


# ECG-Byte's code: x' = clip((x - (p1 - 0.5)) / (p99 - p1 + 1 + 1e-6), 0, 1), q = min(floor(26 x'), 25), decoded as q / 25.
ALPHABETS: Mapping[str, Alphabet] = MappingProxyType(
    {
        a.name: a
        for a in (
            Alphabet("einthoven"),
            Alphabet("ecg-byte", "percentile", levels=26, marks=False, middle=False),
            Alphabet("ecg-byte-record", "record", levels=26, marks=False, middle=False),
        )
    }
)


def by_alphabet(name: str) -> Alphabet:
    """The alphabet of this name. Raises EcgError, which lists them, where there is none."""
    if name not in ALPHABETS:
        raise EcgError(f"no alphabet {name} (there are: {', '.join(ALPHABETS)})")
    return ALPHABETS[name]


@dataclass(frozen=True)
class Tokens:
    """An ECG in tokens. ids (N,) int32; leads in their order and `samples` of each; low, width in mV: the ladder it stands on;
    clipped: samples that were beyond it."""

    ids: Ids
    leads: tuple[str, ...]
    samples: int
    fs: float
    low: float
    width: float
    clipped: int = 0


@dataclass(frozen=True)
class Tokenizer:
    """An alphabet and its merges (M, 2) int32: token `alphabet.first` + m is merges[m, 0] followed by merges[m, 1].
    `about`: what it was learned from."""

    alphabet: Alphabet
    merges: Ids
    about: Mapping[str, Any]

    @property
    def size(self) -> int:
        """How many ids there are."""
        return self.alphabet.first + len(self.merges)

    @cached_property
    def strings(self) -> list[Ids]:
        """The symbols of each merge."""
        return bpe.strings_of(self._plain, self.alphabet.base, self.alphabet.first)

    @cached_property
    def _plain(self) -> Ids:
        """Merges over symbols that count from 0; in the file ECG-Byte's are letters."""
        return self.merges if self.alphabet.marks else np.where(self.merges < _BYTES, self.merges - _LETTER, self.merges)

    @cached_property
    def _trie(self) -> bpe.Trie:
        return bpe.Trie.of(self.strings, range(self.alphabet.first, self.size), self.alphabet.base)

    def encode(self, record: Record) -> Tokens:
        """One ECG's tokens, lead after lead in the canonical order.

        Raises EcgError for a lead that is none of the twelve, and, in the published alphabets, for one that is missing or not
        wholly recorded.
        """
        steps, tokens = ladder(self.alphabet, record)
        if self.alphabet.marks:
            parts: list[Ids] = []
            for lead, row in zip(tokens.leads, steps, strict=True):
                parts += [np.array([self.mark(lead)], np.int32), self._trie.cut(row)]
            ids = np.concatenate(parts) if parts else np.zeros(0, np.int32)
        else:
            ids = self._trie.cut(steps.reshape(-1))
            ids = np.where(ids < self.alphabet.levels, ids + _LETTER, ids).astype(np.int32)
        return replace(tokens, ids=ids)

    def decode(self, tokens: Tokens) -> Record:
        """The ECG of these tokens; NaN where nothing was recorded. Raises EcgError for ids that do not make their leads."""
        alphabet = self.alphabet
        rows: dict[str, list[Ids]] = {}
        lead = "" if alphabet.marks else "all"
        for token in tokens.ids.tolist():
            if alphabet.marks and alphabet.base <= token < alphabet.first:
                lead = STANDARD_LEADS[token - alphabet.base]
                rows[lead] = []
                continue
            if lead == "":
                raise EcgError(f"token {token} stands before the mark of a lead")
            rows.setdefault(lead, []).append(self.symbols(token))
        steps = [np.concatenate(parts) if parts else np.zeros(0, np.int32) for parts in rows.values()]
        if not alphabet.marks:
            whole = steps[0] if steps else np.zeros(0, np.int32)
            if len(whole) != len(tokens.leads) * tokens.samples:
                raise EcgError(f"{len(whole)} symbols are not {len(tokens.leads)} leads of {tokens.samples} samples")
            steps = list(whole.reshape(len(tokens.leads), tokens.samples))
        elif any(len(row) != tokens.samples for row in steps) or tuple(rows) != tokens.leads:
            told = ", ".join(f"{name} {len(row)}" for name, row in zip(rows, steps))
            raise EcgError(f"tokens of {told} samples are not {', '.join(tokens.leads)} of {tokens.samples}")
        x = np.array(steps, np.float64).reshape(len(tokens.leads), tokens.samples)
        share = (x + 0.5) / alphabet.levels if alphabet.middle else x / (alphabet.levels - 1)
        signal = tokens.low + share * alphabet.levels * tokens.width
        signal[x >= alphabet.levels] = np.nan
        return Record(signal.astype(np.float32), tokens.fs, tokens.leads, source=Source("tokens", "symbols"))

    def symbols(self, token: int) -> Ids:
        """The symbols of one id. Raises EcgError where there is no such id, or it is a lead's mark."""
        alphabet = self.alphabet
        if alphabet.first <= token < self.size:
            return self.strings[token - alphabet.first]
        symbol = token if alphabet.marks else token - _LETTER
        if not 0 <= symbol < alphabet.base:
            raise EcgError(f"no token {token} of samples")
        return np.array([symbol], np.int32)

    def mark(self, lead: str) -> int:
        """The id that says which lead follows. Raises EcgError where it is none of the twelve."""
        if not self.alphabet.marks or lead not in STANDARD_LEADS:
            raise EcgError(f"alphabet {self.alphabet.name} has no mark for lead {lead}")
        return self.alphabet.base + STANDARD_LEADS.index(lead)

    @property
    def sha256(self) -> str:
        """Of alphabet and merges: two tokenizers with the same hash give the same tokens."""
        words = json.dumps([FORMAT, asdict(self.alphabet), self.merges.tolist()], sort_keys=True)
        return hashlib.sha256(words.encode()).hexdigest()

    def save(self, path: str | os.PathLike[str]) -> None:
        """JSON; whole or not at all."""
        words = {
            "format": FORMAT,
            "alphabet": asdict(self.alphabet),
            "about": dict(self.about),
            "sha256": self.sha256,
            "merges": self.merges.tolist(),
        }
        with replacing(Path(path)) as draft:
            draft.write_text(json.dumps(words), encoding="utf-8")

    @staticmethod
    def load(path: str | Path) -> Tokenizer:
        """What `save` wrote. Raises EcgError for what is none, or was changed since."""
        try:
            if Path(path).stat().st_size > _LARGEST:
                raise EcgError(f"is larger than {_LARGEST} bytes: no tokenizer", path=path)
            words = json.loads(Path(path).read_text(encoding="utf-8"))
            alphabet = Alphabet(**words["alphabet"])
            alphabet.check()
            merges = np.array(words["merges"], np.int64).reshape(-1, 2)
            if words["format"] != FORMAT or (len(merges) and not 0 <= merges.min() <= merges.max() < 2**31):
                raise EcgError(f"is of format {words['format']}, this version reads {FORMAT}", path=path)
            made = Tokenizer(alphabet, merges.astype(np.int32), dict(words["about"]))
            told = words["sha256"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as fault:
            raise EcgError(f"is no tokenizer: {fault}", path=path) from fault
        if told != made.sha256:
            raise EcgError("was changed since it was written: its hash differs", path=path)
        made.strings  # noqa: B018  a merge of tokens that are not there is told here, not at the first ECG
        return made


def ladder(alphabet: Alphabet, record: Record) -> tuple[Ids, Tokens]:
    """The step of each sample (L, T) int32, and Tokens without ids: leads in canonical order, the ladder, what was beyond it.

    Raises EcgError as `Tokenizer.encode` does.
    """
    record = resample(prepared(alphabet.preset, record.ecg()), alphabet.fs)
    strange = [lead for lead in record.leads if lead not in STANDARD_LEADS]
    if strange:
        raise EcgError(f"alphabet {alphabet.name} has no mark for {', '.join(strange)}", path=record.source.path)
    leads = canonical_order(record.leads)
    x = record.signal if leads == record.leads else record.signal[[record.leads.index(lead) for lead in leads]]
    if not alphabet.marks and (leads != STANDARD_LEADS or not np.isfinite(x).all()):
        raise EcgError(f"alphabet {alphabet.name} wants twelve leads, wholly recorded", path=record.source.path)
    low, width = alphabet.low, alphabet.width
    if alphabet.scale == "record":
        low = float(x.min()) if x.size else 0.0
        width = max(float(x.max()) - low if x.size else 0.0, 1e-6) / alphabet.levels
    steps, beyond = _steps(np.ascontiguousarray(x, np.float32), low, width, alphabet.levels)
    return steps, Tokens(np.zeros(0, np.int32), leads, x.shape[1], alphabet.fs, low, width, beyond)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _steps(x: NDArray[np.float32], low: float, width: float, levels: int) -> tuple[Ids, int]:
    """Step of each sample, `levels` where it is NaN; and how many are beyond. A value at the upper edge is of the last step:
    a record's own maximum stands there."""
    out = np.empty(x.shape, np.int32)
    beyond, high = 0, (1 + 1e-9) * levels
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            place = (np.float64(x[i, j]) - low) / width
            if np.isnan(place) or np.isinf(place):
                out[i, j] = levels
                continue
            if place < 0 or place > high:
                beyond += 1
            out[i, j] = np.int32(min(max(np.floor(place), 0), levels - 1))
    return out, beyond


def learn(
    index: Index,
    alphabet: Alphabet | str = "einthoven",
    merges: int = 4000,
    rows: Sequence[int] | NDArray[np.integer[Any]] | None = None,
    *,
    longest: int = 512,
    failed: dict[int, str] | None = None,
) -> Tokenizer:
    """A tokenizer of the ECGs in these rows of an Index (all when not given); those of training patients, where a model is to
    be judged by others.

    merges: at most as many. longest: samples a token. failed: takes up row -> why not; without it that is an error.

    Raises EcgError where nothing can be learned, or a record cannot be encoded.
    """
    alphabet = by_alphabet(alphabet) if isinstance(alphabet, str) else alphabet
    alphabet.check()
    chosen = np.arange(len(index)) if rows is None else np.asarray(rows, np.int64)
    if alphabet.scale == "percentile":
        alphabet = _percentiles(alphabet, index, chosen)
    parts: list[NDArray[np.int16]] = []
    used = 0
    wall = np.array([bpe.WALL], np.int16)
    for row in chosen.tolist():
        try:
            steps, _ = ladder(alphabet, index.record(row))
        except EcgError as fault:
            if failed is None:
                raise
            failed[row] = str(fault)
            continue
        used += 1
        if alphabet.marks:
            for lead in steps:
                parts += [lead.astype(np.int16), wall]
        else:
            parts.append(steps.reshape(-1).astype(np.int16))  # end to end, over the borders of leads and records
    if not used:
        raise EcgError("there is no ECG to learn from", path=index.folder)
    found = bpe.learn(np.concatenate(parts), base=alphabet.base, merges=merges, first=alphabet.first, longest=longest)
    if not alphabet.marks:
        found = np.where(found < _BYTES, found + _LETTER, found).astype(np.int32)
    return Tokenizer(alphabet, found, {"records": used, "longest": longest, "asked": merges})


def _percentiles(alphabet: Alphabet, index: Index, rows: NDArray[np.int64]) -> Alphabet:
    """1st and 99th percentile of all samples, less and plus 0.5 mV, as ECG-Byte's dataset mode; from at most 2,000 records,
    evenly drawn (its code draws 100,000 segments)."""
    drawn = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), 2000)).astype(np.int64))] if len(rows) else rows
    samples = [index.record(row).signal.reshape(-1) for row in drawn.tolist()]
    x = np.concatenate(samples) if samples else np.zeros(0)
    x = x[np.isfinite(x)]
    if not len(x):
        raise EcgError("there is no ECG to learn from", path=index.folder)
    low, high = np.percentile(x, [1, 99]).astype(np.float64)
    return replace(alphabet, low=float(low - 0.5), width=float(high - low + 1.0 + 1e-6) / alphabet.levels)
