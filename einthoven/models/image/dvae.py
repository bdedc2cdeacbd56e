"""A discrete VAE: an image becomes a grid of visual words, and can be drawn again from them. What BEiT's targets are made by.

    image (B, 3, 8h, 8w) --Encoder--> logits (B, V, h, w) --argmax--> words (B, h, w)
                                      logits --Gumbel-softmax--> mixtures of words --Decoder--> image (B, 3, 8h, 8w)

Ramesh A et al. Zero-shot text-to-image generation (DALL-E). ICML 2021. The encoder is DALL-E's, layer by layer, at any width
and vocabulary: `dall_e` fills the published one (256 wide, 8192 words; its weights are not to be had here, they go in by key
layout), and the default is 32 wide with 512 words, trained on our own images (train/pretrain_heartbeit.py), since most of an
ECG's picture is white and a pen's line has fewer shapes than a photograph. The decoder mirrors it.

Pixels are in [0, 1]; DALL-E maps them to [0.1, 0.9] before the first layer. Three poolings make 8 pixels a word: a transformer
with patches of 16 on 224 pixels (14 x 14) takes the words of the image at 112.

B batch, V words, h x w grid.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from einthoven.models.image.published import tensors
from einthoven.record import EcgError

STEP = 8  # pixels a word, to each side
DALL_E: Mapping[str, int] = {"codes": 8192, "hidden": 256, "blocks": 2}


def conv(inputs: int, outputs: int, kernel: int) -> nn.Conv2d:
    """As DALL-E starts its convolutions: normal weights that keep the variance, no bias."""
    made = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    nn.init.normal_(made.weight, std=1 / math.sqrt(inputs * kernel**2))
    nn.init.zeros_(made.bias)
    return made


class Block(nn.Module):  # type: ignore[misc]
    """(B, C, H, W) -> (B, outputs, H, W): four convolutions through a quarter of the width, scaled, added to what came in.
    `kernels`: the encoder's end in 1 x 1, the decoder's begin with it."""

    def __init__(self, inputs: int, outputs: int, gain: float, kernels: tuple[int, int, int, int]) -> None:
        super().__init__()
        narrow = outputs // 4
        self.gain = gain
        self.straight = conv(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        widths = (inputs, narrow, narrow, narrow, outputs)
        self.convs = nn.ModuleList(conv(a, b, k) for a, b, k in zip(widths[:-1], widths[1:], kernels, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for layer in self.convs:
            y = layer(functional.relu(y))
        return self.straight(x) + self.gain * y


class Encoder(nn.Module):  # type: ignore[misc]
    """(B, channels, 8h, 8w) in [0, 1] -> logits (B, V, h, w)."""

    def __init__(self, channels: int, codes: int, hidden: int, blocks: int) -> None:
        super().__init__()
        widths = (hidden, hidden, 2 * hidden, 4 * hidden, 8 * hidden)
        gain = 1 / (4 * blocks) ** 2
        self.enter = conv(channels, hidden, 7)
        self.groups = nn.ModuleList(
            nn.ModuleList(Block(a if i == 0 else b, b, gain, (3, 3, 3, 1)) for i in range(blocks)) for a, b in pairwise(widths)
        )
        self.say = conv(8 * hidden, codes, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.enter(0.8 * image + 0.1)
        for i, group in enumerate(self.groups):
            x = functional.max_pool2d(x, 2) if i else x
            for block in group:
                x = block(x)
        said: Tensor = self.say(functional.relu(x))
        return said


class Decoder(nn.Module):  # type: ignore[misc]
    """Mixtures of words (B, V, h, w) -> (B, channels, 8h, 8w), in [0, 1] where it is right."""

    def __init__(self, channels: int, codes: int, hidden: int, blocks: int) -> None:
        super().__init__()
        widths = (4 * hidden, 8 * hidden, 4 * hidden, 2 * hidden, hidden)
        gain = 1 / (4 * blocks) ** 2
        self.words = conv(codes, 4 * hidden, 1)
        nn.init.normal_(self.words.weight, std=0.3)  # a word alone, not a sum of all of them, is what comes in
        self.groups = nn.ModuleList(
            nn.ModuleList(Block(a if i == 0 else b, b, gain, (1, 3, 3, 3)) for i in range(blocks)) for a, b in pairwise(widths)
        )
        self.draw = conv(hidden, channels, 1)

    def forward(self, mixture: Tensor) -> Tensor:
        x = self.words(mixture)
        for i, group in enumerate(self.groups):
            x = functional.interpolate(x, scale_factor=2.0, mode="nearest") if i else x
            for block in group:
                x = block(x)
        drawn: Tensor = self.draw(functional.relu(x))
        return drawn


class DiscreteVAE(nn.Module):  # type: ignore[misc]
    """See the head of this file. `config` holds all arguments.

    Args:
        hidden: the first layers' width. blocks: of each of four groups. drawing: False leaves the decoder out. balance: each
        word's logits are brought to mean 0 and this deviation over the places of a batch (in use: over training's), without
        which the white of an ECG's paper makes every place the same word; 0: as they are, as DALL-E's.
    """

    def __init__(
        self,
        *,
        channels: int = 3,
        codes: int = 512,
        hidden: int = 32,
        blocks: int = 2,
        drawing: bool = True,
        balance: float = 4.0,
    ) -> None:
        super().__init__()
        if min(channels, codes, blocks) < 1 or hidden < 4 or hidden % 4:
            raise EcgError(f"a discrete VAE of {channels} channels, {codes} words, width {hidden}, {blocks} blocks cannot be")
        self.config: dict[str, Any] = {
            "channels": channels,
            "codes": codes,
            "hidden": hidden,
            "blocks": blocks,
            "drawing": drawing,
            "balance": balance,
        }
        self.balance = balance
        self.norm = nn.BatchNorm2d(codes, affine=False) if balance else None
        self.encoder = Encoder(channels, codes, hidden, blocks)
        self.decoder = Decoder(channels, codes, hidden, blocks) if drawing else None

    def logits(self, image: Tensor) -> Tensor:
        """(B, 3 or 1, 8h, 8w) in [0, 1] -> (B, V, h, w)."""
        said: Tensor = self.encoder(fitting(image, self.config["channels"])).float()
        return said if self.norm is None else self.balance * self.norm(said)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def words(self, image: Tensor) -> Tensor:
        """(B, 3 or 1, 8h, 8w) in [0, 1] -> (B, h w) int64, the likeliest word of each place, row by row."""
        return self.logits(image).argmax(1).flatten(1)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def drawn(self, words: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B, h w) words -> (B, channels, 8h, 8w) in [0, 1]. Raises EcgError where there is no decoder."""
        if self.decoder is None:
            raise EcgError("this tokenizer has words and no pen: its decoder was left out")
        mixture = functional.one_hot(words, self.config["codes"]).to(self.encoder.say.weight.dtype)
        return self.decoder(mixture.transpose(1, 2).unflatten(2, grid)).clamp(0, 1)

    def forward(self, image: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        """image in [0, 1] -> (the image drawn again from Gumbel-softmax mixtures of words, logits (B, V, h, w)).

        Jang E et al. Categorical reparameterization with Gumbel-softmax. ICLR 2017. Raises EcgError where there is no decoder.
        """
        if self.decoder is None:
            raise EcgError("this tokenizer has words and no pen: its decoder was left out")
        logits = self.logits(image)
        return self.decoder(functional.gumbel_softmax(logits, temperature, dim=1)), logits


def fitting(image: Tensor, channels: int) -> Tensor:
    """Grey for a tokenizer of colours three times, colours for one of grey as their brightness (ITU-R BT.601)."""
    if image.shape[1] == channels:
        return image
    if image.shape[1] == 1:
        return image.expand(-1, channels, -1, -1)
    weights = torch.tensor([0.299, 0.587, 0.114], device=image.device, dtype=image.dtype)
    return (image * weights[:, None, None]).sum(1, keepdim=True)


# ---- DALL-E's weights ----------------------------------------------------------------------------------------------------

_KEYS: Mapping[str, str] = {
    r"blocks\.input\.(w|b)": "encoder.enter.",
    r"blocks\.group_(\d)\.block_(\d+)\.id_path\.(w|b)": "encoder.groups.{}.{}.straight.",
    r"blocks\.group_(\d)\.block_(\d+)\.res_path\.conv_(\d)\.(w|b)": "encoder.groups.{}.{}.convs.{}.",
    r"blocks\.output\.conv\.(w|b)": "encoder.say.",
}


def dall_e(path: str | Path) -> DiscreteVAE:
    """DALL-E's encoder, from its state dict (.safetensors, .pt or .pth that holds nothing but tensors), of any width and
    vocabulary; without a decoder, which no target needs.

    The published encoder.pkl is a pickle of the whole module and is not opened here: where nothing can be harmed, write
    `torch.load("encoder.pkl").state_dict()` to a .safetensors. Raises EcgError where the file is another.
    """
    state: dict[str, Tensor] = {}
    strange = []
    for key, value in tensors(path).items():
        for pattern, target in _KEYS.items():
            found = re.fullmatch(pattern, key)
            if found:
                *numbers, last = found.groups()
                name = target.format(*(int(n) - 1 for n in numbers))
                state[name + {"w": "weight", "b": "bias"}[last]] = value.detach().float()
                break
        else:
            strange.append(key)
    try:
        if strange:
            raise EcgError(f"not DALL-E's encoder: {len(strange)} tensors of unknown meaning ({', '.join(strange[:5])})")
        if "encoder.enter.weight" not in state or "encoder.say.weight" not in state:
            raise EcgError("not DALL-E's encoder: its first or last layer is not there")
        hidden, channels = state["encoder.enter.weight"].shape[:2]
        blocks = len({k.split(".")[3] for k in state if k.startswith("encoder.groups.0.")})
        codes = state["encoder.say.weight"].shape[0]
        model = DiscreteVAE(channels=channels, codes=codes, hidden=hidden, blocks=blocks, drawing=False, balance=0.0)
        model.load_state_dict(state)
    except RuntimeError as fault:
        raise EcgError(f"not DALL-E's encoder: {str(fault).splitlines()[-1].strip()}", path=path) from fault
    except EcgError as fault:
        raise fault.at(path) from fault
    return model
