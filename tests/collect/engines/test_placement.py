"""Cards of several engines on one machine, without any card: groups, shared cards, and combinations that cannot run."""

import dataclasses
import os
import sys
from types import ModuleType, SimpleNamespace

import pytest
from test_vllm import BASE

from replication import settings
from replication.collect import engines, gpus, serve
from replication.collect.engines.vllm import Options, VllmEngine
from replication.collect.engines.vllm.placement import on_cards
from replication.collect.interfaces import ModelRef, Place
from replication.errors import ConfigError, EngineError

CARDS = [gpus.NamedCard(name, 80.0) for name in "0123"]
OTHERS = [gpus.NamedCard(name, 80.0) for name in ("5", "GPU-a", "7", "9", "11")]
SPLIT = {"gpu_memory_utilization": 0.05}


def options(llm=None, **changes):
    return Options(device="cuda", max_num_seqs=8, llm=llm or {}, **changes)


def devices(places):
    return [place.environment.get("CUDA_VISIBLE_DEVICES") for place in places]


@pytest.mark.parametrize(
    ("n", "llm", "cards", "expected"),
    [
        (1, {}, CARDS, [None]),
        (4, {}, CARDS, ["0", "1", "2", "3"]),
        (2, {"tensor_parallel_size": 2}, CARDS, ["0,1", "2,3"]),
        (1, {"tensor_parallel_size": 2, "pipeline_parallel_size": 2}, CARDS, [None]),
        (2, {"pipeline_parallel_size": 2}, OTHERS, ["5,GPU-a", "7,9"]),
    ],
)  # fmt: skip
def test_each_engine_has_a_group_of_cards_of_its_own_while_there_are_enough(n, llm, cards, expected):
    places = on_cards(options(llm), n, cards)
    assert devices(places) == expected and not any(place.is_shared for place in places)


def test_more_engines_than_cards_share_them_evenly_and_say_so():
    places = on_cards(options(SPLIT, kv_cache_gib=3.0), 5, CARDS[:2])
    assert devices(places) == ["0", "1", "0", "1", "0"] and all(place.is_shared for place in places)
    # Without NVML all are taken to be on one card, which each finds by itself.
    assert on_cards(options(SPLIT, kv_cache_gib=3.0), 2, []) == [Place(is_shared=True)] * 2


@pytest.mark.parametrize(
    ("n", "llm", "changes", "message"),
    [
        (1, {"tensor_parallel_size": 8}, {}, r"`tensor_parallel_size` 8 and .* 1 needs 8 cards; 4 can be used here"),
        (2, {"tensor_parallel_size": 2, "pipeline_parallel_size": 4}, {}, r"needs 8 cards"),
        (1, {"tensor_parallel_size": 0}, {}, r"tensor_parallel_size` must be a whole number of at least 1; got 0"),
        (1, {"pipeline_parallel_size": "2"}, {}, r"pipeline_parallel_size` must be a whole number .* got '2'"),
        (8, SPLIT, {}, r"2 engines on one card, so each needs `engine.options.kv_cache_gib`.* got null"),
        (8, {"gpu_memory_utilization": 0.9}, {"kv_cache_gib": 3.0}, r"0\.9: together 180% .* Set it to at most 0\.5"),
        (8, {}, {"kv_cache_gib": 3.0}, r"0\.92: together 184%"),
        (8, SPLIT, {"kv_cache_gib": 41.0}, r"each with a cache of 41 GiB .*; the card has 80 GiB"),
        (8, SPLIT | {"kv_cache_memory_bytes": 41 * 2**30}, {}, r"each with a cache of 41 GiB"),
    ],
)  # fmt: skip
def test_engines_that_cannot_run_side_by_side_are_refused(n, llm, changes, message):
    with pytest.raises(ConfigError, match=message):
        on_cards(options(llm, **changes), n, CARDS)


def test_data_parallelism_inside_an_engine_is_refused_with_what_to_set_instead():
    with pytest.raises(ConfigError, match=r"data_parallel_size` must be 1 .*; got 2\. Set `engine.processes`"):
        engines.places("vllm", {"device": "cuda", "max_num_seqs": 1, "llm": {"data_parallel_size": 2}}, 1)


def test_engines_without_cards_run_side_by_side_as_they_are():
    assert engines.places("vllm", {"device": "cpu", "max_num_seqs": 1}, 3) == [Place()] * 3
    assert engines.places("scripted", {}, 2) == [Place()] * 2


def test_visible_cards_have_the_names_that_the_user_gave_them(monkeypatch):
    uuids = ["GPU-a1", "GPU-b2", "GPU-b3"]
    nvml = ModuleType("pynvml")
    nvml.NVMLError = type("NVMLError", (Exception,), {})
    nvml.nvmlInit, nvml.nvmlSystemGetDriverVersion, nvml.nvmlDeviceGetCount = lambda: None, lambda: b"1", lambda: 3
    nvml.nvmlDeviceGetHandleByIndex = nvml.nvmlDeviceGetName = lambda at: at
    nvml.nvmlDeviceGetUUID = uuids.__getitem__
    nvml.nvmlDeviceGetMemoryInfo = lambda at: SimpleNamespace(total=(at + 1) * 2**30)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    for given, expected in ((None, [("0", 1.0), ("1", 2.0), ("2", 3.0)]), ("2, GPU-a", [("2", 3.0), ("GPU-a", 1.0)])):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if given is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
        assert gpus.named() == expected


def test_a_process_sees_the_cards_of_its_place_before_its_engine_is_built(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    cfg = settings.Root(engine=settings.Engine(kind="scripted", dtype="float32", context=64, concurrency=1))
    cfg.paths = dataclasses.replace(cfg.paths, results=str(tmp_path))
    place = Place(environment={"CUDA_VISIBLE_DEVICES": "2,3"})
    assert serve._play_share(cfg, [], 0, place).n_episodes == 0
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "2,3"


def test_parallel_sizes_reach_vllm(monkeypatch):
    seen = {}

    def start(**arguments):
        seen.update(arguments)
        raise RuntimeError("this is no vLLM")

    fake = ModuleType("vllm")
    fake.LLM = start
    monkeypatch.setitem(sys.modules, "vllm", fake)
    engine = VllmEngine(
        "bfloat16", 64, options({"tensor_parallel_size": 2, "pipeline_parallel_size": 3}, kv_cache_gib=1.0)
    )
    for name in engine._environment:  # restored after the test
        monkeypatch.setenv(name, "")
    with pytest.raises(EngineError, match="this is no vLLM"):
        engine.load(ModelRef(name="b", path=str(BASE), revision="r"))
    assert (seen["tensor_parallel_size"], seen["pipeline_parallel_size"]) == (2, 3)
    assert seen["kv_cache_memory_bytes"] == 2**30
