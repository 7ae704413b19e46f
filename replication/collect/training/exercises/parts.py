"""Parts that exercises share: turns, words, paths and the entries of listings."""

from collections.abc import Sequence
from typing import Literal

from replication.collect.benchmarks.suite.office import ITEMS
from replication.collect.benchmarks.suite.words import ENDINGS, FACTS, FILES, FOLDERS, Lexicon
from replication.records import Message

Turns = list[Message]

PLAIN = (
    "show", "search", "set", "insert", "delete", "run", "find", "open", "next", "add", "drop", "list", "send", "save",
    "cancel", "read", "report", "page", "mail", "contacts", "calendar", "files", "fixed", "error", "answer", "done",
    "missing", "refused", "numbers", "name", "line", "word", "row", "text", "file", "more", "none", "min", "stock", "memo",
)  # fmt: skip
"""Words of listings and instructions."""
LETTERS = "abcdefghkmnpqrsuvwxyz"


def exchange(*texts: str) -> Turns:
    """Return these texts as messages, the first one by the user and then by turns."""
    roles: tuple[Literal["user", "assistant"], ...] = ("user", "assistant")
    return [Message(role=roles[i % 2], content=text) for i, text in enumerate(texts)]


def question_turns(w: Lexicon, context: str, pairs: Sequence[tuple[str, str]]) -> Turns:
    """Return (question, answer) pairs as turns, with the context before the first question, at times after it."""
    (question, answer), *rest = pairs
    first = f"{question}\n{context}" if w.bernoulli(0.3) else f"{context}\n{question}"
    return exchange(first, answer, *(text for pair in rest for text in pair))


def thing(w: Lexicon) -> str:
    """Draw a word, number or path."""
    kind = w.choice(("name", "name", "name", "number", "number", "day", "colour", "item", "plain", "path"))
    if kind == "item":
        return w.choice(ITEMS)
    if kind == "plain":
        return w.choice(PLAIN)
    if kind == "path":
        return path(w)
    return str(w.value(kind))


def things(w: Lexicon, n: int) -> list[str]:
    """Draw `n` words, numbers or paths."""
    return [thing(w) for _ in range(n)]


def path(w: Lexicon) -> str:
    """Draw the name or path of a file."""
    stem = w.choice((w.choice(FILES), w.name()))
    style = w.choice(("{0}", "{0}.{1}", "{0}.{1}", "{2}/{0}.{1}", "{0}-{3}"))
    return style.format(stem, w.choice(ENDINGS), w.choice(FOLDERS), w.choice(("log", "order", "memo", "stock", "plan")))


def entries(w: Lexicon, n: int) -> list[tuple[str, str, str]]:
    """Draw the entries of a listing: (name, fact, value), the names distinct."""
    return [(name, w.choice(FACTS), str(w.number())) for name in w.names(n)]
