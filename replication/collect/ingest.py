"""Check the results of an official harness and store them like those of any other run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeGuard

from replication.collect.interfaces import DescribedHarness, Harness, HarnessRun, ItemResult, ServedHarness
from replication.errors import HarnessError, StoreError
from replication.masking import masked
from replication.records import UNSCORED_REASONS, Episode, Json, Labels, RepeatCheck, Score, Task, stable_hash
from replication.store import Store

MAX_LISTED = 10
"""Most problems that an error message lists."""

NO_REPEATS = RepeatCheck(
    n_tasks_repeated=0, n_tasks_where_trials_differ=0, n_seeds=0, n_distinct_seeds=0, as_expected=True
)
"""The check of repeated trials compares texts and seeds; a harness reports neither."""


@dataclass(frozen=True, kw_only=True)
class HarnessJob:
    """A run that a harness collects, with the labels of its checkpoint."""

    harness: Harness
    run: HarnessRun
    labels: Labels
    max_unscored: float
    """Share of attempts without a score above which nothing is stored."""
    tool_syntax: str = "hermes"
    """Syntax of the checkpoint's tool calls, for the server that it is launched against."""


class Ingested(NamedTuple):
    """Counts of one call of `ingest`."""

    n_added: int
    """Attempts that were new in the store, or had no score there."""
    n_unscored: int
    """Attempts of the whole run without a score."""


class Identity(NamedTuple):
    """What tells two runs of one harness and checkpoint apart."""

    benchmark_version: str
    folder: Path


def identity_of(harness: Harness, version: str, folder: Path, *settings: Json) -> Identity:
    """Return the version of the benchmark and the folder of a run.

    A variant, such as another judge, is added to the version, so that its scores are another run's. A harness that is
    launched against the study's server has a folder for all `settings` that change its results, since it takes what it
    finds there for its own.
    """
    if isinstance(harness, DescribedHarness):
        version += f"+{harness.variant}" if harness.variant else ""
    return Identity(version, folder / stable_hash([version, *settings], 8) if is_served(harness) else folder)


def is_served(harness: Harness) -> TypeGuard[ServedHarness]:
    """Tell whether a harness is launched against the server of the study's engine."""
    return isinstance(harness, ServedHarness) and harness.is_served


def ingest(store: Store, job: HarnessJob) -> Ingested:
    """Prepare and launch a harness, check all its results, then store those that are missing.

    Nothing is written before every check has passed. Results are resumed by identity: stored ones are kept, attempts
    that failed are replaced, and a score that differs from the stored one raises StoreError.
    """
    run, harness = job.run, job.harness
    harness.prepare(run)
    harness.launch(run)
    _raise_if_any(f"results of harness `{harness.name}` in `{run.folder}`", harness.validate(run))
    results = harness.ingest(run)
    _check(job, results)
    grader = f"{harness.name}-{harness.version}"
    stored = _stored(store, run.spec.run_id)
    _check_unchanged(run, grader, stored, results)
    clusters = {result.task_id: result.cluster for result in results}
    tasks = {task_id: _task(run, task_id, clusters[task_id]) for task_id in sorted(clusters)}
    facts: dict[str, Json] = {"engine": "harness", "harness": harness.name, "version": harness.version}
    if isinstance(harness, DescribedHarness):
        facts |= harness.facts(run)
    n_added = 0
    with store.writer(run.spec, job.labels, facts, list(tasks.values())) as writer:
        for result in sorted(results, key=lambda result: (result.task_id, result.trial)):
            episode = _episode(run, tasks[result.task_id], result)
            score = Score.of(episode, grader, result.value, masked(result.details))
            old = stored.get((result.task_id, result.trial))
            if old is None or (old.failed and result.stop_reason not in UNSCORED_REASONS):
                writer.append(episode, score)
            elif result.value is not None and (old.value is None or old.grader != grader):
                writer.append_score(score)
            else:
                continue
            n_added += 1
    store.record(run.spec.run_id, repeats=NO_REPEATS)
    return Ingested(n_added, sum(result.value is None for result in results))


def _check(job: HarnessJob, results: Sequence[ItemResult]) -> None:
    """Check that all trials of all items are reported, each once, and enough of them with a score."""
    run = job.run
    subject = f"results of harness `{job.harness.name}` for run `{run.spec.run_id}`"
    sources: dict[tuple[str, int], list[str]] = {}
    for result in results:
        sources.setdefault((result.task_id, result.trial), []).append(result.source)
    repeated = [
        f"item `{task_id}`, trial {trial}, is reported more than once: {', '.join(places)}"
        for (task_id, trial), places in sources.items()
        if len(places) > 1
    ]
    if repeated:
        raise StoreError(
            _listed(f"{subject} cannot be used, and nothing was stored; keep one row per item and trial", repeated)
        )
    problems = [
        f"{result.source}: a score must be in [0, 1] or None, and None if the attempt ended in "
        f"{' or '.join(UNSCORED_REASONS)}; got {result.value!r} after {result.stop_reason}"
        for result in results
        if result.value is not None and (not 0 <= result.value <= 1 or result.stop_reason in UNSCORED_REASONS)
    ]
    trials: dict[str, list[int]] = {}
    for task_id, trial in sorted(sources):
        trials.setdefault(task_id, []).append(trial)
    if len(trials) != run.n_tasks:
        problems.append(
            f"{len(trials)} items where `n_tasks` is {run.n_tasks}. An item that was not run must be listed without a score."
        )
    problems += [
        f"item `{task_id}` must have the trials 0 to {run.n_trials - 1}; it has {', '.join(map(str, numbers))}"
        for task_id, numbers in trials.items()
        if numbers != list(range(run.n_trials))
    ]
    n_unscored = sum(result.value is None for result in results)
    if results and n_unscored > job.max_unscored * len(results):
        problems.append(
            f"{n_unscored} of {len(results)} attempts have no score, more than `max_unscored` {job.max_unscored:g}: "
            "a server was probably down. Run them again, or raise the limit."
        )
    elif results and n_unscored == len(results):
        problems.append("no attempt has a score, so there is nothing to analyse. Run them again.")
    _raise_if_any(subject, problems)


class _StoredAttempt(NamedTuple):
    value: float | None
    grader: str | None
    failed: bool


def _stored(store: Store, run_id: str) -> dict[tuple[str, int], _StoredAttempt]:
    """Read the stored attempts of a run by task and trial; empty if it was never ingested."""
    if run_id not in store.runs():
        return {}
    table = store.score_table([run_id])
    values = table["value"].astype(object).where(table["value"].notna(), None)
    return {
        (task_id, int(trial)): _StoredAttempt(value, grader, stop_reason in UNSCORED_REASONS)
        for task_id, trial, value, grader, stop_reason in zip(
            table["task_id"], table["trial"], values, table["grader"], table["stop_reason"], strict=True
        )
    }


def _check_unchanged(
    run: HarnessRun, grader: str, stored: Mapping[tuple[str, int], _StoredAttempt], results: Sequence[ItemResult]
) -> None:
    changed = []
    for result in results:
        old = stored.get((result.task_id, result.trial))
        if old and old.value is not None and old.grader == grader and old.value != result.value:
            changed.append(
                f"{result.source}: item `{result.task_id}`, trial {result.trial}, is {result.value}, stored is {old.value}"
            )
    if changed:
        subject = (
            f"run `{run.spec.run_id}` has other scores in the store. Results of another run need another `study.seed`; or "
            f"move the run's folder away to replace it"
        )
        raise StoreError(_listed(subject, changed))


def _raise_if_any(subject: str, problems: Sequence[str]) -> None:
    if problems:
        raise HarnessError(_listed(f"{subject} cannot be used, and nothing was stored", problems))


def _listed(subject: str, problems: Sequence[str]) -> str:
    more = [f"... and {len(problems) - MAX_LISTED} more"] if len(problems) > MAX_LISTED else []
    return "\n  ".join([f"{subject}:", *problems[:MAX_LISTED], *more])


def _task(run: HarnessRun, task_id: str, cluster: str | None) -> Task:
    """Return the task of an item; its content is unknown, so its id and the benchmark's version identify it."""
    setup = {"benchmark": run.spec.benchmark, "version": run.spec.benchmark_version, "item": task_id}
    attributes = {} if cluster is None else {"cluster": cluster}
    return Task(
        id=task_id, benchmark=run.spec.benchmark, prompt="", tools=(), setup=setup, attributes=attributes
    )  # fmt: skip


def _episode(run: HarnessRun, task: Task, result: ItemResult) -> Episode:
    return Episode(
        run_id=run.spec.run_id, task_id=task.id, task_hash=task.content_hash, trial=result.trial,
        trajectory=result.trajectory, stop_reason=result.stop_reason, error=masked(result.error), n_turns=result.n_turns,
        n_malformed=0, n_prompt_tokens=result.n_prompt_tokens, n_completion_tokens=result.n_completion_tokens, seeds=(),
        wall_s=result.wall_s,
    )  # fmt: skip
