"""The harness `csv`: one line per attempt, and every wrong line is named by its number."""

import re
from pathlib import Path

import pytest

from replication.collect.benchmarks import official
from replication.collect.interfaces import HarnessRun, ModelRef
from replication.errors import ConfigError, HarnessError
from replication.records import RunSpec, Sampling


def harness_run(folder: Path, n_tasks=2, n_trials=1) -> HarnessRun:
    spec = RunSpec(
        model="org/m", revision="r", engine="vllm", dtype="bfloat16", context=4096, engine_options={},
        benchmark="swe_bench_verified", benchmark_version="5.0.2", scaffold="mini-swe-agent", scaffold_version="2.4.6",
        max_turns=None, max_episode_tokens=None, max_malformed=None, sampling=Sampling(temperature=1.0, max_tokens=512),
        seed=0,
    )  # fmt: skip
    model = ModelRef(name="org/m", path="org/m", revision="r")
    return HarnessRun(spec=spec, model=model, folder=folder, n_tasks=n_tasks, n_trials=n_trials)


def written(folder: Path, *lines: str, header="task_id,trial,score") -> HarnessRun:
    (folder / "results.csv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return harness_run(folder)


def test_lines_become_results_and_an_empty_score_is_unscored(tmp_path):
    run = written(
        tmp_path, "a,0,0.5,,,3,10,4,1.5,gpt", 'b,0,,,"server, down",,,,,', "c,1,0,turn_limit,,,,,,",
        header="task_id,trial,score,stop_reason,error,n_turns,n_prompt_tokens,n_completion_tokens,wall_s,judge",
    )  # fmt: skip
    harness = official.load("csv")
    harness.prepare(run)
    harness.launch(run)
    assert harness.validate(run) == []
    a, b, c = harness.ingest(run)
    assert (a.task_id, a.trial, a.value, a.stop_reason, a.details) == ("a", 0, 0.5, "answer", {"judge": "gpt"})
    assert (a.n_turns, a.n_prompt_tokens, a.n_completion_tokens, a.wall_s) == (3, 10, 4, 1.5)
    assert (b.value, b.stop_reason, b.error) == (None, "environment_error", "server, down")
    assert (c.trial, c.value, c.stop_reason, c.source) == (1, 0.0, "turn_limit", "results.csv, line 4")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("a,0,1.2", r"`score` must be a number in \[0, 1\]; got '1.2'"),
        ("a,0,55%", "`score` must be a number"),
        ("a,0,nan", "`score` must be a number"),
        ("a,-1,1", "`trial` must be an integer from 0; got '-1'"),
        ("a,first,1", "`trial` must be an integer"),
        (" ,0,1", "`task_id` is empty"),
        ("a,0", "must have 3 values"),
        ("a,0,1,1", "must have 3 values"),
    ],
)
def test_wrong_line_is_named_by_its_number(tmp_path, line, problem):
    run = written(tmp_path, "ok,0,1", line)
    (found,) = official.load("csv").validate(run)
    assert found.startswith("results.csv, line 3: ")
    assert re.search(problem, found)


@pytest.mark.parametrize(
    ("line", "problem"),
    [("a,0,1,engine_error", "has no score; got '1'"), ("a,0,1,gave_up", "allowed: answer, turn_limit")],
)
def test_stop_reason_must_be_known_and_agree_with_the_score(tmp_path, line, problem):
    (found,) = official.load("csv").validate(written(tmp_path, line, header="task_id,trial,score,stop_reason"))
    assert problem in found


@pytest.mark.parametrize("header", ["task_id,score", "task_id,trial,score,cost", "task_id,trial,score,score", ""])
def test_header_with_a_missing_unknown_or_repeated_column_is_named(tmp_path, header):
    (found,) = official.load("csv").validate(written(tmp_path, "a,0,1", header=header))
    assert "line 1" in found and "required are task_id, trial, score" in found


def test_file_that_is_not_text_is_a_problem_and_a_missing_one_says_where_to_put_it(tmp_path):
    with pytest.raises(HarnessError, match=r"no file `results.csv` in .* Put the results of swe_bench_verified there"):
        official.load("csv").prepare(harness_run(tmp_path))
    (tmp_path / "results.csv").write_bytes(b"task_id,trial,score\n\xff\xfe,0,1\n")
    (found,) = official.load("csv").validate(harness_run(tmp_path))
    assert "not a CSV file in UTF-8" in found


def test_unknown_harness_is_named():
    with pytest.raises(ConfigError, match=r"`harness` 'swe' is unknown; allowed: .*csv.*swe_bench"):
        official.load("swe")
