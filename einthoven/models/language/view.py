"""How what is seen of an ECG becomes rows of a language model: an encoder and a connector, or no encoder at all.

    array of a look --encoder--> (B, N, C) --connector--> (B, R, D) rows, which take the places of PLACE in the ids

Encoders: every model of models/table.py by its name (its last map or embedding, without its head), `tower` a vision model of
transformers by path (CLIP, SigLIP, ViT), `patch` a small transformer on patches of each lead, `figures` the network of measured
features. Encoder-free (after ELF: arXiv 2601.18798): `linear` a stretch of all leads flattened, `patches` a stretch of one
lead, `convolution`; and `symbols`, a row of its own for each id.

R is `tokens`, or where none are asked for 50 or more: one row for a whole ECG, as in ECG-Bench, cannot say what is in which
lead and when. An encoder of 50 to 128 places has a row for each; where it has fewer, each place says several rows; where it has
more, neighbours are averaged to 64.

B ECGs, L leads, T samples, N places, C channels, R rows, D width of the language model, F figures.
"""

from __future__ import annotations

import json
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from einthoven.models.language.look import (
    FeatureLook,
    ImageLook,
    Look,
    SignalLook,
    StackedLook,
    SymbolLook,
    TextLook,
    look_of,
)
from einthoven.models.table import MODELS, build
from einthoven.record import EcgError, WrongUse
from einthoven.represent.images import scaled

LEAST, MOST, AVERAGED = 50, 128, 64  # rows an ECG where nobody says how many
CONNECTORS = ("linear", "mlp", "resampler")
FREE = ("linear", "patches", "convolution")  # without an encoder


class Encoder(nn.Module):  # type: ignore[misc]
    """Input (B, ...) -> (B, N, C). `width` is C; `places` is N, None where it depends on the input."""

    width: int
    places: int | None = None

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor: ...


class FromTable(Encoder):
    """A network of models/table.py without its head: its last map, or its embedding where it has no map."""

    def __init__(self, name: str, shape: Sequence[int], options: Mapping[str, Any]) -> None:
        super().__init__()
        given = {**options, "outputs": 1}
        if MODELS[name].kind == "image":
            given |= {"channels": shape[0], "size": [int(n) for n in shape[1:]]}
        elif MODELS[name].kind == "signal":
            given |= {"leads": shape[0], **({"samples": shape[1]} if _takes_samples(name) else {})}
        self.net = build(name, **given)
        self.net.head = nn.Identity()
        with torch.no_grad():
            probe = self._places(torch.zeros(1, *shape), evaluation=True)
        self.places, self.width = probe.shape[1], probe.shape[2]

    def fit(self, arrays: NDArray[np.float32]) -> None:
        """What a network that looks at measured figures needs to see of training ECGs first (its ranks)."""
        if hasattr(self.net, "look"):
            self.net.look(arrays)

    def _places(self, x: Tensor, *, evaluation: bool = False) -> Tensor:
        if evaluation:
            mode = self.net.training
            self.net.eval()
            found = self._places(x)
            self.net.train(mode)
            return found
        inner = self.net.backbone(x)
        if not inner.maps:
            return self.net.embedding(inner.head_input)[:, None]
        return inner.maps[-1].flatten(2).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self._places(x)


def _takes_samples(name: str) -> bool:
    """Does the model's constructor ask how long a signal is?"""
    module, _, cls = MODELS[name].where.partition(":")
    return "samples" in signature(getattr(import_module(f"einthoven.models.{module}"), cls)).parameters


class Tower(Encoder):
    """A vision model of transformers (CLIP's and SigLIP's image sides, ViT): its last hidden states, (B, N, C).

    Args:
        path: a folder or a name; of a model of pictures and words its image side is taken. config: in its place, the words of
            its configuration (model_type and sizes): a network of that shape without weights, as a Bundle has it.
        mean, std: of each colour of what it was trained on; None: as its preprocessor_config.json has them, else 0.5.
        given: (mean, std) by which pictures come; they are taken back.
    """

    def __init__(
        self,
        path: str | None = None,
        config: Mapping[str, Any] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        *,
        given: tuple[Sequence[float], Sequence[float]] = ((0.5,) * 3, (0.5,) * 3),
    ) -> None:
        super().__init__()
        from transformers import AutoConfig, AutoModel

        if (path is None) == (config is None):
            raise WrongUse("a tower needs the path of a vision model (options: {path: ...})")
        if path is not None:
            try:
                shape = AutoConfig.from_pretrained(path)
                shape = getattr(shape, "vision_config", shape)
                self.net = AutoModel.from_pretrained(path, config=shape)
            except (OSError, ValueError) as fault:
                raise EcgError(f"no vision model can be loaded: {str(fault).splitlines()[0]}", path=path) from fault
            trained = _preprocessor(path)
            mean, std = mean or trained.get("image_mean"), std or trained.get("image_std")
        else:
            words = dict(config or {})
            shape = AutoConfig.for_model(words.pop("model_type"), **words)
            self.net = AutoModel.from_config(shape)
        self.width, self.side = int(shape.hidden_size), int(shape.image_size)
        mean, std = (tuple(float(v) for v in values or (0.5,) * 3) for values in (mean, std))
        self.portable: dict[str, Any] = {"config": json.loads(shape.to_json_string()), "mean": list(mean), "std": list(std)}
        # (x * s + m - mean) / std, for pictures that come as (picture - m) / s.
        (m, s), (mean_, std_) = (np.array(v, np.float64) for v in given), (np.array(v) for v in (mean, std))
        self.factor: Tensor
        self.shift: Tensor
        for name, values in (("factor", s / std_), ("shift", (m - mean_) / std_)):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32)[:, None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-2:] != (self.side, self.side):
            x = F.interpolate(x, (self.side, self.side), mode="bilinear", antialias=True)
        hidden: Tensor = self.net(pixel_values=x * self.factor + self.shift).last_hidden_state
        return hidden


def _preprocessor(path: str) -> dict[str, Any]:
    """What preprocessor_config.json says, in a folder or on the Hub's shelf; nothing where there is none."""
    from transformers.utils import cached_file

    try:
        found = cached_file(path, "preprocessor_config.json", _raise_exceptions_for_missing_entries=False)
        said = json.loads(Path(found).read_text(encoding="utf-8")) if found else {}
    except (OSError, ValueError):
        said = {}
    return said if isinstance(said, dict) else {}


class PatchEncoder(Encoder):
    """A small transformer: each lead in `patches` stretches, which look at one another (pre-normalised; Xiong et al. 2020)."""

    def __init__(
        self,
        leads: int,
        samples: int,
        *,
        patches: int = 10,
        width: int = 128,
        depth: int = 3,
        heads: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        from einthoven.models.signal.patch_transformer import Layer

        if samples % patches:
            raise WrongUse(f"{samples} samples are not {patches} patches of one length")
        self.patches, self.width, self.places = patches, width, leads * patches
        self.enter = nn.Linear(samples // patches, width)
        self.lead = nn.Parameter(0.02 * torch.randn(leads, 1, width))
        self.time = nn.Parameter(0.02 * torch.randn(1, patches, width))
        self.layers = nn.ModuleList([Layer(width, heads, 4, dropout) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        cut = x.unflatten(-1, (self.patches, -1))  # (B, L, patches, P)
        y = (self.enter(cut) + self.lead + self.time).flatten(1, 2)
        for layer in self.layers:
            y = layer(y)
        normed: Tensor = self.norm(y)
        return normed


class Segments(Encoder):
    """Encoder-free, ECG-Bench's "Fuyu" where `places` is 1: a stretch of all leads, flattened. Nothing is learned here."""

    def __init__(self, leads: int, samples: int, places: int = 50) -> None:
        super().__init__()
        if samples % places:
            raise WrongUse(f"{samples} samples are not {places} stretches of one length")
        self.places, self.width = places, leads * (samples // places)

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.places or 1, -1)).permute(0, 2, 1, 3).flatten(2)


class Patches(Encoder):
    """Encoder-free, ELF's patches: a stretch of one lead, with which lead and when added behind the connector's place."""

    def __init__(self, leads: int, samples: int, patches: int = 5) -> None:
        super().__init__()
        if samples % patches:
            raise WrongUse(f"{samples} samples are not {patches} patches of one length")
        self.patches, self.places, self.width = patches, leads * patches, samples // patches

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.patches, -1)).flatten(1, 2)


class Convolution(Encoder):
    """Encoder-free, ELF's convolutions: leads -> 64 (kernel 3) -> 128 (kernel 7), averaged to `places` in time."""

    def __init__(self, leads: int, samples: int, places: int = 50) -> None:
        super().__init__()
        self.places, self.width = places, 128
        self.first, self.second = nn.Conv1d(leads, 64, 3, padding=1), nn.Conv1d(64, 128, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        y = F.gelu(self.second(F.gelu(self.first(x))))
        return F.adaptive_avg_pool1d(y, self.places or 1).transpose(1, 2)


class Figures(Encoder):
    """Measured features -> one place of `width`: each figure at its rank among training ECGs (`fit`), the median beat by
    convolutions that keep its positions; both as in the default model (train/default/network.py)."""

    KNOTS = 17

    def __init__(self, width: int = 256, dropout: float = 0.4) -> None:
        super().__init__()
        from einthoven.represent.features import BEAT_LEADS, BEAT_SAMPLES
        from einthoven.represent.features import FIGURES as NAMES

        self.figures, self.leads, self.samples = len(NAMES), len(BEAT_LEADS), BEAT_SAMPLES
        self.width, self.places = width, 1
        self.knots: Tensor
        self.register_buffer("knots", torch.linspace(-1, 1, self.KNOTS)[:, None].repeat(1, self.figures))
        half = width // 2
        self.read = nn.Sequential(
            nn.Dropout(dropout / 2),
            *(nn.Linear(2 * self.figures, half), nn.LayerNorm(half), nn.SiLU(), nn.Dropout(dropout)),
            *(nn.Linear(half, half), nn.LayerNorm(half), nn.SiLU()),
        )
        positions = -(-self.samples // 8)
        self.look = nn.Sequential(
            *(nn.Conv1d(self.leads, 32, 7, padding=3), nn.GELU()),
            *(nn.Conv1d(32, 48, 5, stride=2, padding=2), nn.GELU()),
            *(nn.Conv1d(48, 48, 5, stride=2, padding=2), nn.GELU()),
            *(nn.Conv1d(48, 32, 3, stride=2, padding=1), nn.GELU(), nn.Flatten(), nn.Dropout(dropout)),
            *(nn.Linear(32 * positions, width - half), nn.LayerNorm(width - half), nn.SiLU()),
        )

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def fit(self, vectors: NDArray[np.float32]) -> None:
        """(N, F) features of training ECGs: their quantiles are what a figure is measured by."""
        rows = vectors[:, : self.figures]
        known = np.isfinite(rows).any(0)
        knots = np.zeros((self.KNOTS, self.figures), np.float32)
        knots[:, known] = np.nanquantile(rows[:, known], np.linspace(0, 1, self.KNOTS), axis=0)
        self.knots.copy_(torch.from_numpy(knots))

    def ranks(self, figures: Tensor) -> Tensor:
        """(B, A) -> (B, A) in -1 to 1, 0 where unknown; piecewise linear between the knots, the middle of a tie."""
        low, high = self.knots[:-1], self.knots[1:]
        x = figures.nan_to_num()[:, None]
        share = ((x - low) / (high - low).clamp_min(1e-6)).clamp(0, 1)  # (B, Q - 1, A)
        tied = 0.5 * ((x > low).float() + (x >= low).float())
        share = torch.where(high - low < 1e-6, tied, share).mean(1)
        return torch.where(figures.isnan(), torch.zeros_like(share), 2 * share - 1)

    def forward(self, x: Tensor) -> Tensor:
        figures, beat = x[:, : self.figures], x[:, self.figures :].unflatten(-1, (self.leads, self.samples))
        known = (~figures.isnan()).float()
        read = self.read(torch.cat([self.ranks(figures), known], 1))
        look = self.look(torch.asinh(2 * beat.nan_to_num()))
        return torch.cat([read, look], 1)[:, None]


class Connector(nn.Module):  # type: ignore[misc]
    """(B, N, C) -> (B, R, D). `rows` is R."""

    rows: int

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor: ...


class Projection(Connector):
    """A linear map, or with `deep` an MLP of two layers, of each place; a place says several rows where places are few, and
    neighbours are averaged where they are many. Which row it is is learned."""

    def __init__(self, places: int, channels: int, width: int, tokens: int, *, deep: bool) -> None:
        super().__init__()
        self.places = min(places, tokens)
        self.each = math.ceil(tokens / self.places)
        self.rows = self.places * self.each
        self.norm = nn.LayerNorm(channels)
        out = width * self.each
        self.map: nn.Module = (
            nn.Sequential(nn.Linear(channels, width), nn.GELU(), nn.Linear(width, out)) if deep else nn.Linear(channels, out)
        )
        self.which = nn.Parameter(0.02 * torch.randn(self.rows, width))

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] != self.places:
            x = F.adaptive_avg_pool1d(x.transpose(1, 2), self.places).transpose(1, 2)
        rows: Tensor = self.map(self.norm(x)).unflatten(-1, (self.each, -1)).flatten(1, 2)
        return rows + self.which


class Resampler(Connector):
    """`tokens` learned questions that look at all places (Flamingo's perceiver resampler: Alayrac et al., NeurIPS 2022)."""

    def __init__(self, places: int | None, channels: int, width: int, tokens: int, depth: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.rows = tokens
        heads = next(h for h in (heads, 2, 1) if width % h == 0)
        self.norm, self.enter = nn.LayerNorm(channels), nn.Linear(channels, width)
        self.place = nn.Parameter(0.02 * torch.randn(places or 1, width))
        self.questions = nn.Parameter(0.02 * torch.randn(tokens, width))
        self.looks = nn.ModuleList([Look2(width, heads) for _ in range(depth)])
        self.leave = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        seen = self.enter(self.norm(x))
        if seen.shape[1] == self.place.shape[0]:
            seen = seen + self.place
        rows = self.questions.expand(len(x), -1, -1).to(seen.dtype)
        for look in self.looks:
            rows = look(rows, seen)
        left: Tensor = self.leave(rows)
        return left


class Look2(nn.Module):  # type: ignore[misc]
    """Questions look at places and at one another, then an MLP; all pre-normalised. Its own Linears, so that LoRA reaches
    them."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.then = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.kv, self.out = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, rows: Tensor, seen: Tensor) -> Tensor:
        q = self.q(self.norm(rows)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k, v = self.kv(torch.cat([seen, rows], 1)).chunk(2, -1)
        k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (k, v))
        rows = rows + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return rows + self.mlp(self.then(rows))


class View(nn.Module):  # type: ignore[misc]
    """One way to see an ECG: its look, and how the look's array becomes rows of width D.

    `tokens` is how many rows an ECG takes, 0 for text, None where it depends on the ECG (symbols).
    """

    def __init__(self, words: Mapping[str, Any], width: int, folder: Path | None = None) -> None:
        super().__init__()
        given = dict(words)
        encoder = given.pop("encoder", None)
        options = dict(given.pop("options", {}))
        connector = given.pop("connector", "mlp")
        asked = given.pop("tokens", None)
        self.frozen = bool(given.pop("frozen", False))
        given.pop("weights", None)  # is read where a model is built, not where its shape is
        self.look: Look = look_of(given, folder)
        self.words = dict(words)
        self.tokens: int | None = 0
        if connector not in CONNECTORS:
            raise WrongUse(f"no connector {connector} (there are: {', '.join(CONNECTORS)})")
        if asked is not None and int(asked) < 1:
            raise WrongUse(f"an ECG takes at least one row, not {asked}")
        if isinstance(self.look, TextLook):
            return
        if isinstance(self.look, SymbolLook):
            self.tokens = None
            self.rows = nn.Embedding(self.look.tokenizer.size, width)
            return
        self.encoder = encoder_of(encoder, self.look, options)
        channels, places = self.encoder.width, self.encoder.places
        tokens = int(asked) if asked is not None else _tokens(places)
        if connector == "resampler":
            self.connector: Connector = Resampler(places, channels, width, tokens)
        else:
            self.connector = Projection(places or tokens, channels, width, tokens, deep=connector == "mlp")
        self.tokens = self.connector.rows
        if self.frozen:
            self.encoder.requires_grad_(False)

    def count(self, array: NDArray[Any] | None) -> int:
        """How many rows this array takes."""
        if self.tokens is not None:
            return self.tokens
        if array is None:
            raise EcgError("an ECG in symbols that was not recorded takes no known number of rows")
        return len(array)

    def text(self, array: NDArray[Any] | None) -> str:
        """What is told of this ECG in words; empty but for a text."""
        return bytes(array.astype(np.uint8)).decode() if isinstance(self.look, TextLook) and array is not None else ""

    def tensor(self, arrays: Sequence[NDArray[Any]]) -> Tensor:
        """Arrays of B ECGs as the network takes them: (B, ...), or ids end to end."""
        if isinstance(self.look, SymbolLook):
            return torch.from_numpy(np.concatenate(arrays).astype(np.int64))
        stacked = np.stack(arrays)
        if isinstance(self.look, ImageLook):
            stacked = scaled(self.look.form, stacked)
        return torch.from_numpy(np.ascontiguousarray(stacked, np.float32))

    def train(self, mode: bool = True) -> View:
        """As in torch, but a frozen encoder stays in evaluation: it says the same of the same ECG."""
        super().train(mode)
        if self.frozen and hasattr(self, "encoder"):
            self.encoder.train(False)
        return self

    def seen(self, x: Tensor) -> Tensor:
        """(B, ...) -> (B, N, C): what the encoder says, which is the same in every epoch where it is frozen."""
        if self.frozen:
            with torch.no_grad():
                found: Tensor = self.encoder(x)
        else:
            found = self.encoder(x)
        return found

    def forward(self, x: Tensor, *, encoded: bool = False) -> Tensor:
        """(B, ...) -> (B, R, D), or of symbols (N,) -> (N, D). `encoded`: x is what `seen` gave."""
        if isinstance(self.look, SymbolLook):
            found: Tensor = self.rows(x)
        else:
            found = self.connector(x if encoded else self.seen(x))
        return found


def _tokens(places: int | None) -> int:
    """Rows of an encoder of so many places, where nobody says how many."""
    if places is None or places > MOST:
        return AVERAGED
    return places * math.ceil(LEAST / places)


def encoder_of(name: str | None, look: Look, options: Mapping[str, Any]) -> Encoder:
    """The encoder of this name for what the look gives. Raises EcgError where the two do not go together."""
    shape = shape_of(look)
    try:
        if isinstance(look, FeatureLook) and name in (None, "figures"):
            return Figures(**options)
        if isinstance(look, SignalLook):
            leads, samples = shape
            if name in (None, "linear"):
                return Segments(leads, samples, **options)
            if name == "patches":
                return Patches(leads, samples, **options)
            if name == "convolution":
                return Convolution(leads, samples, **options)
            if name == "patch":
                return PatchEncoder(leads, samples, **options)
        if name == "tower" and isinstance(look, ImageLook | StackedLook):
            given = ((0.5,) * 3, (0.5,) * 3) if isinstance(look, StackedLook) else (look.form.mean, look.form.std)
            return Tower(**options, given=given)
        kind = "signal" if isinstance(look, SignalLook) else "features" if isinstance(look, FeatureLook) else "image"
        row = MODELS.get((name or "").replace("_", "-"))
        if row is None or row.kind != kind:
            fits = [n for n, m in MODELS.items() if m.kind == kind]
            fits += {"signal": [*FREE, "patch"], "image": ["tower"], "features": ["figures"]}[kind]
            raise WrongUse(f"no encoder {name} of a {kind} (there are: {', '.join(fits)})")
        return FromTable(row.name, shape, options)
    except TypeError as fault:
        raise WrongUse(f"encoder {name}: {fault}") from fault


def shape_of(look: Look) -> tuple[int, ...]:
    """Of one input of the network: (leads, samples), (3, H, W) or (F,)."""
    if isinstance(look, SignalLook):
        if look.preset.leads is None or look.preset.length is None:
            raise WrongUse(f"preset {look.preset.name} does not bring ECGs to one shape: no encoder can be built for it")
        return len(look.preset.leads), look.preset.length
    if isinstance(look, StackedLook):
        return 3, *look.size
    if isinstance(look, ImageLook):
        return 3, *look.form.size
    from einthoven.represent.features import NAMES

    return (len(NAMES),)
