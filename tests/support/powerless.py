"""A power cut for SQLite, modelled: what was written since a file's last sync may be lost, kept or torn.

A file system for apsw that passes everything through and notes it, sync by sync. At the cut, each file's writes since
its last sync are dropped, kept up to some point, or kept in part, in sectors of 512 bytes. It has no shared memory, so
WAL needs locking_mode=EXCLUSIVE; and it is apsw's SQLite that runs, not the distribution's.
"""

import random
from collections.abc import Callable
from typing import Any, Literal

import apsw

__all__ = ["Cut", "Disk", "PowerlessVFS"]

SECTOR = 512
Policy = Literal["drop", "prefix", "random"]


class Cut(Exception):
    """The power is gone."""


class Disk:
    """What is durable, and what only seems to be.

    Attributes:
        cut_at: the operation at which the power goes; None for never.
    """

    def __init__(self) -> None:
        self.durable: dict[str, bytearray] = {}
        self.pending: dict[str, list[tuple[int, bytes | None]]] = {}
        self.operations = 0
        self.cut_at: int | None = None
        self.dead = False

    def tick(self) -> None:
        """One more operation; raises Cut from the chosen one on."""
        self.operations += 1
        if self.cut_at is not None and self.operations >= self.cut_at:
            self.dead = True
        if self.dead:
            raise Cut

    def note(self, path: str, offset: int, data: bytes | None) -> None:
        """A write at the offset, or a truncation to it (data None)."""
        self.pending.setdefault(path, []).append((offset, data))

    def sync(self, path: str) -> None:
        """Everything written to the file so far is durable."""
        content = self.durable.setdefault(path, bytearray())
        for offset, data in self.pending.pop(path, []):
            _apply(content, offset, data)

    def delete(self, path: str) -> None:
        """The file is gone, durably."""
        self.durable.pop(path, None)
        self.pending.pop(path, None)

    def after_the_cut(self, chance: random.Random, policy: Policy) -> dict[str, bytes]:
        """The files as they are found when the power is back."""
        found: dict[str, bytes] = {}
        for path in sorted(set(self.durable) | set(self.pending)):
            content = bytearray(self.durable.get(path, b""))
            sectors: list[tuple[int, bytes | None]] = []
            for offset, data in self.pending.get(path, []):
                if data is None:
                    sectors.append((offset, None))
                    continue
                at = 0
                while at < len(data):
                    length = SECTOR - (offset + at) % SECTOR
                    sectors.append((offset + at, data[at : at + length]))
                    at += length
            if policy == "drop":
                sectors = []
            elif policy == "prefix":
                sectors = sectors[: chance.randint(0, len(sectors))]
            else:
                sectors = [sector for sector in sectors if chance.random() < 0.5]
            for offset, data in sectors:
                _apply(content, offset, data)
            found[path] = bytes(content)
        return found


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    if len(content) < offset:
        content.extend(b"\0" * (offset - len(content)))
    if data is None:
        del content[offset:]
    else:
        content[offset : offset + len(data)] = data


class PowerlessVFS(apsw.VFS):
    """The file system; register by making it, `unregister` when done."""

    def __init__(self, name: str, disk: Disk) -> None:
        self.disk = disk
        super().__init__(name, "")

    def xOpen(self, name: Any, flags: list[int]) -> Any:
        return _File(self.disk, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        self.disk.tick()
        self.disk.delete(filename)
        super().xDelete(filename, syncdir)


class _File(apsw.VFSFile):
    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        self.disk = disk
        filename: Callable[[], str] | None = getattr(name, "filename", None)
        self.path: str | None = name if isinstance(name, str) else filename() if filename else None
        super().__init__("", name, flags)

    def xWrite(self, data: Any, offset: int) -> None:
        self.disk.tick()
        below: Any = super()
        below.xWrite(data, offset)
        if self.path:
            self.disk.note(self.path, offset, bytes(data))

    def xTruncate(self, newsize: int) -> None:
        self.disk.tick()
        super().xTruncate(newsize)
        if self.path:
            self.disk.note(self.path, newsize, None)

    def xSync(self, flags: int) -> None:
        self.disk.tick()
        # Nothing is passed on: the model is the disk.
        if self.path:
            self.disk.sync(self.path)
