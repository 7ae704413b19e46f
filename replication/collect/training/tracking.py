"""Learning curves in wandb, offline by default; the reference is `curve.csv` beside each checkpoint.

wandb is a mirror: it is checked before training, and a failure after it is a warning. A training run is logged once, by a
process of its own with a time limit, and one that could not be logged is logged by the next call of the command.
"""

import csv
import netrc
import os
import sys
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from replication import processes, settings
from replication.errors import ConfigError, TrainingError
from replication.masking import mask_text, masked
from replication.records import TrainingRecord, stable_hash, to_json
from replication.store.reader import read_record

MODES = ("offline", "online", "disabled")
UNLOGGED = "wandb.unlogged"
"""A file in the folder of a training run that is not logged yet."""
START_S, PER_RUN_S = 60, 20
"""Time limit of logging: for the first connection, and for each training run."""


def check(tracking: settings.Tracking) -> None:
    """Raise ConfigError for an unknown mode, or for mode online without a key, before anything is trained."""
    if tracking.mode not in MODES:
        raise ConfigError(f"`tracking.mode` is {tracking.mode!r}; allowed: {', '.join(MODES)}.")
    if tracking.mode == "online" and not has_key():
        raise ConfigError(
            f"`tracking.mode` is online, but there is no key for {_host()}. Run `wandb login`, or set WANDB_API_KEY in the "
            f"environment, or use `tracking.mode=offline` and `wandb sync` later."
        )


def note_unlogged(tracking: settings.Tracking, folders: Sequence[Path]) -> None:
    """Note that these training runs, which are about to start, are to be logged when they are finished."""
    for folder in folders if tracking.mode != "disabled" else ():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / UNLOGGED).touch()


def log_unlogged(tracking: settings.Tracking, results: Path, folders: Sequence[Path]) -> None:
    """Log the finished training runs that were not logged yet; a failure is a warning, and the next call tries again."""
    todo = [f for f in folders if (f / UNLOGGED).exists() and (f / "training.json").exists()]
    if tracking.mode == "disabled" or not todo:
        return
    try:
        with processes.workers(1) as pool:
            pool.submit(processes.call, _log, tracking, results, todo).result(START_S + PER_RUN_S * len(todo))
    except (
        Unavailable,
        TrainingError,
        OSError,
        BrokenProcessPool,
    ) as error:  # OSError: a full disk, or the time limit
        n_left = sum((folder / UNLOGGED).exists() for folder in todo)
        reason = mask_text(str(error)) or "it took too long or was ended"
        print(
            f"tracking: WARNING, {n_left} training runs are not logged to wandb: {reason}\n"
            f"tracking: their curves are in results/training/*/curve.csv; the same command logs them later",
            file=sys.stderr,
        )


class Unavailable(Exception):
    """wandb is missing, refuses a run, or does not reach its server."""


def _log(tracking: settings.Tracking, results: Path, folders: Sequence[Path]) -> None:
    isolate(results)
    try:
        import wandb
    except ImportError as error:
        raise Unavailable(f"it cannot be imported ({error})") from None
    for folder in folders:
        record = read_record(folder / "training.json", TrainingRecord, remedy="Run `make train`.", error=TrainingError)
        with (folder / "curve.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        try:
            with wandb.init(
                project=tracking.project, name=record.training_run, group=record.arm, mode=cast(Any, tracking.mode),
                dir=results / "wandb", config=masked(to_json(record)), settings=run_settings(),
                # The same id at every attempt: wandb joins what a first, interrupted one has sent.
                id=stable_hash([tracking.project, record.training_run], 16),
                resume="allow" if tracking.mode == "online" else None,
            ) as run:  # fmt: skip
                for row in rows:
                    run.log(
                        {key: float(row[key]) for key in ("loss", "lr", "n_tokens", "reward") if row.get(key)},
                        step=int(row["step"]),
                    )
        except Exception as error:  # wandb raises many types, and none may stop a study
            raise Unavailable(f"{type(error).__name__}: {error}".splitlines()[0]) from None
        (folder / UNLOGGED).unlink(missing_ok=True)


def run_settings() -> Any:
    """Return wandb.Settings under which nothing of the machine is logged."""
    import wandb

    return wandb.Settings(
        console="off", silent=True, init_timeout=PER_RUN_S, finish_timeout=PER_RUN_S, finish_timeout_raises=True,
        # Nothing of the machine but the curve: command lines, addresses of repositories and hosts may hold keys.
        x_disable_stats=True, x_disable_meta=True, x_disable_machine_info=True, x_save_requirements=False,
        disable_git=True, disable_code=True, save_code=False,
    )  # fmt: skip


def isolate(results: Path) -> None:
    """Keep what an outer wandb run or sweep set for its own process away from ours, and all files in one folder."""
    folder = (results / "wandb").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    for name in [name for name in os.environ if name.startswith("WANDB_") and name not in _KEPT]:
        del os.environ[name]
    os.environ["WANDB_DATA_DIR"] = str(folder)  # otherwise artifacts would be staged in the home folder


_KEPT = {
    "WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_ENTITY", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_HTTP_TIMEOUT",
    "WANDB_IDENTITY_TOKEN_FILE", "WANDB_INSECURE_DISABLE_SSL", "WANDB_CREDENTIALS_FILE",
}  # fmt: skip
"""Where to log and as whom; the rest, such as WANDB_RUN_ID, would give all training runs one id, name or sweep."""


def _host() -> str:
    return urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or "the server"


def has_key() -> bool:
    """Tell whether there is a key for the server of wandb."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    for path in (os.environ.get("NETRC", "~/.netrc"), "~/_netrc"):
        try:
            if netrc.netrc(os.path.expanduser(path)).authenticators(_host()):
                return True
        except (OSError, netrc.NetrcParseError):
            continue
    return False
