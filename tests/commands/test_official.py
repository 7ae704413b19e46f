"""The stage of official harnesses: every checkpoint is played, stored and indexed; failures resume and are no scores."""

import sys

import pytest
from hydra import compose, initialize_config_dir

from replication import settings
from replication.collect import build
from replication.collect.launch import manifest as manifests
from replication.collect.launch import mirror, status
from replication.commands import gather, official, run
from replication.errors import ConfigError, HarnessError, StoreError
from replication.store import Store
from replication.store.index import read_index
from tests.collect.benchmarks.official.chat_endpoint import ChatEndpoint
from tests.collect.benchmarks.official.harness_runs import put
from tests.collect.benchmarks.official.test_bfcl import asked, right, stand_in  # noqa: F401, fixture

REVISION = "c0ffee0000" * 4


def composed(tmp_path, server, *more) -> settings.Root:
    settings.register()
    overrides = [
        "study=reanalysis", "study.name=x", "study.kind=released", f"paths.results={tmp_path}/results",
        "engine=endpoint", f"engine.options.urls=[{server.endpoint().url}]", "+engine.options.model=org/m",
        "+model@models.general=qwen3_0_6b", f"models.general.revision={REVISION}",
        "+model@models.agent=qwen3_0_6b", f"models.agent.revision={REVISION}", "models.agent.role=agent_specific",
        "+ingest@ingest.bfcl=bfcl", "ingest.bfcl.n_tasks=9", "ingest.bfcl.options.sandbox=none",
        "ingest.bfcl.options.categories=[simple_python,irrelevance]", "sampling.temperature=0.6", "sampling.max_tokens=64",
        *more,
    ]  # fmt: skip
    with initialize_config_dir(str(settings.CONF), version_base="1.3"):
        return settings.checked(compose("config", overrides=overrides))


def scores(tmp_path) -> dict:
    table = Store(tmp_path / "results" / "store").score_table()
    assert not table.duplicated(["run_id", "task_id", "trial"]).any()
    return table.groupby("arm")["value"].agg(["sum", "count", "size"]).T.to_dict("list")


def test_every_checkpoint_is_played_and_the_index_has_all_runs(tmp_path, capsys):
    with ChatEndpoint(right) as server:
        cfg = composed(tmp_path, server)
        run.main(cfg)
        assert "the index is written by `python -m replication official`" in capsys.readouterr().out
        official.main(cfg)
        assert scores(tmp_path) == {"general": [9.0, 9, 9], "agent_specific": [9.0, 9, 9]}
        n_asked = len(server.bodies)
        official.main(cfg)
        assert len(server.bodies) == n_asked == 18
    index = read_index(tmp_path / "results", "x")
    assert len(index.run_ids) == 2 and not [
        text for text in index.deviations if "wire" in text or "temperature" in text
    ]
    # Of the benchmark, which this study names by its entry of `ingest` only.
    assert "bfcl_v4: every request has a seed and the sampling of the study" in index.deviations
    (manifest, _) = [Store(tmp_path / "results" / "store").manifest(run_id) for run_id in index.run_ids]
    engine = manifest.sessions[-1].engine
    assert engine["measured"]["wire"]["sent"]["temperature"] == {
        "0.6": 9
    } and manifest.spec.benchmark_version.startswith("2026")
    run.main(cfg)  # all is stored, so `run` writes the index again
    assert "gather:" in capsys.readouterr().out


def test_an_endpoint_that_dies_between_checkpoints_leaves_no_score_and_the_same_command_resumes(tmp_path):
    with ChatEndpoint(right) as server:
        cfg = composed(tmp_path, server)
        server.dies_after = 13  # the first checkpoint has 9 items
        with pytest.raises(HarnessError, match="run the same command again, which resumes"):
            official.main(cfg)
        assert scores(tmp_path) == {"agent_specific": [9.0, 9, 9]}
        assert not (tmp_path / "results" / "studies" / "x.json").exists()
        server.dies_after = None
        official.main(cfg)
        assert len(server.bodies) == 18
    assert scores(tmp_path) == {"general": [9.0, 9, 9], "agent_specific": [9.0, 9, 9]}


def test_items_that_stay_without_a_score_are_asked_again_by_the_next_call(tmp_path):
    lost = ["simple_python_5 turn 0"]
    with ChatEndpoint(lambda body: (500, "broken") if asked(body) in lost else right(body)) as server:
        cfg = composed(tmp_path, server, "ingest.bfcl.max_unscored=0.2", "ingest.bfcl.options.resumes=0")
        official.main(cfg)
        assert scores(tmp_path)["general"] == [8.0, 8, 9]
        lost.clear()
        official.main(cfg)
    assert scores(tmp_path)["general"] == [9.0, 9, 9]


def test_too_many_items_without_a_score_store_nothing(tmp_path):
    with ChatEndpoint(lambda body: (500, "broken") if "simple" in asked(body) else right(body)) as server:
        cfg = composed(tmp_path, server, "ingest.bfcl.options.resumes=0")
        with pytest.raises(HarnessError, match=r"6 of 9 attempts have no score, more than `max_unscored` 0.1"):
            official.main(cfg)
    assert not Store(tmp_path / "results" / "store").runs()


def test_sampling_that_the_study_does_not_state_is_refused_or_a_deviation(tmp_path, monkeypatch):
    from replication.collect.benchmarks.official import bfcl

    # A harness with a temperature of its own.
    monkeypatch.setattr(bfcl, "_driver", lambda python: ["env", "FAKE_TEMPERATURE=0.9", *_command(python)])
    with ChatEndpoint(right) as server:
        text = "temperature: the harness sent 0.9, the run states 0.6"
        with pytest.raises(HarnessError, match=text):
            official.main(composed(tmp_path, server))
        assert not server.bodies
        cfg = composed(tmp_path, server, "ingest.bfcl.options.mismatch=record")
        official.main(cfg)
        assert {body["temperature"] for body in server.bodies} == {0.9}
    index = read_index(tmp_path / "results", "x")
    assert f"bfcl: {text}" in index.deviations


def _command(python):
    from replication.collect.benchmarks.official import bfcl_driver

    return [str(python), "-P", bfcl_driver.__file__]


def test_an_engine_without_a_server_is_refused_and_a_study_without_harnesses_has_nothing_to_do(tmp_path, capsys):
    with ChatEndpoint(right) as server:
        cfg = composed(tmp_path, server)
        cfg.engine.kind, cfg.engine.options = "scripted", {}
        with pytest.raises(ConfigError, match=r"`engine.kind` is 'scripted'"):
            official.main(cfg)
        cfg.ingest = {}
        official.main(cfg)
    assert "no official harness" in capsys.readouterr().out


HARBOR = f"""#!{sys.executable}
import json, os, sys, urllib.request
from pathlib import Path
job = json.loads(Path(sys.argv[3]).read_text())
model = job["agents"][0]["model_name"].partition("/")[2]
place = Path(job["jobs_dir"]) / job["job_name"]
for task in ("a", "b"):
    sampling = job["agents"][0]["kwargs"]
    body = {{"model": model, "messages": [{{"role": "user", "content": task}}], "temperature": sampling["temperature"],
            **sampling["llm_call_kwargs"]}}
    request = urllib.request.Request(os.environ["HOSTED_VLLM_API_BASE"] + "/chat/completions", json.dumps(body).encode())
    if (place / task).exists():
        continue
    failure = None
    try:
        urllib.request.build_opener(urllib.request.ProxyHandler({{}})).open(request)
    except OSError:
        failure = {{"exception_type": "InternalServerError", "exception_message": "502"}}
    (place / task).mkdir(parents=True)
    trial = {{"task_name": task, "trial_name": task, "exception_info": failure,
             "verifier_result": None if failure else {{"rewards": {{"reward": float(task == "a")}}}},
             "agent_result": {{"n_output_tokens": 1}}, "config": {{"agent": {{"name": "terminus-2", "kwargs": sampling}}}}}}
    (place / task / "result.json").write_text(json.dumps(trial))
"""


def with_harbor(tmp_path, server, *more) -> settings.Root:
    """A study of two checkpoints that Terminal-Bench plays by a stand-in of harbor."""
    put(tmp_path / "venv" / "bin" / "harbor", HARBOR).chmod(0o755)
    launch = f"{{environment: 'm:C', launch: {{venv: {tmp_path / 'venv'}}}}}"
    entry = ["+ingest@ingest.tb=terminal_bench", "ingest.tb.n_tasks=2", "ingest.tb.n_trials=1"]
    cfg = composed(tmp_path, server, *entry, f"+ingest.tb.options={launch}", *more)
    cfg.ingest = {"tb": cfg.ingest["tb"]}
    return cfg


def test_a_tool_with_a_reader_and_commands_only_is_played_by_every_checkpoint_and_once(tmp_path):
    with ChatEndpoint(lambda body: "x") as server:
        cfg = with_harbor(tmp_path, server)
        official.main(cfg)
        assert scores(tmp_path) == {"general": [1.0, 2, 2], "agent_specific": [1.0, 2, 2]}
        assert {body["model"] for body in server.bodies} == {"org/m"} and len(server.bodies) == 4
        server.dies_after = 0  # nothing is missing, so it is not even asked whether it is there
        official.main(cfg)
    folders = {
        path.parent for path in (tmp_path / "results" / "harness" / "x" / "terminal_bench").rglob("launched.json")
    }
    assert len(folders) == 2 and len({folder.parent for folder in folders}) == 2


def test_a_tool_whose_server_dies_leaves_no_score_and_the_same_command_goes_on(tmp_path):
    with ChatEndpoint(lambda body: "x") as server:
        cfg = with_harbor(tmp_path, server)
        server.dies_after = 3
        with pytest.raises(HarnessError, match="does not answer after the harness ran"):
            official.main(cfg)
        assert scores(tmp_path) == {"agent_specific": [1.0, 2, 2]}
        server.dies_after = None
        official.main(cfg)
        # harbor keeps a trial that failed, so it is removed before; the other one is not played again.
        assert [body["messages"][0]["content"] for body in server.bodies] == ["a", "b", "a", "b"]
    assert scores(tmp_path) == {"general": [1.0, 2, 2], "agent_specific": [1.0, 2, 2]}


def test_a_job_of_a_sweep_is_done_when_its_harnesses_are_and_gather_names_those_that_are_not(tmp_path, capsys):
    with ChatEndpoint(lambda body: "x") as server:
        cfg = with_harbor(tmp_path, server)
        manifest = manifests.plan(cfg, ["study=x"])

        def table():
            found = status.rows(cfg, manifest, {})
            return {row.line.checkpoint: (row.state, row.progress.n_official_done) for row in found}, status.report(
                manifest, found
            )

        assert table()[0] == {"agent": ("not started", 0), "general": ("not started", 0)}
        cfg.serve.only = ["agent"]
        official.main(cfg)
        assert len(server.bodies) == 2
        states, text = table()
        assert states == {"agent": ("done", 2), "general": ("not started", 0)}
        assert "official items" in text and "2/2" in text and "of which 2 of 4 are stored" in text
        cfg.serve.only = []
        with pytest.raises(
            StoreError, match=r"1 of 2 runs .*`general.*` of an official harness is not there.* official"
        ):
            gather.main(cfg)
        assert set(mirror.scores(cfg, "agent")) >= {"terminal_bench/terminus-2/score"}
        cfg.serve.only = ["general"]
        official.main(cfg)
        cfg.serve.only = []
        gather.main(cfg)
    assert len(read_index(tmp_path / "results", "x").run_ids) == 2


def test_an_entry_of_one_model_is_no_work_of_the_others(tmp_path):
    with ChatEndpoint(lambda body: "x") as server:
        cfg = with_harbor(tmp_path, server, "ingest.tb.model=general")
        assert [build.n_harness_items(cfg, name) for name in ("agent", "general")] == [0, 2]
        assert build.harness_jobs(cfg, ["agent"]) == [] and len(build.harness_jobs(cfg, ["general"])) == 1
