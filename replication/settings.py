"""The typed shape of conf/: plain dataclasses for Hydra, one root; a misspelt key fails and the message names it.

These are not records: OmegaConf wants mutable classes and gives tuples back as lists. `config.py` turns them into
records and live objects once, at the edge; the analysis half reads `Analysis` from here and nothing else.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING, OmegaConf

from replication.errors import ConfigError

CONF = Path(__file__).resolve().parent.parent / "conf"
"""The configuration beside the package: the project is used from its checkout."""


@dataclass
class Study:
    """What is compared."""

    name: str = MISSING
    kind: str = MISSING  # reanalysis, controlled or released: what the verdict rules look at
    scope: str = MISSING  # what its verdicts are about, in words
    seed: int = 0  # of tasks and sampling
    training_seeds: list[int] = field(default_factory=list)
    n_trials: int = 1
    comparisons: list[list[str]] = field(default_factory=list)  # [treatment, control], beside those of the claims
    deviations: list[str] = field(default_factory=list)


@dataclass
class Phase:
    """A stretch of training."""

    corpus: str = MISSING  # general, episodes, transitions or predictions; the last two also _shuffled
    n_tokens: int = MISSING  # compute budget, in tokens' worth of 6 x parameters FLOPs
    lr: float = MISSING
    domain: str = "all"  # all benchmarks of the study, or in: those open to the warm-up


@dataclass
class Arm:
    """A training condition; its phases start from the base of the scale, in this order."""

    phases: list[Phase] = field(default_factory=list)
    scales: list[str] = field(default_factory=list)  # where it is trained; empty means everywhere
    training_seeds: list[int] = field(default_factory=list)  # empty means those of the study


@dataclass
class Base:
    """How the base of a scale is made, once."""

    path: str = MISSING
    n_tokens: int = MISSING
    lr: float = MISSING
    seed: int = 0
    n_tokenizer_blocks: int = MISSING


@dataclass
class Scale:
    """Size of an organism and where its base is."""

    hidden: int = MISSING
    layers: int = MISSING
    heads: int = MISSING
    kv_heads: int = MISSING
    head_dim: int = MISSING
    intermediate: int = MISSING
    vocabulary: int = MISSING
    context: int = MISSING
    base: Base = field(default_factory=Base)
    levels: dict[str, list[int]] = field(default_factory=dict)  # by benchmark: calibrated, in place of its own


@dataclass
class Model:
    """A public checkpoint on the hub, or a folder."""

    path: str = MISSING
    revision: str = MISSING  # a commit, never a branch: the run's identity depends on it
    role: str = MISSING  # general or agent_specific; takes the place of the arm
    pair: str | None = None  # matched pair that it belongs to
    base: str | None = None  # checkpoint that its training started from
    family: str | None = None
    scale: str = MISSING
    params_b: float = MISSING
    active_b: float | None = None  # parameters active per token, billions; None: a dense model
    architecture: str = MISSING  # models with equal text are swapped into one engine
    tool_syntax: str = "hermes"  # hermes, qwen3_coder or llama3: how the model writes calls in scaffold native


@dataclass
class Benchmark:
    """Which tasks of a benchmark are played."""

    domain: str = MISSING  # in or out: whether the warm-up may see it
    split: str = "evaluation"
    levels: list[int] = MISSING
    n_tasks: int = MISSING  # spread evenly over the levels
    weight: int = 1  # how often it is drawn in training, beside the others


@dataclass
class Scaffold:
    """Limits of an episode in a scaffold."""

    max_turns: int = MISSING
    max_episode_tokens: int = MISSING


@dataclass
class Serve:
    """Which checkpoints this process plays, such as one job of a cluster."""

    only: list[str] = field(default_factory=list)  # their names; empty: all of the study, then the index is written


@dataclass
class Sampling:
    """How text is drawn."""

    temperature: float = MISSING
    top_p: float = 1.0
    top_k: int = -1
    max_tokens: int = MISSING


@dataclass
class Engine:
    """How models are served; can change speed but no text, so it is not part of a run's identity, but dtype is."""

    device: str = MISSING  # cpu or cuda
    dtype: str = MISSING
    context: int = MISSING
    max_num_seqs: int = MISSING
    concurrency: int = MISSING  # episodes in flight
    kv_cache_gib: float | None = None
    processes: int = 1  # engines side by side, each with a share of the checkpoints
    threads: int = 1  # of each
    multiprocessing: bool = False
    options: dict[str, Any] = field(default_factory=dict)  # further arguments of vllm.LLM


@dataclass
class Rl:
    """How phases on the corpus `predictions` learn: GRPO with GSPO's sequence-level ratio."""

    n_prompts: int = MISSING  # per step
    group_size: int = MISSING  # replies per prompt
    n_minibatches: int = MISSING  # optimizer steps per step
    temperature: float = MISSING
    max_new_tokens: int = MISSING
    clip_low: float = MISSING
    clip_high: float = MISSING
    kl_weight: float = MISSING
    exact_weight: float = MISSING  # of exact match in the reward; the rest is token F1


@dataclass
class Probe:
    """Next-observation predictions that every checkpoint is asked for, to see what it knows of the worlds."""

    n_tasks: int = 0  # per environment; 0 leaves the probe out
    max_tokens: int = 256


@dataclass
class Calibration:
    """How levels are chosen: on the calibration split, by one arm, before the evaluation split is touched."""

    arm: str = "agent_sft"
    training_seed: int = 1000  # never one of a study's
    low: float = 0.3
    high: float = 0.8
    n_tasks: int = 60  # per level
    levels: list[int] = field(default_factory=lambda: [1, 2, 3])  # tried


@dataclass
class Training:
    """How every arm is trained."""

    device: str = MISSING  # cpu or cuda
    workers: int = MISSING  # training runs side by side, one CPU thread each
    batch_tokens: int = MISSING
    warmup_share: float = MISSING
    decay_share: float = MISSING
    adam_share: float = MISSING
    weight_decay: float = MISSING
    clip: float = MISSING
    precision: str = MISSING  # float32 or bfloat16
    compile: bool = MISSING  # a minute to start, then faster; needs a C++ compiler on the CPU
    save_every_s: float = MISSING
    rl: Rl = field(default_factory=Rl)


@dataclass
class Analysis:
    """Choices of the analysis, fixed before results are read."""

    level: float = MISSING  # of intervals
    power: float = MISSING  # for the minimal detectable effect
    icc: float = MISSING  # of published rows: between-task share of the single-run variance
    rho: float = MISSING  # of published rows: correlation of the two arms over tasks
    unstated_runs: int = MISSING  # assumed where the source states none
    unscored: list[str] = MISSING  # policies that a verdict must survive
    bounds: list[str] = MISSING  # policies whose outcome is reported beside it
    n_simulations: int = MISSING  # of the A/A check
    simulation_seed: int = MISSING


@dataclass
class Monitor:
    """A stopping rule that looks at two arms after each block of tasks."""

    enabled: bool = False
    treatment: str = ""  # arm or role
    control: str = ""
    alpha: float = 0.05  # chance, over all looks at a scale's benchmark, of a difference that is not there
    sesoi: float = 0.05  # smallest effect of interest, a fraction: a difference within it is futile to pursue
    block: int = 20  # tasks between looks
    min_blocks: int = 1  # before the first decision


@dataclass
class Plan:
    """What the planner assumes where nothing was measured, and what it looks for."""

    treatment: str = MISSING
    control: str = MISSING
    data: str | None = None  # frozen study to measure from; None: the study itself, if it was collected
    sesoi: float = MISSING  # smallest effect of interest
    pass_rate: float = MISSING  # of both arms
    icc: float = MISSING  # between-task share of the single-run variance
    rho: float = MISSING  # correlation of the arms' success probabilities over tasks
    tau: float = MISSING  # SD between training runs of an arm
    prompt_tokens: float = MISSING  # per episode
    completion_tokens: float = MISSING  # per episode
    probe_prompt_tokens: float = MISSING  # per prediction of the probe
    probe_completion_tokens: float = MISSING  # per prediction of the probe
    tokens_per_s: float = MISSING  # prompt and completion, of one engine
    training_tokens_per_s: float = MISSING  # of one training run
    hours_per_task: float = MISSING  # of making one more task of one benchmark
    currency: str = MISSING
    price_per_hour: float = MISSING  # of an engine or a training run
    price_per_million_prompt_tokens: float = MISSING
    price_per_million_completion_tokens: float = MISSING
    budget: float | None = None  # hours, or money where there is a price; None: what the two arms cost as they stand
    max_tasks: int = MISSING  # per benchmark
    max_trials: int = MISSING  # per task and training run
    max_runs: int = MISSING  # per arm


@dataclass
class Tracking:
    """Curves for wandb, a second view; the package's own files are the record."""

    mode: str = "offline"  # offline, online or disabled
    project: str = "replication"


@dataclass
class Paths:
    """Where things are written, relative to the working folder."""

    results: str = "results"
    paper: str = "paper"


@dataclass
class Root:
    """Everything."""

    study: Study = field(default_factory=Study)
    arms: dict[str, Arm] = field(default_factory=dict)
    scales: dict[str, Scale] = field(default_factory=dict)
    models: dict[str, Model] = field(default_factory=dict)
    benchmarks: dict[str, Benchmark] = field(default_factory=dict)
    scaffolds: dict[str, Scaffold] = field(default_factory=dict)
    sampling: Sampling = field(default_factory=Sampling)
    engine: Engine = field(default_factory=Engine)
    serve: Serve = field(default_factory=Serve)
    training: Training = field(default_factory=Training)
    probe: Probe = field(default_factory=Probe)
    calibration: Calibration = field(default_factory=Calibration)
    analysis: Analysis = field(default_factory=Analysis)
    plan: Plan = field(default_factory=Plan)
    monitor: Monitor = field(default_factory=Monitor)
    tracking: Tracking = field(default_factory=Tracking)
    paths: Paths = field(default_factory=Paths)


def register() -> None:
    """Tell Hydra the schema; conf/config.yaml names it `root`."""
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name="root", node=Root)


def checked(cfg: Any) -> Root:
    """Turn Hydra's DictConfig into the typed root; every value present and in range, or one clear ConfigError."""
    lacking = sorted(OmegaConf.missing_keys(cfg))
    if lacking:
        raise ConfigError(f"no value for `{'`, `'.join(lacking)}`. Give it in conf/ or on the command line.")
    root = OmegaConf.to_object(cfg)
    assert isinstance(root, Root)
    unknown = sorted(_dropped(OmegaConf.to_container(cfg), dataclasses.asdict(root)))
    if unknown:
        raise ConfigError(
            f"no key `{'`, `'.join(unknown)}` in replication/settings.py. Mend conf/ or the command line."
        )
    _in_range("study.n_trials", root.study.n_trials, 1, 10_000)
    _in_range("study.seed", root.study.seed, 0, 2**31)
    _in_range("sampling.temperature", root.sampling.temperature, 0.0, 2.0)
    if 0 < root.sampling.temperature < 0.01:
        raise ConfigError(
            f"`sampling.temperature` {root.sampling.temperature} would be raised to 0.01 by vLLM without a word; "
            f"use 0 for greedy decoding or at least 0.01."
        )
    _in_range("sampling.top_p", root.sampling.top_p, 1e-6, 1.0)
    _in_range("sampling.max_tokens", root.sampling.max_tokens, 1, root.engine.context)
    for name, choice in root.benchmarks.items():
        _in_range(f"benchmarks.{name}.n_tasks", choice.n_tasks, 1, 1_000_000)
        if choice.split != "evaluation":
            raise ConfigError(f"`benchmarks.{name}.split` is {choice.split!r}; a study is played on `evaluation` only.")
    if len(set(root.study.training_seeds)) != len(root.study.training_seeds):
        raise ConfigError(f"`study.training_seeds` {root.study.training_seeds} names a seed twice.")
    return root


def _dropped(given: Any, kept: Any, path: str = "") -> Iterator[str]:
    # A key that is added on the command line with `+` passes Hydra's check and would be lost without a word.
    if isinstance(given, dict):
        for key, value in given.items():
            here = f"{path}.{key}" if path else str(key)
            if key in kept:
                yield from _dropped(value, kept[key], here)
            else:
                yield here
    elif isinstance(given, list):
        for at, (value, other) in enumerate(zip(given, kept)):
            yield from _dropped(value, other, f"{path}[{at}]")


def _in_range(key: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"`{key}` must be in [{low}, {high}]; got {value}.")
