"""The three dialects of model APIs, each as one set of plain functions."""

from palmette.sandbox.model.dialects import anthropic, chat, responses
from palmette.sandbox.model.dialects.shape import Dialect, Request

__all__ = ["CHAT", "MESSAGES", "RESPONSES", "Dialect", "Request"]

MESSAGES: Dialect = anthropic.DIALECT
"""Anthropic Messages, `/v1/messages`."""
RESPONSES: Dialect = responses.DIALECT
"""OpenAI Responses, `/v1/responses`."""
CHAT: Dialect = chat.DIALECT
"""OpenAI Chat Completions, `/v1/chat/completions`."""
