"""Random overrides of every kind: each is one clear error, or a root that has the value asked for and can be built."""

import copy
import dataclasses

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf, open_dict

from replication import settings
from replication.analyse import analysis_settings, stopping
from replication.collect import build
from replication.collect.interfaces import ModelRef
from replication.commands.plan import planned
from replication.errors import ConfigError, ReplicationError
from replication.records import Labels, to_json

BASE = [
    "study=controlled", "study.name=fuzz", "paths.results=no_such_folder", "+model@models.m=qwen3_0_6b",
    f"models.m.revision={'c0ffee0000' * 4}", "+ingest@ingest.b=csv", "ingest.b.folder=f", "ingest.b.model=m",
    "ingest.b.benchmark=bfcl", "ingest.b.benchmark_version=v4", "ingest.b.scaffold=fc", "ingest.b.scaffold_version=v1",
    "ingest.b.n_tasks=3", "benchmarks.terminal.n_tasks=6", "probe.n_tasks=2", "plan.max_tasks=40", "plan.max_runs=4",
    *(f"~benchmarks.{name}" for name in ("repair", "repository", "research", "assistant", "office", "calling")),
]  # fmt: skip

NUMBERS = (
    "0", "1", "2", "3", "7", "-1", "-0.0", "0.5", "1.0", "0.999", "1.5", "-3",
    "1e-300", "1e308", "1e400", "nan", "inf", "-inf",
    "NaN", ".nan", "-.inf", "1000000000000000000000000", "9" * 5000, "1e", "0x10", "007", "1_0", "1:30", "0.50", "+1",
)  # fmt: skip
TEXTS = (
    "abc", "null", "None", "true", "false", "True", "yes", "off", "'7'", "'0.50'", "'null'", "'true'", "''", "' '", "'a b'",
    "a.b", "a/b", "org/model/x", "../x", "/abs/x", ".", "..", "'.'", "~", "~/x", "~nobody_here/x", "NA", "nan1", "-x", "_x",
    "'\\u0001'", "'a\nb'", "'a\tb'", "'a\0b'", "'\ud800'", "'日本語'", "'é'", "'a\u202eb'", "😀", "a" * 64, "a" * 65,
    "a" * 300,
    "'" + "long text " * 300 + "'", "2026-01-01", "cpu", "cuda", "gpu", "float32", "float64", "general", "generall",
    "reanalysis", "controlled", "xs", "agent_sft", "c0ffee", "123456", "1e5000", "'#$%&*'", "'\\\\'", "audit", "probe",
)  # fmt: skip
CONTAINERS = (
    "[]", "[1]", "[a]", "[1,1]", "[a,a]", "[[]]", "[null]", "[[a,b]]", "[[xs,s],[a]]", "[0.5]", "[1,2,3]", "[nan]", "{}",
    "{a:1}", "{a:{b:c}}", "{1:2}", "{null:1}", "{0.50:1}", "{a:[1]}", "[{a:1}]", "{'a b':1}", "{'':1}", "{A:{},a:{}}",
)  # fmt: skip
REFERENCES = (
    "${x}", "${study.name}", "${study.seed}", "${study}", "${study.training_seeds}", "${oc.env:NO_SUCH_VARIABLE}",
    "${oc.env:HOME}", "${nothing:1}", "'${'", "'${}'", "a${study.seed}", "???", "${oc.env:NO_SUCH_VARIABLE,5}", "${..seed}",
    "${.name}", "${study.name}${study.name}", "${oc.select:study.nothing}", "${oc.decode:'nan'}", "\\${x}",
)  # fmt: skip
NEW_KEYS = ("x", "7", "n_tokns", "a b", "é", "x.y", "", "0", "null", "A")
VALUES = (NUMBERS, TEXTS, CONTAINERS, REFERENCES)


@pytest.fixture(scope="module")
def base():
    settings.register()
    with initialize_config_dir(str(settings.CONF), version_base="1.3"):
        return compose("config", overrides=BASE)


def keys(values, path=""):
    """List the position of every value of a configuration, of mappings and lists too."""
    items = values.items() if isinstance(values, dict) else enumerate(values)
    for name, value in items:
        here = f"{path}.{name}" if path else str(name)
        yield here
        if isinstance(value, dict | list):
            yield from keys(value, here)


def random_override(rng, positions):
    """Write an override as on the command line: of a key, a new key or a deletion, with a value of any type."""
    key = str(rng.choice(positions))
    pool = VALUES[rng.integers(len(VALUES))]
    value = pool[rng.integers(len(pool))]
    kind = rng.random()
    if kind < 0.06:
        return f"~{key}"
    if kind < 0.12:
        return f"{rng.choice(['+', '++'])}{key}.{NEW_KEYS[rng.integers(len(NEW_KEYS))]}={value}"
    if kind < 0.16:
        return f"+{key}={value}"
    return f"{key}={value}"


def overridden(base, override):
    """Apply an override as Hydra does after it has composed the groups."""
    with settings.clear_errors():
        parsed = OverridesParser.create().parse_override(override)
        if parsed.is_sweep_override():
            raise ConfigError("a sweep")
        cfg = copy.deepcopy(base)
        OmegaConf.set_struct(cfg, True)
        if parsed.is_delete():
            parent, _, name = parsed.key_or_group.rpartition(".")
            with open_dict(cfg):
                node = OmegaConf.select(cfg, parent) if parent else cfg
                del node[int(name) if isinstance(node, list) else name]
        elif parsed.is_add() or parsed.is_force_add():
            with open_dict(cfg):
                OmegaConf.update(cfg, parsed.key_or_group, parsed.value(), merge=True, force_add=True)
        else:
            OmegaConf.update(cfg, parsed.key_or_group, parsed.value(), merge=True)
    return parsed, cfg


def stages(root):
    """Everything that is built from the settings before a model is loaded."""
    scale = next(iter(root.scales), "xs")
    model = build.ServedModel(
        ref=ModelRef(name="m", path="p", revision="r"),
        labels=Labels(model="m", revision="r", arm="a", scale=scale, params_b=0.001, training_seed=0),
    )
    return [
        lambda: [(run.name, to_json(run)) for run in build.training_runs(root)][:1],
        lambda: build.bases(root), lambda: build.served_models(root, ["m"]), lambda: build.served_models(root),
        lambda: [job.spec.run_id for job in build.jobs(root, model)],
        lambda: [job.spec.run_id for job in build.probe_jobs(root, model)],
        lambda: [job.run.spec.run_id for job in build.harness_jobs(root)], lambda: build.engine(root).close(),
        lambda: planned(root), lambda: analysis_settings.from_conf(root.analysis),
        lambda: stopping.from_conf(root.monitor), lambda: settings.paper_folder(root.paths, root.study.name),
    ]  # fmt: skip


def assert_clear(error, override):
    text = str(error)
    assert "\n" not in text and 20 < len(text) < 800 and text.isprintable(), (override, text)
    return type(error).__name__


def outcome(base, override):
    """Return "error", or "runs" where every stage works or says clearly why not; anything else is raised."""
    try:
        parsed, cfg = overridden(base, override)
        root = settings.checked(cfg)
    except ReplicationError as error:
        assert_clear(error, override)
        return "error"
    assert_has_value(root, cfg, parsed)
    for stage in stages(root):
        try:
            stage()
        except ReplicationError as error:
            assert_clear(error, override)
    return "runs"


def assert_has_value(root, cfg, parsed):
    """The root has what the configuration says: the same types, and no value dropped or changed but `~`."""
    asked, got = OmegaConf.to_container(cfg, resolve=True), dataclasses.asdict(root)
    assert equal(asked, got), parsed.input_line


def equal(asked, got):
    if isinstance(asked, dict):
        return isinstance(got, dict) and set(asked) <= set(got) and all(equal(asked[k], got[k]) for k in asked)
    if isinstance(asked, list):
        return isinstance(got, list) and len(asked) == len(got) and all(map(equal, asked, got))
    if isinstance(asked, str) and asked.startswith("~"):
        return got != asked
    if isinstance(asked, bool) or isinstance(got, bool) or asked is None:
        return got is asked
    if isinstance(asked, int | float):
        return isinstance(got, int | float) and got == asked
    return got == asked


def fuzz(base, n, seed):
    rng = np.random.default_rng(seed)
    positions = sorted(keys(OmegaConf.to_container(base)))
    return [outcome(base, random_override(rng, positions)) for _ in range(n)]


def test_random_overrides_are_clear_errors_or_what_was_asked(base):
    found = fuzz(base, 60, seed=0)
    assert found.count("error") > 20 and found.count("runs") > 1


@pytest.mark.slow
def test_two_thousand_random_overrides_are_clear_errors_or_what_was_asked(base):
    found = fuzz(base, 2000, seed=1)
    assert found.count("error") > 1000 and found.count("runs") > 100
