"""The words that generated tasks are made of, all written for this project."""

import zlib
from dataclasses import dataclass

import numpy as np

CONSONANTS = "bdfghjklmnprstvz"
VOWELS = "aeiou"
SPLITS = ("train", "calibration", "evaluation")
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
    return ("train", "train", "calibration", "evaluation")[zlib.crc32(name.encode()) % 4]


@dataclass(frozen=True)
class Lexicon:
    """Draws words for one task of one split."""

    rng: np.random.Generator
    split: str

    def pick(self, words):
        """Draw one of a sequence."""
        return words[int(self.rng.integers(len(words)))]

    def several(self, words, n: int) -> list:
        """Draw `n` different ones of a sequence."""
        return [words[int(i)] for i in self.rng.permutation(len(words))[:n]]

    def chance(self, share: float) -> bool:
        """Say yes with this probability."""
        return bool(self.rng.random() < share)

    def whole(self, low: int, high: int) -> int:
        """Draw a whole number in [low, high]."""
        return int(self.rng.integers(low, high + 1))

    def shuffled(self, words) -> list:
        """Put a sequence into random order."""
        return self.several(words, len(words))

    def name(self) -> str:
        """Make up a name of two or three syllables that belongs to this split."""
        whole = self.rng.integers  # scalar draws: an array of four costs as much as twenty of them
        while True:
            name = ""
            for _ in range(3 if self.rng.random() < 0.3 else 2):
                name += CONSONANTS[whole(len(CONSONANTS))] + VOWELS[whole(len(VOWELS))]
            if split_of(name) == self.split:
                return name

    def names(self, n: int) -> list[str]:
        """Make up `n` different names."""
        found: dict[str, None] = {}
        while len(found) < n:
            found[self.name()] = None
        return list(found)

    def number(self) -> int:
        """Draw a number of one to three digits, small ones not rarer than large ones."""
        return int(self.rng.integers(1, 10 ** int(self.rng.integers(1, 4))))

    def value(self, kind: str) -> str | int:
        """Draw a value for a parameter of a kind."""
        if kind == "name":
            return self.name()
        if kind == "number":
            return self.number()
        return self.pick(DAYS if kind == "day" else COLOURS)
