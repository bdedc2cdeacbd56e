"""Heat over a picture: what an image model's evidence for a label looks like at a glance. Numbers: `explain_image`.

H x W pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from einthoven.explain.explanation import Doubles

BLUR = 0.015  # of the picture's side: gradients of single pixels are noise to the eye


def heat(net: Any, image: NDArray[np.float32], k: int, method: str = "fullgrad") -> Doubles:
    """(3, H, W) as the form scales it -> (H, W): the evidence for output k in its own units, smoothed; what speaks for it is
    positive. FullGrad is the method of HeartBEiT's figures. Raises EcgError where the method cannot be applied."""
    import torch
    from scipy.ndimage import gaussian_filter

    from einthoven.explain.evidence import evidence
    from einthoven.explain.gradients import label_score

    found = evidence(net, torch.from_numpy(image[None]), label_score(k, "multilabel"), method)
    made: Doubles = gaussian_filter(found.over_mean() if found.even else found.values, BLUR * max(image.shape[1:]))
    return made
