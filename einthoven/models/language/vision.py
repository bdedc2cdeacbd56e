"""Vision-language models of transformers, by one path for all: their own processor and chat template say what they see.

Llama 3.2 Vision (mllama), Qwen-VL (qwen2_vl, qwen2_5_vl), Gemma 3 and MedGemma (gemma3), LLaVA (llava). The ECG is drawn by an
image form, the model's processor makes tiles, patches or crops of it, and its template says where they stand. Any of them can
be built tiny, with random weights, a processor and a tokenizer that are made here: the same classes, no network.

What the processor gives is of two kinds, and is put together accordingly: what has a place for each token (padded as the ids
are), and what is of the pictures (put end to end; mllama's stacked by conversation, its missing pictures empty).

B conversations, T tokens, n pictures, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from einthoven.data.instruct.sample import ECG, Turn
from einthoven.models.language.build import Design, Init, fresh, one_line
from einthoven.models.language.chat import SKIP, Chat, answer_tokens, folded, new_tokenizer, spans
from einthoven.models.language.look import ImageLook, StackedLook, look_of
from einthoven.models.language.speaker import Arrays, Batch, Example, Speaker, base_of, padded
from einthoven.record import EcgError, WrongUse

GATE = 0.7  # of mllama's cross-attention in random weights: at 0, as it begins, a picture would have no effect at all

_LLAMA = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
    "{% for c in m['content'] %}{% if c['type'] == 'image' %}<|image|>{% else %}{{ c['text'] }}{% endif %}{% endfor %}"
    "<|eot_id|>{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
_QWEN = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for c in m['content'] %}{% if c['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ c['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_GEMMA = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{% for c in m['content'] %}{% if c['type'] == 'image' %}<start_of_image>{% else %}{{ c['text'] }}{% endif %}{% endfor %}"
    "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
_LLAVA = (
    "{{ bos_token }}{% for m in messages %}{{ 'ASSISTANT:' if m['role'] == 'assistant' else 'USER:' }}"
    "{% for c in m['content'] %}{% if c['type'] == 'image' %} <image>\n{% else %} {{ c['text'] }}{% endif %}{% endfor %}"
    "{% if m['role'] == 'assistant' %}{{ eos_token }}{% else %} {% endif %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


@dataclass(frozen=True)
class _Kind:
    """What a family's tokenizer needs, and its tiny configuration."""

    template: str
    specials: tuple[str, ...]
    bos: str
    eos: str
    pad: str
    named: Mapping[str, str]
    text: Mapping[str, Any]
    vision: Mapping[str, Any]
    more: Mapping[str, Any]
    processor: Mapping[str, Any]


_TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 4096,
}
_QWEN_KIND = _Kind(
    _QWEN,
    ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"),
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
    {"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"},
    {**_TEXT, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}},
    {},
    {},
    {"min_pixels": 56 * 56, "max_pixels": 84 * 84},
)
KINDS: Mapping[str, _Kind] = {
    "mllama": _Kind(
        _LLAMA,
        (
            "<|begin_of_text|>",
            "<|end_of_text|>",
            "<|start_header_id|>",
            "<|end_header_id|>",
            "<|eot_id|>",
            "<|image|>",
            "<|pad|>",
            "<|python_tag|>",
        ),
        "<|begin_of_text|>",
        "<|eot_id|>",
        "<|pad|>",
        {"image_token": "<|image|>"},
        {**_TEXT, "num_hidden_layers": 3, "cross_attention_layers": [1]},
        {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_global_layers": 1,
            "attention_heads": 2,
            "intermediate_layers_indices": [0],
            "vision_output_dim": 64,
            "image_size": 56,
            "max_num_tiles": 1,
            "supported_aspect_ratios": [[1, 1]],
        },
        {},
        {},
    ),
    "qwen2_vl": replace(
        _QWEN_KIND,
        vision={"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2},
    ),
    "qwen2_5_vl": replace(
        _QWEN_KIND,
        vision={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": 32,
            "window_size": 56,
            "fullatt_block_indexes": [1],
        },
    ),
    "gemma3": _Kind(
        _GEMMA,
        (
            "<pad>",
            "<eos>",
            "<bos>",
            "<start_of_turn>",
            "<end_of_turn>",
            "<start_of_image>",
            "<end_of_image>",
            "<image_soft_token>",
        ),
        "<bos>",
        "<eos>",
        "<pad>",
        {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"},
        {**_TEXT, "head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 4096},
        {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 56,
            "patch_size": 14,
            "vision_use_head": False,
        },
        {"mm_tokens_per_image": 4},
        {},
    ),
    "llava": _Kind(
        _LLAVA,
        ("<unk>", "<s>", "</s>", "<pad>", "<image>"),
        "<s>",
        "</s>",
        "<pad>",
        {"image_token": "<image>"},
        _TEXT,
        {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 56,
            "patch_size": 14,
            "projection_dim": 32,
        },
        {"vision_feature_layer": -2, "vision_feature_select_strategy": "default"},
        {},
    ),
}

_TEXT_TYPES = {"gemma3": "gemma3_text", "llava": "llama"}
_VISION_TYPES = {"gemma3": "siglip_vision_model", "llava": "clip_vision_model"}


def tiny(design: Design) -> Design:
    """The design with the sizes of the tiny model of its family, and no weights of anybody."""
    kind = KINDS[design.family]
    options = {"text": dict(kind.text), "vision": dict(kind.vision), **kind.more}
    side = int(kind.vision.get("image_size", 56))
    view = {**(design.views[0] if design.views else {"represent": "image", "form": "page"})}
    if view.get("represent") == "image" and isinstance(view.get("form", "page"), str):
        view["form"] = f"{str(view.get('form', 'page')).partition('-')[0]}-{4 * side}"
    return replace(
        design,
        model=None,
        options=options,
        views=(view,),
        vocabulary=min(design.vocabulary, 512),
        processor=dict(kind.processor),
    )


@dataclass(frozen=True)
class Measured:
    """`ids` as many as there are tokens, `learned` of them labelled."""

    ids: range
    learned: int


class Vision(Speaker):
    """A vision-language model with its processor; see the head of this file."""

    def __init__(self, lm: Any, processor: Any, design: Design) -> None:
        super().__init__()
        self.lm, self.processor, self.family = lm, processor, design.family
        words = dict(design.views[0]) if design.views else {"represent": "image", "form": "page"}
        look = look_of(words)
        if not isinstance(look, (ImageLook, StackedLook)):
            raise WrongUse(f"{design.family} sees pictures: a view of representation image or stacked")
        self.looks = (look,)
        tokenizer = processor.tokenizer
        if not tokenizer.chat_template:
            tokenizer.chat_template = processor.chat_template
        if not (processor.chat_template or tokenizer.chat_template):
            raise EcgError(f"{design.family}: this processor has no chat template")
        self.chat = _VisionChat(tokenizer, processor)
        text = lm.config.get_text_config()
        most = int(getattr(text, "max_position_embeddings", None) or 1 << 20)
        self.limit = min(design.limit or most, most)

    def example(self, turns: Sequence[Turn], arrays: Arrays, *, ask: bool = False) -> Example:
        """Raises EcgError where picture, question and answer do not fit into the model's length: none of them is cut."""
        pictures = [_picture(self.looks[0], ecg[0]) for ecg in arrays]
        turns = [self.chat._clean(turn) for turn in folded(turns[:-1] if ask else turns, False)]
        while True:
            made = self._encoded(turns, pictures, ask)
            if len(made.ids) <= self.limit:
                return made
            if ask or sum(turn.role == "assistant" for turn in turns) < 2:
                raise EcgError(
                    f"picture and question are {len(made.ids)} tokens, the model takes {self.limit}; none is cut away"
                )
            turns = turns[:-2]

    def _encoded(self, turns: Sequence[Turn], pictures: Sequence[Any], ask: bool) -> Example:
        whole = self.chat.render(turns, ask=ask)
        given = self.processor(
            text=[whole], **({"images": [list(pictures)]} if pictures else {}), add_special_tokens=False, return_tensors="pt"
        )
        ids = [int(i) for i in given["input_ids"][0]]
        plain = self.chat.tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
        bare = [int(i) for i in plain["input_ids"]]
        more = len(ids) - len(bare)  # what the processor made of the pictures' places, all of which stand in the first question
        labels = [SKIP] * len(ids)
        if not ask:
            for begin, end in spans(turns, whole, self.chat.render):
                for k in answer_tokens(bare, plain["offset_mapping"], begin, end, self.chat.specials):
                    if ids[k + more] != bare[k]:
                        raise EcgError(
                            f"{self.family}: its processor moves answers about, they cannot be learned token by token"
                        )
                    labels[k + more] = bare[k]
        seen = {name: torch.as_tensor(value) for name, value in given.items() if name not in ("input_ids", "attention_mask")}
        return Example(ids, labels, seen)

    def measure(self, turns: Sequence[Turn], pictures: int) -> Measured:
        """How long a conversation is, and how much of it is learned, without looking at its pictures."""
        turns = [self.chat._clean(turn) for turn in folded(turns, False)]
        more = pictures * self.rows
        while True:
            whole = self.chat.render(turns)
            plain = self.chat.tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
            length = len(plain["input_ids"]) + more
            pairs = sum(turn.role == "assistant" for turn in turns)
            if length <= self.limit or pairs < 2:
                break
            turns = turns[:-2]
        if length > self.limit:
            raise EcgError(f"picture and question are {length} tokens, the model takes {self.limit}; none is cut away")
        places = spans(turns, whole, self.chat.render)
        ids, offsets = plain["input_ids"], plain["offset_mapping"]
        learned = sum(len(answer_tokens(ids, offsets, a, b, self.chat.specials)) for a, b in places)
        return Measured(range(length), learned)

    @cached_property
    def rows(self) -> int:
        """Tokens that a picture of the look's size takes beside the one in the template."""
        look = self.looks[0]
        size = look.form.size if isinstance(look, ImageLook) else look.size  # type: ignore[attr-defined]
        shape = (3, *size) if isinstance(look, StackedLook) else (*size, 3)
        blank = _picture(look, np.zeros(shape, np.float32 if isinstance(look, StackedLook) else np.uint8))
        turns = (Turn("user", ECG), Turn("assistant", "a"))
        whole = self.chat.render(turns)
        made = self.processor(text=[whole], images=[[blank]], add_special_tokens=False, return_tensors="pt")
        return int(made["input_ids"].shape[1]) - len(self.chat.tokenizer(whole, add_special_tokens=False)["input_ids"])

    def collate(self, examples: Sequence[Example], *, left: bool = False) -> Batch:
        batch = padded(examples, self.chat.pad, left=left)
        names = list(dict.fromkeys(name for one in examples for name in one.seen))
        for name in names:
            values = [(one.seen[name], len(one.ids)) for one in examples if name in one.seen]
            by_token = all(v.ndim >= 2 and v.shape[0] == 1 and v.shape[1] == t for v, t in values) and name not in _OF_PICTURES
            if by_token:
                batch.more[name] = self._by_token(name, examples, batch.ids.shape[1], left)
            elif self.family == "mllama":  # pictures, and what the tower said of them
                batch.more[name] = _stacked([one.seen.get(name) for one in examples])
            else:
                batch.more[name] = torch.cat([v for v, _ in values])
        return batch

    @staticmethod
    def _by_token(name: str, examples: Sequence[Example], width: int, left: bool) -> Tensor:
        """(B, T, ...), zero where there is no token."""
        shape = [max(sizes) for sizes in zip(*(one.seen[name].shape[2:] for one in examples if name in one.seen))]
        some = next(one.seen[name] for one in examples if name in one.seen)
        out = some.new_zeros(len(examples), width, *shape)
        for row, one in zip(out, examples):
            if name in one.seen:
                begin = width - len(one.ids) if left else 0
                place = (slice(begin, begin + len(one.ids)), *(slice(0, n) for n in one.seen[name].shape[2:]))
                row[place] = one.seen[name][0]
        return out

    def hidden(self, batch: Batch) -> Tensor:
        more = dict(batch.more)
        states = more.pop("states", None)
        if states is not None:  # what the tower said, kept: it is not asked again
            for name in ("pixel_values", "aspect_ratio_ids", "aspect_ratio_mask"):
                more.pop(name, None)
            base = base_of(self.lm)
            dtype = base.multi_modal_projector.weight.dtype
            rows = base.multi_modal_projector(states.to(dtype))  # (B, n, tiles, V, D)
            more["cross_attention_states"] = rows.reshape(-1, rows.shape[-2], rows.shape[-1])
        found: Tensor = base_of(self.lm)(
            input_ids=batch.ids, attention_mask=batch.mask, use_cache=False, **self._floats(more)
        ).last_hidden_state
        return found

    @property
    def tower_is_still(self) -> bool:
        """Whether what the vision tower says of a picture is the same in every epoch, and can be kept (mllama alone)."""
        return self.family == "mllama" and not any(p.requires_grad for p in base_of(self.lm).vision_model.parameters())

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def tower_says(self, arrays: Arrays) -> list[Tensor]:
        """(tiles, V, C) of the picture of each ECG: the tower's last states, before the projector."""
        turns = (Turn("user", ECG), Turn("assistant", "a"))
        batch = self.collate([self.example(turns, [ecg]) for ecg in arrays]).to(self.device)
        seen = self._floats({k: batch.more[k] for k in ("pixel_values", "aspect_ratio_ids", "aspect_ratio_mask")})
        found = base_of(self.lm).vision_model(**seen).last_hidden_state  # (B, 1, tiles, V, C)
        return [one[0].float().cpu() for one in found]

    def _floats(self, more: Mapping[str, Any]) -> dict[str, Any]:
        """Pictures in the precision of what looks at them."""
        dtype = next((p.dtype for p in self.lm.parameters() if p.is_floating_point()), torch.float32)
        return {k: v.to(dtype) if isinstance(v, Tensor) and v.is_floating_point() else v for k, v in more.items()}

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def generate(self, batch: Batch, most: int, *, temperature: float = 0.0, seed: int = 0) -> list[list[int]]:
        torch.manual_seed(seed)
        how = (
            {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
            if temperature > 0
            else {"do_sample": False}
        )
        found = self.lm.generate(
            input_ids=batch.ids,
            attention_mask=batch.mask,
            max_new_tokens=most,
            eos_token_id=sorted(self.chat.ends),
            pad_token_id=self.chat.pad,
            **how,
            **self._floats(batch.more),
        )
        said = []
        for row in found[:, batch.ids.shape[1] :].tolist():
            end = next((k + 1 for k, i in enumerate(row) if i in self.chat.ends), len(row))
            said.append(row[:end])
        return said


_OF_PICTURES = frozenset({"states", "pixel_values", "aspect_ratio_ids", "aspect_ratio_mask", "image_grid_thw", "image_sizes"})


class _VisionChat(Chat):
    """A chat whose turns are parts, text and pictures, by the processor's template."""

    def __init__(self, tokenizer: Any, processor: Any) -> None:
        self.processor = processor
        self.tokenizer = tokenizer
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        self.place, self.system = -1, False

    def render(self, turns: Sequence[Turn], *, ask: bool = False, content: Any = None) -> str:
        messages = [{"role": t.role, "content": parts_of(t.content)} for t in turns]
        made = self.processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=ask)
        return str(made)

    @cached_property
    def ends(self) -> frozenset[int]:
        """Ids that end an answer."""
        turns = (Turn("user", "a"), Turn("assistant", "b"))
        whole = self.render(turns)
        plain = self.tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
        begin, end = spans(turns, whole, self.render)[0]
        last = answer_tokens(plain["input_ids"], plain["offset_mapping"], begin, end, self.specials)[-1]
        return frozenset({int(self.tokenizer.eos_token_id), int(plain["input_ids"][last])})


def parts_of(content: str) -> list[dict[str, str]]:
    """A turn's words and the places of its ECGs, as transformers wants them."""
    made: list[dict[str, str]] = []
    for k, words in enumerate(content.split(ECG)):
        if k:
            made.append({"type": "image"})
        words = words.strip("\n") if k else words
        if words:
            made.append({"type": "text", "text": words})
    return made


def _picture(look: Any, array: Any) -> Any:
    """A look's array as a picture of three channels, uint8."""
    from PIL import Image

    if array is None:
        raise EcgError("this model sees pictures, and one of an ECG is missing")
    pixels = np.asarray(array)
    if isinstance(look, StackedLook):
        pixels = np.rint((pixels.transpose(1, 2, 0) + 1) * 127.5).clip(0, 255).astype(np.uint8)
    elif pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, 2)
    return Image.fromarray(pixels)


def _stacked(values: Sequence[Tensor | None]) -> Tensor:
    """(1, n, ...) of each conversation -> (B, most n, ...), zero where there is none."""
    there = [v for v in values if v is not None]
    shape = [max(sizes) for sizes in zip(*(v.shape[1:] for v in there))]
    out = there[0].new_zeros(len(values), *shape)
    for row, value in zip(out, values):
        if value is not None:
            row[tuple(slice(0, n) for n in value.shape[1:])] = value[0]
    return out


# ---- building -----------------------------------------------------------------------------------------------------------


def build(
    design: Design,
    *,
    init: Init,
    texts: Iterable[str] = (),
    tokenizer: Any = None,
    seed: int = 0,
    dtype: torch.dtype | None = None,
) -> Speaker:
    """As build.build. `init` "meta" gives the family's real size, where `options` name no other."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    if init == "weights" and design.model is not None:
        try:
            processor = AutoProcessor.from_pretrained(design.model, **dict(design.processor))
            lm = AutoModelForImageTextToText.from_pretrained(design.model, dtype=dtype or torch.float32)
        except (OSError, ValueError) as fault:
            raise EcgError(f"no model can be loaded: {one_line(fault)}", path=design.model) from None
        made: Speaker = Vision(lm, processor, design).eval()
        return made
    kind = KINDS[design.family]
    if tokenizer is None:
        known = list(texts) or (["meta"] if init == "meta" else [])
        if not known:
            raise EcgError("a model without a tokenizer of its own needs texts to learn one from")
        tokenizer = new_tokenizer(
            known,
            design.vocabulary,
            specials=kind.specials,
            template=kind.template,
            bos=kind.bos,
            eos=kind.eos,
            pad=kind.pad,
            named=kind.named,
        )
    config = configuration(design, tokenizer, real=init == "meta" and not design.options)
    torch.manual_seed(seed)
    lm = fresh(AutoModelForImageTextToText, config, init)
    if init != "meta":
        open_gates(lm)
    model: Speaker = Vision(lm, processor_of(design, tokenizer, config), design).eval()
    return model


@torch.no_grad()  # type: ignore[untyped-decorator]
def open_gates(lm: Any, value: float = GATE) -> None:
    """Mllama's gates and Gemma's projector begin at 0, so that a picture has no effect and nothing before them a gradient: in a
    random model they are opened."""
    for name, parameter in lm.named_parameters():
        if name.endswith("mm_input_projection_weight"):
            parameter.normal_(std=parameter.shape[0] ** -0.5)
        if name.endswith(("cross_attn_attn_gate", "cross_attn_mlp_gate", "gate_attn", "gate_ffn", "_embedding.gate")):
            parameter.fill_(value)


def configuration(design: Design, tokenizer: Any, *, real: bool = False) -> Any:
    """The family's configuration by the design's options {"text": ..., "vision": ..., more}; `real`: as it is by itself."""
    from transformers import AutoConfig

    options = dict(design.options)
    text, vision = dict(options.pop("text", {})), dict(options.pop("vision", {}))
    if real:
        return AutoConfig.for_model(design.family)
    ids = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    text = {**ids, **text}
    named = {name: tokenizer.convert_tokens_to_ids(word) for name, word in KINDS[design.family].named.items()}
    if design.family in _TEXT_TYPES:
        text["model_type"], vision["model_type"] = _TEXT_TYPES[design.family], _VISION_TYPES[design.family]
    more: dict[str, Any] = {
        "mllama": {"image_token_index": named.get("image_token")},
        "qwen2_vl": {"image_token_id": named.get("image_token"), "video_token_id": named.get("video_token")},
        "qwen2_5_vl": {"image_token_id": named.get("image_token"), "video_token_id": named.get("video_token")},
        "gemma3": {
            "boi_token_index": named.get("boi_token"),
            "eoi_token_index": named.get("eoi_token"),
            "image_token_index": named.get("image_token"),
        },
        "llava": {"image_token_index": named.get("image_token")},
    }[design.family]
    if design.family.startswith("qwen"):
        more |= {n: tokenizer.convert_tokens_to_ids(f"<|{n.removesuffix('_token_id')}|>") for n in _QWEN_IDS}
    try:
        return AutoConfig.for_model(design.family, text_config=text, vision_config=vision, **{**more, **options})
    except (ValueError, TypeError, KeyError) as fault:
        raise WrongUse(f"family {design.family}: {one_line(fault)}") from None


_QWEN_IDS = ("vision_start_token_id", "vision_end_token_id")


def _no_videos(made: Any) -> Any:
    """The processor's class, which asks for a video processor even where there is none (that needs torchvision)."""

    def check(self: Any, name: str, argument: Any) -> Any:
        return (
            None
            if name == "video_processor" and argument is None
            else made.check_argument_for_proper_class(self, name, argument)
        )

    return type(made.__name__, (made,), {"check_argument_for_proper_class": check})


def processor_of(design: Design, tokenizer: Any, config: Any) -> Any:
    """A processor of the family for this configuration, made here. The image processors that need no torchvision."""
    template = tokenizer.chat_template
    vision = config.vision_config
    more = dict(design.processor)
    if design.family == "mllama":
        from transformers.models.mllama.image_processing_pil_mllama import MllamaImageProcessorPil
        from transformers.models.mllama.processing_mllama import MllamaProcessor

        side = int(vision.image_size)
        images = MllamaImageProcessorPil(
            **{"size": {"height": side, "width": side}, "max_image_tiles": vision.max_num_tiles, **more}
        )
        return MllamaProcessor(images, tokenizer, chat_template=template)
    if design.family.startswith("qwen"):
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

        given = {"patch_size": vision.patch_size, "merge_size": vision.spatial_merge_size, **more}
        images = Qwen2VLImageProcessorPil(**given)
        if design.family == "qwen2_vl":
            from transformers.models.qwen2_vl.processing_qwen2_vl import Qwen2VLProcessor as Made
        else:
            from transformers.models.qwen2_5_vl.processing_qwen2_5_vl import Qwen2_5_VLProcessor as Made
        return _no_videos(Made)(images, tokenizer, video_processor=None, chat_template=template)
    side = int(vision.image_size)
    size = {"height": side, "width": side}
    if design.family == "gemma3":
        from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
        from transformers.models.gemma3.processing_gemma3 import Gemma3Processor

        images = Gemma3ImageProcessorPil(**{"size": size, **more})
        return Gemma3Processor(images, tokenizer, chat_template=template, image_seq_length=int(config.mm_tokens_per_image))
    from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
    from transformers.models.llava.processing_llava import LlavaProcessor

    images = LlavaImageProcessorPil(**{"size": size, "crop_size": size, **more})
    return LlavaProcessor(
        images,
        tokenizer,
        patch_size=int(vision.patch_size),
        chat_template=template,
        vision_feature_select_strategy=config.vision_feature_select_strategy,
        num_additional_image_tokens=1,
    )
