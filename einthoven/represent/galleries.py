"""Sets of images to compare, each as (N, H, W) uint8 grey: ECGs drawn in a form, a folder of pictures, and what needs no files.

    ecgs = gallery("ptb-xl/", 200)            an Index, a public set, ECG files: drawn as HeartBEiT sees them
    found = gallery("holiday-pictures/", 200)   JPEG, PNG, TIFF, BMP, WebP anywhere below the folder, stretched to the size
    gallery("synth", 200)      simulated ECGs
    gallery("texture", 200)    noise whose power falls with frequency as that of natural images does
    gallery("photos", 200)     pieces of the two photographs that come with scikit-learn

ImageNet, which HeartBEiT took, does not come with this package. `texture` has a natural image's spectrum (Field DJ. J Opt Soc
Am A 1987;4:2379: amplitude as 1 / frequency), with brightness and contrast drawn anew for each, and shows nothing; `photos`
shows a Chinese temple and a flower, and no more (CC BY 2.0, by danielbuechele and dany13). Whoever wants a figure about natural
images gives a folder of them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from einthoven.record import EcgError
from einthoven.represent.images import ImageForm, by_form, draw, images

Bytes = NDArray[np.uint8]
KINDS = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp")
MADE = ("synth", "texture", "photos")
MOST = 256 << 20  # bytes of a file


def gallery(
    source: str | os.PathLike[str], count: int, form: ImageForm | str = "heartbeit", *, seed: int = 0, jobs: int = 1
) -> Bytes:
    """At most `count` images of `source`, drawn without replacement, as (N, H, W) of the form's size; the same seed, the same
    images. A folder with pictures in it is a set of pictures, whatever else lies there.

    Raises EcgError: nothing of use is there, or fewer than two images of it.
    """
    form = by_form(form) if isinstance(form, str) else form
    form.check()
    if count < 2:
        raise EcgError(f"{count} images make no pair: two at least")
    rng = np.random.default_rng(seed)
    if str(source) == "synth":
        return _simulated(rng, count, form)
    if str(source) == "texture":
        return np.stack([texture(rng, form.size) for _ in range(count)])
    if str(source) == "photos":
        return _photographs(rng, count, form.size)
    path = Path(source)
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in KINDS) if path.is_dir() else []
    made = _pictures(found, rng, count, form.size) if found else _drawn(path, rng, count, form, jobs)
    if len(made) < 2:
        raise EcgError(f"{len(made)} images make no pair: two at least", path=path)
    return made


def texture(rng: np.random.Generator, size: Sequence[int]) -> Bytes:
    """(H, W) uint8: noise whose amplitude falls as 1 / frequency; mean brightness 60 to 195, deviation 25 to 75 grey levels."""
    rows, columns = (np.fft.fftfreq(n) for n in size)
    distance = np.hypot(rows[:, None], columns[None])
    distance[0, 0] = np.inf  # no mean
    noise = np.fft.fft2(rng.standard_normal(tuple(size))) / distance
    picture = np.fft.ifft2(noise).real
    picture = rng.uniform(60, 195) + rng.uniform(25, 75) * picture / picture.std()
    made: Bytes = np.clip(np.round(picture), 0, 255).astype(np.uint8)
    return made


def _simulated(rng: np.random.Generator, count: int, form: ImageForm) -> Bytes:
    from einthoven.synth import random_simulation

    return np.stack([_grey(draw(form, random_simulation(one).record)[0]) for one in rng.spawn(count)])


def _photographs(rng: np.random.Generator, count: int, size: tuple[int, int]) -> Bytes:
    """Square pieces, a third of the shorter side and more, of scikit-learn's sample images."""
    try:
        from sklearn.datasets import load_sample_images
    except ImportError as fault:
        raise EcgError(f"photos come with scikit-learn: pip install 'einthoven[train]' ({fault})") from fault
    whole = [_grey(np.asarray(image, np.uint8)) for image in load_sample_images().images]
    made = []
    for i in range(count):
        image = whole[i % len(whole)]
        side = int(rng.integers(min(image.shape) // 3, min(image.shape) + 1))
        top, left = (int(rng.integers(0, n - side + 1)) for n in image.shape)
        made.append(_resized(image[top : top + side, left : left + side], size))
    return np.stack(made)


def _pictures(paths: list[Path], rng: np.random.Generator, count: int, size: tuple[int, int]) -> Bytes:
    """Raises EcgError, which names it, for a file that is no picture."""
    from einthoven.paper.digitise.picture import read_image

    made = []
    for i in np.sort(rng.permutation(len(paths))[:count]).tolist():
        if paths[i].stat().st_size > MOST:
            raise EcgError("is larger than a picture may be", path=paths[i])
        made.append(_resized(_grey(read_image(paths[i].read_bytes(), str(paths[i]))), size))
    return np.stack(made)


def _drawn(path: Path, rng: np.random.Generator, count: int, form: ImageForm, jobs: int) -> Bytes:
    import tempfile

    from einthoven.data.load import load

    index = load(path, jobs=jobs)
    rows = np.sort(rng.permutation(len(index))[:count])
    failed: dict[int, str] = {}
    with tempfile.TemporaryDirectory() as work:
        drawn = images(index, form, rows, work, jobs=jobs, failed=failed)[:]
    return _grey(drawn[~np.isin(rows, list(failed))])


def _grey(pictures: Bytes) -> Bytes:
    """(..., H, W, 3) RGB -> (..., H, W), by ITU-R BT.601; grey ones stay."""
    if pictures.shape[-1] != 3:
        return pictures
    grey: Bytes = np.round(pictures @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
    return grey


def _resized(image: Bytes, size: tuple[int, int]) -> Bytes:
    import cv2

    smaller = image.shape[0] >= size[0] and image.shape[1] >= size[1]
    how = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    resized: Any = cv2.resize(image, (size[1], size[0]), interpolation=how)
    return np.asarray(resized, np.uint8)
