"""Limits of a field of the schema, declared beside it: ranges of numbers, choices, kinds of text, sizes of lists."""

import dataclasses
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from omegaconf import MISSING

Kind = Literal["text", "name", "model", "path"]

_NAME = "[A-Za-z0-9][A-Za-z0-9._+-]{0,63}"
PATTERNS: dict[Kind, str] = {"name": _NAME, "model": f"{_NAME}(?:/{_NAME})?"}
"""Names are parts of file names, CSV files, figures and the paper, and what is not ASCII cannot be typed everywhere."""
_RULE = "a name has 1 to 64 of the characters A-Z a-z 0-9 . _ + - and starts with a letter or digit"
RULES: dict[Kind, str] = {
    "name": f"{_RULE}, such as `agent_sft`",
    "model": f"{_RULE}; a model may have two with a slash between, such as `org/model-8B`",
    "text": "a text is one line of 1 to 2000 printable characters",
    "path": "a path is one line of 1 to 2000 printable characters",
}
MAX_TEXT = 2000


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Values that a field accepts; in a list or mapping each of its values."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False  # `low` itself is refused
    below: bool = False  # `high` itself is refused
    infinite: bool = False  # infinity is accepted
    choices: tuple[str, ...] = ()
    kind: Kind = "text"
    empty: bool = False  # the empty text is accepted
    keys: Kind = "name"  # of a mapping
    least: int = 0  # length of a list
    distinct: bool = False  # no value of a list twice

    def interval(self) -> str:
        """Write the range, with a round bracket where the bound itself is refused."""
        return f"{'(' if self.above else '['}{self.low}, {self.high}{')' if self.below else ']'}"

    def contain(self, value: float) -> bool:
        """Check a number against the range; NaN is in none."""
        if value == math.inf:
            return self.infinite
        return (self.low < value if self.above else self.low <= value) and (
            value < self.high if self.below else value <= self.high
        )


def whole(low: int, high: int, default: Any = MISSING, **other: Any) -> Any:
    """Declare a whole number, or several, from `low` to `high`."""
    return limited(default, low=low, high=high, **other)


def real(low: float, high: float, default: Any = MISSING, **other: Any) -> Any:
    """Declare a number, or several, from `low` to `high`; `above` and `below` exclude the bound itself."""
    return limited(default, low=low, high=high, **other)


def fraction(default: Any = MISSING, **other: Any) -> Any:
    """Declare a share, or several, from 0 to 1."""
    return limited(default, low=0.0, high=1.0, **other)


def inside(default: Any = MISSING, **other: Any) -> Any:
    """Declare a number, or several, strictly between 0 and 1, such as a level of confidence."""
    return limited(default, low=0.0, high=1.0, above=True, below=True, **other)


def one_of(choices: Sequence[str], default: Any = MISSING, **other: Any) -> Any:
    """Declare one of some texts, or several of them."""
    return limited(default, choices=tuple(choices), **other)


def named(default: Any = MISSING, **other: Any) -> Any:
    """Declare a name, or several."""
    return limited(default, kind="name", **other)


def located(default: Any = MISSING, **other: Any) -> Any:
    """Declare a path, whose leading `~` is expanded."""
    return limited(default, kind="path", **other)


def limited(default: Any = MISSING, **limits: Any) -> Any:
    """Declare a field with limits; a function as default is called for each instance."""
    metadata = {"limits": Limits(**limits)}
    if callable(default):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def of(field: "dataclasses.Field[Any]") -> Limits:
    """Return the limits of a field; without any, its texts must be printable."""
    limits: Limits = field.metadata.get("limits", Limits())
    return limits


def problem(value: str, kind: Kind) -> str | None:
    """Return the rule that a text breaks, or None."""
    if kind in PATTERNS:
        return None if re.fullmatch(PATTERNS[kind], value) else RULES[kind]
    printable = all(c.isprintable() or c == "\N{NO-BREAK SPACE}" for c in value)
    return None if printable and value.strip() and len(value) <= MAX_TEXT else RULES[kind]
