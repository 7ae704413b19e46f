"""Terminal-Bench 2.0 through harbor: each trial's result.json is read, never the mean of a job.

A folder holds one job or several (`<job>/<task>__<id>/result.json`). Trials of a task are numbered by their start; one that
failed in the infrastructure gives its number to a later one. Seen in harbor 0.24.0: with a dead endpoint a job ends
"completed" with mean 0.0, and an agent that ran out of time may still be rewarded.
"""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from replication.collect.benchmarks.official import launching, venvs
from replication.collect.benchmarks.official.adapter import Adapter, Needs, variant_of
from replication.collect.benchmarks.official.launching import Command, Launch, plain, served
from replication.collect.benchmarks.official.reading import (
    UNSCORED,
    Items,
    Read,
    complete,
    each,
    read_json,
    row,
    sampling_problems,
)
from replication.collect.interfaces import HarnessRun, ItemResult
from replication.errors import HarnessError
from replication.files import write_json
from replication.records import Json
from replication.settings.limits import limited, located, real, whole

LIMITS = {
    "AgentTimeoutError": "agent_timeout", "ContextLengthExceededError": "context_overflow",
    "OutputLengthExceededError": "token_limit", "VerifierTimeoutError": "agent_timeout",
}  # fmt: skip
"""Exceptions that the agent itself causes: the leaderboard's convention counts them, and 0 without a reward."""
OF_ENGINE = re.compile(r"Server|Connection|APIError|RateLimit|Unavailable|Authentication|NotFound|BadRequest|^Timeout$")
"""Exceptions of the client of the endpoint."""
RECIPE = venvs.Recipe(name="terminal_bench", version="0.24.0", module="harbor", needs_python=(3, 12))


@dataclass
class Options:
    """Settings `options` of an entry of `ingest`."""

    items: Items = field(default_factory=Items)
    max_retries: int = whole(0, 1000, 0)  # of a job; a retried trial leaves no record
    dataset: str = limited("terminal-bench@2.0")  # 2.0, 2.1 and "2.0 Verified" cannot be compared
    tasks: str | None = located(None)  # folder of tasks, in place of the data set of the registry
    environment: str | None = limited(None)  # `module:Class` in the tool's environment, in place of a container engine
    agent_timeout_s: float | None = real(0.0, 1e7, None, above=True)  # null: that of each task
    launch: Launch = field(default_factory=Launch)


class _Trial(NamedTuple):
    task: str
    started: str
    job: Path
    data: Json


def needs() -> Needs:
    """Return what a run needs."""
    return Needs(
        containers=("docker", "podman", "apptainer"), images="89, one per task, Docker Hub, tag 20251031", keys=(),
        disk_gb=None, hours=33.0, network="images only",
        not_tried="any real task: there was no container engine; harbor ran on toy tasks, and its saved jobs are read",
    )  # fmt: skip


def read(run: HarnessRun, options: Options) -> Read:
    """Read the trials of all jobs of a folder."""
    problems: list[str] = []
    found = [
        (path, data)
        for pattern in ("result.json", "*/result.json", "*/*/result.json")
        for path, data in each(sorted(run.folder.glob(pattern)), lambda path: (path, read_json(path)), problems)
        if isinstance(data, dict)
    ]
    trials = [
        _Trial(data["task_name"], data.get("started_at") or "", path.parent.parent, data)
        for path, data in found if {"task_name", "trial_name"} <= data.keys()
    ]  # fmt: skip
    for path, data in found:
        if "n_total_trials" in data:
            problems += _job_problems(path, data, trials, options)
    problems += _trial_problems(run, trials, options)
    results: list[ItemResult] = []
    by_task: dict[str, list[_Trial]] = {}
    for trial in sorted(trials, key=lambda trial: (trial.task, trial.started, trial.data["trial_name"])):
        by_task.setdefault(trial.task, []).append(trial)
    for task, of_task in by_task.items():
        results += _numbered(task, of_task, run.n_trials, problems)
    if (
        results
        and not any(result.n_completion_tokens for result in results)
        and _agent(trials) not in ("oracle", "nop")
    ):
        problems.append(
            "no trial generated a token: the endpoint was down or did not answer in time. Run the jobs again."
        )
    return complete(run, Read(results, problems), options.items)


def _agent(trials: Sequence[_Trial]) -> str | None:
    return trials[0].data.get("agent_info", {}).get("name") if trials else None


def _job_problems(path: Path, job: Json, trials: Sequence[_Trial], options: Options) -> list[str]:
    name, problems, stats = path.parent.name, [], job.get("stats", {})
    n_found = sum(trial.job == path.parent for trial in trials)
    if n_found != job["n_total_trials"]:
        problems.append(f"job `{name}` has {job['n_total_trials']} trials; {n_found} of them have a result.json.")
    if job.get("finished_at") is None:
        problems.append(f"job `{name}` is not finished. Resume it with `harbor run`.")
    if stats.get("n_retries", 0) > options.max_retries:
        problems.append(
            f"job `{name}` retried {stats['n_retries']} trials, and what they replaced was not kept; `options.max_retries` "
            f"is {options.max_retries}. Run it without retries, or raise the limit and state it as a deviation."
        )
    return problems


def _trial_problems(run: HarnessRun, trials: Sequence[_Trial], options: Options) -> list[str]:
    problems: dict[str, None] = {}
    sums: dict[str, str] = {}
    for trial in trials:
        agent = trial.data.get("config", {}).get("agent", {})
        if sums.setdefault(trial.task, trial.data.get("task_checksum", "")) != trial.data.get("task_checksum", ""):
            problems[f"task `{trial.task}` has two checksums: its trials are of two versions of the benchmark."] = None
        limit = agent.get("override_timeout_sec")
        if agent and limit != options.agent_timeout_s:
            problems[
                f"trials ran with an agent timeout of {limit or 'the task'}, and `options.agent_timeout_s` is "
                f"{options.agent_timeout_s or 'null, that of the task'}. State what was run."
            ] = None
        if agent.get("name") in (None, "oracle", "nop"):
            continue
        kwargs = agent.get("kwargs", {})
        call = kwargs.get("llm_call_kwargs", {})
        seen = {
            "temperature": kwargs.get("temperature", call.get("temperature")), "top_p": call.get("top_p"),
            "top_k": call.get("extra_body", {}).get("top_k"),
        }  # fmt: skip
        for problem in sampling_problems(run, seen, f"agent `{agent['name']}`", default="its own default"):
            problems[problem] = None
    names = {json_name for trial in trials if (json_name := trial.data.get("agent_info", {}).get("model_info"))
             and (json_name := json_name.get("name"))}  # fmt: skip
    if len(names) > 1:
        problems[f"the trials are of {len(names)} models, {', '.join(sorted(names))}; a folder holds one."] = None
    return list(problems)


def _numbered(task: str, trials: Sequence[_Trial], n_trials: int, problems: list[str]) -> list[ItemResult]:
    """Number the trials of a task; those that failed give their number to the trials beyond `n_trials`, in order."""
    rows: list[ItemResult] = []
    for trial in trials:
        try:
            status, value, error = _outcome(trial.data)
        except HarnessError as problem:
            problems.append(str(problem))
            continue
        number = len(rows)
        if number >= n_trials:
            failed = [at for at, old in enumerate(rows) if old.details["status"] in UNSCORED]
            if failed:
                number = failed[0]
            elif status in UNSCORED:
                continue  # more failures than were needed
        used, made = trial.data.get("agent_result") or {}, trial.data.get("agent_execution") or {}
        result = row(
            task, number, status, value, f"{trial.job.name}/{trial.data['trial_name']}", error=error,
            tokens=(used.get("n_input_tokens") or 0, used.get("n_output_tokens") or 0),
            n_turns=(used.get("metadata") or {}).get("n_episodes") or 0, wall_s=_seconds(made),
            checksum=trial.data.get("task_checksum"),
            exception=(trial.data.get("exception_info") or {}).get("exception_type"),
        )  # fmt: skip
        rows[number : number + 1] = [result]
    return rows


class _Outcome(NamedTuple):
    status: str
    value: float | None
    error: str | None


def _outcome(trial: Json) -> _Outcome:
    """Tell an agent's failure, which counts, from one of the infrastructure, which does not."""
    rewards = (trial.get("verifier_result") or {}).get("rewards") or {}
    reward = rewards.get("reward", next(iter(rewards.values()), None) if len(rewards) == 1 else None)
    if reward is not None and not 0 <= reward <= 1:
        raise HarnessError(f"trial `{trial['trial_name']}` has the reward {reward!r}; it must be in [0, 1].")
    exception = trial.get("exception_info")
    if exception is None:
        return _Outcome("ok", reward, None) if reward is not None else _Outcome("infra_error", None, "no reward")
    kind, text = exception["exception_type"], f"{exception['exception_type']}: {exception.get('exception_message', '')}"
    if kind in LIMITS:
        return _Outcome(LIMITS[kind], 0.0 if reward is None else reward, text)
    return _Outcome("engine_error" if OF_ENGINE.search(kind) or "litellm" in text else "infra_error", None, text)


def _seconds(phase: Json) -> float:
    if not phase.get("started_at") or not phase.get("finished_at"):
        return 0.0
    start, end = (datetime.fromisoformat(phase[key]) for key in ("started_at", "finished_at"))
    return max((end - start).total_seconds(), 0.0)


def forget(run: HarnessRun) -> None:
    """Remove trials without a score, which harbor would keep when it resumes a job."""
    for path in sorted(run.folder.glob("attempt_*/*/result.json")):
        (data,) = each([path], read_json, []) or [{}]
        # One with an impossible reward is left, for its message.
        if "trial_name" in data and [one.value for one in each([data], _outcome, [])] == [None]:
            shutil.rmtree(path.parent)


def commands(run: HarnessRun, options: Options) -> list[Command]:
    """Write one job per attempt, so that each has its own seed, and return the commands that run them."""
    environment = {"apptainer": "singularity"}.get(options.launch.container, options.launch.container)
    sampling = run.spec.sampling
    made = []
    for trial in range(run.n_trials):
        name = f"attempt_{trial}"
        call: dict[str, Json] = {
            "seed": run.spec.seed + trial,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
        }
        if sampling.top_k != -1:
            call["extra_body"] = {"top_k": sampling.top_k}
        kwargs = {
            "temperature": sampling.temperature, "llm_call_kwargs": call,
            "model_info": {
                "max_input_tokens": run.spec.context, "max_output_tokens": sampling.max_tokens,
                "input_cost_per_token": 0, "output_cost_per_token": 0,
            },
        }  # fmt: skip
        agent: dict[str, Json] = {
            "name": "terminus-2",
            "model_name": f"hosted_vllm/{plain(served(run, options.launch))}",
            "kwargs": kwargs,
        }
        if options.agent_timeout_s is not None:
            agent["override_timeout_sec"] = options.agent_timeout_s
        name_of_data, _, version = options.dataset.partition("@")
        data = {"name": name_of_data} | ({"version": version} if version else {})
        if options.tasks is not None:
            data = {"path": str(Path(options.tasks).absolute())}
        place = {"import_path": options.environment} if options.environment else {"type": environment}
        job = {
            "job_name": name, "jobs_dir": str(run.folder.absolute()), "n_attempts": 1,
            "n_concurrent_trials": options.launch.workers, "environment": place, "agents": [agent],
            "datasets": [data],
        }  # fmt: skip
        # JSON is YAML, and harbor reads either.
        config = write_json(run.folder.absolute() / f"job_{trial}.yaml", job)
        made.append(
            Command(
                argv=("harbor", "run", "-c", str(config)), log=f"{name}.log",
            )
        )  # fmt: skip
    return made


def build(options: Options) -> Adapter:
    """Build the adapter; tasks of a folder are another benchmark than those of the registry."""
    own = options.environment is not None
    return Adapter(
        name="terminal_bench", version=f"1,harbor 0.24.0,{options.dataset}", results="**/result.json",
        read=lambda run: read(run, options), commands=lambda run: commands(run, options), launch_options=options.launch,
        needs=replace(needs(), containers=()) if own else needs(), recipe=RECIPE,
        variant=variant_of(options, Options(), ("tasks",)),
        access=lambda run: launching.hosted_vllm(run, options.launch), forget=forget, repeats=True,
    )  # fmt: skip
