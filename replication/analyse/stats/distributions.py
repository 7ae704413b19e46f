"""The normal, t and chi-squared distributions, as thin names for `scipy.special`.

Values are those of `scipy.stats`, which computes them by the same functions but takes a third of a second to import and
checks its arguments at each call. Here a function is nan outside of its domain. Arrays broadcast.
"""

import math
from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Floats = NDArray[np.float64]
_LOG_ROOT_2_PI = math.log(2 * math.pi) / 2


def normal_cdf(z: ArrayLike) -> Floats:
    """Lower tail of the standard normal distribution."""
    return cast(Floats, special.ndtr(z))


def normal_sf(z: ArrayLike) -> Floats:
    """Upper tail of the standard normal distribution."""
    return cast(Floats, special.ndtr(np.negative(z)))


def normal_ppf(p: ArrayLike) -> Floats:
    """Quantile of the standard normal distribution whose lower tail is p."""
    return cast(Floats, special.ndtri(p))


def normal_isf(p: ArrayLike) -> Floats:
    """Quantile of the standard normal distribution whose upper tail is p."""
    return cast(Floats, -special.ndtri(p))


def normal_pdf(z: ArrayLike) -> Floats:
    """Density of the standard normal distribution."""
    return np.asarray(np.exp(-np.square(z) / 2) / math.sqrt(2 * math.pi), float)


def normal_logpdf(x: ArrayLike, mean: ArrayLike = 0.0, sd: ArrayLike = 1.0) -> Floats:
    """Log density of a normal distribution."""
    z = np.subtract(x, mean) / sd
    return np.asarray(-(z**2) / 2 - _LOG_ROOT_2_PI - np.log(sd), float)


def t_cdf(t: ArrayLike, df: ArrayLike | None) -> Floats:
    """Lower tail of Student's t with df degrees of freedom; None is the normal distribution, as is infinity."""
    return normal_cdf(t) if df is None else cast(Floats, special.stdtr(df, t))


def t_sf(t: ArrayLike, df: ArrayLike | None) -> Floats:
    """Upper tail of Student's t with df degrees of freedom; None is the normal distribution, as is infinity."""
    return normal_sf(t) if df is None else cast(Floats, special.stdtr(df, np.negative(t)))


def t_ppf(p: ArrayLike, df: ArrayLike | None) -> Floats:
    """Quantile of Student's t whose lower tail is p; df None is the normal distribution, as is infinity."""
    return normal_ppf(p) if df is None else cast(Floats, special.stdtrit(df, p))


def chi2_sf(x: ArrayLike, df: ArrayLike) -> Floats:
    """Upper tail of chi-squared with df degrees of freedom; 1 for x below 0, as rounding errors leave it."""
    return cast(Floats, special.chdtrc(df, np.maximum(x, 0)))


def chi2_ppf(p: ArrayLike, df: ArrayLike) -> Floats:
    """Quantile of chi-squared with df degrees of freedom, whose lower tail is p."""
    return cast(Floats, 2 * special.gammaincinv(np.divide(df, 2), p))


def f_sf(x: ArrayLike, df1: ArrayLike, df2: ArrayLike) -> Floats:
    """Upper tail of F."""
    return np.asarray(special.fdtrc(df1, df2, x))[()]
