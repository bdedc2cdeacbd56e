"""What every image model is: as a signal model (models/network.py), but it sees a picture of the ECG.

    image (B, 3, H, W) --backbone--> head input, intermediates --head--> logits (B, K)

Images are floats as an ImageForm (represent/images.py) scales them. B batch, H height, W width, h x w positions, C channels,
D width, K outputs.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor

from einthoven.models.network import Backbone, Network, Output
from einthoven.record import EcgError

__all__ = ["Backbone", "ImageModel", "Output", "sides"]


class ImageModel(Network):
    """Base of all. Every constructor takes `channels` and `outputs`; one whose weights depend on the image's size takes `size`,
    too. Its maps are (B, C, h, w), rows from the top; in evaluation with gradients they lie on the way to the logits (but where
    an image is cut into tiles), so that torch.autograd.grad(logit, maps) is what saliency needs."""

    @abstractmethod
    def backbone(self, image: Tensor) -> Backbone:
        """image (B, 3, H, W) -> head input and intermediates."""

    def train(self, mode: bool = True) -> ImageModel:
        super().train(mode)
        return self

    def forward(self, image: Tensor) -> Output:
        return super().forward(image)


def sides(size: int | Sequence[int]) -> tuple[int, int]:
    """224 or (height, width) -> (height, width). Raises EcgError for anything else."""
    both = (size, size) if isinstance(size, int) else tuple(size)
    if len(both) != 2 or not all(isinstance(n, int) and n > 0 for n in both):
        raise EcgError(f"an image's size is one number of pixels or (height, width), not {size}")
    return both[0], both[1]
