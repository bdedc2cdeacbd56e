"""An ECG of the library as a file to take away: a page of millimetre paper, or the recording in another format."""

from __future__ import annotations

import io
import re
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from einthoven.record import EcgError, Record

if TYPE_CHECKING:
    from einthoven.interpretation import Report

PAGES = {"png": "image/png", "svg": "image/svg+xml", "pdf": "application/pdf"}
_RECORDINGS = {  # kind: (what it is written as, media type)
    "csv": (".csv", "text/csv; charset=utf-8"),
    "wfdb": (".hea", "application/zip"),
    "npz": (".npz", "application/octet-stream"),
    "edf": (".edf", "application/octet-stream"),
    "dcm": (".dcm", "application/dicom"),
    "xml": (".xml", "application/xml"),
}
KINDS = (*PAGES, *_RECORDINGS)


def page(report: Report, kind: str, *, layout: str, speed: float, gain: float, start: float) -> bytes:
    """The report's ECG on paper, as `einthoven render` draws it, measurements and conclusion at its head. Raises EcgError for a
    layout that cannot be, and where there is no ECG."""
    from einthoven.paper.save import save_page

    if not report.record.leads:
        raise EcgError("no ECG could be read: there is nothing to draw")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / f"page.{kind}"
        save_page(
            report.record, place, layout=layout, speed=speed, gain=gain, start=start,
            measurements=report.measurements, conclusions=(report.conclusion,),
        )  # fmt: skip
        return place.read_bytes()


def recording(record: Record, kind: str, name: str) -> bytes:
    """The record in a format of `einthoven convert`; WFDB, which is two files, as a ZIP. Raises EcgError where the format
    cannot hold it."""
    from einthoven.io import write

    suffix, _ = _RECORDINGS[kind]
    if not record.leads:
        raise EcgError("no ECG could be read: there is nothing to write")
    with tempfile.TemporaryDirectory() as folder:
        made = write(record, Path(folder) / f"{_stem(name)}{suffix}")
        if len(made) == 1:
            return made[0].read_bytes()
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for one in made:
                archive.write(one, one.name)
        return out.getvalue()


def headers(name: str, kind: str) -> dict[str, str]:
    """Content-Disposition of a file to be saved under the ECG's own name."""
    suffix = ".zip" if kind == "wfdb" else f".{kind}"
    plain = _stem(name) + suffix
    whole = quote(Path(name).stem[:100] + suffix, safe="")
    return {"Content-Disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{whole}"}


def media_type(kind: str) -> str:
    return PAGES.get(kind) or _RECORDINGS[kind][1]


def _stem(name: str) -> str:
    """A name that every system and WFDB's headers take."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", Path(name).stem).strip("_")[:60] or "ecg"
