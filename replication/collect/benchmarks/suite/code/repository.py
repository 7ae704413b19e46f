"""Carry a change through all files of a program without breaking the rest; modelled on SWE-bench Pro.

Kinds of change: a constant gets another value in all places, a function gets another name, takes its two values in the
other order, takes one more value, or is replaced by a new function that must be written first. The places are found by
search. Levels grow in the number of changes (1, 1, 2, 3, 4: the horizon), in functions that each change affects (2, 3, 4,
5, 6), in files (2, 3, 4, 5, 7), in kinds of change (2, 4, 5, 5, 5) and in traps: unrelated functions (0, 1, 2, 4, 8), from
level 2 on longer names and from level 3 on quoted texts and notes that contain the searched word, from level 4 on a file
that keeps the old value, misleading names, and a function that one change renames and the next one extends.
The score is binary, as in SWE-bench: the tests of the change pass, and so do those that passed before. A place left out,
or a change of something that only looks alike, scores 0; notes are not tested.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from replication.collect.benchmarks.suite import EnvironmentSpec, GeneratedTask
from replication.collect.benchmarks.suite.code.compiler import TOKEN, read
from replication.collect.benchmarks.suite.code.language import link
from replication.collect.benchmarks.suite.code.programs import (
    ENTRIES,
    LEAVES,
    LETTERS,
    TINY,
    Call,
    Function,
    Template,
    as_text,
    calls,
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

N_CHANGES = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4}
N_TOUCHED = {1: 2, 2: 3, 3: 4, 4: 5, 5: 6}
N_FILES = {1: 2, 2: 3, 3: 4, 4: 5, 5: 7}
N_KINDS = {1: 2, 2: 4, 3: 5, 4: 5, 5: 5}
N_UNRELATED = {1: 0, 2: 1, 3: 2, 4: 4, 5: 8}
Templates = Sequence[tuple[str, Template]]
"""Signatures with templates."""

CONSTANTS: Templates = (
    ("n>n", Template("{n} plus {f}", "{f} = {g}; return {n} + {f}")),
    ("n>n", Template("{n} times {f}", "{f} = {g}; return {n} * {f}")),
    ("n>n", Template("{f} minus {n}", "{f} = {g}; return {f} - {n}")),
    ("nn>n", Template("{n} plus {m}, minus {f}", "{f} = {g}; return {n} + {m} - {f}")),
    ("l>n", Template("the sum of {l}, plus {f}", "{f} = {g}; for {i} in {l}; {f} = {f} + {i}; end; return {f}")),
    ("l>l", Template("{l}, then {f} and {a}", "{f} = {g}; return {l} + [{f}, {a}]")),
    ("t>t", Template("{t} followed by {f}", "{f} = {g}; return {t} + text({f})")),
)
"""Functions with a named constant: f is its name, g its value. The first three also serve level 1."""

CALLERS: Mapping[str, Templates] = {
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
    """One change: its request, and its effect on each line."""

    request: str
    word: str
    """Search text that finds the places."""
    line: Callable[[str, str, str], str]
    """(file, name of the surrounding function, line) -> the line after the change."""
    look_at: str | None = None
    """A function that the expert reads first."""
    new: tuple[str, list[str]] | None = None
    """A file and lines to append to it."""
    functions: tuple[Function, ...] = ()
    """Functions that can be called only after the change, for the tests."""


@dataclass(frozen=True)
class Ground:
    """The words and files that all changes of a task share."""

    w: Lexicon
    level: int
    names: Iterator[str]
    files: list[str]

    def users(self, templates: Templates, n: int, *helpers: str | int) -> list[Function]:
        """Generate functions that use the helpers."""
        chosen = [self.w.choice(templates[:3] if self.level == 1 else templates) for _ in range(n)]
        return [fill(self.w, template, signature, next(self.names), helpers) for signature, template in chosen]

    def target(self, signature: str) -> Function:
        """Generate a function that others will call."""
        return fill(self.w, self.w.choice(TINY[signature]), signature, next(self.names))

    def traps(self, word: str) -> list[Function]:
        """Generate functions that only look as if a change of this word affected them."""
        quoted = Template(f"{word} as text, then {{t}}", f'return "{word} " + {{t}}')
        longer = f"{word}_{self.w.choice(('two', 'old', 'all', 'plus'))}"
        return [
            fill(self.w, self.w.choice(TINY["n>n"]), "n>n", longer),
            fill(self.w, quoted, "t>t", next(self.names)),
        ][: self.level - 1]


class Effect(NamedTuple):
    """The changes of one kind, and the functions around them."""

    changes: list[Change]
    """One, or two, the second of which builds on the first."""
    affected: list[Function]
    traps: list[Function]
    """Functions that only look as if they were affected."""


def generate(w: Lexicon, level: int) -> GeneratedTask:
    """Generate a program and changes, execute them as the expert, and test before and after."""
    names = fresh_names(w, misleading=level > 3)
    ground = Ground(w, level, names, w.sample(FILES, N_FILES[level]))
    words = ["vowel", "banana", "o", next(names)] if level > 1 else []
    effects: list[Effect] = []
    changes: list[Change] = []
    while n_left := N_CHANGES[level] - len(changes):
        effects.append(w.choice(KINDS[: N_KINDS[level]])(ground))
        changes += effects[-1].changes[:n_left]
    functions = [f for effect in effects for f in (*effect.affected, *effect.traps)]
    functions += [fill(w, w.choice(LEAVES[s]), s, next(names)) for s in w.sample(ENTRIES, N_UNRELATED[level])]
    setup = {"files": in_files(deal(w, [f._replace(note=level > 2) for f in functions], ground.files))}
    builder = TaskBuilder(setup)
    for change in changes:
        _execute(builder, change)
    functions += [f for change in changes for f in change.functions]
    tests = [call for function in functions for call in calls(w, function, 5, words)]
    prompt = w.choice(("; then ", ", then ")).join(change.request for change in changes)
    if level > 1:
        call, right = w.choice(_failing(effects[-1], builder, tests))
        builder.do("run", call=call)
        prompt += w.choice((f". {call} is {right} then", f". after that {call} gives {right}"))
        prompt += w.choice((". texts in quotes and longer names stay", ". leave quoted texts and longer names alone"))
    return GeneratedTask(
        prompt=prompt, tools=TOOLS, setup=setup, key=LazyMapping(lambda: _key(World(setup), builder.world, tests)),
        expert=(*builder.actions, Action(answer="done")), tags=("code_generation", "tool_use", "multi_step"),
    )  # fmt: skip


def _failing(effect: Effect, builder: TaskBuilder, tests: list[Call]) -> list[tuple[str, str]]:
    # Calls of the affected functions with another value after the change, and that value. Only these are compiled.
    names = dict.fromkeys(f.name for f in (*effect.affected, *(f for c in effect.changes for f in c.functions)))
    before, after = program(effect.affected), link({name: read(builder.lines_of(name)) for name in names})
    values = [(test, after.call(*test)) for test in tests if test[0] in names]
    return [(as_text(t), right) for t, right in values if not right.startswith("error") and right != before.call(*t)]


def _key(before: World, after: World, tests: list[Call]) -> dict[str, Json]:
    key: dict[str, list[list[str]]] = {"fail_to_pass": [], "pass_to_pass": []}
    for call in map(as_text, tests):
        was, right = before.run(call), after.run(call)
        if not (was.startswith("error") and right.startswith("error")):
            key["pass_to_pass" if right == was else "fail_to_pass"].append([call, right])
    return key


def _execute(builder: TaskBuilder, change: Change) -> None:
    if change.new:
        file, lines = change.new
        builder.look_at(file)
        for line in lines:
            builder.do("insert", file=file, line=len(builder.world.files[file]) + 1, text=line)
    builder.do("search", text=change.word)
    home = builder.place(change.look_at)[0] if change.look_at else None
    if home:
        builder.look_at(home)
    for file, lines in builder.world.files.items():
        # The first, cheap test rejects most lines.
        for i, line in enumerate(lines):
            if change.word in line or (file == home and line.startswith("return ")):
                start = next((before for before in lines[i::-1] if before.startswith("def ")), "")
                after = change.line(file, start[4:].partition("(")[0], line)
                if after != line and not line.startswith("#"):
                    builder.do("set", file=file, line=i + 1, text=after)


# --- kinds of change: each returns one or two successive changes, and the functions that they affect -----------------


def _constant(ground: Ground) -> Effect:
    w, name = ground.w, next(ground.names)
    old, new = w.sample(range(2, 60), 2)
    but = w.choice(ground.files) if ground.level > 3 else None

    def line(file: str, around: str, text: str) -> str:
        return f"{name} = {new}" if text == f"{name} = {old}" and file != but else text

    request = w.choice(
        (
            f"set {name} to {new} {w.choice(EVERYWHERE)}",
            f"{name} is {new} from now on {w.choice(EVERYWHERE)}",
            f"change {name} from {old} to {new} {w.choice(EVERYWHERE)}",
        )
    )
    users = ground.users(CONSTANTS, N_TOUCHED[ground.level], name, old)
    if but:
        request += w.choice((f" but not in {but}", f", only {but} keeps {old}"))
    return Effect([Change(request, name, line)], users, ground.traps(name))


def _rename(ground: Ground) -> Effect:
    w, target, new = ground.w, ground.target("n>n"), next(ground.names)

    def line(file: str, around: str, text: str) -> str:
        return _renamed(text, target.name, new)

    request = w.choice(
        (
            f"rename {target.name} to {new} {w.choice(EVERYWHERE)}",
            f"call {target.name} {new} {w.choice(EVERYWHERE)}",
            f"{target.name} gets the name {new} {w.choice(EVERYWHERE)}",
        )
    )
    renamed = target._replace(name=new)
    changes = [Change(request, target.name, line, functions=(renamed,))]
    if ground.level > 3:
        changes.append(_extended(ground, renamed))
    return Effect(changes, [target, *_callers(ground, target)], ground.traps(target.name))


def _swap(ground: Ground) -> Effect:
    w, target = ground.w, ground.target("nn>n")

    def line(file: str, around: str, text: str) -> str:
        return _with_values(text, target.name, lambda values: values[::-1])

    first, second = target.parameters
    request = w.choice(
        (
            f"{target.name}({first}, {second}) becomes {target.name}({second}, {first}), mend all calls",
            f"let {target.name} take {second} before {first} and mend all its calls",
        )
    )
    change = Change(request, f"{target.name}(", line)
    return Effect([change], [target, *_callers(ground, target)], ground.traps(target.name))


def _extend(ground: Ground) -> Effect:
    target = ground.target("n>n")
    return Effect([_extended(ground, target)], [target, *_callers(ground, target)], ground.traps(target.name))


def _extended(ground: Ground, target: Function) -> Change:
    w = ground.w
    value = str(w.integer(2, 40))
    (first,) = target.parameters
    second = w.choice([letter for letter in LETTERS if letter != first])

    def line(file: str, around: str, text: str) -> str:
        if around == target.name and text.startswith("return "):
            return f"{text} + {second}"
        more = second if text.startswith(f"def {target.name}(") else value
        return _with_values(text, target.name, lambda values: [*values, more])

    request = w.choice(
        (
            f"{target.name} takes a second value {second} that is added to its result, and all calls give {value}",
            f"give {target.name} a second value {second}, to be added to what it returns; each call passes {value}",
        )
    )
    two = target._replace(signature="nn>n", gaps={**target.gaps, "m": second})
    return Change(request, f"{target.name}(", line, look_at=target.name, functions=(two,))


def _replace(ground: Ground) -> Effect:
    w, target, new = ground.w, ground.target("n>n"), ground.target("n>n")
    file = w.choice(ground.files)

    def line(file: str, around: str, text: str) -> str:
        return text if around in (target.name, new.name) else _renamed(text, target.name, new.name)

    description = f"{new.name}({new.parameters[0]}), which gives {new.about}"
    request = w.choice(
        (
            f"write {description}, at the end of {file}, and call it wherever {target.name} is called",
            f"add to {file} a function {description}; who calls {target.name} now calls {new.name}",
        )
    )
    change = Change(request, f"{target.name}(", line, new=(file, new._replace(note=False).source), functions=(new,))
    return Effect([change], [target, *_callers(ground, target)], ground.traps(target.name))


KINDS = (_constant, _rename, _swap, _extend, _replace)


def _callers(ground: Ground, target: Function) -> list[Function]:
    return ground.users(CALLERS[target.signature], N_TOUCHED[ground.level] - 1, target.name)


def _renamed(text: str, old: str, new: str) -> str:
    # Word by word, so that longer names and quoted texts stay.
    return TOKEN.sub(lambda match: new if match[0] == old else match[0], text) if old in text else text


def _with_values(text: str, name: str, change: Callable[[list[str]], list[str]]) -> str:
    # Rewrites the values in each call of a function and the parameters in its definition, from the inside out.
    match = re.search(rf"\b{name}\(", text) if f"{name}(" in text else None
    if match is None:
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


ENVIRONMENT = EnvironmentSpec(
    name="repository", version="2", domain="in", modelled_on="SWE-bench Pro",
    metric="binary: new tests pass, old ones still do", about=__doc__, generate=generate, world=World, grade=grade,
    describe=describe, perturb=perturb,
)  # fmt: skip
