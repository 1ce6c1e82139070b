"""What the two OpenAI dialects share: the body of an error."""

from typing import Any

__all__ = ["openai_error"]

_KINDS = {401: "invalid_request_error", 403: "invalid_request_error", 429: "rate_limit_exceeded"}
_CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded"}


def openai_error(status: int, kind: str | None, code: str | None, message: str) -> dict[str, Any]:
    """The body of a refusal; type and code are the status's usual ones where not given."""
    usual = _KINDS.get(status, "server_error" if status >= 500 else "invalid_request_error")
    given = kind or usual
    return {
        "error": {
            "message": message,
            "type": given,
            "param": None,
            "code": code or (None if kind else _CODES.get(status)),
        }
    }
