"""Program that runs in the environment of Claw-Eval: calls its batch command, which keeps the trials of an earlier call.

Run: python -P claw_eval_driver.py FOLDER ARGUMENT ...    of `claw-eval batch`, whose traces are in FOLDER

`batch --continue` plays the trials without a grade and rebuilds batch_results.json from the traces. Rebuilding drops failed
trials and sorts trials by the random names of their traces, so this driver puts failed trials back and sorts by time. The
summary that a resumed call writes covers only what that call played, so it is removed.
"""

import json
import sys
from pathlib import Path
from typing import Any

RESULTS, SUMMARY = "batch_results.json", "batch_summary.json"


def main(folder: str, *arguments: str) -> None:
    """Play what is missing and write the results of all."""
    from claw_eval import cli

    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    of_traces, calls = cli._load_completed_results, []

    def results(trace_dir: Path) -> list[dict[str, Any]]:
        calls.append(trace_dir)
        return with_failures(in_order(of_traces(trace_dir)), read(place / RESULTS) if len(calls) > 1 else [])

    cli._load_completed_results = results
    had_traces = bool(of_traces(place))
    cli.main(["batch", *arguments, "--continue", folder])
    if len(calls) == 1:  # nothing was left to play, but an interrupted call may have written fewer results than traces
        (place / RESULTS).write_text(json.dumps(in_order(of_traces(place))), encoding="utf-8")
    if had_traces:
        (place / SUMMARY).unlink(missing_ok=True)


def read(path: Path) -> list[dict[str, Any]]:
    """Read the results that the call has written so far, after each task."""
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    return found


def in_order(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return results whose trials stand in the order in which they were graded; the names of traces are random."""
    for result in results:
        result["trials"].sort(key=lambda trial: Path(trial["trace"]).stat().st_mtime_ns)
    return results


def with_failures(results: list[dict[str, Any]], of_call: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add trials and tasks that failed in this call; the tool's own rebuilding leaves them out."""
    by_task = {result["task_id"]: result for result in results}
    for played in of_call:
        failed = [trial for trial in played.get("trials", []) if trial.get("error")]
        if not failed and not played.get("error"):
            continue
        result = by_task.setdefault(played["task_id"], played | {"trials": []})
        result["trials"] += failed
        result["error"] = played.get("error") if not any(not trial.get("error") for trial in result["trials"]) else None
    return list(by_task.values())


if __name__ == "__main__":
    main(*sys.argv[1:])
