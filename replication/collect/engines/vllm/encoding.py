"""Token ids of rendered prompts: the pieces between added tokens are encoded once and kept.

A prompt of a later turn repeats all earlier messages. A tokenizer splits a text at its added tokens before anything else, so
the ids of a prompt are those of its pieces in a row if nothing in the tokenizer depends on what stands around a piece. That
is read from its description, and the first prompts are encoded as a whole too; where either says no, all are.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from replication.records import Json

MAX_KEPT = 4_000_000
"""Token ids that are kept at most, about 32 MB."""
N_COMPARED = 32
"""Prompts that are encoded in both ways."""

_LOCAL = ("ByteLevel", "Digits", "NFC", "NFD", "NFKC", "NFKD", "Split")
"""Normalizers and pre-tokenizers that see one piece only."""


class Encoder:
    """Encodes rendered prompts as the tokenizer does, without its special tokens around them.

    max_kept : token ids of pieces that are kept at most.
    n_compared : prompts that are encoded in both ways first.
    """

    def __init__(self, tokenizer: Any, *, max_kept: int = MAX_KEPT, n_compared: int = N_COMPARED):
        self._tokenizer, self._max_kept, self._n_to_compare = tokenizer, max_kept, n_compared
        self._backend = _backend(tokenizer)
        added = {} if self._backend is None else self._backend.get_added_tokens_decoder()
        self._added = {token.content: index for index, token in added.items()}
        names = sorted(self._added, key=len, reverse=True)  # a longer one may contain a shorter one
        self._split = re.compile(f"({'|'.join(map(re.escape, names)) or '(?!)'})").split
        self._kept: dict[str, list[int]] = {}
        self._n_kept = 0

    @property
    def by_pieces(self) -> bool:
        """Whether prompts are encoded piece by piece."""
        return self._backend is not None

    def __call__(self, text: str) -> list[int]:
        """Encode a prompt."""
        if self._backend is None:
            return self._whole(text)
        ids: list[int] = []
        for at, piece in enumerate(self._split(text)):
            if at % 2:
                ids.append(self._added[piece])
            elif piece:
                ids += self._kept.get(piece) or self._encode(piece)
        if self._n_to_compare:
            self._n_to_compare -= 1
            whole = self._whole(text)
            if ids != whole:
                self._backend = None
                return whole
        return ids

    def _whole(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False).input_ids
        return ids

    def _encode(self, piece: str) -> list[int]:
        ids: list[int] = self._backend.encode(piece, add_special_tokens=False).ids
        if self._n_kept + len(ids) > self._max_kept:
            self._kept.clear()
            self._n_kept = 0
        self._kept[piece] = ids
        self._n_kept += len(ids)
        return ids


def _backend(tokenizer: Any) -> Any:
    """Return a copy of the tokenizer's backend if it encodes pieces independently of each other, else None."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    if not isinstance(tokenizer, PreTrainedTokenizerFast) or getattr(tokenizer, "split_special_tokens", False):
        return None
    text = tokenizer.backend_tokenizer.to_str()
    if not _is_local(json.loads(text)):
        return None
    backend = Tokenizer.from_str(text)
    backend.no_truncation()
    backend.no_padding()
    return backend


def _is_local(described: Mapping[str, Json]) -> bool:
    """Tell whether every part of a tokenizer treats a text between added tokens as if it stood alone."""
    parts = _parts(described["normalizer"], "normalizers") + _parts(described["pre_tokenizer"], "pretokenizers")
    # A normalized token is looked for after the others, in what they left.
    wider = ("lstrip", "rstrip", "single_word", "normalized")
    return (
        not any(token[key] for token in described["added_tokens"] for key in wider)
        and all(part["type"] in _LOCAL and not part.get("add_prefix_space") for part in parts)
        and described["model"]["type"] == "BPE"
        and not described["model"].get("dropout")
    )


def _parts(part: Json, key: str) -> list[dict[str, Json]]:
    if part is None:
        return []
    return [inner for one in part[key] for inner in _parts(one, key)] if part["type"] == "Sequence" else [part]
