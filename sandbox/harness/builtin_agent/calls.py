"""Model calls as the books want them: held before, booked after, made again within bounds.

No call is made before the driver confirmed its hold, and every call, also a repeated one, has a hold of its own (B14).
Standard library only.
"""

import random
import threading
from collections.abc import Callable
from queue import SimpleQueue

from palmette.sandbox.harness.builtin_agent.inbox import Inbox
from palmette.sandbox.harness.builtin_agent.model import BudgetRefusedError, ModelError, Reply, call_model
from palmette.sandbox.harness.builtin_agent.wire import Object, Wire, dumps

__all__ = ["Caller", "TurnOver", "step_of", "text_of"]

CALLS_MOST = 6
"""Times one request is made before the turn ends with stopped_by `model`."""
CUTS_MOST = 3
"""Of those, times that a reply broke off or went silent: each costs a whole hold (the gateway note, §1.5)."""
WAIT_MOST_S = 60.0

_NOT_BUDGET = ("already_submitted", "attempt_over")


class TurnOver(Exception):
    """The turn ends here; the fields are those of the port's Idle."""

    def __init__(self, stopped_by: str, text: str = "") -> None:
        super().__init__(stopped_by)
        self.stopped_by = stopped_by
        self.text = text


class Caller:
    """Makes the calls of one agent, in the thread that runs its turns."""

    def __init__(self, wire: Wire, inbox: Inbox, url: str, silence_s: float) -> None:
        self._wire = wire
        self._inbox = inbox
        self._url = url
        self._silence_s = silence_s
        self._answers: SimpleQueue[Object] = SimpleQueue()
        self._last_hold = 0

    def answer_hold(self, answer: Object) -> None:
        """The driver's answer to a hold, or its `stop`; called by the thread that reads."""
        self._answers.put(answer)

    def ask(self, request: Object, keep: Callable[[Reply], None], on_sent: Callable[[], None]) -> Reply:
        """The reply to a request; `keep` has put it into the conversation, and it is booked.

        Raises:
            TurnOver: refused for budget, failed for good, or interrupted.
        """
        body, model = dumps(request).encode(), str(request["model"])
        cuts = 0
        for attempt in range(CALLS_MOST):
            hold = self._hold(body, request)
            try:
                if self._inbox.ended_early:
                    raise TurnOver("interrupt")
                reply = call_model(
                    self._url,
                    body,
                    model,
                    silence_s=self._silence_s,
                    attempt=attempt,
                    cancel=self._inbox.cut,
                    on_sent=on_sent,
                )
            except TurnOver:
                self._book(hold, None, model, sent=False)
                raise
            except BudgetRefusedError as error:
                self._book(hold, None, model, sent=False)
                raise TurnOver("budget", str(error)) from None
            except ModelError as error:
                self._book(hold, None, model, sent=error.sent)
                cuts += error.sent
                if not error.transient or cuts >= CUTS_MOST or attempt == CALLS_MOST - 1:
                    raise TurnOver("model", str(error)) from None
                self._rest(attempt, error.retry_after_s)
                if self._inbox.ended_early:
                    raise TurnOver("interrupt") from None
            else:
                keep(reply)
                # A step with calls is told when their results are there, whole.
                whole = not any(block["type"] == "tool_use" for block in reply.content)
                self._book(hold, reply, model, sent=True, steps=[step_of(reply, [])] if whole else [])
                return reply
        raise TurnOver("model", "the model endpoint failed too often")

    def _hold(self, body: bytes, request: Object) -> str:
        """Have the worst case set aside; returns once it is."""
        self._last_hold += 1
        name = str(self._last_hold)
        # A token is at least one byte; 1,000 for the API's own wrapping, 4 for each message (the gateway note, §1.4).
        bound = len(body) + 1000 + 4 * len(request["messages"])
        self._wire.send("hold", id=name, model=request["model"], input_bound=bound, max_output=request["max_tokens"])
        while True:
            answer = self._answers.get()
            if answer.get("kind") == "stop":
                raise TurnOver("interrupt")
            if answer.get("id") != name:
                continue
            if answer["kind"] == "hold_granted":
                return str(answer["hold"])
            if answer.get("code") in _NOT_BUDGET:
                raise TurnOver("end_for_good")
            raise TurnOver("budget", str(answer.get("reason")))

    def _book(
        self, hold: str, reply: Reply | None, model: str, *, sent: bool, steps: list[Object] | None = None
    ) -> None:
        told, usage = (model, None) if reply is None else (reply.model, reply.usage)
        self._wire.send("booked", hold=hold, usage=usage, model=told, sent=sent, steps=steps or [])

    def _rest(self, attempt: int, asked_s: float | None) -> None:
        """Wait before the next try, no longer than until something is to be cut short."""
        seconds = min(8.0, 0.5 * 2**attempt) * random.uniform(0.75, 1.25) if asked_s is None else asked_s  # noqa: S311
        woken = threading.Event()
        with self._inbox.cut.calling(woken.set):
            woken.wait(min(seconds, WAIT_MOST_S))


def text_of(reply: Reply) -> str:
    """What the model said in words."""
    return "\n".join(str(block["text"]) for block in reply.content if block["type"] == "text")


def step_of(reply: Reply, calls: list[Object]) -> Object:
    """A reply, and its calls with their results, as a step."""
    return {"message": text_of(reply), "model": reply.model, "usage": reply.usage, "tool_calls": calls}
