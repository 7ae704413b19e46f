"""Learning curves in wandb, offline by default; the reference is `curve.csv` beside each checkpoint."""

import csv
import os
from pathlib import Path
from types import ModuleType

from replication import settings
from replication.errors import TrainingError
from replication.records import TrainingRecord, to_json
from replication.store.reader import read_record


def log_training(tracking: settings.Tracking, results: Path, folders: list[Path]) -> None:
    """Log the curves and records of finished training runs."""
    if tracking.mode == "disabled":
        return
    try:
        wandb = _wandb(results)
    except ImportError:
        print("tracking: wandb is not installed; curves are in results/training/*/curve.csv")
        return
    for folder in folders:
        record = read_record(folder / "training.json", TrainingRecord, remedy="Run `make train`.", error=TrainingError)
        with (
            (folder / "curve.csv").open(newline="") as file,
            wandb.init(
                project=tracking.project, name=record.training_run, group=record.arm, mode=tracking.mode,
                dir=results / "wandb", config=to_json(record),
                settings=wandb.Settings(console="off", x_disable_stats=True, silent=True),
            ) as run,
        ):  # fmt: skip
            for row in csv.DictReader(file):
                run.log(
                    {key: float(row[key]) for key in ("loss", "lr", "n_tokens", "reward") if row.get(key)},
                    step=int(row["step"]),
                )


def _wandb(results: Path) -> ModuleType:
    # Without it, wandb would stage artifacts in the home folder.
    folder = (results / "wandb").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("WANDB_DATA_DIR", str(folder))
    import wandb

    return wandb
