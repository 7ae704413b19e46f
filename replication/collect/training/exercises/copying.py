"""Exercises in copying and rewriting."""

from replication.collect.benchmarks.suite.words import Lexicon
from replication.collect.training.exercises.parts import Turns, exchange, thing, things


def copy(w: Lexicon) -> Turns:
    """Repeat a line."""
    text = " ".join(things(w, w.integer(2, 16)))
    return exchange(f"{w.choice(('repeat', 'copy', 'say again'))} {text}", text)


def copy_lines(w: Lexicon) -> Turns:
    """Repeat lines, reversed, numbered or with a word before each."""
    lines = [" ".join(things(w, w.integer(1, 5))) for _ in range(w.integer(2, 8))]
    how = w.choice(("repeat", "backwards", "numbered", "after"))
    if how == "repeat":
        return exchange("repeat\n" + "\n".join(lines), "\n".join(lines))
    if how == "backwards":
        return exchange("repeat the lines backwards\n" + "\n".join(lines), "\n".join(reversed(lines)))
    if how == "numbered":
        return exchange("number the lines\n" + "\n".join(lines), "\n".join(f"{i} {x}" for i, x in enumerate(lines, 1)))
    word = thing(w)
    return exchange(
        f"write {word} before each line\n" + "\n".join(lines), "\n".join(f"{word} {line}" for line in lines)
    )


def replace(w: Lexicon) -> Turns:
    """Replace a word in every position; longer words that contain it stay."""
    old, new = w.names(2)
    lines = []
    for _ in range(w.integer(2, 5)):
        words = things(w, w.integer(1, 4))
        if w.bernoulli(0.7):
            words.insert(w.integer(0, len(words)), old)
        lines.append(words)
    order = w.choice((f"put {new} for {old}", f"change {old} to {new}", f"{old} is called {new} from now on"))
    changed = "\n".join(" ".join(new if word == old else word for word in words) for words in lines)
    return exchange(f"{order}\n" + "\n".join(map(" ".join, lines)), changed)


def several_orders(w: Lexicon) -> Turns:
    """Carry out several orders of one line."""
    texts = [" ".join(things(w, w.integer(1, 3))) for _ in range(w.integer(2, 4))]
    return exchange(w.choice(("; then ", ", then ", "; ")).join(f"say {text}" for text in texts), "\n".join(texts))
