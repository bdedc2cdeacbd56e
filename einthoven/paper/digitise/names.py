"""Reads the lead names printed on a sheet with a small network, trained on drawn names (`einthoven.train.lead_names`).

It looks at every millimetre of the sheet's ink, so a name that touches a trace, or whose letters are broken, is read too.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np

from einthoven.paper.digitise.lattice import SCALE, Field
from einthoven.paper.digitise.words import Name

CLASSES = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6", "-aVR")
PER_MM = 4  # pixels to the millimetre that the network sees; it answers for each millimetre
WEIGHTS = "lead_names.onnx"
_LEAST = 0.12  # a name less likely than this is none


def read_names(ink: Field) -> list[Name]:
    """The lead names on a rectified sheet's ink (H, W): mm of the sheet, `sure` 0..1.

    A word that might be two names gives both, each with how sure it is.
    """
    import cv2

    h, w = ink.shape
    rows, columns = (-(-v * PER_MM // SCALE // 4) * 4 for v in (h, w))
    padded = cv2.copyMakeBorder(
        ink, 0, rows * SCALE // PER_MM - h, 0, columns * SCALE // PER_MM - w, cv2.BORDER_CONSTANT, value=0
    )
    small = np.clip(cv2.resize(padded, (columns, rows), interpolation=cv2.INTER_AREA), 0, 1)
    (out,) = _session().run(None, {"ink": small[None, None].astype(np.float32)})
    logits = out[0, : 1 + len(CLASSES)].astype(np.float64)
    p = np.exp(logits - logits.max(axis=0))
    p /= p.sum(axis=0)
    named = 1 - p[0]  # (rows, columns) by the millimetre
    top = cv2.dilate(named, np.ones((3, 5)))
    found = []
    for i, j in np.argwhere((named == top) & (named > _LEAST)):
        # A name's middle may fall on the border of two cells.
        near = p[1:, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2].max(axis=(1, 2))
        wide, high = (float(np.clip(v, 0.3, 14)) for v in out[0, -2:, i, j])
        best = float(near.max())
        for k in np.flatnonzero(near > max(_LEAST, 0.25 * best)):
            lead, sign = CLASSES[k].lstrip("-"), -1 if CLASSES[k].startswith("-") else 1
            x, y = j + 0.5 - wide / 2, i + 0.5 + high / 2
            found.append(Name(lead, sign, x, y, wide, min(float(near[k]), 1.0)))
    return found


@lru_cache(1)
def _session() -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    weights = (files("einthoven.paper.digitise") / WEIGHTS).read_bytes()
    return onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
