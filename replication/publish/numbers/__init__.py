"""Every number that the paper prints, as printed; no estimate is computed here, and nothing is drawn.

Counts are numbers, all others are text formatted by `replication.text`; unrounded numbers are in the CSV files.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from replication import __version__
from replication.publish.numbers.collected import beside, collected
from replication.publish.numbers.literature import literature
from replication.publish.numbers.observed import observed
from replication.publish.numbers.published import published
from replication.publish.numbers.reanalysis import reanalysis
from replication.publish.numbers.verdicts import verdicts
from replication.records import Json
from replication.text import bare, correlation, fixed, plain

if TYPE_CHECKING:
    from replication.analyse.results import Results

NO_BREAK_SPACE = "\N{NO-BREAK SPACE}"


def collect_numbers(results: Results, figures: Collection[str]) -> dict[str, Json]:
    """Return every number of the paper, the content of paper/data/numbers.json.

    figures : names of the figures that were drawn.
    """
    data, settings = results.data, results.settings
    return {
        "package": {"version": __version__},
        "study": {"name": data.study, "kind": data.kind, "scope": data.scope, "deviations": list(data.deviations),
                  "answered": any(verdict.study == data.study for verdict in results.verdicts)},
        "analysis": {
            "level": f"{fixed(100 * settings.level, 0)}{NO_BREAK_SPACE}%",
            "power": f"{fixed(100 * settings.power, 0)}{NO_BREAK_SPACE}%",
            "alpha": bare(settings.alpha), "sesoi": fixed(100 * results.sesoi, 0),
            "icc": correlation(settings.icc), "rho": correlation(settings.rho),
            "unstated_runs": settings.unstated_runs, "floor": plain(100 * settings.floor),
            "n_simulations": settings.n_simulations,
        },
        **verdicts(results.verdicts),
        "published": published(results),
        "collected": collected(results, figures),
        "beside": [beside(other) for other in results.beside],
        "reanalysis": reanalysis(results.reanalysis, settings) | {"figures": sorted(figures)},
        "observed": observed(results.reanalysis.observed, results.reanalysis.audit),
        "literature": literature(results.reanalysis.literature),
    }  # fmt: skip
