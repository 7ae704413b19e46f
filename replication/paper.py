"""Frozen data -> estimates, verdicts, figures and paper.pdf; the same bytes on every run.

    python -m replication.paper study=reanalysis

Freezing copies a study out of the store into paper/data/<study>; everything after reads only those files and the packaged
evidence, so the paper can be rebuilt without the store.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from replication import __version__, schemas
from replication.cli import entry
from replication.errors import AnalysisError
from replication.records import Json, Verdict, to_json

if TYPE_CHECKING:
    import pandas as pd

    from replication.verdicts import Data, Settings, Tables


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
    from replication.claims import load_claims
    from replication.evidence import load_benchmarks, load_scores
    from replication.verdicts import Data, decide, tabulate

    known = load_claims(claims)
    published = Data(
        study="reanalysis", kind="reanalysis", published=load_scores(), benchmarks=load_benchmarks(), settings=settings
    )
    data, frozen = published, None
    if kind != "reanalysis":
        freeze(study, results, paper / "data")
        frozen = read_frozen(study, paper / "data")
        data = dataclasses.replace(
            published, study=study, kind=kind, scope=frozen.about["scope"], deviations=tuple(frozen.about["deviations"]),
            scores=frozen.scores, training=frozen.training,
        )  # fmt: skip
    verdicts = decide(known, published) + (decide(known, data) if frozen else [])
    tables = tabulate(known, data)

    outputs = [
        _write(paper / "data/verdicts.json", _json([to_json(verdict) for verdict in verdicts])),
        _write(paper / "data/published.csv", _csv(tables.published)),
    ]
    if tables.estimates is not None:
        outputs.append(_write(paper / "data/estimates.csv", _csv(tables.estimates)))
    else:
        (paper / "data/estimates.csv").unlink(missing_ok=True)
    sesoi = next(claim.parameters["sesoi"] for claim in known if "sesoi" in claim.parameters)
    figures = draw(tables, frozen, paper / "figures", sesoi, settings)
    numbers = collect_numbers(data, tables, frozen, verdicts, figures, sesoi)
    outputs.append(_write(paper / "data/numbers.json", _json(numbers)))
    return Built(verdicts, [*outputs, *figures.values(), typeset(paper)])


# --- frozen data ------------------------------------------------------------------------------------------------------


class Frozen(NamedTuple):
    """A study as frozen under paper/data/<study>."""

    scores: pd.DataFrame
    training: pd.DataFrame
    curves: pd.DataFrame
    about: Mapping[str, Json]
    """manifest.json: the study's index without its training runs: scope, deviations, run_ids, manifest, repeat_checks."""


FROZEN = ("scores.csv", "training.csv", "curves.csv", "manifest.json")
CURVE_KEY = ("arm", "scale", "training_seed")
CURVE = ("step", "phase", "n_tokens", "loss", "lr", "seconds_s")
TRAINING = (
    "arm", "scale", "training_seed", "training_run", "params_b", "weights_sha256", "n_tokens", "flops", "seconds_s"
)  # fmt: skip


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
    scores = Store(results / "store").score_table(about["run_ids"])
    if scores.empty:
        raise AnalysisError(f"study `{study}` has no episodes in the store under {results}; collect it again.")
    runs = about.pop("training")
    curves = [pd.read_csv(run["curve"]).assign(**{key: run[key] for key in CURVE_KEY}) for run in runs]
    curves = pd.concat(curves or [pd.DataFrame(columns=[*CURVE_KEY, *CURVE])], ignore_index=True)
    tables = {
        "scores.csv": scores,
        "training.csv": pd.DataFrame(runs, columns=list(TRAINING)).sort_values(list(CURVE_KEY)),
        "curves.csv": curves[[*CURVE_KEY, *CURVE]].sort_values([*CURVE_KEY, "step"]),
    }
    written = [_write(folder / name, _csv(table)) for name, table in tables.items()]
    return [*written, _write(folder / "manifest.json", _json(about))]


def read_frozen(study: str, data: Path) -> Frozen:
    """Read a frozen study."""
    import pandas as pd

    tables = [pd.read_csv(data / study / name) for name in FROZEN[:3]]
    return Frozen(*tables, json.loads((data / study / "manifest.json").read_text(encoding="utf-8")))


# --- figures ----------------------------------------------------------------------------------------------------------


def draw(tables: Tables, frozen: Frozen | None, folder: Path, sesoi: float, settings: Settings) -> dict[str, Path]:
    """Draw every figure that the data has and remove figures of earlier builds."""
    from replication.figures import curves, forest
    from replication.figures.style import save

    drawings = {"forest_published": forest.draw_published(tables.published, sesoi)}
    if tables.estimates is not None:
        shown = tables.estimates[tables.estimates["policy"] == settings.unscored[0]]
        for (treatment, control), part in shown.groupby(["treatment", "control"], sort=False):
            runs = tables.runs.query("treatment == @treatment and control == @control")
            drawings[f"forest_{treatment}_{control}"] = forest.draw_collected(part, runs, sesoi)
    if frozen is not None and len(frozen.curves):
        drawings["curves"] = curves.draw(frozen.curves)
    paths = {name: save(drawing, folder / f"{name}.svg") for name, drawing in drawings.items()}
    for stale in set(folder.glob("*.svg")) - set(paths.values()):
        stale.unlink()
    return paths


# --- numbers ----------------------------------------------------------------------------------------------------------


def collect_numbers(
    data: Data, tables: Tables, frozen: Frozen | None, verdicts: Sequence[Verdict], figures: Iterable[str], sesoi: float
) -> dict[str, Json]:
    """Gather every number that the paper quotes; the paper computes nothing but the number of decimals."""
    settings = data.settings
    published = tables.published.set_index(["benchmark", "interval"])
    family = tables.family.groupby("target")["iut_p"]
    shown = tables.family[(tables.family["icc"] == settings.icc)]
    shown = shown[(shown["target"] == "T1") | (shown["rho"] == settings.rho)].set_index("target")
    turning = [value for value in tables.turning.values() if value is not None]
    outcomes = ("replicated", "not_replicated", "inconclusive", "not_testable")
    pooled = next(name for name, _ in published.index if name not in set(tables.rows["name"]))
    return {
        "package": {"version": __version__},
        "study": {"name": data.study, "kind": data.kind, "scope": data.scope, "deviations": list(data.deviations)},
        "analysis": {**dataclasses.asdict(settings), "sesoi": sesoi},
        "outcomes": {name: sum(v.outcome == name for v in verdicts) for name in outcomes} | {"all": len(verdicts)},
        "claims": _claims(verdicts),
        "published": {
            "n_rows": len(tables.rows),
            "n_positive": int((tables.rows["p_b"] > tables.rows["p_a"]).sum()),
            "n_unstated_runs": int((~tables.rows["runs_stated"]).sum()),
            "rows": [
                {**row, **{i: _interval(published.loc[row["name"], i]) for i in ("T1", "T2", "unpaired")}}
                for row in tables.rows.to_dict("records")
            ],
            "pooled": _interval(published.loc[pooled, "T2"]),
            "iut_p": {t: {"low": float(p.min()), "high": float(p.max())} for t, p in family},
            "n_holm": {t: int(shown.loc[t, "n_holm"]) for t in shown.index},
            "n_raw": {t: int(shown.loc[t, "n_raw"]) for t in shown.index},
            "rho_max": float(tables.family["rho"].max()),
            "turning_rho": {"low": min(turning), "high": max(turning)} if turning else None,
        },
        "collected": _collected(data, tables, frozen, figures) if frozen else None,
    }


def _claims(verdicts: Sequence[Verdict]) -> list[dict[str, Json]]:
    """Each claim once, with what its source leaves unspecified."""
    first = {verdict.claim_id: verdict for verdict in reversed(verdicts)}
    return [
        {"id": key, "proposition": v.proposition, "statement": v.statement, "unspecified": list(v.unspecified)}
        for key, v in sorted(first.items())
    ]


def _collected(data: Data, tables: Tables, frozen: Frozen, figures: Iterable[str]) -> dict[str, Json]:
    scores, training = frozen.scores, frozen.training
    by_arm = training.groupby(["arm", "scale"], sort=True)
    comparisons = []
    if tables.estimates is not None:
        shown = tables.estimates[tables.estimates["policy"] == data.settings.unscored[0]]
        for (treatment, control), part in shown.groupby(["treatment", "control"], sort=False):
            rows = {name: dict(tuple(rows.groupby("target"))) for name, rows in part.groupby("benchmark", sort=False)}
            comparisons.append(
                {
                    "treatment": treatment,
                    "control": control,
                    "figure": f"figures/forest_{treatment}_{control}.svg",
                    "policy": data.settings.unscored[0],
                    "n_trials": int(part["n_trials"].min()),
                    "n_training_runs": int(part["n_training_runs"].min()),
                    "rows": [
                        {"benchmark": name, **{t: _interval(r.iloc[0]) for t, r in targets.items()}}
                        for name, targets in rows.items()
                    ],
                }
            )
    return {
        "n_episodes": len(scores),
        "n_unscored": int(scores["value"].isna().sum()),
        "n_tasks": int(scores["task_id"].nunique()),
        "n_benchmarks": int(scores["benchmark"].nunique()),
        "benchmarks": sorted(scores["benchmark"].unique()),
        "scaffolds": sorted(scores["scaffold"].unique()),
        "scales": [
            {"scale": scale, "params_b": float(part["params_b"].iloc[0])}
            for scale, part in scores.groupby("scale", sort=True)
        ],
        "arms": [
            {
                "arm": arm, "scale": scale, "n_training_runs": len(part), "n_tokens": float(part["n_tokens"].mean()),
                "flops": float(part["flops"].mean()), "seconds_s": float(part["seconds_s"].mean()),
            }
            for (arm, scale), part in by_arm
        ],
        "training_seconds_s": float(training["seconds_s"].sum()),
        "means": _records(tables.means),
        "comparisons": comparisons,
        "curves": "figures/curves.svg" if "curves" in figures else None,
        "n_runs": len(frozen.about["run_ids"]),
        "n_repeats_as_expected": sum(bool(c["as_expected"]) for c in frozen.about["repeat_checks"].values()),
        "manifest": [[key, value] for key, value in sorted(_flat(frozen.about["manifest"]).items())],
    }  # fmt: skip


def _interval(row: pd.Series) -> dict[str, Json]:
    keys = ("value", "low", "high", "p_two_sided", "p_one_sided", "mde", "n_tasks", "n_unscored")
    return {key: _plain(row[key]) for key in keys if key in row}


def _records(table: pd.DataFrame) -> list[dict[str, Json]]:
    return [{key: _plain(value) for key, value in row.items()} for row in table.to_dict("records")]


def _plain(value: Json) -> Json:
    """Make a NumPy scalar a Python one, and a missing number None."""
    value = value.item() if hasattr(value, "item") else value
    return None if value != value else value


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


def main(cfg: schemas.Root) -> None:
    """Build the paper of the configured study and print its verdicts."""
    from replication.report import terminal
    from replication.verdicts import Settings

    settings = Settings(**{**dataclasses.asdict(cfg.analysis), "unscored": tuple(cfg.analysis.unscored)})
    built = build(
        cfg.study.name, cfg.study.kind, results=Path(cfg.paths.results), paper=Path(cfg.paths.paper),
        claims=schemas.CONF / "claim", settings=settings,
    )  # fmt: skip
    print(terminal(built.verdicts, built.outputs))


if __name__ == "__main__":
    entry(main)()
