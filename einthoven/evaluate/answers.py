"""What a language model's answer says, out of a closed set of answers; None where it says none of them.

    labels("Sinus rhythm, no signs of LBBB. Answer: NORM", {"NORM": ("normal ECG",), "LBBB": ("left bundle branch block",)})
    letter("The answer is (C).", 4)                  "C"
    chosen("yes", ("yes", "no", "not sure"))         frozenset({"yes"})

Published scripts look for substrings (PULSE's evaluate_ecgbench.py: "NORM" is in "ABNORMAL", "ST" in "STTC", "not LBBB" is
LBBB) and draw a letter at random where they find none. Here whole words count, the longest wins, what is denied is not said,
and an answer that cannot be read stays one: `unread` is its share, to be shown beside every score.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from einthoven.record import EcgError
from einthoven.statements import asserted

Answer = frozenset[str]
_NONE = ("none", "none of the above", "none of these", "no abnormality", "no abnormalities")
_ANSWER = re.compile(r"(?:^|\b)(?:final\s+)?answer\s*(?:is|:)\s*:?", re.IGNORECASE)


def labels(text: str, wordings: Mapping[str, Sequence[str]], *, none: Iterable[str] = _NONE) -> Answer | None:
    """The labels that an answer states, of those in `wordings` (label -> what else it is called); empty where it says "none".

    What stands behind the last "Answer:" counts alone, if anything is said there.

    Raises EcgError where two labels have one wording.
    """
    said: dict[str, str] = {}
    for label, words in wordings.items():
        for one in (label, *words):
            if said.setdefault(one, label) != label:
                raise EcgError(f"{one!r} is said of {said[one]} and of {label}")
    nothing = dict.fromkeys((word for word in none if word not in said), "")
    for part in _parts(text):
        found = asserted(part, {**said, **nothing})
        if found:
            return frozenset(found) - {""}
    return None


def letter(text: str, options: int) -> str | None:
    """The letter of a multiple choice among `options` (A, B, ...): alone, in brackets, before a full stop or bracket at the
    beginning, or after "answer" or "option". None where no letter or several are said. Raises EcgError beyond 26 options."""
    if not 2 <= options <= 26:
        raise EcgError(f"2 to 26 options, not {options}")
    last = chr(64 + options)
    one = rf"\(?\s?([A-{last}])\s?\)?"
    forms = (
        rf"^[^A-Za-z0-9]{{0,9}}{one}[^A-Za-z0-9]{{0,9}}$",
        rf"(?:[Aa]nswer|[Oo]ption|[Cc]hoice)\s?(?:is|:)?\s?:?\s?\*{{0,2}}{one}(?![A-Za-z])",
        rf"^[^A-Za-z0-9(]{{0,9}}([A-{last}])\s?[.):]",
        rf"\(([A-{last}])\)",
    )
    for part in _parts(text):
        for form in forms:
            found = set(re.findall(form, part.strip()))
            if len(found) == 1:
                return str(found.pop())
            if found:
                return None
    return None


def chosen(text: str, options: Sequence[str]) -> Answer | None:
    """The options that an answer names, as ECG-QA asks: a set. Parts between ";", "/", "," or lines that are an option each are
    taken as they stand; else whole options inside the text, the longest first, unless denied.

    An option is what it is letter by letter, so "no" and "not sure" are found as answers and not taken as denials.
    """
    known = {_low(option): option for option in options}
    for part in _parts(text):
        for split in (r"[;\n]", r"[;\n/]", r"[;\n/,]"):
            pieces = [_low(piece) for piece in re.split(split, part) if _low(piece)]
            if pieces and all(piece in known for piece in pieces):
                return frozenset(known[piece] for piece in pieces)
        first = re.match(r"[\W_]*(yes|no|not sure|none)\b", part, re.IGNORECASE)
        if first and _low(first.group(1)) in known:
            return frozenset({known[_low(first.group(1))]})
        found = asserted(part, {option: option for option in options if _low(option) not in ("yes", "no", "not sure", "none")})
        if found:
            return frozenset(found)
    return None


def unread(answers: Iterable[object | None]) -> float:
    """The share of answers that are None. NaN of no answers."""
    given = list(answers)
    return sum(answer is None for answer in given) / len(given) if given else float("nan")


def _parts(text: str) -> tuple[str, ...]:
    """What stands behind the last "Answer:", then the whole."""
    places = list(_ANSWER.finditer(text))
    tail = text[places[-1].end() :].strip() if places else ""
    return (tail, text) if tail else (text,)


def _low(text: str) -> str:
    return re.sub(r"\s+", " ", text.strip().strip(".*'\"()[]").strip().lower())
