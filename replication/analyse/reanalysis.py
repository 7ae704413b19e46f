"""The reanalysis of the published numbers: its data, its tables, and the numbers of the paper's section on them.

Needs no model, no store and no network: everything comes from the packaged evidence.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from replication.analyse import evidence
from replication.analyse.analysis_settings import AnalysisSettings
from replication.analyse.rules.data import StudyData
from replication.analyse.stats.families import trend
from replication.analyse.stats.printed import matched
from replication.analyse.stats.printed.composite import Composite, composite
from replication.analyse.stats.two_studies.sceptical import threshold_z
from replication.analyse.table_audit import Grid, PublishedTable, TableAudit
from replication.analyse.verdicts import table_claim
from replication.records import Claim, Json
from replication.text import bounds, correlation, fixed, interval, p_value, percent, signed, size

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


def study_data(claims: Iterable[Claim], settings: AnalysisSettings) -> StudyData:
    """Return the packaged evidence as the data of study `reanalysis`; a collected study adds its scores to it."""
    claim = table_claim(claims)
    grid = Grid(alpha=settings.alpha, iccs=(), rhos=()).of(claim)
    table = PublishedTable(
        evidence.load_scores(), evidence.load_benchmarks(), dataclasses.replace(grid, alpha=settings.alpha), settings
    )
    return StudyData(
        study="reanalysis", kind="reanalysis", published=table, model_pairs=evidence.load_pairs(), settings=settings
    )


def analyse(audit: TableAudit, published: pd.DataFrame, settings: AnalysisSettings) -> Reanalysis:
    """Compute every table.

    audit : of the published table. published : the score table that it comes from.
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
    )


def tables(r: Reanalysis) -> dict[str, pd.DataFrame]:
    """Name the tables that are written beside the figures."""
    import pandas as pd

    return {
        **{name if name in UNPREFIXED else f"audit_{name}": table
           for name, table in r.audit.tables().items() if len(table) and name != "estimates"},
        "pairs": pd.concat(r.gaps.values(), ignore_index=True),
        "pairs_sensitivity": pd.concat(
            [table.assign(leaderboard=name) for name, table in r.sensitivity.items()], ignore_index=True
        ),
        "pairs_band": r.band, "newer_general": r.newer,
    }  # fmt: skip


def numbers(r: Reanalysis, settings: AnalysisSettings) -> dict[str, Json]:
    """Print every number of the section, rounded here and nowhere else."""
    a = r.audit
    return {
        "rows": [_row(r, settings, i) for i in range(len(a.rows))],
        "golden_z": fixed(float(threshold_z(0.025)), 2),
        "digits": _digits(r),
        "scenarios": [
            {
                "name": row.scenario, "n_raw": row.n_raw, "n_holm": row.n_holm, "iut_p": p_value(row.iut_p),
                "repeat_positive": correlation(row.repeat_all_positive),
                "repeat_significant": correlation(row.repeat_all_significant),
            }
            for row in a.scenarios.itertuples()
        ],
        "tipping": [
            {"tau": fixed(100 * row.tau, 2), "n_raw": row.n_raw, "n_holm": row.n_holm, "iut_p": p_value(row.iut_p)}
            for row in a.tipping_curve.itertuples()
        ],
        "composite": _composite(r.composite),
        "pairs": {name: _pairs(r, name) for name in LEADERBOARDS},
        "trend": {
            "slope": interval(r.trend.slope, r.trend.low, r.trend.high), "p": p_value(r.trend.p_two_sided),
            "largest": size(float(r.band["params_b"].iloc[-1])),
            "at_largest": interval(*(float(r.band[c].iloc[-1]) for c in ("value", "low_all", "high_all"))),
        },
        "newer": _newer(r),
        "public": _public(r.public),
        "attempts": {
            "n": int(r.attempts["attempt"].nunique()),
            "n_replicating": int((r.attempts["replicates_table9"] == "yes").sum()),
        },
        "drift": [
            {"id": row.id, "claim": row.claim, "paper": row.paper, "press": row.press, "drift": row.drift,
             "needed": row.needed or "nothing", "exists": row.exists}
            for row in r.drift.itertuples()
        ],
        "unspecified": _unspecified(r),
    }  # fmt: skip


def _row(r: Reanalysis, settings: AnalysisSettings, i: int) -> dict[str, Json]:
    a = r.audit
    name = a.rows["name"].iloc[i]
    one, repeat = a.one_run.iloc[i], a.replication.iloc[i]
    tipping = a.tipping.iloc[i]["stated runs"]
    needed = a.required[(a.required["name"] == name) & (a.required["fraction"] == 1) & (a.required["power"] == 0.8)]
    needed = needed[needed["rho"] == settings.rho].iloc[0]
    turning = a.turning[(a.turning["name"] == name) & (a.turning["icc"] == settings.icc)]["rho"].iloc[0]
    goal = "power never reached"
    if repeat["possible"] and not np.isnan(repeat["c_for_goal"]):
        goal = f"at {fixed(repeat['c_for_goal'], 2)} times the original's precision"
    elif not repeat["possible"]:
        goal = "impossible at any size"
    return {
        "name": name, "delta": signed(one["delta"]), "p_one_run": p_value(one["p_two_sided"]),
        "newcombe": bounds(one["newcombe_low"], one["newcombe_high"]), "mde": percent(one["mde80"]),
        "power": correlation(one["power"]), "exaggeration": fixed(one["exaggeration"], 1),
        "type_s": percent(one["type_s"], 0),
        "floor": percent(needed["mde_floor"]), "n_at_stated": int(needed["n_at_k1"]), "n_at_k5": int(needed["n_at_k5"]),
        "tipping": fixed(100 * tipping, 1), "turning_rho": correlation(turning) if turning else "0",
        "z_o": fixed(repeat["z"], 2), "shrunk": signed(repeat["shrunk"]), "theta_33": percent(repeat["theta_33"]),
        "repeat": bounds(repeat["repeat_low"], repeat["repeat_high"]), "size_for_success": goal,
    }  # fmt: skip


def _digits(r: Reanalysis) -> dict[str, Json]:
    binary = r.audit.digits[(r.audit.digits["score_type"] == "binary")]
    stated = binary[binary["stated"]]
    fewer = binary[(binary["k"] == 1)]
    return {
        "n": len(stated),
        "n_half_up": int(stated["half_up"].map(bool).sum()),
        "n_any": int((stated["half_up"].map(bool) | stated["truncated"].map(bool)).sum()),
        "n_single_run": int((fewer["half_up"].map(bool) | fewer["truncated"].map(bool)).sum()),
        "rows": [
            {
                "name": row.name, "arm": row.arm, "printed": row.printed, "k": row.k, "total": row.n_tasks * row.k,
                "rounded": ", ".join(map(str, row.half_up)) or "none",
                "truncated": ", ".join(map(str, row.truncated)) or "none",
                "chance": correlation(row.p0),
            }
            for row in stated.itertuples(index=False)
        ],
    }  # fmt: skip


def _composite(c: Composite) -> dict[str, Json]:
    return {
        "fits": c.printed_fit, "se_items": percent(c.se_items, 2), "se_clusters": percent(c.se_clusters, 2),
        "n_eff_items": round(c.n_eff_items), "n_eff_clusters": round(c.n_eff_clusters),
        "parts": [
            {"part": row.part, "delta": signed(row.delta), "weight": correlation(row.weight), "n": int(row.n_clusters),
             "p": p_value(row.p_clusters), "share": percent(row.share, 0)}
            for row in c.parts.itertuples()
        ],
    }  # fmt: skip


def _pairs(r: Reanalysis, name: str) -> dict[str, Json]:
    table, choices = r.gaps[name], r.sensitivity[name]
    overall = choices.iloc[0]
    means = choices.dropna(subset="mean")
    return {
        "n": len(table), "n_families": int(overall["n_families"]), "n_above": int(overall["n_above"]),
        "mean": interval(overall["mean"], overall["low"], overall["high"]),
        "prediction": bounds(overall["prediction_low"], overall["prediction_high"]),
        "smallest": signed(means["mean"].min()), "largest": signed(means["mean"].max()), "n_choices": len(means) - 1,
        "n_choices_above": int((means["low"].iloc[1:] > 0).sum()),
        "n_read_bases": int((table["base_identity"] == "read").sum()),
        "choices": [
            {"choice": row.choice, "n": row.n_pairs,
             "mean": interval(row.mean, row.low, row.high) if row.mean == row.mean else row.reason}
            for row in choices.itertuples()
        ],
    }  # fmt: skip


def _newer(r: Reanalysis) -> dict[str, Json]:
    outcome = r.newer["outcome"]
    return {
        "family": NEWER, "n": len(outcome), "n_agent": int((outcome == "agent above").sum()),
        "n_general": int((outcome == "general above").sum()), "n_unresolved": int((outcome == "unresolved").sum()),
    }  # fmt: skip


def _public(public: pd.DataFrame) -> dict[str, Json]:
    both = public.dropna(subset=["sft", "lwm_rl"])
    both = both[both["metric"] != "unknown"]
    benchmarks = both["benchmark"].nunique()
    best = both.groupby("benchmark")[["value", "sft", "lwm_rl"]].max()
    return {
        "model": str(public["model"].iloc[0]), "n": int(benchmarks),
        "n_above_sft": int((best["value"] > best["sft"]).sum()), "n_above_lwm": int((best["value"] > best["lwm_rl"]).sum()),
        "rows": [
            {"benchmark": row.benchmark, "where": row.published_in, "value": percent(row.value), "sft": percent(row.sft, 2),
             "lwm_rl": percent(row.lwm_rl, 2)}
            for row in both.itertuples()
        ],
    }  # fmt: skip


def _unspecified(r: Reanalysis) -> dict[str, Json]:
    table = r.unspecified
    missing = table[table["stated"] != "yes"]
    names = dict(zip(r.audit.rows["benchmark"], r.audit.rows["name"], strict=True))
    return {
        "n": len(missing),
        "rows": [
            {"benchmark": names.get(benchmark, benchmark.replace("_", " ")), "settings": "; ".join(part["setting"])}
            for benchmark, part in missing.groupby("benchmark", sort=False)
        ],
    }  # fmt: skip
