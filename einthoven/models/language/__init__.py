"""ECG-language models: what they see of an ECG, how that becomes rows of a language model, and what they say.

    model = build(Design(lm="tiny-llama", views=({"represent": "signal", "encoder": "patch"},)))      random, offline
    answers = Answers(model).answer(samples, ecgs)

`look.py` what is computed of an ECG once, `view.py` how it becomes rows (encoder and connector, or no encoder), `elm.py` the
models assembled here, `vision.py` vision-language models of transformers, `chat.py` conversations as tokens, `build.py` from a
design to a model, `answer.py` the model as an answerer.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from einthoven.models.language.answer import Answers
    from einthoven.models.language.build import Design, build

__all__ = ["Answers", "Design", "build"]

_WHERE = {"Answers": "answer"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(import_module(f"einthoven.models.language.{_WHERE.get(name, 'build')}"), name)
