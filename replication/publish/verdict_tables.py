"""Verdicts as tables: plain text for the terminal, Markdown for README.md."""

import textwrap
from collections.abc import Callable, Sequence
from typing import NamedTuple

from replication.publish.summary import paragraphs
from replication.records import Verdict
from replication.text import escaped, markdown, percent, plain, points, signed

NONE = "–"

UNPUBLISHED = "none published"
"""In place of power, where nothing was published that could be assumed."""


class Block(NamedTuple):
    """The verdicts of one study, with their scope."""

    study: str
    scope: str
    verdicts: list[Verdict]


def blocks(verdicts: Sequence[Verdict]) -> list[Block]:
    """Group verdicts by study."""
    studies = {study: [v for v in verdicts if v.study == study] for study in dict.fromkeys(v.study for v in verdicts)}
    return [Block(study, _scope(of_study), of_study) for study, of_study in studies.items()]


def _scope(verdicts: Sequence[Verdict]) -> str:
    """Describe the scope that most claims share, then each different scope with its claims."""
    claims: dict[str, list[str]] = {}
    for verdict in verdicts:
        claims.setdefault(verdict.scope, []).append(verdict.claim_id)
    parts = {scope: scope.split("; ") for scope in claims}
    common = [part for part in next(iter(parts.values())) if all(part in others for others in parts.values())]
    own = {scope: ", ".join(part for part in listed if part not in common) for scope, listed in parts.items()}
    texts = [f"{', '.join(dict.fromkeys(claims[scope]))}: {text}" for scope, text in own.items() if text]
    return "; ".join(common + texts)


def verdict_text(verdicts: Sequence[Verdict], width: int = 100) -> str:
    """Print verdicts as plain text, one block per study, then each study in plain words; at most `width` columns."""
    if not verdicts:
        return "no claim can be answered by this study"
    columns: dict[str, Callable[[Verdict], str]] = {
        "claim": lambda v: v.claim_id, "target": target, "outcome": outcome,
        f"estimate [{_level(verdicts)}]": lambda v: points(v.replication), "missing": missing, "power": power,
    }  # fmt: skip
    # A screen has no room for a column of dashes.
    shown = {head: of for head, of in columns.items() if any(of(v) != NONE for v in verdicts)}
    heads = [*shown, "reason"]
    cells = {id(v): [*(of(v) for of in shown.values()), v.reason] for v in verdicts}
    sizes = [max(len(head), *(len(row[i]) for row in cells.values())) for i, head in enumerate(heads[:-1])]
    indent = 2 + sum(sizes) + 2 * len(sizes)
    lines = []
    for study, scope, of_study in blocks(verdicts):
        lines += ["", *_wrapped(f"{study}: {scope}", width, subsequent_indent="  ")]
        for row in [heads, *(cells[id(v)] for v in of_study)]:
            first = "  " + "".join(cell.ljust(size + 2) for cell, size in zip(row, sizes, strict=False))
            lines += _wrapped(row[-1], width, initial_indent=first, subsequent_indent=" " * indent)
    lines += ["", *_wrapped(NOTE, width)]
    for study, text in paragraphs(verdicts):
        lines += ["", *_wrapped(f"{study}, in plain words: {text}", width, subsequent_indent="  ")]
    return "\n".join(lines[1:])


def _wrapped(text: str, width: int, initial_indent: str = "", subsequent_indent: str = "") -> list[str]:
    """Wrap a text at its spaces: a name is not broken at a hyphen."""
    return textwrap.wrap(
        text, width, initial_indent=initial_indent, subsequent_indent=subsequent_indent, break_on_hyphens=False
    )


def verdict_markdown(verdicts: Sequence[Verdict]) -> str:
    """Print verdicts as one short Markdown table per study, between its scope and plain words; reasons are in the paper."""
    parts, words = [], dict(paragraphs(verdicts))
    for study, scope, of_study in blocks(verdicts):
        rows = [[v.claim_id, target(v), outcome(v), points(v.replication), missing(v), power(v)] for v in of_study]
        head = ["Claim", "Target", "Outcome", f"Estimate [{_level(of_study)}], points", "Missing scores", "Power, %"]
        parts.append(f"**`{study}`**: {escaped(scope)}\n\n{markdown(head, rows)}")
        if study in words:
            parts.append(f"In plain words: {escaped(words[study])}")
    return "\n\n".join([*parts, NOTE])


def target(verdict: Verdict) -> str:
    """Word the target of inference with what it is conditional on."""
    return f"{verdict.target}, {verdict.condition}" if verdict.condition else verdict.target


def outcome(verdict: Verdict) -> str:
    """Word the outcome; a dash where only an estimate is given."""
    return NONE if verdict.outcome == "estimate" else verdict.outcome.replace("_", " ")


def missing(verdict: Verdict) -> str:
    """Word the number of missing scores with the estimates at their worst and best; a dash if none is missing."""
    if verdict.replication is None or not verdict.replication.n_unscored:
        return NONE
    bounds = verdict.criteria.get("bounds", {})
    values = [bounds[name]["value"] for name in ("worst", "best") if "value" in bounds.get(name, {})]
    within = f", {signed(values[0])} to {signed(values[1])}" if len(values) == 2 else ""
    return f"{verdict.replication.n_unscored}{within}"


def power(verdict: Verdict) -> str:
    """Word the probability of `replicated` were the published effects true, and half of them; a dash where none is asked."""
    found = verdict.criteria.get("power")
    if found and "reason" in found:
        return UNPUBLISHED
    return (
        f"{percent(found['published']['replicated'], 0)}, {percent(found['half']['replicated'], 0)}" if found else NONE
    )


NOTE = (
    "T1: these tasks and checkpoints; T2: tasks like these; T3: the training method, from one base per scale where it says "
    "so. A claim is decided at its own target; a dash is an estimate. Established: what a published table shows by itself; "
    "the other words are for new data. Estimates in points (a cost ratio as a factor). Missing scores: their number, and "
    "the estimate with them at their worst and best. Power: probability of `replicated` at this study's precision were the "
    "published effects true, and half of them; none published: no such effect was, so none can be assumed. A verdict holds "
    "for its study and scope only."
)


def _level(verdicts: Sequence[Verdict]) -> str:
    levels = {v.replication.level for v in verdicts if v.replication is not None}
    return "/".join(plain(100 * level, 3) for level in sorted(levels)) + " %" if levels else "interval"
