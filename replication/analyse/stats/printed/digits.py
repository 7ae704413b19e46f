"""The printed digits of a published table, tested for whole totals, rounded runs and smaller denominators."""

from collections.abc import Iterable, Sequence

import pandas as pd

from replication.analyse.stats.printed import grim


def digits(rows: pd.DataFrame, ks: Iterable[int]) -> pd.DataFrame:
    """List the whole totals that print as each score at k runs, as if pass/fail; composites are left out.

    Columns: benchmark, name, arm (a, b), printed, score_type, n_tasks, k, stated (k is the stated number of runs), half_up,
    half_even, truncated (tuples of totals), p0 (chance of a fit). Of a bounded score a fit says nothing.
    """
    ks = list(ks)
    return pd.DataFrame(
        [
            {
                "benchmark": row.benchmark, "name": row.name, "arm": arm, "printed": printed, "score_type": row.score_type,
                "n_tasks": row.n_tasks, "k": k, "stated": k == row.k,
                "half_up": grim.totals(printed, row.n_tasks, k),
                "half_even": grim.totals(printed, row.n_tasks, k, rounding="half_even"),
                "truncated": grim.totals(printed, row.n_tasks, k, rounding="truncate"),
                "p0": grim.chance_of_fit(row.n_tasks, k, decimals=_decimals(printed)),
            }
            for row in rows.itertuples(index=False) if row.score_type != "composite"
            for arm, printed in (("a", row.printed_a), ("b", row.printed_b))
            for k in ks
        ]
    )  # fmt: skip


def rounded_runs(rows: pd.DataFrame, ks: Iterable[int], decimals: Sequence[int] = (1, 2)) -> pd.DataFrame:
    """Test each pass/fail score as a mean of k runs that were rounded first, to each number of `decimals`.

    Numbers whose digits any count fits (n_tasks of at least 10^(decimals + 2)) are left out.
    Columns: benchmark, name, arm, printed, k, run_decimals, possible, spread_tasks, spread_points (smallest that will do).
    """
    ks = list(ks)
    return pd.DataFrame(
        [
            {"benchmark": row.benchmark, "name": row.name, "arm": arm, "printed": printed, "k": k, "run_decimals": d}
            | grim.mean_of_rounded_runs(printed, row.n_tasks, k, run_decimals=d)._asdict()
            for row in rows.itertuples(index=False)
            for arm, printed in (("a", row.printed_a), ("b", row.printed_b))
            if row.n_tasks < 10 ** (_decimals(printed) + 2)
            for k in ks
            for d in decimals
        ]
    )


def denominators(rows: pd.DataFrame) -> pd.DataFrame:
    """Search smaller denominators that both arms fit. Columns: benchmark, name, hits, n_hits, n_tried, expected_hits."""
    fits = []
    for row in rows.itertuples(index=False):
        result = grim.smaller_denominators((row.printed_a, row.printed_b), row.n_tasks)
        fits.append(
            {"benchmark": row.benchmark, "name": row.name, "n_hits": len(result.hits)} | result._asdict()
        )  # fmt: skip
    return pd.DataFrame(fits)


def _decimals(printed: str) -> int:
    return len(printed.partition(".")[2])
