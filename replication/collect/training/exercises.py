"""The general corpus: exercises in reading, copying and small reasoning; no tools are used, no environment appears.

Every exercise is built around made-up names of the training split. A context is asked about several times, because
what is learnt are the answers: a listing with five questions teaches more per token than five listings.

Families: copying and rewriting, look-up in listings of many forms, following references, selecting and collecting rows,
going through a list one entry at a time, comparing, sorting and counting, arithmetic, filling in forms, questions about
the documentation of functions, and reading, writing and correcting short programs.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

from replication.collect.benchmarks.suite.office import ITEMS
from replication.collect.benchmarks.suite.words import (
    COLOURS,
    DAYS,
    ENDINGS,
    FACTS,
    FILES,
    FOLDERS,
    NOUNS,
    PARAMETERS,
    VERBS,
    Lexicon,
)
from replication.records import Message

Turns = list[Message]

PLAIN = (
    "show", "search", "set", "insert", "delete", "run", "find", "open", "next", "add", "drop", "list", "send", "save",
    "cancel", "read", "report", "page", "mail", "contacts", "calendar", "files", "fixed", "error", "answer", "done",
    "missing", "refused", "numbers", "name", "line", "word", "row", "text", "file", "more", "none", "min", "stock", "memo",
)  # fmt: skip
"""Words that listings and instructions are made of."""
LETTERS = "abcdefghkmnpqrsuvwxyz"


def _ask(*exchange: str) -> Turns:
    roles = ("user", "assistant")
    return [Message(role=roles[i % 2], content=text) for i, text in enumerate(exchange)]


def _questions(w: Lexicon, context: str, asked: Sequence[tuple[str, str]]) -> Turns:
    """Put a context in front of the first question; now and then the first question comes first."""
    (question, answer), *rest = asked
    first = f"{question}\n{context}" if w.bernoulli(0.3) else f"{context}\n{question}"
    return _ask(first, answer, *(text for pair in rest for text in pair))


# --- copying and rewriting -------------------------------------------------------------------------------------------


def _thing(w: Lexicon) -> str:
    kind = w.choice(("name", "name", "name", "number", "number", "day", "colour", "item", "plain", "path"))
    if kind == "item":
        return w.choice(ITEMS)
    if kind == "plain":
        return w.choice(PLAIN)
    if kind == "path":
        return _path(w)
    return str(w.value(kind))


def _path(w: Lexicon) -> str:
    stem = w.choice((w.choice(FILES), w.name()))
    style = w.choice(("{0}", "{0}.{1}", "{0}.{1}", "{2}/{0}.{1}", "{0}-{3}"))
    return style.format(stem, w.choice(ENDINGS), w.choice(FOLDERS), w.choice(("log", "order", "memo", "stock", "plan")))


def _things(w: Lexicon, n: int) -> list[str]:
    return [_thing(w) for _ in range(n)]


def _copy(w: Lexicon) -> Turns:
    text = " ".join(_things(w, w.integer(2, 16)))
    return _ask(f"{w.choice(('repeat', 'copy', 'say again'))} {text}", text)


def _copy_lines(w: Lexicon) -> Turns:
    lines = [" ".join(_things(w, w.integer(1, 5))) for _ in range(w.integer(2, 8))]
    how = w.choice(("repeat", "backwards", "numbered", "after"))
    if how == "repeat":
        return _ask("repeat\n" + "\n".join(lines), "\n".join(lines))
    if how == "backwards":
        return _ask("repeat the lines backwards\n" + "\n".join(lines), "\n".join(reversed(lines)))
    if how == "numbered":
        return _ask("number the lines\n" + "\n".join(lines), "\n".join(f"{i} {x}" for i, x in enumerate(lines, 1)))
    word = _thing(w)
    return _ask(f"write {word} before each line\n" + "\n".join(lines), "\n".join(f"{word} {line}" for line in lines))


def _replace(w: Lexicon) -> Turns:
    # One word is replaced wherever it stands; longer words that hold it stay.
    old, new = w.names(2)
    lines = []
    for _ in range(w.integer(2, 5)):
        words = _things(w, w.integer(1, 4))
        if w.bernoulli(0.7):
            words.insert(w.integer(0, len(words)), old)
        lines.append(words)
    asked = w.choice((f"put {new} for {old}", f"change {old} to {new}", f"{old} is called {new} from now on"))
    changed = "\n".join(" ".join(new if word == old else word for word in words) for words in lines)
    return _ask(f"{asked}\n" + "\n".join(map(" ".join, lines)), changed)


def _several_orders(w: Lexicon) -> Turns:
    said = [" ".join(_things(w, w.integer(1, 3))) for _ in range(w.integer(2, 4))]
    return _ask(w.choice(("; then ", ", then ", "; ")).join(f"say {text}" for text in said), "\n".join(said))


# --- listings --------------------------------------------------------------------------------------------------------


def _entries(w: Lexicon, n: int) -> list[tuple[str, str, str]]:
    return [(name, w.choice(FACTS), str(w.number())) for name in w.names(n)]


def _look_up(w: Lexicon) -> Turns:
    rows = _entries(w, w.integer(2, 8))
    style = w.choice(("{0} {1} {2}", "{0} has {1} {2}", "the {1} of {0} is {2}", "{1} {2} {0}"))
    listing = w.choice(("\n", "\n", "; ")).join(style.format(*row) for row in rows)
    asked = []
    for name, fact, value in w.sample(rows, w.integer(1, 5)):
        question = w.choice((f"what is the {fact} of {name}", f"{fact} of {name}", f"give the {fact} of {name}"))
        asked.append((f"who has {fact} {value}", name) if w.bernoulli(0.25) else (question, value))
    return _questions(w, listing, asked)


def _labelled(w: Lexicon) -> Turns:
    # A label stands in front of each line, as listings of every kind do; others only mention the same names.
    rows = _entries(w, w.integer(2, 6))
    labels = [_path(w) for _ in rows]
    lines = [f"{label}: {' '.join(row)}" for label, row in zip(labels, rows, strict=True)]
    asked = w.sample(list(zip(labels, rows, strict=True)), w.integer(1, 4))
    for _, (name, _, _) in asked:
        if w.bernoulli(0.4):
            lines.append(f"{_path(w)}: {w.name()} {w.choice(('asks', 'sees', 'likes'))} {name}")
    questions = []
    for label, (name, fact, value) in asked:
        questions.append(
            w.choice(
                (
                    (f"label of the line with the {fact} of {name}", label),
                    (f"which one has the {fact} of {name}", label),
                    (f"{fact} of {name}", value),
                    (f"line with the {fact} of {name}", f"{label}: {name} {fact} {value}"),
                )
            )
        )
    return _questions(w, "\n".join(w.shuffled(lines)), questions)


def _find_word(w: Lexicon) -> Turns:
    # All lines that hold a word, or none.
    words = w.names(w.integer(2, 4))
    lines = [
        f"{_path(w)}: {w.choice(words)} {w.choice((w.choice(FACTS), 'asks', 'see'))} {_thing(w)}" for _ in range(6)
    ]
    lines = lines[: w.integer(3, 6)]
    asked = []
    for word in w.sample([*words, w.name()], w.integer(1, 3)):
        hits = [line for line in lines if word in line.replace(":", " ").split(" ")]
        asked.append((w.choice((f"lines with {word}", f"all lines that hold {word}")), "\n".join(hits) or "none"))
    return _questions(w, "\n".join(lines), asked)


def _follow(w: Lexicon) -> Turns:
    names = w.names(w.integer(3, 6))
    n = w.integer(2, min(4, len(names)))
    value = str(w.number())
    lines = [f"{a} see {b}" for a, b in pairwise(names[:n])]
    lines += [f"{names[n - 1]} {w.choice(FACTS)} {value}"] + [f"{x} {w.choice(FACTS)} {w.number()}" for x in names[n:]]
    return _ask("\n".join(w.shuffled(lines)) + f"\nfollow {names[0]}", " ".join([*names[1:n], value]))


def _cell(w: Lexicon, column: str) -> str:
    if column == "colour":
        return w.choice(COLOURS)
    return w.name() if column == "city" else str(w.number())


def _select(w: Lexicon) -> Turns:
    # Rows of several columns; those of one group, with some of their columns.
    groups, columns = w.names(2), w.sample([*FACTS, "colour", "city"], w.integer(1, 3))
    people = w.names(w.integer(3, 6))
    rows = {
        name: (w.choice(groups), [_cell(w, column) for column in columns])
        for name in people
    }  # fmt: skip
    lines = [
        f"{n} in {g} " + " ".join(f"{c} {v}" for c, v in zip(columns, vs, strict=True)) for n, (g, vs) in rows.items()
    ]
    asked = []
    for group in w.shuffled(groups):
        if w.bernoulli(0.6):
            told = "\n".join(" ".join((n, *vs)) for n, (g, vs) in rows.items() if g == group)
            wanted = ((f"name {' '.join(columns)} of all in {group}"), f"rows of {group}: name {' '.join(columns)}")
            asked.append((w.choice(wanted), told or "none"))
        else:
            told = " ".join(n for n, (g, _) in rows.items() if g == group)
            asked.append((f"who is in {group}", told or "none"))
    return _questions(w, "\n".join(lines), asked)


def _count(w: Lexicon) -> Turns:
    n = w.integer(1, 6)
    lines = [f"{w.choice(ITEMS)} {w.integer(1, 99)}" for _ in range(n)]
    asked = [("how many lines", str(n))]
    if w.bernoulli(0.5):
        asked.append(w.choice((("first line", lines[0]), ("last line", lines[-1]))))
    if w.bernoulli(0.5):
        at = w.integer(1, n)
        asked.append((f"line {at}", lines[at - 1]))
    return _questions(w, "\n".join(lines), w.shuffled(asked))


def _one_by_one(w: Lexicon) -> Turns:
    # A list is gone through entry by entry, closed by a word: conversation without tools.
    entries = [" ".join(_things(w, w.integer(1, 3))) for _ in range(w.integer(1, 5))]
    word, close = w.choice((*PLAIN, w.name())), w.choice(("done", "that is all", "end"))
    go_on = w.choice(("ok", "next", "go on"))
    start = f"say {word} with each line, one at a time, then {close}\n" + "\n".join(entries)
    turns = _ask(start, f"{word} {entries[0]}")
    for entry in entries[1:]:
        turns += _ask(go_on, f"{word} {entry}")
    return turns + _ask(go_on, close)


def _steps(w: Lexicon) -> Turns:
    # Several small orders about one list, answered one after the other.
    rows = _entries(w, w.integer(2, 5))
    listing = "\n".join(" ".join(row) for row in rows)
    return _questions(
        w, listing, [(f"{fact} of {name}", value) for name, fact, value in w.sample(rows, w.integer(2, 5))]
    )


# --- comparing, sorting, arithmetic ----------------------------------------------------------------------------------


def _sort(w: Lexicon) -> Turns:
    n = w.integer(2, 5)
    if w.bernoulli(0.5):
        numbers = [w.number() for _ in range(n)]
        return _ask(f"sort {' '.join(map(str, numbers))}", " ".join(map(str, sorted(numbers))))
    names = w.names(n)
    return _ask(f"sort {' '.join(names)}", " ".join(sorted(names)))


def _compare(w: Lexicon) -> Turns:
    a, b = w.number(), w.number()
    if w.bernoulli(0.5):
        return _ask(f"{w.choice(('larger', 'more'))} of {a} and {b}", str(max(a, b)))
    x, y = w.name(), w.name()
    if w.bernoulli(0.5):
        y = x
    return _ask(f"is {x} the same as {y}", "yes" if x == y else "no")


def _sum(w: Lexicon) -> Turns:
    a, b = w.integer(0, 49), w.integer(0, 49)
    return _ask(f"{a} + {b}", str(a + b)) if w.bernoulli(0.6) else _ask(f"{max(a, b)} - {min(a, b)}", str(abs(a - b)))


def _member(w: Lexicon) -> Turns:
    words = _things(w, w.integer(2, 7))
    asked = w.choice(words) if w.bernoulli(0.5) else w.name()
    return _ask(f"is {asked} among {', '.join(words)}", "yes" if asked in words else "no")


def _calendar(w: Lexicon) -> Turns:
    if w.bernoulli(0.3):
        at = w.integer(0, len(DAYS) - 1)
        return _ask(f"day after {DAYS[at]}", DAYS[(at + 1) % len(DAYS)])
    slots = [(w.choice(DAYS), str(w.integer(8, 19)), name) for name in w.names(w.integer(2, 4))]
    listing = "\n".join(" ".join(slot) for slot in slots)
    return _questions(w, listing, [(f"when is {name}", f"{day} {hour}") for day, hour, name in w.sample(slots, 3)])


# --- documentation and forms -----------------------------------------------------------------------------------------


def _manual(w: Lexicon) -> list[str]:
    names = [f"{verb}_{noun}" for verb, noun in w.sample([(v, n) for v in VERBS for n in NOUNS], w.integer(2, 5))]
    return [f"{n} {' '.join(w.sample(list(PARAMETERS), w.integer(1, 3)))}" for n in names]


def _documentation(w: Lexicon) -> Turns:
    # Questions about the documentation of functions; none is called.
    lines = _manual(w)
    asked = []
    for line in w.sample(lines, w.integer(1, 4)):
        name, *parameters = line.split()
        verb, noun = name.split("_")
        asked.append(
            w.choice(
                (
                    (w.choice((f"what does {name} take", f"what is needed to {verb} a {noun}")), " ".join(parameters)),
                    (f"which one can {verb} a {noun}", name),
                    (f"line of the one that can {verb} a {noun}", line),
                )
            )
        )
    if w.bernoulli(0.4):
        verb, noun = w.choice(VERBS), w.choice(NOUNS)
        found = f"{verb}_{noun}" in [line.split()[0] for line in lines]
        asked.append((f"which one can {verb} a {noun}", f"{verb}_{noun}" if found else "none"))
    return _questions(w, "\n".join(lines), asked)


def _fill(w: Lexicon) -> Turns:
    # Values are given with their names and wanted in another order: a form to fill in.
    kinds = w.sample(list(PARAMETERS.items()), w.integer(1, 4))
    values = {p: str(w.value(k)) for p, k in kinds}
    style = w.choice(("{0} {1}", "{0} is {1}", "{1} as {0}"))
    given = w.choice((", ", " and ")).join(style.format(p, values[p]) for p in w.sample(list(values), len(values)))
    wanted = list(values)
    if w.bernoulli(0.2):
        missing = w.choice([p for p in PARAMETERS if p not in values])
        wanted.insert(w.integer(0, len(wanted)), missing)
        return _ask(f"fill {' '.join(wanted)}\n{given}", f"missing {missing}")
    return _ask(f"fill {' '.join(wanted)}\n{given}", " ".join(values[p] for p in wanted))


# --- short programs --------------------------------------------------------------------------------------------------

STEPS = (
    ("{x} plus {a}", "{x} + {a}"),
    ("{x} minus {a}", "{x} - {a}"),
    ("{x} times {a}", "{x} * {a}"),
    ("{a} minus {x}", "{a} - {x}"),
    ("{x} divided by {a}", "{x} / {a}"),
    ("the rest of {x} by {a}", "{x} % {a}"),
)
"""A calculation in words and as an expression."""
THEN = ((", plus {b}", "{y} + {b}"), (", minus {b}", "{y} - {b}"), (", times {b}", "{y} * {b}"))
"""What may follow it; y is the result so far, b a number or a second variable."""


def _program(w: Lexicon) -> tuple[str, list[str], str]:
    """Make a calculation in words, its lines of code, and the variable that goes in."""
    x, y, z = w.sample(LETTERS, 3)
    a = str(w.integer(2, 60))
    b = z if w.bernoulli(0.3) else str(w.integer(2, 60))
    words, code = w.choice(STEPS)
    if w.bernoulli(0.4):
        return words.format(x=x, a=a), [f"return {code.format(x=x, a=a)}"], x
    after, more = w.choice(THEN)
    first, second = code.format(x=x, a=a), more.format(y=y, b=b)
    return words.format(x=x, a=a) + after.format(b=b), [f"{y} = {first}", f"return {second}"], x


def _numbered(lines: Sequence[str]) -> str:
    return "\n".join(f"{i} {line}" for i, line in enumerate(lines, 1))


def _code(w: Lexicon) -> Turns:
    # Words to code and back.
    words, lines, _ = _program(w)
    if w.bernoulli(0.6):
        return _ask(w.choice((f"write {words}", f"code for {words}")), "\n".join(lines))
    return _ask("\n".join(lines) + f"\n{w.choice(('in words', 'what does it give'))}", words)


def _correct(w: Lexicon) -> Turns:
    # One number, sign or name of a program is not as its description says.
    words, lines, _ = _program(w)
    name = w.name()
    at = w.integer(0, len(lines) - 1)
    tokens = lines[at].split(" ")
    places = [
        i for i, token in enumerate(tokens) if token not in ("return", "=") and not (i == 0 and " = " in lines[at])
    ]
    place = w.choice(places)
    token = tokens[place]
    if token.isdigit():
        wrong = w.choice((str(int(token) + w.choice((1, 2, 5, 10))), str(max(int(token) - w.choice((1, 2)), 0))))
    elif token in "+-*/%":
        wrong = w.choice([sign for sign in "+-*/%" if sign != token])
    else:
        wrong = w.choice([letter for letter in LETTERS if letter != token])
    spoilt = list(lines)
    spoilt[at] = " ".join((*tokens[:place], wrong, *tokens[place + 1 :]))
    body = [f"def {name}()", *(f" {line}" for line in spoilt), "end"] if w.bernoulli(0.5) else spoilt
    told = w.choice((f"{name} must be {words}", f"{name} gives {words}"))
    right = at + 1 + (len(body) > len(spoilt))
    return _questions(
        w, f"{told}\n{_numbered(body)}",
        [
            ("which line is wrong, and what must it be", f"{right} {lines[at]}"),
            *([("what was there", spoilt[at])] * w.bernoulli(0.3)),
        ],
    )  # fmt: skip


def _code_lines(w: Lexicon) -> Turns:
    # Numbered lines of several files: reading, finding, and writing a line anew with one word changed.
    name, new = w.names(2)
    found = []
    for file in w.sample(FILES, w.integer(1, 3)):
        for number in sorted(w.sample(range(1, 9), w.integer(1, 2))):
            _, lines, _ = _program(w)
            use = w.choice((f"{w.choice(LETTERS)} = {name}({w.choice(LETTERS)})", f"return {name}({w.integer(2, 60)})",
                          f"{name} = {w.integer(2, 60)}", lines[-1].replace("return ", f"return {name} + "),
                          f"def {name}({w.choice(LETTERS)})"))  # fmt: skip
            found.append((file, str(number), use))
    asked = []
    for file, number, line in w.sample(found, w.integer(1, 3)):
        asked.append(
            w.choice(
                (
                    (f"line {number} of {file}", line),
                    (f"line {number} of {file} with {new} for {name}", line.replace(name, new)),
                    (f"line {number} of {file} with {new} for {name}", line.replace(name, new)),
                )
            )
        )
    if w.bernoulli(0.4):
        asked.append(
            (f"all with {new} for {name}", "\n".join(f"{f} {n} {line.replace(name, new)}" for f, n, line in found))
        )
    return _questions(w, "\n".join(map(" ".join, found)), asked)


def _assign(w: Lexicon) -> Turns:
    # A named constant gets another value wherever it stands.
    name, other = w.names(2)
    old, new = w.integer(2, 60), w.integer(2, 60)
    lines = [f"{name} = {old}", f"return {w.choice(LETTERS)} + {name}", f"{other} = {w.integer(2, 60)}"]
    lines = w.shuffled([*lines, f"{name} = {old}"])[: w.integer(2, 4)]
    asked = w.choice((f"set {name} to {new}", f"{name} is {new} from now on", f"change {name} from {old} to {new}"))
    changed = [f"{name} = {new}" if line == f"{name} = {old}" else line for line in lines]
    return _ask(f"{asked}\n{_numbered(lines)}", _numbered(changed))


def _trace(w: Lexicon) -> Turns:
    x, y = w.sample("abcdefgh", 2)
    first, step = w.integer(0, 19), w.integer(1, 9)
    return _ask(f"{x} = {first}\n{y} = {x} + {step}\nwhat is {y}", str(first + step))


Exercise = Callable[[Lexicon], Turns]

EXERCISES: tuple[Exercise, ...] = tuple(
    exercise
    for exercise, weight in {
        _copy: 2, _copy_lines: 3, _replace: 2, _several_orders: 1,
        _look_up: 3, _labelled: 4, _find_word: 2, _follow: 1, _select: 3, _count: 1, _one_by_one: 3, _steps: 1,
        _sort: 1, _compare: 1, _sum: 1, _member: 1, _calendar: 1,
        _documentation: 2, _fill: 3,
        _code: 2, _correct: 3, _code_lines: 3, _assign: 1, _trace: 1,
    }.items()
    for _ in range(weight)
)  # fmt: skip
"""The corpus draws from these; a number is a weight."""

N_EXERCISES = (1, 1, 2, 3, 4)
"""Exercises in one conversation, drawn evenly: long ones train the positions that an episode will use."""


def conversation(w: Lexicon) -> Turns:
    """Make one conversation of a few exercises."""
    turns: Turns = []
    for _ in range(w.choice(N_EXERCISES)):
        turns += w.choice(EXERCISES)(w)
    return turns
