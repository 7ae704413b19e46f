"""A study survives freezing exactly, and data of another version, or with rows given twice, is refused."""

import dataclasses
import json

import pandas as pd
import pytest
from parts import index_of, labels_of, repeat_check, training_record

from replication.errors import AnalysisError, StoreError
from replication.records import Episode, RunSpec, Sampling, Score, StudyIndex, Task, TrainedRun, to_json
from replication.store import Store
from replication.store.frozen import FILES, freeze, read_frozen
from replication.store.index import PlannedRun, planned_run, read_index, require_complete, write_index
from replication.store.reader import from_json

SPEC = RunSpec(
    engine="scripted", engine_options={}, max_malformed=3, model="org/m", revision="0001", dtype="float32",
    context=512, benchmark="terminal", benchmark_version="1",
    scaffold="compact", scaffold_version="1", max_turns=8, max_episode_tokens=512,
    sampling=Sampling(temperature=0.5, max_tokens=64), seed=0,
)  # fmt: skip
TASKS = [
    Task(id=f"terminal/{i}", benchmark="terminal", prompt=str(i), tools=(), setup={}, attributes={"level": 1})
    for i in range(3)
]


def fill(store, spec, tasks=TASKS, n_trials=2, **labels):
    """Store a finished run whose scores are thirds."""
    with store.writer(spec, labels_of(spec, **labels), {"engine": "scripted"}, tasks) as writer:
        for at, (task, trial) in enumerate((task, trial) for task in tasks for trial in range(n_trials)):
            key = {"run_id": spec.run_id, "task_id": task.id, "task_hash": task.content_hash, "trial": trial}
            episode = Episode(
                **key, trajectory=(), stop_reason="answer", n_turns=1, n_malformed=0, n_prompt_tokens=9,
                n_completion_tokens=3, seeds=(1,), wall_s=0.1,
            )  # fmt: skip
            writer.append(episode, Score(**key, value=at % 4 / 3, grader="exact-1", details={"token_f1": 1 / 7}))
    store.record_check(spec.run_id, "repeats", repeat_check())


def collected(results, *specs, **changes):
    """Leave a results folder with these runs and an index of them."""
    store = Store(results / "store")
    for spec in specs:
        fill(store, spec)
    curve = results / "curve.csv"
    curve.write_text("step,phase,n_tokens,loss,lr,wall_s,reward\n0,episodes,100,2.5,0.01,0.1,\n")
    index = index_of(
        "mine", run_ids=tuple(sorted(spec.run_id for spec in specs)),
        training=(TrainedRun(record=training_record(), curve=str(curve)),), **changes,
    )  # fmt: skip
    write_index(results, index)
    return index


def test_a_frozen_study_is_read_as_it_was_stored(tmp_path):
    probe = dataclasses.replace(SPEC, scaffold="probe")
    fill(Store(tmp_path / "store"), probe, n_trials=1)
    index = collected(
        tmp_path, SPEC, probe_run_ids=(probe.run_id,), comparisons=(("a", "b"),), levels={"s": {"t": (1, 2)}}
    )
    written = freeze("mine", tmp_path, tmp_path / "data")
    assert {path.name for path in written} == {*FILES, "probe.csv"}
    frozen = read_frozen("mine", tmp_path / "data")
    stored = Store(tmp_path / "store").score_table([SPEC.run_id])
    assert dict(frozen.scores.dtypes) == dict(stored.dtypes)
    text = list(stored.columns[stored.dtypes == "object"])
    read, kept = (table.assign(**{c: table[c].fillna("") for c in text}) for table in (frozen.scores, stored))
    pd.testing.assert_frame_equal(read, kept, check_exact=True)
    assert frozen.scores["value"].tolist() == stored["value"].tolist()
    assert set(frozen.scores["revision"]) == {"0001"} and frozen.scores["pair"].isna().all()
    assert frozen.about == dataclasses.replace(index, training=())
    assert frozen.training["training_run"].tolist() == ["agent_sft-s-s0"] and frozen.curves["loss"].tolist() == [2.5]
    assert frozen.probe["token_f1"].tolist() == [1 / 7] * 3
    before = {path: path.read_bytes() for path in written}
    assert {path: path.read_bytes() for path in freeze("mine", tmp_path, tmp_path / "data")} == before


def test_a_study_that_is_neither_collected_nor_frozen_is_named(tmp_path):
    with pytest.raises(AnalysisError, match=r"`mine` has been neither collected .* nor frozen"):
        freeze("mine", tmp_path, tmp_path / "data")


def test_two_runs_of_one_checkpoint_that_differ_in_a_setting_only_are_not_frozen_as_one(tmp_path):
    hotter = dataclasses.replace(SPEC, sampling=Sampling(temperature=0.9, max_tokens=64))
    collected(tmp_path, SPEC, hotter)
    message = (
        rf"12 rows share their attempt.*`org/m@\w{{8}}`, task `terminal/0`, trial 0, 2 rows of "
        rf"`{min(SPEC.run_id, hotter.run_id)}`, `{max(SPEC.run_id, hotter.run_id)}`"
    )
    with pytest.raises(AnalysisError, match=message):
        freeze("mine", tmp_path, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_frozen_rows_given_twice_are_refused(tmp_path):
    collected(tmp_path, SPEC)
    freeze("mine", tmp_path, tmp_path / "data")
    path = tmp_path / "data/mine/scores.csv"
    path.write_text(path.read_text() + path.read_text().splitlines()[1] + "\n")
    with pytest.raises(AnalysisError, match="2 rows share their attempt with another row"):
        read_frozen("mine", tmp_path / "data")


def test_frozen_data_of_another_version_is_refused_with_file_version_and_remedy(tmp_path):
    collected(tmp_path, SPEC)
    freeze("mine", tmp_path, tmp_path / "data")
    path = tmp_path / "data/mine/manifest.json"
    good = json.loads(path.read_text())
    for changed, message in (
        ({k: v for k, v in good.items() if k != "schema_version"}, "has no schema version; this package reads 2"),
        (good | {"schema_version": 3}, "has schema version 3; this package reads 2"),
    ):
        path.write_text(json.dumps(changed))
        with pytest.raises(AnalysisError, match=rf"`{path}` {message}\. Freeze it again with"):
            read_frozen("mine", tmp_path / "data")
    path.write_text(json.dumps(good))
    scores = tmp_path / "data/mine/scores.csv"
    pd.read_csv(scores).drop(columns=["unit"]).to_csv(scores, index=False)
    with pytest.raises(AnalysisError, match=r"scores\.csv` does not have the columns of this version; `unit` differ"):
        read_frozen("mine", tmp_path / "data")


def test_an_index_of_another_version_is_refused(tmp_path):
    collected(tmp_path, SPEC)
    path = tmp_path / "studies/mine.json"
    path.write_text(json.dumps({"study": "mine", "run_ids": [SPEC.run_id]}))
    with pytest.raises(StoreError, match=r"mine\.json` has no schema version.*replication gather study=mine"):
        read_index(tmp_path, "mine")


def test_an_index_is_read_back_as_the_record_that_was_written(tmp_path):
    index = collected(tmp_path, SPEC, domains={"terminal": "in"}, repeat_checks={"r": repeat_check()})
    assert read_index(tmp_path, "mine") == index == from_json(StudyIndex, to_json(index))


def test_missing_episodes_are_listed_by_run(tmp_path):
    store, other = Store(tmp_path), dataclasses.replace(SPEC, seed=1)
    fill(store, SPEC, n_trials=1)
    runs = [planned_run(SPEC, TASKS, 2), planned_run(other, TASKS, 2)]
    message = (
        rf"study `mine` is incomplete: 2 of 2 runs .*: `{SPEC.run_id}` lacks 3 of 6 episodes; `{other.run_id}` lacks 6 of 6 "
        r"episodes\. Play them with `python -m replication run study=mine`"
    )
    with pytest.raises(StoreError, match=message):
        require_complete(store, "mine", runs)
    require_complete(store, "mine", [planned_run(SPEC, TASKS, 1)])
    with pytest.raises(StoreError, match="was interrupted before its repeats were checked"):
        require_complete(store, "mine", [PlannedRun("unknown", False, frozenset())])
