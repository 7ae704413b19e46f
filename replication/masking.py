"""Recognise keys and passwords in settings, environment and texts, so that none is stored, printed or published.

A secret is recognised by the name that it has, by the shape of well-known keys, and by being the value of an environment
variable with such a name. Not covered: a password of no known shape under an innocent name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

MASK = "[masked]"
"""Stands for a secret; says in the output that something was left out."""

_WORDS = {
    "token", "key", "apikey", "secret", "password", "passwd", "pwd", "passphrase", "credential", "credentials",
    "authorization", "auth", "cookie", "bearer",
}  # fmt: skip
"""The last word of a name that holds a secret, as in hf_token or AWS_SECRET_ACCESS_KEY."""
_SPECIAL = "bos|eos|pad|unk|mask|sep|cls|image|audio|video|bot|eot|think"
"""Tokens of a vocabulary: `eos_token` is no secret."""
_CONTAINERS = {"headers", "extra_headers", "http_headers", "cookies"}
"""Mappings whose values may all be secret."""
_SHAPES = re.compile(
    r"""
    \b(?:hf_|api_org_)[A-Za-z0-9]{16,}                      # Hugging Face
    | \bsk-[A-Za-z0-9_-]{16,}                               # OpenAI, Anthropic and others
    | \b(?:AKIA|ASIA)[A-Z0-9]{16}\b                         # AWS
    | \b(?:gh[pousr]_|github_pat_|glpat-)[A-Za-z0-9_-]{16,} # GitHub, GitLab
    | \bxox[a-z]-[A-Za-z0-9-]{10,}                          # Slack
    | \bAIza[A-Za-z0-9_-]{30,}                              # Google
    | \bwandb_v\d_[A-Za-z0-9_]{16,}
    | \blocal-[0-9a-f]{40}\b                                # own servers of wandb
    | \beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+ # JSON web tokens
    | -----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY-----.*?(?:-----END[ ][A-Z ]*-----|\Z)
    """,
    re.VERBOSE | re.DOTALL,
)
_USER_OF_URL = re.compile(r"(?<=://)[^\s/@'\"]+(?=@)")
_BEARER = re.compile(r"(?i)(\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}")
_ASSIGNED = re.compile(
    rf"""(?ix)
    (?<![\w-])
    ( (?!(?:{_SPECIAL})_) (?:[\w-]+[_-])? (?:token|api_?key|access_?key|secret_?key|private_?key|secret|password|passwd)
      ["']? \s* [:=] \s* ["']? )
    (?! (?:true|false|none|null|\d{{1,8}}) (?![\w-]) | \[masked )
    ([^\s"',;&)}}\]]{{4,}})
    """
)
"""NAME=VALUE or 'NAME': 'VALUE' in a text; also the query of a URL."""


def names_a_secret(name: str) -> bool:
    """Tell whether a setting or variable of this name holds a key or a password."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    return re.split(r"[^a-z0-9]+", words)[-1] in _WORDS and not re.search(rf"(?:^|[^a-z])(?:{_SPECIAL})_token$", words)


def mask_text(text: str) -> str:
    """Replace everything that looks like a secret, and every secret of the environment, by `MASK`."""
    for value in _secrets_of_environment():
        text = text.replace(value, MASK)
    text = _USER_OF_URL.sub(MASK, _SHAPES.sub(MASK, text))
    return _ASSIGNED.sub(rf"\1{MASK}", _BEARER.sub(rf"\1{MASK}", text))


def masked(value: Any, *, secret: bool = False) -> Any:
    """Copy a JSON value with every secret replaced by `MASK`; numbers, true and null are none."""
    if isinstance(value, str):
        return MASK if secret and value else mask_text(value)
    if isinstance(value, Mapping):
        return {key: masked(inner, secret=secret or _holds_secrets(str(key))) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [masked(inner, secret=secret) for inner in value]
    return value


def find_secrets(value: Any, path: str = "", *, secret: bool = False) -> Iterator[str]:
    """List the positions of secrets in a JSON value, such as `engine.options.llm.hf_token`."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            here = f"{path}.{key}" if path else str(key)
            yield from find_secrets(inner, here, secret=secret or _holds_secrets(str(key)))
    elif isinstance(value, list | tuple):
        for at, inner in enumerate(value):
            yield from find_secrets(inner, f"{path}[{at}]", secret=secret)
    elif isinstance(value, str) and value and masked(value, secret=secret) != value:
        yield path


def _holds_secrets(name: str) -> bool:
    return names_a_secret(name) or name.lower() in _CONTAINERS


def _secrets_of_environment() -> list[str]:
    # Longest first: a secret may contain another. Short values and paths to key files would mask innocent words.
    values = {
        value for name, value in os.environ.items()
        if len(value) >= 8 and value[0] not in "/~." and names_a_secret(name)
    }  # fmt: skip
    return sorted(values, key=len, reverse=True)
