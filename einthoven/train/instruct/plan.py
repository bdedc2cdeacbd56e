"""What a recipe of a language model will need, before a GPU is rented: parameters, memory, arithmetic, hours.

    einthoven plan recipes/llama32-vision-lora-ecg.yaml --gpu H200 --gpus 4

Parameters are counted on the model itself, built without weights. The rest is computed, and says so: matrix products and
attention of one forward pass, layer by layer; a backward pass costs one more where only activations need a gradient, two more
where weights do, and recomputing layers one more. Hours follow from the share of the GPU's peak that is reached, which nobody
knows before it is measured: it is an assumption that the reader sets.

T tokens of text, V of pictures, B conversations a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from torch import nn

from einthoven.models.language.build import build
from einthoven.models.language.elm import Elm
from einthoven.models.language.speaker import Speaker
from einthoven.record import WrongUse
from einthoven.train.instruct import moves
from einthoven.train.instruct.recipe import InstructRecipe
from einthoven.tune.trainable import Trainable


@dataclass(frozen=True)
class Gpu:
    """Memory in GB (10^9 bytes) and dense bfloat16 peak in TFLOP/s, by the maker's data sheet (SXM)."""

    name: str
    memory: float
    peak: float


GPUS: Mapping[str, Gpu] = MappingProxyType(
    {g.name: g for g in (Gpu("A100", 80, 312), Gpu("H100", 80, 989), Gpu("H200", 141, 989), Gpu("B200", 180, 2250))}
)


@dataclass(frozen=True)
class Plan:
    """`memory` GB a GPU by part; `flops` of one conversation by part, 10^12, forward; `factor` of them that training takes."""

    recipe: InstructRecipe
    gpu: Gpu
    gpus: int
    trainable: Trainable
    memory: Mapping[str, float]
    flops: Mapping[str, float]
    training: float  # 10^12 a conversation
    samples: int
    text: int
    picture: int
    mfu: float
    notes: tuple[str, ...]

    @property
    def total_memory(self) -> float:
        return sum(self.memory.values())

    @property
    def total(self) -> float:
        """10^12 operations of the whole run."""
        return self.training * self.samples * self.recipe.epochs

    @property
    def gpu_hours(self) -> float:
        return self.total / (self.gpu.peak * self.mfu) / 3600

    def to_dict(self) -> dict[str, Any]:
        return {
            "computed": True,
            "family": self.recipe.family,
            "method": self.recipe.method,
            "gpu": self.gpu.name,
            "gpus": self.gpus,
            "parameters": self.trainable.parameters,
            "trainable": self.trainable.trainable,
            "memory_gb": {k: round(v, 3) for k, v in self.memory.items()},
            "memory_total_gb": round(self.total_memory, 3),
            "tflop_forward": {k: round(v, 4) for k, v in self.flops.items()},
            "tflop_training": round(self.training, 4),
            "samples": self.samples,
            "epochs": self.recipe.epochs,
            "text_tokens": self.text,
            "picture_tokens": self.picture,
            "mfu_assumed": self.mfu,
            "gpu_hours": round(self.gpu_hours, 3),
            "notes": list(self.notes),
        }

    def words(self) -> str:
        """For eyes."""
        share = "fits" if self.total_memory < 0.92 * self.gpu.memory else "does NOT fit"
        each = self.recipe.batch / (self.gpus * self.recipe.accumulate)
        lines = [
            f"{self.recipe.family}, {self.recipe.method}: computed, not measured",
            "",
            self.trainable.text(),
            "",
            f"memory of one {self.gpu.name} ({self.gpu.memory:g} GB), {each:g} conversations a GPU, {self.gpus} GPUs:",
            *(f"  {name:<44}{value:9.2f} GB" for name, value in self.memory.items()),
            f"  {'together':<44}{self.total_memory:9.2f} GB: {share}",
            "",
            f"arithmetic of one conversation, {self.text} tokens of text and {self.picture} of the picture:",
            *(f"  {name:<44}{value:9.2f} TFLOP" for name, value in self.flops.items()),
            f"  {'forward':<44}{sum(self.flops.values()):9.2f} TFLOP",
            f"  {'a training step of it':<44}{self.training:9.2f} TFLOP",
            "",
            f"{self.samples:,} conversations, {self.recipe.epochs} epochs: {self.total:.3g} TFLOP; at {self.mfu:.0%} of "
            f"{self.gpu.peak:g} TFLOP/s {self.gpu_hours:,.1f} GPU hours, "
            f"{self.gpu_hours / self.gpus:,.1f} hours on {self.gpus}",
            *(f"note: {note}" for note in self.notes),
        ]
        return "\n".join(lines)


def plan(
    recipe: InstructRecipe, gpu: str = "H200", *, gpus: int = 1, samples: int = 1_000_000, text: int = 256, mfu: float = 0.4
) -> Plan:
    """What `recipe` needs on `gpus` of this GPU for so many conversations of `text` tokens each.

    Raises EcgError for a GPU that is not known, or a model whose size cannot be told without its weights.
    """
    if gpu not in GPUS:
        raise WrongUse(f"no GPU {gpu} (there are: {', '.join(GPUS)})")
    if gpus < 1 or samples < 1 or text < 1 or not 0 < mfu <= 1:
        raise WrongUse("gpus, samples and tokens are at least 1, the share of the peak lies in (0, 1]")
    design = recipe.design
    notes = []
    if design.model is not None and not design.options:
        notes.append(f"sizes are those that transformers has for family {design.family}; {design.model} was not looked at")
    model = build(design, init="meta")
    _tiles(model, recipe)
    trainable = moves.apply(model, recipe)
    picture = pictured(model)
    flops, training = arithmetic(model, recipe, text, picture)
    memory = memory_of(model, recipe, trainable, text, picture, gpus)
    return Plan(recipe, GPUS[gpu], gpus, trainable, memory, flops, training, samples, text, picture, mfu, tuple(notes))


def _tiles(model: Speaker, recipe: InstructRecipe) -> None:
    """The recipe's tiles and sizes, where they are others than the family's."""
    vision = getattr(model.lm.config, "vision_config", None)
    if vision is None:
        return
    size = recipe.processor.get("size")
    if isinstance(size, Mapping) and "height" in size and hasattr(vision, "image_size"):
        vision.image_size = int(size["height"])
    if recipe.processor.get("max_image_tiles") and hasattr(vision, "max_num_tiles"):
        vision.max_num_tiles = int(recipe.processor["max_image_tiles"])


def pictured(model: Speaker) -> int:
    """Tokens of one picture inside the vision tower; of a model assembled here its rows of one ECG."""
    if isinstance(model, Elm):
        return sum(view.tokens or 0 for view in model.views)
    vision = model.lm.config.vision_config
    size = getattr(vision, "image_size", None)
    if size is None:  # cut as it comes: the look's own size
        size = model.looks[0].form.size[0]  # type: ignore[attr-defined]
    side = int(size if isinstance(size, int) else size[0]) // int(vision.patch_size)
    tokens = side * side + (model.lm.config.model_type == "mllama")
    if model.lm.config.model_type == "mllama":
        tokens = 8 * math.ceil(tokens / 8) * int(vision.max_num_tiles)  # padded to a multiple of 8 a tile
    return int(tokens)


def arithmetic(model: Speaker, recipe: InstructRecipe, text: int, picture: int) -> tuple[dict[str, float], float]:
    """(forward by part, all of training) of one conversation, 10^12 operations."""
    kind = model.lm.config.model_type
    inside = 0 if kind == "mllama" else (picture if isinstance(model, Elm) else _soft(model, picture))
    flops: dict[str, float] = {}
    extra = 0.0  # of weights that train
    for name, module in model.named_modules():
        if type(module).__name__ not in ("Linear", "LoraLinear", "Conv1D", "LoraTransposed"):
            continue
        if ".lora_" in name or name == "lm.lm_head" or name.endswith(".lm_head"):
            continue
        part, tokens = _where(name, text + inside, picture)
        size = module.weight.numel()
        flops[part] = flops.get(part, 0.0) + 2e-12 * size * tokens
        if module.weight.requires_grad:
            extra += 2e-12 * size * tokens
    for part, layers, tokens, width in _attention(model, text + inside, picture):
        flops[part] = flops.get(part, 0.0) + 4e-12 * layers * tokens * tokens * width
    head = model.lm.get_output_embeddings().weight.numel()
    flops["head, answers alone"] = 2e-12 * head * text / 2
    lora = sum(p.numel() for n, p in model.named_parameters() if ".lora_" in n)
    extra += 2 * 2e-12 * lora * (text + inside)
    vision_moves = any(p.requires_grad for n, p in model.named_parameters() if _where(n, 0, 1)[0] in ("vision", "views"))
    forward = sum(flops.values())
    back = forward if vision_moves else forward - flops.get("vision", 0.0)
    again = back if recipe.checkpointing else 0.0
    return flops, forward + back + again + extra


def _soft(model: Speaker, picture: int) -> int:
    """Tokens that a picture takes among the words."""
    config = model.lm.config
    if hasattr(config, "mm_tokens_per_image"):
        return int(config.mm_tokens_per_image)
    merge = getattr(config.vision_config, "spatial_merge_size", 1)
    return picture // merge**2


def _where(name: str, text: int, picture: int) -> tuple[str, int]:
    """A module's part, and how many tokens go through it."""
    if "vision_" in name or ".visual." in name:
        return "vision", picture
    if "multi_modal_projector" in name:
        return "projector", picture
    if ".cross_attn.k_proj" in name or ".cross_attn.v_proj" in name:
        return "language", picture
    return ("language", text) if name.startswith("lm.") else ("views", picture)


def _attention(model: Speaker, text: int, picture: int) -> list[tuple[str, int, int, int]]:
    """(part, layers, tokens, width) of attention; of causal attention the whole square is counted, as kernels report it."""
    config = model.lm.config
    words = config.get_text_config()
    found = [("language", int(words.num_hidden_layers), text, int(words.hidden_size))]
    vision = getattr(config, "vision_config", None)
    if vision is not None:
        layers = int(getattr(vision, "num_hidden_layers", 0) or getattr(vision, "depth", 0)) + int(
            getattr(vision, "num_global_layers", 0)
        )
        found.append(("vision", layers, picture, int(vision.hidden_size)))
    return found


def memory_of(
    model: nn.Module, recipe: InstructRecipe, trainable: Trainable, text: int, picture: int, gpus: int
) -> dict[str, float]:
    """GB of one GPU, by part. ZeRO-2 shares gradients and optimiser out among GPUs; frozen weights stand on each."""
    assert isinstance(model, Speaker)
    each = max(recipe.batch // (gpus * recipe.accumulate), 1)
    moving, frozen = trainable.trainable, trainable.parameters - trainable.trainable
    half = recipe.precision == "bf16"
    words = model.lm.config.get_text_config()
    inside = text if model.lm.config.model_type == "mllama" else text + picture
    width, layers = int(words.hidden_size), int(words.num_hidden_layers)
    inner = int(getattr(words, "intermediate_size", 4 * width) or 4 * width)
    byte = 2 if half else 4
    vision = getattr(model.lm.config, "vision_config", None)
    row = each * inside * width * byte
    one = each * inside * (8 * width + 3 * inner) * byte
    seen = each * picture * width * byte if vision is not None else 0
    rows = row * layers
    peak = one if recipe.checkpointing else one * layers
    if vision is not None:
        wide = int(vision.hidden_size)
        deep = int(getattr(vision, "num_hidden_layers", 0) or getattr(vision, "depth", 0)) + int(
            getattr(vision, "num_global_layers", 0)
        )
        more = int(getattr(vision, "intermediate_size", 0) or 4 * wide)
        if any(p.requires_grad for n, p in model.named_parameters() if _where(n, 0, 1)[0] == "vision"):
            rows += each * picture * wide * byte * deep
            own = each * picture * (8 * wide + 2 * more) * byte
            peak = max(peak, own) if recipe.checkpointing else peak + own * deep
    logits = 3 * min(recipe.chunk, each * text) * int(words.vocab_size) * 4
    return {
        f"frozen weights ({'bf16' if half else 'fp32'})": frozen * byte / 1e9,
        "weights that train (fp32)": moving * 4 / 1e9,
        "their copies in bf16": moving * 2 / 1e9 if half else 0.0,
        f"gradients (fp32, shared by {gpus})": moving * 4 / gpus / 1e9,
        f"AdamW's moments (fp32, shared by {gpus})": moving * 8 / gpus / 1e9,
        "what layers keep for the backward pass": rows / 1e9,
        "one layer computed again" if recipe.checkpointing else "inside of layers": peak / 1e9,
        "what cross-attention looks at": seen / 1e9,
        f"logits, {recipe.chunk} positions at once": logits / 1e9,
    }
