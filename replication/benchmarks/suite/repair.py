"""Find and fix mistakes in a program so that hidden tests pass; stands beside SWE-bench Verified.

A task tells of calls that give a wrong value; behind each is one mistake, in the called function itself or in one that it
reaches through helpers. Levels grow in the number of mistakes (1, 1, 2, 3, 4: the horizon), in the calls between a
failing call and its mistake (0, 1, 2, 3, 4; functions on the way have side helpers, so the way branches), in files (1, 2,
3, 4, 6) and in functions that have nothing to do with it (0, 1, 3, 5, 8). At level 1 the prompt says what the function
gives and the mistake is a wrong sign, number or name; from level 2 on the notes above functions say it; from level 3 on
lines are missing or doubled, too; from level 4 on names mislead; at level 5 outdated notes contradict.
The score is binary, as in SWE-bench: every test that failed before and every test that passed before passes. The tests
are calls of all functions, many more than the prompt tells, so special cases for the told calls score 0.
"""

import re
from dataclasses import replace
from typing import NamedTuple

from replication.benchmarks.suite import Draft
from replication.benchmarks.suite.language import TOKEN
from replication.benchmarks.suite.programs import (
    ENTRIES,
    LEAVES,
    SHORT,
    Function,
    calls,
    chain,
    deal,
    fill,
    fresh_names,
    in_files,
    program,
)
from replication.benchmarks.suite.words import FILES, Lexicon
from replication.benchmarks.suite.workshop import TOOLS, Desk, World, describe, grade, wrong_turn
from replication.interfaces import Action

__all__ = ["DOMAIN", "NAME", "VERSION", "World", "describe", "draft", "grade", "wrong_turn"]

NAME = "repair"
VERSION = "1"
DOMAIN = "in"

N_MISTAKES = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4}
N_LINKS = {1: 0, 2: 1, 3: 2, 4: 3, 5: 4}
N_FILES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6}
N_DECOYS = {1: 0, 2: 1, 3: 3, 4: 5, 5: 8}

SWAPS = {
    "+": "-*", "-": "+", "*": "+-", "/": "*%", "%": "/*", "==": ("!=",), "!=": ("==",), "<": (">", "<="),
    ">": ("<", ">="), "<=": ("<", ">"), ">=": (">", "<"), "and": ("or",),
}  # fmt: skip


class Mistake(NamedTuple):
    """One mistake, the functions that lead to it, and what it changes."""

    links: list[Function]
    """From the called function to the one that is wrong, as they should be."""
    sides: list[Function]
    wrong: Function
    place: int
    """Index of the wrong, missing or extra line in the body."""
    told: tuple[str, str, str]
    """A failing call, what it gives, what it must give."""
    tests: dict[str, list[list[str]]]


def draft(w: Lexicon, level: int) -> Draft:
    """Make functions, spoil some, and write down how an expert mends them."""
    names = fresh_names(w, misleading=level > 3)
    words = ["vowel", "banana", "o", *(next(names) for _ in range(3))] if level > 1 else []
    mistakes = [_mistake(w, level, names, words) for _ in range(N_MISTAKES[level])]
    decoys = [
        fill(w, w.pick(LEAVES[s]), s, next(names)) for s in (w.pick(ENTRIES) for _ in range(N_DECOYS[level]))
    ]  # fmt: skip
    tests = {kind: [t for m in mistakes for t in m.tests[kind]] for kind in ("fail_to_pass", "pass_to_pass")}
    right = program(decoys)
    tests["pass_to_pass"] += [[c, right.run(c)] for d in decoys for c in calls(w, d, 5, words)]
    functions = [f for m in mistakes for f in (*m.links[:-1], m.wrong, *m.sides)] + decoys
    if level == 5:
        functions = [_with_old_note(w, f) for f in functions]
    files = w.several(FILES, N_FILES[level])
    setup = {"files": in_files(deal(w, functions, files))}
    desk = Desk(setup)
    for mistake in mistakes:
        _mend(desk, mistake, level)
    return Draft(
        prompt=_prompt(w, level, mistakes, files), tools=TOOLS, setup=setup, key=tests,
        expert=(*desk.actions, Action(answer="done")), tags=("code_generation", "tool_use", "multi_step"),
    )  # fmt: skip


def _mistake(w: Lexicon, level: int, names, words: list[str]) -> Mistake:
    # Most mistakes show in most calls; one that shows in too few is thrown away.
    while True:
        if level == 1:
            signature = w.pick(("n>n", "nn>n"))
            links, sides = [replace(fill(w, w.pick(SHORT[signature]), signature, next(names)), note=False)], []
        else:
            links, sides = chain(w, w.pick(ENTRIES), N_LINKS[level], names)
        place, wrong = _spoilt(w, links[-1], w.pick(("change", "change", "drop", "double")) if level > 2 else "change")
        right_program, wrong_program = program([*links, *sides]), program([*links[:-1], wrong, *sides])
        tests: dict[str, list[list[str]]] = {"fail_to_pass": [], "pass_to_pass": []}
        told = None
        for function in {f.name: f for f in (links[0], links[-1], *links[1:-1], *sides)}.values():
            ends = function in (links[0], links[-1])
            for call in calls(w, function, 10 if ends else 5, words):
                right, now = right_program.run(call), wrong_program.run(call)
                if right.startswith("error"):
                    continue
                tests["fail_to_pass" if right != now else "pass_to_pass"].append([call, right])
                if right != now and function is links[0]:
                    told = (call, now, right)
            if not told:
                # The called function comes first, and the mistake never shows in it.
                break
        failing = tests["fail_to_pass"]
        if told and len(failing) > 3 and len({right for _, right in failing}) > 2:
            return Mistake(links, sides, wrong, place, told, tests)


def _spoilt(w: Lexicon, function: Function, how: str) -> tuple[int, Function]:
    body = list(function.body)
    settings = [i for i, line in enumerate(body) if " = " in line]
    if how == "change" or not settings:
        place, body = _changed(w, function)
    else:
        place = w.pick(settings)
        body[place : place + 1] = [] if how == "drop" else [body[place]] * 2
    return place, replace(function, body=tuple(body))


def _changed(w: Lexicon, function: Function) -> tuple[int, list[str]]:
    names = {*function.parameters, *re.findall(r"\b([a-z]) (?:=|in) ", " ".join(function.body))}
    places = []
    for i, line in enumerate(function.body):
        for match in TOKEN.finditer(line):
            token = match[match.lastindex]
            assigned = match.start(match.lastindex) == 0
            others = SWAPS.get(token) or (sorted(names - {token}) if token in names and not assigned else ())
            if token.isdigit():
                others = [str(int(token) + d) for d in (-2, -1, 1, 2, 5, 10) if int(token) + d >= 0]
            if others:
                places.append((i, match.span(match.lastindex), others))
    i, (start, end), others = w.pick(places)
    body = list(function.body)
    body[i] = f"{body[i][:start]}{w.pick(others)}{body[i][end:]}"
    return i, body


def _with_old_note(w: Lexicon, function: Function) -> Function:
    if not w.chance(0.4) or not any(c.isdigit() for c in function.about):
        return function
    return replace(function, old=re.sub(r"\b[0-9]+", lambda m: str(int(m[0]) + w.whole(1, 9)), function.about))


def _mend(desk: Desk, mistake: Mistake, level: int) -> None:
    call = mistake.told[0]
    if level > 1:
        desk.do("run", call=call)
    for link in mistake.links:
        file, start = desk.place(link.name)
        if level > 1:
            desk.do("search", text=f"def {link.name}")
        desk.look_at(file)
    right, wrong = mistake.links[-1].body, mistake.wrong.body
    at = {"file": file, "line": start + 1 + mistake.place}
    if len(right) < len(wrong):
        desk.do("delete", **at)
    else:
        desk.do("set" if len(right) == len(wrong) else "insert", **at, text=right[mistake.place])
    if level > 1:
        desk.do("run", call=call)


def _prompt(w: Lexicon, level: int, mistakes: list[Mistake], files: list[str]) -> str:
    style = w.pick(("{0} gives {1}, not {2}", "{0} must be {2} but is {1}", "{0} is {1} and should be {2}"))
    told = "; ".join(style.format(*m.told) for m in mistakes)
    if level == 1:
        function = mistakes[0].links[0]
        call = f"{function.name}({', '.join(function.parameters)})"
        return w.pick(
            (
                f"fix {function.name} in {files[0]}. {call} is {function.about}. {told}",
                f"{told}. mend {function.name} in {files[0]} so that it gives {function.about}",
                f"{files[0]} has a mistake: {call} must be {function.about}. {told}",
            )
        )
    request = w.pick(("find and fix the mistakes", "mend the program", "repair what is wrong, and nothing else"))
    notes = w.pick(("notes say what a function gives", "each note is right about its function", "trust the notes"))
    old = "; notes marked old no longer hold" if level == 5 else ""
    return w.pick((f"{told}. {request}. {notes}{old}", f"{request}: {told}. {notes}{old}"))
