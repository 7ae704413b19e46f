"""Exercises in reading listings: look-up, references, selection, counting."""

from itertools import pairwise

from replication.collect.benchmarks.suite.office import ITEMS
from replication.collect.benchmarks.suite.words import COLOURS, FACTS, Lexicon
from replication.collect.training.exercises.parts import (
    PLAIN,
    Turns,
    entries,
    exchange,
    path,
    question_turns,
    thing,
    things,
)


def look_up(w: Lexicon) -> Turns:
    """Look up facts in a listing."""
    rows = entries(w, w.integer(2, 8))
    style = w.choice(("{0} {1} {2}", "{0} has {1} {2}", "the {1} of {0} is {2}", "{1} {2} {0}"))
    listing = w.choice(("\n", "\n", "; ")).join(style.format(*row) for row in rows)
    pairs = []
    for name, fact, value in w.sample(rows, w.integer(1, 5)):
        question = w.choice((f"what is the {fact} of {name}", f"{fact} of {name}", f"give the {fact} of {name}"))
        pairs.append((f"who has {fact} {value}", name) if w.bernoulli(0.25) else (question, value))
    return question_turns(w, listing, pairs)


def labelled(w: Lexicon) -> Turns:
    """Look up facts and their labels; other labelled lines only mention the same names."""
    rows = entries(w, w.integer(2, 6))
    labels = [path(w) for _ in rows]
    lines = [f"{label}: {' '.join(row)}" for label, row in zip(labels, rows, strict=True)]
    chosen = w.sample(list(zip(labels, rows, strict=True)), w.integer(1, 4))
    for _, (name, _, _) in chosen:
        if w.bernoulli(0.4):
            lines.append(f"{path(w)}: {w.name()} {w.choice(('asks', 'sees', 'likes'))} {name}")
    pairs = []
    for label, (name, fact, value) in chosen:
        pairs.append(
            w.choice(
                (
                    (f"label of the line with the {fact} of {name}", label),
                    (f"which one has the {fact} of {name}", label),
                    (f"{fact} of {name}", value),
                    (f"line with the {fact} of {name}", f"{label}: {name} {fact} {value}"),
                )
            )
        )
    return question_turns(w, "\n".join(w.shuffled(lines)), pairs)


def find_word(w: Lexicon) -> Turns:
    """Copy all lines that contain a word, or answer none."""
    words = w.names(w.integer(2, 4))
    lines = [f"{path(w)}: {w.choice(words)} {w.choice((w.choice(FACTS), 'asks', 'see'))} {thing(w)}" for _ in range(6)]
    lines = lines[: w.integer(3, 6)]
    pairs = []
    for word in w.sample([*words, w.name()], w.integer(1, 3)):
        hits = [line for line in lines if word in line.replace(":", " ").split(" ")]
        pairs.append((w.choice((f"lines with {word}", f"all lines that hold {word}")), "\n".join(hits) or "none"))
    return question_turns(w, "\n".join(lines), pairs)


def follow(w: Lexicon) -> Turns:
    """Follow references to a value."""
    names = w.names(w.integer(3, 6))
    n = w.integer(2, min(4, len(names)))
    value = str(w.number())
    lines = [f"{a} see {b}" for a, b in pairwise(names[:n])]
    lines += [f"{names[n - 1]} {w.choice(FACTS)} {value}"] + [f"{x} {w.choice(FACTS)} {w.number()}" for x in names[n:]]
    return exchange("\n".join(w.shuffled(lines)) + f"\nfollow {names[0]}", " ".join([*names[1:n], value]))


def _cell(w: Lexicon, column: str) -> str:
    if column == "colour":
        return w.choice(COLOURS)
    return w.name() if column == "city" else str(w.number())


def select(w: Lexicon) -> Turns:
    """Select the rows of one group, with some of their columns."""
    groups, columns = w.names(2), w.sample([*FACTS, "colour", "city"], w.integer(1, 3))
    people = w.names(w.integer(3, 6))
    rows = {
        name: (w.choice(groups), [_cell(w, column) for column in columns])
        for name in people
    }  # fmt: skip
    lines = [
        f"{n} in {g} " + " ".join(f"{c} {v}" for c, v in zip(columns, vs, strict=True)) for n, (g, vs) in rows.items()
    ]
    pairs = []
    for group in w.shuffled(groups):
        if w.bernoulli(0.6):
            answer = "\n".join(" ".join((n, *vs)) for n, (g, vs) in rows.items() if g == group)
            questions = ((f"name {' '.join(columns)} of all in {group}"), f"rows of {group}: name {' '.join(columns)}")
            pairs.append((w.choice(questions), answer or "none"))
        else:
            answer = " ".join(n for n, (g, _) in rows.items() if g == group)
            pairs.append((f"who is in {group}", answer or "none"))
    return question_turns(w, "\n".join(lines), pairs)


def count(w: Lexicon) -> Turns:
    """Count the lines of a list and read single ones."""
    n = w.integer(1, 6)
    lines = [f"{w.choice(ITEMS)} {w.integer(1, 99)}" for _ in range(n)]
    pairs = [("how many lines", str(n))]
    if w.bernoulli(0.5):
        pairs.append(w.choice((("first line", lines[0]), ("last line", lines[-1]))))
    if w.bernoulli(0.5):
        at = w.integer(1, n)
        pairs.append((f"line {at}", lines[at - 1]))
    return question_turns(w, "\n".join(lines), w.shuffled(pairs))


def one_by_one(w: Lexicon) -> Turns:
    """Go through a list entry by entry, with a closing word: a conversation without tools."""
    texts = [" ".join(things(w, w.integer(1, 3))) for _ in range(w.integer(1, 5))]
    word, close = w.choice((*PLAIN, w.name())), w.choice(("done", "that is all", "end"))
    go_on = w.choice(("ok", "next", "go on"))
    start = f"say {word} with each line, one at a time, then {close}\n" + "\n".join(texts)
    turns = exchange(start, f"{word} {texts[0]}")
    for text in texts[1:]:
        turns += exchange(go_on, f"{word} {text}")
    return turns + exchange(go_on, close)


def steps(w: Lexicon) -> Turns:
    """Answer several questions on one list, one after the other."""
    rows = entries(w, w.integer(2, 5))
    listing = "\n".join(" ".join(row) for row in rows)
    return question_turns(
        w, listing, [(f"{fact} of {name}", value) for name, fact, value in w.sample(rows, w.integer(2, 5))]
    )
