"""Exercises in comparing, sorting and arithmetic."""

from replication.collect.benchmarks.suite.words import DAYS, Lexicon
from replication.collect.training.exercises.parts import Turns, exchange, question_turns, things


def sort(w: Lexicon) -> Turns:
    """Sort numbers or names."""
    n = w.integer(2, 5)
    if w.bernoulli(0.5):
        numbers = [w.number() for _ in range(n)]
        return exchange(f"sort {' '.join(map(str, numbers))}", " ".join(map(str, sorted(numbers))))
    names = w.names(n)
    return exchange(f"sort {' '.join(names)}", " ".join(sorted(names)))


def compare(w: Lexicon) -> Turns:
    """Compare two numbers or names."""
    a, b = w.number(), w.number()
    if w.bernoulli(0.5):
        return exchange(f"{w.choice(('larger', 'more'))} of {a} and {b}", str(max(a, b)))
    x, y = w.name(), w.name()
    if w.bernoulli(0.5):
        y = x
    return exchange(f"is {x} the same as {y}", "yes" if x == y else "no")


def add(w: Lexicon) -> Turns:
    """Add or subtract numbers below fifty."""
    a, b = w.integer(0, 49), w.integer(0, 49)
    if w.bernoulli(0.6):
        return exchange(f"{a} + {b}", str(a + b))
    return exchange(f"{max(a, b)} - {min(a, b)}", str(abs(a - b)))


def member(w: Lexicon) -> Turns:
    """Check whether a word is in a list."""
    words = things(w, w.integer(2, 7))
    word = w.choice(words) if w.bernoulli(0.5) else w.name()
    return exchange(f"is {word} among {', '.join(words)}", "yes" if word in words else "no")


def calendar(w: Lexicon) -> Turns:
    """Read a timetable, or name the next day."""
    if w.bernoulli(0.3):
        at = w.integer(0, len(DAYS) - 1)
        return exchange(f"day after {DAYS[at]}", DAYS[(at + 1) % len(DAYS)])
    slots = [(w.choice(DAYS), str(w.integer(8, 19)), name) for name in w.names(w.integer(2, 4))]
    listing = "\n".join(" ".join(slot) for slot in slots)
    return question_turns(w, listing, [(f"when is {name}", f"{day} {hour}") for day, hour, name in w.sample(slots, 3)])
