"""Train the missing organisms of a study: `python -m replication train study=controlled`.

Finished training runs are recognised by identity and kept. `training.workers` processes train side by side. The command
resumes after an interruption. `serve.only=[NAME,...]` trains these checkpoints only.
"""

from pathlib import Path

from replication import settings
from replication.collect import build
from replication.collect.training import pool


def main(cfg: settings.Root) -> None:
    """Train the unfinished training runs of the study."""
    settings.require_accepted(cfg)  # before hours of training for a study that could not be played
    only = cfg.serve.only
    runs = [run for run in build.training_runs(cfg) if not only or build.organism_name(run) in only]
    build.require_weights(cfg, only, to_load=bool(runs))
    summary = pool.train_all(
        [(run, build.training_folder(cfg, run)) for run in runs],
        workers=cfg.training.workers, stack=cfg.training.stack, text_workers=cfg.training.text_workers,
        tracked=cfg.tracking, results=Path(cfg.paths.results),
    )  # fmt: skip
    for line in (*summary.left_out(), summary.text()):
        print(f"train: {line}")
