"""Ratio of the cost per solved task of two arms, on the log scale."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from replication.analyse.stats.estimates.differences import ROUNDING, run_noise
from replication.analyse.stats.estimates.intervals import t_estimate
from replication.analyse.stats.estimates.run_variance import add_run_variance, run_component
from replication.errors import AnalysisError
from replication.records import Estimate, Target


def log_cost_ratio(
    treatment_cost: ArrayLike,
    treatment_score: ArrayLike,
    control_cost: ArrayLike,
    control_score: ArrayLike,
    *,
    target: Target,
    level: float = 0.95,
    shared_phase: bool = False,
) -> Estimate:
    """Estimate log((C_B/S_B)/(C_A/S_A)), cost per solved task of the treatment over that of the control.

    All arrays (n_training_runs, n_trials, n_tasks), same tasks in the same order, without missing values. level :
    confidence level.
    T2: delta method over tasks, d_t = (c_t/C - s_t/S) of the treatment minus the same of the control, SE = SD(d)/sqrt(n).
    T3: adds the variance of the runs' log costs over their number, minus the part of it that run x task interaction and
    trial noise explain (it is in T2 already; from the d_t of single runs), Satterthwaite df, as
    `differences.paired_difference` does. With `shared_phase` run i of both arms are a pair.
    """
    arms = []
    if not np.size(treatment_cost) or not np.size(control_cost):
        raise AnalysisError("cost per solved task is undefined: no task is scored in both arms in every run and trial.")
    for cost, score in ((treatment_cost, treatment_score), (control_cost, control_score)):
        cost, score = np.asarray(cost, float), np.asarray(score, float)
        n_solved = score.sum(axis=(1, 2))
        if not (n_solved > 0).all():
            raise AnalysisError("cost per solved task is undefined: a training run solved no task.")
        if not (cost.sum(axis=(1, 2)) > 0).all():
            raise AnalysisError(
                "cost per solved task is undefined: no tokens were recorded; some harnesses report none."
            )
        logs = np.log(cost.sum(axis=(1, 2)) / n_solved)
        influence = cost.mean(axis=(0, 1)) / cost.mean() - score.mean(axis=(0, 1)) / score.mean()
        by_run = cost.mean(axis=1) / cost.mean() - score.mean(axis=1) / score.mean()
        arms.append((math.log(cost.mean() / score.mean()), influence, logs, by_run))
    (value_b, influence_b, logs_b, runs_b), (value_a, influence_a, logs_a, runs_a) = arms
    n = len(influence_b)
    if target == "T1" or n < 2:
        raise AnalysisError(
            f"the cost ratio is defined for T2 and T3, and for at least 2 tasks; got {target}, {n} tasks."
        )
    variance, df = float((influence_b - influence_a).var(ddof=1)) / n, n - 1.0
    if target == "T3":
        if min(len(logs_b), len(logs_a)) < 2:
            raise AnalysisError("T3 needs at least 2 training runs per arm; got m=1.")
        tasks = np.arange(n)
        if shared_phase and len(logs_b) == len(logs_a):
            runs, noise = [run_component(logs_b - logs_a)], run_noise(runs_b - runs_a, tasks)
        else:
            runs = [run_component(logs_b), run_component(logs_a)]
            noise = run_noise(runs_b, tasks) + run_noise(runs_a, tasks)
        variance, df = map(float, add_run_variance(variance, df, runs, noise))
    if variance < ROUNDING**2:
        raise AnalysisError("cost per solved task shows no variation at all, so its ratio has no interval.")
    estimate = t_estimate(
        value_b - value_a, variance**0.5, df, level=level, method="log ratio of cost per solved task, delta method, t",
        target=target, n_tasks=n, n_trials=np.shape(treatment_cost)[1], n_training_runs=min(len(logs_b), len(logs_a)),
    )  # fmt: skip
    return replace(estimate, kind="log_ratio")
