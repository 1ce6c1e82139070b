"""The interpreter: positions, templates, conditions, tool names, ends, refusals."""

from typing import Any

import pytest

from palmette.sandbox.model import (
    Called,
    OfferedTool,
    PlayError,
    Returned,
    Said,
    Script,
    TurnReply,
    Usage,
    UserText,
)
from tests.unit.model.talk import Talk, one


def test_a_scenario_is_chosen_by_prompt_system_model_and_tools() -> None:
    script = Script.load("""
scenarios:
  - {name: title, when: {system: "title generator"}, steps: [{say: T}]}
  - {name: driver, when: {tools: [spawn], user: "(?i)fix"}, steps: [{say: D}]}
  - {name: big, when: {model: "^opus"}, steps: [{say: B}]}
  - {name: any, steps: [{say: A}]}
""")

    def said(**how: Any) -> str:
        return Talk(script, **how).turn().text

    assert said(system="You are a title generator.") == "T"
    assert said(entries=[UserText("please FIX it")]) == "D"
    assert said(entries=[UserText("please FIX it")], tools=()) == "A"
    assert said(model="opus-5") == "B"
    assert said() == "A"


def test_only_what_came_before_the_first_reply_chooses() -> None:
    script = Script.load(
        "scenarios:\n  - {name: a, when: {user: stop}, steps: [{say: A}]}\n  - {name: b, steps: [{say: B}, {say: C}]}\n"
    )
    talk = Talk(script)
    talk.turn()
    talk.user("stop")
    assert talk.turn().text == "C"


def test_no_fitting_scenario_names_those_there_are() -> None:
    script = Script.load("scenarios:\n  - {name: a, when: {user: x}, steps: [{say: A}]}\n")
    with pytest.raises(PlayError, match="there are: a") as caught:
        Talk(script).look()
    assert caught.value.status == 400


def test_results_are_found_by_tool_index_name_and_last() -> None:
    talk = Talk(
        one("""
- calls:
    - {tool: spawn, as: fixer, arguments: {label: a}}
    - {tool: spawn, arguments: {label: b}}
- call: {tool: await_event, arguments: {nodes: ["${spawn[0].node}", "${spawn[1].node}"], cursor: "${last.cursor?}"}}
- say: "${fixer.node} ${spawn.node} ${last.kind} ${prompt.text}"
""")
    )
    talk.called('{"node": "n1"}', '{"node": "n2", "cursor": "c0"}')
    assert talk.called('{"kind": "settled"}').calls[0].arguments == {"nodes": ["n1", "n2"], "cursor": "c0"}
    assert talk.turn().text == "n1 n2 settled go"


def test_a_name_in_a_loop_is_its_latest_result_and_all_can_be_counted() -> None:
    talk = Talk(
        one("""
- loop:
    steps: [{call: {tool: await_event, as: news, arguments: {cursor: "${news.cursor?}"}}}]
    until: {path: "await_event[*].events[*].kind", equals: settled, at_least: 2}
- say: "${news.cursor} after ${news[0].cursor}"
""")
    )
    seen = [
        talk.called(f'{{"cursor": "c{n}", "events": [{{"kind": "{kind}"}}]}}')
        for n, kind in enumerate(("settled", "message", "settled"))
    ]
    assert [reply.calls[0].arguments for reply in seen] == [{}, {"cursor": "c0"}, {"cursor": "c1"}]
    assert talk.turn().text == "c2 after c0"


def test_branches_in_a_loop_look_at_what_came_back() -> None:
    talk = Talk(
        one("""
- loop:
    steps:
      - call: {tool: await_event}
      - if: {path: "last.events[kind=question].question", exists: true}
        then:
          - call: {tool: answer, arguments: {question: "${last.events[kind=question].question}", text: blue}}
      - if: {path: "await_event.events[kind=settled].node", equals: n9}
        say: nine
    until: {path: await_event.live, below: 1}
- say: end
""")
    )
    talk.called('{"events": [{"kind": "question", "question": "q7"}], "live": 1}')
    assert talk.called("{}").calls[0].arguments == {"question": "q7", "text": "blue"}
    talk.called('{"events": [{"kind": "settled", "node": "n9"}], "live": 0}')
    assert talk.turn().text == "nine"
    talk.user("go on")
    assert talk.turn().text == "end"


def test_a_loop_that_never_ends_is_an_error_that_names_it() -> None:
    talk = Talk(one("- loop: {steps: [{call: {tool: await_event}}], until: {path: last.x, exists: true}, at_most: 3}"))
    for _ in range(3):
        talk.called("{}")
    with pytest.raises(PlayError, match=r"only\.steps\[0\]\.loop\.steps: 3 rounds"):
        talk.look()


def test_a_loop_without_turns_ends_in_an_error() -> None:
    loop = "- loop: {steps: [{if: {path: last, exists: true}, say: x}], until: {path: last, exists: true}}"
    with pytest.raises(PlayError, match="100 rounds"):
        Talk(one(loop)).look()


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("{path: last.n, equals: 3}", True),
        ("{path: last.n, equals: '3'}", False),
        ("{path: last.yes, equals: true}", True),
        ("{path: last.one, equals: true}", False),
        ("{path: last.null, equals: null}", True),
        ("{path: last.gone, equals: null}", False),
        ("{path: last.gone, exists: false}", True),
        ("{path: last.null, exists: true}", True),
        ("{path: last.n, above: 2}", True),
        ("{path: last.n, above: 3}", False),
        ("{path: last.n, below: 3.5}", True),
        ("{path: last.yes, above: 0}", False),
        ("{path: last.word, matches: '^ab+'}", True),
        ("{path: last.n, matches: '^3$'}", True),
        ("{path: last.word, contains: bb}", True),
        ("{path: last.list, contains: 2}", True),
        ("{path: last.list, contains: 5}", False),
        ("{path: 'last.list[*]', above: 1, at_least: 2}", True),
        ("{path: 'last.list[*]', above: 2, at_least: 2}", False),
        ("{path: last.word, equals: '${last.same}'}", True),
        ("{path: last.word, equals: '${last.gone}'}", False),
        ("{path: last.word, equals: '${last.gone?}'}", False),
        ("{not: {path: last.n, equals: 3}}", False),
        ("{all: [{path: last.n, equals: 3}, {path: last.word, exists: true}]}", True),
        ("{all: [{path: last.n, equals: 3}, {path: last.word, exists: false}]}", False),
        ("{any: [{path: last.n, equals: 4}, {path: last.word, exists: true}]}", True),
        ("{any: [{path: last.n, equals: 4}]}", False),
        ("{path: prompt.text, matches: '^go$'}", True),
    ],
)
def test_a_condition(condition: str, holds: bool) -> None:
    talk = Talk(one(f"- call: {{tool: shell}}\n- if: {condition}\n  then: [{{say: 'yes'}}]\n  else: [{{say: 'no'}}]"))
    talk.called('{"n": 3, "one": 1, "yes": true, "null": null, "word": "abb", "same": "abb", "list": [1, 2, 3]}')
    assert talk.turn().text == ("yes" if holds else "no")


def test_a_steer_is_seen_where_it_arrives_and_moves_nothing_later() -> None:
    talk = Talk(
        one("""
- call: {tool: shell}
- if: {path: user.text, matches: "hurry"}
  then: [{say: "hurrying: ${user.text}", call: {tool: submit}}]
- call: {tool: ask_parent}
- say: end
""")
    )
    talk.called("out")
    talk.user("hurry up")
    assert talk.called("ok").text == "hurrying: hurry up"
    talk.user("irrelevant")
    assert talk.called("{}").calls[0].tool.name.endswith("ask_parent")
    assert talk.turn().text == "end"


def test_a_steer_after_an_interrupted_text_is_seen_behind_it() -> None:
    talk = Talk(one("- say: a long story\n- if: {path: user.text, matches: stop}\n  say: stopped\n- say: on"))
    talk.turn()
    talk.user("go on, then")
    talk.entries.append(Said("o"))  # cut off while it was written
    talk.user("stop!")
    assert talk.turn().text == "stopped"
    talk.user("and?")
    assert talk.turn().text == "on"


def test_all_texts_since_the_last_turn_are_seen_whatever_a_harness_wrote_between_them() -> None:
    talk = Talk(one("- call: {tool: shell}\n- say: '${user.text}'"))
    talk.called("out")
    talk.user("before")
    talk.entries.append(Said("No response requested."))
    talk.user("after")
    assert talk.turn().text == "before\nafter"
    talk.user("again")
    assert talk.turn().text == "before\nafter"


def test_texts_that_come_between_do_not_move_the_position() -> None:
    talk = Talk(one("- call: {tool: shell}\n- say: middle\n- call: {tool: submit}\n- say: end"))
    for _ in range(3):
        talk.user("<system-reminder>n</system-reminder>")
    reply = talk.turn()
    talk.user("a wake")
    talk.results(reply, "out")
    talk.user("another")
    assert talk.turn().text == "middle"
    talk.entries.append(Said("No response requested."))
    talk.user("resumed")
    assert talk.called("{}").calls[0].tool.name == "mcp__palmette__submit"
    assert talk.turn().text == "end"


def test_a_lost_or_partial_turn_is_played_again_and_the_same() -> None:
    talk = Talk(one("- say: first\n- say: second, and long\n- say: third"))
    talk.turn()
    talk.user("on")
    once = talk.look()
    assert talk.look() == once
    talk.entries.append(Said("second, a"))
    again = talk.turn()
    assert again == once
    talk.user("on")
    assert talk.turn().text == "third"


def test_of_a_turn_cut_between_its_calls_only_the_missing_ones_are_made() -> None:
    talk = Talk(
        one(
            "- say: all\n  calls: [{tool: spawn, as: a}, {tool: submit, as: b}, {tool: spawn, as: c}]\n"
            "- say: '${a.n}${b.n}${c.n}'"
        )
    )
    whole = talk.look()
    assert isinstance(whole, TurnReply)
    talk.entries += [Called(whole.calls[0].id, "spawn"), Returned(whole.calls[0].id, '{"n": 1}')]
    rest = talk.look()
    assert isinstance(rest, TurnReply)
    assert (rest.text, rest.calls) == ("", whole.calls[1:])
    talk.called('{"n": 2}', '{"n": 3}')
    assert talk.turn().text == "123"


def test_parallel_calls_may_be_recorded_one_by_one_with_their_results_between() -> None:
    talk = Talk(one("- calls: [{tool: spawn}, {tool: spawn}]\n- say: '${spawn[0].n}${spawn[1].n}'"))
    reply = talk.look()
    assert isinstance(reply, TurnReply)
    for number, call in enumerate(reply.calls):
        talk.entries += [Called(call.id, call.tool.name), Returned(call.id, f'{{"n": {number}}}')]
    assert talk.turn().text == "01"


def test_a_call_whose_result_never_came_has_none() -> None:
    talk = Talk(one("- call: {tool: spawn}\n- if: {path: last.node, exists: false}\n  say: lost it\n- say: end"))
    talk.turn()
    talk.user("resumed")
    assert talk.turn().text == "lost it"


def test_after_the_end_the_last_words_are_repeated() -> None:
    talk = Talk(one("- say: bye"))
    for _ in range(4):
        assert talk.turn().text == "bye"
        talk.user("more?")


def test_a_scenario_that_ends_in_a_call_says_done() -> None:
    talk = Talk(one("- say: bye\n  call: {tool: submit}"))
    talk.called("{}")
    for _ in range(3):
        assert talk.turn().text == "Done."
        talk.user("more?")


def test_afterwards_is_played_for_each_later_prompt() -> None:
    afterwards = "    afterwards: [{call: {tool: await_event}}, {say: 'seen ${last.n}'}]\n"
    talk = Talk(one("- say: bye", tail=afterwards))
    talk.turn()
    for number in range(3):
        talk.user("wake")
        talk.called(f'{{"n": {number}}}')
        assert talk.turn().text == f"seen {number}"


def test_afterwards_may_have_nothing_to_say() -> None:
    afterwards = "    afterwards: [{if: {path: user.text, matches: wake}, call: {tool: await_event}}]\n"
    talk = Talk(one("- say: bye", tail=afterwards))
    talk.turn()
    talk.user("hm")
    assert talk.turn().text == "bye"
    talk.user("wake")
    talk.called("{}")
    assert talk.turn().text == "Done."
    talk.user("hm")
    assert talk.turn().text == "Done."


def test_text_from_a_result_that_looks_like_a_template_is_said_as_it_is() -> None:
    talk = Talk(one("- call: {tool: shell}\n- say: '${last.text}'"))
    talk.called("echo ${HOME} $${x}")
    for _ in range(2):
        assert talk.turn().text == "echo ${HOME} $${x}"
        talk.user("again")


def test_usage_is_a_quarter_of_the_bytes_and_can_lie() -> None:
    talk = Talk(
        one("- say: '12345'\n- {say: x, usage: {input: 7, cache_read: -1}}\n- {say: x, usage: missing}"), size=401
    )
    assert talk.turn().usage == Usage(101, 2)
    assert talk.turn().usage == Usage(7, 1, -1)
    assert talk.turn().usage is None


def test_ids_are_unlike_in_a_conversation_and_alike_on_a_retry() -> None:
    talk = Talk(one("- loop: {steps: [{calls: [{tool: spawn}, {tool: spawn}]}], until: {path: last.x, exists: true}}"))
    seen: set[str] = set()
    for _ in range(10):
        assert talk.look() == talk.look()
        reply = talk.called("{}", "{}")
        seen |= {call.id for call in reply.calls} | {reply.id}
    assert len(seen) == 30


@pytest.mark.parametrize(
    ("written", "offered", "called"),
    [
        ("spawn", ["mcp__palmette__spawn", "mcp__palmette__respawn"], "mcp__palmette__spawn"),
        ("spawn", ["palmette_spawn"], "palmette_spawn"),
        ("spawn", ["spawn", "mcp__palmette__spawn"], "spawn"),
        ("palmette__spawn", ["mcp__palmette__spawn", "mcp__other__spawn"], "mcp__palmette__spawn"),
    ],
)
def test_a_verb_means_the_offered_tool_that_ends_with_it(written: str, offered: list[str], called: str) -> None:
    talk = Talk(one(f"- call: {{tool: {written}}}\n- say: end"), tools=[OfferedTool(name) for name in offered])
    assert talk.called("{}").calls[0].tool.name == called
    assert talk.turn().text == "end"


def test_an_ambiguous_verb_is_an_error_that_names_both() -> None:
    tools = [OfferedTool("mcp__a__spawn"), OfferedTool("mcp__b__spawn")]
    with pytest.raises(PlayError, match=r"only\.steps\[0\].*ambiguous: mcp__a__spawn, mcp__b__spawn"):
        Talk(one("- call: {tool: spawn}"), tools=tools).look()


def test_a_namespaced_tool_is_called_in_its_namespace_even_when_it_is_deferred() -> None:
    offered = Talk(one("- call: {tool: spawn}\n- say: end"), tools=[OfferedTool("spawn", "mcp__palmette")])
    assert offered.called("{}").calls[0].tool.namespace == "mcp__palmette"
    assert offered.turn().text == "end"
    deferred = Talk(one("- call: {tool: mcp__palmette/spawn}\n- say: '${spawn.n}'"), tools=())
    assert deferred.called('{"n": 1}').calls[0].tool == OfferedTool("spawn", "mcp__palmette")
    assert deferred.turn().text == "1"


def test_a_freeform_tool_gets_text() -> None:
    talk = Talk(one("- call: {tool: shell, input: 'a ${prompt.text}'}\n- call: {tool: shell, arguments: {a: 1}}"))
    assert talk.called("").calls[0].arguments == {"input": "a go"}
    talk = Talk(talk.script, tools=[OfferedTool("shell", freeform=True)])
    assert talk.called("").calls[0].arguments == "a go"
    assert talk.called("").calls[0].arguments == '{"a":1}'


def test_a_refusal_stands_until_a_condition_lifts_it() -> None:
    talk = Talk(
        one("- say: a\n- {if: {not: {path: user.text, matches: topped}}, error: {status: 402}}\n- say: b\n- say: c")
    )
    talk.turn()
    talk.user("on")
    for _ in range(3):
        failure = talk.failure()
        assert (failure.step, failure.error.status) == ("only.steps[1]", 402)
    talk.user("topped up")
    assert talk.turn().text == "b"
    talk.user("on")
    assert talk.turn().text == "c"


def test_a_refusal_in_a_loop_without_turns_is_given_and_not_counted_out() -> None:
    talk = Talk(one("- loop: {steps: [{error: {status: 529}}], until: {path: user.text, matches: up}}\n- say: b"))
    assert talk.failure().error.status == 529


def test_a_missing_path_names_step_path_and_what_there_is() -> None:
    talk = Talk(one("- call: {tool: spawn}\n- call: {tool: steer, arguments: {node: '${spawn.node}'}}"))
    talk.called('{"ok": false}')
    with pytest.raises(PlayError) as caught:
        talk.look()
    assert caught.value.message == "only.steps[1]: the path 'spawn.node' leads nowhere; there is: last, prompt, spawn"
    assert "?" in caught.value.hint
    assert caught.value.status == 500
