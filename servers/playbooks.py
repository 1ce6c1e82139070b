"""Driver playbooks: how to run children, as MCP prompts that a person or a model can pull in (DESIGN §4)."""

from dataclasses import dataclass

__all__ = ["PLAYBOOKS", "Playbook"]


@dataclass(frozen=True, slots=True)
class Playbook:
    """A way to drive.

    Attributes:
        name, title, description: how clients list it.
        steps: the text, to which the task is appended.
    """

    name: str
    title: str
    description: str
    steps: str

    def text(self, task: str) -> str:
        """The prompt for a task."""
        return f"{self.steps}\n\nThe task:\n{task}"


_LOOP = Playbook(
    "one_child_in_a_loop",
    "One child in a loop",
    "Give the task to one palmette node and go on until its result holds.",
    """\
Drive one palmette node until the task is done.
1. spawn(task=…, label="attempt-1"): say what is wanted, what counts as done, and which command shows it.
2. await_event, always with the last cursor, until the child settles. Answer its questions; escalate what you cannot \
decide. If it goes the wrong way, steer it instead of waiting for a wrong result.
3. Read how it settled. valid: merge its bundle and go to 5. `retry: no`: stop and say why in your result.
4. Otherwise spawn again, label="attempt-2" and so on, and put into the task what failed and what the verdicts said. \
Never send the same task again unchanged. Stop after three attempts, or when the budget left is less than one cost.
5. submit, with what was done and what it cost.""",
)

_BEST_OF_N = Playbook(
    "best_of_n",
    "Best of N",
    "Give the same task to several palmette nodes and take the best valid result.",
    """\
Let several palmette nodes try the same task, and take the best.
1. Choose N between 2 and the `free_slots` of the first spawn. Give each child the same task and an equal share of the \
budget, labels "try-1" … "try-N". If their profiles or hints differ, note how.
2. await_event with the cursor until all have settled. Answer a question the same way for everyone who might have it: \
steer the others.
3. select(nodes=[…], objectives=[…]). It takes only valid results and keeps the earliest of equals. If it names no \
winner, read why before you spend more.
4. Merge the winner's bundle and run what counts as done yourself.
5. submit the winner, with the ranking and why it won.""",
)

_SPLIT_AND_JOIN = Playbook(
    "split_and_join",
    "Split and join",
    "Divide the task among palmette nodes and put their work together.",
    """\
Divide the task, let palmette nodes do the parts, and join them.
1. Read enough to find parts that touch different files. What cannot be separated stays one part, or stays yours.
2. Decide what the parts share (names, interfaces, formats) and write it into every child's task: the children do not \
see each other.
3. spawn one child per part, with a label that names it and a grant by its size. Keep some budget for the joining.
4. await_event with the cursor. When an answer or a finding changes what is shared, steer every child it concerns.
5. As each child settles, merge its bundle. On a conflict decide which side is right; do not undo a child's work unseen.
6. Run what counts as done on the whole. Spawn a small child for what is left, or mend it yourself.
7. submit, with the parts, what became of each, and what is not done.""",
)

_DRIVER_OF_DRIVERS = Playbook(
    "driver_of_drivers",
    "Driver of drivers",
    "Run a large task through palmette nodes that drive children of their own.",
    """\
Run a large task through drivers below you.
1. Cut the task into a few goals that can be judged from outside, each by a check or a command.
2. spawn one child per goal with profile="driver" and a grant that pays for its own children too. Its task says the \
goal, what counts as done, what it may decide, and what it has to ask you.
3. await_event with the cursor. You see the drivers, not what is below them; observe(node=…) shows a whole subtree. \
Speak to your own children only: steer the driver, not its workers.
4. Questions come up one level at a time. Decide those about the goal; what only the person can know, escalate.
5. A driver that spends without settling anything: observe it, steer it once, then stop it and use what it refunds.
6. Join the results as they settle and check the whole.
7. submit, with each goal, its verdicts and its cost.""",
)

PLAYBOOKS = (_LOOP, _BEST_OF_N, _SPLIT_AND_JOIN, _DRIVER_OF_DRIVERS)
"""All of them, in the order in which they are listed."""
