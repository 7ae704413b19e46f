"""Lines of the small language -> code for the stack machine; a mistake is returned with the number of its line."""

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from replication.collect.benchmarks.suite.code.machine import (
    BUILT_IN,
    OPERATORS,
    RETURN,
    Code,
    Fault,
    Function,
    Step,
    Value,
    item,
)

MAX_LINE = 120
MAX_NESTED = 10
"""Depth of nested brackets, signs or `not` in one expression, and of nested blocks in one function."""

TOKEN = re.compile(r'[0-9]+|[a-z_][a-z_0-9]*|"[^"]*"|[=!<>]=|[-+*/%<>=()\[\],]')
READABLE = re.compile(r'(?:[-+*/%<>=()\[\], a-z_0-9]+|!=|"[^"]*")*')
KEYWORDS = {"def", "end", "return", "if", "elif", "else", "while", "for", "in", "and", "or", "not", "true", "false"}
PRECEDENCE = (("or",), ("and",), ("==", "!=", "<", "<=", ">", ">=", "in"), ("+", "-"), ("*", "/", "%"))
STRENGTH = {sign: strength for strength, signs in enumerate(PRECEDENCE) for sign in signs}
NOT = STRENGTH["in"]
"""`not` binds weaker than a comparison."""
WITH_VALUE = {"name": "value", "apply_name": "apply_value"}
"""Operation about a name -> the same operation about a value."""


class Statement(NamedTuple):
    """One parsed line."""

    kind: str
    """def, end, return, if, elif, else, while, for, set, note or bad."""
    name: str = ""
    """The defined, assigned or counted name; for bad, the problem."""
    parameters: tuple[str, ...] = ()
    code: Code = ()


class Table(NamedTuple):
    """The functions of a file, and its first problem if it has one."""

    functions: Mapping[str, Function]
    problem: str | None


def read(lines: tuple[str, ...]) -> Table:
    """Compile a file; its problem is the first mistake, with the number of its line."""
    functions: dict[str, Function] = {}
    number = 0
    try:
        body: list[Step] = []
        open_blocks: list[_Block] = []
        parameters: tuple[str, ...] | None = None
        name = ""
        for number, line in enumerate(lines, 1):  # noqa: B007 (used in the except clause)
            statement = _statement(line)
            if statement.kind == "bad":
                raise Fault(statement.name)
            if statement.kind == "note":
                continue
            if statement.kind == "def":
                if parameters is not None:
                    raise Fault("def inside def")
                if statement.name in functions:
                    raise Fault(f"{statement.name} is defined twice")
                name, parameters, body = statement.name, statement.parameters, []
            elif parameters is None:
                raise Fault("outside of def")
            elif statement.kind == "end" and not open_blocks:
                functions[name] = Function(parameters, (*body, ("missing", None, None)))
                parameters = None
            else:
                _assemble(statement, body, open_blocks)
        if parameters is not None:
            raise Fault("end is missing")
    except Fault as fault:
        return Table(functions, f"{number}: {fault}")
    return Table(functions, None)


@dataclass
class _Block:
    """A block that is not closed yet; places are indices of steps."""

    kind: str
    start: int
    """The first step of its condition, or of the loop."""
    test: int | None = None
    """The step that jumps if the condition is false or the loop is over; its distance is not set yet."""
    ends: list[int] = field(default_factory=list)
    """The steps at the ends of its branches, to be replaced by jumps to its end."""


def _assemble(statement: Statement, body: list[Step], open_blocks: list[_Block]) -> None:
    kind = statement.kind
    ends: list[int] = []
    if kind in ("elif", "else", "end"):
        if not open_blocks or (kind != "end" and open_blocks[-1].kind not in ("if", "elif")):
            raise Fault(f"{kind} without if")
        ends = _close(open_blocks.pop(), kind, body)
        if kind == "end":
            return
    start = len(body)
    body.extend(statement.code)
    if kind == "set":
        body.append(("set", statement.name, None))
    elif kind == "return":
        body.append(RETURN)
    else:
        if len(open_blocks) >= MAX_NESTED:
            raise Fault("too many blocks")
        if kind == "for":
            body.append(("items", None, None))
            start = len(body)
        open_blocks.append(_Block(kind, start, None if kind == "else" else len(body), ends))
        if kind != "else":
            body.append(("next" if kind == "for" else "unless", statement.name, None))


def _close(block: _Block, kind: str, body: list[Step]) -> list[int]:
    # Sets the jumps of a block that a line of this kind ends; returns the ends of branches that are still open.
    if block.kind in ("while", "for"):
        body.append(("jump", None, block.start - len(body) - 1))
    elif kind != "end":
        block.ends.append(len(body))
        body.append(("jump", None, None))
    if block.test is not None:
        body[block.test] = (*body[block.test][:2], len(body) - block.test - 1)
    if kind != "end":
        return block.ends
    for place in block.ends:
        body[place] = ("jump", None, len(body) - place - 1)
    return []


@functools.lru_cache(maxsize=8192)
def _statement(line: str) -> Statement:
    try:
        return _read_line(line)
    except Fault as fault:
        return Statement("bad", str(fault))


def _read_line(line: str) -> Statement:
    if line.startswith("#"):
        return Statement("note")
    reader = _Reader(line)
    first, second = reader.take(), reader.look()
    if first in ("end", "else"):
        reader.close()
        return Statement(first)
    if first == "def":
        name = reader.name()
        parameters: list[str] = []
        reader.expect("(")
        while not reader.accept(")"):
            if parameters:
                reader.expect(",")
            parameters.append(reader.name())
        reader.close()
        if name in BUILT_IN:
            raise Fault(f"{name} is built in")
        return Statement("def", name, tuple(parameters))
    name = ""
    if first == "for":
        kind, name = first, reader.name()
        reader.expect("in")
    elif first in ("return", "if", "elif", "while"):
        kind = first
    elif second == "=" and _is_name(first):
        kind, name = "set", first
        reader.expect("=")
    else:
        raise Fault(f"no statement starts with {first}")
    reader.expression()
    reader.close()
    return Statement(kind, name, code=tuple(reader.code))


def holes(code: Code) -> list[int]:
    """Return the indices of the steps that are about names."""
    return [i for i, step in enumerate(code) if step[0] in ("name", "apply_name", "set", "next", "call")]


def bind(code: Code, places: Sequence[int], names: Mapping[str, str | int]) -> Code:
    """Replace names, at the `holes` of a function's code, by other names or by numbers."""
    bound = list(code)
    for i in places:
        operation, name, more = bound[i]
        name = names.get(name, name)
        bound[i] = (operation if isinstance(name, str) else WITH_VALUE[operation], name, more)
    return tuple(bound)


@functools.lru_cache(maxsize=8192)
def expression(text: str) -> Code | str:
    """Compile an expression; a mistake is returned as text, because exceptions are not cached."""
    try:
        reader = _Reader(text)
        reader.expression()
        reader.close()
    except Fault as fault:
        return str(fault)
    return (*reader.code, RETURN)


def _is_name(token: str) -> bool:
    return (token[0].isalpha() or token[0] == "_") and token not in KEYWORDS


class _Reader:
    # Parses the tokens of one line by precedence and emits code; `_nested` bounds the recursion.

    def __init__(self, line: str):
        if len(line) > MAX_LINE:
            raise Fault("line too long")
        readable = READABLE.match(line)
        if readable and readable.end() < len(line):
            raise Fault(f"cannot read {line[readable.end()]}")
        self._tokens = [*TOKEN.findall(line), ""]
        self._at = 0
        self._nested = 0
        self.code: list[Step] = []

    def look(self) -> str:
        return self._tokens[self._at]

    def take(self) -> str:
        token = self._tokens[self._at]
        if not token:
            raise Fault("line ends too early")
        self._at += 1
        return token

    def accept(self, token: str) -> bool:
        matches = self._tokens[self._at] == token
        self._at += matches
        return matches

    def expect(self, token: str) -> None:
        if not self.accept(token):
            raise Fault(f"{token} is missing")

    def name(self) -> str:
        token = self.take()
        if not _is_name(token):
            raise Fault(f"{token} is no name")
        return token

    def close(self) -> None:
        if self.look():
            raise Fault(f"{self.look()} is too much")

    def expression(self) -> None:
        self._deeper()
        self._binary(0)
        self._nested -= 1

    def _deeper(self) -> None:
        self._nested += 1
        if self._nested > MAX_NESTED:
            raise Fault("too deep")

    def _binary(self, least: int) -> None:
        # Parses as long as signs bind at least as strongly as `least`.
        if least <= NOT and self.accept("not"):
            self._deeper()
            self._binary(NOT)
            self._nested -= 1
            self.code.append(("not", None, None))
        else:
            self._single()
        while (strength := STRENGTH.get(self.look(), -1)) >= least:
            sign = self.take()
            if strength >= NOT:
                self._binary(strength + 1)
                self._apply(OPERATORS[sign])
                continue
            place = len(self.code)
            self.code.append((sign, None, None))
            self._binary(strength + 1)
            self.code.append(("truth", None, None))
            self.code[place] = (sign, None, len(self.code) - place - 1)

    def _apply(self, work: Callable[[Value, Value], Value]) -> None:
        # A name or value on the right does not go to the stack first: one step, not two.
        operation, operand, _ = self.code[-1]
        if operation in ("name", "value"):
            self.code[-1] = (f"apply_{operation}", operand, work)
        else:
            self.code.append(("apply", None, work))

    def _single(self) -> None:
        token = self.take()
        if token == "-":
            self.code.append(("value", 0, None))
            self._deeper()
            self._single()
            self._nested -= 1
            self._apply(OPERATORS["-"])
        elif token == "(":
            self.expression()
            self.expect(")")
        elif token == "[":
            self.code.append(("list", None, self._values("]")))
        elif token[0] == '"':
            self.code.append(("value", token[1:-1], None))
        elif token[0].isdigit():
            # The length is checked first: int() of thousands of digits is slow.
            if len(token) > 12:
                raise Fault("number too large")
            self.code.append(("value", int(token), None))
        elif token in ("true", "false"):
            self.code.append(("value", token == "true", None))
        elif not _is_name(token):
            raise Fault(f"{token} is no value")
        elif self.accept("("):
            self.code.append(("call", token, self._values(")")))
        else:
            self.code.append(("name", token, None))
        while self.accept("["):
            self.expression()
            self.expect("]")
            self._apply(item)

    def _values(self, closing: str) -> int:
        n = 0
        while not self.accept(closing):
            if n:
                self.expect(",")
            self.expression()
            n += 1
        return n
