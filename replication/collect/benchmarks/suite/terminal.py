"""Shell work in a simulated file system; modelled on Terminal-Bench 2.0.

A task is a list of errands about facts in files. Levels grow in three ways: more errands (the horizon: 1, 2, 3, 4, 6),
longer chains of references that lead from file to file to a fact (1, 1, 2, 2, 3 hops), and more distractors (2 to 12
files; from level 2 on, other lines mention the name of a task too).
The score is binary: the files after the attempt equal the target files exactly, so a change elsewhere fails.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import ClassVar

from replication.collect.benchmarks.suite import EnvironmentSpec, GeneratedTask, Grade
from replication.collect.benchmarks.suite.kit import Limits, act, by_name, mismatch, text, tool, usage
from replication.collect.benchmarks.suite.words import ENDINGS, FACTS, FILES, FOLDERS, Lexicon
from replication.collect.interfaces import Action
from replication.records import Call, Json, Task

ERRANDS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6}
HOPS = {1: 1, 2: 1, 3: 2, 4: 2, 5: 3}
N_FILES = {1: 2, 2: 4, 3: 6, 4: 8, 5: 12}
N_LINES = {1: 2, 2: 3, 3: 3, 4: 4, 5: 5}
MENTIONS = {1: 0, 2: 1, 3: 1, 4: 2, 5: 3}

MAX_FILES = 64
MAX_OUTPUT = 2_000
LIMITS = Limits(max_text=4_000, multiline=True)

TOOLS = (
    tool("ls", "List all files."),
    tool("cat", "Show a file.", file=text("path")),
    tool("grep", "Show the lines of all files that hold a word.", word=text("the word")),
    tool("write", "Make a file that holds one line, or replace it.", file=text("path"), text=text("the line")),
    tool("mv", "Move or rename a file.", file=text("path"), target=text("new path")),
    tool("cp", "Copy a file.", file=text("path"), target=text("path of the copy")),
    tool("rm", "Delete a file.", file=text("path")),
)
BY_NAME = by_name(TOOLS)


class World:
    """The simulated file system: a dict of path to text, bounded in number and size of files."""

    def __init__(self, setup: Mapping[str, Json]):
        self.files: dict[str, str] = dict(setup["files"])

    def step(self, call: Call) -> str:
        """Run one command; errors are returned as text."""
        problem = mismatch(call, BY_NAME, LIMITS)
        if problem is None:
            return self._RUN[call.name](self, **call.arguments)[:MAX_OUTPUT]
        if problem.kind == "name":
            return f"error: no command {str(call.name)[:40]}"
        if problem.kind == "value" and all(isinstance(value, str) for value in call.arguments.values()):
            return "error: too long"
        return f"error: {usage(BY_NAME[call.name])}"

    def _ls(self) -> str:
        return "\n".join(sorted(self.files)) or "no files"

    def _cat(self, file: str) -> str:
        return self.files[file] if file in self.files else f"error: no file {file[:80]}"

    def _grep(self, word: str) -> str:
        hits = [
            f"{path}: {line}"
            for path, text in sorted(self.files.items())
            for line in text.split("\n")
            if word in line.split(" ")
        ]
        return "\n".join(hits) or "no match"

    def _write(self, file: str, text: str) -> str:
        if not self._allowed(file):
            return f"error: bad path {file[:80]}"
        self.files[file] = text
        return "ok"

    def _mv(self, file: str, target: str) -> str:
        copied = self._cp(file, target)
        if copied == "ok" and file != target:
            del self.files[file]
        return copied

    def _cp(self, file: str, target: str) -> str:
        if file not in self.files:
            return f"error: no file {file[:80]}"
        if not self._allowed(target):
            return f"error: bad path {target[:80]}"
        self.files[target] = self.files[file]
        return "ok"

    def _rm(self, file: str) -> str:
        if file not in self.files:
            return f"error: no file {file[:80]}"
        del self.files[file]
        return "ok"

    def _allowed(self, path: str) -> bool:
        short = 0 < len(path) <= 80 and not path.isspace()
        return short and (path in self.files or len(self.files) < MAX_FILES)

    _RUN: ClassVar[Mapping[str, Callable[..., str]]] = {
        "ls": _ls, "cat": _cat, "grep": _grep, "write": _write, "mv": _mv, "cp": _cp, "rm": _rm,
    }  # fmt: skip
    """Tool -> method."""


def generate(lexicon: Lexicon, level: int) -> GeneratedTask:
    """Generate files, errands about them, and the expert's actions."""
    n = ERRANDS[level]
    builder = _TaskBuilder(lexicon, level, n)
    for i in range(n):
        builder.add_errand(i)
    setup = {"files": {path: "\n".join(lexicon.shuffled(lines)) for path, lines in builder.lines.items()}}
    goal = World(setup)
    for call in builder.changes:
        goal.step(call)
    return GeneratedTask(
        prompt=lexicon.choice(("; then ", ", then ")).join(builder.sentences), tools=TOOLS, setup=setup,
        key={"files": goal.files}, expert=(*builder.expert, Action(answer="done")),
        tags=("tool_use", "multi_step", *(("planning",) if level > 1 else ())),
    )  # fmt: skip


class _TaskBuilder:
    """The files of a task, and the errands so far."""

    def __init__(self, lexicon: Lexicon, level: int, n: int):
        self._lexicon, self._level, self._n = lexicon, level, n
        files = _files(lexicon, level)
        n_chained = n * (HOPS[level] + 1)
        self._subjects = lexicon.names(n_chained + N_FILES[level] * N_LINES[level] + MENTIONS[level] * n)
        self._spare: Iterator[str] = iter(self._subjects[n_chained:])
        self.lines: dict[str, list[str]] = {
            path: [f"{next(self._spare)} {lexicon.choice(FACTS)} {lexicon.number()}" for _ in range(N_LINES[level])]
            for path in files
        }
        self._targets = [f"{stem}.{lexicon.choice(ENDINGS)}" for stem in lexicon.names(n)]
        # An errand that moves or deletes a file takes it out of this list, or two errands could contradict each other.
        self._free = lexicon.shuffled(files)
        self.sentences: list[str] = []
        self.expert: list[Action] = []
        self.changes: list[Call] = []

    def add_errand(self, i: int) -> None:
        """Add the errand of index `i`: its sentence, its lines in the files, and the expert's actions."""
        lexicon, n_names = self._lexicon, HOPS[self._level] + 1
        chain = self._subjects[i * n_names : i * n_names + n_names - 1]
        enough = len(self._free) > self._n - i
        kind = lexicon.choice(("fetch", "fetch", "move", "remove")) if enough else "fetch"
        fact = lexicon.choice(FACTS)
        home = self._free.pop() if kind != "fetch" else lexicon.choice(self._free)
        for here, after in pairwise(chain):
            self._write(f"{here} see {after}")
            self.expert.append(act("grep", word=here))
        value = str(lexicon.number())
        self.lines[home].append(f"{chain[-1]} {fact} {value}")
        for _ in range(MENTIONS[self._level]):
            self._write(f"{next(self._spare)} asks {chain[-1]}")
        self.expert.append(act("grep", word=chain[-1]))
        change = self._change(kind, f"the {fact} of {chain[0]}", self._targets[i], home, value)
        self.expert.append(change)
        self.changes += change.calls

    def _write(self, line: str) -> None:
        self.lines[self._lexicon.choice(self._free)].append(line)

    def _change(self, kind: str, fact: str, target: str, home: str, value: str) -> Action:
        lexicon = self._lexicon
        if kind == "fetch":
            self._ask(f"write {fact} to {target}", f"put {fact} in {target}", f"make {target} hold {fact}")
            return act("write", file=target, text=value)
        if kind == "move":
            target = f"{lexicon.choice(FOLDERS)}/{target}"
            self._ask(f"move the file with {fact} to {target}", f"rename the file that has {fact} to {target}")
            return act("mv", file=home, target=target)
        self._ask(f"delete the file with {fact}", f"remove the file that has {fact}")
        return act("rm", file=home)

    def _ask(self, *wordings: str) -> None:
        self.sentences.append(self._lexicon.choice(wordings))


def grade(task: Task, key: Mapping[str, Json], world: World, answer: str | None) -> Grade:
    """Score 1 if the files equal the target files, else 0; an answer is not required, as in Terminal-Bench's tests."""
    target = key["files"]
    wrong = sorted(path for path in target.keys() | world.files.keys() if target.get(path) != world.files.get(path))
    return Grade(value=float(not wrong), details={"n_wrong_files": len(wrong)})


def _files(lexicon: Lexicon, level: int) -> list[str]:
    stems = lexicon.sample([f"{name}.{end}" for name in FILES for end in ENDINGS], N_FILES[level])
    # From level 3 on about half of the files lie in folders.
    return [f"{lexicon.choice(FOLDERS)}/{s}" if level > 2 and lexicon.bernoulli(0.5) else s for s in stems]


def describe(setup: Mapping[str, Json]) -> str:
    """Write out all files."""
    return "\n".join(f"{path}\n{text}" for path, text in setup["files"].items())


def perturb(lexicon: Lexicon, task: Task, action: Action) -> Action:
    """Run another command with a plausible value: an existing path, or a name that may be anywhere or nowhere."""
    path = lexicon.choice(list(task.setup["files"]))
    words = " ".join(task.setup["files"].values()).split()
    kind = lexicon.choice(("ls", "cat", "grep", "grep", "rm", "cat_wrong"))
    return {
        "ls": act("ls"),
        "cat": act("cat", file=path),
        "grep": act("grep", word=lexicon.choice(words)),
        "rm": act("rm", file=path),
        "cat_wrong": act("cat", file=f"{lexicon.name()}.txt"),
    }[kind]


ENVIRONMENT = EnvironmentSpec(
    name="terminal", version="2", domain="in", modelled_on="Terminal-Bench 2.0",
    metric="binary: all files equal the target files", about=__doc__, generate=generate, world=World, grade=grade,
    describe=describe, perturb=perturb,
)  # fmt: skip
