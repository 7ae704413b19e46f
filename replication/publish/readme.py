"""Render the verdicts and the list of outputs, for the terminal and for the generated blocks of README.md.

`python -m replication readme` rewrites README.md from paper/data/verdicts.json
"""

import json
from collections.abc import Sequence
from pathlib import Path

from replication.errors import AnalysisError
from replication.publish.outputs import OUTPUTS
from replication.publish.verdict_tables import verdict_markdown, verdict_text
from replication.records import Estimate, Verdict
from replication.text import markdown


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
    """Format the end of a run: the verdict table and the list of files."""
    return "\n".join([verdict_text(verdicts), "", "written:", *(f"  {_shown(path)}" for path in outputs)])


def rewrite_readme(readme: Path, verdicts: Sequence[Verdict]) -> bool:
    """Replace the generated blocks of a README, and return whether anything changed."""
    old = readme.read_text(encoding="utf-8")
    rows = [[o.title, f"`replication/{o.module}`", f"`paper/{o.path}`"] for o in OUTPUTS]
    figures = markdown(["Figure or table", "Module", "Output"], rows)
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
