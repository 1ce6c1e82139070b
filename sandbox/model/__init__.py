"""The scripted model: an endpoint that speaks three model APIs and plays scenarios from YAML, without any state."""

from palmette.sandbox.model.conversation import Called, Conversation, Entry, OfferedTool, Returned, Said, UserText
from palmette.sandbox.model.endpoint import create_app
from palmette.sandbox.model.errors import ListenError, ModelError, PlayError, RequestError, ScriptError
from palmette.sandbox.model.player import Failure, Reply, ReplyCall, TurnReply, Usage, play
from palmette.sandbox.model.script import Scenario, Script
from palmette.sandbox.model.server import main, serve

__all__ = [
    "Called",
    "Conversation",
    "Entry",
    "Failure",
    "ListenError",
    "ModelError",
    "OfferedTool",
    "PlayError",
    "Reply",
    "ReplyCall",
    "RequestError",
    "Returned",
    "Said",
    "Scenario",
    "Script",
    "ScriptError",
    "TurnReply",
    "Usage",
    "UserText",
    "create_app",
    "main",
    "play",
    "serve",
]
