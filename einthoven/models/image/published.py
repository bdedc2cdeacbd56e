"""Weights of ViT and BEiT as others keep them, in our names: transformers' (before and since version 5), timm's, Microsoft's.

    state, left_out = renamed(load_file("beit_base_patch16_224_8k_vocab.safetensors"))
    model.load_state_dict(model.fitted(state), strict=False)

    model = pretrained("vit-base-patch16-224/model.safetensors", "vit-base", outputs=5)

Nothing is fetched. A published .pth or .pkl may run code when it is opened: plain tensors are read, others refused.
What only pre-training needs (the mask token, what says the words) comes out under "objective.", as `models.convert` keeps it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError  # what torch says of a file with more than tensors in it; nothing is unpickled here
from typing import Any

import torch
from torch import Tensor

from einthoven.models.convert import OBJECTIVE
from einthoven.models.network import Network
from einthoven.models.table import build
from einthoven.record import EcgError

_WB = r"(weight|bias)"
_HF = r"(?:(?:vit|beit|data2vec_vision)\.)?"
_OLD = _HF + r"encoder\.layer\.(\d+)\."
_NEW = _HF + r"layers\.(\d+)\."
_MS = r"blocks\.(\d+)\."

# Pattern of a key -> our name; q, k and v apart become one; in brackets: why it is left out.
_RULES: Mapping[str, str] = {
    # transformers
    _HF + r"embeddings\.cls_token": "token",
    _HF + r"embeddings\.mask_token": OBJECTIVE + "mask",
    _HF + r"embeddings\.position_embeddings": "positions",
    _HF + rf"embeddings\.patch_embeddings\.projection\.{_WB}": r"patch.\1",
    _OLD + rf"attention\.attention\.(query|key|value)\.{_WB}": r"layers.\1.attention.\2.\3",
    _OLD + rf"attention\.output\.dense\.{_WB}": r"layers.\1.attention.out.\2",
    _OLD + rf"intermediate\.dense\.{_WB}": r"layers.\1.mlp.0.\2",
    _OLD + rf"output\.dense\.{_WB}": r"layers.\1.mlp.2.\2",
    _OLD + r"attention\.attention\.relative_position_bias\.relative_position_bias_table": r"layers.\1.bias.table",
    _NEW + rf"attention\.(q|k|v)_proj\.{_WB}": r"layers.\1.attention.\2.\3",
    _NEW + rf"attention\.o_proj\.{_WB}": r"layers.\1.attention.out.\2",
    _NEW + rf"mlp\.fc1\.{_WB}": r"layers.\1.mlp.0.\2",
    _NEW + rf"mlp\.fc2\.{_WB}": r"layers.\1.mlp.2.\2",
    _NEW + r"relative_position_bias\.relative_position_bias_table": r"layers.\1.bias.table",
    rf"(?:{_OLD}|{_NEW})layernorm_before\.{_WB}": r"layers.\1\2.norm1.\3",
    rf"(?:{_OLD}|{_NEW})layernorm_after\.{_WB}": r"layers.\1\2.norm2.\3",
    rf"(?:{_OLD}|{_NEW})lambda_([12])": r"layers.\1\2.scale\3",
    _HF + r"(?:encoder\.relative_position_bias|shared_position_bias)\.relative_position_bias_table": "bias.table",
    _HF + rf"layernorm\.{_WB}": r"norm.\1",
    _HF + rf"pooler\.layernorm\.{_WB}": r"norm.\1",
    _HF + rf"pooler\.dense\.{_WB}": "(a layer behind the class token that classification does not use)",
    rf"classifier\.{_WB}": r"head.\1",
    # timm and Microsoft's BEiT
    r"cls_token": "token",
    r"mask_token": OBJECTIVE + "mask",
    r"pos_embed": "positions",
    rf"patch_embed\.proj\.{_WB}": r"patch.\1",
    _MS + rf"norm([12])\.{_WB}": r"layers.\1.norm\2.\3",
    _MS + rf"attn\.qkv\.{_WB}": r"layers.\1.attention.qkv.\2",
    _MS + r"attn\.([qv])_bias": r"layers.\1.attention.\2_bias",
    _MS + rf"attn\.proj\.{_WB}": r"layers.\1.attention.out.\2",
    _MS + r"attn\.relative_position_bias_table": r"layers.\1.bias.table",
    _MS + rf"mlp\.fc1\.{_WB}": r"layers.\1.mlp.0.\2",
    _MS + rf"mlp\.fc2\.{_WB}": r"layers.\1.mlp.2.\2",
    _MS + r"gamma_([12])": r"layers.\1.scale\2",
    r"rel_pos_bias\.relative_position_bias_table": "bias.table",
    rf"(?:fc_)?norm\.{_WB}": r"norm.\1",
    rf"head\.{_WB}": r"head.\1",
    # of both
    rf"lm_head\.{_WB}": OBJECTIVE + r"say.\1",
    r".*relative_position_index": "(computed)",
}
_CLASSED = re.compile(r"(?:beit\.)?pooler\.layernorm|fc_norm")


def renamed(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors in our names, float32; reason by old name of what is left out). Raises EcgError for a key that no layout has."""
    out: dict[str, Tensor] = {}
    left_out: dict[str, str] = {}
    strange = []
    fine = any(_CLASSED.match(key) for key in state)  # a norm behind the mean of the patches: no other counts
    masking = any(key.startswith("lm_head.") for key in state)
    for key, value in state.items():
        target = next((found.expand(t) for p, t in _RULES.items() if (found := re.fullmatch(p, key))), None)
        if target is None:
            strange.append(key)
        elif target.startswith("("):
            left_out[key] = target.strip("()")
        elif target.startswith("norm.") and fine and not _CLASSED.match(key):
            left_out[key] = "the mean of the patches has a norm of its own"
        elif target.startswith("norm.") and masking:
            out[OBJECTIVE + target] = value.detach().float()
        else:
            out[target] = value.detach().float()
    if strange:
        raise EcgError(f"{len(strange)} tensors of unknown meaning for a ViT or BEiT: {', '.join(strange[:8])}")
    for name in ("token", OBJECTIVE + "mask", "positions"):
        if name in out:
            out[name] = out[name].reshape(-1, out[name].shape[-1]) if name == "positions" else out[name].flatten()
    _join(out)
    return out, left_out


def _join(out: dict[str, Tensor]) -> None:
    """q, k and v of a layer into one matrix, in place; BEiT's keys have no bias."""
    for place in sorted({m[1] for k in out if (m := re.fullmatch(r"(layers\.\d+\.attention\.)(?:q|query)\.weight", k))}):
        parts = [("q", "query"), ("k", "key"), ("v", "value")]
        weights, biases = [], []
        for names in parts:
            weights.append(next(out.pop(f"{place}{n}.weight") for n in names if f"{place}{n}.weight" in out))
            biases.append(next((out.pop(f"{place}{n}.bias") for n in names if f"{place}{n}.bias" in out), None))
        q, k, v = biases
        out[place + "qkv.weight"] = torch.cat(weights)
        if q is not None and k is not None and v is not None:
            out[place + "qkv.bias"] = torch.cat([q, k, v])
        elif q is not None and v is not None:
            out[place + "q_bias"], out[place + "v_bias"] = q, v


def tensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors by name of a .safetensors, or of a .pt or .pth that holds nothing but tensors. Raises EcgError."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            held: Any = load_file(path)
        else:
            held = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as fault:
        raise EcgError(
            "not loaded: it holds more than tensors, which could run code. Where nothing can be harmed, write its state_dict "
            "with safetensors.torch.save_file, and give that",
            path=path,
        ) from fault
    except (OSError, SafetensorError, RuntimeError, ValueError, EOFError, KeyError) as fault:
        raise EcgError(f"no file of weights: {fault}", path=path) from fault
    for inner in ("model", "state_dict", "module"):
        if isinstance(held, dict) and isinstance(held.get(inner), dict):
            held = held[inner]
    state = {k: v for k, v in held.items() if isinstance(v, Tensor)} if isinstance(held, dict) else {}
    if not state:
        raise EcgError("no file of weights: no tensors by name in it", path=path)
    return state


def pretrained(path: str | Path, name: str, **options: Any) -> Network:
    """The model `name` of the table with a published file's weights, or those of a folder of transformers; a fresh head, or the
    file's where its outputs are as many (a convnet's is fresh).

    Positions of another size are interpolated. Raises EcgError where the file does not fit.
    """
    model = build(name, **options)
    fill = getattr(model, "fill", None)
    if fill is not None:  # a convnet: transformers knows its own names
        fill(str(path))
        return model
    path = Path(path)
    path = path / "model.safetensors" if path.is_dir() else path
    try:
        state, _ = renamed(tensors(path))
        state = model.fitted({k: v for k, v in state.items() if not k.startswith(OBJECTIVE)})
    except EcgError as fault:
        raise fault.at(path) from fault
    own = model.state_dict()
    # Pre-training by masks leaves no norm for the classifier: it starts anew, as in BEiT's fine-tuning.
    anew = {k for k in own if k.startswith(("head.", "norm."))}
    state = {k: v for k, v in state.items() if not (k in anew and own[k].shape != v.shape)}
    lacking = [k for k in own if k not in state and k not in anew]
    strange = [k for k in state if k not in own]
    wrong = [
        f"{k} {tuple(state[k].shape)}, not {tuple(own[k].shape)}" for k in own if k in state and state[k].shape != own[k].shape
    ]
    if lacking or strange or wrong:
        parts = (("lacks", lacking), ("has", strange), ("of another shape", wrong))
        told = "; ".join(f"{say} {', '.join(what[:5])}" for say, what in parts if what)
        raise EcgError(f"does not fit {name}: {told}", path=path)
    model.load_state_dict({**own, **state})
    return model
