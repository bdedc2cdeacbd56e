"""`Sample`: a conversation about zero or more ECGs, whose last turn is an answer; and files of them, Parquet or JSON lines.

    samples = read("train.parquet")
    samples[0].prompt, samples[0].answer          # the turns that are shown, and the words that are asked for
    write("train.jsonl", samples)

In Parquet, what is nested (turns, evidence, made) is a column of JSON text, so that any reader of tables can open it. Files are
untrusted: sizes are bounded, and a row that is no sample is named with its number.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from einthoven.io.files import replacing
from einthoven.record import EcgError

ECG = "<ecg>"  # stands once for each record, in the first user turn
KINDS = ("closed", "open", "fill-in", "choice", "verify", "query", "compare", "report")
TOPICS = ("feature", "rhythm", "morphology", "report", "diagnosis")
ROLES = ("system", "user", "assistant")
Role = Literal["system", "user", "assistant"]

# What a hostile file may ask for at most.
MAX_TURNS, MAX_RECORDS, MAX_OPTIONS, MAX_EVIDENCE = 64, 16, 512, 512
MAX_TEXT = 100_000  # characters of a turn
MAX_LINE = 4 << 20  # bytes of a row
MAX_ROWS = 20_000_000


@dataclass(frozen=True)
class Turn:
    """What one side says."""

    role: Role
    content: str


@dataclass(frozen=True)
class Sample:
    """A conversation about `records`, which ends with the answer that is asked for.

    id: unique in its file.
    records: names in an Index (its column "record"), or paths relative to the sample file's folder. None: text only.
    source: the set it comes from ("ptbxl", "synth", "ecg-qa", "pulse", ...).
    kind, topic: of KINDS and TOPICS.
    turns: perhaps a system turn, then user and assistant by turns, the assistant last; "<ecg>" stands once for each record,
        in the first user turn and nowhere else.
    options: the closed set of answers, where there is one. answers: those of them that are right (where there are no options:
        the right answers in few words, () where only the last turn says it).
    evidence: what the answer rests on: {"name": a measurement or statement, and where they are known "value", "unit", "leads",
        "beats"}.
    made: {"by": a template's or a model's name, "from": "statements" | "measurements" | "report" | "dataset"}.
    group: the patient, for splits. fold: of an official or a made split, None unknown.

    Raises:
        EcgError: any of this does not hold.
    """

    id: str
    records: tuple[str, ...]
    source: str
    kind: str
    topic: str
    turns: tuple[Turn, ...]
    options: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    evidence: tuple[Mapping[str, Any], ...] = ()
    made: Mapping[str, Any] = field(kw_only=True)
    language: str = "en"
    group: str = ""
    fold: int | None = None

    def __post_init__(self) -> None:
        for fault in _faults(self):
            raise EcgError(f"no sample: {fault}", where=self.id[:80] or None)

    @property
    def prompt(self) -> tuple[Turn, ...]:
        """All turns but the last: what a model is shown."""
        return self.turns[:-1]

    @property
    def question(self) -> str:
        """The last user turn."""
        return self.turns[-2].content

    @property
    def answer(self) -> str:
        """The last turn: what is asked for."""
        return self.turns[-1].content


def _faults(s: Sample) -> Iterator[str]:
    """What is wrong with a sample, the first thing first."""
    if not s.id or len(s.id) > 1000:
        yield "no id, or one beyond 1000 characters"
    if s.kind not in KINDS:
        yield f"kind {s.kind!r:.40} (there are: {', '.join(KINDS)})"
    if s.topic not in TOPICS:
        yield f"topic {s.topic!r:.40} (there are: {', '.join(TOPICS)})"
    for name, many, limit in (
        ("records", s.records, MAX_RECORDS),
        ("turns", s.turns, MAX_TURNS),
        ("options", s.options, MAX_OPTIONS),
        ("evidence", s.evidence, MAX_EVIDENCE),
    ):
        if len(many) > limit:
            yield f"{len(many)} {name}, {limit} at most"
    if any(not name or "\0" in name or len(name) > 4096 for name in s.records):
        yield "a record without a name"
    roles = [turn.role for turn in s.turns]
    talk = roles[1:] if roles[:1] == ["system"] else roles
    if not talk or talk != ["user", "assistant"] * (len(talk) // 2):
        yield "turns are user and assistant alternately, the assistant last, with a system turn at most in front"
        return
    if any(len(turn.content) > MAX_TEXT for turn in s.turns):
        yield f"a turn beyond {MAX_TEXT} characters"
    if any(not turn.content.strip() for turn in s.turns if turn.role == "assistant"):
        yield "an empty answer"
    places = [turn.content.count(ECG) for turn in s.turns]
    first = roles.index("user")
    if places[first] != len(s.records):
        yield f"{places[first]} times {ECG} in the first user turn for {len(s.records)} records"
    if sum(places) != places[first]:
        yield f"{ECG} outside the first user turn"
    if s.options and (strange := [a for a in s.answers if a not in s.options]):
        yield f"the answer {strange[0]!r:.80} is no option"
    if any(not isinstance(one.get("name"), str) for one in s.evidence):
        yield "evidence without a name"
    if not isinstance(s.made.get("by"), str) or not isinstance(s.made.get("from"), str):
        yield 'made says neither "by" nor "from" what'


# -- as plain values
# --------------------------------------------------------------------------------------------------------------------

_TEXTS = ("id", "source", "kind", "topic", "language", "group")
_LISTS = ("records", "options", "answers")
_NESTED = ("turns", "evidence", "made")


def as_json(sample: Sample) -> dict[str, Any]:
    """A sample as JSON's values. A figure that is not finite becomes null: JSON has none."""
    return {
        "id": sample.id,
        "records": list(sample.records),
        "source": sample.source,
        "kind": sample.kind,
        "topic": sample.topic,
        "turns": [{"role": turn.role, "content": turn.content} for turn in sample.turns],
        "options": list(sample.options),
        "answers": list(sample.answers),
        "evidence": _finite([dict(one) for one in sample.evidence]),
        "made": _finite(dict(sample.made)),
        "language": sample.language,
        "group": sample.group,
        "fold": sample.fold,
    }


def from_json(given: Any) -> Sample:
    """A sample from JSON's values. Raises EcgError for a field that is missing, unknown or of another type."""
    if not isinstance(given, dict):
        raise EcgError(f"a sample is an object, not {type(given).__name__}")
    if strange := sorted(str(name) for name in given.keys() - {*_TEXTS, *_LISTS, *_NESTED, "fold"}):
        raise EcgError(f"unknown field {', '.join(strange)[:200]}")
    if lacking := [name for name in ("id", "records", "source", "kind", "topic", "turns", "made") if name not in given]:
        raise EcgError(f"lacks the field {', '.join(lacking)}")
    texts = {name: given[name] for name in _TEXTS if given.get(name) is not None}
    if wrong := [name for name, value in texts.items() if not isinstance(value, str)]:
        raise EcgError(f"{wrong[0]} is text")
    lists = {name: given[name] for name in _LISTS if given.get(name) is not None}
    for name, value in lists.items():
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise EcgError(f"{name} is a list of texts")
    fold = given.get("fold")
    if fold is not None and (not isinstance(fold, int) or isinstance(fold, bool)):
        raise EcgError("fold is a whole number or null")
    evidence, made = given.get("evidence") or [], given["made"]
    if not isinstance(evidence, list) or not all(isinstance(one, dict) for one in evidence) or not isinstance(made, dict):
        raise EcgError("evidence is a list of objects, made is an object")
    plain: dict[str, Any] = {**texts, **{name: tuple(value) for name, value in lists.items()}}
    return Sample(
        turns=_turns(given["turns"]),
        evidence=tuple(evidence),
        made=made,
        fold=fold,
        **plain,
    )


def _turns(given: Any) -> tuple[Turn, ...]:
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise EcgError("turns is a list of objects")
    out = []
    for one in given:
        if set(one) != {"role", "content"} or one["role"] not in ROLES or not isinstance(one["content"], str):
            raise EcgError(f"a turn is a role ({', '.join(ROLES)}) and its content")
        out.append(Turn(cast(Role, one["role"]), one["content"]))
    return tuple(out)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _finite(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


# -- files
# --------------------------------------------------------------------------------------------------------------------


def write(path: str | os.PathLike[str], samples: Iterable[Sample]) -> int:
    """Writes samples to `path`, .parquet or .jsonl, and says how many. The file appears when it is whole.

    Raises:
        EcgError: another suffix, an id that comes twice, or a place that cannot be written to.
    """
    place = Path(path)
    _suffix(place)
    with replacing(place) as draft:
        if place.suffix.lower() == ".jsonl":
            return _write_lines(draft, _once(samples, place))
        return _write_parquet(draft, _once(samples, place))


def read(path: str | os.PathLike[str]) -> list[Sample]:
    """All samples of a .parquet or .jsonl file. Raises EcgError, which names the row, for one that is no sample."""
    return list(_once(each(path), Path(path)))


def each(path: str | os.PathLike[str]) -> Iterator[Sample]:
    """The samples of a file one by one, for files that are larger than the memory."""
    place = Path(path)
    _suffix(place)
    if not place.is_file():
        raise EcgError("no such file", path=place)
    rows = _lines(place) if place.suffix.lower() == ".jsonl" else _parquet_rows(place)
    for number, row in rows:
        if number > MAX_ROWS:
            raise EcgError(f"more than {MAX_ROWS:,} rows", path=place)
        try:
            yield from_json(row)
        except EcgError as fault:
            raise EcgError(
                fault.what, path=place, where=f"row {number}" + (f" ({fault.where})" if fault.where else "")
            ) from None


def _suffix(place: Path) -> None:
    if place.suffix.lower() not in (".parquet", ".jsonl"):
        raise EcgError("a file of samples ends in .parquet or .jsonl", path=place)


def _once(samples: Iterable[Sample], place: Path) -> Iterator[Sample]:
    seen: set[str] = set()
    for number, sample in enumerate(samples, 1):
        if sample.id in seen:
            raise EcgError(f"the id {sample.id!r:.80} comes twice", path=place, where=f"row {number}")
        seen.add(sample.id)
        yield sample


def _write_lines(draft: Path, samples: Iterable[Sample]) -> int:
    count = 0
    with draft.open("w", encoding="utf-8", newline="\n") as file:
        for count, sample in enumerate(samples, 1):  # noqa: B007  (the last number is the answer)
            file.write(_text(as_json(sample)) + "\n")
    return count


def _lines(place: Path) -> Iterator[tuple[int, Any]]:
    with place.open("rb") as file:
        number = 0
        while line := file.readline(MAX_LINE + 1):
            number += 1
            if len(line) > MAX_LINE:
                raise EcgError(f"a line beyond {MAX_LINE >> 20} MB", path=place, where=f"row {number}")
            if line.strip():
                yield number, _parsed(line, place, number)


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _parsed(text: str | bytes, place: Path, number: int, column: str = "") -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as fault:
        where = f"row {number}" + (f", {column}" if column else "")
        raise EcgError(f"not JSON: {fault}", path=place, where=where) from None


_BATCH = 4096


def _write_parquet(draft: Path, samples: Iterable[Sample]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [
            ("id", pa.string()),
            ("records", pa.list_(pa.string())),
            ("source", pa.string()),
            ("kind", pa.string()),
            ("topic", pa.string()),
            ("turns", pa.string()),
            ("options", pa.list_(pa.string())),
            ("answers", pa.list_(pa.string())),
            ("evidence", pa.string()),
            ("made", pa.string()),
            ("language", pa.string()),
            ("group", pa.string()),
            ("fold", pa.int32()),
        ]
    )
    count = 0
    with pq.ParquetWriter(draft, schema, compression="zstd") as out:
        for batch in _batches(samples):
            rows = [as_json(sample) for sample in batch]
            for row in rows:
                row.update({name: _text(row[name]) for name in _NESTED})
            out.write_table(pa.Table.from_pylist(rows, schema=schema))
            count += len(rows)
    return count


def _batches(samples: Iterable[Sample]) -> Iterator[Sequence[Sample]]:
    batch: list[Sample] = []
    for sample in samples:
        batch.append(sample)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _parquet_rows(place: Path) -> Iterator[tuple[int, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(place) as file:
            number = 0
            for batch in file.iter_batches(_BATCH):
                for row in batch.to_pylist():
                    number += 1
                    for name in _NESTED:
                        if isinstance(row.get(name), str):
                            if len(row[name]) > MAX_LINE:
                                raise EcgError(f"more than {MAX_LINE >> 20} MB", path=place, where=f"row {number}, {name}")
                            row[name] = _parsed(row[name], place, number, name)
                    yield number, row
    except (pa.ArrowException, OSError) as fault:
        raise EcgError(f"no Parquet file of samples: {fault}", path=place) from None
