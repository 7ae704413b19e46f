"""Training runs: their identity, their checkpoints on disk, and their execution."""

import contextlib
import csv
import functools
import io
import json
import os
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from replication import files
from replication.collect import checkpoints
from replication.collect.benchmarks import suite
from replication.collect.training import corpora, curricula, loop, muon, organism
from replication.collect.training import public as public_bases
from replication.collect.training.ahead import processes_for_texts
from replication.collect.training.organism import Shape
from replication.collect.training.rl import RlSettings
from replication.errors import TrainingError
from replication.records import Json, TrainingRecord, stable_hash, to_json
from replication.store.reader import read_record

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

WEIGHTS = "model.safetensors"
CURVE = "curve.csv"
RECORD = "training.json"
ROUNDINGS = {"written_out": 4, "stacked": 2}
"""Version of the roundings of an implementation: part of the identity of runs, because other weights are another run."""
COLUMNS = ("step", "phase", "n_tokens", "loss", "lr", "wall_s", "reward")


@dataclass(frozen=True, kw_only=True)
class PhasePlan:
    """A phase as plain data, which can be hashed and sent to a worker; `curricula.Phase` has the corpus itself."""

    corpus: str
    benchmarks: tuple[tuple[str, tuple[int, ...]], ...]
    """(name, levels) to draw tasks from."""
    n_tokens: int
    lr: float
    scaffolds: tuple[str, ...] | None = None
    """Formats of the episodes, for corpus `episodes` only."""
    rl: RlSettings | None = None
    """For the corpora of predictions only, which are learned by reinforcement."""


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """One training of one arm at one scale with one training seed."""

    arm: str
    scale: str
    training_seed: int
    shape: Shape
    base: str | None
    """Folder of the checkpoint to start from; None starts from random weights."""
    phases: tuple[PhasePlan, ...]
    recipe: curricula.TrainingConfig
    device: str
    public: bool = False
    """Whether the base is a public checkpoint: any architecture, trained in its own chat format."""
    n_tokenizer_blocks: int = 0
    """Of the general corpus, to train the tokenizer of a base on."""

    @functools.cached_property
    def identity(self) -> str:
        """Hash of all settings that can change the weights: a changed setting, corpus or base gives another training run.

        Weights also differ in rounding between kinds of processors and versions of torch, which are not part of it.
        Computed once per record, because it hashes the weights of the base; `execute` checks these again.
        """
        names = sorted({name for phase in self.phases for name, _ in phase.benchmarks})
        parts: dict[str, Json] = {"public": public_bases.VERSION} if self.public else {}
        if (rounding := ROUNDINGS.get(self.recipe.implementation)) is not None:
            parts[self.recipe.implementation] = rounding
        return stable_hash(
            {
                "phases": [_settings_of(phase) for phase in self.phases], "shape": self.shape,
                "seed": self.training_seed, "device": self.device,
                "base": self._base_sha256() if self.base else None, **parts,
                "recipe": replace(self.recipe, save_every_s=0.0), "corpora": corpora.VERSION,
                "suite": [[name, suite.load(name).version] for name in names], "tokenizer": self.n_tokenizer_blocks,
            },
            12,
        )  # fmt: skip

    def _base_sha256(self) -> str:
        assert self.base is not None
        if not self.public:
            return base_record(Path(self.base)).weights_sha256
        checkpoints.require_checkpoint(Path(self.base), "the base; `make weights` fetches it", TrainingError)
        return checkpoints.files_sha256(Path(self.base))  # its tokenizer and template change the texts

    @property
    def name(self) -> str:
        """Readable and unique: arm, scale, seed, identity."""
        return f"{self.arm}-{self.scale}-s{self.training_seed}-{self.identity}"

    @property
    def is_stackable(self) -> bool:
        """Whether the run can be trained in a stack with others of its shape."""
        return self.recipe.implementation == "stacked" and all(phase.rl is None for phase in self.phases)

    def is_branch_of(self, longer: "TrainingRun") -> bool:
        """Tell whether the runs take the same steps until the last phase of this one decays: only its budget is smaller.

        Runs in a stack take their steps together anyway.
        """
        n = len(self.phases)
        if not n or len(longer.phases) < n or self.is_stackable:
            return False
        n_tokens = self.phases[-1].n_tokens
        has_whole_warmup = self.recipe.warmup_tokens <= curricula.MOST_WARMUP * n_tokens
        if not 0 < n_tokens < longer.phases[n - 1].n_tokens or not has_whole_warmup:
            return False
        cut = replace(longer.phases[n - 1], n_tokens=n_tokens)
        return replace(longer, arm=self.arm, phases=(*longer.phases[: n - 1], cut)) == self

    def longest_prefix(self, identities: Container[str]) -> "TrainingRun | None":
        """Return the run of the most phases that has one of these identities and is the begin of this run, or None."""
        shorter = (replace(self, phases=self.phases[:n]) for n in range(len(self.phases) - 1, 0, -1))
        return next((run for run in shorter if run.identity in identities), None)


def _settings_of(phase: PhasePlan) -> dict[str, Json]:
    # Settings that do not apply are left out, so that new optional settings do not change existing identities.
    return {name: value for name, value in to_json(phase).items() if value is not None}


def base_record(folder: Path) -> TrainingRecord:
    """Read the record of a base and check its weights against the recorded hash."""
    record = _record_of_weights(folder, "Restore the base, or remove its folder and run `make bases`.")
    if record is None:
        raise TrainingError(f"no base at `{folder}`: {RECORD} or {WEIGHTS} is missing. Run `make bases`.")
    return record


def _record_of_weights(folder: Path, remedy: str) -> TrainingRecord | None:
    """Read the record beside a checkpoint; None where either is missing, TrainingError where they do not match."""
    path = folder / RECORD
    if not path.is_file() or not (folder / WEIGHTS).is_file():
        return None
    record = read_record(path, TrainingRecord, remedy=remedy, error=TrainingError)
    if record.weights_sha256 != weights_sha256(folder):
        raise TrainingError(f"the weights at `{folder}` are not those of its {RECORD}. {remedy}")
    return record


def state_file(run: TrainingRun, folder: Path) -> Path:
    """Return the file of an unfinished run's state, named by identity: one of other settings is never used."""
    return folder / f"state-{run.identity}.pt"


def weights_sha256(folder: Path) -> str:
    """Hash a checkpoint's weights file, once per process while it does not change."""
    return checkpoints.weights_sha256(folder)[WEIGHTS]


def read_finished(run: TrainingRun, folder: Path) -> TrainingRecord | None:
    """Read the record of a finished training run; None where it, or the checkpoint, is missing.

    training.json is written last, so a record means a whole checkpoint; weights that are not the recorded ones, and a
    record of another run, are an error, because every score would be filed under the wrong identity.
    """
    remedy = f"Remove the folder and run `make train`: `{run.name}` is trained again."
    record = _record_of_weights(folder, remedy)
    if record is not None:
        recorded, expected = ((r.arm, r.scale, r.training_seed) for r in (record, run))
        if recorded != expected:
            raise TrainingError(
                f"{RECORD} at `{folder}` is of {recorded}, not of {expected}: arm, scale, seed. {remedy}"
            )
    return record


def read_documents(folder: Path) -> tuple[Mapping[str, Mapping[str, int]], ...]:
    """Read for each phase of a finished training run how many documents were too long; see `TrainingRecord.documents`."""
    return read_record(folder / RECORD, TrainingRecord, remedy="Run `make train`.", error=TrainingError).documents


def execute(
    run: TrainingRun,
    folder: Path,
    report: Callable[[curricula.Progress], None],
    start: Path | None = None,
    branches: Sequence[tuple[TrainingRun, Path]] = (),
) -> TrainingRecord:
    """Train, save an ordinary Hugging Face checkpoint with its curve, and return the record; resumes if interrupted.

    start : folder of a finished run whose phases are the first ones of this run; these are not trained again. Weights
        and recorded costs are the same as without `start`.
    branches : runs that are branches of this one, and their folders, in which it saves a state for them. Their weights and
        recorded costs are the same as if each were trained alone.
    """
    job = _job(run, folder, start)
    trained = loop.train(
        job.model, job.tokenizer, job.curriculum, job.state_file, report=report, energy=_meter(run.device),
        start=job.start,
        branches=[
            loop.Branch(len(b.phases) - 1, b.phases[-1].n_tokens, functools.partial(_save_for, b, other))
            for b, other in branches
        ],
    )  # fmt: skip
    return _saved(run, folder, job, trained)


def execute_stack(
    items: Sequence[tuple[TrainingRun, Path, Path | None]],
    report: Callable[[TrainingRun, curricula.Progress], None],
    n_processes: int = 0,
) -> None:
    """Do what `execute` does for runs of one shape whose phases are all supervised, in one stack.

    items : run, folder and start of each. Each run is saved as soon as it is trained. Energy is not recorded: the
        meter's counter is that of all runs together.
    n_processes : others that make the texts.
    """
    jobs = [_job(*item) for item in items]

    def report_of(number: int, progress: curricula.Progress) -> None:
        report(items[number][0], progress)

    def save(number: int, trained: curricula.Trained) -> None:
        run, folder, _ = items[number]
        _saved(run, folder, jobs[number], trained)

    with processes_for_texts(n_processes) as ahead:
        loop.train_stack(jobs, save, report_of, ahead)


def _save_for(run: TrainingRun, folder: Path, state: Callable[[], dict[str, Any]]) -> None:
    """Save a state from which a run resumes, unless it has one or is finished. Without one it is trained from its start."""
    path = state_file(run, folder)
    if path.exists() or (folder / RECORD).exists():
        return
    # A failed write, as on a full disk, must not stop this run: the other one only takes longer without the state.
    with contextlib.suppress(OSError):
        loop.save_state(path, state())
    if (folder / RECORD).exists():  # by another command, meanwhile
        path.unlink(missing_ok=True)


def _job(run: TrainingRun, folder: Path, start: Path | None) -> loop.Job:
    """Load what a run starts from onto its device."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    # Organisms have one: two contended OpenMP threads are several times slower, and the order of sums is fixed.
    torch.set_num_threads(run.recipe.threads)
    folder.mkdir(parents=True, exist_ok=True)
    model, tokenizer = _initial(run, start)
    curriculum = curricula.Curriculum(
        phases=[_phase(plan, tokenizer if run.public else None) for plan in run.phases],
        recipe=run.recipe,
        training_seed=run.training_seed,
    )
    organism.move(model, run.device)
    return loop.Job(
        model, tokenizer, curriculum, state_file(run, folder), _completed(start) if start else None, run.name
    )


def _saved(run: TrainingRun, folder: Path, job: loop.Job, trained: curricula.Trained) -> TrainingRecord:
    """Save the checkpoint and the curve, and at last the record."""
    import torch

    organism.move(job.model, "cpu")
    if not all(bool(torch.isfinite(parameter).all()) for parameter in job.model.parameters()):
        raise TrainingError(
            f"training of `{run.name}` ended with NaN or infinite weights; no checkpoint was saved. {curricula.LOWER_RATES}"
        )
    if run.public:
        public_bases.save(job.model, Path(str(run.base)), folder)
    else:
        job.model.save_pretrained(folder)
        job.tokenizer.save_pretrained(folder)
    _write_curve(folder / CURVE, trained)
    n_parameters = organism.n_parameters(job.model)
    record = TrainingRecord(
        arm=run.arm, scale=run.scale, training_seed=run.training_seed, training_run=run.name, identity=run.identity,
        n_parameters=n_parameters, params_b=n_parameters / 1e9, weights_sha256=weights_sha256(folder),
        n_tokens=trained.n_tokens, n_sampled_tokens=trained.n_sampled_tokens, flops=trained.flops,
        wall_s=round(trained.wall_s, 1), joules=None if trained.joules is None else round(trained.joules, 1),
        phases=tuple({name: value for name, value in _settings_of(p).items() if name != "benchmarks"} for p in run.phases),
        documents=tuple(trained.documents), torch=torch.__version__, device=run.device,
        muon_dtype=_muon_dtype(run),
    )  # fmt: skip
    files.write_json(folder / RECORD, to_json(record))
    job.state_file.unlink(missing_ok=True)
    return record


def _muon_dtype(run: TrainingRun) -> str:
    has_updates = run.phases and run.recipe.optimizer == "muon"
    return str(muon.product_type(run.device)).removeprefix("torch.") if has_updates else "bfloat16"


def _initial(run: TrainingRun, start: Path | None) -> "tuple[Qwen3ForCausalLM, PreTrainedTokenizerFast]":
    if run.base and run.public:
        if run.recipe.implementation != "transformers":
            raise TrainingError(
                f"a public base is trained by transformers; got `training.implementation` {run.recipe.implementation}. Use "
                f"training=public."
            )
        return public_bases.load(Path(run.base), run.shape, start)
    if run.base:
        base = Path(run.base)
        base_record(base)
        return organism.load_model(start or base), organism.load_tokenizer(base)
    tokenizer = organism.make_tokenizer(corpora.tokenizer_texts(run.n_tokenizer_blocks), run.shape.vocabulary)
    return organism.make_model(run.shape, tokenizer, run.training_seed), tokenizer


def _phase(plan: PhasePlan, public: "PreTrainedTokenizerFast | None" = None) -> curricula.Phase:
    """Return a phase with its corpus.

    public : tokenizer of a public base, in whose chat format the texts are.
    """
    corpus = corpora.named(plan.corpus, plan.benchmarks, plan.scaffolds or ("compact",))
    if public is not None:
        corpus = public_bases.rendered(corpus, public)
    return curricula.Phase(name=plan.corpus, corpus=corpus, n_tokens=plan.n_tokens, lr=plan.lr, rl=plan.rl)


def _write_curve(path: Path, trained: curricula.Trained) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(trained.curve)
    files.write_text(path, text.getvalue())


def _completed(folder: Path) -> curricula.Start:
    """Read the costs and the curve of a finished run, for a run that continues it."""
    record = read_record(folder / RECORD, TrainingRecord, remedy="Run `make train`.", error=TrainingError)
    with (folder / CURVE).open(newline="", encoding="utf-8") as file:
        curve = [
            {"phase": row["phase"]} | {key: _number(row[key]) for key in COLUMNS if key != "phase"}
            for row in csv.DictReader(file)
        ]
    trained = curricula.Trained(
        n_tokens=record.n_tokens, n_sampled_tokens=record.n_sampled_tokens, flops=record.flops,
        wall_s=record.wall_s, joules=record.joules, curve=curve,
        documents=record.documents or [{}] * len(record.phases),  # an older version did not count
    )  # fmt: skip
    return curricula.Start(len(record.phases), trained)


def _number(cell: str) -> Json:
    """Return a number of a curve; `nan` was the loss of a batch without a token in the loss in an earlier version."""
    return None if cell in ("", "nan") else json.loads(cell)


def _meter(device: str) -> Callable[[], float | None]:
    """Return a function that reads the energy a GPU has used, joules; None on a CPU and where NVML does not report it.

    The counter is the whole card's, so it says nothing about a run beside others: a reading is None while another
    process computes on the card, and a run with one such reading has no joules.
    """
    if not device.startswith("cuda"):
        return lambda: None
    try:
        import pynvml
    except ImportError:
        return lambda: None
    import torch

    try:
        pynvml.nvmlInit()
        # By UUID: NVML ignores CUDA_VISIBLE_DEVICES.
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except (pynvml.NVMLError, RuntimeError, AttributeError):  # no driver, no CUDA, or a torch that knows no UUID
        return lambda: None

    def read() -> float | None:
        """Read the counter; None once it fails, or while another process computes on the card."""
        try:
            alone = len(pynvml.nvmlDeviceGetComputeRunningProcesses(handle)) <= 1
            return pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000 if alone else None
        except pynvml.NVMLError:
            return None

    return read
