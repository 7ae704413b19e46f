"""Playing by blocks on scripted engines: when it stops, what it stores, how it resumes."""

import dataclasses
import itertools
import json
import math
from pathlib import Path

import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from parts import expert_replies, make_job, prompt_of
from test_end_to_end import build_paper, pretend_trained

from replication import settings
from replication.analyse.stats.design import monitor
from replication.analyse.tables.arms import pairs
from replication.collect import build, monitoring, runner
from replication.collect.engines.scripted import ScriptedEngine
from replication.commands import gather, run
from replication.errors import AnalysisError, ConfigError, EngineError, EnvironmentFault, StoreError
from replication.records import stable_seed
from replication.store import Store

EXPERT, CONTROL = "lwm_then_sft", "agent_sft"


def job_of(arm, *, n_tasks=50, n_trials=1, benchmark="terminal"):
    job = make_job(benchmark, n_tasks=n_tasks, n_trials=n_trials, model=f"org/{arm}")
    return dataclasses.replace(job, labels=dataclasses.replace(job.labels, arm=arm))


def script_for(job, failing=0):
    """Play the expert; give up where the task's number is below `failing` in ten."""
    replies = expert_replies(job)

    def script(request):
        prompt = prompt_of(request)
        if stable_seed("fails", prompt) % 10 < failing:
            return "answer done"
        return replies[prompt][sum(m.role == "assistant" for m in request.messages)]

    return script


class Player:
    """Plays parts of jobs with one scripted engine per run, and notes which tasks it was given."""

    def __init__(self, store, scripts):
        self.store, self.scripts, self.parts = store, scripts, []

    def __call__(self, jobs):
        self.parts.append([(job.spec.model, len(job.tasks)) for job in jobs])
        return sum(
            runner.collect(
                self.store, ScriptedEngine(self.scripts[job.spec.run_id]), [job], concurrency=4, title="test"
            ).n_episodes
            for job in jobs
        )


def two_arms(**changes):
    return [job_of(EXPERT, **changes), job_of(CONTROL, **changes)]


def by_rule(jobs, seen, rule):
    def stop(name, scores):
        a, b = (scores[job.spec.run_id] for job in jobs)
        looks = monitor.trajectory([x[0] - y[0] for x, y in zip(a, b, strict=True)], rule)
        seen.append(looks)
        return looks[-1].decision

    return stop


RULE = monitor.Rule(alpha=0.05, sesoi=0.05, block=10)


def test_blocks_end_at_a_clear_difference_and_later_tasks_are_never_played(tmp_path):
    store, jobs, seen = Store(tmp_path), two_arms(), []
    scripts = {jobs[0].spec.run_id: script_for(jobs[0]), jobs[1].spec.run_id: script_for(jobs[1], 10)}
    player = Player(store, scripts)
    due = monitoring.collect_in_blocks(
        store, {"terminal": jobs}, block=10, play_part=player, stop=by_rule(jobs, seen, RULE)
    )
    n = due["terminal"]
    assert n < 50 and n % 10 == 0
    assert player.parts == [[("org/lwm_then_sft", i), ("org/agent_sft", i)] for i in range(10, n + 1, 10)]
    assert [looks[-1].n_tasks for looks in seen] == list(range(10, n + 1, 10))
    assert seen[-1][-1].decision == "success" and seen[-1][-1].direction == "treatment"
    assert all(look.decision == "continue" for look in seen[-1][:-1])
    table = store.score_table()
    assert table["value"].notna().all() and len(table) == 2 * n
    assert set(table["task_id"]) == {task.id for task in jobs[0].tasks[:n]}
    assert pairs(table, EXPERT, CONTROL)["terminal"].treatment.shape == (1, 1, n)


def test_without_a_difference_every_task_is_played_and_the_last_block_is_what_is_left(tmp_path):
    store, jobs, seen = Store(tmp_path), two_arms(n_tasks=25), []
    player = Player(store, {job.spec.run_id: script_for(job, 5) for job in jobs})
    due = monitoring.collect_in_blocks(
        store, {"terminal": jobs}, block=10, play_part=player, stop=by_rule(jobs, seen, RULE)
    )
    assert due == {"terminal": 25} and [part[0][1] for part in player.parts] == [10, 20, 25]
    assert [look.e_value for look in seen[-1]] == [0.5, 0.5, 0.5]


def test_open_groups_continue_when_another_has_stopped(tmp_path):
    store, calls = Store(tmp_path), []
    groups = {name: two_arms(n_tasks=6, benchmark=name) for name in ("calling", "terminal")}
    scripts = {job.spec.run_id: script_for(job) for jobs in groups.values() for job in jobs}
    player = Player(store, scripts)

    def stop(name, scores):
        calls.append((name, len(next(iter(scores.values())))))
        return "futility" if name == "calling" else "continue"

    due = monitoring.collect_in_blocks(store, groups, block=2, play_part=player, stop=stop)
    assert due == {"calling": 2, "terminal": 6}
    assert calls == [("calling", 2), ("terminal", 2), ("terminal", 4), ("terminal", 6)]
    assert [len(part) for part in player.parts] == [4, 2, 2]


def test_looks_after_an_interruption_are_those_of_an_undisturbed_run(tmp_path):
    trajectories = []
    for name, dies_after in (("whole", None), ("cut", 37)):
        store, jobs = Store(tmp_path / name), two_arms()
        scripts = {jobs[0].spec.run_id: script_for(jobs[0], 2), jobs[1].spec.run_id: script_for(jobs[1], 7)}
        calls = 0

        def dying(request, script, dies_after=dies_after):
            nonlocal calls
            calls += 1
            if dies_after and calls > dies_after:
                raise EngineError("the engine is gone")
            return script(request)

        cut = {key: lambda request, s=script: dying(request, s) for key, script in scripts.items()}
        if dies_after:
            with pytest.raises(EngineError, match="the same command plays the rest"):
                monitoring.collect_in_blocks(
                    store, {"t": jobs}, block=10, play_part=Player(store, cut), stop=by_rule(jobs, [], RULE)
                )
            assert 0 < sum(len(store.finished(job.spec.run_id)) for job in jobs) < 100
        seen, player = [], Player(store, scripts)
        due = monitoring.collect_in_blocks(
            store, {"t": jobs}, block=10, play_part=player, stop=by_rule(jobs, seen, RULE)
        )
        again, nothing = [], Player(store, {})
        monitoring.collect_in_blocks(store, {"t": jobs}, block=10, play_part=nothing, stop=by_rule(jobs, again, RULE))
        assert again == seen and nothing.parts == [] and 10 < due["t"] < 50
        trajectories.append((due, seen, store.score_table()))
    assert trajectories[0][:2] == trajectories[1][:2]
    pd.testing.assert_frame_equal(trajectories[0][2], trajectories[1][2])


def test_look_waits_for_an_episode_that_the_engine_refused(tmp_path):
    store, job = Store(tmp_path), job_of(EXPERT, n_tasks=4)
    script, bad = script_for(job), job.tasks[1].prompt

    def refusing(request):
        if prompt_of(request) == bad:
            raise EngineError("no")
        return script(request)

    player, looked = Player(store, {job.spec.run_id: refusing}), []
    stop = lambda name, scores: looked.append(scores) or "continue"  # noqa: E731
    with pytest.raises(EngineError, match=r"1 episodes of run .* have no score, and a look needs all of a block"):
        monitoring.collect_in_blocks(store, {"t": [job]}, block=4, play_part=player, stop=stop)
    assert looked == []
    monitoring.collect_in_blocks(
        store, {"t": [job]}, block=4, play_part=Player(store, {job.spec.run_id: script}), stop=stop
    )
    assert looked == [{job.spec.run_id: [[1.0]] * 4}]


@pytest.mark.parametrize("broken", ["environment", "grader"])
def test_episode_without_a_score_stops_a_look_instead_of_counting_as_zero(tmp_path, broken):
    class Broken:
        def __init__(self, benchmark):
            self._benchmark = benchmark

        def __getattr__(self, name):
            return getattr(self._benchmark, name)

        def start(self, task):
            return self if broken == "environment" and task == job.tasks[0] else self._benchmark.start(task)

        def step(self, call):
            raise EnvironmentFault("the simulator broke")

        def grade(self, task, episode):
            score = self._benchmark.grade(task, episode)
            return dataclasses.replace(score, value=None) if broken == "grader" and task == job.tasks[0] else score

    store, job, looked = Store(tmp_path), job_of(EXPERT, n_tasks=4), []
    bad = dataclasses.replace(job, benchmark=Broken(job.benchmark))
    with pytest.raises(EngineError, match=r"1 episodes of run .* have no score, and a look needs all of a block"):
        monitoring.collect_in_blocks(
            store, {"t": [bad]}, block=4, play_part=Player(store, {job.spec.run_id: script_for(job)}),
            stop=lambda name, scores: looked.append(scores) or "continue",
        )  # fmt: skip
    assert looked == []


def test_episodes_scored_by_another_grader_are_graded_again_before_a_look(tmp_path):
    class Harsh:
        grader = "harsh-1"

        def __init__(self, benchmark):
            self._benchmark = benchmark

        def __getattr__(self, name):
            return getattr(self._benchmark, name)

        def grade(self, task, episode):
            return dataclasses.replace(self._benchmark.grade(task, episode), grader=self.grader, value=0.25)

    store, job = Store(tmp_path), job_of(EXPERT, n_tasks=3, n_trials=2)
    Player(store, {job.spec.run_id: script_for(job)})([job])
    assert monitoring.scores_so_far(store, job) == [[1.0, 1.0]] * 3
    other = dataclasses.replace(job, benchmark=Harsh(job.benchmark))
    assert monitoring.scores_so_far(store, other) == [[0.25, 0.25]] * 3


def test_groups_with_unlike_tasks_and_empty_blocks_are_refused(tmp_path):
    one, other = job_of(EXPERT, n_tasks=4), job_of(CONTROL, n_tasks=5)
    for groups, block, message in (
        ({"t": [one, other]}, 2, "must have the same tasks in the same order"),
        ({"t": [dataclasses.replace(one, tasks=[])]}, 2, "at least one"),
        ({"t": [one]}, 0, "a block must have at least 1 task; got 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            monitoring.collect_in_blocks(
                Store(tmp_path), groups, block=block, play_part=len, stop=lambda n, s: "continue"
            )


# the entry point


@pytest.fixture
def cfg(tmp_path):
    settings.register()
    with initialize_config_dir(str(settings.CONF), version_base="1.3"):
        overrides = ["study=controlled_tiny", "monitor=on", "monitor.block=10", f"paths.results={tmp_path}/results"]
        tasks = [f"benchmarks.{name}.n_tasks=40" for name in ("terminal", "calling")]
        cfg = settings.checked(compose("config", overrides=[*overrides, *tasks]))
    cfg.benchmarks = {name: cfg.benchmarks[name] for name in ("calling", "terminal")}
    cfg.arms = {name: cfg.arms[name] for name in (CONTROL, "base", EXPERT)}
    cfg.scales = {"xs": cfg.scales["xs"]}
    cfg.engine.processes = 1  # in this process, where the scripted engine is
    pretend_trained(cfg)
    return cfg


class Swapping(ScriptedEngine):
    """An engine whose answers depend on the weights that are loaded."""

    def __init__(self, scripts, dies_after=math.inf):
        super().__init__(self._answer)
        self.scripts, self.dies_after = scripts, dies_after

    def _answer(self, request):
        if len(self.requests) > self.dies_after:
            raise EngineError("the engine is gone")
        return self.scripts[self.models[-1].name](request)


def engine_of(cfg, failing, dies_after=math.inf):
    """Serve all checkpoints; `failing` says how many tasks in ten an arm gives up, 5 where it names none."""
    scripts = {}
    for model in build.served_models(cfg):
        parts = {}
        for job in build.jobs(cfg, model):
            parts |= dict.fromkeys(
                (task.prompt for task in job.tasks), script_for(job, failing.get(model.labels.arm, 5))
            )
        scripts[model.ref.name] = lambda r, parts=parts: parts.get(prompt_of(r), lambda _: "ok")(r)
    return Swapping(scripts, dies_after)


def collected(cfg, monkeypatch, failing, dies_after=math.inf):
    engine = engine_of(cfg, failing, dies_after)
    monkeypatch.setattr(build, "engine", lambda cfg: engine)
    run.main(cfg)
    return engine


def read(cfg, name):
    return json.loads((Path(cfg.paths.results) / "studies" / f"{cfg.study.name}{name}.json").read_text())


def test_study_stops_early_and_index_and_table_have_the_tasks_up_to_the_stop(cfg, monkeypatch, capsys):
    engine = collected(cfg, monkeypatch, {EXPERT: 0, CONTROL: 9})
    groups = read(cfg, ".monitor")["groups"]
    assert sorted(groups) == ["xs/calling", "xs/terminal"]
    due = {name: group["looks"][-1]["n_tasks"] for name, group in groups.items()}
    assert all(n < 40 for n in due.values()) and {g["n_planned"] for g in groups.values()} == {40}
    assert {g["looks"][-1]["decision"] for g in groups.values()} == {"success"}
    index = read(cfg, "")
    assert sum("was stopped after" in text and "success, evidence for treatment" in text
               for text in index["deviations"]) == 2  # fmt: skip
    table = Store(Path(cfg.paths.results) / "store").score_table(index["run_ids"])
    assert table["value"].notna().all()
    for benchmark in ("calling", "terminal"):
        per_run = table[table["benchmark"] == benchmark].groupby("run_id")["task_id"].agg(frozenset)
        assert len(set(per_run)) == 1 and len(per_run.iloc[0]) == due[f"xs/{benchmark}"]
    # Arms that are not monitored, and probes, come after the last look; loaded weights are not loaded again.
    arm_of = {model.ref.name: model.labels.arm for model in build.served_models(cfg)}
    arms = [arm_of[ref.name] for ref in engine.models]
    n_blocks = max(due.values()) // 10
    assert arms.index("base") >= 4 + 3 * (n_blocks - 1) and set(arms[: arms.index("base")]) == {EXPERT, CONTROL}
    looked = [model.name for model in engine.models[: 4 + 3 * (n_blocks - 1)]]
    assert all(one != other for one, other in itertools.pairwise(looked))
    capsys.readouterr()
    engine = collected(cfg, monkeypatch, {})
    assert engine.requests == [] and engine.models == [] and read(cfg, ".monitor")["groups"] == groups
    assert "runs are complete" in capsys.readouterr().out and read(cfg, "") == index


@pytest.mark.slow
def test_paper_of_a_stopped_study_counts_no_task_as_unscored_and_says_that_it_stopped(cfg, monkeypatch, tmp_path):
    collected(cfg, monkeypatch, {EXPERT: 0, CONTROL: 9})
    due = {group["looks"][-1]["n_tasks"] for group in read(cfg, ".monitor")["groups"].values()}
    built = build_paper(cfg, tmp_path / "paper")
    (verdict,) = [v for v in built.verdicts if (v.claim_id, v.target, v.study) == ("A2", "T2", "controlled_tiny")]
    assert verdict.replication.n_tasks in {*due, sum(due)} and verdict.replication.n_unscored == 0
    assert any("was stopped after" in text for text in verdict.deviations)


def test_study_that_was_interrupted_resumes_to_the_identical_trajectory(cfg, monkeypatch):
    failing = {EXPERT: 2, CONTROL: 7}
    with pytest.raises(EngineError, match="the same command plays the rest"):
        collected(cfg, monkeypatch, failing, dies_after=260)
    before = read(cfg, ".monitor")["groups"]
    collected(cfg, monkeypatch, failing)
    resumed = read(cfg, ".monitor")
    for name, group in before.items():
        n = len(group["looks"])
        assert group["looks"] == resumed["groups"][name]["looks"][:n]
    assert any(0 < len(g["looks"]) < len(resumed["groups"][name]["looks"]) for name, g in before.items())
    cfg.paths.results = str(Path(cfg.paths.results).with_name("undisturbed"))
    pretend_trained(cfg)
    collected(cfg, monkeypatch, failing)
    assert read(cfg, ".monitor") == resumed


def test_index_gathered_later_has_the_stops_and_one_of_unfinished_monitoring_is_refused(cfg, monkeypatch):
    collected(cfg, monkeypatch, {EXPERT: 0, CONTROL: 9})
    path = Path(cfg.paths.results) / "studies" / f"{cfg.study.name}.json"
    before = path.read_bytes()
    path.unlink()
    gather.main(cfg)
    assert path.read_bytes() == before
    monitored = path.with_name(f"{cfg.study.name}.monitor.json")
    record = json.loads(monitored.read_text())
    record["groups"]["xs/calling"]["looks"][-1]["decision"] = "continue"
    monitored.write_text(json.dumps(record))
    with pytest.raises(ConfigError, match=r"monitoring of `xs/calling` has not ended: \d+ of 40 tasks are played"):
        gather.main(cfg)


def test_rule_or_plan_that_changes_after_a_look_is_refused(cfg, monkeypatch):
    collected(cfg, monkeypatch, {EXPERT: 0, CONTROL: 9})
    cfg.monitor.alpha = 0.1
    with pytest.raises(ConfigError, match=r"looks under another plan: `rule` changed"):
        run.main(cfg)
    cfg.monitor.alpha = 0.05
    path = Path(cfg.paths.results) / "studies" / f"{cfg.study.name}.monitor.json"
    stored = json.loads(path.read_text())
    stored["groups"]["xs/calling"]["looks"][0]["e_value"] += 1
    path.write_text(json.dumps(stored))
    with pytest.raises(StoreError, match=r"`xs/calling` after 10 tasks differs from the one in"):
        run.main(cfg)


def test_without_the_rule_a_stopped_study_is_played_to_its_end(cfg, monkeypatch):
    collected(cfg, monkeypatch, {EXPERT: 0, CONTROL: 9})
    cfg.monitor.enabled = False
    collected(cfg, monkeypatch, {EXPERT: 0, CONTROL: 9})
    table = Store(Path(cfg.paths.results) / "store").score_table(read(cfg, "")["run_ids"])
    assert set(table.groupby("run_id")["task_id"].nunique()) == {40}
    assert not any("was stopped" in text for text in read(cfg, "")["deviations"])


def test_arms_that_are_not_served_and_invalid_rules_are_named(cfg, monkeypatch):
    monkeypatch.setattr(build, "engine", lambda cfg: pytest.fail("an engine was built"))
    for treatment, control in (("none", CONTROL), (EXPERT, EXPERT)):
        cfg.monitor.treatment, cfg.monitor.control = treatment, control
        with pytest.raises(ConfigError, match=r"no scale has the two arms .*serves agent_sft, base, lwm_then_sft"):
            run.main(cfg)
    cfg.monitor.sesoi = 3.0
    with pytest.raises(AnalysisError, match="`sesoi` must lie between 0 and 1"):
        run.main(cfg)


def test_monitoring_is_off_by_default():
    settings.register()
    with initialize_config_dir(str(settings.CONF), version_base="1.3"):
        for overrides, enabled in (([], False), (["monitor=off"], False), (["monitor=on"], True)):
            assert settings.checked(compose("config", overrides=overrides)).monitor.enabled is enabled


def test_tasks_are_means_over_runs_and_trials():
    runs = [[[1.0, 0.0], [0.5, 0.5]], [[1.0, 0.0], [1.0, 1.0]]]
    assert monitoring._task_means(runs) == [0.5, 0.75]
