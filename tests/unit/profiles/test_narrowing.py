"""P1: a child's profile is cut down to what its parent may use, and the reply says what was cut."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palmette.coordination.profiles import Profile, effective

NARROWED = ("tools", "mcp", "egress", "mounts", "harnesses")
WIDTHS = ["docker", "bubblewrap", "auto", "unsafe-none"]

_list = st.none() | st.lists(st.sampled_from("abcd"), unique=True, max_size=4).map(tuple)
_profiles = st.builds(
    Profile,
    tools=_list,
    mcp=_list,
    egress=_list,
    mounts=_list,
    harnesses=_list,
    harness=st.sampled_from(["", "a", "b"]),
    sandbox=st.sampled_from(WIDTHS),
    workspace=st.sampled_from(["read-write", "read-only"]),
    max_output=st.none() | st.integers(1, 9),
)


@pytest.mark.rule("P1")
@given(_profiles, _profiles)
def test_a_child_never_gets_what_its_parent_has_not(parent: Profile, asked: Profile) -> None:
    child, cut = effective(parent, asked)
    for name in NARROWED:
        have: Any = getattr(parent, name)
        got: Any = getattr(child, name)
        assert have is None or set(got) <= set(have), name
    assert parent.harnesses is None or child.harness in ("", *parent.harnesses)
    assert WIDTHS.index(child.sandbox) <= WIDTHS.index(parent.sandbox)
    assert parent.workspace == "read-write" or child.workspace == "read-only"
    assert parent.max_output is None or (child.max_output or 99) <= parent.max_output
    assert effective(parent, child) == (child, []), "what was cut once is not cut again"
    given_up = {line.partition(":")[0] for line in cut}
    for name in (*NARROWED, "harness", "sandbox", "workspace", "max_output"):
        said: Any = getattr(asked, name)
        if said not in (None, "") and getattr(child, name) != said:
            assert name in given_up, f"{name} was cut and nobody was told"


@pytest.mark.rule("P1")
@given(_profiles, _profiles, _profiles)
def test_nothing_widens_over_generations(first: Profile, second: Profile, third: Profile) -> None:
    middle, _ = effective(first, second)
    last, _ = effective(middle, third)
    for name in NARROWED:
        have: Any = getattr(first, name)
        assert have is None or set(getattr(last, name)) <= set(have)


@pytest.mark.rule("P1")
def test_what_is_not_named_is_the_parents() -> None:
    parent = Profile(tools=("shell",), mcp=(), egress=("example.org",))
    child, cut = effective(parent, Profile())
    assert (child.tools, child.mcp, child.egress, child.mounts) == (("shell",), (), ("example.org",), None)
    assert cut == []


@pytest.mark.rule("P1")
def test_the_reply_names_what_was_cut_in_a_short_line_each() -> None:
    many = tuple(f"tool-{number}" for number in range(100))
    child, cut = effective(
        Profile(tools=("shell",), harnesses=("builtin",), sandbox="docker"),
        replace(Profile(), tools=("shell", *many), harness="claude", sandbox="unsafe-none"),
    )
    assert child.tools == ("shell",)
    assert child.harness == "", "its parent's own"
    assert cut[0].startswith("tools: tool-0, tool-1, ")
    assert cut[0].endswith(" more")
    assert cut[1:] == ["harness: claude", "sandbox: unsafe-none → docker"]
    assert all(len(line) < 150 for line in cut)
    assert cut[0].count("tool-") + int(cut[0].split()[-2]) == 100
