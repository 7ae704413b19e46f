"""Progress bars that are lively in a terminal and sparing in a log."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tqdm import tqdm


def bar(total: int, title: str, unit: str, *, scale: bool = False, line: int = 0) -> "tqdm":
    """Open a bar with count, rate, time left and free text; a log gets a line at most every 15 seconds.

    line : below how many bars of other processes it stands.
    """
    from tqdm import tqdm

    lively = sys.stderr.isatty()
    return tqdm(
        total=total, desc=title, unit=unit, unit_scale=scale, dynamic_ncols=lively, ncols=None if lively else 110,
        position=line if lively else None,
        mininterval=0.3 if lively else 15.0, maxinterval=1.0 if lively else 30.0,
    )  # fmt: skip
