"""Average differences on several benchmarks, taken as a sample of benchmarks."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, stats

from replication.analyse.stats.estimates.differences import add_run_variance
from replication.errors import AnalysisError


class RandomEffects(NamedTuple):
    """Mean over a population of benchmarks, and what an unseen benchmark would show."""

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
    """A random-effects mean with the error that takes tau^2 as known, and the statistics of heterogeneity."""

    mean: float
    se: float
    """1/sqrt(sum w), w = 1/(se^2 + tau2)."""
    tau2: float
    q: float
    """Cochran's Q of the fixed-effect mean, n_benchmarks - 1 df."""
    q_p: float
    i2: float
    """(Q - df)/Q, at least 0 (Higgins & Thompson 2002)."""


class Prediction(NamedTuple):
    """What the true difference on an unseen benchmark is expected to be."""

    low: float
    high: float


def random_effects(
    y: ArrayLike, se: ArrayLike, *, level: float = 0.95, floor: bool = False, runs: Sequence[ArrayLike] = ()
) -> RandomEffects:
    """Average differences `y` with standard errors `se`, both (n_benchmarks,).

    tau^2 by restricted maximum likelihood; interval by Hartung & Knapp 2001 with n_benchmarks - 1 df; prediction
    interval mean -+ t sqrt(tau^2 + se^2). `floor` never lets the Hartung-Knapp error fall below the classic one (Knapp &
    Hartung 2003): without it two benchmarks that happen to agree give an interval of almost no width.

    runs : per arm the mean scores (n_training_runs, n_benchmarks) of its training runs, for T3; `se` then holds the T2
        errors. What a run does on one benchmark only shows as spread between benchmarks and is in the Hartung-Knapp
        error. What it does on all of them does not show there, whatever their number: the variance of the runs' weighted
        means over their number is added, less what the first part explains of it (at least 0), with Satterthwaite df.

    Changed: at first the T3 errors of the benchmarks were pooled as if independent, which held the truth in 57 to 80 % of
    simulated studies where the run SD exceeds the T2 errors; then the first part was counted twice, with the smaller df of
    the two, which held it in 98 to 99.9 %.
    """
    y, se = np.asarray(y, float), np.asarray(se, float)
    if y.size < 2 or y.shape != se.shape:
        raise AnalysisError(f"a random-effects mean needs at least 2 benchmarks; got {y.size} and {se.size} errors.")
    if not (se > 0).all():
        raise AnalysisError(
            "a benchmark shows no variation at all, so its standard error is 0 and it cannot be weighted."
        )
    tau2 = _reml_tau2(y, se)
    weight = 1 / (se**2 + tau2)
    mean = float(weight @ y / weight.sum())
    spread = float(weight @ (y - mean) ** 2) / (y.size - 1)
    between = [np.asarray(scores, float) @ weight / weight.sum() for scores in runs]
    variance = (max(spread, 1.0) if floor else spread) / weight.sum()
    df = y.size - 1.0
    if between:
        noise = sum(_single_benchmark_noise(np.asarray(scores, float), weight / weight.sum()) for scores in runs)
        # few df of its own already: the power that keeps 5 % of studies of one method from being called different
        variance, df = map(float, add_run_variance(variance, df, between, noise, share=1.0))
    error = float(np.sqrt(variance))
    t, q95 = (mean / error if error else np.inf), stats.t.ppf((1 + level) / 2, df)
    prediction = float(q95 * np.sqrt(tau2 + error**2))
    fixed = 1 / se**2
    q = float(fixed @ (y - fixed @ y / fixed.sum()) ** 2)
    return RandomEffects(
        mean=mean,
        se=error,
        df=float(df),
        low=mean - float(q95) * error,
        high=mean + float(q95) * error,
        p_one_sided=float(stats.t.sf(t, df)),
        p_two_sided=2 * float(stats.t.sf(abs(t), df)),
        tau=float(np.sqrt(tau2)),
        prediction_low=mean - prediction,
        prediction_high=mean + prediction,
        q=q,
        q_p=float(stats.chi2.sf(q, y.size - 1)),
    )


def dersimonian_laird(y: ArrayLike, se: ArrayLike) -> ClassicMean:
    """Average differences `y` with standard errors `se`, both (n_benchmarks,), by DerSimonian & Laird 1986.

    tau^2 = (Q - df)/(sum w - sum w^2/sum w), at least 0, w = 1/se^2. Its error takes tau^2 as known: with few benchmarks
    its intervals are too short; to report, use `random_effects`.
    """
    y, se = _benchmarks(y, se)
    w = 1 / se**2
    excess = float(w @ (y - w @ y / w.sum()) ** 2) - (y.size - 1)
    return _classic(y, se, max(excess / float(w.sum() - (w**2).sum() / w.sum()), 0.0))


def restricted_likelihood(y: ArrayLike, se: ArrayLike) -> ClassicMean:
    """Average as `dersimonian_laird`, with tau^2 by restricted maximum likelihood, as in `random_effects`."""
    y, se = _benchmarks(y, se)
    return _classic(y, se, _reml_tau2(y, se))


def prediction_interval(
    mean: float, se: float, tau2: float, *, df: float | None = None, level: float = 0.95
) -> Prediction:
    """Predict the true difference on an unseen benchmark: mean -+ c sqrt(tau2 + se^2).

    df : c is t_{(1 + level)/2, df}, n_benchmarks - 1 being usual, or the normal quantile where None. se : that of the
    mean, classic or Hartung-Knapp.
    """
    if not 0 < level < 1:
        raise AnalysisError(f"`level` must lie between 0 and 1; got {level}.")
    if not (np.isfinite(mean) and 0 <= se < np.inf and 0 <= tau2 < np.inf) or (df is not None and not df > 0):
        raise AnalysisError(
            "a prediction needs a finite mean, `se` and `tau2` of at least 0 and `df` above 0 or None; got "
            f"{mean}, {se}, {tau2}, {df}."
        )
    half = float((stats.norm if df is None else stats.t(df)).ppf((1 + level) / 2) * np.sqrt(tau2 + se**2))
    return Prediction(mean - half, mean + half)


def _benchmarks(y: ArrayLike, se: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    y, se = np.asarray(y, float), np.asarray(se, float)
    if y.ndim != 1 or y.size < 2 or y.shape != se.shape:
        raise AnalysisError(
            f"a random-effects mean needs at least 2 differences, an error for each; got shapes {y.shape} and {se.shape}."
        )
    if not (np.isfinite(y).all() and np.isfinite(se).all() and (se > 0).all()):
        raise AnalysisError(
            f"the differences must be finite and their errors above 0; got {y.tolist()} and {se.tolist()}. A benchmark "
            "without variation cannot be weighted."
        )
    return y, se


def _classic(y: np.ndarray, se: np.ndarray, tau2: float) -> ClassicMean:
    fixed, w, df = 1 / se**2, 1 / (se**2 + tau2), y.size - 1
    q = float(fixed @ (y - fixed @ y / fixed.sum()) ** 2)
    return ClassicMean(
        mean=float(w @ y / w.sum()),
        se=float(1 / np.sqrt(w.sum())),
        tau2=float(tau2),
        q=q,
        q_p=float(stats.chi2.sf(q, df)),
        i2=max((q - df) / q, 0.0) if q else 0.0,
    )


def _single_benchmark_noise(scores: np.ndarray, weight: np.ndarray) -> float:
    """Variance of the mean of an arm's weighted run means that comes from what runs do on single benchmarks only."""
    m, n = scores.shape
    residual = scores - scores.mean(axis=0) - (scores @ weight)[:, None] + scores.mean(axis=0) @ weight
    return float(((weight * residual) ** 2).sum()) / (m * (m - 1)) * n / (n - 1)


def _reml_tau2(y: np.ndarray, se: np.ndarray) -> float:
    """Find the root of the restricted score: sum w^2 (y - mean)^2 = sum w - sum w^2 / sum w, w = 1/(se^2 + tau^2)."""

    def score(tau2: float) -> float:
        w = 1 / (se**2 + tau2)
        return float(w**2 @ (y - w @ y / w.sum()) ** 2 - w.sum() + (w**2).sum() / w.sum())

    if score(0.0) <= 0:
        return 0.0
    high = float(y.var() + (se**2).max())
    while score(high) > 0:
        high *= 2
    return float(optimize.brentq(score, 0.0, high, xtol=1e-15, rtol=1e-12))
