"""Train the organisms of a study: `python -m replication.train study=controlled`.

Finished training runs are kept by identity; the rest is trained by `training.workers` processes side by side.
"""

import time
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from multiprocessing.queues import Queue
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from replication import progress, schemas, tracking
from replication.cli import entry
from replication.errors import TrainingError
from replication.records import Json

if TYPE_CHECKING:
    from replication.training.loop import Progress
    from replication.training.runs import TrainingRun

_tell: "Queue | None" = None


def main(cfg: schemas.Root) -> None:
    """Train what is missing."""
    from replication import config

    runs = [(run, config.training_folder(cfg, run)) for run in config.training_runs(cfg)]
    train_all(runs, workers=cfg.training.workers, tracking_mode=cfg.tracking, results=Path(cfg.paths.results))


def train_all(
    runs: "list[tuple[TrainingRun, Path]]", *, workers: int, tracking_mode: schemas.Tracking, results: Path
) -> None:
    """Carry out unfinished training runs side by side, with one progress bar over all their tokens."""
    from replication.training.runs import finished

    todo = [(run, folder) for run, folder in runs if finished(run, folder) is None]
    if not todo:
        print(f"train: all {len(runs)} training runs are there" if runs else "train: this study trains nothing")
        return
    started = time.monotonic()
    context = get_context("spawn")
    queue = context.Queue()
    records: list[dict[str, Json]] = []
    # The longest first, so that the last one to finish is a short one.
    todo.sort(key=lambda item: -sum(phase.n_tokens for phase in item[0].phases))
    with ProcessPoolExecutor(min(workers, len(todo)), context, initializer=_remember, initargs=(queue,)) as pool:
        futures = {pool.submit(_work, run, str(folder)): run for run, folder in todo}
        bar = Thread(target=_show, args=(queue, todo), daemon=True)
        bar.start()
        try:
            for future in as_completed(futures):
                records.append(_result(future, futures[future]))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        finally:
            queue.put(None)
            bar.join()
    tracking.log_training(tracking_mode, results, [folder for _, folder in todo])
    print(f"train: {len(records)} training runs in {time.monotonic() - started:.0f} s")


def _result(future: Future, run: "TrainingRun") -> dict[str, Json]:
    try:
        return future.result()
    except (TrainingError, OSError):
        raise
    except Exception as error:
        raise TrainingError(f"training run `{run.name}` failed: {type(error).__name__}: {error}") from error


def _remember(queue: Queue) -> None:
    global _tell
    _tell = queue


def _work(run: "TrainingRun", folder: str) -> dict[str, Json]:
    from replication.training.runs import carry_out

    queue, name = _tell, run.name
    assert queue is not None
    return carry_out(run, Path(folder), lambda now: queue.put((name, now)))


def _show(queue: Queue, todo: "list[tuple[TrainingRun, Path]]") -> None:
    total = sum(phase.n_tokens for run, _ in todo for phase in run.phases)
    seen: dict[str, Progress] = {}
    with progress.bar(total, f"train {len(todo)} runs", "token", scale=True) as bar:
        while (item := queue.get()) is not None:
            name, now = item
            seen[name] = now
            bar.n = min(total, sum(p.n_tokens for p in seen.values()))
            bar.set_postfix_str(f"{name.rsplit('-', 1)[0]} {now.phase} loss {now.loss:.3f}", refresh=False)
            bar.update(0)
        bar.refresh()


if __name__ == "__main__":
    entry(main)()
