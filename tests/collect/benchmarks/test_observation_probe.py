"""The probe: dialogues agree with the world, tasks are reproducible, scores agree with values by hand."""

import numpy as np
import pytest
from parts import labels_of

from replication.collect import runner, scaffolds
from replication.collect.benchmarks import suite
from replication.collect.benchmarks.dialogues import dialogue
from replication.collect.benchmarks.observation_probe import Probe
from replication.collect.benchmarks.suite.words import Lexicon
from replication.collect.engines.scripted import ScriptedEngine
from replication.collect.interfaces import Selection
from replication.collect.runner import Job
from replication.records import RunSpec, Sampling
from replication.store import Store

WRITE = scaffolds.load("compact").write
each_environment = pytest.mark.parametrize("name", suite.NAMES)


def make_job(name, n=12):
    probe, scaffold = Probe(suite.load(name), WRITE), scaffolds.load("probe")
    spec = RunSpec(
        engine="scripted", engine_options={}, max_malformed=3,
        model="org/m", revision="r", dtype="float32", context=512, benchmark=name, benchmark_version=probe.version,
        scaffold="probe", scaffold_version=scaffold.version, max_turns=1, max_episode_tokens=256,
        sampling=Sampling(temperature=0.0, max_tokens=256), seed=0,
    )  # fmt: skip
    return Job(
        spec=spec,
        labels=labels_of(spec, scale="xs"),
        benchmark=probe,
        scaffold=scaffold,
        n_trials=1,
        tasks=probe.tasks(Selection(split="evaluation", n_tasks=n, seed=0, levels=(1,))),
    )


@each_environment
def test_dialogue_has_the_world_s_answer_to_each_action(name):
    bench, scaffold, n_wrong = suite.load(name), scaffolds.load("compact"), 0
    lexicon = Lexicon(np.random.default_rng(0), "train")
    for task, draft in bench.items("train", 1, 30, 0):
        messages = dialogue(lexicon, bench, task, draft, WRITE)
        assert [m.role for m in messages] == ["system", *["user", "assistant"] * (len(messages) // 2)]
        world = bench.start(task)
        for said, seen in zip(messages[1::2], messages[2::2], strict=True):
            action = scaffold.parse(said.content, task)
            assert action.problem is None
            assert "\n".join(world.step(call) for call in action.calls) == seen.content
            n_wrong += action not in draft.expert
    assert n_wrong > 5


@each_environment
def test_right_observations_score_one_and_wrong_ones_the_f1_of_their_words(name, tmp_path):
    job = make_job(name)
    observed = {tuple(map(tuple, t.setup["messages"])): job.benchmark.observation(t) for t in job.tasks}
    right = lambda request: observed[tuple((m.role, m.content) for m in request.messages)]  # noqa: E731
    for reply, exact, f1 in ((right, 1.0, 1.0), (lambda r: right(r) + " zzz", 0.0, None), (lambda r: "zzz", 0.0, 0.0)):
        store = Store(tmp_path / str(f1))
        runner.collect(store, ScriptedEngine(reply), [job], concurrency=4, title="test")
        table = store.score_table(details=("token_f1",))
        assert table["value"].tolist() == [exact] * len(job.tasks)
        if f1 is None:
            n_words = [len(text.split()) for text in observed.values()]
            assert sorted(table["token_f1"]) == pytest.approx(sorted(2 * n / (2 * n + 1) for n in n_words))
        else:
            assert table["token_f1"].tolist() == [f1] * len(job.tasks)


@each_environment
def test_same_arguments_give_the_same_predictions_and_another_seed_others(name):
    probe = Probe(suite.load(name), WRITE)
    one, two, other = (
        probe.tasks(Selection(split="evaluation", n_tasks=5, seed=seed, levels=(1,))) for seed in (0, 0, 1)
    )
    assert one == two and {t.content_hash for t in one}.isdisjoint(t.content_hash for t in other)
    assert all(task.setup["messages"][-1][0] == "user" for task in one)
