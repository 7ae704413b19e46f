"""What one pool of episodes took: stop reasons and tokens per run, and each run's part of the time and the energy."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from replication.collect import gpus, provenance
from replication.records import Collected, Episode


class Prices(NamedTuple):
    """Prices of an engine and of its tokens, those of conf/plan."""

    currency: str
    per_hour: float
    """Of an engine."""
    per_million_prompt_tokens: float
    per_million_completion_tokens: float


@dataclass(kw_only=True)
class Tally:
    """Counts of the episodes of one run."""

    stop_reasons: Counter[str] = field(default_factory=Counter)
    n_prompt_tokens: int = 0
    n_completion_tokens: int = 0

    def add(self, episode: Episode) -> None:
        """Count an episode."""
        self.stop_reasons[episode.stop_reason] += 1
        self.n_prompt_tokens += episode.n_prompt_tokens
        self.n_completion_tokens += episode.n_completion_tokens


class Account:
    """Counts the episodes of the runs of a pool.

    Parameters
    ----------
    run_ids : runs of the pool.
    device : of the engine, as it describes itself; the energy of cards is read for cuda only.
    is_shared : whether another engine of this command may be on the same cards.
    """

    def __init__(self, run_ids: Sequence[str], *, device: object, is_shared: bool, prices: Prices | None):
        self._tallies = {run_id: Tally() for run_id in run_ids}
        self._prices = prices
        self._cards = gpus.visible() if device == "cuda" else []
        self._is_shared = bool(self._cards) and (is_shared or gpus.has_several_processes(self._cards))
        self.start()

    def start(self) -> None:
        """Read clock and energy; called again when the first request is about to be sent."""
        self._joules, self._started_s = gpus.joules(self._cards), time.monotonic()

    def add(self, episode: Episode) -> None:
        """Count an episode of one of the runs."""
        self._tallies[episode.run_id].add(episode)

    def collected(self, tool_syntaxes: Mapping[str, str | None]) -> dict[str, Collected]:
        """Return by run what it took until now, without the runs that have no episode.

        tool_syntaxes : by run, the parser of its tool calls.
        """
        seconds, now = time.monotonic() - self._started_s, gpus.joules(self._cards)
        used = None if self._joules is None or now is None else [b - a for a, b in zip(self._joules, now, strict=True)]
        is_shared = self._is_shared or gpus.has_several_processes(self._cards)
        played = {run_id: tally for run_id, tally in self._tallies.items() if tally.stop_reasons}
        return {
            run_id: Collected(
                code=provenance.code(), gpus=tuple(card.facts for card in self._cards), tool_syntax=tool_syntaxes[run_id],
                n_commands=1, stop_reasons=dict(sorted(tally.stop_reasons.items())),
                n_prompt_tokens=tally.n_prompt_tokens, n_completion_tokens=tally.n_completion_tokens,
                engine_s=round(seconds * share, 3),
                joules=None if used is None else tuple(round(one * share, 1) for one in used), is_card_shared=is_shared,
                cost=None if self._prices is None else _cost(self._prices, tally, seconds * share),
                currency=None if self._prices is None else self._prices.currency,
            )
            for (run_id, tally), share in zip(played.items(), _shares(list(played.values())), strict=True)
        }  # fmt: skip


def _shares(tallies: Sequence[Tally]) -> list[float]:
    # Failed episodes may have no tokens: then runs count by their episodes.
    parts = [tally.n_prompt_tokens + tally.n_completion_tokens for tally in tallies]
    if not sum(parts):
        parts = [tally.stop_reasons.total() for tally in tallies]
    return [part / sum(parts) for part in parts]


def _cost(prices: Prices, tally: Tally, seconds: float) -> float:
    tokens = tally.n_prompt_tokens * prices.per_million_prompt_tokens
    tokens += tally.n_completion_tokens * prices.per_million_completion_tokens
    return round(seconds / 3600 * prices.per_hour + tokens / 1e6, 6)
