"""Format numbers, p-values, intervals and tables as printed: the one place that rounds."""

import math
import re
from collections.abc import Iterable, Sequence

from replication.records import Estimate

MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"


def fixed(value: float | None, digits: int = 1) -> str:
    """Format a number with this many decimals, a missing one as a dash."""
    return DASH if value is None or math.isnan(value) else f"{value:.{digits}f}".replace("-", MINUS)


def percent(fraction: float | None, digits: int = 1) -> str:
    """Format a fraction in percent or points, without a plus sign."""
    return fixed(None if fraction is None else 100 * fraction, digits)


def signed(fraction: float) -> str:
    """Format a difference of fractions in points, with its sign."""
    return f"{100 * fraction:+.1f}".replace("-", MINUS)


def bounds(low: float, high: float) -> str:
    """Format an interval of differences in points."""
    return f"[{signed(low)}, {signed(high)}]"


def interval(value: float, low: float, high: float) -> str:
    """Format a difference with its interval in points."""
    return f"{signed(value)} {bounds(low, high)}"


def points(estimate: Estimate | None) -> str:
    """Format an estimate with its interval in points, a log ratio as a factor, a missing one as a dash."""
    if estimate is None:
        return DASH
    values = (estimate.value, estimate.low, estimate.high)
    if estimate.kind == "log_ratio":
        return "\N{MULTIPLICATION SIGN}{:.2f} [{:.2f}, {:.2f}]".format(*map(math.exp, values))
    return interval(*values)


def correlation(value: float) -> str:
    """Format a correlation or another number in [-1, 1] with two decimals and no leading zero."""
    return f"{value:.2f}".replace("0.", ".", 1).replace("-", MINUS)


def p_value(p: float | None) -> str:
    """Format a p-value with three decimals and no leading zero, a missing one as a dash."""
    if p is None or math.isnan(p):
        return DASH
    return "below .001" if p < 0.001 else f"{p:.3f}".replace("0.", ".", 1)


def p_equation(p: float) -> str:
    """Format a p-value as `p = .031`, or `p < .001`."""
    return "p < .001" if p < 0.001 else f"p = {p_value(p)}"


def p_range(lowest: float, highest: float) -> str:
    """Format the range of several p-values, one value where both ends print alike."""
    low, high = p_equation(lowest), p_equation(highest)
    return low if low == high else f"{low} to {high.removeprefix('p ').removeprefix('= ')}"


def probability(p: float) -> str:
    """Format a probability with two digits and no leading zero, 1 where it rounds to 1."""
    return "1" if p >= 0.995 else f"{p:.2f}"[1:] if p >= 0.095 else f"{p:.3f}"[1:]


def plain(value: float, digits: int = 6) -> str:
    """Format a setting with at most this many significant digits and no trailing zeros."""
    return f"{value:.{digits}g}"


def positional(value: float) -> str:
    """Format a setting as `plain` does, without an exponent: 0.00002."""
    return f"{value:.12f}".rstrip("0").rstrip(".")


def bare(value: float) -> str:
    """Format a setting as `plain` does, without a leading zero: .05."""
    text = plain(value)
    return text[1:] if text.startswith("0.") else text


def scientific(value: float) -> str:
    """Format a large number as a power of ten, with its factor where that is not 1: 3×10¹²."""
    exponent = math.floor(math.log10(value) + 1e-9)
    factor = plain(value / 10**exponent, 3)
    power = "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return power if factor == "1" else f"{factor}\N{MULTIPLICATION SIGN}{power}"


def whole(value: float) -> int:
    """Round a count to the nearest integer."""
    return round(value)


def short(value: float | None) -> str:
    """Format a large count with one decimal and k, M, G, T or P, a missing one as a dash."""
    if value is None or math.isnan(value):
        return DASH
    for factor, unit in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.1f} {unit}"
    return f"{value:.0f}"


def size(params_b: float) -> str:
    """Format a number of parameters, given in billions."""
    return f"{plain(params_b)}B" if params_b >= 1 else f"{plain(1000 * params_b, 3)}M"


def count(value: float) -> str:
    """Format a count with a comma between thousands."""
    return f"{value:,.0f}"


def amount(value: float) -> str:
    """Format an amount with three significant digits."""
    rounded = f"{value:.3g}"
    return f"{float(rounded):,.0f}" if "e+" in rounded else rounded


def money(value: float) -> str:
    """Format a price with two decimals and a comma between thousands."""
    return f"{value:,.2f}"


def hours(value: float) -> str:
    """Format a duration in hours, below one hour in minutes."""
    return f"{value:,.1f} h" if value >= 1 else f"{60 * value:,.1f} min"


def escaped(text: str) -> str:
    """Escape a text so that Markdown prints it as it is, on one line."""
    return re.sub(r"([\\`*\[\]<>$~#&])|(?<!\w)_|_(?!\w)", r"\\\g<0>", " ".join(text.split()))


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, indent: str = "", n_left: int = 1) -> list[str]:
    """Format a plain-text table as lines: columns two spaces apart, the first `n_left` aligned left, the others right."""
    lines = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        (
            indent
            + "  ".join(
                cell.ljust(width) if i < n_left else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
        ).rstrip()
        for line in lines
    ]


def labels(names: Sequence[str], most: int) -> list[str]:
    """Shorten names to `most` characters each so that different names stay different.

    A long name loses its end; those that would look alike lose their middle, and are numbered where even these are alike.
    """
    head = (most - 1) // 2
    ends = [name if len(name) <= most else f"{name[: most - 1]}{ELLIPSIS}" for name in names]
    short: list[str] = []
    for name, end in zip(names, ends, strict=True):
        alike = len(name) > most and ends.count(end) > 1
        cut = f"{name[:head]}{ELLIPSIS}{name[head + 1 - most :]}" if alike else end
        number, free = 1, cut
        while free in short:
            number += 1
            free = f"{cut[: most - len(f'#{number}')]}#{number}"
        short.append(free)
    return short
