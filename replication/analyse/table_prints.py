"""What the printed digits of a table say about its runs, and what else in it limits the results."""

from collections.abc import Collection, Mapping
from typing import Any

import pandas as pd

from replication.analyse.stats.printed import grim
from replication.analyse.table_audit import TableAudit

FITS, CUT, NO, VOID = "fits", "cut off", "no", "void"


def printed_digits(audit: TableAudit, scores: pd.DataFrame) -> pd.DataFrame:
    """Test the digits of every row, and its printed SDs and difference where the table has any.

    scores : of both arms, with or without the columns sd_percent and delta_percent.
    Columns: benchmark, fit_a, fit_b (at the assumed runs: `FITS` a whole count rounded, `CUT` off, `NO`, `VOID` where the
    score is not pass or fail), chance (that random digits fit), runs (tuple: the numbers of runs, up to `most` and the
    assumed one, that both arms fit), most, any (all of them do), sd_a, sd_b, delta (`FITS`, `NO`, `VOID`, empty where none
    is printed).
    """
    extra = {
        (row.benchmark, row.arm): (getattr(row, "sd_percent", ""), getattr(row, "delta_percent", ""))
        for row in scores.itertuples()
    }
    binary = audit.digits["score_type"] == "binary" if len(audit.digits) else []
    by_row = dict(list(audit.digits[binary].groupby("benchmark"))) if len(audit.digits) else {}
    table = []
    for row in audit.rows.itertuples():
        of_row: dict[str, Any] = {"benchmark": row.benchmark, "fit_a": VOID, "fit_b": VOID, "chance": float("nan")}
        of_row |= {"runs": (), "most": 0, "any": False}
        if row.benchmark in by_row:
            of_row |= _fits(by_row[row.benchmark], row.k, audit.settings.audit.digit_runs)
        table.append(of_row | _extras(row, audit, extra))
    return pd.DataFrame(table)


def warnings_of(rows: pd.DataFrame, prints: pd.DataFrame) -> tuple[str, ...]:
    """Say what in a table limits or contradicts the results."""
    told = []
    for row, found in zip(rows.itertuples(), prints.itertuples(), strict=True):
        if row.n == 1:
            told.append(f"{row.name}: n = 1; one independent task says nothing about tasks like it")
        if NO in (found.fit_a, found.fit_b):
            runs = f"{row.k} run{'s' * (row.k != 1)}" + ("" if row.runs_stated else " (assumed: none stated)")
            told.append(
                f"{row.name}: no whole count of {row.n_tasks} tasks and {runs} prints as this score{_others(found)}"
            )
        for name, fit in (("control's SD", found.sd_a), ("treatment's SD", found.sd_b), ("difference", found.delta)):
            if fit == NO:
                told.append(f"{row.name}: the printed {name} does not come from these scores, tasks and runs")
    return tuple(told)


def spans(numbers: tuple[int, ...]) -> str:
    """Format whole numbers with runs of three or more as ranges: 2, 4-6."""
    groups: list[list[int]] = []
    for number in numbers:
        if groups and number == groups[-1][-1] + 1:
            groups[-1].append(number)
        else:
            groups.append([number])
    parts = [[f"{g[0]}-{g[-1]}"] if len(g) > 2 else [str(number) for number in g] for g in groups]
    return ", ".join(part for group in parts for part in group)


def _fits(digits: pd.DataFrame, k: int, tried: Collection[int]) -> dict[str, Any]:
    digits = digits[digits["k"].isin({*tried, k})]
    rounded = (digits["half_up"].str.len() > 0) | (digits["half_even"].str.len() > 0)
    both = rounded.groupby(digits["k"]).all()
    own = digits[digits["k"] == k].sort_values("arm")
    words = [
        FITS if cell.half_up or cell.half_even else CUT if cell.truncated else NO for cell in own.itertuples()
    ]  # fmt: skip
    return {
        "fit_a": words[0], "fit_b": words[1], "chance": float(own["p0"].max()), "most": max(tried), "any": bool(both.all()),
        "runs": tuple(int(runs) for runs in both.index[both]),
    }  # fmt: skip


def _extras(row: Any, audit: TableAudit, extra: Mapping[tuple[str, str], tuple[str, str]]) -> dict[str, str]:
    sd_a, delta_a = extra[row.benchmark, audit.control]
    sd_b, delta_b = extra[row.benchmark, audit.treatment]
    binary, delta = row.score_type == "binary", delta_b or delta_a
    tests = {"delta": ""}
    for side, sd, printed in (("sd_a", sd_a, row.printed_a), ("sd_b", sd_b, row.printed_b)):
        tests[side] = VOID if sd else ""
        if sd and binary and row.k > 1:
            tests[side] = FITS if grim.deviation_fits(sd, printed, row.n_tasks, row.k) else NO
    if delta:
        n = row.n_tasks if binary else None
        tests["delta"] = FITS if grim.difference_fits(delta, row.printed_a, row.printed_b, n, row.k) else NO
    return tests


def _others(found: Any) -> str:
    """Name the runs that fit in place of the assumed ones."""
    if not found.runs:
        return f", nor one of any other number of runs up to {found.most}"
    return f"; {spans(found.runs)} runs would fit" if found.runs != (1,) else "; 1 run would fit"
