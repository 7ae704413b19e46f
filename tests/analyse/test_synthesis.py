"""The synthesis of the literature: errors follow from what is printed, sets hold what they say, means react to choices."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from replication.analyse import analysis_settings, evidence, reanalysis, synthesis
from replication.analyse.claims import load_claims
from replication.analyse.stats.printed.audit_model import standard_error
from replication.analyse.verdicts import decide, tabulate
from replication.errors import ClaimError
from replication.settings import CONF

CLAIMS = load_claims(CONF / "claim")
SETTINGS = analysis_settings.default()
DATA = reanalysis.study_data(CLAIMS, SETTINGS)
CLAIMS_L = [claim for claim in CLAIMS if claim.proposition == "L"]
LITERATURE = DATA.literature
A = LITERATURE.assumptions


@pytest.fixture(scope="module")
def found():
    return synthesis.synthesise(LITERATURE, tabulate(CLAIMS, DATA).audit, SETTINGS)


def row(table, number):
    return table.set_index("row").loc[number]


def effects(**changes):
    return synthesis.effects(LITERATURE.world_models, A._replace(**changes))


def test_training_spread_is_the_median_of_the_published_ones():
    spreads = evidence.load_spreads().query("level == 'training'")
    assert A.run_sd == pytest.approx(np.median(spreads["sd_points"]) / 100)


def test_error_without_any_printed_spread_is_the_audit_model_with_two_training_runs():
    one = row(effects(), "085")  # TravelPlanner, 16.7 to 22.2 percent of 180 tasks, runs not stated
    tasks = standard_error(0.167, 0.222, 180, 1, icc=A.icc, rho=A.rho, target="T3", tau=A.run_sd, m=1)
    assert one["se"] == pytest.approx(float(tasks))


def test_printed_spread_over_evaluations_replaces_the_noise_of_runs():
    one = row(effects(), "012")  # 38.0 +- 1.6 to 43.7 +- 2.1, three runs of 100 tasks
    tasks = standard_error(0.380, 0.437, 100, np.inf, icc=A.icc, rho=A.rho)
    assert one["se"] ** 2 == pytest.approx(tasks**2 + (0.021**2 + 0.016**2) / 3 + 2 * A.run_sd**2)


def test_untrained_control_adds_no_training_variance():
    one, start = row(effects(), "012"), row(effects(), "002")
    tasks = standard_error(0.319, 0.388, 100, np.inf, icc=A.icc, rho=A.rho)
    assert start["se"] ** 2 == pytest.approx(tasks**2 + (0.025**2 + 0.029**2) / 3 + A.run_sd**2)
    assert (one["matched_control"], start["matched_control"]) == ("partly", "no")


def test_printed_spread_over_training_runs_holds_the_training_variance():
    same, zero = row(effects(), "062"), row(effects(run_sd=0.0), "062")  # ALFWorld, three training seeds
    tasks = standard_error(0.728, 0.764, A.unstated_tasks, np.inf, icc=A.icc, rho=A.rho)
    assert same["se"] == zero["se"] == pytest.approx(np.sqrt(tasks**2 + (0.040**2 + 0.036**2) / 3))


def test_printed_standard_errors_are_not_divided_by_the_runs():
    one = row(effects(run_sd=0.0), "068")  # 4.5 to 4.4 percent, bootstrap errors of .4
    tasks = standard_error(0.045, 0.044, 89, np.inf, icc=A.icc, rho=A.rho)
    assert one["se"] == pytest.approx(np.sqrt(tasks**2 + 2 * 0.004**2))


def test_a_printed_difference_alone_takes_the_largest_variance():
    one = row(effects(), "045")
    assert np.isnan(one["p_control"]) and one["value"] == pytest.approx(-0.039)
    expected = standard_error(0.5, 0.5, 100, 8, icc=A.icc, rho=A.rho) ** 2 + A.run_sd**2
    assert one["se"] ** 2 == pytest.approx(float(expected))


def test_papers_with_common_controls_are_one_cluster():
    primary = effects().query("pool == 'primary'")
    assert set(primary.loc[primary["paper"].isin(["EnvRL", "TAPO"]), "cluster"]) == {"EnvRL and TAPO"}
    assert primary["cluster"].nunique() == primary["paper"].nunique() - 1


def test_classes_hold_the_counts_of_their_sources(found):
    counts = found.means.set_index("set")[["n_effects", "n_positive"]]
    assert counts.loc["standalone"].tolist() == [7, 2]
    assert counts.loc["warmup_then_agentic"].tolist() == [28, 24]
    assert counts.loc["joint_with_rl"].tolist() == [30, 30]
    assert counts.loc["joint_with_sft"].tolist() == [7, 4]
    assert counts.loc["midtraining"].tolist() == [2, 1]
    assert counts.loc[synthesis.OTHER].tolist() == [68, 60]
    assert len(found.effects) == 75


def test_single_paper_has_no_mean_and_says_why(found):
    one = found.means.set_index("set").loc["joint_with_distillation"]
    assert np.isnan(one["mean"]) and one["reason"] == "1 paper with own controls, a mean needs 2"


def test_robust_error_is_at_least_that_of_the_model():
    fitted = synthesis.fit(synthesis.of_set(LITERATURE, "joint_with_rl"), 0.95)
    assert fitted.mean.se == fitted.mean.model_se > 0.005
    standalone = synthesis.fit(synthesis.of_set(LITERATURE, "standalone"), 0.95)
    assert standalone.mean.se > 0


def test_leaving_out_a_paper_leaves_out_all_of_its_rows(found):
    table = found.leave_one_out.query("set == 'warmup_then_agentic'").set_index("label")["n_effects"]
    assert table["all"] == 28 and table["without Early Experience"] == 28 - 17
    assert table["without RWML"] == 28 - 6 and table["read rows only"] == 28 - 20


def test_choices_change_rows_or_errors_as_they_say(found):
    table = found.choices.query("set == 'standalone'").set_index("choice")
    assert table.loc["with ablations", "n_effects"] == 19
    assert table.loc["single attempts only", "n_effects"] == 6
    assert table.loc["matched controls only", "n_effects"] == 0 and table.loc["matched controls only", "reason"]
    assert table.loc["one value per paper", "n_effects"] == 3
    warm_up = found.choices.query("set == 'warmup_then_agentic'").set_index("choice")
    assert warm_up.loc["no training variance", "se"] != warm_up.loc["as is", "se"]


def test_domains_of_tuned_pairs_are_base_minus_agent(found):
    pairs = found.pairs.set_index("row")
    assert pairs.loc["001", "value"] == pytest.approx(-0.09) and pairs.loc["061", "value"] == pytest.approx(0.0078)
    assert found.means.set_index("set").loc["in", "mean"] < -0.1


def test_table_9_is_set_against_a_mean_of_as_many_benchmarks(found):
    own = found.table9.set_index("set").loc["standalone"]
    audit = tabulate(CLAIMS, DATA).audit.differences("T2")
    assert own["observed"] == pytest.approx(np.mean([e.value for e in audit]))
    assert own["observed_se"] ** 2 == pytest.approx(sum(e.se**2 + A.run_sd**2 for e in audit) / 49)
    fitted = synthesis.fit(synthesis.of_set(LITERATURE, "standalone"), 0.95)
    variance = fitted.mean.se**2 + fitted.between + fitted.within / 7 + own["observed_se"] ** 2
    assert own["t"] == pytest.approx((own["observed"] - fitted.mean.value) / variance**0.5)
    assert own["low"] < own["observed"] < own["high"]


def test_more_positive_results_than_expected_are_counted(found):
    joint = found.checks.set_index("set").loc["joint_with_rl"]
    assert joint["n_positive"] == 30 > joint["expected_positive"] > 15 and joint["p_positive"] < 0.01


def test_no_claim_is_decided_on_fewer_than_four_degrees_of_freedom():
    verdicts = {v.claim_id: v for v in decide([c for c in CLAIMS if c.proposition == "L"], DATA)}
    assert {v.outcome for v in verdicts.values()} == {"not_established"}
    undecided = [v for name, v in verdicts.items() if name != "L4"]
    assert all(v.criteria["df"] < 4 and "too few papers to decide" in v.reason for v in undecided)
    assert verdicts["L4"].criteria["df"] > 4 and verdicts["L4"].replication.high < 0
    assert "interval below 0" in verdicts["L4"].reason


def test_claim_about_a_design_of_one_paper_is_not_testable():
    claim = next(c for c in CLAIMS if c.id == "L1")
    alone = dataclasses.replace(claim, compare={"treatment": "joint_with_distillation", "control": "x"})
    (verdict,) = decide([alone], DATA)
    assert verdict.outcome == "not_testable" and "a mean over papers needs 2" in verdict.reason


def test_claim_that_names_no_design_is_refused():
    wrong = dataclasses.replace(CLAIMS_L[0], compare={"treatment": "standalon", "control": "start"})
    with pytest.raises(
        ClaimError, match=r"L1\.yaml: `compare\.treatment` must be one of standalone, .*got 'standalon'"
    ):
        decide([wrong], DATA)


def test_equivalence_within_the_smallest_effect_of_interest_decides_against_a_claim():
    rng = np.random.default_rng(0)
    table = LITERATURE.world_models.query("pool == 'primary' and design == 'warmup_then_agentic'").head(24).copy()
    table["controls"] = [f"paper {i}" for i in range(24)]
    table["n_tasks"], table["treatment_sd"], table["control_sd"] = 50_000, np.nan, np.nan
    table["value"] = rng.normal(0, 0.01, 24)
    data = dataclasses.replace(DATA, literature=LITERATURE._replace(world_models=table))
    (verdict,) = decide([c for c in CLAIMS if c.id == "L2"], data)
    assert verdict.outcome == "not_established" and verdict.criteria["equivalence_p"] < 0.05
    assert "within 3 points of 0" in verdict.reason
    raised = dataclasses.replace(
        data, literature=LITERATURE._replace(world_models=table.assign(value=table["value"] + 0.2))
    )
    (verdict,) = decide([c for c in CLAIMS if c.id == "L2"], raised)
    assert verdict.outcome == "established"


def test_without_a_claim_there_is_no_synthesis():
    claims = [claim for claim in CLAIMS if claim.proposition != "L"]
    data = reanalysis.study_data(claims, SETTINGS)
    assert data.literature is None
    r = reanalysis.analyse(tabulate(claims, data).audit, data.published.scores, SETTINGS, data.literature)
    assert r.literature is None and not [name for name in reanalysis.tables(r) if name.startswith("literature")]
    assert isinstance(r.newer, pd.DataFrame)
