"""OpenAI Chat Completions: streamed usage in one last chunk without choices, if asked for (notes on gateways, §3)."""

from collections.abc import Iterator
from typing import Any

from palmette.sandbox.model.conversation import Called, Conversation, Entry, OfferedTool, Said, UserText
from palmette.sandbox.model.dialects.openai import openai_error
from palmette.sandbox.model.dialects.shape import (
    Dialect,
    Request,
    checked_pairs,
    chunks,
    field_list,
    field_text,
    result_entries,
    server_event,
    split_system,
    texts_of,
)
from palmette.sandbox.model.errors import RequestError
from palmette.sandbox.model.player import ReplyCall, TurnReply, Usage
from palmette.sandbox.model.values import as_object, compact

__all__ = ["DIALECT", "parse"]


def parse(body: dict[str, Any], size: int, retries: int, created: int) -> Request:
    """A request to `/v1/chat/completions`.

    Raises:
        RequestError: what the API would refuse.
    """
    model = field_text(body, "model")
    marked: list[tuple[bool, Entry]] = []
    for at, message in enumerate(field_list(body, "messages", required=True)):
        marked += _entries(message, f"messages.{at}")
    entries, system = split_system(marked, ())
    checked_pairs(entries)
    tools = tuple(_tool(tool, f"tools.{at}") for at, tool in enumerate(field_list(body, "tools")))
    options = as_object(body.get("stream_options")) or {}
    return Request(
        Conversation(entries, system, model, tools, size, retries),
        stream=body.get("stream") is True,
        include_usage=options.get("include_usage") is True,
        created=created,
    )


def _tool(tool: dict[str, Any], place: str) -> OfferedTool:
    kind = field_text(tool, "type")
    definition = as_object(tool.get(kind))
    if kind not in ("function", "custom") or definition is None:
        raise RequestError(f"{place}: must be a function or a custom tool")
    return OfferedTool(field_text(definition, "name"), freeform=kind == "custom")


def _entries(message: dict[str, Any], place: str) -> Iterator[tuple[bool, Entry]]:
    role = message.get("role")
    texts = texts_of(message.get("content"), f"{place}.content")
    match role:
        case "system" | "developer" | "user":
            yield from ((role != "user", UserText(text)) for text in texts)
        case "assistant":
            yield from ((False, Said(text)) for text in texts)
            for call in field_list(message, "tool_calls"):
                function = as_object(call.get("function")) or as_object(call.get("custom"))
                if function is None:
                    raise RequestError(f"{place}.tool_calls: each needs its function")
                yield False, Called(field_text(call, "id"), field_text(function, "name"))
        case "tool":
            yield from ((False, entry) for entry in result_entries(field_text(message, "tool_call_id"), texts))
        case _:
            raise RequestError(f"{place}.role: must be system, developer, user, assistant or tool")


def _usage(usage: Usage) -> dict[str, Any]:
    whole = usage.input + usage.cache_read + usage.cache_write
    return {
        "prompt_tokens": whole,
        "completion_tokens": usage.output,
        "total_tokens": whole + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def _finish(reply: TurnReply) -> str:
    if reply.cut_short:
        return "length"
    return "tool_calls" if reply.calls else "stop"


def _call(call: ReplyCall) -> dict[str, Any]:
    if isinstance(call.arguments, str):
        return {"id": f"call_{call.id}", "type": "custom", "custom": {"name": call.tool.name, "input": call.arguments}}
    function = {"name": call.tool.name, "arguments": compact(call.arguments)}
    return {"id": f"call_{call.id}", "type": "function", "function": function}


def _head(reply: TurnReply, request: Request, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{reply.id}",
        "object": kind,
        "created": request.created,
        "model": request.conversation.model,
    }


def _whole(reply: TurnReply, request: Request) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None}
    if reply.calls:
        message["tool_calls"] = [_call(call) for call in reply.calls]
    choice = {"index": 0, "message": message, "finish_reason": _finish(reply)}
    body = {**_head(reply, request, "chat.completion"), "choices": [choice]}
    return body if reply.usage is None else {**body, "usage": _usage(reply.usage)}


def _deltas(reply: TurnReply) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": ""}
    yield from ({"content": part} for part in chunks(reply.text))
    for index, call in enumerate(reply.calls):
        whole = _call(call)
        kind, slot = whole["type"], "input" if whole["type"] == "custom" else "arguments"
        text = whole[kind][slot]
        yield {"tool_calls": [{**whole, "index": index, kind: {**whole[kind], slot: ""}}]}
        yield from ({"tool_calls": [{"index": index, kind: {slot: part}}]} for part in chunks(text))


def _events(reply: TurnReply, request: Request) -> list[bytes]:
    head = _head(reply, request, "chat.completion.chunk")
    # With include_usage every chunk has the key, null but in the last: what clients of the real API see.
    blank = {"usage": None} if request.include_usage else {}

    def chunk(delta: dict[str, Any], finish: str | None) -> bytes:
        return server_event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **blank})

    events = [chunk(delta, None) for delta in _deltas(reply)]
    events.append(chunk({}, _finish(reply)))
    if request.include_usage and reply.usage is not None:
        events.append(server_event({**head, "choices": [], "usage": _usage(reply.usage)}))
    return [*events, b"data: [DONE]\n\n"]


def _broken(kind: str | None, message: str) -> bytes:
    return server_event(openai_error(500, kind, None, message))


DIALECT = Dialect("chat", parse, _whole, _events, openai_error, _broken)
