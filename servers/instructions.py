"""The node contract: what every agent is told that is connected to the coordination server (DESIGN §4)."""

__all__ = ["INSTRUCTIONS"]

INSTRUCTIONS = """\
Palmette runs one tree of agents. You are a node of it: you may hold children, and you may have a parent. Your tools \
here (spawn, await_event, steer, stop, ask_parent, answer, submit, select, observe, notify) act on palmette nodes; \
they are not your harness's own sub-agents, and which of them you hold depends on your role.

As a driver
- spawn admits a child and answers at once. Give it one task with all it needs to know: it does not see your \
conversation. It works in its own copy of the repository, taken at `base`.
- Then call await_event and keep calling it, each time with the cursor of the answer before: that acknowledges it. \
Without the cursor the same events come again. `pending` means call again, `idle` means nothing is left to wait for.
- A child's question is yours: answer it, or pass it up with answer(escalate=…). Do not leave it.
- A settled child says how it ended (`settlement`, `cause`) and whether trying again makes sense (`retry`). Its commit \
lies at the `bundle` it names; merge it with git. `grade: never` means that the child is not to blame.
- Your budget is one pool: a child's grant comes out of yours, and what it leaves comes back when it settles.

As a child
- ask_parent when a decision is not yours to take; it waits for the answer, or tells you where the question stands.
- Messages from above can come at any time, in await_event or between your steps. They count as instructions.
- End with submit. Without it your work is lost to your parent. If you cannot finish, submit(incomplete=true) with \
what you have.

Every answer has `ok`. With ok=false nothing has changed: `error` is the code, `reason` the facts, `hint` what to do. \
Repeating a call after a lost connection is safe."""
"""The contract, in a form every harness puts before its model."""
