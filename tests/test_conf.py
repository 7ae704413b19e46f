"""Every file of conf/ composes, and each mistake on the command line or in a file is one clear error."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from replication import settings
from replication.analyse.claims import load_claims
from replication.collect import build
from replication.collect.interfaces import ModelRef
from replication.errors import ConfigError
from replication.records import Labels

ROOT = settings.CONF.parent
STUDIES = sorted(p.stem for p in (settings.CONF / "study").glob("*.yaml"))


@pytest.fixture(autouse=True)
def hydra_conf():
    settings.register()
    with initialize_config_dir(str(settings.CONF), version_base="1.3"):
        yield


def composed(*overrides):
    return settings.checked(compose("config", overrides=list(overrides)))


@pytest.mark.parametrize("study", STUDIES)
def test_study_composes_and_its_name_is_its_file(study):
    cfg = composed(f"study={study}")
    assert cfg.study.name == study and cfg.study.scope


PARTS = {
    "arm": "arms", "benchmark": "benchmarks", "ingest": "ingest", "scaffold": "scaffolds", "scale": "scales",
}  # fmt: skip
"""Groups of which a study takes several, and the keys they go to."""
REQUIRED = {
    "ingest/csv": [
        f"ingest.part.{key}='1'"
        for key in ("folder", "model", "benchmark", "benchmark_version", "scaffold", "scaffold_version", "n_tasks")
    ],
}
REQUIRED |= {
    f"ingest/{path.stem}": ["ingest.part.folder='1'", "ingest.part.model='1'"]
    for path in (settings.CONF / "ingest").glob("*.yaml")
    if path.stem != "csv"
}
"""Values that a file leaves to the command line."""
ELSEWHERE = ("claim", "model", "pair", "family", "architecture")
"""Groups whose files other tests compose, those of public models all at once."""
FILES = sorted(p.relative_to(settings.CONF).with_suffix("").as_posix() for p in settings.CONF.glob("*/*.yaml"))


@pytest.mark.parametrize("file", [file for file in FILES if file.split("/")[0] not in ELSEWHERE])
def test_every_file_of_conf_composes(file):
    group, name = file.split("/")
    choice = {
        **{group: f"+{group}@{key}.part={name}" for group, key in PARTS.items()},
        "levels": f"+scale@scales.part={name}",  # a scale takes the levels of the same name
    }.get(group, f"{group}={name}")
    composed(choice, *REQUIRED.get(file, []))


def test_every_claim_has_the_name_of_its_file_and_names_kinds_of_study_that_exist():
    claims = load_claims(settings.CONF / "claim")
    assert sorted(f"claim/{claim.id}" for claim in claims) == [file for file in FILES if file.startswith("claim/")]
    for claim in claims:
        assert set(claim.studies) <= set(settings.KINDS), f"claim {claim.id} names {claim.studies}"


def test_arms_of_a_study_differ_in_their_phases_only():
    cfg = composed("study=controlled")
    runs = build.training_runs(cfg)
    n_runs = {
        arm_name: (len(arm.scales) or len(cfg.scales)) * len(arm.training_seeds or cfg.study.training_seeds)
        for arm_name, arm in cfg.arms.items()
    }
    assert len({run.name for run in runs}) == len(runs) == sum(n_runs.values())
    assert len({(run.recipe, run.device) for run in runs}) == 1
    assert all(len({(run.shape, run.base) for run in runs if run.scale == scale}) == 1 for scale in cfg.scales)


@pytest.mark.parametrize("study", [name for name in STUDIES if name.startswith("controlled")])
def test_budgets_of_the_arms_are_matched_and_orders_are_as_named(study):
    arms = composed(f"study={study}").arms
    budget = {name: sum(phase.n_tokens for phase in arm.phases) for name, arm in arms.items()}
    matched = ("agent_sft_matched", "lwm_then_sft", "placebo_then_sft", "sft_then_lwm_rl", "placebo")
    assert len({budget[name] for name in matched}) == 1
    assert budget["agent_sft"] == budget["general"] < budget["lwm_then_sft"]
    control = arms["agent_sft"].phases
    assert arms["lwm_then_sft"].phases[-1:] == arms["placebo_then_sft"].phases[-1:] == control
    assert arms["sft_then_lwm_rl"].phases[:1] == arms["placebo"].phases[:1] == control
    for real, placebo in (("lwm_then_sft", "placebo_then_sft"), ("sft_then_lwm_rl", "placebo")):
        for one, other in zip(arms[real].phases, arms[placebo].phases, strict=True):
            assert other.corpus.removesuffix("_shuffled") == one.corpus and other.n_tokens == one.n_tokens


def test_bases_warm_up_over_their_own_tokens_whatever_the_arms_do():
    made = build.bases(composed("study=controlled_full", "training=bases", "training.warmup_tokens=7"))
    assert len(made) == 5
    assert all(run.recipe.warmup_tokens == 0.02 * run.phases[0].n_tokens for run in made)


def test_warm_up_reads_only_environments_of_its_domain():
    for run in build.training_runs(composed("study=controlled")):
        for phase in run.phases:
            names = sorted({name for name, _ in phase.benchmarks})
            if phase.corpus.startswith(("transitions", "predictions")):
                assert names == ["repair", "repository", "research", "terminal"]
            assert phase.corpus != "episodes" or len(names) == 7
            assert (phase.rl is not None) == phase.corpus.startswith("predictions")


def test_levels_of_a_scale_take_the_place_of_those_of_the_benchmark_and_tasks_are_spread_over_them():
    cfg = composed("study=controlled", "+scales.xs.levels={terminal: [1, 1, 2]}", "benchmarks.terminal.n_tasks=10")
    assert build.levels(cfg, "terminal", "xs") == (1, 1, 2)
    (run, *_) = build.training_runs(cfg)
    served = build.ServedModel(
        ref=ModelRef(name="m", path="p", revision="r"),
        labels=Labels(model="m", revision="r", arm=run.arm, scale="xs", params_b=0.001, training_seed=0),
    )
    (job,) = [job for job in build.jobs(cfg, served) if job.spec.benchmark == "terminal"]
    levels = [task.attributes["level"] for task in job.tasks]
    assert (levels.count(1), levels.count(2)) == (6, 4) and len({task.id for task in job.tasks}) == 10
    (probe,) = [job for job in build.probe_jobs(cfg, served) if job.spec.benchmark == "terminal"]
    assert {task.attributes["split"] for task in probe.tasks} == {"evaluation"} and probe.spec.sampling.temperature == 0
    assert probe.spec.run_id != job.spec.run_id


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("study.n_trials=0", "`study.n_trials` must be in"),
        ("+arms.agent_sft.scale=xs", "no key `arms.agent_sft.scale`; allowed: .*Did you mean `scales`"),
        ("+benchmarks.terminal.wieght=2", "no key `benchmarks.terminal.wieght`; allowed: split"),
        ("sampling.temperature=0.001", "would be raised to 0.01 by vLLM"),
        ("sampling.top_p=1.5", "`sampling.top_p` must be in"),
        ("benchmarks.terminal.split=train", "played on `evaluation` only"),
        ("study.training_seeds=[1,1]", "names a seed twice"),
        ("study.scope=???", "no value for `study.scope`"),
    ],
)
def test_value_out_of_range_is_named(override, message):
    with pytest.raises(ConfigError, match=message):
        composed(override)


def test_unknown_parts_are_named():
    with pytest.raises(ConfigError, match=r"`arms.agent_sft.phases\[0\].domain` is 'both'; allowed: all, in"):
        composed("arms.agent_sft.phases=[{corpus:episodes,n_tokens:1,lr:1,domain:both}]")
    with pytest.raises(ConfigError, match=r"has no finished checkpoint .*make train"):
        build.served_models(composed("paths.results=nowhere"))


def run_entry(entry, *overrides):
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    command = [sys.executable, "-m", "replication", entry, *overrides]
    return subprocess.run(command, capture_output=True, text=True, env=env)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "study.n_trails=3"], "Key 'n_trails' not in 'Study'"),
        (["run", "study=unknown_study"], "unknown_study"),
        (["run", "--no-such-option"], "unrecognized arguments"),
        (["run", "paths.results=nowhere"], "error (ConfigError): training run"),
        (["train", "scales.s.base.path=nowhere"], "error (TrainingError): no base at"),
    ],
)
def test_wrong_command_line_is_one_clear_error_and_a_failing_exit_code(arguments, message):
    done = run_entry(*arguments)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_misspelt_key_in_a_file_is_named(tmp_path):
    import shutil

    shutil.copytree(settings.CONF, tmp_path / "conf")
    arm = tmp_path / "conf" / "arm" / "agent_sft.yaml"
    arm.write_text(arm.read_text().replace("n_tokens", "n_token"))
    done = run_entry("train", "--config-dir", str(tmp_path / "conf"), "--config-path", str(tmp_path / "conf"))
    assert done.returncode != 0 and "n_token" in done.stderr and "Traceback" not in done.stderr


def test_results_folder_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    done = run_entry("train", "study=controlled_tiny", f"paths.results={tmp_path / 'file'}")
    assert done.returncode != 0 and "error (" in done.stderr and "Traceback" not in done.stderr


def test_conf_names_no_path_of_a_machine():
    for file in Path(settings.CONF).rglob("*.yaml"):
        assert "/home/" not in file.read_text() and "/root" not in file.read_text(), file
