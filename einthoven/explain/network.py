"""From a Bundle to the network that its gradients come from. Needs torch.

What predicts is the Bundle's ONNX file; what is explained is the same network built anew from its weights. That the two say the
same of the ECG in question is checked each time.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from einthoven.exchange.bundle import Bundle
from einthoven.record import EcgError

_APART = 1e-3  # of the largest logit, at most, between ONNX and the network


def network(bundle: Bundle) -> nn.Module:
    """The Bundle's network in evaluation mode, its parameters fixed.

    Raises:
        EcgError: it cannot be built: an architecture that is not in the table of models, no weights, or measured features among
            its inputs, for which there is no gradient.
    """
    what = bundle.manifest.architecture
    if bundle.manifest.features is not None:
        raise EcgError("takes measured features, through which there is no gradient: explain it by occlusion", path=bundle.path)
    net = _foreign(bundle) if what.model == "onnx" else _ours(bundle, what.model, dict(what.config), what.tuning or {})
    net.eval().requires_grad_(False)
    return net


def check_same(net: nn.Module, inputs: NDArray[np.float32], logits: NDArray[np.float32], bundle: Bundle) -> None:
    """Raises EcgError where the network's logits are not those (B, K) that the Bundle gives for the same inputs."""
    with torch.no_grad():
        ours = net(torch.from_numpy(inputs)).logits.numpy()
    gap = float(np.abs(ours - logits).max() / max(float(np.abs(logits).max()), 1.0))
    if not gap <= _APART:
        raise EcgError(
            f"its weights and its model.onnx are not the same network (logits differ by {gap:.2g})", path=bundle.path
        )


def _ours(bundle: Bundle, model: str, config: dict[str, Any], tuned: dict[str, Any]) -> nn.Module:
    from safetensors import SafetensorError
    from safetensors.torch import load as read_state

    from einthoven import tune
    from einthoven.models.table import build, by_name

    net = build(model, **config)
    try:
        state = read_state(bundle.read("weights.safetensors"))
        if tuned.get("method") == "adapter":  # adapters cannot be folded away: the network carries them
            tune.apply(net, tune.Tuning(**tuned), by_name(model))
        net.load_state_dict(state)
    except (SafetensorError, RuntimeError, TypeError) as fault:
        raise EcgError(f"its weights are not those of {model}: {str(fault)[:200]}", path=bundle.path) from fault
    return net


def _foreign(bundle: Bundle) -> nn.Module:
    """An ONNX file as a network of torch."""
    signal = bundle.manifest.signal
    if signal is None:
        raise EcgError("takes no signal", path=bundle.path)
    preset = signal.as_preset()
    try:
        from einthoven.exchange.onnx_in import open_onnx
    except ImportError as fault:
        raise EcgError(f"gradients need more packages: pip install 'einthoven[train]' ({fault})", path=bundle.path) from fault
    with tempfile.TemporaryDirectory(prefix="einthoven-") as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(bundle.read("model.onnx"))
        try:
            return open_onnx(path, leads=len(preset.leads or ()) or 12, samples=preset.length, output="logits").model
        except EcgError as fault:
            raise EcgError(
                f"no gradients of its model.onnx ({fault.what}): explain it by occlusion", path=bundle.path
            ) from fault
