"""The registry of outputs: every figure and table of the paper once, with title, module and rule for when it exists.

`draw` and `write_tables` iterate over it, and the list in README.md is generated from it.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from replication.errors import AnalysisError
from replication.files import DIGITS, write_csv

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from replication.analyse.results import Results


@dataclass(frozen=True, kw_only=True)
class Output:
    """A file of the paper's folder, or a family of files with one pattern."""

    path: str
    """Relative to the paper's folder; `<...>` is a part of the name that varies."""
    title: str
    module: str
    """The module that computes or draws it, relative to replication/."""

    def matches(self, path: str) -> bool:
        """Return True if a path relative to the paper's folder is this output."""
        return fnmatch.fnmatchcase(path, re.sub("<.*?>", "*", self.path))


@dataclass(frozen=True, kw_only=True)
class FigureOutput(Output):
    """A figure, or one per comparison."""

    draw: Callable[[Results], Mapping[str, Figure]]
    """Figures by the stem of their file; empty where the study has no data for it."""


@dataclass(frozen=True, kw_only=True)
class TableOutput(Output):
    """A table of estimates, or several of one analysis."""

    tables: Callable[[Results], Mapping[str, pd.DataFrame | None]]
    """Tables by path in data/ without the ending; None where the study has no data for it."""


def _forest_published(results: Results) -> dict[str, Figure]:
    from replication.publish.figures import forest

    return {"forest_published": forest.draw_published(results.tables.audit.estimates, results.sesoi)}


def _fragility(results: Results) -> dict[str, Figure]:
    from replication.publish.figures import fragility

    at = (results.settings.icc, results.settings.rho)
    audited = results.tables.audit
    return {"fragility": fragility.draw(audited.fragility_map, audited.rows, at, results.settings.alpha)}


def _tipping(results: Results) -> dict[str, Figure]:
    from replication.publish.figures import tipping

    audited = results.tables.audit
    return {"tipping": tipping.draw(audited.tipping_steps, audited.tipping, alpha=results.settings.alpha)}


def _grim(results: Results) -> dict[str, Figure]:
    from replication.publish.figures import grim

    return {"grim": grim.draw(results.tables.audit.digits, results.tables.audit.rows)}


def _pairs(results: Results) -> dict[str, Figure]:
    from replication.publish.figures import pairs

    return {"pairs": pairs.draw(results.reanalysis.gaps["bfcl_v3"], results.reanalysis.band)}


def _literature(results: Results) -> dict[str, Figure]:
    from replication.analyse.synthesis import CLASSES, NAMES, OTHER
    from replication.publish.figures import literature

    found = results.reanalysis.literature
    if found is None:
        return {}
    classes = {name: NAMES[name] for name in CLASSES if name in set(found.effects["set"])}
    fitted = found.leave_one_out.rename(columns={"mean": "value"})
    left_out = {name: NAMES[name] for name in dict.fromkeys(fitted["set"]) if name not in (OTHER, "in")}
    return {
        "literature_forest": literature.draw_forest(
            found.papers, found.effects, found.means, found.published, classes
        ),
        "literature_funnel": literature.draw_funnel(found.effects, found.published, classes),
        "literature_left_out": literature.draw_leave_one_out(fitted, left_out),
    }  # fmt: skip


def _forests(results: Results) -> dict[str, Figure]:
    from replication.publish.figures import forest

    shown, runs = results.shown, results.tables.runs
    if shown is None or runs is None:
        return {}
    figures = {}
    for (treatment, control), part in shown.groupby(["treatment", "control"], sort=False):
        of_pair = runs[(runs["treatment"] == treatment) & (runs["control"] == control)]
        figures[forest.stem(treatment, control)] = forest.draw_collected(part, of_pair, results.sesoi)
    return figures


def _scales(results: Results) -> dict[str, Figure]:
    from replication.analyse.tables.summaries import ALL
    from replication.publish.figures import scales

    shown = results.shown
    single = shown if shown is None else shown[shown["scale"] != ALL]
    return {} if single is None or single.empty else {"scales": scales.draw(single, results.sesoi)}


def _compute(results: Results) -> dict[str, Figure]:
    from replication.publish.figures import compute

    if results.frozen is None or not (results.frozen.training["flops"] > 0).any():
        return {}
    return {"compute": compute.draw(results.frozen.training)}


def _curves(results: Results) -> dict[str, Figure]:
    from replication.publish.figures import curves

    if results.secondary is None or results.secondary.curves is None:
        return {}
    return {"curves": curves.draw(results.secondary.curves)}


def _probe(results: Results) -> dict[str, Figure]:
    from replication.publish.figures import probe

    if results.secondary is None or results.secondary.probe_runs is None:
        return {}
    return {"probe": probe.draw(results.secondary.probe_runs)}


def _reanalysis(results: Results) -> dict[str, pd.DataFrame | None]:
    from replication.analyse import reanalysis

    return {f"reanalysis/{name}": table for name, table in reanalysis.tables(results.reanalysis).items()}


def _secondary(name: str) -> Callable[[Results], dict[str, pd.DataFrame | None]]:
    """Return a function that looks up a table of the secondary analyses."""
    return lambda results: {name: None if results.secondary is None else getattr(results.secondary, name)}


OUTPUTS: tuple[Output, ...] = (
    TableOutput(
        path="data/published.csv", title="Table 1, published scores with recomputed intervals",
        module="analyse/table_audit.py", tables=lambda results: {"published": results.tables.audit.estimates},
    ),
    FigureOutput(
        path="figures/forest_published.svg", title="Figure 1, forest of the published scores",
        module="publish/figures/forest.py", draw=_forest_published,
    ),
    FigureOutput(
        path="figures/fragility.svg", title="Fragility map of the published rows",
        module="publish/figures/fragility.py", draw=_fragility,
    ),
    FigureOutput(
        path="figures/tipping.svg", title="Tipping points of the published rows",
        module="publish/figures/tipping.py", draw=_tipping,
    ),
    FigureOutput(
        path="figures/grim.svg", title="GRIM strip: which runs the printed digits allow",
        module="publish/figures/grim.py", draw=_grim,
    ),
    FigureOutput(
        path="figures/pairs.svg", title="Agent-tuned against general models, by size",
        module="publish/figures/pairs.py", draw=_pairs,
    ),
    FigureOutput(
        path="figures/literature_<figure>.svg", title="What other papers found: forest, funnel, each paper left out",
        module="publish/figures/literature.py", draw=_literature,
    ),
    TableOutput(
        path="data/reanalysis/<table>.csv", title="Every table of the reanalysis",
        module="analyse/reanalysis.py", tables=_reanalysis,
    ),
    Output(
        path="data/<study>/scores.csv", title="Score of every episode, as frozen", module="store/frozen.py",
    ),
    Output(
        path="data/<study>/training.csv", title="Training runs and their compute, as frozen", module="store/frozen.py",
    ),
    Output(
        path="data/<study>/curves.csv", title="Training curves, as frozen", module="store/frozen.py",
    ),
    Output(
        path="data/<study>/probe.csv", title="Answers to the probe, as frozen", module="store/frozen.py",
    ),
    Output(
        path="data/<study>/manifest.json", title="Scope, levels, checks and engine of the study, as frozen",
        module="store/frozen.py",
    ),
    FigureOutput(
        path="figures/compute.svg", title="Compute per training run", module="publish/figures/compute.py", draw=_compute,
    ),
    FigureOutput(
        path="figures/curves.svg", title="Training curves", module="publish/figures/curves.py", draw=_curves,
    ),
    TableOutput(
        path="data/estimates.csv", title="Table of estimates", module="analyse/tables/summaries.py",
        tables=lambda results: {"estimates": results.tables.estimates},
    ),
    FigureOutput(
        path="figures/forest_<treatment>~<control>.svg", title="Gap by environment, a forest per comparison",
        module="publish/figures/forest.py", draw=_forests,
    ),
    FigureOutput(
        path="figures/scales.svg", title="Gap against scale", module="publish/figures/scales.py", draw=_scales,
    ),
    TableOutput(
        path="data/second_opinions.csv", title="Differences by other methods",
        module="analyse/tables/second_opinions.py", tables=_secondary("second_opinions"),
    ),
    TableOutput(
        path="data/spread.csv", title="Spread between training runs", module="analyse/tables/seeds.py",
        tables=_secondary("spread"),
    ),
    TableOutput(path="data/aa.csv", title="A/A check", module="analyse/tables/aa.py", tables=_secondary("aa")),
    FigureOutput(
        path="figures/probe.svg", title="World-model accuracy against agent score", module="publish/figures/probe.py",
        draw=_probe,
    ),
    TableOutput(
        path="data/probe_runs.csv", title="The same as a table, per training run", module="analyse/tables/probe.py",
        tables=_secondary("probe_runs"),
    ),
    Output(path="data/verdicts.json", title="Verdicts", module="analyse/verdicts.py"),
    Output(path="data/numbers.json", title="Every other number of the paper", module="publish/numbers/__init__.py"),
)  # fmt: skip
"""In the order of the paper."""


def require_own_folder(study: str) -> None:
    """Raise AnalysisError if the frozen data of a study would lie where an output of every study lies."""
    taken = sorted({output.path.split("/")[1] for output in OUTPUTS if output.path.startswith("data/")} - {"<study>"})
    if study in taken:
        raise AnalysisError(
            f"a collected study cannot have the name `{study}`: its data would replace an output of every study; such "
            f"names are {', '.join(taken)}. Give `study.name` another one."
        )


def draw(results: Results, folder: Path) -> dict[str, Path]:
    """Draw every figure for which the study has data into `folder`, and remove figures of earlier builds."""
    from replication.publish.figures.style import save

    figures = {
        name: figure
        for output in OUTPUTS
        if isinstance(output, FigureOutput)
        for name, figure in output.draw(results).items()
    }
    paths = {name: save(figure, folder / f"{name}.svg") for name, figure in figures.items()}
    _remove_others(folder.glob("*.svg"), paths.values())
    return paths


def write_tables(results: Results, folder: Path) -> list[Path]:
    """Write every table for which the study has data into `folder`, and remove tables of earlier builds."""
    written = []
    for output in OUTPUTS:
        for name, table in output.tables(results).items() if isinstance(output, TableOutput) else ():
            path = folder / f"{name}.csv"
            if table is None:
                path.unlink(missing_ok=True)
            else:
                written.append(write_csv(path, table, digits=DIGITS))
    _remove_others((folder / "reanalysis").glob("*.csv"), written)
    return written


def _remove_others(files: Iterable[Path], current: Iterable[Path]) -> None:
    for outdated in set(files) - set(current):
        outdated.unlink()
