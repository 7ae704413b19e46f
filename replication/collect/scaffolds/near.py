"""Recognise a call that is written in another syntax than the scaffold's: it is malformed, and never a final answer.

Only calls of the task's own tools count, so that an answer may contain JSON, tags and code. Covered: JSON objects, whole
or broken, in a fence or not; the tags and tokens of other families; Python's call syntax on a line of its own; labels as in
ReAct.
Not covered: commands without any mark, such as `grep kavo`, which no rule tells from an answer in words.
"""

import functools
import itertools
import re
from typing import NamedTuple

from replication.collect.scaffolds.parsing import Decoded, Unreadable, decode
from replication.records import Json, Task, Tool


class _Patterns(NamedTuple):
    named: re.Pattern[str]
    """A JSON pair that names a tool."""
    keyed: re.Pattern[str]
    """A reply that is an object with a tool's name as its key; the second group is the first key inside."""
    marked: re.Pattern[str]
    """A tag or token of calls, followed by a tool's name."""
    labelled: re.Pattern[str]
    """A label of an action, with a tool's name alone behind it."""
    alone: re.Pattern[str]
    """A reply that is one line: a tool's name and brackets, whatever is in them."""
    bracketed: re.Pattern[str]
    """A line that begins with a tool's name and an opening bracket."""


MAX_LINES = 32
"""Lines of one reply that are read as calls; a longer one is code."""

_GIVEN = re.compile(
    r"""["'](?:arguments|parameters|args|kwargs|params|inputs?|action_input|tool_input)["']\s{0,9}[:=]"""
)
_MARK = (
    r"</?(?:tool_calls?|tools?|tool_use|tool_code|toolcall|function_calls?|functioncall|functions|invoke)\b[\s>]"
    r"|<function=|<\|(?:python_tag|tool_calls?)|<｜tool▁(?:call▁begin|sep)｜>|\[TOOL_(?:CALLS|REQUEST)\]|<\|channel\|>commentary|```tool_(?:code|call)"
)
_FILLER = r"(?:print|functions?|default_api|name|type|to|call)"


def attempted(text: str, task: Task) -> str | None:
    """Return the name of the tool that a reply tries to call in another syntax; None if the reply is no such call."""
    tools = {tool.name: tool for tool in task.tools}
    if not tools:
        return None
    patterns = _patterns(tuple(tools))
    named = patterns.named.search(text)
    if named and (_GIVEN.search(text) or _is_nothing(text[: named.start()] + text[named.end() :])):
        return named[1]
    if (keyed := patterns.keyed.match(text)) and _takes(tools[keyed[1]], keyed[2]):
        return keyed[1]
    for pattern in (patterns.marked, patterns.labelled, patterns.alone):
        if found := pattern.search(text):
            return found[1]
    for line in itertools.islice(patterns.bracketed.finditer(text), MAX_LINES):
        arguments = python_arguments(text, line.end(), tools[line[1]])
        if arguments and _ENDED.match(text, arguments.end):
            return line[1]
    return None


def python_arguments(text: str, at: int, tool: Tool) -> Decoded | None:
    """Read the literal arguments of a call in Python's syntax, from behind its opening bracket.

    Values without a name are those of the tool's parameters in order; one JSON object alone is the arguments themselves.
    None if this is no such call.
    """
    lone = _literal(text, at)
    if lone and isinstance(lone.value, dict) and (closed := _CLOSED.match(text, lone.end)):
        return Decoded(lone.value, closed.end())
    parameters = list(tool.parameters["properties"])
    arguments: dict[str, Json] = {}
    while not (closed := _CLOSED.match(text, at)):
        if arguments:
            if not (comma := _COMMA.match(text, at)):
                return None
            at = comma.end()
        keyword = _KEYWORD.match(text, at)
        if len(arguments) == len(parameters):
            return None
        name = keyword[1] if keyword else parameters[len(arguments)]
        value = _literal(text, keyword.end() if keyword else at)
        if value is None or name not in parameters or name in arguments:
            return None
        arguments[name], at = value
    return Decoded(arguments, closed.end())


def _literal(text: str, at: int) -> Decoded | None:
    if quoted := _SINGLE_QUOTED.match(text, at):
        return Decoded(re.sub(r"\\(.)", _unescaped, quoted[1], flags=re.DOTALL), quoted.end())
    if constant := _CONSTANT.match(text, at):
        return Decoded({"True": True, "False": False, "None": None}[constant[1]], constant.end())
    try:
        return decode(text, at)
    except Unreadable:
        return None


def _unescaped(escape: re.Match[str]) -> str:
    return {"n": "\n", "t": "\t", "r": "\r"}.get(escape[1], escape[1])


def _is_nothing(text: str) -> bool:
    return not re.search(r"\w", re.sub(r"```\w*", "", text))


def _takes(tool: Tool, parameter: str | None) -> bool:
    properties = tool.parameters["properties"]
    return parameter in properties if parameter else not properties


@functools.lru_cache(maxsize=64)
def _patterns(names: tuple[str, ...]) -> _Patterns:
    # Longest first: one name may begin another.
    one = "(" + "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True)) + ")"
    keys = r"(?:name|tool|tool_name|function|function_name|action|recipient_name)"
    return _Patterns(
        named=re.compile(rf"""["']{keys}["']\s{{0,9}}[:=]\s{{0,9}}["'](?:functions\.)?{one}["']"""),
        keyed=re.compile(rf"""\W{{0,20}}(?:json\s)?\s*\{{\s*["']{one}["']\s*:\s*\{{\s*(?:["'](\w{{1,100}})["']|\}})"""),
        marked=re.compile(rf"(?:{_MARK})\W{{0,20}}(?:{_FILLER}\W{{1,20}}){{0,3}}{one}(?!\w)"),
        labelled=re.compile(
            rf"^[ \t>*#-]{{0,9}}(?:Action|Tool|Function)[ \t*]{{0,9}}:[ \t*`]{{0,9}}{one}[ \t*`()]{{0,9}}$", re.M
        ),
        alone=re.compile(rf"\A[ \t>*`-]{{0,9}}{one}\([^()\n]{{0,2000}}\)[`;. \t\r\n]{{0,9}}\Z"),
        bracketed=re.compile(rf"^[ \t>*`-]{{0,9}}(?:print\(|functions\.|default_api\.|\[)?{one}\(", re.M),
    )


_CLOSED = re.compile(r"\s*\)")
_COMMA = re.compile(r"\s*,")
_KEYWORD = re.compile(r"\s*([A-Za-z_]\w{0,99})\s*[=:](?!=)\s*")
_SINGLE_QUOTED = re.compile(r"\s*'((?:[^'\\]|\\.)*)'", re.DOTALL)
_CONSTANT = re.compile(r"\s*(True|False|None)\b")
_ENDED = re.compile(r"[)\]`;.* \t\r]{0,9}$", re.M)
