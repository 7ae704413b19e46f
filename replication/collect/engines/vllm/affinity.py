"""Run the two threads of an engine on the same core, since they share data and only one of them works at a time.

The stepping thread waits while the event loop handles its outputs, and the loop waits during a step. Linux wakes a waiting
thread on an idle core, whose cache holds none of the data: with a small model on two cores, steps took a seventh longer.

The core is not fixed for the whole run, because another process might use it. Once every `PERIOD` steps both threads may run
on any core for one step, and are then bound to the core that the stepping thread is on.
"""

import contextlib
import os
from collections.abc import Set
from pathlib import Path

PERIOD = 64
"""Steps of which one is made without being bound to a core."""
_PROCESSOR = 36
"""Field of /proc/*/stat after the name: the core that the thread was last on."""


class OneCore:
    """Binds a thread and its partner to one of the cores that the thread which creates this may use."""

    def __init__(self) -> None:
        self._allowed: Set[int] = os.sched_getaffinity(0)
        self._n_turns = 0
        self._partner: int | None = None

    @staticmethod
    def is_possible() -> bool:
        """Tell whether this system places threads."""
        return hasattr(os, "sched_setaffinity") and Path("/proc/thread-self/stat").exists()

    def turn(self, partner: int) -> None:
        """Bind the calling thread and its partner for its next step. partner : native id of a thread."""
        if partner != self._partner:
            self.release()
            self._partner = partner
        phase = self._n_turns % PERIOD
        self._n_turns += 1
        if phase == 0:
            self._place(self._allowed)
        elif phase == 1:
            self._place({_core()})

    def release(self) -> None:
        """Let both threads run anywhere."""
        if self._n_turns:
            self._place(self._allowed)
        self._n_turns = 0

    def _place(self, cores: Set[int]) -> None:
        for thread in (0, self._partner):
            if thread is not None:
                with contextlib.suppress(OSError):  # the partner has ended, or the machine has taken the core away
                    os.sched_setaffinity(thread, cores)


def _core() -> int:
    """Return the core that this thread is on."""
    return int(Path("/proc/thread-self/stat").read_bytes().rpartition(b")")[2].split()[_PROCESSOR])
