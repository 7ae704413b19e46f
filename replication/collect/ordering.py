"""Order in which the episodes of a pool start: the longest first, as far as lengths can be expected.

An episode's length is expected from those of the same benchmark and scaffold in the store, of whatever checkpoint, else from
the limits of the run; within a run harder tasks come first. Seeds belong to requests, so no text depends on the order.
"""

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence

from replication.collect.runner import Item, Job, Left, Order
from replication.records import RunSpec, Task
from replication.store import Store


def by_length(store: Store) -> Order:
    """Return a function that sorts episodes by expected new tokens, longest first; ties keep their order.

    The manifests of the store are read once, now: they have the tokens and the number of episodes of each run.
    """
    n_tokens: Counter[tuple[str, str]] = Counter()
    n_episodes: Counter[tuple[str, str]] = Counter()
    for run_id in store.runs():
        manifest = store.manifest(run_id)
        for taken in manifest.collected:
            n_tokens[_kind(manifest.spec)] += taken.n_completion_tokens
            n_episodes[_kind(manifest.spec)] += sum(taken.stop_reasons.values())

    def expected(job: Job) -> float:
        kind = _kind(job.spec)
        return n_tokens[kind] / n_episodes[kind] if n_episodes[kind] else _longest(job.spec)

    def order(left: Sequence[Left]) -> Iterator[Item]:
        rank = {job.spec.run_id: -expected(job) for job, _ in left}
        # Merged and not sorted: only the first of each run are held, because there may be a million.
        return heapq.merge(*map(_items, left), key=lambda item: (rank[item.job.spec.run_id], _rank(item.task)))

    return order


def _items(left: Left) -> Iterator[Item]:
    return (Item(job=left.job, task=task, trial=trial) for task, trial in left.episodes.by(_rank))


def _rank(task: Task) -> float:
    return -float(task.attributes.get("level", 0))


def _kind(spec: RunSpec) -> tuple[str, str]:
    return spec.benchmark, spec.scaffold


def _longest(spec: RunSpec) -> float:
    """Return the new tokens at which an episode ends at the latest."""
    assert spec.max_turns is not None and spec.max_episode_tokens is not None, "a harness plays its own episodes"
    return min(spec.max_turns * spec.sampling.max_tokens, spec.max_episode_tokens)
