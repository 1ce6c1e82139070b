"""Frozen dataclasses to JSON and back, decided once per class from its annotations.

Reading a million events must take seconds (the journal's own check does it), so a field whose JSON form is itself
costs nothing, and only Text, Amounts and nested dataclasses are converted.
"""

import dataclasses
import json
import types
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from palmette.coordination.values import Amounts, Blob, Step

__all__ = ["decode", "dumps", "encode", "loads", "steps_from", "steps_text"]

T = TypeVar("T")
_Convert = Callable[[Any], Any]

_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False)


def dumps(value: Any) -> str:
    """Compact JSON."""
    return _encoder.encode(value)


loads = json.loads


def encode(value: Any) -> dict[str, Any]:
    """The JSON form of a frozen dataclass."""
    return {
        name: getattr(value, name) if convert is None else convert(getattr(value, name))
        for name, convert, _ in _plan(cast(type[Any], type(value)))
    }


def decode(cls: type[T], data: Mapping[str, Any]) -> T:
    """The dataclass again.

    Raises:
        TypeError: a field is missing or unknown.
    """
    changed = {name: convert(data[name]) for name, _, convert in _plan(cls) if convert is not None and name in data}
    return cls(**{**data, **changed}) if changed else cls(**data)


@cache
def _plan(cls: type[Any]) -> tuple[tuple[str, _Convert | None, _Convert | None], ...]:
    hints = get_type_hints(cls)
    return tuple((f.name, *_converters(hints[f.name])) for f in dataclasses.fields(cls))


def _converters(hint: Any) -> tuple[_Convert | None, _Convert | None]:
    """(to JSON, from JSON) for one annotation; None where the value is its own JSON form."""
    if hint is Amounts:
        return Amounts.as_list, Amounts.from_list
    if hint is Blob:
        return _blob_out, _blob_in
    if dataclasses.is_dataclass(hint):
        nested = cast(type[Any], hint)
        return encode, lambda data: decode(nested, data)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if Blob in arguments:
            return _text_out, _text_in
        inner = [_converters(a) for a in arguments if a is not type(None)]
        out, back = inner[0] if len(inner) == 1 else (None, None)
        return (
            out and (lambda value: None if value is None else out(value)),
            back and (lambda value: None if value is None else back(value)),
        )
    if origin is tuple:
        out, back = _converters(arguments[0])
        return (
            (lambda value: [out(item) for item in value]) if out else list,
            (lambda value: tuple(back(item) for item in value)) if back else tuple,
        )
    if origin is frozenset:
        return sorted, frozenset
    if origin in (Literal, dict, list, Mapping) or hint in (int, str, bool, float, Any):
        return None, None
    if origin is not None and issubclass(origin, Mapping):
        return None, None
    raise TypeError(f"no JSON form for {hint!r}")


def _blob_out(value: Blob) -> dict[str, Any]:
    return {"$blob": value.sha256, "size": value.size}


def _blob_in(value: Mapping[str, Any]) -> Blob:
    return Blob(value["$blob"], value["size"])


def _text_out(value: Any) -> Any:
    return _blob_out(value) if isinstance(value, Blob) else value


def _text_in(value: Any) -> Any:
    return _blob_in(cast(Mapping[str, Any], value)) if isinstance(value, dict) else value


def steps_text(steps: Iterable[Step]) -> str:
    """Steps as the text that a `stepped` event holds."""
    return dumps([encode(step) for step in steps])


def steps_from(text: str) -> list[Step]:
    """The steps of a `stepped` event; none if its text was redacted."""
    return [] if text == "[redacted]" else [decode(Step, step) for step in loads(text)]
