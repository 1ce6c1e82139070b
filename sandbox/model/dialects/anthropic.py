"""Anthropic Messages: usage in `message_start`, and cumulative in `message_delta` (notes on gateways, §3)."""

from collections.abc import Iterator
from typing import Any

from palmette.sandbox.model.conversation import Called, Conversation, Entry, OfferedTool, Said, UserText
from palmette.sandbox.model.dialects.shape import (
    Dialect,
    Request,
    checked_pairs,
    chunks,
    error_kind,
    field_list,
    field_text,
    objects,
    result_entries,
    server_event,
    split_system,
    texts_of,
)
from palmette.sandbox.model.errors import RequestError
from palmette.sandbox.model.player import TurnReply, Usage
from palmette.sandbox.model.values import as_list, as_text, compact

__all__ = ["DIALECT", "parse", "parse_to_count"]


def parse(body: dict[str, Any], size: int, retries: int, created: int) -> Request:
    """A request to `/v1/messages`.

    Raises:
        RequestError: what the API would refuse.
    """
    limit = body.get("max_tokens")
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise RequestError("max_tokens: a positive integer is required")
    conversation = parse_to_count(body, size, retries)
    checked_pairs(conversation.entries)
    return Request(conversation, stream=body.get("stream") is True, created=created)


def parse_to_count(body: dict[str, Any], size: int, retries: int = 0) -> Conversation:
    """A request to `/v1/messages/count_tokens`, which asks for less than a real one.

    Raises:
        RequestError: what the API would refuse.
    """
    model = field_text(body, "model")
    marked: list[tuple[bool, Entry]] = []
    for at, message in enumerate(field_list(body, "messages", required=True)):
        marked += _entries(message, f"messages.{at}")
    entries, system = split_system(marked, texts_of(body.get("system"), "system"))
    tools = tuple(OfferedTool(field_text(tool, "name")) for tool in field_list(body, "tools"))
    return Conversation(entries, system, model, tools, size, retries)


def _entries(message: dict[str, Any], place: str) -> Iterator[tuple[bool, Entry]]:
    role, content = message.get("role"), message.get("content")
    if role not in ("user", "assistant", "system"):
        raise RequestError(f"{place}.role: must be user or assistant")
    if content is None:
        raise RequestError(f"{place}.content: is required")
    items = as_list(content)
    blocks = [{"type": "text", "text": content}] if items is None else objects(items, f"{place}.content")
    for number, block in enumerate(blocks):
        where = f"{place}.content.{number}"
        kind = field_text(block, "type")
        if kind == "text":
            text = as_text(block.get("text"))
            if text is None:
                raise RequestError(f"{where}.text: a string is required")
            yield role == "system", Said(text) if role == "assistant" else UserText(text)
        elif kind == "tool_use" and role == "assistant":
            yield False, Called(field_text(block, "id"), field_text(block, "name"))
        elif kind == "tool_result" and role == "user":
            texts = texts_of(block.get("content"), f"{where}.content")
            for entry in result_entries(field_text(block, "tool_use_id"), texts, block.get("is_error") is True):
                yield False, entry


def _usage(usage: Usage, output: int) -> dict[str, int]:
    return {
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": output,
    }


def _message(reply: TurnReply, request: Request) -> dict[str, Any]:
    return {
        "id": f"msg_{reply.id}",
        "type": "message",
        "role": "assistant",
        "model": request.conversation.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _stop_reason(reply: TurnReply) -> str:
    if reply.cut_short:
        return "max_tokens"
    return "tool_use" if reply.calls else "end_turn"


def _blocks(reply: TurnReply) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = [{"type": "text", "text": reply.text}] if reply.text else []
    for call in reply.calls:
        blocks.append({"type": "tool_use", "id": f"toolu_{call.id}", "name": call.tool.name, "input": call.arguments})
    return blocks


def _whole(reply: TurnReply, request: Request) -> dict[str, Any]:
    message = {**_message(reply, request), "content": _blocks(reply), "stop_reason": _stop_reason(reply)}
    return message if reply.usage is None else {**message, "usage": _usage(reply.usage, reply.usage.output)}


def _events(reply: TurnReply, request: Request) -> list[bytes]:
    message = _message(reply, request)
    if reply.usage is not None:
        message["usage"] = _usage(reply.usage, 1)
    events: list[dict[str, Any]] = [{"type": "message_start", "message": message}]
    for index, block in enumerate(_blocks(reply)):
        if block["type"] == "text":
            start, deltas = (
                {"type": "text", "text": ""},
                [{"type": "text_delta", "text": part} for part in chunks(reply.text)],
            )
        else:
            start = {**block, "input": dict[str, Any]()}
            parts = chunks(compact(block["input"]))
            deltas = [{"type": "input_json_delta", "partial_json": part} for part in ("", *parts)]
        events.append({"type": "content_block_start", "index": index, "content_block": start})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    delta: dict[str, Any] = {
        "type": "message_delta",
        "delta": {"stop_reason": _stop_reason(reply), "stop_sequence": None},
    }
    if reply.usage is not None:
        delta["usage"] = _usage(reply.usage, reply.usage.output)
    events += [delta, {"type": "message_stop"}]
    return [server_event(event, event["type"]) for event in events]


def _error(status: int, kind: str | None, code: str | None, message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind or error_kind(status), "message": message}}


def _broken(kind: str | None, message: str) -> bytes:
    return server_event(_error(500, kind, None, message), "error")


DIALECT = Dialect("messages", parse, _whole, _events, _error, _broken)
