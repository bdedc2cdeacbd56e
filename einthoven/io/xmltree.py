"""XML that strangers wrote: parsed without entities, without fetching anything, and with bounded size.

All XML readers start here. Names lose their namespaces, because vendors disagree about those and agree about the rest.
"""

from __future__ import annotations

import binascii
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any
from xml.etree.ElementTree import Element, ParseError, TreeBuilder

import numpy as np
from numpy.typing import NDArray

from einthoven.io.files import File
from einthoven.io.finish import check_samples, lead_name, millivolts
from einthoven.io.format import Options
from einthoven.record import EcgError, MedianBeat, Signal, canonical_order

MAX_ELEMENTS = 2_000_000  # a day of annotated beats is a tenth of this
MAX_BYTES = 128 << 20  # the longest exercise test of UK Biobank has 20 MB
MAX_DEPTH = 100  # the deepest format (HL7 aECG) nests 25 levels

_DECLARED = re.compile(r"""^(\s*<\?xml[^>]*?)\s+encoding\s*=\s*["'][^"']*["']""")


_NOISE = re.compile(r"<\?.*?\?>|<!--.*?(-->|$)|<!DOCTYPE[^>\[]*(\[[^\]]*\]\s*)?>", re.DOTALL)
_ROOT = re.compile(r"<(?:[\w.-]+:)?([A-Za-z_][\w.-]*)")
_ONE_BYTE = re.compile(rb"""encoding\s*=\s*["'](iso-8859-|latin|windows-125|cp125)""", re.IGNORECASE)


class _Builder:
    """Takes the parser's events, drops namespaces, counts, and refuses what no ECG needs."""

    def __init__(self) -> None:
        self.tree, self.depth, self.count = TreeBuilder(), 0, 0

    def start(self, tag: str, attributes: dict[str, str]) -> Element:
        self.depth += 1
        self.count += 1
        if self.depth > MAX_DEPTH:
            raise EcgError(f"XML nests deeper than {MAX_DEPTH} levels", where=tag)
        if self.count > MAX_ELEMENTS:
            raise EcgError(f"XML has more than {MAX_ELEMENTS} elements", where=tag)
        return self.tree.start(_local(tag), {_local(k): v for k, v in attributes.items()})

    def end(self, tag: str) -> Element:
        self.depth -= 1
        return self.tree.end(_local(tag))

    def data(self, text: str) -> None:
        self.tree.data(text)

    def close(self) -> Element:
        return self.tree.close()


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def parse(data: bytes) -> tuple[Element, tuple[str, ...]]:
    """The root element of an XML file, and warnings where its declared encoding was not the true one.

    A document type may be named (GE MUSE names `restecg.dtd`) and is never fetched; entities are refused.
    Byte order marks, UTF-16, ISO-8859-1 and a declaration that lies are all met in the field.
    """
    if len(data) > MAX_BYTES:
        raise EcgError(f"{len(data):,} bytes are more than an XML file may have ({MAX_BYTES:,})")
    if not _really_utf8(data):
        try:
            return _parse(data), ()
        except (ParseError, LookupError, ValueError) as error:
            first: Exception | None = error
    else:
        first = None
    text, encoding = _decoded(data)
    try:
        root = _parse(_DECLARED.sub(r"\1", text, count=1).encode("utf-8", "replace"))
    except (ParseError, LookupError, ValueError) as second:
        raise _malformed(first or second) from None
    return root, (f"the XML declaration names another encoding than the text has ({encoding})",)


def _really_utf8(data: bytes) -> bool:
    """Whether a file that declares ISO-8859-1 (or its like) is UTF-8: letters beyond ASCII that all make sense as UTF-8."""
    declared = _ONE_BYTE.search(data[:200])
    if declared is None or data.isascii():
        return False
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _parse(data: bytes) -> Element:
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import DefusedXMLParser

    parser: Any = DefusedXMLParser(target=_Builder(), forbid_dtd=False, forbid_entities=True, forbid_external=True)
    try:
        parser.feed(data)
        root: Element = parser.close()
    except DefusedXmlException as refused:
        raise EcgError(f"XML with entities is refused ({type(refused).__name__})", where="document type") from refused
    return root


def _malformed(error: Exception) -> EcgError:
    position = getattr(error, "position", None)
    return EcgError(f"not well-formed XML: {error}", where=None if position is None else f"line {position[0]}")


def _decoded(data: bytes) -> tuple[str, str]:
    """The text in the encoding its bytes show, not the one it declares."""
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if data.startswith(mark):
            order: tuple[str, ...] = (encoding,)
            break
    else:
        start = data.lstrip()[:2]
        order = ("utf-16-le",) if start == b"<\0" else ("utf-16-be",) if start == b"\0<" else ("utf-8", "cp1252", "latin-1")
    for encoding in order:
        try:
            return data.decode(encoding).lstrip("\ufeff"), encoding
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1"), "no encoding at all"


def text(element: Element | None, path: str = ".") -> str | None:
    """The text at `path`, its white space trimmed; None where it is missing or empty."""
    found = None if element is None else element if path == "." else element.find(path)
    if found is None or found.text is None:
        return None
    return found.text.strip() or None


def number(element: Element | None, path: str = ".") -> float | None:
    """The number at `path`; None where it is missing or no finite number (Philips writes "Failed")."""
    return as_number(text(element, path))


def as_number(words: str | None) -> float | None:
    """A finite number, or None."""
    try:
        value = float((words or "").strip())
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def need(element: Element | None, path: str, what: str) -> float:
    """The positive number at `path`, or an EcgError that says what is missing."""
    value = number(element, path)
    if value is None or value <= 0:
        raise EcgError(f"{what} is missing or not a positive number: {text(element, path)!r}", where=path)
    return value


def base64_bytes(words: str, where: str) -> bytes:
    """Decoded base64 (line breaks allowed, anything else that is not base64 refused)."""
    try:
        return binascii.a2b_base64("".join(words.split()).encode("ascii"), strict_mode=True)
    except (ValueError, UnicodeEncodeError) as error:
        raise EcgError(f"broken base64: {error}", where=where) from error


def base64_int16(words: str, where: str) -> NDArray[np.int16]:
    """Decoded base64 as little-endian int16."""
    raw = base64_bytes(words, where)
    if len(raw) % 2:
        raise EcgError(f"{len(raw)} bytes are no whole number of 16-bit samples", where=where)
    return np.frombuffer(raw, "<i2")


def numbers(words: str, where: str) -> NDArray[np.float64]:
    """Numbers parted by white space or commas."""
    parts = []
    try:
        for chunk in _chunks(words.replace(",", " ")):
            parts.append(np.array([float(t) for t in chunk.split()], np.float64))
    except ValueError as error:
        raise EcgError(f"not a list of numbers: {str(error)[:200]}", where=where) from error
    values = parts[0] if len(parts) == 1 else np.concatenate(parts)
    if not np.isfinite(values).all():
        raise EcgError("the list of samples holds values that are not finite", where=where)
    return values


def _chunks(words: str) -> Iterator[str]:
    """Pieces of some megabytes, cut between words: a word is an object of 50 bytes, and not all need to be there at once."""
    at = 0
    while at + (1 << 22) < len(words):
        stop = words.find(" ", at + (1 << 22))
        stop = len(words) if stop < 0 else stop
        yield words[at:stop]
        at = stop
    yield words[at:]


def rows(samples: Iterable[NDArray[Any]], scales: Iterable[float], warn: list[str]) -> Signal:
    """Leads of mV, (L, T) float32, out of raw samples and their mV per step. Shorter leads end in NaN, with a warning."""
    samples = list(samples)
    length = max((len(s) for s in samples), default=0)
    if length == 0:
        raise EcgError("the file has no samples")
    if any(len(s) != length for s in samples):
        warn.append(f"leads differ in length ({min(len(s) for s in samples)} to {length} samples): the rest is not a number")
    check_samples(len(samples), length)
    signal = np.full((len(samples), length), np.nan, np.float32)
    with np.errstate(over="ignore"):  # what no float32 holds becomes infinite here, and a warning in finish()
        for row, raw, scale in zip(signal, samples, scales, strict=True):
            row[: len(raw)] = raw * scale
    return signal


def root_name(file: File) -> str:
    """The local name of the root element, read from the first bytes; "" where the file is no XML. Never parses."""
    head = file.head(8192)
    wide = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else {b"<\0": "utf-16-le", b"\0<": "utf-16-be"}.get(head[:2])
    words = head.decode(wide or "latin-1", errors="ignore").lstrip("\ufeff\xef\xbb\xbf \t\r\n")
    found = _ROOT.search(_NOISE.sub("", words)) if words.startswith("<") else None
    return found[1] if found else ""


def step(value: float | None, unit: str | None, options: Options, usual: str, warn: list[str], where: str) -> float:
    """mV per step out of a resolution and its unit.

    A unit that the file does not give is the user's `options.unit`, else the format's `usual` one with a warning.
    Raises EcgError where there is no resolution, or a unit that is no voltage.
    """
    if value is None or value <= 0:
        raise EcgError("the resolution (volts per step) is missing or not positive", where=where)
    word = unit or options.unit
    if not word:
        word = usual
        told = f"unit of the resolution not given in the file: taken as {usual}"
        if told not in warn:
            warn.append(told)
    factor = millivolts(word)
    if factor is None:
        raise EcgError(f"unit {word[:40]!r} is no voltage", where=where)
    return value * factor


def median_beat(signal: Signal, fs: float, labels: Iterable[str]) -> MedianBeat | None:
    """A median beat under standard lead names, in their order. None where two rows would have one name."""
    named = [lead_name(label) for label in labels]
    names = [name for name, _ in named]
    if len(set(names)) != len(names) or not names:
        return None
    order = canonical_order(names)
    turned = signal * np.array([sign for _, sign in named], np.float32)[:, None]
    return MedianBeat(turned[[names.index(n) for n in order]], fs, order)


def known(**values: float | None) -> dict[str, float]:
    """The measurements that are there."""
    return {name: value for name, value in values.items() if value is not None}
