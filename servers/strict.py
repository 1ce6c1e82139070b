"""Tools that take exactly the arguments they name, and say everything that is wrong with a call at once (S2).

The SDK drops unknown arguments silently, turns text into numbers, and reports with pydantic's own words and addresses
(the MCP note, finding 5). Here a wrong call is an error result that lists each problem with what would be right.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

from mcp.server.mcpserver.context import Context
from mcp.server.mcpserver.tools import Tool
from mcp.server.mcpserver.utilities.func_metadata import ArgModelBase, FuncMetadata
from mcp_types import ToolAnnotations
from pydantic import ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from palmette.servers.replies import reply

__all__ = ["BAD_ARGUMENTS", "Problem", "StrictTool", "compact_schema", "strict_tool"]

BAD_ARGUMENTS = "bad_arguments"
"""The code of a call whose arguments are wrong; a text that is too large or not Unicode has its own."""

_PROBLEMS_SHOWN = 20
_SHOWN = 80
_KINDS: Mapping[type[Any], str] = {
    str: "text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
}

Problem = dict[str, str]
"""What is wrong with one argument: `argument`, `problem`, and `hint` or `code` where there is one."""

Cross = Callable[[Mapping[str, Any]], Iterable[Problem]]
"""Problems between the arguments as they came."""


class StrictTool(Tool):
    """A tool whose arguments are checked by its own strict model; `cross` looks at them together."""

    cross: Cross | None = Field(default=None, exclude=True)

    async def run(self, arguments: dict[str, Any], context: Context[Any, Any], convert_result: bool = False) -> Any:
        """The tool's result, or an error result that lists what is wrong with the arguments."""
        problems: list[Problem] = []
        try:
            self.fn_metadata.arg_model.model_validate(arguments)
        except ValidationError as error:
            properties = cast(dict[str, Any], self.parameters.get("properties", {}))
            problems += [_problem(detail, self.name, properties) for detail in error.errors(include_url=False)]
        if self.cross is not None:
            problems += self.cross(arguments)
        if problems:
            return reply(_refusal(self.name, problems), wrong=True)
        return await super().run(arguments, context, convert_result)


class _StrictMetadata(FuncMetadata):
    """Arguments as they came: the SDK would parse any text that looks like JSON, also an answer's."""

    def pre_parse_json(self, data: dict[str, Any]) -> dict[str, Any]:
        return data


def strict_tool(
    function: Callable[..., Any],
    *,
    name: str,
    description: str,
    annotations: ToolAnnotations,
    cross: Cross | None = None,
) -> StrictTool:
    """A tool from a function whose parameters carry their types and descriptions."""
    tool = StrictTool.from_function(function, name=name, description=description, annotations=annotations)
    loose = tool.fn_metadata.arg_model
    config = ConfigDict(extra="forbid", strict=True)
    strict = cast(type[ArgModelBase], type(loose.__name__, (loose,), {"model_config": config, "__module__": __name__}))
    changes = {
        "fn_metadata": _StrictMetadata(arg_model=strict),
        "parameters": compact_schema(strict.model_json_schema(by_alias=True)),
        "cross": cross,
    }
    return cast(StrictTool, tool.model_copy(update=changes))


def compact_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without what costs tokens and tells nothing: titles, null branches and defaults, references."""
    definitions = cast(dict[str, Any], schema.get("$defs", {}))
    return _compact({key: value for key, value in schema.items() if key != "$defs"}, definitions)


def _compact(schema: Any, definitions: Mapping[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_compact(item, definitions) for item in cast(list[Any], schema)]
    if not isinstance(schema, dict):
        return schema
    found = dict(cast(dict[str, Any], schema))
    reference = found.pop("$ref", None)
    if isinstance(reference, str):
        found = definitions[reference.rpartition("/")[2]] | found
    branches = cast(list[Any] | None, found.get("anyOf"))
    if branches is not None:
        rest = [branch for branch in branches if branch != {"type": "null"}]
        if len(rest) == 1:
            del found["anyOf"]
            return _compact({**rest[0], **found}, definitions)
    compact: dict[str, Any] = {}
    for key, value in found.items():
        if key == "title" or (key == "default" and value is None):
            continue
        if key == "properties":
            compact[key] = {name: _compact(item, definitions) for name, item in value.items()}
        else:
            compact[key] = _compact(value, definitions)
    return compact


def _refusal(tool: str, problems: Sequence[Problem]) -> dict[str, Any]:
    codes = {problem.get("code", BAD_ARGUMENTS) for problem in problems}
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return {
        "ok": False,
        "error": codes.pop() if len(codes) == 1 else BAD_ARGUMENTS,
        "reason": f"{tool} was not called: {count} with its arguments",
        "problems": list(problems[:_PROBLEMS_SHOWN]),
        "hint": "mend all of them and call again; nothing has changed",
    }


def _problem(detail: ErrorDetails, tool: str, properties: Mapping[str, Any]) -> Problem:
    place = [str(part) for index, part in enumerate(detail["loc"]) if not (index and part in _TAGS)]
    shown = ".".join(place)
    argument = shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "…"
    problem: Problem = {"argument": argument, "problem": _sentence(detail, tool)}
    hint = _hint(detail["type"], place, properties)
    if hint:
        problem["hint"] = hint
    if detail["type"] in ("too_large", "bad_text"):
        problem["code"] = detail["type"]
    return problem


_TAGS = frozenset({"name", "inline"})
"""Branches of a union, which pydantic puts into an error's place."""


def _sentence(detail: ErrorDetails, tool: str) -> str:
    context = detail.get("ctx", {})
    kind = cast(type[Any], type(detail["input"]))
    got = _KINDS.get(kind, "null" if detail["input"] is None else "something else")
    match detail["type"]:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return f"is not an argument of {tool}" if len(detail["loc"]) == 1 else "is not known here"
        case "string_type":
            return f"must be text, not {got}"
        case "int_type" | "int_from_float":
            return f"must be a whole number, not {'a fraction' if isinstance(detail['input'], float) else got}"
        case "float_type" | "finite_number":
            return f"must be a number, not {got if detail['type'] == 'float_type' else 'an infinite one'}"
        case "bool_type":
            return f"must be true or false, not {got}"
        case "list_type":
            return f"must be a list, not {got}"
        case "dict_type" | "model_type" | "model_attributes_type":
            return f"must be an object, not {got}"
        case "literal_error":
            return f"must be {context.get('expected', 'one of the known words')}"
        case "greater_than_equal":
            return f"must be at least {context.get('ge')}"
        case "less_than_equal":
            return f"must be at most {context.get('le')}"
        case "too_long" | "too_short" | "string_too_long" | "string_too_short":
            longer = detail["type"].endswith("long")
            unit = "characters" if isinstance(detail["input"], str) else "items"
            bound = context.get("max_length") if longer else context.get("min_length")
            return f"must have at {'most' if longer else 'least'} {bound} {unit}"
        case _:
            return detail["msg"]


def _hint(kind: str, place: Sequence[str], properties: Mapping[str, Any]) -> str:
    """The nearest known name for an unknown one, or what the argument is for."""
    known = properties
    for part in place[:-1]:
        known = cast(Mapping[str, Any], known.get(part, {}).get("properties", {}))
    if not place or not known:
        return ""
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(place[-1][:_SHOWN], list(known), n=1)
        return f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
    return str(known.get(place[-1], {}).get("description", "")) if kind == "missing" else ""
