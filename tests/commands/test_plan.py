"""The planner: counts by hand, measured parts against the analysis of the same data, origins, refusals."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from parts import index_of, labels_of
from scipy import stats

from replication import settings
from replication.analyse.stats.design import dstudy
from replication.analyse.stats.estimates.differences import Pair, mean_paired_difference, paired_difference
from replication.commands import plan
from replication.errors import ConfigError
from replication.records import Episode, RunSpec, Sampling, Task
from replication.store import Store
from replication.store.index import write_index

SEVEN = ("assistant", "calling", "office", "repair", "repository", "research", "terminal")


@pytest.fixture
def composed(tmp_path):
    settings.register()

    def make(*overrides):
        with initialize_config_dir(str(settings.CONF), version_base="1.3"):
            here = [f"paths.results={tmp_path}/results", f"paths.paper={tmp_path}"]
            return settings.checked(compose("config", overrides=[*here, *overrides]))

    return make


def freeze(tmp_path, study, scores, wall_s=40.0):
    folder = tmp_path / "data" / study
    folder.mkdir(parents=True)
    scores.to_csv(folder / "scores.csv", index=False)
    runs = scores[["arm", "scale", "training_seed"]].drop_duplicates()
    runs.assign(wall_s=wall_s).to_csv(folder / "training.csv", index=False)


def normal_scores(n_tasks, n_trials=2, n_runs=3, seed=0):
    """Scores with every variance part large, as {benchmark: (arm, training run, trial, task)}, and as a table."""
    rng = np.random.default_rng(seed)
    arrays, rows = {}, []
    shared = rng.normal(0, 0.1, (2, n_runs, 1, 1))
    for name in SEVEN:
        arrays[name] = (
            0.5 + shared + rng.normal(0, 0.2, (2, 1, 1, n_tasks)) + rng.normal(0, 0.05, (2, n_runs, 1, 1))
            + rng.normal(0, 0.1, (2, n_runs, 1, n_tasks)) + rng.normal(0, 0.1, (2, n_runs, n_trials, n_tasks))
        )  # fmt: skip
        rows += [
            ("xs", ("agent_sft", "lwm_then_sft")[a], r, name, "compact", f"{name}/{t:03}", k, value, 100, 20)
            for (a, r, k, t), value in np.ndenumerate(arrays[name])
        ]
    columns = "scale arm training_seed benchmark scaffold task_id trial value n_prompt_tokens n_completion_tokens"
    return arrays, pd.DataFrame(rows, columns=columns.split())


def origins(found):
    return {name: origin for name, _, origin in found.assumptions}


def test_counts_of_a_study_never_collected_are_those_done_by_hand(composed):
    cfg = composed("study=controlled_full")
    found = plan.plan(cfg)
    # Seven arms with five training seeds and the base with one, each at five scales.
    n_runs = found.training.n_runs
    assert n_runs == (7 * 5 + 1) * 5
    one = found.sizes["terminal"]
    assert one.episodes == n_runs * 4 * 200 * 2
    assert one.predictions == n_runs * 200
    assert one.prompt_tokens == one.episodes * 720 + one.predictions * 118
    assert one.completion_tokens == one.episodes * 32 + one.predictions * 10
    assert found.training.tokens == sum(
        sum(phase.n_tokens for phase in arm.phases)
        * (len(arm.scales) or len(cfg.scales))
        * len(arm.training_seeds or cfg.study.training_seeds)
        for arm in cfg.arms.values()
    )
    assert found.training_hours == pytest.approx(found.training.tokens / 6000 / 3600)
    all_tokens = 7 * (one.prompt_tokens + one.completion_tokens)
    assert found.engine_hours == pytest.approx(all_tokens / 45_000 / 3600)
    assert all(origin.startswith(("given", "follows")) for origin in origins(found).values())


def test_given_parts_follow_the_audit_model(composed):
    found = plan.plan(composed("study=controlled_full", "plan.pass_rate=0.4", "plan.icc=0.35", "plan.rho=0.2"))
    parts = found.parts["terminal"]
    assert parts.omega2 == pytest.approx(0.35 * 2 * 0.24 * 0.8)
    assert parts.s2 == pytest.approx(0.65 * 2 * 0.24)
    assert parts.tau == 0.02 and parts.interaction2 == 0.0
    one, mean = found.precision["terminal"], found.precision[plan.MEAN]
    se = float(dstudy.standard_error(200, 2, 5, omega2=parts.omega2, s2=parts.s2, each_run=True))
    assert one.half_width_t2 == pytest.approx(stats.t(199).ppf(0.975) * se)
    assert mean.half_width_t2 == pytest.approx(stats.t(7 * 199).ppf(0.975) * se / 7**0.5)
    assert one.mde_t2 == pytest.approx((stats.t(199).ppf(0.975) + stats.t(199).ppf(0.8)) * se)
    assert found.joint_t2 == pytest.approx(one.power_t2**7)
    tasks, runs = se**2, 2 * 0.02**2 / 5
    df = (tasks + runs) ** 2 / (tasks**2 / 199 + runs**2 / 8)
    assert one.half_width_t3 == pytest.approx(stats.t(df).ppf(0.975) * (tasks + runs) ** 0.5)
    assert mean.power_t3 < mean.power_t2


def test_measured_parts_reproduce_the_errors_of_the_analysis(composed, tmp_path):
    arrays, table = normal_scores(n_tasks=20)
    freeze(tmp_path, "controlled", table.sample(frac=1, random_state=1))
    same = [f"benchmarks.{name}.n_tasks=20" for name in SEVEN]
    found = plan.plan(composed("study=controlled", "study.n_trials=2", *same))
    for name, array in arrays.items():
        estimate = paired_difference(array[1], array[0], target="T2")
        assert found.precision[name].half_width_t2 == pytest.approx((estimate.high - estimate.low) / 2)
    pairs = [Pair(array[1], array[0]) for array in arrays.values()]
    t2, t3 = (mean_paired_difference(pairs, target=target) for target in ("T2", "T3"))
    mean = found.precision[plan.MEAN]
    assert mean.half_width_t2 == pytest.approx((t2.high - t2.low) / 2)
    assert found.spent.now.se == pytest.approx(t3.se)
    assert mean.half_width_t3 > mean.half_width_t2
    told = origins(found)
    assert told["variance parts, lwm_then_sft and agent_sft"] == "measured: frozen `controlled`"
    assert "SD between training runs, per arm" not in told and "pass rate, icc, rho" not in told
    assert found.sizes["terminal"].prompt_tokens == pytest.approx(
        found.sizes["terminal"].episodes * 100 + found.sizes["terminal"].predictions * 118
    )


def test_one_trial_per_task_says_what_it_cannot_tell_apart(composed, tmp_path):
    arrays, table = normal_scores(n_tasks=20, n_trials=1)
    freeze(tmp_path, "controlled", table)
    found = plan.plan(composed("study=controlled", *[f"benchmarks.{name}.n_tasks=20" for name in SEVEN]))
    assert any("counted as trial noise" in name for name in origins(found))
    assert all(parts.interaction2 == 0 < parts.s2 for parts in found.parts.values())
    estimate = paired_difference(arrays["office"][1], arrays["office"][0], target="T2")
    assert found.precision["office"].half_width_t2 == pytest.approx((estimate.high - estimate.low) / 2)


def test_one_training_run_measures_all_but_the_spread_between_runs(composed, tmp_path):
    freeze(tmp_path, "controlled", normal_scores(n_tasks=20, n_runs=1)[1])
    found = plan.plan(composed("study=controlled"))
    assert all(parts.tau == 0.02 and parts.omega2 > 0 for parts in found.parts.values())
    assert origins(found)["SD between training runs, per arm"] == "given: plan.tau"


def test_what_arms_share_through_their_seeds_cancels_in_the_parts_of_their_difference(composed, tmp_path):
    table = normal_scores(n_tasks=20)[1]
    freeze(tmp_path, "controlled", table)
    alone = plan.plan(composed("study=controlled"))
    rng = np.random.default_rng(3)
    shared = {key: rng.normal(0, 0.5) for key in table.groupby(["benchmark", "training_seed", "task_id"]).groups}
    keys = zip(table["benchmark"], table["training_seed"], table["task_id"], strict=True)
    table["value"] += [shared[key] for key in keys]
    freeze(tmp_path / "with", "controlled", table)
    together = plan.plan(composed("study=controlled", f"paths.paper={tmp_path}/with"))
    for name, parts in alone.parts.items():
        assert together.parts[name][:3] == pytest.approx(parts[:3])


def test_another_study_s_data_can_be_used_and_is_named(composed, tmp_path):
    freeze(tmp_path, "controlled", normal_scores(n_tasks=20)[1], wall_s=36.0)
    found = plan.plan(composed("study=controlled_full", "plan.data=controlled"))
    assert "measured: frozen `controlled`" in origins(found).values()
    with pytest.raises(ConfigError, match="names study 'elsewhere'"):
        plan.plan(composed("study=controlled_full", "plan.data=elsewhere"))


def test_data_that_cannot_be_split_leaves_the_given_parts_and_says_why(composed, tmp_path):
    table = normal_scores(n_tasks=20)[1]
    freeze(tmp_path, "controlled", table.drop(table.index[table["benchmark"] == "office"][0]))
    found = plan.plan(composed("study=controlled"))
    assert found.parts["office"].tau == 0.02 != found.parts["calling"].tau
    assert any("not balanced" in value for _, value, _ in found.assumptions)
    told = origins(found)
    assert told["pass rate, icc, rho (office)"].startswith("given")
    assert told["SD between training runs, per arm"] == "given: plan.tau"


def store_episodes(tmp_path, study, *, wall_s, n_episodes):
    """One checkpoint's run of episodes that took 90 + 10 tokens each."""
    store = Store(tmp_path / "results/store")
    spec = RunSpec(
        model="organism/x", revision="r", dtype="float32", context=1024, benchmark="terminal", benchmark_version="1",
        scaffold="compact", scaffold_version="1", max_turns=8, max_episode_tokens=512,
        sampling=Sampling(temperature=0.6, max_tokens=64), seed=0,
    )  # fmt: skip
    task = Task(
        id="terminal/evaluation/1/0", benchmark="terminal", split="evaluation", level=1, index=0, prompt="", tools=(),
        setup={},
    )  # fmt: skip
    with store.writer(spec, labels_of(spec), {"engine": "scripted"}, [task]) as writer:
        for trial in range(n_episodes):
            writer.append(
                Episode(run_id=spec.run_id, task_id=task.id, task_hash=task.content_hash, trial=trial, trajectory=(),
                        stop_reason="answer", n_turns=1, n_malformed=0, n_prompt_tokens=90, n_completion_tokens=10,
                        seeds=(trial,), wall_s=wall_s)
            )  # fmt: skip
    write_index(tmp_path / "results", index_of(study, run_ids=(spec.run_id,)))


@pytest.mark.parametrize(("concurrency", "expected"), [(2, 100.0), (128, 400.0)])
def test_throughput_is_that_of_stored_episodes_side_by_side(composed, tmp_path, concurrency, expected):
    store_episodes(tmp_path, "controlled", wall_s=2.0, n_episodes=8)
    # 8 x 100 tokens; two at a time: 8 s; all eight at once: 2 s.
    found = plan.plan(composed("study=controlled", f"engine.concurrency={concurrency}"))
    tokens = sum(s.prompt_tokens + s.completion_tokens for s in found.sizes.values())
    assert found.engine_hours == pytest.approx(tokens / expected / 3600)
    assert origins(found)["tokens per second and engine"].startswith("measured")


def test_money_is_hours_and_tokens_at_their_prices(composed):
    prices = ["plan.price_per_hour=2", "plan.price_per_million_prompt_tokens=3"]
    free = plan.plan(composed("study=controlled_full"))
    paid = plan.plan(composed("study=controlled_full", *prices, "plan.price_per_million_completion_tokens=5"))
    prompt, new = (sum(getattr(s, key) for s in free.sizes.values()) for key in ("prompt_tokens", "completion_tokens"))
    hours = free.engine_hours + free.training_hours
    assert free.money == 0 and free.spent.unit == "hours"
    assert paid.money == pytest.approx(2 * hours + (3 * prompt + 5 * new) / 1e6) and paid.spent.unit == "USD"


def test_the_best_use_of_the_same_budget_is_never_worse_and_more_budget_helps(composed):
    found = plan.plan(composed("study=controlled_full")).spent
    assert found.best.se <= found.now.se and found.best.cost <= found.budget * (1 + 1e-9) == found.now.cost * (1 + 1e-9)
    doubled = plan.plan(composed("study=controlled_full", f"plan.budget={2 * found.budget}")).spent
    assert doubled.best.se < found.best.se
    t = stats.t(found.wanted.df)
    assert (t.ppf(0.975) + t.ppf(0.8)) * found.wanted.se <= 0.03 * (1 + 1e-9)


def test_two_arms_cost_their_episodes_and_their_training(composed):
    spent = plan.plan(composed("study=controlled_full")).spent
    episodes = 2 * 7 * 5 * 4 * 200 * 2 * 5  # arms, benchmarks, scales, scaffolds, tasks, trials, training runs
    training = (190_000 + 300_000) * 5 * 5  # both arms' tokens, scales, training runs
    hours = episodes * 752 / 45_000 / 3600 + training / 6000 / 3600
    assert spent.now.cost == pytest.approx(hours)


def test_public_models_have_no_t3(composed):
    cfg = composed("study=controlled")
    model = {"path": "a/b", "revision": "0", "scale": "8b", "params_b": 8.0, "architecture": "q"}
    cfg.arms, cfg.models = {}, {
        "one": settings.Model(role="general", **model), "other": settings.Model(role="agent_specific", **model)
    }  # fmt: skip
    cfg.plan.treatment, cfg.plan.control = "general", "agent_specific"
    found = plan.plan(cfg)
    assert found.training == (0, 0, 0) and found.sizes["office"].episodes == 2 * 80
    assert found.precision["office"].half_width_t2 > 0
    assert found.precision["office"].half_width_t3 is None and found.joint_t3 is None
    assert found.spent.best.n_training_runs == 1
    assert " T2: hours" in plan.report(cfg, found)


@pytest.mark.parametrize("study", ["controlled", "controlled_tiny", "controlled_full"])
def test_report_names_every_benchmark_and_the_origin_of_every_assumption(composed, study):
    cfg = composed(f"study={study}")
    found = plan.plan(cfg)
    text = plan.report(cfg, found)
    assert text.startswith(f"plan of study {study}")
    assert all(text.count(f"\n  {name} ") == 2 for name in SEVEN)
    assert text.count("  [") == len(found.assumptions)
    assert "nan" not in text and "inf " not in text


@pytest.mark.parametrize(
    ("override", "match"),
    [
        ("plan.icc=1.5", "`plan.icc`"),
        ("plan.tau=-0.1", "`plan.tau`"),
        ("plan.tokens_per_s=0", "`plan.tokens_per_s`"),
        ("plan.budget=0", "`plan.budget`"),
        ("plan.treatment=nobody", "`plan.treatment` is 'nobody'"),
        ("plan.treatment=agent_sft", "name two arms"),
        ("plan.max_runs=1", "`plan.max_runs`"),
    ],
)
def test_senseless_assumptions_are_refused(composed, override, match):
    with pytest.raises(ConfigError, match=match):
        plan.plan(composed("study=controlled", override))


def test_reanalysis_has_nothing_to_plan(composed):
    with pytest.raises(ConfigError, match="nothing to plan"):
        plan.plan(composed("study=reanalysis"))


@pytest.mark.slow
def test_reanalysis_ends_with_one_line_and_exit_code_2():
    done = subprocess.run(
        [sys.executable, "-m", "replication", "plan", "study=reanalysis"], capture_output=True, text=True,
        cwd=settings.CONF.parent,
    )  # fmt: skip
    assert done.returncode == 2 and "nothing to plan" in done.stderr and not done.stdout
