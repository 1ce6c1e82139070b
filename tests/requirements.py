"""Every rule of the design with what it stands at; `tests/test_requirements.py` compares the list with the tests."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["RULES", "Rule"]

Standing = Literal["due", "partly", "later"]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule.

    Attributes:
        says: the rule in a line.
        standing: `due`: holds now, and tests show it; `partly`: so does the part that is built; `later`: nothing yet.
        brought_by: the capability that completes it; empty when due.
    """

    says: str
    standing: Standing = "due"
    brought_by: str = ""


def _partly(says: str, brought_by: str) -> Rule:
    return Rule(says, "partly", brought_by)


def _later(says: str, brought_by: str) -> Rule:
    return Rule(says, "later", brought_by)


RULES: dict[str, Rule] = {
    # verbs and sessions
    "S1": Rule("who calls is known from the connection alone"),
    "S2": Rule("a refusal is a result with a code of one table; wrong arguments are told all at once"),
    "S3": Rule("a role and a depth see exactly their verbs"),
    "S4": Rule("what a cut call would have told is told again, until a cursor acknowledges it"),
    "S5": Rule("a client's session outlives the supervisor"),
    "S6": Rule("every protocol era in use works; no verb needs a request to the client"),
    "S7": Rule("results stay under 30,000 characters, the essential keys first"),
    "S8": Rule("the verb itself refuses what its caller does not hold"),
    "P1": Rule("a child's profile only narrows its parent's, and the reply says what was cut"),
    "P2": Rule("every prompt opens with the time, the deadline, the grant, the repository and base"),
    # budget
    "B1": Rule("granted = free + held + spent + what open children were granted"),
    "B2": Rule("a refusal changes nothing"),
    "B3": Rule("what fits exactly is admitted, one more is not; zero means zero"),
    "B4": Rule("a settlement counts once"),
    "B5": Rule("true spend is booked beyond the grant too; a channel in debt admits nothing"),
    "B6": Rule("no hold is open when a tree has ended"),
    "B7": Rule("a channel that the root never got is unbudgeted, not exhausted"),
    "B8": Rule("unknown use is marked unknown, never zero; unknown dollars close a dollar budget"),
    "B9": Rule("a driver's own turns are charged"),
    "B10": Rule("a deadline is an instant that neither slides nor is stretched by a clock or a restart"),
    "B11": Rule("a restart charges open holds in full, and mints nothing"),
    "B12": Rule("seconds stand still while a node waits"),
    "B13": Rule("settling a node stops its open children first, depth first"),
    "B14": _later("each call's worst case is held at the gateway before it leaves", "the gateway"),
    "B15": Rule("a channel left unnamed gets a default share, never everything"),
    "B16": _later("each record says which enforcement and model access were in force", "the gateway"),
    # journal, events, recovery
    "E1": Rule("an event is on disk before anyone sees it"),
    "E2": Rule("the most urgent event leaves a queue first, ties by age"),
    "E3": Rule("an event that was not acknowledged is delivered again"),
    "E4": Rule("a message that may or may not have arrived before a crash is unknown, and is not sent again"),
    "E5": Rule("after kill -9 every acknowledged event is there and no process of the old life is"),
    "E6": Rule("a key runs its task once; a lost one is in doubt until somebody decides"),
    "E7": Rule("a parent sees every settlement, also one it did not wait for"),
    "E8": Rule("one table says what each cause settles as, and whether to retry and to grade"),
    "E9": Rule("timers are monotonic; a stall is a reading, never a kill"),
    "E10": Rule("wakes are pushed; an idle node with nothing live is reminded twice, then settled"),
    "E11": Rule("the command line and SSE give developers the same stream, with a catalogue of kinds"),
    # escalation
    "Q1": Rule("a question has one holder and moves one level at a time"),
    "Q2": Rule("a question is answered when its answer was delivered"),
    "Q3": Rule("who has nobody above is told that it is the last to decide"),
    "Q4": Rule("a local answer is immediate; a later override is a correction"),
    "Q5": Rule("a blocked asker waits in the call"),
    "Q6": _later("a harness's permission prompt is a question, and never left hanging", "the harness drivers"),
    "Q7": Rule("a submit waits for blocking questions and unread messages; a stop for nothing"),
    "Q8": Rule("a person's answer is marked as such, and evaluation refuses it"),
    "Q9": Rule("one inbox for all trees, notifying of four things only"),
    "Q10": _later("an interactive client's person is asked by elicitation as well", "elicitation"),
    # checks
    "C1": _later("nothing of an argument is executed outside a cage", "the cages"),
    "C2": _partly("a check runs on a snapshot of the work tree, with protected files of the base", "the full checks"),
    "C3": _partly("a check that broke is unavailable, not failed", "the full checks"),
    "C4": _partly("the same check of the same target is not run twice", "the full checks"),
    "C5": _later("a check can be made to prove itself on base and on a good state", "the full checks"),
    "C6": _partly(
        "done is valid only if the deliverable checks passed; without any it is unchecked", "the full checks"
    ),
    "C7": _partly("only what is valid can win, the best kept, ties to the earliest", "the full checks"),
    "C8": _later("both arms of a comparison select alike", "experiments"),
    "C9": _later("analysts' findings carry evidence, or are dropped", "the analysts"),
    "C10": _later("the command line runs the same checks for CI", "the full checks"),
    "C11": _later("an uncertain verdict below the bound is a question, not a pass", "the full checks"),
    # the judge firewall
    "F1": _later("the judge is a process of its own that nothing of a tree can read", "the judge"),
    "F2": _partly("an attempt's label is the union of all it was handed, assigned by us", "the judge"),
    "F3": _later("what is judged leaves no trace in a tree", "the judge"),
    "F4": _later("answer keys are reachable in no cage of a tree", "the judge"),
    "F5": _later("only the judge runs an oracle, only in evaluation", "the judge"),
    # corpus
    "K1": _later("training and held-out tasks never meet", "the corpus"),
    "K2": _later("known secrets are scrubbed before anything is stored", "the corpus"),
    # workspaces
    "W1": _partly("a workspace borrows from a store that holds only what its base reaches", "the cages"),
    "W2": _partly("nothing is deleted before it is saved", "the cages"),
    "W3": _partly("changes that a child cannot see are named", "the cages"),
    "W4": _partly("a node holds only its own token", "the cages"),
    "W5": _later("egress is an allow-list that checks the resolved address", "the cages"),
    "W6": _later("configuration that executes is never honoured", "the harness drivers"),
    "W7": _later("a base is prepared once, and a failed setup is no failed check", "the cages"),
    "W8": _partly("a child's commit is laid beside its parent; only a result becomes a ref", "the cages"),
    # the stdio relay
    "R1": Rule("the supervisor that a relay starts outlives the relay's harness"),
    "R2": Rule("of relays that start at once one starts the supervisor, and the others dial on"),
    "R3": Rule("after `down` no relay starts it again"),
    "R4": Rule("a new life's requests to the client never collide with an earlier life's"),
    "R5": Rule("after a restart with other tools the client is told"),
    "R6": Rule("a line that is no JSON is answered, and neither direction can block the other"),
    "R7": Rule("the end of the input ends the relay, quickly and cleanly"),
    "R8": Rule("a root that leaves is detached, not settled"),
    "R9": Rule("the wire version decides, not the package's"),
    "R10": Rule("the relay needs the standard library alone"),
    "R11": Rule("the root is known by harness and session, at its first call"),
    "R12": Rule("a node uses the same relay as a person's harness"),
}
"""By id, in the order of the design."""
