"""Control tokens that are spelt out in a message: they become ordinary text, never a token that ends a turn or opens one.

Before rendering, each is replaced by a placeholder, so that afterwards those of the template can be told from those of the
messages. The former are then written as aliases, which a copy of the tokenizer knows as tokens, and the latter as they were
spelt, which the copy reads as text. A prompt without spelt-out control tokens is encoded by the tokenizer itself.

Not covered: marks that are no tokens, such as [INST] in vocabularies that lack it.
"""

import re
from collections.abc import Collection, Iterable
from typing import Any

from replication.collect.engines.vllm.encoding import Encoder
from replication.errors import RequestRefused
from replication.records import Json

# Noncharacters of Unicode, which no text that is meant for exchange contains.
_OPEN, _CLOSE = "\ufdd0", "\ufdd1"
_NONCHARACTERS = {ord(_OPEN): "\ufffd", ord(_CLOSE): "\ufffd"}
_PLACEHOLDER = re.compile(f"{_OPEN}(\\d+){_CLOSE}")


class ControlTokens:
    """The control tokens of one tokenizer."""

    def __init__(self, tokenizer: Any):
        self._tokenizer, self._encoder = tokenizer, Encoder(tokenizer)
        special = set(tokenizer.all_special_tokens)
        self._tokens = {
            str(token.content): (index, token)
            for index, token in tokenizer.added_tokens_decoder.items()
            if token.special or str(token.content) in special
        }
        self._names = sorted(self._tokens, key=len, reverse=True)  # a longer one may contain a shorter one
        self._pattern = re.compile("|".join(re.escape(name) for name in self._names) or "(?!)")
        self._copy: Any = None
        self._index_of_alias: dict[int | None, int] = {}

    def within(self, text: str) -> set[str]:
        """Return the control tokens in a text."""
        return set(self._pattern.findall(text))

    def directly_after(self, text: str, mark: str) -> int | None:
        """Return the id of the control token that follows a mark in a text, after blanks at most; None without one."""
        found = self._pattern.match(text.partition(mark)[2].lstrip())
        return self._tokens[found[0]][0] if found else None

    def hide(self, value: Json, only: Collection[str] | None = None) -> Json:
        """Replace control tokens in the strings of a JSON value by placeholders.

        only : tokens to replace; None replaces all.
        """
        if isinstance(value, str):
            if _OPEN in value or _CLOSE in value:
                value = value.translate(_NONCHARACTERS)
            hidden = self._names if only is None else only
            return self._pattern.sub(lambda m: self._placeholder(m[0]) if m[0] in hidden else m[0], value)
        if isinstance(value, dict):
            return {self.hide(key, only): self.hide(inner, only) for key, inner in value.items()}
        return [self.hide(item, only) for item in value] if isinstance(value, list | tuple) else value

    def _placeholder(self, name: str) -> str:
        return f"{_OPEN}{self._names.index(name)}{_CLOSE}"

    def encode(self, rendered: str) -> list[int]:
        """Encode a rendered prompt; what was hidden in it becomes ordinary tokens of the same text."""
        if _OPEN not in rendered:
            return self._encoder(rendered)
        if self._copy is None:
            self._copy = self._copied()
        aliased, n_control = self._pattern.subn(lambda m: self._alias(m[0]), rendered)
        spelt = _PLACEHOLDER.sub(lambda m: self._names[int(m[1])], aliased)
        encoded = self._copy.encode(spelt, add_special_tokens=False).ids
        ids = [self._index_of_alias.get(index, index) for index in encoded]
        if self._count(ids) != n_control:
            raise RequestRefused(
                f"control tokens that a message spells out ({', '.join(sorted(self.within(spelt)))}) cannot be written as "
                f"ordinary text with this tokenizer."
            )
        return ids

    def _count(self, ids: Iterable[int]) -> int:
        control = {index for index, _ in self._tokens.values()}
        return sum(index in control for index in ids)

    def _alias(self, name: str) -> str:
        return f"{_CLOSE}{self._names.index(name)}{_OPEN}"

    def _copied(self) -> Any:
        from tokenizers import AddedToken, Tokenizer

        copy = Tokenizer.from_str(self._tokenizer.backend_tokenizer.to_str())
        copy.no_truncation()
        copy.no_padding()
        copy.encode_special_tokens = True  # as text; only the aliases, which are not special, are tokens
        for name, (index, token) in self._tokens.items():
            alias = AddedToken(
                self._alias(name), lstrip=token.lstrip, rstrip=token.rstrip, single_word=False, normalized=False
            )
            copy.add_tokens([alias])
            self._index_of_alias[copy.token_to_id(self._alias(name))] = index
        return copy
