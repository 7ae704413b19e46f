"""A study survives freezing exactly, and data of another version, or with rows given twice, is refused."""

import dataclasses
import json

import pandas as pd
import pytest
from frozen_studies import freeze as freeze_scores
from parts import index_of, labels_of, repeat_check, training_record

from replication import files
from replication.errors import AnalysisError, StoreError
from replication.records import Episode, RunSpec, Sampling, Score, StudyIndex, Task, TrainedRun, to_json
from replication.store import Store
from replication.store.frozen import FILES, freeze, is_frozen, read_frozen, take_frozen
from replication.store.index import PlannedRun, index_path, planned_run, read_index, require_complete, write_index
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
    store.record(spec.run_id, repeats=repeat_check())


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
        require_complete(store, "mine", [PlannedRun("unknown", False, (), 0)])


@pytest.fixture
def frozen_folder(tmp_path):
    """Freeze a study with a probe and return its folder."""
    probe = dataclasses.replace(SPEC, scaffold="probe")
    fill(Store(tmp_path / "store"), probe, n_trials=1)
    collected(tmp_path, SPEC, probe_run_ids=(probe.run_id,))
    freeze("mine", tmp_path, tmp_path / "data")
    return tmp_path / "data/mine"


def edit_csv(path, edit):
    """Change a CSV file as a table of texts."""
    edit(pd.read_csv(path, dtype=str, keep_default_na=False)).to_csv(path, index=False)


def with_row(changes):
    """Return an edit that repeats the last row with changes."""
    return lambda table: pd.concat([table, table.tail(1).assign(**changes)], ignore_index=True)


@pytest.mark.parametrize(
    ("name", "edit", "message"),
    [
        ("scores.csv", lambda t: t.assign(training_seed="0.5"), r"scores\.csv` cannot be read as a table"),
        ("scores.csv", lambda t: t.assign(trial="zero"), r"scores\.csv` cannot be read as a table"),
        ("scores.csv", lambda t: t.assign(value="nan"), r"scores\.csv` cannot be read as a table"),
        ("scores.csv", lambda t: t.assign(value="inf"), r"scores\.csv` has infinite numbers in `value`"),
        ("scores.csv", lambda t: t.assign(more="1"), r"`more` differ"),
        ("scores.csv", lambda t: t[t.columns[::-1]], r"`their order` differ"),
        ("scores.csv", lambda t: t.head(0), r"different runs: 1 are in one only, such as `" + SPEC.run_id),
        ("scores.csv", with_row({"run_id": "other", "task_id": "terminal/9"}), r"2 runs of one .*`run_id` differ"),
        ("scores.csv", with_row({"scale": "m", "task_id": "terminal/9"}), r"2 descriptions of one .*`scale` differ"),
        ("scores.csv", with_row({"unit": "b", "model": "b", "run_id": "b"}), r"2 checkpoints of one training run, `agent"),
        ("scores.csv", with_row({"unit": "b", "training_seed": "7"}), r"2 checkpoints of one model and revision"),
        ("scores.csv", with_row({"unit": "b", "model": "b", "training_seed": "7"}), r"2 checkpoints, .* of one run"),
        ("training.csv", with_row({}), r"training\.csv` has two rows for arm agent_sft, scale s, training_seed 0"),
        ("training.csv", lambda t: t.drop(columns="flops"), r"`flops` differ"),
        ("training.csv", lambda t: t.assign(n_tokens="1.5"), r"training\.csv` cannot be read"),
        ("curves.csv", with_row({}), r"curves\.csv` has two rows for arm agent_sft, .*step 0"),
        ("curves.csv", lambda t: t.assign(loss="low"), r"curves\.csv` cannot be read"),
        ("probe.csv", with_row({}), "2 rows share their attempt"),
    ],
)  # fmt: skip
def test_a_damaged_frozen_table_is_one_clear_error(frozen_folder, name, edit, message):
    edit_csv(frozen_folder / name, edit)
    with pytest.raises(AnalysisError, match=message):
        read_frozen("mine", frozen_folder.parent)


@pytest.mark.parametrize("name", ["scores.csv", "training.csv", "curves.csv", "probe.csv"])
def test_a_frozen_table_that_is_empty_or_missing_is_one_clear_error(frozen_folder, name):
    for damage in (
        lambda path: path.write_text(""),
        lambda path: path.write_bytes(b"\xff\xfe"),
        lambda path: path.unlink(),
    ):
        damage(frozen_folder / name)
        with pytest.raises(AnalysisError, match=rf"{name}` (cannot be read as a table|does not have the columns)"):
            read_frozen("mine", frozen_folder.parent)


def test_windows_line_ends_and_the_name_na_change_no_frozen_table(frozen_folder):
    edit_csv(frozen_folder / "scores.csv", lambda table: table.assign(family="NA"))
    path = frozen_folder / "scores.csv"
    unix = read_frozen("mine", frozen_folder.parent).scores
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    pd.testing.assert_frame_equal(read_frozen("mine", frozen_folder.parent).scores, unix)
    assert set(unix["family"]) == {"NA"} and unix["pair"].isna().all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"more": 1}, "unknown 'more'"),
        ({"scope": None}, r"`StudyIndex\.scope` must be str; got None"),
        ({"kind": 1}, r"`StudyIndex\.kind` must be str; got 1"),
        ({"schema_version": 1}, "has schema version 1; this package reads 2"),
        ({"schema_version": "2"}, "has schema version '2'; this package reads 2"),
        ({"study": "other"}, "is of study `other`, not of `mine`"),
        ({"run_ids": [SPEC.run_id] * 2}, f"lists `{SPEC.run_id}` more than once"),
        ({"probe_run_ids": [SPEC.run_id]}, f"lists `{SPEC.run_id}` more than once"),
        ({"engine": {"x": float("nan")}}, "is not JSON .NaN is not a JSON number"),
        ({"engine": {"x": float("inf")}}, "is not JSON .Infinity is not a JSON number"),
    ],
)
def test_a_damaged_index_is_one_clear_error_and_nothing_is_frozen(tmp_path, changes, message):
    collected(tmp_path, SPEC)
    path = tmp_path / "studies/mine.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(StoreError, match=message):
        freeze("mine", tmp_path, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_truncated_index_is_one_clear_error(tmp_path):
    collected(tmp_path, SPEC)
    path = tmp_path / "studies/mine.json"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(StoreError, match=r"mine\.json` is not JSON .*replication gather study=mine"):
        read_index(tmp_path, "mine")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"scale": "m"}, "2 descriptions of one checkpoint.*: `scale` differ"),
        ({"arm": "placebo"}, "2 descriptions of one checkpoint.*: `arm` differ"),
        ({"training_seed": None}, "2 descriptions of one checkpoint.*: `training_seed` differ"),
    ],
)
def test_two_runs_of_one_checkpoint_with_different_labels_are_not_frozen(tmp_path, labels, message):
    other = dataclasses.replace(SPEC, benchmark="calling")
    tasks = [dataclasses.replace(task, id=f"calling/{at}") for at, task in enumerate(TASKS)]
    collected(tmp_path, SPEC)
    fill(Store(tmp_path / "store"), other, tasks, **labels)
    write_index(tmp_path, index_of("mine", run_ids=tuple(sorted([SPEC.run_id, other.run_id]))))
    with pytest.raises(AnalysisError, match=message):
        freeze("mine", tmp_path, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_retrained_checkpoint_is_not_frozen_as_another_training_run(tmp_path):
    again = dataclasses.replace(SPEC, revision="0002")
    collected(tmp_path, SPEC, again)
    with pytest.raises(AnalysisError, match="2 checkpoints of one training run, `agent_sft, s, 0`"):
        freeze("mine", tmp_path, tmp_path / "data")


def test_parts_of_two_runs_of_one_checkpoint_are_not_joined_though_no_attempt_is_repeated(tmp_path):
    hotter = dataclasses.replace(SPEC, dtype="bfloat16")
    store = Store(tmp_path / "store")
    fill(store, SPEC, TASKS[:1])
    fill(store, hotter, TASKS[1:])
    write_index(tmp_path, index_of("mine", run_ids=tuple(sorted([SPEC.run_id, hotter.run_id]))))
    with pytest.raises(AnalysisError, match="2 runs of one checkpoint, benchmark, scaffold and seed"):
        freeze("mine", tmp_path, tmp_path / "data")


def test_two_probes_of_one_checkpoint_are_not_frozen_as_one(tmp_path):
    probes = [dataclasses.replace(SPEC, scaffold="probe", dtype=dtype) for dtype in ("float32", "bfloat16")]
    for probe in probes:
        fill(Store(tmp_path / "store"), probe, n_trials=1)
    collected(tmp_path, SPEC, probe_run_ids=tuple(sorted(probe.run_id for probe in probes)))
    with pytest.raises(AnalysisError, match="6 rows share their attempt with another row"):
        freeze("mine", tmp_path, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_frozen_study_is_copied_once_and_never_over_what_is_there(tmp_path, make_scores):
    source, data, results = tmp_path / "paper/data", tmp_path / "outputs/data", tmp_path / "results"
    assert take_frozen("mine", results, source, data) == [] and not data.exists()
    freeze_scores(tmp_path / "paper", make_scores({"agent_sft": 0.5}))
    copies = take_frozen("mine", results, source, data)
    assert {path.name for path in copies} == set(FILES) and is_frozen("mine", data)
    assert all(path.read_bytes() == (source / "mine" / path.name).read_bytes() for path in copies)
    (data / "mine/scores.csv").write_text("my own")
    assert take_frozen("mine", results, source, data) == []
    assert (data / "mine/scores.csv").read_text() == "my own"


def test_a_study_that_was_collected_is_not_taken(tmp_path, make_scores):
    freeze_scores(tmp_path / "paper", make_scores({"agent_sft": 0.5}))
    results = tmp_path / "results"
    files.write_text(index_path(results, "mine"), "{}")
    assert take_frozen("mine", results, tmp_path / "paper/data", tmp_path / "outputs/data") == []
    assert not (tmp_path / "outputs").exists()
