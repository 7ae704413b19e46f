"""The audit model against the expected numbers of the audit of table 9.

Source of all expected values: expected_audit.json of the project's analysis plan, computed independently from the formulas;
tolerance stated there: 0.002 points + 0.1 %, probabilities 0.1 %.
"""

import numpy as np
import pytest
from scipy import stats

from replication.analyse.evidence import load_benchmarks, load_scores
from replication.analyse.stats.printed import audit_model, families
from replication.analyse.stats.printed.rows import compare
from replication.errors import AnalysisError

NAMES = [
    "Terminal-Bench 2.0", "SWE-bench Verified", "SWE-bench Pro", "WideSearch", "Claw-Eval", "QwenClawBench", "BFCL v4"
]  # fmt: skip


@pytest.fixture(scope="module")
def rows():
    return compare(load_scores(), load_benchmarks(), "sft_lwm_rl", "sft", unstated_runs=1)


def test_rows_are_the_published_table_with_effective_items_for_bfcl(rows):
    assert rows["name"].tolist() == NAMES
    assert rows["n"].tolist() == [89, 500, 731, 200, 104, 100, 882]
    assert rows["k"].tolist() == [5, 3, 3, 1, 3, 3, 1]
    assert (100 * (rows["p_b"] - rows["p_a"])).tolist() == pytest.approx([6.3, 3.39, 5.24, 12.79, 11.28, 9.67, 8.96])
    assert rows.loc[~rows["runs_stated"], "name"].tolist() == ["WideSearch"]


def test_one_unpaired_run_of_each_row(rows):
    se = [7.197, 2.991, 2.598, 4.852, 6.769, 6.996, 2.233]
    p = [0.3814, 0.257, 0.04366, 0.008393, 0.09564, 0.1669, 6.001e-05]
    newcombe = [
        (-7.728, 19.99), (-2.47, 9.218), (0.1428, 10.3), (3.197, 22.06), (-2.043, 24.05), (-4.045, 22.88), (4.567, 13.31)
    ]  # fmt: skip
    for row, *expected in zip(rows.itertuples(), se, p, newcombe, strict=True):
        estimate = audit_model.unpaired_single_run(row.p_a, row.p_b, row.n)
        assert 100 * estimate.se == pytest.approx(expected[0], rel=1e-3, abs=0.002)
        assert estimate.p_two_sided == pytest.approx(expected[1], rel=1e-3)
        assert (100 * estimate.low, 100 * estimate.high) == pytest.approx(expected[2], rel=1e-3, abs=0.002)


@pytest.mark.parametrize(
    "name, icc, k, rho, se, p, low, high",
    [
        ("Terminal-Bench 2.0", 0.35, 5, 0.0, 4.986, 0.2064, -3.473, 16.07),
        ("Terminal-Bench 2.0", 0.35, 3, 0.7, 4.083, 0.1228, -1.703, 14.3),
        ("SWE-bench Verified", 0.35, 1, 0.5, 2.716, 0.212, -1.934, 8.714),
        ("SWE-bench Pro", 0.35, 3, 0.5, 1.626, 0.001267, 2.054, 8.426),
        ("WideSearch", 0.35, 1, 0.3, 4.591, 0.005338, 3.792, 21.79),
        ("Claw-Eval", 0.35, 3, 0.5, 4.237, 0.007767, 2.975, 19.59),
        ("QwenClawBench", 0.35, 3, 0.3, 4.754, 0.04194, 0.3527, 18.99),
        ("BFCL v4", 0.35, 1, 0.7, 1.941, 3.904e-06, 5.156, 12.76),
    ],
)
def test_paired_intervals_for_tasks_like_these(rows, name, icc, k, rho, se, p, low, high):
    row = rows.set_index("name").loc[name]
    estimate = audit_model.difference(row["p_a"], row["p_b"], int(row["n"]), k, icc=icc, rho=rho)
    assert 100 * estimate.se == pytest.approx(se, rel=1e-3, abs=0.002)
    assert estimate.p_two_sided == pytest.approx(p, rel=1e-3)
    assert (100 * estimate.low, 100 * estimate.high) == pytest.approx((low, high), rel=1e-3, abs=0.002)


@pytest.mark.parametrize(
    "name, icc, k, se, p",
    [
        ("Terminal-Bench 2.0", 0.5, 5, 2.276, 0.005639),
        ("SWE-bench Verified", 0.35, 3, 1.392, 0.01488),
        ("SWE-bench Pro", 0.7, 1, 1.423, 0.0002304),
        ("QwenClawBench", 0.5, 3, 2.856, 0.0007103),
    ],
)
def test_intervals_for_these_tasks(rows, name, icc, k, se, p):
    row = rows.set_index("name").loc[name]
    estimate = audit_model.difference(row["p_a"], row["p_b"], int(row["n"]), k, icc=icc, rho=0.9, target="T1")
    assert 100 * estimate.se == pytest.approx(se, rel=1e-3, abs=0.002)
    assert estimate.p_two_sided == pytest.approx(p, rel=1e-3)


def test_three_targets_of_one_row():
    # Oracle "standard-errors-T1-T2-T3" of the analysis plan.
    given = {"p_a": 0.4, "p_b": 0.48, "n": 250, "k": 4, "icc": 0.5, "rho": 0.6}
    assert audit_model.standard_error(**given, target="T1") == pytest.approx(0.0156460858, rel=1e-7)
    assert audit_model.standard_error(**given, target="T2") == pytest.approx(0.0252307937, rel=1e-7)
    t3 = [audit_model.standard_error(**given, target="T3", tau=0.015, m=m) for m in (1, 3)]
    assert t3 == pytest.approx([0.0329635094, 0.0280462645], rel=1e-7)
    assert audit_model.difference(**given).p_two_sided == pytest.approx(0.00152057122, rel=1e-7)


@pytest.mark.parametrize(
    "target, icc, rho, n_raw, n_holm, iut_p",
    [
        ("T2", 0.5, 0.0, 4, 1, 0.129),
        ("T2", 0.5, 0.5, 5, 4, 0.06954),
        ("T2", 0.5, 0.7, 6, 5, 0.04007),
        ("T2", 0.7, 0.5, 5, 3, 0.086),
        ("T2", 0.35, 0.85, 7, 5, 0.02029),
        ("T2", 0.7, 0.9, 7, 7, 0.007682),
        ("T1", 0.5, 0.0, 7, 7, 0.00282),
        ("T1", 0.35, 0.0, 7, 7, 0.007597),
        ("T1", 0.05, 0.0, 7, 5, 0.02231),
        ("T1", 0.0, 0.0, 6, 4, 0.02516),
    ],
)
def test_all_rows_together(rows, target, icc, rho, n_raw, n_holm, iut_p):
    family = families.family_grid(rows, [icc], [rho], target=target).iloc[0]
    assert (family["n_raw"], family["n_holm"]) == (n_raw, n_holm)
    assert family["iut_p"] == pytest.approx(iut_p, rel=3e-3)


def test_task_correlation_at_which_the_verdict_turns(rows):
    # Terminal-Bench 2.0 is the binding row: 0.8021, 0.8016, 0.8013.
    turning = families.turning_points_of_all(rows, [0.35, 0.5, 0.7])
    assert list(turning.values()) == pytest.approx([0.8021, 0.8016, 0.8013], abs=1e-4)
    assert families.turning_points_of_all(rows.assign(p_b=rows["p_a"]), [0.5]) == {0.5: None}
    assert families.turning_points_of_all(rows.assign(p_b=0.9), [0.5]) == {0.5: 0.0}


def test_outcome_correlation_is_not_task_correlation():
    # At one run only icc * rho counts: equal products, equal errors.
    a, b = (audit_model.standard_error(0.4, 0.5, 100, 1, icc=i, rho=r) for i, r in ((0.5, 0.6), (0.6, 0.5)))
    assert a == pytest.approx(float(b))


def test_bfcl_items_and_clusters_have_the_errors_of_the_plan():
    table = load_scores().query("benchmark == 'bfcl_v4' and weight == weight")
    parts = [table.loc[table["arm"] == arm, "value"] for arm in ("sft", "sft_lwm_rl")]
    one = table[table["arm"] == "sft"]
    assert audit_model.effective_items(0.6229, 0.7125, parts, one["n_clusters"], one["weight"]) == pytest.approx(
        882.2, abs=0.1
    )
    independent = [200, 465, 800, 860, 1351, 1124]
    assert audit_model.effective_items(0.6229, 0.7125, parts, independent, one["weight"]) == pytest.approx(2474, abs=1)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: audit_model.standard_error(33.25, 39.55, 89, 5, icc=0.5, rho=0.5), "must be fractions"),
        (lambda: audit_model.standard_error(0.3, 0.4, 0, 5, icc=0.5, rho=0.5), "must be at least 1"),
        (lambda: audit_model.effective_items(0.5, 0.5, [[0.5], [0.5]], [10], [0.4]), "must sum to 1; got 0.4"),
        (lambda: compare(load_scores(), load_benchmarks(), "general", "sft", 1), "its arms are sft, sft_lwm_rl"),
    ],
)
def test_wrong_input_is_one_clear_error(call, message):
    with pytest.raises(AnalysisError, match=message):
        call()


def test_grid_is_elementwise(rows):
    se = audit_model.standard_error(rows["p_a"], rows["p_b"], rows["n"], rows["k"], icc=0.5, rho=0.5)
    assert np.asarray(se).shape == (7,)
    assert 100 * se[0] == pytest.approx(4.259, abs=0.002)  # Terminal-Bench 2.0


@pytest.mark.parametrize(
    ("p_a", "p_b", "n"), [(0.3, 0.7, 10), (0.0, 1.0, 8), (0.6, 0.6, 50), (0.7, 0.62, 500), (0.1, 0.0, 30)]
)
def test_fisher_p_value_is_that_of_the_exact_test(p_a, p_b, n):
    table = [[round(p * n), n - round(p * n)] for p in (p_a, p_b)]
    assert audit_model.fisher_p_value(p_a, p_b, n) == pytest.approx(stats.fisher_exact(table).pvalue, rel=1e-12)
    assert audit_model.fisher_p_value(p_a, p_b, n) == audit_model.fisher_p_value(p_b, p_a, n)


def test_fisher_p_value_counts_both_tails_of_a_table_known_by_hand():
    # 1 and 3 of 3 passes: P(1 or fewer of 4 in a group of 3 among 6) = 3 x 1 / 15, and as much in the other tail.
    assert audit_model.fisher_p_value(1 / 3, 1.0, 3) == pytest.approx(2 * 3 / 15)
