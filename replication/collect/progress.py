"""Progress bars, interactive in a terminal and quiet in logs."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tqdm import tqdm


def bar(total: int, title: str, unit: str, *, scale: bool = False, position: int = 0) -> "tqdm":
    """Open a bar with count, rate, time left and free text; a log gets at most one line every 15 seconds.

    position : row of the bar in the terminal, 0 at the top; processes side by side use different rows.
    """
    from tqdm import tqdm

    interactive = sys.stderr.isatty()
    return tqdm(
        total=total, desc=title, unit=unit, unit_scale=scale, dynamic_ncols=interactive, ncols=None if interactive else 110,
        position=position if interactive else None,
        mininterval=0.3 if interactive else 15.0, maxinterval=1.0 if interactive else 30.0,
    )  # fmt: skip
