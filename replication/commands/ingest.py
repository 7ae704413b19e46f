"""Store the results of official harnesses: `python -m replication ingest study=mystudy`.

Every entry of `ingest` in conf/ is one run: where its results are and what it ran. Results are checked before anything is
written, stored ones are kept, and `gather`, score table and verdicts treat the runs like all others.
"""

from pathlib import Path

from replication import settings
from replication.errors import ConfigError
from replication.store import Store


def main(cfg: settings.Root) -> None:
    """Ingest every run that conf/ names."""
    from replication.collect import build
    from replication.collect.ingest import ingest

    jobs = build.harness_jobs(cfg)
    if not jobs:
        raise ConfigError(
            f"study `{cfg.study.name}` has no results to ingest. Add them to its file as `ingest: {{NAME: {{harness: csv, "
            "folder: ..., model: ...}}`; conf/ingest has the defaults."
        )
    store = Store(Path(cfg.paths.results) / "store")
    for job in jobs:
        counts = ingest(store, job)
        print(f"ingest: `{job.run.spec.run_id}`: {counts.n_added} results added, {counts.n_unscored} without a score")
