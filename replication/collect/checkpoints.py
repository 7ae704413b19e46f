"""Identity of a checkpoint: the commit of a hub model, or a hash of all files of a folder that can change its text.

A hash is computed once per process while inode, size and times of a file stay the same, and again before an engine loads
the checkpoint. It is not kept on disk: a file that is replaced in place can have the size and the time of the old one.
"""

import functools
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from replication.collect.weights import revisions
from replication.errors import ConfigError, EngineError, ReplicationError
from replication.records import stable_hash

WEIGHTS = ("*.safetensors",)
SETUP = (
    "*.json", "*.jinja", "*.model", "*.tiktoken", "*.py", "merges.txt", "vocab.txt", "additional_chat_templates/*.jinja",
)  # fmt: skip
"""Configuration, generation defaults, tokenizer, chat templates, index of the weights, code."""
_NOT_SERVED = re.compile(r"training\.json|provenance\.json|trainer_state\.json|.*_results\.json|\..*")
"""Files of these types that no engine reads."""
_INCIDENTAL = ("transformers_version", "name_or_path", "_name_or_path", "_commit_hash")
"""Keys of JSON files that state where a file comes from and change no text."""


class Identity(NamedTuple):
    """What `models.NAME.path` and `revision` of conf/ resolve to."""

    revision: str
    """Hub commit, or the hash of the folder's files."""
    files_sha256: str | None
    """Of a folder; None for a hub model, whose commit fixes its files."""


class Stamp(NamedTuple):
    """State of a file that changes whenever its content does: the time of its last change cannot be set by a program."""

    name: str
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


def identify(path: str, revision: str | None, key: str, lock: Path = revisions.LOCK) -> Identity:
    """Resolve a checkpoint as conf/ names it.

    key : position in conf/, for messages. lock : see `revisions.commit`.
    ConfigError for a folder without a checkpoint, a `revision` that is not the
    folder's, and a name on the hub that cannot be resolved to a commit.
    """
    folder = folder_of(path)
    if folder is None:
        return Identity(revisions.commit(path, revision, key, lock), None)
    require_checkpoint(folder, f"`{key}.path`", ConfigError)
    actual = files_sha256(folder)
    if revision not in (None, actual):
        raise ConfigError(
            f"`{key}.revision` is {revision!r}, and the files at `{folder}` have the hash {actual}. Restore the files, or "
            f"state this hash, or leave `revision` null."
        )
    return Identity(actual, actual)


def folder_of(path: str) -> Path | None:
    """Return the folder that a path names, None for a hub id: org/name, which is not a folder here."""
    folder = Path(path).expanduser()
    is_local = folder.exists() or path.startswith((".", "/", "~")) or len(folder.parts) != 2
    return folder if is_local else None


def require_checkpoint(folder: Path, subject: str, error: type[ReplicationError]) -> None:
    """Raise an error if a folder lacks the configuration or the weights."""
    if not (folder / "config.json").is_file() or not any(_files(folder, WEIGHTS)):
        raise error(
            f"no checkpoint of {subject} at `{folder}`: config.json or *.safetensors is missing. Run `make train`, or fix "
            f"the model's path in conf/."
        )


def files_sha256(folder: Path, *, read_again: bool = False) -> str:
    """Hash all files of a folder that can change the text of its checkpoint.

    read_again : do not use the hashes of weights that this process already has.
    """
    return joined_sha256(weights_sha256(folder, read_again=read_again), setup_sha256(folder))


def joined_sha256(weights: Mapping[str, str], setup: str) -> str:
    """Hash the hashes of a folder's weights, by file, and of its other files."""
    return stable_hash({"weights": dict(weights), "setup": setup})


def weights_sha256(folder: Path, *, read_again: bool = False, trust_blobs: bool = False) -> dict[str, str]:
    """Hash each file of weights, by its name in the folder.

    read_again : do not use the hashes that this process already has.
    trust_blobs : take the name of a blob in the cache of the hub, which is its hash; for a `snapshot`, which was checked.
    """
    digest = _sha256.__wrapped__ if read_again else _sha256
    return {
        _name(folder, file): (_blob_name(file) if trust_blobs else None) or digest(file, _stamp(file))
        for file in _files(folder, WEIGHTS)
    }


def _blob_name(file: Path) -> str | None:
    name = file.resolve().name
    return name if file.is_symlink() and re.fullmatch("[0-9a-f]{64}", name) else None


def setup_sha256(folder: Path) -> str:
    """Hash all but the weights; keys without effect are left out, so that checkpoints saved by two versions agree."""
    return stable_hash({_name(folder, file): _content(file, _stamp(file)) for file in _files(folder, SETUP)})


def setup_files(folder: Path) -> list[Path]:
    """List all files that can change the text but the weights."""
    return list(_files(folder, SETUP))


def group(path: str) -> str:
    """Return a key to sort checkpoints by: equal for folders that differ in their weights only, which share an engine."""
    folder = folder_of(path)
    return path if folder is None else setup_sha256(folder)


def stamps(folder: Path) -> tuple[Stamp, ...]:
    """Return the state of all files that can change the text."""
    return tuple(_stamp(file) for file in _files(folder, WEIGHTS + SETUP))


def snapshot(repository: str, revision: str) -> Path:
    """Return the folder of a commit in the cache of the hub, downloaded if it is missing; its files are checked."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        # `original/` has the weights a second time, in another format.
        folder = Path(
            snapshot_download(
                repository, revision=revision, allow_patterns=[*WEIGHTS, *SETUP], ignore_patterns="original/*"
            )
        )
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise EngineError(
            f"commit {revision} of `{repository}` cannot be downloaded ({reason}). Check the network, HF_TOKEN and "
            f"HF_HUB_OFFLINE, or download it elsewhere and give its folder as the model's path."
        ) from error
    for file in _files(folder, WEIGHTS + SETUP):
        if not _is_its_blob(file):
            raise EngineError(
                f"`{file}` was changed after it was downloaded as commit {revision} of `{repository}`. Remove it with its "
                f"target `{file.resolve()}`, which downloads it again, or give a folder of its own as the model's path."
            )
    return folder


def _is_its_blob(file: Path) -> bool:
    # The cache names a blob by its content: SHA-256 of large files, git's SHA-1 of others. Without links nothing is known.
    blob = file.resolve()
    if not file.is_symlink() or not re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", blob.name):
        return True
    if len(blob.name) == 64:
        return _sha256.__wrapped__(blob, _stamp(blob)) == blob.name
    data = blob.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest() == blob.name


def _files(folder: Path, patterns: tuple[str, ...]) -> Iterator[Path]:
    found = {file for pattern in patterns for file in folder.glob(pattern)}
    return (file for file in sorted(found) if file.is_file() and not _NOT_SERVED.fullmatch(file.name))


def _name(folder: Path, file: Path) -> str:
    return file.relative_to(folder).as_posix()


def _stamp(file: Path) -> Stamp:
    state = os.stat(file)
    return Stamp(str(file), state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)


@functools.lru_cache(maxsize=4096)
def _sha256(file: Path, stamp: Stamp) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


@functools.lru_cache(maxsize=4096)
def _content(file: Path, stamp: Stamp) -> str:
    data = file.read_bytes()
    try:
        value = json.loads(data) if file.suffix == ".json" else None
    except ValueError:  # not JSON after all; loading will say so
        value = None
    if isinstance(value, dict):
        return stable_hash({key: inner for key, inner in value.items() if key not in _INCIDENTAL})
    return hashlib.sha256(data).hexdigest()
