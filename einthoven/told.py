"""What a language model writes of an ECG, each sentence held against what was measured and found (einthoven.grounding)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from einthoven.beats.measurements import Measurements
from einthoven.findings import Finding
from einthoven.grounding import Grounded, ground
from einthoven.record import EcgError, Record
from einthoven.signal.quality import Quality

if TYPE_CHECKING:
    from einthoven.models.language.answer import Answers

QUESTION = "Write a report of this ECG."


@dataclass(frozen=True)
class Told:
    """A language model's report. `model` who wrote it, `question` what it was asked, `text` what it said, word for word;
    `grounded` the same in sentences, with what each rests on."""

    model: str
    question: str
    text: str
    grounded: Grounded


def tell(
    record: Record,
    measurements: Measurements,
    findings: Sequence[Finding],
    quality: Quality,
    model: str | Path,
    *,
    question: str = QUESTION,
) -> Told:
    """A language model's report of an ECG that was measured and interpreted already.

    Args:
        model: the name or the path of a Bundle of task "language".

    Raises:
        EcgError: no such model, another task, an ECG that it cannot see, or packages that are missing.
    """
    answers = _answers(str(model))
    from einthoven.models.language.answer import Talk

    text = Talk(answers, [record]).ask(question)
    return Told(answers.name, question, text, ground(text, measurements, findings, quality))


@lru_cache(maxsize=1)
def _answers(model: str) -> Answers:
    from einthoven.exchange.bundle import Bundle
    from einthoven.exchange.shelf import find

    try:
        from einthoven.exchange.language import open_language
        from einthoven.models.language.answer import Answers

        path = find(model)
        speaker, _ = open_language(path)
    except ImportError as fault:
        raise EcgError(f"a language model needs more packages: pip install 'einthoven[train,language]' ({fault})") from fault
    bundle = path if isinstance(path, Bundle) else Bundle.open(path)
    return Answers(speaker, bundle.manifest.name)
