"""Commits of branches and tags on the hub: resolved at first use, and kept in a file that is part of the configuration.

A line is `repository revision commit`; the first of a repository and a revision counts. Remove it to move to a newer commit.
"""

import re
from pathlib import Path

from replication import settings
from replication.errors import ConfigError
from replication.store.locking import AppendFile, as_store_error

COMMIT = re.compile("[0-9a-f]{40}")
LOCK = settings.CONF / "model" / "revisions.lock"
DEFAULT_BRANCH = "main"


def commit(repository: str, revision: str | None, key: str, lock: Path = LOCK, *, file: str = "config.json") -> str:
    """Return the commit of a revision: itself, the locked one, or that of the hub or its local cache, which is then locked.

    revision : None is the default branch. key : position in conf/, for messages. file : one that the repository has.
    """
    if revision is not None and COMMIT.fullmatch(revision):
        return revision
    name = DEFAULT_BRANCH if revision is None else revision
    if not re.fullmatch(r"\S{1,200}", name):
        raise ConfigError(
            f"`{key}.revision` is {name!r}, which is not a commit, branch or tag. {_remedy(repository, key)}"
        )
    return _locked(repository, name, lock) or _resolve(repository, name, key, lock, file)


def locked(repository: str, revision: str | None, lock: Path = LOCK) -> str | None:
    """Return the commit of a revision as far as it is known without a look at the hub."""
    if revision is not None and COMMIT.fullmatch(revision):
        return revision
    return _locked(repository, revision or DEFAULT_BRANCH, lock)


def _locked(repository: str, revision: str, lock: Path) -> str | None:
    if not lock.is_file():
        return None
    for number, line in enumerate(lock.read_text(encoding="utf-8").splitlines(), 1):
        parts = line.split("#")[0].split()
        if not parts:
            continue
        if len(parts) != 3 or not COMMIT.fullmatch(parts[2]):
            raise ConfigError(
                f"line {number} of `{lock}` is {line[:200]!r}; a line is `repository revision commit`. Fix or remove it."
            )
        if parts[:2] == [repository, revision]:
            return parts[2]
    return None


def _resolve(repository: str, revision: str, key: str, lock: Path, file: str) -> str:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        found = Path(snapshot_download(repository, revision=revision, allow_patterns=file)).name
        reason = ""
    except (HfHubHTTPError, OSError, ValueError) as error:
        found, reason = "", f" ({type(error).__name__})"
    if not COMMIT.fullmatch(found):
        raise ConfigError(
            f"`{key}.revision` is {revision!r}, which is not a commit hash and cannot be resolved to one{reason}: a "
            f"branch moves, and a run must name what it played. {_remedy(repository, key)}"
        )
    with as_store_error(lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
        with AppendFile(lock) as opened:
            opened.append(f"{repository} {revision} {found}\n".encode())
    return _locked(repository, revision, lock) or found  # of two jobs that resolve it at once, the first counts


def _remedy(repository: str, key: str) -> str:
    return (
        f"Check the network and HF_HUB_OFFLINE. Without a network, copy the commit of `{repository}` from the hub, 40 "
        f"digits 0-9 and a-f in quotes, or give a folder with the checkpoint as `{key}.path`."
    )
