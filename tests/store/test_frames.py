"""Trajectories in blocks: none is lost by a process that ends at any moment, and those of earlier versions are read."""

import dataclasses
import signal
import zlib

import pytest
from test_store import ENGINE, LABELS, child, file_of, flip, make_episode, make_spec, make_tasks, play

from replication.errors import StoreError
from replication.records import Task
from replication.store import Store, frames
from replication.store.lines import seal_episode
from replication.store.locking import AppendFile

pytest.importorskip("fcntl", reason="writing to the store needs Linux, macOS or WSL")

TEXT = "x" * (frames.BLOCK_BYTES // 4)
"""Of an episode, five of which make a block."""


def ordered(n: int) -> list[Task]:
    """Return tasks in the order in which their episodes are read."""
    return sorted(make_tasks(n), key=lambda task: task.id)


def write(store: Store, spec, tasks, n=None) -> list:
    """Store the first n episodes; return the trajectories of all."""
    with store.writer(spec, LABELS, ENGINE, tasks) as writer:
        for at, task in enumerate(tasks[:n]):
            if (task.id, task.content_hash, 0) not in writer.finished:
                writer.append(make_episode(spec, task, text=f"{at} {TEXT}"))
    return trajectories(store, spec)


def trajectories(store: Store, spec) -> list:
    return [episode.trajectory for episode in store.episodes(spec.run_id, trajectories=True)]


def blocks_of(store: Store, spec) -> list[int]:
    """Return the number of lines in each block."""
    counts: dict[int, int] = {}
    for place in store.current_attempts(spec.run_id).places():
        assert place.frame_place >= frames._IN_BLOCK
        offset = frames._block_and_start(place.frame_place)[0]
        counts[offset] = counts.get(offset, 0) + 1
    return [counts[offset] for offset in sorted(counts)]


def test_frames_are_in_blocks_and_nothing_is_left_outside(tmp_path):
    spec, tasks, store = make_spec(), ordered(12), Store(tmp_path)
    found = write(store, spec, tasks)
    assert [messages[-1].content.split()[0] for messages in found] == [str(n) for n in range(12)]
    assert blocks_of(store, spec) == [4, 4, 4]
    assert file_of(store, spec, frames.RAW).stat().st_size == 0
    assert file_of(store, spec, "trajectories.bin").stat().st_size < 3_000


def test_every_frame_is_read_while_blocks_are_written(tmp_path):
    spec, tasks, store = make_spec(), ordered(12), Store(tmp_path)
    with store.writer(spec, LABELS, ENGINE, tasks) as writer:
        for n, task in enumerate(tasks):
            writer.append(make_episode(spec, task, text=f"{n} {TEXT}"))
            for k, earlier in enumerate(tasks[: n + 1]):
                assert store.trajectory(spec.run_id, earlier.id, 0)[-1].content.startswith(f"{k} {TEXT}")


def test_a_killed_writer_loses_no_frame_and_the_next_one_continues_its_block(tmp_path):
    spec, tasks, store = make_spec(), ordered(12), Store(tmp_path / "killed")
    process = child(
        f"""
        with store.writer(spec, LABELS, ENGINE, make_tasks(12)) as writer:
            writer._synced_s += 1e9  # no block is completed by time
            for n, task in enumerate(sorted(make_tasks(12), key=lambda task: task.id)[:6]):
                writer.append(make_episode(spec, task, text=f"{{n}} {TEXT}"))
            os.kill(os.getpid(), signal.SIGKILL)
        """,
        store,
    )
    assert process.wait(60) == -signal.SIGKILL
    process.communicate()
    assert file_of(store, spec, frames.RAW).stat().st_size > 2 * len(TEXT)
    whole = write(Store(tmp_path / "whole"), spec, tasks)
    assert trajectories(store, spec) == whole[:6]
    assert write(store, spec, tasks) == whole and blocks_of(store, spec) == [4, 4, 4]


@pytest.mark.parametrize(
    "state",
    [
        "raw before block",
        "part of block",
        "block before raw is emptied",
        "raw of a line not written",
        "raw of the next block",
    ],
)
def test_ended_between_any_two_writes_a_run_resumes_without_a_loss(tmp_path, state):
    spec, tasks, store = make_spec(), ordered(8), Store(tmp_path)
    whole = write(store, spec, tasks, 6)
    assert blocks_of(store, spec) == [4, 2]
    path, raw = file_of(store, spec, "trajectories.bin"), file_of(store, spec, frames.RAW)
    content = path.read_bytes()
    stream = zlib.decompressobj()
    stream.decompress(content)
    last = stream.unused_data
    start, frame = content[: -len(last)], zlib.decompress(last)
    files = {
        "raw before block": (start, frame),
        "part of block": (start + last[:-9], frame),
        "block before raw is emptied": (content, frame),
        "raw of a line not written": (start, frame + b"more"),
        "raw of the next block": (content, b"[more]"),
    }
    path.write_bytes(files[state][0])
    raw.write_bytes(files[state][1])
    assert trajectories(store, spec) == whole
    found = write(store, spec, tasks)
    assert found[:6] == whole and found[7][-1].content.startswith(f"7 {TEXT}")
    assert raw.stat().st_size == 0 and path.read_bytes().startswith(start)


def test_a_run_of_an_earlier_version_is_read_and_continued(tmp_path):
    spec, tasks, old, new = make_spec(), ordered(4), Store(tmp_path / "old"), Store(tmp_path / "new")
    whole = write(new, spec, tasks)
    with old.writer(spec, LABELS, ENGINE, tasks):
        pass
    lines, data = b"", b""
    for episode in new.episodes(spec.run_id, trajectories=True):
        frame = zlib.compress(frames.frame_of(episode.trajectory), 1)
        lines += seal_episode(episode, (len(data), len(frame), zlib.crc32(frame))).line
        data += frame
    file_of(old, spec, "episodes.jsonl").write_bytes(lines)
    file_of(old, spec, "trajectories.bin").write_bytes(data + b"half a frame")
    file_of(old, spec, frames.RAW).unlink()
    assert trajectories(old, spec) == whole
    with old.writer(spec, LABELS, ENGINE, tasks) as writer:
        for task in tasks:
            writer.append(make_episode(spec, task, 1, text=TEXT))
    found = list(old.episodes(spec.run_id, trajectories=True))
    assert [episode.trajectory for episode in found if episode.trial == 0] == whole
    assert [episode.trajectory[-1].content[: len(TEXT)] for episode in found if episode.trial == 1] == [TEXT] * 4
    assert file_of(old, spec, "trajectories.bin").read_bytes().startswith(data + b"x")  # a zlib stream begins so
    with file_of(old, spec, "trajectories.bin").open("r+b") as file:
        file.truncate(len(data) - 1)
    with pytest.raises(StoreError, match=r"points beyond what can be read of it from line 4 on"):
        play(old, spec, tasks)


@pytest.mark.parametrize("first, second", [(zlib.compress, frames.compress), (frames.compress, zlib.compress)])
def test_blocks_of_either_library_and_of_any_size_are_read_and_continued(tmp_path, monkeypatch, first, second):
    spec, tasks, store = make_spec(), ordered(40), Store(tmp_path)
    for compress, size, some in ((first, 1 << 12, tasks[:20]), (second, 1 << 15, tasks[20:])):
        monkeypatch.setattr(frames, "compress", compress)
        monkeypatch.setattr(frames, "BLOCK_BYTES", size)
        with store.writer(spec, LABELS, ENGINE, tasks) as writer:
            for task in some:
                writer.append(make_episode(spec, task, text=TEXT))
    read = list(store.episodes(spec.run_id, trajectories=True))
    assert [e.trajectory[1].content for e in read] == [
        make_episode(spec, t, text=TEXT).trajectory[1].content for t in tasks
    ]


def test_damage_in_a_block_is_found_and_other_blocks_are_read(tmp_path):
    spec, tasks, store = make_spec(), ordered(12), Store(tmp_path)
    whole = write(store, spec, tasks)
    path = file_of(store, spec, "trajectories.bin")
    places = [frames._block_and_start(place.frame_place)[0] for place in store.current_attempts(spec.run_id).places()]
    first, second, third = sorted(set(places))
    for offset, of in ((first, 0), (second, 4), (third, 8)):
        flip(path, offset + 30)
        for n, task in enumerate(tasks):
            if of <= n < of + 4:
                with pytest.raises(StoreError, match=rf"damaged at byte {offset} or missing.*delete line {n + 1} of"):
                    store.trajectory(spec.run_id, task.id, 0)
            else:
                assert store.trajectory(spec.run_id, task.id, 0) == whole[n]
        flip(path, offset + 30)
    # Whether the last block is whole is asked at each opening, of an incomplete copy too.
    for cut in (third + 5, third, second + 5):
        path.write_bytes(path.read_bytes()[:cut])
        n = 5 if cut < third else 9
        with pytest.raises(
            StoreError, match=rf"ends at byte {cut}, .* from line {n} on .* delete line {n} and all after"
        ):
            play(store, spec, tasks)


def test_an_append_that_was_interrupted_leaves_nothing_in_the_block(tmp_path):
    import numpy as np

    with AppendFile(tmp_path / "trajectories.bin") as blocks, AppendFile(tmp_path / frames.RAW) as raw:
        writer = frames.FrameWriter(blocks, raw, np.empty((0, 3), np.int64))
        one = writer.append(b"one")
        raw.append(b"interrupted")
        writer.undo(writer.append(b"taken back"))
        two = writer.append(b"two")
        assert (tmp_path / frames.RAW).read_bytes() == b"onetwo"
        reader = frames.FrameReader(tmp_path)
        assert [reader.read(frame) for frame in (one, two)] == [b"one", b"two"]
        writer.complete()
        assert [reader.read(frame) for frame in (one, two)] == [b"one", b"two"]
        assert reader.read(two._replace(crc=two.crc ^ 1)) is None and raw.size() == 0
        reader.close()


def test_equal_frames_of_two_blocks_are_not_confused(tmp_path):
    spec, (task,), store = make_spec(), make_tasks(1), Store(tmp_path)
    for trial in range(3):
        with store.writer(spec, LABELS, ENGINE, [task]) as writer:
            writer.append(make_episode(spec, task, trial))
    # Killed after the frame of a fourth, equal attempt was written and before its line was.
    whole = trajectories(store, spec)
    file_of(store, spec, frames.RAW).write_bytes(frames.frame_of(whole[0]))
    with store.writer(spec, LABELS, ENGINE, [task]) as writer:
        writer.append(dataclasses.replace(make_episode(spec, task, 3), trajectory=()))
    assert trajectories(store, spec) == [*whole, ()]
