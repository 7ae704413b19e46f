"""The episode loop and the runner on scripted engines: seeds, resuming, failures, identity."""

import asyncio
import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from parts import (
    LONG,
    SCAFFOLDS,
    changed,
    expert_replies,
    expert_script,
    make_job,
    n_turns_so_far,
    noisy_script,
    prompt_of,
    script_of_all,
)

from replication.collect import checks, runner
from replication.collect.benchmarks import suite
from replication.collect.engines.scripted import ScriptedEngine
from replication.collect.episodes import play
from replication.errors import (
    ConfigError,
    EngineError,
    EnvironmentFault,
    EpisodeTimeout,
    ReplicationError,
    RequestRefused,
    StoreError,
)
from replication.records import UNSCORED_REASONS, Message, Reply, Score, StopReason, canonical_json
from replication.store import Store
from replication.store.frames import message_record


def collect(store, script, *jobs, concurrency=4):
    engine = ScriptedEngine(script)
    n = runner.collect(store, engine, jobs, concurrency=concurrency, title="test").n_episodes
    return n, engine


def finish(job, replies, trial=0):
    """Advance one episode by fixed replies."""
    turns = play(job.spec, job.tasks[0], trial, job.benchmark.start(job.tasks[0]), job.scaffold)
    next(turns)
    for reply in replies:
        try:
            turns.send(reply)
        except StopIteration as end:
            return end.value
    raise AssertionError("the episode did not end")


def reply(text, finish="stop"):
    return Reply(text=text, finish=finish, n_prompt_tokens=10, n_completion_tokens=5)


# the loop


def test_an_episode_that_takes_longer_than_its_limit_is_unscored_and_stops_no_other(tmp_path):
    job, store = make_job(n_tasks=4, n_trials=1), Store(tmp_path)
    hanging, script = job.tasks[1].prompt, expert_script(job)

    class Hanging(ScriptedEngine):
        async def generate(self, request):
            if prompt_of(request) == hanging:
                await asyncio.sleep(60)
            return await super().generate(request)

    limited = dataclasses.replace(job, episode_s=0.2)
    runner.collect(store, Hanging(script), [limited], concurrency=2, title="test")
    table = store.score_table().set_index("task_id")
    assert table["stop_reason"][job.tasks[1].id] == "timeout"
    assert table["value"].drop(job.tasks[1].id).tolist() == [1.0] * 3
    (episode,) = [e for e in store.episodes(job.spec.run_id) if e.stop_reason == "timeout"]
    assert episode.error == "it took longer than `engine.episode_s`, 0.2 s."
    collect(store, script, job)
    assert store.score_table()["value"].tolist() == [1.0] * 4


def test_expert_solves_and_the_episode_says_how_it_ended(tmp_path):
    job, store = make_job(n_tasks=5, n_trials=1), Store(tmp_path)
    collect(store, expert_script(job), job)
    table = store.score_table()
    assert table["value"].tolist() == [1.0] * 5
    assert set(table["stop_reason"]) == {"answer"}


def test_turn_limit_token_limit_and_context_overflow_have_their_own_reasons():
    job = make_job()
    assert finish(job, [reply("ls")] * 20).stop_reason == "turn_limit"
    many = Reply(text="ls", finish="stop", n_prompt_tokens=1, n_completion_tokens=150)
    assert finish(job, [many] * 20).stop_reason == "token_limit"
    assert finish(job, [reply("ls"), reply("", "context")]).stop_reason == "context_overflow"


@pytest.mark.parametrize("text", ["", "l"])
def test_first_request_without_room_for_its_reply_is_unscored_and_says_how_long_it_is(text):
    job = make_job()
    episode = finish(job, [reply(text, "context")])
    assert episode.stop_reason == "prompt_too_long"
    assert episode.error == "the first request has 10 tokens, too many for a context of 512."
    assert job.benchmark.grade(job.tasks[0], episode).value is None


def test_malformed_replies_are_reported_to_the_model_and_end_the_episode_when_repeated():
    job = make_job()
    episode = finish(job, [reply("what?")] * 5)
    assert episode.stop_reason == "malformed" and episode.n_malformed == job.spec.max_malformed
    assert "error: no command what?" in [m.content for m in episode.trajectory if m.role == "tool"]
    mixed = finish(job, [reply("what?"), reply("what?"), reply("ls"), reply("what?"), reply("answer done")])
    assert mixed.stop_reason == "answer" and mixed.n_malformed == 3


def test_reply_cut_by_max_tokens_is_not_acted_on():
    job = make_job()
    episode = finish(job, [reply("write out.txt 48", "length"), reply("answer done")])
    assert all(not message.calls for message in episode.trajectory)


def test_three_replies_cut_by_max_tokens_in_a_row_end_the_episode_as_malformed():
    episode = finish(make_job(), [reply("ls", "length")] * 3)
    assert episode.stop_reason == "malformed" and episode.n_malformed == 3
    assert [m.content for m in episode.trajectory if m.role == "tool"] == ["error: reply too long"] * 2


def test_answer_in_the_reply_that_reaches_the_token_limit_is_an_answer():
    last = Reply(text="answer done", finish="stop", n_prompt_tokens=1, n_completion_tokens=200)
    assert finish(make_job(), [last]).stop_reason == "answer"


def test_text_beside_a_context_overflow_is_not_read():
    episode = finish(make_job(), [reply("ls"), reply("rm notes.txt\nanswer done", "context")])
    assert episode.stop_reason == "context_overflow" and episode.n_turns == 2 and episode.n_malformed == 0
    assert episode.trajectory[-1].calls == () and episode.trajectory[-1].answer is None


@pytest.mark.parametrize(
    ("reason", "after"),
    [
        ("turn_limit", [reply("ls")] * 20),
        ("token_limit", [Reply(text="ls", finish="stop", n_prompt_tokens=1, n_completion_tokens=200)]),
        ("context_overflow", [reply("ls"), reply("", "context")]),
        ("malformed", [reply("what?")] * 3),
    ],
)
def test_work_done_before_an_episode_was_cut_counts_where_no_answer_is_asked_for(reason, after):
    job = make_job("terminal")
    work = [reply(text) for text in expert_replies(job)[job.tasks[0].prompt][:-1]]
    episode = finish(job, [*work, *after])
    assert episode.stop_reason == reason and episode.error is None
    assert job.benchmark.grade(job.tasks[0], episode).value == 1.0
    nothing = finish(job, after)
    assert nothing.stop_reason == reason and job.benchmark.grade(job.tasks[0], nothing).value == 0.0


def thought(thinking, text):
    return Reply(text=text, thinking=thinking, finish="stop", n_prompt_tokens=10, n_completion_tokens=25)


def test_thinking_is_stored_apart_counted_and_sent_back(tmp_path):
    job, store = make_job(n_tasks=1, n_trials=1), Store(tmp_path)
    replies = [thought("where is it?", "ls"), thought("now I know", "answer done")]
    _, engine = collect(store, lambda request: replies[n_turns_so_far(request)], job)
    (episode,) = store.episodes(job.spec.run_id, trajectories=True)
    own = [m for m in episode.trajectory if m.role == "assistant"]
    assert [(m.thinking, m.content) for m in own] == [("where is it?", "ls"), ("now I know", "answer done")]
    assert own[0].calls[0].name == "ls" and own[1].answer == "done" and episode.n_completion_tokens == 50
    assert [m.thinking for m in engine.requests[1].messages if m.role == "assistant"] == ["where is it?"]


def test_thinking_without_a_reply_is_malformed_in_every_scaffold():
    for scaffold, syntax in SCAFFOLDS:
        episode = finish(make_job(scaffold=scaffold, tool_syntax=syntax), [thought("hm", "\n")] * 3)
        assert episode.stop_reason == "malformed"
        assert "error: nothing follows the thinking" in episode.trajectory[3].content


def test_messages_without_thinking_have_the_form_of_earlier_versions():
    message = Message(role="assistant", content="ls")
    assert canonical_json(message) == '{"answer":null,"calls":[],"content":"ls","role":"assistant"}'
    assert message_record(message) == {"role": "assistant", "content": "ls"}


class Breaking:
    """A benchmark whose simulator breaks at every call."""

    def __init__(self, benchmark):
        self._benchmark = benchmark

    def __getattr__(self, name):
        return getattr(self._benchmark, name)

    def start(self, task):
        return self

    def step(self, call):
        raise EnvironmentFault("the simulator broke")


def refuse(request):
    raise EngineError("the engine is gone")


def no_room():
    return Reply(text="", finish="context", n_prompt_tokens=600, n_completion_tokens=0)


def refuse_request(request):
    raise RequestRefused("the template has no slot for tools")


def take_too_long(request):
    raise EpisodeTimeout("it took longer than `engine.episode_s`, 5 s.")


class Unreadable:
    """A scaffold whose parser fails."""

    def __init__(self, scaffold):
        self._scaffold = scaffold

    def __getattr__(self, name):
        return getattr(self._scaffold, name)

    def parse(self, text, task):
        return text[10_000]


# What a model, an engine or an environment does for an episode to end with each reason.
ENDINGS = {
    "answer": lambda request: "answer done",
    "turn_limit": lambda request: "ls",
    "token_limit": lambda request: Reply(text="ls", finish="stop", n_prompt_tokens=1, n_completion_tokens=150),
    "context_overflow": lambda request: no_room() if n_turns_so_far(request) else "ls",
    "prompt_too_long": lambda request: no_room(),
    "malformed": lambda request: "what?",
    "engine_error": refuse,
    "environment_error": lambda request: "ls",
    "timeout": take_too_long,
    "request_refused": refuse_request,
    "parser_error": lambda request: "ls",
}


def test_every_stop_reason_is_tested():
    assert set(ENDINGS) == set(get_args(StopReason))


@pytest.mark.parametrize("reason", ENDINGS)
def test_stop_reason_is_stored_and_only_our_own_failures_are_unscored_and_played_again(tmp_path, reason):
    job, store = make_job(n_tasks=3, n_trials=2), Store(tmp_path)
    broken = {
        "environment_error": dataclasses.replace(job, benchmark=Breaking(job.benchmark)),
        "parser_error": dataclasses.replace(job, scaffold=Unreadable(job.scaffold)),
    }.get(reason, job)
    ours = reason in UNSCORED_REASONS
    message = rf"6 of 6 episodes failed and have no score \(6 {reason}\), the last with: .*plays the rest"
    with pytest.raises(ReplicationError, match=message) if ours else contextlib.nullcontext():
        collect(store, ENDINGS[reason], broken)
    table = store.score_table()
    assert table["stop_reason"].tolist() == [reason] * 6
    assert table["value"].isna().all() if ours else table["value"].tolist() == [0.0] * 6
    errors = {episode.error for episode in store.episodes(job.spec.run_id)}
    assert errors == {
        {
            "engine_error": "the engine is gone", "environment_error": "the simulator broke",
            "prompt_too_long": "the first request has 600 tokens, too many for a context of 512.",
            "timeout": "it took longer than `engine.episode_s`, 5 s.",
            "request_refused": "the template has no slot for tools",
            "parser_error": "the parser of scaffold `compact` failed on a reply of 2 characters: IndexError: string index "
            "out of range. Correct the parser; its new version makes a new run.",
        }.get(reason)
    }  # fmt: skip
    n_played, _ = collect(store, expert_script(job), job)
    assert n_played == (6 if ours else 0)
    assert store.score_table()["value"].tolist() == [1.0 if ours else 0.0] * 6


def test_task_that_does_not_fit_into_the_context_is_refused_before_anything_is_stored(tmp_path):
    job, store = make_job("calling", n_tasks=3, n_trials=2), Store(tmp_path)
    lengths = {}
    collect(Store(tmp_path / "other"), lambda request: lengths.setdefault(prompt_of(request), request) and "no", job)
    words = sorted(sum(len(m.content.split()) for m in request.messages) for request in lengths.values())
    assert words[0] < words[-1]
    need = words[-1] + job.spec.sampling.max_tokens
    short = dataclasses.replace(job, spec=dataclasses.replace(job.spec, context=need - 1))
    message = (
        rf"1 of 3 tasks of `calling` .* scaffold `compact`: .* has {words[-1]} tokens .* at least {need}, or lower"
    )
    with pytest.raises(ConfigError, match=message):
        collect(store, expert_script(short), short)
    assert store.runs() == [] and not (tmp_path / short.spec.run_id).exists()
    enough = dataclasses.replace(job, spec=dataclasses.replace(job.spec, context=need))
    assert collect(store, lambda request: "answer no", enough)[0] == 6


def test_context_of_the_scripted_engine_ends_the_first_turn_of_what_does_not_fit(tmp_path):
    job, store = make_job(n_tasks=2, n_trials=1), Store(tmp_path)
    with pytest.raises(EngineError, match="2 prompt_too_long"):
        runner.collect(store, ScriptedEngine(expert_script(job), context=5), [job], concurrency=1, title="test")
    assert store.score_table()["value"].isna().all()


def test_overflow_on_the_first_turn_that_an_earlier_version_scored_0_is_unscored_and_played_again(tmp_path):
    job, store = make_job(n_tasks=2, n_trials=1), Store(tmp_path)
    old = dataclasses.replace(finish(job, [reply("", "context")]), stop_reason="context_overflow", error=None)
    later = finish(dataclasses.replace(job, tasks=job.tasks[1:]), [reply("ls"), reply("", "context")])
    with store.writer(job.spec, labels=job.labels, engine={"engine": "scripted"}, tasks=job.tasks) as writer:
        for episode in (old, later):
            writer.append(episode, Score.of(episode, job.benchmark.grader, 0.0))
    table = Store(tmp_path).score_table().set_index("task_id").loc[[task.id for task in job.tasks]]
    assert table["stop_reason"].tolist() == ["prompt_too_long", "context_overflow"]
    assert np.isnan(table["value"].iloc[0]) and table["value"].iloc[1] == 0.0
    assert collect(store, expert_script(job), job)[0] == 1
    assert sorted(store.score_table()["value"]) == [0.0, 1.0]


def test_few_failures_let_the_run_end_and_are_counted(tmp_path):
    job, store = make_job(n_tasks=6, n_trials=1), Store(tmp_path)
    script, bad = expert_script(job), {task.prompt for task in job.tasks[:2]}
    played = runner.collect(
        store,
        ScriptedEngine(lambda r: refuse(r) if prompt_of(r) in bad else script(r)),
        [job],
        concurrency=2,
        title="t",
    )
    assert (played.n_episodes, played.failures) == (6, {"engine_error": 2})
    assert str(played.failure()).startswith(
        "2 of 6 episodes failed and have no score (2 engine_error), the last with: the"
    )


@pytest.mark.parametrize(("share", "least", "n_played"), [(0.5, 3, 4), (0.5, 5, 6), (0.8, 0, 1)])
def test_run_stops_above_the_share_of_failures_that_is_set_and_says_so(tmp_path, share, least, n_played):
    job, store = make_job(n_tasks=12, n_trials=1), Store(tmp_path)
    limit = runner.FailureLimit(share=share, least=least)
    message = f"The run was stopped: more than {share:.0%} and more than {least} failed, the limits `engine.max_failed`"
    with pytest.raises(EngineError, match=message):
        runner.collect(store, ScriptedEngine(refuse), [job], concurrency=1, title="test", limit=limit)
    assert len(store.score_table()) == n_played


def test_summary_counts_stop_reasons_by_scaffold(tmp_path):
    jobs = [make_job(scaffold=scaffold, n_tasks=n, n_trials=1) for scaffold, n in (("compact", 3), ("react", 2))]
    engine = ScriptedEngine(lambda request: "answer done" if "Action" not in request.messages[0].content else "what?")
    played = runner.collect(Store(tmp_path), engine, jobs, concurrency=2, title="test")
    assert played.summary() == "compact: 3 answer\nreact: 2 malformed"
    assert (played + played).summary() == "compact: 6 answer\nreact: 4 malformed"


def test_episode_whose_grader_fails_is_unscored_and_graded_by_the_next_call_without_playing(tmp_path):
    class Ungraded(Breaking):
        def start(self, task):
            return self._benchmark.start(task)

        def grade(self, task, episode):
            raise EnvironmentFault("the grader broke")

    job, store = make_job(n_tasks=3, n_trials=1), Store(tmp_path)
    broken = dataclasses.replace(job, benchmark=Ungraded(job.benchmark))
    played = runner.collect(store, ScriptedEngine(expert_script(job)), [broken], concurrency=2, title="test")
    assert (played.n_ungraded, played.failures.total()) == (3, 0)
    assert store.score_table()["value"].isna().all()
    runner.regrade(store, job)
    assert store.score_table()["value"].tolist() == [1.0] * 3


@pytest.mark.parametrize(("scaffold", "syntax"), SCAFFOLDS)
def test_model_that_never_calls_a_tool_gets_errors_and_is_stopped_in_every_environment(tmp_path, scaffold, syntax):
    jobs = [make_job(name, scaffold=scaffold, tool_syntax=syntax, n_tasks=1, **LONG) for name in suite.NAMES]
    babble = "[unknown(]" if syntax == "pythonic" else {"native": "<tool_call><|python_tag|>"}.get(scaffold, "hm {")
    engine, store = ScriptedEngine(lambda request: babble), Store(tmp_path)
    runner.collect(store, engine, jobs, concurrency=4, title="test")
    table = store.score_table()
    assert set(table["stop_reason"]) == {"malformed"} and set(table["n_malformed"]) == {jobs[0].spec.max_malformed}
    assert table["value"].tolist() == [0.0] * 14
    assert all("error: " in m.content for r in engine.requests for m in r.messages[3::2])


# T1, T2: repeats repeat


def test_all_requests_of_all_repeats_carry_distinct_recorded_seeds_that_a_second_run_repeats(tmp_path):
    job = make_job(n_tasks=4, n_trials=3)
    seen = []
    for folder in ("a", "b"):
        store = Store(tmp_path / folder)
        _, engine = collect(store, expert_script(job), job)
        sent = sorted(request.seed for request in engine.requests)
        recorded = sorted(s for e in store.episodes(job.spec.run_id) for s in e.seeds)
        assert len(set(sent)) == len(sent) and sent == recorded
        seen.append(recorded)
    assert seen[0] == seen[1]


def test_another_run_seed_sends_other_seeds():
    seeds = [finish(make_job(seed=s), [reply("answer done")]).seeds for s in (0, 0, 1)]
    assert seeds[0] == seeds[1] != seeds[2]


def test_repeat_check_distinguishes_sampled_from_collapsed_repeats(tmp_path):
    job = make_job(n_tasks=8, n_trials=3)
    sampled, frozen = Store(tmp_path / "a"), Store(tmp_path / "b")
    collect(sampled, noisy_script(job), job)
    collect(frozen, expert_script(job), job)
    run_id = job.spec.run_id
    assert sampled.manifest(run_id).checks["repeats"].as_expected is True
    assert frozen.manifest(run_id).checks["repeats"].as_expected is False
    assert checks.repeat_check(sampled, run_id, temperature=0.7).as_expected
    assert not checks.repeat_check(frozen, run_id, temperature=0.7).as_expected
    assert checks.repeat_check(frozen, run_id, temperature=0.0).as_expected
    assert not checks.repeat_check(sampled, run_id, temperature=0.0).as_expected


def test_what_was_played_is_recorded_where_the_check_of_repeats_fails(tmp_path):
    job, store = make_job(n_tasks=4, n_trials=2), Store(tmp_path)

    def fail(*args):
        raise StoreError("a damaged frame")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "repeat_check", fail)
        with pytest.raises(StoreError, match="a damaged frame"):
            collect(store, noisy_script(job), job)
    manifest = store.manifest(job.spec.run_id)
    assert sum(sum(one.stop_reasons.values()) for one in manifest.collected) == 8 and not manifest.checks
    runner.regrade(store, job)
    assert store.manifest(job.spec.run_id).checks["repeats"].as_expected


def test_every_repeat_enters_the_table(tmp_path):
    job, store = make_job(n_tasks=3, n_trials=4), Store(tmp_path)
    collect(store, noisy_script(job), job)
    table = store.score_table()
    assert len(table) == 12 and sorted(set(table["trial"])) == [0, 1, 2, 3]


# T3: engine failures are never answers, resuming repeats exactly what failed


def test_engine_that_dies_in_the_middle_stores_no_answer_and_a_restart_gives_the_undisturbed_table(tmp_path):
    job = make_job(n_tasks=12, n_trials=2)
    whole = Store(tmp_path / "whole")
    collect(whole, noisy_script(job), job)
    store, script, calls = Store(tmp_path / "cut"), noisy_script(job), 0

    def dying(request):
        nonlocal calls
        calls += 1
        if calls > 15:
            raise EngineError("the engine is gone")
        return script(request)

    with pytest.raises(EngineError, match="the same command plays the rest"):
        collect(store, dying, job)
    failed = store.score_table().query("stop_reason == 'engine_error'")
    assert len(failed) > 0 and failed["value"].isna().all()
    n_before = len(store.finished(job.spec.run_id))
    n_played, _ = collect(store, script, job)
    assert n_played == 24 - n_before
    pd.testing.assert_frame_equal(store.score_table(), whole.score_table())


def test_request_that_would_be_refused_again_is_sent_once_and_its_episode_is_unscored(tmp_path):
    job, store = make_job(n_tasks=2, n_trials=1), Store(tmp_path)

    def refusing(request):
        raise RequestRefused("the template has no tool slot")

    engine = ScriptedEngine(refusing)
    with pytest.raises(EngineError, match="2 of 2 episodes failed and have no score"):
        runner.collect(store, engine, [job], concurrency=1, title="test")
    assert len(engine.requests) == 2
    assert [e.error for e in store.episodes(job.spec.run_id)] == ["the template has no tool slot"] * 2
    assert store.score_table()["stop_reason"].tolist() == ["request_refused"] * 2


def test_failing_request_is_tried_again_with_the_same_seed(tmp_path):
    job, store, refused = make_job(n_tasks=3, n_trials=1), Store(tmp_path), set()
    script = expert_script(job)

    def flaky(request):
        if request.seed not in refused:
            refused.add(request.seed)
            raise EngineError("busy")
        return script(request)

    collect(store, flaky, job)
    assert store.score_table()["value"].tolist() == [1.0] * 3


def test_complete_run_is_not_played_again(tmp_path):
    job, store = make_job(), Store(tmp_path)
    collect(store, noisy_script(job), job)
    n, engine = collect(store, noisy_script(job), job)
    assert n == 0 and engine.requests == []


def test_more_trials_keep_the_old_ones(tmp_path):
    store = Store(tmp_path)
    collect(store, noisy_script(make_job(n_trials=1)), make_job(n_trials=1))
    n, _ = collect(store, noisy_script(make_job(n_trials=3)), make_job(n_trials=3))
    assert n == 12 and len(store.score_table()) == 18


# T7, T8: identity


def test_changed_character_of_a_task_plays_only_that_task_again(tmp_path):
    job, store = make_job(n_tasks=4, n_trials=1), Store(tmp_path)
    collect(store, lambda request: "answer done", job)
    other = dataclasses.replace(job, tasks=[changed(job.tasks[0]), *job.tasks[1:]])
    n, engine = collect(store, lambda request: "answer done", other)
    assert n == 1 and prompt_of(engine.requests[0]).endswith(".")
    table = store.score_table()
    assert len(table) == 4
    assert changed(job.tasks[0]).content_hash in set(table["task_hash"])


def test_any_setting_that_can_change_an_episode_changes_the_run_id():
    spec = make_job().spec
    changes = {
        "model": "x/y", "revision": "r2", "files_sha256": "f2", "engine": "vllm", "dtype": "bfloat16", "context": 1024,
        "engine_options": {"quantization": "fp8"}, "max_malformed": 2, "benchmark": "other",
        "benchmark_version": "other", "scaffold": "react", "scaffold_version": "other", "max_turns": 9,
        "max_episode_tokens": 1, "seed": 9, "sampling": dataclasses.replace(spec.sampling, top_p=0.5),
    }  # fmt: skip
    assert set(changes) == {f.name for f in dataclasses.fields(spec)}
    ids = {dataclasses.replace(spec, **{k: v}).run_id for k, v in changes.items()}
    assert len(ids | {spec.run_id}) == len(changes) + 1


def test_changed_engine_shows_as_another_session_of_the_manifest(tmp_path):
    job, store = make_job(n_trials=1), Store(tmp_path)
    for name in ("vllm-0.32", "vllm-0.32", "vllm-0.33"):
        engine = ScriptedEngine(expert_script(job), name=name)
        runner.collect(store, engine, [job], concurrency=2, title="test")
    sessions = store.manifest(job.spec.run_id).sessions
    assert [s.engine["engine"] for s in sessions] == ["vllm-0.32", "vllm-0.33"]
    (difference,) = checks.engine_differences(store, [job.spec.run_id])
    assert "`engine`" in difference and "vllm-0.32" in difference and "vllm-0.33" in difference


# grading, order, concurrency


def test_table_does_not_depend_on_concurrency(tmp_path):
    job = make_job(n_tasks=10, n_trials=2)
    tables = []
    for concurrency in (1, 3, 64):
        store = Store(tmp_path / str(concurrency))
        collect(store, noisy_script(job), job, concurrency=concurrency)
        tables.append(store.score_table())
    pd.testing.assert_frame_equal(tables[0], tables[1])
    pd.testing.assert_frame_equal(tables[0], tables[2])


def test_jobs_of_one_checkpoint_share_one_pool(tmp_path):
    jobs = [make_job("terminal", n_trials=1), make_job("calling", n_trials=1)]
    store = Store(tmp_path)
    n, engine = collect(store, script_of_all(jobs), *jobs, concurrency=12)
    assert n == 12
    assert [n_turns_so_far(r) for r in engine.requests[:12]] == [0] * 12
    assert store.score_table()["value"].eq(1.0).all()


def test_regrading_needs_no_engine(tmp_path):
    job, store = make_job(n_trials=1), Store(tmp_path)
    with store.writer(job.spec, labels=job.labels, engine={"engine": "scripted"}, tasks=job.tasks) as writer:
        for task in job.tasks:
            episode = next_episode(job, task)
            writer.append(episode)
    assert store.score_table()["value"].isna().all()
    runner.regrade(store, job)
    assert store.score_table()["value"].notna().all()
    assert "repeats" in store.manifest(job.spec.run_id).checks


def next_episode(job, task):
    turns = play(job.spec, task, 0, job.benchmark.start(task), job.scaffold)
    next(turns)
    try:
        turns.send(reply("answer done"))
    except StopIteration as end:
        return end.value


WORKER = """
import sys, time
sys.path.insert(0, {tests!r})
from parts import make_job, noisy_script
from replication.collect import checks, runner
from replication.collect.benchmarks import suite
from replication.collect.engines.scripted import ScriptedEngine
from replication.store import Store
job = make_job(n_tasks=60, n_trials=2)
script = noisy_script(job)
def slow(request):
    time.sleep(0.002)
    return script(request)
runner.collect(Store({root!r}), ScriptedEngine(slow), [job], concurrency=8, title="test")
"""


def check_kills(tmp_path, n):
    import random

    rng = random.Random(0)
    job = make_job(n_tasks=60, n_trials=2)
    whole = Store(tmp_path / "whole")
    collect(whole, noisy_script(job), job)
    root = tmp_path / "killed"
    code = WORKER.format(tests=str(Path(__file__).parents[1]), root=str(root))
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    for _ in range(n):
        process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL, env=env)
        lines = root / job.spec.run_id / "episodes.jsonl"
        deadline = time.monotonic() + 20
        grown = lines.stat().st_size if lines.exists() else 0
        while process.poll() is None and time.monotonic() < deadline:
            if lines.exists() and lines.stat().st_size > grown:
                break
            time.sleep(0.002)
        time.sleep(rng.random() * 0.03)
        process.send_signal(signal.SIGKILL)
        process.wait()
    n_before = len(Store(root).finished(job.spec.run_id))
    assert 0 < n_before < 120
    subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.DEVNULL, env=env)
    pd.testing.assert_frame_equal(Store(root).score_table(), whole.score_table())


def test_two_kills_at_random_moments_give_the_undisturbed_table(tmp_path):
    check_kills(tmp_path, 2)


@pytest.mark.slow
def test_a_hundred_kills_at_random_moments_give_the_undisturbed_table(tmp_path):
    import random

    rng, job = random.Random(0), make_job(n_tasks=800, n_trials=2)
    script, whole, root = noisy_script(job), Store(tmp_path / "whole"), tmp_path / "killed"
    collect(whole, script, job)

    def slow(request):
        time.sleep(0.003)
        return script(request)

    lines, n_before = root / job.spec.run_id / "episodes.jsonl", 0
    for i in range(100):
        grown = lines.stat().st_size if lines.exists() else 0
        child = os.fork()  # a process of its own would import for seconds
        if child == 0:
            with contextlib.suppress(BaseException):
                collect(Store(root), slow, job, concurrency=8)
            os._exit(0)
        deadline = time.monotonic() + (20 if i % 4 else 0)  # every fourth may be killed while it starts
        while time.monotonic() < deadline and not (lines.exists() and lines.stat().st_size > grown):
            time.sleep(0.002)
        time.sleep(0.03 * rng.random())
        os.kill(child, signal.SIGKILL)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL, "it ended before it could be killed"
        n_before = len(Store(root).finished(job.spec.run_id))
    assert 0 < n_before < 1600
    collect(Store(root), script, job)
    pd.testing.assert_frame_equal(Store(root).score_table(), whole.score_table())
