"""What a child can pile up above itself is bounded."""

import anyio
import pytest

from palmette.coordination.commands.questions import MAX_OPEN
from palmette.coordination.commands.queue import MAX_NOTICES
from palmette.coordination.errors import Refused
from tests.support.house import House

pytestmark = pytest.mark.anyio


async def test_a_child_has_only_so_many_questions_open_and_notices_unread(house: House) -> None:
    with anyio.fail_after(20):
        async with house.running():
            root = await house.run()
            child = await house.spawn(root, "loud")
            visitor = house.as_node(child)
            for _ in range(MAX_OPEN):
                await house.verbs.ask_parent(visitor, None, question="Which?", wait_s=0)
            for _ in range(MAX_NOTICES):
                await house.verbs.notify(visitor, None, summary="look")
            for call in (
                house.verbs.ask_parent(visitor, None, question="Which?", wait_s=0),
                house.verbs.notify(visitor, None, summary="look"),
            ):
                with pytest.raises(Refused) as refused:
                    await call
                assert refused.value.code == "too_many"
            got = await house.verbs.await_event(house.as_node(root), None)
            await house.verbs.answer(house.as_node(root), None, question=got["events"][0]["question"], text="This.")
            assert (await house.verbs.ask_parent(visitor, None, question="And?", wait_s=0))["state"] == "with_parent"
