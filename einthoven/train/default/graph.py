"""All members as one ONNX graph: features (B, F) -> logits (B, K), embedding (B, 256).

Trees are `TreeEnsembleRegressor` of ai.onnx.ml, which every ONNX runtime has; the networks come from torch.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from einthoven.exchange.onnx_out import forget_sources
from einthoven.represent.features import NAMES
from einthoven.train.default.members import NEVER, A, Arrays, as_trees, network
from einthoven.train.default.network import Several
from einthoven.train.default.trees import Trees

OPSET, ML_OPSET = 18, 3


def build(members: Mapping[str, Arrays], superclasses: int, kept: Iterable[int] | None = None) -> onnx.ModelProto:
    """The graph of fitted members, by their names, telling the labels `kept` (None: all); checked by onnx."""
    labels = len(members["boosted"]["base"])
    model = _networks(members)
    graph = model.graph
    told = list(range(labels) if kept is None else kept)
    graph.output[0].name = "logits"
    graph.output[0].type.tensor_type.shape.dim[1].dim_value = len(told)
    share = np.full((1, labels), 1 / 2, np.float32)
    share[:, :superclasses] = 1 / 3
    place = np.eye(superclasses, labels, dtype=np.float32)
    constants = {
        "fill": members["boosted"]["fill"][None],
        "share": share,
        "place": place,
        "from": np.array([0]),
        "to": np.array([A]),
        "axis": np.array([1]),
        "never": np.float32(NEVER),
        "always": np.float32(1 - NEVER),
        "one": np.float32(1),
        "kept": np.array(told, np.int64),
    }
    graph.initializer.extend(numpy_helper.from_array(np.asarray(v), f"blend.{k}") for k, v in constants.items())

    def put(op: str, inputs: str, output: str, **attributes: Any) -> None:
        graph.node.append(
            helper.make_node(op, inputs.split(), [output], name=f"blend.{op}.{output.split('.')[-1]}", **attributes)
        )

    put("Slice", "features blend.from blend.to blend.axis", "blend.raw")
    put("IsNaN", "blend.raw", "blend.unknown")
    put("Where", "blend.unknown blend.fill blend.raw", "blend.figures")
    for name in ("extra_trees", "boosted"):
        graph.node.append(_ensemble(as_trees(members[name]), "blend.figures", f"blend.{name}"))
    put("Clip", "blend.extra_trees blend.never blend.always", "blend.p")
    put("Log", "blend.p", "blend.log_p")
    put("Sub", "blend.one blend.p", "blend.q")
    put("Log", "blend.q", "blend.log_q")
    put("Sub", "blend.log_p blend.log_q", "blend.forest")
    put("MatMul", "blend.forest blend.place", "blend.placed")
    put("Add", "blend.placed blend.boosted", "blend.trees")
    put("Add", "blend.trees network", "blend.sum")
    put("Mul", "blend.sum blend.share", "blend.all")
    put("Gather", "blend.all blend.kept", "logits", axis=1)
    for old in [o for o in model.opset_import if o.domain == "ai.onnx.ml"]:
        model.opset_import.remove(old)
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", ML_OPSET))
    onnx.checker.check_model(model, full_check=True)
    return model


def _networks(members: Mapping[str, Arrays]) -> onnx.ModelProto:
    """The networks alone, their mean logits called "network"."""
    nets = Several([network(arrays) for name, arrays in members.items() if name.startswith("network")]).eval()
    example = torch.zeros(2, len(NAMES))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "networks.onnx"
        torch.onnx.export(
            nets,
            (example,),
            path,
            input_names=["features"],
            output_names=["network", "embedding"],
            dynamic_shapes=({0: torch.export.Dim("B")},),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        model = onnx.load(path)
    forget_sources(model)
    del model.metadata_props[:]
    del model.graph.value_info[:]
    return model


def _ensemble(trees: Trees, x: str, out: str) -> onnx.NodeProto:
    leaf = trees.feature < 0

    def ints(values: NDArray[Any]) -> list[int]:
        return [int(v) for v in values]

    return helper.make_node(
        "TreeEnsembleRegressor",
        [x],
        [out],
        name=out,
        domain="ai.onnx.ml",
        aggregate_function="SUM",
        post_transform="NONE",
        n_targets=len(trees.base),
        base_values=[float(v) for v in trees.base],
        nodes_treeids=ints(trees.tree),
        nodes_nodeids=ints(trees.node),
        nodes_featureids=ints(np.maximum(trees.feature, 0)),
        nodes_values=[float(v) for v in trees.threshold],
        nodes_modes=["LEAF" if one else "BRANCH_LEQ" for one in leaf],
        nodes_truenodeids=ints(trees.yes),
        nodes_falsenodeids=ints(trees.no),
        target_treeids=ints(trees.tree[leaf]),
        target_nodeids=ints(trees.node[leaf]),
        target_ids=ints(trees.target[leaf]),
        target_weights=[float(v) for v in trees.value[leaf]],
    )
