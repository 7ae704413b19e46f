"""Convert a composed configuration to the typed root, and check every value on the way."""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from replication.errors import ConfigError
from replication.records import Json
from replication.settings.schema import Analysis, Root

Schema = TypeVar("Schema")

CONF = Path(__file__).resolve().parents[2] / "conf"
"""The configuration beside the package: the project is used from its checkout."""


def register() -> None:
    """Register the schema with Hydra under the name `root`, which conf/config.yaml uses."""
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name="root", node=Root)


def analysis(name: str = "default") -> Analysis:
    """Read one file of conf/analysis without Hydra; it is checked against the schema, like a study's."""
    path = CONF / "analysis" / f"{name}.yaml"
    try:
        values = OmegaConf.load(path)
    except (OSError, YAMLError) as error:
        raise ConfigError(f"{path.name}: {error}. Fix conf/analysis.") from error
    assert isinstance(values, DictConfig), f"{path.name} is not a mapping"
    return typed(Analysis, cast(Mapping[str, Json], values), "analysis")


def checked(cfg: DictConfig) -> Root:
    """Convert Hydra's DictConfig to the typed root; ConfigError if a value is missing, unknown or out of range."""
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise ConfigError(f"no value for `{'`, `'.join(missing)}`. Set it in conf/ or on the command line.")
    root = OmegaConf.to_object(cfg)
    assert isinstance(root, Root)
    unknown = sorted(_unknown_keys(OmegaConf.to_container(cfg), dataclasses.asdict(root)))
    if unknown:
        raise ConfigError(
            f"no key `{'`, `'.join(unknown)}` in replication/settings/schema.py. Fix conf/ or the command line."
        )
    _in_range("study.n_trials", root.study.n_trials, 1, 10_000)
    _in_range("study.seed", root.study.seed, 0, 2**31)
    _in_range("sampling.temperature", root.sampling.temperature, 0.0, 2.0)
    if 0 < root.sampling.temperature < 0.01:
        raise ConfigError(
            f"`sampling.temperature` {root.sampling.temperature} would be raised to 0.01 by vLLM without notice; "
            f"use 0 for greedy decoding or at least 0.01."
        )
    _in_range("sampling.top_p", root.sampling.top_p, 1e-6, 1.0)
    if not 1 <= root.sampling.max_tokens <= root.engine.context:
        raise ConfigError(
            f"`sampling.max_tokens` must be from 1 to `engine.context`, {root.engine.context}; got "
            f"{root.sampling.max_tokens}. Lower it, or raise `engine.context`."
        )
    for name, limits in root.scaffolds.items():
        _in_range(f"scaffolds.{name}.max_turns", limits.max_turns, 1, 1_000_000)
        _in_range(f"scaffolds.{name}.max_malformed", limits.max_malformed, 1, 1_000_000)
    for name, model in root.models.items():
        if not re.fullmatch("[0-9a-f]{6,64}", model.revision):
            raise ConfigError(
                f"`models.{name}.revision` is {model.revision!r}; it must be a commit or a hash of the weights, 6 to 64 "
                f"digits 0-9 and a-f: a branch moves, and its runs would keep their identity. Copy the commit from the hub."
            )
    for name, source in root.ingest.items():
        _in_range(f"ingest.{name}.n_tasks", source.n_tasks, 1, 1_000_000)
        _in_range(f"ingest.{name}.n_trials", source.n_trials, 1, 10_000)
        _in_range(f"ingest.{name}.max_unscored", source.max_unscored, 0.0, 1.0)
    for name, choice in root.benchmarks.items():
        _in_range(f"benchmarks.{name}.n_tasks", choice.n_tasks, 1, 1_000_000)
        if choice.split != "evaluation":
            raise ConfigError(f"`benchmarks.{name}.split` is {choice.split!r}; a study is played on `evaluation` only.")
    if len(set(root.study.training_seeds)) != len(root.study.training_seeds):
        raise ConfigError(f"`study.training_seeds` {root.study.training_seeds} names a seed twice.")
    return root


def typed(schema: type[Schema], values: Mapping[str, Json], key: str) -> Schema:
    """Convert a mapping to an instance of a plain dataclass; ConfigError names unknown, missing and ill-typed keys.

    key : position of the mapping in conf/, for messages.
    """
    names = [f.name for f in dataclasses.fields(cast(Any, schema))]  # mypy has no type for "any dataclass"
    unknown = sorted(set(values) - set(names))
    if unknown:
        named = "`, `".join(f"{key}.{name}" for name in unknown)
        raise ConfigError(f"no key `{named}`; allowed: {', '.join(names)}. Fix conf/ or the command line.")
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), values)
    except OmegaConfBaseException as error:
        raise ConfigError(f"`{key}`: {str(error).strip().splitlines()[0]}. Fix conf/ or the command line.") from None
    missing = sorted(OmegaConf.missing_keys(merged))
    if missing:
        named = "`, `".join(f"{key}.{name}" for name in missing)
        raise ConfigError(f"no value for `{named}`. Set it in conf/ or on the command line.")
    return cast(Schema, OmegaConf.to_object(merged))


def _unknown_keys(values: Json, converted: Json, path: str = "") -> Iterator[str]:
    # A key that is added on the command line with `+` passes Hydra's check and would be dropped silently.
    if isinstance(values, dict):
        for key, value in values.items():
            here = f"{path}.{key}" if path else str(key)
            if key in converted:
                yield from _unknown_keys(value, converted[key], here)
            else:
                yield here
    elif isinstance(values, list):
        for at, (value, other) in enumerate(zip(values, converted)):
            yield from _unknown_keys(value, other, f"{path}[{at}]")


def _in_range(key: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"`{key}` must be in [{low}, {high}]; got {value}.")
