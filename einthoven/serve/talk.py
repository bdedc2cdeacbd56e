"""Conversations with a language model about the ECGs of the library, what readers think of the answers, and the pairs of a
better and a worse answer that come of it, in the form that training on preferences reads (train/instruct/preferences.py).

One language model is held at a time; answers are made one after the other. Each answer is kept with all that was said before
it, so that a second answer to the same question stands beside the first.
"""

from __future__ import annotations

import io
import json
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from einthoven.record import EcgError, WrongUse
from einthoven.serve.store import Row, Store, to_json

if TYPE_CHECKING:
    from einthoven.interpretation import Report
    from einthoven.models.language.answer import Answers
    from einthoven.train.instruct.preferences import Pair

LONGEST = 2000  # characters of a question, and of an answer by hand
_MOST_TURNS = 40  # of one conversation
_TOKENS = 200  # of one answer at most
_AGAIN = 0.8  # temperature of another answer to the same question: the first is greedy


class Speakers:
    """The language model that is at hand. Safe to be used from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: tuple[str, float, Any] | None = None

    def ask(self, path: Path, report: Report, asked: Sequence[Row], *, again: int = 0) -> str:
        """The answer to the last of `asked` (turns). again: 0 is greedy, else the number of a drawn answer. Raises EcgError."""
        try:
            from einthoven.data.instruct.sample import Turn
            from einthoven.models.language.answer import Answers, Talk
        except ImportError as fault:
            raise EcgError(f"language models need more packages: pip install 'einthoven[train,language]' ({fault})") from fault
        with self._lock:
            answers: Answers = Answers(
                self._speaker(path), path.name, most=_TOKENS, temperature=_AGAIN if again else 0.0, seed=again
            )
            talk = Talk(answers, [report.record])
            talk.turns = [Turn(one["role"], one["content"]) for one in _placed(asked[:-1])]
            return talk.ask(asked[-1]["content"])

    def _speaker(self, path: Path) -> Any:
        from einthoven.exchange.language import open_language

        key = (str(path), (path / "manifest.json").stat().st_mtime)
        if self._held is None or self._held[:2] != key:
            self._held = None  # two at once may be more than there is memory
            self._held = (*key, open_language(path)[0])
        return self._held[2]


def _placed(turns: Sequence[Row]) -> list[Row]:
    """Turns with the place of the ECG in the first question, as the models learned them."""
    return [{**one, "content": f"<ecg>\n{one['content']}"} if k == 0 else one for k, one in enumerate(turns)]


def turns_before(store: Store, ecg: str, user: str, model: str, after: int | None) -> list[Row]:
    """What was said up to answer number `after` and with it; nothing without one. Raises EcgError."""
    if after is None:
        return []
    row = store.row("SELECT * FROM answer WHERE seq = ? AND ecg = ? AND user = ? AND model = ?", (after, ecg, user, model))
    if row is None:
        raise EcgError("no such answer of this model in this conversation")
    turns = [*json.loads(row["asked"]), {"role": "assistant", "content": row["better"] or row["said"] or "?"}]
    if len(turns) >= _MOST_TURNS:
        raise WrongUse("this conversation is long enough: begin another")
    return turns


def asked_of(store: Store, ecg: str, user: str, answer: int) -> list[Row]:
    """The turns that an answer was given to. Raises EcgError."""
    row = store.row("SELECT asked FROM answer WHERE seq = ? AND ecg = ? AND user = ?", (answer, ecg, user))
    if row is None:
        raise EcgError("no such answer in this conversation")
    return list(json.loads(row["asked"]))


def keep(store: Store, ecg: str, user: str, model: str, asked: Sequence[Row], said: str, grounded: Row | None) -> int:
    """-> the answer's number."""
    held = None if grounded is None else to_json(grounded)
    with store.change() as db:
        [made] = db.execute(
            "INSERT INTO answer (ecg, user, model, at, asked, said, grounded) VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING seq",
            (ecg, user, model, time.time(), to_json(list(asked)), said, held),
        )
    return int(made["seq"])


def told(row: Row) -> Row:
    """A row as the API tells it; `after` links it to what it follows."""
    asked = json.loads(row["asked"])
    grounded = None if row["grounded"] is None else json.loads(row["grounded"])
    keys = ("seq", "ecg", "model", "at", "said", "verdict", "better")
    return {**{key: row[key] for key in keys}, "question": asked[-1]["content"], "turns": asked[:-1], "grounded": grounded}


def pairs(store: Store) -> list[Pair]:
    """Better and worse answers to the same question after the same words: an answer that somebody wrote stands above the one
    that it mends, one that was found good above one that was found bad."""
    from einthoven.data.instruct.sample import Sample, Turn
    from einthoven.train.instruct.preferences import Pair

    asked: dict[tuple[str, str], list[Row]] = {}
    for row in store.rows("SELECT answer.*, patient FROM answer JOIN ecg ON ecg.id = answer.ecg ORDER BY seq"):
        asked.setdefault((row["ecg"], row["asked"]), []).append(row)
    made: list[Pair] = []
    for (ecg, words), rows in asked.items():
        turns = [Turn(one["role"], one["content"]) for one in _placed(json.loads(words))]
        for better, worse, who in _preferred(rows):
            sample = Sample(
                f"answer-{len(made) + 1}", (f"{ecg}.npz",), "einthoven-serve", "open", "report",
                (*turns, Turn("assistant", better)), group=rows[0]["patient"] or ecg,
                made={"by": f"readers, of answers by {who}", "from": "report"},
            )  # fmt: skip
            made.append(Pair(sample, worse))
    return made


def _preferred(rows: Sequence[Row]) -> Iterable[tuple[str, str, str]]:
    """(better, worse, model) of the answers to one question, each once."""
    seen: set[tuple[str, str]] = set()
    found = [(row["better"], row["said"], row["model"]) for row in rows if row["better"]]
    good = [row for row in rows if row["verdict"] > 0 and not row["better"]]
    found += [(a["said"], b["said"], b["model"]) for a in good for b in rows if b["verdict"] < 0]
    for better, worse, who in found:
        if better.strip() and worse.strip() and better != worse and (better, worse) not in seen:
            seen.add((better, worse))
            yield better, worse, who


def archive(store: Store, record_of: Any) -> bytes:
    """preferences.jsonl and the ECGs that it is about, as a ZIP. Raises WrongUse where there is no pair yet."""
    from einthoven.io.arrays import write_npz
    from einthoven.train.instruct.preferences import write_pairs

    made = pairs(store)
    if not made:
        raise WrongUse("no preference yet: find an answer good and another one to the same question bad, or write a better one")
    out = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        place = Path(folder)
        write_pairs(place / "preferences.jsonl", made)
        archive.write(place / "preferences.jsonl", "preferences.jsonl")
        for name in dict.fromkeys(name for pair in made for name in pair.sample.records):
            write_npz(record_of(name.removesuffix(".npz")), place / name)
            archive.write(place / name, name)
    return out.getvalue()
