"""Argument checks: what passes, and the text of each error."""

import math

import numpy as np
import pytest

from replication.analyse.stats import checks
from replication.errors import AnalysisError


def test_values_inside_their_range_pass():
    checks.probability(level=0.95, alpha=1e-9)
    checks.one_sided_level(alpha=0.4999)
    checks.fraction(m=0, p=1.0)
    checks.positive(se=[1e-300, 2.0], sesoi=np.float32(1))
    checks.not_negative(tau=0.0, s2=[0.0, 1.0])
    checks.at_least(2, n=2, k=[2, 3])
    checks.finite(effect=[-1.0, 0.0])
    checks.same_shape(y=[1, 2], se=np.ones(2))
    checks.choice(("a", "b"), kind="b")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: checks.probability(level=95), "`level` must lie between 0 and 1; got 95."),
        (lambda: checks.probability(alpha=0.5, power=0.0), "`power` must lie between 0 and 1; got 0.0."),
        (lambda: checks.probability(alpha=1.0), "`alpha` must lie between 0 and 1; got 1.0."),
        (lambda: checks.probability(alpha=math.nan), "`alpha` must lie between 0 and 1; got nan."),
        (lambda: checks.one_sided_level(alpha=0.5), "`alpha` is one-sided and must lie between 0 and .5; got 0.5."),
        (lambda: checks.one_sided_level(alpha=0.0), "`alpha` is one-sided and must lie between 0 and .5; got 0.0."),
        (lambda: checks.fraction(m=-0.1), "`m` must lie in [0, 1]; got -0.1."),
        (lambda: checks.fraction(m=1.1), "`m` must lie in [0, 1]; got 1.1."),
        (lambda: checks.within(-1, 1, rho=[0.5, 1.2]), "`rho` must lie in [-1, 1]; got [0.5, 1.2]."),
        (lambda: checks.positive(se=[1.0, 0.0]), "`se` must be above 0; got [1., 0.]."),
        (lambda: checks.positive(se=math.inf), "`se` must be finite and not empty; got inf, 1 of 1 missing or infinite."),
        (lambda: checks.not_negative(tau=-1), "`tau` must be at least 0; got -1."),
        (lambda: checks.at_least(2, n=1), "`n` must be at least 2; got 1."),
        (lambda: checks.at_least(2, n=[]), "`n` must be finite and not empty; got [], 0 of 0 missing or infinite."),
        (
            lambda: checks.finite(x=[1, math.nan]),
            "`x` must be finite and not empty; got [ 1., nan], 1 of 2 missing or infinite.",
        ),
        (
            lambda: checks.same_shape(y=[1, 2], se=[1], n=1),
            "`y`, `se` and `n` must have the same shape; got (2,), (1,) and ().",
        ),
        (lambda: checks.vector("y", 1.0), "`y` must be (n,) with n of at least 1; got shape ()."),
        (lambda: checks.vector("y", [1.0], least=2), "`y` must be (n,) with n of at least 2; got shape (1,)."),
        (lambda: checks.vector("y", [math.inf]), "`y` must be finite and not empty; got [inf], 1 of 1 missing or infinite."),
        (lambda: checks.choice(("a", "b"), kind="c"), "`kind` must be one of a, b; got 'c'."),
    ],
)  # fmt: skip
def test_errors_name_the_argument_the_value_and_the_allowed_range(call, message):
    with pytest.raises(AnalysisError) as error:
        call()
    assert str(error.value) == message


def test_long_arrays_are_shortened_in_messages():
    with pytest.raises(AnalysisError) as error:
        checks.positive(se=np.zeros(10_000))
    assert len(str(error.value)) < 100


def test_a_vector_is_returned_as_floats():
    assert checks.vector("y", [1, 2]).dtype == float
