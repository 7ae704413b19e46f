"""The report on the audit of one table: text for a terminal, and figures."""

import textwrap
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from replication.analyse.own_table import OwnAudit
from replication.analyse.table_audit import STATED, TableAudit
from replication.publish.figures import forest, fragility, grim, tipping
from replication.text import DASH, bare, bounds, correlation, fixed, p_value, percent, plain, shortened, signed, table

PLAIN = ("one run, unpaired", "stated runs, rho 0", "stated runs, rho .5", "stated runs, rho .7",
         "stated runs, rho .5, checkpoint SD 1", "T1, stated runs, icc .5")  # fmt: skip
"""Scenarios that the report prints; scenarios.csv has all."""
WIDTH = 100
"""Columns of the terminal."""
LONGEST = 22
"""Characters of the name of a row."""


class _Digits(NamedTuple):
    fit: str
    chance: str


def figures(audit: TableAudit, sesoi: float) -> dict[str, Figure]:
    """Draw the figures of an audit, by file name.

    sesoi : smallest effect of interest, a band in the forest.
    """
    point, alpha = (audit.settings.icc, audit.settings.rho), audit.grid.alpha
    return {
        "forest_published": forest.draw_published(audit.estimates, sesoi),
        "fragility": fragility.draw(audit.fragility_map, audit.rows, point, alpha=alpha),
        "tipping": tipping.draw(audit.tipping_steps, audit.tipping, alpha=alpha),
        "grim": grim.draw(audit.digits, audit.rows, arms=(audit.control, audit.treatment)),
    }


def text(own: OwnAudit) -> str:
    """Lay out the report for a terminal, at most 100 columns wide."""
    audit = own.audit
    n = len(audit.rows)
    head = (
        f"`{audit.treatment}` minus `{audit.control}`, {n} row{'s' * (n > 1)}, in points; {plain(100 * audit.level)} % "
        f"intervals; icc {bare(audit.settings.icc)}, rho {bare(audit.settings.rho)}"
    )
    lines = [
        *_wrapped(head), *_wrapped(_answer(audit)), "", *_intervals(audit), "", *_designs(audit), "", *_families(audit), "",
        *_notes(own),
    ]  # fmt: skip
    return "\n".join(line.rstrip() for line in lines)


def _answer(audit: TableAudit) -> str:
    together = audit.together("T2")
    established = "established" if together.iut_p <= audit.grid.alpha / 2 else "not established"
    return (
        f"For tasks like these {together.n_raw} of {len(audit.rows)} rows differ at p .05, {together.n_holm} after Holm; "
        f"that all of them improve is {established} (all-rows p {p_value(together.iut_p)}, needed .025)."
    )


def _intervals(audit: TableAudit) -> list[str]:
    by = audit.estimates.set_index(["benchmark", "interval"])
    cells = []
    for row in audit.rows.itertuples():
        of = {interval: by.loc[(row.name, interval)] for interval in ("unpaired", "T1", "T2")}
        intervals = [bounds(e["low"], e["high"]) for e in of.values()]
        cells.append([_label(row), signed(row.p_b - row.p_a), *intervals, p_value(of["T2"]["p_two_sided"])])
    heads = ["row", "diff", "one run, unpaired", "T1 these tasks", "T2 tasks like these", "p, T2"]
    return table(heads, cells)


def _designs(audit: TableAudit) -> list[str]:
    needed = audit.required[(audit.required["fraction"] == 1) & (audit.required["power"] == 0.8)]
    needed = needed[needed["rho"] == audit.settings.rho].set_index("benchmark")
    at = audit.stated[
        (audit.stated["icc"] == audit.settings.icc) & (audit.stated["rho"] == audit.settings.rho)
    ].set_index("benchmark")
    turning = audit.turning[audit.turning["icc"] == audit.settings.icc].set_index("benchmark")["rho"]
    tipping = audit.tipping.set_index("benchmark")[STATED]
    cells = []
    for row in audit.rows.itertuples():
        rho, tasks = turning[row.benchmark], needed.loc[row.benchmark, f"n_at_k{row.k}"]
        cells.append(
            [
                _label(row), f"{row.n}", f"{row.k}" if row.runs_stated else f"{row.k}?", *_digits(audit, row),
                percent(at.loc[row.benchmark, "mde80"]), "none" if pd.isna(tasks) else f"{tasks}",
                "none" if rho != rho else "any" if rho == 0 else correlation(rho), percent(tipping[row.benchmark]),
            ]
        )  # fmt: skip
    heads = ["row", "tasks", "runs", "GRIM", "chance", "MDE", "tasks needed", "rho needed", "tipping SD"]
    return table(heads, cells)


def _digits(audit: TableAudit, row: Any) -> _Digits:
    """Test the digits of control and treatment at the assumed runs; with the chance that random digits fit."""
    if row.score_type != "binary":
        return _Digits("void", DASH)
    digits = audit.digits
    own = digits[(digits["benchmark"] == row.benchmark) & (digits["k"] == row.k)].sort_values("arm")
    words = [
        "fits" if cell.half_up or cell.half_even else "cut off" if cell.truncated else "no" for cell in own.itertuples()
    ]
    return _Digits("/".join(words), correlation(own["p0"].iloc[0]))


def _families(audit: TableAudit) -> list[str]:
    n = len(audit.rows)
    printed = audit.scenarios.set_index("scenario").loc[list(PLAIN)]
    cells = [
        [name, f"{row.n_raw} of {n}", f"{row.n_holm} of {n}", p_value(row.iut_p), fixed(row.flat_all_positive, 2)]
        for name, row in zip(printed.index, printed.itertuples(), strict=True)
    ]
    heads = ["all rows together", "p .05 raw", "after Holm", "all-rows p", "P(all > 0), flat prior"]
    turning = ", ".join(
        f"{'none below 1' if rho is None else 'any' if rho == 0 else correlation(rho)} at icc {bare(icc)}"
        for icc, rho in audit.turning_all.items()
    )
    return [
        *table(heads, cells),
        "",
        *_wrapped(f"Task correlation from which all rows hold at once (T2, all-rows p .025): {turning}."),
    ]


def _notes(own: OwnAudit) -> list[str]:
    rows = own.audit.rows
    notes = [
        "diff: treatment minus control. T1: these tasks and checkpoints, other runs. T2: tasks like these. rho: correlation "
        "of the arms over tasks; icc: share of the variance between tasks; neither is printed, so see fragility.svg.",
        "GRIM: control/treatment at the stated runs: the digits fit a whole count rounded, only if cut off, or not; chance: "
        "of random digits. MDE: detectable with 80 % power. tasks needed: to find the printed difference with 80 % power at "
        "these runs. rho needed: for p .05. tipping SD: SD between checkpoints of one arm, in points, that lifts p to .05.",
    ]
    if rows["upper_bound"].any():
        notes.append(
            "*: not pass or fail, so the variance is at most the one used, p at most the one printed; GRIM is void."
        )
    if not rows["runs_stated"].all():
        notes.append(f"?: runs not stated, {own.audit.settings.unstated_runs} assumed.")
    notes += [f"left out: {text}" for text in own.left_out]
    return [line for note in notes for line in _wrapped(note)]


def _label(row: Any) -> str:
    star = "*" if row.upper_bound else ""
    return shortened(row.name, LONGEST - len(star)) + star


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ")
