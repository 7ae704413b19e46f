import numpy as np
import pytest
from statsmodels.stats.weightstats import DescrStatsW, ttost_ind

from replication.analyse.stats.two_studies.equivalence import tost_one_sample, tost_p, tost_two_sample
from replication.errors import AnalysisError


def test_one_sample():
    # oracle tost-one-sample: TOSTER test file
    found = tost_one_sample(0.54, 1.2, 100, margin=0.3 * 1.2, mu=0.5)
    assert found == pytest.approx((3.333333, 0.0006040021, -2.666667, 0.004474619, 99), rel=2e-6)
    assert found.p == found.p2 == pytest.approx(tost_p(0.04, 0.12, 99, 0.36))


def test_two_samples():
    # oracle tost-two-sample-welch: TOSTER test file
    found = tost_two_sample(5.25, 0.95, 95, 5.22, 0.83, 89, margin=0.3835687)
    assert found == pytest.approx((3.14973, 0.0009560083, -2.692771, 0.003875522, 181.1344), rel=2e-6)
    assert found.p == found.p2


def test_swapped_samples_swap_the_two_tests():
    first = tost_two_sample(5.25, 0.95, 95, 5.1, 0.5, 20, margin=0.4)
    second = tost_two_sample(5.1, 0.5, 20, 5.25, 0.95, 95, margin=0.4)
    assert second == pytest.approx((-first.t2, first.p2, -first.t1, first.p1, first.df))
    assert second.p == second.p1 == pytest.approx(first.p2)


def test_both_are_those_of_statsmodels_on_data():
    rng = np.random.default_rng(8)
    x, y = rng.normal(0.1, 1.0, 40), rng.normal(0.0, 2.0, 15)
    found = tost_two_sample(x.mean(), x.std(ddof=1), 40, y.mean(), y.std(ddof=1), 15, margin=1.1)
    p, (t1, p1, df), (t2, p2, _) = ttost_ind(x, y, -1.1, 1.1, usevar="unequal")
    assert found == pytest.approx((t1, p1, t2, p2, df))
    assert found.p == pytest.approx(p)
    one = tost_one_sample(x.mean(), x.std(ddof=1), 40, margin=0.4, mu=0.2)
    p, (t1, p1, df), (t2, p2, _) = DescrStatsW(x).ttost_mean(-0.2, 0.6)
    assert one == pytest.approx((t1, p1, t2, p2, df))
    assert one.p == pytest.approx(p)


def test_samples_without_spread_are_decided_by_their_means():
    assert tost_one_sample(0.1, 0.0, 5, margin=0.2) == (np.inf, 0.0, -np.inf, 0.0, 4)
    assert tost_one_sample(0.2, 0.0, 5, margin=0.2).p == 1  # on the bound is not inside
    assert tost_one_sample(-0.3, 0.0, 5, margin=0.2) == (-np.inf, 1.0, -np.inf, 0.0, 4)
    assert tost_two_sample(1.0, 0.0, 5, 1.1, 0.0, 4, margin=0.2) == (np.inf, 0.0, -np.inf, 0.0, 7)
    assert tost_two_sample(1.0, 0.0, 5, 1.1, 1.0, 4, margin=0.2).df == pytest.approx(3)


def test_bad_input_is_refused():
    for mean, sd, n in ((np.nan, 1, 5), (0, -1, 5), (0, np.nan, 5), (0, 1, 1)):
        with pytest.raises(AnalysisError, match="a sample needs a finite mean"):
            tost_one_sample(mean, sd, n, margin=1)
        with pytest.raises(AnalysisError, match="a sample needs a finite mean"):
            tost_two_sample(0, 1, 5, mean, sd, n, margin=1)
    for margin in (0.0, -1.0, np.nan):
        with pytest.raises(AnalysisError, match="`margin` must be above 0"):
            tost_two_sample(0, 1, 5, 0, 1, 5, margin=margin)
    with pytest.raises(AnalysisError, match="`margin` must be above 0"):
        tost_one_sample(0, 1, 5, margin=1, mu=np.inf)
