"""Find and fix mistakes in a program so that hidden tests pass; modelled on SWE-bench Verified.

A task lists calls that return a wrong value; the cause of each is one mistake, in the called function or in one that it
reaches through helpers. Levels grow in the number of mistakes (1, 1, 2, 3, 4: the horizon), in the calls between a
failing call and its mistake (0, 1, 2, 3, 4; functions on the path call side helpers, so the path branches), in files (1,
2, 3, 4, 6) and in unrelated functions (0, 1, 3, 5, 8). At level 1 the prompt describes the function's result and the
mistake is a wrong sign, number or name; from level 2 on the notes above functions describe it; from level 3 on lines are
missing or doubled, too; from level 4 on names mislead; at level 5 outdated notes contradict.
The score is binary, as in SWE-bench: every test that failed before and every test that passed before passes. The tests
are calls of all functions, many more than the prompt lists, so special cases for the listed calls score 0.
"""

import functools
import re
from collections.abc import Sequence
from typing import NamedTuple

from replication.collect.benchmarks.suite import EnvironmentSpec, GeneratedTask
from replication.collect.benchmarks.suite.code.language import Program
from replication.collect.benchmarks.suite.code.programs import (
    ENTRIES,
    LEAVES,
    SHORT,
    Call,
    Chain,
    Function,
    Template,
    as_text,
    calls,
    chain,
    deal,
    fill,
    fresh_names,
    in_files,
    program,
)
from replication.collect.benchmarks.suite.code.workshop import TOOLS, TaskBuilder, World, describe, grade, perturb
from replication.collect.benchmarks.suite.kit import LazyMapping
from replication.collect.benchmarks.suite.words import FILES, Lexicon
from replication.collect.interfaces import Action
from replication.records import Json

N_MISTAKES = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4}
N_LINKS = {1: 0, 2: 1, 3: 2, 4: 3, 5: 4}
N_FILES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6}
N_DECOYS = {1: 0, 2: 1, 3: 3, 4: 5, 5: 8}
N_CALLS = {1: 10, 2: 10, 3: 3, 4: 3, 5: 3}
"""Calls to try; a mistake that changes the value of none of them is discarded."""

SWAPS = {
    "+": "-*", "-": "+", "*": "+-", "/": "*%", "%": "/*", "==": ("!=",), "!=": ("==",), "<": (">", "<="),
    ">": ("<", ">="), "<=": ("<", ">"), ">=": (">", "<"), "and": ("or",),
}  # fmt: skip
NAME_GAP = re.compile(r"\{([nmltxyi])\}")
SPOT = re.compile(
    r"""\{(?P<name>[nmltxyi])\}|\{(?P<constant>[ab])\}|"[^"]*"|(?P<number>[0-9]+)|(?P<sign>[=!<>]=|[-+*/%<>]|\band\b)"""
)
"""Parts of a template's line that can be wrong."""


class FailingCall(NamedTuple):
    """A call that the prompt lists."""

    call: str
    wrong: str
    right: str


class Mistake(NamedTuple):
    """One mistake, the functions that lead to it, and its effect."""

    links: list[Function]
    """From the called function to the wrong one, all in their correct form."""
    sides: list[Function]
    wrong: Function
    place: int
    """Index of the wrong, missing or extra line in the body."""
    failing: FailingCall
    tests: list[Call]
    before: Program
    after: Program


def generate(w: Lexicon, level: int) -> GeneratedTask:
    """Generate functions, put mistakes into some, and record an expert's repair."""
    names = fresh_names(w, misleading=level > 3)
    words = ["vowel", "banana", "o", *(next(names) for _ in range(3))] if level > 1 else []
    mistakes = [_mistake(w, level, names, words) for _ in range(N_MISTAKES[level])]
    decoys = [
        fill(w, w.choice(LEAVES[s]), s, next(names)) for s in (w.choice(ENTRIES) for _ in range(N_DECOYS[level]))
    ]  # fmt: skip
    kept = [call for decoy in decoys for call in calls(w, decoy, 5, words)]
    functions = [f for m in mistakes for f in (*m.links[:-1], m.wrong, *m.sides)] + decoys
    if level == 5:
        functions = [_with_old_note(w, f) for f in functions]
    files = w.sample(FILES, N_FILES[level])
    setup = {"files": in_files(deal(w, functions, files))}
    builder = TaskBuilder(setup)
    for mistake in mistakes:
        _fix(builder, mistake, level)
    return GeneratedTask(
        prompt=_prompt(w, level, mistakes, files), tools=TOOLS, setup=setup,
        key=LazyMapping(lambda: _key(mistakes, program(decoys), kept)),
        expert=(*builder.actions, Action(answer="done")), tags=("code_generation", "tool_use", "multi_step"),
    )  # fmt: skip


def _key(mistakes: list[Mistake], others: Program, kept: list[Call]) -> dict[str, Json]:
    tests: dict[str, list[list[str]]] = {"fail_to_pass": [], "pass_to_pass": []}
    for mistake in mistakes:
        for call in mistake.tests:
            now, right = _values(call, mistake.before, mistake.after)
            if not right.startswith("error"):
                tests["pass_to_pass" if now == right else "fail_to_pass"].append([as_text(call), right])
    tests["pass_to_pass"] += [[as_text(call), others.call(*call)] for call in kept]
    return tests


def _mistake(w: Lexicon, level: int, names, words: list[str]) -> Mistake:
    # Most mistakes change the value of most calls; one that changes too few is discarded.
    while True:
        if level == 1:
            signature = w.choice(("n>n", "nn>n"))
            alone = fill(w, w.choice(SHORT[signature]), signature, next(names))._replace(note=False)
            links, sides = Chain([alone], [])
        else:
            links, sides = chain(w, w.choice(ENTRIES), N_LINKS[level], names)
        top, leaf = links[0], links[-1]
        place, wrong = _with_mistake(
            w, leaf, w.choice(("change", "change", "drop", "double")) if level > 2 else "change"
        )
        after = program([*links, *sides])
        before = after.replaced(program([wrong]))
        ends = calls(w, top, 10, words)
        tried = ((call, *_values(call, before, after)) for call in reversed(ends[-N_CALLS[level] :]))
        failing = next((FailingCall(as_text(call), now, right) for call, now, right in tried if now != right), None)
        if failing is None:
            continue
        if leaf is not top:
            ends += calls(w, leaf, 10, words)
        tests = [*ends, *(call for f in (*links[1:-1], *sides) for call in calls(w, f, 5, words))]
        n_failing = 0
        values: set[str] = set()
        # From the back of `ends`: calls of the wrong function itself fail most and are cheap to run.
        for call in (*reversed(ends), *tests[len(ends) :]):
            now, right = _values(call, before, after)
            if now != right:
                n_failing += 1
                values.add(right)
                if n_failing > 3 and len(values) > 2:
                    return Mistake(links, sides, wrong, place, failing, tests, before, after)


def _values(call: Call, before: Program, after: Program) -> tuple[str, str]:
    # The present and the right value of a call; equal if the call must not be tested.
    right = after.call(*call)
    return (right, right) if right.startswith("error") else (before.call(*call), right)


def _with_mistake(w: Lexicon, function: Function, how: str) -> tuple[int, Function]:
    # The index of the line, and the wrong function.
    template = function.template
    lines = list(template.lines)
    settings = [i for i, line in enumerate(lines) if " = " in line]
    if how == "change" or not settings:
        place, spot = w.choice(_spots(template.lines))
        lines[place] = f"{lines[place][: spot.start()]}{w.choice(_others(function, spot))}{lines[place][spot.end() :]}"
    else:
        place = w.choice(settings)
        lines[place : place + 1] = [] if how == "drop" else [lines[place]] * 2
    return place, function._replace(template=Template(template.about, ";".join(lines)))


@functools.cache
def _spots(lines: tuple[str, ...]) -> list[tuple[int, re.Match]]:
    # Not the assigned name at the start of a line, and not the only name, which cannot be confused with another.
    spots = [(i, spot) for i, line in enumerate(lines) for spot in SPOT.finditer(line) if spot.lastgroup]
    one = len({spot["name"] for _, spot in spots} - {None}) == 1
    return [(i, spot) for i, spot in spots if not (spot["name"] and (one or not spot.start()))]


def _others(function: Function, spot: re.Match) -> Sequence[str]:
    if spot["sign"]:
        return SWAPS[spot["sign"]]
    if spot["name"]:
        # Sorted by the letters in the program, not by the gaps.
        names = {gap for line in function.template.lines for gap in NAME_GAP.findall(line)} - {spot["name"]}
        return [f"{{{gap}}}" for gap in sorted(names, key=function.gaps.__getitem__)]
    value = int(spot["number"] or function.gaps[spot["constant"]])
    return [str(value + d) for d in (-2, -1, 1, 2, 5, 10) if value + d >= 0]


def _with_old_note(w: Lexicon, function: Function) -> Function:
    if not w.bernoulli(0.4) or not any(c.isdigit() for c in function.about):
        return function
    return function._replace(old=re.sub(r"\b[0-9]+", lambda m: str(int(m[0]) + w.integer(1, 9)), function.about))


def _fix(builder: TaskBuilder, mistake: Mistake, level: int) -> None:
    call = mistake.failing.call
    if level > 1:
        builder.do("run", call=call)
    for link in mistake.links:
        file, start = builder.place(link.name)
        if level > 1:
            builder.do("search", text=f"def {link.name}")
        builder.look_at(file)
    right, wrong = mistake.links[-1].body, mistake.wrong.body
    at = {"file": file, "line": start + 1 + mistake.place}
    if len(right) < len(wrong):
        builder.do("delete", **at)
    else:
        builder.do("set" if len(right) == len(wrong) else "insert", **at, text=right[mistake.place])
    if level > 1:
        builder.do("run", call=call)


def _prompt(w: Lexicon, level: int, mistakes: list[Mistake], files: list[str]) -> str:
    style = w.choice(("{0} gives {1}, not {2}", "{0} must be {2} but is {1}", "{0} is {1} and should be {2}"))
    failing = "; ".join(style.format(*m.failing) for m in mistakes)
    if level == 1:
        function = mistakes[0].links[0]
        call = f"{function.name}({', '.join(function.parameters)})"
        return w.choice(
            (
                f"fix {function.name} in {files[0]}. {call} is {function.about}. {failing}",
                f"{failing}. mend {function.name} in {files[0]} so that it gives {function.about}",
                f"{files[0]} has a mistake: {call} must be {function.about}. {failing}",
            )
        )
    request = w.choice(("find and fix the mistakes", "mend the program", "repair what is wrong, and nothing else"))
    notes = w.choice(("notes say what a function gives", "each note is right about its function", "trust the notes"))
    old = "; notes marked old no longer hold" if level == 5 else ""
    return w.choice((f"{failing}. {request}. {notes}{old}", f"{request}: {failing}. {notes}{old}"))


ENVIRONMENT = EnvironmentSpec(
    name="repair", version="2", domain="in", modelled_on="SWE-bench Verified", metric="binary: hidden tests pass",
    about=__doc__, generate=generate, world=World, grade=grade, describe=describe, perturb=perturb,
)  # fmt: skip
