"""One pure view of a tree, from which text, JSON and web pages are made (DESIGN §12)."""

import unicodedata
from dataclasses import dataclass
from typing import Literal

from palmette.coordination.commands.standing import the_purse, the_tree
from palmette.coordination.records import Node, Purse, Question, Tree
from palmette.coordination.tables import Reading
from palmette.coordination.values import Amounts, Blob, Text, depth_of

__all__ = ["GLYPHS", "NodeRow", "QuestionRow", "TreeView", "VerdictRow", "plain", "render_text", "tree_view"]

GLYPHS = {
    "working": "●",
    "asks": "?",
    "paused": "‖",
    "starting": "○",
    "done": "✓",
    "unchecked": "~",
    "incomplete": "≈",
    "down": "✗",
    "cancelled": "■",
    "lost": "!",
}
"""A state at a glance; the word stands beside it, so that nothing depends on the sign."""

_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Characters that count as letters or symbols and are drawn as nothing."""

Shown = Literal["working", "asks", "paused", "starting", "done", "unchecked", "incomplete", "down", "cancelled", "lost"]


@dataclass(frozen=True, slots=True)
class VerdictRow:
    """What a check said, without its evidence."""

    objective: str
    status: str
    value: float | None
    unit: str


@dataclass(frozen=True, slots=True)
class NodeRow:
    """One node of a tree, in drawing order.

    Attributes:
        depth: 0 for the root.
        last: for each level below the root, whether the ancestor there (at the end: itself) is a last child.
        age_s: seconds from birth to settlement, or to now.
        questions: its own open questions.
    """

    id: str
    label: str
    depth: int
    last: tuple[bool, ...]
    shown: Shown
    role: str
    harness: str
    model: str
    isolation: str
    settlement: str | None
    cause: str | None
    reason: str
    attempts: int
    granted: Amounts
    free: Amounts
    held: Amounts
    spent: Amounts
    unknown: bool
    age_s: int
    verdicts: tuple[VerdictRow, ...]
    diffstat: dict[str, int] | None
    questions: tuple[str, ...]
    commit: str | None


@dataclass(frozen=True, slots=True)
class QuestionRow:
    """An open question and who has to decide it."""

    id: str
    asker: str
    label: str
    holder: str | None
    urgency: str
    text: str
    options: tuple[str, ...]
    asked_at: int


@dataclass(frozen=True, slots=True)
class TreeView:
    """A tree as it stands at `now` (UTC microseconds)."""

    id: str
    mode: str
    state: str
    repository: str | None
    opened_at: int
    now: int
    detached: bool
    published: str | None
    nodes: tuple[NodeRow, ...]
    questions: tuple[QuestionRow, ...]

    @property
    def root(self) -> NodeRow:
        """The root's row."""
        return self.nodes[0]


def tree_view(reading: Reading, tree_id: str, now: int) -> TreeView:
    """See TreeView.

    Raises:
        Refused: unknown_node if there is no such tree.
    """
    tree = the_tree(reading, tree_id)
    nodes = reading.find(Node, tree=tree.id)
    below: dict[str | None, list[Node]] = {}
    for node in sorted(nodes, key=lambda node: node.ordinal):
        below.setdefault(node.parent, []).append(node)
    labels = {node.id: node.label for node in nodes}
    questions = sorted(
        (question for question in reading.find(Question, tree=tree.id) if question.state == "open"),
        key=lambda question: question.asked_at,
    )
    asking: dict[str, list[str]] = {}
    for question in questions:
        asking.setdefault(question.asker, []).append(question.id)
    return TreeView(
        id=tree.id,
        mode=tree.mode,
        state=tree.state,
        repository=None if tree.repository is None else plain(tree.repository),
        opened_at=tree.opened_at,
        now=now,
        detached=tree.detached,
        published=tree.published,
        nodes=tuple(_rows(reading, below, asking, tree, now)),
        questions=tuple(
            QuestionRow(
                id=question.id,
                asker=question.asker,
                label=labels.get(question.asker, question.asker),
                holder=question.holder,
                urgency=question.urgency,
                text=plain(question.question, 300),
                options=tuple(plain(option, 60) for option in question.options or ()),
                asked_at=question.asked_at,
            )
            for question in questions
        ),
    )


def _rows(
    reading: Reading, below: dict[str | None, list[Node]], asking: dict[str, list[str]], tree: Tree, now: int
) -> list[NodeRow]:
    """Depth first, parents before children; a loop, since a tree may be deeper than Python's stack."""
    rows: list[NodeRow] = []
    todo: list[tuple[Node, tuple[bool, ...]]] = [(node, ()) for node in reversed(below.get(None, []))]
    while todo:
        node, last = todo.pop()
        rows.append(_row(node, the_purse(reading, node.id), last, tuple(asking.get(node.id, ())), now))
        children = below.get(node.id, [])
        for index in range(len(children) - 1, -1, -1):
            todo.append((children[index], (*last, index == len(children) - 1)))
    return rows


def _row(node: Node, purse: Purse, last: tuple[bool, ...], questions: tuple[str, ...], now: int) -> NodeRow:
    return NodeRow(
        id=node.id,
        label=node.label,
        depth=depth_of(node.id),
        last=last,
        shown=_shown(node, bool(questions)),
        role=node.role,
        harness=plain(node.harness, 40),
        model=plain(node.model, 60),
        isolation=node.isolation,
        settlement=node.settlement,
        cause=node.cause,
        reason=plain(node.reason, 200),
        attempts=node.attempts,
        granted=purse.granted,
        free=purse.free,
        held=purse.held,
        spent=purse.spent,
        unknown=purse.unknown,
        age_s=max((node.settled_at or now) - node.spawned_at, 0) // 1_000_000,
        verdicts=tuple(VerdictRow(plain(v.objective, 40), v.status, v.value, plain(v.unit, 20)) for v in node.verdicts),
        diffstat=node.diffstat,
        questions=questions,
        commit=node.commit,
    )


def _shown(node: Node, asks: bool) -> Shown:
    match node.settlement:
        case "done":
            return "done" if node.valid else "unchecked" if node.valid is None else "incomplete"
        case "down":
            return "down"
        case "cancelled":
            return "cancelled"
        case "lost":
            return "lost"
        case _:
            return "paused" if node.paused else "asks" if asks else "working" if node.attempts else "starting"


# ── text ─────────────────────────────────────────────────────────────────────────────────────────


def render_text(view: TreeView, width: int = 100) -> list[str]:
    """The tree for a terminal, one line a node and one a question; no line is longer than `width`."""
    root = view.root
    lines = [f"tree {view.id}  {view.state}{' (detached)' if view.detached else ''}  {_money(root)}"]
    for row in view.nodes:
        lines.append(_drawn(row))
    for question in view.questions:
        who = "you" if question.holder == "person" else question.holder
        options = f" [{' | '.join(question.options)}]" if question.options else ""
        lines.append(f"  {question.id} {question.label} asks {who}: {question.text}{options}")
    if view.published is not None:
        lines.append(f"  result: {view.published}")
    return [_fitted(line, width) for line in lines]


def _money(root: NodeRow) -> str:
    if root.granted.usd is None:
        return f"{root.spent.turns or 0} turns"
    aside = root.granted.usd - (root.free.usd or 0) - (root.spent.usd or 0)
    mark = " (some of it a bound)" if root.unknown else ""
    return (
        f"${_usd(root.spent.usd)} of ${_usd(root.granted.usd)} spent{mark}, ${_usd(aside)} set aside, "
        f"{root.spent.turns or 0} turns"
    )


def _drawn(row: NodeRow) -> str:
    stem = "".join("   " if gone else "│  " for gone in row.last[:-1])
    branch = "" if not row.last else "└─ " if row.last[-1] else "├─ "
    parts = [f"{stem}{branch}{GLYPHS[row.shown]} {row.label}", row.shown, f"{row.harness}/{row.model or '-'}", row.role]
    if row.cause not in (None, "submitted"):
        parts.append(row.cause or "")
    if row.granted.usd is not None:
        parts.append(f"${_usd(row.spent.usd)}/{_usd(row.granted.usd)}{'?' if row.unknown else ''}")
    parts += [f"{row.spent.turns or 0} turns", _age(row.age_s)]
    parts += [_verdict(verdict) for verdict in row.verdicts]
    if row.diffstat is not None and row.diffstat.get("files"):
        parts.append(f"+{row.diffstat['insertions']} −{row.diffstat['deletions']}")
    if row.questions:
        parts.append(f"asks {', '.join(row.questions)}")
    return "  ".join(parts)


def _age(seconds: int) -> str:
    if seconds < 120:
        return f"{seconds}s"
    return f"{seconds // 60}m" if seconds < 7_200 else f"{seconds // 3_600}h"


def _verdict(verdict: VerdictRow) -> str:
    sign = {"pass": "✓", "fail": "✗"}.get(verdict.status, "unavailable")
    measured = "" if verdict.value is None else f" {verdict.value:g}{verdict.unit}"
    return f"{verdict.objective} {sign}{measured}"


def _usd(micros: int | None) -> str:
    return f"{(micros or 0) / 1_000_000:.4f}".rstrip("0").ljust(4, "0") if micros else "0.00"


def plain(text: Text, limit: int | None = None) -> str:
    """Agents' text as one harmless line.

    Control characters (terminal escapes among them) become their visible pictures, direction overrides and other
    invisible or blank characters a middle dot, runs of white space one space, and no character carries more than two
    combining marks.

    Args:
        limit: the most terminal columns it may take.
    """
    if isinstance(text, Blob):
        return f"[{text.size} bytes]"
    text = text.lstrip()
    if limit is not None and len(text) > 4 * limit:
        text = text[: 4 * limit]
    shown: list[str] = []
    marks = 0
    for character in " ".join(text.split()):
        category = unicodedata.category(character)
        marks = marks + 1 if category.startswith("M") else 0
        if category == "Cc":
            code = ord(character)
            shown.append(chr(0x2400 + code) if code < 0x20 else "␡" if code == 0x7F else "·")
        elif category in ("Cf", "Cs", "Co", "Zl", "Zp") or character in _BLANK:
            shown.append("·")
        elif marks <= 2:
            shown.append(character)
    return "".join(shown) if limit is None else _fitted("".join(shown), limit)


def _fitted(line: str, columns: int) -> str:
    """The line, cut so that it takes at most that many terminal columns."""
    if sum(map(_columns, line)) <= columns:
        return line
    room = columns - 1
    for index, character in enumerate(line):
        room -= _columns(character)
        if room < 0:
            return line[:index] + "…"
    return line


def _columns(character: str) -> int:
    if unicodedata.category(character).startswith("M"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1
