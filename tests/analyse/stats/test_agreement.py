"""Agreement of scores over trials, groups and arms, against published and hand-computed values."""

import numpy as np
import pytest

from replication.analyse.stats.estimates.agreement import (
    design_effect,
    implied_icc,
    latent_correlation,
    one_way,
    weighted_size,
)
from replication.errors import AnalysisError

SHROUT_FLEISS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)
A = np.array([[1, 1], [1, 0], [0, 0], [0, 0]], float)  # trials of four tasks
B = np.array([[1, 1], [1, 1], [1, 0], [0, 0]], float)
TASKS = np.repeat(np.arange(4), 2)


def test_groups_of_one_size_give_the_published_intraclass_correlation():
    # Shrout & Fleiss 1979, tables 2 and 3: MS between targets 11.24, within 6.26, ICC(1,1) .17.
    found = one_way(SHROUT_FLEISS.ravel(), np.repeat(np.arange(6), 4))
    assert found.icc == pytest.approx((11.2416667 - 6.2638889) / (11.2416667 + 3 * 6.2638889), rel=1e-7)
    assert found.within == pytest.approx(6.26, abs=0.005)
    assert 4 * found.between + found.within == pytest.approx(11.24, abs=0.005)


def test_groups_of_unequal_size_by_hand():
    # Means 2 and 5, grand mean 3.2: MS between 3 1.2^2 + 2 1.8^2 = 10.8, within 4/3, n0 = 5 - 13/5 = 2.4.
    found = one_way([1, 2, 3, 4, 6], ["a", "a", "a", "b", "b"])
    assert found.within == pytest.approx(4 / 3) and found.between == pytest.approx((10.8 - 4 / 3) / 2.4)
    assert found.icc == pytest.approx(0.7473684, abs=1e-7) and found.n_groups == 2


def test_groups_that_differ_less_than_chance_have_a_negative_correlation():
    assert one_way([0, 1, 0, 1], [0, 0, 1, 1]).icc == pytest.approx(-1.0)  # between MS 0, within .5, n0 2


def test_equal_scores_have_no_correlation():
    assert np.isnan(one_way([1, 1, 1, 1], [0, 0, 1, 1]).icc)


def test_latent_correlation_by_hand():
    # Task means (1, .5, 0, 0) and (1, 1, .5, 0): covariance .5625/3; MS .4583 and .125, so both variances (.4583 - .125)/2.
    found = latent_correlation(A.ravel(), TASKS, B.ravel(), TASKS)
    assert found == pytest.approx((0.5625 / 3) / (1 / 6))
    # Spearman 1904: correlation of the means, .8182, over the reliability of the means of two, .7273 in both.
    assert found == pytest.approx((0.5625 / 0.6875) / (1 - 0.125 / (0.6875 * 2 / 3)))


def test_order_of_rows_and_names_of_tasks_do_not_matter():
    order = np.array([6, 1, 3, 0, 7, 2, 5, 4])
    named = np.array(["d", "c", "b", "a"])[::-1][TASKS]
    shuffled = latent_correlation(A.ravel()[order], named[order], B.ravel(), named)
    assert shuffled == pytest.approx(latent_correlation(A.ravel(), TASKS, B.ravel(), TASKS))


@pytest.mark.parametrize("rho", [0.3, 0.8])
def test_simulated_tasks_have_the_correlation_and_the_icc_they_were_given(rho):
    # Success probabilities uniform, so icc = (1/12)/(1/4) = 1/3; those of the second arm are the first's with chance rho.
    rng, n, k = np.random.default_rng(3), 20_000, 3
    first = rng.uniform(size=n)
    second = np.where(rng.uniform(size=n) < rho, first, rng.uniform(size=n))
    a, b = ((rng.uniform(size=(n, k)) < p[:, None]).astype(float).ravel() for p in (first, second))
    tasks = np.repeat(np.arange(n), k)
    assert one_way(a, tasks).icc == pytest.approx(1 / 3, abs=0.015)
    assert latent_correlation(a, tasks, b, tasks) == pytest.approx(rho, abs=0.03)


def test_design_effect_of_textbooks():
    assert design_effect(0.05, 20) == pytest.approx(1.95)  # Kish 1965: 1 + 19 x .05
    assert weighted_size([20, 20, 20]) == 20 and weighted_size([3, 2]) == pytest.approx(13 / 5)
    assert design_effect(-0.2, 20) == 0.0


def test_icc_that_printed_spreads_imply():
    # 10 runs of 500 tasks, 20.4 +- 1.0 and 22.3 +- 1.8 (arXiv 2602.07150): .69 and .07 in the analysis plan, section 1.12.
    one, two = implied_icc([0.204], [0.01], [500]), implied_icc([0.223], [0.018], [500])
    assert [one, two] == pytest.approx([0.692, 0.065], abs=5e-4)
    both = implied_icc([0.204, 0.223], [0.01, 0.018], [500, 500])
    assert both == pytest.approx(1 - 500 * (0.01**2 + 0.018**2) / (0.204 * 0.796 + 0.223 * 0.777))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: one_way([1.0, 0.0], [0, 1]), "at least 2 groups, and a group of at least 2 scores; got 2 scores in 2"),
        (lambda: one_way([1.0, 0.0], [0, 0]), "got 2 scores in 1 groups"),
        (lambda: one_way([1.0, np.nan], [0, 0]), "1 of 2 scores are missing or infinite"),
        (lambda: one_way([1.0], [0, 0]), "as many scores as groups"),
        (lambda: latent_correlation(A.ravel(), TASKS, B.ravel(), TASKS + 1), "the same tasks in both arms"),
        (lambda: weighted_size([]), "at least one group"),
        (lambda: design_effect(2.0, 20), "`icc` must lie in"),
        (lambda: implied_icc([0.5], [0.1, 0.2], [10]), "as many means, SDs and task counts"),
        (lambda: implied_icc([1.0], [0.0], [10]), "no variance to compare"),
    ],
)
def test_input_that_has_no_answer_is_refused(call, message):
    with pytest.raises(AnalysisError, match=message):
        call()


def test_arm_without_variance_between_tasks_has_no_latent_correlation():
    assert np.isnan(latent_correlation(np.ones(8), TASKS, A.ravel(), TASKS))
