"""The store: nothing is lost or skipped silently, and interruptions do not change the score table."""

import dataclasses
import itertools
import json
import math
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from replication.errors import StoreError
from replication.records import (
    SCHEMA_VERSION,
    Call,
    Episode,
    Labels,
    Message,
    RunSpec,
    Sampling,
    Score,
    Session,
    Task,
    TaskEntry,
)
from replication.store import Store
from replication.store.table import COLUMNS

pytest.importorskip("fcntl", reason="writing to the store needs Linux, macOS or WSL")

GRADER = "exact/1"
LABELS = Labels(
    model="org/model", revision="r1", arm="agent_sft", scale="s1", params_b=0.001, training_seed=3, base="base/s1",
    family="organism",
)  # fmt: skip
ENGINE = {"engine": "scripted", "version": "1", "flags": {"max_num_seqs": 8}}

HOSTILE = (
    "",
    "\x00\x01\x1b[2J\x7f\r\n\u2028\u2029\ufeff",
    "lone \ud83d and \ude00 and side by side \ud83d\ude00 and joined \U0001f600",
    '","crc":"00000000"}\n{"run_id":"x"}\n',
    "<|im_end|>\\u0000\\ud800{}[]",
    "x" * 1_000_000,
)


def make_spec(seed: int = 0, model: str = "org/model") -> RunSpec:
    return RunSpec(
        engine="scripted", engine_options={}, max_malformed=3,
        model=model, revision="r1", dtype="float32", context=2048, benchmark="terminal", benchmark_version="1",
        scaffold="compact", scaffold_version="1", max_turns=8, max_episode_tokens=512,
        sampling=Sampling(temperature=0.0, max_tokens=64), seed=seed,
    )  # fmt: skip


def make_tasks(n: int, prompt: str = "List the files.") -> list[Task]:
    return [
        Task(id=f"terminal/evaluation/{i % 3}/{i}", benchmark="terminal", prompt=f"{prompt} {i}", tools=(),
             setup={"files": [i]}, attributes={"level": i % 3, "index": i})
        for i in range(n)
    ]  # fmt: skip


def make_episode(spec: RunSpec, task: Task, trial: int = 0, text: str = "done", **changes) -> Episode:
    """Everything but the wall time is a function of the arguments, as with a deterministic model."""
    n = task.attributes["index"] + trial
    fields = dict(
        run_id=spec.run_id, task_id=task.id, task_hash=task.content_hash, trial=trial,
        trajectory=(Message(role="user", content=task.prompt), Message(role="assistant", content=f"{text} {n}")),
        stop_reason="answer", n_turns=1 + n % 4, n_malformed=n % 2, n_prompt_tokens=10 + n, n_completion_tokens=5 + n,
        seeds=(n, n + 1), wall_s=random.random(),
    )  # fmt: skip
    return Episode(**(fields | changes))


def make_score(episode: Episode, value: float | None = 1.0, grader: str = GRADER, **details) -> Score:
    return Score(
        run_id=episode.run_id, task_id=episode.task_id, task_hash=episode.task_hash, trial=episode.trial,
        value=value, grader=grader, details=details,
    )  # fmt: skip


def play(store: Store, spec: RunSpec, tasks: list[Task], n_trials: int = 1, order: random.Random | None = None) -> int:
    """Act as the runner does: grade unscored episodes, play missing ones. Returns the number played."""
    n_played = 0
    with store.writer(spec, LABELS, ENGINE, tasks) as writer:
        for episode in list(writer.unscored(GRADER)):
            writer.append_score(make_score(episode, value=grade(episode)))
        todo = [(t, k) for t in tasks for k in range(n_trials) if (t.id, t.content_hash, k) not in writer.finished]
        if order:
            order.shuffle(todo)
        for task, trial in todo:
            episode = make_episode(spec, task, trial)
            writer.append(episode, make_score(episode, value=grade(episode)))
            n_played += 1
    return n_played


def grade(episode: Episode) -> float:
    return (episode.n_prompt_tokens % 3) / 2


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


def assert_same(table, expected) -> None:
    import pandas as pd  # here: the child processes of these tests start without it

    pd.testing.assert_frame_equal(table, expected, check_exact=True)


def file_of(store: Store, spec: RunSpec, name: str) -> Path:
    return store.root / spec.run_id / name


# round trip


def test_episodes_and_trajectories_come_back_as_they_were_written(store):
    spec, tasks = make_spec(), make_tasks(4)
    written = [make_episode(spec, t, k) for t in tasks for k in range(2)]
    with store.writer(spec, LABELS, ENGINE, tasks) as writer:
        for episode in written:
            writer.append(episode)
    assert store.runs() == [spec.run_id]
    assert list(store.episodes(spec.run_id, trajectories=True)) == sorted(written, key=lambda e: e.key)
    assert {e.trajectory for e in store.episodes(spec.run_id)} == {()}
    for episode in written:
        assert store.trajectory(spec.run_id, episode.task_id, episode.trial) == episode.trajectory


def test_hostile_text_survives_byte_for_byte(store):
    spec = make_spec()
    tasks = [dataclasses.replace(t, id=f"../../{t.id}\x00\n\u2028") for t in make_tasks(len(HOSTILE))]
    for task, text in zip(tasks, HOSTILE, strict=True):
        trajectory = (Message(role="assistant", content=text), Message(role="tool", content=text[::-1]))
        episode = make_episode(spec, task, trajectory=trajectory, error=text)
        with store.writer(spec, LABELS, ENGINE, tasks) as writer:
            writer.append(episode, make_score(episode, note=text))
        assert store.trajectory(spec.run_id, task.id, 0) == trajectory
        assert next(e for e in store.episodes(spec.run_id) if e.task_id == task.id).error == text
    assert len(store.score_table()) == len(HOSTILE)
    assert sorted(p.name for p in store.root.iterdir()) == [spec.run_id]


def test_a_missing_trajectory_and_an_unknown_run_are_named(store):
    spec, tasks = make_spec(), make_tasks(2)
    play(store, spec, tasks[:1])
    with pytest.raises(StoreError, match=r"no episode of task `terminal/evaluation/0/0`, trial 7"):
        store.trajectory(spec.run_id, tasks[0].id, 7)
    with pytest.raises(StoreError, match=r"no episode of task `elsewhere`"):
        store.trajectory(spec.run_id, "elsewhere", 0)
    for read in (store.manifest, lambda r: list(store.episodes(r)), lambda r: store.score_table([r])):
        with pytest.raises(StoreError, match=f"no run `nosuch` in the store .*, which has 1 runs: `{spec.run_id}`"):
            read("nosuch")


def test_a_damaged_trajectory_names_the_episode_and_the_line_to_delete(store):
    spec, tasks = make_spec(), make_tasks(2)
    for n in (1, 2):  # a block each
        play(store, spec, tasks[:n])
    play(store, spec, tasks)
    flip(file_of(store, spec, "trajectories.bin"), 20)
    with pytest.raises(
        StoreError, match=r"trajectories.bin` is damaged at byte 0 .*`terminal/evaluation/0/0`.*line 1 of"
    ):
        store.trajectory(spec.run_id, tasks[0].id, 0)
    assert store.trajectory(spec.run_id, tasks[1].id, 0)
    file_of(store, spec, "trajectories.bin").unlink()
    with pytest.raises(StoreError, match="or missing"):
        store.trajectory(spec.run_id, tasks[1].id, 0)
    assert len(store.score_table()) == 2
    with pytest.raises(StoreError, match=r"ends at byte 0, .* points beyond what can be read of it from line 1 on"):
        play(store, spec, tasks)


@pytest.mark.parametrize(
    "run_id", ["", ".", "..", "../x", "/etc", "a/b", "a\\b", ".hidden", "a\n", "a\x00", "é", "a" * 201]
)
def test_a_run_id_is_never_a_path(store, run_id):
    for read in (store.manifest, lambda r: store.trajectory(r, "t", 0), lambda r: store.score_table([r])):
        with pytest.raises(StoreError, match="`run_id` becomes a folder name"):
            read(run_id)
    assert not store.root.exists()


# the score table


def test_the_score_table_has_its_columns_types_and_order(store):
    tasks = make_tasks(4)
    specs = [make_spec(seed) for seed in range(2)]
    for spec in specs:
        play(store, spec, tasks, n_trials=3, order=random.Random(spec.seed))
    table = store.score_table()
    assert tuple(table.columns) == COLUMNS
    assert len(table) == 2 * 4 * 3
    keys = list(zip(table.run_id, table.task_id, table.trial, strict=True))
    assert keys == sorted(keys)
    assert dict(table.dtypes.astype(str)) == {
        **dict.fromkeys(COLUMNS, "object"),
        **dict.fromkeys(["params_b", "active_b", "value"], "float64"),
        **dict.fromkeys(["training_seed", "level"], "Int64"),
        **dict.fromkeys(["seed", "trial"], "int64"),
        **dict.fromkeys(["n_turns", "n_malformed", "n_prompt_tokens", "n_completion_tokens"], "int64"),
    }
    spec, task = specs[1], tasks[2]
    row = table[(table.run_id == spec.run_id) & (table.task_id == task.id) & (table.trial == 1)].iloc[0]
    row = row.to_dict()
    assert math.isnan(row.pop("active_b"))
    assert row == {
        "run_id": spec.run_id, "unit": LABELS.unit, "arm": "agent_sft", "pair": None, "base": "base/s1",
        "family": "organism", "scale": "s1", "params_b": 0.001, "training_seed": 3,
        "model": "org/model", "revision": "r1", "benchmark": "terminal", "scaffold": "compact", "seed": 1,
        "task_id": task.id, "task_hash": task.content_hash, "level": 2, "trial": 1, "value": 0.5, "grader": GRADER,
        "stop_reason": "answer", "n_turns": 4, "n_malformed": 1, "n_prompt_tokens": 13, "n_completion_tokens": 8,
    }  # fmt: skip
    assert_same(store.score_table([spec.run_id]), table[table.run_id == spec.run_id].reset_index(drop=True))


def test_an_empty_store_gives_an_empty_table_with_the_same_columns(store):
    assert store.runs() == []
    table = store.score_table()
    assert tuple(table.columns) == COLUMNS and len(table) == 0
    assert str(table.value.dtype) == "float64"


def test_labels_that_do_not_apply_are_missing_and_those_of_another_checkpoint_are_refused(store):
    import pandas as pd

    spec = make_spec()
    task = dataclasses.replace(make_tasks(1)[0], attributes={"index": 0})
    public = Labels(model="org/model", revision="r1", arm="general", scale="8B", params_b=8.2)
    with store.writer(spec, public, ENGINE, [task]) as writer:
        writer.append(make_episode(spec, task))
    row = store.score_table().iloc[0]
    assert row["pair"] is None and row["base"] is None and row["family"] is None
    assert math.isnan(row["active_b"]) and row["training_seed"] is pd.NA and row["level"] is pd.NA
    other = dataclasses.replace(public, revision="r2")
    with (
        pytest.raises(StoreError, match="labels are of `org/model` at `r2`, the run of `org/model` at `r1`"),
        store.writer(spec, other, ENGINE, [task]),
    ):
        pass


def test_checkpoints_that_differ_in_model_or_revision_are_different_units():
    units = {
        dataclasses.replace(LABELS, model=m, revision=r).unit for m in ("a/b", "a/c") for r in ("1" * 40, "1" * 39)
    }
    assert len(units) == 4 and all(unit.startswith(("a/b@", "a/c@")) for unit in units)
    assert dataclasses.replace(LABELS, arm="renamed", scale="s2").unit == LABELS.unit


def test_the_score_table_does_not_depend_on_the_order_of_completion(tmp_path):
    spec, tasks = make_spec(), make_tasks(10)
    tables = []
    for seed in range(3):
        store = Store(tmp_path / str(seed))
        play(store, spec, tasks, n_trials=2, order=random.Random(seed))
        tables.append(store.score_table())
    assert_same(tables[0], tables[1])
    assert_same(tables[0], tables[2])


def test_unscored_is_nan_and_never_zero(store):
    spec, tasks = make_spec(), make_tasks(4)
    episodes = [make_episode(spec, t) for t in tasks[:3]]
    episodes.append(make_episode(spec, tasks[3], stop_reason="engine_error", error="died"))
    grades = [None, *(make_score(e, v) for e, v in zip(episodes[1:], (None, 0.0, None), strict=True))]
    with store.writer(spec, LABELS, ENGINE, tasks) as writer:
        for episode, score in zip(episodes, grades, strict=True):
            writer.append(episode, score)
    table = store.score_table().set_index("task_id")
    values = [table.value[t.id] for t in tasks]
    assert [math.isnan(v) for v in values] == [True, True, False, True]
    assert values[2] == 0.0
    assert [table.grader[t.id] for t in tasks] == [None, GRADER, GRADER, None]
    assert table.stop_reason[tasks[3].id] == "engine_error"


def test_requested_details_become_columns_of_numbers(store):
    spec, tasks = make_spec(), make_tasks(3)
    with store.writer(spec, LABELS, ENGINE, tasks) as writer:
        for task, details in zip(tasks[:2], ({"token_f1": 0.25, "exact": 0}, {}), strict=True):
            episode = make_episode(spec, task)
            writer.append(episode, make_score(episode, value=0.0, **details))
        writer.append(make_episode(spec, tasks[2]))
    table = store.score_table(details=("token_f1", "exact"))
    assert tuple(table.columns) == (*COLUMNS, "token_f1", "exact")
    rows = table.set_index("task_id")
    assert rows.loc[tasks[0].id, ["token_f1", "exact"]].tolist() == [0.25, 0.0]
    assert rows.loc[[t.id for t in tasks[1:]], ["token_f1", "exact"]].isna().all(axis=None)
    assert {str(table[c].dtype) for c in ("token_f1", "exact")} == {"float64"}
    assert_same(table[list(COLUMNS)], store.score_table())


def test_a_run_that_was_never_graded_has_empty_details(store):
    spec, tasks = make_spec(), make_tasks(2)
    with store.writer(spec, LABELS, ENGINE, tasks) as writer:
        for task in tasks:
            writer.append(make_episode(spec, task))
    file_of(store, spec, "scores.jsonl").unlink()
    table = store.score_table(details=("token_f1",))
    assert len(table) == 2 and table[["token_f1", "value", "grader"]].isna().all(axis=None)


def test_values_that_json_has_no_word_for_come_back_as_they_were(store):
    spec, (task,) = make_spec(), make_tasks(1)
    arguments = {
        "nan": math.nan,
        "inf": -math.inf,
        "large": 2**70,
        "nothing": None,
        "text": "null \ud800",
        "list": [1.5],
    }
    trajectory = (Message(role="assistant", content="null", calls=(Call(name="f", arguments=arguments),)),)
    episode = make_episode(spec, task, trajectory=trajectory)
    with store.writer(spec, LABELS, ENGINE, [task]) as writer:
        writer.append(episode, make_score(episode, token_f1=math.nan, exact=2**70))
    ((message,),) = [e.trajectory for e in store.episodes(spec.run_id, trajectories=True)]
    read = dict(message.calls[0].arguments)
    assert math.isnan(read.pop("nan")) and read == {k: v for k, v in arguments.items() if k != "nan"}
    table = store.score_table(details=("token_f1", "exact"))
    assert math.isnan(table.token_f1[0]) and table.exact[0] == float(2**70)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_value_out_of_range_is_refused_and_nothing_is_written(store, value):
    spec, tasks = make_spec(), make_tasks(1)
    episode = make_episode(spec, tasks[0])
    with store.writer(spec, LABELS, ENGINE, tasks) as writer:
        with pytest.raises(ValueError, match=r"in \[0, 1\] or None"):
            writer.append(episode, make_score(episode, value))
        assert not writer.finished
    assert sizes(store, spec) == [0, 0, 0]


def test_a_failed_episode_cannot_have_a_value(store):
    spec, tasks = make_spec(), make_tasks(1)
    episode = make_episode(spec, tasks[0], stop_reason="environment_error")
    with store.writer(spec, LABELS, ENGINE, tasks) as writer:
        with pytest.raises(ValueError, match=r"is unscored; got value=0\.0\. Use None"):
            writer.append(episode, make_score(episode, 0.0))
        writer.append(episode)
        with pytest.raises(ValueError, match=r"is unscored; got value=0\.0\. Use None"):
            writer.append_score(make_score(episode, 0.0))


def test_an_episode_of_another_run_or_task_is_refused(store):
    spec, tasks = make_spec(), make_tasks(2)
    with store.writer(spec, LABELS, ENGINE, tasks[:1]) as writer:
        for stranger in (make_episode(make_spec(9), tasks[0]), make_episode(spec, tasks[1])):
            with pytest.raises(ValueError, match="of another run or task"):
                writer.append(stranger)
        with pytest.raises(ValueError, match="no episode is stored"):
            writer.append_score(make_score(make_episode(spec, tasks[0])))
        with pytest.raises(ValueError, match="`score` grades"):
            writer.append(make_episode(spec, tasks[0]), make_score(make_episode(spec, tasks[0], trial=1)))
    with pytest.raises(ValueError, match="distinct ids"), store.writer(spec, LABELS, ENGINE, tasks + tasks[:1]):
        pass


# resume


def test_finished_episodes_are_kept_and_only_missing_ones_are_played(store):
    spec, tasks = make_spec(), make_tasks(6)
    assert play(store, spec, tasks[:4]) == 4
    assert play(store, spec, tasks) == 2
    before = sizes(store, spec)
    assert play(store, spec, tasks) == 0
    assert sizes(store, spec) == before


def test_failed_episodes_are_replayed_and_replaced(store):
    spec, tasks = make_spec(), make_tasks(3)
    with store.writer(spec, LABELS, ENGINE, tasks) as writer:
        writer.append(make_episode(spec, tasks[0], stop_reason="engine_error", error="out of memory", text="half"))
        writer.append(make_episode(spec, tasks[1], stop_reason="environment_error", error="broke"))
        episode = make_episode(spec, tasks[2], stop_reason="malformed")
        writer.append(episode, make_score(episode, 0.0))
        assert set(writer.finished) == {(tasks[2].id, tasks[2].content_hash, 0)}
    assert store.score_table().value.isna().sum() == 2
    assert play(store, spec, tasks) == 2
    table = store.score_table()
    assert len(table) == 3 and table.value.notna().all()
    assert sorted(table.stop_reason) == ["answer", "answer", "malformed"]
    assert store.trajectory(spec.run_id, tasks[0].id, 0)[1].content == "done 0"
    assert [e.error for e in store.episodes(spec.run_id)] == [None] * 3


def test_regrading_needs_no_model_and_graders_are_never_mixed(store):
    spec, tasks = make_spec(), make_tasks(3)
    play(store, spec, tasks)
    with store.writer(spec, LABELS, ENGINE, tasks) as writer:
        todo = list(writer.unscored("exact/2"))
        assert [e.trajectory[0].content for e in todo] == [t.prompt for t in tasks]
        for episode in todo[:2]:
            writer.append_score(make_score(episode, 0.25, grader="exact/2"))
    latest = store.score_table()
    assert list(latest.value[:2]) == [0.25, 0.25] and math.isnan(latest.value[2])
    assert store.score_table(grader=GRADER).value.notna().all()
    with pytest.raises(StoreError, match=r"no score by grader `exact/3` .*`exact/1`, `exact/2`"):
        store.score_table(grader="exact/3")
    with store.writer(spec, LABELS, ENGINE, tasks) as writer:
        assert [e.task_id for e in writer.unscored("exact/2")] == [tasks[2].id]
        writer.append_score(make_score(todo[0], 1.0))
    with pytest.raises(StoreError, match="in turns, so none is the latest"):
        store.score_table()


def test_a_grade_without_value_is_tried_again(store):
    spec, tasks = make_spec(), make_tasks(1)
    episode = make_episode(spec, tasks[0])
    with store.writer(spec, LABELS, ENGINE, tasks) as writer:
        writer.append(episode, make_score(episode, None))
    with store.writer(spec, LABELS, ENGINE, tasks) as writer:
        assert list(writer.unscored(GRADER)) == [episode]
        writer.append_score(make_score(episode, 0.5))
        assert list(writer.unscored(GRADER)) == []
    assert list(store.score_table().value) == [0.5]


def test_an_old_grade_never_sticks_to_a_new_attempt(store):
    spec, tasks = make_spec(), make_tasks(2)
    play(store, spec, tasks)
    lines = file_of(store, spec, "episodes.jsonl").read_bytes().splitlines(keepends=True)
    file_of(store, spec, "episodes.jsonl").write_bytes(lines[1])  # as after deleting a corrupt line by hand
    with store.writer(spec, LABELS, ENGINE, tasks) as writer:
        writer.append(make_episode(spec, tasks[0], text="other"))  # killed before the grade
    assert math.isnan(store.score_table().value[0])
    assert play(store, spec, tasks) == 0
    assert store.score_table().value.notna().all()


def test_a_changed_character_makes_another_task_under_the_same_id(store):
    spec, tasks = make_spec(), make_tasks(3)
    play(store, spec, tasks)
    before = store.score_table()
    changed = [dataclasses.replace(tasks[0], prompt=tasks[0].prompt + "."), *tasks[1:]]
    with store.writer(spec, LABELS, ENGINE, changed) as writer:
        assert (changed[0].id, changed[0].content_hash, 0) not in writer.finished
        assert changed[0].id not in {e.task_id for e in writer.unscored("another")}
    assert set(store.score_table().task_id) == {t.id for t in tasks[1:]}
    with pytest.raises(StoreError, match="under the task's present content"):
        store.trajectory(spec.run_id, tasks[0].id, 0)
    assert play(store, spec, changed) == 1
    assert list(store.score_table().task_hash) == [t.content_hash for t in changed]
    assert store.trajectory(spec.run_id, tasks[0].id, 0)[0].content == changed[0].prompt
    assert play(store, spec, tasks) == 0
    assert_same(store.score_table(), before)


def test_a_changed_engine_shows_in_the_manifest(store):
    spec, tasks = make_spec(), make_tasks(3)
    play(store, spec, tasks[:2])
    play(store, spec, tasks[:2])
    assert [s.engine for s in store.manifest(spec.run_id).sessions] == [ENGINE]
    newer = ENGINE | {"version": "2"}
    with store.writer(spec, dataclasses.replace(LABELS, arm="renamed"), newer, tasks) as writer:
        writer.append(make_episode(spec, tasks[2]))
    manifest = store.manifest(spec.run_id)
    assert manifest.sessions == (Session(first_line=1, engine=ENGINE), Session(first_line=3, engine=newer))
    assert manifest.labels.arm == "renamed" and set(store.score_table().arm) == {"renamed"}
    assert manifest.spec == spec and manifest.schema_version == SCHEMA_VERSION
    assert manifest.tasks[tasks[2].id] == TaskEntry(hash=tasks[2].content_hash, level=2)


def test_a_store_of_version_1_is_refused_with_file_versions_and_remedy(store):
    spec, tasks = make_spec(), make_tasks(1)
    play(store, spec, tasks)
    path = file_of(store, spec, "manifest.json")
    old = json.loads(path.read_text()) | {
        "schema_version": 1, "labels": {"arm": "agent_sft", "scale": "s1", "params_b": 0.001, "training_seed": 3},
    }  # fmt: skip
    path.write_text(json.dumps(old))
    message = (
        rf"`{path}` has schema version 1; this package reads {SCHEMA_VERSION}\. Run the study again with another "
        r"`paths\.results`, or move this run's folder away\. The version of this package that wrote the file"
    )
    for use in (lambda: store.score_table(), lambda: play(store, spec, tasks)):
        with pytest.raises(StoreError, match=message):
            use()


def test_a_broken_or_foreign_manifest_is_one_clear_error(store):
    spec, tasks = make_spec(), make_tasks(1)
    play(store, spec, tasks)
    path = file_of(store, spec, "manifest.json")
    good = json.loads(path.read_text())
    labels = good["labels"]
    for text, message in (
        ("{", r"manifest.json` is not JSON .* move this run's folder away"),
        ("[]", "has no schema version; this package reads 2"),
        (json.dumps(good | {"schema_version": 99}), "has schema version 99; this package reads 2"),
        (json.dumps(good | {"extra": 1}), "keys that do not fit: unknown 'extra'"),
        (json.dumps({k: v for k, v in good.items() if k != "checks"}), "keys that do not fit: missing 'checks'"),
        (json.dumps(good | {"labels": labels | {"params_b": "7B"}}), "labels.params_b` must be float; got '7B'"),
        (json.dumps(good | {"labels": labels | {"training_seed": 0.5}}), "training_seed` must be int; got 0.5"),
        (json.dumps(good | {"run_id": "other"}), "belongs to run `other`"),
    ):
        path.write_text(text)
        with pytest.raises(StoreError, match=message):
            store.score_table()
        with pytest.raises(StoreError, match=message):
            play(store, spec, tasks)
    path.unlink()
    assert play(store, spec, tasks) == 0
    assert json.loads(path.read_text())["tasks"] == good["tasks"]


# damage


def sizes(store: Store, spec: RunSpec) -> list[int]:
    return [file_of(store, spec, n).stat().st_size for n in ("episodes.jsonl", "scores.jsonl", "trajectories.bin")]


def flip(path: Path, position: int, bit: int = 1) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0] ^ bit
        file.seek(position)
        file.write(bytes([byte]))


def test_a_partial_last_line_is_dropped_at_any_byte_and_the_run_resumes(store):
    spec, tasks = make_spec(), make_tasks(3)
    play(store, spec, tasks)
    undisturbed = store.score_table()
    contents = {n: file_of(store, spec, n).read_bytes() for n in ("episodes.jsonl", "scores.jsonl", "trajectories.bin")}
    lines = contents["episodes.jsonl"].splitlines(keepends=True)
    for cut in range(1, len(lines[2]) + 1, 20):
        file_of(store, spec, "episodes.jsonl").write_bytes(contents["episodes.jsonl"][:-cut])
        file_of(store, spec, "scores.jsonl").write_bytes(b"".join(contents["scores.jsonl"].splitlines(True)[:2]))
        file_of(store, spec, "trajectories.bin").write_bytes(contents["trajectories.bin"] + b"half a block")
        assert len(store.score_table()) == 2  # a reader leaves the tail where it is
        assert play(store, spec, tasks) == 1
        assert_same(store.score_table(), undisturbed)
        assert b"half a block" not in file_of(store, spec, "trajectories.bin").read_bytes()
        assert len(list(store.episodes(spec.run_id, trajectories=True))) == 3
    for cut in range(1, len(contents["scores.jsonl"].splitlines(True)[2]) + 1, 20):
        file_of(store, spec, "scores.jsonl").write_bytes(contents["scores.jsonl"][:-cut])
        assert play(store, spec, tasks) == 0


def test_a_partial_score_is_graded_again_without_playing(store):
    spec, tasks = make_spec(), make_tasks(3)
    play(store, spec, tasks)
    undisturbed = store.score_table()
    path = file_of(store, spec, "scores.jsonl")
    path.write_bytes(path.read_bytes()[:-5])
    assert math.isnan(store.score_table().value[2])
    assert play(store, spec, tasks) == 0
    assert_same(store.score_table(), undisturbed)


@pytest.mark.parametrize("name", ["episodes.jsonl", "scores.jsonl"])
@pytest.mark.parametrize("number", [2, 4])
def test_a_corrupt_line_is_named_and_deleting_it_restores_the_run(store, name, number):
    spec, tasks = make_spec(), make_tasks(4)
    play(store, spec, tasks)
    undisturbed = store.score_table()
    path = file_of(store, spec, name)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[: number - 1], b'{"not": "ours"\n', *lines[number:]]))
    again = "played" if name == "episodes.jsonl" else "graded"
    message = rf"{name}`, line {number}, is not a line of this store\. Delete that line .*that episode is {again} again"
    with pytest.raises(StoreError, match=message):
        store.score_table()
    with pytest.raises(StoreError, match=message):
        play(store, spec, tasks)
    path.write_bytes(b"".join([*lines[: number - 1], *lines[number:]]))
    assert play(store, spec, tasks) == (name == "episodes.jsonl")
    assert_same(store.score_table(), undisturbed)


def test_any_flipped_byte_is_detected(store):
    spec, tasks = make_spec(), make_tasks(3)
    play(store, spec, tasks)
    for name in ("episodes.jsonl", "scores.jsonl"):
        path = file_of(store, spec, name)
        whole = path.read_bytes()
        second = range(whole.index(b"\n") + 1, whole.index(b"\n", whole.index(b"\n") + 1) + 1)
        for position, bit in itertools.chain(zip(second, itertools.cycle((1, 32, 128))), ((second[-1], 1),)):
            flip(path, position, bit)
            with pytest.raises(StoreError, match=r"line [23], (does not match its checksum|is not a line)"):
                store.score_table()
            flip(path, position, bit)
    assert len(store.score_table()) == 3


def test_a_line_of_another_run_is_not_taken(store):
    first, second, tasks = make_spec(0), make_spec(1), make_tasks(1)
    play(store, first, tasks)
    play(store, second, tasks)
    with file_of(store, second, "episodes.jsonl").open("ab") as file:
        file.write(file_of(store, first, "episodes.jsonl").read_bytes())
    with pytest.raises(StoreError, match=f"line 2, belongs to run `{first.run_id}`"):
        store.score_table()


def test_a_table_read_while_the_run_is_written_follows_it(store):
    spec, tasks = make_spec(), make_tasks(3)
    with store.writer(spec, LABELS, ENGINE, tasks) as writer:
        for n, task in enumerate(tasks, 1):
            writer.append(make_episode(spec, task))
            assert len(store.score_table()) == n
    with pytest.raises(StoreError, match="is closed"):
        writer.append(make_episode(spec, tasks[0]))


# writers and processes


CHILD = """
import os, random, resource, signal, sys, time
from pathlib import Path
sys.path[:0] = [{tests!r}, {root!r}]
from test_store import *
store, spec = Store(Path(sys.argv[1])), make_spec()
"""


def child(script: str, store: Store, **kwargs) -> subprocess.Popen:
    here = Path(__file__).parent
    code = CHILD.format(tests=str(here), root=str(here.parents[1])) + textwrap.dedent(script)
    return subprocess.Popen(
        [sys.executable, "-c", code, str(store.root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **kwargs,
    )


def finish(process: subprocess.Popen) -> str:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out


def test_a_second_writer_is_refused_at_once_with_the_process_to_wait_for(store):
    spec, tasks = make_spec(), make_tasks(1)
    message = (
        rf"{spec.run_id}` is being written by process {os.getpid()} on `{os.uname().nodename}` since .*"
        "wait until it ends, or stop it, and then run the same command again"
    )
    with store.writer(spec, LABELS, ENGINE, tasks) as writer:
        with pytest.raises(StoreError, match=message), Store(store.root).writer(spec, LABELS, ENGINE, tasks):
            pass
        out = finish(
            child("""
                try:
                    play(store, spec, make_tasks(1))
                except StoreError as error:
                    print(error)
                """, store)
        )  # fmt: skip
        assert f"process {os.getpid()} on" in out
        with store.writer(make_spec(1), LABELS, ENGINE, tasks):
            pass  # another run is another lock
        writer.append(make_episode(spec, tasks[0]))
    assert play(store, spec, tasks) == 0


def test_a_worker_left_behind_by_a_killed_writer_does_not_hold_the_run(store):
    process = child("""
        with store.writer(spec, LABELS, ENGINE, make_tasks(1)) as writer:
            worker = os.fork()
            if worker == 0:
                os.close(1); os.close(2)
                time.sleep(30)
                os._exit(0)
            print(worker, flush=True)
            time.sleep(30)
        """, store)  # fmt: skip
    worker = int(process.stdout.readline())
    try:
        with pytest.raises(StoreError, match=f"written by process {process.pid} "):
            play(store, make_spec(), make_tasks(1))
        time.sleep(0.05)
        process.kill()
        process.communicate()
        assert play(store, make_spec(), make_tasks(1)) == 1
    finally:
        os.kill(worker, signal.SIGKILL)


def test_appends_from_many_threads_do_not_mix(store):
    spec, tasks = make_spec(), make_tasks(40)
    with store.writer(spec, LABELS, ENGINE, tasks) as writer:

        def work(part: list[Task]) -> None:
            for task in part:
                episode = make_episode(spec, task, text="x" * 5000)
                writer.append(episode, make_score(episode))

        threads = [threading.Thread(target=work, args=(tasks[i::4],)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [e.trajectory[0].content for e in store.episodes(spec.run_id, trajectories=True)] == [
        t.prompt for t in sorted(tasks, key=lambda t: t.id)
    ]


def test_killed_at_ten_random_moments_the_table_equals_an_undisturbed_run(store, tmp_path):
    spec, tasks, n_trials = make_spec(), make_tasks(30), 300
    out = finish(
        child(
            """
            rng, tasks, path = random.Random(7), make_tasks(30), file_of(store, spec, "episodes.jsonl")
            for _ in range(10):
                size = path.stat().st_size if path.exists() else 0
                pid = os.fork()
                if pid == 0:
                    play(store, spec, tasks, n_trials=300)
                    os._exit(0)
                while not path.exists() or path.stat().st_size <= size:
                    time.sleep(0.001)
                time.sleep(rng.uniform(0, 0.005))
                os.kill(pid, signal.SIGKILL)
                assert os.waitpid(pid, 0)[1] == signal.SIGKILL, "it ended before it could be killed"
                print(sum(1 for _ in store.episodes(spec.run_id)))  # every stored line is whole
            """,
            store,
        )
    )
    n_lines = [int(n) for n in out.split()]
    assert len(n_lines) == 10 and n_lines == sorted(n_lines) and 0 < n_lines[-1] < len(tasks) * n_trials
    assert play(store, spec, tasks, n_trials) == len(tasks) * n_trials - n_lines[-1]

    undisturbed = Store(tmp_path / "undisturbed")
    play(undisturbed, spec, tasks, n_trials)
    assert_same(store.score_table(), undisturbed.score_table())
    for a, b in zip(store.episodes(spec.run_id, True), undisturbed.episodes(spec.run_id, True), strict=True):
        assert dataclasses.replace(a, wall_s=0) == dataclasses.replace(b, wall_s=0)


# a full disk


FULL = """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
def limit(n_bytes):
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, resource.RLIM_INFINITY))
"""


@pytest.mark.parametrize(
    "name, n_bytes, text",
    [
        ("episodes.jsonl", 12_345, "''"), ("trajectories.raw", 12_345, "random.randbytes(2000).hex()"),
        ("trajectories.bin", 45_678, "random.randbytes(2000).hex()"),
    ],
)  # fmt: skip
def test_a_full_disk_is_one_clear_error_and_the_same_command_resumes(store, tmp_path, name, n_bytes, text):
    # a limit on the file's size fails like a full disk: first a short write, then an error
    spec, tasks = make_spec(), make_tasks(60)
    script = (
        FULL
        + f"""
tasks = make_tasks(60)
limit({n_bytes})
n = 0
try:
    with store.writer(spec, LABELS, ENGINE, tasks) as writer:
        for n, task in enumerate(tasks):
            episode = make_episode(spec, task, text={text})
            writer.append(episode, make_score(episode, grade(episode)))
except StoreError as error:
    print(n, error)
"""
    )
    n, message = finish(child(script, store)).split(" ", 1)
    assert int(n) > 1
    assert f"cannot write `{file_of(store, spec, name)}`: " in message
    assert "Nothing that was stored is lost" in message
    assert "Free space and run the same command again: it resumes." in message
    content = file_of(store, spec, "episodes.jsonl").read_bytes()
    assert content.endswith(b"\n") and content.count(b"\n") == int(n)
    assert len(store.score_table()) == int(n)
    assert play(store, spec, tasks) == 60 - int(n)

    undisturbed = Store(tmp_path / "undisturbed")
    play(undisturbed, spec, tasks)
    assert_same(store.score_table(), undisturbed.score_table())


def test_a_writer_continues_when_space_has_been_freed(store):
    script = (
        FULL
        + """
tasks = make_tasks(60)
with store.writer(spec, LABELS, ENGINE, tasks) as writer:
    limit(12_345)
    for task in tasks:
        episode = make_episode(spec, task)
        try:
            writer.append(episode, make_score(episode, grade(episode)))
        except StoreError as error:
            print(error)
            limit(resource.RLIM_INFINITY)
            writer.append(episode, make_score(episode, grade(episode)))
"""
    )
    assert finish(child(script, store)).count("cannot write") == 1
    assert len(store.score_table()) == 60
    assert play(store, make_spec(), make_tasks(60)) == 0


def test_a_disk_full_at_opening_keeps_the_old_manifest(store):
    spec, tasks = make_spec(), make_tasks(5)
    play(store, spec, tasks)
    before = file_of(store, spec, "manifest.json").read_bytes()
    script = (
        FULL
        + """
limit(500)
try:
    play(store, spec, make_tasks(50))
except StoreError as error:
    print(error)
"""
    )
    assert "manifest.json" in finish(child(script, store))
    assert file_of(store, spec, "manifest.json").read_bytes() == before
    assert play(store, spec, make_tasks(50)) == 45


# cost


def test_importing_the_store_imports_nothing_heavy():
    code = "import sys, replication.store; print(sorted({'pandas', 'numpy', 'torch', 'asyncio'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert out.stdout == "[]\n", out.stderr


def test_seeds_are_those_of_the_finished_attempts_that_count(store):
    spec, tasks = make_spec(), make_tasks(3)
    others = make_tasks(4)[3]
    with store.writer(spec, LABELS, ENGINE, [*tasks, others]) as writer:
        writer.append(make_episode(spec, others, seeds=(9,)))  # of a task that is not the run's any more
        writer.append(make_episode(spec, tasks[2], seeds=(4,), stop_reason="engine_error", error="down"))
        writer.append(make_episode(spec, tasks[1], seeds=(1,), error="\ud800"))
        writer.append(make_episode(spec, tasks[0], seeds=(2,)))
        writer.append(make_episode(spec, tasks[0], seeds=(2**62, 3)))  # instead of the one before
    with store.writer(spec, LABELS, ENGINE, tasks):
        pass
    assert list(store.seeds(spec.run_id)) == [[2**62, 3], [1]]
    assert list(store.seeds(spec.run_id)) == [
        list(episode.seeds) for episode in store.episodes(spec.run_id) if episode.stop_reason != "engine_error"
    ]
