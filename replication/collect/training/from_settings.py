"""Settings of conf/ as the records of a training run."""

import dataclasses

from replication import settings
from replication.collect.training import curricula
from replication.collect.training.organism import Shape
from replication.collect.training.rl import RlSettings
from replication.collect.training.runs import PhasePlan
from replication.errors import ConfigError


def shape(scale: settings.Scale) -> Shape:
    """Return the dimensions of a scale."""
    return Shape(
        hidden=scale.hidden, layers=scale.layers, heads=scale.heads, kv_heads=scale.kv_heads, head_dim=scale.head_dim,
        intermediate=scale.intermediate, vocabulary=scale.vocabulary, context=scale.context,
    )  # fmt: skip


def training_config(cfg: settings.Root) -> curricula.TrainingConfig:
    """Return the optimization settings of a study."""
    t = cfg.training
    return curricula.TrainingConfig(
        batch_tokens=t.batch_tokens, context=cfg.engine.context, warmup_tokens=t.warmup_tokens,
        decay_share=t.decay_share, adam_share=t.adam_share, weight_decay=t.weight_decay, clip=t.clip,
        precision=t.precision, compile=t.compile, save_every_s=t.save_every_s, implementation=t.implementation,
        optimizer=t.optimizer, threads=t.threads,
    )  # fmt: skip


def phase_plan(cfg: settings.Root, phase: settings.Phase, scale: settings.Scale) -> PhasePlan:
    """Return a phase with the tasks that its texts are drawn from."""
    drawn_from = tuple(
        (name, tuple(scale.levels.get(name, options.levels)))
        for name, options in ((name, choice.suite) for name, choice in sorted(cfg.benchmarks.items()))
        if options is not None and (phase.domain == "all" or options.domain == "in")
        for _ in range(options.weight)
    )
    if phase.corpus != "general" and not drawn_from:
        raise ConfigError(
            f"phase `{phase.corpus}` with `domain` {phase.domain!r} has no benchmark to draw from; the study has "
            f"{', '.join(f'`{name}`' for name in sorted(cfg.benchmarks)) or 'none'}. Add one to conf/study/."
        )
    return PhasePlan(
        corpus=phase.corpus, benchmarks=() if phase.corpus == "general" else drawn_from, n_tokens=phase.n_tokens,
        lr=phase.lr, scaffolds=tuple(sorted(cfg.scaffolds)) if phase.corpus == "episodes" else None,
        rl=_rl(cfg) if phase.corpus.startswith("predictions") else None,
    )  # fmt: skip


def _rl(cfg: settings.Root) -> RlSettings:
    return RlSettings(**dataclasses.asdict(cfg.training.rl))
