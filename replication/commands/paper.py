"""Frozen data -> estimates, verdicts, figures and paper.pdf; the same bytes on every run.

    python -m replication paper study=reanalysis

Freezing copies a study out of the store into paper/data/<study>; everything after reads only those files and the packaged
evidence, so the paper can be rebuilt without the store.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from replication import __version__, settings
from replication.errors import AnalysisError
from replication.records import Json, Verdict, to_json

if TYPE_CHECKING:
    import pandas as pd

    from replication.analyse.reanalysis import Reanalysis
    from replication.analyse.rules.parts import Data, Settings
    from replication.analyse.verdicts import ScaleVerdict, Tables
    from replication.records import Claim
    from replication.store.frozen import Frozen


class Built(NamedTuple):
    """What a build produced."""

    verdicts: list[Verdict]
    outputs: list[Path]


def build(study: str, kind: str, *, results: Path, paper: Path, claims: Path, settings: Settings) -> Built:
    """Freeze a study, analyse it and typeset the paper.

    study, kind : name of the study, and reanalysis, controlled or released.
    results : holds studies/<study>.json and store/; not needed where the study is frozen already.
    paper : holds paper.typ; data/, figures/ and paper.pdf are written there.
    claims : folder of claim files.
    """
    from replication.analyse import reanalysis
    from replication.analyse.claims import load_claims
    from replication.analyse.evidence import load_benchmarks, load_pairs, load_scores
    from replication.analyse.rules.parts import Data
    from replication.analyse.verdicts import decide, published_arms, tabulate
    from replication.store.frozen import freeze, read_frozen

    known = load_claims(claims)
    published = Data(
        study="reanalysis", kind="reanalysis", published=load_scores(), benchmarks=load_benchmarks(),
        model_pairs=load_pairs(), settings=settings,
    )  # fmt: skip
    data, frozen, further = published, None, None
    if kind != "reanalysis":
        freeze(study, results, paper / "data")
        frozen = read_frozen(study, paper / "data")
        data = dataclasses.replace(
            published, study=study, kind=kind, scope=frozen.about.scope, deviations=frozen.about.deviations,
            scores=frozen.scores, training=frozen.training,
            comparisons=frozen.about.comparisons,
        )  # fmt: skip
    verdicts = decide(known, published) + (decide(known, data) if frozen else [])
    tables = tabulate(known, data)
    if frozen and tables.estimates is not None:
        pairs = tables.estimates[["treatment", "control"]].drop_duplicates()
        further = look_further(known, data, frozen, list(pairs.itertuples(index=False, name=None)))
    reread = reanalysis.analyse(
        tables.rows, published.published, published_arms(known),
        reanalysis.Settings(settings.icc, settings.rho, settings.unstated_runs, settings.level),
    )  # fmt: skip

    outputs = [_write(paper / "data/verdicts.json", _json([to_json(verdict) for verdict in verdicts]))]
    written = {
        "published": tables.published, "estimates": tables.estimates, "spread": further and further.spread,
        "aa": further and further.aa, "second_opinions": further and further.second_opinions,
        "probe_runs": further and further.probe_runs,
    }  # fmt: skip
    written |= {f"reanalysis/{name}": table for name, table in reanalysis.tables(reread).items()}
    for name, table in written.items():
        path = paper / f"data/{name}.csv"
        if table is None:
            path.unlink(missing_ok=True)
        else:
            outputs.append(_write(path, _csv(table)))
    sesoi = next(claim.parameters["sesoi"] for claim in known if "sesoi" in claim.parameters)
    figures = draw(tables, reread, frozen, further, paper / "figures", sesoi, settings)
    numbers = collect_numbers(data, tables, frozen, further, verdicts, figures, sesoi)
    numbers["reanalysis"] = reanalysis.numbers(reread, settings) | {"figures": sorted(figures)}
    outputs.append(_write(paper / "data/numbers.json", _json(numbers)))
    return Built(verdicts, [*outputs, *figures.values(), typeset(paper)])


# --- beyond the claims ------------------------------------------------------------------------------------------------


class Further(NamedTuple):
    """What is computed of a study beside its verdicts and estimates."""

    spread: pd.DataFrame
    """Test of equal spread over training runs, per scale and benchmark."""
    aa: pd.DataFrame
    """How often each arm differs from itself."""
    second_opinions: pd.DataFrame
    """Each benchmark's difference by other methods, for every comparison."""
    per_scale: list[ScaleVerdict]
    probe_runs: pd.DataFrame | None
    """Per training run and domain what it scores as a world model and as an agent."""
    curves: pd.DataFrame | None
    """Smoothed for the eye."""


def look_further(
    claims: Sequence[Claim], data: Data, frozen: Frozen, comparisons: Sequence[tuple[str, str]]
) -> Further:
    """Compute what the paper shows beside verdicts and estimates; `comparisons` are those that have estimates."""
    import numpy as np

    from replication.analyse.tables import aa, probe, seeds
    from replication.analyse.tables.summaries import smoothed
    from replication.analyse.verdicts import per_scale

    settings = data.settings
    runs = None
    if frozen.probe is not None:
        runs = probe.run_table(frozen.scores, frozen.probe, frozen.about.domains)
    return Further(
        spread=seeds.equal_spread(seeds.run_scores(frozen.scores)),
        aa=aa.check(
            frozen.scores, level=settings.level, n_simulations=settings.n_simulations,
            rng=np.random.default_rng(settings.simulation_seed),
        ),
        second_opinions=_second_opinions(data, comparisons),
        per_scale=per_scale(claims, data),
        probe_runs=runs if runs is not None and len(runs) else None,
        curves=_by_size(smoothed(frozen.curves, n_points=40), frozen.training) if len(frozen.curves) else None,
    )  # fmt: skip


def _second_opinions(data: Data, comparisons: Sequence[tuple[str, str]]) -> pd.DataFrame:
    import numpy as np
    import pandas as pd

    from replication.analyse.tables import second_opinions

    settings = data.settings
    parts = [
        second_opinions.table(
            data.scores, *comparison, level=settings.level, rng=np.random.default_rng(settings.simulation_seed)
        )
        for comparison in comparisons
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def _by_size(curves: pd.DataFrame, training: pd.DataFrame) -> pd.DataFrame:
    """Put the smallest scale first."""
    sizes = training.groupby("scale")["params_b"].first()
    return curves.sort_values("scale", key=lambda scales: scales.map(sizes), kind="stable", ignore_index=True)


# --- figures ----------------------------------------------------------------------------------------------------------


def draw(
    tables: Tables, reread: Reanalysis, frozen: Frozen | None, further: Further | None, folder: Path, sesoi: float,
    settings: Settings,
) -> dict[str, Path]:  # fmt: skip
    """Draw every figure that the data has and remove figures of earlier builds."""
    from replication.publish.figures import compute, curves, forest, fragility, grim, pairs, probe, scales, tipping
    from replication.publish.figures.style import save

    drawings = {
        "forest_published": forest.draw_published(tables.published, sesoi),
        "fragility": fragility.draw(reread.surface, tables.rows, (settings.icc, settings.rho)),
        "tipping": tipping.draw(reread.tipping, reread.audit.tipping),
        "grim": grim.draw(reread.audit.digits, tables.rows),
        "pairs": pairs.draw(reread.gaps["bfcl_v3"], reread.band),
    }
    if tables.estimates is not None:
        shown = tables.estimates[tables.estimates["policy"] == settings.unscored[0]]
        for (treatment, control), part in shown.groupby(["treatment", "control"], sort=False):
            runs = tables.runs.query("treatment == @treatment and control == @control")
            drawings[f"forest_{treatment}_{control}"] = forest.draw_collected(part, runs, sesoi)
        single = shown[shown["scale"] != "all"]
        if len(single):
            drawings["scales"] = scales.draw(single, sesoi)
    if frozen is not None and (frozen.training["flops"] > 0).any():
        drawings["compute"] = compute.draw(frozen.training)
    if further is not None and further.probe_runs is not None:
        drawings["probe"] = probe.draw(further.probe_runs)
    if further is not None and further.curves is not None:
        drawings["curves"] = curves.draw(further.curves)
    paths = {name: save(drawing, folder / f"{name}.svg") for name, drawing in drawings.items()}
    for stale in set(folder.glob("*.svg")) - set(paths.values()):
        stale.unlink()
    return paths


# --- numbers ----------------------------------------------------------------------------------------------------------


def collect_numbers(
    data: Data, tables: Tables, frozen: Frozen | None, further: Further | None, verdicts: Sequence[Verdict],
    figures: Container[str], sesoi: float,
) -> dict[str, Json]:  # fmt: skip
    """Gather every number of the paper as it is printed: counts as numbers, all others as text rounded by `tables`.

    The paper rounds and computes nothing; unrounded numbers stand in the CSV files.
    """
    from replication.publish.verdict_tables import blocks
    from replication.text import correlation, fixed

    settings = data.settings
    outcomes = ("replicated", "not_replicated", "inconclusive", "not_testable")
    return {
        "package": {"version": __version__},
        "study": {"name": data.study, "kind": data.kind, "scope": data.scope, "deviations": list(data.deviations)},
        "analysis": {
            # a no-break space
            "level": f"{fixed(100 * settings.level, 0)}\N{NO-BREAK SPACE}%",
            "power": f"{fixed(100 * settings.power, 0)}\N{NO-BREAK SPACE}%",
            "sesoi": fixed(100 * sesoi, 0), "icc": correlation(settings.icc), "rho": correlation(settings.rho),
            "unstated_runs": settings.unstated_runs, "n_simulations": settings.n_simulations,
        },
        "outcomes": {name: sum(v.outcome == name for v in verdicts) for name in outcomes} | {"all": len(verdicts)},
        "claims": _claims(verdicts),
        "verdicts": [
            {"study": block.study, "scope": block.scope, "rows": [_verdict(v) for v in block.verdicts]}
            for block in blocks(verdicts)
        ],
        "published": _published(data, tables),
        "collected": _collected(data, tables, frozen, further, figures) if frozen and further else None,
    }  # fmt: skip


def _claims(verdicts: Sequence[Verdict]) -> list[dict[str, Json]]:
    """Each claim once, with what its source leaves unspecified."""
    first = {verdict.claim_id: verdict for verdict in reversed(verdicts)}
    return [
        {"id": key, "proposition": v.proposition, "statement": v.statement, "unspecified": list(v.unspecified)}
        for key, v in sorted(first.items())
    ]


def _verdict(verdict: Verdict) -> dict[str, Json]:
    from replication.text import points

    return {
        "claim": verdict.claim_id, "target": verdict.target, "outcome": verdict.outcome.replace("_", " "),
        "overall": verdict.overall.replace("_", " "),
        "estimate": points(verdict.replication), "reason": verdict.reason,
    }  # fmt: skip


def _published(data: Data, tables: Tables) -> dict[str, Json]:
    from replication.text import bounds, correlation, interval, p_value, percent

    settings, table = data.settings, tables.published.set_index(["benchmark", "interval"])
    family = tables.family.groupby("target")["iut_p"]
    shown = tables.family[(tables.family["icc"] == settings.icc)]
    shown = shown[(shown["target"] == "T1") | (shown["rho"] == settings.rho)].set_index("target")
    turning = [value for value in tables.turning.values() if value is not None]
    pooled = next(name for name, _ in table.index if name not in set(tables.rows["name"]))
    limits = ["value", "low", "high"]
    return {
        "n_rows": len(tables.rows),
        "n_positive": int((tables.rows["p_b"] > tables.rows["p_a"]).sum()),
        "n_unstated_runs": int((~tables.rows["runs_stated"]).sum()),
        "rows": [
            {
                "name": row.name, "p_a": percent(row.p_a, 2), "p_b": percent(row.p_b, 2), "n": row.n, "k": row.k,
                "runs_stated": row.runs_stated, "upper_bound": row.upper_bound,
                "T1": interval(*table.loc[(row.name, "T1"), limits]),
                "T2": bounds(*table.loc[(row.name, "T2"), limits[1:]]),
                "unpaired": bounds(*table.loc[(row.name, "unpaired"), limits[1:]]),
            }
            for row in tables.rows.itertuples(index=False)
        ],
        "pooled": interval(*table.loc[(pooled, "T2"), limits]),
        "iut_p": {t: {"low": p_value(p.min()), "high": p_value(p.max())} for t, p in family},
        "n_holm": {t: int(shown.loc[t, "n_holm"]) for t in shown.index},
        "n_raw": {t: int(shown.loc[t, "n_raw"]) for t in shown.index},
        "rho_max": correlation(float(tables.family["rho"].max())),
        "turning_rho": correlation(min(turning)) if turning else None,
    }  # fmt: skip


def _collected(
    data: Data, tables: Tables, frozen: Frozen, further: Further, figures: Container[str]
) -> dict[str, Json]:
    from replication.text import size

    scores, about = frozen.scores, frozen.about
    scales = scores.drop_duplicates("scale").sort_values("params_b", kind="stable")
    checks = [about.repeat_checks[run] for run in about.run_ids if run in about.repeat_checks]
    repeated = [check for check in checks if check.get("n_tasks_repeated", 0)]

    def figure(name: str) -> str | None:
        return f"figures/{name}.svg" if name in figures else None

    return {
        "n_episodes": len(scores),
        "n_unscored": int(scores["value"].isna().sum()),
        "n_benchmarks": int(scores["benchmark"].nunique()),
        "benchmarks": sorted(scores["benchmark"].unique()),
        "domains": {
            side: sorted(name for name, domain in about.domains.items() if domain == side) for side in ("in", "out")
        },
        "scaffolds": sorted(scores["scaffold"].unique()),
        "scales": [{"scale": row.scale, "size": size(row.params_b)} for row in scales.itertuples()],
        "n_training_runs": scores["unit"].nunique(),
        "n_runs_repeated": len(repeated),
        "n_repeats_as_expected": sum(bool(check["as_expected"]) for check in repeated),
        "levels": _levels(about.levels, list(scales["scale"])),
        "arms": _arms(frozen.training),
        "figures": {name: figure(name) for name in ("curves", "compute", "scales", "probe")},
        "means": _means(tables.means, list(scales["scale"])),
        "spread": _spread(further.spread, list(scales["scale"]), data.settings.level),
        "second": _second(further.second_opinions),
        "aa": _aa(further.aa, list(scales["scale"]), data.settings.level),
        "comparisons": _comparisons(tables, data.settings),
        "left_out": [
            {"treatment": treatment, "control": control, "reason": reason}
            for (treatment, control), reason in tables.left_out.items()
        ],
        "per_scale": [_verdict(v) | {"scale": scale} for scale, v in further.per_scale],
        "probe": _probe(frozen, further, data.settings.level),
        "manifest": [[key, value] for key, value in sorted(_flat(about.engine).items())],
    }


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


def _arms(training: pd.DataFrame) -> list[dict[str, Json]]:
    """Mean compute per training run of each arm at each scale."""
    from replication.publish.figures.style import in_order
    from replication.text import fixed, short, size

    order = in_order(training["arm"])
    cells = dict(list(training.groupby(["params_b", "scale", "arm"])))
    return [
        {
            "arm": arm, "scale": scale, "size": size(params_b), "n_training_runs": len(cells[params_b, scale, arm]),
            **{key: short(cells[params_b, scale, arm][key].mean())
               for key in ("n_tokens", "n_sampled_tokens", "flops", "joules")},
            "seconds": fixed(cells[params_b, scale, arm]["wall_s"].mean(), 0),
        }
        for params_b, scale, arm in sorted(cells, key=lambda cell: (cell[0], order.index(cell[2])))
    ]  # fmt: skip


def _means(means: pd.DataFrame, scales: Sequence[str]) -> dict[str, Json]:
    """Mean and SD over training runs: a row per scale, scaffold and arm, a column per benchmark."""
    from replication.publish.figures.style import in_order
    from replication.text import percent

    named = sorted(means["benchmark"].unique())
    order = in_order(means["arm"])
    rows = []
    for (scale, scaffold, arm), part in means.groupby(["scale", "scaffold", "arm"]):
        cells = part.set_index("benchmark")
        shown = [
            f"{percent(cells.loc[name, 'mean'])} ({percent(cells.loc[name, 'sd'])})" if name in cells.index else ""
            for name in named
        ]
        rows.append({"arm": arm, "scale": scale, "scaffold": scaffold, "runs": int(part["n_training_runs"].max()),
                     "cells": shown, "mean": percent(part["mean"].mean())})  # fmt: skip
    rows.sort(key=lambda row: (scales.index(row["scale"]), row["scaffold"], order.index(row["arm"])))
    tasks = means["n_tasks"]
    return {"benchmarks": named, "rows": rows, "n_tasks": {"low": int(tasks.min()), "high": int(tasks.max())}}


def _spread(spread: pd.DataFrame, scales: Sequence[str], level: float) -> list[dict[str, Json]]:
    """Per scale the test on the mean over the benchmarks, and how many single benchmarks hold after Holm."""
    from replication.analyse.stats.families.multiplicity import holm
    from replication.analyse.tables.summaries import MEAN
    from replication.text import fixed, p_value

    rows = []
    for scale in [scale for scale in scales if scale in set(spread["scale"])]:
        part = spread[spread["scale"] == scale]
        mean = part[part["benchmark"] == MEAN].iloc[0]
        single = part[part["benchmark"] != MEAN].dropna(subset="p")
        n_unequal = int((holm(single["p"]) <= 1 - level).sum()) if len(single) else 0
        rows.append({"scale": scale, "n_arms": int(mean["n_arms"]), "n_training_runs": int(mean["n_training_runs"]),
                     "statistic": fixed(mean["statistic"], 2), "p": p_value(mean["p"]), "n_benchmarks": len(single),
                     "n_unequal": n_unequal, "smallest_p": p_value(single["p"].min())})  # fmt: skip
    return rows


def _aa(aa: pd.DataFrame, scales: Sequence[str], level: float) -> dict[str, Json] | None:
    from replication.publish.figures.style import in_order
    from replication.text import percent

    if aa.empty:
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
        "t3_highest": percent(aa["t3"].max()), "holds": bool((aa["t3"] <= 1 - level + 2 * aa["error"]).all()),
    }  # fmt: skip


def _second(opinions: pd.DataFrame) -> dict[str, Json]:
    from replication.text import fixed

    ratios = opinions["width_ratio"].dropna()
    return {
        "n": len(ratios), "n_differ": int(opinions["widths_differ"].fillna(False).astype(bool).sum()),
        "lowest": fixed(ratios.min(), 2), "highest": fixed(ratios.max(), 2),
    }  # fmt: skip


def _comparisons(tables: Tables, settings: Settings) -> list[dict[str, Json]]:
    from replication.analyse.tables.summaries import ALL, MEAN, POOLED

    if tables.estimates is None:
        return []
    found = []
    shown = tables.estimates[tables.estimates["policy"] == settings.unscored[0]]
    for (treatment, control), part in shown.groupby(["treatment", "control"], sort=False):
        averaged = part[part["scale"] == ALL]
        single = part[(part["scale"] != ALL) & part["benchmark"].isin([MEAN])]
        rows = [_estimate_row(name, rows) for name, rows in averaged.groupby("benchmark", sort=False)]
        rows += [_estimate_row(f"{MEAN}, {scale}", rows) for scale, rows in single.groupby("scale", sort=False)]
        by_name = {row["benchmark"]: row for row in rows}
        found.append(
            {
                "treatment": treatment, "control": control, "figure": f"figures/forest_{treatment}_{control}.svg",
                "policy": settings.unscored[0], "n_trials": int(averaged["n_trials"].min()),
                "n_training_runs": int(averaged["n_training_runs"].min()),
                "scales": [str(scale) for scale in single["scale"].unique()],
                "mean": by_name[MEAN], "pooled": by_name.get(POOLED), "rows": rows,
            }
        )  # fmt: skip
    return found


def _estimate_row(name: str, rows: pd.DataFrame) -> dict[str, Json]:
    """One line of a table of estimates: T2 and, where there are training runs, T3; half-widths and MDE in points."""
    from replication.text import DASH, interval, percent

    by_target = {target: rows[rows["target"] == target].iloc[0] for target in rows["target"]}
    line: dict[str, Json] = {"benchmark": name, "n_tasks": int(by_target["T2"]["n_tasks"])}
    for target in ("T2", "T3"):
        row = by_target.get(target)
        line[target] = DASH if row is None else interval(row["value"], row["low"], row["high"])
        line[f"half_{target}"] = DASH if row is None else f"±{percent(row['half_width'])}"
        line[f"mde_{target}"] = DASH if row is None else percent(row["mde"])
    return line


def _probe(frozen: Frozen, further: Further, level: float) -> dict[str, Json] | None:
    """Mean accuracies per arm and scale, and the correlations with the agent score over training runs."""
    from replication.analyse.tables.probe import correlation_within
    from replication.publish.figures.style import in_order
    from replication.text import correlation, p_value, percent

    if further.probe_runs is None or frozen.probe is None:
        return None
    runs, correlations = further.probe_runs, []
    domains = [domain for domain in ("in", "out", "all") if domain in set(runs["domain"])]
    runs = runs.assign(both=runs["arm"] + " " + runs["scale"])
    for domain in domains:
        part = runs[runs["domain"] == domain]
        for within, column in (("scale", "scale"), ("arm and scale", "both")):
            for metric in ("token_f1", "exact"):
                try:
                    found = correlation_within(part[metric], part["score"], part[column], level=level)
                except AnalysisError as error:
                    correlations.append({"domain": domain, "within": within, "metric": metric, "value": None,
                                         "reason": str(error)})  # fmt: skip
                    continue
                correlations.append(
                    {
                        "domain": domain, "within": within, "metric": metric, "value": correlation(found.value),
                        "range": f"[{correlation(found.low)}, {correlation(found.high)}]", "p": p_value(found.p_two_sided),
                        "n": found.n, "n_groups": found.n_groups,
                    }
                )  # fmt: skip
    order = in_order(runs["arm"])
    table = []
    for (params_b, scale, arm), part in runs.groupby(["params_b", "scale", "arm"]):
        means = part.groupby("domain")[["exact", "token_f1"]].mean()
        cells = [percent(means.loc[d, metric]) if d in means.index else "" for d in domains for metric in means]
        table.append((params_b, order.index(arm), {"arm": arm, "scale": scale, "cells": cells}))
    return {
        "n_training_runs": frozen.probe["unit"].nunique(),
        "n_transitions": int(frozen.probe.groupby("unit").size().max()),
        "n_unscored": int(frozen.probe["value"].isna().sum()),
        "domains": domains, "rows": [row for *_, row in sorted(table, key=lambda item: item[:2])],
        "correlations": correlations,
    }  # fmt: skip


def _flat(value: Json, prefix: str = "") -> dict[str, str]:
    """Flatten nested settings to `a.b.c` -> text."""
    if isinstance(value, Mapping):
        return {k: v for key, item in value.items() for k, v in _flat(item, f"{prefix}.{key}".strip(".")).items()}
    return {prefix: value if isinstance(value, str) else json.dumps(value, sort_keys=True)}


# --- files ------------------------------------------------------------------------------------------------------------


def typeset(paper: Path) -> Path:
    """Compile paper.typ with the fonts of the Typst wheel; a number that is missing stops the build."""
    import typst

    try:
        pdf = typst.compile(str(paper / "paper.typ"), root=str(paper), ignore_system_fonts=True)
    except typst.TypstError as error:
        raise AnalysisError(f"{paper / 'paper.typ'} does not compile: {error}") from error
    return _write(paper / "paper.pdf", pdf)


def _csv(table: pd.DataFrame) -> str:
    """Write equal tables as equal bytes: shortest exact floats, no index, Unix line ends."""
    return table.to_csv(index=False, lineterminator="\n")


def _json(value: Json) -> str:
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def _write(path: Path, content: str | bytes) -> Path:
    """Replace a file in one step, so that a reader or a kill never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    os.replace(temporary, path)
    return path


def main(cfg: settings.Root) -> None:
    """Build the paper of the configured study and print its verdicts."""
    from replication.analyse.rules.parts import Settings
    from replication.publish.readme import terminal

    chosen = Settings(
        **{
            **dataclasses.asdict(cfg.analysis),
            "unscored": tuple(cfg.analysis.unscored),
            "bounds": tuple(cfg.analysis.bounds),
        }
    )
    built = build(
        cfg.study.name, cfg.study.kind, results=Path(cfg.paths.results), paper=Path(cfg.paths.paper),
        claims=settings.CONF / "claim", settings=chosen,
    )  # fmt: skip
    print(terminal(built.verdicts, built.outputs))
