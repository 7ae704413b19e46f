"""Builds records and live objects from conf/: the one place that picks concrete parts.

All functions take the checked root of settings; parts never see Hydra or OmegaConf.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from replication import settings
from replication.collect import benchmarks, checkpoints, engines, scaffolds
from replication.collect.accounting import Prices
from replication.collect.benchmarks import official, suite
from replication.collect.benchmarks.observation_probe import Probe
from replication.collect.benchmarks.official import venvs
from replication.collect.benchmarks.official.adapter import Needs
from replication.collect.ingest import HarnessJob, identity_of
from replication.collect.interfaces import Benchmark, Engine, HarnessRun, ModelRef, Place, Scaffold, Selection
from replication.collect.runner import FailureLimit, Job
from replication.collect.training.from_settings import phase_plan, shape, training_config
from replication.collect.training.runs import PhasePlan, TrainingRun, read_finished
from replication.collect.weights import required, sources
from replication.errors import ConfigError
from replication.records import Json, Labels, RunSpec, Sampling, Task


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """A checkpoint that an engine serves, with its labels for the analysis."""

    ref: ModelRef
    labels: Labels
    tool_syntax: str = "hermes"
    """Syntax of the model's tool calls; only scaffold `native` uses it."""


def training_runs(cfg: settings.Root) -> list[TrainingRun]:
    """List the training runs of a study: arms x scales x training seeds."""
    return [
        training_run(cfg, arm_name, scale_name, seed)
        for scale_name, scale in sorted(cfg.scales.items())
        for arm_name, arm in sorted(cfg.arms.items())
        if not arm.scales or scale_name in arm.scales
        for seed in arm.training_seeds or cfg.study.training_seeds
    ]


def training_run(cfg: settings.Root, arm: str, scale: str, training_seed: int) -> TrainingRun:
    """Describe one training of an arm at a scale."""
    dimensions = cfg.scales[scale]
    _check_scale(cfg, scale, dimensions)
    return TrainingRun(
        arm=arm, scale=scale, training_seed=training_seed, shape=shape(dimensions), base=str(base_folder(cfg, scale)),
        phases=tuple(phase_plan(cfg, phase, dimensions) for phase in cfg.arms[arm].phases), recipe=training_config(cfg),
        device=cfg.training.device, public=dimensions.checkpoint is not None,
    )  # fmt: skip


def _check_scale(cfg: settings.Root, name: str, scale: settings.Scale) -> None:
    if cfg.engine.context > scale.context:
        raise ConfigError(
            f"`engine.context` {cfg.engine.context} is more than `scales.{name}.context`, {scale.context}: organisms of "
            f"this scale have no more positions. Lower it, or choose another engine, for example engine=organism_gpu."
        )
    unknown = sorted(set(scale.levels) - set(suite.NAMES))
    if unknown:
        raise ConfigError(
            f"`scales.{name}.levels` names {unknown[0]!r}; allowed: {', '.join(suite.NAMES)}. Fix conf/levels/ or "
            f"the command line."
        )


def bases(cfg: settings.Root) -> list[TrainingRun]:
    """List the training runs of the bases, one per scale."""
    return [
        TrainingRun(
            arm="base", scale=name, training_seed=base.seed, shape=shape(cfg.scales[name]), base=None,
            phases=(PhasePlan(corpus="general", benchmarks=(), n_tokens=base.n_tokens, lr=base.lr),),
            recipe=dataclasses.replace(training_config(cfg), warmup_tokens=base.warmup_tokens), device=cfg.training.device,
            n_tokenizer_blocks=base.n_tokenizer_blocks,
        )
        for name, base in ((name, scale.base) for name, scale in sorted(cfg.scales.items()))
        if base is not None
    ]  # fmt: skip


def training_folder(cfg: settings.Root, run: TrainingRun) -> Path:
    """Return the folder of a training run's checkpoint."""
    return Path(cfg.paths.results) / "training" / run.name


def base_folder(cfg: settings.Root, scale: str) -> Path:
    """Return the folder of a scale's base, which may be missing; relative paths of our own bases start at the package."""
    base, checkpoint = cfg.scales[scale].base, cfg.scales[scale].checkpoint
    if base is not None:
        return Path(__file__).resolve().parents[1] / base.path
    assert checkpoint is not None  # `relations` requires one of the two
    return sources.folder_of(checkpoint, f"scales.{scale}.checkpoint", sources.place(cfg.paths))


def served_models(cfg: settings.Root, only: Sequence[str] = ()) -> list[ServedModel]:
    """List the checkpoints of a study: trained organisms and public models.

    only : names of the checkpoints to list; empty means all. All others may be untrained.
    """
    runs = {organism_name(run): run for run in training_runs(cfg)}
    selected = _selected(cfg, [*runs, *sorted(cfg.models)], only)
    required.require_weights(cfg, {f"models.{name}" for name in selected}, to_load=False)
    return [_trained(cfg, runs[name]) if name in runs else _public(cfg, name) for name in selected]


def _selected(cfg: settings.Root, names: Sequence[str], only: Sequence[str]) -> list[str]:
    """Return the names in `only`, or all names of the study's checkpoints; ConfigError about one that it does not have."""
    unknown = sorted(set(only) - set(names))
    if unknown:
        raise ConfigError(
            f"`serve.only` names `{'`, `'.join(unknown)}`; study `{cfg.study.name}` has the checkpoints "
            f"{', '.join(f'`{name}`' for name in names) or 'none'}. Name some of them, or leave it empty for all."
        )
    return [name for name in names if not only or name in only]


def _trained(cfg: settings.Root, run: TrainingRun) -> ServedModel:
    folder = training_folder(cfg, run)
    if read_finished(run, folder) is None:
        raise ConfigError(
            f"training run `{run.name}` has no finished checkpoint at `{folder}`. "
            f"Run `make train STUDY={cfg.study.name}` first."
        )
    return organism(run, folder)


def _public(cfg: settings.Root, name: str) -> ServedModel:
    model, at = cfg.models[name], sources.place(cfg.paths)
    path = sources.path_of(model, at)
    identity = checkpoints.identify(path, model.revision, f"models.{name}", at.lock)
    return ServedModel(
        ref=ModelRef(
            name=name, path=path, **identity._asdict(), reasoning_parser=model.reasoning_parser,
            template_options=model.template_options,
        ),
        labels=Labels(
            model=name, revision=identity.revision, arm=model.role, pair=model.pair, base=model.base, family=model.family,
            scale=model.scale, params_b=model.params_b, active_b=model.active_b,
        ),
        tool_syntax=model.tool_syntax,
    )  # fmt: skip


def require_weights(cfg: settings.Root, only: Sequence[str] = (), *, to_load: bool = True) -> None:
    """Raise ConfigError that names all public weights which are not here and which checkpoints are served or trained from,
    or the names in `only` that no checkpoint has.

    only : names of these checkpoints; empty means all. to_load : see `sources.missing`.
    """
    runs = training_runs(cfg)
    _selected(cfg, [*map(organism_name, runs), *sorted(cfg.models)], only)
    scales = {run.scale for run in runs if organism_name(run) in only}
    keys = {f"models.{name}" for name in only} | {f"scales.{name}.checkpoint" for name in scales}
    required.require_weights(cfg, keys if only else None, to_load=to_load)


def organism_name(run: TrainingRun) -> str:
    """Return the name of a training run's checkpoint, under which its scores are stored."""
    return f"organism/{run.arm}/{run.scale}/s{run.training_seed}"


def organism(run: TrainingRun, folder: Path) -> ServedModel:
    """Describe the checkpoint of a finished training run."""
    record = read_finished(run, folder)
    assert record is not None, run.name
    name = organism_name(run)
    return ServedModel(
        ref=ModelRef(
            name=name, path=str(folder), revision=record.weights_sha256, files_sha256=checkpoints.files_sha256(folder)
        ),
        labels=Labels(
            model=name, revision=record.weights_sha256, arm=run.arm, base=f"base/{run.scale}",
            family="public base" if run.public else "organism",
            scale=run.scale, params_b=record.params_b, training_seed=run.training_seed,
        ),
    )  # fmt: skip


def levels(cfg: settings.Root, benchmark: str, scale: str) -> tuple[int, ...]:
    """Return the levels of a benchmark at a scale: the calibrated ones, else the benchmark's; () if it has none."""
    options = cfg.benchmarks[benchmark].suite
    if options is None:
        return ()
    calibrated = cfg.scales[scale].levels if scale in cfg.scales else {}
    return tuple(calibrated.get(benchmark, options.levels))


def jobs(cfg: settings.Root, model: ServedModel) -> list[Job]:
    """List the agent runs of one checkpoint: benchmarks x scaffolds, without those that an official harness plays."""
    return [
        _job(
            cfg, model, _benchmark, name, scaffolds.load(scaffold, model.tool_syntax), cfg.benchmarks[name].n_tasks,
            sampling=_sampling(cfg), limits=limits, n_trials=cfg.study.n_trials,
        )
        for name, choice in sorted(cfg.benchmarks.items())
        if choice.protocol is None
        for scaffold, limits in sorted(cfg.scaffolds.items())
    ]  # fmt: skip


def probe_jobs(cfg: settings.Root, model: ServedModel) -> list[Job]:
    """List the probe runs of one checkpoint: greedy, one prediction per task."""
    if not cfg.probe.n_tasks:
        return []
    return [
        _job(
            cfg, model, _probe, name, scaffolds.load("probe"), cfg.probe.n_tasks,
            sampling=Sampling(temperature=0.0, max_tokens=cfg.probe.max_tokens),
            # A prediction is one turn, so the limit on malformed replies is not reached.
            limits=settings.Scaffold(max_turns=1, max_episode_tokens=cfg.probe.max_tokens, max_malformed=3), n_trials=1,
        )
        for name, choice in sorted(cfg.benchmarks.items())
        if choice.suite is not None
    ]  # fmt: skip


# The checkpoints of a scale play the same tasks: each list is generated once.


@functools.cache
def _benchmark(name: str) -> Benchmark:
    return benchmarks.load(name)


@functools.cache
def _probe(name: str) -> Benchmark:
    return Probe(suite.load(name), scaffolds.load("compact").write)


@functools.lru_cache(maxsize=256)
def _tasks(load: Callable[[str], Benchmark], name: str, selection: Selection) -> tuple[Task, ...]:
    return tuple(load(name).tasks(selection))


def _job(
    cfg: settings.Root,
    model: ServedModel,
    load: Callable[[str], Benchmark],
    name: str,
    scaffold: Scaffold,
    n_tasks: int,
    *,
    sampling: Sampling,
    limits: settings.Scaffold,
    n_trials: int,
) -> Job:
    benchmark = load(name)
    spec = _spec(
        cfg, model.ref, benchmark=(benchmark.name, benchmark.version), scaffold=(scaffold.name, scaffold.version),
        limits=limits, sampling=sampling,
    )  # fmt: skip
    selection = Selection(
        split=cfg.benchmarks[benchmark.name].split, n_tasks=n_tasks, seed=cfg.study.seed,
        levels=levels(cfg, benchmark.name, model.labels.scale),
    )  # fmt: skip
    return Job(
        spec=spec, labels=model.labels, benchmark=benchmark, scaffold=scaffold, tasks=_tasks(load, name, selection),
        n_trials=n_trials, episode_s=cfg.engine.episode_s,
        tool_syntax=model.tool_syntax if scaffold.name == "native" else None,
    )  # fmt: skip


def failure_limit(cfg: settings.Root) -> FailureLimit:
    """Return the share of failures that stops a run."""
    return FailureLimit(share=cfg.engine.max_failed, least=cfg.engine.min_failures)


def prices(cfg: settings.Root) -> Prices | None:
    """Return the prices of conf/plan; None if all are 0."""
    plan = cfg.plan
    tokens = (plan.price_per_million_prompt_tokens, plan.price_per_million_completion_tokens)
    if not plan.price_per_hour and not any(tokens):
        return None
    return Prices(plan.currency, plan.price_per_hour, *tokens)


def harness_jobs(cfg: settings.Root, only: Sequence[str] = ()) -> list[HarnessJob]:
    """List the runs that official harnesses collect: entries of `ingest`, for one checkpoint or for each.

    only : names of the checkpoints whose runs are listed; empty means all.
    """
    return [
        job for name, source in sorted(cfg.ingest.items()) for job in _harness_jobs(cfg, f"ingest.{name}", source, only)
    ]


def n_harness_items(cfg: settings.Root, checkpoint: str) -> int:
    """Count the attempts of one checkpoint at items of official harnesses; it may be untrained."""
    return sum(source.n_tasks * source.n_trials for source in cfg.ingest.values() if source.model in (None, checkpoint))


def harness_needs() -> dict[str, Needs]:
    """Return what each official harness needs to run, by its name."""
    return official.needs()


def harness_is_installed(name: str) -> bool | None:
    """Tell whether the environment of our lock file is installed; None if the harness has none."""
    recipe = official.recipes().get(name)
    return None if recipe is None else venvs.is_installed(recipe)


def _harness_jobs(cfg: settings.Root, key: str, source: settings.Ingest, only: Sequence[str]) -> list[HarnessJob]:
    if source.model is not None:
        if only and source.model not in only:
            return []
        if source.model not in cfg.models:
            raise ConfigError(
                f"`{key}.model` {source.model!r} is unknown; allowed: {', '.join(sorted(cfg.models)) or 'none yet'}. "
                f"Add the model to `models` of the study, or fix the name."
            )
        return [_harness_job(cfg, key, source, _public(cfg, source.model), Path(source.folder))]
    return [
        _harness_job(cfg, key, source, model, Path(source.folder) / model.labels.unit.replace("/", "-"))
        for model in served_models(cfg, only)
    ]


def _harness_job(cfg: settings.Root, key: str, source: settings.Ingest, model: ServedModel, folder: Path) -> HarnessJob:
    harness = official.load(source.harness, source.options, f"{key}.options")
    version, folder = identity_of(
        harness, source.benchmark_version, folder, dataclasses.asdict(cfg.sampling), cfg.study.seed, model.ref.revision
    )
    spec = _spec(
        cfg, model.ref, benchmark=(source.benchmark, version), scaffold=(source.scaffold, source.scaffold_version),
        limits=None, sampling=_sampling(cfg),
    )  # fmt: skip
    run = HarnessRun(spec=spec, model=model.ref, folder=folder, n_tasks=source.n_tasks, n_trials=source.n_trials)
    return HarnessJob(
        harness=harness, run=run, labels=model.labels, max_unscored=source.max_unscored, tool_syntax=model.tool_syntax
    )


def _sampling(cfg: settings.Root) -> Sampling:
    return Sampling(**dataclasses.asdict(cfg.sampling))


def _spec(
    cfg: settings.Root,
    model: ModelRef,
    *,
    benchmark: tuple[str, str],
    scaffold: tuple[str, str],
    limits: settings.Scaffold | None,
    sampling: Sampling,
) -> RunSpec:
    """Describe a run of a checkpoint.

    benchmark, scaffold : name and version.
    limits : None if an official harness sets its own.
    """
    e = cfg.engine
    return RunSpec(
        model=model.name, revision=model.revision, files_sha256=model.files_sha256, engine=e.kind, dtype=e.dtype,
        context=e.context, engine_options=engines.text_options(e.kind, e.options) | _chat_options(model),
        benchmark=benchmark[0], benchmark_version=benchmark[1],
        scaffold=scaffold[0], scaffold_version=scaffold[1], max_turns=limits.max_turns if limits else None,
        max_episode_tokens=limits.max_episode_tokens if limits else None,
        max_malformed=limits.max_malformed if limits else None, sampling=sampling, seed=cfg.study.seed,
    )  # fmt: skip


def _chat_options(model: ModelRef) -> dict[str, Json]:
    """Return the options of a model's chat format that it sets; they change its prompts or replies."""
    options = {"reasoning_parser": model.reasoning_parser, "template_options": dict(model.template_options)}
    return {name: value for name, value in options.items() if value}


def engine(cfg: settings.Root) -> Engine:
    """Build the engine; nothing is started before a checkpoint is loaded."""
    e = cfg.engine
    return engines.load(e.kind, dtype=e.dtype, context=e.context, options=e.options)


def places(cfg: settings.Root, n: int) -> Sequence[Place]:
    """Return where each of `n` engines side by side runs on this machine; ConfigError if that is impossible."""
    return engines.places(cfg.engine.kind, cfg.engine.options, n)


def native(tool_syntax: str) -> Scaffold:
    """Build the scaffold that reads a syntax of tool calls."""
    return scaffolds.load("native", tool_syntax)
