"""A scan of a long run saves time and changes nothing: not what is read, and not what damage is found."""

import dataclasses
import random
import signal
import zlib
from pathlib import Path

import numpy as np
import pytest
from test_store import (
    ENGINE,
    GRADER,
    LABELS,
    assert_same,
    child,
    file_of,
    flip,
    grade,
    make_episode,
    make_score,
    make_spec,
    make_tasks,
    play,
)

from replication.errors import StoreError
from replication.records import RunSpec, Score
from replication.store import Store, columns, scanned
from replication.store.locking import AppendFile

pytest.importorskip("fcntl", reason="writing to the store needs Linux, macOS or WSL")


def files_of(store: Store, spec: RunSpec, suffix: str) -> list[Path]:
    return sorted((store.root / spec.run_id).glob(f"*{suffix}"))


def scanned_rows(store: Store, spec: RunSpec) -> list[int]:
    """Return how many lines of each file an opening need not read."""
    found = []
    for name, dtype in (("episodes.jsonl", columns.ATTEMPT), ("scores.jsonl", columns.GRADE)):
        scan = scanned.load(file_of(store, spec, name), spec.run_id, np.dtype(dtype))
        assert scan.extent.n_rows == sum(map(len, scan.parts))
        found.append(scan.extent.n_rows)
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


def resealed(data: bytes, old: bytes, new: bytes) -> bytes:
    """Change the header of the first part, with a checksum that is right."""
    header, _, rest = data.partition(b"\n")
    body = header.rpartition(b',"crc":')[0].replace(old, new, 1)
    assert body + header[len(body) :] != header
    return b'%s,"crc":"%08x"}\n' % (body, zlib.crc32(body)) + rest


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"", lambda data: data[:-1], lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:],
        lambda data: b"{}\n" + data, lambda data: b"\xff" + data[1:],
        lambda data: data.replace(b"terminal/evaluation/0/3", b"terminal/evaluation/0/4", 1),
        lambda data: resealed(data, b'"version":2', b'"version":1'), lambda data: resealed(data, b"org-model", b"org-other"),
        lambda data: resealed(data, b"'trial'", b"'trick'"), lambda data: resealed(data, b'"start":0', b'"start":1'),
        lambda data: resealed(data, b'"end":', b'"end":1'),
    ],
    ids=["empty", "cut", "flipped", "other-header", "not-json", "other-task", "other-version", "other-run",
         "other-columns", "other-start", "other-end"],
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


def read(store: Store, spec: RunSpec) -> list[np.ndarray]:
    """Return the rows of both files, with the names that their codes stand for."""
    found = []
    for kind, name in ((columns.Attempts, "episodes.jsonl"), (columns.Grades, "scores.jsonl")):
        tasks, texts, rows, _ = kind.read(file_of(store, spec, name), spec.run_id)
        found += [rows, np.array(list(tasks)), np.array(list(texts))]
    return found


def test_rows_that_the_writer_noted_are_those_that_reading_the_lines_gives(tmp_path):
    spec, tasks, store = make_spec(), make_tasks(4), Store(tmp_path, scan_lines=3)
    hostile = {"n": float("nan"), "text": "\ud800 null", "big": 1e300, "deep": {"b": [None], "a": 10**30}}
    with store.writer(spec, LABELS, ENGINE, tasks) as writer:
        for trial in (0, 1, 2**40):
            for task in tasks:
                episode = make_episode(spec, task, trial, text="\udfff", error="a \ud800 in it")
                writer.append(episode, make_score(episode, 0.3, **hostile))
        failed = make_episode(spec, tasks[1], 1, stop_reason="engine_error", error="down")
        writer.append(failed, Score.of(failed, GRADER, None))
        writer.append(make_episode(spec, tasks[2], 0, stop_reason="context_overflow", n_turns=1, seeds=(1,)))
        writer.append(make_episode(spec, tasks[2], 1, stop_reason="context_overflow", n_turns=2, seeds=(1, 2)))
        for value in (0.25, None):
            writer.append_score(make_score(make_episode(spec, tasks[3], 1), value, grader="other/1"))
    assert scanned_rows(store, spec) == [15, 15]
    noted = read(store, spec)
    for path in files_of(store, spec, ".scan"):
        path.unlink()
    for a, b in zip(noted, read(store, spec), strict=True):
        assert a.dtype == b.dtype and a.tobytes() == b.tobytes()
    reasons = noted[2].tolist()
    assert reasons == ["answer", "engine_error", "prompt_too_long", "context_overflow"]


def test_a_killed_writer_leaves_a_scan_of_all_but_its_last_lines(tmp_path):
    spec, tasks = make_spec(), make_tasks(10)
    process = child(
        """
        with Store(store.root, scan_lines=8).writer(spec, LABELS, ENGINE, make_tasks(10)) as writer:
            for trial in range(3):
                for task in make_tasks(10):
                    episode = make_episode(spec, task, trial)
                    writer.append(episode, make_score(episode, grade(episode)))
            os.kill(os.getpid(), signal.SIGKILL)
        """,
        Store(tmp_path),
    )
    assert process.wait(60) == -signal.SIGKILL
    process.communicate()
    store = Store(tmp_path, scan_lines=8)
    assert scanned_rows(store, spec) == [24, 24]
    parts = [path.read_bytes() for path in files_of(store, spec, ".scan")]
    assert len(store.finished(spec.run_id)) == 30
    # The next writer goes on behind the last part: two lines more than the six that are left make another one.
    with store.writer(spec, LABELS, ENGINE, tasks) as writer:
        for task in tasks[:2]:
            episode = make_episode(spec, task, 3)
            writer.append(episode, make_score(episode, grade(episode)))
    assert scanned_rows(store, spec) == [32, 32]
    for path, before in zip(files_of(store, spec, ".scan"), parts, strict=True):
        assert path.read_bytes().startswith(before)
    plain = Store(tmp_path / "plain")
    play(plain, spec, tasks, n_trials=3)
    assert_same(store.score_table().query("trial < 3").reset_index(drop=True), plain.score_table())


def test_parts_before_a_damaged_one_are_used_and_the_others_written_anew(tmp_path):
    spec, tasks, store = make_spec(), make_tasks(10), Store(tmp_path, scan_lines=10)
    play(store, spec, tasks, n_trials=4)
    assert scanned_rows(store, spec) == [40, 40]
    whole = [path.read_bytes() for path in files_of(store, spec, ".scan")]
    for path in files_of(store, spec, ".scan"):
        flip(path, len(path.read_bytes()) * 5 // 8)  # in the third of four
    assert scanned_rows(store, spec) == [20, 20] and len(store.finished(spec.run_id)) == 40
    assert play(store, spec, tasks, n_trials=4) == 0
    assert scanned_rows(store, spec) == [40, 40]
    for path, before in zip(files_of(store, spec, ".scan"), whole, strict=True):
        assert path.read_bytes() != before and path.read_bytes()[: len(before) // 2 - 200] in before


def test_a_scan_of_other_lines_of_the_same_run_is_not_used(tmp_path):
    spec, tasks = make_spec(), make_tasks(10)
    one, other = Store(tmp_path / "one", scan_lines=10), Store(tmp_path / "other", scan_lines=10)
    play(one, spec, tasks)
    play(other, spec, tasks, order=random.Random(3))
    for path in files_of(one, spec, ".scan"):
        path.write_bytes((other.root / spec.run_id / path.name).read_bytes())
    assert scanned_rows(one, spec) == [0, 0]
    assert_same(Store(one.root).score_table(), other.score_table())


def test_a_line_of_which_no_note_was_taken_ends_the_scan_before_it(tmp_path):
    path, rows = tmp_path / "scores.jsonl", np.zeros(6, columns.GRADE)
    with AppendFile(path) as file:
        scan = scanned.ScanWriter(file, "run", {}, {}, rows[:0], scanned.Extent(), every=2)
        for n, row in enumerate(rows):
            offset, line = file.size(), b"%d\n" % n
            file.append(line)
            if n != 2:  # an interrupt between the append and the note
                scan.add(row.tobytes(), line, offset)
    assert scanned.load(path, "run", rows.dtype).extent.n_rows == 2
