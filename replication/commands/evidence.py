"""Print the tables of published numbers with their sources, or check a table of the user.

python -m replication evidence                        every table
python -m replication evidence pairs drift            these tables
python -m replication evidence check pairs mine.csv   read mine.csv as a table of that kind; exit 2 names row and column
python -m replication evidence derive mine.csv        icc, rho and the icc of groups from scores per task: columns arm, task,
                                                      score (a row per trial), and optionally group, such as a repository
"""

import os
import re
import sys
import textwrap
from pathlib import Path

import pandas as pd

from replication.analyse.evidence import FOLDER, TABLES
from replication.errors import EvidenceError
from replication.text import DASH, fixed
from replication.text import table as text_table

WIDTH = 120
COLUMNS = {
    "scores": "arm benchmark metric value_percent n_tasks n_clusters runs certainty note",
    "benchmarks": "id n_tasks primary_metric runs_in_paper resources_in_paper judge certainty note",
    "paper_tables": "table start arm benchmark metric value_percent n_tasks runs note",
    "public": "benchmark metric value_percent sft_percent lwm_rl_percent n_tasks runs published_in note",
    "pairs": "pair general base_identity params_b benchmark metric agent_percent general_percent n_tasks agent_date",
    "other_pairs": "pair general base_identity benchmark metric agent_percent general_percent n_tasks note",
    "general": "model mode date metric value_percent n_tasks measured_by certainty note",
    "attempts": "attempt date benchmark value comparator comparator_value unit n_tasks finding note",
    "drift": "id claim paper press outlet drift needed exists",
    "unspecified": "benchmark setting stated known nearest certainty note",
    "world_models": "paper model benchmark treatment treatment_percent control_percent n_tasks design pool certainty",
    "run_spreads": "paper benchmark model training level runs sd_points certainty",
    "tuned_pairs": "agent base benchmark agent_percent base_percent n_tasks domain certainty",
    "independent_tests": "comparator benchmark role metric unit value comparator_value n_tasks certainty",
    "outcome_facts": "benchmark statistic arm_a arm_b relation n_values n_tasks value low high limits note",
    "task_groups": "benchmark group n_tasks certainty",
}
"""Columns that are printed of each table; the files have all."""


def main(arguments: list[str]) -> None:
    """Print tables, or check one."""
    if arguments[:1] == ["check"]:
        if len(arguments) != 3:
            raise EvidenceError("`check` takes the kind of table and a file, such as `check pairs mine.csv`.")
        _, load = TABLES[_checked(arguments[1])]
        table = load(Path(arguments[2]))
        print(f"{arguments[2]}: {len(table)} rows, a valid table of `{arguments[1]}`.")
        return
    if arguments[:1] == ["derive"]:
        if len(arguments) != 2:
            raise EvidenceError("`derive` takes a file of scores per task, such as `derive mine.csv`.")
        print(derived(Path(arguments[1])))
        return
    names = [_checked(name) for name in arguments] or list(TABLES)
    try:
        print("\n\n".join(page(name) for name in names), flush=True)
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def derived(path: Path) -> str:
    """Lay out what the scores of a file say about the assumptions of an audit."""
    from replication.analyse.outcomes import derive, load_outcomes

    rows = [
        (row.statistic, row.arm_a, row.arm_b or DASH, row.n_tasks, fixed(row.trials), fixed(row.value, 3))
        for row in derive(load_outcomes(path)).itertuples()
    ]
    head = ("statistic", "arm", "other arm", "tasks", "trials", "value")
    return "\n".join(text_table(head, [[str(cell) for cell in row] for row in rows], n_left=3))


def page(name: str, width: int = WIDTH) -> str:
    """Lay out one table with numbered sources in at most `width` characters."""
    file, load = TABLES[name]
    table = load(FOLDER / file)
    sources = [f"{row.source} (read {row.date_read})" for row in table.itertuples()]
    numbers = {source: number for number, source in enumerate(dict.fromkeys(sources), start=1)}
    cells = table[COLUMNS[name].split()].map(_cell)
    cells["source"] = [f"[{numbers[source]}]" for source in sources]
    lines = [f"{name}  ({file}, {len(table)} rows)", "", *_grid(cells, width), ""]
    for source, number in numbers.items():
        lines += textwrap.wrap(f"[{number}] {source}", width, subsequent_indent="    ")
    return "\n".join(lines)


def _checked(name: str) -> str:
    if name not in TABLES:
        raise EvidenceError(f"table `{name}` is unknown; there are {', '.join(TABLES)}, and `check KIND FILE.csv`.")
    return name


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if pd.isna(value) else f"{value:g}"
    return str(value)


def _grid(table: pd.DataFrame, width: int) -> list[str]:
    """Wrap cells so that a row fits: the widest columns are narrowed first."""
    heads = [column.removesuffix("_percent").replace("_", " ") for column in table]
    cells = [heads, *table.to_numpy().tolist()]
    widths = [max(len(row[i]) for row in cells) for i in range(len(heads))]
    least = [
        min(13, max((len(piece) for row in cells for piece in _pieces(row[i])), default=1)) for i in range(len(heads))
    ]
    room = width - 2 * (len(heads) - 1)
    while sum(widths) > room:
        widest = max(range(len(widths)), key=lambda i: widths[i] - least[i])
        widths[widest] -= 1
    rule = "  ".join("-" * w for w in widths)
    lines: list[str] = []
    for number, row in enumerate(cells):
        parts = [_wrap(text, w) for text, w in zip(row, widths, strict=True)]
        for i in range(max(map(len, parts))):
            line = [(part[i] if i < len(part) else "").ljust(w) for part, w in zip(parts, widths, strict=True)]
            lines.append("  ".join(line).rstrip())
        if number == 0:
            lines.append(rule)
    return lines


def _wrap(text: str, width: int) -> list[str]:
    """Wrap at spaces and after the slashes, underscores and hyphens of names, not inside dates; cut longer pieces."""
    lines: list[str] = []
    line = ""
    for piece in _pieces(text):
        if len((line + piece).rstrip()) > width:
            lines, line, piece = [*lines, line.rstrip()] if line.strip() else lines, "", piece.lstrip()
        while len(piece.rstrip()) > width:
            lines, piece = [*lines, piece[:width]], piece[width:]
        line += piece
    return [*lines, line.rstrip()]


def _pieces(text: str) -> list[str]:
    return re.findall(r"(?:[^\s/_-]|-(?=\d))*+[/_-]|(?:[^\s/_-]|-(?=\d))+|\s+", text)
