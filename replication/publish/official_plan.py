"""Print what the official benchmarks of a study take, as far as it is known."""

from collections.abc import Iterator, Sequence

from replication import settings
from replication.text import amount, count, table

UNKNOWN = "unknown"


def report(cfg: settings.Root, n_checkpoints: int) -> list[str]:
    """Return the lines of the section; empty if the study has no official benchmark.

    n_checkpoints : of the study; an entry that names one model is played by that one only.
    """
    published = settings.published(cfg)
    rows, basis = [], []
    for name, source in sorted(cfg.ingest.items()):
        choice = published.get(source.benchmark)
        cost = (choice.cost if choice else None) or settings.Cost(basis=UNKNOWN)
        n_models = 1 if source.model is not None else n_checkpoints
        n_attempts = source.n_trials * n_models
        # A part of the items may be its short or its long ones, so the known hours are given for all items only.
        hours = cost.hours if choice and source.n_tasks == choice.n_tasks else None
        rows.append([
            name, source.benchmark, count(source.n_tasks), count(n_models), count(source.n_trials),
            count(source.n_tasks * n_attempts), *_numbers([
                None if hours is None else hours * n_attempts,
                None if cost.prompt_tokens is None else cost.prompt_tokens * source.n_tasks * n_attempts,
                None if cost.new_tokens is None else cost.new_tokens * source.n_tasks * n_attempts,
            ]),
        ])  # fmt: skip
        basis.append(f"  {name}: {cost.basis or UNKNOWN}")
    left = sorted(set(published) - {source.benchmark for source in cfg.ingest.values()})
    if left:
        basis.append(f"  listed without an entry of `ingest`, so not played: {', '.join(left)}")
    if not rows and not left:
        return []
    head = [
        "entry",
        "benchmark",
        "items",
        "checkpoints",
        "attempts",
        "all",
        "hours at most",
        "prompt tokens",
        "new tokens",
    ]
    return [
        "official benchmarks, played and graded by their own programs, not in the totals above; hours with eight items side "
        "by side",
        *(table(head, rows, indent="  ", n_left=2) if rows else []),
        *basis,
    ]


def _numbers(values: Sequence[float | None]) -> Iterator[str]:
    for position, value in enumerate(values):
        yield UNKNOWN if value is None else amount(value) if position == 0 else count(value)
