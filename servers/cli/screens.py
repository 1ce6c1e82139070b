"""What is printed for people: lines of plain text. What agents wrote goes through `plain`, always."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from palmette.coordination.views import TreeView, plain, render_text
from palmette.servers.cli.output import next_command

__all__ = [
    "config_screen",
    "diff_screen",
    "event_line",
    "inbox_screen",
    "node_screen",
    "short",
    "tree_screen",
    "trees_screen",
    "verify_screen",
]

Row = Mapping[str, Any]


def trees_screen(views: Sequence[TreeView], width: int) -> list[str]:
    """Every tree in one line."""
    if not views:
        return ["no tree yet", next_command('palmette run --repo . --harness builtin --model URL "task"')]
    lines = [f"{render_text(view, max(width - 12, 20))[0]}  {_nodes(view)}" for view in views]
    return [*lines, next_command(f"palmette tree {views[0].id}")]


def tree_screen(view: TreeView, width: int) -> list[str]:
    """One tree, and what to do next with it."""
    asked = [question for question in view.questions if question.holder == "person"]
    if asked:
        after = f"palmette answer {asked[0].id} TEXT"
    elif view.state != "open":
        after = f"palmette node {view.root.id}"
    elif view.detached:
        after = f"palmette tree adopt {view.id}"
    else:
        after = f"palmette tree {view.id} --watch"
    return [*render_text(view, width), next_command(after)]


def node_screen(told: Row, width: int) -> list[str]:
    """One node: how it stands, what it cost, its last steps, its children."""
    head = f"{told['node']}  {plain(told['label'])}  {told['settlement'] or told['state']}"
    if told["cause"]:
        head += f" ({told['cause']})"
    lines = [head, f"  {told['role']} on {plain(told['harness'], 40)}, submit: {told['submit']}"]
    if told["reason"]:
        lines.append(f"  reason: {plain(told['reason'], 300)}")
    for name, amounts in told["budget"].items():
        lines.append(f"  {name}: {_amounts(amounts)}" + (" ?" if name == "spent" and told["spent_unknown"] else ""))
    if told["diffstat"]:
        lines.append("  changes: " + ", ".join(f"{name} {number}" for name, number in told["diffstat"].items()))
    for question in told["open_questions"]:
        lines.append(f"  asks {question['holder'] or 'nobody'}: {question['question']} ({question['urgency']})")
    for child in told["children"]:
        cause = f" ({child['cause']})" if child["cause"] else ""
        lines.append(f"  child {child['node']}  {plain(child['label'])}  {child['state']}{cause}")
    for step in told["steps"]:
        calls = f" [{', '.join(plain(call, 40) for call in step['calls'])}]" if step["calls"] else ""
        lines.append(f"  {step['seq']} {step['source']}: {plain(step['text'], 200)}{calls}")
    if told["result"]:
        lines.append(f"  result: {plain(told['result'], 600)}")
    cut = [line if len(line) <= width else line[: width - 1] + "…" for line in lines]
    return [*cut, next_command(f"palmette events --node {told['node']}")]


def inbox_screen(items: Sequence[Row]) -> list[str]:
    """Whatever waits for a person; the most urgent first."""
    if not items:
        return ["nothing waits for you", next_command("palmette tree")]
    lines: list[str] = []
    for item in items:
        if item["type"] == "question":
            options = f" [{' | '.join(plain(option, 60) for option in item['options'])}]" if item["options"] else ""
            lines.append(f"{item['question']}  {plain(item['label'])} ({item['node']}), {item['urgency']}")
            lines.append(f"    {plain(item['text'], 600)}{options}")
            if item["why"]:
                lines.append(f"    why: {plain(item['why'], 300)}")
        else:
            lines.append(f"event {item['event']}  {item['kind']} of {item['node']}, left unread")
    first = next((item["question"] for item in items if item["type"] == "question"), None)
    return [*lines, next_command("palmette tree" if first is None else f"palmette answer {first} TEXT")]


def event_line(event: Row) -> str | None:
    """An event as one line of a run that is being watched; None for what a watcher need not see."""
    data: Row = event["data"]
    node = event["node"]
    match event["kind"]:
        case "node_spawned":
            return f"{node}  {plain(data['label'])} begins"
        case "question_asked":
            return f"{node}  asks q{event['seq']}: {plain(data['question'], 200)}"
        case "submitted":
            return f"{node}  submits: {plain(data['result'], 200)}"
        case "selected":
            return f"{node}  selects {plain(str(data['winner']), 60)}"
        case "node_settled":
            return f"{node}  {data['settlement']} ({data['cause']})"
        case _:
            return None


def verify_screen(report: Row, data: str) -> list[str]:
    """What a journal's own check found."""
    lines = [
        f"{report['events']} events up to {report['last_seq']}, {report['records']} records, {report['texts']} texts "
        f"in {report['seconds']:.1f} s"
    ]
    for problem in report["problems"]:
        lines.append(f"  problem: {problem['kind']} at {problem['seq']}: {plain(problem['what'], 300)}")
    for one in report["differences"]:
        where = f"{one['table']} {plain(one['key'], 80)} {one['field']}"
        lines.append(
            f"  difference: {where}: journal {plain(str(one['journal']), 80)}, "
            f"projection {plain(str(one['projection']), 80)}"
        )
    for one in report["imbalances"]:
        lines.append(f"  imbalance: {plain(str(one), 300)}")
    if report["ok"]:
        return [
            *lines,
            "the journal, its projections and the books agree",
            next_command(f"palmette tree --data {data}"),
        ]
    return [*lines, next_command(f"copy {data} away before anything else")]


def config_screen(shown: Row) -> list[str]:
    """Every setting with the place it is from."""
    lines = [f"{name:<13} {plain(str(entry['value']), 200):<24} {entry['source']}" for name, entry in shown.items()]
    return [*lines, next_command("palmette doctor")]


def _nodes(view: TreeView) -> str:
    number = len(view.nodes)
    return f"{number} node{'' if number == 1 else 's'}"


def _amounts(amounts: Row) -> str:
    return ", ".join(f"${value:.4f}" if name == "usd" else f"{value} {name}" for name, value in amounts.items()) or "—"


def diff_screen(told: Row) -> list[str]:
    """A change as git tells it; every line is the agents' text."""
    lines = [_spaced(line) for line in told["diff"].rstrip("\n").split("\n")]
    return [*(lines if told["diff"] else ["no change"]), next_command(f"palmette node {told['node']}")]


def _spaced(line: str) -> str:
    """A harmless line that keeps its white space, which in a diff means something."""
    parts = re.split(r"([ \t]+)", line)
    return "".join(part.expandtabs(4) if part.strip(" \t") == "" else plain(part) for part in parts)


def short(name: str) -> str:
    """A file's name, which may be anything."""
    return plain(name, 80)
