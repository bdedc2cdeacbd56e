"""Heat over a picture: what an image model's evidence for a label looks like at a glance. Numbers: `explain_image`.

H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from einthoven.explain.explanation import Doubles
from einthoven.record import EcgError

METHODS = ("fullgrad", "integrated-gradients")
BLUR = 0.015  # of the picture's side: gradients of single pixels are noise to the eye


def heat(net: Any, image: NDArray[np.float32], k: int, methods: Sequence[str] = METHODS) -> tuple[Doubles, str]:
    """(3, H, W) as the form scales it -> (H, W), the evidence for output k in its own units, smoothed (what speaks for it is
    positive), and the method it is of: the first that this network allows. FullGrad is the method of HeartBEiT's figures, and
    refuses where its parts do not sum up to the logit. Raises EcgError where none can be applied."""
    import torch
    from scipy.ndimage import gaussian_filter

    from einthoven.explain.evidence import evidence
    from einthoven.explain.gradients import label_score

    net.requires_grad_(False)  # FullGrad counts what depends on whatever asks for a gradient: only the picture may
    x = torch.from_numpy(image[None])
    for i, method in enumerate(methods):
        try:
            found = evidence(net, x, label_score(k, "multilabel"), method)
        except EcgError:
            if i + 1 == len(methods):
                raise
            continue
        values = found.over_mean() if found.even else found.values
        made: Doubles = gaussian_filter(values, BLUR * max(image.shape[1:]))
        return made, method
    raise EcgError("no method is named")
