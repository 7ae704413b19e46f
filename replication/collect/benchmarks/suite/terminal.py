"""Shell work in a simulated file system; stands beside Terminal-Bench 2.0.

A task is a list of errands about facts that stand in files. Levels grow in three ways: more errands (the horizon: 1, 2,
3, 4, 6), longer references that must be followed from file to file before a fact is found (1, 1, 2, 2, 3 hops), and
more distractors (files 2 to 12; from level 2 on, other lines mention the wanted name too).
The score is binary: the files after the attempt equal the wanted files exactly, so a change elsewhere fails.
"""

from collections.abc import Mapping
from itertools import pairwise

from replication.collect.benchmarks.suite import GeneratedTask, Grade
from replication.collect.benchmarks.suite.kit import act, text, tool
from replication.collect.benchmarks.suite.words import ENDINGS, FACTS, FILES, FOLDERS, Lexicon
from replication.collect.interfaces import Action
from replication.records import Call, Json, Task

NAME = "terminal"
VERSION = "2"
DOMAIN = "in"

ERRANDS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6}
HOPS = {1: 1, 2: 1, 3: 2, 4: 2, 5: 3}
N_FILES = {1: 2, 2: 4, 3: 6, 4: 8, 5: 12}
N_LINES = {1: 2, 2: 3, 3: 3, 4: 4, 5: 5}
MENTIONS = {1: 0, 2: 1, 3: 1, 4: 2, 5: 3}

MAX_FILES = 64
MAX_TEXT = 4_000
MAX_OUTPUT = 2_000


TOOLS = (
    tool("ls", "List all files."),
    tool("cat", "Show a file.", file=text("path")),
    tool("grep", "Show the lines of all files that hold a word.", word=text("the word")),
    tool("write", "Make a file that holds one line, or replace it.", file=text("path"), text=text("the line")),
    tool("mv", "Move or rename a file.", file=text("path"), target=text("new path")),
    tool("cp", "Copy a file.", file=text("path"), target=text("path of the copy")),
    tool("rm", "Delete a file.", file=text("path")),
)


class World:
    """The simulated file system: a dict of path to text, bounded in number and size of files."""

    def __init__(self, setup: Mapping[str, Json]):
        self.files: dict[str, str] = dict(setup["files"])

    def step(self, call: Call) -> str:
        """Run one command; whatever is wrong with it is said in the returned line."""
        command = getattr(self, f"_{call.name}", None) if call.name in COMMANDS else None
        if command is None:
            return f"error: no command {call.name[:40]}"
        wanted = COMMANDS[call.name]
        values = [call.arguments.get(name) for name in wanted]
        if set(call.arguments) != set(wanted) or not all(isinstance(value, str) for value in values):
            return f"error: {call.name} takes {' '.join(wanted) or 'nothing'}"
        if any(len(value) > MAX_TEXT for value in values):
            return "error: too long"
        return command(*values)[:MAX_OUTPUT]

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


COMMANDS = {made.name: tuple(made.parameters["properties"]) for made in TOOLS}


def draft(lexicon: Lexicon, level: int) -> GeneratedTask:
    """Make files, errands about them, and the expert's way through."""
    files = _files(lexicon, level)
    n = ERRANDS[level]
    subjects = lexicon.names(n * (HOPS[level] + 1) + N_FILES[level] * N_LINES[level] + MENTIONS[level] * n)
    spare = iter(subjects[n * (HOPS[level] + 1) :])
    lines: dict[str, list[str]] = {
        path: [f"{next(spare)} {lexicon.choice(FACTS)} {lexicon.number()}" for _ in range(N_LINES[level])]
        for path in files
    }
    sentences, expert = [], []
    goal_changes = []
    targets = [f"{stem}.{lexicon.choice(ENDINGS)}" for stem in lexicon.names(n)]
    # Each errand that moves or deletes a file needs a file of its own, or two errands could contradict each other.
    free = lexicon.shuffled(files)
    for i in range(n):
        chain = subjects[i * (HOPS[level] + 1) : i * (HOPS[level] + 1) + HOPS[level]]
        kind = lexicon.choice(("fetch", "fetch", "move", "remove")) if len(free) > n - i else "fetch"
        fact = lexicon.choice(FACTS)
        home = free.pop() if kind != "fetch" else lexicon.choice(free)
        for here, after in pairwise(chain):
            lines[lexicon.choice(free)].append(f"{here} see {after}")
            expert.append(act("grep", word=here))
        value = str(lexicon.number())
        lines[home].append(f"{chain[-1]} {fact} {value}")
        for _ in range(MENTIONS[level]):
            lines[lexicon.choice(free)].append(f"{next(spare)} asks {chain[-1]}")
        expert.append(act("grep", word=chain[-1]))
        if kind == "fetch":
            sentences.append(
                lexicon.choice(
                    (
                        f"write the {fact} of {chain[0]} to {targets[i]}",
                        f"put the {fact} of {chain[0]} in {targets[i]}",
                        f"make {targets[i]} hold the {fact} of {chain[0]}",
                    )
                )
            )
            expert.append(act("write", file=targets[i], text=value))
        elif kind == "move":
            target = f"{lexicon.choice(FOLDERS)}/{targets[i]}"
            sentences.append(
                lexicon.choice(
                    (
                        f"move the file with the {fact} of {chain[0]} to {target}",
                        f"rename the file that has the {fact} of {chain[0]} to {target}",
                    )
                )
            )
            expert.append(act("mv", file=home, target=target))
        else:
            sentences.append(
                lexicon.choice(
                    (
                        f"delete the file with the {fact} of {chain[0]}",
                        f"remove the file that has the {fact} of {chain[0]}",
                    )
                )
            )
            expert.append(act("rm", file=home))
        goal_changes.append(expert[-1].calls[0])
    for path in files:
        lines[path] = lexicon.shuffled(lines[path])
    setup = {"files": {path: "\n".join(lines[path]) for path in files}}
    goal = World(setup)
    for call in goal_changes:
        goal.step(call)
    return GeneratedTask(
        prompt=lexicon.choice(("; then ", ", then ")).join(sentences), tools=TOOLS, setup=setup,
        key={"files": goal.files}, expert=(*expert, Action(answer="done")),
        tags=("tool_use", "multi_step", *(("planning",) if level > 1 else ())),
    )  # fmt: skip


def grade(task: Task, key: Mapping[str, Json], world: World, answer: str | None) -> Grade:
    """Score 1 if every file is as wanted, else 0; an answer is not required, as in Terminal-Bench's tests."""
    wanted = key["files"]
    wrong = sorted(path for path in wanted.keys() | world.files.keys() if wanted.get(path) != world.files.get(path))
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
