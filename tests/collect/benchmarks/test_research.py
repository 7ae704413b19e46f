"""The research environment: what it asks is found by reading, partial tables earn partial scores, nothing breaks it."""

import re

import pytest
from parts import first_tasks
from suite_checks import (
    HOSTILE,
    check_wrong_turns,
    fuzz,
    mean_of_nothing_and_of_random_calls,
    play,
)

from replication.collect.benchmarks.suite import LEVELS, SuiteBenchmark, research
from replication.collect.benchmarks.suite.kit import act
from replication.collect.benchmarks.suite.policies import erring, evaluate
from replication.collect.interfaces import Action
from replication.collect.scaffolds.compact import Compact
from replication.records import Call

BENCH = SuiteBenchmark(research.ENVIRONMENT)


def secrets(task, draft):
    """The names and cells of the table; a cell may equal the bound of the condition by chance."""
    bound = re.findall(r"over (\d+)", task.prompt)
    return [value for row, cells in draft.key["table"].items() for value in (row, *cells) if value not in bound]


def adds(draft):
    return [action for action in draft.expert if action.calls and action.calls[0].name == "add"]


@pytest.mark.parametrize("level", LEVELS)
def test_expert_gets_the_whole_table_and_writes_it_in_the_compact_grammar(level):
    scaffold = Compact()
    for task, draft in BENCH.items("evaluation", level, 20, 0):
        assert play(BENCH, task, draft.expert).details == {"item_f1": 1.0, "row_f1": 1.0, "success": True}
        assert len(adds(draft)) == len(draft.key["table"])
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
    turns = [sum(len(BENCH.generate("train", level, i, 0).expert) for i in range(20)) for level in LEVELS]
    assert turns == sorted(set(turns))


def test_fixed_error_rate_costs_more_at_every_level():
    values = [evaluate(BENCH, erring(0.1), level, n, 0) for level, n in zip(LEVELS, (400, 400, 200, 80, 60))]
    assert values == sorted(set(values), reverse=True)


def test_names_of_the_rows_are_in_no_prompt():
    for level in LEVELS:
        for task, draft in BENCH.items("evaluation", level, 20, 0):
            words = task.prompt.replace(".", " ").split()
            assert not draft.key["table"].keys() & set(words)


@pytest.mark.parametrize("level", (1, 3))
def test_half_of_the_rows_is_precise_but_incomplete(level):
    for task, draft in BENCH.items("evaluation", level, 30, 0):
        n, rows = len(draft.key["table"]), adds(draft)[: len(draft.key["table"]) // 2]
        wanted = 2 * len(rows) / (n + len(rows))
        assert play(BENCH, task, rows).details == {
            "item_f1": pytest.approx(wanted), "row_f1": pytest.approx(wanted), "success": False
        }  # fmt: skip


def test_right_names_with_wrong_values_count_the_names_only():
    for level in LEVELS:
        for task, draft in BENCH.items("evaluation", level, 10, 0):
            n_columns = 1 + len(task.setup["columns"])
            rows = [act("add", row=" ".join([name, *["x"] * (n_columns - 1)])) for name in draft.key["table"]]
            score = play(BENCH, task, [*rows, Action(answer="done")])
            assert score.value == pytest.approx(1 / n_columns)
            assert score.details["row_f1"] == 0.0


def test_taking_everybody_costs_precision():
    for task, draft in BENCH.items("evaluation", 2, 30, 0):
        lines = [line.split(" ") for page in task.setup["pages"] for line in page["lines"]]
        extra = sorted({words[0] for words in lines} - draft.key["table"].keys())
        rows = [act("add", row=f"{name} 1 1") for name in extra]
        n = len(draft.key["table"])
        assert play(BENCH, task, [*rows, *draft.expert]).value == pytest.approx(2 * n / (2 * n + len(extra)))


def test_trusting_the_oldest_page_keeps_names_and_cells_without_a_newer_claim():
    n_overruled = 0
    for task, draft in BENCH.items("evaluation", 2, 40, 0):
        table, columns, oldest = draft.key["table"], task.setup["columns"], {}
        for page in sorted(task.setup["pages"], key=lambda page: -page["day"]):
            for name, *words in (line.split(" ") for line in page["lines"]):
                said = dict(zip(words[::2], words[1::2], strict=True))
                oldest[name] = [said.get(column) for column in columns]
        right = sum(oldest[name][i] == cells[i] for name, cells in table.items() for i in range(2))
        n_overruled += 2 * len(table) - right
        rows = [act("add", row=" ".join([name, *oldest[name]])) for name in table]
        assert play(BENCH, task, rows).value == pytest.approx((len(table) + right) / (3 * len(table)))
    assert n_overruled > 40


def test_item_f1_of_small_tables_is_as_worked_out_by_hand():
    # Three rows of a name and a cell are six items.
    tasks = [(task, draft) for task, draft in BENCH.items("evaluation", 1, 60, 0) if len(draft.key["table"]) == 3]
    assert len(tasks) > 10
    for task, draft in tasks:
        a, b, c = adds(draft)
        name, cell = a.calls[0].arguments["row"].split(" ")
        stray, wrong = act("add", row="stray 1"), act("add", row=f"{name} {cell}0")
        for rows, value in (
            ([a, b, c], 1.0),
            ([a, b], 2 * 4 / (6 + 4)),
            ([a, b, c, stray], 2 * 6 / (6 + 8)),
            ([wrong, b, c], 2 * 5 / (6 + 6)),
            ([a, b, c, wrong], 2 * 5 / (6 + 6)),  # of two rows with one name the last counts
            ([wrong, a, b, c], 1.0),
            ([a, b, c, stray, act("drop", name="stray")], 1.0),
            ([a, b, c, act("drop", name=name)], 2 * 4 / (6 + 4)),
            ([wrong, stray], 2 * 1 / (6 + 4)),
            ([stray], 0.0),
        ):
            assert play(BENCH, task, [*rows, Action(answer="done")]).value == pytest.approx(value, abs=1e-12)


def test_table_in_the_answer_but_not_added_scores_zero():
    for task, draft in BENCH.items("evaluation", 2, 10, 0):
        told = "\n".join(" ".join([name, *cells]) for name, cells in draft.key["table"].items())
        assert play(BENCH, task, [Action(answer=told)]).value == 0.0


def test_cells_in_the_order_of_another_table_keep_the_names_only():
    checked = 0
    for task, draft in BENCH.items("evaluation", 2, 40, 0):
        table = draft.key["table"]
        if all(one != other for one, other in table.values()):
            checked += 1
            rows = [act("add", row=" ".join([name, *cells[::-1]])) for name, cells in table.items()]
            assert play(BENCH, task, rows).value == pytest.approx(1 / 3)
    assert checked > 20


def test_members_who_fail_the_condition_cost_precision():
    for task, draft in BENCH.items("evaluation", 3, 20, 0):
        group = next(c.arguments["word"] for a in draft.expert for c in a.calls if c.name == "find")
        members = {
            line.split(" ")[0] for page in task.setup["pages"] for line in page["lines"] if f" in {group}" in line
        }
        n, extra = len(draft.key["table"]), sorted(members - draft.key["table"].keys())
        assert len(extra) == research.N_FAILING[3] == 1
        score = play(BENCH, task, [act("add", row=f"{extra[0]} 1 1"), *draft.expert])
        assert score.value == pytest.approx(2 * n / (2 * n + 1)) and not score.details["success"]


def test_people_added_under_their_old_names_are_other_rows():
    checked = 0
    for task, draft in BENCH.items("evaluation", 5, 10, 0):
        lines = [line.split(" ") for page in task.setup["pages"] for line in page["lines"] if " now " in f" {line} "]
        old = {words[words.index("now") + 1]: words[0] for words in lines}
        n, n_old = len(draft.key["table"]), len(old.keys() & draft.key["table"].keys())
        rows = [act("add", row=" ".join([old.get(name, name), *cells])) for name, cells in draft.key["table"].items()]
        checked += n_old
        assert play(BENCH, task, rows).value == pytest.approx((n - n_old) / n)
    assert checked > 10


def test_former_members_and_members_under_the_bound_are_distractors():
    for task, draft in BENCH.items("evaluation", 5, 10, 0):
        group = next(c.arguments["word"] for a in draft.expert for c in a.calls if c.name == "find")
        named = {line.split(" ")[0] for page in task.setup["pages"] for line in page["lines"] if f" in {group}" in line}
        assert len(named) == len(draft.key["table"]) + research.N_FAILING[5] + research.N_FORMER[5]


def test_row_can_be_corrected_and_dropped():
    task, draft = next(BENCH.items("evaluation", 1, 1, 0))
    name = next(iter(draft.key["table"]))
    corrected = [act("add", row=f"{name} wrong"), act("add", row="stray 1"), act("drop", name="stray")]
    assert play(BENCH, task, [*corrected, *draft.expert]).value == 1.0


def test_long_listings_come_in_parts():
    (task,) = first_tasks(BENCH, "evaluation", 5, 1, 0)
    world, page = BENCH.start(task), max(task.setup["pages"], key=lambda page: len(page["lines"]))
    seen = world.step(Call(name="open", arguments={"page": page["page"]})).split("\n")
    while seen[-1] == "more":
        seen[-1:] = world.step(Call(name="next", arguments={})).split("\n")
    assert seen[1:] == page["lines"]
    assert world.step(Call(name="next", arguments={})) == "error: no more"


def test_hostile_calls_and_answers_do_no_harm():
    for level in (1, 5):
        (task,) = first_tasks(BENCH, "evaluation", level, 1, 0)
        world = fuzz(BENCH, task, 3_000)
        for i in range(200):
            world.step(Call(name="add", arguments={"row": f"n{i} " + "1 " * len(task.setup["columns"])}))
        assert len(world.table) <= research.MAX_ROWS
        for answer in HOSTILE:
            assert (
                0.0 <= research.grade(task, BENCH.generate("evaluation", level, 0, 0).key, world, answer).value <= 0.05
            )


def test_description_contains_every_line_and_wrong_turns_are_other_valid_calls():
    for task in first_tasks(BENCH, "train", 3, 10, 0):
        text = research.describe(task.setup)
        assert all(line in text for page in task.setup["pages"] for line in page["lines"])
    for level in LEVELS:
        check_wrong_turns(BENCH, level)
