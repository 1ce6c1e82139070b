"""The spawn verb: from arguments to an admitted node, and its start in the background."""

from typing import Any, Literal

from palmette.coordination.bounds import BODY_BYTES, DEADLINE_MAX_S, KEY_BYTES, json_size
from palmette.coordination.commands import spawning
from palmette.coordination.commands.calls import digest_of, once
from palmette.coordination.commands.standing import child_named, the_purse
from palmette.coordination.errors import ProfileError, Refused
from palmette.coordination.identity import CallKey
from palmette.coordination.ports import Transaction
from palmette.coordination.profiles import Profile, as_data, effective, from_data, inline, named
from palmette.coordination.supervisor.supervisor import Supervisor
from palmette.coordination.values import Channel, checked_text, micro_dollars
from palmette.coordination.verbs.callers import Caller
from palmette.coordination.verbs.orders import checks_of, paths_told
from palmette.coordination.verbs.roots import task_digest

__all__ = ["Spawns", "asked_amounts"]

Answer = dict[str, Any]


class Spawns:
    """Admits children."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._house = supervisor
        self._store = supervisor.store

    async def spawn(
        self,
        caller: Caller,
        call: CallKey | None,
        *,
        task: str,
        profile: str | dict[str, Any] | None,
        label: str | None,
        key: str | None,
        decide: Literal["rerun", "skip"] | None,
        budget: dict[str, Any],
        checks: list[str | dict[str, Any]],
        base: str | None,
        continuity: Literal["fresh", "resume"],
    ) -> Answer:
        """Admission only: it answers well under two seconds, boot happens after (DESIGN §4).

        Raises:
            Refused: see commands.spawning.admit_child; bad_profile, unknown_profile, unknown_harness, bad_base.
        """
        house = self._house
        checked_text(task, "task")
        if key is not None and json_size(checked_text(key, "key")) > KEY_BYTES:
            raise Refused("too_large", f"the key takes more than {KEY_BYTES} bytes of JSON")
        asked = asked_amounts(budget)
        parent = from_data(caller.node.profile, await self._store.text(caller.node.profile_body))
        child, cut = self._profile(profile, caller, parent)
        harness = child.harness or (house.settings.harness if caller.attached else caller.node.harness)
        probe = await house.harnesses.probe(harness)
        if not probe.available:
            raise Refused("unknown_harness", f"{harness}: {probe.reason}", probe.remedy or None)
        commit, uncommitted = await self._base(caller, base)
        source = caller.tree.model_source
        order = spawning.NodeOrder(
            task=await self._store.keep(task),
            task_digest=task_digest(task, child, commit),
            profile_name=child.name,
            profile=as_data(child),
            profile_body=await self._store.keep(child.prompt, inline=BODY_BYTES),
            role=child.role,
            harness=harness,
            model=child.model or caller.node.model or house.settings.model,
            label=label,
            key=key,
            decide=decide,
            asked=asked,
            defaults=child.limits,
            deadline_s=_deadline(budget.get("deadline_s", child.deadline_s)),
            base=commit,
            checks=checks_of(checks, child.checks, house.checks),
            cut=cut or None,
            continuity=continuity,
            on_crash=child.on_crash,
            isolation=house.settings.isolation,
            access="scripted" if source.startswith("scripted:") else "none",
        )
        digest = digest_of(
            "spawn",
            {
                "task": task,
                "label": label,
                "key": key,
                "budget": budget,
                "base": base,
                "profile": profile,
                "checks": checks,
                "decide": decide,
                "continuity": continuity,
            },
        )
        fresh: list[spawning.Admitted] = []

        async with house.admitting() as slots:
            if house.is_ending(caller.node.id):
                raise Refused("attempt_over", "this node is being ended")

            def effect(tx: Transaction) -> Answer:
                admitted = spawning.admit_child(tx, caller.attempt, caller.node.id, order, slots)
                if admitted.fresh:
                    fresh.append(admitted)
                return _answer(tx, caller, admitted, slots, cut, uncommitted)

            answer = await self._store.transact(
                lambda tx: once(tx, call, "spawn", digest, caller.attempt, lambda: effect(tx))
            )
            for admitted in fresh:
                if admitted.node.deadline_at is not None:
                    house.deadlines.set(admitted.node.id, admitted.node.deadline_at)
                house.launch(admitted.node.id)
        return answer

    def _profile(
        self, profile: str | dict[str, Any] | None, caller: Caller, parent: Profile
    ) -> tuple[Profile, list[str]]:
        try:
            if isinstance(profile, dict):
                return effective(parent, inline(profile))
            return effective(parent, named(profile or "worker", caller.tree.repository))
        except ProfileError as error:
            raise Refused("bad_profile", error.message, problems=error.problems) from None

    async def _base(self, caller: Caller, base: str | None) -> tuple[str | None, list[str]]:
        """Where a child starts: its parent's base, a sibling's result by label, `working-tree`, or a ref."""
        repository = caller.tree.repository
        if repository is None:
            if base is not None:
                raise Refused("bad_base", "this tree has no repository")
            return None, []
        if base is None and caller.node.base is not None and not caller.attached:
            return caller.node.base, []
        if base == "working-tree":
            # W3: with what is not committed; a node's own is taken inside its isolation, never by us.
            if caller.attached:
                return await self._house.workspaces.working_tree(caller.tree.id, caller.node.id, repository), []
            return (await self._house.workspaces.collect(caller.tree.id, caller.node.id)).commit, []
        if base is not None:
            own = await self._store.read(lambda reading: _result_of(reading, caller.node.id, base))
            if own is not None:
                return own, []
        return await self._house.workspaces.resolve(repository, base)


def asked_amounts(budget: dict[str, Any]) -> dict[Channel, int]:
    """The named channels, in whole units.

    Raises:
        Refused: bad_budget.
    """
    asked: dict[Channel, int] = {}
    if budget.get("usd") is not None:
        asked["usd"] = micro_dollars(budget["usd"])
    for channel in ("tokens", "turns", "seconds"):
        if budget.get(channel) is not None:
            asked[channel] = _whole(channel, budget[channel])
    return asked


def _deadline(value: Any) -> int | None:
    if value is None:
        return None
    seconds = _whole("deadline_s", value)
    if seconds > DEADLINE_MAX_S:
        raise Refused("bad_budget", f"deadline_s is {seconds}; at most a year ({DEADLINE_MAX_S}) is taken")
    return seconds


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**53:
        raise Refused("bad_budget", f"{name} is {value!r}; it must be a whole number, not negative")
    return value


def _result_of(reading: Any, parent: str, name: str) -> str | None:
    try:
        return child_named(reading, parent, name).commit
    except Refused:
        return None


def _answer(
    tx: Transaction,
    caller: Caller,
    admitted: spawning.Admitted,
    slots: spawning.Slots,
    cut: list[str],
    uncommitted: list[str],
) -> Answer:
    node = admitted.node
    answer: Answer = {"ok": True, "node": node.id, "label": node.label, "attempt": max(node.attempts, 1)}
    if not admitted.fresh:
        answer |= {"resumed": node.settlement or "running", "cause": node.cause}
    answer["granted"] = the_purse(tx, node.id).granted.shown()
    if cut:
        answer["cut"] = cut
    if uncommitted:
        answer["not_in_base"] = paths_told(uncommitted)
    answer["free_slots"] = slots.free - (1 if admitted.fresh else 0)
    answer["budget"] = the_purse(tx, caller.node.id).free.shown()
    return answer
