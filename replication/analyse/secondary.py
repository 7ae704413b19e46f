"""Secondary analyses of a study: spread, A/A check, other methods, single scales, probe and training curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from replication.analyse.tables import aa, probe, second_opinions, seeds
from replication.analyse.tables.probe import Correlation, correlation_within
from replication.analyse.tables.summaries import smoothed
from replication.analyse.verdicts import ScaleVerdict, per_scale
from replication.errors import AnalysisError

if TYPE_CHECKING:
    from replication.analyse.rules.data import StudyData
    from replication.records import Claim
    from replication.store.frozen import Frozen

N_CURVE_POINTS = 40
"""Points of a smoothed training curve."""


class ProbeCorrelation(NamedTuple):
    """Correlation of the probe's accuracy with the agent score over training runs."""

    domain: str
    """in, out or all."""
    within: str
    """Grouping whose means are subtracted: scale, or arm and scale."""
    metric: str
    """token_f1 or exact."""
    result: Correlation | str
    """The correlation, or the reason why it is undefined."""


@dataclass(frozen=True, kw_only=True)
class SecondaryAnalyses:
    """Results that the paper reports in addition to verdicts and estimates."""

    spread: pd.DataFrame
    """Test of equal spread over training runs, per scale and benchmark."""
    aa: pd.DataFrame
    """Rate at which an arm differs significantly from itself."""
    second_opinions: pd.DataFrame
    """Each benchmark's difference by other methods, for every comparison."""
    per_scale: list[ScaleVerdict]
    probe_runs: pd.DataFrame | None
    """Accuracy as a world model and score as an agent, per training run and domain; None if no run has both."""
    probe_correlations: list[ProbeCorrelation]
    curves: pd.DataFrame | None
    """Training curves smoothed for drawing; None where nothing was trained."""


def run_secondary_analyses(
    claims: Sequence[Claim], data: StudyData, frozen: Frozen, comparisons: Sequence[tuple[str, str]]
) -> SecondaryAnalyses:
    """Run every secondary analysis; `comparisons` are the (treatment, control) that have estimates."""
    settings = data.settings
    runs = None
    if frozen.probe is not None:
        runs = probe.run_table(frozen.scores, frozen.probe, frozen.about.domains)
        runs = None if runs[["token_f1", "score"]].dropna().empty else runs
    return SecondaryAnalyses(
        spread=seeds.equal_spread(seeds.run_scores(frozen.scores)),
        aa=aa.check(
            frozen.scores, level=settings.level, n_simulations=settings.n_simulations,
            rng=np.random.default_rng(settings.simulation_seed),
        ),
        second_opinions=_second_opinions(data, comparisons),
        per_scale=per_scale(claims, data),
        probe_runs=runs,
        probe_correlations=[] if runs is None else _probe_correlations(runs, settings.level),
        curves=_smallest_first(smoothed(frozen.curves, n_points=N_CURVE_POINTS), frozen.training)
        if len(frozen.curves)
        else None,
    )  # fmt: skip


def _second_opinions(data: StudyData, comparisons: Sequence[tuple[str, str]]) -> pd.DataFrame:
    settings = data.settings
    parts = [
        second_opinions.table(
            data.scores, *comparison, level=settings.level, rng=np.random.default_rng(settings.simulation_seed)
        )
        for comparison in comparisons
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def _probe_correlations(runs: pd.DataFrame, level: float) -> list[ProbeCorrelation]:
    """Correlate within scales and within arms and scales, for each domain and metric."""
    groups = {"scale": runs["scale"], "arm and scale": runs["arm"] + " " + runs["scale"]}
    correlations = []
    for domain in [domain for domain in ("in", "out", "all") if domain in set(runs["domain"])]:
        here = runs["domain"] == domain
        for within, group in groups.items():
            for metric in ("token_f1", "exact"):
                result: Correlation | str
                try:
                    result = correlation_within(runs[here][metric], runs[here]["score"], group[here], level=level)
                except AnalysisError as error:
                    result = str(error)
                correlations.append(ProbeCorrelation(domain, within, metric, result))
    return correlations


def _smallest_first(curves: pd.DataFrame, training: pd.DataFrame) -> pd.DataFrame:
    """Sort curves by the number of parameters of their scale."""
    sizes = training.groupby("scale")["params_b"].first()
    return curves.sort_values("scale", key=lambda scales: scales.map(sizes), kind="stable", ignore_index=True)
