"""The table of all formats, in the order in which content is asked: magic numbers first, text last."""

from __future__ import annotations

import re

from einthoven.io import aecg, archive, arrays, cardiosoft, csv, dicom, edf, eli, ishne, muse, schiller, scp, sierra, wfdb
from einthoven.io.files import File, decode
from einthoven.io.format import Format
from einthoven.record import EcgError

FORMATS: dict[str, Format] = {
    row.name: row
    for row in (
        # Magic numbers. A row is added here and tests/test_io_contract.py asks for its example.
        arrays.NPZ,
        archive.ZIP,
        arrays.NPY,
        arrays.HDF5,
        arrays.PARQUET,
        edf.EDF,
        ishne.ISHNE,
        dicom.DICOM,
        scp.SCP,
        # XML, by its root element.
        muse.MUSE,
        sierra.SIERRA,
        aecg.AECG,
        schiller.ZONCARE,
        cardiosoft.CARDIOSOFT,
        eli.ELI,
        schiller.SCHILLER,
        # Text.
        wfdb.WFDB,
        arrays.MAT,  # after WFDB: a Challenge's .mat has its header beside it
        csv.CSV,
    )
}

# What people hand over by mistake, by first bytes.
_OTHERS: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "a JPEG image: digitize and interpret read ECGs on paper, this does not"),
    (b"\x89PNG\r\n", "a PNG image: digitize and interpret read ECGs on paper, this does not"),
    (b"GIF8", "a GIF image: digitize and interpret read ECGs on paper, this does not"),
    (b"BM", "a BMP image: digitize and interpret read ECGs on paper, this does not"),
    (b"II*\0", "a TIFF image: digitize and interpret read ECGs on paper, this does not"),
    (b"MM\0*", "a TIFF image: digitize and interpret read ECGs on paper, this does not"),
    (b"%PDF", "a PDF: digitize and interpret read ECGs on paper, this does not"),
    (b"\x1f\x8b", "gzip data: unpack it first"),
    (b"BZh", "bzip2 data: unpack it first"),
    (b"7z\xbc\xaf", "a 7-Zip archive: unpack it first"),
    (b"\xfd7zXZ", "xz data: unpack it first"),
    (b"Rar!", "a RAR archive: unpack it first"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"fLaC", "a FLAC stream: give the .hea that describes it"),
    (b"\xd0\xcf\x11\xe0", "an old Office document"),
    (b"{\\rtf", "an RTF document"),
    (b"\x80\x04", "a Python pickle, which is never opened"),
    (b"\x80\x05", "a Python pickle, which is never opened"),
)


def sniff(file: File) -> Format:
    """The format of these bytes. Raises EcgError that says what they look like where no format fits."""
    if file.size == 0:
        raise EcgError("empty file", path=file.path)
    if file.suffix == ".hea" and wfdb.WFDB.matches(file):  # the answer in the most frequent case, without sixteen questions
        return wfdb.WFDB
    for row in FORMATS.values():
        if row.matches(file):
            return row
    raise EcgError(f"no ECG format known here; it looks like {looks_like(file)}", path=file.path)


def looks_like(file: File) -> str:
    """What these bytes seem to be, for the error message."""
    head = file.head(4096)
    for magic, told in _OTHERS:
        if head.startswith(magic):
            return told
    if head.startswith(b"RIFF"):
        return (
            "a WebP image: digitize and interpret read ECGs on paper, this does not"
            if head[8:12] == b"WEBP"
            else "WAV or AVI media"
        )
    if head[4:8] == b"ftyp":
        return (
            "a HEIC image: digitize and interpret read ECGs on paper, this does not"
            if head[8:11] in (b"hei", b"mif")
            else "an MP4 film"
        )
    if not head.strip(b"\0"):
        return "nothing but zero bytes"
    if head.startswith(b"PK"):
        return "a ZIP that is broken or an Office document"
    text = decode(head)
    if sum(c.isprintable() or c in "\r\n\t" for c in text) < 0.95 * len(text) or b"\0" in head.replace(b"\xff\xfe", b"")[:64:2]:
        return "binary data of an unknown kind"
    start = text.lstrip().lower()
    if start.startswith(("<!doctype html", "<html")):
        return "an HTML page"
    if start.startswith("<"):
        root = re.search(r"<\s*(?:[\w.-]+:)?([A-Za-z_][\w.-]*)", re.sub(r"<[?!][^>]*>", "", text))
        return f"XML with the root <{root.group(1)[:60]}>, which no reader knows" if root else "XML"
    if start.startswith(("{", "[")):
        return "JSON"
    return "text without columns of numbers"
