"""The interpreter: the next reply is a function of the script and the conversation, and of nothing else.

A scenario is played from its start against what the conversation records. Each turn the scenario would write next is
looked for among the recorded assistant blocks; one that is found is passed, the first that is not found is the reply.
So resume, retry and a restarted endpoint land on the right step, and texts that come in between (steers, wakes,
reminders) do not move it. Recorded blocks that the scenario would not have written are passed over.
"""

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from palmette.sandbox.model.conditions import holds
from palmette.sandbox.model.conversation import (
    Called,
    Conversation,
    OfferedTool,
    Returned,
    Said,
    UserText,
    is_verb,
    resolve_tool,
    verb_of,
)
from palmette.sandbox.model.errors import PlayError
from palmette.sandbox.model.paths import MissingPath, fill, fill_text, shown
from palmette.sandbox.model.results import Result
from palmette.sandbox.model.script import Scenario, Script
from palmette.sandbox.model.steps import (
    Branch,
    Call,
    Condition,
    ErrorSpec,
    ErrorStep,
    Fault,
    LoopStep,
    Oversize,
    Step,
    Turn,
    UsageSpec,
)
from palmette.sandbox.model.values import compact

__all__ = ["Failure", "Reply", "ReplyCall", "TurnReply", "Usage", "play"]

_LAST_WORD = "Done."
"""What ends a scenario whose last step was a call."""
_CLOSING = Turn(say=_LAST_WORD)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one reply; `input` is the uncached part."""

    input: int
    output: int
    cache_read: int = 0
    cache_write: int = 0


@dataclass(frozen=True, slots=True)
class ReplyCall:
    """A call to be made.

    Attributes:
        id: unique in its conversation, without a dialect's prefix.
        tool: the offered tool.
        arguments: the JSON object, or the text of a freeform tool.
    """

    id: str
    tool: OfferedTool
    arguments: dict[str, Any] | str


@dataclass(frozen=True, slots=True)
class TurnReply:
    """A reply.

    Attributes:
        id: unique in its conversation, without a dialect's prefix.
        step: where in the script it stands, `scenario.steps[2]`.
        usage: None where the script leaves it out.
        cut_short: it stopped at the output limit.
        fault: how its delivery goes wrong.
    """

    id: str
    step: str
    text: str
    calls: tuple[ReplyCall, ...]
    usage: Usage | None
    cut_short: bool = False
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """A refusal that the script asks for; `step` is its place."""

    step: str
    error: ErrorSpec


Reply = TurnReply | Failure


def play(script: Script, conversation: Conversation) -> Reply:
    """The next reply of a conversation.

    Raises:
        PlayError: no scenario fits (status 400), or the scenario cannot go on here (status 500; names step and path).
    """
    scenario = _chosen(script, conversation)
    recorded = _Record(conversation)
    memory: dict[str, list[Result]] = {"prompt": [Result(conversation.prompt)]} if conversation.prompt else {}
    state = _State((_Frame(tuple(scenario.steps), f"{scenario.name}.steps"),))
    player = _Player(scenario, memory, conversation)
    cursor = 0
    while True:
        found = player.passed(state, recorded, cursor)
        if isinstance(found, _Passed):
            state, cursor = found.state, found.cursor
            player.remember(found, recorded)
        else:
            return found


def _chosen(script: Script, conversation: Conversation) -> Scenario:
    for scenario in script.scenarios:
        when = scenario.when
        texts = ((when.system, conversation.system), (when.user, conversation.prompt), (when.model, conversation.model))
        offers = (any(is_verb(tool.full_name, verb) for tool in conversation.tools) for verb in when.tools)
        if all(regex is None or re.search(regex, text) for regex, text in texts) and all(offers):
            return scenario
    names = ", ".join(scenario.name for scenario in script.scenarios)
    raise PlayError(
        f"no scenario fits this request (model {conversation.model!r}, {len(conversation.tools)} tools); "
        f"there are: {names}",
        "Widen the `when` of one of them, or add a scenario without `when` at the end.",
        status=400,
    )


class _Record:
    """The conversation, indexed: where the assistant's blocks are, what each call gave."""

    def __init__(self, conversation: Conversation) -> None:
        self.entries = conversation.entries
        self.blocks = [at for at, entry in enumerate(self.entries) if isinstance(entry, Said | Called)]
        self.results = {entry.id: entry for entry in self.entries if isinstance(entry, Returned)}

    def blocks_from(self, cursor: int) -> list[int]:
        low, high = 0, len(self.blocks)
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if self.blocks[middle] < cursor else (low, middle)
        return self.blocks[low:]

    def result(self, called: Called) -> Result:
        returned = self.results.get(called.id)
        return Result() if returned is None else Result.of(returned.text, returned.is_error)

    def user_texts(self, start: int, end: int) -> list[str]:
        return [entry.text for entry in self.entries[start:end] if isinstance(entry, UserText)]


@dataclass(frozen=True, slots=True)
class _Frame:
    steps: tuple[Step, ...]
    place: str
    at: int = 0
    loop: LoopStep | None = None
    rounds: int = 1


@dataclass(frozen=True, slots=True)
class _State:
    """Where the scenario stands; `said` is the last turn's text if it ended the harness's turn."""

    frames: tuple[_Frame, ...]
    ordinal: int = 0
    said: str | None = None
    last_say: str = _LAST_WORD


@dataclass(frozen=True, slots=True)
class _Planned:
    """A turn the scenario writes next; its texts and arguments are not filled in yet, but for a closing `word`."""

    turn: Turn
    place: str
    state: _State
    word: str | None = None


@dataclass(frozen=True, slots=True)
class _Passed:
    """A planned turn that the conversation records."""

    calls: tuple[tuple[Call, Called | None], ...]
    state: _State
    cursor: int


@dataclass
class _Player:
    scenario: Scenario
    memory: dict[str, list[Result]]
    conversation: Conversation
    window: list[str] = field(default_factory=list[str])

    # ── one turn ─────────────────────────────────────────────────────────────────────────────────

    def passed(self, state: _State, record: _Record, cursor: int) -> _Passed | Reply:
        """The next turn if it is recorded, else the reply.

        The texts since the last turn end where this turn begins, which is known only when it is found. So each block
        is tried in turn with the texts before it; what was the reply once is found again at the same block later.
        """
        planned: _Planned | None = None
        refused: Failure | None = None
        problem: PlayError | None = None
        self.window = []
        start, looked = cursor, False
        for end in [*record.blocks_from(cursor), len(record.entries)]:
            news = record.user_texts(start, end)
            start = end
            if news or not looked:
                looked = True
                self.window += news
                planned = refused = problem = None
                try:
                    planned, refused = self._next(state)
                except PlayError as error:
                    problem = error
            if planned is None or end == len(record.entries):
                continue
            found = self._match(planned, record, end)
            if found is None:
                continue
            missing = [index for index, (_, called) in enumerate(found.calls) if called is None]
            if missing and found.cursor > record.blocks[-1]:
                return self._reply(planned, missing)
            return found
        if refused is not None:
            return refused
        if planned is None:
            raise problem or PlayError(f"{self.scenario.name}: nothing to play")
        return self._reply(planned, None)

    def remember(self, found: _Passed, record: _Record) -> None:
        """Note what the calls of a passed turn gave."""
        for call, called in found.calls:
            result = Result() if called is None else record.result(called)
            for name in {verb_of(call.tool), call.name or verb_of(call.tool)}:
                self.memory.setdefault(name, []).append(result)
            self.memory["last"] = [result]

    def _match(self, planned: _Planned, record: _Record, at: int) -> _Passed | None:
        turn, entries = planned.turn, record.entries
        first = entries[at]
        if not turn.all_calls:
            if not isinstance(first, Said):
                return None
            try:
                text = self._text(planned)
            except PlayError:
                return None
            if first.text.strip() != text.strip():
                return None
            return _Passed((), replace(planned.state, said=text, last_say=text), at + 1)
        if not (isinstance(first, Called) and is_verb(first.name, turn.all_calls[0].tool)):
            return None
        pairs: list[tuple[Call, Called | None]] = [(turn.all_calls[0], first)]
        cursor = at + 1
        following = [(index, entries[index]) for index in record.blocks_from(cursor)[: 4 * len(turn.all_calls)]]
        calls = [(index, entry) for index, entry in following if isinstance(entry, Called)]
        for call in turn.all_calls[1:]:
            if calls and is_verb(calls[0][1].name, call.tool):
                index, entry = calls.pop(0)
                pairs.append((call, entry))
                cursor = index + 1
            else:
                # A reply cut between its calls: harnesses run the calls that came whole.
                pairs.append((call, None))
        return _Passed(tuple(pairs), replace(planned.state, said=None), cursor)

    def _text(self, planned: _Planned) -> str:
        turn = planned.turn
        if planned.word is not None:
            return planned.word
        text = self._filled_text(turn.say, planned.place) if turn.say is not None else ""
        if isinstance(turn.fault, Oversize):
            text += "x" * max(0, turn.fault.bytes - len(text.encode()))
        return text

    def _filled_text(self, template: str, place: str) -> str:
        try:
            return fill_text(template, self._scope())
        except MissingPath as missing:
            raise self._nowhere(place, missing) from None

    def _nowhere(self, place: str, missing: MissingPath) -> PlayError:
        names = ", ".join(sorted(self._scope())) or "nothing"
        return PlayError(
            f"{place}: the path {missing.args[0]!r} leads nowhere; there is: {names}",
            "Mend the path, or write `${path?}` where the value may be missing.",
        )

    def _scope(self) -> Mapping[str, Sequence[Result]]:
        return {**self.memory, "user": [Result("\n".join(self.window))]} if self.window else self.memory

    def _reply(self, planned: _Planned, only: list[int] | None) -> TurnReply:
        turn, place = planned.turn, planned.place
        text = self._text(planned) if only is None else ""
        calls: list[ReplyCall] = []
        for index, call in enumerate(turn.all_calls):
            if only is not None and index not in only:
                continue
            try:
                tool = resolve_tool(call.tool, self.conversation.tools)
            except PlayError as error:
                raise PlayError(f"{place}: {error.message}", error.hint) from None
            calls.append(ReplyCall(self._id(planned, index), tool, self._arguments(call, tool, place)))
        fault = turn.fault
        times = None if fault is None or isinstance(fault, Oversize) else fault.times
        if times is not None and self.conversation.retries >= times:
            fault = None
        return TurnReply(
            self._id(planned, None),
            place,
            text,
            tuple(calls),
            self._usage(turn.usage, text, calls),
            cut_short=turn.stop == "length",
            fault=fault,
        )

    def _arguments(self, call: Call, tool: OfferedTool, place: str) -> dict[str, Any] | str:
        try:
            if call.input is not None:
                text = fill_text(call.input, self._scope())
                return text if tool.freeform else {"input": text}
            arguments = fill(call.arguments or {}, self._scope())
        except MissingPath as missing:
            raise self._nowhere(place, missing) from None
        return compact(arguments) if tool.freeform else arguments

    def _id(self, planned: _Planned, call: int | None) -> str:
        """The same for the same turn of the same conversation, and unlike every other turn's."""
        seed = compact([self.scenario.name, self.conversation.prompt, planned.state.ordinal, call])
        return hashlib.sha256(seed.encode(errors="replace")).hexdigest()[:24]

    def _usage(self, spec: Any, text: str, calls: list[ReplyCall]) -> Usage | None:
        if spec == "missing":
            return None
        arguments = (call.arguments for call in calls)
        written = len(text.encode(errors="replace")) + sum(
            len(shown(value).encode(errors="replace")) for value in arguments
        )
        computed = Usage(math.ceil(self.conversation.size / 4), max(1, math.ceil(written / 4)))
        if isinstance(spec, UsageSpec):
            return replace(computed, **{name: getattr(spec, name) for name in spec.model_fields_set})
        return computed

    # ── control flow ─────────────────────────────────────────────────────────────────────────────

    def _next(self, state: _State) -> tuple[_Planned | None, Failure | None]:
        """The turn that is written next, and the refusal that stands before it, if one does."""
        refused: list[Failure] = []
        try:
            planned = self._walk(state, refused)
        except PlayError:
            if not refused:
                raise
            planned = None
        return planned, refused[0] if refused else None

    def _walk(self, state: _State, refused: list[Failure]) -> _Planned:
        rested = False
        while True:
            if not state.frames:
                state, planned = self._end(state, rested)
                if planned is not None:
                    return planned
                rested = True
                continue
            *below, frame = state.frames
            if frame.at == len(frame.steps):
                state = replace(state, frames=(*below, *self._round(frame)))
                continue
            step, place = frame.steps[frame.at], f"{frame.place}[{frame.at}]"
            frames = (*below, replace(frame, at=frame.at + 1))
            state = replace(state, frames=frames)
            applies = step.condition is None or self._holds(step.condition)
            match step:
                case Branch():
                    way, name = (step.then, "then") if applies else (step.otherwise, "else")
                    state = replace(state, frames=(*frames, _Frame(tuple(way), f"{place}.{name}")))
                case LoopStep() if applies:
                    inner = _Frame(tuple(step.loop.steps), f"{place}.loop.steps", loop=step)
                    state = replace(state, frames=(*frames, inner))
                case ErrorStep() if applies:
                    times = step.error.times
                    if times is None or self.conversation.retries < times:
                        refused.append(Failure(place, step.error))
                case Turn() if applies:
                    state = replace(state, ordinal=state.ordinal + 1)
                    return _Planned(step, place, state)
                case _:
                    pass

    def _round(self, frame: _Frame) -> tuple[_Frame, ...]:
        if frame.loop is None or self._holds(frame.loop.loop.until):
            return ()
        if frame.rounds >= frame.loop.loop.at_most:
            raise PlayError(
                f"{frame.place}: {frame.rounds} rounds, and `until` still does not hold",
                "Mend the condition, or raise the loop's at_most.",
            )
        return (replace(frame, at=0, rounds=frame.rounds + 1),)

    def _end(self, state: _State, rested: bool) -> tuple[_State, _Planned | None]:
        """What comes after the last step: a last word, then `afterwards` for each prompt, or the last word again."""
        name = self.scenario.name
        if state.said is not None and self.scenario.afterwards and not rested:
            return replace(state, frames=(_Frame(tuple(self.scenario.afterwards), f"{name}.afterwards"),)), None
        word = _LAST_WORD if state.said is None else state.last_say
        state = replace(state, ordinal=state.ordinal + 1)
        return state, _Planned(_CLOSING, f"{name}.end", state, word)

    def _holds(self, condition: Condition) -> bool:
        return holds(condition, self._scope())
