"""The fixtures that the protocol's conformance suite asks for, added to the real server: the way they travel is ours.

What the product leaves out on purpose (sampling, logging, completion, subscriptions, tasks) is in baseline.yml.
"""

import base64
import json
from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver import AcceptedElicitation, Context
from mcp.server.mcpserver.prompts.base import UserMessage
from mcp_types import AudioContent, EmbeddedResource, ImageContent, TextContent, TextResourceContents
from pydantic import BaseModel, Field

__all__ = ["FIXTURE_TOOLS", "add_fixtures"]

_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
_SILENCE = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA="


class _Response(BaseModel):
    response: str = Field(description="What to answer")


async def _simple_text() -> str:
    """A text."""
    return "This is a simple text response for testing."


async def _image() -> list[ImageContent]:
    """An image."""
    return [ImageContent(type="image", data=_PIXEL, mime_type="image/png")]


async def _audio() -> list[AudioContent]:
    """A sound."""
    return [AudioContent(type="audio", data=_SILENCE, mime_type="audio/wav")]


def _resource(uri: str, mime_type: str, text: str) -> EmbeddedResource:
    return EmbeddedResource(type="resource", resource=TextResourceContents(uri=uri, mime_type=mime_type, text=text))


async def _embedded() -> list[EmbeddedResource]:
    """A resource inside a result."""
    return [_resource("test://embedded-resource", "text/plain", "This is an embedded resource content.")]


async def _mixed() -> list[TextContent | ImageContent | EmbeddedResource]:
    """Several kinds of content at once."""
    return [
        TextContent(type="text", text="Multiple content types test:"),
        ImageContent(type="image", data=_PIXEL, mime_type="image/png"),
        _resource("test://mixed-content-resource", "application/json", '{"test": "data", "value": 123}'),
    ]


async def _error() -> str:
    """A tool that fails."""
    raise ValueError("This tool intentionally returns an error for testing")


async def _progress(ctx: Context[Any, Any]) -> str:
    """Three notices of progress before the answer."""
    for done in (0, 50, 100):
        await ctx.report_progress(done, 100, f"Completed step {done} of 100")
    return "done"


async def _elicitation(message: str, ctx: Context[Any, Any]) -> str:
    """A question back to the client, in mid-call."""
    answer = await ctx.elicit(message, _Response)
    content = answer.data.model_dump_json() if isinstance(answer, AcceptedElicitation) else "{}"
    return f"User response: action={answer.action}, content={content}"


FIXTURE_TOOLS = {
    "test_simple_text": _simple_text,
    "test_image_content": _image,
    "test_audio_content": _audio,
    "test_embedded_resource": _embedded,
    "test_multiple_content_types": _mixed,
    "test_error_handling": _error,
    "test_tool_with_progress": _progress,
    "test_elicitation": _elicitation,
}


def add_fixtures(server: MCPServer[Any]) -> None:
    """Add the suite's tools, resources and prompts to a server."""
    for name, function in FIXTURE_TOOLS.items():
        server.add_tool(function, name=name)

    @server.resource("test://static-text", mime_type="text/plain")
    async def static_text() -> str:
        """A text."""
        return "This is the content of the static text resource."

    @server.resource("test://static-binary", mime_type="image/png")
    async def static_binary() -> bytes:
        """An image."""
        return base64.b64decode(_PIXEL)

    @server.resource("test://template/{id}/data", mime_type="application/json")
    async def template(id: str) -> str:  # noqa: A002 - the suite's name
        """A resource by its id."""
        return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})

    @server.prompt("test_simple_prompt")
    async def simple() -> str:
        """A prompt without arguments."""
        return "This is a simple prompt for testing."

    @server.prompt("test_prompt_with_arguments")
    async def with_arguments(arg1: str, arg2: str) -> str:
        """A prompt with two arguments."""
        return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"

    @server.prompt("test_prompt_with_embedded_resource")
    async def with_resource(resourceUri: str) -> list[UserMessage]:
        """A prompt with a resource inside."""
        return [
            UserMessage(_resource(resourceUri, "text/plain", "Embedded resource content for testing.")),
            UserMessage("Please process the embedded resource above."),
        ]

    @server.prompt("test_prompt_with_image")
    async def with_image() -> list[UserMessage]:
        """A prompt with an image."""
        return [
            UserMessage(ImageContent(type="image", data=_PIXEL, mime_type="image/png")),
            UserMessage("Please analyze the image above."),
        ]
