"""The vocabulary of generated tasks, written for this project, and the random draws from it."""

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
"""Split of a made-up name, by its CRC-32 modulo 4: half of all names belong to training, a quarter to each other split.

Every task is built around such names, so the splits are disjoint by construction and need no check afterwards.
"""
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


class Lexicon:
    """Random words and numbers for one task of one split.

    Uniform numbers are drawn from the generator in blocks, and every other draw is derived from them: one NumPy call per
    word would cost twenty times as much.
    """

    _BLOCK = 64

    def __init__(self, rng: np.random.Generator, split: str):
        self.split = split
        # The bound `__next__` of a generator, because it is called a thousand times for a task of the highest level.
        self._uniform = self._numbers(rng).__next__

    def _numbers(self, rng: np.random.Generator) -> Iterator[float]:
        while True:
            yield from reversed(rng.random(self._BLOCK).tolist())

    def bernoulli(self, share: float) -> bool:
        """Return True with probability `share`."""
        return self._uniform() < share

    def integer(self, low: int, high: int) -> int:
        """Draw an integer in [low, high], both ends included."""
        return low + int(self._uniform() * (high - low + 1))

    def choice(self, words: Sequence[T]) -> T:
        """Draw one element of a sequence."""
        return words[int(self._uniform() * len(words))]

    def sample(self, words: Sequence[T], n: int) -> list[T]:
        """Draw `n` elements without replacement, in random order; all of them if there are fewer."""
        left, draw = list(words), self._uniform
        n_left = len(left)
        n = min(n, n_left)
        for i in range(n):
            j = i + int(draw() * (n_left - i))
            left[i], left[j] = left[j], left[i]
        return left[:n]

    def shuffled(self, words: Sequence[T]) -> list[T]:
        """Return the elements in random order."""
        return self.sample(words, len(words))

    def name(self) -> str:
        """Make up a name of two or three syllables that belongs to this split; names are drawn until one does."""
        draw, n = self._uniform, len(SYLLABLES)
        while True:
            name = SYLLABLES[int(draw() * n)] + SYLLABLES[int(draw() * n)]
            if draw() < 0.3:
                name += SYLLABLES[int(draw() * n)]
            if OWNERS[zlib.crc32(name.encode()) % 4] == self.split:
                return name

    def names(self, n: int) -> list[str]:
        """Make up `n` different names."""
        names: dict[str, None] = {}
        while len(names) < n:
            names[self.name()] = None
        return list(names)

    def number(self) -> int:
        """Draw a number of one to three digits; each number of digits is equally likely."""
        largest = self.choice((9, 99, 999))
        return 1 + int(self._uniform() * largest)

    def value(self, kind: str) -> str | int:
        """Draw a value for a parameter of a kind."""
        if kind == "name":
            return self.name()
        if kind == "number":
            return self.number()
        return self.choice(DAYS if kind == "day" else COLOURS)
