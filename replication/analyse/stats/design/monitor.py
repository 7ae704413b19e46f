"""Say after each block of tasks whether two arms can be told apart, or whether going on cannot matter.

The fixed-n paired analysis stays the headline where the plan ran to its end; this decides only when to stop.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from replication.analyse.stats.design import sequential
from replication.errors import AnalysisError
from replication.records import Json

Decision = Literal["continue", "success", "futility"]
"""success: a difference is shown, in whichever direction. futility: it lies within the smallest effect of interest."""

Direction = Literal["treatment", "control", "neither"]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """When to stop; fixed before the first task is played."""

    alpha: float
    """Chance of ever calling a difference that is not there; success at an e-value of 1/alpha."""
    sesoi: float
    """Smallest effect of interest, a fraction. Futility within .03 takes more than 3,000 tasks, within .05 some 1,000."""
    block: int = 20
    """Tasks between looks."""
    min_blocks: int = 1
    """Looks before this many blocks are recorded and decide nothing."""

    def __post_init__(self) -> None:
        """Refuse what is no rule."""
        if not 0 < self.alpha < 1:
            raise AnalysisError(f"`alpha` must lie between 0 and 1; got {self.alpha}.")
        if not 0 < self.sesoi < 1:
            raise AnalysisError(f"`sesoi` must be a fraction between 0 and 1; got {self.sesoi}.")
        if self.block < 1 or self.min_blocks < 1:
            raise AnalysisError(f"`block` and `min_blocks` must be at least 1; got {self.block} and {self.min_blocks}.")


class Look(NamedTuple):
    """What was seen after some tasks, and what follows."""

    n_tasks: int
    estimate: float
    """Mean difference, treatment minus control."""
    low: float
    """Of the confidence sequence at 1 - alpha: it holds at all looks at once."""
    high: float
    e_value: float
    """Against "no difference"; at least 1/alpha exactly when the limits leave zero out."""
    direction: Direction
    """Which arm the evidence favours."""
    decision: Decision


def look(differences: ArrayLike, rule: Rule) -> Look:
    """Look at the paired differences (n_tasks,) in [-1, 1], treatment minus control, in the order registered.

    Betting e-value and confidence sequence of Waudby-Smith & Ramdas 2024 (see `sequential`), not intersected over time,
    so that limits and e-value say the same. Each difference is the mean over a task's trials and training runs.
    """
    return _looks(differences, rule, None)[-1]


def trajectory(differences: ArrayLike, rule: Rule) -> list[Look]:
    """Look after each block and at the end; a look sees only the tasks up to it.

    Goes on after a decision: `stopped` finds the look at which the rule ended.
    """
    n = np.asarray(differences, float).size
    return _looks(differences, rule, sorted({*range(rule.block, n + 1, rule.block), n} - {0}))


def stopped(looks: Sequence[Look]) -> Look | None:
    """Find the first look that decided; None when the rule never stopped."""
    return next((one for one in looks if one.decision != "continue"), None)


def to_records(looks: Sequence[Look]) -> list[dict[str, Json]]:
    """Write looks as plain dicts, for JSON."""
    return [one._asdict() for one in looks]


def _looks(differences: ArrayLike, rule: Rule, times: Sequence[int] | None) -> list[Look]:
    differences = np.asarray(differences, float)
    if differences.ndim != 1 or differences.size == 0:
        raise AnalysisError(f"a look needs (n_tasks,) differences, at least one; got shape {differences.shape}.")
    x = sequential.to_unit(differences)
    times = [x.size] if times is None else times
    limits = sequential.betting_sequence(x, alpha=rule.alpha, times=times)
    capital = sequential.betting_log_capital(x, 0.5, rule.alpha)
    e_values = sequential.betting_e(x, 0.5, alpha=rule.alpha).clip(max=np.finfo(float).max)  # JSON has no infinity
    found = []
    for n, low, high in zip(times, sequential.from_unit(limits.low), sequential.from_unit(limits.high), strict=True):
        up, down = capital[:, n - 1]
        e_value = float(e_values[n - 1])
        decision: Decision = "continue"
        if n >= rule.block * rule.min_blocks:
            if e_value >= 1 / rule.alpha:
                decision = "success"
            elif -rule.sesoi < low and high < rule.sesoi:
                decision = "futility"
        found.append(
            Look(
                n_tasks=n, estimate=float(differences[:n].mean()), low=float(low), high=float(high), e_value=e_value,
                direction="treatment" if up > down else "control" if down > up else "neither", decision=decision,
            )
        )  # fmt: skip
    return found
