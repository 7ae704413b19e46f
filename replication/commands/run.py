"""Collect the episodes of a study: `python -m replication run study=controlled`.

Existing results are kept; no engine is started if nothing is missing. One engine serves all checkpoints that differ in
their weights only, one after the other, and each plays all its benchmarks, scaffolds and probes in one pool. On a machine
with idle cores `engine.processes` engines share the checkpoints. `serve.only=[NAME,...]` plays these checkpoints only, for
example in one job of a cluster, and leaves the index to `python -m replication gather`. With `monitor=on` two arms are
played by blocks of tasks on one engine, and a stopping rule looks after each; all other arms then play the same tasks.
"""

from replication import settings
from replication.errors import ConfigError


def main(cfg: settings.Root) -> None:
    """Play missing episodes, grade, and write the study's index."""
    from replication.collect import build, monitoring, serve
    from replication.collect.gather import gather

    settings.require_accepted(cfg)
    if cfg.serve.only and cfg.monitor.enabled:
        raise ConfigError(
            f"monitoring compares two arms on one engine, so it needs all checkpoints; got `serve.only` "
            f"{cfg.serve.only}. Leave `serve.only` empty, or set `monitor=off`."
        )
    assignments = serve.assignments(cfg, cfg.serve.only)
    if not assignments:
        print("run: this study serves no model")
        return
    serve.require_weights(cfg, assignments)
    planned, rule = assignments, None
    if cfg.monitor.enabled:
        from replication.analyse import stopping

        rule = stopping.from_conf(cfg.monitor)
        planned = monitoring.collect_monitored(cfg, assignments, rule).work
    for of_size, part in serve.by_parallel_size(cfg, planned):
        serve.play_missing(of_size, part)
    if cfg.serve.only:
        print("run: the index is written by `python -m replication gather` when all checkpoints are played")
    elif any(job.run.spec.run_id not in serve.store_of(cfg).runs() for job in build.harness_jobs(cfg)):
        print("run: the index is written by `python -m replication official`, after the official harnesses")
    else:
        gather(cfg, assignments, rule)
