"""OpenAI Responses: a flat list of items in, an envelope that grows out; usage only in the last event."""

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
    objects,
    result_entries,
    server_event,
    split_system,
    texts_of,
)
from palmette.sandbox.model.errors import RequestError
from palmette.sandbox.model.player import ReplyCall, TurnReply, Usage
from palmette.sandbox.model.values import as_list, as_text, compact

__all__ = ["DIALECT", "parse"]


def parse(body: dict[str, Any], size: int, retries: int, created: int) -> Request:
    """A request to `/v1/responses`.

    Raises:
        RequestError: what the API would refuse, and `previous_response_id`: nothing is kept here.
    """
    model = field_text(body, "model")
    for name in ("previous_response_id", "conversation"):
        if body.get(name):
            raise RequestError(f"{name}: this endpoint keeps nothing; send the whole input (store=false)")
    given = body.get("input")
    items = [{"role": "user", "content": given}] if isinstance(given, str) and given else as_list(given)
    if not items:
        raise RequestError("input: a non-empty string or list is required")
    marked: list[tuple[bool, Entry]] = []
    for at, item in enumerate(objects(items, "input")):
        marked += _entries(item, f"input.{at}")
    instructions = as_text(body.get("instructions"))
    entries, system = split_system(marked, [instructions] if instructions else [])
    checked_pairs(entries)
    tools = tuple(offered for tool in field_list(body, "tools") for offered in _tools(tool))
    conversation = Conversation(entries, system, model, tools, size, retries)
    return Request(conversation, stream=body.get("stream") is True, created=created)


def _tools(tool: dict[str, Any]) -> Iterator[OfferedTool]:
    """The tools of one definition; hosted ones have no name and cannot be called by a script."""
    match tool.get("type"):
        case "function":
            yield OfferedTool(field_text(tool, "name"))
        case "custom":
            yield OfferedTool(field_text(tool, "name"), freeform=True)
        case "namespace":
            namespace = field_text(tool, "name")
            for inner in field_list(tool, "tools"):
                yield OfferedTool(field_text(inner, "name"), namespace, freeform=inner.get("type") == "custom")
        case _:
            return


def _entries(item: dict[str, Any], place: str) -> Iterator[tuple[bool, Entry]]:
    match item.get("type", "message"):
        case "message":
            role = item.get("role")
            if role not in ("user", "assistant", "system", "developer"):
                raise RequestError(f"{place}.role: must be user, assistant, system or developer")
            for text in texts_of(item.get("content"), f"{place}.content"):
                yield role in ("system", "developer"), Said(text) if role == "assistant" else UserText(text)
        case "function_call" | "custom_tool_call":
            name, namespace = field_text(item, "name"), as_text(item.get("namespace"))
            yield False, Called(field_text(item, "call_id"), f"{namespace}/{name}" if namespace else name)
        case "function_call_output" | "custom_tool_call_output":
            texts = texts_of(item.get("output"), f"{place}.output")
            yield from ((False, entry) for entry in result_entries(field_text(item, "call_id"), texts))
        case str():
            return  # reasoning, hosted tools' records: they move nothing
        case _:
            raise RequestError(f"{place}.type: a string is required")


def _usage(usage: Usage) -> dict[str, Any]:
    whole = usage.input + usage.cache_read + usage.cache_write
    return {
        "input_tokens": whole,
        "input_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": whole + usage.output,
    }


def _call_item(call: ReplyCall) -> dict[str, Any]:
    namespace = {"namespace": call.tool.namespace} if call.tool.namespace else {}
    common = {"call_id": f"call_{call.id}", "name": call.tool.name, **namespace, "status": "completed"}
    if isinstance(call.arguments, str):
        return {"type": "custom_tool_call", "id": f"ctc_{call.id}", **common, "input": call.arguments}
    return {"type": "function_call", "id": f"fc_{call.id}", **common, "arguments": compact(call.arguments)}


def _text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": []}


def _items(reply: TurnReply) -> list[dict[str, Any]]:
    items = [_call_item(call) for call in reply.calls]
    if not reply.text:
        return items
    message: dict[str, Any] = {"type": "message", "id": f"msg_{reply.id}", "role": "assistant", "status": "completed"}
    return [{**message, "content": [_text_part(reply.text)]}, *items]


def _envelope(reply: TurnReply, request: Request, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
    ended = status in ("completed", "incomplete")
    return {
        "id": f"resp_{reply.id}",
        "object": "response",
        "created_at": request.created,
        "status": status,
        "model": request.conversation.model,
        "output": output,
        "parallel_tool_calls": True,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "usage": _usage(reply.usage) if ended and reply.usage is not None else None,
    }


def _status(reply: TurnReply) -> str:
    return "incomplete" if reply.cut_short else "completed"


def _whole(reply: TurnReply, request: Request) -> dict[str, Any]:
    return _envelope(reply, request, _status(reply), _items(reply))


def _item_events(item: dict[str, Any], index: int) -> Iterator[dict[str, Any]]:
    place = {"item_id": item["id"], "output_index": index}
    if item["type"] == "message":
        part = item["content"][0]
        inner = {**place, "content_index": 0}
        yield {
            "type": "response.output_item.added",
            "output_index": index,
            "item": {**item, "status": "in_progress", "content": []},
        }
        yield {"type": "response.content_part.added", **inner, "part": _text_part("")}
        for piece in chunks(part["text"]):
            yield {"type": "response.output_text.delta", **inner, "delta": piece}
        yield {"type": "response.output_text.done", **inner, "text": part["text"]}
        yield {"type": "response.content_part.done", **inner, "part": part}
    else:
        slot, kind = (
            ("input", "custom_tool_call_input") if "input" in item else ("arguments", "function_call_arguments")
        )
        yield {
            "type": "response.output_item.added",
            "output_index": index,
            "item": {**item, "status": "in_progress", slot: ""},
        }
        for piece in chunks(item[slot]):
            yield {"type": f"response.{kind}.delta", **place, "delta": piece}
        yield {"type": f"response.{kind}.done", **place, slot: item[slot]}
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _events(reply: TurnReply, request: Request) -> list[bytes]:
    items, status = _items(reply), _status(reply)
    opening = _envelope(reply, request, "in_progress", [])
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": opening},
        {"type": "response.in_progress", "response": opening},
    ]
    for index, item in enumerate(items):
        events += _item_events(item, index)
    events.append({"type": f"response.{status}", "response": _envelope(reply, request, status, items)})
    return [server_event({**event, "sequence_number": number}, event["type"]) for number, event in enumerate(events)]


def _broken(kind: str | None, message: str) -> bytes:
    error = {"code": kind or "server_error", "message": message}
    response: dict[str, Any] = {"object": "response", "status": "failed", "error": error, "output": [], "usage": None}
    return server_event({"type": "response.failed", "response": response}, "response.failed")


DIALECT = Dialect("responses", parse, _whole, _events, openai_error, _broken)
