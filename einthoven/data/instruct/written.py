"""Instruction data written by a language model from the facts of an ECG: it sees what is stated and measured, never the trace.

Each sample keeps the whole prompt, the model and its settings (`made`), and which statements of its answers nothing supports
(`made.unsupported`): a model that writes about ECGs it cannot see invents findings. Those are left out unless they are asked
for.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from einthoven.data.instruct.facts import Facts
from einthoven.data.instruct.kinship import relatives
from einthoven.data.instruct.reports import absent, usable
from einthoven.data.instruct.sample import ECG, Sample, Turn
from einthoven.data.instruct.server import Message, Server
from einthoven.data.instruct.wording import QUANTITIES, figure, label
from einthoven.record import EcgError
from einthoven.statements import parse_statement

SYSTEM = (
    "You write training conversations about 12-lead ECGs. You are given facts about one ECG and nothing else. Ask and answer "
    "only what follows from these facts. What they do not say cannot be determined: then say so. Invent no finding, figure or "
    "history. Do not mention that you were given facts: write as if you looked at the ECG."
)
TASKS = {
    "open": "Write {n} questions of different kinds (rhythm, intervals, morphology, diagnosis) with short answers.",
    "report": "Write 1 request for a clinical report, and as its answer a report of at least four sentences.",
    "talk": "Write one conversation of {n} questions and answers, each following from the one before.",
}
_FORM = ' Answer with a JSON list and nothing else: [{"question": "...", "answer": "..."}, ...]'


@dataclass
class Written:
    """Samples as they come, and what went wrong, by reason."""

    samples: list[Sample] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)


def sheet(f: Facts) -> str:
    """The facts of an ECG as lines."""
    lines = [f"Stated by the reader: {'; '.join(_stated(f)) or 'nothing'}."]
    if f.superclasses:
        lines.append(f"Superclasses: {', '.join(sorted(f.superclasses))}.")
    for name, q in QUANTITIES.items():
        if usable(f, name):
            lines.append(f"{q.words}: {figure(name, f.figures[name].value)}.")
        elif why := absent(f, name):
            lines.append(f"{q.words}: cannot be determined ({why}).")
    if f.text_en or (f.text and f.language == "en"):
        lines.append(f"Reader's report: {f.text_en or f.text}")
    return "\n".join(lines)


def _stated(f: Facts) -> list[str]:
    return [label(n) + ("" if f.certain(n) else f" (uncertain, {f.stated[n]:.0f} %)") for n in f.stated]


def messages(f: Facts, task: str, n: int = 4) -> tuple[Message, ...]:
    ask = TASKS[task].replace("{n}", str(n)) + _FORM
    return ({"role": "system", "content": SYSTEM}, {"role": "user", "content": f"{sheet(f)}\n\n{ask}"})


def by_model(
    server: Server,
    known: Iterable[Facts],
    *,
    tasks: tuple[str, ...] = ("open", "report"),
    n: int = 4,
    keep_unsupported: bool = False,
) -> Written:
    """Conversations about each ECG, one request a task; what fails is counted and costs nobody else."""
    out = Written()
    for f in known:
        for task in tasks:
            asked = messages(f, task, n)
            try:
                reply = server.ask(asked)
                pairs = list(_pairs(reply.text))
            except EcgError as fault:
                out.failed[fault.what.split(":")[0][:80]] += 1
                continue
            made = {
                "by": reply.model,
                "from": "statements",
                "prompt": [dict(m) for m in asked],
                "settings": dict(reply.settings),
            }
            talks = [pairs] if task == "talk" else [[p] for p in pairs]
            for k, talk in enumerate(talks, 1):
                wrong = sorted({s for _, answer in talk for s in unsupported(answer, f)})
                if wrong and not keep_unsupported:
                    out.failed["says what nothing supports"] += 1
                    continue
                turns: list[Turn] = []
                for i, (question, answer) in enumerate(talk):
                    turns += [
                        Turn("user", (f"{ECG}\n" if i == 0 else "") + question.replace(ECG, "")),
                        Turn("assistant", answer),
                    ]
                try:
                    out.samples.append(
                        Sample(
                            id=f"{f.record}/{task}-by-{server.model}-{k}",
                            records=(f.record,),
                            source=f.source,
                            kind="report" if task == "report" else "open",
                            topic="report" if task != "open" else "morphology",
                            turns=tuple(turns),
                            made={**made, "task": task, **({"unsupported": wrong} if wrong else {})},
                            group=f.group,
                            fold=f.fold,
                        )
                    )
                except EcgError as fault:
                    out.failed[fault.what[:80]] += 1
    return out


def unsupported(answer: str, f: Facts) -> list[str]:
    """Statements of an answer that the facts do not hold: not stated, no relative of what is stated, not found by our rules."""
    out = []
    for name in parse_statement(answer):
        near = relatives(name) & f.stated.keys()
        if name not in f.stated and name not in f.found and not near and name not in ("abnormal_ecg", "borderline_ecg"):
            out.append(name)
    return out


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    """Questions and answers out of JSON, with or without a fence around it. Raises EcgError for anything else."""
    fenced = re.search(r"```(?:json)?\s*(.*?)```", text, re.DOTALL)
    body = (fenced.group(1) if fenced else text).strip()
    try:
        given: Any = json.loads(body)
    except (ValueError, RecursionError):
        raise EcgError(f"the model's answer is not JSON: {text[:100]!r}") from None
    if not isinstance(given, list) or not given:
        raise EcgError("the model's answer is no list")
    for one in given[:16]:
        question, answer = (one.get("question"), one.get("answer")) if isinstance(one, dict) else (None, None)
        if not isinstance(question, str) or not isinstance(answer, str) or not question.strip() or not answer.strip():
            raise EcgError("the model's answer has no question or no answer")
        yield question.strip(), answer.strip()
