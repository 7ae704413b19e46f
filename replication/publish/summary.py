"""The verdicts of a study in plain words, for readers who know no statistics; every number and name comes from a verdict.

An outcome is worded as far as its rule goes and no further: what is open is not "no effect", and what could not be tested,
such as a comparison with an arm that solves nothing, is no finding. Not covered: estimates at other targets, deviations and
settings that a source leaves unspecified, which the paper lists.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from replication.records import Estimate, Json, Outcome, Verdict
from replication.text import fixed, percent, plain, signed


class Paragraph(NamedTuple):
    """What one study found, in plain words."""

    study: str
    text: str


class _Words(NamedTuple):
    """How claims with one outcome are introduced, and counted."""

    head: str
    counted: str


WORDS: Mapping[Outcome, _Words] = {
    "replicated": _Words("Confirmed by new data", "confirmed"),
    "not_replicated": _Words("Contradicted by new data", "contradicted"),
    "inconclusive": _Words("Left open by new data, which does not mean no effect", "left open"),
    "established": _Words("Shown by the published numbers themselves", "shown by the published numbers"),
    "not_established": _Words(
        "Not shown by the published numbers, which does not mean false", "not shown by the published numbers"
    ),
}
"""In the order in which they are told; what could not be tested comes last."""

TARGETS = {
    "T1": "exactly these tasks and models",
    "T2": "these models, on tasks like these",
    "T3": "the method, were it applied again",
}

WHERE = {
    "weakest": "on the lowest benchmark, {}:",
    "per_scaffold": "under the scaffold with the lowest difference:",
    "per_scale": "at the largest scale:",
    "band": "at the largest size:",
    "per_leaderboard": "on the lowest leaderboard:",
}
"""What the estimate of a verdict is about where it is no average, by the criterion that says so."""

AGAINST = {
    "refuted": "short of the published gain on {}",
    "below_zero_after_holm": "below zero on {}",
    "equivalent_after_holm": "no effect of a size that matters on {}",
}
"""How the benchmarks that a criterion lists contradict a claim about all."""


def paragraphs(verdicts: Iterable[Verdict]) -> list[Paragraph]:
    """Word the decided claims of each study, in the order of the studies; estimates at other targets are left out."""
    of_study: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        if verdict.outcome != "estimate":
            of_study.setdefault(verdict.study, []).append(verdict)
    return [Paragraph(study, _text(listed)) for study, listed in of_study.items()]


def _text(verdicts: Sequence[Verdict]) -> str:
    by_outcome = {outcome: [v for v in verdicts if v.outcome == outcome] for outcome in WORDS}
    answered = [v for listed in by_outcome.values() for v in listed]
    untested = [v for v in verdicts if v.outcome == "not_testable"]
    if not answered:
        return (
            f"None of the {len(verdicts)} claims could be tested ({_ids(untested)}), so this study says nothing for or "
            f"against them."
            if len(verdicts) > 1
            else f"The claim ({_ids(untested)}) could not be tested, so this study says nothing for or against it."
        )
    counts = [
        f"{len(listed)} {'was' if len(listed) == 1 else 'were'} {WORDS[outcome].counted}"
        for outcome, listed in by_outcome.items()
        if listed
    ]
    counts += [f"{len(untested)} could not be tested"] * bool(untested)
    sentences = [f"Of {len(verdicts)} claim{'s' * (len(verdicts) != 1)}, {_joined(counts)}."]
    for outcome, listed in by_outcome.items():
        if listed:
            sentences.append(f"{WORDS[outcome].head}: {'; '.join(map(_claim, listed))}.")
    if untested:
        sentences.append(f"Not testable here, so this study says nothing for or against them: {_ids(untested)}.")
    return " ".join([*sentences, _reach(answered), *_legend(answered)])


def _claim(verdict: Verdict) -> str:
    """Quote a claim, with its estimate and what it hangs on."""
    notes = [verdict.claim_id, _estimate(verdict), *_contradicting(verdict), *_missing(verdict), *_chance(verdict)]
    return f"“{verdict.statement.strip().rstrip('.')}” ({'; '.join(note for note in notes if note)})"


def _criteria(verdict: Verdict) -> Mapping[str, Json]:
    """Return the criteria of the rule, under the policy for missing scores that the estimate is of."""
    policy = verdict.criteria.get("decided_under")
    return verdict.criteria if policy is None else verdict.criteria[policy]


def _estimate(verdict: Verdict) -> str:
    estimate, criteria = verdict.replication, _criteria(verdict)
    if estimate is None:
        return ""
    where = next((words.format(criteria[key]) for key, words in WHERE.items() if key in criteria), "")
    interval = f"{plain(100 * estimate.level, 3)} % interval"
    return f"{where}{' ' * bool(where)}{_value(estimate, interval)}"


def _value(estimate: Estimate, interval: str) -> str:
    values = (estimate.value, estimate.low, estimate.high)
    if estimate.kind == "log_ratio":
        value, low, high = (fixed(math.exp(x), 2) for x in values)
        return f"cost per solved task {value} times that of the other side, {interval} {low} to {high}"
    value, low, high = map(signed, values)
    return f"{value} points, {interval} {low} to {high}"


def _contradicting(verdict: Verdict) -> list[str]:
    """Say by what new data contradict a claim."""
    if verdict.outcome != "not_replicated":
        return []
    criteria = _criteria(verdict)
    found = [words.format(", ".join(criteria[key])) for key, words in AGAINST.items() if criteria.get(key)]
    if criteria.get("equivalent"):
        found.append(f"any effect is smaller than {plain(100 * criteria['sesoi'])} points")
    return found


def _missing(verdict: Verdict) -> list[str]:
    """Say that an outcome hangs on scores that are missing."""
    bounds = verdict.criteria.get("bounds")
    if verdict.outcome != "inconclusive" or not bounds or verdict.replication is None:
        return []
    differ = len({bound["outcome"] for bound in bounds.values()}) > 1
    return [f"the answer hangs on {verdict.replication.n_unscored} missing scores"] if differ else []


def _chance(verdict: Verdict) -> list[str]:
    """Say how likely a study of this precision confirms the claim: without it, an open answer cannot be read."""
    power = verdict.criteria.get("power")
    if verdict.outcome != "inconclusive" or not isinstance(power, Mapping) or "published" not in power:
        return []
    full, half = (_percent(power[name]["replicated"]) for name in ("published", "half"))
    return [f"a study this precise confirms the published effects with a chance of {full}, half of them with {half}"]


def _percent(chance: float) -> str:
    return "under 1 %" if chance < 0.005 else f"{percent(chance, 0)} %"


def _reach(answered: Sequence[Verdict]) -> str:
    """Say what the answers are about."""
    about: dict[str, list[Verdict]] = {}
    for verdict in answered:
        words = TARGETS[verdict.target] + (f" from the same start ({verdict.condition})" if verdict.condition else "")
        about.setdefault(words, []).append(verdict)
    listed = next(iter(about))
    if len(about) > 1:
        listed = _joined([f"{words} ({_ids(of)})" for words, of in about.items()])
    return (
        f"The answers are about {listed}. They do not extend to models, tasks or sizes outside the scope of the study."
    )


def _legend(answered: Sequence[Verdict]) -> list[str]:
    """Say what the numbers are; nothing where there are none."""
    estimates = [v.replication for v in answered if v.replication is not None]
    if not estimates:
        return []
    texts = ["Points are percentage points of the score."] * any(e.kind == "difference" for e in estimates)
    for level in sorted({e.level for e in estimates}):
        share = plain(100 * level, 3)
        texts.append(f"A {share} % interval is made to hold the true value in {share} of 100 studies like this one.")
    return texts


def _ids(verdicts: Iterable[Verdict]) -> str:
    return ", ".join(dict.fromkeys(v.claim_id for v in verdicts))


def _joined(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]
