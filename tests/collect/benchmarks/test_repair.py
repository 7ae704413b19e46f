"""Repairs that look right and are not score 0; repairs of another wording score 1."""

from suite_checks import calls_not_in_prompt, values_of
from test_workshop import edits, score

from replication.collect.benchmarks.suite import SuiteBenchmark
from replication.collect.benchmarks.suite.code import repair
from replication.collect.benchmarks.suite.code.workshop import TaskBuilder
from replication.collect.benchmarks.suite.kit import act

REPAIR = repair.ENVIRONMENT
BENCH = SuiteBenchmark(REPAIR)


def secrets(task, draft):
    """The right lines, and the hidden tests; the prompt lists one failing call per mistake."""
    n_mistakes = repair.N_MISTAKES[task.attributes["level"]]
    return [*values_of(draft, "text", "set", "insert"), *calls_not_in_prompt(task, draft, n_mistakes)]


def test_special_case_for_the_listed_call_scores_zero():
    for task, draft in BENCH.items("evaluation", 1, 60, 0):
        call, right = next(t for t in draft.key["fail_to_pass"] if t[0] in task.prompt)
        name, values = call[:-1].split("(")
        file, line = TaskBuilder(task.setup).place(name)
        parameters = task.setup["files"][file].split("\n")[line - 1].partition("(")[2][:-1].split(", ")
        test = " and ".join(f"{p} == {v}" for p, v in zip(parameters, values.split(", "), strict=True))
        cheat = [f"if {test}", f"return {right}", "end"]
        actions = [act("insert", file=file, line=line + 1 + i, text=text) for i, text in enumerate(cheat)]
        world = repair.World(task.setup)
        for action in actions:
            world.step(action.calls[0])
        assert world.run(call) == right
        assert score(REPAIR, task, draft.key, actions) == 0.0
        constant = act("set", file=file, line=line + 1, text=f"return {right}")
        assert score(REPAIR, task, draft.key, [constant]) == 0.0


def test_one_of_several_mistakes_fixed_scores_zero():
    for level in (3, 4, 5):
        for task, draft in BENCH.items("evaluation", level, 6, 0):
            for left_out in edits(draft):
                assert score(REPAIR, task, draft.key, [a for a in draft.expert if a is not left_out]) == 0.0


def test_fixed_but_something_else_broken_scores_zero():
    caught = checked = 0
    for task, draft in BENCH.items("evaluation", 2, 30, 0):
        touched = edits(draft)[0].calls[0].arguments
        for file, text in task.setup["files"].items():
            for line, code in enumerate(text.split("\n"), 1):
                if code.startswith("return ") and (file, line) != (touched["file"], touched["line"]):
                    broken = act("set", file=file, line=line, text="return 0 - 987654")
                    caught += score(REPAIR, task, draft.key, [*draft.expert[:-1], broken]) == 0.0
                    checked += 1
    # A return that no sensible call reaches may stay unseen.
    assert checked > 60
    assert caught / checked > 0.95


def test_calling_function_changed_in_place_of_the_wrong_one_scores_zero():
    for task, draft in BENCH.items("evaluation", 2, 30, 0):
        call, right = next(t for t in draft.key["fail_to_pass"] if t[0] in task.prompt)
        file, line = TaskBuilder(task.setup).place(call.partition("(")[0])
        assert (
            score(
                repair.ENVIRONMENT, task, draft.key, [act("insert", file=file, line=line + 1, text=f"return {right}")]
            )
            == 0.0
        )


def test_fixed_program_with_an_unfinished_or_doubled_function_scores_zero_and_with_a_new_one_one():
    for task, draft in BENCH.items("evaluation", 2, 15, 0):
        (edit,) = edits(draft)
        file = edit.calls[0].arguments["file"]
        # In the first line, so that the lines of the repair move on by as many.
        for lines, value in (
            (["def new_one(v)", "return v"], 0.0),
            (["end"], 0.0),
            (["def new_one(v)", "return v", "end", "def new_one(v)", "return v", "end"], 0.0),
            (["def new_one(v)", "return v", "end"], 1.0),
            (["# fixed"], 1.0),
        ):
            inserted = [act("insert", file=file, line=i, text=text) for i, text in enumerate(lines, 1)]
            assert score(REPAIR, task, draft.key, [*draft.expert, *inserted]) == value


def test_wrong_function_deleted_scores_zero():
    for task, draft in BENCH.items("evaluation", 2, 15, 0):
        (edit,) = edits(draft)
        file, line = edit.calls[0].arguments["file"], edit.calls[0].arguments["line"]
        lines = task.setup["files"][file].split("\n")
        start = max(i for i in range(line) if lines[i].startswith("def "))
        following = (i for i in range(start + 1, len(lines)) if lines[i].startswith(("def ", "#")))
        n = next(following, len(lines)) - start
        gone = [act("delete", file=file, line=start + 1) for _ in range(n)]
        assert score(REPAIR, task, draft.key, gone) == 0.0


def test_the_same_repair_in_other_words_scores_one():
    for task, draft in BENCH.items("evaluation", 1, 40, 0):
        (edit,) = edits(draft)
        values = edit.calls[0].arguments
        if values["text"].startswith("return "):
            other = [
                act("set", **values | {"text": f"result = {values['text'].removeprefix('return ')}"}),
                act("insert", **values | {"line": values["line"] + 1, "text": "  return (result + 0)"}),
                act("insert", **values | {"line": 1, "text": "# fixed"}),
            ]
            assert score(REPAIR, task, draft.key, other) == 1.0


def test_the_right_lines_are_neither_in_the_files_nor_in_the_prompt_before_the_repair():
    for task, draft in BENCH.items("evaluation", 1, 60, 0):
        (edit,) = edits(draft)
        text = edit.calls[0].arguments["text"]
        assert text not in "\n".join(task.setup["files"].values()).split("\n")
        assert text not in task.prompt
