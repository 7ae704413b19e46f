"""Which public checkpoints a study needs, and whether their weights are on this machine."""

from collections.abc import Collection

from replication import settings
from replication.collect import checkpoints
from replication.collect.weights import sources


def public_checkpoints(cfg: settings.Root) -> list[tuple[str, settings.Model]]:
    """List the public models of a study, which are served or trained from, with their positions in conf/."""
    bases = [(f"scales.{name}.checkpoint", s.checkpoint) for name, s in sorted(cfg.scales.items()) if s.checkpoint]
    return [(f"models.{name}", model) for name, model in sorted(cfg.models.items())] + bases


def require_weights(cfg: settings.Root, keys: Collection[str] | None = None, *, to_load: bool = True) -> None:
    """Raise ConfigError that names all public checkpoints that are not on this machine; nothing is downloaded.

    keys : positions in conf/ of those that count; None for all. An engine that loads no weights needs none of the hub.
    to_load : see `sources.missing`.
    """
    at = sources.place(cfg.paths)
    wanted = [
        (key, model) for key, model in public_checkpoints(cfg)
        if (keys is None or key in keys)
        and (cfg.engine.kind == "vllm" or checkpoints.folder_of(sources.path_of(model, at)) is not None)
    ]  # fmt: skip
    sources.require(wanted, at, cfg.study.name, to_load=to_load)
