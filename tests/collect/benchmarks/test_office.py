"""The office environment: hard checks first, the rubric only after them, and nothing breaks it."""

import pytest
from parts import first_tasks
from suite_checks import (
    HOSTILE,
    check_wrong_turns,
    fuzz,
    mean_of_nothing_and_of_random_calls,
    play,
)

from replication.collect.benchmarks.suite import LEVELS, SuiteBenchmark, office
from replication.collect.benchmarks.suite.kit import act
from replication.collect.benchmarks.suite.policies import erring, evaluate
from replication.collect.interfaces import Action
from replication.collect.scaffolds.compact import Compact
from replication.records import Call

BENCH = SuiteBenchmark(office.ENVIRONMENT)


def secrets(task, draft):
    """The values of the entries, and the numbers of the report."""
    return [*map(str, draft.key["entries"].values()), " ".join(draft.key["line"].split()[1:])]


def changes(draft):
    return [action for action in draft.expert if action.calls and action.calls[0].name in ("set", "order")]


def instead(actions, old, *new):
    return [action for one in actions for action in (new if one == old else (one,))]


@pytest.mark.parametrize("level", LEVELS)
def test_expert_passes_all_checks_and_writes_them_in_the_compact_grammar(level):
    scaffold = Compact()
    for task, draft in BENCH.items("evaluation", level, 40, 0):
        score = play(BENCH, task, draft.expert)
        assert score.value == score.details["raw"] == score.details["penalised"] == 1.0, task.id
        assert len(changes(draft)) == len(draft.key["entries"]) > 0
        for action in draft.expert:
            assert scaffold.parse(scaffold.write(action), task) == action


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
def test_expert_is_perfect_and_floors_are_low_on_two_hundred_tasks(level):
    assert all(play(BENCH, task, draft.expert).value == 1.0 for task, draft in BENCH.items("evaluation", level, 200, 0))
    nothing, at_random = mean_of_nothing_and_of_random_calls(BENCH, level, 200)
    assert nothing == 0.0 and at_random <= 0.05


def test_doing_nothing_scores_zero_and_random_calls_almost():
    nothing, at_random = mean_of_nothing_and_of_random_calls(BENCH, 1, 100)
    assert nothing == 0.0 and at_random <= 0.05


def test_horizon_grows_at_every_level():
    turns = [sum(len(BENCH.generate("train", level, i, 0).expert) for i in range(40)) for level in LEVELS]
    assert turns == sorted(set(turns))


def test_fixed_error_rate_costs_more_at_every_level():
    values = [evaluate(BENCH, erring(0.1), level, 100, 0) for level in LEVELS]
    assert values == sorted(set(values), reverse=True)


@pytest.mark.parametrize("level", LEVELS)
def test_report_of_work_that_was_not_done_earns_nothing(level):
    for task, draft in BENCH.items("evaluation", level, 10, 0):
        score = play(BENCH, task, [act("report", line=draft.key["line"]), Action(answer="done")])
        assert score.value == score.details["raw"] == 0.0


@pytest.mark.parametrize("level", LEVELS)
def test_order_too_many_fails_one_check_and_with_it_the_rubric(level):
    for task, draft in BENCH.items("evaluation", level, 10, 0):
        spare = next(item for item in office.ITEMS if f"order {item}" not in draft.key["entries"])
        score = play(BENCH, task, [act("order", item=spare, amount=3), *draft.expert])
        assert not score.details["nothing_else"]
        assert score.value == pytest.approx(1 / 3)
        assert score.details["raw"] == pytest.approx((2 / 3 + 1) / 2)
        undone = [act("order", item=spare, amount=3), act("order", item=spare, amount=0), *draft.expert]
        assert play(BENCH, task, undone).value == 1.0


@pytest.mark.parametrize("level", LEVELS)
def test_wrong_value_fails_completeness_and_keeps_a_share_in_the_raw_score(level):
    checked = 0
    for task, draft in BENCH.items("evaluation", level, 20, 0):
        n = len(draft.key["entries"])
        if n > 1:
            checked += 1
            first = changes(draft)[0]
            call = first.calls[0]
            last = list(call.arguments)[-1]
            wrong = act(call.name, **(call.arguments | {last: call.arguments[last] + 1}))
            score = play(BENCH, task, instead(draft.expert, first, wrong))
            assert score.value == pytest.approx(1 / 3)
            assert score.details["raw"] == pytest.approx((2 / 3 + (4 + (n - 1) / n) / 5) / 2)
    assert checked > 5


def test_missing_report_and_answer_cost_a_check_and_the_rubric():
    for task, draft in BENCH.items("evaluation", 2, 10, 0):
        score = play(BENCH, task, draft.expert[:-2], "turn_limit")
        assert score.value == pytest.approx(1 / 3)
        assert score.details["raw"] == pytest.approx((2 / 3 + 3 / 5) / 2)


def test_wordy_report_passes_the_check_but_not_the_form_and_more_numbers_fail_both():
    for task, draft in BENCH.items("evaluation", 3, 10, 0):
        line = draft.key["line"]
        report = act("report", line=line)
        wordy = play(BENCH, task, instead(draft.expert, report, act("report", line=f"report {line} thanks")))
        assert wordy.value == wordy.details["raw"] == pytest.approx(0.9)
        many = play(BENCH, task, instead(draft.expert, report, act("report", line=f"{line} 1 2 3 4 5")))
        assert many.value == pytest.approx(1 / 3)


def test_entries_made_before_reading_and_failed_calls_cost_a_point_each():
    for task, draft in BENCH.items("evaluation", 1, 10, 0):
        guessed = [*draft.expert[1:-1], draft.expert[0], draft.expert[-1]]
        assert play(BENCH, task, guessed).value == pytest.approx(0.9)
        assert play(BENCH, task, [act("read", doc="nowhere"), *draft.expert]).value == pytest.approx(0.9)


def test_entering_corrected_papers_as_they_stand_costs_completeness_and_the_rubric():
    n_corrected = 0
    for task, draft in BENCH.items("evaluation", 3, 40, 0):
        sources, papers = draft.key["sources"].values(), task.setup["papers"]
        lines = [line.split(" ") for docs in sources for line in papers.get(docs[0], [])]
        first = {item: int(value) for item, value in lines if value.isdecimal()}
        actions = []
        for action in draft.expert:
            arguments = action.calls[0].arguments if action.calls else {}
            if first.get(arguments.get("item")):
                last = list(arguments)[-1]
                action = act(action.calls[0].name, **(arguments | {last: first[arguments["item"]]}))
            if not arguments.get("doc", "").endswith("-memo"):
                actions.append(action)
        if len(actions) < len(draft.expert):
            n_corrected += 1
            details = play(BENCH, task, actions).details
            assert not details["complete"]
            assert details["penalised"] == pytest.approx(details["hard"] / 2)
    assert n_corrected > 20


@pytest.mark.parametrize("level", (3, 4, 5))
def test_entry_left_out_fails_one_check_and_a_report_of_what_was_really_done_two(level):
    for task, draft in BENCH.items("evaluation", level, 10, 0):
        entries, last = draft.key["entries"], changes(draft)[-1]
        n, report = len(entries), act("report", line=draft.key["line"])
        score = play(BENCH, task, instead(draft.expert, last))
        assert score.value == pytest.approx(1 / 3)
        assert score.details["raw"] == pytest.approx((2 / 3 + (4 + (n - 1) / n) / 5) / 2)
        total = sum(entries.values()) - last.calls[0].arguments[list(last.calls[0].arguments)[-1]]
        honest = act("report", line=f"{draft.key['line'].split()[0]} {n - 1} {total}")
        assert play(BENCH, task, instead(instead(draft.expert, last), report, honest)).value == pytest.approx(1 / 6)


def test_counts_of_a_whole_stock_list_set_fail_one_check():
    checked = 0
    for task, draft in BENCH.items("evaluation", 1, 40, 0):
        for doc, rows in task.setup["stocks"].items():
            spare = [item for item in rows if f"{doc} {item}" not in draft.key["entries"]]
            more = [act("set", doc=doc, item=item, count=rows[item][0] + 1) for item in spare]
            same = [act("set", doc=doc, item=item, count=rows[item][0]) for item in spare]
            if spare:
                checked += 1
                assert play(BENCH, task, [*draft.expert[:1], *more, *draft.expert[1:]]).value == pytest.approx(1 / 3)
                assert play(BENCH, task, [*draft.expert[:1], *same, *draft.expert[1:]]).value == 1.0
    assert checked > 5


def test_report_under_another_name_or_without_one_fails_one_check():
    for task, draft in BENCH.items("evaluation", 3, 10, 0):
        name, *numbers = draft.key["line"].split()
        for line in (" ".join(numbers), " ".join(["kavo", *numbers]), " ".join([name, *numbers[::-1]]), name):
            report = act("report", line=line)
            expected = 1.0 if line == draft.key["line"] else 1 / 3
            actions = instead(draft.expert, act("report", line=draft.key["line"]), report)
            assert play(BENCH, task, actions).value == pytest.approx(expected)


def test_orders_against_the_house_rules_fail_a_check():
    n_broken = 0
    for task, draft in BENCH.items("evaluation", 5, 10, 0):
        rules = next(doc for doc in task.setup["papers"] if doc.endswith("-plan"))
        forbidden = [line.split(" ")[1] for line in task.setup["papers"][rules] if line.startswith("no ")]
        for item in set(forbidden) & set(office.ITEMS):
            n_broken += 1
            assert play(BENCH, task, [act("order", item=item, amount=5), *draft.expert]).value == pytest.approx(1 / 3)
    assert n_broken > 10


def test_hostile_calls_and_answers_do_no_harm():
    for level in (1, 5):
        (task,) = first_tasks(BENCH, "evaluation", level, 1, 0)
        draft = BENCH.generate("evaluation", level, 0, 0)
        world = fuzz(BENCH, task, 3_000)
        for item in office.ITEMS * 3:
            world.step(Call(name="order", arguments={"item": item, "amount": 7}))
        assert len(world.entries) <= len(office.ITEMS) and len(world.read) <= 60
        for answer in HOSTILE:
            value = office.grade(task, draft.key, world, answer).value
            assert 0.0 <= value <= 0.4


def test_description_contains_every_document_and_wrong_turns_are_other_valid_calls():
    for task in first_tasks(BENCH, "train", 4, 10, 0):
        text = office.describe(task.setup)
        assert all("\n".join([doc, *lines]) in text for doc, lines in task.setup["papers"].items())
        assert all(f"{item} {count} min {least}" in text
                   for rows in task.setup["stocks"].values() for item, (count, least) in rows.items())  # fmt: skip
    for level in LEVELS:
        check_wrong_turns(BENCH, level)
