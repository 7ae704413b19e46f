"""The small language of `repair` and `repository`, with its own bounded interpreter.

    # n plus the larger items of rows
    def kavo(n, rows)
     for x in rows
      if x > 9 and x != n
       n = n + x
      end
     end
     return n
    end

One statement a line; blocks close with `end`; indentation means nothing. Values are whole numbers, texts, true, false,
and flat lists of these; all are immutable. Functions of all files see each other. Lines become code for a stack machine,
so nothing recurses at run time, and every call ends: steps, calls in calls, and the size of each value are bounded, and
whatever goes wrong is a value of its own, a text that starts with "error:".
"""

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

MAX_LINE = 120
MAX_NESTED = 10
"""Brackets, signs or `not` inside each other in one expression, and blocks inside each other in one function."""
MAX_STEPS = 4_000
MAX_CALLS = 24
"""Calls inside each other."""
MAX_NUMBER = 10**12
MAX_TEXT = 120
MAX_ITEMS = 40

Value = int | bool | str | tuple
Code = tuple[tuple[str, object], ...]

TOKEN = re.compile(r' *(?:([0-9]+)|([a-z_][a-z_0-9]*)|("[^"]*")|(==|!=|<=|>=|[-+*/%<>=()\[\],])|([^ ]))')
KEYWORDS = {"def", "end", "return", "if", "elif", "else", "while", "for", "in", "and", "or", "not", "true", "false"}
PRECEDENCE = (("or",), ("and",), ("==", "!=", "<", "<=", ">", ">=", "in"), ("+", "-"), ("*", "/", "%"))


class Fault(Exception):
    """A mistake in a program; becomes an error value at the edge of this module."""


class Statement(NamedTuple):
    """One line, read."""

    kind: str
    """def, end, return, if, elif, else, while, for, set, note or bad."""
    name: str = ""
    """What is defined, set or counted; for bad, the problem."""
    parameters: tuple[str, ...] = ()
    code: Code = ()


class Function(NamedTuple):
    """A definition, ready to run."""

    parameters: tuple[str, ...]
    code: Code


class Table(NamedTuple):
    """What a file defines, and its first problem if it has one."""

    functions: Mapping[str, Function]
    problem: str | None


class Program:
    """The functions of all files of one program."""

    def __init__(self, tables: Mapping[str, Table]):
        self._functions: dict[str, Function] = {}
        self._problem: str | None = None
        for file, table in tables.items():
            twice = self._functions.keys() & table.functions.keys()
            problem = table.problem or (f"{min(twice)} is defined twice" if twice else None)
            self._problem = self._problem or (problem and f"{file} {problem}")
            self._functions.update(table.functions)

    def run(self, text: str) -> str:
        """Work out an expression, such as a call, and write its value; a mistake is written as "error: why"."""
        if self._problem:
            return f"error: {self._problem}"
        try:
            return written(_execute(self._functions, _expression(text)))
        except Fault as fault:
            return f"error: {fault}"


def build(files: Mapping[str, Sequence[str]]) -> Program:
    """Read all files of a program."""
    return Program({file: read(tuple(lines)) for file, lines in files.items()})


def written(value: Value) -> str:
    """Write a value as a program would."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple):
        return f"[{', '.join(map(written, value))}]"
    return str(value)


def indented(lines: Sequence[str]) -> list[str]:
    """Put one blank per open block in front of each line."""
    shown, depth = [], 0
    for line in lines:
        word = line.partition(" ")[0]
        depth -= word in ("end", "elif", "else")
        shown.append(" " * max(depth, 0) + line)
        depth += word in ("def", "if", "elif", "else", "while", "for")
    return shown


# --- reading ---------------------------------------------------------------------------------------------------------


def read(lines: tuple[str, ...]) -> Table:
    """Read a file; the first mistake is kept as its problem, with the number of its line."""
    functions: dict[str, Function] = {}
    number = 0
    try:
        body: list[tuple[str, object]] = []
        open_blocks: list[list] = []
        parameters: tuple[str, ...] | None = None
        name = ""
        for number, line in enumerate(lines, 1):  # noqa: B007 (the except clause tells it)
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
                functions[name] = Function(parameters, tuple(body))
                parameters = None
            else:
                _assemble(statement, body, open_blocks)
        if parameters is not None:
            raise Fault("end is missing")
    except Fault as fault:
        return Table(functions, f"{number}: {fault}")
    return Table(functions, None)


def _assemble(statement: Statement, body: list, open_blocks: list[list]) -> None:
    # A block is [kind, place of the first instruction, place of the open jump, places of the jumps to its end].
    kind = statement.kind
    if kind in ("elif", "else", "end"):
        if not open_blocks or (kind != "end" and open_blocks[-1][0] not in ("if", "elif")):
            raise Fault(f"{kind} without if")
        block = open_blocks.pop()
        if block[0] in ("while", "for"):
            body.append(("jump", block[1] - len(body) - 1))
        elif kind != "end":
            block[3].append(len(body))
            body.append(None)
        if block[2] is not None:
            operation, name = body[block[2]]
            body[block[2]] = (operation, (name, len(body) - block[2] - 1))
        if kind == "end":
            for place in block[3]:
                body[place] = ("jump", len(body) - place - 1)
            return
        ends = block[3]
    else:
        ends = []
    start = len(body)
    body.extend(statement.code)
    if kind == "set":
        body.append(("set", statement.name))
    elif kind == "return":
        body.append(("return", None))
    else:
        if len(open_blocks) >= MAX_NESTED:
            raise Fault("too many blocks")
        if kind == "for":
            body.append(("items", None))
            start = len(body)
        if kind == "else":
            open_blocks.append([kind, start, None, ends])
            return
        open_blocks.append([kind, start, len(body), ends])
        body.append(("next", statement.name) if kind == "for" else ("unless", None))


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
        name, parameters = reader.name(), []
        reader.expect("(")
        while not reader.found(")"):
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


@functools.lru_cache(maxsize=8192)
def _code(text: str) -> Code | str:
    # Exceptions are not cached, so a problem comes back as its text.
    try:
        reader = _Reader(text)
        reader.expression()
        reader.close()
    except Fault as fault:
        return str(fault)
    return (*reader.code, ("return", None))


def _expression(text: str) -> Code:
    if len(text) > MAX_LINE:
        raise Fault("line too long")
    code = _code(text)
    if isinstance(code, str):
        raise Fault(code)
    return code


def _is_name(token: str) -> bool:
    return (token[0].isalpha() or token[0] == "_") and token not in KEYWORDS


class _Reader:
    # Reads the tokens of one line by precedence and writes code; `_nested` bounds its own recursion.

    def __init__(self, line: str):
        if len(line) > MAX_LINE:
            raise Fault("line too long")
        self._tokens = []
        for match in TOKEN.finditer(line.rstrip(" ")):
            if match[5]:
                raise Fault(f"cannot read {match[5]}")
            self._tokens.append(match[match.lastindex])
        self._tokens.append("")
        self._at = 0
        self._nested = 0
        self.code: list[tuple[str, object]] = []

    def look(self) -> str:
        return self._tokens[self._at]

    def take(self) -> str:
        token = self._tokens[self._at]
        if not token:
            raise Fault("line ends too early")
        self._at += 1
        return token

    def found(self, token: str) -> bool:
        hit = self._tokens[self._at] == token
        self._at += hit
        return hit

    def expect(self, token: str) -> None:
        if not self.found(token):
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
        self._deeper(lambda: self._binary(0))

    def _deeper(self, read: Callable[[], None]) -> None:
        self._nested += 1
        if self._nested > MAX_NESTED:
            raise Fault("too deep")
        read()
        self._nested -= 1

    def _binary(self, level: int) -> None:
        if level == len(PRECEDENCE):
            self._single()
            return
        if level == 2 and self.found("not"):
            self._deeper(lambda: self._binary(2))
            self.code.append(("not", None))
            return
        self._binary(level + 1)
        while self.look() in PRECEDENCE[level]:
            operator = self.take()
            place = len(self.code)
            if level < 2:
                self.code.append((operator, 0))
            self._binary(level + 1)
            if level < 2:
                # The right side is skipped when the left one decides.
                self.code.append(("truth", None))
                self.code[place] = (operator, len(self.code) - place - 1)
            else:
                self.code.append(("apply", OPERATORS[operator]))

    def _single(self) -> None:
        token = self.take()
        if token == "-":
            self.code.append(("value", 0))
            self._deeper(self._single)
            self.code.append(("apply", OPERATORS["-"]))
        elif token == "(":
            self.expression()
            self.expect(")")
        elif token == "[":
            self.code.append(("list", self._several("]")))
        elif token[0] == '"':
            self.code.append(("value", token[1:-1]))
        elif token[0].isdigit():
            # The length is checked first: int() of thousands of digits is slow.
            if len(token) > 12:
                raise Fault("number too large")
            self.code.append(("value", int(token)))
        elif token in ("true", "false"):
            self.code.append(("value", token == "true"))
        elif not _is_name(token):
            raise Fault(f"{token} is no value")
        elif self.found("("):
            self.code.append(("call", (token, self._several(")"))))
        else:
            self.code.append(("name", token))
        while self.found("["):
            self.expression()
            self.expect("]")
            self.code.append(("apply", _item))

    def _several(self, closing: str) -> int:
        n = 0
        while not self.found(closing):
            if n:
                self.expect(",")
            self.expression()
            n += 1
        return n


# --- running ---------------------------------------------------------------------------------------------------------


def _execute(functions: Mapping[str, Function], code: Code) -> Value:
    stack: list = []
    frames: list[tuple[Code, int, dict[str, Value], int]] = []
    names: dict[str, Value] = {}
    at = base = 0
    for _ in range(MAX_STEPS):
        if at == len(code):
            raise Fault("nothing is returned")
        operation, operand = code[at]
        at += 1
        if operation == "name":
            if operand not in names:
                raise Fault(f"no name {operand}")
            stack.append(names[operand])
        elif operation == "value":
            stack.append(operand)
        elif operation == "apply":
            right = stack.pop()
            stack[-1] = operand(stack[-1], right)
        elif operation == "set":
            names[operand] = stack.pop()
        elif operation == "unless":
            at += 0 if _truth(stack.pop()) else operand[1]
        elif operation == "jump":
            at += operand
        elif operation == "next":
            try:
                names[operand[0]] = next(stack[-1])
            except StopIteration:
                stack.pop()
                at += operand[1]
        elif operation == "call":
            name, n = operand
            values = stack[len(stack) - n :]
            del stack[len(stack) - n :]
            if name in BUILT_IN:
                stack.append(_built_in(name, values))
                continue
            function = functions.get(name)
            if function is None:
                raise Fault(f"no function {name}")
            if len(function.parameters) != n:
                raise Fault(f"{name} takes {len(function.parameters)} values")
            if len(frames) >= MAX_CALLS:
                raise Fault("too many calls")
            frames.append((code, at, names, base))
            code, at, base = function.code, 0, len(stack)
            names = dict(zip(function.parameters, values, strict=True))
        elif operation == "return":
            result = stack.pop()
            # A return out of a loop leaves the loop's items on the stack.
            del stack[base:]
            if not frames:
                return result
            stack.append(result)
            code, at, names, base = frames.pop()
        elif operation == "items":
            if not isinstance(stack[-1], tuple | str):
                raise Fault("for needs a list or text")
            stack[-1] = iter(stack[-1])
        elif operation == "list":
            items = stack[len(stack) - operand :]
            del stack[len(stack) - operand :]
            stack.append(_as_list(items))
        elif operation in ("and", "or"):
            if _truth(stack[-1]) is (operation == "or"):
                at += operand
            else:
                stack.pop()
        elif operation == "not":
            stack[-1] = not _truth(stack[-1])
        else:
            _truth(stack[-1])
    raise Fault("too many steps")


def _truth(value: Value) -> bool:
    if not isinstance(value, bool):
        raise Fault(f"{_kind(value)} is not true or false")
    return value


def _kind(value: Value) -> str:
    return {bool: "truth", int: "number", str: "text"}.get(type(value), "list")


def _as_list(items: Sequence[Value]) -> tuple:
    if len(items) > MAX_ITEMS:
        raise Fault("list too long")
    if any(isinstance(item, tuple) for item in items):
        raise Fault("no lists in lists")
    return tuple(items)


def _as_text(text: str) -> str:
    if len(text) > MAX_TEXT:
        raise Fault("text too long")
    return text


def _arithmetic(sign: str, work: Callable[[int, int], int]) -> Callable[[Value, Value], Value]:
    def apply(left: Value, right: Value) -> Value:
        if type(left) is int and type(right) is int:
            result = work(left, right)
            if not -MAX_NUMBER < result < MAX_NUMBER:
                raise Fault("number too large")
            return result
        if sign == "+" and isinstance(left, str) and isinstance(right, str):
            return _as_text(left + right)
        if sign == "+" and isinstance(left, tuple) and isinstance(right, tuple):
            return _as_list(left + right)
        raise Fault(f"{_kind(left)} {sign} {_kind(right)}")

    return apply


def _divided(left: int, right: int) -> int:
    if not right:
        raise Fault("division by zero")
    return left // right


def _rest(left: int, right: int) -> int:
    if not right:
        raise Fault("division by zero")
    return left % right


def _ordered(sign: str, work: Callable[[Value, Value], bool]) -> Callable[[Value, Value], bool]:
    def apply(left: Value, right: Value) -> bool:
        if type(left) is not type(right) or type(left) not in (int, str):
            raise Fault(f"{_kind(left)} {sign} {_kind(right)}")
        return work(left, right)

    return apply


def _same(left: Value, right: Value) -> bool:
    # By what is written, because Python takes true for 1.
    return type(left) is type(right) and written(left) == written(right)


def _within(left: Value, right: Value) -> bool:
    if isinstance(right, str) and isinstance(left, str):
        return left in right
    if isinstance(right, tuple):
        return any(_same(left, item) for item in right)
    raise Fault(f"{_kind(left)} in {_kind(right)}")


def _item(values: Value, place: Value) -> Value:
    if type(place) is not int or not isinstance(values, tuple | str):
        raise Fault(f"{_kind(values)} [ {_kind(place)}")
    if not 0 <= place < len(values):
        raise Fault(f"no item {place}")
    return values[place]


OPERATORS: Mapping[str, Callable[[Value, Value], Value]] = {
    "+": _arithmetic("+", lambda a, b: a + b), "-": _arithmetic("-", lambda a, b: a - b),
    "*": _arithmetic("*", lambda a, b: a * b), "/": _arithmetic("/", _divided), "%": _arithmetic("%", _rest),
    "<": _ordered("<", lambda a, b: a < b), "<=": _ordered("<=", lambda a, b: a <= b),
    ">": _ordered(">", lambda a, b: a > b), ">=": _ordered(">=", lambda a, b: a >= b),
    "==": _same, "!=": lambda a, b: not _same(a, b), "in": _within,
}  # fmt: skip

BUILT_IN: Mapping[str, tuple[tuple[type, ...], ...]] = {
    "len": ((str, tuple),), "text": ((int, str),), "range": ((int,), (int,)), "add": ((tuple,), (int, str, bool)),
}  # fmt: skip
"""Name -> the types that each value may have. `range` counts from the first up to, not with, the second."""


def _built_in(name: str, values: Sequence[Value]) -> Value:
    kinds = BUILT_IN[name]
    if len(values) != len(kinds) or not all(type(v) in kind for v, kind in zip(values, kinds, strict=True)):
        raise Fault(f"{name} does not take {', '.join(map(_kind, values)) or 'nothing'}")
    if name == "len":
        return len(values[0])
    if name == "text":
        return str(values[0])
    if name == "add":
        return _as_list((*values[0], values[1]))
    if values[1] - values[0] > MAX_ITEMS:
        raise Fault("list too long")
    return tuple(range(*values))
