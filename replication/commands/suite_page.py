"""Write README.md of the suite: what its environments are, with the scores of experts and floors from a run.

python -m replication.benchmarks.suite
"""

from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from replication.collect.benchmarks.suite import ENVIRONMENTS, LEVELS, SuiteBenchmark
from replication.collect.benchmarks.suite.policies import SPLIT, Policy, erring, evaluate, expert, nothing, random_valid

PAGE = Path(__file__).resolve().parents[1] / "collect/benchmarks/suite/README.md"
N_TASKS = 200
SEED = 0
ERRORS = 0.1
"""Share of the expert's turns that `erring` gets wrong."""


class Sibling(NamedTuple):
    """What an environment is modelled on and how it is scored."""

    benchmark: str
    metric: str


SIBLINGS = {
    "terminal": Sibling("Terminal-Bench 2.0", "binary: all files are as wanted"),
    "repair": Sibling("SWE-bench Verified", "binary: hidden tests pass"),
    "repository": Sibling("SWE-bench Pro", "binary: new tests pass, old ones still do"),
    "research": Sibling("WideSearch", "item F1"),
    "assistant": Sibling("Claw-Eval", "safety × (0.8 completion + 0.2 robustness)"),
    "office": Sibling(
        "QwenClawBench", "half hard checks, half rubric, which counts 0 where under 0.75 of the checks pass"
    ),
    "calling": Sibling("BFCL v4", "binary: the calls are the wanted ones"),
}
"""By environment, in the order of the page; an environment is the module of that name."""

POLICIES: dict[str, Policy] = {
    "expert": expert,
    "does nothing": nothing,
    "random valid calls": random_valid,
    f"errs at {ERRORS:.0%} of turns": erring(ERRORS),
}


def environments() -> list[ModuleType]:
    """Import the environments that are there."""
    return [import_module(f"replication.collect.benchmarks.suite.{ENVIRONMENTS[name]}") for name in SIBLINGS]


def page(modules: Sequence[ModuleType], n_tasks: int = N_TASKS) -> str:
    """Write the page as Markdown."""
    sections = [line for module in modules for line in _section(module, n_tasks)]
    return "\n".join((*_head(n_tasks), *_overview(modules), *sections, ""))


def _head(n_tasks: int) -> Iterator[str]:
    yield "# The suite"
    yield ""
    yield "Written by `python -m replication.benchmarks.suite`; do not edit. Generated, deterministic environments, parallel"
    yield "forms of what the published benchmarks measure. Domain: may the warm-up see the environment (in) or not (out)."
    yield ""
    yield f"Scores are means over the first {n_tasks} tasks of the {SPLIT} split at seed {SEED}, without scaffold or model."
    yield "Turns are the expert's, its answer included. The policies stand in `policies.py`."
    yield ""


def _overview(modules: Sequence[ModuleType]) -> Iterator[str]:
    yield from _row("environment", "stands beside", "domain", "metric", "tools")
    yield from _row(*["---"] * 5)
    for module in modules:
        sibling = SIBLINGS[module.NAME]
        yield from _row(_link(module), sibling.benchmark, module.DOMAIN, sibling.metric, _tools(module))
    yield ""


def _link(module: ModuleType) -> str:
    return f"[`{module.NAME}`](#{module.NAME})"


def _tools(module: ModuleType) -> str:
    one, other = SuiteBenchmark(module).tasks(SPLIT, LEVELS[0], 2, SEED)
    return ", ".join(f"`{tool.name}`" for tool in one.tools) if one.tools == other.tools else "made for each task"


def _section(module: ModuleType, n_tasks: int) -> Iterator[str]:
    bench = SuiteBenchmark(module)
    yield f"## {module.NAME}"
    yield ""
    yield (module.__doc__ or "").strip()
    yield ""
    yield from _row("version " + module.VERSION, *(f"level {level}" for level in LEVELS))
    yield from _row("---", *["---:"] * len(LEVELS))
    yield from _row("turns", *(f"{_mean_turns(bench, level, n_tasks):.1f}" for level in LEVELS))
    for name, policy in POLICIES.items():
        yield from _row(name, *(f"{evaluate(bench, policy, level, n_tasks, SEED):.3f}" for level in LEVELS))
    yield ""


def _mean_turns(bench: SuiteBenchmark, level: int, n_tasks: int) -> float:
    return sum(len(draft.expert) for _, draft in bench.items(SPLIT, level, n_tasks, SEED)) / n_tasks


def _row(*cells: str) -> Iterator[str]:
    yield f"| {' | '.join(cells)} |"


def main(arguments: Sequence[str] = ()) -> None:
    """Write the page."""
    PAGE.write_text(page(environments()), encoding="utf-8")
    print(PAGE)
