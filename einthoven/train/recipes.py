"""A typed recipe from plain values, with the words of house for what is wrong with one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from einthoven.record import EcgError

R = TypeVar("R")


def read_recipe(kind: type[R], words: Mapping[str, Any]) -> R:
    """`kind` (a dataclass) from plain values. Raises EcgError, which names the field, for an unknown name or a value of the
    wrong kind."""
    try:
        return TypeAdapter(kind).validate_python(dict(words))
    except ValidationError as fault:
        first = fault.errors(include_url=False)[0]
        name = ".".join(map(str, first["loc"])) or "recipe"
        if first["type"] == "unexpected_keyword_argument":
            known = ", ".join(f.name for f in fields(kind))  # type: ignore[arg-type]
            raise EcgError(f"a pre-training recipe has no {name} (it has: {known})") from fault
        raise EcgError(f"{first['msg']}, got {first['input']!r}", where=f"recipe: {name}") from fault
