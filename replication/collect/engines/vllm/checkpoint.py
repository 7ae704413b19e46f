"""A checkpoint as the engine is about to serve it: in a folder, with the identity that the run states, whole."""

import json
from dataclasses import dataclass
from pathlib import Path

from replication.collect import checkpoints
from replication.collect.engines.vllm.weights import Tensor, read_headers
from replication.collect.interfaces import ModelRef
from replication.errors import EngineError
from replication.records import Json, stable_hash


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Files that were checked, and what an engine must know to serve them."""

    model: ModelRef
    folder: Path
    identity: str
    """Commit of a hub model, or hash of the folder's files."""
    tensors: dict[str, Tensor]
    engine_key: str | None
    """Hash of everything but the values of the weights: two checkpoints with equal keys can share an engine. None if the
    checkpoint is quantized, because vLLM's reload of quantized weights has not been compared with a fresh engine."""
    generation_config: dict[str, Json]
    """Generation defaults that the checkpoint states."""
    hashes: dict[str, Json]
    """SHA-256 of the weights, and of configuration, tokenizer, templates and generation defaults together."""
    stamps: tuple[checkpoints.Stamp, ...]

    def require_unchanged(self) -> None:
        """Raise EngineError if a file changed since the checks: the engine may have read another one."""
        if checkpoints.stamps(self.folder) != self.stamps:
            raise EngineError(
                f"the files of `{self.model.name}` at `{self.folder}` changed while they were loaded. Run the same command "
                f"when they are complete."
            )


def open_checkpoint(model: ModelRef) -> Checkpoint:
    """Check that the files of a checkpoint are those that its run states, and whole; EngineError names what is not."""
    try:
        return _open(model)
    except OSError as error:
        raise EngineError(f"the checkpoint of `{model.name}` at `{model.path}` cannot be read: {error}.") from error


def _open(model: ModelRef) -> Checkpoint:
    folder = checkpoints.folder_of(model.path)
    is_local = folder is not None
    folder = folder or checkpoints.snapshot(model.path, model.revision)
    checkpoints.require_checkpoint(folder, f"`{model.name}`", EngineError)
    stamps = checkpoints.stamps(folder)
    tensors = read_headers(folder)
    config, defaults = _object(folder / "config.json"), _object(folder / "generation_config.json")
    weights = checkpoints.weights_sha256(folder, read_again=is_local, trust_blobs=not is_local)
    setup = checkpoints.setup_sha256(folder)
    identity = checkpoints.joined_sha256(weights, setup) if is_local else model.revision
    if is_local and model.files_sha256 not in (None, identity):
        raise EngineError(
            f"the files of `{model.name}` at `{folder}` changed after this command started: their hash was "
            f"{model.files_sha256} and is {identity}. The same command plays the new checkpoint."
        )
    quantized = config.get("quantization_config") is not None or (folder / "hf_quant_config.json").is_file()
    return Checkpoint(
        model=model, folder=folder, identity=identity, tensors=tensors, stamps=stamps,
        generation_config={k: v for k, v in defaults.items() if not k.startswith("_") and k != "transformers_version"},
        engine_key=None if quantized else stable_hash([setup, tensors]),
        hashes={"weights_sha256": stable_hash(weights), "setup_sha256": setup},
    )  # fmt: skip


def _object(file: Path) -> dict[str, Json]:
    """Read a JSON object; {} if there is no such file."""
    if not file.is_file():
        return {}
    try:
        return dict(json.loads(file.read_bytes()))
    except (ValueError, TypeError):
        raise EngineError(f"`{file}` is not a JSON object. Download or save the checkpoint again.") from None
