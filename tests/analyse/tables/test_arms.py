"""The score table becomes arrays without mixing up runs, trials or tasks."""

import numpy as np
import pandas as pd
import pytest

from replication.analyse.stats.estimates.differences import mean_paired_difference, paired_difference
from replication.analyse.tables import aa
from replication.analyse.tables.arms import arm_arrays, arm_means, pairs, run_differences
from replication.analyse.tables.seeds import run_scores
from replication.analyse.tables.summaries import pooled
from replication.errors import AnalysisError

ARMS = {"lwm_then_sft": 0.6, "agent_sft": 0.4}


def test_arrays_hold_runs_trials_and_tasks_in_this_order(make_scores):
    scores = make_scores(ARMS)
    pair = pairs(scores.sample(frac=1, random_state=0), *ARMS)["calling"]
    assert np.shape(pair.treatment) == (3, 2, 40)
    row = scores.query("arm == 'lwm_then_sft' and benchmark == 'calling' and training_seed == 2 and trial == 1")
    assert np.asarray(pair.treatment)[2, 1].tolist() == row.sort_values("task_id")["value"].tolist()


def test_scaffolds_are_items_of_one_task(make_scores):
    pair = pairs(make_scores(ARMS, scaffolds=("compact", "react")), *ARMS)["terminal"]
    assert np.shape(pair.treatment)[2] == 80
    assert paired_difference(*pair[:2], target="T2", clusters=pair.clusters).n_tasks == 40


def test_episode_that_was_not_played_is_a_missing_score(make_scores):
    scores = make_scores(ARMS).drop(index=5)
    assert sum(int(np.isnan(pair.treatment).sum()) for pair in pairs(scores, *ARMS).values()) == 1


def test_scale_that_only_one_arm_has_is_left_out(make_scores):
    scores = make_scores(ARMS, scales=(("tiny", 0.001), ("small", 0.005)))
    scores = scores[(scores["scale"] == "tiny") | (scores["arm"] == "agent_sft")]
    assert np.shape(pairs(scores, *ARMS)["calling"].treatment) == (3, 2, 40)


def test_changed_task_content_is_another_task(make_scores):
    scores = make_scores(ARMS)
    scores.loc[(scores["arm"] == "agent_sft") & (scores["task_id"] == "calling/evaluation/1/003"), "task_hash"] = (
        "changed"
    )
    with pytest.raises(AnalysisError, match="must have played the same tasks of `calling`; 2 differ"):
        pairs(scores, *ARMS)


def test_arm_that_was_not_run_is_named(make_scores):
    with pytest.raises(AnalysisError, match="arm `general` was not run; the study has agent_sft, lwm_then_sft"):
        pairs(make_scores(ARMS), "general", "agent_sft")


def test_unequal_numbers_of_training_runs_over_scales_are_refused(make_scores):
    scores = make_scores(ARMS, scales=(("tiny", 0.001), ("small", 0.005)))
    with pytest.raises(AnalysisError, match="same number of training runs at every scale"):
        pairs(scores[(scores["scale"] == "tiny") | (scores["training_seed"] < 2)], *ARMS)


def test_run_differences_average_to_the_difference_of_means(make_scores):
    scores = make_scores(ARMS)
    runs, means = run_differences(scores, *ARMS), arm_means(scores).set_index(["arm", "benchmark"])["mean"]
    for benchmark in ("calling", "terminal"):
        expected = means["lwm_then_sft", benchmark] - means["agent_sft", benchmark]
        assert runs.query("benchmark == @benchmark")["value"].mean() == pytest.approx(expected)
    assert runs.query("benchmark == 'mean of these'")["value"].tolist() == pytest.approx(
        runs.query("benchmark != 'mean of these'").groupby("replicate")["value"].mean().tolist()
    )


def test_arm_means_count_unscored(make_scores):
    scores = make_scores(ARMS)
    scores.loc[3, "value"] = np.nan
    assert arm_means(scores)["n_unscored"].sum() == 1


def test_arrays_of_one_arm_average_over_scaffolds_and_leave_incomplete_tasks_out(make_scores):
    scores = make_scores(ARMS, scaffolds=("compact", "react"))
    part = scores[scores["arm"] == "agent_sft"].copy()
    part.loc[part.index[0], "value"] = np.nan
    arrays = arm_arrays(part.sample(frac=1, random_state=1).sort_values("trial", kind="stable"))
    assert {name: array.shape for name, array in arrays.items()} == {"calling": (3, 2, 39), "terminal": (3, 2, 40)}
    rows = part.query("benchmark == 'terminal' and training_seed == 2 and trial == 1")
    assert arrays["terminal"][2, 1].tolist() == pytest.approx(rows.groupby("task_id")["value"].mean().tolist())


def two_families(make_scores, n_trials=1):
    """Score two families of public checkpoints at 8B: in each a general and an agent-specific one."""
    means = {"general": {"A": 0.7, "B": 0.5}, "agent_specific": {"A": 0.4, "B": 0.6}}
    tables = []
    for family in ("A", "B"):
        arms = {role: by_family[family] for role, by_family in means.items()}
        table = make_scores(arms, n_runs=1, n_tasks=50, n_trials=n_trials, scales=(("8B", 8.0),), seed=ord(family))
        model = f"{family}/" + table["arm"]
        tables.append(
            table.assign(
                unit=model + "@0", model=model, family=family, pair=family, run_id=f"{family}-" + table["run_id"],
                training_seed=pd.array([pd.NA] * len(table), "Int64"),
            )
        )  # fmt: skip
    return pd.concat(tables, ignore_index=True)


def test_two_families_with_one_checkpoint_per_role_stay_two_checkpoints_and_are_no_trials(make_scores):
    scores = two_families(make_scores)
    by_benchmark = pairs(scores.sample(frac=1, random_state=0), "general", "agent_specific")
    pair = by_benchmark["calling"]
    # two matched pairs are items of their own, of the same 50 tasks
    assert np.shape(pair.treatment) == np.shape(pair.control) == (1, 1, 100) and not pair.training_runs
    assert np.bincount(pair.clusters).tolist() == [2] * 50
    for i, family in enumerate("AB"):
        for role, arm in (("general", pair.treatment), ("agent_specific", pair.control)):
            rows = scores[(scores["model"] == f"{family}/{role}") & (scores["benchmark"] == "calling")]
            assert arm[0, 0, 50 * i : 50 * (i + 1)].tolist() == rows.sort_values("task_id")["value"].tolist()
    with pytest.raises(AnalysisError, match="T1 needs at least 2 trials"):
        mean_paired_difference(list(by_benchmark.values()), target="T1")
    t2 = mean_paired_difference(list(by_benchmark.values()), target="T2")
    means = scores.groupby(["arm", "family", "benchmark"])["value"].mean().groupby("arm").mean()
    assert t2.value == pytest.approx(means["general"] - means["agent_specific"])
    assert (t2.n_tasks, t2.n_trials, t2.n_training_runs) == (100, 1, 1)


def test_matched_pairs_are_compared_within_the_pair_and_their_number_may_differ_between_scales(make_scores):
    scores = two_families(make_scores)
    more = scores[scores["family"] == "A"].assign(scale="70B", params_b=70.0)
    more = more.assign(unit=more["unit"] + "-70B", run_id=more["run_id"] + "-70B")
    both = pairs(pd.concat([scores, more], ignore_index=True), "general", "agent_specific")
    assert np.shape(both["terminal"].treatment) == (1, 1, 150)
    within = scores.assign(value=np.where(scores["arm"] == "general", 1.0, (scores["family"] == "A") * 1.0))
    pair = pairs(within, "general", "agent_specific")["terminal"]
    assert (pair.treatment - pair.control)[0, 0].tolist() == [0.0] * 50 + [1.0] * 50


def test_public_checkpoint_without_a_partner_in_its_pair_is_refused(make_scores):
    scores = two_families(make_scores)
    message = (
        r"checkpoint `B/general@0` \(`general`, scale 8B\) has no partner: no `agent_specific` of this scale names the"
    )
    for pair in ("C", None):
        with pytest.raises(AnalysisError, match=message):
            pairs(
                scores.assign(pair=scores["pair"].mask(scores["model"] == "B/general", pair)),
                "general",
                "agent_specific",
            )
    unnamed = pairs(scores.assign(pair=None), "general", "agent_specific")
    assert np.shape(unnamed["terminal"].treatment) == (2, 1, 50)


def test_trials_of_public_checkpoints_are_counted_within_each(make_scores):
    pair = pairs(two_families(make_scores, n_trials=3), "general", "agent_specific")["terminal"]
    assert np.shape(pair.treatment) == (1, 3, 100)
    assert mean_paired_difference([pair], target="T1").n_trials == 3


def test_public_checkpoints_are_not_training_runs_so_t3_is_refused(make_scores):
    scores = two_families(make_scores)
    by_benchmark = pairs(scores, "general", "agent_specific")
    message = "public checkpoints are not repeated training runs of one method"
    with pytest.raises(AnalysisError, match=message):
        mean_paired_difference(list(by_benchmark.values()), target="T3")
    with pytest.raises(AnalysisError, match=message):
        pooled({name: [pair] for name, pair in by_benchmark.items()}, target="T3", level=0.95)
    mixed = scores.assign(training_seed=scores["training_seed"].mask(scores["arm"] == "general", 0))
    assert not pairs(mixed, "general", "agent_specific")["calling"].training_runs


def test_spread_between_training_runs_is_never_computed_from_public_checkpoints(make_scores):
    scores = two_families(make_scores)
    means = arm_means(scores)
    assert means["sd"].isna().all() and set(means["n_training_runs"]) == {2}
    assert run_differences(scores, "general", "agent_specific").empty
    assert run_scores(scores).empty
    assert aa.check(scores, level=0.95, n_simulations=10, rng=np.random.default_rng(0), at_least=2).empty
    assert {array.shape for array in arm_arrays(scores[scores["arm"] == "general"]).values()} == {(2, 1, 50)}
    three = two_families(make_scores, n_trials=3)
    assert {array.shape for array in arm_arrays(three[three["arm"] == "general"]).values()} == {(2, 3, 50)}


def test_one_public_checkpoint_among_training_runs_is_enough_to_compute_no_spread(make_scores):
    scores = two_families(make_scores)
    one_arm = scores.assign(training_seed=scores["training_seed"].mask(scores["arm"] == "general", 0))
    assert run_differences(one_arm, "general", "agent_specific").empty
    one_family = scores.assign(training_seed=scores["training_seed"].mask(scores["family"] == "A", 0))
    assert run_differences(one_family, "general", "agent_specific").empty
    assert arm_means(one_family)["sd"].isna().all()
    assert not pairs(one_family, "general", "agent_specific")["calling"].training_runs


def test_rows_given_twice_for_one_attempt_of_a_checkpoint_are_refused_by_every_table(make_scores):
    scores = make_scores(ARMS)
    twice = pd.concat([scores, scores.iloc[[7]].assign(run_id="hotter", task_hash="changed")], ignore_index=True)
    message = (
        "2 rows share their attempt with another row; the first: checkpoint `org/lwm_then_sft/tiny/s0@0`, task "
        "`calling/evaluation/1/007`, trial 0, 2 rows of `hotter`, `lwm_then_sft-tiny-0-calling-compact`"
    )
    for use in (
        lambda: pairs(twice, *ARMS), lambda: run_differences(twice, *ARMS), lambda: arm_means(twice),
        lambda: arm_arrays(twice[twice["arm"] == "lwm_then_sft"]),
    ):  # fmt: skip
        with pytest.raises(AnalysisError, match=message):
            use()


def test_attempts_under_another_seed_of_the_run_are_further_trials(make_scores):
    scores = make_scores(ARMS)
    both = pd.concat([scores, scores.assign(seed=8, run_id="8-" + scores["run_id"])], ignore_index=True)
    once, twice = (pairs(table, *ARMS)["calling"] for table in (scores, both))
    assert np.shape(once.treatment)[1] == 2 and np.shape(twice.treatment)[1] == 4
