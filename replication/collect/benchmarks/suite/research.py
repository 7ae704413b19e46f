"""Collecting a table from pages that partly contradict each other; modelled on WideSearch.

The task names a group and columns; the members must be found on the pages. The table consists of the rows added by the
end of the episode. Levels grow in the number of rows, columns, pages and claims, and each adds a difficulty:

    level      1     2     3     4     5
    turns      6     8    17    38    71   mean of the expert
    rows     2-4   2-4   2-4   4-5   6-8   people in the group who meet the condition
    columns    1     2     2     3     4   besides the name
    pages      2     4     5     9    14   with needed claims: 1, 3, 3, 6, 10
    claims     1   1-3   1-2   1-3   1-4   pages that claim one cell, mostly with different values
    new            dates  condition, facts on other pages than memberships, long pages read in parts
                                trust before date, people who have left
                                      people who have a new name

The score is WideSearch's item F1: rows are aligned by name, a right name and each right cell next to it count one item
(src/evaluation/evaluation.py, 0e664c3). Row F1 and success (the whole table) are among the details. Unlike there, cells
are compared exactly, and of two rows with one name the last counts, not the first.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import ClassVar

from replication.collect.benchmarks.suite import EnvironmentSpec, GeneratedTask, Grade
from replication.collect.benchmarks.suite.kit import NUMBER, act, by_name, text, tool, validate_call
from replication.collect.benchmarks.suite.words import COLOURS, FACTS, FILES, Lexicon
from replication.collect.interfaces import Action
from replication.records import Call, Json, Task

ROWS = {1: (2, 4), 2: (2, 4), 3: (2, 4), 4: (4, 5), 5: (6, 8)}
N_FAILING = {1: 0, 2: 0, 3: 1, 4: 2, 5: 3}
"""Members who do not meet the condition."""
N_FORMER = {1: 0, 2: 0, 3: 0, 4: 1, 5: 3}
"""People listed in the group only by pages that another page overrules."""
N_RENAMED = {1: 0, 2: 0, 3: 0, 4: 0, 5: 2}
N_COLUMNS = {1: 1, 2: 2, 3: 2, 4: 3, 5: 4}
N_LISTS = {1: 1, 2: 3, 3: 1, 4: 2, 5: 3}
"""Pages of memberships; on levels 1 and 2 also of facts."""
N_SHEETS = {1: 0, 2: 0, 3: 2, 4: 4, 5: 7}
"""Pages of facts."""
N_NOISE = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4}
"""Pages about others; from level 3 on they mention members."""
N_CLAIMS = {3: 2, 4: 3, 5: 4}
"""Largest number of fact pages that claim one cell."""
N_STRANGERS = {1: 2, 2: 2, 3: 2, 4: 3, 5: 5}
"""Lines about others on each page."""
N_SOURCES = {1: 1, 2: 1, 3: 1, 4: 3, 5: 4}
PART = {1: 8, 2: 8, 3: 5, 4: 5, 5: 6}
"""Lines shown at once."""

COLUMNS = (*FACTS, "colour", "city")
MAX_ROWS = 64

TOOLS = (
    tool("find", "List the pages that hold a word, with source and day.", word=text("the word")),
    tool("open", "Show a page, or its first part.", page=NUMBER),
    tool("next", "Show the next part of what was shown last."),
    tool("add", "Add a row to the table, or replace the row of that name.", row=text("name, then the other cells")),
    tool("drop", "Delete a row of the table.", name=text("name of the row")),
)
BY_NAME = by_name(TOOLS)


class World:
    """Constant pages, the unread rest of the last listing, and the table so far."""

    def __init__(self, setup: Mapping[str, Json]):
        self._columns: list[str] = setup["columns"]
        self._part: int = setup["part"]
        self._pages = {page["page"]: [_head(page), *page["lines"]] for page in setup["pages"]}
        self._words = {number: set(" ".join(lines).split(" ")) for number, lines in self._pages.items()}
        self._unread: list[str] = []
        self.table: dict[str, list[str]] = {}
        """Name -> the other cells of its row."""

    def step(self, call: Call) -> str:
        """Run one call; errors are returned as text."""
        return validate_call(call, BY_NAME) or self._RUN[call.name](self, **call.arguments)

    def _find(self, word: str) -> str:
        self._unread = [self._pages[number][0] for number, words in self._words.items() if word in words]
        return self._next() if self._unread else "none"

    def _open(self, page: int) -> str:
        if page not in self._pages:
            return f"error: no page {page}"
        self._unread = self._pages[page]
        return self._next()

    def _next(self) -> str:
        shown, self._unread = self._unread[: self._part], self._unread[self._part :]
        if not shown:
            return "error: no more"
        return "\n".join([*shown, "more"] if self._unread else shown)

    def _add(self, row: str) -> str:
        name, *cells = row.split() or [""]
        if len(cells) != len(self._columns):
            return f"error: a row has name {' '.join(self._columns)}"
        if name not in self.table and len(self.table) == MAX_ROWS:
            return "error: table full"
        self.table[name] = cells
        return "ok"

    def _drop(self, name: str) -> str:
        return "ok" if self.table.pop(name, None) else f"error: no row {name[:40]}"

    _RUN: ClassVar[Mapping[str, Callable[..., str]]] = {
        "find": _find, "open": _open, "next": _next, "add": _add, "drop": _drop,
    }  # fmt: skip
    """Tool -> method."""


@dataclass
class _Page:
    """A page under construction."""

    number: int
    source: str
    day: int
    facts: dict[str, dict[str, str]] = field(default_factory=dict)
    """Name -> the claims of the page about it; one line each."""


def generate(lexicon: Lexicon, level: int) -> GeneratedTask:
    """Generate a group, pages with claims about its members and others, and the expert's actions."""
    builder = _TaskBuilder(lexicon, level)
    table = builder.write_people()
    builder.write_strangers()
    setup = {
        "columns": builder.columns, "part": PART[level],
        "pages": [
            {"page": page.number, "source": page.source, "day": page.day, "lines": _lines(lexicon, page)}
            for page in sorted(builder.pages, key=lambda page: page.number)
        ],
    }  # fmt: skip
    expert = _Expert(setup, builder.ranking).collect(
        builder.group, builder.condition, builder.bound, look_up=bool(builder.sheets)
    )
    return GeneratedTask(
        prompt=_prompt(builder), tools=TOOLS, setup=setup, key={"table": table}, expert=expert,
        tags=("research_synthesis", "multi_step", "memory"),
    )  # fmt: skip


class _TaskBuilder:
    """The people, columns, condition and pages of a task."""

    def __init__(self, lexicon: Lexicon, level: int):
        self.lexicon, self.level = lexicon, level
        self._n_rows = lexicon.integer(*ROWS[level])
        self._n_members = self._n_rows + N_FAILING[level]
        n_people = self._n_members + N_FORMER[level]
        n_pages = N_LISTS[level] + N_SHEETS[level] + N_NOISE[level]
        n_strangers = n_pages * N_STRANGERS[level]
        self.group, self._other, *names = lexicon.names(2 + n_people + N_RENAMED[level] + n_strangers)
        self._people, self._renamed = names[:n_people], names[n_people:-n_strangers]
        self._strangers = iter(names[-n_strangers:])
        self.condition: str | None = None
        self.bound = 0
        if level > 2:
            self.condition, self.bound = lexicon.choice(FACTS), lexicon.integer(20, 80)
        self.columns = lexicon.sample([column for column in COLUMNS if column != self.condition], N_COLUMNS[level])
        self.ranking = lexicon.sample(FILES, N_SOURCES[level])
        """Sources by decreasing authority."""
        self.pages = _pages(lexicon, self.ranking, n_pages)
        kinds = lexicon.shuffled(range(n_pages))
        self._lists = sorted(kinds[: N_LISTS[level]])
        self.sheets = sorted(kinds[N_LISTS[level] : -N_NOISE[level]])
        self._noise = kinds[-N_NOISE[level] :]

    def write_people(self) -> dict[str, list[str]]:
        """Write the claims about all members and former members; returns the correct table."""
        table = {}
        for i, person in enumerate(self._people):
            # A renamed person is on some pages under the old name and on others under the new one.
            aliases = (person, self._renamed[i]) if i < len(self._renamed) else (person,)
            cells = self._write_person(aliases, member=i < self._n_members, passes=i < self._n_rows)
            if i < self._n_rows:
                table[aliases[-1]] = cells
        return table

    def _write_person(self, aliases: tuple[str, ...], *, member: bool, passes: bool) -> list[str]:
        lexicon, group, other = self.lexicon, self.group, self._other
        claim = functools.partial(_claim, lexicon, self.pages, aliases)
        homes = _some(lexicon, self._lists, 1 if member else 2, len(self._lists))
        if member:
            claim(homes, "in", group, lambda: lexicon.choice((group, other)) if self.level > 3 else group)
        else:
            claim(homes, "in", other, lambda: group)
        if len(aliases) == 2:
            self.pages[homes[0]].facts[aliases[0]]["now"] = aliases[1]
        cells = []
        for column in self.columns:
            cells.append(_value(lexicon, column))
            places = _some(lexicon, self.sheets, 1, N_CLAIMS[self.level]) if self.sheets else homes
            claim(places, column, cells[-1], functools.partial(_value, lexicon, column))
        if self.condition:
            number = lexicon.integer(self.bound + 1, 99) if passes else lexicon.integer(1, self.bound)
            places = _some(lexicon, self.sheets, 1, N_CLAIMS[self.level])
            claim(places, self.condition, str(number), lambda: str(lexicon.integer(1, 99)))
        return cells

    def write_strangers(self) -> None:
        """Write lines about people outside the group on all pages."""
        lexicon = self.lexicon
        for place, page in enumerate(self.pages):
            for _ in range(N_STRANGERS[self.level]):
                facts = {"in": self._other} if place in self._lists else {}
                if place in self._noise and self.level > 2:
                    facts["asks"] = lexicon.choice(self._people)
                elif not (self.sheets and place in self._lists):
                    column = lexicon.choice(self.columns)
                    facts[column] = _value(lexicon, column)
                page.facts[next(self._strangers)] = facts


def grade(task: Task, key: Mapping[str, Json], world: World, answer: str | None) -> Grade:
    """Return the item F1 of the table; the text of the answer is ignored."""
    target, collected = key["table"], world.table
    n_columns = 1 + len(task.setup["columns"])
    right_cells = [
        1 + sum(a == b for a, b in zip(cells, collected[name], strict=True))
        for name, cells in target.items()
        if name in collected
    ]
    n_rows = len(target) + len(collected)
    item_f1 = 2 * sum(right_cells) / (n_rows * n_columns)
    row_f1 = 2 * right_cells.count(n_columns) / n_rows
    return Grade(value=item_f1, details={"item_f1": item_f1, "row_f1": row_f1, "success": collected == target})


def describe(setup: Mapping[str, Json]) -> str:
    """Write all pages, the columns of a row and the length of a part."""
    pages = "\n".join("\n".join([_head(page), *page["lines"]]) for page in setup["pages"])
    return f"row name {' '.join(setup['columns'])}\npart {setup['part']}\n{pages}"


def perturb(lexicon: Lexicon, task: Task, action: Action) -> Action:
    """Write a wrong cell, look in the wrong place, add somebody else, mostly of another group, or drop a row."""
    call = action.calls[0] if action.calls else Call(name="find", arguments={})
    kind = lexicon.choice(("find", "open", "next", "add", "add", "drop")) if call.name != "add" else "mistake"
    page = lexicon.choice(task.setup["pages"])
    strangers = [line for line in page["lines"] if line.split(" ")[2] not in task.prompt] or page["lines"]
    name, *words = lexicon.choice(strangers).split(" ")
    cells = " ".join(str(lexicon.number()) for _ in task.setup["columns"])
    wrong = {
        "find": act("find", word=lexicon.choice(words)),
        "open": act("open", page=page["page"]),
        "next": act("next"),
        "add": act("add", row=f"{name} {cells}"),
        "drop": act("drop", name=name),
        "mistake": act("add", row=f"{call.arguments.get('row', name).split(' ')[0]} {cells}"),
    }[kind]
    return wrong if wrong != action else act("open", page=0)


class _Expert:
    """Plays a world; reads the pages of highest authority first, and each page once."""

    def __init__(self, setup: Mapping[str, Json], ranking: list[str]):
        self._world = World(setup)
        self._columns: list[str] = setup["columns"]
        by_authority = sorted(setup["pages"], key=lambda page: (ranking.index(page["source"]), -page["day"]))
        self._authority = {_head(page): (rank, page["page"]) for rank, page in enumerate(by_authority)}
        self._actions: list[Action] = []
        self._read: dict[int, dict[str, dict[str, str]]] = {}

    def collect(self, group: str, condition: str | None, bound: int, look_up: bool) -> tuple[Action, ...]:
        """Find the members, then their facts; `look_up` every name if facts and memberships are on different pages."""
        now: dict[str, str] = {}
        candidates: dict[str, None] = {}
        homes = self._find(group)
        for number in homes:
            for name, facts in self._open(number).items():
                if facts.get("in") == group:
                    candidates[name] = None
                if "now" in facts:
                    now[name] = facts["now"]
        before = {new: old for old, new in now.items()}
        needed = {"in", *self._columns, *([condition] if condition else [])}
        for name in dict.fromkeys(now.get(name, name) for name in candidates):
            aliases = [name, before[name]] if name in before else [name]
            cells: dict[str, str] = {}
            for number in self._find(*aliases) if look_up else homes:
                for alias in aliases:
                    cells = self._open(number).get(alias, {}) | cells
                if needed <= cells.keys() or cells.get("in", group) != group:
                    break
            if cells["in"] == group and (condition is None or int(cells[condition]) > bound):
                self._do("add", row=" ".join((name, *(cells[column] for column in self._columns))))
        return (*self._actions, Action(answer="done"))

    def _do(self, tool_name: str, /, **arguments: Json) -> list[str]:
        self._actions.append(act(tool_name, **arguments))
        seen = self._world.step(self._actions[-1].calls[0]).split("\n")
        return [*seen[:-1], *self._do("next")] if seen[-1] == "more" else seen

    def _find(self, *words: str) -> list[int]:
        heads = {line for word in words for line in self._do("find", word=word)}
        return [number for _, number in sorted(self._authority[head] for head in heads)]

    def _open(self, number: int) -> dict[str, dict[str, str]]:
        if number not in self._read:
            lines = [line.split(" ") for line in self._do("open", page=number)[1:]]
            self._read[number] = {words[0]: dict(zip(words[1::2], words[2::2], strict=True)) for words in lines}
        return self._read[number]


def _pages(lexicon: Lexicon, ranking: list[str], n: int) -> list[_Page]:
    # By decreasing authority: rank of the source, then the newest first; all days differ, so there are no ties.
    days, numbers = lexicon.sample(range(1, 31), n), lexicon.sample(range(1, 40), n)
    pages = [_Page(number, lexicon.choice(ranking), day) for number, day in zip(numbers, days, strict=True)]
    return sorted(pages, key=lambda page: (ranking.index(page.source), -page.day))


def _claim(
    lexicon: Lexicon,
    pages: list[_Page],
    aliases: Sequence[str],
    places: list[int],
    column: str,
    true: str,
    false: Callable[[], str],
) -> None:
    # Places are sorted by authority, so the first one is right and the others may be wrong.
    for place in places:
        facts = pages[place].facts
        name = lexicon.choice(aliases) if column != "in" else aliases[0]
        if len(aliases) > 1:
            name = next((alias for alias in aliases if alias in facts), name)
        facts.setdefault(name, {})[column] = true if place == places[0] else false()


def _some(lexicon: Lexicon, places: list[int], low: int, high: int) -> list[int]:
    return sorted(lexicon.sample(places, lexicon.integer(low, high)))


def _value(lexicon: Lexicon, column: str) -> str:
    if column == "colour":
        return lexicon.choice(COLOURS)
    return lexicon.name() if column == "city" else str(lexicon.number())


def _head(page: Mapping[str, Json]) -> str:
    return f"page {page['page']} {page['source']} day {page['day']}"


def _lines(lexicon: Lexicon, page: _Page) -> list[str]:
    return [" ".join((name, *chain(*facts.items()))) for name, facts in lexicon.shuffled(list(page.facts.items()))]


def _prompt(builder: _TaskBuilder) -> str:
    lexicon, level, group, condition = builder.lexicon, builder.level, builder.group, builder.condition
    listed = " ".join(builder.columns)
    sentences = [
        lexicon.choice(
            (
                f"make a table of all in {group}: name {listed}",
                f"who is in {group}? add rows of name {listed}",
                f"collect name {listed} of all in {group}",
            )
        )
    ]
    if condition:
        sentences.append(
            lexicon.choice(
                (
                    f"only those with {condition} over {builder.bound}",
                    f"take a row if {condition} is over {builder.bound}",
                )
            )
        )
    if level in (2, 3):
        sentences.append(lexicon.choice(("newer pages win", "where pages differ the newest is right")))
    if level > 3:
        first = lexicon.choice(
            (f"trust {', then '.join(builder.ranking)}", f"believe {' before '.join(builder.ranking)}")
        )
        sentences.append(f"{first}; of one source the newest page; this holds for groups too")
    if level == 5:
        sentences.append("a now b says that a is called b today: use b")
    return ". ".join(sentences)


ENVIRONMENT = EnvironmentSpec(
    name="research", version="1", domain="in", modelled_on="WideSearch", metric="item F1", about=__doc__,
    generate=generate, world=World, grade=grade, describe=describe, perturb=perturb,
)  # fmt: skip
