"""SWE-bench Verified: an agent's predictions (mini-swe-agent) and the report of swebench 5.x, per instance.

Each attempt has its own folder (`attempt_0` ..., or the folder itself for one attempt):

    preds.json                                   predictions of mini-swe-agent
    <id>/<id>.traj.json                          optional; else exit_statuses_<time>.yaml: how each agent ended
    <model>.<run>.json                           report of `swebench eval`, schema version 2
    logs/run_evaluation/<run>/<model>/<id>/      optional: report.json, and patch.diff, by which stale grades are found
"""

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from replication.collect.benchmarks.official import launching, venvs
from replication.collect.benchmarks.official.adapter import Adapter, Needs, variant_of
from replication.collect.benchmarks.official.launching import Command, Launch, served
from replication.collect.benchmarks.official.reading import (
    Items,
    Read,
    attempt_folders,
    complete,
    each,
    read_json,
    read_json_lines,
    row,
    sampling_problems,
)
from replication.collect.interfaces import HarnessRun, ItemResult
from replication.errors import HarnessError
from replication.files import write_json
from replication.records import Json
from replication.settings.limits import limited, located, one_of, whole

ENDS = {
    "Submitted": "ok", "LimitsExceeded": "turn_limit", "TimeExceeded": "agent_timeout",
    "RepeatedFormatError": "malformed", "FormatError": "malformed", "ContextWindowExceededError": "context_overflow",
}  # fmt: skip
"""Exit statuses of mini-swe-agent that are the model's own; every other is the name of an exception of the set-up."""
RECIPE = venvs.Recipe(name="swe_bench", version="5.0.2", module="minisweagent")


@dataclass
class Options:
    """Settings `options` of an entry of `ingest`."""

    items: Items = field(default_factory=Items)
    clusters: str = one_of(("repository", "none"), "repository")  # items of one are not independent
    step_limit: int = whole(1, 1_000_000, 250)  # of mini-swe-agent
    data: str | None = located(None)  # folder or file of instances, in place of the data set of the hub
    cwd: str = limited("/testbed")  # of the commands of an agent; the images of SWE-bench Pro have /app
    environment: str | None = limited(None)  # class of mini-swe-agent, such as `local`, in place of a container engine
    launch: Launch = field(default_factory=Launch)


class End(NamedTuple):
    """How an agent ended, from its trajectory or the list of exit statuses."""

    status: str
    error: str | None = None
    n_turns: int = 0
    tokens: tuple[int, int] = (0, 0)
    sent: Mapping[str, Json] = {}
    """Sampling parameters of its configuration; empty if there is no trajectory."""


def needs() -> Needs:
    """Return what a run needs."""
    return Needs(
        containers=("docker", "apptainer"), images="500, one per instance, Docker Hub; grading needs docker", keys=(),
        disk_gb=120.0, hours=None, network="images and the data set",
        not_tried="grading in containers; mini-swe-agent ran in a local environment, and swebench graded saved logs",
    )  # fmt: skip


def repository(instance: str) -> str | None:
    """Return the repository of an instance id such as `django__django-11099`, or of SWE-bench Pro's longer form."""
    match = re.fullmatch(r"(?:instance_)?(.+?)__(.+?)-(?:[0-9]+|[0-9a-f]{40}(?:-v.+)?)", instance)
    return f"{match[1]}/{match[2]}" if match else None


def read(run: HarnessRun, options: Options) -> Read:
    """Read the attempts."""
    results: list[ItemResult] = []
    problems: list[str] = []
    for trial, folder in enumerate(attempt_folders(run)):
        found = _attempt(run, folder, trial, options)
        results += found.results
        problems += found.problems
    return complete(run, Read(results, problems), options.items)


def _attempt(run: HarnessRun, folder: Path, trial: int, options: Options) -> Read:
    problems: list[str] = []
    reports = [
        (path, data)
        for path, data in each(sorted(folder.glob("*.json")), lambda path: (path, read_json(path)), problems)
        if isinstance(data, dict) and "resolved_ids" in data
    ]
    if len(reports) != 1:
        names = ", ".join(path.name for path, _ in reports) or "none"
        return Read(
            [], [*problems, f"`{folder.name}` must have one report of swebench, <model>.<run>.json; it has {names}."]
        )
    path, report = reports[0]
    if report.get("schema_version") != 2:
        problems.append(
            f"{path.name} has the schema version {report.get('schema_version')}: swebench 4.x grades otherwise than 5.x, "
            f"whose version is 2. Grade again with 5.x."
        )
    patches = predictions(folder, problems)
    ends = agent_ends(folder, problems)
    problems += _stale(folder, path, report, patches)
    sent = {tuple(sorted(end.sent.items())) for end in ends.values() if end.sent}
    for seen in sent:
        problems += sampling_problems(run, dict(seen), "mini-swe-agent", default="the server's default")
    listed = {
        name: set(report.get(f"{name}_ids", [])) for name in ("resolved", "unresolved", "empty_patch", *NOT_GRADED)
    }
    every = set().union(*listed.values(), report.get("submitted_ids", []), patches, ends)
    results = [
        _row(task_id, trial, path.name, listed, ends.get(task_id, End("ok")), options.clusters == "repository")
        for task_id in sorted(every)
    ]
    return Read(results, problems)


NOT_GRADED = ("error", "infra_failure", "ambiguous_failure", "incomplete")
"""Lists of the report that hold instances without a grade; an instance of them may also be listed as unresolved."""


def _row(
    task_id: str, trial: int, source: str, listed: Mapping[str, set[str]], end: End, clustered: bool
) -> ItemResult:
    failed = [name for name in NOT_GRADED if task_id in listed[name]]
    status, value, error = end.status, None, end.error
    if status in ("engine_error", "infra_error"):
        pass  # the agent was stopped by the set-up: neither its patch nor its absence is the model's
    elif failed:
        status, error = "infra_error", f"swebench lists it under {failed[0]}_ids"
    elif task_id in listed["resolved"]:
        value = 1.0
    elif task_id in listed["unresolved"] | listed["empty_patch"]:
        value = 0.0
    else:
        status, error = "missing", "submitted, and not in the report"
    return row(
        task_id, trial, status, value, source, error=error, n_turns=end.n_turns, tokens=end.tokens,
        cluster=repository(task_id) if clustered else None, empty_patch=task_id in listed["empty_patch"] or None,
    )  # fmt: skip


def predictions(folder: Path, problems: list[str]) -> dict[str, str]:
    """Return the submitted patches by instance, from preds.json or preds.jsonl; an instance that is there twice is named."""
    entries: list[Json] = []
    for path in (folder / "preds.json", folder / "preds.jsonl"):
        if path.is_file():
            found = read_json(path) if path.suffix == ".json" else read_json_lines(path)
            entries += list(found.values()) if isinstance(found, dict) else found
    patches: dict[str, str] = {}
    for entry in entries:
        if entry["instance_id"] in patches:
            problems.append(f"the predictions have `{entry['instance_id']}` twice; keep the first attempt only.")
        patches.setdefault(entry["instance_id"], entry.get("model_patch") or "")
    return patches


def agent_ends(folder: Path, problems: list[str]) -> dict[str, End]:
    """Return how each agent ended, from its trajectory, else from the lists of exit statuses."""
    import yaml

    ends: dict[str, End] = {}
    for path in sorted(folder.glob("exit_statuses_*.yaml")):
        by_status = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("instances_by_exit_status") or {}
        ends |= {task_id: _end(status) for status, ids in by_status.items() for task_id in ids or ()}
    paths = [path for path in sorted(folder.glob("*/*.traj.json")) if path.name == f"{path.parent.name}.traj.json"]
    ends |= dict(each(paths, lambda path: (path.parent.name, _from_trajectory(read_json(path))), problems))
    return ends


def _end(status: str | None, **facts: Json) -> End:
    if status in ENDS:
        return End(ENDS[status], None if status == "Submitted" else status, **facts)
    return End("engine_error", f"the agent ended with {status}", **facts)


def _from_trajectory(data: Json) -> End:
    info = data["info"]
    usage = [
        ((message.get("extra") or {}).get("response") or {}).get("usage") or {}
        for message in data.get("messages", ()) if message.get("role") == "assistant"
    ]  # fmt: skip
    model = info.get("config", {}).get("model", {}).get("model_kwargs", {})
    return _end(
        info.get("exit_status"), n_turns=info.get("model_stats", {}).get("api_calls", 0),
        tokens=(sum(u.get("prompt_tokens") or 0 for u in usage), sum(u.get("completion_tokens") or 0 for u in usage)),
        sent={name: model.get(name) for name in ("temperature", "top_p")},
    )  # fmt: skip


def _stale(folder: Path, path: Path, report: Json, patches: Mapping[str, str]) -> list[str]:
    """Return the grades that are of another patch or run: swebench reuses a grade of the same run id and instance."""
    problems = []
    for graded in sorted(folder.glob("logs/run_evaluation/*/*/*/report.json")):
        task_id, kept = graded.parent.name, graded.parent / "patch.diff"
        try:
            resolved = read_json(graded)[task_id]["resolved"]
        except (HarnessError, KeyError, TypeError) as error:
            problems.append(f"{task_id}/report.json cannot be read: {error!r}")
            continue
        if resolved != (task_id in report["resolved_ids"]):
            problems.append(
                f"`{task_id}` is {'' if resolved else 'not '}resolved in its report.json, and {path.name} differs."
            )
        if task_id in patches and kept.is_file() and kept.read_text(encoding="utf-8") != patches[task_id]:
            problems.append(
                f"the grade of `{task_id}` is of another patch than preds.json has: the grader reused an old one. Grade "
                f"again with a new --run-id."
            )
    return problems


def forget(run: HarnessRun) -> None:
    """Remove what failed agents submitted, and its grades: mini-swe-agent plays no instance that is in preds.json."""
    for folder in sorted(run.folder.glob("attempt_*")):
        path = folder / "preds.json"
        found = read_json(path) if path.is_file() else {}
        ends = agent_ends(folder, [])
        failed = [task_id for task_id in found if task_id in ends and ends[task_id].status == "engine_error"]
        for graded in (place for task_id in failed for place in folder.glob(f"logs/run_evaluation/*/*/{task_id}")):
            shutil.rmtree(graded)
        if failed:
            write_json(path, {task_id: entry for task_id, entry in found.items() if task_id not in failed})


def agent_command(
    run: HarnessRun, options: Options, subset: str, trial: int, more: Mapping[str, Json] | None = None
) -> Command:
    """Return the command that plays one attempt at all instances with mini-swe-agent.

    more : settings of its configuration.
    """
    sampling, launch = run.spec.sampling, options.launch
    settings = {
        "model.model_kwargs.temperature": sampling.temperature,
        "model.model_kwargs.top_p": sampling.top_p, "model.model_kwargs.max_tokens": sampling.max_tokens,
        "model.model_kwargs.seed": run.spec.seed + trial, "agent.step_limit": options.step_limit,
        "environment.cwd": options.cwd, **(more or {}),
    }  # fmt: skip
    environment = options.environment or {"apptainer": "singularity"}.get(launch.container, launch.container)
    subset = str(Path(options.data).absolute()) if options.data else subset
    return Command(
        argv=(
            "mini-extra", "swebench", "--subset", subset, "--split", "test", "-m", f"hosted_vllm/{served(run, launch)}",
            "-c", "swebench.yaml", *(part for key, value in settings.items() for part in ("-c", f"{key}={value}")),
            "-w", str(launch.workers), "-o", f"attempt_{trial}", "--environment-class", environment,
        ),
        log=f"agent_{trial}.log",
        env={
            "MSWEA_COST_TRACKING": "ignore_errors", "MSWEA_CONFIGURED": "true", "MSWEA_SINGULARITY_EXECUTABLE": "apptainer",
        },
    )  # fmt: skip


def commands(run: HarnessRun, options: Options) -> list[Command]:
    """Return the commands of every attempt: play, then grade under a run id of its own."""
    made = []
    data = str(Path(options.data).absolute()) if options.data else "verified"
    for trial in range(run.n_trials):
        made.append(agent_command(run, options, "verified", trial))
        made.append(
            Command(
                argv=(
                    "swebench", "eval", data, "-p", "preds.json", "--run-id", f"{run.spec.run_id}-{trial}", "-j",
                    str(options.launch.workers),
                ),
                log=f"grade_{trial}.log", cwd=run.folder / f"attempt_{trial}",
            )
        )  # fmt: skip
    return made


def build(options: Options) -> Adapter:
    """Build the adapter; instances of a file are another benchmark than those of the hub."""
    own = options.environment is not None
    return Adapter(
        name="swe_bench", version="1,swebench 5.x", results="*.json", read=lambda run: read(run, options),
        commands=lambda run: commands(run, options), launch_options=options.launch,
        needs=replace(needs(), containers=()) if own else needs(), recipe=RECIPE,
        variant=variant_of(options, Options(), ("data",)),
        access=lambda run: launching.hosted_vllm(run, options.launch), forget=forget, repeats=True,
    )  # fmt: skip
