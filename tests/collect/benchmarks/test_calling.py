"""The calling environment: calls that are almost the wanted ones score 0, and refusals must name their reason."""

import pytest
from suite_checks import play, values_of

from replication.collect.benchmarks.suite import LEVELS, SuiteBenchmark, calling
from replication.collect.benchmarks.suite.words import PARAMETERS
from replication.collect.interfaces import Action
from replication.records import Call

BENCH = SuiteBenchmark(calling.ENVIRONMENT)


def secrets(task, draft):
    """The ids, and the reason for a refusal."""
    return [*values_of(draft, "id"), *([draft.key["answer"]] if draft.key["answer"] != "done" else [])]


def items(level, n=60):
    return list(BENCH.items("evaluation", level, n, 0))


def changes(draft):
    return [call for action in draft.expert for call in action.calls if not call.name.startswith("find_")]


def replayed(draft, calls):
    """The expert's look-ups and answer around other changes, one call a turn."""
    look_ups = [call for action in draft.expert for call in action.calls if call.name.startswith("find_")]
    return [*(Action(calls=(call,)) for call in (*look_ups, *calls)), draft.expert[-1]]


def check(task, actions, value, *, calls, answer):
    score = play(BENCH, task, actions)
    assert (score.value, score.details["right_calls"], score.details["right_answer"]) == (value, calls, answer), task.id


@pytest.mark.parametrize("level", LEVELS)
def test_doubled_or_missing_call_scores_zero_and_order_and_grouping_are_free(level):
    checked = 0
    for task, draft in items(level, 20):
        calls = changes(draft)
        check(task, replayed(draft, calls[::-1]), 1.0, calls=True, answer=True)
        for i, call in enumerate(calls):
            checked += 1
            check(task, replayed(draft, [*calls, call]), 0.0, calls=False, answer=True)
            check(task, replayed(draft, calls[:i] + calls[i + 1 :]), 0.0, calls=False, answer=True)
    assert checked > 10


def test_values_under_the_wrong_parameter_or_of_the_wrong_type_score_zero():
    swapped = n_texts = 0
    for task, draft in items(4):
        calls = changes(draft)
        for i, call in enumerate(calls):
            kinds = {name: PARAMETERS.get(name) for name in call.arguments}
            pairs = [(a, b) for a in kinds for b in kinds if a < b and kinds[a] == kinds[b]]
            for a, b in pairs:
                swapped += 1
                wrong = Call(name=call.name, arguments=call.arguments | {a: call.arguments[b], b: call.arguments[a]})
                same = wrong == call
                check(task, replayed(draft, [*calls[:i], wrong, *calls[i + 1 :]]), float(same), calls=same, answer=True)
            for name in (name for name, kind in kinds.items() if kind == "number"):
                n_texts += 1
                text = Call(name=call.name, arguments=call.arguments | {name: str(call.arguments[name])})
                check(task, replayed(draft, [*calls[:i], text, *calls[i + 1 :]]), 0.0, calls=False, answer=True)
    assert swapped > 20 and n_texts > 20


def test_call_that_was_rejected_and_then_corrected_counts():
    for task, draft in items(3, 20):
        calls = changes(draft)
        broken = [Call(name=call.name, arguments={}) for call in calls]
        check(task, replayed(draft, [*broken, *calls]), 1.0, calls=True, answer=True)


def test_wrong_or_guessed_id_scores_zero_and_extra_look_ups_are_free():
    checked = 0
    for task, draft in items(1, 120):
        finders = [call for action in draft.expert for call in action.calls if call.name.startswith("find_")]
        if not finders:
            continue
        checked += 1
        (finder,) = finders
        known, calls = task.setup["ids"][finder.name], changes(draft)
        everybody = [Action(calls=(Call(name=finder.name, arguments={"who": who}),)) for who in (*known, "nobody")]
        check(task, [*everybody, *draft.expert], 1.0, calls=True, answer=True)
        at = next(i for i, call in enumerate(calls) if list(call.arguments) == ["id"])
        for number in {*known.values(), 1} - {calls[at].arguments["id"]}:
            wrong = Call(name=calls[at].name, arguments={"id": number})
            check(task, replayed(draft, [*calls[:at], wrong, *calls[at + 1 :]]), 0.0, calls=False, answer=True)
    assert checked > 10


def test_made_up_value_scores_zero_even_with_the_right_answer():
    checked = 0
    for task, draft in items(1, 120):
        if not draft.key["answer"].startswith("missing "):
            continue
        checked += 1
        left_out = draft.key["answer"].removeprefix("missing ")
        tools = [tool for tool in task.tools if left_out in tool.parameters["properties"]]
        for tool in tools:
            made_up = {"integer": 1, "string": "kavo"}
            kinds = tool.parameters["properties"].items()
            guess = Call(
                name=tool.name, arguments={p: s["enum"][0] if "enum" in s else made_up[s["type"]] for p, s in kinds}
            )
            check(task, replayed(draft, [*changes(draft), guess]), 0.0, calls=False, answer=True)
            check(task, [Action(calls=(guess,)), Action(answer="done")], 0.0, calls=False, answer=False)
    assert checked > 10


def test_refusal_for_the_wrong_reason_scores_zero_and_its_wording_is_free():
    checked = 0
    for task, draft in items(2, 60):
        wanted, calls = draft.key["answer"], replayed(draft, changes(draft))[:-1]
        if wanted == "done":
            continue
        checked += 1
        other = "missing day" if wanted == "no tool" else "no tool"
        for wrong in (other, "done", "", "nothing missing today", "missing", "tool"):
            check(task, [*calls, Action(answer=wrong)], 0.0, calls=True, answer=False)
        for right in (wanted, f"Sorry, {wanted}.", wanted.upper(), f"`{wanted}`"):
            check(task, [*calls, Action(answer=right)], 1.0, calls=True, answer=True)
    assert checked > 10


@pytest.mark.parametrize("level", (1, 3))
def test_answer_that_lists_all_reasons_is_right_only_where_the_first_one_is(level):
    checked = 0
    for task, draft in items(level, 120):
        wanted, calls = draft.key["answer"], replayed(draft, changes(draft))[:-1]
        if wanted == "done":
            continue
        checked += 1
        others = [f"missing {name}" for name in PARAMETERS if f"missing {name}" != wanted]
        for first in (others[0], *([] if wanted == "no tool" else ["no tool"])):
            listed = ", ".join([first, *others, "no tool", wanted])
            check(task, [*calls, Action(answer=listed)], 0.0, calls=True, answer=False)
        check(task, [*calls, Action(answer=f"{wanted}, {others[0]}")], 1.0, calls=True, answer=True)
    assert checked > 20


def test_reason_is_found_in_a_sentence():
    for answer, reason in (
        ("`missing` `day`", "missing day"), ("The day is missing.", "missing day"), ("missing: the day", "missing day"),
        ("There is no suitable tool for that.", "no tool"), ("No tool", "no tool"), ("nothing is missing today", None),
        ("no, the toolbox", None), ("", None), ("\ud800\x00", None), ("missing " * 100_000, None),
    ):  # fmt: skip
        assert calling._reason(answer) == reason


def test_refusing_what_could_be_done_scores_zero():
    checked = 0
    for task, draft in items(1, 40):
        if changes(draft):
            checked += 1
            check(task, [Action(answer="no tool")], 0.0, calls=False, answer=draft.key["answer"] in ("done", "no tool"))
    assert checked > 10
