"""Read calls in Python's syntax, `[grep(word="kavo"), ls()]`, without handing a model's text to Python's compiler."""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

from replication.collect.scaffolds.parsing import MAX_DEPTH, Malformed, Unreadable, decode
from replication.records import Json

_TOKEN = re.compile(
    r"""\s*(?:(?P<string>\"{3}(?:[^"\\]|\\.|"(?!""))*\"{3}|'{3}(?:[^'\\]|\\.|'(?!''))*'{3}"""
    r"""|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"""
    r"""|(?P<name>[^\W\d]\w*)|(?P<mark>[][(){},:=]))""",
    re.DOTALL,
)
_ESCAPE = re.compile(
    r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U(000[0-9a-fA-F]{5}|0010[0-9a-fA-F]{4})|(.))", re.DOTALL
)
_SIMPLE = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "a": "\a", "0": "\0", "\n": ""}
_CONSTANTS: dict[str, Json] = {"True": True, "False": False, "None": None, "true": True, "false": False, "null": None}
_WRONG = "error: a reply with calls must be a list of calls with named arguments"


T = TypeVar("T")


class _Token(NamedTuple):
    kind: str
    text: str


def read_calls(text: str) -> list[tuple[str, dict[str, Json]]]:
    """Return the name and the arguments of each call of a list; Malformed if the text is anything else.

    An argument is a string, a number, a constant, or a list, tuple or dictionary of these, nested to `MAX_DEPTH`.
    """
    tokens = _Tokens(_tokens(text))
    tokens.take("[")
    calls = list(tokens.until("]", tokens.call))
    tokens.end()
    return calls


def _tokens(text: str) -> Iterator[_Token]:
    at, end = 0, len(text.rstrip())
    while at < end:
        found = _TOKEN.match(text, at)
        if not found:
            raise Malformed(f"error: bad list of calls at {text[at : at + 20].strip()!r}")
        assert found.lastgroup is not None  # every alternative is named
        yield _Token(found.lastgroup, found[found.lastgroup])
        at = found.end()


class _Tokens:
    def __init__(self, tokens: Iterator[_Token]) -> None:
        self._tokens = tokens
        self._next = next(tokens, None)

    def pop(self) -> _Token:
        token, self._next = self._next, next(self._tokens, None)
        if token is None:
            raise Malformed("error: the list of calls is not closed")
        return token

    def take(self, mark: str) -> None:
        if (token := self.pop()).text != mark or token.kind != "mark":
            raise Malformed(_WRONG)

    def end(self) -> None:
        if self._next is not None:
            raise Malformed(_WRONG)

    def until(self, mark: str, item: Callable[[], T]) -> Iterator[T]:
        """Yield what `item` reads, separated by commas, up to the closing mark."""
        while self._next != ("mark", mark):
            yield item()
            if self._next != ("mark", mark):
                self.take(",")
        self.pop()

    def call(self) -> tuple[str, dict[str, Json]]:
        name = self._name()
        self.take("(")
        arguments: dict[str, Json] = {}
        for key, value in self.until(")", self._argument):
            if key in arguments:
                raise Malformed(f"error: argument {key} is given twice")
            arguments[key] = value
        return name, arguments

    def _name(self) -> str:
        if (token := self.pop()).kind != "name":
            raise Malformed(_WRONG)
        return token.text

    def _argument(self) -> tuple[str, Json]:
        name = self._name()
        self.take("=")
        return name, self._value(0)

    def _value(self, depth: int) -> Json:
        kind, text = self.pop()
        if kind == "string":
            return _unquoted(text)
        if kind == "number":
            return _number(text)
        if kind == "name" and text in _CONSTANTS:
            return _CONSTANTS[text]
        if depth >= MAX_DEPTH:
            raise Malformed("error: an argument is nested too deeply")
        if text in ("[", "("):
            return list(self.until("]" if text == "[" else ")", lambda: self._value(depth + 1)))
        if text == "{":
            return dict(self.until("}", lambda: self._pair(depth + 1)))
        raise Malformed(f"error: bad list of calls at {text[:20]!r}")

    def _pair(self, depth: int) -> tuple[str, Json]:
        kind, text = self.pop()
        if kind != "string":
            raise Malformed("error: the keys of an argument must be strings")
        self.take(":")
        return _unquoted(text), self._value(depth)


def _number(text: str) -> Json:
    plain = text.removeprefix("+")
    try:
        # By way of JSON, whose limits of numbers hold for every syntax.
        return decode(plain.replace(".e", ".0e").replace(".E", ".0E") + ("0" if plain.endswith(".") else "")).value
    except Malformed:
        raise
    except Unreadable:
        raise Malformed(f"error: bad number {text[:20]!r}") from None


def _unquoted(text: str) -> str:
    def escaped(found: re.Match[str]) -> str:
        digits = found[1] or found[2] or found[3]
        return chr(int(digits, 16)) if digits else _SIMPLE.get(found[4], found[4] if found[4] in "\\'\"" else found[0])

    width = 3 if text[:3] in ('"""', "'''") and len(text) >= 6 else 1
    # Halves of a character that have no other half cannot be written as UTF-8.
    return _ESCAPE.sub(escaped, text[width:-width]).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
