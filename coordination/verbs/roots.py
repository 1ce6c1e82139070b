"""How roots begin: attached ones at their first verb that writes, driven ones by a person's order (DESIGN §2)."""

import hashlib
from dataclasses import dataclass, field
from typing import Any

from palmette.coordination.bounds import BODY_BYTES, PLACE_BYTES, json_size
from palmette.coordination.codec import dumps
from palmette.coordination.commands import spawning
from palmette.coordination.errors import Refused
from palmette.coordination.identity import Visitor
from palmette.coordination.ports import Transaction
from palmette.coordination.profiles import Profile, as_data, named
from palmette.coordination.supervisor.supervisor import Supervisor
from palmette.coordination.values import CHANNELS, Amounts, Channel, checked_text
from palmette.coordination.verbs.callers import Caller, find_caller
from palmette.coordination.verbs.orders import checks_of, paths_told

__all__ = ["Roots", "RunOrder", "task_digest"]


@dataclass(frozen=True, slots=True)
class RunOrder:
    """A person's order to run a task as a driven root.

    Attributes:
        pool: asked amounts per channel; a channel that is not named gets the configured default (B15).
        model_source: base URL, or `scripted:FILE`.
        checks: deliverable checks of the root, as data.
    """

    task: str
    repository: str | None = None
    base: str | None = None
    profile: str = "driver"
    harness: str = ""
    model: str = ""
    model_source: str = ""
    label: str = "root"
    pool: dict[Channel, int] = field(default_factory=dict[Channel, int])
    deadline_s: int | None = None
    max_depth: int | None = None
    evaluation: bool = False
    person: bool = True
    checks: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


class Roots:
    """Opens trees."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._house = supervisor

    async def begin(self, visitor: Visitor) -> Caller | None:
        """Open a tree for an attached root, at its first verb that writes; None for a caller that is none."""
        if visitor.token is not None:
            return None
        settings = self._house.settings
        repository, base = await self._place(visitor.directory)
        profile = named("driver", None)
        order = spawning.TreeOrder(
            tree=self._house.ids.tree(),
            mode="attached",
            root=spawning.NodeOrder(
                task=f"(run by a person in {visitor.harness})",
                task_digest="",
                profile_name=profile.name,
                profile=as_data(profile),
                profile_body="",
                role="driver",
                harness=visitor.harness[:60],
                model="",
                label="root",
                base=base,
                isolation="none",
                enforcement="none",
                access="none",
                held=False,
            ),
            pool=settings.pool,
            max_depth=settings.max_depth,
            person=True,
            root_key=visitor.root_key,
            repository=repository,
            model_source=settings.model_source,
        )

        def command(tx: Transaction) -> Caller:
            caller = find_caller(tx, visitor)
            if caller is None:
                root = spawning.open_tree(tx, order)
                spawning.begin_attempt(tx, root.id, "", visitor.session)
                caller = find_caller(tx, visitor)
            assert caller is not None  # noqa: S101 -- its tree was opened in this very transaction
            return caller

        return await self._house.store.transact(command)

    async def run(self, order: RunOrder) -> dict[str, Any]:
        """Open a tree with a driven root and start it.

        Raises:
            Refused: unknown_harness, unknown_profile, not_a_repository, repository_empty, bad_base, bad_model,
                max_live.
        """
        house, settings = self._house, self._house.settings
        harness = order.harness or settings.harness
        probe = await house.harnesses.probe(harness)
        if not probe.available:
            raise Refused("unknown_harness", f"{harness}: {probe.reason}", probe.remedy or None)
        source = order.model_source or settings.model_source
        await house.models.endpoint(source)
        base: str | None = None
        uncommitted: list[str] = []
        if json_size(source) > PLACE_BYTES:
            raise Refused("bad_model", f"it takes more than {PLACE_BYTES} bytes of JSON to say where models are")
        if order.repository is not None:
            if json_size(order.repository) > PLACE_BYTES:
                raise Refused("not_a_repository", f"its path takes more than {PLACE_BYTES} bytes of JSON")
            base, uncommitted = await house.workspaces.resolve(order.repository, order.base)
        profile = named(order.profile, order.repository)
        checks = checks_of(order.checks, profile.checks, house.checks)
        for channel, amount in order.pool.items():
            if not 0 <= amount < 2**53:
                raise Refused("bad_budget", f"{channel} is {amount}; it must not be negative, nor absurd")
        pool = Amounts.of({c: order.pool.get(c, settings.pool.get(c)) for c in CHANNELS})
        task = checked_text(order.task, "task")
        if not task.strip():
            raise Refused("bad_text", "the task is empty")
        async with house.admitting() as slots:
            if slots.free == 0:
                raise Refused("max_live", f"{slots.live} of {slots.limit} slots are taken", free_slots=0)
            kept = await house.store.keep(task)
            tree = spawning.TreeOrder(
                tree=house.ids.tree(),
                mode="driven",
                root=spawning.NodeOrder(
                    task=kept,
                    task_digest=task_digest(task, profile, base),
                    profile_name=profile.name,
                    profile=as_data(profile),
                    profile_body=await house.store.keep(profile.prompt, inline=BODY_BYTES),
                    role=profile.role,
                    harness=harness,
                    model=order.model or profile.model or settings.model,
                    label=order.label,
                    base=base,
                    checks=checks,
                    deadline_s=order.deadline_s,
                    on_crash=profile.on_crash,
                    isolation=settings.isolation,
                    access="scripted" if source.startswith("scripted:") else "none",
                ),
                pool=pool,
                max_depth=min(order.max_depth or settings.max_depth, settings.max_depth),
                person=order.person,
                repository=order.repository,
                evaluation=order.evaluation,
                model_source=source,
            )
            root = await house.store.transact(lambda tx: spawning.open_tree(tx, tree))
            if root.deadline_at is not None:
                house.deadlines.set(root.id, root.deadline_at)
            house.launch(root.id)
        answer: dict[str, Any] = {"tree": root.tree, "node": root.id, "budget": pool.shown()}
        return answer | ({"uncommitted": paths_told(uncommitted)} if uncommitted else {})

    async def _place(self, directory: str | None) -> tuple[str | None, str | None]:
        """The repository and commit an attached root works in, if it is in one."""
        if directory is None or json_size(directory) > PLACE_BYTES:
            return None, None
        try:
            base, _ = await self._house.workspaces.resolve(directory, None)
        except Refused:
            return None, None
        return directory, base


def task_digest(task: str, profile: Profile, base: str | None) -> str:
    """What a key stands for (E6): task, profile and base."""
    return hashlib.sha256(dumps([task, as_data(profile), profile.prompt, base]).encode()).hexdigest()
