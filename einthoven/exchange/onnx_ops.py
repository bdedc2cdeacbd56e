"""ONNX's operators in torch: one function each, of attributes and inputs.

What a graph computes on is of two kinds. Signals and weights are tensors. Sizes, axes and indices are *host* values: numpy
arrays of Python's integers (or the symbols that torch.export has for a size that may change), so that a shape stays a shape
and no tensor has to be looked into while the graph runs. An operator of host values alone gives a host value.

Operators stand in the form of opset 20; exchange/onnx_in.py brings older spellings into it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from einthoven.record import EcgError

Host = NDArray[Any]
Value = Any  # Tensor | Host | None, or a tuple of them
Attributes = Mapping[str, Any]

TYPES = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool, 10: torch.float16, 11: torch.float64}
_LARGEST = 1 << 31  # numbers in one tensor: a file of some bytes may ask for any size


def host(values: Any) -> Host:
    """Sizes as an array; symbols stay what they are."""
    flat = list(values) if isinstance(values, list | tuple | torch.Size) else None
    if flat is None:
        return np.asarray(values)
    plain = all(isinstance(v, int) for v in flat)
    out = np.empty(len(flat), np.int64 if plain else object)
    for i, v in enumerate(flat):
        out[i] = v
    return out


def ints(value: Value) -> list[Any]:
    """A host value (or, where a file leaves no other way, a tensor) as a flat list of sizes."""
    return list(np.ravel(value).tolist()) if isinstance(value, np.ndarray) else [int(v) for v in value.reshape(-1).tolist()]


def tensor(value: Value, like: Tensor | None = None) -> Tensor:
    """A host value as a tensor (int64, bool, or float32) on the device of `like`."""
    if isinstance(value, Tensor):
        return value
    device = None if like is None else like.device
    array = np.asarray(value)
    if array.dtype != object:
        return torch.as_tensor(array, device=device)
    flat = [torch.scalar_tensor(v, dtype=torch.int64, device=device) for v in array.ravel()]
    return torch.stack(flat).reshape(array.shape)


def tensors(values: Sequence[Value]) -> list[Tensor]:
    like = next((v for v in values if isinstance(v, Tensor)), None)
    return [tensor(v, like) for v in values]


def _axis(a: Attributes, x: Value, default: int = 0) -> int:
    axis = int(a.get("axis", default))
    return axis + x.ndim if axis < 0 else axis


def _axes(value: Value, ndim: int) -> list[int]:
    return [int(i) % ndim for i in ints(value)]


# ---- element by element -----------------------------------------------------------------------------------------------


def elementwise(of_tensor: Callable[..., Tensor], of_host: Callable[..., Any] | None = None) -> Callable[..., Value]:
    def operator(a: Attributes, *x: Value) -> Value:
        if of_host is not None and all(isinstance(v, np.ndarray) for v in x):
            return np.asarray(of_host(*x))
        return of_tensor(*tensors(x))

    return operator


def _divide(x: Tensor, y: Tensor) -> Tensor:
    whole = not x.is_floating_point() and not y.is_floating_point()
    return torch.div(x, y, rounding_mode="trunc") if whole else x / y


def _host_divide(x: Host, y: Host) -> Any:
    return x / y if x.dtype.kind == "f" or y.dtype.kind == "f" else x // y  # sizes are not negative


def _modulo(a: Attributes, x: Value, y: Value) -> Value:
    if isinstance(x, np.ndarray) and isinstance(y, np.ndarray):
        return x % y
    x, y = tensors((x, y))
    return torch.fmod(x, y) if a.get("fmod", 0) else torch.remainder(x, y)


def _fold(of_tensor: Callable[..., Tensor], of_host: Callable[..., Any]) -> Callable[..., Value]:
    """Of two or more inputs."""

    def operator(a: Attributes, *x: Value) -> Value:
        out, op = x[0], elementwise(of_tensor, of_host)
        for other in x[1:]:
            out = op(a, out, other)
        return out

    return operator


def _mean(a: Attributes, *x: Value) -> Tensor:
    return sum(tensors(x[1:]), tensors(x)[0]) / len(x)


def _clip(a: Attributes, x: Value, low: Value = None, high: Value = None) -> Tensor:
    least, most = (None if v is None else float(np.asarray(v).reshape(())) for v in (low, high))
    x = tensor(x)
    return x if least is None and most is None else x.clamp(least, most)


def _cast(a: Attributes, x: Value) -> Value:
    kind = TYPES.get(int(a["to"]))
    if kind is None:
        raise EcgError(f"Cast to ONNX type {a['to']} is not supported")
    if isinstance(x, np.ndarray):
        if kind in (torch.int64, torch.int32):
            return x if x.dtype == object else x.astype(np.int64)
        if kind == torch.bool:
            return x.astype(bool)
    return tensor(x).to(kind)


def _gelu(a: Attributes, x: Value) -> Tensor:
    how = a.get("approximate", b"none")
    return F.gelu(tensor(x), approximate=how.decode() if isinstance(how, bytes) else how)


def _prelu(a: Attributes, x: Value, slope: Value) -> Tensor:
    x, slope = tensors((x, slope))
    return torch.where(x < 0, slope * x, x)


def _where(a: Attributes, condition: Value, x: Value, y: Value) -> Value:
    if all(isinstance(v, np.ndarray) for v in (condition, x, y)):
        return np.where(condition.astype(bool), x, y)
    condition, x, y = tensors((condition, x, y))
    return torch.where(condition, x, y)


# ---- products, sums, softmax ------------------------------------------------------------------------------------------


def _gemm(a: Attributes, x: Value, y: Value, c: Value = None) -> Tensor:
    x, y = tensors((x, y))
    x, y = (x.T if a.get("transA", 0) else x), (y.T if a.get("transB", 0) else y)
    out = a.get("alpha", 1.0) * (x @ y)
    return out if c is None else out + a.get("beta", 1.0) * tensor(c, out)


def _einsum(a: Attributes, *x: Value) -> Tensor:
    return torch.einsum(_text(a["equation"]), *tensors(x))


def _softmax(how: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def operator(a: Attributes, x: Value) -> Tensor:
        x = tensor(x)
        if "flatten" in a:  # before opset 13: all axes from this one on are one
            axis = int(a["flatten"]) % x.ndim
            return how(x.flatten(axis), dim=axis).reshape(x.shape)
        return how(x, dim=_axis(a, x, -1))

    return operator


def _reduce(of_tensor: Callable[[Tensor, list[int], bool], Tensor], of_host: Callable[..., Any] | None) -> Callable[..., Value]:
    def operator(a: Attributes, x: Value, axes: Value = None) -> Value:
        given = [] if axes is None else ints(axes)
        if not given and a.get("noop_with_empty_axes", 0):
            return x
        over, keep = _axes(host(given), x.ndim) or list(range(x.ndim)), bool(a.get("keepdims", 1))
        if isinstance(x, np.ndarray) and of_host is not None:
            return np.asarray(of_host(x, axis=tuple(over), keepdims=keep))
        return of_tensor(tensor(x), over, keep)

    return operator


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted(axes, reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


def _arg(how: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def operator(a: Attributes, x: Value) -> Tensor:
        if a.get("select_last_index", 0):
            raise EcgError("select_last_index is not supported")
        x = tensor(x)
        return how(x, _axis(a, x), keepdim=bool(a.get("keepdims", 1)))

    return operator


def _cumsum(a: Attributes, x: Value, axis: Value) -> Value:
    if a.get("exclusive", 0) or a.get("reverse", 0):
        raise EcgError("exclusive and reverse are not supported")
    return x.cumsum(ints(axis)[0])


def _topk(a: Attributes, x: Value, k: Value) -> tuple[Tensor, ...]:
    x = tensor(x)
    found = x.topk(ints(k)[0], _axis(a, x, -1), bool(a.get("largest", 1)), bool(a.get("sorted", 1)))
    return found.values, found.indices


# ---- shapes -----------------------------------------------------------------------------------------------------------


def _shape(a: Attributes, x: Value) -> Host:
    return host(list(x.shape)[a.get("start", 0) : a.get("end", None)])


def _with_batch(sizes: Host, batch: Any) -> Host:
    out = np.array(sizes, object if not isinstance(batch, int) else np.int64)
    out[sizes == 0] = batch
    return out


def _bounded(shape: Sequence[Any]) -> list[Any]:
    if all(isinstance(n, int) for n in shape) and abs(math.prod(shape)) > _LARGEST:
        raise EcgError(f"a tensor of {list(shape)} is too large")
    return list(shape)


def _size(a: Attributes, x: Value) -> Host:
    return np.asarray(math.prod(x.shape))


def _reshape(a: Attributes, x: Value, shape: Value) -> Value:
    wanted = ints(shape)
    if not a.get("allowzero", 0):
        wanted = [x.shape[i] if isinstance(n, int) and n == 0 else n for i, n in enumerate(wanted)]
    return x.reshape(wanted)


def _flatten(a: Attributes, x: Value) -> Tensor:
    x = tensor(x)
    axis = int(a.get("axis", 1))
    axis = axis + x.ndim if axis < 0 else axis
    if axis == 1:
        return x.reshape(x.shape[0], -1)
    return x.reshape(math.prod(x.shape[:axis]), -1)


def _squeeze(a: Attributes, x: Value, axes: Value = None) -> Value:
    over = _axes(axes, x.ndim) if axes is not None else [i for i, n in enumerate(x.shape) if isinstance(n, int) and n == 1]
    return x.reshape([n for i, n in enumerate(x.shape) if i not in over])


def _unsqueeze(a: Attributes, x: Value, axes: Value) -> Value:
    over = _axes(axes, x.ndim + len(ints(axes)))
    shape = list(x.shape)
    for axis in sorted(over):
        shape.insert(axis, 1)
    return x.reshape(shape)


def _transpose(a: Attributes, x: Value) -> Value:
    order = list(a.get("perm") or range(x.ndim)[::-1])
    return x.transpose(order) if isinstance(x, np.ndarray) else x.permute(order)


def _concat(a: Attributes, *x: Value) -> Value:
    if all(isinstance(v, np.ndarray) for v in x):
        return np.concatenate(x, axis=int(a["axis"]))
    return torch.cat(tensors(x), int(a["axis"]))


def _split(a: Attributes, x: Value, sizes: Value = None) -> tuple[Value, ...]:
    axis = _axis(a, x)
    if sizes is None:
        count = int(a.get("num_outputs") or a["outputs"])
        each = -(-int(x.shape[axis]) // count)
        parts = [each] * (count - 1) + [int(x.shape[axis]) - each * (count - 1)]
    else:
        parts = ints(sizes)
    if isinstance(x, np.ndarray):
        return tuple(np.split(x, np.cumsum(parts)[:-1], axis))
    return tuple(x.split(parts, axis))


def _slice(a: Attributes, x: Value, starts: Value, ends: Value, axes: Value = None, steps: Value = None) -> Value:
    first, last = ints(starts), ints(ends)
    over = list(range(len(first))) if axes is None else _axes(axes, x.ndim)
    step = [1] * len(first) if steps is None else ints(steps)
    for axis, start, end, by in zip(over, first, last, step, strict=True):
        if isinstance(x, np.ndarray):
            x = x[(slice(None),) * axis + (slice(start, end, by),)]
        elif by > 0:
            end = None if isinstance(end, int) and end > 2**31 - 2 else end
            x = x[(slice(None),) * axis + (slice(start, end, by),)]
        else:
            end = None if isinstance(end, int) and end < -(2**31) + 2 else end
            taken = list(range(int(x.shape[axis])))[start:end:by]
            x = x.index_select(axis, torch.tensor(taken, dtype=torch.int64, device=x.device))
    return x


def _gather(a: Attributes, x: Value, index: Value) -> Value:
    axis = _axis(a, x)
    if isinstance(x, np.ndarray) and isinstance(index, np.ndarray):
        return np.asarray(np.take(x, index.astype(np.int64), axis=axis))
    if isinstance(index, np.ndarray) and index.ndim == 0:
        return x.select(axis, int(index))
    x, index = tensors((x, index))
    index = torch.where(index < 0, index + x.shape[axis], index).long()
    out = x.index_select(axis, index.reshape(-1))
    return out.reshape(list(x.shape[:axis]) + list(index.shape) + list(x.shape[axis + 1 :]))


def _gather_elements(a: Attributes, x: Value, index: Value) -> Tensor:
    x, index = tensors((x, index))
    axis = _axis(a, x)
    return x.gather(axis, torch.where(index < 0, index + x.shape[axis], index).long())


def _expand(a: Attributes, x: Value, shape: Value) -> Value:
    wanted = ints(shape)
    if isinstance(x, np.ndarray):
        return np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(wanted)))
    have = [1] * (len(wanted) - x.ndim) + list(x.shape)
    wanted = [1] * (x.ndim - len(wanted)) + wanted
    out = [h if isinstance(w, int) and w == 1 else w for h, w in zip(have, wanted, strict=True)]
    return x.expand(_bounded(out))


def _tile(a: Attributes, x: Value, times: Value) -> Value:
    _bounded([n * t for n, t in zip(x.shape[::-1], ints(times)[::-1])])
    return np.tile(x, ints(times)) if isinstance(x, np.ndarray) else x.repeat(ints(times))


def _constant_of_shape(a: Attributes, shape: Value) -> Value:
    value = np.asarray(a.get("value", np.zeros(1, np.float32))).reshape(())
    _bounded(ints(shape))
    if value.dtype.kind in "iub" and not any(isinstance(n, torch.SymInt) for n in ints(shape)):
        return np.full(ints(shape), value)
    kind = {"f": torch.float32, "b": torch.bool}.get(value.dtype.kind, torch.int64)
    return torch.full(ints(shape), value.item(), dtype=kind)


def _range(a: Attributes, start: Value, end: Value, by: Value) -> Value:
    if all(isinstance(v, np.ndarray) and v.dtype.kind == "i" for v in (start, end, by)):
        _bounded([abs(int(end) - int(start))])
        return np.arange(int(start), int(end), int(by))
    given = [v.reshape(()).item() for v in (start, end, by)]
    return torch.arange(*given)


def _pad(a: Attributes, x: Value, pads: Value, value: Value = None, axes: Value = None) -> Tensor:
    x, given = tensor(x), ints(pads)
    over = list(range(x.ndim)) if axes is None else _axes(axes, x.ndim)
    both = dict.fromkeys(range(x.ndim), (0, 0)) | {axis: (given[i], given[len(over) + i]) for i, axis in enumerate(over)}
    flat = [n for axis in reversed(range(x.ndim)) for n in both[axis]]
    mode = _text(a.get("mode", "constant"))
    if mode == "constant":
        return F.pad(x, flat, value=0.0 if value is None else float(np.asarray(value).reshape(())))
    how = {"reflect": "reflect", "edge": "replicate", "wrap": "circular"}[mode]
    while len(flat) > 2 and flat[-2:] == [0, 0]:  # torch pads the last axes only
        flat = flat[:-2]
    if len(flat) // 2 > x.ndim - 1:
        raise EcgError(f"Pad ({mode}) of the first axis is not supported")
    lead = x.shape[: x.ndim - len(flat) // 2]
    wide = x.reshape(1, math.prod(lead), *x.shape[len(lead) :]) if len(flat) // 2 <= 3 else x
    out = F.pad(wide, flat, mode=how)
    return out.reshape(*lead, *out.shape[2:])


def _trilu(a: Attributes, x: Value, k: Value = None) -> Tensor:
    by = 0 if k is None else ints(k)[0]
    x = tensor(x)
    return x.triu(by) if a.get("upper", 1) else x.tril(by)


# ---- norms, pools, resizing -------------------------------------------------------------------------------------------


def _layer_norm(a: Attributes, x: Value, weight: Value, bias: Value = None) -> Tensor:
    x = tensor(x)
    shape = list(x.shape[_axis(a, x, -1) :])
    weight = tensor(weight, x).reshape(shape)
    return F.layer_norm(x, shape, weight, None if bias is None else tensor(bias, x).reshape(shape), a.get("epsilon", 1e-5))


def _instance_norm(a: Attributes, x: Value, weight: Value, bias: Value) -> Tensor:
    x, weight, bias = tensors((x, weight, bias))
    return F.instance_norm(x, weight=weight, bias=bias, use_input_stats=True, eps=a.get("epsilon", 1e-5))


def _group_norm(a: Attributes, x: Value, weight: Value, bias: Value) -> Tensor:
    x, weight, bias = tensors((x, weight, bias))
    groups = int(a["num_groups"])
    if len(weight) != x.shape[1]:  # before opset 21: one number a group
        weight, bias = (v.repeat_interleave(x.shape[1] // groups) for v in (weight, bias))
    return F.group_norm(x, groups, weight, bias, a.get("epsilon", 1e-5))


def _lp_norm(a: Attributes, x: Value) -> Tensor:
    x, p = tensor(x), int(a.get("p", 2))
    return x / x.abs().pow(p).sum(_axis(a, x, -1), keepdim=True).pow(1 / p)


def same_pads(
    sizes: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], lower: bool
) -> list[int]:
    """auto_pad SAME: as many outputs as ceil(size / stride); the odd sample goes behind (UPPER) or before (LOWER)."""
    before, after = [], []
    for n, k, s, d in zip(sizes, kernel, stride, dilation, strict=True):
        total = max((-(-int(n) // s) - 1) * s + d * (k - 1) + 1 - int(n), 0)
        less, more = total // 2, total - total // 2
        before.append(more if lower else less)
        after.append(less if lower else more)
    return before + after


def pads_of(a: Attributes, x: Tensor, kernel: Sequence[int]) -> list[int]:
    """Padding of a convolution or pool on x, [before..., after...]."""
    n = len(kernel)
    how = _text(a.get("auto_pad", "NOTSET"))
    if how in ("SAME_UPPER", "SAME_LOWER"):
        stride, dilation = a.get("strides") or [1] * n, a.get("dilations") or [1] * n
        return same_pads(x.shape[2:], kernel, stride, dilation, how == "SAME_LOWER")
    return [0] * (2 * n) if how == "VALID" else list(a.get("pads") or [0] * (2 * n))


def padded(x: Tensor, pads: Sequence[int], value: float = 0.0) -> Tensor:
    """x with [before..., after...] samples of `value` around its last axes."""
    n = len(pads) // 2
    flat = [p for i in reversed(range(n)) for p in (pads[i], pads[n + i])]
    return F.pad(x, flat, value=value) if any(flat) else x


def _pool(kind: str) -> Callable[..., Tensor]:
    def operator(a: Attributes, x: Value) -> Tensor:
        x, kernel = tensor(x), list(a["kernel_shape"])
        n = len(kernel)
        if not 1 <= n <= 3:
            raise EcgError(f"a pool over {n} axes is not supported")
        stride, dilation, ceil = (
            list(a.get("strides") or [1] * n),
            list(a.get("dilations") or [1] * n),
            bool(a.get("ceil_mode", 0)),
        )
        pads = pads_of(a, x, kernel)
        even = pads[:n] == pads[n:] and all(2 * p <= k for p, k in zip(pads[:n], kernel, strict=True))
        if kind == "max":
            pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[n - 1]
            x, inside = (x, pads[:n]) if even else (padded(x, pads, -math.inf), [0] * n)
            return pool(x, kernel, stride, inside, dilation, ceil_mode=ceil)
        if dilation != [1] * n:
            raise EcgError("a dilated average pool is not supported")
        mean = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[n - 1]
        counted = bool(a.get("count_include_pad", 0))
        if even:
            return mean(x, kernel, stride, pads[:n], ceil, counted)
        if ceil:
            raise EcgError("an average pool with ceil_mode and uneven padding is not supported")
        out = mean(padded(x, pads), kernel, stride)
        return out if counted else out / mean(padded(torch.ones_like(x), pads), kernel, stride)

    return operator


def _conv(a: Attributes, x: Value, weight: Value, bias: Value = None) -> Tensor:
    """One whose weight is computed (weight norm); any other is a module."""
    x, weight = tensors((x, weight))
    n = weight.ndim - 2
    conv = (F.conv1d, F.conv2d, F.conv3d)[n - 1]
    x = padded(x, pads_of(a, x, weight.shape[2:]))
    stride, dilation = a.get("strides") or [1] * n, a.get("dilations") or [1] * n
    return conv(x, weight, None if bias is None else tensor(bias, x), stride, 0, dilation, int(a.get("group", 1)))


def _global(how: Callable[[Tensor, list[int]], Tensor]) -> Callable[..., Tensor]:
    return lambda a, x: how(tensor(x), list(range(2, x.ndim)))


def _resize(a: Attributes, x: Value, roi: Value = None, scales: Value = None, sizes: Value = None) -> Tensor:
    x = tensor(x)
    mode, where = _text(a.get("mode", "nearest")), _text(a.get("coordinate_transformation_mode", "half_pixel"))
    size = [int(n) for n in ints(sizes)] if sizes is not None and len(sizes) else None
    factors = None if size is not None else [float(v) for v in np.ravel(scales).tolist()]
    if a.get("axes"):
        raise EcgError("Resize of chosen axes is not supported")
    if mode == "nearest":
        exact = where == "half_pixel" and _text(a.get("nearest_mode", "round_prefer_floor")) == "round_prefer_ceil"
        name = "nearest-exact" if exact else "nearest"
        align = None
    elif mode == "linear":
        name, align = {3: "linear", 4: "bilinear", 5: "trilinear"}[x.ndim], where == "align_corners"
    else:
        raise EcgError(f"Resize mode {mode} is not supported")
    n = x.ndim - 2
    if size is not None:
        return F.interpolate(x, size=size[-n:], mode=name, align_corners=align)
    assert factors is not None
    return F.interpolate(x, scale_factor=factors[-n:], mode=name, align_corners=align)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _dropout(a: Attributes, x: Value, *_: Value) -> Value:
    return x  # one that trains is a module (exchange/onnx_in.py)


def _unary(how: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda a, x: how(tensor(x))


OPERATORS: Mapping[str, Callable[..., Value]] = {
    "Abs": _unary(torch.abs),
    "Add": elementwise(torch.add, np.add),
    "And": elementwise(torch.logical_and, np.logical_and),
    "ArgMax": _arg(torch.argmax),
    "ArgMin": _arg(torch.argmin),
    "AveragePool": _pool("mean"),
    "Cast": _cast,
    "CastLike": lambda a, x, y: tensor(x).to(tensor(y).dtype),
    "Ceil": _unary(torch.ceil),
    "BatchSize": lambda a, x: _with_batch(a["sizes"], x.shape[0]),  # ours: sizes of the body that the head needs
    "Celu": lambda a, x: F.celu(tensor(x), a.get("alpha", 1.0)),
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "ConstantOfShape": _constant_of_shape,
    "Cos": _unary(torch.cos),
    "CumSum": _cumsum,
    "Div": elementwise(_divide, _host_divide),
    "Dropout": _dropout,
    "Einsum": _einsum,
    "Elu": lambda a, x: F.elu(tensor(x), a.get("alpha", 1.0)),
    "Equal": elementwise(torch.eq, np.equal),
    "Erf": _unary(torch.erf),
    "Exp": _unary(torch.exp),
    "Expand": _expand,
    "Flatten": _flatten,
    "Floor": _unary(torch.floor),
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "GlobalAveragePool": _global(lambda x, axes: x.mean(axes, keepdim=True)),
    "GlobalMaxPool": _global(lambda x, axes: x.amax(axes, keepdim=True)),
    "Greater": elementwise(torch.gt, np.greater),
    "GreaterOrEqual": elementwise(torch.ge, np.greater_equal),
    "GroupNormalization": _group_norm,
    "HardSigmoid": lambda a, x: (a.get("alpha", 0.2) * tensor(x) + a.get("beta", 0.5)).clamp(0, 1),
    "HardSwish": _unary(F.hardswish),
    "Identity": lambda a, x: x,
    "InstanceNormalization": _instance_norm,
    "IsNaN": _unary(torch.isnan),
    "LayerNormalization": _layer_norm,
    "LeakyRelu": lambda a, x: F.leaky_relu(tensor(x), a.get("alpha", 0.01)),
    "Less": elementwise(torch.lt, np.less),
    "LessOrEqual": elementwise(torch.le, np.less_equal),
    "Log": _unary(torch.log),
    "LogSoftmax": _softmax(F.log_softmax),
    "LpNormalization": _lp_norm,
    "MatMul": elementwise(torch.matmul),
    "Max": _fold(torch.maximum, np.maximum),
    "MaxPool": _pool("max"),
    "Mean": _mean,
    "Min": _fold(torch.minimum, np.minimum),
    "Mish": _unary(F.mish),
    "Mod": _modulo,
    "Mul": elementwise(torch.mul, np.multiply),
    "Neg": elementwise(torch.neg, np.negative),
    "Not": elementwise(torch.logical_not, np.logical_not),
    "Or": elementwise(torch.logical_or, np.logical_or),
    "PRelu": _prelu,
    "Pad": _pad,
    "Pow": elementwise(torch.pow, np.power),
    "Range": _range,
    "Reciprocal": _unary(torch.reciprocal),
    "ReduceL1": _reduce(lambda x, axes, keep: x.abs().sum(axes, keep), None),
    "ReduceL2": _reduce(lambda x, axes, keep: x.square().sum(axes, keep).sqrt(), None),
    "ReduceLogSum": _reduce(lambda x, axes, keep: x.sum(axes, keep).log(), None),
    "ReduceLogSumExp": _reduce(lambda x, axes, keep: x.logsumexp(axes, keep), None),
    "ReduceMax": _reduce(lambda x, axes, keep: x.amax(axes, keep), np.max),
    "ReduceMean": _reduce(lambda x, axes, keep: x.mean(axes, keep), None),
    "ReduceMin": _reduce(lambda x, axes, keep: x.amin(axes, keep), np.min),
    "ReduceProd": _reduce(_product, np.prod),
    "ReduceSum": _reduce(lambda x, axes, keep: x.sum(axes, keep), np.sum),
    "ReduceSumSquare": _reduce(lambda x, axes, keep: x.square().sum(axes, keep), None),
    "Relu": _unary(torch.relu),
    "Reshape": _reshape,
    "Resize": _resize,
    "Round": _unary(torch.round),
    "Selu": _unary(F.selu),
    "Shape": _shape,
    "Sigmoid": _unary(torch.sigmoid),
    "Sign": _unary(torch.sign),
    "Sin": _unary(torch.sin),
    "Size": _size,
    "Slice": _slice,
    "Softmax": _softmax(F.softmax),
    "Softplus": _unary(F.softplus),
    "Softsign": _unary(F.softsign),
    "Split": _split,
    "Sqrt": _unary(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": elementwise(torch.sub, np.subtract),
    "Sum": _fold(torch.add, np.add),
    "Tanh": _unary(torch.tanh),
    "ThresholdedRelu": lambda a, x: torch.where(tensor(x) > a.get("alpha", 1.0), tensor(x), torch.zeros_like(tensor(x))),
    "Tile": _tile,
    "TopK": _topk,
    "Transpose": _transpose,
    "Trilu": _trilu,
    "Unsqueeze": _unsqueeze,
    "Where": _where,
    "Xor": elementwise(torch.logical_xor, np.logical_xor),
}

# Inputs that are read as numbers, not as tensors: (operator, which of its inputs).
STATIC: Mapping[str, tuple[int, ...]] = {
    "Clip": (1, 2), "Pad": (2,), "Resize": (1, 2, 3), "Dropout": (1, 2), "Range": (0, 1, 2),
}  # fmt: skip
