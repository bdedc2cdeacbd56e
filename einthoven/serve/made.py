"""What is made of an ECG and takes longer than a read may: each by its name, as bytes. Made by helpers (serve/helpers.py), in
processes of their own; what is asked for often is kept (serve/derived.py).

`kept` looks whether a result is there, `make` makes it. Both say the same: what is kept is what was made.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from einthoven.beats.correct import Correction
from einthoven.beats.correct import corrected as put_on
from einthoven.record import EcgError, Record
from einthoven.serve import corrections, files, sight
from einthoven.serve.library import Library, is_long
from einthoven.serve.store import Row, to_json

Args = Mapping[str, Any]
BINARY = "application/octet-stream"


@dataclass(frozen=True)
class Kind:
    """make: (library, ECG's id, arguments) -> bytes. media: of the answer. keep: whether the answer is kept; then it takes no
    arguments. slow: seconds rather than tenths of one: others do not wait behind it."""

    make: Callable[[Library, str, Args], bytes]
    media: str = "application/json"
    keep: bool = False
    slow: bool = False

    @property
    def packed(self) -> bool:
        """Whether it is kept, and sent to whoever takes it so, compressed."""
        return self.media == "application/json"


def kept(library: Library, ecg: str, name: str) -> bytes | None:
    """The result as it is kept (`Kind.packed`), or None. Raises EcgError where there is no such ECG."""
    row = library.row(ecg)
    if not KINDS[name].keep:
        return None
    return library.derived.read(ecg, name, mark_of(library, row))


def make(library: Library, ecg: str, name: str, args: Args) -> bytes:
    """The result, compressed where it is `Kind.packed`. Raises EcgError."""
    kind = KINDS[name]
    if not kind.keep:
        return _shut(kind, kind.make(library, ecg, args))
    with library.store.snapshot():  # what the result follows from, and the mark that stands for it
        mark = mark_of(library, library.row(ecg))
        found = library.derived.read(ecg, name, mark)  # somebody else was first
        if found is not None:
            return found
        names = _TOGETHER if name in _TOGETHER else (name,)
        results = {one: _shut(KINDS[one], KINDS[one].make(library, ecg, args)) for one in names}
    for one, data in results.items():
        library.derived.keep(ecg, one, mark, _writer(data), len(data), lambda: library.is_there(ecg))
    return results[name]


def _writer(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


def is_slow(row: Row, name: str) -> bool:
    """Whether others should not wait behind this; see `Kind.slow`."""
    return KINDS[name].slow or row["kind"] == "paper" or (is_long(row) and name != "unpack")


def opened(data: bytes) -> bytes:
    """What `Kind.packed` shut."""
    return gzip.decompress(data)


def _shut(kind: Kind, data: bytes) -> bytes:
    return gzip.compress(data, 3, mtime=0) if kind.packed else data


def mark_of(library: Library, row: Row) -> str:
    """Stands for all that a result follows from, as it is now."""
    return library.mark(row, corrections.listed(library.store, row["id"]))


# ---- what is seen ----------------------------------------------------------------------------------------------------


def _report(library: Library, ecg: str, args: Args) -> bytes:
    from einthoven.report import to_json as told

    return _json(told(library.report(ecg)))


def _beats(library: Library, ecg: str, args: Args) -> bytes:
    from einthoven.report.asjson import beats_json

    made = library.report(ecg)
    return _json(beats_json(made.beats) if made.beats is not None else {})


def _spectrum(library: Library, ecg: str, args: Args) -> bytes:
    from einthoven.report.asjson import number
    from einthoven.signal.spectrum import spectrum

    made = spectrum(library.record(ecg))
    shown = made.hz <= 150
    power = {lead: [number(v) for v in row[shown]] if row[0] == row[0] else None for lead, row in zip(made.leads, made.power)}
    return _json({"hz": [number(v) for v in made.hz[shown]], "power_uv2_hz": power})


def _view(name: str) -> Callable[[Library, str, Args], bytes]:
    return lambda library, ecg, args: sight.VIEWS[name](library.report(ecg))


def _signal(library: Library, ecg: str, args: Args) -> bytes:
    """{"start", "end", "most"}: of paper, which is read for it."""
    return sight.samples(library.record(ecg), args["start"], args["end"], args["most"])


def _unpack(library: Library, ecg: str, args: Args) -> bytes:
    library.unpack(ecg)
    return b""


# ---- fiducials corrected by hand -------------------------------------------------------------------------------------


def _fiducials(library: Library, ecg: str, args: Args) -> bytes:
    """The corrections, what could not be applied of them, and what the measurements were without them."""
    rows = corrections.listed(library.store, ecg)
    if not rows:
        return _json({"corrections": [], "left_out": [], "automatic": {}})
    from einthoven.report.asjson import number

    found, made = library.report(ecg, automatic=True), library.report(ecg)
    was = {name: number(found.measurements[name]) for name in found.measurements}
    now = {name: number(made.measurements[name]) for name in made.measurements}
    left = put_on(found.beats, corrections.of(rows)).told
    return _json({"corrections": rows, "left_out": list(left), "automatic": {k: was[k] for k in was if was[k] != now.get(k)}})


def _correct(library: Library, ecg: str, args: Args) -> bytes:
    """{"user", "beat", "name", "to", "lead", "every"}: keeps one more."""
    found = library.report(ecg, automatic=True)
    one = Correction(args["name"], 0.0, args["to"], args["lead"], args["every"])
    corrections.add(library.store, ecg, args["user"], found, args["beat"], one)
    return b""


# ---- files -----------------------------------------------------------------------------------------------------------


def _report_file(library: Library, ecg: str, args: Args) -> bytes:
    """{"kind": html, pdf, fhir or txt}"""
    from einthoven.report import to_fhir, to_html, to_pdf, to_text

    made = library.report(ecg)
    kind = args["kind"]
    if kind == "pdf":
        return to_pdf(made)
    if kind == "fhir":
        return json.dumps(to_fhir(made), ensure_ascii=False).encode()
    return (to_html(made) if kind == "html" else to_text(made)).encode()


def _file(library: Library, ecg: str, args: Args) -> bytes:
    """{"kind", "layout", "speed", "gain", "start", "what"}"""
    kind, what = args["kind"], args["what"]
    name = library.row(ecg)["name"]
    if kind in files.PAGES:
        about = {key: args[key] for key in ("layout", "speed", "gain", "start")}
        return files.page(library.report(ecg), kind, **about)
    if what == "recording":
        return files.recording(library.record(ecg), kind, name)
    made: Record = sight.RECORDS[what](library.report(ecg))
    return files.recording(made, kind, f"{name}-{what}")


# ---- paper -----------------------------------------------------------------------------------------------------------


def _picture(library: Library, ecg: str, args: Args) -> bytes:
    from einthoven.paper.entry import picture_of
    from einthoven.paper.reading import PHOTO_PX, bounded, jpeg_bytes

    rgb, _ = picture_of(library.path(library.row(ecg)), library.hints(ecg).get("page"))
    return jpeg_bytes(bounded(rgb, PHOTO_PX))


def _sheet(library: Library, ecg: str, args: Args) -> bytes:
    from einthoven.paper.reading import jpeg_bytes

    reading = library.report(ecg, automatic=True).paper
    if reading is None or reading.sheet is None:
        raise EcgError("no such page: none was read from this picture")
    return jpeg_bytes(reading.sheet)


def _paper(library: Library, ecg: str, args: Args) -> bytes:
    from einthoven.report.asjson import paper_json

    reading = library.report(ecg, automatic=True).paper
    if reading is None:
        raise EcgError("no such reading")
    size = None if reading.photo is None else [round(n / reading.scale) for n in reading.photo.shape[1::-1]]
    return _json({**paper_json(reading), "picture_px": size, "known": library.hints(ecg), "sheet": reading.sheet is not None})


# ---- models ----------------------------------------------------------------------------------------------------------


def _predict(library: Library, ecg: str, args: Args) -> bytes:
    """{"model": path of a Bundle}"""
    from einthoven.exchange.predict import loaded

    predictor = loaded(args["model"])
    row = library.row(ecg)
    image = predictor.manifest.image
    if row["kind"] == "paper" and image is not None and image.pictures == "look":
        made = predictor.predict_file(library.path(row))
    else:
        made = predictor.predict(library.record(ecg))
    return _json({"model": predictor.manifest.name, "labels": made.labels, "present": made.present, "warnings": made.warnings})


def _explain(library: Library, ecg: str, args: Args) -> bytes:
    """{"model": path of a Bundle, "label", "method", "start"}"""
    from einthoven.exchange.predict import loaded
    from einthoven.explain import explain

    report = library.report(ecg)
    made = explain(
        report.record, loaded(args["model"]), args["label"], args["method"], start=args["start"], beats=report.beats
    )  # fmt: skip
    return sight.heat(made)


def _json(value: Mapping[str, Any]) -> bytes:
    return to_json(dict(value)).encode()


KINDS: Mapping[str, Kind] = {
    "report": Kind(_report, keep=True),
    "beats": Kind(_beats, keep=True),
    "fiducials": Kind(_fiducials, keep=True),
    "spectrum": Kind(_spectrum, keep=True),
    **{name: Kind(_view(name), BINARY, keep=True) for name in sight.VIEWS},
    "signal": Kind(_signal, BINARY),
    "unpack": Kind(_unpack, BINARY),
    "correct": Kind(_correct, BINARY),
    "report-file": Kind(_report_file, BINARY),
    "file": Kind(_file, BINARY),
    "picture": Kind(_picture, "image/jpeg", keep=True),
    "sheet": Kind(_sheet, "image/jpeg", keep=True),
    "paper": Kind(_paper, keep=True),
    "predict": Kind(_predict),
    "explain": Kind(_explain, BINARY, slow=True),
}
_TOGETHER = ("report", "beats", "fiducials")  # of one report, and asked for together
