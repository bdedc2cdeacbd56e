"""Records as images that a model sees: the plot of HeartBEiT, a page of ECG paper at any size, or such a page as a photo of it
comes; of a whole Index, in shards; and pictures of paper that exist, made what the model saw.

    picture, page = draw("heartbeit", record)                (H, W) uint8 grey or (H, W, 3) RGB, and where each trace lies on it
    picture = from_picture("photo", rgb)                     the same of a photo or a scan, of any size
    seen = images(index, "heartbeit", folder="work/images")  (N, H, W) or (N, H, W, 3) uint8, drawn once, read from disk
    batch = scaled(form, seen[[3, 1, 4]])                    (B, 3, H, W) float32 as the model wants it

An ImageForm says how, as a Preset does of a signal: a model must see in use what it saw in training, so a Bundle carries it
(`to_dict`, `from_dict`). Gain and speed are fixed in every form: no picture is stretched to its own extremes, so that a
millivolt is the same number of pixels in all of them.

HeartBEiT (Vaid et al., npj Digit Med 2023) plots I, II and V1 to V6 of 5 s, band-pass and median filtered (signal/presets.py),
to an image of 224 x 224, not cropped, not flipped. How the leads stand in it is not told: here one below the other, 28 pixels
each, 44.8 pixels a second; what leaves its row runs on over the neighbour's, as on a recorder.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from einthoven.data.index import Index, millivolts
from einthoven.data.workers import ordered
from einthoven.io.files import replacing
from einthoven.paper.dataset import sheet_dpi
from einthoven.paper.page import MM_PER_INCH, SIZES, Box, Page, Strip, parse_layout
from einthoven.paper.palette import colours
from einthoven.paper.render import draw as draw_page
from einthoven.paper.render import prepare
from einthoven.record import STANDARD_LEADS, EcgError, Record, Source, WrongUse
from einthoven.signal.presets import Preset, by_name, prepared

Bytes = NDArray[np.uint8]
_Task = tuple[str, NDArray[np.int16], float, tuple[str, ...]]  # record, signal, fs, leads

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and deviation, which convnets trained on it expect
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # BEiT's and ViT's
SHARD = 512  # images a file


@dataclass(frozen=True)
class ImageForm:
    """How a record becomes an image.

    kind "plot" (leads in `columns`, rows filled from the top, no paper), "page" (render's sheet in `layout`, without words,
    as large as the image) or "photo" (a whole sheet of `paper` with its header, averaged down into the image, white around it:
    what `from_picture` makes of a scan of it, and paper.dataset.picture of a clean page).
    `size` (height, width) in pixels. `preset` prepares the signal; `seconds` of it are shown, from `start` s into the record on
    (or from as late as a shorter one allows). speed and gain: of a page in
    mm/s and mm/mV, of a plot in pixels a second and a millivolt at 224 pixels (larger plots are the same, enlarged). `width` of
    a "page"'s sheet in mm: a sheet of that width fills the image. `line` the trace's thickness in pixels, of a plot at 224.
    `colour` False: one grey channel is kept, which the model sees three times. mean, std: of each channel, for 0 to 1.
    """

    name: str
    kind: Literal["plot", "page", "photo"] = "plot"
    size: tuple[int, int] = (224, 224)
    preset: str = "heartbeit"
    seconds: float = 5.0
    start: float = 0.0
    columns: int = 1
    layout: str = "3x4+1"
    speed: float = 44.8
    gain: float = 10.0
    width: float = 279.4
    line: float = 1.0
    palette: str = "plain"
    paper: str = "letter"
    colour: bool = False
    mean: tuple[float, float, float] = HALF[0]
    std: tuple[float, float, float] = HALF[1]
    citation: str = ""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 - a dataclass's field would have an annotation

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a manifest; `preset` written out."""
        words = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        return {**words, "preset": by_name(self.preset).to_dict()}

    @staticmethod
    def from_dict(words: Mapping[str, Any]) -> ImageForm:
        """What `to_dict` wrote. Raises EcgError for an unknown name, a value of another kind, one that makes no image, and
        where the signal's preset has changed since."""
        given = dict(words)
        preset = given.get("preset")
        if isinstance(preset, Mapping):
            told = Preset.from_dict(preset)
            own = by_name(told.name)
            if (told.steps, told.leads, told.fs, told.length) != (own.steps, own.leads, own.fs, own.length):
                raise EcgError(f"the signal's preset {told.name} is not what it was when this image form was written")
            given["preset"] = told.name
        from pydantic import ValidationError

        try:
            form: ImageForm = _adapter().validate_python(given)
        except ValidationError as fault:
            first = fault.errors(include_url=False, include_input=False)[0]
            raise EcgError(f"not an image form: {first['msg']}", where=".".join(map(str, first["loc"])) or None) from None
        form.check()
        return form

    def check(self) -> None:
        """Raises EcgError for figures and words that make no image."""
        if self.kind not in ("plot", "page", "photo") or len(self.size) != 2 or min(self.size) < 8 or max(self.size) > 8192:
            raise EcgError(
                f"image form {self.name}: a plot, page or photo of 8 to 8192 pixels a side, not {self.kind} {self.size}"
            )
        figures = (self.seconds, self.speed, self.gain, self.width, self.line, float(self.columns), *self.std)
        if not all(np.isfinite(f) and f > 0 for f in figures):
            raise EcgError(f"image form {self.name}: seconds, speed, gain, width, line, columns and std are positive")
        if not np.isfinite(self.mean).all():
            raise EcgError(f"image form {self.name}: the mean is no number")
        if not 0 <= self.start < np.inf:
            raise EcgError(f"image form {self.name}: start is not negative")
        by_name(self.preset)
        if self.kind != "plot":
            if self.layout != "auto":
                parse_layout(self.layout)
            colours(self.palette)
            if self.paper not in SIZES:
                raise EcgError(f"image form {self.name}: paper is {' or '.join(SIZES)}, not {self.paper!r}")

    @property
    def leads(self) -> tuple[str, ...] | None:
        """The leads that the image has a place for; None where those that were recorded are shown."""
        if own := by_name(self.preset).leads:
            return own
        if self.kind == "plot" or self.layout == "auto":
            return None
        layout = parse_layout(self.layout)
        if layout.leads:
            return layout.leads
        return STANDARD_LEADS if layout.rows * layout.columns >= 12 else None

    def at(self, size: int | Sequence[int]) -> ImageForm:
        """The same at another size in pixels, named after it ("heartbeit-448")."""
        both = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
        if both == self.size:
            return self
        base = self.name.partition("-")[0]
        return replace(self, name=f"{base}-{both[0]}" if both[0] == both[1] else f"{base}-{both[0]}x{both[1]}", size=both)


@lru_cache(1)
def _adapter() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(ImageForm)


_HEARTBEIT = "Vaid et al., HeartBEiT, npj Digital Medicine 2023;6:108: Methods, Preprocessing"

FORMS: Mapping[str, ImageForm] = MappingProxyType(
    {
        form.name: form
        for form in (
            ImageForm("heartbeit", citation=_HEARTBEIT),
            ImageForm("heartbeit-columns", columns=2, speed=22.4, citation=_HEARTBEIT),
            ImageForm("page", "page", (448, 448), "none", 10.0, speed=25.0, palette="pink", colour=True),
            ImageForm("photo", "photo", (448, 448), "none", 10.0, speed=25.0, palette="pink", colour=True),
        )
    }
)


def by_form(name: str) -> ImageForm:
    """The form of this name; "heartbeit-448" and "page-448x896" are the forms before the dash at that size (height x width).

    Raises EcgError, which lists them, where there is none.
    """
    if name in FORMS:
        return FORMS[name]
    base, _, size = name.rpartition("-")
    numbers = size.split("x")
    if base in FORMS and 1 <= len(numbers) <= 2 and all(n.isascii() and n.isdigit() for n in numbers):
        form = FORMS[base].at((int(numbers[0]), int(numbers[-1])))
        form.check()
        return form
    raise WrongUse(f"no image form {name} (there are: {', '.join(FORMS)}, and each at another size: heartbeit-448)")


def draw(form: ImageForm | str, record: Record) -> tuple[Bytes, Page]:
    """A record as the form wants it: (H, W) grey or, with `colour`, (H, W, 3) RGB uint8, and the Page that maps (lead, s, mV)
    to its pixels. Raises EcgError where the preset cannot prepare the record, or has no lead to show."""
    form = by_form(form) if isinstance(form, str) else form
    if form.start:
        begin = max(min(form.start, record.duration - form.seconds), 0.0)
        record = record.crop(begin, min(begin + form.seconds, record.duration))
    seen = prepared(form.preset, record)
    if form.kind == "photo":
        return _photographed(form, seen)
    if form.kind == "plot":
        page = plot_page(form, seen)
    else:
        scale = form.size[1] / form.width  # pixels to the millimetre
        sheet = (form.width, form.size[0] / scale)
        page = prepare(
            seen,
            layout=form.layout,
            speed=form.speed,
            gain=form.gain,
            dpi=scale * MM_PER_INCH,
            size=sheet,
            header=False,
        )
    image = draw_page(seen, page, palette=form.palette)
    return (image.rgb() if form.colour else _grey(image.colours)[image.index]), page


def _photographed(form: ImageForm, record: Record) -> tuple[Bytes, Page]:
    """As `draw`, of kind "photo". The header names nobody and tells no statement: the picture is the signal's alone, wherever
    it came from."""
    bare = Record(record.signal, record.fs, record.leads)
    size = form.size[1], form.size[0]
    dpi = sheet_dpi(size, SIZES[form.paper])
    page = prepare(bare, layout=form.layout, speed=form.speed, gain=form.gain, dpi=dpi, size=form.paper)
    return from_picture(form, draw_page(bare, page, palette=form.palette).rgb()), page.framed(form.size)


def from_picture(form: ImageForm | str, rgb: Bytes) -> Bytes:
    """A photo, a scan or a render (h, w, 3) uint8 as the form wants it: (H, W) grey or, with `colour`, (H, W, 3).

    The whole picture, its proportions kept, averaged down and in the middle of white: paper.distort.run.framed, which is
    how pictures for training are made, too. Raises EcgError for what is no picture, and for sizes out of bounds.
    """
    from einthoven.paper.digitise.picture import check_image
    from einthoven.paper.distort.run import framed

    form = by_form(form) if isinstance(form, str) else form
    seen = framed(check_image(rgb), (form.size[1], form.size[0]))
    return seen if form.colour else _grey(seen)


def _grey(rgb: Bytes) -> Bytes:
    """(..., 3) -> (...), by ITU-R BT.601."""
    grey: Bytes = np.round(rgb @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
    return grey


def plot_page(form: ImageForm, record: Record) -> Page:
    """The sheet of a plot: its leads in columns, each with as much room as any other, nothing else. A millimetre of this sheet
    is a line's width / 0.32, so that the trace, drawn as on paper, is `form.line` pixels thick at 224."""
    height, width = form.size
    scale = form.line / 0.32 * min(height, width) / 224  # pixels to the millimetre
    columns = form.columns
    rows = -(-len(record.leads) // columns)
    wide, high = width / scale / columns, height / scale / rows
    shown = min(form.seconds, record.duration)
    at_224 = 224 / min(height, width) * scale  # pixels of 224 to the millimetre
    strips = []
    for k, lead in enumerate(record.leads):
        left, top = (k // rows) * wide, (k % rows) * high
        box = Box(left, top, left + wide, top + high)
        strips.append(Strip(lead, 0.0, shown, left, top + high / 2, box))
    return Page(
        speed=form.speed / at_224,
        gain=form.gain / at_224,
        dpi=scale * MM_PER_INCH,
        size=(width / scale, height / scale),
        layout=f"{rows}x{columns}",
        grid=Box(0.0, 0.0, width / scale, height / scale),
        strips=tuple(strips),
    )


def scaled(form: ImageForm, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(B, H, W) or (B, H, W, 3) uint8 -> (B, 3, H, W) float32, less the mean and by the deviation of each channel."""
    import cv2

    mean, std = (np.array(v, np.float32) for v in (form.mean, form.std))
    # What each of 256 values becomes, looked up: a quarter of the time that it takes to compute it for every pixel.
    table = (np.arange(256, dtype=np.float32)[:, None] / np.float32(255) - mean) / std
    out = np.empty((len(pictures), 3, *pictures.shape[1:3]), np.float32)
    for picture, planes in zip(pictures, out, strict=True):
        for c in range(3):
            plane = picture if picture.ndim == 2 else picture[..., c if picture.shape[2] > 1 else 0]
            cv2.LUT(np.ascontiguousarray(plane), table[:, c].copy(), planes[c])
    return out


# ---- of a whole Index ---------------------------------------------------------------------------------------------------


class Images:
    """(N, H, W) or (N, H, W, 3) uint8 in shards on disk: as an array, by one number, a slice or an array of numbers."""

    def __init__(self, shards: Sequence[Path], count: int, form: ImageForm) -> None:
        self.shards, self.count, self.form = list(shards), count, form
        self._open: dict[int, Bytes] = {}

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.count, *self.form.size, *((3,) if self.form.colour else ()))

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, rows: Any) -> Any:
        if isinstance(rows, (int, np.integer)):
            row = int(rows) + (self.count if rows < 0 else 0)
            if not 0 <= row < self.count:
                raise IndexError(f"image {rows} of {self.count}")
            return self._shard(row // SHARD)[row % SHARD]
        if isinstance(rows, slice):
            chosen = np.arange(self.count)[rows]
        else:
            chosen = np.asarray(rows)
            chosen = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
        out = np.empty((len(chosen), *self.shape[1:]), np.uint8)
        for i, row in enumerate(chosen):
            out[i] = self[int(row)]
        return out

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}  # a worker opens its own

    def _shard(self, number: int) -> Bytes:
        if number not in self._open:
            self._open[number] = np.load(self.shards[number], mmap_mode="r", allow_pickle=False)
        return self._open[number]


def images(
    index: Index,
    form: ImageForm | str,
    rows: Sequence[int] | NDArray[np.integer[Any]] | None = None,
    folder: str | os.PathLike[str] = "images",
    *,
    jobs: int = 1,
    failed: dict[int, str] | None = None,
) -> Images:
    """The chosen rows drawn as the form wants it, in their order, in shards below `folder`.

    A shard is there whole or not at all: a call that is cut off goes on where it was, and one with the same records and form
    draws nothing. `jobs` processes (0: every core). `failed` takes up row -> why not; such images are white. Without it they
    are an error.

    Raises:
        EcgError: the form does not exist, or records cannot be drawn: they are named.
    """
    form = by_form(form) if isinstance(form, str) else form
    form.check()
    chosen = np.arange(len(index)) if rows is None else np.asarray(rows, np.int64)
    if not len(chosen):
        raise EcgError("there are no records to draw", path=index.folder)
    place = Path(folder) / f"{form.name}-{fingerprint(index, form, chosen)}"
    place.mkdir(parents=True, exist_ok=True)
    count = -(-len(chosen) // SHARD)
    shards = [place / f"{i:06d}.npy" for i in range(count)]
    notes = [place / f"{i:06d}.json" for i in range(count)]
    todo = [i for i in range(count) if not (shards[i].is_file() and notes[i].is_file())]
    drawn = ordered(
        partial(_drawn, form=form),
        (task for i in todo for task in _tasks(index, chosen[i * SHARD : (i + 1) * SHARD])),
        jobs=jobs,
        killed=_killed,
    )
    for i in todo:
        size = len(chosen[i * SHARD : (i + 1) * SHARD])
        shard = np.full((size, *form.size, *((3,) if form.colour else ())), 255, np.uint8)
        faults: dict[int, str] = {}
        for j in range(size):
            result = next(drawn)
            if isinstance(result, str):
                faults[j] = result
            else:
                shard[j] = result
        with replacing(shards[i]) as draft, draft.open("wb") as file:
            np.save(file, shard, allow_pickle=False)
        with replacing(notes[i]) as draft:  # written last: without it the shard is not whole
            draft.write_text(json.dumps({"form": form.to_dict(), "failed": faults}), encoding="utf-8")
    told = {
        int(chosen[i * SHARD + int(j)]): why
        for i, note in enumerate(notes)
        for j, why in json.loads(note.read_text(encoding="utf-8"))["failed"].items()
    }
    if told and failed is None:
        some = "; ".join(list(told.values())[:5]) + (f"; and {len(told) - 5} more" if len(told) > 5 else "")
        raise EcgError(f"{len(told)} of {len(chosen)} records cannot be drawn as {form.name}: {some}", path=index.folder)
    if failed is not None:
        failed.update(told)
    return Images(shards, len(chosen), form)


def fingerprint(index: Index, form: ImageForm, rows: NDArray[np.int64]) -> str:
    """A hash of all that the images depend on: the form, the signals, their rates and leads, and their order."""
    digest = hashlib.blake2b(digest_size=12)
    words = {k: v for k, v in form.to_dict().items() if k not in ("citation", "mean", "std", "name")}
    digest.update(json.dumps([1, SHARD, words], sort_keys=True).encode())
    part = index.select(rows)
    columns = (part.column(n) for n in ("record", "hash", "fs", "samples", "leads"))
    for record, signal, fs, samples, leads in zip(*columns, strict=True):
        digest.update(f"{signal or record} {fs:g} {samples} {','.join(leads)}\n".encode())
    return digest.hexdigest()


def _tasks(index: Index, rows: NDArray[np.int64]) -> Iterator[_Task]:
    names, fs, leads = index.column("record"), index.column("fs"), index.column("leads")
    for i in rows.tolist():
        yield names[i], np.array(index.digital(i)), float(fs[i]), tuple(leads[i])


def _drawn(task: _Task, *, form: ImageForm) -> Bytes | str:
    name, stored, fs, leads = task
    try:
        return draw(form, Record(millivolts(stored), fs, leads, source=Source(name, "index")))[0]
    except EcgError as fault:
        return str(fault if fault.path else fault.at(name))


def _killed(task: _Task) -> str:
    return f"{task[0]}: its process was killed while it was drawn (out of memory?)"
