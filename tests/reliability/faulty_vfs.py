"""A VFS over the real one that fails I/O calls, and knows what a power cut would leave of each file.

``FaultyVFS.fail_at(n, for_good)``: the n-th call from now raises an I/O error, once, or like every later one.
``FaultyVFS.crash_images(random)``: each file as a disk may hold it at this moment: what was synced, and of the later
writes some, none, or parts in sectors of 512 bytes; a file whose deletion was not synced may be back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
import numpy as np

SECTOR = 512


@dataclass
class OnDisk:
    durable: bytearray = field(default_factory=bytearray)
    # since the last sync: (offset, bytes) was written, or (size, None) truncated
    unsynced: list[tuple[int, bytes | None]] = field(default_factory=list)

    def sync(self) -> None:
        for change in self.unsynced:
            apply(self.durable, *change)
        self.unsynced.clear()


def apply(data: bytearray, at: int, written: bytes | None) -> None:
    if written is None:
        del data[at:]
        data.extend(bytes(max(0, at - len(data))))
        return
    data.extend(bytes(max(0, at - len(data))))
    data[at : at + len(written)] = written


class FaultyVFS(apsw.VFS):
    def __init__(self, name: str) -> None:
        self.vfs_name = name
        self.calls = 0
        self.faults = 0
        self._fails_at: int | None = None
        self._for_good = False
        self.disk: dict[str, OnDisk] = {}
        self.deleted: dict[str, OnDisk] = {}
        super().__init__(name, "")

    def fail_at(self, n: int, for_good: bool) -> None:
        self.calls = 0
        self.faults = 0
        self._fails_at = n
        self._for_good = for_good

    def stop_failing(self) -> None:
        self._fails_at = None

    def called(self, what: str) -> None:
        """Counts a call, and fails it if its turn has come."""
        self.calls += 1
        if self._fails_at is None:
            return
        if self.calls == self._fails_at or (self._for_good and self.calls > self._fails_at):
            self.faults += 1
            raise apsw.IOError(f"injected: {what}")

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        self.called("open")
        return FaultyFile(self, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        self.called("delete")
        super().xDelete(filename, syncdir)
        gone = self.disk.pop(filename, None)
        if gone is not None and not syncdir:
            self.deleted[filename] = gone
        else:
            self.deleted.pop(filename, None)

    def xAccess(self, pathname: str, flags: int) -> bool:
        self.called("access")
        return super().xAccess(pathname, flags)

    def crash_images(self, random: np.random.Generator) -> dict[str, bytes]:
        images: dict[str, bytes] = {}
        for path, file in self.disk.items():
            data = bytearray(file.durable)
            style = random.integers(3)  # all of the unsynced writes, none, or some
            for at, written in file.unsynced:
                if style == 1 or (style == 2 and random.random() < 0.5):
                    continue
                if style == 2 and written is not None and random.random() < 0.5:
                    sectors = (len(written) + SECTOR - 1) // SECTOR
                    for i in np.nonzero(random.random(sectors) < 0.5)[0]:
                        apply(data, at + int(i) * SECTOR, written[int(i) * SECTOR : (int(i) + 1) * SECTOR])
                else:
                    apply(data, at, written)
            images[path] = bytes(data)
        for path, file in self.deleted.items():
            if path not in images and random.random() < 0.5:
                images[path] = bytes(file.durable)
        return images


class FaultyFile(apsw.VFSFile):
    def __init__(self, vfs: FaultyVFS, name: Any, flags: list[int]) -> None:
        self._vfs = vfs
        path = name.filename() if hasattr(name, "filename") else name
        self._path = path
        is_new = path is not None and not Path(path).exists()
        super().__init__("", name, flags)
        if path is not None and path not in vfs.disk:
            vfs.disk[path] = OnDisk() if is_new else OnDisk(bytearray(Path(path).read_bytes()))
        self._disk = vfs.disk[path] if path is not None else OnDisk()

    def xRead(self, amount: int, offset: int) -> bytes:
        self._vfs.called("read")
        return super().xRead(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:
        self._vfs.called("write")
        super().xWrite(data, offset)
        self._disk.unsynced.append((offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:
        self._vfs.called("truncate")
        super().xTruncate(newsize)
        self._disk.unsynced.append((newsize, None))

    def xSync(self, flags: int) -> None:
        self._vfs.called("sync")
        self._disk.sync()

    def xFileSize(self) -> int:
        self._vfs.called("size")
        return super().xFileSize()

    def xLock(self, level: int) -> None:
        self._vfs.called("lock")
        super().xLock(level)

    def xUnlock(self, level: int) -> None:
        # A lock that cannot be given back is not something that SQLite can report.
        super().xUnlock(level)


Workload = Callable[[Any], None]
