"""A signal ends a command with all its processes, and the same command then gives the result of an undisturbed one."""

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from replication import settings
from replication.collect import build
from replication.store import Store

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes in /proc")
ROOT = settings.CONF.parent

TASKS = """
import os, sys, time
from pathlib import Path
from replication import processes

def sleep(folder):
    name = Path(folder) / f"{os.getpid()}"
    try:
        name.with_suffix(".begun").touch()
        time.sleep(60)
    finally:
        name.with_suffix(".cleaned").touch()

def side_by_side(folder):
    processes.interrupt_on_signals()
    with processes.workers(2) as pool:
        futures = [pool.submit(processes.call, sleep, folder) for _ in range(4)]
        [future.result() for future in futures]

def stage(folder):
    processes.interrupt_on_signals()
    sys.exit(processes.run_stage([sys.executable, __file__, "side_by_side", folder]))

if __name__ == "__main__":
    from replication.errors import exit_on_error
    exit_on_error(globals()[sys.argv[1]])(sys.argv[2])
"""


class Command:
    """A command in a process of its own, all of whose descendants can be found."""

    def __init__(self, *arguments: str, group: bool = True):
        self.mark = f"TEST_MARK={uuid.uuid4()}".encode()
        name, _, value = self.mark.decode().partition("=")
        env = os.environ | {name: value, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, *arguments], env=env, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=group,
        )  # fmt: skip

    def alive(self) -> list[str]:
        """List the command lines of the command's processes, wherever they hang now; multiprocessing's tracker ends last."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if self.mark in (folder / "environ").read_bytes():
                    line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    found += [line] if line.strip() else []  # a zombie has none
        return found

    def end(self, number: int, *, whole_group: bool = False) -> tuple[int, str]:
        """Send a signal and return the exit code and the output, once nothing is alive."""
        (os.killpg if whole_group else os.kill)(self.process.pid, number)
        output, _ = self.process.communicate(timeout=90)
        return self.process.returncode, output

    def assert_nothing_alive(self) -> None:
        deadline = time.monotonic() + 30
        while self.alive():
            assert time.monotonic() < deadline, self.alive()
            time.sleep(0.1)


@pytest.fixture
def tasks(tmp_path):
    script = tmp_path / "tasks.py"
    script.write_text(TASKS)
    (tmp_path / "out").mkdir()

    def start(name: str) -> Command:
        command = Command(str(script), name, str(tmp_path / "out"))
        deadline = time.monotonic() + 60
        while len(list((tmp_path / "out").glob("*.begun"))) < 2:
            assert command.process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        return command

    return start


@pytest.mark.parametrize("name", ["side_by_side", "stage"])
@pytest.mark.parametrize(
    ("number", "whole_group"), [(signal.SIGTERM, False), (signal.SIGTERM, True), (signal.SIGINT, True)]
)
def test_signal_ends_workers_after_they_have_cleaned_up(tasks, tmp_path, name, number, whole_group):
    command = tasks(name)
    started = time.monotonic()
    code, output = command.end(number, whole_group=whole_group)
    assert code == 128 + number
    # Two lines from a stage and its command, and no traceback.
    assert set(output.splitlines()) == {"interrupted; the same command resumes"}
    command.assert_nothing_alive()
    assert time.monotonic() - started < 15
    # The tasks that waited were not begun.
    assert len(list((tmp_path / "out").glob("*.begun"))) == len(list((tmp_path / "out").glob("*.cleaned"))) == 2


@pytest.mark.parametrize("name", ["side_by_side", "stage"])
def test_workers_and_stages_end_when_their_parent_was_killed(tasks, tmp_path, name):
    command = tasks(name)
    command.end(signal.SIGKILL)
    command.assert_nothing_alive()
    assert len(list((tmp_path / "out").glob("*.cleaned"))) == 2


def test_a_stage_that_ends_by_itself_gives_its_exit_code():
    code = "import sys; from replication.processes import run_stage; sys.exit(run_stage([sys.executable, '-c', 'exit(7)']))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 7


# -- commands ----------------------------------------------------------------------------------------------------------

ARMS = ("general", "placebo", "placebo_then_sft", "sft_then_lwm_rl", "agent_sft_matched")


def overrides(results: Path, *more: str, without: tuple[str, ...] = ARMS) -> list[str]:
    return [
        "study=controlled_tiny", "study.training_seeds=[0]", "probe.n_tasks=0", *(f"~arms.{arm}" for arm in without),
        "arms.base.scales=[xs]", "arms.agent_sft.scales=[xs]", "arms.lwm_then_sft.scales=[xs]",
        "training.save_every_s=0.5", "tracking.mode=disabled", f"paths.results={results}", *more,
    ]  # fmt: skip


def trained(results: Path) -> dict[str, tuple[str, list[str]]]:
    """Read the weights and the losses of each training run."""
    runs = {}
    for path in sorted((results / "training").glob("*/training.json")):
        record = json.loads(path.read_text())
        with (path.parent / "curve.csv").open() as file:
            runs[record["arm"]] = (record["weights_sha256"], [row["loss"] for row in csv.DictReader(file)])
    return runs


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_interrupted_training_resumes_to_the_same_weights(tmp_path, number):
    command = ["-m", "replication", "train"]

    def chosen(results: Path) -> list[str]:  # with an arm that takes steps for `agent_sft`
        return overrides(results, "arms.agent_sft_matched.scales=[xs]", without=ARMS[:-1])

    undisturbed = subprocess.run(
        [sys.executable, *command, *chosen(tmp_path / "whole")], cwd=ROOT, capture_output=True, text=True
    )
    assert undisturbed.returncode == 0, undisturbed.stderr
    results = tmp_path / "results"

    def n_saved() -> int:
        return len(list(results.glob("training/*/state-*.pt")) + list(results.glob("training/*/training.json")))

    for at in range(3):  # at the start, in a phase, later
        before = n_saved()
        running = Command(*command, *chosen(results))
        deadline = time.monotonic() + 120
        while at and n_saved() <= before and running.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        if not at:
            time.sleep(3)
        code, output = running.end(number)
        assert code == (-number if number == signal.SIGKILL else 128 + number), output
        assert "Traceback" not in output
        running.assert_nothing_alive()
    resumed = subprocess.run([sys.executable, *command, *chosen(results)], cwd=ROOT, capture_output=True, text=True)
    assert resumed.returncode == 0, resumed.stderr
    assert trained(results) == trained(tmp_path / "whole") and len(trained(results)) == 4
    left = [path.name for path in results.rglob("*") if path.suffix in (".tmp", ".pt")]
    assert left == []


@pytest.mark.slow
def test_interrupted_run_on_two_engines_resumes_to_the_same_scores(tmp_path, monkeypatch):
    from hydra import compose, initialize_config_dir
    from test_end_to_end import pretend_trained

    tables = []
    for name, interrupted in (("whole", False), ("results", True)):
        chosen = overrides(
            tmp_path / name,
            "engine=scripted",
            "engine.processes=2",
            "engine.concurrency=2",
            "benchmarks.terminal.n_tasks=1500",
        )
        settings.register()
        with initialize_config_dir(str(settings.CONF), version_base="1.3"):
            pretend_trained(settings.checked(compose("config", overrides=chosen)))
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL) if interrupted else ():
            running = Command("-m", "replication", "run", *chosen)
            stored = sum(path.stat().st_size for path in (tmp_path / name).glob("store/*/episodes.jsonl"))
            deadline = time.monotonic() + 120
            while sum(p.stat().st_size for p in (tmp_path / name).glob("store/*/episodes.jsonl")) <= stored:
                assert running.process.poll() is None and time.monotonic() < deadline, running.process.communicate()
                time.sleep(0.02)
            code, output = running.end(number)
            assert code == (-number if number == signal.SIGKILL else 128 + number), output
            assert "Traceback" not in output
            running.assert_nothing_alive()
        done = subprocess.run(
            [sys.executable, "-m", "replication", "run", *chosen], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        tables.append(Store(tmp_path / name / "store").score_table())
    assert len(tables[0]) == 3 * (1500 + 6 * 4)
    assert tables[0].equals(tables[1])


@pytest.mark.slow
def test_signal_to_replicate_ends_the_stage_and_its_workers(tmp_path):
    running = Command("-m", "replication", "replicate", *overrides(tmp_path))
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("training/*/state-*.pt")):
        assert running.process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    assert len(running.alive()) >= 4  # replicate, train, two workers
    code, output = running.end(signal.SIGTERM)
    assert code == 143 and "interrupted; the same command resumes" in output and "Traceback" not in output
    running.assert_nothing_alive()


@pytest.mark.parametrize("command", ["paper", "plan"])
def test_signal_while_a_command_starts_is_no_traceback(command, tmp_path):
    running = Command("-m", "replication", command, "study=reanalysis", f"paths.paper={tmp_path}/paper")
    maps, deadline = Path(f"/proc/{running.process.pid}/maps"), time.monotonic() + 60
    while "numpy" not in maps.read_text():  # it imports, and has not begun to work
        assert running.process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    code, output = running.end(signal.SIGTERM)
    assert code == 143 and output.endswith("interrupted; the same command resumes\n") and "Traceback" not in output


def test_signal_within_exec_keeps_its_exit_code(tmp_path):
    (tmp_path / "interrupted.py").write_text(
        "from replication.errors import exit_on_error\n"
        "from replication.processes import interrupt_on_signals\n"
        "interrupt_on_signals()\n"
        "exit_on_error(exec)('import os, signal; os.kill(os.getpid(), signal.SIGTERM)')\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, "-m", "interrupted"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
    )
    assert done.returncode == 143


def test_second_training_of_a_run_is_refused_and_names_the_first(tmp_path):
    from hydra import compose, initialize_config_dir

    from replication.store.locking import locked

    settings.register()
    with initialize_config_dir(str(settings.CONF), version_base="1.3"):
        cfg = settings.checked(compose("config", overrides=overrides(tmp_path)))
    folders = [build.training_folder(cfg, run) for run in build.training_runs(cfg)]
    with contextlib.ExitStack() as stack:
        for folder in folders:
            stack.enter_context(locked(folder))
        second = Command("-m", "replication", "train", *overrides(tmp_path))
        output, _ = second.process.communicate(timeout=120)
    assert second.process.returncode == 2
    assert f"is being written by process {os.getpid()} on `{os.uname().nodename}` since" in output
    assert "wait until it ends, or stop it, and then run the same command again; it resumes" in output
    second.assert_nothing_alive()
