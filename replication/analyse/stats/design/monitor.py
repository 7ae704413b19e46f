"""Stopping rule after each block of tasks: the arms differ, or a difference of interest is excluded.

The fixed-n paired analysis remains the main result of a plan that ran to its end; this rule decides only when to stop.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from replication.analyse.stats import checks
from replication.analyse.stats.design import sequential
from replication.errors import AnalysisError
from replication.records import Json

Decision = Literal["continue", "success", "futility"]
"""success: the arms differ, in either direction. futility: the difference is within the smallest effect of interest."""

Direction = Literal["treatment", "control", "neither"]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Stopping rule; fixed before the first task is played."""

    alpha: float
    """Probability of ever finding a difference where there is none; success at an e-value of 1/alpha."""
    sesoi: float
    """Smallest effect of interest, a fraction. Futility within .03 takes more than 3,000 tasks, within .05 some 1,000."""
    block: int = 20
    """Tasks between looks."""
    min_blocks: int = 1
    """Looks before this many blocks are recorded but decide nothing."""

    def __post_init__(self) -> None:
        """Validate the rule."""
        checks.probability(alpha=self.alpha, sesoi=self.sesoi)
        checks.at_least(1, block=self.block, min_blocks=self.min_blocks)


class Look(NamedTuple):
    """Estimate and evidence after some tasks, with the decision."""

    n_tasks: int
    estimate: float
    """Mean difference, treatment minus control."""
    low: float
    """Limits of the confidence sequence at 1 - alpha, with simultaneous coverage at all looks."""
    high: float
    e_value: float
    """Against "no difference"; at least 1/alpha exactly when the limits exclude zero."""
    direction: Direction
    """The arm that the evidence favours."""
    decision: Decision


def trajectory(differences: ArrayLike, rule: Rule) -> list[Look]:
    """Compute the look after each block of tasks and at the end; a look depends only on the tasks up to it.

    differences : (n_tasks,) in [-1, 1], treatment minus control, in the registered order; each is the mean over the task's
    trials and training runs. Looks continue after a decision.
    Betting e-value and confidence sequence of Waudby-Smith & Ramdas 2024 (see `sequential`), not intersected over time,
    so that limits and e-value agree.
    """
    differences = np.asarray(differences, float)
    if differences.ndim != 1 or differences.size == 0:
        raise AnalysisError(f"a look needs (n_tasks,) differences, at least one; got shape {differences.shape}.")
    x = sequential.to_unit(differences)
    times = sorted({*range(rule.block, x.size + 1, rule.block), x.size})
    limits = sequential.betting_sequence(x, alpha=rule.alpha, times=times)
    capital = sequential.betting_log_capital(x, 0.5, rule.alpha)
    e_values = sequential.betting_e(x, 0.5, alpha=rule.alpha).clip(max=np.finfo(float).max)  # JSON has no infinity
    looks = []
    for n, low, high in zip(times, sequential.from_unit(limits.low), sequential.from_unit(limits.high), strict=True):
        up, down = capital[:, n - 1]
        e_value = float(e_values[n - 1])
        decision: Decision = "continue"
        if n >= rule.block * rule.min_blocks:
            if e_value >= 1 / rule.alpha:
                decision = "success"
            elif -rule.sesoi < low and high < rule.sesoi:
                decision = "futility"
        looks.append(
            Look(
                n_tasks=n, estimate=float(differences[:n].mean()), low=float(low), high=float(high), e_value=e_value,
                direction="treatment" if up > down else "control" if down > up else "neither", decision=decision,
            )
        )  # fmt: skip
    return looks


def to_records(looks: Sequence[Look]) -> list[dict[str, Json]]:
    """Convert looks to plain dicts for JSON."""
    return [look._asdict() for look in looks]
