"""Chat templates: from messages and tools to the token ids of a prompt, on templates of any family.

When a checkpoint is loaded, its template is probed by rendering: which roles it shows, whether it has a slot for tools and
how it ends a turn. What a template cannot show as it is becomes a named adaptation, which the manifest records.
"""

import copy
import datetime
import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from replication.collect.engines.vllm.control_tokens import ControlTokens
from replication.collect.engines.vllm.thinking import State, Thinking
from replication.errors import EngineError, RequestRefused
from replication.records import Json, Message, Request, Tool

_PROBES = {role: f"a probe of role {role}" for role in ("system", "user", "assistant", "tool")}
_PROBE_TOOL = Tool(
    name="probe_of_tools", description="a probe", parameters={"type": "object", "properties": {}, "required": []}
)
MAX_OPENINGS = 5_000
"""First prompts that are kept at most."""
_DIALOGUE = ("system", "user", "assistant", "tool", "assistant", "tool")


class Prompt(NamedTuple):
    """A rendered request."""

    ids: list[int]
    """Shared between requests: never changed."""
    state: State
    """Whether it ends inside the model's thinking."""


class Chat:
    """The chat format of one checkpoint; EngineError if its template cannot hold an episode.

    Parameters
    ----------
    tokenizer : of the checkpoint.
    name : of the checkpoint, for messages.
    date : today's date as templates see it; the real one would change prompts from day to day.
    options : variables of the template, such as `enable_thinking`.
    """

    def __init__(
        self, tokenizer: Any, *, name: str, date: datetime.date, thinking: Thinking, options: Mapping[str, Json]
    ):
        self._tokenizer, self._name, self.thinking = tokenizer, name, thinking
        self._templates = _templates(tokenizer, name)
        self._check_options(options)
        moment = datetime.datetime.combine(date, datetime.time())
        self._variables = {**options, "strftime_now": moment.strftime}
        self._control = ControlTokens(tokenizer)
        self._as_user: frozenset[str] = frozenset()
        if not self._shows("user"):
            raise EngineError(f"the chat template of `{name}` does not show the text of a user. Fix the checkpoint.")
        if not self._shows("system", "user", tolerant=True):
            self._as_user |= {"system"}
        if not self._shows("user", "assistant", "tool", "assistant", "tool", tolerant=True):
            self._as_user |= {"tool"}
        if not self._shows(*_DIALOGUE):
            raise EngineError(f"the chat template of `{name}` does not show all messages of a dialogue with results.")
        dialogue = self._render(self._probe(*_DIALOGUE))
        ends = (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token)
        self._frame = self._control.within(dialogue) | {token for token in ends if token is not None}
        self._end_of_turn = self._control.directly_after(dialogue, _PROBES["assistant"])
        self._date = date
        self._openings: dict[tuple[tuple[str, str], ...], Prompt] = {}

    def named(self, name: str) -> "Chat":
        """Return this chat format for another checkpoint with the same tokenizer and template."""
        chat = copy.copy(self)
        chat._name = name
        return chat

    # -- what the template can do ---------------------------------------------------------------------------------

    def facts(self) -> dict[str, Json]:
        """Return what the manifest records: adaptations, date, variables of the template."""
        options = {key: value for key, value in self._variables.items() if key != "strftime_now"}
        return {
            "adaptations": [f"messages of role {role} are shown as role user" for role in sorted(self._as_user)],
            "date": self._date.isoformat(),
            "template_options": options,
            "reasoning_parser": self.thinking.parser,
            "stop_token_ids": self.stop_token_ids,
        }

    @property
    def stop_token_ids(self) -> list[int]:
        """The token that ends a turn in the template, where the tokenizer does not name it as end of sequence."""
        ends = self._end_of_turn is not None and self._end_of_turn != self._tokenizer.eos_token_id
        return [self._end_of_turn] if ends and self._end_of_turn is not None else []

    @functools.cached_property
    def thinks(self) -> bool:
        """Whether replies may begin with thinking: the template opens it, or has a switch that would close it."""
        plain = self._probe("user")
        state = self.thinking.state(self._render(plain))
        if state != "free" or not any("enable_thinking" in template for template in self._templates.values()):
            return state == "open"
        return self.thinking.state(self._render(plain, enable_thinking=False)) == "closed"

    @functools.cached_property
    def _has_tool_slot(self) -> bool:
        return _PROBE_TOOL.name in self._render(self._probe("system", "user"), tools=_described([_PROBE_TOOL]))

    def _check_options(self, options: Mapping[str, Json]) -> None:
        for option in options:
            if not any(re.search(rf"\b{re.escape(option)}\b", template) for template in self._templates.values()):
                raise EngineError(
                    f"the chat template of `{self._name}` has no variable `{option}`, so it would have no effect. "
                    f"Fix `template_options` in conf/model/."
                )

    def _probe(self, *roles: str) -> list[dict[str, Json]]:
        return self._adapted([{"role": role, "content": _PROBES[role]} for role in roles])

    def _shows(self, *roles: str, tolerant: bool = False) -> bool:
        try:
            rendered = self._render(self._probe(*roles))
        except RequestRefused:
            if tolerant:
                return False
            raise
        return all(rendered.count(_PROBES[role]) >= roles.count(role) for role in roles)

    # -- rendering ------------------------------------------------------------------------------------------------

    def prompt(self, request: Request) -> Prompt:
        """Apply the chat template to a request; RequestRefused if it cannot show the request.

        The first prompts of tasks are kept: they come back in every trial and for every checkpoint.
        """
        opening = None
        if not request.tools and request.schema is None and all(m.role in ("system", "user") for m in request.messages):
            opening = tuple((m.role, m.content) for m in request.messages)
            if opening in self._openings:
                return self._openings[opening]
        prompt = self._prompt(request)
        if opening is not None:
            if len(self._openings) == MAX_OPENINGS:
                self._openings.clear()
            self._openings[opening] = prompt
        return prompt

    def _prompt(self, request: Request) -> Prompt:
        if request.tools and not self._has_tool_slot:
            raise RequestRefused(
                "this model's chat template has no tool slot, so it would never see the tools of scaffold `native`. "
                "Use `react`, `json` or `compact`."
            )
        messages = self._adapted(
            [self._message(message, has_tools=bool(request.tools)) for message in request.messages]
        )
        rendered = self._render(messages, tools=self._control.hide(_described(request.tools)))
        for message in messages:
            if message["role"] in ("system", "user") and message["content"].strip() not in rendered:
                raise RequestRefused(
                    f"the chat template of `{self._name}` does not show a message of role {message['role']}: "
                    f"{message['content'][:80]!r}"
                )
        state = self.thinking.state(rendered)
        if request.schema is not None and self.thinking.parser is None and self.thinks:
            raise RequestRefused(
                f"`{self._name}` thinks before it replies, and the schema of scaffold `json` would apply to the thinking. "
                f"Set `reasoning_parser` in conf/model/ (deepseek_r1 for <think> and </think>), or switch the thinking "
                f"off by `template_options`."
            )
        try:
            return Prompt(self._control.encode(rendered), state)
        except (TypeError, ValueError) as error:  # for example of a lone surrogate
            raise RequestRefused(f"the tokenizer of `{self._name}` refused a prompt: {error}") from error

    def _message(self, message: Message, *, has_tools: bool) -> dict[str, Json]:
        # Tokens with which a model marks its calls stay tokens in its own messages; those of the template's frame do not.
        only = self._frame if has_tools and message.role == "assistant" else None
        entry: dict[str, Json] = {"role": message.role, "content": self._control.hide(message.content, only)}
        if message.thinking:
            # Whether earlier thinking is shown is the template's decision; families differ in the name.
            thinking = self._control.hide(message.thinking, only)
            entry |= {"reasoning_content": thinking, "reasoning": thinking}
        return entry

    def _adapted(self, messages: Sequence[dict[str, Json]]) -> list[dict[str, Json]]:
        """Show roles that the template lacks as role user, joined with a message of that role before or after."""
        adapted: list[dict[str, Json]] = []
        for message in messages:
            role = "user" if message["role"] in self._as_user else message["role"]
            if self._as_user and adapted and role == adapted[-1]["role"] == "user":
                adapted[-1] = {"role": "user", "content": f"{adapted[-1]['content']}\n\n{message['content']}"}
            else:
                adapted.append({**message, "role": role})
        return adapted

    def _render(self, messages: list[dict[str, Json]], tools: list[Json] | None = None, **variables: Json) -> str:
        template = self._templates["tool_use" if tools and "tool_use" in self._templates else "default"]
        try:
            rendered: str = self._tokenizer.apply_chat_template(
                messages, tools=tools or None, chat_template=template, add_generation_prompt=True, tokenize=False,
                **(self._variables | variables),
            )  # fmt: skip
        except Exception as error:  # a template is a program: it may raise anything
            raise RequestRefused(
                f"the chat template of `{self._name}` refused a conversation: {type(error).__name__}: {error}"[:400]
            ) from error
        return rendered


def _templates(tokenizer: Any, name: str) -> dict[str, str]:
    """Return the templates of a tokenizer by name; always with one named default."""
    templates = getattr(tokenizer, "chat_template", None)
    if isinstance(templates, str):
        return {"default": templates}
    if isinstance(templates, dict) and len(templates) == 1:
        return {"default": next(iter(templates.values()))}
    if not isinstance(templates, dict) or "default" not in templates:
        has = f"has several chat templates, {', '.join(templates)}, none named default" if templates else "has none"
        raise EngineError(
            f"`{name}` needs a chat template and {has}: it may be a base model. Use its instruct version, or put a "
            f"chat_template.jinja into a local copy of the checkpoint."
        )
    return templates


def _described(tools: Sequence[Tool]) -> list[Json]:
    return [
        {"type": "function", "function": {"name": t.name, "description": t.description, "parameters": t.parameters}}
        for t in tools
    ]
