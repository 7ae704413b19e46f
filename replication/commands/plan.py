"""Print the cost and the precision of a study before it is run: `python -m replication plan study=controlled`.

Quantities that the frozen data of the study, or of `plan.data`, can supply are measured; all others are assumptions in
conf/plan.
"""

import dataclasses

from replication import settings
from replication.analyse import analysis_settings, reanalysis
from replication.analyse.claims import load_claims
from replication.analyse.planning.measurements import measure
from replication.analyse.planning.plan import Plan, plan, validate
from replication.analyse.planning.volume import Counts, PlannedRun
from replication.analyse.verdicts import rows_beside
from replication.collect import build
from replication.errors import ConfigError
from replication.publish import official_plan
from replication.publish.plan import report


def main(cfg: settings.Root) -> None:
    """Print the plan of the configured study."""
    print(printed(cfg))


def printed(cfg: settings.Root) -> str:
    """Return the printed plan: what scaffolds play, and what official harnesses play."""
    own, n_checkpoints = settings.played(cfg), counted(cfg).n_checkpoints
    official = "\n".join(official_plan.report(cfg, n_checkpoints))
    if official and not own.benchmarks and n_checkpoints:
        return f"plan of study {cfg.study.name}: {cfg.study.scope}\n\n{official}"
    return "\n\n".join([report(own, planned(cfg)), *([official] if official else [])])


def planned(cfg: settings.Root) -> Plan:
    """Return the plan of what the scaffolds of a study play; reads its frozen data and its store if they exist, writes
    nothing."""
    cfg = settings.played(cfg)
    if not cfg.benchmarks or not (cfg.arms or cfg.models):
        raise ConfigError(
            f"study `{cfg.study.name}` plays no episodes: there is nothing to plan. "
            "Plan a study that collects, for example study=controlled."
        )
    validate(cfg)
    claims = load_claims(settings.CONF / "claim")
    published = reanalysis.study_data(claims, analysis_settings.from_conf(cfg.analysis))
    published = dataclasses.replace(published, beside=rows_beside(claims))
    return plan(cfg, counted(cfg), measure(cfg), claims, published)


def counted(cfg: settings.Root) -> Counts:
    """Count the checkpoints of a study and the training runs that produce them."""
    runs = tuple(
        PlannedRun(run.arm, run.scale, sum(phase.n_tokens for phase in run.phases)) for run in build.training_runs(cfg)
    )
    return Counts(len(runs) + len(cfg.models), runs)
