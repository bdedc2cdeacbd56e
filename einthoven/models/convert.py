"""Published checkpoints as safetensors in our layout: ECG-FM (fairseq-signals) and ECGFounder (Net1D).

    convert("mimic_iv_ecg_physionet_pretrained.pt", "ecg-fm.safetensors").text()      what it was, what was left out
    model = pretrained("ecg-fm.safetensors", outputs=3)                               with a fresh head
    load("ecg-fm.safetensors", model)                                                 into a model that exists

A published .pt is a pickle and untrusted. It is read with torch's weights-only reader alone, which runs nothing of it: for
the few classes of configuration that such files hold (omegaconf and the like) stands an empty stand-in, anything else is
refused. Converting is strict: every tensor is renamed, or left out for a reason that is told, and the result fits its
architecture to the last shape.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

from einthoven.models.table import build
from einthoven.record import STANDARD_LEADS, EcgError

if TYPE_CHECKING:
    from torch import Tensor

    from einthoven.models.signal.model import SignalModel

State = Mapping[str, "Tensor"]

_ABOUT = "einthoven"  # the entry of a file's metadata that says what it holds
OBJECTIVE = "objective."  # where a converted file keeps what only pre-training needs
SAFELY = (
    "Take its tensors out where nothing can be harmed (a container without network or data of yours): "
    "safetensors.torch.save_file(torch.load(FILE, map_location='cpu', weights_only=False)['model'], 'plain.safetensors'); "
    "then convert plain.safetensors"
)

# Modules whose classes describe a configuration or a number. A checkpoint may name them; a stand-in takes their place.
_HARMLESS = ("omegaconf", "typing", "collections", "enum", "argparse", "pathlib", "numpy", "fairseq", "fairseq_signals")
_PLAIN = ("int", "float", "str", "bool", "bytes", "list", "dict", "tuple", "set", "frozenset", "complex", "object")


@dataclass(frozen=True)
class Converted:
    """What `convert` made of a checkpoint. `options` the constructor's; `renamed` new name by old name; `left_out` the reason
    by old name; `head` whether it brought the head of its own labels."""

    model: str
    options: Mapping[str, Any]
    out: Path
    parameters: int
    renamed: Mapping[str, str]
    left_out: Mapping[str, str]
    head: bool

    def text(self) -> str:
        """A few lines for a person."""
        lines = [f"{self.out}: {self.model}, {self.parameters:,} parameters in {len(self.renamed)} tensors"]
        lines.append(
            f"head: of {self.options['outputs']} outputs" if self.head else "head: none, the model starts with a fresh one"
        )
        for reason in dict.fromkeys(self.left_out.values()):
            names = [name for name, why in self.left_out.items() if why == reason]
            lines.append(f"left out, {reason}: {', '.join(names[:6])}{f' and {len(names) - 6} more' if len(names) > 6 else ''}")
        return "\n".join(lines)


def convert(
    path: str | Path,
    out: str | Path,
    *,
    leads: Sequence[str] | None = None,
    objective: bool = False,
    heads: int | None = None,
) -> Converted:
    """Writes the checkpoint `path` (.pt, .pth or .safetensors, in its authors' layout) to `out` (safetensors, our layout).

    Args:
        leads: only these of the twelve, by name. The others' columns of the first convolution are dropped, which gives the
            output of the whole model fed with zeros there; ECG-FM knows zeros from its random lead masking.
        objective: also keeps what only pre-training needs (quantiser, projections), under the prefix "objective.".
        heads: attention heads, which no tensor's shape tells, where the checkpoint has no configuration and they are not 64
            wide.

    Raises:
        EcgError: not a checkpoint, not one of these architectures, one that cannot be read without running what is in it, one
            with tensors of unknown meaning or of unexpected shape.
    """
    import torch

    try:
        state, settings = _read(Path(path))
        layout = next((known for known in _LAYOUTS if known.sign in state or f"encoder.{known.sign}" in state), None)
        if layout is None:
            raise EcgError(f"no architecture that is known here ({', '.join(known.model for known in _LAYOUTS)})")
        layout.check(state, settings)
        names, left_out = layout.rename(state, objective)
        options = layout.options({names[k]: v for k, v in state.items() if k in names}, settings, heads)
        tensors = {names[k]: v.detach().to(torch.float32).contiguous().clone() for k, v in state.items() if k in names}
        _narrow(tensors, options, leads, layout)
        head = "head.weight" in tensors
        with torch.device("meta"):
            wanted = {k: v.shape for k, v in build(layout.model, **options).state_dict().items()}
        given = {k: v.shape for k, v in tensors.items() if not k.startswith(OBJECTIVE)}
        _compare(given, wanted, fresh=() if head else ("head.weight", "head.bias"))
    except EcgError as fault:
        raise fault.at(path) from fault
    store(out, layout.model, options, tensors, source=Path(path).name)
    parameters = sum(v.numel() for k, v in tensors.items() if not k.startswith(OBJECTIVE))
    return Converted(layout.model, options, Path(out), parameters, names, left_out, head)


def store(out: str | Path, model: str, options: Mapping[str, Any], state: State, *, source: str) -> None:
    """Writes tensors in our layout as `convert` does, for `pretrained`, `load` and `objective` to open."""
    from safetensors.torch import save_file

    from einthoven.io.files import replacing

    with replacing(out) as draft:
        save_file(
            {k: v.detach().cpu().contiguous() for k, v in state.items()},
            draft,
            # One entry: safetensors writes several in random order, and equal weights should be equal files.
            metadata={_ABOUT: json.dumps({"model": model, "config": dict(options), "source": source})},
        )


def pretrained(path: str | Path, *, leads: Sequence[str] | None = None, **options: Any) -> SignalModel:
    """The model that a converted file holds, with its weights. `options` replace its constructor's; another count of `outputs`
    gets a fresh head.

    `leads`: only these of the twelve, as in `convert`. Raises EcgError where the file is none of ours.
    """
    state, name, config = contents(path)
    if leads is not None:
        layout = next((layout for layout in _LAYOUTS if layout.model == name), None)
        if layout is None:
            able = ", ".join(known.model for known in _LAYOUTS)
            raise EcgError(f"leads of a {name} cannot be chosen, only of {able}", path=path)
        _narrow(state, config, leads, layout)
    model = build(name, **{**config, **options})
    _put(state, model, path)
    return model


def load(path: str | Path, model: SignalModel) -> tuple[str, ...]:
    """Puts a converted file's weights into `model`. Returns the names that stay fresh: the head's, where the file has none, or
    one of other size. All else must fit. Raises EcgError."""
    state, _, _ = contents(path)
    return _put(state, model, path)


def objective(path: str | Path) -> dict[str, Tensor]:
    """The tensors that only pre-training needs, without their prefix; empty where the file has none. Raises EcgError."""
    state, _, _ = contents(path, objective=True)
    return state


def is_converted(path: str | Path) -> bool:
    """Whether `convert` or a pre-training wrote this .safetensors. Raises EcgError where it is no safetensors file."""
    return _ABOUT in _tensors(Path(path), names=())[1]


def contents(path: str | Path, *, objective: bool = False) -> tuple[dict[str, Tensor], str, dict[str, Any]]:
    """A file that `convert` wrote: (the model's tensors, or with `objective` those of its pre-training without their prefix;
    the model's name; its constructor's options). Raises EcgError where it is none of ours."""
    state, about = _tensors(Path(path))
    try:
        told = json.loads(about[_ABOUT])
        name, config = str(told["model"]), dict(told["config"])
    except (KeyError, ValueError, TypeError) as fault:
        raise EcgError("not written by `convert`: it does not say what it holds", path=path) from fault
    chosen = {k.removeprefix(OBJECTIVE): v for k, v in state.items() if k.startswith(OBJECTIVE) == objective}
    return chosen, name, config


# ---- layouts ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Layout:
    """How a published checkpoint names things. `sign`: a key that only it has; `first`: our first convolution; `rules`: pattern
    over its keys -> our name, or a reason to leave it out (in brackets)."""

    model: str
    sign: str
    first: str
    rules: Mapping[str, str]
    check: Callable[[State, Mapping[str, Any]], None]  # raises EcgError for a near relation that our forward is not
    options: Callable[[State, Mapping[str, Any], int | None], dict[str, Any]]

    def rename(self, state: State, objective: bool) -> tuple[dict[str, str], dict[str, str]]:
        """(new name by old, reason by old). Raises EcgError for a key that no rule knows, and for two of one name."""
        # A fine-tuned fairseq-signals model holds its encoder one level down.
        prefix = "" if self.sign in state else "encoder."
        names: dict[str, str] = {}
        left_out: dict[str, str] = {}
        strange = []
        for key in state:
            short = key.removeprefix(prefix)
            for pattern, target in self.rules.items():
                found = re.fullmatch(pattern, short)
                if found is None:
                    continue
                if target.startswith("("):
                    left_out[key] = target.strip("()")
                elif target.startswith(OBJECTIVE) and not objective:
                    left_out[key] = "only pre-training needs it"
                else:
                    names[key] = found.expand(target)
                break
            else:
                strange.append(key)
        if strange:
            raise EcgError(f"{len(strange)} tensors of unknown meaning for {self.model}: {', '.join(strange[:8])}")
        if len(set(names.values())) != len(names):
            raise EcgError(f"{self.model}: two spellings of one tensor in the same file")
        return names, left_out


def _ecg_fm_check(state: State, settings: Mapping[str, Any]) -> None:
    if settings.get("layer_norm_first") or settings.get("extractor_mode", "default") != "default":
        raise EcgError("a variant of wav2vec 2.0 that ECG-FM is not (norm before the layers, or norms in all convolutions)")


def _ecg_founder_check(state: State, settings: Mapping[str, Any]) -> None:
    """The published files hold batch norms that were never run; one that was trained with them is another model."""
    ran = [k for k, v in state.items() if k.endswith("num_batches_tracked") and int(v) > 0]
    if ran:
        raise EcgError(f"a Net1D that was trained with batch normalisation ({ran[0]}), which the published ECGFounder was not")


def _ecg_fm_options(state: State, settings: Mapping[str, Any], heads: int | None) -> dict[str, Any]:
    first, direction = _of(state, "encoder.features.convs.0.weight"), _of(state, "encoder.position.direction")
    width = direction.shape[0]
    heads = settings.get("encoder_attention_heads", heads)
    if heads is None and width % 64:
        raise EcgError(f"how many attention heads? The file does not say, and {width} is no multiple of 64 (heads=...)")
    depth = len({k.split(".")[2] for k in state if k.startswith("encoder.layers.")})
    return {
        "leads": first.shape[1],
        "outputs": state["head.weight"].shape[0] if "head.weight" in state else 1,
        "width": width,
        "depth": depth,
        "heads": width // 64 if heads is None else int(heads),
        "hidden": _of(state, "encoder.layers.0.ffn.fc1.weight").shape[0],
        "channels": first.shape[0],
        "kernel": direction.shape[2],
        "groups": width // direction.shape[1],
    }


def _ecg_founder_options(state: State, settings: Mapping[str, Any], heads: int | None) -> dict[str, Any]:
    stem = _of(state, "stem.weight")
    places = {tuple(int(n) for n in k.split(".")[1:3]) for k in state if k.startswith("stages.")}
    blocks = [sum(1 for i, _ in places if i == stage) for stage in range(len({i for i, _ in places}))]
    middle = [_of(state, f"stages.{stage}.0.conv.weight") for stage in range(len(blocks))]
    return {
        "leads": stem.shape[1],
        "outputs": _of(state, "head.weight").shape[0],
        "width": stem.shape[0],
        "filters": [m.shape[0] for m in middle],
        "blocks": blocks,
        "kernel": stem.shape[2],
        "group": middle[0].shape[1] if middle else 1,
    }


_WB = r"(weight|bias)"
_BLOCK = r"stage_list\.(\d+)\.block_list\.(\d+)\."
_UNUSED = "(batch normalisation that the published model never runs)"

# fairseq-signals (Jwoo5/fairseq-signals, models/wav2vec2); the position's weight in the spelling of torch before and after 2.1.
_ECG_FM = _Layout(
    "ecg-fm",
    "feature_extractor.conv_layers.0.0.weight",
    "encoder.features.convs.0.weight",
    {
        r"feature_extractor\.conv_layers\.(\d+)\.0\.weight": r"encoder.features.convs.\1.weight",
        rf"feature_extractor\.conv_layers\.0\.2\.{_WB}": r"encoder.features.norm.\1",
        rf"layer_norm\.{_WB}": r"encoder.features_norm.\1",
        rf"post_extract_proj\.{_WB}": r"encoder.project.\1",
        r"conv_pos\.pos_conv\.0\.bias": "encoder.position.bias",
        r"conv_pos\.pos_conv\.0\.(?:weight_g|parametrizations\.weight\.original0)": "encoder.position.gain",
        r"conv_pos\.pos_conv\.0\.(?:weight_v|parametrizations\.weight\.original1)": "encoder.position.direction",
        rf"encoder\.layers\.(\d+)\.self_attn\.([qkv]|out)_proj\.{_WB}": r"encoder.layers.\1.attention.\2_proj.\3",
        rf"encoder\.layers\.(\d+)\.self_attn_layer_norm\.{_WB}": r"encoder.layers.\1.attention_norm.\2",
        rf"encoder\.layers\.(\d+)\.(fc[12])\.{_WB}": r"encoder.layers.\1.ffn.\2.\3",
        rf"encoder\.layers\.(\d+)\.final_layer_norm\.{_WB}": r"encoder.layers.\1.ffn_norm.\2",
        rf"encoder\.layer_norm\.{_WB}": r"encoder.norm.\1",
        rf"proj\.{_WB}": r"head.\1",
        r"mask_emb": OBJECTIVE + "mask",
        r"quantizer\.vars": OBJECTIVE + "quantizer.codes",
        rf"quantizer\.weight_proj\.{_WB}": OBJECTIVE + r"quantizer.choose.\1",
        rf"project_q\.{_WB}": OBJECTIVE + r"project_target.\1",
        rf"final_proj\.{_WB}": OBJECTIVE + r"project_context.\1",
    },
    _ecg_fm_check,
    _ecg_fm_options,
)

# PKUDigitalHealth/ECGFounder, net1d.py.
_ECG_FOUNDER = _Layout(
    "ecg-founder",
    "first_conv.conv.weight",
    "stem.weight",
    {
        rf"first_conv\.conv\.{_WB}": r"stem.\1",
        rf"{_BLOCK}conv1\.conv\.{_WB}": r"stages.\1.\2.enter.\3",
        rf"{_BLOCK}conv2\.conv\.{_WB}": r"stages.\1.\2.conv.\3",
        rf"{_BLOCK}conv3\.conv\.{_WB}": r"stages.\1.\2.leave.\3",
        rf"{_BLOCK}se_fc1\.{_WB}": r"stages.\1.\2.squeeze.\3",
        rf"{_BLOCK}se_fc2\.{_WB}": r"stages.\1.\2.excite.\3",
        rf"dense\.{_WB}": r"head.\1",
        rf"first_bn\.(?:{_WB}|running_mean|running_var|num_batches_tracked)": _UNUSED,
        rf"{_BLOCK}bn[123]\.(?:{_WB}|running_mean|running_var|num_batches_tracked)": _UNUSED,
    },
    _ecg_founder_check,
    _ecg_founder_options,
)

_LAYOUTS = (_ECG_FM, _ECG_FOUNDER)


# ---- files --------------------------------------------------------------------------------------------------------------


class _StandIn:
    """Takes the place of a class of configuration: swallows what it is made from and does nothing."""

    def __new__(cls, *args: object, **names: object) -> _StandIn:
        return super().__new__(cls)

    def __init__(self, *args: object, **names: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass

    def __hash__(self) -> int:
        return 0


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A published checkpoint -> (tensors by name, the model's settings where it has plain ones)."""
    import torch

    if path.suffix == ".safetensors":
        return {k.removeprefix("module."): v for k, v in _tensors(path)[0].items()}, {}
    try:
        if zipfile.is_zipfile(path):
            strange = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
            refused = [name for name in strange if not _harmless(name)]
            if refused:
                raise EcgError(f"not loaded: it asks for {', '.join(refused[:5])}, which could run code. {SAFELY}")
            stand_ins: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [(_StandIn, name) for name in strange]
            with torch.serialization.safe_globals(stand_ins):
                held = torch.load(path, map_location="cpu", weights_only=True)
        else:
            held = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as fault:
        # torch's own words go on to recommend weights_only=False, which is what must not be done here.
        reason = re.search(r"WeightsUnpickler error:\s*(.*)", str(fault))
        told = f" ({reason[1]})" if reason else ""
        raise EcgError(
            f"not loaded: no checkpoint, or one that cannot be read without running what is in it{told}. {SAFELY}"
        ) from fault
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, IndexError, TypeError, AttributeError) as fault:
        raise EcgError(f"not a checkpoint: {fault}") from fault
    settings: object = {}
    if isinstance(held, dict):
        cfg = held.get("cfg")
        settings = cfg.get("model") if isinstance(cfg, dict) else {}
        held = next((held[k] for k in ("model", "state_dict", "model_state_dict") if isinstance(held.get(k), dict)), held)
    state = {}
    for key, value in held.items() if isinstance(held, dict) else ():
        if isinstance(key, str) and isinstance(value, torch.Tensor):
            state[key.removeprefix("module.")] = value
    if not state:
        raise EcgError("not a checkpoint: no tensors by name in it")
    return state, dict(settings) if isinstance(settings, dict) else {}


def _harmless(name: str) -> bool:
    module, _, rest = name.partition(".")
    return module in _HARMLESS or (module == "builtins" and rest in _PLAIN)


def _tensors(path: Path, names: Sequence[str] | None = None) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(these tensors, or all; metadata)"""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {k: file.get_tensor(k) for k in (file.keys() if names is None else names)}, file.metadata() or {}
    except (OSError, SafetensorError) as fault:
        raise EcgError(f"not a safetensors file: {fault}", path=path) from fault


def _put(state: dict[str, Tensor], model: SignalModel, path: str | Path) -> tuple[str, ...]:
    wanted = {k: v.shape for k, v in model.state_dict().items()}
    head = [k for k in wanted if k.startswith("head.")]
    fresh = tuple(head) if any(k not in state or state[k].shape != wanted[k] for k in head) else ()
    state = {k: v for k, v in state.items() if not (fresh and k.startswith("head."))}
    try:
        state = model.fitted(state)
        _compare({k: v.shape for k, v in state.items()}, wanted, fresh)
    except EcgError as fault:
        raise fault.at(path) from fault
    model.load_state_dict(state, strict=False)  # strict but for the head, as just compared
    return fresh


def _compare(given: Mapping[str, Any], wanted: Mapping[str, Any], fresh: Sequence[str]) -> None:
    lacking = [k for k in wanted if k not in given and k not in fresh]
    strange = [k for k in given if k not in wanted]
    wrong = [f"{k} {tuple(given[k])}, not {tuple(wanted[k])}" for k in wanted if k in given and given[k] != wanted[k]]
    if lacking or strange or wrong:
        parts = (("lacks", lacking), ("does not know", strange), ("of another shape", wrong))
        raise EcgError("does not fit: " + "; ".join(f"{say} {', '.join(what[:5])}" for say, what in parts if what))


def _of(state: State, name: str) -> Tensor:
    if name not in state:
        raise EcgError(f"does not fit: lacks {name}")
    return state[name]


def _narrow(state: dict[str, Tensor], options: dict[str, Any], leads: Sequence[str] | None, layout: _Layout) -> None:
    """Keeps, in place, only the columns of these leads."""
    if leads is None:
        return
    strange = [lead for lead in leads if lead not in STANDARD_LEADS]
    if strange or not leads or options["leads"] != len(STANDARD_LEADS):
        raise EcgError(f"leads {', '.join(leads)}: some of the twelve standard leads of a 12-lead model can be kept, no others")
    rows = [STANDARD_LEADS.index(lead) for lead in leads]
    state[layout.first] = state[layout.first][:, rows].contiguous()
    options["leads"] = len(rows)
