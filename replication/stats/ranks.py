"""Compare arms over data sets by ranks and signs, each data set one observation (Demsar 2006, JMLR 7).

With seven data sets no exact two-sided sign or signed-rank p is below 2/128 = .0156, whatever the differences.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from replication.errors import AnalysisError


class Friedman(NamedTuple):
    """Friedman's test that k arms rank alike over data sets."""

    chi2: float
    chi2_p: float
    f: float
    """Iman & Davenport 1980, less conservative."""
    f_p: float
    df: int
    """k - 1, of chi2 and the first of F."""
    df_error: int
    """(k - 1)(N - 1), the second of F."""


class SignedRank(NamedTuple):
    """Wilcoxon's test that differences are symmetric about 0."""

    r_plus: float
    r_minus: float
    p_two_sided: float
    p_greater: float
    """One-sided, for differences above 0."""


class SignTest(NamedTuple):
    """The exact test that as many differences are above 0 as below."""

    n_plus: int
    n_minus: int
    n_zero: int
    p_two_sided: float
    p_greater: float
    """One-sided, for differences above 0."""


class OneSampleT(NamedTuple):
    """Student's test that the mean difference is 0."""

    mean: float
    se: float
    t: float
    df: int
    p_two_sided: float
    p_greater: float
    """One-sided, for a mean above 0."""


def average_ranks(scores: ArrayLike, *, higher_is_better: bool = True, decimals: int = 10) -> NDArray[np.float64]:
    """Rank the arms on each data set, 1 the best and ties shared, and average: (k,).

    scores : (n_data_sets, k). Rounded to `decimals` first, or equal printed scores differ by floating point.
    """
    scores = _finite(scores, "scores")
    if scores.ndim != 2 or scores.shape[1] < 2:
        raise AnalysisError(f"`scores` must be (n_data_sets, n_arms) with at least 2 arms; got shape {scores.shape}.")
    scores = np.round(scores, decimals)
    return stats.rankdata(-scores if higher_is_better else scores, axis=1).mean(axis=0)


def friedman(ranks: ArrayLike, n_data_sets: int) -> Friedman:
    """Test equal ranks: chi2 = 12N/(k(k+1)) (sum R_j^2 - k(k+1)^2/4), F = (N-1) chi2/(N(k-1) - chi2).

    ranks : (k,) average ranks over N = `n_data_sets`. Demsar 2006, p. 11; not corrected for ties. Where all data sets
    agree on the order, F is infinite.
    """
    ranks, n = _finite(ranks, "ranks"), n_data_sets
    k = ranks.size
    if ranks.ndim != 1 or k < 2 or n < 2:
        raise AnalysisError(
            f"Friedman's test needs at least 2 arms and 2 data sets; got ranks of shape {ranks.shape}, n_data_sets={n}."
        )
    if not ((ranks >= 1) & (ranks <= k)).all() or abs(ranks.mean() - (k + 1) / 2) > 0.01:
        raise AnalysisError(f"average ranks of {k} arms lie in [1, {k}] with mean {(k + 1) / 2}; got {ranks.tolist()}.")
    chi2 = 12 * n / (k * (k + 1)) * (float(ranks @ ranks) - k * (k + 1) ** 2 / 4)
    chi2 = min(max(chi2, 0.0), float(n * (k - 1)))
    rest = n * (k - 1) - chi2
    f = (n - 1) * chi2 / rest if rest > 1e-12 * n * k else np.inf
    df, df_error = k - 1, (k - 1) * (n - 1)
    return Friedman(chi2, float(stats.chi2.sf(chi2, df)), f, float(stats.f.sf(f, df, df_error)), df, df_error)


def friedman_of_scores(scores: ArrayLike, *, higher_is_better: bool = True, decimals: int = 10) -> Friedman:
    """Test equal ranks from scores (n_data_sets, k): `friedman` of `average_ranks`."""
    ranks = average_ranks(scores, higher_is_better=higher_is_better, decimals=decimals)
    return friedman(ranks, len(np.asarray(scores)))


def nemenyi_quantile(k: int, *, alpha: float = 0.05) -> float:
    """Give q_alpha of Nemenyi's test of all pairs of k arms: studentised range at infinite df over sqrt 2."""
    _check_arms(k, alpha)
    return float(stats.studentized_range.isf(alpha, k, np.inf) / np.sqrt(2))


def bonferroni_dunn_quantile(k: int, *, alpha: float = 0.05) -> float:
    """Give q_alpha of k - 1 arms against one control: z_{1 - alpha/(2(k-1))} (Dunn 1961)."""
    _check_arms(k, alpha)
    return float(stats.norm.isf(alpha / (2 * (k - 1))))


def critical_difference(quantile: float, k: int, n_data_sets: int) -> float:
    """Give the difference of average ranks that counts: quantile sqrt(k(k+1)/(6N)), for either quantile above."""
    if quantile <= 0 or k < 2 or n_data_sets < 1:
        raise AnalysisError(
            "a critical difference needs a positive quantile, at least 2 arms and 1 data set; got "
            f"{quantile}, k={k}, n_data_sets={n_data_sets}."
        )
    return float(quantile * np.sqrt(k * (k + 1) / (6 * n_data_sets)))


def nemenyi_critical_difference(k: int, n_data_sets: int, *, alpha: float = 0.05) -> float:
    """Give the difference of average ranks that any two of k arms must have: `critical_difference` of Nemenyi."""
    return critical_difference(nemenyi_quantile(k, alpha=alpha), k, n_data_sets)


def wilcoxon_signed_rank(differences: ArrayLike, *, decimals: int = 10) -> SignedRank:
    """Rank |difference|, ties shared, and sum the ranks by sign; the ranks of zeros go half to each side (Demsar 2006).

    differences : (n,), rounded to `decimals` first, or ties are lost to floating point. p is exact up to 50 differences
    without ties or zeros and up to 13 with them, else normal.
    """
    d = np.round(_vector(differences, 1), decimals)
    ranks = stats.rankdata(np.abs(d))
    zeros = float(ranks[d == 0].sum()) / 2
    r_plus, r_minus = float(ranks[d > 0].sum()) + zeros, float(ranks[d < 0].sum()) + zeros
    if not d.any():
        return SignedRank(r_plus, r_minus, 1.0, 1.0)
    two, greater = (
        float(stats.wilcoxon(d, zero_method="zsplit", alternative=side).pvalue) for side in ("two-sided", "greater")
    )
    return SignedRank(r_plus, r_minus, two, greater)


def sign_test(differences: ArrayLike, *, decimals: int = 10) -> SignTest:
    """Count the signs of the differences (n,) and test them exactly; zeros, after rounding, are left out."""
    d = np.round(_vector(differences, 1), decimals)
    plus, minus = int((d > 0).sum()), int((d < 0).sum())
    if plus + minus == 0:
        return SignTest(0, 0, d.size, 1.0, 1.0)
    two, greater = (
        float(stats.binomtest(plus, plus + minus, alternative=side).pvalue) for side in ("two-sided", "greater")
    )
    return SignTest(plus, minus, d.size - plus - minus, two, greater)


def one_sample_t(differences: ArrayLike) -> OneSampleT:
    """Test the mean of the differences (n,) by t = mean/(sd/sqrt n), n - 1 df; their own errors are not used.

    Differences that are all equal give an infinite t, or 0 where they are 0.
    """
    d = _vector(differences, 2)
    mean, df = float(d.mean()), d.size - 1
    se = float(d.std(ddof=1)) / np.sqrt(d.size) if np.ptp(d) > 0 else 0.0
    t = mean / se if se else float(np.sign(mean)) * np.inf if mean else 0.0
    return OneSampleT(mean, float(se), float(t), df, float(2 * stats.t.sf(abs(t), df)), float(stats.t.sf(t, df)))


def _check_arms(k: int, alpha: float) -> None:
    if k < 2 or not 0 < alpha < 1:
        raise AnalysisError(f"`k` must be at least 2 arms and `alpha` lie between 0 and 1; got k={k}, alpha={alpha}.")


def _vector(differences: ArrayLike, least: int) -> NDArray[np.float64]:
    d = _finite(differences, "differences")
    if d.ndim != 1 or d.size < least:
        raise AnalysisError(f"`differences` must be (n,) with n at least {least}; got shape {d.shape}.")
    return d


def _finite(values: ArrayLike, name: str) -> NDArray[np.float64]:
    values = np.asarray(values, float)
    if values.size == 0 or not np.isfinite(values).all():
        raise AnalysisError(f"`{name}` must be at least one finite number, none missing; got {values.tolist()}.")
    return values
