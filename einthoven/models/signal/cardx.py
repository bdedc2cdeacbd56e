"""CardX: a mixture of architectures. A router sends every ECG to two of four experts, each of another kind.

    signal (B, L, T) --Router--> two experts an ECG, with weights
                     --those two experts--> 256 numbers each, weighted: embedding (B, 512) --Linear--> logits (B, K)

Bickmann L et al. ExChanGeAI: an end-to-end platform and efficient foundation model for electrocardiogram analysis and
fine-tuning, sections 4.5 and 4.6. Neither code nor sizes are public: the paper names the experts, the router, the losses, 512
numbers, 15 M parameters and 201 M MACs ("FLOPS" there) at the largest sparse activation. What it leaves open is chosen here:

- *Experts.* XceptionTime and InceptionTime in their published widths cost 243 and 455 M MACs at 100 Hz; they get a fifth of the
  samples (a strided convolution to 32 channels first), as XResNet-18 gets half. The transformer is 6 x 256 over patches of
  0.5 s with tAPE. Each expert's last map is averaged to 20 positions, mixed to 256 channels, and all of it, not its mean over
  time, goes through one linear layer to 256 numbers: what is to be drawn again from the embedding needs to know when. With
  this the model has 15.1 M parameters and 200.3 M MACs where it is dearest (transformer and InceptionTime).
- *Weights.* The two gates, normalised to a mean of one, multiply what their experts say, or the router would get no gradient.
  The halves stand in the order of the table of experts, not of the gates: two gates that cross change nothing abruptly.
- *Routing in training* (noisy top-k: Shazeer N et al. ICLR 2017; Gumbel-softmax: Jang E et al. ICLR 2017): logits get normal
  noise of a learned size, then Gumbel noise, and go through a softmax at a temperature that training lowers (`temperature`,
  saved with the weights). In eval there is no noise.
- *Balance loss* (Fedus W et al. J Mach Learn Res 2022;23:1): experts times the sum over experts of (share of the choices) x
  (mean probability); 1 where all are alike. *Entropy loss*: one minus the mean entropy of an ECG's route in units of its
  maximum; both are against "expert dropout", so it is low entropy that costs. The paper gives no sign.
- *Sparse.* In eval an expert sees only the ECGs sent to it. In training all experts see all, and what was not chosen is left
  out after: a BatchNorm over the two or three ECGs of a batch that came by would be noise, and every rank of a distributed run
  has a gradient for everything. An export to ONNX takes the same path, and its result is the same.

The head is one linear layer; with two outputs it has the paper's 1,026 tuned parameters. `Heads` are what pre-training puts on
instead (train/pretrain_cardx.py), and takes off again.

B batch, L leads, T samples, E experts, N positions, D embedding, K outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from einthoven.models.signal.inception_time import InceptionTime, batch_norm
from einthoven.models.signal.model import Backbone, SignalModel
from einthoven.models.signal.patch_transformer import PatchTransformer
from einthoven.models.signal.xception_time import XceptionTime
from einthoven.models.signal.xresnet import XResNet
from einthoven.record import EcgError

PATCH = 50  # samples; T is a multiple of it, and there are T / PATCH positions
EXPERTS = ("xception-time", "inception-time", "xresnet", "transformer")


def stem(c: int, d: int, kernel: int, stride: int) -> nn.Sequential:
    """(B, c, T) -> (B, d, T / stride): convolution, BatchNorm, ReLU."""
    return nn.Sequential(nn.Conv1d(c, d, kernel, stride, (kernel - 1) // 2, bias=False), batch_norm(d), nn.ReLU())


def averaged(n: int, m: int) -> Tensor:
    """(n, m), by which n positions are multiplied to become m: each the mean of its share of them."""
    matrix = torch.zeros(n, m, dtype=torch.float64)
    for j in range(m):
        for i in range(j * n // m, -(-(j + 1) * n // m)):  # position i covers [i, i + 1) of n
            matrix[i, j] = min(i + 1, (j + 1) * n / m) - max(i, j * n / m)
    return (matrix / matrix.sum(0)).float()


class Expert(nn.Module):  # type: ignore[misc]
    """(B, L, T) -> its map (B, 16W, N) and its 256 numbers (B, D / 2)."""

    def __init__(self, kind: str, leads: int, samples: int, width: int, numbers: int) -> None:
        super().__init__()
        self.stem = nn.Sequential()
        self.body: SignalModel
        channels, steps = 32 * width, samples
        if kind in ("xception-time", "inception-time"):
            self.stem, steps = stem(leads, 2 * width, 9, 5), samples // 5
            if kind == "xception-time":
                self.body = XceptionTime(leads=2 * width, width=width)
                self.body.pool = nn.Identity()
            else:
                self.body, channels = InceptionTime(leads=2 * width, width=2 * width), 8 * width
        elif kind == "xresnet":
            self.stem, steps = stem(leads, 2 * width, 5, 2), (samples - 1) // 64 + 1
            widths, first = [4 * width, 8 * width, 16 * width, 32 * width], [2 * width, 2 * width, 4 * width]
            self.body = XResNet(
                leads=2 * width, widths=widths, depths=[2, 2, 2, 2], kernel=3, stem=first, expansion=1, both=False
            )
        elif kind == "transformer":
            channels, steps = 16 * width, samples // PATCH
            self.body = PatchTransformer(
                leads=leads, samples=samples, patch=PATCH, width=channels, depth=6, heads=8, positions="tape"
            )
        else:
            raise EcgError(f"cardx: no expert {kind} (there are: {', '.join(EXPERTS)})")
        self.body.head = nn.Identity()
        positions = samples // PATCH
        self.share: Tensor
        self.register_buffer("share", averaged(steps, positions), persistent=False)
        self.mix = nn.Sequential(nn.Conv1d(channels, 16 * width, 1, bias=False), batch_norm(16 * width), nn.ReLU())
        self.last = nn.Linear(16 * width * positions, numbers)

    def forward(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        x = self.body.backbone(self.stem(signal)).maps[-1]  # (B, C, T / 5, 64 or 50)
        x = self.mix(x @ self.share)  # (B, 16W, N)
        return x, self.last(x.flatten(1))


class Router(nn.Module):  # type: ignore[misc]
    """(B, L, T) -> its map (B, 4W, T / 20), logits (B, E) and the size of their noise (B, E)."""

    def __init__(self, leads: int, width: int, experts: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            stem(leads, 2 * width, 15, 5), stem(2 * width, 4 * width, 7, 2), stem(4 * width, 4 * width, 7, 2)
        )
        self.logits, self.noise = nn.Linear(4 * width, experts), nn.Linear(4 * width, experts)

    def forward(self, signal: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.convs(signal)
        mean = x.mean(-1)
        return x, self.logits(mean), functional.softplus(self.noise(mean))


class CardX(SignalModel):
    """See the head of this file.

    Args:
        samples: T, a multiple of 50; other lengths are refused. experts: names in EXPERTS, the same one as often as wanted.
        chosen: how many of them an ECG is sent to. width: W, of XceptionTime; all others go with it. embedding: D.
    """

    def __init__(
        self,
        *,
        leads: int = 12,
        outputs: int = 5,
        samples: int = 1000,
        experts: Sequence[str] = EXPERTS,
        chosen: int = 2,
        width: int = 16,
        embedding: int = 512,
    ) -> None:
        super().__init__()
        if samples % PATCH or embedding % chosen or not 1 <= chosen <= len(experts):
            raise EcgError(
                f"cardx: {samples} samples must be a multiple of {PATCH}, the embedding of {embedding} divide by the {chosen} "
                f"experts chosen, and these be among {len(experts)}"
            )
        self.config = {
            "leads": leads,
            "outputs": outputs,
            "samples": samples,
            "experts": list(experts),
            "chosen": chosen,
            "width": width,
            "embedding": embedding,
        }
        self.samples, self.chosen = samples, chosen
        self.router = Router(leads, width, len(experts))
        self.experts = nn.ModuleList(Expert(kind, leads, samples, width, embedding // chosen) for kind in experts)
        self.temperature: Tensor
        self.register_buffer("temperature", torch.ones(()))
        self.head = nn.Linear(embedding, outputs)

    def route(self, signal: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        """-> the chosen experts (B, k) in rising order, their gates (B, k) with mean one, the router's map, and `aux`."""
        seen, logits, size = self.router(signal)
        scores = logits
        if self.router.training:
            scores = logits + size * torch.randn_like(size)
            scores = scores - torch.empty_like(scores).exponential_().clamp_min(1e-20).log()  # Gumbel noise
        route = (scores / self.temperature).softmax(1)  # (B, E)
        best = route.topk(self.chosen, 1).indices.sort(1).values  # (B, k)
        gates = route.gather(1, best)
        gates = self.chosen * gates / gates.sum(1, keepdim=True)
        clean = logits.softmax(1)
        experts = clean.shape[1]
        share = functional.one_hot(best, experts).to(clean.dtype).mean((0, 1))  # (E,) of all choices
        entropy = -(clean * clean.clamp_min(1e-9).log()).sum(1).mean()
        aux = {
            "route": route,
            "chosen": best,
            "balance_loss": experts * (share * clean.mean(0)).sum(),
            "entropy_loss": 1 - entropy / torch.log(torch.tensor(float(max(experts, 2)))),
        }
        return best, gates, seen, aux

    def backbone(self, signal: Tensor) -> Backbone:
        """-> the embedding (B, D); maps: the router's (B, 4W, T / 20), the chosen experts' side by side (B, k 16W, N); aux:
        route (B, E), chosen (B, k), balance_loss, entropy_loss. Raises EcgError for another length."""
        if signal.shape[-1] != self.samples:
            raise EcgError(f"cardx for {self.samples} samples got {signal.shape[-1]}")
        best, gates, seen, aux = self.route(signal)
        dense = self.training or torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export()
        maps, numbers = (self._all if dense else self._sparse)(signal, best)  # (B, k, 16W, N), (B, k, D / k)
        numbers = numbers * gates[:, :, None]
        return Backbone(numbers.flatten(1), (seen, (maps * gates[:, :, None, None]).flatten(1, 2)), aux)

    def _all(self, signal: Tensor, best: Tensor) -> tuple[Tensor, Tensor]:
        """Every expert on every ECG, then what was chosen."""
        each = [expert(signal) for expert in self.experts]
        maps, numbers = torch.stack([m for m, _ in each], 1), torch.stack([n for _, n in each], 1)  # (B, E, ...)
        to_numbers = best[:, :, None].expand(-1, -1, numbers.shape[2])
        to_maps = best[:, :, None, None].expand(-1, -1, maps.shape[2], maps.shape[3])
        return maps.gather(1, to_maps), numbers.gather(1, to_numbers)

    def _sparse(self, signal: Tensor, best: Tensor) -> tuple[Tensor, Tensor]:
        """Every expert on the ECGs that are sent to it."""
        maps: Tensor | None = None
        numbers: Tensor | None = None
        for e, expert in enumerate(self.experts):
            row, place = (best == e).nonzero(as_tuple=True)
            if not len(row):
                continue
            m, n = expert(signal[row])
            if maps is None or numbers is None:
                maps, numbers = m.new_zeros(*best.shape, *m.shape[1:]), n.new_zeros(*best.shape, *n.shape[1:])
            maps, numbers = maps.index_put((row, place), m), numbers.index_put((row, place), n)
        assert maps is not None and numbers is not None
        return maps, numbers

    def new_head(self, outputs: int) -> None:
        self.config["outputs"] = outputs
        self.head = nn.Linear(self.head.in_features, outputs)


class Heads(nn.Module):  # type: ignore[misc]
    """What CardX learns to say of an embedding in pre-training.

    Args:
        embedding: D. leads, samples: of the beat-aligned signal to be drawn. datasets, features: how many to tell apart.
    """

    def __init__(self, *, embedding: int, leads: int, samples: int, datasets: int, features: int, width: int = 128) -> None:
        super().__init__()
        self.positions = samples // PATCH
        self.spread = nn.Linear(embedding, width * self.positions)

        def longer(c: int, d: int, times: int) -> list[nn.Module]:
            """(B, c, N) -> (B, d, times N)"""
            conv = nn.Conv1d(c, d, 2 * times + 1, padding=times, bias=False)
            return [nn.Upsample(scale_factor=times, mode="nearest"), conv, batch_norm(d), nn.ReLU()]

        self.draw = nn.Sequential(
            *longer(width, width // 2, 5), *longer(width // 2, width // 4, 5), *longer(width // 4, width // 4, 2),
            nn.Conv1d(width // 4, leads, 5, padding=2),
        )  # fmt: skip
        with torch.no_grad():  # begins near a flat line: millivolts are small numbers
            self.draw[-1].weight.mul_(0.1)
        self.qtc = nn.Linear(embedding, 1)
        self.dataset = nn.Linear(embedding, datasets)
        self.features = nn.Linear(embedding, features)

    def forward(self, embedding: Tensor) -> dict[str, Tensor]:
        """(B, D) -> aligned (B, L, T) mV; qtc (B,), standardised; dataset (B, datasets) and features (B, features), logits."""
        x = self.spread(embedding).reshape(embedding.shape[0], -1, self.positions)
        return {
            "aligned": self.draw(x),
            "qtc": self.qtc(embedding).squeeze(1),
            "dataset": self.dataset(embedding),
            "features": self.features(embedding),
        }
