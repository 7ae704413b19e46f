"""BFCL by a stand-in of its program with the faults of the real one: dead endpoints, short contexts, interruptions."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from replication.collect.benchmarks import official
from replication.collect.benchmarks.official import bfcl, bfcl_files, sandbox, venvs
from replication.collect.interfaces import HarnessRun, ItemResult, ModelRef, ServedHarness
from replication.errors import ConfigError, HarnessError
from replication.records import RunSpec, Sampling
from tests.collect.benchmarks.official.chat_endpoint import ChatEndpoint

FAKE = Path(__file__).parent / "fake_bfcl"
SMALL = {"categories": ["simple_python", "irrelevance", "multi_turn_base"], "sandbox": "none", "resumes": 1}
OVERFLOW = (400, "This model's maximum context length is 512 tokens. However, you requested 700.")


@pytest.fixture(autouse=True)
def stand_in(tmp_path, monkeypatch):
    """Put the stand-in where the environment of the harness is expected."""
    monkeypatch.setenv(venvs.VARIABLE, str(tmp_path / "harnesses"))
    python = bfcl.RECIPE.python
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nPYTHONPATH={FAKE} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    (bfcl.RECIPE.folder / venvs.MARKER).write_text(venvs.lock_hash(bfcl.RECIPE))


def run_of(tmp_path, server, *, n_tasks=11, n_trials=1, **endpoint) -> HarnessRun:
    spec = RunSpec(
        model="m", revision="r", engine="endpoint", dtype="float32", context=512, engine_options={}, benchmark="bfcl_v4",
        benchmark_version="1", scaffold="bfcl_fc", scaffold_version="1", max_turns=None, max_episode_tokens=None,
        max_malformed=None, sampling=Sampling(temperature=0.6, top_p=0.95, max_tokens=64), seed=3,
    )  # fmt: skip
    return HarnessRun(
        spec=spec, model=ModelRef(name="m", path="org/m", revision="r"), folder=tmp_path / "run", n_tasks=n_tasks,
        n_trials=n_trials, endpoint=server.endpoint(**endpoint) if server else None,
    )  # fmt: skip


def harness(**options):
    return official.load("bfcl", SMALL | options)


def play(adapter, run) -> dict[tuple[str, int], ItemResult]:
    adapter.prepare(run)
    adapter.launch(run)
    assert adapter.validate(run) == []
    rows = adapter.ingest(run)
    assert len({(row.task_id, row.trial) for row in rows}) == len(rows) == run.n_tasks * run.n_trials
    return {(row.task_id, row.trial): row for row in rows}


def values(rows, category):
    return [row.value for row in rows.values() if row.details["category"] == category]


def asked(body) -> str:
    """Return `ITEM turn N`."""
    return body["messages"][-1]["content"]


def right(body) -> str:
    return "no call" if asked(body).startswith("irrelevance") else "right"


def test_an_endpoint_that_is_always_right_scores_one_and_the_requests_are_those_of_the_run(tmp_path):
    with ChatEndpoint(right) as server:
        adapter, run = harness(), run_of(tmp_path, server)
        assert isinstance(adapter, ServedHarness) and not isinstance(official.load("csv"), ServedHarness)
        rows = play(adapter, run)
        assert not adapter.pending(run)
    assert [row.value for row in rows.values()] == [1.0] * 11
    body = server.bodies[0]
    assert (body["temperature"], body["top_p"], body["max_tokens"]) == (0.6, 0.95, 64) and "store" not in body
    assert len({body["seed"] for body in server.bodies}) == len(server.bodies) == 13
    facts = adapter.facts(run)
    assert facts["measured"]["wire"]["sent"] == {
        "temperature": {"0.6": 13}, "top_p": {"absent": 13}, "max_tokens": {"absent": 13}, "seed": {"absent": 13},
    }  # fmt: skip
    assert (
        facts["measured"]["wire"]["n_seeds_added"] == 13
        and facts["deviations"] == adapter._left_out()
        and facts["measured"]["overall"] == [None]
    )
    row = rows["multi_turn_base_0", 0]
    assert (row.n_turns, row.n_prompt_tokens, row.n_completion_tokens, row.wall_s) == (2, 14, 4, 1.0)


def test_one_wrong_answer_in_three_scores_two_thirds(tmp_path):
    with ChatEndpoint(
        lambda body: "wrong" if asked(body).split()[0] in ("simple_python_1", "simple_python_4") else right(body)
    ) as server:
        rows = play(harness(), run_of(tmp_path, server))
    assert values(rows, "simple_python") == [1, 0, 1, 1, 0, 1]
    assert rows["simple_python_1", 0].details["error_type"] == "wrong_value"


def test_an_endpoint_that_dies_is_never_a_score_and_the_next_call_asks_only_for_the_rest(tmp_path):
    with ChatEndpoint(right) as server:
        adapter, run = harness(), run_of(tmp_path, server)
        server.dies_after = 3
        adapter.prepare(run)
        with pytest.raises(HarnessError, match="does not answer after the harness ran"):
            adapter.launch(run)
        assert adapter.pending(run) and adapter.validate(run)
        graded = bfcl_files.graded(run.folder / "trial_0", adapter._selection(run), 0)
        assert [row.stop_reason for row in graded.results if row.value is None and row.error] == ["engine_error"] * 8
        with pytest.raises(HarnessError, match="does not answer before the harness starts"):
            adapter.launch(run)
        server.dies_after = None
        rows = play(adapter, run)
    assert [row.value for row in rows.values()] == [1.0] * 11
    assert len({asked(body) for body in server.bodies}) == len(server.bodies) == 13  # nothing was asked twice


def test_failures_that_pass_within_a_run_are_run_again_and_those_that_stay_are_unscored(tmp_path):
    failing = {"irrelevance_1 turn 0": 1, "simple_python_2 turn 0": 99}

    def answer(body):
        if failing.get(asked(body), 0):
            failing[asked(body)] -= 1
            return 500, "out of memory"
        return right(body)

    with ChatEndpoint(answer) as server:
        adapter, run = harness(), run_of(tmp_path, server)
        rows = play(adapter, run)
        assert adapter.pending(run)
    assert rows["irrelevance_1", 0].value == 1.0
    lost = rows["simple_python_2", 0]
    assert (lost.value, lost.stop_reason, lost.details["status"]) == (None, "engine_error", "engine_error")
    assert adapter.facts(run)["measured"]["wire"]["failures"] == {"engine_error": 3}


def test_a_prompt_that_does_not_fit_is_unscored_and_a_conversation_that_fills_the_context_is_wrong(tmp_path):
    lost = ("irrelevance_0 turn 0", "multi_turn_base_1 turn 1")
    with ChatEndpoint(lambda body: OVERFLOW if asked(body) in lost else right(body)) as server:
        adapter, run = harness(), run_of(tmp_path, server)
        rows = play(adapter, run)
        assert not adapter.pending(run) and len(server.bodies) == 13  # it would fail again, so it is not repeated
    assert (rows["irrelevance_0", 0].value, rows["irrelevance_0", 0].stop_reason) == (None, "prompt_too_long")
    assert (rows["multi_turn_base_1", 0].value, rows["multi_turn_base_1", 0].stop_reason) == (0.0, "context_overflow")


def test_a_call_that_no_server_takes_back_is_wrong_and_a_refused_first_request_is_unscored(tmp_path):
    lost = ("irrelevance_0 turn 0", "multi_turn_base_1 turn 1")
    with ChatEndpoint(lambda body: (400, "invalid arguments") if asked(body) in lost else right(body)) as server:
        rows = play(harness(), run_of(tmp_path, server))
    assert (rows["irrelevance_0", 0].value, rows["irrelevance_0", 0].stop_reason) == (None, "request_refused")
    assert (rows["multi_turn_base_1", 0].value, rows["multi_turn_base_1", 0].stop_reason) == (0.0, "malformed")


def test_an_endpoint_that_refuses_everything_is_named_before_the_harness_evaluates_nothing(tmp_path):
    with ChatEndpoint(lambda body: (400, "unknown field")) as server:
        adapter, run = harness(), run_of(tmp_path, server)
        with pytest.raises(HarnessError, match=r"has 0 results, .* See `errors.json`"):
            play(adapter, run)
        assert adapter.pending(run)


def test_state_of_a_trial_does_not_reach_the_next(tmp_path):
    n_asked = []

    def answer(body):
        n_asked.append(asked(body))
        return "wrong" if n_asked.count(asked(body)) == 1 else right(body)  # the first trial is wrong, the second right

    with ChatEndpoint(answer) as server:
        rows = play(harness(categories=["multi_turn_base"]), run_of(tmp_path, server, n_tasks=2, n_trials=2))
    assert {key: row.value for key, row in rows.items()} == {
        (f"multi_turn_base_{item}", trial): float(trial) for item in (0, 1) for trial in (0, 1)
    }
    assert len({body["seed"] for body in server.bodies}) == len(server.bodies)  # trials have seeds of their own


def test_partial_and_repeated_rows_of_an_interrupted_process_are_counted_once(tmp_path):
    with ChatEndpoint(right) as server:
        adapter, run = harness(categories=["simple_python"]), run_of(tmp_path, server, n_tasks=6)
        adapter.prepare(run)
        path = run.folder / "trial_0" / "result" / "replication" / "group" / "BFCL_v4_simple_python_result.json"
        path.parent.mkdir(parents=True)
        line = json.dumps({"id": "simple_python_3", "result": ["right"]}) + "\n"
        path.write_text(line + line + '{"id": "simple_python_1", "resu')
        rows = play(adapter, run)
    assert [row.value for row in rows.values()] == [1.0] * 6 and len(server.bodies) == 5


def test_results_that_changed_after_the_evaluation_are_found(tmp_path):
    with ChatEndpoint(right) as server:
        adapter, run = harness(categories=["simple_python"]), run_of(tmp_path, server, n_tasks=6)
        play(adapter, run)
        (path,) = (run.folder / "trial_0").rglob("*_result.json")
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
        assert "counts 6 of 6 right, the results 5 of 5" in adapter.validate(run)[0]
        assert adapter.pending(run)
        rows = play(adapter, run)
    assert [row.value for row in rows.values()] == [1.0] * 6 and len(server.bodies) == 7


def test_a_folder_in_which_another_process_works_is_refused(tmp_path):
    with ChatEndpoint(right) as server:
        adapter, run = harness(), run_of(tmp_path, server)
        adapter.prepare(run)
        with bfcl._locked(run.folder / "trial_0"), pytest.raises(HarnessError, match="another process works in"):
            adapter.launch(run)
        assert not server.bodies


def test_the_key_of_the_endpoint_is_sent_by_the_proxy_and_unknown_to_the_harness(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_KEY", "sesame")
    with ChatEndpoint(right) as server:
        adapter = harness(categories=["irrelevance"])
        play(adapter, run_of(tmp_path, server, n_tasks=3, api_key_env="MY_KEY"))
        assert server.keys == {"Bearer sesame"} and "sesame" not in str(sandbox.environment(tmp_path, {}))
        monkeypatch.delenv("MY_KEY")
        with pytest.raises(HarnessError, match="MY_KEY, which is not set"):
            play(adapter, run_of(tmp_path / "other", server, n_tasks=3, api_key_env="MY_KEY"))


def test_problems_of_the_settings_are_named_before_anything_is_asked(tmp_path):
    with ChatEndpoint(right) as server:
        with pytest.raises(HarnessError, match=r"have 11 items .* Set `n_tasks: 11`"):
            harness().prepare(run_of(tmp_path, server, n_tasks=4751))
        with pytest.raises(HarnessError, match="needs an endpoint"):
            play(harness(), run_of(tmp_path, None))
        with pytest.raises(HarnessError, match="serves org/m, not `org/other`"):
            play(harness(), dataclass_with(run_of(tmp_path, server), served="org/other"))
        assert not server.bodies
    with pytest.raises(ConfigError, match="categories"):
        harness(categories=["simple_pyhton"])


def dataclass_with(run, **changes):
    import dataclasses

    return dataclasses.replace(run, endpoint=dataclasses.replace(run.endpoint, **changes))


def test_a_selection_is_part_of_the_identity_of_a_run():
    variants = {harness(**change).variant for change in ({}, {"items": 2}, {"mode": "prompt"}, {"threads": 1})}
    assert harness(items=2)._left_out()[1] == "the first 2 items of each category only"
    assert "live_simple" in harness()._left_out()[0] and not harness(categories=list(bfcl_files.CATEGORIES))._left_out()
    assert len(variants) == 3 and "" not in variants
    assert harness(categories=list(bfcl_files.CATEGORIES)).variant == ""


def result(category, value):
    return ItemResult(
        task_id="i", trial=0, value=value, stop_reason="answer", details={"category": category}, source="s"
    )


def test_the_overall_score_weights_the_groups_and_needs_every_item():
    shares = {name: 0.0 for name in bfcl_files.CATEGORIES}
    shares |= {"simple_java": 1.0, "live_simple": 1.0, "irrelevance": 1.0, "multi_turn_base": 1.0, "memory_kv": 1.0}
    rows = [result(name, share) for name, share in shares.items()] + [result("live_multiple", 0.0)] * 2
    # live is weighted by items (1 of 6), all others by categories
    expected = 0.1 * (1 / 3) / 4 + 0.1 * (1 / 6) + 0.1 / 2 + 0.3 / 4 + 0.4 * (1 / 3) / 2
    assert bfcl_files.overall(rows) == pytest.approx(expected, abs=1e-12)
    assert bfcl_files.overall([*rows[:-1], result("live_multiple", None)]) is None
    assert bfcl_files.overall([row for row in rows if row.details["category"] != "memory_vector"]) is None


@pytest.mark.slow
def test_a_broken_environment_is_made_again_and_a_failed_one_is_not_used(tmp_path, monkeypatch):
    recipe = venvs.Recipe(name="none", version="1", module="json")
    monkeypatch.setattr(venvs, "LOCKS", tmp_path)
    (tmp_path / "none.lock").write_text("")
    python = venvs.ensure(recipe)
    assert python.exists() and venvs.is_installed(recipe)
    (recipe.folder / venvs.MARKER).unlink()
    (recipe.folder / "partial").touch()
    venvs.ensure(recipe)
    assert not (recipe.folder / "partial").exists() and venvs.is_installed(recipe)
    (tmp_path / "none.lock").write_text("./no-such-package\n")
    with pytest.raises(HarnessError, match=r"(?s)`none` is not installed.*no-such-package"):
        venvs.ensure(recipe)
    assert not venvs.is_installed(recipe)


def test_an_installation_sees_the_settings_of_pip_and_no_key(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(venvs, "LOCKS", tmp_path)
    (tmp_path / "none.lock").write_text("")

    def run(step, *, env, **_):
        seen.append(env)
        return subprocess.CompletedProcess(step, 0)

    monkeypatch.setattr(venvs.subprocess, "run", run)
    recipe = venvs.Recipe(name="none", version="1", module="json")
    recipe.folder.mkdir(parents=True)
    kept = {"PIP_FIND_LINKS": "wheels", "https_proxy": "proxy", "PATH": "/bin"}
    for name, value in {**kept, "OPENAI_API_KEY": "planted", "HF_TOKEN": "planted", "PYTHONPATH": "elsewhere"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(venvs.shutil, "rmtree", lambda *_, **__: None)
    venvs.ensure(recipe)
    assert len(seen) == 3 and all(kept.items() <= env.items() for env in seen)
    assert not any("planted" in env.values() or "PYTHONPATH" in env for env in seen)


def test_the_error_of_an_installation_shows_no_password_of_an_address(tmp_path, monkeypatch):
    monkeypatch.setattr(venvs, "LOCKS", tmp_path)
    (tmp_path / "none.lock").write_text("")

    def run(step, *, stdout, **_):
        stdout.write(b"could not fetch https://me:planted@mirror.example/simple/x\n")
        return subprocess.CompletedProcess(step, 1)

    monkeypatch.setattr(venvs.subprocess, "run", run)
    with pytest.raises(HarnessError, match=r"mirror\.example/simple/x") as raised:
        venvs.ensure(venvs.Recipe(name="none", version="1", module="json"))
    assert "planted" not in str(raised.value)


def works(kind) -> bool:
    try:
        return sandbox.choose(kind) == kind
    except HarnessError:
        return False


ATTEMPTS = """
import os, socket, pathlib
pathlib.Path("inside").touch()
for name, attempt in {
    "write": lambda: pathlib.Path(OUTSIDE).touch(), "network": lambda: socket.create_connection(("127.0.0.1", PORT), 2),
    "key": lambda: os.environ["MY_KEY"], "mount": lambda: os.system("mount -o remount,rw / 2>&1") and 1 / 0,
}.items():
    try:
        attempt()
        print("could", name)
    except Exception as error:
        print("could not", name)
"""


@pytest.mark.parametrize("kind", ["bwrap", "unshare", "none"])
def test_a_sandboxed_command_reaches_its_folder_and_nothing_else(kind, tmp_path, monkeypatch):
    if not works(kind):
        pytest.skip(f"{kind} does not work here")
    monkeypatch.setenv("MY_KEY", "sesame")
    folder, outside, log = tmp_path / "f", tmp_path / "outside", tmp_path / "log"
    folder.mkdir()
    with ChatEndpoint(right) as server, bfcl._locked(folder) as held:
        code = ATTEMPTS.replace("OUTSIDE", repr(str(outside))).replace("PORT", str(server._server.server_port))
        assert sandbox.run(kind, [sys.executable, "-c", code], folder, {}, log, held) == 0
    expected = {"key"} if kind == "none" else {"write", "network", "key", "mount"}
    assert {line.split()[-1] for line in log.read_text().splitlines() if "could not" in line} - {
        "mount"
    } == expected - {"mount"}
    assert (folder / "inside").exists() and outside.exists() == (kind == "none")
    if kind != "none":
        assert "could not mount" in log.read_text()


@pytest.mark.skipif(not works("unshare"), reason="no user namespaces")
def test_the_harness_works_in_the_sandbox(tmp_path):
    with ChatEndpoint(right) as server:
        rows = play(harness(sandbox="unshare"), run_of(tmp_path, server))
    assert [row.value for row in rows.values()] == [1.0] * 11


def test_without_a_sandbox_that_works_nothing_runs_unless_it_is_chosen(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    sandbox._works.cache_clear()
    with pytest.raises(HarnessError, match=r"`options.sandbox` is 'auto', and no sandbox works here"):
        sandbox.choose("auto")
    assert sandbox.choose("none") == "none"
    sandbox._works.cache_clear()


def test_bubblewrap_gets_no_network_and_one_writable_folder(tmp_path):
    argv = sandbox.wrapped("bwrap", ["program", "argument"], tmp_path)
    assert (
        argv[:4] == ["bwrap", "--ro-bind", "/", "/"]
        and "--unshare-all" in argv
        and argv[-2:] == ["program", "argument"]
    )
    assert argv[argv.index("--bind") + 1] == str(tmp_path) and argv.count("--bind") == 1


def test_paths_of_the_environment_are_those_of_the_variable(tmp_path):
    assert bfcl.RECIPE.folder == Path(os.environ[venvs.VARIABLE]) / "bfcl-2026.3.23"
