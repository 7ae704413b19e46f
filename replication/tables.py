"""Print verdicts and estimates as text or Markdown."""

import math
import textwrap
from collections.abc import Iterable, Sequence
from itertools import groupby

from replication.records import Estimate, Verdict

MINUS = "\N{MINUS SIGN}"


def points(estimate: Estimate | None) -> str:
    """Write an estimate with its interval in points, a log ratio as a factor, nothing as a dash."""
    if estimate is None:
        return "\N{EN DASH}"
    values = (estimate.value, estimate.low, estimate.high)
    if estimate.method.startswith("log ratio"):
        return "\N{MULTIPLICATION SIGN}{:.2f} [{:.2f}, {:.2f}]".format(*map(math.exp, values))
    return "{:+.1f} [{:+.1f}, {:+.1f}]".format(*(100 * v for v in values)).replace("-", MINUS)


def verdict_text(verdicts: Sequence[Verdict], width: int = 100) -> str:
    """Print verdicts as plain text, one block per study and scope, at most `width` columns."""
    if not verdicts:
        return "no claim can be answered by this study"
    heads = ["claim", "target", "outcome", f"estimate [{_level(verdicts)}]", "reason"]
    rows = [(v, [v.claim_id, v.target, v.outcome, points(v.replication), v.reason]) for v in verdicts]
    sizes = [max(len(head), *(len(cells[i]) for _, cells in rows)) for i, head in enumerate(heads[:-1])]
    indent = 2 + sum(sizes) + 2 * len(sizes)
    lines = []
    for (study, scope), block in groupby(rows, key=lambda row: (row[0].study, row[0].scope)):
        lines += ["", *textwrap.wrap(f"{study}: {scope}", width, subsequent_indent="  ")]
        for cells in [heads, *(cells for _, cells in block)]:
            first = "  " + "".join(cell.ljust(size + 2) for cell, size in zip(cells, sizes, strict=False))
            lines += textwrap.wrap(cells[-1], width, initial_indent=first, subsequent_indent=" " * indent)
    lines += ["", *textwrap.wrap(NOTE, width)]
    return "\n".join(lines[1:])


def verdict_markdown(verdicts: Sequence[Verdict]) -> str:
    """Print verdicts as one short Markdown table per study, its scope in front; reasons stand in the paper."""
    parts = []
    for study in dict.fromkeys(v.study for v in verdicts):
        of_study = [v for v in verdicts if v.study == study]
        scopes = "; ".join(dict.fromkeys(v.scope for v in of_study))
        rows = [[v.claim_id, v.target, v.outcome.replace("_", " "), points(v.replication)] for v in of_study]
        head = ["Claim", "Target", "Outcome", f"Estimate [{_level(of_study)}], points"]
        parts.append(f"**`{study}`**: {scopes}\n\n{markdown(head, rows)}")
    return "\n\n".join([*parts, NOTE])


NOTE = (
    "T1: these tasks and checkpoints; T2: tasks like these; T3: the training method. Estimates in points (a cost ratio as a "
    "factor). A verdict holds for its study and scope only."
)


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Print a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def _level(verdicts: Sequence[Verdict]) -> str:
    levels = {v.replication.level for v in verdicts if v.replication is not None}
    return "/".join(f"{100 * level:.3g}" for level in sorted(levels)) + " %" if levels else "interval"
