"""The demo's course: run the tree, tell what happens, answer as the person, and show that the books add up."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any, Protocol

from palmette.coordination.codec import decode
from palmette.coordination.views import NodeRow, TreeView, plain
from palmette.servers.demo.stage import TASK, TESTS

__all__ = ["Api", "books", "play"]

ANSWER = "Keep it for one more release."
"""What the demo says in the person's place."""


class Api(Protocol):
    """The operator API, as far as the demo uses it."""

    async def get(self, path: str, **query: str | int | None) -> Any: ...

    async def post(self, path: str, body: Any = None) -> Any: ...

    def follow(self, after: int, **query: str | None) -> AsyncGenerator[dict[str, Any]]: ...


async def play(
    api: Api, repository: Path, script: Path, tell: Callable[[str], None], ask: Callable[[str], str] | None
) -> TreeView:
    """Run the demo's tree to its end.

    Args:
        tell: shows a line.
        ask: asks the person; None answers for him, after the question was shown.
    """
    started = await api.post(
        "runs",
        {
            "task": TASK,
            "repository": str(repository),
            "harness": "builtin",
            "model": "scripted",
            "model_source": f"scripted:{script}",
            "pool": {"usd": 2_000_000, "turns": 200, "seconds": 600},
            "checks": [TESTS],
        },
    )
    tree = str(started["tree"])
    tell(f"tree {tree}: {TASK}")
    labels: dict[str, str] = {}
    async with aclosing(api.follow(0, tree=tree)) as events:
        async for event in events:
            line = _told(event, labels)
            if line:
                tell(f"  {line}")
            if event["kind"] in ("question_asked", "question_escalated") and event["data"]["holder"] == "person":
                await _answer(api, event, tell, ask)
            if event["kind"] == "tree_closed":
                break
    return decode(TreeView, await api.get(f"trees/{tree}"))


async def _answer(
    api: Api, event: dict[str, Any], tell: Callable[[str], None], ask: Callable[[str], str] | None
) -> None:
    asked = event["kind"] == "question_asked"
    question = f"q{event['seq']}" if asked else event["data"]["question"]
    for item in await api.get("inbox"):
        if item.get("question") == question:
            tell(f"  ? {plain(item['label'])} asks you: {plain(item['text'])}")
            tell(f"    because: {plain(item['why'])}")
            text = ANSWER if ask is None else ask(f"    your answer to {question}: ")
            tell(f"    you answer: {plain(text)}" + ("" if ask else "   (the demo in your place; --ask lets you)"))
            await api.post(f"questions/{question}/answer", {"text": text})


def _told(event: dict[str, Any], labels: dict[str, str]) -> str:
    """One line of the story, or nothing."""
    data, node = event["data"], event["node"] or ""
    who = labels.get(node, node)
    match event["kind"]:
        case "node_spawned":
            labels[node] = str(data["label"])
            if data["parent"] is None:
                return ""
            usd = (data["granted"][0] or 0) / 1e6
            return f"{labels[data['parent']]} spawns {data['label']} with ${usd:.2f}"
        case "question_asked":
            return f"{who} asks {labels.get(data['holder'], data['holder'])}: {plain(data['question'], 90)}"
        case "question_escalated":
            return f"the question of {who} goes up to {'you' if data['holder'] == 'person' else data['holder']}"
        case "question_answered" if data["by"] != "person":
            return f"{labels.get(data['by'].partition('#')[0], '?')} answers {who}: {plain(data['text'], 90)}"
        case "message_intended" if data["purpose"] == "steer":
            return f"{who} is steered: {plain(data['text'], 90)}"
        case "submit_judged":
            verdicts = ", ".join(f"{v['objective']} {v['status']}" for v in data["verdicts"]) or "no checks"
            return f"{who} submits: {data['outcome']} ({verdicts})"
        case "node_settled":
            return f"{who} settles {data['settlement']} ({data['cause']})"
        case "selected":
            return f"{who} selects {labels.get(data['winner'], 'nobody')}: {data['why']}"
        case "result_published":
            return f"the result is {data['ref']}"
        case _:
            return ""


def books(view: TreeView) -> list[str]:
    """The tree's books, and the sum that has to hold (B1)."""
    rows = [f"  {row.label:<10} {_usd(_own(view, row)):>9}  {_turns(view, row):>3} turns" for row in view.nodes]
    root = view.root
    spent, free, granted = root.spent.usd or 0, root.free.usd or 0, root.granted.usd or 0
    total = sum(_own(view, row) for row in view.nodes)
    holds = total == spent and spent + free + (root.held.usd or 0) == granted
    rows.append(f"  {'together':<10} {_usd(total):>9}  {root.spent.turns or 0:>3} turns")
    rows.append(
        f"  granted {_usd(granted)} = spent {_usd(spent)} + free {_usd(free)}: "
        + ("the books add up" if holds else "THE BOOKS DO NOT ADD UP")
    )
    return rows


def _own(view: TreeView, row: NodeRow) -> int:
    """A node's own dollars: its spent less that of its children, which is included in it."""
    return (row.spent.usd or 0) - sum(child.spent.usd or 0 for child in _children(view, row))


def _turns(view: TreeView, row: NodeRow) -> int:
    return (row.spent.turns or 0) - sum(child.spent.turns or 0 for child in _children(view, row))


def _children(view: TreeView, row: NodeRow) -> list[NodeRow]:
    return [child for child in view.nodes if child.id.rpartition(".")[0] == row.id]


def _usd(micros: int) -> str:
    return f"${micros / 1_000_000:.6f}"
