"""The files of bfcl-eval: rows that failed are taken out so that they run again, the others become rows of ours.

The harness writes a failed request as an ordinary result with a `traceback`, never asks again, and grades it: as wrong, or
as right where no call is right. Its score files list failing items only, so an item passed if it has a result there and no
score entry.
"""

import csv
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from replication.collect.interfaces import ItemResult
from replication.errors import HarnessError
from replication.files import write_json, write_text
from replication.records import Json, StopReason

PREFIX = "BFCL_v4_"
ERRORS = "errors.json"
"""In the folder of an attempt: {item: {kind, text}} of items whose last request failed."""
ITEMS = "items.json"
FAILURE = "Error during inference"

NON_LIVE = ("simple_python", "simple_java", "simple_javascript", "multiple", "parallel", "parallel_multiple")
IRRELEVANCE = ("irrelevance", "live_irrelevance")
LIVE = ("live_simple", "live_multiple", "live_parallel", "live_parallel_multiple")
MULTI_TURN = ("multi_turn_base", "multi_turn_miss_func", "multi_turn_miss_param", "multi_turn_long_context")
MEMORY = ("memory_kv", "memory_rec_sum", "memory_vector")
WEB = ("web_search_base", "web_search_no_snippet")
CATEGORIES = (*NON_LIVE, *IRRELEVANCE, *LIVE, "live_relevance", *MULTI_TURN, *MEMORY, *WEB)
"""All that are scored; live_relevance is in no composite."""
OFFLINE = tuple(name for name in CATEGORIES if name not in (*WEB, "memory_vector"))
"""Those that need neither a search service nor another model."""

KINDS: Mapping[str, tuple[StopReason, float | None]] = {
    "context_overflow": ("context_overflow", 0.0), "malformed": ("malformed", 0.0),
    "prompt_too_long": ("prompt_too_long", None), "request_refused": ("request_refused", None),
    "forbidden": ("request_refused", None), "engine_error": ("engine_error", None),
    "harness_error": ("environment_error", None), "missing": ("environment_error", None),
}  # fmt: skip
"""Stop reason and value by kind of failure, which the proxy states. The first two are the model's: its own turns filled the
context, or it wrote a call that no server accepts as part of a conversation. The others have no score."""
FINAL = ("context_overflow", "malformed", "prompt_too_long")
"""Kinds that end in the same way if the item runs again."""


class Selection(NamedTuple):
    """The items of a run."""

    items: dict[str, list[str]]
    """By category, in the order of the harness."""
    prerequisites: dict[str, list[str]]
    """Conversations that must run before the items of a category."""

    def category(self) -> dict[str, str]:
        """Return the category by item."""
        return {item: category for category, items in self.items.items() for item in items}


def selection(path: Path, categories: Sequence[str], n: int | None) -> Selection:
    """Read the ids that the driver wrote, and take the first `n` of each category."""
    listed = json.loads(path.read_text(encoding="utf-8"))
    return Selection(
        {category: listed[category]["items"][:n] for category in categories},
        {category: listed[category]["prerequisites"] for category in categories},
    )


def result_files(folder: Path) -> dict[str, list[Path]]:
    """Return the files of results by category; those of prerequisites belong to their category."""
    found: dict[str, list[Path]] = {}
    for path in sorted((folder / "result").rglob(f"{PREFIX}*_result.json")):
        category = path.name.removeprefix(PREFIX).removesuffix("_result.json").removesuffix("_prereq")
        found.setdefault(category, []).append(path)
    return found


def prune(folder: Path, chosen: Selection) -> dict[str, dict[str, str]]:
    """Take failed, repeated and partial rows out of the results, and return the failures by item.

    Memory items depend on conversations before them: if one of those failed, the whole category is taken out.
    """
    failures: dict[str, dict[str, str]] = _json(folder / ERRORS) if (folder / ERRORS).is_file() else {}
    for category, paths in result_files(folder).items():
        kept = {path: _whole_rows(path) for path in paths}
        failed = {row["id"]: _failure(row) for rows in kept.values() for row in rows if _is_failure(row)}
        finished = {row["id"] for rows in kept.values() for row in rows} - set(failed)
        if not finished >= set(chosen.prerequisites.get(category, ())):
            kept, finished = {path: [] for path in paths}, set()
            for snapshots in (folder / "result").glob(f"*/memory_snapshot/{category}"):
                shutil.rmtree(snapshots)
        failures = {item: failure for item, failure in (failures | failed).items() if item not in finished}
        for path, rows in kept.items():
            text = "".join(json.dumps(row) + "\n" for row in rows if not _is_failure(row))
            if text != path.read_text(encoding="utf-8", errors="replace"):
                write_text(path, text)
    write_json(folder / ERRORS, failures)
    return failures


def _whole_rows(path: Path) -> list[dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
            rows.setdefault(row["id"], row)
        except (ValueError, KeyError, TypeError):  # cut off by an interruption
            continue
    return list(rows.values())


def _is_failure(row: Mapping[str, Any]) -> bool:
    return "traceback" in row or str(row.get("result", FAILURE)).startswith(FAILURE)


def _failure(row: Mapping[str, Any]) -> dict[str, str]:
    text = str(row.get("result"))
    # The proxy's message starts with the kind, and the client of the harness quotes it.
    kind = next((kind for kind in KINDS if f"'{kind}: " in text or f'"{kind}: ' in text), "harness_error")
    return {"kind": kind, "text": text[:500]}


def unfinished(folder: Path, chosen: Selection, failures: Mapping[str, Mapping[str, str]]) -> dict[str, list[str]]:
    """Return the items to generate by category, with the prerequisites of those that have any."""
    finished = {row["id"] for paths in result_files(folder).values() for path in paths for row in _whole_rows(path)}
    final = {item for item, failure in failures.items() if failure["kind"] in FINAL}
    todo = {
        category: [item for item in items if item not in finished | final] for category, items in chosen.items.items()
    }
    return {category: [*chosen.prerequisites[category], *items] for category, items in todo.items() if items}


class Graded(NamedTuple):
    """The rows of one attempt at all items, and what is wrong with its files."""

    results: list[ItemResult]
    problems: list[str]


def graded(folder: Path, chosen: Selection, trial: int) -> Graded:
    """Join results, scores and failures of an attempt: one row per item of the selection."""
    failures = _json(folder / ERRORS) if (folder / ERRORS).is_file() else {}
    results, problems = [], []
    files = result_files(folder)
    others = sorted(set(files) - set(chosen.items))
    if others:
        problems.append(f"`{folder}` has results of `{others[0]}`, which is not in `options.categories`.")
    for category, items in chosen.items.items():
        rows: dict[str, dict[str, Any]] = {}
        for path in files.get(category, []):
            found = _whole_rows(path)
            if len(found) != len(path.read_text(encoding="utf-8").splitlines()):
                problems.append(f"`{path}` has an item twice, or a partial line.")
            rows |= {row["id"]: row for row in found if "prereq" not in row["id"]}
        problems += [
            f"`{folder}` has a failed request as result of `{item}`." for item in rows if _is_failure(rows[item])
        ]
        problems += [
            f"`{folder}` has a result of `{item}`, which is not selected." for item in sorted(set(rows) - set(items))
        ]
        failing = _failing(folder, category, rows, problems)
        for item in items:
            source = f"{folder.name}/{category}/{item}"
            if item in rows:
                results.append(_row(rows[item], failing.get(item), category, trial, source))
            else:
                results.append(_unfinished_row(item, failures.get(item), category, trial, source))
    return Graded(results, problems)


def _failing(folder: Path, category: str, rows: Mapping[str, Any], problems: list[str]) -> dict[str, str]:
    """Return the kind of error by failing item; the counts of the score file must be those of the results."""
    paths = sorted((folder / "score").rglob(f"{PREFIX}{category}_score.json"))
    if len(paths) != 1:
        if rows:
            problems.append(f"`{folder}` has {len(paths)} score files of `{category}`; one is needed.")
        return {}
    header, *entries = [json.loads(line) for line in paths[0].read_text(encoding="utf-8").splitlines()]
    failing = {entry["id"]: _error_type(entry) for entry in entries}
    counts = (header["total_count"], header["correct_count"])
    if counts != (len(rows), len(rows) - len(failing)) or not set(failing) <= set(rows):
        problems.append(
            f"`{paths[0]}` counts {counts[1]} of {counts[0]} right, the results {len(rows) - len(failing)} of {len(rows)}."
        )
    return failing


def _error_type(entry: Mapping[str, Any]) -> str:
    error = entry.get("error")
    kind = entry.get("error_type") or (error.get("error_type") if isinstance(error, dict) else None)
    return str(kind or "wrong")


def _row(row: Mapping[str, Any], error_type: str | None, category: str, trial: int, source: str) -> ItemResult:
    details: dict[str, Json] = {"status": "ok", "category": category}
    if error_type is not None:
        details["error_type"] = error_type
    return ItemResult(
        task_id=row["id"], trial=trial, value=float(error_type is None), stop_reason="answer",
        n_turns=_count(row.get("output_token_count", 0)), n_prompt_tokens=int(_total(row.get("input_token_count", 0))),
        n_completion_tokens=int(_total(row.get("output_token_count", 0))), wall_s=_total(row.get("latency", 0)),
        details=details, source=source,
    )  # fmt: skip


def _unfinished_row(item: str, failure: Mapping[str, str] | None, category: str, trial: int, source: str) -> ItemResult:
    failure = failure or {"kind": "missing", "text": "the harness reports no result"}
    stop_reason, value = KINDS[failure["kind"]]
    details: dict[str, Json] = {"status": failure["kind"], "category": category}
    return ItemResult(
        task_id=item,
        trial=trial,
        value=value,
        stop_reason=stop_reason,
        error=failure["text"],
        details=details,
        source=source,
    )


def _total(value: Any) -> float:
    """Sum counts or times, which are nested by turn and step in conversations."""
    return sum(map(_total, value)) if isinstance(value, list) else float(value)


def _count(value: Any) -> int:
    return sum(map(_count, value)) if isinstance(value, list) else 1


def overall(results: Sequence[ItemResult]) -> float | None:
    """Return the weighted score of an attempt; None unless every item of every category has a score.

    Rule of `generate_leaderboard_csv` in bfcl_eval/eval_checker/eval_runner_helper.py, 2026.3.23, which counts a category
    that was not run as 0.
    """
    values: dict[str, list[float | None]] = {}
    for result in results:
        values.setdefault(str(result.details["category"]), []).append(result.value)
    if set(values) != set(CATEGORIES) or any(value is None for row in values.values() for value in row):
        return None
    mean = {category: _mean(row) for category, row in values.items()}
    non_live = _mean([_mean([mean[name] for name in NON_LIVE[:3]]), *(mean[name] for name in NON_LIVE[3:])])
    live = _mean([value for name in LIVE for value in values[name]])
    agentic = _mean([_mean([mean[name] for name in group]) for group in (MEMORY, WEB)])
    parts = (
        non_live,
        live,
        _mean([mean[name] for name in IRRELEVANCE]),
        _mean([mean[name] for name in MULTI_TURN]),
        agentic,
    )
    return sum(weight * part for weight, part in zip((0.1, 0.1, 0.1, 0.3, 0.4), parts, strict=True))


def _mean(values: Sequence[float | None]) -> float:
    return sum(value for value in values if value is not None) / len(values)


def overall_of_harness(folder: Path) -> float:
    """Read the same from the harness's own table, which rounds it to hundredths of a point."""
    with (folder / "score" / "data_overall.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if len(rows) != 1:
        raise HarnessError(f"`{folder}/score/data_overall.csv` has {len(rows)} models; one is needed.")
    return float(rows[0]["Overall Acc"].rstrip("%")) / 100


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
