"""Values, operations and the bounded stack machine of the small language; every mistake of a program is a Fault."""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

MAX_STEPS = 4_000
MAX_CALLS = 24
"""Depth of nested calls."""
MAX_NUMBER = 10**12
MAX_TEXT = 120
MAX_ITEMS = 40

Value = int | bool | str | tuple[Any, ...]
Step = tuple[str, Any, Any]
"""One step of the stack machine: operation, the name or value it is about, a jump distance, count or function."""
Code = tuple[Step, ...]

RETURN: Step = ("return", None, None)


class Fault(Exception):
    """A mistake in a program; becomes an error value at the edge of the language."""


class Function(NamedTuple):
    """A compiled definition."""

    parameters: tuple[str, ...]
    code: Code


class _Names(dict[str, Value]):
    """The variables of a call."""

    def __missing__(self, name: str) -> Value:
        raise Fault(f"no name {name}")


class _Frame(NamedTuple):
    """The state of a caller."""

    code: Code
    at: int
    names: _Names
    base: int
    """Height of the stack at the call."""


def execute(functions: Mapping[str, Function], code: Code) -> Value:
    """Run code that ends with `return`; raises Fault for a mistake in it and when a bound is exceeded."""
    stack: list[Any] = []
    frames: list[_Frame] = []
    names = _Names()
    at = base = 0
    for _ in range(MAX_STEPS):
        operation, operand, more = code[at]
        at += 1
        # Sorted by frequency; the rare operations, which only change the stack, are in `_rare`.
        if operation == "name":
            stack.append(names[operand])
        elif operation == "apply_value":
            stack[-1] = more(stack[-1], operand)
        elif operation == "apply_name":
            stack[-1] = more(stack[-1], names[operand])
        elif operation == "set":
            names[operand] = stack.pop()
        elif operation == "unless":
            if not _truth(stack.pop()):
                at += more
        elif operation == "return":
            result = stack.pop()
            # A return from inside a loop leaves the iterator of the loop on the stack.
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
        elif operation == "call":
            start = len(stack) - more
            function = functions.get(operand)
            if function is None:
                stack[start:] = [_built_in(operand, stack[start:])]
                continue
            if len(function.parameters) != more:
                raise Fault(f"{operand} takes {len(function.parameters)} values")
            if len(frames) >= MAX_CALLS:
                raise Fault("too many calls")
            frames.append(_Frame(code, at, names, base))
            names = _Names(zip(function.parameters, stack[start:], strict=True))
            code, at, base = function.code, 0, start
            del stack[start:]
        else:
            at += _rare(stack, operation, operand, more)
    raise Fault("too many steps")


def _rare(stack: list[Any], operation: str, operand: Any, more: Any) -> int:
    # Returns the number of steps to skip.
    if operation == "value":
        stack.append(operand)
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
        # The right side is skipped if the left one decides.
        if _truth(stack[-1]) is (operation == "or"):
            return more
        stack.pop()
    elif operation == "not":
        stack[-1] = not _truth(stack[-1])
    elif operation == "truth":
        _truth(stack[-1])
    else:
        raise Fault("nothing is returned")
    return 0


def written(value: Value) -> str:
    """Write a value in the syntax of the language."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return f'"{value}"' if isinstance(value, str) else f"[{', '.join(map(written, value))}]"


def _truth(value: Value) -> bool:
    if not isinstance(value, bool):
        raise Fault(f"{_kind(value)} is not true or false")
    return value


def _kind(value: Value) -> str:
    return {bool: "truth", int: "number", str: "text"}.get(type(value), "list")


def _as_list(items: Sequence[Value]) -> tuple[Value, ...]:
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
    # Lists are compared as text, because Python's True equals 1.
    return written(left) == written(right) if isinstance(left, tuple) else left == right


def _within(left: Value, right: Value) -> bool:
    if isinstance(right, str) and isinstance(left, str):
        return left in right
    if isinstance(right, tuple):
        return any(_same(left, item) for item in right)
    raise Fault(f"{_kind(left)} in {_kind(right)}")


def item(values: Value, place: Value) -> Value:
    """Return the item of a list or text at a place, from 0; the operation of `values[place]`."""
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
"""Name -> the allowed types of each value. `range` excludes its second value."""


def _built_in(name: str, values: Sequence[Value]) -> Value:
    kinds = BUILT_IN.get(name)
    if kinds is None:
        raise Fault(f"no function {name}")
    if len(values) != len(kinds) or not all(type(v) in kind for v, kind in zip(values, kinds, strict=True)):
        raise Fault(f"{name} does not take {', '.join(map(_kind, values)) or 'nothing'}")
    return _WORK[name](*values)


def _range(low: int, high: int) -> Value:
    if high - low > MAX_ITEMS:
        raise Fault("list too long")
    return tuple(range(low, high))


def _add(items: tuple[Value, ...], value: Value) -> Value:
    return _as_list((*items, value))


_WORK: Mapping[str, Callable[..., Value]] = {"len": len, "text": str, "range": _range, "add": _add}
