"""Numbers of the published table with its recomputed intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replication.records import Json
from replication.text import bounds, correlation, interval, p_value, percent

if TYPE_CHECKING:
    from replication.analyse.results import Results


def published(results: Results) -> dict[str, Json]:
    """Return the numbers of the published table with its recomputed intervals."""
    settings, audit = results.settings, results.tables.audit
    table, grid = audit.estimates.set_index(["benchmark", "interval"]), audit.claimed_family()
    family = grid.groupby("target")["iut_p"]
    shown = grid[(grid["icc"] == settings.icc)]
    shown = shown[(shown["target"] == "T1") | (shown["rho"] == settings.rho)].set_index("target")
    turning = [value for value in audit.turning_all.values() if value is not None]
    pooled = next(name for name, _ in table.index if name not in set(audit.rows["name"]))
    limits = ["value", "low", "high"]
    return {
        "n_rows": len(audit.rows),
        "n_positive": int((audit.rows["p_b"] > audit.rows["p_a"]).sum()),
        "n_unstated_runs": int((~audit.rows["runs_stated"]).sum()),
        "rows": [
            {
                "name": row.name, "p_a": percent(row.p_a, 2), "p_b": percent(row.p_b, 2), "n": row.n, "k": row.k,
                "runs_stated": row.runs_stated, "upper_bound": row.upper_bound,
                "T1": interval(*table.loc[(row.name, "T1"), limits]),
                "T2": bounds(*table.loc[(row.name, "T2"), limits[1:]]),
                "unpaired": bounds(*table.loc[(row.name, "unpaired"), limits[1:]]),
            }
            for row in audit.rows.itertuples(index=False)
        ],
        "pooled": interval(*table.loc[(pooled, "T2"), limits]),
        "iut_p": {t: {"low": p_value(p.min()), "high": p_value(p.max())} for t, p in family},
        "n_holm": {t: int(shown.loc[t, "n_holm"]) for t in shown.index},
        "n_raw": {t: int(shown.loc[t, "n_raw"]) for t in shown.index},
        "rho_max": correlation(float(grid["rho"].max())),
        "turning_rho": correlation(min(turning)) if turning else None,
    }  # fmt: skip
