"""What can be compared, and what a verdict names, before anything is computed."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from replication.analyse.stats.estimates.differences import Pair
from replication.errors import AnalysisError
from replication.text import plain


class Comparable(NamedTuple):
    """The benchmarks of a comparison that can show a difference, and the others."""

    pairs: dict[str, Pair]
    left_out: dict[str, str]
    """Benchmark to limit, floor or ceiling, where both arms are at it."""


def comparable(by_benchmark: Mapping[str, Pair], arms: tuple[str, str], floor: float) -> Comparable:
    """Leave out the benchmarks on which both arms are at the floor, or both at the ceiling.

    floor : an arm is at the floor of a benchmark if its mean score is at most this, at the ceiling if at least 1 - floor.
    AnalysisError where an arm is at the floor of every benchmark, or the control at every ceiling: a difference from it
    says nothing about what was done to the treatment. A benchmark without any score is kept; its estimate says what is
    missing.
    """
    limits = {name: [_limit(pair[arm], floor) for arm in (0, 1)] for name, pair in by_benchmark.items()}
    for side, limit in ((0, "floor"), (1, "floor"), (1, "ceiling")):
        if limits and all(of_arms[side] == limit for of_arms in limits.values()):
            bound = f"at most {plain(100 * floor)}" if limit == "floor" else f"at least {plain(100 * (1 - floor))}"
            raise AnalysisError(
                f"`{arms[side]}` is at the {limit} of every benchmark (mean score {bound} %), so no difference from it can "
                f"be read. Choose easier or harder levels, or another arm."
            )
    left_out = {name: of[0] for name, of in limits.items() if of[0] == of[1] and of[0]}
    if len(left_out) == len(limits):
        raise AnalysisError(f"both arms are at the floor or at the ceiling of {', '.join(left_out)}: none can differ.")
    return Comparable({name: pair for name, pair in by_benchmark.items() if name not in left_out}, left_out)


def _limit(scores: object, floor: float) -> str:
    values = np.asarray(scores, float)
    if np.isnan(values).all():
        return ""
    mean = float(np.nanmean(values))
    return "floor" if mean <= floor else "ceiling" if mean >= 1 - floor else ""


def repeated_contents(scores: pd.DataFrame) -> dict[str, int]:
    """Count, per benchmark, the tasks whose content another task has under another name; they are one cluster."""
    tasks = scores[["benchmark", "task_id", "task_hash"]].drop_duplicates()
    counts = tasks.groupby("benchmark")["task_id"].nunique() - tasks.groupby("benchmark")["task_hash"].nunique()
    return {str(name): int(count) for name, count in counts.items() if count > 0}
