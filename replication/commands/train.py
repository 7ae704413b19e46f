"""Train the organisms of a study: `python -m replication train study=controlled`.

Finished training runs are kept by identity; the rest is trained by `training.workers` processes side by side.
"""

import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from multiprocessing.queues import Queue
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from replication import settings
from replication.collect import progress
from replication.collect.training import tracking
from replication.errors import TrainingError
from replication.records import TrainingRecord

if TYPE_CHECKING:
    from replication.collect.training.loop import Progress
    from replication.collect.training.runs import TrainingRun

_tell: "Queue | None" = None


def main(cfg: settings.Root) -> None:
    """Train what is missing."""
    from replication.collect import build

    runs = [(run, build.training_folder(cfg, run)) for run in build.training_runs(cfg)]
    train_all(runs, workers=cfg.training.workers, tracking_mode=cfg.tracking, results=Path(cfg.paths.results))


def train_all(
    runs: "list[tuple[TrainingRun, Path]]", *, workers: int, tracking_mode: settings.Tracking, results: Path
) -> None:
    """Carry out unfinished training runs side by side, with one progress bar over all their tokens.

    A run whose first phases are the whole of another run of the list starts from that run's checkpoint, once it is there.
    """
    from replication.collect.training.runs import finished

    todo = [(run, folder) for run, folder in runs if finished(run, folder) is None]
    if not todo:
        print(f"train: all {len(runs)} training runs are there" if runs else "train: this study trains nothing")
        return
    started = time.monotonic()
    context = get_context("spawn")
    queue = context.Queue()
    folders = {run.identity: folder for run, folder in runs}
    unfinished = {run.identity for run, _ in todo}
    # The longest first, so that the last one to finish is a short one; what others wait for before all.
    starts = {run.identity: run.longest_prefix(folders) for run, _ in todo}
    todo.sort(key=lambda item: (item[0].identity not in starts.values(), -sum(p.n_tokens for p in item[0].phases)))
    futures: dict[Future, TrainingRun] = {}
    n_done = 0
    with ProcessPoolExecutor(min(workers, len(todo)), context, initializer=_remember, initargs=(queue,)) as pool:

        def submit_ready() -> None:
            for run, folder in list(todo):
                start = starts[run.identity]
                if start not in unfinished:
                    todo.remove((run, folder))
                    futures[pool.submit(_work, run, str(folder), str(folders[start]) if start else None)] = run

        bar = Thread(target=_show, args=(queue, list(todo)), daemon=True)
        bar.start()
        trained = [folder for _, folder in todo]
        try:
            submit_ready()
            while futures:
                for future in wait(futures, return_when=FIRST_COMPLETED).done:
                    run = futures.pop(future)
                    _result(future, run)
                    n_done += 1
                    unfinished.discard(run.identity)
                submit_ready()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        finally:
            queue.put(None)
            bar.join()
    tracking.log_training(tracking_mode, results, trained)
    print(f"train: {n_done} training runs in {time.monotonic() - started:.0f} s")


def _result(future: Future, run: "TrainingRun") -> TrainingRecord:
    try:
        return future.result()
    except (TrainingError, OSError):
        raise
    except Exception as error:
        raise TrainingError(f"training run `{run.name}` failed: {type(error).__name__}: {error}") from error


def _remember(queue: Queue) -> None:
    global _tell
    _tell = queue


def _work(run: "TrainingRun", folder: str, start: str | None) -> TrainingRecord:
    from replication.collect.training.runs import execute

    queue, name = _tell, run.name
    assert queue is not None
    return execute(run, Path(folder), lambda now: queue.put((name, now)), Path(start) if start else None)


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
