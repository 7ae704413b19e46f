"""The format of chat completions: from a request to the bytes that are sent, and from an answer to a reply or a failure."""

import datetime
import json
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Literal, NamedTuple

from replication.collect.engines.endpoint.options import Options
from replication.collect.engines.endpoint.tool_calls import to_messages, to_text
from replication.records import Json, Message, Reply, Request

_PASSING = frozenset({408, 409, 425, 429})
"""Codes of the client's class that another attempt may not meet; so are all of the server's class."""

_OVERFLOW = re.compile(
    "maximum context length|context_length_exceeded|exceed_context_size|longer than the model's context length"
    # vLLM's words if the prompt has exactly the length of the context: it lowers `max_tokens` to the room that is left.
    "|max_tokens must be at least 1, got 0"
)


class Failure(Exception):
    """An attempt failed, and another may succeed."""

    def __init__(self, problem: str, *, unreachable: bool = False, retry_after_s: float = 0.0):
        super().__init__(problem)
        self.unreachable = unreachable
        """No connection: no request can be answered there now."""
        self.retry_after_s = retry_after_s
        """Pause that the server asked for; 0 if it asked for none."""


class Refusal(Exception):
    """The server answered what no further attempt would change."""


class Answer(NamedTuple):
    """A complete HTTP answer."""

    status: int
    headers: Mapping[str, str]
    data: bytes


class Parts(NamedTuple):
    """A reply in its two parts."""

    thinking: str
    text: str


def body(
    request: Request, model: str, options: Options, template_options: Mapping[str, Json] = MappingProxyType({})
) -> bytes:
    """Write the request of one turn.

    template_options : variables of the chat template, for vLLM and servers like it.
    """
    sampling = request.sampling
    is_parsed = bool(request.tools) and options.tool_calls == "parsed"
    messages = to_messages(request.messages) if is_parsed else [_plain(message) for message in request.messages]
    if options.send_thinking:
        said = (message for message in request.messages if message.role == "assistant")
        for message, entry in zip(said, (entry for entry in messages if entry["role"] == "assistant")):
            if message.thinking:  # servers differ in the name of this field
                entry |= {"reasoning": message.thinking, "reasoning_content": message.thinking}
    fields: dict[str, Json] = {
        **options.extra,
        "model": model,
        "messages": messages,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": request.seed,
        options.max_tokens_name: sampling.max_tokens,
    }
    if template_options:
        fields["chat_template_kwargs"] = template_options
    if sampling.top_k != -1:
        fields["top_k"] = sampling.top_k
    if request.stop:
        fields["stop"] = request.stop
    if request.tools:
        fields["tools"] = [
            {"type": "function", "function": {"name": t.name, "description": t.description, "parameters": t.parameters}}
            for t in request.tools
        ]
        if not is_parsed:
            # vLLM shows the tools to the model all the same, and leaves its text alone: also tokens that mark calls.
            fields |= {"tool_choice": "none", "skip_special_tokens": False}
    if request.schema is not None:
        schema = {"name": "reply", "schema": request.schema, "strict": options.strict_schema}
        fields["response_format"] = {"type": "json_schema", "json_schema": schema}
    return _encoder.encode(fields).encode()


def reply(answer: Answer, model: str, context: int) -> Reply:
    """Read the reply of one turn; anything but a complete reply of this model raises Failure or Refusal.

    context : longest prompt plus reply, tokens.
    """
    if answer.status != 200:
        return _of_status(answer)
    value = parse(answer.data)
    if value.get("error"):
        raise Failure(f"it answered an error: {json.dumps(value['error'])}")
    if value.get("model") != model:
        raise Refusal(
            f"it answered as model {value.get('model')!r} instead of {model!r}, so the reply is not used. Serve the "
            f"checkpoint under this name, or set `engine.options.reply_model` if both are one checkpoint"
        )
    match value:
        case {"choices": [{"message": dict(message), "finish_reason": str(reason)}]}:
            pass
        case _:
            raise Failure("its reply has not exactly one choice with a message and a reason for its end")
    n_prompt, n_completion = (_count(value, name) for name in ("prompt_tokens", "completion_tokens"))
    if reason == "content_filter":
        raise Refusal("its filter of contents ended the reply, which is therefore not the model's")
    if reason not in ("stop", "tool_calls", "function_call", "length"):
        raise Failure(f"it ended the reply with {reason!r}")
    # vLLM lowers `max_tokens` to the room that the prompt leaves in the context.
    cut: Literal["context", "length"] = "context" if n_prompt + n_completion >= context else "length"
    parts = _parts(message)
    return Reply(
        text=parts.text, thinking=parts.thinking, finish=cut if reason == "length" else "stop",
        n_prompt_tokens=n_prompt, n_completion_tokens=n_completion,
    )  # fmt: skip


def parse(data: bytes) -> dict[str, Json]:
    """Parse a JSON object; Failure if the data is anything else."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise Failure(f"its answer is not JSON: {data[:80].decode('utf-8', 'replace')!r}") from None
    if not isinstance(value, dict):
        raise Failure("its answer is not a JSON object")
    return value


def refused(answer: Answer) -> Failure | Refusal:
    """Describe an answer without result."""
    if 300 <= answer.status < 400:
        return Refusal(
            "it redirects, which is not followed, as the key would go along. Name the address it redirects to"
        )
    text = f"HTTP {answer.status}: {_message(answer.data)}"
    if answer.status in _PASSING or answer.status >= 500:
        return Failure(text, retry_after_s=_retry_after(answer.headers.get("Retry-After", "")))
    return Refusal(text)


def _of_status(answer: Answer) -> Reply:
    if answer.status in (400, 413, 422) and _OVERFLOW.search(answer.data.decode("utf-8", "replace")):
        return Reply(text="", finish="context", n_prompt_tokens=0, n_completion_tokens=0)
    raise refused(answer)


def _text(message: Mapping[str, Json]) -> str:
    content = message.get("content")
    if content is None:
        content = ""
    if not isinstance(content, str):
        raise Failure("the content of its reply is not a text")
    if message.get("tool_calls"):
        try:
            content = to_text(content, message["tool_calls"])
        except ValueError as error:
            raise Failure(f"its reply has {error}") from None
    return content


def _count(value: Mapping[str, Json], name: str) -> int:
    usage = value.get("usage")
    count = usage.get(name) if isinstance(usage, dict) else None
    if not isinstance(count, int) or count < 0:
        raise Failure(f"its reply has no count `usage.{name}`, which the limits of an episode need")
    return count


def _parts(message: Mapping[str, Json]) -> Parts:
    text = _text(message)
    thinking = message.get("reasoning_content") or message.get("reasoning") or ""  # two names of one field
    if not isinstance(thinking, str):
        raise Failure("the thinking of its reply is not a text")
    if not thinking and (text.lstrip().startswith("<think>") or "</think>" in text):
        # A server without reasoning parser leaves the thinking in the content. Its template may have opened the tag.
        thinking, _, text = text.lstrip().removeprefix("<think>").partition("</think>")
        return Parts(thinking.strip(), text.lstrip("\n"))
    return Parts(thinking, text)


def _plain(message: Message) -> dict[str, Json]:
    return {"role": message.role, "content": message.content}


def _message(data: bytes) -> str:
    try:
        value = json.loads(data)
        error = value.get("error", value)
        return str(error.get("message", error) if isinstance(error, dict) else error)
    except (ValueError, RecursionError, AttributeError):
        return data[:300].decode("utf-8", "replace")


def _retry_after(value: str) -> float:
    """Return the seconds that a Retry-After header asks for, which has seconds or a date; 0 if it has neither."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    if until.tzinfo is None:  # "-0000": UTC, without saying where
        until = until.replace(tzinfo=datetime.UTC)
    return max(0.0, (until - datetime.datetime.now(datetime.UTC)).total_seconds())


# Escapes to ASCII, so that a lone surrogate in a model's text passes. Tools and schemas are mappings, which may be no dicts.
_encoder = json.JSONEncoder(separators=(",", ":"), check_circular=False, default=dict)
