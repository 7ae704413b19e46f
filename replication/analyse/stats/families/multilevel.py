"""Mean or regression over effects that lie in clusters, such as several results of one paper (multilevel random effects).

Effect i of cluster c: y_ci = x_ci'beta + u_c + w_ci + e_ci, with u of variance `between`, w of variance `within` and e of
the known variance se^2. Both variances by restricted maximum likelihood (Fisher scoring). Errors of the coefficients are
cluster-robust with the bias reduction CR2 and Satterthwaite's degrees of freedom (Bell & McCaffrey 2002, Pustejovsky &
Tipton 2018), so that sampling errors which are correlated within a cluster, as by a shared control, do not make intervals
too short. Intervals of coefficients are Wald-t, those of variances are from the profile likelihood.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from replication.analyse.stats import checks
from replication.analyse.stats.distributions import chi2_ppf, t_ppf, t_sf
from replication.analyse.stats.roots import decreasing_root
from replication.errors import AnalysisError

Array = NDArray[np.float64]

STEPS = 24
"""Halvings of the search for an end of a profile interval: 7 digits."""

RELIABLE_DF = 4
"""Degrees of freedom below which a CR2 interval is not to be relied on (Tipton 2015, Psychological Methods)."""


class Coefficient(NamedTuple):
    """A coefficient with its cluster-robust error."""

    value: float
    se: float
    """CR2; nan where there are not more clusters than coefficients."""
    df: float
    low: float
    high: float
    p_two_sided: float
    model_se: float
    """Of the model, which takes the sampling errors as independent."""


class Multilevel(NamedTuple):
    """A fitted model."""

    coefficients: tuple[Coefficient, ...]
    """Of the columns of the design; the mean alone without moderators."""
    between: float
    """Variance between clusters."""
    within: float
    """Variance between the effects of a cluster."""
    log_likelihood: float
    """Restricted."""
    n_clusters: int
    level: float

    @property
    def mean(self) -> Coefficient:
        """The first coefficient: the mean of a model without moderators."""
        return self.coefficients[0]


class Bounds(NamedTuple):
    """An interval."""

    low: float
    high: float


Fixed = tuple[float | None, float | None]
"""Values of the variances between and within clusters that are not estimated."""


class _Data(NamedTuple):
    y: Array
    variance: Array
    x: Array
    same: Array
    """(k, k), 1 where two effects are of one cluster."""
    cluster: NDArray[np.intp]


def multilevel(
    y: ArrayLike,
    se: ArrayLike,
    clusters: Sequence[str],
    *,
    x: ArrayLike | None = None,
    level: float = 0.95,
    floor: bool = False,
) -> Multilevel:
    """Fit effects `y` with standard errors `se` in `clusters`, all (k,).

    x : design (k, q) with its column of ones; None: the mean alone. With `floor` the robust error is at least that of the
    model: without it a few clusters that happen to agree give an interval of almost no width.
    """
    checks.probability(level=level)
    data = _data(y, se, clusters, x)
    theta, fitted = _fit(data)
    between, within = theta
    return Multilevel(
        coefficients=_coefficients(data, theta, level, floor), between=float(between), within=float(within),
        log_likelihood=fitted, n_clusters=int(data.cluster.max()) + 1, level=level,
    )  # fmt: skip


def prediction(fit: Multilevel, *, n_effects: float = np.inf, own: float = 0.0) -> Bounds:
    """Return the interval for the mean of a new cluster: value ± t sqrt(se^2 + between + within/n_effects + own).

    n_effects : effects that are averaged there; 1 is a single new effect, infinity the mean of the cluster itself.
    own : sampling variance of that mean; 0 for its true value. t has the df of the mean.
    """
    mean = fit.mean
    half = float(t_ppf((1 + fit.level) / 2, mean.df)) * spread(fit, n_effects=n_effects, own=own)
    return Bounds(mean.value - half, mean.value + half)


def spread(fit: Multilevel, *, n_effects: float, own: float) -> float:
    """Return the standard deviation of the mean of a new cluster about the estimated mean; as `prediction`."""
    return float(np.sqrt(fit.mean.se**2 + fit.between + fit.within / n_effects + own))


def variance_bounds(
    y: ArrayLike, se: ArrayLike, clusters: Sequence[str], *, level: float = 0.95
) -> tuple[Bounds, Bounds]:
    """Return profile-likelihood intervals of the variances between and within clusters, for the model of a mean.

    The ends are where twice the restricted log likelihood falls by the chi-squared quantile with one df; infinite above
    where it never does.
    """
    data = _data(y, se, clusters, None)
    theta, best = _fit(data)
    least = best - float(chi2_ppf(level, 1)) / 2
    scale = float(data.y.var() + data.variance.max())
    at = [lambda value: _fit(data, (value, None), theta)[1], lambda value: _fit(data, (None, value), theta)[1]]
    between, within = (_profile(at[i], least, float(theta[i]), scale) for i in (0, 1))
    return between, within


def _profile(log_likelihood: Callable[[float], float], least: float, best: float, scale: float) -> Bounds:
    """Find where a profile that is highest at `best` crosses `least` below and above."""
    low = 0.0
    if best > 0 and log_likelihood(0.0) < least:
        low = decreasing_root(lambda v: least - log_likelihood(v), 0.0, best, steps=STEPS)
    high = best + scale
    while log_likelihood(high) > least:
        high *= 2
        if high > 1e6 * scale:
            return Bounds(low, np.inf)
    return Bounds(low, decreasing_root(lambda v: log_likelihood(v) - least, best, high, steps=STEPS))


def _data(y: ArrayLike, se: ArrayLike, clusters: Sequence[str], x: ArrayLike | None) -> _Data:
    y, se = checks.vector("y", y, least=2), np.asarray(se, float)
    checks.same_shape(y=y, se=se)
    checks.positive(se=se)
    names = list(dict.fromkeys(clusters))
    cluster = np.array([names.index(name) for name in clusters])
    if cluster.shape != y.shape:
        raise AnalysisError(f"`clusters` must have one name per effect; got {cluster.size} for {y.size} effects.")
    design = np.ones((y.size, 1)) if x is None else np.asarray(x, float)
    if design.ndim != 2 or len(design) != y.size or np.linalg.matrix_rank(design) < design.shape[1]:
        raise AnalysisError(
            f"`x` must be (k, q) of full rank with k = {y.size} effects; got shape {design.shape}. Leave out a moderator "
            "that is constant or a copy of another."
        )
    if y.size <= design.shape[1]:
        raise AnalysisError(f"{design.shape[1]} coefficients need more effects than that; got {y.size}.")
    same = (cluster[:, None] == cluster[None, :]).astype(float)
    return _Data(y, se**2, design, same, cluster)


class _State(NamedTuple):
    log_likelihood: float
    score: Array
    information: Array


def _state(data: _Data, theta: Array) -> _State:
    """Compute restricted log likelihood, score and expected information; P = W - W X (X'WX)^-1 X'W."""
    v = np.diag(data.variance + theta[1]) + theta[0] * data.same
    w = np.linalg.inv(v)
    wx = w @ data.x
    xwx = data.x.T @ wx
    p = w - wx @ np.linalg.solve(xwx, wx.T)
    py = p @ data.y
    ps = p @ data.same
    k, q = data.x.shape
    log_likelihood = -0.5 * (
        (k - q) * np.log(2 * np.pi)
        - np.linalg.slogdet(data.x.T @ data.x)[1]
        + np.linalg.slogdet(v)[1] + np.linalg.slogdet(xwx)[1] + data.y @ py
    )  # fmt: skip
    score = 0.5 * np.array([py @ data.same @ py - np.trace(ps), py @ py - np.trace(p)])
    cross = (ps * p.T).sum()
    information = 0.5 * np.array([[(ps * ps.T).sum(), cross], [cross, (p * p.T).sum()]])
    return _State(float(log_likelihood), score, information)


def _fit(data: _Data, fixed: Fixed = (None, None), start: Array | None = None) -> tuple[Array, float]:
    """Maximise the restricted likelihood over the variances that are not fixed, from several starts or the given one."""
    # With one effect per cluster the two variances are one, called `between`; one cluster alone has none between.
    n_clusters = int(data.cluster.max()) + 1
    known = (0.0 if n_clusters == 1 else fixed[0], 0.0 if n_clusters == data.y.size else fixed[1])
    free = np.array([value is None for value in known])
    total = max(float(data.y.var()) - float(np.median(data.variance)), 0.1 * float(data.y.var()), 1e-12)
    starts = [(total / 2, total / 2), (0.0, 0.0)] if start is None else [tuple(start)]
    tolerance = 1e-12 if start is None else 1e-8
    found = [
        _climb(data, np.array([s if f is None else f for s, f in zip(at, known, strict=True)]), free, tolerance)
        for at in starts
    ]
    return max(found, key=lambda result: result[1])


def _climb(data: _Data, theta: Array, free: NDArray[np.bool_], tolerance: float) -> tuple[Array, float]:
    """Fisher scoring with step halving until the log likelihood gains no more than `tolerance`.

    A variance at 0 whose score is not positive stays there.
    """
    state = _state(data, theta)
    for _ in range(200):
        active = free & ((theta > 0) | (state.score > 0))
        if not active.any():
            break
        step = np.zeros(2)
        step[active] = np.linalg.lstsq(state.information[np.ix_(active, active)], state.score[active], rcond=None)[0]
        for halving in range(30):
            new = np.maximum(theta + step / 2**halving, 0.0)
            moved = _state(data, new)
            if moved.log_likelihood >= state.log_likelihood:
                break
        else:
            break
        gain = moved.log_likelihood - state.log_likelihood
        theta, state = new, moved
        if gain <= tolerance:
            break
    return theta, state.log_likelihood


def _coefficients(data: _Data, theta: Array, level: float, floor: bool) -> tuple[Coefficient, ...]:
    """Compute coefficients with CR2 errors, target and working model being the fitted one."""
    v = np.diag(data.variance + theta[1]) + theta[0] * data.same
    w = np.linalg.inv(v)
    bread = np.linalg.inv(data.x.T @ w @ data.x)
    beta = bread @ data.x.T @ w @ data.y
    residual = data.y - data.x @ beta
    n_clusters = int(data.cluster.max()) + 1
    hat = np.eye(data.y.size) - data.x @ bread @ data.x.T @ w
    meat, weights = np.zeros_like(bread), []
    for c in range(n_clusters):
        i = np.flatnonzero(data.cluster == c)
        block, x = v[np.ix_(i, i)], data.x[i]
        root = np.linalg.cholesky(block).T  # block = root' root
        inner = root @ (block - x @ bread @ x.T) @ root.T
        adjusted = root.T @ _inverse_root(inner) @ root
        g = adjusted.T @ np.linalg.inv(block) @ x  # (n_c, q)
        meat += np.outer(g.T @ residual[i], g.T @ residual[i])
        weights.append(hat[i].T @ g @ bread)  # (k, q)
    robust = bread @ meat @ bread
    found = []
    for j in range(beta.size):
        columns = np.column_stack([p[:, j] for p in weights])
        inner = columns.T @ v @ columns
        df = float(np.trace(inner) ** 2 / (inner**2).sum()) if n_clusters > data.x.shape[1] else np.nan
        model_se = float(np.sqrt(bread[j, j]))
        se = max(float(np.sqrt(robust[j, j])), model_se * floor) if n_clusters > data.x.shape[1] else np.nan
        t, quantile = beta[j] / se, float(t_ppf((1 + level) / 2, df))
        found.append(
            Coefficient(
                value=float(beta[j]), se=se, df=df, low=float(beta[j] - quantile * se),
                high=float(beta[j] + quantile * se), p_two_sided=2 * float(t_sf(abs(t), df)),
                model_se=model_se,
            )
        )  # fmt: skip
    return tuple(found)


def _inverse_root(matrix: Array) -> Array:
    """Return the symmetric inverse root; directions without variance are left out (Moore-Penrose)."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    kept = values > 1e-12 * max(float(values.max()), 1e-300)
    inverse = np.where(kept, 1 / np.sqrt(np.where(kept, values, 1.0)), 0.0)
    return np.asarray((vectors * inverse) @ vectors.T)
