"""What collecting takes: sums over commands, parts of runs that share a pool, energy, code and machine."""

import dataclasses
import subprocess
import sys
import types

import pytest
from parts import expert_script, make_job, script_of_all

from replication.collect import accounting, gpus, provenance, runner
from replication.collect.engines.scripted import ScriptedEngine
from replication.errors import EngineError
from replication.store import Store

PRICES = accounting.Prices("EUR", 3600.0, 0.0, 1e6)


def collect(store, script, *jobs, **options):
    return runner.collect(store, ScriptedEngine(script), jobs, concurrency=4, title="test", **options)


def test_counts_and_tokens_of_two_commands_are_summed_and_nothing_is_added_when_nothing_is_played(tmp_path):
    job, store = make_job(n_tasks=4, n_trials=2), Store(tmp_path)
    part = dataclasses.replace(job, n_trials=1)
    for one in (part, job, job):
        collect(store, expert_script(job), one)
    (taken,) = store.manifest(job.spec.run_id).collected
    table = store.score_table()
    assert (taken.n_commands, taken.stop_reasons) == (2, {"answer": 8})
    assert taken.n_completion_tokens == table["n_completion_tokens"].sum()
    assert taken.n_prompt_tokens == table["n_prompt_tokens"].sum()
    assert (taken.joules, taken.gpus, taken.cost, taken.is_card_shared) == (None, (), None, False)


def test_attempts_that_failed_count_beside_those_that_replaced_them_also_after_an_error(tmp_path):
    job, store = make_job(n_tasks=3, n_trials=1), Store(tmp_path)

    def refuse(request):
        raise EngineError("gone")

    with pytest.raises(EngineError, match="3 of 3 episodes failed"):
        collect(store, refuse, job)
    collect(store, expert_script(job), job)
    (taken,) = store.manifest(job.spec.run_id).collected
    assert taken.stop_reasons == {"engine_error": 3, "answer": 3}


def test_another_commit_begins_a_new_entry(tmp_path, monkeypatch):
    job, store = make_job(n_tasks=1, n_trials=2), Store(tmp_path)
    collect(store, expert_script(job), dataclasses.replace(job, n_trials=1))
    monkeypatch.setattr(provenance, "__version__", "9")
    provenance.code.cache_clear()
    collect(store, expert_script(job), job)
    provenance.code.cache_clear()
    assert [one.code["replication"] == "9" for one in store.manifest(job.spec.run_id).collected] == [False, True]
    assert len(store.manifest(job.spec.run_id).sessions) == 1


def test_runs_of_a_pool_divide_its_time_by_their_tokens_and_the_cost_follows(tmp_path):
    jobs, store = (
        [make_job("terminal", n_tasks=6, n_trials=1), make_job("calling", n_tasks=2, n_trials=1)],
        Store(tmp_path),
    )
    collect(store, script_of_all(jobs), *jobs, prices=PRICES)
    a, b = (store.manifest(job.spec.run_id).collected[0] for job in jobs)
    tokens = [one.n_prompt_tokens + one.n_completion_tokens for one in (a, b)]
    whole = a.engine_s + b.engine_s
    assert a.engine_s == pytest.approx(whole * tokens[0] / sum(tokens), abs=0.0015)  # each is rounded to milliseconds
    # An hour costs 3,600 and a completion token 1.
    assert a.cost == pytest.approx(a.engine_s + a.n_completion_tokens, abs=0.001) and a.currency == "EUR"


def test_the_syntax_of_tool_calls_is_recorded(tmp_path):
    job, store = dataclasses.replace(make_job(n_tasks=1, n_trials=1), tool_syntax="llama3"), Store(tmp_path)
    collect(store, expert_script(job), job)
    assert store.manifest(job.spec.run_id).collected[0].tool_syntax == "llama3"


def git(folder, *arguments):
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    subprocess.run(["git", "-C", folder, *identity, *arguments], check=True, capture_output=True)


def test_commit_and_dirty_flag_are_those_of_the_checkout_itself(tmp_path):
    (tmp_path / "inner").mkdir()
    file = tmp_path / "a.py"
    file.write_text("1")
    assert provenance.git(tmp_path) == {"commit": None, "dirty": None}
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "x")
    clean = provenance.git(tmp_path)
    assert len(clean["commit"]) == 40 and clean["dirty"] is False
    (tmp_path / "untracked").write_text("")
    assert provenance.git(tmp_path) == clean
    file.write_text("2")
    assert provenance.git(tmp_path) == clean | {"dirty": True}
    assert provenance.git(tmp_path / "inner") == {"commit": None, "dirty": None}


def test_a_machine_without_git_has_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.git(provenance.CHECKOUT) == {"commit": None, "dirty": None}


def test_versions_are_those_of_installed_packages():
    import numpy

    assert provenance.packages()["numpy"] == numpy.__version__


UUIDS = ("GPU-aa1", "GPU-aa2", "GPU-b")


@pytest.mark.parametrize(
    ("devices", "positions"),
    [
        (None, [0, 1, 2]), ("2,0", [2, 0]), ("GPU-b", [2]), ("GPU-aa", []), ("1, GPU-aa1", [1, 0]), ("", []), ("-1", []),
        ("0,7,1", [0]), ("1,1", [1]),
    ],
)  # fmt: skip
def test_visible_cards_are_those_that_cuda_would_use(devices, positions):
    assert gpus.chosen(devices, UUIDS) == positions


class Nvml(types.ModuleType):
    """Two cards that use 5 J and 7 J between two readings; a second process may be on the second."""

    class NVMLError(Exception):
        pass

    def __init__(self, n_processes=1):
        super().__init__("pynvml")
        self._energy, self._n = [0, 0], n_processes
        self.nvmlInit = lambda: None
        self.nvmlSystemGetDriverVersion = lambda: b"580.1"
        self.nvmlDeviceGetCount = lambda: 2
        self.nvmlDeviceGetHandleByIndex = lambda at: at
        self.nvmlDeviceGetUUID = lambda at: UUIDS[at]
        self.nvmlDeviceGetName = lambda at: "H100"
        self.nvmlDeviceGetMemoryInfo = lambda at: types.SimpleNamespace(total=80 * 2**30)
        self.nvmlDeviceGetComputeRunningProcesses = lambda at: [0] * (self._n if at else 1)

    def nvmlDeviceGetTotalEnergyConsumption(self, at):
        self._energy[at] += (5000, 7000)[at]
        return self._energy[at]


class OnGpus(ScriptedEngine):
    def describe(self):
        return {**super().describe(), "device": "cuda"}


@pytest.mark.parametrize(("n_processes", "is_shared"), [(1, False), (2, True)])
def test_energy_is_read_per_card_and_shared_cards_are_marked(tmp_path, monkeypatch, n_processes, is_shared):
    monkeypatch.setitem(sys.modules, "pynvml", Nvml(n_processes))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    job, store = make_job(n_tasks=2, n_trials=1), Store(tmp_path)
    for one in (dataclasses.replace(job, tasks=job.tasks[:1]), job):
        runner.collect(store, OnGpus(expert_script(job)), [one], concurrency=1, title="test")
    (taken,) = store.manifest(job.spec.run_id).collected
    assert taken.joules == (10.0, 14.0) and taken.n_commands == 2 and taken.is_card_shared is is_shared
    assert [dict(card) for card in taken.gpus] == [{"name": "H100", "memory_gib": 80.0, "driver": "580.1"}] * 2


def test_a_manifest_of_an_earlier_version_has_nothing_collected_and_reads_as_before(tmp_path):
    job, store = make_job(n_tasks=1, n_trials=1), Store(tmp_path)
    with store.writer(job.spec, labels=job.labels, engine={"engine": "scripted"}, tasks=job.tasks):
        pass
    path = tmp_path / job.spec.run_id / "manifest.json"
    assert "collected" not in path.read_text() and store.manifest(job.spec.run_id).collected == ()
