"""What differs between two runs or two studies."""

import dataclasses

import pytest
from parts import expert_script, index_of, make_job, noisy_script

from replication import __main__
from replication.collect import runner
from replication.collect.engines.scripted import ScriptedEngine
from replication.commands import diff
from replication.errors import ConfigError, StoreError
from replication.settings import CONF
from replication.store import Store
from replication.store.index import write_index


def collect(results, job, script=expert_script, name="scripted"):
    engine = ScriptedEngine(script(job), name=name)
    runner.collect(Store(results / "store"), engine, [job], concurrency=4, title="test")
    return job.spec.run_id


def printed(capsys, *arguments):
    code = diff.main(arguments)
    return code, capsys.readouterr().out.splitlines()


def test_a_run_is_equal_to_itself_and_to_a_second_collection(tmp_path, capsys):
    job = make_job()
    a = collect(tmp_path / "a", job)
    collect(tmp_path / "b", job)
    paths = [str(tmp_path / side / "store" / a) for side in "ab"]
    for arguments in ((a, a, f"results={tmp_path / 'a'}"), paths):
        code, lines = printed(capsys, *arguments)
        assert code == 0 and lines[2:] == [f"{g}: equal" for g in ("identity", "engine", "environment", "outcome")]


def test_settings_engine_and_outcome_that_differ_are_listed_in_their_groups(tmp_path, capsys):
    a = collect(tmp_path, make_job(temperature=0.7))
    b = collect(tmp_path, make_job(temperature=0.5), noisy_script, name="other")
    code, lines = printed(capsys, a, b, f"results={tmp_path}")
    assert code == 1 and "identity: 1 differ" in lines and "  sampling.temperature: 0.7 | 0.5" in lines
    assert "  engine: scripted | other" in lines and "environment: equal" in lines
    outcome = lines[lines.index(next(line for line in lines if line.startswith("outcome"))) :]
    means = Store(tmp_path / "store").score_table().groupby("run_id")["value"].mean()
    assert f"  mean_score: 1 | {means[b]:.6g}" in outcome and means[b] < 1
    assert any("scores: 12 episodes in common |" in line for line in outcome)


def test_other_tasks_are_one_line(tmp_path, capsys):
    a, b = (collect(tmp_path / side, make_job(n_tasks=n)) for side, n in (("a", 6), ("b", 4)))
    code, lines = printed(capsys, *(str(tmp_path / side / "store" / a) for side in "ab"))
    (line,) = [line for line in lines if "tasks:" in line]
    assert a == b and code == 1 and line.startswith("  tasks: 6 tasks with hash ") and " | 4 tasks with hash " in line
    assert "  n_episodes: 12 | 8" in lines


def test_stop_reasons_and_code_that_differ_are_listed(tmp_path, capsys):
    run = collect(tmp_path, make_job())
    manifest = Store(tmp_path / "store").manifest(run)
    (taken,) = manifest.collected
    other = dataclasses.replace(
        taken, code={**taken.code, "commit": "c0ffee"}, engine_s=1e6, stop_reasons={"answer": 11, "timeout": 1}
    )
    changed = dataclasses.replace(manifest, collected=(other,))
    keys = [(one.group, one.key) for one in diff.difference.of_runs(manifest, changed)]
    assert keys == [
        ("environment", "code.commit"), ("outcome", "collected.stop_reasons.answer"),
        ("outcome", "collected.stop_reasons.timeout"),
    ]  # fmt: skip


def test_studies_differ_in_scope_and_runs(tmp_path, capsys):
    for name, scope, runs in (("one", "organisms", ("r1", "r2")), ("two", "models", ("r1",))):
        write_index(tmp_path, index_of(name, scope=scope, run_ids=runs))
    code, lines = printed(capsys, "one", "two", f"results={tmp_path}")
    assert code == 1 and "  scope: organisms | models" in lines and "  run_ids.r2: listed | absent" in lines


def test_a_frozen_study_is_found_and_equal_to_itself(monkeypatch, capsys):
    monkeypatch.chdir(CONF.parent)
    assert printed(capsys, "controlled", "paper/data/controlled/manifest.json")[0] == 0


def test_what_cannot_be_compared_is_named(tmp_path):
    run, here = collect(tmp_path, make_job()), f"results={tmp_path}"
    write_index(tmp_path, index_of("one"))
    with pytest.raises(ConfigError, match=r"give two run ids, two studies or two paths: .*; got 1\."):
        diff.main([run, here])
    with pytest.raises(StoreError, match=r"`nothing` is no run of `.*` \(it has 1\), no study of .*, and no file"):
        diff.main([run, "nothing", here])
    with pytest.raises(ConfigError, match="is a run and `one` a study; a run cannot be compared with a study"):
        diff.main([run, "one", here])
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    with pytest.raises(StoreError, match=r"broken\.json` is not JSON"):
        diff.main([run, str(broken), here])


def test_exit_code_of_the_command_line_is_that_of_diff(tmp_path, capsys):
    run = collect(tmp_path, make_job())
    other = collect(tmp_path, make_job(seed=1))
    assert __main__.main(["diff", run, run, f"results={tmp_path}"]) == 0
    assert __main__.main(["diff", run, other, f"results={tmp_path}"]) == 1
    with pytest.raises(SystemExit, match="2"):
        __main__.main(["diff", run, f"results={tmp_path}"])
    assert "error (ConfigError)" in capsys.readouterr().err
