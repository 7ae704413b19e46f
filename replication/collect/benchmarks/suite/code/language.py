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
import operator
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
Code = tuple[tuple, ...]
"""Steps of the stack machine: (operation, name or value that it is about, what else it needs)."""

TOKEN = re.compile(r'[0-9]+|[a-z_][a-z_0-9]*|"[^"]*"|[=!<>]=|[-+*/%<>=()\[\],]')
READABLE = re.compile(r'(?:[-+*/%<>=()\[\], a-z_0-9]+|!=|"[^"]*")*')
KEYWORDS = {"def", "end", "return", "if", "elif", "else", "while", "for", "in", "and", "or", "not", "true", "false"}
PRECEDENCE = (("or",), ("and",), ("==", "!=", "<", "<=", ">", ">=", "in"), ("+", "-"), ("*", "/", "%"))
STRENGTH = {sign: strength for strength, signs in enumerate(PRECEDENCE) for sign in signs}
NOT = STRENGTH["in"]
"""`not` takes in whatever binds at least as strongly as a comparison."""


RETURN = ("return", None, None)
WITH_VALUE = {"name": "value", "apply_name": "apply_value"}


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
    """Functions that see each other."""

    def __init__(self, functions: Mapping[str, Function], problem: str | None = None):
        self._functions = functions
        self._problem = problem

    def but(self, other: "Program") -> "Program":
        """Put the functions of another program in the place of those of the same name."""
        return Program({**self._functions, **other._functions})

    def run(self, text: str) -> str:
        """Work out an expression, such as a call, and write its value; a mistake is written as "error: why"."""
        if self._problem:
            return f"error: {self._problem}"
        code = _code(text)
        return f"error: {code}" if isinstance(code, str) else self._run(code)

    def call(self, name: str, values: Sequence[Value]) -> str:
        """Call a function with values at hand, as `run` would with their texts."""
        return self._run((*[("value", value, None) for value in values], ("call", name, len(values)), RETURN))

    def _run(self, code: Code) -> str:
        try:
            return written(_execute(self._functions, code))
        except Fault as fault:
            return f"error: {fault}"


def link(tables: Mapping[str, Table]) -> Program:
    """Put the functions of all files together."""
    functions: dict[str, Function] = {}
    first = None
    for file, table in tables.items():
        twice = functions.keys() & table.functions.keys()
        problem = table.problem or (f"{min(twice)} is defined twice" if twice else None)
        first = first or (problem and f"{file} {problem}")
        functions |= table.functions
    return Program(functions, first)


def build(files: Mapping[str, Sequence[str]]) -> Program:
    """Read all files of a program."""
    return link({file: read(tuple(lines)) for file, lines in files.items()})


def written(value: Value) -> str:
    """Write a value as a program would."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return f'"{value}"' if isinstance(value, str) else f"[{', '.join(map(written, value))}]"


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
        body: list[tuple] = []
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
                functions[name] = Function(parameters, (*body, ("missing", None, None)))
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
            body.append(("jump", None, block[1] - len(body) - 1))
        elif kind != "end":
            block[3].append(len(body))
            body.append(None)
        if block[2] is not None:
            body[block[2]] = (*body[block[2]][:2], len(body) - block[2] - 1)
        if kind == "end":
            for place in block[3]:
                body[place] = ("jump", None, len(body) - place - 1)
            return
        ends = block[3]
    else:
        ends = []
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
        if kind == "else":
            open_blocks.append([kind, start, None, ends])
            return
        open_blocks.append([kind, start, len(body), ends])
        body.append(("next" if kind == "for" else "unless", statement.name, None))


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


def holes(code: Code) -> list[int]:
    """Find the steps of a function that are about names."""
    return [i for i, step in enumerate(code) if step[0] in ("name", "apply_name", "set", "next", "call")]


def bind(code: Code, places: Sequence[int], names: Mapping[str, str | int]) -> Code:
    """Give names in a function, at the `holes` of its code, other names, or numbers in their place."""
    bound = list(code)
    for i in places:
        operation, name, more = bound[i]
        name = names.get(name, name)
        bound[i] = (operation if isinstance(name, str) else WITH_VALUE[operation], name, more)
    return tuple(bound)


@functools.lru_cache(maxsize=8192)
def _code(text: str) -> Code | str:
    # Exceptions are not cached, so a problem comes back as its text.
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
    # Reads the tokens of one line by precedence and writes code; `_nested` bounds its own recursion.

    def __init__(self, line: str):
        if len(line) > MAX_LINE:
            raise Fault("line too long")
        readable = READABLE.match(line).end()
        if readable < len(line):
            raise Fault(f"cannot read {line[readable]}")
        self._tokens = [*TOKEN.findall(line), ""]
        self._at = 0
        self._nested = 0
        self.code: list[tuple] = []

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
        self._deeper()
        self._binary(0)
        self._nested -= 1

    def _deeper(self) -> None:
        self._nested += 1
        if self._nested > MAX_NESTED:
            raise Fault("too deep")

    def _binary(self, least: int) -> None:
        # Reads as long as signs bind at least so strongly.
        if least <= NOT and self.found("not"):
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
            # The right side is skipped when the left one decides.
            self.code.append(("truth", None, None))
            self.code[place] = (sign, None, len(self.code) - place - 1)

    def _apply(self, work: Callable[[Value, Value], Value]) -> None:
        # A name or value on the right is not put on the stack first: one step, not two.
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
            self.code.append(("list", None, self._several("]")))
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
        elif self.found("("):
            self.code.append(("call", token, self._several(")")))
        else:
            self.code.append(("name", token, None))
        while self.found("["):
            self.expression()
            self.expect("]")
            self._apply(_item)

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
        operation, operand, more = code[at]
        at += 1
        if operation == "name":
            if operand not in names:
                raise Fault(f"no name {operand}")
            stack.append(names[operand])
        elif operation == "apply_value":
            stack[-1] = more(stack[-1], operand)
        elif operation == "apply_name":
            if operand not in names:
                raise Fault(f"no name {operand}")
            stack[-1] = more(stack[-1], names[operand])
        elif operation == "set":
            names[operand] = stack.pop()
        elif operation == "unless":
            if not _truth(stack.pop()):
                at += more
        elif operation == "return":
            result = stack.pop()
            # A return out of a loop leaves the loop's items on the stack.
            del stack[base:]
            if not frames:
                return result
            stack.append(result)
            code, at, names, base = frames.pop()
        elif operation == "next":
            try:
                names[operand] = next(stack[-1])
            except StopIteration:
                stack.pop()
                at += more
        elif operation == "jump":
            at += more
        elif operation == "value":
            stack.append(operand)
        elif operation == "call":
            start = len(stack) - more
            function = functions.get(operand)
            if function is None:
                stack[start:] = [_built_in(operand, stack[start:])]
                continue
            parameters = function.parameters
            if len(parameters) != more:
                raise Fault(f"{operand} takes {len(parameters)} values")
            if len(frames) >= MAX_CALLS:
                raise Fault("too many calls")
            frames.append((code, at, names, base))
            code, at, base, names = function.code, 0, start, dict(zip(parameters, stack[start:], strict=True))
            del stack[start:]
        elif operation == "apply":
            right = stack.pop()
            stack[-1] = more(stack[-1], right)
        elif operation == "items":
            if not isinstance(stack[-1], tuple | str):
                raise Fault("for needs a list or text")
            stack[-1] = iter(stack[-1])
        elif operation == "list":
            items = stack[len(stack) - more :]
            del stack[len(stack) - more :]
            stack.append(_as_list(items))
        elif operation in ("and", "or"):
            if _truth(stack[-1]) is (operation == "or"):
                at += more
            else:
                stack.pop()
        elif operation == "not":
            stack[-1] = not _truth(stack[-1])
        elif operation == "truth":
            _truth(stack[-1])
        else:
            raise Fault("nothing is returned")
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
    if type(left) is not type(right):
        return False
    # Lists by what is written, because Python takes true for 1.
    return written(left) == written(right) if isinstance(left, tuple) else left == right


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
    "+": _arithmetic("+", operator.add), "-": _arithmetic("-", operator.sub), "*": _arithmetic("*", operator.mul),
    "/": _arithmetic("/", _divided), "%": _arithmetic("%", _rest),
    "<": _ordered("<", operator.lt), "<=": _ordered("<=", operator.le),
    ">": _ordered(">", operator.gt), ">=": _ordered(">=", operator.ge),
    "==": _same, "!=": lambda a, b: not _same(a, b), "in": _within,
}  # fmt: skip

BUILT_IN: Mapping[str, tuple[tuple[type, ...], ...]] = {
    "len": ((str, tuple),), "text": ((int, str),), "range": ((int,), (int,)), "add": ((tuple,), (int, str, bool)),
}  # fmt: skip
"""Name -> the types that each value may have. `range` counts from the first up to, not with, the second."""


def _built_in(name: str, values: Sequence[Value]) -> Value:
    kinds = BUILT_IN.get(name)
    if kinds is None:
        raise Fault(f"no function {name}")
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
