"""What the driver has said and the loop has not yet heard; and how a running round is cut short."""

import threading
from collections import deque
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

__all__ = ["Cancellation", "Failure", "HoldAnswer", "Inbox", "Said"]

_INTERRUPT_DRAIN_S = 20.0
"""Seconds that a model call in flight may go on after an interruption: cut earlier, its true usage is never known."""
_STOP_DRAIN_S = 2.0
"""The same when the process is to end."""


class Said(NamedTuple):
    """A text for the conversation. `seq` counts what the driver sent, `message` is the id that its receipt names."""

    seq: int
    message: str
    text: str


class HoldAnswer(NamedTuple):
    """The driver's answer to a hold: its id, or why there is none."""

    hold: str | None
    reason: str = ""


class Failure(NamedTuple):
    """Why the process ends: `stage` is start, mcp or run."""

    stage: str
    reason: str


class Cancellation:
    """Ends one round (a model call and the tools it calls). Whoever works in it hooks in what ends its work."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancelled = threading.Event()
        self._hooks: list[Callable[[float], None]] = []
        self._drain_s = 0.0

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    def cancel(self, drain_s: float) -> None:
        """End it; `drain_s` is what a model call in flight may still take. A second, more urgent one is heard too."""
        with self._lock:
            self._drain_s = drain_s
            self._cancelled.set()
            hooks = list(self._hooks)
        for hook in hooks:
            hook(drain_s)

    def wait(self, seconds: float) -> bool:
        """Whether it is cancelled within so many seconds."""
        return self._cancelled.wait(seconds)

    @contextmanager
    def hooked(self, hook: Callable[[float], None]) -> Generator[None]:
        """Call `hook` when it is cancelled while the context lasts, at once if it already is."""
        with self._lock:
            self._hooks.append(hook)
            at_once = self._cancelled.is_set()
        if at_once:
            hook(self._drain_s)
        try:
            yield
        finally:
            with self._lock:
                self._hooks.remove(hook)


class Inbox:
    """Filled by the thread that reads the driver's lines, emptied by the loop's.

    Nothing said is lost: a text that comes while the agent is idle begins a turn, one that comes in a turn joins it.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._texts: deque[Said] = deque()
        self._answers: dict[str, HoldAnswer] = {}
        self._round = Cancellation()
        self._in_turn = False
        self._interrupted = False
        self._stopping = False
        self._heard = 0
        self.failure: Failure | None = None

    # ── the reading thread ──

    def take(self, line: Mapping[str, Any]) -> None:
        """Take one line of the driver; what is not understood is left alone."""
        match line:
            case {"kind": "prompt" | "steer", "seq": int(seq), "message": str(message), "text": str(text)}:
                with self._changed:
                    self._texts.append(Said(seq, message, text))
                    self._changed.notify_all()
                    current = self._round
                if line.get("interrupt") is True:
                    current.cancel(_INTERRUPT_DRAIN_S)
            case {"kind": "hold_granted", "id": str(identifier), "hold": str(hold)}:
                self._answer(identifier, HoldAnswer(hold))
            case {"kind": "hold_refused", "id": str(identifier), "reason": str(reason)}:
                self._answer(identifier, HoldAnswer(None, reason))
            case {"kind": "interrupt"}:
                with self._changed:
                    if not self._in_turn:
                        return  # it was meant for a turn that has ended meanwhile
                    self._interrupted = True
                    current = self._round
                current.cancel(_INTERRUPT_DRAIN_S)
            case {"kind": "stop"}:
                self.stop()
            case _:
                pass

    def stop(self, failure: Failure | None = None) -> None:
        """End the loop at the next chance; the first failure is the one that is told."""
        with self._changed:
            if not self._stopping:
                self.failure = failure
            self._stopping = True
            self._changed.notify_all()
            current = self._round
        current.cancel(_STOP_DRAIN_S)

    def _answer(self, identifier: str, answer: HoldAnswer) -> None:
        with self._changed:
            self._answers[identifier] = answer
            self._changed.notify_all()

    # ── the loop ──

    @property
    def ends_turn(self) -> bool:
        """Whether the turn is to end now, by an interrupt or because the process is to end."""
        return self._interrupted or self._stopping

    @property
    def waiting(self) -> bool:
        """Whether there are texts that are not in the conversation yet."""
        return bool(self._texts)

    def begin_turn(self) -> bool:
        """Wait until something is said; False if the process is to end instead."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self._texts)
            self._in_turn = not self._stopping
            return self._in_turn

    def begin_round(self) -> tuple[list[Said], Cancellation]:
        """Take all that was said. A later interruption ends this round; an earlier one has had its effect."""
        with self._changed:
            texts = list(self._texts)
            self._texts.clear()
            if texts:
                self._heard = texts[-1].seq
            self._round = Cancellation()
            return texts, self._round

    def end_turn(self) -> int | None:
        """The seq of the last text that was heard; None if more was said meanwhile, so that another turn begins."""
        with self._changed:
            self._interrupted = False
            self._in_turn = False
            return None if self._texts else self._heard

    def await_hold(self, identifier: str) -> HoldAnswer | None:
        """The driver's answer; None if the process is to end first."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or identifier in self._answers)
            return self._answers.pop(identifier, None)
