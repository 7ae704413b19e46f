"""What a verdict on the published table says about the assumptions that others' results suggest; it decides nothing."""

from typing import NamedTuple

from replication.analyse import empirical
from replication.analyse.rules.data import StudyData
from replication.analyse.table_audit import TableAudit
from replication.records import Json
from replication.text import correlation, fixed, interval, percent


class Note(NamedTuple):
    """An addition to a verdict."""

    text: str
    """Of the reason, from its separator on; empty where the study has no observed values."""
    criteria: dict[str, Json]


NOTHING = Note("", {})


def family_note(audit: TableAudit, data: StudyData) -> Note:
    """Count the cells in which all rows are above 0 together at observed icc and rho, and with tasks in repositories."""
    if data.observed is None:
        return NOTHING
    found, half = empirical.examine(audit, data.observed), audit.grid.alpha / 2
    icc, rho, group_icc = (found.ranges[name] for name in ("icc", "rho", "group_icc"))
    at_median = found.grouped_family[found.grouped_family["group_icc"] == group_icc.median]
    cells, grouped = found.cells["iut_p"] <= half, at_median["iut_p"] <= half
    text = (
        f"; at icc {correlation(icc.low)} to {correlation(icc.high)} and rho {correlation(rho.low)} to "
        f"{correlation(rho.high)}, as in public results per task, in {int(cells.sum())} of {len(cells)} cells; for tasks of "
        f"other repositories, at the median icc of repositories ({fixed(group_icc.median, 3)}), in {int(grouped.sum())} of "
        f"{len(grouped)}"
    )
    criteria: dict[str, Json] = {
        "icc": icc._asdict(), "rho": rho._asdict(), "group_icc": group_icc._asdict(),
        "cells": found.cells[["icc", "rho", "n_raw", "n_holm", "iut_p"]].to_dict("records"),
        "other_groups": {"group_icc": group_icc.median, "n_cells": len(grouped), "n_established": int(grouped.sum()),
                         "smallest_iut_p": float(at_median["iut_p"].min())},
        "training_runs": found.checkpoints.to_dict("records"),
    }  # fmt: skip
    return Note(text, {"observed": criteria})


def mean_note(audit: TableAudit, data: StudyData) -> Note:
    """Give the mean of the rows for T3 at the SD between training runs that other papers print."""
    if data.observed is None:
        return NOTHING
    table = empirical.checkpoints(audit, data.observed.spreads)
    at = table[table["which"] == "median"].iloc[0]
    separate, shared = (interval(at["mean"], at[f"{n}_low"], at[f"{n}_high"]) for n in ("separate", "shared"))
    text = (
        f"; at an SD of {percent(at['tau'])} points, the median of {at['n']} published ones, the mean would be {separate} "
        f"points if a training run moves each benchmark on its own, and {shared} if it moves all alike"
    )
    criteria: dict[str, Json] = {
        "training_runs": table.to_dict("records"),
        "other_groups": empirical.grouped_mean(audit, data.observed).to_dict("records"),
    }
    return Note(text, criteria)
