"""A language model as an answerer: what `einthoven.evaluate.language` asks, with its controls beside.

    answers = Answers(model, most=64)
    answers.answer(samples, ecgs)                                  greedy, in batches
    answers.log_likelihood(samples, ecgs, [s.options for s in samples])

The last turn of a sample is what is asked for; it is never shown. Greedy unless a temperature is given, and the settings are
part of what is said about a score (`settings`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from einthoven.data.instruct.sample import Sample, Turn
from einthoven.models.language.chat import SKIP
from einthoven.models.language.elm import Elm
from einthoven.models.language.speaker import Example, Speaker
from einthoven.record import EcgError, Record


class Answers:
    """An answerer.

    Args:
        most: new tokens at most. batch: conversations at once. temperature: 0 is greedy. cached: what looks saw of a record is
            kept, by the record's own identity, for as many records.
    """

    def __init__(
        self,
        model: Speaker,
        name: str = "einthoven",
        *,
        most: int = 128,
        batch: int = 16,
        temperature: float = 0.0,
        seed: int = 0,
        cached: int = 512,
    ) -> None:
        self.model, self.name = model.eval(), name
        self.most, self.batch, self.temperature, self.seed = most, batch, temperature, seed
        self.cached = cached
        self._kept: dict[int, tuple[Record, tuple[Any, ...]]] = {}

    @property
    def settings(self) -> dict[str, Any]:
        """How answers are made, for the report that scores them."""
        how = "greedy" if self.temperature <= 0 else f"drawn, temperature {self.temperature}, seed {self.seed}"
        return {"decoding": how, "max_new_tokens": self.most, "batch": self.batch}

    def see(self, record: Record) -> tuple[Any, ...]:
        """What each look sees of this record."""
        kept = self._kept.get(id(record))
        if kept is not None and kept[0] is record:
            return kept[1]
        seen = tuple(look(record) for look in self.model.looks)
        if len(self._kept) >= self.cached:
            self._kept.pop(next(iter(self._kept)))
        self._kept[id(record)] = (record, seen)
        return seen

    def answer(self, prompts: Sequence[Sample], ecgs: Sequence[Sequence[Record]]) -> list[str]:
        """The model's answer to each. Raises EcgError where an ECG cannot be seen, or does not fit."""
        examples = [self._prompt(sample, records) for sample, records in zip(prompts, ecgs, strict=True)]
        order = sorted(range(len(examples)), key=lambda k: len(examples[k].ids))
        said = [""] * len(examples)
        with torch.no_grad():
            for begin in range(0, len(order), self.batch):
                rows = order[begin : begin + self.batch]
                batch = self.model.collate([examples[k] for k in rows], left=True).to(self.model.device)
                found = self.model.generate(batch, self.most, temperature=self.temperature, seed=self.seed)
                for k, ids in zip(rows, found, strict=True):
                    said[k] = self.model.chat.decode(ids)
        return said

    def log_likelihood(
        self, prompts: Sequence[Sample], ecgs: Sequence[Sequence[Record]], candidates: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        """Of each candidate as the last turn: its mean log-probability a token, the end of the turn counted."""
        found = []
        with torch.no_grad():
            for sample, records, options in zip(prompts, ecgs, candidates, strict=True):
                arrays = [self.see(record) for record in records]
                found.append(self._likelihoods(sample, arrays, options))
        return found

    def _prompt(self, sample: Sample, records: Sequence[Record]) -> Example:
        _check(sample, records)
        made: Example = self.model.example(sample.turns, [self.see(record) for record in records], ask=True)
        return made

    def _likelihoods(self, sample: Sample, arrays: Sequence[Any], options: Sequence[str]) -> list[float]:
        if not options:
            return []
        prompt = self.model.example(sample.turns, arrays, ask=True)
        begin = len(prompt.ids)
        whole = [self.model.example((*sample.turns[:-1], Turn("assistant", option)), arrays) for option in options]
        last = [replace(one, labels=[*[SKIP] * begin, *one.labels[begin:]]) for one in whole]
        endings = [[i for i in one.labels[begin:] if i != SKIP] for one in last]
        same = all(one.ids[:begin] == prompt.ids and one.ids[begin : begin + len(e)] == e for one, e in zip(last, endings))
        if same and isinstance(self.model, Elm):
            found: list[float] = self.model.continuations(prompt, endings)
            return found
        scores: list[float] = []
        for start in range(0, len(last), self.batch):
            batch = self.model.collate(last[start : start + self.batch]).to(self.model.device)
            loss = self.model.loss(batch)
            scores += [-float(v) for v in loss.each / loss.counts]
        return scores


def _check(sample: Sample, records: Sequence[Record]) -> None:
    if len(records) != len(sample.records):
        raise EcgError(f"{len(records)} ECGs for a sample about {len(sample.records)}", where=sample.id)


class Talk:
    """A conversation about ECGs: each question is asked with all that was said before."""

    def __init__(self, answers: Answers, records: Sequence[Record]) -> None:
        self.answers, self.records = answers, list(records)
        self.turns: list[Turn] = []

    def ask(self, question: str) -> str:
        """The model's answer, which is kept as said. Raises EcgError for a question that does not fit, or speaks for the
        model."""
        first = "".join("<ecg>\n" for _ in self.records) if not self.turns else ""
        turns = [*self.turns, Turn("user", first + question.replace("<ecg>", "")), Turn("assistant", "?")]
        names = tuple(record.source.path or f"ecg {k}" for k, record in enumerate(self.records, 1))
        asked = Sample("talk", names, "talk", "open", "report", tuple(turns), made={"by": "a reader", "from": "talk"})
        said = self.answers.answer([asked], [self.records])[0]
        self.turns = [*turns[:-1], Turn("assistant", said or "?")]
        return said
