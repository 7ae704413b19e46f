"""The hub of public checkpoints: whether it answers, and which checkpoints its cache on this machine has whole."""

import functools
import json
import shutil
import urllib.error
import urllib.request
from pathlib import Path

ANSWER_S = 5.0
"""Time limit of the question whether it answers."""
INDEX = "model.safetensors.index.json"


def is_off() -> bool:
    """Tell whether HF_HUB_OFFLINE forbids to reach it."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


@functools.cache
def silence() -> str | None:
    """Return why the hub does not answer, or None if it does; asked once per process."""
    from huggingface_hub import constants

    try:
        with urllib.request.urlopen(urllib.request.Request(constants.ENDPOINT, method="HEAD"), timeout=ANSWER_S):
            return None
    except urllib.error.HTTPError:  # a mirror may have no first page, but it is there
        return None
    except (OSError, ValueError) as error:  # URLError and time-outs are OSErrors; ValueError is a malformed HF_ENDPOINT
        return type(error).__name__


def has_whole(repository: str, revision: str | None) -> bool:
    """Tell whether the cache has configuration and all weights of a repository at a commit or a branch."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(repository, "config.json", revision=revision)
    if not isinstance(config, str):
        return False
    folder = Path(config).parent
    if not (folder / INDEX).is_file():
        return any(folder.glob("*.safetensors"))
    files = set(json.loads((folder / INDEX).read_bytes())["weight_map"].values())
    return all((folder / name).is_file() for name in files)


def cache_folder() -> Path:
    """Return the folder of its cache on this machine, which may be missing."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def free_gb() -> float:
    """Return the free space of the disk of its cache, 10**9 bytes."""
    folder = cache_folder().absolute()
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return shutil.disk_usage(existing).free / 1e9


def held_gb(repository: str) -> float:
    """Return how much the cache has of a repository, with parts of interrupted downloads, 10**9 bytes."""
    from huggingface_hub.file_download import repo_folder_name

    blobs = cache_folder() / repo_folder_name(repo_id=repository, repo_type="model") / "blobs"
    return sum(file.stat().st_size for file in blobs.glob("*")) / 1e9
