"""BFCL v4 by its official program bfcl-eval, launched against the endpoint that serves the model.

Each trial is a folder with two fresh processes: `generate`, repeated for requests that failed, and `evaluate`. Simulated
systems live in globals of the harness, so results of two trials in one process would be graded with the state of the other.
Both processes evaluate calls that the model wrote as Python, so they run in a sandbox whose only way out is the proxy.
"""

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from replication.collect.benchmarks.official import bfcl_driver, bfcl_files, sandbox, venvs
from replication.collect.benchmarks.official.adapter import Needs
from replication.collect.benchmarks.official.bfcl_files import CATEGORIES, OFFLINE, Selection
from replication.collect.benchmarks.official.proxy import Rules, Wire, check_endpoint, proxy
from replication.collect.interfaces import HarnessRun, ItemResult
from replication.errors import HarnessError
from replication.files import write_json
from replication.records import Json, stable_hash
from replication.settings.limits import one_of, whole

RECIPE = venvs.Recipe(name="bfcl", version="2026.3.23", module="bfcl_eval")
WIRE, DONE, ITEMS = "wire.json", "done.json", bfcl_files.ITEMS
TAIL = 1500
"""Characters of a log that an error message quotes."""


@dataclass
class Options:
    """Settings `ingest.NAME.options` of harness bfcl; `mode`, `categories` and `items` are part of a run's identity."""

    mode: str = one_of(("fc", "prompt"), "fc")  # calls by the server's tool parser, or read from the text of a reply
    categories: list[str] = one_of(CATEGORIES, lambda: list(OFFLINE), least=1, distinct=True)
    items: int | None = whole(1, 10_000, None)  # the first ones of each category; null: all
    threads: int = whole(1, 1_000, 8)  # requests in flight
    resumes: int = whole(0, 100, 2)  # how often items whose request failed are run again before they are unscored
    sandbox: str = one_of(sandbox.KINDS, "auto")  # none: the harness evaluates a model's text without one
    mismatch: str = one_of(
        ("refuse", "record"), "refuse"
    )  # of sampling that the harness sends and the run does not state


class Bfcl:
    """The adapter."""

    name = "bfcl"
    version = f"1-{RECIPE.version}"
    is_served = True

    def __init__(self, options: Options):
        self._options = options
        chosen = {"mode": options.mode, "categories": sorted(options.categories), "items": options.items}
        published = {"mode": "fc", "categories": sorted(CATEGORIES), "items": None}
        self.variant = "" if chosen == published else stable_hash(chosen, 8)

    def prepare(self, run: HarnessRun) -> None:
        """Install the harness where attempts are missing, write the ids of the items, and check the denominator."""
        path = run.folder / ITEMS
        if not path.is_file() or set(json.loads(path.read_text(encoding="utf-8"))) != set(self._options.categories):
            self._write_items(path)
        chosen = self._selection(run)
        memory = [name for name in self._options.categories if chosen.prerequisites[name]]
        if self._options.items is not None and memory:
            raise HarnessError(
                f"`options.items` is {self._options.items}, but the items of {', '.join(memory)} share one memory. Leave "
                f"these categories out, or run all items."
            )
        n_items = sum(map(len, chosen.items.values()))
        if n_items != run.n_tasks:
            raise HarnessError(
                f"`n_tasks` is {run.n_tasks}, but the categories of `options` have {n_items} items in {RECIPE.name}-eval "
                f"{RECIPE.version}. Set `n_tasks: {n_items}`, or choose other categories."
            )

    def pending(self, run: HarnessRun) -> bool:
        """Tell whether a trial is not evaluated yet, or ended with failures that may pass."""
        return any(not self._is_done(run, trial) for trial in range(run.n_trials))

    def launch(self, run: HarnessRun) -> None:
        """Generate and evaluate the missing trials; HarnessError if the endpoint is gone, and the next call resumes."""
        for trial in range(run.n_trials):
            if not self._is_done(run, trial):
                with _locked(_folder(run, trial)) as held:
                    self._launch_trial(run, trial, held)

    def validate(self, run: HarnessRun) -> list[str]:
        """Return what is wrong with the files, and a difference between our overall score and the harness's own."""
        problems = []
        for trial in range(run.n_trials):
            folder = _folder(run, trial)
            if not (folder / DONE).is_file():
                problems.append(f"`{folder}` is not evaluated. Run `python -m replication official` for this study.")
                continue
            graded = bfcl_files.graded(folder, self._selection(run), trial)
            problems += graded.problems
            ours = bfcl_files.overall(graded.results)
            if ours is not None and not graded.problems and all(r.details["status"] == "ok" for r in graded.results):
                tool = bfcl_files.overall_of_harness(folder)
                if abs(ours - tool) > 0.5e-4 + 1e-9:
                    problems.append(
                        f"`{folder}`: overall {ours:.6f} from these rows, {tool:.4f} in the harness's table."
                    )
        return problems

    def ingest(self, run: HarnessRun) -> list[ItemResult]:
        """Return one row per item and trial."""
        chosen = self._selection(run)
        return [
            row
            for trial in range(run.n_trials)
            for row in bfcl_files.graded(_folder(run, trial), chosen, trial).results
        ]

    def facts(self, run: HarnessRun) -> Mapping[str, Json]:
        """Return what the manifest of the run keeps."""
        wire, overall = Wire(), []
        for trial in range(run.n_trials):
            wire = wire.plus(_wire(_folder(run, trial)))
            value = bfcl_files.overall(bfcl_files.graded(_folder(run, trial), self._selection(run), trial).results)
            overall.append(value)
        return {
            "lock_sha256": venvs.lock_hash(RECIPE), "mode": self._options.mode, "items": self._options.items,
            "categories": sorted(self._options.categories), "servers": list(wire.servers),
            "sandbox": sorted({str(_done(_folder(run, trial))["sandbox"]) for trial in range(run.n_trials)}),
            "deviations": [*self._left_out(), *wire.deviations], "measured": {"overall": overall, "wire": asdict(wire)},
        }  # fmt: skip

    def _left_out(self) -> list[str]:
        """List what a run lacks of the published benchmark."""
        missing = sorted(set(CATEGORIES) - set(self._options.categories))
        parts = [f"categories left out, so there is no overall score: {', '.join(missing)}"] if missing else []
        return parts + ([f"the first {self._options.items} items of each category only"] if self._options.items else [])

    def _selection(self, run: HarnessRun) -> Selection:
        return bfcl_files.selection(run.folder / ITEMS, self._options.categories, self._options.items)

    def _is_done(self, run: HarnessRun, trial: int) -> bool:
        folder = _folder(run, trial)
        if not (folder / DONE).is_file():
            return False
        graded = bfcl_files.graded(folder, self._selection(run), trial)
        final = ("ok", *bfcl_files.FINAL)
        return not graded.problems and all(row.details["status"] in final for row in graded.results)

    def _write_items(self, path: Path) -> None:
        python = venvs.ensure(RECIPE)
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path.parent) as held, tempfile.TemporaryDirectory(dir=path.parent) as scratch:
            argv = [*_driver(python), "items", ITEMS, *self._options.categories]
            values = {"BFCL_PROJECT_ROOT": str(Path(scratch).absolute())}
            # The harness's own data, so no sandbox is needed.
            _run("none", argv, Path(scratch), values, path.parent / "items.log", held)
            (Path(scratch) / ITEMS).replace(path)

    def _launch_trial(self, run: HarnessRun, trial: int, held: int) -> None:
        if run.endpoint is None:
            raise HarnessError(
                f"trial {trial} in `{run.folder}` needs an endpoint that serves `{run.model.name}`. Run "
                f"`python -m replication official` for this study, which starts or names one."
            )
        confined = sandbox.choose(self._options.sandbox)
        python, folder, chosen = venvs.ensure(RECIPE), _folder(run, trial), self._selection(run)
        (folder / DONE).unlink(missing_ok=True)
        failures = bfcl_files.prune(folder, chosen)
        for _ in range(1 + self._options.resumes):
            todo = bfcl_files.unfinished(folder, chosen, failures)
            if not todo:
                break
            server = check_endpoint(run.endpoint, "before the harness starts")
            write_json(folder / "test_case_ids_to_generate.json", dict(todo))
            wire = self._generate(run, trial, server, confined, python, held)
            failures = bfcl_files.prune(folder, chosen)
            check_endpoint(run.endpoint, "after the harness ran")
            if wire.failures.get("forbidden"):
                raise HarnessError(
                    f"the harness sent what run `{run.spec.run_id}` does not state: {'; '.join(wire.deviations)}. Change "
                    f"`sampling`, or pass it on and list it as a deviation with `options.mismatch: record`."
                )
        self._evaluate(run, folder, chosen, confined, python, held)

    def _generate(self, run: HarnessRun, trial: int, server: str, confined: str, python: Path, held: int) -> Wire:
        assert run.endpoint is not None
        folder, spec = _folder(run, trial), run.spec
        rules = Rules(
            endpoint=run.endpoint, sampling=spec.sampling, seed=(spec.seed, trial),
            refuse=self._options.mismatch == "refuse", template_options=run.model.template_options,
        )  # fmt: skip
        argv = [
            *_driver(python), "generate", "--model", bfcl_driver.NAME, "--run-ids", "--num-threads",
            str(self._options.threads), "--temperature", repr(spec.sampling.temperature),
        ]  # fmt: skip
        earlier = _wire(folder).plus(Wire(servers=[server]))
        # The path of a Unix socket has at most 107 characters.
        with tempfile.TemporaryDirectory(prefix="proxy-") as place, proxy(rules, Path(place) / "socket") as (wire, _):
            values = self._values(run, folder) | {"REPLICATION_SOCKET": f"{place}/socket"}
            try:
                _run(confined, argv, folder, values, folder / "generate.log", held)
            finally:
                write_json(folder / WIRE, asdict(earlier.plus(wire)))
        return wire

    def _evaluate(
        self, run: HarnessRun, folder: Path, chosen: Selection, confined: str, python: Path, held: int
    ) -> None:
        n_results = sum(
            len(path.read_bytes().splitlines()) for paths in bfcl_files.result_files(folder).values() for path in paths
        )
        if n_results < 2:
            raise HarnessError(
                f"`{folder}` has {n_results} results, and bfcl-eval evaluates no less than two, whose spread of times it "
                f"prints. See `{bfcl_files.ERRORS}` there for failures, or select more items."
            )
        shutil.rmtree(folder / "score", ignore_errors=True)  # the harness adds old scores to its tables
        # Otherwise it raises on items without a result, which have no score here.
        argv = [
            *_driver(python), "evaluate", "--model", bfcl_driver.NAME, "--partial-eval", "--test-category",
            ",".join(chosen.items),
        ]  # fmt: skip
        _run(confined, argv, folder, self._values(run, folder), folder / "evaluate.log", held)
        write_json(folder / DONE, {"version": self.version, "sandbox": confined})

    def _values(self, run: HarnessRun, folder: Path) -> dict[str, str]:
        served = run.endpoint.served if run.endpoint else run.model.name
        return {
            "BFCL_PROJECT_ROOT": str(folder.absolute()), "REPLICATION_MODE": self._options.mode,
            "REPLICATION_SERVED": served, "OPENAI_API_KEY": "EMPTY", "HF_HUB_OFFLINE": "1",
        }  # fmt: skip


def build(options: Options) -> Bfcl:
    """Build the adapter."""
    return Bfcl(options)


def needs() -> Needs:
    """Return what the harness needs."""
    return Needs(
        containers=(), images="none", keys=(), disk_gb=0.6, hours=None,
        network="none, but for packages at the first use",
        not_tried="web_search, memory_vector, and memory with a real model",
    )  # fmt: skip


def _folder(run: HarnessRun, trial: int) -> Path:
    return run.folder / f"trial_{trial}"


def _driver(python: Path) -> list[str]:
    # -P: the folder of the driver has a module csv.py, which must not hide that of Python.
    return [str(python), "-P", bfcl_driver.__file__]


def _run(kind: str, argv: list[str], folder: Path, values: Mapping[str, str], log: Path, held: int) -> None:
    code = sandbox.run(kind, argv, folder, values, log, held)
    if code:
        tail = log.read_text(encoding="utf-8", errors="replace")[-TAIL:]
        raise HarnessError(f"`{argv[3]}` of bfcl-eval ended with code {code}; its log `{log}` ends with:\n{tail}")


def _wire(folder: Path) -> Wire:
    path = folder / WIRE
    return Wire(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else Wire()


def _done(folder: Path) -> dict[str, Any]:
    return json.loads((folder / DONE).read_text(encoding="utf-8"))


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """Lock a folder, and yield the descriptor that holds the lock, for the processes that work there."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor
    except BlockingIOError:
        raise HarnessError(
            f"another process works in `{folder}`, perhaps one that an interrupted command left. Wait until it ends, or end "
            f"it, and run the same command again."
        ) from None
    finally:
        os.close(descriptor)
