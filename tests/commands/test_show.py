"""`make show` and `make play`: what a person sees, an expert's episode, own moves from lines, clear errors."""

import io
import os
import subprocess
import sys

import pytest
from parts import SCAFFOLDS

from replication import settings
from replication.collect.benchmarks import suite
from replication.commands import show
from replication.errors import ConfigError

every_environment = pytest.mark.parametrize("task", suite.NAMES)
every_scaffold = pytest.mark.parametrize(("scaffold", "syntax"), SCAFFOLDS)


def shown(capsys, *arguments):
    show.show(show.read(list(arguments)))
    return capsys.readouterr().out


def run_show(*arguments, stdin=""):
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": "ascii"}
    return subprocess.run(
        [sys.executable, "-m", "replication", "show", *arguments], input=stdin, capture_output=True, text=True,
        encoding="utf-8", env=env, cwd=settings.CONF.parent,
    )  # fmt: skip


@every_environment
@every_scaffold
def test_show_prints_prompt_tools_and_an_expert_that_scores_one(capsys, task, scaffold, syntax):
    text = shown(capsys, f"task={task}", "level=5", "seed=7", f"scaffold={scaffold}", f"tool_syntax={syntax}")
    made = suite.load(task).item("evaluation", 5, 0, 7).task
    assert text.startswith(f"{made.id}  content {made.content_hash}  scaffold {scaffold}")
    assert f"\n--- user\n{made.prompt}\n" in text
    assert all(tool.name in text for tool in made.tools)
    assert "\n--- score 1\nstopped by answer after" in text


def test_show_is_the_same_twice_and_another_seed_or_index_is_another_task(capsys):
    first = shown(capsys, "seed=1")
    assert first == shown(capsys, "seed=1")
    assert len({first, shown(capsys, "seed=2"), shown(capsys, "seed=1", "index=1")}) == 3


def test_tools_and_schemas_outside_of_the_messages_are_printed_too(capsys):
    assert "--- tools, in the chat template" in shown(capsys, "scaffold=native")
    assert '--- schema of all replies\n{"anyOf"' in shown(capsys, "scaffold=json")
    assert "<function=" in shown(capsys, "scaffold=native", "tool_syntax=qwen3_coder")


@every_environment
@every_scaffold
def test_person_who_types_the_actions_of_the_expert_scores_one(capsys, monkeypatch, task, scaffold, syntax):
    choice = (f"task={task}", "level=2", f"scaffold={scaffold}", f"tool_syntax={syntax}")
    blocks = shown(capsys, *choice).split("\n--- ")
    moves = [block.removeprefix("assistant\n").rstrip("\n") for block in blocks if block.startswith("assistant\n")]
    # An empty line ends a reply of several lines; a command is one line.
    typed = [line for move in moves for line in move.split("\n")] if scaffold == "compact" else moves
    end = "\n" if scaffold == "compact" else "\n\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(line + end for line in typed)))
    text = shown(capsys, *choice, "mode=play")
    assert "You act: " in text and "--- assistant" not in text and "--- score 1\n" in text


def test_person_sees_observations_and_errors_and_the_score(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("ls\n\nfly away\nanswer done"))
    text = shown(capsys, "mode=play")
    assert "--- tool\nerror: no command fly" in text and "--- score 0\nstopped by answer after 3 turns" in text


def test_person_who_leaves_has_no_score(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("ls\n"))
    assert "--- no score\nthe input ended before the episode" in shown(capsys, "mode=play")


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("tsk=terminal", "Key 'tsk' not in 'Choice'. The keys are: task, level"),
        ("terminal", "'terminal' is not key=value"),
        ("level=high", "Value 'high' of type 'str' could not be converted to Integer"),
        ("task=[", "while parsing"),
        ("mode=watch", "`mode` is 'watch'; allowed: show, play"),
        ("seed=-1", "`seed` must be at least 0; got -1"),
        ("task=sailing", "`benchmark` 'sailing' is not in the suite; allowed"),
        ("level=6", "has no task at split='evaluation', level=6"),
        ("scaffold=langchain", "`scaffold` 'langchain' is unknown"),
    ],
)
def test_wrong_argument_is_named(argument, message):
    with pytest.raises(ConfigError, match=message.replace("[", r"\[")):
        show.show(show.read([argument]))


def test_module_plays_in_utf8_and_a_wrong_key_exits_with_code_two():
    played = run_show("mode=play", stdin="cat é\nanswer done\n")
    assert played.returncode == 0 and "error: no file é" in played.stdout
    wrong = run_show("levl=2")
    assert wrong.returncode == 2 and wrong.stderr.startswith("error (ConfigError): levl=2: Key 'levl'")
    assert "Traceback" not in wrong.stderr and wrong.stdout == ""
