"""Make the bases of the scales from scratch: `python -m replication bases`, or with `study=...` those of another study.

A base is shipped in the package and is the start of every arm. It reads general exercises only: no environment, no
tool call. The command resumes after an interruption. A base that is there is kept: remove its folder to make it anew.
"""

from pathlib import Path

from replication import settings
from replication.commands.train import train_all


def main(cfg: settings.Root) -> None:
    """Train the bases that are missing."""
    from replication.collect import build

    runs = [
        (run, build.base_folder(scale))
        for run, (_, scale) in zip(build.bases(cfg), sorted(cfg.scales.items()), strict=True)
    ]
    train_all(runs, workers=cfg.training.workers, tracking_mode=cfg.tracking, results=Path(cfg.paths.results))
