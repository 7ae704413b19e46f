"""World-model accuracy against agent score: the join and the correlation."""

import numpy as np
import pytest
import statsmodels.api as sm

from replication.analyse.tables.probe import correlation_within, run_table
from replication.errors import AnalysisError

SCALES = (("xs", 0.0005), ("s", 0.0015))
ARMS = {"base": 0.1, "agent_sft": 0.4, "lwm_then_sft": {"xs": 0.5}}
SKILL = {"base": 0.1, "agent_sft": 0.4, "lwm_then_sft": 0.7}


def test_each_training_run_is_joined_on_the_environments_of_its_domain(make_scores, make_probe):
    scores = make_scores(ARMS, scales=SCALES, only_first=("base",))
    probe = make_probe(scores, SKILL)
    table = run_table(scores, probe, {"calling": "out", "terminal": "in"})
    assert table.groupby("domain").size().to_dict() == {"all": 11, "in": 11, "out": 11}
    row = table.query("arm == 'agent_sft' and scale == 's' and training_seed == 2 and domain == 'out'").iloc[0]
    where = "arm == 'agent_sft' and scale == 's' and training_seed == 2 and benchmark == 'calling'"
    assert row["score"] == pytest.approx(scores.query(where)["value"].mean())
    assert (row["exact"], row["token_f1"]) == pytest.approx(tuple(probe.query(where)[["value", "token_f1"]].mean()))
    assert set(run_table(scores, probe, {})["domain"]) == {"all"}


def test_correlation_within_groups_is_the_partial_correlation_given_the_groups():
    rng = np.random.default_rng(4)
    groups = np.repeat(["a", "b", "c"], 8)
    x = rng.normal(size=24) + np.repeat([0.0, 5.0, 9.0], 8)
    y = 0.5 * x + rng.normal(size=24) - np.repeat([0.0, 20.0, 3.0], 8)
    dummies = np.column_stack([groups == g for g in "abc"]).astype(float)
    residuals = [sm.OLS(v, dummies).fit().resid for v in (x, y)]
    found = correlation_within(x, y, groups)
    r = np.corrcoef(*residuals)[0, 1]
    assert found.value == pytest.approx(r)
    # Fisher's z of a partial correlation given k - 1 = 2 variables
    half = 1.959963984540054 / np.sqrt(24 - 2 - 3)
    assert (found.low, found.high) == pytest.approx((np.tanh(np.arctanh(r) - half), np.tanh(np.arctanh(r) + half)))
    assert (found.n, found.n_groups) == (24, 3)


def test_difference_between_groups_alone_is_no_correlation_within():
    rng = np.random.default_rng(0)
    groups = np.repeat([0, 1], 500)
    found = correlation_within(groups + 0.1 * rng.normal(size=1000), groups + 0.1 * rng.normal(size=1000), groups)
    assert abs(found.value) < 0.1
    assert found.low < 0 < found.high


@pytest.mark.slow
def test_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(1000):
        x = rng.normal(size=12)
        y = 0.6 * x + 0.8 * rng.normal(size=12)
        found = correlation_within(x, y, [0, 1] * 6)
        covered += found.low <= 0.6 <= found.high
    assert covered / 1000 == pytest.approx(0.95, abs=0.02)


def test_perfect_correlation_has_limits():
    found = correlation_within(np.arange(8.0), 2 * np.arange(8.0), [0] * 8)
    assert found.value == pytest.approx(1)
    assert found.high <= 1


@pytest.mark.parametrize(
    "x, groups, message",
    [
        ([1.0, 2.0, 3.0], [0, 0, 0], "within 1 groups needs 4 training runs; got 3"),
        ([1.0] * 6, [0] * 6, "nothing to correlate"),
        ([1.0, 1.0, 1.0, 2.0, 2.0, 2.0], [0, 0, 0, 1, 1, 1], "nothing to correlate"),
    ],
)
def test_undefined_correlation_raises_with_its_reason(x, groups, message):
    with pytest.raises(AnalysisError, match=message):
        correlation_within(x, np.arange(float(len(x))), groups)


def test_two_public_checkpoints_of_one_role_and_scale_are_joined_each_with_its_own_scores(make_scores, make_probe):
    scores = make_scores({"general": 0.4}, n_runs=2)
    scores = scores.assign(training_seed=scores["training_seed"].mask(scores["arm"] == "general"))
    table = run_table(scores, make_probe(scores, {"general": 0.5}), {}).set_index("unit")
    assert len(table) == scores["unit"].nunique() == 2
    for unit, part in scores.groupby("unit"):
        by_benchmark = part.groupby("benchmark")["value"].mean()
        assert table.loc[unit, "score"] == pytest.approx(by_benchmark.mean())
