"""Run lines of a manifest as tasks of Ray, on all machines of its cluster."""

import signal
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from replication import processes, settings
from replication.collect.launch.line import logged
from replication.collect.launch.manifest import Line, Manifest
from replication.collect.parallel import gpus_of_job
from replication.errors import LaunchError


def run(cfg: settings.Root, manifest: Manifest, lines: Sequence[Line]) -> None:
    """Run these lines to their end; how each ended is in its record.

    The machines share the file system, the checkout and its .venv. A task whose machine is lost is run again on another.
    """
    try:
        ray: Any = import_module("ray")
    except ImportError as error:
        raise LaunchError(
            f"launcher=ray needs the package ray ({error}). Install it with `.venv/bin/pip install --no-deps -r "
            f"requirements/cluster.lock`, or use launcher=slurm or launcher=local."
        ) from None
    asked = cfg.launcher
    started = not ray.is_initialized()
    at_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=asked.address, log_to_driver=False, include_dashboard=False, ignore_reinit_error=True)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise LaunchError(
            f"Ray at `{asked.address or 'this machine'}` cannot be reached: {error}. Start it with `ray start --head`, or "
            f"correct `launcher.address`."
        ) from error
    signal.signal(signal.SIGTERM, at_sigterm)  # Ray's own handler exits with code 1 and a dump of its stack
    try:
        _require_room(ray, asked, max((gpus_of_job(cfg, line.checkpoint) for line in lines), default=0))
        task = ray.remote(
            num_cpus=asked.cpus, max_retries=asked.retries,
            **({"memory": asked.memory_gib << 30} if asked.memory_gib else {}),
        )(processes.run_stage)  # fmt: skip
        waiting = list(lines)
        going: list[Any] = []
        while waiting or going:
            while waiting and (not asked.parallel or len(going) < asked.parallel):
                line = waiting.pop(0)
                sized = task.options(num_gpus=gpus_of_job(cfg, line.checkpoint))
                going.append(sized.remote(logged(manifest, line)))
            ended, going = ray.wait(going)
            _check(ray, ended)
    finally:
        if started:
            ray.shutdown()


def _require_room(ray: Any, asked: settings.Launcher, gpus: int) -> None:
    """Raise LaunchError if no machine could ever run a job; Ray would wait for one without a word."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    needed = {"CPU": asked.cpus, "GPU": gpus, "memory": (asked.memory_gib or 0) << 30}
    if not any(all(m.get(name, 0) >= n for name, n in needed.items()) for m in machines):
        memory = f" and {asked.memory_gib} GiB" if asked.memory_gib else ""
        has = "; ".join(
            f"{m.get('CPU', 0):g} CPUs and {m.get('GPU', 0):g} GPUs and {m.get('memory', 0) / 2**30:.1f} GiB"
            for m in machines
        )
        raise LaunchError(
            f"a job asks for {asked.cpus} CPUs and {gpus} GPUs{memory}, and no machine of Ray has them; they have "
            f"{has or 'none'}. Lower `launcher.cpus`, `launcher.gpus` or `launcher.memory_gib`, or leave large checkpoints "
            f"out with `serve.only`."
        )


def _check(ray: Any, ended: Sequence[Any]) -> None:
    try:
        ray.get(list(ended))
    except ray.exceptions.RayError as error:  # lost more often than `launcher.retries`; the other lines go on
        print(f"sweep: WARNING, a task of Ray was lost: {str(error).splitlines()[0]}")
