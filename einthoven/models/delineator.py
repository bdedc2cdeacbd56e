"""The delineator: a two-stream U-Net that marks P, QRS and T in every lead and in all leads together.

Letters: B records, L leads, T samples at 250 Hz, C channels.

Reading a wave's bounds is a task for one lead; knowing that there is a wave, and of which kind, is a task for all leads and
several beats. So there are two streams. The *lead stream* runs the same weights over every lead; the *record stream* is as
wide but runs once, and carries rhythm (dilated convolutions over some seconds at 16 Hz). At every level the record stream
takes the mean and the maximum over leads, and each lead takes back what the record stream made of them. Nothing depends on
the number, names or order of the leads, and the record stream costs a twelfth.

U-Net: Ronneberger 2015; for delineation Moskalenko 2019 (arXiv 1912.05809) and Joung 2024. Pooling over a set: Zaheer 2017.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

FS = 250  # Hz, the rate of the input and of the marks; segments come at half of it
STRIDE = 16  # T must be a multiple of this
CLASSES = ("none", "P", "QRS", "T")
MARKS = 9  # the fiducials of einthoven.beats.fiducials, in that order


def conv(c: int, d: int, width: int, *, stride: int = 1, dilation: int = 1) -> nn.Module:
    """(B, c, L, T) -> (B, d, L, T / stride): convolution along time with normalisation, no activation."""
    pad = dilation * (width - stride) // 2 if stride == 1 else (width - stride) // 2
    return nn.Sequential(
        nn.Conv2d(c, d, (1, width), (1, stride), (0, pad), (1, dilation), bias=False),
        nn.BatchNorm2d(d),
    )


def over_leads(x: Tensor) -> Tensor:
    """(B, C, L, T) -> (B, 2C, 1, T): mean and maximum over leads."""
    # The same maximum twice: pooling has the quicker gradient, the reduction exports with any number of leads.
    most = nn.functional.max_pool2d(x, (x.shape[2], 1)) if x.requires_grad else x.amax(2, keepdim=True)
    return torch.cat([x.mean(2, keepdim=True), most], 1)


def longer(x: Tensor) -> Tensor:
    """(B, C, L, T) -> (B, C, L, 2T): every sample twice."""
    # The same as one operator of ONNX; not in training, where torch 2.13's compiler loses the gradient through it.
    if not x.requires_grad:
        return nn.functional.interpolate(x, scale_factor=(1.0, 2.0), mode="nearest")
    b, c, l, t = x.shape
    return x.unsqueeze(-1).expand(b, c, l, t, 2).reshape(b, c, l, 2 * t)


class Exchange(nn.Module):  # type: ignore[misc]
    """One level of both streams: leads tell the record, the record thinks, each lead reads it and thinks."""

    def __init__(self, lead: int, record_in: int, record: int, width: int) -> None:
        super().__init__()
        self.listen = conv(2 * lead + record_in, record, width)
        self.tell = nn.Conv2d(record, lead, 1)
        self.think = conv(lead, lead, width)

    def forward(self, x: Tensor, r: Tensor | None) -> tuple[Tensor, Tensor]:
        """x (B, lead, L, T), r (B, record_in, 1, T) or None -> the same two, r with `record` channels."""
        heard = over_leads(x)
        r = self.listen(heard if r is None else torch.cat([heard, r], 1)).relu()
        return (x + self.think(x) + self.tell(r)).relu(), r


class Rhythm(nn.Module):  # type: ignore[misc]
    """Residual dilated convolutions of the record stream at 16 Hz, and the mean over all time: beats in their context."""

    def __init__(self, c: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.steps = nn.ModuleList(nn.Sequential(conv(c, c, 3, dilation=d), nn.ReLU(), conv(c, c, 1)) for d in dilations)
        self.whole = nn.Conv2d(c, c, 1)

    def forward(self, r: Tensor) -> Tensor:
        """(B, c, 1, T) -> the same."""
        for step in self.steps:
            r = (r + step(r)).relu()
        return r + self.whole(r.mean(3, keepdim=True))


class Delineator(nn.Module):  # type: ignore[misc]
    """See the head of this file.

    Args:
        lead: channels of the lead stream at 125, 62.5, 31 and 16 Hz.
        record: channels of the record stream at the same rates.
        dilations: of the rhythm convolutions.
    """

    def __init__(
        self,
        lead: tuple[int, ...] = (32, 48, 64, 80),
        record: tuple[int, ...] = (32, 48, 64, 96),
        dilations: tuple[int, ...] = (1, 2, 4, 8, 16),
    ) -> None:
        super().__init__()
        self.stem = conv(1, lead[0], 10, stride=2)
        depth = len(lead)
        before = (0, *record[:-1])
        self.encode = nn.ModuleList(Exchange(lead[i], before[i], record[i], 5) for i in range(depth))
        self.shrink = nn.ModuleList(conv(lead[i], lead[i + 1], 4, stride=2) for i in range(depth - 1))
        self.shrink_record = nn.ModuleList(conv(record[i], record[i], 4, stride=2) for i in range(depth - 1))
        self.rhythm = Rhythm(record[-1], dilations)
        self.deep = Exchange(lead[-1], record[-1], record[-1], 3)
        self.grow = nn.ModuleList(nn.Conv2d(lead[i + 1], lead[i], 1) for i in range(depth - 1))
        self.grow_record = nn.ModuleList(nn.Conv2d(record[i + 1], record[i], 1) for i in range(depth - 1))
        self.decode = nn.ModuleList(Exchange(lead[i], record[i], record[i], 5) for i in range(depth - 1))
        self.lead_waves = nn.Conv2d(lead[0], len(CLASSES), 1)
        self.lead_marks = nn.Conv2d(lead[0], 2 * MARKS, 1)
        self.record_waves = nn.Conv2d(record[0], len(CLASSES), 1)
        self.record_marks = nn.Conv2d(record[0], 2 * MARKS, 1)
        for head in (self.lead_marks, self.record_marks):
            nn.init.constant_(head.bias, -5.0)  # marks are rare: about one sample in two hundred

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Compressed mV at 250 Hz (see einthoven.beats.delineate.prepare) to logits.

        Args:
            x: (B, L, T), T a multiple of 16.

        Returns:
            lead_waves (B, 4, L, T/2), lead_marks (B, 9, L, T), record_waves (B, 4, T/2), record_marks (B, 9, T): logits of
            the segments (softmax over axis 1) and of the fiducials (sigmoid); rhythm (B, C, T/16) and leads (B, C, L, T/2).
        """
        x = self.stem(x.unsqueeze(1)).relu()
        r: Tensor | None = None
        skips: list[tuple[Tensor, Tensor]] = []
        for level, exchange in enumerate(self.encode):
            x, r = exchange(x, r)
            if level < len(self.shrink):
                skips.append((x, r))
                x, r = self.shrink[level](x).relu(), self.shrink_record[level](r).relu()
        assert r is not None
        rhythm = r = self.rhythm(r)
        x, r = self.deep(x, r)
        for level in reversed(range(len(skips))):
            skip, skip_record = skips[level]
            x = (longer(self.grow[level](x)) + skip).relu()
            r = (longer(self.grow_record[level](r)) + skip_record).relu()
            x, r = self.decode[level](x, r)
        return {
            "lead_waves": self.lead_waves(x),
            "lead_marks": interleave(self.lead_marks(x)),
            "record_waves": self.record_waves(r).squeeze(2),
            "record_marks": interleave(self.record_marks(r)).squeeze(2),
            "rhythm": rhythm.squeeze(2),
            "leads": x,
        }


def interleave(x: Tensor) -> Tensor:
    """(B, 2M, L, T) -> (B, M, L, 2T): channel m holds the even, M + m the odd samples of mark m."""
    b, c, l, t = x.shape
    return x.reshape(b, 2, c // 2, l, t).permute(0, 2, 3, 4, 1).reshape(b, c // 2, l, 2 * t)
