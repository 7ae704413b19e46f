"""Published numbers as CSV files, each row with its source, and the loader that refuses doubtful rows.

`published_scores.csv`  table 9 of the paper, one row per arm, benchmark and metric, as printed
`benchmarks.csv`        the benchmarks those rows speak about
`paper_tables.csv`      the paper's other tables and figures
`public_scores.csv`     the public model of the same size, beside the paper's two arms
`pairs.csv`             agent-tuned models and general ones of the same base on one official leaderboard
`other_pairs.csv`       such pairs from other publications
`general.csv`           general models on the same leaderboard
`attempts.csv`          what others measured or reported
`drift.csv`             what became of the paper's sentences in the press
`unspecified.csv`       what the paper leaves open, per benchmark

`python -m replication evidence` prints them. A table of one's own is read by the same loaders:
`load_scores(Path("mine.csv"))`. Not checked: whether a source says what the row says it does; that is for a reader.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from replication.errors import EvidenceError

FOLDER = Path(__file__).parent

SCORE_TYPES = ("binary", "bounded", "composite")
CERTAINTIES = ("read", "inferred")
BASES = ("read", "inferred", "alternative", "unknown")
"""How the general partner of a pair is known to be its base: `alternative` is a second candidate, `unknown` is not one."""

STATED = ("yes", "partly", "no")
DRIFTS = ("kept", "widened", "changed", "mixed up", "reversed", "invented")


def load_scores(path: Path = FOLDER / "published_scores.csv") -> pd.DataFrame:
    """Read a table of published scores.

    Columns of the file
    -------------------
    table, arm, benchmark, metric : what was measured on what; together the key of a row
    params_b : size of the model in billions of parameters, may be empty
    score_type : binary, bounded (any value in [0, 1] per task), composite (weighted mean of the rows with a `weight`)
    value_percent : the number as printed, with its decimals; a fraction is refused
    n_tasks, n_clusters : items, and independent items among them; `n_clusters` is empty for a composite
    runs : independent runs averaged; empty where the source does not say
    weight : share of this row in the composite of its benchmark, empty elsewhere
    source, date_read, certainty : where the number was read, when (YYYY-MM-DD), and `read` or `inferred`
    note : anything a reader must know

    Added: `value` (fraction) and `decimals` (as printed).
    """
    table = _read(
        path,
        key=["table", "arm", "benchmark", "metric"],
        columns={
            "table": _text, "arm": _text, "params_b": _optional(_positive), "benchmark": _text, "metric": _text,
            "score_type": _one_of(SCORE_TYPES), "value_percent": _percent, "n_tasks": _count,
            "n_clusters": _optional(_count), "runs": _optional(_count), "weight": _optional(_positive),
            "source": _text, "date_read": _date, "certainty": _one_of(CERTAINTIES), "note": str,
        },
    )  # fmt: skip
    printed = table["value_percent"]
    table["value"] = printed.astype(float) / 100
    table["decimals"] = printed.str.partition(".")[2].str.len()
    return table


def load_benchmarks(path: Path = FOLDER / "benchmarks.csv") -> pd.DataFrame:
    """Read the table of benchmarks: id, name, n_tasks, primary_metric, runs_in_paper, protocol facts, source."""
    return _read(
        path,
        key=["id"],
        columns={
            "id": _text, "name": _text, "n_tasks": _count, "primary_metric": _text, "runs_in_paper": _optional(_count),
            "resources_in_paper": str, "judge": str, "source": _text, "date_read": _date,
            "certainty": _one_of(CERTAINTIES), "note": str,
        },
    )  # fmt: skip


def load_tables(path: Path = FOLDER / "paper_tables.csv") -> pd.DataFrame:
    """Read the paper's other tables: as `load_scores`, with `experiment` and `start` (the model it began from).

    n_tasks, n_clusters and runs are empty where no source states them. Added: `value` (fraction), `decimals`.
    """
    table = _read(
        path,
        key=["table", "start", "arm", "benchmark", "metric"],
        columns={
            "table": _text, "experiment": _text, "start": str, "arm": _text, "benchmark": _text, "metric": _text,
            "value_percent": _percent, "n_tasks": _optional(_count), "n_clusters": _optional(_count),
            "runs": _optional(_count), **_ORIGIN,
        },
    )  # fmt: skip
    return _with_fractions(table, {"value_percent": "value"})


def load_public(path: Path = FOLDER / "public_scores.csv") -> pd.DataFrame:
    """Read scores of a public model beside those of the paper's two arms.

    `published_in` names the publication, the same score may stand in several. `sft_percent`, `lwm_rl_percent` are empty
    where the paper prints no such metric. Added: `value`, `sft`, `lwm_rl` (fractions) and `decimals`.
    """
    table = _read(
        path,
        key=["model", "benchmark", "metric", "published_in"],
        columns={
            "model": _text, "benchmark": _text, "metric": _text, "value_percent": _percent,
            "sft_percent": _maybe_percent, "lwm_rl_percent": _maybe_percent, "n_tasks": _count, "runs": _optional(_count),
            "published_in": _text, **_ORIGIN,
        },
    )  # fmt: skip
    return _with_fractions(table, {"value_percent": "value", "sft_percent": "sft", "lwm_rl_percent": "lwm_rl"})


def load_pairs(path: Path = FOLDER / "pairs.csv") -> pd.DataFrame:
    """Read scores of an agent-tuned model and of a general model of the same base, one row per benchmark and metric.

    Columns of the file
    -------------------
    pair, family : name of the pair, and of the series of agent-tuned models it belongs to
    agent, general, general_mode : the two models; FC or Prompt for the general one, may be empty
    base_identity : how the general model is known to be the base: read, inferred, alternative (a second candidate for the
        same agent), unknown (no base, or a comparator that is not one)
    params_b, active_b : size, and active parameters of a mixture of experts, billions
    agent_percent, general_percent : as printed; one of them may be empty, not both
    n_tasks, n_clusters : items, and independent items they are worth; empty where unknown
    runs : empty where the source does not say
    agent_date, general_date : dates of the leaderboard update, both set and unequal where they differ

    Added: `p_agent`, `p_general` (fractions) and `same_update` (both values stand in one publication or update).
    `n_clusters` of a composite is 1/sum(w^2/n) over its parts, which takes the parts' variances as equal.
    """
    table = _read(
        path,
        key=["pair", "benchmark", "metric", "agent_date", "general_date", "measured_by"],
        columns={
            "pair": _text, "family": _text, "agent": str, "general": str, "general_mode": str,
            "base_identity": _one_of(BASES), "params_b": _positive, "active_b": _optional(_positive), "licence": str,
            "benchmark": _text, "metric": _text, "agent_percent": _maybe_percent, "general_percent": _maybe_percent,
            "n_tasks": _optional(_count), "n_clusters": _optional(_count), "runs": _optional(_count),
            "agent_date": _maybe_date, "general_date": _maybe_date, "measured_by": _text, **_ORIGIN,
        },
    )  # fmt: skip
    empty = (table["agent_percent"] == "") & (table["general_percent"] == "")
    if empty.any():
        message = (
            f"{path.name}, row {_line(empty)}, columns `agent_percent`, `general_percent`: one of the two is needed."
        )
        raise EvidenceError(message)
    table = _with_fractions(table, {"agent_percent": "p_agent", "general_percent": "p_general"})
    table["same_update"] = (table["agent_date"] == table["general_date"]) & (table["general_percent"] != "")
    return table.drop(columns="decimals")


def load_general(path: Path = FOLDER / "general.csv") -> pd.DataFrame:
    """Read scores of general models: model, family, params_b, active_b, mode, measured_by, date, benchmark, metric, value.

    Added: `value` (fraction), `decimals`.
    """
    table = _read(
        path,
        key=["model", "mode", "measured_by", "date", "benchmark", "metric"],
        columns={
            "model": _text, "family": _text, "params_b": _positive, "active_b": _optional(_positive), "mode": str,
            "measured_by": _text, "date": _maybe_date, "benchmark": _text, "metric": _text, "value_percent": _percent,
            "n_tasks": _count, "n_clusters": _count, "runs": _optional(_count), "licence": str, **_ORIGIN,
        },
    )  # fmt: skip
    return _with_fractions(table, {"value_percent": "value"})


def load_attempts(path: Path = FOLDER / "attempts.csv") -> pd.DataFrame:
    """Read what others measured: attempt, date, model, setup, benchmark, value and comparator_value in `unit`, finding.

    Values keep their text and may be empty; `date` is free text, since some span days or give the month only.
    `replicates_table9` is yes where the attempt repeats the paper's experiment.
    """
    return _read(
        path,
        key=["attempt", "benchmark", "setup"],
        columns={
            "attempt": _text, "date": str, "model": str, "setup": _text, "benchmark": str, "value": _maybe_number,
            "comparator": str, "comparator_value": _maybe_number, "unit": str, "n_tasks": _optional(_count),
            "runs": _optional(_count), "replicates_table9": _one_of(("yes", "no")), "finding": _text, **_ORIGIN,
        },
    )  # fmt: skip


def load_drift(path: Path = FOLDER / "drift.csv") -> pd.DataFrame:
    """Read what the press made of the paper, one row per sentence: paper, press (paraphrased), drift, needed, exists.

    `claim` is the proposition it bears on; `drift` is one of DRIFTS; `needed` and `exists` say which evidence the
    sentence in the press would need, and which there is.
    """
    return _read(
        path,
        key=["id"],
        columns={
            "id": _text, "claim": _one_of(("A", "B", "C", "D", "E", "P")), "paper": _text, "press": _text, "outlet": _text,
            "drift": _one_of(DRIFTS), "needed": str, "exists": _text, **_ORIGIN,
        },
    )  # fmt: skip


def load_unspecified(path: Path = FOLDER / "unspecified.csv") -> pd.DataFrame:
    """Read what the paper leaves open: benchmark, setting, stated (yes, partly, no), known, nearest public value."""
    return _read(
        path,
        key=["benchmark", "setting"],
        columns={
            "benchmark": _text, "setting": _text, "stated": _one_of(STATED), "known": str, "nearest": str, **_ORIGIN,
        },
    )  # fmt: skip


def _with_fractions(table: pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    """Add fractions of printed percentages, NaN where empty, and the printed decimals of the first column."""
    for printed, name in columns.items():
        table[name] = pd.to_numeric(table[printed]) / 100
    table["decimals"] = table[next(iter(columns))].str.partition(".")[2].str.len()
    return table


def _read(path: Path, key: list[str], columns: Mapping[str, Callable]) -> pd.DataFrame:
    """Read a CSV file as text and convert it column by column; an error names row (line of the file) and column."""
    try:
        raw = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise EvidenceError(f"{path} cannot be read as a CSV table: {error}") from error
    missing = [column for column in columns if column not in raw]
    if missing:
        raise EvidenceError(f"{path.name}: column `{missing[0]}` is missing; needed are {', '.join(columns)}.")
    unknown = [column for column in raw if column not in columns]
    if unknown:
        raise EvidenceError(f"{path.name}: column `{unknown[0]}` is unknown; allowed are {', '.join(columns)}.")
    if raw.empty:
        raise EvidenceError(f"{path.name}: the table has no rows.")
    converted = {}
    for column, convert in columns.items():
        values = []
        for line, text in enumerate(raw[column], start=2):
            try:
                values.append(convert(text.strip()))
            except ValueError as error:
                message = f"{path.name}, row {line}, column `{column}`: {error}; got {text!r}."
                raise EvidenceError(message) from None
        converted[column] = values
    table = pd.DataFrame(converted)
    repeated = table.duplicated(key)
    if repeated.any():
        raise EvidenceError(
            f"{path.name}, row {_line(repeated)}, columns `{'`, `'.join(key)}`: repeats an earlier row."
        )
    return table


def _line(wrong: pd.Series) -> int:
    """Number the first wrong row as a line of the file."""
    return int(wrong.to_numpy().argmax()) + 2


def _text(text: str) -> str:
    if not text:
        raise ValueError("must not be empty")
    return text


def _one_of(allowed: tuple[str, ...]) -> Callable[[str], str]:
    def convert(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return text

    return convert


def _optional(convert: Callable[[str], float]) -> Callable[[str], float]:
    return lambda text: convert(text) if text else float("nan")


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ValueError("must be a number") from None
    if not 0 < number < float("inf"):
        raise ValueError("must be a finite number above 0")
    return number


def _count(text: str) -> int:
    number = _positive(text)
    if number != int(number):
        raise ValueError("must be a whole number")
    return int(number)


def _percent(text: str) -> str:
    """Keep the printed digits; a value between 0 and 1 is taken for a fraction unless a percent sign says otherwise."""
    bare = text.removesuffix("%").strip()
    number = _positive(bare) if bare not in ("0", "0.0", "0.00") else 0.0
    if 0 < number < 1 and bare == text:
        raise ValueError("must be a percentage, this looks like a fraction (below one percent, write the sign: 0.50%)")
    if number > 100:
        raise ValueError("must be at most 100")
    return bare


def _maybe_percent(text: str) -> str:
    return _percent(text) if text else ""


def _maybe_number(text: str) -> str:
    try:
        finite = not text or abs(float(text)) < float("inf")
    except ValueError:
        finite = False
    if not finite:
        raise ValueError("must be a finite number or empty")
    return text


def _date(text: str) -> str:
    import datetime

    try:
        return datetime.date.fromisoformat(text).isoformat()
    except ValueError:
        raise ValueError("must be a date YYYY-MM-DD") from None


def _maybe_date(text: str) -> str:
    return _date(text) if text else ""


_ORIGIN = {"source": _text, "date_read": _date, "certainty": _one_of(CERTAINTIES), "note": str}
"""The columns with which every table ends."""

TABLES: Mapping[str, tuple[str, Callable[..., pd.DataFrame]]] = {
    "scores": ("published_scores.csv", load_scores),
    "benchmarks": ("benchmarks.csv", load_benchmarks),
    "paper_tables": ("paper_tables.csv", load_tables),
    "public": ("public_scores.csv", load_public),
    "pairs": ("pairs.csv", load_pairs),
    "other_pairs": ("other_pairs.csv", load_pairs),
    "general": ("general.csv", load_general),
    "attempts": ("attempts.csv", load_attempts),
    "drift": ("drift.csv", load_drift),
    "unspecified": ("unspecified.csv", load_unspecified),
}
"""Every table by name: its file here and its loader."""
