"""Rank and sign tests over data sets against Demsar 2006 and scipy."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from replication.errors import AnalysisError
from replication.stats.ranks import (
    average_ranks,
    bonferroni_dunn_quantile,
    critical_difference,
    friedman,
    friedman_of_scores,
    nemenyi_critical_difference,
    nemenyi_quantile,
    one_sample_t,
    sign_test,
    wilcoxon_signed_rank,
)
from replication.stats.seeds import equal_spread

SEVEN = [6.3, 3.39, 5.24, 12.79, 11.28, 9.67, 8.96]


def test_friedman_and_critical_differences_are_those_of_demsar():
    # oracle friedman-and-critical-difference: Demsar 2006, JMLR, pp. 12-14
    test = friedman([3.143, 2.0, 2.893, 1.964], 14)
    assert test.chi2 == pytest.approx(9.28, abs=0.005)
    assert test.f == pytest.approx(3.69, abs=0.005)
    assert (test.df, test.df_error) == (3, 39)
    assert nemenyi_critical_difference(4, 14) == pytest.approx(1.25, abs=0.005)
    assert nemenyi_critical_difference(4, 14, alpha=0.10) == pytest.approx(1.12, abs=0.005)
    assert bonferroni_dunn_quantile(4) == pytest.approx(2.394, abs=0.005)


def test_nemenyi_quantiles_are_those_of_demsar():
    # oracle nemenyi-quantiles: Demsar 2006, table 5
    expected = [1.96, 2.343, 2.569, 2.728, 2.85, 2.949, 3.031, 3.102, 3.164]
    assert [nemenyi_quantile(k) for k in range(2, 11)] == pytest.approx(expected, abs=0.0011)


def test_seven_data_sets_resolve_little():
    # plan: with 7 data sets and 5 arms two average ranks must differ by 2.31
    assert nemenyi_critical_difference(5, 7) == pytest.approx(2.31, abs=0.01)
    assert critical_difference(bonferroni_dunn_quantile(5), 5, 7) == pytest.approx(2.498 * np.sqrt(30 / 42), abs=0.001)


def test_two_arms_need_the_normal_quantile_in_both_tests():
    assert nemenyi_quantile(2) == pytest.approx(stats.norm.isf(0.025), rel=1e-6)
    assert bonferroni_dunn_quantile(2) == pytest.approx(stats.norm.isf(0.025))


def test_friedman_of_scores_agrees_with_scipy_without_ties():
    scores = np.random.default_rng(0).normal(size=(9, 4)) + np.array([0, 0.5, 1, 1.5])
    ours, theirs = friedman_of_scores(scores), stats.friedmanchisquare(*scores.T)
    assert (ours.chi2, ours.chi2_p) == pytest.approx((theirs.statistic, theirs.pvalue))
    assert ours.f == pytest.approx(8 * ours.chi2 / (27 - ours.chi2))
    assert ours.f_p == pytest.approx(stats.f.sf(ours.f, 3, 24))


def test_best_score_has_rank_one_and_printed_ties_are_ties():
    scores = [[0.9, 0.5, 0.1], [0.1 + 0.2, 0.3, 0.2]]
    assert average_ranks(scores).tolist() == [1.25, 1.75, 3.0]
    assert average_ranks(scores, higher_is_better=False).tolist() == [2.75, 2.25, 1.0]
    assert average_ranks([[0.904, 0.9, 0.1]], decimals=2).tolist() == [1.5, 1.5, 3.0]


def test_equal_ranks_give_nothing_and_one_order_everywhere_gives_everything():
    assert friedman([2, 2, 2], 8)[:4] == (0, 1, 0, 1)
    unanimous = friedman([1, 2, 3], 8)
    assert (unanimous.chi2, unanimous.f, unanimous.f_p) == (16, np.inf, 0)
    # Printed ranks are rounded, which must carry chi2 neither below 0 nor above its largest value.
    assert friedman([1.995, 1.995, 1.995], 8).chi2 == 0
    assert friedman([1, 2.01, 3], 8)[:3:2] == (16, np.inf)


def test_zeros_are_split_between_the_signs():
    # oracle wilcoxon-zeros-split: Demsar 2006, table 2
    d = [0.005, -0.008, 0.017, 0.033, 0.006, -0.005, 0.007, 0, 0.063, 0, 0.022, 0.047, 0.009, 0.021]
    test = wilcoxon_signed_rank(d)
    assert (test.r_plus, test.r_minus) == pytest.approx((93, 12), abs=1e-9)
    assert test.p_two_sided == pytest.approx(0.011, abs=0.002)  # z = -2.54, to which he compares -1.96
    flipped = wilcoxon_signed_rank([-x for x in d])
    assert (flipped.r_plus, flipped.r_minus) == (12, 93)
    assert flipped.p_greater > 0.98


def test_printed_differences_are_rounded_before_ranking():
    # 0.3 - 0.2 and 0.2 - 0.1 differ in floating point; as printed they tie.
    d = [0.3 - 0.2, -(0.2 - 0.1), 0.5]
    assert wilcoxon_signed_rank(d)[:2] == (4.5, 1.5)
    assert sign_test([0.1 + 0.2 - 0.3, 1.0]).n_zero == 1


def test_seven_differences_reach_the_limit_of_resolution():
    # oracle seven-differences: scipy 1.17.1
    rank, sign, t = wilcoxon_signed_rank(SEVEN), sign_test(SEVEN), one_sample_t(SEVEN)
    assert rank.p_two_sided == pytest.approx(0.015625, rel=1e-8)
    assert rank.p_greater == pytest.approx(0.0078125, rel=1e-8)
    assert sign.p_two_sided == pytest.approx(0.015625, rel=1e-8)
    assert sign.p_greater == pytest.approx(0.0078125, rel=1e-8)
    assert t.mean == pytest.approx(8.23285714286, rel=1e-8)
    assert t.t == pytest.approx(6.43283851447, rel=1e-8)
    assert t.p_two_sided == pytest.approx(0.000667216337, rel=1e-8)
    assert t.df == 6


def test_one_sided_p_point_the_right_way():
    down = [-x for x in SEVEN]
    assert wilcoxon_signed_rank(down).p_greater == 1
    assert sign_test(down).p_greater == 1
    assert one_sample_t(down).p_greater == pytest.approx(1 - 0.000667216337 / 2)
    assert one_sample_t(down).t == pytest.approx(-6.43283851447)
    assert one_sample_t(SEVEN).se == pytest.approx(stats.sem(SEVEN))


def test_sign_test_counts_and_leaves_out_zeros():
    test = sign_test([1, 2, 3, -1, 0, 0])
    assert test[:3] == (3, 1, 2)
    assert test.p_two_sided == pytest.approx(10 / 16)
    assert test.p_greater == pytest.approx(5 / 16)
    assert sign_test([2.0, -1.0])[:4] == (1, 1, 0, 1.0)


def test_differences_that_do_not_vary_have_defined_tests():
    assert wilcoxon_signed_rank([0.0, 0.0]) == (1.5, 1.5, 1.0, 1.0)
    assert sign_test([0.0, 0.0]) == (0, 0, 2, 1.0, 1.0)
    assert one_sample_t([0.0, 0.0]) == (0.0, 0.0, 0.0, 1, 1.0, 0.5)
    assert one_sample_t([0.1, 0.1, 0.1])[2:] == (np.inf, 2, 0.0, 0.0)
    assert one_sample_t([-2.0, -2.0])[2:] == (-np.inf, 1, 0.0, 1.0)


def test_equal_spread_of_training_runs_is_the_test_of_brown_and_forsythe():
    # oracle brown-forsythe: scipy documentation of levene
    groups = {
        "a": [8.88, 9.12, 9.04, 8.98, 9.0, 9.08, 9.01, 8.85, 9.06, 8.99],
        "b": [8.88, 8.95, 9.29, 9.44, 9.15, 9.58, 8.36, 9.18, 8.67, 9.05],
        "c": [8.95, 9.12, 8.95, 8.85, 9.03, 8.84, 9.07, 8.98, 8.86, 8.98],
    }
    rows = [(arm, "tiny", "calling", i, x) for arm, values in groups.items() for i, x in enumerate(values)]
    runs = pd.DataFrame(rows, columns=["arm", "scale", "benchmark", "training_seed", "value"])
    assert equal_spread(runs)["p"].item() == pytest.approx(0.002431505967249681, rel=1e-9)


def test_input_that_cannot_be_ranked_is_refused():
    for function in (wilcoxon_signed_rank, sign_test, one_sample_t):
        with pytest.raises(AnalysisError, match="none missing"):
            function([1.0, np.nan])
        with pytest.raises(AnalysisError, match="at least one finite number"):
            function([])
        with pytest.raises(AnalysisError, match=r"`differences` must be .n,."):
            function([[1.0, 2.0]])
    with pytest.raises(AnalysisError, match="n at least 2"):
        one_sample_t([1.0])
    with pytest.raises(AnalysisError, match="at least 2 arms; got shape"):
        average_ranks([[1.0], [2.0]])
    with pytest.raises(AnalysisError, match="none missing"):
        friedman_of_scores([[1.0, np.nan], [2.0, 1.0]])
    with pytest.raises(AnalysisError, match="2 data sets"):
        friedman([1.5, 1.5], 1)
    with pytest.raises(AnalysisError, match=r"lie in \[1, 3\] with mean 2.0"):
        friedman([1, 2, 2], 5)
    with pytest.raises(AnalysisError, match="`alpha` lie between 0 and 1"):
        nemenyi_quantile(3, alpha=0)
    with pytest.raises(AnalysisError, match="`k` must be at least 2"):
        bonferroni_dunn_quantile(1)
    with pytest.raises(AnalysisError, match="positive quantile"):
        critical_difference(-1, 3, 5)
