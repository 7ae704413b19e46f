"""The decision rules by name; a new rule is its functions and one entry here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from replication.analyse.rules import collected, cost, groups, literature, published, rows, shared
from replication.analyse.rules.data import Power, Rule, StudyData
from replication.analyse.rules.published import not_published
from replication.errors import AnalysisError
from replication.records import Claim, Estimate, Target


@dataclass(frozen=True, kw_only=True)
class DecisionRule:
    """A rule, for each kind of data that it reads."""

    parameters: tuple[str, ...]
    """Names that a claim must give, all of them."""
    published: Rule
    """On the printed table."""
    collected: Rule | None
    """On scores that a study collected; None: the claim is about the printed table alone."""
    pairs: Rule | None = None
    """On published pairs of models, where the claim names their leaderboards; None: as `published`."""
    original: Callable[[Claim, StudyData], Estimate] | None = None
    """The published side of the comparison, where it is one number."""
    power: Power | str = ""
    """Probability of each outcome on collected scores, were the published effects true; or why none can be computed."""
    published_targets: tuple[Target, ...] = ("T2", "T3")
    per_scale: bool = True
    """True if the claim makes sense at one scale alone."""

    def on(self, claim: Claim, data: StudyData) -> Rule:
        """Return the rule for a claim on this data; raises AnalysisError where there is none."""
        if data.scores is not None:
            if self.collected is None:
                raise AnalysisError(f"rule `{claim.rule}` is about the published table, not about collected scores.")
            return self.collected
        return self.pairs if self.pairs and "published_pairs" in claim.compare else self.published

    def targets(self, claim: Claim, data: StudyData) -> tuple[Target, ...]:
        """Return the targets of inference that are answered; a pair of models is one training run of each.

        Public checkpoints have no training runs, so they answer T2 only.
        """
        if data.scores is not None:
            return ("T2",) if data.public else ("T2", "T3")
        return ("T3",) if "published_pairs" in claim.compare else self.published_targets


RULES: Mapping[str, DecisionRule] = {
    "published_on_all": DecisionRule(
        parameters=("alpha", "icc", "rho"), published=published.published_on_all, collected=None,
        published_targets=("T1", "T2"),
    ),
    "average_effect": DecisionRule(
        parameters=("alpha", "sesoi", "icc", "rho", "mean"), published=published.published_average,
        collected=collected.average_effect, original=shared.published_mean, power=collected.mean_power,
    ),
    "above_control": DecisionRule(
        parameters=("alpha", "sesoi", "mean"), published=not_published(published.needs_control),
        collected=collected.above_control, power=collected.mean_power,
    ),
    "replicates_rows": DecisionRule(
        parameters=("alpha", "sesoi", "tau", "icc", "rho", "beside"), published=not_published(published.needs_tasks),
        collected=rows.replicates_rows, power=rows.rows_power,
    ),
    "on_all_benchmarks": DecisionRule(
        parameters=("alpha", "sesoi", "equivalence_refutes"), published=not_published(published.needs_tasks),
        pairs=published.published_pairs_on_all, collected=collected.on_all_benchmarks,
        power=collected.all_power,
    ),
    "on_all_scaffolds": DecisionRule(
        parameters=("alpha",), published=not_published(published.needs_scaffolds), collected=groups.on_all_scaffolds,
        power=groups.scaffolds_power,
    ),
    "on_all_scales": DecisionRule(
        parameters=("alpha", "sesoi"), published=not_published(published.needs_scales),
        pairs=published.published_pairs_over_scales, collected=groups.on_all_scales, per_scale=False,
        power=groups.scales_power,
    ),
    "cheaper": DecisionRule(
        parameters=("alpha",), published=not_published(published.needs_costs), collected=cost.cheaper,
        power="no cost of a solved task was published",
    ),
    "literature_mean": DecisionRule(
        parameters=("alpha", "sesoi", "unstated_tasks"), published=literature.literature_mean,
        collected=literature.not_collected, published_targets=("T3",),
    ),
}  # fmt: skip
