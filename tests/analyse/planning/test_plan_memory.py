"""Memory of public checkpoints equals published sizes, and the cache that of the attention layers alone."""

import dataclasses

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from plan_studies import composed

from replication import settings
from replication.analyse.planning import memory
from replication.commands.plan import planned
from replication.errors import ConfigError
from replication.settings.conversion import typed

PUBLISHED_B = {
    "qwen2_5_0_5b": 0.494032768, "qwen2_5_1_5b": 1.54, "qwen2_5_3b": 3.085938688, "qwen2_5_7b": 7.62, "qwen2_5_32b": 32.5,
    "llama3_1_8b": 8.03, "llama3_1_70b": 70.6, "qwen3_0_6b": 0.59604992, "qwen3_1_7b": 1.72, "qwen3_4b": 4.02,
    "qwen3_8b": 8.2, "qwen3_14b": 14.8, "qwen3_32b": 32.8, "qwen3_30b_a3b": 30.5, "qwen3_235b_a22b": 235.0,
    "qwen3_5_0_8b": 0.87, "qwen3_5_2b": 2.2, "qwen3_5_4b": 4.540002816, "qwen3_5_9b": 9.4, "qwen3_5_27b": 27.4,
    "qwen3_5_35b_a3b": 35.1, "qwen_agentworld_35b_a3b": 34.7, "qwen3_5_122b_a10b": 125.0, "qwen3_5_397b_a17b": 397.0,
    "smollm2_135m": 0.134515008,
}  # fmt: skip
"""Parameters that model cards, keras-hub or file sizes state, billions, with a vision tower where there is one. 122B: half
of the 250 GB of its files."""
ACTIVE_B = {"qwen3_30b_a3b": 3.3, "qwen3_235b_a22b": 22.0, "qwen3_5_35b_a3b": 3.0, "qwen3_5_397b_a17b": 17.0}
FILES = sorted(path.stem for path in (settings.CONF / "architecture").glob("*.yaml"))


def architecture(name: str) -> settings.Architecture:
    values = OmegaConf.to_container(OmegaConf.load(settings.CONF / "architecture" / f"{name}.yaml"))
    return typed(settings.Architecture, values, name)


@pytest.mark.parametrize("name", FILES)
def test_parameters_from_the_sizes_are_within_5_percent_of_the_published_number(name):
    assert memory.parameters_b(architecture(name)) == pytest.approx(PUBLISHED_B[name], rel=0.05)


@pytest.mark.parametrize("name", ACTIVE_B)
def test_with_the_experts_of_one_token_the_sizes_give_the_published_active_parameters(name):
    model = settings.Model(path="a/b", role="general", scale="x", params_b=1.0, architecture=architecture(name))
    # Vendors round, and some leave the embeddings out.
    assert memory.active_b(model) == pytest.approx(ACTIVE_B[name], rel=0.16)
    assert memory.active_b(dataclasses.replace(model, active_b=5.0)) == 5.0


def test_the_cache_holds_the_grouped_heads_of_the_layers_with_full_attention():
    # 2 (keys and values) x layers x key-value heads x head size x 2 bytes.
    assert memory.cache_bytes_per_token(architecture("llama3_1_8b"), 1, "bfloat16") == 2 * 32 * 8 * 128 * 2 == 131_072
    assert memory.cache_bytes_per_token(architecture("llama3_1_8b"), 1, "float32") == 2 * 131_072
    assert memory.cache_bytes_per_token(architecture("qwen2_5_7b"), 1, "bfloat16") == 57_344
    assert memory.cache_bytes_per_token(architecture("qwen3_5_35b_a3b"), 1, "bfloat16") == 2 * 10 * 2 * 256 * 2


def test_key_value_heads_are_split_over_gpus_and_copied_where_there_are_fewer():
    per_gpu = [memory.cache_bytes_per_token(architecture("qwen3_30b_a3b"), n, "bfloat16") for n in (1, 2, 4, 8)]
    assert per_gpu == [98_304, 49_152, 24_576, 24_576]


def study(tmp_path, *overrides):
    return composed(tmp_path, "study=released_4b", *overrides)


def test_need_is_weights_and_whole_episodes_in_what_is_left(tmp_path):
    cfg = study(
        tmp_path, "plan.gpu_memory_gib=80", "engine.context=16384", "engine.options.llm.gpu_memory_utilization=0.5"
    )
    found = memory.need(cfg, cfg.models["qwen3_4b"])
    weights_gib = 4.0225 * 2e9 / 2**30
    episode_gib = 2 * 36 * 8 * 128 * 2 * 16384 / 2**30
    assert found.weights_gib == pytest.approx(weights_gib, rel=0.001) and found.download_gb == pytest.approx(
        8.045, rel=0.001
    )
    assert found.episode_gib == pytest.approx(episode_gib) and found.room == int((40 - weights_gib) / episode_gib)
    split = memory.need(cfg, dataclasses.replace(cfg.models["qwen3_4b"], tensor_parallel_size=4))
    assert split.gpus == 4 and split.weights_gib == pytest.approx(weights_gib / 4, rel=0.001)
    exact = memory.need(
        study(tmp_path, "engine.context=16384", "+engine.options.kv_cache_gib=5"), cfg.models["qwen3_4b"]
    )
    assert exact.room == int(5 / episode_gib) == 2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("engine.options.llm=7", "must have mappings above `llm."),
        (
            "engine.options.llm.tensor_parallel_size=two",
            "`engine.options.llm.tensor_parallel_size` must be a positive number",
        ),
        ("+engine.options.kv_cache_gib=-1", "`engine.options.kv_cache_gib` must be a positive number; got '-1'"),
    ],
)
def test_an_option_of_the_engine_that_is_no_number_is_named(tmp_path, override, message):
    with pytest.raises(ConfigError, match=message):
        planned(study(tmp_path, override))


def test_a_model_without_sizes_has_weights_by_its_name_and_an_unknown_cache(tmp_path):
    cfg = study(tmp_path)
    found = memory.need(cfg, dataclasses.replace(cfg.models["qwen3_4b"], architecture=None))
    assert (found.episode_gib, found.room, found.is_exact) == (None, None, False) and found.download_gb == 8.0
    local = memory.need(cfg, dataclasses.replace(cfg.models["qwen3_4b"], path="results/weights/x"))
    assert local.download_gb == 0


def test_the_download_of_a_file_from_a_package_is_that_of_the_file_and_one_made_here_has_none(tmp_path):
    cfg = composed(tmp_path, "study=released_small")
    found = {name: memory.need(cfg, model).download_gb for name, model in cfg.models.items()}
    assert found == {"smollm2_135m": 0.098, "smollm2_135m_agent": 0.0}
    other = dataclasses.replace(cfg.models["smollm2_135m"], source="hub", path="HuggingFaceTB/SmolLM2-135M-Instruct")
    assert memory.need(cfg, other).download_gb == pytest.approx(0.538, abs=0.001)


def test_large_models_are_limited_by_compute_and_small_ones_by_the_client(tmp_path):
    cfg = study(tmp_path, "plan.flops_per_s=1e14")
    dense = cfg.models["qwen3_4b"]
    sparse = dataclasses.replace(dense, params_b=400.0, active_b=20.0, tensor_parallel_size=4)
    assert memory.seconds(cfg, dense, 1e6, 40_000) == pytest.approx(2 * 4e9 * 1e6 / 1e14)
    assert memory.seconds(cfg, sparse, 1e6, 40_000) == pytest.approx(2 * 20e9 * 1e6 / 4e14)
    assert memory.seconds(cfg, dataclasses.replace(dense, params_b=0.5), 1e6, 40_000) == 25.0
    cfg.plan.flops_per_s = None
    assert memory.seconds(cfg, sparse, 1e6, 40_000) == 25.0


def test_gpu_hours_count_every_gpu_of_an_engine():
    settings.register()
    with initialize_config_dir(str(settings.CONF), version_base="1.3"):
        cfg = settings.checked(compose("config", overrides=["study=released", "paths.results=nowhere"]))
    found = planned(cfg)
    by_hand = sum(hours * (cfg.models[name].tensor_parallel_size or 1) for name, hours in found.model_hours.items())
    assert found.gpu_hours == pytest.approx(by_hand) and found.gpu_hours > found.engine_hours
    # One pair per base: the costs of the design that is planned are those of all its checkpoints.
    assert found.allocation.current.cost == pytest.approx(found.money)
    assert found.disk_gb == pytest.approx(sum(one.download_gb for one in found.needs.values()) + 95_200 * 65_536 / 1e9)
