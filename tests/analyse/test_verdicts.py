"""Decision rules on planted effects: each outcome is reached, and what cannot be tested says why."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from replication.analyse import analysis_settings, reanalysis
from replication.analyse.claims import load_claims
from replication.analyse.evidence import load_pairs
from replication.analyse.verdicts import decide, per_scale, tabulate

CLAIMS = load_claims(Path(__file__).parents[2] / "conf/claim")
PAIRS = reanalysis.study_data(CLAIMS, analysis_settings.default())
PUBLISHED = dataclasses.replace(PAIRS, model_pairs=None)
SUITE = ("calling", "files", "ledger", "maze", "search", "terminal", "web")


def study(scores, **changes):
    return dataclasses.replace(
        PUBLISHED, study="controlled", kind="controlled", scope="organisms", scores=scores, **changes
    )


def only(claim_id, data, target="T3", **parameters):
    claim = next(claim for claim in CLAIMS if claim.id == claim_id)
    if parameters:  # decided at the target that the test asks for
        claim = dataclasses.replace(claim, parameters={**claim.parameters, **parameters})
    verdicts = decide([dataclasses.replace(claim, target=target)], data)
    return next(v for v in verdicts if v.target == target)


def test_published_table_holds_for_its_tasks_but_not_for_tasks_like_these():
    # Analysis plan, section 4.4: T2 p .036 to .158 for rho <= .7 and icc <= .7, turning at rho = .80; T1 .008 at most.
    t1, t2 = only("P", PUBLISHED, "T1"), only("P", PUBLISHED, "T2")
    assert (t1.outcome, t2.outcome) == ("established", "not_established")
    assert max(cell["iut_p"] for cell in t1.criteria["grid"]) == pytest.approx(0.0076, abs=1e-4)
    planned = [cell["iut_p"] for cell in t2.criteria["grid"] if cell["rho"] <= 0.7 and cell["icc"] <= 0.7]
    assert len(planned) == 12 and [min(planned), max(planned)] == pytest.approx([0.0355, 0.1577], abs=1e-4)
    beyond = [cell["iut_p"] for cell in t2.criteria["grid"] if cell["rho"] >= 0.9]
    assert len(beyond) == 8 and max(beyond) <= 0.025 and "in 8 of 28 cells" in t2.reason
    assert t2.criteria["turning_rho"]["0.5"] == pytest.approx(0.8016, abs=1e-4)
    assert "task correlation 0.80" in t2.reason
    assert 100 * t2.replication.value == pytest.approx(6.3)


def test_published_table_establishes_nothing_that_hangs_on_what_it_does_not_print():
    crossing = only("P", PUBLISHED, "T2", rho=[0.5, 0.9])
    assert crossing.outcome == "not_established" and "in 4 of 8 cells" in crossing.reason
    assert only("P", PUBLISHED, "T2", rho=[0.9]).outcome == "established"


def test_published_average_is_above_zero_for_these_checkpoints_and_silent_on_the_method():
    t2, t3 = only("A1", PUBLISHED, "T2"), only("A1", PUBLISHED, "T3")
    assert t2.outcome == "established"
    assert 100 * t2.replication.value == pytest.approx(8.23, abs=0.005)  # mean of the seven printed differences
    assert 100 * t2.criteria["mean_like_these"]["value"] == pytest.approx(7.1, abs=0.05)
    like_these = only("A1", PUBLISHED, "T2", mean={"over": "like these", "because": "a test"})
    assert 100 * like_these.replication.value == pytest.approx(7.1, abs=0.05)
    assert t3.outcome == "not_testable"
    assert "one checkpoint per arm was scored and neither is public" in t3.reason


@pytest.mark.parametrize(
    "claim, reason",
    [
        ("A4", "a control with as much training on observations is not among them"),
        ("B", "no table of published pairs of models was given"),
        ("C", "each arm has 1 score per benchmark and metric"),
        ("D", r"1 scale \(35B\) was published"),
        ("E", "prints scores and 0 columns of tokens, prices or training compute; its checkpoints are not public"),
    ],
)
def test_data_that_the_published_table_lacks_gives_one_reason(claim, reason):
    verdicts = decide([c for c in CLAIMS if c.id == claim], PUBLISHED)
    assert [(v.target, v.outcome) for v in verdicts] == [("T3", "not_testable")]
    assert re.search(reason, verdicts[0].reason)


def test_large_gain_everywhere_is_replicated(make_scores):
    data = study(make_scores({"agent_sft": 0.3, "lwm_then_sft": 0.6}, benchmarks=SUITE, n_runs=5, n_tasks=60))
    for claim, target in (("A1", "T2"), ("A1", "T3"), ("A2", "T2"), ("A2", "T3")):
        assert only(claim, data, target).outcome == "replicated"
    verdict = only("A1", data)
    assert verdict.original.value == pytest.approx(0.0823, abs=5e-5)
    assert verdict.scope == "organisms; scale tiny; scaffold compact; benchmarks " + ", ".join(SUITE)
    assert set(verdict.criteria) == {"exclude", "fail", "bounds", "sesoi", "power", "decided_under"}
    assert verdict.condition == "one base"


def test_loss_everywhere_is_not_replicated(make_scores):
    data = study(make_scores({"agent_sft": 0.6, "lwm_then_sft": 0.3}, benchmarks=SUITE, n_runs=5, n_tasks=60))
    assert only("A1", data).outcome == only("A2", data).outcome == "not_replicated"
    assert "interval below 0" in only("A1", data).reason
    assert "below 0: calling" in only("A2", data).reason


def test_no_gain_measured_well_is_not_replicated_and_measured_badly_inconclusive(make_scores):
    arms = {"agent_sft": 0.5, "lwm_then_sft": 0.5}
    well = make_scores(arms, benchmarks=SUITE, n_runs=5, n_tasks=400, tau=0.001)
    badly = make_scores(arms, benchmarks=SUITE[:2], n_runs=2, n_tasks=20, tau=0.05)
    assert "within 3 points of 0" in only("A1", study(well), "T2").reason
    assert only("A1", study(well), "T2").outcome == "not_replicated"
    assert only("A1", study(badly)).outcome == only("A2", study(badly)).outcome == "inconclusive"


def test_gain_on_all_but_one_is_not_a_gain_on_all(make_scores):
    good = make_scores({"agent_sft": 0.3, "lwm_then_sft": 0.7}, benchmarks=SUITE[:3], n_runs=5)
    null = make_scores({"agent_sft": 0.5, "lwm_then_sft": 0.5}, benchmarks=("web",), n_runs=5, seed=1)
    verdict = only("A2", study(pd.concat([good, null], ignore_index=True)))
    assert verdict.outcome == "inconclusive"
    assert verdict.reason.endswith("lowest: web")
    assert verdict.criteria["exclude"]["shown_after_holm"] == list(SUITE[:3])


def test_verdict_that_flips_with_unscored_episodes_is_inconclusive(make_scores):
    scores = make_scores({"agent_sft": 0.3, "lwm_then_sft": 0.6}, benchmarks=SUITE, n_runs=5, n_tasks=60)
    lost = (scores["arm"] == "lwm_then_sft") & (np.random.default_rng(0).random(len(scores)) < 0.02)
    lost |= (scores["arm"] == "lwm_then_sft") & (scores["task_id"].str[-3:].astype(int) < 30)
    scores.loc[lost, "value"] = np.nan
    verdict = only("A2", study(scores), "T2")
    assert verdict.outcome == "inconclusive"
    assert "depends on unscored episodes: exclude gives replicated, fail gives" in verdict.reason
    weakest = verdict.criteria["exclude"]["weakest"]
    assert verdict.replication.n_unscored == (lost & (scores["benchmark"] == weakest)).sum()


def test_one_training_run_per_arm_cannot_answer_for_the_method(make_scores):
    data = study(make_scores({"agent_sft": 0.3, "lwm_then_sft": 0.6}, n_runs=1))
    assert only("A2", data, "T2").outcome == "replicated"
    assert only("A2", data, "T3").outcome == "not_testable"
    assert "T3 needs at least 2 training runs per arm; got m=1" in only("A2", data, "T3").reason


def test_study_that_lacks_arms_scaffolds_or_scales_says_which(make_scores):
    data = study(make_scores({"agent_sft": 0.3, "lwm_then_sft": 0.6}))
    assert only("B", data).reason == "arm `general` was not run; the study has agent_sft, lwm_then_sft."
    assert only("C", data).reason == "1 scaffold (compact) was run; the claim needs 2."
    assert only("D", data).reason == "1 scale (1M) was run; the claim needs 3."
    two = study(make_scores({"agent_sft": 0.3, "lwm_then_sft": 0.6}, scales=(("s", 0.002), ("xs", 0.001))))
    assert only("D", two).reason == "2 scales (1M, 2M) were run; the claim needs 3."
    assert "scales xs, s;" in only("D", two).scope
    assert {only(c, data).outcome for c in "BCDE"} == {"not_testable"}


def test_gain_under_every_scaffold_is_consistent(make_scores):
    scaffolds = ("compact", "json", "native", "react")
    data = study(make_scores({"agent_sft": 0.3, "lwm_then_sft": 0.6}, scaffolds=scaffolds, n_runs=5, n_tasks=60))
    verdict = only("C", data)
    assert verdict.outcome == "replicated"
    assert list(verdict.criteria["fail"]["per_scaffold"]) == list(scaffolds)


def test_gain_under_one_scaffold_and_loss_under_another_is_not_consistent(make_scores):
    up = make_scores({"agent_sft": 0.3, "lwm_then_sft": 0.7}, n_runs=5)
    down = make_scores({"agent_sft": 0.7, "lwm_then_sft": 0.3}, n_runs=5, scaffolds=("react",))
    assert only("C", study(pd.concat([up, down], ignore_index=True))).outcome == "not_replicated"


@pytest.mark.parametrize(
    "gains, outcome",
    [((0.3, 0.3, 0.3), "replicated"), ((0.3, 0.2, -0.2), "not_replicated"), ((0.3, 0.0, 0.3), "inconclusive")],
)
def test_gain_has_to_hold_at_every_scale(make_scores, gains, outcome):
    parts = [
        make_scores({"agent_sft": 0.4, "lwm_then_sft": 0.4 + gain}, scales=((f"s{i}", 0.001 * 4**i),), n_runs=5, seed=i)
        for i, gain in enumerate(gains)
    ]
    verdict = only("D", study(pd.concat(parts, ignore_index=True)))
    assert verdict.outcome == outcome
    assert verdict.criteria["exclude"]["alpha_one_sided"] == 0.025
    assert list(verdict.criteria["exclude"]["per_scale"]) == ["1M", "4M", "16M"]


@pytest.mark.parametrize("factor, outcome", [(0.5, "replicated"), (2.0, "not_replicated"), (1.0, "inconclusive")])
def test_cost_per_solved_task_decides_the_cheaper_arm(make_scores, factor, outcome):
    scores = make_scores({"agent_sft": 0.5, "general": 0.5}, n_tasks=200, tau=0.0)
    general = scores["arm"] == "general"
    scores.loc[general, ["n_prompt_tokens", "n_completion_tokens"]] = [int(100 * factor), int(20 * factor)]
    training = pd.DataFrame(
        [("agent_sft", "tiny", 2.0), ("general", "tiny", 3.0), ("agent_sft", "large", 90.0)],
        columns=["arm", "scale", "flops"],
    )
    verdict = only("E", study(scores, training=training), "T2")
    assert verdict.outcome == outcome
    assert np.exp(verdict.replication.value) == pytest.approx(factor, rel=0.15)
    assert verdict.criteria["exclude"]["training_flops_ratio"] == 1.5


def test_general_arm_that_ties_does_not_refute_but_one_loss_does(make_scores):
    arms = {"agent_sft": 0.5, "general": 0.5}
    assert only("B", study(make_scores(arms, n_tasks=300, tau=0.0)), "T2").outcome == "inconclusive"
    assert only("B", study(make_scores({"agent_sft": 0.6, "general": 0.3})), "T2").outcome == "not_replicated"


@pytest.mark.slow
def test_identical_arms_are_rarely_called_different(make_scores):
    called = 0
    for seed in range(200):
        scores = make_scores(
            {"agent_sft": 0.5, "lwm_then_sft": 0.5}, benchmarks=SUITE[:3], seed=seed, n_tasks=30, tau=0.03
        )
        estimate = only("A1", study(scores)).replication
        called += not estimate.low <= 0 <= estimate.high
    assert called / 200 <= 0.08


def test_tables_hold_every_comparison_that_was_run(make_scores):
    scores = make_scores({"agent_sft": 0.4, "lwm_then_sft": 0.5, "general": 0.4})
    tables = tabulate(CLAIMS, study(scores))
    assert set(zip(tables.estimates["treatment"], tables.estimates["control"], strict=True)) == {
        ("lwm_then_sft", "agent_sft"), ("general", "agent_sft")
    }  # fmt: skip
    part = tables.estimates.query("treatment == 'general' and policy == 'fail' and target == 'T3'")
    assert part["benchmark"].tolist() == ["calling", "terminal", "mean of these", "random effects"]
    assert (part["mde"] > 0).all()


def test_study_adds_comparisons_of_its_own_and_says_which_it_lacks(make_scores):
    arms = {"agent_sft": 0.4, "lwm_then_sft": 0.5, "base": 0.1, "placebo": {"tiny": 0.4}, "alone": {"small": 0.4}}
    scores = make_scores(arms, scales=(("tiny", 0.001), ("small", 0.004)), only_first=("base",), n_tasks=20)
    scores = scores[(scores["arm"] != "lwm_then_sft") | (scores["scale"] == "tiny") | (scores["training_seed"] < 2)]
    pairs = (("placebo", "agent_sft"), ("agent_sft", "base"), ("placebo", "alone"), ("nobody", "base"))
    tables = tabulate(CLAIMS, study(scores, comparisons=(*pairs, ("placebo", "agent_sft"))))
    made = tables.estimates.drop_duplicates(["treatment", "control"])[["treatment", "control"]]
    assert list(made.itertuples(index=False, name=None)) == [("placebo", "agent_sft"), ("agent_sft", "base")]
    at = tables.estimates.groupby(["treatment", "target"])["scale"].unique()
    assert at["placebo", "T3"].tolist() == ["all scales"]
    assert at["agent_sft", "T2"].tolist() == ["all scales", "tiny", "small"]
    assert ("agent_sft", "T3") not in at.index
    assert set(tables.runs["treatment"]) == {"placebo", "agent_sft"}
    reasons = tables.left_out
    assert "share no scale" in reasons["placebo", "alone"]
    assert "arm `nobody` was not run" in reasons["nobody", "base"]
    assert "arm `general` was not run" in reasons["general", "agent_sft"]
    assert "same number of training runs at every scale" in reasons["lwm_then_sft", "agent_sft"]


def test_each_scale_alone_is_answered_by_the_same_rules(make_scores):
    scales = (("small", 0.004), ("tiny", 0.001))
    scores = make_scores(
        {"agent_sft": 0.3, "lwm_then_sft": {"tiny": 0.7, "small": 0.3}}, benchmarks=SUITE[:4], scales=scales, n_runs=5
    )
    detail = {(v.claim_id, scale): v for scale, v in per_scale(CLAIMS, study(scores))}
    assert list(detail)[:2] == [("A1", "tiny"), ("A1", "small")]
    assert {claim for claim, _ in detail} == {"A1", "A2", "A3", "A4", "A4b", "B", "C", "E"}
    tiny = study(scores[scores["scale"] == "tiny"])
    assert detail["A1", "tiny"].replication == only("A1", tiny).replication
    assert detail["A1", "tiny"].outcome == "replicated" != detail["A1", "small"].outcome
    assert per_scale(CLAIMS, tiny) == per_scale(CLAIMS, PUBLISHED) == []


def test_tables_of_a_reanalysis_have_no_estimates_of_ours():
    tables = tabulate(CLAIMS, PUBLISHED)
    assert tables.estimates is None
    assert len(tables.audit.rows) == 7
    assert set(tables.audit.estimates["interval"]) == {"T1", "T2", "unpaired"}


# --- published pairs of models ----------------------------------------------------------------------------------------


def test_general_models_below_their_agent_tuned_partners_are_evidence_of_other_models():
    (verdict,) = decide([c for c in CLAIMS if c.id == "B"], PAIRS)
    assert (verdict.target, verdict.outcome) == ("T3", "not_established")
    assert verdict.reason.startswith("evidence of other models and one family of leaderboards")
    assert "16 of 16 pairs on bfcl_v3, 7 of 8 pairs on bfcl_v4" in verdict.reason
    assert verdict.replication.high < 0
    assert verdict.criteria["below_zero_after_holm"] == ["bfcl_v3", "bfcl_v4"]


def test_pairs_that_lean_the_other_way_show_one_benchmark_of_seven_and_no_more():
    swapped = load_pairs().rename(columns={"p_agent": "p_general", "p_general": "p_agent"})
    (verdict,) = decide([c for c in CLAIMS if c.id == "B"], dataclasses.replace(PAIRS, model_pairs=swapped))
    assert verdict.outcome == "not_established" and "one benchmark cannot show seven" in verdict.reason
    assert verdict.replication.low > 0
    (trend,) = decide([c for c in CLAIMS if c.id == "D2"], dataclasses.replace(PAIRS, model_pairs=swapped))
    assert (trend.outcome, trend.replication.low > 0) == (
        "not_established",
        True,
    )  # the band holds 0 at the smallest sizes


def test_gap_of_pairs_at_the_largest_size_decides_about_larger_scale():
    (verdict,) = decide([c for c in CLAIMS if c.id == "D2"], PAIRS)
    assert (verdict.target, verdict.outcome) == ("T3", "not_established")
    assert verdict.replication.high < 0.03 and "more than the claim allows" in verdict.reason
    assert "at 70B" in verdict.reason
    assert verdict.criteria["band"][-1]["params_b"] == 70


# --- rows, targets, bounds --------------------------------------------------------------------------------------------

ENVIRONMENTS = ("assistant", "calling", "office", "repair", "repository", "research", "terminal")


def test_environments_with_the_published_gain_replicate_the_rows_that_can_be_replicated(make_scores):
    scores = make_scores(
        {"agent_sft": 0.3, "lwm_then_sft": 0.5}, benchmarks=ENVIRONMENTS, n_runs=5, n_tasks=200, tau=0.005
    )
    verdict = only("A3", study(scores), icc=[0.5], rho=[0.5])
    assert verdict.outcome == "replicated"
    # Were the arms' scores unrelated over tasks, the originals were too weak: the outcome hangs on what was not printed.
    assert only("A3", study(scores)).outcome == "inconclusive"
    criteria = verdict.criteria["exclude"]
    assert criteria["uninformative"] == ["terminal"]  # z = 1.48 there: no replication of any size could succeed
    assert len(criteria["replicated"]) == 6
    assert len(criteria["panels"]["calling"]) == 20


def test_environments_without_a_gain_refute_rows_but_never_the_uninformative_one(make_scores):
    scores = make_scores(
        {"agent_sft": 0.5, "lwm_then_sft": 0.5}, benchmarks=ENVIRONMENTS, n_runs=5, n_tasks=400, tau=0.005
    )
    verdict = only("A3", study(scores))
    assert verdict.outcome == "not_replicated"
    assert "terminal" not in verdict.criteria["exclude"]["refuted"]
    assert "original uninformative: terminal" in verdict.reason


def test_average_effect_is_judged_against_the_published_one_by_every_criterion(make_scores):
    data = study(make_scores({"agent_sft": 0.3, "lwm_then_sft": 0.6}, benchmarks=SUITE))
    names = [c["name"] for c in only("A1", data).criteria["exclude"]["replication_criteria"]]
    assert {"sceptical p-value, golden", "small telescopes", "Q test", "equivalence to no effect"} <= set(names)


def test_only_the_target_of_the_claim_has_an_outcome(make_scores):
    verdicts = decide([c for c in CLAIMS if c.id == "P"], PUBLISHED)
    assert [(v.target, v.outcome) for v in verdicts] == [("T1", "estimate"), ("T2", "not_established")]
    data = study(make_scores({"agent_sft": 0.3, "lwm_then_sft": 0.6}, benchmarks=SUITE))
    t2, t3 = decide([c for c in CLAIMS if c.id == "A1"], data)
    assert (t2.target, t2.outcome, t3.target, t3.outcome) == ("T2", "estimate", "T3", "replicated")
    assert t2.reason == "estimate only: the claim is decided at T3"
    assert t2.replication.low > 0 and "equivalent" not in t2.criteria["exclude"]


def test_claim_names_the_mean_that_decides(make_scores):
    # A gain on half of the benchmarks: over exactly these it is certain, over benchmarks like these it is not.
    good = make_scores({"agent_sft": 0.3, "lwm_then_sft": 0.6}, benchmarks=SUITE[:2], n_runs=5, n_tasks=100)
    null = make_scores({"agent_sft": 0.4, "lwm_then_sft": 0.4}, benchmarks=SUITE[2:4], n_runs=5, n_tasks=100, seed=1)
    data = study(pd.concat([good, null], ignore_index=True))
    these = only("A1", data)
    like = only("A1", data, mean={"over": "like these", "because": "a test"})
    assert (these.outcome, like.outcome) == ("replicated", "inconclusive")
    assert "mean over exactly these (4)" in these.reason and "mean over benchmarks like these (4)" in like.reason
    assert these.criteria["exclude"]["mean_like_these"]["value"] == like.replication.value
    assert like.criteria["exclude"]["mean_of_these"]["value"] == these.replication.value


def swap(scores, rng):
    """Exchange the labels of two arms, whole training runs, within each scale."""
    units = scores.drop_duplicates("unit")[["unit", "arm", "scale", "training_seed"]]
    renamed = {}
    for _, of_scale in units.groupby("scale"):
        order = rng.permutation(len(of_scale))
        labels = of_scale[["arm", "training_seed"]].to_numpy()[order]
        renamed |= dict(zip(of_scale["unit"], map(tuple, labels), strict=True))
    arm, seed = zip(*scores["unit"].map(renamed), strict=True)
    return scores.assign(arm=list(arm), training_seed=pd.array(seed, "Int64"))


def test_floor_of_both_arms_on_one_benchmark_is_named_and_leaves_the_others_testable(make_scores):
    good = make_scores({"agent_sft": 0.3, "lwm_then_sft": 0.6}, benchmarks=SUITE[:3], n_runs=5, n_tasks=60)
    floor = make_scores({"agent_sft": 0.3, "lwm_then_sft": 0.3}, benchmarks=("web",), n_runs=5, n_tasks=60)
    data = study(pd.concat([good, floor.assign(value=0.0)], ignore_index=True))
    verdict = only("A1", data)
    assert verdict.outcome == "replicated" and "both arms at the floor: web" in verdict.reason
    alone = study(good)
    assert verdict.replication == only("A1", alone).replication
    every = only("A2", data)  # it cannot be shown on a benchmark that both arms fail
    assert every.outcome == "inconclusive" and only("A2", alone).outcome == "replicated"
    assert every.criteria["power"]["published"]["replicated"] == 0 and "out of reach" in every.reason


@pytest.mark.parametrize(
    "arm, value, limit", [("agent_sft", 0, "floor"), ("lwm_then_sft", 0, "floor"), ("agent_sft", 1, "ceiling")]
)
def test_arm_at_the_limit_of_every_benchmark_cannot_be_compared(make_scores, arm, value, limit):
    scores = make_scores({"agent_sft": 0.5, "lwm_then_sft": 0.5}, benchmarks=SUITE[:3])
    scores.loc[scores["arm"] == arm, "value"] = float(value)
    scores.loc[scores.index[scores["arm"] == arm][0], "value"] = 1.0 - value  # one attempt in 720 does not change that
    for claim in ("A1", "A2"):
        verdict = only(claim, study(scores))
        assert verdict.outcome == "not_testable"
        assert f"`{arm}` is at the {limit} of every benchmark" in verdict.reason


def test_tasks_with_the_same_content_count_once_and_are_named(make_scores):
    scores = make_scores({"agent_sft": 0.4, "lwm_then_sft": 0.5}, benchmarks=SUITE[:2])
    twice = pd.concat([scores, scores.assign(task_id=scores["task_id"] + "-again")], ignore_index=True)
    one, two = (only("A1", study(table), "T2").replication for table in (scores, twice))
    assert two.se == pytest.approx(one.se, rel=1e-9) and two.n_tasks == one.n_tasks
    assert "40 tasks of calling repeat another's content" in only("A1", study(twice)).reason


def test_benchmark_that_one_arm_lacks_is_refused(make_scores):
    scores = make_scores({"agent_sft": 0.4, "lwm_then_sft": 0.5}, benchmarks=SUITE[:3])
    lacking = scores[(scores["arm"] != "agent_sft") | (scores["benchmark"] != "files")]
    verdict = only("A2", study(lacking))
    assert verdict.outcome == "not_testable"
    assert "benchmark `files` was played by `lwm_then_sft` only" in verdict.reason


def test_every_verdict_with_a_smallest_effect_is_repeated_at_others(make_scores):
    scores = make_scores({"agent_sft": 0.5, "lwm_then_sft": 0.5}, benchmarks=SUITE, n_runs=5, n_tasks=200, tau=0.001)
    verdict = only("A1", study(scores))
    assert set(verdict.criteria["sesoi"]) == {"1", "2", "3", "5"}
    for points, outcome in verdict.criteria["sesoi"].items():
        assert only("A1", study(scores), sesoi=float(points) / 100).outcome == outcome
    assert verdict.criteria["sesoi"]["5"] == "not_replicated" != verdict.criteria["sesoi"]["1"]
    assert "with a smallest effect of 1: inconclusive" in verdict.reason


def test_runs_that_share_a_phase_are_pairs_in_every_rule(make_scores):
    scores = make_scores({"agent_sft": 0.4, "lwm_then_sft": 0.5}, benchmarks=SUITE, tau=0.1)
    apart = only("A1", study(scores)).replication
    pairs = only("A1", study(scores, shared_phases=frozenset({frozenset({"agent_sft", "lwm_then_sft"})}))).replication
    assert pairs.value == apart.value and pairs.se != apart.se
    assert "pairs of training runs" in pairs.method


def test_study_with_several_bases_is_not_conditional_on_one(make_scores):
    scores = make_scores({"agent_sft": 0.4, "lwm_then_sft": 0.5}, benchmarks=SUITE, n_runs=4, tau=0.05)
    several = scores.assign(base="base" + (scores["training_seed"] // 2).astype(str))
    one, two = (only("A1", study(table)) for table in (scores, several))
    assert (one.condition, two.condition) == ("one base", "")
    assert "variance of bases" in two.replication.method


def test_record_has_the_outcomes_with_missing_scores_at_worst_and_at_best(make_scores):
    scores = make_scores({"agent_sft": 0.5, "lwm_then_sft": 0.5}, benchmarks=SUITE)
    complete = only("A1", study(scores)).criteria["bounds"]
    assert complete["worst"] == complete["best"]
    scores.loc[scores.sample(frac=0.15, random_state=0).index, "value"] = np.nan
    bounds = only("A1", study(scores)).criteria["bounds"]
    assert bounds["best"]["value"] - bounds["worst"]["value"] == pytest.approx(0.3, abs=0.02)  # .15 of each arm
    assert (bounds["worst"]["outcome"], bounds["best"]["outcome"]) == ("not_replicated", "replicated")
    verdict = only("A1", study(scores))
    assert verdict.outcome == "inconclusive"
    assert "worst gives not_replicated, best gives replicated" in verdict.reason
