"""The loop: a text begins a turn; model call, tool calls, model call, until the model has nothing more to do.

Standard library only.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass

from palmette.sandbox.harness.builtin_agent.calls import Caller, TurnOver, step_of, text_of
from palmette.sandbox.harness.builtin_agent.inbox import Inbox, Said
from palmette.sandbox.harness.builtin_agent.mcp import Answer, Relay
from palmette.sandbox.harness.builtin_agent.model import Reply
from palmette.sandbox.harness.builtin_agent.session import INTERRUPTED_BY_RESTART, Session, tool_result
from palmette.sandbox.harness.builtin_agent.tools import TOOLS, edit, shell
from palmette.sandbox.harness.builtin_agent.wire import Object, Wire, dumps

__all__ = ["Loop", "Settings"]

MCP_PREFIX = "mcp__palmette__"

CONTINUES_MOST = 2
"""Times a reply that was cut at the output limit is asked to go on."""

_TOLD_CHARS = 100_000


@dataclass(frozen=True)
class Settings:
    """What the launch says of the agent itself.

    Attributes:
        tools: names of the own tools that are offered; None for all.
        directory: where they work.
        mcp_s: the longest wait for the relay.
    """

    system: str
    model: str
    max_output: int
    tools: tuple[str, ...] | None
    directory: str
    mcp_s: float


class Loop:
    """Runs turns in the thread that calls `run`."""

    def __init__(
        self,
        wire: Wire,
        inbox: Inbox,
        session: Session,
        relay: Relay,
        caller: Caller,
        settings: Settings,
        env: Mapping[str, str],
    ) -> None:
        self._wire = wire
        self._inbox = inbox
        self._session = session
        self._relay = relay
        self._caller = caller
        self._settings = settings
        self._env = env
        self._undelivered: list[str] = []
        self._last_text = ""

    def run(self) -> None:
        """Turn after turn, until everything is to end."""
        self._mend()
        while self._inbox.wait():
            over = self._turn()
            if not self._inbox.stopped:
                stopped_by = "end" if over.stopped_by == "end_for_good" else over.stopped_by
                self._wire.send("idle", stopped_by=stopped_by, text=over.text or self._last_text)

    def _turn(self) -> TurnOver:
        self._last_text = ""
        over = TurnOver("end")
        while over.stopped_by == "end":
            self._take_texts()
            try:
                self._work()
            except TurnOver as early:
                over = early
            if self._inbox.ended_early:
                over = TurnOver("interrupt")
            # A text that came after the model's last word goes on with the turn, unless the turn has to end. Then an
            # interrupted one takes it into the conversation; after a failure it begins the next turn.
            if over.stopped_by == "interrupt":
                self._take_texts()
            if self._inbox.end_turn(even_with_texts=over.stopped_by != "end"):
                break
        return over

    def _work(self) -> None:
        """Model and tools by turns until a reply calls no tool.

        Raises:
            TurnOver: it ends before that.
        """
        continues = 0
        while not self._inbox.ended_early:
            self._relay.refresh(self._settings.mcp_s)
            reply = self._caller.ask(self._request(), self._keep, self._tell_delivered)
            self._last_text = text_of(reply) or self._last_text
            calls = [block for block in reply.content if block["type"] == "tool_use"]
            if calls:
                self._finish(calls, self._do(calls), reply)
            elif reply.stop == "max_tokens" and continues < CONTINUES_MOST:
                continues += 1
                text = "Your reply was cut at the output limit. Go on where it ended."
                self._session.append("user", [{"type": "text", "text": text}])
            else:
                return

    def _do(self, calls: list[Object]) -> list[Answer]:
        """Make the calls of one reply, all at the same time: one that waits must not hold up the others."""
        cut = self._inbox.cut
        answers = [Answer("interrupted", True)] * len(calls)

        def one(at: int) -> None:
            if cut.is_set:
                return
            try:
                answers[at] = self._call(calls[at])
            except Exception as error:  # a fault in one tool must not end the agent
                answers[at] = Answer(f"the tool failed: {type(error).__name__}: {error}", True)

        threads = [threading.Thread(target=one, args=(at,), daemon=True) for at in range(1, len(calls))]
        for thread in threads:
            thread.start()
        one(0)
        for thread in threads:
            thread.join()
        return answers

    def _call(self, call: Object) -> Answer:
        name, arguments, cut = str(call["name"]), call["input"], self._inbox.cut
        if call.get("cut_off"):
            return Answer("this call was cut off at the output limit and not made: make it shorter", True)
        if name in self._own_tools():
            if name == "shell":
                return shell(arguments, self._settings.directory, self._env, cut)
            return edit(arguments, self._settings.directory)
        verb = name.removeprefix(MCP_PREFIX)
        if verb != name and any(tool.get("name") == verb for tool in self._relay.tools):
            return self._relay.call(verb, arguments, cut)
        return Answer(f"there is no tool {name}", True)

    def _finish(self, calls: list[Object], answers: list[Answer], reply: Reply | None) -> None:
        """Put results, and whatever was said meanwhile, into one message; tell the step, now that it is whole."""
        pairs = list(zip(calls, answers, strict=True))
        said = self._inbox.take()
        results = [tool_result(call["id"], answer.text, error=answer.error) for call, answer in pairs]
        self._session.append("user", [*results, *map(_block, said)])
        self._undelivered += [one.message for one in said]
        told = [
            {
                "id": call["id"],
                "name": call["name"],
                "arguments": dumps(call["input"])[:_TOLD_CHARS],
                "observation": answer.text[:_TOLD_CHARS],
                "error": answer.error,
            }
            for call, answer in pairs
        ]
        self._wire.send("step", steps=[step_of(reply or Reply(self._settings.model), told)])

    def _mend(self) -> None:
        """Answer the calls that a dead process left open: the API takes no history with an open call."""
        calls = self._session.open_calls()
        if calls:
            self._finish(calls, [Answer(INTERRUPTED_BY_RESTART, True)] * len(calls), None)

    def _take_texts(self) -> None:
        said = self._inbox.take()
        if said:
            self._session.append("user", [_block(one) for one in said])
            self._undelivered += [one.message for one in said]

    def _tell_delivered(self) -> None:
        """Called when a request is out: what is in the conversation is in it."""
        told, self._undelivered = self._undelivered, []
        for message in told:
            self._wire.send("delivered", message=message)

    def _keep(self, reply: Reply) -> None:
        """Put the reply into the conversation, less what the API would refuse to take back."""
        kept: list[Object] = []
        for block in reply.content:
            if block.get("type") == "text" and str(block.get("text", "")).strip():
                kept.append({"type": "text", "text": str(block["text"])})
            elif block.get("type") == "tool_use":
                whole = isinstance(block.get("input"), dict)
                arguments = block["input"] if whole else {}
                kept.append({"type": "tool_use", "id": block["id"], "name": block["name"], "input": arguments})
        if kept:
            self._session.append("assistant", kept)
        cut_off = {block.get("id") for block in reply.content if not isinstance(block.get("input", {}), dict)}
        reply.content = [{**block, "cut_off": block.get("id") in cut_off} for block in kept]

    def _request(self) -> Object:
        """The next request: everything that is in the conversation."""
        system = "\n\n".join(part for part in (self._settings.system, self._relay.instructions) if part)
        tools = [TOOLS[name] for name in self._own_tools()]
        for tool in self._relay.tools:
            name, description = MCP_PREFIX + str(tool.get("name")), str(tool.get("description") or "")
            tools.append({"name": name, "description": description, "input_schema": tool.get("inputSchema")})
        return {
            "model": self._settings.model,
            "max_tokens": self._settings.max_output,
            "stream": True,
            **({"system": system} if system else {}),
            "messages": self._session.request_messages(),
            "tools": tools,
        }

    def _own_tools(self) -> list[str]:
        allowed = self._settings.tools
        return [name for name in TOOLS if allowed is None or name in allowed]


def _block(said: Said) -> Object:
    # The API refuses an empty text block.
    return {"type": "text", "text": said.text if said.text.strip() else "(an empty message)"}
