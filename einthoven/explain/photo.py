"""Which parts of a photo an image model's answer rests on: a part is painted over in its paper's colour, and the label's score
falls by what the model took from it. Needs no torch, and no Record: a photo that cannot be digitised can be explained, too.

    looked = look(predictor, rgb, "MI")
    looked.overlay()                      (H, W, 3), what speaks for the label in orange, against it in blue

Zeiler MD, Fergus R. Visualizing and understanding convolutional networks. ECCV 2014. H x W pixels of the model's own picture.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from einthoven.exchange.predict import Prediction, Predictor
from einthoven.explain.explanation import Doubles
from einthoven.explain.occlusion import score_of
from einthoven.io.files import replacing
from einthoven.record import EcgError, WrongUse

Bytes = NDArray[np.uint8]
PARTS = 8  # of the picture's shorter side: about a lead's height on a sheet of three rows and a rhythm strip
_TOGETHER = 4  # pictures that the model sees at once: more take memory, and no less time
_FOR, _AGAINST = (255, 90, 0), (31, 120, 255)
_WASH = 0.55  # of full colour, at most


@dataclass(frozen=True)
class Looked:
    """picture: (H, W, 3) uint8 as the model sees it. values: (H, W), what the score of `label` loses without the part that a
    pixel lies in, spread over it so that a part sums up to its loss. probability: calibrated, of the whole picture."""

    label: str
    text: str
    probability: float
    score: float
    picture: Bytes
    values: Doubles
    parts: Doubles  # (rows, columns) what the score loses without each part, from the upper left

    def to_dict(self, model: str) -> dict[str, Any]:
        """Plain values, of which JSON can be made."""
        return {
            "model": model,
            "method": "occlusion",
            "label": self.label,
            "probability": round(self.probability, 6),
            "score": round(self.score, 6),
            "parts": [[round(float(v), 6) for v in row] for row in self.parts],
        }

    def grid_text(self) -> str:
        """The parts as they lie on the picture, each with its loss."""
        return "\n".join("".join(f"{v:+7.2f}" for v in row) for row in self.parts)

    def save(self, path: str | Path, model: str) -> None:
        """The overlay as PNG, or all of it as JSON, by the suffix. Raises EcgError for another one."""
        path = Path(path)
        if path.suffix.lower() == ".json":
            data = (json.dumps(self.to_dict(model), ensure_ascii=False) + "\n").encode()
        elif path.suffix.lower() == ".png":
            import cv2

            from einthoven.paper.render import png_bytes

            larger = cv2.resize(self.overlay(), None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
            data = png_bytes(np.asarray(larger, np.uint8), 150)
        else:
            raise WrongUse("an explanation of a picture is written as .png or .json", path=path)
        with replacing(path) as draft:
            draft.write_bytes(data)

    def overlay(self) -> Bytes:
        """(H, W, 3) uint8: the picture with orange where it speaks for the label and blue where against it."""
        import cv2

        side = min(self.values.shape) / PARTS
        smooth = cv2.GaussianBlur(self.values, (0, 0), side / 3)
        share = smooth / (float(np.abs(smooth).max()) or 1.0)
        wash = (_WASH * np.abs(share))[..., None]
        colour = np.where((share > 0)[..., None], np.array(_FOR, np.float64), np.array(_AGAINST, np.float64))
        grey = self.picture if self.picture.ndim == 3 else np.repeat(self.picture[..., None], 3, 2)
        made: Bytes = np.round((1 - wash) * grey + wash * np.minimum(colour, grey)).astype(np.uint8)
        return made


def look(
    predictor: Predictor, rgb: Bytes, label: str | None = None, *, parts: int = PARTS, told: Prediction | None = None
) -> Looked:
    """What of a picture (h, w, 3) uint8 speaks for a label of an image model.

    Args:
        label: None: the one that the model holds for likeliest.
        told: what the predictor says of the picture, where it is known already.

    Raises:
        EcgError: the model looks at no pictures, or this is none. WrongUse: it has no such label.
    """
    manifest = predictor.manifest
    if manifest.image is None or manifest.image.pictures == "digitise":
        raise EcgError(f"{manifest.name} looks at no pictures, only at what is read off them")
    from einthoven.represent.images import from_picture, scaled

    form = manifest.image.as_form()
    picture = from_picture(form, rgb)
    told = predictor.predict_picture(rgb) if told is None else told
    names = manifest.names
    if label is not None and label not in names:
        raise WrongUse(f"{manifest.name} has no label {label} (it has: {', '.join(names)})")
    chosen = label or max(told.labels, key=told.labels.__getitem__)
    k = names.index(chosen)

    def score(pictures: Bytes) -> Doubles:
        logits, _ = predictor.run({manifest.image.name: scaled(form, pictures)})  # type: ignore[union-attr]
        return score_of(logits, k, manifest.task)

    whole, values, losses = without_parts(score, picture, parts)
    return Looked(chosen, manifest.labels[k].text or chosen, told.labels[chosen], whole, picture, values, losses)


def without_parts(score: Callable[[Bytes], Doubles], picture: Bytes, parts: int = PARTS) -> tuple[float, Doubles, Doubles]:
    """(score of the whole, losses (H, W), losses of the parts (rows, columns)). Each part, about `parts` along the shorter
    side, is painted over in the colour that is its median, which is its paper's."""
    height, width = picture.shape[:2]
    side = min(height, width) / parts
    rows = np.linspace(0, height, round(height / side) + 1).astype(int)
    columns = np.linspace(0, width, round(width / side) + 1).astype(int)
    windows = [(slice(a, b), slice(c, d)) for a, b in pairwise(rows) for c, d in pairwise(columns)]
    scores = [score(picture[None])]
    for i in range(0, len(windows), _TOGETHER):
        some = windows[i : i + _TOGETHER]
        painted = np.repeat(picture[None], len(some), 0)
        for one, window in zip(painted, some, strict=True):
            one[window] = np.median(picture[window], (0, 1)).astype(np.uint8)
        scores.append(score(painted))
    found = np.concatenate(scores)
    values = np.zeros((height, width))
    for window, after in zip(windows, found[1:], strict=True):
        values[window] = (found[0] - after) / values[window].size
    return float(found[0]), values, (found[0] - found[1:]).reshape(len(rows) - 1, len(columns) - 1)
