"""What was computed of an ECG, kept beside it so that a read does not compute it again: reports, fiducials, views, and the
unpacked signal of a long recording.

    DATA/derived/ab/ab12.../report.MARK

MARK is a hash of all that the result follows from (`Library.mark`): the file, what is known of it, what was corrected by hand,
the models that are asked, and this package's own code. Whatever of it changes, the name is another one, and the old result is
dropped. All of it can be made again: a backup may leave this folder out, nothing is lost with it. It goes with its ECG.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Collection
from pathlib import Path

MOST = 4 << 30  # bytes of one data directory
_FREE = 1 << 30  # bytes that stay free on the disk
_LOOK = 0.05  # of the bound: how much is kept before all is counted again
_TOUCH_S = 3600.0  # how exactly it is known when a result was last asked for


class Derived:
    """The results of a data directory. Safe to be used from many threads and processes.

    Args:
        folder: of them; made when it is needed.
        most: bytes; what was asked for least lately goes.
    """

    def __init__(self, folder: Path, most: int = MOST) -> None:
        self.folder, self.most = folder, most
        self._fresh = most  # so that the first one kept counts what is there

    def path(self, ecg: str, name: str, mark: str) -> Path | None:
        """Where this result lies, or None; asking for it counts as use."""
        place = self._of(ecg) / f"{name}.{mark}"
        try:
            if time.time() - place.stat().st_mtime > _TOUCH_S:
                os.utime(place)
        except OSError:
            return None
        return place

    def read(self, ecg: str, name: str, mark: str) -> bytes | None:
        place = self.path(ecg, name, mark)
        try:
            return None if place is None else place.read_bytes()
        except OSError:  # it was dropped meanwhile
            return None

    def keep(
        self, ecg: str, name: str, mark: str, write: Callable[[Path], object], size: int, there: Callable[[], bool]
    ) -> None:
        """Keeps what `write` writes, whole or not at all; results of that name that are no longer true go.

        Args:
            size: bytes, roughly; what would fill the disk, or most of the bound, is not kept.
            there: whether the ECG is still in the catalogue. Asked last: one that is deleted while its result is made
                leaves nothing.
        """
        if size > self.most // 2:
            return
        place = self._of(ecg)
        draft = place / f".{secrets.token_hex(8)}.part"
        try:
            place.mkdir(parents=True, exist_ok=True, mode=0o700)
            if shutil.disk_usage(place).free < size + _FREE:
                return
            write(draft)
            os.replace(draft, place / f"{name}.{mark}")
        except OSError:  # a full disk costs time, not answers
            return
        finally:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
        for other in place.glob(f"{name}.*"):
            if other.name != f"{name}.{mark}":
                other.unlink(missing_ok=True)
        if not there():
            self.drop(ecg)
        self._fresh += size
        if self._fresh > _LOOK * self.most:
            self._fresh = 0
            self.bound()

    def drop(self, ecg: str) -> None:
        """All results of an ECG, for good."""
        shutil.rmtree(self._of(ecg), ignore_errors=True)

    def sweep(self, known: Collection[str]) -> int:
        """After a kill: drafts, and results of ECGs that are not `known`, go. -> how many. Only while nothing else uses the
        directory."""
        gone = 0
        for place in self.folder.glob("*/*"):
            if place.name not in known:
                shutil.rmtree(place, ignore_errors=True)
                gone += 1
                continue
            for draft in place.glob(".*.part"):
                draft.unlink(missing_ok=True)
                gone += 1
        return gone

    def bound(self) -> None:
        """Drops what was asked for least lately until the bound is kept."""
        held: list[tuple[float, int, Path]] = []
        for place in self.folder.glob("*/*/[!.]*"):
            with contextlib.suppress(OSError):
                about = place.stat()
                held.append((about.st_mtime, about.st_size, place))
        left = sum(size for _, size, _ in held) - self.most
        for _, size, place in sorted(held):
            if left <= 0:
                return
            place.unlink(missing_ok=True)
            left -= size

    def _of(self, ecg: str) -> Path:
        """An ECG's folder. The id is one of the catalogue's, never a user's words."""
        return self.folder / ecg[:2] / ecg
