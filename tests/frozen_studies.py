"""Frozen studies made from a score table, and their papers, for tests that need no store."""

import dataclasses
import shutil
from pathlib import Path

import pandas as pd
from parts import index_of

from replication import files, settings
from replication.commands import paper
from replication.records import to_json
from replication.store.frozen import CURVE, CURVE_KEY, PROBE, TRAINING
from replication.store.table import COLUMNS

ROOT = Path(__file__).parents[1]


def freeze(folder, scores, study="mine", curves=None, probe=None, **index):
    """Write the frozen files of a study to `folder`/data/`study`."""
    data = folder / "data" / study
    files.write_csv(data / "scores.csv", scores.reindex(columns=list(COLUMNS)))
    runs = scores.loc[scores["training_seed"].notna(), ["arm", "scale", "training_seed", "params_b"]].drop_duplicates()
    costs = {"wall_s": 40.0, "n_parameters": 1000, "n_tokens": 1000, "n_sampled_tokens": 0, "flops": 1e12}
    files.write_csv(data / "training.csv", runs.assign(**costs).reindex(columns=list(TRAINING)))
    empty = pd.DataFrame(columns=[*CURVE_KEY, *CURVE])
    files.write_csv(data / "curves.csv", empty if curves is None else curves[[*CURVE_KEY, *CURVE]])
    if probe is not None:
        files.write_csv(data / "probe.csv", probe[list(PROBE)])
        index["probe_run_ids"] = ("probe",)
    run_ids = tuple(sorted(set(scores["run_id"])))
    files.write_json(data / "manifest.json", to_json(index_of(study, **({"run_ids": run_ids} | index))))


def build(folder, study="mine", kind="controlled"):
    """Build the paper of a frozen study in `folder`."""
    for name in ("paper.typ", "refs.bib"):
        shutil.copy(ROOT / "paper" / name, folder)
    analysis = dataclasses.replace(settings.analysis(), n_simulations=100)
    return paper.build(
        study, kind, results=folder / "none", paper=folder, claims=settings.CONF / "claim", analysis=analysis
    )  # fmt: skip


def public_scores(make_scores, *, scales=(("8B", 8.0), ("30B", 30.0), ("70B", 70.0)), families=("A", "B"), gap=0.4):
    """Score matched pairs of public checkpoints, general above agent_specific by `gap`, per scale and family."""
    tables = []
    for scale in scales:
        for family in families:
            means = {"general": 0.5 + gap / 2, "agent_specific": 0.5 - gap / 2}
            seed = ord(family) + int(scale[1])
            table = make_scores(means, n_runs=1, n_trials=1, n_tasks=60, scales=(scale,), seed=seed)
            model = f"{family}/" + table["arm"] + f"-{scale[0]}"
            tables.append(
                table.assign(
                    model=model, unit=model + "@0", revision="0123456789abcdef", family=family, pair=f"{family} {scale[0]}",
                    base=f"{family}/base", run_id=model.str.replace("/", "-") + "-" + table["benchmark"],
                    training_seed=pd.array([pd.NA] * len(table), "Int64"),
                )
            )  # fmt: skip
    return pd.concat(tables, ignore_index=True)
