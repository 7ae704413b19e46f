"""Tables of estimates: scales, half-widths, simultaneous limits, and random effects over shared training runs."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from replication.analyse.stats.estimates.differences import Pair, mean_paired_difference
from replication.analyse.stats.families.meta import random_effects
from replication.analyse.tables.summaries import collected_estimates, pooled, smoothed
from replication.errors import AnalysisError

ARMS = {"agent_sft": 0.4, "lwm_then_sft": 0.55}
SCALES = (("xs", 0.0005), ("s", 0.0015), ("m", 0.005))
HOW = {"level": 0.95, "power": 0.8, "policies": ("exclude",)}


@pytest.fixture(scope="module")
def estimates(make_scores):
    return collected_estimates(make_scores(ARMS, scales=SCALES), "lwm_then_sft", "agent_sft", **HOW)


def test_every_interval_has_its_half_width(estimates):
    assert estimates["half_width"].tolist() == pytest.approx((estimates["high"] - estimates["value"]).tolist())
    assert set(estimates["target"]) == {"T1", "T2", "T3"}


def test_scales_follow_the_average_in_order_of_size(estimates):
    assert estimates["scale"].unique().tolist() == ["all scales", "xs", "s", "m"]
    t2 = estimates.query("target == 'T2' and benchmark == 'calling'").set_index("scale")["value"]
    assert t2["all scales"] == pytest.approx(t2[["xs", "s", "m"]].mean())


def test_limits_for_all_scales_together_are_bonferroni_intervals(estimates):
    single = estimates[estimates["scale"] != "all scales"]
    quantile = stats.t(single["df"]).ppf(1 - 0.05 / 3 / 2)
    assert single["high_all_scales"].tolist() == pytest.approx((single["value"] + quantile * single["se"]).tolist())
    assert single["low_all_scales"].tolist() == pytest.approx((single["value"] - quantile * single["se"]).tolist())
    assert estimates.query("scale == 'all scales'")["low_all_scales"].isna().all()


def test_study_of_one_scale_is_not_listed_twice(make_scores):
    assert collected_estimates(make_scores(ARMS), "lwm_then_sft", "agent_sft", **HOW)["scale"].unique() == [
        "all scales"
    ]


def test_arm_with_one_training_run_has_no_row_for_the_method(make_scores):
    scores = make_scores({"base": 0.1, "general": 0.2}, scales=SCALES[:2], only_first=("base",))
    estimates = collected_estimates(scores, "general", "base", **HOW)
    assert set(estimates["target"]) == {"T1", "T2"}
    assert {"mean of these", "random effects"} <= set(estimates["benchmark"])


@pytest.mark.slow
def test_limits_for_all_scales_hold_at_all_of_them_as_often_as_they_say(make_scores):
    held = 0
    for seed in range(150):
        scores = make_scores({"a": 0.5, "b": 0.5}, scales=SCALES[:2], n_tasks=25, n_trials=1, tau=0.05, seed=seed)
        rows = collected_estimates(scores, "a", "b", **HOW).query("benchmark == 'mean of these' and target == 'T3'")
        single = rows[rows["scale"] != "all scales"]
        held += bool(((single["low_all_scales"] <= 0) & (single["high_all_scales"] >= 0)).all())
    assert held / 150 >= 0.92


# random effects over benchmarks that share training runs


def study(rng, *, n_benchmarks, n_runs, common, own, between=0.0, n_tasks=60):
    """Draw two arms without a true difference: run shifts common to all benchmarks, and shifts of a run on one."""
    shifts = [rng.normal(0, common, (n_runs, 1)) + rng.normal(0, own, (n_runs, n_benchmarks)) for _ in range(2)]
    groups = {}
    for b in range(n_benchmarks):
        difficulty, gap = rng.normal(0, 0.2, n_tasks), (rng.normal(0, between), 0.0)
        arms = [difficulty + gap[a] + shifts[a][:, b, None] + rng.normal(0, 0.25, (n_runs, n_tasks)) for a in range(2)]
        groups[f"b{b}"] = [Pair(*(arm[:, None] for arm in arms))]
    return groups


def test_random_effects_of_the_method_have_the_weights_of_t2_and_the_variance_of_the_runs_on_top():
    groups = study(np.random.default_rng(0), n_benchmarks=4, n_runs=3, common=0.1, own=0.02)
    t2, t3 = (pooled(groups, target=target, level=0.95) for target in ("T2", "T3"))
    single = [mean_paired_difference(pairs_, target="T2") for pairs_ in groups.values()]
    weight = 1 / (np.square([e.se for e in single]) + t2.fit.tau**2)
    weight /= weight.sum()
    runs = [np.stack([np.asarray(p[0][arm]).mean(axis=(1, 2)) for p in groups.values()], 1) @ weight for arm in (0, 1)]
    assert t3.estimate.value == t2.estimate.value
    scores = [np.stack([np.asarray(p[0][arm]).mean(axis=(1, 2)) for p in groups.values()], 1) for arm in (0, 1)]
    own = [s - s.mean(0) - (s @ weight)[:, None] + s.mean(0) @ weight for s in scores]
    noise = sum(((weight * residual) ** 2).sum() / (3 * 2) * 4 / 3 for residual in own)
    between = sum(r.var(ddof=1) / 3 for r in runs) - noise
    assert between > 0
    assert t3.estimate.se == pytest.approx(math.sqrt(t2.estimate.se**2 + between))
    assert t2.estimate.df == 3
    shares = [r.var(ddof=1) / 3 for r in runs]
    spread = t2.estimate.se**4 / 3 + between / sum(shares) * sum(share**2 / 2 for share in shares)
    assert t3.estimate.df == pytest.approx(max(t3.estimate.se**4 / spread, 2))  # no fewer than three runs have
    assert (t3.fit.q, t3.fit.q_p) == (t2.fit.q, t2.fit.q_p)
    assert (t2.estimate.target, t3.estimate.target) == ("T2", "T3")


def test_random_effects_without_runs_are_as_before():
    y, se = [0.1, 0.2, 0.05], [0.05, 0.04, 0.06]
    same = random_effects(y, se, runs=[np.full((3, 3), 0.5), np.full((3, 3), 0.4)])
    assert same.se == random_effects(y, se).se
    assert same.df == 2


@pytest.mark.parametrize("n_benchmarks", [2, 3, 7])
def test_interval_for_the_method_is_never_narrower_than_the_one_for_tasks(n_benchmarks):
    rng = np.random.default_rng(3)
    for common in (0.0, 0.05):
        groups = study(rng, n_benchmarks=n_benchmarks, n_runs=3, common=common, own=0.0)
        t2, t3 = (pooled(groups, target=target, level=0.95).estimate for target in ("T2", "T3"))
        assert t3.high - t3.low >= t2.high - t2.low


def test_more_benchmarks_do_not_average_a_shared_run_shift_out():
    rng = np.random.default_rng(1)
    few, many = (
        np.mean([pooled(study(rng, n_benchmarks=n, n_runs=3, common=0.1, own=0.0), target="T3", level=0.95).estimate.se
                 for _ in range(12)])
        for n in (4, 16)
    )  # fmt: skip
    assert many == pytest.approx(few, rel=0.25)


def test_one_training_run_cannot_be_pooled_for_the_method():
    groups = study(np.random.default_rng(0), n_benchmarks=3, n_runs=1, common=0.1, own=0.0)
    with pytest.raises(AnalysisError, match="T3 needs at least 2 training runs per arm; got m=1"):
        pooled(groups, target="T3", level=0.95)


def test_benchmark_without_any_variation_is_weighted_by_the_error_of_two_added_tasks():
    groups = study(np.random.default_rng(0), n_benchmarks=2, n_runs=3, common=0.0, own=0.0)
    groups["office"] = [Pair(np.zeros((3, 1, 10)), np.zeros((3, 1, 10)))]
    estimates = [mean_paired_difference(pairs_, target="T2", rare=True) for pairs_ in groups.values()]
    assert estimates[-1].se == pytest.approx(np.sqrt(2) / 12)
    expected = random_effects([e.value for e in estimates], [e.se for e in estimates], floor=True)
    assert pooled(groups, target="T2", level=0.95).estimate.value == pytest.approx(expected.mean)


def coverage(n_studies, **how):
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(n_studies):
        estimate = pooled(study(rng, **how), target="T3", level=0.95).estimate
        covered += estimate.low <= 0 <= estimate.high
    return covered / n_studies


def test_interval_for_the_method_covers_the_truth_with_shared_runs():
    # the errors of benchmarks pooled as if independent covered about .6 here
    assert coverage(60, n_benchmarks=7, n_runs=3, common=0.06, own=0.0, n_tasks=20) >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize("n_benchmarks", [2, 7])
@pytest.mark.parametrize(
    "common, own, between", [(0.06, 0.0, 0.0), (0.03, 0.02, 0.03), (0.0, 0.0, 0.05), (0.0, 0.05, 0.0)]
)
def test_interval_for_the_method_covers_the_truth_in_each_mix_of_variances(n_benchmarks, common, own, between):
    how = {"n_runs": 3, "common": common, "own": own, "between": between, "n_tasks": 40}
    # binomial SD of the share: 0.9 points
    assert coverage(600, n_benchmarks=n_benchmarks, **how) >= 0.93


def test_smoothed_curves_keep_runs_and_phases_apart(make_curves):
    curves = make_curves(arms=("agent_sft", "sft_then_lwm_rl"))
    table = smoothed(curves, n_points=5)
    assert len(table) == 3 * 5 + 3 * 2 * 2
    first = table.query("arm == 'agent_sft' and training_seed == 0").iloc[0]
    four = curves.query("arm == 'agent_sft' and training_seed == 0").head(4)
    assert (first["loss"], first["n_tokens"]) == pytest.approx((four["loss"].mean(), four["n_tokens"].mean()))
    assert table.query("phase == 'predictions'")["reward"].notna().all()
    assert pd.isna(first["reward"])
