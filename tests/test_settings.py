"""Limits of settings: names, texts, ranges, choices, relations and paths, each wrong value as one error."""

import dataclasses
import typing
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import MISSING, OmegaConf

from replication import settings
from replication.collect import build, engines
from replication.collect.benchmarks import suite
from replication.collect.engines import vllm
from replication.collect.scaffolds.native import SYNTAXES
from replication.collect.training import calibration
from replication.errors import ConfigError
from replication.settings import conversion, limits, schema

LEGAL = ("a", "7", "0.50", "007", "true", "null", "NA", "1e5", "2026-01-01", "xs", "0.6B", "A_b-c+d.e", "x" * 64)
ILLEGAL = (
    "", " ", "a b", ".", "..", ".a", "-a", "_a", "../x", "/x", "org/model", "a\\b", "a\nb", "a\0b", "a\n", "é", "名",
    "x" * 65, "x" * 300, "a:b", "a,b", "#a", "{a}", "$a",
)  # fmt: skip
MODEL = {
    "path": "org/m", "revision": "c0ffee0000" * 4, "role": "general", "scale": "8B", "params_b": 8.0,
}  # fmt: skip
SOURCE = {
    "harness": "csv", "folder": "f", "model": "m", "benchmark": "b", "benchmark_version": "v1", "scaffold": "s",
    "scaffold_version": "v1", "n_tasks": 1,
}  # fmt: skip
ARM = {"phases": []}


@pytest.fixture(scope="module")
def base():
    settings.register()
    with initialize_config_dir(str(settings.CONF), version_base="1.3"):
        cfg = compose("config", overrides=["study=controlled_tiny"])
    OmegaConf.set_struct(cfg, False)  # keys may be added, as in a file
    return cfg


@pytest.fixture
def checked(base):
    """Check the tiny study with other values; as in a file, they are merged before the check."""

    def check(**values):
        return settings.checked(OmegaConf.merge(base, OmegaConf.create(values)))

    return check


@pytest.mark.parametrize("name", LEGAL)
def test_a_legal_name_stays_the_text_that_was_written_in_every_place(checked, name):
    source = SOURCE | {key: name for key in ("model", "benchmark", "benchmark_version", "scaffold", "scaffold_version")}
    model = MODEL | {"scale": name, "pair": name}
    root = checked(study={"name": name}, arms={name: ARM}, models={name: model}, ingest={name: source})
    assert root.study.name == name and name in root.arms and root.models[name].scale == name
    assert root.ingest[name].benchmark_version == root.ingest[name].model == root.models[name].pair == name
    (job,) = build.harness_jobs(root)
    assert job.labels.scale == name and job.run.spec.benchmark_version == name


@pytest.mark.parametrize("name", ILLEGAL)
def test_an_illegal_name_is_one_error_in_every_place(checked, name):
    places = [
        {"study": {"name": name}}, {"arms": {name: ARM}}, {"models": {name: MODEL}},
        {"models": {"m": MODEL | {"scale": name}}},
        {"plan": {"data": name}}, {"paths": {"readme_study": name}}, {"tracking": {"project": name}},
    ]  # fmt: skip
    for values in places:
        if name == "org/model" and name in values.get("models", {}):
            continue
        with pytest.raises(ConfigError, match=r"a name has 1 to 64 of the characters") as error:
            checked(**values)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["Qwen/Qwen3-0.6B", "a/b", "a"])
def test_the_name_of_a_model_may_have_one_slash(checked, name):
    assert name in checked(models={name: MODEL}).models


@pytest.mark.parametrize("name", ["a/b/c", "/a", "a/", "a//b", "../a", "a/..", "a/.b"])
def test_the_name_of_a_model_is_no_path(checked, name):
    with pytest.raises(ConfigError, match=r"a model may have two with a slash between, such as `org/model-8B`"):
        checked(models={name: MODEL})


def test_names_that_differ_only_in_case_are_refused(checked):
    with pytest.raises(ConfigError, match=r"`arms` has the keys `X` and `x`, which differ only in case"):
        checked(arms={"X": ARM, "x": ARM})


def test_arms_and_scales_whose_training_runs_share_a_folder_are_refused(checked, base):
    xs = OmegaConf.to_container(base.scales.xs)
    with pytest.raises(ConfigError, match=r"2 training runs would have the name `a-b-c`"):
        checked(
            arms={"a": {"phases": [], "scales": ["b-c"]}, "a-b": {"phases": [], "scales": ["c"]}},
            scales={"b-c": xs, "c": xs},
        )


@pytest.mark.parametrize(
    ("study", "message"),
    [
        ({"name": "audit"}, "`study.name` 'audit' is the name of other files"),
        ({"name": "x.monitor"}, "`study.name` 'x.monitor' is the name of other files"),
        ({"name": "reanalysis"}, "the tables of the published numbers have this folder"),
    ],
)
def test_a_study_whose_files_would_be_those_of_something_else_is_refused(checked, study, message):
    with pytest.raises(ConfigError, match=message):
        checked(study=study)


@pytest.mark.parametrize("yaml", ["0.50", "7", "007", "1_000", "1e5", "1:30", "true", "no", "0x10", ".inf", "-3"])
def test_a_text_that_yaml_reads_as_another_type_is_refused_with_advice_to_quote_it(checked, yaml):
    value = OmegaConf.create(f"value: {yaml}").value
    places = [
        {"study": {"name": value}}, {"models": {"m": MODEL | {"scale": value}}},
        {"models": {"m": MODEL | {"revision": value}}},
        {"ingest": {"b": SOURCE | {"benchmark_version": value}}}, {"arms": {"a": ARM | {"scales": [value]}}},
        {"study": {"comparisons": [[value, "base"]]}}, {"paths": {"results": value}},
    ]  # fmt: skip
    for values in places:
        with pytest.raises(ConfigError, match=r"to YAML; a text is needed. Quote it"):
            checked(**values)


@pytest.mark.parametrize("key", ["7", "0.50", "true", "null"])
def test_a_key_that_yaml_reads_as_another_type_is_refused_with_advice_to_quote_it(base, key):
    with pytest.raises(ConfigError, match=r"scales.*must be quoted"), settings.clear_errors():
        OmegaConf.merge(base, OmegaConf.create(f"scales: {{{key}: {{hidden: 3}}}}"))


def test_a_key_of_an_option_that_is_no_text_is_refused(checked):
    with pytest.raises(
        ConfigError, match=r"`engine.options.llm` has the key 0.5, which YAML reads as a number. Quote it"
    ):
        checked(engine={"options": {"llm": {0.5: 1}}})


@pytest.mark.parametrize("text", ["", "  ", "a\nb", "a\tb", "a\0b", "a\x1bb", "a\u202eb", "\ud800", "x" * 2001])
def test_a_free_text_is_one_line_of_printable_characters(checked, text):
    places = [{"study": {"scope": text}}, {"study": {"deviations": ["fine", text]}}]
    places += [{"models": {"m": MODEL | {key: text}}} for key in ("path", "pair", "base", "family")]
    for values in places:
        with pytest.raises(ConfigError, match="is one line of 1 to 2000 printable characters"):
            checked(**values)


def test_a_free_text_may_have_any_script_and_sign(checked):
    scope = "Modèles «petits», 小さい #$\\_*~@<>&\"'`{}[] -- 100 % 😀"
    assert checked(study={"scope": scope}).study.scope == scope


def plain_fields(part=settings.Root, seen=None):
    """Yield every dataclass of the schema once, with its fields and their types."""
    seen = set() if seen is None else seen
    if part in seen:
        return
    seen.add(part)
    hints = typing.get_type_hints(part)
    for field in dataclasses.fields(part):
        names = {hints[field.name], *typing.get_args(hints[field.name])}
        names |= {inner for hint in names for inner in typing.get_args(hint)}
        yield f"{part.__name__}.{field.name}", limits.of(field), names
        for hint in names:
            if dataclasses.is_dataclass(hint):
                yield from plain_fields(hint, seen)


@pytest.mark.parametrize("root", [settings.Root, vllm.Options], ids=["conf", "vllm"])
def test_every_number_of_the_schema_has_a_range(root):
    numbers = {key: limit for key, limit, hints in plain_fields(root) if hints & {int, float}}
    assert len(numbers) > 2
    assert [key for key, limit in numbers.items() if not -1e18 < limit.low < limit.high < 1e19] == []


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 10**400])
def test_nan_and_infinity_are_refused_for_every_number(bad):
    numbers = {key: limit for key, limit, hints in plain_fields() if hints & {int, float}}
    accepting = {key for key, limit in numbers.items() if limit.contain(bad)}
    assert accepting == ({"AuditScenario.k", "TippingDesign.k"} if bad == float("inf") else set())


def test_one_list_of_each_kind_of_thing():
    assert set(schema.TOOL_SYNTAXES) == set(SYNTAXES)
    assert suite.LEVELS == (1, 2, 3, 4, 5)
    kinds = {OmegaConf.load(file).study.get("kind") for file in (settings.CONF / "study").glob("*.yaml")}
    assert kinds - {None} <= set(settings.KINDS)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"engine": {"concurrency": 0}}, r"`engine.concurrency` must be in \[1, 100000\]; got 0"),
        ({"engine": {"processes": 0}}, r"`engine.processes` must be in \[1"),
        ({"engine": {"order": "shortest"}}, "`engine.order` is 'shortest'; allowed: listed, longest_first"),
        ({"engine": {"concurrency": 513}}, "at most 4 times `engine.options.max_num_seqs`, 128; got 513: .* to 128"),
        ({"engine": {"dtype": "float8"}}, "`engine.dtype` is 'float8'; allowed: float32, bfloat16, float16"),
        ({"scaffolds": {"compact": {"max_turns": 0}}}, r"`scaffolds.compact.max_turns` must be in \[1"),
        ({"scaffolds": {"compact": {"max_episode_tokens": 0}}}, r"`scaffolds.compact.max_episode_tokens` must be in"),
        ({"training": {"device": "gpu"}}, "`training.device` is 'gpu'; allowed: cpu, cuda"),
        ({"training": {"workers": 0}}, r"`training.workers` must be in \[1"),
        ({"training": {"precision": "fp16"}}, "`training.precision` is 'fp16'; allowed: float32, bfloat16"),
        ({"training": {"decay_share": 0.95}}, "must be at most 0.9, .*; got 0.95"),
        ({"training": {"compile": 2}}, "`training.compile` must be true or false; got 2"),
        ({"training": {"rl": {"n_minibatches": 17}}}, "`training.rl.n_minibatches` must be at most .* 16; got 17"),
        ({"training": {"rl": {"max_new_tokens": 1024}}}, "`training.rl.max_new_tokens` must be below `engine.context`"),
        ({"sampling": {"max_tokens": 1024}}, "`sampling.max_tokens` must be below `engine.context`"),
        ({"sampling": {"top_k": 0}}, "`sampling.top_k` 0 keeps no token"),
        ({"probe": {"n_tasks": -1}}, r"`probe.n_tasks` must be in \[0, 1000000\]; got -1"),
        ({"probe": {"max_tokens": 2000}}, "`probe.max_tokens` must be below `engine.context`"),
        ({"analysis": {"level": 1.0}}, r"`analysis.level` must be in \(0.0, 1.0\); got 1.0"),
        ({"analysis": {"level": float("nan")}}, r"`analysis.level` must be in \(0.0, 1.0\); got nan"),
        ({"analysis": {"unscored": []}}, "`analysis.unscored` must have at least 1 entries"),
        ({"analysis": {"bounds": ["wurst"]}}, r"`analysis.bounds\[0\]` is 'wurst'; .*Did you mean `worst`"),
        ({"analysis": {"audit": {"fractions": [0.5]}}}, "`analysis.audit.fractions` must have 1.0, which the paper prints"),
        ({"analysis": {"audit": {"powers": [0.9]}}}, "`analysis.audit.powers` must have 0.8"),
        ({"analysis": {"audit": {"scenarios": []}}}, "`analysis.audit.scenarios` must have at least 1"),
        ({"analysis": {"audit": {"map_rhos": [0.5, 0.1, 3]}}}, "first below last"),
        ({"plan": {"rho": 1.1}}, r"`plan.rho` must be in \[0.0, 1.0\]; got 1.1"),
        ({"plan": {"budget": float("inf")}}, r"`plan.budget` must be in \(0.0, 1000000000000.0\]; got inf"),
        ({"monitor": {"alpha": 0.0}}, r"`monitor.alpha` must be in \(0.0, 1.0\)"),
        ({"tracking": {"mode": "onlin"}}, "`tracking.mode` is 'onlin'; .*Did you mean `online`"),
        ({"study": {"kind": "controled"}}, "`study.kind` is 'controled'; allowed: reanalysis, controlled, released."),
        ({"study": {"comparisons": [["base", "base"]]}}, r"`study.comparisons\[0\]` must name two different arms"),
        ({"study": {"comparisons": [["base", "agent_stf"]]}}, "names 'agent_stf'; .*Did you mean `agent_sft`"),
        ({"arms": {"base": {"scales": ["xss"]}}}, "`arms.base.scales` names 'xss'; allowed: s, xs. Did you mean `xs`"),
        ({"arms": {"base": {"phases": [{"corpus": "episode"}]}}}, "no value|`arms.base.phases.0..corpus` is 'episode'"),
        ({"models": {"m": MODEL | {"role": "generel"}}}, "`models.m.role` is 'generel'; .*Did you mean `general`"),
        ({"models": {"m": MODEL | {"tool_syntax": "herms"}}}, "`models.m.tool_syntax` is 'herms'; .*Did you mean `hermes`"),
        ({"models": {"m": MODEL | {"active_b": 9.0}}}, "`models.m.active_b` must be at most `params_b`, 8.0; got 9.0"),
        ({"scales": {"xs": {"kv_heads": 2}}}, "`heads` must be a multiple of `kv_heads`; got 3 and 2"),
        ({"scales": {"xs": {"head_dim": 31}}}, "`head_dim` must be even"),
        ({"scales": {"xs": {"levels": {"terminal": []}}}}, "`scales.xs.levels.terminal` must have at least 1"),
        ({"benchmarks": {"terminal": {"suite": {"levels": [6]}}}}, r"terminal.suite.levels\[0\]` must be in \[1, 5\]"),
        ({"scaffolds": {"probe": {"max_turns": 1, "max_episode_tokens": 1, "max_malformed": 1}}}, "set `probe.n_tasks`"),
        ({"calibration": {"low": 0.9}}, "`calibration.low` must be below `calibration.high`"),
        ({"calibration": {"levels": [2, 1]}}, "`calibration.levels` must ascend"),
        ({"serve": {"only": ["a", "a"]}}, "names an entry twice"),
        ({"study": {"scope": "${nothing}"}}, "Interpolation key 'nothing' not found"),
        ({"study": {"scope": "${study.scope}"}}, "Recursive interpolation"),
        ({"study": {"scope": "${oc.env:NO_SUCH_VARIABLE}"}}, "Environment variable 'NO_SUCH_VARIABLE' not found"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_work_is_named_with_what_is_allowed(checked, values, message):
    with pytest.raises(ConfigError, match=message) as error:
        checked(**values)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "gpu", "max_num_seqs": 1}, "`engine.options.device` is 'gpu'; allowed: cpu, cuda"),
        ({"device": "cpu", "max_num_seqs": 0}, r"`engine.options.max_num_seqs` must be in \[1"),
        ({"device": "cpu", "max_num_seqs": 1, "threads": 0}, r"`engine.options.threads` must be in \[1"),
        ({"device": "cpu", "max_num_seqs": 1, "kv_cache_gib": 0.0}, r"`engine.options.kv_cache_gib` must be in \(0.0"),
        (
            {"device": "cpu", "max_num_seqs": 1, "llm": {"x": [float("nan")]}},
            r"`engine.options.llm.x\[0\]` must be a text, a",
        ),
    ],
)
def test_an_option_of_the_engine_out_of_range_is_named(options, message):
    with pytest.raises(ConfigError, match=message):
        engines.load("vllm", dtype="float32", context=64, options=options)


def test_settings_that_only_a_command_needs_are_checked_by_it(checked):
    with pytest.raises(ConfigError, match=r"`engine.context` 8192 is more than `scales.s.context`, 4096"):
        build.training_runs(checked(engine={"context": 8192}))
    with pytest.raises(ConfigError, match=r"`scales.s.levels` names 'termnial'; allowed: assistant"):
        build.training_runs(checked(scales={"s": {"levels": {"termnial": [1]}}}))
    with pytest.raises(ConfigError, match=r"`calibration.arm` is 'nobody'; allowed: agent_sft, "):
        calibration.calibrate(checked(calibration={"arm": "nobody"}), "xs")


def test_the_home_folder_is_expanded_in_every_path(checked, base, monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("WEIGHTS", "~/weights")
    root = checked(
        paths={"results": "~", "paper": "~/paper"}, models={"m": MODEL | {"path": "${oc.env:WEIGHTS}"}},
        ingest={"b": SOURCE | {"folder": "~/f"}}, scales={"xs": {"base": {"path": "~/base"}}},
    )  # fmt: skip
    home = "/home/someone"
    assert (root.paths.results, root.paths.paper) == (home, f"{home}/paper")
    assert (root.models["m"].path, root.ingest["b"].folder) == (f"{home}/weights", f"{home}/f")
    assert build.base_folder(root, "xs") == Path(home, "base")
    with pytest.raises(ConfigError, match=r"`paths.results` is '~no_such_user_/x', but there is no such home folder"):
        checked(paths={"results": "~no_such_user_/x"})


def test_two_models_of_one_role_and_scale_are_two_units_and_no_training_runs(checked):
    root = checked(models={"one": MODEL, "two": MODEL | {"path": "org/n", "revision": "decade0000" * 4}})
    one, two = build.served_models(root, ["one", "two"])
    assert (one.labels.arm, one.labels.scale) == (two.labels.arm, two.labels.scale) == ("general", "8B")
    assert one.labels.unit != two.labels.unit
    assert one.labels.training_seed is two.labels.training_seed is None
    specs = [{job.spec.run_id for job in build.jobs(root, model)} for model in (one, two)]
    assert not specs[0] & specs[1]


def test_a_misspelt_key_is_answered_with_the_near_one():
    with pytest.raises(ConfigError, match=r"no key `analysis.levl`; allowed: level, .*Did you mean `level`"):
        settings.typed(settings.Analysis, {"levl": 0.9}, "analysis")
    with pytest.raises(ConfigError, match=r"no value for `probe.max_tokens`"):
        settings.typed(settings.Probe, {"max_tokens": MISSING}, "probe")
    assert conversion.hint_at("zzz", ["a", "b"]) == "allowed: a, b."


def test_errors_of_composing_keep_their_traceback_where_it_is_asked_for(monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(ValueError, match=r"^raw$"), settings.clear_errors():
        raise ValueError("raw")
    monkeypatch.delenv("HYDRA_FULL_ERROR")
    with pytest.raises(ConfigError, match="the settings cannot be composed: raw"), settings.clear_errors():
        raise ValueError("raw")
