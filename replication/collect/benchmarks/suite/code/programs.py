"""Generated programs in the small language: small templates, composed into functions that call each other."""

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from replication.collect.benchmarks.suite.code import machine
from replication.collect.benchmarks.suite.code.compiler import bind, holes, read
from replication.collect.benchmarks.suite.code.language import Program
from replication.collect.benchmarks.suite.code.machine import Value, written
from replication.collect.benchmarks.suite.words import Lexicon

LETTERS = "abcdefghkmnpqrsuvwxyz"
GAPS = {gap: gap for gap in "nmltxyiabfgh"}


@dataclass(frozen=True)
class Template:
    """A function with gaps: n, m numbers, l a list, t a text; a < b constants; x, y, i variables; f, g, h helpers.

    It is compiled once, with the gaps as names, and not again for each function that fills the gaps.
    """

    about: str
    """Description of the result, for its note or the prompt."""
    body: str
    """Lines, separated by semicolons."""
    helpers: str = ""
    """Signatures of f, g, h in this order, separated by blanks."""

    @functools.cached_property
    def lines(self) -> tuple[str, ...]:
        """The lines of the body."""
        return tuple(line.strip() for line in self.body.split(";"))

    @functools.cached_property
    def code(self) -> machine.Code:
        """The compiled body, its gaps not filled."""
        return read(("def it()", *(line.format_map(GAPS) for line in self.lines), "end")).functions["it"].code

    @functools.cached_property
    def holes(self) -> list[int]:
        """Indices of the steps that are about gaps."""
        return holes(self.code)

    @functools.cached_property
    def numbers(self) -> list[str | int]:
        """Constant gaps and numbers, in their order in the body."""
        constants = re.findall(r"(?<=\{)[abg](?=\})|\b[0-9]+", self.body)
        return [int(constant) if constant.isdigit() else constant for constant in constants]


def _templates(*rows: tuple[str, ...]) -> tuple[Template, ...]:
    return tuple(Template(*row) for row in rows)


TINY = {
    "n>n": _templates(
        ("{n} plus {a}", "return {n} + {a}"),
        ("{n} minus {a}", "return {n} - {a}"),
        ("{n} times {a}", "return {n} * {a}"),
        ("{a} minus {n}", "return {a} - {n}"),
        ("{n} divided by {a}", "return {n} / {a}"),
        ("the rest of {n} by {a}", "return {n} % {a}"),
    ),
    "nn>n": _templates(
        ("{n} minus {m}", "return {n} - {m}"),
        ("{n} times {a}, plus {m}", "return {n} * {a} + {m}"),
        ("{n} plus {a}, minus {m}", "return {n} + {a} - {m}"),
        ("{m} times {a}, minus {n}", "return {m} * {a} - {n}"),
    ),
}
"""One line each, by signature: parameters > result."""

SHORT = {
    "n>n": (
        *TINY["n>n"],
        *_templates(
            ("{n} times {a}, plus {b}", "{x} = {n} * {a}; return {x} + {b}"),
            ("{n} plus {b}, times {a}", "{x} = {n} + {b}; return {x} * {a}"),
            ("{n} minus {a}, times {b}", "{x} = {n} - {a}; return {x} * {b}"),
        ),
    ),
    "nn>n": (
        *TINY["nn>n"],
        *_templates(
            ("{n} plus {m}", "return {n} + {m}"),
            ("{n} times {m}", "return {n} * {m}"),
            ("{n} times {m}, plus {a}", "{x} = {n} * {m}; return {x} + {a}"),
            ("{n} minus {m}, times {a}", "{x} = {n} - {m}; return {x} * {a}"),
        ),
    ),
}
"""At most two lines, for the lowest level."""

LEAVES = {
    "n>n": (
        *SHORT["n>n"],
        *_templates(
            ("{n}, at most {a}", "if {n} > {a}; return {a}; end; return {n}"),
            ("{n}, at least {a}", "if {n} < {a}; return {a}; end; return {n}"),
            ("{n} plus {a} if {n} is below {b}, else {n}", "if {n} < {b}; return {n} + {a}; end; return {n}"),
            ("half of even {n}, else {n} plus {a}", "if {n} % 2 == 0; return {n} / 2; end; return {n} + {a}"),
            (
                "{b} from {b} on, {a} from {a} on, else 0",
                "if {n} >= {b}; return {b}; elif {n} >= {a}; return {a}; end; return 0",
            ),
            ("{n} from {a} to {b}, else 0", "if {n} >= {a} and {n} <= {b}; return {n}; end; return 0"),
            (
                "the sum of 1 to {x}, {x} being the rest of {n} by {a}",
                "{x} = {n} % {a}; {y} = 0; for {i} in range(1, {x} + 1); {y} = {y} + {i}; end; return {y}",
            ),
            (
                "{x} being the rest of {n} by 900: {x} less {b} while {x} is above {b}, plus {a}",
                "{x} = {n} % 900; while {x} > {b}; {x} = {x} - {b}; end; return {x} + {a}",
            ),
            (
                "the sum of the digits of {x}, {x} being {n} plus {a}; 0 if {x} is below 0",
                "{x} = {n} + {a}; {y} = 0; while {x} > 0; {y} = {y} + {x} % 10; {x} = {x} / 10; end; return {y}",
            ),
        ),
    ),
    "nn>n": (
        *SHORT["nn>n"],
        *_templates(
            ("the larger of {n} and {m}, plus {a}", "if {n} > {m}; return {n} + {a}; end; return {m} + {a}"),
            ("the distance of {n} and {m}", "if {n} > {m}; return {n} - {m}; end; return {m} - {n}"),
            ("{n} if {n} plus {m} is below {b}, else {m}", "if {n} + {m} < {b}; return {n}; end; return {m}"),
        ),
    ),
    "l>n": _templates(
        ("the sum of {l}, plus {a}", "{x} = {a}; for {i} in {l}; {x} = {x} + {i}; end; return {x}"),
        (
            "how many of {l} are above {a}",
            "{x} = 0; for {i} in {l}; if {i} > {a}; {x} = {x} + 1; end; end; return {x}",
        ),
        (
            "the sum of those of {l} from {a} to {b}",
            "{x} = 0; for {i} in {l}; if {i} >= {a} and {i} <= {b}; {x} = {x} + {i}; end; end; return {x}",
        ),
        (
            "the largest of {l}, at least {a}",
            "{x} = {a}; for {i} in {l}; if {i} > {x}; {x} = {i}; end; end; return {x}",
        ),
        (
            "the first of {l} above {a}, else {b}",
            "for {i} in {l}; if {i} > {a}; return {i}; end; end; return {b}",
        ),
        (
            "the last of {l} with {a} added, 0 for none",
            "if len({l}) == 0; return 0; end; return {l}[len({l}) - 1] + {a}",
        ),
    ),
    "l>l": _templates(
        (
            "those of {l} below {b}",
            "{x} = []; for {i} in {l}; if {i} < {b}; {x} = add({x}, {i}); end; end; return {x}",
        ),
        ("{l}, each plus {a}", "{x} = []; for {i} in {l}; {x} = add({x}, {i} + {a}); end; return {x}"),
        ("{l} backwards", "{x} = []; for {i} in {l}; {x} = [{i}] + {x}; end; return {x}"),
        (
            "the running sums of {l} from {a} on",
            "{x} = []; {y} = {a}; for {i} in {l}; {y} = {y} + {i}; {x} = add({x}, {y}); end; return {x}",
        ),
        (
            "{l} without repeats and without {a}",
            "{x} = []; for {i} in {l}; if not {i} in {x} and {i} != {a}; {x} = add({x}, {i}); end; end; return {x}",
        ),
    ),
    "t>n": _templates(
        ("the length of {t} plus {a}", "return len({t}) + {a}"),
        (
            "{a} for each letter a in {t}",
            '{x} = 0; for {i} in {t}; if {i} == "a"; {x} = {x} + {a}; end; end; return {x}',
        ),
    ),
    "t>t": _templates(
        ("{t} backwards", '{x} = ""; for {i} in {t}; {x} = {i} + {x}; end; return {x}'),
        (
            "{t} without its letters o",
            '{x} = ""; for {i} in {t}; if {i} != "o"; {x} = {x} + {i}; end; end; return {x}',
        ),
        ("{t} followed by {a}", "return {t} + text({a})"),
        ("{t} with a dash after each letter", '{x} = ""; for {i} in {t}; {x} = {x} + {i} + "-"; end; return {x}'),
    ),
}
"""Functions that call no others."""

NODES = {
    "n>n": _templates(
        ("{f} of {n}, plus {a}", "return {f}({n}) + {a}", "n>n"),
        ("{f} of ({n} minus {a})", "return {f}({n} - {a})", "n>n"),
        ("{f} of {n}, at most {b}", "{x} = {f}({n}); if {x} > {b}; return {b}; end; return {x}", "n>n"),
        ("{f} of {n}, plus {g} of {n}", "{x} = {f}({n}); return {x} + {g}({n})", "n>n n>n"),
        ("{f} of {n}, minus {g} of {a}", "{x} = {g}({a}); return {f}({n}) - {x}", "n>n n>n"),
        (
            "{f} of {n} if {n} is above {a}, else {g} of {n}",
            "if {n} > {a}; return {f}({n}); end; return {g}({n})",
            "n>n n>n",
        ),
        ("{f} of {n} and {a}", "return {f}({n}, {a})", "nn>n"),
        ("{f} of ({g} of {n}) and {n}", "{x} = {g}({n}); return {f}({x}, {n})", "nn>n n>n"),
        ("{f} of the list {n}, {a}, {b}", "return {f}([{n}, {a}, {b}])", "l>n"),
    ),
    "nn>n": _templates(
        ("{f} of {n}, plus {m}", "return {f}({n}) + {m}", "n>n"),
        ("{f} of {n}, minus {g} of {m}", "{x} = {g}({m}); return {f}({n}) - {x}", "n>n n>n"),
        ("{f} of the larger of {n} and {m}", "if {n} < {m}; return {f}({m}); end; return {f}({n})", "n>n"),
    ),
    "l>n": _templates(
        ("the sum of {f} of each of {l}", "{x} = 0; for {i} in {l}; {x} = {x} + {f}({i}); end; return {x}", "n>n"),
        (
            "how many of {l} have {f} above {a}",
            "{x} = 0; for {i} in {l}; if {f}({i}) > {a}; {x} = {x} + 1; end; end; return {x}",
            "n>n",
        ),
        ("{f} of {l}, plus {g} of its length", "{x} = {f}({l}); return {x} + {g}(len({l}))", "l>n n>n"),
        (
            "the largest {f} of {l}, at least {a}",
            "{x} = {a}; for {i} in {l}; {y} = {f}({i}); if {y} > {x}; {x} = {y}; end; end; return {x}",
            "n>n",
        ),
        ("{f} of ({g} of {l})", "{x} = {g}({l}); return {f}({x})", "l>n l>l"),
    ),
    "l>l": _templates(
        ("{f} of each of {l}", "{x} = []; for {i} in {l}; {x} = add({x}, {f}({i})); end; return {x}", "n>n"),
        (
            "those of {l} with {f} below {b}",
            "{x} = []; for {i} in {l}; if {f}({i}) < {b}; {x} = add({x}, {i}); end; end; return {x}",
            "n>n",
        ),
        ("{f} of ({g} of {l})", "{x} = {g}({l}); return {f}({x})", "l>l l>l"),
    ),
    "t>n": _templates(
        ("{f} of the length of {t}", "return {f}(len({t}))", "n>n"),
        ("{f} of {t}, plus {g} of {a}", "{x} = {f}({t}); return {x} + {g}({a})", "t>n n>n"),
    ),
    "t>t": _templates(
        ("{f} of {t}, followed by {g} of {a}", "{x} = {g}({a}); return {f}({t}) + text({x})", "t>t n>n"),
        ("{t} and {f} of its length", "return {t} + text({f}(len({t})))", "n>n"),
    ),
}
"""Functions that call others; f is the next link of a chain."""

MISLEADING = ("add", "max", "count", "first", "half", "sum", "sort", "last", "double", "check")

ENTRIES = ("n>n", "n>n", "nn>n", "l>n", "l>n", "l>l", "t>n", "t>t")


class Function(NamedTuple):
    """One function of a generated program: a template and the content of its gaps."""

    name: str
    signature: str
    template: Template
    gaps: Mapping[str, str | int]
    note: bool = True
    """Whether a note above the function describes its result."""
    old: str = ""
    """A second, outdated note."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return tuple(str(self.gaps[gap]) for gap in parameters(self.signature))

    @property
    def about(self) -> str:
        """Description of the result."""
        return self.template.about.format_map(self.gaps)

    @property
    def body(self) -> list[str]:
        """The lines between the first and the last."""
        return [line.format_map(self.gaps) for line in self.template.lines]

    @property
    def compiled(self) -> machine.Function:
        """The function as the compiler would return it."""
        return machine.Function(self.parameters, bind(self.template.code, self.template.holes, self.gaps))

    @property
    def source(self) -> list[str]:
        """Its lines in the file."""
        notes = [*([f"# {self.about}"] if self.note else ()), *([f"# old: {self.old}"] if self.old else ())]
        return [*notes, f"def {self.name}({', '.join(self.parameters)})", *self.body, "end"]


def parameters(signature: str) -> str:
    """Return the gaps of the parameters of a signature."""
    return "nm" if signature.startswith("nn") else signature[0]


def fill(w: Lexicon, template: Template, signature: str, name: str, helpers: Iterable[str | int] = ()) -> Function:
    """Fill the gaps of a template with random names and constants."""
    gaps: dict[str, str | int] = dict(zip("nmltxyi", w.sample(LETTERS, 7), strict=True))
    gaps.update(zip("fgh", helpers, strict=False))
    a = w.integer(2, 30)
    gaps |= {"a": a, "b": a + w.integer(1, 30)}
    return Function(name, signature, template, gaps)


def fresh_names(w: Lexicon, misleading: bool = False) -> Iterator[str]:
    """Yield different names without end; if `misleading`, half of them with a first word unrelated to the function."""
    seen: set[str] = set()
    while True:
        name = w.name()
        if name not in seen:
            seen.add(name)
            yield f"{w.choice(MISLEADING)}_{name}" if misleading and w.bernoulli(0.5) else name


def deal(w: Lexicon, functions: Iterable[Function], files: Iterable[str]) -> dict[str, list[Function]]:
    """Spread functions evenly over files, in the given order; within a file they are shuffled."""
    order = list(files)
    content: dict[str, list[Function]] = {file: [] for file in order}
    for i, function in enumerate(functions):
        content[order[i % len(order)]].append(function)
    return {file: w.shuffled(listed) for file, listed in content.items()}


class Chain(NamedTuple):
    """Functions each of which calls the next, and other helpers that they call."""

    links: list[Function]
    sides: list[Function]


def chain(w: Lexicon, signature: str, n_links: int, names: Iterator[str]) -> Chain:
    """Generate a chain of `n_links` calls, so of one function more."""
    links: list[Function] = []
    sides: list[Function] = []
    name = next(names)
    for _ in range(n_links):
        template = w.choice(NODES[signature])
        signatures = template.helpers.split(" ")
        helpers = [next(names) for _ in signatures]
        links.append(fill(w, template, signature, name, helpers))
        sides += [fill(w, w.choice(LEAVES[s]), s, h) for s, h in zip(signatures[1:], helpers[1:], strict=True)]
        name, signature = helpers[0], signatures[0]
    links.append(fill(w, w.choice(LEAVES[signature]), signature, name))
    return Chain(links, sides)


def program(functions: Iterable[Function]) -> Program:
    """Link functions without writing and compiling their files."""
    return Program({f.name: f.compiled for f in functions})


def in_files(files: Mapping[str, Iterable[Function]]) -> dict[str, str]:
    """Write the setup of a world: file -> text."""
    return {file: "\n".join([line for f in functions for line in f.source]) for file, functions in files.items()}


Call = tuple[str, tuple[Value, ...]]
"""Name of a function and its values."""


def calls(w: Lexicon, function: Function, n: int, words: list[str]) -> list[Call]:
    """Draw `n` calls: first at and around the function's constants, where mistakes change the value, then anywhere."""
    name, needs = function.name, parameters(function.signature)
    filled = [function.gaps.get(c, c) if isinstance(c, str) else c for c in function.template.numbers]
    constants = [c for c in filled if isinstance(c, int)]
    first = [*constants, 0, 95, *[c + 1 for c in constants], *[c - 1 for c in constants]]
    drawn: list[Call] = []
    for i in range(n):
        number = first[i] if i < len(first) else w.integer(0, 70)
        if needs == "n":
            drawn.append((name, (number,)))
        elif needs == "nm":
            drawn.append((name, (number, w.integer(0, 70))))
        elif needs == "t":
            drawn.append((name, (w.choice(words),)))
        else:
            # The second list is empty; the others mix numbers near the constants with any numbers.
            drawn.append((name, ((number, *[w.integer(0, 70) for _ in range(w.integer(0, 3))])[i == 1 :],)))
    return drawn


def as_text(call: Call) -> str:
    """Write a call in the syntax of the language."""
    name, values = call
    return f"{name}({', '.join(map(written, values))})"
