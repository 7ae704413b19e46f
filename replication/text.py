"""Numbers, p-values, intervals and Markdown as printed: the one place that rounds."""

import math
from collections.abc import Iterable, Sequence

from replication.records import Estimate

MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"


def fixed(value: float | None, digits: int = 1) -> str:
    """Write a number with this many decimals, nothing as a dash."""
    return DASH if value is None or math.isnan(value) else f"{value:.{digits}f}".replace("-", MINUS)


def percent(fraction: float | None, digits: int = 1) -> str:
    """Write a fraction in percent or points, without a sign of its own."""
    return fixed(None if fraction is None else 100 * fraction, digits)


def signed(fraction: float) -> str:
    """Write a difference of fractions in points, with its sign."""
    return f"{100 * fraction:+.1f}".replace("-", MINUS)


def bounds(low: float, high: float) -> str:
    """Write an interval of differences in points."""
    return f"[{signed(low)}, {signed(high)}]"


def interval(value: float, low: float, high: float) -> str:
    """Write a difference with its interval in points."""
    return f"{signed(value)} {bounds(low, high)}"


def points(estimate: Estimate | None) -> str:
    """Write an estimate with its interval in points, a log ratio as a factor, nothing as a dash."""
    if estimate is None:
        return DASH
    values = (estimate.value, estimate.low, estimate.high)
    if estimate.kind == "log_ratio":
        return "\N{MULTIPLICATION SIGN}{:.2f} [{:.2f}, {:.2f}]".format(*map(math.exp, values))
    return interval(*values)


def correlation(value: float) -> str:
    """Write a correlation with two decimals and no leading zero."""
    return f"{value:.2f}".replace("0.", ".", 1).replace("-", MINUS)


def p_value(p: float | None) -> str:
    """Write a p-value with three decimals and no leading zero."""
    if p is None or math.isnan(p):
        return DASH
    return "below .001" if p < 0.001 else f"{p:.3f}".replace("0.", ".", 1)


def short(value: float | None) -> str:
    """Write a large count with one decimal and k, M, G, T or P; nothing as a dash."""
    if value is None or math.isnan(value):
        return DASH
    for factor, unit in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.1f} {unit}"
    return f"{value:.0f}"


def size(params_b: float) -> str:
    """Write a number of parameters."""
    return f"{params_b:g}B" if params_b >= 1 else f"{1000 * params_b:.3g}M"


def count(value: float) -> str:
    """Write a count with a comma between thousands."""
    return f"{value:,.0f}"


def amount(value: float) -> str:
    """Write an amount with three significant digits."""
    return f"{value:,.3g}"


def money(value: float) -> str:
    """Write a price with two decimals and a comma between thousands."""
    return f"{value:,.2f}"


def hours(value: float) -> str:
    """Write a duration in hours, below one hour in minutes."""
    return f"{value:,.1f} h" if value >= 1 else f"{60 * value:,.1f} min"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Print a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
