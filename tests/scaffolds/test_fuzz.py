"""Every scaffold reads any text: no exception, no hang, bounded memory, and nothing that a world cannot take."""

import json
import random
import time
import tracemalloc

import pytest

from replication import scaffolds
from replication.benchmarks import suite
from replication.records import canonical_json
from replication.scaffolds.native import SYNTAXES
from replication.scaffolds.reading import MAX_CALLS

SCAFFOLDS = [scaffolds.load(name) for name in ("compact", "react", "json")]
SCAFFOLDS += [scaffolds.load("native", syntax) for syntax in SYNTAXES]
BENCHMARKS = [suite.load(name) for name in ("terminal", "calling")]
TASKS = [(bench, *next(bench.items("evaluation", level, 1, 0))) for bench in BENCHMARKS for level in (1, 5)]

PIECES = [
    "<tool_call>", "</tool_call>", "<function=", "<function=cat>", "</function>", "<parameter=file>", "<parameter=",
    "</parameter>", "<|python_tag|>", '{"name": "cat", "arguments": ', '{"name": "cat", "parameters": ', '{"tool": "cat"',
    '{"tool": "cat", "arguments": {"file": "', '"}}', '{"calls": [', '{"answer": ', "Action: cat\n", "Action Input: ",
    "Final Answer: ", "Observation: ", "Thought: ", "**", "```json\n", "```", "<think>", "</think>", "answer ", "cat ", "ls",
    "\n", " ", "\t", "\x00", "\x1b[2J", "\r", "\u2028", "٣", "²", "\ud800", '"\\ud800"', "{", "}", "[", "]", '"', "\\", ",",
    ":", "null", "true", "NaN", "-Infinity", "1e999", "9" * 400, "-" + "9" * 5_000, "0.1", "../../etc/passwd", "~/x",
    "C:\\x", "file://x", "; ", "x" * 3_000, "[" * 2_000, '{"a":' * 2_000, "]" * 50,
]  # fmt: skip


def pieces(rng, task, replies):
    return "".join(rng.choice(PIECES) for _ in range(rng.randrange(14)))


def random_bytes(rng, task, replies):
    return rng.randbytes(rng.randrange(400)).decode("utf-8", rng.choice(("replace", "surrogateescape")))


def broken_expert(rng, task, replies):
    # What a model that knows the format gets wrong: cut, doubled, or with a few characters changed.
    text = rng.choice(replies)
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


def hostile_json(rng, task, replies):
    # Sound JSON with a hostile value where an argument is expected.
    value = rng.choice(
        [None, True, -1, 10**30, 0.5, "", "x" * 2_000, "../../etc/passwd", "\x00", "\ud800", [], {}, [[1]]]
    )
    for _ in range(rng.choice((0, 0, 1, 5, 40, 400))):
        value = rng.choice(([value], {"file": value}))
    name = rng.choice([*(tool.name for tool in task.tools), "sudo", "", None, 3, [], "__init__"])
    arguments = rng.choice(
        [value, {"file": value}, {"word": value, "text": value}, {"": value}, {"id": value, "who": "x"}]
    )
    shapes = (
        lambda: json.dumps({"tool": name, "arguments": arguments}),
        lambda: "<tool_call>" + json.dumps({"name": name, "arguments": arguments}) + "</tool_call>",
        lambda: json.dumps({"name": name, "parameters": arguments}),
        lambda: f"Action: {name}\nAction Input: {json.dumps(arguments)}",
        lambda: f"<function={name}><parameter=file>{json.dumps(value)}</parameter></function>",
        lambda: json.dumps({"calls": [{"tool": name, "arguments": arguments}] * rng.randrange(12)}),
        lambda: json.dumps({"answer": value}),
    )
    return rng.choice(shapes)()


KINDS = (pieces, random_bytes, broken_expert, hostile_json)


def check(scaffold, bench, task, text):
    """Read one reply, hold what was read to its bounds, and let the world take it."""
    action = scaffold.parse(text, task)
    assert (action.problem is None) == (bool(action.calls) or action.answer is not None)
    assert len(action.calls) <= MAX_CALLS and len(action.problem or "") <= 500
    written = canonical_json([action.calls, action.answer])
    assert len(written) <= 6 * len(text) + 1_000  # a control character is six characters as JSON
    if scaffold.name != "compact" and text.isascii():
        written.encode()  # no lone surrogate out of an escape
    world = bench.start(task)
    for call in action.calls:
        assert isinstance(world.step(call), str)


def fuzz(n, seed):
    rng = random.Random(seed)
    replies = {task.id: [s.write(action) for s in SCAFFOLDS for action in draft.expert] for _, task, draft in TASKS}
    for _ in range(n):
        bench, task, _ = rng.choice(TASKS)
        text = rng.choice(KINDS)(rng, task, replies[task.id])
        for scaffold in SCAFFOLDS:
            check(scaffold, bench, task, text)


def test_five_thousand_hostile_replies_are_read():
    fuzz(5_000, 0)


@pytest.mark.slow
def test_a_hundred_thousand_hostile_replies_are_read():
    fuzz(100_000, 1)


LONG = [
    *(piece * (1_000_000 // len(piece)) for piece in PIECES if piece not in ("<think>", "</think>")),
    *(f"</think>{piece * (99_000 // len(piece))}" for piece in PIECES),
    *(f"{start}{'[' * 90_000}" for start in ("<tool_call>", "Action: cat\nAction Input: {\"a\":", '{"name":')),
    "<function=cat>" + "<parameter=a>" * 7_000, "<parameter=a>" * 7_000 + "<function=cat>", "<tool_call>" + '{"' * 49_000,
    '{"tool": "cat", "arguments": {"file": "' + "x" * 1_000_000 + '"}}', "{" + " " * 95_000 + "{", "**" * 49_000 + "Action",
    '{"answer": "' + "\\u0000" * 16_000 + '"}', "{" + ",".join(f'"k{i}":[[]]' for i in range(8_000)) + "}",
]  # fmt: skip


def test_replies_of_a_million_characters_take_no_second_and_bounded_memory():
    bench, task, _ = TASKS[0]
    slowest, largest = 0.0, 0
    tracemalloc.start()
    for scaffold in SCAFFOLDS:
        for text in LONG:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            started = time.process_time()
            check(scaffold, bench, task, text)
            slowest = max(slowest, time.process_time() - started)
            largest = max(largest, tracemalloc.get_traced_memory()[1] - before)
    tracemalloc.stop()
    assert slowest < 1 and largest < 32 * 2**20
