"""Numbers of a study that was collected: counts, compute, means, differences, checks, probe."""

from __future__ import annotations

import json
import math
from collections.abc import Container, Mapping, Sequence
from typing import TYPE_CHECKING

from replication.analyse.tables.arms import training_runs
from replication.analyse.tables.seeds import n_unequal_after_holm
from replication.analyse.tables.summaries import ALL, MEAN, POOLED
from replication.publish.figures.forest import stem
from replication.publish.figures.style import in_order
from replication.publish.numbers.verdicts import verdict_row
from replication.records import Json
from replication.text import DASH, correlation, fixed, interval, p_value, percent, positional, short, size

NO_SCORE = "no score"

if TYPE_CHECKING:
    import pandas as pd

    from replication.analyse.analysis_settings import AnalysisSettings
    from replication.analyse.results import Beside, Results
    from replication.analyse.rules.data import StudyData
    from replication.analyse.secondary import ProbeCorrelation, SecondaryAnalyses
    from replication.analyse.verdicts import Tables
    from replication.store.frozen import Frozen


def collected(results: Results, figures: Container[str]) -> dict[str, Json] | None:
    """Return the numbers of the study's own part of the paper; None for a reanalysis.

    What the paper says of training runs, and what of public checkpoints, is decided by what the scores are of.

    figures : names of the figures that were drawn.
    """
    frozen, secondary, tables = results.frozen, results.secondary, results.tables
    if frozen is None or secondary is None or tables.means is None:
        return None
    scores, about, level = frozen.scores, frozen.about, results.settings.level
    trained = training_runs(scores)
    by_size = scores.drop_duplicates("scale").sort_values("params_b", kind="stable")
    scales = list(by_size["scale"])

    def figure(name: str) -> str | None:
        return f"figures/{name}.svg" if name in figures else None

    return {
        **_counts(frozen),
        "public": _public(scores),
        "scales": [
            {"scale": row.scale, "size": size(row.params_b), "trained": row.scale in set(trained["scale"])}
            for row in by_size.itertuples()
        ],
        "trained_arms": list(dict.fromkeys(in_order(trained["arm"]))),
        "levels": _levels(about.levels, scales),
        "arms": _arms(frozen),
        "figures": {name: figure(name) for name in ("curves", "compute", "scales", "probe")},
        "means": _means(tables.means, scales, public=results.data.public),
        "spread": _spread(secondary.spread, scales, level),
        "second": _second(secondary.second_opinions),
        "aa": _aa(secondary.aa, scales, level),
        "comparisons": _comparisons(tables, results.data, results.settings),
        "left_out": _left_out(tables.left_out),
        "per_scale": [verdict_row(verdict) | {"scale": scale} for scale, verdict in secondary.per_scale],
        "probe": _probe(frozen, secondary, scales),
        "manifest": [[key, value] for key, value in sorted(_flat(about.engine).items())],
    }


def beside(other: Beside) -> dict[str, Json]:
    """Return the numbers of a study that is shown beside the paper's own."""
    frozen, about, tables = other.frozen, other.frozen.about, other.tables
    assert tables.means is not None  # there are scores
    by_size = frozen.scores.drop_duplicates("scale").sort_values("params_b", kind="stable")
    return {
        **_counts(frozen), "study": about.study, "scope": about.scope, "deviations": list(about.deviations),
        "public": _public(frozen.scores), "arms": _arms(frozen), "hardware": about.engine.get("hardware", DASH),
        "means": _means(tables.means, list(by_size["scale"]), public=other.data.public),
        "comparisons": _comparisons(tables, other.data, other.data.settings),
        # Of its own comparisons: the verdicts name what it lacks for the claims.
        "left_out": _left_out({pair: why for pair, why in tables.left_out.items() if pair in other.data.comparisons}),
    }  # fmt: skip


def _counts(frozen: Frozen) -> dict[str, Json]:
    scores, about = frozen.scores, frozen.about
    checks = [about.repeat_checks[run] for run in about.run_ids if run in about.repeat_checks]
    repeated = [check for check in checks if check.n_tasks_repeated]
    return {
        "n_episodes": len(scores),
        "n_unscored": int(scores["value"].isna().sum()),
        "n_benchmarks": int(scores["benchmark"].nunique()),
        "benchmarks": sorted(scores["benchmark"].unique()),
        # Only generated environments have a domain.
        "n_generated": sum(name in about.domains for name in scores["benchmark"].unique()),
        "domains": {
            side: sorted(name for name, domain in about.domains.items() if domain == side) for side in ("in", "out")
        },
        "scaffolds": sorted(scores["scaffold"].unique()),
        "n_training_runs": int(training_runs(scores)["unit"].nunique()),
        "n_runs_repeated": len(repeated),
        "n_repeats_as_expected": sum(check.as_expected for check in repeated),
    }


def _public(scores: pd.DataFrame) -> list[dict[str, Json]]:
    """List the public checkpoints, by size, role and name; a training run is none."""
    units = scores[scores["training_seed"].isna()].drop_duplicates("unit")
    listed = units.sort_values(["params_b", "arm", "unit"], kind="stable")
    return [
        {
            "model": row.model, "revision": row.revision, "role": row.arm, "scale": row.scale,
            "size": size(row.params_b) + ("" if math.isnan(row.active_b) else f", {size(row.active_b)} active"),
            **{key: value if isinstance(value := getattr(row, key), str) else DASH for key in ("pair", "family", "base")},
        }
        for row in listed.itertuples()
    ]  # fmt: skip


def _levels(levels: Mapping[str, Json] | None, scales: Sequence[str]) -> dict[str, Json] | None:
    if not levels:
        return None
    named = sorted({name for by_benchmark in levels.values() for name in by_benchmark})
    rows = [
        [scale, *(", ".join(map(str, levels[scale].get(name, []))) for name in named)]
        for scale in scales
        if scale in levels
    ]
    return {"benchmarks": named, "rows": rows}


def _arms(frozen: Frozen) -> list[dict[str, Json]]:
    """List phases and mean compute per training run of each arm at each scale."""
    training, phases = frozen.training, _phases(frozen.curves)
    order = in_order(training["arm"])
    cells = dict(list(training.groupby(["params_b", "scale", "arm"])))
    return [
        {
            "arm": arm, "scale": scale, "size": size(params_b), "n_training_runs": len(cells[params_b, scale, arm]),
            **{key: short(cells[params_b, scale, arm][key].mean())
               for key in ("n_tokens", "n_sampled_tokens", "flops", "joules")},
            "seconds": fixed(cells[params_b, scale, arm]["wall_s"].mean(), 0), "phases": phases.get((arm, scale), []),
        }
        for params_b, scale, arm in sorted(cells, key=lambda cell: (cell[0], order.index(cell[2])))
    ]  # fmt: skip


def _phases(curves: pd.DataFrame) -> dict[tuple[str, str], list[dict[str, Json]]]:
    """List the phases of each arm at each scale, with the reward at begin and end of reinforcement learning."""
    found: dict[tuple[str, str], list[dict[str, Json]]] = {}
    for (arm, scale, phase), part in curves.groupby(["arm", "scale", "phase"], sort=False):
        rewards = [steps["reward"] for _, steps in part.groupby("training_seed")]
        ends = [(_tenth(of_run).mean(), _tenth(of_run[::-1]).mean()) for of_run in rewards]
        first, last = (percent(sum(column) / len(ends)) for column in zip(*ends, strict=True))
        found.setdefault((arm, scale), []).append(
            {"name": phase, "rate": positional(part["lr"].max()), "first_reward": first, "last_reward": last}
        )
    return found


def _tenth(steps: pd.Series) -> pd.Series:
    return steps[: -(-len(steps) // 10)]


def _means(means: pd.DataFrame, scales: Sequence[str], *, public: bool) -> dict[str, Json]:
    """Mean and SD over training runs: a row per scale, scaffold and arm, a column per benchmark."""
    named = sorted(means["benchmark"].unique())
    order = in_order(means["arm"])
    rows = []
    for (scale, scaffold, arm), part in means.groupby(["scale", "scaffold", "arm"]):
        cells = part.set_index("benchmark")
        shown = [_mean_cell(cells.loc[name], public=public) if name in cells.index else "" for name in named]
        rows.append({"arm": arm, "scale": scale, "scaffold": scaffold, "runs": int(part["n_training_runs"].max()),
                     "cells": shown, "mean": _row_mean(part["mean"])})  # fmt: skip
    rows.sort(key=lambda row: (scales.index(row["scale"]), row["scaffold"], order.index(row["arm"])))
    tasks = means["n_tasks"]
    return {"benchmarks": named, "rows": rows, "n_tasks": {"low": int(tasks.min()), "high": int(tasks.max())}}


def _mean_cell(cell: pd.Series, *, public: bool) -> str:
    """Format a mean and the SD between training runs, which public checkpoints do not have."""
    if math.isnan(cell["mean"]):
        return NO_SCORE
    return percent(cell["mean"]) + ("" if public else f" ({percent(cell['sd'])})")


def _row_mean(means: pd.Series) -> str:
    """Format the mean over benchmarks, which is undefined where one of them has no score."""
    if means.isna().all():
        return NO_SCORE
    return DASH if means.isna().any() else percent(means.mean())


def _spread(spread: pd.DataFrame, scales: Sequence[str], level: float) -> list[dict[str, Json]]:
    """Per scale the test on the mean over the benchmarks, and the number of single benchmarks rejected after Holm."""
    n_unequal = n_unequal_after_holm(spread, level)
    rows = []
    for scale in [scale for scale in scales if scale in set(spread["scale"])]:
        part = spread[spread["scale"] == scale]
        mean = part.sort_values("benchmark", key=lambda name: name != MEAN, kind="stable").iloc[0]
        single = part[part["benchmark"] != MEAN].dropna(subset="p")
        rows.append({"scale": scale, "n_arms": int(mean["n_arms"]), "n_training_runs": int(mean["n_training_runs"]),
                     "statistic": fixed(mean["statistic"], 2), "p": p_value(mean["p"]), "n_benchmarks": len(single),
                     "n_unequal": n_unequal[scale], "smallest_p": p_value(single["p"].min())})  # fmt: skip
    return rows


def _aa(aa: pd.DataFrame, scales: Sequence[str], level: float) -> dict[str, Json] | None:
    if aa["t3"].isna().all():
        return None
    order = in_order(aa["arm"])
    rows = sorted(aa.itertuples(), key=lambda row: (scales.index(row.scale), order.index(row.arm)))
    return {
        "rows": [
            {"arm": row.arm, "scale": row.scale, "n_training_runs": row.n_training_runs,
             "run_sd": percent(row.run_sd), "t2": percent(row.t2), "t3": percent(row.t3)}
            for row in rows
        ],
        "allowed": percent(1 - level, 0), "error": percent(aa["error"].max()), "t2_highest": percent(aa["t2"].max()),
        "t3_highest": percent(aa["t3"].max()), "holds": not (aa["t3"] > 1 - level + 2 * aa["error"]).any(),
    }  # fmt: skip


def _second(opinions: pd.DataFrame) -> dict[str, Json]:
    ratios = opinions["width_ratio"].dropna()
    return {
        "n": len(ratios), "n_differ": int(opinions["widths_differ"].fillna(False).astype(bool).sum()),
        "lowest": fixed(ratios.min(), 2), "highest": fixed(ratios.max(), 2),
    }  # fmt: skip


def _sentence(reason: str) -> str:
    """End a reason with a full stop."""
    return reason if reason.endswith(".") else f"{reason}."


def _left_out(left_out: Mapping[tuple[str, str], str]) -> list[dict[str, Json]]:
    return [
        {"treatment": treatment, "control": control, "reason": _sentence(reason)}
        for (treatment, control), reason in left_out.items()
    ]


def _comparisons(tables: Tables, data: StudyData, settings: AnalysisSettings) -> list[dict[str, Json]]:
    shown = tables.under(settings.unscored[0])
    if shown is None:
        return []
    assert tables.means is not None  # there are estimates
    best = tables.means.groupby("arm")["mean"].max()
    comparisons = []
    for (treatment, control), part in shown.groupby(["treatment", "control"], sort=False):
        averaged = part[part["scale"] == ALL]
        single = part[(part["scale"] != ALL) & part["benchmark"].isin([MEAN])]
        rows = [_estimate_row(name, rows) for name, rows in averaged.groupby("benchmark", sort=False)]
        rows += [_estimate_row(f"{MEAN}, {scale}", rows) for scale, rows in single.groupby("scale", sort=False)]
        by_name = {row["benchmark"]: row for row in rows}
        comparisons.append(
            {
                "treatment": treatment, "control": control, "figure": f"figures/{stem(treatment, control)}.svg",
                "trained": by_name[MEAN]["T3"] != DASH, "policy": settings.unscored[0],
                "n_trials": int(averaged["n_trials"].min()), "margin_runs": not data.public,
                "n_training_runs": int(averaged["n_training_runs"].min()),
                "scales": [str(scale) for scale in single["scale"].unique()],
                "mean": by_name[MEAN], "pooled": by_name.get(POOLED), "rows": rows,
                "at_floor": [arm for arm in (treatment, control) if best[arm] <= settings.floor],
            }
        )  # fmt: skip
    return comparisons


def _estimate_row(name: str, rows: pd.DataFrame) -> dict[str, Json]:
    """Format one line of a table of estimates: T2 and, where there are training runs, T3, with half-widths and MDE."""
    by_target = {target: rows[rows["target"] == target].iloc[0] for target in rows["target"]}
    line: dict[str, Json] = {"benchmark": name, "n_tasks": int(by_target["T2"]["n_tasks"])}
    for target in ("T2", "T3"):
        row = by_target.get(target)
        line[target] = DASH if row is None else interval(row["value"], row["low"], row["high"])
        line[f"half_{target}"] = DASH if row is None else f"±{percent(row['half_width'])}"
        line[f"mde_{target}"] = DASH if row is None else percent(row["mde"])
    return line


def _probe(frozen: Frozen, secondary: SecondaryAnalyses, scales: Sequence[str]) -> dict[str, Json] | None:
    """Mean accuracies per arm and scale, and their correlations with the agent score over checkpoints."""
    if secondary.probe_runs is None or frozen.probe is None:
        return None
    runs = secondary.probe_runs
    domains = [domain for domain in ("in", "out", "all") if domain in set(runs["domain"])]
    order = in_order(runs["arm"])
    table = []
    for (scale, arm), part in runs.groupby(["scale", "arm"]):
        means = part.groupby("domain")[["exact", "token_f1"]].mean()
        cells = [percent(means.loc[d, metric]) if d in means.index else "" for d in domains for metric in means]
        table.append((scales.index(scale), order.index(arm), {"arm": arm, "scale": scale, "cells": cells}))
    return {
        "n_checkpoints": int(frozen.probe["unit"].nunique()),
        "n_transitions": int(frozen.probe.groupby("unit").size().max()),
        "n_unscored": int(frozen.probe["value"].isna().sum()),
        "domains": domains, "rows": [row for *_, row in sorted(table, key=lambda item: item[:2])],
        "correlations": [_correlation(row) for row in secondary.probe_correlations],
    }  # fmt: skip


def _correlation(row: ProbeCorrelation) -> dict[str, Json]:
    line: dict[str, Json] = {"domain": row.domain, "within": row.within, "metric": row.metric}
    if isinstance(row.result, str):
        return {**line, "value": None, "reason": row.result}
    r = row.result
    return {
        **line, "value": correlation(r.value), "range": f"[{correlation(r.low)}, {correlation(r.high)}]",
        "p": p_value(r.p_two_sided), "n": r.n, "n_groups": r.n_groups,
    }  # fmt: skip


def _flat(value: Json, prefix: str = "") -> dict[str, str]:
    """Flatten nested settings to `a.b.c` -> text."""
    if isinstance(value, Mapping):
        return {k: v for key, item in value.items() for k, v in _flat(item, f"{prefix}.{key}".strip(".")).items()}
    return {prefix: value if isinstance(value, str) else json.dumps(value, sort_keys=True)}
