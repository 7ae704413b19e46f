"""What a training run is made of: phases, optimization settings, and what is known of it when it has ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from replication.collect.training.corpora import Corpus, Predictions
from replication.collect.training.rl import RlSettings
from replication.errors import ConfigError
from replication.records import Json

LOWER_RATES = (
    "Lower the learning rates (`lr` in conf/arm/, or for a base in conf/scale/), or check the starting weights."
)
"""What to do about a run that diverges."""

MOST_WARMUP = 0.1
"""Largest share of a phase's budget over which the rate rises."""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of training on one corpus with one objective and one learning-rate schedule."""

    name: str
    corpus: Corpus | Predictions
    n_tokens: int
    """Compute budget, as the tokens that 6 x parameters FLOPs each would pay for. Attention, sampling and the reference
    model of reinforcement learning are charged to it too, so fewer tokens are read. Arms of one scale with equal sums
    of budgets are matched in compute to within one step, for any objectives."""
    lr: float
    """Peak rate; AdamW runs at `adam_share` of it."""
    rl: RlSettings | None = None
    """None: supervised learning of the marked spans of documents. Otherwise reinforcement learning on predictions."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Optimization settings, the same for every arm."""

    batch_tokens: int
    context: int
    """Longer documents are left out of the corpus, never cut."""
    warmup_tokens: int
    """Part of a phase's budget over which the rate rises, at most `MOST_WARMUP` of it. Not a share, so that two phases of
    different budgets take the same steps until the shorter one decays; see `loop.Branch`."""
    decay_share: float
    adam_share: float
    weight_decay: float
    clip: float
    precision: str
    """float32, or bfloat16 for the matrix products (weights and sums stay float32)."""
    compile: bool
    """Whether the model is compiled: pays after a minute of training; needs a C++ compiler on the CPU."""
    save_every_s: float
    implementation: str = field(default="transformers", metadata={"omit_default": True})
    """transformers, or, faster and with other roundings, `written_out` (float32 on a CPU; see qwen3.py) or, for supervised
    steps, `stacked` (several runs at once, for GPUs; see stacked.py)."""
    optimizer: str = field(default="muon", metadata={"omit_default": True})
    """muon: for matrices, with AdamW for the other parameters; adamw: for all."""
    threads: int = field(default=1, metadata={"omit_default": True})
    """CPU threads: another number gives sums of another order."""

    def __post_init__(self) -> None:
        """Reject what an implementation cannot do."""
        is_other = self.compile or self.optimizer != "muon"
        if self.implementation == "written_out" and (is_other or self.precision != "float32"):
            raise ConfigError(
                f"`training.implementation` is `written_out`, which computes in float32 with Muon and is not compiled; got "
                f"precision {self.precision}, optimizer {self.optimizer}, compile {self.compile}. Use "
                f"`training.implementation=transformers`."
            )
        if self.implementation == "stacked" and is_other:
            raise ConfigError(
                f"`training.implementation` is `stacked`, which has Muon and is not compiled; got optimizer "
                f"{self.optimizer}, compile {self.compile}. Use `training.implementation=transformers`."
            )


@dataclass(frozen=True, kw_only=True)
class Curriculum:
    """The phases of a training run in order, their optimization settings, and the seed of all random numbers."""

    phases: Sequence[Phase]
    recipe: TrainingConfig
    training_seed: int


class Progress(NamedTuple):
    """State of a training run after a step, for the progress bar."""

    phase: str
    n_tokens: int
    """Budget spent so far; see `Phase.n_tokens`."""
    loss: float


class Trained(NamedTuple):
    """Costs and learning curve of a training run."""

    n_tokens: int
    """Tokens in forward and backward passes, without padding."""
    n_sampled_tokens: int
    """New tokens drawn by reinforcement learning."""
    flops: float
    """All computation, including attention, sampling and reference models; see costs.py."""
    wall_s: float
    joules: float | None
    """None without a meter, or where it was not this run's alone."""
    curve: list[dict[str, Json]]
    """One row per step: step, phase, n_tokens, loss, lr, wall_s, reward. `loss` is None where no token was in the loss."""
    documents: Sequence[Mapping[str, Mapping[str, int]]]
    """For each phase; see `documents.Counts`."""


UNTRAINED = Trained(0, 0, 0.0, 0.0, 0.0, [], [])


class Start(NamedTuple):
    """Phases that another training run has completed: the model is that run's, and its costs are counted."""

    n_phases: int
    trained: Trained
