"""Variance components: published numbers, mixed-model software, planted designs, exact identities, refusals."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from replication.analyse.stats.design import components
from replication.analyse.stats.estimates.differences import paired_difference
from replication.errors import AnalysisError

SHROUT_FLEISS = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]


def planted(rng, n_runs, n_trials, n_tasks, *, task=1.0, run=1.0, both=1.0, trial=1.0, n_arms=1, arm_task=0.0):
    """Normal scores (n_arms, n_training_runs, n_trials, n_tasks) with these SDs."""
    return (
        rng.normal(0, task, (1, 1, 1, n_tasks))
        + rng.normal(0, arm_task, (n_arms, 1, 1, n_tasks))
        + rng.normal(0, run, (n_arms, n_runs, 1, 1))
        + rng.normal(0, both, (n_arms, n_runs, 1, n_tasks))
        + rng.normal(0, trial, (n_arms, n_runs, n_trials, n_tasks))
    )


def test_shrout_and_fleiss_example():
    # oracle icc-and-variance-components: Shrout & Fleiss 1979, Table 4; components by lme4
    parts = components.crossed(np.array(SHROUT_FLEISS).T[:, None, :])
    assert list(parts) == ["task", "training_run", "task x training_run"]
    assert [part.value for part in parts.values()] == pytest.approx([2.5555556, 5.2444444, 1.0194444], rel=1e-5)


def test_components_are_those_of_a_mixed_model_fitted_by_reml():
    # R: lmer(y ~ 1 + (1|task) + (1|run) + (1|task:run)) fits the same model; here statsmodels
    import statsmodels.formula.api as smf

    scores = planted(np.random.default_rng(3), 5, 2, 10, task=2.0, run=1.5, both=1.5)[0]
    parts = components.crossed(scores)
    assert all(part.moment > 0 for part in parts.values())
    run, _, task = np.indices(scores.shape)
    table = pd.DataFrame(
        {"y": scores.ravel(), "run": run.ravel(), "task": task.ravel(), "both": (run * 100 + task).ravel(), "one": 1}
    )
    formulas = {"task": "0 + C(task)", "run": "0 + C(run)", "both": "0 + C(both)"}
    model = smf.mixedlm("y ~ 1", table, groups="one", vc_formula=formulas).fit(reml=True)
    by_name = dict(zip(sorted(formulas), model.vcomp, strict=True))
    assert parts["task"].value == pytest.approx(by_name["task"], rel=1e-3)
    assert parts["training_run"].value == pytest.approx(by_name["run"], rel=1e-3)
    assert parts["task x training_run"].value == pytest.approx(by_name["both"], rel=1e-3)
    assert parts["trial"].value == pytest.approx(model.scale, rel=1e-3)


@pytest.mark.slow
def test_moments_are_unbiased_in_every_source():
    rng = np.random.default_rng(0)
    sds = {"task": 1.0, "run": 0.5, "both": 0.7, "trial": 1.2, "arm_task": 0.8}
    found = [components.crossed_arms(planted(rng, 3, 2, 10, n_arms=2, **sds)) for _ in range(400)]
    names = {
        "task": "task", "run": "training_run", "both": "task x training_run", "trial": "trial", "arm_task": "arm x task"
    }  # fmt: skip
    for short, name in names.items():
        moments = np.array([parts[name].moment for parts in found])
        error = moments.std() / 20
        assert abs(moments.mean() - sds[short] ** 2) < 4 * error, name


def test_mean_squares_add_up_to_the_total_sum_of_squares():
    scores = planted(np.random.default_rng(1), 3, 2, 5, n_arms=2)
    parts = components.crossed_arms(scores)
    total = ((scores - scores.mean()) ** 2).sum()
    assert sum(p.mean_square * p.df for p in parts.values()) == pytest.approx(total)
    assert sum(p.df for p in parts.values()) == scores.size - 1
    assert {name: p.df for name, p in parts.items()} == {
        "arm": 1, "task": 4, "arm x task": 4, "training_run": 4, "task x training_run": 16, "trial": 30
    }  # fmt: skip


def test_components_of_two_arms_give_the_variance_of_their_paired_difference():
    scores = planted(np.random.default_rng(5), 3, 2, 40, n_arms=2, arm_task=1.0)
    parts = components.crossed_arms(scores)
    omega2, both, trial, run = (
        2 * parts[name].value for name in ("arm x task", "task x training_run", "trial", "training_run")
    )
    m, k, n = scores.shape[1:]
    t2 = paired_difference(scores[1], scores[0], target="T2")
    assert t2.se**2 == pytest.approx((omega2 + both / m + trial / (m * k)) / n)
    t3 = paired_difference(scores[1], scores[0], target="T3")
    assert t3.se**2 == pytest.approx(t2.se**2 + run / m)


def test_residual_interval_is_the_exact_chi_square_one():
    part = components.crossed(planted(np.random.default_rng(2), 3, 4, 6)[0])["trial"]
    chi2 = stats.chi2(part.df)
    assert part.df == 3 * 6 * 3 and part.value == part.mean_square
    assert part.low == pytest.approx(part.df * part.value / chi2.ppf(0.975))
    assert part.high == pytest.approx(part.df * part.value / chi2.ppf(0.025))


def test_task_interval_is_williams_and_tukey_s():
    parts = components.crossed(np.array(SHROUT_FLEISS, float).T[:, None, :])
    task, rest = parts["task"], parts["task x training_run"]
    ends = [
        task.df * (task.mean_square - rest.mean_square * stats.f(5, 15).ppf(q)) / (4 * stats.chi2(5).ppf(q))
        for q in (0.975, 0.025)
    ]
    assert [task.low, task.high] == pytest.approx(ends)


def test_sides_of_several_mean_squares_are_pooled():
    parts = components.crossed_arms(
        planted(np.random.default_rng(6), 3, 2, 8, n_arms=3) + np.arange(3)[:, None, None, None]
    )
    arm, arm_task, run, both = (parts[n] for n in ("arm", "arm x task", "training_run", "task x training_run"))
    more, less = arm.mean_square + both.mean_square, arm_task.mean_square + run.mean_square
    df_more = more**2 / (arm.mean_square**2 / arm.df + both.mean_square**2 / both.df)
    df_less = less**2 / (arm_task.mean_square**2 / arm_task.df + run.mean_square**2 / run.df)
    n_per_arm = 3 * 2 * 8
    assert arm.moment == pytest.approx((more - less) / n_per_arm)
    high = (more - less * stats.f(df_more, df_less).ppf(0.025)) / n_per_arm * df_more / stats.chi2(df_more).ppf(0.025)
    assert arm.high == pytest.approx(high)


@pytest.mark.slow
def test_intervals_of_components_have_roughly_nominal_coverage():
    rng = np.random.default_rng(7)
    sds = {"task": 1.0, "run": 0.5, "both": 0.5, "trial": 1.0, "arm_task": 0.5}
    found = [components.crossed_arms(planted(rng, 4, 2, 20, n_arms=2, **sds), level=0.9) for _ in range(800)]
    truth = {"task": 1.0, "training_run": 0.25, "task x training_run": 0.25, "trial": 1.0, "arm x task": 0.25}
    for name, value in truth.items():
        share = np.mean([parts[name].low <= value <= parts[name].high for parts in found])
        assert 0.87 <= share <= 0.96, (name, share)


def test_a_negative_component_is_reported_as_zero_and_flagged():
    alternating = np.array([[0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 1.0, 0.0]])  # task means are all .5
    parts = components.crossed(alternating[:, None, :])
    assert parts["task"].value == 0.0 and parts["task"].negative and parts["task"].moment < 0
    assert parts["task"].low == 0.0
    assert not parts["task x training_run"].negative


def test_equal_scores_have_no_variance_and_no_undefined_interval():
    for part in components.crossed_arms(np.full((2, 3, 2, 4), 0.7)).values():
        assert (part.value, part.low, part.high, part.negative) == (0.0, 0.0, 0.0, False)


def test_axes_of_length_one_drop_out():
    scores = planted(np.random.default_rng(4), 1, 3, 5)[0]
    assert list(components.crossed(scores)) == ["task", "trial"]
    assert list(components.crossed(scores[:, :1])) == ["task"]


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: components.crossed(np.ones((2, 3))), "n_training_runs"),
        (lambda: components.crossed(np.ones((0, 1, 3))), "got shape"),
        (lambda: components.crossed([[[1.0, math.nan]]]), "missing"),
        (lambda: components.crossed([[[1.0]]]), "nothing varies"),
        (lambda: components.crossed(np.ones((2, 2, 2)), level=1.0), "`level`"),
        (lambda: components.decompose(np.ones((2, 2)), ["a", "a"]), "each named once"),
        (lambda: components.decompose(np.ones((2, 2)), ["a", "b"], nested={"a": ["c"]}), "`nested`"),
    ],
)
def test_scores_without_components_are_refused(call, match):
    with pytest.raises(AnalysisError, match=match):
        call()
