"""A streamed reply of the Messages API, put together event by event."""

from collections.abc import Iterable
from typing import Any, NamedTuple, cast

from palmette.sandbox.harness.agent.lines import clean, parse_object

__all__ = ["Assembly", "Call", "Reply", "StreamFault"]

_USAGE = {
    "input": "input_tokens",
    "cache_read": "cache_read_input_tokens",
    "cache_write": "cache_creation_input_tokens",
    "output": "output_tokens",
}
_TRANSIENT = frozenset({"overloaded_error", "api_error", "rate_limit_error", "timeout_error"})
_MOST_CALLS = 100
_CUT_CALL = "the output limit cut this call off: make it again, shorter"


class StreamFault(Exception):
    """The stream says that it failed, or makes no sense; `transient` when trying again may help."""

    def __init__(self, reason: str, *, transient: bool) -> None:
        super().__init__(reason)
        self.transient = transient


class Call(NamedTuple):
    """A tool call of the model; `fault` says why it cannot be made as it stands."""

    id: str
    name: str
    arguments: dict[str, Any]
    fault: str = ""


class Reply(NamedTuple):
    """A whole reply. `usage` is None where the endpoint did not say (B8)."""

    model: str
    content: list[dict[str, Any]]
    text: str
    calls: list[Call]
    usage: dict[str, int] | None
    stop_reason: str


class Assembly:
    """Takes the events of one stream. Usage of `message_delta` is cumulative: it replaces, it is never added."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._blocks: dict[int, dict[str, Any]] = {}
        self._json: dict[int, list[str]] = {}
        self._usage: dict[str, int] = {}
        self._final_usage = False
        self._stop_reason = ""
        self.ended = False

    @property
    def whole(self) -> bool:
        """Whether all that matters has come: also when the connection was cut before `message_stop`."""
        return self.ended or bool(self._stop_reason)

    def feed(self, event: dict[str, Any]) -> None:
        """Take one event.

        Raises:
            StreamFault: it reports an error, or cannot be understood.
        """
        try:
            self._feed(event)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise StreamFault(f"the model's stream makes no sense: {error!r}", transient=True) from None

    def _feed(self, event: dict[str, Any]) -> None:
        match event.get("type"):
            case "message_start":
                message = cast("dict[str, Any]", event["message"])
                self._model = str(message.get("model") or self._model)
                self._use(message.get("usage"))
            case "content_block_start":
                index = int(event["index"])
                block = dict(cast("dict[str, Any]", event["content_block"]))
                if block.get("type") == "tool_use":
                    self._json[index] = []
                    if len(self._json) > _MOST_CALLS:
                        raise StreamFault(f"the reply has more than {_MOST_CALLS} tool calls", transient=False)
                self._blocks[index] = block
            case "content_block_delta":
                self._extend(int(event["index"]), cast("dict[str, Any]", event["delta"]))
            case "message_delta":
                self._stop_reason = str(event["delta"].get("stop_reason") or self._stop_reason)
                if self._use(event.get("usage")):
                    self._final_usage = True
            case "message_stop":
                self.ended = True
            case "error":
                error = cast("dict[str, Any]", event["error"])
                kind = str(error.get("type"))
                raise StreamFault(f"{kind}: {error.get('message')}", transient=kind in _TRANSIENT)
            case _:
                pass  # ping, and whatever comes later

    def _extend(self, index: int, delta: dict[str, Any]) -> None:
        block = self._blocks[index]
        match delta.get("type"):
            case "text_delta":
                block.setdefault("_parts", []).append(str(delta["text"]))
            case "input_json_delta":
                self._json[index].append(str(delta["partial_json"]))
            case "thinking_delta":
                block["thinking"] = str(block.get("thinking", "")) + str(delta["thinking"])
            case "signature_delta":
                block["signature"] = str(block.get("signature", "")) + str(delta["signature"])
            case _:
                pass

    def _use(self, usage: Any) -> bool:
        if not isinstance(usage, dict):
            return False
        given = cast("dict[str, Any]", usage)
        for name, field in _USAGE.items():
            value = given.get(field)
            if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
                self._usage[name] = value
        return isinstance(given.get("output_tokens"), int)

    def reply(self) -> Reply:
        """The reply; to be asked for when it is whole."""
        content: list[dict[str, Any]] = []
        calls: list[Call] = []
        for index in sorted(self._blocks):
            block = self._blocks[index]
            parts = cast("list[str]", block.pop("_parts", []))
            if block.get("type") == "text":
                block["text"] = clean("".join([str(block.get("text", "")), *parts]))
                if not block["text"]:
                    continue  # the API gives empty texts and takes none
            elif block.get("type") == "tool_use":
                calls.append(self._call(index, block))
                block["input"] = calls[-1].arguments
            content.append(block)
        usage = {name: self._usage.get(name, 0) for name in _USAGE} if self._final_usage else None
        return Reply(self._model, content, _text_of(content), calls, usage, self._stop_reason)

    def _call(self, index: int, block: dict[str, Any]) -> Call:
        identifier, name = str(block.get("id")), str(block.get("name"))
        text = "".join(self._json[index])
        given = block.get("input")
        arguments = parse_object(text) if text.strip() else cast("dict[str, Any]", given if given else {})
        if arguments is not None:
            return Call(identifier, name, arguments)
        fault = _CUT_CALL if self._stop_reason == "max_tokens" else "the arguments are no JSON object"
        return Call(identifier, name, {}, fault)


def _text_of(content: Iterable[dict[str, Any]]) -> str:
    return "\n".join(str(block["text"]) for block in content if block.get("type") == "text")
