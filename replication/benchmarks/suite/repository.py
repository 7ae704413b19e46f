"""Carry a change through all files of a program without breaking the rest; stands beside SWE-bench Pro.

Kinds of change: a constant gets another value wherever it stands, a function gets another name, takes its two values in
the other order, takes one more value, or gives way to a new function that must be written first. The places are found by
search. Levels grow in the number of changes (1, 1, 2, 3, 4: the horizon), in functions that each change touches (2, 3, 4,
5, 6), in files (2, 3, 4, 5, 7), in kinds of change (2, 4, 5, 5, 5) and in traps: unrelated functions (0, 1, 2, 4, 8), from
level 2 on longer names and from level 3 on quoted texts and notes that hold the searched word, from level 4 on a file in
which the old value must stay, misleading names, and a function that one change renames and the next one extends.
The score is binary, as in SWE-bench: the tests of the change pass, and so do those that passed before. A place that was
left out, or a change of something that only looks alike, scores 0; notes are not tested.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from replication.benchmarks.suite import Draft
from replication.benchmarks.suite.language import TOKEN
from replication.benchmarks.suite.programs import (
    ENTRIES,
    LEAVES,
    LETTERS,
    TINY,
    Function,
    Template,
    calls,
    deal,
    fill,
    fresh_names,
    in_files,
)
from replication.benchmarks.suite.words import FILES, Lexicon
from replication.benchmarks.suite.workshop import TOOLS, Desk, World, describe, grade, wrong_turn
from replication.interfaces import Action

__all__ = ["DOMAIN", "NAME", "VERSION", "World", "describe", "draft", "grade", "wrong_turn"]

NAME = "repository"
VERSION = "1"
DOMAIN = "in"

N_CHANGES = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4}
N_TOUCHED = {1: 2, 2: 3, 3: 4, 4: 5, 5: 6}
N_FILES = {1: 2, 2: 3, 3: 4, 4: 5, 5: 7}
N_KINDS = {1: 2, 2: 4, 3: 5, 4: 5, 5: 5}
N_UNRELATED = {1: 0, 2: 1, 3: 2, 4: 4, 5: 8}
CONSTANTS = (
    ("n>n", Template("{n} plus {f}", "{f} = {g}; return {n} + {f}")),
    ("n>n", Template("{n} times {f}", "{f} = {g}; return {n} * {f}")),
    ("n>n", Template("{f} minus {n}", "{f} = {g}; return {f} - {n}")),
    ("nn>n", Template("{n} plus {m}, minus {f}", "{f} = {g}; return {n} + {m} - {f}")),
    ("l>n", Template("the sum of {l}, plus {f}", "{f} = {g}; for {i} in {l}; {f} = {f} + {i}; end; return {f}")),
    ("l>l", Template("{l}, then {f} and {a}", "{f} = {g}; return {l} + [{f}, {a}]")),
    ("t>t", Template("{t} followed by {f}", "{f} = {g}; return {t} + text({f})")),
)
"""Functions with a named constant: f is its name, g its value. The first three also serve level 1."""

CALLERS = {
    "n>n": (
        ("n>n", Template("{f} of {n}, plus {a}", "return {f}({n}) + {a}")),
        ("n>n", Template("{f} of ({n} plus {a})", "return {f}({n} + {a})")),
        ("n>n", Template("{a} minus {f} of {n}", "return {a} - {f}({n})")),
        ("n>n", Template("{f} of ({f} of {n})", "return {f}({f}({n}))")),
        ("n>n", Template("{f} of {n}, at most {b}", "{x} = {f}({n}); if {x} > {b}; return {b}; end; return {x}")),
        ("nn>n", Template("{f} of {n}, minus {f} of {m}", "{x} = {f}({n}); return {x} - {f}({m})")),
        ("l>n", Template("{f} of each of {l}, summed", "{x} = 0; for {i} in {l}; {x} = {x} + {f}({i}); end; return {x}")),
        ("l>l", Template("{f} of {a} and of {b}, then {l}", "return [{f}({a}), {f}({b})] + {l}")),
        ("t>t", Template("{t} and {f} of its length", "return {t} + text({f}(len({t})))")),
    ),
    "nn>n": (
        ("n>n", Template("{f} of {n} and {a}", "return {f}({n}, {a})")),
        ("n>n", Template("{f} of {a} and {n}, plus {b}", "return {f}({a}, {n}) + {b}")),
        ("n>n", Template("{f} of {n} and ({f} of {a} and {n})", "return {f}({n}, {f}({a}, {n}))")),
        ("nn>n", Template("{f} of {m} and {n}", "{x} = {f}({m}, {n}); return {x}")),
        ("l>n", Template("{f} of its length and {a}", "return {f}(len({l}), {a})")),
        ("l>l", Template("{f} of {a} and {b}, then {l}", "return [{f}({a}, {b})] + {l}")),
        ("t>n", Template("{f} of {a} and the length of {t}", "return {f}({a}, len({t}))")),
    ),
}  # fmt: skip
"""Functions that call f, by the signature of f. The first three of each also serve level 1."""


EVERYWHERE = ("everywhere", "in all files", "wherever it stands")


@dataclass(frozen=True)
class Change:
    """One change, as it is asked for and as it is carried out line by line."""

    request: str
    word: str
    """What is searched for to find the places."""
    line: Callable[[str, str, str], str]
    """(file, name of the function around, line) -> the line after the change."""
    look_at: str | None = None
    """A function to be read first."""
    new: tuple[str, tuple[str, ...]] | None = None
    """A file and lines to be added at its end."""
    functions: tuple[Function, ...] = ()
    """What can be called only after the change, for the tests."""


@dataclass(frozen=True)
class Ground:
    """What a change builds on: words and files of the task."""

    w: Lexicon
    level: int
    names: Iterator[str]
    files: list[str]

    def users(self, templates, n: int, *helpers: str) -> list[Function]:
        """Make functions that use the helpers."""
        chosen = [self.w.pick(templates[:3] if self.level == 1 else templates) for _ in range(n)]
        return [fill(self.w, template, signature, next(self.names), helpers) for signature, template in chosen]

    def target(self, signature: str) -> Function:
        """Make a function that others will call."""
        return fill(self.w, self.w.pick(TINY[signature]), signature, next(self.names))

    def traps(self, word: str) -> list[Function]:
        """Make functions that only look as if a change of this word concerned them."""
        quoted = Template(f"{word} as text, then {{t}}", 'return "{f} " + {t}')
        longer = f"{word}_{self.w.pick(('two', 'old', 'all', 'plus'))}"
        return [
            fill(self.w, self.w.pick(TINY["n>n"]), "n>n", longer),
            fill(self.w, quoted, "t>t", next(self.names), (word,)),
        ][: self.level - 1]


def draft(w: Lexicon, level: int) -> Draft:
    """Make a program and changes, carry them out as the expert, and test before and after."""
    names = fresh_names(w, misleading=level > 3)
    ground = Ground(w, level, names, w.several(FILES, N_FILES[level]))
    words = ["vowel", "banana", "o", next(names)] if level > 1 else []
    functions: list[Function] = []
    changes: list[Change] = []
    while len(changes) < N_CHANGES[level]:
        more, made = w.pick(KINDS[: N_KINDS[level]])(ground)
        changes += more
        functions += made
    changes = changes[: N_CHANGES[level]]
    functions += [fill(w, w.pick(LEAVES[s]), s, next(names)) for s in w.several(ENTRIES, N_UNRELATED[level])]
    setup = {"files": in_files(deal(w, [replace(f, note=level > 2) for f in functions], ground.files))}
    desk, before = Desk(setup), World(setup)
    for change in changes:
        _carry_out(desk, change)
    tests: dict[str, list[list[str]]] = {"fail_to_pass": [], "pass_to_pass": []}
    for function in (*functions, *(f for change in changes for f in change.functions)):
        for call in calls(w, function, 5, words):
            was, right = before.run(call), desk.world.run(call)
            if not (was.startswith("error") and right.startswith("error")):
                tests["pass_to_pass" if right == was else "fail_to_pass"].append([call, right])
    prompt = w.pick(("; then ", ", then ")).join(change.request for change in changes)
    if level > 1:
        call, right = w.pick([test for test in tests["fail_to_pass"] if not test[1].startswith("error")])
        desk.do("run", call=call)
        prompt += w.pick((f". {call} is {right} then", f". after that {call} gives {right}"))
        prompt += w.pick((". texts in quotes and longer names stay", ". leave quoted texts and longer names alone"))
    return Draft(
        prompt=prompt, tools=TOOLS, setup=setup, key=tests, expert=(*desk.actions, Action(answer="done")),
        tags=("code_generation", "tool_use", "multi_step"),
    )  # fmt: skip


def _carry_out(desk: Desk, change: Change) -> None:
    if change.new:
        file, lines = change.new
        desk.look_at(file)
        for line in lines:
            desk.do("insert", file=file, line=len(desk.world.files[file]) + 1, text=line)
    desk.do("search", text=change.word)
    if change.look_at:
        desk.look_at(desk.place(change.look_at)[0])
    for file, lines in desk.world.files.items():
        around = ""
        for i, line in enumerate(list(lines), 1):
            if line.startswith("def "):
                around = line[4:].partition("(")[0]
            after = line if line.startswith("#") else change.line(file, around, line)
            if after != line:
                desk.do("set", file=file, line=i, text=after)


# --- kinds of change: each makes one or two changes that follow each other, and the functions that they concern ------

Made = tuple[list[Change], list[Function]]


def _constant(ground: Ground) -> Made:
    w, name = ground.w, next(ground.names)
    old, new = map(str, w.several(range(2, 60), 2))
    but = w.pick(ground.files) if ground.level > 3 else None

    def line(file: str, around: str, text: str) -> str:
        return f"{name} = {new}" if text == f"{name} = {old}" and file != but else text

    request = w.pick(
        (
            f"set {name} to {new} {w.pick(EVERYWHERE)}",
            f"{name} is {new} from now on {w.pick(EVERYWHERE)}",
            f"change {name} from {old} to {new} {w.pick(EVERYWHERE)}",
        )
    )
    users = ground.users(CONSTANTS, N_TOUCHED[ground.level], name, old)
    if but:
        request += w.pick((f" but not in {but}", f", only {but} keeps {old}"))
    return [Change(request, name, line)], [*users, *ground.traps(name)]


def _rename(ground: Ground) -> Made:
    w, target, new = ground.w, ground.target("n>n"), next(ground.names)

    def line(file: str, around: str, text: str) -> str:
        return _renamed(text, target.name, new)

    request = w.pick(
        (
            f"rename {target.name} to {new} {w.pick(EVERYWHERE)}",
            f"call {target.name} {new} {w.pick(EVERYWHERE)}",
            f"{target.name} gets the name {new} {w.pick(EVERYWHERE)}",
        )
    )
    renamed = replace(target, name=new)
    changes = [Change(request, target.name, line, functions=(renamed,))]
    if ground.level > 3:
        changes.append(_extended(ground, renamed))
    return changes, [target, *_callers(ground, target), *ground.traps(target.name)]


def _swap(ground: Ground) -> Made:
    w, target = ground.w, ground.target("nn>n")

    def line(file: str, around: str, text: str) -> str:
        return _with_values(text, target.name, lambda values: values[::-1])

    first, second = target.parameters
    request = w.pick(
        (
            f"{target.name}({first}, {second}) becomes {target.name}({second}, {first}), mend all calls",
            f"let {target.name} take {second} before {first} and mend all its calls",
        )
    )
    change = Change(request, f"{target.name}(", line)
    return [change], [target, *_callers(ground, target), *ground.traps(target.name)]


def _extend(ground: Ground) -> Made:
    target = ground.target("n>n")
    return [_extended(ground, target)], [target, *_callers(ground, target), *ground.traps(target.name)]


def _extended(ground: Ground, target: Function) -> Change:
    w = ground.w
    value = str(w.whole(2, 40))
    (first,) = target.parameters
    second = w.pick([letter for letter in LETTERS if letter != first])

    def line(file: str, around: str, text: str) -> str:
        if around == target.name and text.startswith("return "):
            return f"{text} + {second}"
        more = second if text.startswith(f"def {target.name}(") else value
        return _with_values(text, target.name, lambda values: [*values, more])

    request = w.pick(
        (
            f"{target.name} takes a second value {second} that is added to its result, and all calls give {value}",
            f"give {target.name} a second value {second}, to be added to what it returns; each call passes {value}",
        )
    )
    two = replace(target, signature="nn>n", parameters=(first, second))
    return Change(request, f"{target.name}(", line, look_at=target.name, functions=(two,))


def _replace(ground: Ground) -> Made:
    w, target, new = ground.w, ground.target("n>n"), ground.target("n>n")
    file = w.pick(ground.files)

    def line(file: str, around: str, text: str) -> str:
        return text if around in (target.name, new.name) else _renamed(text, target.name, new.name)

    told = f"{new.name}({new.parameters[0]}), which gives {new.about}"
    request = w.pick(
        (
            f"write {told}, at the end of {file}, and call it wherever {target.name} is called",
            f"add to {file} a function {told}; who calls {target.name} now calls {new.name}",
        )
    )
    change = Change(request, f"{target.name}(", line, new=(file, replace(new, note=False).source), functions=(new,))
    return [change], [target, *_callers(ground, target), *ground.traps(target.name)]


KINDS = (_constant, _rename, _swap, _extend, _replace)


def _callers(ground: Ground, target: Function) -> list[Function]:
    return ground.users(CALLERS[target.signature], N_TOUCHED[ground.level] - 1, target.name)


def _renamed(text: str, old: str, new: str) -> str:
    # Word by word, so that longer names and quoted texts stay.
    for match in reversed(list(TOKEN.finditer(text))):
        if match[2] == old:
            text = text[: match.start(2)] + new + text[match.end(2) :]
    return text


def _with_values(text: str, name: str, change: Callable[[list[str]], list[str]]) -> str:
    # Rewrites what stands in the brackets of each call of a function, or of its definition, from the inside out.
    match = re.search(rf"\b{name}\(", text)
    if not match:
        return text
    depth, start, values = 0, match.end(), []
    for at in range(match.end(), len(text)):
        sign = text[at]
        if depth == 0 and sign in ",)":
            values.append(_with_values(text[start:at].strip(), name, change))
            start = at + 1
            if sign == ")":
                break
        depth += (sign in "([") - (sign in ")]")
    return f"{text[: match.end()]}{', '.join(change(values))}){_with_values(text[start:], name, change)}"
