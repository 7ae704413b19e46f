"""Audit a table of published scores of your own: what its numbers can say, as a report, tables and figures.

python -m replication audit TABLE.csv [treatment control]

TABLE.csv has one row per arm and benchmark, either with the columns of `replication.evidence.load_scores` or short:

    benchmark, arm    what was measured on what
    value_percent     the number as printed, with its decimals: 33.25, not 0.3325
    n_tasks, runs     items; independent runs averaged (empty where nobody says: one is assumed)
    n_clusters        optional: independent items, where several of the n_tasks are variants of one
    score_type        optional: binary (pass or fail; assumed) or bounded (any value between 0 and 100 per task)
    source, date_read optional

Without the names of two arms the file must hold exactly two: the second to appear is the treatment. Everything is written
to outputs/audit/<name of the file>/. Not covered: columns with standard errors, tests, seeds, more than two arms at once.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import yaml

from replication.errors import AnalysisError, EvidenceError, exit_on_error
from replication.settings import CONF

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from replication.analyse.stats.printed.audit import Report

FOLDER = Path("outputs/audit")
NEEDED = ("benchmark", "arm", "value_percent", "n_tasks", "runs")
OPTIONAL = ("n_clusters", "score_type", "source", "date_read")
METRIC = "score"
"""What the only number of a benchmark is called in a short table."""

_ANALYSIS, _CLAIM = (yaml.safe_load((CONF / name).read_text()) for name in ("analysis/default.yaml", "claim/A1.yaml"))
ICC, RHO, LEVEL, UNSTATED_RUNS = (_ANALYSIS[key] for key in ("icc", "rho", "level", "unstated_runs"))
"""As in the study `reanalysis`; how much hangs on icc and rho is part of the report."""
ICCS, SESOI = (_CLAIM["parameters"][key] for key in ("icc", "sesoi"))
"""Of the grid; smallest effect of interest, a band in the forest and nothing else."""
PLAIN = ("one run, unpaired", "stated runs, rho 0", "stated runs, rho .5", "stated runs, rho .7",
         "stated runs, rho .5, checkpoint SD 1", "T1, stated runs, icc .5")  # fmt: skip
"""Scenarios that the report prints; all stand in scenarios.csv."""
WIDTH = 100


class Audit(NamedTuple):
    """Everything that is said about one table."""

    treatment: str
    control: str
    report: "Report"
    estimates: "pd.DataFrame"
    """As `stats.summaries.published_estimates` returns them."""
    fragility_map: "pd.DataFrame"
    """p and intervals of each row over a fine grid of icc and rho, T2, stated runs (`stats.fragility.grid`)."""
    tipping_steps: "pd.DataFrame"
    """As `report.tipping_curve`, finely spaced and far enough for every row of the table to tip, up to 20 points."""
    turning_all: Mapping[float, float | None]
    """Per icc, the task correlation from which all rows hold at once; None where none below 1 does."""
    left_out: tuple[str, ...]
    """Rows of the table that were not compared, and why."""


def load_table(path: Path) -> "pd.DataFrame":
    """Read a table of scores in the short or the full schema; returns what `evidence.load_scores` returns.

    A malformed table raises `EvidenceError` that names the row (line of the file) and the column.
    """
    raw = _raw(path)
    if {"table", "metric"} & set(raw):
        return _checked(path, raw)
    missing = [column for column in NEEDED if column not in raw]
    if missing:
        raise EvidenceError(
            f"{path.name}: column `{missing[0]}` is missing; needed are {', '.join(NEEDED)}, optional {', '.join(OPTIONAL)} "
            f"(or all columns of `evidence.load_scores`)."
        )
    unknown = [column for column in raw if column not in NEEDED + OPTIONAL]
    if unknown:
        raise EvidenceError(
            f"{path.name}: column `{unknown[0]}` is unknown; allowed are {', '.join(NEEDED + OPTIONAL)} "
            f"(or all columns of `evidence.load_scores`)."
        )
    return _checked(path, _long(path, raw))


def _raw(path: Path) -> "pd.DataFrame":
    import pandas as pd

    try:
        raw = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # the parser's errors and a wrong encoding are ValueErrors
        raise EvidenceError(f"{path} cannot be read as a CSV table: {str(error).rpartition('C error: ')[2]}") from error
    if len(raw.columns) == 1 and ";" in raw.columns[0]:
        raise EvidenceError(
            f"{path.name}: columns are separated by semicolons; save it with commas, and decimals with points."
        )
    if raw.empty:
        raise EvidenceError(f"{path.name}: the table has no rows.")
    if not isinstance(raw.index, pd.RangeIndex):
        raise EvidenceError(f"{path.name}: rows have more fields than the header has columns; quote texts with commas.")
    return raw.rename(columns=str.strip)


def _long(path: Path, raw: "pd.DataFrame") -> "pd.DataFrame":
    """Fill in the columns of the full schema, still as text."""
    import datetime

    saved = datetime.date.fromtimestamp(path.stat().st_mtime).isoformat()
    filled = raw.apply(lambda column: column.str.strip())
    for column, text in {"score_type": "binary", "source": f"own table {path.name}", "date_read": saved}.items():
        filled[column] = filled[column].where(filled[column] != "", text) if column in filled else text
    composite = filled["score_type"] == "composite"
    if composite.any():
        raise EvidenceError(
            f"{path.name}, row {_line(composite)}, column `score_type`: a composite needs its parts and their weights, so "
            f"use all columns of `evidence.load_scores`, or write `bounded`; got 'composite'."
        )
    clusters = filled.get("n_clusters", filled["n_tasks"])
    filled["n_clusters"] = clusters.where(clusters != "", filled["n_tasks"])
    return filled.assign(table=path.stem, params_b="", metric=METRIC, weight="", certainty="read", note="")


def _checked(path: Path, text: "pd.DataFrame") -> "pd.DataFrame":
    """Pass a table through the loader that checks every table of the package; its messages keep the name of the file."""
    import tempfile

    from replication.analyse.evidence import load_scores

    with tempfile.TemporaryDirectory() as folder:
        text.to_csv(Path(folder) / path.name, index=False)
        return load_scores(Path(folder) / path.name)


def _line(wrong: "pd.Series") -> int:
    return int(wrong.to_numpy().argmax()) + 2


def audit_table(scores: "pd.DataFrame", arms: Sequence[str] = (), *, name: str = "the table") -> Audit:
    """Audit two arms of a table as `load_table` returns it.

    arms : treatment, control; empty where the table holds exactly two, the second to appear being the treatment. Of a
    benchmark with several metrics its composite is compared, else the first that both arms have.
    """

    from replication.analyse.stats.printed import audit, fragility
    from replication.analyse.tables import summaries

    treatment, control = _arms(list(dict.fromkeys(scores["arm"])), list(arms), name)
    both = scores[scores["arm"].isin([treatment, control])]
    benchmarks, left_out = _benchmarks(both, treatment, control, name)
    rows = audit.compare(both, benchmarks, treatment, control, UNSTATED_RUNS)
    ks = sorted({1, 3, 5, *rows["k"]})
    runs = sorted({*range(1, 6), *rows["k"]})
    report = audit.report(rows, icc=ICC, rho=RHO, iccs=ICCS, ks=ks, digit_runs=runs, alpha=1 - LEVEL)
    farthest = report.tipping["stated runs"].max()
    return Audit(
        treatment=treatment,
        control=control,
        report=report,
        estimates=summaries.published_estimates(rows, icc=ICC, rho=RHO, level=LEVEL),
        fragility_map=fragility.surface(rows, level=LEVEL),
        tipping_steps=fragility.tipping_steps(rows, farthest, icc=ICC, rho=RHO, alpha=1 - LEVEL),
        turning_all={icc: audit.turning_point(rows, icc=icc, alpha=1 - LEVEL) for icc in ICCS},
        left_out=left_out,
    )


def _arms(known: list[str], asked: list[str], name: str) -> tuple[str, str]:
    listed = ", ".join(f"`{arm}`" for arm in known)
    if len(known) < 2:
        raise EvidenceError(f"{name}, column `arm`: an audit compares two arms; got only {listed}.")
    if not asked and len(known) == 2:
        return known[1], known[0]
    if not asked:
        raise EvidenceError(
            f"{name}, column `arm`: {len(known)} arms ({listed}); name two: TABLE.csv treatment control."
        )
    if len(asked) != 2 or asked[0] == asked[1]:
        raise AnalysisError(f"name two different arms, treatment and control, or none; got {' '.join(asked)}.")
    for arm in asked:
        if arm not in known:
            raise EvidenceError(f"{name}, column `arm`: no arm `{arm}`; there are {listed}.")
    return asked[0], asked[1]


def _benchmarks(
    scores: "pd.DataFrame", treatment: str, control: str, name: str
) -> tuple["pd.DataFrame", tuple[str, ...]]:
    """Choose the metric of each benchmark, and refuse what `audit.compare` would silently take from one arm."""
    import pandas as pd

    again = scores.duplicated(["arm", "benchmark", "metric"])
    if again.any():
        row = scores[again].iloc[0]
        raise EvidenceError(
            f"{name}, columns `arm`, `benchmark`, `metric`: {row.arm}, {row.benchmark}, {row.metric} stands in several "
            f"tables; keep one."
        )
    chosen, left_out = [], []
    for benchmark, part in scores.groupby("benchmark", sort=False):
        arms = part.groupby("metric", sort=False)["arm"].nunique()
        shared = part[part["metric"].isin(arms[arms == 2].index)]
        if shared.empty:
            left_out.append(f"{benchmark}: no metric for both `{treatment}` and `{control}`")
            continue
        composite = shared[shared["score_type"] == "composite"]
        metric = (composite if len(composite) else shared)["metric"].iloc[0]
        own = shared[shared["metric"] == metric]
        for column in ("n_tasks", "n_clusters", "runs", "score_type"):
            if own[column].nunique(dropna=False) > 1:
                raise EvidenceError(
                    f"{name}, row {own.index[1] + 2}, column `{column}`: {benchmark} has {own[column].iloc[1]} here and "
                    f"{own[column].iloc[0]} in row {own.index[0] + 2}; the audit needs the same in both arms (if the arms "
                    f"differ, write the smaller number in both)."
                )
        if (own["n_clusters"] > own["n_tasks"]).any():
            at = own.index[own["n_clusters"] > own["n_tasks"]][0] + 2
            raise EvidenceError(f"{name}, row {at}, column `n_clusters`: must be at most `n_tasks`.")
        if own["value"].isin([0, 1]).all():
            raise EvidenceError(
                f"{name}, rows {own.index[0] + 2} and {own.index[1] + 2}, column `value_percent`: {benchmark} is at 0 or "
                f"100 in both arms, which leaves no variance to judge a difference by; leave these rows out."
            )
        if len(composite):
            _check_parts(part, benchmark, name)
        chosen.append({"id": benchmark, "name": benchmark, "primary_metric": metric})
        others = [other for other in dict.fromkeys(part["metric"]) if other != metric]
        if others and not len(composite):
            left_out.append(f"{benchmark}: {', '.join(others)} (compared: {metric})")
    if not chosen:
        raise EvidenceError(f"{name}, column `benchmark`: `{treatment}` and `{control}` have none in common.")
    return pd.DataFrame(chosen), tuple(left_out)


def _check_parts(part: "pd.DataFrame", benchmark: str, name: str) -> None:
    for arm, rows in part.dropna(subset="weight").groupby("arm"):
        lacking = rows["n_clusters"].isna()
        if lacking.any():
            raise EvidenceError(
                f"{name}, row {rows.index[lacking][0] + 2}, column `n_clusters`: needed of a weighted part."
            )
        if abs(rows["weight"].sum() - 1) > 1e-6:
            raise EvidenceError(
                f"{name}, column `weight`: the parts of {benchmark} in `{arm}` sum to {rows['weight'].sum():g}, not 1."
            )
    weighted = part.dropna(subset="weight")
    if weighted.empty or weighted.groupby("metric")["arm"].nunique().min() < 2:
        raise EvidenceError(
            f"{name}, column `weight`: the composite {benchmark} needs the same weighted parts in both arms."
        )


def figures(audited: Audit) -> dict[str, "Figure"]:
    """Draw the figures of an audit, by file name."""
    from replication.publish.figures import forest, fragility, grim, tipping

    report, alpha = audited.report, round(1 - LEVEL, 12)
    return {
        "forest_published": forest.draw_published(audited.estimates, SESOI),
        "fragility": fragility.draw(audited.fragility_map, report.rows, (ICC, RHO), alpha=alpha),
        "tipping": tipping.draw(audited.tipping_steps, report.tipping, alpha=alpha),
        "grim": grim.draw(report.digits, report.rows, arms=(audited.control, audited.treatment)),
    }


def write(audited: Audit, folder: Path) -> list[Path]:
    """Write report.txt, the tables as CSV and the figures as SVG; all are made before the first one is put in place."""
    import tempfile

    from replication.publish.figures.style import save

    own = ("estimates", "fragility_map", "tipping_steps")
    tables = {**audited.report._asdict(), **{name: getattr(audited, name) for name in own}}
    tables = {name: table for name, table in tables.items() if len(table.columns)}
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".making-") as staged:
        made = [Path(staged) / "report.txt"]
        made[0].write_text(text(audited) + "\n", encoding="utf-8")
        for name, table in tables.items():
            made.append(Path(staged) / f"{name}.csv")
            table.to_csv(made[-1], index=False, lineterminator="\n")
        made += [save(figure, Path(staged) / f"{name}.svg") for name, figure in figures(audited).items()]
        for name in set(audited.report._fields) - set(tables):
            (folder / f"{name}.csv").unlink(missing_ok=True)
        return [path.replace(folder / path.name) for path in made]


def text(audited: Audit) -> str:
    """Write the report for a terminal, at most 100 columns wide."""
    report = audited.report
    n = len(report.rows)
    head = (
        f"`{audited.treatment}` minus `{audited.control}`, {n} row{'s' * (n > 1)}, in points; {100 * LEVEL:g} % intervals; "
        f"icc {_bare(ICC)}, rho {_bare(RHO)}"
    )
    lines = [
        *_wrapped(head),
        *_wrapped(_answer(audited)), "", *_intervals(audited), "", *_designs(report), "",
        *_families(audited), "", *_notes(audited),
    ]  # fmt: skip
    return "\n".join(line.rstrip() for line in lines)


def _answer(audited: Audit) -> str:
    from replication.text import p_value

    report = audited.report
    cell = report.scenarios.set_index("scenario").loc["stated runs, rho .5"]
    established = "established" if cell.iut_p <= (1 - LEVEL) / 2 else "not established"
    return (
        f"For tasks like these {cell.n_raw} of {len(report.rows)} rows differ at p .05, {cell.n_holm} after Holm; that all "
        f"of them improve is {established} (all-rows p {p_value(cell.iut_p)}, needed .025)."
    )


def _intervals(audited: Audit) -> list[str]:
    from replication.text import bounds, p_value, signed

    by = audited.estimates.set_index(["benchmark", "interval"])
    cells = []
    for row in audited.report.rows.itertuples():
        of = {interval: by.loc[(row.name, interval)] for interval in ("unpaired", "T1", "T2")}
        intervals = [bounds(e["low"], e["high"]) for e in of.values()]
        cells.append([_label(row), signed(row.p_b - row.p_a), *intervals, p_value(of["T2"]["p_two_sided"])])
    heads = ["row", "diff", "one run, unpaired", "T1 these tasks", "T2 tasks like these", "p, T2"]
    return _columns(heads, cells)


def _designs(report: "Report") -> list[str]:
    import pandas as pd

    from replication.text import correlation, percent

    needed = report.required[(report.required["fraction"] == 1) & (report.required["power"] == 0.8)]
    needed = needed[needed["rho"] == RHO].set_index("benchmark")
    at = report.stated[(report.stated["icc"] == ICC) & (report.stated["rho"] == RHO)].set_index("benchmark")
    turning = report.turning[report.turning["icc"] == ICC].set_index("benchmark")["rho"]
    tipping = report.tipping.set_index("benchmark")["stated runs"]
    cells = []
    for row in report.rows.itertuples():
        rho, tasks = turning[row.benchmark], needed.loc[row.benchmark, f"n_at_k{row.k}"]
        cells.append(
            [
                _label(row), f"{row.n}", f"{row.k}" if row.runs_stated else f"{row.k}?", *_digits(report, row),
                percent(at.loc[row.benchmark, "mde80"]), "none" if pd.isna(tasks) else f"{tasks}",
                "none" if rho != rho else "any" if rho == 0 else correlation(rho), percent(tipping[row.benchmark]),
            ]
        )  # fmt: skip
    heads = ["row", "tasks", "runs", "GRIM", "chance", "MDE", "tasks needed", "rho needed", "tipping SD"]
    return _columns(heads, cells)


def _digits(report: "Report", row) -> tuple[str, str]:
    """What the digits of control and treatment allow at the assumed runs, and the chance that random digits would fit."""
    from replication.text import DASH, correlation

    if row.score_type != "binary":
        return "void", DASH
    digits = report.digits
    own = digits[(digits["benchmark"] == row.benchmark) & (digits["k"] == row.k)].sort_values("arm")
    words = [
        "fits" if cell.half_up or cell.half_even else "cut off" if cell.truncated else "no" for cell in own.itertuples()
    ]
    return "/".join(words), correlation(own["p0"].iloc[0])


def _families(audited: Audit) -> list[str]:
    from replication.text import correlation, p_value

    n = len(audited.report.rows)
    table = audited.report.scenarios.set_index("scenario").loc[list(PLAIN)]
    cells = [
        [name, f"{row.n_raw} of {n}", f"{row.n_holm} of {n}", p_value(row.iut_p), f"{row.flat_all_positive:.2f}"]
        for name, row in zip(table.index, table.itertuples(), strict=True)
    ]
    heads = ["all rows together", "p .05 raw", "after Holm", "all-rows p", "P(all > 0), flat prior"]
    turning = ", ".join(
        f"{'none below 1' if rho is None else 'any' if rho == 0 else correlation(rho)} at icc {_bare(icc)}"
        for icc, rho in audited.turning_all.items()
    )
    return [
        *_columns(heads, cells),
        "",
        *_wrapped(f"Task correlation from which all rows hold at once (T2, all-rows p .025): {turning}."),
    ]


def _notes(audited: Audit) -> list[str]:
    rows = audited.report.rows
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
        notes.append(f"?: runs not stated, {UNSTATED_RUNS} assumed.")
    notes += [f"left out: {text}" for text in audited.left_out]
    return [line for note in notes for line in _wrapped(note)]


def _label(row) -> str:
    star = "" if not row.upper_bound else "*"
    most = 22 - len(star)
    return (row.name if len(row.name) <= most else f"{row.name[: most - 1]}\N{HORIZONTAL ELLIPSIS}") + star


def _columns(heads: Sequence[str], cells: Sequence[Sequence[str]]) -> list[str]:
    """Align columns: the first to the left, the others to the right."""
    sizes = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    return [
        "  ".join(c.ljust(s) if i == 0 else c.rjust(s) for i, (c, s) in enumerate(zip(line, sizes, strict=True)))
        for line in (heads, *cells)
    ]


def _wrapped(text: str) -> list[str]:
    import textwrap

    return textwrap.wrap(text, WIDTH, subsequent_indent="  ")


def _bare(value: float) -> str:
    return f"{value:g}".removeprefix("0")


def folder_name(path: Path) -> str:
    """Turn the name of a file into that of a folder: letters, digits, dot, dash and underscore."""
    import re

    return re.sub(r"[^\w.-]+", "-", path.stem, flags=re.ASCII).strip("-.") or "table"


@exit_on_error
def main(arguments: Sequence[str]) -> None:
    """Read the table, write everything, print the report."""
    if {"-h", "--help"} & set(arguments):
        print(__doc__.strip())
        return
    if len(arguments) not in (1, 3):
        raise AnalysisError(
            f"give a table, and two arms or none: python -m replication audit TABLE.csv [treatment control] "
            f"(make audit TABLE=mine.csv); got {len(arguments)} argument{'s' * (len(arguments) != 1)}."
        )
    path = Path(arguments[0])
    audited = audit_table(load_table(path), arguments[1:], name=path.name)
    written = write(audited, FOLDER / folder_name(path))
    print(f"{path}\n{text(audited)}")
    print(f"\nwritten to {written[0].parent}: {len(written)} files")
    print("  " + ", ".join(file.name for file in written if file.suffix != ".csv") + ", and the tables as CSV")
