"""The loop: a turn is model calls and the tools they ask for, until the model asks for none."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from palmette.sandbox.harness.agent.conversation import Conversation, ToolResult
from palmette.sandbox.harness.agent.endpoint import Endpoint, ModelFault
from palmette.sandbox.harness.agent.inbox import Cancellation, HoldAnswer, Inbox, Said
from palmette.sandbox.harness.agent.lines import Channel, clean, encode
from palmette.sandbox.harness.agent.reply import Call, Reply
from palmette.sandbox.harness.agent.toolbox import Toolbox

__all__ = ["Loop", "Patience"]

_BOUND_MARGIN = 1000
_BOUND_PER_MESSAGE = 4
_NAME = 200
"""Characters of a name in what is told; the driver takes no longer one."""


class Patience(NamedTuple):
    """How failing calls are tried again.

    Attributes:
        tries: calls for one reply in all.
        cuts: broken or silent ones among them; each costs a whole hold (the gateway note, §1.5).
        first_s: the first pause; each further one is twice as long.
        longest_s: the longest pause; an endpoint that asks for more is given up.
    """

    tries: int = 6
    cuts: int = 3
    first_s: float = 0.5
    longest_s: float = 60.0


class _End(NamedTuple):
    """How a turn ended: ports.Idle."""

    stopped_by: str
    text: str


class Loop:
    """One agent at work."""

    def __init__(
        self,
        inbox: Inbox,
        channel: Channel,
        conversation: Conversation,
        endpoint: Endpoint,
        toolbox: Toolbox,
        *,
        system: str,
        max_output: int,
        patience: Patience,
    ) -> None:
        self._inbox = inbox
        self._channel = channel
        self._conversation = conversation
        self._endpoint = endpoint
        self._toolbox = toolbox
        self._system = system
        self._max_output = max_output
        self._patience = patience
        self._holds = 0
        self._untold: list[dict[str, Any]] = []

    def run(self) -> None:
        """Serve until the process is to end."""
        while self._inbox.begin_turn():
            end = self._turn()
            heard = self._inbox.end_turn()
            if heard is not None:
                self._channel.tell("idle", stopped_by=end.stopped_by, text=end.text, heard=heard)

    def _turn(self) -> _End:
        while True:
            texts, round_ = self._inbox.begin_round()
            self._hear(texts)
            if self._inbox.ends_turn:
                return _End("interrupt", "")
            answer = self._ask(round_)
            if isinstance(answer, _End):
                return answer
            if answer is None:
                continue  # it was cut short: by the end of the turn, or by a text that is now waiting
            if answer.calls:
                self._work(answer.calls, round_)
            elif not self._inbox.waiting:
                return _End("end", answer.text)

    def _hear(self, texts: Sequence[Said]) -> None:
        for said in texts:
            self._conversation.say(said)
            self._untold.append({"source": "user", "message": clean(said.text)})

    def _work(self, calls: Sequence[Call], round_: Cancellation) -> None:
        results = self._toolbox.run(calls, round_)
        self._conversation.results(results)
        observed = [_observed(call, result) for call, result in zip(calls, results, strict=True)]
        self._channel.tell("step", steps=[{"source": "agent", "message": "", "tool_calls": observed}])

    def _ask(self, round_: Cancellation) -> Reply | _End | None:
        """The next reply; the turn's end where there is none to be had; None where the round was cut short."""
        body = self._body()
        cuts = 0
        for tries in range(self._patience.tries):
            name, answer = self._hold(body)
            if answer is not None and answer.hold is None:
                return _End("budget", answer.reason)
            if answer is None or round_.cancelled:
                self._book(name, sent=False)
                return None
            for message in self._conversation.take_undelivered():
                self._channel.tell("delivered", message=message)
            try:
                reply = self._endpoint.send(body, tries, round_)
            except ModelFault as fault:
                self._book(name, sent=fault.sent)
                if fault.budget:
                    return _End("budget", str(fault))
                if round_.cancelled:
                    return None
                cuts += fault.cut
                pause = max(fault.retry_after or 0.0, self._patience.first_s * 2**tries)
                last = tries + 1 == self._patience.tries or cuts >= self._patience.cuts
                if not fault.transient or last or (fault.retry_after or 0.0) > self._patience.longest_s:
                    return _End("model", str(fault))
                if round_.wait(min(pause, self._patience.longest_s)):
                    return None
            else:
                self._conversation.reply(reply.content)
                self._book(name, sent=True, reply=reply)
                return reply
        raise AssertionError("the last try returns")

    def _body(self) -> bytes:
        return encode(
            {
                "model": self._endpoint.model,
                "max_tokens": self._max_output,
                "stream": True,
                **({"system": self._system} if self._system else {}),
                "tools": self._toolbox.definitions(),
                "messages": self._conversation.messages(),
            }
        )

    def _hold(self, body: bytes) -> tuple[str, HoldAnswer | None]:
        """Ask for the worst case to be held; nothing is sent before the answer. None: the process is to end."""
        self._holds += 1
        name = f"h{self._holds}"
        # Bytes bound the tokens of byte-level BPE; the rest is for wrappers (the gateway note, §1.4).
        bound = len(body) + _BOUND_MARGIN + _BOUND_PER_MESSAGE * len(self._conversation.messages())
        model = self._endpoint.model
        self._channel.tell("hold", id=name, model=model, input_bound=bound, max_output=self._max_output)
        return name, self._inbox.await_hold(name)

    def _book(self, hold: str, *, sent: bool, reply: Reply | None = None) -> None:
        steps: list[dict[str, Any]] = []
        if reply is not None:
            calls = [_called(call) for call in reply.calls]
            steps = [*self._untold, {"source": "agent", "message": reply.text, "tool_calls": calls}]
            self._untold = []
        model = self._endpoint.model if reply is None else reply.model[:_NAME]
        usage = None if reply is None else reply.usage
        self._channel.tell("booked", id=hold, sent=sent, model=model, usage=usage, steps=steps)


def _called(call: Call) -> Mapping[str, Any]:
    return {"id": call.id[:_NAME], "name": call.name[:_NAME], "arguments": encode(call.arguments).decode()}


def _observed(call: Call, result: ToolResult) -> Mapping[str, Any]:
    # The arguments were told with the reply: a step tells only what is new.
    return {
        "id": call.id[:_NAME],
        "name": call.name[:_NAME],
        "arguments": "",
        "observation": clean(result.text),
        "error": result.is_error,
    }
