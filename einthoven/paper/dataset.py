"""Sets of pictures of ECGs: what a set is made by (`Plan`), one picture of it (`picture`), its shards on disk, and `ImageSet`.

    OUT/plan.json             what it was made by; another plan is refused
    OUT/images-000000.tar     WebDataset: 000000000.jpg, 000000000.json[, .mask.png][, .lines.npz] for each picture
    OUT/shard-*.jsonl.gz      of `einthoven.scale`: one line a shard of pictures, with what failed

Picture n of a plan is a function of the plan, n and its record: any process makes it alone, in any order, and the same again.
"""

from __future__ import annotations

import io
import json
import math
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from einthoven.io.files import replacing
from einthoven.paper.distort import PRESETS, Truth
from einthoven.paper.distort.run import shoot
from einthoven.paper.distort.scene import Scene
from einthoven.paper.page import SIZES
from einthoven.record import EcgError, Record

EXTRAS = ("mask", "lines")
FORMATS = ("jpg", "png")
_THIN_PX = 3.0  # to the millimetre: below it a page is drawn without its thin lines
_SHEET_PX = 2.0  # a page is drawn with about this many pixels for one of a small picture, and averaged down


@dataclass(frozen=True)
class Look:
    """How the pages of a set are printed: weights of layouts, palettes, papers, speeds (mm/s), gains (mm/mV); chances."""

    layouts: Mapping[str, float] = field(default_factory=lambda: {"3x4+1": 1.0})
    palettes: Mapping[str, float] = field(default_factory=lambda: {"pink": 1.0})
    papers: Mapping[str, float] = field(default_factory=lambda: {"letter": 1.0})
    speeds: Mapping[str, float] = field(default_factory=lambda: {"25": 1.0})
    gains: Mapping[str, float] = field(default_factory=lambda: {"10": 1.0})
    header: float = 1.0
    cabrera: float = 0.0


# What recorders around the world print.
VARIED = Look(
    layouts={"3x4+1": 0.4, "3x4+3": 0.12, "3x4": 0.1, "6x2": 0.16, "6x2+1": 0.06, "12x1": 0.14, "4x3": 0.02},
    palettes={"pink": 0.3, "red": 0.2, "grey": 0.12, "bw": 0.1, "blue": 0.1, "green": 0.08, "brown": 0.08, "plain": 0.02},
    papers={"letter": 0.5, "a4": 0.5},
    speeds={"25": 0.9, "50": 0.1},
    gains={"10": 0.88, "5": 0.08, "20": 0.04},
    header=0.8,
    cabrera=0.08,
)
# ECGInstruct: black trace on a red grid, 3x4 with a rhythm strip in most, header at random, the grid gone in 2 of 100.
ECGINSTRUCT = Look(
    layouts={"3x4+1": 0.6, "3x4": 0.12, "12x1": 0.12, "6x2": 0.16},
    palettes={"red": 0.6, "pink": 0.2, "blue": 0.06, "green": 0.06, "brown": 0.06, "plain": 0.02},
    papers={"letter": 0.8, "a4": 0.2},
    header=0.5,
)
LOOKS: Mapping[str, Look] = {"standard": Look(), "varied": VARIED, "ecginstruct": ECGINSTRUCT}


@dataclass(frozen=True)
class Plan:
    """What a set is made by.

    preset: a name in PRESETS, or several with commas, one of which each picture takes. look: a name in LOOKS. clean: the share
    of pictures that stay as they were drawn. dpi: of the drawn page. size: (width, height) px of pictures, None for the page's
    own; fit: "pad" or "stretch". words: whether headers print the record's report. quality: of JPEG, where the
    distortions did not choose one. extras: "mask", "lines" beside each picture.
    """

    preset: str = "photo"
    look: str = "varied"
    clean: float = 0.0
    seed: int = 0
    dpi: int = 200
    size: tuple[int, int] | None = None
    fit: str = "pad"
    format: str = "jpg"
    quality: int = 92
    words: bool = False
    extras: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises EcgError for what cannot be: it is told before a million pictures are begun."""
        for name in self.presets:
            if name not in PRESETS:
                raise EcgError(f"no preset {name} (there are: {', '.join(PRESETS)})")
        if self.look not in LOOKS:
            raise EcgError(f"no look {self.look} (there are: {', '.join(LOOKS)})")
        if self.fit not in ("pad", "stretch"):
            raise EcgError(f"fit must be pad or stretch, not {self.fit!r}")
        if self.format not in FORMATS:
            raise EcgError(f"pictures are {' or '.join(FORMATS)}, not {self.format}")
        unknown = [name for name in self.extras if name not in EXTRAS]
        if unknown:
            raise EcgError(f"beside a picture there may be {', '.join(EXTRAS)}, not {', '.join(unknown)}")
        if not 0 <= self.clean <= 1:
            raise EcgError(f"the share of clean pictures is 0 to 1, not {self.clean:g}")
        if self.size is not None and min(self.size) < 32:
            raise EcgError(f"pictures of {self.size[0]}x{self.size[1]} pixels show no ECG: 32 or more")
        if self.dpi < 20 or self.seed < 0 or not 1 <= self.quality <= 100:
            raise EcgError("dpi is 20 or more, seed 0 or more, quality 1 to 100")

    @property
    def presets(self) -> tuple[str, ...]:
        return tuple(name.strip() for name in self.preset.split(","))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Plan:
        size = d.get("size")
        return cls(**{**d, "size": (size[0], size[1]) if size else None, "extras": tuple(d["extras"])})


# Half clean, half augmented, as ECGInstruct was made.
PLANS: Mapping[str, Plan] = {"ecginstruct": Plan("ecginstruct", "ecginstruct", clean=0.5)}


@dataclass(frozen=True)
class Picture:
    """A finished `scene` with its `image`, the `truth`, and how it was printed (`look`: option of `render` -> value)."""

    scene: Scene
    truth: Truth
    look: Mapping[str, Any]
    preset: str

    @property
    def image(self) -> NDArray[np.uint8]:
        return self.scene.image

    def encoded(self, plan: Plan) -> bytes:
        """The image as a file; where it was stored as JPEG on its way, that very file."""
        return self.scene.file if self.scene.file and plan.format == "jpg" else encoded(self.image, plan.format, plan.quality)


def picture(record: Record, plan: Plan, number: int) -> Picture:
    """Picture `number` of a plan, of this record. Raises EcgError where the record cannot be printed so."""
    from einthoven.paper.render import draw, prepare

    rng = np.random.default_rng([plan.seed, number, 0])
    options = _printed(LOOKS[plan.look], record, rng)
    sheet = SIZES[options["size"]]
    options["dpi"] = plan.dpi if plan.size is None else min(plan.dpi, sheet_dpi(plan.size, sheet, plan.fit))
    palette = options.pop("palette")
    # The report's words in the header would tell a model the answer.
    page = prepare(record if plan.words else replace(record, statements=()), **options)
    drawn = draw(record, page, palette=palette).rgb()
    preset = str(rng.choice(plan.presets))
    if rng.random() < plan.clean:
        preset = "clean"
    scene, truth = shoot(drawn, page, preset, seed=[plan.seed, number, 1], size=plan.size, fit=plan.fit)
    return Picture(scene, truth, {**options, "palette": palette}, preset)


def _printed(look: Look, record: Record, rng: np.random.Generator) -> dict[str, Any]:
    def one(weights: Mapping[str, float]) -> str:
        p = np.array(list(weights.values()), np.float64)
        return str(rng.choice(list(weights), p=p / p.sum()))

    layout, palette, size = one(look.layouts), one(look.palettes), one(look.papers)
    speed, gain = float(one(look.speeds)), float(one(look.gains))
    header, cabrera, early = rng.random() < look.header, rng.random() < look.cabrera, rng.random()
    spare = record.duration - 10.0
    return {
        "layout": layout if len(record.leads) >= 12 else "auto",
        "palette": palette,
        "size": size,
        "speed": speed,
        "gain": gain,
        "header": bool(header),
        "order": "cabrera" if cabrera else "standard",
        "start": round(float(early) * spare, 2) if spare > 0.5 else 0.0,
    }


def sheet_dpi(size: tuple[int, int], sheet: tuple[float, float], fit: str = "pad") -> int:
    """At what resolution a sheet (mm) is drawn for a picture of `size` (width, height) px. Small pictures come from small
    pages: drawing 3.7 million pixels for 200 thousand would be most of the work."""
    sides = size[0] / sheet[0], size[1] / sheet[1]
    per_mm = max(_SHEET_PX * (min(sides) if fit == "pad" else max(sides)), _THIN_PX)
    return math.ceil(per_mm * 25.4)


# ---- on disk ------------------------------------------------------------------------------------------------------------


def write_shard(
    target: Path, plan: Plan, numbers: Iterable[int], record_of: Callable[[int], tuple[str, Record]]
) -> list[dict[str, Any]]:
    """Pictures `numbers` of a plan into a tar at `target`, which appears whole or not at all. -> what failed, each named.

    record_of: number -> (the record's name, the record). The same plan and records give the same bytes.
    """
    failed: list[dict[str, Any]] = []
    with replacing(target) as draft, tarfile.open(draft, "w", format=tarfile.USTAR_FORMAT) as tar:
        for number in numbers:
            name = ""
            try:
                name, record = record_of(number)
                members = _members(picture(record, plan, number), record, plan, number, name)
            except EcgError as fault:
                failed.append({"number": number, "record": name, "error": str(fault)})
                continue
            for suffix, data in members:
                info = tarfile.TarInfo(f"{number:09d}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return failed


def _members(made: Picture, record: Record, plan: Plan, number: int, name: str) -> Iterator[tuple[str, bytes]]:
    yield plan.format, made.encoded(plan)
    about = {"number": number, "record": name, "preset": made.preset, "look": dict(made.look), **made.truth.to_dict()}
    yield "json", json.dumps(about, ensure_ascii=False, allow_nan=False).encode()
    if "mask" in plan.extras:
        yield "mask.png", encoded(made.truth.mask(record), "png", 0)
    if "lines" in plan.extras:
        lines = {
            f"{k}.{n}": points.astype(np.float32)
            for k, parts in enumerate(made.truth.traces(record, 4.0))
            for n, points in enumerate(parts)
        }
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **lines)  # type: ignore[arg-type]
        yield "lines.npz", buffer.getvalue()


def encoded(image: NDArray[np.uint8], format: str, quality: int) -> bytes:
    """RGB or grey as a JPEG or PNG file."""
    import cv2

    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if format == "jpg" else [cv2.IMWRITE_PNG_COMPRESSION, 1]
    done, data = cv2.imencode(f".{format}", cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image, options)
    if not done:
        raise EcgError(f"an image of {image.shape} could not be written as {format}")
    return bytes(data)


def decoded(data: bytes) -> NDArray[np.uint8]:
    """An image file as RGB (rows, columns, 3). Raises EcgError for what is none."""
    import cv2

    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise EcgError("no image that can be read")
    return np.ascontiguousarray(np.asarray(image, np.uint8)[..., ::-1])


def shard_file(folder: Path, shard: int) -> Path:
    return folder / f"images-{shard:06d}.tar"


def begin(folder: Path, plan: Plan, source: Mapping[str, Any]) -> None:
    """Writes what a set is made by, or compares it with what the folder was begun with. Raises EcgError where that differs."""
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / "plan.json"
    about = json.loads(json.dumps({"plan": plan.to_dict(), **source}))
    if mark.exists():
        if json.loads(mark.read_text(encoding="utf-8")) != about:
            raise EcgError("was begun with another plan or source: take another folder", path=folder)
        return
    with replacing(mark) as draft:
        draft.write_text(json.dumps(about, indent=1), encoding="utf-8")


@dataclass(frozen=True)
class Sample:
    """A picture as a set holds it. about: number, record, preset, look."""

    image: NDArray[np.uint8]
    truth: Truth
    about: Mapping[str, Any]
    mask: NDArray[np.uint8] | None = None
    lines: Mapping[str, NDArray[np.float32]] | None = None


@dataclass(frozen=True)
class ImageSet:
    """A finished set, by place: `len`, `[k]` -> Sample, iteration in order. Only the tars' tables of contents are held."""

    folder: Path
    plan: Plan
    places: tuple[tuple[Path, str], ...]  # tar and the picture's number in nine digits

    @staticmethod
    def open(folder: str | Path) -> ImageSet:
        """Raises EcgError where there is no set."""
        place = Path(folder)
        try:
            plan = Plan.from_dict(json.loads((place / "plan.json").read_text(encoding="utf-8"))["plan"])
        except (OSError, ValueError, KeyError, TypeError) as fault:
            raise EcgError(f"no set of images: {fault}", path=place) from None
        found = [
            (file, key)
            for file in sorted(place.glob("images-*.tar"))
            for key in sorted({n.split(".")[0] for n in _contents(file)})
        ]
        return ImageSet(place, plan, tuple(found))

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, k: int) -> Sample:
        file, key = self.places[k]
        table = _contents(file)

        def part(suffix: str) -> bytes | None:
            if f"{key}.{suffix}" not in table:
                return None
            offset, size = table[f"{key}.{suffix}"]
            with file.open("rb") as tar:
                tar.seek(offset)
                return tar.read(size)

        image, about = part(self.plan.format), part("json")
        if image is None or about is None:
            raise EcgError(f"picture {key} is not whole", path=file)
        words = json.loads(about)
        mask, lines = part("mask.png"), part("lines.npz")
        kept = {name: words[name] for name in ("number", "record", "preset", "look")}
        with np.load(io.BytesIO(lines)) if lines else _none() as loaded:
            arrays = {name: loaded[name] for name in loaded} if lines else None
        return Sample(decoded(image), Truth.from_dict(words), kept, decoded(mask)[..., 0] if mask else None, arrays)

    def __iter__(self) -> Iterator[Sample]:
        return (self[k] for k in range(len(self)))


def _none() -> Any:
    from contextlib import nullcontext

    return nullcontext({})


@lru_cache(4096)
def _contents(file: Path) -> dict[str, tuple[int, int]]:
    """Name -> (offset, size) of a tar's members."""
    try:
        with tarfile.open(file, "r:") as tar:
            return {m.name: (m.offset_data, m.size) for m in tar.getmembers()}
    except (OSError, tarfile.TarError) as fault:
        raise EcgError(f"cannot be read: {fault}", path=file) from None
