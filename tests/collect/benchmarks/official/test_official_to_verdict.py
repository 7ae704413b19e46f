"""Official results of others, from eval_results.json to a paired verdict: equal to McNemar's test by hand."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from frozen_studies import build as build_paper
from harness_runs import SAMPLES, needs_samples, put
from hydra import compose, initialize_config_dir

from replication import settings
from replication.analyse import results as analysis
from replication.analyse.analysis_settings import from_conf
from replication.analyse.claims import load_claims
from replication.collect import build
from replication.commands import gather, ingest
from replication.errors import ConfigError
from replication.store.frozen import freeze, read_frozen
from replication.store.index import read_index

SHA = "0123456789abcdef0123456789abcdef0123"
ROLES = ("general", "agent_specific")


def instance(n: int) -> str:
    return f"instance_org__repo{n % 6}-{SHA}{n:04x}"


def study(tmp_path: Path, files: dict[str, Path], ids, clusters: str, *more: str):
    """Compose a released study of two models whose results exist."""
    items = put(tmp_path / "items.txt", "\n".join(ids) + "\n")
    overrides = [
        "study=reanalysis", "study.name=published", "study.kind=released", "study.scope=published", "engine=vllm_gpu",
        "sampling.temperature=1.0", "sampling.max_tokens=512", f"paths.results={tmp_path}/results",
    ]  # fmt: skip
    for role, file in files.items():
        folder = tmp_path / role
        put(folder / "eval_results.json", file.read_text())
        overrides += [
            f"+model@models.{role}=qwen3_0_6b", f"models.{role}.revision={'c0ffee0000' * 4}", f"models.{role}.role={role}",
            f"+ingest@ingest.{role}=swe_bench_pro", f"ingest.{role}.folder={folder}", f"ingest.{role}.model={role}",
            f"ingest.{role}.scaffold=swe-agent", f"ingest.{role}.scaffold_version='1'", f"ingest.{role}.n_tasks={len(ids)}",
            f"ingest.{role}.max_unscored=0.5",
            f"+ingest.{role}.options={{outputs: false, clusters: {clusters}, items: {{file: {items}, subset: true}}}}",
        ]  # fmt: skip
    settings.register()
    with initialize_config_dir(str(settings.CONF), version_base="1.3"):
        return settings.checked(compose("config", overrides=[*overrides, *more]))


def verdict_of(cfg, tmp_path: Path):
    """Run the commands of a study that only ingests, and return claim B's verdict and the estimate by policy."""
    ingest.main(cfg)
    gather.main(cfg)
    freeze("published", tmp_path / "results", tmp_path / "data")
    frozen = read_frozen("published", tmp_path / "data")
    claims = load_claims(settings.CONF / "claim")
    choices = from_conf(dataclasses.replace(settings.analysis(), n_simulations=100))
    found = analysis.analyse("published", "released", claims, choices, frozen)
    (verdict,) = [v for v in found.verdicts if v.study == "published" and v.claim_id == "B"]
    return verdict, found


def discordant(a: dict[str, bool], b: dict[str, bool]):
    """Count the items that only a solves, and only b, over those that both have."""
    common = sorted(set(a) & set(b))
    return sum(a[i] and not b[i] for i in common), sum(b[i] and not a[i] for i in common), len(common)


def t_by_hand(only_a: int, only_b: int, n: int) -> float:
    """Paired t of binary scores; its square is McNemar's chi-square but for the variance under the null hypothesis."""
    difference = (only_a - only_b) / n
    return difference / math.sqrt(((only_a + only_b) / n - difference**2) / (n - 1))


@pytest.fixture
def made_up(tmp_path):
    """Two models on 60 items: 18 solved by the first only, 5 by the second only; one item each was not submitted."""
    first = {instance(n): n < 36 for n in range(60) if n != 59}
    second = {instance(n): 18 <= n < 41 for n in range(60) if n != 58}
    return {role: put(tmp_path / f"{role}.json", results) for role, results in zip(ROLES, (first, second), strict=True)}


def test_paired_verdict_of_two_published_results_is_mcnemar_by_hand(tmp_path, made_up):
    ids = [instance(n) for n in range(60)]
    verdict, found = verdict_of(study(tmp_path, made_up, ids, "none"), tmp_path)
    only_a, only_b, n = discordant(*(json.loads(file.read_text()) for file in made_up.values()))
    assert (only_a, only_b, n) == (18, 5, 58)
    estimate = verdict.replication
    assert (estimate.n_tasks, estimate.n_unscored) == (n, 2) and estimate.value == pytest.approx(13 / 58)
    assert estimate.value / estimate.se == pytest.approx(t_by_hand(only_a, only_b, n))
    chi2 = 13**2 / 23
    t2 = (estimate.value / estimate.se) ** 2
    assert t2 == pytest.approx(chi2 * (n - 1) / n / (1 - chi2 / n))  # exact relation of the two statistics
    assert verdict.outcome == "replicated" and found.data.public


def test_deviations_from_the_protocol_of_the_original_are_those_of_the_study(tmp_path, made_up):
    ids = [instance(n) for n in range(60)]
    listed = ["+benchmark@benchmarks.swe_bench_pro=swe_bench_pro", "benchmarks.swe_bench_pro.n_tasks=60"]
    cfg = study(tmp_path, made_up, ids, "none", *listed)
    assert build.jobs(cfg, build.served_models(cfg)[0]) == []  # played by its harness, not by us
    ingest.main(cfg)
    gather.main(cfg)
    deviations = read_index(tmp_path / "results", "published").deviations
    assert [d.partition(":")[0] for d in deviations] == ["swe_bench_pro"] * 2 and "not public" in deviations[0]
    with pytest.raises(ConfigError, match=r"`ingest.general.n_tasks` is 60, .*n_tasks` 731: the denominator"):
        study(tmp_path, made_up, ids, "none", listed[0])


@pytest.mark.slow
def test_missing_items_count_as_failures_over_the_fixed_denominator_under_the_policy_fail(tmp_path, made_up):
    _, found = verdict_of(study(tmp_path, made_up, [instance(n) for n in range(60)], "none"), tmp_path)
    table = found.tables.estimates.query("benchmark == 'swe_bench_pro' and target == 'T2'").set_index("policy")
    assert table.loc["fail", "value"] == pytest.approx((36 - 23) / 60) and table.loc["fail", "n_tasks"] == 60


@pytest.mark.slow
def test_items_of_one_repository_are_one_cluster(tmp_path, made_up):
    ids = [instance(n) for n in range(60)]
    verdict, found = verdict_of(study(tmp_path, made_up, ids, "repository"), tmp_path)
    first, second = (json.loads(file.read_text()) for file in made_up.values())
    common = sorted(set(first) & set(second))
    difference = np.array([first[i] - second[i] for i in common], float)
    repository = np.array([ids.index(i) % 6 for i in common])
    sums = np.array([(difference - difference.mean())[repository == r].sum() for r in range(6)])
    se = math.sqrt(6 / 5 * (sums**2).sum()) / len(common)
    assert verdict.replication.se == pytest.approx(se) and verdict.replication.df == pytest.approx(5)
    assert verdict.replication.value == pytest.approx(13 / 58)
    assert found.frozen.about.clusters["swe_bench_pro"][instance(1)] == "org/repo1"


@pytest.mark.slow
def test_paper_of_a_study_that_only_ingests_is_built(tmp_path, made_up):
    verdict_of(study(tmp_path, made_up, [instance(n) for n in range(60)], "repository"), tmp_path)
    built = build_paper(tmp_path, "published", "released")
    assert {v.claim_id for v in built.verdicts if v.study == "published"} >= {"B"}


@pytest.mark.slow
@needs_samples
def test_official_results_of_two_models_on_their_common_items_are_mcnemar_by_hand(tmp_path):
    folder = SAMPLES / "official" / "swebench_pro" / "official_eval_results"
    files = [folder / "gpt-5-250-turns-10132025.json", folder / "claude-4sonnet-10132025.json"]
    a, b = (json.loads(file.read_text()) for file in files)
    only_a, only_b, n = discordant(a, b)
    ids = sorted(set(a) | set(b))
    cfg = study(tmp_path, dict(zip(ROLES, files, strict=True)), ids, "none")
    verdict, _ = verdict_of(cfg, tmp_path)
    assert verdict.replication.n_tasks == n == 562 and verdict.replication.value == pytest.approx((only_a - only_b) / n)
    assert verdict.replication.value / verdict.replication.se == pytest.approx(t_by_hand(only_a, only_b, n))
