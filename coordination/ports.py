"""What coordination needs from outside, as protocols that the other folders fill (DESIGN §3)."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from anyio import CancelScope

from palmette.coordination.events import Draft, Event
from palmette.coordination.tables import Reading, Tables
from palmette.coordination.values import TEXT_INLINE_BYTES, Step, Text, Usage, Verdict

__all__ = [
    "Ask",
    "CheckRunner",
    "Clock",
    "Collected",
    "Compacted",
    "Delivered",
    "Exit",
    "Harness",
    "HarnessEvent",
    "HarnessProbe",
    "Harnesses",
    "Idle",
    "Ids",
    "Launch",
    "Ledger",
    "ModelCall",
    "Models",
    "Prices",
    "Started",
    "StepTaken",
    "Store",
    "Transaction",
    "Used",
    "Workspaces",
]

T = TypeVar("T")


# ── clock and ids ────────────────────────────────────────────────────────────────────────────────


class Clock(Protocol):
    """Time, injected so that tests own it."""

    def now(self) -> int:
        """UTC, microseconds since 1970: for the record."""
        ...

    def monotonic(self) -> float:
        """Seconds that never jump: for every timer (E9)."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait on the monotonic clock."""
        ...

    def limit(self, seconds: float) -> AbstractContextManager[CancelScope]:
        """A scope that is cancelled after so many seconds of the monotonic clock; it swallows its own cancellation."""
        ...


class Ids(Protocol):
    """Randomness, injected so that tests own it."""

    def tree(self) -> str:
        """A new tree id: `t` and some lower-case base-32 characters."""
        ...

    def token(self) -> str:
        """A new secret of at least 256 bits, URL-safe."""
        ...


# ── store ────────────────────────────────────────────────────────────────────────────────────────


class Transaction(Tables, Protocol):
    """What a command sees: the records, and the one way to change them."""

    def append(self, draft: Draft) -> Event:
        """Write the event and fold it; its label gains the attempt's own (F2).

        Raises:
            JournalUnwritable: the disk refused.
        """
        ...

    def now(self) -> int:
        """UTC microseconds: the time that this transaction's events carry."""
        ...

    def next_seq(self) -> int:
        """The seq that the next append will get; ids such as `q7` are made of it."""
        ...


class Store(Protocol):
    """The journal and its projections: commands in, events out."""

    async def transact(self, command: Callable[[Transaction], T]) -> T:
        """Run a command atomically; returns once it is durable (E1).

        A command that raises leaves nothing behind; the exception reaches the caller. Commands run one after another
        in the order of the calls; many share one commit.

        Raises:
            Refused: the command refused.
            JournalUnwritable: the commit failed; nothing of it was kept.
        """
        ...

    async def read(self, query: Callable[[Reading], T]) -> T:
        """Run a query on a committed snapshot, off the event loop."""
        ...

    async def events(
        self,
        *,
        after: int = 0,
        limit: int = 500,
        tree: str | None = None,
        node: str | None = None,
        kinds: Sequence[str] = (),
        newest: bool = False,
    ) -> list[Event]:
        """Committed events in seq order; with `newest` the last `limit` of them. `node` takes its whole subtree."""
        ...

    def subscribe(self, receive: Callable[[Sequence[Event]], None]) -> Callable[[], None]:
        """Call `receive` on the event loop with each committed batch, in order; returns the unsubscriber."""
        ...

    async def keep(self, text: str, *, inline: int = TEXT_INLINE_BYTES) -> Text:
        """Text as an event may hold it: long text goes to a content-addressed file, fsynced before this returns.

        Args:
            inline: bytes of JSON that the event itself has room for.
        """
        ...

    async def text(self, value: Text) -> str:
        """The text itself; `[redacted]` where its file was deleted."""
        ...


# ── harness ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Launch:
    """Everything a harness needs to run one attempt.

    Attributes:
        attempt: `t7f3/0.2#1`.
        directory: the attempt's own directory (0700), outside the workspace; harness home and logs go there.
        workspace: where the agent works; None without a repository.
        session_directory: the node's directory that outlives attempts; session files go there.
        relay_argv: starts the stdio MCP relay for this attempt; the token reaches it by a file, never by argv.
        token_file: 0600, beside the attempt's socket.
        system: the node contract and the profile's body.
        model: the model's name; `model_url` is the endpoint's base URL.
        tools: native tools the profile allows, by the harness's own names; None for all.
        max_output: the most output tokens of one model call.
    """

    attempt: str
    directory: Path
    workspace: Path | None
    session_directory: Path
    relay_argv: tuple[str, ...]
    token_file: Path
    system: str
    model: str
    model_url: str
    max_output: int = 8192
    tools: tuple[str, ...] | None = None
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    session: str | None = None
    grace_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Started:
    """The harness runs; `session` is what `resume` takes later."""

    session: str
    version: str


@dataclass(frozen=True, slots=True)
class StepTaken:
    """New steps, never one told before."""

    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Used:
    """What a model call used, for harnesses whose calls are not metered elsewhere."""

    model: str
    usage: Usage


@dataclass(frozen=True, slots=True)
class Ask:
    """The harness itself asks: a permission, or a question to its user (Q6)."""

    request: str
    asked_as: Literal["permission", "question"]
    text: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Delivered:
    """A message given to prompt() or steer() is now part of the conversation."""

    message: str


@dataclass(frozen=True, slots=True)
class Compacted:
    """The harness summarised its own history."""

    summary: str


@dataclass(frozen=True, slots=True)
class Idle:
    """The turn ended; the harness waits for a prompt.

    Attributes:
        stopped_by: `end` of its own accord; `interrupt`; `budget`: a model call was refused for budget;
            `model`: the model failed for good.
        text: the turn's last words.
    """

    stopped_by: Literal["end", "interrupt", "budget", "model"] = "end"
    text: str = ""


@dataclass(frozen=True, slots=True)
class Exit:
    """The process is gone, and nothing of it is left.

    Attributes:
        reason: the harness's own last words on a failure.
        stage: where it failed, for the cause table: before its session started, before MCP was reached, or later.
    """

    code: int | None
    reason: str = ""
    stage: Literal["start", "mcp", "run"] = "run"


HarnessEvent = Started | StepTaken | Used | Ask | Delivered | Compacted | Idle | Exit


@dataclass(frozen=True, slots=True)
class HarnessProbe:
    """Whether a harness can be used here, and if not, the one thing to do."""

    available: bool
    version: str = ""
    reason: str = ""
    remedy: str = ""


class Harness(Protocol):
    """One attempt's harness process, in a structured mode (never a screen)."""

    def events(self) -> AsyncIterator[HarnessEvent]:
        """Everything it tells, in order, ending with Exit. To be read by one task, from start to end."""
        ...

    async def start(self) -> None:
        """Start the process; with `launch.session` it resumes that session. Idle until prompted.

        Raises:
            HarnessError: it cannot be started.
        """
        ...

    async def prompt(self, message: str, text: str) -> None:
        """Begin a turn, or join the one that runs after all. Delivered(message) tells that it arrived."""
        ...

    async def steer(self, message: str, text: str, *, interrupt: bool) -> None:
        """Say something in mid-turn, between tool calls or interrupting one; if none runs, begin another."""
        ...

    async def interrupt(self) -> None:
        """End the turn early; Idle follows."""
        ...

    async def answer(self, request: str, decision: str) -> None:
        """Answer an Ask."""
        ...

    async def pause(self) -> None:
        """Freeze the process and its descendants."""
        ...

    async def resume(self) -> None:
        """Thaw them."""
        ...

    async def stop(self, grace_s: float) -> Sequence[int]:
        """End it: its own stop, SIGTERM, SIGKILL; returns the pids the OS still shows (none: confirmed)."""
        ...


class Ledger(Protocol):
    """All of the store that meters model calls (later the gateway's): hold, book, append."""

    async def hold(self, attempt: str, call: "ModelCall") -> str:
        """Set the worst case aside; returns the hold's id once it is durable. Only then may the call be made.

        Raises:
            Refused: budget_exhausted, channel_closed, channel_unpriced, already_submitted, attempt_over.
        """
        ...

    async def book(
        self, attempt: str, hold: str, usage: Usage | None, *, model: str, steps: Sequence[Step] = (), sent: bool = True
    ) -> None:
        """Close the hold with the true usage; None books the whole hold as unknown; not `sent` releases it."""
        ...


@dataclass(frozen=True, slots=True)
class ModelCall:
    """A model call about to be made.

    Attributes:
        input_bound: tokens the input cannot exceed (bytes of the body bound them for byte-level BPE).
        max_output: the output limit that is on the wire.
    """

    model: str
    input_bound: int
    max_output: int


class Prices(Protocol):
    """What model calls cost; an explicit unknown where nobody says (B8)."""

    @property
    def digest(self) -> str:
        """The table's version, for the record."""
        ...

    def cost(self, model: str, usage: Usage) -> int | None:
        """Micro-dollars, rounded up; None if the model has no known price."""
        ...

    def bound(self, model: str, call: ModelCall) -> int | None:
        """The most that a call can cost, in micro-dollars; None if the model has no known price."""
        ...


class Models(Protocol):
    """Where model calls go."""

    async def endpoint(self, source: str) -> str:
        """The base URL for a tree's model source: itself, or for `scripted:FILE` an endpoint that plays the file.

        Raises:
            Refused: bad_model.
        """
        ...


class Harnesses(Protocol):
    """The harnesses that can be named, by name."""

    def names(self) -> Sequence[str]: ...

    async def probe(self, name: str) -> HarnessProbe:
        """Whether it can be used here."""
        ...

    def create(self, name: str, launch: Launch, ledger: Ledger) -> Harness:
        """A harness for one attempt, not yet started.

        Raises:
            Refused: unknown_harness.
        """
        ...


# ── workspaces and checks ────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Collected:
    """What came out of a workspace, through the quarantine."""

    commit: str
    base: str
    files: int
    insertions: int
    deletions: int


class Workspaces(Protocol):
    """Git, on behalf of the tree (W1, W8)."""

    async def resolve(self, repository: str, ref: str | None) -> tuple[str, list[str]]:
        """(commit, uncommitted paths) for a ref of a person's repository; None is HEAD.

        Raises:
            Refused: not_a_repository, repository_empty, bad_base.
        """
        ...

    async def create(self, tree: str, node: str, repository: str, base: str) -> Path:
        """A workspace at that commit; the base is the repository's or an earlier result of the tree. Idempotent."""
        ...

    async def collect(self, tree: str, node: str) -> Collected:
        """Snapshot the work tree as it stands (C2) and take it out through the quarantine."""
        ...

    async def working_tree(self, tree: str, node: str, repository: str) -> str:
        """A commit of a person's work tree as it stands, made outside his repository (W3, `working-tree`).

        Raises:
            Refused: not_a_repository, repository_empty.
        """
        ...

    async def deliver(self, tree: str, child: str, commit: str, parent: str, label: str) -> None:
        """Lay a settled child's commit as `in/<label>.bundle` beside its parent's workspace (W8)."""
        ...

    async def diff(self, tree: str, base: str, commit: str, *, limit: int = 20_000) -> str:
        """The change as text, cut at `limit` characters."""
        ...

    async def publish(self, tree: str, repository: str, commit: str, ref: str) -> None:
        """Make the root's result a ref under refs/palmette/ in the repository (W8)."""
        ...

    async def discard(self, tree: str, node: str) -> None:
        """Free a workspace whose result is saved (W2)."""
        ...


class CheckRunner(Protocol):
    """Runs a check on a commit."""

    def problems(self, check: Mapping[str, Any]) -> list[str]:
        """What is wrong with a check, as far as it can be seen without a commit; nothing, where nothing is."""
        ...

    async def run(self, check: Mapping[str, Any], *, tree: str, repository: str, commit: str, base: str) -> Verdict:
        """The verdict; `unavailable` when the check itself could not be run (C3), never an exception."""
        ...
