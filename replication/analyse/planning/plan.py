"""Compute cost and detectable effects of a study, with every assumption and its origin."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from replication import settings
from replication.analyse.planning import memory
from replication.analyse.planning.designs import Allocation, allocation
from replication.analyse.planning.measurements import Measurements, Variances
from replication.analyse.planning.precision import (
    Precision,
    is_trained,
    joint,
    n_runs_compared,
    precisions,
    scales_compared,
    variances,
)
from replication.analyse.planning.reach import Reach, reaches
from replication.analyse.planning.volume import (
    Assumption,
    Counts,
    TrainingVolume,
    Volume,
    has_price,
    money,
    rates,
    training_volume,
    volumes,
)
from replication.analyse.rules.data import StudyData
from replication.errors import ConfigError
from replication.records import Claim
from replication.text import percent, plain, scientific


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Cost and precision of a study."""

    study: str
    volumes: Mapping[str, Volume]
    training: TrainingVolume
    engine_hours: float
    """Wall time of one engine that plays everything."""
    gpu_hours: float
    """The same, each hour times the GPUs of the engine; on the CPU equal to `engine_hours`."""
    training_hours: float
    needs: Mapping[str, memory.Need]
    """What each public checkpoint takes."""
    model_hours: Mapping[str, float]
    """Wall time of an engine for each public checkpoint."""
    disk_gb: float
    """Published weights and stored episodes, 10**9 bytes."""
    money: float | None
    """None without a price."""
    n_runs_compared: int
    variances: Mapping[str, Variances]
    precision: Mapping[str, Precision]
    joint_t2: float | None
    joint_t3: float | None
    allocation: Allocation
    reach: Sequence[Reach]
    """Of each claim whose arms the study has."""
    assumptions: Sequence[Assumption]


def plan(
    cfg: settings.Root, counts: Counts, measured: Measurements, claims: Sequence[Claim], published: StudyData
) -> Plan:
    """Compute the plan of a study; measured quantities replace those assumed in conf/plan.

    published : the printed table, for what the rules of the claims can reach.
    """
    assumptions: list[Assumption] = []
    found_rates = rates(cfg, counts, measured, assumptions)
    played, trained = volumes(cfg, counts, found_rates), training_volume(counts, found_rates)
    prompt, completion = (sum(volume[i] for volume in played.values()) for i in (2, 3))
    tokens = (prompt + completion) / max(counts.n_checkpoints, 1)
    organism_hours = len(counts.training_runs) * tokens / found_rates.tokens_per_s / 3600
    model_hours = {
        name: memory.seconds(cfg, model, tokens, found_rates.tokens_per_s) / 3600
        for name, model in sorted(cfg.models.items())
    }
    needs = {name: memory.need(cfg, cfg.models[name]) for name in model_hours}
    gpu_hours = organism_hours * memory.gpus_of(cfg, None) + sum(
        h * needs[name].gpus for name, h in model_hours.items()
    )
    training_hours = trained.wall_s / 3600
    components = variances(cfg, measured, assumptions)
    precision = precisions(cfg, components, n_runs_compared(cfg))
    assumptions += [
        *_of_models(cfg),
        Assumption("smallest effect of interest", percent(cfg.plan.sesoi), "given: plan.sesoi"),
        Assumption("level, power", f"{plain(cfg.analysis.level)}, {plain(cfg.analysis.power)}", "given: conf/analysis"),
        Assumption("unscored episodes", "none", "given: counted as 0 where frozen data has them"),
        Assumption("benchmarks in the joint power", "independent", "given"),
    ]
    return Plan(
        study=cfg.study.name,
        volumes=played,
        training=trained,
        engine_hours=organism_hours + sum(model_hours.values()),
        gpu_hours=gpu_hours,
        training_hours=training_hours,
        needs=needs,
        model_hours=model_hours,
        disk_gb=_disk_gb(cfg, needs, sum(volume.episodes + volume.predictions for volume in played.values())),
        money=money(cfg, gpu_hours + training_hours, prompt, completion) if has_price(cfg) else None,
        n_runs_compared=n_runs_compared(cfg),
        variances=components.by_benchmark,
        precision=precision,
        joint_t2=joint([precision[name].power_t2 for name in cfg.benchmarks]),
        joint_t3=joint([precision[name].power_t3 for name in cfg.benchmarks]),
        allocation=allocation(cfg, components, found_rates, assumptions),
        reach=reaches(cfg, claims, published, components),
        assumptions=assumptions,
    )


def _of_models(cfg: settings.Root) -> list[Assumption]:
    if not cfg.models:
        return []
    speed = "all models at the tokens per second above"
    if cfg.plan.flops_per_s is not None:
        speed = f"{scientific(cfg.plan.flops_per_s)} FLOP/s, 2 per active parameter and token, at most the rate above"
    return [
        Assumption("speed of a GPU", speed, "given: plan.flops_per_s"),
        Assumption("memory of a GPU", f"{plain(cfg.plan.gpu_memory_gib)} GiB", "given: plan.gpu_memory_gib"),
        Assumption("stored episode", f"{plain(cfg.plan.kib_per_episode)} KiB", "given: plan.kib_per_episode"),
    ]


def _disk_gb(cfg: settings.Root, needs: Mapping[str, memory.Need], n_episodes: int) -> float:
    return sum(one.download_gb for one in needs.values()) + n_episodes * cfg.plan.kib_per_episode * 1024 / 1e9


def validate(cfg: settings.Root) -> None:
    """Check that the study has the two arms of the plan; raises ConfigError."""
    p = cfg.plan
    roles = sorted({*cfg.arms, *(model.role for model in cfg.models.values())})
    for key in ("treatment", "control"):
        if getattr(p, key) not in roles:
            raise ConfigError(
                f"`plan.{key}` is {getattr(p, key)!r}; allowed: {', '.join(roles) or 'none, the study compares nothing'}. "
                f"State two of them as `plan: {{treatment: ..., control: ...}}` in the study's file, or on the command line."
            )
    if p.treatment == p.control:
        raise ConfigError(f"`plan.treatment` and `plan.control` are both {p.control!r}; name two arms.")
    if is_trained(cfg) and p.max_runs < 2:
        raise ConfigError(f"`plan.max_runs` must be at least 2 for trained arms (T3); got {p.max_runs}.")
    if not scales_compared(cfg):
        raise ConfigError(
            f"no scale has both `{p.treatment}` and `{p.control}`; choose plan.treatment and plan.control that share one."
        )
