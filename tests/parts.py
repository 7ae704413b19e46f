"""Parts that several test files build runs from: suite jobs, scripted models, and records with defaults."""

import hashlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from replication.collect import scaffolds
from replication.collect.benchmarks import suite
from replication.collect.interfaces import Selection
from replication.collect.runner import Job
from replication.collect.scaffolds.native import SYNTAXES
from replication.records import (
    Labels,
    RepeatCheck,
    Request,
    RunSpec,
    Sampling,
    StudyIndex,
    Task,
    TrainingRecord,
    stable_seed,
)
from replication.settings import CONF

SCAFFOLDS = [
    (path.stem, syntax)
    for path in sorted((CONF / "scaffold").glob("*.yaml"))
    for syntax in (SYNTAXES if path.stem == "native" else ["hermes"])
]
"""Every scaffold with its `tool_syntax`, which only `native` asks."""

LONG = {"max_turns": 100, "max_episode_tokens": 65_536, "context": 4_096}
"""Limits for `make_job` that the longest expert of the highest level keeps to; conf/scaffold has the first two."""


def make_job(
    benchmark="terminal", *, scaffold="compact", tool_syntax="hermes", n_tasks=6, n_trials=2, level=1, temperature=0.7,
    seed=0, model="org/m", max_turns=8, max_episode_tokens=200, context=512,
):  # fmt: skip
    """Build a job on real suite tasks; the limits are short, see LONG."""
    bench, chosen = suite.load(benchmark), scaffolds.load(scaffold, tool_syntax)
    spec = RunSpec(
        engine="scripted", engine_options={}, max_malformed=3,
        model=model, revision="r1", dtype="float32", context=context, benchmark=bench.name,
        benchmark_version=bench.version, scaffold=chosen.name, scaffold_version=chosen.version, max_turns=max_turns,
        max_episode_tokens=max_episode_tokens, sampling=Sampling(temperature=temperature, max_tokens=32), seed=seed,
    )  # fmt: skip
    tasks = bench.tasks(Selection(split="evaluation", n_tasks=n_tasks, seed=seed, levels=(level,)))
    return Job(spec=spec, labels=labels_of(spec), benchmark=bench, scaffold=chosen, tasks=tasks, n_trials=n_trials)


def labels_of(spec: RunSpec, **changes) -> Labels:
    """Label the checkpoint of a run as an organism of arm agent_sft."""
    labels = {"arm": "agent_sft", "scale": "s", "params_b": 0.001, "training_seed": 0, "family": "organism"}
    return Labels(model=spec.model, revision=spec.revision, **(labels | changes))


def training_record(**changes) -> TrainingRecord:
    """Describe a training run with defaults."""
    fields = dict(
        arm="agent_sft", scale="s", training_seed=0, training_run="agent_sft-s-s0", identity="0" * 12,
        n_parameters=1_000_000, params_b=0.001, weights_sha256="ab" * 32, n_tokens=1000, n_sampled_tokens=0, flops=1e9,
        wall_s=1.0, joules=None, phases=(), torch="2", device="cpu",
    )  # fmt: skip
    return TrainingRecord(**(fields | changes))


def repeat_check(*, as_expected: bool = True, n_tasks_repeated: int = 0) -> RepeatCheck:
    """Describe a check of repeated trials."""
    return RepeatCheck(
        n_tasks_repeated=n_tasks_repeated, n_tasks_where_trials_differ=0, n_seeds=0, n_distinct_seeds=0,
        as_expected=as_expected,
    )  # fmt: skip


def index_of(study: str, **changes) -> StudyIndex:
    """Build the index of a study with defaults."""
    fields = dict(
        study=study, kind="controlled", scope="organisms", deviations=(), comparisons=(), domains={}, levels={},
        run_ids=(), probe_run_ids=(), training=(), engine={"engine": "scripted"}, repeat_checks={},
    )  # fmt: skip
    return StudyIndex(**(fields | changes))


def expert_replies(job: Job) -> dict[str, list[str]]:
    """Write each task's expert as this scaffold's model would; by prompt."""
    replies = {}
    for task in job.tasks:
        generated = job.benchmark.generate(**suite.place_of(task))
        replies[task.prompt] = [job.scaffold.write(action) for action in generated.expert]
    return replies


def first_tasks(bench: suite.SuiteBenchmark, split: str, level: int, n: int, seed: int) -> list[Task]:
    """Return the first `n` tasks of a split at a level."""
    return [item.task for item in bench.items(split, level, n, seed)]


def split_of(name: str) -> str:
    """Return the split of a made-up name, which is its CRC-32 modulo 4."""
    return {0: "train", 1: "train", 2: "calibration", 3: "evaluation"}[zlib.crc32(name.encode()) % 4]


def n_turns_so_far(request: Request) -> int:
    """Count the assistant's messages in a request."""
    return sum(m.role == "assistant" for m in request.messages)


def prompt_of(request: Request) -> str:
    """Find the task's prompt in a request."""
    return next(m.content for m in request.messages if m.role == "user")


def expert_script(job: Job):
    """Make a script that plays the expert."""
    replies = expert_replies(job)
    return lambda request: replies[prompt_of(request)][n_turns_so_far(request)]


def noisy_script(job: Job):
    """Make a script that errs depending on the request's seed alone, as a sampling model does."""
    replies = expert_replies(job)

    def script(request: Request) -> str:
        if stable_seed("err", request.seed) % 3 == 0:
            return "answer done"
        return replies[prompt_of(request)][n_turns_so_far(request)]

    return script


def script_of_all(jobs: Sequence[Job], make: Callable = expert_script):
    """Make one script for several jobs, which tells them apart by their prompts."""
    by_prompt = {task.prompt: script for job in jobs for script in (make(job),) for task in job.tasks}
    assert len(by_prompt) == sum(len(job.tasks) for job in jobs)
    return lambda request: by_prompt[prompt_of(request)](request)


def changed(task: Task) -> Task:
    """Change one character of a task under the same id."""
    import dataclasses

    return dataclasses.replace(task, prompt=task.prompt + ".")


def write_hub_cache(root: Path, repository: str, commits: Mapping[str, Path]) -> Path:
    """Write folders as commits of a repository in a cache of the hub, `main` the first; returns the repository's folder."""
    cached = root / f"models--{repository.replace('/', '--')}"
    for commit, made in commits.items():
        folder = cached / "snapshots" / commit
        for at in (folder, cached / "blobs", cached / "refs"):
            at.mkdir(parents=True, exist_ok=True)
        for file in made.iterdir():
            data = file.read_bytes()
            large = file.suffix == ".safetensors"
            name = hashlib.sha256(data) if large else hashlib.sha1(b"blob %d\0" % len(data) + data)
            blob = cached / "blobs" / name.hexdigest()
            blob.write_bytes(data)
            (folder / file.name).symlink_to(blob)
    (cached / "refs" / "main").write_text(next(iter(commits)))
    return cached
