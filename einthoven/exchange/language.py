"""Language models as Bundles, and back.

    language.json              the design, how answers are made, the tokenizer's tokens and template
    tokenizer.json             as `tokenizers` writes it
    weights.safetensors        all that is not in the base: encoders, connectors, rows; the language model too where it has no
    base adapter_config.json, adapter_model.safetensors     LoRA, in peft's layout, of the language model alone
    symbols-0.json             the tokenizer of a view of symbols

Adapters stay beside the weights they were learned for: folded into bfloat16 they would lose what they learned (a merge is in
float32: `merged`). `peft.PeftModel.from_pretrained(language_model, bundle)` reads them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from einthoven.exchange.bundle import Bundle, write_bundle
from einthoven.exchange.manifest import Language, Manifest
from einthoven.models.language.build import Design
from einthoven.record import EcgError
from einthoven.tune.tuning import Tuning

if TYPE_CHECKING:
    from torch import Tensor

    from einthoven.models.language.speaker import Speaker

FORMAT = 1
LANGUAGE, TOKENIZER, WEIGHTS = "language.json", "tokenizer.json", "weights.safetensors"
ADAPTER, ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"
PREFIX = "base_model.model."
_TOKENS = ("bos_token", "eos_token", "pad_token")


def words_of(model: Speaker, design: Design, tuning: Tuning | None, generation: Mapping[str, Any]) -> dict[str, Any]:
    """What language.json says."""
    tokenizer = model.chat.tokenizer
    named = {
        k: getattr(tokenizer, k) for k in ("image_token", "video_token", "boi_token", "eoi_token") if hasattr(tokenizer, k)
    }
    return {
        "format": FORMAT,
        "design": design.to_dict(),
        "tuning": None if tuning is None else tuning.to_dict(),
        "adapted": [name for name, _ in _adapted(model)],
        "tokens": {name: getattr(tokenizer, name) for name in _TOKENS},
        "named": named,
        "template": tokenizer.chat_template,
        "generation": dict(generation),
    }


def _adapted(model: Speaker) -> list[tuple[str, Any]]:
    from einthoven.tune.lora import adapted

    return adapted(model.lm)


def parts_of(model: Speaker, design: Design) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(weights, adapter): what is saved of a model. Of somebody's language model only what was trained."""
    weights: dict[str, Tensor] = {}
    adapter: dict[str, Tensor] = {}
    moving = {name for name, p in model.named_parameters() if p.requires_grad}
    seen: dict[tuple[int, int], str] = {}
    for name, tensor in model.state_dict().items():
        if ".lora_A." in name or ".lora_B." in name:
            adapter[PREFIX + name.removeprefix("lm.")] = tensor
            continue
        if name.startswith("lm.") and design.model is not None and name not in moving:
            continue
        place = (tensor.data_ptr(), tensor.numel())
        if place in seen and tensor.numel():  # a head that is the embedding
            continue
        seen[place] = name
        weights[name] = tensor
    plain = {name: t.detach().cpu().contiguous().clone() for name, t in weights.items()}
    return plain, {name: t.detach().cpu().contiguous().clone() for name, t in adapter.items()}


def files_of(
    model: Speaker, design: Design, *, tuning: Tuning | None = None, generation: Mapping[str, Any] | None = None
) -> dict[str, bytes | str | Path]:
    """The files of a Bundle that make the model again."""
    from safetensors.torch import save

    from einthoven.models.language.elm import Elm
    from einthoven.models.language.look import SymbolLook

    files: dict[str, bytes | str | Path] = {}
    views = [dict(view) for view in design.views]
    for k, look in enumerate(model.looks):
        if isinstance(look, SymbolLook):
            views[k]["tokenizer"] = f"symbols-{k}.json"
            files[f"symbols-{k}.json"] = _symbols(look)
        elif views:
            own = model.views[k] if isinstance(model, Elm) else None  # models of transformers have no views of ours
            if portable := getattr(getattr(own, "encoder", None), "portable", None):
                views[k]["options"] = portable  # its shape in place of where it lay: its weights are in the Bundle
            views[k] |= look.to_dict() | {"represent": views[k]["represent"]}
            views[k].pop("version", None)
    design = Design.from_dict({**design.to_dict(), "views": views})
    words = words_of(model, design, tuning, generation or {})
    weights, adapter = parts_of(model, design)
    files[LANGUAGE] = json.dumps(words, indent=1, ensure_ascii=False) + "\n"
    files[TOKENIZER] = model.chat.tokenizer.backend_tokenizer.to_str()
    files[WEIGHTS] = save(weights, {"format": "pt"})
    if adapter and tuning is not None:
        files[ADAPTER] = save(adapter, {"format": "pt"})
        files[ADAPTER_CONFIG] = json.dumps(peft_config(words, design, tuning), indent=2) + "\n"
    return files


def _symbols(look: Any) -> str:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        path = Path(folder) / "symbols.json"
        look.tokenizer.save(path)
        return path.read_text(encoding="utf-8")


def peft_config(words: Mapping[str, Any], design: Design, tuning: Tuning) -> dict[str, Any]:
    """adapter_config.json, as peft wants it."""
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": design.model,
        "r": tuning.rank,
        "lora_alpha": tuning.alpha,
        "lora_dropout": tuning.dropout,
        "use_rslora": tuning.rslora,
        "target_modules": list(words["adapted"]),
        "fan_in_fan_out": design.family == "gpt2",
        "bias": "none",
        "inference_mode": True,
    }


def language_of(model: Speaker, design: Design, generation: Mapping[str, Any] | None = None) -> Language:
    """The manifest's part."""
    return Language(
        family=design.family,
        base=design.model or "",
        design=design.to_dict(),
        limit=model.limit,
        generation=dict(generation or {}),
    )


def write_language(
    target: str | Path, manifest: Manifest, model: Speaker, design: Design, *, tuning: Tuning | None = None,
    more: Mapping[str, bytes | str | Path] | None = None, overwrite: bool = False,
) -> Bundle:  # fmt: skip
    """A model as a Bundle; `more` files beside it (the report, the recipe)."""
    generation = manifest.language.generation if manifest.language else {}
    files = {**(more or {}), **files_of(model, design, tuning=tuning, generation=generation)}
    return write_bundle(target, manifest, files, overwrite=overwrite)


def open_language(path: str | Path, *, base: str | None = None, merge: bool = False) -> tuple[Speaker, Design]:
    """The model of a Bundle, in evaluation mode, and its design.

    Args:
        base: where the weights it was made for lie, in place of the name in the Bundle. merge: fold LoRA in (float32).

    Raises:
        EcgError: no Bundle of a language model, a base that cannot be loaded, weights that do not fit.
    """
    from tempfile import TemporaryDirectory

    from safetensors.torch import load

    from einthoven.models.language.build import build
    from einthoven.models.language.chat import wrapped

    bundle = path if isinstance(path, Bundle) else Bundle.open(path)
    if bundle.manifest.task != "language":
        raise EcgError(f"does not answer in words: its task is {bundle.manifest.task}", path=bundle.path)
    try:
        words = json.loads(bundle.read(LANGUAGE))
        if words["format"] != FORMAT:
            raise EcgError(f"is of format {words['format']}, this version reads {FORMAT}", path=bundle.path, where=LANGUAGE)
        design = Design.from_dict({**words["design"], **({"model": base} if base else {})})
        tuning = None if words["tuning"] is None else Tuning.from_dict(words["tuning"])
        tokenizer = wrapped(
            bundle.read(TOKENIZER).decode(), template=words["template"], named=words["named"] or None,
            **{name.removesuffix("_token"): words["tokens"][name] for name in _TOKENS},
        )  # fmt: skip
    except (KeyError, ValueError, TypeError) as fault:
        raise EcgError(f"no language model can be read: {fault!r}", path=bundle.path, where=LANGUAGE) from fault
    with TemporaryDirectory() as folder:
        for name in bundle.manifest.files:
            if name.startswith("symbols-"):
                (Path(folder) / name).write_bytes(bundle.read(name))
        model = build(design, tokenizer=tokenizer, folder=Path(folder))
    put(model, load(bundle.read(WEIGHTS)), bundle.path)
    if ADAPTER in bundle and tuning is not None:
        _adapt(model, tuning, words["adapted"], load(bundle.read(ADAPTER)), bundle.path)
        if merge:
            from einthoven.tune.lora import merge_lora

            merge_lora(model.lm)
    return model.requires_grad_(False).eval(), design


def _adapt(model: Speaker, tuning: Tuning, names: list[str], state: dict[str, Tensor], path: Path) -> None:
    import re

    from einthoven.tune.lora import add_lora

    found, _ = add_lora(model.lm, model.lm.get_output_embeddings(), "|".join(map(re.escape, names)), tuning)
    if sorted(found) != sorted(names):
        raise EcgError("its adapter is for another language model", path=path)
    put(model, {f"lm.{name.removeprefix(PREFIX)}": t for name, t in state.items()}, path)


def put(model: Speaker, state: dict[str, Tensor], path: Path) -> None:
    """Weights into their places. Raises EcgError for a name or a shape that the model has not."""
    places = model.state_dict(keep_vars=True)
    for name, tensor in state.items():
        if name not in places or places[name].shape != tensor.shape:
            raise EcgError(f"holds weights that do not fit: {name} {list(tensor.shape)}", path=path)
        places[name].data.copy_(tensor)
