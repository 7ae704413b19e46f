"""Gaps of matched pairs, their mean under restrictions and their course over size, against theory and known scores."""

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats

from replication.analyse.evidence import load_general, load_pairs
from replication.analyse.stats.families.meta import random_effects
from replication.analyse.stats.printed import matched
from replication.errors import AnalysisError

AUDIT = {"icc": 0.5, "rho": 0.5}


def pair(name="one", agent=0.7, general=0.5, **changes):
    row = {
        "pair": name, "family": name, "agent": name, "general": "g", "general_mode": "FC", "base_identity": "read",
        "params_b": 8.0, "active_b": np.nan, "licence": "MIT", "benchmark": "b", "metric": "overall", "n_clusters": 100.0,
        "runs": np.nan, "agent_date": "2025-01-01", "general_date": "2025-01-01", "measured_by": "board",
        "same_update": True, "p_agent": agent, "p_general": general,
    }  # fmt: skip
    return row | changes


def gaps(*rows, **options):
    return matched.gaps(pd.DataFrame(rows), "b", "overall", **(AUDIT | options))


def test_gap_is_agent_minus_general_with_the_error_of_the_audit_model():
    row = gaps(pair(), unstated_runs=2).iloc[0]
    omega2 = 0.5 * (0.21 + 0.25 - np.sqrt(0.21 * 0.25))
    se = np.sqrt((omega2 + 0.5 * 0.46 / 2) / 100)
    assert (row["value"], row["se"]) == (pytest.approx(0.2), pytest.approx(se))
    assert (row["low"], row["high"]) == (pytest.approx(0.2 - 1.959964 * se), pytest.approx(0.2 + 1.959964 * se))
    assert row["p_two_sided"] == pytest.approx(2 * stats.norm.sf(0.2 / se))
    assert (row["n"], row["k"]) == (100, 2)


def test_stated_runs_win_over_the_assumed_number():
    assert gaps(pair(runs=3.0), unstated_runs=2).loc[0, "k"] == 3


def test_holm_runs_over_the_pairs_of_the_table():
    table = gaps(pair(), pair("two", agent=0.52))
    assert table["p_holm"].tolist() == pytest.approx([2 * table["p_two_sided"][0], table["p_two_sided"][1]])


def test_equal_scores_give_p_one_and_scores_of_zero_zero_width():
    assert gaps(pair(agent=0.5)).loc[0, "p_two_sided"] == 1
    none = gaps(pair(agent=0.0, general=0.0)).iloc[0]
    assert (none["low"], none["high"], none["p_two_sided"]) == (0, 0, 1)


def test_one_update_is_preferred_and_measurers_are_kept_apart():
    mixed = pair(agent=0.9, same_update=False, general_date="2025-02-01")
    assert gaps(mixed, pair())["p_agent"].tolist() == [0.7]
    assert gaps(mixed)["p_agent"].tolist() == [0.9]
    assert len(gaps(pair(), pair(measured_by="authors"))) == 2


def test_second_base_replaces_the_first_only_on_request():
    rows = (pair(), pair("one (b)", general=0.4, base_identity="alternative") | {"agent": "one"}, pair("two"))
    assert gaps(*rows)["pair"].tolist() == ["one", "two"]
    assert gaps(*rows, alternatives=True)["pair"].tolist() == ["one (b)", "two"]


def test_rows_without_both_scores_or_items_or_base_are_left_out():
    rows = (
        pair(), pair("a", general=np.nan), pair("b", agent=np.nan), pair("c", n_clusters=np.nan),
        pair("d", base_identity="unknown"), pair("e", benchmark="other"),
    )  # fmt: skip
    assert gaps(*rows)["pair"].tolist() == ["one"]
    assert gaps(*rows, bases=["unknown"])["pair"].tolist() == ["d"]


def test_leaderboard_v3_has_sixteen_gaps_above_zero():
    table = matched.gaps(load_pairs(), "bfcl_v3", "overall", **AUDIT).set_index("pair")
    assert len(table) == 16 and (table["value"] > 0).all()
    assert 100 * table.loc["Llama-xLAM-2-70b-fc-r", "value"] == pytest.approx(24.88)
    assert 100 * table.loc["CoALM-70B", "value"] == pytest.approx(0.92)
    assert (table["p_holm"] <= 0.05).sum() == 14


def test_leaderboard_v4_uses_the_same_date_row_of_coalm_70b():
    table = matched.gaps(load_pairs(), "bfcl_v4", "overall", **AUDIT).set_index("pair")
    assert len(table) == 8 and table["same_update"].all()
    assert 100 * table.loc["CoALM-70B", "value"] == pytest.approx(-4.67)
    assert 100 * table.loc["CoALM-8B", "value"] == pytest.approx(0.98)
    assert table.index[table["value"] < 0].tolist() == ["CoALM-70B"]


def test_mean_of_all_pairs_is_the_random_effects_mean_of_the_gaps():
    table = matched.gaps(load_pairs(), "bfcl_v3", "overall", **AUDIT)
    row = matched.sensitivity(load_pairs(), "bfcl_v3", "overall", **AUDIT).set_index("choice").loc["all pairs"]
    pooled = random_effects(table["value"], table["se"], floor=True)
    assert row[["mean", "low", "high", "tau", "prediction_low"]].tolist() == pytest.approx(
        [pooled.mean, pooled.low, pooled.high, pooled.tau, pooled.prediction_low]
    )
    assert (row["n_pairs"], row["n_families"], row["n_above"]) == (16, 7, 16)


def test_restrictions_hold_the_pairs_they_name():
    table = matched.sensitivity(load_pairs(), "bfcl_v3", "overall", **AUDIT).set_index("choice")
    counts = table["n_pairs"].to_dict()
    expected = {
        "read bases only": 0, "permissive licence only": 5, "one update only": 16, "agent listed 2025-04-25": 8,
        "agent listed 2025-06-14": 8, "other candidate base": 16, "without xLAM-2": 11, "without Hammer2.1": 12,
        "without CoALM": 14, "one value per family": 7,
    }  # fmt: skip
    assert {name: counts[name] for name in expected} == expected
    assert np.isnan(table.loc["read bases only", "mean"])
    assert table.loc["read bases only", "reason"] == "0 left, a mean needs 2"
    assert table.drop("read bases only")["reason"].eq("").all()


def test_one_value_per_family_takes_errors_within_a_family_as_one():
    rows = [pair("a1", family="a"), pair("a2", family="a", agent=0.8), pair("b1", family="b")]
    table = gaps(*rows)
    row = (
        matched.sensitivity(pd.DataFrame(rows), "b", "overall", **AUDIT).set_index("choice").loc["one value per family"]
    )
    pooled = random_effects([0.25, 0.2], [table["se"][:2].mean(), table["se"][2]], floor=True)
    assert (row["mean"], row["se"]) == (pytest.approx(pooled.mean), pytest.approx(pooled.se))


Y, SE, SIZE = [0.05, 0.22, 0.11, 0.38, 0.21], [0.02, 0.03, 0.02, 0.04, 0.03], [0.5, 1.5, 8, 32, 70]


def fitted(value, se, sizes, **options):
    return matched.size_trend(pd.DataFrame({"value": value, "se": se, "params_b": sizes}), **options)


def restricted_log_likelihood(tau2):
    w = 1 / (np.square(SE) + tau2)
    x = np.column_stack([np.ones(5), np.log10(SIZE)])
    a = x.T @ (w[:, None] * x)
    r = Y - x @ np.linalg.solve(a, x.T @ (w * Y))
    return 0.5 * (np.log(w).sum() - np.linalg.slogdet(a)[1] - w @ r**2)


def test_trend_equals_weighted_least_squares_with_the_restricted_likelihood_tau():
    import statsmodels.api as sm

    found = fitted(Y, SE, SIZE)
    best = optimize.minimize_scalar(lambda t: -restricted_log_likelihood(t), bounds=(0, 0.2), method="bounded",
                                    options={"xatol": 1e-12})  # fmt: skip
    assert found.tau**2 == pytest.approx(best.x, rel=1e-4)
    x = np.log10(SIZE)
    fit = sm.WLS(Y, sm.add_constant(x - x.mean()), weights=1 / (np.square(SE) + found.tau**2)).fit()
    assert (found.intercept + found.slope * x.mean(), found.slope) == pytest.approx(tuple(fit.params))
    assert found.df == 3
    assert found.se == pytest.approx(fit.bse[1] / np.sqrt(min(fit.scale, 1.0)))
    low, high = found.slope + stats.t.ppf([0.025, 0.975], 3) * found.se
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.p_two_sided == pytest.approx(2 * stats.t.sf(abs(found.slope / found.se), 3))


def test_points_on_a_line_give_that_line_with_the_classic_error():
    x = np.log10(SIZE)
    found = fitted(0.3 - 0.1 * x, [0.02] * 5, SIZE)
    assert (found.slope, found.intercept, found.tau) == (pytest.approx(-0.1), pytest.approx(0.3), 0)
    assert found.se == pytest.approx(0.02 / np.sqrt(((x - x.mean()) ** 2).sum()))


def test_mirrored_gaps_mirror_the_slope():
    up, down = fitted(Y, SE, SIZE), fitted(np.negative(Y), SE, SIZE)
    assert (down.slope, down.low, down.high) == pytest.approx((-up.slope, -up.high, -up.low))


def test_band_is_narrowest_at_the_mean_size_and_widens_by_the_quantiles():
    grid = [0.5, 10 ** np.mean(np.log10(SIZE)), 70]
    trend = fitted([0.1, 0.3, 0.2, 0.4, 0.1], [0.03] * 5, SIZE)
    band = matched.size_band(trend, grid)
    width = (band["high"] - band["low"]).to_numpy()
    assert width[1] == pytest.approx(2 * stats.t.ppf(0.975, 3) * np.sqrt((0.03**2 + trend.tau**2) / 5))
    assert width[1] < min(width[0], width[2])
    x = np.log10(70) - np.mean(np.log10(SIZE))
    assert width[2] ** 2 == pytest.approx(width[1] ** 2 + (2 * stats.t.ppf(0.975, 3) * x * trend.se) ** 2)
    assert band["value"].iloc[2] == pytest.approx(trend.intercept + trend.slope * np.log10(70))
    ratio = (band["high_all"] - band["low_all"]) / (band["high"] - band["low"])
    assert ratio.tolist() == pytest.approx([np.sqrt(2 * stats.f.ppf(0.95, 2, 3)) / stats.t.ppf(0.975, 3)] * 3)
    assert ((band["high_all"] + band["low_all"]) / 2).tolist() == pytest.approx(band["value"].tolist())


def test_newer_general_model_of_equal_size_beats_some_agents_and_loses_to_others():
    table = matched.newer_general(load_pairs(), load_general(), "Qwen3", **AUDIT).set_index("pair")
    eight = table[table["general"] == "Qwen/Qwen3-8B"]
    difference = (100 * eight["value"]).round(2).to_dict()
    assert difference["Hammer2.1-7b"] == -10.90 and difference["CoALM-8B"] == -15.76
    assert difference["ToolACE-2-8B"] == -0.13 and difference["watt-tool-8B"] == -3.90  # 42.59 on the agent's update
    assert difference["Llama-xLAM-2-8b-fc-r"] == 4.11 and difference["BitAgent-Bounty-8B"] == 3.66
    assert eight.loc["Hammer2.1-7b", "outcome"] == "general above"
    assert eight.loc["ToolACE-2-8B", "outcome"] == "unresolved"
    assert table.loc["xLAM-2-32b-fc-r", "outcome"] == "agent above"
    assert (table["general_mode"] == "FC").all() and (table["agent_date"] == table["general_date"]).all()
    assert not {"Llama-xLAM-2-70b-fc-r", "xLAM-2-1b-fc-r"} & set(table.index)


def test_larger_factor_admits_more_sizes():
    one = matched.newer_general(load_pairs(), load_general(), "Qwen3", factor=1.0, **AUDIT)
    assert (one["params_b"] == one["general_params_b"]).all() and "Haha-7B" not in set(one["pair"])
    wide = matched.newer_general(load_pairs(), load_general(), "Qwen3", factor=1.8, **AUDIT)
    assert "xLAM-2-1b-fc-r" in set(wide["pair"])


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: gaps(pair(benchmark="x")), "no pair has `b` with metric `overall`; the table has x overall"),
        (lambda: gaps(pair(base_identity="unknown")), "accept other `bases`"),
        (lambda: gaps(pair(), level=1.0), "`level` must lie between 0 and 1"),
        (lambda: gaps(pair(agent=1.2)), "fractions in"),
        (lambda: fitted(Y, SE, [8] * 5), "three"),
        (lambda: matched.newer_general(load_pairs(), load_general(), "Qwen9", **AUDIT), "no model of family `Qwen9`"),
        (
            lambda: matched.newer_general(load_pairs(), load_general(), "Qwen3", factor=0.5, **AUDIT),
            "`factor` must be at least 1",
        ),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(AnalysisError, match=message):
        call()


def test_agent_listed_twice_is_compared_on_the_later_update():
    general = pd.DataFrame(
        [
            {"model": "new", "family": "New", "params_b": 8.0, "active_b": np.nan, "mode": "FC", "date": date,
             "benchmark": "b", "metric": "overall", "value": 0.5, "n_clusters": 100, "runs": np.nan}
            for date in ("2025-01-01", "2025-06-01")
        ]
    )  # fmt: skip
    twice = pd.DataFrame([pair(), pair(agent=0.4, agent_date="2025-06-01", same_update=False)])
    (row,) = matched.newer_general(twice, general, "New", benchmark="b", **AUDIT).to_dict("records")
    assert (row["general_date"], row["value"]) == ("2025-06-01", pytest.approx(-0.1))
