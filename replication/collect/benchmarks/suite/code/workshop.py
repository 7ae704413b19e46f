"""The world of `repair` and `repository`: files of the small language, six tools, and hidden tests as the grade."""

from collections.abc import Callable, Mapping
from typing import ClassVar, NamedTuple

from replication.collect.benchmarks.suite import Grade
from replication.collect.benchmarks.suite.code.compiler import MAX_LINE, Table, read
from replication.collect.benchmarks.suite.code.language import Program, indented, link
from replication.collect.benchmarks.suite.kit import NUMBER, act, by_name, text, tool, validate_call
from replication.collect.benchmarks.suite.words import Lexicon
from replication.collect.interfaces import Action
from replication.records import Call, Json, Task

MAX_LINES = 120
"""Lines of one file."""
MAX_OUTPUT = 4_000

_FILE, _LINE, _TEXT = (
    text("name of a file"),
    NUMBER | {"description": "number of a line, from 1"},
    text("one line of code"),
)

TOOLS = (
    tool("show", "Show a file with line numbers.", file=_FILE),
    tool("search", "Show the lines of all files that hold a text.", text=text("the text")),
    tool("set", "Replace a line.", file=_FILE, line=_LINE, text=_TEXT),
    tool("insert", "Put a new line before a line, or after the last one.", file=_FILE, line=_LINE, text=_TEXT),
    tool("delete", "Delete a line.", file=_FILE, line=_LINE),
    tool("run", "Run a call and show its value.", call=text("such as f(3)")),
)
BY_NAME = by_name(TOOLS)


class World:
    """Files as lists of lines without indentation; the set of files is fixed, lines are bounded in number and length."""

    def __init__(self, setup: Mapping[str, Json]):
        self.files: dict[str, list[str]] = {file: text.split("\n") for file, text in setup["files"].items()}
        # Only changed files are compiled again.
        self._tables: dict[str, Table] = {}
        self._program: Program | None = None

    def step(self, call: Call) -> str:
        """Run one tool; errors are returned as text."""
        problem = validate_call(call, BY_NAME)
        if problem:
            return problem
        values = [call.arguments[name] for name in BY_NAME[call.name].parameters["properties"]]
        for value in values:
            if isinstance(value, str) and not (len(value) <= MAX_LINE and value.isprintable() and value.strip()):
                return "error: empty, too long or not printable"
        if "file" in call.arguments and values[0] not in self.files:
            return f"error: no file {values[0]}; files: {' '.join(self.files)}"
        return self._RUN[call.name](self, *values)[:MAX_OUTPUT]

    def run(self, call: str) -> str:
        """Return the value of a call with the present files."""
        if self._program is None:
            self._tables = {file: self._tables.get(file) or read(tuple(lines)) for file, lines in self.files.items()}
            self._program = link(self._tables)
        return self._program.run(call)

    def show(self, file: str) -> str:
        """Return a file with line numbers and indentation."""
        return "\n".join(f"{i} {line}" for i, line in enumerate(indented(self.files[file]), 1)) or "empty"

    def _search(self, text: str) -> str:
        hits = [
            f"{file} {i} {line}"
            for file, lines in self.files.items()
            for i, line in enumerate(lines, 1)
            if text in line
        ]
        return "\n".join(hits) or "no match"

    def _set(self, file: str, line: int, text: str) -> str:
        return self._edit(file, line, len(self.files[file]), [text.strip()], 1)

    def _insert(self, file: str, line: int, text: str) -> str:
        if len(self.files[file]) >= MAX_LINES:
            return "error: file is full"
        return self._edit(file, line, len(self.files[file]) + 1, [text.strip()], 0)

    def _delete(self, file: str, line: int) -> str:
        return self._edit(file, line, len(self.files[file]), [], 1)

    def _edit(self, file: str, line: int, last: int, new: list[str], n_old: int) -> str:
        if not 1 <= line <= last:
            return f"error: {file} has {len(self.files[file])} lines"
        self.files[file][line - 1 : line - 1 + n_old] = new
        self._tables.pop(file, None)
        self._program = None
        return "ok"

    _RUN: ClassVar[Mapping[str, Callable[..., str]]] = {
        "show": show, "search": _search, "set": _set, "insert": _insert, "delete": _delete, "run": run,
    }  # fmt: skip
    """Tool -> method."""


class Line(NamedTuple):
    """A line of a file."""

    file: str
    number: int
    """From 1."""


class TaskBuilder:
    """Records an expert's actions and executes its edits, so that line numbers are right after each edit."""

    def __init__(self, setup: Mapping[str, Json]):
        self.world = World(setup)
        self.actions: list[Action] = []
        self._shown: set[str] = set()

    def do(self, name: str, **arguments: Json) -> None:
        """Take one turn."""
        action = act(name, **arguments)
        self.actions.append(action)
        if name in ("set", "insert", "delete"):
            self.world.step(action.calls[0])

    def look_at(self, file: str) -> None:
        """Show a file, once."""
        if file not in self._shown:
            self._shown.add(file)
            self.do("show", file=file)

    def place(self, function: str) -> Line:
        """Return the file and the number of the line that starts a function; raises KeyError if there is none."""
        start = f"def {function}("
        for file, lines in self.world.files.items():
            if start in (text := "\n".join(lines)):
                return Line(file, text.count("\n", 0, text.index(start)) + 1)
        raise KeyError(function)

    def lines_of(self, function: str) -> tuple[str, ...]:
        """Return the present lines of a function, none if it does not exist."""
        try:
            file, first = self.place(function)
        except KeyError:
            return ()
        lines = self.world.files[file][first - 1 :]
        return tuple(lines[: next((i for i, line in enumerate(lines) if i and line[:4] in ("def ", "# ")), None)])


def grade(task: Task, key: Mapping[str, Json], world: World, answer: str | None) -> Grade:
    """Score 1 if every hidden test passes, those that failed before and those that passed, else 0; as in SWE-bench."""
    failed = {kind: sum(world.run(call) != expected for call, expected in tests) for kind, tests in key.items()}
    return Grade(value=float(not any(failed.values())), details={f"n_failed_{kind}": n for kind, n in failed.items()})


def describe(setup: Mapping[str, Json]) -> str:
    """Write all files as tool `show` prints them."""
    world = World(setup)
    return "\n".join(f"{file}\n{world.show(file)}" for file in world.files)


def perturb(lexicon: Lexicon, task: Task, action: Action) -> Action:
    """Look in a wrong place, or make a random edit."""
    files = task.setup["files"]
    file = lexicon.choice(list(files))
    lines = files[file].split("\n")
    at = lexicon.integer(1, len(lines) + 1)
    name = lexicon.choice([line[4:].partition("(")[0] for line in lines if line.startswith("def ")] or [lexicon.name()])
    wrong = {
        "show": {"file": lexicon.choice((file, lexicon.name()))},
        "search": {"text": lexicon.choice((name, f"def {lexicon.name()}"))},
        "set": {"file": file, "line": at, "text": lexicon.choice(lines)},
        "insert": {"file": file, "line": at, "text": lexicon.choice(lines)},
        "delete": {"file": file, "line": at},
        "run": {"call": f"{name}({lexicon.number()})"},
    }
    kind = action.calls[0].name if action.calls and lexicon.bernoulli(0.5) else lexicon.choice(list(wrong))
    return act(kind, **wrong[kind])
