"""Entry points: Hydra composes conf/, the result is checked once, errors are one clear line with exit code 2."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import hydra
from omegaconf import OmegaConf

from replication import schemas
from replication.errors import ConfigError, exit_on_error


def checked(cfg: Any) -> schemas.Root:
    """Turn Hydra's DictConfig into the typed root; every value present and in range, or one clear ConfigError."""
    lacking = sorted(OmegaConf.missing_keys(cfg))
    if lacking:
        raise ConfigError(f"no value for `{'`, `'.join(lacking)}`. Give it in conf/ or on the command line.")
    root: schemas.Root = OmegaConf.to_object(cfg)
    unknown = sorted(_dropped(OmegaConf.to_container(cfg), dataclasses.asdict(root)))
    if unknown:
        raise ConfigError(f"no key `{'`, `'.join(unknown)}` in replication/schemas.py. Mend conf/ or the command line.")
    _in_range("study.n_trials", root.study.n_trials, 1, 10_000)
    _in_range("study.seed", root.study.seed, 0, 2**31)
    _in_range("sampling.temperature", root.sampling.temperature, 0.0, 2.0)
    if 0 < root.sampling.temperature < 0.01:
        raise ConfigError(
            f"`sampling.temperature` {root.sampling.temperature} would be raised to 0.01 by vLLM without a word; "
            f"use 0 for greedy decoding or at least 0.01."
        )
    _in_range("sampling.top_p", root.sampling.top_p, 1e-6, 1.0)
    _in_range("sampling.max_tokens", root.sampling.max_tokens, 1, root.engine.context)
    for name, choice in root.benchmarks.items():
        _in_range(f"benchmarks.{name}.n_tasks", choice.n_tasks, 1, 1_000_000)
        if choice.split != "evaluation":
            raise ConfigError(f"`benchmarks.{name}.split` is {choice.split!r}; a study is played on `evaluation` only.")
    if len(set(root.study.training_seeds)) != len(root.study.training_seeds):
        raise ConfigError(f"`study.training_seeds` {root.study.training_seeds} names a seed twice.")
    return root


def _dropped(given: Any, kept: Any, path: str = "") -> Iterator[str]:
    # A key that is added on the command line with `+` passes Hydra's check and would be lost without a word.
    if isinstance(given, dict):
        for key, value in given.items():
            here = f"{path}.{key}" if path else str(key)
            if key in kept:
                yield from _dropped(value, kept[key], here)
            else:
                yield here
    elif isinstance(given, list):
        for at, (value, other) in enumerate(zip(given, kept)):
            yield from _dropped(value, other, f"{path}[{at}]")


def _in_range(key: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"`{key}` must be in [{low}, {high}]; got {value}.")


def entry(main: Callable[[schemas.Root], None]) -> Callable[[], None]:
    """Make a `python -m replication.x` entry point: Hydra composes conf/, errors are one clear line."""
    schemas.register()

    @hydra.main(version_base="1.3", config_path=str(schemas.CONF), config_name="config")
    @exit_on_error
    def run(cfg: Any) -> None:
        main(checked(cfg))

    return run
