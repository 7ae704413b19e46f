"""Launching a harness: its own environment, one command after the other, and never over results of other commands."""

import json
import os

import pytest
from chat_endpoint import ChatEndpoint
from harness_runs import harness_run, put

from replication.collect.benchmarks import official
from replication.errors import ConfigError, HarnessError

NAMES = sorted(official.needs())


@pytest.fixture
def venv(tmp_path):
    """A virtual environment whose `mini-extra` and `swebench` write what the real ones write, and record what they see."""
    agent = (
        "#!/bin/sh\nenv > env_$$.txt\nmkdir -p attempt_0\necho '{}' > attempt_0/preds.json\necho ran >> ../n_agent\n"
    )
    grade = (
        "#!/bin/sh\ntest -e ../../broken && echo no docker daemon && exit 3\n"
        'echo \'{"resolved_ids": ["o__r-1"], "unresolved_ids": ["o__r-2"], "schema_version": 2}\' > m.r.json\n'
    )
    for name, text in (("mini-extra", agent), ("swebench", grade)):
        put(tmp_path / "venv" / "bin" / name, text).chmod(0o755)
    put(tmp_path / "bin" / "apptainer", "#!/bin/sh\n").chmod(0o755)
    return tmp_path / "venv"


@pytest.fixture(autouse=True)
def server(monkeypatch):
    """The model, which the tools of this test do not ask; it is asked before and after they run."""
    with ChatEndpoint(lambda body: "x") as model:
        monkeypatch.setenv("TEST_ENDPOINT", model.endpoint().url)
        yield model


def loaded(folder, **launch):
    launch = {"endpoint": os.environ["TEST_ENDPOINT"]} | launch
    return official.load("swe_bench", {"launch": {"venv": str(folder), "container": "apptainer"} | launch})


def play(harness, run):
    harness.prepare(run)
    harness.launch(run)
    return harness.validate(run), harness.ingest(run)


@pytest.fixture(autouse=True)
def path(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin")


def test_commands_run_once_with_few_variables_and_their_results_are_read(tmp_path, venv, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "secret")
    monkeypatch.setenv("JUDGE_KEY", "passed")
    run = harness_run(tmp_path / "run")
    harness = loaded(venv, keys=["JUDGE_KEY"])
    problems, rows = play(harness, run)
    assert problems == [] and [row.value for row in rows] == [1.0, 0.0]
    (seen,) = (tmp_path / "run").glob("env_*.txt")
    assert "JUDGE_KEY=passed" in seen.read_text() and "MY_TOKEN" not in seen.read_text()
    assert f"TMPDIR={tmp_path / 'run' / 'tmp'}" in seen.read_text()
    play(harness, run)
    assert (tmp_path / "n_agent").read_text() == "ran\n"


def test_command_that_fails_quotes_its_log_and_what_ended_well_is_not_run_again(tmp_path, venv):
    run, harness = harness_run(tmp_path / "run"), loaded(venv)
    put(tmp_path / "broken", "")
    with pytest.raises(HarnessError, match=r"`swebench` ended with code 3; its log .* ends with:\nno docker daemon"):
        play(harness, run)
    (tmp_path / "broken").unlink()
    with pytest.raises(
        HarnessError, match="partial results in"
    ):  # also without the environment, whose absence ends nothing
        official.load("swe_bench").prepare(run)
    assert play(harness, run)[0] == [] and (tmp_path / "n_agent").read_text() == "ran\n"
    assert len(play(official.load("swe_bench"), run)[1]) == 2


def test_folder_with_results_of_another_command_is_refused_before_anything_runs(tmp_path, venv):
    play(loaded(venv), harness_run(tmp_path / "run"))
    with pytest.raises(HarnessError, match="has results of another command"):
        play(loaded(venv, workers=3), harness_run(tmp_path / "run"))
    assert (tmp_path / "n_agent").read_text() == "ran\n"


def test_results_from_elsewhere_are_never_overwritten(tmp_path, venv):
    put(tmp_path / "run" / "m.r.json", {"resolved_ids": ["o__r-1"], "unresolved_ids": ["o__r-2"], "schema_version": 2})
    assert play(loaded(venv), harness_run(tmp_path / "run"))[0] == [] and not (tmp_path / "n_agent").exists()


@pytest.mark.parametrize(
    ("launch", "message"),
    [
        ({"venv": "/none"}, "is no virtual environment. Install swe_bench there first"),
        ({"container": "docker"}, r"no such program on PATH; of those that swe_bench runs with there is apptainer"),
        ({"container": "podman"}, "runs with docker, apptainer. Choose one"),
        ({"checkout": "/none"}, "is no folder. Clone the repository"),
    ],
)
def test_what_is_not_there_is_named_before_anything_runs(tmp_path, venv, launch, message):
    with pytest.raises(HarnessError, match=message):
        loaded(venv, **launch).prepare(harness_run(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_container_engine_whose_daemon_does_not_run_is_named_before_anything_runs(tmp_path, venv):
    put(tmp_path / "bin" / "docker", "#!/bin/sh\nexit 1\n").chmod(0o755)
    with pytest.raises(HarnessError, match="`docker info` fails: the daemon does not run"):
        loaded(venv, container="docker").prepare(harness_run(tmp_path / "run"))
    put(tmp_path / "bin" / "docker", "#!/bin/sh\n")
    loaded(venv, container="docker").prepare(harness_run(tmp_path / "run"))


def test_unknown_option_is_a_clear_error():
    with pytest.raises(ConfigError, match=r"no key `ingest.x.options.jugde`; .* Did you mean `judge`"):
        official.load("widesearch", {"jugde": "x"}, "ingest.x.options")
    with pytest.raises(ConfigError, match="harness `csv` has no options"):
        official.load("csv", {"judge": "x"})


@pytest.mark.parametrize("name", NAMES)
def test_needs_of_every_harness_are_data_that_can_be_printed(name):
    needs = official.needs()[name]
    assert needs.images and needs.network and needs.not_tried and isinstance(needs.containers, tuple)


def test_command_lines_state_model_sampling_seed_and_attempts(tmp_path):
    run = harness_run(tmp_path / "run", n_trials=2, temperature=0.6, top_p=0.95, top_k=20)
    (tmp_path / "repo").mkdir()
    put(tmp_path / "run" / "attempt_0" / "patches.json", [])
    put(tmp_path / "run" / "attempt_1" / "patches.json", [])
    own = {"swe_bench_pro": {"data": "full.csv"}}
    lines = {
        name: [
            " ".join(command.argv)
            for command in official.load(
                name, {"launch": {"checkout": str(tmp_path / "repo"), "served": "served"}} | own.get(name, {})
            ).commands(run)
        ]
        for name in NAMES
        if name != "bfcl"  # it has a proxy and a sandbox of its own
    }
    job = json.loads((tmp_path / "run" / "job_1.yaml").read_text())
    agent = job["agents"][0]
    assert lines["terminal_bench"][1].startswith("harbor run -c ") and agent["model_name"] == "hosted_vllm/served"
    call = agent["kwargs"]["llm_call_kwargs"]
    assert (agent["kwargs"]["temperature"], call["seed"], call["top_p"], call["extra_body"]) == (
        0.6,
        1,
        0.95,
        {"top_k": 20},
    )
    assert (
        "model.model_kwargs.temperature=0.6" in lines["swe_bench"][0] and "model_kwargs.seed=1" in lines["swe_bench"][2]
    )
    assert "--run-id" in lines["swe_bench"][3] and lines["swe_bench"][1] != lines["swe_bench"][3]
    assert "--use_local_docker" in lines["swe_bench_pro"][1] and len(lines["swe_bench_pro"]) == 2
    assert "trials=2" in lines["widesearch"][0] and "--runs 2" in lines["qwenclawbench"][0]
    config = json.loads((tmp_path / "run" / "config.yaml").read_text())
    assert "--trials 2" in lines["claw_eval"][0] and config["model"]["extra_body"]["temperature"] == 0.6


def test_endpoint_that_is_dead_ends_the_launch_before_the_tool_starts(tmp_path, venv):
    with pytest.raises(HarnessError, match="does not answer before the harness starts"):
        play(loaded(venv, endpoint="http://127.0.0.1:9/v1"), harness_run(tmp_path / "run"))
    assert not (tmp_path / "n_agent").exists()


def test_environment_of_a_lock_file_is_named_where_its_python_is_not_there(tmp_path, monkeypatch):
    from replication.collect.benchmarks.official import venvs

    monkeypatch.setenv(venvs.VARIABLE, str(tmp_path / "harnesses"))
    recipe = venvs.Recipe(name="bfcl", version="0", module="x", needs_python=(3, 99))
    with pytest.raises(HarnessError, match=r"needs Python 3.99, and no `python3.99` on PATH runs"):
        venvs.ensure(recipe)


def test_equal_requests_of_several_attempts_get_different_seeds_and_a_name_without_slashes_is_the_model(tmp_path):
    from replication.collect.benchmarks.official.proxy import Rules, Wire, completed
    from replication.collect.interfaces import Endpoint
    from replication.records import Sampling

    def seeds(numbered, seed=0):
        rules = Rules(
            endpoint=Endpoint(url="u", served="org/m"), sampling=Sampling(temperature=1.0, max_tokens=9), seed=(seed,),
            refuse=True, aliases=("org--m",), numbered=numbered,
        )  # fmt: skip
        wire, body = Wire(), {"model": "org--m", "messages": [{"role": "user", "content": "q"}]}
        found = [completed(dict(body), rules, wire) for _ in range(3)]
        assert {one["model"] for one in found} == {"org/m"}
        return [one["seed"] for one in found]

    assert len(set(seeds(True))) == 3 and seeds(True) == seeds(True) != seeds(True, 1)
    assert len(set(seeds(False))) == 1


def test_commands_that_fetch_a_tool_are_those_of_its_configuration():
    from replication import settings

    for name, recipe in official.recipes().items():
        text = (settings.CONF / "ingest" / f"{name}.yaml").read_text(encoding="utf-8")
        assert recipe.clone in text and (
            bool(recipe.clone) == ("in no registry of packages" in " ".join(text.split("\n# ")))
        )


def test_runs_that_would_meet_on_a_machine_wait_for_each_other(tmp_path, monkeypatch, capfd):
    import threading

    from replication.collect.benchmarks.official import launching

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    order, started = [], threading.Event()

    def second():
        started.set()
        with launching.turn("tool"):
            order.append("second")

    with launching.turn("tool"), launching.turn("another tool"):
        thread = threading.Thread(target=second)
        thread.start()
        started.wait()
        thread.join(0.3)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"] and "another run of tool is under way" in capfd.readouterr().out


def test_interrupted_tool_is_ended_with_what_it_started(tmp_path, venv):
    import threading
    import time

    from replication.collect.benchmarks.official import launching

    put(tmp_path / "venv" / "bin" / "tool", "#!/bin/sh\nsleep 300 &\necho $! > child.txt\ntouch ready\nwait\n").chmod(
        0o755
    )
    run, command = harness_run(tmp_path / "run"), launching.Command(argv=["tool"], log="t.log")

    def interrupt():
        while not (tmp_path / "run" / "ready").exists():
            time.sleep(0.02)
        time.sleep(0.5)  # until it is waited for
        os.kill(os.getpid(), 2)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        launching.launch(run, [command], launching.Launch(), {}, tmp_path / "venv" / "bin")
    child = int((tmp_path / "run" / "child.txt").read_text())
    deadline = time.monotonic() + 5
    while _lives(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _lives(child) and launching.state(run.folder) == "started"


def _lives(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
