"""Gail and Simon's test against its formula, its tables and its size."""

import numpy as np
import pytest
from scipy import stats

from replication.analyse.stats.families.heterogeneity import gail_simon, interaction_p
from replication.errors import AnalysisError


def test_gail_simon_agrees_with_the_formula_of_the_paper():
    # oracle gail-simon: formula of Gail & Simon 1985
    test = gail_simon([6, 3, -2, 5], [2, 2, 1.5, 2])
    assert test.q_plus == pytest.approx(17.5, rel=1e-8)
    assert test.q_minus == pytest.approx(1.7777777778, rel=1e-8)
    assert test.q == test.q_minus
    assert test.p == pytest.approx(0.300048353558, rel=1e-8)
    assert interaction_p([test.q, 0.0], 4) == pytest.approx([test.p, 1 - 2**-3])
    critical = {2: 2.7055434541, 3: 4.2305991778, 4: 5.4345301305, 5: 6.4978851609, 7: 8.4069847481}
    for k, q in critical.items():
        assert gail_simon([q**0.5, -9, *[0] * (k - 2)], np.ones(k)).p == pytest.approx(0.05, rel=1e-8)


def test_sign_does_not_matter_and_the_smaller_sum_counts():
    a, b = gail_simon([6, 3, -2, 5], [2, 2, 1.5, 2]), gail_simon([-6, -3, 2, -5], [2, 2, 1.5, 2])
    assert (b.q_plus, b.q_minus) == (a.q_minus, a.q_plus)
    assert (b.q, b.p) == (a.q, a.p)


def test_two_groups_are_a_one_sided_test_of_the_smaller_effect():
    test = gail_simon([3.0, -2.0], [1, 1])
    assert test.p == pytest.approx(stats.norm.sf(2.0))


def test_one_sign_only_has_the_largest_p():
    assert gail_simon([1.0, 2.0, 0.0], [1, 1, 1]) == pytest.approx((5, 0, 0, 0.75))


def test_size_is_nominal_at_the_boundary_of_the_null_hypothesis():
    # Under no effect at all, Q+ and Q- must both be large: far below alpha. One huge effect makes it the boundary.
    z = np.random.default_rng(0).normal(size=(4000, 3))
    z[:, 0] = 50
    p = np.array([gail_simon(row, np.ones(3)).p for row in z])
    assert (p < 0.05).mean() == pytest.approx(0.05, abs=0.011)


def test_groups_without_an_error_are_refused():
    with pytest.raises(AnalysisError, match="`s` must be above 0"):
        gail_simon([1, 2], [1, 0])
    with pytest.raises(AnalysisError, match="`d` must be finite"):
        gail_simon([1, np.nan], [1, 1])
    with pytest.raises(AnalysisError, match="n of at least 2"):
        gail_simon([1], [1])
    with pytest.raises(AnalysisError, match="must have the same shape"):
        gail_simon([1, 2], [1])
