"""Analyse a frozen study: every verdict, estimate and table that the paper prints or draws."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replication.analyse import reanalysis
from replication.analyse.analysis_settings import AnalysisSettings
from replication.analyse.rules.data import StudyData
from replication.analyse.secondary import SecondaryAnalyses, run_secondary_analyses
from replication.analyse.tables.arms import shared_phases
from replication.analyse.verdicts import Tables, decide, tabulate

if TYPE_CHECKING:
    import pandas as pd

    from replication.records import Claim, Verdict
    from replication.store.frozen import Frozen


@dataclass(frozen=True, kw_only=True)
class Beside:
    """A frozen study that is shown beside another one, without its secondary analyses and figures."""

    frozen: Frozen
    data: StudyData
    tables: Tables


@dataclass(frozen=True, kw_only=True)
class Results:
    """Everything that is printed or drawn of a study."""

    data: StudyData
    verdicts: list[Verdict]
    """Of the published numbers first, then of the study, then of those beside it."""
    tables: Tables
    reanalysis: reanalysis.Reanalysis
    frozen: Frozen | None
    """None for a reanalysis."""
    secondary: SecondaryAnalyses | None
    """None for a reanalysis."""
    sesoi: float
    """Smallest effect of interest, a fraction."""
    beside: Sequence[Beside] = ()
    """Further studies."""

    @property
    def shown(self) -> pd.DataFrame | None:
        """Estimates under the first policy for unscored episodes, the one that the paper shows; None without any."""
        return self.tables.under(self.settings.unscored[0])

    @property
    def settings(self) -> AnalysisSettings:
        """Settings of the analysis."""
        return self.data.settings


def analyse(
    study: str,
    kind: str,
    claims: Sequence[Claim],
    settings: AnalysisSettings,
    frozen: Frozen | None,
    beside: Sequence[Frozen] = (),
) -> Results:
    """Decide every claim on the published numbers and on the frozen study, and compute every table.

    frozen : None for a study that reads published numbers only. beside : other studies, whose verdicts are added.
    """
    published = reanalysis.study_data(claims, settings)
    data, verdicts = published, decide(claims, published)
    if frozen is not None:
        data = study_data(published, study, kind, frozen)
        verdicts = verdicts + decide(claims, data)
    shown = []
    for other in beside:
        own = study_data(published, other.about.study, other.about.kind, other)
        verdicts = verdicts + decide(claims, own)
        shown.append(Beside(frozen=other, data=own, tables=tabulate(claims, own)))
    tables = tabulate(claims, data)
    secondary = None
    if frozen is not None:
        pairs: list[tuple[str, str]] = []
        if tables.estimates is not None:
            estimated = tables.estimates[["treatment", "control"]].drop_duplicates()
            pairs = list(estimated.itertuples(index=False, name=None))
        secondary = run_secondary_analyses(claims, data, frozen, pairs)
    return Results(
        data=data, verdicts=verdicts, tables=tables, frozen=frozen, secondary=secondary,
        reanalysis=reanalysis.analyse(tables.audit, published.published.scores, settings, published.literature),
        beside=shown, sesoi=next(claim.parameters["sesoi"] for claim in claims if "sesoi" in claim.parameters),
    )  # fmt: skip


def study_data(published: StudyData, study: str, kind: str, frozen: Frozen) -> StudyData:
    """Return what the rules may use of a frozen study: its scores and index beside the published numbers."""
    about, scores = frozen.about, frozen.scores
    if about.clusters:
        of_task = {(name, task): group for name, tasks in about.clusters.items() for task, group in tasks.items()}
        keys = zip(scores["benchmark"], scores["task_id"], strict=True)
        scores = scores.assign(cluster=[of_task.get(key) for key in keys])
    return dataclasses.replace(
        published, study=study, kind=kind, scope=about.scope, deviations=about.deviations,
        scores=scores, training=frozen.training,
        comparisons=about.comparisons, shared_phases=shared_phases(frozen.curves),
    )  # fmt: skip
