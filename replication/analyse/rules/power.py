"""Probability of each outcome of a rule at the precision of a study, if the published effects were true."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from replication.analyse.stats.distributions import t_ppf, t_sf
from replication.analyse.stats.estimates.run_variance import Component, add_run_variance
from replication.analyse.stats.families.heterogeneity import interaction_p
from replication.analyse.stats.families.reml import reml_tau2_of_many
from replication.analyse.stats.two_studies import sceptical
from replication.analyse.stats.two_studies.telescopes import theta_33
from replication.analyse.tables.summaries import FLOOR_BELOW
from replication.records import Estimate, Json

N_DRAWS = 4000
"""Simulated studies; the error of a probability is at most .008."""

FRACTIONS = {"published": 1.0, "half": 0.5}
"""Assumed effects, as fractions of the printed differences."""

Floats = NDArray[np.float64]


UNREACHABLE = 0.05
"""Below this probability under the published effects a rule is said to be out of reach."""


class Decided(NamedTuple):
    """Outcomes of simulated studies, (n_draws,); `replicated` takes precedence."""

    replicated: NDArray[np.bool_]
    not_replicated: NDArray[np.bool_]


Decision = Callable[["Draws"], Decided]


class Draws:
    """Simulated estimates of several groups (benchmarks, scales, scaffolds), with their standard errors.

    value, se : (n_draws, n_groups). Values are normal around the assumed effects with the covariance of the study: training
    runs move all groups together. Variances are chi-square with the study's degrees of freedom, correlated between groups
    as those of normal samples are: by the square of the values' correlation.
    """

    def __init__(
        self, effects: Floats, estimates: Sequence[Estimate], covariance: float, rng: np.random.Generator
    ) -> None:
        se = np.array([e.se for e in estimates], float)
        self.df = np.array([np.inf if e.df is None else e.df for e in estimates], float)
        covariance = min(max(covariance, 0.0), float((se**2).min()))
        common = np.sqrt(covariance) * rng.standard_normal((N_DRAWS, 1))
        own = np.sqrt(se**2 - covariance) * rng.standard_normal((N_DRAWS, len(se)))
        self.value = effects + common + own
        shares = np.sqrt(covariance / se**2) if covariance else np.zeros(len(se))
        self.se = se * np.sqrt(_relative_variances(shares, float(self.df.min()), rng))

    def above(self, shift: float | Floats = 0.0) -> Floats:
        """One-sided p-values of "not above `shift`"."""
        return np.asarray(t_sf((self.value - shift) / self.se, self.df), float)

    def below(self, shift: float | Floats = 0.0) -> Floats:
        """One-sided p-values of "not below `shift`"."""
        return np.asarray(t_sf((shift - self.value) / self.se, self.df), float)

    def equivalent(self, sesoi: float) -> Floats:
        """p-values of "at least `sesoi` away from 0"."""
        return np.maximum(self.above(-sesoi), self.below(sesoi))


MANY_DF = 30.0
"""Degrees of freedom from which a variance hardly varies, so that it does not matter how variances are correlated."""


def _relative_variances(shares: Floats, df: float, rng: np.random.Generator) -> Floats:
    """Draw sample variances over their expectations, (n_draws, n_groups) or (n_draws, 1) for all groups.

    shares : (n_groups,), correlation of each group's values with the part that all groups have in common.
    """
    if np.isinf(df):
        return np.ones((N_DRAWS, 1))
    if len(shares) == 1 or df > MANY_DF:
        return rng.chisquare(df, (N_DRAWS, 1)) / df
    n = max(1, int(df + 0.5))
    common, own = rng.standard_normal((N_DRAWS, n, 1)), rng.standard_normal((N_DRAWS, n, len(shares)))
    return np.asarray(((shares * common + np.sqrt(1 - shares**2) * own) ** 2).mean(axis=1))


def common_variance(estimates: Sequence[Estimate], mean: Estimate) -> float:
    """Covariance of the groups' estimates that their mean implies: Var(mean) = sum of variances/n^2 + cov (n - 1)/n."""
    n = len(estimates)
    if n == 1 or mean.se is None:
        return 0.0
    own = sum((e.se or 0.0) ** 2 for e in estimates) / n**2
    return max(mean.se**2 - own, 0.0) * n / (n - 1)


def any_holm(p: Floats, alpha: float) -> NDArray[np.bool_]:
    """Whether Holm's procedure rejects anything: the smallest p-value against alpha over their number."""
    return np.asarray(p.min(axis=1) * p.shape[1] <= alpha)


def likely_precision(estimate: Estimate) -> Estimate:
    """Return a measured T3 estimate with the precision to expect of a study like its own.

    A standard error from few training runs is below the true one more often than above, and its degrees of freedom are many
    where the runs agree by luck: the power that follows was 5 to 12 points too high, averaged over simulated studies. The
    degrees of freedom are therefore at most three times those of one arm's runs, and the error is multiplied by
    sqrt(1 + 1/df), with which the average is within 5 points, and within 8 for three runs whose SD is 0 or 6 points.
    """
    if estimate.target != "T3" or estimate.df is None or estimate.se is None:
        return estimate
    df = max(min(estimate.df, 3.0 * (estimate.n_training_runs - 1)), 1.0)
    return dataclasses.replace(estimate, se=estimate.se * float(np.sqrt(1 + 1 / df)), df=df)


def probabilities(
    decide: Decision,
    effects: Sequence[float],
    estimates: Sequence[Estimate],
    covariance: float,
    seed: int,
    *,
    planned: bool = False,
) -> dict[str, Json]:
    """Simulate a decision at each fraction of the published effects: probability of replicated and not_replicated.

    planned : the precision is that of a plan, not one that the study at hand happened to measure.
    """
    result: dict[str, Json] = {}
    likely = list(estimates) if planned else [likely_precision(estimate) for estimate in estimates]
    before, after = (sum((e.se or 0.0) ** 2 for e in listed) for listed in (estimates, likely))
    covariance *= after / before if before else 1.0
    for name, fraction in FRACTIONS.items():
        draws = Draws(fraction * np.asarray(effects, float), likely, covariance, np.random.default_rng(seed))
        found = decide(draws)
        refuted = found.not_replicated & ~found.replicated
        result[name] = {"replicated": float(found.replicated.mean()), "not_replicated": float(refuted.mean())}
    return result


def mean_decision(alpha: float, sesoi: float) -> Decision:
    """Decide as `shared.average_outcome`."""

    def decide(draws: Draws) -> Decided:
        half = t_ppf(1 - alpha / 2, draws.df) * draws.se
        yes = (draws.value - half > 0)[:, 0]
        no = (draws.value + half < 0)[:, 0] | (draws.equivalent(sesoi)[:, 0] <= alpha)
        return Decided(yes, no)

    return decide


def all_decision(alpha: float, sesoi: float, equivalence: bool, complete: bool = True) -> Decision:
    """Decide as `collected.on_all_benchmarks`; not `complete`: a benchmark is left out, so none can be shown on all."""

    def decide(draws: Draws) -> Decided:
        yes = np.asarray((draws.above() <= alpha / 2).all(axis=1) & complete)
        no = any_holm(draws.below(), alpha / 2)
        if equivalence:
            no |= any_holm(draws.equivalent(sesoi), alpha / 2)
        return Decided(yes, no)

    return decide


def groups_decision(alpha: float, sesoi: float) -> Decision:
    """Decide as `groups.on_all_scales`: the last group is the largest scale."""

    def decide(draws: Draws) -> Decided:
        above = np.asarray((draws.above() <= alpha / 2).all(axis=1))
        return Decided(above, draws.below(sesoi)[:, -1] <= alpha / 2)

    return decide


def scaffolds_decision(alpha: float, tasks: Sequence[Estimate]) -> Decision:
    """Decide as `groups.on_all_scaffolds`.

    tasks : T2 estimates of the scaffolds, whose standard errors weigh them in the prediction interval. What the study's
    own standard errors have beyond these comes from the training runs, which the scaffolds share.
    """
    se = np.array([e.se for e in tasks], float)

    def decide(draws: Draws) -> Decided:
        above, below = draws.above(), draws.below()
        z2 = (draws.value / draws.se) ** 2
        signs = [np.where(draws.value > 0, z2, 0.0).sum(axis=1), np.where(draws.value < 0, z2, 0.0).sum(axis=1)]
        interaction = interaction_p(np.minimum(*signs), len(se)) <= alpha / 2
        opposite = any_holm(above, alpha / 2) & any_holm(below, alpha / 2)
        yes = (above <= alpha / 2).all(axis=1) & (_predicted_low(draws, se, alpha) > 0)
        return Decided(np.asarray(yes), np.asarray(opposite | interaction))

    return decide


def _predicted_low(draws: Draws, se: Floats, alpha: float) -> Floats:
    """Lower limits of the prediction interval for a new group, as `meta.random_effects` computes it."""
    tau2 = reml_tau2_of_many(draws.value, se)
    weight = 1 / (se**2 + tau2[:, None])
    total = weight.sum(axis=1)
    mean = (weight * draws.value).sum(axis=1) / total
    spread = (weight * (draws.value - mean[:, None]) ** 2).sum(axis=1) / (len(se) - 1)
    variance = (np.maximum(spread, 1.0) if len(se) < FLOOR_BELOW else spread) / total
    df: float | Floats = len(se) - 1.0
    runs = np.maximum(draws.se**2 - se**2, 0.0).mean(axis=1)
    if runs.any():
        variance, df = add_run_variance(variance, df, [Component(runs, float(draws.df.min()))], 0.0, share=1.0)
    return np.asarray(mean - t_ppf(1 - alpha / 2, df) * np.sqrt(tau2 + variance))


def rows_decision(originals: Sequence[tuple[Floats, Floats]], alpha: float, sesoi: float) -> Decision:
    """Decide as `rows.replicates_rows`: alike in every cell of the grid.

    originals : per cell the published differences and their standard errors, (n_rows,).
    """
    needed = float(sceptical.threshold_z(alpha / 2))

    def decide(draws: Draws) -> Decided:
        yes = no = np.ones(N_DRAWS, bool)
        inflated = draws.se * t_ppf(1 - alpha / 2, draws.df) / t_ppf(1 - alpha / 2, None)
        equivalent = draws.equivalent(sesoi)
        for value, se in originals:
            kept = value / se > needed
            if not kept.any():
                return Decided(np.zeros(N_DRAWS, bool), np.zeros(N_DRAWS, bool))
            golden = sceptical.sceptical_p(value / se, draws.value / inflated, (se / inflated) ** 2, kind="golden")
            too_small = np.where(theta_33(se) <= value, draws.below(theta_33(se)), 1.0)
            yes = yes & (np.asarray(golden)[:, kept] <= alpha / 2).all(axis=1)
            no = no & any_holm(np.concatenate([too_small[:, kept], equivalent[:, kept]], axis=1), alpha)
        return Decided(yes, no)

    return decide
