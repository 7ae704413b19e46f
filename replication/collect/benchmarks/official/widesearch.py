"""WideSearch: the evaluation of each question and trial, `{model}_{question}_{trial}_eval_result.json`.

Read with it, from the same folder:

    ..._eval_result.csv      scores and messages of every column; a failed judge is a score of 0 with a message only here
    ..._response.jsonl       the answer and the messages; no answer at all is the server's failure
    {model}_trial_num_{n}_summary.json    optional: the tool's own means, which must agree with ours

    ..._failure.json         of our driver: why an attempt has no answer

It is launched through our driver, which gives the script its model, judge and tools: see `widesearch_driver`. Then a judge
that cannot align names of columns and keys is seen as well; in results from elsewhere they are compared as written. Without
the driver the script goes on after failed requests, and takes its own error message for the answer.
"""

import contextlib
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from replication.collect.benchmarks.official import judging, launching, venvs, websearch, widesearch_driver
from replication.collect.benchmarks.official.adapter import Adapter, Composite, Needs, variant_of
from replication.collect.benchmarks.official.judging import Judging, Target
from replication.collect.benchmarks.official.launching import Command, Launch, checkout, served
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
from replication.settings.limits import limited, located, one_of

METRICS = ("f1_by_item", "f1_by_row", "score")
NAME = re.compile(r"(?P<rest>.+)_(?P<trial>[0-9]+)(?:_multi_agent)?_eval_result\.json")
OVER_TRIALS: dict[str, Callable[[Sequence[float]], float]] = {"avg_n": mean, "max_n": max, "min_n": min}
GAVE_UP = "Too many errors have occurred"
"""Of the message that src/agent/run.py at 0e664c3 adds after three failed requests, and which it may take for the answer."""
OF_TABLE = ("ParserError", "EmptyDataError")
"""Errors of reading the table of an answer, which is the model's; the tool scores 0."""
JUDGE_FAILED = "llm judge failed"
"""Start of the message that src/evaluation/metric_utils.py at 0e664c3 writes beside a score of 0."""
CLONE = "git clone https://github.com/ByteDance-Seed/WideSearch && git -C WideSearch checkout 0e664c3"
RECIPE = venvs.Recipe(name="widesearch", version="0e664c3", module="dateparser", clone=CLONE)


@dataclass
class Options:
    """Settings `options` of an entry of `ingest`."""

    items: Items = field(default_factory=Items)
    metric: str = one_of(METRICS, "f1_by_item")  # score: success rate, the whole table right
    judge: str = limited("gpt-4.1-2025-04-14")  # none: columns that it grades count 0, a lower bound
    judging: Judging = field(default_factory=Judging)
    tools: websearch.Tools = field(default_factory=websearch.Tools)
    data: str | None = located(
        None
    )  # folder with widesearch.jsonl and widesearch_gold; null: the script downloads them
    launch: Launch = field(default_factory=Launch)


def needs() -> Needs:
    """Return what a run needs."""
    return Needs(
        containers=(), images="none", keys=("key of a search service, or recordings", "key of the judge"), disk_gb=0.2,
        hours=None, network="data set, search, pages, judge: results change with the web, so what was fetched is kept",
        not_tried="the real data set, search service and judge; agent and scorer ran on a toy question with recordings and "
        "a mock judge",
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
    failure = path.with_name(f"{stem}_failure.json")
    if failure.is_file():
        failed = read_json(failure)
        status, error = FAILURES[failed["status"]], failed["error"]
    elif message == "response is None" or (lines and (text in (None, "NULL") or not str(text).strip())):
        status, error = "engine_error", "no answer was received: the tool scores it 0"
    elif GAVE_UP in str(text):
        status, error = "engine_error", "requests failed, and the tool took its own message for the answer"
    elif message.startswith("evaluator error") and any(name in message.splitlines()[-1] for name in OF_TABLE):
        status, error = "malformed", message.splitlines()[-1]
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


FAILURES = {
    "context_overflow": "context_overflow", "prompt_too_long": "engine_error", "malformed": "malformed",
    "engine_error": "engine_error", "infra_error": "infra_error",
}  # fmt: skip
"""Status of an attempt by that of the driver; the model's own failures count 0, as the tool counts a missing answer."""


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


def check(run: HarnessRun, options: Options) -> None:
    """Raise HarnessError unless judge, tools and repository are named."""
    checkout(options.launch, "WideSearch")
    judging.check(_target(options))
    if options.judging.outputs is None:
        websearch.check(options.tools, "options.tools")


def _target(options: Options) -> Target:
    return Target(options.judging, options.judge, "options.judging")


@contextlib.contextmanager
def access(run: HarnessRun, options: Options) -> Iterator[Mapping[str, str]]:
    """Start judge, tools and model; only the judge where answers are judged again."""
    with contextlib.ExitStack() as stack:
        judge = stack.enter_context(judging.gateway({options.judge: _target(options)}, run.folder, None))
        found = {"REPLICATION_JUDGE_URL": judge.address, "REPLICATION_JUDGE_KEY": judge.token}
        if options.judging.outputs is None:
            socket = stack.enter_context(launching.sockets()) / "tools"
            stack.enter_context(websearch.served(websearch.build(options.tools, run.folder), socket))
            url = stack.enter_context(launching.model(run, options.launch))
            found |= {"REPLICATION_TOOLS": str(socket), "REPLICATION_MODEL_URL": url}
        yield found


def commands(run: HarnessRun, options: Options) -> list[Command]:
    """Return the command of the driver, which calls the official script; stored answers are copied into the folder."""
    folder, again = run.folder.absolute(), options.judging.outputs is not None
    if options.judging.outputs is not None:
        _copy_answers(Path(options.judging.outputs), folder)
    parts = {
        "checkout": checkout(options.launch, "WideSearch"), "folder": folder, "stage": "eval" if again else "both",
        "judge": options.judge, "served": served(run, options.launch), "trials": run.n_trials,
        "threads": options.launch.workers, "attempts": options.judging.attempts,
        "data": Path(options.data).absolute() if options.data else "",
    }  # fmt: skip
    argv = ("python", "-P", widesearch_driver.__file__, *(f"{name}={value}" for name, value in parts.items()))
    return [Command(argv=argv, log="widesearch.log", env={"PYTHONDONTWRITEBYTECODE": "1"})]


def _copy_answers(source: Path, folder: Path) -> None:
    """Copy answers under the name that the driver gives to the model."""
    folder.mkdir(parents=True, exist_ok=True)
    answers = sorted(source.glob("*_response.jsonl"))
    if not answers:
        raise HarnessError(f"no *_response.jsonl in `{source}`, which `options.judging.outputs` names.")
    for path in answers:
        (line,) = read_json_lines(path)[:1] or [{}]
        try:
            name = f"{widesearch_driver.NAME}_{line['instance_id']}_{line['trial_idx']}_response.jsonl"
        except KeyError as error:
            raise HarnessError(f"`{path}` lacks {error}: it is no answer of WideSearch.") from None
        shutil.copyfile(path, folder / name)


def facts(run: HarnessRun, options: Options) -> Mapping[str, Json]:
    """Return where search results and pages came from."""
    if launching.state(run.folder) == "not_ours" or options.judging.outputs is not None:
        return {}
    return {"tools": {"backend": options.tools.backend, "cache": str(websearch.cache_of(options.tools, run.folder))}}


def build(options: Options) -> Adapter:
    """Build the adapter; judge and metric are part of the grader."""
    return Adapter(
        name="widesearch", version=f"1,0e664c3,{options.metric},judge {options.judge}", results="*_eval_result.json",
        read=lambda run: read(run, options), commands=lambda run: commands(run, options), launch_options=options.launch,
        needs=needs(), recipe=RECIPE, composites=composites, repeats=True, outputs=options.judging.outputs,
        variant=variant_of(options, Options(), ("judge", "metric")), check=lambda run: check(run, options),
        access=lambda run: access(run, options), facts_of=lambda run: facts(run, options),
    )  # fmt: skip
