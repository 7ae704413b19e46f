"""Render the verdicts and the list of outputs, for the terminal and for the generated blocks of README.md.

`python -m replication readme` rewrites README.md from paper/data/verdicts.json
"""

import json
from collections.abc import Sequence
from pathlib import Path

from replication.errors import AnalysisError
from replication.publish.verdict_tables import verdict_markdown, verdict_text
from replication.records import Estimate, Verdict
from replication.text import markdown

OUTPUTS = (
    (
        "Table 1, published scores with recomputed intervals",
        "analyse/stats/printed/audit.py",
        "paper/data/published.csv",
    ),
    ("Figure 1, forest of the published scores", "publish/figures/forest.py", "paper/figures/forest_published.svg"),
    (
        "Table of designs and repeats, table of digits, fragility map, tipping points, GRIM strip",
        "analyse/stats/printed/audit.py",
        "paper/figures/{fragility,tipping,grim}.svg",
    ),
    ("Agent-tuned against general models, by size", "publish/figures/pairs.py", "paper/figures/pairs.svg"),
    ("Every table of the reanalysis", "analyse/reanalysis.py", "paper/data/reanalysis/"),
    ("Differences by other methods", "analyse/tables/second_opinions.py", "paper/data/second_opinions.csv"),
    ("Tables of levels, of scores per episode and of probe answers", "commands/run.py", "paper/data/<study>/"),
    ("Table of training runs and compute", "commands/train.py", "paper/data/<study>/training.csv"),
    ("Compute per training run", "publish/figures/compute.py", "paper/figures/compute.svg"),
    ("Training curves", "publish/figures/curves.py", "paper/figures/curves.svg"),
    (
        "Gap by environment, a forest per comparison",
        "publish/figures/forest.py",
        "paper/figures/forest_<treatment>_<control>.svg",
    ),
    ("Gap against scale", "publish/figures/scales.py", "paper/figures/scales.svg"),
    ("World-model accuracy against agent score", "publish/figures/probe.py", "paper/figures/probe.svg"),
    ("The same as a table, per training run", "analyse/tables/probe.py", "paper/data/probe_runs.csv"),
    ("Table of estimates", "analyse/tables/summaries.py", "paper/data/estimates.csv"),
    ("Spread between training runs", "analyse/tables/seeds.py", "paper/data/spread.csv"),
    ("A/A check", "analyse/tables/aa.py", "paper/data/aa.csv"),
    ("Verdicts", "analyse/verdicts.py", "paper/data/verdicts.json"),
    ("Every other number", "commands/paper.py", "paper/data/numbers.json"),
)
"""What the paper shows, the module that makes it, and the file it goes to."""


def read_verdicts(path: Path) -> list[Verdict]:
    """Read paper/data/verdicts.json back into records."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AnalysisError(f"{path} does not exist; run `python -m replication paper` first.") from None
    return [_verdict(row) for row in rows]


def _verdict(row: dict) -> Verdict:
    estimates = {key: Estimate(**row[key]) if row[key] else None for key in ("original", "replication")}
    tuples = {key: tuple(row[key]) for key in ("deviations", "unspecified")}
    return Verdict(**{**row, **estimates, **tuples})


def terminal(verdicts: Sequence[Verdict], outputs: Sequence[Path]) -> str:
    """Write what a user reads last: the verdict table and where everything lies."""
    return "\n".join([verdict_text(verdicts), "", "written:", *(f"  {_shown(path)}" for path in outputs)])


def rewrite_readme(readme: Path, verdicts: Sequence[Verdict]) -> bool:
    """Replace the generated blocks of a README; says whether anything changed."""
    old = readme.read_text(encoding="utf-8")
    figures = markdown(
        ["Figure or table", "Module", "Output"], [[a, f"`replication/{b}`", f"`{c}`"] for a, b, c in OUTPUTS]
    )
    new = replace_block(replace_block(old, "verdicts", verdict_markdown(verdicts)), "figures", figures)
    if new != old:
        readme.write_text(new, encoding="utf-8")
    return new != old


def replace_block(text: str, name: str, content: str) -> str:
    """Return the text with other content between the markers of a generated block."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise AnalysisError(f"README.md needs the markers `{begin}` and `{end}` once each, in this order.")
    return f"{text.partition(begin)[0]}{begin}\n{content}\n{end}{text.partition(end)[2]}"


def _shown(path: Path) -> str:
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
