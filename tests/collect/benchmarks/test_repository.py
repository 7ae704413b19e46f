"""Changes that are incomplete or too broad score 0."""

import re

from parts import first_tasks
from suite_checks import calls_not_in_prompt
from test_workshop import edits, score

from replication.collect.benchmarks.suite import SuiteBenchmark
from replication.collect.benchmarks.suite.code import repository
from replication.collect.benchmarks.suite.kit import act

REPOSITORY = repository.ENVIRONMENT
BENCH = SuiteBenchmark(REPOSITORY)


def secrets(task, draft):
    """The hidden tests; the prompt lists at most one of their calls."""
    return calls_not_in_prompt(task, draft, 1)


def test_every_place_left_out_costs_the_whole_score():
    for level in (1, 2, 3):
        for task, draft in BENCH.items("evaluation", level, 15, 0):
            for left_out in edits(draft):
                if left_out.calls[0].name == "set":
                    rest = [a for a in draft.expert if a is not left_out]
                    assert score(REPOSITORY, task, draft.key, rest) == 0.0, (task.prompt, left_out)


def replaced_blindly(task, old, new):
    """Put new for old in every line, as a careless search and replace does."""
    return [
        act("set", file=file, line=i, text=line.replace(old, new))
        for file, text in task.setup["files"].items()
        for i, line in enumerate(text.split("\n"), 1)
        if old in line
    ]


def test_a_blind_search_and_replace_breaks_longer_names():
    checked = 0
    for task, draft in BENCH.items("evaluation", 2, 120, 0):
        found = re.match(r"rename (\w+) to (\w+)", task.prompt)
        if found:
            checked += 1
            assert score(REPOSITORY, task, draft.key, replaced_blindly(task, *found.groups())) == 0.0
    assert checked > 3


def edited_afterwards(task, draft, line_of):
    """Let the expert work, then edit lines again: `line_of` gives a line's new text."""
    world = repository.World(task.setup)
    for action in draft.expert:
        for call in action.calls:
            world.step(call)
    return [
        *draft.expert,
        *(
            act("set", file=file, line=i, text=line_of(line))
            for file, lines in world.files.items()
            for i, line in enumerate(lines, 1)
            if line_of(line) != line
        ),
    ]


def test_name_changed_in_quoted_texts_too_scores_zero_and_in_notes_too_one():
    checked = 0
    for task, draft in BENCH.items("evaluation", 3, 120, 0):
        for old, new in re.findall(r"(?:rename|call) (\w+)(?: to)? (\w+) (?:everywhere|in all|wherever)", task.prompt):
            checked += 1
            quoted = edited_afterwards(
                task, draft, lambda line, old=old, new=new: line.replace(f'"{old} "', f'"{new} "')
            )
            notes = edited_afterwards(
                task, draft, lambda line, old=old, new=new: line.replace(old, new) if line.startswith("#") else line
            )
            assert len(quoted) == len(draft.expert) + 1 < len(notes)
            assert score(REPOSITORY, task, draft.key, quoted) == 0.0
            assert score(REPOSITORY, task, draft.key, notes) == 1.0
    assert checked > 5


def test_definition_changed_without_its_calls_or_calls_without_the_definition_scores_zero():
    checked = 0
    for task, draft in BENCH.items("evaluation", 2, 60, 0):
        definitions = [a for a in edits(draft) if a.calls[0].arguments["text"].startswith("def ")]
        others = [a for a in edits(draft) if a not in definitions]
        if definitions and "at the end of" not in task.prompt and "add to" not in task.prompt:
            checked += 1
            for half in (definitions, others):
                assert score(REPOSITORY, task, draft.key, half) == 0.0
    assert checked > 10


def test_at_level_one_a_search_and_replace_is_enough_to_rename():
    checked = 0
    for task, draft in BENCH.items("evaluation", 1, 60, 0):
        found = re.match(r"rename (\w+) to (\w+)", task.prompt)
        if found:
            checked += 1
            assert score(REPOSITORY, task, draft.key, replaced_blindly(task, *found.groups())) == 1.0
    assert checked > 5


def test_a_new_value_in_the_file_that_keeps_the_old_one_scores_zero():
    checked = 0
    for task, draft in BENCH.items("evaluation", 4, 60, 0):
        found = re.search(r"change (\w+) from (\d+) to (\d+) [a-z ]+?(?: but not in|, only) (\w+)", task.prompt)
        if not found:
            continue
        name, old, new, file = found.groups()
        lines = task.setup["files"][file].split("\n")
        if f"{name} = {old}" in lines:
            checked += 1
            # The line keeps its number: insertions of this expert go to the ends of files.
            line = lines.index(f"{name} = {old}") + 1
            broad = act("set", file=file, line=line, text=f"{name} = {new}")
            assert score(REPOSITORY, task, draft.key, [*draft.expert, broad]) == 0.0
    assert checked > 3


def test_old_name_kept_next_to_the_new_one_scores_zero():
    checked = 0
    for task, draft in BENCH.items("evaluation", 1, 60, 0):
        found = re.match(r"rename (\w+) to (\w+)", task.prompt)
        if found:
            checked += 1
            old, new = found.groups()
            file = next(f for f, text in task.setup["files"].items() if f"def {old}(" in text)
            alias = [f"def {new}(v)", f"return {old}(v)", "end"]
            actions = [act("insert", file=file, line=i, text=text) for i, text in enumerate(alias, 1)]
            assert score(REPOSITORY, task, draft.key, actions) == 0.0
    assert checked > 5


def test_every_kind_of_change_appears():
    prompts = " ".join(t.prompt for t in first_tasks(BENCH, "evaluation", 3, 40, 0))
    for words in ("change", "rename", "becomes", "second value", "at the end of"):
        assert words in prompts
