"""From a design to a model: weights by a name or a path, or random ones of any size, without a network.

    build(Design(family="llama", model="meta-llama/Llama-3.2-1B-Instruct", views=(...,)))       somebody's weights
    build(Design(family="llama", options={"hidden_size": 256, ...}, views=(...,)), texts=...)   fresh ones of this size
    build(design, init="tiny-random", texts=...)      the same classes, so small that a test takes seconds
    build(design, init="meta")                        no weights at all: to count

`family` is a model type of transformers. mllama, qwen2_vl, qwen2_5_vl, gemma3 and llava see pictures by themselves
(vision.py); every other one is a causal language model, and what it sees of an ECG are `views` (elm.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch

from einthoven.models.language.chat import Chat, new_tokenizer
from einthoven.models.language.elm import Elm
from einthoven.models.language.speaker import Speaker
from einthoven.record import EcgError, WrongUse

Init = Literal["weights", "tiny-random", "meta"]

VISION = ("mllama", "qwen2_vl", "qwen2_5_vl", "gemma3", "llava")

# Of the same classes as the real ones, as small as they can be.
TINY: Mapping[str, Mapping[str, Any]] = {
    "llama": {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
        "max_position_embeddings": 4096, "tie_word_embeddings": True,
    },
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 4096},
    "opt": {
        "hidden_size": 32, "word_embed_proj_dim": 32, "ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
        "max_position_embeddings": 4096,
    },
    "qwen2": {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
        "max_position_embeddings": 4096,
    },
    "gemma2": {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
        "head_dim": 16, "query_pre_attn_scalar": 16, "max_position_embeddings": 4096, "sliding_window": 4096,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Design:
    """What a model is, in plain values.

    family: a model type of transformers ("llama", "gpt2", "mllama", ...). model: a name on the Hub or a path; None: fresh
    weights by `options`, the arguments of the family's configuration. views: what a causal model sees (view.py); a
    vision-language model has one of images. dropout: of views. limit: tokens at most. vocabulary: ids of a tokenizer that is
    learned here.
    processor: of a vision-language model, what its image processor is to do otherwise (`size`, `max_image_tiles`). precision:
    of weights that do not train.
    """

    family: str = "llama"
    model: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    views: tuple[Mapping[str, Any], ...] = ()
    dropout: float = 0.0
    limit: int | None = None
    vocabulary: int = 2048
    processor: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            raise WrongUse(f"dropout of views is a share below 1, not {self.dropout}")
        if self.limit is not None and self.limit < 16:
            raise WrongUse(f"a model of {self.limit} tokens cannot be asked anything")
        if self.vision and len(self.views) > 1:
            raise WrongUse(f"{self.family} sees one picture of an ECG: give one view")

    @property
    def vision(self) -> bool:
        return self.family in VISION

    def to_dict(self) -> dict[str, Any]:
        return {
            "family": self.family,
            "model": self.model,
            "options": dict(self.options),
            "views": [dict(view) for view in self.views],
            "dropout": self.dropout,
            "limit": self.limit,
            "vocabulary": self.vocabulary,
            "processor": dict(self.processor),
        }

    @staticmethod
    def from_dict(words: Mapping[str, Any]) -> Design:
        given = dict(words)
        try:
            given["views"] = tuple(dict(view) for view in given.get("views", ()))
            return Design(**given)
        except (TypeError, ValueError) as fault:
            raise EcgError(f"no design of a language model: {fault}") from fault


def resolved(design: Design, init: Init) -> Design:
    """The design as it is built: a tiny one names its sizes and no weights, so that it can be built again."""
    if init != "tiny-random":
        return design
    if design.vision:
        from einthoven.models.language.vision import tiny

        return tiny(design)
    if design.family not in TINY:
        raise WrongUse(f"no tiny model of family {design.family} (there are: {', '.join((*TINY, *VISION))})")
    return replace(design, model=None, options=dict(TINY[design.family]), vocabulary=min(design.vocabulary, 512))


def build(
    design: Design,
    *,
    init: Init = "weights",
    texts: Iterable[str] = (),
    tokenizer: Any = None,
    seed: int = 0,
    dtype: torch.dtype | None = None,
    folder: Path | None = None,
) -> Speaker:
    """The model of a design, in evaluation mode.

    Args:
        texts: a tokenizer is learned from them where the model brings none. tokenizer: in its place.
        dtype: of somebody's weights as they are loaded. folder: where files that views name lie.

    Raises:
        EcgError: transformers is missing, a family or an option that there is not, weights that cannot be read.
    """
    try:
        import transformers  # noqa: F401
    except ImportError as fault:
        raise EcgError(f"language models need more packages: pip install 'einthoven[language]' ({fault})") from fault
    design = resolved(design, init)
    if design.vision:
        from einthoven.models.language import vision

        return vision.build(design, init=init, texts=texts, tokenizer=tokenizer, seed=seed, dtype=dtype)
    torch.manual_seed(seed)
    if tokenizer is None:
        tokenizer = _tokenizer(design, texts, init)
    chat = Chat(tokenizer)
    lm = _lm(design, tokenizer, init, dtype)
    torch.manual_seed(seed + 1)
    views = design.views or ({"represent": "signal", "encoder": "linear"},)
    if init == "meta":
        with torch.device("meta"):
            lm.tie_weights()
    model = Elm(lm, chat, views, dropout=design.dropout, limit=design.limit, folder=folder)
    made: Speaker = model.eval()
    return made


def _tokenizer(design: Design, texts: Iterable[str], init: Init) -> Any:
    if design.model is None:
        known = list(texts)
        if not known and init != "meta":
            raise EcgError("a model without a tokenizer of its own needs texts to learn one from")
        return new_tokenizer(known, design.vocabulary)
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(design.model)
    except (OSError, ValueError) as fault:
        raise EcgError(f"no tokenizer can be loaded: {one_line(fault)}", path=design.model) from None


def _lm(design: Design, tokenizer: Any, init: Init, dtype: torch.dtype | None) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    if design.model is not None and init == "weights":
        try:
            return AutoModelForCausalLM.from_pretrained(design.model, dtype=dtype or torch.float32)
        except (OSError, ValueError) as fault:
            raise EcgError(f"no language model can be loaded: {one_line(fault)}", path=design.model) from None
    return fresh(AutoModelForCausalLM, config_of(AutoConfig, design, tokenizer), init)


def config_of(auto: Any, design: Design, tokenizer: Any) -> Any:
    """The configuration of a family, its ids those of the tokenizer."""
    ids = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    try:
        return auto.for_model(design.family, **{**ids, **design.options})
    except (ValueError, TypeError, KeyError) as fault:
        raise WrongUse(f"family {design.family}: {one_line(fault)}") from None


def fresh(auto: Any, config: Any, init: Init) -> Any:
    """A model with weights that are drawn at random, or without any."""
    if init == "meta":
        with torch.device("meta"):
            return auto.from_config(config)
    return auto.from_config(config, dtype=torch.float32)


def one_line(fault: Exception, most: int = 200) -> str:
    return " ".join(str(fault).split())[:most]
