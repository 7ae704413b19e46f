"""The whole path on a scripted engine: jobs from conf/, episodes, store, index, analysis, paper."""

import itertools
import shutil
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from parts import expert_script, noisy_script, prompt_of, training_record

from replication import settings
from replication.collect import build, gather, runner, serve
from replication.collect.engines.scripted import ScriptedEngine
from replication.collect.training.runs import RECORD, WEIGHTS, weights_sha256
from replication.commands import paper, run
from replication.errors import EngineError
from replication.files import write_json
from replication.records import to_json

ROOT = settings.CONF.parent


@pytest.fixture
def cfg(tmp_path):
    settings.register()
    with initialize_config_dir(str(settings.CONF), version_base="1.3"):
        tasks = ["benchmarks.terminal.n_tasks=30", "benchmarks.calling.n_tasks=30", "study.n_trials=2"]
        cfg = settings.checked(
            compose("config", overrides=["study=controlled_tiny", f"paths.results={tmp_path}/results", *tasks])
        )
    # Every kind of thing once is enough: two benchmarks, two scales, an arm at one of them, one that is not trained.
    cfg.benchmarks = {name: cfg.benchmarks[name] for name in ("calling", "terminal")}
    cfg.arms = {name: cfg.arms[name] for name in ("agent_sft", "base", "lwm_then_sft", "sft_then_lwm_rl")}
    return cfg


def pretend_trained(cfg) -> None:
    """Write the records of training runs, as far as collecting and analysing read them."""
    for at, training_run in enumerate(build.training_runs(cfg)):
        folder = build.training_folder(cfg, training_run)
        folder.mkdir(parents=True)
        (folder / WEIGHTS).write_bytes(bytes([at]))
        record = training_record(
            arm=training_run.arm, scale=training_run.scale, training_seed=training_run.training_seed,
            training_run=training_run.name, params_b=0.0009, weights_sha256=weights_sha256(folder),
        )  # fmt: skip
        write_json(folder / RECORD, to_json(record))
        rows = "\n".join(f"{i},episodes,{100 * i},{3 / (i + 1)},0.01,{i}" for i in range(10))
        (folder / "curve.csv").write_text(f"step,phase,n_tokens,loss,lr,wall_s\n{rows}\n")


def play(cfg):
    """Collect with scripts: the treatment plays the expert, the control errs in a third of its turns."""
    store, work = serve.store_of(cfg), serve.assignments(cfg)
    for model, jobs in work:
        make = expert_script if model.labels.arm == "lwm_then_sft" else noisy_script
        scripts = {task.prompt: make(job) for job in jobs for task in job.tasks if job.spec.scaffold != "probe"}
        # Predictions of the probe are always `ok`, which is right for some.
        engine = ScriptedEngine(
            lambda request, scripts=scripts: scripts.get(prompt_of(request), lambda _: "ok")(request)
        )
        runner.collect(store, engine, jobs, concurrency=8, title="test")
    gather.gather(cfg, work, None)


def build_paper(cfg, out: Path):
    out.mkdir(exist_ok=True)
    for name in ("paper.typ", "refs.bib"):
        shutil.copy(ROOT / "paper" / name, out / name)
    return paper.build(
        cfg.study.name, cfg.study.kind, results=Path(cfg.paths.results), paper=out, claims=settings.CONF / "claim",
        analysis=cfg.analysis,
    )  # fmt: skip


def test_better_arm_shows_in_the_verdicts_and_everything_is_written(cfg, tmp_path):
    pretend_trained(cfg)
    play(cfg)
    built = build_paper(cfg, tmp_path / "paper")
    ours = {(v.claim_id, v.target): v for v in built.verdicts if v.study == "controlled_tiny"}
    # At T2 a claim about a method has an estimate and no outcome.
    assert ours["A2", "T2"].outcome == "estimate" and ours["A2", "T2"].replication.value > 0.2
    assert ours["A2", "T2"].replication.low > 0
    assert ours["B", "T3"].outcome == "not_testable" and "general" in ours["B", "T3"].reason
    for name in ("paper.pdf", "data/verdicts.json", "data/controlled_tiny/scores.csv", "figures/curves.svg"):
        assert (tmp_path / "paper" / name).stat().st_size > 500


def test_paper_is_built_from_frozen_data_alone_and_byte_for_byte(cfg, tmp_path):
    pretend_trained(cfg)
    play(cfg)
    build_paper(cfg, tmp_path / "paper")
    before = {p: p.read_bytes() for p in (tmp_path / "paper").rglob("*") if p.is_file()}
    shutil.rmtree(cfg.paths.results)
    build_paper(cfg, tmp_path / "paper")
    assert {p: p.read_bytes() for p in (tmp_path / "paper").rglob("*") if p.is_file()} == before


def test_run_with_failed_episodes_ends_with_an_error_that_counts_them(cfg, monkeypatch, capsys):
    """Also where only some checkpoints are served, so that no index is written."""
    pretend_trained(cfg)
    model, jobs = serve.assignments(cfg)[0]
    cfg.serve.only, cfg.engine.processes, n = [model.ref.name], 1, sum(len(job.tasks) * job.n_trials for job in jobs)
    bad = {task.prompt for task in jobs[0].tasks[:4]}

    def failing(request):
        if prompt_of(request) in bad:
            raise EngineError("out of memory.")
        return "answer no"

    monkeypatch.setattr(build, "engine", lambda cfg: ScriptedEngine(failing))
    message = rf"8 of {n} episodes failed and have no score \(8 engine_error\), the last with: out of memory\. Finished"
    with pytest.raises(EngineError, match=message):
        run.main(cfg)
    assert f"run: {n} episodes in" in capsys.readouterr().out
    bad.clear()
    run.main(cfg)
    assert "run: 8 episodes in" in capsys.readouterr().out


def test_run_of_few_episodes_that_all_fail_ends_with_an_error(cfg, monkeypatch):
    cfg.benchmarks = {"terminal": cfg.benchmarks["terminal"]}
    cfg.benchmarks["terminal"].n_tasks, cfg.study.n_trials, cfg.probe.n_tasks = 4, 2, 0
    pretend_trained(cfg)

    n_asked = itertools.count()

    def refuse(request):
        if next(n_asked) == 0:  # before the run
            return "ls"
        raise EngineError("the engine is gone")

    cfg.serve.only, cfg.engine.processes = [serve.assignments(cfg)[0].model.ref.name], 1
    monkeypatch.setattr(build, "engine", lambda cfg: ScriptedEngine(refuse))
    with pytest.raises(EngineError, match="8 of 8 episodes failed and have no score"):
        run.main(cfg)


def test_complete_study_starts_no_engine(cfg, monkeypatch, capsys):
    pretend_trained(cfg)
    play(cfg)

    def refuse(cfg):
        raise AssertionError("an engine was built")

    monkeypatch.setattr(build, "engine", refuse)
    run.main(cfg)
    assert "runs are complete" in capsys.readouterr().out
