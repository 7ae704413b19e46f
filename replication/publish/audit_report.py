"""The report on the audit of one table: text for a terminal, and figures."""

import textwrap
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from replication.analyse import table_answers
from replication.analyse.own_table import OwnAudit
from replication.analyse.stats.printed.small_rows import LEAST, best_pairing_p, fisher_mid_p
from replication.analyse.table_answers import MEAN
from replication.analyse.table_audit import STATED, TableAudit
from replication.analyse.table_prints import VOID, spans
from replication.analyse.tables.summaries import POOLED
from replication.publish.figures import forest, fragility, grim, tipping
from replication.records import Target
from replication.text import (
    DASH,
    bare,
    bounds,
    correlation,
    interval,
    labels,
    p_range,
    p_value,
    percent,
    plain,
    signed,
    table,
)

ASSUMED = ("one run, unpaired", "stated runs, rho 0", "stated runs, rho .7", "T1, stated runs, icc .5")
"""Scenarios that the report prints; scenarios.csv has all, by the normal model."""
WIDTH = 120
"""Columns of the terminal."""
LONGEST = 24
"""Characters of the name of a row."""
FIRST = 21
"""Columns of the first word of an answer."""


def figures(audit: TableAudit, sesoi: float) -> dict[str, Figure]:
    """Draw the figures of an audit, by file name; `tipping` only where a row is not small.

    sesoi : smallest effect of interest, a band in the forest.
    """
    point, alpha = (audit.settings.icc, audit.settings.rho), audit.grid.alpha
    drawn = {
        "forest_published": forest.draw_published(audit.estimates, sesoi),
        "fragility": fragility.draw(audit.fragility_map, audit.rows, point, alpha=alpha),
        "grim": grim.draw(audit.digits, audit.rows, arms=(audit.control, audit.treatment)),
    }
    if len(audit.tipping):
        drawn["tipping"] = tipping.draw(audit.tipping_steps, audit.tipping, alpha=alpha)
    return drawn


def text(own: OwnAudit, sesoi: float) -> str:
    """Lay out the report for a terminal, at most `WIDTH` columns wide: answers, rows, digits and designs, notes.

    sesoi : smallest effect of interest, at which parity is asked; the smallest margin that holds is printed too.
    """
    parts = [_head(own) + _answers(own, sesoi), _rows(own), _designs(own), _families(own), _notes(own)]
    lines = [line for part in parts for line in [*part, ""]][:-1]
    return "\n".join(line.rstrip() for line in lines)


def headline(own: OwnAudit) -> str:
    """Answer in one line: do all rows improve, and does their mean?"""
    n, answers = len(own.audit.rows), own.answers
    mean = answers.means[answers.means["mean"] == MEAN] if n > 1 else answers.cells[answers.cells["target"] == "T2"]
    average = f"; mean of these {'is' if (mean['low'] > 0).all() else 'is not'} established as above 0" if n > 1 else ""
    return (
        f"`{own.audit.treatment}` minus `{own.audit.control}`: improvement on {_all_of(n)} "
        f"{_word(answers.n_all_above('T2') == len(answers.family('T2')))}{average}"
    )


def _head(own: OwnAudit) -> list[str]:
    audit, answers = own.audit, own.answers
    n, cells = len(audit.rows), len(answers.family("T2"))
    iccs, rhos = audit.grid.iccs, audit.grid.rhos
    return _wrapped(
        f"`{audit.treatment}` minus `{audit.control}`, {n} row{'s' * (n > 1)}, in points; {plain(100 * audit.level)} % "
        f"intervals. Not printed, so varied: icc {_span(iccs)}, rho {_span(rhos)}. "
        f'"Established" holds in all {cells} combinations; numbers are shown at icc {bare(audit.settings.icc)}, rho '
        f"{bare(audit.settings.rho)}."
    )


def _answers(own: OwnAudit, sesoi: float) -> list[str]:
    answers, n = own.answers, len(own.audit.rows)
    items = [_item(f"better on {_all_of(n)}" if n > 1 else "better", _all(own, "T2")), _item("", _all(own, "T1"))]
    named = {MEAN: f"mean of these {n}", POOLED: "benchmarks like these"} if n > 1 else {}
    for mean, head in named.items():
        cells = answers.means[answers.means["mean"] == mean]
        above, below, of = int((cells["low"] > 0).sum()), int((cells["high"] < 0).sum()), len(cells)
        words = f"{_mean(own, cells)}; above 0: {_word(above == of)} (in {above} of {of})"
        items.append(_item(head, words + f"; below 0: established (in {of} of {of})" * (below == of)))
    margins = {label: answers.margin(mean) for mean, label in named.items()}
    margins = margins or {"the row": float(answers.rows["margin"].iloc[0])}
    held = [f"{label} {_word(x <= sesoi)} (smallest margin that holds: {percent(x)})" for label, x in margins.items()]
    if n > 1:
        held.append(f"{int((answers.rows['margin'] <= sesoi).sum())} of {n} rows, by column `par`")
    items.append(_item(f"on par within {plain(100 * sesoi)}", "; ".join(held)))
    return [line for item in items for line in item]


def _all(own: OwnAudit, target: Target) -> str:
    """Answer whether every row is above 0, for tasks like these or for these."""
    answers, n = own.answers, len(own.audit.rows)
    family, all_above = answers.family(target), answers.n_all_above(target)
    by_row = answers.cells[answers.cells["target"] == target].groupby("benchmark", sort=False)
    above = by_row["low"].agg(lambda low: int((low > 0).sum()))
    n_always, n_never = int((above == len(family)).sum()), int((above == 0).sum())
    who = "tasks like these (T2)" if target == "T2" else "these very tasks (T1)"
    parts = [f"{who}: {_word(all_above == len(family))}"]
    if n > 1:
        some = {"in some": n - n_always - n_never, "nowhere": n_never}
        rest = "".join(f", {number} {where}" for where, number in some.items() if number)
        parts.append(f"{n_always} of {n} rows are above 0 everywhere{rest}")
    worst = list(answers.rows[answers.rows["n_below_holm"] == answers.rows["n_cells"]]["benchmark"])
    if target == "T2" and worst:
        shown = labels([str(name) for name in worst], LONGEST)
        more = f" and {len(shown) - 3} more" if len(shown) > 3 else ""
        parts.append(f"contradicted by {', '.join(shown[:3])}{more}, below 0 everywhere")
    p = p_range(family["iut_p"].min(), family["iut_p"].max())
    parts.append(f"{'all-rows' if n > 1 else 'one-sided'} {p}, needed {bare(own.audit.grid.alpha / 2)}")
    reached = [rho for rho in answers.turning.values() if rho is not None]
    if target == "T2" and all_above < len(family) and reached:
        parts.append(f"would need rho {correlation(max(reached))}")
    return "; ".join(parts)


def _mean(own: OwnAudit, cells: pd.DataFrame) -> str:
    """Print a mean at the assumptions shown, or over the cells where these are not among them."""
    settings = own.audit.settings
    at = cells[(cells["icc"] == settings.icc) & (cells["rho"] == settings.rho)]
    if len(at):
        return interval(*at[["value", "low", "high"]].iloc[0])
    return interval(cells["value"].mean(), cells["low"].min(), cells["high"].max())


def _rows(own: OwnAudit) -> list[str]:
    audit = own.audit
    by = audit.estimates.set_index(["benchmark", "interval"])
    cells = []
    for label, row, of_row in zip(_labels(own), audit.rows.itertuples(), own.answers.rows.itertuples(), strict=True):
        of = {interval: by.loc[(row.name, interval)] for interval in ("unpaired", "T1", "T2")}
        intervals = [bounds(e["low"], e["high"]) for e in of.values()]
        p = p_value(of["T2"]["p_two_sided"])
        held = f"{of_row.n_above or of_row.n_below} of {of_row.n_cells}" + " below" * bool(of_row.n_below)
        cells.append([label, signed(row.p_b - row.p_a), *intervals, p, held, percent(of_row.margin)])
    heads = ["row", "diff", "one run, unpaired", "T1 these tasks", "T2 tasks like these", "p, T2", "holds in", "par"]
    return table(heads, cells)


def _designs(own: OwnAudit) -> list[str]:
    audit, settings = own.audit, own.audit.settings
    needed = audit.required[(audit.required["fraction"] == 1) & (audit.required["power"] == 0.8)]
    needed = needed[needed["rho"] == settings.rho].set_index("benchmark")
    at = audit.stated[(audit.stated["icc"] == settings.icc) & (audit.stated["rho"] == settings.rho)]
    mde = at.set_index("benchmark")["mde80"]
    points = own.answers.turning_rows
    turning = points[points["icc"] == settings.icc].set_index("benchmark")["rho"]
    spread = audit.tipping.set_index("benchmark")[STATED]
    extra = [name for name in ("sd_a", "delta") if own.prints[_both(name)].ne("").to_numpy().any()]
    lines = []
    each = zip(_labels(own), audit.rows.itertuples(), own.prints.itertuples(), own.answers.small, strict=True)
    for label, row, found, small in each:
        tasks, rho = needed.loc[row.benchmark, f"n_at_k{row.k}"], turning[row.benchmark]
        normal = [percent(mde[row.benchmark]), "none" if pd.isna(tasks) else f"{tasks}"]
        lines.append(
            [
                label, f"{row.n}", f"{row.k}" if row.runs_stated else f"{row.k}?", *_digits(found),
                *_extra(found, extra), *([DASH, DASH] if small else normal),
                "none" if rho != rho else "any" if rho == 0 else correlation(rho),
                DASH if small else percent(spread[row.benchmark]),
            ]
        )  # fmt: skip
    printed = ["SD" if name == "sd_a" else "delta" for name in extra]
    heads = ["row", "tasks", "runs", "GRIM", "chance", "runs that fit", *printed]
    heads += ["MDE", "need tasks", "need rho", "tip SD"]
    return table(heads, lines)


def _both(name: str) -> list[str]:
    return ["sd_a", "sd_b"] if name == "sd_a" else [name]


def _extra(found: Any, names: list[str]) -> list[str]:
    """Word the tests of printed SDs and differences, where the table has any."""
    return ["/".join(getattr(found, name) or DASH for name in _both(name)) for name in names]


def _digits(found: Any) -> list[str]:
    """Word the test of the digits of control and treatment, its chance, and the runs that would fit."""
    if found.fit_a == VOID:
        return [VOID, DASH, DASH]
    same = found.fit_a == found.fit_b
    runs = "none" if not found.runs else "any" if found.any else spans(found.runs)
    return [found.fit_a if same else f"{found.fit_a}/{found.fit_b}", correlation(found.chance), runs]


def _families(own: OwnAudit) -> list[str]:
    audit, n = own.audit, len(own.audit.rows)
    by_name = {scenario.name: scenario for scenario in audit.settings.audit.scenarios}
    cells = []
    for name in ASSUMED:
        s = by_name[name]
        row = table_answers.together(audit.rows, icc=s.icc, rho=s.rho, target=s.target, k=s.k, alpha=audit.grid.alpha)
        cells.append([name, f"{row.n_raw} of {n}", f"{row.n_holm} of {n}", p_value(row.iut_p)])
    return table(["all rows together", f"p {bare(audit.grid.alpha)} raw", "after Holm", "all-rows p"], cells)


def _notes(own: OwnAudit) -> list[str]:
    audit = own.audit
    notes = [f"WARNING {text}." for text in own.warnings]
    notes += [
        "diff: treatment minus control. T1: these tasks and checkpoints, other runs; T2: tasks like these. holds in: "
        "combinations in which the T2 interval lies above (below) 0. par: smallest x for \"on par within x\" in all.",
        "GRIM: do the digits of control/treatment fit a whole count at these runs; chance: of random digits; runs that fit: "
        "numbers that both arms fit. MDE: detectable with 80 % power; need tasks: for the printed difference; need rho: "
        "for p .05; tip SD: between checkpoints of one arm, lifts p to .05. icc: share of the variance between tasks; rho: "
        "correlation of the arms over them (fragility.svg).",
    ]  # fmt: skip
    if own.answers.small.any():
        notes.append(
            f"e: fewer than {LEAST} passes or failures in an arm, so an exact test (McNemar's mid-p at the counts that icc "
            f"and rho imply) and a score interval; no design by the normal model. {_exact(own)}"
        )
    if audit.rows["upper_bound"].any():
        notes.append(
            "*: not pass or fail, so the variance is at most the one used, p at most the one printed; GRIM is void."
        )
    if not audit.rows["runs_stated"].all():
        notes.append(f"?: runs not stated, {audit.settings.unstated_runs} assumed.")
    notes += [f"left out: {text}" for text in own.left_out]
    return [line for note in notes for line in _wrapped(note)]


def _exact(own: OwnAudit) -> str:
    """Print tests of one run each that assume nothing on icc and rho, of the small rows that are one run of pass or fail."""
    fisher = own.audit.one_run["fisher_p"]
    told = []
    for label, row, p, small in zip(_labels(own), own.audit.rows.itertuples(), fisher, own.answers.small, strict=True):
        if small and row.k == 1 and row.score_type == "binary" and row.n == row.n_tasks:
            scores = row.p_a, row.p_b, row.n
            told.append(
                f"{label}: Fisher {p_value(p)}, mid-p {p_value(fisher_mid_p(*scores))}, at best "
                f"{p_value(best_pairing_p(*scores))}"
            )
    intro = "With nothing assumed on icc and rho, p by Fisher, and at the best overlap of passed tasks: "
    return intro + "; ".join(told) + "." if told else ""


def _labels(own: OwnAudit) -> list[str]:
    rows = own.audit.rows
    marks = [f"{'*' * bool(row.upper_bound)}{' e' * bool(small)}" for row, small in
             zip(rows.itertuples(), own.answers.small, strict=True)]  # fmt: skip
    short = labels([str(name) for name in rows["name"]], LONGEST - max(map(len, marks)))
    return [name + mark for name, mark in zip(short, marks, strict=True)]


def _span(values: Sequence[float]) -> str:
    ends = sorted({min(values), max(values)})
    return " to ".join(map(bare, ends))


def _word(holds: bool) -> str:
    return "established" if holds else "not established"


def _all_of(n: int) -> str:
    return "the row" if n == 1 else f"all {n}"


def _item(head: str, words: str) -> list[str]:
    lines = textwrap.wrap(words, WIDTH - FIRST - 1)
    return [f"{head if i == 0 else '':{FIRST}} {line}" for i, line in enumerate(lines)]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ")
