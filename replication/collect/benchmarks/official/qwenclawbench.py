"""QwenClawBench v1.1: grading.json of each task and run, `[<model>/]<task>[_run_<n>]/grading.json`.

`score` counts the judge's part only where the automated checks reach 0.75, `score_simple` always; `options.metric` names
one. Errors that the tool lists as anomalies make a result void, except two that are the agent's own: it ran out of time, or
said little. Not seen in any file: a judge that failed 100 times is replaced by an agent of OpenClaw, a judge of another
kind; two tasks misspell the weight of the judge and two have none, and 0.5 is used. The tool writes to a temporary folder
without the model's name, so one model at a time is run on a host.
"""

import contextlib
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from replication.collect.benchmarks.official import judging, launching, sandbox, venvs
from replication.collect.benchmarks.official.adapter import Adapter, Composite, Needs, variant_of
from replication.collect.benchmarks.official.judging import Judging, Target
from replication.collect.benchmarks.official.launching import Command, Launch, checkout, plain, served
from replication.collect.benchmarks.official.reading import (
    Items,
    Read,
    all_scored,
    complete,
    each,
    mean,
    read_json,
    row,
)
from replication.collect.interfaces import HarnessRun, ItemResult
from replication.errors import HarnessError
from replication.files import write_json
from replication.records import Json
from replication.settings.limits import limited, one_of

OF_AGENT = {"TASK_TIMED_OUT": "agent_timeout", "SHORT_TRANSCRIPT": "ok"}
OF_ENGINE = ("EMPTY_TRANSCRIPT", "ZERO_TOKEN_RESPONSE", "TERMINAL_API_FAILURE", "API_RATE_LIMIT", "API_SERVER_ERROR")
OF_GRADER = ("GRADING_SCRIPT_ERROR", "GRADING_MISSING_FUNCTION")
AFTER_TIMEOUT = ("EXIT_CODE_NONZERO",)
"""Anomalies that follow from running out of time."""
FROM_PROSE = "Score extracted from prose"
"""Note of a judge whose reply had a total and no JSON."""
ASKED_FOR = "claude-opus-4-5-20251101"
"""The judge that scripts/lib_grading.py at e4eefcf asks for, whatever `--judge` says."""
PROVIDER = "replication"
"""Of the model in the configuration of OpenClaw."""
CHECKOUT, HOME = "checkout", "openclaw_config"
"""In the run's folder: the repository that the tool runs from; in it: the configuration that each container gets."""
RUN = re.compile(r"(?P<task>.+)_run_(?P<number>[0-9]+)")
CLONE = "git clone https://github.com/SKYLENAGE-AI/QwenClawBench && git -C QwenClawBench checkout e4eefcf"
RECIPE = venvs.Recipe(name="qwenclawbench", version="e4eefcf", module="yaml", clone=CLONE)


@dataclass
class Options:
    """Settings `options` of an entry of `ingest`."""

    items: Items = field(default_factory=Items)
    metric: str = one_of(("score", "score_simple"), "score")
    judge: str = limited("claude-opus-4-5-20251101")  # the tool always asks for this name; state who answers
    judging: Judging = field(default_factory=Judging)
    host: str | None = limited(None)  # this machine for the tool's containers; null: the gateway of docker's `bridge`
    image: str | None = limited(None)  # digest of the OpenClaw image, whose tag `main` floats; null: not recorded
    launch: Launch = field(default_factory=Launch)


def needs() -> Needs:
    """Return what a run needs."""
    return Needs(
        containers=("docker",), images="OpenClaw, GitHub's container registry, tag main: pin its digest",
        keys=("JUDGE_BASE_URL", "JUDGE_API_KEY", "BRAVE_API_KEY"), disk_gb=None, hours=6.3,
        network="judge, search, and the endpoint from the containers' network",
        not_tried="agents, which need docker; automated graders ran on untouched workspaces, the judge on a mock",
    )  # fmt: skip


def read(run: HarnessRun, options: Options) -> Read:
    """Read the runs of every task."""
    problems: list[str] = []
    paths = [*run.folder.glob("*/grading.json"), *run.folder.glob("*/*/grading.json")]
    models = {path.parent.parent for path in paths}
    if len(models) > 1:
        names = ", ".join(sorted(folder.name for folder in models))
        problems.append(f"the folder has results of {len(models)} models, {names}; it holds one.")
    results = each(sorted(paths), lambda path: _row(path, read_json(path), options), problems)
    failed = sorted([*run.folder.glob("*/failure.json"), *run.folder.glob("*/*/failure.json")])
    results += each(failed, lambda path: _failed(path, read_json(path)), problems)
    return complete(run, Read(results, problems), options.items)


def _trial(path: Path, task_id: str) -> int:
    folder = path.parent.name
    match = RUN.fullmatch(folder)
    if (match["task"] if match and folder != task_id else folder) != task_id:
        raise HarnessError(f"{folder}/{path.name} is the result of `{task_id}`: it lies in the folder of another task.")
    return int(match["number"]) - 1 if match and folder != task_id else 0


def _failed(path: Path, data: Json) -> ItemResult:
    """Read what our driver writes where it has no grade."""
    trial = _trial(path, data["task_id"])
    return row(data["task_id"], trial, data["status"], None, f"{path.parent.name}/{path.name}", error=data["error"])


def _row(path: Path, data: Json, options: Options) -> ItemResult:
    task_id, folder = data["task_id"], path.parent.name
    trial = _trial(path, task_id)
    value = data[options.metric] / data["max_score"]
    status, error = _status(data)
    execution = data.get("execution") or {}
    return row(
        task_id, trial, status, float(value), f"{folder}/{path.name}", error=error,
        wall_s=execution.get("execution_time") or 0.0,
        judge=options.judge if data["grading_type"] != "automated" else None, score=data["score"],
        score_simple=data["score_simple"], n_messages=execution.get("transcript_length"),
    )  # fmt: skip


def _status(data: Json) -> tuple[str, str | None]:
    execution, anomalies = data.get("execution") or {}, data.get("anomalies") or {}
    errors = {
        item["id"]: item.get("description", "") for item in anomalies.get("items", ()) if item["severity"] == "error"
    }
    ignored = {*OF_AGENT, *(AFTER_TIMEOUT if "TASK_TIMED_OUT" in errors else ())}
    void = {name: text for name, text in errors.items() if name not in ignored}
    listed = "; ".join(f"{name}: {text}" for name, text in void.items()) or None
    if any(name in void for name in OF_ENGINE) or execution.get("transcript_length") == 0:
        return "engine_error", listed or "the transcript is empty: the tool grades the untouched workspace"
    if void and all(name in OF_GRADER for name in void):
        return "judge_failed", listed
    if void or (anomalies.get("has_error") and not errors):
        return "infra_error", listed or "has_error without an item"
    judged = any(name.startswith("llm_judge.") for name in data["breakdown"]) or FROM_PROSE in (data.get("notes") or "")
    if data["grading_type"] == "hybrid" and not judged:
        return "judge_failed", "the judge gave no score: the tool counts its part as 0"
    if data["grading_type"] == "llm_judge" and not data["breakdown"] and FROM_PROSE not in (data.get("notes") or ""):
        return "judge_failed", "the judge gave no score: the tool counts 0"
    return ("agent_timeout" if execution.get("timed_out") or "TASK_TIMED_OUT" in errors else "ok"), None


def forget(run: HarnessRun, options: Options) -> None:
    """Remove grades that are no score, by which the tool would take a run for finished."""
    if options.judging.outputs is not None:
        return
    for path in sorted(run.folder.glob(f"{PROVIDER}-*/*/grading.json")):
        if [one.value for one in each([path], lambda path: _row(path, read_json(path), options), [])] == [None]:
            path.unlink()


def composites(run: HarnessRun, results: Sequence[ItemResult], metric: str) -> list[Composite]:
    """Compute the mean score over the tasks, each the mean of its runs; the tool's has the scoring that it was told."""
    by_task: dict[str, list[float]] = {}
    for result in results:
        by_task.setdefault(result.task_id, []).append(result.value if result.value is not None else 0.0)
    paths = [*run.folder.glob("summary.json"), *run.folder.glob("*/summary.json")]
    summary = read_json(paths[0]) if len(paths) == 1 else {}
    value = mean([mean(values) for values in by_task.values()]) if all_scored(run, results) else None
    same = (summary.get("scoring") == "simple") == (metric == "score_simple")
    return [Composite(f"mean {metric}", value, summary.get("mean_score") if same else None)]


def check(run: HarnessRun, options: Options) -> None:
    """Raise HarnessError unless the repository and the judge are named."""
    checkout(options.launch, "QwenClawBench")
    judging.check(_target(options))
    if options.judging.outputs is not None:
        sandbox.choose(options.judging.sandbox, "options.judging.sandbox")


def _target(options: Options) -> Target:
    return Target(options.judging, options.judge, "options.judging")


@contextlib.contextmanager
def access(run: HarnessRun, options: Options) -> Iterator[Mapping[str, str]]:
    """Start the gateway, and the model where containers reach it."""
    with contextlib.ExitStack() as stack:
        again = options.judging.outputs is not None
        socket = stack.enter_context(launching.sockets()) / "judge" if again else None
        name = options.judge if again else ASKED_FOR
        judge = stack.enter_context(judging.gateway({name: _target(options)}, run.folder, socket))
        if again:
            yield {"REPLICATION_JUDGE_SOCKET": judge.address, "REPLICATION_JUDGE_KEY": judge.token}
        else:
            token = secrets.token_urlsafe(24)
            host = options.host or bridge()
            url = stack.enter_context(launching.model(run, options.launch, host=host, token=token))
            # With the keys of the clone's configuration, so it does not stay.
            stack.callback(shutil.rmtree, run.folder / CHECKOUT, ignore_errors=True)
            copy_checkout(run, options, url, token)
            yield {"JUDGE_BASE_URL": judge.address, "JUDGE_API_KEY": judge.token}


def bridge() -> str:
    """Return the address of this machine in docker's default network, which the tool's containers use."""
    template = "{{(index .IPAM.Config 0).Gateway}}"
    done = subprocess.run(
        ["docker", "network", "inspect", "bridge", "--format", template], stdin=subprocess.DEVNULL, capture_output=True,
        text=True,
    )  # fmt: skip
    if done.returncode or not done.stdout.strip():
        raise HarnessError(
            f"docker does not tell the gateway of its network `bridge`: {done.stderr.strip()[:200] or 'nothing printed'}. "
            f"State in `options.host` the address at which containers reach this machine."
        )
    return done.stdout.strip()


def copy_checkout(run: HarnessRun, options: Options, url: str, token: str) -> None:
    """Write the repository that the tool runs from into the run's folder, with a configuration that names the proxy.

    Its scripts find the configuration beside themselves, so they are copied; all else is linked. What the clone's own
    openclaw.json states besides the model stays: search, for example.
    """
    source, target = checkout(options.launch, "QwenClawBench"), run.folder.absolute() / CHECKOUT
    shutil.rmtree(target, ignore_errors=True)
    (target / HOME).mkdir(parents=True)
    shutil.copytree(source / "scripts", target / "scripts")
    for folder, apart in ((source, ("scripts", HOME, ".git")), (source / HOME, ("openclaw.json",))):
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name not in apart:
                (target / folder.relative_to(source) / path.name).symlink_to(path)
    files = [source / HOME / name for name in ("openclaw.json", "openclaw.json.example")]
    found = next((path for path in files if path.is_file()), None)
    config = read_json(found) if found else {}
    name, sampling = plain(served(run, options.launch)), run.spec.sampling
    about = {
        "id": name, "name": name, "reasoning": False, "input": ["text"], "contextWindow": run.spec.context,
        "maxTokens": sampling.max_tokens, "cost": {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0},
    }  # fmt: skip
    provider = {"baseUrl": url, "apiKey": token, "api": "openai-completions", "models": [about]}
    config["models"] = {"mode": "merge", "providers": {PROVIDER: provider}}
    defaults = config.setdefault("agents", {}).setdefault("defaults", {})
    defaults |= {"model": {"primary": f"{PROVIDER}/{name}"}, "models": {f"{PROVIDER}/{name}": {"alias": name}}}
    write_json(target / HOME / "openclaw.json", config)


def commands(run: HarnessRun, options: Options) -> list[Command]:
    """Return the command of the repository's script, or that of our driver, which grades stored runs again."""
    repository, name = checkout(options.launch, "QwenClawBench"), plain(served(run, options.launch))
    if options.judging.outputs is not None:
        return [
            judging.regrade("qwenclawbench", run, options.judging, options.judge, repository, options.launch.workers)
        ]
    return [
        Command(
            argv=(
                "bash", "scripts/run.sh", "--model", f"{PROVIDER}/{name}", "--dataset", "qwenclawbench-v1.1-100",
                "--runs", str(run.n_trials), "--concurrency", str(options.launch.workers), "--output-dir",
                str(run.folder.absolute()), "--log-file", str(run.folder.absolute() / "qwenclawbench.log"),
                *(("--docker-image", options.image) if options.image else ()),
                *(("--simple-scoring",) if options.metric == "score_simple" else ()),
            ),
            log="run.log", cwd=run.folder / CHECKOUT,
        )
    ]  # fmt: skip


def build(options: Options) -> Adapter:
    """Build the adapter; judge, metric and image are part of the grader."""
    return Adapter(
        name="qwenclawbench", version=f"1,v1.1 e4eefcf,{options.metric},judge {options.judge},image {options.image}",
        results="**/grading.json", read=lambda run: read(run, options), commands=lambda run: commands(run, options),
        launch_options=options.launch, needs=needs(), recipe=RECIPE,
        composites=lambda run, results: composites(run, results, options.metric),
        variant=variant_of(options, Options(), ("judge", "metric")), check=lambda run: check(run, options),
        access=lambda run: access(run, options), outputs=options.judging.outputs,
        repeats=True, alone=options.judging.outputs is None, forget=lambda run: forget(run, options),
    )  # fmt: skip
