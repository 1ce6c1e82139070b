"""What a dialect is, and what its three forms share: reading fields, server-sent events, chunks of text."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from palmette.sandbox.model.conversation import Called, Conversation, Entry, Returned, Said, UserText, reminders
from palmette.sandbox.model.errors import RequestError
from palmette.sandbox.model.player import TurnReply
from palmette.sandbox.model.values import as_list, as_object, as_text, compact

__all__ = [
    "Dialect",
    "Request",
    "checked_pairs",
    "chunks",
    "error_kind",
    "field_list",
    "field_text",
    "objects",
    "result_entries",
    "server_event",
    "split_system",
    "texts_of",
]


@dataclass(frozen=True, slots=True)
class Request:
    """A request, read.

    Attributes:
        stream: server-sent events are wanted.
        include_usage: the Chat dialect's `stream_options.include_usage`.
        created: Unix time of the reply.
    """

    conversation: Conversation
    stream: bool = False
    include_usage: bool = False
    created: int = 0


@dataclass(frozen=True, slots=True)
class Dialect:
    """One model API.

    Attributes:
        parse: body, its bytes, retries, time → request; raises RequestError.
        whole: the reply as one JSON object.
        events: the reply as server-sent events, each a whole frame.
        error: status, type, code, message → the body of a refusal.
        broken: type, message → the frame of an error inside a stream.
    """

    name: str
    parse: Callable[[dict[str, Any], int, int, int], Request]
    whole: Callable[[TurnReply, Request], dict[str, Any]]
    events: Callable[[TurnReply, Request], list[bytes]]
    error: Callable[[int, str | None, str | None, str], dict[str, Any]]
    broken: Callable[[str | None, str], bytes]


_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    415: "invalid_request_error",
    429: "rate_limit_error",
    529: "overloaded_error",
}


def error_kind(status: int) -> str:
    """Anthropic's usual error type of a status."""
    return _KINDS.get(status, "api_error" if status >= 500 else "invalid_request_error")


def field_text(body: dict[str, Any], name: str) -> str:
    """A required string.

    Raises:
        RequestError: it is missing, empty or no string.
    """
    value = as_text(body.get(name))
    if not value:
        raise RequestError(f"{name}: a non-empty string is required")
    return value


def field_list(body: dict[str, Any], name: str, required: bool = False) -> list[dict[str, Any]]:
    """A list of objects; empty where it is not given.

    Raises:
        RequestError: it is no list of objects, or is missing (or empty) though required.
    """
    if body.get(name) is None and not required:
        return []
    items = as_list(body.get(name))
    if items is None or (required and not items):
        raise RequestError(f"{name}: a {'non-empty ' if required else ''}list is required")
    return objects(items, name)


def objects(items: Sequence[Any], name: str) -> list[dict[str, Any]]:
    """The items, each an object.

    Raises:
        RequestError: one is not; names its place.
    """
    found: list[dict[str, Any]] = []
    for at, item in enumerate(items):
        fields = as_object(item)
        if fields is None:
            raise RequestError(f"{name}.{at}: an object is required")
        found.append(fields)
    return found


def texts_of(content: Any, name: str) -> list[str]:
    """The texts of a content field: a string, or a list of blocks of which those with text count.

    Raises:
        RequestError: it is neither.
    """
    if content is None:
        return []
    if isinstance(content, str):
        return [content] if content else []
    items = as_list(content)
    if items is None:
        raise RequestError(f"{name}: a string or a list of content blocks is required")
    texts = (as_text(block.get("text")) for block in objects(items, name))
    return [text for text in texts if text]


def result_entries(identifier: str, texts: Sequence[str], is_error: bool = False) -> list[Entry]:
    """A tool result, and the reminders that a harness put into it."""
    text = "\n".join(texts)
    return [Returned(identifier, text, is_error), *map(UserText, reminders(text))]


def checked_pairs(entries: Sequence[Entry]) -> None:
    """Refuse what the real APIs refuse: a call without a result after it, a result without a call before it.

    Raises:
        RequestError: names the call.
    """
    open_calls: set[str] = set()
    known: set[str] = set()
    for entry in entries:
        if isinstance(entry, Called):
            open_calls.add(entry.id)
            known.add(entry.id)
        elif isinstance(entry, Returned):
            if entry.id not in known:
                raise RequestError(f"tool result {entry.id!r} has no tool call before it")
            open_calls.discard(entry.id)
    if open_calls:
        raise RequestError(f"tool call {min(open_calls)!r} has no result after it")


def split_system(entries: Sequence[tuple[bool, Entry]], system: Sequence[str]) -> tuple[tuple[Entry, ...], str]:
    """Entries and the system prompt, out of entries marked as system texts or not.

    A system text after the first reply was put in on the way (a steer by injection): it counts as a user text, and
    the choice of the scenario does not hang on it.
    """
    kept: list[Entry] = []
    texts = list(system)
    begun = False
    for is_system, entry in entries:
        begun = begun or isinstance(entry, Said | Called)
        if is_system and not begun and isinstance(entry, UserText):
            texts.append(entry.text)
        else:
            kept.append(entry)
    return tuple(kept), "\n".join(texts)


_CHUNK = 48
_MOST_CHUNKS = 256


def chunks(text: str) -> Iterator[str]:
    """A text in pieces as a model writes it: 48 characters, more where the text is long."""
    size = max(_CHUNK, -(-len(text) // _MOST_CHUNKS))
    return (text[at : at + size] for at in range(0, len(text), size))


def server_event(data: dict[str, Any], name: str | None = None) -> bytes:
    """One server-sent event."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {compact(data)}\n\n".encode(errors="replace")
