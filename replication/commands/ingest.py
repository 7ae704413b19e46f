"""Store the results of official harnesses: `python -m replication ingest study=mystudy`.

Every entry of `ingest` in conf/ is one run: where its results are and what it ran. Results are checked before anything is
written, stored ones are kept, and `gather`, score table and verdicts treat the runs like all others.
"""

from pathlib import Path

from replication import settings
from replication.errors import ConfigError
from replication.store import Store
from replication.text import fixed


def main(cfg: settings.Root) -> None:
    """Ingest every run that conf/ names."""
    from replication.collect import build
    from replication.collect.benchmarks.official.adapter import Adapter
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
        if isinstance(job.harness, Adapter):
            for name, value, tool in job.harness.composites(job.run, job.harness.ingest(job.run)):
                ours = "not defined, since an attempt has no score" if value is None else fixed(value, 4)
                print(f"ingest:   {name} {ours}" + ("" if tool is None else f"; the tool's own {fixed(tool, 4)}"))
