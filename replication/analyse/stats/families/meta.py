"""Mean difference over several benchmarks, taken as a sample from a population of benchmarks."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from replication.analyse.stats import checks
from replication.analyse.stats.distributions import chi2_sf, t_ppf, t_sf
from replication.analyse.stats.estimates.run_variance import add_run_variance, run_component
from replication.analyse.stats.families.reml import reml_tau2
from replication.errors import AnalysisError


class RandomEffects(NamedTuple):
    """Mean over a population of benchmarks, with the prediction interval of a new benchmark."""

    mean: float
    se: float
    df: float
    low: float
    high: float
    p_one_sided: float
    p_two_sided: float
    tau: float
    """SD of the true differences between benchmarks."""
    prediction_low: float
    prediction_high: float
    q: float
    q_p: float


class ClassicMean(NamedTuple):
    """A random-effects mean whose standard error treats tau^2 as known, with the statistics of heterogeneity."""

    mean: float
    se: float
    """1/sqrt(sum w), w = 1/(se^2 + tau2)."""
    tau2: float
    q: float
    """Cochran's Q of the fixed-effect mean, n_benchmarks - 1 df."""
    q_p: float
    i2: float
    """(Q - df)/Q, at least 0 (Higgins & Thompson 2002)."""


def random_effects(
    y: ArrayLike, se: ArrayLike, *, level: float = 0.95, floor: bool = False, runs: Sequence[ArrayLike] = ()
) -> RandomEffects:
    """Average differences `y` with standard errors `se`, both (n_benchmarks,).

    level : confidence level. tau^2 by restricted maximum likelihood; interval by Hartung & Knapp 2001 with
    n_benchmarks - 1 df; prediction interval mean ± t sqrt(tau^2 + se^2). With `floor` the Hartung-Knapp error is at least
    the classic one (Knapp & Hartung 2003): without it two benchmarks that happen to agree give an interval of almost no
    width.

    runs : per arm the mean scores (n_training_runs, n_benchmarks) of its training runs, for T3; `se` are then the T2
        errors. The effect of a run on a single benchmark appears as spread between benchmarks and is in the Hartung-Knapp
        error. Its effect on all benchmarks does not appear there, however many there are: the variance of the runs'
        weighted means over their number is added, minus the part explained by the effects on single benchmarks (at least
        0), with Satterthwaite df.

    Changed: at first the T3 errors of the benchmarks were pooled as if independent, with a coverage of 57 to 80 % in
    simulated studies where the run SD exceeds the T2 errors; then the effects on single benchmarks were counted twice,
    with the smaller df of the two, with a coverage of 98 to 99.9 %.
    """
    y, se = _benchmarks(y, se)
    tau2 = reml_tau2(y, se)
    weight = 1 / (se**2 + tau2)
    mean = float(weight @ y / weight.sum())
    spread = float(weight @ (y - mean) ** 2) / (y.size - 1)
    variance = (max(spread, 1.0) if floor else spread) / weight.sum()
    df = y.size - 1.0
    if runs:
        arms = [np.asarray(scores, float) for scores in runs]
        means = [run_component(scores @ weight / weight.sum()) for scores in arms]
        noise = sum(_single_benchmark_noise(scores, weight / weight.sum()) for scores in arms)
        # The df are few already. With exponent 1, two arms of one method are declared different in 5 % of simulations.
        variance, df = map(float, add_run_variance(variance, df, means, noise, share=1.0))
    error = float(np.sqrt(variance))
    t, quantile = (mean / error if error else np.inf), t_ppf((1 + level) / 2, df)
    prediction = float(quantile * np.sqrt(tau2 + error**2))
    q = _cochran_q(y, se)
    return RandomEffects(
        mean=mean,
        se=error,
        df=float(df),
        low=mean - float(quantile) * error,
        high=mean + float(quantile) * error,
        p_one_sided=float(t_sf(t, df)),
        p_two_sided=2 * float(t_sf(abs(t), df)),
        tau=float(np.sqrt(tau2)),
        prediction_low=mean - prediction,
        prediction_high=mean + prediction,
        q=q,
        q_p=float(chi2_sf(q, y.size - 1)),
    )


def dersimonian_laird(y: ArrayLike, se: ArrayLike) -> ClassicMean:
    """Average differences `y` with standard errors `se`, both (n_benchmarks,), by DerSimonian & Laird 1986.

    tau^2 = (Q - df)/(sum w - sum w^2/sum w), at least 0, w = 1/se^2. The error treats tau^2 as known, so that intervals
    are too short with few benchmarks; `random_effects` is the method to report.
    """
    y, se = _benchmarks(y, se)
    fixed, df, q = 1 / se**2, y.size - 1, _cochran_q(y, se)
    tau2 = max((q - df) / float(fixed.sum() - (fixed**2).sum() / fixed.sum()), 0.0)
    w = 1 / (se**2 + tau2)
    return ClassicMean(
        mean=float(w @ y / w.sum()),
        se=float(1 / np.sqrt(w.sum())),
        tau2=tau2,
        q=q,
        q_p=float(chi2_sf(q, df)),
        i2=max((q - df) / q, 0.0) if q else 0.0,
    )


def _benchmarks(y: ArrayLike, se: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    y, se = checks.vector("y", y, least=2), np.asarray(se, float)
    checks.same_shape(y=y, se=se)
    if not (np.isfinite(se) & (se > 0)).all():
        raise AnalysisError(
            f"`se` must be above 0 and finite; got {se.tolist()}. A benchmark without variation cannot be weighted: leave "
            "it out."
        )
    return y, se


def _cochran_q(y: NDArray[np.float64], se: NDArray[np.float64]) -> float:
    fixed = 1 / se**2
    return float(fixed @ (y - fixed @ y / fixed.sum()) ** 2)


def _single_benchmark_noise(scores: NDArray[np.float64], weight: NDArray[np.float64]) -> float:
    """Compute the variance of the mean of an arm's weighted run means from run x benchmark interaction."""
    m, n = scores.shape
    residual = scores - scores.mean(axis=0) - (scores @ weight)[:, None] + scores.mean(axis=0) @ weight
    return float(((weight * residual) ** 2).sum() / (m * (m - 1)) * n / (n - 1))
