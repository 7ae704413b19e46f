"""Keep the two threads of an engine on one core while they take turns, because what one leaves in the cache the other needs.

The thread that steps a small model and the one that plays the episodes wait for each other. A scheduler wakes a thread on
an idle core, where nothing of the last turn is in the cache: on two cores that made a step a seventh slower. A core that is
chosen once could be another command's too, so the scheduler chooses anew every few steps.
"""

import contextlib
import os
from collections.abc import Set
from pathlib import Path

PERIOD = 64
"""Turns of which one is made wherever the scheduler likes."""
_PROCESSOR = 36
"""Field of /proc/*/stat after the name: the core that the thread was last on."""


class OneCore:
    """Keeps a thread and its partner on one core of those that may be used where this is created."""

    def __init__(self) -> None:
        self._allowed: Set[int] = os.sched_getaffinity(0)
        self._n_turns = 0
        self._partner: int | None = None

    @staticmethod
    def is_possible() -> bool:
        """Tell whether this system places threads."""
        return hasattr(os, "sched_setaffinity") and Path("/proc/thread-self/stat").exists()

    def turn(self, partner: int) -> None:
        """Begin a turn of the calling thread. partner : native id of the thread that has the next one."""
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
