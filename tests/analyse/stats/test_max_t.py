"""Max-t, step-down and bands hold their level over a family and use its correlation."""

import numpy as np
import pytest
from scipy import stats

from replication.analyse.stats.families.multiplicity import holm
from replication.analyse.stats.resampling.max_t import bands, max_t, min_p
from replication.analyse.stats.resampling.weights import bootstrap_means
from replication.errors import AnalysisError


def draws(n: int, correlation: np.ndarray, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).multivariate_normal(np.zeros(len(correlation)), correlation, size=n)


def test_adjusted_p_by_hand():
    # |t*| per resample: (1, 0), (0, 2), (3, 1), (1, 1); observed t: 2 and 1.
    estimates = np.array([2.0, -1.0])
    resamples = estimates + np.array([[1.0, 0.0], [0.0, -2.0], [-3.0, 1.0], [1.0, 1.0]])
    p = max_t(estimates, resamples, se=[1, 1])
    assert p.t.tolist() == [2, -1]
    assert p.raw.tolist() == [2 / 5, 4 / 5]
    assert p.single_step.tolist() == [3 / 5, 5 / 5]
    assert p.step_down.tolist() == [3 / 5, 4 / 5]


def test_one_sided_p_by_hand():
    estimates = np.array([2.0, -1.0])
    resamples = estimates + np.array([[1.0, 0.0], [0.0, -2.0], [-3.0, 1.0], [1.0, 1.0]])
    assert max_t(estimates, resamples, se=[1, 1], alternative="greater").raw.tolist() == [
        1 / 5,
        4 / 5,
    ]  # t* of the second: 0, -2, 1, 1
    less = max_t(estimates, resamples, se=[1, 1], alternative="less")
    assert less.t.tolist() == [2, -1]
    assert less.raw.tolist() == [1.0, 2 / 5]  # -t* of the second: 0, 2, -1, -1
    assert less.single_step.tolist() == [1.0, 3 / 5]  # maxima over both: 0, 2, 3, -1


def test_errors_scale_the_statistics():
    x = draws(4000, np.eye(2))
    a, b = max_t([2, 2], x + 2), max_t([2, 200], (x + 2) * [1, 100])
    assert a.t == pytest.approx(2 / x.std(axis=0, ddof=1))
    assert b.t == pytest.approx(a.t) and b.step_down == pytest.approx(a.step_down)


def test_independent_columns_need_the_sidak_correction_and_one_column_none():
    x = draws(40_000, np.eye(5))
    t = np.array([2.5, 1.0, 0.5, 0.2, 3.0])
    p = max_t(t, x + t, se=np.ones(5))
    normal = 2 * stats.norm.sf(t)
    assert p.raw == pytest.approx(normal, abs=0.01)
    assert p.single_step == pytest.approx(1 - (1 - normal) ** 5, abs=0.01)
    assert p.step_down == pytest.approx([0.0487, 0.6811, 0.8525, 0.8525, 0.0134], abs=0.012)
    # 1 - (1 - p_(i))^(n - i + 1), made monotone: Holm & Sidak


def test_columns_that_move_together_need_no_correction():
    x = draws(5000, np.full((4, 4), 1.0))
    p = max_t([2.0, 2.0, 2.0, 2.0], x + 2, se=np.ones(4))
    assert p.single_step == pytest.approx(p.raw, abs=0.003)


@pytest.mark.parametrize("adjust", [max_t, min_p])
@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_raw_step_down_and_single_step_are_in_this_order(adjust, alternative):
    rng = np.random.default_rng(3)
    t = rng.normal(size=6) * 2
    p = adjust(t, draws(2000, 0.5 * np.eye(6) + 0.5, 1) + t, alternative=alternative)
    assert (p.raw <= p.step_down + 1e-12).all() and (p.step_down <= p.single_step + 1e-12).all()
    assert (p.step_down <= holm(p.raw) + 0.02).all()
    strength = {"two-sided": abs(p.t), "greater": p.t, "less": -p.t}[alternative]
    assert (np.diff(p.step_down[np.argsort(-strength)]) >= -1e-12).all() or adjust is min_p
    weakest = p.step_down.argmax()
    assert p.step_down[weakest] >= p.raw[weakest]


def test_min_p_of_one_column_is_its_raw_p():
    x = draws(999, np.eye(1))
    p, same = min_p([1.7], x + 1.7), max_t([1.7], x + 1.7)
    assert p.single_step == p.step_down == p.raw == same.raw


def test_min_p_agrees_with_max_t_where_columns_have_one_shape():
    x = draws(20_000, 0.5 * np.eye(4) + 0.5)
    t = np.array([2.4, 1.1, 0.3, -1.9])
    assert min_p(t, x + t).single_step == pytest.approx(max_t(t, x + t).single_step, abs=0.012)


def test_min_p_counts_that_any_of_many_columns_may_be_the_largest():
    # The first column beats all of its resamples; so would one of 20 columns in about 20 of 1000 families.
    x = np.random.default_rng(0).uniform(-1, 1, size=(999, 20))
    t = np.r_[1.5, np.zeros(19)]
    p = min_p(t, x + t, se=np.ones(20), alternative="greater")
    assert p.raw[0] == 1 / 1000
    assert p.single_step[0] == pytest.approx(20 / 1000, abs=0.002)


def test_min_p_does_not_let_a_heavy_tail_hide_the_other_columns():
    rng = np.random.default_rng(2)
    x = np.column_stack([rng.standard_t(1.5, 5000), rng.normal(size=5000)])
    t = np.array([0.0, 3.2])
    assert min_p(t, x + t, se=[1, 1]).single_step[1] < 0.01 < max_t(t, x + t, se=[1, 1]).single_step[1]


def test_bands_have_the_quantile_of_the_largest_statistic():
    x = draws(60_000, np.eye(3))
    band = bands([1.0, 2.0, 3.0], x + np.array([1, 2, 3]), se=np.ones(3), level=0.9)
    assert band.quantile == pytest.approx(stats.norm.isf((1 - 0.9 ** (1 / 3)) / 2), abs=0.02)
    assert band.high - [1, 2, 3] == pytest.approx([band.quantile] * 3)
    assert band.high + band.low == pytest.approx([2, 4, 6])
    one = bands([0.0], draws(60_000, np.eye(1)), level=0.95)
    assert one.quantile == pytest.approx(1.96, abs=0.03)


def test_bands_are_as_wide_as_each_columns_error():
    x = draws(3000, np.eye(2)) * [1, 10]
    band = bands([0.0, 0.0], x)
    assert band.high / x.std(axis=0, ddof=1) == pytest.approx([band.quantile] * 2)


def test_band_excludes_zero_exactly_where_single_step_rejects():
    x = draws(1999, 0.5 * np.eye(3) + 0.5)
    for t in np.linspace(1.8, 2.8, 21):
        estimates = np.array([t, 0.0, 0.0])
        band, p = bands(estimates, x + estimates, level=0.95), max_t(estimates, x + estimates)
        assert (band.low[0] > 0) == (p.single_step[0] <= 0.05)


def test_resamples_of_the_engine_may_be_float32():
    rng = np.random.default_rng(0)
    scores = rng.normal(0.2, 1, size=(100, 4))
    resamples = bootstrap_means(scores, n_resamples=2000, rng=rng)
    single, double = (max_t(scores.mean(axis=0), x) for x in (resamples, resamples.astype(float)))
    assert single.t == pytest.approx(double.t, rel=1e-5)
    assert single.step_down == pytest.approx(double.step_down, abs=0.002)


def test_error_of_the_family_is_kept_under_the_null():
    # 400 families of 10 true nulls from 60 tasks: 5 % of families, not of columns, have a false rejection.
    rng = np.random.default_rng(12)
    rejected = 0
    for _ in range(400):
        scores = rng.normal(size=(60, 1)) + rng.normal(size=(60, 10))
        mean, se = scores.mean(axis=0), scores.std(axis=0, ddof=1) / np.sqrt(60)
        rejected += max_t(mean, bootstrap_means(scores, n_resamples=199, rng=rng), se=se).step_down.min() <= 0.05
    assert 0.02 <= rejected / 400 <= 0.10


def test_two_resamples_will_do():
    assert max_t([1.0], [[0.0], [2.0]]).raw == [3 / 3]
    assert max_t([3.0], [[2.0], [4.0]]).raw == [1 / 3]


def test_column_without_spread_has_a_defined_statistic():
    x = draws(99, np.eye(3))
    x[:, 1:] = 0
    p = max_t([0.5, 0.0, 0.1], x + np.array([0.5, 0.0, 0.1]))
    assert p.t[1] == 0 and p.t[2] == np.inf
    assert p.step_down[1] == 1 and p.step_down[2] == 0.01
    band = bands([0.5, 0.0, 0.1], x + np.array([0.5, 0.0, 0.1]))
    assert (band.low[1], band.high[1], band.low[2], band.high[2]) == (0, 0, 0.1, 0.1)


def test_invalid_resamples_are_refused():
    x = np.zeros((10, 2))
    with pytest.raises(AnalysisError, match=r"must be .n_columns,. and `resamples`"):
        max_t([1.0], x)
    with pytest.raises(AnalysisError, match="finite"):
        max_t([1.0, np.nan], x)
    with pytest.raises(AnalysisError, match="1 numbers in them missing"):
        max_t([1.0, 2.0], [[0.0, 1.0], [np.nan, 0.0]])
    with pytest.raises(AnalysisError, match="at least 2 finite resamples"):
        min_p([1.0, 2.0], x[:1])
    with pytest.raises(AnalysisError, match="`se` must be"):
        max_t([1.0, 2.0], x, se=[1, -1])
    with pytest.raises(AnalysisError, match="`alternative` must be one of"):
        max_t([1.0, 2.0], x, alternative="up")
    with pytest.raises(AnalysisError, match="`level` must lie between 0 and 1"):
        bands([1.0, 2.0], x, level=95)
