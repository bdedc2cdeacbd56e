"""ISHNE Holter files: a fixed header of 512 bytes and interleaved 16-bit samples, for days.

Badilini 1998, "The ISHNE Holter Standard Output File Format" (Ann Noninvasive Electrocardiol 3:263), http://thew-project.org.
"""

from __future__ import annotations

import struct
from binascii import crc_hqx
from datetime import datetime

import numpy as np

from einthoven.io.files import File
from einthoven.io.finish import check_fs, check_samples
from einthoven.io.format import Format, Options
from einthoven.record import Device, EcgError, Patient, Record, Source

_FIXED = 522  # magic 8, checksum 2, fixed header 512
_MISSING = -32768
_CHUNK = 1 << 20  # samples converted at a time: a day of three leads never lies in memory twice
_LEADS = {2: "X", 3: "Y", 4: "Z", 5: "I", 6: "II", 7: "III", 8: "aVR", 9: "aVL", 10: "aVF"}
_LEADS |= {10 + i: f"V{i}" for i in range(1, 7)} | {17: "ES", 18: "AS", 19: "AI"}


def matches(file: File) -> bool:
    """`ISHNE1.0`, or `ANN  1.0` (the annotation file, which `read` refuses with a clear word)."""
    return file.head(8) in (b"ISHNE1.0", b"ANN  1.0")


def read(file: File, options: Options) -> Record:
    """A Holter recording. A header checksum that does not fit is a warning; lengths that do not fit are an error."""
    head = file.head(_FIXED)
    if head[:8] == b"ANN  1.0":
        raise EcgError("an ISHNE annotation file: it has beats but no ECG; give the .ecg beside it", path=file.path)
    if len(head) < _FIXED:
        raise EcgError(f"truncated: {len(head)} of {_FIXED} header bytes are there", path=file.path)
    fixed = head[10:]
    variable, samples, _, start, version = struct.unpack_from("<iiiih", fixed)
    leads = struct.unpack_from("<h", fixed, 146)[0]
    kinds = struct.unpack_from("<12h", fixed, 148)
    resolutions = struct.unpack_from("<12h", fixed, 196)
    fs = struct.unpack_from("<h", fixed, 262)[0]
    if not 1 <= leads <= 12:
        raise EcgError(f"{leads} leads (1 to 12 are possible)", path=file.path, where="byte 156")
    check_fs(float(fs), file, "byte 272")
    if variable < 0 or not _FIXED <= start <= file.size:
        raise EcgError(f"samples would begin at byte {start} of {file.size}", path=file.path, where="byte 22")
    warnings: list[str] = []
    there = (file.size - start) // (2 * leads)
    if samples <= 0:
        warnings.append(f"header does not say how many samples there are: {there:,} are in the file")
        samples = there
    elif samples == there * leads and leads > 1:
        samples = there  # some recorders count the samples of all leads together
    if samples > there:
        raise EcgError(f"truncated: {there:,} of {samples:,} samples are there", path=file.path)
    if there > samples:
        warnings.append(f"file holds {there:,} samples, its header says {samples:,}")
    check_samples(leads, samples, file)
    stored = struct.unpack_from("<H", head, 8)[0]
    if stored != crc_hqx(file.head(min(start, _FIXED + variable))[10:], 0xFFFF):
        warnings.append("checksum of the header does not fit")
    steps = [r / 1000 for r in resolutions[:leads]]  # nV -> µV
    if any(s <= 0 for s in steps):
        raise EcgError(f"resolution {min(resolutions[:leads])} nV", path=file.path, where="byte 206")
    data = np.frombuffer(file.data, "<i2", samples * leads, start).reshape(samples, leads)
    scale = np.array(resolutions[:leads], np.float64)[:, None] / 1e6  # mV per step
    signal = np.empty((leads, samples), np.float32)
    for at in range(0, samples, _CHUNK):
        block = data[at : at + _CHUNK].T
        part = block * scale
        part[block == _MISSING] = np.nan
        signal[:, at : at + _CHUNK] = part
    return Record(
        signal=signal,
        fs=float(fs),
        leads=_names(kinds[:leads]),
        start=_when(struct.unpack_from("<3h", fixed, 128), struct.unpack_from("<3h", fixed, 140)),
        patient=_patient(fixed),
        device=Device(model=_text(fixed[222:262])),
        warnings=tuple(warnings),
        resolution_uv=tuple(steps),
        source=Source(version=str(version)),
        extra={k: v for k, v in (("proprietary", _text(fixed[264:344])), ("copyright", _text(fixed[344:424]))) if v},
    )


def _names(kinds: tuple[int, ...]) -> tuple[str, ...]:
    out: list[str] = []
    for i, kind in enumerate(kinds):
        name = _LEADS.get(kind, f"ECG {i + 1}")
        out.append(name if name not in out else f"{name} {i + 1}")
    return tuple(out)


def _patient(fixed: bytes) -> Patient:
    names = [n for n in (_text(fixed[18:58]), _text(fixed[58:98])) if n and n.lower() not in ("none", "unknown")]
    sex = struct.unpack_from("<h", fixed, 118)[0]
    day, month, year = struct.unpack_from("<3h", fixed, 122)
    known = 1850 < year < 2200 and 1 <= month <= 12 and 1 <= day <= 31
    return Patient(
        id=_text(fixed[98:118]),
        name=" ".join(names) or None,
        sex={1: "male", 2: "female"}.get(sex),
        birth_date=f"{year:04}-{month:02}-{day:02}" if known else None,
    )


def _when(date: tuple[int, ...], clock: tuple[int, ...]) -> datetime | None:
    try:
        return datetime(date[2], date[1], date[0], clock[0], clock[1], clock[2])
    except ValueError:
        return None


def _text(data: bytes) -> str | None:
    return data.split(b"\0")[0].decode("iso-8859-1").strip() or None


ISHNE = Format("ishne", "ISHNE Holter", (".ecg",), matches, read)
