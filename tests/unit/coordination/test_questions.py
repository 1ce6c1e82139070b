"""Questions and messages, command by command."""

import pytest

from palmette.coordination.commands import messages, questions, queue, settling
from palmette.coordination.commands.questions import Asking
from palmette.coordination.commands.settling import Ending
from palmette.coordination.errors import Refused
from palmette.coordination.records import Attempt, Message, Question
from palmette.coordination.values import Amounts
from tests.support.trees import World

pytestmark = pytest.mark.anyio

POOL = Amounts(1_000_000, None, 1_000, None)
ASKING = Asking("Keep it?", "It is public.", "blocks_step")


async def family(world: World, *, person: bool = True, mode: str = "driven") -> tuple[str, str, str]:
    """A root, its child and its grandchild, each with a live attempt."""
    root = await world.root(POOL, person=person, mode=mode)
    child = await world.spawn(root, role="driver")
    grandchild = await world.spawn(child)
    for node in (root, child, grandchild):
        await world.begin(node)
    return root, child, grandchild


async def ask(world: World, node: str, asking: Asking = ASKING) -> Question:
    return await world.store.transact(lambda tx: questions.ask(tx, f"{node}#1", asking))


async def stands(world: World, question: Question) -> Question:
    found = await world.store.read(lambda reading: reading.get(Question, question.id))
    assert found is not None
    return found


@pytest.mark.rule("Q1")
async def test_a_question_goes_up_one_level_and_has_one_holder(world: World) -> None:
    root, child, grandchild = await family(world)
    asked = await ask(world, grandchild)
    assert asked.holder == child
    for stranger in (root, grandchild, "person"):
        with pytest.raises(Refused) as refused:
            await world.store.transact(
                lambda tx, who=stranger: questions.answer(tx, asked.id, who, "yes", actor=f"{who}#1")
            )
        assert refused.value.code == "not_your_question"
    raised = await world.store.transact(
        lambda tx: questions.escalate(tx, asked.id, child, "not mine", actor=f"{child}#1")
    )
    assert raised.holder == root
    raised = await world.store.transact(
        lambda tx: questions.escalate(tx, asked.id, root, "nor mine", actor=f"{root}#1")
    )
    assert raised.holder == "person"
    with pytest.raises(Refused):
        await world.store.transact(lambda tx: questions.escalate(tx, asked.id, "person", "?", actor="person"))


@pytest.mark.rule("Q1")
async def test_a_person_may_answer_for_an_attached_root_but_not_for_a_driven_one(world: World) -> None:
    _, child, _ = await family(world, mode="attached")
    asked = await ask(world, child)
    answered = await world.store.transact(lambda tx: questions.answer(tx, asked.id, "person", "yes", actor="person"))
    assert answered.state == "answered"


@pytest.mark.rule("Q2")
async def test_a_question_counts_as_answered_when_the_answer_was_delivered(world: World) -> None:
    root, child, _ = await family(world)
    asked = await ask(world, child)
    decided = await world.store.transact(lambda tx: questions.answer(tx, asked.id, root, "yes", actor=f"{root}#1"))
    assert decided.state == "answered"
    assert decided.message is not None
    message = decided.message
    await world.store.transact(lambda tx: messages.send(tx, message, f"{child}#1", "call"))
    assert (await stands(world, asked)).state == "answered"
    await world.store.transact(lambda tx: messages.conclude(tx, message, "delivered"))
    assert (await stands(world, asked)).state == "delivered"


@pytest.mark.rule("Q3")
async def test_with_no_parent_and_no_person_the_asker_is_told_that_it_decides(world: World) -> None:
    root = await world.root(POOL, person=False)
    await world.begin(root)
    asked = await ask(world, root)
    assert questions.standing_of(asked) == "no_parent"
    assert await world.store.read(lambda reading: reading.find(Question, state="open")) == []


@pytest.mark.rule("Q7")
async def test_undecided_blocking_questions_of_children_are_found_and_others_are_not(world: World) -> None:
    root, child, _ = await family(world)
    blocking = await ask(world, child)
    await ask(world, child, Asking("By the way?", "", "can_continue"))
    found = await world.store.read(lambda reading: questions.blocking_below(reading, root))
    assert [question.id for question in found] == [blocking.id]
    await world.store.transact(lambda tx: questions.answer(tx, blocking.id, root, "yes", actor=f"{root}#1"))
    assert await world.store.read(lambda reading: questions.blocking_below(reading, root)) == []


@pytest.mark.rule("Q8")
async def test_a_persons_answer_is_marked_and_evaluation_refuses_it(world: World) -> None:
    root, child, _ = await family(world)
    asked = await ask(world, root)
    answered = await world.store.transact(lambda tx: questions.answer(tx, asked.id, "person", "yes", actor="person"))
    assert answered.oracle_injection
    event = next(e for e in await world.store.events() if e.kind == "question_answered")
    assert (event.actor, event.origin, event.data.oracle_injection) == ("person", "person", True)
    other = await ask(world, child)
    decided = await world.store.transact(lambda tx: questions.answer(tx, other.id, root, "no", actor=f"{root}#1"))
    assert not decided.oracle_injection
    closed = await world.root(POOL, person=False)
    below = await world.spawn(closed)
    await world.begin(below)
    asked = await ask(world, below)
    with pytest.raises(Refused) as refused:
        await world.store.transact(lambda tx: questions.answer(tx, asked.id, "person", "yes", actor="person"))
    assert refused.value.code == "person_unavailable"


async def test_a_decided_question_is_not_decided_again(world: World) -> None:
    root, child, _ = await family(world)
    asked = await ask(world, child)
    await world.store.transact(lambda tx: questions.answer(tx, asked.id, root, "yes", actor=f"{root}#1"))
    with pytest.raises(Refused) as refused:
        await world.store.transact(lambda tx: questions.answer(tx, asked.id, root, "no", actor=f"{root}#1"))
    assert refused.value.code == "question_closed"


async def test_a_settled_askers_questions_are_withdrawn_and_leave_the_holders_queue(world: World) -> None:
    root, child, _ = await family(world)
    asked = await ask(world, child)
    await world.store.transact(lambda tx: settling.settle(tx, child, Ending("stopped")))
    assert (await stands(world, asked)).state == "withdrawn"
    waiting = await world.store.read(lambda reading: queue.waiting(reading, root))
    assert [delivery.type for delivery in waiting] == ["settled"]


@pytest.mark.rule("E2")
async def test_the_queue_gives_blocking_questions_first_and_ties_by_seq(world: World) -> None:
    root = await world.root(POOL)
    await world.begin(root)
    children = [await world.spawn(root) for _ in range(4)]
    for child in children:
        await world.begin(child)
    await world.store.transact(lambda tx: settling.settle(tx, children[0], Ending("stopped")))
    relaxed = await ask(world, children[1], Asking("a", "", "can_continue"))
    step = await ask(world, children[2], Asking("b", "", "blocks_step"))
    run = await ask(world, children[3], Asking("c", "", "blocks_run"))
    taken = await world.store.transact(lambda tx: queue.take(tx, f"{root}#1"))
    assert taken is not None
    assert [d.source for d in taken.deliveries] == [run.id, step.id, children[0], relaxed.id]


@pytest.mark.rule("S4", "E3")
async def test_what_is_not_acknowledged_comes_again_and_what_is_does_not(world: World) -> None:
    root = await world.root(POOL)
    attempt = await world.begin(root)
    first, second = await world.spawn(root), await world.spawn(root)
    await world.store.transact(lambda tx: settling.settle(tx, first, Ending("stopped")))
    one = await world.store.transact(lambda tx: queue.take(tx, attempt))
    again = await world.store.transact(lambda tx: queue.take(tx, attempt))
    assert one is not None
    assert again is not None
    assert [d.seq for d in again.deliveries] == [d.seq for d in one.deliveries]
    assert (one.again, again.again) == (frozenset(), frozenset({one.deliveries[0].seq}))
    await world.store.transact(lambda tx: settling.settle(tx, second, Ending("stopped")))
    await world.store.transact(lambda tx: queue.acknowledge(tx, attempt, one.cursor))
    rest = await world.store.transact(lambda tx: queue.take(tx, attempt))
    assert rest is not None
    assert [d.source for d in rest.deliveries] == [second]
    await world.store.transact(lambda tx: queue.acknowledge(tx, attempt, one.cursor))
    await world.store.transact(lambda tx: queue.acknowledge(tx, attempt, rest.cursor))
    assert await world.store.transact(lambda tx: queue.take(tx, attempt)) is None


@pytest.mark.rule("S4")
@pytest.mark.parametrize("cursor", ["", "c", "c99999", "x1", "c-1", "c1; drop"])
async def test_a_cursor_that_is_none_is_refused(world: World, cursor: str) -> None:
    root = await world.root(POOL)
    attempt = await world.begin(root)
    with pytest.raises(Refused) as refused:
        await world.store.transact(lambda tx: queue.acknowledge(tx, attempt, cursor))
    assert refused.value.code == "unknown_cursor"


async def test_another_nodes_cursor_acknowledges_nothing(world: World) -> None:
    root, child, grandchild = await family(world)
    await world.store.transact(lambda tx: settling.settle(tx, grandchild, Ending("stopped")))
    taken = await world.store.transact(lambda tx: queue.take(tx, f"{child}#1"))
    assert taken is not None
    with pytest.raises(Refused):
        await world.store.transact(lambda tx: queue.acknowledge(tx, f"{root}#1", taken.cursor))


@pytest.mark.rule("E4")
async def test_a_message_sent_without_an_outcome_is_unknown_after_a_crash_and_not_replayed(world: World) -> None:
    root, child, _ = await family(world)
    said = await world.store.transact(lambda tx: messages.intend(tx, child, "faster", actor=f"{root}#1"))
    kept = await world.store.transact(lambda tx: messages.intend(tx, child, "and well", actor=f"{root}#1"))
    await world.store.transact(lambda tx: messages.send(tx, said, f"{child}#1", "harness"))
    await world.store.transact(lambda tx: messages.move_along(tx, child, f"{child}#2"))
    found = await world.store.read(lambda reading: {m.id: m for m in reading.find(Message, node=child, state="intent")})
    assert list(found) == [kept]
    assert found[kept].attempt == f"{child}#2"
    gone = await world.store.read(lambda reading: reading.get(Message, said))
    assert gone is not None
    assert gone.state == "unknown"


async def test_only_one_road_delivers_a_message(world: World) -> None:
    root, child, _ = await family(world)
    said = await world.store.transact(lambda tx: messages.intend(tx, child, "faster", actor=f"{root}#1"))
    taken = await world.store.transact(lambda tx: queue.take(tx, f"{child}#1"))
    assert taken is not None
    assert [d.type for d in taken.deliveries] == ["message"]
    assert await world.store.transact(lambda tx: messages.send(tx, said, f"{child}#1", "harness")) is None
    await world.store.transact(lambda tx: queue.acknowledge(tx, f"{child}#1", taken.cursor))
    found = await world.store.read(lambda reading: reading.get(Message, said))
    assert found is not None
    assert found.state == "delivered"


async def test_provenance_goes_down_with_a_message_and_up_with_what_its_reader_emits(world: World) -> None:
    root, child, _ = await family(world)
    asked = await ask(world, root)
    await world.store.transact(lambda tx: questions.answer(tx, asked.id, "person", "yes", actor="person"))
    decided = await stands(world, asked)
    await world.store.transact(lambda tx: messages.send(tx, decided.message or "", f"{root}#1", "call"))
    await world.store.transact(lambda tx: messages.intend(tx, child, "do so", actor=f"{root}#1"))
    event = (await world.store.events())[-1]
    assert {"person", "model"} <= event.label
    attempt = await world.store.read(lambda reading: reading.get(Attempt, f"{root}#1"))
    assert attempt is not None
    assert "person" in attempt.label
