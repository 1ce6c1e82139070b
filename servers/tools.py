"""The ten verbs of DESIGN §4 as MCP tools: their arguments, and the words a model chooses them by."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Literal

import anyio
from mcp.server.context import ServerRequestContext
from mcp.server.mcpserver import Context
from mcp_types import CallToolResult, ToolAnnotations
from pydantic import Field

from palmette.coordination.errors import PalmetteError, Refused
from palmette.coordination.identity import CallKey, Visitor
from palmette.servers.arguments import (
    FROM_TEXT,
    Budget,
    Kind,
    NameOrInline,
    Reference,
    Seconds,
    Text,
    answer_problems,
    ask_problems,
)
from palmette.servers.callers import call_key
from palmette.servers.lines import seconds_waited
from palmette.servers.replies import reply
from palmette.servers.strict import StrictTool, strict_tool
from palmette.servers.verb_service import Progress, VerbService

__all__ = ["Identify", "Tools"]

logger = logging.getLogger(__name__)

Identify = Callable[[ServerRequestContext[Any, Any]], Visitor]
"""Tells who makes a request (S1)."""


class Tools:
    """The verbs as functions whose parameters are the tools' arguments."""

    def __init__(self, verbs: VerbService, identify: Identify) -> None:
        self._verbs = verbs
        self._identify = identify

    def all(self) -> list[StrictTool]:
        """Every tool, in the order of DESIGN §4, which never changes (clients cache prompts on it)."""
        changing = ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=False)
        ending = ToolAnnotations(read_only_hint=False, destructive_hint=True, open_world_hint=False)
        # readOnlyHint makes harnesses run waits beside other calls (the stdio note, section 4).
        reading = ToolAnnotations(read_only_hint=True, open_world_hint=False)
        return [
            strict_tool(self.spawn, name="spawn", description=_SPAWN, annotations=changing),
            strict_tool(self.await_event, name="await_event", description=_AWAIT_EVENT, annotations=reading),
            strict_tool(self.steer, name="steer", description=_STEER, annotations=changing),
            strict_tool(self.stop, name="stop", description=_STOP, annotations=ending),
            strict_tool(
                self.ask_parent, name="ask_parent", description=_ASK_PARENT, annotations=changing, cross=ask_problems
            ),
            strict_tool(self.answer, name="answer", description=_ANSWER, annotations=changing, cross=answer_problems),
            strict_tool(self.submit, name="submit", description=_SUBMIT, annotations=changing),
            strict_tool(self.select, name="select", description=_SELECT, annotations=changing),
            strict_tool(self.observe, name="observe", description=_OBSERVE, annotations=reading),
            strict_tool(self.notify, name="notify", description=_NOTIFY, annotations=changing),
        ]

    async def spawn(
        self,
        ctx: Context[Any, Any],
        task: Annotated[Text, Field(description="What the child is to do, with all it needs: it sees nothing else.")],
        profile: Annotated[
            NameOrInline | None,
            Field(
                description="A profile's name, or a whole one: {prompt, tools, mcp, skills, model, harness, limits, "
                "sandbox}. It can only narrow your own; what was cut is in the answer."
            ),
        ] = None,
        label: Annotated[
            Reference | None,
            Field(description="Its short name: [a-z0-9][a-z0-9-]{0,39}, never used before among your children."),
        ] = None,
        key: Annotated[
            Reference | None,
            Field(description="Makes the spawn happen once: the same key and task give the same child again."),
        ] = None,
        decide: Annotated[
            Literal["rerun", "skip"] | None, Field(description="Only after `in_doubt`: what to do with that key.")
        ] = None,
        budget: Annotated[
            Budget | None,
            FROM_TEXT,
            Field(description="Its grant, out of yours. A channel left out gets the default share."),
        ] = None,
        checks: Annotated[
            list[NameOrInline] | None,
            FROM_TEXT,
            Field(max_length=50, description="What must pass before its submit is accepted: names or whole checks."),
        ] = None,
        base: Annotated[
            Reference | None,
            Field(description='What its copy starts from: a commit, branch or tag, or "working-tree". Default: yours.'),
        ] = None,
        continuity: Annotated[
            Literal["fresh", "resume"],
            Field(description="resume: go on in the session of your settled child of this label."),
        ] = "fresh",
    ) -> CallToolResult:
        granted = None if budget is None else budget.model_dump(exclude_none=True)
        return await self._answer(
            ctx,
            lambda visitor, call: self._verbs.spawn(
                visitor,
                call,
                task=task,
                profile=profile,
                label=label,
                key=key,
                decide=decide,
                budget=granted,
                checks=checks,
                base=base,
                continuity=continuity,
            ),
        )

    async def await_event(
        self,
        ctx: Context[Any, Any],
        kinds: Annotated[
            list[Kind] | None, FROM_TEXT, Field(description="Only these kinds. Messages to you come anyway.")
        ] = None,
        cursor: Annotated[
            Reference | None,
            Field(description="The cursor of the last answer: acknowledges its events; they do not come again."),
        ] = None,
        wait_s: Annotated[
            Seconds | None, Field(description="How long to wait for the first event, in seconds, at most 240.")
        ] = None,
        nodes: Annotated[
            list[Reference] | None,
            FROM_TEXT,
            Field(max_length=100, description="Only events of these children (ids or labels)."),
        ] = None,
    ) -> CallToolResult:
        return await self._answer(
            ctx,
            lambda visitor, call: self._verbs.await_event(
                visitor,
                call,
                kinds=kinds or (),
                cursor=cursor,
                wait_s=wait_s,
                nodes=nodes or (),
                since=seconds_waited(ctx),
                progress=_heartbeat(ctx),
            ),
        )

    async def steer(
        self,
        ctx: Context[Any, Any],
        node: Annotated[Reference, Field(description="The child: its id or label.")],
        message: Annotated[Text, Field(description="What to tell it.")],
        interrupt: Annotated[bool, Field(description="Break off what it is doing; do not wait for a gap.")] = False,
        supersedes: Annotated[
            int | None,
            Field(ge=1, description="The seq of the event that this overrides: it is recorded as a correction."),
        ] = None,
    ) -> CallToolResult:
        return await self._answer(
            ctx,
            lambda visitor, call: self._verbs.steer(
                visitor, call, node=node, message=message, interrupt=interrupt, supersedes=supersedes
            ),
        )

    async def stop(
        self,
        ctx: Context[Any, Any],
        node: Annotated[Reference, Field(description="The child: its id or label. All below it ends too.")],
        reason: Annotated[Text, Field(description="Why, for the record.")],
        grace_s: Annotated[
            float | None, Field(ge=0, le=600, allow_inf_nan=False, description="Seconds it gets to end by itself.")
        ] = None,
    ) -> CallToolResult:
        return await self._answer(
            ctx, lambda visitor, call: self._verbs.stop(visitor, call, node=node, reason=reason, grace_s=grace_s)
        )

    async def ask_parent(
        self,
        ctx: Context[Any, Any],
        question: Annotated[Text | None, Field(description="The question, complete in itself.")] = None,
        why: Annotated[Text | None, Field(description="Why you cannot decide it, and what depends on it.")] = None,
        urgency: Annotated[
            Literal["blocks_run", "blocks_step", "can_continue"] | None,
            Field(description="blocks_run: you can do nothing without it. can_continue: you go on meanwhile."),
        ] = None,
        options: Annotated[
            list[Text] | None,
            FROM_TEXT,
            Field(max_length=20, description="The answers you see, if there are some to choose from."),
        ] = None,
        kind: Annotated[
            Literal["decision", "permission", "plan"] | None, Field(description="What is asked for; default decision.")
        ] = None,
        wait_s: Annotated[
            Seconds | None, Field(description="How long to wait for the answer, in seconds, at most 240.")
        ] = None,
        question_id: Annotated[
            Reference | None, Field(description="Instead of all the above: wait again for this earlier question.")
        ] = None,
    ) -> CallToolResult:
        return await self._answer(
            ctx,
            lambda visitor, call: self._verbs.ask_parent(
                visitor,
                call,
                question=question,
                why=why or "",
                urgency=urgency or "blocks_step",
                options=options,
                kind=kind or "decision",
                wait_s=wait_s,
                question_id=question_id,
                since=seconds_waited(ctx),
                progress=_heartbeat(ctx),
            ),
        )

    async def answer(
        self,
        ctx: Context[Any, Any],
        question: Annotated[Reference, Field(description="The question's id, from its event.")],
        text: Annotated[Text | None, Field(description="Your decision.")] = None,
        escalate: Annotated[
            Text | None, Field(description="Instead: why you cannot decide it. It goes one level up.")
        ] = None,
    ) -> CallToolResult:
        return await self._answer(
            ctx,
            lambda visitor, call: self._verbs.answer(visitor, call, question=question, text=text, escalate=escalate),
        )

    async def submit(
        self,
        ctx: Context[Any, Any],
        result: Annotated[Text, Field(description="What you did, how you know that it holds, what is left.")],
        artifacts: Annotated[
            list[Reference] | None,
            FROM_TEXT,
            Field(max_length=50, description="Paths in your workspace worth looking at."),
        ] = None,
        incomplete: Annotated[
            bool, Field(description="You could not finish. It ends you, and is never counted as valid.")
        ] = False,
    ) -> CallToolResult:
        return await self._answer(
            ctx,
            lambda visitor, call: self._verbs.submit(
                visitor, call, result=result, artifacts=artifacts, incomplete=incomplete
            ),
        )

    async def select(
        self,
        ctx: Context[Any, Any],
        nodes: Annotated[
            list[Reference],
            FROM_TEXT,
            Field(min_length=1, max_length=100, description="Settled children: ids or labels."),
        ],
        objectives: Annotated[
            list[Reference] | None,
            FROM_TEXT,
            Field(max_length=20, description="Objectives of their verdicts, the most important first."),
        ] = None,
        allow_unchecked: Annotated[bool, Field(description="Also take results that no check has judged.")] = False,
    ) -> CallToolResult:
        return await self._answer(
            ctx,
            lambda visitor, call: self._verbs.select(
                visitor, call, nodes=nodes, objectives=objectives or (), allow_unchecked=allow_unchecked
            ),
        )

    async def observe(
        self,
        ctx: Context[Any, Any],
        node: Annotated[Reference | None, Field(description="You (default) or a node below you: id or label.")] = None,
        after: Annotated[
            int | None, Field(ge=0, description="Page the journal instead: the events after this seq. Begin with 0.")
        ] = None,
        limit: Annotated[int, Field(ge=1, le=500, description="The most events of a page.")] = 50,
    ) -> CallToolResult:
        return await self._answer(
            ctx, lambda visitor, _: self._verbs.observe(visitor, node=node, after=after, limit=limit)
        )

    async def notify(
        self,
        ctx: Context[Any, Any],
        summary: Annotated[Text, Field(description="What your parent should know, in a sentence or two.")],
        salience: Annotated[
            int, Field(ge=0, le=3, description="0 for the record, 1 normal, 2 look at it, 3 look at it now.")
        ] = 1,
        refs: Annotated[
            list[Reference] | None,
            FROM_TEXT,
            Field(max_length=20, description="Paths, commits or ids that it is about."),
        ] = None,
    ) -> CallToolResult:
        return await self._answer(
            ctx,
            lambda visitor, call: self._verbs.notify(visitor, call, summary=summary, salience=salience, refs=refs),
        )

    async def _answer(
        self, ctx: Context[Any, Any], verb: Callable[[Visitor, CallKey | None], Awaitable[Mapping[str, Any]]]
    ) -> CallToolResult:
        """The verb's answer or refusal as a result (S2); a fault of ours is an error, told without its innards."""
        request = ctx.request_context
        try:
            visitor = self._identify(request)
            answer = await verb(visitor, call_key(request, visitor))
        except Refused as refused:
            return reply(refused.as_result())
        except PalmetteError as error:
            failed = {"ok": False, "error": error.code, "reason": error.message, "hint": error.hint}
            return reply(failed, wrong=True)
        except Exception:
            logger.exception("a verb failed")
            hint = "call again; if it stays so, `palmette doctor` and the supervisor's log tell more"
            return reply({"ok": False, "error": "internal", "reason": "palmette failed", "hint": hint}, wrong=True)
        return reply(answer if "ok" in answer else {"ok": True, **answer})


def _heartbeat(ctx: Context[Any, Any]) -> Progress:
    """Sends a waiting call's line to a client that asked for progress, and nowhere if it did not.

    Progress is counted in seconds since the call was first sent: it must grow, also over a restart of ours.
    """
    began = anyio.current_time() - seconds_waited(ctx)

    async def beat(line: str) -> None:
        await ctx.report_progress(round(anyio.current_time() - began, 1), message=line)

    return beat


_SPAWN = """\
Starts a palmette node as your child, not the built-in Agent or spawn_agent: an agent in its own sandbox, with its own \
copy of the repository and a budget out of yours.
It answers as soon as the child is admitted; the child boots after. Then wait with await_event."""

_AWAIT_EVENT = """\
Waits for what your palmette nodes have to tell: not the built-in wait_agent or TaskOutput. One call brings several \
events: settled children, questions, notices, messages to you.
Pass the last cursor each time; without it the same events come again, marked redelivered. pending: nothing yet, call \
again. idle: nothing queued and nothing live. superseded: a newer call of yours took over."""

_STEER = """\
Says something to a palmette node that you spawned: not the built-in SendMessage or send_input.
outcome `delivered` means that it is in the child's conversation; `queued` that it comes at the next gap."""

_STOP = """\
Ends a palmette node that you spawned, with all below it: not the built-in TaskStop or close_agent.
stopped is true only when the operating system shows nothing of it any more; what it did not spend comes back to you."""

_ASK_PARENT = """\
Asks the palmette node above you (or the person above the root): not the built-in AskUserQuestion or \
request_user_input.
Waits for the answer; if it takes longer you learn where the question stands, and the answer comes as a message."""

_ANSWER = """\
Decides a question of one of your palmette nodes, or passes it one level up with escalate. Only its holder can."""

_SUBMIT = """\
Hands your result, as a palmette node, to your parent and ends your work. Your work tree is taken as it stands.
If checks fail it is rejected with what failed: mend that and submit again. After an accepted submit end your turn."""

_SELECT = """\
Chooses the best of your settled palmette nodes by their verdicts. Only valid results win; nothing valid, no winner."""

_OBSERVE = """\
Shows a palmette node: yourself or one below you. State, idle time, last steps, unread messages, spend, diff size; \
with after, the journal page by page."""

_NOTIFY = """\
Tells your parent something, as a palmette node, without waiting and without a question."""
