"""The stopping rule of a study, in the form that the collecting half calls."""

import dataclasses
from collections.abc import Mapping, Sequence

from replication import settings
from replication.analyse.stats.design import monitor
from replication.records import Json


@dataclasses.dataclass(frozen=True)
class SequentialRule:
    """A sequential test of the difference between two arms, looked at after each block of tasks."""

    rule: monitor.Rule

    @property
    def parameters(self) -> Mapping[str, Json]:
        """Every setting of the rule, for the record of looks."""
        return dataclasses.asdict(self.rule)

    def looks(self, differences: Sequence[float]) -> list[dict[str, Json]]:
        """Compute the looks at task differences, treatment minus control, in [-1, 1], (n_tasks,)."""
        return monitor.to_records(monitor.trajectory(differences, self.rule))


def from_conf(chosen: settings.Monitor) -> SequentialRule:
    """Build the rule of conf/monitor."""
    return SequentialRule(
        monitor.Rule(alpha=chosen.alpha, sesoi=chosen.sesoi, block=chosen.block, min_blocks=chosen.min_blocks)
    )
