"""Stored outputs of Claw-Eval and QwenClawBench that another judge grades, with the tools' graders and without a model.

The tools are stand-ins with the faults of the real ones. Where REPLICATION_CLAW_EVAL names a clone at commit 9365e1a with
its packages in `.venv`, a batch is played by the real one, and judged again.
"""

import json
import os
import sys
from pathlib import Path

import pytest
from chat_endpoint import ChatEndpoint, one_round_of_calls
from harness_runs import harness_run, put, statuses

from replication.collect.benchmarks import official
from replication.collect.benchmarks.official import sandbox
from replication.errors import HarnessError

HERE = Path(__file__).parent
REAL = os.environ.get("REPLICATION_CLAW_EVAL")
CONFIG = (
    "model: {model_id: m, api_key: secret, extra_body: {temperature: 1.0}}\njudge: {model_id: first, api_key: secret}\n"
)


def loaded(name, checkout, outputs, server, **more):
    judging = {"url": server.endpoint().url, "served": server.model, "attempts": 2, "sandbox": "none"}
    judging |= {"outputs": str(outputs)} | more.pop("judging", {})
    launch = {"venv": more.pop("venv", sys.prefix), "checkout": str(checkout), "workers": 2, "container": "none"}
    launch["container"] = "docker" if name == "qwenclawbench" else "none"
    return official.load(name, {"judge": "second", "judging": judging, "launch": launch} | more)


def play(harness, run):
    harness.prepare(run)
    harness.launch(run)
    assert harness.validate(run) == []
    return {(row.task_id, row.trial): row for row in harness.ingest(run)}


def judge(score):
    return lambda body: json.dumps({"score": score, "reasoning": "r"})


def traces(folder, *names, config=CONFIG):
    """Write a batch of claw-eval with one trial of each name, whose old scores are 0, and one that failed."""
    old = {"completion": 0.0, "robustness": 0.0, "safety": 0.0, "task_score": 0.0, "passed": False}
    counts = {"model_input_tokens": 100, "model_output_tokens": 20, "wall_time_s": 2.0}
    trials = [{"trace": f"/elsewhere/{name}.jsonl", **old, **counts} for name in names]
    put(
        folder / "m_1" / "batch_results.json",
        [{"task_id": "T1_mail", "error": None, "trials": [*trials, {"error": "fixture not found"}], "avg_score": 0.0}],
    )
    for name in names:
        put(folder / "m_1" / f"{name}.jsonl", f"{name} said")
    if config:
        put(folder / "config.yaml", config)
    return folder  # fmt: skip


def test_claw_evals_traces_get_the_scores_of_another_judge_and_keep_counts_and_failures(tmp_path):
    outputs = traces(tmp_path / "old", "t0", "t1")
    run = harness_run(tmp_path / "new", n_tasks=1, n_trials=3)
    with ChatEndpoint(lambda body: judge(1.0 if "t0" in str(body) else 0.5)(body), model="j") as server:
        harness = loaded("claw_eval", HERE / "fake_claw_eval", outputs, server)
        rows = play(harness, run)
        assert statuses(rows) == {
            ("T1_mail", 0): (pytest.approx(1.0), "ok"), ("T1_mail", 1): (pytest.approx(0.6), "ok"),
            ("T1_mail", 2): (None, "infra_error"),
        }  # fmt: skip
        assert (rows["T1_mail", 0].n_completion_tokens, rows["T1_mail", 0].wall_s) == (20, 2.0)
        n_asked = len(server.bodies)
        play(harness, run)
        assert len(server.bodies) == n_asked == 2, "what is graded is not judged again"
    assert "secret" not in "".join(path.read_text() for path in run.folder.rglob("*") if path.is_file())
    assert harness.variant and "second" in harness.version and harness.facts(run)["judges"] == {"second": "j"}


@pytest.mark.parametrize("answer", [lambda body: "no idea", lambda body: (500, "x")], ids=["prose", "error"])
def test_claw_evals_judge_that_fails_is_no_score_although_the_grader_swallows_exceptions(tmp_path, answer):
    run = harness_run(tmp_path / "new", n_tasks=1, n_trials=2)
    with ChatEndpoint(answer, model="j") as server:
        harness = loaded("claw_eval", HERE / "fake_claw_eval", traces(tmp_path / "old", "t0"), server)
        assert statuses(play(harness, run))["T1_mail", 0] == (None, "judge_failed")
        assert len(server.bodies) == 2
        server.answer = judge(0.5)
        assert statuses(play(harness, run))["T1_mail", 0] == (pytest.approx(0.6), "ok")


def test_claw_evals_snapshot_of_a_sandbox_is_graded_and_one_that_was_cut_off_is_not(tmp_path):
    outputs = traces(tmp_path / "old", "t0", "t1")
    for name, text, stdout in (("t0", "leak", "short"), ("t1", "fine", "x" * 2000)):
        index = {"files": [{"container_path": "/w/a.txt", "saved_as": "a.txt"}],
                 "commands": [{"cmd": "ls", "exit_code": 0, "stdout": stdout, "stderr": "", "error": None}]}  # fmt: skip
        put(outputs / "m_1" / f"{name}_snapshot" / "snapshot_index.json", index)
        put(outputs / "m_1" / f"{name}_snapshot" / "a.txt", text)
    with ChatEndpoint(judge(1.0), model="j") as server:
        rows = play(
            loaded("claw_eval", HERE / "fake_claw_eval", outputs, server),
            harness_run(tmp_path / "new", n_tasks=1, n_trials=3),
        )
    assert statuses(rows)["T1_mail", 0] == (0.0, "ok") and statuses(rows)["T1_mail", 1] == (None, "infra_error")
    assert "was cut off when it was stored" in rows["T1_mail", 1].error


def runs(folder, *tasks):
    """Write runs of QwenClawBench whose old grade is of a judge that failed."""
    for task in tasks:
        place = folder / "m" / f"{task}_run_1"
        put(place / "transcript.json", [{"type": "message"}] * 3)
        put(place / "workspace" / "answer.json", {"automated": 1.0})
        items = [{"id": "GRADING_SCRIPT_ERROR", "severity": "error", "description": "d"}]
        put(
            place / "grading.json",
            {
                "task_id": task,
                "score": 0.0,
                "score_simple": 0.0,
                "max_score": 1.0,
                "grading_type": "hybrid",
                "breakdown": {},
                "anomalies": {"items": items, "has_error": True},
                "execution": {"transcript_length": 3, "execution_time": 4.0},
            },
        )
    return folder  # fmt: skip


def test_qwenclawbenchs_runs_get_the_scores_of_another_judge_and_keep_how_they_were_played(tmp_path):
    outputs = runs(tmp_path / "old", "task_1", "task_2")
    put(outputs / "m" / "task_2_run_1" / "workspace" / "answer.json", {"automated": 0.5})
    with ChatEndpoint(lambda body: json.dumps({"scores": {"a": 0.5}}), model="j") as server:
        harness = loaded("qwenclawbench", HERE / "fake_qwenclawbench", outputs, server)
        run = harness_run(tmp_path / "new", n_tasks=2)
        rows = play(harness, run)
        assert statuses(rows) == {("task_1", 0): (0.75, "ok"), ("task_2", 0): (0.25, "ok")}
        assert rows["task_1", 0].wall_s == 4.0 and rows["task_1", 0].details["score_simple"] == 0.75
        assert {body["model"] for body in server.bodies} == {"j"} and server.bodies[0]["temperature"] == 0.0
        play(harness, run)
        assert len(server.bodies) == 2
    old = json.loads((outputs / "m" / "task_1_run_1" / "grading.json").read_text())
    assert old["score"] == 0.0, "the stored outputs are not changed"


def test_qwenclawbenchs_judge_or_script_that_fails_is_no_score_and_no_agent_judges_instead(tmp_path):
    outputs = runs(tmp_path / "old", "task_1", "task_2")
    (outputs / "m" / "task_2_run_1" / "workspace" / "answer.json").write_text("no JSON")
    with ChatEndpoint(lambda body: (503, "busy"), model="j") as server:
        harness = loaded("qwenclawbench", HERE / "fake_qwenclawbench", outputs, server)
        run = harness_run(tmp_path / "new", n_tasks=2)
        rows = play(harness, run)
        assert set(statuses(rows).values()) == {(None, "judge_failed")}
        assert "no answer of the endpoint" in rows["task_1", 0].error and "JSONDecodeError" in rows["task_2", 0].error
        server.answer = lambda body: "some prose"
        assert "its answer has no scores" in play(harness, run)["task_1", 0].error
        server.answer = lambda body: json.dumps({"scores": {"a": 1.0}})
        assert statuses(play(harness, run))["task_1", 0] == (1.0, "ok")


def test_what_is_missing_is_named_before_anything_is_judged(tmp_path):
    outputs = traces(tmp_path / "old", "t0", config=None)
    with ChatEndpoint(judge(1.0), model="j") as server:
        fake, run = HERE / "fake_claw_eval", harness_run(tmp_path / "new", n_tasks=1, n_trials=2)
        for options, message in (
            ({"judging": {"outputs": "/none"}}, "which does not exist. Name the folder of the run"),
            ({"judging": {"url": None}}, "`options.judging.url` is null"),
            ({"judging": {"outputs": str(run.folder)}}, "which does not exist"),
            ({}, "no `config.yaml` in"),
        ):
            with pytest.raises(HarnessError, match=message):
                play(loaded("claw_eval", fake, outputs, server, **options), run)
        with pytest.raises(HarnessError, match="it is no clone of Claw-Eval"):
            loaded("claw_eval", tmp_path, outputs, server).prepare(run)
        assert server.bodies == []


@pytest.mark.skipif(not REAL, reason="REPLICATION_CLAW_EVAL names no clone of Claw-Eval")
def test_real_batch_is_played_and_the_same_judge_gives_the_same_scores_again(tmp_path):
    venv = str(Path(REAL) / ".venv")
    with ChatEndpoint(one_round_of_calls) as model, ChatEndpoint(judge(0.6), model="j") as server:
        launch = {"venv": venv, "checkout": REAL, "endpoint": model.endpoint().url, "container": "none", "workers": 2}
        judging = {"url": server.endpoint().url, "served": "j"}
        options = {"judge": "first", "judging": judging, "launch": launch, "filter": "T012"}
        first = play(official.load("claw_eval", options), harness_run(tmp_path / "run", n_tasks=1, n_trials=2))
        assert [row.value for row in first.values()] == [pytest.approx(0.504)] * 2
        assert len({body["seed"] for body in model.bodies}) == len(model.bodies)
        assert {body["temperature"] for body in model.bodies} == {1.0}
        kinds = [kind for kind in ("bwrap", "unshare") if sandbox._works(kind)]
        for kind in ["none", *kinds[:1]]:
            judging = {"sandbox": kind}
            again = loaded("claw_eval", REAL, tmp_path / "run", server, venv=venv, judging=judging, judge="first")
            rows = play(again, harness_run(tmp_path / kind, n_tasks=1, n_trials=2))
            assert {key: row.value for key, row in rows.items()} == {key: row.value for key, row in first.items()}


def test_another_judge_is_another_run_and_the_default_one_keeps_its_id(tmp_path):
    from replication.collect.ingest import identity_of

    for name, default in (("widesearch", "gpt-4.1-2025-04-14"), ("claw_eval", "gemini-3-flash-preview")):
        versions = [
            identity_of(official.load(name, options), "v", tmp_path).benchmark_version
            for options in ({}, {"judge": default}, {"judge": "other"})
        ]
        assert versions[:2] == ["v", "v"] and versions[2].startswith("v+")


def test_scores_of_two_judges_are_two_runs_in_the_store_and_none_is_overwritten(tmp_path):
    from hydra import compose, initialize_config_dir

    from replication import settings
    from replication.commands import ingest
    from replication.store import Store

    old = traces(tmp_path / "old", "t0", config=CONFIG.replace("model_id: first", "model_id: gemini-3-flash-preview"))
    with ChatEndpoint(judge(1.0), model="j") as server:
        place = f"url: '{server.endpoint().url}', served: j, outputs: {old}, sandbox: none"
        launch = f"venv: {sys.prefix}, checkout: {HERE / 'fake_claw_eval'}, container: none"
        settings.register()
        overrides = [
            "study=reanalysis", "study.name=x", "study.kind=released", f"paths.results={tmp_path}/results",
            "+model@models.general=qwen3_0_6b", f"models.general.revision={'c0ffee0000' * 4}", "sampling.temperature=1.0",
            "engine=endpoint", "engine.options.urls=['http://127.0.0.1:9/v1']",
            *(f"+ingest@ingest.{name}=claw_eval" for name in ("first", "second")),
            *(f"ingest.{name}.{key}" for name, folder in (("first", old), ("second", tmp_path / "new"))
              for key in ("model=general", "n_tasks=1", "n_trials=2", f"folder={folder}", "max_unscored=0.5")),
            f"+ingest.second.options={{judge: second, judging: {{{place}}}, launch: {{{launch}}}}}",
        ]  # fmt: skip
        with initialize_config_dir(str(settings.CONF), version_base="1.3"):
            cfg = settings.checked(compose("config", overrides=overrides))
        ingest.main(cfg)
        ingest.main(cfg)
    store = Store(tmp_path / "results" / "store")
    table = store.score_table().dropna(subset=["value"])
    values = {
        (grader.split(",judge ")[1].split(",")[0], value)
        for grader, value in zip(table["grader"], table["value"], strict=True)
    }
    assert values == {("gemini-3-flash-preview", 0.0), ("second", 1.0)} and table["run_id"].nunique() == 2
    versions = {store.manifest(run_id).spec.benchmark_version for run_id in store.runs()}
    assert "9365e1a" in versions and len(versions) == 2
