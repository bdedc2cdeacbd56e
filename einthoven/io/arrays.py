"""Named arrays: NPY, NPZ, MATLAB 4, 5 and 7.3, HDF5, Parquet. What the names mean is told once, in `records`.

Signals are looked for under the names people use (signal, ecg, val, data, tracings, x, ...), or as one array per lead; a
third dimension makes several ECGs. Nothing is unpickled; every shape is checked against the bytes that are there.
"""

from __future__ import annotations

import ast
import io
import math
import re
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from einthoven.io.csv import _take_time, _unit_of, unnamed
from einthoven.io.files import MAX_DECODED, Archive, File, replacing
from einthoven.io.finish import check_fs, check_samples, distinct, is_ecg, millivolts
from einthoven.io.format import Format, Options
from einthoven.record import EcgError, Patient, Record, Source

_SIGNAL = tuple(
    "signal signals ecg val p_signal data tracings tracing x waveform waveforms sig y ecg_signal ecg_data ecgs lead_data raw "
    "samples values array arr_0".split()
)
_RATE = ("fs", "freq", "frequency", "sampling_rate", "sampling_frequency", "sample_rate", "samplerate", "sfreq", "srate", "hz")
_LEADS = (
    "leads",
    "lead_names",
    "lead_name",
    "sig_name",
    "sig_names",
    "channels",
    "channel_names",
    "ch_names",
    "lead",
    "labels",
)
_UNIT = ("unit", "units")
_KEPT = ("age", "sex", "id", "patient_id", "name", "birth_date", "height_cm", "weight_kg", "start", "statements", "codes")


# -- from names to records ---


def records(named: Mapping[str, Any], file: File, options: Options, version: str | None = None) -> Iterator[Record]:
    """The ECGs in a set of named values (arrays, numbers, texts). Raises EcgError where there is no signal or no rate."""
    lower: dict[str, Any] = {}
    for key, value in named.items():
        lower.setdefault(key.rpartition("/")[2].lower(), value)
    warnings: list[str] = []
    fs = _rate(lower, file)
    unit = _text(_first(lower, _UNIT))
    names = _texts(_first(lower, _LEADS))
    array = _signal(named, lower)
    if array is None:
        rows = [(k.rpartition("/")[2], v) for k, v in named.items() if _is_row(k.rpartition("/")[2], v)]
        if not rows or len({v.size for _, v in rows}) != 1:
            held = ", ".join(f"{k} {getattr(v, 'shape', '')}" for k, v in list(named.items())[:12]) or "nothing"
            raise EcgError(f"no ECG signal under a known name; the file holds {held}", path=file.path)
        check_samples(len(rows), rows[0][1].size, file)
        array = np.stack([v.reshape(-1) for _, v in rows])
        names = [k for k, _ in rows]
    array = np.squeeze(array) if array.ndim > 2 else array
    if array.ndim == 1:
        array = array[None, :]
    if array.ndim not in (2, 3) or array.size == 0:
        raise EcgError(f"signal of shape {array.shape} is neither (lead, time) nor (record, lead, time)", path=file.path)
    if fs is None:
        fs = options.fs
    elif options.fs and abs(options.fs - fs) > 1e-3 * fs:
        warnings.append(f"the file says {fs:g} Hz; --fs {options.fs:g} is not used")
    stack = array if array.ndim == 3 else array[None]
    for i in range(len(stack)):
        told = list(warnings)
        signal, labels = _upright(stack[i], names, told, file)
        rate = fs
        if rate is None:
            raise EcgError("no sampling rate in this file: pass --fs (Hz)", path=file.path)
        check_samples(signal.shape[0], signal.shape[1], file)
        factor = _factor(options.unit or unit, told, file)
        with np.errstate(over="ignore", invalid="ignore"):
            out = (
                np.ascontiguousarray(signal, np.float32) if factor == 1.0 else (signal * np.float64(factor)).astype(np.float32)
            )
        steps = _steps(lower, signal.dtype, factor, len(labels))
        if len(stack) > 1:
            told.append(f"record {i + 1} of {len(stack)} in this file")
        yield Record(
            signal=out,
            fs=check_fs(rate, file),
            leads=distinct(labels),
            start=_when(_text(lower.get("start"))),
            patient=_patient(lower) if len(stack) == 1 else Patient(),
            statements=tuple(_texts(lower.get("statements")) or ()),
            codes=tuple(_texts(lower.get("codes")) or ()),
            warnings=tuple(told),
            resolution_uv=steps,
            source=Source(version=version),
        )


def _signal(named: Mapping[str, Any], lower: Mapping[str, Any]) -> NDArray[Any] | None:
    for key in _SIGNAL:
        value = lower.get(key)
        if isinstance(value, np.ndarray) and value.dtype.kind in "iuf" and value.ndim >= 1 and value.size >= 8:
            return value
    arrays = [
        v for k, v in named.items() if isinstance(v, np.ndarray) and v.dtype.kind in "iuf" and v.ndim >= 2 and v.size >= 8
    ]
    return arrays[0] if len(arrays) == 1 else None


def _is_row(key: str, value: Any) -> bool:
    if not (isinstance(value, np.ndarray) and value.dtype.kind in "iuf" and value.size >= 8 and max(value.shape) == value.size):
        return False
    return is_ecg(key)


def _upright(array: NDArray[Any], names: Sequence[str] | None, told: list[str], file: File) -> tuple[NDArray[Any], list[str]]:
    """(L, T) and its names, whichever way the array lay."""
    rows, columns = array.shape
    if names:
        if len(names) == rows and (rows != columns or rows == 1):
            return array, list(names)
        if len(names) == columns:
            return array.T, list(names)
        told.append(f"{len(names)} lead names for {rows} x {columns} numbers are not used")
    if min(rows, columns) > 32 or (rows == columns and rows > 1):
        raise EcgError(f"{rows} x {columns} numbers without names: leads cannot be told from samples", path=file.path)
    array = array if rows <= columns else array.T
    labels, said = unnamed(len(array))
    told.append(said)
    return array, labels


def _factor(unit: str | None, told: list[str], file: File) -> float:
    if not unit:
        told.append("unit not given in the file: taken as mV (--unit says otherwise)")
        return 1.0
    factor = millivolts(unit)
    if factor is None:
        raise EcgError(f"unit {unit[:40]!r} is no voltage (mV, uV, nV or V)", path=file.path)
    return factor


def _steps(lower: Mapping[str, Any], kind: np.dtype[Any], factor: float, leads: int) -> tuple[float, ...]:
    given = lower.get("resolution_uv")
    if isinstance(given, np.ndarray) and given.shape == (leads,) and given.dtype.kind == "f" and np.isfinite(given).all():
        return tuple(max(float(v), 0.0) for v in given)
    return (factor * 1000 if kind.kind in "iu" else 0.0,) * leads


def _first(lower: Mapping[str, Any], keys: Sequence[str]) -> Any:
    return next((lower[k] for k in keys if k in lower), None)


def _rate(lower: Mapping[str, Any], file: File) -> float | None:
    for key in _RATE:
        value = _scalar(lower.get(key))
        if value is not None:
            return check_fs(value, file, key)
    return None


def _scalar(value: Any) -> float | None:
    """One number, from a number, an array of one, or a text; None for anything else."""
    if isinstance(value, np.ndarray):
        if value.size != 1:
            return None
        value = value.reshape(-1)[0]
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    try:
        number = float(value) if value is not None else math.nan
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _text(value: Any) -> str | None:
    found = _texts(value)
    return found[0] if found else None


def _texts(value: Any) -> list[str] | None:
    """Texts from a text, or an array or list of them; None where there are none."""
    if value is None:
        return None
    if isinstance(value, str | bytes):
        value = [value]
    items = value.reshape(-1).tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(items, list | tuple) or len(items) > 10_000:
        return None
    out = [i.decode("utf-8", "replace") if isinstance(i, bytes) else i for i in items]
    if not all(isinstance(i, str) for i in out):
        return None
    # Half a surrogate pair could not even be printed.
    return [w for i in out if (w := i.encode("utf-8", "replace").decode().rstrip("\0 "))]


def _when(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None


def _patient(lower: Mapping[str, Any]) -> Patient:
    sex = (_text(lower.get("sex")) or "").lower()
    return Patient(
        id=_text(lower.get("id")) or _text(lower.get("patient_id")),
        name=_text(lower.get("name")),
        age=_scalar(lower.get("age")),
        sex={"m": "male", "male": "male", "f": "female", "female": "female"}.get(sex),
        birth_date=_text(lower.get("birth_date")),
        height_cm=_scalar(lower.get("height_cm")),
        weight_kg=_scalar(lower.get("weight_kg")),
    )


def _only(found: Iterator[Record], file: File) -> Record:
    for record in found:
        return record
    raise EcgError("no ECG in this file", path=file.path)


# -- NPY, NPZ ---


def _npy(data: Any, file: File, where: str | None = None) -> NDArray[Any]:
    """An array from .npy bytes, without pickle, its shape checked against the bytes."""

    def bad(what: str) -> EcgError:
        return EcgError(what, path=file.path, where=where)

    head = bytes(data[:12])
    if len(head) < 12 or head[:6] != b"\x93NUMPY" or head[6] not in (1, 2, 3):
        raise bad("broken .npy: no NumPy header")
    length, start = (struct.unpack_from("<H", head, 8)[0], 10) if head[6] == 1 else (struct.unpack_from("<I", head, 8)[0], 12)
    if length > 10_000 or start + length > len(data):
        raise bad("truncated .npy header")
    try:
        about = ast.literal_eval(bytes(data[start : start + length]).decode("latin-1").strip())
        code, fortran, shape = about["descr"], about["fortran_order"], about["shape"]
        kind = np.dtype(code) if isinstance(code, str) else None
        if not isinstance(shape, tuple) or not all(isinstance(n, int) and 0 <= n < 1 << 40 for n in shape):
            raise bad("broken .npy header: impossible shape")
    except (ValueError, TypeError, SyntaxError, KeyError, MemoryError, RecursionError, AttributeError) as error:
        raise bad(f"broken .npy header: {type(error).__name__}") from None
    if kind is None or kind.hasobject or kind.kind not in "biufUSM":
        raise bad("holds Python objects or records, which are not read: save plain numbers")
    if len(shape) > 8 or kind.itemsize == 0:
        raise bad("broken .npy header: impossible type or shape")
    count = math.prod(shape)
    there = (len(data) - start - length) // kind.itemsize
    if count > there:
        raise bad(f"truncated: {there:,} of {count:,} numbers are there")
    flat = np.frombuffer(data, kind, count, start + length)
    if kind.kind == "U" and flat.size and flat.view(kind.byteorder.replace("=", "<") + "u4").max() > 0x10FFFF:
        raise bad("holds text that is no Unicode")
    return flat.reshape(shape, order="F" if fortran else "C")


def _is_npy(file: File) -> bool:
    return file.head(6) == b"\x93NUMPY"


def _read_npy(file: File, options: Options) -> Record:
    return _only(_all_npy(file, options), file)


def _all_npy(file: File, options: Options) -> Iterator[Record]:
    array = _npy(file.data, file)
    if array.dtype.kind not in "iuf":
        raise EcgError(f"an array of {array.dtype}, not of numbers", path=file.path)
    return records({"signal": array}, file, options)


def _is_npz(file: File) -> bool:
    if file.head(4) != b"PK\x03\x04":
        return False
    try:
        names = Archive(file).names
    except EcgError:
        return False
    return bool(names) and all(n.endswith(".npy") for n in names)


def _read_npz(file: File, options: Options) -> Record:
    return _only(_all_npz(file, options), file)


def _all_npz(file: File, options: Options) -> Iterator[Record]:
    archive = Archive(file)
    return records({n[:-4]: _npy(archive.read(n), file, f"entry {n}") for n in archive.names}, file, options)


def write_npz(record: Record, path: Path) -> list[Path]:
    """`signal` (L, T) float32 in mV, `fs`, `leads`, `unit`, `resolution_uv`, and what is known of patient and recording."""
    held: dict[str, Any] = {"signal": record.signal, "fs": np.float64(record.fs), "unit": np.array("mV")}
    held["leads"] = np.array(record.leads)
    held["resolution_uv"] = np.array(record.resolution_uv or (0.0,) * len(record.leads), np.float64)
    held |= {k: np.array(v) for k, v in _known(record).items()}
    with replacing(path) as draft, open(draft, "wb") as out:
        np.savez_compressed(out, **held)
    return [path]


def _known(record: Record) -> dict[str, Any]:
    """Patient, start, statements and codes, where there are any."""
    patient = record.patient
    keys = ("id", "name", "age", "sex", "birth_date", "height_cm", "weight_kg")
    out: dict[str, Any] = {k: getattr(patient, k) for k in keys if getattr(patient, k) is not None}
    if record.start:
        out["start"] = record.start.isoformat()
    if record.statements:
        out["statements"] = list(record.statements)
    if record.codes:
        out["codes"] = list(record.codes)
    return out


# -- MATLAB 4 and 5 ---

_MAT4 = ("f8", "f4", "i4", "i2", "u2", "u1")
_MAT5 = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
    16: "u1",
    17: "u2",
    18: "u4",
}
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}


def _is_mat(file: File) -> bool:
    head = file.head(128)
    if head.startswith(b"MATLAB 5.0"):
        return True
    return _mat4_entry(head, 0, file.size) is not None


def _mat4_entry(head: bytes, at: int, size: int) -> tuple[str, int, int, int, bool] | None:
    """A version 4 header at this byte -> (type, rows, columns, name length, text), None where there is none."""
    if len(head) - at < 20:
        return None
    for order in "<>":
        code, rows, columns, imaginary, name = struct.unpack_from(order + "5i", head, at)
        machine, rest, kind, matrix = code // 1000, code // 100 % 10, code // 10 % 10, code % 10
        if machine != (0 if order == "<" else 1) or rest or kind > 5 or matrix > 1 or imaginary not in (0, 1) or code < 0:
            continue
        if not (0 < name <= 64 and 0 < rows and 0 < columns):
            continue
        word = order + _MAT4[kind]
        if rows * columns * np.dtype(word).itemsize * (1 + imaginary) + 20 + name + at <= size:
            label = head[at + 20 : at + 20 + name].rstrip(b"\0")
            if re.fullmatch(rb"[A-Za-z]\w*", label):
                return word, rows, columns, name, matrix == 1
    return None


def _read_mat(file: File, options: Options) -> Record:
    return _only(_all_mat(file, options), file)


def _all_mat(file: File, options: Options) -> Iterator[Record]:
    if file.head(10) == b"MATLAB 5.0":
        return records(_mat5(file), file, options, "MAT 5")
    return records(_mat4(file), file, options, "MAT 4")


def _mat4(file: File) -> dict[str, Any]:
    out: dict[str, Any] = {}
    data, at = file.data, 0
    while at < file.size and len(out) < 1000:
        head = bytes(data[at : at + 128])
        entry = _mat4_entry(head, 0, file.size - at)
        if entry is None:
            raise EcgError("broken or truncated MATLAB 4 matrix", path=file.path, where=f"byte {at}")
        word, rows, columns, name, text = entry
        label = head[20 : 20 + name].rstrip(b"\0").decode("ascii", "replace")
        kind = np.dtype(word)
        array = np.frombuffer(data, kind, rows * columns, at + 20 + name).reshape(rows, columns, order="F")
        out[label] = _letters(array) if text else array
        imaginary = struct.unpack_from(word[0] + "i", head, 12)[0]
        at += 20 + name + rows * columns * kind.itemsize * (1 + imaginary)
    return out


def _letters(array: NDArray[Any]) -> list[str]:
    """Rows of character codes as texts."""
    if array.size > 100_000:
        return []
    return ["".join(chr(int(c)) for c in row if 0 < c < 0x110000).rstrip() for row in array]


def _mat5(file: File) -> dict[str, Any]:
    """The variables of a version 5 file: numbers, texts, cells of texts, and the fields of a struct under their own names."""
    head = file.head(128)
    mark = head[126:128]
    if len(head) < 128 or mark not in (b"IM", b"MI"):
        raise EcgError("truncated MATLAB 5 header", path=file.path)
    reader = _Mat5("<" if mark == b"IM" else ">", file)
    out: dict[str, Any] = {}
    for kind, body in reader.elements(memoryview(file.data)[128:]):
        if kind == 15:
            body = memoryview(reader.inflate(body))
            inner = next(iter(reader.elements(body)), None)
            if inner is None:
                continue
            kind, body = inner
        if kind == 14:
            name, value = reader.matrix(body, 0)
            if isinstance(value, dict):
                out |= {k: v for k, v in value.items() if k not in out}
            elif value is not None:
                out[name] = value
    return out


class _Mat5:
    """Elements of a MATLAB 5 file: tag (type, bytes), data, padding to eight bytes. "MAT-File Format", MathWorks, 2004."""

    def __init__(self, order: str, file: File) -> None:
        self.order, self.file, self.inflated = order, file, 0

    def bad(self, what: str) -> EcgError:
        return EcgError(f"broken MATLAB 5 file: {what}", path=self.file.path)

    def inflate(self, body: memoryview) -> bytes:
        unpack = zlib.decompressobj()
        try:
            out = unpack.decompress(body, max(MAX_DECODED - self.inflated, 1))
        except zlib.error as error:
            raise self.bad(str(error)) from None
        self.inflated += len(out)
        if unpack.unconsumed_tail:
            raise self.bad(f"expands to more than {MAX_DECODED:,} bytes")
        return out

    def elements(self, data: memoryview) -> Iterator[tuple[int, memoryview]]:
        at = 0
        while at + 8 <= len(data):
            kind, size = struct.unpack_from(self.order + "II", data, at)
            if kind >> 16:  # small element: type and size in one word, data in the next
                size, kind = kind >> 16, kind & 0xFFFF
                if size > 4:
                    raise self.bad("small element of more than four bytes")
                yield kind, data[at + 4 : at + 4 + size]
                at += 8
                continue
            if at + 8 + size > len(data):
                raise self.bad(f"truncated: {len(data) - at - 8:,} of {size:,} bytes are there")
            yield kind, data[at + 8 : at + 8 + size]
            at += 8 + size + (0 if kind == 15 else -size % 8)

    def matrix(self, body: memoryview, depth: int) -> tuple[str, Any]:
        """(name, value): an array, a list of texts, a dict of fields, or None for what is not understood."""
        if depth > 4:
            raise self.bad("nested too deeply")
        parts = list(self.elements(body)) if len(body) < 1 << 16 else self._few(body)
        if len(parts) < 3 or len(parts[0][1]) < 8 or parts[1][0] != 5:
            return "", None
        flags = struct.unpack_from(self.order + "I", parts[0][1])[0]
        kind, sides = flags & 0xFF, len(parts[1][1]) // 4
        if not 2 <= sides <= 8:
            raise self.bad(f"a variable of {sides} dimensions")
        shape = struct.unpack_from(f"{self.order}{sides}i", parts[1][1])
        name = bytes(parts[2][1]).decode("latin-1")
        count = math.prod(shape)
        if min(shape) < 0:
            raise self.bad(f"impossible shape {shape}")
        if kind in _CLASSES or kind == 4:
            if len(parts) < 4 or parts[3][0] not in _MAT5:
                raise self.bad(f"variable {name[:40]!r} has no data")
            stored = np.dtype(self.order + _MAT5[parts[3][0]])
            if count > len(parts[3][1]) // stored.itemsize:
                raise self.bad(f"variable {name[:40]!r} has fewer numbers than its shape {shape} says")
            array = np.frombuffer(parts[3][1], stored, count).reshape(shape, order="F")
            if kind == 4:
                return name, _letters(array.reshape(shape[0], -1))
            # MATLAB stores doubles that are small whole numbers as integers.
            return name, array.astype(_CLASSES[kind]) if array.dtype.kind != np.dtype(_CLASSES[kind]).kind else array
        if kind == 1 and count <= 1000:
            values = [self.matrix(b, depth + 1)[1] for k, b in parts[3:] if k == 14]
            texts = [v[0] for v in values if isinstance(v, list) and v]
            return name, texts if texts and len(texts) == len(values) else None
        if kind == 2 and count == 1 and len(parts) >= 5:
            width = struct.unpack_from(self.order + "i", parts[3][1])[0] if len(parts[3][1]) >= 4 else 0
            if not 0 < width <= 256:
                raise self.bad("impossible field name length")
            raw = bytes(parts[4][1])
            keys = [raw[i : i + width].split(b"\0")[0].decode("latin-1") for i in range(0, len(raw), width)]
            values = [self.matrix(b, depth + 1)[1] for k, b in parts[5:] if k == 14]
            return name, {k: v for k, v in zip(keys, values, strict=False) if v is not None and not isinstance(v, dict)}
        return name, None

    def _few(self, body: memoryview) -> list[tuple[int, memoryview]]:
        """The elements of a large matrix; a lie in them must not cost a million steps."""
        out: list[tuple[int, memoryview]] = []
        for element in self.elements(body):
            out.append(element)
            if len(out) > 2000:
                raise self.bad("too many elements")
        return out


# -- HDF5, MATLAB 7.3 ---


def _is_hdf5(file: File) -> bool:
    head = file.head(520)
    return head[:8] == b"\x89HDF\r\n\x1a\n" or (head[:10] == b"MATLAB 7.3" and head[512:520] == b"\x89HDF\r\n\x1a\n")


def _read_hdf5(file: File, options: Options) -> Record:
    return _only(_all_hdf5(file, options), file)


def _all_hdf5(file: File, options: Options) -> Iterator[Record]:
    """Data sets and attributes, two levels deep; links to other files are not followed."""
    import h5py

    named: dict[str, Any] = {}
    matlab = file.head(6) == b"MATLAB"
    _check_heaps(file)
    try:
        with h5py.File(file.local or io.BytesIO(bytes(file.data)), "r") as store:
            _collect(store, "", named, file, 0, [MAX_DECODED])
    except EcgError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, OverflowError, MemoryError) as error:
        raise EcgError(f"broken HDF5: {str(error)[:200]}", path=file.path) from None
    if matlab:  # its texts are columns of character codes, its matrices lie on their side
        named = {k: _matlab(v) for k, v in named.items()}
    return records(named, file, options, "MAT 7.3" if matlab else None)


def _check_heaps(file: File) -> None:
    """Refuses global heaps whose free space has no size: libhdf5 walks them for ever (found by tests/fuzz.py).

    HDF5 File Format Specification 3.0, III.E: "GCOL", version, reserved (3), size (8), then objects: index (2), references
    (2), reserved (4), size (8), data padded to eight bytes; index 0 is free space, its size counted with its header.
    """
    data = file.data
    at = data.find(b"GCOL")
    while at >= 0:
        size = int.from_bytes(data[at + 8 : at + 16], "little")
        end = at + size
        if not 16 <= size or end > file.size:
            raise EcgError("broken HDF5: a global heap of impossible size", path=file.path, where=f"byte {at}")
        here = at + 16
        while here + 16 <= end:
            index = int.from_bytes(data[here : here + 2], "little")
            length = int.from_bytes(data[here + 8 : here + 16], "little")
            step = length if index == 0 else 16 + length + -length % 8
            if step < 16 or step > end - here:
                raise EcgError(
                    "broken HDF5: an object of a global heap has an impossible size", path=file.path, where=f"byte {here}"
                )
            here += step
        at = data.find(b"GCOL", at + 4)


def _matlab(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        if value.dtype == np.uint16 and value.ndim == 2 and value.size < 10_000:
            return _letters(value.T)
        return value.T if value.ndim == 2 else value
    return value


def _collect(group: Any, prefix: str, named: dict[str, Any], file: File, depth: int, left: list[int]) -> None:
    import h5py

    for key, value in list(group.attrs.items())[:200]:
        named.setdefault(prefix + str(key), value if not isinstance(value, np.generic) else np.asarray(value))
    for i, key in enumerate(group):
        if i >= 2000:
            break
        if not isinstance(group.get(key, getlink=True), h5py.HardLink):
            continue
        item = group[key]
        if isinstance(item, h5py.Group):
            if depth < 2 and key != "#refs#":
                _collect(item, f"{prefix}{key}/", named, file, depth + 1, left)
        elif isinstance(item, h5py.Dataset):
            for name, value in list(item.attrs.items())[:50]:
                if name.lower() in _RATE + _LEADS + _UNIT:
                    named.setdefault(name, value if not isinstance(value, np.generic) else np.asarray(value))
            if item.shape is None or item.is_virtual or item.external or item.size == 0:
                continue
            text = h5py.check_string_dtype(item.dtype) is not None
            if item.dtype.kind not in "biufSU" and not text:
                continue
            left[0] -= item.size * max(item.dtype.itemsize, 4)
            if left[0] < 0:
                raise EcgError(f"data sets of more than {MAX_DECODED:,} bytes", path=file.path, where=prefix + key)
            named[prefix + key] = np.asarray(item.asstr(errors="replace")[()] if text else item[()])


# -- Parquet ---


def _is_parquet(file: File) -> bool:
    return file.head(4) == b"PAR1"


def _read_parquet(file: File, options: Options) -> Record:
    return _only(_all_parquet(file, options), file)


def _all_parquet(file: File, options: Options) -> Iterator[Record]:
    """A column per lead (fs in the schema's metadata or from a time column), or a row per ECG with a list column."""
    import pyarrow
    import pyarrow.parquet

    try:
        store = pyarrow.parquet.ParquetFile(pyarrow.py_buffer(file.data))
        check_samples(max(store.metadata.num_columns, 1), max(store.metadata.num_rows, 0), file)
        schema = store.schema_arrow
        meta = {k.decode("utf-8", "replace"): v.decode("utf-8", "replace") for k, v in (schema.metadata or {}).items()}
        plain = [f.name for f in schema if pyarrow.types.is_floating(f.type) or pyarrow.types.is_integer(f.type)]
        lists = [f.name for f in schema if pyarrow.types.is_list(f.type) or pyarrow.types.is_large_list(f.type)]
        if any(name.lower() in _SIGNAL for name in lists):
            return _rows(store.read(), meta, file, options)
        table = store.read(columns=plain)
        columns = [np.asarray(table.column(n).to_numpy(), np.float64) for n in plain]
    except EcgError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError, KeyError, TypeError, OverflowError, MemoryError) as error:
        raise EcgError(f"broken Parquet: {str(error)[:200]}", path=file.path) from None
    if not columns or not len(columns[0]):
        raise EcgError("no columns of numbers", path=file.path)
    told: list[str] = []
    units = [_unit_of(n) for n in plain]
    matrix, names, _, fs = _take_time(np.stack(columns, axis=1), list(plain), units, told)
    unit = next((u for u in units if millivolts(u) is not None), None)
    named: dict[str, Any] = {k: _unpacked(v) for k, v in meta.items() if k in (*_RATE, *_UNIT, *_KEPT)}
    if fs is not None and not any(k in named for k in _RATE):
        named["fs"] = np.float64(fs)
    if unit and not any(k in named for k in _UNIT):
        named["unit"] = unit
    if "resolution_uv" in meta:
        named["resolution_uv"] = np.array([_scalar(w) or 0.0 for w in meta["resolution_uv"].split(",")])
    keep = [i for i, n in enumerate(names) if is_ecg(n)] or list(range(len(names)))
    named |= {"signal": matrix[:, keep].T, "leads": [names[i] for i in keep]}
    return (_warned(r, told) for r in records(named, file, options))


def _rows(table: Any, meta: Mapping[str, str], file: File, options: Options) -> Iterator[Record]:
    """One ECG per row: a list column (nested or flat) and scalar columns beside it."""
    for i in range(table.num_rows):
        row: dict[str, Any] = dict(meta)
        for name in table.column_names:
            value = table.column(name)[i].as_py()
            if isinstance(value, list) and name.lower() in _SIGNAL:
                try:
                    with np.errstate(over="ignore"):
                        value = np.array(value, np.float32)
                except (ValueError, TypeError):
                    raise EcgError("a signal whose leads differ in length", path=file.path, where=f"row {i}") from None
            row[name] = np.asarray(value) if isinstance(value, int | float) else value
        yield from records(row, file, options)


def _unpacked(text: str) -> Any:
    """Metadata of Parquet are texts; lists among them are separated by the unit separator."""
    return text.split("\x1f") if "\x1f" in text else text


def _warned(record: Record, told: Sequence[str]) -> Record:
    return record.warn(*told) if told else record


def write_parquet(record: Record, path: Path) -> list[Path]:
    """A float32 column per lead in mV; `fs`, `unit`, patient, start, statements and codes in the schema's metadata."""
    import pyarrow
    import pyarrow.parquet

    meta = {"fs": repr(record.fs), "unit": "mV"}
    if record.resolution_uv:
        meta["resolution_uv"] = ",".join(repr(v) for v in record.resolution_uv)
    for key, value in _known(record).items():
        meta[key] = "\x1f".join([*value, ""]) if isinstance(value, list) else str(value)
    table = pyarrow.table({lead: row for lead, row in zip(record.leads, record.signal, strict=True)})
    with replacing(path) as draft:
        pyarrow.parquet.write_table(table.replace_schema_metadata(meta), draft)
    return [path]


NPY = Format("npy", "NumPy array", (".npy",), _is_npy, _read_npy, _all_npy)
NPZ = Format("npz", "NumPy arrays", (".npz",), _is_npz, _read_npz, _all_npz, write_npz)
MAT = Format("mat", "MATLAB 4 and 5", (".mat",), _is_mat, _read_mat, _all_mat)
HDF5 = Format("hdf5", "HDF5, MATLAB 7.3", (".h5", ".hdf5", ".hdf", ".mat"), _is_hdf5, _read_hdf5, _all_hdf5)
PARQUET = Format("parquet", "Parquet", (".parquet",), _is_parquet, _read_parquet, _all_parquet, write_parquet)
