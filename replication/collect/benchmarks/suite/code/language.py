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

One statement per line; blocks close with `end`; indentation has no meaning. Values are integers, texts, true, false, and
flat lists of these; all are immutable. Functions of all files can call each other. Lines are compiled to code for a stack
machine (compiler.py, machine.py), so nothing recurses at run time. Every call ends: steps, nested calls and the size of
each value are bounded. Every mistake is a value, a text that starts with "error:".
"""

from collections.abc import Mapping, Sequence

from replication.collect.benchmarks.suite.code.compiler import Table, expression
from replication.collect.benchmarks.suite.code.machine import RETURN, Code, Fault, Function, Value, execute, written


class Program:
    """Functions that can call each other."""

    def __init__(self, functions: Mapping[str, Function], problem: str | None = None):
        self._functions = functions
        self._problem = problem

    def replaced(self, other: "Program") -> "Program":
        """Return this program with the functions of another in place of those with the same names."""
        return Program({**self._functions, **other._functions})

    def run(self, text: str) -> str:
        """Evaluate an expression, such as a call, and return its value as text; a mistake is "error: why"."""
        if self._problem:
            return f"error: {self._problem}"
        code = expression(text)
        return f"error: {code}" if isinstance(code, str) else self._run(code)

    def call(self, name: str, values: Sequence[Value]) -> str:
        """Call a function with values; equal to `run` with the values as text."""
        return self._run((*[("value", value, None) for value in values], ("call", name, len(values)), RETURN))

    def _run(self, code: Code) -> str:
        try:
            return written(execute(self._functions, code))
        except Fault as fault:
            return f"error: {fault}"


def link(tables: Mapping[str, Table]) -> Program:
    """Combine the functions of all files; the program's problem is the first problem of a file."""
    functions: dict[str, Function] = {}
    first = None
    for file, table in tables.items():
        twice = functions.keys() & table.functions.keys()
        problem = table.problem or (f"{min(twice)} is defined twice" if twice else None)
        first = first or (problem and f"{file} {problem}")
        functions |= table.functions
    return Program(functions, first)


def indented(lines: Sequence[str]) -> list[str]:
    """Indent each line by one blank per open block."""
    result: list[str] = []
    depth = 0
    for line in lines:
        word = line.partition(" ")[0]
        depth -= word in ("end", "elif", "else")
        result.append(" " * max(depth, 0) + line)
        depth += word in ("def", "if", "elif", "else", "while", "for")
    return result
