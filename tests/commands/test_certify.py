"""The determinism certificate: a deterministic engine has no flips, one that depends on the batch is found."""

import asyncio
import contextlib
import dataclasses
import json

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from parts import expert_replies, n_turns_so_far, prompt_of
from test_end_to_end import pretend_trained

from replication import settings
from replication.collect import build, certificate, serve
from replication.collect.engines.scripted import ScriptedEngine
from replication.commands import certify
from replication.errors import ConfigError, StoreError
from replication.records import Message
from replication.store.locking import locked


@pytest.fixture
def cfg(tmp_path):
    settings.register()
    with initialize_config_dir(str(settings.CONF), version_base="1.3"):
        small = [f"paths.results={tmp_path}/results", f"paths.paper={tmp_path}/paper", "study.n_trials=2"]
        cfg = settings.checked(
            compose(
                "config", overrides=["study=controlled_tiny", "study.training_seeds=[0]", "probe.n_tasks=0", *small]
            )
        )
    cfg.benchmarks = {"terminal": cfg.benchmarks["terminal"]}
    cfg.benchmarks["terminal"].n_tasks = 8
    cfg.arms = {name: cfg.arms[name] for name in ("agent_sft", "base")}
    cfg.scales = {"xs": cfg.scales["xs"]}
    cfg.engine.processes = 1
    pretend_trained(cfg)
    return cfg


class Batched(ScriptedEngine):
    """Plays the expert; with more than `most` requests in flight its second turn is an answer."""

    def __init__(self, cfg, most):
        _, jobs = serve.assignments(cfg)[0]
        self._replies, self._most, self._n = expert_replies(jobs[0]), most, 0
        super().__init__(self._reply)

    async def generate(self, request):
        self._n += 1
        await asyncio.sleep(0.001)
        reply = await super().generate(request)
        self._n -= 1
        return reply

    def _reply(self, request):
        turn = n_turns_so_far(request)
        return "answer no" if self._n > self._most and turn == 1 else self._replies[prompt_of(request)][turn]


@pytest.fixture
def engine(cfg, monkeypatch):
    """Return a function that sets the number of requests above which the engine's text changes; collects the study once."""
    made = []

    def use(most):
        def make(changed):
            made.append((changed.engine, Batched(cfg, most)))
            return made[-1][1]

        monkeypatch.setattr(build, "engine", make)
        return made

    use(10**6)
    serve.play_missing(cfg, serve.assignments(cfg))
    return use


def certificate_of(cfg, tmp_path):
    certify.main(cfg)
    return json.loads((tmp_path / "paper" / "certificate.json").read_text())


def files(cfg):
    root = serve.store_of(cfg).root
    return {path: path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_a_deterministic_engine_has_no_flips_and_the_store_is_unchanged(cfg, engine, tmp_path, capsys):
    made, before = engine(10**6), files(cfg)
    cfg.certify.n_runs, cfg.certify.n_tasks, cfg.certify.n_trials = 2, 5, 2
    found = certificate_of(cfg, tmp_path)
    summary = found["summary"]
    assert (summary["n_episodes"], summary["n_diverged"], summary["n_flipped"], summary["n_scored"]) == (20, 0, 0, 20)
    # Clopper-Pearson for 0 of 20: the upper limit is 1 - .025^(1/20).
    assert summary["flipped"] == {"share": 0.0, "low": 0.0, "high": pytest.approx(1 - 0.025 ** (1 / 20))}
    assert {one["first_diverging_turn"] for one in found["episodes"]} == {None}
    assert files(cfg) == before and made[-1][0].options["max_num_seqs"] == cfg.certify.max_num_seqs
    out = capsys.readouterr().out
    assert "20 episodes of 2 runs replayed at concurrency 3" in out and "scores that flip: 0 of 20" in out


def test_an_engine_that_depends_on_the_number_in_flight_is_found_with_its_turn(cfg, engine, tmp_path, capsys):
    engine(2)
    cfg.certify.n_runs, cfg.certify.n_tasks, cfg.certify.concurrency = 1, 8, 8
    summary = certificate_of(cfg, tmp_path)["summary"]
    assert summary["n_diverged"] >= 5 and set(summary["first_diverging_turns"]) == {"2"}
    assert summary["n_flipped"] == summary["n_diverged"] and summary["flipped"]["low"] > 0.2
    assert "first diverging turn: turn 2" in capsys.readouterr().out
    cfg.certify.concurrency = 2
    assert certificate_of(cfg, tmp_path)["summary"]["n_diverged"] == 0


def test_options_of_the_replay_are_those_of_certify(cfg, engine):
    made = engine(10**6)
    cfg.certify.options, cfg.certify.max_num_seqs, cfg.certify.n_tasks = {"kv_cache_gib": 0.25}, None, 1
    certificate.replay(cfg, serve.assignments(cfg), np.random.default_rng(0))
    used = made[-1][0].options
    assert used["kv_cache_gib"] == 0.25 and used["max_num_seqs"] == cfg.engine.options["max_num_seqs"]


def test_equal_seeds_draw_and_order_the_same_episodes_and_others_do_not(cfg, engine):
    engine(10**6)
    cfg.certify.n_tasks, cfg.certify.n_runs = 4, 1
    work, store = serve.assignments(cfg), serve.store_of(cfg)

    def draw(seed):
        drawn = certificate._drawn(cfg, store, work, np.random.default_rng(seed))
        return [[task.id for task in job.tasks] for _, jobs in drawn for job in jobs]

    assert draw(1) == draw(1) != draw(2)


def test_named_runs_are_replayed_and_unknown_or_unplayed_ones_refused(cfg, engine):
    engine(10**6)
    run_id = serve.store_of(cfg).runs()[1]
    cfg.certify.runs = [run_id]
    found = certificate.replay(cfg, serve.assignments(cfg), np.random.default_rng(0))
    assert {one.run_id for one in found.episodes} == {run_id}
    cfg.certify.runs = ["nothing"]
    with pytest.raises(ConfigError, match=r"`certify\.runs` names `nothing`, which are no stored runs of study"):
        certify.main(cfg)
    cfg.certify.runs, cfg.study.seed = [], 7
    with pytest.raises(StoreError, match=r"has no stored run .* so there is nothing to replay\. Collect it with"):
        certify.main(cfg)


def test_first_diverging_turn_compares_thinking_too_and_a_missing_turn_diverges():
    def said(*texts):
        return [Message(role="assistant", content=text, thinking=thinking) for thinking, text in texts]

    a = said(("", "ls"), ("so", "answer x"))
    assert certificate.first_diverging_turn(a, a) is None
    assert certificate.first_diverging_turn(a, said(("", "ls"), ("hm", "answer x"))) == 2
    assert certificate.first_diverging_turn(a, a[:1]) == 2
    assert certificate.first_diverging_turn(a[:1], said(("", "cat"))) == 1


def test_a_score_that_is_missing_on_one_side_is_no_flip():
    one = certificate.Replayed(run_id="r", task_id="t", trial=0, first_diverging_turn=1, stored=None, replayed=0.0)
    assert not one.is_flipped and dataclasses.replace(one, stored=1.0).is_flipped
    counts = certificate.Certificate([one], 0, [], {}).counts()
    assert (counts["n_scored"], counts["n_flipped"], counts["n_diverged"]) == (0, 0, 1)


def test_certify_writes_to_no_run_and_needs_no_lock(cfg, engine, tmp_path):
    engine(10**6)
    store = serve.store_of(cfg)
    kept = {path: path.read_bytes() for path in store.root.glob("*/*")}
    with contextlib.ExitStack() as stack:
        for run_id in store.runs():
            stack.enter_context(locked(store.root / run_id))
        held = {path: path.read_bytes() for path in store.root.glob("*/lock")}
        assert certificate_of(cfg, tmp_path)["summary"]["n_diverged"] == 0
    assert {path: path.read_bytes() for path in store.root.glob("*/*")} == kept | held
