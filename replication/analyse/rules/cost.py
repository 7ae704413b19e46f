"""Rule on the compute that a solved task costs."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from replication.analyse.rules.data import RuleResult, StudyData
from replication.analyse.rules.shared import compared_arms, paired, scope_of
from replication.analyse.stats.estimates.differences import FILLED, Unscored, require_training_runs
from replication.analyse.stats.estimates.ratios import log_cost_ratio
from replication.analyse.tables.arms import pairs
from replication.errors import AnalysisError
from replication.records import Claim, Outcome, Target
from replication.text import fixed


class _Attempts(NamedTuple):
    """Compute and score of each attempt of one arm, (n_training_runs, n_trials, n_tasks)."""

    cost: NDArray[np.float64]
    score: NDArray[np.float64]


def cheaper(claim: Claim, data: StudyData, target: Target, policy: Unscored) -> RuleResult:
    """Compare compute per solved task when played, treatment over control (plan: claim E).

    Cost is 2 x active parameters x tokens (prompt and completion). replicated: ratio below 1 with 1 - alpha confidence.
    not_replicated: above 1. Otherwise inconclusive. Training compute is reported too: over how many uses it should be
    spread is not part of the claim.
    """
    if target == "T3":
        require_training_runs(paired(claim, data).values())
    treatment, control = (_attempts(claim, data, arm) for arm in (0, 1))
    complete = ~(np.isnan(treatment.score).any(axis=(0, 1)) | np.isnan(control.score).any(axis=(0, 1)))
    kept = complete if policy == "exclude" else np.ones_like(complete)
    filled = FILLED.get(policy, (0.0, 0.0))
    prepared = [
        np.nan_to_num(array[:, :, kept], nan=missing)
        for arm, value in zip((treatment, control), filled, strict=True)
        for array, missing in ((arm.cost, 0.0), (arm.score, value))
    ]
    shared = all(pair.shared_phase for pair in paired(claim, data).values())
    estimate = log_cost_ratio(*prepared, target=target, level=1 - claim.parameters["alpha"], shared_phase=shared)
    outcome: Outcome = (
        "replicated" if estimate.high < 0 else "not_replicated" if estimate.low > 0 else "inconclusive"
    )  # fmt: skip
    return RuleResult(
        outcome=outcome,
        reason=f"compute per solved task x{fixed(float(np.exp(estimate.value)), 2)} of `{compared_arms(claim, data)[1]}`",
        estimate=estimate,
        scope=scope_of(claim, data),
        criteria={
            "scale": "log ratio",
            "alpha_one_sided": claim.parameters["alpha"] / 2,
            "training_flops_ratio": _training_ratio(claim, data),
        },
    )


def _attempts(claim: Claim, data: StudyData, arm: int) -> _Attempts:
    assert data.scores is not None
    scores = data.scores
    active_b = scores["active_b"].fillna(scores["params_b"]) if "active_b" in scores else scores["params_b"]
    cost = 2e9 * active_b * (scores["n_prompt_tokens"] + scores["n_completion_tokens"])
    spent = pairs(scores.assign(cost=cost), *compared_arms(claim, data), column="cost")
    by_column = (spent, paired(claim, data))
    n_trials = sorted({np.asarray(pair[arm]).shape[1] for pair in spent.values()})
    if len(n_trials) > 1:
        raise AnalysisError(
            f"`{compared_arms(claim, data)[arm]}` has {' or '.join(map(str, n_trials))} trials per task, depending on the "
            f"benchmark; compute per solved task needs as many on each."
        )
    return _Attempts(*(np.concatenate([np.asarray(pair[arm]) for pair in of.values()], axis=2) for of in by_column))


def _training_ratio(claim: Claim, data: StudyData) -> float | None:
    """Compute the ratio of training FLOPs, over the scales that both arms have; None where the study has none."""
    treatment, control = compared_arms(claim, data)
    if data.training is None or data.scores is None:
        return None
    shared = data.scores.groupby("scale")["arm"].agg(lambda arms: {treatment, control} <= set(arms))
    at_shared = data.training[data.training["scale"].map(shared).fillna(False).astype(bool)]
    flops = at_shared.groupby("arm")["flops"].mean()
    return float(flops[treatment] / flops[control]) if flops.reindex([treatment, control]).gt(0).all() else None
