"""An image file's pixels, upright as its EXIF says, within bounds: every file is untrusted."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from einthoven.record import EcgError

MAX_BYTES = 256 << 20
MAX_PIXELS = 150e6
_ENOUGH = 24e6  # pixels: a JPEG with more is decoded at half its size
_LEAST = 200  # pixels of the shorter side... below that no 12-lead ECG can be read


def read_image(data: bytes, path: str | None = None) -> NDArray[np.uint8]:
    """RGB (H, W, 3) of a PNG, JPEG, BMP, TIFF or WebP file. Raises EcgError for anything else, and for sizes out of bounds."""
    import cv2

    if len(data) > MAX_BYTES:
        raise EcgError(f"{len(data):,} bytes are too many for an image (at most {MAX_BYTES:,})", path=path)
    size = _size(data)
    if size is None:
        raise EcgError("not an image that can be read (PNG, JPEG, BMP, TIFF, WebP) and not a PDF", path=path)
    kind, width, height = size
    check_size(width, height, path)
    flags = cv2.IMREAD_COLOR
    if kind == "jpeg" and width * height > _ENOUGH:
        flags = cv2.IMREAD_REDUCED_COLOR_2
    elif kind == "png" and data[25] in (4, 6):
        flags = cv2.IMREAD_UNCHANGED  # with alpha: what is transparent is white paper
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        image = None
    if image is None:
        raise EcgError(f"a broken {kind.upper()} image", path=path)
    if image.dtype != np.uint8:
        image = (image / 257).astype(np.uint8)
    if image.ndim == 3 and image.shape[2] == 4:
        alpha = image[:, :, 3:].astype(np.uint16)
        image = ((image[:, :, :3] * alpha + 255 * (255 - alpha)) // 255).astype(np.uint8)
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)  # type: ignore[no-any-return]


def check_size(width: int, height: int, path: str | None = None) -> None:
    """Raises EcgError for an image that is too small to hold an ECG or too large to be one."""
    if min(width, height) < _LEAST or width * height > MAX_PIXELS:
        raise EcgError(
            f"{width} x {height} pixels: at least {_LEAST} a side and at most {MAX_PIXELS / 1e6:.0f} million", path=path
        )


def check_image(image: NDArray[np.uint8], path: str | None = None) -> NDArray[np.uint8]:
    """An array as RGB (H, W, 3) uint8: grey is taken three times, alpha left out. Raises EcgError for what is no image."""
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3, 4)):
        raise EcgError(f"an image is uint8 (H, W) or (H, W, 3), not {image.dtype} {image.shape}", path=path)
    check_size(image.shape[1], image.shape[0], path)
    grey = image[:, :, None] if image.ndim == 2 else image
    return np.ascontiguousarray(np.repeat(grey, 3, axis=2) if grey.shape[2] == 1 else grey[:, :, :3])


def _size(data: bytes) -> tuple[str, int, int] | None:
    """(kind, width, height) by a file's first bytes, before anything is decoded; None for what is no known image."""
    try:
        if data[:8] == b"\x89PNG\r\n\x1a\n":
            return ("png", *struct.unpack(">II", data[16:24]))
        if data[:2] == b"BM":
            width, height = struct.unpack("<ii", data[18:26])
            return "bmp", abs(width), abs(height)
        if data[:3] == b"\xff\xd8\xff":
            return _jpeg_size(data)
        if data[:4] in (b"II*\0", b"MM\0*"):
            return _tiff_size(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp_size(data)
    except (struct.error, IndexError):
        return None
    return None


def _jpeg_size(data: bytes) -> tuple[str, int, int] | None:
    at = 2
    while at + 9 < len(data):
        if data[at] != 0xFF:
            return None
        mark = data[at + 1]
        if mark == 0xFF:
            at += 1
            continue
        if 0xC0 <= mark <= 0xCF and mark not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return "jpeg", width, height
        at += 2 if mark == 0x01 or 0xD0 <= mark <= 0xD8 else 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
    return None


def _tiff_size(data: bytes) -> tuple[str, int, int] | None:
    end = "<" if data[:2] == b"II" else ">"
    (at,) = struct.unpack(end + "I", data[4:8])
    (count,) = struct.unpack(end + "H", data[at : at + 2])
    found = {}
    for k in range(min(count, 200)):
        tag, kind, _, value = struct.unpack(end + "HHI4s", data[at + 2 + 12 * k : at + 14 + 12 * k])
        if tag in (256, 257):
            found[tag] = struct.unpack(end + "H", value[:2])[0] if kind == 3 else struct.unpack(end + "I", value)[0]
    return ("tiff", found[256], found[257]) if len(found) == 2 else None


def _webp_size(data: bytes) -> tuple[str, int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X":
        return "webp", 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", data[26:30])
        return "webp", width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return "webp", 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return None
