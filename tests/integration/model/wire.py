"""Clients of the three dialects, written from the vendors' descriptions and not from our code: a request goes out as a
harness sends it, and what comes back is read, whole or as a stream, into one neutral answer."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2

SCHEMA: dict[str, Any] = {"type": "object", "properties": {}}


@dataclass
class Answer:
    """What came back.

    Attributes:
        calls: (id, name, arguments) of each tool call.
        usage: input, output, cache_read, cache_write as the dialect counts them; None if it said nothing.
        ended: the terminal event or the whole body was seen.
        error: the error's body, from a refusal or from inside the stream.
    """

    status: int = 200
    text: str = ""
    calls: list[tuple[str, str, Any]] = field(default_factory=list[tuple[str, str, Any]])
    usage: dict[str, int] | None = None
    stop: str | None = None
    ended: bool = False
    error: Any = None
    headers: dict[str, str] = field(default_factory=dict[str, str])
    events: list[str] = field(default_factory=list[str])
    raw: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


def events_of(text: str) -> list[tuple[str | None, str]]:
    """(event, data) of each whole server-sent event; what stands after the last blank line is dropped."""
    found: list[tuple[str | None, str]] = []
    for frame in text.split("\n\n")[:-1]:
        name = None
        data: list[str] = []
        for line in frame.split("\n"):
            key, _, value = line.partition(": ")
            if key == "event":
                name = value
            elif key == "data":
                data.append(value)
        found.append((name, "\n".join(data)))
    return found


class Session:
    """One conversation in one dialect; `items` is what the dialect keeps as its history."""

    path = ""
    terminal = ""

    def __init__(
        self, client: httpx2.AsyncClient, stream: bool, tools: tuple[str, ...] = ("spawn", "await_event")
    ) -> None:
        self.client, self.stream, self.tools = client, stream, tools
        self.items: list[dict[str, Any]] = []
        self.headers: dict[str, str] = {}

    def user(self, text: str) -> None:
        self.items.append({"role": "user", "content": text})

    def body(self) -> dict[str, Any]:
        raise NotImplementedError

    def record(self, answer: Answer) -> None:
        raise NotImplementedError

    def returned(self, call: str, text: str) -> None:
        raise NotImplementedError

    def read_whole(self, body: dict[str, Any]) -> Answer:
        raise NotImplementedError

    def read_events(self, events: list[tuple[str | None, str]]) -> Answer:
        raise NotImplementedError

    async def send(self) -> Answer:
        """One request, its reply recorded in the history."""
        response = await self.client.post(self.path, json=self.body(), headers=self.headers)
        if response.status_code != 200:
            answer = Answer(response.status_code, error=response.json())
        elif self.stream:
            assert response.headers["content-type"].startswith("text/event-stream")
            answer = self.read_events(events_of(response.text))
        else:
            answer = self.read_whole(response.json())
            answer.ended = True
        answer.headers = dict(response.headers)
        if answer.status == 200:
            self.record(answer)
        return answer

    async def exchange(self, results: Callable[[str, Any], str]) -> Answer:
        """Requests until a reply without calls; each call is answered by `results`."""
        while True:
            answer = await self.send()
            if not answer.calls:
                return answer
            for identifier, name, arguments in answer.calls:
                self.returned(identifier, results(name, arguments))

    def error_message(self, answer: Answer) -> str:
        return answer.error["error"]["message"]

    def error_type(self, answer: Answer) -> str:
        return answer.error["error"]["type"]


class Messages(Session):
    path = "/v1/messages?beta=true"
    terminal = "message_stop"

    def body(self) -> dict[str, Any]:
        tools = [{"name": f"mcp__palmette__{name}", "input_schema": SCHEMA} for name in self.tools]
        system = [{"type": "text", "text": "You are a node."}]
        common = {"model": "m-1", "max_tokens": 100, "system": system, "tools": tools, "messages": self.items}
        return {**common, "stream": True} if self.stream else common

    def record(self, answer: Answer) -> None:
        content: list[dict[str, Any]] = [{"type": "text", "text": answer.text}] if answer.text else []
        content += [{"type": "tool_use", "id": i, "name": n, "input": a} for i, n, a in answer.calls]
        if content:
            self.items.append({"role": "assistant", "content": content})

    def returned(self, call: str, text: str) -> None:
        block = {"type": "tool_result", "tool_use_id": call, "content": [{"type": "text", "text": text}]}
        self.items.append({"role": "user", "content": [block]})

    def read_whole(self, body: dict[str, Any]) -> Answer:
        blocks = body["content"]
        return Answer(
            text="".join(block["text"] for block in blocks if block["type"] == "text"),
            calls=[(b["id"], b["name"], b["input"]) for b in blocks if b["type"] == "tool_use"],
            usage=self._usage(body.get("usage")),
            stop=body["stop_reason"],
            raw=[body],
        )

    def _usage(self, usage: dict[str, int] | None) -> dict[str, int] | None:
        return usage and {
            "input": usage["input_tokens"],
            "output": usage["output_tokens"],
            "cache_read": usage["cache_read_input_tokens"],
            "cache_write": usage["cache_creation_input_tokens"],
        }

    def read_events(self, events: list[tuple[str | None, str]]) -> Answer:
        answer = Answer()
        blocks: dict[int, dict[str, Any]] = {}
        parts: dict[int, str] = {}
        for name, data in events:
            event = json.loads(data)
            assert name == event["type"]
            answer.events.append(event["type"])
            answer.raw.append(event)
            match event["type"]:
                case "message_start":
                    assert event["message"]["content"] == []
                    answer.usage = self._usage(event["message"].get("usage"))
                case "content_block_start":
                    blocks[event["index"]], parts[event["index"]] = event["content_block"], ""
                case "content_block_delta":
                    delta = event["delta"]
                    parts[event["index"]] += delta.get("text", "") + delta.get("partial_json", "")
                case "content_block_stop":
                    block = blocks[event["index"]]
                    if block["type"] == "text":
                        answer.text += parts[event["index"]]
                    else:
                        arguments = json.loads(parts[event["index"]])
                        answer.calls.append((block["id"], block["name"], arguments))
                case "message_delta":
                    answer.stop = event["delta"]["stop_reason"]
                    answer.usage = self._usage(event.get("usage"))
                case "message_stop":
                    answer.ended = True
                case "error":
                    answer.error = event
                case other:
                    raise AssertionError(other)
        return answer


class Responses(Session):
    path = "/v1/responses"
    terminal = "response.completed"

    def body(self) -> dict[str, Any]:
        inner = [{"type": "function", "name": name, "parameters": SCHEMA} for name in self.tools]
        tools = [{"type": "namespace", "name": "mcp__palmette", "tools": inner}, {"type": "web_search"}]
        common = {
            "model": "m-1",
            "instructions": "You are a node.",
            "tools": tools,
            "input": self.items,
            "store": False,
        }
        return {**common, "stream": True} if self.stream else common

    def user(self, text: str) -> None:
        self.items.append({"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]})

    def record(self, answer: Answer) -> None:
        self.items.append({"type": "reasoning", "summary": []})
        if answer.text:
            content = [{"type": "output_text", "text": answer.text}]
            self.items.append({"type": "message", "role": "assistant", "content": content})
        for identifier, name, arguments in answer.calls:
            namespace, _, bare = name.rpartition("/")
            item = {"type": "function_call", "call_id": identifier, "name": bare, "arguments": json.dumps(arguments)}
            self.items.append({**item, "namespace": namespace} if namespace else item)

    def returned(self, call: str, text: str) -> None:
        output = f"Wall time: 0.1 seconds\nOutput:\n{text}"
        self.items.append({"type": "function_call_output", "call_id": call, "output": output})

    def read_whole(self, body: dict[str, Any]) -> Answer:
        answer = Answer(usage=self._usage(body["usage"]), stop=body["status"], raw=[body])
        for item in body["output"]:
            self._item(item, answer)
        return answer

    def _item(self, item: dict[str, Any], answer: Answer) -> None:
        if item["type"] == "message":
            answer.text += "".join(part["text"] for part in item["content"])
        else:
            name = f"{item['namespace']}/{item['name']}" if "namespace" in item else item["name"]
            answer.calls.append((item["call_id"], name, json.loads(item["arguments"])))

    def _usage(self, usage: dict[str, Any] | None) -> dict[str, int] | None:
        if usage is None:
            return None
        details = usage["input_tokens_details"]
        read, written = details["cached_tokens"], details["cache_write_tokens"]
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
        plain = usage["input_tokens"] - read - written
        return {"input": plain, "output": usage["output_tokens"], "cache_read": read, "cache_write": written}

    def read_events(self, events: list[tuple[str | None, str]]) -> Answer:
        answer = Answer()
        deltas: dict[str, str] = {}
        for number, (name, data) in enumerate(events):
            event = json.loads(data)
            assert name == event["type"]
            answer.events.append(event["type"])
            answer.raw.append(event)
            if event["type"] != "response.failed":
                assert event["sequence_number"] == number
            if event["type"].endswith(".delta"):
                deltas[event["item_id"]] = deltas.get(event["item_id"], "") + event["delta"]
            match event["type"]:
                case "response.output_item.done":
                    item = event["item"]
                    whole = item["content"][0]["text"] if item["type"] == "message" else item["arguments"]
                    assert deltas[item["id"]] == whole
                    self._item(item, answer)
                case "response.completed" | "response.incomplete":
                    answer.stop, answer.ended = event["response"]["status"], True
                    answer.usage = self._usage(event["response"]["usage"])
                case "response.failed":
                    answer.error = {"error": {**event["response"]["error"], "type": event["response"]["error"]["code"]}}
                case _:
                    pass
        return answer


class Chat(Session):
    path = "/v1/chat/completions"
    terminal = "[DONE]"

    def body(self) -> dict[str, Any]:
        tools = [
            {"type": "function", "function": {"name": f"palmette_{name}", "parameters": SCHEMA}} for name in self.tools
        ]
        messages = [{"role": "system", "content": "You are a node."}, *self.items]
        common = {"model": "m-1", "tools": tools, "messages": messages}
        return {**common, "stream": True, "stream_options": {"include_usage": True}} if self.stream else common

    def record(self, answer: Answer) -> None:
        message: dict[str, Any] = {"role": "assistant", "content": answer.text or None}
        if answer.calls:
            message["tool_calls"] = [
                {"id": i, "type": "function", "function": {"name": n, "arguments": json.dumps(a)}}
                for i, n, a in answer.calls
            ]
        if answer.text or answer.calls:
            self.items.append(message)

    def returned(self, call: str, text: str) -> None:
        self.items.append({"role": "tool", "tool_call_id": call, "content": text})

    def _usage(self, usage: dict[str, Any] | None) -> dict[str, int] | None:
        if usage is None:
            return None
        read = usage["prompt_tokens_details"]["cached_tokens"]
        written = usage["prompt_tokens_details"]["cache_write_tokens"]
        plain = usage["prompt_tokens"] - read - written
        return {"input": plain, "output": usage["completion_tokens"], "cache_read": read, "cache_write": written}

    def read_whole(self, body: dict[str, Any]) -> Answer:
        (choice,) = body["choices"]
        calls = choice["message"].get("tool_calls", [])
        return Answer(
            text=choice["message"]["content"] or "",
            calls=[(c["id"], c["function"]["name"], json.loads(c["function"]["arguments"])) for c in calls],
            usage=self._usage(body.get("usage")),
            stop=choice["finish_reason"],
            raw=[body],
        )

    def read_events(self, events: list[tuple[str | None, str]]) -> Answer:
        answer = Answer()
        calls: dict[int, list[str]] = {}
        for _, data in events:
            if data == "[DONE]":
                answer.ended = True
                continue
            event = json.loads(data)
            answer.raw.append(event)
            if "error" in event:
                answer.error = event
                continue
            answer.usage = self._usage(event.get("usage"))
            for choice in event["choices"]:
                assert answer.stop is None
                answer.stop = choice["finish_reason"]
                answer.text += choice["delta"].get("content") or ""
                for call in choice["delta"].get("tool_calls", []):
                    slot = calls.setdefault(call["index"], ["", "", ""])
                    slot[0] += call.get("id", "")
                    slot[1] += call["function"].get("name", "")
                    slot[2] += call["function"]["arguments"]
        if answer.stop is not None:
            answer.calls = [(i, n, json.loads(a)) for i, n, a in calls.values()]
        return answer


DIALECTS: dict[str, type[Session]] = {"messages": Messages, "responses": Responses, "chat": Chat}
