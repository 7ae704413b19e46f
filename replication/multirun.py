"""Keep the jobs of a Hydra multirun apart: each has an index, frozen data and a paper of its own."""

from __future__ import annotations

import dataclasses
import re
import sys
import traceback
from collections.abc import Callable, Sequence

from replication.errors import ConfigError, ReplicationError
from replication.records import stable_hash
from replication.settings import Root
from replication.settings.limits import MAX_NAME

_SAME_STUDY = re.compile(
    r"(hydra|paths|serve|launcher|tracking|certify)[./]|hydra$"
    r"|(study|launcher|training|engine\.(processes|concurrency|max_failed|min_failures)|training\.(workers|save_every_s)"
    r"|paths\.\w+)$"
)
"""Overrides that say where, by whom or how fast a study is made; `study=NAME` is in its name already."""
_MAX = 80
_named: dict[str, list[str]] = {}
"""Names that jobs of this process gave their studies, with what tells the jobs apart."""


def run_job(main: Callable[[Root], None], cfg: Root) -> None:
    """Run a command for the configuration of one job, or for the only one.

    `-m study=controlled_tiny study.seed=0,1` makes the studies `controlled_tiny-study.seed-0` and `-1`, with every command
    that is called with the same overrides. Results in the store and training runs have names of their own anyway. A job
    that names its study, as in `study.name=seed${study.seed}`, keeps this name.
    """
    if not is_job():
        main(cfg)
        return
    try:
        main(_apart(cfg))
    except (ReplicationError, OSError):
        raise
    except Exception:  # Hydra would keep it to itself and exit with code 0
        traceback.print_exc()
        sys.exit(1)


def is_job() -> bool:
    """Tell whether this process plays a job of a multirun."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def overrides() -> list[str]:
    """Return the overrides that composed the settings of this job, without Hydra's own."""
    from hydra.core.hydra_config import HydraConfig

    return list(HydraConfig.get().overrides.task)


def _apart(cfg: Root) -> Root:
    given = overrides()
    parts = suffix(given)
    if not any(text.lstrip("+").startswith("study.name=") for text in given):
        name = "-".join([cfg.study.name, *parts])
        if len(name) > MAX_NAME:
            name = f"{name[: MAX_NAME - 9]}-{stable_hash(name, 8)}"
        cfg = dataclasses.replace(cfg, study=dataclasses.replace(cfg.study, name=name))
    elif _named.setdefault(cfg.study.name, parts) != parts:
        raise ConfigError(
            f"two jobs of this multirun are named `{cfg.study.name}`, and one would overwrite the study of the other. Leave "
            f"`study.name` out, or name the jobs by what differs, as in 'study.name=seed${{study.seed}}'."
        )
    if cfg.paths.paper is not None:
        cfg = dataclasses.replace(
            cfg, paths=dataclasses.replace(cfg.paths, paper=f"{cfg.paths.paper}/{cfg.study.name}")
        )
    return cfg


def suffix(overrides: Sequence[str]) -> list[str]:
    """Return the parts that tell a job's study from those of other jobs; empty if its overrides change no result."""
    pairs = sorted(text.lstrip("+").partition("=")[::2] for text in overrides)
    chosen = [(key, value) for key, value in pairs if not _SAME_STUDY.match(key.lstrip("~")) and key != "study.name"]
    readable = [
        f"{key}-{value}" for key, value in chosen if re.fullmatch(r"[\w./@]+=[A-Za-z0-9._]{1,20}", f"{key}={value}")
    ]
    parts = [re.sub(r"[^A-Za-z0-9._]+", "-", text) for text in readable]
    if len(parts) < len(chosen) or len("-".join(parts)) > _MAX:
        parts = [*parts[:3], stable_hash(chosen, 8)]  # what is left out or cut must tell jobs apart too
    return parts
