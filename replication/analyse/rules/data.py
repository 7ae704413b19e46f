"""Input and result of a decision rule."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pandas as pd

from replication.analyse.analysis_settings import AnalysisSettings
from replication.analyse.empirical import Observed
from replication.analyse.stats.estimates.differences import Unscored
from replication.analyse.synthesis import Literature
from replication.analyse.table_audit import PublishedTable
from replication.analyse.tables.prepared import PreparedScores
from replication.errors import AnalysisError
from replication.records import Claim, Estimate, Json, Outcome, Target


@dataclass(frozen=True, kw_only=True)
class StudyData:
    """The data of one study, as its rules read it."""

    study: str
    kind: str
    """Kind of the study, as in conf/study; a claim names the kinds that can answer it."""
    scope: str = ""
    deviations: tuple[str, ...] = ()
    published: PublishedTable
    model_pairs: pd.DataFrame | None = None
    """Published scores of agent-tuned models and general ones of the same base."""
    literature: Literature | None = None
    """What other papers found."""
    observed: Observed | None = None
    """What others observed of the quantities that the published table does not print."""
    scores: pd.DataFrame | None = None
    """None in a reanalysis."""
    training: pd.DataFrame | None = None
    shared_phases: frozenset[frozenset[str]] = frozenset()
    """Pairs of arms whose training runs of one seed share their first phase."""
    beside: Mapping[str, str] = field(default_factory=dict)
    """Environment to the published row of the benchmark that it stands in for."""
    comparisons: tuple[tuple[str, str], ...] = ()
    """(treatment, control) that the study estimates in addition to those of the claims."""
    settings: AnalysisSettings

    @property
    def public(self) -> bool:
        """True if scores were collected and every checkpoint is public: none is a training run of this package."""
        return self.scores is not None and bool(self.scores["training_seed"].isna().all())

    @functools.cached_property
    def prepared(self) -> PreparedScores:
        """Score arrays per comparison."""
        if self.scores is None:
            raise AnalysisError(f"study `{self.study}` has no collected scores.")
        return PreparedScores(self.scores, self.shared_phases)


@dataclass(frozen=True, kw_only=True)
class RuleResult:
    """The result of a rule for one target under one policy for unscored episodes."""

    outcome: Outcome
    reason: str
    estimate: Estimate | None
    scope: str
    criteria: Mapping[str, Json]


Power = Callable[[Claim, StudyData, Target, Unscored, RuleResult], dict[str, Json]]
"""Probability of each outcome of a rule at the precision that the study reached, were the published effects true."""

Rule = Callable[[Claim, StudyData, Target, Unscored], RuleResult]
"""Raises AnalysisError, with the reason, where the data cannot answer the claim."""
