"""A conversation without HTTP: replies are recorded as a harness would record them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from palmette.sandbox.model import (
    Called,
    Conversation,
    Entry,
    Failure,
    OfferedTool,
    Reply,
    Returned,
    Said,
    Script,
    TurnReply,
    UserText,
    play,
)

VERBS = ("spawn", "await_event", "steer", "submit", "answer", "ask_parent", "shell")


def one(steps: str, head: str = "", tail: str = "") -> Script:
    """A script of one scenario from its steps, written flush left."""
    lines = "".join(f"      {line}\n" for line in steps.strip("\n").splitlines())
    return Script.load(f"{head}scenarios:\n  - name: only\n{tail}    steps:\n{lines}")


@dataclass
class Talk:
    script: Script
    entries: list[Entry] = field(default_factory=lambda: [UserText("go")])
    tools: Sequence[OfferedTool] = tuple(OfferedTool(f"mcp__palmette__{verb}") for verb in VERBS)
    system: str = ""
    model: str = "m"
    retries: int = 0
    size: int = 400

    def look(self, length: int | None = None) -> Reply:
        entries = tuple(self.entries[:length])
        conversation = Conversation(entries, self.system, self.model, tuple(self.tools), self.size, self.retries)
        return play(self.script, conversation)

    def turn(self) -> TurnReply:
        """The next reply, recorded."""
        reply = self.look()
        assert isinstance(reply, TurnReply), reply
        if reply.text:
            self.entries.append(Said(reply.text))
        self.entries += [Called(call.id, call.tool.full_name) for call in reply.calls]
        return reply

    def failure(self) -> Failure:
        reply = self.look()
        assert isinstance(reply, Failure), reply
        return reply

    def user(self, text: str) -> None:
        self.entries.append(UserText(text))

    def results(self, reply: TurnReply, *texts: str) -> None:
        self.entries += [Returned(call.id, text) for call, text in zip(reply.calls, texts, strict=True)]

    def called(self, *texts: str) -> TurnReply:
        """The next reply, recorded with the results of its calls."""
        reply = self.turn()
        self.results(reply, *texts)
        return reply

    def until_rest(self, result: Callable[[str], str]) -> str:
        while (reply := self.turn()).calls:
            self.results(reply, *(result(call.tool.name) for call in reply.calls))
        return reply.text
