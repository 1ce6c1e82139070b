"""What a request says, in no dialect: who said what, which tools are offered, how large it was."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from palmette.sandbox.model.errors import PlayError

__all__ = [
    "Called",
    "Conversation",
    "Entry",
    "OfferedTool",
    "Returned",
    "Said",
    "UserText",
    "is_verb",
    "reminders",
    "resolve_tool",
    "verb_of",
]


@dataclass(frozen=True, slots=True)
class UserText:
    """Text from the other side: a prompt, a steer, a wake, a reminder of the harness."""

    text: str


@dataclass(frozen=True, slots=True)
class Said:
    """One text block of an assistant turn."""

    text: str


@dataclass(frozen=True, slots=True)
class Called:
    """One tool call of an assistant turn; a namespaced tool's name is `namespace/name`."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Returned:
    """The result of a call."""

    id: str
    text: str
    is_error: bool = False


Entry = UserText | Said | Called | Returned


@dataclass(frozen=True, slots=True)
class OfferedTool:
    """A tool the request offers.

    Attributes:
        name: as it must be called.
        namespace: where the Responses dialect groups tools; else empty.
        freeform: takes text instead of a JSON object.
    """

    name: str
    namespace: str = ""
    freeform: bool = False

    @property
    def full_name(self) -> str:
        """`namespace/name`, or the name."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@dataclass(frozen=True)
class Conversation:
    """One request.

    Attributes:
        entries: in order; system texts are not among them unless they came after the first reply.
        system: all system and developer texts before the first reply.
        model: the name asked for.
        tools: what the reply may call.
        size: bytes of the request's body, from which the usage is computed.
        retries: how many times this request was sent before, by the client's own header.
    """

    entries: tuple[Entry, ...] = ()
    system: str = ""
    model: str = ""
    tools: tuple[OfferedTool, ...] = ()
    size: int = 0
    retries: int = 0

    @cached_property
    def prompt(self) -> str:
        """The user texts before the first reply."""
        texts: list[str] = []
        for entry in self.entries:
            if isinstance(entry, Said | Called):
                break
            if isinstance(entry, UserText):
                texts.append(entry.text)
        return "\n".join(texts)


_SEPARATORS = ("__", "/", "_", ".", "-")


def verb_of(written: str) -> str:
    """The bare verb of a tool as a scenario writes it: `ns/spawn` → `spawn`."""
    return written.rpartition("/")[2]


def is_verb(name: str, written: str) -> bool:
    """Whether a full tool name is what a scenario's tool name means.

    >>> is_verb("mcp__palmette__spawn", "spawn"), is_verb("palmette_spawn", "spawn"), is_verb("respawn", "spawn")
    (True, True, False)
    """
    return name == written or any(name.endswith(separator + written) for separator in _SEPARATORS)


def resolve_tool(written: str, offered: Sequence[OfferedTool]) -> OfferedTool:
    """The offered tool that a scenario's tool name means: the exact one, else the one whose name ends with it.

    A name written `namespace/tool` that is not offered is called all the same: harnesses defer tools that they know.

    Raises:
        PlayError: none fits, or more than one does.
    """
    exact = [tool for tool in offered if written in (tool.full_name, tool.name)]
    fitting = exact or [tool for tool in offered if is_verb(tool.full_name, written)]
    if len(fitting) == 1:
        return fitting[0]
    names = ", ".join(tool.full_name for tool in (fitting or offered)) or "none"
    if fitting:
        raise PlayError(f"tool {written!r} is ambiguous: {names}", "Write the full name of one of them in the script.")
    namespace, slash, name = written.rpartition("/")
    if slash:
        return OfferedTool(name, namespace)
    raise PlayError(
        f"tool {written!r} is not offered by this request; offered: {names}",
        "Let the harness offer it, or select the scenario with `when: {tools: [...]}`.",
    )


_REMINDER = ("<system-reminder>", "</system-reminder>")


def reminders(text: str) -> list[str]:
    """What a harness slipped into a tool result: Claude Code delivers steers there, as `<system-reminder>`."""
    opening, closing = _REMINDER
    found: list[str] = []
    at = text.find(opening)
    while at >= 0:
        end = text.find(closing, at)
        if end < 0:
            break
        found.append(text[at + len(opening) : end].strip())
        at = text.find(opening, end)
    return found
