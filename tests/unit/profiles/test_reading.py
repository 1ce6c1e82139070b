"""A profile is read whole or refused with everything that is wrong with it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palmette.coordination.errors import ProfileError, Refused
from palmette.coordination.profiles import Profile, as_data, from_data, inline, named, names, parse


def read(text: str) -> Profile:
    return parse(text, name="reviewer", where="reviewer.md")


def problems_of(text: str) -> list[str]:
    with pytest.raises(ProfileError) as caught:
        read(text)
    return caught.value.problems


def _profile_or_problems(reading: Callable[[], Profile]) -> Profile | list[str]:
    try:
        return reading()
    except ProfileError as error:
        return error.problems


def test_a_whole_profile() -> None:
    profile = read(
        "---\nrole: driver\nharness: builtin\nmodel: opus\ntools: [shell, edit]\nmcp: github\negress: []\n"
        "harnesses: [builtin]\nsandbox: bubblewrap\nworkspace: read-only\non_crash: lost\nwait: park\n"
        "limits: {usd: 1.5, turns: 30, deadline_s: 600, max_output: 4096}\nchecks: [tests]\n---\n\nDrive.\n"
    )
    assert profile == Profile(
        name="reviewer",
        prompt="Drive.",
        role="driver",
        harness="builtin",
        model="opus",
        tools=("shell", "edit"),
        mcp=("github",),
        egress=(),
        harnesses=("builtin",),
        sandbox="bubblewrap",
        workspace="read-only",
        on_crash="lost",
        wait="park",
        limits={"usd": 1_500_000, "turns": 30},
        deadline_s=600,
        max_output=4096,
        checks=("tests",),
    )
    assert from_data(json.loads(json.dumps(as_data(profile))), profile.prompt) == profile


def test_an_agent_file_of_claude_code_loads_as_it_is() -> None:
    profile = read(
        "---\nname: code-reviewer\n"
        "description: Use this agent when code was written. Examples: <example>user: 'It's done'</example> # not YAML\n"
        "tools: Read, Grep, Bash(git diff:*, git log:*)\nmodel: inherit\ncolor: blue\npermissionMode: plan\n"
        "---\nRead it."
    )
    assert profile.tools == ("Read", "Grep", "Bash(git diff:*, git log:*)")
    assert profile.model == ""
    assert profile.description.startswith("Use this agent when code was written. Examples: <example>user: 'It's")
    assert profile.name == "reviewer", "a file is called by its name"


@pytest.mark.parametrize(("written", "tools"), [("", None), ("'*'", None), ("['*']", None), ("''", ()), ("[]", ())])
def test_all_tools_and_no_tools(written: str, tools: tuple[str, ...] | None) -> None:
    assert read(f"---\ntools: {written}\n---\n").tools == tools


def test_a_file_without_front_matter_is_all_body() -> None:
    assert read("\ufeffJust do it.").prompt == "Just do it."
    assert read("\ufeff---\r\nrole: driver\r\n---\r\nDrive.").role == "driver"


def test_every_problem_is_listed_with_file_and_line() -> None:
    assert problems_of(
        "---\nrole: boss\nlimits:\n  usd: -1\n  miles: 3\n  turns: 1.5\nsandbox: [none]\ntools: 7\n---\n"
    ) == [
        "reviewer.md:8: tools: must be a list of at most 100 names",
        "reviewer.md:2: role: 'boss' is none of driver, worker, analyst, selector",
        "reviewer.md:7: sandbox: \"['none']\" is none of docker, bubblewrap, auto, unsafe-none",
        "reviewer.md:4: limits.usd: usd is -1; it must be between 0 and 9e9 with at most six decimals",
        "reviewer.md:5: limits.miles: unknown; known are usd, tokens, turns, seconds, deadline_s, max_output",
        "reviewer.md:6: limits.turns: must be a whole number, not negative",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("---\na: &a [1]\nb: *a\n---\n", "reviewer.md:2: anchors and aliases are not allowed"),
        ("---\na: !!python/object/apply:os.getcwd []\n---\n", "reviewer.md:2: tags are not allowed"),
        (f"---\na: {'[' * 5000}{']' * 5000}\n---\n", "reviewer.md:2: nested deeper than 16"),
        ("---\nrole: driver\nrole: worker\n---\n", "reviewer.md:3: role: stands in line 2 already"),
        ("---\n- a\n---\n", "reviewer.md:2: expected `key: value` lines"),
        ("---\n? [a]\n: b\n---\n", "reviewer.md:2: front matter: a key must be a word"),
        ("---\ndescription: 2020-99-99\n---\n", "reviewer.md: month must be in 1..12"),
        ("---\nrole: driver\nDrive.", "reviewer.md:1: a second line `---` is missing"),
        (
            "---\nrole: driver\n---\nDri\0ve.",
            "reviewer.md: prompt: must be Unicode text without NUL of at most 65536 bytes",
        ),
        ("\ud800", "reviewer.md: a lone surrogate"),
        ("x" * 65_537, "reviewer.md: too large"),
    ],
)
def test_what_is_no_profile(text: str, problem: str) -> None:
    assert problems_of(text) == [problem]


def test_a_profile_stays_small_enough_for_its_event() -> None:
    asked = [f"tool-{number:03d}-{'x' * 30}" for number in range(60)]
    with pytest.raises(ProfileError, match="beside its prompt; at most 1600 are taken"):
        inline({"tools": asked})


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(text: str) -> None:
    for written in (text, f"---\n{text}\n---\n"):
        assert _profile_or_problems(lambda written=written: read(written))


_plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
_keys = st.sampled_from(["name", "tools", "mcp", "limits", "role", "prompt", "model", "checks", "wait"]) | st.text(
    max_size=5
)


@given(st.dictionaries(_keys, _plain, max_size=6))
def test_any_inline_profile_is_read_or_refused(data: dict[str, Any]) -> None:
    got = _profile_or_problems(lambda: inline(data))
    assert got
    if isinstance(got, Profile):
        assert from_data(json.loads(json.dumps(as_data(got))), got.prompt) == got


def test_an_inline_profile_takes_no_unknown_key() -> None:
    with pytest.raises(ProfileError) as caught:
        inline({"tool": ["shell"], "prompt": "\ud800", "name": {"a": 1}})
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        "profile.tool",
        "profile.prompt",
        "profile.name",
    ]


def test_where_a_name_is_looked_for(tmp_path: Path) -> None:
    ours, claudes = tmp_path / ".palmette/profiles", tmp_path / ".claude/agents"
    for folder in (ours, claudes):
        folder.mkdir(parents=True)
        (folder / "worker.md").write_text(f"from {folder.name}")
    (claudes / "painter.md").write_text("from agents")
    assert named("worker", str(tmp_path)).prompt == "from profiles"
    assert named("painter", str(tmp_path)).prompt == "from agents"
    assert named("driver", str(tmp_path)).role == "driver"
    assert named("worker", None).prompt.startswith("Do the task")
    assert names(str(tmp_path)) == ["driver", "painter", "researcher", "reviewer", "worker"]


@pytest.mark.parametrize("shipped", ["driver", "worker", "reviewer", "researcher"])
def test_what_ships_can_be_read(shipped: str) -> None:
    assert named(shipped, None).description


@pytest.mark.parametrize("name", ["../secret", "a/b", "", "-x", "x" * 65, "nobody", "driver\n"])
def test_a_name_is_no_path(name: str) -> None:
    with pytest.raises(Refused) as caught:
        named(name, None)
    assert caught.value.code == "unknown_profile"


@pytest.mark.parametrize("linked", [".palmette/profiles/secret.md", ".palmette/profiles", ".palmette"])
def test_a_link_out_of_the_repository_is_not_followed(tmp_path: Path, linked: str) -> None:
    outside, repository = tmp_path / "outside", tmp_path / "repository"
    for part in ("secret.md", "profiles/secret.md"):
        (outside / part).parent.mkdir(parents=True, exist_ok=True)
        (outside / part).write_text("a secret")
    target = {".palmette": outside, ".palmette/profiles": outside / "profiles"}.get(linked, outside / "secret.md")
    link = repository / linked
    link.parent.mkdir(parents=True)
    link.symlink_to(target)
    with pytest.raises(Refused) as caught:
        named("secret", str(repository))
    assert caught.value.code == "unknown_profile"
