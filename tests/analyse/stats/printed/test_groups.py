"""Standard errors for tasks of other groups, against the covariance matrix of the tasks and the ungrouped audit."""

import numpy as np
import pandas as pd
import pytest

from replication.analyse.stats.distributions import t_sf
from replication.analyse.stats.printed import families, groups
from replication.analyse.stats.printed.rows import standard_errors
from replication.errors import AnalysisError

POINT = {"icc": 0.5, "rho": 0.5}
SIZES = {"a": [1, 2, 3, 4]}
ROWS = pd.DataFrame(
    {"benchmark": ["a", "b"], "name": ["A", "B"], "p_a": [0.4, 0.3], "p_b": [0.6, 0.5], "n": [10, 200], "k": [3, 1],
     "upper_bound": [False, False]}
)  # fmt: skip


def test_error_is_that_of_tasks_with_a_common_part_per_group():
    # v = .24 in both arms: between tasks .5 (.48 - .24) = .12, run noise .24, one run .36; 5 % of .36 is between groups.
    group = 0.05 * 0.36
    code = np.repeat(np.arange(4), SIZES["a"])
    covariance = group * (code[:, None] == code) + (0.12 - group + 0.24 / 3) * np.eye(10)
    error = groups.grouped_errors(ROWS, SIZES, 0.05, **POINT)
    assert error[0] == pytest.approx(np.sqrt(covariance.sum()) / 10, rel=1e-12)
    assert error[1] == standard_errors(ROWS, **POINT)[1]


@pytest.mark.parametrize("group_icc", [0.0, -0.1])
def test_groups_that_do_not_differ_leave_the_error_as_it_was(group_icc):
    assert groups.grouped_errors(ROWS, SIZES, group_icc, **POINT) == pytest.approx(standard_errors(ROWS, **POINT))


def test_rows_with_groups_have_the_t_quantile_of_their_groups():
    row = groups.grouped_rows(ROWS, SIZES, [0.05], **POINT).iloc[0]
    assert (row["name"], row["n_groups"], row["weighted_size"]) == ("A", 4, 3.0)
    assert row["ratio"] == pytest.approx(row["se_grouped"] / row["se"])
    assert row["high"] - row["delta"] == pytest.approx(3.182446 * row["se_grouped"], rel=1e-6)  # t table, 3 df, .975
    assert row["p_one_sided"] == pytest.approx(float(t_sf(0.2 / row["se_grouped"], 3)))
    assert groups.grouped_rows(ROWS, {"c": [1, 1]}, [0.05], **POINT).empty


def test_family_without_groups_is_that_of_the_audit():
    plain = families.family_grid(ROWS, [0.5], [0.0, 0.5])
    found = groups.grouped_family(ROWS, {}, [0.1], [0.5], [0.0, 0.5])
    assert found["iut_p"].tolist() == pytest.approx(plain["iut_p"].tolist(), rel=1e-12)
    with_groups = groups.grouped_family(ROWS, SIZES, [0.1], [0.5], [0.5]).iloc[0]
    assert with_groups["weakest"] == "A" and with_groups["iut_p"] > plain["iut_p"].iloc[1]


def test_row_of_half_the_tasks_has_groups_of_half_the_size():
    half = groups.grouped_rows(ROWS.assign(n=[5, 200]), SIZES, [0.05], **POINT).iloc[0]
    assert half["weighted_size"] == pytest.approx(1.5)


def test_row_without_variance_has_no_ratio():
    row = groups.grouped_rows(ROWS.assign(p_a=[0.0, 0.3], p_b=[1.0, 0.5]), SIZES, [0.05], **POINT).iloc[0]
    assert np.isnan(row["ratio"]) and row["se_grouped"] == 0 and row["p_one_sided"] == 0


def test_a_single_group_is_refused():
    with pytest.raises(AnalysisError, match="at least 2 of them; a has 1"):
        groups.grouped_rows(ROWS, {"a": [10]}, [0.05], **POINT)
