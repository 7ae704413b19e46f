"""What the published numbers can and cannot show: tables, and the numbers of the paper's section on them.

Needs no model, no store and no network: everything comes from the packaged evidence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from replication.analyse import evidence
from replication.analyse.stats.families import trend
from replication.analyse.stats.printed import audit, fragility, matched

if TYPE_CHECKING:
    import pandas as pd

LEADERBOARDS = ("bfcl_v3", "bfcl_v4")
WORTH = {"non_live": 860}
"""Independent items of a part of BFCL v4 that is itself a mean of subsets of unequal size."""

NEWER = "Qwen3"
"""Family of general models that is newer than the bases of the agent-tuned ones."""


class Settings(NamedTuple):
    """What is fixed in conf/analysis and conf/claim."""

    icc: float
    rho: float
    unstated_runs: int
    level: float


class Reanalysis(NamedTuple):
    """Every table of the study."""

    audit: audit.Report
    surface: pd.DataFrame
    """p of every row over a fine grid of icc and rho."""
    tipping: pd.DataFrame
    """Rows that hold, over a fine grid of checkpoint SDs."""
    composite: audit.Composite
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


def analyse(rows: pd.DataFrame, published: pd.DataFrame, arms: tuple[str, str], settings: Settings) -> Reanalysis:
    """Compute every table.

    rows : published rows as `audit.compare` returns them. published : the table they come from. arms : treatment, control.
    """
    icc, rho, runs, level = settings
    how = {"icc": icc, "rho": rho, "unstated_runs": runs, "level": level}
    pairs = evidence.load_pairs()
    gaps = {name: matched.gaps(pairs, name, "overall", **how) for name in LEADERBOARDS}
    first = gaps[LEADERBOARDS[0]]
    line = matched.size_trend(first, level=level)
    sizes = np.geomspace(first["params_b"].min(), first["params_b"].max(), 60)
    read = audit.report(rows, icc=icc, rho=rho, alpha=1 - level)
    return Reanalysis(
        audit=read,
        surface=fragility.surface(rows, level=level),
        tipping=fragility.tipping_steps(rows, read.tipping["stated runs"].max(), icc=icc, rho=rho, alpha=1 - level),
        composite=audit.composite(published, "bfcl_v4", *arms, items=WORTH),
        gaps=gaps,
        sensitivity={name: matched.sensitivity(pairs, name, "overall", **how) for name in LEADERBOARDS},
        trend=line,
        band=matched.size_band(line, sizes).assign(benchmark=LEADERBOARDS[0], metric="overall"),
        newer=matched.newer_general(pairs, evidence.load_general(), NEWER, **how),
        public=evidence.load_public(),
        attempts=evidence.load_attempts(),
        drift=evidence.load_drift(),
        unspecified=evidence.load_unspecified(),
    )


def tables(r: Reanalysis) -> dict[str, pd.DataFrame]:
    """Name the tables that are written beside the figures."""
    import pandas as pd

    return {
        **{f"audit_{name}": table for name, table in r.audit._asdict().items() if len(table)},
        "pairs": pd.concat(r.gaps.values(), ignore_index=True),
        "pairs_sensitivity": pd.concat(
            [table.assign(leaderboard=name) for name, table in r.sensitivity.items()], ignore_index=True
        ),
        "fragility_map": r.surface, "tipping_steps": r.tipping, "pairs_band": r.band, "newer_general": r.newer,
    }  # fmt: skip
