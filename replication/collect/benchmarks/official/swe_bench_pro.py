"""SWE-bench Pro: eval_results.json of the official script, joined to the outputs that show whether an item was graded.

Each attempt has its own folder (`attempt_0` ..., or the folder itself for one attempt):

    eval_results.json               {id: true or false}
    infra_errors.json               optional, of newer versions of the script: {id: reason}
    patches.json                    optional: what was graded, [{instance_id, patch or model_patch, prefix}]
    <id>/<prefix>_output.json       tests of an item that was graded; false without it is a failure of the infrastructure
    <id>/<prefix>_patch.diff        the patch that was graded
    <id>/<id>.traj.json             optional, of mini-swe-agent

Published results have eval_results.json only (`options.outputs: false`): a failure of the infrastructure then cannot be told
from a failed test, and items that are not listed have no score.
"""

import contextlib
import dataclasses
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from replication.collect.benchmarks.official import launching, swe_bench, swe_bench_pro_driver
from replication.collect.benchmarks.official.adapter import Adapter, Needs
from replication.collect.benchmarks.official.launching import Command, Launch, checkout
from replication.collect.benchmarks.official.reading import (
    Items,
    Read,
    attempt_folders,
    complete,
    read_json,
    row,
    sampling_problems,
)
from replication.collect.benchmarks.official.swe_bench import End, agent_ends, repository
from replication.collect.interfaces import HarnessRun, ItemResult
from replication.errors import HarnessError
from replication.records import Json
from replication.settings.limits import limited, located, one_of, whole

RESULTS = "eval_results.json"
CLONE = "git clone https://github.com/scaleapi/SWE-bench_Pro-os && git -C SWE-bench_Pro-os checkout ca10a60"
RECIPE = dataclasses.replace(swe_bench.RECIPE, clone=CLONE)


@dataclass
class Options:
    """Settings `options` of an entry of `ingest`."""

    items: Items = field(default_factory=Items)
    clusters: str = one_of(("repository", "none"), "repository")  # items of one are not independent
    outputs: bool = True  # false: results have no output files, as published ones
    data: str | None = located(None)  # swe_bench_pro_full.csv of the repository; only to run the tool
    images: str = limited("jefzda")  # user of the images
    agent: str = one_of(
        ("none", "mini-swe-agent"), "none"
    )  # none: patches.json of each attempt is there, and is graded
    step_limit: int = whole(1, 1_000_000, 250)  # of mini-swe-agent
    environment: str | None = limited(None)  # class of mini-swe-agent, such as `local`, in place of docker
    cwd: str = limited("/app")  # of the commands of an agent: that of the images
    launch: Launch = field(default_factory=Launch)


def needs() -> Needs:
    """Return what a run needs."""
    return Needs(
        containers=("docker",), images="731, one per instance, Docker Hub jefzda/sweap-images", keys=(), disk_gb=None,
        hours=None, network="images and the data set", not_tried="agents and grading in containers; the scorer ran on saved "
        "outputs, and published results are read",
    )  # fmt: skip


def read(run: HarnessRun, options: Options) -> Read:
    """Read the attempts."""
    results: list[ItemResult] = []
    problems: list[str] = []
    for trial, folder in enumerate(attempt_folders(run)):
        if not (folder / RESULTS).is_file():
            problems.append(f"no `{RESULTS}` in `{folder.name}`. Grade the attempt, or lower `n_trials`.")
            continue
        found = _attempt(run, folder, trial, options)
        results += found.results
        problems += found.problems
    return complete(run, Read(results, problems), options.items)


def _attempt(run: HarnessRun, folder: Path, trial: int, options: Options) -> Read:
    passed = read_json(folder / RESULTS)
    if not isinstance(passed, dict) or not all(isinstance(value, bool) for value in passed.values()):
        return Read([], [f"`{RESULTS}` must map each instance to true or false."])
    broken = read_json(folder / "infra_errors.json") if (folder / "infra_errors.json").is_file() else {}
    problems: list[str] = []
    patches = _patches(folder, problems)
    ends = agent_ends(folder, problems)
    for seen in {tuple(sorted(end.sent.items())) for end in ends.values() if end.sent}:
        problems += sampling_problems(run, dict(seen), "mini-swe-agent", default="the server's default")
    results = []
    for task_id in sorted({*passed, *broken, *patches, *ends}):
        outputs = sorted((folder / task_id).glob("*_output.json"))
        problems += _stale(folder / task_id, outputs, patches.get(task_id))
        results.append(
            _row(task_id, trial, passed.get(task_id), broken.get(task_id), patches.get(task_id),
                 bool(outputs) or not options.outputs, ends.get(task_id, End("ok")), options.clusters == "repository")
        )  # fmt: skip
    if options.outputs and not any(result.value is not None for result in results):
        problems.append(
            "no instance has an output file, so nothing shows that the tests ran: the script writes false, and exits with "
            "0, when containers do not start. For published results set `options.outputs: false`."
        )
    return Read(results, problems)


def _row(
    task_id: str, trial: int, passed: bool | None, broken: str | None, entry: Mapping[str, Json] | None, graded: bool,
    end: End, clustered: bool,
) -> ItemResult:  # fmt: skip
    empty = entry is not None and not _patch(entry).strip()
    status, value, error = end.status, None if passed is None else float(passed), end.error
    if status in ("engine_error", "infra_error"):
        pass  # the run failed before the grader could judge anything
    elif broken is not None:
        status, error = "infra_error", broken
    elif empty:
        value = 0.0  # submitted and empty: nothing to run
    elif passed is None:
        status, error = "missing", f"not in {RESULTS}"
    elif not passed and not graded:
        status, error = "infra_error", f"false in {RESULTS} without an output file: its tests did not run"
    return row(
        task_id, trial, status, value, f"{RESULTS}, {task_id}", error=error, n_turns=end.n_turns, tokens=end.tokens,
        cluster=repository(task_id) if clustered else None, empty_patch=empty or None,
    )  # fmt: skip


def _patches(folder: Path, problems: list[str]) -> dict[str, Mapping[str, Json]]:
    path = folder / "patches.json"
    entries: dict[str, Mapping[str, Json]] = {}
    for entry in read_json(path) if path.is_file() else ():
        if entry["instance_id"] in entries:
            problems.append(f"patches.json has `{entry['instance_id']}` twice; keep the first attempt only.")
        entries.setdefault(entry["instance_id"], entry)
    return entries


def _patch(entry: Mapping[str, Json]) -> str:
    return entry.get("model_patch", entry.get("patch")) or ""


def _stale(folder: Path, outputs: list[Path], entry: Mapping[str, Json] | None) -> list[str]:
    """Return whether an output is of another patch: the script reuses one of the same prefix."""
    if len(outputs) > 1:
        return [f"`{folder.name}` has outputs of {len(outputs)} prefixes; every attempt has its own folder."]
    if not outputs or entry is None:
        return []
    prefix = outputs[0].name.removesuffix("_output.json")
    kept = folder / f"{prefix}_patch.diff"
    if prefix != (entry.get("prefix") or ""):
        return [f"the output of `{folder.name}` has the prefix {prefix!r}, patches.json {entry.get('prefix')!r}."]
    if kept.is_file() and kept.read_text(encoding="utf-8") != _patch(entry):
        return [
            f"the output of `{folder.name}` is of another patch than patches.json has: the script reused an old one. Grade "
            f"again into a new folder."
        ]
    return []


def commands(run: HarnessRun, options: Options) -> list[Command]:
    """Return the command that grades each attempt's patches.json, after those that play it where an agent is named."""
    repository_folder = checkout(options.launch, "SWE-bench Pro")
    if options.data is None:
        raise HarnessError("the script needs `options.data`, the file swe_bench_pro_full.csv of its data set.")
    plays = options.agent != "none"
    folders = [run.folder / f"attempt_{trial}" for trial in range(run.n_trials)] if plays else attempt_folders(run)
    made = _instances(run, options, repository_folder) if plays else []
    for trial, folder in enumerate(folders):
        if plays:
            made += _play(run, options, folder, trial)
        elif not (folder / "patches.json").is_file():
            raise HarnessError(
                f"no `patches.json` in `{folder}`. Play the items with an agent first, and gather its patches with "
                f"helper_code/gather_patches.py."
            )
        made.append(
            Command(
                argv=(
                    "python", "swe_bench_pro_eval.py", f"--raw_sample_path={Path(options.data).absolute()}",
                    f"--patch_path={folder.absolute() / 'patches.json'}", f"--output_dir={folder.absolute()}",
                    f"--scripts_dir={repository_folder / 'run_scripts'}", f"--dockerhub_username={options.images}",
                    f"--num_workers={options.launch.workers}", "--use_local_docker",
                ),
                log=f"grade_{trial}.log", cwd=repository_folder,
            )
        )  # fmt: skip
    return made


def _instances(run: HarnessRun, options: Options, repository_folder: Path) -> list[Command]:
    target = run.folder.absolute() / "instances" / "test.jsonl"
    argv = (str(repository_folder), str(Path(str(options.data)).absolute()), options.images, str(target))
    return [Command(argv=("python", "-P", swe_bench_pro_driver.__file__, "instances", *argv), log="instances.log")]


def _play(run: HarnessRun, options: Options, folder: Path, trial: int) -> list[Command]:
    agent = swe_bench.Options(
        step_limit=options.step_limit, data=str(run.folder.absolute() / "instances"), cwd=options.cwd,
        environment=options.environment, launch=options.launch,
    )  # fmt: skip
    # The images have an entry point, which would take the command that keeps a container alive for a script.
    more = {} if options.environment else {"environment.run_args": json.dumps(["--rm", "--entrypoint", ""])}
    argv = (str(folder.absolute() / "preds.json"), str(folder.absolute() / "patches.json"))
    return [
        swe_bench.agent_command(run, agent, "", trial, more),
        Command(
            argv=("python", "-P", swe_bench_pro_driver.__file__, "patches", *argv), log=f"patches_{trial}.log",
        ),
    ]  # fmt: skip


def _forget(run: HarnessRun, options: Options) -> None:
    """Remove what failed agents submitted, and outputs that the script would reuse for another patch."""
    if options.agent == "none":
        return
    swe_bench.forget(run)
    for folder in sorted(run.folder.glob("attempt_*")):
        kept = read_json(folder / "preds.json") if (folder / "preds.json").is_file() else {}
        for place in folder.glob("*/*_output.json"):
            if place.parent.name not in kept:
                place.unlink()


def build(options: Options) -> Adapter:
    """Build the adapter."""
    version = "1,ca10a60" if options.outputs else "1,ca10a60,as published"
    own = options.environment is not None
    return Adapter(
        name="swe_bench_pro", version=version, results=RESULTS, read=lambda run: read(run, options),
        commands=lambda run: commands(run, options), launch_options=options.launch, recipe=RECIPE,
        needs=dataclasses.replace(needs(), containers=()) if own else needs(), plays=options.agent != "none",
        access=lambda run: _access(run, options), forget=lambda run: _forget(run, options),
        repeats=options.agent != "none",
    )  # fmt: skip


def _access(run: HarnessRun, options: Options) -> AbstractContextManager[Mapping[str, str]]:
    return launching.hosted_vllm(run, options.launch) if options.agent != "none" else contextlib.nullcontext({})
