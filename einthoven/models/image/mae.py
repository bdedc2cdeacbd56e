"""MAE's way to pre-train: only what is not hidden goes through the transformer, and a small decoder draws the rest.

    shown patches (B, n, P) --layers of a ViT or BEiT--> (B, n, D) --decoder, which has a token for each hidden patch--> (M, P)

He K et al. Masked autoencoders are scalable vision learners. CVPR 2022. Where 96 of 128 patches are hidden, the transformer
works on a quarter of them, and what is to be drawn is no business of its last layers. It wants a model with positions of its
own (learned, or begun as waves): a bias by distance has no say of where in the image a patch stands.

B images, n shown of N patches, M hidden ones of the batch, P numbers of a patch, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from einthoven.models.image.beit import waves
from einthoven.models.image.transformer import EPS, Layer, PatchTransformer
from einthoven.record import EcgError


class Decoder(nn.Module):  # type: ignore[misc]
    """Draws the hidden patches; what pre-training puts on a model, in place of beit.MaskedHead.

    Args:
        model: whose grid and width it takes. answers: P of a drawn patch. width, depth, heads: of its own layers.

    Raises EcgError for a model without positions of its own.
    """

    place: Tensor

    def __init__(self, model: PatchTransformer, answers: int, *, width: int = 64, depth: int = 2, heads: int = 4) -> None:
        super().__init__()
        if model.positions is None:
            raise EcgError(
                "patches that are shown alone want positions of their own: absolute or waves, not relative or shared"
            )
        if width % heads:
            raise EcgError(f"a decoder of width {width} does not divide among {heads} heads")
        self.grid = model.grid
        self.enter = nn.Sequential(nn.LayerNorm(model.config["width"], EPS), nn.Linear(model.config["width"], width))
        self.mask = nn.Parameter(torch.zeros(width))
        self.layers = nn.ModuleList(Layer(width, heads, 4, 0.0) for _ in range(depth))
        self.norm, self.say = nn.LayerNorm(width, EPS), nn.Linear(width, answers)
        self.register_buffer("place", waves(model.grid, width), persistent=False)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.mask, std=0.02)

    def forward(self, model: PatchTransformer, shown: Tensor, masked: Tensor) -> Tensor:
        """shown (B, n, P) in order, masked (B, N) bool with N - n hidden in each row -> (M, answers), in order."""
        b, n, _ = shown.shape
        which = (~masked).nonzero()[:, 1].reshape(b, n)
        x = self.enter(model.of_patches(shown, which)[:, 1:])
        whole = self.mask.to(x.dtype).expand(b, masked.shape[1], -1)
        x = whole.scatter(1, which[:, :, None].expand(-1, -1, x.shape[2]), x) + self.place.to(x.dtype)
        for layer in self.layers:
            x = layer(x, self.grid)
        said: Tensor = self.say(self.norm(x[masked]))
        return said
