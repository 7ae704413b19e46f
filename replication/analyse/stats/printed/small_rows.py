"""Rows with few passes or failures, where the normal approximation of the audit model is wrong.

k runs of n tasks are taken as N independent single runs with the variance that the audit model gives (effective counts;
Korn & Graubard 1998), and the arms as paired over these with the correlation phi that icc and rho imply. From N, phi and
the two scores follows how many tasks only one arm passed, a real number. Tests: McNemar's, mid-p. Intervals: Newcombe's
paired square-and-add. Both are what Fagerland, Lydersen & Laake (2013, 2014) recommend for small paired samples.

For one run of 5 to 40 tasks, equal rates of .05 to .5 and phi 0 to .5, the mid-p test at two-sided .05 rejects in at most
5.2 %, the normal one in up to 13.4 %; the normal one where each arm has `LEAST` passes and failures in at most 5.7 %
(enumeration). Scores that are not pass or fail have at most this variance.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special

from replication.analyse.stats.distributions import normal_isf, normal_sf
from replication.analyse.stats.printed import audit_model
from replication.analyse.stats.printed.rows import deltas, standard_errors, z_scores
from replication.records import Target

LEAST = 10
"""Passes, and failures, of each arm from which the normal approximation is used."""
Floats = NDArray[np.float64]


class RowTests(NamedTuple):
    """Tests and intervals of rows, (..., n_rows) each; fractions."""

    p_one_sided: Floats
    """Of "treatment is not above control"."""
    p_two_sided: Floats
    low: Floats
    high: Floats


class Ends(NamedTuple):
    """Both ends of intervals, (..., n_rows) each; fractions."""

    low: Floats
    high: Floats


class Paired(NamedTuple):
    """Counts that stand for a row: as many independent tasks, played once by each arm."""

    size: Floats
    """N."""
    phi: Floats
    """Correlation of the outcomes of the two arms."""
    b_only: Floats
    """Tasks that only the treatment passed; may be a fraction."""
    a_only: Floats


def is_small(rows: pd.DataFrame) -> NDArray[np.bool_]:
    """Mark the rows with fewer than `LEAST` passes or failures in an arm, of n independent tasks; (n_rows,)."""
    scores = rows[["p_a", "p_b"]].to_numpy(float)
    fewest = rows["n"].to_numpy(float) * np.minimum(scores, 1 - scores).min(axis=1)
    return np.asarray(fewest < LEAST - 1e-9)


def evaluate(
    rows: pd.DataFrame,
    *,
    icc: ArrayLike,
    rho: ArrayLike,
    target: Target = "T2",
    k: ArrayLike | None = None,
    level: float = 0.95,
) -> RowTests:
    """Test every row: small ones by `mid_p` and `square_and_add`, the others by the normal audit model.

    target : T1 or T2. icc, rho of shape (n_cells, 1) give (n_cells, n_rows); k None means the stated runs. The interval of
    a small row is extended to 0 where `mid_p` does not reject 0, so that interval and test never disagree on that side.
    """
    delta, se = deltas(rows), standard_errors(rows, icc=icc, rho=rho, target=target, k=k)
    z, half = z_scores(delta, se), normal_isf((1 - level) / 2) * se
    above, low, high = normal_sf(z), delta - half, delta + half
    two = 2 * normal_sf(np.abs(z))
    small = is_small(rows)
    if small.any():
        few = rows[small]
        pairs = paired_counts(few, icc=icc, rho=rho, target=target, k=k)
        exact = mid_p(pairs.b_only, pairs.a_only)
        ends = square_and_add(few["p_a"], few["p_b"], pairs.size, pairs.phi, level=level)
        rejected = (1 - level) / 2
        parts = (
            (above, exact),
            (two, 2 * np.minimum(exact, 1 - exact)),
            (low, np.where(exact > rejected, np.minimum(ends.low, 0), ends.low)),
            (high, np.where(1 - exact > rejected, np.maximum(ends.high, 0), ends.high)),
        )
        for whole, part in parts:
            whole[..., small] = part
    return RowTests(above, two, low, high)


def paired_counts(
    rows: pd.DataFrame, *, icc: ArrayLike, rho: ArrayLike, target: Target = "T2", k: ArrayLike | None = None
) -> Paired:
    """Compute the counts that stand for each row; arrays broadcast as in `evaluate`.

    T2: N = n/(icc + (1 - icc)/k), phi = icc rho N/n. T1: N = n k, phi = icc, as if every task were equally hard for both
    arms, which has at least the variance of the audit model. a_only = N (p_a (1 - p_b) - phi sqrt(v_a v_b)), at least what
    the difference needs: for one run no overlap of the passed tasks gives a smaller p.
    """
    p_a, p_b, n = (rows[column].to_numpy(float) for column in ("p_a", "p_b", "n"))
    icc, rho = np.asarray(icc, float), np.asarray(rho, float)
    runs = np.asarray(rows["k"] if k is None else k, float)
    share = 1 / runs if target == "T1" else icc + (1 - icc) / runs
    size = n / share
    phi = icc if target == "T1" else icc * rho / share
    covered = phi * np.sqrt(p_a * (1 - p_a) * p_b * (1 - p_b))
    a_only = size * np.maximum(p_a * (1 - p_b) - covered, np.maximum(p_a - p_b, 0))
    return Paired(size + 0 * a_only, phi + 0 * a_only, a_only + size * (p_b - p_a), a_only)


def mid_p(b_only: ArrayLike, a_only: ArrayLike) -> Floats:
    """Compute the one-sided mid-p-value of McNemar's exact test that the treatment passes no more tasks than the control.

    P(X > b) + P(X = b)/2, X binomial of b + a and 1/2; between whole numbers by the incomplete beta function. .5 where no
    task tells the arms apart.
    """
    b, a = np.broadcast_arrays(np.asarray(b_only, float), np.asarray(a_only, float))
    b, a = np.where(b < 1e-9, 0.0, b), np.where(a < 1e-9, 0.0, a)
    at_least = np.where(b > 0, special.betainc(np.maximum(b, 1e-12), a + 1, 0.5), 1.0)
    more = np.where(a > 0, special.betainc(b + 1, np.maximum(a, 1e-12), 0.5), 0.0)
    return np.asarray((at_least + more) / 2, float)


def square_and_add(p_a: ArrayLike, p_b: ArrayLike, size: ArrayLike, phi: ArrayLike, *, level: float = 0.95) -> Ends:
    """Compute Newcombe's interval of p_b - p_a with correlation phi (1998, paired data), elementwise; N may be a fraction.

    Low: d - sqrt(f^2 + g^2 - 2 phi f g), f = p_b - l_b, g = u_a - p_a; high likewise; l and u the Wilson limits of N tasks.
    """
    p_a, p_b, size, phi = (np.asarray(x, float) for x in (p_a, p_b, size, phi))
    (low_a, high_a), (low_b, high_b) = (_wilson(p, size, level) for p in (p_a, p_b))

    def distance(f: Floats, g: Floats) -> Floats:
        return np.asarray(np.sqrt(np.maximum(f**2 + g**2 - 2 * phi * f * g, 0)), float)

    return Ends(p_b - p_a - distance(p_b - low_b, high_a - p_a), p_b - p_a + distance(high_b - p_b, p_a - low_a))


def best_pairing_p(p_a: float, p_b: float, n: int) -> float:
    """Compute McNemar's exact two-sided p-value of one run, where the better arm passes all tasks that the other does.

    n pass/fail tasks; no other overlap, and so no correlation of the arms, gives a smaller p.
    """
    return float(min(1.0, 2 * 0.5 ** abs(round(p_b * n) - round(p_a * n))))


def fisher_mid_p(p_a: float, p_b: float, n: int) -> float:
    """Compute Fisher's two-sided mid-p-value of one run each: twice the smaller tail, the observed table counted half."""
    x, passes = round(p_b * n), round(p_a * n) + round(p_b * n)
    if 2 * x == passes:
        return 1.0
    observed = _log_choose(n, x) + _log_choose(n, passes - x) - _log_choose(2 * n, passes)
    return float(max(audit_model.fisher_p_value(p_a, p_b, n) - np.exp(observed), 0.0))


def turning_point(row: pd.DataFrame, *, icc: float, alpha: float = 0.05) -> float:
    """Find the task correlation from which the interval of a small row excludes 0, T2; 0 already there, NaN at none."""
    rhos = np.linspace(0, 1, 1001)[:, None]
    tests = evaluate(row, icc=np.full_like(rhos, icc), rho=rhos, level=1 - alpha)
    excluded = ((tests.low > 0) | (tests.high < 0))[:, 0]
    return float(rhos[int(excluded.argmax()), 0]) if excluded.any() else float("nan")


def _wilson(p: Floats, size: Floats, level: float) -> Ends:
    z = float(normal_isf((1 - level) / 2))
    middle, half = p + z**2 / (2 * size), z * np.sqrt(p * (1 - p) / size + z**2 / (4 * size**2))
    scale = 1 + z**2 / size
    low, high = (middle - half) / scale, (middle + half) / scale
    return Ends(np.where(p == 0, 0.0, low), np.where(p == 1, 1.0, high))


def _log_choose(n: int, x: int) -> float:
    return float(special.gammaln(n + 1) - special.gammaln(x + 1) - special.gammaln(n - x + 1))
