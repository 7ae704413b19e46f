"""Score arrays of a study, extracted from its score table once for all rules, targets and policies."""

from collections.abc import Collection, Hashable

import pandas as pd

from replication.analyse.stats.estimates.differences import Pair
from replication.analyse.tables.arms import pairs


class PreparedScores:
    """The arrays of each comparison, computed when first needed; the score table must not change afterwards."""

    def __init__(self, scores: pd.DataFrame, shared_phases: Collection[frozenset[str]] = ()) -> None:
        self.scores = scores
        self.shared_phases = shared_phases
        self._pairs: dict[tuple[str, str], dict[str, Pair]] = {}
        self._grouped: dict[tuple[str, str, str], dict[Hashable, dict[str, Pair]]] = {}

    def pairs(self, treatment: str, control: str) -> dict[str, Pair]:
        """Return the arrays of two arms, by benchmark."""
        key = (treatment, control)
        if key not in self._pairs:
            self._pairs[key] = pairs(self.scores, treatment, control, shared=self.shared_phases)
        return self._pairs[key]

    def shared(self, treatment: str, control: str, column: str) -> dict[Hashable, pd.DataFrame]:
        """Split the score table by the values of a column, in order, that both arms have.

        `params_b` is that of the scale, its median: public checkpoints of one scale differ in size.
        """
        sizes = self.scores.groupby("scale")["params_b"].transform("median") if column == "params_b" else column
        parts = self.scores.groupby(sizes)
        return {value: part for value, part in parts if {treatment, control} <= set(part["arm"])}

    def grouped(self, treatment: str, control: str, column: str) -> dict[Hashable, dict[str, Pair]]:
        """Return the arrays of two arms by the shared values of a column, and by benchmark."""
        key = (treatment, control, column)
        if key not in self._grouped:
            shared = self.shared(treatment, control, column)
            self._grouped[key] = {
                value: pairs(part, treatment, control, shared=self.shared_phases) for value, part in shared.items()
            }
        return self._grouped[key]
