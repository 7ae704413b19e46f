"""The order in which episodes start: longest first as far as lengths can be expected, and no score depends on it."""

import dataclasses

import pandas as pd
from parts import expert_script, make_job, noisy_script, prompt_of, script_of_all

from replication.collect import ordering, runner
from replication.collect.engines.scripted import ScriptedEngine
from replication.records import Reply
from replication.store import Store


def left_of(store, *jobs):
    return [runner.Left(job, runner.missing(store, job)) for job in jobs]


def test_without_stored_episodes_the_limits_of_a_run_and_the_level_of_a_task_decide(tmp_path):
    short, long = make_job("calling", n_tasks=2, max_turns=2), make_job("terminal", n_tasks=2, max_turns=4)
    (harder,) = make_job("terminal", n_tasks=1, level=2).tasks
    long = dataclasses.replace(long, tasks=[*long.tasks, harder])
    capped = make_job("office", n_tasks=1, max_turns=100, max_episode_tokens=90)
    store = Store(tmp_path)
    tasks = [item.task for item in ordering.by_length(store)(left_of(store, short, capped, long)) if item.trial == 0]
    # 4 x 32 new tokens, then 90, then 2 x 32.
    assert tasks == [harder, *long.tasks[:2], *capped.tasks, *short.tasks]


def test_stored_episodes_of_any_checkpoint_tell_which_benchmark_is_longer_than_its_limits_say(tmp_path):
    store = Store(tmp_path)
    short, long = make_job("terminal", max_turns=8), make_job("calling", max_turns=4)

    def script(request):
        n = 3 if prompt_of(request) in {task.prompt for task in short.tasks} else 30
        return Reply(text="answer no", finish="stop", n_prompt_tokens=1, n_completion_tokens=n)

    runner.collect(store, ScriptedEngine(script), [short, long], concurrency=3, title="test")
    others = [make_job(name, max_turns=turns, model="org/other") for name, turns in (("terminal", 8), ("calling", 4))]
    order = ordering.by_length(store)
    n = [len(job.tasks) * job.n_trials for job in others]
    assert [item.job for item in order(left_of(store, *others))] == [others[1]] * n[1] + [others[0]] * n[0]
    assert next(item.job for item in ordering.by_length(Store(tmp_path / "none"))(left_of(store, *others))) is others[0]


def test_the_order_is_that_of_a_stable_sort_and_leaves_out_what_is_finished(tmp_path):
    store = Store(tmp_path)
    jobs = [make_job(name, n_tasks=3, n_trials=2, max_turns=turns) for name, turns in (("office", 4), ("calling", 8))]
    mixed = [task for level in (1, 3, 2) for task in make_job("terminal", n_tasks=2, level=level).tasks]
    jobs += [dataclasses.replace(make_job("terminal", n_trials=4, max_turns=4), tasks=mixed)]
    jobs += [make_job("terminal", n_tasks=3, level=2, max_turns=4, model="org/other")]
    for job in jobs:
        half = dataclasses.replace(job, tasks=job.tasks[:2], n_trials=1)
        runner.collect(store, ScriptedEngine(expert_script(half)), [half], concurrency=2, title="test")
    unplayed = Store(tmp_path / "none")  # only the limits tell how long
    found = list(ordering.by_length(unplayed)(left_of(store, *jobs)))
    listed = [
        runner.Item(job=job, task=task, trial=trial) for job, left in left_of(store, *jobs) for task, trial in left
    ]
    turns = {job.spec.run_id: job.spec.max_turns for job in jobs}
    key = lambda item: (-turns[item.job.spec.run_id], -item.task.attributes["level"])  # noqa: E731
    assert len(found) == sum(len(job.tasks) * job.n_trials - 2 for job in jobs)
    assert found == sorted(listed, key=key) and found != listed


def test_both_orders_give_the_identical_score_table(tmp_path):
    jobs = [make_job("terminal", level=1), make_job("calling", level=1), make_job("office", level=1)]
    tables, asked = [], []
    for name in ("listed", "longest_first"):
        store, engine = Store(tmp_path / name), ScriptedEngine(script_of_all(jobs, noisy_script))
        jobs_now = [dataclasses.replace(jobs[0], n_trials=1), jobs[1]]
        runner.collect(store, engine, jobs_now, concurrency=4, title="test")
        order = ordering.by_length(store) if name == "longest_first" else None
        runner.collect(store, engine, jobs, concurrency=4, title="test", order=order)
        tables.append(store.score_table())
        asked.append([(prompt_of(request), request.seed) for request in engine.requests])
    assert asked[0] != asked[1] and sorted(asked[0]) == sorted(asked[1])
    assert tables[0]["value"].nunique() > 1
    pd.testing.assert_frame_equal(*tables)
