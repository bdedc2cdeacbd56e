"""What all recipes share: typed values from a YAML table and back, with the words of the house for what is wrong with one.

A recipe is a frozen dataclass that forbids names it does not have, so that a slip of the pen never trains the wrong thing
in silence. It may have a line `objective: ...`, by which a command knows whose recipe it is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from einthoven.record import EcgError

R = TypeVar("R")


def from_words(kind: type[R], words: Mapping[str, Any], what: str = "a recipe") -> R:
    """`kind` (a dataclass) from plain values. Raises EcgError, which names the field, for an unknown name or a value of the
    wrong kind."""
    try:
        return TypeAdapter(kind).validate_python(dict(words))
    except ValidationError as fault:
        first = fault.errors(include_url=False)[0]
        name = ".".join(map(str, first["loc"])) or "recipe"
        if first["type"] != "unexpected_keyword_argument":
            raise EcgError(f"{first['msg']}, got {first['input']!r}", where=f"recipe: {name}") from fault
        if len(first["loc"]) > 1:  # of a table inside
            raise EcgError(f"{what} has no {name}") from fault
        known = ", ".join(f.name for f in fields(kind))  # type: ignore[arg-type]
        raise EcgError(f"{what} has no {name} (it has: {known})") from fault


def from_file(path: str | Path, read: Callable[[dict[str, Any]], R], objective: str | None = None) -> R:
    """What `read` makes of a YAML file's names and values; its line `objective`, where there is one, has to be this. Raises
    EcgError, which names the file."""
    words = table(path)
    if objective is not None and (said := words.pop("objective", objective)) != objective:
        raise EcgError(f"a recipe of another objective, {said}, where {objective} is wanted", path=path)
    try:
        return read(words)
    except EcgError as fault:
        raise fault.at(path) from fault


def table(path: str | Path) -> dict[str, Any]:
    """The names and values of a YAML file. Raises EcgError."""
    try:
        words = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as fault:
        raise EcgError(f"no recipe: {fault}", path=path) from fault
    if not isinstance(words, dict):
        raise EcgError("no recipe: a YAML table of names and values is wanted", path=path)
    return words


def from_pairs(pairs: Iterable[str]) -> dict[str, Any]:
    """Names and values of `NAME=VALUE`, as --set has them; values as in YAML. Raises EcgError."""
    words = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise EcgError(f"--set wants NAME=VALUE, not {pair!r}")
        try:
            words[name.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as fault:
            raise EcgError(f"--set {name}: {fault}") from fault
    return words


def to_words(recipe: Any) -> dict[str, Any]:
    """Plain values, every field written out, so that a saved recipe does not follow a change of defaults."""
    return _plain(asdict(recipe))  # type: ignore[no-any-return]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def differences(mine: Mapping[str, Any], theirs: Mapping[str, Any], idle: Collection[str]) -> list[str]:
    """Fields but for the `idle` ones that are not the same in both: what a run cannot be continued across."""
    return [f"{k}: {theirs[k]!r} -> {mine[k]!r}" for k in mine if k not in idle and mine[k] != theirs[k]]
