"""Run a whole study: `python -m replication replicate study=controlled`; the command behind `make replicate`.

Each stage is a separate process, so that training and serving never share memory or threads. A stage keeps existing
results, so the same command resumes after any interruption. A signal ends the stage and all its processes too.
"""

import sys
import time

from replication.processes import run_stage

STAGES = (
    ("train", "train the organisms"),
    ("run", "collect episodes on vLLM"),
    ("official", "run official harnesses"),
    ("paper", "analyse, draw, write the paper"),
)


def main(overrides: list[str]) -> int:
    """Run the stages in order; stops at the first that fails and returns its exit code."""
    for number, (stage, title) in enumerate(STAGES, 1):
        started = time.monotonic()
        print(f"[{number}/{len(STAGES)}] {title}", flush=True)
        code = run_stage([sys.executable, "-m", "replication", stage, *overrides])
        if code:
            print(
                f"stage `{stage}` failed with exit code {code}. Fix the error above and run the same command: it resumes.",
                file=sys.stderr,
            )
            return code
        print(f"      {time.monotonic() - started:.1f} s", flush=True)
    return 0
