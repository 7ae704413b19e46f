"""The words that generated tasks are made of, all written for this project."""

import zlib
from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")

CONSONANTS = "bdfghjklmnprstvz"
VOWELS = "aeiou"
SYLLABLES = tuple(consonant + vowel for consonant in CONSONANTS for vowel in VOWELS)
SPLITS = ("train", "calibration", "evaluation")
OWNERS = ("train", "train", "calibration", "evaluation")
"""Whose a made-up name is, by the rest of its checksum by four."""
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
COLOURS = ("red", "blue", "green", "white", "black", "grey", "brown", "pink")
FACTS = ("code", "price", "room", "weight", "age", "badge", "shelf", "score", "seat", "gate")
FILES = ("notes", "list", "log", "index", "data", "plan", "memo", "draft", "table", "stock", "names", "inbox")
ENDINGS = ("txt", "md", "csv", "cfg")
FOLDERS = ("old", "new", "work", "home", "safe", "temp", "store", "spare")
VERBS = ("book", "order", "rent", "send", "open", "close", "mark", "pay", "plan", "print", "move", "check")
NOUNS = ("table", "ticket", "room", "parcel", "lamp", "door", "bike", "meal", "report", "tour", "desk", "bill")
PARAMETERS = {
    "who": "name", "city": "name", "street": "name", "shop": "name", "item": "name",
    "people": "number", "hours": "number", "amount": "number", "floor": "number", "line": "number",
    "day": "day", "colour": "colour",
}  # fmt: skip
"""Parameter name -> kind of its value."""


def split_of(name: str) -> str:
    """Say which split owns a made-up name.

    Every task is built around such names, so the splits are disjoint by construction, not by checking afterwards.
    Half of all names belong to training, a quarter each to calibration and evaluation.
    """
    return OWNERS[zlib.crc32(name.encode()) % 4]


class Lexicon:
    """Draws words for one task of one split.

    Uniform numbers are taken from the generator in blocks and everything else is made of them: a call of NumPy for each
    word would cost twenty times as much.
    """

    _BLOCK = 64

    def __init__(self, rng: np.random.Generator, split: str):
        self.split = split
        # A generator's own `next`, because this is called a thousand times for a task of the highest level.
        self._uniform = self._numbers(rng).__next__

    def _numbers(self, rng: np.random.Generator) -> Iterator[float]:
        while True:
            yield from reversed(rng.random(self._BLOCK).tolist())

    def chance(self, share: float) -> bool:
        """Say yes with this probability."""
        return self._uniform() < share

    def whole(self, low: int, high: int) -> int:
        """Draw a whole number in [low, high]."""
        return low + int(self._uniform() * (high - low + 1))

    def pick(self, words: Sequence[T]) -> T:
        """Draw one of a sequence."""
        return words[int(self._uniform() * len(words))]

    def several(self, words: Sequence[T], n: int) -> list[T]:
        """Draw `n` different ones of a sequence, in random order; all of them if there are fewer."""
        left, draw = list(words), self._uniform
        n_left = len(left)
        n = min(n, n_left)
        for i in range(n):
            j = i + int(draw() * (n_left - i))
            left[i], left[j] = left[j], left[i]
        return left[:n]

    def shuffled(self, words: Sequence[T]) -> list[T]:
        """Put a sequence into random order."""
        return self.several(words, len(words))

    def name(self) -> str:
        """Make up a name of two or three syllables that belongs to this split."""
        draw, n = self._uniform, len(SYLLABLES)
        while True:
            name = SYLLABLES[int(draw() * n)] + SYLLABLES[int(draw() * n)]
            if draw() < 0.3:
                name += SYLLABLES[int(draw() * n)]
            if OWNERS[zlib.crc32(name.encode()) % 4] == self.split:
                return name

    def names(self, n: int) -> list[str]:
        """Make up `n` different names."""
        found: dict[str, None] = {}
        while len(found) < n:
            found[self.name()] = None
        return list(found)

    def number(self) -> int:
        """Draw a number of one to three digits, small ones not rarer than large ones."""
        largest = self.pick((9, 99, 999))
        return 1 + int(self._uniform() * largest)

    def value(self, kind: str) -> str | int:
        """Draw a value for a parameter of a kind."""
        if kind == "name":
            return self.name()
        if kind == "number":
            return self.number()
        return self.pick(DAYS if kind == "day" else COLOURS)
