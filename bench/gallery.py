"""A contact sheet of digitised paper: the traces over the print, for eyes, which are the last judge.

    python bench/gallery.py [--out docs/paper-gallery]       our own renders, and photographs under CC BY 4.0
    python bench/gallery.py --all --out out/paper-gallery    every image of ../shared/data/images, for this machine only

Writes one JPEG an image and index.md, which says for each: layout, gain, leads, confidence, warnings, or why it was refused.
images/paper of the data folder may not be redistributed, so what --all writes stays out of the repository (out/ is ignored).
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from einthoven.paper.digitise import digitize
from einthoven.paper.digitise.overlay import overlay
from einthoven.paper.distort import distort
from einthoven.paper.render import render
from einthoven.record import EcgError
from einthoven.synth import random_simulation

SHARED = Path(os.environ.get("EINTHOVEN_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
CREDIT = "Khan & Hussain, doi 10.17632/gwbz3fsgp8, CC BY 4.0; traces drawn over it"
OURS = "Einthoven's own simulation, Apache-2.0"
WIDE = 1100  # pixels of a picture


def sources(every: bool) -> Iterator[tuple[str, Path | NDArray[np.uint8], str]]:
    """(name, image, whose it is)."""
    for k, preset in enumerate(("clean", "scan", "photo", "screen", "fax", "old-paper")):
        rng = np.random.default_rng(8_100_000 + k)
        image, page = render(
            random_simulation(rng, noise=25.0).record, palette=["pink", "red", "blue", "grey", "bw", "green"][k]
        )
        yield preset, image if preset == "clean" else distort(image, page, preset, seed=k)[0], OURS
    for path in sorted((SHARED / "images" / "printed-12-lead").glob("*/*.jpg")):
        yield path.stem.replace("(", "-").replace(")", ""), path, CREDIT
    if every:
        for path in sorted((SHARED / "images" / "paper").glob("ecg*")):
            yield path.stem, path, "not to be redistributed"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--all", action="store_true", help="with the images that may not be redistributed")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[1] / "docs" / "paper-gallery")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    lines = [
        "# Paper, read",
        "",
        "Written by `python bench/gallery.py`. Traces over the rectified print, each with its lead and confidence.",
    ]
    refused = 0
    for name, image, whose in sources(args.all):
        lines += ["", f"## {name}", ""]
        try:
            found = digitize(image)
        except EcgError as fault:
            refused += 1
            lines.append(f"Refused: {fault.what}. ({whose})")
            print(f"{name}: refused, {fault.what}", flush=True)
            continue
        picture = overlay(found)
        size = (WIDE, round(picture.shape[0] * WIDE / picture.shape[1]))
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)[:, :, ::-1]
        (args.out / f"{name}.jpg").write_bytes(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 72])[1].tobytes())
        sure = " ".join(f"{lead} {value:.2f}" for lead, value in found.confidence.items())
        told = f"{found.page.layout}, {found.page.speed:g} mm/s, {found.page.gain:g} mm/mV; {sure}."
        print(f"{name}: {told} {'; '.join(found.warnings)}", flush=True)
        lines += [f"![{name}]({name}.jpg)", "", told, *(f"Warning: {w}." for w in found.warnings), f"({whose})"]
    (args.out / "index.md").write_text("\n".join(lines) + "\n")
    print(f"{args.out}: {refused} refused")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
