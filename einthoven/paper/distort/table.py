"""All distortions, in the order in which they happen within their stage."""

from __future__ import annotations

from collections.abc import Mapping

from einthoven.paper.distort import camera, geometry, light
from einthoven.paper.distort.scene import Distortion, Stage

_ROWS = (
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
    Distortion("relief", Stage.LIGHT, light.relief, "bends shaded by a lamp to the side"),
    Distortion("uneven", Stage.LIGHT, light.uneven, "light that falls off"),
    Distortion("shadow", Stage.LIGHT, light.shadow, "shadows of hand, phone, window"),
    Distortion("white_balance", Stage.LIGHT, light.white_balance, "the lamp's colour, uncorrected"),
    Distortion("moire", Stage.CAMERA, camera.moire, "a screen's pixels beat with the camera's"),
    Distortion("glare", Stage.CAMERA, light.glare, "a lamp mirrored"),
    Distortion("defocus", Stage.CAMERA, camera.defocus, "out of focus"),
    Distortion("motion", Stage.CAMERA, camera.motion, "the hand moved"),
    Distortion("contrast", Stage.CAMERA, camera.contrast, "blacks lifted, another curve"),
    Distortion("noise", Stage.CAMERA, camera.noise, "a sensor's noise"),
    Distortion("salt_and_pepper", Stage.CAMERA, camera.salt_and_pepper, "single pixels black or white"),
    Distortion("low_resolution", Stage.FILE, camera.low_resolution, "sent small, shown large"),
    Distortion("jpeg", Stage.FILE, camera.jpeg, "stored as JPEG"),
)

DISTORTIONS: Mapping[str, Distortion] = {row.name: row for row in _ROWS}
ORDER: Mapping[str, int] = {row.name: k for k, row in enumerate(sorted(_ROWS, key=lambda row: row.stage))}
