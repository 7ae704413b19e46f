"""Read the files that official harnesses write: strict JSON, lists of items, and one row per attempt."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from replication.collect.interfaces import HarnessRun, ItemResult
from replication.errors import HarnessError
from replication.records import Json, StopReason
from replication.settings.limits import located

S = TypeVar("S")
T = TypeVar("T")

STATUSES: dict[str, StopReason] = {
    "ok": "answer", "agent_timeout": "turn_limit", "turn_limit": "turn_limit", "token_limit": "token_limit",
    "context_overflow": "context_overflow", "malformed": "malformed", "judge_failed": "answer",
    "engine_error": "engine_error", "infra_error": "environment_error", "missing": "environment_error",
}  # fmt: skip
"""Status of an attempt as `ItemResult.details` names it, and its stop reason. agent_timeout: the harness's own time limit
ended the agent, which its protocol grades. judge_failed: the attempt is complete and has no score. The last three are
failures of the set-up."""
UNSCORED = ("judge_failed", "engine_error", "infra_error", "missing")
"""Statuses without a score."""


@dataclass
class Items:
    """The items of the benchmark, by id: the fixed denominator."""

    file: str | None = located(None)  # one id per line; null: known by their number `n_tasks` only
    subset: bool = False  # results of other items are left out; false: they are a problem


class Read(NamedTuple):
    """What a folder of results holds."""

    results: list[ItemResult]
    problems: list[str]


def row(
    task_id: str,
    trial: int,
    status: str,
    value: float | None,
    source: str,
    *,
    error: str | None = None,
    cluster: str | None = None,
    tokens: tuple[int, int] = (0, 0),
    n_turns: int = 0,
    wall_s: float = 0.0,
    **details: Json,
) -> ItemResult:
    """Build the result of an attempt; one whose status has no score never gets one.

    tokens : prompt and completion. details : of the score; those that are None are left out.
    """
    return ItemResult(
        task_id=task_id, trial=trial, value=None if status in UNSCORED else value, stop_reason=STATUSES[status],
        error=error, n_turns=n_turns, n_prompt_tokens=tokens[0], n_completion_tokens=tokens[1], wall_s=wall_s,
        cluster=cluster, details={"status": status} | {k: v for k, v in details.items() if v is not None}, source=source,
    )  # fmt: skip


def read_json(path: Path) -> Json:
    """Read a JSON file; HarnessError if it is not JSON, or if an object has a key twice, of which json keeps the last."""
    return _parsed(path, path.read_bytes())


def read_json_lines(path: Path) -> list[Json]:
    """Read a file of JSON lines."""
    return [_parsed(path, line) for line in path.read_bytes().splitlines() if line.strip()]


def _parsed(path: Path, data: bytes) -> Json:
    def unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        found = dict(pairs)
        if len(found) != len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise HarnessError(f"`{path.name}` has the key `{twice}` twice; keep one of them.")
        return found

    try:
        return json.loads(data, object_pairs_hook=unique)
    except ValueError as error:
        raise HarnessError(f"`{path}` is not a JSON file in UTF-8 ({error}); write it again.") from None


def each(things: Iterable[S], read: Callable[[S], T], problems: list[str]) -> list[T]:
    """Read several files or entries; one that cannot be read, or lacks a field, becomes a problem."""
    found = []
    for thing in things:
        try:
            found.append(read(thing))
        except HarnessError as error:
            problems.append(str(error))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            place = f"{thing.parent.name}/{thing.name}" if isinstance(thing, Path) else str(thing)[:120]
            problems.append(f"{place} lacks a field or has one of another type: {error!r}")
    return found


def attempt_folders(run: HarnessRun) -> list[Path]:
    """Return the folder of each attempt: `attempt_0`, `attempt_1` ..., or the run's own folder where there is one attempt.

    Harnesses without attempts of their own reuse results in a folder, so every attempt has its own.
    """
    folders = [run.folder / f"attempt_{trial}" for trial in range(run.n_trials)]
    return [run.folder] if run.n_trials == 1 and not folders[0].is_dir() else folders


def complete(run: HarnessRun, read: Read, items: Items) -> Read:
    """Add a row without a score for every attempt that is not reported, over the items of the benchmark.

    Items that are reported at least once are known; the others only where `items.file` lists them. Without it, too few of
    them are an error of `ingest`.
    """
    results, problems = list(read.results), list(read.problems)
    known = list(dict.fromkeys(result.task_id for result in results))
    if items.file is not None:
        listed = _listed(Path(items.file), run)
        others = sorted(set(known) - set(listed))
        if others and not items.subset:
            problems.append(
                f"results of items that are not in `{items.file}`: {len(others)}, such as `{others[0]}`. Fix the list, or "
                f"set `options.items.subset` to leave them out."
            )
        results = [result for result in results if result.task_id in set(listed)]
        known = listed
    elif items.subset:
        problems.append("`options.items.subset` needs `options.items.file`, the items to keep.")
    reported = {(result.task_id, result.trial) for result in results}
    clusters = {result.task_id: result.cluster for result in results}
    results += [
        row(task_id, trial, "missing", None, "not reported", error="the harness reports no result",
            cluster=clusters.get(task_id))
        for task_id in known for trial in range(run.n_trials) if (task_id, trial) not in reported
    ]  # fmt: skip
    return Read(results, problems)


def _listed(path: Path, run: HarnessRun) -> list[str]:
    if not path.is_file():
        raise HarnessError(f"no file `{path}`, which `options.items.file` names. Write one item id per line.")
    ids = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if len(set(ids)) != len(ids) or len(ids) != run.n_tasks:
        raise HarnessError(
            f"`{path}` must list the {run.n_tasks} items of `n_tasks`, each once; it has {len(ids)} lines and "
            f"{len(set(ids))} different ids."
        )
    return ids


def sampling_problems(
    run: HarnessRun, seen: Mapping[str, Json], where: str, *, default: str | None = None
) -> list[str]:
    """Compare the sampling parameters that a harness sent with those that the study states.

    seen : temperature, top_p, top_k as far as they are known. default : what is sent where no temperature is stated; None
    leaves a missing one unchecked.
    """
    stated = {"temperature": run.spec.sampling.temperature, "top_p": run.spec.sampling.top_p}
    stated["top_k"] = run.spec.sampling.top_k
    problems = [
        f"{where} sent {name} {seen[name]}, `sampling.{name}` is {value}. Run it again, or state what was sent."
        for name, value in stated.items()
        if seen.get(name) is not None and seen[name] != value
    ]
    if seen.get("temperature") is None and default is not None:
        problems.append(
            f"{where} states no temperature, so {default} was sent, not `sampling.temperature` "
            f"{stated['temperature']}. State it in the tool's configuration."
        )
    return problems


def mean(values: Sequence[float]) -> float:
    """Average; the sequence must have a value."""
    return sum(values) / len(values)


def all_scored(run: HarnessRun, results: Sequence[ItemResult]) -> bool:
    """Tell whether every attempt is there with a score, so that a mean of the tool must agree with ours."""
    values = [result.value for result in results if result.trial < run.n_trials]
    return bool(values) and None not in values
