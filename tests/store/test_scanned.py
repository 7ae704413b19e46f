"""A scan of a long run saves time and changes nothing: not what is read, and not what damage is found."""

import dataclasses
import random
from pathlib import Path

import numpy as np
import pytest
from test_store import assert_same, file_of, flip, make_spec, make_tasks, play

from replication.errors import StoreError
from replication.records import RunSpec
from replication.store import Store, columns, scanned

pytest.importorskip("fcntl", reason="writing to the store needs Linux, macOS or WSL")


def files_of(store: Store, spec: RunSpec, suffix: str) -> list[Path]:
    return sorted((store.root / spec.run_id).glob(f"*{suffix}"))


def scanned_rows(store: Store, spec: RunSpec) -> list[int]:
    """Return how many lines of each file an opening need not read."""
    found = []
    for name, dtype in (("episodes.jsonl", columns.ATTEMPT), ("scores.jsonl", columns.GRADE)):
        scan = scanned.load(file_of(store, spec, name), spec.run_id, np.dtype(dtype))
        found.append(0 if scan is None else len(scan.rows))
    return found


@pytest.fixture
def long(tmp_path):
    """A store with two trials of ten tasks in a scan, a third behind it, and the table of a store that has no scans."""
    spec, tasks, store = make_spec(), make_tasks(10), Store(tmp_path / "long", scan_lines=20)
    play(store, spec, tasks, n_trials=2, order=random.Random(1))
    play(store, spec, tasks, n_trials=3)
    plain = Store(tmp_path / "plain")
    play(plain, spec, tasks, n_trials=3)
    assert files_of(plain, spec, ".scan") == [] and len(files_of(store, spec, ".scan")) == 2
    assert scanned_rows(store, spec) == [20, 20]
    return store, spec, tasks, plain.score_table()


def test_a_run_with_a_scan_is_read_and_resumed_like_one_without(long):
    store, spec, tasks, table = long
    assert_same(Store(store.root).score_table(), table)
    assert [len(list(store.episodes(spec.run_id, trajectories=True))), len(store.finished(spec.run_id))] == [30, 30]
    assert store.trajectory(spec.run_id, tasks[3].id, 2)[1].content == "done 5"
    assert play(store, spec, tasks, n_trials=3) == 0
    assert play(store, spec, tasks, n_trials=4) == 10
    assert scanned_rows(store, spec) == [40, 40]
    changed = [*tasks[:9], dataclasses.replace(tasks[9], prompt="Another.")]
    assert play(store, spec, changed, n_trials=4) == 4 and play(store, spec, tasks, n_trials=4) == 0
    assert_same(store.score_table().query("trial < 3").reset_index(drop=True), table)


def test_a_writer_that_was_killed_before_its_scan_gets_one_when_it_is_opened_again(long):
    store, spec, tasks, table = long
    for path in files_of(store, spec, ".scan"):
        path.unlink()
    assert play(store, spec, tasks, n_trials=3) == 0 and scanned_rows(store, spec) == [30, 30]
    assert_same(store.score_table(), table)


def test_damage_below_a_scan_is_found_with_its_line(long):
    store, spec, tasks, _ = long
    for name in ("episodes.jsonl", "scores.jsonl"):
        path = file_of(store, spec, name)
        position = path.read_bytes().index(b"\n", 50) + 150  # in line 2
        flip(path, position)
        for use in (lambda: Store(store.root).score_table(), lambda: play(store, spec, tasks, n_trials=3)):
            with pytest.raises(StoreError, match=rf"{name}`, line 2, does not match its checksum"):
                use()
        flip(path, position)
    lines = file_of(store, spec, "episodes.jsonl").read_bytes().splitlines(keepends=True)
    file_of(store, spec, "episodes.jsonl").write_bytes(b"".join(lines[:4] + lines[5:]))
    assert len(Store(store.root).score_table()) == 29
    assert play(store, spec, tasks, n_trials=3) == 1


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"", lambda data: data[:-1], lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:],
        lambda data: b"{}\n" + data, lambda data: b"\xff" + data[1:], lambda data: data.replace(b":1,", b":0,", 1),
        lambda data: data.replace(b"org-model", b"org-other", 1), lambda data: data.replace(b"'trial'", b"'trick'", 1),
    ],
    ids=["empty", "cut", "flipped", "other-header", "not-json", "other-version", "other-run", "other-columns"],
)  # fmt: skip
def test_a_scan_that_is_damaged_or_of_another_version_is_not_used(long, spoil):
    store, spec, tasks, table = long
    for path in files_of(store, spec, ".scan"):
        data = path.read_bytes()
        assert spoil(data) != data
        path.write_bytes(spoil(data))
    assert scanned_rows(store, spec) == [0, 0]
    assert_same(Store(store.root).score_table(), table)
    assert play(store, spec, tasks, n_trials=3) == 0


def test_a_scan_that_cannot_be_written_stops_nothing(long):
    store, spec, tasks, table = long
    for path in files_of(store, spec, ".scan"):
        path.unlink()
        (path / "in the way").mkdir(parents=True)
    assert play(store, spec, tasks, n_trials=3) == 0
    assert_same(Store(store.root).score_table(), table)
    assert not list((store.root / spec.run_id).glob(".*"))
