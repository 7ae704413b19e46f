"""A training run: what defines it, where its checkpoint is, and how it is carried out."""

import csv
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from replication.benchmarks import suite
from replication.errors import TrainingError
from replication.records import Json, stable_hash
from replication.training import corpora, loop
from replication.training.organism import Shape

WEIGHTS = "model.safetensors"


@dataclass(frozen=True, kw_only=True)
class PhasePlan:
    """A phase before its corpus is built: plain data that can be hashed and sent to a worker."""

    corpus: str
    benchmarks: tuple[tuple[str, tuple[int, ...]], ...]
    """(name, levels) that the corpus draws from."""
    n_tokens: int
    lr: float


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """One training of one arm at one scale with one training seed."""

    arm: str
    scale: str
    training_seed: int
    shape: Shape
    base: str | None
    """Folder of the checkpoint it starts from; None starts from random weights."""
    phases: tuple[PhasePlan, ...]
    recipe: loop.Recipe
    device: str
    n_tokenizer_blocks: int = 0
    """Blocks of the general corpus that a base's tokenizer is trained on."""

    @property
    def identity(self) -> str:
        """Hash of all that can change the weights: a changed setting, corpus or base is another training run."""
        names = sorted({name for phase in self.phases for name, _ in phase.benchmarks})
        return stable_hash(
            {
                "phases": self.phases, "shape": self.shape, "seed": self.training_seed, "device": self.device,
                "base": base_record(Path(self.base))["weights_sha256"] if self.base else None,
                "recipe": replace(self.recipe, save_every_s=0.0), "corpora": corpora.VERSION,
                "suite": [[name, suite.load(name).version] for name in names], "tokenizer": self.n_tokenizer_blocks,
            },
            12,
        )  # fmt: skip

    @property
    def name(self) -> str:
        """Readable and unique: arm, scale, seed, identity."""
        return f"{self.arm}-{self.scale}-s{self.training_seed}-{self.identity}"


def base_record(folder: Path) -> dict[str, Json]:
    """Read what made a base and check its weights against the recorded hash."""
    record = folder / "training.json"
    if not record.is_file() or not (folder / WEIGHTS).is_file():
        raise TrainingError(f"no base at `{folder}`: training.json or {WEIGHTS} is missing. Run `make bases`.")
    found = json.loads(record.read_text())
    if found["weights_sha256"] != weights_sha256(folder):
        raise TrainingError(
            f"the weights at `{folder}` are not those of its training.json; restore them or run `make bases`."
        )
    return found


def weights_sha256(folder: Path) -> str:
    """Hash a checkpoint's weights file."""
    return hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()


def finished(run: TrainingRun, folder: Path) -> dict[str, Json] | None:
    """Read the record of a finished training run; None where it, or the checkpoint, is missing.

    training.json is written last, so a record means a whole checkpoint; weights that are not the recorded ones are an
    error, because every score would be filed under the wrong identity.
    """
    record = folder / "training.json"
    if not record.is_file() or not (folder / WEIGHTS).is_file():
        return None
    found = json.loads(record.read_text())
    if found["weights_sha256"] != weights_sha256(folder):
        raise TrainingError(
            f"the weights at `{folder}` are not those of its training.json. Remove the folder and run `make train`: "
            f"`{run.name}` is trained again."
        )
    return found


def carry_out(run: TrainingRun, folder: Path, report: Callable[[loop.Progress], None]) -> dict[str, Json]:
    """Train, save an ordinary Hugging Face checkpoint with its curve, and return the record; resumes if interrupted."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import torch
    from transformers.utils import logging

    from replication.training import organism

    logging.disable_progress_bar()
    # One thread: two contended OpenMP threads are several times slower than one, and the order of sums stays fixed.
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    if run.base:
        base_record(Path(run.base))
        tokenizer = organism.load_tokenizer(Path(run.base))
        model = organism.load_model(Path(run.base))
    else:
        texts = (d.text for block in range(run.n_tokenizer_blocks) for d in corpora.general(0, block))
        tokenizer = organism.make_tokenizer(texts, run.shape.vocabulary)
        model = organism.make_model(run.shape, tokenizer, run.training_seed)
    phases = [
        loop.Phase(
            name=plan.corpus, corpus=corpora.named(plan.corpus, plan.benchmarks), n_tokens=plan.n_tokens, lr=plan.lr
        )
        for plan in run.phases
    ]
    # Named by identity: a state of other settings in the same folder is never picked up.
    state_file = folder / f"state-{run.identity}.pt"
    trained = loop.train(model.to(run.device), tokenizer, phases, run.recipe, run.training_seed, state_file, report)
    model.to("cpu").save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    with (folder / "curve.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["step", "phase", "n_tokens", "loss", "lr", "seconds_s"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(trained.curve)
    record = {
        "arm": run.arm, "scale": run.scale, "training_seed": run.training_seed, "training_run": run.name,
        "identity": run.identity, "n_parameters": organism.n_parameters(model),
        "params_b": organism.n_parameters(model) / 1e9, "weights_sha256": weights_sha256(folder),
        "n_tokens": trained.n_tokens, "flops": trained.flops, "seconds_s": round(trained.seconds_s, 1),
        "phases": [{"corpus": p.corpus, "n_tokens": p.n_tokens, "lr": p.lr} for p in run.phases],
        "torch": torch.__version__, "device": run.device,
    }  # fmt: skip
    loop.write_json(folder / "training.json", record)
    state_file.unlink(missing_ok=True)
    return record
