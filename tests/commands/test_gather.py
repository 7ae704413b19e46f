"""Several processes collect a study, one command writes its index; what is missing is listed."""

import dataclasses
import json
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from parts import expert_script, prompt_of
from test_end_to_end import pretend_trained

from replication import files, settings
from replication.collect import build, serve
from replication.collect.engines.scripted import ScriptedEngine
from replication.collect.training.runs import RECORD, WEIGHTS, weights_sha256
from replication.commands import gather, run
from replication.errors import ConfigError, StoreError, TrainingError
from replication.records import to_json
from replication.store.index import read_index

NAMES = ["organism/agent_sft/xs/s0", "organism/lwm_then_sft/xs/s0"]


@pytest.fixture
def cfg(tmp_path, monkeypatch):
    settings.register()
    with initialize_config_dir(str(settings.CONF), version_base="1.3"):
        small = [f"paths.results={tmp_path}/results", "study.n_trials=2", "study.training_seeds=[0]"]
        cfg = settings.checked(compose("config", overrides=["study=controlled_tiny", *small]))
    cfg.benchmarks = {"terminal": cfg.benchmarks["terminal"]}
    cfg.benchmarks["terminal"].n_tasks = 4
    cfg.arms = {name: cfg.arms[name] for name in ("agent_sft", "lwm_then_sft")}
    cfg.scales = {"xs": cfg.scales["xs"]}
    pretend_trained(cfg)
    jobs = [job for model in build.served_models(cfg) for job in build.jobs(cfg, model)]
    script = expert_script(jobs[0])
    prompts = {task.prompt for task in jobs[0].tasks}
    monkeypatch.setattr(
        build, "engine", lambda cfg: ScriptedEngine(lambda r: script(r) if prompt_of(r) in prompts else "ok")
    )
    return cfg


def index_file(cfg):
    return Path(cfg.paths.results) / "studies" / f"{cfg.study.name}.json"


def test_jobs_that_play_one_checkpoint_each_give_the_index_of_one_process(cfg):
    for name in NAMES:
        cfg.serve.only = [name]
        run.main(cfg)
        assert not index_file(cfg).exists()
        stored = {serve.store_of(cfg).manifest(run_id).labels.model for run_id in serve.store_of(cfg).runs()}
        assert stored == set(NAMES[: NAMES.index(name) + 1])
    cfg.serve.only = []
    gather.main(cfg)
    gathered = index_file(cfg).read_bytes()
    index_file(cfg).unlink()
    run.main(cfg)
    assert index_file(cfg).read_bytes() == gathered
    index = read_index(Path(cfg.paths.results), cfg.study.name)
    assert len(index.run_ids) == 2 and {one.record.arm for one in index.training} == set(cfg.arms)
    assert json.loads(gathered)["schema_version"] == 2


def test_a_job_needs_only_its_own_checkpoint_to_be_trained(cfg):
    other = next(run for run in build.training_runs(cfg) if run.arm == "lwm_then_sft")
    (build.training_folder(cfg, other) / "training.json").unlink()
    cfg.serve.only = NAMES[:1]
    run.main(cfg)
    with pytest.raises(ConfigError, match=r"incomplete: 1 of 2 training runs are not finished: `lwm_then_sft-xs-s0-"):
        gather.main(cfg)


def test_gather_lists_the_runs_that_are_not_complete(cfg):
    cfg.serve.only = NAMES[:1]
    run.main(cfg)
    with pytest.raises(StoreError, match=r"is incomplete: 2 of 4 runs .*lwm_then_sft-xs-s0.* lacks 8 of 8 episodes"):
        gather.main(cfg)
    assert not index_file(cfg).exists()


def test_an_unknown_checkpoint_and_a_monitored_share_are_refused(cfg):
    cfg.serve.only = ["qwen"]
    with pytest.raises(ConfigError, match=rf"`serve\.only` names `qwen`; study `controlled_tiny` has .*`{NAMES[0]}`"):
        run.main(cfg)
    cfg.serve.only, cfg.monitor.enabled = NAMES[:1], True
    with pytest.raises(ConfigError, match=r"Leave `serve\.only` empty, or set `monitor=off`"):
        run.main(cfg)


def test_a_public_checkpoint_is_labelled_with_pair_base_and_family_and_has_no_training_seed(cfg):
    cfg.models = {
        "qwen": settings.Model(
            path="org/q", revision="1" * 40, role="general", scale="8B", params_b=8.2, active_b=3.0, pair="p", base="q-base",
            family="Qwen3",
        )
    }  # fmt: skip
    (model,) = build.served_models(cfg, ["qwen"])
    labels = model.labels
    assert (labels.arm, labels.pair, labels.base, labels.family) == ("general", "p", "q-base", "Qwen3")
    assert labels.training_seed is None and labels.active_b == 3.0 and labels.unit.startswith("qwen@")


def test_a_label_that_changed_in_conf_is_refused_until_the_study_is_run_again(cfg):
    cfg.engine.processes = 1
    run.main(cfg)
    before = index_file(cfg).read_bytes()
    store = serve.store_of(cfg)
    manifest = store.manifest(store.runs()[0])
    files.write_json(
        store.root / manifest.run_id / "manifest.json",
        to_json(dataclasses.replace(manifest, labels=dataclasses.replace(manifest.labels, arm="placebo"))),
    )
    with pytest.raises(StoreError, match=rf"`{manifest.run_id}` is stored with other labels than conf/ states now"):
        gather.main(cfg)
    assert index_file(cfg).read_bytes() == before
    run.main(cfg)
    assert serve.store_of(cfg).manifest(manifest.run_id).labels == manifest.labels
    gather.main(cfg)


def test_fewer_tasks_in_conf_are_refused_until_the_study_is_run_again(cfg):
    cfg.engine.processes = 1
    run.main(cfg)
    cfg.benchmarks["terminal"].n_tasks = 2
    with pytest.raises(StoreError, match="is stored with other tasks than conf/ states now"):
        gather.main(cfg)
    run.main(cfg)
    index = read_index(Path(cfg.paths.results), cfg.study.name)
    assert serve.store_of(cfg).score_table(index.run_ids)["task_id"].nunique() == 2


def test_runs_of_another_engine_or_of_an_earlier_training_are_not_gathered(cfg):
    cfg.engine.processes = 1
    run.main(cfg)
    n_runs = len(serve.store_of(cfg).runs())
    engine, cfg.engine.dtype = cfg.engine.dtype, "bfloat16"
    with pytest.raises(StoreError, match=f"is incomplete: {n_runs} of {n_runs} runs"):
        gather.main(cfg)
    cfg.engine.dtype = engine
    (trained, _) = build.training_runs(cfg)
    folder = build.training_folder(cfg, trained)
    (folder / WEIGHTS).write_bytes(b"trained again")
    path = folder / RECORD
    path.write_text(json.dumps(json.loads(path.read_text()) | {"weights_sha256": weights_sha256(folder)}))
    with pytest.raises(StoreError, match=f"is incomplete: {n_runs // 2} of {n_runs} runs"):
        gather.main(cfg)


def test_the_folder_of_another_training_run_is_refused(cfg):
    one, other = (build.training_folder(cfg, trained) for trained in build.training_runs(cfg))
    for name in (RECORD, WEIGHTS):
        (other / name).write_bytes((one / name).read_bytes())
    with pytest.raises(TrainingError, match=r"is of \('agent_sft', 'xs', 0\), not of \('lwm_then_sft', 'xs', 0\)"):
        serve.assignments(cfg)
