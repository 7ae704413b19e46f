"""Test whether printed digits can come from whole numbers: GRIM and related tests, in exact arithmetic.

Printed numbers are passed as strings, so that their decimals count; nothing is computed in floating point except the
chance levels. Limits: a score that any real number can reach (a continuous rubric, F1) leaves only its range to test, and
a percentage says nothing once n k g reaches 10^(D + 2).

Printed SDs are taken as those of the k runs (GRIMMER: Anaya 2016, Allard 2018), printed differences as points.
"""

import math
import re
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Literal, NamedTuple

from replication.errors import AnalysisError

Rounding = Literal["half_up", "half_even", "half_down", "truncate", "either_half"]
ROUNDINGS = ("half_up", "half_even", "half_down", "truncate", "either_half")
"""`either_half` accepts half-up and half-down."""


class RoundedRuns(NamedTuple):
    """Result of the test that a printed mean is a mean of per-run values that were rounded first."""

    possible: bool
    spread_tasks: int | None
    """Smallest distance between the lowest and the highest run, in tasks, with which it can; None where it cannot."""
    spread_points: float | None


class SmallerDenominators(NamedTuple):
    """Fits of all printed numbers at denominators below the stated one."""

    hits: tuple[tuple[int, int], ...]
    """(runs, tasks) at which every number fits."""
    n_tried: int
    expected_hits: float
    """Expected number of hits were the digits random."""


def totals(
    printed: str,
    n: int,
    k: int = 1,
    *,
    grain: int = 1,
    rounding: Rounding = "half_up",
    scale: int = 100,
    most: int = 1000,
) -> tuple[int, ...]:
    """List the whole totals T in [0, n k grain] for which scale T/(n k grain) prints as `printed`.

    printed : average over k runs of n tasks, a percentage unless `scale` is 1. grain : credit steps per task (1 for
    pass/fail). most : the first so many are listed. Empty: the number cannot come from that design under that rounding.
    """
    value, decimals = _parse(printed)
    _check_counts(n=n, k=k, grain=grain)
    size = n * k * grain
    low, high = _total_range(value, scale * 10**decimals, size, rounding)
    return tuple(range(max(low, 0), min(high, size, max(low, 0) + most - 1) + 1))


def chance_of_fit(n: int, k: int = 1, *, decimals: int = 2, grain: int = 1) -> float:
    """Compute P0 = min(1, (n k grain + 1)/(100 10^D + 1)), the chance that a random percentage fits by accident."""
    _check_counts(n=n, k=k, grain=grain)
    return min(1.0, float((n * k * grain + 1) / (100 * 10**decimals + 1)))


def mean_of_rounded_runs(printed: str, n: int, k: int, *, run_decimals: int) -> RoundedRuns:
    """Test a percentage as the mean of k run percentages that were each rounded to `run_decimals`, then rounded again.

    All combinations of the n + 1 values that a run of n pass/fail tasks can print are allowed (half-up throughout); the
    sums they reach are kept as bits of one integer. Whether such runs are plausible is judged by the smallest spread.
    """
    value, decimals = _parse(printed)
    _check_counts(n=n, k=k)
    unit = 10**run_decimals
    values = [(2 * 100 * unit * t + n) // (2 * n) for t in range(n + 1)]
    # Sums S with S/(k unit) printing as value/10^decimals.
    low, high = _total_range(value, 10**decimals, k * unit, "half_up")

    def reaches(window: Sequence[int]) -> bool:
        base = window[0]
        lowest, highest = max(low - k * base, 0), min(high, k * window[-1]) - k * base
        if lowest > highest:
            return False
        sums = 1
        steps = [v - base for v in dict.fromkeys(window)]
        keep = (1 << (highest + 1)) - 1
        for _ in range(k):
            reached = 0
            for step in steps:
                reached |= sums << step
            sums = reached & keep
        return sums >> lowest != 0

    def fits(spread: int) -> bool:
        # A window can hold the mean only if the mean lies between its ends.
        return any(
            reaches(values[start : start + spread + 1])
            for start in range(n + 1 - spread)
            if k * values[start] <= high and k * values[start + spread] >= low
        )

    if not fits(n):
        return RoundedRuns(False, None, None)
    # Whatever fits in a window fits in a wider one, so double the spread, then halve the gap.
    bottom, top = -1, 0
    while not fits(top):
        bottom, top = top, min(max(2 * top, 1), n)
    while top - bottom > 1:
        middle = (bottom + top) // 2
        bottom, top = (bottom, middle) if fits(middle) else (middle, top)
    return RoundedRuns(True, top, 100 * top / n)


def smaller_denominators(
    printed: Sequence[str], n: int, *, ks: Sequence[int] = (1, 2, 3, 4, 5), from_share: str = "0.93", limit: int = 3500
) -> SmallerDenominators:
    """Search denominators k n', from_share n <= n' <= n (rounded down), that all printed percentages fit, half-up.

    Failed tasks that were left out would show as such a fit. Designs with k n' >= `limit` are skipped: nearly anything
    fits them. Compare hits with `expected_hits`, the sum over the designs tried of the product of P0.
    """
    _check_counts(n=n, limit=limit)
    decimals = [_parse(number)[1] for number in printed]
    if not printed:
        raise AnalysisError("`printed` must hold at least one number; got none.")
    first = max(1, math.floor(Fraction(from_share) * n))
    tried = [(k, m) for k in ks for m in range(first, n + 1) if k * m < limit]
    hits = tuple((k, m) for k, m in tried if all(totals(number, m, k) for number in printed))
    expected = sum(math.prod(chance_of_fit(m, k, decimals=d) for d in decimals) for k, m in tried)
    return SmallerDenominators(hits, len(tried), float(expected))


def weighted_mean_is_consistent(parts: Sequence[str], weights: Sequence[str], printed: str) -> bool:
    """Test a printed weighted mean against its printed parts; weights as strings, at least 0, summing to 1 (to 1e-9)."""
    shares = [Fraction(weight) for weight in weights]
    off = abs(sum(shares, Fraction(-1)))
    if len(shares) != len(parts) or off > Fraction(1, 10**9) or any(share < 0 for share in shares):
        raise AnalysisError(f"`weights` must match the {len(parts)} parts and sum to 1; got {list(weights)}.")
    spans = [_span(part) for part in parts]
    low, high = _span(printed)
    return (
        sum(w * s[0] for w, s in zip(shares, spans, strict=True)) <= high
        and sum(w * s[1] for w, s in zip(shares, spans, strict=True)) >= low
    )


def difference_fits(printed: str, printed_a: str, printed_b: str, n: int | None, k: int = 1) -> bool:
    """Test a printed difference b - a, in points, against the printed scores; n None where these have no whole counts.

    With n it must be that of two whole totals that print as the scores, rounded; without, that of two numbers that do.
    """
    value, decimals = _parse(printed)
    if n is None:
        (low_a, high_a), (low_b, high_b), (low, high) = map(_span, (printed_a, printed_b, printed))
        return low_b - high_a <= high and high_b - low_a >= low
    _check_counts(n=n, k=k)
    ends = []
    for score in (printed_a, printed_b):
        of_score, digits = _parse(score)
        first, last = _total_range(of_score, 100 * 10**digits, n * k, "either_half")
        ends.append((max(first, 0), min(last, n * k)))
    (first_a, last_a), (first_b, last_b) = ends
    low_total, high_total = _total_range(value, 100 * 10**decimals, n * k, "either_half")
    fits = first_a <= last_a and first_b <= last_b
    return fits and max(low_total, first_b - last_a) <= min(high_total, last_b - first_a)


def deviation_fits(printed: str, mean: str, n: int, k: int) -> bool:
    """Test a printed SD between k runs of n pass/fail tasks, in points, against the printed mean of the runs.

    True where k whole numbers of passes exist whose mean prints as `mean` and whose SD, with k - 1 or k in its denominator,
    prints as `printed`, halves rounded either way. Beyond `EXACT_RUNS` runs, and for three or more whose squared distances
    from their mean sum to over `EXACT_SPREAD`, only range and parity of the sum of squares are tested, which nearly decide.
    """
    value, decimals = _parse(printed)
    _check_counts(n=n, k=k)
    if k < 2 or value < 0:
        raise AnalysisError(f"an SD between runs needs at least 2 runs and is at least 0; got {printed} of k={k}.")
    unit = Fraction(n, 100 * 2 * 10**decimals)  # half a unit of the last digit, in tasks
    low, high = (max(2 * value - 1, 0) * unit) ** 2, ((2 * value + 1) * unit) ** 2
    for total in totals(mean, n, k, rounding="either_half"):
        for freedom in (k - 1, k):
            centre = Fraction(total**2, k)
            first, last = math.ceil(low * freedom + centre), math.floor(high * freedom + centre)
            last = min(last, total // n * n**2 + (total % n) ** 2)  # as many runs as possible at n or at 0
            if any(_runs_exist(total, squares, k, n) for squares in _squares(total, first, last, k)):
                return True
    return False


EXACT_RUNS = 10
"""Runs up to which `deviation_fits` searches for the runs themselves."""
EXACT_SPREAD = 100_000


def _squares(total: int, first: int, last: int, k: int) -> Iterable[int]:
    """List the sums of squares from first to last that k whole numbers with this sum can have, by parity."""
    if k > 2:
        return range(first + (first - total) % 2, last + 1, 2)
    # Two runs that differ by a gap have the sum of squares (total^2 + gap^2)/2.
    low, high = (math.isqrt(max(2 * end - total**2, 0)) for end in (first - 1, last))
    gaps = range(low + (low - total) % 2, high + 1, 2)
    return (squares for gap in gaps if (squares := (total**2 + gap**2) // 2) >= first)


def _runs_exist(total: int, squares: int, k: int, n: int) -> bool:
    """Search k whole numbers in [0, n] with this sum and a sum of squares of its parity."""
    if k * squares < total**2:
        return False
    base = total // k
    rest, spread = total - base * k, squares - 2 * base * total + base**2 * k
    if k > EXACT_RUNS or (k > 2 and spread > EXACT_SPREAD):
        return True
    failed: set[tuple[int, int, int]] = set()

    def exists(left: int, total: int, squares: int) -> bool:
        if left * squares < total**2 or (left, total, squares) in failed:
            return False
        if left == 2:
            gap = math.isqrt(2 * squares - total**2)
            ends = (total - gap) // 2, (total + gap) // 2
            return (
                sum(e**2 for e in ends) == squares and sum(ends) == total and -base <= ends[0] and ends[1] <= n - base
            )
        reach = math.isqrt(squares)
        tried = sorted(range(max(-reach, -base), min(reach, n - base) + 1), key=abs, reverse=True)
        if any(exists(left - 1, total - e, squares - e**2) for e in tried):
            return True
        failed.add((left, total, squares))
        return False

    return exists(k, rest, spread)


def _span(printed: str) -> tuple[Fraction, Fraction]:
    value, decimals = _parse(printed)
    return Fraction(2 * value - 1, 2 * 10**decimals), Fraction(2 * value + 1, 2 * 10**decimals)


def _ends(value: int, rounding: Rounding) -> tuple[int, int, bool, bool]:
    """Return the interval that prints as `value`, in half units of the last digit, and whether each end is included."""
    if rounding not in ROUNDINGS:
        raise AnalysisError(f"`rounding` must be one of {', '.join(ROUNDINGS)}; got {rounding!r}.")
    if rounding == "truncate":
        if value < 0:
            return 2 * value - 2, 2 * value, False, True
        return 2 * value, 2 * value + 2, True, False
    even = value % 2 == 0
    low_in, high_in = {
        "half_up": (True, False), "half_down": (False, True), "half_even": (even, even), "either_half": (True, True),
    }[rounding]  # fmt: skip
    return 2 * value - 1, 2 * value + 1, low_in, high_in


def _total_range(value: int, per_unit: int, size: int, rounding: Rounding) -> tuple[int, int]:
    """Return the first and last integer T for which per_unit T/size, in units of the last digit, prints as `value`."""
    low, high, low_in, high_in = _ends(value, rounding)
    twice = 2 * per_unit
    first, first_rest = divmod(low * size, twice)
    last, last_rest = divmod(high * size, twice)
    first += 1 if first_rest or not low_in else 0
    last -= 1 if not last_rest and not high_in else 0
    return first, last


def _parse(printed: str) -> tuple[int, int]:
    """Read a printed number as a whole number of units of its last digit, and its decimals."""
    if not isinstance(printed, str) or not re.fullmatch(r"-?\d+(\.\d*)?|-?\.\d+", printed):
        raise AnalysisError(f"a printed number must be a string of digits such as '33.25'; got {printed!r}.")
    whole, _, rest = printed.partition(".")
    return int(whole + rest), len(rest)


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count != int(count) or count < 1:
            raise AnalysisError(f"`{name}` must be a whole number of at least 1; got {count}.")
