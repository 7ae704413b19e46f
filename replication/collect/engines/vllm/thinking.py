"""Thinking of a reply, apart from its text: the tags of a model's family, and where they open in a prompt."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from replication.collect.engines.vllm.stepping import first_line
from replication.errors import EngineError
from replication.records import Json

State = Literal["open", "closed", "free"]
"""How a prompt ends. open: inside the thinking; closed: after an empty one, so the model does not think; free: neither."""


class Parts(NamedTuple):
    """A reply in its two parts."""

    thinking: str
    text: str


class Thinking:
    """Finds the thinking in prompts and replies.

    Parameters
    ----------
    tokenizer : of the model.
    parser : name of the reasoning parser of vLLM whose tags the model uses. With None these are <think> and </think>, and
        a model may think or not; vLLM then applies a schema from the first token.
    options : variables of the chat template, on which some parsers depend.
    """

    def __init__(self, tokenizer: Any, parser: str | None = None, options: Mapping[str, Json] | None = None):
        self.parser = parser
        self.parser_options = {"chat_template_kwargs": dict(options or {})}
        self.start, self.end = "<think>", "</think>"
        if parser is None:
            return
        try:
            built = _parser_class(parser)(tokenizer, **self.parser_options)
        except Exception as error:  # each parser has its own way to say that a tokenizer is not of its family
            raise EngineError(
                f"reasoning parser `{parser}` does not fit the model's tokenizer: {first_line(error)}. "
                f"Fix `reasoning_parser` in conf/model/."
            ) from error
        start, end = built.reasoning_start_str, built.reasoning_end_str
        if not start or not end:
            raise EngineError(
                f"reasoning parser `{parser}` has no tags around the thinking, so it cannot be kept apart. "
                f"Use a parser with tags, such as deepseek_r1, as `reasoning_parser` in conf/model/."
            )
        self.start, self.end = start.strip(), end.strip()

    def state(self, prompt: str) -> State:
        """Tell how a prompt ends."""
        tail = prompt.rstrip()
        return "open" if tail.endswith(self.start) else "closed" if tail.endswith(self.end) else "free"

    def split(self, reply: str, state: State) -> Parts:
        """Split a reply to a prompt that ends in this state; thinking without end leaves no text."""
        begun = reply.lstrip().startswith(self.start)
        # With a named parser the start tag may be missing: some models leave it out.
        if not (begun or state == "open" or (self.parser and state == "free" and self.end in reply)):
            return Parts("", reply)
        if begun:
            reply = reply.lstrip().removeprefix(self.start)
        thinking, _, text = reply.partition(self.end)
        return Parts(thinking.strip(), text.lstrip("\n"))


def check_parser(name: str) -> None:
    """Raise EngineError unless vLLM has a reasoning parser of this name."""
    _parser_class(name)


def _parser_class(name: str) -> Any:
    from vllm.reasoning import ReasoningParserManager

    names = ReasoningParserManager.list_registered()
    if name not in names:
        raise EngineError(
            f"vLLM has no reasoning parser `{name}`; allowed: {', '.join(names)}. Fix `reasoning_parser` in conf/model/."
        )
    try:
        return ReasoningParserManager.get_reasoning_parser(name)
    except ImportError as error:
        raise EngineError(
            f"reasoning parser `{name}` of vLLM cannot be imported ({error}). Install that package, or use a parser with "
            f"the same tags: deepseek_r1 for <think> and </think>."
        ) from error
