"""Randomisation test of paired differences by flipping their signs."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from replication.analyse.stats import checks
from replication.errors import AnalysisError

_TIE = 1e-10
"""Sums closer than this, relative to the sum of |differences|, count as equal: they differ by rounding only."""


class SignFlip(NamedTuple):
    """The two p-values of a sign-flip test."""

    p_two_sided: float
    p_one_sided: float
    """Of "treatment not above control"."""
    n_flips: int
    """Number of sign patterns."""
    exact: bool
    """True if all sign patterns were enumerated."""


def sign_flip_test(
    differences: ArrayLike, *, rng: np.random.Generator | None, n_flips: int = 100_000, exact_up_to: int = 20
) -> SignFlip:
    """Test that the arms do not differ on any task, by the randomisation distribution of the sum (Fisher 1935).

    differences : (n_tasks,) treatment minus control, means over trials. p two-sided = share of sign patterns with |sum| at
    least as large as observed, one-sided = share with sum at least as large. All 2^n patterns are enumerated if at most
    `exact_up_to` differences are not zero (zeros do not matter); `rng` may then be None. Otherwise `n_flips` random
    patterns and (b + 1)/(B + 1) (Phipson & Smyth 2010). If all differences are zero, both p-values are 1.
    """
    d = checks.vector("differences", differences)
    d = d[d != 0]
    observed, tie = d.sum(), _TIE * np.abs(d).sum()
    if d.size <= exact_up_to:
        sums = np.zeros(1)
        for x in d:
            sums = np.concatenate([sums + x, sums - x])
        return SignFlip(
            float((np.abs(sums) >= abs(observed) - tie).mean()), float((sums >= observed - tie).mean()), sums.size, True
        )
    if rng is None:
        raise AnalysisError(
            f"{d.size} differences that are not zero are too many for all sign patterns (`exact_up_to` {exact_up_to}); "
            "pass `rng`."
        )
    checks.at_least(1, n_flips=n_flips)
    two = one = 0
    for start in range(0, n_flips, 4096):
        sums = _signs(rng, min(4096, n_flips - start), d.size) @ d
        two += int((np.abs(sums) >= abs(observed) - tie).sum())
        one += int((sums >= observed - tie).sum())
    return SignFlip((two + 1) / (n_flips + 1), (one + 1) / (n_flips + 1), n_flips, False)


def _signs(rng: np.random.Generator, n_rows: int, n_columns: int) -> NDArray[np.float64]:
    return np.asarray(1.0 - 2.0 * rng.integers(0, 2, size=(n_rows, n_columns), dtype=np.int8), float)
