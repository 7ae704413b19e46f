"""Collecting a table from pages that partly contradict each other; stands beside WideSearch.

The task names a group and columns; the members must be found on the pages. The table is what was added when the episode
ends. Levels grow in the number of rows, columns, pages and claims, and each brings something new:

    level      1     2     3     4     5
    turns      6     8    17    38    71   mean of the expert
    rows     2-4   2-4   2-4   4-5   6-8   people in the group who meet the condition
    columns    1     2     2     3     4   beside the name
    pages      2     4     5     9    14   of which hold needed claims: 1, 3, 3, 6, 10
    claims     1   1-3   1-2   1-3   1-4   pages that claim one cell, mostly with different values
    new            dates  condition, facts on other pages than memberships, long pages read in parts
                                trust before date, people who have left
                                      people who have a new name

The score is WideSearch's item F1: rows are aligned by name, a right name and each right cell beside it count one item
(src/evaluation/evaluation.py, 0e664c3). Row F1 and success (the whole table) stand in the details. Not as there: cells
are compared exactly, and of two rows with one name the last counts, not the first.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain

from replication.collect.benchmarks.suite import GeneratedTask, Grade
from replication.collect.benchmarks.suite.kit import NUMBER, act, text, tool, validate_call
from replication.collect.benchmarks.suite.words import COLOURS, FACTS, FILES, Lexicon
from replication.collect.interfaces import Action
from replication.records import Call, Json, Task

NAME = "research"
VERSION = "1"
DOMAIN = "in"

ROWS = {1: (2, 4), 2: (2, 4), 3: (2, 4), 4: (4, 5), 5: (6, 8)}
N_FAILING = {1: 0, 2: 0, 3: 1, 4: 2, 5: 3}
"""Members who do not meet the condition."""
N_FORMER = {1: 0, 2: 0, 3: 0, 4: 1, 5: 3}
"""People whom a page that is overruled by another counts to the group."""
N_RENAMED = {1: 0, 2: 0, 3: 0, 4: 0, 5: 2}
N_COLUMNS = {1: 1, 2: 2, 3: 2, 4: 3, 5: 4}
N_LISTS = {1: 1, 2: 3, 3: 1, 4: 2, 5: 3}
"""Pages that say who is in which group; on levels 1 and 2 they hold the facts too."""
N_SHEETS = {1: 0, 2: 0, 3: 2, 4: 4, 5: 7}
"""Pages of facts."""
N_NOISE = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4}
"""Pages about others; from level 3 on they mention members."""
N_CLAIMS = {3: 2, 4: 3, 5: 4}
"""Pages of facts at most that claim one cell."""
N_STRANGERS = {1: 2, 2: 2, 3: 2, 4: 3, 5: 5}
"""Lines about others on each page."""
N_SOURCES = {1: 1, 2: 1, 3: 1, 4: 3, 5: 4}
PART = {1: 8, 2: 8, 3: 5, 4: 5, 5: 6}
"""Lines shown at once."""

COLUMNS = (*FACTS, "colour", "city")
MAX_ROWS = 64

TOOLS = {
    t.name: t
    for t in (
        tool("find", "List the pages that hold a word, with source and day.", word=text("the word")),
        tool("open", "Show a page, or its first part.", page=NUMBER),
        tool("next", "Show the next part of what was shown last."),
        tool("add", "Add a row to the table, or replace the row of that name.", row=text("name, then the other cells")),
        tool("drop", "Delete a row of the table.", name=text("name of the row")),
    )
}


class World:
    """Pages that do not change, the place in what is being read, and the table so far."""

    def __init__(self, setup: Mapping[str, Json]):
        self._columns: list[str] = setup["columns"]
        self._part: int = setup["part"]
        self._pages = {page["page"]: [_head(page), *page["lines"]] for page in setup["pages"]}
        self._words = {number: set(" ".join(lines).split(" ")) for number, lines in self._pages.items()}
        self._unread: list[str] = []
        self.table: dict[str, list[str]] = {}
        """Name to the cells beside it."""

    def step(self, call: Call) -> str:
        """Run one call; whatever is wrong with it is said in the returned line."""
        return validate_call(call, TOOLS) or getattr(self, f"_{call.name}")(**call.arguments)

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


@dataclass
class _Page:
    """A page while it is being written."""

    number: int
    source: str
    day: int
    facts: dict[str, dict[str, str]] = field(default_factory=dict)
    """Name to what the page claims about it; one line each."""


def draft(lexicon: Lexicon, level: int) -> GeneratedTask:
    """Make a group, pages with claims about its members and others, and the expert's way through."""
    n_rows = lexicon.integer(*ROWS[level])
    n_members = n_rows + N_FAILING[level]
    n_people = n_members + N_FORMER[level]
    n_pages = N_LISTS[level] + N_SHEETS[level] + N_NOISE[level]
    n_strangers = n_pages * N_STRANGERS[level]
    group, other, *names = lexicon.names(2 + n_people + N_RENAMED[level] + n_strangers)
    people, renamed, strangers = names[:n_people], names[n_people:-n_strangers], iter(names[-n_strangers:])
    condition, bound = (lexicon.choice(FACTS), lexicon.integer(20, 80)) if level > 2 else (None, 0)
    columns = lexicon.sample([column for column in COLUMNS if column != condition], N_COLUMNS[level])
    ranking = lexicon.sample(FILES, N_SOURCES[level])

    pages = _pages(lexicon, ranking, n_pages)
    kinds = lexicon.shuffled(range(n_pages))
    lists, sheets = sorted(kinds[: N_LISTS[level]]), sorted(kinds[N_LISTS[level] : -N_NOISE[level]])
    noise = kinds[-N_NOISE[level] :]
    table = {}
    for i, person in enumerate(people):
        # Who has a new name stands on some pages with the old and on some with the new one.
        aliases = (person, renamed[i]) if i < len(renamed) else (person,)
        member = i < n_members
        claim = functools.partial(_claim, lexicon, pages, aliases)
        homes = _some(lexicon, lists, 1 if member else 2, len(lists))
        if member:
            claim(homes, "in", group, lambda: lexicon.choice((group, other)) if level > 3 else group)
        else:
            claim(homes, "in", other, lambda: group)
        if len(aliases) == 2:
            pages[homes[0]].facts[person]["now"] = aliases[1]
        cells = []
        for column in columns:
            cells.append(_value(lexicon, column))
            places = _some(lexicon, sheets, 1, N_CLAIMS[level]) if sheets else homes
            claim(places, column, cells[-1], lambda column=column: _value(lexicon, column))
        if condition:
            meets = lexicon.integer(bound + 1, 99) if i < n_rows else lexicon.integer(1, bound)
            claim(
                _some(lexicon, sheets, 1, N_CLAIMS[level]), condition, str(meets), lambda: str(lexicon.integer(1, 99))
            )
        if i < n_rows:
            table[aliases[-1]] = cells
    for place, page in enumerate(pages):
        for _ in range(N_STRANGERS[level]):
            facts = {"in": other} if place in lists else {}
            if place in noise and level > 2:
                facts["asks"] = lexicon.choice(people)
            elif not (sheets and place in lists):
                column = lexicon.choice(columns)
                facts[column] = _value(lexicon, column)
            page.facts[next(strangers)] = facts

    setup = {
        "columns": columns, "part": PART[level],
        "pages": [
            {"page": page.number, "source": page.source, "day": page.day, "lines": _lines(lexicon, page)}
            for page in sorted(pages, key=lambda page: page.number)
        ],
    }  # fmt: skip
    expert = _Expert(setup, ranking).collect(group, condition, bound, look_up=bool(sheets))
    return GeneratedTask(
        prompt=_prompt(lexicon, level, group, columns, condition, bound, ranking), tools=tuple(TOOLS.values()),
        setup=setup, key={"table": table}, expert=expert, tags=("research_synthesis", "multi_step", "memory"),
    )  # fmt: skip


def grade(task: Task, key: Mapping[str, Json], world: World, answer: str | None) -> Grade:
    """Score the item F1 of the table; the answer's text does not count."""
    wanted, found = key["table"], world.table
    n_columns = 1 + len(task.setup["columns"])
    right_cells = [
        1 + sum(a == b for a, b in zip(cells, found[name], strict=True))
        for name, cells in wanted.items()
        if name in found
    ]
    n_rows = len(wanted) + len(found)
    item_f1 = 2 * sum(right_cells) / (n_rows * n_columns)
    row_f1 = 2 * right_cells.count(n_columns) / n_rows
    return Grade(value=item_f1, details={"item_f1": item_f1, "row_f1": row_f1, "success": found == wanted})


def describe(setup: Mapping[str, Json]) -> str:
    """Write out all pages and what a row and a part are."""
    pages = "\n".join("\n".join([_head(page), *page["lines"]]) for page in setup["pages"])
    return f"row name {' '.join(setup['columns'])}\npart {setup['part']}\n{pages}"


def perturb(lexicon: Lexicon, task: Task, action: Action) -> Action:
    """Write a wrong cell, or look in the wrong place, or add somebody else, mostly of another group, or drop a row."""
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
    """Plays a world, reading the pages of most authority first and each page once."""

    def __init__(self, setup: Mapping[str, Json], ranking: list[str]):
        self._world = World(setup)
        self._columns: list[str] = setup["columns"]
        by_authority = sorted(setup["pages"], key=lambda page: (ranking.index(page["source"]), -page["day"]))
        self._authority = {_head(page): (rank, page["page"]) for rank, page in enumerate(by_authority)}
        self._actions: list[Action] = []
        self._read: dict[int, dict[str, dict[str, str]]] = {}

    def collect(self, group: str, condition: str | None, bound: int, look_up: bool) -> tuple[Action, ...]:
        """Find the members, then their facts; from level 3 on facts stand elsewhere, so every name is looked up."""
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
    # In order of authority: by rank of the source, then the newest; all days differ, so there are no ties.
    days, numbers = lexicon.sample(range(1, 31), n), lexicon.sample(range(1, 40), n)
    pages = [_Page(number, lexicon.choice(ranking), day) for number, day in zip(numbers, days, strict=True)]
    return sorted(pages, key=lambda page: (ranking.index(page.source), -page.day))


def _claim(lexicon, pages: list[_Page], aliases, places: list[int], column: str, true: str, false: Callable[[], str]):
    # Places are in order of authority, so the first one is right whatever the others say.
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


def _prompt(lexicon, level, group, columns, condition, bound, ranking) -> str:
    listed = " ".join(columns)
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
            lexicon.choice((f"only those with {condition} over {bound}", f"take a row if {condition} is over {bound}"))
        )
    if level in (2, 3):
        sentences.append(lexicon.choice(("newer pages win", "where pages differ the newest is right")))
    if level > 3:
        first = lexicon.choice((f"trust {', then '.join(ranking)}", f"believe {' before '.join(ranking)}"))
        sentences.append(f"{first}; of one source the newest page; this holds for groups too")
    if level == 5:
        sentences.append("a now b says that a is called b today: use b")
    return ". ".join(sentences)
