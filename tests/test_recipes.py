"""The recipes of CONTRIBUTING: an environment of a few lines is played, results of a harness are analysed, in any folder."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from parts import expert_replies, make_job, n_turns_so_far, prompt_of

from replication import settings
from replication.analyse.tables.arms import arm_arrays, pairs
from replication.collect import runner
from replication.collect.benchmarks.suite import EnvironmentSpec, GeneratedTask, Grade, SuiteBenchmark
from replication.collect.benchmarks.suite.kit import act, by_name, text, tool, validate_call
from replication.collect.engines.scripted import ScriptedEngine
from replication.collect.interfaces import Action, Selection
from replication.commands import gather, ingest
from replication.store import Store
from replication.store.index import read_index

TOOLS = (tool("find", "Return the code of a name.", who=text("name")), tool("press", "Press a key.", code=text("code")))


class World:
    """Keys with codes."""

    def __init__(self, setup):
        self.codes, self.pressed = setup["codes"], []

    def step(self, call) -> str:
        problem = validate_call(call, by_name(TOOLS))
        if problem is None and call.name == "press":
            self.pressed.append(call.arguments["code"])
        return problem or ("ok" if call.name == "press" else self.codes.get(call.arguments["who"], "none"))


def generate(lexicon, level) -> GeneratedTask:
    names, codes = lexicon.names(level), lexicon.names(level)
    calls = [a for n, c in zip(names, codes, strict=True) for a in (act("find", who=n), act("press", code=c))]
    return GeneratedTask(
        prompt=f"press the keys of {' '.join(names)}", tools=TOOLS, setup={"codes": dict(zip(names, codes, strict=True))},
        key={"codes": codes}, expert=(*calls, Action(answer="done")), tags=("tool_use",),
    )  # fmt: skip


KEYS = EnvironmentSpec(
    name="keys", version="1", domain="out", modelled_on="nothing", metric="binary", about="Keys; modelled on nothing.",
    generate=generate, world=World, grade=lambda task, key, world, answer: Grade(value=world.pressed == key["codes"]),
    describe=lambda setup: str(setup), perturb=lambda lexicon, task, action: act("press", code=lexicon.name()),
)  # fmt: skip


@pytest.mark.parametrize(("skipped", "score"), [(0, 1.0), (2, 0.0)])
def test_an_environment_of_a_few_lines_is_played_and_graded_from_prompt_to_score(tmp_path, skipped, score):
    bench = SuiteBenchmark(KEYS)
    tasks = bench.tasks(Selection(split="evaluation", n_tasks=3, seed=0, levels=(2,)))
    job = make_job(n_trials=1)
    spec = dataclasses.replace(job.spec, benchmark=bench.name, benchmark_version=bench.version)
    job = dataclasses.replace(job, spec=spec, benchmark=bench, tasks=tasks)
    replies = {prompt: lines[skipped:] for prompt, lines in expert_replies(job).items()}
    store = Store(tmp_path)
    runner.collect(
        store, ScriptedEngine(lambda r: replies[prompt_of(r)][n_turns_so_far(r)]), [job], concurrency=2, title="test"
    )
    table = store.score_table()
    assert table["value"].tolist() == [score] * 3 and set(table["grader"]) == {"suite-keys-1"}
    assert set(table["stop_reason"]) == {"answer"}


SCORES = {"one": (1, 1, 0, 0), "other": (0, 0, 1, 0), "tuned": (1, 1, 1, 1)}
"""Of two tasks with two trials each, by model."""


def study(folder: Path) -> settings.Root:
    """Compose a study of three public models, two of which have one role and scale, with the results of a harness."""
    models = {
        name: {
            "path": f"org/{name}", "revision": f"{at}" * 39 + "a", "scale": "8B",
            "role": "agent_specific" if name == "tuned" else "general", "params_b": 8, "family": name,
        }
        for at, name in enumerate(SCORES)
    }  # fmt: skip
    ran = {"benchmark": "swe", "benchmark_version": "v1", "scaffold": "agent", "scaffold_version": "v2", "n_tasks": 2}
    runs = {name: {"folder": folder / name, "model": name, "n_trials": 2, **ran} for name in SCORES}
    parts = [f"+model@models.{name}=qwen3_0_6b" for name in models] + [f"+ingest@ingest.{name}=csv" for name in runs]
    values = [
        f"{group}.{name}.{key}={value}"
        for group, entries in (("models", models), ("ingest", runs))
        for name, entry in entries.items()
        for key, value in entry.items()
    ]
    fixed = [
        "study=reanalysis",
        "study.name=mine",
        "engine=vllm_gpu",
        "sampling.temperature=1.0",
        "sampling.max_tokens=64",
    ]
    settings.register()
    with initialize_config_dir(str(settings.CONF), version_base="1.3"):
        return settings.checked(compose("config", overrides=[*fixed, f"paths.results={folder}", *parts, *values]))


def test_results_of_a_harness_are_analysed_and_two_models_of_one_role_and_scale_never_become_trials(tmp_path):
    for name, values in SCORES.items():
        (tmp_path / name).mkdir()
        rows = [f"t{i // 2},{i % 2},{value}" for i, value in enumerate(values)]
        (tmp_path / name / "results.csv").write_text("\n".join(["task_id,trial,score", *rows, ""]))
    cfg = study(tmp_path)
    ingest.main(cfg)
    gather.main(cfg)
    scores = Store(tmp_path / "store").score_table(list(read_index(tmp_path, "mine").run_ids))
    general = arm_arrays(scores[scores["arm"] == "general"])["swe"]
    assert general.shape == (2, 2, 2)  # units, trials, tasks
    assert sorted(unit.T.ravel().tolist() for unit in general) == [[0.0, 0.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0]]
    pair = pairs(scores, "general", "agent_specific")["swe"]
    assert (np.shape(pair.treatment), np.shape(pair.control)) == ((2, 2, 2), (1, 2, 2))
