"""Write the index of a study from the store: `python -m replication gather study=controlled`.

conf/ states the runs of the study; their episodes may have been collected by any number of processes or machines. A study
that is incomplete is refused with a list of what is missing.
"""

from replication import settings


def main(cfg: settings.Root) -> None:
    """Check that every run of the study is complete and write its index."""
    from replication.analyse import stopping
    from replication.collect import serve
    from replication.collect.gather import gather

    work = serve.assignments(cfg)
    if not work:
        print("gather: this study serves no model")
        return
    gather(cfg, work, stopping.from_conf(cfg.monitor) if cfg.monitor.enabled else None)
