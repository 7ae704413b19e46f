"""WideSearch: the evaluation of each question and trial, `{model}_{question}_{trial}_eval_result.json`.

Read with it, from the same folder:

    ..._eval_result.csv      scores and messages of every column; a failed judge is a score of 0 with a message only here
    ..._response.jsonl       the answer and the messages; no answer at all is the server's failure
    {model}_trial_num_{n}_summary.json    optional: the tool's own means, which must agree with ours

Not seen in any file: a judge that failed to align the names of columns and keys, after which they are compared as written;
sampling parameters, which the tool's src/utils/config.py sets (the judge's temperature is never sent).
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from replication.collect.benchmarks.official.adapter import Adapter, Composite, Needs
from replication.collect.benchmarks.official.launching import Command, Launch, checkout
from replication.collect.benchmarks.official.reading import (
    Items,
    Read,
    all_scored,
    complete,
    each,
    mean,
    read_json,
    read_json_lines,
    row,
)
from replication.collect.interfaces import HarnessRun, ItemResult
from replication.errors import HarnessError
from replication.records import Json
from replication.settings.limits import limited, one_of

METRICS = ("f1_by_item", "f1_by_row", "score")
NAME = re.compile(r"(?P<rest>.+)_(?P<trial>[0-9]+)(?:_multi_agent)?_eval_result\.json")
OVER_TRIALS: dict[str, Callable[[Sequence[float]], float]] = {"avg_n": mean, "max_n": max, "min_n": min}
JUDGE_FAILED = "llm judge failed"
"""Start of the message that src/evaluation/metric_utils.py at 0e664c3 writes beside a score of 0."""


@dataclass
class Options:
    """Settings `options` of an entry of `ingest`."""

    items: Items = field(default_factory=Items)
    metric: str = one_of(METRICS, "f1_by_item")  # score: success rate, the whole table right
    judge: str = limited("gpt-4.1-2025-04-14")  # none: columns that it grades count 0, a lower bound
    config_name: str | None = limited(None)  # of the model in src/utils/config.py; only to run the tool
    launch: Launch = field(default_factory=Launch)


def needs() -> Needs:
    """Return what a run needs."""
    return Needs(
        containers=(), images="none", keys=("key of a search service", "key of the judge"), disk_gb=0.2, hours=None,
        network="data set, search, pages, judge: results change with the web, so keep what was fetched",
        not_tried="the agent (the repository leaves search and page tools to the user) and the judge; the scorer ran on toy "
        "tables",
    )  # fmt: skip


def read(run: HarnessRun, options: Options) -> Read:
    """Read every evaluation of a folder."""
    problems: list[str] = []
    models: set[str] = set()

    def one(path: Path) -> ItemResult:
        data = read_json(path)
        match = NAME.fullmatch(path.name)
        if match is None or not match["rest"].endswith(f"_{data['instance_id']}"):
            raise HarnessError(f"{path.name} is not named after its question `{data['instance_id']}` and a trial.")
        models.add(match["rest"].removesuffix(f"_{data['instance_id']}"))
        return _row(path, data, int(match["trial"]), options)

    results = each(sorted(run.folder.glob("*_eval_result.json")), one, problems)
    if len(models) > 1:
        problems.append(f"the folder has results of {len(models)} models, {', '.join(sorted(models))}; it holds one.")
    if results and not any(result.value is not None for result in results):
        problems.append("no question was answered and graded: the server or the judge was down. Run it again.")
    return complete(run, Read(results, problems), options.items)


def _row(path: Path, data: Json, trial: int, options: Options) -> ItemResult:
    stem = path.name.removesuffix("_eval_result.json")
    csv, answer = path.with_suffix(".csv"), path.with_name(f"{stem}_response.jsonl")
    status, error, message = "ok", None, data.get("msg", "")
    lines = read_json_lines(answer) if answer.is_file() else []
    text = lines[0].get("response") if lines else None
    turns = sum(entry.get("role") == "assistant" for entry in (lines[0].get("messages") or ()) if isinstance(entry, dict)
                ) if lines else 0  # fmt: skip
    if message == "response is None" or (lines and (text in (None, "NULL") or not str(text).strip())):
        status, error = "engine_error", "no answer was received: the tool scores it 0"
    elif message.startswith("evaluator error"):
        status, error = "judge_failed", message.splitlines()[-1]
    elif csv.is_file() and JUDGE_FAILED in csv.read_text(encoding="utf-8"):
        status, error = "judge_failed", "the judge failed on a column: the tool scores it 0"
    elif not csv.is_file() and any(data[name] for name in METRICS):
        raise HarnessError(f"{path.name} has no {csv.name} beside it, which alone shows whether the judge failed.")
    for by in ("row", "item"):
        precision, recall, f1 = (data[f"{name}_by_{by}"] for name in ("precision", "recall", "f1"))
        if abs(f1 - (2 * precision * recall / (precision + recall) if precision + recall > 1e-9 else 0.0)) > 1e-6:
            raise HarnessError(f"{path.name}: f1_by_{by} {f1} does not follow from precision and recall.")
    return row(
        data["instance_id"], trial, status, float(data[options.metric]), path.name, error=error, n_turns=turns,
        judge=options.judge, f1_by_item=float(data["f1_by_item"]), f1_by_row=float(data["f1_by_row"]),
        score=float(data["score"]),
    )  # fmt: skip


def composites(run: HarnessRun, results: Sequence[ItemResult]) -> list[Composite]:
    """Compute item F1, row F1 and success rate as mean, best and worst of the trials, averaged over the questions."""
    by_task: dict[str, list[ItemResult]] = {}
    for result in results:
        by_task.setdefault(result.task_id, []).append(result)
    paths = sorted(run.folder.glob(f"*_trial_num_{run.n_trials}_summary.json"))
    summary = read_json(paths[0]) if len(paths) == 1 else {}
    whole = all_scored(run, results)
    return [
        Composite(
            f"{metric} {name}",
            mean([over([r.details[metric] for r in of_task]) for of_task in by_task.values()]) if whole else None,
            summary.get(metric, {}).get(name),
        )
        for metric in METRICS for name, over in OVER_TRIALS.items()
    ]  # fmt: skip


def commands(run: HarnessRun, options: Options) -> list[Command]:
    """Return the command of the official script, which needs search and page tools in the checkout's src/agent/tools.py."""
    if options.config_name is None:
        raise HarnessError(
            "the script needs `options.config_name`, the model's entry in src/utils/config.py of the checkout."
        )
    folder = str(run.folder.absolute())
    repository = checkout(options.launch, "WideSearch")
    return [
        Command(
            argv=(
                "python3", "scripts/run_infer_and_eval_batching.py", "--trial_num", str(run.n_trials), "--model_config_name",
                options.config_name, "--response_root", folder, "--result_save_root", folder, "--stage", "both",
                "--thread_num", str(options.launch.workers), "--use_cache",
            ),
            log="widesearch.log", cwd=repository, env={"PYTHONPATH": str(repository)},
        )
    ]  # fmt: skip


def build(options: Options) -> Adapter:
    """Build the adapter; judge and metric are part of the grader."""
    return Adapter(
        name="widesearch", version=f"1,0e664c3,{options.metric},judge {options.judge}", results="*_eval_result.json",
        read=lambda run: read(run, options), commands=lambda run: commands(run, options), launch_options=options.launch,
        needs=needs(), composites=composites,
    )  # fmt: skip
