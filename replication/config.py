"""conf/ -> records and live objects: the one place that picks concrete parts.

Everything here takes the typed root of schemas.py, checked; nothing below this file knows Hydra or OmegaConf.
"""

from dataclasses import dataclass
from pathlib import Path

from replication import scaffolds, schemas
from replication.benchmarks import suite
from replication.errors import ConfigError
from replication.interfaces import Engine, ModelRef
from replication.records import Json, RunSpec, Sampling
from replication.runner import Job
from replication.training import loop
from replication.training.organism import Shape
from replication.training.runs import PhasePlan, TrainingRun, finished


@dataclass(frozen=True, kw_only=True)
class Served:
    """A checkpoint to evaluate, with the labels that the analysis groups by."""

    ref: ModelRef
    labels: dict[str, Json]
    tool_syntax: str = "hermes"
    """How the model writes tool calls; only scaffold `native` asks."""


def training_runs(cfg: schemas.Root) -> list[TrainingRun]:
    """List the training runs of a study: arms x scales x training seeds."""
    return [
        TrainingRun(
            arm=arm_name, scale=scale_name, training_seed=seed, shape=_shape(scale), base=_base_folder(scale),
            phases=tuple(_phase(cfg, phase) for phase in arm.phases), recipe=_recipe(cfg), device=cfg.training.device,
        )
        for seed in cfg.study.training_seeds
        for scale_name, scale in sorted(cfg.scales.items())
        for arm_name, arm in sorted(cfg.arms.items())
    ]  # fmt: skip


def bases(cfg: schemas.Root) -> list[TrainingRun]:
    """List the training runs that make the bases of the scales."""
    return [
        TrainingRun(
            arm="base", scale=name, training_seed=scale.base.seed, shape=_shape(scale), base=None,
            phases=(PhasePlan(corpus="general", benchmarks=(), n_tokens=scale.base.n_tokens, lr=scale.base.lr),),
            recipe=_recipe(cfg), device=cfg.training.device, n_tokenizer_blocks=scale.base.n_tokenizer_blocks,
        )
        for name, scale in sorted(cfg.scales.items())
    ]  # fmt: skip


def training_folder(cfg: schemas.Root, run: TrainingRun) -> Path:
    """Say where the checkpoint of a training run is."""
    return Path(cfg.paths.results) / "training" / run.name


def base_folder(scale: schemas.Scale) -> Path:
    """Say where the base of a scale is; relative paths start at the package."""
    return Path(__file__).resolve().parent / scale.base.path


def served(cfg: schemas.Root) -> list[Served]:
    """List the checkpoints of a study: organisms that are trained, and public models."""
    found = []
    for run in training_runs(cfg):
        folder = training_folder(cfg, run)
        record = finished(run, folder)
        if record is None:
            raise ConfigError(
                f"training run `{run.name}` has no finished checkpoint at `{folder}`. "
                f"Run `make train STUDY={cfg.study.name}` first."
            )
        found.append(
            Served(
                ref=ModelRef(
                    name=f"organism/{run.arm}/{run.scale}/s{run.training_seed}", path=str(folder),
                    revision=record["weights_sha256"], architecture=f"organism-{run.scale}",
                ),
                labels={"arm": run.arm, "scale": run.scale, "params_b": record["params_b"],
                        "training_seed": run.training_seed},
            )
        )  # fmt: skip
    for name, model in sorted(cfg.models.items()):
        found.append(
            Served(
                ref=ModelRef(name=name, path=model.path, revision=model.revision, architecture=model.architecture),
                labels={"arm": model.role, "scale": model.scale, "params_b": model.params_b, "training_seed": 0},
                tool_syntax=model.tool_syntax,
            )
        )
    return found


def jobs(cfg: schemas.Root, model: Served) -> list[Job]:
    """List the runs of one checkpoint: benchmarks x scaffolds."""
    found = []
    for benchmark_name, choice in sorted(cfg.benchmarks.items()):
        benchmark = suite.load(benchmark_name)
        tasks = [
            task
            for level in choice.levels
            for task in benchmark.tasks(choice.split, level, choice.n_tasks, cfg.study.seed)
        ]
        for scaffold_name, limits in sorted(cfg.scaffolds.items()):
            scaffold = scaffolds.load(scaffold_name, model.tool_syntax)
            spec = RunSpec(
                model=model.ref.name, revision=model.ref.revision, dtype=cfg.engine.dtype, context=cfg.engine.context,
                benchmark=benchmark.name, benchmark_version=benchmark.version, scaffold=scaffold.name,
                scaffold_version=scaffold.version, max_turns=limits.max_turns,
                max_episode_tokens=limits.max_episode_tokens,
                sampling=Sampling(
                    temperature=cfg.sampling.temperature, top_p=cfg.sampling.top_p, top_k=cfg.sampling.top_k,
                    max_tokens=cfg.sampling.max_tokens,
                ),
                seed=cfg.study.seed,
            )  # fmt: skip
            found.append(
                Job(
                    spec=spec, labels=model.labels, benchmark=benchmark, scaffold=scaffold, tasks=tasks,
                    n_trials=cfg.study.n_trials,
                )
            )  # fmt: skip
    return found


def engine(cfg: schemas.Root) -> Engine:
    """Build the engine; nothing is started before a checkpoint is loaded."""
    from replication.engines.vllm import VllmEngine

    e = cfg.engine
    return VllmEngine(
        device=e.device, dtype=e.dtype, context=e.context, max_num_seqs=e.max_num_seqs, kv_cache_gib=e.kv_cache_gib,
        threads=e.threads, multiprocessing=e.multiprocessing, options=dict(e.options),
    )  # fmt: skip


def _shape(scale: schemas.Scale) -> Shape:
    return Shape(
        hidden=scale.hidden, layers=scale.layers, heads=scale.heads, kv_heads=scale.kv_heads, head_dim=scale.head_dim,
        intermediate=scale.intermediate, vocabulary=scale.vocabulary, context=scale.context,
    )  # fmt: skip


def _base_folder(scale: schemas.Scale) -> str:
    return str(base_folder(scale))


def _recipe(cfg: schemas.Root) -> loop.Recipe:
    t = cfg.training
    return loop.Recipe(
        batch_tokens=t.batch_tokens, context=cfg.engine.context, warmup_share=t.warmup_share,
        decay_share=t.decay_share, adam_share=t.adam_share, weight_decay=t.weight_decay, clip=t.clip,
        save_every_s=t.save_every_s,
    )  # fmt: skip


def _phase(cfg: schemas.Root, phase: schemas.Phase) -> PhasePlan:
    if phase.domain not in ("all", "in"):
        raise ConfigError(f"`domain` of a phase is {phase.domain!r}; allowed: all, in. Mend conf/arm/.")
    chosen = tuple(
        (name, tuple(choice.levels))
        for name, choice in sorted(cfg.benchmarks.items())
        if phase.domain == "all" or choice.domain == "in"
    )
    if phase.corpus != "general" and not chosen:
        raise ConfigError(f"phase `{phase.corpus}` has no benchmark of domain `{phase.domain}` to draw from.")
    benchmarks = () if phase.corpus == "general" else chosen
    return PhasePlan(corpus=phase.corpus, benchmarks=benchmarks, n_tokens=phase.n_tokens, lr=phase.lr)
