"""A million planned episodes: what is planned is not held, what is played is stored and let go."""

import dataclasses
import gc
import tracemalloc

import pytest
from parts import expert_script, make_job

from replication.collect import ordering, runner
from replication.collect.engines.scripted import ScriptedEngine
from replication.errors import EngineError
from replication.store import Store

PLANNED = 1_000_000


def refuse(request):
    raise EngineError("the engine is gone")


@pytest.mark.parametrize("name", ["listed", "longest_first"])
def test_a_million_planned_episodes_are_numbers_until_they_are_played(tmp_path, name):
    job, store = make_job(n_tasks=4, n_trials=PLANNED // 4), Store(tmp_path)
    engine = ScriptedEngine(refuse, keeps_requests=False)
    order = ordering.by_length(store) if name == "longest_first" else None
    tracemalloc.start()
    try:
        with pytest.raises(EngineError, match="11 of 11 episodes failed"):
            runner.collect(store, engine, [job], concurrency=1, title="test", order=order)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 32 * PLANNED  # 8 bytes and what finding them takes; an object each is 56, with its tuple 120


@pytest.mark.slow
def test_a_million_episodes_are_sorted_without_a_list_of_them(tmp_path):
    store = Store(tmp_path)
    tasks = [task for level in (1, 2, 3) for task in make_job("terminal", n_tasks=4, level=level).tasks]
    short, long = (
        dataclasses.replace(make_job(name, n_trials=1, max_turns=turns), tasks=tasks, n_trials=PLANNED // 24)
        for name, turns in (("terminal", 2), ("calling", 4))
    )
    left = [runner.Left(job, runner.missing(store, job)) for job in (short, long)]
    tracemalloc.start()
    try:
        n, last = 0, (-5, -5)
        for item in ordering.by_length(store)(left):
            key = (-item.job.spec.max_turns, -item.task.attributes["level"])
            assert key >= last
            n, last = n + 1, key
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert n == sum(len(one.episodes) for one in left) > 0.99 * PLANNED and peak < 24 * PLANNED


def test_a_played_episode_leaves_its_key_in_memory_and_nothing_else(tmp_path):
    job, store = make_job(n_tasks=8, n_trials=PLANNED // 8), Store(tmp_path)
    script, n_requests, n_turns = expert_script(job), 0, 3
    held = {}

    def measured(request):
        nonlocal n_requests
        n_requests += 1
        if n_requests in (200 * n_turns, 1000 * n_turns):
            gc.collect()
            held[n_requests] = tracemalloc.get_traced_memory()[0]
        return refuse(request) if n_requests > 1000 * n_turns else script(request)

    limit = runner.FailureLimit(share=0.0, least=1)
    tracemalloc.start()
    try:
        with pytest.raises(EngineError, match="The run was stopped"):
            runner.collect(
                store, ScriptedEngine(measured, keeps_requests=False), [job], concurrency=8, title="test", limit=limit
            )
    finally:
        tracemalloc.stop()
    n_played = len(store.finished(job.spec.run_id)) * 800 / 1000  # between the two measurements
    (first, second) = held.values()
    assert (second - first) / n_played < 600  # an episode with its messages has 3,000


def test_missing_episodes_are_a_sequence_in_fixed_order(tmp_path):
    job, store = make_job(n_tasks=3, n_trials=2), Store(tmp_path)
    everything = [(task, trial) for trial in range(2) for task in job.tasks]
    assert list(runner.missing(store, job)) == everything
    bad = job.tasks[1].prompt
    script = expert_script(job)
    engine = ScriptedEngine(lambda r: refuse(r) if r.messages[1].content == bad else script(r))
    runner.collect(store, engine, [job], concurrency=1, title="test")
    left = runner.missing(store, job)
    assert list(left) == [(job.tasks[1], 0), (job.tasks[1], 1)] and left.tasks() == [job.tasks[1]]
    assert left[-1] == left[1] == (job.tasks[1], 1) and left[:1] == [(job.tasks[1], 0)] and len(left) == 2
    runner.collect(store, ScriptedEngine(script), [job], concurrency=1, title="test")
    assert not runner.missing(store, job) and runner.missing(store, job).tasks() == []
