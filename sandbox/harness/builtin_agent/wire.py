"""JSON lines between the agent and its driver, and whatever else the agent's parts agree on. Standard library only.

Down: launch · prompt · steer · interrupt · hold_granted · hold_refused · stop.
Up: started · ready · hold · booked · step · delivered · idle · fatal.
"""

import json
import os
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Cancel", "FatalError", "Object", "Wire", "as_list", "as_object", "dumps"]

Object = dict[str, Any]

_encoder = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), check_circular=False)


def dumps(value: object) -> str:
    """Compact JSON in ASCII, so that any text, also a lone surrogate, passes."""
    return _encoder.encode(value)


def as_object(value: object) -> Object:
    """The value if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}  # pyright: ignore[reportUnknownVariableType]


def as_list(value: object) -> list[Any]:
    """The value if it is a JSON list, else an empty one."""
    return value if isinstance(value, list) else []  # pyright: ignore[reportUnknownVariableType]


class FatalError(Exception):
    """The agent cannot go on.

    Attributes:
        stage: `start`, `mcp` or `run`, as in the port's Exit.
    """

    def __init__(self, stage: str, reason: str) -> None:
        super().__init__(reason)
        self.stage = stage


class Wire:
    """The agent's end: many threads write, one reads."""

    def __init__(self, source: int, target: int) -> None:
        self._source = source
        self._target = target
        self._lock = threading.Lock()

    def send(self, kind: str, **fields: object) -> None:
        """Write a line; a driver that is gone is noticed by the reading side."""
        data = dumps({"kind": kind, **fields}).encode() + b"\n"
        with self._lock:
            view = memoryview(data)
            while view:
                try:
                    view = view[os.write(self._target, view) :]
                except BrokenPipeError:
                    return

    def lines(self) -> Iterator[Object]:
        """What the driver says, until it closes the pipe."""
        with os.fdopen(self._source, "rb", closefd=False) as stream:
            for line in stream:
                yield as_object(json.loads(line))


class Cancel:
    """A request to stop something, which may come before, while or after it runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._set = False
        self._callbacks: list[Callable[[], None]] = []

    @property
    def is_set(self) -> bool:
        """Whether it was asked for."""
        return self._set

    def set(self) -> None:
        """Ask; each callback runs once, in this thread."""
        with self._lock:
            self._set = True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    @contextmanager
    def calling(self, callback: Callable[[], None]) -> Generator[None]:
        """Have `callback` run when it is asked for inside the context; at once if it was already."""
        with self._lock:
            late = self._set
            if not late:
                self._callbacks.append(callback)
        if late:
            callback()
        try:
            yield
        finally:
            with self._lock:
                if callback in self._callbacks:
                    self._callbacks.remove(callback)
