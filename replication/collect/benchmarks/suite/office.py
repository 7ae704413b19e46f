"""Document and inventory work, hard checks first and a rubric after; modelled on QwenClawBench.

The task is a list of chores on papers and stock lists, and a closing report line. Levels grow in the number of chores and
lines, in the documents that look alike, and each brings something new:

    level      1     2     3     4     5
    turns      5     8    16    23    52   mean of the expert
    chores     1     2     3     5     8
    lines    1-3   1-3   2-4   2-4   4-6   entries to be made for one chore, before corrections
    others     1     2     3     5     9   documents that no chore needs
    new           restock (compare with the minimum, subtract)
                        papers that correct a paper, deliveries (add), the sum in the report
                              house rules that forbid items
                                    corrections of corrections, a limit for each order

Score, as QwenClawBench's hybrid tasks (scripts/lib_grading.py, e4eefcf): half hard checks, half rubric, and the rubric
counts 0 if fewer than 0.75 of the hard checks pass. There are three, so one failure costs the rubric:

    complete      every requested entry was made with its value
    nothing_else  no other entry was made
    report        name and numbers of the report are right and it contains no other number

The rubric is the mean of five points: share of the requested entries that were made; none of them before its papers were
read; no call failed; the report has the requested form and nothing else; the episode was closed by an answer. If no
requested entry was made, every check and point is 0. The value is the penalised score; both are in the details.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar, NamedTuple

from replication.collect.benchmarks.suite import EnvironmentSpec, GeneratedTask, Grade
from replication.collect.benchmarks.suite.kit import NUMBER, act, by_name, text, tool, validate_call
from replication.collect.benchmarks.suite.words import Lexicon
from replication.collect.interfaces import Action
from replication.records import Call, Json, Task

CHORES = {
    1: ("count", "order"),
    2: ("count", "order", "restock"),
    3: ("count", "order", "restock", "deliver"),
    4: ("count", "order", "restock", "deliver"),
    5: ("count", "order", "restock", "deliver"),
}
"""count: copy counts into a stock list. order: order the items of a form. restock: order up to the minimum.
deliver: add delivered items to a stock list."""
N_CHORES = {1: 1, 2: 2, 3: 3, 4: 5, 5: 8}
N_LINES = {1: (1, 3), 2: (1, 3), 3: (2, 4), 4: (2, 4), 5: (4, 6)}
N_CORRECTIONS = {1: 0, 2: 0, 3: 1, 4: 1, 5: 2}
"""Largest number of papers that correct a paper, each the one before."""
N_OTHER_ITEMS = {1: 1, 2: 2, 3: 2, 4: 3, 5: 3}
"""Items of a stock list that a chore does not change."""
N_OTHERS = {1: 1, 2: 2, 3: 3, 4: 5, 5: 9}
N_FORBIDDEN = {1: 0, 2: 0, 3: 0, 4: 2, 5: 4}

THRESHOLD = 0.75
ITEMS = (
    "lamp", "desk", "door", "bike", "table", "parcel", "ticket", "bill", "pen", "cup", "box", "chair", "clock", "rope",
    "tape", "glue", "brush", "paint", "nail", "saw", "hammer", "plate", "bowl", "fork", "knife", "spoon", "lid", "jar",
    "bag", "mat", "rug", "soap", "towel", "bulb", "cable", "plug", "switch", "wire", "screw", "hook", "shelf", "bench",
    "stool", "vase", "frame", "mirror", "basket", "bucket", "broom", "sponge", "candle", "stamp", "folder", "stapler",
    "ruler", "eraser", "marker", "chalk", "board", "map", "globe", "bell", "key", "lock", "chain", "ladder", "pump",
    "hose", "tap", "pipe", "crate", "tray", "needle", "thread", "button", "hinge", "handle", "carpet",
)  # fmt: skip

TOOLS = (
    tool("list", "List all documents."),
    tool("read", "Show a document.", doc=text("name of the document")),
    tool(
        "set", "Change the count of an item in a stock list.", doc=text("stock list"), item=text("item"), count=NUMBER
    ),
    tool("order", "Order an item; a new amount replaces the old, 0 cancels.", item=text("item"), amount=NUMBER),
    tool("report", "Hand in the report line; a new one replaces the old one.", line=text("the line")),
)
BY_NAME = by_name(TOOLS)


class World:
    """Papers, stock lists with counts and minima, and the entries, orders and report so far."""

    def __init__(self, setup: Mapping[str, Json]):
        self._papers: dict[str, list[str]] = setup["papers"]
        self._stocks: dict[str, dict[str, list[int]]] = setup["stocks"]
        self.entries: dict[str, int] = {}
        """`document item` or `order item` to the new value; an entry that is set back is removed."""
        self.n_read_before: dict[str, int] = {}
        """Number of documents read before an entry was first made."""
        self.read: list[str] = []
        """Documents in the order of their first reading."""
        self.line: str | None = None
        self.failed = False

    def step(self, call: Call) -> str:
        """Run one call; errors are returned as text."""
        result = validate_call(call, BY_NAME) or self._RUN[call.name](self, **call.arguments)
        self.failed = self.failed or result.startswith("error")
        return result

    def _list(self) -> str:
        return "\n".join(sorted([*self._papers, *self._stocks]))

    def _read(self, doc: str) -> str:
        if doc not in self._papers and doc not in self._stocks:
            return f"error: no document {doc[:40]}"
        if doc not in self.read:
            self.read.append(doc)
        if doc in self._papers:
            return "\n".join(self._papers[doc])
        return "\n".join(
            f"{item} {self.entries.get(f'{doc} {item}', count)} min {least}"
            for item, (count, least) in self._stocks[doc].items()
        )

    def _set(self, doc: str, item: str, count: int) -> str:
        if doc not in self._stocks:
            return f"error: no stock list {doc[:40]}"
        if item not in self._stocks[doc]:
            return f"error: no item {item[:40]}"
        return self._enter(f"{doc} {item}", count, self._stocks[doc][item][0])

    def _order(self, item: str, amount: int) -> str:
        if item not in ITEMS:
            return f"error: no item {item[:40]}"
        return self._enter(f"order {item}", amount, 0)

    def _enter(self, entry: str, value: int, before: int) -> str:
        if value < 0:
            return "error: below 0"
        self.n_read_before.setdefault(entry, len(self.read))
        self.entries[entry] = value
        if value == before:
            del self.entries[entry]
        return "ok"

    def _report(self, line: str) -> str:
        self.line = line
        return "ok"

    _RUN: ClassVar[Mapping[str, Callable[..., str]]] = {
        "list": _list, "read": _read, "set": _set, "order": _order, "report": _report,
    }  # fmt: skip
    """Tool -> method."""


def generate(lexicon: Lexicon, level: int) -> GeneratedTask:
    """Generate chores with their documents, house rules, and the expert's actions."""
    n = N_CHORES[level]
    asker, rules, *names = lexicon.names(2 + N_OTHERS[level] + n * (2 + N_CORRECTIONS[level]))
    others, free = names[: N_OTHERS[level]], iter(names[N_OTHERS[level] :])
    n_lines = [lexicon.integer(*N_LINES[level]) for _ in range(n)]
    n_items = sum(n_lines) + N_OTHER_ITEMS[level] * n
    items = iter(lexicon.sample(ITEMS, n_items))
    builder = _TaskBuilder(lexicon, level, free)
    # An item belongs to one chore, so that chores cannot contradict each other.
    for count in n_lines:
        listed = [next(items) for _ in range(count)]
        builder.add_chore(lexicon.choice(CHORES[level]), listed, [next(items) for _ in range(N_OTHER_ITEMS[level])])
    if level > 3:
        builder.forbid(f"{rules}-plan", limit=lexicon.integer(20, 30) if level > 4 else None)
    for name in others:
        paper = f"{name}-{lexicon.choice(('log', 'order', 'memo'))}"
        builder.papers[paper] = [f"{item} {lexicon.integer(1, 40)}" for item in lexicon.sample(ITEMS, 3)]

    numbers = [len(builder.entries), *([sum(builder.entries.values())] if level > 2 else [])]
    line = " ".join(map(str, (asker, *numbers)))
    numbers_asked = "the number of entries made" + (" and their sum" if level > 2 else "")
    sentences = [f"{asker} asks: {lexicon.choice(('; ', ', then ')).join(builder.sentences)}"]
    if level > 2:
        sentences.append("a paper named after see corrects the one before, and no drops an item")
    if level > 3:
        sentences.append(lexicon.choice((f"orders must keep to {rules}-plan", f"mind {rules}-plan in all orders")))
    sentences.append(
        lexicon.choice(
            (f"at last report {asker} and {numbers_asked}", f"close with the report {asker} and {numbers_asked}")
        )
    )
    return GeneratedTask(
        prompt=". ".join(sentences), tools=TOOLS,
        setup={"papers": builder.papers, "stocks": builder.stocks},
        key={"entries": builder.entries, "sources": builder.sources, "line": line},
        expert=(*builder.expert(), act("report", line=line), Action(answer="done")), tags=("tool_use", "planning"),
    )  # fmt: skip


def grade(task: Task, key: Mapping[str, Json], world: World, answer: str | None) -> Grade:
    """Score the hard checks and the rubric as defined in the module's docstring."""
    requested, entries, line = key["entries"], world.entries, world.line or ""
    right = [entry for entry, value in requested.items() if entries.get(entry) == value]
    name, *numbers = key["line"].split()
    words = line.split()
    checks = {
        "complete": len(right) == len(requested),
        "nothing_else": entries.keys() <= requested.keys(),
        "report": name in words and [word for word in words if word.isdecimal()] == numbers,
    }
    points = {
        "entries": len(right) / len(requested),
        "read_first": all(
            set(key["sources"][entry]) <= set(world.read[: world.n_read_before[entry]]) for entry in right
        ),
        "no_error": not world.failed,
        "form": words == key["line"].split(),
        "answered": isinstance(answer, str) and not answer.isspace() and answer != "",
    }
    hard = sum(checks.values()) / len(checks) if right else 0.0
    rubric = sum(points.values()) / len(points) if right else 0.0
    penalised = (hard + (rubric if hard >= THRESHOLD else 0.0)) / 2
    details = {"penalised": penalised, "raw": (hard + rubric) / 2, "hard": hard, "rubric": rubric, **checks, **points}
    return Grade(value=penalised, details=details)


def describe(setup: Mapping[str, Json]) -> str:
    """Write all documents as tool `read` shows them."""
    world = World(setup)
    docs = (*setup["papers"], *setup["stocks"])
    return "\n".join(f"{doc}\n{world.step(Call(name='read', arguments={'doc': doc}))}" for doc in docs)


def perturb(lexicon: Lexicon, task: Task, action: Action) -> Action:
    """Read another or a missing document, enter a wrong value, order something else, or report too early."""
    papers, stocks = list(task.setup["papers"]), task.setup["stocks"]
    kind = lexicon.choice(("list", "read", "read", "lost", "set", "order", "order", "report"))
    stock = lexicon.choice(list(stocks)) if stocks else lexicon.choice(papers)
    item = lexicon.choice(list(stocks.get(stock, ITEMS)))
    wrong = {
        "list": act("list"),
        "read": act("read", doc=lexicon.choice([*papers, *stocks])),
        "lost": act("read", doc=f"{lexicon.name()}-log"),
        "set": act("set", doc=stock, item=item, count=lexicon.integer(0, 99)),
        "order": act("order", item=item, amount=lexicon.integer(1, 99)),
        "report": act("report", line=f"{lexicon.name()} {lexicon.number()}"),
    }[kind]
    return wrong if wrong != action else act("list")


class _Paper(NamedTuple):
    """A paper with its corrections."""

    docs: list[str]
    amounts: dict[str, int]
    """By item, after all corrections."""


class _TaskBuilder:
    """The documents of a task, and the entries that its chores require."""

    def __init__(self, lexicon: Lexicon, level: int, names: Iterator[str]):
        self._lexicon, self._level, self._names = lexicon, level, names
        self._chores: list[tuple[list[str], list[str]]] = []
        self._rules: list[str] = []
        self.papers: dict[str, list[str]] = {}
        self.stocks: dict[str, dict[str, list[int]]] = {}
        self.sentences: list[str] = []
        self.entries: dict[str, int] = {}
        self.sources: dict[str, list[str]] = {}
        """Entry -> the documents that must be read first."""

    def add_chore(self, kind: str, listed: list[str], others: list[str]) -> None:
        """Write the documents of one chore and record the entries it requires."""
        lexicon = self._lexicon
        stock = f"{next(self._names)}-stock"
        if kind == "restock":
            rows = {item: _row(lexicon, item in listed) for item in lexicon.shuffled([*listed, *others])}
            amounts = {item: least - count for item, (count, least) in rows.items() if count < least}
            sources = [stock]
        else:
            sources, amounts = self._paper(f"{next(self._names)}-{'order' if kind == 'order' else 'log'}", listed)
        if kind in ("count", "deliver"):
            # Above the amounts of all papers, so that a copied count always changes the list.
            rows = {
                item: [lexicon.integer(41, 99), lexicon.integer(1, 40)] for item in lexicon.shuffled([*listed, *others])
            }
        if kind == "deliver":
            amounts = {item: rows[item][0] + amount for item, amount in amounts.items()}
            sources = [*sources, stock]
        if kind != "order":
            self.stocks[stock] = rows
        target = stock if kind in ("count", "deliver") else "order"
        entries = {f"{target} {item}": amount for item, amount in amounts.items()}
        self.entries |= entries
        self.sources |= dict.fromkeys(entries, sources)
        self._chores.append((sources, list(entries)))
        paper = sources[0]
        self.sentences.append(lexicon.choice({
            "count": (f"enter the counts of {paper} in {stock}", f"set {stock} to the counts of {paper}"),
            "order": (f"order what {paper} asks for", f"order all of {paper}"),
            "restock": (f"order what is under its min in {stock}, up to the min", f"fill up {stock} to the min by orders"),
            "deliver": (f"add what came by {paper} to {stock}", f"raise the counts of {stock} by {paper}"),
        }[kind]))  # fmt: skip

    def forbid(self, doc: str, limit: int | None) -> None:
        """Write house rules, and remove the forbidden items from the orders."""
        ordered = [entry for entry in self.entries if entry.startswith("order ")]
        # One order must remain, or a task of orders alone could end without an entry.
        struck = self._lexicon.sample(ordered, min(N_FORBIDDEN[self._level], max(len(ordered) - 1, 0)))
        self.papers[doc] = [f"no {entry.removeprefix('order ')}" for entry in struck]
        if limit:
            self.papers[doc].append(f"at most {limit} of an item")
        self.papers[doc] = self.papers[doc] or ["no rules"]
        self._rules = [doc]
        for entry in ordered:
            self.sources[entry] = [doc, *self.sources[entry]]
            self.entries[entry] = min(self.entries[entry], limit or self.entries[entry])
        for entry in struck:
            del self.entries[entry], self.sources[entry]

    def expert(self) -> list[Action]:
        """Read the rules, then for each chore its papers, and make its entries."""
        actions = [act("read", doc=doc) for doc in self._rules]
        for sources, entries in self._chores:
            actions += [act("read", doc=doc) for doc in sources]
            for entry in entries:
                target, item = entry.split(" ")
                if entry not in self.entries:
                    continue
                value = self.entries[entry]
                order = act("order", item=item, amount=value)
                actions.append(order if target == "order" else act("set", doc=target, item=item, count=value))
        return actions

    def _paper(self, doc: str, listed: list[str]) -> _Paper:
        # A paper, followed by papers that change or drop lines of those before.
        lexicon = self._lexicon
        amounts = {item: lexicon.integer(1, 40) for item in listed}
        self.papers[doc] = [f"{item} {amount}" for item, amount in amounts.items()]
        docs = [doc]
        for _ in range(lexicon.integer(0, N_CORRECTIONS[self._level])):
            after = f"{next(self._names)}-memo"
            self.papers[docs[-1]].append(f"see {after}")
            changed = lexicon.sample(list(amounts), 2)
            self.papers[after] = []
            for item in changed:
                amounts[item] = lexicon.integer(1, 40)
                self.papers[after].append(f"{item} {amounts[item]}")
            if len(amounts) > 2 and lexicon.bernoulli(0.5):
                del amounts[changed[0]]
                self.papers[after][0] = f"no {changed[0]}"
            docs.append(after)
        return _Paper(docs, amounts)


def _row(lexicon: Lexicon, low: bool) -> list[int]:
    # Count and minimum of an item; the count is below the minimum if the item must be ordered.
    least = lexicon.integer(10, 40)
    return [lexicon.integer(0, least - 1) if low else lexicon.integer(least, 60), least]


ENVIRONMENT = EnvironmentSpec(
    name="office", version="1", domain="out", modelled_on="QwenClawBench",
    metric="half hard checks, half rubric; the rubric counts 0 if fewer than 0.75 of the checks pass", about=__doc__,
    generate=generate, world=World, grade=grade, describe=describe, perturb=perturb,
)  # fmt: skip
