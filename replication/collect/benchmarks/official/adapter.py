"""The adapter of a harness whose reader, command line and needs are given as functions and data."""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from replication.collect.benchmarks.official import judging, launching, venvs
from replication.collect.benchmarks.official.launching import Command, Launch
from replication.collect.benchmarks.official.reading import Read, all_scored
from replication.collect.interfaces import HarnessRun, ItemResult
from replication.errors import HarnessError
from replication.records import Json, stable_hash


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


def variant_of(options: object, default: object, names: Sequence[str]) -> str:
    """Return what tells apart the runs of two graders: empty for the default one, so that its runs keep their ids."""
    chosen, usual = ({name: getattr(one, name) for name in names} for one in (options, default))
    return "" if chosen == usual else stable_hash(chosen, 8)


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
    variant: str = ""
    """Of the grader, such as a judge that is not the default one: part of a run's identity. Empty: the default."""
    recipe: venvs.Recipe | None = None
    """Of the environment of our lock file; None where the tool is in no registry of packages."""
    check: Callable[[HarnessRun], None] = lambda run: None
    """Raises HarnessError where the commands lack something else; before anything runs."""
    access: Callable[[HarnessRun], AbstractContextManager[Mapping[str, str]]] = lambda run: contextlib.nullcontext({})
    """Starts what the commands reach, such as a proxy to the model, and yields variables for them."""
    forget: Callable[[HarnessRun], None] = lambda run: None
    """Removes attempts that failed in the set-up, where the tool would keep them; before the commands."""
    repeats: bool = False
    """Run again, the commands keep what is complete and repeat attempts without a score."""
    alone: bool = False
    """Whether two runs on one machine would meet in ports or folders; then one waits for the other."""
    outputs: str | None = None
    """Folder of answers that are only graded: no container is needed, and no model."""
    plays: bool = True
    """Whether the commands ask a model; false where they grade what an agent has left."""
    facts_of: Callable[[HarnessRun], Mapping[str, Json]] = field(default=lambda run: {})
    """More for the run's manifest."""

    @property
    def is_served(self) -> bool:
        """Tell whether the commands ask the server of the study's engine."""
        options = self.launch_options
        return self.plays and self.outputs is None and options.venv is not None and options.endpoint is None

    def pending(self, run: HarnessRun) -> bool:
        """Tell whether commands are left that need the server."""
        state = launching.state(run.folder)
        if state == "ended":
            return self._is_incomplete(run)
        return state == "started" or not self._has_results(run)

    def prepare(self, run: HarnessRun) -> None:
        """Check that there are results, or all that is needed to launch the tool."""
        state, has_results = launching.state(run.folder), self._has_results(run)
        if (state == "ended" and not self._is_incomplete(run)) or (state == "not_ours" and has_results):
            return
        if self.launch_options.venv is None:
            if state == "ended":
                return
            there = "partial results" if has_results else f"no `{self.results}`"
            raise HarnessError(
                f"{there} in `{run.folder}`. Put the results of {self.name} there, or name the tool's virtual environment "
                f"in `options.launch.venv` to run it."
            )
        if self.outputs is not None and not Path(self.outputs).is_dir():
            raise HarnessError(
                f"`options.judging.outputs` is `{self.outputs}`, which does not exist. Name the folder of the run "
                f"whose answers are to be judged again, or leave it out to play them."
            )
        launching.check(self.launch_options, () if self.outputs else self.needs.containers, self.name, self.recipe)
        self.check(run)

    def launch(self, run: HarnessRun) -> None:
        """Run the tool's commands; nothing where results came from elsewhere, or where they ran to their end."""
        options = self.launch_options
        if options.venv is None or (self._has_results(run) and launching.state(run.folder) == "not_ours"):
            return
        if self._is_incomplete(run):
            launching.reopen(run.folder)
        if launching.state(run.folder) == "ended":
            launching.launch(run, self.commands(run), options, {}, None)  # checks that they are the same
            return
        if self.is_served:
            launching.endpoint_of(run, options)  # before anything is installed or started
        programs = launching.programs(options, self.recipe)
        turn = launching.turn(self.name) if self.alone else contextlib.nullcontext()
        with turn, self.access(run) as variables:
            self.forget(run)
            launching.launch(run, self.commands(run), options, variables, programs)

    def _is_incomplete(self, run: HarnessRun) -> bool:
        if not self.repeats or self.launch_options.venv is None or launching.state(run.folder) != "ended":
            return False
        try:
            return any(result.value is None for result in self.read(run).results)
        except HarnessError:  # the tool ended well and left nothing that can be read
            return True

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

    def facts(self, run: HarnessRun) -> Mapping[str, Json]:
        """Return what the manifest of the run keeps: what went over the wire, who judged, deviations."""
        wire, judge = launching.wire_of(run.folder), judging.recorded(run.folder)
        found: dict[str, Json] = dict(self.facts_of(run))
        if self.recipe is not None and self.launch_options.venv == launching.AUTO:
            found["lock_sha256"] = venvs.lock_hash(self.recipe)
        if wire.servers:
            found |= {"servers": list(wire.servers), "deviations": list(wire.deviations)}
        if judge:
            found["judges"] = {name: asked["model"] for name, asked in judge.items()}
        if wire.servers or judge:
            found["measured"] = ({"wire": dataclasses.asdict(wire)} if wire.servers else {}) | {"judges": judge}
        return found

    def _has_results(self, run: HarnessRun) -> bool:
        return any(run.folder.glob(self.results)) or any(run.folder.glob(f"attempt_*/{self.results}"))
