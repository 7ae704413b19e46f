"""Train the missing base models of the scales: `python -m replication bases`, with `study=...` those of another study.

All arms of a scale start from its base, which is shipped in the package for the smallest scales. A base is trained on
general exercises only: no environment, no tool call. Existing bases are kept; to train one again, remove its folder.
The command resumes after an interruption.
"""

from pathlib import Path

from replication import settings
from replication.collect import build
from replication.collect.training import pool


def main(cfg: settings.Root) -> None:
    """Train the bases without a finished checkpoint."""
    summary = pool.train_all(
        [(run, build.base_folder(cfg, run.scale)) for run in build.bases(cfg)],
        workers=cfg.training.workers, stack=cfg.training.stack, text_workers=cfg.training.text_workers,
        tracked=cfg.tracking, results=Path(cfg.paths.results),
    )  # fmt: skip
    print(f"bases: {summary.text()}")
