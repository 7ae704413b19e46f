"""Turn a value with its standard error into an `Estimate` with interval and p-values."""

import math

from replication.analyse.stats import checks
from replication.analyse.stats.distributions import t_ppf, t_sf
from replication.errors import AnalysisError
from replication.records import Estimate, Target


def t_estimate(
    value: float,
    se: float,
    df: float | None,
    *,
    level: float,
    method: str,
    target: Target,
    n_tasks: int,
    n_trials: int,
    n_training_runs: int,
    n_unscored: int = 0,
) -> Estimate:
    """Build the estimate with interval value ± t_{(1 + level)/2, df} se; `df` None means the normal quantile.

    level : confidence level. The one-sided p-value is that of "not above zero".
    A standard error of zero is allowed: the interval has zero width, the two-sided p is 0, or 1 where the value is
    zero too, and the one-sided p is 0 above zero and 1 otherwise.
    """
    checks.probability(level=level)
    if not (se >= 0 and math.isfinite(value)):
        raise AnalysisError(f"the estimate needs a finite value and a standard error of at least 0; got {value}, {se}.")
    half = float(t_ppf((1 + level) / 2, df)) * se
    if se > 0:
        p_one, p_two = float(t_sf(value / se, df)), 2 * float(t_sf(abs(value) / se, df))
    else:
        p_one, p_two = float(value <= 0), float(value == 0)
    return Estimate(
        value=value, low=value - half, high=value + half, level=level, method=method, target=target, n_tasks=n_tasks,
        n_trials=n_trials, n_training_runs=n_training_runs, n_unscored=n_unscored, se=se, df=df, p_one_sided=p_one,
        p_two_sided=p_two,
    )  # fmt: skip
