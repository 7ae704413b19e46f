"""Results of an official harness in the store: checked as a whole, resumed by identity, never half-written."""

import csv
import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from replication import settings
from replication.collect import build
from replication.collect.ingest import ingest
from replication.commands import gather
from replication.commands import ingest as command
from replication.errors import ConfigError, HarnessError, StoreError
from replication.store import Store
from replication.store.index import read_index
from replication.store.locking import locked

OVERRIDES = [
    "study=reanalysis", "engine=vllm_gpu", "sampling.temperature=1.0", "sampling.max_tokens=512",
    "+model@models.m=qwen3_0_6b", f"models.m.revision={'c0ffee0000' * 4}",
]  # fmt: skip


def overrides(folder: Path, **changes) -> list[str]:
    entry = {
        "folder": folder, "model": "m", "benchmark": "swe", "benchmark_version": "5.0.2", "scaffold": "agent",
        "scaffold_version": "v2", "n_tasks": 3, "n_trials": 2, "max_unscored": 0.4,
    }  # fmt: skip
    return [
        *OVERRIDES,
        "+ingest@ingest.swe=csv",
        *(f"ingest.swe.{key}={value}" for key, value in (entry | changes).items()),
    ]


def composed(*overrides: str) -> settings.Root:
    settings.register()
    with initialize_config_dir(str(settings.CONF), version_base="1.3"):
        return settings.checked(compose("config", overrides=list(overrides)))


def jobs(folder: Path, **changes):
    return build.harness_jobs(composed(*overrides(folder, **changes)))


@pytest.fixture
def job(tmp_path):
    (job,) = jobs(tmp_path)
    return job


SCORES = {("a", 0): 1.0, ("a", 1): 0.5, ("b", 0): 0.0, ("b", 1): 1.0, ("c", 0): None, ("c", 1): 0.25}


def write(job, scores=SCORES, *extra):
    with (job.run.folder / "results.csv").open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["task_id", "trial", "score"])
        out.writerows([task, trial, "" if value is None else value] for (task, trial), value in scores.items())
        out.writerows(extra)


def values(store, job) -> dict:
    table = store.score_table([job.run.spec.run_id])
    return {
        (row.task_id, row.trial): None if row.value != row.value else row.value for row in table.itertuples(index=False)
    }


def test_results_are_in_the_score_table_like_those_of_any_other_run(job, tmp_path):
    write(job)
    store = Store(tmp_path / "store")
    assert ingest(store, job) == (6, 1)
    assert values(store, job) == SCORES
    table = store.score_table()
    assert (
        set(table["benchmark"]) == {"swe"} and set(table["scaffold"]) == {"agent"} and set(table["arm"]) == {"general"}
    )
    assert (
        set(table["model"]) == {"m"}
        and set(table["revision"]) == {"c0ffee0000" * 4}
        and set(table["scale"]) == {"0.6B"}
    )
    assert table["task_hash"].nunique() == 3 and set(table["grader"].dropna()) == {"csv-1"}
    failed = table[table["value"].isna()]
    assert failed["stop_reason"].tolist() == ["environment_error"]


def test_second_call_adds_nothing_and_an_attempt_that_failed_is_replaced(job, tmp_path):
    write(job)
    store = Store(tmp_path / "store")
    ingest(store, job)
    before = (store.root / job.run.spec.run_id / "episodes.jsonl").read_bytes()
    assert ingest(store, job) == (0, 1)
    assert (store.root / job.run.spec.run_id / "episodes.jsonl").read_bytes() == before
    write(job, SCORES | {("c", 0): 0.75})
    assert ingest(store, job) == (1, 0)
    assert values(store, job)["c", 0] == 0.75


def test_attempt_whose_judge_failed_gets_its_score_later_without_another_episode(job, tmp_path):
    store = Store(tmp_path / "store")
    header = "task_id,trial,score,stop_reason\n"
    lines = [f"{task},{trial},{'' if value is None else value},answer" for (task, trial), value in SCORES.items()]
    (tmp_path / "results.csv").write_text(header + "\n".join(lines) + "\n")
    ingest(store, job)
    assert values(store, job)["c", 0] is None
    before = (store.root / job.run.spec.run_id / "episodes.jsonl").read_bytes()
    write(job, SCORES | {("c", 0): 0.75})
    assert ingest(store, job) == (1, 0)
    assert values(store, job)["c", 0] == 0.75
    assert (store.root / job.run.spec.run_id / "episodes.jsonl").read_bytes() == before


def test_score_that_differs_from_the_stored_one_is_refused_and_the_store_is_unchanged(job, tmp_path):
    write(job)
    store = Store(tmp_path / "store")
    ingest(store, job)
    write(job, SCORES | {("a", 0): 0.0})
    with pytest.raises(StoreError, match=r"line 2: item `a`, trial 0, is 0.0, stored is 1.0"):
        ingest(store, job)
    assert values(store, job) == SCORES


def test_another_version_of_the_adapter_grades_again(job, tmp_path):
    write(job)
    store = Store(tmp_path / "store")
    ingest(store, job)

    class Newer(type(job.harness)):
        version = "2"

    write(job, SCORES | {("a", 0): 0.0})
    assert ingest(store, dataclasses.replace(job, harness=Newer())) == (5, 1)
    assert values(store, job) == SCORES | {("a", 0): 0.0}


@pytest.mark.parametrize(
    ("scores", "extra", "error", "message"),
    [
        (
            SCORES,
            [("a", 0, 1)],
            StoreError,
            r"item `a`, trial 0, is reported more than once: results.csv, line 2, .* line 8",
        ),
        ({k: v for k, v in SCORES.items() if k[0] != "c"}, [], HarnessError, "2 items where `n_tasks` is 3"),
        (
            {k: v for k, v in SCORES.items() if k != ("b", 0)},
            [],
            HarnessError,
            "item `b` must have the trials 0 to 1; .* 1",
        ),
        (SCORES, [("a", 2, 1)], HarnessError, "item `a` must have the trials 0 to 1; it has 0, 1, 2"),
        (dict.fromkeys(SCORES), [], HarnessError, "6 of 6 attempts have no score, more than `max_unscored` 0.4"),
        ({}, [], HarnessError, "0 items where `n_tasks` is 3"),
        (SCORES, [("d", 0, "x")], HarnessError, "line 8: `score` must be a number"),
    ],
)
def test_results_that_are_not_whole_are_refused_and_nothing_is_written(job, tmp_path, scores, extra, error, message):
    write(job, scores, *extra)
    store = Store(tmp_path / "store")
    with pytest.raises(error, match=message):
        ingest(store, job)
    assert not store.root.exists() or not any(store.root.iterdir())


def test_results_without_any_score_are_refused_under_every_limit(job, tmp_path):
    write(job, dict.fromkeys(SCORES))
    with pytest.raises(HarnessError, match="no attempt has a score"):
        ingest(Store(tmp_path / "store"), dataclasses.replace(job, max_unscored=1.0))
    assert not (tmp_path / "store").exists()


def test_long_list_of_problems_is_cut(job, tmp_path):
    write(job, SCORES, *[("x", n, "bad") for n in range(30)])
    with pytest.raises(HarnessError, match=r"and 20 more$"):
        ingest(Store(tmp_path / "store"), job)


def test_run_id_depends_on_conf_and_not_on_the_folder(tmp_path):
    ids = [
        job.run.spec.run_id
        for changes in (
            {},
            {"benchmark_version": "v6"},
            {"scaffold_version": "v3"},
            {"scaffold": "other"},
            {"max_unscored": 0},
        )
        for job in jobs(tmp_path, **changes)
    ]
    assert len(set(ids)) == 4 and ids[0] == ids[4] == jobs(tmp_path / "elsewhere")[0].run.spec.run_id


def test_unknown_model_of_an_entry_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"`ingest.swe.model` 'n' is unknown; allowed: m\."):
        jobs(tmp_path, model="n")


def test_command_stores_the_results_of_every_entry_and_a_study_without_any_is_an_error(job, tmp_path, capsys):
    write(job)
    cfg = composed(*overrides(tmp_path), f"paths.results={tmp_path}")
    command.main(cfg)
    assert "6 results added, 1 without a score" in capsys.readouterr().out
    assert values(Store(tmp_path / "store"), job) == SCORES
    cfg.ingest = {}
    with pytest.raises(ConfigError, match="study `reanalysis` has no results to ingest"):
        command.main(cfg)


def test_wrong_results_on_the_command_line_are_one_clear_error(job, tmp_path):
    write(job, SCORES, ("a", 0, 1))
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(settings.CONF.parent), *sys.path])}
    arguments = [sys.executable, "-m", "replication", "ingest", *overrides(tmp_path), f"paths.results={tmp_path}"]
    done = subprocess.run(arguments, capture_output=True, text=True, env=env)
    assert done.returncode == 2 and "error (StoreError)" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "store").exists()


def test_ingested_runs_are_part_of_the_study_index_and_one_that_is_missing_is_named(job, tmp_path):
    cfg = composed(*overrides(tmp_path), f"paths.results={tmp_path}")
    with pytest.raises(
        StoreError, match=r"`m-swe-agent-.*` of an official harness is not there. .* official study=reanalysis"
    ):
        gather.main(cfg)
    write(job)
    command.main(cfg)
    gather.main(cfg)
    index = read_index(tmp_path, "reanalysis")
    assert index.run_ids == (job.run.spec.run_id,) and index.engine["harness"] == "csv"
    assert len(Store(tmp_path / "store").score_table(index.run_ids)) == 6


def test_ingest_beside_another_writer_of_its_run_is_refused_and_stores_nothing(job, tmp_path):
    write(job)
    store = Store(tmp_path / "store")
    refused = pytest.raises(StoreError, match=rf"is being written by process {os.getpid()} on")
    with locked(store.root / job.run.spec.run_id), refused:
        ingest(store, job)
    assert store.runs() == []
    assert ingest(store, job).n_added == 6
