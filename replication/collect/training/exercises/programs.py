"""Exercises in reading, writing and correcting short programs."""

from collections.abc import Sequence
from typing import NamedTuple

from replication.collect.benchmarks.suite.words import FILES, Lexicon
from replication.collect.training.exercises.parts import LETTERS, Turns, exchange, question_turns

STEPS = (
    ("{x} plus {a}", "{x} + {a}"),
    ("{x} minus {a}", "{x} - {a}"),
    ("{x} times {a}", "{x} * {a}"),
    ("{a} minus {x}", "{a} - {x}"),
    ("{x} divided by {a}", "{x} / {a}"),
    ("the rest of {x} by {a}", "{x} % {a}"),
)
"""A calculation in words and as an expression."""
THEN = ((", plus {b}", "{y} + {b}"), (", minus {b}", "{y} - {b}"), (", times {b}", "{y} * {b}"))
"""A second operation; y is the result so far, b a number or another variable."""


class _Program(NamedTuple):
    """A calculation in words and as lines of code."""

    words: str
    lines: list[str]


def _program(w: Lexicon) -> _Program:
    x, y, z = w.sample(LETTERS, 3)
    a = str(w.integer(2, 60))
    b = z if w.bernoulli(0.3) else str(w.integer(2, 60))
    words, code = w.choice(STEPS)
    if w.bernoulli(0.4):
        return _Program(words.format(x=x, a=a), [f"return {code.format(x=x, a=a)}"])
    after, more = w.choice(THEN)
    first, second = code.format(x=x, a=a), more.format(y=y, b=b)
    return _Program(words.format(x=x, a=a) + after.format(b=b), [f"{y} = {first}", f"return {second}"])


def _numbered(lines: Sequence[str]) -> str:
    return "\n".join(f"{i} {line}" for i, line in enumerate(lines, 1))


def code(w: Lexicon) -> Turns:
    """Translate a calculation from words to code, or back."""
    words, lines = _program(w)
    if w.bernoulli(0.6):
        return exchange(w.choice((f"write {words}", f"code for {words}")), "\n".join(lines))
    return exchange("\n".join(lines) + f"\n{w.choice(('in words', 'what does it give'))}", words)


def correct(w: Lexicon) -> Turns:
    """Find and correct the number, sign or name that contradicts a program's description."""
    words, lines = _program(w)
    name = w.name()
    at = w.integer(0, len(lines) - 1)
    tokens = lines[at].split(" ")
    places = [
        i for i, token in enumerate(tokens) if token not in ("return", "=") and not (i == 0 and " = " in lines[at])
    ]
    place = w.choice(places)
    token = tokens[place]
    if token.isdigit():
        wrong = w.choice((str(int(token) + w.choice((1, 2, 5, 10))), str(max(int(token) - w.choice((1, 2)), 0))))
    elif token in "+-*/%":
        wrong = w.choice([sign for sign in "+-*/%" if sign != token])
    else:
        wrong = w.choice([letter for letter in LETTERS if letter != token])
    wrong_lines = list(lines)
    wrong_lines[at] = " ".join((*tokens[:place], wrong, *tokens[place + 1 :]))
    body = [f"def {name}()", *(f" {line}" for line in wrong_lines), "end"] if w.bernoulli(0.5) else wrong_lines
    description = w.choice((f"{name} must be {words}", f"{name} gives {words}"))
    right = at + 1 + (len(body) > len(wrong_lines))
    return question_turns(
        w, f"{description}\n{_numbered(body)}",
        [
            ("which line is wrong, and what must it be", f"{right} {lines[at]}"),
            *([("what was there", wrong_lines[at])] * w.bernoulli(0.3)),
        ],
    )  # fmt: skip


def code_lines(w: Lexicon) -> Turns:
    """Read, find and rewrite numbered lines of several files, with one word changed."""
    name, new = w.names(2)
    uses = []
    for file in w.sample(FILES, w.integer(1, 3)):
        for at in sorted(w.sample(range(1, 9), w.integer(1, 2))):
            _, lines = _program(w)
            use = w.choice((f"{w.choice(LETTERS)} = {name}({w.choice(LETTERS)})", f"return {name}({w.integer(2, 60)})",
                          f"{name} = {w.integer(2, 60)}", lines[-1].replace("return ", f"return {name} + "),
                          f"def {name}({w.choice(LETTERS)})"))  # fmt: skip
            uses.append((file, str(at), use))
    pairs = []
    for file, number, line in w.sample(uses, w.integer(1, 3)):
        pairs.append(
            w.choice(
                (
                    (f"line {number} of {file}", line),
                    (f"line {number} of {file} with {new} for {name}", line.replace(name, new)),
                    (f"line {number} of {file} with {new} for {name}", line.replace(name, new)),
                )
            )
        )
    if w.bernoulli(0.4):
        pairs.append(
            (f"all with {new} for {name}", "\n".join(f"{f} {n} {line.replace(name, new)}" for f, n, line in uses))
        )
    return question_turns(w, "\n".join(map(" ".join, uses)), pairs)


def assign(w: Lexicon) -> Turns:
    """Give a named constant another value in every line."""
    name, other = w.names(2)
    old, new = w.integer(2, 60), w.integer(2, 60)
    lines = [f"{name} = {old}", f"return {w.choice(LETTERS)} + {name}", f"{other} = {w.integer(2, 60)}"]
    lines = w.shuffled([*lines, f"{name} = {old}"])[: w.integer(2, 4)]
    order = w.choice((f"set {name} to {new}", f"{name} is {new} from now on", f"change {name} from {old} to {new}"))
    changed = [f"{name} = {new}" if line == f"{name} = {old}" else line for line in lines]
    return exchange(f"{order}\n{_numbered(lines)}", _numbered(changed))


def trace(w: Lexicon) -> Turns:
    """Compute the value of a variable."""
    x, y = w.sample("abcdefgh", 2)
    first, step = w.integer(0, 19), w.integer(1, 9)
    return exchange(f"{x} = {first}\n{y} = {x} + {step}\nwhat is {y}", str(first + step))
