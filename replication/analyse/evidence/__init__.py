"""Published numbers as CSV files, each row with its source, and their loaders; numbers of this package's own studies
do not belong here.

`published_scores.csv`  table 9 of the paper, one row per arm, benchmark and metric, as printed
`benchmarks.csv`        the benchmarks of those rows
`paper_tables.csv`      the paper's other tables and figures
`public_scores.csv`     the public model of the same size, and the paper's two arms
`pairs.csv`             agent-tuned models and general ones of the same base on one official leaderboard
`other_pairs.csv`       such pairs from other publications
`general.csv`           general models on the same leaderboard
`attempts.csv`          measurements and reports by others
`drift.csv`             sentences of the paper as the press retold them
`unspecified.csv`       settings that the paper does not state, per benchmark
`world_models.csv`      what training on next observations did to agents in other papers
`run_spreads.csv`       standard deviations between runs in other papers
`tuned_pairs.csv`       agent-tuned models against their bases in other papers, in and outside of their domain
`independent_tests.csv` tests of the released model by others, with a comparator
`outcome_facts.csv`     agreement of scores over trials, arms and repositories, derived from public results per task
`task_groups.csv`       tasks per repository of two benchmarks

`python -m replication evidence` prints them. A table of a user is read by the same loaders: `load_scores(Path("mine.csv"))`.
Not checked: whether a source supports its row; that is for a reader.
"""

from replication.analyse.evidence.literature import (
    DOMAINS,
    load_spreads,
    load_tests,
    load_tuned_pairs,
    load_world_models,
)
from replication.analyse.evidence.outcomes import load_facts, load_groups
from replication.analyse.evidence.reading import TextTable
from replication.analyse.evidence.tables import (
    FOLDER,
    TABLES,
    load_attempts,
    load_benchmarks,
    load_drift,
    load_general,
    load_pairs,
    load_public,
    load_scores,
    load_tables,
    load_unspecified,
)

__all__ = [
    "DOMAINS", "FOLDER", "TABLES", "TextTable", "load_attempts", "load_benchmarks", "load_drift", "load_facts",
    "load_general", "load_groups", "load_pairs", "load_public", "load_scores", "load_spreads", "load_tables", "load_tests",
    "load_tuned_pairs", "load_unspecified", "load_world_models",
]  # fmt: skip
