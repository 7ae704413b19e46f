"""The published benchmarks of a study: those that it lists, and those of its entries of `ingest`."""

import dataclasses

import yaml

from replication.settings.conversion import typed
from replication.settings.schema import CONF, Benchmark, Root


def published(root: Root) -> dict[str, Benchmark]:
    """Return the benchmarks that an official harness plays, by name.

    An entry of `ingest` is enough: a benchmark that is not listed in `benchmarks` has the facts of conf/benchmark.
    """
    found = {name: choice for name, choice in root.benchmarks.items() if choice.protocol is not None}
    for source in root.ingest.values():
        path = CONF / "benchmark" / f"{source.benchmark}.yaml"
        if source.benchmark not in root.benchmarks and path.is_file():
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
            found[source.benchmark] = typed(Benchmark, values, f"benchmarks.{source.benchmark}")
    return dict(sorted(found.items()))


def played(root: Root) -> Root:
    """Return the study with those benchmarks only that its scaffolds play."""
    suite = {name: choice for name, choice in root.benchmarks.items() if choice.protocol is None}
    return dataclasses.replace(root, benchmarks=suite)
