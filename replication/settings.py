"""The typed shape of conf/: plain dataclasses for Hydra, one root; an error names each misspelt key.

These are not records: OmegaConf requires mutable classes and returns tuples as lists. `collect/build.py` converts them to
records and live objects.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from replication.errors import ConfigError
from replication.masking import find_secrets
from replication.records import Json

Schema = TypeVar("Schema")

CONF = Path(__file__).resolve().parent.parent / "conf"
"""The configuration beside the package: the project is used from its checkout."""


@dataclass
class Study:
    """A study: its scope, seeds and comparisons."""

    name: str = MISSING
    kind: str = MISSING  # reanalysis or controlled; a claim names the kinds that can answer it
    scope: str = MISSING  # models, scales and benchmarks that its verdicts apply to, in words
    seed: int = 0  # of tasks and sampling
    training_seeds: list[int] = field(default_factory=list)
    n_trials: int = 1
    comparisons: list[list[str]] = field(
        default_factory=list
    )  # [treatment, control], in addition to those of the claims
    deviations: list[str] = field(default_factory=list)


@dataclass
class Phase:
    """A stretch of training on one corpus."""

    corpus: str = MISSING  # general, episodes, transitions or predictions; the last two also _shuffled
    n_tokens: int = MISSING  # compute budget, in tokens of 6 x parameters FLOPs each
    lr: float = MISSING  # peak rate of Muon
    domain: str = "all"  # all: every benchmark of the study; in: in-domain benchmarks only


@dataclass
class Arm:
    """A training condition: phases in order, from the base of the scale."""

    phases: list[Phase] = field(default_factory=list)
    scales: list[str] = field(default_factory=list)  # scales at which the arm is trained; empty means all
    training_seeds: list[int] = field(default_factory=list)  # empty means `study.training_seeds`


@dataclass
class Base:
    """Training of the base of a scale, from which all its arms start."""

    path: str = MISSING  # folder of the checkpoint, relative to the package
    n_tokens: int = MISSING
    lr: float = MISSING
    seed: int = 0
    n_tokenizer_blocks: int = MISSING  # blocks of the general corpus that the tokenizer is trained on


@dataclass
class Scale:
    """Dimensions of an organism, its base, and the calibrated levels of its tasks."""

    hidden: int = MISSING
    layers: int = MISSING
    heads: int = MISSING
    kv_heads: int = MISSING
    head_dim: int = MISSING
    intermediate: int = MISSING
    vocabulary: int = MISSING
    context: int = MISSING
    base: Base = field(default_factory=Base)
    levels: dict[str, list[int]] = field(default_factory=dict)  # by benchmark; replaces the benchmark's


@dataclass
class Model:
    """A public checkpoint on the hub, or a folder."""

    path: str = MISSING
    revision: str | None = None  # commit on the hub; of a folder: null, or the hash of its files, which is then checked
    role: str = MISSING  # general or agent_specific; takes the place of the arm
    pair: str | None = None  # matched pair that it belongs to
    base: str | None = None  # checkpoint that its training started from
    family: str | None = None
    scale: str = MISSING
    params_b: float = MISSING
    active_b: float | None = None  # parameters active per token, billions; None: a dense model
    tool_syntax: str = "hermes"  # hermes, qwen3_coder or llama3: syntax of calls in scaffold native
    reasoning_parser: str | None = None  # of vLLM, with the tags of the model's thinking; None if it does not think
    template_options: dict[str, Any] = field(default_factory=dict)  # of the chat template, such as enable_thinking


@dataclass
class SuiteOptions:
    """Choices that only generated environments have."""

    domain: str = MISSING  # in or out: whether the warm-up may see it
    levels: list[int] = MISSING  # difficulties; the tasks are spread evenly over them
    weight: int = 1  # how often it is drawn in training, relative to the others


@dataclass
class Benchmark:
    """The tasks of a benchmark that are played."""

    split: str = "evaluation"
    n_tasks: int = MISSING
    suite: SuiteOptions | None = None  # of a generated environment; None for all other benchmarks


@dataclass
class Scaffold:
    """Limits of an episode in a scaffold; part of a run's identity."""

    max_turns: int = MISSING
    max_episode_tokens: int = MISSING  # new tokens
    max_malformed: int = MISSING  # replies in a row without a usable call or answer


@dataclass
class Serve:
    """Selection of the checkpoints that this process plays, for example as one job of a cluster."""

    only: list[str] = field(default_factory=list)  # their names; empty: all of the study, then the index is written
    host: str = "127.0.0.1"  # command `serve`: the address to listen at; 0.0.0.0 for other machines
    port: int = 0  # 0: a free one
    start_s: float = 900.0  # time limit until the server answers


@dataclass
class Sampling:
    """Sampling parameters; part of a run's identity."""

    temperature: float = MISSING  # 0: greedy
    top_p: float = 1.0
    top_k: int = -1  # -1: all tokens
    max_tokens: int = MISSING  # new tokens per turn


@dataclass
class Engine:
    """Settings of the engine, which are part of a run's identity.

    Exceptions are `concurrency`, `processes`, `episode_s` and the options that the kind lists as `speed_only`; the run's
    manifest has those options as the engine describes them.
    """

    kind: str = MISSING  # a module of replication/collect/engines
    dtype: str = MISSING  # of the weights
    context: int = MISSING  # longest prompt plus reply, tokens
    concurrency: int = MISSING  # episodes in flight
    processes: int = 1  # engines side by side, each with a share of the checkpoints
    episode_s: float | None = None  # an episode that takes longer failed in the engine: it is unscored and played again
    options: dict[str, Any] = field(default_factory=dict)  # of the kind: dataclass `Options` of its module


@dataclass
class Ingest:
    """A run that an official harness collected: the location of its results, and its settings.

    No harness enforces `engine` and `sampling` of the study, so they must describe how the model was served and sampled.
    """

    harness: str = MISSING  # a module of replication/collect/benchmarks/official
    folder: str = MISSING  # of this run alone
    model: str = MISSING  # one of `models`
    benchmark: str = MISSING
    benchmark_version: str = MISSING  # of its data and its grader: a release, or a commit
    scaffold: str = MISSING  # the agent that the harness ran
    scaffold_version: str = MISSING
    n_tasks: int = MISSING  # items of the benchmark; results for fewer are an error
    n_trials: int = 1
    max_unscored: float = 0.1  # share of attempts; above it the server was probably down, and nothing is stored


@dataclass
class Rl:
    """Reinforcement learning on the corpora of predictions: GRPO with the sequence-level ratio of GSPO."""

    n_prompts: int = MISSING  # per step
    group_size: int = MISSING  # replies per prompt
    n_minibatches: int = MISSING  # optimizer steps per step
    temperature: float = MISSING
    max_new_tokens: int = MISSING
    clip_low: float = MISSING
    clip_high: float = MISSING
    kl_weight: float = MISSING
    exact_weight: float = MISSING  # of exact match in the reward; token F1 has the rest


@dataclass
class Probe:
    """Next-observation predictions by every checkpoint, which measure its world model."""

    n_tasks: int = 0  # per environment; 0 leaves the probe out
    max_tokens: int = 256


@dataclass
class Calibration:
    """Choice of the levels from the scores of one arm on the calibration split, before any evaluation."""

    arm: str = "agent_sft"
    training_seed: int = 1000  # outside every study
    low: float = 0.3  # bounds of the target mean score
    high: float = 0.8
    n_tasks: int = 60  # per level
    levels: list[int] = field(default_factory=lambda: [1, 2, 3])  # candidates


@dataclass
class Training:
    """Optimization settings, the same for every arm."""

    device: str = MISSING  # cpu or cuda
    workers: int = MISSING  # training runs side by side, one CPU thread each
    batch_tokens: int = MISSING
    warmup_share: float = MISSING
    decay_share: float = MISSING
    adam_share: float = MISSING
    weight_decay: float = MISSING
    clip: float = MISSING
    precision: str = MISSING  # float32 or bfloat16
    compile: bool = MISSING  # takes a minute, then steps are faster; needs a C++ compiler on the CPU
    save_every_s: float = MISSING
    rl: Rl = field(default_factory=Rl)


@dataclass
class AuditScenario:
    """Assumptions under which all rows of a published table are tested together."""

    name: str = MISSING
    target: str = MISSING  # T1, T2 or T3
    icc: float = MISSING
    rho: float = MISSING
    k: float | None = None  # runs of every row; None: as stated
    tau: float = 0.0  # SD between checkpoints of one arm, a fraction; enters T3
    partial_scale: float = 1.0  # share of the variance bound that partial-credit rows have


@dataclass
class TippingDesign:
    """A design at which the checkpoint SD that makes a row insignificant is searched."""

    k: float | None = None  # runs of every row; None: as stated
    rho: float = MISSING


@dataclass
class Audit:
    """Assumptions over which a published table is audited, besides the grid of icc and rho that its claim names."""

    high_rhos: list[float] = MISSING  # beyond the claim's grid
    same_task_iccs: list[float] = MISSING  # T1, besides those of the claim's grid
    runs: list[int] = MISSING  # per task, of the grid and of the designs
    digit_runs: list[int] = MISSING  # at which printed digits are tested for whole totals
    rounded_runs: list[int] = MISSING  # at which printed digits are tested as means of rounded runs
    fractions: list[float] = MISSING  # of the printed difference, as true effects in the required designs
    powers: list[float] = MISSING  # of the required designs
    winners_curse: float = MISSING  # true effect as a fraction of the printed difference
    taus: list[float] = MISSING  # checkpoint SDs of the tipping curve, fractions
    tipping: dict[str, TippingDesign] = MISSING
    scenarios: list[AuditScenario] = MISSING
    map_iccs: list[float] = MISSING  # first, last and number of the fine map
    map_rhos: list[float] = MISSING


@dataclass
class Analysis:
    """Choices of the analysis, fixed before results are read."""

    level: float = MISSING  # of intervals
    power: float = MISSING  # for the minimal detectable effect
    icc: float = MISSING  # of published rows: between-task share of the single-run variance
    rho: float = MISSING  # of published rows: correlation of the two arms over tasks
    unstated_runs: int = MISSING  # assumed where the source states none
    unscored: list[str] = MISSING  # policies that a verdict must survive
    bounds: list[str] = MISSING  # policies whose outcome is reported with it
    n_simulations: int = MISSING  # of the A/A check
    simulation_seed: int = MISSING
    audit: Audit = field(default_factory=Audit)


@dataclass
class Monitor:
    """A stopping rule that looks at two arms after each block of tasks."""

    enabled: bool = False
    treatment: str = ""  # arm or role
    control: str = ""
    alpha: float = 0.05  # false positive rate over all looks at one benchmark at one scale
    sesoi: float = 0.05  # smallest effect of interest, a fraction; the rule stops for futility if the effect is smaller
    block: int = 20  # tasks between looks
    min_blocks: int = 1  # before the first decision


@dataclass
class Plan:
    """Assumptions of the planner where no measurement exists, and its targets."""

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
    hours_per_task: float = MISSING  # to write one more task of one benchmark
    currency: str = MISSING
    price_per_hour: float = MISSING  # of an engine or a training run
    price_per_million_prompt_tokens: float = MISSING
    price_per_million_completion_tokens: float = MISSING
    budget: float | None = None  # hours, or money where there is a price; None: the present cost of the two arms
    max_tasks: int = MISSING  # per benchmark
    max_trials: int = MISSING  # per task and training run
    max_runs: int = MISSING  # per arm


@dataclass
class Tracking:
    """Learning curves in wandb; the reference is `curve.csv` beside each checkpoint."""

    mode: str = "offline"  # offline, online or disabled
    project: str = "replication"


@dataclass
class Paths:
    """Output folders, relative to the working folder."""

    results: str = "results"
    paper: str | None = None  # of the paper and the frozen data; null: paper/ for `readme_study`, else outputs/<study>
    readme_study: str = MISSING  # the study that README and the tracked files under paper/ show


@dataclass
class Root:
    """Root of the configuration."""

    study: Study = field(default_factory=Study)
    arms: dict[str, Arm] = field(default_factory=dict)
    scales: dict[str, Scale] = field(default_factory=dict)
    models: dict[str, Model] = field(default_factory=dict)
    benchmarks: dict[str, Benchmark] = field(default_factory=dict)
    scaffolds: dict[str, Scaffold] = field(default_factory=dict)
    ingest: dict[str, Ingest] = field(default_factory=dict)
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


def paper_folder(paths: Paths, study: str) -> Path:
    """Return the folder in which a study is frozen and its paper is built."""
    if paths.paper is not None:
        return Path(paths.paper)
    return Path("paper") if study == paths.readme_study else Path("outputs") / study


def register() -> None:
    """Register the schema with Hydra under the name `root`, which conf/config.yaml uses."""
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name="root", node=Root)


def analysis(name: str = "default") -> Analysis:
    """Read one file of conf/analysis without Hydra; it is checked against the schema, like a study's."""
    path = CONF / "analysis" / f"{name}.yaml"
    try:
        values = OmegaConf.load(path)
    except (OSError, YAMLError) as error:
        raise ConfigError(f"{path.name}: {error}. Fix conf/analysis.") from error
    assert isinstance(values, DictConfig), f"{path.name} is not a mapping"
    return typed(Analysis, cast(Mapping[str, Json], values), "analysis")


def checked(cfg: DictConfig) -> Root:
    """Convert Hydra's DictConfig to the typed root; ConfigError if a value is missing, unknown or out of range."""
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise ConfigError(f"no value for `{'`, `'.join(missing)}`. Set it in conf/ or on the command line.")
    root = OmegaConf.to_object(cfg)
    assert isinstance(root, Root)
    unknown = sorted(_unknown_keys(OmegaConf.to_container(cfg), dataclasses.asdict(root)))
    if unknown:
        raise ConfigError(f"no key `{'`, `'.join(unknown)}` in replication/settings.py. Fix conf/ or the command line.")
    _refuse_secrets(root)
    _in_range("study.n_trials", root.study.n_trials, 1, 10_000)
    _in_range("study.seed", root.study.seed, 0, 2**31)
    _in_range("sampling.temperature", root.sampling.temperature, 0.0, 2.0)
    if 0 < root.sampling.temperature < 0.01:
        raise ConfigError(
            f"`sampling.temperature` {root.sampling.temperature} would be raised to 0.01 by vLLM without notice; "
            f"use 0 for greedy decoding or at least 0.01."
        )
    _in_range("sampling.top_p", root.sampling.top_p, 1e-6, 1.0)
    if not 1 <= root.sampling.max_tokens <= root.engine.context:
        raise ConfigError(
            f"`sampling.max_tokens` must be from 1 to `engine.context`, {root.engine.context}; got "
            f"{root.sampling.max_tokens}. Lower it, or raise `engine.context`."
        )
    for name, limits in root.scaffolds.items():
        _in_range(f"scaffolds.{name}.max_turns", limits.max_turns, 1, 1_000_000)
        _in_range(f"scaffolds.{name}.max_malformed", limits.max_malformed, 1, 1_000_000)
    for name, source in root.ingest.items():
        _in_range(f"ingest.{name}.n_tasks", source.n_tasks, 1, 1_000_000)
        _in_range(f"ingest.{name}.n_trials", source.n_trials, 1, 10_000)
        _in_range(f"ingest.{name}.max_unscored", source.max_unscored, 0.0, 1.0)
    for name, choice in root.benchmarks.items():
        _in_range(f"benchmarks.{name}.n_tasks", choice.n_tasks, 1, 1_000_000)
        if choice.split != "evaluation":
            raise ConfigError(f"`benchmarks.{name}.split` is {choice.split!r}; a study is played on `evaluation` only.")
    if len(set(root.study.training_seeds)) != len(root.study.training_seeds):
        raise ConfigError(f"`study.training_seeds` {root.study.training_seeds} names a seed twice.")
    return root


def typed(schema: type[Schema], values: Mapping[str, Json], key: str) -> Schema:
    """Convert a mapping to an instance of a plain dataclass; ConfigError names unknown, missing and ill-typed keys.

    key : position of the mapping in conf/, for messages.
    """
    names = [f.name for f in dataclasses.fields(cast(Any, schema))]  # mypy has no type for "any dataclass"
    unknown = sorted(set(values) - set(names))
    if unknown:
        named = "`, `".join(f"{key}.{name}" for name in unknown)
        raise ConfigError(f"no key `{named}`; allowed: {', '.join(names)}. Fix conf/ or the command line.")
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), values)
    except OmegaConfBaseException as error:
        raise ConfigError(f"`{key}`: {str(error).strip().splitlines()[0]}. Fix conf/ or the command line.") from None
    missing = sorted(OmegaConf.missing_keys(merged))
    if missing:
        named = "`, `".join(f"{key}.{name}" for name in missing)
        raise ConfigError(f"no value for `{named}`. Set it in conf/ or on the command line.")
    return cast(Schema, OmegaConf.to_object(merged))


def _unknown_keys(values: Json, converted: Json, path: str = "") -> Iterator[str]:
    # A key that is added on the command line with `+` passes Hydra's check and would be dropped silently.
    if isinstance(values, dict):
        for key, value in values.items():
            here = f"{path}.{key}" if path else str(key)
            if key in converted:
                yield from _unknown_keys(value, converted[key], here)
            else:
                yield here
    elif isinstance(values, list):
        for at, (value, other) in enumerate(zip(values, converted)):
            yield from _unknown_keys(value, other, f"{path}[{at}]")


def _refuse_secrets(root: Root) -> None:
    # Settings become part of manifests, run_ids and published data; a key would be in all of them.
    found = list(find_secrets(dataclasses.asdict(root)))
    if found:
        raise ConfigError(
            f"`{'`, `'.join(found)}` holds what looks like a key or password; settings are stored and published. Remove it "
            f"and pass it in the environment, for example as HF_TOKEN."
        )


def _in_range(key: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"`{key}` must be in [{low}, {high}]; got {value}.")
