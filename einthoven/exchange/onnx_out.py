"""A torch model as ONNX: checked against torch before anybody gets it, with the manifest in its metadata.

Inputs are named as in the manifest ("signal" (B, L, T), and "features" (B, F) where the model takes them; "image" (B, 3, H, W)
of a model of images), outputs are
"logits" (B, K), before any activation and calibration, and "embedding" (B, D). The batch is dynamic.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from einthoven.exchange.bundle import Bundle
from einthoven.exchange.manifest import Manifest
from einthoven.exchange.predict import session
from einthoven.io.files import replacing
from einthoven.record import EcgError, WrongUse

if TYPE_CHECKING:
    from torch import nn

TOLERANCE = 1e-4  # of the largest output, or of 1 where that is smaller
OUTPUTS = ("logits", "embedding")
KEY = "einthoven"  # of the manifest in the metadata
_LARGEST = 2_000_000_000  # bytes of weights: protobuf ends at 2 GiB, and weights outside the file could be any file


def export(
    model: nn.Module,
    path: str | Path,
    samples: int = 0,
    leads: int = 12,
    *,
    features: int = 0,
    image: tuple[int, int] | None = None,
    manifest: Manifest | None = None,
    trainable: bool = False,
    batches: Sequence[int] = (1, 2, 5),
) -> Path:
    """Writes `model` as ONNX and proves that onnxruntime computes with it what torch does.

    Args:
        model: an einthoven.models.network.Network; called as model(signal), model(image), model(features)
            or model(signal, features).
        samples, leads, features: the shape of the inputs, (B, leads, samples) and (B, features); 0 samples: no signal.
        image: (height, width) of the one input of a model of images.
        manifest: goes into the metadata (`metadata`).
        trainable: keeps BatchNorm as it is, so that the graph can be trained on (train.onnx). Otherwise it is folded
            into the convolutions.
        batches: sizes at which ONNX is compared with torch, on random input.

    Raises:
        EcgError: torch is missing, the model cannot be exported or is too large for one file, or ONNX differs from torch by
            more than TOLERANCE.
    """
    try:
        import onnx
        import torch
    except ImportError as fault:
        raise EcgError(f"export needs torch and onnx: pip install 'einthoven[train]' ({fault})") from fault

    path = Path(path)
    shapes: dict[str, tuple[int, ...]] = {"image": (3, *image)} if image else {"signal": (leads, samples)}
    if features and not samples and not image:
        shapes = {}
    if features:
        shapes["features"] = (features,)
    was_training = model.training
    plain = _plain(model)
    # Batch 2: an example of one would make the exporter take the batch for a constant.
    example = tuple(torch.randn(2, *shape) for shape in shapes.values())
    batch = torch.export.Dim("batch", min=1)
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    if size > _LARGEST:
        raise EcgError(f"{size:,} bytes of weights: one ONNX file holds at most {_LARGEST:,}", path=path)
    try:
        with _quiet(), torch.no_grad():  # with gradients attention under a mask is traced in a layout that cannot be exported
            program = torch.onnx.export(
                plain,
                example,
                dynamo=True,
                input_names=list(shapes),
                output_names=list(OUTPUTS),
                dynamic_shapes=(tuple({0: batch} for _ in shapes),),  # forward takes *inputs
                external_data=False,
                optimize=not trainable,
                verbose=False,
            )
        with replacing(path) as draft:
            program.save(str(draft), external_data=False)
            graph = onnx.load(str(draft))
            _keep_pads(onnx, graph)
            forget_sources(graph)
            if manifest is not None:
                onnx.helper.set_model_props(graph, metadata(manifest))
            onnx.save(graph, str(draft))
            _compare(plain, draft, shapes, batches)
    except EcgError as fault:
        raise EcgError(fault.what, path=path) from fault.__cause__
    except Exception as fault:  # the exporter's own exceptions share no base
        raise EcgError(f"{type(model).__name__} cannot be exported: {fault}", path=path) from fault
    finally:
        model.train(was_training)
    return path


def metadata(manifest: Manifest) -> dict[str, str]:
    """The manifest for ONNX's metadata_props: as JSON under "einthoven" (without the hashes of the files, of which this is
    one), and under the keys that ExChanGeAI reads (its target_keys are a Python list as text)."""
    words = {KEY: json.dumps(manifest.model_copy(update={"files": {}}).model_dump(mode="json"), ensure_ascii=False)}
    words["target_keys"] = str(list(manifest.names))
    if manifest.signal is not None:
        preset = manifest.signal.as_preset()
        words["standardizer"] = {"1": "minMax", "z": "meanStd"}.get(preset.unit, "None")
        words["scale"] = "milliVolt"
        if preset.fs is not None:
            words["sampling_rate"] = f"{preset.fs:g}"
    return words


def stamp(path: str | Path, manifest: Manifest) -> Path:
    """Puts the manifest into the metadata of the ONNX file at `path`, in place. Needs onnx."""
    try:
        import onnx
    except ImportError as fault:
        raise EcgError(f"needs onnx: pip install 'einthoven[train]' ({fault})") from fault
    path = Path(path)
    with replacing(path) as draft:
        graph = onnx.load(str(path), load_external_data=False)
        onnx.helper.set_model_props(graph, metadata(manifest))
        onnx.save(graph, str(draft))
    return path


def alone(bundle: Bundle, target: str | Path, *, trainable: bool = False, overwrite: bool = False) -> Path:
    """A Bundle's network as one ONNX file, with the manifest in its metadata.

    Needs onnx only where the metadata are not in it yet.

    Raises:
        EcgError: there is no trainable network in the Bundle, or `target` exists.
    """
    target = Path(target)
    name = "train.onnx" if trainable else "model.onnx"
    if target.exists() and not overwrite:
        raise WrongUse("exists already", path=target)
    data = bundle.read(name)
    wanted = metadata(bundle.manifest)
    have = session(data, path=bundle.path).get_modelmeta().custom_metadata_map
    with replacing(target) as draft:
        draft.write_bytes(data)
        if any(have.get(key) != value for key, value in wanted.items()):
            stamp(draft, bundle.manifest)
    return target


def forget_sources(model: Any) -> None:
    """Takes out, in place, what torch remembers of its own sources: each node's stack says where it ran, on whose machine."""
    inside = [model.graph, *model.functions]
    for one in inside:
        one.doc_string = ""
        for part in (*one.node, *one.value_info):
            part.doc_string = ""
            del part.metadata_props[:]
    for part in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]


def _keep_pads(onnx: Any, model: Any) -> None:
    """Keeps onnxruntime from merging a Pad with zeros into the MaxPool behind it, where the border counts as minus infinity:
    with negative values around it, the maximum changes (onnxruntime 1.31, PadFusion). It merges zeros alone, so the
    border becomes the smallest float above zero that is no subnormal.
    """
    pooled = {node.input[0] for node in model.graph.node if node.op_type == "MaxPool"}
    pads = [node for node in model.graph.node if node.op_type == "Pad" and node.output[0] in pooled]
    zeros = [node for node in pads if len(node.input) < 3 or not node.input[2] or _is_zero(onnx, model, node.input[2])]
    if zeros:
        border = "border_above_zero"
        tiny = float(np.finfo(np.float32).tiny)
        model.graph.initializer.append(onnx.helper.make_tensor(border, onnx.TensorProto.FLOAT, [], [tiny]))
        for node in zeros:
            node.input[:] = [*node.input[:2], border, *node.input[3:]]


def _is_zero(onnx: Any, model: Any, name: str) -> bool:
    values = [one for one in model.graph.initializer if one.name == name]
    values += [n.attribute[0].t for n in model.graph.node if n.op_type == "Constant" and n.output[0] == name]
    return bool(values) and not onnx.numpy_helper.to_array(values[0]).any()


def _plain(model: nn.Module) -> nn.Module:
    """The model in eval mode with a tuple for output: ONNX knows no NamedTuple with a dict in it."""
    from torch import Tensor, nn

    class Plain(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
            out = self.model(*inputs)
            return out.logits, out.embedding

    plain: nn.Module = Plain().eval()
    return plain


def _compare(plain: nn.Module, path: Path, shapes: Mapping[str, tuple[int, ...]], batches: Sequence[int]) -> None:
    import torch

    run = session(path)
    rng = np.random.default_rng(0)
    for size in batches:
        given = {name: rng.standard_normal((size, *shape), dtype=np.float32) for name, shape in shapes.items()}
        if "features" in given:  # not every figure can be measured in every ECG: a model has to take NaN
            given["features"][rng.random(given["features"].shape) < 0.2] = np.nan
        with torch.no_grad():
            wanted = [out.numpy() for out in plain(*(torch.from_numpy(x) for x in given.values()))]
        for name, have, want in zip(OUTPUTS, run.run(list(OUTPUTS), given), wanted, strict=True):
            gap = float(np.abs(have - want).max()) if have.shape == want.shape else float("inf")
            allowed = TOLERANCE * max(1.0, float(np.abs(want).max()))
            if not gap <= allowed:
                told = f"ONNX differs from torch: {name} by {gap:.2g} at batch {size} (allowed: {allowed:.2g})"
                raise EcgError(told, path=path)


@contextlib.contextmanager
def _quiet() -> Any:
    """The exporter prints its progress and warns of its own internals; a failure comes as an exception all the same."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
