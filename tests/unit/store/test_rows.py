"""Records as rows, and rows as records."""

import sqlite3
from contextlib import closing
from dataclasses import fields, is_dataclass, replace
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palmette.coordination.records import RECORD_TYPES, Message, Purse, Record, Rest
from palmette.coordination.store.rows import rows_of
from palmette.coordination.store.schema import statements
from palmette.coordination.values import Amounts, Blob, Verdict

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
whole = st.integers(-(2**63), 2**63 - 1)
blobs = st.builds(Blob, st.text("0123456789abcdef", min_size=64, max_size=64), st.integers(0, 2**40))
json = st.recursive(
    st.none() | st.booleans() | whole | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Any value a field of this annotation may have."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Amounts:
        return st.builds(Amounts, *[st.none() | whole] * 4)
    if hint is Verdict:
        return st.builds(Verdict, objective=texts, status=st.just("pass"), evidence=texts | blobs, value=st.none())
    if hint is Blob:
        return blobs
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is Union or str(origin) == "<class 'types.UnionType'>":
        return st.one_of([st.none() if a is type(None) else values(a) for a in arguments])
    if origin is frozenset:
        return st.frozensets(texts, max_size=3)
    if origin is tuple:
        return st.lists(values(arguments[0]), max_size=2).map(tuple)
    if origin is list:
        return st.lists(json if arguments[0] is not int else whole, max_size=3)
    if origin is dict:
        return st.dictionaries(texts, json, max_size=3)
    return {int: whole, str: texts, bool: st.booleans()}[hint]


def records(kind: type[Record]) -> st.SearchStrategy[Any]:
    assert is_dataclass(kind)
    hints = get_type_hints(kind)
    return st.builds(kind, **{field.name: values(hints[field.name]) for field in fields(kind)})


@pytest.mark.parametrize("kind", RECORD_TYPES, ids=lambda kind: kind.table)
@given(data=st.data())
def test_any_record_comes_back_from_its_row(kind: type[Record], data: st.DataObject) -> None:
    old, new = data.draw(records(kind)), data.draw(records(kind))
    rows = rows_of(kind)
    new = replace(new, **{rows.names[0]: getattr(old, rows.names[0])})
    with closing(sqlite3.connect(":memory:")) as connection:
        for statement in statements():
            connection.execute(statement)
        connection.execute(rows.replace, rows.row(old))
        (row,) = connection.execute(rows.select_all)
        assert rows.record(row) == old
        if (change := rows.update(old, new)) is not None:
            connection.execute(*change)
        (row,) = connection.execute(rows.select_all)
        assert rows.record(row) == new
        assert list(row) == rows.row(new)


def test_a_change_writes_only_what_changed() -> None:
    rest = Rest("t1/0", 10, 1)
    assert rows_of(Rest).update(rest, replace(rest)) is None
    change = rows_of(Rest).update(rest, replace(rest, seconds=9))
    assert change == ('UPDATE "rest" SET "seconds" = ? WHERE "node" = ?', [9, "t1/0"])
    purse = Purse("t1/0", None, Amounts.zero(), Amounts.zero(), Amounts.zero(), Amounts.zero())
    change = rows_of(Purse).update(purse, replace(purse, spent=Amounts(1, None, 2, 3)))
    assert change == ('UPDATE "purse" SET "spent" = ? WHERE "node" = ?', ["[1,null,2,3]", "t1/0"])


def test_a_text_that_looks_like_the_name_of_a_file_stays_a_text() -> None:
    sha256 = "0" * 64
    rows = rows_of(Message)
    told = Message("m1", "t1/0", None, "steer", f"{sha256}:5", False, None, None, 1, "person", frozenset())
    assert rows.record(rows.row(told)).text == f"{sha256}:5"
    kept = replace(told, text=Blob(sha256, 5))
    assert rows.record(rows.row(kept)).text == Blob(sha256, 5)


def test_only_declared_groups_of_fields_can_be_searched() -> None:
    with pytest.raises(LookupError, match="has no index on"):
        rows_of(Message).find(("text",))
