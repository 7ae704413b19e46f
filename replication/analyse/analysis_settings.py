"""The settings of conf/analysis as one frozen record."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from replication import settings
from replication.analyse.stats.estimates.differences import Unscored
from replication.analyse.stats.printed.families import Scenario
from replication.records import Target


class TippingDesign(NamedTuple):
    """A design at which the checkpoint SD that makes a row insignificant is searched."""

    k: float | None
    """Runs of every row; None: as stated."""
    rho: float


@dataclass(frozen=True, kw_only=True)
class AuditSettings:
    """Assumptions over which a published table is audited; `settings.Audit` explains each."""

    high_rhos: tuple[float, ...]
    same_task_iccs: tuple[float, ...]
    runs: tuple[int, ...]
    digit_runs: tuple[int, ...]
    rounded_runs: tuple[int, ...]
    fractions: tuple[float, ...]
    powers: tuple[float, ...]
    winners_curse: float
    taus: tuple[float, ...]
    tipping: Mapping[str, TippingDesign]
    scenarios: tuple[Scenario, ...]
    map_iccs: tuple[float, ...]
    map_rhos: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class AnalysisSettings:
    """Settings of every estimate; fixed before results are read."""

    level: float
    power: float
    icc: float
    rho: float
    unstated_runs: int
    unscored: tuple[Unscored, ...]
    """Policies that an outcome must survive."""
    bounds: tuple[Unscored, ...]
    """Policies whose outcome is reported in addition."""
    floor: float
    """Mean score at which an arm is at the floor of a benchmark; 1 - floor: at the ceiling."""
    sesois: tuple[float, ...]
    """Smallest effects of interest at which every verdict is repeated."""
    n_simulations: int
    """Of the A/A check."""
    simulation_seed: int
    audit: AuditSettings

    @property
    def alpha(self) -> float:
        """Two-sided error that goes with `level`, without the rounding error of 1 - level."""
        return round(1 - self.level, 12)


def from_conf(analysis: settings.Analysis) -> AnalysisSettings:
    """Freeze the group `analysis` of a composed configuration."""
    chosen = {field.name: getattr(analysis, field.name) for field in dataclasses.fields(analysis)}
    grids: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in vars(analysis.audit).items()
    }  # fmt: skip
    grids["tipping"] = {name: TippingDesign(d.k, d.rho) for name, d in analysis.audit.tipping.items()}
    grids["scenarios"] = tuple(
        Scenario(**{**vars(scenario), "target": cast(Target, scenario.target)}) for scenario in analysis.audit.scenarios
    )
    return AnalysisSettings(
        **{
            **chosen, "unscored": tuple(analysis.unscored), "bounds": tuple(analysis.bounds),
            "sesois": tuple(analysis.sesois),
            "audit": AuditSettings(**grids),
        }
    )  # fmt: skip


def default() -> AnalysisSettings:
    """Return the settings of conf/analysis/default.yaml."""
    return from_conf(settings.analysis())
