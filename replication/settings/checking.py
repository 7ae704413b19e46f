"""From a composed configuration to the typed root: the one place where settings enter the program."""

from collections.abc import Mapping
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from replication.errors import ConfigError
from replication.masking import find_secrets
from replication.records import Json
from replication.settings.composing import message
from replication.settings.conversion import typed
from replication.settings.relations import check_relations
from replication.settings.schema import CONF, Analysis, Root


def checked(cfg: DictConfig) -> Root:
    """Convert Hydra's DictConfig to the typed root; ConfigError if a value is missing, unknown or out of range."""
    values = _resolved(cfg)
    _refuse_secrets(values)
    root = typed(Root, values, "")
    check_relations(root)
    for name, pair in root.pairs.items():
        for model in (pair.general, pair.agent):
            root.models[model].pair = name
    return root


def _refuse_secrets(values: Mapping[str, Json]) -> None:
    # Settings become part of manifests, run_ids and published data; a key would be in all of them, and in messages.
    found = list(find_secrets(values))
    if found:
        raise ConfigError(
            f"`{'`, `'.join(found)}` holds what looks like a key or password; settings are stored and published. Remove it "
            f"and pass it in the environment, for example as HF_TOKEN."
        )


def analysis(name: str = "default") -> Analysis:
    """Read one file of conf/analysis without Hydra; it is checked against the schema, like a study's."""
    path = CONF / "analysis" / f"{name}.yaml"
    try:
        values = OmegaConf.load(path)
    except (OSError, YAMLError) as error:
        raise ConfigError(f"{path.name}: {error}. Fix conf/analysis.") from error
    assert isinstance(values, DictConfig), f"{path.name} is not a mapping"
    return typed(Analysis, _resolved(values), "analysis")


def _resolved(cfg: DictConfig) -> Mapping[str, Json]:
    try:
        missing = sorted(OmegaConf.missing_keys(cfg))
        if missing:
            raise ConfigError(f"no value for `{'`, `'.join(missing)}`. Set it in conf/ or on the command line.")
        return cast(Mapping[str, Any], OmegaConf.to_container(cfg, resolve=True))
    except OmegaConfBaseException as error:
        raise ConfigError(f"{message(error)}. Fix the interpolation in conf/ or on the command line.") from error
