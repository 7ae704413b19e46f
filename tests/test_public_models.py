"""Every public checkpoint and matched pair of conf/ composes, is what vLLM can serve, and is played without a network."""

import dataclasses
import re

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from replication import settings
from replication.collect import parallel
from replication.collect.engines.vllm import server
from replication.collect.engines.vllm.options import Options
from replication.collect.interfaces import ModelRef
from replication.commands import run
from replication.commands.plan import planned
from replication.errors import ConfigError
from replication.publish.plan import report
from replication.settings.relations import check_relations
from replication.store.index import read_index

MODELS, PAIRS = (sorted(path.stem for path in (settings.CONF / group).glob("*.yaml")) for group in ("model", "pair"))
STUDIES = sorted(path.stem for path in (settings.CONF / "study").glob("*released*.yaml"))
COMMIT = "c0ffee0000" * 4
EVERY = ("apache-2.0", "cc-by-nc-4.0", "katanemo-research", "llama3.1-community", "qwen-research", "unknown")


@pytest.fixture(scope="module", autouse=True)
def hydra_conf():
    settings.register()
    with initialize_config_dir(str(settings.CONF), version_base="1.3"):
        yield


def composed(*overrides):
    return settings.checked(compose("config", overrides=["study=reanalysis", *overrides]))


@pytest.fixture(scope="module")
def models(hydra_conf):
    cfg = composed(*(f"+model@models.{name}={name}" for name in MODELS))
    return {name: cfg.models[name] for name in MODELS}


@pytest.fixture(scope="module")
def pairs(hydra_conf):
    # A study has one pair of each general model, and composing takes longest: as many at once as share none.
    general = {name: OmegaConf.load(settings.CONF / "pair" / f"{name}.yaml").general for name in PAIRS}
    rounds: list[dict[str, str]] = []
    for name in PAIRS:
        free = next((chosen for chosen in rounds if general[name] not in chosen), None)
        if free is None:
            rounds.append(free := {})
        free[general[name]] = name
    roots = [(chosen, composed(*(f"+pair@pairs.{name}={name}" for name in chosen.values()))) for chosen in rounds]
    return {name: (root.pairs[name], root.models) for chosen, root in roots for name in chosen.values()}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_states_its_facts_and_their_certainty(models, name):
    model = models[name]
    assert model.revision is None or re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", model.revision)
    assert model.scale == f"{model.params_b:g}B" or model.params_b < 0.2
    assert model.licence in EVERY and model.reference
    assert model.certainty in settings.CERTAINTIES and model.context and model.dtype


def test_every_family_and_architecture_is_used_by_a_model():
    used = {group: set() for group in ("family", "architecture")}
    for path in [*(settings.CONF / "model").glob("*.yaml"), settings.CONF / "study" / "released_small.yaml"]:
        for entry in OmegaConf.load(path).defaults:
            for key, value in entry.items() if hasattr(entry, "items") else ():
                if (group := str(key).strip("/").partition("@")[0]) in used:
                    used[group].add(value)
    for group, names in used.items():
        assert names == {path.stem for path in (settings.CONF / group).glob("*.yaml")}, group


def test_two_pairs_that_bring_one_model_say_what_to_do():
    message = r"appears more than once.*A study has one pair of each general model"
    with pytest.raises(ConfigError, match=message), settings.clear_errors():
        composed("+pair@pairs.x=arctic_awm_4b", "+pair@pairs.y=envscaler_qwen3_4b_sft")


def test_pairs_cover_scales_and_families_and_each_has_a_shared_base_or_says_how_it_differs(pairs):
    assert len(pairs) >= 12
    for name, (pair, models) in pairs.items():
        general, agent = models[pair.general], models[pair.agent]
        assert general.pair == agent.pair == name and general.scale == agent.scale
        assert agent.role in ("agent_specific", "world_model") and agent.base in (pair.base, None), name
        assert pair.base in (general.path, general.base) or pair.differs, name
    scales = {models[pair.general].scale for pair, models in pairs.values()}
    families = {re.sub(r"[ (].*", "", models[pair.general].family) for pair, models in pairs.values()}
    assert len(scales) >= 5 and {"Qwen2.5", "Qwen2.5-Coder", "Qwen3", "Qwen3.5", "Llama-3.1"} <= families
    world = pairs["qwen_agentworld_35b_a3b"][0]
    assert (world.general, world.base) == ("qwen3_5_35b_a3b", "Qwen/Qwen3.5-35B-A3B-Base")


@pytest.mark.parametrize("name", MODELS)
def test_the_server_gets_the_parsers_of_a_model(models, name):
    model, options = models[name], Options(device="cuda", max_num_seqs=8)
    ref = ModelRef(name=name, path=model.path, revision=COMMIT, reasoning_parser=model.reasoning_parser)
    words = server.command(ref, dtype="bfloat16", context=4096, options=options, tool_syntax=model.tool_syntax)
    assert words[words.index("--tool-call-parser") + 1] == server.TOOL_PARSERS[model.tool_syntax]
    assert ("--reasoning-parser" in words) == (model.reasoning_parser is not None)


@pytest.mark.slow
def test_vllm_knows_every_parser(models):
    from vllm.reasoning import ReasoningParserManager
    from vllm.tool_parsers import ToolParserManager

    assert {server.TOOL_PARSERS[one.tool_syntax] for one in models.values()} <= set(ToolParserManager.list_registered())
    named = {one.reasoning_parser for one in models.values()} - {None}
    assert named == {"deepseek_r1"} <= set(ReasoningParserManager.list_registered())


@pytest.mark.slow
@pytest.mark.parametrize("study", STUDIES)
def test_a_study_of_public_models_is_planned_without_a_network(study):
    cfg = settings.checked(compose("config", overrides=[f"study={study}", "paths.results=nowhere"]))
    text = report(cfg, planned(cfg))
    assert all(f"\n  {name} " in text for name in cfg.models)
    assert "unknown, weights by" not in text and "not one episode fits" not in text
    assert all(f"`licences.accepted=[{one.licence}]`" in text for one in settings.restricted(cfg))


@pytest.mark.slow
@pytest.mark.parametrize("study", [study for study in STUDIES if study not in ("released_small", "released_max")])
def test_a_study_of_public_models_is_played_and_gathered_without_a_network(study, tmp_path):
    values = [
        "engine=scripted", "engine.context=32768", "engine.processes=1", "study.n_trials=1", "probe.n_tasks=0",
        f"paths.results={tmp_path}", f"licences.accepted=[{','.join(EVERY)}]",
    ]  # fmt: skip
    cfg = settings.checked(compose("config", overrides=[f"study={study}", *values]))
    for model in cfg.models.values():
        model.revision = COMMIT
    for benchmark in cfg.benchmarks.values():
        benchmark.n_tasks = 1
    run.main(cfg)
    index = read_index(tmp_path, study)
    assert len(index.run_ids) == len(cfg.models) * len(cfg.benchmarks) * len(cfg.scaffolds)


def test_licences_are_accepted_by_name_before_any_work(tmp_path):
    overrides = ["study=released_4b", f"paths.results={tmp_path / 'results'}"]
    cfg = settings.checked(compose("config", overrides=overrides))
    names = [one.licence for one in settings.restricted(cfg)]
    assert names == ["cc-by-nc-4.0", "qwen-research", "unknown"]
    with pytest.raises(
        ConfigError, match=r"cc-by-nc-4.0: MadeAgents/Hammer2.1-0.5b, .*'licences.accepted=\[cc-by-nc-4.0,"
    ):
        run.main(cfg)
    assert not (tmp_path / "results").exists()
    cfg.licences.accepted = names[:2]
    with pytest.raises(
        ConfigError, match=r"not read: unknown: .*'licences.accepted=\[cc-by-nc-4.0,qwen-research,unknown\]'"
    ):
        settings.require_accepted(cfg)
    cfg.licences.accepted = names
    settings.require_accepted(cfg)


def test_a_gated_model_needs_a_yes_and_a_folder_without_licence_none():
    cfg = composed("+model@models.m=qwen3_0_6b")
    assert settings.restricted(cfg) == []
    gated = dataclasses.replace(cfg.models["m"], gated=True)
    assert settings.restricted(dataclasses.replace(cfg, models={"m": gated}))[0].gated
    mine = dataclasses.replace(cfg.models["m"], licence=None)
    assert settings.restricted(dataclasses.replace(cfg, models={"m": mine})) == []


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["pairs.x.agent=qwen3_4b"],
            "`pairs.x.agent` 'qwen3_4b' has role 'general'; allowed: agent_specific, world_model",
        ),
        (["pairs.x.general=qwen3_5b"], r"`pairs.x.general` names 'qwen3_5b'; .*Did you mean `qwen3_4b`"),
        (["models.arctic_awm_4b.scale=5B"], "models of the scales '4B' and '5B'"),
        (["pairs.x.base=null"], "neither the `base` that both share nor how they differ"),
        (
            ["engine=vllm_gpu", "engine.context=65536"],
            "`engine.context` 65536 is more than `models.qwen3_4b.context`, 40960",
        ),
    ],
)
def test_a_pair_that_compares_something_else_is_one_error(overrides, message):
    with pytest.raises(ConfigError, match=message):
        composed("+pair@pairs.x=arctic_awm_4b", *overrides)


def test_two_pairs_of_one_general_model_are_refused():
    cfg = composed("+pair@pairs.x=arctic_awm_4b", "+model@models.other=envscaler_qwen3_4b_sft")
    cfg.pairs["y"] = dataclasses.replace(cfg.pairs["x"], agent="other")
    with pytest.raises(ConfigError, match=r"`pairs.y` and `pairs.x` both have the model 'qwen3_4b'"):
        check_relations(cfg)


@pytest.mark.slow
def test_each_model_gets_an_engine_of_its_size_and_the_others_fill_the_machine():
    cfg = settings.checked(compose("config", overrides=["study=released"]))
    large, small = parallel.sized(cfg, "llama_3_1_70b_instruct"), parallel.sized(cfg, "qwen3_4b")
    assert (large.engine.options["llm"]["tensor_parallel_size"], large.engine.processes) == (4, 2)
    assert small is cfg and cfg.engine.processes == 8 and cfg.engine.options["llm"]["tensor_parallel_size"] == 1
    on_cpu = settings.checked(compose("config", overrides=["study=released", "engine=vllm_cpu", "engine.context=4096"]))
    assert parallel.sized(on_cpu, "llama_3_1_70b_instruct") is on_cpu
