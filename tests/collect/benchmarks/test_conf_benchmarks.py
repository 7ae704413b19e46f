"""conf/benchmark has a file for every environment of the suite, and it says what the environment says of itself."""

import pytest
import yaml
from omegaconf import OmegaConf

from replication import settings
from replication.collect.benchmarks.suite import NAMES, load

FILES = settings.CONF / "benchmark"
every_environment = pytest.mark.parametrize("name", NAMES)


def test_every_environment_has_a_file_and_every_file_an_environment():
    assert sorted(path.stem for path in FILES.glob("*")) == sorted(NAMES)


@every_environment
def test_file_has_the_domain_of_the_environment_and_keys_of_the_schema(name):
    values = yaml.safe_load((FILES / f"{name}.yaml").read_text())
    assert (values["domain"], values["levels"], values["n_tasks"]) == (load(name).module.DOMAIN, [1], 200)
    merged = OmegaConf.merge(settings.Benchmark, values)
    assert merged.split == "evaluation" and not OmegaConf.missing_keys(merged)


@every_environment
def test_first_line_names_the_published_benchmark_that_the_environment_names(name):
    comment = (FILES / f"{name}.yaml").read_text().partition("\n")[0]
    _, _, beside = load(name).module.__doc__.partition("\n")[0].partition("; stands beside ")
    assert comment.startswith(f"# Stands beside {beside.removesuffix('.')}; ") and beside
    domain = {"in": "open to the warm-up.", "out": "out of the warm-up's domain."}
    assert comment.endswith(domain[load(name).module.DOMAIN])
