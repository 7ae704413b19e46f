"""Rule that compares each generated environment with the published benchmark that it stands in for."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from replication.analyse.rules import power
from replication.analyse.rules.data import RuleResult, StudyData
from replication.analyse.rules.shared import (
    audit_of,
    compared,
    each_of,
    equivalence_p,
    mean_of,
    most_common,
    named,
    scope_of,
    standard_error,
)
from replication.analyse.stats.distributions import t_cdf, t_ppf
from replication.analyse.stats.estimates.differences import Pair, Unscored
from replication.analyse.stats.families.multiplicity import holm
from replication.analyse.stats.two_studies.criteria import Criterion, panel
from replication.analyse.stats.two_studies.sceptical import sceptical_p, threshold_z
from replication.analyse.stats.two_studies.telescopes import theta_33
from replication.errors import AnalysisError
from replication.records import Claim, Estimate, Json, Outcome, Target
from replication.text import plain

Cell = tuple[float, float]
"""icc and rho at which the standard errors of the published rows are computed."""


class _Cell(NamedTuple):
    """Every row at one cell of the grid."""

    refuted: list[str]
    weak: list[str]
    replicated: list[str]
    outcome: Outcome


def replicates_rows(claim: Claim, data: StudyData, target: Target, policy: Unscored) -> RuleResult:
    """Compare each environment with its published row, by the golden sceptical p (plan: claim A3).

    A row whose original is too weak for any success (z <= 1.54) is uninformative and never failed. replicated: every other
    row has p <= alpha/2. not_replicated: some other row is refuted after Holm at alpha over all rows and both ways: below
    what the original could have seen (small telescopes), or equivalent to 0. Both alike in every cell of the grid of icc
    and rho, on which the original's standard error depends; otherwise inconclusive. Small telescopes and equivalence take
    the quantiles of t; the panel, which is normal, takes a standard error with which its interval is that of t.
    The record has all criteria of each row at the settings' icc and rho. The estimate is that of the lowest informative row.
    """
    alpha = claim.parameters["alpha"]
    rows = _rows(claim, data)
    estimates = each_of(rows, target, 1 - alpha, policy, beside=compared(claim, data).pairs)
    cells = {cell: _decide(claim, data, estimates, cell) for cell in _grid(claim, data)}
    shown = _decide(claim, data, estimates, (data.settings.icc, data.settings.rho))
    outcomes = {cell: result.outcome for cell, result in cells.items()}
    agreed = set(outcomes.values())
    outcome: Outcome = agreed.pop() if len(agreed) == 1 else "inconclusive"
    informative = [name for name in estimates if name not in shown.weak]
    weakest = min(informative or shown.weak, key=lambda name: estimates[name].value)
    panels = _panels(claim, data, estimates)
    parts = [
        f"golden sceptical p at most {plain(alpha / 2)} on {len(shown.replicated)} of {len(informative)} informative rows"
    ]
    parts += [f"refuted after Holm: {', '.join(shown.refuted)}"] * bool(shown.refuted)
    parts += [f"original uninformative: {', '.join(shown.weak)}"] * bool(shown.weak)
    parts += [f"same in {most_common(outcomes)} cells of the icc, rho grid"]
    parts += _wider(claim, data, estimates, outcome)
    return RuleResult(
        outcome=outcome,
        reason="; ".join([*parts, f"lowest: {weakest}"]),
        estimate=estimates[weakest],
        scope=scope_of(claim, data),
        criteria={
            "replicated": shown.replicated, "refuted": shown.refuted, "uninformative": shown.weak, "weakest": weakest,
            "alpha_refuted": alpha,
            "grid": [{"icc": icc, "rho": rho, "outcome": outcome} for (icc, rho), outcome in outcomes.items()],
            "per_benchmark": named(estimates, estimates.values()),
            "panels": {name: [c._asdict() for c in of_row.values()] for name, of_row in panels.items()},
        },
    )  # fmt: skip


def _wider(claim: Claim, data: StudyData, estimates: Mapping[str, Estimate], outcome: Outcome) -> list[str]:
    """Say where the outcome is another on the grid of the claim about the published table, if that is wider."""
    grid = data.published.grid
    cells = {(icc, rho) for icc in grid.iccs for rho in grid.rhos} - set(_grid(claim, data))
    other = [cell for cell in sorted(cells) if _decide(claim, data, estimates, cell).outcome != outcome]
    if not other:
        return []
    least = min(rho for _, rho in other)
    return [
        f"another outcome in {len(other)} of {len(cells)} further cells of the grid of the published table, from rho "
        f"{plain(least)} on"
    ]


def rows_power(claim: Claim, data: StudyData, target: Target, policy: Unscored, result: RuleResult) -> dict[str, Json]:
    """Probability of each outcome of `replicates_rows`, were the published effects of the rows true."""
    alpha, sesoi = claim.parameters["alpha"], claim.parameters["sesoi"]
    rows = _rows(claim, data)
    beside = compared(claim, data).pairs
    estimates = list(each_of(rows, target, 1 - alpha, policy, beside=beside).values())
    mean = mean_of(list(rows.values()), target, 1 - alpha, policy)
    originals = originals_of(claim, data, rows)
    covariance = power.common_variance(estimates, mean) if target == "T3" else 0.0
    decision = power.rows_decision(originals, alpha, sesoi)
    return power.probabilities(decision, list(originals[0][0]), estimates, covariance, data.settings.simulation_seed)


def originals_of(
    claim: Claim, data: StudyData, names: Iterable[str]
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Return the published differences of some environments' rows and their standard errors, per cell of the grid."""
    names, originals = list(names), []
    for cell in _grid(claim, data):
        of_row = _originals(claim, data, cell)
        of_cell = [of_row[name] for name in names]
        originals.append((np.array([o.value for o in of_cell]), np.array([standard_error(o) for o in of_cell])))
    return originals


def _grid(claim: Claim, data: StudyData) -> list[Cell]:
    grid = audit_of(claim, data).grid
    return [(icc, rho) for icc in sorted(set(grid.iccs)) for rho in sorted(set(grid.rhos))]


def _rows(claim: Claim, data: StudyData) -> dict[str, Pair]:
    row_of = claim.parameters["beside"]
    rows = {name: pair for name, pair in compared(claim, data).pairs.items() if name in row_of}
    if not rows:
        raise AnalysisError(
            f"no environment of this study has a published row to compare with; the claim names {', '.join(row_of)}."
        )
    return rows


def _originals(claim: Claim, data: StudyData, cell: Cell) -> dict[str, Estimate]:
    audit, row_of = audit_of(claim, data), claim.parameters["beside"]
    of_row = dict(zip(audit.rows["benchmark"], audit.differences("T2", *cell), strict=True))
    return {name: of_row[row] for name, row in row_of.items()}


def _panels(claim: Claim, data: StudyData, estimates: Mapping[str, Estimate]) -> dict[str, dict[str, Criterion]]:
    """Every criterion of each row, at the settings' icc and rho."""
    alpha, sesoi = claim.parameters["alpha"], claim.parameters["sesoi"]
    originals, panels = _originals(claim, data, (data.settings.icc, data.settings.rho)), {}
    for name, estimate in estimates.items():
        original = originals[name]
        criteria = panel(
            original.value, standard_error(original), estimate.value, _normal_error(estimate, alpha), sesoi=sesoi,
            tau=claim.parameters["tau"], level=1 - alpha, alpha=alpha / 2,
        )  # fmt: skip
        panels[name] = {criterion.name: criterion for criterion in criteria}
    return panels


def _normal_error(estimate: Estimate, alpha: float) -> float:
    """Standard error with which the normal 1 - alpha interval is that of t."""
    return standard_error(estimate) * float(t_ppf(1 - alpha / 2, estimate.df) / t_ppf(1 - alpha / 2, None))


def _decide(claim: Claim, data: StudyData, estimates: Mapping[str, Estimate], cell: Cell) -> _Cell:
    alpha, sesoi = claim.parameters["alpha"], claim.parameters["sesoi"]
    originals = _originals(claim, data, cell)
    weak, replicated, tests = [], [], {}
    for name, estimate in estimates.items():
        original, se = originals[name].value, standard_error(originals[name])
        if original / se <= float(threshold_z(alpha / 2)):
            weak.append(name)
            continue
        normal = _normal_error(estimate, alpha)
        if sceptical_p(original / se, estimate.value / normal, (se / normal) ** 2, kind="golden") <= alpha / 2:
            replicated.append(name)
        seen, error = float(theta_33(se)), standard_error(estimate)
        too_small = float(t_cdf((estimate.value - seen) / error, estimate.df)) if seen <= original else 1.0
        tests[name] = (too_small, equivalence_p(estimate, sesoi))
    adjusted = holm([p for of_row in tests.values() for p in of_row]).reshape(-1, 2) if tests else np.ones((0, 2))
    refuted = [name for name, p in zip(tests, adjusted, strict=True) if p.min() <= alpha]
    outcome: Outcome = "not_replicated" if refuted else "inconclusive"
    if tests and replicated == list(tests):
        outcome = "replicated"
    return _Cell(refuted, weak, replicated, outcome)
