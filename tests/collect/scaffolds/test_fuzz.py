"""Hostile replies meet every scaffold and every world: no exception, no hang, bounded memory, and no file of the host."""

import contextlib
import json
import random
import signal
import sys
import tracemalloc
from dataclasses import dataclass

import pytest
from parts import LONG, SCAFFOLDS, make_job, n_turns_so_far, prompt_of

from replication.collect import runner, scaffolds
from replication.collect.benchmarks import suite
from replication.collect.benchmarks.suite import GeneratedTask, SuiteBenchmark
from replication.collect.engines.scripted import ScriptedEngine
from replication.collect.episodes import play
from replication.collect.interfaces import Action
from replication.collect.scaffolds.parsing import MAX_CALLS
from replication.records import UNSCORED_REASONS, Call, Reply, Task, canonical_json
from replication.store import Store

"é".encode("utf-16-le")  # imports that codec, which would be heard
READERS = [scaffolds.load(*names) for names in SCAFFOLDS]
MAX_SEEN = 4_100
"""Characters of the longest result of a call in any world."""


@dataclass(frozen=True)
class Target:
    """A task under attack, and what its expert says."""

    bench: SuiteBenchmark
    task: Task
    draft: GeneratedTask
    replies: list[str]


def target(name: str, level: int) -> Target:
    bench = suite.load(name)
    ((task, draft),) = bench.items("evaluation", level, 1, 0)
    replies = [scaffold.write(action) for scaffold in READERS for action in draft.expert]
    return Target(bench, task, draft, replies)


TARGETS = [target(name, level) for name in suite.NAMES for level in (1, 5)]
every_target = pytest.mark.parametrize(
    "aim", TARGETS, ids=lambda aim: f"{aim.task.benchmark}-{aim.task.attributes['level']}"
)


# What the machine is asked for: the hook hears of every file, process, socket and import, from C code too.

_heard: list[str] | None = None


def _hear(event, arguments):
    if _heard is not None:
        _heard.append(event)


sys.addaudithook(_hear)


@contextlib.contextmanager
def listening():
    """Collect the audit events of the block; a hook cannot be taken out again, so it is deaf elsewhere."""
    global _heard
    _heard = events = []
    try:
        yield events
    finally:
        _heard = None


def test_an_opened_file_a_listed_folder_and_a_process_would_be_heard(tmp_path):
    import os
    import subprocess

    with listening() as events:
        (tmp_path / "a").write_text("x")
        os.listdir(tmp_path)
        subprocess.run([sys.executable, "-c", ""], check=True)
    assert {"open", "os.listdir", "subprocess.Popen"} <= set(events)


@contextlib.contextmanager
def no_hang(cpu_s=30):
    """End a block that goes on and on, by the time of this process alone; Windows has no such clock."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def stop(number, frame):
        raise AssertionError(f"no end after {cpu_s} s")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, cpu_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


# What a reply is made of. TOOL and PARAMETER stand for names of the task's own.

PATHS = [
    "../../etc/passwd", "..\\..\\windows\\win.ini", "/dev/zero", "/dev/stdin", "/proc/self/environ", "~/.ssh/x", "~root",
    "C:\\x", "\\\\host\\share\\x", "file:///etc/passwd", "a/../../b", "%2e%2e%2fx", ".", "..", "/", "nul", "a\x00.txt", "*",
    "a" * 300, "$(touch x)", "`id`", "; rm -rf /", "| cat", "> out", "\u202etxt.exe",
]  # fmt: skip
CODE = [
    "def f(n)", "end", "while true", "return f(n)", "n = n + n", "n = [n, n]", "else", "for x in n", "f(f(9))", "f(" * 40,
    "range(0, 999999999999)", "[" * 60, "-" * 100 + "1", "not " * 25 + "true", "1" * 60, '"' * 61, "return __class__",
]  # fmt: skip
CONTROL = ["\x00", "\x1b[2J", "\r", "\x07\x08", "\u2028", "\x85", "\u200b", "\ufeff", "\udc80", "\ud800", "\U0010ffff"]
PIECES = [
    "<tool_call>", "</tool_call>", "<function=", "<function=TOOL>", "</function>", "<parameter=PARAMETER>", "<parameter=",
    "</parameter>", "<|python_tag|>", '{"name": "TOOL", "arguments": ', '{"name": "TOOL", "parameters": ', '{"tool": "TOOL"',
    '{"tool": "TOOL", "arguments": {"PARAMETER": "', '"}}', '{"calls": [', '{"answer": ', "Action: TOOL\n", "Action Input: ",
    "Final Answer: ", "Observation: ", "Thought: ", "**", "```json\n", "```", "<think>", "</think>", "answer ", "TOOL ",
    "Final Answer\n", "**Final Answer: ", "Answer: ", "Action: TOOL(", "TOOL(", "PARAMETER=", "'", ")", "{'TOOL': ",
    "[THINK]", "<tools>", "[TOOL_CALLS]", "<|channel|>final<|message|>",
    "PARAMETER", "\n", " ", "\t", "٣", "²", '"\\ud800"', "{", "}", "[", "]", '"', "\\", ",", ":", "null", "true", "NaN",
    "-Infinity", "1e999", "9" * 400, "-" + "9" * 5_000, "0.1", "x" * 3_000, "[" * 2_000, '{"a":' * 2_000, "]" * 50,
    *PATHS, *CODE, *CONTROL,
]  # fmt: skip
NUMBERS = [-1, 0, 1, 2, 3, 23, 10**6, 10**12, 10**30, 10**299, -(10**299)]
TEXTS = ["", " ", "x" * 4_000, "😀" * 2_000, "a b " * 50, "a " * 60, "1 2 3 4 5 6", *PATHS, *CODE, *CONTROL]
VALUES = [None, True, 0.5, 1e308, [], {}, [[1]], {"a": None}, *NUMBERS, *TEXTS]


def pieces(rng, aim):
    tool = rng.choice(aim.task.tools)
    parameter = rng.choice([*tool.parameters["properties"], "x"])
    text = "".join(rng.choice(PIECES) for _ in range(rng.randrange(14)))
    return text.replace("TOOL", tool.name).replace("PARAMETER", parameter)


def random_bytes(rng, aim):
    return rng.randbytes(rng.randrange(400)).decode("utf-8", rng.choice(("replace", "surrogateescape")))


def broken_expert(rng, aim):
    # What a model that knows the format gets wrong: cut, doubled, or with a few characters changed.
    text = rng.choice(aim.replies)
    kind = rng.randrange(4)
    if kind == 0:
        return text[: rng.randrange(len(text) + 1)]
    if kind == 1:
        return text * rng.randrange(2, 20)
    letters = list(text)
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(len(letters))
        letters[at : at + rng.randrange(2)] = rng.choice(PIECES)
    return "".join(letters)


def wrong_shape(rng, aim):
    # Sound JSON of another shape than a call has.
    tool = rng.choice(aim.task.tools)
    name = rng.choice([tool.name, tool.name, "sudo", "", None, 3, [], "__init__", "step", "_read", "x" * 5_000])
    given = dict(hostile_call(rng, aim).arguments)
    arguments = rng.choice([given, None, [], "x", 3, {"": {}}, {"x" * 500: 1}, nested(rng), json.dumps(given)])
    words = json.dumps(arguments)
    shapes = (
        json.dumps({"tool": name, "arguments": arguments}),
        json.dumps({"calls": [{"tool": name, "arguments": arguments}] * rng.randrange(12)}),
        json.dumps({"answer": arguments}),
        f"<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>",
        f"<function={name}><parameter=file>{words}</parameter></function>",
        json.dumps({"name": name, "parameters": arguments}),
        f"Action: {name}\nAction Input: {words}",
        f"{name} {words}",
    )
    return rng.choice(shapes)


def hostile_calls(rng, aim):
    # Calls of the right tools with a hostile value or more, as one of the scaffolds would have them written.
    calls = tuple(hostile_call(rng, aim) for _ in range(rng.choice((1, 2, 3, 8, 9))))
    return rng.choice(READERS).write(Action(calls=calls))


def hostile_call(rng, aim) -> Call:
    # Half of the values are the expert's, so that the others get past the first checks.
    tool = rng.choice(aim.task.tools)
    expert = [call.arguments for action in aim.draft.expert for call in action.calls if call.name == tool.name]
    good = rng.choice(expert) if expert else {}
    return Call(
        name=tool.name,
        arguments={
            key: good[key] if key in good and rng.random() < 0.5 else hostile_value(rng, schema)
            for key, schema in tool.parameters["properties"].items()
        },
    )


def hostile_value(rng, schema):
    # Mostly of the right type, which a world has to take further.
    if rng.random() < 0.05:
        return nested(rng)
    if rng.random() < 0.8:
        return rng.choice(NUMBERS if schema["type"] == "integer" else TEXTS)
    return rng.choice(VALUES)


def nested(rng):
    value = rng.choice(VALUES)
    for _ in range(rng.choice((1, 5, 40, 400))):
        value = rng.choice(([value], {"a": value}))
    return value


KINDS = (pieces, random_bytes, broken_expert, wrong_shape, *[hostile_calls] * 4)


def hostile_reply(rng, aim):
    return rng.choice(KINDS)(rng, aim)


def read(scaffold, task, text):
    """Read one reply and hold what was read to its bounds."""
    action = scaffold.parse(text, task)
    assert (action.problem is None) == (bool(action.calls) or action.answer is not None)
    assert len(action.calls) <= MAX_CALLS and len(action.problem or "") <= 500
    written = canonical_json([action.calls, action.answer])
    assert len(written) <= 6 * len(text) + 1_000  # a control character is six characters as JSON
    if scaffold.name != "compact" and text.isascii():
        written.encode()  # no lone surrogate out of an escape
    return action


def step(world, call):
    seen = world.step(call)
    assert isinstance(seen, str) and len(seen) <= MAX_SEEN
    return seen


def check_grade(aim, world, answer):
    value = aim.bench.environment.grade(aim.task, aim.draft.key, world, answer).value
    assert isinstance(value, float) and 0.0 <= value <= 1.0


def fuzz(n, seed, n_a_world=500):
    """Send hostile replies through all scaffolds and what was read through all worlds, many calls into each world."""
    rng, n_calls = random.Random(seed), 0
    for _ in range(n // n_a_world):
        worlds, answer = [(aim, aim.bench.start(aim.task)) for aim in TARGETS], None
        for _ in range(n_a_world):
            aim = rng.choice(TARGETS)
            text = hostile_reply(rng, aim)
            for scaffold in READERS:
                action = read(scaffold, aim.task, text)
                answer = action.answer if action.answer is not None else answer
                for call in action.calls:
                    n_calls += 1
                    for _, world in worlds:
                        step(world, call)
        for aim, world in worlds:
            check_grade(aim, world, answer)
    return n_calls


def test_five_thousand_hostile_replies_do_no_harm():
    with listening() as events:
        n_calls = fuzz(5_000, 0)
    assert n_calls > 5_000 and not events


@pytest.mark.slow
def test_a_hundred_thousand_hostile_replies_do_no_harm():
    with listening() as events:
        n_calls = fuzz(100_000, 1)
    assert n_calls > 100_000 and not events


# Many calls into one world.


def fill(world, aim, n) -> int:
    """Call tool after tool as the expert would, with ever new and long values; the most memory kept after any of them."""
    known = {key: value for action in aim.draft.expert for c in action.calls for key, value in c.arguments.items()}
    most = 0
    for tool in aim.task.tools:
        given = {key: known[key] for key in tool.parameters["properties"] if key in known}
        for i in range(n):
            new = {
                key: value + i if isinstance(value, int) else f"n{i}{value}".ljust(LENGTHS[i % len(LENGTHS)], "😀")
                for key, value in given.items()
            }
            for key in given:
                step(world, Call(name=tool.name, arguments=given | {key: new[key]}))
            step(world, Call(name=tool.name, arguments=new))
        new = None
        most = max(most, tracemalloc.get_traced_memory()[0])
    return most


LENGTHS = (0, 0, 75, 75, 115, 195, 3_900, 10_000)
"""Around what worlds allow: 80 for a path, 120 for a line, 200 for a value and 4,000 for a file."""


@every_target
def test_world_that_is_filled_stops_growing_and_can_be_graded(aim):
    fill(aim.bench.start(aim.task), aim, 260)  # the caches of the module, which are bounded too but belong to no world
    world = aim.bench.start(aim.task)
    tracemalloc.start()
    try:
        kept = [fill(world, aim, n) for n in (130, 260)]
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert kept[0] < 2**21 and kept[1] - kept[0] < 2**15 and most < 2**23
    for answer in (None, "", "x" * 1_000_000, "1 " * 500_000, "\x00\ud800", "refused " * 999, "missing " * 100_000):
        check_grade(aim, world, answer)


def test_search_through_full_files_of_many_lines_takes_bounded_memory():
    ((task, _),) = suite.load("terminal").items("evaluation", 1, 1, 0)
    world = suite.load("terminal").start(task)
    for i in range(100):
        step(world, Call(name="write", arguments={"file": f"f{i}".ljust(80, "x"), "text": "a\n" * 2_000}))
    tracemalloc.start()
    try:
        step(world, Call(name="grep", arguments={"word": "a"}))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 2**26


@every_target
def test_value_of_a_million_characters_is_answered_shortly_by_every_tool(aim):
    for text in (
        "x" * 1_000_000,
        "1 " * 500_000,
        "\n" * 1_000_000,
        "\x00" * 1_000_000,
        "(" * 1_000_000,
        "../" * 333_333,
    ):
        world = aim.bench.start(aim.task)
        for tool in aim.task.tools:
            for key in tool.parameters["properties"]:
                arguments = dict.fromkeys(tool.parameters["properties"], "x") | {key: text}
                with no_hang():
                    step(world, Call(name=tool.name, arguments=arguments))
            step(world, Call(name=text, arguments={}))
            step(world, Call(name=tool.name, arguments={text: text}))
        check_grade(aim, world, text)


# Long replies.

AROUND = [
    ('{"tool": "write", "arguments": {"file": "a", "text": ', "}}"), ('{"calls": [{"tool": "ls", "arguments": ', "}]}"),
    ('<tool_call>{"name": "write", "arguments": {"text": ', "}}</tool_call>"), ('{"name": "ls", "parameters": {"a": ', "}}"),
    ('Action: write\nAction Input: {"text": ', "}"), ("<function=write><parameter=text>", "</parameter></function>"),
]  # fmt: skip
"""What may stand around a value in each syntax."""
THINKING = ("<think>", "</think>", "[THINK]", "<|channel|>final<|message|>")
"""Pieces of which a reply of any length is thinking alone, or empty."""
LONG_REPLIES = [
    *(piece * (1_000_000 // len(piece)) for piece in PIECES if piece not in THINKING),
    *(f"</think>{piece * (99_000 // len(piece))}" for piece in PIECES),
    *(f"{start}{'[' * 90_000}" for start in ("<tool_call>", "Action: cat\nAction Input: {\"a\":", '{"name":')),
    "<function=cat>" + "<parameter=a>" * 7_000, "<parameter=a>" * 7_000 + "<function=cat>", "<tool_call>" + '{"' * 49_000,
    '{"tool": "cat", "arguments": {"file": "' + "x" * 1_000_000 + '"}}', "{" + " " * 95_000 + "{", "**" * 49_000 + "Action",
    *(f"{start}{'[' * depth}{']' * depth}{end}" for depth in (20, 500, 900, 40_000) for start, end in AROUND),
    '{"answer": "' + "\\u0000" * 16_000 + '"}', "{" + ",".join(f'"k{i}":[[]]' for i in range(8_000)) + "}",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("scaffold", READERS, ids=["-".join(names) for names in SCAFFOLDS])
def test_reply_of_a_million_characters_is_read_to_its_end_in_bounded_memory(scaffold):
    aim, largest = TARGETS[-1], 0
    tracemalloc.start()
    try:
        for text in LONG_REPLIES:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            with no_hang():
                action = read(scaffold, aim.task, text.replace("TOOL", "cat").replace("PARAMETER", "file"))
            if scaffold.name != "compact" and "</think>" not in text and len(text.strip()) > 101_000:
                assert action.problem == "error: reply too long"
            for call in action.calls:
                step(aim.bench.start(aim.task), call)
            largest = max(largest, tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()
    assert largest < 32 * 2**20


# Whole episodes.


def hostile_model(aim_of, scaffold):
    """Make a script whose replies depend on the request alone: mostly the expert's next one, else a hostile one."""

    def script(request):
        rng, aim = random.Random(request.seed), aim_of(request)
        if rng.random() < 0.3:
            return hostile_reply(rng, aim)
        turns = aim.draft.expert
        return scaffold.write(turns[min(n_turns_so_far(request), len(turns) - 1)])

    return script


def play_hostile(aim, scaffold, trial):
    """Play one episode of up to 100 turns and grade it; what the model is shown stays short."""
    job = make_job(aim.task.benchmark, n_tasks=0, **LONG)
    script = hostile_model(lambda request: aim, scaffold)
    turns = play(job.spec, aim.task, trial, aim.bench.start(aim.task), scaffold)
    request = next(turns)
    while True:
        try:
            request = turns.send(Reply(text=script(request), finish="stop", n_prompt_tokens=1, n_completion_tokens=1))
        except StopIteration as end:
            episode = end.value
            break
    assert episode.stop_reason not in UNSCORED_REASONS
    shown = [message.content for message in episode.trajectory[2:] if message.role != "assistant"]
    assert all(len(text) <= MAX_CALLS * (MAX_SEEN + 50) for text in shown)
    value = aim.bench.grade(aim.task, episode).value
    assert isinstance(value, float) and 0.0 <= value <= 1.0
    return episode


def play_many(n_trials):
    return [play_hostile(aim, scaffold, i) for aim in TARGETS for scaffold in READERS for i in range(n_trials)]


def test_hostile_episodes_end_with_a_reason_and_a_score():
    with listening() as events:
        episodes = play_many(3)
    assert {episode.stop_reason for episode in episodes} >= {"answer", "malformed"} and not events


@pytest.mark.slow
def test_thousands_of_hostile_episodes_end_with_a_reason_and_a_score():
    with listening() as events:
        play_many(100)
    assert not events


def test_hostile_episodes_are_stored_and_read_again_as_they_were_played(tmp_path):
    by_prompt, said, stored = {aim.task.prompt: aim for aim in TARGETS}, [], []
    for (scaffold, syntax), reader in zip(SCAFFOLDS, READERS, strict=True):
        jobs = [
            make_job(name, scaffold=scaffold, tool_syntax=syntax, n_tasks=1, n_trials=1, **LONG) for name in suite.NAMES
        ]
        script = hostile_model(lambda request: by_prompt[prompt_of(request)], reader)
        engine = ScriptedEngine(script)
        runner.collect(Store(tmp_path), engine, jobs, concurrency=8, title="test")
        said += [script(request) for request in engine.requests]
        episodes = [e for job in jobs for e in Store(tmp_path).episodes(job.spec.run_id, trajectories=True)]
        stored += [m.content for e in episodes for m in e.trajectory if m.role == "assistant"]
    table = Store(tmp_path).score_table()
    assert len(table) == len(suite.NAMES) * len(SCAFFOLDS) and table["value"].between(0, 1).all()
    assert not set(table["stop_reason"]) & set(UNSCORED_REASONS)
    assert sorted(stored) == sorted(said)
