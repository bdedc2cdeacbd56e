"""All distortions, in the order in which they happen within their stage."""

from __future__ import annotations

from collections.abc import Mapping

from einthoven.paper.distort import age, camera, copying, geometry, light, marks
from einthoven.paper.distort.scene import Distortion, Stage

_ROWS = (
    Distortion("faded", Stage.PAPER, marks.faded, "pale ink, lines left out"),
    Distortion("handwriting", Stage.PAPER, marks.handwriting, "notes, rings and lines by pen"),
    Distortion("stamp", Stage.PAPER, marks.stamp, "a rubber stamp"),
    Distortion("highlighter", Stage.PAPER, marks.highlighter, "a text marker"),
    Distortion("turn", Stage.GEOMETRY, geometry.turn, "on its side or head"),
    Distortion("skew", Stage.GEOMETRY, geometry.skew, "sheared and stretched"),
    Distortion("curl", Stage.GEOMETRY, geometry.curl, "a sheet that does not lie flat"),
    Distortion("folds", Stage.GEOMETRY, geometry.folds, "folded and opened again"),
    Distortion("wrinkles", Stage.GEOMETRY, geometry.wrinkles, "crumpled and smoothed out"),
    Distortion("perspective", Stage.GEOMETRY, geometry.perspective, "seen from the side"),
    Distortion("rotation", Stage.GEOMETRY, geometry.rotation, "not quite straight"),
    Distortion("lens", Stage.GEOMETRY, geometry.lens, "barrel or pincushion"),
    Distortion("camera", Stage.GEOMETRY, geometry.camera, "a phone's frame, with or without the desk"),
    Distortion("crop", Stage.GEOMETRY, geometry.crop, "only a part of the sheet"),
    Distortion("bezel", Stage.GEOMETRY, geometry.bezel, "black around the sheet"),
    Distortion("yellowing", Stage.LIGHT, age.yellowing, "paper turned cream or brown"),
    Distortion("stains", Stage.LIGHT, age.stains, "cups' rings, spills, mould"),
    Distortion("relief", Stage.LIGHT, light.relief, "bends shaded by a lamp to the side"),
    Distortion("uneven", Stage.LIGHT, light.uneven, "light that falls off"),
    Distortion("shadow", Stage.LIGHT, light.shadow, "shadows of hand, phone, window"),
    Distortion("white_balance", Stage.LIGHT, light.white_balance, "the lamp's colour, uncorrected"),
    Distortion("scanner", Stage.CAMERA, copying.scanner, "a scanner's dust and edges"),
    Distortion("moire", Stage.CAMERA, camera.moire, "a screen's pixels beat with the camera's"),
    Distortion("glare", Stage.CAMERA, light.glare, "a lamp mirrored"),
    Distortion("defocus", Stage.CAMERA, camera.defocus, "out of focus"),
    Distortion("motion", Stage.CAMERA, camera.motion, "the hand moved"),
    Distortion("contrast", Stage.CAMERA, camera.contrast, "blacks lifted, another curve"),
    Distortion("noise", Stage.CAMERA, camera.noise, "a sensor's noise"),
    Distortion("salt_and_pepper", Stage.CAMERA, camera.salt_and_pepper, "single pixels black or white"),
    Distortion("grey", Stage.CAMERA, copying.grey, "no colour"),
    Distortion("photocopy", Stage.CAMERA, copying.photocopy, "copied: hard contrast, dust, bands"),
    Distortion("fax", Stage.CAMERA, copying.fax, "black or white dots, lines lost"),
    Distortion("low_resolution", Stage.FILE, camera.low_resolution, "sent small, shown large"),
    Distortion("jpeg", Stage.FILE, camera.jpeg, "stored as JPEG"),
)

DISTORTIONS: Mapping[str, Distortion] = {row.name: row for row in _ROWS}
ORDER: Mapping[str, int] = {row.name: k for k, row in enumerate(sorted(_ROWS, key=lambda row: row.stage))}
