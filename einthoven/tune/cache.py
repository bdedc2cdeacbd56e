"""The head's input, computed once: with the head alone in training the backbone never changes, nor does what it gives."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from einthoven.record import EcgError

if TYPE_CHECKING:
    from einthoven.models.network import Network


@torch.no_grad()  # type: ignore[untyped-decorator]
def head_inputs(
    model: Network, inputs: NDArray[np.float32], batch: int = 64, path: str | Path | None = None
) -> NDArray[np.float32]:
    """What `model.backbone` gives the head for every input, in evaluation mode.

    Args:
        inputs: (N, L, T) float32, an array or a memory map; read a batch at a time.
        path: of a .npy file to hold them (then a memory map is returned); None keeps them in memory.

    Returns: (N, ...) float32, in the order of the inputs. `model` is left in the mode it was in.
    Raises EcgError where there is no input, or where the model gives another shape for another batch.
    """
    if not len(inputs):
        raise EcgError("there are no inputs to compute head inputs of")
    device = next(model.parameters()).device
    modes = {module: module.training for module in model.modules()}
    model.eval()
    out: NDArray[np.float32] | None = None
    try:
        for start in range(0, len(inputs), batch):
            signal = torch.from_numpy(np.array(inputs[start : start + batch], np.float32)).to(device)
            rows = model.backbone(signal).head_input.float().cpu().numpy()
            if out is None:
                shape = (len(inputs), *rows.shape[1:])
                out = np.lib.format.open_memmap(path, "w+", np.float32, shape) if path else np.empty(shape, np.float32)
            if rows.shape != (len(signal), *out.shape[1:]):
                raise EcgError(f"head inputs of one model differ in shape: {rows.shape[1:]} and {out.shape[1:]}")
            out[start : start + batch] = rows
    finally:
        for module, training in modes.items():
            module.training = training
    assert out is not None
    return out
