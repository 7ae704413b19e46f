"""The terminal environment: files that are almost as wanted score 0, and looking around costs nothing."""

import pytest
from suite_checks import play, values_of

from replication.collect.benchmarks.suite import LEVELS, SuiteBenchmark, terminal
from replication.collect.benchmarks.suite.kit import act
from replication.collect.interfaces import Action

BENCH = SuiteBenchmark(terminal.ENVIRONMENT)
LOOKING = ("ls", "cat", "grep")


def secrets(task, draft):
    """The paths to move or delete, and the texts to write."""
    return [*values_of(draft, "file", "mv", "rm"), *values_of(draft, "text", "write")]


def items(level, n=40):
    return list(BENCH.items("evaluation", level, n, 0))


def changes(draft):
    return [action for action in draft.expert if action.calls and action.calls[0].name not in LOOKING]


def instead(actions, old, *new):
    return [action for one in actions for action in (new if one is old else (one,))]


def check(task, actions, value, n_wrong_files):
    score = play(BENCH, task, actions)
    assert (score.value, score.details["n_wrong_files"]) == (value, n_wrong_files), task.id


@pytest.mark.parametrize("level", LEVELS)
def test_stray_file_scores_zero_unless_it_is_removed_again(level):
    for task, draft in items(level, 10):
        stray = act("write", file="stray.txt", text="x")
        check(task, [*draft.expert, stray], 0.0, 1)
        check(task, [stray, *draft.expert, act("rm", file="stray.txt")], 1.0, 0)


def test_copy_where_a_move_was_asked_for_leaves_one_file_too_many():
    checked = 0
    for task, draft in items(1, 80):
        for move in (action for action in changes(draft) if action.calls[0].name == "mv"):
            checked += 1
            copy = act("cp", **move.calls[0].arguments)
            check(task, instead(draft.expert, move, copy), 0.0, 1)
            check(task, instead(draft.expert, move, copy, act("rm", file=move.calls[0].arguments["file"])), 1.0, 0)
    assert checked > 5


def test_file_moved_instead_of_deleted_scores_zero():
    checked = 0
    for task, draft in items(1, 80):
        for removal in (action for action in changes(draft) if action.calls[0].name == "rm"):
            checked += 1
            file = removal.calls[0].arguments["file"]
            check(task, instead(draft.expert, removal, act("mv", file=file, target="old/gone.txt")), 0.0, 1)
            check(task, instead(draft.expert, removal, act("write", file=file, text="")), 0.0, 1)
    assert checked > 5


@pytest.mark.parametrize("level", (3, 5))
def test_every_errand_left_out_costs_the_whole_score(level):
    for task, draft in items(level, 10):
        assert len(changes(draft)) == terminal.ERRANDS[level]
        for left_out in changes(draft):
            n_wrong = {"write": 1, "rm": 1, "mv": 2}[left_out.calls[0].name]
            check(task, instead(draft.expert, left_out), 0.0, n_wrong)


def test_right_number_in_other_words_or_with_a_blank_or_line_break_scores_zero():
    checked = 0
    for task, draft in items(1):
        for write in (action for action in changes(draft) if action.calls[0].name == "write"):
            checked += 1
            file, text = write.calls[0].arguments.values()
            for wrong in (f"code {text}", f"{text} ", f"{text}\n", f"0{text}", ""):
                check(task, instead(draft.expert, write, act("write", file=file, text=wrong)), 0.0, 1)
    assert checked > 10


def test_number_of_somebody_else_scores_zero():
    checked = 0
    for task, draft in items(2):
        for write in (action for action in changes(draft) if action.calls[0].name == "write"):
            file, text = write.calls[0].arguments.values()
            numbers = {word for lines in task.setup["files"].values() for word in lines.split() if word.isdecimal()}
            for number in sorted(numbers - {text})[:3]:
                checked += 1
                check(task, instead(draft.expert, write, act("write", file=file, text=number)), 0.0, 1)
    assert checked > 50


def test_file_that_only_mentions_the_name_deleted_too_scores_zero():
    checked = 0
    for task, draft in items(4):
        touched = {value for action in changes(draft) for value in action.calls[0].arguments.values()}
        spare = [file for file in task.setup["files"] if file not in touched]
        if spare:
            checked += 1
            check(task, [*draft.expert, act("rm", file=spare[0])], 0.0, 1)
    assert checked > 20


@pytest.mark.parametrize("level", LEVELS)
def test_looking_around_and_failed_commands_are_free_and_the_answer_is_not_read(level):
    for task, draft in items(level, 10):
        looks = [act("ls"), *(act("cat", file=file) for file in task.setup["files"]), act("grep", word="see")]
        errors = [act("cat", file="nowhere"), act("rm", file="nowhere"), act("write", file="x" * 81, text="x")]
        check(task, [*looks, *errors, *draft.expert[:-1], Action(answer="I could not do it")], 1.0, 0)
