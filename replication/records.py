"""The records that pass between stages: frozen, keyword-only, JSON-able, standard library only.

Two identities (design rule): `RunSpec.run_id` hashes everything that can change an episode; `Score.grader` names
everything that can change a score. Neither contains throughput settings or versions: those go to the run's manifest.
Records that lie on disk between the two halves (`Manifest`, `StudyIndex`, `TrainingRecord`) carry a schema version.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

SCHEMA_VERSION = 2
"""Version of the records on disk, written into each; increased when a field is added, removed or changes meaning.

2: labels are a record, with pair, base, family and active_b; a public checkpoint has no training seed; the study index and
the training record have a version. 1: untyped labels.
"""

Json = Any
"""A JSON value: None, bool, int, float, str, and lists and dicts of them."""

StopReason = Literal[
    "answer", "turn_limit", "token_limit", "context_overflow", "malformed", "engine_error", "environment_error",
    "prompt_too_long", "timeout", "request_refused", "parser_error",
]  # fmt: skip
"""Reason for the end of an episode. malformed: replies without a usable call; context_overflow: the model's own turns filled
the context; prompt_too_long: the first request left no room for its reply; timeout: it took longer than `engine.episode_s`;
request_refused: the engine refused a request, as it would again; parser_error: the scaffold's parser failed on a reply. The
last six are failures of the set-up, not of the model: such episodes are unscored and played again. Before timeout and
request_refused were told apart, both were stored as engine_error."""

UNSCORED_REASONS = (
    "engine_error", "environment_error", "prompt_too_long", "timeout", "request_refused", "parser_error",
)  # fmt: skip

Target = Literal["T1", "T2", "T3"]
"""Target of inference of an interval: T1 these tasks, T2 tasks like these, T3 the training method."""

Proposition = Literal["A", "B", "C", "D", "E", "L", "P"]
"""Propositions under test; P is about the published table itself, L about what other papers found."""

Outcome = Literal[
    "replicated", "not_replicated", "inconclusive", "not_testable", "established", "not_established", "estimate"
]  # fmt: skip
"""Of new data: the first three. Of what a published table itself shows: established or not. estimate: the target is not the
claim's own, so nothing is decided at it."""


def canonical_json(value: Json) -> str:
    """Write a value so that equal values give equal text on every machine."""
    return _canonical.encode(value)


def stable_hash(value: Json, n_hex: int = 64) -> str:
    """Hash a JSON-able value or record with SHA-256 of its canonical JSON; first `n_hex` hex digits."""
    return hashlib.sha256(canonical_json(value).encode("utf-8", "surrogatepass")).hexdigest()[:n_hex]


def stable_seed(*parts: Json) -> int:
    """Derive a seed in [0, 2**31) from any parts, the same in every process and Python version."""
    return int(stable_hash(list(parts), 8), 16) & 0x7FFFFFFF


def _plain(value: object) -> Json:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = (f.name for f in dataclasses.fields(value) if not _omitted(f, value))
        return {name: getattr(value, name) for name in names}
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON-able")


_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_plain)


def _omitted(item: "dataclasses.Field[Any]", value: object) -> bool:
    return bool(item.metadata.get("omit_default")) and getattr(value, item.name) == item.default


def to_json(record: object) -> dict[str, Json]:
    """Convert a record to plain dicts and lists; tuples become lists."""
    fields: dict[str, Json] = json.loads(canonical_json(record))
    return fields


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A function that an environment offers."""

    name: str
    description: str
    parameters: Mapping[str, Json]
    """JSON schema of the arguments; the order of `properties` is the positional order of the compact scaffold."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """A request of the model to run one tool; untrusted input of the environment."""

    name: str
    arguments: Mapping[str, Json]


@dataclass(frozen=True, kw_only=True)
class Task:
    """One benchmark item as the model may see it; the answer key stays with the benchmark."""

    id: str
    """Unique within the benchmark; nothing parses it."""
    benchmark: str
    prompt: str
    tools: tuple[Tool, ...]
    setup: Mapping[str, Json]
    """Initial state of the simulator; the model sees it only through tools."""
    attributes: Mapping[str, Json] = field(default_factory=dict)
    """Facts for graders and the analysis, never shown to the model; those of the suite: split, level, index, seed, tags."""

    @functools.cached_property
    def content_hash(self) -> str:
        """Hash of prompt, tools and setup: one changed character is another task under the same id."""
        return stable_hash([self.prompt, self.tools, self.setup], 16)


@dataclass(frozen=True, kw_only=True)
class Message:
    """One entry of a trajectory."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    calls: tuple[Call, ...] = ()
    """Calls that the scaffold parsed from an assistant's reply; graders replay these and never parse text."""
    answer: str | None = None
    """The final answer in an assistant's reply, if it gave one."""
    thinking: str = field(default="", metadata={"omit_default": True})
    """Text in which an assistant thought before its reply, without the tags around it."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Sampling parameters of a run."""

    temperature: float
    """0 means greedy."""
    top_p: float = 1.0
    top_k: int = -1
    """-1 means all tokens."""
    max_tokens: int
    """New tokens per turn at most."""


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """Every setting that can change an episode; their hash is the run's identity."""

    model: str
    """Hub id, or name of an organism."""
    revision: str
    """Hub commit, hash of the files of another checkpoint, or SHA-256 of an organism's weights."""
    files_sha256: str | None = field(default=None, metadata={"omit_default": True})
    """Hash of weights, configuration, generation defaults, tokenizer and chat template of a checkpoint in a folder; None for
    a hub commit, which fixes them, and in runs that were collected before organisms had it."""
    engine: str
    """Kind of engine, such as vllm."""
    dtype: str
    context: int
    """Longest prompt plus reply, tokens."""
    engine_options: Mapping[str, Json]
    """Options of the engine that can change text; options for speed and memory are in the manifest."""
    benchmark: str
    benchmark_version: str
    scaffold: str
    scaffold_version: str
    max_turns: int | None
    """None, like the two other limits, where an official harness sets its own."""
    max_episode_tokens: int | None
    """Limit on the new tokens of an episode."""
    max_malformed: int | None
    """Replies in a row without a usable call or answer, after which an episode ends."""
    sampling: Sampling
    seed: int

    @functools.cached_property
    def run_id(self) -> str:
        """Readable name plus hash; a valid folder name for every model name."""
        readable = "".join(
            c if c.isascii() and (c.isalnum() or c in "._") else "-" for c in f"{self.model}-{self.benchmark}"
        )[-60:]
        return f"{readable.strip('-.')}-{self.scaffold}-{stable_hash(self, 12)}"


@dataclass(frozen=True, kw_only=True)
class Labels:
    """A served checkpoint as the analysis groups it; (model, revision) is the unit that scores belong to."""

    model: str
    """Hub id, or name of an organism; equal to `RunSpec.model`."""
    revision: str
    """Equal to `RunSpec.revision`."""
    arm: str
    """Role in comparisons: an arm of the controlled study, or the role of a public checkpoint, such as general or
    agent_specific."""
    pair: str | None = None
    """Name of the matched pair of public checkpoints that it belongs to."""
    base: str | None = None
    """Checkpoint that its training started from."""
    family: str | None = None
    """Model family, such as Qwen3; None where it is not stated."""
    scale: str
    """Position in the family; checkpoints are compared within a scale."""
    params_b: float
    """Parameters, billions."""
    active_b: float | None = None
    """Parameters active per token, billions; None for a dense model."""
    training_seed: int | None = None
    """Of the training run; None for a public checkpoint, which is not a repeated training run of a method."""

    @property
    def unit(self) -> str:
        """Readable and stable identity of (model, revision): two checkpoints never share it."""
        return f"{self.model}@{stable_hash([self.model, self.revision], 8)}"


@dataclass(frozen=True, kw_only=True)
class TaskEntry:
    """A task as a run's manifest lists it."""

    hash: str
    """`Task.content_hash`."""
    level: int | None
    """Difficulty; None where the benchmark has no levels."""
    cluster: str | None = field(default=None, metadata={"omit_default": True})
    """Group of items that are not independent, such as those of one repository; None makes the task its own."""


@dataclass(frozen=True, kw_only=True)
class Session:
    """A period of a run in which one engine wrote it."""

    first_line: int
    """First line of episodes.jsonl that it may have written, from 1."""
    engine: Mapping[str, Json]
    """Engine, versions and resolved flags, as `Engine.describe` returns them."""


@dataclass(frozen=True, kw_only=True)
class Collected:
    """What collecting a run took, summed over the commands that had the same code on the same kind of machine.

    Written when a command ends, also after an error or an interruption; a killed process leaves none, so the episodes of
    the store may be more.
    """

    code: Mapping[str, Json]
    """Version, git commit and dirty flag of this package, and versions of the packages that it used."""
    gpus: tuple[Mapping[str, Json], ...]
    """Name, memory and driver of each card that was visible to an engine on GPUs; empty on a CPU and for endpoints."""
    tool_syntax: str | None
    """Parser of tool calls, of scaffold native; None for all others."""
    n_commands: int
    stop_reasons: Mapping[str, int]
    """Attempts by stop reason; those that were played again later count too."""
    n_prompt_tokens: int
    n_completion_tokens: int
    engine_s: float
    """Wall time of the pool while playing. Runs that share a pool divide it, and the energy, by their tokens, prompt and
    completion, so that sums over runs are the whole."""
    joules: tuple[float, ...] | None
    """Energy per card, in the order of `gpus`; None on a CPU, for endpoints, and where NVML does not report it."""
    is_card_shared: bool
    """Whether another process also used a card, whose energy is then counted too."""
    cost: float | None
    """By the prices of conf/plan; None without a price."""
    currency: str | None

    def same_circumstances(self, other: "Collected") -> bool:
        """Tell whether both have the same code, machine and currency, so that they can be added."""
        names = ("code", "gpus", "tool_syntax", "is_card_shared", "currency")
        same = all(getattr(self, name) == getattr(other, name) for name in names)
        return same and (self.joules is None) == (other.joules is None)

    def plus(self, other: "Collected") -> "Collected":
        """Return the sums of both, whose circumstances must be the same."""
        reasons = [*self.stop_reasons, *(reason for reason in other.stop_reasons if reason not in self.stop_reasons)]
        return dataclasses.replace(
            self, n_commands=self.n_commands + other.n_commands,
            stop_reasons={r: self.stop_reasons.get(r, 0) + other.stop_reasons.get(r, 0) for r in reasons},
            n_prompt_tokens=self.n_prompt_tokens + other.n_prompt_tokens,
            n_completion_tokens=self.n_completion_tokens + other.n_completion_tokens,
            engine_s=self.engine_s + other.engine_s,
            joules=None
            if self.joules is None or other.joules is None
            else tuple(a + b for a, b in zip(self.joules, other.joules, strict=True)),
            cost=None if self.cost is None or other.cost is None else self.cost + other.cost,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class RepeatCheck:
    """Check of a run's repeated trials: texts must differ when sampling and agree when greedy."""

    n_tasks_repeated: int
    """Tasks with at least two scored trials."""
    n_tasks_where_trials_differ: int
    """Tasks whose trials do not all have the same text."""
    n_seeds: int
    n_distinct_seeds: int
    as_expected: bool


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """manifest.json of a run: its settings, checkpoint, tasks, engines and checks."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    spec: RunSpec
    labels: Labels
    tasks: Mapping[str, TaskEntry]
    """By task id: the run's tasks at its last opening."""
    sessions: tuple[Session, ...]
    """Oldest first; more than one means that a version or flag changed between openings."""
    checks: Mapping[str, RepeatCheck]
    """Results by name of the check; `repeats` is the only one."""
    collected: tuple[Collected, ...] = field(default=(), metadata={"omit_default": True})
    """What collecting took, oldest first; more than one where code or machine changed. Empty in runs of earlier versions
    and of official harnesses."""


@dataclass(frozen=True, kw_only=True)
class TrainingRecord:
    """training.json beside a trained checkpoint: its identity, cost and origin."""

    schema_version: int = SCHEMA_VERSION
    arm: str
    scale: str
    training_seed: int
    training_run: str
    """Name of the training run: arm, scale, seed, identity."""
    identity: str
    """Hash of all settings that can change the weights."""
    n_parameters: int
    params_b: float
    weights_sha256: str
    n_tokens: int
    """Tokens read."""
    n_sampled_tokens: int
    """Tokens generated by reinforcement learning."""
    flops: float
    wall_s: float
    joules: float | None
    """Energy of the GPU; None on a CPU, where it could not be read, and where other processes used the card as well."""
    phases: tuple[Mapping[str, Json], ...]
    """Settings of each phase, in order."""
    torch: str
    """Version."""
    device: str
    documents: tuple[Mapping[str, Mapping[str, int]], ...] = field(default=(), metadata={"omit_default": True})
    """For each phase, by corpus, for episodes also by scaffold: documents `drawn`, and of these `too_long` for the context,
    which were left out."""
    muon_dtype: str = field(default="bfloat16", metadata={"omit_default": True})
    """Type in which Muon computed its updates; float32 on a processor without instructions for bfloat16."""


@dataclass(frozen=True, kw_only=True)
class TrainedRun:
    """A training run of a study, as its index lists it."""

    record: TrainingRecord
    curve: str
    """Path of the loss curve, a CSV file."""


@dataclass(frozen=True, kw_only=True)
class StudyIndex:
    """studies/<study>.json: the runs of a collected study, and the deviations of its verdicts."""

    schema_version: int = SCHEMA_VERSION
    study: str
    kind: str
    """reanalysis, controlled or released."""
    scope: str
    """Models, scales and benchmarks that the verdicts apply to, in words."""
    deviations: tuple[str, ...]
    comparisons: tuple[tuple[str, str], ...]
    """(treatment, control), in addition to those of the claims."""
    domains: Mapping[str, str]
    """By benchmark: in or out, whether the warm-up may see it."""
    levels: Mapping[str, Mapping[str, tuple[int, ...]]]
    """By scale and benchmark: levels of difficulty; a level that is listed twice is drawn twice as often."""
    run_ids: tuple[str, ...]
    """Runs of agents, sorted."""
    probe_run_ids: tuple[str, ...]
    """Runs of the observation probe, sorted."""
    training: tuple[TrainedRun, ...]
    """Empty in frozen data, where training.csv and curves.csv have it."""
    engine: Mapping[str, Json]
    """`Session.engine` of the last session of the first run."""
    repeat_checks: Mapping[str, RepeatCheck]
    """By run id."""
    clusters: Mapping[str, Mapping[str, str]] | None = field(default=None, metadata={"omit_default": True})
    """By benchmark and task: group of items that are not independent; None: no task has one."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request to an engine for one turn."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    """Only for scaffolds that use the chat template's tool slot."""
    schema: Mapping[str, Json] | None = None
    """JSON schema that the reply must satisfy; None leaves it free."""
    stop: tuple[str, ...] = ()
    """Texts before which the reply ends; they are not part of it."""
    sampling: Sampling
    seed: int
    """Of this turn: a stable hash of (run seed, task, trial, turn)."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """The reply of an engine for one turn."""

    text: str
    """Without the thinking; empty if the thinking has no end."""
    thinking: str = ""
    """Text before the reply between the tags of the model's family, without them; it counts as completion."""
    finish: Literal["stop", "length", "context"]
    """length: `max_tokens` reached. context: the prompt left no room, nothing was generated."""
    n_prompt_tokens: int
    n_completion_tokens: int


@dataclass(frozen=True, kw_only=True)
class Episode:
    """One attempt at one task."""

    run_id: str
    task_id: str
    task_hash: str
    trial: int
    trajectory: tuple[Message, ...]
    stop_reason: StopReason
    error: str | None = None
    """Text of an engine's or environment's failure; never an answer."""
    n_turns: int
    n_malformed: int
    """Replies without a usable call."""
    n_prompt_tokens: int
    n_completion_tokens: int
    seeds: tuple[int, ...]
    """One per turn, as sent to the engine."""
    wall_s: float
    """Wall time; shared with all episodes in flight."""

    @property
    def key(self) -> tuple[str, str, str, int]:
        """Identity for resuming: run, task, its content, trial."""
        return (self.run_id, self.task_id, self.task_hash, self.trial)


@dataclass(frozen=True, kw_only=True)
class Score:
    """The grade of an episode."""

    run_id: str
    task_id: str
    task_hash: str
    trial: int
    value: float | None
    """In [0, 1]; None is unscored, which counts as 0 only under the policy `fail`."""
    grader: str
    """Name and version of the grader."""
    details: Mapping[str, Json] = field(default_factory=dict)

    @classmethod
    def of(
        cls, episode: Episode, grader: str, value: float | None, details: Mapping[str, Json] | None = None
    ) -> "Score":
        """Build the score of an episode."""
        return cls(
            run_id=episode.run_id, task_id=episode.task_id, task_hash=episode.task_hash, trial=episode.trial, value=value,
            grader=grader, details=details or {},
        )  # fmt: skip

    @property
    def key(self) -> tuple[str, str, str, int]:
        """Identity of the episode that was graded."""
        return (self.run_id, self.task_id, self.task_hash, self.trial)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One published proposition with the rule that decides it."""

    id: str
    proposition: Proposition
    statement: str
    made_by: str
    """paper or press."""
    source: Mapping[str, Json]
    """reference, place (table, cell, section), url, date_read; a claim without these does not load."""
    rule: str
    """Name of the decision rule in analyse/rules/registry.py."""
    target: Target
    studies: tuple[str, ...]
    """Kinds of study that can answer it, as conf/study names them."""
    compare: Mapping[str, str] = field(default_factory=dict)
    """`treatment` and `control`: arms whose scores are compared; `public_` before a key: roles of public checkpoints."""
    parameters: Mapping[str, Json] = field(default_factory=dict)
    """Level, smallest effect of interest and the like; fixed before results are read."""
    unspecified: tuple[str, ...] = ()
    """Settings that the original does not state."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A metric with its interval, as fractions (printed as points)."""

    value: float
    low: float
    high: float
    level: float
    """Confidence of the interval, such as 0.95."""
    method: str
    target: Target
    n_tasks: int
    n_trials: int
    n_training_runs: int
    n_unscored: int = 0
    se: float | None = None
    df: float | None = None
    p_one_sided: float | None = None
    """Of the null hypothesis that the value is at most 0."""
    p_two_sided: float | None = None
    kind: Literal["difference", "log_ratio"] = field(default="difference", metadata={"omit_default": True})
    """difference: value and limits are fractions. log_ratio: they are natural logarithms of a ratio. Written to JSON only
    where it is log_ratio, so files of earlier versions read the same."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The answer to a claim in one study."""

    claim_id: str
    proposition: str
    statement: str
    study: str
    scope: str
    """Models, scales, benchmarks and tasks that the answer applies to."""
    target: Target
    outcome: Outcome
    reason: str
    condition: str = ""
    """What the target is conditional on: one base, where every arm of a scale starts from the same one."""
    original: Estimate | None = None
    replication: Estimate | None = None
    criteria: Mapping[str, Json] = field(default_factory=dict)
    deviations: tuple[str, ...] = ()
    unspecified: tuple[str, ...] = ()
