"""From settings to live objects: what enters a run's identity, and the engine that conf/ names."""

import ast
import dataclasses
import importlib.util
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from replication import settings
from replication.collect import build, engines
from replication.collect.engines import vllm
from replication.collect.engines.vllm.options import batch_invariance
from replication.collect.interfaces import ModelRef
from replication.errors import ConfigError
from replication.records import Labels

SPEED_ONLY = {"episode_s", "concurrency", "processes", "order", "max_failed", "min_failures"}
"""Fields of settings.Engine that change the speed and no text; the docstring of settings.Engine lists the same."""


SMALL = {"device": "cpu", "max_num_seqs": 1}
"""The required options of kind vllm."""


@pytest.fixture
def cfg():
    settings.register()
    with initialize_config_dir(str(settings.CONF), version_base="1.3"):
        cfg = settings.checked(compose("config", overrides=["study=controlled_tiny"]))
    cfg.benchmarks = {"terminal": cfg.benchmarks["terminal"]}
    return cfg


def spec_of(cfg):
    labels = Labels(model="org/m", revision="r", arm="base", scale="xs", params_b=0.001, training_seed=0)
    model = build.ServedModel(ref=ModelRef(name="org/m", path="p", revision="r"), labels=labels)
    (job,) = build.jobs(cfg, model)
    return job.spec


def run_id(cfg):
    return spec_of(cfg).run_id


def changed(name, value):
    """Another value of a setting."""
    if name == "options":
        return value | {"llm": value["llm"] | {"quantization": "fp8"}}
    return (
        {"kind": "scripted", "dtype": "bfloat16", "order": "longest_first"}[name]
        if isinstance(value, str)
        else (value or 0) + 1
    )


@pytest.mark.parametrize(("group", "part"), [("engine", settings.Engine), ("sampling", settings.Sampling)])
def test_every_setting_of_engine_and_sampling_changes_the_run_id_or_is_listed_as_speed_only(cfg, group, part):
    before, whole = run_id(cfg), getattr(cfg, group)
    unchanged = set()
    for field in dataclasses.fields(part):
        changes = {field.name: changed(field.name, getattr(whole, field.name))}
        changes |= {"options": {}} if field.name == "kind" else {}  # options are of one kind
        if run_id(dataclasses.replace(cfg, **{group: dataclasses.replace(whole, **changes)})) == before:
            unchanged.add(field.name)
    assert unchanged == (SPEED_ONLY if part is settings.Engine else set())
    assert all(f"`{name}`" in settings.Engine.__doc__ for name in SPEED_ONLY)


def test_the_kind_of_engine_is_part_of_the_run_spec(cfg):
    scripted = dataclasses.replace(cfg, engine=dataclasses.replace(cfg.engine, kind="scripted", options={}))
    assert [spec_of(one).engine for one in (cfg, scripted)] == ["vllm", "scripted"]


def test_every_limit_of_a_scaffold_changes_the_run_id(cfg):
    before, limits = run_id(cfg), cfg.scaffolds["compact"]
    for field in dataclasses.fields(settings.Scaffold):
        other = dataclasses.replace(limits, **{field.name: getattr(limits, field.name) + 1})
        assert run_id(dataclasses.replace(cfg, scaffolds={"compact": other})) != before, field.name


def test_every_option_of_vllm_changes_the_run_id_or_is_listed_as_speed_only():
    given = {
        "device": "cpu", "max_num_seqs": 1, "kv_cache_gib": 1.0, "threads": 1, "multiprocessing": False, "stall_s": 9.0,
        "date": "2026-01-01", "batch_invariant": False, "llm": {},
    }  # fmt: skip
    assert set(given) == {field.name for field in dataclasses.fields(vllm.Options)}
    other = {"device": "cuda", "max_num_seqs": 2, "kv_cache_gib": None, "threads": 2, "multiprocessing": True}
    same, text = {"date": "2026-01-01"}, engines.text_options
    assert text("vllm", given) == text("vllm", given | other | {"stall_s": 1.0}) == {"llm": {}} | same
    assert text("vllm", given | {"date": "2031-12-24"}) == {"llm": {}, "date": "2031-12-24"}
    on = given | {"device": "cuda", "batch_invariant": True}
    assert text("vllm", on) == {"llm": {}, "batch_invariant": True} | same
    with pytest.raises(ConfigError, match=r"`engine\.options\.batch_invariant` needs `engine\.options\.device` cuda"):
        text("vllm", on | {"device": "cpu"})
    for name in (
        "quantization", "kv_cache_dtype", "chat_template", "hf_overrides", "reasoning_parser", "tokenizer_mode",
        "speculative_config", "structured_outputs_config", "override_generation_config", "seed", "not_yet_invented",
    ):  # fmt: skip
        assert text("vllm", given | {"llm": {name: "x"}}) == {"llm": {name: "x"}} | same
    assert text("vllm", given | {"llm": {"load_format": "hf"}}) == {"llm": {"load_format": "hf"}} | same
    for name in ("enforce_eager", "tensor_parallel_size", "gpu_memory_utilization", "block_size"):
        assert text("vllm", given | {"llm": {name: 1}}) == {"llm": {}} | same


def test_chat_options_of_a_model_change_its_run_id_and_reach_the_engine(cfg):
    public = settings.Model(path="org/m", revision="0" * 40, role="general", scale="1B", params_b=1.0)
    ids = set()
    for changes in (
        {}, {"template_options": {"enable_thinking": False}}, {"template_options": {"enable_thinking": True}},
        {"reasoning_parser": "deepseek_r1"},
    ):  # fmt: skip
        cfg.models = {"m": dataclasses.replace(public, **changes)}
        (served,) = build.served_models(cfg, ["m"])
        ids.add(build.jobs(cfg, served)[0].spec.run_id)
        assert (served.ref.reasoning_parser, dict(served.ref.template_options)) == (
            changes.get("reasoning_parser"), changes.get("template_options", {})
        )  # fmt: skip
    assert len(ids) == 4


def test_date_that_is_none_is_refused_before_the_engine_starts():
    options = {"device": "cpu", "max_num_seqs": 1, "date": "yesterday"}
    with pytest.raises(ConfigError, match=r"`engine.options.date` must be a date such as 2026-01-01; got 'yesterday'"):
        engines.load("vllm", dtype="float32", context=64, options=options)


def test_options_that_are_speed_only_are_arguments_of_vllm():
    source = Path(importlib.util.find_spec("vllm").origin).parent / "engine" / "arg_utils.py"  # importing takes 20 s
    classes = [node for node in ast.parse(source.read_text()).body if isinstance(node, ast.ClassDef)]
    (arguments,) = [node for node in classes if node.name == "EngineArgs"]
    names = {node.target.id for node in arguments.body if isinstance(node, ast.AnnAssign)}
    nested = {name.removeprefix("llm.") for name in vllm.SPEED_ONLY if name.startswith("llm.")}
    assert nested <= names
    assert vllm.SPEED_ONLY - {f"llm.{name}" for name in nested} <= {f.name for f in dataclasses.fields(vllm.Options)}


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("vlm", {}, "`engine.kind` 'vlm' is unknown; allowed: .*scripted, vllm"),
        ("../vllm", {}, "`engine.kind` '../vllm' is unknown"),
        ("scripted", {"replies": "x"}, "no key `engine.options.replies`; allowed: reply"),
        ("vllm", {"device": "cpu"}, "no value for `engine.options.max_num_seqs`"),
        ("vllm", {"device": "cpu", "max_num_seqs": "many"}, "`engine.options.max_num_seqs` must be a whole number"),
        (
            "vllm",
            SMALL | {"llm": {"load_format": "dummy"}},
            "`engine.options.llm.load_format` is 'dummy'; allowed: auto",
        ),
        ("vllm", SMALL | {"llm": {"tokenizer": "org/m"}}, "`engine.options.llm.tokenizer` cannot be set"),
        ("vllm", SMALL | {"llm": {"revision": "main"}}, "`engine.options.llm.revision` cannot be set"),
        (
            "vllm",
            SMALL | {"llm": {"generation_config": "auto"}},
            "`engine.options.llm.generation_config` cannot be set",
        ),
    ],
)
def test_unknown_kind_and_wrong_option_of_an_engine_are_one_clear_error(kind, options, message):
    with pytest.raises(ConfigError, match=message):
        engines.load(kind, dtype="float32", context=64, options=options)


@pytest.mark.parametrize("file", sorted(path.stem for path in (settings.CONF / "engine").glob("*.yaml")))
def test_every_engine_of_conf_is_built_and_starts_nothing(file):
    settings.register()
    with initialize_config_dir(str(settings.CONF), version_base="1.3"):
        cfg = settings.checked(compose("config", overrides=[f"engine={file}"]))
    engine = build.engine(cfg)
    assert type(engine).__module__.startswith(f"replication.collect.engines.{cfg.engine.kind}")
    engine.close()


@pytest.mark.parametrize(
    ("is_on", "inherited", "variables"),
    [
        (False, {}, {}), (True, {}, {"VLLM_BATCH_INVARIANT": "1"}),
        (False, {"VLLM_BATCH_INVARIANT": "1"}, {"VLLM_BATCH_INVARIANT": "0"}),
    ],
)  # fmt: skip
def test_batch_invariant_mode_is_what_the_run_says_whatever_the_environment_has(is_on, inherited, variables):
    options = vllm.Options(device="cuda", max_num_seqs=1, batch_invariant=is_on)
    assert batch_invariance(options, inherited) == variables
