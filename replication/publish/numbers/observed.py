"""Numbers of the section on what others observed of icc, rho and the spread between runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replication.analyse.empirical import NAMES, Empirical
from replication.records import Json
from replication.text import bounds, correlation, fixed, interval, p_value, percent

if TYPE_CHECKING:
    from replication.analyse.table_audit import TableAudit


def observed(e: Empirical, audit: TableAudit) -> dict[str, Json]:
    """Return every number of the section."""
    half = audit.grid.alpha / 2
    group_icc = e.ranges["group_icc"]
    at_median = e.grouped_family[e.grouped_family["group_icc"] == group_icc.median]
    inside = e.cells["iut_p"] <= half
    grid = audit.claimed_family().query("target == 'T2'")
    names = dict(zip(audit.rows["benchmark"], audit.rows["name"], strict=True))
    runs = e.facts[e.facts["statistic"] == "run_variance_ratio"].iloc[0]
    return {
        "ranges": [
            {"name": name, "n": r.n, "low": _digits(key, r.low), "median": _digits(key, r.median),
             "high": _digits(key, r.high)}
            for key, name in NAMES.items() for r in [e.ranges[key]]
        ],
        "grid": {"n": len(grid), "n_established": int((grid["iut_p"] <= half).sum())},
        "cells": {"n": len(e.cells), "n_established": int(inside.sum()),
                  "rho_established": correlation(float(e.cells["rho"][inside].min())) if inside.any() else None},
        "run_variance_ratio": {"n": int(runs["n_values"]), "value": fixed(runs["value"], 2),
                               "bounds": f"[{fixed(runs['low'], 2)}, {fixed(runs['high'], 2)}]"},
        "groups": {
            "icc": fixed(group_icc.median, 3), "n": len(at_median), "n_established": int((at_median["iut_p"] <= half).sum()),
            "iut_p": p_value(float(at_median["iut_p"].min())),
            "mean": interval(*e.grouped_mean.loc[0, ["mean", "low", "high"]]),
            "rows": [
                {"name": row.name, "icc": fixed(row.group_icc, 3), "n_groups": int(row.n_groups),
                 "se": percent(row.se), "se_grouped": percent(row.se_grouped), "T2": interval(row.delta, row.low, row.high)}
                for row in e.grouped.itertuples(index=False)
            ],
        },
        "run_sds": [
            {"benchmark": names.get(row.benchmark, row.benchmark.replace("_", " ")), "n": int(row.n), "sd": percent(row.sd),
             "icc": correlation(row.implied_icc), "assumed": f"{percent(row.assumed_low)} to {percent(row.assumed_high)}"}
            for row in e.run_sds.itertuples()
        ],
        "checkpoints": {
            row.which: {
                "tau": percent(row.tau), "n": int(row.n), "n_raw": int(row.n_raw), "n_holm": int(row.n_holm),
                "mean": percent(row.mean), "separate": bounds(row.separate_low, row.separate_high),
                "shared": bounds(row.shared_low, row.shared_high),
            }
            for row in e.checkpoints.itertuples()
        },
    }  # fmt: skip


def _digits(key: str, value: float) -> str:
    return fixed(value, 3) if key.startswith("group_icc") else correlation(value)
