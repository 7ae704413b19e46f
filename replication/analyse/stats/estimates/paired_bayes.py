"""Bayesian paired comparison of pass rates on few tasks (fewer than 300).

The model of Bowyer, Aitchison & Ivanova 2025 (ICML), extended by a task effect to several trials per task.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy
from numpy.lib.stride_tricks import as_strided
from numpy.typing import ArrayLike, NDArray
from scipy import special

from replication.analyse.stats import checks
from replication.analyse.stats.distributions import normal_logpdf
from replication.errors import AnalysisError
from replication.records import Estimate

LogDensity = Callable[[NDArray[np.float64]], NDArray[np.float64]]

_GRID = np.linspace(-5, 5, 71)
"""Nodes of the task effect; the trapezoid rule on them is exact to 1e-6 within the bounds below."""
_SUMS = _GRID[0] + _GRID[0] + (_GRID[1] - _GRID[0]) * np.arange(2 * len(_GRID) - 1)
"""Sums, and differences, of two nodes, in increasing order."""
_LARGEST_SHARE, _LARGEST_CORRELATION = 0.98, 0.99
_STEP = 1.4901161193847656e-08
"""Step of the forward differences that lead to the mode, the square root of the machine epsilon."""


class PairedPosterior(NamedTuple):
    """Posterior of theta_B - theta_A, the difference of the arms' pass rates."""

    mean: float
    low: float
    high: float
    """Limits of the equal-tailed interval."""
    level: float
    ess: float
    """Effective number of draws, (sum w)^2/sum w^2. Below some 400 the limits are noisy."""
    n_tasks: int


class Draws(NamedTuple):
    """Points of the parameter space and their weights."""

    points: NDArray[np.float64]
    """(n_draws, n_parameters)"""
    log_weight: NDArray[np.float64]
    """(n_draws,), up to a constant"""


class WidthComparison(NamedTuple):
    """Width of the Bayesian interval over that of the classical one."""

    ratio: float
    differs: bool


def paired_posterior_trials(
    passes_a: ArrayLike,
    passes_b: ArrayLike,
    trials_a: int,
    trials_b: int,
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    n_draws: int = 4_000,
) -> PairedPosterior:
    """Compute the posterior of theta_B - theta_A from several trials per task, by a probit-normal model.

    passes_a, passes_b : (n_tasks,) passes out of trials_a, trials_b, same tasks in the same order. On a task the arms pass
    with probability x = Phi((h + sqrt(s) z)/sqrt(1 - s)), h = Phi^-1(theta), so theta is the mean of x for every s; s is
    the arm's share of latent variance between tasks, (z_A, z_B) standard normal with correlation rho, trials
    independent given x. theta_A, theta_B ~ Beta(1, 1), s_A, s_B uniform on (0, .98), rho ~ 2 Beta(4, 2) - 1 scaled by
    .99 (the bounds keep the integral over z accurate). With one trial this is the model of Bowyer et al. 2025 with
    correlation rho sqrt(s_A s_B) of the latent outcomes. Importance sampling from a t_5 at the mode with the curvature
    there.
    """
    a, b = np.asarray(passes_a, float), np.asarray(passes_b, float)
    if a.ndim != 1 or a.shape != b.shape or a.size == 0:
        raise AnalysisError(
            f"`passes_a` and `passes_b` must be (n_tasks,) over the same tasks; got {a.shape} and {b.shape}."
        )
    for name, passes, trials in (("a", a, trials_a), ("b", b, trials_b)):
        if trials < 1 or not ((passes >= 0) & (passes <= trials) & (passes == np.floor(passes))).all():
            raise AnalysisError(
                f"`passes_{name}` must be whole numbers from 0 to `trials_{name}`, none missing; got trials {trials}."
            )
    _check(level, n_draws)
    table = np.zeros((trials_a + 1, trials_b + 1))
    np.add.at(table, (a.astype(int), b.astype(int)), 1)

    def log_posterior(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.concatenate([_log_posterior(points[i : i + 256], table) for i in range(0, len(points), 256)])

    passed = np.array([a.sum(), b.sum()]) + 1
    start = np.array([*special.ndtri(passed / (np.array([trials_a, trials_b]) * a.size + 2)), 0.0, 0.0, 1.0])
    points, log_weight = _draw_at_mode(log_posterior, start, n_draws, rng)
    theta = special.ndtr(points[:, :2])
    return _summary(theta[:, 1] - theta[:, 0], log_weight, level, a.size)


def compare_widths(posterior: PairedPosterior, classical: Estimate, *, tolerance: float = 0.2) -> WidthComparison:
    """Test whether the Bayesian interval is more than `tolerance` (.2 = 20 %) wider or narrower than the classical one.

    Both must have the same confidence level. A classical interval of zero width gives an infinite ratio.
    """
    if not math.isclose(posterior.level, classical.level):
        raise AnalysisError(
            f"both intervals must have the same confidence level; got {posterior.level} and {classical.level}."
        )
    width = classical.high - classical.low
    ratio = (posterior.high - posterior.low) / width if width > 0 else math.inf
    return WidthComparison(ratio, abs(ratio - 1) > tolerance)


def _log_prior(h: NDArray[np.float64], logit: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log density of h = Phi^-1(theta) for uniform thetas and of the logit of a Beta(4, 2); h : (n, 2), logit : (n,)."""
    return np.asarray(normal_logpdf(h).sum(axis=1) + 4 * special.log_expit(logit) + 2 * special.log_expit(-logit))


def _log_posterior(points: NDArray[np.float64], table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log posterior density up to a constant; points : (n, 5), the probits of theta, logits of the scaled s, s, rho."""
    h, unit = points[:, :2], special.expit(points[:, 2:])
    prior = _log_prior(h, points[:, 4])
    prior += (special.log_expit(points[:, 2:4]) + special.log_expit(-points[:, 2:4])).sum(axis=1)
    share, rho = _LARGEST_SHARE * unit[:, :2, None], _LARGEST_CORRELATION * (2 * unit[:, 2, None, None] - 1)
    argument = (h[:, :, None] + np.sqrt(share) * _GRID) / np.sqrt(1 - share)
    log_pass, log_fail = special.log_ndtr(argument), special.log_ndtr(-argument)

    def count_probabilities(arm: int, trials: int) -> NDArray[np.float64]:
        """Binomial probability of each count at each node : (n, trials + 1, n_nodes)."""
        count = np.arange(trials + 1)[:, None]
        log_probability = count * log_pass[:, None, arm] + (trials - count) * log_fail[:, None, arm]
        return np.asarray(special.comb(trials, count) * np.exp(log_probability))

    density = _normal_density(rho[:, 0, 0])
    n_a, n_b = (size - 1 for size in table.shape)
    step = _GRID[1] - _GRID[0]
    cells = step**2 * count_probabilities(0, n_a) @ density @ count_probabilities(1, n_b).transpose(0, 2, 1)
    return np.asarray(prior + special.xlogy(table, np.maximum(cells, 1e-300)).sum(axis=(1, 2)))


def _normal_density(rho: NDArray[np.float64]) -> NDArray[np.float64]:
    """Density of two standard normals with correlation rho at every pair of nodes : (n, n_nodes, n_nodes).

    x^2 - 2 rho x y + y^2 over 2 (1 - rho^2) is (x + y)^2/(4 (1 + rho)) + (x - y)^2/(4 (1 - rho)), so exponentials are taken
    of the sums and of the differences of nodes only.
    """
    n, n_nodes = len(rho), len(_GRID)
    of_sum, of_difference = (np.exp(-(_SUMS**2) / (4 * (1 + sign * rho[:, None]))) for sign in (1, -1))
    of_sum /= 2 * np.pi * np.sqrt(1 - rho[:, None] ** 2)
    row, item = of_sum.strides
    sums = as_strided(of_sum, (n, n_nodes, n_nodes), (row, item, item), writeable=False)
    differences = as_strided(
        of_difference[:, n_nodes - 1 :], (n, n_nodes, n_nodes), (row, -item, item), writeable=False
    )
    return np.asarray(sums * differences)


def _draw_at_mode(log_density: LogDensity, start: NDArray[np.float64], n_draws: int, rng: np.random.Generator) -> Draws:
    """Draw from a t_5 at the mode of the density, with importance weights."""
    steps = _STEP * np.vstack([np.zeros(start.size), np.eye(start.size)])

    def minus_log(x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        f = -log_density(x + steps)
        return f[0], (f[1:] - f[0]) / ((x + _STEP) - x)

    mode = scipy.optimize.minimize(minus_log, start, method="BFGS", jac=True, options={"gtol": 1e-3}).x
    proposal = scipy.stats.multivariate_t(mode, _covariance(log_density, mode), df=5)
    points = proposal.rvs(n_draws, random_state=rng)
    return Draws(points, log_density(points) - proposal.logpdf(points))


def _covariance(log_density: LogDensity, mode: NDArray[np.float64], step: float = 1e-2) -> NDArray[np.float64]:
    """Compute the inverse of minus the curvature at the mode, by central differences; at most the prior's variance 4."""
    axes, signs = step * np.eye(mode.size), (1, -1)
    corners = [mode + s * x + t * y for x in axes for y in axes for s in signs for t in signs]
    f = log_density(np.array(corners)).reshape(mode.size, mode.size, 4)
    curvature = -(f[..., 0] - f[..., 1] - f[..., 2] + f[..., 3]) / (4 * step**2)
    values, vectors = np.linalg.eigh((curvature + curvature.T) / 2)
    return np.asarray((vectors / np.maximum(values, 0.25)) @ vectors.T)


def _summary(
    difference: NDArray[np.float64], log_weight: NDArray[np.float64], level: float, n_tasks: int
) -> PairedPosterior:
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    order = np.argsort(difference)
    below = np.cumsum(weight[order]) - weight[order] / 2
    low, high = np.interp([(1 - level) / 2, (1 + level) / 2], below, difference[order])
    return PairedPosterior(
        mean=float(weight @ difference),
        low=float(low),
        high=float(high),
        level=level,
        ess=float(1 / (weight**2).sum()),
        n_tasks=n_tasks,
    )


def _check(level: float, n_draws: int) -> None:
    checks.probability(level=level)
    checks.at_least(100, n_draws=n_draws)
