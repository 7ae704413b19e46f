"""conf/benchmark has a file for every environment of the suite, consistent with the environment's module."""

import pytest
import yaml
from omegaconf import OmegaConf

from replication import settings
from replication.collect.benchmarks.suite import NAMES, load

FILES = settings.CONF / "benchmark"
every_environment = pytest.mark.parametrize("name", NAMES)
SUITE_FILES = [path for path in FILES.glob("*.yaml") if "suite" in yaml.safe_load(path.read_text())]


def test_every_environment_has_a_file_and_every_file_with_options_of_the_suite_an_environment():
    assert sorted(path.stem for path in SUITE_FILES) == sorted(NAMES)


@every_environment
def test_file_has_the_domain_of_the_environment_and_keys_of_the_schema(name):
    values = yaml.safe_load((FILES / f"{name}.yaml").read_text())
    options = values["suite"]
    assert (options["domain"], options["levels"], values["n_tasks"]) == (load(name).environment.domain, [1], 200)
    merged = OmegaConf.merge(settings.Benchmark, values)
    assert merged.split == "evaluation" and not OmegaConf.missing_keys(merged)


def test_benchmark_of_another_kind_needs_no_options_of_the_suite():
    merged = OmegaConf.to_object(OmegaConf.merge(settings.Benchmark, {"n_tasks": 3}))
    assert merged == settings.Benchmark(n_tasks=3, split="evaluation", suite=None)


@every_environment
def test_first_line_names_the_published_benchmark_that_the_environment_names(name):
    comment = (FILES / f"{name}.yaml").read_text().partition("\n")[0]
    environment = load(name).environment
    assert environment.about.partition("\n")[0].endswith(f"; modelled on {environment.modelled_on}.")
    domain = {"in": "open to the warm-up.", "out": "out of the warm-up's domain."}[environment.domain]
    assert comment == f"# Modelled on {environment.modelled_on}; {domain}"
