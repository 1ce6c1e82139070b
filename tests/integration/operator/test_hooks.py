"""Commands that are told of events, and when a person is called (E11, Q9)."""

import json
import os
import sys
from pathlib import Path

import anyio
import pytest

from palmette.coordination.events import Draft, Event, NodePaused, NodeSettled, QuestionAsked, SupervisorStarted
from palmette.coordination.store import MemoryStore
from palmette.coordination.values import Amounts
from palmette.servers.config import Hook
from palmette.servers.hooks import concerns_a_person, running_hooks
from tests.fakes.clock import ManualClock
from tests.support.polling import until

pytestmark = pytest.mark.anyio

STARTED = Draft(SupervisorStarted("0", 1, "person"))


async def commit(store: MemoryStore, draft: Draft) -> None:
    await store.transact(lambda tx: tx.append(draft) and None)


async def written(path: Path) -> str:
    """What a hook wrote, once it has."""
    await anyio.to_thread.run_sync(until, lambda: path.exists() and path.stat().st_size > 0)
    return await anyio.Path(path).read_text()


def program(path: Path, text: str) -> list[str]:
    path.write_text(text)
    return [sys.executable, "-I", str(path)]


@pytest.mark.rule("E11")
async def test_a_hook_gets_the_event_on_standard_input_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "secret")
    told, heard = tmp_path / "told.json", tmp_path / "part"
    text = (
        "import json, os, sys\n"
        f"json.dump([json.load(sys.stdin), dict(os.environ)], open({str(heard)!r}, 'w'))\n"
        f"os.rename({str(heard)!r}, {str(told)!r})\n"
    )
    store = MemoryStore(ManualClock())
    hook = Hook(kinds=["supervisor_started"], command=program(tmp_path / "hook.py", text))
    with anyio.fail_after(30):
        async with running_hooks(store, [hook]):
            await commit(store, STARTED)
            event, environment = json.loads(await written(told))
    assert (event["kind"], event["seq"], event["data"]["pid"]) == ("supervisor_started", 1, 1)
    assert "ANTHROPIC_API_KEY" not in environment


async def test_a_command_is_no_shell_line_and_a_failing_one_is_only_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = MemoryStore(ManualClock())
    done = tmp_path / "done"
    kinds = ["supervisor_started"]
    hooks = [
        Hook(kinds=kinds, command=["/nonexistent; true"]),
        Hook(kinds=kinds, command=["false"]),
        Hook(kinds=kinds, command=program(tmp_path / "hook.py", f"open({str(done)!r}, 'w').write('x')\n")),
    ]
    with anyio.fail_after(30):
        async with running_hooks(store, hooks):
            await commit(store, STARTED)
            assert await written(done) == "x"
            await anyio.to_thread.run_sync(until, lambda: "ended with 1" in caplog.text)
    assert "/nonexistent; true cannot be run" in caplog.text


async def test_a_hook_that_hangs_ends_with_all_that_it_started(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pids = tmp_path / "pids"
    text = (
        "import os, subprocess, time\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        f"open({str(pids)!r}, 'w').write(f'{{child.pid}} ')\n"
        "time.sleep(600)\n"
    )
    store = MemoryStore(ManualClock())
    hook = Hook(kinds=["supervisor_started"], command=program(tmp_path / "hook.py", text))
    with anyio.fail_after(30):
        async with running_hooks(store, [hook], seconds=1.0):
            await commit(store, STARTED)
            child = int(await written(pids))
            await anyio.to_thread.run_sync(until, lambda: "took more than" in caplog.text)
            await anyio.to_thread.run_sync(until, lambda: _gone(child))


def _gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z" and os.getpid() != pid


def _event(data: QuestionAsked | NodeSettled | NodePaused, node: str) -> Event:
    return Event(1, 0, "t1", node, None, data.kind, data.version, "supervisor", None, "supervisor", frozenset(), data)


def _settled(cause: str) -> NodeSettled:
    return NodeSettled("down", cause, "", None, Amounts(), False)


def _asked(holder: str | None) -> QuestionAsked:
    return QuestionAsked("?", "", "blocks_step", "decision", None, holder)


@pytest.mark.rule("Q9")
def test_a_person_is_called_for_questions_settled_roots_and_budgets_only() -> None:
    called = [
        _event(_asked("person"), "t1/0.1"),
        _event(_settled("stopped"), "t1/0"),
        _event(_settled("budget_exhausted"), "t1/0.1"),
        _event(_settled("deadline"), "t1/0.1"),
    ]
    left_alone = [
        _event(_asked("t1/0"), "t1/0.1"),
        _event(_asked(None), "t1/0"),
        _event(_settled("check_failed"), "t1/0.1"),
        _event(NodePaused(), "t1/0"),
    ]
    assert all(concerns_a_person(event) for event in called)
    assert not any(concerns_a_person(event) for event in left_alone)
