"""Freeze a study: copy what is analysed out of the store into paper/data/<study>, and read it back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from replication.errors import AnalysisError
from replication.files import DIGITS, write_csv, write_json
from replication.records import Json

if TYPE_CHECKING:
    import pandas as pd


class Frozen(NamedTuple):
    """A study as frozen under paper/data/<study>."""

    scores: pd.DataFrame
    """Of agents; the probe has a table of its own."""
    training: pd.DataFrame
    curves: pd.DataFrame
    about: Mapping[str, Json]
    """manifest.json: the study's index without its training runs: scope, deviations, run_ids, manifest, repeat_checks and,
    where the study states them, comparisons, levels (scale -> benchmark -> levels), domains (benchmark -> in or out)."""
    probe: pd.DataFrame | None
    """None where no checkpoint was asked to predict observations."""


FROZEN = ("scores.csv", "training.csv", "curves.csv", "manifest.json")
PROBE = ("arm", "scale", "params_b", "training_seed", "benchmark", "task_id", "trial", "value", "token_f1")
CURVE_KEY = ("arm", "scale", "training_seed")
CURVE = ("step", "phase", "n_tokens", "loss", "lr", "wall_s", "reward")
TRAINING = (
    "arm", "scale", "training_seed", "training_run", "params_b", "n_parameters", "weights_sha256", "n_tokens",
    "n_sampled_tokens", "flops", "wall_s", "joules", "device",
)  # fmt: skip
"""A column that older data lacks is empty."""


def freeze(study: str, results: Path, data: Path) -> list[Path]:
    """Copy a collected study out of the store; without one, leave what is frozen and say so if nothing is."""
    index = results / "studies" / f"{study}.json"
    folder = data / study
    if not index.exists():
        if all((folder / name).exists() for name in FROZEN):
            return []
        raise AnalysisError(
            f"study `{study}` has been neither collected ({index} is missing) nor frozen ({folder} is incomplete). "
            f"Collect it with `make replicate STUDY={study}`, or read published numbers only with STUDY=reanalysis."
        )
    import pandas as pd

    from replication.store import Store

    about = json.loads(index.read_text(encoding="utf-8"))
    store = Store(results / "store")
    scores = store.score_table(about["run_ids"])
    if scores.empty:
        raise AnalysisError(f"study `{study}` has no episodes in the store under {results}; collect it again.")
    runs = about.pop("training")
    tables = {
        "scores.csv": scores,
        "training.csv": pd.DataFrame(runs, columns=list(TRAINING)).sort_values(list(CURVE_KEY)),
        "curves.csv": _curves(runs),
    }
    asked = about.get("probe_run_ids", [])
    if asked:
        tables["probe.csv"] = store.score_table(asked, details=("token_f1",))[list(PROBE)]
    else:
        (folder / "probe.csv").unlink(missing_ok=True)
    written = [write_csv(folder / name, table, digits=DIGITS) for name, table in tables.items()]
    return [*written, write_json(folder / "manifest.json", about, digits=DIGITS)]


def _curves(runs: Sequence[Mapping[str, Json]]) -> pd.DataFrame:
    """Join the curves of the training runs; one that was never trained (the base itself) has none."""
    import pandas as pd

    read = ((run, pd.read_csv(run["curve"])) for run in runs)
    parts = [curve.assign(**{key: run[key] for key in CURVE_KEY}) for run, curve in read if len(curve)]
    joined = pd.concat(parts or [pd.DataFrame(columns=[*CURVE_KEY, *CURVE])], ignore_index=True)
    return joined.reindex(columns=[*CURVE_KEY, *CURVE]).sort_values([*CURVE_KEY, "step"])


def read_frozen(study: str, data: Path) -> Frozen:
    """Read a frozen study, also one of an earlier version, which has fewer columns and no probe."""
    import pandas as pd

    folder = data / study
    scores, training, curves = (pd.read_csv(folder / name) for name in FROZEN[:3])
    probe = pd.read_csv(folder / "probe.csv") if (folder / "probe.csv").exists() else None
    return Frozen(
        scores=scores,
        training=training.reindex(columns=list(TRAINING)),
        curves=curves.reindex(columns=[*CURVE_KEY, *CURVE]),
        about=json.loads((folder / "manifest.json").read_text(encoding="utf-8")),
        probe=None if probe is None or probe.empty else probe,
    )
