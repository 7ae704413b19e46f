"""Options of the endpoint engine, their checks, and those among them that leave the text alone."""

import os
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from replication.errors import ConfigError, EngineError
from replication.masking import find_secrets


@dataclass
class Options:
    """Settings `engine.options` of kind endpoint."""

    urls: list[str]  # base addresses, such as http://127.0.0.1:8000/v1; all serve the same checkpoint
    model: str | None = None  # name of the checkpoint at the servers; null: its path
    reply_model: str | None = None  # name that replies state, where it differs (a dated version); null: `model`
    tool_calls: str = "parsed"  # scaffold native: parsed by the server, or left in the text (`text`, vLLM only)
    send_thinking: bool = (
        False  # earlier thinking goes with a request, for servers whose template decides about it (vLLM)
    )
    strict_schema: bool = True  # scaffold json: the server must follow the schema, or refuse the request
    max_tokens_name: str = "max_tokens"  # some servers know only max_completion_tokens
    extra: dict[str, Any] = field(default_factory=dict)  # further fields of every request, such as repetition_penalty
    api_key_env: str | None = None  # environment variable that holds the key; null: no key
    max_in_flight: int = 64  # requests at one server
    connect_s: float = 10.0  # time limits of an attempt: to connect,
    read_s: float = 300.0  # between two pieces of a reply,
    request_s: float = 600.0  # and in total
    retries: int = 5  # further attempts of a request after a failure that may pass
    backoff_s: float = 0.5  # first pause between attempts at most, doubled after each
    max_backoff_s: float = 30.0
    outage_s: float = 120.0  # all servers down for longer: the run stops
    max_reply_mib: float = 8.0  # a longer reply is a failure


SPEED_ONLY = frozenset(
    {
        "urls", "api_key_env", "max_in_flight", "connect_s", "read_s", "request_s", "retries", "backoff_s",
        "max_backoff_s", "outage_s", "max_reply_mib",
    }
)  # fmt: skip
"""Options that say where a server is and how long we wait for it."""

OURS = frozenset(
    {
        "model", "messages", "temperature", "top_p", "top_k", "seed", "n", "stream", "stop", "tools", "tool_choice",
        "response_format", "chat_template_kwargs", "max_tokens", "max_completion_tokens",
    }
)  # fmt: skip
"""Fields of a request that `extra` must not set: they come from the run's settings."""

_CHOICES = {"tool_calls": ("parsed", "text"), "max_tokens_name": ("max_tokens", "max_completion_tokens")}
_POSITIVE = ("connect_s", "read_s", "request_s", "backoff_s", "max_backoff_s", "outage_s", "max_reply_mib")


def check(options: Options) -> None:
    """Raise ConfigError if a value is not allowed; no message repeats a URL that may hold a secret."""
    if not options.urls:
        raise ConfigError("`engine.options.urls` is empty. Name at least one server, such as http://127.0.0.1:8000/v1.")
    if len(set(options.urls)) != len(options.urls):
        raise ConfigError("`engine.options.urls` names a server twice. Name each once.")
    for at, url in enumerate(options.urls):
        _check_url(f"engine.options.urls[{at}]", url)
    for name, allowed in _CHOICES.items():
        if getattr(options, name) not in allowed:
            raise ConfigError(
                f"`engine.options.{name}` is {getattr(options, name)!r}; allowed: {', '.join(allowed)}. Choose one."
            )
    ours = sorted(OURS & set(options.extra))
    if ours:
        raise ConfigError(
            f"`engine.options.extra` sets `{'`, `'.join(ours)}`, which other settings decide. Set it under "
            f"`sampling`, `engine` or the model's `template_options`, or remove it."
        )
    if any(find_secrets(options.extra)):
        raise ConfigError(
            "`engine.options.extra` names a key or a password, which the manifest would repeat. Put the key into an "
            "environment variable and name that in `engine.options.api_key_env`."
        )
    if options.api_key_env is not None and not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", options.api_key_env):
        raise ConfigError(
            "`engine.options.api_key_env` is not the name of an environment variable, such as OPENAI_API_KEY. It names "
            "the variable and never holds the key itself."
        )
    for name in _POSITIVE:
        if not 0 < getattr(options, name) < float("inf"):
            raise ConfigError(f"`engine.options.{name}` must be above 0; got {getattr(options, name)}. Raise it.")
    for name, low in (("max_in_flight", 1), ("retries", 0)):
        if getattr(options, name) < low:
            raise ConfigError(f"`engine.options.{name}` must be at least {low}; got {getattr(options, name)}.")


def _check_url(key: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, or half a bracket
        is_address = False
    if not is_address:
        raise ConfigError(f"`{key}` is not an address such as http://127.0.0.1:8000/v1. Fix conf/ or the command line.")
    if "@" in parts.netloc:
        raise ConfigError(
            f"`{key}` has a user or a password, which logs would repeat. Put the key into an environment variable and "
            f"name that in `engine.options.api_key_env`."
        )
    if parts.query or parts.fragment:
        raise ConfigError(f"`{key}` has a query or a fragment after the path. Give the address up to /v1 only.")


def api_key(options: Options) -> str | None:
    """Read the key from the environment; EngineError if the variable is not set or holds no key."""
    if options.api_key_env is None:
        return None
    key = os.environ.get(options.api_key_env, "").strip()
    if not key:
        raise EngineError(
            f"`engine.options.api_key_env` names `{options.api_key_env}`, which is not set. Export it, or set the option "
            f"to null for a server without a key."
        )
    if not (key.isascii() and key.isprintable()):
        raise EngineError(f"`{options.api_key_env}` holds characters that no header may have. Export the key alone.")
    return key
