"""Numbers and texts of claims and verdicts."""

from collections.abc import Sequence

from replication.publish.summary import paragraphs
from replication.publish.verdict_tables import blocks, missing, outcome, power, target
from replication.records import Json, Verdict
from replication.text import points

OUTCOMES = (
    "replicated",
    "not_replicated",
    "inconclusive",
    "not_testable",
    "established",
    "not_established",
    "estimate",
)


def verdicts(all_verdicts: Sequence[Verdict]) -> dict[str, Json]:
    """Count the outcomes, word them plainly, and list claims and verdicts by study."""
    return {
        "outcomes": {name: sum(v.outcome == name for v in all_verdicts) for name in OUTCOMES}
        | {"all": len(all_verdicts)},
        "plain_words": [paragraph._asdict() for paragraph in paragraphs(all_verdicts)],
        "claims": claims(all_verdicts),
        "verdicts": [
            {"study": block.study, "scope": block.scope, "rows": [verdict_row(v) for v in block.verdicts]}
            for block in blocks(all_verdicts)
        ],
    }


def claims(verdicts: Sequence[Verdict]) -> list[dict[str, Json]]:
    """List each claim once, with the settings that its source leaves unspecified."""
    first = {verdict.claim_id: verdict for verdict in reversed(verdicts)}
    return [
        {"id": key, "proposition": v.proposition, "statement": v.statement, "unspecified": list(v.unspecified)}
        for key, v in sorted(first.items())
    ]


def verdict_row(verdict: Verdict) -> dict[str, Json]:
    """Return a verdict as a row of a table."""
    return {
        "claim": verdict.claim_id, "target": target(verdict), "outcome": outcome(verdict), "missing": missing(verdict),
        "power": power(verdict),
        "estimate": points(verdict.replication), "reason": verdict.reason,
    }  # fmt: skip
