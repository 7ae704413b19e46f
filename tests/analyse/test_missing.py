"""What is missing is named or counted: no 0 in its place, no NaN as a number, no traceback, no arm that disappears."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from parts import index_of

from replication.analyse import analysis_settings, reanalysis
from replication.analyse.claims import load_claims
from replication.analyse.planning.measurements import variance_estimates
from replication.analyse.results import Results
from replication.analyse.secondary import run_secondary_analyses
from replication.analyse.stats.estimates.differences import paired_difference
from replication.analyse.tables import aa
from replication.analyse.tables.arms import arm_arrays, arm_means
from replication.analyse.tables.probe import run_table
from replication.analyse.tables.seeds import run_scores
from replication.analyse.tables.summaries import MEAN
from replication.analyse.verdicts import decide, tabulate
from replication.errors import AnalysisError
from replication.publish.numbers.collected import collected
from replication.publish.numbers.verdicts import verdict_row
from replication.store.frozen import CURVE, CURVE_KEY, TRAINING, Frozen
from replication.store.table import validated

CLAIMS = load_claims(Path(__file__).parents[2] / "conf/claim")
SETTINGS = dataclasses.replace(analysis_settings.default(), n_simulations=20)
PUBLISHED = reanalysis.study_data(CLAIMS, SETTINGS)
ARMS = {"agent_sft": 0.4, "lwm_then_sft": 0.6}
SCALES = (("s", 0.0015), ("xs", 0.0005))


def study(scores):
    return dataclasses.replace(PUBLISHED, study="controlled", kind="controlled", scope="", scores=scores)


def verdict(claim_id, scores, target="T2"):
    claim = next(claim for claim in CLAIMS if claim.id == claim_id)
    found = decide([dataclasses.replace(claim, target=target)], study(scores))
    return next(v for v in found if v.target == target)


def unscored(scores, condition):
    return scores.assign(value=scores["value"].mask(scores.eval(condition)))


def without(scores, condition):
    return scores[~scores.eval(condition)]


# --- verdicts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lose", [unscored, without])
@pytest.mark.parametrize(
    "lost, message",
    [
        ("arm == 'agent_sft' and training_seed == 1 and benchmark == 'terminal'",
         "`agent_sft` has no score on `terminal` at scale `tiny` with scaffold `compact` in 1 of its 3 checkpoints, such "
         "as `org/agent_sft/tiny/s1@0`"),
        ("arm == 'lwm_then_sft' and benchmark == 'calling'",
         "`lwm_then_sft` has no score on `calling` at scale `tiny` with scaffold `compact` in 3 of its 3 checkpoints"),
    ],
)  # fmt: skip
def test_checkpoint_or_arm_without_any_score_on_a_benchmark_is_named(make_scores, lose, lost, message):
    scores = lose(make_scores(ARMS), lost)
    if lose is without and "lwm_then_sft" in lost:
        message = "benchmark `calling` was played by `agent_sft` only, at scale `tiny` with scaffold `compact`"
    for claim, target in (("A1", "T2"), ("A2", "T3"), ("A3", "T2")):
        found = verdict(claim, scores, target)
        assert found.outcome == "not_testable" and message in found.reason and found.replication is None
    tables = tabulate(CLAIMS, study(scores))
    assert tables.estimates is None and message in tables.left_out["lwm_then_sft", "agent_sft"]


def test_arm_without_any_score_is_named(make_scores):
    found = verdict("A2", unscored(make_scores(ARMS), "arm == 'agent_sft'"))
    assert found.outcome == "not_testable" and "`agent_sft` has no score on `calling`" in found.reason
    assert "in 3 of its 3 checkpoints" in found.reason


def test_number_of_unscored_episodes_is_part_of_the_reason(make_scores):
    scores = make_scores(ARMS)
    assert "no score" not in verdict("A2", scores).reason
    scores.loc[[3, 7, 400], "value"] = np.nan
    assert verdict("A2", scores).reason.endswith(
        "; 3 of 960 episodes have no score (agent_sft calling 2, lwm_then_sft calling 1)"
    )


def test_study_of_one_task_names_what_its_estimates_need(make_scores):
    data = study(make_scores(ARMS, n_tasks=1))
    tables = tabulate(CLAIMS, data)
    message = "over all scales: T2 needs at least 2 tasks per benchmark; got 1 of `calling`. Only T1 is defined."
    assert tables.estimates is None and tables.left_out["lwm_then_sft", "agent_sft"] == message
    assert {v.outcome for v in decide(CLAIMS, data)} == {"not_testable"}
    assert not math.isnan(tables.means["mean"].iloc[0])


def test_benchmark_whose_tasks_all_miss_a_trial_is_named(make_scores):
    scores = make_scores(ARMS)
    odd = scores["task_id"].str[-1].astype(int) % 2
    lost = (scores["benchmark"] == "terminal") & (scores["training_seed"] == 0) & (scores["trial"] == odd)
    found = verdict("A2", scores.assign(value=scores["value"].mask(lost)))
    assert found.outcome == "not_testable"
    assert found.reason == (
        "no task of `terminal` is scored in both arms in every training run and trial; 80 scores are missing."
    )


def test_arm_with_one_training_run_against_three_is_named_for_the_method_and_estimated_for_tasks(make_scores):
    scores = make_scores(ARMS, only_first=("agent_sft",))
    assert verdict("A2", scores, "T2").outcome == "replicated"
    assert "T3 needs at least 2 training runs per arm; got m=1 in the control." in verdict("A2", scores, "T3").reason


def test_arms_with_unequal_numbers_of_trials_are_compared_by_their_means(make_scores):
    scores = without(make_scores(ARMS), "arm == 'agent_sft' and trial == 1")
    estimates = verdict("A2", scores).criteria["exclude"]["per_benchmark"]
    means = scores.groupby(["arm", "benchmark"])["value"].mean()
    for name, estimate in estimates.items():
        assert estimate["value"] == pytest.approx(means["lwm_then_sft", name] - means["agent_sft", name])
    costs = make_scores({"agent_sft": 0.4, "general": 0.6})
    assert verdict("E", without(costs, "arm == 'agent_sft' and trial == 1")).outcome == "replicated"
    uneven = without(costs, "benchmark == 'calling' and trial == 1")
    assert "`general` has 1 or 2 trials per task, depending on the benchmark" in verdict("E", uneven, "T3").reason


def test_scope_names_scales_that_both_arms_have_and_benchmarks_that_some_scale_lacks(make_scores):
    scores = make_scores({"agent_sft": 0.4, "lwm_then_sft": {"xs": 0.6}}, scales=SCALES)
    assert verdict("A2", scores).scope == "scale xs; scaffold compact; benchmarks calling, terminal"
    scores = without(make_scores(ARMS, scales=SCALES), "scale == 's' and benchmark == 'terminal'")
    assert verdict("A2", scores).scope.endswith("benchmarks calling, terminal; terminal at scale xs only")


def test_scores_that_do_not_vary_decide_nothing(make_scores):
    scores = make_scores(ARMS).assign(value=0.0)
    assert {verdict(claim, scores, "T3").outcome for claim in ("A1", "A2")} == {"not_testable"}
    some = scores.assign(value=scores["value"].mask(scores["benchmark"] == "terminal", make_scores(ARMS)["value"]))
    found = verdict("A2", some)
    assert found.outcome == "inconclusive"
    assert "lowest: terminal" in found.reason and "both arms at the floor: calling" in found.reason


def test_equal_differences_that_are_not_exact_in_binary_have_a_standard_error_of_zero():
    control = np.array([0.1, 0.2, 0.3, 0.7, 0.6])
    assert np.ptp(control + 0.1 - control) > 0
    assert paired_difference(control + 0.1, control, target="T2").se == 0


def test_mean_over_one_benchmark_is_refused_in_plain_words(make_scores):
    found = verdict("A1", make_scores(ARMS, benchmarks=("calling",)))
    assert found.reason == "mean over exactly these (1), p < .001: interval above 0"
    claim = next(claim for claim in CLAIMS if claim.id == "A1")
    like = {**claim.parameters, "mean": {"over": "like these", "because": "a test"}}
    data = study(make_scores(ARMS, benchmarks=("calling",)))
    (found,) = decide([dataclasses.replace(claim, parameters=like)], data)
    assert found.reason == "a mean over benchmarks like these needs at least 2 of them; got calling only."


# --- tables -----------------------------------------------------------------------------------------------------------


def test_arrays_of_an_arm_keep_their_shape_whatever_is_missing(make_scores):
    scores = make_scores({"agent_sft": 0.4})
    for condition, shape in (
        ("training_seed == 1 and benchmark == 'calling'", (3, 2, 0)),
        ("training_seed == 1 and benchmark == 'calling' and trial == 1", (3, 2, 0)),
        ("training_seed == 1 and task_id == 'calling/evaluation/1/003' and trial == 1", (3, 2, 39)),
        ("benchmark == 'calling' and trial == 1", (3, 1, 40)),
    ):
        assert arm_arrays(without(scores, condition))["calling"].shape == shape
        lost = unscored(scores, condition)
        assert arm_arrays(lost)["calling"].shape == ((3, 2, 0) if shape == (3, 1, 40) else shape)
        assert arm_arrays(lost)["terminal"].shape == (3, 2, 40)


def test_task_that_one_run_played_in_one_of_two_scaffolds_is_left_out_of_the_arrays(make_scores):
    scores = make_scores({"agent_sft": 0.4}, scaffolds=("compact", "react"))
    task = "task_id == 'calling/evaluation/1/003' and training_seed == 1 and scaffold == 'react'"
    assert arm_arrays(without(scores, task))["calling"].shape == (3, 2, 39)


def test_arm_that_cannot_be_compared_with_itself_stays_in_the_table_without_shares(make_scores):
    scores = unscored(make_scores(ARMS), "arm == 'agent_sft' and training_seed == 1 and benchmark == 'terminal'")
    table = aa.check(scores, level=0.95, n_simulations=20, rng=np.random.default_rng(0)).set_index("arm")
    assert table.loc["agent_sft", ["t2", "t3", "error", "run_sd"]].isna().all()
    assert table.loc["lwm_then_sft", ["t2", "t3", "error", "run_sd"]].notna().all()


def test_mean_of_a_run_without_one_benchmark_is_not_the_mean_of_the_others(make_scores):
    lost = "training_seed == 1 and arm == 'agent_sft' and benchmark == 'calling'"
    for scores in (without(make_scores(ARMS), lost), unscored(make_scores(ARMS), lost)):
        runs = run_scores(scores).query("arm == 'agent_sft' and benchmark == @MEAN", local_dict={"MEAN": MEAN})
        assert runs.set_index("training_seed")["value"].isna().to_dict() == {0: False, 1: True, 2: False}


def test_means_count_the_checkpoints_that_have_a_score(make_scores):
    scores = unscored(make_scores(ARMS), "arm == 'agent_sft' and benchmark == 'calling' and training_seed > 0")
    row = arm_means(scores).query("arm == 'agent_sft' and benchmark == 'calling'").iloc[0]
    assert (row["n_training_runs"], row["n_unscored"]) == (1, 160)
    assert row["mean"] == scores.query(
        "arm == 'agent_sft' and benchmark == 'calling' and training_seed == 0"
    )["value"].mean()  # fmt: skip


def test_run_with_a_prediction_or_score_missing_has_no_mean_over_the_others(make_scores, make_probe):
    scores = make_scores(ARMS)
    probe = make_probe(scores, dict.fromkeys(ARMS, 0.5))
    gone = "arm == 'agent_sft' and training_seed == 0 and benchmark == 'terminal'"
    domains = {"calling": "out", "terminal": "in"}
    row = run_table(unscored(scores, gone), probe, domains).query("arm == 'agent_sft' and training_seed == 0")
    assert row.set_index("domain")["score"].isna().to_dict() == {"all": True, "in": True, "out": False}
    silent = probe.assign(token_f1=probe["token_f1"].mask(probe.eval(gone)))
    row = run_table(scores, silent, domains).query("arm == 'agent_sft' and training_seed == 0").set_index("domain")
    assert row["token_f1"].isna().to_dict() == {"all": True, "in": True, "out": False}
    assert row["score"].notna().all()


def test_plan_is_measured_on_the_tasks_that_have_all_their_scores(make_scores):
    scores = make_scores(ARMS)
    task = "calling/evaluation/1/003"
    one = unscored(scores, f"task_id == '{task}' and arm == 'agent_sft' and training_seed == 0 and trial == 1")
    measured = variance_estimates(one, "lwm_then_sft", "agent_sft", ["calling", "terminal"], tau=0.02)
    gone = variance_estimates(
        without(scores, f"task_id == '{task}'"), "lwm_then_sft", "agent_sft", ["calling", "terminal"], tau=0.02
    )
    assert measured.by_benchmark == gone.by_benchmark and not measured.failures
    lost = unscored(scores, "benchmark == 'calling' and arm == 'agent_sft' and training_seed == 0")
    measured = variance_estimates(lost, "lwm_then_sft", "agent_sft", ["calling", "terminal"], tau=0.02)
    assert measured.failures == {"no task has all its scores": ["calling tiny"]}
    assert set(measured.by_benchmark) == {"terminal"} and measured.mean_tau is None


# --- anything may be missing ------------------------------------------------------------------------------------------

PARTS = ("arm", "scale", "benchmark", "training_seed", "task_id", "trial")


def knocked_out(scores, rng):
    """Make one to three random parts of a table unscored, absent, constant, or all that is left."""
    scores = scores.copy()
    for _ in range(rng.integers(1, 4)):
        row = scores.iloc[rng.integers(len(scores))]
        columns = rng.choice(PARTS, rng.integers(1, 4), replace=False)
        hit = np.array((scores[list(columns)] == row[list(columns)]).all(axis=1), bool)
        if rng.random() < 0.25:
            hit &= rng.random(len(hit)) < 0.5
        how = rng.choice(["unscored", "absent", "constant", "alone", "alone scored"])
        if how == "unscored":
            scores["value"] = scores["value"].mask(hit)
        elif how == "constant":
            scores["value"] = scores["value"].mask(hit, float(rng.integers(2)))
        elif how == "alone scored":
            scores["value"] = scores["value"].where(hit)
        elif 0 < hit.sum() < len(hit):
            scores = scores[hit if how == "alone" else ~hit]
    return scores


def analysed(scores, probe):
    """Run every step from frozen data to the printed numbers; returns verdicts, tables and numbers."""
    training = pd.DataFrame(
        [{**dict.fromkeys(TRAINING, 1.0), **run, "training_run": "r", "device": "cpu"}
         for run in scores[["arm", "scale", "training_seed"]].drop_duplicates().to_dict("records")]
    )  # fmt: skip
    about = index_of("controlled", domains={"calling": "out"})
    curves = pd.DataFrame(columns=[*CURVE_KEY, *CURVE])
    frozen = Frozen(scores=validated(scores), training=training, curves=curves, about=about, probe=probe)
    data = dataclasses.replace(study(scores), training=training)
    claims = [claim for claim in CLAIMS if claim.id in ("P", "A1", "A2", "E")]
    verdicts, tables, secondary = decide(claims, data), tabulate(claims, data), None
    if tables.estimates is not None:
        pairs = tables.estimates[["treatment", "control"]].drop_duplicates()
        secondary = run_secondary_analyses([], data, frozen, list(pairs.itertuples(index=False, name=None)))
    results = Results(
        data=data, verdicts=verdicts, tables=tables, reanalysis=None, frozen=frozen, secondary=secondary, sesoi=0.03
    )
    return verdicts, tables, [collected(results, []), [verdict_row(v) for v in verdicts]]


def assert_defined(scores, verdicts, tables, numbers):
    for found in verdicts:
        assert found.reason and "nan" not in found.reason.split()
        if found.outcome == "not_testable":
            assert found.replication is None
        elif found.outcome != "inconclusive":
            assert math.isfinite(found.replication.value) and found.replication.high > found.replication.low
    assert "nan" not in json.dumps(numbers).lower().replace("dominan", "")
    # every arm that was played is in the table of means, every comparison is estimated or left out with its reason
    assert set(tables.means["arm"]) == set(scores["arm"])
    shown = tables.estimates
    estimated = set() if shown is None else set(zip(shown["treatment"], shown["control"], strict=True))
    left_out = set(tables.left_out)
    assert estimated | left_out == {("lwm_then_sft", "agent_sft"), ("general", "agent_sft")}
    assert not estimated & left_out and all(tables.left_out.values())
    if shown is not None:
        assert shown[["value", "low", "high", "mde"]].map(math.isfinite).all(axis=None)
        # no benchmark of a comparison is dropped
        for (treatment, control), part in shown[shown["scale"] == "all"].groupby(["treatment", "control"]):
            both = scores[scores["arm"].isin([treatment, control])]
            both = both[both.groupby("scale")["arm"].transform("nunique") == 2]
            assert set(both["benchmark"]) | {MEAN} <= set(part["benchmark"])


def check_knock_outs(make_scores, make_probe, seeds):
    arms = {**ARMS, "general": 0.5}
    both = make_scores(arms, scales=SCALES, n_tasks=4, n_trials=2, tau=0.05)
    probe = make_probe(both, dict.fromkeys(arms, 0.5), n_transitions=2)
    partial = both.assign(
        value=both["value"] / 2
    )  # no pass or fail: the Bayesian interval, which takes longest, is left out
    outcomes, n_refused = set(), 0
    for seed in seeds:
        rng = np.random.default_rng(seed)
        scores = both if seed % 4 == 0 else partial
        table = knocked_out(scores if seed % 2 else scores[scores["scale"] == "xs"], rng)
        predictions = probe.assign(value=probe["value"].mask(rng.random(len(probe)) < 0.1)) if seed % 3 == 0 else None
        try:
            verdicts, tables, numbers = analysed(table, predictions)
        except AnalysisError as error:
            assert "`" in str(error), f"seed {seed}: {error}"
            n_refused += 1
            continue
        except Exception as error:
            raise AssertionError(f"seed {seed} ends in {type(error).__name__}: {error}") from error
        outcomes |= {found.outcome for found in verdicts}
        assert_defined(table, verdicts, tables, numbers)
    assert {"estimate", "not_testable"} <= outcomes and n_refused < len(seeds) / 10


def test_every_table_with_parts_missing_gives_a_defined_result(make_scores, make_probe):
    check_knock_outs(make_scores, make_probe, range(8))


@pytest.mark.slow
def test_every_one_of_many_tables_with_parts_missing_gives_a_defined_result(make_scores, make_probe):
    check_knock_outs(make_scores, make_probe, range(4, 310))
