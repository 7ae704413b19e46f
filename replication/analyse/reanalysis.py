"""The reanalysis of the published numbers.

Needs no model, no store and no network: everything comes from the packaged evidence.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from replication.analyse import empirical, evidence, synthesis
from replication.analyse.analysis_settings import AnalysisSettings
from replication.analyse.rules.data import StudyData
from replication.analyse.stats.families import trend
from replication.analyse.stats.printed import matched
from replication.analyse.stats.printed.composite import Composite, composite
from replication.analyse.table_audit import Grid, PublishedTable, TableAudit
from replication.analyse.verdicts import table_claim
from replication.records import Claim

if TYPE_CHECKING:
    import pandas as pd

LEADERBOARDS = ("bfcl_v3", "bfcl_v4")
ITEMS = {"non_live": 860}
"""Independent items of the part of BFCL v4 that is itself a mean of subsets of unequal size."""

UNPREFIXED = ("fragility_map", "tipping_steps")
"""Tables of the audit whose files are named without `audit_`."""

NEWER = "Qwen3"
"""Family of general models that is newer than the bases of the agent-tuned ones."""


class Reanalysis(NamedTuple):
    """Every table of the study."""

    audit: TableAudit
    composite: Composite
    gaps: dict[str, pd.DataFrame]
    """Per leaderboard, agent minus general."""
    sensitivity: dict[str, pd.DataFrame]
    trend: trend.Trend
    band: pd.DataFrame
    newer: pd.DataFrame
    public: pd.DataFrame
    attempts: pd.DataFrame
    drift: pd.DataFrame
    unspecified: pd.DataFrame
    literature: synthesis.Synthesis | None
    """None where no claim is about the literature."""
    observed: empirical.Empirical


def table_grid(claims: Iterable[Claim], settings: AnalysisSettings) -> Grid:
    """Return the grid of the claim about the published table, at the level of the settings."""
    return dataclasses.replace(Grid(alpha=0, iccs=(), rhos=()).of(table_claim(claims)), alpha=settings.alpha)


def study_data(claims: Iterable[Claim], settings: AnalysisSettings) -> StudyData:
    """Return the packaged evidence as the data of study `reanalysis`; a collected study adds its scores to it."""
    claims = list(claims)
    scores, benchmarks = evidence.load_scores(), evidence.load_benchmarks()
    return StudyData(
        study="reanalysis", kind="reanalysis", model_pairs=evidence.load_pairs(), settings=settings,
        literature=synthesis.load(claims, settings), observed=empirical.load(),
        published=PublishedTable(scores, benchmarks, table_grid(claims, settings), settings),
    )  # fmt: skip


def analyse(
    audit: TableAudit,
    published: pd.DataFrame,
    settings: AnalysisSettings,
    literature: synthesis.Literature | None = None,
) -> Reanalysis:
    """Compute every table.

    audit : of the published table. published : the score table that it comes from. literature : what other papers found.
    """
    options: dict[str, Any] = {
        "icc": settings.icc, "rho": settings.rho, "unstated_runs": settings.unstated_runs, "level": settings.level,
    }  # fmt: skip
    pairs = evidence.load_pairs()
    gaps = {name: matched.gaps(pairs, name, "overall", **options) for name in LEADERBOARDS}
    first = gaps[LEADERBOARDS[0]]
    line = matched.size_trend(first, level=settings.level)
    sizes = np.geomspace(first["params_b"].min(), first["params_b"].max(), 60)
    return Reanalysis(
        audit=audit,
        composite=composite(published, "bfcl_v4", audit.treatment, audit.control, items=ITEMS),
        gaps=gaps,
        sensitivity={name: matched.sensitivity(pairs, name, "overall", **options) for name in LEADERBOARDS},
        trend=line,
        band=matched.size_band(line, sizes).assign(benchmark=LEADERBOARDS[0], metric="overall"),
        newer=matched.newer_general(pairs, evidence.load_general(), NEWER, **options),
        public=evidence.load_public(),
        attempts=evidence.load_attempts(),
        drift=evidence.load_drift(),
        unspecified=evidence.load_unspecified(),
        literature=None if literature is None else synthesis.synthesise(literature, audit, settings),
        observed=empirical.examine(audit, empirical.load()),
    )


def tables(r: Reanalysis) -> dict[str, pd.DataFrame]:
    """Return every table of the reanalysis by the name of its CSV file."""
    import pandas as pd

    return {
        **{name if name in UNPREFIXED else f"audit_{name}": table
           for name, table in r.audit.tables().items() if len(table) and name != "estimates"},
        "pairs": pd.concat(r.gaps.values(), ignore_index=True),
        "pairs_sensitivity": pd.concat(
            [table.assign(leaderboard=name) for name, table in r.sensitivity.items()], ignore_index=True
        ),
        "pairs_band": r.band, "newer_general": r.newer, **empirical.tables(r.observed),
        **({} if r.literature is None else synthesis.tables(r.literature)),
    }  # fmt: skip
