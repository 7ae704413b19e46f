"""A program: runs a command and ends its process group when the process that started us ends, however that ends.

Standard library only, and no import of ours: it stays in memory as long as the command. The other end of its standard
input is held by the process that started it, which thereby ends the group also when it is killed.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

PATIENCE_S = 15.0
"""Seconds from the request to end until the group is killed."""


def main(command: list[str]) -> None:
    """Run the command; this process must lead its process group."""
    assert os.getpgrp() == os.getpid(), "start with start_new_session=True"
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # a function, since the command would inherit that a signal is ignored
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    ended = threading.Event()

    def wait_for_starter() -> None:
        sys.stdin.buffer.read()
        ended.set()

    def wait_for_child() -> None:
        code = child.wait()
        print(f"the command ended with exit code {code}", flush=True)
        ended.set()

    for target in (wait_for_starter, wait_for_child):
        threading.Thread(target=target, daemon=True).start()
    ended.wait()
    os.killpg(0, signal.SIGTERM)
    until = time.monotonic() + PATIENCE_S
    while child.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    # What the command left behind, and this process.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1:])
