"""Profiles: what loads, what is refused with all that is wrong with it, and that a child's only narrows."""

from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palmette.coordination import profiles
from palmette.coordination.errors import ProfileError, Refused
from palmette.coordination.profiles import (
    MAX_BYTES,
    Profile,
    as_data,
    effective,
    from_data,
    inline,
    named,
    names,
    parse,
)

CLAUDE_AGENT = """---
name: code-reviewer
description: Reviews code. Use proactively after changes.
tools: Read, Grep, Glob, Bash(git diff:*)
model: inherit
color: purple
permissionMode: plan
---

You are a careful reviewer.
"""


def read(text: str) -> Profile:
    """The profile of a file."""
    return parse(text, name="one", where="one.md")


def test_an_agent_file_of_claude_code_loads_as_it_is() -> None:
    profile = read(CLAUDE_AGENT)
    assert profile.tools == ("Read", "Grep", "Glob", "Bash(git diff:*)")
    assert (profile.model, profile.prompt) == ("", "You are a careful reviewer.")


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(ProfileError) as caught:
        read("---\nrole: king\nsandbox: none\nlimits: {usd: -1, turns: 1.5, cows: 2}\ntools: 7\n---\n")
    told = caught.value.problems
    for key in ("2: role", "3: sandbox", "4: limits.usd", "4: limits.turns", "4: limits.cows", "5: tools"):
        assert any(problem.startswith(f"one.md:{key}:") for problem in told), key


def test_what_is_no_yaml_is_told_with_its_line() -> None:
    with pytest.raises(ProfileError) as caught:
        read("---\nrole: worker\ntools: [a\n---\nbody")
    assert caught.value.problems[0].startswith("one.md:")


@pytest.mark.parametrize(
    "front",
    [
        "a: &a [x]\nb: *a",
        "tools: " + "[" * 3000,
        "deadline: 2025-99-99",
        "x: !!int 'no'",
        "? [a, b]\n: c",
        "x: !!python/object:os.system {}",
        "- a list",
        "limits: [1]",
        "limits: {usd: [1]}",
        "limits: {1: 2}",
        "limits: {usd: .nan}",
        "role: [a]",
    ],
)
def test_a_hostile_file_is_read_or_refused(front: str) -> None:
    try:
        profile = read(f"---\n{front}\n---\nbody")
    except ProfileError as error:
        assert error.problems  # noqa: PT017
    else:
        assert profile.prompt == "body"


def test_too_large_is_refused() -> None:
    with pytest.raises(ProfileError):
        read("x" * (MAX_BYTES + 1))


@given(st.text(max_size=300))
def test_any_front_matter_is_read_or_refused(text: str) -> None:
    try:
        read(f"---\n{text}\n---\n")
    except ProfileError as error:
        assert error.problems  # noqa: PT017


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
keys = st.sampled_from([*Profile.__dataclass_fields__, "limits", "other"])


@given(st.dictionaries(keys, plain, max_size=5))
def test_any_inline_profile_is_read_or_refused(data: dict[str, Any]) -> None:
    try:
        inline(data)
    except ProfileError as error:
        assert error.problems  # noqa: PT017


def test_inline_takes_no_key_that_it_does_not_know() -> None:
    with pytest.raises(ProfileError) as caught:
        inline({"prompt": "x", "tool": ["Bash"]})
    assert "tool" in caught.value.problems[0]


def test_the_shipped_ones_are_there_and_load() -> None:
    assert {"driver", "researcher", "reviewer", "worker"} <= set(names(None))
    for name in names(None):
        assert named(name, None).prompt
    assert named("driver", None).role == "driver"
    assert named("reviewer", None).workspace == "read-only"


def test_a_repository_s_profiles_come_first_and_links_are_not_followed(tmp_path: Path) -> None:
    ours, claude = tmp_path / ".palmette/profiles", tmp_path / ".claude/agents"
    ours.mkdir(parents=True)
    claude.mkdir(parents=True)
    (ours / "worker.md").write_text("ours")
    (claude / "worker.md").write_text("claude's")
    (claude / "other.md").write_text("other")
    (tmp_path / "secret").write_text("secret")
    (ours / "link.md").symlink_to(tmp_path / "secret")
    assert named("worker", str(tmp_path)).prompt == "ours"
    assert named("other", str(tmp_path)).prompt == "other"
    with pytest.raises(Refused):
        named("link", str(tmp_path))


@pytest.mark.parametrize("name", ["../secret", "", "a/b", ".hidden", "x" * 65, "-rf", "a\0b"])
def test_a_name_is_no_path(name: str) -> None:
    with pytest.raises(Refused) as refused:
        named(name, None)
    assert refused.value.code == "unknown_profile"


# ── narrowing ────────────────────────────────────────────────────────────────────────────────────

items = st.none() | st.lists(st.sampled_from("abcd"), max_size=4, unique=True).map(tuple)
SANDBOXES = ("docker", "bubblewrap", "auto", "unsafe-none")
whole = st.builds(
    Profile,
    prompt=st.sampled_from(["", "body"]),
    tools=items,
    mcp=items,
    egress=items,
    mounts=items,
    skills=items,
    sandbox=st.sampled_from(SANDBOXES),
    workspace=st.sampled_from(["read-write", "read-only"]),
    max_output=st.none() | st.integers(1, 9),
    role=st.sampled_from(["driver", "worker"]),
    limits=st.dictionaries(st.sampled_from(["usd", "turns"]), st.integers(0, 9)),
)


@pytest.mark.rule("P1")
@given(whole, whole)
def test_a_child_never_gets_what_its_parent_has_not(parent: Profile, asked: Profile) -> None:
    got, cut = effective(parent, asked)
    for key in ("tools", "mcp", "egress", "mounts"):
        have, have_got, want = getattr(parent, key), getattr(got, key), getattr(asked, key)
        if have is not None:
            assert have_got is not None
            assert set(have_got) <= set(have)
            lost = set(want or ()) - set(have)
            assert bool(lost) == any(line.startswith(f"{key}:") for line in cut)
    assert SANDBOXES.index(got.sandbox) <= SANDBOXES.index(parent.sandbox)
    assert (got.workspace, parent.workspace) != ("read-write", "read-only")
    assert parent.max_output is None or (got.max_output or 10) <= parent.max_output


@pytest.mark.rule("P1")
@given(whole, whole)
def test_narrowing_twice_is_narrowing_once(parent: Profile, asked: Profile) -> None:
    got, _ = effective(parent, asked)
    assert effective(parent, got) == (got, [])


@pytest.mark.rule("P1")
def test_what_was_cut_is_told() -> None:
    parent = Profile(tools=("read",), sandbox="bubblewrap", workspace="read-only", max_output=5)
    got, cut = effective(parent, Profile(tools=("read", "write"), sandbox="unsafe-none", max_output=9))
    assert (got.tools, got.sandbox, got.workspace, got.max_output) == (("read",), "bubblewrap", "read-only", 5)
    assert cut == [
        "tools: write",
        "sandbox: unsafe-none → bubblewrap",
        "workspace: read-write → read-only",
        "max_output: 9 → 5",
    ]


@given(whole)
def test_a_profile_survives_the_journal(profile: Profile) -> None:
    data = as_data(profile)
    assert "prompt" not in data
    assert from_data(data, profile.prompt) == profile


def test_every_public_name_is_there() -> None:
    assert all(hasattr(profiles, name) for name in profiles.__all__)
    assert get_args(Profile.__annotations__["role"]) == ("driver", "worker", "analyst", "selector")
