"""Play two arms by blocks of tasks, with a stopping rule that looks at their scores after each block.

The rule is statistics, so a command passes it in; `monitor=on` enables it.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Protocol

from replication import settings
from replication.collect import build, preflight, runner
from replication.collect.interfaces import Engine, ModelRef
from replication.collect.serve import Assignment, store_of
from replication.errors import ConfigError, EngineError, StoreError
from replication.files import write_json
from replication.records import Json, stable_hash
from replication.store import Store
from replication.store.locking import as_store_error

Scores = Mapping[str, list[list[float]]]
"""By run_id: per task, in the order of the task list, the scores of its trials."""

Stop = Callable[[str, Scores], str]
"""(name of a group, its scores so far) -> `continue`, or the decision that ends the group. Must be deterministic."""


class StoppingRule(Protocol):
    """A stopping rule that a command passes in."""

    @property
    def parameters(self) -> Mapping[str, Json]:
        """Return the settings, among them `block`; stored with the looks, they must be equal when the study resumes."""

    def looks(self, differences: Sequence[float]) -> list[dict[str, Json]]:
        """Return one record per look (n_tasks, decision, ...) at task differences, treatment minus control, in [-1, 1]."""


class Arms(NamedTuple):
    """The jobs of a group: those of the two arms at one scale on one benchmark."""

    treatment: list[runner.Job]
    control: list[runner.Job]


class Monitored(NamedTuple):
    """The state of a study after monitoring."""

    work: list[Assignment]
    """All runs, with the tasks up to the stop; probes are complete; arms that are not monitored may be unplayed."""
    stops: list[str]
    """One deviation, in words, per group that was stopped before its last task."""


def collect_monitored(cfg: settings.Root, work: Sequence[Assignment], rule: StoppingRule) -> Monitored:
    """Play treatment and control by blocks of tasks, at each scale and benchmark until the stopping rule ends it.

    The tasks are ordered by a hash of (study.seed, task id), so that levels are mixed. A task's difference is that of its
    means over training runs, scaffolds and trials; every episode must have a score. Looks are written to
    results/studies/<study>.monitor.json as they happen, and computed again from the store when the command resumes.
    """
    work = _in_order(cfg, work)
    by_scale = _groups(cfg, work)
    groups = {name: arms for named in by_scale.values() for name, arms in named.items()}
    path = _path(cfg)
    record = _record(cfg, groups, rule, path)
    store = store_of(cfg)
    player = _Player(cfg, work, store)

    def stop(name: str, scores: Scores) -> str:
        treatment, control = ([scores[job.spec.run_id] for job in jobs] for jobs in groups[name])
        differences = [a - b for a, b in zip(_task_means(treatment), _task_means(control), strict=True)]
        looks = rule.looks(differences)
        _record_looks(record, name, looks, path)
        return str(looks[-1]["decision"])

    try:
        for named in by_scale.values():  # scales differ in shape: one after the other
            jobs = {name: [*arms.treatment, *arms.control] for name, arms in named.items()}
            collect_in_blocks(store, jobs, block=int(rule.parameters["block"]), play_part=player.play_part, stop=stop)
    finally:
        player.close()
    for name, group in record["groups"].items():
        last = group["looks"][-1]
        print(
            f"run: {name}: {last['n_tasks']} of {group['n_planned']} tasks, e = {last['e_value']:.3g}, {last['decision']}"
        )
    return after_monitoring(cfg, work, rule)


def after_monitoring(cfg: settings.Root, work: Sequence[Assignment], rule: StoppingRule) -> Monitored:
    """Read from the record of looks which tasks each run has; ConfigError where monitoring has not ended."""
    work, path = _in_order(cfg, work), _path(cfg)
    groups = {name: arms for named in _groups(cfg, work).values() for name, arms in named.items()}
    record = _record(cfg, groups, rule, path)
    n_tasks: dict[str, int] = {}
    stops = []
    for name, group in record["groups"].items():
        last: dict[str, Json] = group["looks"][-1] if group["looks"] else {"n_tasks": 0, "decision": "continue"}
        n_tasks[name], n_planned = last["n_tasks"], group["n_planned"]
        if n_tasks[name] == n_planned:
            continue
        if last["decision"] == "continue":
            raise ConfigError(
                f"monitoring of `{name}` has not ended: {n_tasks[name]} of {n_planned} tasks are played. Run "
                f"`python -m replication run study={cfg.study.name} monitor=on` to its end first."
            )
        stops.append(
            f"`{name}` was stopped after {n_tasks[name]} of {n_planned} tasks by the sequential rule (alpha "
            f"{rule.parameters['alpha']:g}, smallest effect of interest {rule.parameters['sesoi']:g}): "
            f"{last['decision']}, evidence for {last['direction']}. Intervals for a fixed number of tasks are too narrow "
            f"after such a stop; the confidence sequence is in {path.name}."
        )
    cut = [Assignment(model, [_cut(job, model, n_tasks) for job in jobs]) for model, jobs in work]
    return Monitored(cut, stops)


class _Player:
    """Plays parts of jobs on one engine, which is started on first use."""

    def __init__(self, cfg: settings.Root, work: Sequence[Assignment], store: Store):
        self._cfg, self._work, self._store = cfg, work, store
        self._engine: Engine | None = None
        self._loaded: ModelRef | None = None

    def play_part(self, jobs: list[runner.Job]) -> int:
        """Play the missing episodes of these jobs, the loaded checkpoint first; returns the number played."""
        if self._engine is None:
            for job in jobs:
                self._store.require_unlocked(job.spec.run_id)
        engine = self._engine = self._engine or build.engine(self._cfg)
        requested, n_played = {job.spec.run_id: job for job in jobs}, 0
        for model, own in sorted(self._work, key=lambda item: item.model.ref != self._loaded):
            part = [requested[job.spec.run_id] for job in own if job.spec.run_id in requested]
            if not part:
                continue
            if model.ref != self._loaded:
                engine.load(model.ref)
                self._loaded = model.ref
                runner.require_room(self._store, engine, own)  # of all blocks, before the first is played
                preflight.check(self._store, engine, part)
            n_played += runner.collect(
                self._store, engine, part, concurrency=self._cfg.engine.concurrency, title=model.ref.name,
                limit=build.failure_limit(self._cfg), prices=build.prices(self._cfg),
            ).n_episodes  # fmt: skip
        return n_played

    def close(self) -> None:
        """Stop the engine if it was started."""
        if self._engine is not None:
            self._engine.close()


def collect_in_blocks(
    store: Store,
    groups: Mapping[str, Sequence[runner.Job]],
    *,
    block: int,
    play_part: Callable[[list[runner.Job]], int],
    stop: Stop,
) -> dict[str, int]:
    """Play groups of jobs by blocks of tasks until `stop` ends them or no task is left; returns the tasks played per group.

    groups : by name, the jobs that are compared, all with the same tasks in the same order.
    play_part : plays and stores the missing episodes of these jobs, as `runner.collect` does, swapping weights between
        checkpoints; called once per block with the incomplete jobs of all open groups, not at all when there are none.
    stop : called for every open group after each block, also for blocks played earlier: looks are computed again from
        the store, so an interrupted run gives identical ones.

    A job's tasks are those up to the end of the block, so tasks after the stop are in no manifest and no score table:
    they count as not planned, not as unscored. A look needs a score of every episode: a failed one must be played again
    first (EngineError), because counting it as 0 or leaving it out could end the study.
    """
    _check_groups(groups, block)
    n_planned = dict.fromkeys(groups, 0)
    open_groups = list(groups)
    while open_groups:
        parts = {
            name: [replace(job, tasks=job.tasks[: n_planned[name] + block]) for job in groups[name]]
            for name in open_groups
        }
        todo = [job for jobs in parts.values() for job in jobs if runner.missing(store, job)]
        if todo:
            play_part(todo)
        for name, jobs in parts.items():
            n_planned[name] = len(jobs[0].tasks)
            decision = stop(name, {job.spec.run_id: scores_so_far(store, job) for job in jobs})
            if decision != "continue" or n_planned[name] == len(groups[name][0].tasks):
                open_groups.remove(name)
    return n_planned


def scores_so_far(store: Store, job: runner.Job) -> list[list[float]]:
    """Read the scores of a job's tasks and trials by its current grader; EngineError where one has no score."""
    table = store.score_table([job.spec.run_id])
    if (table["value"].notna() & (table["grader"] != job.benchmark.grader)).any():
        runner.regrade(store, job)
        table = store.score_table([job.spec.run_id], grader=job.benchmark.grader)
    rows = table[table["value"].notna()]
    keys = zip(rows["task_id"], rows["task_hash"], rows["trial"], strict=True)
    values = dict(zip(keys, map(float, rows["value"]), strict=True))
    by_task = [[(task.id, task.content_hash, trial) for trial in range(job.n_trials)] for task in job.tasks]
    n_missing = sum(key not in values for trials in by_task for key in trials)
    if n_missing:
        raise EngineError(
            f"{n_missing} episodes of run `{job.spec.run_id}` failed and have no score, and a look needs all of a block. "
            f"Finished episodes are stored; the same command plays the rest."
        )
    return [[values[key] for key in trials] for trials in by_task]


def _check_groups(groups: Mapping[str, Sequence[runner.Job]], block: int) -> None:
    if block < 1:
        raise ConfigError(f"a block must have at least 1 task; got {block}.")
    for name, jobs in groups.items():
        orders = {tuple((task.id, task.content_hash) for task in job.tasks) for job in jobs}
        if len(orders) != 1 or () in orders:
            raise ConfigError(
                f"the jobs of group `{name}` must have the same tasks in the same order, at least one; got {len(orders)} "
                f"different lists."
            )


def _path(cfg: settings.Root) -> Path:
    return Path(cfg.paths.results) / "studies" / f"{cfg.study.name}.monitor.json"


def _groups(cfg: settings.Root, work: Sequence[Assignment]) -> dict[str, dict[str, Arms]]:
    """Group the jobs that are compared, by scale and by name `scale/benchmark`, where both arms are served."""
    groups: dict[str, dict[str, Arms]] = {}
    for model, jobs in work:
        arm, scale = model.labels.arm, model.labels.scale
        for job in jobs:
            if arm in (cfg.monitor.treatment, cfg.monitor.control) and job.spec.scaffold != "probe":
                arms = groups.setdefault(scale, {}).setdefault(f"{scale}/{job.spec.benchmark}", Arms([], []))
                (arms.control if arm == cfg.monitor.control else arms.treatment).append(job)
    complete = {scale: {name: arms for name, arms in named.items() if all(arms)} for scale, named in groups.items()}
    complete = {scale: named for scale, named in complete.items() if named}
    if not complete or cfg.monitor.treatment == cfg.monitor.control:
        raise ConfigError(
            f"no scale has the two arms `{cfg.monitor.treatment}` and `{cfg.monitor.control}` to monitor; the study serves "
            f"{', '.join(sorted({model.labels.arm for model, _ in work}))}. Name two with `monitor.treatment` and "
            f"`monitor.control`, or leave monitoring off."
        )
    return complete


def _in_order(cfg: settings.Root, work: Sequence[Assignment]) -> list[Assignment]:
    """Order the tasks of all agent runs; probes keep their order."""

    def ordered(job: runner.Job) -> runner.Job:
        if job.spec.scaffold == "probe":
            return job
        return replace(job, tasks=sorted(job.tasks, key=lambda task: stable_hash([cfg.study.seed, task.id])))

    return [Assignment(model, [ordered(job) for job in jobs]) for model, jobs in work]


def _cut(job: runner.Job, model: build.ServedModel, n_tasks: Mapping[str, int]) -> runner.Job:
    name = f"{model.labels.scale}/{job.spec.benchmark}"
    if job.spec.scaffold == "probe" or name not in n_tasks:
        return job
    return replace(job, tasks=job.tasks[: n_tasks[name]])


def _task_means(runs: Sequence[list[list[float]]]) -> list[float]:
    """Average each task's trials over runs."""
    return [math.fsum(v for trials in task for v in trials) / sum(map(len, task)) for task in zip(*runs)]


def _record(cfg: settings.Root, groups: Mapping[str, Arms], rule: StoppingRule, path: Path) -> dict[str, Json]:
    """Start the record of looks, or continue the stored one, which must have the same plan."""
    record: dict[str, Json] = {
        "study": cfg.study.name, "treatment": cfg.monitor.treatment, "control": cfg.monitor.control,
        "rule": rule.parameters, "n_trials": cfg.study.n_trials, "order_seed": cfg.study.seed,
        "groups": {
            name: {
                "n_planned": len(arms.treatment[0].tasks),
                "tasks": stable_hash([task.content_hash for task in arms.treatment[0].tasks]),
                "treatment": [job.spec.run_id for job in arms.treatment],
                "control": [job.spec.run_id for job in arms.control],
                "looks": [],
            }
            for name, arms in sorted(groups.items())
        },
    }  # fmt: skip
    if not path.exists():
        return record
    stored = json.loads(path.read_text(encoding="utf-8"))
    plan = {name: group | {"looks": []} for name, group in stored["groups"].items()}
    changed = sorted(key for key in record if record[key] != (stored | {"groups": plan}).get(key))
    if changed:
        raise ConfigError(
            f"`{path}` has looks under another plan: `{'`, `'.join(changed)}` changed. A rule must not change after a "
            "look. Restore the plan, or move the file away to start again and name it among the deviations."
        )
    return stored


def _record_looks(record: dict[str, Json], name: str, looks: list[dict[str, Json]], path: Path) -> None:
    """Store new looks; stored ones must be equal to those computed again."""
    stored = record["groups"][name]["looks"]
    for old, new in zip(stored, looks):
        if not all(
            math.isclose(old[k], new[k], rel_tol=1e-9, abs_tol=1e-12) if isinstance(new[k], float) else old[k] == new[k]
            for k in new
        ):
            raise StoreError(
                f"the look at `{name}` after {new['n_tasks']} tasks differs from the one in `{path}`: scores that it was "
                "computed from have changed since. Move the file away to start again and name it among the deviations."
            )
    if len(looks) > len(stored):
        record["groups"][name]["looks"] = [*stored, *looks[len(stored) :]]
        with as_store_error(path):
            write_json(path, record)
