"""Compute cost and detectable effects of a study, with every assumption and its origin."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from replication import settings
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
from replication.text import percent, plain


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Cost and precision of a study."""

    study: str
    volumes: Mapping[str, Volume]
    training: TrainingVolume
    engine_hours: float
    training_hours: float
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
    engine_hours = (prompt + completion) / found_rates.tokens_per_s / 3600
    training_hours = trained.wall_s / 3600
    components = variances(cfg, measured, assumptions)
    precision = precisions(cfg, components, n_runs_compared(cfg))
    assumptions += [
        Assumption("smallest effect of interest", percent(cfg.plan.sesoi), "given: plan.sesoi"),
        Assumption("level, power", f"{plain(cfg.analysis.level)}, {plain(cfg.analysis.power)}", "given: conf/analysis"),
        Assumption("unscored episodes", "none", "given: counted as 0 where frozen data has them"),
        Assumption("benchmarks in the joint power", "independent", "given"),
    ]
    return Plan(
        study=cfg.study.name,
        volumes=played,
        training=trained,
        engine_hours=engine_hours,
        training_hours=training_hours,
        money=money(cfg, engine_hours + training_hours, prompt, completion) if has_price(cfg) else None,
        n_runs_compared=n_runs_compared(cfg),
        variances=components.by_benchmark,
        precision=precision,
        joint_t2=joint([precision[name].power_t2 for name in cfg.benchmarks]),
        joint_t3=joint([precision[name].power_t3 for name in cfg.benchmarks]),
        allocation=allocation(cfg, components, found_rates, assumptions),
        reach=reaches(cfg, claims, published, components),
        assumptions=assumptions,
    )


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
