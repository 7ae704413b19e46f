"""Write the index of a study from the store: `python -m replication gather study=controlled`.

conf/ states the runs of the study; their episodes may have been collected by any number of processes or machines. If
training runs or episodes are missing, the command lists what is incomplete and writes nothing.
"""

from replication import settings


def main(cfg: settings.Root) -> None:
    """Check that every run of the study is complete and write its index."""
    from replication.analyse import stopping
    from replication.collect import serve
    from replication.collect.gather import gather
    from replication.collect.launch.status import require_trained

    require_trained(cfg)
    assignments = serve.assignments(cfg)
    if not assignments:
        print("gather: this study serves no model")
        return
    gather(cfg, assignments, stopping.from_conf(cfg.monitor) if cfg.monitor.enabled else None)
