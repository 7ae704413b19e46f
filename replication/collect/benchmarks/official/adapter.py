"""The adapter of a harness whose reader, command line and needs are given as functions and data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from replication.collect.benchmarks.official import launching
from replication.collect.benchmarks.official.launching import Command, Launch
from replication.collect.benchmarks.official.reading import Read, all_scored
from replication.collect.interfaces import HarnessRun, ItemResult
from replication.errors import HarnessError


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a harness needs to run its agents; its results can be ingested without any of it."""

    containers: tuple[str, ...]
    """Engines of which one is enough; empty if none is used."""
    images: str
    keys: tuple[str, ...]
    """Environment variables with keys of services."""
    disk_gb: float | None
    """None if it was not measured."""
    hours: float | None
    """Of one attempt at all items with 8 in parallel, by the time limits; None if nothing limits it."""
    network: str
    not_tried: str
    """What could not be run where this adapter was written."""


class Composite(NamedTuple):
    """A score of the whole benchmark, recomputed from the rows."""

    name: str
    value: float | None
    """None where an attempt has no score."""
    tool: float | None
    """The same as the tool computed it; None if its files do not have it."""


def disagreement(composite: Composite, tolerance: float = 1e-4) -> list[str]:
    """Return the problem of a mean that differs from the tool's own by more than its rounding."""
    name, ours, tool = composite
    if ours is None or tool is None or abs(ours - tool) <= tolerance:
        return []
    return [f"{name} of these rows is {ours:.5g}, the tool's own is {tool:.5g}: rows are missing, or not of this run."]


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """A `Harness` for files in a folder: launched only where the folder has no results and a venv is named."""

    name: str
    version: str
    """Of adapter and harness, with the judge and the metric: all that can change a score."""
    results: str
    """Pattern of the files by which results are recognised."""
    read: Callable[[HarnessRun], Read]
    commands: Callable[[HarnessRun], Sequence[Command]]
    launch_options: Launch
    needs: Needs
    composites: Callable[[HarnessRun, Sequence[ItemResult]], list[Composite]] = lambda run, results: []

    def prepare(self, run: HarnessRun) -> None:
        """Check that there are results, or all that is needed to launch the tool."""
        state, has_results = launching.state(run.folder), self._has_results(run)
        if state == "ended" or (state == "not_ours" and has_results):
            return
        if self.launch_options.venv is None:
            there = "partial results" if has_results else f"no `{self.results}`"
            raise HarnessError(
                f"{there} in `{run.folder}`. Put the results of {self.name} there, or name the tool's virtual environment "
                f"in `options.launch.venv` to run it."
            )
        launching.check(self.launch_options, self.needs.containers, self.name)

    def launch(self, run: HarnessRun) -> None:
        """Run the tool's commands; nothing where results came from elsewhere, or where they ran to their end."""
        if self.launch_options.venv is None or (self._has_results(run) and launching.state(run.folder) == "not_ours"):
            return
        launching.launch(run, self.commands(run), self.launch_options)

    def validate(self, run: HarnessRun) -> list[str]:
        """Return the problems of the results, and means that differ from the tool's own where every attempt has a score."""
        try:
            found = self.read(run)
            composites = self.composites(run, found.results) if all_scored(run, found.results) else []
        except HarnessError as error:
            return [str(error)]
        return [*found.problems, *(problem for composite in composites for problem in disagreement(composite))]

    def ingest(self, run: HarnessRun) -> list[ItemResult]:
        """Return the results."""
        return self.read(run).results

    def _has_results(self, run: HarnessRun) -> bool:
        return any(run.folder.glob(self.results)) or any(run.folder.glob(f"attempt_*/{self.results}"))
