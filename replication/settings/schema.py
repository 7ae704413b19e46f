"""The typed shape of conf/: plain dataclasses for Hydra, one root; limits of a value are declared beside its type.

These are not records: OmegaConf requires mutable classes and returns tuples as lists. `collect/build.py` converts them to
records and live objects.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from omegaconf import MISSING

from replication.records import Target
from replication.settings.limits import fraction, inside, limited, located, named, one_of, real, whole

CONF = Path(__file__).resolve().parents[2] / "conf"
"""The configuration beside the package: the project is used from its checkout."""
KINDS = ("reanalysis", "controlled", "released")
"""Kinds of study; a claim names those that can answer it."""
ROLES = ("general", "agent_specific", "world_model")
"""Roles of public checkpoints in comparisons."""
CERTAINTIES = ("read", "inferred")
"""Of a fact: read at its source, or concluded from others."""
CORPORA = ("general", "episodes", "transitions", "transitions_shuffled", "predictions", "predictions_shuffled")
TOOL_SYNTAXES = ("hermes", "qwen3_coder", "llama3", "xlam", "pythonic")
DEVICES = ("cpu", "cuda")
SOURCES = ("hub", "folder", "lora", "gguf", "package")
"""Sources of weights."""
OPTIMIZERS = ("muon", "adamw")
LAUNCHERS = ("local", "slurm", "ray")
DTYPES = ("float32", "bfloat16", "float16")
POLICIES = ("exclude", "fail", "best", "worst")
"""Policies for missing scores."""
MAX_LEVEL = 5
"""Of generated environments."""


@dataclass
class Study:
    """A study: its scope, seeds and comparisons."""

    name: str = named()
    kind: str = one_of(KINDS)  # a claim names the kinds that can answer it
    scope: str = MISSING  # models, scales and benchmarks that its verdicts apply to, in words
    seed: int = whole(0, 2**31, 0)  # of tasks and sampling
    training_seeds: list[int] = whole(0, 2**31, list, distinct=True)
    n_trials: int = whole(1, 10_000, 1)
    comparisons: list[list[str]] = named(list)  # [treatment, control], in addition to those of the claims
    deviations: list[str] = field(default_factory=list)


@dataclass
class Phase:
    """A stretch of training on one corpus."""

    corpus: str = one_of(CORPORA)  # what the texts are
    n_tokens: int = whole(1, 10**13)  # compute budget, in tokens of 6 x parameters FLOPs each
    lr: float = real(0.0, 10.0, above=True)  # peak rate; AdamW has `training.adam_share` of it
    domain: str = one_of(("all", "in"), "all")  # all: every benchmark of the study; in: in-domain benchmarks only


@dataclass
class Arm:
    """A training condition: phases in order, from the base of the scale."""

    phases: list[Phase] = field(default_factory=list)
    scales: list[str] = named(list, distinct=True)  # scales at which the arm is trained; empty means all
    training_seeds: list[int] = whole(0, 2**31, list, distinct=True)  # empty means `study.training_seeds`


@dataclass
class Base:
    """Training of the base of a scale, from which all its arms start."""

    path: str = located()  # folder of the checkpoint, relative to the package
    n_tokens: int = whole(1, 10**13)
    warmup_tokens: int = whole(0, 10**12)  # in place of `training.warmup_tokens`
    lr: float = real(0.0, 10.0, above=True)
    seed: int = whole(0, 2**31, 0)
    n_tokenizer_blocks: int = whole(1, 100_000)  # blocks of the general corpus that the tokenizer is trained on


@dataclass
class Scale:
    """Dimensions of an organism, its base, and the calibrated levels of its tasks."""

    hidden: int = whole(1, 100_000)
    layers: int = whole(1, 1_000)
    heads: int = whole(1, 1_000)
    kv_heads: int = whole(1, 1_000)
    head_dim: int = whole(2, 1_024)
    intermediate: int = whole(1, 1_000_000)
    vocabulary: int = whole(259, 1_000_000)
    context: int = whole(1, 10_000_000)
    base: Base | None = None  # trained here
    checkpoint: "Model | None" = None  # a public base instead, whose dimensions the others are
    levels: dict[str, list[int]] = whole(1, MAX_LEVEL, dict, least=1)  # by benchmark; replaces the benchmark's


@dataclass
class Architecture:
    """Sizes in the published configuration of a checkpoint, from which the plan computes its memory."""

    layers: int = whole(1, 10_000)
    attention_layers: int | None = whole(1, 10_000, None)  # with a KV cache; None: all, the others are linear attention
    hidden: int = whole(1, 1_000_000)
    heads: int = whole(1, 10_000)
    kv_heads: int = whole(1, 10_000)
    head_dim: int = whole(1, 10_000)
    gated_attention: bool = False  # the query projection has an output gate of its own size
    intermediate: int = whole(1, 10_000_000)  # of the MLP, or of one expert
    experts: int = whole(0, 100_000, 0)  # 0: a dense model
    active_experts: int = whole(0, 100_000, 0)
    shared_intermediate: int = whole(0, 10_000_000, 0)  # of the expert that every token passes
    linear_key_heads: int = whole(0, 10_000, 0)  # of linear attention
    linear_value_heads: int = whole(0, 10_000, 0)
    linear_head_dim: int = whole(1, 10_000, 128)
    vocabulary: int = whole(1, 10_000_000)
    tied: bool = False  # one matrix for input and output embedding
    other_b: float = real(
        0.0, 100_000.0, 0.0
    )  # parameters outside the language model, such as a vision tower, billions
    certainty: str = one_of(CERTAINTIES)
    reference: str = MISSING  # where the sizes are stated


@dataclass
class SamplingDefaults:
    """Sampling that the vendor of a checkpoint recommends: for information, `sampling` of the study is used."""

    temperature: float = real(0.0, 2.0)
    top_p: float = real(1e-6, 1.0, 1.0)
    top_k: int = whole(-1, 10_000_000, -1)
    repetition_penalty: float = real(0.0, 10.0, 1.0, above=True)
    presence_penalty: float = real(-2.0, 2.0, 0.0)
    certainty: str = one_of(CERTAINTIES)
    reference: str = MISSING


@dataclass
class Model:
    """A public checkpoint: on the hub, a folder, or made once from an adapter or a GGUF file by `make weights`."""

    path: str = located()  # hub id or folder; lora: of the adapter; gguf: the file; package: the file in the package
    source: str | None = one_of(SOURCES, None)  # None: hub or folder, as the path is
    revision: str | None = None  # hub: commit, or a branch or tag, then locked; other sources: null, or the files' hash
    package: str | None = None  # of source package: NAME==VERSION in the registry of Python packages
    sha256: str | None = None  # of the GGUF file
    download_gb: float | None = real(0.0, 100_000.0, None)  # of a source other than the hub, 10**9 bytes
    base_revision: str | None = None  # of source lora: as `revision`, of `base`
    chat_template: str | None = located(None)  # file in conf/ that replaces the template; lora, gguf, package
    role: str = one_of(ROLES)  # takes the place of the arm
    pair: str | None = None  # matched pair that it belongs to; `pairs` sets it
    base: str | None = None  # checkpoint that its training started from
    family: str | None = None
    scale: str = named()
    params_b: float = real(0.0, 100_000.0, above=True)
    active_b: float | None = real(0.0, 100_000.0, None, above=True)  # active per token, billions; None: a dense model
    tool_syntax: str = one_of(TOOL_SYNTAXES, "hermes")  # of calls in scaffold native
    reasoning_parser: str | None = None  # of vLLM, with the tags of the model's thinking; None if it does not think
    template_options: dict[str, Any] = field(default_factory=dict)  # of the chat template, such as enable_thinking
    template_note: str | None = None  # what to know about its chat template and its calls
    tensor_parallel_size: int | None = whole(1, 1_000, None)  # GPUs that serve it; None: as in `engine.options.llm`
    dtype: str | None = one_of(DTYPES, None)  # of the published weights
    context: int | None = whole(2, 100_000_000, None)  # longest context that the vendor states, tokens
    architecture: Architecture | None = None  # None: its memory is unknown to the plan
    sampling_defaults: SamplingDefaults | None = None
    licence: str | None = (
        None  # SPDX identifier or name; `unknown` if nobody read it; None: not stated, such as of a folder
    )
    gated: bool = False  # the hub gives the weights to accounts only that accepted the licence
    certainty: str | None = one_of(CERTAINTIES, None)  # of these facts
    reference: str | None = None  # where they are stated


@dataclass
class Pair:
    """A matched pair of public checkpoints: a general one and one that was tuned further."""

    general: str = named()  # of `models`
    agent: str = named()  # of `models`, role agent_specific or world_model
    base: str | None = None  # checkpoint that both were trained from, or that the agent was trained from
    differs: str | None = None  # how the two differ besides the tuning; required where they share no base
    certainty: str = one_of(CERTAINTIES)
    reference: str = MISSING


@dataclass
class Licences:
    """Licences that the user has read and accepts."""

    accepted: list[str] = limited(list, distinct=True)  # as `models.NAME.licence` states them


@dataclass
class SuiteOptions:
    """Choices that only generated environments have."""

    domain: str = one_of(("in", "out"))  # in or out: whether the warm-up may see it
    levels: list[int] = whole(1, MAX_LEVEL, least=1)  # difficulties; the tasks are spread evenly over them
    weight: int = whole(1, 1_000, 1)  # how often it is drawn in training, relative to the others


@dataclass
class Fact:
    """One choice of a published protocol, and how it is known."""

    value: str = MISSING
    status: str = one_of(("stated", "proxied", "unspecified"))  # proxied: by another document of the same authors


@dataclass
class Protocol:
    """How the original ran a published benchmark, and where a replication with the public harness differs."""

    stated_in: str = MISSING
    proxied_from: str = MISSING
    scaffold: Fact = field(default_factory=Fact)
    attempts: Fact = field(default_factory=Fact)
    time_limit: Fact = field(default_factory=Fact)
    context: Fact = field(default_factory=Fact)
    sampling: Fact = field(default_factory=Fact)
    judge: Fact = field(default_factory=Fact)
    metric: Fact = field(default_factory=Fact)
    deviations: list[str] = field(default_factory=list)  # of a study that ingests it; they go to its verdicts


@dataclass
class Cost:
    """What one attempt at a published benchmark takes by its official harness; null: not known."""

    hours: float | None = real(0.0, 1e6, None)  # of all items, eight side by side, at most: by the time limits
    prompt_tokens: float | None = real(0.0, 1e12, None)  # of an item, sum over its requests
    new_tokens: float | None = real(0.0, 1e12, None)  # of an item
    basis: str = limited("")  # where the numbers come from, or what would be needed to know them


@dataclass
class Benchmark:
    """The tasks of a benchmark that are played, or ingested if it has a protocol."""

    split: str = "evaluation"
    n_tasks: int = whole(1, 1_000_000)
    suite: SuiteOptions | None = None  # of a generated environment; None for all other benchmarks
    protocol: Protocol | None = None  # of a published benchmark, which its official harness plays
    cost: Cost | None = None  # of a published benchmark


@dataclass
class Scaffold:
    """Limits of an episode in a scaffold; part of a run's identity."""

    max_turns: int = whole(1, 1_000_000)
    max_episode_tokens: int = whole(1, 10**9)  # new tokens
    max_malformed: int = whole(1, 1_000_000)  # replies in a row without a usable call or answer


@dataclass
class Serve:
    """Selection of the checkpoints that this process plays, for example as one job of a cluster."""

    only: list[str] = limited(list, distinct=True)  # their names; empty: all of the study, then the index is written
    host: str = "127.0.0.1"  # command `serve`: the address to listen at; 0.0.0.0 for other machines
    port: int = whole(0, 65_535, 0)  # 0: a free one
    start_s: float = real(0.0, 1e6, 900.0, above=True)  # time limit until the server answers


@dataclass
class Launcher:
    """Where the jobs of a sweep run, one per checkpoint, and what each asks for; changes no result."""

    kind: str = one_of(LAUNCHERS, "local")
    parallel: int = whole(0, 100_000, 1)  # jobs side by side; 0: no limit of ours
    cpus: int = whole(1, 10_000, 1)  # of a job
    gpus: int = whole(0, 1_000, 0)  # of a job
    memory_gib: int | None = whole(1, 100_000, None)  # of a job; null: the cluster's default
    time_min: int | None = whole(1, 10_000_000, None)  # limit of a job of SLURM; null: the partition's
    partition: str | None = limited(None)  # of SLURM; null: its default
    requeue: bool = True  # SLURM queues a job again that was preempted, reached its time limit or lost its node
    setup: list[str] = limited(list)  # shell lines before a job of SLURM, such as `module load cuda`
    options: list[str] = limited(list)  # more options of sbatch
    address: str | None = limited(None)  # of a running Ray; null: the one on this machine, else one is started
    retries: int = whole(0, 1_000, 10)  # of a job that its time limit, a preemption or a lost machine ended


@dataclass
class Sampling:
    """Sampling parameters; part of a run's identity."""

    temperature: float = real(0.0, 2.0)  # 0: greedy
    top_p: float = real(1e-6, 1.0, 1.0)
    top_k: int = whole(-1, 10_000_000, -1)  # -1: all tokens
    max_tokens: int = whole(1, 10_000_000)  # new tokens per turn


@dataclass
class Engine:
    """Settings of the engine, which are part of a run's identity.

    Exceptions are `concurrency`, `processes`, `order`, `episode_s`, `max_failed`, `min_failures` and the options that the
    kind lists as `speed_only`; the run's manifest has those options as the engine describes them.
    """

    kind: str = MISSING  # a module of replication/collect/engines
    dtype: str = one_of(DTYPES)  # of the weights
    context: int = whole(2, 10_000_000)  # longest prompt plus reply, tokens
    concurrency: int = whole(1, 100_000)  # episodes in flight
    processes: int = whole(1, 1_000, 1)  # engines side by side, each with a share of the checkpoints
    order: str = one_of(("listed", "longest_first"), "listed")  # in which a checkpoint's episodes start
    episode_s: float | None = real(0.0, 1e9, None, above=True)  # time limit of an episode, which is then unscored
    max_failed: float = fraction(0.5)  # share of the episodes played that may fail; above it the run stops
    min_failures: int = whole(0, 1_000_000, 10)  # so many never stop a run
    options: dict[str, Any] = field(default_factory=dict)  # of the kind: dataclass `Options` of its module


@dataclass
class Ingest:
    """A run that an official harness collected: the location of its results, and its settings.

    No harness enforces `engine` and `sampling` of the study, so they must describe how the model was served and sampled.
    """

    harness: str = MISSING  # a module of replication/collect/benchmarks/official
    folder: str = located()  # of this run alone
    model: str | None = limited(None, kind="model")  # one of `models`; null: each checkpoint, in a folder of its own
    benchmark: str = named()
    benchmark_version: str = MISSING  # of its data and its grader: a release, or a commit
    scaffold: str = named()  # the agent that the harness ran
    scaffold_version: str = MISSING
    n_tasks: int = whole(1, 1_000_000)  # items of the benchmark; results for fewer are an error
    n_trials: int = whole(1, 10_000, 1)
    max_unscored: float = fraction(
        0.1
    )  # share of attempts; above it the server was probably down, and nothing is stored
    options: dict[str, Any] = field(default_factory=dict)  # of the harness: dataclass `Options` of its module


@dataclass
class Rl:
    """Reinforcement learning on the corpora of predictions: GRPO with the sequence-level ratio of GSPO."""

    n_prompts: int = whole(1, 100_000)  # per step
    group_size: int = whole(2, 10_000)  # replies per prompt
    n_minibatches: int = whole(1, 10_000)  # optimizer steps per step
    temperature: float = real(0.0, 2.0, above=True)
    max_new_tokens: int = whole(1, 1_000_000)
    clip_low: float = real(0.0, 1.0, above=True)
    clip_high: float = real(0.0, 1_000.0, above=True)
    kl_weight: float = real(0.0, 1_000.0)
    exact_weight: float = fraction()  # of exact match in the reward; token F1 has the rest


@dataclass
class Probe:
    """Next-observation predictions by every checkpoint, which measure its world model."""

    n_tasks: int = whole(0, 1_000_000, 0)  # per environment; 0 leaves the probe out
    max_tokens: int = whole(1, 1_000_000, 256)


@dataclass
class Calibration:
    """Choice of the levels from the scores of one arm on the calibration split, before any evaluation."""

    arm: str = named("agent_sft")
    training_seed: int = whole(0, 2**31, 1000)  # outside every study
    low: float = fraction(0.3)  # bounds of the target mean score
    high: float = fraction(0.8)
    n_tasks: int = whole(1, 1_000_000, 60)  # per level
    levels: list[int] = whole(1, MAX_LEVEL, lambda: [1, 2, 3], least=1, distinct=True)  # candidates


@dataclass
class Training:
    """Optimization settings, the same for every arm."""

    device: str = one_of(DEVICES)
    workers: int = whole(1, 1_000)  # training runs side by side
    threads: int = whole(1, 1_000, 1)  # CPU threads of each
    optimizer: str = one_of(OPTIMIZERS, "muon")  # adamw: for all parameters; muon: AdamW for those that are no matrix
    batch_tokens: int = whole(1, 10**9)
    warmup_tokens: int = whole(0, 10**12)  # of each phase, at most a tenth of it
    decay_share: float = fraction()
    adam_share: float = real(0.0, 100.0, above=True)
    weight_decay: float = real(0.0, 100.0)
    clip: float = real(0.0, 1e6, above=True)
    precision: str = one_of(("float32", "bfloat16"))
    compile: bool = MISSING  # takes a minute, then steps are faster; needs a C++ compiler on the CPU
    save_every_s: float = real(0.0, 1e9)
    # Of supervised steps; written_out: float32, CPU; stacked: GPU.
    implementation: str = one_of(("transformers", "written_out", "stacked"))
    stack: int = whole(1, 1_000, 1)  # runs that a process trains together, implementation `stacked` only
    text_workers: int = whole(0, 1_000, 0)  # processes that make the texts of a stack ahead
    rl: Rl = field(default_factory=Rl)


@dataclass
class AuditScenario:
    """Assumptions under which all rows of a published table are tested together."""

    name: str = MISSING
    target: str = one_of(get_args(Target))  # T1, T2 or T3
    icc: float = fraction()
    rho: float = real(-1.0, 1.0)
    k: float | None = real(1.0, 1e6, None, infinite=True)  # runs of every row; None: as stated
    tau: float = fraction(0.0)  # SD between checkpoints of one arm, a fraction; enters T3
    partial_scale: float = fraction(1.0)  # share of the variance bound that partial-credit rows have


@dataclass
class TippingDesign:
    """A design at which the checkpoint SD that makes a row insignificant is searched."""

    k: float | None = real(1.0, 1e6, None, infinite=True)  # runs of every row; None: as stated
    rho: float = real(-1.0, 1.0)


@dataclass
class Audit:
    """Assumptions over which a published table is audited, besides the grid of icc and rho that its claim names."""

    high_rhos: list[float] = real(-1.0, 1.0)  # beyond the claim's grid
    same_task_iccs: list[float] = fraction()  # T1, besides those of the claim's grid
    runs: list[int] = whole(1, 1_000_000, least=1)  # per task, of the grid and of the designs
    digit_runs: list[int] = whole(1, 1_000, least=1)  # at which printed digits are tested for whole totals
    rounded_runs: list[int] = whole(1, 10, least=1)  # at which printed digits are tested as means of rounded runs
    fractions: list[float] = real(0.0, 10.0, above=True, least=1)  # of the printed difference: true effects
    powers: list[float] = inside(least=1)  # of the required designs
    winners_curse: float = real(0.0, 10.0, above=True)  # true effect as a fraction of the printed difference
    taus: list[float] = fraction(least=1)  # checkpoint SDs of the tipping curve, fractions
    tipping: dict[str, TippingDesign] = limited(keys="text")
    scenarios: list[AuditScenario] = limited(least=1)
    map_iccs: list[float] = real(0.0, 1_000.0, least=3)  # first, last and number of the fine map
    map_rhos: list[float] = real(-1.0, 1_000.0, least=3)


@dataclass
class Analysis:
    """Choices of the analysis, fixed before results are read."""

    level: float = inside()  # of intervals
    power: float = inside()  # for the minimal detectable effect
    icc: float = real(0.0, 1.0, above=True)  # of published rows: between-task share of the single-run variance
    rho: float = real(-1.0, 1.0)  # of published rows: correlation of the two arms over tasks
    unstated_runs: int = whole(1, 1_000_000)  # assumed where the source states none
    unscored: list[str] = one_of(POLICIES, least=1, distinct=True)  # policies that a verdict must survive
    bounds: list[str] = one_of(POLICIES, distinct=True)  # policies whose outcome is reported with it
    floor: float = real(0.0, 0.5)  # an arm with at most this mean score is at the floor, with 1 - floor at the ceiling
    sesois: list[float] = real(0.0, 1.0, above=True)  # smallest effects of interest at which every verdict is repeated
    n_simulations: int = whole(1, 10_000_000)  # of the A/A check
    simulation_seed: int = whole(0, 2**63)
    audit: Audit = field(default_factory=Audit)


@dataclass
class Certify:
    """A replay of a part of a study's stored episodes, with what should not change a text changed."""

    runs: list[str] = limited(list, distinct=True)  # run_ids; empty: `n_runs` of the study, drawn
    n_runs: int = whole(1, 100_000, 3)
    n_tasks: int = whole(1, 1_000_000, 20)  # of each run, drawn
    n_trials: int = whole(1, 10_000, 1)  # of each task, the first ones
    seed: int = whole(0, 2**31, 0)  # of the draws, and of the order in which the episodes are replayed
    concurrency: int = whole(1, 100_000, 3)  # episodes in flight
    max_num_seqs: int | None = whole(
        1, 100_000, 3
    )  # requests in a batch, for engines with this option; null: as stored
    options: dict[str, Any] = field(default_factory=dict)  # further `engine.options` that the replay has otherwise
    level: float = inside(0.95)  # of the interval


@dataclass
class Monitor:
    """A stopping rule that looks at two arms after each block of tasks."""

    enabled: bool = False
    treatment: str = named("", empty=True)  # arm or role
    control: str = named("", empty=True)
    alpha: float = inside(0.05)  # false positive rate over all looks at one benchmark at one scale
    sesoi: float = inside(
        0.05
    )  # smallest effect of interest, a fraction; the rule stops for futility if the effect is smaller
    block: int = whole(1, 1_000_000, 20)  # tasks between looks
    min_blocks: int = whole(1, 1_000_000, 1)  # before the first decision


@dataclass
class Plan:
    """Assumptions of the planner where no measurement exists, and its targets."""

    treatment: str = named()
    control: str = named()
    data: str | None = named(None)  # frozen study to measure from; None: the study itself, if it was collected
    sesoi: float = real(0.0, 1.0, above=True)  # smallest effect of interest
    pass_rate: float = fraction()  # of both arms
    icc: float = fraction()  # between-task share of the single-run variance
    rho: float = fraction()  # correlation of the arms' success probabilities over tasks
    tau: float = fraction()  # SD between training runs of an arm
    prompt_tokens: float = real(0.0, 1e12)  # per episode
    completion_tokens: float = real(0.0, 1e12)  # per episode
    probe_prompt_tokens: float = real(0.0, 1e12)  # per prediction of the probe
    probe_completion_tokens: float = real(0.0, 1e12)  # per prediction of the probe
    tokens_per_s: float = real(0.0, 1e12, above=True)  # prompt and completion, of one engine, at most
    flops_per_s: float | None = real(0.0, 1e18, None, above=True)  # of a GPU; None: all models at `tokens_per_s`
    gpu_memory_gib: float = real(0.0, 1e6, 80.0, above=True)  # of one GPU
    kib_per_episode: float = real(0.0, 1e9, 8.0)  # that the store keeps
    training_tokens_per_s: float = real(0.0, 1e12, above=True)  # of one training run
    hours_per_task: float = real(0.0, 1e12)  # to write one more task of one benchmark
    currency: str = MISSING
    price_per_hour: float = real(0.0, 1e12)  # of a GPU, of an engine on the CPU, or of a training run
    price_per_million_prompt_tokens: float = real(0.0, 1e12)
    price_per_million_completion_tokens: float = real(0.0, 1e12)
    budget: float | None = real(0.0, 1e12, None, above=True)  # hours, or money if priced; None: that of both arms
    max_tasks: int = whole(1, 1_000_000)  # per benchmark
    max_trials: int = whole(1, 10_000)  # per task and training run
    max_runs: int = whole(1, 10_000)  # per arm


@dataclass
class Tracking:
    """Learning curves in wandb; the reference is `curve.csv` beside each checkpoint."""

    mode: str = one_of(("offline", "online", "disabled"), "offline")
    project: str = named("replication")


@dataclass
class Paths:
    """Output folders, relative to the working folder."""

    results: str = located("results")
    weights: str = located("weights")  # checkpoints that are made from other files
    revisions: str | None = located(None)  # commits of branches and tags; null: conf/model/revisions.lock
    paper: str | None = located(
        None
    )  # of the paper and the frozen data; null: paper/ for `readme_study`, else outputs/<study>
    readme_study: str = named()  # the study that README and the tracked files under paper/ show
    also_shown: list[str] = named(list, distinct=True)  # frozen studies in paper/data that they show beside it


@dataclass
class Root:
    """Root of the configuration."""

    study: Study = field(default_factory=Study)
    arms: dict[str, Arm] = field(default_factory=dict)
    scales: dict[str, Scale] = field(default_factory=dict)
    models: dict[str, Model] = limited(dict, keys="model")
    pairs: dict[str, Pair] = field(default_factory=dict)
    licences: Licences = field(default_factory=Licences)
    benchmarks: dict[str, Benchmark] = field(default_factory=dict)
    scaffolds: dict[str, Scaffold] = field(default_factory=dict)
    ingest: dict[str, Ingest] = field(default_factory=dict)
    sampling: Sampling = field(default_factory=Sampling)
    engine: Engine = field(default_factory=Engine)
    serve: Serve = field(default_factory=Serve)
    launcher: Launcher = field(default_factory=Launcher)
    training: Training = field(default_factory=Training)
    probe: Probe = field(default_factory=Probe)
    calibration: Calibration = field(default_factory=Calibration)
    analysis: Analysis = field(default_factory=Analysis)
    plan: Plan = field(default_factory=Plan)
    monitor: Monitor = field(default_factory=Monitor)
    certify: Certify = field(default_factory=Certify)
    tracking: Tracking = field(default_factory=Tracking)
    paths: Paths = field(default_factory=Paths)


def paper_folder(paths: Paths, study: str) -> Path:
    """Return the folder in which a study is frozen and its paper is built."""
    if paths.paper is not None:
        return Path(paths.paper)
    return Path("paper") if study == paths.readme_study else Path("outputs") / study
