"""ECG-FM (McKeen et al., ECG-FM: An open electrocardiogram foundation model, arXiv:2408.05178): wav2vec 2.0 for ECGs.

    signal (B, L, T) --4 convolutions, 16 samples a token--> (B, N, C) --LayerNorm, Linear--> (B, N, D)
        --+ convolutional position, LayerNorm, 12 post-norm transformer layers--> (B, N, D) --mean over N--> head

The published weights (MIT) come in through `models/convert.py`; input is the preset "ecg-fm": 500 Hz, each lead
z-scored over the whole recording, 5 s. Architecture after bowang-lab/ECG-FM and Jwoo5/fairseq-signals, re-implemented.

B batch, L leads, T samples, C channels of the convolutions, N = T // 16 tokens (32 ms each), D width.
"""

from __future__ import annotations

import math
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from einthoven.models.signal.model import Backbone, SignalModel
from einthoven.record import EcgError

STRIDE = 16  # samples a token: four convolutions of stride 2
WINDOW = 2500  # samples that the published weights were trained on: 5 s at 500 Hz


class Features(nn.Module):  # type: ignore[misc]
    """(B, L, T) -> (B, C, N): four convolutions (kernel 2, stride 2, no bias) with GELU. Each channel of the first is
    normalised over time (GroupNorm, a group a channel), so the scale of a lead cannot reach what follows."""

    def __init__(self, leads: int, channels: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv1d(leads if i == 0 else channels, channels, 2, 2, bias=False) for i in range(4))
        for conv in self.convs:
            nn.init.kaiming_normal_(conv.weight)
        self.norm = nn.GroupNorm(channels, channels)

    def forward(self, signal: Tensor) -> Tensor:
        x = F.gelu(self.norm(self.convs[0](signal)))
        for conv in self.convs[1:]:
            x = F.gelu(conv(x))
        return x


class Position(nn.Module):  # type: ignore[misc]
    """(B, N, D) -> (B, N, D): a grouped convolution of 128 tokens (4 s) says where a token stands among its neighbours.

    Its weight is `gain` (1, 1, K) times `direction` (D, D / groups, K) brought to length 1 for each of the K taps (weight
    normalisation with dim=2, as in wav2vec 2.0)."""

    def __init__(self, width: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.groups, self.kernel = groups, kernel
        direction = nn.init.normal_(
            nn.Parameter(nn.Conv1d(width, width, kernel, groups=groups).weight), 0, math.sqrt(4 / (kernel * width))
        )
        self.direction = direction
        self.gain = nn.Parameter(direction.detach().norm(dim=(0, 1), keepdim=True))
        self.bias = nn.Parameter(direction.new_zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.direction * (self.gain / self.direction.norm(dim=(0, 1), keepdim=True))
        y = F.conv1d(x.transpose(1, 2), weight, self.bias, padding=self.kernel // 2, groups=self.groups)
        return F.gelu(y[..., : x.shape[1]]).transpose(1, 2)  # an even kernel gives one token too many


class Attention(nn.Module):  # type: ignore[misc]
    """Self-attention (B, N, D) -> (B, N, D). The four projections are separate, so that LoRA can choose among them."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (p(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj))
        y = F.scaled_dot_product_attention(
            q, k, v, dropout_p=self.dropout if self.training else 0.0
        )  # (B, heads, N, D / heads)
        out: Tensor = self.out_proj(y.transpose(1, 2).flatten(2))
        return out


class FeedForward(nn.Module):  # type: ignore[misc]
    """(B, N, D) -> (B, N, D), each token for itself."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class Layer(nn.Module):  # type: ignore[misc]
    """A transformer layer that normalises after each residual sum. What `attention` and `ffn` return is what is added to the
    stream: a bottleneck adapter goes behind them."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float, attention_dropout: float) -> None:
        super().__init__()
        self.attention = Attention(width, heads, attention_dropout)
        self.attention_norm = nn.LayerNorm(width)
        self.ffn = FeedForward(width, hidden)
        self.ffn_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attention_norm(x + self.dropout(self.attention(x)))
        out: Tensor = self.ffn_norm(x + self.dropout(self.ffn(x)))
        return out


class Encoder(nn.Module):  # type: ignore[misc]
    """Everything between the signal and the pooled tokens; what pre-training trains and the published checkpoint holds."""

    def __init__(
        self,
        leads: int,
        channels: int,
        width: int,
        depth: int,
        heads: int,
        hidden: int,
        kernel: int,
        groups: int,
        dropout: float,
        attention_dropout: float,
        input_dropout: float,
    ) -> None:
        super().__init__()
        self.features = Features(leads, channels)
        self.features_norm = nn.LayerNorm(channels)
        self.project = nn.Linear(channels, width)
        self.position = Position(width, kernel, groups)
        self.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(Layer(width, heads, hidden, dropout, attention_dropout) for _ in range(depth))
        self.input_dropout = nn.Dropout(input_dropout)
        self.dropout = nn.Dropout(dropout)
        self.layers.apply(_bert)

    def tokens(self, features: Tensor) -> Tensor:
        """Normalised features (B, N, C) -> tokens (B, N, D), before anything is masked."""
        out: Tensor = self.input_dropout(self.project(features))
        return out

    def contextual(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """Tokens (B, N, D) -> the output of each layer, all (B, N, D)."""
        x = self.dropout(self.norm(tokens + self.position(tokens)))
        outputs = []
        for layer in self.layers:
            x = layer(x)
            outputs.append(x)
        return tuple(outputs)

    def forward(self, signal: Tensor) -> tuple[Tensor, ...]:
        """(B, L, T) -> the output of each layer, all (B, N, D)."""
        return self.contextual(self.tokens(self.features_norm(self.features(signal).transpose(1, 2))))


class EcgFm(SignalModel):
    """ECG-FM with a linear head on the mean over time.

    `window`: an ECG of several whole windows of so many samples is read window by window, and the head gets the mean over all
    tokens, so the logits are the mean of the windows' logits; None reads any length at once. The published weights know
    2500 samples (5 s). `leads` may be any number (1 for the single-lead segments of the PEFT paper), the length any from 16
    samples on. Dropout is 0 when fairseq-signals fine-tunes, 0.1 (all three) when it pre-trains.

    Raises EcgError where the signal is shorter than a token, or is not made of whole windows.
    """

    def __init__(
        self,
        *,
        leads: int = 12,
        outputs: int = 5,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        hidden: int = 3072,
        channels: int = 256,
        kernel: int = 128,
        groups: int = 16,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        input_dropout: float = 0.0,
        window: int | None = None,
    ) -> None:
        super().__init__()
        if width % heads or width % groups or kernel % 2:
            raise EcgError(
                f"ecg-fm: width {width} must be a multiple of heads {heads} and groups {groups}, kernel {kernel} even"
            )
        self.config: dict[str, Any] = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        self.encoder = Encoder(
            leads, channels, width, depth, heads, hidden, kernel, groups, dropout, attention_dropout, input_dropout
        )
        self.window = window
        self.new_head(outputs)

    def backbone(self, signal: Tensor) -> Backbone:
        batch, _, samples = signal.shape
        if samples < STRIDE:
            raise EcgError(f"ecg-fm needs {STRIDE} samples or more, not {samples}")
        windows = 1
        if self.window is not None and samples > self.window:
            windows = samples // self.window
            if windows * self.window != samples:
                raise EcgError(f"ecg-fm: {samples} samples are not whole windows of {self.window}")
            # (B, L, W * T) -> (B * W, L, T): a window never sees another
            signal = signal.unflatten(2, (windows, self.window)).transpose(1, 2).flatten(0, 1)
        layers = self.encoder(signal)
        if windows > 1:
            layers = tuple(x.reshape(batch, -1, x.shape[-1]) for x in layers)  # (B * W, N, D) -> (B, W * N, D)
        return Backbone(layers[-1].mean(1), tuple(x.transpose(1, 2) for x in layers), {})

    def new_head(self, outputs: int) -> None:
        self.head = nn.Linear(self.config["width"], outputs)
        nn.init.xavier_uniform_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.config["outputs"] = outputs


def _bert(module: nn.Module) -> None:
    """Initial weights of the layers as in BERT: N(0, 0.02), no bias."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0, 0.02)
        nn.init.zeros_(module.bias)
