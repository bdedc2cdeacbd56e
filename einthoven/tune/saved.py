"""LoRA on disk as peft lays it out, so that peft loads ours and whoever knows peft can read it.

    adapter_config.json          {"peft_type": "LORA", "r": ..., "target_modules": [...], "modules_to_save": ["head"], ...}
    adapter_model.safetensors    base_model.model.<name>.lora_A.weight, ....lora_B.weight, base_model.model.head....

What the other methods train is saved under the same names without the first file, for peft does not know them. Our `Tuning`
stands in the metadata of the second. peft (0.21) runs Linear and dense Conv1d as we do, save dilated ones: its A forgets the
dilation. Grouped convolutions are ours alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from einthoven.record import EcgError
from einthoven.tune.lora import adapted
from einthoven.tune.trainable import adapter_state, load_adapter
from einthoven.tune.tuning import Tuning

if TYPE_CHECKING:
    from einthoven.models.network import Network

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."


def peft_config(model: Network, tuning: Tuning) -> dict[str, Any]:
    """What goes to adapter_config.json."""
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": None,
        "r": tuning.rank,
        "lora_alpha": tuning.alpha,
        "lora_dropout": tuning.dropout,
        "use_rslora": tuning.rslora,
        "target_modules": [name for name, _ in adapted(model)],
        "modules_to_save": ["head"],
        "bias": "none",
        "inference_mode": True,
    }


def save_adapter(model: Network, tuning: Tuning, folder: str | Path) -> None:
    """Writes the files into `folder` (made where it is not there): a model that `apply` tuned, as it now is."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = {PREFIX + name: tensor for name, tensor in adapter_state(model).items()}
    save_file(state, folder / WEIGHTS, metadata={"format": "pt", "einthoven.tuning": json.dumps(tuning.to_dict())})
    if tuning.method == "lora":
        (folder / CONFIG).write_text(json.dumps(peft_config(model, tuning), indent=2) + "\n", encoding="utf-8")


def open_adapter(model: Network, folder: str | Path) -> None:
    """Loads them into a model that was tuned (`apply`) in the same way.

    Raises EcgError where they do not fit or are unreadable.
    """
    path = Path(folder) / WEIGHTS
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as fault:
        raise EcgError(f"no adapter can be read: {fault}", path=path) from fault
    strange = [name for name in state if not name.startswith(PREFIX)]
    if strange:
        raise EcgError(f"{strange[0]} is no name in peft's layout", path=path)
    try:
        load_adapter(model, {name.removeprefix(PREFIX): tensor for name, tensor in state.items()})
    except EcgError as fault:
        raise fault.at(path) from fault


def tuning_of(folder: str | Path) -> Tuning:
    """The `Tuning` that a folder written by `save_adapter` was made with."""
    path = Path(folder) / WEIGHTS
    try:
        with safe_open(path, framework="pt") as file:
            return Tuning.from_dict(json.loads(file.metadata()["einthoven.tuning"]))
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as fault:
        raise EcgError(f"no adapter of ours: {fault}", path=path) from fault
