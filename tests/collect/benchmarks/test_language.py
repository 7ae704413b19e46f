"""The small language: what programs mean, and that none of them can hang, grow or raise."""

import random

import pytest
from suite_checks import compiled

from replication.collect.benchmarks.suite.code.language import indented
from replication.collect.benchmarks.suite.code.machine import MAX_ITEMS, MAX_NUMBER, MAX_TEXT

PROGRAM = """
# everything at once
def kavo(n, rows)
for x in rows
if x > 9 and x != n
n = n + x
elif x == 3
n = n - 1
else
n = n * 2
end
end
while n > 100
n = n - 100
end
return n
end
def first(rows, n)
for x in rows
for y in rows
if x + y == n
return [x, y]
end
end
end
return []
end
def fac(n)
if n < 2
return 1
end
return n * fac(n - 1)
end
def forever(n)
while true
n = n
end
end
def deep(n)
return deep(n) + 1
end
def grow(v)
while true
v = v + v
end
end
def nothing(n)
n = 1
end
""".strip().split("\n")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3 - 4", "3"), ("(1 + 2) * -3", "-9"), ("7 / 2", "3"), ("-7 % 4", "1"), ("10 - 3 - 2", "5"),
        ('"a" + "b"', '"ab"'), ("[1, 2] + [3]", "[1, 2, 3]"), ("[4, 5][1]", "5"), ('"abc"[0]', '"a"'),
        ("not 1 == 2", "true"), ("not not true", "true"), ("true == 1", "false"), ("1 in [1, 2]", "true"),
        ('"b" in "abc"', "true"), ("true in [1]", "false"), ("1 < 2 and 2 < 1", "false"), ("false and 1 / 0 == 1", "false"),
        ("true or 1 / 0 == 1", "true"), ('len("abc")', "3"), ("range(2, 5)", "[2, 3, 4]"), ("range(5, 2)", "[]"),
        ('add([1], "x")', '[1, "x"]'), ("text(12)", '"12"'), ("kavo(3, [1, 20, 3, 100])", "25"), ("fac(5)", "120"),
        ("first([1, 2, 3], 5)", "[2, 3]"), ("first([], 5)", "[]"), ("first([1], 2) + first([4], 8)", "[1, 1, 4, 4]"),
    ],
)  # fmt: skip
def test_expressions_and_calls_have_the_expected_value(text, value):
    assert compiled({"main": PROGRAM}).run(text) == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1 / 0", "division by zero"), ("1 % 0", "division by zero"), ("x", "no name x"), ("f(1)", "no function f"),
        ("fac(1, 2)", "fac takes 1 values"), ("fac(40)", "too many calls"), ("deep(1)", "too many calls"),
        ("forever(1)", "too many steps"), ("grow(2)", "number too large"), ('grow("ab")', "text too long"),
        ("grow([1])", "list too long"), ("range(0, 1000000)", "list too long"), ("[[1]]", "no lists in lists"),
        ("nothing(1)", "nothing is returned"), ("[1][1]", "no item 1"), ("[1][-1]", "no item -1"), ("1 + true", "number"),
        ("not 1", "number is not true or false"), ("1 and true", "number is not true or false"), ("", "line ends"),
        ("1 2", "2 is too much"), ("$", "cannot read $"), ("(" * 50, "too deep"), ("-" * 50 + "1", "too deep"),
        ("not " * 20 + "true", "too deep"), ("9" * 100, "number too large"), ("1" * 1000, "line too long"),
        ("len(1)", "len does not take number"), ('"a" < 1', "text < number"), ("[1] < [2]", "list < list"),
    ],
)  # fmt: skip
def test_mistakes_are_error_values_with_the_reason(text, why):
    value = compiled({"main": PROGRAM}).run(text)
    assert value.startswith("error: ")
    assert why in value


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (["def f(n)"], "main 1: end is missing"), (["end"], "main 1: outside of def"), (["x = 1"], "main 1: outside of def"),
        (["def f(n)", "else", "end"], "main 2: else without if"), (["def f(n)", "def g(n)"], "main 2: def inside def"),
        (["def f(n)", "return n n", "end"], "main 2: n is too much"), (["def len(n)", "end"], "len is built in"),
        (["def f(n)", "end", "def f(n)", "end"], "f is defined twice"), (["def if(n)", "end"], "if is no name"),
        (["def f(n)", "while n", "else", "end", "end"], "main 3: else without if"), ([""], "line ends too early"),
        (["def f(n)", *["if true"] * 20], "too many blocks"),
    ],
)  # fmt: skip
def test_unreadable_files_name_the_line(lines, why):
    assert why in compiled({"main": lines}).run("1")


def test_a_function_defined_in_two_files_is_a_mistake():
    same = ["def f(n)", "return n", "end"]
    assert compiled({"a": same, "b": same}).run("f(1)") == "error: b f is defined twice"


def test_indentation_follows_blocks_even_unbalanced_ones():
    lines = ["def f(n)", "if n > 1", "return 1", "else", "return 2", "end", "end", "end", "x = 1"]
    assert indented(lines) == [
        "def f(n)", " if n > 1", "  return 1", " else", "  return 2", " end", "end", "end", "x = 1",
    ]  # fmt: skip


def test_random_programs_end_with_a_bounded_value():
    rng = random.Random(0)
    words = [
        "def f(n)", "end", "if", "elif", "else", "while", "for x in", "return", "n", "x", "=", "==", "f(", ")", "[", "]",
        "1", "999999999", '"a"', "+", "*", "-", "and", "or", "not", "in", ",", "true", "range(",
        "add(", "(", "\x00", "é", "²",
    ]  # fmt: skip
    longest = max(len(str(MAX_NUMBER)), MAX_TEXT + 2) * MAX_ITEMS * 2
    for _ in range(3_000):
        lines = [" ".join(rng.choices(words, k=rng.randrange(6))) for _ in range(rng.randrange(8))]
        program = compiled({"main": ["def f(n)", *lines, "return n", "end"]})
        for text in ("f(3)", 'f("ab")', " ".join(rng.choices(words, k=4))):
            assert len(program.run(text)) <= longest


def test_random_statements_inside_sound_blocks_end_too():
    rng = random.Random(1)
    simple = [
        "n = n * 7",
        "n = n + n",
        "n = [n, n]",
        "n = f(n)",
        "return n",
        "x = n",
        "n = n + x",
        "n = len(n)",
        "n = x",
    ]
    heads = ["if n > 3", "while n < 900", "while true", "for x in range(0, 30)", "for x in n", "if not n in [1, 2]"]
    ends = set()
    for _ in range(1_500):
        body = []
        for _ in range(rng.randrange(4)):
            body += [rng.choice(heads), *rng.choices(simple, k=2), "end"]
        value = compiled({"main": ["def f(n)", "x = 1", *body, *rng.choices(simple, k=2), "return n", "end"]}).run(
            "f(2)"
        )
        ends.add(value if value.startswith("error") else "value")
    assert {"value", "error: too many steps", "error: too many calls", "error: number too large"} <= ends
